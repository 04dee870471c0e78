//! Connections to the files that can be rebuilt from the journal: the view and the index. Each caller adds its
//! own settings.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use vang_journal::DatabaseWatch;

use crate::ViewError;
use crate::layout::{create_private, format};

/// Wait for another connection's lock, in ms: 5 s. Readers and the writer do not block each other; this is for
/// opening, closing and truncating.
pub(crate) const BUSY_MS: u64 = 5_000;

/// SQLite truncates the WAL to this many bytes when it restarts it: 64 MiB.
const WAL_BYTES_MAX: i64 = 64 << 20;

/// A connection's page cache, in KiB: 8 MiB. Each room's newest rows have their own page, so this is enough for
/// about 2,000 active rooms.
pub(crate) const CACHE_KIB: i64 = 8 << 10;

/// Opens a file for writing; creates it if it is missing.
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

/// Holds the files of a connection after its first read.
pub(crate) fn hold(path: &Path) -> Result<DatabaseWatch, ViewError> {
    DatabaseWatch::hold(path)
        .map_err(|error| ViewError::Unavailable(format!("{} cannot be checked: {error}", path.display())))
}

/// Opens a file of this layout for reading; `what` names its content for errors.
pub(crate) fn to_read(path: &Path, layout: u64, what: &str) -> Result<Connection, ViewError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    match format(&conn)? {
        0 => Err(ViewError::Unavailable(format!("{} contains no {what} yet", path.display()))),
        found if found == layout => Ok(conn),
        found => Err(ViewError::OtherFormat { found, expected: layout }),
    }
}

/// Otherwise SQLite, as built here, plans a statement again for every other bound value: that took a fifth of
/// the view's time (sqlite.org/queryplanner-ng.html, "QPSG").
fn keep_plans(conn: &Connection) -> Result<(), ViewError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
