//! A journal in one SQLite file: a batch is a transaction, a transaction is one fsync of the WAL.
//!
//! ```text
//! meta(key, value)                              format, id, key; born: the id of a restored journal's
//!                                               birth, if it differs; settled: see
//!                                               `overwrite_next_frames`; probe: zeros, see `probe`
//! entry(seq, envelope, chain, salt, payload)    payload last: reading envelopes skips its pages
//! checkpoint(seq, state)                        hashes of the state, to verify a replay
//! ```
//!
//! What SQLite does not guarantee, and what this file does about it:
//!
//! - COMMIT can fail after its frames have reached the WAL. They are invisible then but valid: recovery after a
//!   crash would find them. `settle` invalidates such unseen frames.
//! - After a process died, its last bytes in the WAL may never have been synced; and after a failed fsync Linux
//!   marks lost pages as clean, so that the next fsync succeeds and proves nothing. Therefore opening and
//!   settling copy the whole WAL into the database (a new write, a new sync) or, without space, over itself,
//!   and report as durable only what was copied.
//! - After an error a connection is not used again: `settle` opens another.
//!
//! Never `mmap_size`: an I/O error would be a SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, ffi};
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::{Appended, Batch, Journal, JournalError, Payload, Reader};
use crate::file_watch::{DatabaseWatch, Displacement, FileWatch, FileWatchError};
use crate::folder::{create_private, sync_folder};
use crate::identity::Identity;
use crate::reader::SqliteReader;
use crate::rows::{
    BUSY_MS, FORMAT, SqliteError, blob, damaged, fixed_blob, is_empty, keep_plans, key, read_identity,
    read_meta, seq_in,
};
use crate::store::Maintain;

/// Wait for readers before the WAL is truncated, in ms. Our readers hold it for one query; while a backup holds
/// it longer, the truncation waits for another occasion, because appending must not wait.
const TRUNCATE_BUSY_MS: u64 = 200;

/// SQLite truncates a WAL to this many bytes when it restarts it: 64 MiB. Also for the files of the view.
pub const WAL_BYTES_MAX: i64 = 64 << 20;

/// The header of a WAL; frames of 24 bytes and a page follow (sqlite.org/fileformat2.html, 4.1).
const WAL_HEAD_BYTES: u64 = 32;
const WAL_FRAME_BYTES: u64 = 24 + PAGE_BYTES;

/// What `probe` writes, in bytes: 64 KiB. If that fits, a batch of chat fits too.
const PROBE_BYTES: u32 = 64 << 10;

/// The page size: every disk writes this much at once.
pub(crate) const PAGE_BYTES: u64 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE entry(
        seq INTEGER PRIMARY KEY, envelope BLOB NOT NULL, chain BLOB NOT NULL, salt BLOB, payload BLOB
    ) STRICT;
    CREATE TABLE checkpoint(seq INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;
";

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    #[default]
    PowerCut,
    /// It survives the end of this process. Faster on slow disks; a power cut can lose the last second.
    Crash,
}

/// A journal in SQLite, for appending. The caller holds the data folder's lock.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    durability: Durability,
    identity: Identity,
    /// `None`: it could not be reopened; `settle` tries again.
    conn: Option<Connection>,
    /// The last durable entry, and the chain there.
    end: (Seq, Chain),
    /// The outcome of an append is unknown. Nothing is appended before `settle` succeeds.
    doubt: Option<Doubt>,
    /// The database's file since `open`: no other file is ever opened.
    file: FileWatch,
    /// The files of this connection; none before `make_sure` has succeeded.
    files: DatabaseWatch,
    /// Set while a file is not at its path: what happened and what to do. Nothing is appended meanwhile.
    displaced: Option<String>,
}

impl SqliteJournal {
    /// Opens the journal at `path`; a missing or empty file becomes a new journal with a random identity.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::open_or_create(path.as_ref(), durability, || {
            Identity::random().map_err(no_random_bytes)
        })
    }

    /// Creates a journal with this identity. `path` must be missing or empty.
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
        let file = FileWatch::hold(path)
            .map_err(|error| JournalError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
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
        journal.make_sure(None).map_err(|error| journal.explain(error))?;
        Ok(journal)
    }

    fn wal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    fn conn(&self) -> Result<&Connection, SqliteError> {
        self.conn.as_ref().ok_or_else(|| SqliteError::Journal(not_open()))
    }

    /// The transaction of one batch.
    fn write(&mut self, batch: &Batch) -> Result<Written, WriteError> {
        let (identity, known) = (self.identity, self.end);
        let conn = self.conn.as_mut().ok_or_else(|| WriteError::Before(not_open().into()))?;
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| WriteError::Before(error.into()))?;
        let written = write_rows(&tx, &identity, known, batch).map_err(WriteError::Before)?;
        tx.commit().map_err(|error| WriteError::InCommit(error.into()))?;
        Ok(written)
    }

    fn try_settle(&mut self) -> Result<Seq, SqliteError> {
        // Another file at this path must not be used with the old WAL.
        self.look()?;
        self.files = DatabaseWatch::default();
        self.conn = None;
        let conn = connect(&self.path, self.durability)?;
        if is_empty(&conn)? || read_identity(&conn)? != self.identity {
            let why = format!("{} is a different journal now", self.path.display());
            return Err(JournalError::Unavailable(why).into());
        }
        self.conn = Some(conn);
        self.make_sure(Some(self.end))
    }

    /// Afterwards everything visible is durable, and nothing invisible will appear. `known`: what was durable
    /// before.
    fn make_sure(&mut self, known: Option<(Seq, Chain)>) -> Result<Seq, SqliteError> {
        let copied = self.copy_wal();
        let seen = proven_end(self.conn()?, &self.identity)?;
        if let Some(known) = known {
            end_beyond(self.conn()?, &self.identity, known)?;
        }
        match copied {
            Ok(Wal::Empty) => {}
            // Everything visible is in the database and synced. Unseen frames may follow it in the WAL.
            Ok(Wal::Copied) => self.invalidate_unseen_wal_frames()?,
            // No space for the copy, or a reader uses an old part of the WAL.
            Err(error) => {
                self.rewrite_wal().map_err(|_| error)?;
                self.invalidate_unseen_wal_frames()?;
            }
        }
        self.files = DatabaseWatch::hold(&self.path)
            .map_err(|error| JournalError::Unavailable(format!("its files cannot be checked: {error}")))?;
        self.end = seen;
        self.doubt = None;
        Ok(seen.0)
    }

    /// Copies the WAL into the database, syncs, and truncates the WAL.
    fn copy_wal(&self) -> Result<Wal, SqliteError> {
        let counts = |row: &Row<'_>| -> rusqlite::Result<(i64, i64, i64)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let conn = self.conn()?;
        conn.busy_timeout(Duration::from_millis(TRUNCATE_BUSY_MS))?;
        let done = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], counts);
        conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
        match done? {
            (0, ..) => {
                // SQLite does not sync the truncation: a power cut could bring the old content back.
                self.sync_wal()
                    .map_err(|error| JournalError::Unavailable(format!("cannot sync the WAL: {error}")))?;
                Ok(Wal::Empty)
            }
            (_, frames, copied) if frames >= 0 && frames == copied => Ok(Wal::Copied),
            _ => Err(JournalError::Unavailable("another connection is using the WAL".into()).into()),
        }
    }

    fn sync_wal(&self) -> io::Result<()> {
        // Unlike the database, the WAL has no locks that closing a second descriptor would drop.
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

    /// Writes the WAL's bytes over themselves and syncs them, which needs no space: a page that a failed fsync
    /// left marked as clean becomes dirty again, and this fsync reports its errors.
    fn rewrite_wal(&self) -> Result<(), SqliteError> {
        // Keeps other writers out.
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

    /// Makes sure that no valid commit follows the last visible one in the WAL.
    fn invalidate_unseen_wal_frames(&self) -> Result<(), SqliteError> {
        self.overwrite_next_frames().or_else(|error| match self.has_room_to_overwrite() {
            // The disk is so full that not even one more frame fits into the WAL.
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(error),
        })
    }

    /// Commits one meaningless page. It overwrites the first frames of a failed commit, in space that the file
    /// already has if they were written completely. The checksums of all later frames depend on it, so recovery
    /// stops there.
    fn overwrite_next_frames(&self) -> Result<(), SqliteError> {
        let conn = self.conn()?;
        // The row exists since the journal's creation and always has 8 bytes: no other page changes.
        let times = u64::from_le_bytes(read_meta(conn, "settled")?).wrapping_add(1);
        let mut update = conn.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'settled'")?;
        update.execute([&times.to_le_bytes()[..]])?;
        Ok(())
    }

    /// Is the WAL long enough for a whole frame after the visible ones?
    fn has_room_to_overwrite(&self) -> Result<bool, SqliteError> {
        let noop = "PRAGMA wal_checkpoint(NOOP)";
        let frames: i64 = self.conn()?.query_row(noop, [], |row| row.get(1))?;
        match u64::try_from(frames) {
            Ok(frames) => Ok(self.deferred_bytes() >= WAL_HEAD_BYTES + (frames + 1) * WAL_FRAME_BYTES),
            Err(_) => Ok(true),
        }
    }

    /// Converts an error for the operator.
    fn explain(&self, error: SqliteError) -> JournalError {
        // SQLite does not distinguish EFBIG from a broken disk, so check whether a file has reached the limit.
        if let SqliteError::Sqlite(error) = &error
            && error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_WRITE)
            && let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current
        {
            let largest = self.path.metadata().map_or(0, |about| about.len()).max(self.deferred_bytes());
            if largest + WAL_FRAME_BYTES > limit {
                return JournalError::Full(format!("files are limited to {limit} bytes (ulimit -f)"));
            }
        }
        error.into()
    }
}

impl Maintain for SqliteJournal {
    fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }

    /// Copies the WAL into the database and truncates it, unless a reader uses it.
    fn idle(&mut self) -> Result<(), JournalError> {
        if self.doubt.is_some() || self.deferred_bytes() == 0 {
            return Ok(());
        }
        self.copy_wal().map(|_| ()).map_err(|error| self.explain(error))
    }

    /// Are the files still at their paths? While they are not, acknowledged entries are copied into the database, and the
    /// error says where that is.
    fn look(&mut self) -> Result<(), JournalError> {
        match self.file.look().and_then(|()| self.files.look()) {
            Ok(()) => self.displaced = None,
            Err(displaced) => {
                // Into the open file: saving that one saves everything.
                let is_new = self.displaced.is_none();
                let copied = if is_new && self.doubt.is_none() { self.copy_wal().map(drop) } else { Ok(()) };
                if is_new || copied.is_err() {
                    self.displaced = Some(what_to_do(&displaced, copied.is_ok()));
                }
            }
        }
        self.displaced.clone().map_or(Ok(()), |why| Err(JournalError::Unavailable(why)))
    }

    /// Writes a meaningless row as long as a few messages.
    fn probe(&mut self) -> Result<(), JournalError> {
        self.look()?;
        if self.doubt.is_some() {
            self.settle()?;
        }
        let probed = self.conn().and_then(|conn| {
            end_beyond(conn, &self.identity, self.end)?;
            let sql = "INSERT OR REPLACE INTO meta(key, value) VALUES ('probe', zeroblob(?1))";
            Ok(conn.execute(sql, [PROBE_BYTES])?)
        });
        probed.map(drop).map_err(|error| {
            let fault = self.explain(error);
            // The commit may have left frames in the WAL.
            self.doubt = Some(Doubt::because(&fault));
            let _ = self.settle();
            fault
        })
    }

    /// The WAL's size in bytes.
    fn deferred_bytes(&self) -> u64 {
        self.wal().metadata().map_or(0, |about| about.len())
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
            Err(WriteError::Before(error)) if self.conn.as_ref().is_none_or(Connection::is_autocommit) => {
                Appended::NotAppended(self.explain(error))
            }
            Err(WriteError::Before(error) | WriteError::InCommit(error)) => {
                let fault = self.explain(error);
                self.doubt = Some(Doubt::because(&fault));
                Appended::Unknown(fault)
            }
        }
    }

    fn settle(&mut self) -> Result<Seq, JournalError> {
        let settled = self.try_settle().map_err(|error| self.explain(error));
        if let Err(fault) = &settled {
            // Also if it was called without need: the connection may be lost.
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
        match copied.map_err(|error| self.explain(error))? {
            Wal::Empty => Ok(()),
            Wal::Copied => {
                let why =
                    "the WAL still contains the erased bytes, because a reader uses it; erase them again";
                Err(JournalError::Unavailable(why.into()))
            }
        }
    }
}

/// What happened to a file, and what to do. Clients see it too, so it names no folder.
fn what_to_do(displaced: &FileWatchError, is_copied: bool) -> String {
    let FileWatchError { name, how, held_at } = displaced;
    let is_database = !(name.ends_with("-wal") || name.ends_with("-shm"));
    let advice = match how {
        Displacement::Removed if is_database && is_copied => format!(
            "everything is still in {held_at}: copy that before the server is stopped, stop it, put the copy back as {name}, and start it"
        ),
        Displacement::Removed if is_database => {
            format!("the server's copy is in {held_at}; stop it, replace {name} with a backup, and start it")
        }
        Displacement::Moved => "put it back, and the server continues".to_owned(),
        Displacement::Replaced if is_database => {
            "put the first one back, and the server continues, or restart it with the file that is there"
                .to_owned()
        }
        Displacement::Removed | Displacement::Replaced if is_copied => {
            "everything is in the database: restart the server".to_owned()
        }
        Displacement::Removed | Displacement::Replaced => {
            "restart the server, and check the journal".to_owned()
        }
        Displacement::Unknown(_) => "the server continues when it can be checked".to_owned(),
    };
    format!("{displaced}; nothing more is written; {advice}")
}

/// The result of a WAL checkpoint.
enum Wal {
    Empty,
    /// All of it is copied, but a reader prevents the truncation.
    Copied,
}

/// Why the outcome of an append is unknown.
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

enum WriteError {
    Before(SqliteError),
    InCommit(SqliteError),
}

fn not_open() -> JournalError {
    JournalError::Unavailable("it is not open".into())
}

pub(crate) fn no_random_bytes(error: getrandom::Error) -> JournalError {
    JournalError::Unavailable(format!("no random bytes for a new journal: {error}"))
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, SqliteError> {
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
        let why = format!("{} is on a file system that does not support shared memory", path.display());
        return Err(JournalError::Unavailable(why).into());
    }
    let synchronous = match durability {
        Durability::PowerCut => "FULL",
        Durability::Crash => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    Ok(conn)
}

pub(crate) fn create_tables(conn: &mut Connection, identity: &Identity) -> Result<(), SqliteError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have created them first.
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

fn write_rows(
    conn: &Connection,
    identity: &Identity,
    known: (Seq, Chain),
    batch: &Batch,
) -> Result<Written, SqliteError> {
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

fn erase_rows(conn: &mut Connection, seqs: &[Seq]) -> Result<(), SqliteError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        // A row that shrinks is rewritten in its page. A DELETE, or a row that grows, could make SQLite
        // redistribute the rows of several pages and leave copies in the gaps.
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

/// The end in the file, if the known durable entries are still there: a shorter or different file must not be
/// appended to. Another writer may have added entries.
fn end_beyond(
    conn: &Connection,
    identity: &Identity,
    (known, chain): (Seq, Chain),
) -> Result<(Seq, Chain), SqliteError> {
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
    Err(damaged(known, "it differs from what this process appended").into())
}

/// The last entry, if its chain follows from the previous entry. Reads two rows however long the journal is;
/// `check` reads all.
fn proven_end(conn: &Connection, identity: &Identity) -> Result<(Seq, Chain), SqliteError> {
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

fn last_row(conn: &Connection) -> Result<Option<(Seq, Chain)>, SqliteError> {
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
