//! `cargo xtask`: the project's commands: test, fix, bless, sim, soak, bench, dist.
//!
//! `cargo xtask test` is the one test command; continuous integration runs nothing else. It is a row of
//! steps (`steps.rs`), cheapest first; each can run alone. A step passes, fails, or says in the last line why
//! it could not check. No flag omits a step.

mod args; // the command line, its help, its errors
mod steps; // the steps of `test` in their order, with headings, durations and results
mod outcome; // the result of a step
mod run; // starts other programs at the workspace's root
mod tools; // step `tools`: what the tests need on this machine, installed or named
mod metadata; // the output of `cargo metadata`: our crates and all their dependencies
mod house; // step `house`: which crate may depend on which, and where dependencies come from
mod rust; // the workspace's Rust files as tokens
mod circles; // of `house`: no file uses a file that uses it
mod error_names; // of `house`: public error types end in `Error`
mod type_names; // of `house`: a crate has no two public types of one name
mod licences; // step `licences`: every licence expression against the list in `deny.toml`
mod package; // step `package`: what the published package of vang-proto contains
mod advisories; // step `advisories`: known vulnerabilities, if a tool and its database are available
mod suite; // step `test`: `cargo test`, passed through and counted
mod autobahn; // of `soak`: a fuzzing client against our WebSockets
mod upkeep; // `fix`, `bless`, `sim`: small commands for daily work
mod dist; // `dist`: archive, Debian package and container file
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
    // Cargo tells where this package is: the caller's folder can be any folder of the workspace, or a nested
    // workspace.
    let here = env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo: run it as `cargo xtask`")?;
    let root = Path::new(&here).parent().context("the xtask package has no folder above it")?;
    env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))?;

    match request {
        Request::Help => Ok(()),
        Request::Test { passed_on } => steps::all(passed_on),
        Request::Step { step, passed_on } => steps::one(step, passed_on),
        Request::Fix => upkeep::fix(),
        Request::Bless => upkeep::bless(),
        Request::Sim { seed } => upkeep::sim(*seed),
        Request::Soak { minutes } => long::soak(*minutes),
        Request::Bench { passed_on } => long::bench(passed_on),
        Request::Dist => dist::build(),
    }
}
