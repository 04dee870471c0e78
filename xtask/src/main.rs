//! `cargo xtask`: everything one does to vang that is not writing it: test, soak, bench.
//!
//! `cargo xtask test` is the project's one test command; continuous integration runs nothing else.
//! It is a row of steps (`steps.rs`), cheapest first, each of which also runs alone. A step passes,
//! fails, or says in the last line that it could not look. There is no flag that leaves one out.

mod args; // what was asked: the command line, its help, its mistakes
mod steps; // the row of steps of `test`: their order, headings, durations, the verdict
mod run; // other programs: started at the workspace's root, their answers or their failure
mod tools; // step `tools`: what the tests need on this machine, installed or named
mod metadata; // what `cargo metadata` knows of our crates and everything below them
mod house; // step `house`: which crate may know which, and where dependencies may come from
mod spdx; // licence expressions: `(MIT OR Apache-2.0) AND Unicode-3.0`
mod licences; // step `licences`: every expression against the list in `deny.toml`
mod advisories; // step `advisories`: known vulnerabilities, where a tool and its database are at hand
mod suite; // step `test`: `cargo test`, passed through and counted
mod autobahn; // of `soak`: a fuzzing client against our WebSockets
mod long; // `soak` and `bench`: the same tests for longer, and the measurements

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::args::Request;

fn main() -> ExitCode {
    let request = match args::parse(env::args().skip(1)) {
        Ok(request) => request,
        Err(mistake) => {
            eprintln!("xtask: {mistake} (see `cargo xtask --help`)");
            return ExitCode::from(2);
        }
    };
    match perform(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(request: &Request) -> Result<()> {
    if let Request::Help = request {
        print!("{}", args::help());
        return Ok(());
    }
    // Cargo says where this package lies: the caller may stand in any folder of the workspace, or in
    // a nested one with a workspace of its own.
    let here = env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo: run it as `cargo xtask`")?;
    let root = Path::new(&here).parent().context("the xtask package has no folder above it")?;
    env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))?;

    match request {
        Request::Help => Ok(()),
        Request::Test { passed_on } => steps::all(passed_on),
        Request::Step { step, passed_on } => steps::one(step, passed_on),
        Request::Soak { minutes } => long::soak(*minutes),
        Request::Bench { passed_on } => long::bench(passed_on),
    }
}
