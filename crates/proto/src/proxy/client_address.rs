//! A client's address as a proxy names it: HTTP headers mostly leave the port out.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address of a client behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    /// An IPv4 address is never in its form of IPv6 (`::ffff:192.0.2.1`).
    pub ip: IpAddr,
    pub port: Option<u16>,
}

impl ClientAddress {
    /// Reads `IPV4`, `IPV4:PORT`, `[IPV6]`, `[IPV6]:PORT` or `IPV6`. `None`: it is none of them.
    pub fn read(text: &str) -> Option<ClientAddress> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(ClientAddress { ip: ip.to_canonical(), port: None });
        }
        let (ip, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, behind) = rest.split_once(']')?;
                let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
                (IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let (ip, port) = text.split_once(':')?;
                (IpAddr::V4(ip.parse().ok()?), Some(port))
            }
        };
        let port = match port {
            // RFC 7239, 6: a proxy can give a port another name, which begins with `_`.
            Some(name) if name.len() > 1 && name.starts_with('_') => None,
            Some(port) => Some(decimal(port)?),
            None => None,
        };
        Some(ClientAddress { ip: ip.to_canonical(), port })
    }
}

/// A port in digits.
fn decimal(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> ClientAddress {
        ClientAddress { ip: address.ip().to_canonical(), port: Some(address.port()) }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_none() {
        for (text, shown) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:56324", "203.0.113.9:56324"),
            ("203.0.113.9:0", "203.0.113.9:0"),
            ("203.0.113.9:_x", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:7", "203.0.113.9:7"),
        ] {
            assert_eq!(ClientAddress::read(text).map(|address| address.to_string()).as_deref(), Some(shown));
        }
        for text in [
            "",
            "localhost",
            "localhost:80",
            "203.0.113",
            "203.0.113.09",
            "203.0.113.9:",
            "203.0.113.9:65536",
            "203.0.113.9:+7",
            "203.0.113.9:_",
            "203.0.113.9:7:7",
            "[203.0.113.9]",
            "[2001:db8::1",
            "[2001:db8::1]7",
            "[2001:db8::1]:",
            "[fe80::1%eth0]",
            "2001:db8::1]",
            " 203.0.113.9",
        ] {
            assert_eq!(ClientAddress::read(text), None, "{text:?}");
        }
    }
}
