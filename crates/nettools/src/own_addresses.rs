//! This machine's addresses, and the one from which it reaches others.

use std::net::{IpAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// This machine's addresses that others may reach: address without scope, interface.
pub fn own_addresses() -> Vec<(IpAddr, String)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let up = all.filter(|one| one.flags.contains(InterfaceFlags::IFF_UP));
    let mut found = Vec::new();
    for one in up {
        let address = one.address.as_ref();
        let v4 = address.and_then(|address| address.as_sockaddr_in()).map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.and_then(|address| address.as_sockaddr_in6()).map(|v6| IpAddr::V6(v6.ip()));
        if let Some(ip) = v4.or(v6).filter(|ip| !ip.is_loopback()) {
            found.push((ip, one.interface_name));
        }
    }
    found
}

pub fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The address of the default route, which is most likely the one that other machines can reach. Nothing is sent: to
/// connect a UDP socket only chooses a route. The destinations are for documentation (RFC 5737, RFC 3849).
pub fn outward_address() -> Option<IpAddr> {
    let routed = |here: &str, there: &str| {
        let socket = UdpSocket::bind((here, 0)).ok()?;
        socket.connect((there, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified();
    let v4 = routed("0.0.0.0", "192.0.2.1").filter(usable);
    v4.or_else(|| routed("::", "2001:db8::1").filter(usable))
}
