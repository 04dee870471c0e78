//! Format 1: entries as CBOR (RFC 8949) with definite lengths and shortest integers, so that any CBOR library
//! can read a journal in ten years:
//!
//! ```text
//! envelope = [1, rules, node, counter, time (ms), digest (32 bytes), kind, ...its numbers and hashes]
//! digest   = BLAKE3(salt ‖ payload)            payloads: payload.rs
//! name     = [key, look as shown, look in small letters, scripts, Unicode major, minor]
//! ```
//!
//! These types belong to the journal; converting them to `vang-chat`'s types allows either to change.

use bytes::Bytes;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder, data::Type};
use vang_chat::{
    Access, AccountCommand, AccountId, Command, LookKey, MemberCommand, MessageCommand, Name, NameKey, Node,
    OrderCommand, Position, Principal, RoomCommand, RoomId, RoomsBy, Rules, Scripts, SendId, Seq, Time,
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
    SetTopic = 8,
}

impl TryFrom<u8> for CommandKind {
    type Error = EntryError;

    fn try_from(found: u8) -> Result<CommandKind, EntryError> {
        use CommandKind::{AddAccount, CreateRoom, Join, Leave, Open, Send, SetTopic, SwitchRules, Tick};
        [Open, SwitchRules, AddAccount, CreateRoom, Join, Leave, Send, Tick, SetTopic]
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
    #[error("room access {found} is not known to this program")]
    OtherAccess { found: u8 },
    #[error("a setting of who can create rooms, {found}, is not known to this program")]
    OtherRoomsBy { found: u8 },
}

impl From<minicbor::decode::Error> for EntryError {
    fn from(error: minicbor::decode::Error) -> EntryError {
        EntryError::Malformed(error.to_string())
    }
}

pub(crate) type Encoded = Result<(), EncodeError<std::convert::Infallible>>;

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
            Command::Order(OrderCommand::Open) => head(e, CommandKind::Open, 0)?,
            Command::Order(OrderCommand::SwitchRules { to }) => {
                head(e, CommandKind::SwitchRules, 1)?;
                e.u16(to.0)?;
            }
            Command::Account(AccountCommand::Add { name, by }) => {
                head(e, CommandKind::AddAccount, 2)?;
                write_name(e, name)?;
                write_principal(e, by)?;
            }
            Command::Room(RoomCommand::Create { name, access, by, rooms_by, most }) => {
                let is_default = *rooms_by == RoomsBy::Accounts;
                head(e, CommandKind::CreateRoom, if is_default { 4 } else { 5 })?;
                write_name(e, name)?;
                e.u8(access.number())?;
                write_principal(e, by)?;
                e.encode(most)?;
                if !is_default {
                    e.u8(rooms_by.number())?;
                }
            }
            Command::Room(RoomCommand::SetTopic { room, by }) => {
                head(e, CommandKind::SetTopic, 2)?;
                e.u64(room.0)?;
                write_principal(e, by)?;
            }
            Command::Member(MemberCommand::Join { room, who, by }) => {
                head(e, CommandKind::Join, 3)?;
                e.u64(room.0)?.u64(who.0)?;
                write_principal(e, by)?;
            }
            Command::Member(MemberCommand::Leave { room, who }) => {
                head(e, CommandKind::Leave, 2)?;
                e.u64(room.0)?.u64(who.0)?;
            }
            Command::Message(MessageCommand::Send { room, from, id }) => {
                head(e, CommandKind::Send, if id.is_some() { 4 } else { 2 })?;
                e.u64(room.0)?;
                write_principal(e, from)?;
                if let Some(id) = id {
                    e.bytes(&id.key)?.bytes(&id.print)?;
                }
            }
            Command::Order(OrderCommand::Tick) => head(e, CommandKind::Tick, 0)?,
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
        let (command, its_own): (Command, u64) = match CommandKind::try_from(d.u8()?)? {
            CommandKind::Open => (OrderCommand::Open.into(), 0),
            CommandKind::SwitchRules => (OrderCommand::SwitchRules { to: Rules(d.u16()?) }.into(), 1),
            CommandKind::AddAccount => {
                let name = read_name(&mut d)?;
                (AccountCommand::Add { name, by: read_principal(&mut d)? }.into(), 2)
            }
            CommandKind::CreateRoom => {
                let name = read_name(&mut d)?;
                let found = d.u8()?;
                let access = Access::from_number(found).ok_or(EntryError::OtherAccess { found })?;
                let (by, most) = (read_principal(&mut d)?, d.decode()?);
                let (rooms_by, its_own) = match fields {
                    12 => (read_rooms_by(&mut d)?, 5),
                    _ => (RoomsBy::Accounts, 4),
                };
                (RoomCommand::Create { name, access, by, rooms_by, most }.into(), its_own)
            }
            CommandKind::Join => {
                let (room, who) = (RoomId(d.u64()?), AccountId(d.u64()?));
                (MemberCommand::Join { room, who, by: read_principal(&mut d)? }.into(), 3)
            }
            CommandKind::Leave => {
                let (room, who) = (RoomId(d.u64()?), AccountId(d.u64()?));
                (MemberCommand::Leave { room, who }.into(), 2)
            }
            CommandKind::Send => {
                let (room, from) = (RoomId(d.u64()?), read_principal(&mut d)?);
                let id = match fields {
                    11 => Some(SendId { key: fixed(&mut d)?, print: fixed(&mut d)? }),
                    _ => None,
                };
                (MessageCommand::Send { room, from, id }.into(), if id.is_some() { 4 } else { 2 })
            }
            CommandKind::SetTopic => {
                let room = RoomId(d.u64()?);
                (RoomCommand::SetTopic { room, by: read_principal(&mut d)? }.into(), 2)
            }
            CommandKind::Tick => (OrderCommand::Tick.into(), 0),
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

fn write_name(e: &mut Encoder<&mut Vec<u8>>, name: &Name) -> Encoded {
    let Name { key, looks: [shown, small], scripts, unicode: [major, minor] } = name;
    e.array(6)?.bytes(&key.0)?.bytes(&shown.0)?.bytes(&small.0)?;
    e.str(scripts.as_str())?.u8(*major)?.u8(*minor)?.ok()
}

fn read_name(d: &mut Decoder<'_>) -> Result<Box<Name>, EntryError> {
    if d.array()? != Some(6) {
        return Err(EntryError::Malformed("a name that is not an array of 6".into()));
    }
    let (key, looks) = (NameKey(fixed(d)?), [LookKey(fixed(d)?), LookKey(fixed(d)?)]);
    let found = d.str()?;
    let scripts = Scripts::parse(found)
        .ok_or_else(|| EntryError::Malformed(format!("'{found}' instead of the codes of scripts")))?;
    Ok(Box::new(Name { key, looks, scripts, unicode: [d.u8()?, d.u8()?] }))
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

/// Accounts are the default, which is not written.
fn read_rooms_by(d: &mut Decoder<'_>) -> Result<RoomsBy, EntryError> {
    let found = d.u8()?;
    match found == RoomsBy::Admins.number() {
        true => Ok(RoomsBy::Admins),
        false => Err(EntryError::OtherRoomsBy { found }),
    }
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
