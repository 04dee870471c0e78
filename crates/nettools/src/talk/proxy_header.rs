//! The PROXY protocol's header, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): a proxy sends it in front of a
//! connection and tells for whom it connects.

use std::net::{IpAddr, SocketAddr};

use super::options::ProxyVersion;

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// Version 2, command LOCAL: the connection is the proxy's own.
const LOCAL: u8 = 0x20;

/// The header for a connection from the first address to the second. `None`: they are not known, or not network
/// addresses. Addresses of two families become IPv6.
pub(super) fn header(version: ProxyVersion, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let ends = ends.map(|(from, to)| match (from.ip(), to.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (from, to),
        _ => (as_ipv6(from), as_ipv6(to)),
    });
    match (version, ends) {
        (ProxyVersion::One, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyVersion::One, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (source, target) = (from.ip(), to.ip());
            format!("PROXY {family} {source} {target} {} {}\r\n", from.port(), to.port()).into_bytes()
        }
        (ProxyVersion::Two, None) => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
        (ProxyVersion::Two, Some((from, to))) => {
            let mut addresses = Vec::new();
            for ip in [from.ip(), to.ip()] {
                match ip {
                    IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
                }
            }
            for port in [from.port(), to.port()] {
                addresses.extend_from_slice(&port.to_be_bytes());
            }
            let family = if from.is_ipv4() { 0x11 } else { 0x21 };
            let length = (addresses.len() as u16).to_be_bytes();
            [&SIGNATURE[..], &[PROXY, family], &length, &addresses].concat()
        }
    }
}

fn as_ipv6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use vang_proto::kind::{Kind, detect};

    use super::*;

    fn ends(from: &str, to: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((from.parse().unwrap(), to.parse().unwrap()))
    }

    #[test]
    fn headers_are_as_the_specification_has_them() {
        let v4 = ends("203.0.113.9:56324", "192.0.2.1:443");
        let v6 = ends("[2001:db8::1]:1", "[::1]:2");
        let mixed = ends("203.0.113.9:1", "[::1]:2");
        for (ends, line) in [
            (v4, "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n"),
            (v6, "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
            (mixed, "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n"),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(String::from_utf8(header(ProxyVersion::One, ends)).unwrap(), line);
        }
        let two = header(ProxyVersion::Two, v4);
        assert_eq!(&two[12..], [0x21, 0x11, 0, 12, 203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb]);
        assert_eq!(header(ProxyVersion::Two, v6).len(), 16 + 36);
        assert_eq!(&header(ProxyVersion::Two, None)[12..], [0x20, 0, 0, 0]);
        // Servers recognise all of them.
        for version in [ProxyVersion::One, ProxyVersion::Two] {
            for ends in [v4, v6, mixed, None] {
                assert_eq!(detect(&header(version, ends)), Some(Kind::Proxy));
            }
        }
    }
}
