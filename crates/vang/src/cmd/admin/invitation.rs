//! `vang admin invitation`: invitations of the server.

use clap::{Args, Subcommand};
use vang_proto::terminal::harmless_line;
use vang_proto::vang::Action;

use super::operator::ask_operator;
use crate::args::DataArgs;
use crate::cmd::invite::{InvitationListArgs, NewInvitationArgs, show_list};
use crate::say::print_line;

const EXAMPLES: &str = "\
Examples:
  vang admin invitation create                       one account, within 7 days
  vang admin invitation create --role admin          an administrator
  vang admin invitation create --uses 30 --title 'class of 2027' > code
  vang admin invitation list
  vang admin invitation end 12";

/// Manage invitations, with which people make accounts
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct InvitationArgs {
    #[command(subcommand)]
    command: InvitationCommand,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  vang admin invitation create
  vang admin invitation create --role admin --days 1";

const LIST_EXAMPLES: &str = "\
Examples:
  vang admin invitation list
  vang admin invitation list --json";

const END_EXAMPLES: &str = "\
Examples:
  vang admin invitation end 12";

#[derive(Subcommand, Debug)]
enum InvitationCommand {
    /// Invite people: they make an account with the code
    #[command(before_help = CREATE_EXAMPLES)]
    Create {
        #[command(flatten)]
        new: NewInvitationArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// List the invitations that can be used
    #[command(before_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        list: InvitationListArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Withdraw an invitation
    #[command(before_help = END_EXAMPLES)]
    End {
        /// Its ID, as vang admin invitation list shows it
        id: u64,

        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) fn run(args: InvitationArgs) -> anyhow::Result<()> {
    match args.command {
        InvitationCommand::Create { new, data } => {
            new.show(&ask_operator(data, "invitation create", &new.action())?)
        }
        InvitationCommand::List { list, data } => {
            show_list(&ask_operator(data, "invitation list", &Action::Invitations)?, &list)
        }
        InvitationCommand::End { id, data } => {
            let reply = ask_operator(data, &format!("invitation end {id}"), &Action::EndInvitation { id })?;
            Ok(print_line(&harmless_line(&reply.text))?)
        }
    }
}
