//! A socket that listens, for connections or, over UDP, for datagrams. Nothing here blocks. `SO_REUSEADDR` is set on TCP
//! listeners, so that connections in TIME_WAIT do not keep a restarted server from its port, unless a caller wants to show
//! just that.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use vang_client::address::shown;

use crate::destination::Destination;
use crate::in_use::{cannot_listen, cannot_listen_at_path};
use crate::lookup::{PORT, Purpose, addresses};
use crate::peer_name::{PeerName, canonical};
use crate::{Record, Report, Stop, Target, ToolError};

/// Options of a listening socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenOptions {
    pub(crate) kind: Type,
    /// Connections that the kernel keeps until they are accepted.
    pub(crate) backlog: u32,
    /// `SO_RCVBUF` of accepted connections.
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) sharing: Sharing,
}

/// Who else can listen on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Nobody,
    /// Other processes of this user, each with its share of the connections (`SO_REUSEPORT`).
    WithWorkers,
    /// The same; this socket only keeps the port for them and does not listen.
    OnlyKeepsPort,
}

/// A name stands for several addresses, and a socket is bound to one.
#[derive(Serialize)]
struct OneOfSeveral {
    host: String,
    bound: String,
    not_bound: Vec<String>,
}

impl Record for OneOfSeveral {
    const EVENT: &'static str = "one-of-several";
}

impl fmt::Display for OneOfSeveral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OneOfSeveral { host, bound, not_bound } = self;
        write!(
            f,
            "'{host}' stands for {} addresses: bound is {bound}, the resolver's first; not bound: {}. Give the address that you \
             mean, or an empty host for every interface",
            not_bound.len() + 1,
            not_bound.join(", ")
        )
    }
}

/// `SO_REUSEADDR` of a TCP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReuseAddress {
    /// Connections in TIME_WAIT do not block the port.
    Set,
    /// They do.
    Unset,
}

/// A listening socket. The file of a Unix socket is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    /// As a client types it: `127.0.0.1:65432`, `unix:/run/echo.sock`.
    pub(crate) address: String,
    /// The accept queue's length: the requested one, or the system's maximum.
    pub(crate) backlog: u32,
    file: Option<(PathBuf, FileId)>,
}

/// Device and inode: another program can have replaced the file under the same name, and that one is not ours.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, id)) = &self.file
            && file_id(path) == Some(*id)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Binds and listens; with `Type::DGRAM` only binds. `None`: stopped.
    pub(crate) fn open(
        at: &Target,
        options: ListenOptions,
        report: &Report,
        stop: &Stop,
    ) -> Result<Option<Listener>, ToolError> {
        Listener::open_with(at, options, ReuseAddress::Set, report, stop)
    }

    /// The same with this `SO_REUSEADDR`.
    pub(crate) fn open_with(
        at: &Target,
        options: ListenOptions,
        reuse: ReuseAddress,
        report: &Report,
        stop: &Stop,
    ) -> Result<Option<Listener>, ToolError> {
        let what = || format!("cannot listen on {at}");
        let cannot = |error: &io::Error, address: SocketAddr| {
            cannot_listen(what(), error, address, options.kind == Type::DGRAM)
        };
        let listener = match at {
            Target::Unix(path) => {
                Listener::unix(path, options).map_err(|error| cannot_listen_at_path(what(), &error, path))?
            }
            Target::Net { host, port } if host.is_empty() => {
                let every: SocketAddr = (Ipv6Addr::UNSPECIFIED, port.unwrap_or(PORT)).into();
                Listener::net(every, options, reuse)
                    .or_else(|error| match lacks_family(&error) {
                        // Without IPv6 on this machine: all interfaces by IPv4.
                        true => Listener::net((Ipv4Addr::UNSPECIFIED, every.port()).into(), options, reuse),
                        false => Err(error),
                    })
                    .map_err(|error| cannot(&error, every))?
            }
            Target::Net { host, port } => {
                let Some(found) = addresses(host, *port, Purpose::Listen, stop)? else { return Ok(None) };
                let first = found[0];
                let listener = Listener::net(first, options, reuse).map_err(|error| cannot(&error, first))?;
                if found.len() > 1 {
                    let not_bound = found[1..].iter().map(|other| without_any_port(shown(*other))).collect();
                    let bound = listener.address.clone();
                    report.record(&OneOfSeveral { host: host.clone(), bound, not_bound })?;
                }
                listener
            }
        };
        report.explain(|| match (options.kind, at) {
            _ if options.sharing == Sharing::OnlyKeepsPort => format!(
                "socket, bind, SO_REUSEPORT: keeps {} for the worker processes, which listen there with sockets of their own",
                listener.address
            ),
            (Type::DGRAM, _) => {
                format!("socket, bind: the kernel now delivers datagrams for {} to us; UDP has no connections", listener.address)
            }
            (_, Target::Unix(_)) => format!(
                "socket, bind (it creates the file), listen: from now on the kernel completes connections to {} by itself; \
                 {} until they are accepted",
                listener.address,
                listener.may_wait(options)
            ),
            _ if reuse == ReuseAddress::Unset => format!(
                "socket, bind, listen, without SO_REUSEADDR (TIME_WAIT of an earlier run blocks the port): from now on the \
                 kernel completes connections to {} by itself; {} until they are accepted",
                listener.address,
                listener.may_wait(options)
            ),
            _ => format!(
                "socket, SO_REUSEADDR (TIME_WAIT of an earlier run does not block the port), bind, listen: from now on the kernel \
                 completes connections to {} by itself; {} until they are accepted",
                listener.address,
                listener.may_wait(options)
            ),
        })?;
        Ok(Some(listener))
    }

    /// Binds and listens on a resolved address.
    pub(crate) fn at(address: SocketAddr, options: ListenOptions) -> Result<Listener, ToolError> {
        Listener::net(address, options, ReuseAddress::Set).map_err(|error| {
            let is_udp = options.kind == Type::DGRAM;
            cannot_listen(format!("cannot listen on {address}"), &error, address, is_udp)
        })
    }

    fn may_wait(&self, options: ListenOptions) -> String {
        match self.backlog < options.backlog {
            true => {
                format!("up to {} wait (net.core.somaxconn; requested: {})", self.backlog, options.backlog)
            }
            false => format!("up to {} wait", self.backlog),
        }
    }

    fn net(address: SocketAddr, options: ListenOptions, reuse: ReuseAddress) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), options.kind.nonblocking(), None)?;
        if address.is_ipv6() {
            // Every interface means both families.
            socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
        }
        if options.kind == Type::STREAM && reuse == ReuseAddress::Set {
            socket.set_reuse_address(true)?;
        }
        if let Some(bytes) = options.receive_buffer {
            // Before listen: accepted connections inherit it, and it decides the window scale.
            socket.set_recv_buffer_size(bytes)?;
        }
        if options.sharing == Sharing::WithWorkers {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        if options.sharing == Sharing::OnlyKeepsPort {
            // After bind: our workers can then share the port, while another server's port is found in use.
            socket.set_reuse_port(true)?;
        }
        if options.kind == Type::STREAM && options.sharing != Sharing::OnlyKeepsPort {
            socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        }
        let address = PeerName::of(&socket.local_addr()?).to_string();
        Ok(Listener { socket, address, backlog: allowed(options.backlog), file: None })
    }

    /// Replaces a socket file without a listener; any other file is an error.
    fn unix(path: &Path, options: ListenOptions) -> io::Result<Listener> {
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
        let listener = Listener { socket, address, backlog: allowed(options.backlog), file };
        listener.socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Ok(listener)
    }

    /// This listener as a destination: for a client in this process.
    pub(crate) fn destination(&self) -> io::Result<Destination> {
        Ok(Destination { address: self.socket.local_addr()?, name: self.address.clone() })
    }

    /// Its address and port; `None`: a Unix socket.
    pub(crate) fn net_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Can other machines reach it?
    pub(crate) fn is_beyond_this_machine(&self) -> bool {
        self.net_address().is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }

    /// The first address of `to` that leads to this listener.
    pub(crate) fn is_reached_by(&self, to: &Target, stop: &Stop) -> Option<String> {
        match (to, &self.file) {
            (Target::Unix(path), Some((_, own))) => {
                let there = std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
                (there == Some(*own)).then(|| to.to_string())
            }
            (Target::Net { .. }, None) => {
                let own = self.net_address()?;
                // A failed lookup is reported when a client connects.
                let found = Destination::resolve(to, stop).ok().flatten()?;
                let leads_here = |there: &Destination| {
                    there.address.as_socket().is_some_and(|there| leads_to(canonical(there), canonical(own)))
                };
                found.into_iter().find(leads_here).map(|there| there.name)
            }
            _ => None,
        }
    }

    /// Accepts the next connection of the queue.
    pub(crate) fn accept(&self) -> io::Result<Accepted> {
        loop {
            match self.socket.accept() {
                Ok((socket, address)) => {
                    let peer_name = PeerName::behind(&socket, &address);
                    return Ok(Accepted::Connection(socket, peer_name));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Nobody),
                Err(error) if has_gone(&error) => {}
                Err(error) if is_full(&error) => return Ok(Accepted::Full(error)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Port 0 is any free port, so an address that is not bound has none.
fn without_any_port(address: String) -> String {
    address.strip_suffix(":0").map_or_else(|| address.clone(), str::to_owned)
}

/// The kernel shortens a longer backlog to this.
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
    // A client that connects to the unspecified address reaches loopback.
    let to = match to {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match at.is_unspecified() {
        // Every interface: both families if the listener is IPv6. Only an address of this machine can be bound.
        true => (at.is_ipv6() || to.is_ipv4()) && std::net::UdpSocket::bind((to, 0)).is_ok(),
        false => to == at,
    }
}

/// The result of accepting.
pub(crate) enum Accepted {
    Connection(Socket, PeerName),
    /// The queue is empty.
    Nobody,
    /// No file descriptor or memory is left for another connection.
    Full(io::Error),
}

/// The waiting connection failed: accept(2) also returns pending network errors of the new connection.
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

/// Has this socket file no listener? Only a refused connection proves it; with a full queue or another socket type a
/// program still uses it. Non-blocking, because a full queue would block us.
fn is_abandoned(address: &SockAddr) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    Ok(socket.connect(address).is_err_and(refused))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STREAM: ListenOptions =
        ListenOptions { kind: Type::STREAM, backlog: 1, receive_buffer: None, sharing: Sharing::Nobody };

    #[test]
    fn only_a_socket_file_without_a_listener_is_replaced() {
        let dir = std::env::temp_dir().join(format!("vang-place-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let open = || Listener::unix(&path, STREAM);
        let first = open().unwrap();
        // With a listener, then with a full queue: the check must not block.
        let waiting: Vec<Socket> = (0..3)
            .map(|_| {
                assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
                let _ = socket.connect(&SockAddr::unix(&path).unwrap());
                socket
            })
            .collect();
        drop((first, waiting));
        assert!(!path.exists(), "the file is removed with its listener");
        // Left behind by a program that has ended.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = open().unwrap();
        // Replaced by another program meanwhile.
        std::fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        drop(second);
        assert!(path.exists(), "not ours to remove");
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AddrInUse, "a datagram socket");
        drop(other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "text").unwrap();
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::AlreadyExists, "not a socket");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_address_that_is_not_bound_is_shown_without_the_port_0() {
        for (address, text) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "[::1]"),
            ("[::1]:10", "[::1]:10"),
            ("127.0.0.1:7", "127.0.0.1:7"),
        ] {
            assert_eq!(without_any_port(address.to_owned()), text);
        }
    }

    #[test]
    fn addresses_that_lead_back_to_the_listener_are_known() {
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
    fn the_backlog_is_the_one_that_the_kernel_uses() {
        let listener = |backlog| {
            let options = ListenOptions { backlog, ..STREAM };
            Listener::net(SocketAddr::from(([127, 0, 0, 1], 0)), options, ReuseAddress::Set).unwrap()
        };
        let huge = listener(u32::MAX);
        let kept = crate::diag::Diag::open()
            .all(crate::diag::Protocol::Tcp)
            .unwrap()
            .into_iter()
            .find(|socket| socket.local == crate::diag::Address::Net(huge.net_address().unwrap()));
        // Unknown without sock_diag.
        if let Some(kept) = kept.unwrap().send_q {
            assert_eq!(kept, huge.backlog);
        }
        assert!(huge.backlog < u32::MAX && listener(1).backlog == 1);
    }
}
