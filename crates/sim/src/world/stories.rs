//! Stories: what people do one after the other, and what they are answered.

use vang_hub::Peer;
use vang_proto::vang::{Access, Action, FeedName};

use super::{HEALING_MS, World};
use crate::client::{Client, Role};
use crate::feeds::some_feeds;
use crate::following::Since;
use crate::model::EventBody;
use crate::scene::Scene;

impl World {
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let deadline = self.scene.env.now() + HEALING_MS;
        while !is_so(self) {
            self.tick();
            assert!(self.scene.env.now() < deadline, "timed out waiting until {what}");
        }
    }

    fn person(&self, label: &str) -> &Client {
        self.clients
            .iter()
            .find(|client| client.label == label)
            .unwrap_or_else(|| panic!("nobody is {label}"))
    }

    pub(super) fn person_mut(&mut self, label: &str) -> &mut Client {
        self.clients
            .iter_mut()
            .find(|client| client.label == label)
            .unwrap_or_else(|| panic!("nobody is {label}"))
    }

    fn with<T>(&mut self, label: &str, act: impl FnOnce(&mut Client, &mut Scene) -> T) -> T {
        let client = self.clients.iter_mut().find(|client| client.label == label);
        act(client.unwrap_or_else(|| panic!("nobody is {label}")), &mut self.scene)
    }

    /// Adds an account and its client.
    pub fn account(&mut self, name: &str) {
        self.ask("operator", &Action::AddAccount { name: name.to_owned() })
            .expect("the operator adds accounts");
        let operator = self.person_mut("operator");
        operator.welcomed = operator.added.len();
        self.clients.push(Client::new(name, Some(name), Role::Person, Peer::Local));
        self.scene.invitable.push(name.to_owned());
    }

    /// Adds a client without an account.
    pub fn guest(&mut self, name: &str) {
        self.clients.push(Client::new(name, Some(name), Role::Person, Peer::Local));
    }

    /// Adds another client of an account.
    pub fn device(&mut self, label: &str, account: &str) {
        self.clients.push(Client::new(label, Some(account), Role::Person, Peer::Local));
    }

    pub(super) fn is_account(&self, name: &str) -> bool {
        self.scene.model.account(name).is_some()
    }

    /// Follows `general` from its beginning, and any of the other feeds.
    pub(super) fn follow_some_feeds(&mut self, who: &str) {
        let account = self.person(who).account(&self.scene);
        let feeds = some_feeds(&mut self.scene.env.rng, account.is_some());
        self.follow_feeds(who, &["general"], &feeds, Since::Beginning);
    }

    /// Follows rooms and waits for the server's reply.
    pub fn follow(&mut self, who: &str, rooms: &[&str], since: Since) {
        self.follow_feeds(who, rooms, &[], since);
    }

    /// Follows rooms and other feeds, and waits for the server's reply.
    pub fn follow_feeds(&mut self, who: &str, rooms: &[&str], feeds: &[FeedName], since: Since) {
        let rooms = rooms.iter().map(|&room| room.to_owned()).collect();
        self.with(who, |client, scene| client.follow(scene, (rooms, feeds.to_vec()), since));
        self.until("it follows", |world| {
            world.person(who).following.as_ref().is_some_and(|following| following.run.is_some())
        });
    }

    /// Sends a message and waits for the final reply: the message's address, or the refusal's code.
    pub fn say(&mut self, who: &str, room: &str, text: &str) -> Result<String, String> {
        let index = self.begin_to_say(who, room, text);
        self.until("it is answered", |world| {
            let send = &world.person(who).sends[index];
            !send.acks.is_empty() || send.refused.is_some()
        });
        let send = &self.person(who).sends[index];
        match (&send.refused, send.acks.last()) {
            (None, Some((_, n, _))) => Ok(format!("{room}#{n}")),
            (refused, _) => Err(refused.clone().unwrap_or_default()),
        }
    }

    /// Sends a message without waiting for the reply.
    pub fn begin_to_say(&mut self, who: &str, room: &str, text: &str) -> usize {
        let id = Some(format!("id of {text}"));
        self.with(who, |client, scene| {
            client.send(scene, room, (text.to_owned(), 0), id, ("text/plain", "utf-8"))
        })
    }

    /// Sends a long message and waits for the reply.
    pub fn say_at_length(&mut self, who: &str, room: &str, text: &str, len: usize) {
        let index = self.with(who, |client, scene| {
            client.send(scene, room, (text.to_owned(), len), Some(text.to_owned()), ("text/plain", "utf-8"))
        });
        self.until("it is answered", |world| !world.person(who).sends[index].acks.is_empty());
    }

    /// Sends a message, which must succeed; returns the server's rounds until the reply.
    pub fn rounds_to_say(&mut self, who: &str, room: &str, text: &str) -> u64 {
        let before = self.rounds;
        self.say(who, room, text).expect("it is posted");
        self.rounds - before
    }

    /// From now on, this many connections always send these bytes and drop all replies.
    pub fn flood(&mut self, connections: usize, block: &[u8]) {
        for _ in 0..connections {
            let pipe = self.scene.network.open(Peer::Local);
            self.floods.push((pipe, block.to_vec()));
        }
    }

    /// Ends all floods and cuts their connections.
    pub fn end_floods(&mut self) {
        for (pipe, _) in std::mem::take(&mut self.floods) {
            self.scene.network.cut(pipe, &mut self.scene.env);
        }
    }

    /// Sends one request and waits for the reply.
    pub fn ask(&mut self, who: &str, action: &Action) -> Result<String, String> {
        self.until("it is connected", |world| world.person(who).is_connected());
        self.person_mut(who).answer = None;
        self.with(who, |client, scene| client.act(scene, action));
        self.until("it is answered", |world| world.person(who).answer.is_some());
        self.person(who).answer.clone().expect("it was answered")
    }

    /// Creates a private room.
    pub fn create_private(&mut self, who: &str, room: &str) {
        let action = Action::Create { access: Access::Private, room: room.to_owned() };
        self.ask(who, &action).expect("it is made");
    }

    /// Adds an account to a room.
    pub fn bring(&mut self, who: &str, room: &str, whom: &str) {
        let action = Action::Join { room: room.to_owned(), who: Some(whom.to_owned()) };
        self.ask(who, &action).expect("it is brought");
    }

    /// Leaves a room.
    pub fn leave_room(&mut self, who: &str, room: &str) {
        self.ask(who, &Action::Leave { room: room.to_owned() }).expect("it leaves");
    }

    /// Requests the first page of a room's history `times` times at once, and reads nothing before all requests
    /// are on the way.
    pub fn ask_for_pages(&mut self, who: &str, room: &str, times: usize) {
        self.until("it is connected", |world| world.person(who).is_connected());
        self.with(who, |client, scene| {
            for _ in 0..times {
                client.history(scene, room, 0, 256);
            }
            client.pause(scene, 1_000);
        });
    }

    /// This client's connection breaks.
    pub fn cut(&mut self, who: &str) {
        self.with(who, Client::cut);
    }

    /// This client reads nothing for `ms`.
    pub fn pause(&mut self, who: &str, ms: u64) {
        self.with(who, |client, scene| client.pause(scene, ms));
    }

    /// Runs the world for `ms`.
    pub fn wait(&mut self, ms: u64) {
        let end = self.scene.env.now() + ms;
        while self.scene.env.now() < end {
            self.tick();
        }
    }

    /// The position of the journal's last entry.
    pub fn end(&self) -> u64 {
        self.disk.end().0
    }

    /// The events that this client received, a line each.
    pub fn heard(&self, who: &str) -> Vec<String> {
        let following = self.person(who).following.as_ref();
        let log = following.map_or(&[][..], |following| &following.log);
        log.iter()
            .map(|seen| match &seen.what {
                EventBody::Message { n, from, word, .. } => format!("{}#{n} {from}: {word}", seen.room),
                EventBody::Joined { from } => format!("{}: {from} joined", seen.room),
                EventBody::Left { from } => format!("{}: {from} left", seen.room),
                EventBody::Created { from } => format!("{}: made by {from}", seen.room),
                EventBody::Topic { from, topic } => format!("{} {from} set the topic: {topic}", seen.room),
                EventBody::Hole { from, to } => format!("{}#{from}-{to} not shown", seen.room),
            })
            .collect()
    }
}
