//! What the writer and the readers of a journal in SQLite share: columns, the identity, and SQLite's errors.

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ffi};
use vang_chat::Seq;

use crate::contract::JournalError;
use crate::identity::Identity;

pub(crate) const FORMAT: u64 = 1;

/// Wait for another writer's lock, in ms; only a second process can hold it.
pub(crate) const BUSY_MS: u64 = 5_000;

/// An error before it is converted to a `JournalError`.
#[derive(Debug)]
pub(crate) enum SqliteError {
    Sqlite(rusqlite::Error),
    Journal(JournalError),
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> SqliteError {
        SqliteError::Sqlite(error)
    }
}

impl From<JournalError> for SqliteError {
    fn from(fault: JournalError) -> SqliteError {
        SqliteError::Journal(fault)
    }
}

impl From<SqliteError> for JournalError {
    fn from(error: SqliteError) -> JournalError {
        error.at(Seq(1))
    }
}

impl std::fmt::Display for SqliteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SqliteError::Sqlite(error) => error.fmt(f),
            SqliteError::Journal(fault) => fault.fmt(f),
        }
    }
}

impl SqliteError {
    /// Is the file's content wrong? Other errors can pass.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            SqliteError::Sqlite(error) => is_damage(error),
            SqliteError::Journal(fault) => {
                matches!(fault, JournalError::Damaged { .. } | JournalError::Unreadable { .. })
            }
        }
    }

    /// Is there no space, not even for the memory that connections share?
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        match self {
            SqliteError::Sqlite(error) => {
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
                    || matches!(
                        error.sqlite_extended_error_code(),
                        Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_CANTOPEN)
                    )
            }
            SqliteError::Journal(fault) => matches!(fault, JournalError::Full(_)),
        }
    }

    /// Converts to a `JournalError` about this entry.
    pub(crate) fn at(self, seq: Seq) -> JournalError {
        let error = match self {
            SqliteError::Sqlite(error) => error,
            SqliteError::Journal(fault) => return fault,
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

/// Otherwise SQLite, as built here, plans a statement again for every other bound value
/// (sqlite.org/queryplanner-ng.html, "QPSG").
pub(crate) fn keep_plans(conn: &Connection) -> Result<(), SqliteError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

pub(crate) fn is_empty(conn: &Connection) -> Result<bool, SqliteError> {
    Ok(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0)
}

pub(crate) fn read_identity(conn: &Connection) -> Result<Identity, SqliteError> {
    let format = u64::from_le_bytes(read_meta(conn, "format")?);
    if format > FORMAT {
        let why = format!("made by a newer vang: format {format}; this program reads {FORMAT}");
        return Err(JournalError::Unavailable(why).into());
    }
    if format != FORMAT {
        return Err(JournalError::Unavailable(format!("format {format} is not a vang journal format")).into());
    }
    let (id, key) = (read_meta(conn, "id")?, read_meta(conn, "key")?);
    Ok(Identity { id, key, born: find_meta(conn, "born")?.unwrap_or(id) })
}

pub(crate) fn read_meta<const N: usize>(conn: &Connection, key: &str) -> Result<[u8; N], SqliteError> {
    find_meta(conn, key)?.ok_or_else(|| JournalError::Unavailable(format!("it has no `{key}`")).into())
}

/// Row ids are signed; no journal gets that long.
pub(crate) fn key(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(crate) fn seq_in(row: &Row<'_>) -> Result<Seq, SqliteError> {
    let found: i64 = row.get(0)?;
    match u64::try_from(found) {
        Ok(seq) if seq > 0 => Ok(Seq(seq)),
        _ => Err(damaged(Seq(1), format!("row {found} lies before it")).into()),
    }
}

pub(crate) fn blob<'row>(
    seq: Seq,
    row: &'row Row<'_>,
    column: usize,
    what: &str,
) -> Result<&'row [u8], SqliteError> {
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
) -> Result<[u8; N], SqliteError> {
    let found = blob(seq, row, column, what)?;
    found
        .try_into()
        .map_err(|_| damaged(seq, format!("the {what} has {} bytes instead of {N}", found.len())).into())
}

fn find_meta<const N: usize>(conn: &Connection, key: &str) -> Result<Option<[u8; N]>, SqliteError> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let found = select.query_row([key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let Some(found) = found else { return Ok(None) };
    <[u8; N]>::try_from(found).map(Some).map_err(|found| {
        JournalError::Unavailable(format!("its `{key}` has {} bytes instead of {N}", found.len())).into()
    })
}
