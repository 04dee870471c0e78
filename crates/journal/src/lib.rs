//! vang-journal: one ordered, durable record of everything that happened, which can prove itself.
//!
//! An entry is an envelope (what the rules need: ids, numbers, hashes) and beside it a payload (what
//! somebody typed) with its random salt. The chain runs over envelopes alone, so a payload can be
//! erased and the rest still proves that nothing else is missing.
//!
//! No rules and no clock here: the orderer stamps, `vang-chat` decides. See `contract.rs` for what
//! every journal promises; `tests/contract.rs` holds each of them to it.

mod hash; // BLAKE3 of short pieces
mod contract; // append, settle, read: what a journal promises, and how it fails
mod format; // format 1: envelopes and payloads as bytes and back
mod chain; // the hash that binds every envelope to all before it
mod memory; // a journal in memory: for tests and the simulation
mod folder; // the data folder: its lock, its format, its permissions
mod file_watch; // are the files that are open still those in the folder?
mod sqlite; // a journal in SQLite: one file, group commit, synchronous=FULL
mod reader; // reads it, and proves what it reads
mod damages; // the damaged entries that readers have met, each told once
mod backup; // everything as one stream of bytes that tells whether it is whole
mod unpack; // such a stream, block by block, believed only when it was compared
mod restore; // a new journal in SQLite from such a stream
mod check; // reads everything again and names the entry where something is wrong

pub use backup::{BackupError, BackupReport, Made, ServerKey, write_backup};
pub use chain::{Chain, genesis};
pub use check::{CheckReport, Problem, check};
pub use contract::{
    Appended, Batch, Checked, Damage, Draft, Entry, Identity, Journal, JournalError, Payload, Reader, Sealed,
    place,
};
pub use damages::{Damages, JournalFile};
pub use file_watch::{DatabaseWatch, Displaced, FileWatch, How};
pub use folder::{
    DataFolder, FolderError, FolderLock, HOLDER_DIES_WITHIN, HOLDER_LOOK, Lock, Reserve, Restoring,
};
pub use format::{BadEntry, ENVELOPE_BYTES, Envelope, Origin, Said, SaidView, decode_name, encode_name};
pub use hash::hash;
pub use memory::MemoryJournal;
pub use reader::SqliteReader;
pub use restore::{RestoreError, restore};
pub use sqlite::{Durability, SqliteJournal};
pub use unpack::{About, Backup, BadBackup, Piece};
