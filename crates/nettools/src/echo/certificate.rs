//! TLS for the echo pair: the server's certificate is made for the run and forgotten; a client says whom it believes.
//! Without anything to compare with it believes everybody, and says so: whoever stands between is not noticed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};

use crate::Failure;

/// Whom a client believes to be the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whoever answers.
    #[default]
    Anybody,
    /// Whoever has this key: `SHA256:…`, the SHA-256 of its SubjectPublicKeyInfo in base64 without `=`.
    Key(String),
    /// Whom a certificate of this PEM file vouches for, by the name that was connected to.
    Authorities(PathBuf),
}

/// What a server of the run shows.
pub(super) struct Own {
    pub(super) config: Arc<ServerConfig>,
    pub(super) fingerprint: String,
}

impl Own {
    /// Makes a key and a certificate for these names; writes the certificate where a client may read it.
    pub(super) fn make(names: Vec<String>, write_to: Option<&Path>) -> Result<Own, Failure> {
        let library = |error: &dyn fmt::Display| Failure::Usage(format!("TLS: {error}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| library(&error))?;
        let mut params = CertificateParams::new(names).map_err(|error| library(&error))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "vang net echo");
        let certificate = params.self_signed(&key).map_err(|error| library(&error))?;
        if let Some(path) = write_to {
            std::fs::write(path, certificate.pem()).map_err(|error| {
                let why = vang_client::trouble::plain(&error);
                Failure::Usage(format!("cannot write the certificate to {}: {why}", path.display()))
            })?;
        }
        let fingerprint = fingerprint(certificate.der()).map_err(|error| library(&error))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| library(&error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .map_err(|error| library(&error))?;
        Ok(Own { config: Arc::new(config), fingerprint })
    }
}

/// SHA-256 of the public key as it stands in the certificate, written as ssh does.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Result<String, Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
    let key = parsed.subject_public_key_info();
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &key))))
}

impl Trust {
    /// What a client begins TLS with.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let library = |error: &dyn fmt::Display| Failure::Usage(format!("TLS: {error}"));
        let provider = Arc::new(default_provider());
        let authorities = match self {
            Trust::Authorities(path) => Some(authorities(path, &provider)?),
            Trust::Anybody | Trust::Key(_) => None,
        };
        let key = if let Trust::Key(key) = self { Some(key.trim_end_matches('=').to_owned()) } else { None };
        let verifier = Verifier { provider: provider.clone(), authorities, key };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| library(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn authorities(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    let wrong = |why: &dyn fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| wrong(&error))
}

/// Compares what the server shows with what is trusted.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    key: Option<String>,
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
        if let Some(authorities) = &self.authorities {
            return authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        let shown = fingerprint(end_entity)?;
        match &self.key {
            Some(key) if *key != shown => {
                Err(Error::General(format!("the server's key is {shown}, not {key}")))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
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

/// An error of TLS in the middle of reading or writing, in its own words; `None` for one of the socket's.
pub(super) fn refused(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match inner {
        Error::General(text) => text.clone(),
        other => other.to_string(),
    })
}
