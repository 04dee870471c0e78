//! A world: a server on its disk, its clients, and everything that happens to them, tick by tick. `live` runs a
//! random world; stories control a calm one.

use std::collections::BTreeMap;

use vang_chat::Seq;
use vang_hub::Peer;
use vang_journal::{Identity, Reader};

use crate::client::{Client, Role};
use crate::environment::Environment;
use crate::feeds::some_feeds;
use crate::following::Since;
use crate::journal::{AppendOutcome, Disk};
use crate::model::Model;
use crate::network::{Network, PipeId};
use crate::people;
use crate::rng::Rng;
use crate::scene::{Scene, SetBack, SharedSecrets};
use crate::server::Process;
use crate::sign_in::Device;
use crate::view::View;
use crate::weather::Weather;

mod devices; // those that sign in
mod checks; // what must be true when everything has healed
mod stories; // what people do one after the other

/// A simulated world.
pub struct World {
    scene: Scene,
    clients: Vec<Client>,
    /// Clients that sign in.
    devices: Vec<Device>,
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
        if weather.signs_in {
            world.add_devices();
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
            shared: SharedSecrets::default(),
            newcomers: Vec::new(),
        };
        let operator = Client::new("operator", None, Role::Operator, Peer::Operator);
        let mut world = World {
            scene,
            clients: vec![operator],
            devices: Vec::new(),
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
        for device in &mut self.devices {
            device.turn(&mut self.scene);
        }
        self.welcome_newcomers();
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
        for device in &mut self.devices {
            if self.scene.env.rng.happens(weather.cut) {
                device.cut(&mut self.scene);
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
        if self.scene.env.rng.happens(self.scene.env.weather.days) {
            self.scene.env.count("a day passed while the server was down");
            self.scene.env.pass_a_day();
        }
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
        let devices = self.devices.iter().all(|device| device.is_quiet(&self.scene));
        let clients = self.clients.iter().all(Client::is_quiet);
        process && disk && self.scene.network.are_quiet() && clients && devices
    }

    fn unquiet(&self) -> String {
        let clients = self.clients.iter().filter(|client| !client.is_quiet()).map(|client| &client.label);
        let devices = self.devices.iter().filter(|device| !device.is_quiet(&self.scene));
        let clients: Vec<_> = clients.chain(devices.map(|device| &device.label)).collect();
        format!(
            "server {}, disk {}, view {}, network {}, clients {clients:?}",
            self.process.as_ref().is_some_and(Process::is_quiet),
            self.disk.is_quiet(),
            self.view.are_quiet(),
            self.scene.network.are_quiet()
        )
    }
}
