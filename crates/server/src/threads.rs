//! The threads beside the one that decides: the journal's writer, the tables' writer, and readers.
//! Each owns its connection to the disk; they are told by channels and answer by one.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{Seq, State};
use vang_hub::{
    Book, ColdEvent, Delta, Page, Read, ReadAnswer, ReadFault, ReadJob, ReplayError, Settled, replay,
};
use vang_journal::{Appended, Batch, Fault, Journal, Reader, Reserve, SqliteJournal, SqliteReader};
use vang_view::{View, ViewError, ViewReader};

use crate::jobs::Asking;

/// Readers: enough that one slow question does not hold up the next.
const READERS: usize = 3;

/// Questions that may wait for the readers: each has its reply of at most 256 KiB still before it. More are answered
/// `busy`, those of the address that has most waiting first.
const READS_MAX: usize = 1_024;

/// How long a question may wait for its turn: 10 s, what people and programs wait for an answer. One that waited for
/// longer is answered `busy` and not run: nobody may be there any more, and the others wait for it.
pub(crate) const ASKER_WAITS: Duration = Duration::from_secs(10);

/// How long a reader waits for the tables.
pub(crate) const VIEW_WAIT: Duration = Duration::from_secs(2);

/// A pause after a failure, so that a broken disk does not cost a busy processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// After a failure the journal is tried this often, whether somebody sends or not.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Silence after which the journal tidies up.
const IDLE: Duration = Duration::from_secs(5);

/// WAL size at which the journal tidies up even when busy: 64 MiB.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// Rows that the tables take in one transaction.
const DELTA_ROWS: usize = 8_192;

/// Between two transactions of the tables while nobody asks: what comes meanwhile is taken at once, and
/// whoever sends has the processor.
const GATHER: Duration = Duration::from_millis(50);

/// For the journal's thread.
pub(crate) enum WriteJob {
    Append(Batch),
    Settle { after: Seq },
}

/// From any of the threads.
pub(crate) enum Answer {
    Appended(Appended),
    Settled(Result<Settled, Fault>),
    /// The journal, which had failed, was tried by its own thread.
    Probed(Result<(), Fault>),
    Read(u64, Result<ReadAnswer, ReadFault>),
    /// This thread ended in a panic, which is a defect: without it nothing goes on.
    Ended(&'static str),
}

/// Starts the journal's thread; it ends when the last sender of its jobs is dropped, and not before though nobody hears
/// its answers any more (see `Workers`).
pub(crate) fn journal(
    mut journal: SqliteJournal,
    reserve: Reserve,
    answers: UnboundedSender<Answer>,
) -> (Sender<WriteJob>, JoinHandle<()>) {
    let (jobs, inbox) = channel();
    let watch = answers.clone();
    let work = move || {
        let mut idle = false;
        // Since the journal failed: when it was last tried.
        let mut tried: Option<Instant> = None;
        loop {
            if tried.is_some_and(|at| at.elapsed() >= PROBE_PAUSE) {
                // Somebody looks whether it works again, also when nobody sends.
                let probed = journal.probe();
                tried = probed.is_err().then(Instant::now);
                if tried.is_none() {
                    reserve.keep();
                }
                let _ = answers.send(Answer::Probed(probed));
            }
            let job = match inbox.recv_timeout(if tried.is_some() { PROBE_PAUSE } else { IDLE }) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) if tried.is_some() => continue,
                Err(RecvTimeoutError::Timeout) => {
                    if !idle && let Err(fault) = journal.idle() {
                        tracing::warn!(%fault, "the journal could not tidy up");
                    }
                    idle = true;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            idle = false;
            let answer = match job {
                WriteJob::Append(batch) => Answer::Appended(journal.append(&batch)),
                WriteJob::Settle { after } => Answer::Settled(settle(&mut journal, after)),
            };
            match &answer {
                Answer::Appended(Appended::Appended { .. }) if tried.is_some() => {
                    tried = None;
                    reserve.keep();
                }
                Answer::Appended(Appended::Appended { .. }) => {}
                Answer::Appended(_) | Answer::Settled(Err(_)) => tried = tried.or(Some(Instant::now())),
                Answer::Settled(Ok(_)) | Answer::Probed(_) | Answer::Read(..) | Answer::Ended(_) => {}
            }
            let _ = answers.send(answer);
            if journal.wal_bytes() > WAL_BYTES_MAX
                && let Err(fault) = journal.idle()
            {
                tracing::warn!(%fault, "the journal could not shorten its log");
            }
        }
        if let Err(fault) = journal.idle() {
            tracing::warn!(%fault, "the journal could not tidy up at the end");
        }
    };
    (jobs, spawn("journal", watch, work))
}

fn settle(journal: &mut SqliteJournal, after: Seq) -> Result<Settled, Fault> {
    let end = journal.settle()?;
    let mut reader = journal.reader()?;
    let mut entries = Vec::new();
    let mut at = after;
    while at < end {
        let chunk = reader.read(at, 1_024, 8 << 20)?;
        let Some(last) = chunk.last() else { break };
        at = last.seq;
        entries.extend(chunk);
    }
    Ok(Settled { entries })
}

/// How far the tables are, or the index: readers wait for it.
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
    /// The server ends: what they cannot take now they are told at the next start.
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

    /// Whoever follows them looks again.
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

/// Starts the tables' thread; it ends when the deltas' senders are dropped.
pub(crate) fn tables(
    mut view: View,
    journal: PathBuf,
    progress: Arc<Progress>,
    answers: UnboundedSender<Answer>,
) -> (Sender<Delta>, JoinHandle<()>) {
    let (deltas, inbox) = channel::<Delta>();
    progress.set(view.cursor());
    let work = move || {
        let (mut stuck, mut damaged) = (false, false);
        while let Some(batch) = gather(&inbox) {
            while let Err(error) = if damaged || progress.take_damaged() {
                make_anew(&mut view, &journal, &progress)
            } else {
                view.apply(&batch)
            } {
                // They are only tables: the journal has it all, and they will have it later.
                progress.set_stuck();
                if let ViewError::Corrupt(_) = error {
                    damaged = true;
                }
                if !std::mem::replace(&mut stuck, true) {
                    tracing::warn!(%error, "the tables cannot be written; it is tried until it works");
                }
                if progress.reached().ending {
                    return;
                }
                thread::sleep(FAILURE_PAUSE);
                // Perhaps it is only their log that may grow no more: what is in it has room in fewer pages.
                view.idle();
            }
            damaged = false;
            if std::mem::take(&mut stuck) {
                tracing::info!("the tables can be written again");
            }
            progress.set(view.cursor());
            if batch.iter().map(|delta| delta.rows.len()).sum::<usize>() < DELTA_ROWS {
                progress.wait_until_asked(GATHER);
            }
        }
        view.idle();
    };
    (deltas, spawn("tables", answers, work))
}

/// Empties the tables and feeds them from the journal's beginning to its end.
fn make_anew(view: &mut View, journal: &Path, progress: &Progress) -> Result<(), ViewError> {
    tracing::warn!("the tables are damaged; they are made anew from the journal");
    view.reset()?;
    progress.set(view.cursor());
    let unreadable = |fault: &dyn std::fmt::Display| ViewError::Unavailable(fault.to_string());
    let mut reader = SqliteReader::open(journal).map_err(|fault| unreadable(&fault))?;
    let identity = reader.identity();
    let mut tell = |delta| {
        view.apply(&[delta]).map_err(|error| ReplayError::Tables(error.to_string()))?;
        progress.set(view.cursor());
        Ok(())
    };
    let begin = (State::default(), Book::default());
    let recovered =
        replay(&mut reader, &identity, begin, Seq(0), &mut tell).map_err(|fault| unreadable(&fault))?;
    let snapshot = Some(recovered.state.to_snapshot());
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])
}

/// Waits for a delta and takes what came with it.
fn gather(inbox: &Receiver<Delta>) -> Option<Vec<Delta>> {
    let first = inbox.recv().ok()?;
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

/// Starts the readers; they end when the end where questions are put in is dropped.
pub(crate) fn readers(
    (journal, view): (PathBuf, PathBuf),
    (tables, progress): (&Sender<Delta>, &Arc<Progress>),
    answers: &UnboundedSender<Answer>,
) -> (Asking, Vec<JoinHandle<()>>) {
    let (asking, queue) = Asking::new(READS_MAX, ASKER_WAITS);
    let handles = (0..READERS)
        .map(|_| {
            let (queue, progress, answers) = (queue.clone(), progress.clone(), answers.clone());
            let paths = (journal.clone(), view.clone());
            let mut disk = Disk { paths, open: None, tables: tables.clone(), progress };
            spawn("reader", answers.clone(), move || {
                queue.work(&answers, |question| disk.answer(&question.job));
            })
        })
        .collect();
    (asking, handles)
}

/// A reader's two connections; opened when first needed, and again after a failure.
struct Disk {
    paths: (PathBuf, PathBuf),
    open: Option<(SqliteReader, ViewReader)>,
    tables: Sender<Delta>,
    progress: Arc<Progress>,
}

impl Disk {
    fn answer(&mut self, job: &ReadJob) -> Result<ReadAnswer, ReadFault> {
        let told = self.progress.wait_for(job.need, Instant::now() + VIEW_WAIT);
        let answer = self.try_answer(&job.read, told).map_err(|trouble| self.fault(trouble));
        if told < job.need && answer.as_ref().is_ok_and(lacks_what_was_asked) {
            if let Read::Events { .. } = job.read {
                // It will be asked again at once.
                thread::sleep(FAILURE_PAUSE);
                return answer;
            }
            return Err(ReadFault::ViewBehind);
        }
        if let Err(fault) = &answer {
            tracing::warn!(%fault, "could not read from the disk");
            self.open = None;
            thread::sleep(FAILURE_PAUSE);
        }
        answer
    }

    /// What whoever asked is told. Tables that are damaged will be up to date when they were made anew.
    fn fault(&self, trouble: Trouble) -> ReadFault {
        match trouble {
            Trouble::Tables(ViewError::Corrupt(why)) => {
                tracing::warn!(why, "the tables are damaged");
                self.progress.set_damaged();
                // Nothing to tell: so that their thread looks.
                let _ = self.tables.send(Delta::default());
                ReadFault::ViewBehind
            }
            Trouble::Tables(error) => ReadFault::Unreadable(error.to_string()),
            Trouble::Journal(fault) => ReadFault::Unreadable(fault.to_string()),
        }
    }

    fn try_answer(&mut self, read: &Read, told: Seq) -> Result<ReadAnswer, Trouble> {
        let (journal, view) = match &mut self.open {
            Some(open) => open,
            closed => {
                let journal = SqliteReader::open(&self.paths.0)?;
                closed.insert((journal, ViewReader::open(&self.paths.1)?))
            }
        };
        match read {
            Read::Locate(asked) => {
                let found = asked.iter().map(|&(room, n)| view.seq_of(room, n));
                Ok(ReadAnswer::Located(found.collect::<Result<_, _>>()?))
            }
            Read::Events { rooms, events_max, bytes_max } => {
                let mut found = Vec::new();
                let mut upto = told;
                for &(room, after) in rooms {
                    let events = view.events(room, after, *events_max)?;
                    if events.len() == *events_max {
                        upto = upto.min(events.last().map_or(upto, |event| event.seq));
                    }
                    found.extend(events.into_iter().map(|event| (event.seq, room, event.n)));
                }
                found.sort_unstable();
                found.retain(|&(seq, _, _)| seq <= upto);
                if found.len() > *events_max {
                    found.truncate(*events_max);
                    upto = found.last().map_or(upto, |&(seq, _, _)| seq);
                }
                Ok(ReadAnswer::Page(page(journal, &found, *bytes_max, upto)?))
            }
            Read::Messages { room, since, limit, bytes_max } => {
                let Some(mut after) = view.seq_of(*room, *since)? else {
                    return Ok(ReadAnswer::Page(Page::default()));
                };
                // Between messages may stand other events; ask on until there are enough.
                let mut found = Vec::new();
                while found.len() < *limit {
                    let events = view.events(*room, after, *limit)?;
                    let Some(last) = events.last() else { break };
                    after = last.seq;
                    let messages = events.iter().filter(|event| event.message);
                    found.extend(messages.map(|event| (event.seq, *room, event.n)));
                }
                found.truncate(*limit);
                Ok(ReadAnswer::Page(page(journal, &found, *bytes_max, told)?))
            }
            Read::Find(_) => Err(Trouble::Tables(ViewError::Unavailable(
                "the tables have no words; the index has".to_owned(),
            ))),
        }
    }
}

/// Tables that are behind may still have what was asked. What they do not have may be there all the same.
fn lacks_what_was_asked(answer: &ReadAnswer) -> bool {
    match answer {
        ReadAnswer::Located(found) => found.iter().any(Option::is_none),
        ReadAnswer::Page(page) => page.events.is_empty(),
        ReadAnswer::Found(found) => found.hits.is_empty(),
    }
}

/// The entries of these events, until there are bytes enough.
fn page(
    journal: &mut SqliteReader,
    found: &[(Seq, vang_chat::RoomId, u64)],
    bytes_max: usize,
    upto: Seq,
) -> Result<Page, Fault> {
    let mut page = Page { events: Vec::with_capacity(found.len()), upto };
    let mut bytes = 0;
    let seqs: Vec<Seq> = found.iter().map(|&(seq, _, _)| seq).collect();
    let entries = journal.get(&seqs, bytes_max)?;
    let is_cut = entries.len() < found.len();
    for (entry, &(seq, room, n)) in entries.into_iter().zip(found) {
        bytes += entry.payload.as_ref().map_or(0, |payload| payload.bytes.len());
        if bytes > bytes_max && !page.events.is_empty() {
            return Ok(page);
        }
        page.upto = seq;
        page.events.push(ColdEvent { room, n, entry });
    }
    if !is_cut {
        page.upto = upto;
    }
    Ok(page)
}

/// The threads of a server, to be ended in order. SQLite puts everything into one file when the last of those who have
/// it open closes it, and only if that one may write. So who reads a file ends before its writer is let go; the tables'
/// writer reads the journal.
pub(crate) struct Workers {
    pub(crate) readers: Vec<JoinHandle<()>>,
    /// A writer ends when the last sender of its jobs is dropped: this is the last one.
    pub(crate) tables: (Sender<Delta>, JoinHandle<()>),
    pub(crate) journal: (Sender<WriteJob>, JoinHandle<()>),
}

impl Workers {
    /// Waits until they have finished what they have, and ended. Nobody else holds a sender any more. `false`: one ended
    /// in a panic.
    pub(crate) fn join(self) -> bool {
        let mut is_well = true;
        let mut end = |thread: JoinHandle<()>| is_well &= thread.join().is_ok();
        self.readers.into_iter().for_each(&mut end);
        drop(self.tables.0);
        end(self.tables.1);
        drop(self.journal.0);
        end(self.journal.1);
        is_well
    }
}

/// Why a question could not be answered.
enum Trouble {
    Journal(Fault),
    Tables(ViewError),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Journal(fault)
    }
}

impl From<ViewError> for Trouble {
    fn from(error: ViewError) -> Trouble {
        Trouble::Tables(error)
    }
}

pub(crate) fn spawn(
    name: &'static str,
    answers: UnboundedSender<Answer>,
    work: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    let watched = move || {
        let _watch = Watch { name, answers };
        work();
    };
    builder.spawn(watched).expect("a process that cannot start four threads cannot serve")
}

/// Says so when its thread ends in a panic.
struct Watch {
    name: &'static str,
    answers: UnboundedSender<Answer>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.answers.send(Answer::Ended(self.name));
        }
    }
}
