//! The hash of the state, the state as bytes (CBOR, RFC 8949) and back. Hash and bytes come from one description: the
//! rows of each part. A snapshot only saves time: it is bound to a seq, the rules and the state's hash, and one that does
//! not give that hash again is thrown away.

use std::convert::Infallible;

use minicbor::encode::Error as EncodeError;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::accounts::Accounts;
use crate::digest::Digest;
use crate::order::Openings;
use crate::rooms::Rooms;
use crate::sent::{Sent, SentRow};
use crate::state::NEWEST_RULES;
use crate::stays::StayRow;
use crate::{Rules, Seq, State, Time};

const FORMAT: u16 = 1;

/// Parts of the state that have rows.
const PARTS: u64 = 5;

/// These bytes are not a snapshot that this program can use; replay the journal instead.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not CBOR of the shape that this format has.
    #[error("not a snapshot: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// Written by another version of the program.
    #[error("a snapshot of format {found}, rules {rules}; this program reads format {FORMAT}, rules up to {}", NEWEST_RULES.0)]
    OtherVersion { found: u16, rules: u16 },
    /// What it holds does not have the hash that it says.
    #[error("the snapshot at seq {seq} does not have the state hash that it claims")]
    OtherHash { seq: u64 },
}

/// What the hash and the snapshot make of the state's parts.
trait Visitor {
    fn part<R: Encode<()>>(&mut self, digest: Digest, rows: impl Iterator<Item = R>);
}

impl State {
    /// Every part, always in this order. A field that is missing here does not compile; nor does a field of a part that
    /// its rows forget.
    fn visit(&self, visitor: &mut impl Visitor) {
        // The first three are numbers, and written before the parts.
        let State { rules: _, seq: _, time: _, openings, accounts, rooms, sent } = self;
        visitor.part(openings.digest(), openings.rows());
        visitor.part(accounts.digest(), accounts.rows());
        visitor.part(rooms.digest(), rooms.rows());
        visitor.part(rooms.stays_digest(), rooms.stay_rows());
        visitor.part(sent.digest(), sent.rows());
    }

    /// The hash of everything that decides what happens next: the same on every node after the same entries.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"vang state 1");
        hasher.update(&self.rules.0.to_le_bytes());
        hasher.update(&self.seq.0.to_le_bytes());
        hasher.update(&self.time.0.to_le_bytes());
        self.visit(&mut hasher);
        *hasher.finalize().as_bytes()
    }

    /// Items that a snapshot writes, about: what its size grows with.
    pub fn items(&self) -> usize {
        self.sent.len() + self.accounts.rows().len() + self.rooms.rows().len() + self.openings.rows().len()
    }

    /// This state as bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.items() * 80);
        let mut head = || -> Result<(), EncodeError<Infallible>> {
            let mut e = Encoder::new(&mut bytes);
            e.array(5 + PARTS)?.u16(FORMAT)?.u16(self.rules.0)?.bytes(&self.hash())?;
            e.u64(self.seq.0)?.u64(self.time.0)?.ok()
        };
        head().expect("writing to a Vec cannot fail");
        self.visit(&mut Encoder::new(&mut bytes));
        bytes
    }

    /// The state that these bytes hold, if it has the hash that they claim.
    pub fn from_snapshot(bytes: &[u8]) -> Result<State, SnapshotError> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(5 + PARTS) {
            return Err(malformed("an array of another length"));
        }
        let (found, rules) = (d.u16()?, d.u16()?);
        if found != FORMAT || rules == 0 || rules > NEWEST_RULES.0 {
            return Err(SnapshotError::OtherVersion { found, rules });
        }
        let hash = d.bytes()?.to_vec();
        let (rules, seq, time) = (Rules(rules), Seq(d.u64()?), Time(d.u64()?));
        let openings = part(&mut d, Openings::add)?;
        let accounts = part(&mut d, Accounts::add)?;
        let mut rooms = part(&mut d, Rooms::add)?;
        rows(&mut d, |row: StayRow| rooms.add_stay(row))?;
        let sent = part(&mut d, |sent: &mut Sent, row: SentRow| sent.remember(row, row.time))?;
        // Without `..`: a part that is not read does not compile.
        let state = State { rules, seq, time, openings, accounts, rooms, sent };
        if state.hash()[..] != hash {
            return Err(SnapshotError::OtherHash { seq: state.seq.0 });
        }
        Ok(state)
    }
}

impl Visitor for blake3::Hasher {
    fn part<R: Encode<()>>(&mut self, digest: Digest, _rows: impl Iterator<Item = R>) {
        digest.hash_into(self);
    }
}

impl Visitor for Encoder<&mut Vec<u8>> {
    fn part<R: Encode<()>>(&mut self, _digest: Digest, rows: impl Iterator<Item = R>) {
        let write = || -> Result<(), EncodeError<Infallible>> {
            self.begin_array()?;
            for row in rows {
                self.encode(row)?;
            }
            self.end()?.ok()
        };
        write().expect("writing to a Vec cannot fail");
    }
}

/// A part of the state from its rows.
fn part<'b, P: Default, R: Decode<'b, ()>>(
    d: &mut Decoder<'b>,
    add: impl Fn(&mut P, R),
) -> Result<P, SnapshotError> {
    let mut part = P::default();
    rows(d, |row| add(&mut part, row))?;
    Ok(part)
}

fn rows<'b, R: Decode<'b, ()>>(d: &mut Decoder<'b>, mut take: impl FnMut(R)) -> Result<(), SnapshotError> {
    for row in d.array_iter::<R>()? {
        take(row?);
    }
    Ok(())
}

fn malformed(what: &'static str) -> SnapshotError {
    SnapshotError::Malformed(minicbor::decode::Error::message(what))
}
