//! A typed target as something to connect to: its addresses, and a connected socket. Nothing here blocks, and everything
//! ends with `Stop`.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use socket2::{Protocol, SockAddr, Socket, Type};
use vang_client::address::shown;
use vang_client::trouble::{At, Doing};

use crate::deadline_stream::{NotConnected, trouble};
use crate::lookup::{Purpose, addresses};
use crate::{Report, Stop, Stopped, Target, ToolError};

/// The connect timeout of one address.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How often a connect to a full Unix listener is retried: no event reports room in its queue.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(20);

/// A resolved address to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) address: SockAddr,
    /// As messages show it.
    pub(crate) name: String,
}

impl Destination {
    /// All addresses of a target, in the resolver's order; at least one. `None`: stopped.
    pub(crate) fn resolve(to: &Target, stop: &Stop) -> Result<Option<Vec<Destination>>, ToolError> {
        match to {
            Target::Unix(path) => {
                let address = SockAddr::unix(path).map_err(|error| {
                    ToolError::of(format!("cannot connect to {to}"), &error, Doing::Connect)
                })?;
                Ok(Some(vec![Destination { address, name: to.to_string() }]))
            }
            Target::Net { host, port } => {
                // For a client an empty host is this machine; by its name, so that /etc/hosts counts.
                let host = if host.is_empty() { "localhost" } else { host };
                let found = addresses(host, *port, Purpose::Connect, stop)?;
                let named =
                    |address: SocketAddr| Destination { address: address.into(), name: shown(address) };
                Ok(found.map(|found| found.into_iter().map(named).collect()))
            }
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.address.is_unix()
    }

    /// A new socket of the right family.
    pub(crate) fn socket(&self) -> io::Result<Socket> {
        let net = self.address.as_socket();
        let protocol = net.map(|_| Protocol::TCP);
        let socket = Socket::new(self.address.domain(), Type::STREAM.nonblocking(), protocol)?;
        if net.is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }

    /// Starts connecting. The socket becomes writable when that has ended; `check_connected` then returns the result.
    pub(crate) fn begin(&self, socket: &Socket) -> io::Result<()> {
        match socket.connect(&self.address) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
            _ => Ok(()),
        }
    }

    /// Connects, within `CONNECT_WAIT`.
    pub(crate) fn connect(&self, socket: Socket, stop: &Stop) -> Result<Socket, NotConnected> {
        let began = Instant::now();
        while let Err(error) = self.begin(&socket) {
            let is_full = error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < CONNECT_WAIT;
            if !is_full {
                return Err(NotConnected::Failed(error));
            }
            if let Some(stopped) = stop.wait(&mut [], Some(FULL_QUEUE_WAIT))? {
                return Err(NotConnected::Stopped(stopped));
            }
        }
        let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
        if let Some(stopped) = stop.wait(&mut fds, Some(CONNECT_WAIT))? {
            return Err(NotConnected::Stopped(stopped));
        }
        if fds[0].revents().is_empty() {
            return Err(NotConnected::Failed(io::ErrorKind::TimedOut.into()));
        }
        check_connected(&socket)?;
        Ok(socket)
    }

    /// Explains an error of connecting there.
    pub(crate) fn failure(&self, error: &io::Error) -> ToolError {
        let doing = format!("cannot connect to {}", self.name);
        match self.address.as_socket() {
            Some(address) => ToolError::System { doing, trouble: trouble(address, error) },
            None => ToolError::at(doing, error, Doing::Connect, At::Unix),
        }
    }
}

/// The result of connecting; the error kind `NotConnected` means that it is still in progress.
pub(crate) fn check_connected(socket: &Socket) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = socket.peer_addr()?.as_socket();
    // TCP self-connect: nobody listens, and our ephemeral port happens to be that port.
    if peer.is_some() && socket.local_addr()?.as_socket() == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Connects to the first address of a target that accepts; `prepare` sets options on each socket first. `None`: stopped.
/// A timeout is an error.
pub(crate) fn connect(
    to: &Target,
    report: &Report,
    stop: &Stop,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<Option<(Destination, Socket)>, ToolError> {
    let Some(found) = Destination::resolve(to, stop)? else { return Ok(None) };
    let mut refused = None;
    for address in found {
        report.explain(|| match address.is_unix() {
            true => format!(
                "connect to {}: no handshake; the kernel puts the connection into the accept queue",
                address.name
            ),
            false => {
                format!(
                    "connect to {}: SYN out, SYN+ACK back, ACK out; then both sides may write",
                    address.name
                )
            }
        })?;
        let prepared = address.socket().and_then(|socket| prepare(&socket).map(|()| socket));
        let connected = prepared.map_err(NotConnected::from).and_then(|socket| address.connect(socket, stop));
        match connected {
            Ok(socket) => return Ok(Some((address, socket))),
            Err(NotConnected::Stopped(Stopped::Requested)) => return Ok(None),
            Err(NotConnected::Stopped(Stopped::TimedOut)) => {
                return Err(address.failure(&io::ErrorKind::TimedOut.into()));
            }
            Err(NotConnected::Failed(error)) => drop(refused.get_or_insert(address.failure(&error))),
        }
    }
    Err(refused.unwrap_or_else(|| ToolError::Usage(format!("{to} has no address"))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use socket2::Domain;

    use super::*;

    #[test]
    fn a_tcp_self_connect_is_a_refusal() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        assert_eq!(check_connected(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
