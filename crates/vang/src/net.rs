//! vang net: the socket workbench. One file a tool parses its arguments and runs it (`common.rs`).

mod common; // what every tool has: options, report, stop, exit code
mod echo; // vang net echo
mod talk; // vang net talk
mod stall; // vang net stall
mod sockets; // vang net sockets
mod resolve; // vang net resolve
mod ping; // vang net ping
mod tap; // vang net tap
mod capture; // vang net capture
mod decode; // vang net decode
mod bytes; // vang net bytes
mod doctor; // vang net doctor
mod conform; // vang net conform
mod fuzz; // vang net fuzz

use clap::{Args as ClapArgs, Subcommand};

const EXAMPLES: &str = "\
Examples:
  vang net echo serve --once         send every byte back to one client, such as `vang net echo send`
  vang net talk localhost 65432      type to a server and see what comes, as with nc
  vang net stall send --fix          fill both queues of a connection, then drain them
  vang net sockets                   list all sockets, their processes and problems
  vang net resolve localhost 65432   the addresses of a name, and which of them answer
  vang net ping localhost            test whether a host answers, and how fast
  vang net tap --listen :7000 --to localhost:65432
                                     show every message between a client and a server
  vang net capture --port 65432      capture packets: conversations and messages as they come
  vang net decode talk.pcapng        show the conversations and messages in a capture
  vang net bytes 512                 a number in both byte orders, a text in any encoding
  vang net doctor localhost:65432    find out why a server does not work
  vang net conform localhost:65432   test whether a server follows the protocol
  vang net fuzz localhost:65432      test whether your own server survives wrong input";

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
    Talk(Box<talk::Args>),
    Stall(stall::Args),
    Sockets(sockets::Args),
    Resolve(resolve::Args),
    Ping(ping::Args),
    Tap(Box<tap::Args>),
    Capture(capture::Args),
    Decode(decode::Args),
    Bytes(bytes::Args),
    Doctor(doctor::Args),
    Conform(conform::Args),
    Fuzz(fuzz::Args),
}

pub(crate) fn run(args: NetArgs) -> anyhow::Result<()> {
    match args.tool {
        Tool::Echo(args) => echo::run(args),
        Tool::Talk(args) => talk::run(*args),
        Tool::Stall(args) => stall::run(args),
        Tool::Sockets(args) => sockets::run(args),
        Tool::Resolve(args) => resolve::run(args),
        Tool::Ping(args) => ping::run(args),
        Tool::Tap(args) => tap::run(*args),
        Tool::Capture(args) => capture::run(args),
        Tool::Decode(args) => decode::run(args),
        Tool::Bytes(args) => bytes::run(args),
        Tool::Doctor(args) => doctor::run(args),
        Tool::Conform(args) => conform::run(args),
        Tool::Fuzz(args) => fuzz::run(args),
    }
}
