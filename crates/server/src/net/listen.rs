//! Sockets in. An address is `HOST:PORT`, `[IPV6]:PORT`, `:PORT` for every interface, or `unix:PATH`;
//! a host name listens on each of its addresses. `SO_REUSEADDR` is set, so that connections in
//! TIME_WAIT do not keep a restarted server from its port. Behind the address can be options for proxies (`proxies.rs`).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};
use vang_proto::address::{Address, AddressError, Grammar};
use vang_proto::proxy::ClientAddress;

use crate::net::proxies::{Proxies, ProxiesError};
use crate::net::socket::Stream;

/// A listener as it was asked for: `ADDR`, or `ADDR,proxy=KIND[,tls][,from=NETWORK]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub addr: ListenAddr,
    /// Only they can connect. `None`: everybody can, without a proxy.
    pub proxies: Option<Arc<Proxies>>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A host, empty for every interface, and a port, 0 for any.
    Tcp { host: String, port: u16 },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// It cannot be listened there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The options behind the address.
    #[error(transparent)]
    Proxies(#[from] ProxiesError),
    /// The host's name has no address, or cannot be looked up.
    #[error("cannot listen on {addr}: {source}")]
    Resolve {
        addr: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The system said no.
    #[error("cannot listen on {addr}: {source}")]
    Io { addr: String, source: io::Error },
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(given: &str) -> Result<Listen, ListenError> {
        let at = given.match_indices(',').map(|(at, _)| at).find(|&at| {
            // A path can have commas, a host cannot.
            is_option(&given[at + 1..]) || !given.starts_with("unix:")
        });
        let (addr, options) = at.map_or((given, ""), |at| (&given[..at], &given[at + 1..]));
        let listen: ListenAddr = addr.parse()?;
        let proxies = match at {
            Some(_) => Proxies::read(addr, options.split(','))?,
            None => None,
        };
        match (&listen, &proxies) {
            (ListenAddr::Unix(_), Some(proxies)) if !proxies.from.is_empty() => {
                Err(ProxiesError::UnixFrom.into())
            }
            _ => Ok(Listen { addr: listen, proxies: proxies.map(Arc::new) }),
        }
    }
}

impl Listen {
    /// Separates several listeners, as in a variable. Options have commas in front, too: an address is what has a port or
    /// is a path.
    pub(crate) fn split(text: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let has_port = part.find(':').is_some_and(|at| !part[..at].contains('='));
            match all.last_mut() {
                Some(last) if !has_port => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => all.push(part.to_owned()),
            }
        }
        all
    }
}

/// Does an option begin here?
fn is_option(text: &str) -> bool {
    let word = text.split(',').next().unwrap_or_default().trim();
    word == "tls" || word.starts_with("proxy=") || word.starts_with("from=")
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self {
            ListenAddr::Tcp { host, port } => Address::Net { host: host.clone(), port: Some(*port) },
            ListenAddr::Unix(path) => Address::Unix(path.clone()),
        };
        address.fmt(f)
    }
}

impl FromStr for ListenAddr {
    type Err = ListenError;

    fn from_str(given: &str) -> Result<ListenAddr, ListenError> {
        Ok(match Address::parse(given, &Grammar::LISTEN)? {
            // The grammar needs a port.
            Address::Net { host, port } => ListenAddr::Tcp { host, port: port.unwrap_or(0) },
            Address::Unix(path) => ListenAddr::Unix(path),
        })
    }
}

/// An open listener.
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(_, addr) => addr.fmt(f),
            Listener::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerAddr {
    Unix,
    Address(SocketAddr),
    /// Through a proxy, which says for whom. `None`: it does not know.
    Proxied(Option<ClientAddress>),
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Unix => f.write_str("unix"),
            PeerAddr::Address(addr) => addr.fmt(f),
            PeerAddr::Proxied(Some(client)) => client.fmt(f),
            PeerAddr::Proxied(None) => f.write_str("unknown (through a proxy)"),
        }
    }
}

impl PeerAddr {
    /// This machine itself? Never through a proxy, whatever address it names.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            PeerAddr::Unix => true,
            PeerAddr::Address(addr) => addr.ip().to_canonical().is_loopback(),
            PeerAddr::Proxied(_) => false,
        }
    }

    /// The IP address. `None`: it has none, or it is not known.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddr::Unix | PeerAddr::Proxied(None) => None,
            PeerAddr::Address(addr) => Some(addr.ip().to_canonical()),
            PeerAddr::Proxied(Some(client)) => Some(client.ip),
        }
    }

    /// What rates per address count: an IPv4 address, or the /64 that one IPv6 host has to itself. Who comes by a Unix
    /// socket shares one, and so does who comes through a proxy that does not know its client.
    pub(crate) fn host(&self) -> IpAddr {
        match (self.ip(), self) {
            (Some(IpAddr::V4(ip)), _) => IpAddr::V4(ip),
            (Some(IpAddr::V6(ip)), _) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
            (None, PeerAddr::Proxied(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            (None, _) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// What limits of connections per address count. `None`: a program of this machine.
    pub(crate) fn counted(&self) -> Option<IpAddr> {
        (!self.is_local()).then(|| self.host())
    }
}

impl ListenAddr {
    /// Opens the listeners of this address: one for each address that a name has.
    pub(crate) fn open(&self, backlog: u32) -> Result<Vec<Listener>, ListenError> {
        match self {
            ListenAddr::Unix(path) => {
                let io = |source| ListenError::Io { addr: format!("unix:{}", path.display()), source };
                Ok(vec![open_unix(path, backlog, None).map_err(io)?])
            }
            ListenAddr::Tcp { host, port } if host.is_empty() => {
                let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                // A machine without IPv6 still has every interface of the other kind.
                let opened = open_tcp(both, backlog)
                    .or_else(|_| open_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)), backlog));
                let io = |source| ListenError::Io { addr: format!(":{port}"), source };
                Ok(vec![opened.map_err(io)?])
            }
            ListenAddr::Tcp { host, port } => {
                let brackets = host.contains(':');
                let name = if brackets { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                let io = |source| ListenError::Io { addr: name.clone(), source };
                let resolve = |source| ListenError::Resolve { addr: name.clone(), source };
                let addrs: Vec<SocketAddr> =
                    (host.as_str(), *port).to_socket_addrs().map_err(resolve)?.collect();
                addrs.into_iter().map(|addr| open_tcp(addr, backlog).map_err(io)).collect()
            }
        }
    }
}

fn open_tcp(addr: SocketAddr, backlog: u32) -> io::Result<Listener> {
    let socket =
        socket2::Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(backlog.min(i32::MAX as u32) as i32)?;
    let listener = TcpListener::from_std(socket.into())?;
    let addr = listener.local_addr()?;
    Ok(Listener::Tcp(listener, addr))
}

/// Opens a Unix socket; one that nobody answers on any more is replaced.
pub(crate) fn open_unix(path: &Path, backlog: u32, mode: Option<u32>) -> io::Result<Listener> {
    if let Ok(about) = std::fs::symlink_metadata(path) {
        if !about.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of that name that is no socket",
            ));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog.min(i32::MAX as u32) as i32)?;
    Ok(Listener::Unix(UnixListener::from_std(socket.into())?, path.to_owned()))
}

impl Listener {
    /// May others than this machine's own programs reach it?
    pub(crate) fn is_beyond_this_machine(&self) -> bool {
        matches!(self, Listener::Tcp(_, addr) if !addr.ip().to_canonical().is_loopback())
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, PeerAddr)> {
        match self {
            Listener::Tcp(listener, _) => {
                let (stream, addr) = listener.accept().await?;
                Ok((Stream::Tcp(stream), PeerAddr::Address(addr)))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), PeerAddr::Unix))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_explained() {
        let tcp = |host: &str, port| Ok(ListenAddr::Tcp { host: host.to_owned(), port });
        let parse = |given: &str| given.parse::<ListenAddr>().map_err(|error| error.to_string());
        assert_eq!(parse("127.0.0.1:65432"), tcp("127.0.0.1", 65_432));
        assert_eq!(parse(":0"), tcp("", 0));
        assert_eq!(parse("[::1]:7"), tcp("::1", 7));
        assert_eq!(parse("unix:/tmp/x"), Ok(ListenAddr::Unix("/tmp/x".into())));
        for (given, why) in [
            ("localhost", "no port in 'localhost'"),
            ("::1:x", "before a port it needs brackets, as in [::1]:65432"),
            ("x:65536", "port 65536 is out of range; ports are 1 to 65535; a server can also have 0"),
            ("x:http", "port 'http' is not a number"),
            ("unix:", "no path in 'unix:'"),
            ("010.0.0.1:7", "write 8.0.0.1 if you mean that"),
        ] {
            assert!(parse(given).unwrap_err().contains(why), "{given}");
        }
    }

    #[test]
    fn options_for_proxies_follow_an_address() {
        let parse = |given: &str| given.parse::<Listen>().map_err(|error| error.to_string());
        let shown = |given: &str| {
            let Listen { addr, proxies } = parse(given).unwrap();
            format!("{addr} {}", proxies.map(|proxies| proxies.to_string()).unwrap_or_default())
        };
        for (given, expected) in [
            ("127.0.0.1:7", "127.0.0.1:7 "),
            (":0,proxy=proxy", ":0 proxy=proxy"),
            ("[::1]:7, proxy=forwarded, tls", "[::1]:7 proxy=forwarded,tls"),
            (":7,proxy=proxy,from=2001:db8::/32", ":7 proxy=proxy,from=2001:db8::/32"),
            ("unix:/run/x,y", "unix:/run/x,y "),
            ("unix:/run/x,y,proxy=proxy,tls", "unix:/run/x,y proxy=proxy,tls"),
        ] {
            assert_eq!(shown(given), expected, "{given}");
        }
        for (given, why) in [
            ("localhost,proxy=proxy", "no port in 'localhost'"),
            (":7,", "unknown option '' behind ':7'; options are proxy=KIND, tls and from=NETWORK"),
            (":7,proxy=proxy,", "unknown option ''"),
            ("unix:/run/x,proxy=proxy,y", "unknown option 'y' behind 'unix:/run/x'"),
            ("unix:/run/x,proxy=proxy,from=10.0.0.7", "from=NETWORK cannot be used with unix:PATH"),
        ] {
            assert!(parse(given).unwrap_err().contains(why), "{given}: {:?}", parse(given));
        }
    }

    #[test]
    fn several_listeners_with_options_fit_into_one_variable() {
        for (text, expected) in [
            ("127.0.0.1:1, :2", &["127.0.0.1:1", ":2"][..]),
            (":1,proxy=proxy,tls,from=10.0.0.7,:2", &[":1,proxy=proxy,tls,from=10.0.0.7", ":2"]),
            (":1,from=2001:db8::/32,proxy=proxy,[::1]:2", &[":1,from=2001:db8::/32,proxy=proxy", "[::1]:2"]),
            ("unix:/run/x, proxy=forwarded,unix:/run/y=z", &["unix:/run/x,proxy=forwarded", "unix:/run/y=z"]),
            // Wrong, and named as such when they are read.
            (":1,localhost", &[":1,localhost"]),
            ("tls,:1", &["tls", ":1"]),
        ] {
            assert_eq!(Listen::split(text), expected, "{text}");
        }
    }

    #[test]
    fn who_comes_through_a_proxy_is_never_this_machine() {
        let proxied = |address: &str| PeerAddr::Proxied(ClientAddress::read(address));
        for address in ["127.0.0.1", "127.0.0.1:5", "[::1]:5", "::ffff:127.0.0.1", "unknown"] {
            assert!(!proxied(address).is_local() && proxied(address).counted().is_some(), "{address}");
        }
        assert_eq!(proxied("203.0.113.9:5").counted(), proxied("203.0.113.9").counted());
        assert_ne!(proxied("unknown").counted(), Some(PeerAddr::Unix.host()));
    }

    #[test]
    fn one_host_of_ipv6_counts_as_one_address() {
        let from = |addr: &str| PeerAddr::Address(addr.parse().unwrap()).counted();
        assert_eq!(from("[2001:db8::1]:5"), from("[2001:db8::ffff]:6"));
        assert_ne!(from("[2001:db8::1]:5"), from("[2001:db8:0:1::1]:5"));
        assert_eq!(from("[::ffff:10.0.0.1]:5"), from("10.0.0.1:9"));
        assert_eq!(from("127.0.0.1:5"), None);
    }
}
