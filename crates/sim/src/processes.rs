//! Two processes that order one journal, each with its own disk, view, sessions and network; clients go from one to the
//! other whenever they like. They follow a room, the feed of their account and the server's. What holds: nobody hears an
//! event twice or misses one, of a feed nobody misses the newest value of a key, and both processes come to the same state.

use std::collections::BTreeSet;

use vang_chat::Seq;
use vang_hub::Peer;
use vang_journal::{Entry, Identity, MemoryJournal, Reader};
use vang_proto::Decoder;
use vang_proto::vang::{
    Access, Action, Advice, Event, FeedName, Follower, Incoming, RequestWriter, incoming,
};

use crate::environment::Environment;
use crate::feeds::KeyedFeeds;
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

/// Who each client is: two accounts with two devices each, and a guest.
const CLIENTS: [&str; 5] = ["ada", "ada", "bob", "bob", "eve"];
const ACCOUNTS: [&str; 2] = ["ada", "bob"];

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
    name: &'static str,
    follower: Follower,
    feeds: Vec<FeedName>,
    keyed: KeyedFeeds,
    /// The last entry that the process had applied when following was requested.
    applied: u64,
    /// When it connects again at the earliest, ms.
    back_at: u64,
    /// Private rooms that it made.
    made: Vec<String>,
    /// Where it is connected.
    at: Option<(usize, PipeId, Decoder)>,
    follows: bool,
    said: u64,
    log: Vec<SeenEvent>,
}

impl Client {
    fn new(number: usize, name: &'static str) -> Client {
        let mut feeds = FeedName::ALL.to_vec();
        feeds.retain(|feed| *feed != FeedName::Account || ACCOUNTS.contains(&name));
        let follower = Follower::new(Some(name.to_owned()), vec![ROOM.to_owned()], Some(vec![0]));
        Client {
            label: format!("c{number}"),
            name,
            follower: follower.with_feeds(feeds.clone()),
            feeds,
            keyed: KeyedFeeds::default(),
            applied: 0,
            back_at: 0,
            made: Vec::new(),
            at: None,
            follows: false,
            said: 0,
            log: Vec::new(),
        }
    }

    fn write(&self, sides: &mut [Side; 2], bytes: &[u8]) {
        if let Some((side, pipe, _)) = &self.at
            && let Some(pipe) = sides[*side].network.get(*pipe)
        {
            pipe.up.extend_from_slice(bytes);
        }
    }

    /// Is gone for some time.
    fn leave(&mut self, env: &mut Environment, sides: &mut [Side; 2]) {
        if let Some((old, pipe, _)) = self.at.take() {
            sides[old].network.cut(pipe, env);
            self.back_at = env.now() + env.rng.below(4_000);
            self.follows = false;
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
        self.applied = sides[side].process.hub().state().seq().0;
        self.write(sides, &self.follower.opening());
    }

    /// Says something, joins or leaves, makes a room or brings the other account into one.
    fn act(&mut self, env: &mut Environment, sides: &mut [Side; 2]) {
        self.said += 1;
        let room = ROOM.to_owned();
        let action = match env.rng.below(12) {
            0 | 1 => Action::Join { room, who: None },
            2 => Action::Leave { room },
            // Out of a room that it knows from its account's feed alone.
            3 | 4 => {
                let others: Vec<&SeenEvent> = self.log.iter().filter(|seen| seen.room != ROOM).collect();
                match env.rng.pick(&others) {
                    Some(seen) => Action::Leave { room: seen.room.clone() },
                    None => return,
                }
            }
            5 => {
                let room = format!("{}-{}", self.label, self.said);
                let is_private = env.rng.happens(500);
                self.made.extend(is_private.then(|| room.clone()));
                Action::Create { room, access: if is_private { Access::Private } else { Access::Public } }
            }
            6 | 7 => match env.rng.pick(&self.made).cloned() {
                Some(room) => {
                    let other = ACCOUNTS.into_iter().find(|name| *name != self.name);
                    Action::Join { room, who: other.map(str::to_owned) }
                }
                None => return,
            },
            _ => Action::text(ROOM, &format!("{}-{}", self.label, self.said)),
        };
        let writer = RequestWriter { name: Some(self.name.to_owned()) };
        self.write(sides, &writer.write(self.said, &action));
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
                    let before = self.follower.seq();
                    match self.follower.handle_reply(&reply) {
                        Advice::Follows => {
                            self.follows = true;
                            let applied = sides[*side].process.hub().state().seq().0;
                            match before {
                                Some(position) => self.keyed.resumed(position),
                                None => {
                                    let between = (self.applied, applied);
                                    self.keyed = KeyedFeeds::begun(&self.feeds, 0, between);
                                }
                            }
                        }
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
    let mut clients: Vec<Client> =
        (0..).zip(CLIENTS).map(|(number, name)| Client::new(number, name)).collect();
    let (mut operator, mut model) = (None, Model::default());
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
                    client.follows = false;
                }
            }
            side.turn(&mut env);
        }
        let entries = journal.read(model.seq(), usize::MAX, usize::MAX).and_then(Entry::all);
        entries.expect("memory does not fail").iter().for_each(|entry| model.take(entry));
        let have_accounts = ACCOUNTS.iter().all(|name| model.account(name).is_some());
        add_accounts(&mut env, &mut sides, &mut operator, have_accounts);
        let accounts_at = Seq(model.last_account());
        for client in &mut clients {
            let side = env.rng.below(2) as usize;
            let knows = |client: &Client, side: usize, sides: &[Side; 2]| {
                // A place that a process has not read yet is none that it can resume from.
                let hub = sides[side].process.hub();
                client.follower.seq().is_none_or(|seq| Seq(seq) <= hub.state().seq())
                    && accounts_at <= hub.state().seq()
                    && hub.is_open()
            };
            let moves = (client.at.is_none() && have_accounts)
                || (client.at.is_some() && acts && env.rng.happens(10));
            if acts && env.rng.happens(5) {
                client.leave(&mut env, &mut sides);
            }
            if moves && client.back_at <= env.now() && knows(client, side, &sides) {
                client.connect(&mut env, &mut sides, side);
            }
            if acts && client.follows && env.rng.happens(50) {
                client.act(&mut env, &mut sides);
            }
            client.read(&mut env, &mut sides);
        }
        if !acts
            && quiet(&sides)
            && clients.iter().all(|client| client.follows)
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
    check(&mut env, &model, &sides, &clients);
    env.tally().clone()
}

/// The operator adds the accounts, again if the first request was lost, and closes its connection when they are there.
fn add_accounts(
    env: &mut Environment,
    sides: &mut [Side; 2],
    operator: &mut Option<(usize, PipeId)>,
    are_there: bool,
) {
    if (are_there || env.rng.happens(5))
        && let Some((side, pipe)) = operator.take()
    {
        sides[side].network.cut(pipe, env);
    }
    let side = env.rng.below(2) as usize;
    if are_there || operator.is_some() || !sides[side].process.hub().is_open() {
        return;
    }
    let pipe = sides[side].network.open(Peer::Operator);
    for (re, name) in (1..).zip(ACCOUNTS) {
        let add = Action::AddAccount { name: name.to_owned() };
        let bytes = RequestWriter { name: None }.write(re, &add);
        if let Some(pipe) = sides[side].network.get(pipe) {
            pipe.up.extend_from_slice(&bytes);
        }
    }
    *operator = Some((side, pipe));
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

fn check(env: &mut Environment, model: &Model, sides: &[Side; 2], clients: &[Client]) {
    let [first, second] = sides;
    assert_eq!(first.process.hub().state().hash(), second.process.hub().state().hash(), "two states");
    let expected = model.expected_events(None, ROOM);
    for client in clients {
        let values = client.keyed.expected(model, model.account(client.name));
        let is_other = |seen: &&SeenEvent| seen.room != ROOM && values.has(seen);
        for _ in client.log.iter().filter(is_other) {
            env.count("received of a room that is not followed");
        }
        // What is of no room and no feed of its own stays, and is a difference.
        let of_room: Vec<SeenEvent> = client.log.iter().filter(|seen| !is_other(seen)).cloned().collect();
        compare(&client.label, &expected, &of_room);
        let heard: BTreeSet<u64> = client.log.iter().map(|seen| seen.seq).collect();
        assert!(client.log.is_sorted_by_key(|seen| seen.seq), "{} heard them in another order", client.label);
        if values.check(&client.label, &heard, model.seq().0, &[]) > 0 {
            env.count("a value was replaced before it was received");
        }
    }
}
