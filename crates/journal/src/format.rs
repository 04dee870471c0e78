//! Format 1: entries as CBOR (RFC 8949) with definite lengths and shortest integers, so that any CBOR library
//! can read a journal in ten years:
//!
//! ```text
//! envelope = [1, rules, node, counter, time (ms), through, digest (32 bytes), kind, ...its numbers and hashes]
//! through  = 0, or 1: it was asked on the data folder's socket, by the operator whatever its name
//! digest   = BLAKE3(salt ‖ payload)            payloads: payload.rs
//! name     = [key, look as shown, look in small letters, scripts, Unicode major, minor]
//! ```
//!
//! These types belong to the journal; converting them to `vang-chat`'s types allows either to change.

use bytes::Bytes;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder, data::Type};
use vang_chat::{
    Access, AccountCommand, AccountId, AccountRole, AccountStatus, Command, CredentialCommand,
    InvitationCommand, InvitationId, LookKey, MemberCommand, MessageCommand, Name, NameKey, NewInvitation,
    NewToken, Node, OrderCommand, Position, Principal, RoomCommand, RoomId, RoomsBy, Rules, Scope, Scripts,
    SendId, Seq, Time, TokenId, TokenKey, Which,
};

use crate::hash::hash;

const FORMAT: u16 = 1;

/// Before those of its kind.
const HEAD_FIELDS: u64 = 8;

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
    SetRole = 9,
    SetStatus = 10,
    SetPassword = 11,
    RenewVerifier = 12,
    CreateToken = 13,
    EndTokens = 14,
    Invite = 15,
    WithdrawInvitation = 16,
    AcceptInvitation = 17,
    Enter = 18,
}

impl CommandKind {
    const ALL: [CommandKind; 19] = [
        CommandKind::Open,
        CommandKind::SwitchRules,
        CommandKind::AddAccount,
        CommandKind::CreateRoom,
        CommandKind::Join,
        CommandKind::Leave,
        CommandKind::Send,
        CommandKind::Tick,
        CommandKind::SetTopic,
        CommandKind::SetRole,
        CommandKind::SetStatus,
        CommandKind::SetPassword,
        CommandKind::RenewVerifier,
        CommandKind::CreateToken,
        CommandKind::EndTokens,
        CommandKind::Invite,
        CommandKind::WithdrawInvitation,
        CommandKind::AcceptInvitation,
        CommandKind::Enter,
    ];
}

/// How a command came to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    /// By a connection whose speaker was proven, or from the server itself.
    #[default]
    Door,
    /// Through the data folder's socket: by the operator, also where it names an account.
    OperatorSocket,
}

impl TryFrom<u8> for CommandKind {
    type Error = EntryError;

    fn try_from(found: u8) -> Result<CommandKind, EntryError> {
        CommandKind::ALL.into_iter().find(|kind| *kind as u8 == found).ok_or(EntryError::OtherKind { found })
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
    pub through: Through,
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
    #[error("{what} {found} is not known to this program")]
    OtherNumber { what: &'static str, found: u8 },
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
            e.array(HEAD_FIELDS + fields)?.u16(FORMAT)?.u16(self.rules.0)?.u64(self.origin.node.0)?;
            e.u64(self.origin.counter)?.u64(self.time.0)?.u8(self.through as u8)?;
            e.bytes(&self.digest)?.u8(kind as u8)?;
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
            Command::Member(MemberCommand::Enter { who, rooms }) => {
                head(e, CommandKind::Enter, 2)?;
                e.u64(who.0)?;
                write_rooms(e, rooms)?;
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
            Command::Account(AccountCommand::SetRole { who, role, by }) => {
                head(e, CommandKind::SetRole, 3)?;
                e.u64(who.0)?.u8(role.number())?;
                write_principal(e, by)?;
            }
            Command::Account(AccountCommand::SetStatus { who, status, by }) => {
                head(e, CommandKind::SetStatus, 3)?;
                e.u64(who.0)?.u8(status.number())?;
                write_principal(e, by)?;
            }
            Command::Credential(CredentialCommand::SetPassword { who, keep, by }) => {
                head(e, CommandKind::SetPassword, 3)?;
                e.u64(who.0)?.encode(keep.map(|keep| keep.0))?;
                write_principal(e, by)?;
            }
            Command::Credential(CredentialCommand::RenewVerifier { who, from }) => {
                head(e, CommandKind::RenewVerifier, 2)?;
                e.u64(who.0)?.u64(from.0)?;
            }
            Command::Credential(CredentialCommand::CreateToken { who, token, by }) => {
                head(e, CommandKind::CreateToken, 6)?;
                let NewToken { key, scope, rooms, until } = &**token;
                e.u64(who.0)?.bytes(&key.0)?.u8(scope.number())?;
                write_rooms(e, rooms)?;
                e.encode(until.map(|until| until.0))?;
                write_principal(e, by)?;
            }
            Command::Invitation(InvitationCommand::Create { invitation, by }) => {
                head(e, CommandKind::Invite, 7)?;
                let NewInvitation { key, account, uses, until, room, role } = &**invitation;
                e.bytes(&key.0)?.encode(account.map(|account| account.0))?.u32(*uses)?;
                e.encode(until.map(|until| until.0))?.encode(room.map(|room| room.0))?.u8(role.number())?;
                write_principal(e, by)?;
            }
            Command::Invitation(InvitationCommand::Withdraw { id, by }) => {
                head(e, CommandKind::WithdrawInvitation, 2)?;
                e.u64(id.0)?;
                write_principal(e, by)?;
            }
            Command::Invitation(InvitationCommand::Accept { key, name }) => {
                head(e, CommandKind::AcceptInvitation, if name.is_some() { 2 } else { 1 })?;
                e.bytes(&key.0)?;
                if let Some(name) = name {
                    write_name(e, name)?;
                }
            }
            Command::Credential(CredentialCommand::EndTokens { who, which, by }) => {
                head(e, CommandKind::EndTokens, 4)?;
                let (kind, id) = match which {
                    Which::All => (WHICH_ALL, 0),
                    Which::AllBut(id) => (WHICH_ALL_BUT, id.0),
                    Which::One(id) => (WHICH_ONE, id.0),
                };
                e.u64(who.0)?.u8(kind)?.u64(id)?;
                write_principal(e, by)?;
            }
        }
        Ok(())
    }

    /// Reads an envelope from the journal's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, EntryError> {
        let mut d = Decoder::new(bytes);
        let fields = array(&mut d)?;
        let found = d.u16()?;
        if found != FORMAT {
            return Err(EntryError::OtherFormat { found });
        }
        let rules = Rules(d.u16()?);
        let origin = Origin { node: Node(d.u64()?), counter: d.u64()? };
        let time = Time(d.u64()?);
        let through = match d.u8()? {
            0 => Through::Door,
            1 => Through::OperatorSocket,
            found => return Err(other("a way into the server,", found)),
        };
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
                let access = Access::from_number(found).ok_or(other("room access", found))?;
                let (by, most) = (read_principal(&mut d)?, d.decode()?);
                let (rooms_by, its_own) = match fields {
                    13 => (read_rooms_by(&mut d)?, 5),
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
            CommandKind::Enter => {
                let (who, rooms) = (AccountId(d.u64()?), read_rooms(&mut d)?);
                (MemberCommand::Enter { who, rooms }.into(), 2)
            }
            CommandKind::Send => {
                let (room, from) = (RoomId(d.u64()?), read_principal(&mut d)?);
                let id = match fields {
                    12 => Some(SendId { key: fixed(&mut d)?, print: fixed(&mut d)? }),
                    _ => None,
                };
                (MessageCommand::Send { room, from, id }.into(), if id.is_some() { 4 } else { 2 })
            }
            CommandKind::SetTopic => {
                let room = RoomId(d.u64()?);
                (RoomCommand::SetTopic { room, by: read_principal(&mut d)? }.into(), 2)
            }
            CommandKind::Tick => (OrderCommand::Tick.into(), 0),
            CommandKind::SetRole => {
                let (who, found) = (AccountId(d.u64()?), d.u8()?);
                let role = AccountRole::from_number(found).ok_or(other("an account's role", found))?;
                (AccountCommand::SetRole { who, role, by: read_principal(&mut d)? }.into(), 3)
            }
            CommandKind::SetStatus => {
                let (who, found) = (AccountId(d.u64()?), d.u8()?);
                let status = AccountStatus::from_number(found).ok_or(other("an account's status", found))?;
                (AccountCommand::SetStatus { who, status, by: read_principal(&mut d)? }.into(), 3)
            }
            CommandKind::SetPassword => {
                let (who, keep) = (AccountId(d.u64()?), d.decode::<Option<u64>>()?.map(TokenId));
                (CredentialCommand::SetPassword { who, keep, by: read_principal(&mut d)? }.into(), 3)
            }
            CommandKind::RenewVerifier => {
                let (who, from) = (AccountId(d.u64()?), Seq(d.u64()?));
                (CredentialCommand::RenewVerifier { who, from }.into(), 2)
            }
            CommandKind::CreateToken => {
                let (who, key, found) = (AccountId(d.u64()?), TokenKey(fixed(&mut d)?), d.u8()?);
                let scope = Scope::from_number(found).ok_or(other("a token's scope", found))?;
                let rooms = read_rooms(&mut d)?;
                let until = d.decode::<Option<u64>>()?.map(Time);
                let token = Box::new(NewToken { key, scope, rooms, until });
                (CredentialCommand::CreateToken { who, token, by: read_principal(&mut d)? }.into(), 6)
            }
            CommandKind::Invite => {
                let (key, account) = (TokenKey(fixed(&mut d)?), d.decode::<Option<u64>>()?.map(AccountId));
                let (uses, until) = (d.u32()?, d.decode::<Option<u64>>()?.map(Time));
                let (room, found) = (d.decode::<Option<u64>>()?.map(RoomId), d.u8()?);
                let role = AccountRole::from_number(found).ok_or(other("an account's role", found))?;
                let invitation = Box::new(NewInvitation { key, account, uses, until, room, role });
                (InvitationCommand::Create { invitation, by: read_principal(&mut d)? }.into(), 7)
            }
            CommandKind::WithdrawInvitation => {
                let id = InvitationId(d.u64()?);
                (InvitationCommand::Withdraw { id, by: read_principal(&mut d)? }.into(), 2)
            }
            CommandKind::AcceptInvitation => {
                let key = TokenKey(fixed(&mut d)?);
                let name = match fields {
                    10 => Some(read_name(&mut d)?),
                    _ => None,
                };
                let its_own = if name.is_some() { 2 } else { 1 };
                (InvitationCommand::Accept { key, name }.into(), its_own)
            }
            CommandKind::EndTokens => {
                let (who, found, id) = (AccountId(d.u64()?), d.u8()?, TokenId(d.u64()?));
                let which = match found {
                    WHICH_ALL if id.0 == 0 => Which::All,
                    WHICH_ALL_BUT => Which::AllBut(id),
                    WHICH_ONE => Which::One(id),
                    _ => return Err(other("which tokens end:", found)),
                };
                (CredentialCommand::EndTokens { who, which, by: read_principal(&mut d)? }.into(), 4)
            }
        };
        if fields != HEAD_FIELDS + its_own || d.position() != bytes.len() {
            return Err(EntryError::Malformed(format!(
                "{fields} fields in {} bytes; expected {} fields",
                bytes.len(),
                HEAD_FIELDS + its_own
            )));
        }
        Ok(Envelope { rules, origin, time, through, digest, command })
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

fn write_rooms(e: &mut Encoder<&mut Vec<u8>>, rooms: &[RoomId]) -> Encoded {
    e.array(rooms.len() as u64)?;
    for room in rooms {
        e.u64(room.0)?;
    }
    Ok(())
}

fn read_rooms(d: &mut Decoder<'_>) -> Result<Vec<RoomId>, EntryError> {
    Ok((0..array(d)?).map(|_| d.u64().map(RoomId)).collect::<Result<_, _>>()?)
}

const WHICH_ALL: u8 = 0;
const WHICH_ALL_BUT: u8 = 1;
const WHICH_ONE: u8 = 2;

fn other(what: &'static str, found: u8) -> EntryError {
    EntryError::OtherNumber { what, found }
}

/// The length of an array.
fn array(d: &mut Decoder<'_>) -> Result<u64, EntryError> {
    d.array()?.ok_or_else(|| EntryError::Malformed("an array without a length".into()))
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
        false => Err(other("who can create rooms:", found)),
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
