//! How long: a point in time until which something is tried, and trying again until then.
//!
//! ```text
//! attempt ─ worked ──▶ its result            attempt ─ passing fault ──▶ wait ──▶ attempt …
//!         └ fault that will not pass ──▶ it           └ time over ──▶ that fault
//! ```

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use vang_proto::vang::Backoff;

use crate::trouble::ClientError;

/// Until when; or for ever.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// There is none.
    pub const NEVER: Deadline = Deadline(None);

    /// So long from now.
    pub fn after(time: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(time))
    }

    /// What is left of it, for a socket's timeout: `None` for ever, otherwise more than nothing.
    pub fn left(self) -> io::Result<Option<Duration>> {
        let Some(instant) = self.0 else { return Ok(None) };
        match instant.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// Too short for another attempt: what it would find out is only that the time is over.
const LAST_ATTEMPT: Duration = Duration::from_millis(20);

/// Tries until it works, until a fault that will not pass, or until the deadline; gives the last fault.
pub(crate) fn persist<T>(
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
        let told = fault.retry_after().unwrap_or_default();
        if !fault.is_retryable() || left < LAST_ATTEMPT || told >= left {
            return Err(fault);
        }
        watch(&fault);
        // Never the whole rest: the last attempt needs time too.
        thread::sleep(backoff_wait(&mut backoff).min(left / 2).max(told));
    }
}

/// The next wait, with jitter.
pub(crate) fn backoff_wait(backoff: &mut Backoff) -> Duration {
    // Without random numbers the waits are only less spread.
    Duration::from_millis(backoff.next_ms(getrandom::u64().unwrap_or(0)))
}

/// A time as a person writes it: `5s`, `200ms`.
pub fn written(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}
