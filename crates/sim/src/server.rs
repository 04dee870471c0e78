//! One run of the server: the real hub and the real sessions, driven as the real server drives them,
//! between simulated sockets and a simulated disk. It dies with everything that is only in memory.

use std::collections::BTreeMap;

use vang_chat::{Node, Seq, State};
use vang_hub::limits::{
    BATCH_BYTES_MAX, COLD_BYTES_MAX, COLD_EVENTS_MAX, HISTORY_BYTES_MAX, PULL_BYTES_MAX, ROOM_TAIL_BYTES_MAX,
    TAILS_BYTES_MAX,
};
use vang_hub::{Book, Hub, Output, Salts, SessionId, Trust, replay};
use vang_proto::limits::{
    CONTENT_BYTES_MAX, HEADER_BYTES_MAX, INLINE_BYTES_MAX, PENDING_REQUEST_BYTES_MAX, UNSENT_REPLY_BYTES_MAX,
};
use vang_proto::vang::{ServerLimits, ServerSession, Step};

use crate::fate::Fate;
use crate::journal::Disk;
use crate::tables::Tables;
use crate::wire::{LineId, Lines, piece};

/// The longest event: a message at its limit and a header that names a room and a person. A hole or a
/// joining is shorter.
const EVENT_BYTES_MAX: usize = INLINE_BYTES_MAX as usize + 1_024;

/// What one `pull` gives: its budget, of which the last event may begin at the last byte; or a page
/// from the disk, whose budget counts payload alone.
const PULLED_BYTES_MAX: usize = {
    let hot = PULL_BYTES_MAX + EVENT_BYTES_MAX;
    let cold = COLD_BYTES_MAX + EVENT_BYTES_MAX + COLD_EVENTS_MAX * 1_024;
    if hot > cold { hot } else { cold }
};

/// The longest reply: a page of history.
const REPLY_BYTES_MAX: usize = HISTORY_BYTES_MAX + EVENT_BYTES_MAX + 256 * 1_024;

/// How long a reader may take nothing, ms: shorter than in the world outside, so that it happens.
const STALL_MS: u64 = 2_000;

/// Bytes read from a socket at once.
const READ_BYTES_MAX: usize = 1 << 16;

/// What a connection may cost (P5), in four parts: one message that is not whole, and what was read
/// with its last byte; requests that are not answered, of which the last may exceed the limit; replies
/// that are not taken, in the same way; and one pull of events.
const HELD_BYTES_MAX: usize = (HEADER_BYTES_MAX as usize + CONTENT_BYTES_MAX as usize + READ_BYTES_MAX)
    + (PENDING_REQUEST_BYTES_MAX + CONTENT_BYTES_MAX as usize + 512)
    + (UNSENT_REPLY_BYTES_MAX + PENDING_PAGES * REPLY_BYTES_MAX)
    + PULLED_BYTES_MAX;

/// Pages of history that can be asked for before their weight fills the limit for requests, and one.
const PENDING_PAGES: usize = PENDING_REQUEST_BYTES_MAX / HISTORY_BYTES_MAX + 1;

/// See the module's head.
pub(crate) struct Process {
    hub: Hub,
    conns: BTreeMap<SessionId, Conn>,
    settling_after: Seq,
    stopping: bool,
}

struct Conn {
    line: LineId,
    session: ServerSession,
    may_pull: bool,
}

impl Process {
    /// Starts on what is on the disk: the newest snapshot that is good, then every entry after it.
    pub(crate) fn start(fate: &mut Fate, disk: &Disk, tables: &mut Tables) -> Process {
        let identity = disk.identity();
        let mut reader = disk.reader();
        if tables.rows().cursor > disk.end() {
            fate.count("tables ahead of an older copy");
            tables.reset();
        }
        let state = tables.snapshot().and_then(|bytes| State::from_snapshot(bytes).ok());
        if state.is_some() {
            fate.count("start from a snapshot");
        }
        let rows = tables.rows();
        let book = Book::new(
            rows.rooms.iter().map(|(&id, name)| (id, name.clone())).collect(),
            rows.accounts.iter().map(|(&id, name)| (id, name.clone())).collect(),
        );
        let (told, state) = (rows.cursor, state.unwrap_or_default());
        let recovered = replay(&mut reader, &identity, (state, book), told, &mut |delta| {
            tables.apply(delta);
            Ok(())
        });
        let recovered = recovered.expect("the journal can be replayed");
        // P10: it does not matter where a replay begins.
        let beginning = (State::default(), Book::default());
        let whole = replay(&mut reader, &identity, beginning, disk.end(), &mut |_| Ok(()));
        let whole = whole.expect("the journal can be replayed from its beginning");
        assert_eq!(
            recovered.state.hash(),
            whole.state.hash(),
            "a replay from the snapshot gives another state"
        );
        let (node, seed) = (Node(fate.rng.any()), fate.rng.bytes());
        fate.note(format_args!(
            "server starts at {}, replayed {}, tables were at {told}",
            recovered.state.seq(),
            recovered.replayed
        ));
        let mut hub = Hub::new(identity, recovered, node, Salts::new(seed), "vang-sim".to_owned(), false);
        // The people of these stories need no data folder.
        hub.set_trust(Trust::Local);
        Process { hub, conns: BTreeMap::new(), settling_after: Seq(0), stopping: false }
    }

    /// The real state.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stops in good order: nothing more is taken, what was asked is finished.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.hub.stop();
        for conn in self.conns.values_mut() {
            conn.session.close("stopping");
        }
    }

    /// Has it stopped? Then the tables have had the last word.
    pub(crate) fn has_stopped(&mut self, tables: &mut Tables) -> bool {
        if self.stopping && self.hub.is_quiet() {
            tables.tell(self.hub.farewell());
            return true;
        }
        false
    }

    /// The tables are told the state as it is now: the next start begins here.
    pub(crate) fn snapshot(&mut self, tables: &mut Tables) {
        tables.tell(self.hub.farewell());
    }

    /// Is nothing left to do?
    pub(crate) fn is_quiet(&self) -> bool {
        // Not `is_quiet`: a hash of the state waits for the next batch.
        self.hub.stats().queue_bytes == 0
            && self.hub.is_open()
            && self.conns.values().all(|conn| !conn.session.has_output())
    }

    /// Time passes.
    pub(crate) fn turn(&mut self, fate: &mut Fate, lines: &mut Lines, disk: &mut Disk, tables: &mut Tables) {
        self.accept(fate, lines);
        if let Some(appended) = disk.finish(fate) {
            fate.note(format_args!("appended: {appended:?}"));
            self.hub.appended(fate.clocks(), appended);
        }
        if let Some(settled) = disk.settle(fate, self.settling_after) {
            self.hub.settled(fate.clocks(), settled);
        }
        for (id, answer) in tables.answers(fate, &mut disk.reader()) {
            self.hub.answer_read(id, answer);
        }
        self.read(fate, lines);
        self.perform(fate, disk, tables);
        // What is read after replies were given may be more requests, and what is pulled may ask the disk.
        for _ in 0..3 {
            self.write(fate, lines);
            self.take_requests(fate);
            self.perform(fate, disk, tables);
        }
        self.close(fate, lines);
        self.check_bounds();
    }

    fn accept(&mut self, fate: &mut Fate, lines: &mut Lines) {
        for line in lines.accept() {
            let Some(peer) = lines.get(line).map(|line| line.peer) else { continue };
            let id = self.hub.connect(peer);
            let limits = ServerLimits { stall_ms: STALL_MS, ..ServerLimits::default() };
            let session = ServerSession::new(fate.millis(), limits);
            self.conns.insert(id, Conn { line, session, may_pull: false });
            if self.stopping {
                let conn = self.conns.get_mut(&id).expect("just inserted");
                conn.session.close("stopping");
            }
        }
    }

    fn read(&mut self, fate: &mut Fate, lines: &mut Lines) {
        let mut gone = Vec::new();
        for (&id, conn) in &mut self.conns {
            let Some(line) = lines.get(conn.line) else { continue };
            if line.client_gone_at.is_some_and(|at| at <= fate.now()) {
                gone.push((id, conn.line));
                continue;
            }
            if conn.session.wants_input() {
                if let Some(bytes) = piece(fate, &mut line.up) {
                    conn.session.handle_bytes(fate.millis(), &bytes);
                } else if line.up.is_empty() && line.up_ended {
                    conn.session.handle_end(fate.millis());
                }
            }
        }
        for (id, line) in gone {
            self.hub.disconnect(id);
            self.conns.remove(&id);
            lines.hang_up(line);
        }
        self.take_requests(fate);
    }

    fn take_requests(&mut self, fate: &mut Fate) {
        for (&id, conn) in &mut self.conns {
            while let Some((ticket, request)) = conn.session.poll_request(fate.millis()) {
                self.hub.request(id, ticket, request);
            }
        }
    }

    fn perform(&mut self, fate: &mut Fate, disk: &mut Disk, tables: &mut Tables) {
        loop {
            self.hub.poll(fate.clocks());
            let Some(mut output) = self.hub.poll_output() else { break };
            loop {
                self.perform_one(fate, disk, tables, output);
                match self.hub.poll_output() {
                    Some(next) => output = next,
                    None => break,
                }
            }
        }
    }

    fn perform_one(&mut self, fate: &mut Fate, disk: &mut Disk, tables: &mut Tables, output: Output) {
        match output {
            Output::Reply { session, ticket, bytes } => {
                assert!(bytes.len() <= REPLY_BYTES_MAX, "a reply of {} bytes", bytes.len());
                if let Some(conn) = self.conns.get_mut(&session) {
                    conn.session.reply(fate.millis(), ticket, bytes);
                }
            }
            Output::Pause { session, ms } => {
                if let Some(conn) = self.conns.get_mut(&session) {
                    fate.count("told busy and read later");
                    conn.session.pause(fate.millis() + ms);
                }
            }
            Output::Follows { session } => {
                if let Some(conn) = self.conns.get_mut(&session) {
                    conn.session.set_follows();
                }
            }
            Output::Wake { session } => {
                if let Some(conn) = self.conns.get_mut(&session) {
                    conn.may_pull = true;
                }
            }
            Output::Append(batch) => disk.begin(fate, batch),
            Output::Settle { after } => {
                self.settling_after = after;
                disk.begin_settling(fate);
            }
            Output::Read(job) => {
                assert!(job.need <= self.hub.state().seq(), "waits for entries that nobody has told of");
                tables.ask(fate, job);
            }
            Output::UpdateView(delta) => tables.tell(delta),
        }
    }

    fn write(&mut self, fate: &mut Fate, lines: &mut Lines) {
        for (&id, conn) in &mut self.conns {
            let Some(line) = lines.get(conn.line) else { continue };
            for _ in 0..8 {
                if conn.may_pull && conn.session.takes_events() {
                    let mut out = Vec::new();
                    conn.may_pull = self.hub.pull(id, &mut out);
                    let len: usize = out.iter().map(bytes::Bytes::len).sum();
                    assert!(len <= PULLED_BYTES_MAX, "a pull of {len} bytes; at most {PULLED_BYTES_MAX}");
                    for bytes in out {
                        conn.session.push_event(fate.millis(), bytes);
                    }
                }
                let room = (fate.weather.window as usize).saturating_sub(line.down.len());
                if room == 0 || !conn.session.has_output() {
                    break;
                }
                let mut wrote = 0;
                for slice in conn.session.output() {
                    let n = slice.len().min(room - wrote);
                    line.down.extend_from_slice(&slice[..n]);
                    wrote += n;
                }
                conn.session.wrote(fate.millis(), wrote);
            }
        }
    }

    fn close(&mut self, fate: &mut Fate, lines: &mut Lines) {
        let mut done = Vec::new();
        for (&id, conn) in &mut self.conns {
            conn.session.handle_time(fate.millis());
            match conn.session.step(fate.millis()) {
                Step::Wait => {}
                Step::ShutDown => {
                    if let Some(line) = lines.get(conn.line) {
                        line.down_ended = true;
                    }
                }
                Step::Close => done.push((id, conn.line)),
            }
            if conn.session.refusal().is_some_and(|why| why.starts_with("took nothing")) {
                fate.count("closed a reader that took nothing");
            }
        }
        for (id, line) in done {
            self.hub.disconnect(id);
            self.conns.remove(&id);
            lines.hang_up(line);
        }
    }

    /// P5: what the memory of a server is made of stays within its bounds.
    fn check_bounds(&self) {
        let stats = self.hub.stats();
        // A room keeps at least its newest run, which is one batch.
        let rooms = self.hub.state().rooms().count();
        let tails = TAILS_BYTES_MAX.min(rooms * (ROOM_TAIL_BYTES_MAX + BATCH_BYTES_MAX + EVENT_BYTES_MAX));
        assert!(stats.tail_bytes <= tails, "tails of {} bytes in {rooms} rooms", stats.tail_bytes);
        assert_eq!(stats.sessions, self.conns.len(), "the hub forgets connections that are gone");
        for conn in self.conns.values() {
            let held = conn.session.held_bytes();
            assert!(held <= HELD_BYTES_MAX, "a connection holds {held} bytes; at most {HELD_BYTES_MAX}");
        }
    }
}
