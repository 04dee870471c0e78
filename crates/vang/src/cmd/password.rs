//! `vang passwd`.

use clap::Args;
use vang_client::{ClientError, Deadline, Identity, Proof, sign_in};
use vang_proto::Secret;
use vang_proto::terminal::harmless_line;
use vang_proto::vang::{Action, Code};

use crate::args::{ClientArgs, about, login_name};
use crate::identity::is_folders_own;
use crate::say::{CommandError, note, print_line};
use crate::secret_input::PasswordSource;

const EXAMPLES: &str = "\
Examples:
  vang passwd                                       the account that you are signed in as
  vang passwd --as ada --server chat.example
  printf '%s\\n' \"$OLD\" \"$NEW\" | vang passwd --as ada --password-stdin";

const AFTER: &str = "\
Devices and scripts that are signed in as this account are signed out, except this device. An account gets its first password from \
the operator: vang admin account password NAME.";

#[derive(Args, Debug)]
#[command(about = about("password"), before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct PasswdArgs {
    /// Read the old password from the first line of stdin, and the new one from the second
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: &PasswdArgs) -> anyhow::Result<()> {
    let server = args.client.server()?;
    let found = args.client.identity(&server)?;
    let source = PasswordSource::by_flag(args.password_stdin);
    let old = source.password("Old password: ")?;
    // Who is signed in stays so; who is not signs in with the old password. On the folder's own socket a name is enough.
    let identity = match &found.proof {
        None if is_folders_own(&server) => found,
        None if old.is_empty() => {
            return Err(CommandError::usage("the old password is empty").advise(FIRST).into());
        }
        None => Identity {
            name: Some(found.name.unwrap_or_else(login_name)),
            proof: Some(Proof::Password(old.clone())),
        },
        Some(_) => found,
    };
    let new = source.new_password()?;
    let deadline = Deadline::after(args.client.timeout());
    let old = Some(old).filter(|old: &Secret| !old.is_empty());
    let action = Action::SetPassword { new, old, name: None };
    let reply = sign_in::open(&server, &identity, deadline)
        .and_then(|mut connection| connection.ask(identity.name.as_deref(), &action, deadline))
        .map_err(explained)?;
    note("signed out everywhere else");
    Ok(print_line(&harmless_line(&reply.text))?)
}

const FIRST: &str =
    "an account without a password gets its first one from the operator: vang admin account password NAME";

fn explained(fault: ClientError) -> CommandError {
    let has_code =
        |wanted: Code| matches!(&fault, ClientError::Refused { code, .. } if code == wanted.as_str());
    let advice = match () {
        () if has_code(Code::WrongSecret) => format!("check the name and the old password; {FIRST}"),
        () if has_code(Code::NotAllowed) => {
            "use the password instead of a token: unset VANG_TOKEN".to_owned()
        }
        () => return fault.into(),
    };
    CommandError::from(fault).advise(advice)
}
