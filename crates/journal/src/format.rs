//! Format 1: entries as CBOR (RFC 8949) with definite lengths and shortest integers, so that any CBOR library
//! can read a journal in ten years:
//!
//! ```text
//! envelope = [1, rules, node, counter, time (ms), digest (32 bytes), kind, ...its numbers and hashes]
//! digest   = BLAKE3(salt ‖ payload)
//! said     = [guest's name / null, content-type, content-encoding, content]
//! name     = text (of a room or an account)
//! ```
//!
//! These types belong to the journal; converting them to `vang-chat`'s types allows either to change.

use bytes::Bytes;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder, data::Type};
use vang_chat::{
    Access, AccountId, Command, NameKey, Node, Position, Principal, RoomId, Rules, SendId, Seq, Time,
};

use crate::hash::hash;

const FORMAT: u16 = 1;

/// The kinds of commands as numbers on the disk. A number is never used again for another kind.
#[derive(Clone, Copy)]
#[repr(u8)]
enum CommandKind {
    Open = 0,
    SwitchRules = 1,
    AddAccount = 2,
    CreateRoom = 3,
    Join = 4,
    Leave = 5,
    Send = 6,
    Tick = 7,
}

impl TryFrom<u8> for CommandKind {
    type Error = EntryError;

    fn try_from(found: u8) -> Result<CommandKind, EntryError> {
        use CommandKind::{AddAccount, CreateRoom, Join, Leave, Open, Send, SwitchRules, Tick};
        [Open, SwitchRules, AddAccount, CreateRoom, Join, Leave, Send, Tick]
            .into_iter()
            .find(|kind| *kind as u8 == found)
            .ok_or(EntryError::OtherKind { found })
    }
}

/// Approximate size of an envelope in bytes, for allocations.
pub const ENVELOPE_BYTES: usize = 160;

/// The process that wrote an entry: it recognises its own entries with this when it reads them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub node: Node,
    /// The number of the process's command, from 1.
    pub counter: u64,
}

/// An entry without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The newest rules that the writing process knew.
    pub rules: Rules,
    pub origin: Origin,
    /// The writing process's time stamp.
    pub time: Time,
    /// BLAKE3 of the salt and the payload.
    pub digest: [u8; 32],
    pub command: Command,
}

/// The payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// A guest's name; an account is known by its id.
    pub guest: Option<String>,
    /// As the sender declared it.
    pub content_type: String,
    /// As the sender declared it, independent of the sender's byte order.
    pub content_encoding: String,
    pub content: Bytes,
}

/// A borrowed `Said`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidView<'a> {
    pub guest: Option<&'a str>,
    pub content_type: &'a str,
    pub content_encoding: &'a str,
    pub content: &'a [u8],
}

/// Bytes that are not an entry of a format that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not the CBOR of this format.
    #[error("not an entry: {0}")]
    Malformed(String),
    #[error("format {found}; this program knows format {FORMAT}")]
    OtherFormat { found: u16 },
    #[error("kind {found} is not known to this program")]
    OtherKind { found: u8 },
}

impl From<minicbor::decode::Error> for EntryError {
    fn from(error: minicbor::decode::Error) -> EntryError {
        EntryError::Malformed(error.to_string())
    }
}

type Encoded = Result<(), EncodeError<std::convert::Infallible>>;

/// BLAKE3 of the salt and the payload, as the envelope contains it.
pub(crate) fn digest(salt: &[u8; 16], payload: &[u8]) -> [u8; 32] {
    hash(None, &[salt, payload])
}

impl Envelope {
    /// The envelope's bytes in the journal.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES);
        self.encode_into(&mut bytes);
        Bytes::from(bytes)
    }

    /// Appends to `bytes`: the envelopes of a batch share one buffer.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        self.write(&mut Encoder::new(bytes)).expect("writing to a Vec cannot fail");
    }

    /// The position at which the rules decide this entry.
    pub fn position(&self, seq: Seq) -> Position {
        Position { seq, time: self.time, node: self.origin.node }
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
        let head = |e: &mut Encoder<&mut Vec<u8>>, kind: CommandKind, fields: u64| -> Encoded {
            e.array(7 + fields)?.u16(FORMAT)?.u16(self.rules.0)?.u64(self.origin.node.0)?;
            e.u64(self.origin.counter)?.u64(self.time.0)?.bytes(&self.digest)?.u8(kind as u8)?;
            Ok(())
        };
        match &self.command {
            Command::Open => head(e, CommandKind::Open, 0)?,
            Command::SwitchRules { to } => {
                head(e, CommandKind::SwitchRules, 1)?;
                e.u16(to.0)?;
            }
            Command::AddAccount { name } => {
                head(e, CommandKind::AddAccount, 1)?;
                e.bytes(&name.0)?;
            }
            Command::CreateRoom { name, access, by } => {
                head(e, CommandKind::CreateRoom, 3)?;
                e.bytes(&name.0)?.bool(*access == Access::Private)?;
                write_principal(e, by)?;
            }
            Command::Join { room, who, by } => {
                head(e, CommandKind::Join, 3)?;
                e.u64(room.0)?.u64(who.0)?;
                write_principal(e, by)?;
            }
            Command::Leave { room, who } => {
                head(e, CommandKind::Leave, 2)?;
                e.u64(room.0)?.u64(who.0)?;
            }
            Command::Send { room, from, id } => {
                head(e, CommandKind::Send, if id.is_some() { 4 } else { 2 })?;
                e.u64(room.0)?;
                write_principal(e, from)?;
                if let Some(id) = id {
                    e.bytes(&id.key)?.bytes(&id.print)?;
                }
            }
            Command::Tick => head(e, CommandKind::Tick, 0)?,
        }
        Ok(())
    }

    /// Reads an envelope from the journal's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, EntryError> {
        let mut d = Decoder::new(bytes);
        let fields = d.array()?.ok_or_else(|| EntryError::Malformed("an array without a length".into()))?;
        let found = d.u16()?;
        if found != FORMAT {
            return Err(EntryError::OtherFormat { found });
        }
        let rules = Rules(d.u16()?);
        let origin = Origin { node: Node(d.u64()?), counter: d.u64()? };
        let time = Time(d.u64()?);
        let digest = fixed(&mut d)?;
        let (command, its_own) = match CommandKind::try_from(d.u8()?)? {
            CommandKind::Open => (Command::Open, 0),
            CommandKind::SwitchRules => (Command::SwitchRules { to: Rules(d.u16()?) }, 1),
            CommandKind::AddAccount => (Command::AddAccount { name: NameKey(fixed(&mut d)?) }, 1),
            CommandKind::CreateRoom => {
                let name = NameKey(fixed(&mut d)?);
                let access = if d.bool()? { Access::Private } else { Access::Public };
                (Command::CreateRoom { name, access, by: read_principal(&mut d)? }, 3)
            }
            CommandKind::Join => {
                let (room, who) = (RoomId(d.u64()?), AccountId(d.u64()?));
                (Command::Join { room, who, by: read_principal(&mut d)? }, 3)
            }
            CommandKind::Leave => (Command::Leave { room: RoomId(d.u64()?), who: AccountId(d.u64()?) }, 2),
            CommandKind::Send => {
                let (room, from) = (RoomId(d.u64()?), read_principal(&mut d)?);
                if fields == 11 {
                    let id = SendId { key: fixed(&mut d)?, print: fixed(&mut d)? };
                    (Command::Send { room, from, id: Some(id) }, 4)
                } else {
                    (Command::Send { room, from, id: None }, 2)
                }
            }
            CommandKind::Tick => (Command::Tick, 0),
        };
        if fields != 7 + its_own || d.position() != bytes.len() {
            return Err(EntryError::Malformed(format!(
                "{fields} fields in {} bytes; expected {} fields",
                bytes.len(),
                7 + its_own
            )));
        }
        Ok(Envelope { rules, origin, time, digest, command })
    }
}

impl SaidView<'_> {
    /// The payload's bytes.
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
    /// Reads a message's payload.
    pub fn decode(bytes: &'a [u8]) -> Result<SaidView<'a>, EntryError> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(4) {
            return Err(EntryError::Malformed("a message's payload has four fields".into()));
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
    /// The payload's bytes.
    pub fn encode(&self) -> Bytes {
        let Said { guest, content_type, content_encoding, content } = self;
        SaidView { guest: guest.as_deref(), content_type, content_encoding, content }.encode()
    }

    /// Reads a message's payload; the content is not copied.
    pub fn decode(bytes: &Bytes) -> Result<Said, EntryError> {
        let view = SaidView::decode(bytes)?;
        Ok(Said {
            guest: view.guest.map(str::to_owned),
            content_type: view.content_type.to_owned(),
            content_encoding: view.content_encoding.to_owned(),
            content: bytes.slice_ref(view.content),
        })
    }
}

/// The payload of a new room or account: its name.
pub fn encode_name(name: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    Encoder::new(&mut bytes).str(name).expect("writing to a Vec cannot fail");
    Bytes::from(bytes)
}

/// Reads the name from the payload of a new room or account.
pub fn decode_name(bytes: &[u8]) -> Result<String, EntryError> {
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

fn read_principal(d: &mut Decoder<'_>) -> Result<Principal, EntryError> {
    Ok(match d.datatype()? {
        Type::Null => {
            d.null()?;
            Principal::Operator
        }
        Type::Bytes => Principal::Guest(NameKey(fixed(d)?)),
        _ => Principal::Account(AccountId(d.u64()?)),
    })
}

pub(crate) fn nothing_more(d: &Decoder<'_>, bytes: &[u8]) -> Result<(), EntryError> {
    match bytes.len() - d.position() {
        0 => Ok(()),
        more => Err(EntryError::Malformed(format!("{more} unexpected bytes at the end"))),
    }
}

pub(crate) fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], EntryError> {
    let found = d.bytes()?;
    found.try_into().map_err(|_| EntryError::Malformed(format!("{} bytes instead of {N}", found.len())))
}
