//! vang net resolve: shows the addresses of a name, and which of them answer.

use clap::Args as ClapArgs;
use vang_nettools::resolve::{self, ResolveOptions};

use super::common::{Common, parse_port, with};

const EXAMPLES: &str = "\
Examples:
  vang net resolve localhost             the addresses of a name, in the resolver's order
  vang net resolve localhost 65432       also connects to each
  vang net resolve '' 65432              what an empty host means";

/// Show the addresses of a name in the resolver's order, and which of them answer
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A name or an address; '' shows what an empty host means
    host: String,
    /// Connect to each address at this port
    #[arg(value_parser = parse_port)]
    port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let options = ResolveOptions { host: args.host, port: args.port };
    with(&args.common, |report, stop| resolve::run(&options, report, stop))
}
