//! The journal's file, for opening readers repeatedly.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contract::JournalError;
use crate::damages::Damages;
use crate::file_watch::FileWatch;
use crate::reader::SqliteReader;

/// The journal's file, for opening readers repeatedly. They share the known damage, and no reader opens another
/// file that was put at the same path.
#[derive(Clone, Debug)]
pub struct JournalFile {
    path: PathBuf,
    watch: Arc<FileWatch>,
    damages: Arc<Damages>,
}

impl JournalFile {
    /// Holds the file that is at `path` now.
    pub fn new(path: &Path, damages: Arc<Damages>) -> Result<JournalFile, JournalError> {
        let watch = FileWatch::hold(path)
            .map_err(|error| JournalError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
        Ok(JournalFile { path: path.to_owned(), watch: Arc::new(watch), damages })
    }

    /// Is the file still at its path?
    pub fn look(&self) -> Result<(), JournalError> {
        self.watch.look().map_err(|displaced| JournalError::Unavailable(displaced.to_string()))
    }

    /// Opens a reader with its own connection.
    pub fn reader(&self) -> Result<SqliteReader, JournalError> {
        self.look()?;
        Ok(SqliteReader::open(&self.path)?.with_damages(self.damages.clone()))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The damaged entries that its readers found.
    pub fn damages(&self) -> &Arc<Damages> {
        &self.damages
    }
}
