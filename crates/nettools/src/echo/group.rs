//! Broadcast and multicast: addresses that stand for several hosts. What a socket needs before it can send to them, or is
//! given what others send to them; and the errors when that is missing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use rustix::io::Errno;
use socket2::{InterfaceIndexOrAddress, Socket};
use vang_client::trouble::{At, Doing, Trouble};

use crate::ToolError;
use crate::error::explain_at;

/// A network interface of this machine.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    index: u32,
    /// IPv4 sends to a group through the interface with this address.
    v4: Option<Ipv4Addr>,
}

impl Interface {
    /// The interface with this name, or the one that has this address.
    pub(super) fn find(named: &str) -> Result<Interface, ToolError> {
        let all: Vec<_> = getifaddrs().map_err(|error| cannot(named, &error.into()))?.collect();
        let ip_of = |address: &nix::ifaddrs::InterfaceAddress| {
            let storage = address.address.as_ref()?;
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        let asked = named.parse::<IpAddr>().ok();
        let is_asked = |address: &&nix::ifaddrs::InterfaceAddress| match asked {
            Some(ip) => ip_of(address) == Some(ip),
            None => address.interface_name == named,
        };
        let Some(found) = all.iter().find(is_asked) else {
            let mut names: Vec<&str> = all.iter().map(|address| address.interface_name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(ToolError::Usage(format!(
                "no interface '{named}'; this machine has {}",
                names.join(", ")
            )));
        };
        let name = found.interface_name.clone();
        let v4 = match asked {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => {
                all.iter().filter(|address| address.interface_name == name).find_map(|address| {
                    match ip_of(address) {
                        Some(IpAddr::V4(ip)) => Some(ip),
                        Some(IpAddr::V6(_)) | None => None,
                    }
                })
            }
        };
        let index = if_nametoindex(name.as_str()).map_err(|error| cannot(named, &error.into()))?;
        Ok(Interface { name, index, v4 })
    }
}

fn cannot(named: &str, error: &io::Error) -> ToolError {
    ToolError::of(format!("cannot use the interface '{named}'"), error, Doing::Bind)
}

/// Does this address stand for several hosts, as far as it shows that itself? The broadcast address of a network, as
/// 192.0.2.255, does not.
pub(super) fn is_for_several(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Joins a multicast group: from now on the kernel delivers its datagrams to this socket.
pub(super) fn join(socket: &Socket, group: IpAddr, interface: Option<&Interface>) -> Result<(), ToolError> {
    let index = interface.map_or(0, |interface| interface.index);
    let joined = match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
    };
    // Without this a socket is also given the groups that other programs of this machine have joined.
    let _ = match group {
        IpAddr::V4(_) => socket.set_multicast_all_v4(false),
        IpAddr::V6(_) => socket.set_multicast_all_v6(false),
    };
    joined.map_err(|error| ToolError::System {
        doing: format!("cannot join the group {group}"),
        trouble: explain(&error, SocketAddr::new(group, 0), interface, Doing::Bind),
    })
}

/// What a sender chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupOptions {
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// Hops of a multicast datagram; the default of the kernel is 1: it passes no router.
    pub ttl: Option<u8>,
}

/// Prepares a socket to send to a group.
pub(super) fn prepare(
    socket: &Socket,
    to: SocketAddr,
    options: GroupOptions,
    interface: Option<&Interface>,
) -> io::Result<()> {
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    match to.ip() {
        IpAddr::V4(ip) if ip.is_multicast() => {
            if let Some(ttl) = options.ttl {
                socket.set_multicast_ttl_v4(ttl.into())?;
            }
            if let Some(interface) = interface {
                let v4 = interface.v4.ok_or_else(|| {
                    io::Error::other(format!("the interface '{}' has no IPv4 address", interface.name))
                })?;
                socket.set_multicast_if_v4(&v4)?;
            }
        }
        IpAddr::V6(ip) if ip.is_multicast() => {
            if let Some(ttl) = options.ttl {
                socket.set_multicast_hops_v6(ttl.into())?;
            }
            if let Some(interface) = interface {
                socket.set_multicast_if_v6(interface.index)?;
            }
        }
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(())
}

/// Explains an error of sending to a group or joining one.
pub(super) fn explain(
    error: &io::Error,
    at: SocketAddr,
    interface: Option<&Interface>,
    doing: Doing,
) -> Trouble {
    let named = explain_at(error, doing, At::Net(at));
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let (likely, advice) = match () {
        () if at.ip().is_multicast() && is(Errno::NETUNREACH) && interface.is_some() => (
            "no route leads to this group through that interface",
            "choose another interface; `ip -6 route show table all type multicast` lists those with a route for groups",
        ),
        () if is(Errno::ACCESS) && !at.ip().is_multicast() => (
            match at.ip() {
                IpAddr::V4(v4) if v4.is_broadcast() => {
                    "the kernel lets a socket send to a broadcast address only after SO_BROADCAST (EACCES)"
                }
                // Only its route says whether it is one.
                IpAddr::V4(_) | IpAddr::V6(_) => named.likely,
            },
            "for a broadcast address add --broadcast, which sets SO_BROADCAST; `ip route get ADDRESS` says `broadcast`, or \
             shows what forbids it",
        ),
        () if at.ip().is_multicast()
            && (is(Errno::NETUNREACH) || is(Errno::NODEV) || is(Errno::ADDRNOTAVAIL)) =>
        {
            (
                "no route says through which interface this group is reached",
                "name an interface with --interface, as eth0; `ip link` lists them",
            )
        }
        () if is(Errno::NETUNREACH) => (
            "no route says on which network a broadcast to 255.255.255.255 goes out",
            "use the broadcast address of one network, which `ip -4 address` shows after `brd`",
        ),
        () => return named,
    };
    Trouble { likely, advice, ..named }
}
