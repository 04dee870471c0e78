//! Connections to the files that can be made again from the journal: the tables, and the index of words. Each sets
//! what is its own behind that.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use vang_journal::DatabaseWatch;

use crate::ViewError;
use crate::tables::{create_private, format};

/// How long to wait for another connection's lock, in ms: 5 s. Readers never hold up the writer, nor
/// it them; this is for the moments of opening, closing and truncating.
pub(crate) const BUSY_MS: u64 = 5_000;

/// To this many bytes SQLite cuts the WAL when it starts it again: 64 MiB.
const WAL_BYTES_MAX: i64 = 64 << 20;

/// Pages that a connection keeps in memory, in KiB: 8 MiB. Each room's newest rows have a page of
/// their own, so this is what about 2,000 rooms that are being talked in need.
pub(crate) const CACHE_KIB: i64 = 8 << 10;

/// For the one that writes; makes an empty file where there is none.
pub(crate) fn to_write(path: &Path) -> Result<Connection, ViewError> {
    create_private(path)
        .map_err(|error| ViewError::Unavailable(format!("cannot create {}: {error}", path.display())))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(ViewError::Unavailable(format!("SQLite keeps it in mode '{mode}' instead of 'wal'")));
    }
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

/// Holds the files of a connection that has read something.
pub(crate) fn hold(path: &Path) -> Result<DatabaseWatch, ViewError> {
    DatabaseWatch::hold(path)
        .map_err(|error| ViewError::Unavailable(format!("{} cannot be looked at: {error}", path.display())))
}

/// For one that can only read a file of this layout; `what` is what it should hold.
pub(crate) fn to_read(path: &Path, layout: u64, what: &str) -> Result<Connection, ViewError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    match format(&conn)? {
        0 => Err(ViewError::Unavailable(format!("{} holds no {what} yet", path.display()))),
        found if found == layout => Ok(conn),
        found => Err(ViewError::OtherFormat { found, expected: layout }),
    }
}

/// Otherwise SQLite, as it is built here, plans a statement anew for each other value of a bound: that took a
/// fifth of the tables' time (sqlite.org/queryplanner-ng.html, "QPSG").
fn keep_plans(conn: &Connection) -> Result<(), ViewError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
