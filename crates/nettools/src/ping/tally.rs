//! Counts and round trip times of all probes. Mean and deviation are exact; percentiles come from a histogram with three
//! digits, so that memory does not grow with time.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use vang_proto::text::{counted, short_duration};

use super::records::us;
use crate::Record;

/// Running counts.
#[derive(Debug)]
pub(crate) struct Tally {
    layer: &'static str,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    /// With an error instead of an answer.
    pub(crate) errors: u64,
    /// Without answer and error.
    pub(crate) lost: u64,
    /// Nanoseconds.
    times: Histogram<u64>,
    shortest: Duration,
    longest: Duration,
    mean: f64,
    /// Sum of squared deviations from the mean (Welford's algorithm).
    squares: f64,
}

/// Longest time in the histogram: an hour, in nanoseconds.
const LONGEST_NS: u64 = 3_600_000_000_000;

impl Tally {
    pub(crate) fn new(layer: &'static str) -> Tally {
        let times = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds and three digits fit");
        Tally {
            layer,
            sent: 0,
            received: 0,
            duplicates: 0,
            errors: 0,
            lost: 0,
            times,
            shortest: Duration::MAX,
            longest: Duration::ZERO,
            mean: 0.0,
            squares: 0.0,
        }
    }

    /// Counts an answer with this round trip.
    pub(crate) fn answered(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.times.saturating_record(ns.max(1));
        self.shortest = self.shortest.min(took);
        self.longest = self.longest.max(took);
        self.received += 1;
        let apart = ns as f64 - self.mean;
        self.mean += apart / self.received as f64;
        self.squares += apart * (ns as f64 - self.mean);
    }

    /// The summary so far.
    pub(crate) fn summary(&self) -> PingSummary {
        let decided = self.received + self.errors + self.lost;
        let failed = self.errors + self.lost;
        let has = self.received > 0;
        let (shortest, longest) = (us(self.shortest), us(self.longest));
        // Rounded to three digits, a percentile can exceed the maximum.
        let at = |percentile| (self.times.value_at_percentile(percentile) as f64 / 1e3).min(longest);
        let times = has.then(|| Times {
            min_us: shortest,
            avg_us: self.mean / 1e3,
            max_us: longest,
            stddev_us: (self.squares / self.received as f64).sqrt() / 1e3,
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
        });
        PingSummary {
            layer: self.layer,
            sent: self.sent,
            received: self.received,
            errors: self.errors,
            lost: self.lost,
            duplicates: self.duplicates,
            pending: self.sent.saturating_sub(decided),
            loss_percent: if decided == 0 { 0.0 } else { failed as f64 * 100.0 / decided as f64 },
            times,
        }
    }
}

/// The summary of a layer. A probe without a result when the tool is stopped is `pending`, not lost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PingSummary {
    pub(crate) layer: &'static str,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) errors: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) pending: u64,
    /// Share of probes without an answer, except pending ones.
    pub(crate) loss_percent: f64,
    #[serde(flatten)]
    pub(crate) times: Option<Times>,
}

/// Round trip times of the answers, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) min_us: f64,
    pub(crate) avg_us: f64,
    pub(crate) max_us: f64,
    pub(crate) stddev_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
}

impl Record for PingSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for PingSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = counted(self.received, "answer", "answers");
        write!(f, "{}: {} sent, {answers}, {:.1} % loss", self.layer, self.sent, self.loss_percent)?;
        if self.errors > 0 {
            write!(f, ", {}", counted(self.errors, "error", "errors"))?;
        }
        if self.lost > 0 {
            write!(f, ", {} without answer", self.lost)?;
        }
        if self.duplicates > 0 {
            write!(f, ", {}", counted(self.duplicates, "duplicate", "duplicates"))?;
        }
        if self.pending > 0 {
            write!(f, ", {} pending", self.pending)?;
        }
        let Some(times) = &self.times else { return Ok(()) };
        let shown = |us: f64| short_duration(Duration::from_nanos((us * 1e3) as u64));
        write!(
            f,
            "\nmin {}, avg {}, max {}, stddev {}; 50 % within {}, 90 % within {}, 99 % within {}",
            shown(times.min_us),
            shown(times.avg_us),
            shown(times.max_us),
            shown(times.stddev_us),
            shown(times.p50_us),
            shown(times.p90_us),
            shown(times.p99_us)
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        let mut tally = Tally::new("ICMP");
        for ms in [2, 4, 4, 4, 5, 5, 7, 9] {
            tally.sent += 1;
            tally.answered(Duration::from_millis(ms));
        }
        tally.sent += 3;
        tally.lost = 1;
        tally.errors = 1;
        let summary = tally.summary();
        let times = summary.times.clone().unwrap();
        let near =
            |found: f64, right: f64| assert!((found - right).abs() <= right * 0.001, "{found} {right}");
        near(times.avg_us, 5_000.0);
        near(times.stddev_us, 2_000.0);
        near(times.min_us, 2_000.0);
        near(times.max_us, 9_000.0);
        near(times.p50_us, 4_000.0);
        near(times.p99_us, 9_000.0);
        assert_eq!((summary.pending, summary.loss_percent), (1, 20.0));
        let text = summary.to_string();
        assert!(
            text.starts_with("ICMP: 11 sent, 8 answers, 20.0 % loss, 1 error, 1 without answer, 1 pending"),
            "{text}"
        );
        assert!(text.contains("avg 5.00 ms, max 9.00 ms, stddev 2.00 ms"), "{text}");
    }

    #[test]
    fn a_summary_without_answers_has_no_times() {
        let text = Tally::new("ICMP").summary().to_string();
        assert_eq!(text, "ICMP: 0 sent, 0 answers, 0.0 % loss");
    }
}
