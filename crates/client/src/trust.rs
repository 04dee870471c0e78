//! Known servers, as ssh knows its hosts: a server's key is stored at the first connection, and another key is refused
//! later. A server with a certificate from one of the system's trusted authorities can change its key.
//!
//! ```text
//! chat.example:65432 SHA256:…        a line each in $XDG_CONFIG_HOME/vang/known_servers
//! chat.example:443 authority         it had a certificate from an authority: from then on it must have one
//! ```
//!
//! It never asks, so a script gets the same answer as a person. The first connection must be trusted; for more safety
//! compare the key with the one that the server's operator gives you.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::verifier::Seen;

/// Maximum wait for another program's lock on the file of known servers: 1 s.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The first connection to a server, whose key is now stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUse {
    pub place: String,
    /// Its key, as `SHA256:…`.
    pub key: String,
    /// The file of known servers.
    pub file: PathBuf,
}

static FIRST_USE_HOOK: OnceLock<fn(&FirstUse)> = OnceLock::new();

/// Calls `hook` after every first connection to a server. Only the first call of this function counts.
pub fn on_first_use(hook: fn(&FirstUse)) {
    let _ = FIRST_USE_HOOK.set(hook);
}

/// Why a server's key is not accepted.
#[derive(Debug)]
pub(crate) enum PinError {
    /// Another key is known.
    Other {
        key: String,
        known: String,
        file: PathBuf,
        line: usize,
    },
    CannotStore {
        file: PathBuf,
        why: io::Error,
    },
    /// Without HOME and XDG_CONFIG_HOME there is no file of known servers.
    NoStore,
}

/// Compares the certificate of a handshake with the known key of `place`; stores it for a new place.
pub(crate) fn check_pin(place: &str, seen: &Seen) -> Result<(), PinError> {
    if seen.is_issued_by_root {
        // From now on a certificate without an authority is another server's. If this cannot be stored, the connection
        // is still as safe as a browser's.
        if let Some(file) = known_servers() {
            let _ = look_up(&file, place, AUTHORITY);
        }
        return Ok(());
    }
    let key = &seen.key;
    let file = known_servers().ok_or(PinError::NoStore)?;
    match look_up(&file, place, key) {
        Ok(Known::Same) => Ok(()),
        Ok(Known::New) => {
            if let Some(hook) = FIRST_USE_HOOK.get() {
                hook(&FirstUse { place: place.to_owned(), key: key.clone(), file });
            }
            Ok(())
        }
        Ok(Known::Other { known, line }) => Err(PinError::Other { key: key.clone(), known, file, line }),
        Err(why) => Err(PinError::CannotStore { file, why }),
    }
}

fn known_servers() -> Option<PathBuf> {
    Some(config_folder()?.join("known_servers"))
}

/// The folder for what a user's clients keep; `None` without HOME and XDG_CONFIG_HOME.
pub fn config_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("vang"))
}

#[derive(Debug, PartialEq, Eq)]
enum Known {
    Same,
    New,
    Other { known: String, line: usize },
}

/// Instead of a key: the server had a certificate from a trusted authority.
const AUTHORITY: &str = "authority";

fn find(text: &str, place: &str, key: &str) -> Known {
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        if words.next() == Some(place) {
            let known = match words.next().unwrap_or_default() {
                same if same == key => return Known::Same,
                AUTHORITY => "a certificate from a trusted authority",
                other => other,
            };
            return Known::Other { known: known.to_owned(), line: index + 1 };
        }
    }
    Known::New
}

fn look_up(file: &Path, place: &str, key: &str) -> io::Result<Known> {
    // Usually there is nothing to write; then read permission is enough.
    match fs::read_to_string(file) {
        Ok(text) => match find(&text, place, key) {
            Known::New => {}
            known => return Ok(known),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    // Two programs that connect at once to a new server write one line; they hold the lock only briefly.
    let until = Instant::now() + LOCK_WAIT;
    while let Err(TryLockError::WouldBlock) = File::try_lock(&opened) {
        if Instant::now() >= until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another program holds its lock"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    opened.read_to_string(&mut text)?;
    match find(&text, place, key) {
        Known::New => {}
        known => return Ok(known),
    }
    opened.seek(SeekFrom::End(0))?;
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    opened.write_all(format!("{gap}{place} {key}\n").as_bytes())?;
    Ok(Known::New)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stored_once_and_another_key_is_reported_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/known_servers");
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "a:11", "SHA256:y").unwrap(), Known::New);
        let other = Known::Other { known: "SHA256:y".to_owned(), line: 2 };
        assert_eq!(look_up(&file, "a:11", "SHA256:z").unwrap(), other);
        assert_eq!(fs::read_to_string(&file).unwrap(), "a:1 SHA256:x\na:11 SHA256:y\n");
    }

    #[test]
    fn a_server_of_an_authority_must_stay_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        assert_eq!(look_up(&file, "a:1", AUTHORITY).unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", AUTHORITY).unwrap(), Known::Same);
        let other = Known::Other { known: "a certificate from a trusted authority".to_owned(), line: 1 };
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), other);
    }

    #[test]
    fn a_read_only_file_is_enough_for_a_known_server() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        fs::write(&file, "a:1 SHA256:x\n").unwrap();
        let held = File::open(&file).unwrap();
        held.lock().unwrap();
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "b:1", "SHA256:x").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_without_a_final_newline_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        fs::write(&file, "# mine\na:1 SHA256:x").unwrap();
        assert_eq!(look_up(&file, "b:1", "SHA256:y").unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "b:1", "SHA256:y").unwrap(), Known::Same);
    }
}
