//! A journal in one SQLite file: a batch is a transaction, a transaction is one fsync of the WAL.
//!
//! ```text
//! meta(key, value)                              format, id, key; born: the id of a restored journal's
//!                                               first beginning, where it is another; settled: see
//!                                               `overwrite_next_frames`; probe: zeros, see `probe`
//! entry(seq, envelope, chain, salt, payload)    payload last: who reads envelopes skips its pages
//! checkpoint(seq, state)                        hashes of the state, by replay's reckoning
//! ```
//!
//! What SQLite leaves open, and what is done about it here:
//!
//! - COMMIT may fail after its frames have reached the WAL. Nobody sees them then, but they are
//!   valid: after a crash, recovery would find them. `settle` makes an end of such ghosts.
//! - What stands in the WAL after a process died was perhaps never synced, and after a failed fsync
//!   Linux takes lost pages for clean, so that the next fsync succeeds and proves nothing. Therefore
//!   opening and settling copy all of the WAL into the database (written anew, synced anew) or, for
//!   want of room, over itself, and vouch for nothing that was not.
//! - A connection that has seen an error is not trusted further: `settle` opens another.
//!
//! Never `mmap_size`: an I/O error would be a SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, ffi};
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::{Appended, Batch, Identity, Journal, JournalError, Payload};
use crate::file_watch::{DatabaseWatch, Displaced, FileWatch, How};
use crate::folder::{create_private, sync_folder};
use crate::reader::SqliteReader;

/// The layout of the tables.
const FORMAT: u64 = 1;

/// How long to wait for another writer, in ms; only a second process can be one.
pub(crate) const BUSY_MS: u64 = 5_000;

/// How long to wait for readers before the WAL is truncated, in ms: ours hold it for one query. While
/// a backup holds it longer, the truncation waits for another occasion; appending must not.
const TRUNCATE_BUSY_MS: u64 = 200;

/// To this many bytes SQLite cuts the WAL when it starts it again: 64 MiB.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// The head of a WAL; then come frames of 24 bytes and a page (sqlite.org/fileformat2.html, 4.1).
const WAL_HEAD_BYTES: u64 = 32;
const WAL_FRAME_BYTES: u64 = 24 + PAGE_BYTES;

/// What `probe` writes, in bytes: 64 KiB. Where there is room for that, a batch of talk has room too.
const PROBE_BYTES: u32 = 64 << 10;

/// A page: what every disk writes at once.
pub(crate) const PAGE_BYTES: u64 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE entry(
        seq INTEGER PRIMARY KEY, envelope BLOB NOT NULL, chain BLOB NOT NULL, salt BLOB, payload BLOB
    ) STRICT;
    CREATE TABLE checkpoint(seq INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;
";

/// When an append counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it survives a power cut.
    #[default]
    PowerCut,
    /// When it survives the end of this process. Faster on slow disks; the last second may be lost.
    Crash,
}

/// A journal in SQLite, for appending. Whoever opens one holds the data folder's lock.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    durability: Durability,
    identity: Identity,
    /// `None`: it could not be opened again; `settle` goes on trying.
    conn: Option<Connection>,
    /// The last entry known to be durable, and the chain there.
    end: (Seq, Chain),
    /// An append's outcome is unknown, or was when `settle` last tried, and why. Nothing is appended
    /// before it succeeds.
    doubt: Option<Doubt>,
    /// The database's file since the beginning: no other is ever opened.
    file: FileWatch,
    /// The files of this connection; none before `make_sure` has succeeded.
    files: DatabaseWatch,
    /// One of them does not lie where it was, and what to do. Nothing is appended before it does.
    displaced: Option<String>,
}

impl SqliteJournal {
    /// Opens the journal at `path`; an empty or missing file becomes a new one with a random identity.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::open_or_create(path.as_ref(), durability, random_identity)
    }

    /// Makes a new journal with this identity. `path` must be missing or empty.
    pub fn create(
        path: impl AsRef<Path>,
        durability: Durability,
        identity: Identity,
    ) -> Result<SqliteJournal, JournalError> {
        let path = path.as_ref();
        if path.metadata().is_ok_and(|about| about.len() > 0) {
            return Err(JournalError::Unavailable(format!("{} exists already", path.display())));
        }
        SqliteJournal::open_or_create(path, durability, || Ok(identity))
    }

    fn open_or_create(
        path: &Path,
        durability: Durability,
        new_identity: impl FnOnce() -> Result<Identity, JournalError>,
    ) -> Result<SqliteJournal, JournalError> {
        create_private(path).map_err(|error| {
            JournalError::Unavailable(format!("cannot create {}: {error}", path.display()))
        })?;
        let file = FileWatch::hold(path).map_err(|error| {
            JournalError::Unavailable(format!("cannot look at {}: {error}", path.display()))
        })?;
        let mut conn = connect(path, durability)?;
        if is_empty(&conn)? {
            create_tables(&mut conn, &new_identity()?)?;
        }
        let identity = read_identity(&conn)?;
        let mut journal = SqliteJournal {
            path: path.to_owned(),
            durability,
            identity,
            conn: Some(conn),
            end: (Seq(0), genesis(&identity)),
            doubt: None,
            file,
            files: DatabaseWatch::default(),
            displaced: None,
        };
        journal.make_sure(None).map_err(|trouble| journal.explain(trouble))?;
        Ok(journal)
    }

    /// A reader of this journal, with a connection of its own.
    pub fn reader(&self) -> Result<SqliteReader, JournalError> {
        SqliteReader::open(&self.path)
    }

    /// Copies the WAL into the database and truncates it, if nobody reads just now. To be called when
    /// there is nothing else to do, and when `wal_bytes` has grown past 64 MiB.
    pub fn idle(&mut self) -> Result<(), JournalError> {
        if self.doubt.is_some() || self.wal_bytes() == 0 {
            return Ok(());
        }
        self.copy_wal().map(|_| ()).map_err(|trouble| self.explain(trouble))
    }

    /// Do its files still lie where they were? To be called about once a second. While they do not, nothing is
    /// appended; what was acknowledged is copied into the database, of which the fault says where it is.
    pub fn look(&mut self) -> Result<(), JournalError> {
        match self.file.look().and_then(|()| self.files.look()) {
            Ok(()) => self.displaced = None,
            Err(displaced) => {
                // Into the file that is open: whoever saves that one has everything.
                let is_new = self.displaced.is_none();
                let copied = if is_new && self.doubt.is_none() { self.copy_wal().map(drop) } else { Ok(()) };
                if is_new || copied.is_err() {
                    self.displaced = Some(what_to_do(&displaced, copied.is_ok()));
                }
            }
        }
        self.displaced.clone().map_or(Ok(()), |why| Err(JournalError::Unavailable(why)))
    }

    /// Can it be written again? To be called after a failure, when nobody appends who would find out.
    /// Writes and keeps a row that means nothing, as long as a few messages.
    pub fn probe(&mut self) -> Result<(), JournalError> {
        self.look()?;
        if self.doubt.is_some() {
            self.settle()?;
        }
        let probed = self.conn().and_then(|conn| {
            end_beyond(conn, &self.identity, self.end)?;
            let sql = "INSERT OR REPLACE INTO meta(key, value) VALUES ('probe', zeroblob(?1))";
            Ok(conn.execute(sql, [PROBE_BYTES])?)
        });
        probed.map(drop).map_err(|trouble| {
            let fault = self.explain(trouble);
            // The commit may have left frames in the WAL.
            self.doubt = Some(Doubt::because(&fault));
            let _ = self.settle();
            fault
        })
    }

    /// How large the WAL is.
    pub fn wal_bytes(&self) -> u64 {
        self.wal().metadata().map_or(0, |about| about.len())
    }

    fn wal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    fn conn(&self) -> Result<&Connection, Trouble> {
        self.conn.as_ref().ok_or_else(|| Trouble::Fault(not_open()))
    }

    /// The transaction of one batch, without what its failure means.
    fn write(&mut self, batch: &Batch) -> Result<Written, Failed> {
        let (identity, known) = (self.identity, self.end);
        let conn = self.conn.as_mut().ok_or_else(|| Failed::Before(not_open().into()))?;
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failed::Before(error.into()))?;
        let written = write_rows(&tx, &identity, known, batch).map_err(Failed::Before)?;
        tx.commit().map_err(|error| Failed::InCommit(error.into()))?;
        Ok(written)
    }

    fn settle_or_say_why(&mut self) -> Result<Seq, Trouble> {
        // Another file that lies there now must not meet what is left of this one's WAL.
        self.look()?;
        self.files = DatabaseWatch::default();
        self.conn = None;
        let conn = connect(&self.path, self.durability)?;
        if is_empty(&conn)? || read_identity(&conn)? != self.identity {
            let why = format!("{} is another journal now", self.path.display());
            return Err(JournalError::Unavailable(why).into());
        }
        self.conn = Some(conn);
        self.make_sure(Some(self.end))
    }

    /// Afterwards everything that can be seen is durable, and nothing that cannot be seen will be.
    /// `known`: what was durable before.
    fn make_sure(&mut self, known: Option<(Seq, Chain)>) -> Result<Seq, Trouble> {
        let copied = self.copy_wal();
        let seen = proven_end(self.conn()?, &self.identity)?;
        if let Some(known) = known {
            end_beyond(self.conn()?, &self.identity, known)?;
        }
        match copied {
            Ok(Wal::Empty) => {}
            // Everything seen is in the database and synced. What cannot be seen may still lie behind
            // it in the WAL.
            Ok(Wal::Copied) => self.invalidate_unseen_wal_frames()?,
            // No room to copy, or a reader in an old part of the WAL.
            Err(trouble) => {
                self.rewrite_wal().map_err(|_| trouble)?;
                self.invalidate_unseen_wal_frames()?;
            }
        }
        self.files = DatabaseWatch::hold(&self.path)
            .map_err(|error| JournalError::Unavailable(format!("its files cannot be looked at: {error}")))?;
        self.end = seen;
        self.doubt = None;
        Ok(seen.0)
    }

    /// Copies what is in the WAL into the database, synced, and truncates the WAL.
    fn copy_wal(&self) -> Result<Wal, Trouble> {
        let counts = |row: &Row<'_>| -> rusqlite::Result<(i64, i64, i64)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let conn = self.conn()?;
        conn.busy_timeout(Duration::from_millis(TRUNCATE_BUSY_MS))?;
        let done = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], counts);
        conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
        match done? {
            (0, ..) => {
                // SQLite does not sync the truncation: a power cut could bring back what was in there.
                self.sync_wal()
                    .map_err(|error| JournalError::Unavailable(format!("cannot sync the WAL: {error}")))?;
                Ok(Wal::Empty)
            }
            (_, frames, copied) if frames >= 0 && frames == copied => Ok(Wal::Copied),
            _ => Err(JournalError::Unavailable("another connection is using the WAL".into()).into()),
        }
    }

    fn sync_wal(&self) -> io::Result<()> {
        // Unlike the database, the WAL carries no locks that closing a second descriptor would drop.
        match File::open(self.wal()) {
            Ok(wal) => wal.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
            _ => sync_folder(Path::new(".")),
        }
    }

    /// Writes the WAL's bytes over themselves and syncs them, which needs no room: a page that a failed
    /// fsync left in memory, taken for clean, is dirty again, and this fsync does tell.
    fn rewrite_wal(&self) -> Result<(), Trouble> {
        // Nobody else writes meanwhile.
        let conn = self.conn()?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let rewritten = (|| -> io::Result<()> {
            let wal = File::options().read(true).write(true).open(self.wal())?;
            let mut chunk = vec![0; 1 << 16];
            let mut at = 0;
            loop {
                match wal.read_at(&mut chunk, at)? {
                    0 => return wal.sync_all(),
                    len => {
                        wal.write_all_at(&chunk[..len], at)?;
                        at += len as u64;
                    }
                }
            }
        })();
        conn.execute_batch("ROLLBACK")?;
        rewritten.map_err(|error| JournalError::Unavailable(format!("cannot sync the WAL: {error}")).into())
    }

    /// Makes sure that no commit lies behind the last one that can be seen.
    fn invalidate_unseen_wal_frames(&self) -> Result<(), Trouble> {
        self.overwrite_next_frames().or_else(|trouble| match self.has_room_to_overwrite() {
            // The disk is full, so full that not even one more frame fits into the WAL.
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(trouble),
        })
    }

    /// Commits one page that means nothing. It comes to lie where the frames of a failed commit begin,
    /// in space that the file already has if they were written whole; the checksums of all frames
    /// behind it depend on it, so that recovery stops there.
    fn overwrite_next_frames(&self) -> Result<(), Trouble> {
        let conn = self.conn()?;
        // Made with the journal, and always 8 bytes: no other page changes.
        let times = u64::from_le_bytes(read_meta(conn, "settled")?).wrapping_add(1);
        let mut update = conn.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'settled'")?;
        update.execute([&times.to_le_bytes()[..]])?;
        Ok(())
    }

    /// Whether the WAL is long enough for a whole frame behind those that can be seen.
    fn has_room_to_overwrite(&self) -> Result<bool, Trouble> {
        let noop = "PRAGMA wal_checkpoint(NOOP)";
        let frames: i64 = self.conn()?.query_row(noop, [], |row| row.get(1))?;
        match u64::try_from(frames) {
            Ok(frames) => Ok(self.wal_bytes() >= WAL_HEAD_BYTES + (frames + 1) * WAL_FRAME_BYTES),
            Err(_) => Ok(true),
        }
    }

    /// What an operator can do something about.
    fn explain(&self, trouble: Trouble) -> JournalError {
        // SQLite does not tell EFBIG from a broken disk, so look whether a file has reached the limit.
        if let Trouble::Sqlite(error) = &trouble
            && error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_WRITE)
            && let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current
        {
            let largest = self.path.metadata().map_or(0, |about| about.len()).max(self.wal_bytes());
            if largest + WAL_FRAME_BYTES > limit {
                return JournalError::Full(format!("no file may have more than {limit} bytes (ulimit -f)"));
            }
        }
        trouble.into()
    }
}

impl Journal for SqliteJournal {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn append(&mut self, batch: &Batch) -> Appended {
        if let Some(why) = &self.displaced {
            return Appended::NotAppended(JournalError::Unavailable(why.clone()));
        }
        if let Some(doubt) = &self.doubt {
            return Appended::NotAppended(doubt.fault());
        }
        if batch.drafts.is_empty() && batch.checkpoints.is_empty() {
            return Appended::Appended { first: self.end.0.next() };
        }
        match self.write(batch) {
            Ok(Written { first, end }) => {
                self.end = end;
                Appended::Appended { first }
            }
            // Rolled back when the transaction was dropped.
            Err(Failed::Before(trouble)) if self.conn.as_ref().is_none_or(Connection::is_autocommit) => {
                Appended::NotAppended(self.explain(trouble))
            }
            Err(Failed::Before(trouble) | Failed::InCommit(trouble)) => {
                let fault = self.explain(trouble);
                self.doubt = Some(Doubt::because(&fault));
                Appended::Unknown(fault)
            }
        }
    }

    fn settle(&mut self) -> Result<Seq, JournalError> {
        let settled = self.settle_or_say_why().map_err(|trouble| self.explain(trouble));
        if let Err(fault) = &settled {
            // Also when it was called without need: the connection may be gone.
            self.doubt = Some(Doubt::because(fault));
        }
        settled
    }

    fn erase(&mut self, seqs: &[Seq]) -> Result<(), JournalError> {
        self.look()?;
        if let Some(doubt) = &self.doubt {
            return Err(doubt.fault());
        }
        let conn = self.conn.as_mut().ok_or_else(not_open)?;
        let copied = erase_rows(conn, seqs).and_then(|()| self.copy_wal());
        match copied.map_err(|trouble| self.explain(trouble))? {
            Wal::Empty => Ok(()),
            Wal::Copied => {
                let why = "what was erased is still in the WAL, which somebody is reading; erase it again";
                Err(JournalError::Unavailable(why.into()))
            }
        }
    }
}

/// What was found, and what to do. Told to clients too: it names no folder.
fn what_to_do(displaced: &Displaced, is_copied: bool) -> String {
    let Displaced { name, how, held_at } = displaced;
    let is_database = !(name.ends_with("-wal") || name.ends_with("-shm"));
    let advice = match how {
        How::Removed if is_database && is_copied => format!(
            "everything is still in {held_at}: copy that before the server is stopped, stop it, put the copy back as {name}, and start it"
        ),
        How::Removed if is_database => format!(
            "what the server still has is in {held_at}; stop it, put a backup in the place of {name}, and start it"
        ),
        How::Moved => "put it back, and the server goes on".to_owned(),
        How::Replaced if is_database => {
            "put the first one back, and the server goes on, or restart it on the one that is there"
                .to_owned()
        }
        How::Removed | How::Replaced if is_copied => {
            "everything is in the database: restart the server".to_owned()
        }
        How::Removed | How::Replaced => "restart the server, and check the journal".to_owned(),
        How::Unknown(_) => "the server goes on when it can be looked at".to_owned(),
    };
    format!("{displaced}; nothing more is written; {advice}")
}

/// What a checkpoint of the WAL left of it.
enum Wal {
    Empty,
    /// Somebody is reading it, so that it could not be truncated; but all of it is copied.
    Copied,
}

/// Why the outcome of an append is not known yet.
#[derive(Debug)]
enum Doubt {
    Full(String),
    Other(String),
}

impl Doubt {
    fn because(fault: &JournalError) -> Doubt {
        match fault {
            JournalError::Full(why) => Doubt::Full(why.clone()),
            JournalError::Unavailable(why) => Doubt::Other(why.clone()),
            JournalError::Damaged { .. } | JournalError::Unreadable { .. } => Doubt::Other(fault.to_string()),
        }
    }

    fn fault(&self) -> JournalError {
        match self {
            Doubt::Full(why) => JournalError::Full(why.clone()),
            Doubt::Other(why) => JournalError::Unavailable(why.clone()),
        }
    }
}

struct Written {
    first: Seq,
    end: (Seq, Chain),
}

enum Failed {
    Before(Trouble),
    InCommit(Trouble),
}

/// An error on its way to becoming a `JournalError`.
#[derive(Debug)]
pub(crate) enum Trouble {
    Sqlite(rusqlite::Error),
    Fault(JournalError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        Trouble::Sqlite(error)
    }
}

impl From<JournalError> for Trouble {
    fn from(fault: JournalError) -> Trouble {
        Trouble::Fault(fault)
    }
}

impl From<Trouble> for JournalError {
    fn from(trouble: Trouble) -> JournalError {
        trouble.at(Seq(1))
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Sqlite(error) => error.fmt(f),
            Trouble::Fault(fault) => fault.fmt(f),
        }
    }
}

impl Trouble {
    /// Is what stands in the file wrong? Otherwise it could not be read for another reason, which may pass.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Trouble::Sqlite(error) => is_damage(error),
            Trouble::Fault(fault) => {
                matches!(fault, JournalError::Damaged { .. } | JournalError::Unreadable { .. })
            }
        }
    }

    /// Is there no room, not even for what connections share?
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        match self {
            Trouble::Sqlite(error) => {
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
                    || matches!(
                        error.sqlite_extended_error_code(),
                        Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_CANTOPEN)
                    )
            }
            Trouble::Fault(fault) => matches!(fault, JournalError::Full(_)),
        }
    }

    /// The fault, if it was met at this entry.
    pub(crate) fn at(self, seq: Seq) -> JournalError {
        let error = match self {
            Trouble::Sqlite(error) => error,
            Trouble::Fault(fault) => return fault,
        };
        match (error.sqlite_error_code(), error.sqlite_extended_error_code()) {
            (Some(ErrorCode::DiskFull), _) | (_, Some(ffi::SQLITE_IOERR_SHMSIZE)) => {
                JournalError::Full(error.to_string())
            }
            _ if is_damage(&error) => damaged(seq, error.to_string()),
            (_, code) => {
                let code = code.unwrap_or_default();
                JournalError::Unavailable(format!("{error} (SQLite's code {code})"))
            }
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    match (error.sqlite_error_code(), error.sqlite_extended_error_code()) {
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None, _) => true,
        (_, code) => matches!(code, Some(ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS)),
    }
}

pub(crate) fn damaged(seq: Seq, why: impl Into<String>) -> JournalError {
    JournalError::Damaged { seq: seq.0, why: why.into() }
}

fn not_open() -> JournalError {
    JournalError::Unavailable("it is not open".into())
}

fn random_identity() -> Result<Identity, JournalError> {
    let mut key = [0; 32];
    let id = random_id()?;
    getrandom::fill(&mut key).map_err(|error| no_randomness(&error))?;
    Ok(Identity::new(id, key))
}

pub(crate) fn random_id() -> Result<[u8; 16], JournalError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| no_randomness(&error))?;
    Ok(id)
}

fn no_randomness(error: &getrandom::Error) -> JournalError {
    JournalError::Unavailable(format!("no randomness for a new journal: {error}"))
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, Trouble> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let why = format!("{} is on a file system without shared memory", path.display());
        return Err(JournalError::Unavailable(why).into());
    }
    let synchronous = match durability {
        Durability::PowerCut => "FULL",
        Durability::Crash => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "journal_size_limit", i64::try_from(WAL_BYTES_MAX).unwrap_or(i64::MAX))?;
    Ok(conn)
}

/// Otherwise SQLite, as it is built here, plans a statement anew for each other value of a bound
/// (sqlite.org/queryplanner-ng.html, "QPSG").
pub(crate) fn keep_plans(conn: &Connection) -> Result<(), Trouble> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

pub(crate) fn is_empty(conn: &Connection) -> Result<bool, Trouble> {
    Ok(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0)
}

pub(crate) fn create_tables(conn: &mut Connection, identity: &Identity) -> Result<(), Trouble> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    if is_empty(&tx)? {
        tx.execute_batch(SCHEMA)?;
        let mut insert = tx.prepare("INSERT INTO meta(key, value) VALUES (?1, ?2)")?;
        insert.execute(("format", &FORMAT.to_le_bytes()[..]))?;
        insert.execute(("id", &identity.id[..]))?;
        insert.execute(("key", &identity.key[..]))?;
        insert.execute(("settled", &0_u64.to_le_bytes()[..]))?;
        if identity.born != identity.id {
            insert.execute(("born", &identity.born[..]))?;
        }
    }
    tx.commit()?;
    Ok(())
}

pub(crate) fn read_identity(conn: &Connection) -> Result<Identity, Trouble> {
    let format = u64::from_le_bytes(read_meta(conn, "format")?);
    if format > FORMAT {
        let why = format!("made by a newer vang: format {format}; this program reads {FORMAT}");
        return Err(JournalError::Unavailable(why).into());
    }
    if format != FORMAT {
        return Err(JournalError::Unavailable(format!("format {format} is none of vang's")).into());
    }
    let (id, key) = (read_meta(conn, "id")?, read_meta(conn, "key")?);
    Ok(Identity { id, key, born: find_meta(conn, "born")?.unwrap_or(id) })
}

fn read_meta<const N: usize>(conn: &Connection, key: &str) -> Result<[u8; N], Trouble> {
    find_meta(conn, key)?.ok_or_else(|| JournalError::Unavailable(format!("it has no `{key}`")).into())
}

fn find_meta<const N: usize>(conn: &Connection, key: &str) -> Result<Option<[u8; N]>, Trouble> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let found = select.query_row([key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let Some(found) = found else { return Ok(None) };
    <[u8; N]>::try_from(found).map(Some).map_err(|found| {
        JournalError::Unavailable(format!("its `{key}` has {} bytes instead of {N}", found.len())).into()
    })
}

fn write_rows(
    conn: &Connection,
    identity: &Identity,
    known: (Seq, Chain),
    batch: &Batch,
) -> Result<Written, Trouble> {
    let (end, mut chain) = end_beyond(conn, identity, known)?;
    let mut seq = end;
    let mut insert = conn.prepare_cached(
        "INSERT INTO entry(seq, envelope, chain, salt, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for draft in &batch.drafts {
        seq = seq.next();
        chain = chain.after(&draft.envelope);
        let Payload { salt, bytes } = &draft.payload;
        insert.execute((key(seq), &draft.envelope[..], &chain.0[..], &salt[..], &bytes[..]))?;
    }
    let mut insert = conn.prepare_cached("INSERT OR REPLACE INTO checkpoint(seq, state) VALUES (?1, ?2)")?;
    for (seq, state) in &batch.checkpoints {
        insert.execute((key(*seq), &state[..]))?;
    }
    Ok(Written { first: end.next(), end: (seq, chain) })
}

fn erase_rows(conn: &mut Connection, seqs: &[Seq]) -> Result<(), Trouble> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        // A row that shrinks is rewritten in its page. A DELETE, or a row that grows, would make SQLite
        // share out several pages' rows anew, and leave copies of them in the gaps.
        let mut update = tx.prepare_cached("UPDATE entry SET salt = NULL, payload = NULL WHERE seq = ?1")?;
        for seq in seqs {
            if update.execute([key(*seq)])? == 0 {
                return Err(damaged(*seq, "it is missing").into());
            }
        }
    }
    tx.commit()?;
    Ok(())
}

/// The end in the file, if what is known to be durable is still there: a file that has become
/// shorter, or another, must not be appended to. Another writer may have made it longer.
fn end_beyond(
    conn: &Connection,
    identity: &Identity,
    (known, chain): (Seq, Chain),
) -> Result<(Seq, Chain), Trouble> {
    let end = last_row(conn)?.unwrap_or((Seq(0), genesis(identity)));
    if end == (known, chain) {
        return Ok(end);
    }
    let there = conn
        .prepare_cached("SELECT chain FROM entry WHERE seq = ?1")?
        .query_row([key(known)], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    if known == Seq(0) || there.as_deref() == Some(&chain.0[..]) {
        return proven_end(conn, identity);
    }
    Err(damaged(known, "it is not what was appended here").into())
}

/// The last entry, if its chain follows from the entry before it. Looks at two rows, however many
/// there are: `check` looks at all.
fn proven_end(conn: &Connection, identity: &Identity) -> Result<(Seq, Chain), Trouble> {
    let mut select =
        conn.prepare_cached("SELECT seq, envelope, chain FROM entry ORDER BY seq DESC LIMIT 2")?;
    let mut rows = select.query([])?;
    let Some(row) = rows.next()? else { return Ok((Seq(0), genesis(identity))) };
    let seq = seq_in(row)?;
    let envelope = blob(seq, row, 1, "envelope")?.to_vec();
    let chain = Chain(fixed_blob(seq, row, 2, "chain")?);
    let before = match rows.next()? {
        None => (Seq(0), genesis(identity)),
        Some(row) => {
            let seq = seq_in(row)?;
            (seq, Chain(fixed_blob(seq, row, 2, "chain")?))
        }
    };
    if seq != before.0.next() {
        return Err(damaged(before.0.next(), "it is missing").into());
    }
    if chain != before.1.after(&envelope) {
        return Err(damaged(seq, "the envelope does not match the chain").into());
    }
    Ok((seq, chain))
}

fn last_row(conn: &Connection) -> Result<Option<(Seq, Chain)>, Trouble> {
    let mut select = conn.prepare_cached("SELECT seq, chain FROM entry ORDER BY seq DESC LIMIT 1")?;
    let mut rows = select.query([])?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => {
            let seq = seq_in(row)?;
            Ok(Some((seq, Chain(fixed_blob(seq, row, 1, "chain")?))))
        }
    }
}

/// Row ids are signed; no journal gets that long.
pub(crate) fn key(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(crate) fn seq_in(row: &Row<'_>) -> Result<Seq, Trouble> {
    let found: i64 = row.get(0)?;
    match u64::try_from(found) {
        Ok(seq) if seq > 0 => Ok(Seq(seq)),
        _ => Err(damaged(Seq(1), format!("a row stands before it, at {found}")).into()),
    }
}

pub(crate) fn blob<'row>(
    seq: Seq,
    row: &'row Row<'_>,
    column: usize,
    what: &str,
) -> Result<&'row [u8], Trouble> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(damaged(seq, format!("the {what} is not bytes")).into()),
    }
}

pub(crate) fn fixed_blob<const N: usize>(
    seq: Seq,
    row: &Row<'_>,
    column: usize,
    what: &str,
) -> Result<[u8; N], Trouble> {
    let found = blob(seq, row, column, what)?;
    found
        .try_into()
        .map_err(|_| damaged(seq, format!("the {what} has {} bytes where {N} stand", found.len())).into())
}
