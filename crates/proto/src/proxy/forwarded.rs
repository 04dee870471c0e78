//! The client's address in HTTP headers that proxies write: `Forwarded` (RFC 7239) and `X-Forwarded-For`. Each proxy adds,
//! at the end, the address of its own peer:
//!
//! ```text
//! X-Forwarded-For: 127.0.0.1, 203.0.113.9, 10.0.0.7
//!                  │          │            └ written by our own proxy: its peer, also a proxy of ours
//!                  │          └ written by 10.0.0.7: its peer, no proxy of ours, so the client
//!                  └ written by the client, who can write anything
//! ```
//!
//! So the list is read from its end, and the first address that is no trusted proxy is the client's. Nothing in front of it
//! counts. If all of them are trusted proxies, the first is the client. A header can come in several lines: they are one
//! list, in the order of the lines (RFC 9110, 5.3).

use std::net::IpAddr;

use super::client_address::ClientAddress;
use crate::terminal::harmless;

/// Longest part of a header in an error, characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Why a header does not tell the client's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardedError {
    #[error("there is no header {header} with an address")]
    Missing { header: &'static str },
    #[error("{header} has '{found}' where a client's address must be; {allowed}")]
    Address { header: &'static str, found: String, allowed: &'static str },
    #[error("the header Forwarded has {found} where {expected} must be (RFC 7239)")]
    Syntax { found: String, expected: &'static str },
    #[error("an element of the header Forwarded has 'for' twice")]
    Repeated,
    #[error(
        "the last proxy wrote an element without 'for' into the header Forwarded; it must write for=ADDRESS"
    )]
    NoFor,
}

const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const FORWARDED: &str = "Forwarded";

/// What follows `for=`.
const VALUE: &str = "a value (IPv6 addresses are in quotes and brackets: for=\"[2001:db8::1]\")";

/// The client by the lines of `X-Forwarded-For`. `None`: the proxy says that it does not know.
///
/// # Errors
/// There is no address, or what a trusted proxy wrote is none.
pub fn x_forwarded_for(
    lines: &[&[u8]],
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<ClientAddress>, ForwardedError> {
    let elements = lines.iter().flat_map(|line| line.split(|&byte| byte == b','));
    let elements: Vec<&[u8]> =
        elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).collect();
    let allowed = "IPv4, IPv4:PORT, IPv6, [IPv6]:PORT or unknown";
    let read = |element: &&[u8]| {
        let text = std::str::from_utf8(element).unwrap_or_default();
        if text.eq_ignore_ascii_case("unknown") {
            return Ok(None);
        }
        let wrong = || ForwardedError::Address { header: X_FORWARDED_FOR, found: shown(element), allowed };
        ClientAddress::read(text).map(Some).ok_or_else(wrong)
    };
    client(X_FORWARDED_FOR, elements.iter().rev().map(read), is_proxy)
}

/// The client by the lines of `Forwarded`. `None`: the proxy says that it does not know, or gives it another name.
///
/// # Errors
/// A line has not the syntax of RFC 7239, there is no address, or what a trusted proxy wrote is none. One bad line spoils
/// all: what a client sent must not decide how the proxy's part is read.
pub fn forwarded(
    lines: &[&[u8]],
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<ClientAddress>, ForwardedError> {
    let mut nodes = Vec::new();
    for line in lines {
        Elements(line).read(&mut nodes)?;
    }
    let allowed = "IPv4, IPv4:PORT, \"[IPv6]\", \"[IPv6]:PORT\", unknown or _NAME";
    let read = |node: &Option<String>| {
        let text = node.as_deref().ok_or(ForwardedError::NoFor)?;
        // RFC 7239, 6.3: a name instead of an address begins with `_`; both can have a port.
        let name = text.split(':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case("unknown") || name.starts_with('_') {
            return Ok(None);
        }
        let is_bare_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
        let wrong = || ForwardedError::Address { header: FORWARDED, found: shown(text.as_bytes()), allowed };
        ClientAddress::read(text).filter(|_| !is_bare_ipv6).map(Some).ok_or_else(wrong)
    };
    client(FORWARDED, nodes.iter().rev().map(read), is_proxy)
}

/// The client, by addresses from the last to the first.
fn client(
    header: &'static str,
    from_the_end: impl Iterator<Item = Result<Option<ClientAddress>, ForwardedError>>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<ClientAddress>, ForwardedError> {
    let mut first = None;
    for address in from_the_end {
        match address? {
            Some(address) if is_proxy(address.ip) => first = Some(address),
            other => return Ok(other),
        }
    }
    first.map(Some).ok_or(ForwardedError::Missing { header })
}

/// The rest of a line of `Forwarded`.
struct Elements<'a>(&'a [u8]);

impl Elements<'_> {
    /// The `for` of each element, in order. Empty elements say nothing (RFC 9110, 5.6.1).
    fn read(mut self, nodes: &mut Vec<Option<String>>) -> Result<(), ForwardedError> {
        loop {
            let (mut node, mut is_empty) = (None, true);
            loop {
                self.skip_space();
                match self.0.first() {
                    None | Some(b',') => break,
                    Some(b';') => {
                        self.0 = &self.0[1..];
                        continue;
                    }
                    Some(_) => {}
                }
                is_empty = false;
                let name = self.token("a parameter's name")?;
                self.expect(b'=', "'=' and a value")?;
                let value = self.value()?;
                if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                    return Err(ForwardedError::Repeated);
                }
                self.skip_space();
                if !matches!(self.0.first(), None | Some(b',' | b';')) {
                    return Err(self.wrong("';', ',' or the end"));
                }
            }
            if !is_empty {
                nodes.push(node);
            }
            match self.0.split_first() {
                Some((_, rest)) => self.0 = rest,
                None => return Ok(()),
            }
        }
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ForwardedError> {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(self.wrong(expected)),
        }
    }

    /// RFC 9110, 5.6.2.
    fn token(&mut self, expected: &'static str) -> Result<String, ForwardedError> {
        let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let len = self.0.iter().take_while(|byte| is_inside(byte)).count();
        if len == 0 {
            return Err(self.wrong(expected));
        }
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(String::from_utf8_lossy(token).into_owned())
    }

    /// A token or, with what no token has, a quoted string (RFC 9110, 5.6.4). An IPv4 address with a port without quotes is
    /// not of the standard, and has one meaning only.
    fn value(&mut self) -> Result<String, ForwardedError> {
        if self.0.first() != Some(&b'"') {
            let mut value = self.token(VALUE)?;
            if let [b':', rest @ ..] = self.0 {
                self.0 = rest;
                value.push(':');
                value.push_str(&self.token(VALUE)?);
            }
            if self.0.first() == Some(&b':') {
                return Err(self.wrong(VALUE));
            }
            return Ok(value);
        }
        let mut value = Vec::new();
        let mut rest = &self.0[1..];
        loop {
            match rest {
                [b'"', behind @ ..] => {
                    self.0 = behind;
                    return Ok(String::from_utf8_lossy(&value).into_owned());
                }
                [b'\\', byte, behind @ ..] | [byte, behind @ ..] => {
                    value.push(*byte);
                    rest = behind;
                }
                [] => return Err(self.wrong("a quoted value with its end")),
            }
        }
    }

    fn wrong(&self, expected: &'static str) -> ForwardedError {
        let found = if self.0.is_empty() { "its end".to_owned() } else { format!("'{}'", shown(self.0)) };
        ForwardedError::Syntax { found, expected }
    }
}

/// The beginning of what came, for an error.
fn shown(bytes: &[u8]) -> String {
    let text = harmless(&String::from_utf8_lossy(bytes)).replace('\n', "\\n");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies of ours: 10.0.0.0/8, and this machine.
    fn is_ours(ip: IpAddr) -> bool {
        ip.is_loopback() || matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10)
    }

    type Read = fn(&[&[u8]]) -> Result<Option<ClientAddress>, ForwardedError>;

    fn text(read: Read, lines: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        match read(&lines) {
            Ok(Some(address)) => address.to_string(),
            Ok(None) => "unknown".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn of_x_forwarded_for_the_last_address_that_is_no_proxy_counts() {
        let read: Read = |lines| x_forwarded_for(lines, is_ours);
        for (lines, client) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["203.0.113.9:51512"], "203.0.113.9:51512"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:443"], "[2001:db8::1]:443"),
            // Forged by the client, in front of what the proxy wrote.
            (&["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            (&["::1, localhost, \u{1b}[2J, 203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.7, 203.0.113.9"], "203.0.113.9"),
            // HAProxy adds a line of its own.
            (&["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
            (&["127.0.0.1, 1.1.1.1", "2.2.2.2, 203.0.113.9"], "203.0.113.9"),
            // Two proxies of ours.
            (&["6.6.6.6, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            (&["203.0.113.9, 10.0.0.7, 127.0.0.1"], "203.0.113.9"),
            (&["203.0.113.9, ::ffff:10.0.0.7"], "203.0.113.9"),
            // Only proxies of ours: the first of them asks.
            (&["10.0.0.7"], "10.0.0.7"),
            (&["127.0.0.1"], "127.0.0.1"),
            (&["10.0.0.7, 127.0.0.1"], "10.0.0.7"),
            // Empty elements, and what the proxy does not know.
            (&[" , 203.0.113.9 ,, "], "203.0.113.9"),
            (&["", "203.0.113.9", ""], "203.0.113.9"),
            (&["203.0.113.9, unknown"], "unknown"),
            (&["203.0.113.9, unknown, 10.0.0.7"], "unknown"),
        ] {
            assert_eq!(text(read, lines), client, "{lines:?}");
        }
        let missing = "there is no header X-Forwarded-For with an address";
        for lines in [&[][..], &[""], &[" , ,"]] {
            assert_eq!(text(read, lines), missing, "{lines:?}");
        }
        let wrong = |found: &str| {
            format!(
                "X-Forwarded-For has '{found}' where a client's address must be; IPv4, IPv4:PORT, IPv6, [IPv6]:PORT or \
                 unknown"
            )
        };
        assert_eq!(text(read, &["203.0.113.9, localhost"]), wrong("localhost"));
        assert_eq!(text(read, &["203.0.113.9, \"127.0.0.1\", 10.0.0.7"]), wrong("\"127.0.0.1\""));
        assert_eq!(text(read, &["203.0.113.9 10.0.0.7"]), wrong("203.0.113.9 10.0.0.7"));
        let long = "x".repeat(61);
        assert_eq!(text(read, &[&long]), wrong(&format!("{}…", &long[..60])));
    }

    #[test]
    fn of_forwarded_the_last_for_that_is_no_proxy_counts() {
        let read: Read = |lines| forwarded(lines, is_ours);
        for (lines, client) in [
            (&["for=203.0.113.9"][..], "203.0.113.9"),
            (&["For=203.0.113.9;proto=https;by=203.0.113.43"], "203.0.113.9"),
            (&["proto=http; for=\"203.0.113.9:51512\" ; host=a"], "203.0.113.9:51512"),
            (&["for=203.0.113.9:51512"], "203.0.113.9:51512"),
            (&["for=\"[2001:db8::1]:443\""], "[2001:db8::1]:443"),
            (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=\"203.0.113\\.9\""], "203.0.113.9"),
            (&["for=127.0.0.1, for=203.0.113.9"], "203.0.113.9"),
            (&["for=127.0.0.1", "for=203.0.113.9"], "203.0.113.9"),
            (&["for=\"a, for=127.0.0.1\", for=203.0.113.9"], "203.0.113.9"),
            (&["for=6.6.6.6, for=203.0.113.9, for=10.0.0.7"], "203.0.113.9"),
            (&["for=127.0.0.1"], "127.0.0.1"),
            (&[", for=203.0.113.9 , ,;"], "203.0.113.9"),
            (&["for=203.0.113.9, for=unknown"], "unknown"),
            (&["for=\"_gazonk\""], "unknown"),
            (&["for=_SEVKISEK:80"], "unknown"),
            (&["for=unknown:_port, for=10.0.0.7"], "unknown"),
        ] {
            assert_eq!(text(read, lines), client, "{lines:?}");
        }
        for (lines, why) in [
            (&[][..], "there is no header Forwarded with an address"),
            (&[","], "there is no header Forwarded with an address"),
            // What a client begins, the proxy's part must not complete.
            (&["for=\"127.0.0.1, for=203.0.113.9"], "a quoted value with its end"),
            (&["for=\"127.0.0.1\\, for=\"[2001:db8::1]\""], "';', ',' or the end"),
            (&["for=\"x", "for=203.0.113.9"], "a quoted value with its end"),
            (&["for=203.0.113.9;for=127.0.0.1"], "has 'for' twice"),
            (&["for=203.0.113.9;For=203.0.113.9"], "has 'for' twice"),
            (&["for=203.0.113.9, proto=https"], "without 'for'"),
            (
                &["for=2001:db8::1"],
                "Forwarded has '::1' where a value (IPv6 addresses are in quotes and brackets",
            ),
            (&["for=\"2001:db8::1\""], "Forwarded has '2001:db8::1' where a client's address must be; "),
            (&["for=localhost"], "Forwarded has 'localhost' where a client's address must be; "),
            (&["for=[2001:db8::1]"], "IPv6 addresses are in quotes and brackets"),
            (&["for"], "Forwarded has its end where '='"),
            (&["for="], "Forwarded has its end where a value"),
            (&["for =203.0.113.9"], "Forwarded has ' =203.0.113.9' where '='"),
            (&["=203.0.113.9"], "where a parameter's name must be"),
            (&["for=203.0.113.9 for=127.0.0.1"], "';', ',' or the end"),
            (&["\u{1b}[2J"], "Forwarded has '\\u{1b}[2J' where a parameter's name"),
        ] {
            assert!(text(read, lines).contains(why), "{lines:?}: {}", text(read, lines));
        }
    }
}
