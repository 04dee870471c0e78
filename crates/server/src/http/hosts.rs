//! Which names this server goes by, and whether a page may talk to it: what keeps a web page of somebody else's
//! from using a browser to reach a server that only the browser's machine can reach.
//!
//! A `Host` that is an address or `localhost` cannot have been made by somebody's DNS; any other must be one that
//! the server was told (DNS rebinding). An `Origin` must be this very server.

use std::net::{IpAddr, Ipv6Addr};

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Not our name.
    Host(String),
    /// Another server's page.
    Origin(String),
}

/// Is this authority (`name`, `name:port`, `[::1]:port`) one of ours?
pub(crate) fn is_ours(authority: &str, names: &[String]) -> bool {
    let Some(host) = host_of(authority) else { return false };
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(&host))
}

/// Without the port; `None`: it has one that is no number.
fn host_of(authority: &str) -> Option<&str> {
    let is_port =
        |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    (port.is_none_or(is_port) && !host.is_empty()).then_some(host)
}

/// May this request be answered? `origin` is what a browser says of the page that asks.
pub(crate) fn check(host: Option<&str>, origin: Option<&str>, names: &[String]) -> Result<(), Stranger> {
    let host = host.unwrap_or_default();
    if !is_ours(host, names) {
        return Err(Stranger::Host(host.to_owned()));
    }
    let same = |origin: &str| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    match origin {
        Some(origin) if !same(origin) => Err(Stranger::Origin(origin.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_told_names_are_ours() {
        let names = ["Chat.example".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:65432",
            "[::1]",
            "[::1]:80",
            "192.0.2.7:65432",
            "localhost",
            "LOCALHOST:1",
            "x.localhost",
            "localhost.",
            "chat.example",
            "CHAT.example:65432",
        ] {
            assert!(is_ours(ours, &names), "{ours}");
        }
        for other in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "chat.example.evil",
            "127.0.0.1.evil.example",
            "chat.example:x",
            "chat.example:",
            "[::1",
            "[evil]",
            "user@localhost",
            "localhost:123456",
            "chat.example@evil",
        ] {
            assert!(!is_ours(other, &names), "{other}");
        }
    }

    #[test]
    fn a_page_of_another_server_is_a_stranger() {
        let checked = |host, origin| check(Some(host), origin, &[]);
        assert_eq!(checked("localhost:65432", None), Ok(()));
        for ours in ["http://localhost:65432", "https://localhost:65432", "http://LOCALHOST:65432"] {
            assert_eq!(checked("localhost:65432", Some(ours)), Ok(()), "{ours}");
        }
        for other in [
            "http://localhost",
            "http://localhost:1",
            "null",
            "",
            "https://evil.example",
            "file://localhost:65432",
        ] {
            assert_eq!(checked("localhost:65432", Some(other)), Err(Stranger::Origin(other.to_owned())));
        }
        assert_eq!(check(None, None, &[]), Err(Stranger::Host(String::new())));
    }
}
