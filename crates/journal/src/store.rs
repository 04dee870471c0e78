//! What is asked of a store of journals beside appending and reading: its upkeep, and new readers.

use std::fmt::Debug;
use std::sync::Arc;

use crate::contract::{Journal, JournalError, Reader};
use crate::damages::Damages;
use crate::identity::Identity;

/// The writing side with its upkeep, for the thread that owns it.
pub trait Maintain: Journal + Send {
    /// Opens a reader of the same journal.
    fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError>;

    /// Checks that what is written still goes where the journal is; call it about once a second. While it does not,
    /// nothing is appended, and the error says what happened and what to do.
    fn look(&mut self) -> Result<(), JournalError>;

    /// Checks whether writing works again, after a failure and while nothing is appended.
    fn probe(&mut self) -> Result<(), JournalError>;

    /// Does the work that was put off. For idle moments, and for when `deferred_bytes` is large.
    fn idle(&mut self) -> Result<(), JournalError>;

    /// Bytes that wait for `idle`.
    fn deferred_bytes(&self) -> u64;
}

/// What stores a journal, for those who read it. Its readers share the known damage.
pub trait Store: Debug + Send + Sync {
    /// Which journal this is.
    fn identity(&self) -> Identity;

    /// Opens a reader.
    fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError>;

    /// Is the journal still where it was?
    fn look(&self) -> Result<(), JournalError>;

    /// The damaged entries that its readers found.
    fn damages(&self) -> &Arc<Damages>;
}
