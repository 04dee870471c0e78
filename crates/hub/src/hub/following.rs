//! What a session that follows feeds is given next: from the tails, or from the disk when it has fallen behind.

use bytes::{Bytes, BytesMut};
use vang_chat::{Feed, Principal};
use vang_journal::Envelope;
use vang_proto::vang::{ConnectionEvent, Event};

use crate::cold::{ColdEvent, ColdPage, Read};
use crate::continuation::Continuation;
use crate::cursor::{Cursor, Pulled, Sight};
use crate::encode::Encoder;
use crate::events::{PayloadKind, ShownEvent};
use crate::hub::{Hub, Output};
use crate::limits::{COLD_BYTES_MAX, COLD_EVENTS_MAX};
use crate::session::{Cold, SessionId};

impl Hub {
    pub(super) fn wake(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id)
            && !session.woken
        {
            session.woken = true;
            self.outputs.push_back(Output::Wake { session: id });
        }
    }

    /// Gives a session what comes next for it. `true`: there may be more at once. Call it when the
    /// session was woken, and again whenever what it gave is written.
    pub fn pull(&mut self, id: SessionId, out: &mut Vec<Bytes>) -> bool {
        if self.session(id).is_some_and(|session| session.epoch_due) {
            let epoch = ConnectionEvent::Epoch { epoch: self.epoch() };
            out.push(Event::Connection(epoch).to_bytes());
        }
        // Whose token is over by time may ask nothing for hours.
        if self.check_proof(id).is_err() {
            self.sign_out(id);
            return false;
        }
        let Some(session) =
            self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
        else {
            return false;
        };
        session.woken = false;
        session.epoch_due = false;
        let Some(cursor) = &mut session.cursor else { return false };
        match std::mem::replace(&mut session.cold, Cold::No) {
            Cold::No => {}
            Cold::Reading => {
                session.cold = Cold::Reading;
                return false;
            }
            Cold::Ready { slices, upto } => {
                cursor.seq = cursor.seq.max(upto);
                if !slices.is_empty() {
                    out.extend(slices);
                    return true;
                }
            }
        }
        let reader = session.speaking.as_ref().map_or(Principal::Operator, |speaking| speaking.principal);
        let sight = Sight { state: &self.state, tails: &self.tails, book: &self.book, reader: &reader };
        match cursor.pull(&sight, out) {
            Pulled::CaughtUp => false,
            Pulled::More => {
                if out.is_empty() {
                    // A stretch that this reader may not see; it goes on when others had their turn.
                    self.wake(id);
                }
                true
            }
            Pulled::NeedsDisk(feeds) => {
                session.cold = Cold::Reading;
                let before = |feed: Feed| match self.tails.get(feed) {
                    Some(tail) => tail.before,
                    None => self.state.newest_of(feed).unwrap_or_default(),
                };
                let need = feeds.iter().map(|&(feed, _)| before(feed)).max().unwrap_or_default();
                let read = Read::Events { feeds, events_max: COLD_EVENTS_MAX, bytes_max: COLD_BYTES_MAX };
                self.read(need, read, Continuation::Cursor { session: id, until: self.state.seq() });
                !out.is_empty()
            }
        }
    }

    /// The event as its readers get it. Empty where there is nothing to tell: what is damaged was no message, and
    /// a hole names messages.
    pub(super) fn encode_cold(&mut self, event: &ColdEvent) -> Bytes {
        let mut out = BytesMut::new();
        let Some(room) = event.room() else { return Bytes::new() };
        let at = (room, event.seq(), event.row.n);
        let shown = ShownEvent::decode(&event.row);
        let (envelope, payload) = match &event.entry {
            Ok(entry) => (Some(&entry.envelope), entry.payload.as_ref()),
            // Without what was said: what else happened is known without a payload.
            Err(damage) => {
                let is_enough = shown.is_some_and(|shown| shown.kind.payload() == PayloadKind::Hidden);
                (damage.envelope.as_ref().filter(|_| is_enough), None)
            }
        };
        let time =
            envelope.and_then(|envelope| Envelope::decode(envelope).ok()).map(|envelope| envelope.time);
        match (time, shown) {
            (Some(time), Some(shown)) => {
                self.encoder.write(&mut out, &self.book, at, (time, shown), payload);
            }
            _ if event.row.is_message() => Encoder::write_damaged(&mut out, &self.book, at),
            _ => {}
        }
        out.freeze()
    }

    pub(super) fn take_cold(&mut self, id: SessionId, page: ColdPage) {
        let mut slices = Vec::with_capacity(page.events.len());
        let mut last_seen = None;
        let cursor = self.session(id).and_then(|session| session.cursor.as_ref());
        let places = cursor.map(Cursor::places).unwrap_or_default();
        for event in &page.events {
            let bytes = self.encode_cold(event);
            let Some(session) = self.session(id) else { return };
            let reader = session.speaking.as_ref().map_or(Principal::Operator, |speaking| speaking.principal);
            let sight = Sight { state: &self.state, tails: &self.tails, book: &self.book, reader: &reader };
            let seen = session
                .cursor
                .as_ref()
                .zip(places.get(&event.feed))
                .and_then(|(cursor, &at)| cursor.see(&sight, at, event.seq(), bytes));
            // One that stands in several feeds is seen once.
            if let Some(bytes) = seen.filter(|bytes| !bytes.is_empty() && last_seen != Some(event.seq())) {
                last_seen = Some(event.seq());
                slices.push(bytes);
            }
        }
        if let Some(session) = self.session_mut(id) {
            session.cold = Cold::Ready { slices, upto: page.upto };
        }
        self.wake(id);
    }
}
