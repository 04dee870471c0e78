//! `vang admin account`: accounts, their passwords and roles.

use clap::{Args, Subcommand};
use vang_proto::terminal::harmless_line;
use vang_proto::vang::{Action, Reply, Role};

use super::operator::{as_operator, ask_operator};
use crate::args::{DataArgs, about};
use crate::cmd::invite::{role, show_code};
use crate::say::{CommandError, print_line};
use crate::secret_input::PasswordSource;
use crate::shell::quoted;

const EXAMPLES: &str = "\
Examples:
  vang admin account add ada             a new account, and a code with which its owner sets the password
  vang admin account link ada            another code, also for a forgotten password
  vang admin account password ada        asks for the password that it gets
  vang admin account disable ada         sign it out everywhere; nobody can use it
  vang admin account delete ada --yes    for ever
  vang admin account role ada admin";

/// Manage accounts
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

const ADD_EXAMPLES: &str = "\
Examples:
  vang admin account add ada > code
  vang admin account add ada --data ./chat
  vang admin account add ada --password-stdin < password";

const ADD_AFTER: &str = "\
A code is printed alone on stdout. With it the owner of the account sets a password, once and within a day: vang accept. Another one: \
vang admin account link NAME. Without a password the account can be used on the data folder's own socket (--data DIR), and with \
tokens: vang admin token create.";

const PASSWORD_EXAMPLES: &str = "\
Examples:
  vang admin account password ada
  vang admin account password ada --password-stdin < password";

const PASSWORD_AFTER: &str = "\
The account is signed out everywhere; its tokens end. People change their own password with vang passwd.";

const LINK_EXAMPLES: &str = "\
Examples:
  vang admin account link ada > code
  vang admin account link ada --days 3";

const LINK_AFTER: &str = "\
The code is printed alone on stdout. The owner of the account types it with: vang accept. Tokens of the account end then.";

const DISABLE_EXAMPLES: &str = "\
Examples:
  vang admin account disable ada";

const DELETE_EXAMPLES: &str = "\
Examples:
  vang admin account delete ada --yes";

const DELETE_AFTER: &str = "\
Its name, its password and its tokens are erased, and it leaves its rooms. What it said stays, as of a deleted account. Nobody can have its \
name again. Older backups have all of it still. To lock somebody out for a time: vang admin account disable NAME.";

const ENABLE_EXAMPLES: &str = "\
Examples:
  vang admin account enable ada";

const ROLE_EXAMPLES: &str = "\
Examples:
  vang admin account role ada admin      it can add and disable accounts, and end their sessions
  vang admin account role weather bot
  vang admin account role ada person";

#[derive(Subcommand, Debug)]
enum AccountCommand {
    #[command(about = about("account-add"), before_help = ADD_EXAMPLES, after_help = ADD_AFTER)]
    Add {
        /// Name of the new account
        name: String,

        /// Set the password in the first line of stdin; no code is made
        #[arg(long)]
        password_stdin: bool,

        /// One JSON object instead of the code alone: `code`, `id`
        #[arg(long, conflicts_with = "password_stdin")]
        json: bool,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a link: with its code the owner sets the password of the account, once
    #[command(before_help = LINK_EXAMPLES, after_help = LINK_AFTER)]
    Link {
        /// Name of the account
        name: String,

        /// How long it can be used, in days [default: 1]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        days: Option<u64>,

        /// One JSON object instead of the code alone: `code`, `id`, `link` (for a browser, if it is known)
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Set the password of an account
    #[command(before_help = PASSWORD_EXAMPLES, after_help = PASSWORD_AFTER)]
    Password {
        /// Name of the account
        name: String,

        /// Read the password from the first line of stdin, instead of asking for it
        #[arg(long)]
        password_stdin: bool,

        #[command(flatten)]
        data: DataArgs,
    },
    #[command(about = about("account-disable"), before_help = DISABLE_EXAMPLES)]
    Disable {
        /// Name of the account
        name: String,

        #[command(flatten)]
        data: DataArgs,
    },
    #[command(about = about("account-delete"), before_help = DELETE_EXAMPLES, after_help = DELETE_AFTER)]
    Delete {
        /// Name of the account
        name: String,

        /// Delete it: nothing brings it back
        #[arg(long)]
        yes: bool,

        #[command(flatten)]
        data: DataArgs,
    },
    #[command(about = about("account-enable"), before_help = ENABLE_EXAMPLES)]
    Enable {
        /// Name of the account
        name: String,

        #[command(flatten)]
        data: DataArgs,
    },
    #[command(about = about("account-role"), before_help = ROLE_EXAMPLES)]
    Role {
        /// Name of the account
        name: String,

        /// What the account is
        #[arg(value_parser = role())]
        role: Role,

        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) fn run(args: AccountArgs) -> anyhow::Result<()> {
    let reply = match args.command {
        AccountCommand::Add { name, password_stdin: false, json, data } => {
            let reply = add(
                &name,
                data,
                "",
                Second {
                    action: link(&name, None),
                    failed: "no code for its owner was made",
                    again: format!("make one: vang admin account link {}", quoted(&name)),
                },
            )?;
            return show_code(
                &reply,
                json,
                &format!("the owner of {name} sets a password with it: vang accept"),
            );
        }
        AccountCommand::Add { name, password_stdin: true, data, .. } => {
            // Before anything is asked: a wrong one adds no account.
            let new = PasswordSource::Stdin.new_password()?;
            add(
                &name,
                data,
                " --password-stdin",
                Second {
                    action: Action::SetPassword { new, old: None, name: Some(name.clone()) },
                    failed: "its password was not set",
                    again: format!("set it: vang admin account password {}", quoted(&name)),
                },
            )
        }
        AccountCommand::Link { name, days, json, data } => {
            let command = format!("account link {}", quoted(&name));
            let reply = ask_operator(data, &command, &link(&name, days))?;
            return show_code(
                &reply,
                json,
                &format!("the owner of {name} sets a password with it: vang accept"),
            );
        }
        AccountCommand::Password { name, password_stdin, data } => {
            let command = format!("account password {}", quoted(&name));
            let new = PasswordSource::by_flag(password_stdin).new_password()?;
            ask_operator(data, &command, &Action::SetPassword { new, old: None, name: Some(name) })
        }
        AccountCommand::Disable { name, data } => {
            let command = format!("account disable {}", quoted(&name));
            ask_operator(data, &command, &Action::DisableAccount { name })
        }
        AccountCommand::Delete { name, yes: false, .. } => {
            let what = format!(
                "nothing brings '{}' back once it is deleted; nothing was changed",
                harmless_line(&name)
            );
            let again = format!("to delete it for ever: vang admin account delete {} --yes", quoted(&name));
            return Err(CommandError::usage(what).advise(again).into());
        }
        AccountCommand::Delete { name, yes: true, data } => {
            let command = format!("account delete {} --yes", quoted(&name));
            ask_operator(data, &command, &Action::DeleteAccount { name: name.clone() })?;
            // The server has no name for it any more.
            return Ok(print_line(&harmless_line(&name))?);
        }
        AccountCommand::Enable { name, data } => {
            let command = format!("account enable {}", quoted(&name));
            ask_operator(data, &command, &Action::EnableAccount { name })
        }
        AccountCommand::Role { name, role, data } => {
            let command = format!("account role {} {}", quoted(&name), role.as_str());
            ask_operator(data, &command, &Action::SetRole { name, role })
        }
    }?;
    Ok(print_line(&harmless_line(&reply.text))?)
}

/// With its code the owner sets the password.
fn link(name: &str, days: Option<u64>) -> Action {
    Action::Invite { title: None, uses: None, days, room: None, role: None, name: Some(name.to_owned()) }
}

/// What a new account is given.
struct Second {
    action: Action,
    /// What is said if the server refuses it.
    failed: &'static str,
    again: String,
}

/// Two requests: an account can exist without a password, so the second one can be repeated alone. The reply is the second one's.
fn add(name: &str, data: DataArgs, flags: &str, second: Second) -> anyhow::Result<Reply> {
    let command = format!("account add {}{flags}", quoted(name));
    as_operator(data, &command, |connection, deadline| {
        let add = Action::AddAccount { name: name.to_owned() };
        connection.ask(None, &add, deadline).map_err(CommandError::from)?;
        connection.ask(None, &second.action, deadline).map_err(|fault| {
            let what = format!("the account '{name}' was added, but {}: {fault}", second.failed);
            CommandError::new(what).advise(second.again.clone()).into()
        })
    })
}
