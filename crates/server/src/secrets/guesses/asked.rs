//! About how often each network and each address asked lately for each account: a count-min sketch, 256 KiB whatever comes.
//! Counts are never too low, and a little too high where several share cells. They decide who waits behind whom and who
//! gives way where too many wait, and nothing else.
//!
//! Without it a network that asks a thousand times a second would get a thousand times as often the place that has become
//! free as somebody who asks once; with it the one who asked least gets it.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use vang_chat::NameKey;

/// Cells of a row.
const CELLS: usize = 1 << 16;

const ROWS: usize = 2;

/// Time after which counts are halved, ms: as long as a check can wait.
const HALF_LIFE_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Asked {
    rows: Vec<[u16; ROWS]>,
    halved: u64,
}

impl Asked {
    pub(super) fn new() -> Asked {
        Asked { rows: vec![[0; ROWS]; CELLS], halved: 0 }
    }

    pub(super) fn count(&mut self, account: NameKey, lane: impl Hash) {
        for (row, cell) in cells(account, lane).into_iter().enumerate() {
            self.rows[cell][row] = self.rows[cell][row].saturating_add(1);
        }
    }

    pub(super) fn often(&self, account: NameKey, lane: impl Hash) -> u16 {
        let cells = cells(account, lane).into_iter().enumerate();
        cells.map(|(row, cell)| self.rows[cell][row]).min().unwrap_or(0)
    }

    /// Halves the counts when it is time: 128 Ki steps of a few instructions each 30 s.
    pub(super) fn pass(&mut self, now: u64) {
        if now.saturating_sub(self.halved) >= HALF_LIFE_MS {
            self.halved = now;
            self.rows.iter_mut().flatten().for_each(|count| *count /= 2);
        }
    }
}

/// The account's key, which is a hash with the journal's key, is what nobody outside can compute: so nobody finds two
/// pairs with one cell.
fn cells(account: NameKey, lane: impl Hash) -> [usize; ROWS] {
    let seed = u64::from_le_bytes(*account.0.first_chunk().expect("a key has 16 bytes"));
    let hash = FixedState::with_seed(seed).hash_one((account, lane));
    [hash as usize % CELLS, (hash >> 32) as usize % CELLS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_at_least_what_was_counted_and_half_of_it_later() {
        let mut asked = Asked::new();
        let account = |n: u8| NameKey([n; 16]);
        for lane in 0..1_000 {
            for _ in 0..lane % 7 {
                asked.count(account(1), lane);
            }
        }
        let too_high = (0..1_000).filter(|lane| asked.often(account(1), lane) != lane % 7).count();
        assert!((0..1_000).all(|lane| asked.often(account(1), lane) >= lane % 7));
        assert!(too_high < 10, "{too_high} of 1000 share both cells with others");
        asked.pass(HALF_LIFE_MS - 1);
        assert!(asked.often(account(1), 6_u16) >= 6);
        asked.pass(HALF_LIFE_MS);
        assert_eq!(asked.often(account(1), 6_u16), 3);
        assert_eq!(asked.often(account(2), 6_u16), 0);
    }
}
