//! Reads a backup, block by block, and believes nothing before its seal was compared. Its formats stand
//! in `backup.rs`. Memory grows with bytes that came, never with a length that was claimed.

use std::io::{self, Read};

use bytes::Bytes;
use minicbor::{Decoder, data::Type};
use vang_chat::Seq;

use crate::backup::{
    END, ENTRIES, FORMAT, FORMAT_WITHOUT_KEY, HEAD, MAGIC, Made, SEAL_BYTES, SERVER_KEY, STATES, ServerKey,
    check_payload, seal,
};
use crate::chain::{Chain, genesis};
use crate::contract::{Entry, Identity, Payload};
use crate::format::{BadEntry, fixed, nothing_more};

/// A block's body, in bytes: 64 MiB, some hundred times what is written.
const BODY_BYTES_MAX: u32 = 64 << 20;

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// It begins otherwise.
    #[error("it is not a backup of vang's: {0}")]
    Foreign(&'static str),
    /// From a newer program.
    #[error(
        "it was made by a newer vang: backup format {found}; this program reads {FORMAT_WITHOUT_KEY} to {FORMAT}"
    )]
    Newer {
        /// Its format, as it stands there.
        found: String,
    },
    /// It ends too early.
    #[error("it is not whole: it ends after {bytes} bytes, with entry {entry} of {end}")]
    Cut {
        /// How long it is.
        bytes: u64,
        /// The last entry that can be read.
        entry: u64,
        /// The last that it should have.
        end: u64,
    },
    /// What stands there is not what was written.
    #[error("it is damaged: between byte {from} and byte {to}, {why}")]
    Damaged {
        /// Where the block begins.
        from: u64,
        /// Where it ends.
        to: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The system does not give it.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// What a backup says that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The journal that it was made of.
    pub identity: Identity,
    /// Its last entry.
    pub end: Seq,
    /// The chain there.
    pub chain: Chain,
    /// When and by what.
    pub made: Made,
    /// The server's own TLS key, if it is in there.
    pub server_key: Option<ServerKey>,
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Hashes of the state; they come before all entries.
    States(Vec<(Seq, [u8; 32])>),
    /// The next entries, each with the chain there.
    Entries(Vec<(Entry, Chain)>),
}

/// A backup, being read. It is whole when `next` gave `None`.
#[derive(Debug)]
pub struct Backup<R> {
    source: Source<R>,
    about: About,
    /// The last entry that was given out, and the chain there.
    at: (Seq, Chain),
    last_state: Seq,
    erased: u64,
    is_whole: bool,
}

impl<R: Read> Backup<R> {
    /// Looks at the beginning, and says what it is where it is something else.
    pub fn open(input: R) -> Result<Backup<R>, BadBackup> {
        let mut source = Source { input, hasher: blake3::Hasher::new(), bytes: 0 };
        let format = source.begin()?;
        let block = source.block().map_err(|trouble| trouble.at(Seq(0), Seq(0)))?;
        let mut about = read_head(&block.body).map_err(|why| block.damaged(why.to_string()))?;
        if format > FORMAT_WITHOUT_KEY {
            let block = source.block().map_err(|trouble| trouble.at(Seq(0), about.end))?;
            let read = read_server_key(&block.body).map_err(|why| block.damaged(why.to_string()))?;
            about.server_key = Some(read);
        }
        let at = (Seq(0), genesis(&about.identity));
        Ok(Backup { source, about, at, last_state: Seq(0), erased: 0, is_whole: false })
    }

    /// What it says that it has.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.source.bytes
    }

    /// How many of the entries so far have no payload any more.
    pub fn erased(&self) -> u64 {
        self.erased
    }

    /// The next part, which is as it was written. `None`: that was all, and it is whole.
    #[allow(clippy::should_implement_trait)] // nothing may be asked of it after a fault
    pub fn next(&mut self) -> Result<Option<Piece>, BadBackup> {
        if self.is_whole {
            return Ok(None);
        }
        let block = self.source.block().map_err(|trouble| trouble.at(self.at.0, self.about.end))?;
        let piece = self.take(&block.body).map_err(|why| block.damaged(why))?;
        if piece.is_none() {
            self.source.nothing_more()?;
            self.is_whole = true;
        }
        Ok(piece)
    }

    /// What is in the block, if it follows from those before it.
    fn take(&mut self, body: &Bytes) -> Result<Option<Piece>, String> {
        match read_block(body).map_err(|bad| bad.to_string())? {
            Body::States(states) => {
                for &(seq, _) in &states {
                    if seq <= self.last_state || seq > self.about.end {
                        return Err(format!("a hash of the state at {seq} stands there"));
                    }
                    self.last_state = seq;
                }
                Ok(Some(Piece::States(states)))
            }
            Body::Entries(entries) => {
                let mut taken = Vec::with_capacity(entries.len());
                for entry in entries {
                    if entry.seq != self.at.0.next() || entry.seq > self.about.end {
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
                if (entries, erased, chain) != found || (entries, chain) != (self.about.end, self.about.chain)
                {
                    return Err(format!(
                        "it has {} entries, which are not the ones that it should have",
                        found.0
                    ));
                }
                Ok(None)
            }
        }
    }
}

/// Bytes in, block by block.
#[derive(Debug)]
struct Source<R> {
    input: R,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// A body that is as it was written, and where it stands.
struct Block {
    from: u64,
    to: u64,
    body: Bytes,
}

impl Block {
    fn damaged(&self, why: String) -> BadBackup {
        BadBackup::Damaged { from: self.from, to: self.to, why }
    }
}

/// Why there is no block.
enum NoBlock {
    Cut { bytes: u64 },
    Bad(BadBackup),
}

impl NoBlock {
    fn at(self, entry: Seq, end: Seq) -> BadBackup {
        match self {
            NoBlock::Cut { bytes } => BadBackup::Cut { bytes, entry: entry.0, end: end.0 },
            NoBlock::Bad(bad) => bad,
        }
    }
}

impl<R: Read> Source<R> {
    /// The first line: which format it is.
    fn begin(&mut self) -> Result<u32, BadBackup> {
        let mut found = self.some(MAGIC.len())?;
        if found != MAGIC {
            return Err(BadBackup::Foreign(what_begins(&found)));
        }
        // The number's digits, up to the end of the line.
        while found.len() < MAGIC.len() + 10 && !found.ends_with(b"\n") {
            let byte = self.some(1)?;
            if byte.is_empty() {
                return Err(BadBackup::Cut { bytes: self.bytes, entry: 0, end: 0 });
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
            Some((number, found)) if found > FORMAT => Err(BadBackup::Newer { found: number.to_owned() }),
            _ => Err(BadBackup::Foreign("its first line is damaged")),
        }
    }

    fn block(&mut self) -> Result<Block, NoBlock> {
        let from = self.bytes;
        let length = u32::from_be_bytes(self.exactly()?);
        if length > BODY_BYTES_MAX {
            let why = format!("a block of {length} bytes begins, and none has more than {BODY_BYTES_MAX}");
            return Err(NoBlock::Bad(BadBackup::Damaged { from, to: self.bytes, why }));
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

    fn nothing_more(&mut self) -> Result<(), BadBackup> {
        let at = self.bytes;
        match self.some(1)?.is_empty() {
            true => Ok(()),
            false => {
                Err(BadBackup::Damaged { from: at, to: self.bytes, why: "something follows its end".into() })
            }
        }
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], NoBlock> {
        let found = self.some(N).map_err(NoBlock::Bad)?;
        <[u8; N]>::try_from(found).map_err(|_| NoBlock::Cut { bytes: self.bytes })
    }

    /// So many bytes, or as many as there are.
    fn some(&mut self, len: usize) -> Result<Vec<u8>, BadBackup> {
        let mut bytes = Vec::new();
        (&mut self.input).take(len as u64).read_to_end(&mut bytes)?;
        self.hasher.update(&bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }
}

/// What somebody may take for a backup.
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
    known.map_or("it begins otherwise", |(_, what)| what)
}

enum Body {
    States(Vec<(Seq, [u8; 32])>),
    Entries(Vec<Entry>),
    End { entries: Seq, erased: u64, chain: Chain },
}

fn read_head(body: &Bytes) -> Result<About, BadEntry> {
    let mut d = Decoder::new(body);
    if (fields(&mut d)?, d.u8()?) != (8, HEAD) {
        return Err(BadEntry::Malformed("it does not begin with what it has".into()));
    }
    let (id, key, born) = (fixed(&mut d)?, fixed(&mut d)?, fixed(&mut d)?);
    let (end, chain) = (Seq(d.u64()?), Chain(fixed(&mut d)?));
    let made = Made { time: d.u64()?, by: d.str()?.to_owned() };
    nothing_more(&d, body)?;
    Ok(About { identity: Identity { id, key, born }, end, chain, made, server_key: None })
}

fn read_server_key(body: &Bytes) -> Result<ServerKey, BadEntry> {
    let mut d = Decoder::new(body);
    if (fields(&mut d)?, d.u8()?) != (3, SERVER_KEY) {
        return Err(BadEntry::Malformed("the server's key does not come next".into()));
    }
    let (certificate, key) = (d.bytes()?.to_vec(), d.bytes()?.to_vec());
    nothing_more(&d, body)?;
    Ok(ServerKey { certificate, key })
}

fn read_block(body: &Bytes) -> Result<Body, BadEntry> {
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
            return Err(BadEntry::Malformed(format!(
                "a block of kind {kind} with {count} fields stands there"
            )));
        }
    };
    nothing_more(&d, body)?;
    Ok(block)
}

fn read_entry(d: &mut Decoder<'_>, body: &Bytes, seq: Seq) -> Result<Entry, BadEntry> {
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

fn expect_fields(d: &mut Decoder<'_>, expected: u64) -> Result<(), BadEntry> {
    match fields(d)? {
        found if found == expected => Ok(()),
        found => Err(BadEntry::Malformed(format!("{found} fields where {expected} stand"))),
    }
}

fn fields(d: &mut Decoder<'_>) -> Result<u64, BadEntry> {
    d.array()?.ok_or_else(|| BadEntry::Malformed("an array without a length".into()))
}
