//! Output of the commands: the result on stdout, everything else on stderr, and the exit code.
//!
//! Texts of others (messages, names, a server's sentences) pass `harmless` on their way to a terminal:
//! escape sequences could rewrite the screen or type into it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use vang_client::trouble::{At, explain_at, plain};
use vang_client::{ClientError, Doing, ServerAddr, explain};
use vang_journal::{DataFolder, FolderError};
use vang_nettools::in_use::Holder;
pub(crate) use vang_proto::terminal::{harmless, indented};
use vang_proto::text::typed_duration;
use vang_proto::vang::Code;
use vang_server::{ListenError, ServeError, StartError};

use crate::running;
use crate::shell::{TOKEN_VARIABLE, quoted_path, variable};

/// Refused or failed.
const FAILED: u8 = 1;
/// What was typed is wrong.
const USAGE: u8 = 2;
/// Timed out; the code of `timeout(1)`.
const TIMED_OUT: u8 = 124;

/// Why a command ends early: what stderr says, and the exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    code: u8,
    /// Empty: nothing is printed.
    text: String,
    advice: Option<String>,
    /// The server's code of a refusal. Programs read it; people read the text.
    refusal: Option<String>,
}

impl CommandError {
    /// Refused or failed.
    pub(crate) fn new(text: impl Into<String>) -> CommandError {
        CommandError { code: FAILED, text: text.into(), advice: None, refusal: None }
    }

    /// What was typed is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> CommandError {
        CommandError { code: USAGE, ..CommandError::new(text) }
    }

    /// Timed out.
    pub(crate) fn timed_out(text: impl Into<String>) -> CommandError {
        CommandError { code: TIMED_OUT, ..CommandError::new(text) }
    }

    /// True if there is nothing to print, as when stdout was closed.
    pub(crate) fn is_silent(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds what the user can do about it; an empty text adds nothing.
    pub(crate) fn advise(self, advice: impl Into<String>) -> CommandError {
        CommandError { advice: Some(advice.into()).filter(|advice| !advice.is_empty()), ..self }
    }

    /// Did the server refuse with this code?
    pub(crate) fn is_refused(&self, code: Code) -> bool {
        self.refusal.as_deref() == Some(code.as_str())
    }

    /// What the user can do about it; empty if it is not known.
    #[cfg(test)]
    pub(crate) fn advice(&self) -> &str {
        self.advice.as_deref().unwrap_or_default()
    }
}

impl From<ClientError> for CommandError {
    fn from(fault: ClientError) -> CommandError {
        let failure = match fault.timed_out() {
            true => CommandError::timed_out(fault.to_string()),
            false => CommandError::new(fault.to_string()),
        };
        let refusal = match &fault {
            ClientError::Refused { code, .. } => Some(code.clone()).filter(|code| !code.is_empty()),
            _ => None,
        };
        CommandError { advice: advice(&fault), refusal, ..failure }
    }
}

/// What a user can do about an error of a client.
fn advice(fault: &ClientError) -> Option<String> {
    if let ClientError::Refused { code, .. } = fault
        && ["VANG_SERVER", "VANG_DATA"].iter().all(|name| variable(name).is_none())
        && [Code::AccountNeeded, Code::SignInNeeded].iter().any(|needed| needed.as_str() == code)
    {
        // A user who can open a data folder's socket is the operator of its server.
        let folder = running::folders().into_iter().next()?;
        return Some(format!("you operate a server on this machine: add --data {}", quoted_path(&folder)));
    }
    if matches!(fault, ClientError::Refused { code, .. } if code == Code::WrongSecret.as_str())
        && variable(TOKEN_VARIABLE).is_some()
    {
        return Some(format!(
            "{TOKEN_VARIABLE} has this token: set another one, or unset it and sign in: vang login NAME"
        ));
    }
    let advice = fault.advice()?;
    let ClientError::Unreachable { place, .. } = fault else { return Some(advice.to_owned()) };
    // Somebody who names another address knows where the server is.
    let is_usual = *place == ServerAddr::default().to_string() || place.ends_with(DataFolder::SOCKET);
    Some(match is_usual.then(running::folders).as_deref() {
        Some([folder, ..]) => format!("{advice}; a server runs here with --data {}", quoted_path(folder)),
        _ => advice.to_owned(),
    })
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CommandError {}

/// Prints the error, if there is one, and gives the exit code. For programs (`is_json`) the code of a refusal comes first.
pub(crate) fn exit(outcome: anyhow::Result<()>, is_json: bool) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let Some(failure) = error.downcast_ref::<CommandError>() else {
        note(&words(&error));
        if system(&error).is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            write_stderr("  run it as the user whose files these are\n");
        }
        return FAILED.into();
    };
    match &failure.refusal {
        _ if failure.text.is_empty() => {}
        Some(code) if is_json => note(&format!("{code}: {}", failure.text)),
        _ => note(&failure.text),
    }
    if let Some(advice) = &failure.advice {
        write_stderr(&format!("  {}\n", harmless(advice)));
    }
    failure.code.into()
}

/// An error with its causes, each once. Errors of the system are in our words.
fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Most of our errors contain the text of their cause already.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    system(error).map_or(text.clone(), |error| text.replace(&error.to_string(), &plain(error)))
}

fn system(error: &anyhow::Error) -> Option<&io::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Prints a line on stderr: `vang: …`.
pub(crate) fn note(text: &str) {
    write_stderr(&format!("vang: {}\n", indented(&harmless(text), "  ")));
}

/// Prints the first error after which a command tries again; not the later ones.
pub(crate) fn note_first_retry(timeout: Duration) -> impl FnMut(&ClientError) {
    let mut is_noted = false;
    move |error| {
        if !std::mem::replace(&mut is_noted, true) {
            note(&format!("{error}; trying again for {}", typed_duration(timeout)));
        }
    }
}

/// Prints a question on stderr, without a newline.
pub(crate) fn prompt(question: &str) {
    write_stderr(&harmless(question));
}

fn write_stderr(text: &str) {
    // A closed stderr is no error.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The reader of stdout has closed it: ends the command with exit code 0.
pub(crate) fn nobody_reads() -> CommandError {
    CommandError { code: 0, ..CommandError::new("") }
}

/// Prints bytes on stdout and flushes. If the reader has closed it, the command ends with exit code 0.
pub(crate) fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => nobody_reads(),
        _ => CommandError::new(format!("cannot write to stdout: {}", plain(&error))),
    })
}

/// Prints a line on stdout and flushes.
pub(crate) fn print_line(line: &str) -> Result<(), CommandError> {
    print(format!("{line}\n").as_bytes())
}

/// True if stdout is a terminal.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Who keeps the server from listening there; `None`: another error, or unknown.
fn holder_of(addr: &str, error: &io::Error) -> Option<Holder> {
    if let Some(path) = addr.strip_prefix("unix:") {
        return Holder::of_path(error, Path::new(path));
    }
    // An empty host is every interface.
    let every = |port: &str| port.parse().ok().map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    let addresses = match addr.strip_prefix(':') {
        Some(port) => vec![every(port)?],
        None => addr.to_socket_addrs().ok()?.collect(),
    };
    Holder::of_addresses(error, &addresses, false)
}

/// A data folder to read. One without a journal is an error, with what to do.
pub(crate) fn look_into(data: &Path) -> anyhow::Result<DataFolder> {
    DataFolder::look(data).map_err(|error| match error {
        FolderError::NoJournal { .. } => unused(data).advise(running::advice(data)).into(),
        other => other.into(),
    })
}

/// No server has used this data folder.
pub(crate) fn unused(data: &Path) -> CommandError {
    CommandError::new(format!("there is no journal in {}: no server has used this folder", data.display()))
}

/// A folder that no command may use as its data folder.
pub(crate) fn folder_error(error: &FolderError) -> CommandError {
    match error {
        FolderError::NotOurs { path, .. } => CommandError::usage(error.to_string()).advise(format!(
            "name an empty folder or a new one, as --data {}",
            quoted_path(&path.join("chat"))
        )),
        _ => CommandError::new(error.to_string()),
    }
}

/// An error of the server as a failure, with its cause and advice.
pub(crate) fn server_error(error: &ServeError) -> CommandError {
    match error {
        ServeError::Listen(ListenError::Io { addr, source }) => {
            if let Some(holder) = holder_of(addr, source) {
                return CommandError::new(format!("cannot listen on {addr}: address in use ({holder})"))
                    .advise(holder.advice());
            }
            let trouble = match (addr.strip_prefix("unix:"), addr.parse()) {
                (Some(_), _) => explain_at(source, Doing::Bind, At::Unix),
                (None, Ok(address)) => explain_at(source, Doing::Bind, At::Net(address)),
                (None, Err(_)) => explain(source, Doing::Bind),
            };
            CommandError::new(format!("cannot listen on {addr}: {trouble}")).advise(trouble.advice)
        }
        ServeError::Listen(ListenError::Resolve { addr, source }) => {
            let trouble = explain(source, Doing::Resolve);
            CommandError::new(format!("cannot listen on {addr}: {trouble}")).advise(trouble.advice)
        }
        ServeError::Listen(ListenError::Address(_) | ListenError::Proxies(_)) | ServeError::Settings(_) => {
            CommandError::usage(error.to_string())
        }
        ServeError::TrustBeyond { .. } => CommandError::usage(error.to_string())
            .advise("leave --trust away, or listen on this machine only, as with --listen 127.0.0.1:65432"),
        ServeError::Start(StartError::Folder(held @ FolderError::Held { .. })) => {
            CommandError::new(held.to_string()).advise("stop it, or choose another data folder with --data")
        }
        ServeError::Start(StartError::Folder(other @ FolderError::NotOurs { .. })) => folder_error(other),
        ServeError::Start(StartError::Folder(FolderError::Io { what, path, source })) => {
            CommandError::new(format!("cannot {what} {}: {}", path.display(), plain(source)))
        }
        ServeError::Tls(_) | ServeError::Start(_) | ServeError::Io { .. } | ServeError::ThreadEnded(_) => {
            CommandError::new(error.to_string())
        }
    }
}
