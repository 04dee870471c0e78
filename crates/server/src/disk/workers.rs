//! The threads of a server, and their end.

use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use vang_hub::Delta;

use super::journal::WriteJob;

/// The threads of a server, to be ended in order. SQLite moves its WAL into the database when the last connection closes,
/// and only if that one can write. So the readers of a file end before its writer. The view's writer reads the journal.
pub(crate) struct Workers {
    pub(crate) readers: Vec<JoinHandle<()>>,
    /// A writer ends when the last sender of its jobs is dropped: this is the last one.
    pub(crate) view: (Sender<Delta>, JoinHandle<()>),
    pub(crate) journal: (Sender<WriteJob>, JoinHandle<()>),
}

impl Workers {
    /// Waits until they have finished what they have, and ended. Nobody else holds a sender any more. `false`: one ended
    /// in a panic.
    pub(crate) fn join(self) -> bool {
        let mut is_well = true;
        let mut end = |thread: JoinHandle<()>| is_well &= thread.join().is_ok();
        self.readers.into_iter().for_each(&mut end);
        drop(self.view.0);
        end(self.view.1);
        drop(self.journal.0);
        end(self.journal.1);
        is_well
    }
}
