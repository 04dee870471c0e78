//! `vang token`: tokens of scripts. `vang admin token` makes them with the same functions.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;
use vang_proto::terminal::harmless_line;
use vang_proto::vang::{Action, Reply, TokenCreated, TokenScope};

use super::sessions::{ListArgs, Which, show};
use crate::args::{ClientArgs, about};
use crate::say::{CommandError, note, print_line};
use crate::shell::TOKEN_VARIABLE;

const EXAMPLES: &str = "\
Examples:
  vang token create --title 'CI of the website' --scope send --room builds
  vang token create --title backup --scope read --days 90 > token
  vang token list
  vang token end 12";

const AFTER: &str = "\
A script uses a token with VANG_TOKEN=… in its environment, or with --token-file FILE.";

/// Manage tokens of scripts that act as you
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  vang token create --title 'CI of the website' --scope send --room builds
  vang token create --title backup --scope read --days 90 > token";

const LIST_EXAMPLES: &str = "\
Examples:
  vang token list
  vang token list --json";

const END_EXAMPLES: &str = "\
Examples:
  vang token end 12";

#[derive(Subcommand, Debug)]
enum TokenCommand {
    #[command(about = about("token-create"), before_help = CREATE_EXAMPLES)]
    Create {
        #[command(flatten)]
        new: NewTokenArgs,

        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the tokens of your scripts
    #[command(before_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        list: ListArgs,

        #[command(flatten)]
        client: ClientArgs,
    },
    /// End a token: what is signed in with it is signed out
    #[command(before_help = END_EXAMPLES)]
    End {
        /// Its ID, as vang token list shows it
        id: u64,

        #[command(flatten)]
        client: ClientArgs,
    },
}

/// A new token.
#[derive(Args, Debug)]
pub(crate) struct NewTokenArgs {
    /// What the token is for, at most 128 bytes
    #[arg(long, value_name = "TEXT")]
    title: String,

    /// What can be done with it: read; send (and read); admin (all that the account can do as an administrator)
    #[arg(long, value_name = "SCOPE", value_parser = scope())]
    scope: TokenScope,

    /// Only in this room; up to 8 times [default: all rooms of the account]
    #[arg(long = "room", value_name = "ROOM")]
    rooms: Vec<String>,

    /// It ends after this many days, at most 36500 [default: it does not end by itself]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,

    /// One JSON object instead of the token alone: `token`, `id` (to end it), `name` of the account
    #[arg(long)]
    json: bool,
}

fn scope() -> impl TypedValueParser<Value = TokenScope> {
    let words = PossibleValuesParser::new(TokenScope::ALL.iter().map(|scope| scope.as_str()));
    words.map(|word| TokenScope::named(&word).expect("one of the words"))
}

impl NewTokenArgs {
    /// What asks for it: for the account of this name, or the asker's own.
    pub(crate) fn action(&self, name: Option<String>) -> Action {
        let NewTokenArgs { title, scope, rooms, days, json: _ } = self;
        Action::CreateToken { title: title.clone(), scope: *scope, rooms: rooms.clone(), days: *days, name }
    }

    /// Prints a new token alone on stdout, so that a script can store it.
    pub(crate) fn show(&self, reply: &Reply) -> anyhow::Result<()> {
        let TokenCreated { name, id, .. } = reply
            .keys()
            .ok_or_else(|| CommandError::new("the server's answer to 'token-create' has no 'id'"))?;
        if self.json {
            return Ok(print_line(&json!({"token": reply.text, "id": id, "name": name}).to_string())?);
        }
        print_line(&harmless_line(&reply.text))?;
        note(&format!(
            "this is token {id} of {}. It is shown only once: store it where only its script can read it, and use it with \
             {TOKEN_VARIABLE} or --token-file",
            harmless_line(&name)
        ));
        Ok(())
    }
}

pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    match &args.command {
        TokenCommand::Create { new, client } => new.show(&client.ask(&new.action(None))?),
        TokenCommand::List { list, client } => {
            show(&client.ask(&Action::Sessions { name: None })?, Which::Tokens, list)
        }
        TokenCommand::End { id, client } => {
            let reply = client.ask(&Action::EndSession { id: Some(*id), name: None })?;
            Ok(print_line(&harmless_line(&reply.text))?)
        }
    }
}
