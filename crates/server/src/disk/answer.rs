//! What the threads answer, and how many answers may wait for the pump.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vang_hub::{ReadAnswer, ReadError, Settled};
use vang_journal::{Appended, Entry, JournalError};

use crate::secrets::hashed::Hashed;

/// Answers that may wait until the pump takes them: one may be a page of 256 KiB, and readers may be faster than it.
pub(super) const ANSWERS_WAITING_MAX: usize = 8;

/// From any of the threads.
pub(crate) enum Answer {
    /// What became of a batch, and the entries that it became.
    Appended(Appended, Vec<Entry>),
    Settled(Result<Settled, JournalError>),
    /// The journal, which had failed, was tried by its own thread.
    Probed(Result<(), JournalError>),
    /// What one `Erase` named was erased.
    Erased,
    /// A password was checked, or a verifier made.
    Hashed(Hashed),
    Read(u64, Result<ReadAnswer, ReadError>, Receipt),
    /// This thread ended in a panic, which is a defect: without it nothing goes on.
    Ended(&'static str),
}

/// Answers that were given and not taken.
#[derive(Debug, Default)]
pub(super) struct AnswersWaiting {
    count: Mutex<usize>,
    changed: Condvar,
}

/// Of an answer that waits; dropped when it was taken.
#[derive(Debug)]
pub(crate) struct Receipt(Arc<AnswersWaiting>);

impl AnswersWaiting {
    pub(super) fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one more answer.
    pub(super) fn receipt(self: &Arc<AnswersWaiting>) -> Receipt {
        *self.count() += 1;
        Receipt(self.clone())
    }

    pub(super) fn wait_for_room(&self) {
        let is_full = |count: &mut usize| *count >= ANSWERS_WAITING_MAX;
        drop(self.changed.wait_while(self.count(), is_full).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.changed.notify_one();
    }
}
