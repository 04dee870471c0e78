//! `vang request`: a client for any server that speaks the tutorial's protocol (docs/PROTOCOL.md).

use std::time::Duration;

use clap::Args;
use vang_client::guide::Response;
use vang_client::{Deadline, ServerAddr};
use vang_proto::terminal::harmless;

use crate::args::parse_time;
use crate::say::{CommandError, print, print_line, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang request 127.0.0.1:65432 search morpheus
  vang request 127.0.0.1 65432 double hello       HOST PORT or HOST:PORT";

/// Send a request to a server that speaks the tutorial's protocol, and print the answer
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct RequestArgs {
    /// Address of the server
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddr::parse)]
    server: ServerAddr,

    /// `search` sends its value as JSON, any other action as bytes
    action: String,

    /// The value to send
    #[arg(allow_hyphen_values = true)]
    value: String,

    /// When to give up: 200ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    timeout: Duration,
}

pub(crate) fn run(args: &RequestArgs) -> anyhow::Result<()> {
    let deadline = Deadline::after(args.timeout);
    match vang_client::guide::request(&args.server, &args.action, &args.value, deadline)
        .map_err(CommandError::from)?
    {
        Response::Result(text) if to_terminal() => print_line(&harmless(&text))?,
        Response::Result(text) => print_line(&text)?,
        Response::Binary(bytes) if to_terminal() => print_line(&harmless(&String::from_utf8_lossy(&bytes)))?,
        // Unchanged bytes, without a line end: another program reads them.
        Response::Binary(bytes) => print(&bytes)?,
    }
    Ok(())
}
