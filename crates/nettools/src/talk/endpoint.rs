//! The server to talk to, parsed: a target of every tool, or the URL of a WebSocket.

use std::fmt;
use std::str::FromStr;

use vang_proto::address::AddressError;

use crate::Target;

/// A server to talk to, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub target: Target,
    /// Set for a WebSocket.
    pub web: Option<WebPlace>,
}

/// The place of a WebSocket on its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPlace {
    /// `wss://`.
    pub tls: bool,
    /// Path and query, from `/` on.
    pub path: String,
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{0}")]
    Address(#[from] AddressError),
    #[error(
        "unknown scheme '{0}://'; write HOST:PORT, unix:PATH, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"
    )]
    UnknownScheme(String),
    #[error("a URL has no Unix socket; write ws://HOST:PORT/PATH or wss://HOST:PORT/PATH")]
    UnixUrl,
    #[error("{0:?} is not allowed in a URL; write it as % and two hexadecimal digits")]
    NotInUrl(char),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(typed: &str) -> Result<Endpoint, EndpointError> {
        let Some((scheme, rest)) = typed.split_once("://") else {
            return Ok(Endpoint { target: Target::peer(typed)?, web: None });
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(EndpointError::UnknownScheme(scheme.to_owned())),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // A space or a line end would become a part of the request's head.
        if let Some(wrong) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            return Err(EndpointError::NotInUrl(wrong));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let target = match Target::peer(authority)? {
            Target::Net { host, port } => {
                Target::Net { host, port: port.or(Some(if tls { 443 } else { 80 })) }
            }
            Target::Unix(_) => return Err(EndpointError::UnixUrl),
        };
        Ok(Endpoint { target, web: Some(WebPlace { tls, path }) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.web {
            None => self.target.fmt(f),
            Some(web) => {
                let scheme = if web.tls { "wss" } else { "ws" };
                write!(f, "{scheme}://{}{}", self.target, web.path)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed_and_wrong_ones_are_explained() {
        for (typed, shown) in [
            ("localhost:7", "localhost:7"),
            ("[::1]:7", "[::1]:7"),
            ("unix:/run/x", "unix:/run/x"),
            ("ws://localhost:7/ws", "ws://localhost:7/ws"),
            ("WS://localhost", "ws://localhost:80/"),
            ("wss://[::1]/a?b=c%20d", "wss://[::1]:443/a?b=c%20d"),
            ("ws://h:7?q", "ws://h:7/?q"),
        ] {
            assert_eq!(typed.parse::<Endpoint>().unwrap().to_string(), shown, "{typed}");
        }
        for (typed, said) in [
            ("http://x:1", "unknown scheme 'http://'"),
            ("ws://x:1/a b", "' ' is not allowed"),
            ("ws://x:1/\r\nHost: y", "'\\r' is not allowed"),
            ("ws://x:1/#a", "'#' is not allowed"),
            ("ws://unix:/run/x", "no path in 'unix:'"),
            ("ws://unix:x/", "a URL has no Unix socket"),
            ("ws://x:99999/", "port 99999 is out of range"),
            ("ws://x:0/", "port 0 is out of range"),
            ("x:0", "port 0 is out of range"),
            ("x:http", "port 'http' is not a number"),
        ] {
            let error = typed.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(said), "{typed}: {error}");
        }
    }
}
