//! vang net conform: does a server, or a client, speak the protocol?

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::conform::{self, Asked, Profile};

use super::Common;

const EXAMPLES: &str = "\
Examples:
  vang net conform localhost:65432                  judge a server: every vector, whole and byte by byte
  vang net conform localhost:65432 --as guide       as a server of the guide, which knows one exchange
  vang net conform localhost:65432 --only search    only the cases with this in their name
  vang net conform localhost:65432 --skip encodings/ --skip values/
                                                    not what it does not claim
  vang net conform --listen 127.0.0.1:7000          judge a client: run it once for each case";

/// Judge a server, or a client, by the protocol's vectors
///
/// Nothing is posted in any room. Keys may stand in another order, and an error may be told in other words.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(value_name = "HOST:PORT", required_unless_present = "listen", conflicts_with = "listen")]
    server: Option<Target>,
    /// Judge clients that connect here instead
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<Target>,
    /// As what the server is judged; found out if not given
    #[arg(long = "as", value_name = "WHAT", value_parser = ["guide", "vang"], conflicts_with = "listen")]
    profile: Option<String>,
    /// Only cases with this in their name, as in guide/search-dog; may be repeated
    #[arg(long, value_name = "TEXT", conflicts_with = "listen")]
    only: Vec<String>,
    /// No cases with this in their name: what the server does not claim; may be repeated
    #[arg(long, value_name = "TEXT", conflicts_with = "listen")]
    skip: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let profile =
        args.profile.as_deref().map(|name| if name == "vang" { Profile::Vang } else { Profile::Guide });
    super::with(&args.common, |report, stop| match (args.listen, args.server) {
        (Some(listen), _) => conform::client::run(&listen, report, stop),
        (None, Some(target)) => {
            conform::run(&Asked { target, profile, only: args.only, skip: args.skip }, report, stop)
        }
        (None, None) => Err(vang_nettools::Failure::Usage("a server, or --listen".to_owned())),
    })
}
