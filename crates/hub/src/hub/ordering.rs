//! What waits goes to the journal in batches; and what happens when the journal fails.

use std::collections::VecDeque;

use vang_chat::Time;
use vang_journal::{Appended, JournalError};
use vang_proto::vang::{Code, ErrorReply};

use crate::clock::Now;
use crate::hub::{Hub, NotOrdering, Output};
use crate::limits::JOURNAL_RETRY_MS;
use crate::order::{Ordered, Settled, Waiting};

impl Hub {
    /// Time to write? Call after requests, and when `deadline` is over.
    pub fn poll(&mut self, now: Now) {
        if let Some(NotOrdering::Halted(why)) = &self.not_ordering {
            let error = ErrorReply::new(Code::Unavailable, why.clone());
            self.refuse_waiting(&error);
            return;
        }
        if self.retry_at.is_some_and(|at| now.steady < at) {
            return;
        }
        if self.order.is_settling() {
            if self.retry_at.take().is_some() {
                self.outputs.push_back(Output::Settle { after: self.state.seq() });
            }
            return;
        }
        self.retry_at = None;
        let checkpoints_alone = self.stopping && !self.checkpoints.is_empty();
        if !self.order.is_idle() || !(self.order.has_waiting() || checkpoints_alone) {
            return;
        }
        match self.clock.stamp(now, self.newest_time()) {
            Ok(time) => {
                self.not_ordering = None;
                self.checkpoints_in_flight = self.checkpoints.len();
                let batch = self.order.batch(time, self.checkpoints.clone());
                self.outputs.push_back(Output::Append(batch));
            }
            Err(ahead) => {
                self.refuse_waiting(&ErrorReply::new(Code::ClockAhead, ahead.to_string()));
                self.not_ordering = Some(NotOrdering::Clock(ahead.to_string()));
            }
        }
    }

    /// Does so much wait that a batch of it is worth its sync, and `poll` should not be put off until more has come?
    pub fn is_worth_a_batch(&self) -> bool {
        self.order.is_worth_a_batch()
    }

    /// Of the journal's newest entry, applied or not.
    fn newest_time(&self) -> Time {
        self.order.landed_time().map_or(self.state.time(), |newest| newest.max(self.state.time()))
    }

    /// When to call `poll`, if nothing else happens before.
    pub fn deadline(&self) -> Option<vang_proto::Millis> {
        self.retry_at
    }

    /// Deciding an entry failed in a way that it must not: nothing is ordered any more. What is there
    /// can still be read.
    pub fn halt(&mut self, why: &str) {
        let why = format!("the server cannot order anything any more: {why}");
        let unknown = ErrorReply::new(Code::Unknown, why.clone());
        for asker in self.order.askers() {
            self.refuse(asker, &unknown);
        }
        self.not_ordering = Some(NotOrdering::Halted(why));
    }

    /// Refuses every request that waits to be ordered: `busy`, with this detail and a time to try again.
    pub fn refuse_busy(&mut self, detail: &str) {
        self.refuse_waiting(&ErrorReply::new(Code::Busy, detail).with("retry-after", JOURNAL_RETRY_MS));
    }

    fn refuse_waiting(&mut self, error: &ErrorReply) {
        for asker in self.order.drop_waiting() {
            self.refuse(asker, error);
        }
    }

    /// What became of the batch. Its entries come by `arrived`, as all do.
    pub fn appended(&mut self, now: Now, appended: Appended) {
        self.apply_arrived();
        if self.is_halted() {
            return;
        }
        match appended {
            Appended::Appended { first } if first == self.state.seq().next() => {
                // After a failure they go with the next batch.
                self.checkpoints.drain(..std::mem::take(&mut self.checkpoints_in_flight));
                self.order.land();
            }
            // Another process wrote in between: read back what the order really is.
            Appended::Appended { .. } => self.begin_settling(),
            Appended::NotAppended(fault) => {
                self.retry_at = Some(now.steady + JOURNAL_RETRY_MS);
                let error = journal_error(&fault);
                let ours = self.order.take_lost();
                self.put_back(ours, &error);
            }
            Appended::Unknown(fault) => {
                self.lost = Some(journal_error(&fault));
                self.begin_settling();
            }
        }
    }

    pub(super) fn is_halted(&self) -> bool {
        matches!(self.not_ordering, Some(NotOrdering::Halted(_)))
    }

    fn begin_settling(&mut self) {
        self.order.begin_settling();
        self.outputs.push_back(Output::Settle { after: self.state.seq() });
    }

    /// Nothing of it was written: the senders get an error, the server's own commands wait again.
    fn put_back(&mut self, ours: VecDeque<Ordered>, error: &ErrorReply) {
        for ordered in ours.into_iter().rev() {
            match ordered.asker {
                Some(asker) => self.refuse(asker, error),
                None if ordered.own => self.order.push_first(Waiting {
                    command: ordered.envelope.command,
                    through: ordered.envelope.through,
                    payload: ordered.payload,
                    asker: None,
                }),
                // Its asker was told that nobody knows yet, and asks again if it still matters.
                None => {}
            }
        }
    }

    /// What the journal really holds after the last entry applied, or why that cannot be told yet.
    pub fn settled(&mut self, now: Now, settled: Result<Settled, JournalError>) {
        self.apply_arrived();
        if self.is_halted() {
            return;
        }
        let entries = match settled {
            Ok(settled) => settled.entries,
            Err(fault) => {
                self.retry_at = Some(now.steady + JOURNAL_RETRY_MS);
                let detail = format!("it is not known yet whether this was written: {fault}");
                let unknown = ErrorReply::new(Code::Unknown, detail).with("retry-after", JOURNAL_RETRY_MS);
                for asker in self.order.askers() {
                    self.refuse(asker, &unknown);
                }
                self.refuse_waiting(&journal_error(&fault));
                return;
            }
        };
        self.arrived(entries);
        self.apply_arrived();
        let lost = self.order.take_lost();
        let error = self.lost.take().unwrap_or_else(|| {
            ErrorReply::new(Code::Unavailable, "the journal did not take it; nothing was posted")
                .with("retry-after", JOURNAL_RETRY_MS)
        });
        self.put_back(lost, &error);
    }
}

fn journal_error(fault: &JournalError) -> ErrorReply {
    let code = match fault {
        JournalError::Full(_) => Code::DiskFull,
        JournalError::Unavailable(_) | JournalError::Damaged { .. } | JournalError::Unreadable { .. } => {
            Code::Unavailable
        }
    };
    ErrorReply::new(code, format!("{fault}; nothing was posted")).with("retry-after", JOURNAL_RETRY_MS)
}
