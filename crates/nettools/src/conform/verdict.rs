//! The verdict of a run.

use crate::{Stop, Stopped, Verdict};

/// Untested cases do not count as good.
pub(super) fn verdict(complete: bool, failed: u64, stop: &Stop) -> Verdict {
    match (complete, failed) {
        (true, 0) => Verdict::Good,
        (false, 0) if stop.now() == Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ => Verdict::Bad,
    }
}
