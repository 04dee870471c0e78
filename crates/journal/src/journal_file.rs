//! The journal's file, for opening readers repeatedly.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contract::{JournalError, Reader};
use crate::damages::Damages;
use crate::file_watch::FileWatch;
use crate::identity::Identity;
use crate::reader::SqliteReader;
use crate::store::Store;

/// The journal's file, for opening readers repeatedly. They share the known damage, and no reader opens another
/// file that was put at the same path.
#[derive(Clone, Debug)]
pub struct JournalFile {
    path: PathBuf,
    identity: Identity,
    watch: Arc<FileWatch>,
    damages: Arc<Damages>,
}

impl JournalFile {
    /// Holds the file that is at `path` now.
    pub fn new(path: &Path, damages: Arc<Damages>) -> Result<JournalFile, JournalError> {
        let watch = FileWatch::hold(path)
            .map_err(|error| JournalError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
        let identity = SqliteReader::open(path)?.identity();
        let file = JournalFile { path: path.to_owned(), identity, watch: Arc::new(watch), damages };
        // The identity was read from the file that is held.
        file.look()?;
        Ok(file)
    }
}

impl Store for JournalFile {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError> {
        self.look()?;
        Ok(Box::new(SqliteReader::open(&self.path)?.with_damages(self.damages.clone())))
    }

    fn look(&self) -> Result<(), JournalError> {
        self.watch.look().map_err(|displaced| JournalError::Unavailable(displaced.to_string()))
    }

    fn damages(&self) -> &Arc<Damages> {
        &self.damages
    }
}
