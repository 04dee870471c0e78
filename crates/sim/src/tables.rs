//! The tables that answer questions, as the hub's deltas make them: behind by a random amount, set
//! back by a crash to some transaction that was synced, answering late, out of order, or not at all.

use std::collections::{BTreeMap, VecDeque};

use vang_chat::{AccountId, RoomId, Seq};
use vang_hub::{ColdEvent, ColdPage, Delta, Read, ReadAnswer, ReadFault, ReadJob, Row};
use vang_journal::{MemoryJournal, Reader};

use crate::fate::Fate;

/// A row of the table of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventRow {
    /// The entry.
    pub(crate) seq: Seq,
    /// A message's number; of another event, the room's newest then.
    pub(crate) n: u64,
    /// Is it a message?
    pub(crate) message: bool,
}

/// What is in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Complete up to here.
    pub(crate) cursor: Seq,
    /// Events of each room.
    pub(crate) events: BTreeMap<RoomId, Vec<EventRow>>,
    /// Names of rooms.
    pub(crate) rooms: BTreeMap<RoomId, String>,
    /// Names of accounts.
    pub(crate) accounts: BTreeMap<AccountId, String>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    rows: Rows,
    snapshots: Vec<(Seq, Vec<u8>)>,
    /// What a power cut leaves.
    synced: (Rows, usize),
    told: VecDeque<Delta>,
    jobs: Vec<Job>,
}

#[derive(Debug)]
struct Job {
    due: u64,
    until: u64,
    job: ReadJob,
}

/// How long a question waits for the tables, ms: as a server does.
const PATIENCE_MS: u64 = 2_000;

impl Rows {
    /// Takes over a delta; what is there already is skipped.
    pub(crate) fn apply(&mut self, delta: &Delta) {
        if delta.upto <= self.cursor {
            return;
        }
        for row in &delta.rows {
            match row {
                Row::RoomEvent { room, seq, n, message } if *seq > self.cursor => {
                    let row = EventRow { seq: *seq, n: *n, message: *message };
                    self.events.entry(*room).or_default().push(row);
                }
                Row::RoomEvent { .. } => {}
                Row::RoomName { room, name } => drop(self.rooms.insert(*room, name.clone())),
                Row::AccountName { account, name } => drop(self.accounts.insert(*account, name.clone())),
            }
        }
        self.cursor = delta.upto;
    }

    /// As an older copy has them.
    fn truncate(&mut self, to: Seq) {
        self.cursor = self.cursor.min(to);
        for events in self.events.values_mut() {
            events.retain(|event| event.seq <= to);
        }
        self.events.retain(|_, events| !events.is_empty());
        // A room's and an account's id is the entry that made it.
        self.rooms.retain(|room, _| room.0 <= to.0);
        self.accounts.retain(|account, _| account.0 <= to.0);
    }

    fn after(&self, room: RoomId, after: Seq) -> &[EventRow] {
        let events = self.events.get(&room).map_or(&[][..], Vec::as_slice);
        &events[events.partition_point(|event| event.seq <= after)..]
    }
}

impl Tables {
    /// What is in them now.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Everything that they were told is in.
    pub(crate) fn are_quiet(&self) -> bool {
        self.told.is_empty() && self.jobs.is_empty()
    }

    /// The hub tells something.
    pub(crate) fn tell(&mut self, delta: Delta) {
        self.told.push_back(delta);
    }

    /// Takes over a delta at once: during a replay.
    pub(crate) fn apply(&mut self, delta: Delta) {
        self.rows.apply(&delta);
        // One that lies beyond the cursor could not be used before the cursor comes there.
        if let Some(snapshot) = delta.snapshot {
            self.snapshots.push((delta.upto, snapshot));
        }
    }

    /// Time passes: some of what was told is written.
    pub(crate) fn turn(&mut self, fate: &mut Fate) {
        if fate.rng.happens(fate.weather.tables_lag) {
            return;
        }
        let some = fate.rng.between(1, 8);
        for _ in 0..some {
            let Some(delta) = self.told.pop_front() else { break };
            self.apply(delta);
        }
        if fate.rng.happens(300) {
            self.synced = (self.rows.clone(), self.snapshots.len());
        }
    }

    /// Everything that was told is written and synced: a stop in good order.
    pub(crate) fn flush(&mut self) {
        while let Some(delta) = self.told.pop_front() {
            self.apply(delta);
        }
        self.synced = (self.rows.clone(), self.snapshots.len());
        self.jobs.clear();
    }

    /// The server dies; the machine too, perhaps.
    pub(crate) fn crash(&mut self, fate: &mut Fate) {
        self.told.clear();
        self.jobs.clear();
        if fate.rng.happens(500) {
            self.rows = self.synced.0.clone();
            self.snapshots.truncate(self.synced.1);
        }
    }

    /// An older copy is put back; `with_tables`: the tables' older copy too.
    pub(crate) fn put_back(&mut self, to: Seq, with_tables: bool) {
        if with_tables {
            self.rows.truncate(to);
            self.snapshots.retain(|(seq, _)| *seq <= to);
        }
        self.synced = (self.rows.clone(), self.snapshots.len());
    }

    /// Empties everything.
    pub(crate) fn reset(&mut self) {
        *self = Tables::default();
    }

    /// The newest snapshot that does not lie beyond the cursor.
    pub(crate) fn snapshot(&self) -> Option<&[u8]> {
        let usable = self.snapshots.iter().filter(|(seq, _)| *seq <= self.rows.cursor);
        usable.max_by_key(|(seq, _)| *seq).map(|(_, bytes)| bytes.as_slice())
    }

    /// The hub asks.
    pub(crate) fn ask(&mut self, fate: &mut Fate, job: ReadJob) {
        let due = fate.now() + fate.rng.between(1, fate.weather.read_ms);
        self.jobs.push(Job { due, until: fate.now() + PATIENCE_MS, job });
    }

    /// Questions that are answered now, in any order.
    pub(crate) fn answers(
        &mut self,
        fate: &mut Fate,
        journal: &mut MemoryJournal,
    ) -> Vec<(u64, Result<ReadAnswer, ReadFault>)> {
        let mut answers = Vec::new();
        let jobs = std::mem::take(&mut self.jobs);
        for waiting in jobs {
            let complete = self.rows.cursor >= waiting.job.need;
            if fate.now() < waiting.due || (!complete && fate.now() < waiting.until) {
                self.jobs.push(waiting);
                continue;
            }
            let job = waiting.job;
            let answer = self.answer(fate, journal, &job.read, complete);
            answers.push((job.id, answer));
        }
        let turned = fate.rng.below(answers.len() as u64) as usize;
        if turned > 0 {
            fate.count("answers out of order");
        }
        answers.rotate_left(turned);
        answers
    }

    fn answer(
        &self,
        fate: &mut Fate,
        journal: &mut MemoryJournal,
        read: &Read,
        complete: bool,
    ) -> Result<ReadAnswer, ReadFault> {
        if fate.rng.happens(fate.weather.read_fails) {
            fate.count("disk unreadable");
            return Err(ReadFault::Unreadable("input/output error".to_owned()));
        }
        if !complete && (matches!(read, Read::Locate(_)) || fate.rng.happens(500)) {
            fate.count("tables behind");
            return Err(ReadFault::ViewBehind);
        }
        match read {
            Read::Locate(asked) => {
                fate.count("read: locate");
                Ok(ReadAnswer::Located(asked.iter().map(|&(room, n)| self.seq_of(room, n)).collect()))
            }
            Read::Events { rooms, events_max, bytes_max } => {
                fate.count("read: events");
                let mut found: Vec<(RoomId, EventRow)> = Vec::new();
                for &(room, after) in rooms {
                    found.extend(self.rows.after(room, after).iter().map(|&row| (room, row)));
                }
                found.sort_by_key(|(_, row)| row.seq);
                Ok(ReadAnswer::Page(self.page(journal, &found, *events_max, *bytes_max)))
            }
            // `vang-hub`'s tests ask the real index; here nobody asks.
            Read::Find(_) => Err(ReadFault::Unreadable("this disk has no index".to_owned())),
            Read::Messages { room, since, limit, bytes_max } => {
                fate.count("read: messages");
                let rows = self.rows.after(*room, Seq(0)).iter();
                let found: Vec<_> =
                    rows.filter(|row| row.message && row.n > *since).map(|&row| (*room, row)).collect();
                Ok(ReadAnswer::Page(self.page(journal, &found, *limit, *bytes_max)))
            }
        }
    }

    fn seq_of(&self, room: RoomId, n: u64) -> Option<Seq> {
        if n == 0 {
            return Some(Seq(0));
        }
        self.rows.after(room, Seq(0)).iter().find(|row| row.message && row.n == n).map(|row| row.seq)
    }

    fn page(
        &self,
        journal: &mut MemoryJournal,
        found: &[(RoomId, EventRow)],
        events_max: usize,
        bytes_max: usize,
    ) -> ColdPage {
        let (mut events, mut bytes) = (Vec::new(), 0);
        for &(room, row) in found {
            let entry = journal.get(&[row.seq], usize::MAX).expect("memory does not fail").remove(0);
            let payload = entry.as_ref().expect("the tables are never ahead").payload.as_ref();
            bytes += payload.map_or(0, |payload| payload.bytes.len());
            if events.len() == events_max || (!events.is_empty() && bytes > bytes_max) {
                let upto = events.last().map_or(Seq(0), ColdEvent::seq);
                return ColdPage { events, upto };
            }
            events.push(ColdEvent { room, n: row.n, message: row.message, entry });
        }
        ColdPage { events, upto: self.rows.cursor }
    }
}
