//! Two threads for `find`: one feeds the index, one answers from it.
//!
//! ```text
//! journal ─┐                         find.db
//! tables ──┴▶ indexer (low priority) ──▶│──▶ finder ──▶ hits, read from the journal
//! ```
//!
//! The indexer follows the journal as far as the tables know what came of it. It is the last to get
//! the processor, and gathers while nobody asks: a sender never waits for it, nor does the start. The
//! finder has a queue of its own (`jobs.rs`), so that a question that takes long holds up no history, and each question
//! has a limit of time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::Seq;
use vang_hub::{Delta, Read, ReadAnswer, ReadFault};
use vang_journal::{Reader, Store};
use vang_view::{
    FeedError, Find, FindError, Found, Index, IndexReader, IsOver, Opened, RebuildReason, ViewError,
    ViewReader,
};

use super::jobs::{Asking, Question};
use super::progress::Progress;
use super::readers::{ASKER_WAITS, READERS_NICENESS, VIEW_WAIT};
use super::{Answer, spawn, stand_back};

/// Between two transactions while nobody asks: what comes meanwhile is taken at once.
const GATHER: Duration = Duration::from_millis(100);

/// A pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// While somebody sends and nobody asks, it rests so many times as long as it worked.
const REST: u32 = 4;

/// Silence after which the index tidies up.
const IDLE: Duration = Duration::from_secs(5);

/// Entries behind from which on catching up is told in the log.
const TOLD_LAG: u64 = 10_000;

/// How much the indexer stands back for other threads, as `nice` counts: 19 gets next to nothing while
/// others work.
const NICENESS: i32 = 10;

/// The three files.
#[derive(Clone)]
pub(crate) struct Paths {
    pub(crate) journal: Arc<dyn Store>,
    pub(crate) view: PathBuf,
    pub(crate) index: PathBuf,
}

/// Starts the indexer; it ends when the tables' progress says that the server does. `reached` is how
/// far the index is.
pub(crate) fn indexer(
    paths: Paths,
    tables: Arc<Progress>,
    reached: Arc<Progress>,
    answers: UnboundedSender<Answer>,
) -> JoinHandle<()> {
    spawn("indexer", answers, move || {
        // A start is not shared with anything that can wait.
        reached.wait_until_serving();
        stand_back(NICENESS);
        let mut indexer = Indexer { paths, tables, reached, open: None, failing: false, catching_up: None };
        while !indexer.tables.is_ending() {
            if let Err(error) = indexer.work() {
                indexer.fail(&error);
            }
        }
        if let Some(Open { index, .. }) = &mut indexer.open {
            index.idle();
        }
    })
}

struct Indexer {
    paths: Paths,
    tables: Arc<Progress>,
    reached: Arc<Progress>,
    open: Option<Open>,
    failing: bool,
    /// Since when, and from where.
    catching_up: Option<(Instant, Seq)>,
}

struct Open {
    index: Index,
    journal: Box<dyn Reader + Send>,
    view: ViewReader,
}

impl Indexer {
    /// One transaction, or a wait.
    fn work(&mut self) -> Result<(), FeedError> {
        // Where the whole folder is away, it may come back.
        if self.open.as_ref().is_some_and(|open| !(open.index.is_in_place() && open.view.is_in_place()))
            && self.paths.journal.look().is_ok()
        {
            tracing::warn!("the search index or the view was moved or removed; opening them again");
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open_all(&self.paths)?),
        };
        if self.reached.take_damaged() {
            tracing::warn!("the search index is damaged; rebuilding it from the journal");
            open.index.reset().map_err(FeedError::Index)?;
        }
        self.reached.set(open.index.cursor());
        let lag = self.tables.cursor().0.saturating_sub(open.index.cursor().0);
        if lag >= TOLD_LAG && self.catching_up.is_none() {
            tracing::info!(entries = lag, "the search index is behind; updating it");
            self.catching_up = Some((Instant::now(), open.index.cursor()));
        }
        let (told, began) = (self.tables.cursor(), Instant::now());
        let taken = open.index.feed(&mut *open.journal, &mut open.view)?;
        let cursor = open.index.cursor();
        self.reached.set(cursor);
        if std::mem::take(&mut self.failing) {
            tracing::info!("the search index can be written again");
        }
        if cursor >= self.tables.cursor() {
            if let Some((since, from)) = self.catching_up.take() {
                let took_ms = since.elapsed().as_millis() as u64;
                tracing::info!(entries = cursor.0 - from.0, took_ms, "the search index is up to date");
            }
            if taken > 0 {
                self.reached.wait_until_asked(GATHER);
            } else if !self.tables.wait_past(cursor, IDLE) {
                open.index.idle();
            }
        } else if taken > 0 && self.tables.cursor() > told {
            self.reached.wait_until_asked(began.elapsed() * REST);
        } else if taken == 0 {
            // The tables say that there is more, but do not have it just now: they are being made anew.
            self.reached.wait_until_asked(GATHER);
        }
        Ok(())
    }

    fn fail(&mut self, error: &FeedError) {
        self.reached.set_stuck();
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "the search index cannot be updated; trying again until it works");
        }
        match (error, &mut self.open) {
            (FeedError::Index(ViewError::Corrupt(_)), Some(_)) => self.reached.set_damaged(),
            // Perhaps it is only its log that may grow no more.
            (FeedError::Index(_), Some(open)) => open.index.idle(),
            // The index stays open: whoever asks has the same file open.
            (FeedError::View(_) | FeedError::Journal(_), Some(open)) => {
                if let (Ok(journal), Ok(view)) =
                    (self.paths.journal.reader(), ViewReader::open(&self.paths.view))
                {
                    (open.journal, open.view) = (journal, view);
                }
            }
            (_, None) => {}
        }
        self.tables.wait_for_end(FAILURE_PAUSE);
    }
}

fn open_all(paths: &Paths) -> Result<Open, FeedError> {
    let mut journal = paths.journal.reader()?;
    let view = ViewReader::open(&paths.view).map_err(FeedError::View)?;
    let id = paths.journal.identity().id;
    let (index, opened) = Index::open(&paths.index, id, &mut *journal)?;
    if let Opened::Fresh(why) = &opened
        && *why != RebuildReason::Missing
    {
        tracing::warn!(%why, "rebuilding the search index from the journal");
    }
    Ok(Open { index, journal, view })
}

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
    (tables, told): (Sender<Delta>, Arc<Progress>),
    reached: Arc<Progress>,
    time_ms: Arc<AtomicU64>,
    answers: UnboundedSender<Answer>,
) -> (Asking, JoinHandle<()>) {
    let (asking, queue) = Asking::new(FINDS_MAX, ASKER_WAITS);
    let watch = answers.clone();
    let mut finder = Finder { paths, open: None, tables, told, reached, time_ms };
    let work = move || {
        stand_back(READERS_NICENESS);
        queue.work(&answers, |question| finder.answer(question));
    };
    (asking, spawn("finder", watch, work))
}

/// The finder's connections; opened when first needed, and again after a failure.
struct Finder {
    paths: Paths,
    open: Option<(Box<dyn Reader + Send>, ViewReader, IndexReader)>,
    tables: Sender<Delta>,
    told: Arc<Progress>,
    reached: Arc<Progress>,
    time_ms: Arc<AtomicU64>,
}

impl Finder {
    fn answer(&mut self, question: &Question) -> Result<ReadAnswer, ReadFault> {
        let job = &question.job;
        let Read::Find(find) = &job.read else {
            return Err(ReadFault::Unreadable("this was asked of the wrong thread".to_owned()));
        };
        if job.need == Seq(0) {
            return Ok(ReadAnswer::Found(Found::default()));
        }
        // The index follows the tables.
        self.told.ask(job.need);
        // Those that waited in the queue have waited already.
        if self.reached.wait_for(job.need, question.came + VIEW_WAIT) < job.need {
            return Err(ReadFault::ViewBehind);
        }
        let ms = self.time_ms.load(Ordering::Relaxed);
        let (until, is_gone) = (Instant::now() + Duration::from_millis(ms), question.is_gone.clone());
        let is_over: IsOver = Arc::new(move || Instant::now() >= until || is_gone.load(Ordering::Relaxed));
        match self.find(find, &is_over) {
            Ok(found) => Ok(ReadAnswer::Found(found)),
            // Nothing is the matter with the files.
            Err(FindError::OverTime) => Err(ReadFault::OverTime { ms }),
            Err(FindError::Index(error)) => Err(self.fault(Part::Index, error)),
            Err(FindError::View(error)) => Err(self.fault(Part::Tables, error)),
            Err(FindError::Journal(fault)) => {
                tracing::warn!(%fault, "a search failed");
                self.open = None;
                Err(ReadFault::Unreadable(fault.to_string()))
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

    /// What is damaged is made anew by its own thread; whoever asked may ask again.
    fn fault(&mut self, part: Part, error: ViewError) -> ReadFault {
        tracing::warn!(%error, "a search failed");
        self.open = None;
        let file = match part {
            Part::Index => &self.paths.index,
            Part::Tables => &self.paths.view,
        };
        // One that was removed is made anew as well.
        if !matches!(error, ViewError::Corrupt(_)) && file.exists() {
            return ReadFault::Unreadable(error.to_string());
        }
        match part {
            Part::Index => {
                self.reached.set_damaged();
                self.told.nudge();
            }
            Part::Tables => {
                self.told.set_damaged();
                let _ = self.tables.send(Delta::default());
            }
        }
        ReadFault::ViewBehind
    }
}

/// Which of the files that can be made again.
enum Part {
    Index,
    Tables,
}
