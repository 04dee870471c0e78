//! Parses a target: `HOST:PORT`, `[IPV6]:PORT`, `HOST` where a tool has a default port, or `unix:PATH`. No name is looked up.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use vang_client::address::loose_ipv4;

/// A target to connect to or to listen on, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A network address. An empty host means every interface for a listener and loopback for a client.
    Net {
        /// A name or an address, without brackets; with `%scope` where an IPv6 address needs one.
        host: String,
        port: Option<u16>,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// The port is not a number from 0 to 65535.
    Port(String),
    /// An IPv6 address with a port needs brackets.
    Brackets(String),
    /// A number without a colon. `getaddrinfo` would read it as an IPv4 address (80 is 0.0.0.80).
    Number(String),
    /// An IPv4 address in a form that programs read differently, and what this system's resolver makes of it.
    Loose(String, Ipv4Addr),
    Empty,
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTarget::Port(found) => write!(f, "'{found}' is not a port: ports are numbers from 0 to 65535"),
            BadTarget::Brackets(typed) => {
                write!(f, "'{typed}': write an IPv6 address with a port in brackets, as in [::1]:65432")
            }
            BadTarget::Number(typed) => {
                write!(
                    f,
                    "'{typed}' is only a number: for a port write localhost:{typed}, or :{typed} for every interface"
                )
            }
            BadTarget::Loose(host, means) => {
                write!(
                    f,
                    "programs read '{host}' differently, some as {means}; write {means} if you mean that"
                )
            }
            BadTarget::Empty => f.write_str("empty address; write HOST:PORT, [IPV6]:PORT or unix:PATH"),
        }
    }
}

impl std::error::Error for BadTarget {}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(typed: &str) -> Result<Target, BadTarget> {
        if typed.is_empty() {
            return Err(BadTarget::Empty);
        }
        if let Some(path) = typed.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadTarget::Empty) } else { Ok(Target::Unix(path.into())) };
        }
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(port)),
            _ => Err(BadTarget::Port(text.to_owned())),
        };
        if let Some(rest) = typed.strip_prefix('[') {
            let Some((host, rest)) = rest.split_once(']').filter(|(host, _)| is_ipv6(host)) else {
                return Err(BadTarget::Brackets(typed.to_owned()));
            };
            let port = match rest.strip_prefix(':') {
                Some(text) => port(text)?,
                None if rest.is_empty() => None,
                None => return Err(BadTarget::Brackets(typed.to_owned())),
            };
            return Ok(Target::Net { host: host.to_owned(), port });
        }
        let host = typed.split(':').next().unwrap_or(typed);
        let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(means) = loose_ipv4(host).filter(|_| !is_number || typed.len() > host.len()) {
            return Err(BadTarget::Loose(host.to_owned(), means));
        }
        match typed.matches(':').count() {
            0 if typed.bytes().all(|byte| byte.is_ascii_digit()) => Err(BadTarget::Number(typed.to_owned())),
            0 => Ok(Target::Net { host: typed.to_owned(), port: None }),
            1 => {
                let (host, text) = typed.split_once(':').unwrap_or((typed, ""));
                Ok(Target::Net { host: host.to_owned(), port: port(text)? })
            }
            // An IPv6 address without a port; with one and without brackets it would be ambiguous.
            _ if is_ipv6(typed) => Ok(Target::Net { host: typed.to_owned(), port: None }),
            _ => Err(BadTarget::Brackets(typed.to_owned())),
        }
    }
}

/// With or without a scope.
fn is_ipv6(text: &str) -> bool {
    let address = text.split('%').next().unwrap_or(text);
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Net { host, port } => {
                let brackets = host.contains(':');
                let (open, close) = if brackets { ("[", "]") } else { ("", "") };
                write!(f, "{open}{host}{close}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn net(host: &str, port: Option<u16>) -> Target {
        Target::Net { host: host.to_owned(), port }
    }

    #[test]
    fn targets_are_parsed_and_bad_ones_are_explained() {
        for (typed, target) in [
            ("localhost:65432", net("localhost", Some(65_432))),
            ("[::1]:80", net("::1", Some(80))),
            ("[fe80::1%eth0]", net("fe80::1%eth0", None)),
            ("fe80::1%eth0", net("fe80::1%eth0", None)),
            ("::1", net("::1", None)),
            (":65432", net("", Some(65_432))),
            ("example.org", net("example.org", None)),
            ("unix:/run/v.sock", Target::Unix("/run/v.sock".into())),
        ] {
            let parsed: Target = typed.parse().unwrap();
            assert_eq!(parsed, target, "{typed}");
            assert_eq!(parsed.to_string().parse::<Target>().unwrap(), target, "{typed}");
        }
        for (typed, said) in [
            ("localhost:65536", "'65536' is not a port: ports are numbers from 0 to 65535"),
            ("localhost:", "'' is not a port"),
            ("localhost:+1", "'+1' is not a port"),
            ("::1:x", "in brackets"),
            ("[::1", "in brackets"),
            ("[::1]80", "in brackets"),
            ("[]:80", "in brackets"),
            ("[localhost]:80", "in brackets"),
            ("80", "for a port write localhost:80, or :80 for every interface"),
            ("010.0.0.1:7", "programs read '010.0.0.1' differently, some as 8.0.0.1"),
            ("127.1", "programs read '127.1' differently, some as 127.0.0.1"),
            ("2130706433:7", "programs read '2130706433' differently, some as 127.0.0.1"),
            ("", "empty address"),
            ("unix:", "empty address"),
        ] {
            let error = typed.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(said), "{typed}: {error}");
        }
    }
}
