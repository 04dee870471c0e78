//! Where: a typed place becomes addresses, a listening socket, or a connected one; nothing here blocks, and everything
//! ends with `Stop`. `SO_REUSEADDR` is set on what listens over TCP, so that connections in TIME_WAIT do not keep a
//! restarted server from its port.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vang_client::address::shown;
use vang_client::trouble::{At, Doing};

use crate::connect::{NotConnected, trouble};
use crate::lookup::{Purpose, look_up};
use crate::{Failure, Report, Stop, Stopped, Target};

/// The port that is meant when none was typed, as in the guide.
pub(crate) const PORT: u16 = 65_432;

/// How long one address has to take a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How often a Unix server whose queue is full is asked again: nothing says when it is not any more.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(20);

/// Lets this process open as many connections as its administrator allows: shells begin with far fewer.
pub(crate) fn may_open_many() {
    let limit = getrlimit(Resource::Nofile);
    // What stays as it was is named when it is met: too many open files.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The addresses behind a place in the network, in the resolver's order; at least one. `None`: somebody said stop.
pub(crate) fn addresses(
    host: &str,
    port: Option<u16>,
    purpose: Purpose,
    stop: &Stop,
) -> Result<Option<Vec<SocketAddr>>, Failure> {
    let Some(found) = look_up(host, port.unwrap_or(PORT), purpose, stop)? else { return Ok(None) };
    match found.addresses.is_empty() {
        true => Err(Failure::Usage(format!("'{host}' has no address; give one, such as 127.0.0.1"))),
        false => Ok(Some(found.addresses)),
    }
}

/// How a listening socket shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    pub(crate) kind: Type,
    /// Connections that the kernel keeps until they are accepted.
    pub(crate) backlog: u32,
    /// `SO_RCVBUF` of what it accepts.
    pub(crate) receive_buffer: Option<usize>,
}

/// What listens. Its file, if it has one, goes with it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) socket: Socket,
    /// As a client types it: `127.0.0.1:65432`, `unix:/run/echo.sock`.
    pub(crate) address: String,
    /// Connections that may wait: as many as were asked for, or as the system allows.
    pub(crate) backlog: u32,
    file: Option<(PathBuf, FileId)>,
}

/// Device and inode: a file of the same name that somebody else made since is not ours.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some((path, id)) = &self.file
            && file_id(path) == Some(*id)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Door {
    /// Listens for connections, or, with `Type::DGRAM`, takes datagrams. `None`: somebody said stop.
    pub(crate) fn open(
        at: &Target,
        how: Listen,
        report: &Report,
        stop: &Stop,
    ) -> Result<Option<Door>, Failure> {
        let cannot = |error: &io::Error, place: At| {
            Failure::at(format!("cannot listen at {at}"), error, Doing::Bind, place)
        };
        let door = match at {
            Target::Unix(path) => Door::unix(path, how).map_err(|error| cannot(&error, At::Unix))?,
            Target::Net { host, port } if host.is_empty() => {
                let every: SocketAddr = (Ipv6Addr::UNSPECIFIED, port.unwrap_or(PORT)).into();
                Door::net(every, how)
                    .or_else(|error| match lacks_family(&error) {
                        // A machine without IPv6 still has every interface of the other kind.
                        true => Door::net((Ipv4Addr::UNSPECIFIED, every.port()).into(), how),
                        false => Err(error),
                    })
                    .map_err(|error| cannot(&error, At::Net(every)))?
            }
            Target::Net { host, port } => {
                let Some(found) = addresses(host, *port, Purpose::Listen, stop)? else { return Ok(None) };
                let first = found[0];
                if let Some(other) = found.get(1) {
                    report
                        .explain(|| format!("{host} is also {other}; the server listens at {first} only"))?;
                }
                Door::net(first, how).map_err(|error| cannot(&error, At::Net(first)))?
            }
        };
        report.explain(|| match (how.kind, at) {
            (Type::DGRAM, _) => {
                format!("socket, bind: datagrams to {} are ours; nobody connects", door.address)
            }
            (_, Target::Unix(_)) => format!(
                "socket, bind (it makes the file), listen: the kernel makes connections to {} by itself from here on; \
                 {} until they are accepted",
                door.address,
                door.may_wait(how)
            ),
            _ => format!(
                "socket, SO_REUSEADDR (no TIME_WAIT of an earlier run keeps us out), bind, listen: the kernel makes \
                 connections to {} by itself from here on; {} until they are accepted",
                door.address,
                door.may_wait(how)
            ),
        })?;
        Ok(Some(door))
    }

    fn may_wait(&self, how: Listen) -> String {
        match self.backlog < how.backlog {
            true => {
                format!("up to {} wait (net.core.somaxconn; {} was asked for)", self.backlog, how.backlog)
            }
            false => format!("up to {} wait", self.backlog),
        }
    }

    fn net(address: SocketAddr, how: Listen) -> io::Result<Door> {
        let socket = Socket::new(Domain::for_address(address), how.kind.nonblocking(), None)?;
        if address.is_ipv6() {
            // Every interface is those of both kinds.
            socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
        }
        if how.kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        if let Some(bytes) = how.receive_buffer {
            // Before listen: what it accepts inherits it, and the window's scale is chosen by it.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&address.into())?;
        if how.kind == Type::STREAM {
            socket.listen(i32::try_from(how.backlog).unwrap_or(i32::MAX))?;
        }
        let address = Who::of(&socket.local_addr()?).to_string();
        Ok(Door { socket, address, backlog: allowed(how.backlog), file: None })
    }

    /// A socket file that nobody answers on any more is replaced; no other file is.
    fn unix(path: &Path, how: Listen) -> io::Result<Door> {
        let address = SockAddr::unix(path)?;
        if let Ok(about) = std::fs::symlink_metadata(path) {
            if !about.file_type().is_socket() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if !is_abandoned(&address)? {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&address)?;
        let file = file_id(path).map(|id| (path.to_owned(), id));
        let address = format!("unix:{}", path.display());
        let door = Door { socket, address, backlog: allowed(how.backlog), file };
        door.socket.listen(i32::try_from(how.backlog).unwrap_or(i32::MAX))?;
        Ok(door)
    }

    /// Where it is in the network.
    pub(crate) fn net_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Can programs of other machines reach it?
    pub(crate) fn is_beyond_this_machine(&self) -> bool {
        self.net_address().is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }

    /// Does who connects there come in here? The first address that does, as it is said.
    pub(crate) fn is_reached_by(&self, to: &Target, stop: &Stop) -> Option<String> {
        match (to, &self.file) {
            (Target::Unix(path), Some((_, own))) => {
                let there = std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
                (there == Some(*own)).then(|| to.to_string())
            }
            (Target::Net { .. }, None) => {
                let own = self.net_address()?;
                // What cannot be looked up now is told when a client comes.
                let found = Address::of_all(to, stop).ok().flatten()?;
                let leads_here = |there: &Address| {
                    there.address.as_socket().is_some_and(|there| leads_to(canonical(there), canonical(own)))
                };
                found.into_iter().find(leads_here).map(|there| there.said)
            }
            _ => None,
        }
    }

    /// The next one that waits.
    pub(crate) fn accept(&self) -> io::Result<Accepted> {
        loop {
            match self.socket.accept() {
                Ok((socket, address)) => {
                    let who = Who::behind(&socket, &address);
                    return Ok(Accepted::Connection(socket, who));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Nobody),
                Err(error) if has_gone(&error) => {}
                Err(error) if is_full(&error) => return Ok(Accepted::Full(error)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Of a queue that was asked for, as much as the kernel keeps.
fn allowed(backlog: u32) -> u32 {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    most.and_then(|most| most.trim().parse().ok()).map_or(backlog, |most: u32| backlog.min(most))
}

/// Does a connection to `there` reach a listener at `own`?
fn leads_to(there: SocketAddr, own: SocketAddr) -> bool {
    let (to, at) = (there.ip(), own.ip());
    if there.port() != own.port() {
        return false;
    }
    // To whoever connects, no address is loopback.
    let to = match to {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match at.is_unspecified() {
        // Every interface: of both families where it is IPv6's. An address can be bound where it is this machine's.
        true => (at.is_ipv6() || to.is_ipv4()) && std::net::UdpSocket::bind((to, 0)).is_ok(),
        false => to == at,
    }
}

/// IPv4 through a socket of IPv6 is IPv4; an address of IPv6 keeps its scope.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What came of accepting.
pub(crate) enum Accepted {
    Connection(Socket, Who),
    /// Nobody waits.
    Nobody,
    /// The system has no file, or memory, for another one now.
    Full(io::Error),
}

/// Gave up while it waited, or its network did: accept(2) hands over the errors of connections too.
fn has_gone(error: &io::Error) -> bool {
    let theirs = [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
        Errno::TIMEDOUT,
    ];
    theirs.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn is_full(error: &io::Error) -> bool {
    let full = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    full.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn lacks_family(error: &io::Error) -> bool {
    let lacking = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    lacking.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Does nobody listen at this file any more? Only a refusal says so: a full queue or a socket of another kind is
/// somebody's. Asked without waiting, for a full queue would keep us.
fn is_abandoned(address: &SockAddr) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    Ok(socket.connect(address).is_err_and(refused))
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Net(SocketAddr),
    /// A process of this machine.
    Process(i32),
    Unnamed,
}

impl Who {
    pub(crate) fn of(address: &SockAddr) -> Who {
        address.as_socket().map_or(Who::Unnamed, Who::Net)
    }

    /// Whose connection this is: it came from this address.
    pub(crate) fn behind(socket: &Socket, from: &SockAddr) -> Who {
        match Who::of(from) {
            Who::Net(address) => Who::Net(address),
            // 0 is a process that cannot be seen from here (another namespace).
            _ => match getsockopt(socket, PeerCredentials) {
                Ok(them) if them.pid() > 0 => Who::Process(them.pid()),
                Ok(_) | Err(_) => Who::Unnamed,
            },
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Net(address) => f.pad(&shown(canonical(*address))),
            Who::Process(pid) => write!(f, "process {pid}"),
            Who::Unnamed => f.write_str("somebody"),
        }
    }
}

/// A place to connect to that has been found: connecting there may begin any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) address: SockAddr,
    /// As it is said.
    pub(crate) said: String,
}

impl Address {
    /// Of a socket that listens.
    pub(crate) fn of(door: &Door) -> io::Result<Address> {
        Ok(Address { address: door.socket.local_addr()?, said: door.address.clone() })
    }

    /// All that a place stands for, in the resolver's order; at least one. `None`: somebody said stop.
    pub(crate) fn of_all(to: &Target, stop: &Stop) -> Result<Option<Vec<Address>>, Failure> {
        match to {
            Target::Unix(path) => {
                let address = SockAddr::unix(path).map_err(|error| {
                    Failure::of(format!("cannot connect to {to}"), &error, Doing::Connect)
                })?;
                Ok(Some(vec![Address { address, said: to.to_string() }]))
            }
            Target::Net { host, port } => {
                // To whoever connects it is this machine, by its name: so is the file of hosts asked.
                let host = if host.is_empty() { "localhost" } else { host };
                let found = addresses(host, *port, Purpose::Connect, stop)?;
                let named = |address: SocketAddr| Address { address: address.into(), said: shown(address) };
                Ok(found.map(|found| found.into_iter().map(named).collect()))
            }
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.address.is_unix()
    }

    /// A socket to connect there with.
    pub(crate) fn socket(&self) -> io::Result<Socket> {
        let net = self.address.as_socket();
        let protocol = net.map(|_| Protocol::TCP);
        let socket = Socket::new(self.address.domain(), Type::STREAM.nonblocking(), protocol)?;
        if net.is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }

    /// Begins to connect; the socket is writable when that is over, and `stands` says what came of it.
    pub(crate) fn begin(&self, socket: &Socket) -> io::Result<()> {
        match socket.connect(&self.address) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
            _ => Ok(()),
        }
    }

    /// Connects, for as long as that may take.
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
        stands(&socket)?;
        Ok(socket)
    }

    /// Names what went wrong while connecting there.
    pub(crate) fn failure(&self, error: &io::Error) -> Failure {
        let doing = format!("cannot connect to {}", self.said);
        match self.address.as_socket() {
            Some(address) => Failure::System { doing, trouble: trouble(address, error) },
            None => Failure::at(doing, error, Doing::Connect, At::Unix),
        }
    }
}

/// Does a connection that was begun stand? `NotConnected` inside the error: it is still being made.
pub(crate) fn stands(socket: &Socket) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = socket.peer_addr()?.as_socket();
    // Nobody listens, and the system happened to give us that very port: we would talk to ourselves.
    if peer.is_some() && socket.local_addr()?.as_socket() == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Connects to the first address of a place that takes it, with a socket that `prepare` has had in its hands. `None`:
/// somebody said stop. The time that is over is an error, with its cause.
pub(crate) fn connect(
    to: &Target,
    report: &Report,
    stop: &Stop,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<Option<(Address, Socket)>, Failure> {
    let Some(found) = Address::of_all(to, stop)? else { return Ok(None) };
    let mut refused = None;
    for address in found {
        report.explain(|| match address.is_unix() {
            true => format!("connect to {}: no handshake; the kernel puts us into its queue", address.said),
            false => {
                format!(
                    "connect to {}: SYN out, SYN+ACK back, ACK out; then both sides may write",
                    address.said
                )
            }
        })?;
        let prepared = address.socket().and_then(|socket| prepare(&socket).map(|()| socket));
        let connected = prepared.map_err(NotConnected::from).and_then(|socket| address.connect(socket, stop));
        match connected {
            Ok(socket) => return Ok(Some((address, socket))),
            Err(NotConnected::Stopped(Stopped::Asked)) => return Ok(None),
            Err(NotConnected::Stopped(Stopped::TimedOut)) => {
                return Err(address.failure(&io::ErrorKind::TimedOut.into()));
            }
            Err(NotConnected::Failed(error)) => drop(refused.get_or_insert(address.failure(&error))),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::Usage(format!("{to} has no address"))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STREAM: Listen = Listen { kind: Type::STREAM, backlog: 1, receive_buffer: None };

    #[test]
    fn only_a_file_that_nobody_listens_at_is_replaced() {
        let dir = std::env::temp_dir().join(format!("vang-place-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let open = || Door::unix(&path, STREAM);
        let first = open().unwrap();
        // Listened at, then with a full queue as well: asking must not wait for room.
        let waiting: Vec<Socket> = (0..3)
            .map(|_| {
                assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
                let _ = socket.connect(&SockAddr::unix(&path).unwrap());
                socket
            })
            .collect();
        drop((first, waiting));
        assert!(!path.exists(), "its file goes with it");
        // Left behind by a program that is gone.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = open().unwrap();
        // Replaced behind our back: the file is another's now.
        std::fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        drop(second);
        assert!(path.exists(), "not ours to remove");
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AddrInUse, "it takes datagrams");
        drop(other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "text").unwrap();
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AlreadyExists, "no socket at all");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_would_come_in_again_is_known() {
        for (listens, reached, not) in [
            (
                "127.0.0.1:7",
                &["127.0.0.1:7", "0.0.0.0:7"][..],
                &["127.0.0.1:8", "127.0.0.2:7", "[::1]:7"][..],
            ),
            ("[::1]:7", &["[::1]:7", "[::]:7"], &["127.0.0.1:7", "[::1]:8"]),
            ("0.0.0.0:7", &["127.0.0.1:7", "127.0.0.2:7", "0.0.0.0:7"], &["[::1]:7", "192.0.2.1:7"]),
            (
                "[::]:7",
                &["127.0.0.1:7", "[::1]:7", "[::]:7", "0.0.0.0:7"],
                &["192.0.2.1:7", "[2001:db8::1]:7"],
            ),
        ] {
            let own = listens.parse().unwrap();
            let leads = |to: &&&str| leads_to(to.parse().unwrap(), own);
            assert_eq!(reached.iter().filter(leads).count(), reached.len(), "{listens}");
            assert_eq!(not.iter().filter(leads).count(), 0, "{listens}");
        }
    }

    #[test]
    fn the_kernel_keeps_no_more_than_it_allows() {
        let door = |backlog| {
            let how = Listen { backlog, ..STREAM };
            Door::net(SocketAddr::from(([127, 0, 0, 1], 0)), how).unwrap()
        };
        let huge = door(u32::MAX);
        let kept = crate::diag::Diag::open()
            .all(crate::diag::Protocol::Tcp)
            .unwrap()
            .into_iter()
            .find(|socket| socket.local == crate::diag::Address::Net(huge.net_address().unwrap()));
        // Without sock_diag the kernel does not tell.
        if let Some(kept) = kept.unwrap().send_q {
            assert_eq!(kept, huge.backlog);
        }
        assert!(huge.backlog < u32::MAX && door(1).backlog == 1);
    }

    #[test]
    fn a_connection_to_oneself_is_nobody_there() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        assert_eq!(stands(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
