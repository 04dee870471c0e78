//! What the log says of connections that were refused: the first of a kind in full, then a count, so that nobody fills
//! the disk with lines.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// At most one line of a kind in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// A kind is a word of ours, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Reports(RefCell<BTreeMap<&'static str, Reported>>);

#[derive(Debug)]
struct Reported {
    reported: Instant,
    left_out: u64,
}

impl Reports {
    /// Something of this kind happened. `true`: say it in full; otherwise it is counted.
    pub(crate) fn admit(&self, kind: &'static str, now: Instant) -> bool {
        let mut kinds = self.0.borrow_mut();
        match kinds.get_mut(kind) {
            // What was left out is reported first, by `due`.
            Some(known) if known.left_out > 0 || now.saturating_duration_since(known.reported) < PAUSE => {
                known.left_out += 1;
                false
            }
            _ => {
                kinds.insert(kind, Reported { reported: now, left_out: 0 });
                true
            }
        }
    }

    /// What was left out and is to be told now: kinds and how often each happened.
    pub(crate) fn due(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut due = Vec::new();
        for (&kind, known) in &mut *self.0.borrow_mut() {
            if known.left_out > 0 && now.saturating_duration_since(known.reported) >= PAUSE {
                due.push((kind, std::mem::take(&mut known.left_out)));
                known.reported = now;
            }
        }
        due
    }

    /// What was left out and would not be told any more.
    pub(crate) fn rest(&self) -> Vec<(&'static str, u64)> {
        let mut kinds = self.0.borrow_mut();
        let left_out = kinds.iter_mut().map(|(&kind, known)| (kind, std::mem::take(&mut known.left_out)));
        left_out.filter(|&(_, count)| count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_logged_in_full_and_the_others_are_counted() {
        let (reports, start) = (Reports::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(reports.admit("malformed", at(0)));
        assert!(reports.admit("too-long", at(1)), "another kind");
        for ms in 1..=1_000 {
            assert!(!reports.admit("malformed", at(ms)));
        }
        assert_eq!(reports.due(at(9_999)), []);
        assert!(!reports.admit("malformed", at(12_000)), "the count comes first");
        assert_eq!(reports.due(at(12_000)), [("malformed", 1_001)]);
        assert_eq!(reports.due(at(60_000)), [], "nothing twice");
        assert!(!reports.admit("malformed", at(13_000)));
        assert_eq!(reports.rest(), [("malformed", 1)]);
        assert!(reports.admit("malformed", at(60_000)), "long after, in full again");
    }
}
