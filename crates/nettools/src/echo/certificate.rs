//! TLS for the echo server, which makes a certificate for the run.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use vang_client::verifier::fingerprint;

use crate::ToolError;

/// The server's certificate and key.
pub(super) struct ServerIdentity {
    pub(super) config: Arc<ServerConfig>,
    pub(super) fingerprint: String,
    /// Both as DER, for the workers of the model `processes`.
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl ServerIdentity {
    /// Makes a key and a certificate for these names, and writes the certificate to a file for clients.
    pub(super) fn make(names: Vec<String>, write_to: Option<&Path>) -> Result<ServerIdentity, ToolError> {
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
        ServerIdentity::of(certificate.der().to_vec(), key.serialize_der())
    }

    /// An identity that exists already.
    pub(super) fn of(certificate: Vec<u8>, key: Vec<u8>) -> Result<ServerIdentity, ToolError> {
        let der = CertificateDer::from(certificate.clone());
        let fingerprint = fingerprint(&der).map_err(|error| library(&error))?;
        let private = PrivateKeyDer::try_from(key.clone()).map_err(|error| library(&error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![der], private))
            .map_err(|error| library(&error))?;
        Ok(ServerIdentity { config: Arc::new(config), fingerprint, certificate, key })
    }
}

fn library(error: &dyn fmt::Display) -> ToolError {
    ToolError::Usage(format!("TLS: {error}"))
}
