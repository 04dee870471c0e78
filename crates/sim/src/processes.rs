//! Two processes that order one journal, each with its own disk, view, sessions and network; clients go from one to the
//! other whenever they like. What holds: nobody hears an event twice or misses one, and both processes come to the same
//! state.

use vang_chat::Seq;
use vang_hub::Peer;
use vang_journal::{Entry, Identity, MemoryJournal, Reader};
use vang_proto::Decoder;
use vang_proto::vang::{Action, Advice, Event, Follower, Incoming, RequestWriter, incoming};

use crate::environment::Environment;
use crate::following::{compare, read};
use crate::journal::Disk;
use crate::model::{Model, SeenEvent};
use crate::network::{Network, PipeId, random_piece};
use crate::rng::Rng;
use crate::server::Process;
use crate::view::View;
use crate::weather::Weather;

/// The room that all clients follow.
const ROOM: &str = "general";

const CLIENTS: usize = 5;

/// How long everything goes on at random, ms.
const LASTS_MS: u64 = 20_000;

/// How long the rest may take until it is quiet, ms.
const QUIET_MS: u64 = 60_000;

/// A process with everything that is its own.
struct Side {
    network: Network,
    disk: Disk,
    view: View,
    process: Process,
}

impl Side {
    fn start(env: &mut Environment, journal: &MemoryJournal) -> Side {
        let (disk, mut view) = (Disk::on(journal.clone()), View::default());
        let process = Process::start(env, &disk, &mut view);
        Side { network: Network::default(), disk, view, process }
    }

    fn turn(&mut self, env: &mut Environment) {
        self.process.turn(env, &mut self.network, &mut self.disk, &mut self.view);
        self.view.turn(env);
    }

    fn is_quiet(&self) -> bool {
        self.process.is_quiet() && self.disk.is_quiet() && self.view.are_quiet() && self.network.are_quiet()
    }
}

struct Client {
    label: String,
    follower: Follower,
    /// Where it is connected.
    at: Option<(usize, PipeId, Decoder)>,
    follows: bool,
    said: u64,
    log: Vec<SeenEvent>,
}

impl Client {
    fn new(number: usize) -> Client {
        let label = format!("c{number}");
        let follower = Follower::new(Some(label.clone()), vec![ROOM.to_owned()], Some(vec![0]));
        Client { label, follower, at: None, follows: false, said: 0, log: Vec::new() }
    }

    fn write(&self, sides: &mut [Side; 2], bytes: &[u8]) {
        if let Some((side, pipe, _)) = &self.at
            && let Some(pipe) = sides[*side].network.get(*pipe)
        {
            pipe.up.extend_from_slice(bytes);
        }
    }

    /// Leaves where it is, and goes on at the other process, or at this one again.
    fn connect(&mut self, env: &mut Environment, sides: &mut [Side; 2], side: usize) {
        if let Some((old, pipe, _)) = self.at.take() {
            sides[old].network.cut(pipe, env);
            env.count(if old == side {
                "came back to the same process"
            } else {
                "went to the other process"
            });
        }
        self.at = Some((side, sides[side].network.open(Peer::Local), Decoder::default()));
        self.follows = false;
        self.write(sides, &self.follower.opening());
    }

    fn say(&mut self, sides: &mut [Side; 2]) {
        self.said += 1;
        let text = format!("{}-{}", self.label, self.said);
        let writer = RequestWriter { name: Some(self.label.clone()) };
        self.write(sides, &writer.write(self.said, &Action::text(ROOM, &text)));
    }

    fn read(&mut self, env: &mut Environment, sides: &mut [Side; 2]) {
        let Some((side, pipe, decoder)) = &mut self.at else { return };
        if let Some(pipe) = sides[*side].network.get(*pipe)
            && let Some(bytes) = random_piece(env, &mut pipe.down)
        {
            decoder.feed(&bytes);
        }
        let mut opening = None;
        while let Some(frame) = decoder.poll_frame().expect("the server writes whole messages") {
            match incoming(frame).expect("the server speaks vang") {
                Incoming::Reply(reply) if self.follower.is_mine(&reply) => {
                    match self.follower.handle_reply(&reply) {
                        Advice::Follows => self.follows = true,
                        // The process has not read yet what the client heard at the other.
                        Advice::Send(..) if reply.code.as_deref() == Some("seq-ahead") => {
                            panic!("{} was sent back: {reply:?}", self.label)
                        }
                        Advice::Send(bytes, _) => opening = Some(bytes),
                        Advice::Retry(_) => {}
                        Advice::GiveUp { code, detail } => panic!("{}: {code}: {detail}", self.label),
                    }
                }
                Incoming::Reply(_) => {}
                Incoming::Event(message) => {
                    let is_epoch = matches!(message.event, Event::Connection(_));
                    if is_epoch {
                        env.count("another process was announced");
                    }
                    if self.follower.handle_event(&message.event) {
                        self.log.extend(read(&message));
                    }
                }
            }
        }
        if let Some(bytes) = opening {
            self.write(sides, &bytes);
        }
    }
}

/// Runs a seed; answers what happened how often.
pub fn two_processes(seed: u64, prints: bool) -> std::collections::BTreeMap<&'static str, u64> {
    let mut rng = Rng::new(seed);
    let identity = Identity::new(rng.bytes(), rng.bytes());
    let mut env = Environment::new(seed, Weather::calm(), rng, prints);
    let mut journal = MemoryJournal::new(identity);
    let first = Side::start(&mut env, &journal);
    let mut sides = [first, Side::start(&mut env, &journal)];
    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let quiet = |sides: &[Side; 2]| sides.iter().all(Side::is_quiet);
    let mut ends = LASTS_MS;
    loop {
        let (step, acts) = (env.rng.between(1, 20), env.now() < LASTS_MS);
        env.pass(step);
        for (index, side) in sides.iter_mut().enumerate() {
            if env.rng.happens(if acts { 100 } else { 1_000 }) {
                catch_up(side, &mut journal);
            }
            if acts && env.rng.happens(2) {
                // A new process in place of the old one; its clients notice.
                env.count("a process was started again");
                *side = Side::start(&mut env, &journal);
                for client in clients.iter_mut().filter(|one| one.at.as_ref().is_some_and(|at| at.0 == index))
                {
                    client.at = None;
                }
            }
            side.turn(&mut env);
        }
        for client in &mut clients {
            let side = env.rng.below(2) as usize;
            let knows = |client: &Client, side: usize, sides: &[Side; 2]| {
                // A place that a process has not read yet is none that it can resume from.
                client.follower.seq().is_none_or(|seq| Seq(seq) <= sides[side].process.hub().state().seq())
                    && sides[side].process.hub().is_open()
            };
            let moves = client.at.is_none() || (acts && env.rng.happens(10));
            if moves && knows(client, side, &sides) {
                client.connect(&mut env, &mut sides, side);
            }
            if acts && client.follows && env.rng.happens(50) {
                client.say(&mut sides);
            }
            client.read(&mut env, &mut sides);
        }
        if !acts
            && quiet(&sides)
            && sides.iter().all(|side| side.process.hub().state().seq() == end(&mut journal))
        {
            // One more pull for everybody.
            ends += 1;
            if ends > LASTS_MS + 200 {
                break;
            }
        }
        assert!(env.now() < LASTS_MS + QUIET_MS, "it does not become quiet");
    }
    check(&mut journal, &sides, &clients);
    env.tally().clone()
}

fn end(journal: &mut MemoryJournal) -> Seq {
    journal.end().expect("memory does not fail")
}

/// Gives a process what stands in the journal and has not arrived there, as a subscription would.
fn catch_up(side: &mut Side, journal: &mut MemoryJournal) {
    let after = side.process.hub().state().seq();
    let entries = journal.read(after, usize::MAX, usize::MAX).and_then(Entry::all);
    side.process.arrived(entries.expect("memory does not fail"));
}

fn check(journal: &mut MemoryJournal, sides: &[Side; 2], clients: &[Client]) {
    let entries = journal.read(Seq(0), usize::MAX, usize::MAX).and_then(Entry::all);
    let mut model = Model::default();
    entries.expect("memory does not fail").iter().for_each(|entry| model.take(entry));
    let [first, second] = sides;
    assert_eq!(first.process.hub().state().hash(), second.process.hub().state().hash(), "two states");
    let expected = model.expected_events(None, ROOM);
    for client in clients {
        compare(&client.label, &expected, &client.log);
    }
}
