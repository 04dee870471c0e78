//! vang net sockets: every socket of this machine, whose it is, and what is wrong with it.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::diag::{Protocol, State};
use vang_nettools::sockets::{self, Asked};

use super::Common;
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net sockets                            TCP and UDP, those in trouble first
  vang net sockets --port 65432               whatever has to do with this port
  vang net sockets --state listen             who listens, and how many wait to be accepted
  vang net sockets --process vang --watch     what changes, every second
  vang net sockets --unix --trouble           Unix sockets that are in trouble";

const AFTER: &str = "\
Exit codes: 0 nothing is wrong with what is shown, 1 something is, 2 wrong usage.";

/// Show every socket: its state, queues, owner, timers, and what is wrong with it
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// TCP sockets (without any of the three: TCP and UDP)
    #[arg(long)]
    tcp: bool,
    /// UDP sockets
    #[arg(long)]
    udp: bool,
    /// Unix-domain sockets
    #[arg(long)]
    unix: bool,
    /// Only with this port, their own or the other side's; may be repeated
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
    /// Only of this process, by number or name; may be repeated
    #[arg(long, value_name = "PID|NAME")]
    process: Vec<String>,
    /// Only in this state, as `listen`, `established` or `time-wait`; may be repeated
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Only those with which something is wrong
    #[arg(long)]
    trouble: bool,
    /// Go on, and tell what changes, looking each second or after this time
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
        format!("no such state; there are {}", names.join(", "))
    })
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let kinds = [(args.tcp, Protocol::Tcp), (args.udp, Protocol::Udp), (args.unix, Protocol::Unix)];
    let asked = Asked {
        protocols: kinds.into_iter().filter_map(|(wanted, kind)| wanted.then_some(kind)).collect(),
        states: args.state,
        ports: args.port,
        processes: args.process,
        only_trouble: args.trouble,
        watch: args.watch,
    };
    super::with(&args.common, |report, stop| sockets::run(&asked, report, stop))
}
