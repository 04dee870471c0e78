//! Opens what stores a journal. Callers know these functions and the traits of `contract.rs` and `store.rs`, not what is behind them.

use std::path::Path;
use std::sync::Arc;

use crate::check::{CheckReport, check};
use crate::contract::{JournalError, Reader};
use crate::damages::Damages;
use crate::identity::Identity;
use crate::journal_file::JournalFile;
use crate::reader::SqliteReader;
use crate::sqlite::{Durability, SqliteJournal};
use crate::store::{Maintain, Store};

/// Opens the journal at `path` for writing; a missing or empty file becomes a new journal with a random identity.
pub fn open_journal(path: &Path, durability: Durability) -> Result<Box<dyn Maintain>, JournalError> {
    Ok(Box::new(SqliteJournal::open(path, durability)?))
}

/// Creates a journal with this identity. `path` must be missing or empty.
pub fn create_journal(
    path: &Path,
    durability: Durability,
    identity: Identity,
) -> Result<Box<dyn Maintain>, JournalError> {
    Ok(Box::new(SqliteJournal::create(path, durability, identity)?))
}

/// Opens a reader of the journal at `path`, and says which journal it is.
pub fn read_journal(path: &Path) -> Result<(Identity, Box<dyn Reader + Send>), JournalError> {
    let reader = SqliteReader::open(path)?;
    Ok((reader.identity(), Box::new(reader)))
}

/// Holds the journal that is at `path` now, for any number of readers: none of them opens another one that was put at
/// the same path.
pub fn hold_journal(path: &Path, damages: Arc<Damages>) -> Result<Arc<dyn Store>, JournalError> {
    Ok(Arc::new(JournalFile::new(path, damages)?))
}

/// Reads everything again. `progress` gets the number of entries done and in total.
pub fn check_journal(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, JournalError> {
    Ok(check(&mut SqliteReader::open(path)?, progress))
}
