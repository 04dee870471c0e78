//! The steps of `cargo xtask test`: cheapest first; the first failure ends it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::outcome::Outcome;
use crate::{advisories, house, licences, package, run, suite, tools};

/// One check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Only the step `test` uses the arguments for cargo; `args.rs` refuses them for the others.
    run: fn(&[String]) -> Result<Outcome>,
}

/// Every step, in order.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "tools", what: "what the tests need on this machine", run: |_| tools::check() },
    Step { name: "fmt", what: "the code is formatted", run: |_| fmt() },
    Step {
        name: "house",
        what: "crates depend only on crates below them, no two files use each other, dependencies are from crates.io",
        run: |_| house::check(),
    },
    Step {
        name: "licences",
        what: "every dependency's licence is on the list in deny.toml",
        run: |_| licences::check(),
    },
    Step {
        name: "package",
        what: "the package of vang-proto has its README and licences, and no tests",
        run: |_| package::check(),
    },
    Step {
        name: "advisories",
        what: "no dependency has a known vulnerability (needs cargo-deny or cargo-audit)",
        run: |_| advisories::check(),
    },
    Step { name: "clippy", what: "no warning from the compiler or clippy", run: |_| clippy() },
    Step { name: "doc", what: "the documentation builds without a warning", run: |_| doc() },
    Step { name: "test", what: "every test of the workspace", run: |words| suite::check(words) },
];

/// Runs every step.
pub(crate) fn all(passed_on: &[String]) -> Result<()> {
    let started = Instant::now();
    let mut not_checked = Vec::new();
    for (i, step) in STEPS.iter().enumerate() {
        let heading = format!("{}/{} {}", i + 1, STEPS.len(), step.name);
        if let Outcome::NotChecked(why) = timed(step, &heading, passed_on)? {
            not_checked.push(format!("{} NOT checked: {why}", step.name));
        }
    }
    let passed = STEPS.len() - not_checked.len();
    eprintln!("\n{passed} of {} steps passed in {}", STEPS.len(), human(started.elapsed()));
    for line in not_checked {
        eprintln!("{line}");
    }
    Ok(())
}

/// Runs one step alone.
pub(crate) fn one(step: &Step, passed_on: &[String]) -> Result<()> {
    timed(step, step.name, passed_on).map(|_| ())
}

fn timed(step: &Step, heading: &str, passed_on: &[String]) -> Result<Outcome> {
    eprintln!("\n== {heading}: {}", step.what);
    let started = Instant::now();
    let outcome = (step.run)(passed_on);
    let took = human(started.elapsed());
    match &outcome {
        Ok(Outcome::Passed) => eprintln!("   ok, {took}"),
        Ok(Outcome::NotChecked(why)) => eprintln!("   NOT checked: {why}"),
        Err(_) => eprintln!("   FAILED, {took}"),
    }
    outcome.with_context(|| {
        let name = step.name;
        format!("step `{name}` failed (alone: `cargo xtask step {name}`)")
    })
}

fn fmt() -> Result<Outcome> {
    run::cargo(["fmt", "--all", "--check"])
        .context("not formatted as rustfmt.toml says (`cargo fmt --all` does it)")?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    run::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    Ok(Outcome::Passed)
}

fn doc() -> Result<Outcome> {
    // After clippy: both check the dependencies without generating code, and share the results.
    let mut cargo = run::command("cargo");
    cargo.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-Dwarnings");
    run::through(&mut cargo)?;
    Ok(Outcome::Passed)
}

/// `0.4 s`, `52.0 s`, `3 min 07 s`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}
