//! One run of the server: the real hub and sessions, driven as the real server drives them, between simulated
//! sockets and a simulated disk. A crash loses everything in memory.

use std::collections::BTreeMap;

use vang_chat::{Node, Seq, State};
use vang_hub::limits::{
    BATCH_BYTES_MAX, COLD_BYTES_MAX, COLD_EVENTS_MAX, HISTORY_BYTES_MAX, PULL_BYTES_MAX, ROOM_TAIL_BYTES_MAX,
    TAILS_BYTES_MAX,
};
use vang_hub::{Book, Hub, Output, Salts, Scope, SessionId, Trust, replay};
use vang_journal::Entry;
use vang_proto::limits::{
    CONTENT_BYTES_MAX, HEADER_BYTES_MAX, INLINE_BYTES_MAX, PENDING_REQUEST_BYTES_MAX, UNSENT_REPLY_BYTES_MAX,
};
use vang_proto::vang::{ServerLimits, ServerSession, SessionStep};

use crate::environment::Environment;
use crate::hashing::Hashing;
use crate::journal::Disk;
use crate::network::{Network, PipeId, random_piece};
use crate::view::View;

/// The longest event: a message at its limit and a header with a room and a name. Other events are shorter.
const EVENT_BYTES_MAX: usize = INLINE_BYTES_MAX as usize + 1_024;

/// The most that one `pull` returns: its budget plus an event that starts at the budget's last byte; or a page
/// from the disk, whose budget counts payloads only.
const PULLED_BYTES_MAX: usize = {
    let hot = PULL_BYTES_MAX + EVENT_BYTES_MAX;
    let cold = COLD_BYTES_MAX + EVENT_BYTES_MAX + COLD_EVENTS_MAX * 1_024;
    if hot > cold { hot } else { cold }
};

const REPLY_BYTES_MAX: usize = HISTORY_BYTES_MAX + EVENT_BYTES_MAX + 256 * 1_024;

/// How long a reader can read nothing, ms: shorter than in reality, so that it happens.
const STALL_MS: u64 = 2_000;

/// Rooms of one account: fewer than in reality, so that some are refused.
const ROOMS_PER_ACCOUNT: u64 = 2;

const READ_BYTES_MAX: usize = 1 << 16;

/// The memory limit of a connection (P5), in four parts: one incomplete message, and what was read with its
/// last byte; unanswered requests, of which the last can exceed the limit; unsent replies, likewise; and one
/// pull of events.
const HELD_BYTES_MAX: usize = (HEADER_BYTES_MAX as usize + CONTENT_BYTES_MAX as usize + READ_BYTES_MAX)
    + (PENDING_REQUEST_BYTES_MAX + CONTENT_BYTES_MAX as usize + 512)
    + (UNSENT_REPLY_BYTES_MAX + PENDING_PAGES * REPLY_BYTES_MAX)
    + PULLED_BYTES_MAX;

/// Pages of history that can be requested until their weight reaches the limit for requests, plus one.
const PENDING_PAGES: usize = PENDING_REQUEST_BYTES_MAX / HISTORY_BYTES_MAX + 1;

/// One run of the server.
pub(crate) struct Process {
    hub: Hub,
    connections: BTreeMap<SessionId, ServerConnection>,
    hashing: Hashing,
    settling_after: Seq,
    stopping: bool,
    /// Up to where entries were applied when the last piece of a snapshot was written.
    snapshot_seq: Option<Seq>,
}

struct ServerConnection {
    pipe: PipeId,
    session: ServerSession,
    may_pull: bool,
}

impl Process {
    /// Starts from the disk: the newest valid snapshot, then every later entry.
    pub(crate) fn start(env: &mut Environment, disk: &Disk, view: &mut View) -> Process {
        let identity = disk.identity();
        let mut reader = disk.reader();
        if view.rows().cursor > disk.end() {
            env.count("view ahead of an older copy");
            view.reset();
        }
        let state = view.snapshot().and_then(|bytes| State::from_snapshot(bytes).ok());
        if state.is_some() {
            env.count("start from a snapshot");
        }
        let rows = view.rows();
        let book = Book::new(rows.newest_texts());
        let (view_cursor, state) = (rows.cursor, state.unwrap_or_default());
        let recovered = replay(&mut reader, &identity, (state, book), view_cursor, &mut |delta| {
            view.apply(delta);
            Ok(())
        });
        let recovered = recovered.expect("the journal can be replayed");
        // P10: a replay gives the same state wherever it starts.
        let beginning = (State::default(), Book::default());
        let whole = replay(&mut reader, &identity, beginning, disk.end(), &mut |_| Ok(()));
        let whole = whole.expect("the journal can be replayed from its beginning");
        assert_eq!(
            recovered.state.hash(),
            whole.state.hash(),
            "a replay from the snapshot gives another state"
        );
        let (node, seed) = (Node(env.rng.any()), env.rng.bytes());
        env.note(format_args!(
            "server starts at {}, replayed {}, view was at {view_cursor}",
            recovered.state.seq(),
            recovered.replayed
        ));
        let mut hub = Hub::new(identity, recovered, node, Salts::new(seed), "vang-sim".to_owned(), false);
        // The clients of these stories need no data folder.
        hub.set_trust(Trust::Local);
        // Those from other machines sign in; some are guests before.
        hub.set_guests(Scope::Everywhere);
        hub.set_rooms_per_account(ROOMS_PER_ACCOUNT);
        Process {
            hub,
            connections: BTreeMap::new(),
            hashing: Hashing::default(),
            settling_after: Seq(0),
            stopping: false,
            snapshot_seq: None,
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stops orderly: takes no new requests and finishes the open ones.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.hub.stop();
        for connection in self.connections.values_mut() {
            connection.session.close("stopping");
        }
    }

    /// Has it stopped? Then the view has the final state.
    pub(crate) fn has_stopped(&mut self, view: &mut View) -> bool {
        if self.stopping && self.hub.is_quiet() {
            view.queue(self.hub.farewell());
            return true;
        }
        false
    }

    /// Begins a snapshot, which the next turns write: then the next start begins here.
    pub(crate) fn snapshot(&mut self) {
        self.hub.begin_snapshot();
    }

    /// Entries that stand in the journal after those that it has.
    pub(crate) fn arrived(&mut self, entries: Vec<Entry>) {
        self.hub.arrived(entries);
    }

    /// Is nothing left to do?
    pub(crate) fn is_quiet(&self) -> bool {
        // Not `is_quiet`: a hash of the state waits for the next batch.
        self.hub.stats().queue_bytes == 0
            && self.hub.is_open()
            && self.hashing.is_quiet()
            && self.connections.values().all(|connection| !connection.session.has_output())
    }

    /// Time passes.
    pub(crate) fn turn(
        &mut self,
        env: &mut Environment,
        network: &mut Network,
        disk: &mut Disk,
        view: &mut View,
    ) {
        self.hub.set_wall(env.clocks().wall);
        self.accept(env, network);
        if let Some((appended, entries)) = disk.finish(env) {
            env.note(format_args!("appended: {appended:?}"));
            self.hub.appended(env.clocks(), appended);
            self.hub.arrived(entries);
        }
        if let Some(settled) = disk.settle(env, self.settling_after) {
            self.hub.settled(env.clocks(), settled);
        }
        for (id, answer) in view.answers(env, &mut disk.reader()) {
            self.hub.answer_read(id, answer);
        }
        for (id, answer) in self.hashing.done(env, &mut disk.reader()) {
            env.note(format_args!("password job {id}: {:?}", answer.as_ref().map(|_| ())));
            self.hub.answer_secret(id, answer);
        }
        for seqs in self.hashing.erasable(env) {
            env.note(format_args!("erases {seqs:?}"));
            disk.erase(&seqs, self.hub.state().seq());
            self.hub.erased();
        }
        self.read(env, network);
        self.perform(env, disk, view);
        // Reading after the replies can give more requests, and pulling can ask the disk.
        for _ in 0..3 {
            self.write(env, network);
            self.take_requests(env);
            self.perform(env, disk, view);
        }
        let seq = self.hub.state().seq();
        if self.hub.continue_snapshot(env.rng.between(1, 8) as usize) {
            if self.snapshot_seq.replace(seq).is_some_and(|before| before < seq) {
                env.count("applied between two pieces of a snapshot");
            }
        } else {
            self.snapshot_seq = None;
        }
        self.close(env, network);
        self.check_bounds();
    }

    fn accept(&mut self, env: &mut Environment, network: &mut Network) {
        for pipe in network.accept() {
            let Some(peer) = network.get(pipe).map(|pipe| pipe.peer) else { continue };
            let id = self.hub.connect(peer);
            let limits = ServerLimits { stall_ms: STALL_MS, ..ServerLimits::default() };
            let session = ServerSession::new(env.millis(), limits);
            self.connections.insert(id, ServerConnection { pipe, session, may_pull: false });
            if self.stopping {
                let connection = self.connections.get_mut(&id).expect("just inserted");
                connection.session.close("stopping");
            }
        }
    }

    fn read(&mut self, env: &mut Environment, network: &mut Network) {
        let mut gone = Vec::new();
        for (&id, connection) in &mut self.connections {
            let Some(pipe) = network.get(connection.pipe) else { continue };
            if pipe.client_gone_at.is_some_and(|at| at <= env.now()) {
                gone.push((id, connection.pipe));
                continue;
            }
            if connection.session.wants_input() {
                if let Some(bytes) = random_piece(env, &mut pipe.up) {
                    connection.session.handle_bytes(env.millis(), &bytes);
                } else if pipe.up.is_empty() && pipe.up_ended {
                    connection.session.handle_end(env.millis());
                }
            }
        }
        for (id, pipe) in gone {
            self.hub.disconnect(id);
            self.connections.remove(&id);
            network.close_server_side(pipe);
        }
        self.take_requests(env);
    }

    fn take_requests(&mut self, env: &mut Environment) {
        for (&id, connection) in &mut self.connections {
            while let Some((ticket, request)) = connection.session.poll_request(env.millis()) {
                self.hub.request(id, ticket, request);
            }
        }
    }

    fn perform(&mut self, env: &mut Environment, disk: &mut Disk, view: &mut View) {
        loop {
            self.hub.poll(env.clocks());
            let Some(mut output) = self.hub.poll_output() else { break };
            loop {
                self.perform_one(env, disk, view, output);
                match self.hub.poll_output() {
                    Some(next) => output = next,
                    None => break,
                }
            }
        }
    }

    fn perform_one(&mut self, env: &mut Environment, disk: &mut Disk, view: &mut View, output: Output) {
        match output {
            Output::Reply { session, ticket, bytes } => {
                assert!(bytes.len() <= REPLY_BYTES_MAX, "a reply of {} bytes", bytes.len());
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.session.reply(env.millis(), ticket, bytes);
                }
            }
            Output::Pause { session, ms } => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    env.count("paused after busy");
                    connection.session.pause(env.millis() + ms);
                }
            }
            Output::Follows { session } => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.session.set_follows();
                }
            }
            Output::Wake { session } => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.may_pull = true;
                }
            }
            Output::Append(batch) => disk.begin(env, batch),
            Output::Settle { after } => {
                self.settling_after = after;
                disk.begin_settling(env);
            }
            Output::Read(job) => {
                assert!(job.need <= self.hub.state().seq(), "waits for entries beyond the applied ones");
                view.ask(env, job);
            }
            Output::UpdateView(delta) => view.queue(delta),
            Output::Close { session, why } => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.session.close(why);
                }
            }
            Output::Secret(job) => self.hashing.ask(env, job),
            Output::Erase(seqs) => self.hashing.erase(env, seqs),
        }
    }

    fn write(&mut self, env: &mut Environment, network: &mut Network) {
        for (&id, connection) in &mut self.connections {
            let Some(pipe) = network.get(connection.pipe) else { continue };
            for _ in 0..8 {
                if connection.may_pull && connection.session.takes_events() {
                    let mut out = Vec::new();
                    connection.may_pull = self.hub.pull(id, &mut out);
                    let len: usize = out.iter().map(bytes::Bytes::len).sum();
                    assert!(len <= PULLED_BYTES_MAX, "a pull of {len} bytes; at most {PULLED_BYTES_MAX}");
                    for bytes in out {
                        connection.session.push_event(env.millis(), bytes);
                    }
                }
                let room = (env.weather.window as usize).saturating_sub(pipe.down.len());
                if room == 0 || !connection.session.has_output() {
                    break;
                }
                let mut wrote = 0;
                for slice in connection.session.output() {
                    let n = slice.len().min(room - wrote);
                    pipe.down.extend_from_slice(&slice[..n]);
                    wrote += n;
                }
                connection.session.wrote(env.millis(), wrote);
            }
        }
    }

    fn close(&mut self, env: &mut Environment, network: &mut Network) {
        let mut done = Vec::new();
        for (&id, connection) in &mut self.connections {
            connection.session.handle_time(env.millis());
            match connection.session.step(env.millis()) {
                SessionStep::Wait => {}
                SessionStep::ShutDown => {
                    if let Some(pipe) = network.get(connection.pipe) {
                        pipe.down_ended = true;
                    }
                }
                SessionStep::Close => done.push((id, connection.pipe)),
            }
            if connection.session.refusal().is_some_and(|why| why.starts_with("took nothing")) {
                env.count("closed a reader that took nothing");
            }
        }
        for (id, pipe) in done {
            self.hub.disconnect(id);
            self.connections.remove(&id);
            network.close_server_side(pipe);
        }
    }

    /// P5: the server's memory stays within its limits.
    fn check_bounds(&self) {
        let stats = self.hub.stats();
        // A room keeps at least its newest run: one batch.
        let rooms = self.hub.state().rooms().count();
        let tails = TAILS_BYTES_MAX.min(rooms * (ROOM_TAIL_BYTES_MAX + BATCH_BYTES_MAX + EVENT_BYTES_MAX));
        assert!(stats.tail_bytes <= tails, "tails of {} bytes in {rooms} rooms", stats.tail_bytes);
        assert_eq!(stats.sessions, self.connections.len(), "the hub forgets connections that are gone");
        for connection in self.connections.values() {
            let held = connection.session.held_bytes();
            assert!(held <= HELD_BYTES_MAX, "a connection holds {held} bytes; at most {HELD_BYTES_MAX}");
        }
    }
}
