//! The indexer: a thread that feeds the index for `find`.
//!
//! ```text
//! journal ─┐
//! view ────┴▶ indexer (low priority) ──▶ find.db ──▶ finder (`find.rs`)
//! ```
//!
//! The indexer follows the journal as far as the view has what came of it. It is the last to get
//! the processor, and gathers while nobody asks: a sender never waits for it, nor does the start.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::Seq;
use vang_journal::Reader;
use vang_view::{FeedError, Index, Opened, RebuildReason, ViewError, ViewReader};

use super::progress::Progress;
use super::{Answer, Paths, lower_priority, spawn};

/// Between two transactions while nobody asks: what comes meanwhile is taken at once.
const GATHER: Duration = Duration::from_millis(100);

/// A pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// While somebody sends and nobody asks, it rests so many times as long as it worked.
const REST: u32 = 4;

/// Silence after which the index tidies up.
const IDLE: Duration = Duration::from_secs(5);

/// Entries behind from which on catching up is logged.
const LOGGED_LAG: u64 = 10_000;

/// How much the indexer stands back for other threads, as `nice` counts: 19 gets next to nothing while
/// others work.
const NICENESS: i32 = 10;

/// Starts the indexer; it ends when the view's progress says that the server does. `reached` is how
/// far the index is.
pub(crate) fn indexer(
    paths: Paths,
    view_progress: Arc<Progress>,
    reached: Arc<Progress>,
    answers: UnboundedSender<Answer>,
) -> io::Result<JoinHandle<()>> {
    spawn("indexer", answers, move || {
        // A start is not shared with anything that can wait.
        reached.wait_until_serving();
        lower_priority(NICENESS);
        let mut indexer =
            Indexer { paths, view_progress, reached, open: None, failing: false, catching_up: None };
        while !indexer.view_progress.is_ending() {
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
    view_progress: Arc<Progress>,
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
        let lag = self.view_progress.cursor().0.saturating_sub(open.index.cursor().0);
        if lag >= LOGGED_LAG && self.catching_up.is_none() {
            tracing::info!(entries = lag, "the search index is behind; updating it");
            self.catching_up = Some((Instant::now(), open.index.cursor()));
        }
        let (view_cursor, began) = (self.view_progress.cursor(), Instant::now());
        let taken = open.index.feed(&mut *open.journal, &mut open.view)?;
        let cursor = open.index.cursor();
        self.reached.set(cursor);
        if std::mem::take(&mut self.failing) {
            tracing::info!("the search index can be written again");
        }
        if cursor >= self.view_progress.cursor() {
            if let Some((since, from)) = self.catching_up.take() {
                let took_ms = since.elapsed().as_millis() as u64;
                tracing::info!(entries = cursor.0 - from.0, took_ms, "the search index is up to date");
            }
            if taken > 0 {
                self.reached.wait_until_asked(GATHER);
            } else if !self.view_progress.wait_past(cursor, IDLE) {
                open.index.idle();
            }
        } else if taken > 0 && self.view_progress.cursor() > view_cursor {
            self.reached.wait_until_asked(began.elapsed() * REST);
        } else if taken == 0 {
            // The view says that there is more, but does not have it just now: it is being rebuilt.
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
            // The index stays open: the threads that ask have the same file open.
            (FeedError::View(_) | FeedError::Journal(_), Some(open)) => {
                if let (Ok(journal), Ok(view)) =
                    (self.paths.journal.reader(), ViewReader::open(&self.paths.view))
                {
                    (open.journal, open.view) = (journal, view);
                }
            }
            (_, None) => {}
        }
        self.view_progress.wait_for_end(FAILURE_PAUSE);
    }
}

fn open_all(paths: &Paths) -> Result<Open, FeedError> {
    let mut journal = paths.journal.reader()?;
    let view = ViewReader::open(&paths.view).map_err(FeedError::View)?;
    let id = paths.journal.identity().id;
    let (index, opened) = Index::open(&paths.index, id, &mut *journal)?;
    if let Opened::Fresh(reason) = &opened
        && *reason != RebuildReason::Missing
    {
        tracing::warn!(%reason, "rebuilding the search index from the journal");
    }
    Ok(Open { index, journal, view })
}
