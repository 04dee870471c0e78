//! What the threads that hash answer.

use vang_chat::Seq;
use vang_journal::JournalError;

use super::password::{Checked, HashError, Verifier};
use super::seal::SealError;

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Hashed {
    Checked {
        id: u64,
        outcome: Result<Checked, CheckError>,
    },
    /// To be sealed with `Sealer::seal` when the account's id is known.
    Made {
        id: u64,
        verifier: Result<Verifier, HashError>,
    },
}

/// A password could not be checked; nothing is known about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The password was changed while the check waited.
    #[error("the verifier of account {account} in entry {seq} of the journal was erased; ask again")]
    Missing { account: u64, seq: Seq },
    #[error("the verifier of account {account} in entry {seq} of the journal cannot be used: {error}")]
    Sealed { account: u64, seq: Seq, error: SealError },
    #[error(transparent)]
    Hash(#[from] HashError),
}
