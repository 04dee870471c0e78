//! Where: a typed place becomes addresses, a listening socket, or a connected one. `SO_REUSEADDR` is set on what
//! listens over TCP, so that connections in TIME_WAIT do not keep a restarted server from its port.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vang_client::trouble::Doing;

use crate::{Failure, Report, Stop, Stopped, Target};

/// The port that is meant when none was typed, as in the guide.
pub(super) const PORT: u16 = 65_432;

/// What listens. Its file, if it has one, goes with it.
pub(super) struct Door {
    pub(super) socket: Socket,
    /// As a client types it: `127.0.0.1:65432`, `unix:/run/echo.sock`.
    pub(super) address: String,
    path: Option<PathBuf>,
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The addresses behind a place in the network, in the resolver's order.
pub(super) fn addresses(host: &str, port: Option<u16>) -> Result<Vec<SocketAddr>, Failure> {
    let found = (host, port.unwrap_or(PORT)).to_socket_addrs();
    let found =
        found.map_err(|error| Failure::of(format!("cannot resolve '{host}'"), &error, Doing::Resolve))?;
    Ok(found.collect())
}

impl Door {
    /// Listens for connections, or, with `Type::DGRAM`, takes datagrams. Nothing here ever blocks.
    pub(super) fn open(at: &Target, kind: Type, backlog: u32, report: &Report) -> Result<Door, Failure> {
        let cannot = |error: &io::Error| Failure::of(format!("cannot listen at {at}"), error, Doing::Bind);
        let door = match at {
            Target::Unix(path) => Door::unix(path, backlog).map_err(|error| cannot(&error))?,
            Target::Net { host, port } if host.is_empty() => {
                let port = port.unwrap_or(PORT);
                // A machine without IPv6 still has every interface of the other kind.
                Door::net((Ipv6Addr::UNSPECIFIED, port).into(), kind, backlog)
                    .or_else(|_| Door::net((Ipv4Addr::UNSPECIFIED, port).into(), kind, backlog))
                    .map_err(|error| cannot(&error))?
            }
            Target::Net { host, port } => {
                let found = addresses(host, *port)?;
                let (first, others) = found.split_first().ok_or_else(|| {
                    Failure::Usage(format!("'{host}' has no address; give one, such as 127.0.0.1"))
                })?;
                if let Some(other) = others.first() {
                    report
                        .explain(|| format!("{host} is also {other}; the server listens at {first} only"))?;
                }
                Door::net(*first, kind, backlog).map_err(|error| cannot(&error))?
            }
        };
        report.explain(|| match kind {
            Type::DGRAM => format!("socket, bind: datagrams to {} are ours; nobody connects", door.address),
            _ => format!(
                "socket, SO_REUSEADDR (no TIME_WAIT of an earlier run keeps us out), bind, listen: the kernel makes \
                 connections to {} by itself from here on; up to {backlog} wait until they are accepted",
                door.address
            ),
        })?;
        Ok(door)
    }

    fn net(address: SocketAddr, kind: Type, backlog: u32) -> io::Result<Door> {
        let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
        if address.is_ipv6() {
            // Every interface is those of both kinds.
            socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
        }
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        if kind == Type::STREAM {
            socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        }
        let address = Who::of(&socket.local_addr()?).to_string();
        Ok(Door { socket, address, path: None })
    }

    /// A socket file that nobody answers on any more is replaced; no other file is.
    fn unix(path: &Path, backlog: u32) -> io::Result<Door> {
        let address = SockAddr::unix(path)?;
        if let Ok(about) = std::fs::symlink_metadata(path) {
            let answers = std::os::unix::net::UnixStream::connect(path).is_ok();
            if !about.file_type().is_socket() || answers {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&address)?;
        let door = Door { socket, address: format!("unix:{}", path.display()), path: Some(path.to_owned()) };
        door.socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(door)
    }

    /// Can programs of other machines reach it?
    pub(super) fn is_beyond_this_machine(&self) -> bool {
        let address = self.socket.local_addr().ok().and_then(|address| address.as_socket());
        address.is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Net(SocketAddr),
    /// A process of this machine.
    Process(i32),
    Unnamed,
}

impl Who {
    pub(super) fn of(address: &SockAddr) -> Who {
        address.as_socket().map_or(Who::Unnamed, Who::Net)
    }

    /// Whose connection this is.
    pub(super) fn behind(socket: &Socket, address: &SockAddr) -> Who {
        match Who::of(address) {
            Who::Net(address) => Who::Net(address),
            _ => rustix::net::sockopt::socket_peercred(socket)
                .map_or(Who::Unnamed, |them| Who::Process(them.pid.as_raw_nonzero().get())),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Net(address) => address.fmt(f),
            Who::Process(pid) => write!(f, "process {pid}"),
            Who::Unnamed => f.write_str("somebody"),
        }
    }
}

/// A place to connect to that has been found: connecting there may begin any number of times.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) address: SockAddr,
    /// As it is said.
    pub(super) said: String,
}

impl Address {
    pub(super) fn of_all(to: &Target) -> Result<Vec<Address>, Failure> {
        match to {
            Target::Unix(path) => {
                let address = SockAddr::unix(path).map_err(|error| {
                    Failure::of(format!("cannot connect to {to}"), &error, Doing::Connect)
                })?;
                Ok(vec![Address { address, said: to.to_string() }])
            }
            Target::Net { host, port } => {
                let host = if host.is_empty() { "localhost" } else { host };
                let found = addresses(host, *port)?;
                Ok(found
                    .into_iter()
                    .map(|address| Address { address: address.into(), said: address.to_string() })
                    .collect())
            }
        }
    }

    /// Begins to connect; the socket is writable when that is over.
    pub(super) fn begin(&self) -> io::Result<Socket> {
        let net = self.address.as_socket();
        let protocol = net.map(|_| Protocol::TCP);
        let socket = Socket::new(self.address.domain(), Type::STREAM.nonblocking(), protocol)?;
        if net.is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(&self.address) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(socket),
        }
    }

    /// Connects, for as long as that may take.
    pub(super) fn connect(&self, wait: Duration, stop: &Stop) -> io::Result<Result<Socket, Stopped>> {
        let socket = self.begin()?;
        let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
        if let Some(stopped) = stop.wait(&mut fds, Some(wait))? {
            return Ok(Err(stopped));
        }
        if fds[0].revents().is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(Ok(socket)),
        }
    }
}
