//! Reads a backup block by block and verifies each seal before use. `backup.rs` describes the formats. Memory
//! grows with received bytes, never with a claimed length.

use std::io::{self, Read};

use bytes::Bytes;
use minicbor::{Decoder, data::Type};
use vang_chat::Seq;

use crate::backup::{
    BackupOrigin, END, ENTRIES, FORMAT, FORMAT_WITHOUT_KEY, HEAD, MAGIC, SEAL_BYTES, SERVER_KEY, STATES,
    ServerKey, check_payload, seal,
};
use crate::chain::{Chain, genesis};
use crate::contract::{Entry, Payload};
use crate::format::{EntryError, fixed, nothing_more};
use crate::identity::Identity;

/// A block's body, in bytes: 64 MiB, header a hundred times what is written.
const BODY_BYTES_MAX: u32 = 64 << 20;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupReadError {
    /// Not a backup: what it is instead.
    #[error("it is not a vang backup: {0}")]
    Foreign(&'static str),
    #[error(
        "it was made by a newer vang: backup format {found}; this program reads {FORMAT_WITHOUT_KEY} to {FORMAT}"
    )]
    Newer {
        /// Its format as text.
        found: String,
    },
    /// The stream ends too early.
    #[error("it is incomplete: it ends after {bytes} bytes, with entry {entry} of {end}")]
    Cut {
        bytes: u64,
        entry: u64,
        /// The last entry according to the header.
        end: u64,
    },
    /// The content is not what was written.
    #[error("it is damaged: between byte {from} and byte {to}, {why}")]
    Damaged { from: u64, to: u64, why: String },
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// A backup's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupHeader {
    /// The journal that was backed up.
    pub identity: Identity,
    pub end: Seq,
    /// The chain at the last entry.
    pub chain: Chain,
    pub made: BackupOrigin,
    /// The server's own TLS key, if the backup has it.
    pub server_key: Option<ServerKey>,
}

/// The content of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Hashes of the state. They come before all entries.
    States(Vec<(Seq, [u8; 32])>),
    /// The next entries, each with its chain.
    Entries(Vec<(Entry, Chain)>),
}

/// A backup being read. It is complete once `next` has returned `None`.
#[derive(Debug)]
pub struct Backup<R> {
    source: Source<R>,
    header: BackupHeader,
    /// The last entry returned, and the chain there.
    at: (Seq, Chain),
    last_state: Seq,
    erased: u64,
    is_whole: bool,
}

impl<R: Read> Backup<R> {
    /// Reads the header. The error names other kinds of files.
    pub fn open(input: R) -> Result<Backup<R>, BackupReadError> {
        let mut source = Source { input, hasher: blake3::Hasher::new(), bytes: 0 };
        let format = source.begin()?;
        let block = source.block().map_err(|error| error.at(Seq(0), Seq(0)))?;
        let mut header = read_head(&block.body).map_err(|why| block.damaged(why.to_string()))?;
        if format > FORMAT_WITHOUT_KEY {
            let block = source.block().map_err(|error| error.at(Seq(0), header.end))?;
            let read = read_server_key(&block.body).map_err(|why| block.damaged(why.to_string()))?;
            header.server_key = Some(read);
        }
        let at = (Seq(0), genesis(&header.identity));
        Ok(Backup { source, header, at, last_state: Seq(0), erased: 0, is_whole: false })
    }

    /// The backup's header.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The number of bytes read.
    pub fn bytes(&self) -> u64 {
        self.source.bytes
    }

    /// The number of erased payloads so far.
    pub fn erased(&self) -> u64 {
        self.erased
    }

    /// The next block, verified. `None`: the backup is complete.
    #[allow(clippy::should_implement_trait)] // not usable after an error
    pub fn next(&mut self) -> Result<Option<Piece>, BackupReadError> {
        if self.is_whole {
            return Ok(None);
        }
        let block = self.source.block().map_err(|error| error.at(self.at.0, self.header.end))?;
        let piece = self.take(&block.body).map_err(|why| block.damaged(why))?;
        if piece.is_none() {
            self.source.nothing_more()?;
            self.is_whole = true;
        }
        Ok(piece)
    }

    /// The content of the block, if it follows from the earlier blocks.
    fn take(&mut self, body: &Bytes) -> Result<Option<Piece>, String> {
        match read_block(body).map_err(|bad| bad.to_string())? {
            Body::States(states) => {
                for &(seq, _) in &states {
                    if seq <= self.last_state || seq > self.header.end {
                        return Err(format!("unexpected state hash for entry {seq}"));
                    }
                    self.last_state = seq;
                }
                Ok(Some(Piece::States(states)))
            }
            Body::Entries(entries) => {
                let mut taken = Vec::with_capacity(entries.len());
                for entry in entries {
                    if entry.seq != self.at.0.next() || entry.seq > self.header.end {
                        return Err(format!("entry {} follows entry {}", entry.seq, self.at.0));
                    }
                    check_payload(&entry).map_err(|fault| fault.to_string())?;
                    self.erased += u64::from(entry.payload.is_none());
                    self.at = (entry.seq, self.at.1.after(&entry.envelope));
                    taken.push((entry, self.at.1));
                }
                Ok(Some(Piece::Entries(taken)))
            }
            Body::End { entries, erased, chain } => {
                let found = (self.at.0, self.erased, self.at.1);
                if (entries, erased, chain) != found
                    || (entries, chain) != (self.header.end, self.header.chain)
                {
                    return Err(format!("its {} entries do not match its header", found.0));
                }
                Ok(None)
            }
        }
    }
}

/// Reads bytes block by block.
#[derive(Debug)]
struct Source<R> {
    input: R,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// A verified body, and its bytes' range in the stream.
struct Block {
    from: u64,
    to: u64,
    body: Bytes,
}

impl Block {
    fn damaged(&self, why: String) -> BackupReadError {
        BackupReadError::Damaged { from: self.from, to: self.to, why }
    }
}

enum NoBlock {
    Cut { bytes: u64 },
    Bad(BackupReadError),
}

impl NoBlock {
    fn at(self, entry: Seq, end: Seq) -> BackupReadError {
        match self {
            NoBlock::Cut { bytes } => BackupReadError::Cut { bytes, entry: entry.0, end: end.0 },
            NoBlock::Bad(bad) => bad,
        }
    }
}

impl<R: Read> Source<R> {
    /// Reads the first line: the format.
    fn begin(&mut self) -> Result<u32, BackupReadError> {
        let mut found = self.some(MAGIC.len())?;
        if found != MAGIC {
            return Err(BackupReadError::Foreign(what_begins(&found)));
        }
        // The format's digits, up to the newline.
        while found.len() < MAGIC.len() + 10 && !found.ends_with(b"\n") {
            let byte = self.some(1)?;
            if byte.is_empty() {
                return Err(BackupReadError::Cut { bytes: self.bytes, entry: 0, end: 0 });
            }
            found.extend(byte);
        }
        let number = std::str::from_utf8(&found[MAGIC.len()..]).ok().and_then(|line| line.strip_suffix('\n'));
        match number.and_then(|number| Some((number, number.parse::<u32>().ok()?))) {
            Some((number, found))
                if (FORMAT_WITHOUT_KEY..=FORMAT).contains(&found) && number == found.to_string() =>
            {
                Ok(found)
            }
            Some((number, found)) if found > FORMAT => {
                Err(BackupReadError::Newer { found: number.to_owned() })
            }
            _ => Err(BackupReadError::Foreign("its first line is damaged")),
        }
    }

    fn block(&mut self) -> Result<Block, NoBlock> {
        let from = self.bytes;
        let length = u32::from_be_bytes(self.exactly()?);
        if length > BODY_BYTES_MAX {
            let why = format!("a block of {length} bytes exceeds the limit of {BODY_BYTES_MAX}");
            return Err(NoBlock::Bad(BackupReadError::Damaged { from, to: self.bytes, why }));
        }
        let body = self.some(length as usize).map_err(NoBlock::Bad)?;
        if body.len() < length as usize {
            return Err(NoBlock::Cut { bytes: self.bytes });
        }
        let expected = seal(&self.hasher);
        let found: [u8; SEAL_BYTES] = self.exactly()?;
        let block = Block { from, to: self.bytes, body: body.into() };
        if found != expected {
            return Err(NoBlock::Bad(block.damaged("the bytes do not match their seal".to_owned())));
        }
        Ok(block)
    }

    fn nothing_more(&mut self) -> Result<(), BackupReadError> {
        let at = self.bytes;
        match self.some(1)?.is_empty() {
            true => Ok(()),
            false => Err(BackupReadError::Damaged {
                from: at,
                to: self.bytes,
                why: "there is data after its end".into(),
            }),
        }
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], NoBlock> {
        let found = self.some(N).map_err(NoBlock::Bad)?;
        <[u8; N]>::try_from(found).map_err(|_| NoBlock::Cut { bytes: self.bytes })
    }

    /// Up to `len` bytes: fewer only at the end.
    fn some(&mut self, len: usize) -> Result<Vec<u8>, BackupReadError> {
        let mut bytes = Vec::new();
        (&mut self.input).take(len as u64).read_to_end(&mut bytes)?;
        self.hasher.update(&bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }
}

/// Names other files that people take for a backup.
fn what_begins(found: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 6] = [
        (b"SQLite forma", "it is a SQLite database; a copy of a whole data folder is used with --data"),
        (b"\x1f\x8b", "it is compressed; try `gunzip -c FILE | vang admin restore -`"),
        (b"\x28\xb5\x2f\xfd", "it is compressed; try `zstd -dc FILE | vang admin restore -`"),
        (b"\xfd7zXZ", "it is compressed; try `xz -dc FILE | vang admin restore -`"),
        (b"age-encrypti", "it is encrypted; try `age -d FILE | vang admin restore -`"),
        (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    ];
    if found.is_empty() {
        return "it is empty";
    }
    let known = KNOWN.iter().find(|(begin, _)| found.starts_with(begin));
    known.map_or("its first bytes are unknown", |(_, what)| what)
}

enum Body {
    States(Vec<(Seq, [u8; 32])>),
    Entries(Vec<Entry>),
    End { entries: Seq, erased: u64, chain: Chain },
}

fn read_head(body: &Bytes) -> Result<BackupHeader, EntryError> {
    let mut d = Decoder::new(body);
    if (fields(&mut d)?, d.u8()?) != (8, HEAD) {
        return Err(EntryError::Malformed("its first block is not a header".into()));
    }
    let (id, key, born) = (fixed(&mut d)?, fixed(&mut d)?, fixed(&mut d)?);
    let (end, chain) = (Seq(d.u64()?), Chain(fixed(&mut d)?));
    let made = BackupOrigin { time: d.u64()?, by: d.str()?.to_owned() };
    nothing_more(&d, body)?;
    Ok(BackupHeader { identity: Identity { id, key, born }, end, chain, made, server_key: None })
}

fn read_server_key(body: &Bytes) -> Result<ServerKey, EntryError> {
    let mut d = Decoder::new(body);
    if (fields(&mut d)?, d.u8()?) != (3, SERVER_KEY) {
        return Err(EntryError::Malformed("its second block is not the server's key".into()));
    }
    let (certificate, key) = (d.bytes()?.to_vec(), d.bytes()?.to_vec());
    nothing_more(&d, body)?;
    Ok(ServerKey { certificate, key })
}

fn read_block(body: &Bytes) -> Result<Body, EntryError> {
    let mut d = Decoder::new(body);
    let (count, kind) = (fields(&mut d)?, d.u8()?);
    let block = match (kind, count) {
        (STATES, 1..) => {
            let mut states = Vec::new();
            for _ in 1..count {
                expect_fields(&mut d, 2)?;
                states.push((Seq(d.u64()?), fixed(&mut d)?));
            }
            Body::States(states)
        }
        (ENTRIES, 2..) => {
            let mut seq = Seq(d.u64()?);
            let mut entries = Vec::new();
            for _ in 2..count {
                entries.push(read_entry(&mut d, body, seq)?);
                seq = Seq(seq.0.saturating_add(1));
            }
            Body::Entries(entries)
        }
        (END, 4) => Body::End { entries: Seq(d.u64()?), erased: d.u64()?, chain: Chain(fixed(&mut d)?) },
        _ => {
            return Err(EntryError::Malformed(format!("unknown block of kind {kind} with {count} fields")));
        }
    };
    nothing_more(&d, body)?;
    Ok(block)
}

fn read_entry(d: &mut Decoder<'_>, body: &Bytes, seq: Seq) -> Result<Entry, EntryError> {
    expect_fields(d, 3)?;
    let envelope = body.slice_ref(d.bytes()?);
    let payload = match d.datatype()? {
        Type::Null => {
            d.null()?;
            d.null()?;
            None
        }
        _ => Some(Payload { salt: fixed(d)?, bytes: body.slice_ref(d.bytes()?) }),
    };
    Ok(Entry { seq, envelope, payload })
}

fn expect_fields(d: &mut Decoder<'_>, expected: u64) -> Result<(), EntryError> {
    match fields(d)? {
        found if found == expected => Ok(()),
        found => Err(EntryError::Malformed(format!("{found} fields instead of {expected}"))),
    }
}

fn fields(d: &mut Decoder<'_>) -> Result<u64, EntryError> {
    d.array()?.ok_or_else(|| EntryError::Malformed("an array without a length".into()))
}
