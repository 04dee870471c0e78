//! What one hostile client, twenty, or a thousand can take from everybody else. For each flood an honest
//! client beside it, first at vang's server, then at a floor under the same flood in the same run: a bare
//! epoll echo, which does one `fdatasync` for each durable send. What counts is how much longer the honest
//! client waits *above* the floor: what the machine itself cannot give is nobody's fault.
//!
//! ```text
//! this process: honest client ──127.0.0.1──▶ child: vang's server, or the floor, or a peer
//! child: attackers            ──127.1.x.y──▶
//! ```
//!
//! `cargo bench -p vang-server --bench abuse -- [FILTER]… [--short] [--json] [--seconds S]
//! [--rounds N] [--crowd N]`. A filter is a part of a flood's name; `--list` prints them. `--short`: one
//! round of 2 s. `--crowd`: with so many attackers only. The exit code is 1 when a flood took more than it may.

#[path = "../common/mod.rs"]
mod common; // what the load bench needs as well
mod child; // the processes: server, floor, attackers, peers
mod seed; // the data folder that each server begins with
mod script; // what an attacker does, as data
mod floods; // the table of attacks
mod attack; // the attackers: every script on one epoll
mod floor; // the cheapest server under the same flood
mod honest; // the client whose waits are measured
mod row; // one flood: measured, judged, printed

use std::time::Duration;

use crate::floods::FLOODS;
use crate::row::Bench;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a server's limit `memory` is set to, bytes: as on a machine of 1 GiB, and so small that the floods reach it.
pub(crate) const MEMORY: u64 = 128 << 20;

/// How long, how often, and what else.
pub(crate) struct Plan {
    /// Rounds; medians are printed.
    pub(crate) rounds: usize,
    /// A round at one server.
    pub(crate) round: Duration,
    /// One JSON object a line.
    pub(crate) json: bool,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = args.first().and_then(|arg| arg.strip_prefix("--role=")) {
        return child::play(role, &args[1..]);
    }
    let Asked { plan, crowd, filters } = match read(&args) {
        Ok(asked) => asked,
        Err(mistake) => {
            eprintln!("{mistake}");
            std::process::exit(2);
        }
    };
    raise_open_files();
    let mut bench = Bench::new(plan);
    let mut failed = 0;
    for flood in FLOODS {
        if !(filters.is_empty() || filters.iter().any(|part| flood.name.contains(part.as_str()))) {
            continue;
        }
        for &attackers in flood.crowds.iter().filter(|&&count| crowd.is_none_or(|asked| asked == count)) {
            failed += usize::from(!bench.measure(flood, attackers));
        }
    }
    bench.end();
    if failed > 0 {
        std::process::exit(1);
    }
}

struct Asked {
    plan: Plan,
    crowd: Option<usize>,
    filters: Vec<String>,
}

fn read(args: &[String]) -> Result<Asked, String> {
    let mut plan = Plan { rounds: 5, round: Duration::from_secs(3), json: false };
    let (mut crowd, mut filters) = (None, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            value
                .parse::<f64>()
                .ok()
                .filter(|number| *number > 0.0)
                .ok_or_else(|| format!("{arg} is '{value}'; it must be a number above 0"))
        };
        match arg.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--short" => (plan.rounds, plan.round) = (1, Duration::from_secs(2)),
            "--json" => plan.json = true,
            "--seconds" => plan.round = Duration::from_secs_f64(number()?),
            "--rounds" => plan.rounds = (number()? as usize).max(1),
            "--crowd" => crowd = Some(number()? as usize),
            "--list" => {
                for flood in FLOODS {
                    println!("{:<18} {:<14} {}", flood.name, format!("{:?}", flood.crowds), flood.what);
                }
                std::process::exit(0);
            }
            flag if flag.starts_with('-') => {
                return Err(format!(
                    "no flag {flag}; there are --short, --json, --seconds, --rounds, --crowd, --list"
                ));
            }
            part if FLOODS.iter().any(|flood| flood.name.contains(part)) => filters.push(part.to_owned()),
            part => return Err(format!("no flood has '{part}' in its name; --list prints them")),
        }
    }
    Ok(Asked { plan, crowd, filters })
}

/// A thousand attackers and their server need more files than a process may usually have.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is not allowed the attackers say how many connections they made.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
