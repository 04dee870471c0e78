//! Stories, and as many random worlds as there is time for.
//!
//! `VANG_SEEDS=20000 VANG_FIRST_SEED=300` for a soak; `SEED=8841` for one of them, with its trace.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vang_sim::{AppendFate, Since, World, whereabouts};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Lives one seed; gives back its trace and what happened in it, or how it failed.
fn live(seed: u64, prints: bool) -> Result<(u64, BTreeMap<&'static str, u64>), String> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::random(seed, prints);
        world.live();
        world.heal();
        world.assert_one_history();
        (world.trace_hash(), world.tally().clone())
    }));
    lived.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let (seed, ms) = whereabouts();
        format!(
            "seed {seed}, t={:.1}s: {}; rerun: SEED={seed} cargo test -p vang-sim --test simulation",
            ms as f64 / 1_000.0,
            text.unwrap_or_default()
        )
    })
}

#[test]
fn sim_random_seeds() {
    if let Ok(seed) = std::env::var("SEED") {
        live(seed.parse().expect("a number"), true).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let (seeds, first) = (number("VANG_SEEDS", 300), number("VANG_FIRST_SEED", 0));
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        match live(seed, false) {
            Ok((_, counts)) => {
                for (what, count) in counts {
                    *tally.entry(what).or_default() += count;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    for (what, count) in &tally {
        eprintln!("{count:>9} {what}");
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{}", failures.len(), failures.join("\n"));
}
