//! Random numbers from a seed. The same seed gives the same numbers in every version and on every machine, because a seed is
//! what a report of a defect names; a library's generator can change. SplitMix64 (Steele, Lea, Flood, 2014).

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The numbers of one case of a seed.
    pub(super) fn of_case(seed: u64, case: u64) -> Random {
        let mut random = Random(seed);
        let mixed = random.next() ^ case;
        Random(mixed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
