//! A session in the hub that speaks for one HTTP request: it asks as any client does, in native messages, so that
//! no rule is written twice.

use std::collections::TryReserveError;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use vang_hub::Browser;
use vang_proto::vang::{
    ErrorReply, Incoming, Reply, Request, ServerLimits, ServerSession, SessionStep, Ticket, incoming,
};
use vang_proto::{Decoder, Limits};

use super::credential::Credential;
use crate::client_place::Client;
use crate::clock::steady_now;
use crate::fairness::cost::work_us;
use crate::fairness::turns::{Credit, Turns, wake_next_turn};
use crate::pump::{ConnectionInfo, Pump, Slot};
use crate::shared::House;

/// What our own hub writes: a page of history is the longest.
const REPLY_BYTES_MAX: u64 = vang_proto::limits::CLIENT_CONTENT_BYTES_MAX;

/// Memory for the whole of a body is taken when so great a part of it has come: a fourth.
const ANNOUNCED_FACTOR: usize = 4;

/// Bytes of an event that are handed to HTTP at once: 16 KiB.
const TEXT_BYTES_AT_ONCE: usize = 16 << 10;

pub(crate) struct HubSession {
    pump: Rc<Pump>,
    slot: Rc<Slot>,
    decoder: Decoder,
    /// Whose turn it is, and a request that waits for its own.
    turns: Rc<Turns>,
    credit: Rc<Credit>,
    asked: Option<(Ticket, Request)>,
    is_signed_in: bool,
    /// Its place among those of its address.
    _client: Client,
}

impl HubSession {
    pub(crate) fn new(
        house: &House,
        credit: Rc<Credit>,
        limits: ServerLimits,
        client: Client,
        connection: ConnectionInfo,
    ) -> HubSession {
        let pump = house.pump.clone();
        let session = ServerSession::new(steady_now(), limits);
        let slot = pump.connect(client.peer, connection, client.share.clone(), session);
        let limits = Limits { content: REPLY_BYTES_MAX, ..Limits::default() };
        let turns = house.turns.clone();
        HubSession {
            pump,
            slot,
            decoder: Decoder::new(limits),
            turns,
            credit,
            asked: None,
            is_signed_in: false,
            _client: client,
        }
    }

    /// Signs in with what a request has.
    pub(super) fn sign_in(&mut self, credential: &Credential) -> Result<(), ErrorReply> {
        if let Some(browser) = credential.browser {
            self.set_browser(browser);
        }
        if let Some(token) = &credential.token {
            self.pump.sign_in_with(self.slot.id, token)?;
            self.is_signed_in = true;
        }
        Ok(())
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.is_signed_in
    }

    pub(super) fn set_browser(&self, browser: Browser) {
        self.pump.set_browser(self.slot.id, browser);
    }

    /// Asks: native messages.
    pub(crate) fn ask(&self, native: &[u8]) {
        self.slot.session.borrow_mut().handle_bytes(steady_now(), native);
    }

    /// The next reply or event; `None`: there will be none.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            if let Ok(Some(frame)) = self.decoder.poll_frame() {
                return Poll::Ready(incoming(frame).ok());
            }
            if !self.hand_on_requests() {
                wake_next_turn(cx);
                return Poll::Pending;
            }
            self.pull();
            self.pump.note_held(&self.slot);
            let ended = self.slot.session.borrow_mut().step(steady_now()) != SessionStep::Wait;
            let fed = self.take_output();
            if !fed && ended {
                return Poll::Ready(None);
            }
            if !fed && self.slot.poll_woken(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// `false`: there is one more, in the next turn.
    fn hand_on_requests(&mut self) -> bool {
        loop {
            let asked = self.asked.take();
            let request = asked.or_else(|| self.slot.session.borrow_mut().poll_request(steady_now()));
            let Some((ticket, request)) = request else { return true };
            if !self.turns.may_begin(&self.credit, work_us(&request.action)) {
                self.asked = Some((ticket, request));
                return false;
            }
            self.pump.request(steady_now(), &self.slot, ticket, request);
        }
    }

    fn pull(&self) {
        if !self.slot.session.borrow().takes_events() {
            return;
        }
        let mut pulled = Vec::new();
        self.pump.pull(self.slot.id, &mut pulled);
        let mut session = self.slot.session.borrow_mut();
        for bytes in pulled {
            session.push_event(steady_now(), bytes);
        }
    }

    /// A piece of a request's body has come: it counts as its session's, and is given up with what that holds.
    ///
    /// # Errors
    /// The system gives no memory.
    pub(crate) fn add_to_body(&self, piece: &[u8], whole: usize) -> Result<(), TryReserveError> {
        let mut body = self.slot.body.borrow_mut();
        if let Some(rest) = announced_rest(body.len(), piece.len(), whole) {
            body.try_reserve_exact(rest)?;
        }
        body.try_reserve(piece.len())?;
        body.extend_from_slice(piece);
        drop(body);
        self.pump.note_held(&self.slot);
        Ok(())
    }

    /// The body, which is whole now: it is its taker's.
    pub(crate) fn take_body(&self) -> Vec<u8> {
        self.slot.body.take()
    }

    /// Waits until the session takes nothing any more: it held too much memory, or the server stops. Its reply says so.
    pub(crate) fn poll_refused(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.slot.session.borrow().is_ending() {
                return Poll::Ready(());
            }
            if self.slot.poll_woken(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Was what it held given up, with its question?
    pub(super) fn is_refused(&self) -> bool {
        self.slot.session.borrow().refusal_code().is_some()
    }

    /// Is the time of this turn over? Then others come first.
    pub(crate) fn is_turn_over(&self) -> bool {
        self.turns.is_over()
    }

    /// When it began.
    pub(crate) fn turn_began(&self) -> Option<Instant> {
        self.turns.began()
    }

    /// Takes one piece: what waits stays in the session, where it is counted and can be given up.
    fn take_output(&mut self) -> bool {
        let mut session = self.slot.session.borrow_mut();
        let len = session.output().next().map_or(0, |bytes| {
            self.decoder.feed(bytes);
            bytes.len()
        });
        session.wrote(steady_now(), len);
        self.slot.beside.set(self.decoder.held_bytes());
        len > 0
    }

    /// What is still to be written of an event: a part of it, and the whole is counted until it is.
    pub(crate) fn put_text(&self, text: String) {
        *self.slot.text.borrow_mut() = text.into();
        self.pump.note_held(&self.slot);
    }

    /// The next part.
    pub(crate) fn take_text(&self) -> Option<Bytes> {
        let mut text = self.slot.text.borrow_mut();
        let len = text.len().min(TEXT_BYTES_AT_ONCE);
        // A copy, so that what was written does not keep the whole; counted until it is.
        let part = self.pump.memory.hold(text.split_to(len).to_vec());
        if text.is_empty() {
            *text = Bytes::new();
        }
        (len > 0).then_some(part)
    }

    /// The reply to the one question that was asked. Who asks too fast has it later.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let reply = loop {
            match poll_fn(|cx| self.poll_next(cx)).await? {
                Incoming::Reply(reply) => break reply,
                Incoming::Event(_) => {}
            }
        };
        let paused = self.slot.session.borrow().paused_until();
        if let Some(until) = paused {
            let ms = until.0.saturating_sub(steady_now().0);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Some(reply)
    }
}

/// For how many bytes more than `len` there must be room, if it is for the rest of the body: growing step by step leaves as
/// much behind as the body has. `None`: too little of it has come, so that what is only announced takes no memory from others.
fn announced_rest(len: usize, piece: usize, whole: usize) -> Option<usize> {
    let came = len + piece;
    (came < whole && whole / ANNOUNCED_FACTOR <= came).then(|| whole - len)
}

impl Drop for HubSession {
    fn drop(&mut self) {
        self.pump.disconnect(self.slot.id);
    }
}

#[cfg(test)]
mod tests {
    use super::announced_rest;

    #[test]
    fn room_for_the_rest_of_a_body_is_taken_when_a_fourth_has_come() {
        for (len, piece, whole, rest) in [
            (0, 1, 1_000_000, None),
            (249_999, 1, 1_000_000, Some(750_001)),
            (0, 16_384, 60_000, Some(60_000)),
            // Whole with this piece; and of a length that nobody said.
            (0, 100, 100, None),
            (5_000, 100, 0, None),
        ] {
            assert_eq!(announced_rest(len, piece, whole), rest, "{len} and {piece} of {whole}");
        }
    }
}
