//! Which names this server goes by, and whether a page may talk to it: what keeps a web page of somebody else's
//! from using a browser to reach a server that only the browser's machine can reach.
//!
//! A `Host` that is an address or `localhost` cannot have been made by somebody's DNS; any other must be one that
//! the server was given (DNS rebinding). An `Origin` must be this very server: the `Host` of the request, or a name
//! that the server was given. Both are compared as what they mean (RFC 6454, 4): a scheme's default port is as good as
//! none, a name's case and last dot mean nothing. A `Host` without a port comes from a proxy that left it out, so names
//! alone are compared then.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Not our name.
    Host(String),
    /// Another server's page.
    Origin(String),
}

/// `name`, `name:port`, `[::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case, without a last dot.
    Name(String),
}

impl Authority {
    /// `None`: it has no host, or a port that is no number.
    pub(crate) fn read(text: &str) -> Option<Authority> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Authority { host: Host::Address(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        let host = match host.strip_prefix('[') {
            Some(inside) => Host::Address(inside.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()),
            None => match host.parse::<IpAddr>() {
                Ok(address) => Host::Address(address),
                Err(_) => Host::Name(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()),
            },
        };
        (host != Host::Name(String::new())).then_some(Authority { host, port })
    }

    /// The name alone, for a certificate.
    pub(crate) fn host(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    fn is_ours(&self, names: &[Authority]) -> bool {
        match &self.host {
            Host::Address(_) => true,
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => true,
            Host::Name(_) => names.iter().any(|name| name.host == self.host),
        }
    }
}

/// What a server goes by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Every name, of which the port does not matter.
    pub(crate) all: Vec<Authority>,
    /// Those given by the operator as `--name`: their pages are the server's own, also behind a proxy.
    pub(crate) configured: Vec<Authority>,
}

/// Where people open the page, for links that are sent to them: under the first name that the operator gave, or at the address of a
/// listener at which they need no proxy. `None`: other machines reach every address of this machine, and nobody said by which name.
pub(crate) fn page_address<'a>(
    configured: &[Authority],
    client_addresses: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let addresses = client_addresses.filter_map(|shown| shown.parse::<SocketAddr>().ok());
    let (own, beyond): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.partition(|addr| addr.ip().to_canonical().is_loopback());
    if let Some(name) = configured.first() {
        // Without a listener for other machines there is a proxy before the server, at the default port.
        let port = name.port.or_else(|| beyond.first().map(SocketAddr::port)).filter(|port| *port != 443);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        return Some(match &name.host {
            Host::Address(IpAddr::V6(address)) => format!("https://[{address}]{port}/"),
            _ => format!("https://{}{port}/", name.host()),
        });
    }
    let one = beyond.iter().find(|addr| !addr.ip().is_unspecified());
    let one = one.map(|addr| format!("https://{addr}/"));
    one.or_else(|| own.first().filter(|_| beyond.is_empty()).map(|addr| format!("http://{addr}/")))
}

/// May this request be answered? `origin` is what a browser says of the page that asks.
pub(crate) fn check(host: Option<&str>, origin: Option<&str>, names: &Names) -> Result<(), Stranger> {
    let text = host.unwrap_or_default();
    let host = Authority::read(text).filter(|host| host.is_ours(&names.all));
    let host = host.ok_or_else(|| Stranger::Host(text.to_owned()))?;
    match origin {
        Some(origin) if !is_same(origin, &host, &names.configured) => {
            Err(Stranger::Origin(origin.to_owned()))
        }
        _ => Ok(()),
    }
}

fn is_same(origin: &str, host: &Authority, configured: &[Authority]) -> bool {
    let Some((scheme, page)) = origin.split_once("://") else { return false };
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Some(page) = Authority::read(page) else { return false };
    let port = page.port.unwrap_or(usual);
    let is_host = page.host == host.host && host.port.is_none_or(|asked| asked == port);
    is_host || configured.iter().any(|name| name.host == page.host && name.port.unwrap_or(usual) == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(configured: &[&str]) -> Names {
        let configured: Vec<Authority> =
            configured.iter().map(|name| Authority::read(name).unwrap()).collect();
        Names { all: configured.clone(), configured }
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        let names = names(&["Chat.example"]);
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
            assert_eq!(check(Some(ours), None, &names), Ok(()), "{ours}");
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
            "localhost:65536",
            "chat.example@evil",
        ] {
            assert_eq!(check(Some(other), None, &names), Err(Stranger::Host(other.to_owned())), "{other}");
        }
        assert_eq!(check(None, None, &names), Err(Stranger::Host(String::new())));
    }

    #[test]
    fn a_link_leads_to_a_name_or_to_an_address_that_is_known() {
        let page = |names: &[&str], listeners: &[&str]| {
            let names: Vec<Authority> = names.iter().map(|name| Authority::read(name).unwrap()).collect();
            page_address(&names, listeners.iter().copied())
        };
        for (names, listeners, expected) in [
            (&[][..], &["127.0.0.1:65432"][..], "http://127.0.0.1:65432/"),
            (&[], &["unix:/run/vang", "[::1]:7"], "http://[::1]:7/"),
            (&[], &["127.0.0.1:7", "192.0.2.7:65432"], "https://192.0.2.7:65432/"),
            (&["chat.example"], &["0.0.0.0:65432", "[::]:65432"], "https://chat.example:65432/"),
            (&["chat.example", "talk.example"], &["0.0.0.0:443"], "https://chat.example/"),
            (&["chat.example:8443"], &["0.0.0.0:65432"], "https://chat.example:8443/"),
            // Behind a proxy.
            (&["chat.example"], &["127.0.0.1:65432"], "https://chat.example/"),
            (&["chat.example"], &[], "https://chat.example/"),
            (&["2001:db8::7"], &["unix:/run/vang"], "https://[2001:db8::7]/"),
        ] {
            assert_eq!(page(names, listeners).as_deref(), Some(expected), "{names:?} {listeners:?}");
        }
        for listeners in [&["0.0.0.0:65432"][..], &["127.0.0.1:7", "[::]:65432"], &["unix:/run/vang"], &[]] {
            assert_eq!(page(&[], listeners), None, "{listeners:?}");
        }
    }

    #[test]
    fn a_page_is_ours_by_what_its_origin_means() {
        let configured = names(&["chat.example", "talk.example:8443"]);
        for (host, origin) in [
            ("localhost:65432", "http://localhost:65432"),
            ("localhost:65432", "https://localhost:65432"),
            ("localhost:65432", "http://LOCALHOST:65432"),
            ("localhost.:65432", "http://localhost:65432"),
            ("[::1]:7", "http://[0:0::1]:7"),
            // Default ports.
            ("127.0.0.1:80", "http://127.0.0.1"),
            ("chat.example:443", "https://chat.example"),
            ("chat.example", "http://chat.example:80"),
            // A proxy that leaves the port out (nginx's $host).
            ("localhost", "http://localhost:8443"),
            // A proxy that asks by another name (nginx's $proxy_host): a configured name.
            ("127.0.0.1:65432", "https://chat.example"),
            ("127.0.0.1:65432", "http://chat.example:80"),
            ("127.0.0.1:65432", "https://talk.example:8443"),
        ] {
            assert_eq!(check(Some(host), Some(origin), &configured), Ok(()), "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost:65432", "http://localhost"),
            ("localhost:65432", "http://localhost:1"),
            ("localhost:65432", "http://127.0.0.1:65432"),
            ("localhost:80", "https://localhost"),
            ("127.0.0.1:65432", "https://chat.example:1"),
            ("127.0.0.1:65432", "https://talk.example"),
            ("localhost:65432", "null"),
            ("localhost:65432", ""),
            ("localhost:65432", "https://evil.example"),
            ("localhost", "https://evil.example"),
            ("localhost:65432", "file://localhost:65432"),
            ("localhost", "http://localhost/"),
            ("localhost", "http://user@localhost"),
        ] {
            let stranger = Err(Stranger::Origin(origin.to_owned()));
            assert_eq!(check(Some(host), Some(origin), &configured), stranger, "{host} {origin}");
        }
    }
}
