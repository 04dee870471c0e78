//! One flood with so many attackers: measured at vang, at the floor and at the peers in turn, judged, and
//! printed as a row of the table.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::attack::Done;
use crate::child::{Attack, Peer, peer_name};
use crate::common::figures::median;
use crate::common::process::Running;
use crate::floods::Flood;
use crate::honest::{Honest, Kind, Met, Target, Waits, answers};
use crate::seed::{self, Seed};
use crate::{MEMORY, Plan};

/// What an honest client may wait above the floor beside one attacker, and beside more, ms (p99).
const ABOVE_FOR_ONE: f64 = 20.0;
const ABOVE_FOR_MANY: f64 = 100.0;
/// The server's default `stop-time`, and the same again for a journal that is just being written.
const STOP_ALLOWED: Duration = Duration::from_secs(10);
/// A server that has not ended then is ended the hard way.
const STOP_WAITED: Duration = Duration::from_secs(20);
/// How long a server may take to answer again when a flood is over.
const RECOVERS: Duration = Duration::from_secs(10);
/// How much of the memory at the start may still be resident after so much time without a flood.
const RSS_AFTER: f64 = 2.0;
const SETTLES: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// One server under one flood, once.
struct Round {
    met: Met,
    done: Done,
    /// Of the server, in cores.
    cpu: f64,
}

/// One server under one flood.
#[derive(Default)]
struct Rounds(Vec<Round>);

/// Memory, bytes.
struct Memory {
    start: u64,
    peak: u64,
    /// When it was back within `RSS_AFTER` × the start, or after `SETTLES`.
    after: u64,
    settled: Duration,
}

impl Memory {
    fn is_back(&self) -> bool {
        self.after as f64 <= self.start as f64 * RSS_AFTER
    }

    /// Waits until it is back, at most `SETTLES`.
    fn settle(&mut self, server: &Running) {
        let over = Instant::now();
        loop {
            (self.peak, self.after, self.settled) = (server.peak(), server.rss(), over.elapsed());
            if self.is_back() || self.settled >= SETTLES {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Everything that was measured.
struct Row<'a> {
    flood: &'a Flood,
    attackers: usize,
    vang: Rounds,
    floor: Rounds,
    peers: Vec<(Kind, Option<Rounds>)>,
    memory: Memory,
    /// `None`: it did not end.
    stop: Option<Duration>,
    /// What else went wrong.
    troubles: Vec<String>,
}

pub(crate) struct Bench {
    plan: Plan,
    seed: Seed,
    failed: Vec<String>,
    measured: usize,
}

impl Bench {
    pub(crate) fn new(plan: Plan) -> Bench {
        if !plan.json {
            println!("{}", HEAD.trim_end());
        }
        Bench { plan, seed: Seed::make(), failed: Vec::new(), measured: 0 }
    }

    /// Measures and prints; whether everything is as it must be.
    pub(crate) fn measure(&mut self, flood: &Flood, attackers: usize) -> bool {
        let row = self.row(flood, attackers);
        let faults = row.faults();
        if self.plan.json {
            println!("{}", row.to_json(&faults));
        } else {
            row.print(&faults);
        }
        let _ = std::io::stdout().flush();
        self.measured += 1;
        if !faults.is_empty() {
            self.failed.push(format!("{} × {attackers}", flood.name));
        }
        faults.is_empty()
    }

    pub(crate) fn end(&self) {
        if !self.plan.json {
            println!(
                "\n{} of {} beyond what is allowed: {}",
                self.failed.len(),
                self.measured,
                self.failed.join(", ")
            );
        }
    }

    fn row<'a>(&self, flood: &'a Flood, attackers: usize) -> Row<'a> {
        let memory_limit = format!("memory={MEMORY}");
        let limits: Vec<&str> = flood.limits.iter().copied().chain([memory_limit.as_str()]).collect();
        let start = || Running::vang(Some(&self.seed), &limits);
        let (mut server, floor) = (start(), Running::floor());
        let mut peers: Vec<(Kind, Option<(Peer, Rounds)>)> = Vec::new();
        if flood.at_peers.is_some() {
            let started = |kind| (kind, Peer::start(kind).map(|peer| (peer, Rounds::default())));
            peers.extend([Kind::Redis, Kind::Nats].map(started));
        }
        answers(server.target(Kind::Vang), RECOVERS);
        seed::warm(&server);
        let mut memory = Memory { start: server.rss(), peak: 0, after: 0, settled: Duration::ZERO };
        let (mut vang, mut floors, mut troubles) = (Rounds::default(), Rounds::default(), Vec::new());
        for _ in 0..self.plan.rounds {
            let target = server.target(Kind::Vang);
            let cpu = server.cpu();
            let mut round = self.under(flood, attackers, target);
            if server.is_alive() {
                round.cpu = (server.cpu() - cpu) / round.done.seconds;
            }
            vang.0.push(round);
            if !server.is_alive() || !answers(target, RECOVERS) {
                troubles.push(match server.child.try_wait() {
                    Ok(Some(status)) => format!("the server ended: {status}"),
                    _ => format!("no answer {} s after the flood", RECOVERS.as_secs()),
                });
                server = start();
            }
            let cpu = floor.cpu();
            let mut round = self.under(flood, attackers, floor.target(Kind::Floor));
            round.cpu = (floor.cpu() - cpu) / round.done.seconds;
            floors.0.push(round);
            for (peer, rounds) in peers.iter_mut().filter_map(|(_, peer)| peer.as_mut()) {
                let cpu = peer.cpu();
                let mut round = self.under(flood, attackers, peer.target);
                round.cpu = (peer.cpu() - cpu) / round.done.seconds;
                rounds.0.push(round);
            }
        }
        memory.settle(&server);
        // Under the same flood as before.
        let attack = Attack::begin(flood, server.target(Kind::Vang), attackers, &self.seed.facts);
        let stop = server.terminate(STOP_WAITED);
        attack.end();
        let peers = peers.into_iter().map(|(kind, peer)| (kind, peer.map(|(_, rounds)| rounds))).collect();
        Row { flood, attackers, vang, floor: floors, peers, memory, stop, troubles }
    }

    fn under(&self, flood: &Flood, attackers: usize, target: Target) -> Round {
        let honest = Honest::connect(target);
        let attack = Attack::begin(flood, target, attackers, &self.seed.facts);
        let met = honest.ask(self.plan.round);
        Round { met, done: attack.end(), cpu: 0.0 }
    }
}

/// Which of an honest client's requests.
type Which = fn(&Met) -> Option<&Waits>;

const PING: Which = |met| Some(&met.ping);
const SEND: Which = |met| met.send.as_ref();
const HEALTH: Which = |met| met.health.as_ref();

impl Rounds {
    fn waits(&self, which: Which) -> impl Iterator<Item = &Waits> {
        self.0.iter().filter_map(move |round| which(&round.met))
    }

    /// At a quantile, of each round, ms.
    fn at(&self, which: Which, part: f64) -> Vec<f64> {
        self.waits(which).map(|waits| waits.times.value_at_quantile(part) as f64 / 1e3).collect()
    }

    /// Of all rounds, ms.
    fn max(&self, which: Which) -> f64 {
        self.waits(which).map(|waits| waits.times.max()).max().unwrap_or(0) as f64 / 1e3
    }

    fn unanswered(&self, which: Which) -> u64 {
        self.waits(which).map(|waits| waits.unanswered).sum()
    }

    fn lost(&self, which: Which) -> u64 {
        self.waits(which).map(|waits| waits.lost).sum()
    }

    /// A second, of each round.
    fn rate(&self, what: fn(&Done) -> u64) -> f64 {
        median(&self.0.iter().map(|round| what(&round.done) as f64 / round.done.seconds).collect::<Vec<_>>())
    }

    fn cpu(&self) -> f64 {
        median(&self.0.iter().map(|round| round.cpu).collect::<Vec<_>>())
    }

    /// Of the attackers, in cores.
    fn attackers_cpu(&self) -> f64 {
        median(&self.0.iter().map(|round| round.done.cpu / round.done.seconds).collect::<Vec<_>>())
    }

    fn trouble(&self, which: Which) -> Option<&str> {
        self.waits(which).find_map(|waits| waits.trouble.as_deref())
    }

    fn to_json(&self) -> serde_json::Value {
        let waits = |which: Which| {
            json!({
                "p50": self.at(which, 0.5), "p99": self.at(which, 0.99), "max": self.max(which),
                "unanswered": self.unanswered(which), "lost": self.lost(which), "trouble": self.trouble(which),
            })
        };
        json!({
            "ping": waits(PING), "send": waits(SEND), "healthz": waits(HEALTH),
            "written": self.rate(|done| done.written), "read": self.rate(|done| done.read),
            "opened": self.rate(|done| done.opened), "closed": self.rate(|done| done.closed),
            "cpu": self.cpu(), "attackers-cpu": self.attackers_cpu(),
            "heard": self.0.first().map(|round| round.done.heard.chars().take(200).collect::<String>()),
        })
    }
}

impl Row<'_> {
    /// How much longer than the floor, p99 of each pair of rounds in ms; the one in the middle.
    fn above(&self, which: Which) -> f64 {
        let (ours, theirs) = (self.vang.at(which, 0.99), self.floor.at(which, 0.99));
        median(&ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect::<Vec<_>>())
    }

    fn allowed(&self) -> f64 {
        if self.attackers == 1 { ABOVE_FOR_ONE } else { ABOVE_FOR_MANY }
    }

    /// What is not as it must be.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.troubles.clone();
        for (name, which) in [("ping", PING), ("send", SEND)] {
            let above = self.above(which);
            if above > self.allowed() {
                faults.push(format!("{name} {above:.0} ms above the floor"));
            }
            let lost = self.vang.lost(which);
            if lost > 0 {
                faults.push(format!("{name} lost its connection {lost} ×"));
            }
        }
        let (asked, silent) = (self.health_asked(), self.vang.unanswered(HEALTH));
        if silent > 0 {
            let why = self.vang.trouble(HEALTH).unwrap_or_default();
            faults.push(format!("/healthz {silent} of {asked} not answered ({why})"));
        }
        match self.stop {
            Some(took) if took <= STOP_ALLOWED => {}
            Some(took) => faults.push(format!("SIGTERM took {:.1} s", took.as_secs_f64())),
            None => faults.push(format!("SIGTERM did nothing for {} s", STOP_WAITED.as_secs())),
        }
        let Memory { start, peak, after, .. } = self.memory;
        if peak > start + MEMORY {
            faults.push(format!("memory {} MiB above the start", (peak - start) >> 20));
        }
        if !self.memory.is_back() {
            faults.push(format!("memory stays {:.1} × the start", after as f64 / start as f64));
        }
        if !self.understood() {
            faults.push(format!(
                "the flood was not understood: no '{}' in its first answers",
                self.flood.expects
            ));
        }
        faults
    }

    /// Whether the attackers did what they are here for.
    fn understood(&self) -> bool {
        let rounds = &self.vang.0;
        // A server that answers nobody has not misunderstood.
        rounds
            .iter()
            .all(|round| round.done.heard.is_empty() || round.done.heard.contains(self.flood.expects))
    }

    fn health_asked(&self) -> u64 {
        self.vang.waits(HEALTH).map(|waits| waits.times.len()).sum()
    }

    fn print(&self, faults: &[String]) {
        let Row { flood, attackers, vang, floor, memory, .. } = self;
        println!("{} × {attackers}: {}", flood.name, flood.what);
        self.print_server("vang", vang, Some(floor));
        self.print_server("floor", floor, None);
        for (kind, rounds) in &self.peers {
            match rounds {
                Some(rounds) => self.print_server(peer_name(*kind), rounds, None),
                None => println!("  {:<12} is not installed", peer_name(*kind)),
            }
        }
        let mib = |bytes: u64| bytes >> 20;
        let stop = self.stop.map_or("never".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()));
        println!(
            "  {:<12} /healthz {} of {} within a second, max {:.0} ms; SIGTERM {stop}; memory {} MiB, at most {}, {} {:.0} s after",
            "",
            self.health_asked() - vang.unanswered(HEALTH),
            self.health_asked(),
            vang.max(HEALTH),
            mib(memory.start),
            mib(memory.peak),
            mib(memory.after),
            memory.settled.as_secs_f64(),
        );
        let verdict =
            if faults.is_empty() { "ok".to_owned() } else { format!("BEYOND: {}", faults.join("; ")) };
        println!("  {:<12} {verdict}", "");
    }

    fn print_server(&self, name: &str, rounds: &Rounds, floor: Option<&Rounds>) {
        let waits = |which: Which| {
            if rounds.waits(which).next().is_none() {
                return format!("{:>35}", "");
            }
            let above = floor.map_or(String::new(), |_| format!("{:+.1}", self.above(which)));
            let at = |part| median(&rounds.at(which, part));
            format!("{:>8.2} {:>8.1} {:>8.0} {above:>8}", at(0.5), at(0.99), rounds.max(which))
        };
        println!(
            "  {name:<12}{} {}{:>9.1} {:>8.0} {:>6.2} {:>6.2}",
            waits(PING),
            waits(SEND),
            rounds.rate(|done| done.written) / 1e6,
            rounds.rate(|done| done.opened),
            rounds.cpu(),
            rounds.attackers_cpu(),
        );
    }

    fn to_json(&self, faults: &[String]) -> serde_json::Value {
        let peers: serde_json::Map<_, _> = self
            .peers
            .iter()
            .map(|(kind, rounds)| (peer_name(*kind).to_owned(), rounds.as_ref().map(Rounds::to_json).into()))
            .collect();
        json!({
            "flood": self.flood.name, "attackers": self.attackers, "what": self.flood.what,
            "vang": self.vang.to_json(), "floor": self.floor.to_json(), "peers": peers,
            "ping-above": self.above(PING), "send-above": self.above(SEND), "allowed": self.allowed(),
            "stop": self.stop.map(|took| took.as_secs_f64()),
            "memory": {
                "start": self.memory.start, "peak": self.memory.peak, "after": self.memory.after,
                "settled": self.memory.settled.as_secs_f64(),
            },
            "beyond": faults,
        })
    }
}

const HEAD: &str = "\
waits of the honest client in ms (median of the rounds, max of all); the flood: MB/s written, connections/s;
CPU of the server and of the attackers in cores

              ping p50      p99      max    above  send p50     p99      max    above     MB/s   conns/s   cpu  att.";
