//! Who asks: the client of the connection or, where the listener has proxies that name it in HTTP, the client that the
//! request names.

use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use vang_hub::Peer;
use vang_proto::proxy::forwarded::{forwarded, x_forwarded_for};

use super::asked::Visitor;
use crate::client_place::Client;
use crate::net::listen::PeerAddr;
use crate::net::proxies::{Proxies, ProxyKind};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The kind of report for requests of a proxy that names no client.
const NO_CLIENT: &str = "no-client";

impl Visitor {
    /// Who asks. An error: a proxy does not say it as it should, and the reason for its operator.
    pub(super) fn client_by(&self, headers: &HeaderMap) -> Result<Client, String> {
        let Some(proxies) = &self.proxies else {
            let mut client = self.client.clone();
            // A header never makes anybody local: everybody can write one.
            if matches!(client.peer, Peer::Operator | Peer::Local) && is_passed_on(headers) {
                client.peer = Peer::RemoteTls;
            }
            return Ok(client);
        };
        match named(proxies, headers) {
            Ok(from) => Ok(Client::through(proxies, &self.house, from)),
            Err(error) => {
                self.log_no_client(&error);
                let kind = proxies.kind;
                Err(format!(
                    "this address is for proxies that send {} (option proxy={} of --listen): {error}\n",
                    kind.sends(),
                    kind.word()
                ))
            }
        }
    }

    /// A proxy, or somebody in its place, names no client.
    pub(super) fn log_no_client(&self, error: &str) {
        let peer = &self.client.from;
        if self.house.pump.monitoring.reports.admit(NO_CLIENT, Instant::now()) {
            tracing::warn!(%peer, error, "request refused");
        } else {
            tracing::debug!(%peer, error, "request refused");
        }
    }
}

/// The client that the proxy names.
fn named(proxies: &Proxies, headers: &HeaderMap) -> Result<PeerAddr, String> {
    let lines = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let is_proxy = |ip| proxies.has(Some(ip));
    let client = match proxies.kind {
        ProxyKind::Forwarded => forwarded(&lines(header::FORWARDED), is_proxy),
        // With the PROXY protocol there is nothing to be asked here: it names the connection's client.
        ProxyKind::XForwardedFor | ProxyKind::ProxyProtocol => {
            x_forwarded_for(&lines(X_FORWARDED_FOR), is_proxy)
        }
    };
    client.map(PeerAddr::Proxied).map_err(|error| error.to_string())
}

/// Does a proxy say that it asks for another (RFC 7239, RFC 9110 7.6.3, and what nginx and others write)?
fn is_passed_on(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(HeaderName::as_str);
    names.any(|name| matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-"))
}
