//! Is anybody still reading what we print? A follower may print nothing for days, and so would not notice
//! that `head -1` behind it has gone. Writes nothing.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Waits until nobody can read from this pipe, terminal or socket any more. A file always can: waits for ever.
pub fn wait_until_unread(outlet: impl AsFd) -> io::Result<()> {
    // No event is asked for: errors and hang-ups are told all the same.
    let mut fds = [PollFd::new(&outlet, PollFlags::empty())];
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
    fn a_reader_that_goes_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || wait_until_unread(&writer));
        drop(reader);
        waiting.join().unwrap().unwrap();
    }
}
