//! The journal's thread: appends batches, settles doubts, and looks whether its files are still in place.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::Seq;
use vang_hub::Settled;
use vang_journal::{Appended, Batch, Entry, FolderLock, JournalError, LockState, Maintain, Reserve};

use super::{Answer, LOOK_PAUSE, spawn};

/// After a failure the journal is tried this often, whether somebody sends or not.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// After the disk was full, so much must be free before that is over: 512 KiB. With less a retry succeeds now and
/// then, in what the last failure has left, and the next one fails again.
const ROOM_AGAIN: u64 = 512 << 10;

/// Silence after which the journal tidies up.
const IDLE: Duration = Duration::from_secs(5);

/// Work put off, in bytes, at which the journal does it even when busy: 64 MiB.
const DEFERRED_BYTES_MAX: u64 = 64 << 20;

/// For the journal's thread.
pub(crate) enum WriteJob {
    Append(Batch),
    Settle {
        after: Seq,
    },
    /// Erase the payloads of these entries. It is tried until it succeeds.
    Erase(Vec<Seq>),
}

/// Starts the journal's thread; it ends when the last sender of its jobs is dropped, and not before though nobody hears
/// its answers any more (see `Workers`).
pub(crate) fn journal(
    journal: Box<dyn Maintain>,
    (lock, reserve): (Option<FolderLock>, Reserve),
    answers: UnboundedSender<Answer>,
) -> io::Result<(Sender<WriteJob>, JoinHandle<()>)> {
    let (jobs, inbox) = channel();
    let watch = answers.clone();
    let mut writer = Writer {
        journal,
        lock,
        reserve,
        answers,
        looked: Instant::now(),
        failing: None,
        to_erase: Vec::new(),
        used: Instant::now(),
    };
    let work = move || {
        loop {
            if writer.looked.elapsed() >= LOOK_PAUSE {
                writer.look();
                writer.erase();
            }
            match inbox.recv_timeout(LOOK_PAUSE) {
                Ok(job) => writer.perform(job),
                Err(RecvTimeoutError::Timeout) => writer.tidy_up(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = writer.journal.idle() {
            tracing::warn!(%error, "the journal could not clean up at the end");
        }
    };
    Ok((jobs, spawn("journal", watch, work)?))
}

/// The journal's thread.
struct Writer {
    journal: Box<dyn Maintain>,
    lock: Option<FolderLock>,
    reserve: Reserve,
    answers: UnboundedSender<Answer>,
    looked: Instant,
    failing: Option<Failing>,
    /// What was to be erased and could not be yet, a list for each job.
    to_erase: Vec<Vec<Seq>>,
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
    fn because(fault: &JournalError) -> Failing {
        let full = match fault {
            JournalError::Full(why) => Some(why.clone()),
            JournalError::Unavailable(_) | JournalError::Damaged { .. } | JournalError::Unreadable { .. } => {
                None
            }
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
                in_place.and(Err(JournalError::Full(why.clone())))
            }
            _ => in_place.and_then(|()| self.journal.probe()),
        };
        self.failing = probed.as_ref().err().map(Failing::because);
        if self.failing.is_none() {
            self.reserve.keep();
        }
        let _ = self.answers.send(Answer::Probed(probed));
    }

    fn hold_lock(&self) -> Result<(), JournalError> {
        if let Some(lock) = &self.lock
            && lock.hold()? == LockState::TakenAgain
        {
            tracing::warn!("the data folder's lock file was removed; it was created and locked again");
        }
        Ok(())
    }

    /// Erases what is to be erased, in order; what fails is tried again with the next look.
    fn erase(&mut self) {
        while let Some(seqs) = self.to_erase.first() {
            if let Err(error) = self.journal.erase(seqs) {
                tracing::warn!(%error, "a replaced payload could not be erased yet; it is tried again");
                return;
            }
            self.to_erase.remove(0);
            let _ = self.answers.send(Answer::Erased);
        }
    }

    fn perform(&mut self, job: WriteJob) {
        self.used = Instant::now();
        let job = match job {
            WriteJob::Erase(seqs) => {
                self.to_erase.push(seqs);
                return self.erase();
            }
            job => job,
        };
        let answer = match (job, &self.failing) {
            (WriteJob::Append(_), Some(Failing { full: Some(why), .. })) => {
                Answer::Appended(Appended::NotAppended(JournalError::Full(why.clone())), Vec::new())
            }
            (WriteJob::Append(batch), _) => match self.journal.append(&batch) {
                Appended::Appended { first } => {
                    Answer::Appended(Appended::Appended { first }, batch.into_entries(first))
                }
                outcome => Answer::Appended(outcome, Vec::new()),
            },
            (WriteJob::Settle { after }, _) => Answer::Settled(settle(&mut *self.journal, after)),
            (WriteJob::Erase(_), _) => return,
        };
        match &answer {
            Answer::Appended(Appended::Appended { .. }, _) => {
                if self.failing.take().is_some() {
                    self.reserve.keep();
                }
            }
            Answer::Appended(Appended::NotAppended(fault) | Appended::Unknown(fault), _)
            | Answer::Settled(Err(fault)) => {
                self.failing.get_or_insert_with(|| Failing::because(fault));
            }
            Answer::Settled(Ok(_))
            | Answer::Probed(_)
            | Answer::Erased
            | Answer::Hashed(_)
            | Answer::Read(..)
            | Answer::Ended(_) => {}
        }
        let _ = self.answers.send(answer);
        if self.journal.deferred_bytes() > DEFERRED_BYTES_MAX
            && let Err(error) = self.journal.idle()
        {
            tracing::warn!(%error, "the journal could not clean up");
        }
    }

    fn tidy_up(&mut self) {
        // Once after each silence.
        if self.failing.is_none() && self.used.elapsed() >= IDLE && self.journal.deferred_bytes() > 0 {
            self.used = Instant::now();
            if let Err(error) = self.journal.idle() {
                tracing::warn!(%error, "the journal could not clean up");
            }
        }
    }
}

fn settle(journal: &mut dyn Maintain, after: Seq) -> Result<Settled, JournalError> {
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
