//! vang net fuzz: sends wrong input to one's own server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::fuzz::{self, FuzzOptions, FuzzProtocol};

use super::common::{Common, with};
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net fuzz localhost:65432                wrong messages, lines, HTTP, WebSocket frames
  vang net fuzz localhost:65432 --protocol message
                                               only messages of the tutorial's protocol
  vang net fuzz localhost:65432 --seed 7       the same bytes each time
  vang net fuzz localhost:65432 --seed 7 --first 212 --cases 1
                                               one of those cases again
  vang net fuzz localhost:65432 --cases 100000 --rate 1000 --timeout 10m";

const AFTER: &str = "\
Most cases are right except in one place: a length, a header, an encoding, a byte order; or they are cut, joined, or sent byte \
by byte. After each an honest client asks whether the server still answers. If it does not, what was sent last is printed and \
saved in a file that `nc` and `vang net talk` can send again.

Send wrong input only to a server of your own: it can end it, and fill its disk and its log. On a chat server \
some of it is posted and stays there. Use a server with test data, or take a copy first.

Exit codes: 0 the server survived, 1 it stopped answering, 2 wrong usage, 124 timed out.";

/// Send wrong input to your own server, and test that it survives
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// The server: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(value_name = "HOST:PORT", value_parser = Target::peer)]
    server: Target,
    /// Protocol of the wrong input
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = ["message", "lines", "http", "websocket", "all"])]
    protocol: String,
    /// The cases of this seed [default: random, and printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of the first case
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first: u64,
    /// Number of cases
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    cases: u64,
    /// Most cases in a second
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long an honest client waits for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    wait: Duration,
    /// The server is mine, although its address is public
    #[arg(long)]
    my_server: bool,
    /// The folder for the bytes that ended the server
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    save: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let chosen = |protocol: &FuzzProtocol| args.protocol == "all" || args.protocol == protocol.name();
    let options = FuzzOptions {
        target: args.server,
        protocols: FuzzProtocol::ALL.into_iter().filter(chosen).collect(),
        seed: args.seed,
        first: args.first,
        cases: args.cases,
        rate: args.rate,
        wait: args.wait,
        is_mine: args.my_server,
        save: args.save,
    };
    with(&args.common, |report, stop| fuzz::run(&options, report, stop))
}
