//! When a tool must end: Ctrl-C, SIGTERM or the end of `--timeout`, as a file descriptor that can be waited for beside
//! sockets. A tool that was stopped still tells its summary. A SIGINT that was ignored when we were started stays so.

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
    /// Somebody said so.
    Asked,
    /// The time given is over.
    TimedOut,
}

/// See the module's head. Clones are told together.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Its end is readable once the tool is asked to stop, and stays so.
    asked: Arc<UnixStream>,
    /// Whoever writes here asks.
    ask: Arc<UnixStream>,
    deadline: Option<Instant>,
}

impl Stop {
    /// After this time, or when somebody calls `ask`.
    pub fn after(timeout: Option<Duration>) -> io::Result<Stop> {
        let (asked, ask) = UnixStream::pair()?;
        asked.set_nonblocking(true)?;
        ask.set_nonblocking(true)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Stop { asked: Arc::new(asked), ask: Arc::new(ask), deadline })
    }

    /// Also by Ctrl-C and SIGTERM of this process. A second one ends it at once, as it would without us.
    pub fn on_signals(self) -> io::Result<Stop> {
        for signal in [SIGINT, SIGTERM] {
            if signal == SIGINT && is_ignored(signal) {
                continue;
            }
            let once = Arc::new(std::sync::atomic::AtomicBool::new(false));
            // In this order: from the first of them on no signal is lost, and none counts as the second.
            signal_hook::low_level::pipe::register(signal, self.ask.try_clone()?)?;
            signal_hook::flag::register_conditional_default(signal, once.clone())?;
            signal_hook::flag::register(signal, once)?;
        }
        Ok(self)
    }

    /// Asks for the end.
    pub fn ask(&self) {
        // Full means that it was asked before.
        let _ = rustix::io::write(&*self.ask, &[1]);
    }

    /// Has the end come?
    pub fn now(&self) -> Option<Stopped> {
        let mut asked = [PollFd::new(&self.asked, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0) {
            return Some(Stopped::Asked);
        }
        (self.left() == Some(Duration::ZERO)).then_some(Stopped::TimedOut)
    }

    /// The time that is left; `None`: as long as it takes.
    pub fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until a descriptor is ready for what it is polled for, or this time is over, or the end has come, which
    /// is the answer. What is ready stands in `fds`.
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
            all.push(PollFd::new(&self.asked, PollFlags::IN));
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

/// Was this signal ignored by who started us? Shells start a script's background jobs so (SIGINT), and `nohup` its command
/// (SIGHUP): the Ctrl-C of the terminal is then meant for others. To be asked before a handler is set.
pub fn is_ignored(signal: i32) -> bool {
    // The kernel's own list: a mask in hexadecimal, the lowest bit for signal 1 (proc_pid_status(5)).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(signal - 1).ok().and_then(|at| 1_u64.checked_shl(at));
    bit.is_some_and(|bit| mask & bit != 0)
}

impl AsFd for Stop {
    /// Readable once the tool is asked to stop: for selectors of another kind. The deadline is not in it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_of_the_end_and_of_what_is_ready() {
        let (one, other) = UnixStream::pair().unwrap();
        let stop = Stop::after(None).unwrap();
        let mut fds = [PollFd::new(&one, PollFlags::IN)];
        assert_eq!(stop.wait(&mut fds, Some(Duration::from_millis(1))).unwrap(), None);
        assert!(fds[0].revents().is_empty());
        rustix::io::write(&other, b"x").unwrap();
        assert_eq!(stop.wait(&mut fds, None).unwrap(), None);
        assert!(fds[0].revents().contains(PollFlags::IN));
        let asker = stop.clone();
        let asked = std::thread::spawn(move || asker.ask());
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::Asked));
        asked.join().unwrap();
        assert_eq!(stop.now(), Some(Stopped::Asked));
    }

    #[test]
    fn the_time_given_ends() {
        let stop = Stop::after(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::TimedOut));
        assert_eq!((stop.now(), stop.left()), (Some(Stopped::TimedOut), Some(Duration::ZERO)));
    }
}
