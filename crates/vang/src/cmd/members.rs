//! `vang join` and `vang leave`.

use clap::Args;
use vang_proto::terminal::harmless_line;
use vang_proto::vang::Action;

use crate::args::{ClientArgs, about};
use crate::say::print_line;

const JOIN_EXAMPLES: &str = "\
Examples:
  vang join garden --as ada
  vang join cellar --who bob --as ada";

const JOIN_AFTER: &str = "\
Needs an account. Without --as, on the data folder's own socket, the operator adds the account of --who to a public room.";

#[derive(Args, Debug)]
#[command(about = about("join"), before_help = JOIN_EXAMPLES, after_help = JOIN_AFTER)]
pub(crate) struct JoinArgs {
    /// Room to join
    room: String,

    /// The account to add [default: yourself]
    #[arg(long, value_name = "NAME")]
    who: Option<String>,

    #[command(flatten)]
    client: ClientArgs,
}

const LEAVE_EXAMPLES: &str = "\
Examples:
  vang leave garden --as ada
  vang leave cellar --as bob --server unix:/run/vang.sock";

#[derive(Args, Debug)]
#[command(about = about("leave"), before_help = LEAVE_EXAMPLES)]
pub(crate) struct LeaveArgs {
    /// Room to leave
    room: String,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn join(args: &JoinArgs) -> anyhow::Result<()> {
    let action = Action::Join { room: args.room.clone(), who: args.who.clone() };
    let reply = args.client.ask_also_as_operator(&action)?;
    Ok(print_line(&harmless_line(&reply.text))?)
}

pub(crate) fn leave(args: &LeaveArgs) -> anyhow::Result<()> {
    let reply = args.client.ask(&Action::Leave { room: args.room.clone() })?;
    Ok(print_line(&harmless_line(&reply.text))?)
}
