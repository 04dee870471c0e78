//! The server's key and certificate: its own, made at the first start, or given files. Clients pin the key on
//! first use, as they do with ssh, so an own certificate never ends.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files::read_file;

/// What a client may ask for inside TLS by ALPN; without it the first bytes tell.
pub(crate) const ALPN_NATIVE: &[u8] = b"vang";
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// Given files, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that signed it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// A file has not what it should.
    #[error("{}: {why}", path.display())]
    Content {
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(String),
}

/// What connections begin TLS with, and how the key is recognised.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) fingerprint: String,
    /// Made by the server: nobody else vouches for it, so browsers warn.
    pub(crate) is_own: bool,
}

/// From the given files, or from the server's own in `folder`, which are made when there are none.
pub(crate) fn load(given: Option<&TlsFiles>, folder: &Path, names: &[String]) -> Result<Tls, TlsError> {
    let own = TlsFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    if given.is_none() && !own.key.exists() {
        make(folder, &own, names)?;
    }
    let files = given.unwrap_or(&own);
    let read = |path: &Path| {
        read_file(path).map_err(|source| TlsError::Io { what: "read", path: path.to_owned(), source })
    };
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(&files.certificate, error))?;
    let Some(first) = chain.first().cloned() else {
        let why = "there is no certificate in it (a PEM file has one between BEGIN and END CERTIFICATE)";
        return Err(TlsError::Content { path: files.certificate.clone(), why: why.to_owned() });
    };
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| pem_error(&files.key, error))?;
    let fingerprint =
        fingerprint(&first).map_err(|why| TlsError::Content { path: files.certificate.clone(), why })?;
    let library = |error: rustls::Error| TlsError::Library(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(library)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Content { path: files.key.clone(), why: error.to_string() })?;
    config.alpn_protocols = vec![ALPN_NATIVE.to_vec(), ALPN_HTTP.to_vec()];
    // Tickets keep resumption without memory for each client.
    config.ticketer = Ticketer::new().map_err(library)?;
    config.send_tls13_tickets = 1;
    Ok(Tls { config: Arc::new(config), fingerprint, is_own: given.is_none() })
}

fn pem_error(path: &Path, error: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::Content { path: path.to_owned(), why: error.to_string() }
}

/// Makes a key and a certificate for it. The key is written first: a start that was cut makes both again only
/// while nobody can have seen them.
fn make(folder: &Path, own: &TlsFiles, names: &[String]) -> Result<(), TlsError> {
    let library = |error: rcgen::Error| TlsError::Library(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library)?;
    // A name in other letters has no place in a certificate; browsers ask for it in ASCII (punycode) anyway.
    let names: Vec<String> =
        names.iter().filter(|name| name.is_ascii()).map(|name| without_scope(name).to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(library)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "vang");
    params.not_before = date_time_ymd(2020, 1, 1);
    // RFC 5280, 4.1.2.5: no end that could be told.
    params.not_after = date_time_ymd(9999, 12, 31);
    let certificate = params.self_signed(&key).map_err(library)?;
    let io = |what, path: &Path, source| TlsError::Io { what, path: path.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io("make", folder, error)),
        _ => {}
    }
    // The key last: where it is, both are.
    for (path, pem) in [(&own.certificate, certificate.pem()), (&own.key, key.serialize_pem())] {
        write_whole(path, pem.as_bytes()).map_err(|source| io("write", path, source))?;
    }
    Ok(())
}

/// An address goes into a certificate as its bytes (RFC 5280, 4.2.1.6), which have no place for the scope that is this
/// machine's own word for a cable.
fn without_scope(name: &str) -> &str {
    match name.split_once('%') {
        Some((ip, _)) if ip.parse::<Ipv6Addr>().is_ok() => ip,
        _ => name,
    }
}

/// The file is there whole or not at all, and for its owner only.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// SHA-256 of the public key as it stands in the certificate: it stays when a certificate is renewed with the
/// same key. Written as ssh does.
fn fingerprint(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    let key = parsed.subject_public_key_info();
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["localhost", "127.0.0.1", "chat.example", "bücher.example"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_own_key_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tls");
        let first = load(None, &folder, &names()).unwrap();
        assert!(first.fingerprint.starts_with("SHA256:") && first.fingerprint.len() == 50);
        assert_eq!(load(None, &folder, &names()).unwrap().fingerprint, first.fingerprint);
        for file in ["key.pem", "certificate.pem"] {
            assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // A start that was cut before the key: both are made again.
        fs::remove_file(folder.join("key.pem")).unwrap();
        assert_ne!(load(None, &folder, &names()).unwrap().fingerprint, first.fingerprint);
    }

    #[test]
    fn an_address_stands_in_the_own_certificate_as_its_bytes_without_a_scope() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tls");
        load(None, &folder, &["fe80::a%va".to_owned(), "x%y.example".to_owned()]).unwrap();
        let pem = CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap();
        let has = |part: &[u8]| pem.windows(part.len()).any(|bytes| bytes == part);
        let address = "fe80::a".parse::<Ipv6Addr>().unwrap().octets();
        // Context tag 7, iPAddress, of 16 bytes.
        assert!(has(&[&[0x87, 16][..], &address].concat()) && !has(b"%va") && has(b"x%y.example"));
    }

    #[test]
    fn invalid_tls_files_are_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["one", "two"] {
            load(None, &at(folder), &names()).unwrap();
        }
        let refusal = |certificate: &str, key: &str| {
            let files = TlsFiles { certificate: at(certificate), key: at(key) };
            load(Some(&files), &at("none"), &[]).map(|_| ()).unwrap_err().to_string()
        };
        fs::write(at("empty.pem"), "").unwrap();
        assert!(refusal("gone.pem", "one/key.pem").contains("cannot read"));
        assert!(refusal("empty.pem", "one/key.pem").contains("empty.pem: there is no certificate in it"));
        assert!(refusal("one/certificate.pem", "empty.pem").contains("empty.pem: "));
        assert!(
            refusal("one/certificate.pem", "two/key.pem").contains("key.pem: keys may not be consistent")
        );
        assert!(!at("none").exists());
    }
}
