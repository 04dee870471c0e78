//! Addresses as people type them: one parser for clients, servers and tools, with one text for each mistake.
//!
//! ```text
//! HOST:PORT   HOST   [IPV6]:PORT   [IPV6]   IPV6   :PORT   unix:PATH      `Address::parse`
//! vang://HOST:PORT   vangs://HOST:PORT   vang+unix:PATH   and all above   `parse_url`
//! ```
//!
//! What a command accepts of these is its `Grammar`. Pure: names are not looked up here.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// An address as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address, and a port.
    Net {
        /// Without brackets, with the scope of a link-local address (`fe80::1%eth0`). Empty: every interface.
        host: String,
        port: Option<u16>,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// The scheme of a server's URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `vang://`, or no scheme.
    #[default]
    Vang,
    /// `vangs://`: always TLS.
    Vangs,
}

/// The addresses that a command accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Can the host be empty, for every interface?
    pub every_interface: bool,
    /// Can the port be 0, for any free port?
    pub any_port: bool,
    pub needs_port: bool,
    /// The accepted forms, for errors.
    pub forms: &'static str,
}

impl Grammar {
    /// A server to connect to.
    pub const SERVER: Grammar = Grammar {
        every_interface: false,
        any_port: false,
        needs_port: false,
        forms: "vang://HOST:PORT, vangs://HOST:PORT, HOST:PORT, HOST, [IPV6]:PORT or unix:PATH",
    };

    /// An address on which the server listens.
    pub const LISTEN: Grammar = Grammar {
        every_interface: true,
        any_port: true,
        needs_port: true,
        forms: "HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH",
    };

    /// An address for `vang net`, where some tools know a default port.
    pub const TOOL: Grammar = Grammar {
        every_interface: true,
        any_port: true,
        needs_port: false,
        forms: "HOST:PORT, HOST, [IPV6]:PORT, :PORT or unix:PATH",
    };

    /// A peer of a tool: the same, to connect to.
    pub const PEER: Grammar = Grammar { any_port: false, ..Grammar::TOOL };
}

/// Which ports there are, in every error about a port.
pub const PORTS: &str = "ports are 1 to 65535; a server can also have 0, which is any free port";

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("no {missing} in '{text}'; write {forms}")]
    Missing { missing: &'static str, text: String, forms: &'static str },
    #[error("unknown scheme '{scheme}://'; write {forms}")]
    UnknownScheme { scheme: String, forms: &'static str },
    #[error("port '{port}' is not a number; {PORTS}")]
    PortNotNumber { port: String },
    #[error("port {port} is out of range; {PORTS}")]
    PortOutOfRange { port: String },
    #[error("'{number}' is a number, not a host; for a port write 127.0.0.1:{number}")]
    OnlyNumber { number: String },
    /// An IPv4 address that programs read differently; see `loose_ipv4`.
    #[error("'{host}' is ambiguous: some programs read it as {means}; write {means} if you mean that")]
    LooseIpv4 { host: String, means: Ipv4Addr },
    #[error("'{text}' is not an IPv6 address; before a port it needs brackets, as in [::1]:65432")]
    NotIpv6 { text: String },
    #[error("'{text}' contains {found:?}, which no host name has; write {forms}")]
    InvalidCharacter { found: char, text: String, forms: &'static str },
}

impl Address {
    /// Reads an address without a scheme.
    ///
    /// # Errors
    /// The text is none of the forms that the grammar accepts; the error says what was found and what to write.
    pub fn parse(text: &str, grammar: &Grammar) -> Result<Address, AddressError> {
        match text.strip_prefix("unix:") {
            Some(path) => unix(path, text, grammar),
            None => net(text, text, grammar),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Net { host, port } => {
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{open}{host}{close}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// Reads a server's URL, or its address without a scheme.
///
/// # Errors
/// The scheme is unknown, or the rest is none of the forms of [`Grammar::SERVER`].
pub fn parse_url(text: &str) -> Result<(Scheme, Address), AddressError> {
    let grammar = &Grammar::SERVER;
    if let Some(path) = text.strip_prefix("vang+unix:").or_else(|| text.strip_prefix("unix:")) {
        // `unix:///run/x` is the URL of `/run/x`.
        let path = if path.starts_with("///") { &path[2..] } else { path };
        return Ok((Scheme::Vang, unix(path, text, grammar)?));
    }
    let (scheme, rest) = match text.split_once("://") {
        Some(("vang", rest)) => (Scheme::Vang, rest),
        Some(("vangs", rest)) => (Scheme::Vangs, rest),
        Some((scheme, _)) => {
            return Err(AddressError::UnknownScheme { scheme: scheme.to_owned(), forms: grammar.forms });
        }
        None => return Ok((Scheme::Vang, net(text, text, grammar)?)),
    };
    let mut address = net(rest.strip_suffix('/').unwrap_or(rest), text, grammar)?;
    // A URL writes the sign before a scope as %25 (RFC 6874).
    if let Address::Net { host, .. } = &mut address
        && let Some((ip, scope)) = host.split_once("%25")
        && is_ipv6(ip)
    {
        *host = format!("{ip}%{scope}");
    }
    Ok((scheme, address))
}

fn unix(path: &str, text: &str, grammar: &Grammar) -> Result<Address, AddressError> {
    match path.is_empty() {
        true => Err(missing("path", text, grammar)),
        false => Ok(Address::Unix(path.into())),
    }
}

/// Host and port that were typed as two words, as one address to parse. `None`: the host has a port, or is a path.
pub fn with_port(host: &str, port: &str) -> Option<String> {
    match host.matches(':').count() {
        _ if host.starts_with("unix:") => None,
        _ if is_ipv6(host) => Some(format!("[{host}]:{port}")),
        0 => Some(format!("{host}:{port}")),
        _ => host.ends_with(']').then(|| format!("{host}:{port}")),
    }
}

/// Reads a host, where a port after it is optional: `localhost`, `localhost:7`, `::1`, `[::1]`, `[::1]:7`. The host can
/// be empty, and whether there is such a host is left to the resolver.
pub fn host_and_port(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = split(text)?;
    Ok((host, port.map(|port| parse_port(port, false)).transpose()?))
}

/// `rest` is `text` without a scheme.
fn net(rest: &str, text: &str, grammar: &Grammar) -> Result<Address, AddressError> {
    let is_invalid = |c: &char| c.is_whitespace() || c.is_control() || "/?#@\"'\\".contains(*c);
    if let Some(found) = rest.chars().find(is_invalid) {
        return Err(AddressError::InvalidCharacter { found, text: text.to_owned(), forms: grammar.forms });
    }
    let (host, port) = split(rest)?;
    let is_number = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit());
    // A number alone is a forgotten colon; before a port it is an IPv4 address to some programs.
    let loose = if is_number && port.is_none() { None } else { loose_ipv4(host) };
    if let Some(means) = loose {
        return Err(AddressError::LooseIpv4 { host: host.to_owned(), means });
    }
    if is_number {
        return Err(AddressError::OnlyNumber { number: host.to_owned() });
    }
    if host.is_empty() && (port.is_none() || !grammar.every_interface) {
        return Err(missing("host", text, grammar));
    }
    if port.is_none() && grammar.needs_port {
        return Err(missing("port", text, grammar));
    }
    let port = port.map(|port| parse_port(port, grammar.any_port)).transpose()?;
    Ok(Address::Net { host: host.to_owned(), port })
}

fn missing(missing: &'static str, text: &str, grammar: &Grammar) -> AddressError {
    AddressError::Missing { missing, text: text.to_owned(), forms: grammar.forms }
}

fn split(rest: &str) -> Result<(&str, Option<&str>), AddressError> {
    let not_ipv6 = || AddressError::NotIpv6 { text: rest.to_owned() };
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
        // With a port after it nobody could tell the two apart.
        _ if is_ipv6(rest) => Ok((rest, None)),
        _ => Err(not_ipv6()),
    }
}

/// The address that `inet_aton(3)`, and so the system's resolver, reads in an IPv4 address that is not four decimal
/// numbers: a part with a leading zero is octal, one with `0x` hexadecimal, and with fewer than four parts the last one
/// fills the rest. Other programs read another address or none (RFC 6943, 3.1.1). `None`: not such a text.
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

/// Is this an IPv6 address, with or without a scope (`fe80::1%eth0`)?
fn is_ipv6(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Reads a port; 0 only for a server, with `any_port`.
///
/// # Errors
/// The text is not a decimal number, or not between 1 and 65535 (from 0 with `any_port`).
pub fn parse_port(text: &str, any_port: bool) -> Result<u16, AddressError> {
    let port = text.to_owned();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::PortNotNumber { port });
    }
    match text.parse() {
        Ok(number) if number > 0 || any_port => Ok(number),
        _ => Err(AddressError::PortOutOfRange { port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(host: &str, port: Option<u16>) -> Address {
        Address::Net { host: host.to_owned(), port }
    }

    #[test]
    fn a_url_has_a_scheme_or_none() {
        for (text, host, port) in [
            ("vang://chat.example:7", "chat.example", Some(7)),
            ("vang://chat.example:7/", "chat.example", Some(7)),
            ("chat.example:7", "chat.example", Some(7)),
            ("vang://chat.example", "chat.example", None),
            ("chat.example", "chat.example", None),
            ("[::1]:7", "::1", Some(7)),
            ("vang://[::1]:7", "::1", Some(7)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("[fe80::1%eth0]:7", "fe80::1%eth0", Some(7)),
        ] {
            assert_eq!(parse_url(text), Ok((Scheme::Vang, net(host, port))), "{text}");
        }
        assert_eq!(parse_url("vangs://x:7"), Ok((Scheme::Vangs, net("x", Some(7)))));
        for text in ["unix:/run/x y", "unix:///run/x y", "vang+unix:/run/x y", "vang+unix:///run/x y"] {
            assert_eq!(parse_url(text), Ok((Scheme::Vang, Address::Unix("/run/x y".into()))), "{text}");
        }
    }

    #[test]
    fn a_scope_has_two_spellings_in_a_url() {
        for text in
            ["vang://[fe80::a%25va]:7", "vang://[fe80::a%va]:7", "vangs://[fe80::a%25va]:7", "[fe80::a%va]:7"]
        {
            assert_eq!(parse_url(text).map(|(_, address)| address), Ok(net("fe80::a%va", Some(7))), "{text}");
        }
        // Not a URL: an interface can have that name.
        let plain = parse_url("[fe80::a%25va]:7").map(|(_, address)| address);
        assert_eq!(plain, Ok(net("fe80::a%25va", Some(7))));
    }

    #[test]
    fn a_grammar_decides_about_empty_hosts_and_ports() {
        for grammar in [Grammar::LISTEN, Grammar::TOOL] {
            assert_eq!(Address::parse(":7", &grammar), Ok(net("", Some(7))));
            assert_eq!(Address::parse("127.0.0.1:0", &grammar), Ok(net("127.0.0.1", Some(0))));
            assert_eq!(Address::parse("unix:x", &grammar), Ok(Address::Unix("x".into())));
            let error = Address::parse("127.0.0.1:99999", &grammar).unwrap_err().to_string();
            assert_eq!(error, format!("port 99999 is out of range; {PORTS}"));
        }
        assert_eq!(Address::parse("::1", &Grammar::TOOL), Ok(net("::1", None)));
        assert!(Address::parse("127.0.0.1:0", &Grammar::PEER).is_err());
        assert_eq!(Address::parse(":7", &Grammar::PEER), Ok(net("", Some(7))));
        let error = Address::parse("x", &Grammar::LISTEN).unwrap_err().to_string();
        assert_eq!(error, "no port in 'x'; write HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH");
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["chat.example:7", "[::1]:7", "[::1]", "127.0.0.1:65432", "unix:/run/x", ":7", "x"] {
            assert_eq!(Address::parse(text, &Grammar::TOOL).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_can_have_a_port() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("localhost:7", "localhost", Some(7)),
            ("127.1", "127.1", None),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[fe80::1%lo]:7", "fe80::1%lo", Some(7)),
            ("", "", None),
            (":7", "", Some(7)),
        ] {
            assert_eq!(host_and_port(text), Ok((host, port)), "{text}");
        }
        for (text, port) in [("localhost:70000", "70000"), ("x:0", "0")] {
            let port = port.to_owned();
            assert_eq!(host_and_port(text), Err(AddressError::PortOutOfRange { port }), "{text}");
        }
        for text in ["localhost:http", "::1:x", "[::1", "a:b:c"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn host_and_port_in_two_words_are_one_address() {
        for (host, joined) in [
            ("localhost", "localhost:7"),
            ("", ":7"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("fe80::1%lo", "[fe80::1%lo]:7"),
        ] {
            assert_eq!(with_port(host, "7").as_deref(), Some(joined), "{host}");
        }
        for whole in ["localhost:80", "[::1]:80", "unix:/run/x", "unix:[x]", ":80"] {
            assert_eq!(with_port(whole, "7"), None, "{whole}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_what_is_allowed() {
        let error = |text: &str| parse_url(text).unwrap_err().to_string();
        let forms = Grammar::SERVER.forms;
        assert_eq!(error("x:99999"), format!("port 99999 is out of range; {PORTS}"));
        assert_eq!(error("x:0"), format!("port 0 is out of range; {PORTS}"));
        assert_eq!(error("x:http"), format!("port 'http' is not a number; {PORTS}"));
        assert_eq!(error("x:"), format!("port '' is not a number; {PORTS}"));
        assert_eq!(error("http://x:1"), format!("unknown scheme 'http://'; write {forms}"));
        assert_eq!(error(""), format!("no host in ''; write {forms}"));
        assert_eq!(error(":7"), format!("no host in ':7'; write {forms}"));
        assert_eq!(error("unix:"), format!("no path in 'unix:'; write {forms}"));
        assert_eq!(error("65432"), "'65432' is a number, not a host; for a port write 127.0.0.1:65432");
        assert!(error("4294967296:7").contains("is a number, not a host"));
        assert!(error("::1:x").contains("[::1]:65432"));
        assert!(error("[::1").contains("is not an IPv6 address"));
        assert!(error("[::1]80").contains("is not an IPv6 address"));
        assert!(error("[x]:1").contains("is not an IPv6 address"));
        assert!(error("ada@x:1").contains("contains '@'"));
        assert!(error("a b").contains("contains ' '"));
    }

    #[test]
    fn an_ambiguous_ipv4_address_is_refused_with_its_meaning() {
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
        for text in ["010.0.0.1:7", "vang://127.1", "0x7f.1:7", "2130706433:7"] {
            let error = parse_url(text).unwrap_err().to_string();
            assert!(error.contains("is ambiguous: some programs read it as "), "{error}");
        }
    }
}
