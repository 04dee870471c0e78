//! vang net resolve: what a name stands for, and which of its addresses answers.

use clap::Args as ClapArgs;
use vang_nettools::resolve::{self, Asked};

use super::Common;

const EXAMPLES: &str = "\
Examples:
  vang net resolve localhost             the addresses behind a name, in the resolver's order
  vang net resolve localhost 65432       connects to each as well
  vang net resolve '' 65432              what an empty host stands for";

/// Show what a name stands for, in the resolver's order, and which address answers
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A name or an address; '' is what an empty host stands for
    host: String,
    /// Connect to each address at this port
    #[arg(value_parser = super::parse_port)]
    port: Option<u16>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let asked = Asked { host: args.host, port: args.port };
    super::with(&args.common, |report, stop| resolve::run(&asked, report, stop))
}
