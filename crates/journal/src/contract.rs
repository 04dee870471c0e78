//! What every journal promises, and the ways in which it may fail.
//!
//! - Entries have dense positions from 1; a batch is appended whole or not at all, without others
//!   in between; other writers' batches may come between two of ours.
//! - `Appended` is said only of what survives a power cut.
//! - After `Unknown` nothing more is appended until `settle` has told what is really there.
//! - A reader sees every entry up to the end, each the same each time, but for payloads erased since.
//! - What `read`, `get` and `envelope` give was compared with the chain and with its digest. What does
//!   not fit is a `Damage` in its place: it hides no other entry, and nobody takes it for the entry.

use bytes::Bytes;
use vang_chat::Seq;

use crate::chain::Chain;
use crate::format::BadEntry;

/// Which journal this is. Made with it, at random; a restored copy gets a new id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Shown to clients: a `seq` means something only together with it.
    pub id: [u8; 16],
    /// Keys the hashes of names and ids. Never leaves the server, but in backups.
    pub key: [u8; 32],
    /// The id that it was made with. The chain begins with it, so a restored copy keeps it.
    pub born: [u8; 16],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id_hex()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Of a journal that is no copy of another.
    pub fn new(id: [u8; 16], key: [u8; 32]) -> Identity {
        Identity { id, key, born: id }
    }

    /// The id as clients see it: 32 hexadecimal digits.
    pub fn id_hex(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What somebody typed, as it is kept beside its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Random, so that the digest in the envelope tells nothing about a payload that was erased.
    pub salt: [u8; 16],
    /// The payload's bytes (`Said`, or a name).
    pub bytes: Bytes,
}

/// An entry that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// `Envelope::encode`d.
    pub envelope: Bytes,
    /// Its digest stands in the envelope.
    pub payload: Payload,
}

/// What is appended at once, with one sync.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The entries, in order. May be empty, to store checkpoints alone.
    pub drafts: Vec<Draft>,
    /// Hashes of the state after entries that are in the journal already.
    pub checkpoints: Vec<(Seq, [u8; 32])>,
}

/// An entry at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// Its envelope's bytes.
    pub envelope: Bytes,
    /// `None`: erased.
    pub payload: Option<Payload>,
}

/// An entry that is not as it was written, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of the journal is damaged: {why}")]
pub struct Damage {
    /// Its place.
    pub seq: Seq,
    /// What is wrong with it.
    pub why: String,
    /// Its envelope's bytes, where the chain proves them.
    pub envelope: Option<Bytes>,
}

/// An entry that was compared with the chain and its digest, or what is wrong with it.
pub type Checked = Result<Entry, Damage>;

/// The place of an entry, damaged or not.
pub fn place(checked: &Checked) -> Seq {
    match checked {
        Ok(entry) => entry.seq,
        Err(damage) => damage.seq,
    }
}

impl Damage {
    /// There is no such entry.
    pub(crate) fn missing(seq: Seq) -> Damage {
        Damage { seq, why: "it is missing".into(), envelope: None }
    }
}

impl Entry {
    /// All of them, or the first that is damaged: for whoever cannot go on without one.
    pub fn all(checked: Vec<Checked>) -> Result<Vec<Entry>, JournalError> {
        Ok(checked.into_iter().collect::<Result<_, Damage>>()?)
    }
}

/// An entry without its payload, with the chain beside it: what replay and proof need. Whoever reads it
/// compares it with the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its place.
    pub seq: Seq,
    /// Its envelope's bytes.
    pub envelope: Bytes,
    /// The hash that was stored beside it.
    pub chain: [u8; 32],
}

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    /// Durable: the first draft stands here, the others right behind it.
    Appended {
        /// Place of the first draft.
        first: Seq,
    },
    /// Nothing of the batch is in the journal, nor will be.
    NotAppended(JournalError),
    /// It may be there or not. `settle` finds out.
    Unknown(JournalError),
}

/// Why a journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk, a quota or a file size limit leaves no room.
    #[error("no space left for the journal: {0}")]
    Full(String),
    /// The disk or the file system failed or is read-only; it may heal.
    #[error("the journal cannot be reached: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("entry {seq} of the journal is damaged: {why}")]
    Damaged {
        /// The first entry that is wrong.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The entry's bytes are of a format that this program does not know.
    #[error("entry {seq} of the journal cannot be read: {bad}")]
    Unreadable {
        /// Which entry.
        seq: u64,
        /// Why not.
        bad: BadEntry,
    },
}

impl From<Damage> for JournalError {
    fn from(Damage { seq, why, .. }: Damage) -> JournalError {
        JournalError::Damaged { seq: seq.0, why }
    }
}

/// Appends. There is one such handle for each server process.
pub trait Journal {
    /// Which journal this is.
    fn identity(&self) -> Identity;

    /// Appends a batch whole or not at all, durably.
    fn append(&mut self, batch: &Batch) -> Appended;

    /// Makes sure of what is there: called after `Unknown`, until it succeeds. Answers the end;
    /// everything up to it is durable.
    fn settle(&mut self) -> Result<Seq, JournalError>;

    /// Forgets the payloads and salts of these entries, on the disk too. The envelopes stay.
    fn erase(&mut self, seqs: &[Seq]) -> Result<(), JournalError>;
}

/// Reads. Any number of these may be open beside the writer.
pub trait Reader {
    /// The last durable entry; 0 when there is none.
    fn end(&mut self) -> Result<Seq, JournalError>;

    /// Entries after `after`, in order: at most `limit`, at least one if there is one; stops early
    /// once their payloads exceed `bytes_max`.
    fn read(&mut self, after: Seq, limit: usize, bytes_max: usize) -> Result<Vec<Checked>, JournalError>;

    /// The entries at these places, in the order asked: at least the first; stops early once their
    /// payloads exceed `bytes_max`. Missing ones are damaged.
    fn get(&mut self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Checked>, JournalError>;

    /// The envelope at this place, which the chain proves; whether it still has its payload does not matter.
    fn envelope(&mut self, seq: Seq) -> Result<Result<Bytes, Damage>, JournalError> {
        let checked = self.get(&[seq], 0)?.pop();
        Ok(match checked.unwrap_or_else(|| Err(Damage::missing(seq))) {
            Ok(entry) => Ok(entry.envelope),
            Err(Damage { envelope: Some(envelope), .. }) => Ok(envelope),
            Err(damage) => Err(damage),
        })
    }

    /// Envelopes and chain after `after`, in order: at most `limit`. Reads no payload.
    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError>;

    /// The chain after this entry: what a table that was fed up to here stores, to know later that the
    /// journal is still the one that it was fed from. `None`: there is no such entry.
    fn chain_at(&mut self, seq: Seq) -> Result<Option<Chain>, JournalError> {
        let Some(before) = seq.0.checked_sub(1) else { return Ok(None) };
        match self.sealed(Seq(before), 1) {
            Ok(found) => Ok(found.first().map(|sealed| Chain(sealed.chain))),
            Err(fault) => Err(fault),
        }
    }

    /// The stored hashes of the state after `after`, in order: at most `limit`.
    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError>;
}
