//! `vang admin session`: where an account is signed in.

use clap::{Args, Subcommand};
use vang_proto::terminal::harmless_line;
use vang_proto::vang::Action;

use super::operator::ask_operator;
use crate::args::DataArgs;
use crate::cmd::sessions::{ListArgs, Which, show};
use crate::say::print_line;
use crate::shell::quoted;

const EXAMPLES: &str = "\
Examples:
  vang admin session list ada
  vang admin session end ada 12       sign out one device
  vang admin session end ada          sign out all of them, and end its tokens";

/// See where an account is signed in, and sign it out
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct SessionArgs {
    #[command(subcommand)]
    command: SessionCommand,
}

const LIST_EXAMPLES: &str = "\
Examples:
  vang admin session list ada
  vang admin session list ada --json";

const END_EXAMPLES: &str = "\
Examples:
  vang admin session end ada 12
  vang admin session end ada          all of them";

#[derive(Subcommand, Debug)]
enum SessionCommand {
    /// List the devices and tokens of an account, and its other connections
    #[command(before_help = LIST_EXAMPLES)]
    List {
        /// Name of the account
        name: String,

        #[command(flatten)]
        list: ListArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Sign out a device or end a token of an account; without an ID, all of them
    #[command(before_help = END_EXAMPLES)]
    End {
        /// Name of the account
        name: String,

        /// The device's or token's ID, as vang admin session list shows it [default: all]
        id: Option<u64>,

        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) fn run(args: SessionArgs) -> anyhow::Result<()> {
    match args.command {
        SessionCommand::List { name, list, data } => {
            let command = format!("session list {}", quoted(&name));
            show(&ask_operator(data, &command, &Action::Sessions { name: Some(name) })?, Which::All, &list)
        }
        SessionCommand::End { name, id, data } => {
            let which = id.map_or(String::new(), |id| format!(" {id}"));
            let command = format!("session end {}{which}", quoted(&name));
            let end = Action::EndSession { id, name: Some(name) };
            Ok(print_line(&harmless_line(&ask_operator(data, &command, &end)?.text))?)
        }
    }
}
