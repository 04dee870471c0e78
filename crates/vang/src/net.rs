//! vang net: the socket workbench. Parses what was typed, gives the tool its `Report` and `Stop`, turns what came of it
//! into an exit code: 0 good, 1 not as it should be or failed, 2 wrong usage, 124 timed out.

mod echo; // vang net echo
mod stall; // vang net stall
mod sockets; // vang net sockets
mod resolve; // vang net resolve
mod ping; // vang net ping
mod tap; // vang net tap
mod decode; // vang net decode
mod doctor; // vang net doctor
mod conform; // vang net conform

use std::io;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use vang_nettools::{Failure as Cause, Outcome, Report, Stop, Verdict};

use crate::args::parse_time;
use crate::say::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  vang net echo serve --once         give one client every byte back; `vang net echo send` is one
  vang net stall send --fix          fill both queues of a connection, then let them drain
  vang net sockets                   every socket, whose it is, what is wrong with it
  vang net resolve localhost 65432   what the name stands for, and which address answers
  vang net ping localhost            is it there, and how far is it
  vang net tap --listen :7000 --to localhost:65432
                                     every message as it passes
  vang net decode talk.pcapng        the conversations and messages in a capture
  vang net doctor localhost:65432    what is the matter with a server
  vang net conform localhost:65432   does it speak the protocol?";

const AFTER: &str = "\
Each tool has examples of its own: `vang net echo serve --help`. docs/WORKBENCH.md is a course of all of them, a \
section for each thing that sockets do.

Exit codes: 0 all is well, 1 something is not or failed, 2 wrong usage, 124 timed out.";

/// See what sockets do: echo, full queues, states, names, pings, captures
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER, arg_required_else_help = true)]
pub(crate) struct NetArgs {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand, Debug)]
enum Tool {
    Echo(echo::Args),
    Stall(stall::Args),
    Sockets(sockets::Args),
    Resolve(resolve::Args),
    Ping(ping::Args),
    Tap(Box<tap::Args>),
    Decode(decode::Args),
    Doctor(doctor::Args),
    Conform(conform::Args),
}

/// Of every tool.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct Common {
    /// An object a line instead of text
    #[arg(long)]
    json: bool,
    /// End after this time, as 500ms, 5s or 2m; the summary is still told
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Narrate what the sockets do
    #[arg(long)]
    explain: bool,
}

pub(crate) fn run(args: NetArgs) -> anyhow::Result<()> {
    match args.tool {
        Tool::Echo(args) => echo::run(args),
        Tool::Stall(args) => stall::run(args),
        Tool::Sockets(args) => sockets::run(args),
        Tool::Resolve(args) => resolve::run(args),
        Tool::Ping(args) => ping::run(args),
        Tool::Tap(args) => tap::run(*args),
        Tool::Decode(args) => decode::run(args),
        Tool::Doctor(args) => doctor::run(args),
        Tool::Conform(args) => conform::run(args),
    }
}

/// A port to connect to.
fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("not a port; ports are 1 to 65535".to_owned()),
    }
}

/// Runs a tool with what every tool needs.
pub(crate) fn with(common: &Common, tool: impl FnOnce(&Report, &Stop) -> Outcome) -> anyhow::Result<()> {
    let report = Report::new(io::stdout(), io::stderr(), common.json, common.explain);
    let stop = Stop::after(common.timeout).and_then(Stop::on_signals);
    let stop = stop.map_err(|error| Failure::new(format!("cannot wait for Ctrl-C: {error}")))?;
    match tool(&report, &stop) {
        Ok(Verdict::Good) => Ok(()),
        // The records have said what is the matter.
        Ok(Verdict::Bad) => Err(Failure::new("").into()),
        Ok(Verdict::TimedOut) => Err(Failure::timed_out("timed out").into()),
        Err(cause) => Err(failure(&cause).into()),
    }
}

fn failure(cause: &Cause) -> Failure {
    match cause {
        Cause::Untold(error) if error.kind() == io::ErrorKind::BrokenPipe => say::nobody_reads(),
        Cause::Usage(text) => Failure::usage(text),
        Cause::System { trouble, .. } if trouble.name == "timed out" => {
            Failure::timed_out(cause.to_string()).advise(trouble.advice)
        }
        Cause::System { trouble, .. } => Failure::new(cause.to_string()).advise(trouble.advice),
        Cause::Untold(_) => Failure::new(cause.to_string()),
    }
}
