//! Is this the server that we know? As ssh does it: its key is remembered at the first visit, and another one is
//! refused later. A certificate that the system's own authorities vouch for may change its key.
//!
//! ```text
//! chat.example:65432 SHA256:…        a line each in $XDG_CONFIG_HOME/vang/known_servers
//! chat.example:443 authority         an authority vouched for it: from then on, one always must
//! ```
//!
//! It never asks: who runs a script gets the same answer as a person. The first visit is the one that must be
//! trusted; whoever wants more compares the key with what the server's operator says.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How long another program may hold the file of known servers.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// A server that we see for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Where it is.
    pub place: String,
    /// Its key, as `SHA256:…`.
    pub key: String,
    /// Where that is remembered.
    pub file: PathBuf,
}

static FIRST_USE_HOOK: OnceLock<fn(&Meeting)> = OnceLock::new();

/// Calls this whenever a server was met for the first time. Of several callers the first counts.
pub fn on_first_meeting(herald: fn(&Meeting)) {
    let _ = FIRST_USE_HOOK.set(herald);
}

/// Why a key is not accepted.
#[derive(Debug)]
pub(crate) enum PinError {
    /// Another key is known.
    Other { key: String, known: String, file: PathBuf, line: usize },
    /// Keys cannot be remembered.
    CannotStore { file: PathBuf, why: io::Error },
    /// There is no folder to remember them in.
    NoStore,
}

/// Looks the key up; remembers it when the place is new.
pub(crate) fn recognise(place: &str, key: &str) -> Result<(), PinError> {
    let file = known_servers().ok_or(PinError::NoStore)?;
    match look_up(&file, place, key) {
        Ok(Known::Same) => Ok(()),
        Ok(Known::New) => {
            if let Some(herald) = FIRST_USE_HOOK.get() {
                herald(&Meeting { place: place.to_owned(), key: key.to_owned(), file });
            }
            Ok(())
        }
        Ok(Known::Other { known, line }) => Err(PinError::Other { key: key.to_owned(), known, file, line }),
        Err(why) => Err(PinError::CannotStore { file, why }),
    }
}

fn known_servers() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("vang").join("known_servers"))
}

#[derive(Debug, PartialEq, Eq)]
enum Known {
    Same,
    New,
    Other { known: String, line: usize },
}

/// Stands for the key of a server that an authority vouched for.
const AUTHORITY: &str = "authority";

fn find(text: &str, place: &str, key: &str) -> Known {
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        if words.next() == Some(place) {
            let known = match words.next().unwrap_or_default() {
                same if same == key => return Known::Same,
                AUTHORITY => "vouched for by an authority",
                other => other,
            };
            return Known::Other { known: known.to_owned(), line: index + 1 };
        }
    }
    Known::New
}

fn look_up(file: &Path, place: &str, key: &str) -> io::Result<Known> {
    // Most often there is nothing to write: then it may be somebody else's file.
    match fs::read_to_string(file) {
        Ok(text) => match find(&text, place, key) {
            Known::New => {}
            known => return Ok(known),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    // Two programs that meet a server at once write one line. It takes them no time.
    let until = Instant::now() + LOCK_WAIT;
    while let Err(TryLockError::WouldBlock) = File::try_lock(&opened) {
        if Instant::now() >= until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "somebody holds its lock"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    opened.read_to_string(&mut text)?;
    match find(&text, place, key) {
        Known::New => {}
        known => return Ok(known),
    }
    opened.seek(SeekFrom::End(0))?;
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    opened.write_all(format!("{gap}{place} {key}\n").as_bytes())?;
    Ok(Known::New)
}

/// Takes any certificate and remembers what to make of it: whether an authority vouches for it, and its key.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    vouched: AtomicBool,
    key: Mutex<String>,
}

impl PinVerifier {
    /// What TLS begins with, and who tells afterwards what was seen.
    pub(crate) fn config() -> Result<(Arc<ClientConfig>, Arc<PinVerifier>), rustls::Error> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        // A machine without any authorities still knows the keys that it has seen.
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        let witness = Arc::new(PinVerifier {
            authorities,
            provider: provider.clone(),
            vouched: AtomicBool::new(false),
            key: Mutex::default(),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"vang".to_vec()];
        Ok((Arc::new(config), witness))
    }

    /// After the handshake: is it who we think?
    pub(crate) fn judge(&self, place: &str) -> Result<(), PinError> {
        if self.vouched.load(Ordering::Relaxed) {
            // From here on a server without that is another one. Where this cannot be remembered it is as safe as
            // with any browser.
            if let Some(file) = known_servers() {
                let _ = look_up(&file, place, AUTHORITY);
            }
            return Ok(());
        }
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        recognise(place, &key)
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let vouched = self.authorities.as_ref().is_some_and(|authorities| {
            authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).is_ok()
        });
        self.vouched.store(vouched, Ordering::Relaxed);
        let parsed = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let key = digest(&SHA256, &parsed.subject_public_key_info());
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) =
            format!("SHA256:{}", STANDARD_NO_PAD.encode(key));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_once_and_another_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/known_servers");
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "a:11", "SHA256:y").unwrap(), Known::New);
        let other = Known::Other { known: "SHA256:y".to_owned(), line: 2 };
        assert_eq!(look_up(&file, "a:11", "SHA256:z").unwrap(), other);
        assert_eq!(fs::read_to_string(&file).unwrap(), "a:1 SHA256:x\na:11 SHA256:y\n");
    }

    #[test]
    fn who_was_vouched_for_once_must_be_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        assert_eq!(look_up(&file, "a:1", AUTHORITY).unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", AUTHORITY).unwrap(), Known::Same);
        let other = Known::Other { known: "vouched for by an authority".to_owned(), line: 1 };
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), other);
    }

    #[test]
    fn a_file_that_can_only_be_read_is_enough_for_who_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        fs::write(&file, "a:1 SHA256:x\n").unwrap();
        let held = File::open(&file).unwrap();
        held.lock().unwrap();
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "b:1", "SHA256:x").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_that_a_person_wrote_without_a_last_line_end_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_servers");
        fs::write(&file, "# mine\na:1 SHA256:x").unwrap();
        assert_eq!(look_up(&file, "b:1", "SHA256:y").unwrap(), Known::New);
        assert_eq!(look_up(&file, "a:1", "SHA256:x").unwrap(), Known::Same);
        assert_eq!(look_up(&file, "b:1", "SHA256:y").unwrap(), Known::Same);
    }
}
