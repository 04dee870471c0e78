//! Errors of the view and the index, by what to do next.

use rusqlite::ErrorCode;

/// An operation on the view failed. No data is lost: the journal has everything.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The file is damaged: call `View::reset`, then feed it again from the journal's start.
    #[error("the view is damaged: {0}")]
    Corrupt(String),
    /// The file has another version's format. Only readers get this error; a writer makes a new file.
    #[error("the view has format {found}; this program reads format {expected}")]
    OtherFormat { found: u64, expected: u64 },
    /// Temporary: the disk is full, read-only or broken, or another process holds the file. Nothing has
    /// changed; try again later.
    #[error("the view cannot be used: {0}")]
    Unavailable(String),
}

impl From<rusqlite::Error> for ViewError {
    fn from(error: rusqlite::Error) -> ViewError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                ViewError::Corrupt(error.to_string())
            }
            Some(_) => ViewError::Unavailable(error.to_string()),
            // Not an error of SQLite: a value has the wrong type.
            None => ViewError::Corrupt(error.to_string()),
        }
    }
}
