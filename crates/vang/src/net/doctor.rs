//! vang net doctor: finds out why a server does not work, step by step.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::doctor::{self, DoctorOptions};

use super::common::{Common, with};
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net doctor localhost:65432            test from the name to the queues, up to the first failure
  vang net doctor chat.example.org:443       works for any server, and detects its kind
  vang net doctor localhost:65432 --explain  with an explanation of each step";

/// Find out why a server does not work: name, route, ICMP, TCP, TLS, kind of server, an exchange, queues
///
/// Stops at the first failing step and prints advice.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: HOST:PORT or [IPV6]:PORT
    #[arg(value_name = "HOST:PORT", value_parser = Target::peer)]
    server: Target,
    /// Time limit of a step
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    wait: Duration,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let options = DoctorOptions { target: args.server, wait: args.wait };
    with(&args.common, |report, stop| doctor::run(&options, report, stop))
}
