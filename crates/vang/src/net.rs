//! vang net: the socket workbench. Parses the arguments, gives the tool its `Report` and `Stop`, and turns the result into
//! an exit code: 0 good, 1 bad or failed, 2 wrong usage, 124 timed out.

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
  vang net echo serve --once         send every byte back to one client, such as `vang net echo send`
  vang net stall send --fix          fill both queues of a connection, then drain them
  vang net sockets                   list all sockets, their processes and problems
  vang net resolve localhost 65432   the addresses of a name, and which of them answer
  vang net ping localhost            test whether a host answers, and how fast
  vang net tap --listen :7000 --to localhost:65432
                                     show every message between a client and a server
  vang net decode talk.pcapng        show the conversations and messages in a capture
  vang net doctor localhost:65432    find out why a server does not work
  vang net conform localhost:65432   test whether a server follows the protocol";

const AFTER: &str = "\
Each tool has its own examples: `vang net echo serve --help`. docs/WORKBENCH.md is a course with all tools.

Exit codes: 0 good, 1 a problem was found or an error occurred, 2 wrong usage, 124 timed out.";

/// Test and watch sockets: echo, full queues, states, names, pings, captures
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

/// Options of every tool.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct Common {
    /// Print one JSON object per line instead of text
    #[arg(long)]
    json: bool,
    /// End after this time, as 500ms, 5s or 2m; the summary is still printed
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Explain each step of the sockets
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

/// Runs a tool with its report and stop.
pub(crate) fn with(common: &Common, tool: impl FnOnce(&Report, &Stop) -> Outcome) -> anyhow::Result<()> {
    let report = Report::new(io::stdout(), io::stderr(), common.json, common.explain);
    let stop = Stop::after(common.timeout).and_then(Stop::on_signals);
    let stop = stop.map_err(|error| Failure::new(format!("cannot wait for Ctrl-C: {error}")))?;
    match tool(&report, &stop) {
        Ok(Verdict::Good) => Ok(()),
        // The records already contain the problem.
        Ok(Verdict::Bad) => Err(Failure::new("").into()),
        Ok(Verdict::TimedOut) => Err(Failure::timed_out("timed out").into()),
        Err(cause) => Err(failure(&cause).into()),
    }
}

fn failure(cause: &Cause) -> Failure {
    match cause {
        Cause::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => say::nobody_reads(),
        Cause::Usage(text) => Failure::usage(text),
        Cause::System { trouble, .. } if trouble.name == "timed out" => {
            Failure::timed_out(cause.to_string()).advise(trouble.advice)
        }
        Cause::System { trouble, .. } => Failure::new(cause.to_string()).advise(trouble.advice),
        Cause::Output(_) => Failure::new(cause.to_string()),
    }
}
