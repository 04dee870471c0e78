//! The hub: requests in, replies and runs of events out. Everything is applied in the journal's
//! order, on one thread, by its driver; nothing is shown to anybody before it is durable.

mod actions; // what a client asks, one file a subject
mod identity; // who is this, and with which name
mod signed_in; // by which connections, and when that ends
mod seen; // what is noted of it, and given to be written
mod ordering; // batches to the journal, and what happens when it fails
mod applying; // entries applied at their places: replies, rows, tails
mod following; // what a session that follows rooms is given next
mod jobs; // questions to the disk, and what is done with the answers
mod snapshots; // the state for the next start, written between other work

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use slab::Slab;
use vang_chat::{
    Access, AccountId, Command, Feed, NameKey, Node, OrderCommand, Principal, RoomCommand, RoomsBy, Seq,
    State, Time,
};
use vang_journal::{Batch, Entry, Identity, encode_name};
use vang_proto::limits::INLINE_BYTES_MAX;
use vang_proto::vang::{Code, ErrorReply, ReplyKeys, Ticket, write_error, write_ok};

use crate::admission::{Browser, Peer, Salts, Scope, Trust};
use crate::clock::Clock;
use crate::cold::ReadJob;
use crate::continuation::Continuation;
use crate::encode::Encoder;
use crate::limits::{PAUSE_MS_MAX, ROOMS_PER_ACCOUNT};
use crate::names::{ANON, Book, NameMaker};
use crate::order::Order;
use crate::replay::Recovered;
use crate::secrets::SecretJob;
use crate::seen::{PeerAddress, Seen};
use crate::session::{Asker, Made, Session, SessionId};
use crate::tail::Tails;
use crate::unfinished::UnfinishedSnapshot;
use crate::{Delta, Snapshot};

/// What the driver of the hub performs, in order.
#[derive(Debug)]
pub enum Output {
    /// Answer a request.
    Reply {
        session: SessionId,
        ticket: Ticket,
        /// The reply, as it is written.
        bytes: Bytes,
    },
    /// The session was told `busy`: take no request of it before so much time is over.
    Pause {
        session: SessionId,
        /// The wait that the refusal names, at most `PAUSE_MS_MAX`, ms.
        ms: u64,
    },
    /// The session follows rooms from here on.
    Follows { session: SessionId },
    /// The session has something to pull.
    Wake { session: SessionId },
    /// Append to the journal, then call `appended` and, with the entries that it became, `arrived`. One at a time.
    Append(Batch),
    /// Call the journal's `settle`, read everything after `after`, then call `settled`.
    Settle {
        /// The last entry applied.
        after: Seq,
    },
    /// Read on another thread, then call `answer_read`. How many may wait is bounded by the driver: those of
    /// `ReadJob::is_owed` are at most one a session; the others it may answer with `ReadError::Full`.
    Read(ReadJob),
    /// Check or make a password on another thread, then call `answer_secret`.
    Secret(SecretJob),
    /// Erase the payloads of these entries from the journal, then call `erased`. What fails is tried again.
    Erase(Vec<Seq>),
    /// Close the session's connection, after what it is still to be given.
    Close {
        session: SessionId,
        /// A word of the event `closing`.
        why: &'static str,
    },
    /// Rows for the view.
    UpdateView(Delta),
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
    /// Messages posted since this hub began.
    pub messages: u64,
}

/// A session, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Where it comes from.
    pub peer: Peer,
    /// The connection's name as readers see it; `guest:anon` while it has none.
    pub name: String,
    /// Entries between its cursor and the journal's end; 0 when it follows nothing.
    pub behind: u64,
}

pub struct Hub {
    identity: Identity,
    server: String,
    inline_max: u64,
    rooms_by: RoomsBy,
    rooms_per_account: u64,
    default_rooms: Vec<String>,
    /// Accounts whose first sign-in waits to be written.
    entering: HashSet<AccountId>,
    guests: Scope,
    trust: Trust,
    /// Where people open the page, with a `/` at the end.
    page: Option<String>,
    state: State,
    book: Book,
    names: NameMaker,
    /// The key of those who give no name.
    anon: NameKey,
    salts: Salts,
    clock: Clock,
    order: Order,
    retry_at: Option<vang_proto::Millis>,
    /// The answer to commands that turn out not to be written, after a doubt.
    lost: Option<ErrorReply>,
    /// Entries of the journal that are to be applied.
    arrived: Vec<Entry>,
    /// The view has been given everything up to here.
    view_cursor: Seq,
    /// Hashes of the state that are to be written.
    checkpoints: Vec<(Seq, [u8; 32])>,
    /// The first so many of them are in the batch that is being written.
    checkpoints_in_flight: usize,
    snapshot_at: Seq,
    snapshot: Option<UnfinishedSnapshot>,
    encoder: Encoder,
    tails: Tails,
    sessions: Slab<Session>,
    generation: u32,
    followers: HashMap<Feed, Vec<(SessionId, u32)>, foldhash::fast::RandomState>,
    /// Connections that speak as accounts.
    signed_in: BTreeSet<(AccountId, SessionId)>,
    seen: Seen,
    /// Payloads that are being erased.
    erasing: usize,
    /// The newest time that the driver's clock gave.
    wall: Time,
    /// What waits for something that happens elsewhere, as a read, and what is done then.
    elsewhere: HashMap<u64, Continuation>,
    next_job: u64,
    outputs: VecDeque<Output>,
    stopping: bool,
    messages: u64,
    /// Codes said, and how often.
    refusals: Vec<(Code, u64)>,
    /// Nothing is ordered at present, or ever again: why.
    not_ordering: Option<NotOrdering>,
}

/// Why nothing is ordered.
#[derive(Debug)]
enum NotOrdering {
    /// Until the clock is set right or confirmed.
    Clock(String),
    /// Until the program is another one: deciding an entry failed.
    Halted(String),
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
        let names = NameMaker::new(identity.key);
        let recovered_seq = recovered.state.seq();
        let snapshot_at = Seq(recovered_seq.0 - recovered.replayed);
        let mut hub = Hub {
            identity,
            server,
            inline_max: INLINE_BYTES_MAX,
            rooms_by: RoomsBy::default(),
            rooms_per_account: ROOMS_PER_ACCOUNT,
            default_rooms: Vec::new(),
            entering: HashSet::new(),
            guests: Scope::default(),
            trust: Trust::default(),
            page: None,
            state: recovered.state,
            book: recovered.book,
            anon: NameKey(names.hash("name", ANON.as_bytes())),
            names,
            salts,
            clock: Clock::new(clock_confirmed),
            order: Order::new(node),
            retry_at: None,
            lost: None,
            arrived: Vec::new(),
            view_cursor: recovered_seq,
            checkpoints: Vec::new(),
            checkpoints_in_flight: 0,
            snapshot_at,
            snapshot: None,
            encoder: Encoder::default(),
            tails: Tails::default(),
            sessions: Slab::new(),
            generation: 0,
            followers: HashMap::default(),
            signed_in: BTreeSet::new(),
            seen: Seen::default(),
            erasing: 0,
            wall: Time(0),
            elsewhere: HashMap::new(),
            next_job: 0,
            outputs: VecDeque::new(),
            stopping: false,
            messages: 0,
            refusals: Vec::new(),
            not_ordering: None,
        };
        hub.erase(recovered.erased);
        hub.book.find_old_keys(&hub.names, &hub.state);
        if hub.state.rooms().next().is_none()
            && let Ok((shown, name)) = hub.names.make_new("general")
        {
            let command = Command::Room(RoomCommand::Create {
                name,
                access: Access::Public,
                by: Principal::Operator,
                rooms_by: RoomsBy::default(),
                most: None,
            });
            let payload = hub.salts.payload(encode_name(&shown));
            hub.order.push_own(command, payload);
        }
        let payload = hub.salts.payload(Bytes::new());
        hub.order.push_own(Command::Order(OrderCommand::Open), payload);
        hub
    }

    /// Sets the longest content of a message in a room, in bytes.
    pub fn set_inline_max(&mut self, bytes: u64) {
        self.inline_max = bytes;
    }

    /// Sets who can create rooms.
    pub fn set_rooms_by(&mut self, rooms_by: RoomsBy) {
        self.rooms_by = rooms_by;
    }

    /// Sets of which rooms a new account becomes a member, by their names.
    pub fn set_default_rooms(&mut self, rooms: &[String]) {
        self.default_rooms = rooms.to_vec();
    }

    /// Sets where people open the page, as `https://chat.example/`.
    pub fn set_page(&mut self, page: Option<String>) {
        self.page = page;
    }

    /// Sets how many rooms one account can make.
    pub fn set_rooms_per_account(&mut self, rooms: u64) {
        self.rooms_per_account = rooms;
    }

    /// Sets how many bytes of encoded events stay in memory over all rooms, and how many bytes of commands may wait
    /// to be written.
    pub fn set_memory(&mut self, tails: usize, queue: usize) {
        self.tails.set_max(tails);
        self.order.set_queue_max(queue);
    }

    /// Where a connection comes from.
    pub fn peer(&self, id: SessionId) -> Option<Peer> {
        self.session(id).map(|session| session.peer)
    }

    /// Sets from where guests are admitted. It holds from the next request of everybody.
    pub fn set_guests(&mut self, guests: Scope) {
        self.guests = guests;
    }

    /// Sets where an account's name alone is enough. It holds from the next request of everybody.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// What the wall clock says; it need not be exact. With it tokens end.
    pub fn set_wall(&mut self, wall: Time) {
        self.wall = wall;
    }

    fn time(&self) -> Time {
        self.wall.max(self.state.time())
    }

    /// A connection came.
    pub fn connect(&mut self, peer: Peer) -> SessionId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.sessions.insert(Session::new(generation, peer));
        SessionId { slot: slot as u32, generation }
    }

    /// Where the connection comes from. Without it, it is at no known address.
    pub fn set_address(&mut self, id: SessionId, address: PeerAddress) {
        if let Some(session) = self.session_mut(id) {
            session.address = Some(address);
        }
    }

    /// The connection is a browser's.
    pub fn set_browser(&mut self, id: SessionId, browser: Browser) {
        if let Some(session) = self.session_mut(id) {
            session.browser = Some(browser);
        }
    }

    /// A connection is gone. What it asked still happens; nobody gets the answer.
    pub fn disconnect(&mut self, id: SessionId) {
        if self.session(id).is_none() {
            return;
        }
        self.note_seen(id);
        let session = self.sessions.remove(id.slot as usize);
        if let Some(Principal::Account(account)) =
            session.speaking.as_ref().map(|speaking| speaking.principal)
        {
            self.signed_in.remove(&(account, id));
        }
        // One step for each feed that it follows, however many others follow it.
        for followed in session.cursor.iter().flat_map(|cursor| &cursor.feeds) {
            let Some(followers) = self.followers.get_mut(&followed.feed) else { continue };
            let at = followed.place as usize;
            debug_assert_eq!(followers.get(at).map(|&(follower, _)| follower), Some(id));
            if at < followers.len() {
                followers.swap_remove(at);
            }
            let moved = followers.get(at).copied();
            if followers.is_empty() {
                self.followers.remove(&followed.feed);
            }
            if let Some((other, index)) = moved
                && let Some(cursor) = self.session_mut(other).and_then(|session| session.cursor.as_mut())
                && let Some(followed) = cursor.feeds.get_mut(index as usize)
            {
                followed.place = at as u32;
            }
        }
    }

    /// A session's peer sends nothing any more; it still gets the events of the rooms that it follows.
    pub fn peer_ended(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id) {
            session.peer_ended = true;
        }
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.slot as usize).filter(|session| session.generation == id.generation)
    }

    /// Sessions of which this is true.
    fn session_ids(&self, is_meant: impl Fn(&Session) -> bool) -> impl Iterator<Item = SessionId> {
        let meant = self.sessions.iter().filter(move |(_, session)| is_meant(session));
        meant.map(|(slot, session)| SessionId { slot: slot as u32, generation: session.generation })
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
    }

    fn refuse(&mut self, asker: Asker, error: &ErrorReply) {
        match self.refusals.iter_mut().find(|(known, _)| *known == error.code) {
            Some((_, count)) => *count += 1,
            None => self.refusals.push((error.code, 1)),
        }
        let bytes = write_error(asker.re.as_deref(), error);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
        if let Some(Made::Accept { .. }) = asker.made.as_deref() {
            self.release(asker.session);
        }
        if error.code == Code::Busy
            && let Some(ms) = error.retry_after()
        {
            let ms = ms.min(PAUSE_MS_MAX);
            self.outputs.push_back(Output::Pause { session: asker.session, ms });
        }
    }

    fn accept(&mut self, asker: &Asker, keys: &impl ReplyKeys, result: &str) {
        let bytes = write_ok(asker.re.as_deref(), keys, result);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    /// The next thing to do. When there is nothing, what arrived is applied, and there may be.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.apply_arrived();
        }
        self.outputs.pop_front()
    }

    /// Nothing more is ordered; what was asked before is finished.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Is everything written that was asked?
    pub fn is_quiet(&self) -> bool {
        self.order.is_idle()
            && !self.order.has_waiting()
            && !self.order.has_landed()
            && self.arrived.is_empty()
            && self.checkpoints.is_empty()
            && self.erasing == 0
    }

    /// Has this process opened the journal? Before that nothing of clients is ordered. It stays open when another process
    /// opens the journal as well.
    pub fn is_open(&self) -> bool {
        self.state.has_opened(self.order.node())
    }

    /// The last rows for the view, so that the next start replays nothing.
    pub fn farewell(&mut self) -> Delta {
        // After a defect in the rules the state is not to be trusted: the next start makes it from the journal.
        // And what came of entries before the defect may be missing in the view: its cursor stays where it is.
        if self.is_halted() {
            return Delta { upto: self.view_cursor, rows: Vec::new(), snapshot: None };
        }
        self.snapshot = None;
        // Without a snapshot the next start sees again what is still to be erased.
        let snapshot = (self.erasing == 0).then(|| Snapshot::of(&self.state));
        Delta { upto: self.state.seq(), rows: Vec::new(), snapshot }
    }

    /// Why nothing is ordered, if so.
    pub fn not_ordering(&self) -> Option<&str> {
        match self.not_ordering.as_ref()? {
            NotOrdering::Clock(why) | NotOrdering::Halted(why) => Some(why),
        }
    }

    /// The rules' state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Which journal this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Bytes of memory of the rooms' tails and of commands that wait to be written.
    pub fn memory_bytes(&self) -> usize {
        self.tails.weight() + self.order.queue_bytes()
    }

    /// Bytes of memory that is held for a session alone: the rooms that it follows, and what was read from the disk for
    /// it. It is given back when the session disconnects.
    pub fn held_bytes(&self, id: SessionId) -> usize {
        self.session(id).map_or(0, Session::held_bytes)
    }

    /// The session that a read from the disk is for.
    pub fn reader(&self, read: u64) -> Option<SessionId> {
        self.elsewhere.get(&read).map(Continuation::session)
    }

    /// A session, as the operator sees it.
    pub fn session_info(&self, id: SessionId) -> Option<SessionInfo> {
        let session = self.session(id)?;
        let name = self.name_of_session(id);
        let behind =
            session.cursor.as_ref().map_or(0, |cursor| self.state.seq().0.saturating_sub(cursor.seq.0));
        Some(SessionInfo { peer: session.peer, name, behind })
    }

    /// What was refused since this hub began, by code.
    pub fn refusals(&self) -> &[(Code, u64)] {
        &self.refusals
    }

    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            tail_bytes: self.tails.weight(),
            queue_bytes: self.order.queue_bytes(),
            seq: self.state.seq().0,
            messages: self.messages,
        }
    }
}
