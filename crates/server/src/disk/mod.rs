//! The threads beside the one that decides, and what they share. Each has its own connections to the disk. Jobs come by
//! one channel for each thread; answers go by one channel for all.
//!
//! ```text
//! pump ──WriteJob──▶ journal        ──┐
//!      ──Delta─────▶ view_writer      ├──Answer──▶ pump
//!      ──ReadJob───▶ readers, finder ─┘
//! journal and view ─▶ indexer ─▶ index
//! pump ──SeenRow──▶ seen
//! ```

pub(crate) mod journal; // appends batches
pub(crate) mod view_writer; // keeps the view
pub(crate) mod progress; // how far the view and the index are
mod answer; // what the threads answer
mod workers; // ends the threads, in order
pub(crate) mod jobs; // which read is next, fair to all addresses
pub(crate) mod readers; // history, and events that are not in memory
pub(crate) mod index; // feeds the index for find
pub(crate) mod find; // answers find from the index
pub(crate) mod seen; // keeps when and from where accounts signed in

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use vang_journal::Store;

pub(crate) use self::answer::Answer;
pub(crate) use self::workers::Workers;

/// A pause after a failure, so that a broken disk does not cost a busy processor.
pub(crate) const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// How often the open files are compared with those in the folder. What is written meanwhile into a file that was just
/// removed is lost when the process ends.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The three files of a data folder that the indexer and the finder read.
#[derive(Clone)]
pub(crate) struct Paths {
    pub(crate) journal: Arc<dyn Store>,
    pub(crate) view: PathBuf,
    pub(crate) index: PathBuf,
}

/// Lowers the priority of the calling thread, as nice(1) does.
pub(crate) fn lower_priority(niceness: i32) {
    // 0 means the calling thread on Linux. Best effort: if it fails, the thread keeps its priority.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, niceness);
}

pub(crate) fn spawn(
    name: &'static str,
    answers: UnboundedSender<Answer>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    let watched = move || {
        let _watch = ThreadWatch { name, answers };
        work();
    };
    builder.spawn(watched)
}

/// Reports to the pump if its thread ends in a panic.
struct ThreadWatch {
    name: &'static str,
    answers: UnboundedSender<Answer>,
}

impl Drop for ThreadWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.answers.send(Answer::Ended(self.name));
        }
    }
}
