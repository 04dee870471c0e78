//! A client: its connections, what it asked and was answered, what it follows. It speaks through the
//! real `RequestWriter`, `Decoder` and `Follower`, and holds the server to what it was promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use vang_hub::Peer;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{
    Advice, Backoff, Code, Event, FollowFrom, Incoming, Notice, Page, Reply, RequestWriter, Value, incoming,
};
use vang_proto::{Decoder, Frame};

use crate::following::{Following, Since, compare, read};
use crate::model::{Told, What};
use crate::scene::Scene;
use crate::wire::{LineId, piece};

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
    Veiled,
    /// Looks for what it may not see.
    Pries,
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

    // ---- what comes ----

    fn receive(&mut self, scene: &mut Scene, mut link: Link) -> Option<Link> {
        if scene.fate.now() >= link.paused_until {
            let Some(line) = scene.lines.get(link.line) else {
                self.lost(scene, link);
                return None;
            };
            let came = piece(&mut scene.fate, &mut line.down);
            let ended = line.down.is_empty() && line.down_ended;
            if let Some(bytes) = came {
                link.decoder.feed(&bytes);
            }
            while let Some(frame) = link.decoder.poll_frame().expect("the server writes whole messages") {
                if !self.take(scene, &mut link, frame) {
                    return self.hang_up(scene, link);
                }
            }
            if ended {
                self.check_end(scene, &link);
                scene.lines.forget(link.line);
                self.lost(scene, link);
                return None;
            }
        }
        Some(link)
    }

    /// The server ends a connection only when it said why, when it was asked to, or when it dies.
    fn check_end(&self, scene: &Scene, link: &Link) {
        if link.run != scene.run || !scene.is_up || scene.is_stopping || link.may_end {
            return;
        }
        assert!(link.waiting.is_empty(), "{}: the connection ended before {:?}", self.label, link.waiting);
        assert!(link.half_closed, "{}: the connection ended for no reason", self.label);
        assert!(!link.follows, "{}: following ended with the sending half", self.label);
    }

    fn take(&mut self, scene: &mut Scene, link: &mut Link, frame: Frame) -> bool {
        scene.fate.mix(frame.header.json());
        scene.fate.mix(&frame.content);
        let account = self.account(scene);
        scene.check_secrets(&self.label, account, &self.typed, &frame);
        if let (Some(seq), Some(event)) = (frame.header.number("seq"), frame.header.text("event"))
            && event != "hole"
        {
            scene.check_bytes(seq, &frame);
        }
        match incoming(frame).expect("the server speaks vang") {
            Incoming::Reply(reply) => self.take_reply(scene, link, reply),
            Incoming::Event(event) => {
                self.take_event(scene, link, &event);
                true
            }
        }
    }

    fn take_event(&mut self, scene: &mut Scene, link: &mut Link, event: &Event) {
        let Some(told) = read(event) else {
            link.may_end = true;
            return;
        };
        scene.fate.note(format_args!("{} is told {}: {} {:?}", self.label, told.seq, told.room, told.what));
        assert!(told.seq > link.last_seq, "{} is told {} after {}", self.label, told.seq, link.last_seq);
        link.last_seq = told.seq;
        self.check_durable(scene, link, told.seq);
        if let What::Message { word, .. } = &told.what {
            let mine = |asked: &Asked| match asked {
                Asked::Send(index) => self.sends[*index].word == *word && self.sends[*index].attempts == 1,
                _ => false,
            };
            let pending = link.waiting.iter().any(|(_, asked)| mine(asked));
            assert!(!pending, "{} is told its own {word} before the reply", self.label);
        }
        if let What::Hole { .. } = told.what {
            scene.fate.count("hole told");
        }
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        let is_new = following.follower.handle_event(event);
        if let Some(log) = link.more.get_mut(&told.room) {
            log.push(told);
        } else if is_new {
            following.run = Some(link.run);
            following.log.push(told);
        } else {
            assert!(!is_new, "{} is told {} twice", self.label, told.seq);
        }
    }

    /// Nothing is shown before it is durable (P1).
    fn check_durable(&self, scene: &Scene, link: &Link, seq: u64) {
        if link.run == scene.run {
            let end = scene.model.seq().0;
            assert!(seq <= end, "{} is told of entry {seq}; the journal ends at {end}", self.label);
        }
    }

    fn take_reply(&mut self, scene: &mut Scene, link: &mut Link, reply: Reply) -> bool {
        let code = reply.code.as_deref();
        if reply.re.is_none() && code == Some(Code::TimedOut.as_str()) {
            link.may_end = true;
            return false;
        }
        let Some((re, asked)) = link.waiting.pop_front() else {
            panic!("{}: a reply to nothing: {reply:?}", self.label)
        };
        assert_eq!(reply.re, Some(re), "{}: replies come in the order of requests", self.label);
        scene.fate.note(format_args!(
            "{} is answered {re}: {} {}",
            self.label,
            code.unwrap_or("ok"),
            reply.text
        ));
        if self.peer == Peer::RemotePlain {
            assert_eq!(code, Some(Code::TlsRequired.as_str()), "{}: without TLS", self.label);
            scene.fate.count("refused without TLS");
            return true;
        }
        if code == Some(Code::ClockAhead.as_str()) {
            scene.fate.count("refused for the clock");
        }
        match asked {
            Asked::Follow => return self.take_follow(scene, link, &reply),
            Asked::More(room) => {
                if code.is_some() {
                    link.more.remove(&room);
                }
            }
            Asked::Send(index) => self.take_sent(scene, link, index, &reply),
            Asked::History { room, since } => {
                if code.is_none() {
                    self.check_page(scene, &room, since, &reply);
                }
                self.answered(&reply);
            }
            Asked::Do { what, name } => self.take_done(scene, link, what, name, &reply),
            Asked::Look => assert_eq!(code, None, "{}: {reply:?}", self.label),
            Asked::Pry { typed, what } => {
                scene.fate.count("pried");
                if what == "create" {
                    assert!(
                        matches!(code, Some("account-needed" | "name-taken")) || passes(code),
                        "{reply:?}"
                    );
                } else {
                    assert_eq!(code, Some("no-room"), "{} pried with {what}: {reply:?}", self.label);
                    assert_eq!(reply.text, format!("there is no room '{typed}'"));
                }
            }
        }
        true
    }

    fn answered(&mut self, reply: &Reply) {
        self.answer = Some(match &reply.code {
            None => Ok(reply.text.clone()),
            Some(code) => Err(code.clone()),
        });
    }

    fn take_follow(&mut self, scene: &mut Scene, link: &mut Link, reply: &Reply) -> bool {
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        let before = following.follower.seq();
        let seq = reply.header.number("seq").unwrap_or_default();
        let opening = match following.follower.handle_reply(reply) {
            Advice::Follows => {
                following.agreed(scene, &self.label, (link.run, link.applied), before, seq);
                self.backoff.reset();
                return true;
            }
            Advice::Send(opening, Notice::SetBack { seq }) => {
                following.set_back(scene, &self.label, link.run, before.unwrap_or_default(), seq);
                opening
            }
            Advice::Send(opening, Notice::OtherJournal) => {
                following.start_again(scene, &self.label);
                opening
            }
            Advice::Retry(_) => return false,
            Advice::GiveUp { code, detail } => {
                let account = self.name.as_ref().and_then(|name| scene.model.account(name));
                // What is in the journal is known to the server only once it was told so.
                let known = |room: &String| {
                    let told = scene.model.told(account, room);
                    scene.model.knows(account, room)
                        && told.first().is_some_and(|told| told.seq <= link.applied)
                };
                let unknown = !following.rooms.iter().all(known);
                assert!(code == "no-room" && unknown, "{}: {code}: {detail}", self.label);
                scene.fate.count("followed a room that is gone");
                self.following = None;
                return false;
            }
        };
        // A connection that follows other rooms already cannot begin these elsewhere than now.
        if link.half_closed || !link.more.is_empty() {
            return false;
        }
        put(scene, link, 0, Asked::Follow, &opening);
        true
    }

    fn take_sent(&mut self, scene: &mut Scene, link: &Link, index: usize, reply: &Reply) {
        self.answered(reply);
        let Some(code) = reply.code.as_deref() else {
            return self.take_ack(scene, link, index, reply);
        };
        let now = scene.fate.now();
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        match code {
            "unknown" => {
                scene.fate.count("told unknown");
                self.sends[index].in_flight += 1;
                self.unsure(scene, index);
            }
            code if passes(Some(code)) => {
                // Nothing was posted: it may be asked again also without an id.
                send.retry_at = Some(now + scene.fate.rng.between(50, 800));
            }
            "id-reused" => {
                assert!(send.twists.is_some(), "{}: {} was sent once: {reply:?}", self.label, send.word);
                scene.fate.count("reused id refused");
                send.refused = Some(code.to_owned());
            }
            "no-room" | "not-member" | "too-long" => send.refused = Some(code.to_owned()),
            other => panic!("{} may not be refused with {other}: {reply:?}", self.label),
        }
    }

    fn take_ack(&mut self, scene: &mut Scene, link: &Link, index: usize, reply: &Reply) {
        let number = |key| reply.header.number(key).unwrap_or_else(|| panic!("no {key}: {reply:?}"));
        let (n, seq) = (number("n"), number("seq"));
        self.check_durable(scene, link, seq);
        if let Some(first) = self.sends[index].twists {
            let told = self.sends[first].acks.iter().any(|&(run, _, seq)| scene.survives(run, seq));
            assert!(!told, "{}: an id was used for two messages", self.label);
        }
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        for &(run, other_n, other_seq) in &send.acks {
            let same = (n, seq) == (other_n, other_seq);
            assert!(
                same || !scene.survives(run, other_seq),
                "{}: {} was posted twice",
                self.label,
                send.word
            );
            scene.fate.count("repetition got the first result");
        }
        assert_eq!(reply.text, format!("{}#{n}", send.room));
        send.acks.push((link.run, n, seq));
        send.retry_at = None;
        scene.fate.count("acknowledged");
    }

    /// Nobody knows what became of an attempt.
    fn unsure(&mut self, scene: &mut Scene, index: usize) {
        let now = scene.fate.now();
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        send.unsure += 1;
        if send.id.is_some() && send.acks.is_empty() {
            send.retry_at = Some(now + scene.fate.rng.between(10, 600));
        }
    }

    fn take_done(&mut self, scene: &mut Scene, link: &Link, what: &'static str, name: String, reply: &Reply) {
        self.answered(reply);
        match reply.code.as_deref() {
            None => {
                let seq = reply.header.number("seq").unwrap_or_else(|| panic!("no seq: {reply:?}"));
                self.check_durable(scene, link, seq);
                self.done.push((what, link.run, seq));
                if what == "account-add" {
                    self.added.push(name);
                }
            }
            // The first time landed after all.
            Some("name-taken") if what == "account-add" => self.added.push(name),
            Some(code) => {
                let fits = matches!(
                    code,
                    "no-room" | "not-member" | "already-member" | "account-needed" | "name-taken" | "unknown"
                );
                assert!(fits || passes(Some(code)), "{}: {what}: {reply:?}", self.label);
            }
        }
    }

    fn check_page(&self, scene: &mut Scene, room: &str, since: u64, reply: &Reply) {
        let page = Page::read(&reply.header).expect("a page");
        assert!(page.end <= scene.model.newest(room), "{}: {page:?}", self.label);
        let told = scene.model.told(self.account(scene), room);
        let messages: BTreeMap<u64, &Told> = told
            .iter()
            .filter(|told| matches!(told.what, What::Message { .. }))
            .filter_map(|told| Some((told.what.n()?, told)))
            .collect();
        let mut decoder =
            Decoder::new(Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX });
        decoder.feed(&reply.content);
        let (mut next, mut count) = (since + 1, 0);
        while let Some(frame) = decoder.poll_frame().expect("whole events") {
            if let (Some(seq), Some("message")) =
                (frame.header.number("seq"), frame.header.text("event").as_deref())
            {
                scene.check_bytes(seq, &frame);
            }
            let Ok(Incoming::Event(event)) = incoming(frame) else { panic!("a page holds events") };
            let got = read(&event).expect("a page holds events with a place");
            count += 1;
            match got.what {
                What::Message { n, .. } => {
                    assert_eq!(n, next, "{}: history of {room}", self.label);
                    assert_eq!(messages.get(&n), Some(&&got), "{}: history of {room}", self.label);
                    next += 1;
                }
                What::Hole { from, to } => {
                    scene.fate.count("hole in history");
                    assert_eq!(from, next, "{}: history of {room}", self.label);
                    let seen = messages.range(from..=to).next();
                    assert_eq!(seen, None, "{}: history of {room} hides what may be seen", self.label);
                    next = to + 1;
                }
                other => panic!("{other:?} in history"),
            }
        }
        assert_eq!((page.last, page.count), (next - 1, count), "{}: {page:?}", self.label);
        scene.fate.count("page of history");
    }

    // ---- what it asks ----

    fn ask(
        &mut self,
        scene: &mut Scene,
        asked: Asked,
        write: impl FnOnce(&RequestWriter, u64) -> Bytes,
    ) -> bool {
        let writer = self.writer();
        match &mut self.main {
            Some(link) if !link.half_closed => {
                let re = link.next_re;
                link.next_re += 1;
                let bytes = write(&writer, re);
                put(scene, link, re, asked, &bytes);
                true
            }
            _ => false,
        }
    }

    /// Follows these rooms instead of what it followed.
    pub(crate) fn follow(&mut self, scene: &mut Scene, rooms: Vec<String>, since: Since) {
        if let Some(link) = self.main.take() {
            self.hang_up(scene, link);
        }
        self.call_at = 0;
        self.check(scene, false);
        scene.fate.note(format_args!("{} follows {rooms:?} since {since:?}", self.label));
        self.type_names(&rooms);
        self.following = Some(Following::new(self.name.clone(), rooms, since));
    }

    fn type_names(&mut self, names: &[String]) {
        for name in names {
            let mark = name.strip_prefix("zq").and_then(|rest| rest.strip_suffix("zq"));
            self.typed.extend(mark.and_then(|mark| mark[1..].parse::<u64>().ok()));
        }
    }

    /// A second `follow` on the connection.
    pub(crate) fn follow_more(&mut self, scene: &mut Scene) {
        let Some(following) = &self.following else { return };
        let rooms = scene.public.iter().filter(|room| !following.rooms.contains(room)).cloned();
        let rooms: Vec<_> = rooms.collect();
        let Some(room) = scene.fate.rng.pick(&rooms).cloned() else { return };
        if self.main.as_ref().is_none_or(|link| link.more.contains_key(&room)) {
            return;
        }
        let asked = Asked::More(room.clone());
        let rooms = [room.clone()];
        if self.ask(scene, asked, |writer, re| writer.follow(re, &rooms, &FollowFrom::Now)) {
            scene.fate.count("second follow on a connection");
            if let Some(link) = &mut self.main {
                link.more.insert(room, Vec::new());
            }
        }
    }

    /// Sends a message; gives back which it is.
    pub(crate) fn send(
        &mut self,
        scene: &mut Scene,
        room: &str,
        (word, len): (String, usize),
        id: Option<String>,
        types: (&'static str, &'static str),
    ) -> usize {
        let mut content = format!("{word} ").into_bytes();
        if len > 0 {
            content.resize(len.max(content.len()), b'.');
        } else {
            content.pop();
        }
        self.type_names(&[room.to_owned()]);
        self.sends.push(Sending {
            room: room.to_owned(),
            id,
            word,
            content: content.into(),
            types,
            twists: None,
            twisted: false,
            in_flight: 0,
            attempts: 0,
            unsure: 0,
            retry_at: Some(0),
            acks: Vec::new(),
            refused: None,
        });
        let index = self.sends.len() - 1;
        self.attempt(scene, index);
        index
    }

    fn attempt(&mut self, scene: &mut Scene, index: usize) {
        let send = &self.sends[index];
        let (room, id, content) = (send.room.clone(), send.id.clone(), send.content.clone());
        let (content_type, encoding) = send.types;
        let asked = Asked::Send(index);
        let written = self.ask(scene, asked, |writer, re| {
            let mut arguments = vec![("room", Value::from(room))];
            arguments.extend(id.map(|id| ("id", Value::from(id))));
            writer.write_with(re, "send", &arguments, (content_type, encoding, &content))
        });
        if written {
            let send = &mut self.sends[index];
            send.attempts += 1;
            send.in_flight += 1;
            send.retry_at = None;
            scene.fate.note(format_args!("{} sends {} to {}", self.label, send.word, send.room));
        }
    }

    fn retry(&mut self, scene: &mut Scene) {
        if !self.is_connected() {
            return;
        }
        let now = scene.fate.now();
        for index in 0..self.sends.len() {
            if self.sends[index].retry_at.is_some_and(|at| at <= now) && self.sends[index].in_flight == 0 {
                if self.sends[index].attempts > 0 {
                    scene.fate.count("send repeated");
                }
                self.attempt(scene, index);
            }
        }
    }

    /// Sends one of its messages again, on a second connection.
    pub(crate) fn repeat(&mut self, scene: &mut Scene) {
        if self.side.is_some() || !scene.is_up {
            return;
        }
        let from = self.sends.len().saturating_sub(12);
        let index = from + scene.fate.rng.below((self.sends.len() - from) as u64) as usize;
        let Some(send) = self.sends.get(index) else { return };
        if send.id.is_none() || send.twists.is_some() || send.twisted || send.refused.is_some() {
            return;
        }
        // Once the journal was set back it is a new message: fine, but it must be tracked from its first attempt.
        let mut link = self.call(scene);
        let send = &mut self.sends[index];
        let arguments =
            [("room", Value::from(&*send.room)), ("id", Value::from(send.id.as_deref().unwrap_or("")))];
        send.attempts += 1;
        send.in_flight += 1;
        let content = (send.types.0, send.types.1, &send.content[..]);
        let writer = RequestWriter { name: self.name.clone() };
        let bytes = writer.write_with(1, "send", &arguments, content);
        link.next_re = 2;
        put(scene, &mut link, 1, Asked::Send(index), &bytes);
        scene.fate.count("duplicate on a second connection");
        scene.fate.note(format_args!("{} repeats {}", self.label, self.sends[index].word));
        self.side = Some(link);
    }

    /// Uses an id again for another message.
    pub(crate) fn twist(&mut self, scene: &mut Scene, word: String) {
        let usable = |send: &Sending| {
            send.id.is_some()
                && send.twists.is_none()
                && !send.twisted
                && send.in_flight == 0
                && !send.acks.is_empty()
        };
        let Some(first) = self.sends.iter().rposition(usable) else { return };
        self.sends[first].twisted = true;
        let (room, id) = (self.sends[first].room.clone(), self.sends[first].id.clone());
        let index = self.send(scene, &room, (word, 0), id, ("text/plain", "utf-8"));
        self.sends[index].twists = Some(first);
    }

    /// Asks for a page of history.
    pub(crate) fn history(&mut self, scene: &mut Scene, room: &str, since: u64, limit: u64) {
        let asked = Asked::History { room: room.to_owned(), since };
        self.type_names(&[room.to_owned()]);
        let arguments = [("room", Value::from(room)), ("since", since.into()), ("limit", limit.into())];
        self.ask(scene, asked, |writer, re| writer.write(re, "history", &arguments));
    }

    /// Creates, joins, leaves, adds an account.
    pub(crate) fn act(
        &mut self,
        scene: &mut Scene,
        what: &'static str,
        name: &str,
        more: &[(&str, Value)],
    ) -> bool {
        self.type_names(&[name.to_owned()]);
        for (_, value) in more {
            if let Value::Text(text) = value {
                self.type_names(std::slice::from_ref(text));
            }
        }
        let key = if what == "account-add" { "name" } else { "room" };
        let mut arguments = vec![(key, Value::from(name))];
        arguments.extend(more.iter().cloned());
        let asked = Asked::Do { what, name: name.to_owned() };
        scene.fate.note(format_args!("{} asks {what} {name} {more:?}", self.label));
        self.ask(scene, asked, |writer, re| writer.write(re, what, &arguments))
    }

    /// Looks at what there is.
    pub(crate) fn look(&mut self, scene: &mut Scene) {
        let what = *scene.fate.rng.pick(&["hello", "ping", "rooms"]).expect("three");
        self.ask(scene, Asked::Look, |writer, re| writer.write(re, what, &[]));
    }

    /// Tries to learn of a private room by its name, typed in capitals: so an error that gives back
    /// what was typed can be told from one that gives away what is there.
    pub(crate) fn pry(&mut self, scene: &mut Scene, room: &str) {
        let typed = room.to_uppercase();
        let what =
            *scene.fate.rng.pick(&["send", "history", "join", "leave", "follow", "create"]).expect("six");
        let asked = Asked::Pry { typed: typed.clone(), what };
        self.ask(scene, asked, |writer, re| match what {
            "send" => {
                writer.write_with(re, what, &[("room", typed.into())], ("text/plain", "utf-8", b"psst"))
            }
            "follow" => writer.follow(re, &[typed], &FollowFrom::Numbers(vec![0])),
            _ => writer.write(re, what, &[("room", typed.into())]),
        });
    }

    // ---- at the end ----

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

/// May it be asked again later, with the promise that nothing was done?
fn passes(code: Option<&str>) -> bool {
    matches!(code, Some("disk-full" | "unavailable" | "busy" | "clock-ahead" | "stopping" | "view-behind"))
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
