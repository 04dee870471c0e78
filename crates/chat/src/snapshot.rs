//! The state as bytes and back (CBOR, RFC 8949). A snapshot only saves time: it is bound to a seq,
//! the rules and the state's hash, and one that does not give that hash again is thrown away.

use minicbor::data::Type;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};

use crate::membership::{Interval, Mark};
use crate::sent::{First, Key};
use crate::state::{Room, State, stay_part};
use crate::{Access, AccountId, NameKey, Node, Principal, RoomId, Rules, Seq, Time};

const FORMAT: u16 = 1;

/// These bytes are not a snapshot that this program can use; replay the journal instead.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    /// Not CBOR of the shape that this format has.
    #[error("not a snapshot: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// Written by another version of the program.
    #[error("a snapshot of format {found}, rules {rules}; this program reads format {FORMAT}, rules up to {}", Rules::NEWEST.0)]
    OtherVersion {
        /// Its format.
        found: u16,
        /// Its rules.
        rules: u16,
    },
    /// What it holds does not have the hash that it says.
    #[error("the snapshot at seq {seq} does not have the state hash that it claims")]
    OtherHash {
        /// Where it was taken.
        seq: u64,
    },
}

impl State {
    /// This state as bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.items() * 80);
        self.write(&mut Encoder::new(&mut bytes)).expect("writing to a Vec cannot fail");
        bytes
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Result<(), EncodeError<std::convert::Infallible>> {
        e.array(9)?.u16(FORMAT)?.u16(self.rules.0)?.bytes(&self.hash())?.u64(self.seq.0)?.u64(self.time.0)?;
        e.array(self.openings.len() as u64)?;
        for (seq, node) in &self.openings {
            e.array(2)?.u64(seq.0)?.u64(node.0)?;
        }
        e.array(self.accounts.len() as u64)?;
        for (name, account) in &self.accounts {
            e.array(2)?.bytes(&name.0)?.u64(account.0)?;
        }
        e.array(self.rooms.len() as u64)?;
        for (id, room) in &self.rooms {
            e.array(6)?.u64(id.0)?.bytes(&room.name.0)?.bool(room.access == Access::Private)?;
            e.u64(room.n)?.u64(room.seq.0)?.array(room.stays.len() as u64)?;
            for (who, stays) in &room.stays {
                e.array(2)?.u64(who.0)?.array(stays.len() as u64)?;
                for stay in stays {
                    let to = stay.to.map_or((0, 0), |to| (to.seq.0, to.n));
                    e.array(4)?.u64(stay.from.seq.0)?.u64(stay.from.n)?.u64(to.0)?.u64(to.1)?;
                }
            }
        }
        e.array(self.sent.len() as u64)?;
        for (key, first) in self.sent.iter() {
            e.array(7)?;
            match key.from {
                Principal::Operator => e.null()?,
                Principal::Account(id) => e.u64(id.0)?,
                Principal::Guest(name) => e.bytes(&name.0)?,
            };
            e.u64(key.room.0)?.bytes(&key.id)?.bytes(&first.print)?;
            e.u64(first.seq.0)?.u64(first.n)?.u64(first.time.0)?;
        }
        Ok(())
    }

    /// The state that these bytes hold, if it has the hash that they claim.
    pub fn from_snapshot(bytes: &[u8]) -> Result<State, BadSnapshot> {
        let mut d = Decoder::new(bytes);
        shape(&mut d, 9)?;
        let (found, rules) = (d.u16()?, d.u16()?);
        if found != FORMAT || rules > Rules::NEWEST.0 {
            return Err(BadSnapshot::OtherVersion { found, rules });
        }
        let hash: [u8; 32] = fixed(&mut d)?;
        let mut state =
            State { rules: Rules(rules), seq: Seq(d.u64()?), time: Time(d.u64()?), ..State::default() };
        for _ in 0..count(&mut d)? {
            shape(&mut d, 2)?;
            let (seq, node) = (Seq(d.u64()?), Node(d.u64()?));
            state.openings.insert(seq, node);
            state.opened_by.insert(node, seq);
        }
        for _ in 0..count(&mut d)? {
            shape(&mut d, 2)?;
            let (name, account) = (NameKey(fixed(&mut d)?), AccountId(d.u64()?));
            state.accounts.insert(name, account);
            state.account_ids.insert(account, name);
        }
        for _ in 0..count(&mut d)? {
            read_room(&mut d, &mut state)?;
        }
        for _ in 0..count(&mut d)? {
            shape(&mut d, 7)?;
            let from = match d.datatype()? {
                Type::Null => {
                    d.null()?;
                    Principal::Operator
                }
                Type::Bytes => Principal::Guest(NameKey(fixed(&mut d)?)),
                _ => Principal::Account(AccountId(d.u64()?)),
            };
            let key = Key { from, room: RoomId(d.u64()?), id: fixed(&mut d)? };
            let print = fixed(&mut d)?;
            let first = First { seq: Seq(d.u64()?), n: d.u64()?, time: Time(d.u64()?), print };
            state.sent.remember(key, first, first.time);
        }
        if state.hash() != hash {
            return Err(BadSnapshot::OtherHash { seq: state.seq.0 });
        }
        Ok(state)
    }
}

fn read_room(d: &mut Decoder<'_>, state: &mut State) -> Result<(), BadSnapshot> {
    shape(d, 6)?;
    let (id, name) = (RoomId(d.u64()?), NameKey(fixed(d)?));
    let access = if d.bool()? { Access::Private } else { Access::Public };
    let n = d.u64()?;
    let mut room = Room { n, ..Room::new(name, access, Seq(d.u64()?)) };
    for _ in 0..count(d)? {
        shape(d, 2)?;
        let who = AccountId(d.u64()?);
        for _ in 0..count(d)? {
            shape(d, 4)?;
            let from = Mark { seq: Seq(d.u64()?), n: d.u64()? };
            let to = Mark { seq: Seq(d.u64()?), n: d.u64()? };
            let stay = Interval { from, to: (to.seq != Seq(0)).then_some(to) };
            state.stays.add(&stay_part(id, who, &stay));
            room.add_stay(who, stay);
        }
    }
    state.room_names.insert(name, id);
    state.add_room(id, room);
    Ok(())
}

fn count(d: &mut Decoder<'_>) -> Result<u64, BadSnapshot> {
    d.array()?
        .ok_or_else(|| BadSnapshot::Malformed(minicbor::decode::Error::message("an array without a length")))
}

fn shape(d: &mut Decoder<'_>, expected: u64) -> Result<(), BadSnapshot> {
    if count(d)? == expected {
        return Ok(());
    }
    Err(BadSnapshot::Malformed(minicbor::decode::Error::message("an array of another length")))
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], BadSnapshot> {
    let bytes = d.bytes()?;
    bytes
        .try_into()
        .map_err(|_| BadSnapshot::Malformed(minicbor::decode::Error::message("bytes of another length")))
}
