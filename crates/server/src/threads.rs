//! The threads beside the one that decides: the journal's writer, the tables' writer, and readers.
//! Each owns its connection to the disk; they are told by channels and answer by one.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{RoomId, Seq, State};
use vang_hub::{
    Book, ColdEvent, Delta, Page, Read, ReadAnswer, ReadFault, ReadJob, ReplayError, Settled, replay,
};
use vang_journal::{
    Appended, Batch, Entry, Fault, FolderLock, Journal, JournalFile, Lock, Reader, Reserve, SqliteJournal,
    SqliteReader,
};
use vang_view::{RoomEvent, View, ViewError, ViewReader};

use crate::jobs::{Asking, Receipt};

/// Readers: enough that one slow question does not hold up the next.
const READERS: usize = 3;

/// How much readers stand back, as `nice` counts: what is asked never keeps what is said from the disk.
pub(crate) const READERS_NICENESS: i32 = 5;

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

/// How often the files that are open are compared with those in the folder. What is sent meanwhile into one that
/// somebody has just removed is kept there, but is gone with the process.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// After the disk was full, so much must be free before that is over: 512 KiB. With less a retry succeeds now and
/// then, in what the last failure has left, and the next one fails again.
const ROOM_AGAIN: u64 = 512 << 10;

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
    Read(u64, Result<ReadAnswer, ReadFault>, Receipt),
    /// This thread ended in a panic, which is a defect: without it nothing goes on.
    Ended(&'static str),
}

/// Starts the journal's thread; it ends when the last sender of its jobs is dropped, and not before though nobody hears
/// its answers any more (see `Workers`).
pub(crate) fn journal(
    journal: SqliteJournal,
    (lock, reserve): (Option<FolderLock>, Reserve),
    answers: UnboundedSender<Answer>,
) -> (Sender<WriteJob>, JoinHandle<()>) {
    let (jobs, inbox) = channel();
    let watch = answers.clone();
    let mut writer = Writer {
        journal,
        lock,
        reserve,
        answers,
        looked: Instant::now(),
        failing: None,
        used: Instant::now(),
    };
    let work = move || {
        loop {
            if writer.looked.elapsed() >= LOOK_PAUSE {
                writer.look();
            }
            match inbox.recv_timeout(LOOK_PAUSE) {
                Ok(job) => writer.perform(job),
                Err(RecvTimeoutError::Timeout) => writer.tidy_up(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(fault) = writer.journal.idle() {
            tracing::warn!(%fault, "the journal could not tidy up at the end");
        }
    };
    (jobs, spawn("journal", watch, work))
}

/// The journal's thread.
struct Writer {
    journal: SqliteJournal,
    lock: Option<FolderLock>,
    reserve: Reserve,
    answers: UnboundedSender<Answer>,
    looked: Instant,
    failing: Option<Failing>,
    /// When there was something to do.
    used: Instant,
}

/// The journal failed, and has not been seen to work since.
struct Failing {
    /// When it was last tried.
    tried: Instant,
    /// There was no room: what is asked meanwhile is not tried.
    full: Option<String>,
}

impl Failing {
    fn because(fault: &Fault) -> Failing {
        let full = match fault {
            Fault::Full(why) => Some(why.clone()),
            Fault::Unavailable(_) | Fault::Damaged { .. } | Fault::Unreadable { .. } => None,
        };
        Failing { tried: Instant::now(), full }
    }
}

impl Writer {
    /// Is everything in its place? And after a failure, does it work again? Somebody looks, also when nobody sends.
    fn look(&mut self) {
        self.looked = Instant::now();
        let in_place = self.journal.look().and_then(|()| self.hold_lock());
        let probed = match &self.failing {
            None if in_place.is_ok() => return,
            Some(failing) if failing.tried.elapsed() < PROBE_PAUSE => return,
            Some(Failing { full: Some(why), .. }) if !self.reserve.has_room(ROOM_AGAIN) => {
                in_place.and(Err(Fault::Full(why.clone())))
            }
            _ => in_place.and_then(|()| self.journal.probe()),
        };
        self.failing = probed.as_ref().err().map(Failing::because);
        if self.failing.is_none() {
            self.reserve.keep();
        }
        let _ = self.answers.send(Answer::Probed(probed));
    }

    fn hold_lock(&self) -> Result<(), Fault> {
        if let Some(lock) = &self.lock
            && lock.hold()? == Lock::TakenAgain
        {
            tracing::warn!("the data folder's lock file was gone; it was made and taken again");
        }
        Ok(())
    }

    fn perform(&mut self, job: WriteJob) {
        self.used = Instant::now();
        let answer = match (job, &self.failing) {
            (WriteJob::Append(_), Some(Failing { full: Some(why), .. })) => {
                Answer::Appended(Appended::NotAppended(Fault::Full(why.clone())))
            }
            (WriteJob::Append(batch), _) => Answer::Appended(self.journal.append(&batch)),
            (WriteJob::Settle { after }, _) => Answer::Settled(settle(&mut self.journal, after)),
        };
        match &answer {
            Answer::Appended(Appended::Appended { .. }) => {
                if self.failing.take().is_some() {
                    self.reserve.keep();
                }
            }
            Answer::Appended(Appended::NotAppended(fault) | Appended::Unknown(fault))
            | Answer::Settled(Err(fault)) => {
                self.failing.get_or_insert_with(|| Failing::because(fault));
            }
            Answer::Settled(Ok(_)) | Answer::Probed(_) | Answer::Read(..) | Answer::Ended(_) => {}
        }
        let _ = self.answers.send(answer);
        if self.journal.wal_bytes() > WAL_BYTES_MAX
            && let Err(fault) = self.journal.idle()
        {
            tracing::warn!(%fault, "the journal could not shorten its log");
        }
    }

    fn tidy_up(&mut self) {
        // Once after each silence.
        if self.failing.is_none() && self.used.elapsed() >= IDLE && self.journal.wal_bytes() > 0 {
            self.used = Instant::now();
            if let Err(fault) = self.journal.idle() {
                tracing::warn!(%fault, "the journal could not tidy up");
            }
        }
    }
}

fn settle(journal: &mut SqliteJournal, after: Seq) -> Result<Settled, Fault> {
    let end = journal.settle()?;
    let mut reader = journal.reader()?;
    let mut entries = Vec::new();
    let mut at = after;
    while at < end {
        let chunk = Entry::all(reader.read(at, 1_024, 8 << 20)?)?;
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
    journal: JournalFile,
    progress: Arc<Progress>,
    answers: UnboundedSender<Answer>,
) -> (Sender<Delta>, JoinHandle<()>) {
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
                    true => make_anew(&mut view, &journal, &progress),
                    false if batch.is_empty() => Ok(()),
                    false => view.apply(&batch),
                };
                let Err(error) = done else { break };
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
    (deltas, spawn("tables", answers, work))
}

/// Empties the tables, wherever they are, and feeds them from the journal's beginning to its end.
fn make_anew(view: &mut View, journal: &JournalFile, progress: &Progress) -> Result<(), ViewError> {
    let unreadable = |fault: &dyn std::fmt::Display| ViewError::Unavailable(fault.to_string());
    // First, since it says whether this is still our folder: nothing of another one is touched.
    let mut reader = journal.reader().map_err(|fault| unreadable(&fault))?;
    match view.look() {
        Ok(()) => tracing::warn!("the tables are damaged; they are made anew from the journal"),
        Err(displaced) => tracing::warn!(%displaced, "the tables are made anew from the journal"),
    }
    view.reset()?;
    progress.set(view.cursor());
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

/// Starts the readers; they end when the end where questions are put in is dropped.
pub(crate) fn readers(
    (journal, view): (JournalFile, PathBuf),
    (tables, progress): (&Sender<Delta>, &Arc<Progress>),
    answers: &UnboundedSender<Answer>,
) -> (Asking, Vec<JoinHandle<()>>) {
    let (asking, queue) = Asking::new(READS_MAX, ASKER_WAITS);
    let handles = (0..READERS)
        .map(|_| {
            let (queue, progress, answers) = (queue.clone(), progress.clone(), answers.clone());
            let files = (journal.clone(), view.clone());
            let mut disk = Disk { files, open: None, tables: tables.clone(), progress };
            spawn("reader", answers.clone(), move || {
                stand_back(READERS_NICENESS);
                // Before anybody asks: who reads reads on when the files are moved away.
                disk.open = connect(&disk.files).ok();
                queue.work(&answers, |question| disk.answer(&question.job));
            })
        })
        .collect();
    (asking, handles)
}

/// A reader's two connections; opened again after a failure.
struct Disk {
    files: (JournalFile, PathBuf),
    open: Option<(SqliteReader, ViewReader)>,
    tables: Sender<Delta>,
    progress: Arc<Progress>,
}

impl Disk {
    fn answer(&mut self, job: &ReadJob) -> Result<ReadAnswer, ReadFault> {
        let told = self.progress.wait_for(job.need, Instant::now() + VIEW_WAIT);
        // Where the whole folder is away, who reads reads on.
        if self.open.as_ref().is_some_and(|(_, view)| !view.is_in_place()) && self.files.0.look().is_ok() {
            self.open = None;
        }
        let answer = self.try_answer(job, told).map_err(|trouble| self.fault(trouble));
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

    fn try_answer(&mut self, job: &ReadJob, told: Seq) -> Result<ReadAnswer, Trouble> {
        let (journal, view) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(connect(&self.files)?),
        };
        match &job.read {
            Read::Locate(asked) => {
                let found = asked.iter().map(|&(room, n)| view.seq_of(room, n));
                let found = found.collect::<Result<Vec<_>, _>>()?;
                // Only messages that there are is asked for.
                if told >= job.need && found.contains(&None) {
                    return Err(lost("a message is missing in them"));
                }
                Ok(ReadAnswer::Located(found))
            }
            Read::Events { rooms, events_max, bytes_max } => {
                // What is needed is an event of one of these rooms.
                if told >= job.need && job.need > Seq(0) {
                    let mut has = false;
                    for &(room, _) in rooms {
                        has = has || view.has(room, job.need)?;
                    }
                    if !has {
                        return Err(lost("a room's newest event is missing in them"));
                    }
                }
                let mut found = Vec::new();
                let mut upto = told;
                for &(room, after) in rooms {
                    let events = view.events(room, after, *events_max)?;
                    if events.len() == *events_max {
                        upto = upto.min(events.last().map_or(upto, |event| event.seq));
                    }
                    found.extend(events.into_iter().map(|event| (event, room)));
                }
                found.sort_unstable_by_key(|(event, _)| event.seq);
                found.retain(|(event, _)| event.seq <= upto);
                if found.len() > *events_max {
                    found.truncate(*events_max);
                    upto = found.last().map_or(upto, |(event, _)| event.seq);
                }
                Ok(ReadAnswer::Page(page(journal, &found, *bytes_max, upto)?))
            }
            Read::Messages { room, since, limit, bytes_max } => {
                if told >= job.need && job.need > Seq(0) && !view.has(*room, job.need)? {
                    return Err(lost("a room's newest event is missing in them"));
                }
                let Some(mut after) = view.seq_of(*room, *since)? else {
                    return Ok(ReadAnswer::Page(Page::default()));
                };
                // Between messages may stand other events; ask on until there are enough.
                let mut found = Vec::new();
                while found.len() < *limit {
                    let events = view.events(*room, after, *limit)?;
                    let Some(last) = events.last() else { break };
                    after = last.seq;
                    found
                        .extend(events.into_iter().filter(|event| event.message).map(|event| (event, *room)));
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
    found: &[(RoomEvent, RoomId)],
    bytes_max: usize,
    upto: Seq,
) -> Result<Page, Fault> {
    let mut page = Page { events: Vec::with_capacity(found.len()), upto };
    let mut bytes = 0;
    let seqs: Vec<Seq> = found.iter().map(|(event, _)| event.seq).collect();
    let entries = journal.get(&seqs, bytes_max)?;
    let is_cut = entries.len() < found.len();
    for (entry, &(RoomEvent { seq, n, message }, room)) in entries.into_iter().zip(found) {
        let payload = entry.as_ref().ok().and_then(|entry| entry.payload.as_ref());
        bytes += payload.map_or(0, |payload| payload.bytes.len());
        if bytes > bytes_max && !page.events.is_empty() {
            return Ok(page);
        }
        page.upto = seq;
        page.events.push(ColdEvent { room, n, message, entry });
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

/// A reader's connections.
fn connect((journal, view): &(JournalFile, PathBuf)) -> Result<(SqliteReader, ViewReader), Trouble> {
    let journal = journal.reader()?;
    if !view.exists() {
        return Err(lost("they were removed"));
    }
    Ok((journal, ViewReader::open(view)?))
}

/// The tables lack what must be there: they are made anew.
fn lost(what: &str) -> Trouble {
    Trouble::Tables(ViewError::Corrupt(what.to_owned()))
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

/// Lets the other threads go before the calling one, as nice(1) says.
pub(crate) fn stand_back(niceness: i32) {
    // Linux takes 0 for the calling thread. Without the right to it nothing is lost but politeness.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, niceness);
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

#[cfg(test)]
mod damage; // one flipped bit, read by everybody
