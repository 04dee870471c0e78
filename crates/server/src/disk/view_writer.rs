//! The thread that writes the view: takes deltas, and rebuilds a damaged view from the journal.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{Seq, State};
use vang_hub::{Book, Delta, ReplayError, replay};
use vang_journal::Store;
use vang_view::{Snapshot, View, ViewError};

use super::progress::Progress;
use super::{Answer, FAILURE_PAUSE, LOOK_PAUSE, spawn};

/// The most rows that are written to the view in one transaction.
const DELTA_ROWS: usize = 8_192;

/// The pause between two transactions while no reader waits. All deltas that come meanwhile are one transaction, and
/// the deciding thread has the processor.
const GATHER: Duration = Duration::from_millis(50);

/// Starts the view's thread. It ends when the senders of the deltas are dropped.
pub(crate) fn view_writer(
    mut view: View,
    journal: Arc<dyn Store>,
    progress: Arc<Progress>,
    answers: UnboundedSender<Answer>,
) -> io::Result<(Sender<Delta>, JoinHandle<()>)> {
    let (deltas, inbox) = channel::<Delta>();
    progress.set(view.cursor());
    let work = move || {
        let (mut stuck, mut damaged) = (false, false);
        let mut looked = Instant::now();
        while let Some(batch) = gather(&inbox) {
            loop {
                if looked.elapsed() >= LOOK_PAUSE {
                    looked = Instant::now();
                    // Where the whole folder is away, it may come back.
                    damaged |= journal.look().is_ok() && view.look().is_err();
                }
                damaged |= progress.take_damaged();
                let done = match damaged {
                    true => rebuild(&mut view, &*journal, &progress),
                    false if batch.is_empty() => Ok(()),
                    false => view.apply(&batch),
                };
                let Err(error) = done else { break };
                // The journal has everything: the view gets it later.
                progress.set_stuck();
                if let ViewError::Corrupt(_) = error {
                    damaged = true;
                }
                if !std::mem::replace(&mut stuck, true) {
                    tracing::warn!(%error, "the view cannot be written; trying again until it works");
                }
                if progress.is_ending() {
                    return;
                }
                thread::sleep(FAILURE_PAUSE);
                // Perhaps only the WAL has no room to grow: its rows need fewer pages in the database.
                view.idle();
            }
            damaged = false;
            if std::mem::take(&mut stuck) {
                tracing::info!("the view can be written again");
            }
            if batch.is_empty() {
                continue;
            }
            progress.set(view.cursor());
            if batch.iter().map(|delta| delta.rows.len()).sum::<usize>() < DELTA_ROWS {
                progress.wait_until_asked(GATHER);
            }
        }
        view.idle();
    };
    Ok((deltas, spawn("view", answers, work)?))
}

/// Empties the view, and fills it from the journal's beginning to its end.
fn rebuild(view: &mut View, journal: &dyn Store, progress: &Progress) -> Result<(), ViewError> {
    let unreadable = |fault: &dyn std::fmt::Display| ViewError::Unavailable(fault.to_string());
    // First, since it says whether this is still our folder: nothing of another one is touched.
    let mut reader = journal.reader().map_err(|fault| unreadable(&fault))?;
    match view.look() {
        Ok(()) => tracing::warn!("the view is damaged; rebuilding it from the journal"),
        Err(reason) => tracing::warn!(%reason, "rebuilding the view from the journal"),
    }
    view.reset()?;
    progress.set(view.cursor());
    let identity = journal.identity();
    let mut apply_delta = |delta| {
        view.apply(&[delta]).map_err(|error| ReplayError::View(error.to_string()))?;
        progress.set(view.cursor());
        Ok(())
    };
    let begin = (State::default(), Book::default());
    let recovered = replay(&mut *reader, &identity, begin, Seq(0), &mut apply_delta)
        .map_err(|fault| unreadable(&fault))?;
    let snapshot = Some(Snapshot::of(&recovered.state));
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])?;
    progress.set(view.cursor());
    Ok(())
}

/// Waits for a delta and takes what came with it. Nothing came for a while: an empty list. `None`: nothing will.
fn gather(inbox: &Receiver<Delta>) -> Option<Vec<Delta>> {
    let first = match inbox.recv_timeout(LOOK_PAUSE) {
        Ok(first) => first,
        Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    let mut rows = first.rows.len();
    let mut batch = vec![first];
    while rows < DELTA_ROWS
        && let Ok(delta) = inbox.try_recv()
    {
        rows += delta.rows.len();
        batch.push(delta);
    }
    Some(batch)
}
