//! When each waiting connection's next message is due, and a timer that wakes us then: epoll alone counts in
//! milliseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

/// See the module's head.
pub(super) struct Timetable {
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    timer: OwnedFd,
    set: Option<Instant>,
}

impl Timetable {
    pub(super) fn new() -> io::Result<Timetable> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Timetable { due: BinaryHeap::new(), timer, set: None })
    }

    /// What to watch: it is readable when the timer has fired.
    pub(super) fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    pub(super) fn add(&mut self, due: Instant, connection: usize) {
        self.due.push(Reverse((due, connection)));
    }

    /// The next that is due by now, with its time.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Instant, usize)> {
        self.due.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.due.pop().map(|Reverse(next)| next)
    }

    /// Sets the timer to whatever is due first.
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
        // Its number is of no use; reading makes it wait again.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        self.set = None;
    }
}
