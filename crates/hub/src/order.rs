//! The order of commands: what waits, what is being written, and what becomes of it when the journal
//! fails. One batch is written at a time; while it is, the next gathers.
//!
//! ```text
//! Idle ──batch──▶ Writing ──appended, not appended──▶ Idle
//!                    └──unknown, others in between──▶ Settling ──what is there──▶ Idle
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use vang_chat::{Command, Node, Seq, Time};
use vang_journal::{Batch, Draft, ENVELOPE_BYTES, Entry, Envelope, Origin, Payload, Through};

use crate::limits::{BATCH_BYTES_MAX, BATCH_BYTES_WORTH, BATCH_ENTRIES_MAX, ORDER_QUEUE_BYTES_MAX};
use crate::queue::{Queue, QueueFull};
use crate::session::{Asker, SessionId};

/// A command that has no place yet.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) command: Command,
    pub(crate) through: Through,
    pub(crate) payload: Payload,
    pub(crate) asker: Option<Asker>,
}

impl Waiting {
    fn weight(&self) -> usize {
        self.payload.bytes.len() + 256
    }
}

/// A command that is being written, or is written and has not come back yet.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) envelope: Envelope,
    /// The same as it stands in the journal.
    encoded: Bytes,
    pub(crate) payload: Payload,
    pub(crate) asker: Option<Asker>,
    /// One of the server's own commands; of others the asker may have been answered already.
    pub(crate) own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Writing,
    Settling,
}

/// What is really in the journal, told after a doubt.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Every entry after the last one applied, in order.
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Order {
    node: Node,
    counter: u64,
    phase: Phase,
    queue: Queue<SessionId, Waiting>,
    /// Of the batch that is being written.
    in_flight: VecDeque<Ordered>,
    /// Of a batch that is in the journal: its entries have not arrived yet.
    landed: VecDeque<Ordered>,
    /// Who asked for the entry that is being applied.
    applying: Option<Asker>,
}

impl Order {
    pub(crate) fn new(node: Node) -> Order {
        Order {
            node,
            counter: 0,
            phase: Phase::Idle,
            queue: Queue::new(ORDER_QUEUE_BYTES_MAX),
            in_flight: VecDeque::new(),
            landed: VecDeque::new(),
            applying: None,
        }
    }

    pub(crate) fn node(&self) -> Node {
        self.node
    }

    /// Sets how many bytes of commands may wait.
    pub(crate) fn set_queue_max(&mut self, bytes: usize) {
        self.queue.set_max(bytes);
    }

    /// Puts a session's command into the queue, if there is room.
    pub(crate) fn push(
        &mut self,
        (command, through): (Command, Through),
        payload: Payload,
        asker: Asker,
    ) -> Result<(), QueueFull> {
        let session = asker.session;
        let waiting = Waiting { command, through, payload, asker: Some(asker) };
        self.queue.push(session, waiting.weight(), waiting)
    }

    /// Puts one of the server's own commands before all others.
    pub(crate) fn push_own(&mut self, command: Command, payload: Payload) {
        self.push_first(Waiting { command, through: Through::Door, payload, asker: None });
    }

    /// Puts one of the server's own commands before all others, whatever the queue holds.
    pub(crate) fn push_first(&mut self, waiting: Waiting) {
        self.queue.push_first(waiting.weight(), waiting);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Does so much wait that a batch of it is worth its sync?
    pub(crate) fn is_worth_a_batch(&self) -> bool {
        self.queue.next_bytes() >= BATCH_BYTES_WORTH
    }

    /// Takes what waits as one batch with this stamp.
    pub(crate) fn batch(&mut self, time: Time, checkpoints: Vec<(Seq, [u8; 32])>) -> Batch {
        debug_assert!(self.in_flight.is_empty(), "one batch at a time");
        let mut batch = Batch { drafts: Vec::new(), checkpoints };
        let mut bytes = 0;
        let places = self.queue.next_len().min(BATCH_ENTRIES_MAX);
        let mut envelopes = Vec::with_capacity(places * ENVELOPE_BYTES);
        let mut ends = Vec::with_capacity(places);
        while ends.len() < BATCH_ENTRIES_MAX {
            // One that is too large comes alone.
            let room = if ends.is_empty() { usize::MAX } else { BATCH_BYTES_MAX.saturating_sub(bytes) };
            let Some((weight, waiting)) = self.queue.pop(room) else { break };
            bytes += weight;
            self.counter += 1;
            let envelope = Envelope {
                rules: vang_chat::NEWEST_RULES,
                origin: Origin { node: self.node, counter: self.counter },
                time,
                through: waiting.through,
                digest: waiting.payload.digest(),
                command: waiting.command,
            };
            envelope.encode_into(&mut envelopes);
            ends.push(envelopes.len());
            let own = waiting.asker.is_none();
            let asker = waiting.asker;
            let (payload, encoded) = (waiting.payload, Bytes::new());
            self.in_flight.push_back(Ordered { envelope, encoded, payload, asker, own });
        }
        // One buffer for all envelopes of the batch.
        let (envelopes, mut start) = (Bytes::from(envelopes), 0);
        batch.drafts.reserve(ends.len());
        for (end, ordered) in ends.into_iter().zip(&mut self.in_flight) {
            let payload = ordered.payload.clone();
            ordered.encoded = envelopes.slice(start..end);
            batch.drafts.push(Draft { envelope: ordered.encoded.clone(), payload });
            start = end;
        }
        self.queue.gather();
        self.phase = Phase::Writing;
        batch
    }

    /// The batch is in the journal as it was written.
    pub(crate) fn land(&mut self) {
        self.phase = Phase::Idle;
        self.landed.append(&mut self.in_flight);
    }

    /// What was being written is not in the journal.
    pub(crate) fn take_lost(&mut self) -> VecDeque<Ordered> {
        self.phase = Phase::Idle;
        std::mem::take(&mut self.in_flight)
    }

    /// Time stamp of the newest entry that is in the journal and has not arrived.
    pub(crate) fn landed_time(&self) -> Option<Time> {
        self.landed.back().map(|newest| newest.envelope.time)
    }

    /// Is something of ours in the journal that has not arrived yet?
    pub(crate) fn has_landed(&self) -> bool {
        !self.landed.is_empty()
    }

    /// It is not known what is in the journal.
    pub(crate) fn begin_settling(&mut self) {
        self.phase = Phase::Settling;
    }

    pub(crate) fn is_settling(&self) -> bool {
        self.phase == Phase::Settling
    }

    /// Our own command that this entry is, if it is the next of those that were written: a batch lands whole and in
    /// order. Nearly all entries are: no envelope is decoded for them. Who asked for it is given by `take_applying`.
    pub(crate) fn take_next(&mut self, envelope: &Bytes) -> Option<Envelope> {
        let ours = |queue: &mut VecDeque<Ordered>| queue.pop_front_if(|next| next.encoded == *envelope);
        let next = ours(&mut self.landed).or_else(|| ours(&mut self.in_flight))?;
        self.applying = next.asker;
        Some(next.envelope)
    }

    /// The same of an entry that came otherwise: our own command of this origin, if it is one.
    pub(crate) fn take_own(&mut self, origin: Origin) {
        let ours = |queue: &mut VecDeque<Ordered>| {
            let index = queue.iter().position(|ordered| ordered.envelope.origin == origin)?;
            queue.remove(index)
        };
        let own = ours(&mut self.landed).or_else(|| ours(&mut self.in_flight));
        self.applying = own.and_then(|ordered| ordered.asker);
    }

    /// Who asked for the entry that was taken last and is decided now. Until then it counts among those who wait: a defect
    /// that ends the deciding is answered as well.
    pub(crate) fn take_applying(&mut self) -> Option<Asker> {
        self.applying.take()
    }

    /// Everybody who waits for what is applied, is written, or is being written.
    pub(crate) fn askers(&mut self) -> Vec<Asker> {
        let flying = self.landed.iter_mut().chain(&mut self.in_flight);
        self.applying.take().into_iter().chain(flying.filter_map(|ordered| ordered.asker.take())).collect()
    }

    /// Forgets the waiting commands of sessions; the server's own stay. Gives back who waited.
    pub(crate) fn drop_waiting(&mut self) -> Vec<Asker> {
        let dropped = self.queue.take_unless(|waiting| waiting.asker.is_none());
        dropped.into_iter().filter_map(|waiting| waiting.asker).collect()
    }

    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue.bytes()
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::OrderCommand;
    use vang_proto::vang::Ticket;

    use super::*;

    #[test]
    fn who_asked_for_the_entry_that_is_being_decided_still_waits() {
        let mut order = Order::new(Node(1));
        for (slot, re) in [(1, "first"), (2, "second")] {
            let session = SessionId { slot, generation: 0 };
            let asker = Asker { session, ticket: Ticket(1), re: Some(re.to_owned()), made: None };
            let payload = Payload { salt: [0; 16], bytes: Bytes::new() };
            order.push((OrderCommand::Tick.into(), Through::Door), payload, asker).unwrap();
        }
        let batch = order.batch(Time(1), Vec::new());
        order.land();
        let re = |askers: Vec<Asker>| askers.into_iter().filter_map(|asker| asker.re).collect::<Vec<_>>();

        // Deciding the first ends in a defect: both are answered.
        assert!(order.take_next(&batch.drafts[0].envelope).is_some());
        assert_eq!(re(order.askers()), ["first", "second"]);
        assert!(order.take_applying().is_none());
    }
}
