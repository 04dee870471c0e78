//! A client: its connections, requests, replies and followed rooms. It uses the real `RequestWriter`, `Decoder`
//! and `Follower`, and checks the server's promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use vang_hub::Peer;
use vang_proto::Decoder;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{Action, Backoff, FeedName, RequestWriter};

use crate::following::{Following, compare};
use crate::model::SeenEvent;
use crate::network::PipeId;
use crate::scene::Scene;

mod ask; // its requests
mod hear; // what it receives, and its checks

pub(crate) use hear::is_transient;

#[derive(Debug)]
pub(crate) struct ClientConnection {
    pipe: PipeId,
    run: u32,
    decoder: Decoder,
    waiting: VecDeque<(u64, Asked)>,
    next_re: u64,
    half_closed: bool,
    paused_until: u64,
    may_end: bool,
    follows: bool,
    last_seq: u64,
    /// The server's last applied entry when following was requested.
    applied: u64,
    /// Rooms added by a second `follow`, and their events.
    more: BTreeMap<String, Vec<SeenEvent>>,
}

/// A request.
#[derive(Clone, Debug)]
enum Asked {
    Follow,
    /// A room and feeds, with a second `follow`; `applied`: the server's last applied entry at the request.
    More {
        room: String,
        feeds: Vec<FeedName>,
        applied: u64,
    },
    Send(usize),
    History {
        room: String,
        since: u64,
    },
    /// A request that becomes an entry.
    Do {
        what: &'static str,
        name: String,
    },
    Look,
    /// A page of the rooms; `applied`: the server's last applied entry at the request.
    Rooms {
        after: u64,
        limit: u64,
        applied: u64,
    },
    /// To follow the feed of an account, without having one.
    AccountFeed,
    /// A request about a private room that is not the client's; the name as typed.
    Probe {
        typed: String,
        what: &'static str,
    },
}

/// A message that is being sent.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) room: String,
    /// With an id it can be repeated.
    pub(crate) id: Option<String>,
    /// Its first word, which is unique.
    pub(crate) word: String,
    content: Bytes,
    types: (&'static str, &'static str),
    /// The message whose id this one reuses for another payload.
    reuses_id_of: Option<usize>,
    id_is_reused: bool,
    in_flight: u32,
    attempts: u32,
    /// Attempts with an unknown outcome.
    unsure: u32,
    retry_at: Option<u64>,
    /// Acknowledgements: run of the server, number, position.
    pub(crate) acks: Vec<(u32, u64, u64)>,
    pub(crate) refused: Option<String>,
}

impl Sending {
    fn action(&self) -> Action {
        Action::Send {
            room: self.room.clone(),
            id: self.id.clone(),
            content_type: self.types.0.to_owned(),
            content_encoding: self.types.1.to_owned(),
            content: self.content.clone(),
        }
    }
}

/// What a client does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Person,
    /// Talks in private rooms only; nobody outside them must learn of it.
    PrivateOnly,
    /// Tries to learn of private rooms.
    Prober,
    Operator,
}

/// A simulated client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) label: String,
    pub(crate) name: Option<String>,
    pub(crate) role: Role,
    peer: Peer,
    pub(crate) following: Option<Following>,
    main: Option<ClientConnection>,
    side: Option<ClientConnection>,
    pub(crate) sends: Vec<Sending>,
    /// Acknowledged actions: name, run of the server, entry.
    pub(crate) done: Vec<(&'static str, u32, u64)>,
    /// The last reply, for stories.
    pub(crate) answer: Option<Result<String, String>>,
    typed: BTreeSet<u64>,
    call_at: u64,
    backoff: Backoff,
    /// Accounts that it added.
    pub(crate) added: Vec<String>,
    /// How many of them have a client already.
    pub(crate) welcomed: usize,
}

impl Client {
    /// A client without a connection.
    pub(crate) fn new(label: &str, name: Option<&str>, role: Role, peer: Peer) -> Client {
        Client {
            label: label.to_owned(),
            name: name.map(str::to_owned),
            role,
            peer,
            following: None,
            main: None,
            side: None,
            sends: Vec::new(),
            done: Vec::new(),
            answer: None,
            typed: BTreeSet::new(),
            call_at: 0,
            backoff: Backoff::default(),
            added: Vec::new(),
            welcomed: 0,
        }
    }

    pub(crate) fn account(&self, scene: &Scene) -> Option<u64> {
        self.name.as_ref().and_then(|name| scene.model.account(name))
    }

    fn writer(&self) -> RequestWriter {
        RequestWriter { name: self.name.clone() }
    }

    /// One tick.
    pub(crate) fn turn(&mut self, scene: &mut Scene) {
        if let Some(connection) = self.main.take() {
            self.main = self.receive(scene, connection);
        }
        if let Some(connection) = self.side.take() {
            let connection = self.receive(scene, connection);
            self.side = match connection {
                // It was opened for one request.
                Some(connection) if connection.waiting.is_empty() => self.hang_up(scene, connection),
                other => other,
            };
        }
        self.connect(scene);
        self.retry(scene);
    }

    // ---- connections ----

    fn call(&mut self, scene: &mut Scene) -> ClientConnection {
        let pipe = scene.network.open(self.peer);
        let limits = Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX };
        ClientConnection {
            pipe,
            run: scene.run,
            decoder: Decoder::new(limits),
            waiting: VecDeque::new(),
            next_re: 1,
            half_closed: false,
            paused_until: 0,
            may_end: false,
            follows: false,
            last_seq: 0,
            applied: 0,
            more: BTreeMap::new(),
        }
    }

    fn connect(&mut self, scene: &mut Scene) {
        if self.main.is_some() || !scene.is_up || scene.env.now() < self.call_at {
            return;
        }
        let mut connection = self.call(scene);
        scene.env.note(format_args!("{} calls", self.label));
        if let Some(following) = &self.following {
            let opening = following.follower.opening();
            connection.follows = true;
            put(scene, &mut connection, 0, Asked::Follow, &opening);
        }
        self.main = Some(connection);
        let acts = scene.env.weather.people_act;
        if acts && self.following.is_some() && scene.env.rng.happens(60) {
            // Like a program that pipes its request in.
            self.half_close(scene);
        } else if acts && self.following.is_some() && scene.env.rng.happens(60) {
            self.follow_more(scene);
        }
    }

    fn hang_up(&mut self, scene: &mut Scene, connection: ClientConnection) -> Option<ClientConnection> {
        scene.network.cut(connection.pipe, &mut scene.env);
        self.lost(scene, connection);
        None
    }

    pub(crate) fn cut(&mut self, scene: &mut Scene) {
        if let Some(connection) = self.main.take() {
            scene.env.count("connection cut");
            if connection.decoder.waits_for() != vang_proto::frame::Part::Nothing {
                scene.env.count("connection cut inside a message");
            }
            scene.env.note(format_args!("{} is cut off", self.label));
            self.hang_up(scene, connection);
        }
        if scene.env.rng.happens(300)
            && let Some(connection) = self.side.take()
        {
            self.hang_up(scene, connection);
        }
    }

    /// Stops reading for a while.
    pub(crate) fn pause(&mut self, scene: &mut Scene, ms: u64) {
        let until = scene.env.now() + ms;
        if let Some(connection) = &mut self.main {
            scene.env.count("reader stopped taking bytes");
            connection.paused_until = until;
            // The server can close the connection because of this.
            connection.may_end = true;
        }
    }

    pub(crate) fn read_on(&mut self) {
        for connection in self.main.iter_mut().chain(&mut self.side) {
            connection.paused_until = 0;
        }
        self.call_at = 0;
    }

    pub(crate) fn half_close(&mut self, scene: &mut Scene) {
        if let Some(connection) = &mut self.main
            && let Some(pipe) = scene.network.get(connection.pipe)
        {
            scene.env.count("sending half shut");
            pipe.up_ended = true;
            connection.half_closed = true;
        }
    }

    /// Can it send a request now?
    pub(crate) fn is_connected(&self) -> bool {
        self.main.as_ref().is_some_and(|connection| !connection.half_closed)
    }

    /// It cannot send on this connection any more.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.main.as_ref().is_some_and(|connection| connection.half_closed)
    }

    fn lost(&mut self, scene: &mut Scene, connection: ClientConnection) {
        for (_, asked) in connection.waiting {
            if let Asked::Send(index) = asked {
                self.unsure(scene, index);
            }
        }
        let account = self.account(scene);
        for (room, mut log) in connection.more {
            // Where the room starts is known from its first event that no other feed shows.
            let following = self.following.as_ref();
            if let Some(values) = following.map(|following| following.values(scene, account)) {
                let start = log.iter().position(|seen| !values.has(seen));
                log.drain(..start.unwrap_or(log.len()));
            }
            let (Some(first), Some(last)) = (log.first(), log.last()) else { continue };
            if scene.survives(connection.run, last.seq) {
                let mut expected = scene.model.expected_events(account, &room);
                expected.retain(|seen| (first.seq..=last.seq).contains(&seen.seq));
                compare(&format!("{} (in a room added later)", self.label), &expected, &log);
            }
        }
        if let Some(following) = &mut self.following
            && connection.follows
        {
            following.keyed.connection_ended(connection.last_seq);
        }
        let wait = self.backoff.next_ms(scene.env.rng.any());
        self.call_at = scene.env.now() + wait;
    }

    /// Has it no open request?
    pub(crate) fn is_quiet(&self) -> bool {
        let connected = self
            .main
            .as_ref()
            .is_some_and(|connection| connection.waiting.is_empty() && !connection.half_closed);
        connected && self.side.is_none() && self.sends.iter().all(|send| send.retry_at.is_none())
    }

    /// Checks the received events; `complete`: up to the journal's end. Returns how many values of feeds were replaced before
    /// they were received.
    pub(crate) fn check(&self, scene: &Scene, complete: bool) -> usize {
        let following = self.following.as_ref();
        following.map_or(0, |following| following.check(scene, &self.label, self.account(scene), complete))
    }

    /// Checks that every reply is true, and that a refused message is not in the journal (P1, P4).
    pub(crate) fn check_answers(&self, scene: &Scene) {
        for send in &self.sends {
            let posted = scene.model.posted(&send.word);
            let (who, word) = (&self.label, &send.word);
            assert!(posted.len() <= 1, "{who}'s {word} was posted {} times: {posted:?}", posted.len());
            for &(run, n, seq) in &send.acks {
                if !scene.survives(run, seq) {
                    continue;
                }
                let Some(posted) = posted.first() else {
                    panic!("{who}'s {word} was acknowledged and is missing")
                };
                let there = (&posted.room, posted.n, posted.seq, posted.content);
                let content = crate::environment::print(3, &send.content);
                assert_eq!(
                    there,
                    (&send.room, n, seq, content),
                    "{who}'s {word} is not where the reply says"
                );
            }
            if send.acks.is_empty() && send.unsure == 0 && send.in_flight == 0 {
                assert!(
                    posted.is_empty(),
                    "{who}'s {word} was refused ({:?}) and is in the journal",
                    send.refused
                );
            }
        }
        for &(what, run, seq) in &self.done {
            if scene.survives(run, seq) {
                assert_eq!(scene.model.done(seq), Some(what), "{}'s {what} at {seq}", self.label);
            }
        }
    }
}

fn put(scene: &mut Scene, connection: &mut ClientConnection, re: u64, asked: Asked, bytes: &Bytes) {
    if let Asked::Follow = asked {
        connection.applied = scene.applied;
    }
    connection.waiting.push_back((re, asked));
    if let Some(pipe) = scene.network.get(connection.pipe) {
        pipe.up.extend_from_slice(bytes);
    }
}
