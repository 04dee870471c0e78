//! The damaged entries that the readers of a process found. Each is reported once, however often it is read.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vang_chat::Seq;

use crate::contract::{Damage, JournalError};
use crate::file_watch::FileWatch;
use crate::reader::SqliteReader;

/// Damaged entries to remember: about 100 KiB. Nobody reads a longer list.
const ENTRIES_MAX: usize = 10_000;

/// The damaged entries found by a process, with a function that is called once for each.
pub struct Damages {
    met: Mutex<BTreeSet<Seq>>,
    report: Box<dyn Fn(&Damage) + Send + Sync>,
}

impl fmt::Debug for Damages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damages").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Default for Damages {
    fn default() -> Damages {
        Damages::new(|_| {})
    }
}

impl Damages {
    /// `report` is called once for each damaged entry.
    pub fn new(report: impl Fn(&Damage) + Send + Sync + 'static) -> Damages {
        Damages { met: Mutex::default(), report: Box::new(report) }
    }

    pub(crate) fn note(&self, damage: &Damage) {
        let mut met = self.met();
        if met.len() < ENTRIES_MAX && met.insert(damage.seq) {
            drop(met);
            (self.report)(damage);
        }
    }

    /// The number of damaged entries found, at most 10,000.
    pub fn count(&self) -> u64 {
        self.met().len() as u64
    }

    /// The first `most` damaged entries, in order.
    pub fn first(&self, most: usize) -> Vec<Seq> {
        self.met().iter().take(most).copied().collect()
    }

    fn met(&self) -> MutexGuard<'_, BTreeSet<Seq>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
