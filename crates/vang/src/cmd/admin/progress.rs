//! A progress line on a terminal: `backing up: 12000 of 40000 entries, 30 %`. It appears after a second, and
//! only if stderr is a terminal.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::color;

/// Time between two updates.
const EVERY: Duration = Duration::from_millis(250);

/// A progress line for work that takes over a second.
pub(super) struct Progress {
    what: &'static str,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Progress {
        Progress { what, began: Instant::now(), shown: None }
    }

    pub(super) fn show(&mut self, done: u64, end: u64) {
        let due = self.shown.map_or(self.began + Duration::from_secs(1), |shown| shown + EVERY);
        if Instant::now() >= due && color::is_screen(&std::io::stderr()) {
            self.shown = Some(Instant::now());
            let percent = done * 100 / end.max(1);
            let _ = write!(std::io::stderr(), "\r{}: {done} of {end} entries, {percent} %", self.what);
        }
    }

    pub(super) fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
