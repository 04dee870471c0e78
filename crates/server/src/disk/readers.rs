//! The threads that read from the disk for sessions: pages of history, events that are not in memory, places.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{RoomId, Seq};
use vang_hub::{ColdEvent, ColdPage, Delta, Read, ReadAnswer, ReadFault, ReadJob};
use vang_journal::{JournalError, Reader, Store};
use vang_view::{EventRow, ViewError, ViewReader};

use super::progress::Progress;
use super::{Answer, FAILURE_PAUSE, spawn, stand_back};
use crate::disk::jobs::Asking;

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

/// Starts the readers; they end when the end where questions are put in is dropped.
pub(crate) fn readers(
    (journal, view): (Arc<dyn Store>, PathBuf),
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
    files: (Arc<dyn Store>, PathBuf),
    open: Option<(Box<dyn Reader + Send>, ViewReader)>,
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
                tracing::warn!(why, "the view is damaged");
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
                Ok(ReadAnswer::Page(page(&mut **journal, &found, *bytes_max, upto)?))
            }
            Read::Messages { room, since, limit, bytes_max } => {
                if told >= job.need && job.need > Seq(0) && !view.has(*room, job.need)? {
                    return Err(lost("a room's newest event is missing in them"));
                }
                let Some(mut after) = view.seq_of(*room, *since)? else {
                    return Ok(ReadAnswer::Page(ColdPage::default()));
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
                Ok(ReadAnswer::Page(page(&mut **journal, &found, *bytes_max, told)?))
            }
            Read::Find(_) => Err(Trouble::Tables(ViewError::Unavailable(
                "the view has no words; the index has".to_owned(),
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
    journal: &mut dyn Reader,
    found: &[(EventRow, RoomId)],
    bytes_max: usize,
    upto: Seq,
) -> Result<ColdPage, JournalError> {
    let mut page = ColdPage { events: Vec::with_capacity(found.len()), upto };
    let mut bytes = 0;
    let seqs: Vec<Seq> = found.iter().map(|(event, _)| event.seq).collect();
    let entries = journal.get(&seqs, bytes_max)?;
    let is_cut = entries.len() < found.len();
    for (entry, &(EventRow { seq, n, message, data }, room)) in entries.into_iter().zip(found) {
        let payload = entry.as_ref().ok().and_then(|entry| entry.payload.as_ref());
        bytes += payload.map_or(0, |payload| payload.bytes.len());
        if bytes > bytes_max && !page.events.is_empty() {
            return Ok(page);
        }
        page.upto = seq;
        page.events.push(ColdEvent { room, n, message, data, entry });
    }
    if !is_cut {
        page.upto = upto;
    }
    Ok(page)
}

/// A reader's connections.
fn connect(
    (journal, view): &(Arc<dyn Store>, PathBuf),
) -> Result<(Box<dyn Reader + Send>, ViewReader), Trouble> {
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
    Journal(JournalError),
    Tables(ViewError),
}

impl From<JournalError> for Trouble {
    fn from(fault: JournalError) -> Trouble {
        Trouble::Journal(fault)
    }
}

impl From<ViewError> for Trouble {
    fn from(error: ViewError) -> Trouble {
        Trouble::Tables(error)
    }
}

#[cfg(test)]
#[path = "damage.rs"]
mod damage; // one flipped bit, read by every reader
