//! `vang admin token`: tokens of an account's scripts.

use clap::{Args, Subcommand};
use vang_proto::terminal::harmless_line;
use vang_proto::vang::Action;

use super::operator::ask_operator;
use crate::args::DataArgs;
use crate::cmd::sessions::{ListArgs, Which, show};
use crate::cmd::token::NewTokenArgs;
use crate::say::print_line;
use crate::shell::quoted;

const EXAMPLES: &str = "\
Examples:
  vang admin token create weather --title 'station 3' --scope send --room ops > token
  vang admin token list weather
  vang admin token end weather 12";

const AFTER: &str = "\
Whoever has a token acts as the account: keep it in a file with the mode 0600 (--token-file), or in VANG_TOKEN.";

/// Manage tokens, with which scripts sign in as an account
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  vang admin token create weather --title 'station 3' --scope send --room ops > token
  vang admin token create ada --title backup --scope read --days 90";

const LIST_EXAMPLES: &str = "\
Examples:
  vang admin token list weather
  vang admin token list weather --json";

const END_EXAMPLES: &str = "\
Examples:
  vang admin token end weather 12";

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Make a token with which a script signs in as an account
    #[command(before_help = CREATE_EXAMPLES)]
    Create {
        /// Name of the account
        name: String,

        #[command(flatten)]
        new: NewTokenArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// List the tokens of an account's scripts
    #[command(before_help = LIST_EXAMPLES)]
    List {
        /// Name of the account
        name: String,

        #[command(flatten)]
        list: ListArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// End a token: what is signed in with it is signed out
    #[command(before_help = END_EXAMPLES)]
    End {
        /// Name of the account
        name: String,

        /// Its ID, as vang admin token list shows it
        id: u64,

        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) fn run(args: TokenArgs) -> anyhow::Result<()> {
    let about_to = |verb: &str, name: &str| format!("token {verb} {}", quoted(name));
    match args.command {
        TokenCommand::Create { name, new, data } => {
            let command = about_to("create", &name);
            new.show(&ask_operator(data, &command, &new.action(Some(name)))?)
        }
        TokenCommand::List { name, list, data } => {
            let command = about_to("list", &name);
            show(&ask_operator(data, &command, &Action::Sessions { name: Some(name) })?, Which::Tokens, &list)
        }
        TokenCommand::End { name, id, data } => {
            let command = format!("{} {id}", about_to("end", &name));
            let end = Action::EndSession { id: Some(id), name: Some(name) };
            Ok(print_line(&harmless_line(&ask_operator(data, &command, &end)?.text))?)
        }
    }
}
