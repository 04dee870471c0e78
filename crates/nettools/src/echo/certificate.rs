//! TLS for echo. The server makes a certificate for the run. A client verifies a key or authorities; without either it
//! accepts any certificate and warns, because it cannot detect an interception.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use vang_client::verifier::{Verifier, fingerprint};

use crate::ToolError;

/// How a client verifies the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    #[default]
    AnyCertificate,
    /// This key: `SHA256:…`, the SHA-256 of the SubjectPublicKeyInfo in base64 without `=`.
    Key(String),
    /// A certificate for the server's name, issued by an authority in this PEM file.
    Authorities(PathBuf),
}

/// The server's certificate and key.
pub(super) struct ServerIdentity {
    pub(super) config: Arc<ServerConfig>,
    pub(super) fingerprint: String,
}

impl ServerIdentity {
    /// Makes a key and a certificate for these names, and writes the certificate to a file for clients.
    pub(super) fn make(names: Vec<String>, write_to: Option<&Path>) -> Result<ServerIdentity, ToolError> {
        let library = |error: &dyn fmt::Display| ToolError::Usage(format!("TLS: {error}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| library(&error))?;
        let mut params = CertificateParams::new(names).map_err(|error| library(&error))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "vang net echo");
        let certificate = params.self_signed(&key).map_err(|error| library(&error))?;
        if let Some(path) = write_to {
            std::fs::write(path, certificate.pem()).map_err(|error| {
                let why = vang_client::trouble::plain(&error);
                ToolError::Usage(format!("cannot write the certificate to {}: {why}", path.display()))
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
        Ok(ServerIdentity { config: Arc::new(config), fingerprint })
    }
}

impl Trust {
    /// The client's TLS configuration.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, ToolError> {
        let library = |error: &dyn fmt::Display| ToolError::Usage(format!("TLS: {error}"));
        let verifier = match self {
            Trust::AnyCertificate => Verifier::any(),
            Trust::Key(key) => Verifier::key(key),
            Trust::Authorities(path) => authorities(path)?,
        };
        let config = verifier.config().map_err(|error| library(&error))?;
        Ok(Arc::new(config))
    }
}

fn authorities(path: &Path) -> Result<Arc<Verifier>, ToolError> {
    let wrong = |why: &dyn fmt::Display| ToolError::Usage(format!("{}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Verifier::roots(roots).map_err(|error| wrong(&error))
}

/// An error of TLS in the middle of reading or writing, in its own words; `None` for one of the socket's.
pub(super) fn refused(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match inner {
        Error::General(text) => text.clone(),
        other => other.to_string(),
    })
}
