//! When a changed row is written: at once, and then at most once a minute.

use std::collections::{BTreeMap, BTreeSet};

/// The shortest time between two writes of one row, ms: a minute.
pub(super) const ROW_MS: u64 = 60_000;

/// The shortest time between two transactions, ms: what changes meanwhile is one.
const GATHER_MS: u64 = 1_000;

/// Rows that are looked at in one call, and so of one transaction.
pub(super) const ROWS_AT_ONCE: usize = 1_000;

/// Rows of which it is known when they are due; each takes about 200 bytes. With so many, a row that changes is not written until
/// it changes again: a disk that fails must not cost memory without end.
const DUE_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug)]
struct Row {
    /// When it can be written, steady, in ms.
    at: u64,
    is_changed: bool,
}

#[derive(Debug)]
pub(super) struct Due<K> {
    /// Rows that changed, or were written within a minute.
    rows: BTreeMap<K, Row>,
    order: BTreeSet<(u64, K)>,
    /// Nothing before.
    next: u64,
}

impl<K> Default for Due<K> {
    fn default() -> Due<K> {
        Due { rows: BTreeMap::new(), order: BTreeSet::new(), next: 0 }
    }
}

impl<K: Copy + Ord> Due<K> {
    /// The row changed.
    pub(super) fn note(&mut self, key: K) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.is_changed = true;
        } else if self.rows.len() < DUE_MAX {
            self.put(key, Row { at: 0, is_changed: true });
        }
    }

    fn put(&mut self, key: K, row: Row) {
        self.order.insert((row.at, key));
        self.rows.insert(key, row);
    }

    /// The rows to write now. It looks at `ROWS_AT_ONCE`.
    pub(super) fn take(&mut self, now: u64) -> Vec<K> {
        let mut taken = Vec::new();
        if now < self.next {
            return taken;
        }
        for _ in 0..ROWS_AT_ONCE {
            let Some(&(at, key)) = self.order.first().filter(|(at, _)| *at <= now) else { break };
            self.order.remove(&(at, key));
            if self.rows.remove(&key).is_some_and(|row| row.is_changed) {
                taken.push(key);
                self.put(key, Row { at: now.saturating_add(ROW_MS), is_changed: false });
            }
        }
        if !taken.is_empty() {
            self.next = now.saturating_add(GATHER_MS);
        }
        taken
    }

    /// All that changed and was not taken; once, at the end.
    pub(super) fn take_rest(&mut self) -> Vec<K> {
        self.order.clear();
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter().filter(|(_, row)| row.is_changed).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_more_is_remembered_than_the_bound() {
        let mut due = Due::default();
        (0..DUE_MAX + 10).for_each(|key| due.note(key));
        assert_eq!((due.rows.len(), due.order.len()), (DUE_MAX, DUE_MAX));
        // A disk that takes nothing: nothing is taken, and what changes again is there already.
        (0..10).for_each(|key| due.note(key));
        assert_eq!(due.take_rest().len(), DUE_MAX);
    }

    proptest! {
        #[test]
        fn every_change_is_written_within_a_minute_and_a_second_and_no_row_twice_in_a_minute(
            changes in prop::collection::vec((0..4_u8, 0..30_000_u64), 1..60),
        ) {
            let (mut due, mut now) = (Due::default(), 0);
            // When each row was written last, and since when it waits.
            let (mut written, mut waits) = (BTreeMap::new(), BTreeMap::new());
            let mut steps: Vec<(Option<u8>, u64)> =
                changes.into_iter().map(|(key, after)| (Some(key), after)).collect();
            steps.extend([(None, ROW_MS + GATHER_MS), (None, ROW_MS + GATHER_MS)]);
            for (key, after) in steps {
                if let Some(key) = key {
                    due.note(key);
                    waits.entry(key).or_insert(now);
                }
                let until = now + after;
                while now < until {
                    now = (now + 500).min(until);
                    for key in due.take(now) {
                        let before = written.insert(key, now);
                        prop_assert!(before.is_none_or(|before| now - before >= ROW_MS), "row {}", key);
                        let since = waits.remove(&key);
                        prop_assert!(since.is_some_and(|since| now - since <= ROW_MS + GATHER_MS + 500));
                    }
                }
            }
            prop_assert!(waits.is_empty());
            prop_assert!(due.rows.is_empty() && due.order.is_empty(), "what is written is forgotten");
        }
    }
}
