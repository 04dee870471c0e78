//! TLS to measure it: the handshake counts, not who the server is. Any certificate is taken, nothing is remembered, and
//! nothing but a ping goes through: `vang_client` is for whoever has something to say.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// What the server says it will speak, where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Nothing is asked for.
    Anything,
    /// vang's own protocol, by its ALPN name.
    Vang,
}

/// What TLS begins with.
pub(crate) fn config(speaks: Speaks) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    // Each handshake is a whole one: a resumed one would be quicker than what people meet.
    config.resumption = rustls::client::Resumption::disabled();
    if speaks == Speaks::Vang {
        config.alpn_protocols = vec![b"vang".to_vec()];
    }
    Ok(Arc::new(config))
}

/// Shakes hands over a connection. The name goes to the server in the clear, as with every TLS.
pub(crate) fn shake<S: Read + Write>(
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

/// Takes any certificate; its key must have signed the handshake all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
