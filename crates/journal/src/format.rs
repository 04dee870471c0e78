//! Format 1: an entry as bytes and back. CBOR (RFC 8949), definite lengths, shortest integers, so
//! that anybody can read a journal in ten years with any CBOR library:
//!
//! ```text
//! envelope = [1, rules, node, counter, time (ms), digest (32 bytes), kind, ...its numbers and hashes]
//! digest   = BLAKE3(salt ‖ payload)
//! said     = [guest's name / null, content-type, content-encoding, content]
//! name     = text (of a room or an account)
//! ```
//!
//! These types are the journal's own; converting to `vang-chat`'s is the price of being free to
//! change either. The number of a kind is never used again for another.

use bytes::Bytes;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder, data::Type};
use vang_chat::{
    Access, AccountId, Command, NameKey, Node, Position, Principal, RoomId, Rules, SendId, Seq, Time,
};

const FORMAT: u16 = 1;

/// Bytes that an envelope takes, about: what to make room for.
pub const ENVELOPE_BYTES: usize = 160;

/// Who ordered an entry: by this a process knows its own when it reads them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The process.
    pub node: Node,
    /// Its commands, counted from 1.
    pub counter: u64,
}

/// An entry without what somebody typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The newest rules that the process that wrote it knew.
    pub rules: Rules,
    /// Who ordered it.
    pub origin: Origin,
    /// The orderer's stamp.
    pub time: Time,
    /// BLAKE3 of the salt and the payload.
    pub digest: [u8; 32],
    /// What was asked.
    pub command: Command,
}

/// The payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The name of a guest; accounts are known by their id.
    pub guest: Option<String>,
    /// As the sender said.
    pub content_type: String,
    /// As the sender said, made independent of the sender's byte order.
    pub content_encoding: String,
    /// The content, as sent.
    pub content: Bytes,
}

/// The payload of a message where it stands: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as above
pub struct SaidView<'a> {
    pub guest: Option<&'a str>,
    pub content_type: &'a str,
    pub content_encoding: &'a str,
    pub content: &'a [u8],
}

/// Bytes in a journal that are no entry of a format that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Not the CBOR that this format has.
    #[error("not an entry: {0}")]
    Malformed(String),
    /// From a newer program.
    #[error("format {found}; this program knows format {FORMAT}")]
    OtherFormat {
        /// As found.
        found: u16,
    },
    /// From a newer program.
    #[error("kind {found} is not known to this program")]
    OtherKind {
        /// As found.
        found: u8,
    },
}

impl From<minicbor::decode::Error> for BadEntry {
    fn from(error: minicbor::decode::Error) -> BadEntry {
        BadEntry::Malformed(error.to_string())
    }
}

type Encoded = Result<(), EncodeError<std::convert::Infallible>>;

/// BLAKE3 of the salt and the payload, as it stands in the envelope.
pub(crate) fn digest(salt: &[u8; 16], payload: &[u8]) -> [u8; 32] {
    crate::hash(None, &[salt, payload])
}

impl crate::Payload {
    /// The digest that binds this payload to its envelope.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.salt, &self.bytes)
    }
}

impl Envelope {
    /// As it stands in the journal.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES);
        self.encode_into(&mut bytes);
        Bytes::from(bytes)
    }

    /// Behind what stands there already: the envelopes of a batch share one buffer.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        self.write(&mut Encoder::new(bytes)).expect("writing to a Vec cannot fail");
    }

    /// The place at which the rules decide this entry.
    pub fn position(&self, seq: Seq) -> Position {
        Position { seq, time: self.time, node: self.origin.node }
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
        let head = |e: &mut Encoder<&mut Vec<u8>>, kind: u8, fields: u64| -> Encoded {
            e.array(7 + fields)?.u16(FORMAT)?.u16(self.rules.0)?.u64(self.origin.node.0)?;
            e.u64(self.origin.counter)?.u64(self.time.0)?.bytes(&self.digest)?.u8(kind)?;
            Ok(())
        };
        match &self.command {
            Command::Open => head(e, 0, 0)?,
            Command::SwitchRules { to } => {
                head(e, 1, 1)?;
                e.u16(to.0)?;
            }
            Command::AddAccount { name } => {
                head(e, 2, 1)?;
                e.bytes(&name.0)?;
            }
            Command::CreateRoom { name, access, by } => {
                head(e, 3, 3)?;
                e.bytes(&name.0)?.bool(*access == Access::Private)?;
                write_principal(e, by)?;
            }
            Command::Join { room, who, by } => {
                head(e, 4, 3)?;
                e.u64(room.0)?.u64(who.0)?;
                write_principal(e, by)?;
            }
            Command::Leave { room, who } => {
                head(e, 5, 2)?;
                e.u64(room.0)?.u64(who.0)?;
            }
            Command::Send { room, from, id } => {
                head(e, 6, if id.is_some() { 4 } else { 2 })?;
                e.u64(room.0)?;
                write_principal(e, from)?;
                if let Some(id) = id {
                    e.bytes(&id.key)?.bytes(&id.print)?;
                }
            }
            Command::Tick => head(e, 7, 0)?,
        }
        Ok(())
    }

    /// From the journal's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, BadEntry> {
        let mut d = Decoder::new(bytes);
        let fields = d.array()?.ok_or_else(|| BadEntry::Malformed("an array without a length".into()))?;
        let found = d.u16()?;
        if found != FORMAT {
            return Err(BadEntry::OtherFormat { found });
        }
        let rules = Rules(d.u16()?);
        let origin = Origin { node: Node(d.u64()?), counter: d.u64()? };
        let time = Time(d.u64()?);
        let digest = fixed(&mut d)?;
        let (command, its_own) = match d.u8()? {
            0 => (Command::Open, 0),
            1 => (Command::SwitchRules { to: Rules(d.u16()?) }, 1),
            2 => (Command::AddAccount { name: NameKey(fixed(&mut d)?) }, 1),
            3 => {
                let name = NameKey(fixed(&mut d)?);
                let access = if d.bool()? { Access::Private } else { Access::Public };
                (Command::CreateRoom { name, access, by: read_principal(&mut d)? }, 3)
            }
            4 => {
                let (room, who) = (RoomId(d.u64()?), AccountId(d.u64()?));
                (Command::Join { room, who, by: read_principal(&mut d)? }, 3)
            }
            5 => (Command::Leave { room: RoomId(d.u64()?), who: AccountId(d.u64()?) }, 2),
            6 => {
                let (room, from) = (RoomId(d.u64()?), read_principal(&mut d)?);
                if fields == 11 {
                    let id = SendId { key: fixed(&mut d)?, print: fixed(&mut d)? };
                    (Command::Send { room, from, id: Some(id) }, 4)
                } else {
                    (Command::Send { room, from, id: None }, 2)
                }
            }
            7 => (Command::Tick, 0),
            found => return Err(BadEntry::OtherKind { found }),
        };
        if fields != 7 + its_own || d.position() != bytes.len() {
            return Err(BadEntry::Malformed(format!(
                "{fields} fields in {} bytes, of which {} were expected",
                bytes.len(),
                7 + its_own
            )));
        }
        Ok(Envelope { rules, origin, time, digest, command })
    }
}

impl SaidView<'_> {
    /// As it stands beside its envelope.
    pub fn encode(&self) -> Bytes {
        let parts = self.guest.map_or(0, str::len) + self.content_type.len() + self.content_encoding.len();
        let mut bytes = Vec::with_capacity(32 + parts + self.content.len());
        let mut e = Encoder::new(&mut bytes);
        let mut write = || -> Encoded {
            e.array(4)?;
            match self.guest {
                Some(name) => e.str(name)?,
                None => e.null()?,
            };
            e.str(self.content_type)?.str(self.content_encoding)?.bytes(self.content)?;
            Ok(())
        };
        write().expect("writing to a Vec cannot fail");
        Bytes::from(bytes)
    }
}

impl<'a> SaidView<'a> {
    /// From the bytes beside an envelope.
    pub fn decode(bytes: &'a [u8]) -> Result<SaidView<'a>, BadEntry> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(4) {
            return Err(BadEntry::Malformed("a message's payload has four fields".into()));
        }
        let guest = if d.datatype()? == Type::Null {
            d.null()?;
            None
        } else {
            Some(d.str()?)
        };
        let (content_type, content_encoding, content) = (d.str()?, d.str()?, d.bytes()?);
        nothing_more(&d, bytes)?;
        Ok(SaidView { guest, content_type, content_encoding, content })
    }
}

impl Said {
    /// As it stands beside its envelope.
    pub fn encode(&self) -> Bytes {
        let Said { guest, content_type, content_encoding, content } = self;
        SaidView { guest: guest.as_deref(), content_type, content_encoding, content }.encode()
    }

    /// From the bytes beside an envelope; the content is not copied.
    pub fn decode(bytes: &Bytes) -> Result<Said, BadEntry> {
        let view = SaidView::decode(bytes)?;
        Ok(Said {
            guest: view.guest.map(str::to_owned),
            content_type: view.content_type.to_owned(),
            content_encoding: view.content_encoding.to_owned(),
            content: bytes.slice_ref(view.content),
        })
    }
}

/// A name as it stands beside the entry of a new room or account.
pub fn encode_name(name: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    Encoder::new(&mut bytes).str(name).expect("writing to a Vec cannot fail");
    Bytes::from(bytes)
}

/// The name beside the entry of a new room or account.
pub fn decode_name(bytes: &[u8]) -> Result<String, BadEntry> {
    let mut d = Decoder::new(bytes);
    let name = d.str()?.to_owned();
    nothing_more(&d, bytes)?;
    Ok(name)
}

fn write_principal(e: &mut Encoder<&mut Vec<u8>>, principal: &Principal) -> Encoded {
    match principal {
        Principal::Operator => e.null()?,
        Principal::Account(id) => e.u64(id.0)?,
        Principal::Guest(name) => e.bytes(&name.0)?,
    };
    Ok(())
}

fn read_principal(d: &mut Decoder<'_>) -> Result<Principal, BadEntry> {
    Ok(match d.datatype()? {
        Type::Null => {
            d.null()?;
            Principal::Operator
        }
        Type::Bytes => Principal::Guest(NameKey(fixed(d)?)),
        _ => Principal::Account(AccountId(d.u64()?)),
    })
}

pub(crate) fn nothing_more(d: &Decoder<'_>, bytes: &[u8]) -> Result<(), BadEntry> {
    match bytes.len() - d.position() {
        0 => Ok(()),
        more => Err(BadEntry::Malformed(format!("{more} bytes more than were expected"))),
    }
}

pub(crate) fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], BadEntry> {
    let found = d.bytes()?;
    found.try_into().map_err(|_| BadEntry::Malformed(format!("{} bytes where {N} stand", found.len())))
}
