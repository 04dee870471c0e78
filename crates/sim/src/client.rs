//! A client: its connections, what it asked and was answered, what it follows. It speaks through the
//! real `RequestWriter`, `Decoder` and `Follower`, and holds the server to what it was promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use vang_hub::Peer;
use vang_proto::Decoder;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{Backoff, RequestWriter};

use crate::following::{Following, compare};
use crate::model::Told;
use crate::scene::Scene;
use crate::wire::LineId;

mod ask; // what it asks
mod hear; // what comes, and what it holds the server to

/// One connection, from the client's side.
#[derive(Debug)]
pub(crate) struct Link {
    line: LineId,
    run: u32,
    decoder: Decoder,
    waiting: VecDeque<(u64, Asked)>,
    next_re: u64,
    half_closed: bool,
    paused_until: u64,
    may_end: bool,
    follows: bool,
    last_seq: u64,
    /// What the server had applied when following was asked for.
    applied: u64,
    /// Rooms that were added by a second `follow`, and what came of them.
    more: BTreeMap<String, Vec<Told>>,
}

/// What was asked.
#[derive(Clone, Debug)]
enum Asked {
    Follow,
    More(String),
    Send(usize),
    History {
        room: String,
        since: u64,
    },
    /// Something whose doing is an entry.
    Do {
        what: &'static str,
        name: String,
    },
    /// A look at what is there.
    Look,
    /// After a private room, as it was typed.
    Pry {
        typed: String,
        what: &'static str,
    },
}

/// A message, until it is known to be posted or not.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Where.
    pub(crate) room: String,
    /// Makes it safe to repeat.
    pub(crate) id: Option<String>,
    /// Its first word, which no other message has.
    pub(crate) word: String,
    content: Bytes,
    types: (&'static str, &'static str),
    /// The same id with another payload than this message's.
    twists: Option<usize>,
    twisted: bool,
    in_flight: u32,
    attempts: u32,
    /// Attempts of which nobody knows what became.
    unsure: u32,
    retry_at: Option<u64>,
    /// What it was told: by which run, number, place.
    pub(crate) acks: Vec<(u32, u64, u64)>,
    /// Refused for good.
    pub(crate) refused: Option<String>,
}

/// What kind of person it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Talks.
    Person,
    /// Talks in private rooms only, and must be known to nobody outside them.
    PrivateOnly,
    /// Looks for what it may not see.
    Prober,
    /// Adds accounts.
    Operator,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Client {
    /// For the record.
    pub(crate) label: String,
    /// `as`.
    pub(crate) name: Option<String>,
    /// What it does by itself.
    pub(crate) role: Role,
    peer: Peer,
    /// What it follows.
    pub(crate) following: Option<Following>,
    main: Option<Link>,
    side: Option<Link>,
    /// Everything it ever sent.
    pub(crate) sends: Vec<Sending>,
    /// What it was told to be done: by which run, at which entry.
    pub(crate) done: Vec<(&'static str, u32, u64)>,
    /// What it was answered last, for stories.
    pub(crate) answer: Option<Result<String, String>>,
    typed: BTreeSet<u64>,
    call_at: u64,
    backoff: Backoff,
    /// Accounts that it added.
    pub(crate) added: Vec<String>,
    /// How many of them are people already.
    pub(crate) welcomed: usize,
}

impl Client {
    /// Somebody who has no connection yet.
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

    /// Its account, if it has one.
    pub(crate) fn account(&self, scene: &Scene) -> Option<u64> {
        self.name.as_ref().and_then(|name| scene.model.account(name))
    }

    fn writer(&self) -> RequestWriter {
        RequestWriter { name: self.name.clone() }
    }

    /// Time passes.
    pub(crate) fn turn(&mut self, scene: &mut Scene) {
        if let Some(link) = self.main.take() {
            self.main = self.receive(scene, link);
        }
        if let Some(link) = self.side.take() {
            let link = self.receive(scene, link);
            self.side = match link {
                // It was called for one thing.
                Some(link) if link.waiting.is_empty() => self.hang_up(scene, link),
                other => other,
            };
        }
        self.connect(scene);
        self.retry(scene);
    }

    // ---- connections ----

    fn call(&mut self, scene: &mut Scene) -> Link {
        let line = scene.lines.call(self.peer);
        let limits = Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX };
        Link {
            line,
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
        if self.main.is_some() || !scene.is_up || scene.fate.now() < self.call_at {
            return;
        }
        let mut link = self.call(scene);
        scene.fate.note(format_args!("{} calls", self.label));
        if let Some(following) = &self.following {
            let opening = following.follower.opening();
            link.follows = true;
            put(scene, &mut link, 0, Asked::Follow, &opening);
        }
        self.main = Some(link);
        let acts = scene.fate.weather.people_act;
        if acts && self.following.is_some() && scene.fate.rng.happens(60) {
            // As a program does that pipes its request in.
            self.half_close(scene);
        } else if acts && self.following.is_some() && scene.fate.rng.happens(60) {
            self.follow_more(scene);
        }
    }

    /// Lets go of a connection.
    fn hang_up(&mut self, scene: &mut Scene, link: Link) -> Option<Link> {
        scene.lines.cut(link.line, &mut scene.fate);
        self.lost(scene, link);
        None
    }

    /// The connection breaks.
    pub(crate) fn cut(&mut self, scene: &mut Scene) {
        if let Some(link) = self.main.take() {
            scene.fate.count("connection cut");
            if link.decoder.waits_for() != vang_proto::frame::Part::Nothing {
                scene.fate.count("connection cut inside a message");
            }
            scene.fate.note(format_args!("{} is cut off", self.label));
            self.hang_up(scene, link);
        }
        if scene.fate.rng.happens(300)
            && let Some(link) = self.side.take()
        {
            self.hang_up(scene, link);
        }
    }

    /// Stops taking bytes for a while.
    pub(crate) fn pause(&mut self, scene: &mut Scene, ms: u64) {
        let until = scene.fate.now() + ms;
        if let Some(link) = &mut self.main {
            scene.fate.count("reader stopped taking bytes");
            link.paused_until = until;
            // It may be closed for that.
            link.may_end = true;
        }
    }

    /// Reads again.
    pub(crate) fn read_on(&mut self) {
        for link in self.main.iter_mut().chain(&mut self.side) {
            link.paused_until = 0;
        }
        self.call_at = 0;
    }

    /// Shuts its sending half.
    pub(crate) fn half_close(&mut self, scene: &mut Scene) {
        if let Some(link) = &mut self.main
            && let Some(line) = scene.lines.get(link.line)
        {
            scene.fate.count("sending half shut");
            line.up_ended = true;
            link.half_closed = true;
        }
    }

    /// Can it ask something now?
    pub(crate) fn is_connected(&self) -> bool {
        self.main.as_ref().is_some_and(|link| !link.half_closed)
    }

    /// Sends no more on this connection, so that another is needed.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.main.as_ref().is_some_and(|link| link.half_closed)
    }

    fn lost(&mut self, scene: &mut Scene, link: Link) {
        for (_, asked) in link.waiting {
            if let Asked::Send(index) = asked {
                self.unsure(scene, index);
            }
        }
        let account = self.account(scene);
        for (room, log) in link.more {
            let (Some(first), Some(last)) = (log.first(), log.last()) else { continue };
            if scene.survives(link.run, last.seq) {
                let mut expected = scene.model.told(account, &room);
                expected.retain(|told| (first.seq..=last.seq).contains(&told.seq));
                compare(&format!("{} (in a room added later)", self.label), &expected, &log);
            }
        }
        let wait = self.backoff.next_ms(scene.fate.rng.any());
        self.call_at = scene.fate.now() + wait;
    }

    /// Is everything that it wants to know known?
    pub(crate) fn is_quiet(&self) -> bool {
        let connected = self.main.as_ref().is_some_and(|link| link.waiting.is_empty() && !link.half_closed);
        connected && self.side.is_none() && self.sends.iter().all(|send| send.retry_at.is_none())
    }

    /// What it follows is what it was told; `complete`: up to the end.
    pub(crate) fn check(&self, scene: &Scene, complete: bool) {
        if let Some(following) = &self.following {
            following.check(scene, &self.label, self.account(scene), complete);
        }
    }

    /// Every answer that it was given is true, and what was not posted is not there (P1, P4).
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
                    panic!("{who}'s {word} was acknowledged and is not there")
                };
                let there = (&posted.room, posted.n, posted.seq, posted.content);
                let content = crate::fate::print(3, &send.content);
                assert_eq!(
                    there,
                    (&send.room, n, seq, content),
                    "{who}'s {word} is elsewhere than it was told"
                );
            }
            if send.acks.is_empty() && send.unsure == 0 && send.in_flight == 0 {
                assert!(posted.is_empty(), "{who}'s {word} was refused ({:?}) and is there", send.refused);
            }
        }
        for &(what, run, seq) in &self.done {
            if scene.survives(run, seq) {
                assert_eq!(scene.model.done(seq), Some(what), "{}'s {what} at {seq}", self.label);
            }
        }
    }
}

fn put(scene: &mut Scene, link: &mut Link, re: u64, asked: Asked, bytes: &Bytes) {
    if let Asked::Follow = asked {
        link.applied = scene.applied;
    }
    link.waiting.push_back((re, asked));
    if let Some(line) = scene.lines.get(link.line) {
        line.up.extend_from_slice(bytes);
    }
}
