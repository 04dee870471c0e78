//! Where to: `HOST:PORT`, `[IPV6]:PORT`, `HOST` where a tool knows a port, `unix:PATH`. Typed, so told apart before
//! anything is asked of the network.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use vang_client::address::loose_ipv4;

/// A place as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By network. An empty host is every interface to a listener, and loopback to whoever connects.
    Net {
        /// A name or an address, without brackets; with `%scope` behind it where an IPv6 address needs one.
        host: String,
        /// `None`: none was typed.
        port: Option<u16>,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What was typed is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// The port is no number from 0 to 65535: what was found.
    Port(String),
    /// An IPv6 address before a port stands in brackets.
    Brackets(String),
    /// A number without a colon: `getaddrinfo` would take it for an IPv4 address (80 is 0.0.0.80), which nobody means.
    Alone(String),
    /// An IPv4 address as only some programs read it, and as this system's resolver does.
    Loose(String, Ipv4Addr),
    /// Nothing was typed.
    Empty,
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTarget::Port(found) => write!(f, "'{found}' is no port: ports are numbers from 0 to 65535"),
            BadTarget::Brackets(typed) => {
                write!(f, "'{typed}': an IPv6 address before a port stands in brackets, as in [::1]:65432")
            }
            BadTarget::Alone(typed) => {
                write!(
                    f,
                    "'{typed}' is a number alone: a port is localhost:{typed}, or :{typed} for every interface"
                )
            }
            BadTarget::Loose(host, means) => {
                write!(
                    f,
                    "'{host}' is {means} to some programs, and to others another address or none; write {means}, if \
                     that is meant"
                )
            }
            BadTarget::Empty => {
                f.write_str("a place is HOST:PORT, [IPV6]:PORT or unix:PATH; nothing was given")
            }
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
            0 if typed.bytes().all(|byte| byte.is_ascii_digit()) => Err(BadTarget::Alone(typed.to_owned())),
            0 => Ok(Target::Net { host: typed.to_owned(), port: None }),
            1 => {
                let (host, text) = typed.split_once(':').unwrap_or((typed, ""));
                Ok(Target::Net { host: host.to_owned(), port: port(text)? })
            }
            // An address alone; with a port behind it nobody could tell the two apart.
            _ if is_ipv6(typed) => Ok(Target::Net { host: typed.to_owned(), port: None }),
            _ => Err(BadTarget::Brackets(typed.to_owned())),
        }
    }
}

/// An IPv6 address, with a scope behind it or without.
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
    fn places_are_told_apart_as_they_are_typed() {
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
            ("localhost:65536", "'65536' is no port: ports are numbers from 0 to 65535"),
            ("localhost:", "'' is no port"),
            ("localhost:+1", "'+1' is no port"),
            ("::1:x", "stands in brackets"),
            ("[::1", "stands in brackets"),
            ("[::1]80", "stands in brackets"),
            ("[]:80", "stands in brackets"),
            ("[localhost]:80", "stands in brackets"),
            ("80", "a port is localhost:80, or :80 for every interface"),
            ("010.0.0.1:7", "'010.0.0.1' is 8.0.0.1 to some programs"),
            ("127.1", "'127.1' is 127.0.0.1 to some programs"),
            ("2130706433:7", "'2130706433' is 127.0.0.1 to some programs"),
            ("", "nothing was given"),
            ("unix:", "nothing was given"),
        ] {
            let error = typed.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(said), "{typed}: {error}");
        }
    }
}
