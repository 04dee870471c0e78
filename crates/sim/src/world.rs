//! A world: a server on its disk, its clients, and everything that happens to them, tick by tick. `live` runs a
//! random world; stories control a calm one.

use std::collections::BTreeMap;

use vang_chat::{Seq, State};
use vang_hub::{Book, Peer, replay};
use vang_journal::{Identity, Reader};
use vang_proto::vang::{Access, Action, FeedName};

use crate::client::{Client, Role};
use crate::environment::Environment;
use crate::feeds::some_feeds;
use crate::following::{Following, Since};
use crate::journal::{AppendOutcome, Disk};
use crate::model::{EventBody, Model};
use crate::network::{Network, PipeId};
use crate::people;
use crate::rng::Rng;
use crate::scene::{Scene, SetBack};
use crate::server::Process;
use crate::view::{Rows, View};
use crate::weather::Weather;

/// A simulated world.
pub struct World {
    scene: Scene,
    clients: Vec<Client>,
    process: Option<Process>,
    disk: Disk,
    view: View,
    start_at: u64,
    keeps_down: bool,
    /// Connections that always have these bytes ready and drop all replies.
    floods: Vec<(PipeId, Vec<u8>)>,
    rounds: u64,
}

/// Bytes that a flood keeps ready: more than the server reads in one round.
const FLOOD_BYTES: usize = 1 << 18;

/// The time limit for becoming quiet, in simulated ms.
const HEALING_MS: u64 = 240_000;

/// A world is quiet after this many idle ticks.
const QUIET_TICKS: u32 = 12;

impl World {
    /// A world in which nothing happens by itself.
    pub fn calm(seed: u64) -> World {
        World::new(seed, Weather::calm(), Rng::new(seed), false)
    }

    /// A random world of this seed: size, people and failures.
    pub fn random(seed: u64, prints: bool) -> World {
        let mut rng = Rng::new(seed);
        let weather = Weather::drawn(&mut rng);
        let mut world = World::new(seed, Weather::calm(), rng, prints);
        for index in 0..weather.people {
            let label = format!("p{index}");
            match index {
                0 => world.account(&label),
                _ if world.scene.env.rng.happens(250) => world.guest(&label),
                _ => world.account(&label),
            }
            world.follow_some_feeds(&label);
            if world.is_account(&label) && world.scene.env.rng.happens(350) {
                let device = format!("{label}_phone");
                world.device(&device, &label);
                world.follow_some_feeds(&device);
            }
        }
        world.account("mallory");
        world.person_mut("mallory").role = Role::Prober;
        world.scene.invitable.retain(|name| name != "mallory");
        world.clients.push(Client::new("eve", Some("eve"), Role::Prober, Peer::Local));
        world.clients.push(Client::new("far", Some("far"), Role::Prober, Peer::RemotePlain));
        world.scene.env.note(format_args!("{weather:?}"));
        world.scene.env.weather = weather;
        world
    }

    fn new(seed: u64, weather: Weather, mut rng: Rng, prints: bool) -> World {
        let identity = Identity::new(rng.bytes(), rng.bytes());
        let env = Environment::new(seed, weather, rng, prints);
        let scene = Scene {
            env,
            network: Network::default(),
            model: Model::default(),
            run: 0,
            applied: 0,
            is_up: false,
            is_stopping: false,
            set_backs: Vec::new(),
            lost_values: Vec::new(),
            frames: BTreeMap::new(),
            public: vec!["general".to_owned()],
            private: BTreeMap::new(),
            invitable: Vec::new(),
            next_mark: 0,
        };
        let operator = Client::new("operator", None, Role::Operator, Peer::Operator);
        let mut world = World {
            scene,
            clients: vec![operator],
            process: None,
            disk: Disk::new(identity),
            view: View::default(),
            start_at: 0,
            keeps_down: false,
            floods: Vec::new(),
            rounds: 0,
        };
        world.until("the server is open", |world| world.process.as_ref().is_some_and(|p| p.hub().is_open()));
        world
    }

    /// The hash of the trace, to compare two runs of a seed.
    pub fn trace_hash(&self) -> u64 {
        self.scene.env.hash()
    }

    /// The counts of events.
    pub fn tally(&self) -> &BTreeMap<&'static str, u64> {
        self.scene.env.tally()
    }

    // ---- time ----

    /// Runs as long as the seed says.
    pub fn live(&mut self) {
        let end = self.scene.env.now() + self.scene.env.weather.lasts_ms;
        while self.scene.env.now() < end {
            self.tick();
        }
    }

    fn tick(&mut self) {
        let ms = self.scene.env.rng.between(1, 20);
        self.scene.env.pass(ms);
        self.inject_failures();
        self.start_if_due();
        self.flood_on();
        let scene = &mut self.scene;
        if let Some(process) = &mut self.process {
            self.rounds += 1;
            process.turn(&mut scene.env, &mut scene.network, &mut self.disk, &mut self.view);
            scene.applied = process.hub().state().seq().0;
        }
        if self.process.as_mut().is_some_and(|process| process.has_stopped(&mut self.view)) {
            self.scene.env.note(format_args!("the server has stopped"));
            self.scene.env.count("stop in good order");
            self.view.flush();
            self.leave();
        }
        self.view.turn(&mut self.scene.env);
        self.follow_journal();
        let from = self.scene.env.rng.below(self.clients.len() as u64) as usize;
        self.clients.rotate_left(from);
        for client in &mut self.clients {
            client.turn(&mut self.scene);
            if self.scene.env.weather.people_act {
                people::act(client, &mut self.scene);
            }
        }
        self.clients.rotate_right(from);
        self.welcome();
    }

    /// Updates the model from the journal.
    fn follow_journal(&mut self) {
        let after = self.scene.model.seq();
        let entries = self.disk.reader().read(after, usize::MAX, usize::MAX).expect("memory does not fail");
        for entry in entries {
            self.scene.model.take(&entry.expect("memory does not damage"));
        }
    }

    /// Creates clients for accounts that the operator added.
    fn welcome(&mut self) {
        let mut added = Vec::new();
        for client in &mut self.clients {
            if client.role == Role::Operator && self.scene.env.weather.people_act {
                let seen = client.welcomed;
                added.extend(client.added[seen..].to_vec());
                client.welcomed = client.added.len();
            }
        }
        for name in added {
            self.scene.env.count("account added while running");
            let role = if name.starts_with("zq") { Role::PrivateOnly } else { Role::Person };
            let mut client = Client::new(&name, Some(&name), role, Peer::Local);
            self.scene.invitable.push(name);
            if role == Role::Person {
                let account = client.account(&self.scene);
                let feeds = some_feeds(&mut self.scene.env.rng, account.is_some());
                client.follow(&mut self.scene, (vec!["general".to_owned()], feeds), Since::Now);
            }
            self.clients.push(client);
        }
    }

    fn inject_failures(&mut self) {
        let env = &mut self.scene.env;
        let weather = env.weather.clone();
        if weather.clock_jumps > 0 && env.rng.happens(if env.has_jumped() { 10 } else { weather.clock_jumps })
        {
            let jump = if env.rng.happens(500) { 7_200_000 } else { -20_000 };
            env.jump(if env.has_jumped() { 0 } else { jump });
            env.count("clock jumped");
        }
        if self.process.is_some() {
            if self.scene.env.rng.happens(weather.crash) {
                self.crash();
            } else if self.scene.env.rng.happens(weather.stop) {
                self.scene.env.note(format_args!("the server is asked to stop"));
                self.scene.is_stopping = true;
                self.process.as_mut().expect("it runs").stop();
            } else if weather.people_act && self.scene.env.rng.happens(5) {
                self.scene.env.count("snapshot");
                self.process.as_mut().expect("it runs").snapshot();
            }
        }
        for client in &mut self.clients {
            if self.scene.env.rng.happens(weather.cut) {
                client.cut(&mut self.scene);
            }
            if self.scene.env.rng.happens(weather.pause) {
                let ms = if self.scene.env.rng.happens(250) { 9_000 } else { 1_500 };
                let ms = self.scene.env.rng.between(1, ms);
                client.pause(&mut self.scene, ms);
            }
        }
    }

    fn flood_on(&mut self) {
        for (pipe, block) in &self.floods {
            let Some(pipe) = self.scene.network.get(*pipe) else { continue };
            while pipe.up.len() < FLOOD_BYTES {
                pipe.up.extend_from_slice(block);
            }
            pipe.down.clear();
        }
    }

    // ---- the server ----

    fn start_if_due(&mut self) {
        if self.process.is_some() || self.keeps_down || self.scene.env.now() < self.start_at {
            return;
        }
        if self.scene.env.rng.happens(self.scene.env.weather.older_copy) {
            self.put_back_a_copy();
        }
        let process = Process::start(&mut self.scene.env, &self.disk, &mut self.view);
        self.process = Some(process);
        self.scene.run += 1;
        self.scene.is_up = true;
        self.scene.is_stopping = false;
    }

    fn leave(&mut self) {
        self.process = None;
        self.scene.is_up = false;
        let some_arrives = self.scene.env.weather.older_copy == 0;
        self.scene.network.drop_server(&mut self.scene.env, some_arrives);
        self.start_at =
            self.scene.env.now() + self.scene.env.rng.between(10, self.scene.env.weather.away_ms.max(10));
    }

    /// An older copy of the data folder is put back.
    fn put_back_a_copy(&mut self) {
        self.follow_journal();
        // Accounts stay, so that clients keep their identities.
        let least = self.scene.model.last_account();
        let synced: Vec<Seq> = self.disk.synced().iter().copied().filter(|seq| seq.0 >= least).collect();
        // Recent, or so old that several openings are lost.
        let some = match self.scene.env.rng.happens(300) {
            true => &synced[..synced.len().div_ceil(3)],
            false => &synced[synced.len() - synced.len().min(12)..],
        };
        let Some(&to) = self.scene.env.rng.pick(some) else { return };
        self.set_back(to);
    }

    fn set_back(&mut self, to: Seq) {
        if to >= self.disk.end() {
            return;
        }
        self.scene.env.count("older copy put back");
        let openings = self.scene.model.openings().iter().filter(|&&seq| seq > to.0).count();
        self.scene
            .env
            .note(format_args!("a copy of {to} is put back; {} are lost", self.disk.end().0 - to.0));
        self.scene.lose_values_after(to.0);
        self.disk.put_back(to);
        let with_view = self.scene.env.rng.happens(600);
        self.view.put_back(to, with_view);
        self.scene.set_backs.push(SetBack { before: self.scene.run, to: to.0, openings });
        self.scene.frames.retain(|&seq, _| seq <= to.0);
        self.scene.network.drop_server(&mut self.scene.env, false);
        self.scene.model = Model::default();
        self.follow_journal();
    }

    /// The server crashes now, and restarts by itself.
    pub fn crash(&mut self) {
        if self.process.is_none() {
            return;
        }
        self.scene.env.note(format_args!("the server dies"));
        self.scene.env.count("crash");
        self.disk.crash(&mut self.scene.env);
        self.view.crash(&mut self.scene.env);
        self.leave();
    }

    /// The server crashes and stays down until `heal` or `restart`.
    pub fn crash_for_long(&mut self) {
        self.crash();
        self.keeps_down = true;
    }

    /// The server restarts.
    pub fn restart(&mut self) {
        self.crash();
        self.keeps_down = false;
        self.until("the server is open", |world| world.process.as_ref().is_some_and(|p| p.hub().is_open()));
    }

    /// The server crashes, and the copy of its data folder made at `seq` is put back.
    pub fn put_back_copy_of(&mut self, seq: u64) {
        self.crash();
        self.follow_journal();
        self.set_back(Seq(seq));
    }

    /// The outcomes of the next appends.
    pub fn next_appends(&mut self, outcomes: &[AppendOutcome]) {
        self.disk.script(outcomes);
    }

    // ---- healing, and what must be true then ----

    /// Ends all failures; every client reconnects and receives everything.
    pub fn heal(&mut self) {
        self.scene.env.note(format_args!("everything heals"));
        self.scene.env.weather.clear_up();
        self.scene.env.jump(0);
        self.keeps_down = false;
        self.disk.heal();
        for client in &mut self.clients {
            client.read_on();
        }
        let deadline = self.scene.env.now() + HEALING_MS;
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            self.tick();
            for client in &mut self.clients {
                if client.is_half_closed() && self.scene.network.are_quiet() {
                    client.cut(&mut self.scene);
                }
                if client.following.is_none() && matches!(client.role, Role::Person) {
                    let general = vec!["general".to_owned()];
                    client.follow(&mut self.scene, (general, Vec::new()), Since::Beginning);
                }
            }
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            assert!(self.scene.env.now() < deadline, "it does not become quiet: {}", self.unquiet());
        }
    }

    fn is_quiet(&self) -> bool {
        let process = self.process.as_ref().is_some_and(Process::is_quiet);
        let disk = self.disk.is_quiet() && self.view.are_quiet();
        process && disk && self.scene.network.are_quiet() && self.clients.iter().all(Client::is_quiet)
    }

    fn unquiet(&self) -> String {
        let clients: Vec<_> =
            self.clients.iter().filter(|client| !client.is_quiet()).map(|client| &client.label).collect();
        format!(
            "server {}, disk {}, view {}, network {}, clients {clients:?}",
            self.process.as_ref().is_some_and(Process::is_quiet),
            self.disk.is_quiet(),
            self.view.are_quiet(),
            self.scene.network.are_quiet()
        )
    }

    /// Checks the promises P1 to P4 and P10. (P5 and P9 are checked all the time.)
    pub fn assert_one_history(&mut self) {
        self.follow_journal();
        for client in &self.clients {
            client.check_answers(&self.scene);
            if client.check(&self.scene, true) > 0 {
                self.scene.env.count("a value was replaced before it was received");
            }
        }
        self.assert_devices_agree();
        let hub = self.process.as_ref().expect("it runs").hub();
        let mut reader = self.disk.reader();
        assert_eq!(hub.state().seq(), self.disk.end(), "the hub is at the journal's end");
        let beginning = (State::default(), Book::default());
        let mut replayed_rows = Rows::default();
        let replayed = replay(&mut reader, &self.disk.identity(), beginning, Seq(0), &mut |delta| {
            replayed_rows.apply(&delta);
            Ok(())
        });
        let replayed = replayed.expect("the journal can be replayed");
        assert_eq!(
            replayed.state.hash(),
            hub.state().hash(),
            "a replay gives another state than the running one"
        );
        let snapshot = State::from_snapshot(&hub.state().to_snapshot()).expect("a snapshot can be read");
        assert_eq!(snapshot.hash(), hub.state().hash(), "a snapshot gives another state");
        let mut folded = Rows::default();
        folded.apply(&self.scene.model.delta());
        assert_eq!(self.view.rows(), &folded, "the view differs from the journal's outcomes");
        assert_eq!(replayed_rows, folded, "a replay gives another view");
        assert_eq!(self.disk.identity().id_hex(), hub.identity().id_hex());
    }

    /// Two devices of an account have the same newest value of each key, from where both began.
    fn assert_devices_agree(&mut self) {
        let mut by_account: BTreeMap<u64, Vec<&Client>> = BTreeMap::new();
        for client in &self.clients {
            if let Some(account) = client.account(&self.scene)
                && client.following.as_ref().is_some_and(|following| following.account_feed_start().is_some())
            {
                by_account.entry(account).or_default().push(client);
            }
        }
        let mut compared = 0;
        for (account, devices) in by_account {
            let followings = || devices.iter().filter_map(|client| client.following.as_ref());
            let after = followings().filter_map(Following::account_feed_start).max().unwrap_or_default();
            let heard: Vec<_> =
                followings().map(|following| following.newest_values(&self.scene, account, after)).collect();
            assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "the devices of {account}: {heard:?}");
            compared += u64::from(heard.len() > 1 && heard.iter().all(|values| !values.is_empty()));
        }
        for _ in 0..compared {
            self.scene.env.count("two devices of an account compared");
        }
    }

    // ---- stories ----

    fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
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

    fn person_mut(&mut self, label: &str) -> &mut Client {
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

    fn is_account(&self, name: &str) -> bool {
        self.scene.model.account(name).is_some()
    }

    /// Follows `general` from its beginning, and any of the other feeds.
    fn follow_some_feeds(&mut self, who: &str) {
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
