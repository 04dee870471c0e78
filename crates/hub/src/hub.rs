//! The hub: requests in, replies and runs of events out. Everything is applied in the journal's
//! order, on one thread, by whoever drives it; nothing is shown to anybody before it is durable.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use slab::Slab;
use vang_chat::{
    Access, AccountId, Command, Event, NameKey, Node, Position, Principal, Refusal, RoomId, Seq, State,
};
use vang_journal::{Appended, Batch, Envelope, Fault, Identity, Payload, Said, decode_name, encode_name};
use vang_proto::limits::{FOLLOWED_ROOMS_MAX, INLINE_BYTES_MAX};
use vang_proto::vang::{
    Action, Code, ErrorReply, FollowFrom, Page as PageReply, Request, Ticket, Value, write_error, write_hole,
    write_json, write_ok, write_page,
};

use crate::clock::{Clock, Now};
use crate::cold::{ColdEvent, Page, Read, ReadAnswer, ReadFault, ReadJob};
use crate::cursor::{Cursor, Followed, Pulled, Sight};
use crate::door::{Peer, Salts, Speaking, bad_name, refused, send_id};
use crate::encode::Encoder;
use crate::limits::{
    CHECKPOINT_EVERY, COLD_BYTES_MAX, COLD_EVENTS_MAX, EPOCH_OPENINGS, HISTORY_BYTES_MAX, JOURNAL_RETRY_MS,
    LISTED_ROOMS_MAX, SNAPSHOT_EVERY,
};
use crate::names::{Book, NameMaker};
use crate::order::{Asker, Order, Ordered, QueueFull, Settled, Waiting};
use crate::replay::{Recovered, has_name, note_name, rows_of};
use crate::tail::{Run, Tails};
use crate::{Delta, Row};

/// A connection, as the hub knows it. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    slot: u32,
    generation: u32,
}

/// What whoever drives the hub performs, in order.
#[derive(Debug)]
pub enum Output {
    /// Answer a request.
    Reply {
        /// Whose.
        session: SessionId,
        /// Which.
        ticket: Ticket,
        /// The reply, as it is written.
        bytes: Bytes,
    },
    /// The session follows rooms from here on.
    Follows {
        /// Which.
        session: SessionId,
    },
    /// The session has something to pull.
    Wake {
        /// Which.
        session: SessionId,
    },
    /// Append to the journal, then call `appended`. One at a time.
    Append(Batch),
    /// Call the journal's `settle`, read everything after `after`, then call `settled`.
    Settle {
        /// The last entry applied.
        after: Seq,
    },
    /// Read on another thread, then call `answer`.
    Read(ReadJob),
    /// Tell the tables.
    Tell(Delta),
}

/// Counts, for status and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections.
    pub sessions: usize,
    /// Bytes of encoded events in memory.
    pub tail_bytes: usize,
    /// Bytes of commands that wait to be written.
    pub queue_bytes: usize,
    /// The last entry applied.
    pub seq: u64,
}

struct Session {
    generation: u32,
    peer: Peer,
    speaking: Option<Speaking>,
    cursor: Option<Cursor>,
    woken: bool,
    /// A read for the cursor is under way, or has come back and was not pulled yet.
    cold: Cold,
}

#[derive(Debug)]
enum Cold {
    No,
    Reading,
    Ready { slices: Vec<Bytes>, upto: Seq },
}

/// What an answer from the disk is for.
enum Reading {
    /// What was asked for is complete up to `until`: a room that grew later was not asked for.
    Cursor {
        session: SessionId,
        until: Seq,
    },
    Follow {
        asker: Asker,
        rooms: Vec<RoomId>,
        numbers: Vec<u64>,
    },
    History {
        asker: Asker,
        room: RoomId,
        since: u64,
    },
}

/// See the module's head.
pub struct Hub {
    identity: Identity,
    server: String,
    inline_max: u64,
    state: State,
    book: Book,
    names: NameMaker,
    salts: Salts,
    clock: Clock,
    order: Order,
    retry_at: Option<vang_proto::Millis>,
    /// What those are told whose commands turn out not to be written, after a doubt.
    lost: Option<ErrorReply>,
    checkpoints: Vec<(Seq, [u8; 32])>,
    snapshot_at: Seq,
    encoder: Encoder,
    tails: Tails,
    sessions: Slab<Session>,
    generation: u32,
    followers: HashMap<RoomId, Vec<(SessionId, u32)>>,
    reads: HashMap<u64, Reading>,
    next_read: u64,
    outputs: VecDeque<Output>,
    stopping: bool,
}

impl Hub {
    /// A hub on a journal that was replayed. `node` is random and new; `server` names this program.
    pub fn new(
        identity: Identity,
        recovered: Recovered,
        node: Node,
        salts: Salts,
        server: String,
        clock_confirmed: bool,
    ) -> Hub {
        let snapshot_at = Seq(recovered.state.seq().0 - recovered.replayed);
        let mut hub = Hub {
            identity,
            server,
            inline_max: INLINE_BYTES_MAX,
            state: recovered.state,
            book: recovered.book,
            names: NameMaker::new(identity.key),
            salts,
            clock: Clock::new(clock_confirmed),
            order: Order::new(node),
            retry_at: None,
            lost: None,
            checkpoints: Vec::new(),
            snapshot_at,
            encoder: Encoder::default(),
            tails: Tails::default(),
            sessions: Slab::new(),
            generation: 0,
            followers: HashMap::new(),
            reads: HashMap::new(),
            next_read: 0,
            outputs: VecDeque::new(),
            stopping: false,
        };
        if hub.state.rooms().next().is_none()
            && let Ok((shown, key)) = hub.names.make("general")
        {
            let command = Command::CreateRoom { name: key, access: Access::Public, by: Principal::Operator };
            let payload = hub.salts.payload(encode_name(&shown));
            hub.order.push_first(Waiting { command, payload, asker: None });
        }
        let payload = hub.salts.payload(Bytes::new());
        hub.order.push_first(Waiting { command: Command::Open, payload, asker: None });
        hub
    }

    /// Sets the longest content of a message in a room, in bytes.
    pub fn set_inline_max(&mut self, bytes: u64) {
        self.inline_max = bytes;
    }

    /// A connection came.
    pub fn connect(&mut self, peer: Peer) -> SessionId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.sessions.insert(Session {
            generation,
            peer,
            speaking: None,
            cursor: None,
            woken: false,
            cold: Cold::No,
        });
        SessionId { slot: slot as u32, generation }
    }

    /// A connection is gone. What it asked still happens; nobody is told.
    pub fn disconnect(&mut self, id: SessionId) {
        if self.session(id).is_none() {
            return;
        }
        let session = self.sessions.remove(id.slot as usize);
        for followed in session.cursor.iter().flat_map(|cursor| &cursor.rooms) {
            if let Some(followers) = self.followers.get_mut(&followed.room) {
                if let Some(at) = followers.iter().position(|&(follower, _)| follower == id) {
                    followers.swap_remove(at);
                }
                if followers.is_empty() {
                    self.followers.remove(&followed.room);
                }
            }
        }
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.slot as usize).filter(|session| session.generation == id.generation)
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
    }

    /// A request came. Its reply is an output, now or later.
    pub fn request(&mut self, id: SessionId, ticket: Ticket, request: Request) {
        let asker = Asker { session: id, ticket, re: request.re.clone() };
        if let Err(error) = self.ask(&asker, request) {
            self.refuse(asker, &error);
        }
    }

    fn refuse(&mut self, asker: Asker, error: &ErrorReply) {
        let bytes = write_error(asker.re.as_deref(), error);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    fn accept(&mut self, asker: &Asker, keys: &[(&str, Value)], result: &str) {
        let bytes = write_ok(asker.re.as_deref(), keys, result);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    fn ask(&mut self, asker: &Asker, request: Request) -> Result<(), ErrorReply> {
        let peer = self.session(asker.session).map_or(Peer::RemotePlain, |session| session.peer);
        if peer == Peer::RemotePlain {
            return Err(ErrorReply::new(
                Code::TlsRequired,
                "names and rooms need TLS on a connection that does not come from this machine",
            ));
        }
        let speaking = self.speaking(asker.session, request.name.as_deref())?;
        let who = speaking.principal;
        match request.action {
            Action::Ping => self.accept(asker, &[], "pong"),
            Action::Hello => self.hello(asker, &speaking),
            Action::Rooms => self.list_rooms(asker, &who),
            Action::Send { room, id, content_type, content_encoding, content } => {
                let said = Said { guest: speaking.guest, content_type, content_encoding, content };
                return self.send(asker, who, &room, id.as_deref(), said);
            }
            Action::Follow { rooms, from } => return self.follow(asker, &who, &rooms, from),
            Action::History { room, since, limit } => {
                let (_, room) = self.room(&room, &who)?;
                let read =
                    Read::Messages { room, since, limit: limit as usize, bytes_max: HISTORY_BYTES_MAX };
                let need = self.state.room(room).map_or(Seq(0), |room| room.seq);
                self.read(need, read, Reading::History { asker: asker.clone(), room, since });
            }
            Action::Create { room, private } => {
                let (shown, name) = self.names.make(&room).map_err(|bad| bad_name("room", &bad))?;
                let access = if private { Access::Private } else { Access::Public };
                let command = Command::CreateRoom { name, access, by: who };
                return self.enqueue(asker, command, encode_name(&shown));
            }
            Action::Join { room, who: other } => {
                let (_, room) = self.room(&room, &who)?;
                let joins = match &other {
                    Some(name) => self.account(name)?,
                    None => own_account(&who)?,
                };
                return self.enqueue(asker, Command::Join { room, who: joins, by: who }, Bytes::new());
            }
            Action::Leave { room } => {
                let (_, room) = self.room(&room, &who)?;
                let who = own_account(&who)?;
                return self.enqueue(asker, Command::Leave { room, who }, Bytes::new());
            }
            Action::AddAccount { name } => {
                if peer != Peer::Operator {
                    return Err(refused(&Refusal::NotAllowed));
                }
                let (shown, name) = self.names.make(&name).map_err(|bad| bad_name("name", &bad))?;
                return self.enqueue(asker, Command::AddAccount { name }, encode_name(&shown));
            }
        }
        Ok(())
    }

    /// Who speaks: the first name on a connection counts.
    fn speaking(&mut self, id: SessionId, name: Option<&str>) -> Result<Speaking, ErrorReply> {
        let made = name.map(|name| self.names.make(name).map_err(|bad| bad_name("as", &bad))).transpose()?;
        let account = made.as_ref().and_then(|(_, key)| self.state.account(key));
        let anon = self.names.hash("name", b"anon");
        let Some(session) = self.session_mut(id) else {
            return Err(ErrorReply::new(Code::Stopping, "the connection is gone"));
        };
        let operator = session.peer == Peer::Operator;
        match (&session.speaking, made) {
            (Some(speaking), Some((_, key))) if speaking.key != Some(key) => {
                Err(ErrorReply::new(Code::NameSet, "this connection already speaks under another name"))
            }
            (Some(speaking), _) => Ok(speaking.clone()),
            (None, Some((shown, key))) => {
                let speaking = match account {
                    Some(account) => {
                        Speaking { principal: Principal::Account(account), key: Some(key), guest: None }
                    }
                    None => Speaking { principal: Principal::Guest(key), key: Some(key), guest: Some(shown) },
                };
                session.speaking = Some(speaking.clone());
                Ok(speaking)
            }
            (None, None) if operator => {
                Ok(Speaking { principal: Principal::Operator, key: None, guest: None })
            }
            // Not kept: the name may still come with a later request.
            (None, None) => {
                let principal = Principal::Guest(NameKey(anon));
                Ok(Speaking { principal, key: None, guest: Some("anon".to_owned()) })
            }
        }
    }

    fn room(&self, name: &str, reader: &Principal) -> Result<(String, RoomId), ErrorReply> {
        let name = name.strip_prefix('#').unwrap_or(name);
        let (shown, key) = self.names.make(name).map_err(|bad| bad_name("room", &bad))?;
        match self.state.room_named(&key, reader) {
            Ok(room) => Ok((shown, room)),
            Err(refusal) => {
                let mut error = refused(&refusal);
                error.detail = format!("there is no room '{shown}'");
                Err(error)
            }
        }
    }

    fn account(&self, name: &str) -> Result<AccountId, ErrorReply> {
        let (shown, key) = self.names.make(name).map_err(|bad| bad_name("who", &bad))?;
        self.state.account(&key).ok_or_else(|| {
            let mut error = refused(&Refusal::NoAccount);
            error.detail = format!("there is no account '{shown}'");
            error
        })
    }

    fn epoch(&self) -> String {
        // Before its opening is written this process has ordered nothing; but who follows already is told
        // what it will order, and must be able to say so when it comes back.
        let unopened = (!self.is_open()).then_some(self.order.node());
        let openings = unopened.into_iter().chain(self.state.openings().rev());
        let openings: Vec<String> = openings.take(EPOCH_OPENINGS).map(|node| node.to_string()).collect();
        openings.join(".")
    }

    fn hello(&mut self, asker: &Asker, speaking: &Speaking) {
        let name = match (&speaking.guest, speaking.principal) {
            (Some(guest), _) => format!("guest:{guest}"),
            (None, Principal::Account(account)) => self.book.account(account).into_owned(),
            (None, _) => "server".to_owned(),
        };
        let keys = [
            ("protocol", Value::Number(1)),
            ("server", Value::from(&*self.server)),
            ("journal", self.identity.id_hex().into()),
            ("epoch", self.epoch().into()),
            ("seq", self.state.seq().0.into()),
            ("name", name.into()),
        ];
        let server = self.server.clone();
        self.accept(asker, &keys, &server);
    }

    fn list_rooms(&mut self, asker: &Asker, who: &Principal) {
        let known: Vec<_> = self.state.rooms().filter(|(_, room)| room.knows(who)).collect();
        let left_out = known.len().saturating_sub(LISTED_ROOMS_MAX);
        let list: Vec<serde_json::Value> = known[left_out..]
            .iter()
            .map(|(id, room)| {
                let member = matches!(who, Principal::Account(account) if room.is_member(*account));
                serde_json::json!({
                    "room": self.book.room(*id),
                    "access": if room.access == Access::Private { "private" } else { "public" },
                    "n": visible_end(room, who),
                    "member": member,
                })
            })
            .collect();
        let bytes = write_json(asker.re.as_deref(), &serde_json::Value::from(list).to_string());
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    fn send(
        &mut self,
        asker: &Asker,
        from: Principal,
        room: &str,
        id: Option<&str>,
        said: Said,
    ) -> Result<(), ErrorReply> {
        let (_, room) = self.room(room, &from)?;
        let len = said.content.len() as u64;
        if len > self.inline_max {
            let detail = format!(
                "content of {len} bytes exceeds the limit of {} for a message in a room",
                self.inline_max
            );
            let error = ErrorReply::new(Code::TooLong, detail).with("part", "content");
            return Err(error.with("found", len).with("limit", self.inline_max));
        }
        let parts: [&[u8]; 3] =
            [said.content_type.as_bytes(), said.content_encoding.as_bytes(), &said.content];
        let id = id.map(|id| send_id(&self.names, id, parts));
        self.enqueue(asker, Command::Send { room, from, id }, said.encode())
    }

    /// Refuses what the rules would refuse now, answers what was sent before, orders the rest.
    fn enqueue(&mut self, asker: &Asker, command: Command, payload: Bytes) -> Result<(), ErrorReply> {
        if self.stopping {
            return Err(ErrorReply::new(Code::Stopping, "the server is going down; connect again"));
        }
        let next =
            Position { seq: self.state.seq().next(), time: self.state.time(), node: self.order.node() };
        match self.state.decide(self.state.rules(), next, &command) {
            Err(refusal) => return Err(refused(&refusal)),
            Ok(events) => {
                if let [Event::AlreadySent { room, n, seq }] = events[..] {
                    self.answer_sent(asker, room, n, seq);
                    return Ok(());
                }
            }
        }
        let payload = self.salts.payload(payload);
        let waiting = Waiting { command, payload, asker: Some(asker.clone()) };
        self.order.push(waiting).map_err(|QueueFull| {
            ErrorReply::new(Code::Busy, "too much waits to be written; try again").with("retry-after", 200)
        })
    }

    fn answer_sent(&mut self, asker: &Asker, room: RoomId, n: u64, seq: Seq) {
        let name = self.book.room(room).into_owned();
        let address = format!("{name}#{n}");
        let keys = [
            ("room", Value::Text(name)),
            ("n", n.into()),
            ("seq", seq.0.into()),
            ("address", Value::from(&*address)),
        ];
        self.accept(asker, &keys, &address);
    }

    // ---- order ----

    /// Time to write? Call after requests, and when `deadline` is over.
    pub fn poll(&mut self, now: Now) {
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
        match self.clock.stamp(now, self.state.time()) {
            Ok(time) => {
                let batch = self.order.batch(time, std::mem::take(&mut self.checkpoints));
                self.outputs.push_back(Output::Append(batch));
            }
            Err(ahead) => {
                self.retry_at = Some(now.steady + JOURNAL_RETRY_MS);
                self.refuse_waiting(&ErrorReply::new(Code::ClockAhead, ahead.to_string()));
            }
        }
    }

    /// When to call `poll`, if nothing else happens before.
    pub fn deadline(&self) -> Option<vang_proto::Millis> {
        self.retry_at
    }

    fn refuse_waiting(&mut self, error: &ErrorReply) {
        for asker in self.order.drop_waiting() {
            self.refuse(asker, error);
        }
    }

    /// What became of the batch.
    pub fn appended(&mut self, now: Now, appended: Appended) {
        match appended {
            Appended::Appended { first } if first == self.state.seq().next() => {
                let ours = self.order.take_appended();
                let mut growth = Growth::default();
                for (index, ordered) in ours.into_iter().enumerate() {
                    let seq = Seq(first.0 + index as u64);
                    self.apply(&mut growth, seq, &ordered.envelope, Some(&ordered.payload), ordered.asker);
                }
                self.grow(growth);
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
    pub fn settled(&mut self, now: Now, settled: Result<Settled, Fault>) {
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
        let mut growth = Growth::default();
        for entry in entries {
            if entry.seq != self.state.seq().next() {
                continue;
            }
            // What cannot be decoded here was written by a newer program: nothing after it can be
            // decided, so nothing after it is.
            let Ok(envelope) = Envelope::decode(&entry.envelope) else { break };
            let ours = self.order.take_own(envelope.origin);
            let asker = ours.and_then(|ordered| ordered.asker);
            self.apply(&mut growth, entry.seq, &envelope, entry.payload.as_ref(), asker);
        }
        self.grow(growth);
        let lost = self.order.take_appended();
        let error = self.lost.take().unwrap_or_else(|| {
            ErrorReply::new(Code::Unavailable, "the journal did not take it; nothing was posted")
                .with("retry-after", JOURNAL_RETRY_MS)
        });
        self.put_back(lost, &error);
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
        let rows = rows_of(&self.state, seq, event, &mut name).unwrap_or_default();
        if has_name(&envelope.command) {
            for row in &rows {
                note_name(&mut self.book, row);
            }
        }
        for row in &rows {
            if let Row::RoomEvent { room, n, .. } = *row {
                let (out, marks) = growth.room(room);
                self.encoder.write(out, &self.book, (room, seq, n), envelope, payload);
                marks.push((seq, out.len() as u32));
            }
        }
        growth.rows.extend(rows);
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
            self.tails.push(room, before, Run { bytes: out.freeze(), marks });
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
        let seq = self.state.seq();
        let every = SNAPSHOT_EVERY.max(self.state.items() as u64 / 4);
        let snapshot = (seq.0 - self.snapshot_at.0 >= every).then(|| self.snapshot());
        self.outputs.push_back(Output::Tell(Delta { upto: seq, rows: growth.rows, snapshot }));
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.snapshot_at = self.state.seq();
        self.state.to_snapshot()
    }

    // ---- following ----

    fn follow(
        &mut self,
        asker: &Asker,
        who: &Principal,
        rooms: &[String],
        from: FollowFrom,
    ) -> Result<(), ErrorReply> {
        let ids =
            rooms.iter().map(|name| Ok(self.room(name, who)?.1)).collect::<Result<Vec<_>, ErrorReply>>()?;
        let following = self.session(asker.session).and_then(|session| session.cursor.as_ref());
        if let Some(cursor) = following {
            if from != FollowFrom::Now {
                let detail = "this connection follows already; 'since' and 'seq' go with its first follow";
                return Err(ErrorReply::new(Code::AlreadyFollowing, detail));
            }
            if cursor.rooms.len() + ids.len() > FOLLOWED_ROOMS_MAX {
                let detail = format!("one connection follows at most {FOLLOWED_ROOMS_MAX} rooms");
                return Err(ErrorReply::new(Code::TooMany, detail).with("limit", FOLLOWED_ROOMS_MAX as u64));
            }
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
                let asked = ids.iter().copied().zip(numbers.iter().copied()).collect();
                let reading = Reading::Follow { asker: asker.clone(), rooms: ids, numbers };
                self.read(need.unwrap_or_default(), Read::Locate(asked), reading);
            }
        }
        Ok(())
    }

    /// Where a client that was here before goes on; refuses a position that is not this journal's.
    fn resume_point(&self, journal: &str, epoch: Option<&str>, seq: Seq) -> Result<Seq, ErrorReply> {
        let ours = self.identity.id_hex();
        if journal != ours {
            let detail = "the server has another journal than the one resumed; start again from room numbers";
            return Err(ErrorReply::new(Code::JournalChanged, detail).with("journal", ours));
        }
        let end = self.state.seq();
        let known = epoch.map(|epoch| {
            let nodes = epoch.split('.').filter_map(|node| u64::from_str_radix(node, 16).ok());
            nodes.map(Node).find_map(|node| self.state.common_with(node, seq))
        });
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

    fn begin_following(&mut self, asker: &Asker, starts: Vec<(RoomId, Seq, u64)>) {
        let names: Vec<_> = starts.iter().map(|(room, _, _)| self.book.room(*room).into_owned()).collect();
        let id = asker.session;
        let first = starts.iter().map(|&(_, seq, _)| seq).min().unwrap_or_default();
        let Some(session) = self.session_mut(id) else { return };
        let cursor =
            session.cursor.get_or_insert_with(|| Cursor { seq: first, rooms: vec![], grown: vec![] });
        // A `follow` from numbers is looked up on the disk, and one behind it may have been answered first.
        // Nothing was given yet then: replies come in order, and events not before an earlier reply.
        cursor.seq = cursor.seq.min(first);
        let seq = cursor.seq;
        let mut added = Vec::new();
        for (room, from, since) in starts {
            if cursor.rooms.iter().any(|followed| followed.room == room) {
                continue;
            }
            let index = cursor.rooms.len() as u32;
            cursor.rooms.push(Followed { room, from, since, is_grown: false });
            cursor.mark_grown(index);
            added.push((room, index));
        }
        for (room, index) in added {
            self.followers.entry(room).or_default().push((id, index));
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

    fn wake(&mut self, id: SessionId) {
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
        let Some(session) =
            self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
        else {
            return false;
        };
        session.woken = false;
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
            Pulled::More => true,
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

    fn read(&mut self, need: Seq, read: Read, reading: Reading) {
        self.next_read += 1;
        let id = self.next_read;
        let session = match &reading {
            Reading::Cursor { session, .. } => *session,
            Reading::Follow { asker, .. } | Reading::History { asker, .. } => asker.session,
        };
        self.reads.insert(id, reading);
        self.outputs.push_back(Output::Read(ReadJob { id, session, need, read }));
    }

    /// An answer from the disk.
    pub fn answer_read(&mut self, id: u64, answer: Result<ReadAnswer, ReadFault>) {
        match (self.reads.remove(&id), answer) {
            (Some(Reading::Cursor { session, until }), Ok(ReadAnswer::Page(mut page))) => {
                // The tables may know more by now, also of rooms that were not asked for: going on to
                // their end would leave those out.
                page.events.retain(|event| event.entry.seq <= until);
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
            (Some(Reading::Follow { asker, rooms, numbers }), Ok(ReadAnswer::Located(found))) => {
                let now = self.state.seq();
                // A number that the room has not reached yet: it begins with what comes next.
                let starts = rooms.into_iter().zip(numbers).zip(found);
                let starts = starts.map(|((room, n), seq)| (room, seq.unwrap_or(now), n)).collect();
                self.begin_following(&asker, starts);
            }
            (Some(Reading::History { asker, room, since }), Ok(ReadAnswer::Page(page))) => {
                self.answer_history(&asker, room, since, page);
            }
            (Some(Reading::Follow { asker, .. } | Reading::History { asker, .. }), answer) => {
                let (code, detail) = match answer {
                    Err(fault @ ReadFault::ViewBehind) => (Code::ViewBehind, fault.to_string()),
                    Err(fault) => (Code::Unavailable, fault.to_string()),
                    Ok(_) => (Code::Unavailable, "the answer from the disk was of another kind".to_owned()),
                };
                self.refuse(asker, &ErrorReply::new(code, detail).with("retry-after", JOURNAL_RETRY_MS));
            }
            (None, _) => {}
        }
    }

    fn encode_cold(&mut self, event: &ColdEvent) -> Option<Bytes> {
        let envelope = Envelope::decode(&event.entry.envelope).ok()?;
        let mut out = BytesMut::new();
        let at = (event.room, event.entry.seq, event.n);
        self.encoder.write(&mut out, &self.book, at, &envelope, event.entry.payload.as_ref());
        (!out.is_empty()).then(|| out.freeze())
    }

    fn take_cold(&mut self, id: SessionId, page: Page) {
        let mut slices = Vec::with_capacity(page.events.len());
        for event in &page.events {
            let Some(bytes) = self.encode_cold(event) else { continue };
            let Some(session) = self.session(id) else { return };
            let reader = session.speaking.as_ref().map_or(Principal::Operator, |speaking| speaking.principal);
            let sight = Sight { state: &self.state, tails: &self.tails, book: &self.book, reader: &reader };
            let seen = session
                .cursor
                .as_ref()
                .and_then(|cursor| cursor.see(&sight, event.room, event.entry.seq, bytes));
            slices.extend(seen);
        }
        if let Some(session) = self.session_mut(id) {
            session.cold = Cold::Ready { slices, upto: page.upto };
        }
        self.wake(id);
    }

    fn answer_history(&mut self, asker: &Asker, room: RoomId, since: u64, page: Page) {
        let who = self.session(asker.session).and_then(|session| session.speaking.as_ref());
        let who = who.map_or(Principal::Operator, |speaking| speaking.principal);
        let name = self.book.room(room).into_owned();
        let Some(there) = self.state.room(room).cloned() else { return };
        let end = visible_end(&there, &who);
        let (mut frames, mut last) = (Vec::with_capacity(page.events.len()), since);
        let mut hidden: Option<(u64, u64, Seq)> = None;
        let hole = |(from, to, seq): (u64, u64, Seq)| {
            let mut out = BytesMut::new();
            write_hole(&mut out, seq.0, &name, (from, to), "not-member");
            out.freeze()
        };
        for event in page.events.iter().take_while(|event| event.n <= end) {
            let seq = event.entry.seq;
            last = event.n;
            if !there.sees(&who, seq) {
                hidden = Some((hidden.map_or(event.n, |(from, _, _)| from), event.n, seq));
                continue;
            }
            frames.extend(hidden.take().map(hole));
            frames.extend(self.encode_cold(event));
        }
        frames.extend(hidden.map(hole));
        let reply = PageReply { room: name.clone(), count: frames.len() as u64, last, end };
        let bytes = write_page(asker.re.as_deref(), &reply, &frames);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    // ---- for whoever drives ----

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Nothing more is ordered; what was asked before is finished.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Is everything written that was asked?
    pub fn is_quiet(&self) -> bool {
        self.order.is_idle() && !self.order.has_waiting() && self.checkpoints.is_empty()
    }

    /// Has this process opened the journal? Before that nothing of clients is ordered before it.
    pub fn is_open(&self) -> bool {
        self.state.epoch() == Some(self.order.node())
    }

    /// A last word to the tables, so that the next start replays nothing.
    pub fn farewell(&mut self) -> Delta {
        let snapshot = Some(self.snapshot());
        Delta { upto: self.state.seq(), rows: Vec::new(), snapshot }
    }

    /// The rules' state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Which journal this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            tail_bytes: self.tails.weight(),
            queue_bytes: self.order.queue_bytes(),
            seq: self.state.seq().0,
        }
    }
}

/// What a batch adds: to each room a run, to the tables rows.
#[derive(Default)]
struct Growth {
    rooms: Vec<RoomGrowth>,
    rows: Vec<Row>,
    /// The newest event, before this entry, of the room that the entry is about.
    before: Seq,
}

struct RoomGrowth {
    room: RoomId,
    before: Seq,
    out: BytesMut,
    marks: Vec<(Seq, u32)>,
}

impl Growth {
    fn room(&mut self, room: RoomId) -> (&mut BytesMut, &mut Vec<(Seq, u32)>) {
        // Nearly always the room of the entry before, or one of a few.
        let at = match self.rooms.iter().rposition(|one| one.room == room) {
            Some(at) => at,
            None => {
                let before = self.before;
                self.rooms.push(RoomGrowth { room, before, out: BytesMut::new(), marks: Vec::new() });
                self.rooms.len() - 1
            }
        };
        let RoomGrowth { out, marks, .. } = &mut self.rooms[at];
        (out, marks)
    }
}

fn own_account(who: &Principal) -> Result<AccountId, ErrorReply> {
    match who {
        Principal::Account(account) => Ok(*account),
        Principal::Guest(_) | Principal::Operator => Err(refused(&Refusal::AccountNeeded)),
    }
}

/// The newest message that a reader may know of: who has left a private room is not told that it goes on.
fn visible_end(room: &vang_chat::Room, who: &Principal) -> u64 {
    if room.access == Access::Public {
        return room.n;
    }
    match room.stays_of(who).last() {
        Some(stay) => stay.to.map_or(room.n, |to| to.n),
        None => 0,
    }
}

fn journal_error(fault: &Fault) -> ErrorReply {
    let code = match fault {
        Fault::Full(_) => Code::DiskFull,
        Fault::Unavailable(_) | Fault::Damaged { .. } | Fault::Unreadable { .. } => Code::Unavailable,
    };
    ErrorReply::new(code, format!("{fault}; nothing was posted")).with("retry-after", JOURNAL_RETRY_MS)
}
