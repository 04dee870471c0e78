//! The schedule: when the next message of each waiting connection is due, and a timer for it, because epoll timeouts have
//! only millisecond resolution.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

/// The schedule of all connections.
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    timer: OwnedFd,
    set: Option<Instant>,
}

impl Schedule {
    pub(super) fn new() -> io::Result<Schedule> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Schedule { due: BinaryHeap::new(), timer, set: None })
    }

    /// Readable when the timer has fired.
    pub(super) fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    pub(super) fn add(&mut self, due: Instant, connection: usize) {
        self.due.push(Reverse((due, connection)));
    }

    /// The next connection that is due, with its time.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Instant, usize)> {
        self.due.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.due.pop().map(|Reverse(next)| next)
    }

    /// Sets the timer to the first due time.
    pub(super) fn set(&mut self) -> io::Result<()> {
        let Some(Reverse((due, _))) = self.due.peek() else { return Ok(()) };
        if self.set == Some(*due) {
            return Ok(());
        }
        let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set = Some(*due);
        Ok(())
    }

    /// The timer has fired.
    pub(super) fn fired(&mut self) {
        // Reading resets the timer; its count is not used.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        self.set = None;
    }
}
