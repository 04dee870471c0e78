//! Which sends with an id are remembered, and for how long (P4): a principal's last 4,096, at most
//! 24 h of journal time, a million in all. What is forgotten is decided by entries alone, so every
//! node forgets the same.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::digest::Digest;
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

/// The remembered sends. The hash map is only looked up; whatever walks goes by age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    by_key: HashMap<Key, First, BuildHasherDefault<AsItIs>>,
    by_age: BTreeMap<Seq, (Key, Time)>,
    by_principal: HashMap<Principal, VecDeque<Seq>>,
    digest: Digest,
}

impl Sent {
    /// The first result of this id, unless it is forgotten or due to be.
    pub(crate) fn find(&self, from: Principal, room: RoomId, id: &SendId, now: Time) -> Option<&First> {
        self.by_key.get(&Key { from, room, id: id.key }).filter(|first| !is_old(first.time, now))
    }

    pub(crate) fn remember(&mut self, key: Key, first: First, now: Time) {
        while let Some((&oldest, &(_, time))) = self.by_age.first_key_value() {
            if !is_old(time, now) && self.by_age.len() < SENT_MAX {
                break;
            }
            self.forget(oldest);
        }
        // An id whose memory has just run out may be used again: its key must not stand twice.
        if let Some(old) = self.by_key.get(&key) {
            self.forget(old.seq);
        }
        let mine = self.by_principal.entry(key.from).or_default();
        mine.push_back(first.seq);
        let over = (mine.len() > SENT_PER_PRINCIPAL_MAX).then(|| mine.front().copied()).flatten();
        if let Some(oldest) = over {
            self.forget(oldest);
        }
        self.digest.add(&item(&key, &first));
        self.by_age.insert(first.seq, (key, first.time));
        self.by_key.insert(key, first);
    }

    fn forget(&mut self, seq: Seq) {
        let Some((key, _)) = self.by_age.remove(&seq) else { return };
        if let Some(first) = self.by_key.remove(&key) {
            self.digest.take_away(&item(&key, &first));
        }
        if let Some(mine) = self.by_principal.get_mut(&key.from) {
            // Nearly always the front: sends are forgotten by age.
            if let Some(at) = mine.iter().position(|&one| one == seq) {
                mine.remove(at);
            }
            if mine.is_empty() {
                self.by_principal.remove(&key.from);
            }
        }
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &First)> {
        self.by_age.values().map(|(key, _)| {
            (
                key,
                self.by_key.get(key).expect("every key in by_age is in by_key: remember and forget do both"),
            )
        })
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }
}

fn is_old(sent: Time, now: Time) -> bool {
    now.0.saturating_sub(sent.0) > SENT_REMEMBERED_MS
}

fn item(key: &Key, first: &First) -> [u8; 82] {
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
    bytes
}
