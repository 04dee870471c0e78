//! Work that costs CPU for each message, as a server that computes its answers has it.

use std::hint::black_box;
use std::time::Duration;

use super::server_records::thread_time;
use crate::Stop;

/// Longest work: the other connections of an event loop wait for it.
pub(super) const WORK_MAX: Duration = Duration::from_secs(1);

/// Rounds between two looks at the clock: about 20 µs.
const ROUNDS: u64 = 20_000;

/// CPU time for each message; zero: none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work(pub(super) Duration);

impl Work {
    /// Uses this CPU time, or less if the server must end.
    pub(super) fn run(self, stop: &Stop) {
        if self.0.is_zero() {
            return;
        }
        // CPU time, not time of day: a thread that waits for a core has not worked.
        let until = thread_time() + self.0;
        let mut mixed = 1_u64;
        while thread_time() < until && stop.now().is_none() {
            for round in 0..ROUNDS {
                mixed = black_box(mixed).rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round;
            }
        }
        black_box(mixed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_uses_its_cpu_time_and_ends_with_the_server() {
        let stop = Stop::after(None).unwrap();
        let before = thread_time();
        Work(Duration::from_millis(5)).run(&stop);
        assert!(thread_time() - before >= Duration::from_millis(5));
        stop.request();
        // It would take an hour.
        Work(Duration::from_secs(3_600)).run(&stop);
    }
}
