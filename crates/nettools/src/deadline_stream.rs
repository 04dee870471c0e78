//! A TCP connection whose connect, reads and writes end at a deadline or when the tool is stopped. The socket is
//! non-blocking and polled together with `Stop`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use vang_client::trouble::{At, Doing, Trouble};

use crate::error::explain_at;
use crate::{Stop, Stopped};

/// A connection with a deadline. A stop ends a read or write with the same error as the deadline; `stopped` tells which
/// of the two it was.
#[derive(Debug)]
pub(crate) struct DeadlineStream<'a> {
    socket: Socket,
    deadline: Instant,
    stop: &'a Stop,
    stopped: Option<Stopped>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// An error, or the timeout.
    Failed(io::Error),
    Stopped(Stopped),
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> NotConnected {
        NotConnected::Failed(error)
    }
}

impl<'a> DeadlineStream<'a> {
    /// Connects within this time.
    pub(crate) fn connect(
        address: SocketAddr,
        time: Duration,
        stop: &'a Stop,
    ) -> Result<DeadlineStream<'a>, NotConnected> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let mut stream = DeadlineStream { socket, deadline: Instant::now() + time, stop, stopped: None };
        match stream.socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                if let Err(error) = stream.wait(PollFlags::OUT) {
                    return Err(stream.stopped.map_or(NotConnected::Failed(error), NotConnected::Stopped));
                }
                if let Some(error) = stream.socket.take_error()? {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        // TCP self-connect: nobody listens, and our ephemeral port happens to be that port.
        if stream.socket.local_addr()?.as_socket() == Some(address) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        stream.socket.set_tcp_nodelay(true)?;
        Ok(stream)
    }

    /// Takes over a connected socket. Set a deadline before reading or writing.
    pub(crate) fn from_socket(socket: Socket, stop: &'a Stop) -> io::Result<DeadlineStream<'a>> {
        socket.set_nonblocking(true)?;
        Ok(DeadlineStream { socket, deadline: Instant::now(), stop, stopped: None })
    }

    /// Closes the sending half; receiving goes on.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Resets the connection (RST); unsent bytes are lost.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }

    /// The stop that ended the last read or write, if one did.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Reads and writes fail with `TimedOut` from this time on.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Our own address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.socket, what)];
        self.stopped = self.stop.wait(&mut fds, Some(left))?;
        // Deadline and stop give the same error; `stopped` tells them apart.
        match self.stopped.is_some() || fds[0].revents().is_empty() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl Read for DeadlineStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                done => return done,
            }
        }
    }
}

impl Write for DeadlineStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Explains an error of connecting to this address.
pub(crate) fn trouble(address: SocketAddr, error: &io::Error) -> Trouble {
    trouble_at(address, error, Doing::Connect)
}

/// Explains an error of an operation at this address.
pub(crate) fn trouble_at(address: SocketAddr, error: &io::Error, doing: Doing) -> Trouble {
    explain_at(error, doing, At::Net(address))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn failed(address: SocketAddr, time: Duration) -> io::Error {
        match DeadlineStream::connect(address, time, &Stop::after(None).unwrap()) {
            Err(NotConnected::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_go_both_ways_until_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Stop::after(None).unwrap();
        let mut stream = DeadlineStream::connect(listener.local_addr().unwrap(), LONG, &stop).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(stream.local(), Some(from));
        stream.write_all(b"Hello").unwrap();
        let mut came = [0; 5];
        peer.read_exact(&mut came).unwrap();
        peer.write_all(&came).unwrap();
        stream.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"Hello");
        stream.deadline = Instant::now();
        assert_eq!(stream.read(&mut came).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.stopped(), None);
        stop.request();
        stream.read(&mut came).unwrap_err();
        assert_eq!(stream.stopped(), Some(Stopped::Requested));
    }

    #[test]
    fn connect_errors_are_explained() {
        // Bound without listen: connections are refused, and no other program can take the port.
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let closed = bound.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(trouble(closed, &failed(closed, LONG)).name, "connection refused");
        let adrift = "[fe80::1]:7".parse().unwrap();
        assert_eq!(trouble(adrift, &failed(adrift, LONG)).name, "scope missing");
    }
}
