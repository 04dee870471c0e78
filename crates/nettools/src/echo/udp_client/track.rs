//! Tracks numbered datagrams: lost, duplicated, reordered, and their jitter.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use vang_proto::text::{short_duration, size};

use crate::Record;
use crate::echo::measure::Percentiles;

/// Tracked numbers; older ones count as lost.
const WINDOW: u64 = 1 << 16;

/// The summary of a UDP run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct DatagramSummary {
    pub(super) sent: u64,
    pub(super) back: u64,
    pub(super) lost: u64,
    pub(super) lost_percent: f64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Received datagrams that were not ours, or changed.
    pub(super) wrong: u64,
    /// Not accepted by the kernel: the send queue was full.
    pub(super) unsent: u64,
    pub(super) jitter_us: f64,
    pub(super) bytes: u64,
    pub(super) took_us: u64,
    pub(super) wait: Option<Percentiles>,
}

impl Record for DatagramSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for DatagramSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.sent == 1 { "" } else { "s" };
        write!(f, "{} datagram{plural} sent, {} came back: {}", self.sent, self.back, size(self.bytes))?;
        write!(f, " in {}; ", short_duration(Duration::from_micros(self.took_us)))?;
        write!(f, "{} lost ({:.1} %), {} duplicated, ", self.lost, self.lost_percent, self.duplicated)?;
        write!(f, "{} reordered", self.reordered)?;
        for (count, what) in
            [(self.wrong, "changed on the way"), (self.unsent, "not accepted by our own kernel")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let Some(wait) = self.wait.filter(|_| self.back > 1) else { return Ok(()) };
        write!(
            f,
            "; jitter {}\nwait: {wait}",
            short_duration(Duration::from_nanos((self.jitter_us * 1e3) as u64))
        )
    }
}

/// Tracks which numbers came back.
pub(super) struct Track {
    /// One more than the highest received number.
    next: u64,
    /// For the last `WINDOW` numbers: send time, and whether it came back.
    sent_at: Vec<Option<Instant>>,
    came: Vec<bool>,
    last_transit: Option<f64>,
    /// Seconds.
    pub(super) jitter: f64,
    pub(super) summary: DatagramSummary,
}

impl Track {
    pub(super) fn new() -> Track {
        let (sent_at, came) = (vec![None; WINDOW as usize], vec![false; WINDOW as usize]);
        Track { next: 0, sent_at, came, last_transit: None, jitter: 0.0, summary: DatagramSummary::default() }
    }

    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        let slot = (number % WINDOW) as usize;
        (self.sent_at[slot], self.came[slot]) = (Some(now), false);
        self.summary.sent += 1;
    }

    /// A datagram came back; returns the wait if it is the first with this number.
    pub(super) fn came(&mut self, number: u64, now: Instant) -> Option<Duration> {
        if number >= self.summary.sent || number + WINDOW < self.summary.sent {
            self.summary.wrong += u64::from(number >= self.summary.sent);
            return None;
        }
        let slot = (number % WINDOW) as usize;
        let wait = now.saturating_duration_since(self.sent_at[slot]?);
        if std::mem::replace(&mut self.came[slot], true) {
            self.summary.duplicated += 1;
            return None;
        }
        self.summary.back += 1;
        // RFC 4737: reordered is a datagram that comes after one that was sent later.
        if number < self.next {
            self.summary.reordered += 1;
        }
        self.next = self.next.max(number + 1);
        let transit = wait.as_secs_f64();
        if let Some(last) = self.last_transit.replace(transit) {
            self.jitter += ((transit - last).abs() - self.jitter) / 16.0;
        }
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_duplicated_and_reordered_numbers_are_counted() {
        let mut track = Track::new();
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        for number in 0..6 {
            track.sent(number, at(number));
        }
        // 3 is lost, 1 comes twice, 2 after 4.
        for (number, ms) in [(0, 10), (1, 11), (1, 11), (4, 14), (2, 15), (5, 16)] {
            track.came(number, at(ms));
        }
        let summary = &track.summary;
        assert_eq!((summary.back, summary.duplicated, summary.reordered, summary.wrong), (5, 1, 1, 0));
        // A number that was never sent.
        assert_eq!(track.came(6, at(20)), None);
        assert_eq!(track.summary.wrong, 1);
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut track = Track::new();
        let began = Instant::now();
        // Transits of 10, 26, 10 ms: J = 16/16 = 1 ms, then 1 + (16 - 1)/16.
        for (number, transit) in [(0, 10), (1, 26), (2, 10)] {
            let sent = began + Duration::from_millis(number * 100);
            track.sent(number, sent);
            track.came(number, sent + Duration::from_millis(transit));
        }
        assert!((track.jitter - 0.001_937_5).abs() < 1e-9, "{}", track.jitter);
    }

    #[test]
    fn a_long_even_stream_has_no_jitter_and_bounded_memory() {
        let mut track = Track::new();
        let began = Instant::now();
        for number in 0..3 * WINDOW {
            let sent = began + Duration::from_micros(number);
            track.sent(number, sent);
            track.came(number, sent + Duration::from_micros(40));
        }
        assert_eq!((track.summary.back, track.summary.duplicated), (3 * WINDOW, 0));
        assert!(track.jitter < 1e-9);
    }
}
