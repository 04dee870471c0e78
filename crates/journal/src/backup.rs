//! Backup formats 1 and 2: a journal as one stream of bytes, which can go through a pipe and proves its
//! completeness.
//!
//! ```text
//! "vang backup 1\n", or 2 where the server's TLS key is in it
//! block …        | length of the body: u32 big-endian | body: CBOR | seal: 16 bytes |
//!
//! [0, id, key, born, end, chain there, time (ms), made by]     the first block: the header
//! [4, certificate, key]                                        the second block of format 2: PEM
//! [1, [seq, hash of the state] …]                              before all entries
//! [2, seq of the first, [envelope, salt, payload] …]           salt and payload null where erased
//! [3, entries, erased, chain]                                  the last block; nothing follows
//! ```
//!
//! A seal is the beginning of BLAKE3 over all earlier bytes of the stream: a block that is cut, changed, left
//! out or taken from another backup is detected where it begins. Entries have the journal's format 1
//! (`format.rs`); the SQLite file's layout is not part of a backup.
//!
//! The entries up to the end at the start of the backup are read in short transactions: a backup that takes
//! hours blocks no writer, and the WAL can be truncated. This is safe because entries are only added at the
//! end. SQLite's own ways do not allow this: one long read (`VACUUM INTO`) lets the WAL grow, and the page copy
//! restarts after every write from elsewhere. Entries are verified on the way: a damaged journal is not backed
//! up silently.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minicbor::Encoder;
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::{Entry, JournalError, Reader};
use crate::format::Envelope;
use crate::identity::Identity;
use crate::time::rfc3339;

/// The newest format that this program reads. It writes the oldest format that can hold the content.
pub(crate) const FORMAT: u32 = 2;
pub(crate) const FORMAT_WITHOUT_KEY: u32 = 1;

/// The first bytes of every format; the format's number and a newline follow.
pub(crate) const MAGIC: &[u8] = b"vang backup ";

/// A seal, in bytes: 128 bits do not match by accident.
pub(crate) const SEAL_BYTES: usize = 16;

pub(crate) const HEAD: u8 = 0;
pub(crate) const STATES: u8 = 1;
pub(crate) const ENTRIES: u8 = 2;
pub(crate) const END: u8 = 3;
pub(crate) const SERVER_KEY: u8 = 4;

/// Entries in a block, and per read.
const BLOCK_ENTRIES: usize = 256;

/// A block ends after this many bytes of payloads: 256 KiB, plus one message.
const BLOCK_BYTES: usize = 256 << 10;

const BLOCK_STATES: usize = 1_024;

/// The server's own TLS key and certificate, as in their files (PEM). Clients know the server by this key.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey")
    }
}

/// The time and the program of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOrigin {
    /// Milliseconds since 1970, by the clock of the backup's machine.
    pub time: u64,
    /// The program, for example `vang/0.1.0`.
    pub by: String,
}

impl BackupOrigin {
    /// `by` now.
    pub fn now(by: impl Into<String>) -> BackupOrigin {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        BackupOrigin { time: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), by: by.into() }
    }

    /// The time as RFC 3339 text: UTC, to the second.
    pub fn when(&self) -> String {
        match UNIX_EPOCH.checked_add(Duration::from_millis(self.time)) {
            Some(time) => rfc3339(time),
            None => format!("@{}ms", self.time),
        }
    }
}

/// The content of a written backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The position of the last entry, which is the number of entries.
    pub end: Seq,
    pub erased: u64,
    /// The journal's chain at the last entry.
    pub chain: Chain,
    /// The stream's length.
    pub bytes: u64,
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("after {bytes} bytes: {source}")]
    Write { bytes: u64, source: io::Error },
}

/// Writes the journal's current content, and the server's key if there is one. `progress` gets the number of
/// entries done and in total. After an error the stream has no last block, so it is not taken for a backup.
pub fn write_backup(
    reader: &mut dyn Reader,
    identity: &Identity,
    (made, server_key): (&BackupOrigin, Option<&ServerKey>),
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupReport, BackupError> {
    let end = reader.end()?;
    let promised = match end {
        Seq(0) => genesis(identity),
        end => reader.chain_at(end)?.ok_or_else(|| damaged(end, "it is missing"))?,
    };
    let mut out = Sealing { out, hasher: blake3::Hasher::new(), bytes: 0 };
    let format = server_key.map_or(FORMAT_WITHOUT_KEY, |_| FORMAT);
    out.write(&[MAGIC, format!("{format}\n").as_bytes()].concat())?;
    out.block(&head(identity, end, promised, made))?;
    if let Some(server_key) = server_key {
        out.block(&server_key_block(server_key))?;
    }

    let mut after = Seq(0);
    loop {
        let mut states = reader.checkpoints(after, BLOCK_STATES)?;
        states.retain(|(seq, _)| *seq <= end);
        let Some(&(last, _)) = states.last() else { break };
        out.block(&states_block(&states))?;
        after = last;
    }

    let (mut at, mut chain, mut erased) = (Seq(0), genesis(identity), 0);
    while at < end {
        let most = usize::try_from(end.0 - at.0).map_or(BLOCK_ENTRIES, |left| left.min(BLOCK_ENTRIES));
        let entries = Entry::all(reader.read(at, most, BLOCK_BYTES)?)?;
        let sealed = reader.sealed(at, entries.len().max(1))?;
        for (entry, sealed) in entries.iter().zip(&sealed) {
            chain = chain.after(&entry.envelope);
            if chain.0 != sealed.chain {
                return Err(damaged(entry.seq, "the envelope does not match the chain").into());
            }
            erased += u64::from(entry.payload.is_none());
        }
        let Some(last) = entries.last() else { return Err(damaged(at.next(), "it is missing").into()) };
        out.block(&entries_block(&entries))?;
        at = last.seq;
        progress(at.0, end.0);
    }
    if chain != promised {
        return Err(damaged(end, "the journal was changed while it was read").into());
    }
    out.block(&end_block(end, erased, chain))?;
    out.flush()?;
    Ok(BackupReport { end, erased, chain, bytes: out.bytes })
}

pub(crate) fn check_payload(entry: &Entry) -> Result<(), JournalError> {
    let Some(payload) = &entry.payload else { return Ok(()) };
    let envelope = Envelope::decode(&entry.envelope)
        .map_err(|bad| JournalError::Unreadable { seq: entry.seq.0, bad })?;
    if payload.digest() != envelope.digest {
        return Err(damaged(entry.seq, "the payload does not match its digest"));
    }
    Ok(())
}

fn damaged(seq: Seq, why: &str) -> JournalError {
    JournalError::Damaged { seq: seq.0, why: why.into() }
}

/// Writes blocks with their seals.
struct Sealing<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Sealing<'_> {
    fn block(&mut self, body: &[u8]) -> Result<(), BackupError> {
        let length = u32::try_from(body.len()).expect("a block is some hundred KiB");
        self.write(&length.to_be_bytes())?;
        self.write(body)?;
        self.write(&seal(&self.hasher))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|source| BackupError::Write { bytes: self.bytes, source })?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        self.out.flush().map_err(|source| BackupError::Write { bytes: self.bytes, source })
    }
}

/// The seal of all bytes hashed so far.
pub(crate) fn seal(hasher: &blake3::Hasher) -> [u8; SEAL_BYTES] {
    let mut seal = [0; SEAL_BYTES];
    hasher.finalize_xof().fill(&mut seal);
    seal
}

fn body(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), Never>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes)).expect("writing to a Vec cannot fail");
    bytes
}

type Never = minicbor::encode::Error<std::convert::Infallible>;

fn head(identity: &Identity, end: Seq, chain: Chain, made: &BackupOrigin) -> Vec<u8> {
    body(|e| {
        e.array(8)?.u8(HEAD)?.bytes(&identity.id)?.bytes(&identity.key)?.bytes(&identity.born)?;
        e.u64(end.0)?.bytes(&chain.0)?.u64(made.time)?.str(&made.by)?;
        Ok(())
    })
}

fn server_key_block(ServerKey { certificate, key }: &ServerKey) -> Vec<u8> {
    body(|e| {
        e.array(3)?.u8(SERVER_KEY)?.bytes(certificate)?.bytes(key)?;
        Ok(())
    })
}

fn states_block(states: &[(Seq, [u8; 32])]) -> Vec<u8> {
    body(|e| {
        e.array(1 + states.len() as u64)?.u8(STATES)?;
        for (seq, hash) in states {
            e.array(2)?.u64(seq.0)?.bytes(hash)?;
        }
        Ok(())
    })
}

fn entries_block(entries: &[Entry]) -> Vec<u8> {
    body(|e| {
        let first = entries.first().map_or(0, |entry| entry.seq.0);
        e.array(2 + entries.len() as u64)?.u8(ENTRIES)?.u64(first)?;
        for entry in entries {
            e.array(3)?.bytes(&entry.envelope)?;
            match &entry.payload {
                Some(payload) => e.bytes(&payload.salt)?.bytes(&payload.bytes)?,
                None => e.null()?.null()?,
            };
        }
        Ok(())
    })
}

fn end_block(end: Seq, erased: u64, chain: Chain) -> Vec<u8> {
    body(|e| {
        e.array(4)?.u8(END)?.u64(end.0)?.u64(erased)?.bytes(&chain.0)?;
        Ok(())
    })
}
