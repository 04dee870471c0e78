//! The data folder: all files of a server, private to its user.
//!
//! ```text
//! vang/            0700
//!   format         "1\n": which program may open it; "restoring\n" while a restore fills the folder
//!   lock           held by flock while a server runs; its text names the holder
//!   journal.db     the journal; with SQLite's -wal and -shm
//!   view.db        the view; rebuilt from the journal at any time
//!   find.db        the index for find; likewise
//!   seen.db        when and from where accounts signed in; can be lost, and is in no backup
//!   reserve        space for a start on a full disk: see `Reserve`
//!   tls/           the server's own key.pem and certificate.pem
//!   admin.sock     where `vang admin` talks to the server
//! ```
//!
//! The kernel releases the lock when its holder ends, however that happens: a lock is never stale and never
//! needs to be deleted. The file names are defined only here.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::backup::ServerKey;
use crate::contract::JournalError;
use crate::file_watch::FileWatch;
use crate::time::rfc3339;

const FORMAT: u32 = 1;

/// The content of `format` while a restore fills the folder: no program starts on it.
const RESTORING: &str = "restoring";

const TLS: &str = "tls";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";

/// 256 KiB. Two databases need 32 KiB each of memory shared by their connections, and more when their WALs are
/// long.
const RESERVE_BYTES: usize = 256 << 10;

/// The data folder, locked (`open`) or only read (`look`).
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: Option<FolderLock>,
}

/// The folder's lock, held while any clone of this exists.
#[derive(Clone, Debug)]
pub struct FolderLock(Arc<HeldLock>);

#[derive(Debug)]
struct HeldLock {
    folder: PathBuf,
    held: Mutex<(File, FileWatch)>,
}

/// The result of `FolderLock::hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    Held,
    /// The lock file was removed or replaced; the lock was taken again.
    TakenAgain,
}

impl FolderLock {
    fn new(folder: &Path, file: File) -> Result<FolderLock, FolderError> {
        let path = folder.join("lock");
        let watch = FileWatch::hold(&path).map_err(io_error("look at", &path))?;
        Ok(FolderLock(Arc::new(HeldLock { folder: folder.to_owned(), held: Mutex::new((file, watch)) })))
    }

    /// Makes sure that no other process can lock the folder. If the lock file was removed, a second server
    /// could start; then the lock is taken again.
    pub fn hold(&self) -> Result<LockState, JournalError> {
        let HeldLock { folder, held } = &*self.0;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.1.look().is_ok() {
            return Ok(LockState::Held);
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
                let _ = write_holder(&mut file);
                *held = (file, watch);
                Ok(LockState::TakenAgain)
            }
            Ok(None) => Err(JournalError::Unavailable(
                "the data folder's lock file was removed, and another process has taken the folder; stop one of the two"
                    .to_owned(),
            )),
            // Without the folder there is no journal, which is reported elsewhere.
            Err(_) => Ok(LockState::Held),
        }
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A server, or a command that needs exclusive use, holds the lock.
    #[error("the data folder {} is in use by {by}", path.display())]
    Held {
        /// Program, pid, start time and host, as the holder wrote it.
        by: String,
        path: PathBuf,
    },
    #[error(
        "the data folder {} was made by a newer vang: format {found}; this program reads {FORMAT}",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    /// A journal without a format file.
    #[error("{} has a journal.db but no format file; if it is a vang journal of format {FORMAT}, write `{FORMAT}` into {}", path.display(), path.join("format").display())]
    NoFormat { path: PathBuf },
    #[error("{} contains {found:?} instead of a format number", path.display())]
    BadFormat { path: PathBuf, found: String },
    /// A restore is running or was interrupted: the journal is incomplete.
    #[error("the restore into {} is incomplete: run it again, or remove the folder", path.display())]
    Unfinished { path: PathBuf },
    #[error("there is a journal in {} already", path.display())]
    HoldsJournal { path: PathBuf },
    /// Other files, and nothing that vang has made.
    #[error("{} is not a data folder of vang: it has other files, such as {}", path.display(), found.display())]
    NotOurs { path: PathBuf, found: PathBuf },
    #[error("there is no journal in {}", path.display())]
    NoJournal { path: PathBuf },
    #[error("neither XDG_DATA_HOME nor HOME is set: name the data folder")]
    NoHome,
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl DataFolder {
    /// Creates the folder if it is missing, locks it, and checks its format.
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
        // SQLite gives -wal and -shm the database's mode.
        create_private(&folder.journal_db()).map_err(io_error("create", &folder.journal_db()))?;
        create_private(&folder.view_db()).map_err(io_error("create", &folder.view_db()))?;
        Ok(folder)
    }

    /// Opens a folder that a server may be using, to read its journal only. Takes no lock and writes nothing.
    pub fn look(path: impl AsRef<Path>) -> Result<DataFolder, FolderError> {
        let path = path.as_ref();
        let has_journal = file_has_content(&path.join("journal.db"));
        match has_known_format(path)? {
            _ if !has_journal => Err(FolderError::NoJournal { path: path.to_owned() }),
            false => Err(FolderError::NoFormat { path: path.to_owned() }),
            true => Ok(DataFolder { path: path.to_owned(), lock: None }),
        }
    }

    /// Has no server used this folder yet? One that is starting on it holds its lock.
    pub fn is_unused(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let is_held = || {
            // Not held up by a FIFO of that name in somebody else's folder.
            let flags = OFlags::NONBLOCK.bits() as i32;
            let lock = OpenOptions::new().read(true).custom_flags(flags).open(path.join("lock"));
            lock.is_ok_and(|lock| {
                flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
            })
        };
        !["format", "journal.db"].iter().any(|name| file_has_content(&path.join(name))) && !is_held()
    }

    /// `$XDG_DATA_HOME/vang`, or `$HOME/.local/share/vang`.
    pub fn default_path() -> Result<PathBuf, FolderError> {
        default_path_in(std::env::var_os("XDG_DATA_HOME").as_deref(), std::env::var_os("HOME").as_deref())
    }

    /// The name of the server's own socket in the folder.
    pub const SOCKET: &str = "admin.sock";

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, if the folder was opened with `open`.
    pub fn lock(&self) -> Option<FolderLock> {
        self.lock.clone()
    }

    /// The folder of the server's own key and certificate.
    pub fn tls(&self) -> PathBuf {
        self.path.join(TLS)
    }

    /// The server's own TLS key; `None` if it has none: it never ran, or uses given files.
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

    /// The view; disposable.
    pub fn view_db(&self) -> PathBuf {
        self.path.join("view.db")
    }

    /// The index for find; disposable.
    pub fn find_db(&self) -> PathBuf {
        self.path.join("find.db")
    }

    /// When and from where accounts signed in; disposable, and in no backup.
    pub fn seen_db(&self) -> PathBuf {
        self.path.join("seen.db")
    }

    /// Space reserved for a start on a full disk.
    pub fn reserve(&self) -> Reserve {
        Reserve { path: self.path.join("reserve") }
    }

    /// The socket on which `vang admin` talks to the server.
    pub fn socket(&self) -> PathBuf {
        self.path.join(DataFolder::SOCKET)
    }
}

/// A locked data folder that a restore is filling. No server starts on it before `finish`; dropping it earlier
/// removes everything it made.
#[derive(Debug)]
pub struct Restoring {
    path: PathBuf,
    /// `None` after `finish`.
    lock: Option<File>,
    is_new: bool,
    /// An interrupted restore left the folder.
    is_unfinished: bool,
}

impl Restoring {
    /// Creates the folder if it is missing, locks it, and marks it as incomplete. Removes what an interrupted
    /// restore left; a folder with a journal is refused.
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
        // A WAL alone is a journal too: it has the newest entries.
        let has_journal =
            ["journal.db", "journal.db-wal"].iter().any(|name| file_has_content(&path.join(name)));
        if has_journal && !is_unfinished {
            return Err(FolderError::HoldsJournal { path: path.to_owned() });
        }
        let restoring = Restoring { path: path.to_owned(), lock: Some(lock), is_new, is_unfinished };
        // The mark first: from here until `finish` this is not a journal.
        write_format(path, RESTORING)?;
        restoring.remove_made()?;
        create_private(&restoring.view_db()).map_err(io_error("create", &restoring.view_db()))?;
        Ok(restoring)
    }

    /// The path for the journal.
    pub fn journal_db(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// The path for the view.
    pub fn view_db(&self) -> PathBuf {
        self.path.join("view.db")
    }

    /// Writes the server's key. `false`: the folder already has one, which stays.
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
        // The key last: if it is there, both are.
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

    /// Syncs the journal, then makes the folder usable in one step: the format file is replaced by a rename.
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
        // The mark last: a partly removed restore is still not a journal.
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

/// Reserved disk space. Even to read, SQLite needs space for memory that its connections share; on a full disk
/// this is the only space.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Reserves the space if it is not reserved yet. Without free space it does nothing.
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

    /// Are `bytes` free on the disk? `true` if unknown: the write will show it.
    pub fn has_room(&self, bytes: u64) -> bool {
        let folder = self.path.parent().unwrap_or(&self.path);
        rustix::fs::statvfs(folder).map_or(true, |found| found.f_bavail * found.f_frsize >= bytes)
    }

    /// Frees the reserved space. `false`: there was none.
    pub fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// Creates an empty file with mode 0600 whatever the umask. An existing file stays and is not even opened:
/// closing any descriptor of a database drops SQLite's locks on it.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs a folder, so that created and removed names survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_folder(path: &Path) -> Result<(), FolderError> {
    match fs::read_dir(path) {
        Ok(files) => {
            let names: Vec<OsString> = files.flatten().map(|file| file.file_name()).collect();
            if let Some(found) = not_ours(&names) {
                return Err(FolderError::NotOurs { path: path.to_owned(), found: found.into() });
            }
            // An empty folder was made for us and is closed for others. One with our files keeps its mode; they are 0600.
            if names.is_empty() {
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

/// A file by which this is somebody else's folder, such as a home or a git clone: of several the first. A folder with a
/// journal is ours whatever else is in it.
fn not_ours(names: &[OsString]) -> Option<&OsStr> {
    let is = |name: &OsString, known: &[&str]| known.iter().any(|known| name == known);
    if names.iter().any(|name| is(name, &["format", "journal.db"])) {
        return None;
    }
    // What a start that was cut off leaves, and what a new disk has.
    let ours = |name: &OsString| {
        is(name, &["lock", "reserve", "format.new", TLS, DataFolder::SOCKET, "lost+found"])
            || name.to_str().is_some_and(|name| {
                ["journal.db-", "view.db", "find.db", "seen.db"].iter().any(|start| name.starts_with(start))
            })
    };
    names.iter().filter(|name| !ours(name)).min().map(OsString::as_os_str)
}

fn create_parents(path: &Path) -> Result<(), FolderError> {
    // The XDG specification wants 0700 for missing parents, too.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

/// How long a start waits for the folder's lock, and for other resources of an earlier process: 1 s. `kill -9`
/// returns before the kernel has ended the process, which takes time on a busy machine; a script that restarts
/// at once must not be told that the first server is running.
pub const HOLDER_DIES_WITHIN: Duration = Duration::from_secs(1);

/// How often a start tries again meanwhile: every 10 ms.
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
                return Err(FolderError::Held { by: read_holder(&mut file), path: folder.to_owned() });
            }
            Err(errno) => return Err(io_error("lock", &path)(errno.into())),
        }
    }
    // Only the lock matters. Its text is for people, and a full disk must not prevent a start.
    let _ = write_holder(&mut file);
    Ok(file)
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(this_process().as_bytes())
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    // The file is empty for an instant between locking and writing.
    match file.take(1_000).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

/// For example "vang serve, pid 4711, since 2026-05-01T09:30:00Z, on chat.example".
fn this_process() -> String {
    let mut args = std::env::args_os();
    let program = args.next().map(PathBuf::from);
    let mut name = program
        .as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| "vang".to_owned(), |name| name.to_string_lossy().into_owned());
    // The subcommand, never an option: an option's value may be a secret.
    if let Some(subcommand) = args.next().filter(|arg| !arg.to_string_lossy().starts_with('-')) {
        name = format!("{name} {}", subcommand.to_string_lossy());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}, pid {}, since {}, on {host}\n", std::process::id(), rfc3339(SystemTime::now()))
}

/// `false`: there is no `format` file.
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
    // A rename, so that a crash cannot leave half a number.
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
    // XDG specification: a relative path is invalid and ignored.
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
    use super::*;

    #[test]
    fn a_folder_with_files_of_others_is_refused_and_stays_as_it_is() {
        let open = |files: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| fs::write(dir.path().join(name), "x").unwrap());
            let opened = DataFolder::open(dir.path());
            (opened.err().map(|error| error.to_string()), fs::read_dir(dir.path()).unwrap().count())
        };
        for ours in [&[][..], &["lock"], &["lost+found"], &["lock", "reserve", "view.db", "view.db-wal"]] {
            assert_eq!(open(ours).0, None, "{ours:?}");
        }
        let (refused, count) = open(&["README.md", "Cargo.toml", "lock"]);
        assert!(
            refused
                .unwrap()
                .ends_with("is not a data folder of vang: it has other files, such as Cargo.toml")
        );
        assert_eq!(count, 3, "nothing was written");
        // A journal makes a folder ours, whatever else is in it.
        let dir = tempfile::tempdir().unwrap();
        drop(DataFolder::open(dir.path()).unwrap());
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        DataFolder::open(dir.path()).unwrap();
    }

    #[test]
    fn the_default_path_follows_xdg() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            default_path_in(xdg.map(OsStr::new), home.map(OsStr::new)).ok()
        };
        assert_eq!(path(Some("/data"), Some("/home/ada")), Some("/data/vang".into()));
        assert_eq!(path(None, Some("/home/ada")), Some("/home/ada/.local/share/vang".into()));
        assert_eq!(path(Some("relative"), Some("/home/ada")), Some("/home/ada/.local/share/vang".into()));
        assert_eq!(path(Some(""), None), None);
    }
}
