//! vang-journal: the ordered, durable, verifiable record of everything that happens.
//!
//! An entry is an envelope (what the rules need: ids, numbers, hashes) and a payload (what a user typed) with a
//! random salt. The chain of hashes runs over envelopes alone, so a payload can be erased and the chain still
//! proves that no other entry is missing.
//!
//! No rules and no clock here: the hub stamps entries, `vang-chat` decides about them. `contract.rs` says what
//! every journal promises; `tests/contract.rs` tests it for each implementation.

mod hash; // BLAKE3, and bytes as hexadecimal digits
mod time; // times as text
mod identity; // which journal this is: its id and its key
mod chain; // the hash that binds every envelope to all earlier ones
mod contract; // append, settle, read: what a journal promises, and its errors
mod format; // format 1: envelopes as bytes
mod payload; // payloads as bytes
mod memory; // a journal in memory: for tests and the simulation
mod folder; // the data folder: its lock, format, permissions
mod file_watch; // are the open files still the ones in the folder?
mod sqlite; // a journal in SQLite: one file, group commit, synchronous=FULL
mod reader; // reads a journal in SQLite and verifies what it reads
mod rows; // columns, the identity and errors of SQLite, for writer and readers
mod journal_file; // the file, for opening readers repeatedly
mod store; // the upkeep of what stores a journal, and its readers
mod open; // opens what stores a journal
mod damages; // damaged entries that readers found, each reported once
mod backup; // a journal as one stream of bytes that proves its completeness
mod unpack; // reads such a stream block by block and verifies it
mod restore; // makes a new journal in SQLite from such a stream
mod check; // reads everything again and names the entries with problems

pub use backup::{BackupError, BackupOrigin, BackupReport, ServerKey, write_backup};
pub use chain::{Chain, genesis};
pub use check::{CheckReport, Problem};
pub use contract::{
    Appended, Batch, Checked, DamageError, Draft, Entry, Journal, JournalError, Payload, Reader, Sealed,
    TakeEntry, seq_of,
};
pub use damages::Damages;
pub use file_watch::{DatabaseWatch, Displacement, FileWatch, FileWatchError};
pub use folder::{
    DataFolder, FolderError, FolderLock, HOLDER_DIES_WITHIN, HOLDER_LOOK, LockState, Reserve, Restoring,
};
pub use format::{ENVELOPE_BYTES, EntryError, Envelope, Origin, Through};
pub use hash::{hash, hex};
pub use identity::Identity;
pub use memory::MemoryJournal;
pub use open::{check_journal, create_journal, hold_journal, open_journal, read_journal};
pub use payload::{MessagePayload, MessagePayloadView, Unknown, UnknownView, decode_name, encode_name};
pub use restore::{RestoreError, restore};
pub use sqlite::{Durability, WAL_BYTES_MAX};
pub use store::{Maintain, Store};
pub use unpack::{Backup, BackupHeader, BackupReadError, Piece};

/// What is behind the functions that open a journal, for the tests of this crate; nobody above it names these.
#[doc(hidden)]
pub mod in_sqlite {
    pub use crate::check::check;
    pub use crate::journal_file::JournalFile;
    pub use crate::reader::SqliteReader;
    pub use crate::sqlite::SqliteJournal;
}
