//! What `vang login` stored: tokens of this user, for servers and their journals.
//!
//! ```text
//! 127.0.0.1:65432 5f0c… ada vang_91…       a line each in $XDG_CONFIG_HOME/vang/tokens, mode 0600
//! chat.example:65432 77ab… ada vang_3e…    server, its journal, account, token; the last login is last
//! ```
//!
//! The file is replaced as a whole, so a reader sees the old one or the new one. Lines that this program does not
//! understand stay.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use vang_client::trouble::plain;
use vang_client::trust::config_folder;
use vang_client::{Identity, Proof, ServerAddr};
use vang_proto::Secret;

use crate::say::CommandError;
use crate::secret_input::read_private;
use crate::shell::quoted;

/// The largest file that is read: 1 MiB, some thousand tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Maximum wait for another program's lock: 1 s.
const LOCK_WAIT: Duration = Duration::from_secs(1);

const HEAD: &str = "\
# Tokens of `vang login`: server, its journal, account, token. Who has a token can act as you; `vang logout` ends it.
";

/// A token of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredToken {
    /// As `address_of` gives it.
    pub(crate) server: String,
    /// The journal's id.
    pub(crate) journal: String,
    /// The account.
    pub(crate) name: String,
    pub(crate) token: Secret,
}

/// The file. It may not exist yet.
#[derive(Debug)]
pub(crate) struct TokenStore {
    path: PathBuf,
}

/// A server as the store knows it: a Unix socket by its whole path.
pub(crate) fn address_of(server: &ServerAddr) -> String {
    match server {
        ServerAddr::Unix(path) => {
            let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
            ServerAddr::Unix(whole.unwrap_or_else(|_| path.clone())).to_string()
        }
        ServerAddr::Tcp { .. } => server.to_string(),
    }
}

impl TokenStore {
    /// The user's. `None`: neither HOME nor XDG_CONFIG_HOME is set, so nothing is stored.
    pub(crate) fn of_user() -> Option<TokenStore> {
        Some(TokenStore { path: config_folder()?.join("tokens") })
    }

    /// The user's, for storing something there.
    pub(crate) fn to_write() -> Result<TokenStore, CommandError> {
        let store = TokenStore::of_user().ok_or_else(|| {
            CommandError::new("cannot store the token: neither HOME nor XDG_CONFIG_HOME is set")
                .advise("set HOME or XDG_CONFIG_HOME to a folder that can be written")
        })?;
        store.lock().map(drop)?;
        Ok(store)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens for a server, oldest login first.
    pub(crate) fn of_server(&self, server: &str) -> Result<Vec<StoredToken>, CommandError> {
        let text = self.text()?;
        let tokens = text.expose().lines().filter_map(read_line);
        Ok(tokens.filter(|stored| stored.server == server).collect())
    }

    /// Stores a token behind all others; it replaces that of the same account.
    pub(crate) fn put(&self, stored: &StoredToken) -> Result<(), CommandError> {
        if stored.server.contains(['\n', '\r']) {
            let what = format!("cannot store a token for {:?}: its path has a line break", stored.server);
            return Err(CommandError::new(what));
        }
        self.change(|old| !is_same(old, stored), Some(stored))
    }

    /// Removes these tokens; others that came meanwhile stay.
    pub(crate) fn remove(&self, tokens: &[StoredToken]) -> Result<(), CommandError> {
        self.change(|old| !tokens.contains(old), None)
    }

    fn change(
        &self,
        stays: impl Fn(&StoredToken) -> bool,
        new: Option<&StoredToken>,
    ) -> Result<(), CommandError> {
        let _locked = self.lock()?;
        let text = self.text()?;
        let old = if text.is_empty() { HEAD } else { text.expose() };
        // No reallocation may leave a copy of a token behind.
        let mut lines = String::with_capacity(old.len() + 4_096);
        for line in old.lines().filter(|line| read_line(line).as_ref().is_none_or(&stays)) {
            lines.push_str(line);
            lines.push('\n');
        }
        if let Some(StoredToken { server, journal, name, token }) = new {
            for word in [server, journal, name] {
                lines.push_str(&quoted(word));
                lines.push(' ');
            }
            lines.push_str(token.expose());
            lines.push('\n');
        }
        let lines = Secret::new(lines);
        self.replace(lines.expose().as_bytes()).map_err(|error| self.cannot("write", &error))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        // Left over from a program that was killed; the lock says that nobody writes it now.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn text(&self) -> Result<Secret, CommandError> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Secret::new(String::new())),
            _ => read_private(&self.path, FILE_BYTES_MAX),
        }
    }

    /// Locks the folder, since the file itself is replaced. The folder is made, if it is not there.
    fn lock(&self) -> Result<File, CommandError> {
        let lock = || -> io::Result<File> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let opened = File::open(folder)?;
            let until = Instant::now() + LOCK_WAIT;
            while let Err(TryLockError::WouldBlock) = opened.try_lock() {
                if Instant::now() >= until {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "another program holds its lock"));
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok(opened)
        };
        lock().map_err(|error| self.cannot("write", &error))
    }

    fn cannot(&self, what: &str, error: &io::Error) -> CommandError {
        CommandError::new(format!("cannot {what} {}: {}", self.path.display(), plain(error)))
    }
}

/// Of one account on one server?
fn is_same(a: &StoredToken, b: &StoredToken) -> bool {
    (&a.server, &a.journal) == (&b.server, &b.journal) && is_name(&a.name, &b.name)
}

/// Do people mean the same account?
fn is_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn read_line(line: &str) -> Option<StoredToken> {
    if line.starts_with('#') {
        return None;
    }
    let words: [String; 4] = shlex::split(line)?.try_into().ok()?;
    let [server, journal, name, token] = words;
    Some(StoredToken { server, journal, name, token: Secret::new(token) })
}

/// The tokens of the account of this name, or of the last login, for each journal that the server has had.
pub(crate) fn of_account(tokens: &[StoredToken], name: Option<&str>) -> Vec<StoredToken> {
    let Some(name) = name.or_else(|| tokens.last().map(|last| last.name.as_str())) else { return Vec::new() };
    tokens.iter().filter(|stored| is_name(&stored.name, name)).cloned().collect()
}

/// Who one is with the tokens for a server: with a name that account, else the one that signed in last. `None`: there is no
/// such token.
pub(crate) fn identity(tokens: &[StoredToken], name: Option<&str>) -> Option<Identity> {
    // Without a name the journal decides first: another account can have signed in last at another one.
    let mut fitting: Vec<&StoredToken> = Vec::new();
    for stored in tokens.iter().filter(|stored| name.is_none_or(|name| is_name(&stored.name, name))) {
        fitting.retain(|earlier| earlier.journal != stored.journal);
        fitting.push(stored);
    }
    let proof = match fitting[..] {
        [] => return None,
        [only] => Proof::Token(only.token.clone()),
        _ => {
            let tokens = fitting.iter().map(|stored| (stored.journal.clone(), stored.token.clone()));
            Proof::TokenByJournal(tokens.collect())
        }
    };
    Some(Identity { name: name.map(str::to_owned), proof: Some(proof) })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn stored(server: &str, journal: &str, name: &str, token: &str) -> StoredToken {
        let [server, journal, name] = [server, journal, name].map(str::to_owned);
        StoredToken { server, journal, name, token: Secret::new(token.to_owned()) }
    }

    fn store(dir: &Path) -> TokenStore {
        TokenStore { path: dir.join("vang/tokens") }
    }

    /// The tokens of an identity, in words.
    fn tokens_of(identity: Option<Identity>) -> String {
        match identity.and_then(|identity| identity.proof) {
            None => "none".to_owned(),
            Some(Proof::Token(token)) => token.expose().to_owned(),
            Some(Proof::TokenByJournal(tokens)) => {
                let words = tokens.iter().map(|(journal, token)| format!("{journal}:{}", token.expose()));
                words.collect::<Vec<_>>().join(" ")
            }
            Some(Proof::Password(_)) => "a password".to_owned(),
        }
    }

    #[test]
    fn the_last_login_is_last_and_replaces_the_token_of_the_same_account() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert_eq!(store.of_server("a:1").unwrap(), []);
        store.put(&stored("a:1", "j", "ada", "vang_1")).unwrap();
        store.put(&stored("a:1", "j", "bob", "vang_2")).unwrap();
        store.put(&stored("unix:/run/my chat/x", "j", "ada", "vang_3")).unwrap();
        store.put(&stored("a:1", "j", "Ada", "vang_4")).unwrap();
        let text = fs::read_to_string(&store.path).unwrap();
        let lines = "a:1 j bob vang_2\n'unix:/run/my chat/x' j ada vang_3\na:1 j Ada vang_4\n";
        assert_eq!(text, format!("{HEAD}{lines}"));
        let tokens = store.of_server("a:1").unwrap();
        assert_eq!(tokens_of(identity(&tokens, None)), "vang_4");
        assert_eq!(tokens_of(identity(&tokens, Some("BOB"))), "vang_2");
        assert_eq!(tokens_of(identity(&tokens, Some("eve"))), "none");
        assert_eq!(store.of_server("unix:/run/my chat/x").unwrap().len(), 1);
        store.remove(&of_account(&tokens, None)).unwrap();
        assert_eq!(store.of_server("a:1").unwrap(), [stored("a:1", "j", "bob", "vang_2")]);
    }

    #[test]
    fn servers_that_share_an_address_have_each_their_token() {
        let tokens = [
            stored("a:1", "j", "ada", "vang_1"),
            stored("a:1", "k", "bob", "vang_2"),
            stored("a:1", "j", "cy", "vang_3"),
        ];
        assert_eq!(tokens_of(identity(&tokens, None)), "k:vang_2 j:vang_3");
        assert_eq!(tokens_of(identity(&tokens, Some("ada"))), "vang_1");
        assert_eq!(of_account(&tokens, None), tokens[2..]);
    }

    #[test]
    fn nobody_else_can_read_it_and_a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.put(&stored("a:1", "j", "ada", "vang_1")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&store.path), mode(store.path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&store.path, Permissions::from_mode(0o644)).unwrap();
        let error = store.of_server("a:1").unwrap_err();
        assert!(error.to_string().contains("can be used by others (mode 0644)"), "{error}");
        assert!(store.put(&stored("a:1", "j", "bob", "vang_2")).is_err());
    }

    #[test]
    fn lines_of_people_and_of_newer_programs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.put(&stored("a:1", "j", "ada", "vang_1")).unwrap();
        let text = "# mine\na:1 j ada vang_1 until-tomorrow\n'open quote\n";
        fs::write(&store.path, text).unwrap();
        store.put(&stored("a:1", "j", "ada", "vang_2")).unwrap();
        assert_eq!(fs::read_to_string(&store.path).unwrap(), format!("{text}a:1 j ada vang_2\n"));
        assert_eq!(store.of_server("a:1").unwrap(), [stored("a:1", "j", "ada", "vang_2")]);
    }

    #[test]
    fn a_path_with_a_line_break_and_a_locked_folder_store_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert!(store.put(&stored("unix:/a\nb:1 j eve x", "j", "ada", "vang_1")).is_err());
        store.put(&stored("a:1", "j", "ada", "vang_1")).unwrap();
        let held = File::open(store.path.parent().unwrap()).unwrap();
        held.lock().unwrap();
        let error = store.put(&stored("a:1", "j", "bob", "vang_2")).unwrap_err().to_string();
        assert!(error.contains("another program holds its lock"), "{error}");
    }
}
