//! The name of a connection's other end, as records show it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{SockAddr, Socket};
use vang_client::address::shown;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerName {
    Net(SocketAddr),
    /// A process of this machine.
    Process(i32),
    Unnamed,
}

impl PeerName {
    pub(crate) fn of(address: &SockAddr) -> PeerName {
        address.as_socket().map_or(PeerName::Unnamed, PeerName::Net)
    }

    /// The peer of an accepted connection: its address, or for a Unix socket its process.
    pub(crate) fn behind(socket: &Socket, from: &SockAddr) -> PeerName {
        match PeerName::of(from) {
            PeerName::Net(address) => PeerName::Net(address),
            // 0: the process is in another PID namespace.
            _ => match getsockopt(socket, PeerCredentials) {
                Ok(them) if them.pid() > 0 => PeerName::Process(them.pid()),
                Ok(_) | Err(_) => PeerName::Unnamed,
            },
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerName::Net(address) => f.pad(&shown(canonical(*address))),
            PeerName::Process(pid) => write!(f, "process {pid}"),
            PeerName::Unnamed => f.write_str("unknown process"),
        }
    }
}

/// An IPv4-mapped IPv6 address becomes IPv4; other IPv6 addresses keep their scope.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
