//! TLS for the clients among the tools. A client verifies a key or authorities; without either it accepts any certificate
//! and warns, because it cannot detect an interception.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};
use serde::Serialize;
use vang_client::trouble::plain;
use vang_client::verifier::Verifier;

use crate::{Record, Target, ToolError};

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

/// What a client needs to begin TLS with one server.
#[derive(Clone, Debug)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Is the server verified?
    verifies: bool,
}

impl TlsClient {
    /// For this server. A Unix socket and an empty host are this machine.
    pub(crate) fn of(trust: &Trust, to: &Target) -> Result<TlsClient, ToolError> {
        let host = match to {
            Target::Net { host, .. } if !host.is_empty() => host.clone(),
            Target::Net { .. } | Target::Unix(_) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|_| ToolError::Usage(format!("'{host}' is not a valid name for a certificate")))?;
        Ok(TlsClient { config: trust.config()?, name, verifies: *trust != Trust::AnyCertificate })
    }

    /// A connection before its handshake.
    pub(crate) fn connection(&self) -> io::Result<ClientConnection> {
        ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)
    }

    /// The result of a handshake, with the key's fingerprint and the version of TLS.
    pub(crate) fn established(&self, (key, version): (String, &'static str)) -> TlsEstablished {
        TlsEstablished { version, key, verified: self.verifies }
    }
}

impl Trust {
    fn config(&self) -> Result<Arc<ClientConfig>, ToolError> {
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

/// The result of the TLS handshake.
#[derive(Debug, Serialize)]
pub(crate) struct TlsEstablished {
    version: &'static str,
    key: String,
    verified: bool,
}

impl TlsEstablished {
    /// The warning about a server that was not verified.
    pub(crate) fn warning(&self) -> Option<String> {
        (!self.verified).then(|| {
            format!(
                "encrypted, but any server is accepted: compare this key with the one that the server shows, or use \
                 --fingerprint {}",
                self.key
            )
        })
    }
}

impl Record for TlsEstablished {
    const EVENT: &'static str = "tls";
}

impl fmt::Display for TlsEstablished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the server's key is {}", self.version, self.key)?;
        f.write_str(if self.verified { ", verified" } else { ", not verified" })
    }
}

fn authorities(path: &Path) -> Result<Arc<Verifier>, ToolError> {
    const MUST_BE: &str =
        "give a PEM file with the certificates of authorities: blocks of -----BEGIN CERTIFICATE-----";
    let shown = path.display();
    let wrong = |why: &dyn fmt::Display| {
        ToolError::Usage(format!("'{shown}' has no certificates that can be used: {why}; {MUST_BE}"))
    };
    let unread = |error: pem::Error| match error {
        pem::Error::Io(error) => {
            ToolError::Usage(format!("cannot read '{shown}': {}; {MUST_BE}", plain(&error)))
        }
        // Its own text shows the line as numbers.
        pem::Error::MissingSectionEnd { .. } => wrong(&"a block has no END line"),
        other => wrong(&other),
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unread)?;
    if certificates.is_empty() {
        return Err(ToolError::Usage(format!("'{shown}' contains no certificate; {MUST_BE}")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Verifier::roots(roots).map_err(|error| wrong(&error))
}

/// An error of TLS in the middle of reading or writing, in its own words; `None` for one of the socket's.
pub(crate) fn refused(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match inner {
        Error::General(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_refused_with_what_it_must_be() {
        let dir = std::env::temp_dir().join(format!("vang-authorities-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, content: &str| {
            std::fs::write(dir.join(name), content).unwrap();
            dir.join(name)
        };
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (path, why) in [
            (dir.join("none"), "cannot read '"),
            (dir.join("none"), "none': no such file or directory; "),
            (dir.clone(), "cannot read '"),
            (file("empty", "no PEM"), "empty' contains no certificate; "),
            (file("cut", cut), "cut' has no certificates that can be used: a block has no END line; "),
            (file("wrong", wrong), "wrong' has no certificates that can be used: "),
        ] {
            let said = authorities(&path).unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains("os error"), "{said}");
            assert!(said.ends_with(
                "give a PEM file with the certificates of authorities: blocks of -----BEGIN CERTIFICATE-----"
            ));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
