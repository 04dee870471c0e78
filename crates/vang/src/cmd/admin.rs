//! `vang admin`: the operator's commands. They work on the data folder, without a network: a user who can open
//! the folder is the operator, so no command asks for a password.

mod operator; // asks the folder's server as its operator
mod account; // vang admin account
mod token; // vang admin token
mod session; // vang admin session
mod invitation; // vang admin invitation
mod check; // vang admin check
mod check_file; // vang admin check --file
mod backup; // vang admin backup
mod restore; // vang admin restore
mod progress; // a progress line on a terminal
mod report; // parts of the lines that several of them print

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  vang admin account add ada       add an account to the server of the default data folder
  vang admin token create ada --title backup --scope read     make a token for a script
  vang admin check                 check everything in the data folder
  vang admin backup chat.vang      write the journal to one file, while the server runs
  vang admin restore chat.vang --data ./again      make a new data folder from that file";

/// Manage a server's data folder
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand, Debug)]
enum AdminCommand {
    Check(check::CheckArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Account(account::AccountArgs),
    Token(token::TokenArgs),
    Session(session::SessionArgs),
    Invitation(invitation::InvitationArgs),
}

pub(super) fn run(args: AdminArgs) -> anyhow::Result<()> {
    match args.command {
        AdminCommand::Check(args) => check::run(args),
        AdminCommand::Backup(args) => backup::run(args),
        AdminCommand::Restore(args) => restore::run(args),
        AdminCommand::Account(args) => account::run(args),
        AdminCommand::Token(args) => token::run(args),
        AdminCommand::Session(args) => session::run(args),
        AdminCommand::Invitation(args) => invitation::run(args),
    }
}
