//! What comes to a client, and what it holds the server to: replies in their order, each true; events in
//! theirs, each once; pages of history without a gap; nothing before it is durable.

use std::collections::BTreeMap;

use vang_hub::Peer;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{Advice, Code, Event, Incoming, NewStart, Page, Reply, incoming};
use vang_proto::{Decoder, Frame};

use super::{Asked, Client, Link, put};
use crate::following::read;
use crate::model::{Told, What};
use crate::scene::Scene;
use crate::wire::piece;

impl Client {
    pub(super) fn receive(&mut self, scene: &mut Scene, mut link: Link) -> Option<Link> {
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
    pub(super) fn check_end(&self, scene: &Scene, link: &Link) {
        if link.run != scene.run || !scene.is_up || scene.is_stopping || link.may_end {
            return;
        }
        assert!(link.waiting.is_empty(), "{}: the connection ended before {:?}", self.label, link.waiting);
        assert!(link.half_closed, "{}: the connection ended for no reason", self.label);
        assert!(!link.follows, "{}: following ended with the sending half", self.label);
    }

    pub(super) fn take(&mut self, scene: &mut Scene, link: &mut Link, frame: Frame) -> bool {
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

    pub(super) fn take_event(&mut self, scene: &mut Scene, link: &mut Link, event: &Event) {
        if event.kind == "epoch" {
            let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
            assert!(!following.follower.handle_event(event), "an epoch is for the machine");
            return;
        }
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
    pub(super) fn check_durable(&self, scene: &Scene, link: &Link, seq: u64) {
        if link.run == scene.run {
            let end = scene.model.seq().0;
            assert!(seq <= end, "{} is told of entry {seq}; the journal ends at {end}", self.label);
        }
    }

    pub(super) fn take_reply(&mut self, scene: &mut Scene, link: &mut Link, reply: Reply) -> bool {
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

    pub(super) fn answered(&mut self, reply: &Reply) {
        self.answer = Some(match &reply.code {
            None => Ok(reply.text.clone()),
            Some(code) => Err(code.clone()),
        });
    }

    pub(super) fn take_follow(&mut self, scene: &mut Scene, link: &mut Link, reply: &Reply) -> bool {
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        let before = following.follower.seq();
        let seq = reply.header.number("seq").unwrap_or_default();
        let opening = match following.follower.handle_reply(reply) {
            Advice::Follows => {
                following.agreed(scene, &self.label, (link.run, link.applied), before, seq);
                self.backoff.reset();
                return true;
            }
            Advice::Send(opening, NewStart::SetBack { seq }) => {
                following.set_back(scene, &self.label, link.run, before.unwrap_or_default(), seq);
                opening
            }
            Advice::Send(opening, NewStart::OtherJournal) => {
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

    pub(super) fn take_sent(&mut self, scene: &mut Scene, link: &Link, index: usize, reply: &Reply) {
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

    pub(super) fn take_ack(&mut self, scene: &mut Scene, link: &Link, index: usize, reply: &Reply) {
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
    pub(super) fn unsure(&mut self, scene: &mut Scene, index: usize) {
        let now = scene.fate.now();
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        send.unsure += 1;
        if send.id.is_some() && send.acks.is_empty() {
            send.retry_at = Some(now + scene.fate.rng.between(10, 600));
        }
    }

    pub(super) fn take_done(
        &mut self,
        scene: &mut Scene,
        link: &Link,
        what: &'static str,
        name: String,
        reply: &Reply,
    ) {
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

    pub(super) fn check_page(&self, scene: &mut Scene, room: &str, since: u64, reply: &Reply) {
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
}

/// May it be asked again later, with the promise that nothing was done?
fn passes(code: Option<&str>) -> bool {
    matches!(code, Some("disk-full" | "unavailable" | "busy" | "clock-ahead" | "stopping" | "view-behind"))
}
