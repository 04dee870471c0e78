//! A server's address: its text (read by `vang_proto::address`), and the socket addresses behind it.
//!
//! It reads no configuration and connects to nothing. A name is looked up on a separate thread, because the
//! system's resolver has no deadline.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use rustix::net::netdevice::index_to_name;
use socket2::{Domain, SockAddr, Socket, Type};
use vang_proto::address::{Address, Scheme, parse_url};

use crate::retry::Deadline;

pub use vang_proto::address::{AddressError, loose_ipv4};

/// The default port of a vang server, the tutorial's port.
pub const PORT: u16 = 65_432;

/// The default server: this machine's.
pub const DEFAULT_URL: &str = "vang://127.0.0.1:65432";

/// When a client uses TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// With other machines only.
    #[default]
    TlsIfRemote,
    /// Always: `vangs://`.
    Tls,
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddr {
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        port: u16,
        security: Security,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl ServerAddr {
    /// Reads a server's URL or address; without a port it gets `PORT`.
    pub fn parse(text: &str) -> Result<ServerAddr, AddressError> {
        let (scheme, address) = parse_url(text)?;
        Ok(match address {
            Address::Unix(path) => ServerAddr::Unix(path),
            Address::Net { host, port } => ServerAddr::Tcp {
                host,
                port: port.unwrap_or(PORT),
                security: match scheme {
                    Scheme::Vang => Security::TlsIfRemote,
                    Scheme::Vangs => Security::Tls,
                },
            },
        })
    }

    /// The addresses to try, in the order in which the system prefers them.
    pub fn resolve(&self, deadline: Deadline) -> io::Result<Vec<SockAddr>> {
        let (host, port) = match self {
            ServerAddr::Unix(path) => return Ok(vec![SockAddr::unix(path)?]),
            ServerAddr::Tcp { host, port, .. } => (host.clone(), *port),
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port).into()]);
        }
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            // After the deadline nobody receives it.
            let _ = sender.send(found);
        })?;
        let found = match deadline.left()? {
            Some(left) => {
                receiver.recv_timeout(left).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            }
            None => receiver.recv().map_err(io::Error::other)?,
        }?;
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found.into_iter().map(SockAddr::from).collect()),
        }
    }
}

impl Default for ServerAddr {
    fn default() -> ServerAddr {
        ServerAddr::Tcp { host: "127.0.0.1".to_owned(), port: PORT, security: Security::TlsIfRemote }
    }
}

impl FromStr for ServerAddr {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<ServerAddr, AddressError> {
        ServerAddr::parse(text)
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            ServerAddr::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            ServerAddr::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// An address as people type it: with the interface's name as the scope, as `ss` and `ip` print it.
pub fn shown(address: SocketAddr) -> String {
    let SocketAddr::V6(v6) = address else { return address.to_string() };
    match scoped(v6.ip(), v6.scope_id()) {
        Some(ip) => format!("[{ip}]:{}", v6.port()),
        None => address.to_string(),
    }
}

/// An address with its scope, without a port. `None`: it has no scope, or a scope without a name.
pub fn scoped(ip: &Ipv6Addr, scope: u32) -> Option<String> {
    let name = (scope != 0).then(|| {
        // The query needs a socket of any kind.
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
        index_to_name(&socket, scope).ok()
    });
    name.flatten().map(|name| format!("{ip}%{name}"))
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_server_address_has_the_default_port() {
        let tcp = |security| ServerAddr::Tcp { host: "chat.example".to_owned(), port: PORT, security };
        assert_eq!(ServerAddr::parse("chat.example"), Ok(tcp(Security::TlsIfRemote)));
        assert_eq!(ServerAddr::parse("vangs://chat.example"), Ok(tcp(Security::Tls)));
        assert_eq!(ServerAddr::parse(DEFAULT_URL), Ok(ServerAddr::default()));
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["chat.example:7", "[::1]:7", "127.0.0.1:65432", "unix:/run/x"] {
            assert_eq!(ServerAddr::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_scope_is_shown_by_the_name_of_its_interface() {
        // Loopback has the first number on every Linux.
        let mut address: SocketAddr = "[fe80::a]:7".parse().unwrap();
        assert_eq!(shown(address), "[fe80::a]:7");
        for (scope, said) in [(1, "[fe80::a%lo]:7"), (4_000_000, "[fe80::a%4000000]:7")] {
            let SocketAddr::V6(v6) = &mut address else { panic!() };
            v6.set_scope_id(scope);
            assert_eq!(shown(address), said);
        }
        assert_eq!(shown("127.0.0.1:7".parse().unwrap()), "127.0.0.1:7");
    }
}
