//! The view, fed by the hub's deltas: behind by a random amount, set back by a crash to a synced transaction,
//! with answers that are late, out of order or missing.

use std::collections::{BTreeMap, VecDeque};

use vang_chat::{Feed, RoomId, Seq};
use vang_hub::{ColdEvent, ColdPage, Delta, EventRow, Read, ReadAnswer, ReadError, ReadJob, Row, TextOf};
use vang_journal::{MemoryJournal, Reader};

use crate::environment::Environment;

/// The view's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Complete up to this entry.
    pub(crate) cursor: Seq,
    /// Of keyed feeds each value: an older copy has those that were replaced later.
    pub(crate) events: BTreeMap<Feed, Vec<EventRow>>,
    /// Each with the ones before it: an older copy has these.
    pub(crate) texts: BTreeMap<TextOf, Vec<(Seq, String)>>,
}

/// The simulated view.
#[derive(Debug, Default)]
pub(crate) struct View {
    rows: Rows,
    snapshots: Vec<(Seq, Vec<u8>)>,
    /// The state that survives a power cut.
    synced: (Rows, usize),
    queue: VecDeque<Delta>,
    jobs: Vec<Job>,
}

#[derive(Debug)]
struct Job {
    due: u64,
    until: u64,
    job: ReadJob,
}

/// How long a question waits for the view, ms: as in the server.
const PATIENCE_MS: u64 = 2_000;

impl Rows {
    /// Applies a delta; skips what is there already.
    pub(crate) fn apply(&mut self, delta: &Delta) {
        if delta.upto <= self.cursor {
            return;
        }
        for row in &delta.rows {
            match row {
                Row::Event { feed, event } if event.seq > self.cursor => {
                    self.events.entry(*feed).or_default().push(*event);
                }
                Row::Event { .. } => {}
                Row::Text { seq, of, text } => {
                    let texts = self.texts.entry(*of).or_default();
                    texts.retain(|(before, _)| before < seq);
                    texts.push((*seq, text.clone()));
                }
            }
        }
        self.cursor = delta.upto;
    }

    pub(crate) fn newest_texts(&self) -> impl Iterator<Item = (TextOf, String)> {
        self.texts.iter().filter_map(|(of, texts)| Some((*of, texts.last()?.1.clone())))
    }

    /// The content of an older copy.
    fn truncate(&mut self, to: Seq) {
        self.cursor = self.cursor.min(to);
        for events in self.events.values_mut() {
            events.retain(|event| event.seq <= to);
        }
        self.events.retain(|_, events| !events.is_empty());
        // A room's or account's id is its creating entry.
        for texts in self.texts.values_mut() {
            texts.retain(|(seq, _)| *seq <= to);
        }
        self.texts.retain(|_, texts| !texts.is_empty());
    }

    fn of_room(&self, room: RoomId) -> &[EventRow] {
        self.events.get(&Feed::Room(room)).map_or(&[][..], Vec::as_slice)
    }

    /// A feed's events after this entry; of a keyed feed the newest of each key.
    fn after(&self, feed: Feed, after: Seq) -> Vec<EventRow> {
        let events = self.events.get(&feed).map_or(&[][..], Vec::as_slice);
        let is_newest = |at: usize| events[at + 1..].iter().all(|later| later.n != events[at].n);
        let from = events.partition_point(|event| event.seq <= after);
        (from..events.len()).filter(|&at| !feed.is_keyed() || is_newest(at)).map(|at| events[at]).collect()
    }
}

impl View {
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Is everything written?
    pub(crate) fn are_quiet(&self) -> bool {
        self.queue.is_empty() && self.jobs.is_empty()
    }

    /// Queues a delta.
    pub(crate) fn queue(&mut self, delta: Delta) {
        self.queue.push_back(delta);
    }

    /// Applies a delta at once: during a replay.
    pub(crate) fn apply(&mut self, delta: Delta) {
        self.rows.apply(&delta);
        // A snapshot beyond the cursor cannot be used before the cursor reaches it.
        if let Some(snapshot) = delta.snapshot {
            self.snapshots.push((snapshot.seq, snapshot.pieces.concat()));
        }
    }

    /// One tick: writes some queued deltas.
    pub(crate) fn turn(&mut self, env: &mut Environment) {
        if env.rng.happens(env.weather.view_lag) {
            return;
        }
        let some = env.rng.between(1, 8);
        for _ in 0..some {
            let Some(delta) = self.queue.pop_front() else { break };
            self.apply(delta);
        }
        if env.rng.happens(300) {
            self.synced = (self.rows.clone(), self.snapshots.len());
        }
    }

    /// Writes and syncs everything: an orderly stop.
    pub(crate) fn flush(&mut self) {
        while let Some(delta) = self.queue.pop_front() {
            self.apply(delta);
        }
        self.synced = (self.rows.clone(), self.snapshots.len());
        self.jobs.clear();
    }

    /// The server crashes, and perhaps the machine.
    pub(crate) fn crash(&mut self, env: &mut Environment) {
        self.queue.clear();
        self.jobs.clear();
        if env.rng.happens(500) {
            self.rows = self.synced.0.clone();
            self.snapshots.truncate(self.synced.1);
        }
    }

    /// An older copy is put back; `with_view`: the view's older copy, too.
    pub(crate) fn put_back(&mut self, to: Seq, with_view: bool) {
        if with_view {
            self.rows.truncate(to);
            self.snapshots.retain(|(seq, _)| *seq <= to);
        }
        self.synced = (self.rows.clone(), self.snapshots.len());
    }

    pub(crate) fn reset(&mut self) {
        *self = View::default();
    }

    /// The newest snapshot at or before the cursor.
    pub(crate) fn snapshot(&self) -> Option<&[u8]> {
        let usable = self.snapshots.iter().filter(|(seq, _)| *seq <= self.rows.cursor);
        usable.max_by_key(|(seq, _)| *seq).map(|(_, bytes)| bytes.as_slice())
    }

    /// The hub asks a question.
    pub(crate) fn ask(&mut self, env: &mut Environment, job: ReadJob) {
        let due = env.now() + env.rng.between(1, env.weather.read_ms);
        self.jobs.push(Job { due, until: env.now() + PATIENCE_MS, job });
    }

    /// The answers of this tick, in any order.
    pub(crate) fn answers(
        &mut self,
        env: &mut Environment,
        journal: &mut MemoryJournal,
    ) -> Vec<(u64, Result<ReadAnswer, ReadError>)> {
        let mut answers = Vec::new();
        let jobs = std::mem::take(&mut self.jobs);
        for waiting in jobs {
            let complete = self.rows.cursor >= waiting.job.need;
            if env.now() < waiting.due || (!complete && env.now() < waiting.until) {
                self.jobs.push(waiting);
                continue;
            }
            let job = waiting.job;
            let answer = self.answer(env, journal, &job.read, complete);
            answers.push((job.id, answer));
        }
        let turned = env.rng.below(answers.len() as u64) as usize;
        if turned > 0 {
            env.count("answers out of order");
        }
        answers.rotate_left(turned);
        answers
    }

    fn answer(
        &self,
        env: &mut Environment,
        journal: &mut MemoryJournal,
        read: &Read,
        complete: bool,
    ) -> Result<ReadAnswer, ReadError> {
        if env.rng.happens(env.weather.read_fails) {
            env.count("disk unreadable");
            return Err(ReadError::Unreadable("input/output error".to_owned()));
        }
        if !complete && (matches!(read, Read::Locate(_)) || env.rng.happens(500)) {
            env.count("view behind");
            return Err(ReadError::ViewBehind);
        }
        match read {
            Read::Locate(asked) => {
                env.count("read: locate");
                Ok(ReadAnswer::Located(asked.iter().map(|&(room, n)| self.seq_of(room, n)).collect()))
            }
            Read::Events { feeds, events_max, bytes_max } => {
                env.count("read: events");
                let mut found: Vec<(Feed, EventRow)> = Vec::new();
                for &(feed, after) in feeds {
                    found.extend(self.rows.after(feed, after).into_iter().map(|row| (feed, row)));
                }
                found.sort_by_key(|(_, row)| row.seq);
                Ok(ReadAnswer::Page(self.page(journal, &found, *events_max, *bytes_max)))
            }
            Read::Entries(seqs) => {
                env.count("read: entries");
                let entries = journal.get(seqs, usize::MAX).expect("the memory can be read");
                Ok(ReadAnswer::Entries(entries))
            }
            // `vang-hub`'s tests use the real index; the simulation does not search.
            Read::Find(_) => Err(ReadError::Unreadable("this disk has no index".to_owned())),
            Read::Messages { room, since, limit, bytes_max } => {
                env.count("read: messages");
                let rows = self.rows.of_room(*room).iter().filter(|row| row.is_message() && row.n > *since);
                let found: Vec<_> = rows.map(|&row| (Feed::Room(*room), row)).collect();
                Ok(ReadAnswer::Page(self.page(journal, &found, *limit, *bytes_max)))
            }
        }
    }

    fn seq_of(&self, room: RoomId, n: u64) -> Option<Seq> {
        if n == 0 {
            return Some(Seq(0));
        }
        self.rows.of_room(room).iter().find(|row| row.is_message() && row.n == n).map(|row| row.seq)
    }

    fn page(
        &self,
        journal: &mut MemoryJournal,
        found: &[(Feed, EventRow)],
        events_max: usize,
        bytes_max: usize,
    ) -> ColdPage {
        let (mut events, mut bytes) = (Vec::new(), 0);
        for &(feed, row) in found {
            let entry = journal.get(&[row.seq], usize::MAX).expect("memory does not fail").remove(0);
            let payload = entry.as_ref().expect("the view is never ahead").payload.as_ref();
            bytes += payload.map_or(0, |payload| payload.bytes.len());
            if events.len() == events_max || (!events.is_empty() && bytes > bytes_max) {
                let upto = events.last().map_or(Seq(0), ColdEvent::seq);
                return ColdPage { events, upto };
            }
            events.push(ColdEvent { feed, row, entry });
        }
        ColdPage { events, upto: self.rows.cursor }
    }
}
