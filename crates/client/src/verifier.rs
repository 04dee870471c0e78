//! The one verifier of server certificates, with a policy. Whatever the policy, the certificate's key must have signed
//! the handshake.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The certificates that are accepted.
#[derive(Debug)]
enum Policy {
    Any,
    /// Those with this key; see `fingerprint`.
    Key(String),
    /// Those that these roots issued, for the name that was connected to.
    Roots(Arc<WebPkiServerVerifier>),
    /// Any, to be compared with known keys after the handshake: see `trust.rs`. Without roots every server is compared
    /// by its key.
    Record(Option<Arc<WebPkiServerVerifier>>),
}

/// Decides about a server's certificate during the handshake.
#[derive(Debug)]
pub struct Verifier {
    policy: Policy,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Seen>>,
}

/// The certificate of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its key's `fingerprint`.
    pub(crate) key: String,
    /// Did one of the system's roots issue it for the server's name?
    pub(crate) is_issued_by_root: bool,
}

impl Verifier {
    /// Accepts any certificate: for measuring, where nothing secret is sent.
    pub fn any() -> Arc<Verifier> {
        Verifier::new(Policy::Any, Arc::new(default_provider()))
    }

    /// Accepts a certificate with this key only: `SHA256:…`, as `fingerprint` gives it.
    pub fn key(fingerprint: &str) -> Arc<Verifier> {
        let key = fingerprint.trim_end_matches('=').to_owned();
        Verifier::new(Policy::Key(key), Arc::new(default_provider()))
    }

    /// Accepts certificates that these roots issued for the server's name. An empty store is an error.
    pub fn roots(roots: RootCertStore) -> Result<Arc<Verifier>, VerifierBuilderError> {
        let provider = Arc::new(default_provider());
        let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        Ok(Verifier::new(Policy::Roots(roots), provider))
    }

    /// Accepts any certificate and records it for `trust::check_pin`.
    pub(crate) fn record() -> Arc<Verifier> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let roots =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        Verifier::new(Policy::Record(roots), provider)
    }

    fn new(policy: Policy, provider: Arc<CryptoProvider>) -> Arc<Verifier> {
        Arc::new(Verifier { policy, provider, seen: Mutex::default() })
    }

    /// A client's TLS configuration with this verifier and without ALPN.
    pub fn config(self: &Arc<Verifier>) -> Result<ClientConfig, Error> {
        Ok(ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth())
    }

    /// The certificate that `record` has seen in a handshake.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, written as ssh does: `SHA256:` and base64 without `=`.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Result<String, Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let key = digest(&SHA256, &parsed.subject_public_key_info());
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(key)))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |roots: &WebPkiServerVerifier| {
            roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.policy {
            Policy::Any => {}
            Policy::Key(key) => {
                let found = fingerprint(end_entity)?;
                if found != *key {
                    return Err(Error::General(format!("the server's key is {found}, not {key}")));
                }
            }
            Policy::Roots(roots) => return verify(roots),
            Policy::Record(roots) => {
                let is_issued_by_root = roots.as_ref().is_some_and(|roots| verify(roots).is_ok());
                let seen = Seen { key: fingerprint(end_entity)?, is_issued_by_root };
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
