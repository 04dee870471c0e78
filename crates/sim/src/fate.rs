//! What everybody in a world shares: the seed's stream of chance, the time, the weather, and the
//! record of what happened. Two runs of one seed must leave the same record.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;

use vang_chat::Time;
use vang_hub::Now;
use vang_proto::Millis;

use crate::rng::Rng;
use crate::weather::Weather;

thread_local! {
    /// Where the world of this thread is: for the message of a failure, which may come from anywhere.
    static WHERE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The seed and the time, ms, of the world that ran last on this thread.
pub fn whereabouts() -> (u64, u64) {
    WHERE.get()
}

/// When a world begins, on the wall clock: 2026-01-01.
const BEGINNING: u64 = 1_767_225_600_000;

/// Lines that are remembered for a failure.
const RECENT_MAX: usize = 40;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Fate {
    /// Chance.
    pub(crate) rng: Rng,
    /// What goes wrong.
    pub(crate) weather: Weather,
    seed: u64,
    now: u64,
    leap: i64,
    hash: u64,
    prints: bool,
    recent: VecDeque<String>,
    tally: BTreeMap<&'static str, u64>,
}

impl Fate {
    /// A world's beginning. `prints`: every line of the record goes to stderr.
    pub(crate) fn new(seed: u64, weather: Weather, rng: Rng, prints: bool) -> Fate {
        WHERE.set((seed, 0));
        let (recent, tally) = (VecDeque::new(), BTreeMap::new());
        Fate { rng, weather, seed, now: 0, leap: 0, hash: seed, prints, recent, tally }
    }

    /// The time, ms.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The time as sessions know it.
    pub(crate) fn millis(&self) -> Millis {
        Millis(self.now)
    }

    /// The time as the hub knows it.
    pub(crate) fn clocks(&self) -> Now {
        Now { wall: Time((BEGINNING + self.now).saturating_add_signed(self.leap)), steady: self.millis() }
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
        WHERE.set((self.seed, self.now));
    }

    /// Sets the wall clock off by so much.
    pub(crate) fn leap(&mut self, ms: i64) {
        self.leap = ms;
    }

    /// Is the wall clock off?
    pub(crate) fn has_leapt(&self) -> bool {
        self.leap != 0
    }

    /// Writes down that this happened.
    pub(crate) fn note(&mut self, line: Arguments<'_>) {
        let line = format!("t={:>7} {line}", self.now);
        self.mix(line.as_bytes());
        if self.prints {
            eprintln!("{line}");
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    /// Takes bytes into the record's hash.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        self.hash = print(self.hash, bytes);
    }

    /// Counts something that has to occur.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// How often what happened.
    pub(crate) fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// The hash of everything that happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// A quick hash of bytes: for comparing, not against anybody.
pub(crate) fn print(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut words = bytes.chunks_exact(8);
    let mut take = |word: u64| {
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x94d0_49bb_1331_11eb);
    };
    for word in &mut words {
        take(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    }
    for &byte in words.remainder() {
        take(u64::from(byte));
    }
    hash ^ (hash >> 29)
}
