//! Notices that the reader of our output is gone. A follower can print nothing for days and would not notice
//! that `head -1` after it has exited. Writes nothing.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Waits until no process can read from this pipe, terminal or socket. For a file this never happens, so it
/// waits forever.
pub fn wait_until_reader_is_gone(output: impl AsFd) -> io::Result<()> {
    // No event is requested: poll reports errors and hang-ups anyway.
    let mut fds = [PollFd::new(&output, PollFlags::empty())];
    loop {
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().is_empty() => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_closed_reader_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || wait_until_reader_is_gone(&writer));
        drop(reader);
        waiting.join().unwrap().unwrap();
    }
}
