//! A TLS handshake for measuring. Any certificate is accepted and nothing is stored, because only a ping is sent over it.
//! `vang_client` verifies servers.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use vang_client::verifier::Verifier;

/// The ALPN protocol to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlpnOffer {
    /// No ALPN.
    Anything,
    Vang,
}

/// The client configuration.
pub(crate) fn config(alpn: AlpnOffer) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = Verifier::any().config()?;
    // No resumption: a resumed handshake would be faster than a usual one.
    config.resumption = rustls::client::Resumption::disabled();
    if alpn == AlpnOffer::Vang {
        config.alpn_protocols = vec![b"vang".to_vec()];
    }
    Ok(Arc::new(config))
}

/// Performs the handshake. The server name is sent unencrypted, as always in TLS.
pub(crate) fn handshake<S: Read + Write>(
    config: Arc<ClientConfig>,
    host: &str,
    ip: IpAddr,
    stream: S,
) -> Result<StreamOwned<ClientConnection, S>, (io::Error, S)> {
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(ip));
    let connection = match ClientConnection::new(config, name) {
        Ok(connection) => connection,
        Err(error) => return Err((io::Error::other(error), stream)),
    };
    let mut tls = StreamOwned::new(connection, stream);
    while tls.conn.is_handshaking() {
        if let Err(error) = tls.conn.complete_io(&mut tls.sock) {
            let (_, stream) = tls.into_parts();
            return Err((error, stream));
        }
    }
    Ok(tls)
}
