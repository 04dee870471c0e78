//! The data folder: everything that a server keeps, in one place that nobody else may look into.
//!
//! ```text
//! vang/            0700
//!   format         "1\n": which program may open it; "restoring\n" while a restore fills the folder
//!   lock           held by flock while a server runs; its text names the holder
//!   journal.db     the truth; beside it SQLite's -wal and -shm
//!   view.db        rebuilt from the journal at any time
//!   find.db        the index of words, likewise
//!   reserve        room for a start on a full disk: see `Reserve`
//!   tls/           the server's own key.pem and certificate.pem
//!   admin.sock     where `vang admin` talks to the server
//! ```
//!
//! The kernel drops the lock with its holder, however that died: a lock is never stale, and nobody
//! need ever delete one. The names here are the only ones in the program.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::backup::ServerKey;
use crate::contract::JournalError;
use crate::file_watch::FileWatch;

/// The layout that this program writes and reads.
const FORMAT: u32 = 1;

/// What stands in the place of the layout while a restore fills the folder: no program starts on it.
const RESTORING: &str = "restoring";

/// Where the server's own key and certificate lie, and what they are called there.
const TLS: &str = "tls";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";

/// What is set aside: 256 KiB. Two databases share 32 KiB each among their connections, and more when their
/// WALs are long.
const RESERVE_BYTES: usize = 256 << 10;

/// The data folder, locked (`open`) or only looked into (`look`).
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: Option<FolderLock>,
}

/// The folder's lock, held as long as a clone of this lives.
#[derive(Clone, Debug)]
pub struct FolderLock(Arc<HeldLock>);

#[derive(Debug)]
struct HeldLock {
    folder: PathBuf,
    held: Mutex<(File, FileWatch)>,
}

/// What `FolderLock::hold` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It was held all the time.
    Held,
    /// Its file was gone, or another; it was taken again.
    TakenAgain,
}

impl FolderLock {
    fn new(folder: &Path, file: File) -> Result<FolderLock, FolderError> {
        let path = folder.join("lock");
        let watch = FileWatch::hold(&path).map_err(io_error("look at", &path))?;
        Ok(FolderLock(Arc::new(HeldLock { folder: folder.to_owned(), held: Mutex::new((file, watch)) })))
    }

    /// Makes sure that nobody else can take the folder: somebody may have removed the lock's file, and then a
    /// second server would start beside this one.
    pub fn hold(&self) -> Result<Lock, JournalError> {
        let HeldLock { folder, held } = &*self.0;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.1.look().is_ok() {
            return Ok(Lock::Held);
        }
        let path = folder.join("lock");
        let again = || -> io::Result<Option<(File, FileWatch)>> {
            create_private(&path)?;
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some((file, FileWatch::hold(&path)?))),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(errno) => Err(errno.into()),
            }
        };
        match again() {
            Ok(Some((mut file, watch))) => {
                let _ = name_holder(&mut file);
                *held = (file, watch);
                Ok(Lock::TakenAgain)
            }
            Ok(None) => Err(JournalError::Unavailable(
                "the data folder's lock file was removed, and another process has taken the folder; stop one of the two"
                    .to_owned(),
            )),
            // Where the folder is gone, so is the journal, and that is told.
            Err(_) => Ok(Lock::Held),
        }
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A server, or a command that needs to be alone, has it.
    #[error("the data folder {} is in use by {by}", path.display())]
    Held {
        /// Program, pid, since when, on which host: as the holder wrote it.
        by: String,
        /// The folder.
        path: PathBuf,
    },
    /// From a newer program.
    #[error(
        "the data folder {} was made by a newer vang: format {found}; this program reads {FORMAT}",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Half of a data folder: not ours to guess what it is.
    #[error("{} has a journal.db but no format file; if it is a vang journal of format {FORMAT}, write `{FORMAT}` into {}", path.display(), path.join("format").display())]
    NoFormat {
        /// The folder.
        path: PathBuf,
    },
    /// The `format` file does not hold a number.
    #[error("{} holds {found:?} where the number of a format stands", path.display())]
    BadFormat {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A restore is filling it, or was cut off: what is in it is not a whole journal.
    #[error("a restore into {} has not come to its end: run it again, or remove the folder", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A restore would replace a journal.
    #[error("there is a journal in {} already", path.display())]
    HoldsJournal {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to look at.
    #[error("there is no journal in {}", path.display())]
    NoJournal {
        /// The folder.
        path: PathBuf,
    },
    /// No environment to find the default folder from.
    #[error("neither XDG_DATA_HOME nor HOME is set: name the data folder")]
    NoHome,
    /// The file system said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

impl DataFolder {
    /// Makes the folder if there is none, locks it, and makes sure that this program may use it.
    pub fn open(path: impl AsRef<Path>) -> Result<DataFolder, FolderError> {
        let path = path.as_ref();
        create_folder(path)?;
        let lock = take_lock(path)?;
        if !has_known_format(path)? {
            if file_has_content(&path.join("journal.db")) {
                return Err(FolderError::NoFormat { path: path.to_owned() });
            }
            write_format(path, &FORMAT.to_string())?;
        }
        let folder = DataFolder { path: path.to_owned(), lock: Some(FolderLock::new(path, lock)?) };
        // SQLite gives its -wal and -shm the mode of the database that they belong to.
        create_private(&folder.journal_db()).map_err(io_error("create", &folder.journal_db()))?;
        create_private(&folder.view_db()).map_err(io_error("create", &folder.view_db()))?;
        Ok(folder)
    }

    /// A folder that a server may be using right now: to read its journal only. Takes no lock and
    /// writes nothing.
    pub fn look(path: impl AsRef<Path>) -> Result<DataFolder, FolderError> {
        let path = path.as_ref();
        let has_journal = file_has_content(&path.join("journal.db"));
        match has_known_format(path)? {
            _ if !has_journal => Err(FolderError::NoJournal { path: path.to_owned() }),
            false => Err(FolderError::NoFormat { path: path.to_owned() }),
            true => Ok(DataFolder { path: path.to_owned(), lock: None }),
        }
    }

    /// `$XDG_DATA_HOME/vang`, or `$HOME/.local/share/vang`.
    pub fn default_path() -> Result<PathBuf, FolderError> {
        default_path_in(std::env::var_os("XDG_DATA_HOME").as_deref(), std::env::var_os("HOME").as_deref())
    }

    /// Its server's own socket, inside the folder.
    pub const SOCKET: &str = "admin.sock";

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, if it was opened and not only looked into.
    pub fn lock(&self) -> Option<FolderLock> {
        self.lock.clone()
    }

    /// Where the server's own key and certificate lie.
    pub fn tls(&self) -> PathBuf {
        self.path.join(TLS)
    }

    /// The server's own TLS key; `None` where it has none, as one that never ran or was given files.
    pub fn server_key(&self) -> Result<Option<ServerKey>, FolderError> {
        let read = |name: &str| match fs::read(self.tls().join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &self.tls().join(name))(source)),
        };
        let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
        Ok(certificate.zip(key).map(|(certificate, key)| ServerKey { certificate, key }))
    }

    /// The journal.
    pub fn journal_db(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// The tables that answer questions; disposable.
    pub fn view_db(&self) -> PathBuf {
        self.path.join("view.db")
    }

    /// The index of words; disposable.
    pub fn find_db(&self) -> PathBuf {
        self.path.join("find.db")
    }

    /// Room that is set aside for a start on a full disk.
    pub fn reserve(&self) -> Reserve {
        Reserve { path: self.path.join("reserve") }
    }

    /// Where `vang admin` talks to the server.
    pub fn socket(&self) -> PathBuf {
        self.path.join(DataFolder::SOCKET)
    }
}

/// A data folder that a restore is filling, locked. No server starts on it before `finish`; when this is
/// dropped before, what it made is taken away again.
#[derive(Debug)]
pub struct Restoring {
    path: PathBuf,
    /// The lock; `None` once it is finished.
    lock: Option<File>,
    is_new: bool,
    /// A restore that was cut off left it.
    is_unfinished: bool,
}

impl Restoring {
    /// Makes the folder if there is none, locks it, and marks it. What a restore that was cut off left in
    /// it goes; a journal stays, and is refused.
    pub fn begin(path: impl AsRef<Path>) -> Result<Restoring, FolderError> {
        let path = path.as_ref();
        let is_new = !path.exists();
        create_folder(path)?;
        let lock = take_lock(path)?;
        let is_unfinished = match has_known_format(path) {
            Ok(_) => false,
            Err(FolderError::Unfinished { .. }) => true,
            Err(error) => return Err(error),
        };
        // Its log alone is a journal too: what was appended last.
        let has_journal =
            ["journal.db", "journal.db-wal"].iter().any(|name| file_has_content(&path.join(name)));
        if has_journal && !is_unfinished {
            return Err(FolderError::HoldsJournal { path: path.to_owned() });
        }
        let restoring = Restoring { path: path.to_owned(), lock: Some(lock), is_new, is_unfinished };
        // The mark first: from here on until `finish` nobody may take this for a journal.
        write_format(path, RESTORING)?;
        restoring.remove_made()?;
        create_private(&restoring.view_db()).map_err(io_error("create", &restoring.view_db()))?;
        Ok(restoring)
    }

    /// Where the journal is to be made.
    pub fn journal_db(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// Where the tables may be made.
    pub fn view_db(&self) -> PathBuf {
        self.path.join("view.db")
    }

    /// Puts the server's key there. `false`: the folder has one already, which stays.
    pub fn put_server_key(&self, server_key: &ServerKey) -> Result<bool, FolderError> {
        let folder = self.path.join(TLS);
        if folder.join(KEY).exists() && !self.is_unfinished {
            return Ok(false);
        }
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("create", &folder)(error));
            }
            _ => {}
        }
        // The key last: where it is, both are.
        for (name, bytes) in [(CERTIFICATE, &server_key.certificate), (KEY, &server_key.key)] {
            let path = folder.join(name);
            let write = || -> io::Result<()> {
                let mut file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
                file.set_permissions(Permissions::from_mode(0o600))?;
                file.write_all(bytes)?;
                file.sync_all()
            };
            write().map_err(io_error("write", &path))?;
        }
        sync_folder(&folder).map_err(io_error("sync", &folder))?;
        Ok(true)
    }

    /// Makes the journal survive a power cut and then the folder usable, in one step: the format's file is
    /// replaced by a rename.
    pub fn finish(mut self) -> Result<(), FolderError> {
        let journal = self.journal_db();
        let sync = || File::open(&journal)?.sync_all();
        sync().map_err(io_error("sync", &journal))?;
        sync_folder(&self.path).map_err(io_error("sync", &self.path))?;
        write_format(&self.path, &FORMAT.to_string())?;
        self.lock = None;
        Ok(())
    }

    fn remove_made(&self) -> Result<(), FolderError> {
        for name in ["journal.db", "view.db"] {
            for end in ["-wal", "-shm", "-journal", ""] {
                let path = self.path.join(format!("{name}{end}"));
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // The mark last: what could not be removed is still no journal.
        if self.lock.is_some() && self.remove_made().is_ok() {
            let _ = fs::remove_file(self.path.join("format"));
            if self.is_new {
                let _ = fs::remove_dir_all(self.path.join(TLS));
                let _ = fs::remove_file(self.path.join("lock"));
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// Even to read, SQLite needs some room, for what its connections share: on a full disk there is none
/// but this.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Sets the room aside, unless that was done. If there is none, that is how it is.
    pub fn keep(&self) {
        if file_has_content(&self.path) {
            return;
        }
        let written = (|| -> io::Result<()> {
            create_private(&self.path)?;
            OpenOptions::new().write(true).open(&self.path)?.write_all(&[0; RESERVE_BYTES])
        })();
        if written.is_err() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Are so many bytes free on its disk? If that cannot be told, yes: whoever writes will find out.
    pub fn has_room(&self, bytes: u64) -> bool {
        let folder = self.path.parent().unwrap_or(&self.path);
        rustix::fs::statvfs(folder).map_or(true, |found| found.f_bavail * found.f_frsize >= bytes)
    }

    /// Gives the room free. `false`: there was none.
    pub fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// Makes an empty file that only its owner may read, whatever the umask. A file that is there stays.
/// It is not even opened: to close any descriptor of a database drops SQLite's locks on it.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes what was created or removed in a folder survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_folder(path: &Path) -> Result<(), FolderError> {
    match fs::read_dir(path) {
        Ok(mut files) => {
            // Somebody made it for us, perhaps just now with mkdir. One with other things in it may be
            // somebody's home: its mode is not ours to change, and our files are 0600 anyway.
            if files.next().is_none() {
                let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
            }
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(io_error("open", path)(source)),
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_parents(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error("create", path)(error));
        }
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io_error("protect", path))?;
    sync_folder(parent).map_err(io_error("sync", parent))
}

fn create_parents(path: &Path) -> Result<(), FolderError> {
    // As the XDG specification wants it: folders on the way are made 0700, too.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

/// How long a start waits for what the one before it may still hold, such as the folder's lock: 1 s. `kill -9` returns
/// before the kernel has taken a process down, which on a busy machine takes a while; whoever starts the next one at
/// once, as scripts do, must not be told that the first still runs.
pub const HOLDER_DIES_WITHIN: Duration = Duration::from_secs(1);

/// How often a start looks meanwhile: every 10 ms, which nobody notices.
pub const HOLDER_LOOK: Duration = Duration::from_millis(10);

fn take_lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("lock");
    create_private(&path).map_err(io_error("create", &path))?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io_error("open", &path))?;
    let asked = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if asked.elapsed() < HOLDER_DIES_WITHIN => sleep(HOLDER_LOOK),
            Err(Errno::WOULDBLOCK) => {
                return Err(FolderError::Held { by: holder_named_in(&mut file), path: folder.to_owned() });
            }
            Err(errno) => return Err(io_error("lock", &path)(errno.into())),
        }
    }
    // The lock is what counts; its text is a courtesy, and a full disk must not keep a server away.
    let _ = name_holder(&mut file);
    Ok(file)
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(this_process().as_bytes())
}

fn holder_named_in(file: &mut File) -> String {
    let mut text = String::new();
    // Empty in the instant between its being locked and being written.
    match file.take(1_000).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

/// Such as "vang serve, pid 4711, since 2026-05-01T09:30:00Z, on chat.example".
fn this_process() -> String {
    let mut args = std::env::args_os();
    let program = args.next().map(PathBuf::from);
    let mut name = program
        .as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| "vang".to_owned(), |name| name.to_string_lossy().into_owned());
    // The subcommand, never an option: what follows one may be a secret.
    if let Some(subcommand) = args.next().filter(|arg| !arg.to_string_lossy().starts_with('-')) {
        name = format!("{name} {}", subcommand.to_string_lossy());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}, pid {}, since {}, on {host}\n", std::process::id(), rfc3339(SystemTime::now()))
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 0000-03-01, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// False: there is no `format` file.
fn has_known_format(folder: &Path) -> Result<bool, FolderError> {
    let path = folder.join("format");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(io_error("read", &path)(source)),
    };
    match text.trim().parse::<u32>() {
        Ok(FORMAT) => Ok(true),
        Err(_) if text.trim() == RESTORING => Err(FolderError::Unfinished { path: folder.to_owned() }),
        Ok(found) if found > FORMAT => Err(FolderError::Newer { path: folder.to_owned(), found }),
        _ => Err(FolderError::BadFormat { path, found: text }),
    }
}

fn write_format(folder: &Path, format: &str) -> Result<(), FolderError> {
    // Renamed into place, so that a crash cannot leave half a number.
    let (path, fresh) = (folder.join("format"), folder.join("format.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(format!("{format}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        sync_folder(folder)
    };
    write().map_err(io_error("write", &path))
}

fn file_has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.len() > 0)
}

fn default_path_in(xdg_data_home: Option<&OsStr>, home: Option<&OsStr>) -> Result<PathBuf, FolderError> {
    // The XDG specification: a relative path is invalid and ignored.
    let absolute = |path: &OsStr| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let data = xdg_data_home
        .and_then(absolute)
        .or_else(|| home.and_then(absolute).map(|home| home.join(".local/share")));
    data.map(|data| data.join("vang")).ok_or(FolderError::NoHome)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn since_when_is_said_in_utc() {
        for (seconds, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn the_default_is_where_xdg_says() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            default_path_in(xdg.map(OsStr::new), home.map(OsStr::new)).ok()
        };
        assert_eq!(path(Some("/data"), Some("/home/ada")), Some("/data/vang".into()));
        assert_eq!(path(None, Some("/home/ada")), Some("/home/ada/.local/share/vang".into()));
        assert_eq!(path(Some("relative"), Some("/home/ada")), Some("/home/ada/.local/share/vang".into()));
        assert_eq!(path(Some(""), None), None);
    }
}
