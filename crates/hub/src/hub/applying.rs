//! Entries applied at their places, and what comes of them: replies, rows of the view, the feeds' tails.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use vang_chat::{
    AccountEvent, Event, Feed, Happened, MemberEvent, MessageEvent, OrderEvent, Place, Principal, Seq, Time,
};
use vang_journal::{Entry, Envelope, Payload, decode_name};
use vang_proto::vang::{AccountAdded, AccountChanged, NoKeys, RoomChanged};

use crate::admission::refused;
use crate::cold::room_of;
use crate::events::{self, Answer, Effects};
use crate::hub::{Hub, Output};
use crate::limits::{BATCH_BYTES_MAX, CHECKPOINT_EVERY};
use crate::session::{Asker, Made};
use crate::tail::Run;
use crate::{Delta, Row, rows};

/// Bytes of an event that are not what was said, about.
const EVENT_HEADER_BYTES: usize = 256;

impl Hub {
    /// Entries that stand in the journal after those that arrived before, in order: of this process, known by their origin,
    /// and of any other alike. Entries that are
    /// applied already are skipped, and so are those behind a gap: settling reads what is missing. They are applied by `poll_output`, when
    /// nothing else is to be performed: call `poll` before, and the next batch is on its way to the disk meanwhile.
    pub fn arrived(&mut self, entries: Vec<Entry>) {
        if !self.is_halted() {
            self.arrived.extend(entries);
        }
    }

    pub(super) fn apply_arrived(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.arrived);
        let mut batch = BatchEffects::of(&entries);
        for entry in entries {
            if entry.seq != self.state.seq().next() || self.is_halted() {
                continue;
            }
            if let Some(envelope) = self.order.take_next(&entry.envelope) {
                self.apply(&mut batch, entry.seq, &envelope, entry.payload.as_ref());
                continue;
            }
            match Envelope::decode(&entry.envelope) {
                Ok(envelope) => {
                    self.order.take_own(envelope.origin);
                    self.apply(&mut batch, entry.seq, &envelope, entry.payload.as_ref());
                }
                // A newer program wrote it. Nothing after it can be decided here, so nothing after it is.
                Err(bad) => self.halt(&format!(
                    "entry {} cannot be read ({bad}); a newer vang wrote it: start a newer vang",
                    entry.seq
                )),
            }
        }
        self.publish(batch);
    }

    /// Decides an entry at its place; what comes of it is gathered in `batch`.
    fn apply(&mut self, batch: &mut BatchEffects, seq: Seq, envelope: &Envelope, payload: Option<&Payload>) {
        if let Err(unknown) = vang_chat::State::check_rules(&envelope.command) {
            return self.halt(&format!("entry {seq}: {unknown}"));
        }
        let outcome = self.state.apply(envelope.position(seq), &envelope.command);
        if seq.0.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push((seq, self.state.hash()));
        }
        match outcome {
            Ok(outcome) => {
                for (index, happened) in outcome.events.iter().enumerate() {
                    let effects = Effects::of(seq, happened);
                    let payload = payload.filter(|_| index == 0);
                    self.record(batch, (seq, envelope.time), (happened, effects), payload);
                }
                let asker = self.order.take_applying();
                let session = asker.as_ref().map(|asker| asker.session);
                if let Some(asker) = asker {
                    // The first is what was asked for; others follow from it.
                    let answer = outcome.events.first().map(|happened| Effects::of(seq, happened).answer);
                    self.answer(&asker, seq, answer.unwrap_or(Answer::Done), payload);
                }
                for happened in &outcome.events {
                    self.end_sign_ins(&happened.event, session);
                    self.erase(events::erased(&happened.event));
                }
            }
            Err(refusal) => {
                if let Some(asker) = self.order.take_applying() {
                    self.refuse(asker, &refused(&refusal));
                }
            }
        }
    }

    /// Gathers what the view, the book and the feeds' readers learn of an event.
    fn record(
        &mut self,
        batch: &mut BatchEffects,
        (seq, time): (Seq, Time),
        (happened, effects): (&Happened, Effects),
        payload: Option<&Payload>,
    ) {
        match &happened.event {
            Event::Message(MessageEvent::Sent { .. }) => self.messages += 1,
            Event::Order(OrderEvent::Opened { node }) => batch.opened |= *node != self.order.node(),
            // Of a disabled account the entry was refused, so the next sign-in tries it again.
            Event::Member(MemberEvent::Entered { who, .. })
            | Event::Account(AccountEvent::StatusSet { who, .. } | AccountEvent::Deleted { who, .. }) => {
                self.entering.remove(who);
            }
            _ => {}
        }
        if let Event::Account(AccountEvent::Deleted { who, .. }) = happened.event {
            // Encoded events in memory have the name.
            self.tails.clear();
            self.seen.forget(who);
        }
        // An erased text is empty.
        let text = || Ok(payload.and_then(|payload| decode_name(&payload.bytes).ok()).unwrap_or_default());
        let Ok::<_, Infallible>(()) =
            rows::keep((&mut self.book, &mut batch.rows), seq, (happened, effects), text);
        let Some(shown) = effects.shown else { return };
        for place in &happened.places {
            // Most accounts are not connected: what nobody follows is read from the disk by who comes.
            if place.feed.is_keyed() && !self.followers.contains_key(&place.feed) {
                self.tails.forget(place.feed);
                continue;
            }
            let Some(room) = room_of(place.feed, place.n) else { continue };
            let (out, marks) = batch.feed(place);
            self.encoder.write(out, &self.book, (room, seq, place.n), (time, shown), payload);
            marks.push((seq, out.len() as u32));
        }
    }

    fn answer(&mut self, asker: &Asker, seq: Seq, answer: Answer, payload: Option<&Payload>) {
        match answer {
            Answer::Sent { room, n, seq } => self.answer_sent(asker, room, n, seq),
            Answer::RoomChanged(room) => {
                let keys = RoomChanged { room: self.book.room(room).into_owned(), seq: seq.0 };
                self.accept(asker, &keys, &keys.room);
            }
            Answer::AccountAdded => {
                let name = payload.and_then(|payload| decode_name(&payload.bytes).ok()).unwrap_or_default();
                let keys = AccountAdded { name, seq: seq.0 };
                self.accept(asker, &keys, &keys.name);
            }
            Answer::Invited(id) => self.answer_invited(asker, seq, id),
            Answer::Withdrawn(id) => self.answer_withdrawn(asker, seq, id),
            Answer::Accepted(account) => self.set_first_password(asker, account),
            Answer::AccountChanged(who) => {
                if let Some(Made::Accept { device, .. }) = asker.made.as_deref() {
                    return self.finish_accept(asker, who, device.clone());
                }
                let name = self.book.speaker(&Principal::Account(who), None).to_string();
                let keys = AccountChanged { name, seq: seq.0 };
                self.accept(asker, &keys, &keys.name);
            }
            Answer::TokenCreated { who, id } => self.answer_token(asker, seq, who, id),
            Answer::Done => self.accept(asker, &NoKeys {}, "done"),
        }
    }

    /// A batch was applied: its runs go to the tails, its rows to the view, and sessions are woken.
    fn publish(&mut self, batch: BatchEffects) {
        for FeedEvents { feed, before, out, marks } in batch.feeds {
            // What was guessed too large does not stay in memory.
            let bytes =
                if out.capacity() > 2 * out.len() { Bytes::copy_from_slice(&out) } else { out.freeze() };
            self.tails.push(feed, before, Run { bytes, marks });
            let Some(followers) = self.followers.get(&feed) else { continue };
            for &(id, index) in followers {
                let slot = self.sessions.get_mut(id.slot as usize);
                let Some(session) = slot.filter(|session| session.generation == id.generation) else {
                    continue;
                };
                if let Some(cursor) = &mut session.cursor {
                    cursor.mark_grown(index);
                }
                if !session.woken {
                    session.woken = true;
                    self.outputs.push_back(Output::Wake { session: id });
                }
            }
        }
        if batch.opened {
            self.announce_epoch();
        }
        let seq = self.state.seq();
        self.view_cursor = seq;
        self.outputs.push_back(Output::UpdateView(Delta { upto: seq, rows: batch.rows, snapshot: None }));
        self.begin_due_snapshot();
    }
}

/// What a batch adds: a run to each feed, and rows to the view.
#[derive(Default)]
struct BatchEffects {
    feeds: Vec<FeedEvents>,
    /// Where each stands among them.
    places: HashMap<Feed, usize, foldhash::fast::RandomState>,
    rows: Vec<Row>,
    /// Another process opened the journal.
    opened: bool,
    /// Bytes that the events of its first feed will have, about: nearly always all of them are there.
    bytes: usize,
}

struct FeedEvents {
    feed: Feed,
    before: Seq,
    out: BytesMut,
    marks: Vec<(Seq, u32)>,
}

impl BatchEffects {
    fn of(entries: &[Entry]) -> BatchEffects {
        let payload = |entry: &Entry| entry.payload.as_ref().map_or(0, |payload| payload.bytes.len());
        let bytes: usize = entries.iter().map(|entry| payload(entry) + EVENT_HEADER_BYTES).sum();
        let bytes = bytes.min(2 * BATCH_BYTES_MAX);
        BatchEffects { rows: Vec::with_capacity(entries.len()), bytes, ..BatchEffects::default() }
    }

    fn feed(&mut self, &Place { feed, before, .. }: &Place) -> (&mut BytesMut, &mut Vec<(Seq, u32)>) {
        // Nearly always the feed of the entry before.
        let at = match self.feeds.last() {
            Some(last) if last.feed == feed => self.feeds.len() - 1,
            _ => *self.places.entry(feed).or_insert_with(|| {
                let out = BytesMut::with_capacity(std::mem::take(&mut self.bytes));
                self.feeds.push(FeedEvents { feed, before, out, marks: Vec::new() });
                self.feeds.len() - 1
            }),
        };
        let FeedEvents { out, marks, .. } = &mut self.feeds[at];
        (out, marks)
    }
}
