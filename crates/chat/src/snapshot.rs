//! The hash of the state, the state as bytes (CBOR, RFC 8949) and back. Hash and bytes come from one description: the
//! rows of each part. A snapshot only saves time: it is bound to a seq, the rules and the state's hash, and one that does
//! not give that hash again is thrown away.
//!
//! A snapshot can be written in pieces of a bounded number of steps, while entries are applied in between: it holds the
//! state as it was at its beginning (`steps.rs`).

use std::cmp::Ordering;
use std::convert::Infallible;

use minicbor::encode::Error as EncodeError;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::accounts::Accounts;
use crate::digest::Digest;
use crate::invitations::Invitations;
use crate::order::Openings;
use crate::rooms::Rooms;
use crate::sent::{Sent, SentRow};
use crate::server_feed::ServerFeed;
use crate::state::NEWEST_RULES;
use crate::stays::StayRow;
use crate::steps::{Key, START, Step};
use crate::tokens::Tokens;
use crate::{Rules, Seq, State, Time};

const FORMAT: u16 = 1;

/// Values before the parts: format, rules, hash, seq, time, the server's feed.
const HEAD: u64 = 6;

/// Bytes of a row, about.
const ROW_BYTES: usize = 88;

/// A part of the state, as hash and snapshot contain it.
#[derive(Clone, Copy)]
enum Part {
    Openings,
    Accounts,
    Tokens,
    Invitations,
    Rooms,
    Stays,
    Sent,
}

/// Every part, always in this order.
const PARTS: [Part; 7] =
    [Part::Openings, Part::Accounts, Part::Tokens, Part::Invitations, Part::Rooms, Part::Stays, Part::Sent];

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

/// A snapshot that is being written in pieces.
#[derive(Debug)]
pub struct SnapshotWriter {
    at: Seq,
    /// The values before the parts, until the first piece has them.
    head: Vec<u8>,
    /// The index of the part that is being written.
    part: usize,
    /// Its next step.
    from: Key,
}

impl SnapshotWriter {
    /// The entry whose state the snapshot holds.
    pub fn seq(&self) -> Seq {
        self.at
    }

    /// Is all of it written?
    pub fn is_complete(&self) -> bool {
        self.part == PARTS.len()
    }

    fn new(state: &State) -> SnapshotWriter {
        let mut head = Vec::new();
        let mut write = || -> Result<(), EncodeError<Infallible>> {
            let mut e = Encoder::new(&mut head);
            e.array(HEAD + PARTS.len() as u64)?.u16(FORMAT)?.u16(state.rules.0)?.bytes(&state.hash())?;
            e.u64(state.seq.0)?.u64(state.time.0)?.u64(state.server.seq.0)?.ok()
        };
        write().expect("writing to a Vec cannot fail");
        SnapshotWriter { at: state.seq, head, part: 0, from: START }
    }

    /// Writes the next steps.
    fn write(&mut self, state: &State, mut steps: usize, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.head);
        let mut e = Encoder::new(bytes);
        while steps > 0
            && let Some(&part) = PARTS.get(self.part)
        {
            let (from, at) = (self.from, self.at);
            let next = match part {
                Part::Openings => write_steps(&mut e, from, state.openings.steps(from, at), &mut steps),
                Part::Accounts => write_steps(&mut e, from, state.accounts.steps(from, at), &mut steps),
                Part::Tokens => write_steps(&mut e, from, state.tokens.steps(from, at), &mut steps),
                Part::Invitations => write_steps(&mut e, from, state.invitations.steps(from, at), &mut steps),
                Part::Rooms => write_steps(&mut e, from, state.rooms.steps(from, at), &mut steps),
                Part::Stays => write_steps(&mut e, from, state.rooms.stay_steps(from, at), &mut steps),
                Part::Sent => write_steps(&mut e, from, state.sent.steps(from, at), &mut steps),
            };
            match next.expect("writing to a Vec cannot fail") {
                Some(next) => self.from = next,
                None => (self.part, self.from) = (self.part + 1, START),
            }
        }
    }

    /// Before which key the rows of a part are written.
    fn passed(&self, part: Part) -> u64 {
        match (part as usize).cmp(&self.part) {
            Ordering::Less => u64::MAX,
            Ordering::Equal => self.from[0],
            Ordering::Greater => 0,
        }
    }
}

/// Writes steps of a part until there are none, or no more may be taken: then the key of the next is given back.
fn write_steps<R: Encode<()>>(
    e: &mut Encoder<&mut Vec<u8>>,
    from: Key,
    rows: impl Iterator<Item = Step<R>>,
    steps: &mut usize,
) -> Result<Option<Key>, EncodeError<Infallible>> {
    if from == START {
        e.begin_array()?;
    }
    for (key, row) in rows {
        if *steps == 0 {
            return Ok(Some(key));
        }
        *steps -= 1;
        if let Some(row) = row {
            e.encode(row)?;
        }
    }
    e.end()?;
    Ok(None)
}

impl State {
    fn digest(&self, part: Part) -> Digest {
        // The first four are numbers, and hashed before the parts. A field that is missing here does not compile; nor does
        // a field of a part that its steps forget.
        let State {
            rules: _,
            seq: _,
            time: _,
            server: _,
            openings,
            accounts,
            tokens,
            invitations,
            rooms,
            sent,
        } = self;
        match part {
            Part::Openings => openings.digest(),
            Part::Accounts => accounts.digest(),
            Part::Tokens => tokens.digest(),
            Part::Invitations => invitations.digest(),
            Part::Rooms => rooms.digest(),
            Part::Stays => rooms.stays_digest(),
            Part::Sent => sent.digest(),
        }
    }

    /// The hash of everything that decides what happens next: the same on every node after the same entries.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"vang state 1");
        hasher.update(&self.rules.0.to_le_bytes());
        hasher.update(&self.seq.0.to_le_bytes());
        hasher.update(&self.time.0.to_le_bytes());
        hasher.update(&self.server.seq.0.to_le_bytes());
        for part in PARTS {
            self.digest(part).hash_into(&mut hasher);
        }
        *hasher.finalize().as_bytes()
    }

    /// Rows that a snapshot writes: what its size grows with.
    pub fn items(&self) -> usize {
        let State {
            rules: _,
            seq: _,
            time: _,
            server: _,
            openings,
            accounts,
            tokens,
            invitations,
            rooms,
            sent,
        } = self;
        openings.len()
            + accounts.len()
            + tokens.len()
            + invitations.len()
            + rooms.len()
            + rooms.stay_count()
            + sent.len()
    }

    /// How long a snapshot is, about, bytes.
    pub fn snapshot_bytes(&self) -> usize {
        256 + self.items() * ROW_BYTES
    }

    /// This state as bytes, at once.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.snapshot_bytes());
        SnapshotWriter::new(self).write(self, usize::MAX, &mut bytes);
        bytes
    }

    /// Begins a snapshot of this state, which is then written in pieces. Entries may be applied in between. One that was
    /// begun before and is not complete cannot be continued any more.
    pub fn begin_snapshot(&mut self) -> SnapshotWriter {
        // Stays have the `seq`s of both their ends: no row of theirs is kept.
        let State { rules: _, seq, time: _, server: _, openings, accounts, tokens, invitations, rooms, sent } =
            self;
        let (at, later) = (*seq, seq.next().0);
        openings.kept.begin(at, later);
        accounts.kept.begin(at, later);
        tokens.kept.begin(at, later);
        invitations.kept.begin(at, later);
        rooms.kept.begin(at, later);
        sent.kept.begin(at, sent.end());
        SnapshotWriter::new(self)
    }

    /// The next piece of a snapshot that this state began. It costs at most so many `steps`, about 100 ns each: most steps
    /// write a row. All pieces, one behind the other, are what `to_snapshot` would have been at the beginning.
    pub fn continue_snapshot(&mut self, writer: &mut SnapshotWriter, steps: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(writer.head.len() + steps.min(self.items()) * ROW_BYTES);
        writer.write(self, steps, &mut bytes);
        let State {
            rules: _,
            seq: _,
            time: _,
            server: _,
            openings,
            accounts,
            tokens,
            invitations,
            rooms,
            sent,
        } = self;
        openings.kept.pass(writer.passed(Part::Openings));
        accounts.kept.pass(writer.passed(Part::Accounts));
        tokens.kept.pass(writer.passed(Part::Tokens));
        invitations.kept.pass(writer.passed(Part::Invitations));
        rooms.kept.pass(writer.passed(Part::Rooms));
        sent.kept.pass(writer.passed(Part::Sent));
        bytes
    }

    /// The state that these bytes hold, if it has the hash that they claim.
    pub fn from_snapshot(bytes: &[u8]) -> Result<State, SnapshotError> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(HEAD + PARTS.len() as u64) {
            return Err(malformed("an array of another length"));
        }
        let (found, rules) = (d.u16()?, d.u16()?);
        if found != FORMAT || rules == 0 || rules > NEWEST_RULES.0 {
            return Err(SnapshotError::OtherVersion { found, rules });
        }
        let hash = d.bytes()?.to_vec();
        let (rules, seq, time) = (Rules(rules), Seq(d.u64()?), Time(d.u64()?));
        let server = ServerFeed { seq: Seq(d.u64()?) };
        let openings = part(&mut d, Openings::add)?;
        let accounts = part(&mut d, Accounts::add)?;
        let tokens = part(&mut d, Tokens::add)?;
        let invitations = part(&mut d, Invitations::add)?;
        let mut rooms = part(&mut d, Rooms::add)?;
        rows(&mut d, |row: StayRow| rooms.add_stay(row))?;
        let sent = part(&mut d, |sent: &mut Sent, row: SentRow| sent.remember(row, row.time))?;
        // Without `..`: a part that is not read does not compile.
        let state = State { rules, seq, time, server, openings, accounts, tokens, invitations, rooms, sent };
        if state.hash()[..] != hash {
            return Err(SnapshotError::OtherHash { seq: state.seq.0 });
        }
        Ok(state)
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
