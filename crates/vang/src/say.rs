//! What is answered: the result on stdout, everything else on stderr, and the exit code.
//!
//! Texts of others (messages, names, a server's sentences) pass `harmless` on their way to a terminal:
//! escape sequences could rewrite the screen or type into it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use vang_client::ClientError;
use vang_client::trouble::plain;
pub(crate) use vang_proto::terminal::{harmless, indented};

/// Refused or failed.
const FAILED: u8 = 1;
/// What was typed is wrong.
const USAGE: u8 = 2;
/// Timed out, as `timeout` has it.
const TIMED_OUT: u8 = 124;

/// Why a command ends early: what stderr says, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// What went wrong; nothing is said when it is empty.
    text: String,
    /// What to do.
    advice: Option<String>,
}

impl Failure {
    /// Refused or failed.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure { code: FAILED, text: text.into(), advice: None }
    }

    /// What was typed is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure { code: USAGE, ..Failure::new(text) }
    }

    /// The time was over.
    pub(crate) fn timed_out(text: impl Into<String>) -> Failure {
        Failure { code: TIMED_OUT, ..Failure::new(text) }
    }

    /// Is there nothing to say, as when nobody reads any more?
    pub(crate) fn is_silent(&self) -> bool {
        self.text.is_empty()
    }

    /// With what to do, where anybody knows.
    pub(crate) fn advise(self, advice: impl Into<String>) -> Failure {
        Failure { advice: Some(advice.into()).filter(|advice| !advice.is_empty()), ..self }
    }
}

impl From<ClientError> for Failure {
    fn from(fault: ClientError) -> Failure {
        let failure = match fault.timed_out() {
            true => Failure::timed_out(fault.to_string()),
            false => Failure::new(fault.to_string()),
        };
        Failure { advice: fault.advice().map(str::to_owned), ..failure }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Says what went wrong, if anything did, and gives the exit code.
pub(crate) fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let Some(failure) = error.downcast_ref::<Failure>() else {
        note(&words(&error));
        if system(&error).is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            write_stderr("  run it as the user whose files these are\n");
        }
        return FAILED.into();
    };
    if !failure.text.is_empty() {
        note(&failure.text);
    }
    if let Some(advice) = &failure.advice {
        write_stderr(&format!("  {}\n", harmless(advice)));
    }
    failure.code.into()
}

/// An error with its causes, each said once, and the system's in our spelling.
fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Most of our errors say their cause themselves.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    system(error).map_or(text.clone(), |error| text.replace(&error.to_string(), &plain(error)))
}

fn system(error: &anyhow::Error) -> Option<&io::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// A line for the person: `vang: …`.
pub(crate) fn note(text: &str) {
    write_stderr(&format!("vang: {}\n", indented(&harmless(text), "  ")));
}

fn write_stderr(text: &str) {
    // Who closed stderr does not want to hear it.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Nobody is there to read stdout any more: ends the command, and all is well.
pub(crate) fn nobody_reads() -> Failure {
    Failure { code: 0, ..Failure::new("") }
}

/// Prints bytes on stdout, now. Nobody there to read them any more: ends the command, and all is well.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => nobody_reads(),
        _ => Failure::new(format!("cannot write to stdout: {}", plain(&error))),
    })
}

/// Prints a line on stdout, now.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print(format!("{line}\n").as_bytes())
}

/// Is a person reading stdout?
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}
