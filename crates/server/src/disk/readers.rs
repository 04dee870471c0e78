//! The threads that read from the disk for sessions: pages of history, events that are not in memory, places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{Feed, Seq};
use vang_hub::{ColdEvent, ColdPage, Delta, Read, ReadAnswer, ReadError, ReadJob};
use vang_journal::{JournalError, Reader, Store};
use vang_view::{EventRow, ViewError, ViewReader};

use super::progress::Progress;
use super::{Answer, FAILURE_PAUSE, lower_priority, spawn};
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

/// Rows of a feed that are read together, at least.
const FEED_PIECE_MIN: usize = 4;

/// How long a reader waits for the view.
pub(crate) const VIEW_WAIT: Duration = Duration::from_secs(2);

/// Starts the readers; they end when the end where questions are put in is dropped.
pub(crate) fn readers(
    (journal, view): (Arc<dyn Store>, PathBuf),
    (deltas, progress): (&Sender<Delta>, &Arc<Progress>),
    answers: &UnboundedSender<Answer>,
) -> io::Result<(Asking, Vec<JoinHandle<()>>)> {
    let (asking, queue) = Asking::new(READS_MAX, ASKER_WAITS);
    let handles = (0..READERS)
        .map(|_| {
            let (queue, progress, answers) = (queue.clone(), progress.clone(), answers.clone());
            let files = (journal.clone(), view.clone());
            let mut disk = Disk::new(files, deltas.clone(), progress);
            spawn("reader", answers.clone(), move || {
                lower_priority(READERS_NICENESS);
                // Before anybody asks: who reads reads on when the files are moved away.
                disk.open = connect(&disk.files).ok();
                queue.work(&answers, |question| disk.answer(&question.job));
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((asking, handles))
}

/// A reader's two connections; opened again after a failure.
pub(crate) struct Disk {
    files: (Arc<dyn Store>, PathBuf),
    open: Option<(Box<dyn Reader + Send>, ViewReader)>,
    deltas: Sender<Delta>,
    progress: Arc<Progress>,
}

impl Disk {
    /// Not opened yet.
    pub(crate) fn new(
        files: (Arc<dyn Store>, PathBuf),
        deltas: Sender<Delta>,
        progress: Arc<Progress>,
    ) -> Disk {
        Disk { files, open: None, deltas, progress }
    }

    pub(crate) fn answer(&mut self, job: &ReadJob) -> Result<ReadAnswer, ReadError> {
        let view_cursor = self.progress.wait_for(job.need, Instant::now() + VIEW_WAIT);
        // Where the whole folder is away, who reads reads on.
        if self.open.as_ref().is_some_and(|(_, view)| !view.is_in_place()) && self.files.0.look().is_ok() {
            self.open = None;
        }
        let answer = self.try_answer(job, view_cursor).map_err(|error| self.explain(error));
        if view_cursor < job.need && answer.as_ref().is_ok_and(lacks_what_was_asked) {
            if let Read::Events { .. } = job.read {
                // It will be asked again at once.
                thread::sleep(FAILURE_PAUSE);
                return answer;
            }
            return Err(ReadError::ViewBehind);
        }
        if let Err(error) = &answer {
            tracing::warn!(%error, "could not read from the disk");
            self.open = None;
            thread::sleep(FAILURE_PAUSE);
        }
        answer
    }

    /// The error for the client. A damaged view is rebuilt, and until then it is behind.
    fn explain(&self, error: SourceError) -> ReadError {
        match error {
            SourceError::View(ViewError::Corrupt(error)) => {
                tracing::warn!(error, "the view is damaged");
                self.progress.set_damaged();
                // An empty delta wakes the view's thread.
                let _ = self.deltas.send(Delta::default());
                ReadError::ViewBehind
            }
            SourceError::View(error) => ReadError::Unreadable(error.to_string()),
            SourceError::Journal(error) => ReadError::Unreadable(error.to_string()),
        }
    }

    fn try_answer(&mut self, job: &ReadJob, view_cursor: Seq) -> Result<ReadAnswer, SourceError> {
        let (journal, view) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(connect(&self.files)?),
        };
        match &job.read {
            Read::Locate(asked) => {
                let found = asked.iter().map(|&(room, n)| view.seq_of(room, n));
                let found = found.collect::<Result<Vec<_>, _>>()?;
                // Only messages that there are is asked for.
                if view_cursor >= job.need && found.contains(&None) {
                    return Err(lost("a message is missing in them"));
                }
                Ok(ReadAnswer::Located(found))
            }
            Read::Events { feeds, events_max, bytes_max } => {
                // What is needed is an event of one of these feeds.
                if view_cursor >= job.need && job.need > Seq(0) {
                    let mut has = false;
                    for &(feed, _) in feeds {
                        has = has || view.has(feed, job.need)?;
                    }
                    if !has {
                        return Err(lost("a feed's newest event is missing in them"));
                    }
                }
                let (found, upto) = merge(view, feeds, *events_max, view_cursor)?;
                Ok(ReadAnswer::Page(page(&mut **journal, &found, *bytes_max, upto)?))
            }
            Read::Messages { room, since, limit, bytes_max } => {
                let feed = Feed::Room(*room);
                if view_cursor >= job.need && job.need > Seq(0) && !view.has(feed, job.need)? {
                    return Err(lost("a room's newest event is missing in them"));
                }
                let Some(mut after) = view.seq_of(*room, *since)? else {
                    return Ok(ReadAnswer::Page(ColdPage::default()));
                };
                // Between messages may stand other events; ask on until there are enough.
                let mut found = Vec::new();
                while found.len() < *limit {
                    let events = view.events(feed, after, *limit)?;
                    let Some(last) = events.last() else { break };
                    after = last.seq;
                    found.extend(events.into_iter().filter(EventRow::is_message).map(|event| (event, feed)));
                }
                found.truncate(*limit);
                Ok(ReadAnswer::Page(page(&mut **journal, &found, *bytes_max, view_cursor)?))
            }
            Read::Entries(seqs) => Ok(ReadAnswer::Entries(journal.get(seqs, usize::MAX)?)),
            Read::Find(_) => Err(SourceError::View(ViewError::Unavailable(
                "the view has no words; the index has".to_owned(),
            ))),
        }
    }
}

/// The first events of these feeds, each after a place and up to `end`, in one order, and the place up to which they are all
/// there.
/// Rows are read in pieces, the next of a feed when the one before is used up: with many feeds as with one, no more than
/// about three times as many are read as are found, and a few of each feed.
fn merge(
    view: &mut ViewReader,
    feeds: &[(Feed, Seq)],
    events_max: usize,
    end: Seq,
) -> Result<(Vec<(EventRow, Feed)>, Seq), ViewError> {
    let piece = (2 * events_max / feeds.len().max(1)).clamp(FEED_PIECE_MIN.min(events_max), events_max);
    let mut pieces = Vec::with_capacity(feeds.len());
    let mut next = BinaryHeap::with_capacity(feeds.len());
    for (index, &(feed, after)) in feeds.iter().enumerate() {
        let piece = Piece::read(view, feed, after, piece)?;
        next.extend(piece.first().map(|seq| Reverse((seq, index))));
        pieces.push(piece);
    }
    let mut found: Vec<(EventRow, Feed)> = Vec::with_capacity(events_max);
    while let Some(mut top) = next.peek_mut() {
        let Reverse((seq, index)) = *top;
        if seq > end {
            break;
        }
        let last = found.last().map(|(event, _)| event.seq);
        if found.len() >= events_max && last != Some(seq) {
            return Ok((found, last.unwrap_or(end)));
        }
        let (feed, of_feed) = (feeds[index].0, &mut pieces[index]);
        found.extend(of_feed.events.next().map(|event| (event, feed)));
        if of_feed.first().is_none() && of_feed.has_more {
            *of_feed = Piece::read(view, feed, seq, piece)?;
        }
        match of_feed.first() {
            Some(seq) => *top = Reverse((seq, index)),
            None => drop(PeekMut::pop(top)),
        }
    }
    Ok((found, end))
}

/// Events of a feed that were read together.
struct Piece {
    events: std::vec::IntoIter<EventRow>,
    /// Behind them there may be others.
    has_more: bool,
}

impl Piece {
    fn read(view: &mut ViewReader, feed: Feed, after: Seq, len: usize) -> Result<Piece, ViewError> {
        let events = view.events(feed, after, len)?;
        let has_more = events.len() == len;
        Ok(Piece { events: events.into_iter(), has_more })
    }

    fn first(&self) -> Option<Seq> {
        self.events.as_slice().first().map(|event| event.seq)
    }
}

/// A view that is behind may have the answer already. What it lacks may exist all the same.
fn lacks_what_was_asked(answer: &ReadAnswer) -> bool {
    match answer {
        ReadAnswer::Located(found) => found.iter().any(Option::is_none),
        ReadAnswer::Page(page) => page.events.is_empty(),
        // Of the journal, which has all.
        ReadAnswer::Entries(_) => false,
        ReadAnswer::Found(found) => found.hits.is_empty(),
    }
}

/// The entries of these events, until there are bytes enough.
fn page(
    journal: &mut dyn Reader,
    found: &[(EventRow, Feed)],
    bytes_max: usize,
    upto: Seq,
) -> Result<ColdPage, JournalError> {
    let mut page = ColdPage { events: Vec::with_capacity(found.len()), upto };
    let mut bytes = 0;
    // One that stands in several feeds is read once.
    let mut seqs: Vec<Seq> = found.iter().map(|(event, _)| event.seq).collect();
    seqs.dedup();
    let entries = journal.get(&seqs, bytes_max)?;
    let is_cut = entries.len() < seqs.len();
    let entries = seqs.iter().zip(entries).flat_map(|(seq, entry)| {
        let start = found.partition_point(|(event, _)| event.seq < *seq);
        found[start..].iter().take_while(|(event, _)| event.seq == *seq).map(move |at| (entry.clone(), at))
    });
    for (entry, &(row, feed)) in entries {
        let payload = entry.as_ref().ok().and_then(|entry| entry.payload.as_ref());
        bytes += payload.map_or(0, |payload| payload.bytes.len());
        if bytes > bytes_max && !page.events.is_empty() {
            return Ok(page);
        }
        page.upto = row.seq;
        page.events.push(ColdEvent { feed, row, entry });
    }
    if !is_cut {
        page.upto = upto;
    }
    Ok(page)
}

/// A reader's connections.
fn connect(
    (journal, view): &(Arc<dyn Store>, PathBuf),
) -> Result<(Box<dyn Reader + Send>, ViewReader), SourceError> {
    let journal = journal.reader()?;
    if !view.exists() {
        return Err(lost("they were removed"));
    }
    Ok((journal, ViewReader::open(view)?))
}

/// The view lacks what must be there: it is rebuilt.
fn lost(what: &str) -> SourceError {
    SourceError::View(ViewError::Corrupt(what.to_owned()))
}

/// Why a question could not be answered.
enum SourceError {
    Journal(JournalError),
    View(ViewError),
}

impl From<JournalError> for SourceError {
    fn from(error: JournalError) -> SourceError {
        SourceError::Journal(error)
    }
}

impl From<ViewError> for SourceError {
    fn from(error: ViewError) -> SourceError {
        SourceError::View(error)
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::{Principal, RoomId};
    use vang_view::{EventClass, EventData, Row, View};

    use super::*;

    /// Rooms 1 to 3 have one event in four, room 4 has hardly any, and every 50th stands in all of them.
    fn rooms_of(seq: u64) -> Vec<u64> {
        match seq {
            _ if seq.is_multiple_of(50) => vec![1, 2, 3, 4],
            _ if seq.is_multiple_of(97) => vec![4],
            _ => vec![1 + seq % 3],
        }
    }

    #[test]
    fn a_page_of_several_rooms_has_every_event_up_to_its_end() {
        const END: u64 = 1_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let (mut view, _) = View::open(&path, [7; 16], |_: Seq| Ok(Some([3; 32]))).unwrap();
        let data = EventData::new(&[1, 2]).unwrap();
        let rows = (1..=END + 9).flat_map(|seq| {
            let (class, who) = (EventClass::Other, Principal::Operator);
            let event = EventRow { seq: Seq(seq), n: 0, class, who, data };
            rooms_of(seq).into_iter().map(move |room| Row::Event { feed: Feed::Room(RoomId(room)), event })
        });
        view.apply(&[Delta { upto: Seq(END + 9), rows: rows.collect(), snapshot: None }]).unwrap();

        let mut view = ViewReader::open(&path).unwrap();
        for (followed, events_max) in
            [(&[1_u64][..], 256), (&[1, 2, 3, 4], 256), (&[4, 2], 5), (&[1, 2, 3, 4], 1), (&[5], 8)]
        {
            let (mut at, mut seen) = (Seq(0), Vec::new());
            while at < Seq(END) {
                let feeds: Vec<(Feed, Seq)> =
                    followed.iter().map(|&room| (Feed::Room(RoomId(room)), at)).collect();
                let (found, upto) = merge(&mut view, &feeds, events_max, Seq(END)).unwrap();
                assert!(found.len() < events_max + followed.len() && upto > at, "{followed:?} from {at}");
                seen.extend(found.iter().map(|(event, feed)| (event.seq.0, feed.room().unwrap().0)));
                at = upto;
            }
            let mut expected: Vec<(u64, u64)> = (1..=END)
                .flat_map(|seq| rooms_of(seq).into_iter().map(move |room| (seq, room)))
                .filter(|(_, room)| followed.contains(room))
                .collect();
            expected.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{followed:?}, {events_max} at once");
        }
    }
}

#[cfg(test)]
mod damage_tests; // one flipped bit, read by every reader
