//! The proxies that a listener trusts: which peers they are, and how they name the client for which they connect.
//!
//! ```text
//! --listen 127.0.0.1:65433,proxy=x-forwarded-for,tls        proxies on this machine, which speak TLS to their clients
//! --listen :65434,proxy=proxy,from=10.0.0.7,from=10.1.0.0/16
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The options behind an address, for errors.
pub(crate) const OPTIONS: &str = "proxy=KIND, tls and from=NETWORK";

/// How a proxy names its client. Nothing else is accepted where one kind is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// The PROXY protocol, versions 1 and 2, in front of a connection in any protocol.
    ProxyProtocol,
    /// The HTTP header `Forwarded` (RFC 7239), in each request.
    Forwarded,
    /// The HTTP header `X-Forwarded-For`, in each request.
    XForwardedFor,
}

impl ProxyKind {
    const ALL: [ProxyKind; 3] = [ProxyKind::ProxyProtocol, ProxyKind::Forwarded, ProxyKind::XForwardedFor];

    /// The value of `proxy=`.
    pub fn word(self) -> &'static str {
        match self {
            ProxyKind::ProxyProtocol => "proxy",
            ProxyKind::Forwarded => "forwarded",
            ProxyKind::XForwardedFor => "x-forwarded-for",
        }
    }

    /// What the proxy sends, for errors.
    pub(crate) fn sends(self) -> &'static str {
        match self {
            ProxyKind::ProxyProtocol => "the PROXY protocol",
            ProxyKind::Forwarded => "the HTTP header Forwarded",
            ProxyKind::XForwardedFor => "the HTTP header X-Forwarded-For",
        }
    }
}

/// The proxies of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    pub kind: ProxyKind,
    /// They speak TLS to their clients, so nothing asks these for TLS.
    pub tls: bool,
    /// Their addresses; none: the proxies on this machine.
    pub from: Vec<Network>,
}

/// The options behind a listener's address are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxiesError {
    #[error("unknown option '{found}' behind '{addr}'; options are {OPTIONS}{hint}")]
    UnknownOption { found: String, addr: String, hint: String },
    #[error(
        "unknown proxy kind '{found}'; kinds are proxy (the PROXY protocol 1 and 2), forwarded (the HTTP header Forwarded) \
         and x-forwarded-for (the HTTP header X-Forwarded-For)"
    )]
    UnknownKind { found: String },
    #[error("the option '{option}' is there twice; only from=NETWORK can be repeated")]
    Repeated { option: &'static str },
    #[error(
        "the option '{option}' is for listeners behind a proxy; add proxy=KIND (proxy, forwarded or x-forwarded-for)\
         {hint}"
    )]
    WithoutProxy { option: &'static str, hint: &'static str },
    #[error(
        "'{found}' is not a network; write an address or ADDRESS/BITS, as in from=10.0.0.7 or from=10.0.0.0/8"
    )]
    NotNetwork { found: String },
    #[error("'{found}' has more than {max} bits behind '/'")]
    PrefixTooLong { found: String, max: u8 },
    #[error(
        "'{found}' is an address inside a network; write from={network} for the network, or from={ip} for the address"
    )]
    HostBits { found: String, network: IpNet, ip: IpAddr },
    #[error(
        "from=NETWORK cannot be used with unix:PATH; the permissions of the socket's folder decide who connects"
    )]
    UnixFrom,
}

impl Proxies {
    /// Reads the options behind an address. `None`: there are none.
    pub(crate) fn read<'a>(
        addr: &str,
        options: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Proxies>, ProxiesError> {
        let (mut kind, mut tls, mut from) = (None, false, Vec::new());
        for option in options {
            let option = option.trim();
            match option.split_once('=') {
                Some(("proxy", word)) => {
                    let known = ProxyKind::ALL.into_iter().find(|kind| kind.word() == word);
                    let known = known.ok_or_else(|| ProxiesError::UnknownKind { found: word.to_owned() })?;
                    if kind.replace(known).is_some() {
                        return Err(ProxiesError::Repeated { option: "proxy" });
                    }
                }
                Some(("from", network)) => from.push(network.parse()?),
                None if option == "tls" => {
                    if std::mem::replace(&mut tls, true) {
                        return Err(ProxiesError::Repeated { option: "tls" });
                    }
                }
                _ => {
                    let hint = match (option.contains('='), option.contains(':')) {
                        (false, true) => "; list a further address as a value of its own".to_owned(),
                        (false, false) if !option.is_empty() => {
                            format!("; an address needs a port, as in {option}:65432")
                        }
                        _ => String::new(),
                    };
                    return Err(ProxiesError::UnknownOption {
                        found: option.to_owned(),
                        addr: addr.to_owned(),
                        hint,
                    });
                }
            }
        }
        match kind {
            Some(kind) => Ok(Some(Proxies { kind, tls, from })),
            None if tls => Err(ProxiesError::WithoutProxy {
                option: "tls",
                hint: "; without a proxy every listener accepts TLS anyway",
            }),
            None if !from.is_empty() => Err(ProxiesError::WithoutProxy { option: "from", hint: "" }),
            None => Ok(None),
        }
    }

    /// Is the peer at this address one of them? `None`: the peer of a Unix socket.
    pub(crate) fn has(&self, peer: Option<IpAddr>) -> bool {
        let Some(ip) = peer.map(|ip| ip.to_canonical()) else { return true };
        match &self.from[..] {
            [] => ip.is_loopback(),
            networks => networks.iter().any(|network| network.0.contains(&ip)),
        }
    }

    /// Which peers they are, for logs and errors.
    pub(crate) fn shown_from(&self) -> String {
        match &self.from[..] {
            [] => "this machine".to_owned(),
            networks => networks.iter().map(|network| network.0.to_string()).collect::<Vec<_>>().join(", "),
        }
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy={}", self.kind.word())?;
        if self.tls {
            f.write_str(",tls")?;
        }
        self.from.iter().try_for_each(|network| write!(f, ",from={}", network.0))
    }
}

/// An address with its neighbours, in IPv4 or IPv6. An IPv4 network is never in its form of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = ProxiesError;

    fn from_str(text: &str) -> Result<Network, ProxiesError> {
        let found = text.to_owned();
        let not_network = || ProxiesError::NotNetwork { found: text.to_owned() };
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| not_network())?;
        let all: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= all);
                bits.ok_or(ProxiesError::PrefixTooLong { found: found.clone(), max: all })?
            }
            Some(_) => return Err(not_network()),
            None => all,
        };
        // The bits that all addresses of IPv4 have in common there.
        let (ip, bits) = match (ip.to_canonical(), bits.checked_sub(96)) {
            (canonical @ IpAddr::V4(_), Some(bits)) if ip.is_ipv6() => (canonical, bits),
            _ => (ip, bits),
        };
        let network = IpNet::new(ip, bits).map_err(|_| not_network())?;
        match network.trunc() {
            whole if whole == network => Ok(Network(network)),
            network => Err(ProxiesError::HostBits { found, network, ip }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &str) -> Result<Option<Proxies>, String> {
        let options = options.split(',').filter(|option| !option.is_empty());
        Proxies::read(":65433", options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_in_any_order_and_shown() {
        for (options, shown) in [
            ("proxy=proxy", "proxy=proxy"),
            ("tls,proxy=forwarded", "proxy=forwarded,tls"),
            (
                "from=10.0.0.0/8,proxy=x-forwarded-for,from=2001:db8::/32,from=192.0.2.7,tls",
                "proxy=x-forwarded-for,tls,from=10.0.0.0/8,from=2001:db8::/32,from=192.0.2.7/32",
            ),
        ] {
            assert_eq!(read(options).unwrap().unwrap().to_string(), shown);
        }
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn a_wrong_option_is_named_with_what_is_allowed() {
        for (options, why) in [
            (
                "proxy=proxy,foo=1",
                "unknown option 'foo=1' behind ':65433'; options are proxy=KIND, tls and from=NETWORK",
            ),
            (
                ":7",
                "unknown option ':7' behind ':65433'; options are proxy=KIND, tls and from=NETWORK; list a further",
            ),
            ("localhost", "; an address needs a port, as in localhost:65432"),
            (
                "proxy=nginx",
                "unknown proxy kind 'nginx'; kinds are proxy (the PROXY protocol 1 and 2), forwarded ",
            ),
            ("proxy=", "unknown proxy kind ''"),
            ("proxy=proxy,proxy=proxy", "the option 'proxy' is there twice"),
            ("proxy=proxy,tls,tls", "the option 'tls' is there twice"),
            ("proxy=proxy,tls=yes", "unknown option 'tls=yes'"),
            (
                "tls",
                "add proxy=KIND (proxy, forwarded or x-forwarded-for); without a proxy every listener accepts TLS",
            ),
            ("from=10.0.0.7", "the option 'from' is for listeners behind a proxy; add proxy=KIND"),
            ("proxy=proxy,from=", "'' is not a network; write an address or ADDRESS/BITS"),
            ("proxy=proxy,from=localhost", "'localhost' is not a network"),
            ("proxy=proxy,from=10.0.0.0/", "'10.0.0.0/' is not a network"),
            ("proxy=proxy,from=10.0.0.0/+8", "'10.0.0.0/+8' is not a network"),
            ("proxy=proxy,from=10.0.0.0/33", "'10.0.0.0/33' has more than 32 bits behind '/'"),
            ("proxy=proxy,from=::/999", "'::/999' has more than 128 bits behind '/'"),
            (
                "proxy=proxy,from=10.0.0.7/8",
                "'10.0.0.7/8' is an address inside a network; write from=10.0.0.0/8 for the network, or from=10.0.0.7 for",
            ),
        ] {
            let error = read(options).unwrap_err();
            assert!(error.contains(why), "{options}: {error}");
        }
    }

    #[test]
    fn only_addresses_of_the_networks_are_proxies() {
        let has = |options: &str, ip: &str| {
            read(&format!("proxy=proxy{options}")).unwrap().unwrap().has(Some(ip.parse().unwrap()))
        };
        // Without networks: this machine.
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(has("", ip), "{ip}");
            assert!(!has(",from=10.0.0.0/8", ip), "{ip}");
        }
        assert!(!has("", "10.0.0.7") && !has("", "::ffff:10.0.0.7") && !has("", "2001:db8::1"));
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.255.0.1", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("10.0.0.0/9,from=192.0.2.1", "192.0.2.1", "10.128.0.0"),
        ] {
            assert!(has(&format!(",from={network}"), inside), "{network} {inside}");
            assert!(!has(&format!(",from={network}"), outside), "{network} {outside}");
        }
        assert!(read("proxy=proxy,from=10.0.0.0/8").unwrap().unwrap().has(None), "a Unix socket");
    }
}
