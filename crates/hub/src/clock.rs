//! The stamp on entries, and clocks that jump. Time in the journal never goes back; a clock that
//! leaps ahead is not believed until the operator says so, since State's time could never return.

use vang_chat::Time;
use vang_proto::Millis;

use crate::limits::{CLOCK_ABSENCE_MS, CLOCK_LEAP_MS};

/// What the two clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub wall: Time,
    /// Monotonic, and running while the machine sleeps.
    pub steady: Millis,
}

/// A clock that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server's clock is {} s ahead of {than}; its operator must set it right, or restart with --confirm-time", .ahead_ms / 1000
)]
pub(crate) struct ClockAhead {
    ahead_ms: u64,
    than: &'static str,
}

/// Stamps.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Option<Now>,
    confirmed: bool,
}

impl Clock {
    /// `confirmed`: the operator has looked at the clock.
    pub(crate) fn new(confirmed: bool) -> Clock {
        Clock { last: None, confirmed }
    }

    /// The stamp for what is ordered now; `newest` is the newest in the journal.
    pub(crate) fn stamp(&mut self, now: Now, newest: Time) -> Result<Time, ClockAhead> {
        let (expected, tolerance, than) = match self.last {
            Some(last) => {
                let elapsed = now.steady.0.saturating_sub(last.steady.0);
                (last.wall.0.saturating_add(elapsed), CLOCK_LEAP_MS, "where it was when last used")
            }
            None if newest == Time(0) || self.confirmed => (now.wall.0, 0, ""),
            None => (newest.0, CLOCK_ABSENCE_MS, "the journal's newest entry"),
        };
        // A clock that went back and is set right again is not ahead of what the journal has seen.
        let ahead_ms = now.wall.0.saturating_sub(expected.max(newest.0));
        if ahead_ms > tolerance {
            return Err(ClockAhead { ahead_ms, than });
        }
        self.last = Some(now);
        Ok(now.wall.max(newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, steady: u64) -> Now {
        Now { wall: Time(wall), steady: Millis(steady) }
    }

    #[test]
    fn time_never_goes_back_and_a_leap_is_refused_until_it_is_undone() {
        let mut clock = Clock::new(false);
        assert_eq!(clock.stamp(now(1_000, 0), Time(500)), Ok(Time(1_000)));
        assert_eq!(clock.stamp(now(900, 10), Time(1_000)), Ok(Time(1_000)));
        assert!(clock.stamp(now(10_000_000, 20), Time(1_000)).is_err());
        assert_eq!(clock.stamp(now(1_100, 30), Time(1_000)), Ok(Time(1_100)));
        assert_eq!(clock.stamp(now(20_000_000, 40), Time(20_000_000)), Ok(Time(20_000_000)));
        assert_eq!(clock.stamp(now(1_100, 50), Time(1_000)), Ok(Time(1_100)));
        // Asleep for a day: both clocks know.
        assert!(clock.stamp(now(86_401_100, 86_400_030), Time(1_100)).is_ok());
    }

    #[test]
    fn a_long_absence_needs_the_operator() {
        let far = now(CLOCK_ABSENCE_MS + 2_000, 0);
        assert!(Clock::new(false).stamp(far, Time(1_000)).is_err());
        assert!(Clock::new(true).stamp(far, Time(1_000)).is_ok());
        assert!(Clock::new(false).stamp(far, Time(0)).is_ok());
    }
}
