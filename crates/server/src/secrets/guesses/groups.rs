//! Checks that wait, in groups by a key (an account, an address), each in the order in which they came; and which group is the
//! longest.

use std::collections::{BTreeMap, BTreeSet};

/// A call costs steps in proportion to the logarithm of the number of groups and to the length of one.
#[derive(Debug)]
pub(super) struct Groups<K> {
    members: BTreeMap<K, Vec<u64>>,
    lengths: BTreeSet<(usize, K)>,
    total: usize,
}

impl<K: Copy + Ord> Groups<K> {
    pub(super) fn new() -> Groups<K> {
        Groups { members: BTreeMap::new(), lengths: BTreeSet::new(), total: 0 }
    }

    pub(super) fn push(&mut self, key: K, id: u64) {
        let members = self.members.entry(key).or_default();
        self.lengths.remove(&(members.len(), key));
        members.push(id);
        self.lengths.insert((members.len(), key));
        self.total += 1;
    }

    pub(super) fn remove(&mut self, key: K, id: u64) {
        let Some(members) = self.members.get_mut(&key) else { return };
        let Some(at) = members.iter().position(|member| *member == id) else { return };
        self.lengths.remove(&(members.len(), key));
        members.remove(at);
        self.total -= 1;
        match members.len() {
            0 => drop(self.members.remove(&key)),
            length => drop(self.lengths.insert((length, key))),
        }
    }

    /// Those of a group, the oldest first.
    pub(super) fn of(&self, key: K) -> &[u64] {
        self.members.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn longest(&self) -> Option<(usize, K)> {
        self.lengths.last().copied()
    }

    /// In all groups.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_know_their_order_and_the_longest() {
        let mut groups = Groups::new();
        for (key, id) in [('a', 1), ('b', 2), ('b', 3), ('a', 4), ('b', 5)] {
            groups.push(key, id);
        }
        assert_eq!((groups.of('b'), groups.longest(), groups.total()), (&[2, 3, 5][..], Some((3, 'b')), 5));
        for (key, id) in [('b', 3), ('b', 2), ('a', 99), ('c', 1)] {
            groups.remove(key, id);
        }
        assert_eq!((groups.of('b'), groups.longest(), groups.total()), (&[5][..], Some((2, 'a')), 3));
        for (key, id) in [('b', 5), ('a', 1), ('a', 4)] {
            groups.remove(key, id);
        }
        assert_eq!((groups.of('a').len(), groups.longest(), groups.total()), (0, None, 0));
    }
}
