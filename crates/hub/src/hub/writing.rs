//! Batches out, entries applied at their places, replies and growth; and what happens when the
//! journal fails.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use vang_chat::{Command, Event, RoomId, Seq, Time};
use vang_journal::{Appended, Entry, Envelope, JournalError, Payload, decode_name};
use vang_proto::vang::{Code, ErrorReply, Value};

use crate::admission::refused;
use crate::clock::Now;
use crate::limits::{CHECKPOINT_EVERY, JOURNAL_RETRY_MS, SNAPSHOT_EVERY};
use crate::order::{Asker, Ordered, Settled, Waiting};
use crate::replay::{has_name, note_name, rows_of};
use crate::tail::Run;
use crate::{Delta, Row};

use super::{Hub, Output, Trouble};

/// Bytes of an event that are not what was said, about.
const EVENT_HEADER_BYTES: usize = 256;

impl Hub {
    /// Time to write? Call after requests, and when `deadline` is over.
    pub fn poll(&mut self, now: Now) {
        if let Some(Trouble::Halted(why)) = &self.trouble {
            let error = ErrorReply::new(Code::Unavailable, why.clone());
            self.refuse_waiting(&error);
            return;
        }
        if self.retry_at.is_some_and(|at| now.steady < at) {
            return;
        }
        if self.order.is_settling() {
            if self.retry_at.take().is_some() {
                self.outputs.push_back(Output::Settle { after: self.state.seq() });
            }
            return;
        }
        self.retry_at = None;
        let checkpoints_alone = self.stopping && !self.checkpoints.is_empty();
        if !self.order.is_idle() || !(self.order.has_waiting() || checkpoints_alone) {
            return;
        }
        match self.clock.stamp(now, self.newest_time()) {
            Ok(time) => {
                self.trouble = None;
                self.checkpoints_in_flight = self.checkpoints.len();
                let batch = self.order.batch(time, self.checkpoints.clone());
                self.outputs.push_back(Output::Append(batch));
            }
            Err(ahead) => {
                self.refuse_waiting(&ErrorReply::new(Code::ClockAhead, ahead.to_string()));
                self.trouble = Some(Trouble::Clock(ahead.to_string()));
            }
        }
    }

    /// Of the journal's newest entry, applied or not.
    fn newest_time(&self) -> Time {
        let written = self.written.as_ref().and_then(|(_, batch)| batch.back());
        written.map_or(self.state.time(), |newest| newest.envelope.time.max(self.state.time()))
    }

    /// When to call `poll`, if nothing else happens before.
    pub fn deadline(&self) -> Option<vang_proto::Millis> {
        self.retry_at
    }

    /// Deciding an entry failed in a way that it must not: nothing is ordered any more. What is there
    /// can still be read.
    pub fn halt(&mut self, why: &str) {
        let why = format!("the server cannot order anything any more: {why}; restart it");
        let unknown = ErrorReply::new(Code::Unknown, why.clone());
        for asker in self.order.askers().collect::<Vec<_>>() {
            self.refuse(asker, &unknown);
        }
        self.trouble = Some(Trouble::Halted(why));
    }

    /// The tables do not move: whoever waits for the order is told to come back, instead of nothing.
    pub fn refuse_busy(&mut self) {
        let detail = "the server's tables cannot be written and are too far behind; try again";
        self.refuse_waiting(&ErrorReply::new(Code::Busy, detail).with("retry-after", JOURNAL_RETRY_MS));
    }

    fn refuse_waiting(&mut self, error: &ErrorReply) {
        for asker in self.order.drop_waiting() {
            self.refuse(asker, error);
        }
    }

    /// What became of the batch. What was written is applied by `poll_output`, when nothing else is to be
    /// performed: call `poll` before, and the next batch is on its way to the disk meanwhile.
    pub fn appended(&mut self, now: Now, appended: Appended) {
        self.apply_written();
        if self.is_halted() {
            return;
        }
        match appended {
            Appended::Appended { first } if first == self.state.seq().next() => {
                // After a failure they go with the next batch.
                self.checkpoints.drain(..std::mem::take(&mut self.checkpoints_in_flight));
                self.written = Some((first, self.order.take_appended()));
            }
            // Another process wrote in between: read back what the order really is.
            Appended::Appended { .. } => self.begin_settling(),
            Appended::NotAppended(fault) => {
                self.retry_at = Some(now.steady + JOURNAL_RETRY_MS);
                let error = journal_error(&fault);
                let ours = self.order.take_appended();
                self.put_back(ours, &error);
            }
            Appended::Unknown(fault) => {
                self.lost = Some(journal_error(&fault));
                self.begin_settling();
            }
        }
    }

    /// Applies the batch that was written last, if it was not yet.
    pub(super) fn apply_written(&mut self) {
        let Some((first, ours)) = self.written.take() else { return };
        let mut growth = Growth::of(&ours);
        for (index, ordered) in ours.into_iter().enumerate() {
            let seq = Seq(first.0 + index as u64);
            self.apply(&mut growth, seq, &ordered.envelope, Some(&ordered.payload), ordered.asker);
        }
        self.grow(growth);
    }

    pub(super) fn is_halted(&self) -> bool {
        matches!(self.trouble, Some(Trouble::Halted(_)))
    }

    fn begin_settling(&mut self) {
        self.order.begin_settling();
        self.outputs.push_back(Output::Settle { after: self.state.seq() });
    }

    /// Nothing of it was written: whoever asked is told, the server's own commands wait again.
    fn put_back(&mut self, ours: VecDeque<Ordered>, error: &ErrorReply) {
        for ordered in ours.into_iter().rev() {
            match ordered.asker {
                Some(asker) => self.refuse(asker, error),
                None if ordered.own => self.order.push_first(Waiting {
                    command: ordered.envelope.command,
                    payload: ordered.payload,
                    asker: None,
                }),
                // Its asker was told that nobody knows yet, and asks again if it still matters.
                None => {}
            }
        }
    }

    /// What the journal really holds after the last entry applied, or why that cannot be told yet.
    pub fn settled(&mut self, now: Now, settled: Result<Settled, JournalError>) {
        self.apply_written();
        if self.is_halted() {
            return;
        }
        let entries = match settled {
            Ok(settled) => settled.entries,
            Err(fault) => {
                self.retry_at = Some(now.steady + JOURNAL_RETRY_MS);
                let detail = format!("it is not known yet whether this was written: {fault}");
                let unknown = ErrorReply::new(Code::Unknown, detail).with("retry-after", JOURNAL_RETRY_MS);
                for asker in self.order.askers().collect::<Vec<_>>() {
                    self.refuse(asker, &unknown);
                }
                self.refuse_waiting(&journal_error(&fault));
                return;
            }
        };
        self.take_entries(&entries);
        let lost = self.order.take_appended();
        let error = self.lost.take().unwrap_or_else(|| {
            ErrorReply::new(Code::Unavailable, "the journal did not take it; nothing was posted")
                .with("retry-after", JOURNAL_RETRY_MS)
        });
        self.put_back(lost, &error);
    }

    /// Entries that stand in the journal after the last one applied, in order: of this process, known by their origin, and
    /// of any other alike. Call it where another process orders as well; entries that are applied already are skipped.
    pub fn arrived(&mut self, entries: &[Entry]) {
        self.apply_written();
        if !self.is_halted() {
            self.take_entries(entries);
        }
    }

    fn take_entries(&mut self, entries: &[Entry]) {
        let mut growth = Growth::default();
        for entry in entries {
            if entry.seq != self.state.seq().next() {
                continue;
            }
            let envelope = match Envelope::decode(&entry.envelope) {
                Ok(envelope) => envelope,
                // A newer program wrote it. Nothing after it can be decided here, so nothing after it is.
                Err(bad) => {
                    self.halt(&format!("entry {} cannot be read ({bad}); a newer vang wrote it", entry.seq));
                    break;
                }
            };
            let ours = self.order.take_own(envelope.origin);
            let asker = ours.and_then(|ordered| ordered.asker);
            self.apply(&mut growth, entry.seq, &envelope, entry.payload.as_ref(), asker);
        }
        self.grow(growth);
    }

    /// Decides an entry at its place; what comes of it is gathered in `growth`.
    fn apply(
        &mut self,
        growth: &mut Growth,
        seq: Seq,
        envelope: &Envelope,
        payload: Option<&Payload>,
        asker: Option<Asker>,
    ) {
        growth.before = match envelope.command {
            Command::Send { room, .. } | Command::Join { room, .. } | Command::Leave { room, .. } => {
                self.state.room(room).map_or(Seq(0), |room| room.seq)
            }
            _ => Seq(0),
        };
        let outcome = self.state.apply(envelope.position(seq), &envelope.command);
        if seq.0.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push((seq, self.state.hash()));
        }
        match outcome {
            Ok(events) => {
                for event in &events {
                    self.messages += u64::from(matches!(event, Event::MessageSent { .. }));
                    growth.opened |= matches!(event, Event::Opened { node } if *node != self.order.node());
                    self.take_note(growth, seq, event, envelope, payload);
                    if let Some(asker) = &asker {
                        self.answer(asker, seq, event, payload);
                    }
                }
            }
            Err(refusal) => {
                if let Some(asker) = asker {
                    self.refuse(asker, &refused(&refusal));
                }
            }
        }
    }

    fn take_note(
        &mut self,
        growth: &mut Growth,
        seq: Seq,
        event: &Event,
        envelope: &Envelope,
        payload: Option<&Payload>,
    ) {
        let mut name = || Ok(payload.and_then(|payload| decode_name(&payload.bytes).ok()));
        let from = growth.rows.len();
        // Reading a payload that is at hand cannot fail.
        let _ = rows_of(&self.state, seq, event, &mut name, &mut growth.rows);
        if has_name(&envelope.command) {
            for row in &growth.rows[from..] {
                note_name(&mut self.book, row);
            }
        }
        for at in from..growth.rows.len() {
            if let Row::RoomEvent { room, n, .. } = growth.rows[at] {
                let (out, marks) = growth.room(room);
                self.encoder.write(out, &self.book, (room, seq, n), envelope, payload);
                marks.push((seq, out.len() as u32));
            }
        }
    }

    fn answer(&mut self, asker: &Asker, seq: Seq, event: &Event, payload: Option<&Payload>) {
        let at = ("seq", Value::Number(seq.0));
        match *event {
            Event::MessageSent { room, n, .. } => self.answer_sent(asker, room, n, seq),
            Event::AlreadySent { room, n, seq } => self.answer_sent(asker, room, n, seq),
            Event::RoomCreated { room, .. }
            | Event::MemberJoined { room, .. }
            | Event::MemberLeft { room, .. } => {
                let name = self.book.room(room).into_owned();
                self.accept(asker, &[("room", Value::from(&*name)), at], &name);
            }
            Event::AccountAdded { .. } => {
                let name = payload.and_then(|payload| decode_name(&payload.bytes).ok()).unwrap_or_default();
                self.accept(asker, &[("name", Value::from(&*name)), at], &name);
            }
            Event::Opened { .. } | Event::RulesSwitched { .. } | Event::Ticked => {
                self.accept(asker, &[at], "done");
            }
        }
    }

    /// A batch was applied: its runs go to the tails, the tables are told, sessions are woken.
    fn grow(&mut self, growth: Growth) {
        for RoomGrowth { room, before, out, marks } in growth.rooms {
            // What was guessed too large does not stay in memory.
            let bytes =
                if out.capacity() > 2 * out.len() { Bytes::copy_from_slice(&out) } else { out.freeze() };
            self.tails.push(room, before, Run { bytes, marks });
            let Some(followers) = self.followers.get(&room) else { continue };
            for &(id, index) in followers {
                let slot = self.sessions.get_mut(id.slot as usize);
                let Some(session) = slot.filter(|session| session.generation == id.generation) else {
                    continue;
                };
                if let Some(cursor) = &mut session.cursor {
                    cursor.mark_grown(index);
                }
                if !session.woken {
                    session.woken = true;
                    self.outputs.push_back(Output::Wake { session: id });
                }
            }
        }
        if growth.opened {
            self.announce_epoch();
        }
        let seq = self.state.seq();
        let every = SNAPSHOT_EVERY.max(self.state.items() as u64 / 4);
        let snapshot = (seq.0 - self.snapshot_at.0 >= every).then(|| self.snapshot());
        self.outputs.push_back(Output::UpdateView(Delta { upto: seq, rows: growth.rows, snapshot }));
    }

    pub(super) fn snapshot(&mut self) -> Vec<u8> {
        self.snapshot_at = self.state.seq();
        self.state.to_snapshot()
    }
}

/// What a batch adds: to each room a run, to the tables rows.
#[derive(Default)]
struct Growth {
    rooms: Vec<RoomGrowth>,
    rows: Vec<Row>,
    /// Another process opened the journal.
    opened: bool,
    /// The newest event, before this entry, of the room that the entry is about.
    before: Seq,
    /// Bytes that the events of its first room will have, about: nearly always all of them are there.
    bytes: usize,
}

struct RoomGrowth {
    room: RoomId,
    before: Seq,
    out: BytesMut,
    marks: Vec<(Seq, u32)>,
}

impl Growth {
    fn of(batch: &VecDeque<Ordered>) -> Growth {
        let bytes = batch.iter().map(|ordered| ordered.payload.bytes.len() + EVENT_HEADER_BYTES).sum();
        Growth { rows: Vec::with_capacity(batch.len()), bytes, ..Growth::default() }
    }

    pub(super) fn room(&mut self, room: RoomId) -> (&mut BytesMut, &mut Vec<(Seq, u32)>) {
        // Nearly always the room of the entry before, or one of a few.
        let at = match self.rooms.iter().rposition(|one| one.room == room) {
            Some(at) => at,
            None => {
                let before = self.before;
                let out = BytesMut::with_capacity(std::mem::take(&mut self.bytes));
                self.rooms.push(RoomGrowth { room, before, out, marks: Vec::new() });
                self.rooms.len() - 1
            }
        };
        let RoomGrowth { out, marks, .. } = &mut self.rooms[at];
        (out, marks)
    }
}

fn journal_error(fault: &JournalError) -> ErrorReply {
    let code = match fault {
        JournalError::Full(_) => Code::DiskFull,
        JournalError::Unavailable(_) | JournalError::Damaged { .. } | JournalError::Unreadable { .. } => {
            Code::Unavailable
        }
    };
    ErrorReply::new(code, format!("{fault}; nothing was posted")).with("retry-after", JOURNAL_RETRY_MS)
}
