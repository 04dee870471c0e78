//! Where a secret comes from: a terminal that does not show it, stdin, a variable, or a file that nobody else can read. Never
//! from the command line, which all users of the machine can see.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Signal, geteuid, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use vang_client::trouble::plain;
use vang_proto::Secret;
use vang_proto::limits::SECRET_BYTES_MAX;

use crate::say::{CommandError, prompt};
use crate::shell::{TOKEN_VARIABLE, quoted_path, variable};

/// The longest line that a terminal gives in one piece, with its newline.
const TERMINAL_LINE_BYTES: usize = 4_096;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;

/// The token in `VANG_TOKEN`; an empty variable counts as unset.
pub(crate) fn token_of_variable() -> Result<Option<Secret>, CommandError> {
    variable(TOKEN_VARIABLE).map(|text| checked_token(text, TOKEN_VARIABLE)).transpose()
}

/// The token in a file of one line, which only the user can read.
pub(crate) fn token_of_file(path: &Path) -> Result<Secret, CommandError> {
    let text = read_private(path, SECRET_BYTES_MAX as u64 + 2)?;
    checked_token(text.expose().to_owned(), &path.display().to_string())
}

/// The token in the next line of stdin.
pub(crate) fn token_of_stdin() -> Result<Secret, CommandError> {
    checked_token(line_of_stdin("the token")?.expose().to_owned(), "stdin")
}

/// Tokens have no spaces: a file or variable with more than one word has something else.
fn checked_token(text: String, source: &str) -> Result<Secret, CommandError> {
    let token = Secret::new(text.trim().to_owned());
    drop(Secret::new(text));
    match token.expose() {
        "" => Err(CommandError::new(format!("{source} is empty; it must have a token"))),
        word if word.len() > SECRET_BYTES_MAX || word.contains(|c: char| !c.is_ascii_graphic()) => {
            Err(CommandError::new(format!("{source} has no token: a token is one word, as in vang_5c1f…")))
        }
        _ => Ok(token),
    }
}

/// Codes are pasted, with spaces around them, or as the whole link for a browser.
fn checked_code(pasted: &Secret) -> Result<Secret, CommandError> {
    let text = pasted.expose().trim();
    let in_link =
        text.split_once("#invite=").map(|(_, fragment)| fragment.split('&').next().unwrap_or_default());
    let code = Secret::new(in_link.unwrap_or(text).to_owned());
    match code.is_empty() {
        true => Err(CommandError::usage("the code is empty; nothing was changed")
            .advise("a code is one word, as in vang_invite_5c1f…")),
        false => Ok(code),
    }
}

/// The text of a file of secrets, which must be the user's and closed to all others.
pub(crate) fn read_private(path: &Path, bytes_max: u64) -> Result<Secret, CommandError> {
    let cannot =
        |error: &io::Error| CommandError::new(format!("cannot read {}: {}", path.display(), plain(error)));
    let file = File::open(path).map_err(|error| cannot(&error))?;
    // Of the open file: another file can have its name by now.
    let found = file.metadata().map_err(|error| cannot(&error))?;
    let own = geteuid().as_raw();
    if found.uid() != own {
        let what = format!("{} belongs to another user (uid {}, not {own})", path.display(), found.uid());
        return Err(CommandError::new(what)
            .advise("secrets are read only from your own files: copy it to a file of yours, mode 0600"));
    }
    if found.mode() & 0o077 != 0 {
        let what = format!("{} can be used by others (mode {:04o})", path.display(), found.mode() & 0o7777);
        return Err(CommandError::new(what).advise(format!("close it: chmod 600 {}", quoted_path(path))));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(CommandError::new(format!("{} has more than {bytes_max} bytes", path.display())));
    }
    text_of(bytes, &path.display().to_string())
}

/// The next line of stdin, without its end. Each secret that a command reads is a line of its own.
fn line_of_stdin(what: &str) -> Result<Secret, CommandError> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(SECRET_BYTES_MAX as u64 + 2).read_until(b'\n', &mut bytes);
    read.map_err(|error| CommandError::new(format!("cannot read stdin: {}", plain(&error))))?;
    if bytes.is_empty() {
        return Err(CommandError::usage(format!("stdin has no line for {what}"))
            .advise(format!("write {what} to stdin, as one line")));
    }
    line_in(bytes, what)
}

/// Asks on the terminal, without showing what is typed. A terminal is needed: `flag` says how it goes without one.
fn ask(question: &str, flag: &str) -> Result<Secret, CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::usage("stdin is no terminal, so nobody can be asked for a password")
            .advise(format!("give it on stdin, with {flag}")));
    }
    let failed = |error: &io::Error| CommandError::new(format!("cannot use the terminal: {}", plain(error)));
    // First of all: who sees the question can type.
    let silent = Silent::new().map_err(|error| failed(&error))?;
    prompt(question);
    let mut bytes = vec![0; TERMINAL_LINE_BYTES];
    let read = stdin.lock().read(&mut bytes);
    drop(silent);
    // The person's Enter was not shown either.
    prompt("\n");
    bytes.truncate(read.map_err(|error| failed(&error))?);
    if bytes.contains(&CTRL_C) {
        drop(Secret::new(String::from_utf8(bytes).unwrap_or_default()));
        // As if it had not been read: a shell sees that its command was interrupted.
        let _ = kill_process(getpid(), Signal::INT);
        return Err(CommandError::new("interrupted"));
    }
    if bytes.is_empty() {
        return Err(CommandError::new("nothing was typed, so nothing was changed"));
    }
    line_in(bytes, "the password")
}

/// The terminal without echo, until this is dropped.
struct Silent {
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Silent> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Ctrl-C ends the line instead of the process, so that the terminal is always as it was afterwards.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG;
        silent.local_modes |= LocalModes::ICANON;
        silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        // What was typed before the question is no answer to it.
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silent { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn line_in(mut bytes: Vec<u8>, what: &str) -> Result<Secret, CommandError> {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.len() > SECRET_BYTES_MAX {
        let what = format!("{what} has more than {SECRET_BYTES_MAX} bytes, the maximum");
        return Err(CommandError::usage(what));
    }
    text_of(bytes, what)
}

fn text_of(bytes: Vec<u8>, what: &str) -> Result<Secret, CommandError> {
    let text = String::from_utf8(bytes).map(Secret::new);
    text.map_err(|_| CommandError::new(format!("{what} is not UTF-8 text")))
}

/// Where a command takes passwords from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordSource {
    Terminal,
    Stdin,
}

/// How a command is told to read passwords from stdin.
const FLAG: &str = "--password-stdin";

impl PasswordSource {
    pub(crate) fn by_flag(is_stdin: bool) -> PasswordSource {
        if is_stdin { PasswordSource::Stdin } else { PasswordSource::Terminal }
    }

    /// A password that exists; it can be empty.
    pub(crate) fn password(self, question: &str) -> Result<Secret, CommandError> {
        match self {
            PasswordSource::Stdin => line_of_stdin("the password"),
            PasswordSource::Terminal => ask(question, FLAG),
        }
    }

    /// The code of an invitation.
    pub(crate) fn code(self, question: &str) -> Result<Secret, CommandError> {
        let code = match self {
            PasswordSource::Stdin => line_of_stdin("the code")?,
            PasswordSource::Terminal => ask(question, "--code-stdin")?,
        };
        checked_code(&code)
    }

    /// A new password; a person types it twice.
    pub(crate) fn new_password(self) -> Result<Secret, CommandError> {
        let new = match self {
            PasswordSource::Stdin => line_of_stdin("the new password")?,
            PasswordSource::Terminal => ask("New password: ", FLAG)?,
        };
        if new.is_empty() {
            return Err(CommandError::usage("the new password is empty; nothing was changed")
                .advise(format!("give one of 1 to {SECRET_BYTES_MAX} bytes")));
        }
        if self == PasswordSource::Terminal && ask("The new password again: ", FLAG)? != new {
            return Err(CommandError::new("the two new passwords differ; nothing was changed"));
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_code_is_taken_from_a_link_too() {
        let code =
            |text: &str| checked_code(&Secret::new(text.to_owned())).map(|code| code.expose().to_owned());
        for text in [
            "vang_invite_1",
            " vang_invite_1\t",
            "https://chat.example/#invite=vang_invite_1",
            "#invite=vang_invite_1&name=ada",
        ] {
            assert_eq!(code(text).unwrap(), "vang_invite_1", "{text}");
        }
        for empty in ["", " ", "https://chat.example/#invite=", "#invite=&name=ada"] {
            assert!(code(empty).is_err(), "{empty}");
        }
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "vang_5ec4e7\n").unwrap();
        for open in [0o644, 0o640, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let error = token_of_file(&path).unwrap_err();
            assert!(error.to_string().contains(&format!("(mode {open:04o})")), "{error}");
            assert_eq!(error.advice(), format!("close it: chmod 600 {}", path.display()));
        }
        for closed in [0o600, 0o400] {
            fs::set_permissions(&path, Permissions::from_mode(closed)).unwrap();
            assert_eq!(token_of_file(&path).unwrap().expose(), "vang_5ec4e7");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for wrong in
            ["", "  \n", "two words", "vang_1\nvang_2", "chìa-khóa", &"x".repeat(SECRET_BYTES_MAX + 1)]
        {
            let error = checked_token(wrong.to_owned(), "FILE").unwrap_err().to_string();
            assert!(error.starts_with("FILE "), "{error}");
            assert!(wrong.trim().is_empty() || !error.contains(wrong), "{error}");
        }
        assert_eq!(checked_token(" vang_1 \r\n".to_owned(), "FILE").unwrap().expose(), "vang_1");
    }

    #[test]
    fn a_line_loses_its_end_only() {
        let line = |text: &str| {
            line_in(text.as_bytes().to_vec(), "it").map(|line| line.expose().to_owned()).unwrap()
        };
        assert_eq!(line(" correct horse \r\n"), " correct horse ");
        assert_eq!(line("correct horse"), "correct horse");
        assert_eq!(line("\n"), "");
        assert!(line_in(vec![b'x'; SECRET_BYTES_MAX + 1], "it").is_err());
        assert!(line_in(vec![0xff], "it").is_err());
    }
}
