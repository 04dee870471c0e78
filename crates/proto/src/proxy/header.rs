//! The PROXY protocol's header, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): a proxy sends it in front of a
//! connection and tells for whom it connects.
//!
//! ```text
//! 1   PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n      client, server, their ports; or PROXY UNKNOWN
//! 2   | signature: 12 bytes | 2: version, 1: command | family | length: u16 | addresses | extensions |
//! ```
//!
//! The header says nothing that could not be forged: believe it only from your own proxies. The extensions of version 2
//! (up to 64 KiB) are not needed to know the client, so `parse` does not wait for them and nobody has to keep them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 1 begins.
const LINE_BEGINS: &[u8] = b"PROXY ";

/// How version 2 begins: chosen so that protocols of lines fail on it.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end (2.1): two IPv6 addresses in full.
pub const LINE_BYTES_MAX: usize = 107;

/// The part of version 2 that every header has.
const FIXED_BYTES: usize = 16;

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// Version 2, command LOCAL: the connection is the proxy's own.
const LOCAL: u8 = 0x20;

/// Families of version 2 on a stream, and the bytes of their two addresses (2.2).
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const TCP4_BYTES: usize = 12;
const TCP6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection is for this client. `None`: the proxy does not know its address, or it came on a Unix socket.
    Client(Option<SocketAddr>),
    /// The connection is the proxy's own, as for a health check; only version 2 says so.
    Local,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// The bytes are not a header of the PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("no PROXY header came; it begins with 'PROXY ' (version 1) or with the signature of version 2")]
    Missing,
    #[error("a PROXY line has at most {LINE_BYTES_MAX} bytes, and this one has more")]
    LineTooLong,
    #[error("a PROXY line ends with CR LF, and this one with LF alone")]
    LineEnd,
    #[error("the PROXY line has {found:?} as {part}; {allowed}")]
    Line { part: &'static str, found: String, allowed: &'static str },
    #[error("the PROXY line has {found} words; PROXY TCP4 and PROXY TCP6 have 6: two addresses, two ports")]
    LineWords { found: usize },
    #[error("the PROXY header has version {found}; 1 and 2 are known")]
    Version { found: u8 },
    #[error("the PROXY header has command {found}; 0 (LOCAL) and 1 (PROXY) are known")]
    Command { found: u8 },
    #[error(
        "the PROXY header has address family {found:#04x}; 0x00 (unknown), 0x11 (TCP, IPv4), 0x21 (TCP, IPv6) and 0x31 \
         (Unix) are known"
    )]
    Family { found: u8 },
    #[error("the PROXY header has {found} bytes of addresses; its address family needs {needed}")]
    TooShort { found: usize, needed: usize },
}

/// Reads a header from the first bytes of a connection. `None`: more are needed, at most [`LINE_BYTES_MAX`] in all.
/// Otherwise what it says, and how many bytes it has. That can be more than there are here: version 2 can end with
/// extensions, which the caller skips.
///
/// # Errors
/// The bytes cannot become a header, whatever follows.
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    if begins(bytes, LINE_BEGINS) {
        return if bytes.len() < LINE_BEGINS.len() { Ok(None) } else { parse_line(bytes) };
    }
    if begins(bytes, SIGNATURE) {
        return if bytes.len() < FIXED_BYTES { parse_begun(bytes) } else { parse_binary(bytes) };
    }
    Err(ProxyHeaderError::Missing)
}

/// Do these bytes begin with that, as far as they go?
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn parse_line(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return if within.len() == LINE_BYTES_MAX { Err(ProxyHeaderError::LineTooLong) } else { Ok(None) };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(ProxyHeaderError::LineEnd)?;
    let line = String::from_utf8_lossy(&line[LINE_BEGINS.len()..]);
    let words: Vec<&str> = line.split(' ').collect();
    let wrong =
        |part, found: &str, allowed| ProxyHeaderError::Line { part, found: found.to_owned(), allowed };
    let client = match words[..] {
        // What follows the word is for readers only (2.1).
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), client, server, client_port, server_port] => {
            let ip = |part, text: &str| {
                let ip = match family {
                    "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
                    _ => text.parse::<Ipv6Addr>().map(IpAddr::V6),
                };
                let allowed =
                    if family == "TCP4" { "TCP4 has IPv4 addresses" } else { "TCP6 has IPv6 addresses" };
                ip.map_err(|_| wrong(part, text, allowed))
            };
            let port = |part, text: &str| {
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
                let is_shortest = text == "0" || !text.starts_with('0');
                let port = Some(text).filter(|_| is_number && is_shortest).and_then(|text| text.parse().ok());
                port.ok_or_else(|| wrong(part, text, "ports are 0 to 65535"))
            };
            let client = SocketAddr::new(ip("client address", client)?, port("client port", client_port)?);
            ip("server address", server)?;
            port("server port", server_port)?;
            Some(client)
        }
        ["TCP4" | "TCP6", ..] => return Err(ProxyHeaderError::LineWords { found: words.len() + 1 }),
        _ => return Err(wrong("protocol", words[0], "TCP4, TCP6 and UNKNOWN are known")),
    };
    Ok(Some((ProxyHeader::Client(client), end + 1)))
}

/// A fixed part that has not come whole: wrong as soon as its version or command is.
fn parse_begun(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    bytes.get(SIGNATURE.len()).map_or(Ok(()), |&first| version_and_command(first))?;
    Ok(None)
}

fn version_and_command(first: u8) -> Result<(), ProxyHeaderError> {
    match first {
        PROXY | LOCAL => Ok(()),
        _ if first >> 4 != 2 => Err(ProxyHeaderError::Version { found: first >> 4 }),
        _ => Err(ProxyHeaderError::Command { found: first & 0x0f }),
    }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let (fixed, rest) = bytes.split_at(FIXED_BYTES);
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    version_and_command(command)?;
    let end = FIXED_BYTES + length;
    if command == LOCAL {
        // What it says of addresses must be ignored (2.2).
        return Ok(Some((ProxyHeader::Local, end)));
    }
    let needed = match family {
        UNSPECIFIED => 0,
        TCP4 => TCP4_BYTES,
        TCP6 => TCP6_BYTES,
        UNIX_STREAM => UNIX_BYTES,
        found => return Err(ProxyHeaderError::Family { found }),
    };
    if length < needed {
        return Err(ProxyHeaderError::TooShort { found: length, needed });
    }
    let client = match family {
        TCP4 => rest.first_chunk().map(|addresses: &[u8; TCP4_BYTES]| {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }),
        TCP6 => rest.first_chunk().map(|addresses: &[u8; TCP6_BYTES]| {
            let (ip, behind) = addresses.split_first_chunk::<16>().expect("36 bytes are more than 16");
            Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes([behind[16], behind[17]])))
        }),
        _ => Some(None),
    };
    Ok(client.map(|client| (ProxyHeader::Client(client), end)))
}

/// The header for a connection from the first address to the second. `None`: they are not known, or not network
/// addresses. Addresses of two families become IPv6.
pub fn write(version: ProxyVersion, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
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
            let family = if from.is_ipv4() { TCP4 } else { TCP6 };
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
    use super::*;
    use crate::kind::{Kind, detect};

    fn ends(from: &str, to: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((from.parse().unwrap(), to.parse().unwrap()))
    }

    #[test]
    fn headers_are_written_as_the_specification_has_them() {
        let v4 = ends("203.0.113.9:56324", "192.0.2.1:443");
        let v6 = ends("[2001:db8::1]:1", "[::1]:2");
        let mixed = ends("203.0.113.9:1", "[::1]:2");
        for (ends, line) in [
            (v4, "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n"),
            (v6, "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
            (mixed, "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n"),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(String::from_utf8(write(ProxyVersion::One, ends)).unwrap(), line);
        }
        let two = write(ProxyVersion::Two, v4);
        assert_eq!(&two[12..], [0x21, 0x11, 0, 12, 203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb]);
        assert_eq!(write(ProxyVersion::Two, v6).len(), 16 + 36);
        assert_eq!(&write(ProxyVersion::Two, None)[12..], [0x20, 0, 0, 0]);
    }

    #[test]
    fn what_is_written_is_read_back_and_recognised() {
        for ends in [
            ends("203.0.113.9:56324", "192.0.2.1:443"),
            ends("[2001:db8::1]:1", "[::1]:2"),
            ends("203.0.113.9:0", "[::1]:2"),
            None,
        ] {
            for version in [ProxyVersion::One, ProxyVersion::Two] {
                let bytes = write(version, ends);
                let (header, len) = parse(&bytes).unwrap().unwrap();
                assert_eq!(len, bytes.len());
                match (header, ends) {
                    (ProxyHeader::Client(Some(client)), Some((from, _))) => {
                        assert_eq!((client.ip().to_canonical(), client.port()), (from.ip(), from.port()));
                    }
                    (ProxyHeader::Client(None), None) => assert_eq!(version, ProxyVersion::One),
                    (ProxyHeader::Local, None) => assert_eq!(version, ProxyVersion::Two),
                    other => panic!("{other:?}"),
                }
                assert_eq!(detect(&bytes), Some(Kind::Proxy));
            }
        }
    }
}
