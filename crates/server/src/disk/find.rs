//! The finder: a thread that answers `find` from the index.
//!
//! ```text
//! find.db ──▶ finder ──▶ hits, read from the journal
//! ```
//!
//! The finder has a queue of its own (`jobs.rs`), so that a question that takes long holds up no history, and each
//! question has a limit of time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::Seq;
use vang_hub::{Delta, Read, ReadAnswer, ReadError};
use vang_journal::Reader;
use vang_view::{Find, FindError, Found, IndexReader, IsOver, ViewError, ViewReader};

use super::jobs::{Asking, Question};
use super::progress::Progress;
use super::readers::{ASKER_WAITS, READERS_NICENESS, VIEW_WAIT};
use super::{Answer, Paths, lower_priority, spawn};

/// How much time a question has, ms: 1 s. Of a million messages the slowest kind takes 20 ms; what takes longer holds up
/// everybody else's, and is answered `busy` with what to narrow. Default of `find-time`.
pub(crate) const FIND_MS: u64 = 1_000;

/// Questions that may wait for the finder: each may hold 24 KiB of what its asker may see. More are answered `busy`, those
/// of the address that has most waiting first.
const FINDS_MAX: usize = 512;

/// Starts the finder; it ends when the end where questions are put in is dropped. A question gets `time_ms`, as it is
/// when its turn comes.
pub(crate) fn finder(
    paths: Paths,
    (deltas, view_progress): (Sender<Delta>, Arc<Progress>),
    reached: Arc<Progress>,
    time_ms: Arc<AtomicU64>,
    answers: UnboundedSender<Answer>,
) -> io::Result<(Asking, JoinHandle<()>)> {
    let (asking, queue) = Asking::new(FINDS_MAX, ASKER_WAITS);
    let watch = answers.clone();
    let mut finder = Finder { paths, open: None, deltas, view_progress, reached, time_ms };
    let work = move || {
        lower_priority(READERS_NICENESS);
        queue.work(&answers, |question| finder.answer(question));
    };
    Ok((asking, spawn("finder", watch, work)?))
}

/// The finder's connections; opened when first needed, and again after a failure.
struct Finder {
    paths: Paths,
    open: Option<(Box<dyn Reader + Send>, ViewReader, IndexReader)>,
    deltas: Sender<Delta>,
    view_progress: Arc<Progress>,
    reached: Arc<Progress>,
    time_ms: Arc<AtomicU64>,
}

impl Finder {
    fn answer(&mut self, question: &Question) -> Result<ReadAnswer, ReadError> {
        let job = &question.job;
        let Read::Find(find) = &job.read else {
            return Err(ReadError::Unreadable("this was asked of the wrong thread".to_owned()));
        };
        if job.need == Seq(0) {
            return Ok(ReadAnswer::Found(Found::default()));
        }
        // The index follows the view.
        self.view_progress.ask(job.need);
        // Those that waited in the queue have waited already.
        if self.reached.wait_for(job.need, question.came + VIEW_WAIT) < job.need {
            return Err(ReadError::ViewBehind);
        }
        let ms = self.time_ms.load(Ordering::Relaxed);
        let (until, is_gone) = (Instant::now() + Duration::from_millis(ms), question.is_gone.clone());
        let is_over: IsOver = Arc::new(move || Instant::now() >= until || is_gone.load(Ordering::Relaxed));
        match self.find(find, &is_over) {
            Ok(found) => Ok(ReadAnswer::Found(found)),
            // Nothing is the matter with the files.
            Err(FindError::OverTime) => Err(ReadError::OverTime { ms }),
            Err(FindError::Index(error)) => Err(self.fault(Part::Index, error)),
            Err(FindError::View(error)) => Err(self.fault(Part::View, error)),
            Err(FindError::Journal(error)) => {
                tracing::warn!(%error, "a search failed");
                self.open = None;
                Err(ReadError::Unreadable(error.to_string()))
            }
        }
    }

    fn find(&mut self, find: &Find, is_over: &IsOver) -> Result<Found, FindError> {
        if self.open.as_ref().is_some_and(|(_, view, index)| !(view.is_in_place() && index.is_in_place()))
            && self.paths.journal.look().is_ok()
        {
            self.open = None;
        }
        let (journal, view, index) = match &mut self.open {
            Some(open) => open,
            closed => {
                let journal = self.paths.journal.reader()?;
                let view = ViewReader::open(&self.paths.view).map_err(FindError::View)?;
                let index = IndexReader::open(&self.paths.index).map_err(FindError::Index)?;
                closed.insert((journal, view, index))
            }
        };
        index.find(view, &mut **journal, find, is_over)
    }

    /// A damaged file is rebuilt by its own thread; the client can ask again.
    fn fault(&mut self, part: Part, error: ViewError) -> ReadError {
        tracing::warn!(%error, "a search failed");
        self.open = None;
        let file = match part {
            Part::Index => &self.paths.index,
            Part::View => &self.paths.view,
        };
        // A removed file is rebuilt as well.
        if !matches!(error, ViewError::Corrupt(_)) && file.exists() {
            return ReadError::Unreadable(error.to_string());
        }
        match part {
            Part::Index => {
                self.reached.set_damaged();
                self.view_progress.nudge();
            }
            Part::View => {
                self.view_progress.set_damaged();
                let _ = self.deltas.send(Delta::default());
            }
        }
        ReadError::ViewBehind
    }
}

/// Which of the files that can be made again.
enum Part {
    Index,
    View,
}
