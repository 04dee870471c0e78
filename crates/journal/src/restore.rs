//! Makes a new journal in SQLite from a backup. The content is copied unchanged, erased payloads as erased, but
//! with a new id: once both journals have new entries, a position in one means nothing in the other. Birth and
//! key stay, because the chain begins with both and names are hashed with the key.
//!
//! SQLite runs without a rollback journal and without sync, because an incomplete file is thrown away. The
//! caller must sync the file before anybody uses it.

use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::contract::JournalError;
use crate::folder::create_private;
use crate::identity::Identity;
use crate::rows::{SqliteError, key};
use crate::sqlite::{PAGE_BYTES, create_tables, no_random_bytes};
use crate::unpack::{Backup, BackupReadError, Piece};

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Backup(#[from] BackupReadError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Creates the journal at `path`, which must be missing or empty, and returns its identity. `progress` gets the
/// number of entries done and in total.
pub fn restore<R: Read>(
    backup: &mut Backup<R>,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Identity, RestoreError> {
    if path.metadata().is_ok_and(|about| about.len() > 0) {
        return Err(JournalError::Unavailable(format!("{} exists already", path.display())).into());
    }
    create_private(path)
        .map_err(|error| JournalError::Unavailable(format!("cannot create {}: {error}", path.display())))?;
    let identity = backup.header().identity.with_random_id().map_err(no_random_bytes)?;
    let mut conn = connect(path).map_err(JournalError::from)?;
    create_tables(&mut conn, &identity).map_err(JournalError::from)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    while let Some(piece) = backup.next()? {
        insert(&tx, piece).map_err(fault)?;
        progress(last_entry(&tx).map_err(fault)?, backup.header().end.0);
    }
    tx.commit().map_err(fault)?;
    conn.close().map_err(|(_, error)| fault(error))?;
    Ok(identity)
}

fn insert(conn: &Connection, piece: Piece) -> rusqlite::Result<()> {
    match piece {
        Piece::States(states) => {
            let mut insert = conn.prepare_cached("INSERT INTO checkpoint(seq, state) VALUES (?1, ?2)")?;
            for (seq, state) in states {
                insert.execute((key(seq), &state[..]))?;
            }
        }
        Piece::Entries(entries) => {
            let mut insert = conn.prepare_cached(
                "INSERT INTO entry(seq, envelope, chain, salt, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (entry, chain) in &entries {
                let salt = entry.payload.as_ref().map(|payload| &payload.salt[..]);
                let bytes = entry.payload.as_ref().map(|payload| &payload.bytes[..]);
                insert.execute((key(entry.seq), &entry.envelope[..], &chain.0[..], salt, bytes))?;
            }
        }
    }
    Ok(())
}

fn last_entry(conn: &Connection) -> rusqlite::Result<u64> {
    let mut select = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM entry")?;
    select.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn connect(path: &Path) -> Result<Connection, SqliteError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    Ok(conn)
}

fn fault(error: rusqlite::Error) -> JournalError {
    SqliteError::from(error).into()
}
