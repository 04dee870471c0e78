//! A client's requests, written by the real `RequestWriter`: sends and repetitions, following, history, joining
//! and leaving, probing.

use bytes::Bytes;
use vang_proto::limits::HISTORY_PAGE_MAX;
use vang_proto::vang::{Access, Action, FeedName, FollowFrom, RequestWriter};

use super::{Asked, Client, Sending, put};
use crate::feeds::some_feeds;
use crate::following::{Following, Since};
use crate::scene::Scene;

impl Client {
    pub(super) fn ask(
        &mut self,
        scene: &mut Scene,
        asked: Asked,
        write: impl FnOnce(&RequestWriter, u64) -> Bytes,
    ) -> bool {
        let writer = self.writer();
        match &mut self.main {
            Some(connection) if !connection.half_closed => {
                let re = connection.next_re;
                connection.next_re += 1;
                let bytes = write(&writer, re);
                put(scene, connection, re, asked, &bytes);
                true
            }
            _ => false,
        }
    }

    /// Follows these rooms and feeds instead of the earlier ones.
    pub(crate) fn follow(
        &mut self,
        scene: &mut Scene,
        (rooms, feeds): (Vec<String>, Vec<FeedName>),
        since: Since,
    ) {
        if let Some(connection) = self.main.take() {
            self.hang_up(scene, connection);
        }
        self.call_at = 0;
        self.check(scene, false);
        scene.env.note(format_args!("{} follows {rooms:?} {feeds:?} since {since:?}", self.label));
        self.type_names(&rooms);
        match (&rooms[..], &feeds[..]) {
            ([], _) => scene.env.count("feeds followed without a room"),
            (_, [_, _, ..]) => scene.env.count("a room and both other feeds followed"),
            _ => {}
        }
        self.following = Some(Following::new(self.name.clone(), (rooms, feeds), since));
    }

    pub(super) fn type_names(&mut self, names: &[String]) {
        for name in names {
            let mark = name.strip_prefix("zq").and_then(|rest| rest.strip_suffix("zq"));
            self.typed.extend(mark.and_then(|mark| mark[1..].parse::<u64>().ok()));
        }
    }

    /// Sends a second `follow` on the connection.
    pub(crate) fn follow_more(&mut self, scene: &mut Scene) {
        let Some(following) = &self.following else { return };
        let rooms = scene.public.iter().filter(|room| !following.rooms.contains(room)).cloned();
        let rooms: Vec<_> = rooms.collect();
        let Some(room) = scene.env.rng.pick(&rooms).cloned() else { return };
        let is_asked = |asked: &Asked| matches!(asked, Asked::More { .. });
        if self.main.as_ref().is_none_or(|connection| {
            connection.more.contains_key(&room) || connection.waiting.iter().any(|(_, asked)| is_asked(asked))
        }) {
            return;
        }
        let has_account = self.account(scene).is_some();
        let mut feeds = some_feeds(&mut scene.env.rng, has_account);
        feeds.retain(|feed| self.following.as_ref().is_some_and(|following| !following.keyed.has(*feed)));
        if !feeds.is_empty() {
            scene.env.count("feeds added on a connection");
        }
        let asked = Asked::More { room: room.clone(), feeds: feeds.clone(), applied: scene.applied };
        let rooms = [room];
        if self.ask(scene, asked, |writer, re| {
            writer.write(re, &Action::Follow { rooms: rooms.to_vec(), feeds, from: FollowFrom::Now })
        }) {
            scene.env.count("second follow on a connection");
        }
    }

    /// Sends a message; returns its index.
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
            reuses_id_of: None,
            id_is_reused: false,
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

    pub(super) fn attempt(&mut self, scene: &mut Scene, index: usize) {
        let action = self.sends[index].action();
        let written = self.ask(scene, Asked::Send(index), |writer, re| writer.write(re, &action));
        if written {
            let send = &mut self.sends[index];
            send.attempts += 1;
            send.in_flight += 1;
            send.retry_at = None;
            scene.env.note(format_args!("{} sends {} to {}", self.label, send.word, send.room));
        }
    }

    pub(super) fn retry(&mut self, scene: &mut Scene) {
        if !self.is_connected() {
            return;
        }
        let now = scene.env.now();
        for index in 0..self.sends.len() {
            if self.sends[index].retry_at.is_some_and(|at| at <= now) && self.sends[index].in_flight == 0 {
                if self.sends[index].attempts > 0 {
                    scene.env.count("send repeated");
                }
                self.attempt(scene, index);
            }
        }
    }

    /// Repeats one of its messages on a second connection.
    pub(crate) fn repeat(&mut self, scene: &mut Scene) {
        if self.side.is_some() || !scene.is_up {
            return;
        }
        let from = self.sends.len().saturating_sub(12);
        let index = from + scene.env.rng.below((self.sends.len() - from) as u64) as usize;
        let Some(send) = self.sends.get(index) else { return };
        if send.id.is_none() || send.reuses_id_of.is_some() || send.id_is_reused || send.refused.is_some() {
            return;
        }
        // After a set-back it is a new message, which is fine, but it must be tracked from its first attempt.
        let mut connection = self.call(scene);
        let send = &mut self.sends[index];
        send.attempts += 1;
        send.in_flight += 1;
        let bytes = RequestWriter { name: self.name.clone() }.write(1, &send.action());
        connection.next_re = 2;
        put(scene, &mut connection, 1, Asked::Send(index), &bytes);
        scene.env.count("duplicate on a second connection");
        scene.env.note(format_args!("{} repeats {}", self.label, self.sends[index].word));
        self.side = Some(connection);
    }

    /// Reuses an id for another message.
    pub(crate) fn reuse_id(&mut self, scene: &mut Scene, word: String) {
        let usable = |send: &Sending| {
            send.id.is_some()
                && send.reuses_id_of.is_none()
                && !send.id_is_reused
                && send.in_flight == 0
                && !send.acks.is_empty()
        };
        let Some(first) = self.sends.iter().rposition(usable) else { return };
        self.sends[first].id_is_reused = true;
        let (room, id) = (self.sends[first].room.clone(), self.sends[first].id.clone());
        let index = self.send(scene, &room, (word, 0), id, ("text/plain", "utf-8"));
        self.sends[index].reuses_id_of = Some(first);
    }

    /// Requests a page of history.
    pub(crate) fn history(&mut self, scene: &mut Scene, room: &str, since: u64, limit: u64) {
        let asked = Asked::History { room: room.to_owned(), since };
        self.type_names(&[room.to_owned()]);
        let action = Action::History { room: room.to_owned(), since, limit };
        self.ask(scene, asked, |writer, re| writer.write(re, &action));
    }

    /// Requests an action that becomes an entry: create, join, leave, topic, account-add.
    pub(crate) fn act(&mut self, scene: &mut Scene, action: &Action) -> bool {
        let (name, other) = match action {
            Action::Join { room, who } => (room, who.as_ref()),
            Action::SetTopic { room, topic } => (room, Some(topic)),
            Action::Create { room, .. } | Action::Leave { room } => (room, None),
            Action::AddAccount { name }
            | Action::SetRole { name, .. }
            | Action::SetPassword { name: Some(name), .. } => (name, None),
            other => unreachable!("{} becomes no entry here", other.name()),
        };
        self.type_names(std::slice::from_ref(name));
        self.type_names(other.map_or(&[], std::slice::from_ref));
        let asked = Asked::Do { what: action.name(), name: name.clone() };
        scene.env.note(format_args!("{} asks {action:?}", self.label));
        self.ask(scene, asked, |writer, re| writer.write(re, action))
    }

    /// Sends a request that changes nothing.
    pub(crate) fn look(&mut self, scene: &mut Scene) {
        let (asked, action) = match scene.env.rng.below(3) {
            0 => (Asked::Look, Action::Hello),
            1 => (Asked::Look, Action::Ping),
            _ => {
                let limit = scene.env.rng.between(1, 6);
                let asked = Asked::Rooms { after: 0, limit, applied: scene.applied };
                (asked, Action::Rooms { after: None, limit })
            }
        };
        self.ask(scene, asked, |writer, re| writer.write(re, &action));
    }

    /// Tries to learn of a private room by its name in capitals: so an error that repeats the typed name
    /// differs from one that reveals the real name.
    pub(crate) fn probe(&mut self, scene: &mut Scene, room: &str) {
        let typed = room.to_uppercase();
        let room = typed.clone();
        let actions = [
            Action::text(&room, "psst"),
            Action::History { room: room.clone(), since: 0, limit: HISTORY_PAGE_MAX },
            Action::Join { room: room.clone(), who: None },
            Action::Leave { room: room.clone() },
            Action::Follow {
                rooms: vec![room.clone()],
                feeds: Vec::new(),
                from: FollowFrom::Numbers(vec![0]),
            },
            Action::Create { access: Access::Public, room },
        ];
        let action = scene.env.rng.pick(&actions).expect("six");
        let asked = Asked::Probe { typed, what: action.name() };
        self.ask(scene, asked, |writer, re| writer.write(re, action));
    }

    /// Asks for the feed of an account, without having one.
    pub(crate) fn probe_account_feed(&mut self, scene: &mut Scene) {
        let action =
            Action::Follow { rooms: Vec::new(), feeds: vec![FeedName::Account], from: FollowFrom::Now };
        self.ask(scene, Asked::AccountFeed, |writer, re| writer.write(re, &action));
    }
}
