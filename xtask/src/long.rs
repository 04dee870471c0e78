//! `soak`: the same tests with larger numbers. `bench`: the measurements.
//!
//! There is no second set of slow tests: each test reads its size from the environment, and its default is
//! small. So `soak` runs the same tests as every day.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::steps::human;
use crate::{autobahn, dist, run, suite};

/// Simulated histories per round; about seventeen times the default of the tests.
const SEEDS: u64 = 5_000;
/// How often a round kills a working server.
const KILLS: u64 = 100;
/// Time for each fuzz target per round.
const FUZZ_SECONDS: u64 = 60;

/// One round, or with `minutes` as many as begin before this time has passed. Each round has different seeds;
/// a failing test names its seed.
pub(crate) fn soak(minutes: Option<u64>) -> Result<()> {
    let started = Instant::now();
    autobahn::check()?;
    eprintln!("\n== dist: what users get, built and tried out");
    dist::build()?;
    let until = Duration::from_secs(60 * minutes.unwrap_or(0));
    let mut round = 0;
    loop {
        let settings = settings(round);
        let shown: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        round += 1;
        eprintln!("\n== soak, round {round}: {} cargo test --workspace --locked", shown.join(" "));
        let begun = Instant::now();
        suite::cargo_test(&[], &settings).with_context(|| {
            format!("soak, round {round} failed (again: `{} cargo test --workspace`)", shown.join(" "))
        })?;
        eprintln!("   ok, {}", human(begun.elapsed()));
        if started.elapsed() >= until {
            break;
        }
    }
    let rounds = if round == 1 { "round" } else { "rounds" };
    eprintln!("\n{round} {rounds} of soak passed in {}", human(started.elapsed()));
    Ok(())
}

fn settings(round: u64) -> [(&'static str, String); 4] {
    [
        ("VANG_FIRST_SEED", (round * SEEDS).to_string()),
        ("VANG_SEEDS", SEEDS.to_string()),
        ("VANG_KILLS", KILLS.to_string()),
        ("VANG_FUZZ_SECONDS", FUZZ_SECONDS.to_string()),
    ]
}

/// Package and name of every bench.
const BENCHES: &[(&str, &str)] = &[
    ("vang-proto", "codec"),
    ("vang-server", "load"),
    ("vang-view", "find"),
    ("vang-nettools", "decode"),
    ("vang-nettools", "echo"),
];

/// Builds in release and measures; `passed_on` goes to each bench.
pub(crate) fn bench(passed_on: &[String]) -> Result<()> {
    for (package, bench) in BENCHES {
        let mut cargo = run::command("cargo");
        cargo.args(["bench", "--locked", "-p", package, "--bench", bench, "--"]).args(passed_on);
        eprintln!("\n== {}", run::line(&cargo));
        run::through(&mut cargo)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soak_rounds_use_disjoint_seeds() {
        assert_eq!(settings(0)[0], ("VANG_FIRST_SEED", "0".to_owned()));
        assert_eq!(settings(2)[0], ("VANG_FIRST_SEED", "10000".to_owned()));
    }
}
