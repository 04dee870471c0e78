//! Which sends with an id are remembered, and for how long (P4): a principal's last 4,096, at most
//! 24 h of journal time, a million in all. What is forgotten is decided by entries alone, so every
//! node forgets the same.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::digest::{Digest, Part};
use crate::limits::{SENT_MAX, SENT_PER_PRINCIPAL_MAX, SENT_REMEMBERED_MS};
use crate::{Principal, RoomId, SendId, Seq, Time};

/// What an id stands for: who used it where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) from: Principal,
    pub(crate) room: RoomId,
    pub(crate) id: [u8; 16],
}

impl Hash for Key {
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

/// What came of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) seq: Seq,
    pub(crate) n: u64,
    pub(crate) time: Time,
    pub(crate) print: [u8; 16],
}

/// A remembered send.
#[derive(Clone, Copy, Debug)]
struct Item {
    key: Key,
    first: First,
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
    by_key: HashMap<Key, u64, BuildHasherDefault<AsItIs>>,
    by_principal: HashMap<Principal, VecDeque<u64>>,
    digest: Digest,
}

/// Empty places in `by_age` that are not worth closing up.
const GAPS_KEPT: usize = 1_024;

impl Sent {
    /// The first result of this id, unless it is forgotten or due to be.
    pub(crate) fn find(&self, from: Principal, room: RoomId, id: &SendId, now: Time) -> Option<&First> {
        let number = *self.by_key.get(&Key { from, room, id: id.key })?;
        let item = self.by_age.get(self.place(number)?)?.as_ref()?;
        Some(&item.first).filter(|first| !is_old(first.time, now))
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.oldest)?).ok()
    }

    pub(crate) fn remember(&mut self, key: Key, first: First, now: Time) {
        while let Some(Some(oldest)) = self.by_age.front() {
            if !is_old(oldest.first.time, now) && self.len() < SENT_MAX {
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
        if self.by_age.len() > 2 * self.len() + GAPS_KEPT {
            self.close_gaps();
        }
        let number = self.oldest + self.by_age.len() as u64;
        let part = part(&key, &first);
        self.digest.add(&part);
        self.by_age.push_back(Some(Item { key, first, part }));
        self.by_key.insert(key, number);
        self.by_principal.entry(key.from).or_default().push_back(number);
    }

    /// Afterwards no place in front is empty.
    fn forget(&mut self, number: u64) {
        let place = self.place(number).and_then(|at| self.by_age.get_mut(at));
        let Some(Item { key, part, .. }) = place.and_then(Option::take) else { return };
        self.digest.take_away(&part);
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

    /// Numbers them anew: one that nobody sends after must not keep the places of all that came behind it.
    fn close_gaps(&mut self) {
        self.by_age.retain(Option::is_some);
        self.by_principal.clear();
        for (number, item) in (self.oldest..).zip(self.by_age.iter().flatten()) {
            self.by_key.insert(item.key, number);
            self.by_principal.entry(item.key.from).or_default().push_back(number);
        }
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &First)> {
        self.by_age.iter().flatten().map(|item| (&item.key, &item.first))
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

fn is_old(sent: Time, now: Time) -> bool {
    now.0.saturating_sub(sent.0) > SENT_REMEMBERED_MS
}

fn part(key: &Key, first: &First) -> Part {
    let mut bytes = [0; 82];
    bytes[0] = b's';
    match key.from {
        Principal::Operator => {}
        Principal::Account(id) => {
            bytes[1] = 1;
            bytes[2..10].copy_from_slice(&id.0.to_le_bytes());
        }
        Principal::Guest(name) => {
            bytes[1] = 2;
            bytes[2..18].copy_from_slice(&name.0);
        }
    }
    bytes[18..26].copy_from_slice(&key.room.0.to_le_bytes());
    bytes[26..42].copy_from_slice(&key.id);
    bytes[42..58].copy_from_slice(&first.print);
    bytes[58..66].copy_from_slice(&first.seq.0.to_le_bytes());
    bytes[66..74].copy_from_slice(&first.n.to_le_bytes());
    bytes[74..82].copy_from_slice(&first.time.0.to_le_bytes());
    Part::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(from: u64, seq: u64) -> (Key, First) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seq.to_le_bytes());
        let key = Key { from: Principal::Account(crate::AccountId(from)), room: RoomId(1), id };
        (key, First { seq: Seq(seq), n: seq, time: Time(seq), print: [0; 16] })
    }

    #[test]
    fn one_old_send_does_not_keep_the_places_of_all_that_are_forgotten_behind_it() {
        let mut sent = Sent::default();
        for seq in 1..=100_000 {
            let (key, first) = send(u64::from(seq > 1), seq);
            sent.remember(key, first, first.time);
            assert!(sent.by_age.len() <= 2 * SENT_PER_PRINCIPAL_MAX + GAPS_KEPT + 4, "{}", sent.by_age.len());
        }
        assert_eq!(sent.len(), SENT_PER_PRINCIPAL_MAX + 1);
        let kept: Vec<u64> = sent.iter().map(|(_, first)| first.seq.0).collect();
        assert_eq!((kept[0], kept[1], kept.len()), (1, 100_000 - 4_095, 4_097));
        let mut again = Sent::default();
        for (key, first) in sent.iter() {
            again.remember(*key, *first, first.time);
            let id = SendId { key: key.id, print: [0; 16] };
            assert_eq!(sent.find(key.from, key.room, &id, Time(100_000)), Some(first));
        }
        assert_eq!(again.digest(), sent.digest());
        let (key, _) = send(1, 2);
        let id = SendId { key: key.id, print: [0; 16] };
        assert_eq!(sent.find(key.from, key.room, &id, Time(100_000)), None);
    }
}
