//! What all parts of a world share: the seed's random numbers, the time, the weather, and the trace of events.
//! Two runs of one seed must have the same trace.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;

use vang_chat::Time;
use vang_hub::Now;
use vang_proto::Millis;

use crate::rng::Rng;
use crate::weather::Weather;

thread_local! {
    /// Seed and time of this thread's world, for messages of failures from anywhere.
    static WHERE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The seed and the time, ms, of the last world on this thread.
pub fn current_seed_and_time() -> (u64, u64) {
    WHERE.get()
}

/// The wall clock at a world's start: 2026-01-01.
const BEGINNING: u64 = 1_767_225_600_000;

/// Trace lines to keep for a failure.
const RECENT_MAX: usize = 40;

/// Random numbers, time, weather and trace of a world.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    seed: u64,
    now: u64,
    /// Days during which nothing ran, ms.
    asleep: u64,
    latest_wall: u64,
    jump: i64,
    hash: u64,
    prints: bool,
    recent: VecDeque<String>,
    tally: BTreeMap<&'static str, u64>,
}

impl Environment {
    /// The start of a world. `prints`: every trace line goes to stderr.
    pub(crate) fn new(seed: u64, weather: Weather, rng: Rng, prints: bool) -> Environment {
        WHERE.set((seed, 0));
        let (recent, tally) = (VecDeque::new(), BTreeMap::new());
        Environment {
            rng,
            weather,
            seed,
            now: 0,
            asleep: 0,
            latest_wall: 0,
            jump: 0,
            hash: seed,
            prints,
            recent,
            tally,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The time for sessions.
    pub(crate) fn millis(&self) -> Millis {
        Millis(self.now)
    }

    /// The time for the hub.
    pub(crate) fn clocks(&self) -> Now {
        Now {
            wall: Time((BEGINNING + self.now + self.asleep).saturating_add_signed(self.jump)),
            steady: self.millis(),
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.latest_wall = self.latest_wall.max(self.clocks().wall.0);
        WHERE.set((self.seed, self.now));
    }

    /// The latest time that the wall clock has shown, ms: it may have been set back since.
    pub(crate) fn latest_wall(&self) -> u64 {
        self.latest_wall.max(self.clocks().wall.0)
    }

    /// A day passes in which nothing runs, and an hour.
    pub(crate) fn pass_a_day(&mut self) {
        self.asleep += 25 * 60 * 60 * 1_000;
    }

    /// Sets the wall clock off by `ms`.
    pub(crate) fn jump(&mut self, ms: i64) {
        self.jump = ms;
    }

    pub(crate) fn has_jumped(&self) -> bool {
        self.jump != 0
    }

    /// Adds a line to the trace.
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

    /// Adds bytes to the trace's hash.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        self.hash = print(self.hash, bytes);
    }

    /// Counts an event that must occur in some seed.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// The counts of events.
    pub(crate) fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// The hash of the trace.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// A quick hash for comparing; not cryptographic.
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
