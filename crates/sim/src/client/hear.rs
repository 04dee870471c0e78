//! What a client receives, and its checks: replies are in order and true; events are in order, each once; pages
//! of history have no gap; nothing is shown before it is durable.

use std::collections::BTreeMap;

use vang_hub::Peer;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{
    AccountAdded, AccountChanged, Action, Code, ConnectionEvent, Event, EventMessage, Incoming, Page, Reply,
    RequestWriter, RoomChanged, RoomEvent, RoomList, RoomRow, Sent, incoming,
};
use vang_proto::{Decoder, Frame};

use super::{Asked, Client, ClientConnection, put};
use crate::following::{Followed, read};
use crate::model::{EventBody, SeenEvent};
use crate::network::random_piece;
use crate::scene::Scene;

impl Client {
    pub(super) fn receive(
        &mut self,
        scene: &mut Scene,
        mut connection: ClientConnection,
    ) -> Option<ClientConnection> {
        if scene.env.now() >= connection.paused_until {
            let Some(pipe) = scene.network.get(connection.pipe) else {
                self.lost(scene, connection);
                return None;
            };
            let came = random_piece(&mut scene.env, &mut pipe.down);
            let ended = pipe.down.is_empty() && pipe.down_ended;
            if let Some(bytes) = came {
                connection.decoder.feed(&bytes);
            }
            while let Some(frame) = connection.decoder.poll_frame().expect("the server writes whole messages")
            {
                if !self.take(scene, &mut connection, frame) {
                    return self.hang_up(scene, connection);
                }
            }
            if ended {
                self.check_end(scene, &connection);
                scene.network.close_client_side(connection.pipe);
                self.lost(scene, connection);
                return None;
            }
        }
        Some(connection)
    }

    /// The server closes a connection only with a reason, on request, or when it dies.
    pub(super) fn check_end(&self, scene: &Scene, connection: &ClientConnection) {
        if connection.run != scene.run || !scene.is_up || scene.is_stopping || connection.may_end {
            return;
        }
        assert!(
            connection.waiting.is_empty(),
            "{}: the connection ended before {:?}",
            self.label,
            connection.waiting
        );
        assert!(connection.half_closed, "{}: the connection ended without a reason", self.label);
        assert!(!connection.follows, "{}: following ended with the sending half", self.label);
    }

    pub(super) fn take(
        &mut self,
        scene: &mut Scene,
        connection: &mut ClientConnection,
        frame: Frame,
    ) -> bool {
        scene.env.mix(frame.header.json());
        scene.env.mix(&frame.content);
        let account = self.account(scene);
        scene.check_secrets(&self.label, account, &self.typed, &frame);
        match incoming(frame.clone()).expect("the server speaks vang") {
            Incoming::Reply(reply) => self.take_reply(scene, connection, reply),
            Incoming::Event(message) => {
                if let Event::Room { seq, what, .. } = &message.event
                    && !matches!(what, RoomEvent::Hole { .. })
                {
                    scene.check_bytes(*seq, &frame);
                }
                self.take_event(scene, connection, &message);
                true
            }
        }
    }

    pub(super) fn take_event(
        &mut self,
        scene: &mut Scene,
        connection: &mut ClientConnection,
        message: &EventMessage,
    ) {
        let event = &message.event;
        if let Event::Connection(ConnectionEvent::Epoch { .. }) = event {
            let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
            assert!(!following.follower.handle_event(event), "an epoch is for the machine");
            return;
        }
        let Some(seen) = read(message) else {
            connection.may_end = true;
            return;
        };
        scene.env.note(format_args!("{} receives {}: {} {:?}", self.label, seen.seq, seen.room, seen.what));
        assert!(
            seen.seq > connection.last_seq,
            "{} receives {} after {}",
            self.label,
            seen.seq,
            connection.last_seq
        );
        connection.last_seq = seen.seq;
        self.check_durable(scene, connection, seen.seq);
        if let EventBody::Message { word, .. } = &seen.what {
            let mine = |asked: &Asked| match asked {
                Asked::Send(index) => self.sends[*index].word == *word && self.sends[*index].attempts == 1,
                _ => false,
            };
            let pending = connection.waiting.iter().any(|(_, asked)| mine(asked));
            assert!(!pending, "{} receives its own {word} before the reply", self.label);
        }
        if let EventBody::Hole { .. } = seen.what {
            scene.env.count("hole received");
        }
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        if !following.rooms.contains(&seen.room) && !connection.more.contains_key(&seen.room) {
            scene.env.count("received of a room that is not followed");
        }
        let is_new = following.follower.handle_event(event);
        if let Some(log) = connection.more.get_mut(&seen.room) {
            following.elsewhere.insert(seen.seq);
            log.push(seen);
        } else if is_new {
            following.received(connection.run, seen);
        } else {
            assert!(!is_new, "{} receives {} twice", self.label, seen.seq);
        }
    }

    pub(super) fn check_durable(&self, scene: &Scene, connection: &ClientConnection, seq: u64) {
        if connection.run == scene.run {
            let end = scene.model.seq().0;
            assert!(seq <= end, "{} receives entry {seq}; the journal ends at {end}", self.label);
        }
    }

    pub(super) fn take_reply(
        &mut self,
        scene: &mut Scene,
        connection: &mut ClientConnection,
        reply: Reply,
    ) -> bool {
        let code = reply.code.as_deref();
        if reply.re.is_none() && code == Some(Code::TimedOut.as_str()) {
            connection.may_end = true;
            return false;
        }
        let Some((re, asked)) = connection.waiting.pop_front() else {
            panic!("{}: a reply to nothing: {reply:?}", self.label)
        };
        assert_eq!(reply.re, Some(re), "{}: replies come in the order of requests", self.label);
        scene.env.note(format_args!(
            "{} is answered {re}: {} {}",
            self.label,
            code.unwrap_or("ok"),
            reply.text
        ));
        if self.peer == Peer::RemotePlain {
            assert_eq!(code, Some(Code::TlsRequired.as_str()), "{}: without TLS", self.label);
            scene.env.count("refused without TLS");
            return true;
        }
        if code == Some(Code::ClockAhead.as_str()) {
            scene.env.count("refused for the clock");
        }
        match asked {
            Asked::Follow => return self.take_follow(scene, connection, &reply),
            // What came of it before belongs to another feed.
            Asked::More { room, feeds, applied } => {
                if code.is_none() {
                    connection.more.insert(room, Vec::new());
                    if let Some(following) = &mut self.following {
                        following.keyed.add(&feeds, (applied, scene.applied));
                    }
                }
            }
            Asked::AccountFeed => {
                assert_eq!(code, Some(Code::AccountNeeded.as_str()), "{}: {reply:?}", self.label);
                scene.env.count("a guest asked for the feed of an account");
            }
            Asked::Send(index) => self.take_sent(scene, connection, index, &reply),
            Asked::History { room, since } => {
                if code.is_none() {
                    self.check_page(scene, &room, since, &reply);
                }
                self.answered(&reply);
            }
            Asked::Do { what, name } => self.take_done(scene, connection, what, name, &reply),
            Asked::Rooms { after, limit, applied } => {
                assert_eq!(code, None, "{}: {reply:?}", self.label);
                self.check_rooms(scene, connection, (after, limit, applied), &reply);
            }
            Asked::Look => assert_eq!(code, None, "{}: {reply:?}", self.label),
            Asked::Probe { typed, what } => {
                scene.env.count("probed a private room");
                if what == "create" {
                    assert!(
                        matches!(code, Some("account-needed" | "name-taken" | "unknown"))
                            || is_transient(code),
                        "{reply:?}"
                    );
                } else {
                    assert_eq!(code, Some("no-room"), "{} probed with {what}: {reply:?}", self.label);
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

    pub(super) fn take_follow(
        &mut self,
        scene: &mut Scene,
        connection: &mut ClientConnection,
        reply: &Reply,
    ) -> bool {
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        let (writer, at) = (RequestWriter { name: self.name.clone() }, (connection.run, connection.applied));
        let opening = match following.take_reply(scene, &self.label, at, &writer, reply) {
            Followed::Yes => {
                self.backoff.reset();
                return true;
            }
            Followed::Send(opening) => opening,
            Followed::Later => return false,
            Followed::No(code) => {
                let account = self.name.as_ref().and_then(|name| scene.model.account(name));
                // The server knows an entry only after it has applied it.
                let known = |room: &String| {
                    let seen = scene.model.expected_events(account, room);
                    scene.model.knows(account, room)
                        && seen.first().is_some_and(|seen| seen.seq <= connection.applied)
                };
                let unknown = !following.rooms.iter().all(known);
                assert!(code == "no-room" && unknown, "{}: {reply:?}", self.label);
                scene.env.count("followed a room that is gone");
                self.following = None;
                return false;
            }
        };
        // A connection that already follows other rooms can follow more only from now.
        let is_more = |(_, asked): &(u64, Asked)| matches!(asked, Asked::More { .. });
        if connection.half_closed || !connection.more.is_empty() || connection.waiting.iter().any(is_more) {
            return false;
        }
        put(scene, connection, 0, Asked::Follow, &opening);
        true
    }

    pub(super) fn take_sent(
        &mut self,
        scene: &mut Scene,
        connection: &ClientConnection,
        index: usize,
        reply: &Reply,
    ) {
        self.answered(reply);
        let Some(code) = reply.code.as_deref() else {
            return self.take_ack(scene, connection, index, reply);
        };
        let now = scene.env.now();
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        match code {
            "unknown" => {
                scene.env.count("outcome unknown");
                self.sends[index].in_flight += 1;
                self.unsure(scene, index);
            }
            code if is_transient(Some(code)) => {
                // Nothing was posted, so it can be repeated even without an id.
                send.retry_at = Some(now + scene.env.rng.between(50, 800));
            }
            "id-reused" => {
                assert!(
                    send.reuses_id_of.is_some(),
                    "{}: {} was sent once: {reply:?}",
                    self.label,
                    send.word
                );
                scene.env.count("reused id refused");
                send.refused = Some(code.to_owned());
            }
            "no-room" | "not-member" | "too-long" => send.refused = Some(code.to_owned()),
            other => panic!("{} may not be refused with {other}: {reply:?}", self.label),
        }
    }

    pub(super) fn take_ack(
        &mut self,
        scene: &mut Scene,
        connection: &ClientConnection,
        index: usize,
        reply: &Reply,
    ) {
        let Sent { n, seq, address, .. } =
            reply.keys().unwrap_or_else(|| panic!("keys are missing: {reply:?}"));
        self.check_durable(scene, connection, seq);
        if let Some(first) = self.sends[index].reuses_id_of {
            let is_acknowledged =
                self.sends[first].acks.iter().any(|&(run, _, seq)| scene.survives(run, seq));
            assert!(!is_acknowledged, "{}: an id was used for two messages", self.label);
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
            scene.env.count("repetition got the first result");
        }
        assert_eq!(reply.text, format!("{}#{n}", send.room));
        assert_eq!(reply.text, address);
        send.acks.push((connection.run, n, seq));
        send.retry_at = None;
        scene.env.count("acknowledged");
    }

    /// An attempt has an unknown outcome.
    pub(super) fn unsure(&mut self, scene: &mut Scene, index: usize) {
        let now = scene.env.now();
        let send = &mut self.sends[index];
        send.in_flight -= 1;
        send.unsure += 1;
        if send.id.is_some() && send.acks.is_empty() {
            send.retry_at = Some(now + scene.env.rng.between(10, 600));
        }
    }

    pub(super) fn take_done(
        &mut self,
        scene: &mut Scene,
        connection: &ClientConnection,
        what: &'static str,
        name: String,
        reply: &Reply,
    ) {
        self.answered(reply);
        match reply.code.as_deref() {
            None => {
                let seq = match what {
                    "account-add" => reply.keys().map(|AccountAdded { seq, .. }| seq),
                    "account-role" | "password" => reply.keys().map(|AccountChanged { seq, .. }| seq),
                    _ => reply.keys().map(|RoomChanged { seq, .. }| seq),
                };
                let seq = seq.unwrap_or_else(|| panic!("keys are missing: {reply:?}"));
                self.check_durable(scene, connection, seq);
                self.done.push((what, connection.run, seq));
                if what == "account-add" {
                    self.added.push(name);
                }
            }
            // The first attempt succeeded after all.
            Some("name-taken") if what == "account-add" => self.added.push(name),
            Some("too-many") if what == "create" => scene.env.count("too many rooms of one account"),
            Some("name-confusable") if what == "create" => scene.env.count("a look-alike refused"),
            Some(code) => {
                let fits = matches!(
                    code,
                    "no-room" | "not-member" | "already-member" | "account-needed" | "name-taken" | "unknown"
                );
                assert!(fits || is_transient(Some(code)), "{}: {what}: {reply:?}", self.label);
            }
        }
    }

    /// A page of the rooms has all that the client knew of when it asked, and none that it does not know of. Asks for the
    /// next page.
    fn check_rooms(
        &mut self,
        scene: &mut Scene,
        connection: &mut ClientConnection,
        (after, limit, applied): (u64, u64, u64),
        reply: &Reply,
    ) {
        let rows: Vec<RoomRow> = serde_json::from_str(&reply.text).expect("a list of rooms");
        let names: Vec<&str> = rows.iter().map(|row| row.room.as_str()).collect();
        let account = self.account(scene);
        let next = reply.keys::<RoomList>().expect("a page of rooms").next;
        let (who, upto) = (&self.label, next.unwrap_or(u64::MAX));
        // Of an older copy that was put back meanwhile the model knows other rooms.
        if connection.run == scene.run {
            let in_page = |(id, _): &(u64, String)| *id > after && *id <= upto;
            let known = |at: u64| scene.model.known_rooms(account, at).into_iter().filter(in_page);
            let at_least: Vec<String> = known(applied).map(|(_, name)| name).collect();
            let at_most: Vec<String> = known(scene.model.seq().0).map(|(_, name)| name).collect();
            let missing = at_least.iter().find(|name| !names.contains(&name.as_str()));
            assert_eq!(missing, None, "{who}: rooms after {after}: {names:?}");
            let mut expected = at_most.iter();
            let are_in_order = names.iter().all(|name| expected.any(|other| other == name));
            assert!(are_in_order, "{who}: rooms after {after}: {names:?}, of {at_most:?}");
        }
        assert!(names.len() as u64 <= limit, "{who}: more rooms than asked for");
        if let Some(next) = next {
            assert_eq!(names.len() as u64, limit, "{who}: a short page has a next one");
            scene.env.count("next page of rooms");
            if !connection.half_closed {
                let writer = self.writer();
                let bytes = writer.write(connection.next_re, &Action::Rooms { after: Some(next), limit });
                let asked = Asked::Rooms { after: next, limit, applied: scene.applied };
                let re = connection.next_re;
                connection.next_re += 1;
                put(scene, connection, re, asked, &bytes);
            }
        }
    }

    pub(super) fn check_page(&self, scene: &mut Scene, room: &str, since: u64, reply: &Reply) {
        let page = reply.keys::<Page>().expect("a page");
        assert!(page.end <= scene.model.newest(room), "{}: {page:?}", self.label);
        let seen = scene.model.expected_events(self.account(scene), room);
        let messages: BTreeMap<u64, &SeenEvent> = seen
            .iter()
            .filter(|seen| matches!(seen.what, EventBody::Message { .. }))
            .filter_map(|seen| Some((seen.what.n()?, seen)))
            .collect();
        let mut decoder =
            Decoder::new(Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX });
        decoder.feed(&reply.content);
        let (mut next, mut count) = (since + 1, 0);
        while let Some(frame) = decoder.poll_frame().expect("whole events") {
            let Ok(Incoming::Event(message)) = incoming(frame.clone()) else { panic!("a page holds events") };
            if let Event::Room { seq, what: RoomEvent::Message { .. }, .. } = &message.event {
                scene.check_bytes(*seq, &frame);
            }
            let got = read(&message).expect("a page holds events with a place");
            count += 1;
            match got.what {
                EventBody::Message { n, .. } => {
                    assert_eq!(n, next, "{}: history of {room}", self.label);
                    assert_eq!(messages.get(&n), Some(&&got), "{}: history of {room}", self.label);
                    next += 1;
                }
                EventBody::Hole { from, to } => {
                    scene.env.count("hole in history");
                    assert_eq!(from, next, "{}: history of {room}", self.label);
                    let seen = messages.range(from..=to).next();
                    assert_eq!(seen, None, "{}: history of {room} hides what may be seen", self.label);
                    next = to + 1;
                }
                other => panic!("{other:?} in history"),
            }
        }
        assert_eq!((page.last, page.count), (next - 1, count), "{}: {page:?}", self.label);
        scene.env.count("page of history");
    }
}

/// Is it retryable, with the promise that nothing was done?
pub(crate) fn is_transient(code: Option<&str>) -> bool {
    matches!(code, Some("disk-full" | "unavailable" | "busy" | "clock-ahead" | "stopping" | "view-behind"))
}
