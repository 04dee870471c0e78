//! The end of a tool: Ctrl-C, SIGTERM or `--timeout`, as a file descriptor that is polled together with sockets. A stopped
//! tool still writes its summary. A SIGINT that was ignored when we were started stays ignored.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Why a tool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By a signal, or by the program.
    Requested,
    TimedOut,
}

/// The end of a tool, shared by all its clones.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Readable from the request on.
    requested: Arc<UnixStream>,
    /// A byte written here requests the end.
    request_end: Arc<UnixStream>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Ends after this time, or when `request` is called.
    pub fn after(timeout: Option<Duration>) -> io::Result<Stop> {
        let (requested, request_end) = UnixStream::pair()?;
        requested.set_nonblocking(true)?;
        request_end.set_nonblocking(true)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Stop { requested: Arc::new(requested), request_end: Arc::new(request_end), deadline })
    }

    /// Ends also on SIGINT and SIGTERM. A second signal kills the process, as it would by default.
    pub fn on_signals(self) -> io::Result<Stop> {
        for signal in [SIGINT, SIGTERM] {
            if signal == SIGINT && is_ignored(signal) {
                continue;
            }
            let once = Arc::new(std::sync::atomic::AtomicBool::new(false));
            // In this order: no signal is lost after the first call, and the first signal does not count as the second.
            signal_hook::low_level::pipe::register(signal, self.request_end.try_clone()?)?;
            signal_hook::flag::register_conditional_default(signal, once.clone())?;
            signal_hook::flag::register(signal, once)?;
        }
        Ok(self)
    }

    /// Requests the end.
    pub fn request(&self) {
        // A full pipe means that the end was requested before.
        let _ = rustix::io::write(&*self.request_end, &[1]);
    }

    /// Why the tool must end, if it must.
    pub fn now(&self) -> Option<Stopped> {
        let mut requested = [PollFd::new(&self.requested, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut requested, Some(&at_once)).is_ok_and(|ready| ready > 0) {
            return Some(Stopped::Requested);
        }
        (self.left() == Some(Duration::ZERO)).then_some(Stopped::TimedOut)
    }

    /// The time that is left; `None`: no limit.
    pub fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until a descriptor is ready, this time is over, or the tool must end; returns the reason in the last case.
    /// `fds` then holds the ready events.
    pub fn wait<'fd>(
        &'fd self,
        fds: &mut [PollFd<'fd>],
        time: Option<Duration>,
    ) -> io::Result<Option<Stopped>> {
        let began = Instant::now();
        loop {
            if let Some(stopped) = self.now() {
                return Ok(Some(stopped));
            }
            let rest = time.map(|time| time.saturating_sub(began.elapsed()));
            let wait = [rest, self.left()].into_iter().flatten().min();
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            // Polled together with the end of the tool.
            let mut all: Vec<PollFd<'fd>> = fds.to_vec();
            all.push(PollFd::new(&self.requested, PollFlags::IN));
            match poll(&mut all, wait.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut any = false;
            for (fd, polled) in fds.iter_mut().zip(&all) {
                any |= !polled.revents().is_empty();
                *fd = polled.clone();
            }
            if any || time.is_some_and(|time| began.elapsed() >= time) {
                return Ok(None);
            }
        }
    }
}

/// Was this signal ignored when the process was started? Shells do that for background jobs of a script (SIGINT), and
/// `nohup` for its command (SIGHUP). Call this before a handler is set.
pub fn is_ignored(signal: i32) -> bool {
    // A mask in hexadecimal; the lowest bit is signal 1 (proc_pid_status(5)).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(signal - 1).ok().and_then(|at| 1_u64.checked_shl(at));
    bit.is_some_and(|bit| mask & bit != 0)
}

impl AsFd for Stop {
    /// Readable after a request, for other selectors. It does not include the deadline.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.requested.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wait_returns_for_ready_descriptors_and_for_the_end() {
        let (one, other) = UnixStream::pair().unwrap();
        let stop = Stop::after(None).unwrap();
        let mut fds = [PollFd::new(&one, PollFlags::IN)];
        assert_eq!(stop.wait(&mut fds, Some(Duration::from_millis(1))).unwrap(), None);
        assert!(fds[0].revents().is_empty());
        rustix::io::write(&other, b"x").unwrap();
        assert_eq!(stop.wait(&mut fds, None).unwrap(), None);
        assert!(fds[0].revents().contains(PollFlags::IN));
        let asker = stop.clone();
        let asked = std::thread::spawn(move || asker.request());
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::Requested));
        asked.join().unwrap();
        assert_eq!(stop.now(), Some(Stopped::Requested));
    }

    #[test]
    fn the_timeout_ends_a_wait() {
        let stop = Stop::after(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::TimedOut));
        assert_eq!((stop.now(), stop.left()), (Some(Stopped::TimedOut), Some(Duration::ZERO)));
    }
}
