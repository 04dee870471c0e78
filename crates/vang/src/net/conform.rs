//! vang net conform: does a server, or a client, speak the protocol?

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::conform::{self, Asked, Choice, Profile};

use super::Common;

const EXAMPLES: &str = "\
Examples:
  vang net conform localhost:65432                  judge a server: every vector, whole and byte by byte
  vang net conform localhost:65432 --as guide       as a server of the guide, which knows one exchange
  vang net conform localhost:65432 --only search    only the cases with this in their name
  vang net conform localhost:65432 --skip encodings/ --skip values/
                                                    not what it does not claim
  vang net conform localhost:65432 --post trial     posting and following as well: messages stay in #trial
  vang net conform --listen 127.0.0.1:7000          judge a client: run it once for each case
  vang net conform --listen :7000 --only silence    one that nobody answers: does it end?";

/// Judge a server, or a client, by the protocol's vectors
///
/// Nothing is posted in any room, unless --post names one. Keys may stand in another order, and an error may be told in other words.
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
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// No cases with this in their name: what is not claimed; may be repeated
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Judge posting and following too, in this room of a vang server; the messages stay there
    #[arg(long, value_name = "ROOM", conflicts_with = "listen")]
    post: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let profile =
        args.profile.as_deref().map(|name| if name == "vang" { Profile::Vang } else { Profile::Guide });
    let choice = Choice { only: args.only, skip: args.skip };
    super::with(&args.common, |report, stop| match (args.listen, args.server) {
        (Some(listen), _) => conform::client::run(&listen, &choice, report, stop),
        (None, Some(target)) => {
            conform::run(&Asked { target, profile, choice, post: args.post }, report, stop)
        }
        (None, None) => Err(vang_nettools::Failure::Usage("a server, or --listen".to_owned())),
    })
}
