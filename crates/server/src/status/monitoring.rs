//! What is counted for operators. Counted on the one thread that decides, in plain
//! cells: no lock, nothing allocated; read when somebody asks.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vang_journal::Damages;
use vang_proto::vang::Code;

use crate::status::machine::Looks;
use crate::status::reports::Reports;

/// Counters and the few settings that tell when something is off.
pub(crate) struct Monitoring {
    pub(crate) looks: Looks,
    /// As `vang/0.1.0`.
    pub(crate) server: String,
    pub(crate) began: Instant,
    pub(crate) connections_max: Cell<usize>,
    /// Free bytes below which the server is not ready.
    pub(crate) free_min: Cell<u64>,
    /// Entries that the view may be behind before it is not ready.
    pub(crate) lag_max: Cell<u64>,
    /// Connections, including refused ones.
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    /// Connections that had to give up what they held, for want of memory.
    pub(crate) shed: Count,
    pub(crate) appends: Histogram,
    append_began: Cell<Option<Instant>>,
    pub(crate) refusals: Refusals,
    pub(crate) reports: Reports,
    /// The damaged entries that readers have met.
    pub(crate) damages: Arc<Damages>,
}

impl Monitoring {
    pub(crate) fn new(data: PathBuf, server: String, damages: Arc<Damages>) -> Monitoring {
        Monitoring {
            looks: Looks::at(data),
            server,
            began: Instant::now(),
            connections_max: Cell::new(0),
            free_min: Cell::new(0),
            lag_max: Cell::new(u64::MAX),
            accepted: Count::default(),
            refused: Count::default(),
            shed: Count::default(),
            appends: Histogram::default(),
            append_began: Cell::new(None),
            refusals: Refusals::default(),
            reports: Reports::default(),
            damages,
        }
    }

    /// A batch goes to the journal.
    pub(crate) fn append_begins(&self) {
        self.append_began.set(Some(Instant::now()));
    }

    /// The journal has answered.
    pub(crate) fn append_ends(&self) {
        if let Some(began) = self.append_began.take() {
            self.appends.add(began.elapsed());
        }
    }
}

/// Something that only grows.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Upper ends of the buckets, seconds: from a write into memory to a disk that is ill.
pub(crate) const BUCKETS: [f64; 14] = [
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
    f64::INFINITY,
];

/// How long something took, in buckets.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [Cell<u64>; BUCKETS.len()],
    sum_us: Cell<u64>,
    last_us: Cell<u64>,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = BUCKETS.iter().position(|&end| seconds <= end).unwrap_or(BUCKETS.len() - 1);
        self.buckets[index].set(self.buckets[index].get() + 1);
        self.last_us.set(took.as_micros() as u64);
        self.sum_us.set(self.sum_us.get() + took.as_micros() as u64);
    }

    pub(crate) fn read(&self) -> Times {
        Times {
            buckets: self.buckets.each_ref().map(Cell::get),
            sum_us: self.sum_us.get(),
            last_us: self.last_us.get(),
        }
    }
}

/// A histogram as it stood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) buckets: [u64; BUCKETS.len()],
    pub(crate) sum_us: u64,
    pub(crate) last_us: u64,
}

impl Times {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How often each code was said.
pub(crate) struct Refusals([Cell<u64>; Code::ALL.len()]);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(std::array::from_fn(|_| Cell::new(0)))
    }
}

impl Refusals {
    pub(crate) fn add(&self, code: Code, n: u64) {
        if let Some(index) = Code::ALL.iter().position(|&known| known == code) {
            self.0[index].set(self.0[index].get() + n);
        }
    }

    pub(crate) fn read(&self) -> Vec<(Code, u64)> {
        let counts = Code::ALL.iter().zip(&self.0).map(|(&code, count)| (code, count.get()));
        counts.filter(|&(_, count)| count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_the_bucket_that_ends_at_or_above_it() {
        let histogram = Histogram::default();
        for us in [100, 101, 1_000, 60_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        let times = histogram.read();
        assert_eq!((times.buckets[0], times.buckets[1], times.buckets[3]), (1, 1, 1));
        assert_eq!((times.buckets[13], times.count(), times.last_us), (1, 4, 60_000_000));
    }
}
