//! What can be the matter with the view, by what to do next.

use rusqlite::ErrorCode;

/// The view could not do what was asked. None of it costs anything that the journal does not have.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The file is damaged. `View::reset`, then feed it again from the journal's beginning.
    #[error("the view is damaged: {0}")]
    Corrupt(String),
    /// Another version of the program keeps it. Only readers are told; a writer makes a new one.
    #[error("the view has format {found}; this program reads format {expected}")]
    OtherFormat {
        /// Its format.
        found: u64,
        /// The one read here.
        expected: u64,
    },
    /// Not now: the disk is full, read-only or broken, or somebody holds the file. Nothing has
    /// changed; ask again later.
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
            // Not an error of SQLite's: a value is not what these tables hold.
            None => ViewError::Corrupt(error.to_string()),
        }
    }
}
