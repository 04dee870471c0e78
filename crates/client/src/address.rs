//! Where a server is: what a person writes in, a `ServerAddr` out, and the socket addresses behind it.
//!
//! ```text
//! vang://HOST:PORT   HOST:PORT   HOST   [IPV6]:PORT   IPV6   unix:PATH   vang+unix:PATH
//! vangs://HOST:PORT  always by TLS; the others beyond this machine only
//! ```
//!
//! It reads no configuration and connects to nothing. A name is looked up on a thread of its own, because
//! the system's resolver knows no deadline.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use rustix::net::netdevice::index_to_name;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::patience::Deadline;

/// The port of a vang server, as in the guide.
pub const PORT: u16 = 65_432;

/// The server that is meant when nobody says which: this machine's.
pub const DEFAULT_URL: &str = "vang://127.0.0.1:65432";

/// When TLS is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Beyond this machine.
    #[default]
    Usual,
    /// Always: `vangs://`.
    Tls,
}

/// Where a server is, or shall listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddr {
    /// A host, by name or address, and a port.
    Tcp {
        /// Without brackets. Empty only in a place to listen at: every interface.
        host: String,
        /// 0 only in a place to listen at: any free one.
        port: u16,
        /// By TLS?
        security: Security,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// Not a place, with what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadServerAddr {
    /// Nothing written, or nothing before the port or after `unix:`.
    #[error("there is no {missing} in '{text}'; {ALLOWED}")]
    Missing {
        /// What is not there.
        missing: &'static str,
        /// As written.
        text: String,
    },
    /// `something://`.
    #[error("'{scheme}://' is not spoken here; {ALLOWED}")]
    Scheme {
        /// As written.
        scheme: String,
    },
    /// Not a number.
    #[error("port '{port}' is not a number; ports are {from} to 65535")]
    PortNotNumber {
        /// As written.
        port: String,
        /// The lowest that is allowed here.
        from: u16,
    },
    /// A number, but none that a port can have.
    #[error("port {port} is out of range; ports are {from} to 65535")]
    PortOutOfRange {
        /// As written.
        port: String,
        /// The lowest that is allowed here.
        from: u16,
    },
    /// A number where a host must stand.
    #[error("'{number}' is a number and no host; for a port write 127.0.0.1:{number}")]
    OnlyNumber {
        /// As written.
        number: String,
    },
    /// An IPv4 address as only some programs read it.
    #[error(
        "'{host}' is {means} to some programs, and to others another address or none; write {means}, if that is meant"
    )]
    LooseIpv4 {
        /// As written.
        host: String,
        /// As `inet_aton(3)` reads it.
        means: Ipv4Addr,
    },
    /// Several colons, but no IPv6 address, or brackets around something else.
    #[error("'{text}' is not an IPv6 address; with a port it stands in brackets, as in [::1]:65432")]
    NotIpv6 {
        /// As written.
        text: String,
    },
    /// A path, a user, a space.
    #[error("'{text}' has a '{found}' that no host has; {ALLOWED}")]
    Extra {
        /// The first of them.
        found: char,
        /// As written.
        text: String,
    },
}

const ALLOWED: &str = "write vang://HOST:PORT, vangs://HOST:PORT, HOST:PORT, HOST, [IPV6]:PORT or unix:PATH";

/// A place is written for connecting or for listening: the second allows more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Connecting,
    Listening,
}

impl ServerAddr {
    /// A server to connect to.
    pub fn parse(text: &str) -> Result<ServerAddr, BadServerAddr> {
        parse(text, For::Connecting)
    }

    /// Where to listen: an empty host is every interface, port 0 any free one.
    pub fn parse_listen(text: &str) -> Result<ServerAddr, BadServerAddr> {
        parse(text, For::Listening)
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
            // Nobody waits any more when the time is over.
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
        ServerAddr::Tcp { host: "127.0.0.1".to_owned(), port: PORT, security: Security::Usual }
    }
}

impl FromStr for ServerAddr {
    type Err = BadServerAddr;
    fn from_str(text: &str) -> Result<ServerAddr, BadServerAddr> {
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

fn parse(text: &str, purpose: For) -> Result<ServerAddr, BadServerAddr> {
    if let Some(path) = text.strip_prefix("vang+unix:").or_else(|| text.strip_prefix("unix:")) {
        // `unix:///run/x` is the URL of `/run/x`.
        let path = if path.starts_with("///") { &path[2..] } else { path };
        return match path.is_empty() {
            true => Err(BadServerAddr::Missing { missing: "path", text: text.to_owned() }),
            false => Ok(ServerAddr::Unix(path.into())),
        };
    }
    let security = if text.starts_with("vangs://") { Security::Tls } else { Security::Usual };
    let rest = match text.split_once("://") {
        Some(("vang" | "vangs", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some((scheme, _)) => return Err(BadServerAddr::Scheme { scheme: scheme.to_owned() }),
        None => text,
    };
    let wrong = |c: &char| c.is_whitespace() || c.is_control() || "/?#@\"'\\".contains(*c);
    if let Some(found) = rest.chars().find(wrong) {
        return Err(BadServerAddr::Extra { found, text: text.to_owned() });
    }
    let (host, port) = split(rest)?;
    // In a URL the sign before a scope is written so (RFC 6874).
    let is_url = text.len() > rest.len();
    let unescaped = host.split_once("%25").filter(|(ip, _)| is_url && is_ipv6(ip));
    let host = &*unescaped.map_or(Cow::from(host), |(ip, scope)| format!("{ip}%{scope}").into());
    if host.is_empty() && purpose == For::Connecting {
        return Err(BadServerAddr::Missing { missing: "host", text: text.to_owned() });
    }
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadServerAddr::OnlyNumber { number: host.to_owned() });
    }
    if let Some(means) = loose_ipv4(host) {
        return Err(BadServerAddr::LooseIpv4 { host: host.to_owned(), means });
    }
    let port = port.map_or(Ok(PORT), |port| parse_port(port, purpose))?;
    Ok(ServerAddr::Tcp { host: host.to_owned(), port, security })
}

fn split(rest: &str) -> Result<(&str, Option<&str>), BadServerAddr> {
    let not_ipv6 = || BadServerAddr::NotIpv6 { text: rest.to_owned() };
    if let Some(inner) = rest.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or_else(not_ipv6)?;
        if !is_ipv6(host) {
            return Err(not_ipv6());
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(not_ipv6()),
        };
    }
    match rest.matches(':').count() {
        0 => Ok((rest, None)),
        1 => Ok(rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))),
        _ if is_ipv6(rest) => Ok((rest, None)),
        _ => Err(not_ipv6()),
    }
}

/// What `inet_aton(3)`, and so the system's resolver, makes of an IPv4 address that is not written as four decimal
/// numbers: a part with a leading zero is octal, one with `0x` hexadecimal, and of fewer than four parts the last fills
/// the rest. Other programs read another address in it or refuse it (RFC 6943, 3.1.1). `None`: it is none of these.
pub fn loose_ipv4(host: &str) -> Option<Ipv4Addr> {
    if host.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    let number = |part: &str| -> Option<u32> {
        let (digits, radix) = match part.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&part[2..], 16),
            [b'0', _, ..] => (&part[1..], 8),
            _ => (part, 10),
        };
        let are_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        are_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 8 * (4 - first.len() as u32);
    if u64::from(*last) >= 1 << room {
        return None;
    }
    let begins = first.iter().fold(0_u64, |all, part| all << 8 | u64::from(*part));
    u32::try_from(begins << room | u64::from(*last)).ok().map(Ipv4Addr::from)
}

/// An address as people type it: the scope of a link-local one by its interface's name, as `ss` and `ip` have it.
pub fn shown(address: SocketAddr) -> String {
    let SocketAddr::V6(v6) = address else { return address.to_string() };
    match scoped(v6.ip(), v6.scope_id()) {
        Some(ip) => format!("[{ip}]:{}", v6.port()),
        None => address.to_string(),
    }
}

/// The same without a port. `None`: it has no scope, or one without a name.
pub fn scoped(ip: &Ipv6Addr, scope: u32) -> Option<String> {
    let name = (scope != 0).then(|| {
        // Any socket will do for asking.
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
        index_to_name(&socket, scope).ok()
    });
    name.flatten().map(|name| format!("{ip}%{name}"))
}

/// With or without the scope that link-local addresses need (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn parse_port(text: &str, purpose: For) -> Result<u16, BadServerAddr> {
    let from = u16::from(purpose == For::Connecting);
    let port = text.to_owned();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadServerAddr::PortNotNumber { port, from });
    }
    match text.parse() {
        Ok(number) if number >= from => Ok(number),
        _ => Err(BadServerAddr::PortOutOfRange { port, from }),
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Result<ServerAddr, BadServerAddr> {
        Ok(ServerAddr::Tcp { host: host.to_owned(), port, security: Security::Usual })
    }

    #[test]
    fn every_form_is_read() {
        for text in ["vang://chat.example:7", "vang://chat.example:7/", "chat.example:7"] {
            assert_eq!(ServerAddr::parse(text), tcp("chat.example", 7), "{text}");
        }
        for text in ["vang://chat.example", "chat.example"] {
            assert_eq!(ServerAddr::parse(text), tcp("chat.example", PORT), "{text}");
        }
        for text in ["[::1]:7", "vang://[::1]:7"] {
            assert_eq!(ServerAddr::parse(text), tcp("::1", 7), "{text}");
        }
        for text in ["[::1]", "::1"] {
            assert_eq!(ServerAddr::parse(text), tcp("::1", PORT), "{text}");
        }
        assert_eq!(ServerAddr::parse("[fe80::1%eth0]:7"), tcp("fe80::1%eth0", 7));
        for text in ["unix:/run/x y", "unix:///run/x y", "vang+unix:/run/x y", "vang+unix:///run/x y"] {
            assert_eq!(ServerAddr::parse(text), Ok(ServerAddr::Unix("/run/x y".into())), "{text}");
        }
        assert_eq!(ServerAddr::parse(DEFAULT_URL), Ok(ServerAddr::default()));
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["chat.example:7", "[::1]:7", "127.0.0.1:65432", "unix:/run/x"] {
            assert_eq!(ServerAddr::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_one_is_named_with_what_is_allowed() {
        let error = |text: &str| ServerAddr::parse(text).unwrap_err().to_string();
        assert_eq!(error("x:99999"), "port 99999 is out of range; ports are 1 to 65535");
        assert_eq!(error("x:0"), "port 0 is out of range; ports are 1 to 65535");
        assert_eq!(error("x:http"), "port 'http' is not a number; ports are 1 to 65535");
        assert_eq!(error("x:"), "port '' is not a number; ports are 1 to 65535");
        assert_eq!(error("http://x:1"), format!("'http://' is not spoken here; {ALLOWED}"));
        assert_eq!(error(""), format!("there is no host in ''; {ALLOWED}"));
        assert_eq!(error("unix:"), format!("there is no path in 'unix:'; {ALLOWED}"));
        assert_eq!(error("65432"), "'65432' is a number and no host; for a port write 127.0.0.1:65432");
        assert!(error("::1:x").contains("[::1]:65432"));
        assert!(error("[x]:1").contains("is not an IPv6 address"));
        assert!(error("ada@x:1").contains("has a '@'"));
        assert!(error("a b").contains("has a ' '"));
    }

    #[test]
    fn an_ipv4_address_that_programs_read_differently_is_refused_with_what_it_may_mean() {
        for (host, means) in [
            ("010.0.0.1", "8.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("10.1.2", "10.1.0.2"),
            ("0x7f.0.0.1", "127.0.0.1"),
            ("0X7f000001", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("192.168.1.010", "192.168.1.8"),
            ("2130706433", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
        ] {
            assert_eq!(loose_ipv4(host), Some(means.parse().unwrap()), "{host}");
        }
        for host in [
            "127.0.0.1",
            "0.0.0.0",
            "08.0.0.1",
            "1.2.3.256",
            "1.2.3.4.5",
            "256.1",
            "1.2.65536",
            "4294967296",
            "1.",
            ".1",
            "",
            "a.1",
            "::1",
            "0x",
            "0xg",
            "1.2.3.+4",
            "-1",
        ] {
            assert_eq!(loose_ipv4(host), None, "{host}");
        }
        for text in ["010.0.0.1:7", "vang://127.1", "0x7f.1:7"] {
            let error = ServerAddr::parse(text).unwrap_err().to_string();
            assert!(error.contains("to some programs") && error.contains("write "), "{error}");
        }
    }

    #[test]
    fn a_scope_is_read_in_both_spellings_and_shown_by_its_name() {
        for text in
            ["vang://[fe80::a%25va]:7", "vang://[fe80::a%va]:7", "vangs://[fe80::a%25va]:7", "[fe80::a%va]:7"]
        {
            let Ok(ServerAddr::Tcp { host, port, .. }) = ServerAddr::parse(text) else { panic!("{text}") };
            assert_eq!((host.as_str(), port), ("fe80::a%va", 7), "{text}");
        }
        // No URL: an interface may have that name.
        assert_eq!(ServerAddr::parse("[fe80::a%25va]:7"), tcp("fe80::a%25va", 7));
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

    #[test]
    fn a_place_to_listen_at_may_leave_host_and_port_open() {
        assert_eq!(ServerAddr::parse_listen(":7"), tcp("", 7));
        assert_eq!(ServerAddr::parse_listen("127.0.0.1:0"), tcp("127.0.0.1", 0));
        let error = ServerAddr::parse_listen("127.0.0.1:99999").unwrap_err().to_string();
        assert_eq!(error, "port 99999 is out of range; ports are 0 to 65535");
    }
}
