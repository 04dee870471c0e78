//! How far a follower of the journal is (the view, or the index), for those who wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vang_chat::Seq;

/// The cursor of the view, or of the index. Readers wait for it.
#[derive(Default)]
pub(crate) struct Progress {
    reached: Mutex<Reached>,
    moved: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Reached {
    cursor: Seq,
    /// A reader waits for them to come here.
    wanted: Seq,
    /// The server serves: what can wait until then may begin.
    serving: bool,
    /// They cannot be written at present: nobody knows how long.
    stuck: bool,
    /// A reader has found that they are damaged.
    damaged: bool,
    /// The server ends: what they cannot take now comes at the next start.
    ending: bool,
}

impl Progress {
    pub(crate) fn cursor(&self) -> Seq {
        self.reached().cursor
    }

    fn reached(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, cursor: Seq) {
        let mut reached = self.reached();
        (reached.cursor, reached.stuck) = (cursor, false);
        self.moved.notify_all();
    }

    pub(crate) fn set_damaged(&self) {
        self.reached().damaged = true;
    }

    pub(crate) fn take_damaged(&self) -> bool {
        std::mem::take(&mut self.reached().damaged)
    }

    /// Can they not be written at present?
    pub(crate) fn is_stuck(&self) -> bool {
        self.reached().stuck
    }

    pub(crate) fn set_ending(&self) {
        self.reached().ending = true;
        self.moved.notify_all();
    }

    pub(crate) fn set_serving(&self) {
        self.reached().serving = true;
        self.moved.notify_all();
    }

    /// Waits until the server serves, or ends.
    pub(crate) fn wait_until_serving(&self) {
        let mut reached = self.reached();
        while !reached.serving && !reached.ending {
            reached = self.moved.wait(reached).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.reached().ending
    }

    /// Wakes the thread that follows them, to look again.
    pub(crate) fn nudge(&self) {
        self.moved.notify_all();
    }

    pub(crate) fn set_stuck(&self) {
        self.reached().stuck = true;
        self.moved.notify_all();
    }

    /// Waits until they are complete up to `need`; answers how far they are. While they are stuck there
    /// is nothing to wait for.
    pub(crate) fn wait_for(&self, need: Seq, until: Instant) -> Seq {
        self.ask(need);
        self.wait(self.reached(), until, |reached| reached.cursor >= need || reached.stuck).cursor
    }

    /// Somebody will wait until they are complete up to `need`.
    pub(crate) fn ask(&self, need: Seq) {
        let mut reached = self.reached();
        if reached.cursor < need && reached.wanted < need {
            reached.wanted = need;
            self.moved.notify_all();
        }
    }

    /// For who follows them: waits until they are past this entry, or the server ends, or it was told to
    /// look. `false`: nothing came in this time.
    pub(crate) fn wait_past(&self, cursor: Seq, time: Duration) -> bool {
        let mut first = true;
        let until = Instant::now() + time;
        let is_due =
            |reached: &Reached| reached.cursor > cursor || reached.ending || !std::mem::take(&mut first);
        self.wait(self.reached(), until, is_due);
        Instant::now() < until
    }

    /// For their own thread: waits until somebody waits for them, or this time is over.
    pub(crate) fn wait_until_asked(&self, time: Duration) {
        let is_asked = |reached: &Reached| reached.wanted > reached.cursor || reached.ending;
        self.wait(self.reached(), Instant::now() + time, is_asked);
    }

    /// Waits until the server ends, or this time is over.
    pub(crate) fn wait_for_end(&self, time: Duration) {
        self.wait(self.reached(), Instant::now() + time, |reached| reached.ending);
    }

    fn wait(
        &self,
        mut reached: MutexGuard<'_, Reached>,
        until: Instant,
        mut is_due: impl FnMut(&Reached) -> bool,
    ) -> Reached {
        while !is_due(&reached) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            reached = self.moved.wait_timeout(reached, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *reached
    }
}
