//! vang net conform: tests whether a server or client follows the protocol.

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::conform::{self, Choice, ConformOptions, Profile};

use super::common::{Common, with};

const EXAMPLES: &str = "\
Examples:
  vang net conform localhost:65432                  test a server with every vector, whole and byte by byte
  vang net conform localhost:65432 --as guide       as a tutorial server, which knows one exchange
  vang net conform localhost:65432 --only search    only the cases with this in their name
  vang net conform localhost:65432 --skip encodings/ --skip values/
                                                    without features that it does not have
  vang net conform localhost:65432 --post trial     also posting and following: messages stay in #trial
  vang net conform --listen 127.0.0.1:7000          test a client: run it once for each case
  vang net conform --listen :7000 --only silence    does the client end without an answer?";

/// Test whether a server or client follows the protocol
///
/// Nothing is posted in a room, except with --post. The order of keys and the text of errors can differ.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(value_name = "HOST:PORT", required_unless_present = "listen", conflicts_with = "listen", value_parser = Target::peer)]
    server: Option<Target>,
    /// Test clients that connect here instead
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<Target>,
    /// Kind of server [default: detected]
    #[arg(long = "as", value_name = "WHAT", value_parser = ["guide", "vang"], conflicts_with = "listen")]
    profile: Option<String>,
    /// Only cases with this in their name, as in guide/search-dog (can be repeated)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// No cases with this in their name (can be repeated)
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Also test posting and following in this room of a vang server; the messages stay there
    #[arg(long, value_name = "ROOM", conflicts_with = "listen")]
    post: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let profile =
        args.profile.as_deref().map(|name| if name == "vang" { Profile::Vang } else { Profile::Guide });
    let choice = Choice { only: args.only, skip: args.skip };
    with(&args.common, |report, stop| match (args.listen, args.server) {
        (Some(listen), _) => conform::client::run(&listen, &choice, report, stop),
        (None, Some(target)) => {
            conform::run(&ConformOptions { target, profile, choice, post: args.post }, report, stop)
        }
        (None, None) => Err(vang_nettools::ToolError::Usage("give a server, or --listen".to_owned())),
    })
}
