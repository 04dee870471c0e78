//! How fast the server is, beside a floor in the same run: what the cheapest program that does the
//! same to the sockets costs. Every server is a process of its own, so that its CPU time can be told
//! apart; one load generator of one thread drives them all in turn, round by round, and the medians
//! are compared.
//!
//! ```text
//! this process: load generator ──sockets──▶ child: vang's server     (its data on this disk)
//!                              ──sockets──▶ child: the floor, or an echo
//! ```
//!
//! `cargo xtask bench`, or `cargo bench -p vang-server --bench load -- [SCENARIO]… [--rounds N]
//! [--seconds S]`; a scenario is one of `fanout`, `fixed`, `idle`, `durable`, `ping`; all by default.
//! `--against PROGRAM`: these, except `idle`, in turns with another build of this bench, as of an older commit
//! (`target/release/deps/load-…` of its worktree).

#[path = "../common/mod.rs"]
mod common; // what the abuse bench needs as well
mod against; // two builds of the server
mod child; // the servers, each as a process
mod clients; // the load generator: cheap connections on one epoll
mod durable; // acknowledged sends
mod fanout; // a large room
mod fixed; // latencies at a fixed rate
mod floor; // the cheapest server
mod frames; // frames of ours and of the floor's: built once, counted by their lengths
mod idle; // connections that say nothing
mod ping; // request and response
mod work; // what a server did, and what that cost it

use std::path::Path;
use std::time::Duration;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long and how often.
pub(crate) struct Plan {
    /// Rounds; medians are printed.
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = args.first().and_then(|arg| arg.strip_prefix("--role=")) {
        return child::play(role, &args[1..]);
    }
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let asked = |name: &str| {
        let known = |arg: &&String| SCENARIOS.iter().any(|(known, ..)| *known == arg.as_str());
        let named: Vec<_> = args.iter().filter(known).collect();
        named.is_empty() || named.iter().any(|arg| *arg == name)
    };
    if let Some(at) = args.iter().position(|arg| arg == "--against") {
        let older = args.get(at + 1).expect("--against needs the path of another build of this bench");
        let rounds = number("--rounds").map_or(7, |rounds| rounds as usize).max(1);
        let round = Duration::from_secs_f64(number("--seconds").unwrap_or(0.25));
        return against::run(&Plan { rounds, round }, Path::new(older), &asked);
    }
    for (name, run, rounds, seconds) in SCENARIOS {
        if asked(name) {
            let rounds = number("--rounds").map_or(*rounds, |rounds| rounds as usize).max(1);
            let round = Duration::from_secs_f64(number("--seconds").unwrap_or(*seconds));
            run(&Plan { rounds, round });
            println!();
        }
    }
}

/// Name, what it does, rounds, seconds of each.
type Scenario = (&'static str, fn(&Plan), usize, f64);

const SCENARIOS: &[Scenario] = &[
    ("fanout", fanout::run, 7, 1.0),
    ("fixed", fixed::run, 5, 4.0),
    ("idle", idle::run, 1, 0.0),
    ("durable", durable::run, 1, 10.0),
    ("ping", ping::run, 7, 1.0),
];
