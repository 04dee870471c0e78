//! vang net doctor: what is the matter with a server, step by step.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::doctor::{self, Asked};

use super::Common;
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net doctor localhost:65432            from the name to the queues, or to the first step that fails
  vang net doctor chat.example.org:443       works for any server; says what it is
  vang net doctor localhost:65432 --explain  with what the sockets do";

/// Find out what is the matter with a server: name, route, ICMP, TCP, TLS, what it is, an exchange, its queues
///
/// Stops at the first step that fails and says what to try.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: HOST:PORT or [IPV6]:PORT
    #[arg(value_name = "HOST:PORT")]
    server: Target,
    /// How long a step may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    wait: Duration,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let asked = Asked { target: args.server, wait: args.wait };
    super::with(&args.common, |report, stop| doctor::run(&asked, report, stop))
}
