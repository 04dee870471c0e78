//! The file `view.db`:
//!
//! ```text
//! about(one, journal, cursor, chain)      one row; the other tables have everything up to the cursor;
//!                                         the chain is the journal's at the cursor
//! event(feed, seq, n, class, who, rest, data, seal)
//!                                         what a room's readers see; n counts its messages; the others: `event.rs`
//! value(feed, seq, n, class, who, rest, data, seal)
//!                                         the newest value of each key in the feeds of accounts and of the server;
//!                                         n is the key
//! text(kind, id, seq, text, seal)         names of rooms and accounts: the newest of each (`text.rs`)
//! snapshot(seq, state)                    the chat state at seq; the newest two
//! ```
//!
//! SQLite syncs only at checkpoints: a power cut sets the rows and the cursor back together. Never `mmap_size`:
//! an I/O error would be a SIGBUS.
//!
//! A row's seal is a hash of its content (`seal.rs`): a bit that a disk has changed is detected when the row is
//! read. A snapshot has its own hash.
//!
//! The chain binds the view to its journal: another history of the same journal has the same id and can have an
//! entry at the cursor, but never this chain.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use vang_chat::Seq;

use crate::ViewError;
use crate::connect::{self, BUSY_MS};
pub(crate) use crate::connect::{format, key, number};

/// The layout of the tables, stored as the file's `user_version`.
pub(crate) const FORMAT: u64 = 9;

const SCHEMA: &str = "
    CREATE TABLE about(
        one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL, cursor INTEGER NOT NULL,
        chain BLOB NOT NULL
    ) STRICT;
    CREATE TABLE event(
        feed INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, class INTEGER NOT NULL,
        who INTEGER NOT NULL, rest INTEGER NOT NULL, data INTEGER NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (feed, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE value(
        feed INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, class INTEGER NOT NULL,
        who INTEGER NOT NULL, rest INTEGER NOT NULL, data INTEGER NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (feed, n)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX value_by_seq ON value(feed, seq);
    CREATE TABLE text(
        kind INTEGER NOT NULL, id INTEGER NOT NULL, seq INTEGER NOT NULL, text TEXT NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot(seq INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;
";

const NO_TABLES: &str = "
    DROP TABLE IF EXISTS about;
    DROP TABLE IF EXISTS event;
    DROP TABLE IF EXISTS value;
    DROP TABLE IF EXISTS text;
    DROP TABLE IF EXISTS snapshot;
";

/// How far the view is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewPosition {
    /// The view has everything up to this entry.
    pub cursor: Seq,
    /// The journal's chain at the cursor when the view was fed; zeros at 0.
    pub chain: [u8; 32],
}

/// The journal's chain, which the view needs to recognise its journal.
pub trait Chains: Send {
    /// The chain after this entry. `None`: no such entry. An error: temporarily unknown.
    fn chain_at(&mut self, seq: Seq) -> Result<Option<[u8; 32]>, String>;
}

impl<F: FnMut(Seq) -> Result<Option<[u8; 32]>, String> + Send> Chains for F {
    fn chain_at(&mut self, seq: Seq) -> Result<Option<[u8; 32]>, String> {
        self(seq)
    }
}

/// The result of opening the view or the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The existing file is used.
    Kept,
    /// A new and empty file was made.
    Fresh(RebuildReason),
}

/// Why a new file was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    Missing,
    OtherJournal,
    /// It belonged to another history of this journal: the entry at its cursor is missing or different here.
    OtherHistory {
        cursor: Seq,
    },
    OtherFormat {
        found: u64,
        expected: u64,
    },
    /// SQLite cannot read it.
    Corrupt(String),
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RebuildReason::Missing => f.write_str("it did not exist"),
            RebuildReason::OtherJournal => f.write_str("it belonged to another journal"),
            RebuildReason::OtherHistory { cursor } => {
                write!(f, "it belonged to another history of this journal, up to entry {cursor}")
            }
            RebuildReason::OtherFormat { found, expected } => {
                write!(f, "it had format {found}, not {expected}")
            }
            RebuildReason::Corrupt(why) => write!(f, "it was damaged: {why}"),
        }
    }
}

/// Opens this journal's view for writing, and tells whether it is new.
pub(crate) fn open(
    path: &Path,
    journal: &[u8; 16],
    chains: &mut dyn Chains,
) -> Result<(Connection, Opened), ViewError> {
    let found = match connect(path) {
        Ok(mut conn) => match look(&conn, journal, chains) {
            Ok(None) => return Ok((conn, Opened::Kept)),
            Ok(Some(RebuildReason::Missing)) => {
                make(&mut conn, journal)?;
                return Ok((conn, Opened::Fresh(RebuildReason::Missing)));
            }
            Ok(Some(why)) => why,
            Err(ViewError::Corrupt(why)) => RebuildReason::Corrupt(why),
            Err(other) => return Err(other),
        },
        Err(ViewError::Corrupt(why)) => RebuildReason::Corrupt(why),
        Err(other) => return Err(other),
    };
    remove(path).map_err(|error| {
        ViewError::Unavailable(format!("cannot remove {} ({found}): {error}", path.display()))
    })?;
    let mut conn = connect(path)?;
    make(&mut conn, journal)?;
    Ok((conn, Opened::Fresh(found)))
}

/// A quick check: `None` if the view can be used. Damage deeper in the file is detected when it is read.
fn look(
    conn: &Connection,
    journal: &[u8; 16],
    chains: &mut dyn Chains,
) -> Result<Option<RebuildReason>, ViewError> {
    let found = format(conn)?;
    if found == 0
        && conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0
    {
        return Ok(Some(RebuildReason::Missing));
    }
    if found != FORMAT {
        return Ok(Some(RebuildReason::OtherFormat { found, expected: FORMAT }));
    }
    // Preparing these finds missing tables and wrong columns.
    for sql in [
        "SELECT feed, seq, n, class, who, rest, data, seal FROM event LIMIT 1",
        "SELECT feed, seq, n, class, who, rest, data, seal FROM value LIMIT 1",
        "SELECT kind, id, seq, text, seal FROM text LIMIT 1",
        "SELECT seq FROM snapshot LIMIT 1",
    ] {
        conn.query_row(sql, [], |_| Ok(())).optional().map_err(|error| damaged(&error))?;
    }
    let stored =
        conn.query_row("SELECT journal FROM about WHERE cursor >= 0", [], |row| row.get::<_, Vec<u8>>(0));
    let stored = stored.map_err(|error| damaged(&error))?;
    if stored != journal {
        return Ok(Some(RebuildReason::OtherJournal));
    }
    let place = place(conn)?;
    let is_ours = place.cursor == Seq(0) || chain_at(chains, place.cursor)? == Some(place.chain);
    Ok((!is_ours).then_some(RebuildReason::OtherHistory { cursor: place.cursor }))
}

/// A plain SQL error about tables of the right format means damage.
pub(crate) fn damaged(error: &rusqlite::Error) -> ViewError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::Unknown) | None => ViewError::Corrupt(error.to_string()),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            ViewError::Corrupt(error.to_string())
        }
        Some(_) => ViewError::Unavailable(error.to_string()),
    }
}

fn make(conn: &mut Connection, journal: &[u8; 16]) -> Result<(), ViewError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    begin(&tx, journal)?;
    tx.pragma_update(None, "user_version", key(FORMAT))?;
    tx.commit()?;
    Ok(())
}

fn begin(tx: &Connection, journal: &[u8; 16]) -> Result<(), ViewError> {
    let sql = "INSERT INTO about(one, journal, cursor, chain) VALUES (1, ?1, 0, zeroblob(32))";
    tx.execute(sql, [&journal[..]])?;
    Ok(())
}

/// Empties the view in place, so that readers need not open it again.
pub(crate) fn make_again(conn: &mut Connection, journal: &[u8; 16]) -> Result<(), ViewError> {
    let gently = (|| -> Result<(), ViewError> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(NO_TABLES)?;
        tx.execute_batch(SCHEMA)?;
        begin(&tx, journal)?;
        tx.commit()?;
        Ok(())
    })();
    let Err(_) = gently else { return Ok(()) };
    // Damaged, or no space even for deleting. This ignores the file's content and needs one page; for a moment
    // readers find no tables.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    let emptied = conn.execute_batch("VACUUM");
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    emptied?;
    make(conn, journal)
}

fn connect(path: &Path) -> Result<Connection, ViewError> {
    let conn = connect::to_write(path)?;
    // An erased or replaced name must be gone from the disk (P11).
    conn.pragma_update(None, "secure_delete", true)?;
    Ok(conn)
}

pub(crate) fn connect_to_read(path: &Path) -> Result<Connection, ViewError> {
    connect::to_read(path, FORMAT, "view")
}

/// Truncates the WAL unless a reader uses it; does not wait.
pub(crate) fn truncate_wal(conn: &Connection) -> Result<(), ViewError> {
    conn.busy_timeout(Duration::ZERO)?;
    let done = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    Ok(done?)
}

pub(crate) fn place(conn: &Connection) -> Result<ViewPosition, ViewError> {
    let mut select = conn.prepare_cached("SELECT cursor, chain FROM about")?;
    let (cursor, chain) = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(ViewPosition { cursor: Seq(number(cursor)?), chain })
}

/// Moves the cursor and stores the journal's chain there.
pub(crate) fn advance(tx: &Connection, cursor: Seq, chains: &mut dyn Chains) -> Result<(), ViewError> {
    let Some(chain) = chain_at(chains, cursor)? else {
        return Err(ViewError::Unavailable(format!("the journal has no entry {cursor}")));
    };
    let mut update = tx.prepare_cached("UPDATE about SET cursor = ?1, chain = ?2")?;
    update.execute((key(cursor.0), &chain[..]))?;
    Ok(())
}

fn chain_at(chains: &mut dyn Chains, seq: Seq) -> Result<Option<[u8; 32]>, ViewError> {
    chains.chain_at(seq).map_err(|why| ViewError::Unavailable(format!("the journal cannot be read: {why}")))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
