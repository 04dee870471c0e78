//! What every journal promises, and how it can fail.
//!
//! - Entries have dense positions from 1. A batch is appended completely or not at all, without other entries
//!   inside it; other writers' batches can come between two of ours.
//! - `Appended` means: survives a power cut.
//! - After `Unknown` nothing more is appended until `settle` has found out what is in the journal.
//! - A reader sees every entry up to the end, always the same, except for payloads erased since.
//! - `read`, `get` and `envelope` verify each entry with the chain and its digest. An entry that fails is
//!   returned as a `DamageError` at its position; it hides no other entry.

use bytes::Bytes;
use vang_chat::Seq;

use crate::chain::Chain;
use crate::format::{EntryError, digest};
use crate::identity::Identity;

/// What a user typed, stored with its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Random, so that the digest in the envelope reveals nothing about an erased payload.
    pub salt: [u8; 16],
    /// An encoded `MessagePayload`, or an encoded name.
    pub bytes: Bytes,
}

impl Payload {
    /// The digest that binds this payload to its envelope.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.salt, &self.bytes)
    }
}

/// An entry without a position yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// An encoded `Envelope`.
    pub envelope: Bytes,
    /// The envelope contains its digest.
    pub payload: Payload,
}

/// Entries and checkpoints that are appended together, with one sync.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order. Empty when only checkpoints are stored.
    pub drafts: Vec<Draft>,
    /// Hashes of the state after entries that are already in the journal.
    pub checkpoints: Vec<(Seq, [u8; 32])>,
}

impl Batch {
    /// Its drafts as the entries that they became.
    pub fn into_entries(self, first: Seq) -> Vec<Entry> {
        let drafts = self.drafts.into_iter().zip(first.0..);
        drafts
            .map(|(Draft { envelope, payload }, seq)| Entry {
                seq: Seq(seq),
                envelope,
                payload: Some(payload),
            })
            .collect()
    }
}

/// An entry at its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub envelope: Bytes,
    /// `None`: erased.
    pub payload: Option<Payload>,
}

/// A damaged entry, with the parts that are still proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of the journal is damaged: {why}")]
pub struct DamageError {
    pub seq: Seq,
    pub why: String,
    /// Its envelope, if the chain proves it.
    pub envelope: Option<Bytes>,
}

/// An entry that the chain and its digest prove, or its damage.
pub type Checked = Result<Entry, DamageError>;

/// The position of an entry, damaged or not.
pub fn seq_of(checked: &Checked) -> Seq {
    match checked {
        Ok(entry) => entry.seq,
        Err(damage) => damage.seq,
    }
}

impl DamageError {
    pub(crate) fn missing(seq: Seq) -> DamageError {
        DamageError { seq, why: "it is missing".into(), envelope: None }
    }
}

impl Entry {
    /// All entries, or the first damage as an error: for callers that need every entry.
    pub fn all(checked: Vec<Checked>) -> Result<Vec<Entry>, JournalError> {
        Ok(checked.into_iter().collect::<Result<_, DamageError>>()?)
    }
}

/// An envelope with the stored chain hash: what replay and verification need. The caller verifies it with the
/// chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub seq: Seq,
    pub envelope: Bytes,
    /// The stored chain hash after this entry.
    pub chain: [u8; 32],
}

/// The outcome of an append.
#[derive(Debug)]
pub enum Appended {
    /// Durable: the first draft is at `first`, the others follow it.
    Appended { first: Seq },
    /// Nothing of the batch is in the journal or will be.
    NotAppended(JournalError),
    /// It may or may not be in the journal. `settle` finds out.
    Unknown(JournalError),
}

/// Why a journal operation failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space: disk, quota or file size limit.
    #[error("no space left for the journal: {0}")]
    Full(String),
    /// The disk or file system failed or is read-only. It can recover.
    #[error("the journal cannot be reached: {0}")]
    Unavailable(String),
    /// The journal's content is not what was written.
    #[error("entry {seq} of the journal is damaged: {why}")]
    Damaged {
        /// The first damaged entry.
        seq: u64,
        why: String,
    },
    /// The entry has a format that this program does not know.
    #[error("entry {seq} of the journal cannot be read: {bad}")]
    Unreadable { seq: u64, bad: EntryError },
}

impl From<DamageError> for JournalError {
    fn from(DamageError { seq, why, .. }: DamageError) -> JournalError {
        JournalError::Damaged { seq: seq.0, why }
    }
}

/// Gives what was read after `after`; returns the last position.
pub(crate) fn give(read: Vec<Checked>, after: Seq, take: &mut TakeEntry<'_>) -> Result<Seq, JournalError> {
    let last = read.last().map_or(after, seq_of);
    for entry in read.into_iter().flatten() {
        take(entry.seq, &entry.envelope, entry.payload.as_ref().map(|payload| &payload.bytes[..]));
    }
    Ok(last)
}

/// The writing side. A server process has one.
pub trait Journal {
    /// Which journal this is.
    fn identity(&self) -> Identity;

    /// Appends a batch completely or not at all, durably.
    fn append(&mut self, batch: &Batch) -> Appended;

    /// Finds out what is in the journal: called after `Unknown`, until it succeeds. Returns the end; everything
    /// up to it is durable.
    fn settle(&mut self) -> Result<Seq, JournalError>;

    /// Erases the payloads and salts of these entries, on the disk too. The envelopes stay.
    fn erase(&mut self, seqs: &[Seq]) -> Result<(), JournalError>;
}

/// Takes an entry: its position, its envelope, its payload unless it was erased.
pub type TakeEntry<'a> = dyn FnMut(Seq, &[u8], Option<&[u8]>) + 'a;

/// The reading side. Any number of readers can be open while a writer is.
pub trait Reader {
    /// The position of the last durable entry; 0 in an empty journal.
    fn end(&mut self) -> Result<Seq, JournalError>;

    /// Entries after `after`, in order: at least one if there is one, at most `limit`, fewer once their
    /// payloads exceed `bytes_max`.
    fn read(&mut self, after: Seq, limit: usize, bytes_max: usize) -> Result<Vec<Checked>, JournalError>;

    /// Gives entries after `after` to `take`, in order: at least one if there is one, at most `limit`, fewer once
    /// their payloads exceed `bytes_max`. Returns the last position passed; a damaged entry is passed and may not
    /// be given.
    ///
    /// They can be given unverified: for an index, whose hits are read again with `get` before they are shown.
    fn skim(
        &mut self,
        after: Seq,
        limit: usize,
        bytes_max: usize,
        take: &mut TakeEntry<'_>,
    ) -> Result<Seq, JournalError> {
        give(self.read(after, limit, bytes_max)?, after, take)
    }

    /// The entries at these positions, in the order of `seqs`: at least the first, fewer once their payloads
    /// exceed `bytes_max`. A missing entry is a `DamageError`.
    fn get(&mut self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Checked>, JournalError>;

    /// The envelope at this position, proven by the chain, even if its payload was erased.
    fn envelope(&mut self, seq: Seq) -> Result<Result<Bytes, DamageError>, JournalError> {
        let checked = self.get(&[seq], 0)?.pop();
        Ok(match checked.unwrap_or_else(|| Err(DamageError::missing(seq))) {
            Ok(entry) => Ok(entry.envelope),
            Err(DamageError { envelope: Some(envelope), .. }) => Ok(envelope),
            Err(damage) => Err(damage),
        })
    }

    /// Envelopes and chain hashes after `after`, in order: at most `limit`. Reads no payload.
    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError>;

    /// The chain after this entry; `None`: no such entry. A view stores it with its cursor, to recognise its
    /// journal later.
    fn chain_at(&mut self, seq: Seq) -> Result<Option<Chain>, JournalError> {
        let Some(before) = seq.0.checked_sub(1) else { return Ok(None) };
        match self.sealed(Seq(before), 1) {
            Ok(found) => Ok(found.first().map(|sealed| Chain(sealed.chain))),
            Err(fault) => Err(fault),
        }
    }

    /// The stored hashes of the state at entries after `after`, in order: at most `limit`.
    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError>;
}
