//! Counts and times of a client, as numbers and as bars. Waiting time counts from the scheduled send time, not from the
//! actual one: otherwise messages that a stalled server delays would not count (coordinated omission).

use std::fmt::{self, Write};
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use vang_proto::text::{short_duration, size};

use crate::{Record, Report};

/// Bars of speed over time.
const BARS: usize = 60;

/// Waiting times in nanoseconds.
pub struct Waits(Histogram<u64>);

impl Default for Waits {
    fn default() -> Waits {
        Waits(Histogram::new(3).expect("three digits are allowed"))
    }
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub mean_us: f64,
}

impl Waits {
    pub(super) fn add(&mut self, wait: Duration) {
        // The histogram resizes itself; every u64 fits.
        let _ = self.0.record(wait.as_nanos() as u64);
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let at = |part| self.0.value_at_quantile(part) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Percentiles {
            min_us: self.0.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
            mean_us: self.0.mean() / 1e3,
        })
    }

    /// A histogram with doubling times.
    fn picture(&self) -> String {
        let mut out = String::new();
        let (mut upto, mut below) = (1_000_u64, 0_u64);
        while below < self.0.len() {
            let count = self.0.count_between(0, upto).saturating_sub(below).min(self.0.len() - below);
            if below + count > 0 {
                let bar = (count as f64 / self.0.len() as f64 * 50.0).ceil() as usize;
                let time = short_duration(Duration::from_nanos(upto));
                let _ = writeln!(out, "{:>11} {:<50} {count}", format!("≤ {time}"), "#".repeat(bar.min(50)));
            }
            below += count;
            upto = upto.saturating_mul(2);
        }
        out
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: f64| short_duration(Duration::from_nanos((us * 1e3) as u64));
        write!(f, "min {}, p50 {}, p90 {}, ", time(self.min_us), time(self.p50_us), time(self.p90_us))?;
        write!(f, "p99 {}, p99.9 {}, max {}", time(self.p99_us), time(self.p999_us), time(self.max_us))
    }
}

/// The state of a run, for a progress line.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the first connection.
    pub elapsed: Duration,
    /// Planned duration, if known.
    pub length: Option<Duration>,
    /// Messages that came back.
    pub messages: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// Open connections, including those being opened.
    pub connections: usize,
    /// This is the last call.
    pub over: bool,
}

/// Counts of a run.
pub(super) struct Tally {
    pub(super) began: Instant,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// From the scheduled send time.
    pub(super) waits: Waits,
    /// From the actual send time, as other tools report it.
    pub(super) sent: Waits,
    /// Bytes that came back in each slice of time.
    slices: Vec<u64>,
    slice: Duration,
}

impl Tally {
    pub(super) fn new(began: Instant) -> Tally {
        let slice = Duration::from_millis(10);
        let (waits, sent) = Default::default();
        Tally { began, messages: 0, bytes: 0, waits, sent, slices: Vec::with_capacity(BARS), slice }
    }

    /// Bytes came back.
    pub(super) fn bytes(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        let mut at = slot(now, self.began, self.slice);
        while at >= BARS {
            // Merge pairs of slices.
            self.slices = self.slices.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.slice *= 2;
            at = slot(now, self.began, self.slice);
        }
        if self.slices.len() <= at {
            self.slices.resize(at + 1, 0);
        }
        self.slices[at] += bytes;
    }

    /// A message is back.
    pub(super) fn message(&mut self, due: Instant, sent: Instant, now: Instant) {
        self.messages += 1;
        self.waits.add(now.saturating_duration_since(due));
        self.sent.add(now.saturating_duration_since(sent));
    }

    /// Draws bytes over time, and the histogram of waits.
    pub(super) fn draw(&self, report: &Report) -> io::Result<()> {
        const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.slices.iter().copied().max().unwrap_or(0).max(1);
        let bars: String =
            self.slices.iter().map(|bytes| BLOCKS[(bytes * 8).div_ceil(most).min(8) as usize]).collect();
        let top = size((most as f64 / self.slice.as_secs_f64()) as u64);
        report.draw(&format!("│{bars}│ each {}, full is {top}/s", short_duration(self.slice)))?;
        report.draw(self.waits.picture().trim_end())
    }
}

fn slot(now: Instant, began: Instant, slice: Duration) -> usize {
    (now.saturating_duration_since(began).as_nanos() / slice.as_nanos().max(1)) as usize
}

/// The summary of a client.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EchoSendSummary {
    /// Connections that were opened.
    pub connections: u64,
    /// Messages that came back unchanged.
    pub messages: u64,
    /// Messages that were sent or scheduled.
    pub of: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// From the first connection to the end.
    pub took_us: u64,
    /// Messages a second.
    pub per_second: f64,
    /// From the scheduled send time until the whole message was back.
    pub wait: Option<Percentiles>,
    /// The same from the actual send time, with a rate.
    pub since_sent: Option<Percentiles>,
    /// Connections with other bytes in the answer.
    pub wrong: u64,
    /// Connections that failed.
    pub broken: u64,
    /// Messages that did not come back, on connections that stayed open.
    pub unanswered: u64,
    /// Scheduled messages that were not sent because their connections waited for earlier ones.
    pub unsent: u64,
    /// Connections without any answer.
    pub unserved: u64,
}

impl Record for EchoSendSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for EchoSendSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        write!(f, "{} of {} message{} came back as sent, ", self.messages, self.of, plural(self.of))?;
        write!(f, "on {} connection{}: {}", self.connections, plural(self.connections), size(self.bytes))?;
        let took = Duration::from_micros(self.took_us);
        write!(f, " in {}", short_duration(took))?;
        if self.messages > 1 && !took.is_zero() {
            let speed = size((self.bytes as f64 / took.as_secs_f64()) as u64);
            write!(f, " ({:.0} messages/s, {speed}/s each way)", self.per_second)?;
        }
        for (count, what) in [
            (self.wrong, "with a wrong answer"),
            (self.broken, "broken"),
            (self.unserved, "without any answer"),
        ] {
            if count > 0 {
                write!(f, "\n{count} connection{} {what}", plural(count))?;
            }
        }
        for (count, what) in [
            (self.unanswered, "unanswered"),
            (self.unsent, "scheduled but not sent, waiting for an earlier one"),
        ] {
            if count > 0 {
                write!(f, "\n{count} message{} {what}", plural(count))?;
            }
        }
        if let Some(wait) = self.wait.filter(|_| self.messages > 1) {
            write!(f, "\nwait: {wait}")?;
        }
        match &self.since_sent {
            Some(wait) => {
                write!(f, " (from the scheduled send time)\nsent: {wait} (from the actual send time)")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_time_merge_without_loss() {
        let began = Instant::now();
        let mut tally = Tally::new(began);
        for ms in 0..10_000 {
            tally.bytes(3, began + Duration::from_millis(ms));
        }
        assert_eq!((tally.bytes, tally.slices.iter().sum::<u64>()), (30_000, 30_000));
        assert!(tally.slices.len() <= BARS && tally.slices.len() > BARS / 2, "{}", tally.slices.len());
    }

    #[test]
    fn the_histogram_counts_every_wait_once() {
        let mut waits = Waits::default();
        for us in [1, 3, 3, 40, 5_000] {
            waits.add(Duration::from_micros(us));
        }
        let counts = waits
            .picture()
            .lines()
            .map(|row| row.split_whitespace().next_back().unwrap().parse::<u64>().unwrap())
            .sum::<u64>();
        assert_eq!(counts, 5, "{}", waits.picture());
        let all = waits.percentiles().unwrap();
        assert!((all.max_us - 5_000.0).abs() < 10.0 && (all.p50_us - 3.0).abs() < 0.1, "{all:?}");
    }
}
