//! Snapshots of the state, for the next start. One is written in pieces, between everything else: entries go on being
//! applied, and what it holds is the state at its beginning.

use vang_proto::memory::can_allocate;

use crate::hub::{Hub, Output};
use crate::limits::SNAPSHOT_EVERY;
use crate::unfinished::UnfinishedSnapshot;
use crate::{Delta, Snapshot};

impl Hub {
    pub(super) fn begin_due_snapshot(&mut self) {
        let every = SNAPSHOT_EVERY.max(self.state.items() as u64 / 4);
        let is_due = self.state.seq().0 - self.snapshot_at.0 >= every;
        // Without memory for it there is none until the next entries: a start then replays more.
        if is_due && can_allocate(self.state.snapshot_bytes()) {
            self.begin_snapshot();
        }
    }

    /// Begins a snapshot of the state as it is now, unless one is being written. The hub does so by itself after
    /// `SNAPSHOT_EVERY` entries.
    pub fn begin_snapshot(&mut self) {
        if self.snapshot.is_none() && !self.is_halted() && self.erasing == 0 {
            self.snapshot_at = self.state.seq();
            let writer = self.state.begin_snapshot();
            self.snapshot = Some(UnfinishedSnapshot { writer, pieces: Vec::new() });
        }
    }

    /// Writes the next piece of a snapshot, if one was begun: at most so many `steps`, about 100 ns each. Call once a turn,
    /// when everything else was done; `true`: call again in the next. Behind the last piece the snapshot is an output.
    pub fn continue_snapshot(&mut self, steps: usize) -> bool {
        // After a defect in the rules the state is not to be trusted.
        if self.is_halted() {
            self.snapshot = None;
        }
        let Some(UnfinishedSnapshot { writer, pieces }) = &mut self.snapshot else { return false };
        pieces.push(self.state.continue_snapshot(writer, steps));
        if writer.is_complete() {
            let snapshot = Snapshot { seq: writer.seq(), pieces: std::mem::take(pieces) };
            self.snapshot = None;
            // The rows up to there were given to the view before.
            let delta = Delta { upto: self.view_cursor, rows: Vec::new(), snapshot: Some(snapshot) };
            self.outputs.push_back(Output::UpdateView(delta));
        }
        true
    }
}
