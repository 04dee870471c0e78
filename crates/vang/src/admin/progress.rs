//! A line on a terminal for what takes long: `backing up: 12000 of 40000 entries, 30 %`. Nothing where
//! nobody looks, nothing for what is done in a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often it is shown anew.
const EVERY: Duration = Duration::from_millis(250);

/// A line on a terminal for what takes over a second.
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
        if Instant::now() >= due && std::io::stderr().is_terminal() {
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
