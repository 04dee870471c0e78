//! The damaged entries that the readers of a process have met: each is told once, however often it is read.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vang_chat::Seq;

use crate::contract::{Damage, JournalError};
use crate::file_watch::FileWatch;
use crate::reader::SqliteReader;

/// Entries that are remembered one by one: some 100 KiB. Where more are damaged nobody reads a list of them.
const ENTRIES_MAX: usize = 10_000;

/// See the module's head.
pub struct Damages {
    met: Mutex<BTreeSet<Seq>>,
    tell: Box<dyn Fn(&Damage) + Send + Sync>,
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
    /// None were met. `tell` hears of each once.
    pub fn new(tell: impl Fn(&Damage) + Send + Sync + 'static) -> Damages {
        Damages { met: Mutex::default(), tell: Box::new(tell) }
    }

    /// A reader has met this one.
    pub(crate) fn note(&self, damage: &Damage) {
        let mut met = self.met();
        if met.len() < ENTRIES_MAX && met.insert(damage.seq) {
            drop(met);
            (self.tell)(damage);
        }
    }

    /// How many were met; beyond 10,000 they are not counted.
    pub fn count(&self) -> u64 {
        self.met().len() as u64
    }

    /// The first so many of them, in order.
    pub fn first(&self, most: usize) -> Vec<Seq> {
        self.met().iter().take(most).copied().collect()
    }

    fn met(&self) -> MutexGuard<'_, BTreeSet<Seq>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journal's file, for those who open readers of it again and again: they share what they know of damage,
/// and never open another file that somebody has put in its place.
#[derive(Clone, Debug)]
pub struct JournalFile {
    path: PathBuf,
    watch: Arc<FileWatch>,
    damages: Arc<Damages>,
}

impl JournalFile {
    /// The file that lies there now.
    pub fn new(path: &Path, damages: Arc<Damages>) -> Result<JournalFile, JournalError> {
        let watch = FileWatch::hold(path).map_err(|error| {
            JournalError::Unavailable(format!("cannot look at {}: {error}", path.display()))
        })?;
        Ok(JournalFile { path: path.to_owned(), watch: Arc::new(watch), damages })
    }

    /// Does it still lie where it was?
    pub fn look(&self) -> Result<(), JournalError> {
        self.watch.look().map_err(|displaced| JournalError::Unavailable(displaced.to_string()))
    }

    /// A reader of it, with a connection of its own.
    pub fn reader(&self) -> Result<SqliteReader, JournalError> {
        self.look()?;
        Ok(SqliteReader::open(&self.path)?.with_damages(self.damages.clone()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The damaged entries that its readers have met.
    pub fn damages(&self) -> &Arc<Damages> {
        &self.damages
    }
}
