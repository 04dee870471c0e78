//! Parses a target: `HOST:PORT`, `[IPV6]:PORT`, `HOST` where a tool has a default port, or `unix:PATH`. No name is looked up.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use vang_proto::address::{Address, AddressError, Grammar};

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

impl Target {
    /// Reads an address to connect to, where no port is 0.
    pub fn peer(typed: &str) -> Result<Target, AddressError> {
        Address::parse(typed, &Grammar::PEER).map(Target::of)
    }

    fn of(address: Address) -> Target {
        match address {
            Address::Net { host, port } => Target::Net { host, port },
            Address::Unix(path) => Target::Unix(path),
        }
    }
}

impl FromStr for Target {
    type Err = AddressError;

    /// Reads an address to listen on, where port 0 is any free port.
    fn from_str(typed: &str) -> Result<Target, AddressError> {
        Address::parse(typed, &Grammar::TOOL).map(Target::of)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.clone() {
            Target::Unix(path) => Address::Unix(path),
            Target::Net { host, port } => Address::Net { host, port },
        };
        address.fmt(f)
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
            ("localhost:65536", "port 65536 is out of range; ports are 1 to 65535; a server can also have 0"),
            ("localhost:", "port '' is not a number"),
            ("localhost:+1", "port '+1' is not a number"),
            ("::1:x", "brackets"),
            ("[::1", "brackets"),
            ("[::1]80", "brackets"),
            ("[]:80", "brackets"),
            ("[localhost]:80", "brackets"),
            ("80", "for a port write 127.0.0.1:80"),
            ("010.0.0.1:7", "some programs read it as 8.0.0.1"),
            ("127.1", "some programs read it as 127.0.0.1"),
            ("2130706433:7", "some programs read it as 127.0.0.1"),
            ("", "no host in ''"),
            ("unix:", "no path in 'unix:'"),
        ] {
            for error in [typed.parse::<Target>(), Target::peer(typed)] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(said), "{typed}: {error}");
            }
        }
        assert_eq!("x:0".parse(), Ok(net("x", Some(0))));
        let error = Target::peer("x:0").unwrap_err().to_string();
        assert!(error.starts_with("port 0 is out of range; ports are 1 to 65535; "), "{error}");
    }
}
