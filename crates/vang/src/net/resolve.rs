//! vang net resolve: shows the addresses of a name, and which of them answer.

use clap::Args as ClapArgs;
use vang_nettools::resolve::{self, ResolveOptions};
use vang_proto::address::{AddressError, host_and_port};

use super::common::{Common, parse_port, with};
use crate::say::CommandError;

const EXAMPLES: &str = "\
Examples:
  vang net resolve localhost             the addresses of a name, in the resolver's order
  vang net resolve localhost 65432       also connects to each
  vang net resolve '' 65432              what an empty host means";

/// Show the addresses of a name in the resolver's order, and which of them answer
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A name or an address, also as HOST:PORT; '' shows what an empty host means
    #[arg(value_name = "HOST", value_parser = parse_host)]
    host: (String, Option<u16>),
    /// Connect to each address at this port
    #[arg(value_parser = parse_port)]
    port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let (host, port) = args.host;
    if let (Some(one), Some(other)) = (port, args.port) {
        let text = format!("two ports are given, {one} and {other}; write HOST:PORT or HOST PORT");
        return Err(CommandError::usage(text).into());
    }
    let options = ResolveOptions { host, port: port.or(args.port) };
    with(&args.common, |report, stop| resolve::run(&options, report, stop))
}

fn parse_host(text: &str) -> Result<(String, Option<u16>), AddressError> {
    host_and_port(text).map(|(host, port)| (host.to_owned(), port))
}
