//! Deadlines, and retries until a deadline.
//!
//! ```text
//! attempt ─ success ──▶ its result            attempt ─ retryable error ──▶ wait ──▶ attempt …
//!          └ other error ──▶ that error               └ deadline passed ──▶ that error
//! ```

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use vang_proto::vang::Backoff;

use crate::trouble::ClientError;

/// A point in time, or never.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NEVER: Deadline = Deadline(None);

    /// `time` from now.
    pub fn after(time: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(time))
    }

    /// The time left, for a socket's timeout: `None` without a deadline, otherwise above zero. Once it has
    /// passed: `TimedOut`.
    pub fn left(self) -> io::Result<Option<Duration>> {
        let Some(instant) = self.0 else { return Ok(None) };
        match instant.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// Too short for another attempt: it could only time out.
const LAST_ATTEMPT: Duration = Duration::from_millis(20);

/// Repeats `attempt` until success, an error that is not retryable, or the deadline; returns the last error.
/// `watch` sees each error before a retry.
pub(crate) fn retry_until<T>(
    deadline: Deadline,
    watch: &mut dyn FnMut(&ClientError),
    mut attempt: impl FnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut backoff = Backoff::default();
    loop {
        let fault = match attempt() {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        let left = match deadline.left() {
            Ok(left) => left.unwrap_or(Duration::MAX),
            Err(_) => return Err(fault),
        };
        let retry_after = fault.retry_after().unwrap_or_default();
        if !fault.is_retryable() || left < LAST_ATTEMPT || retry_after >= left {
            return Err(fault);
        }
        watch(&fault);
        // Leave time for the last attempt.
        thread::sleep(backoff_wait(&mut backoff).min(left / 2).max(retry_after));
    }
}

/// The next wait of the backoff, with jitter.
pub(crate) fn backoff_wait(backoff: &mut Backoff) -> Duration {
    // Without random numbers the waits are less spread; nothing else changes.
    Duration::from_millis(backoff.next_ms(getrandom::u64().unwrap_or(0)))
}
