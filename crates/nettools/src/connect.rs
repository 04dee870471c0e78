//! One TCP connection that waits no longer than it may, and ends at once when the tool is told to: everything on a
//! non-blocking socket, waited for with `Stop`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use vang_client::trouble::{At, Doing, Trouble};

use crate::failure::explain_at;
use crate::{Stop, Stopped};

/// A connection, read and written until a deadline. The end of the tool ends a read or write as that deadline does:
/// `stopped` tells the two apart.
#[derive(Debug)]
pub(crate) struct Patient<'a> {
    socket: Socket,
    until: Instant,
    stop: &'a Stop,
    stopped: Option<Stopped>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// The system, the network or the other side said no, or nothing in time.
    Failed(io::Error),
    /// The tool ends.
    Stopped(Stopped),
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> NotConnected {
        NotConnected::Failed(error)
    }
}

impl<'a> Patient<'a> {
    /// Connects, in no more than this time.
    pub(crate) fn connect(
        address: SocketAddr,
        time: Duration,
        stop: &'a Stop,
    ) -> Result<Patient<'a>, NotConnected> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let mut patient = Patient { socket, until: Instant::now() + time, stop, stopped: None };
        match patient.socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                if let Err(error) = patient.wait(PollFlags::OUT) {
                    return Err(patient.stopped.map_or(NotConnected::Failed(error), NotConnected::Stopped));
                }
                if let Some(error) = patient.socket.take_error()? {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        // Nobody listens, and the system happened to give us that very port: we would talk to ourselves.
        if patient.socket.local_addr()?.as_socket() == Some(address) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        patient.socket.set_tcp_nodelay(true)?;
        Ok(patient)
    }

    /// One that stands already. Nothing is read or written before it is said until when.
    pub(crate) fn over(socket: Socket, stop: &'a Stop) -> io::Result<Patient<'a>> {
        socket.set_nonblocking(true)?;
        Ok(Patient { socket, until: Instant::now(), stop, stopped: None })
    }

    /// Nothing more is sent; receiving goes on.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Ends it without order: what was not sent yet is lost, and the peer is told so.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }

    /// Why the last read or write was given up, if the tool ends.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// From now on reading and writing end then.
    pub(crate) fn ends_at(&mut self, until: Instant) {
        self.until = until;
    }

    /// Where we are.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.socket, what)];
        self.stopped = self.stop.wait(&mut fds, Some(left))?;
        // The peer's silence and the end of the tool end this alike; `stopped` tells which it was.
        match self.stopped.is_some() || fds[0].revents().is_empty() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                done => return done,
            }
        }
    }
}

impl Write for Patient<'_> {
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

/// Names what went wrong while connecting to this address.
pub(crate) fn trouble(address: SocketAddr, error: &io::Error) -> Trouble {
    trouble_at(address, error, Doing::Connect)
}

/// Names what went wrong while doing something with this address.
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
        match Patient::connect(address, time, &Stop::after(None).unwrap()) {
            Err(NotConnected::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_go_both_ways_and_silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Stop::after(None).unwrap();
        let mut patient = Patient::connect(listener.local_addr().unwrap(), LONG, &stop).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(patient.local(), Some(from));
        patient.write_all(b"Hello").unwrap();
        let mut came = [0; 5];
        peer.read_exact(&mut came).unwrap();
        peer.write_all(&came).unwrap();
        patient.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"Hello");
        patient.until = Instant::now();
        assert_eq!(patient.read(&mut came).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(patient.stopped(), None);
        stop.ask();
        patient.read(&mut came).unwrap_err();
        assert_eq!(patient.stopped(), Some(Stopped::Asked));
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        // Bound, and not listened on: it refuses, and is nobody else's meanwhile.
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let closed = bound.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(trouble(closed, &failed(closed, LONG)).name, "connection refused");
        let adrift = "[fe80::1]:7".parse().unwrap();
        assert_eq!(trouble(adrift, &failed(adrift, LONG)).name, "scope missing");
    }
}
