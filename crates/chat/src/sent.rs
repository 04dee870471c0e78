//! Which sends with an id are remembered, and for how long (P4): a principal's last 4,096, at most
//! 24 h of journal time, a million in all. What is forgotten is decided by entries alone, so every
//! node forgets the same.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use minicbor::{Decode, Encode};

use crate::digest::{Digest, Part};
use crate::limits::{SENT_MAX, SENT_PER_PRINCIPAL_MAX, SENT_REMEMBERED_MS};
use crate::steps::{Kept, Key, Step};
use crate::{Principal, RoomId, Seq, Time};

/// A client's `id` for a send, as two hashes. Both are keyed with the journal's key, and the print
/// with the id as well, so that after an erasure nobody can guess the text from what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SendId {
    /// Hash of the id.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 16],
    /// Hash of what is sent, keyed with the id: tells a repetition from a reuse.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub print: [u8; 16],
}

/// A remembered send, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SentRow {
    #[n(0)]
    pub(crate) from: Principal,
    #[n(1)]
    pub(crate) room: RoomId,
    #[n(2)]
    pub(crate) id: SendId,
    #[n(3)]
    pub(crate) seq: Seq,
    #[n(4)]
    pub(crate) n: u64,
    #[n(5)]
    pub(crate) time: Time,
}

/// What an id stands for: who used it where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    from: Principal,
    room: RoomId,
    id: [u8; 16],
}

impl SentRow {
    fn key(&self) -> Used {
        Used { from: self.from, room: self.room, id: self.id.key }
    }
}

impl Hash for Used {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.id;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// An id is a hash with a secret key already: nobody can choose two that meet, and hashing it again
/// would only cost.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Item {
    row: SentRow,
    /// Its part of the digest: hashed when it comes, and not again when it goes.
    part: Part,
}

/// The remembered sends, numbered as they come. The hash maps are only looked up; whatever walks goes
/// by age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// `None`: forgotten before one in front of it was.
    by_age: VecDeque<Option<Item>>,
    /// The number of the first in `by_age`.
    oldest: u64,
    by_key: HashMap<Used, u64, BuildHasherDefault<AsItIs>>,
    by_principal: HashMap<Principal, VecDeque<u64>, foldhash::fast::RandomState>,
    digest: Digest,
    pub(crate) kept: Kept<SentRow>,
}

/// Empty places in `by_age` that are not worth closing up.
const GAPS_KEPT: usize = 1_024;

impl Sent {
    /// The first result of this id, unless it is forgotten or due to be.
    pub(crate) fn find(&self, from: Principal, room: RoomId, id: &SendId, now: Time) -> Option<&SentRow> {
        let number = *self.by_key.get(&Used { from, room, id: id.key })?;
        let item = self.by_age.get(self.place(number)?)?.as_ref()?;
        Some(&item.row).filter(|row| !is_old(row.time, now))
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.oldest)?).ok()
    }

    pub(crate) fn remember(&mut self, row: SentRow, now: Time) {
        let key = row.key();
        while let Some(Some(oldest)) = self.by_age.front() {
            if !is_old(oldest.row.time, now) && self.len() < SENT_MAX {
                break;
            }
            self.forget(self.oldest);
        }
        // An id whose memory has just run out may be used again: its key must not stand twice.
        if let Some(&old) = self.by_key.get(&key) {
            self.forget(old);
        }
        if let Some(mine) = self.by_principal.get(&key.from)
            && mine.len() >= SENT_PER_PRINCIPAL_MAX
            && let Some(&oldest) = mine.front()
        {
            self.forget(oldest);
        }
        // Not while a snapshot is being written, which goes by the numbers.
        if self.by_age.len() > 2 * self.len() + GAPS_KEPT && !self.kept.is_writing() {
            self.close_gaps();
        }
        let number = self.end();
        let part = Part::of(&row);
        self.digest.add_part(&part);
        self.by_age.push_back(Some(Item { row, part }));
        self.by_key.insert(key, number);
        self.by_principal.entry(key.from).or_default().push_back(number);
    }

    /// Afterwards no place in front is empty.
    fn forget(&mut self, number: u64) {
        let place = self.place(number).and_then(|at| self.by_age.get_mut(at));
        let Some(Item { row, part }) = place.and_then(Option::take) else { return };
        self.kept.keep(number, || row);
        let key = row.key();
        self.digest.take_away_part(&part);
        self.by_key.remove(&key);
        if let Some(mine) = self.by_principal.get_mut(&key.from) {
            // Nearly always the front: sends are forgotten by age.
            if let Some(at) = mine.iter().position(|&one| one == number) {
                mine.remove(at);
            }
            if mine.is_empty() {
                self.by_principal.remove(&key.from);
            }
        }
        while let Some(None) = self.by_age.front() {
            self.by_age.pop_front();
            self.oldest += 1;
        }
    }

    /// Numbers them again: one that nobody sends after must not keep the places of all that came behind it.
    fn close_gaps(&mut self) {
        self.by_age.retain(Option::is_some);
        self.by_principal.clear();
        for (number, item) in (self.oldest..).zip(self.by_age.iter().flatten()) {
            self.by_key.insert(item.row.key(), number);
            self.by_principal.entry(item.row.from).or_default().push_back(number);
        }
    }

    /// As they were at an entry, oldest first. Every field is named: a new one does not compile until it is in a row or left
    /// out on purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<SentRow>> {
        // The numbers (`oldest`, and those in the maps) only find an item; a state from a snapshot has others.
        let Sent { by_age, oldest, by_key: _, by_principal: _, digest: _, kept } = self;
        let first = kept.from(at, 0).next().map_or(*oldest, |(forgotten, _)| forgotten.min(*oldest));
        let end = kept.end(at).unwrap_or_else(|| self.end());
        (first.max(from)..end).map(move |number| {
            let item = self.place(number).and_then(|place| by_age.get(place)).and_then(Option::as_ref);
            let row = item.map(|Item { row, part: _ }| row).or_else(|| kept.get(at, number));
            ([number, 0, 0], row.copied())
        })
    }

    /// The number of the next.
    pub(crate) fn end(&self) -> u64 {
        self.oldest + self.by_age.len() as u64
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

fn is_old(sent: Time, now: Time) -> bool {
    now.0.saturating_sub(sent.0) > SENT_REMEMBERED_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::START;

    fn send(from: u64, seq: u64) -> SentRow {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&seq.to_le_bytes());
        let from = Principal::Account(crate::AccountId(from));
        let id = SendId { key, print: [0; 16] };
        SentRow { from, room: RoomId(1), id, seq: Seq(seq), n: seq, time: Time(seq) }
    }

    #[test]
    fn one_old_send_does_not_keep_the_places_of_all_that_are_forgotten_behind_it() {
        let mut sent = Sent::default();
        for seq in 1..=100_000 {
            let row = send(u64::from(seq > 1), seq);
            sent.remember(row, row.time);
            assert!(sent.by_age.len() <= 2 * SENT_PER_PRINCIPAL_MAX + GAPS_KEPT + 4, "{}", sent.by_age.len());
        }
        assert_eq!(sent.len(), SENT_PER_PRINCIPAL_MAX + 1);
        let rows = || sent.steps(START, Seq(100_000)).filter_map(|(_, row)| row);
        let kept: Vec<u64> = rows().map(|row| row.seq.0).collect();
        assert_eq!((kept[0], kept[1], kept.len()), (1, 100_000 - 4_095, 4_097));
        let mut again = Sent::default();
        for row in rows() {
            again.remember(row, row.time);
            assert_eq!(sent.find(row.from, row.room, &row.id, Time(100_000)), Some(&row));
        }
        assert_eq!(again.digest(), sent.digest());
        let forgotten = send(1, 2);
        assert_eq!(sent.find(forgotten.from, forgotten.room, &forgotten.id, Time(100_000)), None);
    }
}
