//! vang net sockets: lists the sockets of this machine, their processes and problems.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::diag::{Protocol, State};
use vang_nettools::sockets::{self, SocketsOptions};

use super::common::{Common, parse_port, with};
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net sockets                            TCP and UDP, problems first
  vang net sockets --port 65432               only this port, with totals of bytes and packets
  vang net sockets --details --tcp            congestion control, windows and times of each connection, as `ss -ti`
  vang net sockets --state listen             listeners and their accept queues
  vang net sockets --process vang --watch     changes, every second: also of the totals
  vang net sockets --unix --trouble           Unix sockets with problems";

const AFTER: &str = "\
Exit codes: 0 no problem in the list, 1 a problem, 2 wrong usage.";

/// List all sockets: state, queues, process, timers, problems
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// TCP sockets [default: TCP and UDP]
    #[arg(long)]
    tcp: bool,
    /// UDP sockets
    #[arg(long)]
    udp: bool,
    /// Unix-domain sockets
    #[arg(long)]
    unix: bool,
    /// Only this local or peer port (can be repeated)
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    port: Vec<u16>,
    /// Only this process, by PID or name, also without its version: `python` finds python3.13 (can be repeated)
    #[arg(long, value_name = "PID|NAME")]
    process: Vec<String>,
    /// Only this state, as `listen`, `established` or `time-wait` (can be repeated)
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Only sockets with a problem
    #[arg(long)]
    trouble: bool,
    /// More of each TCP connection: congestion control, windows, round trips, retransmissions
    #[arg(long, short)]
    details: bool,
    /// Print changes, every second or at this interval
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s", value_parser = parse_time)]
    watch: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

fn state(typed: &str) -> Result<State, String> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(typed);
    // Also as `ss` has them.
    let wanted = match wanted.as_str() {
        "estab" | "connected" => "established",
        "synrecv" => "synreceived",
        "listening" => "listen",
        "unconn" => "unconnected",
        other => other,
    };
    State::ALL.into_iter().find(|state| plain(state.name()) == wanted).ok_or_else(|| {
        let names: Vec<&str> = State::ALL.into_iter().map(State::name).collect();
        format!("unknown state; use one of {}", names.join(", "))
    })
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let kinds = [(args.tcp, Protocol::Tcp), (args.udp, Protocol::Udp), (args.unix, Protocol::Unix)];
    let options = SocketsOptions {
        protocols: kinds.into_iter().filter_map(|(wanted, kind)| wanted.then_some(kind)).collect(),
        states: args.state,
        ports: args.port,
        processes: args.process,
        only_trouble: args.trouble,
        details: args.details,
        watch: args.watch,
    };
    with(&args.common, |report, stop| sockets::run(&options, report, stop))
}
