//! Tokens by key: each key has `burst` of them, and gets one back every so many milliseconds. All that is kept of a key is when
//! it has all its tokens again; from then on it is as one that was never seen, and is forgotten.
//!
//! Nothing else is ever forgotten: while as many keys are kept as may be, a new one has no token until the first of them is
//! full again. So forgetting lets nobody go faster, and keys are kept only of what was hashed: to fill them takes
//! `keys_max` hashes within `burst` times `token_ms`.

use std::collections::{BTreeMap, BTreeSet};

/// Keys that are full again and forgotten with each one that is taken from: more than are added.
const FORGOTTEN_AT_ONCE: usize = 2;

/// A call costs steps in proportion to the logarithm of the number of keys.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    burst: u64,
    token_ms: u64,
    keys_max: usize,
    full_at: BTreeMap<K, u64>,
    by_time: BTreeSet<(u64, K)>,
}

impl<K: Copy + Ord> Buckets<K> {
    pub(super) fn new(burst: u64, token_ms: u64, keys_max: usize) -> Buckets<K> {
        Buckets { burst, token_ms, keys_max, full_at: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// From when on a token can be taken; it can be past.
    pub(super) fn ready_at(&self, key: K) -> u64 {
        match self.full_at.get(&key) {
            Some(full_at) => full_at.saturating_sub((self.burst - 1) * self.token_ms),
            None if self.full_at.len() < self.keys_max => 0,
            None => self.by_time.first().map_or(0, |(full_at, _)| *full_at),
        }
    }

    /// What is missing until it is full, ms.
    pub(super) fn missing_ms(&self, key: K, now: u64) -> u64 {
        self.full_at.get(&key).map_or(0, |full_at| full_at.saturating_sub(now))
    }

    /// Takes a token that is ready.
    pub(super) fn take(&mut self, key: K, now: u64) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            if let Some(&(full_at, full)) = self.by_time.first()
                && full_at <= now
            {
                self.set(full, None);
            }
        }
        let full_at = self.full_at.get(&key).map_or(now, |full_at| now.max(*full_at));
        self.set(key, Some(full_at.saturating_add(self.token_ms)));
        debug_assert!(self.full_at.len() <= self.keys_max, "only a token that is ready is taken");
    }

    /// Gives back so much of a token that was taken.
    pub(super) fn give_back(&mut self, key: K, now: u64, ms: u64) {
        if let Some(full_at) = self.full_at.get(&key) {
            let full_at = full_at.saturating_sub(ms);
            self.set(key, (full_at > now).then_some(full_at));
        }
    }

    fn set(&mut self, key: K, full_at: Option<u64>) {
        let before = match full_at {
            Some(full_at) => {
                self.by_time.insert((full_at, key));
                self.full_at.insert(key, full_at)
            }
            None => self.full_at.remove(&key),
        };
        if let Some(before) = before.filter(|before| Some(*before) != full_at) {
            self.by_time.remove(&(before, key));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many tokens is taken, as soon as it is ready.
    fn taken(buckets: &mut Buckets<char>, key: char, mut now: u64, tokens: usize) -> Vec<u64> {
        let mut take = || {
            now = now.max(buckets.ready_at(key));
            buckets.take(key, now);
            now
        };
        (0..tokens).map(|_| take()).collect()
    }

    #[test]
    fn a_burst_comes_at_once_and_then_one_each_period() {
        let mut buckets = Buckets::new(3, 10, 9);
        assert_eq!(taken(&mut buckets, 'a', 100, 6), [100, 100, 100, 110, 120, 130]);
        assert_eq!(
            (buckets.missing_ms('a', 130), buckets.missing_ms('a', 150), buckets.ready_at('b')),
            (30, 10, 0)
        );
        assert_eq!(taken(&mut buckets, 'a', 1_000, 4), [1_000, 1_000, 1_000, 1_010]);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut buckets = Buckets::new(1, 10, 9);
        for now in 0..50 {
            assert!(buckets.ready_at('a') <= now);
            buckets.take('a', now);
            buckets.give_back('a', now, 10);
        }
        assert_eq!(buckets.len(), 0);
        buckets.give_back('a', 50, 10);
        assert_eq!(taken(&mut buckets, 'a', 50, 2), [50, 60], "no more than was taken");
    }

    #[test]
    fn without_room_a_new_key_waits_and_no_known_one_is_forgotten_early() {
        let mut buckets = Buckets::new(2, 10, 2);
        buckets.take('a', 0);
        buckets.take('b', 4);
        assert_eq!(buckets.ready_at('c'), 10);
        assert_eq!(taken(&mut buckets, 'a', 5, 2), [5, 10]);
        assert_eq!(buckets.ready_at('c'), 14);
        buckets.take('c', 14);
        assert_eq!((buckets.len(), buckets.missing_ms('a', 14)), (2, 16));
    }

    #[test]
    fn a_clock_at_its_end_is_no_fault() {
        let mut buckets = Buckets::new(5, 10, 2);
        for _ in 0..3 {
            buckets.take('a', u64::MAX);
        }
        buckets.give_back('a', u64::MAX, u64::MAX);
        assert_eq!(buckets.len(), 0);
    }
}
