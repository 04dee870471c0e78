//! `vang accept`: makes an account with the code of an invitation, or sets the password of an account with its link.

use clap::Args;
use vang_client::{Connection, Deadline};
use vang_proto::Secret;
use vang_proto::vang::{Action, SignedIn};

use super::sign_in::{Kept, keep, machine_name};
use crate::args::{ServerArgs, about};
use crate::say::CommandError;
use crate::secret_input::PasswordSource;
use crate::token_store::{StoredToken, TokenStore, address_of};

const EXAMPLES: &str = "\
Examples:
  vang accept ada                          asks for the code of the invitation, and for a password
  vang accept ada --server chat.example
  vang accept                              with the link of an account that there is
  vang accept ada --code-stdin < code-and-password";

const AFTER: &str = "\
Then this device is signed in, as after vang login.";

#[derive(Args, Debug)]
#[command(about = about("accept"), before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct AcceptArgs {
    /// Name of the new account; a link needs none
    name: Option<String>,

    /// Name of this device, for `vang sessions` [default: the name of this machine]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// Read the code from the first line of stdin, and the new password from the second
    #[arg(long)]
    code_stdin: bool,

    #[command(flatten)]
    place: ServerArgs,
}

pub(crate) fn run(args: &AcceptArgs) -> anyhow::Result<()> {
    let server = args.place.server()?;
    let store = TokenStore::to_write()?;
    // A server that is not there, or has another key, is better known before anything is typed.
    Connection::open(&server, Deadline::after(args.place.timeout)).map_err(CommandError::from)?;
    let source = PasswordSource::by_flag(args.code_stdin);
    let code = source.code(&format!("Code of the invitation to {server}: "))?;
    let new = source.new_password()?;
    let deadline = Deadline::after(args.place.timeout);
    let mut connection = Connection::open(&server, deadline).map_err(CommandError::from)?;
    let device = Some(args.device.clone().unwrap_or_else(machine_name));
    let action = Action::Accept { code, new, device };
    let reply = connection.ask(args.name.as_deref(), &action, deadline).map_err(CommandError::from)?;
    let Some(SignedIn { name, token: Some(token), .. }) = reply.keys() else {
        return Err(CommandError::new(format!("the answer of {server} to 'accept' has no token")).into());
    };
    let token = Secret::new(token);
    let stored = StoredToken { server: address_of(&server), journal: String::new(), name, token };
    keep(&server, &store, connection, stored, &Kept { timeout: args.place.timeout, is_given: false })
}
