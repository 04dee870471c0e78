//! What a connection may ask and hold: quotas, and the one budget of memory.

use std::sync::atomic::Ordering;

use vang_chat::Principal;
use vang_hub::limits::{ORDER_QUEUE_BYTES_MAX, TAILS_BYTES_MAX};
use vang_hub::{Peer, SessionId};
use vang_proto::Millis;
use vang_proto::vang::{Code, ErrorReply};

use super::Pump;
use super::slot::Slot;
use crate::clock::steady_now;
use crate::fairness::memory::{LITTLE_BYTES, STRANGER_BYTES};
use crate::fairness::quota::{Ask, DELAY_MS_MAX, Who};
use crate::limits::Limits;

/// What a connection takes that holds nothing, about: 8 KiB.
const CONNECTION_BYTES: u64 = 8 << 10;

/// What clients make the server hold is counted up to one part in so many of the limit `memory`: what the allocator
/// keeps for the next, and what is under way between threads, take as much again.
const COUNTED_SHARE: u64 = 2;

/// Connections that hold nothing have one part in so many of it, whatever the others hold.
const CONNECTIONS_SHARE: u64 = 2;

/// While the allocator has too little left, so many connections give up what they hold at once: each may have been enough.
const SHED_AT_ONCE: usize = 16;

/// After how long a client whose data there is no memory for may try again, ms.
const SHED_RETRY_MS: u64 = 1_000;

/// The ends of rooms have one part in so many of what is counted, and what waits to be written one in so many.
const TAILS_SHARE: u64 = 4;

const QUEUE_SHARE: u64 = 16;

impl Pump {
    pub(super) fn set_limits(&self, limits: &Limits) {
        let budget = limits.memory_bytes() / COUNTED_SHARE;
        self.memory.set_max(budget);
        self.quotas.set(&limits.rates());
        self.send_lag.set(limits.send_lag());
        self.desk.borrow_mut().set_waiting(limits.guesses());
        self.threads.find_ms.store(limits.find_ms(), Ordering::Relaxed);
        let part = |share: u64, most: usize| usize::try_from(budget / share).unwrap_or(most).min(most);
        let mut hub = self.hub.borrow_mut();
        hub.set_inline_max(limits.inline_bytes());
        hub.set_rooms_per_account(limits.rooms_per_account());
        hub.set_memory(part(TAILS_SHARE, TAILS_BYTES_MAX), part(QUEUE_SHARE, ORDER_QUEUE_BYTES_MAX));
    }

    /// Who asks; `name` is what a first request says.
    pub(super) fn who<'a>(&self, slot: &'a Slot, name: Option<&str>) -> Who<'a> {
        let hub = self.hub.borrow();
        let principal = match hub.peer(slot.id) {
            // A user of the folder's socket has everything, also under an account's name.
            Some(Peer::Operator) | None => Principal::Operator,
            Some(Peer::Local | Peer::RemoteTls | Peer::RemotePlain) => hub.principal(slot.id, name),
        };
        Who { principal, share: &slot.share }
    }

    /// How long this must not be asked yet, ms, where that is too long to be read later.
    pub(super) fn over_quota(&self, now: Millis, slot: &Slot, name: Option<&str>, ask: Ask) -> Option<u64> {
        let wait_ms = self.quotas.wait_ms(now, self.who(slot, name), ask);
        (wait_ms > DELAY_MS_MAX).then_some(wait_ms)
    }

    /// Who asks faster than the quotas allow is read later.
    pub(super) fn spend(&self, now: Millis, slot: &Slot, ask: Ask) {
        let wait_ms = self.quotas.spend(now, self.who(slot, None), ask);
        if wait_ms > 0 && ask.is_paced() {
            slot.session.borrow_mut().pause(now + wait_ms.min(DELAY_MS_MAX));
        }
    }

    /// What is in memory for clients beside what their sessions hold: tails, the order's queue, and the bare connections;
    /// bytes.
    pub(super) fn held_beside(&self) -> u64 {
        let connections = self.slots.borrow().len() as u64 * CONNECTION_BYTES;
        self.hub.borrow().memory_bytes() as u64 + connections
    }

    /// Is there memory for one more connection beside so many? What others hold does not matter: they give it up.
    pub(crate) fn may_admit(&self, open: usize) -> bool {
        self.memory.note_growth(CONNECTION_BYTES);
        !self.memory.is_out() && (open as u64 + 1) * CONNECTION_BYTES <= self.memory.max() / CONNECTIONS_SHARE
    }

    /// May this connection be read, as far as memory goes? A connection that holds little may: the largest make room for it.
    pub(crate) fn has_memory(&self, slot: &Slot) -> bool {
        let held = slot.held.get();
        held < LITTLE_BYTES && !self.memory.is_out()
            || self.memory.admits_holder(held, self.held_beside())
            || self.is_operator(slot.id)
    }

    /// Has the allocator enough left, now? If not, the largest connections give up what they hold.
    pub(super) fn has_room(&self) -> bool {
        if self.memory.is_out() {
            self.memory.ask_allocator();
            self.shed_beyond();
        }
        !self.memory.is_out()
    }

    /// Is the memory for clients used up?
    pub(crate) fn is_full(&self) -> bool {
        self.memory.is_full(self.held_beside())
    }

    /// Counts what a session holds now, and what stands beside it for HTTP; no session may be borrowed. Where that is
    /// more than there is, the largest connections give it up.
    pub(crate) fn note_held(&self, slot: &Slot) {
        let in_hub = self.hub.borrow().held_bytes(slot.id);
        let of_http = slot.text.borrow().len() + slot.body.borrow().capacity() + slot.beside.get();
        let held = slot.session.borrow().held_bytes() + of_http + in_hub;
        if held == slot.held.get() && held <= STRANGER_BYTES + LITTLE_BYTES {
            return;
        }
        self.set_held(slot, held);
        let beside = self.held_beside();
        if held > STRANGER_BYTES + LITTLE_BYTES && self.memory.is_scarce(beside) && self.is_stranger(slot.id)
        {
            self.shed(slot, "this server's memory for clients who have not signed in is used up");
        }
        self.shed_beyond();
    }

    /// While more is held than there is, the sessions that hold most give it up, the largest first. One that can give
    /// nothing up is passed over.
    pub(super) fn shed_beyond(&self) {
        let (mut last, mut left) = (None, SHED_AT_ONCE);
        while self.is_full() && left > 0 {
            let Some(largest) = self.memory.largest(last) else { break };
            last = Some(largest);
            if let Some(slot) = self.slots.borrow().get(&largest.1).cloned() {
                self.shed(
                    &slot,
                    "this server's memory for clients is used up, and this connection held most of it",
                );
            }
            if self.memory.is_out() {
                self.memory.ask_allocator();
                left -= 1;
            }
        }
    }

    pub(super) fn set_held(&self, slot: &Slot, held: usize) {
        self.memory.change(slot.id, slot.held.replace(held), held);
    }

    pub(super) fn is_stranger(&self, id: SessionId) -> bool {
        let hub = self.hub.borrow();
        let is_remote = matches!(hub.peer(id), Some(Peer::RemotePlain | Peer::RemoteTls));
        is_remote && !matches!(hub.principal(id, None), Principal::Account(_))
    }

    /// A session gives up what it holds.
    pub(super) fn shed(&self, slot: &Slot, why: &str) {
        let error =
            ErrorReply::new(Code::Busy, format!("{why}; try again")).with("retry-after", SHED_RETRY_MS);
        slot.text.take();
        slot.body.take();
        let held = {
            let mut session = slot.session.borrow_mut();
            session.shed(steady_now(), &error);
            session.held_bytes() + slot.beside.get()
        };
        self.monitoring.shed.add(1);
        self.set_held(slot, held);
        slot.wake();
    }
}
