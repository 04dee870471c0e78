//! `vang login`, `vang logout` and `vang whoami`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use vang_client::{ClientError, Connection, Deadline, Identity, ServerAddr, sign_in};
use vang_proto::Secret;
use vang_proto::limits::TITLE_BYTES_MAX;
use vang_proto::terminal::harmless_line;
use vang_proto::vang::{Action, Code, GUEST_PREFIX, Hello, SignedIn};

use super::sessions::note_failed;
use crate::args::{ClientArgs, ServerArgs, about, login_name};
use crate::clock::Clock;
use crate::identity::Source;
use crate::say::{CommandError, note, print_line};
use crate::secret_input::{PasswordSource, token_of_stdin};
use crate::shell::TOKEN_VARIABLE;
use crate::token_store::{StoredToken, TokenStore, address_of, of_account};

const LOGIN_EXAMPLES: &str = "\
Examples:
  vang login ada                                   asks for the password
  vang login ada --server chat.example --device laptop
  vang login ada --password-stdin < password       for a script; a token is better
  vang login --token-stdin < token                 keep a token that you were given";

const LOGIN_AFTER: &str = "\
What is stored is a token for this device, not the password: in $XDG_CONFIG_HOME/vang/tokens (usually ~/.config/vang/tokens), mode \
0600. Commands for this server use it when there is no --as, or when --as is its account. `vang sessions` shows all devices, \
`vang logout` ends this one. Secrets are not taken from the command line, which all users of a machine can see.";

#[derive(Args, Debug)]
#[command(about = about("sign-in"), before_help = LOGIN_EXAMPLES, after_help = LOGIN_AFTER)]
pub(crate) struct LoginArgs {
    /// Your account [default: $VANG_AS, else $USER]
    #[arg(env = "VANG_AS")]
    name: Option<String>,

    /// Name of this device, for `vang sessions` [default: the name of this machine]
    #[arg(long, value_name = "NAME", conflicts_with = "token_stdin")]
    device: Option<String>,

    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,

    /// Store the token in the first line of stdin, if it is valid, instead of asking for a password
    #[arg(long, conflicts_with = "password_stdin")]
    token_stdin: bool,

    #[command(flatten)]
    place: ServerArgs,
}

const LOGOUT_EXAMPLES: &str = "\
Examples:
  vang logout
  vang logout bob --server chat.example";

const LOGOUT_AFTER: &str = "\
Ends the token that vang login stored for this server, and removes it. It is removed also if the server cannot be reached; the \
exit code is then 1, because the token is still valid there. A token in $VANG_TOKEN or in a file is not ended: vang token end ID.";

#[derive(Args, Debug)]
#[command(about = about("sign-out"), before_help = LOGOUT_EXAMPLES, after_help = LOGOUT_AFTER)]
pub(crate) struct LogoutArgs {
    /// The account [default: $VANG_AS, else the one that signed in last]
    #[arg(env = "VANG_AS")]
    name: Option<String>,

    #[command(flatten)]
    place: ServerArgs,
}

const WHOAMI_EXAMPLES: &str = "\
Examples:
  vang whoami
  vang whoami --server chat.example --json";

/// Show who you are on a server, and how you are signed in
#[derive(Args, Debug)]
#[command(before_help = WHOAMI_EXAMPLES)]
pub(crate) struct WhoamiArgs {
    /// One JSON object: `name`, `server`, `proof` (token, name or none), `source` of a token
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn login(args: &LoginArgs) -> anyhow::Result<()> {
    let server = args.place.server()?;
    let store = TokenStore::to_write()?;
    let typed = args.name.as_deref().filter(|name| !name.is_empty());
    // A server that is not there, or has another key, is better known before the password is typed.
    Connection::open(&server, Deadline::after(args.place.timeout)).map_err(CommandError::from)?;
    let (connection, name, token) = match args.token_stdin {
        true => {
            let token = token_of_stdin()?;
            let identity = Identity::with_token(typed.map(str::to_owned), token.clone());
            let deadline = Deadline::after(args.place.timeout);
            let mut connection =
                sign_in::open(&server, &identity, deadline).map_err(|fault| refused(fault, TOKEN_ADVICE))?;
            let name = hello(&mut connection, deadline)?.name;
            (connection, name, token)
        }
        false => with_password(args, &server, typed.map_or_else(login_name, str::to_owned))?,
    };
    keep(
        &server,
        &store,
        connection,
        StoredToken { server: address_of(&server), journal: String::new(), name, token },
        &Kept { timeout: args.place.timeout, is_given: args.token_stdin },
    )
}

/// Signs in as a device of this account. The token is new.
fn with_password(
    args: &LoginArgs,
    server: &ServerAddr,
    name: String,
) -> Result<(Connection, String, Secret), CommandError> {
    let question = format!("Password of {name} at {server}: ");
    let password = PasswordSource::by_flag(args.password_stdin).password(&question)?;
    if password.is_empty() {
        return Err(CommandError::usage("the password is empty").advise(PASSWORD_ADVICE));
    }
    let deadline = Deadline::after(args.place.timeout);
    let mut connection = Connection::open(server, deadline)?;
    let device = Some(args.device.clone().unwrap_or_else(machine_name));
    let action = Action::SignIn { password: Some(password), token: None, device };
    let reply =
        connection.ask(Some(&name), &action, deadline).map_err(|fault| refused(fault, PASSWORD_ADVICE))?;
    match reply.keys() {
        Some(SignedIn { name, token: Some(token), failed, failed_last, failed_from }) => {
            if let Some(failed) = failed {
                note_failed(&Clock::local(), failed, failed_last.as_ref(), failed_from.as_deref());
                note("if that was not you: vang passwd sets a new password, and signs out all other devices");
            }
            Ok((connection, name, Secret::new(token)))
        }
        _ => Err(CommandError::new(format!("the answer of {server} to 'sign-in' has no token"))),
    }
}

const PASSWORD_ADVICE: &str = "check the name and the password. An account gets its first password from the operator: \
                               vang admin account password NAME";

const TOKEN_ADVICE: &str = "sign in with the password: vang login NAME";

/// A refusal of what somebody signs in with, with better advice than to sign in.
fn refused(fault: ClientError, advice: &str) -> CommandError {
    let is_wrong = matches!(&fault, ClientError::Refused { code, .. } if code == Code::WrongSecret.as_str());
    let error = CommandError::from(fault);
    if is_wrong { error.advise(advice) } else { error }
}

/// How a token is kept.
pub(super) struct Kept {
    pub(super) timeout: Duration,
    /// Its owner had it before.
    pub(super) is_given: bool,
}

/// Stores the token with which a connection signed in; ends the one that it replaces.
pub(super) fn keep(
    server: &ServerAddr,
    store: &TokenStore,
    mut connection: Connection,
    stored: StoredToken,
    kept: &Kept,
) -> anyhow::Result<()> {
    let deadline = Deadline::after(kept.timeout);
    let journal = hello(&mut connection, deadline).map(|hello| hello.journal);
    let outcome = journal.and_then(|journal| {
        let stored = StoredToken { journal, ..stored.clone() };
        let before = store.of_server(&stored.server)?;
        let before = of_account(&before, Some(&stored.name));
        store.put(&stored)?;
        Ok(before.into_iter().find(|old| old.journal == stored.journal && old.token != stored.token))
    });
    let replaced = match outcome {
        Ok(replaced) => replaced,
        Err(error) => {
            // A new token that nobody has must not stay valid; one that was given stays as it was.
            if !kept.is_given {
                let _ = connection.ask(None, &Action::SignOut, deadline);
            }
            return Err(error.into());
        }
    };
    if let Some(old) = replaced {
        // It may have ended long ago; the new one is there in any case.
        let _ = end(server, &old.token, deadline);
    }
    let shown = harmless_line(&stored.name);
    note(&format!("the token is in {}; vang logout ends it", store.path().display()));
    Ok(print_line(&format!("{shown} at {server}, signed in"))?)
}

pub(crate) fn logout(args: &LogoutArgs) -> anyhow::Result<()> {
    let server = args.place.server()?;
    let name = args.name.as_deref().filter(|name| !name.is_empty());
    let none = || {
        let of = name.map_or(String::new(), |name| format!(" of {name}"));
        CommandError::new(format!("no token{of} is stored for {server}"))
            .advise("`vang whoami` shows who you are there, and `vang login NAME` stores a token")
    };
    let store = TokenStore::of_user().ok_or_else(none)?;
    let tokens = of_account(&store.of_server(&address_of(&server))?, name);
    let name = tokens.first().map(|stored| harmless_line(&stored.name)).ok_or_else(none)?;
    let deadline = Deadline::after(args.place.timeout);
    let mut still_valid = None;
    for stored in &tokens {
        match end(&server, &stored.token, deadline) {
            Ok(()) => {}
            // It has ended already.
            Err(fault) if fault.is_sign_in_refused() => {}
            Err(fault) => still_valid = Some(fault),
        }
    }
    store.remove(&tokens)?;
    match still_valid {
        None => Ok(print_line(&format!("{name} at {server}, signed out"))?),
        Some(fault) => {
            let what =
                format!("the token of {name} is removed here, but it is still valid at {server}: {fault}");
            Err(CommandError::new(what)
                .advise("end it there when you are signed in again: vang sessions shows its ID, then vang sessions end ID")
                .into())
        }
    }
}

/// Ends a token on the server.
fn end(server: &ServerAddr, token: &Secret, deadline: Deadline) -> Result<(), ClientError> {
    let identity = Identity::with_token(None, token.clone());
    sign_in::open(server, &identity, deadline)?.ask(None, &Action::SignOut, deadline).map(drop)
}

pub(crate) fn whoami(args: &WhoamiArgs) -> anyhow::Result<()> {
    let server = args.client.server()?;
    let (identity, source) = args.client.identity_and_source(&server)?;
    let deadline = Deadline::after(args.client.timeout());
    let mut connection = sign_in::open(&server, &identity, deadline).map_err(CommandError::from)?;
    let reply =
        connection.ask(identity.name.as_deref(), &Action::Hello, deadline).map_err(CommandError::from)?;
    let Hello { name, .. } = reply.keys().ok_or_else(|| CommandError::new(NOT_HELLO))?;
    let is_guest = name.starts_with(GUEST_PREFIX);
    if args.json {
        let proof = match source {
            Source::Name if is_guest => "none",
            Source::Name => "name",
            _ => "token",
        };
        let mut object = json!({"name": name, "server": server.to_string(), "proof": proof});
        if let (Some(source), Some(object)) = (source_word(&source), object.as_object_mut()) {
            object.insert("source".to_owned(), Value::from(source));
        }
        return Ok(print_line(&object.to_string())?);
    }
    let how = match &source {
        Source::Name if is_guest => "not signed in".to_owned(),
        Source::Name => "by the name alone".to_owned(),
        Source::Login => "signed in with vang login".to_owned(),
        Source::Variable => format!("signed in with the token in {TOKEN_VARIABLE}"),
        Source::File(path) => format!("signed in with the token in {}", path.display()),
    };
    Ok(print_line(&harmless_line(&format!("{name} at {server}, {how}")))?)
}

fn source_word(source: &Source) -> Option<String> {
    match source {
        Source::Name => None,
        Source::Variable => Some(TOKEN_VARIABLE.to_owned()),
        Source::File(path) => Some(path.display().to_string()),
        Source::Login => Some("vang login".to_owned()),
    }
}

fn hello(connection: &mut Connection, deadline: Deadline) -> Result<Hello, CommandError> {
    let reply = connection.ask(None, &Action::Hello, deadline)?;
    reply.keys().ok_or_else(|| CommandError::new(NOT_HELLO))
}

const NOT_HELLO: &str = "the server's answer to 'hello' has no 'name' or 'journal'";

/// The host name, as a title that a server takes.
pub(super) fn machine_name() -> String {
    title_of(&rustix::system::uname().nodename().to_string_lossy())
}

fn title_of(host: &str) -> String {
    let line = harmless_line(host);
    let end =
        (0..=line.len().min(TITLE_BYTES_MAX)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    match line[..end].trim() {
        "" => "vang login".to_owned(),
        title => title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_machine_becomes_a_title_of_one_short_line() {
        assert_eq!(title_of("laptop"), "laptop");
        for none in ["", "  "] {
            assert_eq!(title_of(none), "vang login");
        }
        assert!(title_of(&"\u{1ea3}".repeat(100)).len() <= TITLE_BYTES_MAX);
        assert!(!title_of("a\nb\u{1b}[2J").contains(|c: char| c.is_control()));
    }
}
