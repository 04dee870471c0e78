//! Connections to the files that can be rebuilt from the journal: the view and the index. Each caller adds its
//! own settings.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use vang_journal::{DatabaseWatch, WAL_BYTES_MAX};

use crate::ViewError;

/// Wait for another connection's lock, in ms: 5 s. Readers and the writer do not block each other; this is for
/// opening, closing and truncating.
pub(crate) const BUSY_MS: u64 = 5_000;

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

pub(crate) fn format(conn: &Connection) -> Result<u64, ViewError> {
    number(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// SQLite's integers are signed. No journal has 2^63 entries; a question beyond finds nothing.
pub(crate) fn key(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn number(stored: i64) -> Result<u64, ViewError> {
    u64::try_from(stored).map_err(|_| ViewError::Corrupt(format!("{stored} instead of a positive number")))
}

pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
