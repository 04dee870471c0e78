//! `fix`, `bless` and `sim`: small commands for daily work.

use anyhow::Result;

use crate::{run, suite};

/// Formats the code and applies clippy's suggestions, also to files that are not committed yet.
pub(crate) fn fix() -> Result<()> {
    let allow = ["--allow-dirty", "--allow-staged"];
    let clippy = ["clippy", "--fix", "--workspace", "--all-targets", "--locked"];
    run::cargo(clippy.into_iter().chain(allow))?;
    // After clippy, whose suggestions are not formatted.
    run::cargo(["fmt", "--all"])
}

/// Tests that compare with golden files, and write them with `VANG_BLESS=1`: package and test.
const BLESSED: &[(&str, &str)] = &[
    ("vang-chat", "transcripts"),
    ("vang-chat", "permissions"),
    ("vang-chat", "properties"),
    ("vang-journal", "golden"),
    ("vang-hub", "transcripts"),
    // Behind the journal's: it replays that file.
    ("vang-hub", "golden"),
    ("vang", "mistakes"),
];

/// Writes all golden files from what the program does now, and lists the changed ones.
pub(crate) fn bless() -> Result<()> {
    for (package, test) in BLESSED {
        let words = ["-p", package, "--test", test].map(str::to_owned);
        suite::cargo_test(&words, &[("VANG_BLESS", "1".to_owned())])?;
    }
    eprintln!("\nreview what changed before you commit it:");
    run::through(run::command("git").args(["diff", "--stat"]))
}

/// Runs one seed of the simulation with its trace, or all that the tests run.
pub(crate) fn sim(seed: Option<u64>) -> Result<()> {
    let words = ["-p", "vang-sim", "--test", "simulation", "--", "sim_random_seeds", "--nocapture"];
    let seed: Vec<_> = seed.map(|seed| ("VANG_SEED", seed.to_string())).into_iter().collect();
    suite::cargo_test(&words.map(str::to_owned), &seed)
}
