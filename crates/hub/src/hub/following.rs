//! Sessions as cursors: where following begins and resumes, what a session is given next, and what
//! comes from the disk for those who fell behind.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use vang_chat::{Command, Node, Principal, RoomId, Seq, StartAfter};
use vang_journal::Envelope;
use vang_proto::limits::FOLLOWED_ROOMS_MAX;
use vang_proto::vang::{
    Code, ErrorReply, FollowFrom, Page as PageReply, Value, write_epoch, write_hole, write_page,
};

use crate::cold::{ColdEvent, ColdPage, Read, ReadAnswer, ReadFault, ReadJob};
use crate::cursor::{Cursor, Followed, Pulled, Sight};
use crate::encode::Encoder;
use crate::limits::{COLD_BYTES_MAX, COLD_EVENTS_MAX, EPOCH_PARTS_MAX, JOURNAL_RETRY_MS};
use crate::order::Asker;

use super::{Cold, Hub, Output, Reading, SessionId};

impl Hub {
    pub(super) fn follow(
        &mut self,
        asker: &Asker,
        who: &Principal,
        rooms: &[String],
        from: FollowFrom,
    ) -> Result<(), ErrorReply> {
        let ids = rooms.iter().map(|name| self.room(name, who)).collect::<Result<Vec<_>, ErrorReply>>()?;
        let Some(session) = self.session_mut(asker.session) else { return Ok(()) };
        if from != FollowFrom::Now && (session.cursor.is_some() || session.placing.is_some()) {
            let detail = "this connection follows already; 'since' and 'seq' go with its first follow";
            return Err(ErrorReply::new(Code::AlreadyFollowing, detail));
        }
        if let Some(behind) = &mut session.placing {
            behind.push((asker.clone(), ids));
            return Ok(());
        }
        let now = self.state.seq();
        match from {
            FollowFrom::Now => {
                let starts = ids.iter().map(|&room| (room, now, 0)).collect();
                self.begin_following(asker, starts);
            }
            FollowFrom::Position { journal, epoch, seq } => {
                let seq = self.resume_point(&journal, epoch.as_deref(), Seq(seq))?;
                let starts = ids.iter().map(|&room| (room, seq, 0)).collect();
                self.begin_following(asker, starts);
            }
            FollowFrom::Numbers(numbers) => {
                let need = ids.iter().filter_map(|&room| self.state.room(room)).map(|room| room.seq).max();
                let starts = ids.iter().copied().zip(numbers.iter().copied());
                // Who has more than there is, as far as it may know, has all of it: what is hidden later is told as a hole.
                let newest = |room| self.state.room(room).map_or(0, |there| there.newest_for(who));
                let starts = starts
                    .map(|(room, n)| (room, n.min(newest(room)), self.start_after(room, who, n)))
                    .collect::<Vec<_>>();
                let find = |&(room, n, start): &(RoomId, u64, StartAfter)| match start {
                    StartAfter::Message => Some((room, n)),
                    StartAfter::Entry(_) => None,
                };
                let asked = starts.iter().filter_map(find).collect();
                if let Some(session) = self.session_mut(asker.session) {
                    session.placing = Some(Vec::new());
                }
                let reading = Reading::Follow { asker: asker.clone(), starts };
                self.read(need.unwrap_or_default(), Read::Locate(asked), reading);
            }
        }
        Ok(())
    }

    /// Where a client that was here before goes on; refuses a position that is not this journal's.
    fn resume_point(&self, journal: &str, epoch: Option<&str>, seq: Seq) -> Result<Seq, ErrorReply> {
        let known = epoch.map(|epoch| {
            // No server gives more of them, and each is looked up.
            let nodes = epoch.split('.').take(EPOCH_PARTS_MAX);
            let nodes = nodes.filter_map(|node| u64::from_str_radix(node, 16).ok());
            nodes.map(Node).find_map(|node| self.state.common_with(node, seq))
        });
        let ours = self.identity.id_hex();
        if journal != ours {
            let changed = |what: &str| {
                let detail = format!("the server has another journal than the one resumed; {what}");
                ErrorReply::new(Code::JournalChanged, detail).with("journal", ours)
            };
            return Err(match known.flatten() {
                // A journal restored from a backup has the openings of the one that it was made of.
                Some(common) => changed("resume it from the seq given, the last that both have in common")
                    .with("seq", common.0)
                    .with("epoch", self.epoch()),
                None => changed("start again from room numbers"),
            });
        }
        let end = self.state.seq();
        let detail = || format!("position {} is not in this journal any more; it ends at {end}", seq.0);
        match known {
            Some(Some(common)) if common == seq => Ok(seq),
            Some(Some(common)) => Err(ErrorReply::new(Code::SeqAhead, detail())
                .with("seq", common.0)
                .with("epoch", self.epoch())),
            Some(None) => Err(ErrorReply::new(Code::SeqAhead, detail())),
            None if seq > end => Err(ErrorReply::new(Code::SeqAhead, detail())),
            None => Ok(seq),
        }
    }

    /// Where a reader's following of a room after message `n` starts, as far as the reader may know.
    fn start_after(&self, room: RoomId, who: &Principal, n: u64) -> StartAfter {
        match self.state.room(room) {
            Some(there) => there.start_after(who, n).unwrap_or(StartAfter::Entry(self.state.seq())),
            None => StartAfter::Entry(self.state.seq()),
        }
    }

    /// What came behind a `follow` that had to be placed first.
    fn follow_behind(&mut self, id: SessionId) {
        let behind = self.session_mut(id).and_then(|session| session.placing.take());
        let now = self.state.seq();
        for (asker, rooms) in behind.into_iter().flatten() {
            self.begin_following(&asker, rooms.into_iter().map(|room| (room, now, 0)).collect());
        }
    }

    fn begin_following(&mut self, asker: &Asker, starts: Vec<(RoomId, Seq, u64)>) {
        let names: Vec<_> = starts.iter().map(|(room, _, _)| self.book.room(*room).into_owned()).collect();
        let id = asker.session;
        let followed = self.session(id).and_then(|session| session.cursor.as_ref());
        if followed.map_or(0, |cursor| cursor.rooms.len()) + starts.len() > FOLLOWED_ROOMS_MAX {
            let detail = format!("one connection follows at most {FOLLOWED_ROOMS_MAX} rooms");
            let error = ErrorReply::new(Code::TooMany, detail).with("limit", FOLLOWED_ROOMS_MAX as u64);
            return self.refuse(asker.clone(), &error);
        }
        let first = starts.iter().map(|&(_, seq, _)| seq).min().unwrap_or_default();
        let Some(session) =
            self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
        else {
            return;
        };
        session.epoch_due = false;
        let cursor = session.cursor.get_or_insert_with(|| Cursor::at(first));
        let seq = cursor.seq;
        // A room that is followed already stays as it is, and of one that is named twice the first counts. One step
        // for each room that is followed or named: both are at most `FOLLOWED_ROOMS_MAX`.
        let mut fresh: HashSet<RoomId> = starts.iter().map(|&(room, _, _)| room).collect();
        for followed in &cursor.rooms {
            fresh.remove(&followed.room);
        }
        for (room, from, since) in starts {
            if !fresh.remove(&room) {
                continue;
            }
            let followers = self.followers.entry(room).or_default();
            let index = cursor.rooms.len() as u32;
            let place = followers.len() as u32;
            followers.push((id, index));
            cursor.rooms.push(Followed { room, from, since, place, is_grown: false });
            cursor.mark_grown(index);
        }
        let keys = [
            ("journal", Value::Text(self.identity.id_hex())),
            ("epoch", self.epoch().into()),
            ("seq", seq.0.into()),
        ];
        self.accept(asker, &keys, &names.join(" "));
        self.outputs.push_back(Output::Follows { session: id });
        self.wake(id);
    }

    /// Another process has opened the journal: sends each follower the event `epoch`, before anything that came after the
    /// opening. The client resumes with this epoch, and gets no event twice.
    pub(super) fn announce_epoch(&mut self) {
        let due: Vec<SessionId> = self.session_ids(|session| session.cursor.is_some()).collect();
        for id in due {
            if let Some(session) = self.session_mut(id) {
                session.epoch_due = true;
            }
            self.wake(id);
        }
    }

    pub(super) fn wake(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id)
            && !session.woken
        {
            session.woken = true;
            self.outputs.push_back(Output::Wake { session: id });
        }
    }

    /// Gives a session what comes next for it. `true`: there may be more at once. Call it when the
    /// session was woken, and again whenever what it gave is written.
    pub fn pull(&mut self, id: SessionId, out: &mut Vec<Bytes>) -> bool {
        if self.session(id).is_some_and(|session| session.epoch_due) {
            out.push(write_epoch(&self.epoch()));
        }
        let Some(session) =
            self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
        else {
            return false;
        };
        session.woken = false;
        session.epoch_due = false;
        let Some(cursor) = &mut session.cursor else { return false };
        match std::mem::replace(&mut session.cold, Cold::No) {
            Cold::No => {}
            Cold::Reading => {
                session.cold = Cold::Reading;
                return false;
            }
            Cold::Ready { slices, upto } => {
                cursor.seq = cursor.seq.max(upto);
                if !slices.is_empty() {
                    out.extend(slices);
                    return true;
                }
            }
        }
        let reader = session.speaking.as_ref().map_or(Principal::Operator, |speaking| speaking.principal);
        let sight = Sight { state: &self.state, tails: &self.tails, book: &self.book, reader: &reader };
        match cursor.pull(&sight, out) {
            Pulled::CaughtUp => false,
            Pulled::More => {
                if out.is_empty() {
                    // A stretch that this reader may not see; it goes on when others had their turn.
                    self.wake(id);
                }
                true
            }
            Pulled::NeedsDisk(rooms) => {
                session.cold = Cold::Reading;
                let before = |room: RoomId| match self.tails.get(room) {
                    Some(tail) => tail.before,
                    None => self.state.room(room).map_or(Seq(0), |room| room.seq),
                };
                let need = rooms.iter().map(|&(room, _)| before(room)).max().unwrap_or_default();
                let read = Read::Events { rooms, events_max: COLD_EVENTS_MAX, bytes_max: COLD_BYTES_MAX };
                self.read(need, read, Reading::Cursor { session: id, until: self.state.seq() });
                !out.is_empty()
            }
        }
    }

    pub(super) fn read(&mut self, need: Seq, read: Read, reading: Reading) {
        self.next_read += 1;
        let id = self.next_read;
        let session = reading.session();
        self.reads.insert(id, reading);
        self.outputs.push_back(Output::Read(ReadJob { id, session, need, read }));
    }

    /// An answer from the disk. Every question must get one, also when its session is gone: it is forgotten then.
    pub fn answer_read(&mut self, id: u64, answer: Result<ReadAnswer, ReadFault>) {
        let reading = self.reads.remove(&id);
        if let Some(reading) = &reading {
            let finds = matches!(reading, Reading::Find { .. });
            let Some(session) = self.session_mut(reading.session()) else { return };
            session.is_finding &= !finds;
        }
        match (reading, answer) {
            (Some(Reading::Cursor { session, until }), Ok(ReadAnswer::Page(mut page))) => {
                // The tables may know more by now, also of rooms that were not asked for: going on to
                // their end would leave those out.
                page.events.retain(|event| event.seq() <= until);
                page.upto = page.upto.min(until);
                self.take_cold(session, page);
            }
            // The cursor stays where it is; the session asks again when it is woken or written out.
            (Some(Reading::Cursor { session, .. }), _) => {
                if let Some(session) = self.session_mut(session) {
                    session.cold = Cold::No;
                }
                self.wake(session);
            }
            (Some(Reading::Follow { asker, starts }), Ok(ReadAnswer::Located(found))) => {
                let now = self.state.seq();
                let mut found = found.into_iter();
                let place = |(room, n, start)| match start {
                    StartAfter::Entry(seq) => (room, seq, n),
                    // The tables may have lost it: then what comes next is all that can be promised.
                    StartAfter::Message => (room, found.next().flatten().unwrap_or(now), n),
                };
                self.begin_following(&asker, starts.into_iter().map(place).collect());
                self.follow_behind(asker.session);
            }
            (Some(Reading::History { asker, room, since }), Ok(ReadAnswer::Page(page))) => {
                self.answer_history(&asker, room, since, page);
            }
            (Some(Reading::Find { asker, who, left_out }), Ok(ReadAnswer::Found(found))) => {
                self.answer_found(&asker, &who, &found, left_out);
            }
            (
                Some(
                    Reading::Follow { asker, .. }
                    | Reading::History { asker, .. }
                    | Reading::Find { asker, .. },
                ),
                answer,
            ) => {
                let code = match &answer {
                    Err(ReadFault::ViewBehind) => Code::ViewBehind,
                    Err(ReadFault::Full | ReadFault::OverTime { .. }) => Code::Busy,
                    Err(ReadFault::Unreadable(_)) | Ok(_) => Code::Unavailable,
                };
                let detail = match &answer {
                    Err(fault) => fault.to_string(),
                    Ok(_) => "the answer from the disk was of another kind".to_owned(),
                };
                let session = asker.session;
                let error = match answer {
                    // The same question would take as long again.
                    Err(ReadFault::OverTime { .. }) => ErrorReply::new(code, detail),
                    _ => ErrorReply::new(code, detail).with("retry-after", JOURNAL_RETRY_MS),
                };
                self.refuse(asker, &error);
                self.follow_behind(session);
            }
            (None, _) => {}
        }
    }

    /// The event as its readers get it. Empty where there is nothing to tell: what is damaged was no message, and
    /// a hole names messages.
    fn encode_cold(&mut self, event: &ColdEvent) -> Bytes {
        let mut out = BytesMut::new();
        let at = (event.room, event.seq(), event.n);
        let (envelope, payload) = match &event.entry {
            Ok(entry) => (Some(&entry.envelope), entry.payload.as_ref()),
            // Without what was said: what else happened is told by the envelope alone.
            Err(damage) => (damage.envelope.as_ref().filter(|_| !event.message), None),
        };
        match envelope.and_then(|envelope| Envelope::decode(envelope).ok()) {
            Some(envelope) if is_of(&envelope.command, event) => {
                self.encoder.write(&mut out, &self.book, at, &envelope, payload);
            }
            _ if event.message => Encoder::write_damaged(&mut out, &self.book, at),
            _ => {}
        }
        out.freeze()
    }

    fn take_cold(&mut self, id: SessionId, page: ColdPage) {
        let mut slices = Vec::with_capacity(page.events.len());
        for event in &page.events {
            let bytes = self.encode_cold(event);
            let Some(session) = self.session(id) else { return };
            let reader = session.speaking.as_ref().map_or(Principal::Operator, |speaking| speaking.principal);
            let sight = Sight { state: &self.state, tails: &self.tails, book: &self.book, reader: &reader };
            let seen =
                session.cursor.as_ref().and_then(|cursor| cursor.see(&sight, event.room, event.seq(), bytes));
            slices.extend(seen.filter(|bytes| !bytes.is_empty()));
        }
        if let Some(session) = self.session_mut(id) {
            session.cold = Cold::Ready { slices, upto: page.upto };
        }
        self.wake(id);
    }

    fn answer_history(&mut self, asker: &Asker, room: RoomId, since: u64, page: ColdPage) {
        let who = self.session(asker.session).and_then(|session| session.speaking.as_ref());
        let who = who.map_or(Principal::Operator, |speaking| speaking.principal);
        let name = self.book.room(room).into_owned();
        let Some(there) = self.state.room(room) else { return };
        let end = there.newest_for(&who);
        let seen: Vec<bool> = page.events.iter().map(|event| there.sees(&who, event.seq())).collect();
        let (mut frames, mut last) = (Vec::with_capacity(page.events.len()), since);
        let mut hidden: Option<(u64, u64, Seq)> = None;
        let hole = |(from, to, seq): (u64, u64, Seq)| {
            let mut out = BytesMut::new();
            write_hole(&mut out, seq.0, &name, (from, to), "not-member");
            out.freeze()
        };
        for (event, seen) in page.events.iter().zip(seen).take_while(|(event, _)| event.n <= end) {
            let seq = event.seq();
            last = event.n;
            if !seen {
                hidden = Some((hidden.map_or(event.n, |(from, _, _)| from), event.n, seq));
                continue;
            }
            frames.extend(hidden.take().map(hole));
            frames.push(self.encode_cold(event));
        }
        frames.extend(hidden.map(hole));
        let reply = PageReply { room: name.clone(), count: frames.len() as u64, last, end };
        let bytes = write_page(asker.re.as_deref(), &reply, &frames);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }
}

/// Is the entry what the tables say of it? Another room's must never be shown in its place.
fn is_of(command: &Command, event: &ColdEvent) -> bool {
    match command {
        Command::Send { room, .. } => event.message && *room == event.room,
        Command::Join { room, .. } | Command::Leave { room, .. } => !event.message && *room == event.room,
        Command::CreateRoom { .. } => !event.message && event.room.0 == event.seq().0,
        Command::Open | Command::SwitchRules { .. } | Command::AddAccount { .. } | Command::Tick => false,
    }
}
