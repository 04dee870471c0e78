//! Verifiers as payloads of the journal: sealed, so that neither `journal.db` without its key nor a backup's readable
//! part shows one, and none can be put under another account.
//!
//! ```text
//! payload = {0: 1, 1: nonce, 2: sealed}      a CBOR map with rising numbers as keys (RFC 8949)
//! sealed  = AES-256-GCM-SIV(key, nonce, associated data, {1: verifier of Argon2id, as a PHC string})
//! key     = BLAKE3 derive_key("vang 1 verifiers", the journal's key)
//! associated data = the account's id, 8 bytes, big-endian
//! ```
//!
//! GCM-SIV (RFC 8452): a nonce that comes twice shows no more than that two verifiers are the same; with GCM it would give
//! the key of the tags away. A newer program may add keys behind those of both maps; they are skipped. The journal's copy
//! under a new id keeps its key, so its people keep their passwords.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bytes::Bytes;
use minicbor::{Decoder, Encoder, decode};
use vang_chat::AccountId;
use vang_journal::Identity;
use zeroize::Zeroizing;

use super::password::{VERIFIER_BYTES_MAX, Verifier};

/// Of the key that is derived.
const CONTEXT: &str = "vang 1 verifiers";

const FORMAT: u16 = 1;

const FORMAT_KEY: u64 = 0;
const NONCE: u64 = 1;
const SEALED: u64 = 2;

const ARGON2: u64 = 1;

/// A payload that is longer is not opened: twice what a verifier needs, for the keys of a newer program.
const PAYLOAD_BYTES_MAX: usize = 2 * (VERIFIER_BYTES_MAX + 64);

/// A verifier could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SealError {
    /// The random number generator or the cipher failed.
    #[error("the verifier could not be sealed: the system gave no random numbers")]
    NotSealed,
    /// Its shape is not ours.
    #[error("the verifier's payload is malformed: {0}")]
    Malformed(String),
    #[error("the verifier's payload has format {found}; this program reads {FORMAT}: start a newer vang")]
    OtherFormat { found: u16 },
    /// Changed, of another account, or of another journal.
    #[error(
        "the verifier's payload is not this account's: it was changed, or belongs to another account or journal"
    )]
    NotOurs,
}

impl From<decode::Error> for SealError {
    fn from(error: decode::Error) -> SealError {
        SealError::Malformed(error.to_string())
    }
}

/// Seals and opens the verifiers of one journal.
pub(crate) struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    pub(crate) fn new(journal: &Identity) -> Sealer {
        let key = Zeroizing::new(blake3::derive_key(CONTEXT, &journal.key));
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key).expect("a key of BLAKE3 has 32 bytes");
        Sealer { key }
    }

    /// The payload for an account's verifier. It costs microseconds: any thread may.
    pub(crate) fn seal(&self, account: AccountId, verifier: &Verifier) -> Result<Bytes, SealError> {
        let mut sealed = Zeroizing::new(Vec::with_capacity(verifier.as_str().len() + 32));
        let mut e = Encoder::new(&mut *sealed);
        let mut write = || e.map(1)?.u64(ARGON2)?.str(verifier.as_str())?.ok();
        write().expect("writing to a Vec cannot fail");
        let nonce = self.key.seal_in_place_append_tag(aad(account), &mut *sealed);
        let nonce = nonce.map_err(|_| SealError::NotSealed)?;

        let mut bytes = Vec::with_capacity(sealed.len() + NONCE_LEN + 16);
        let mut e = Encoder::new(&mut bytes);
        let mut write = || {
            e.map(3)?.u64(FORMAT_KEY)?.u16(FORMAT)?;
            e.u64(NONCE)?.bytes(nonce.as_ref())?.u64(SEALED)?.bytes(&sealed)?.ok()
        };
        write().expect("writing to a Vec cannot fail");
        Ok(Bytes::from(bytes))
    }

    /// The verifier in an account's payload. What the file says is not believed: see `Verifier::parse`.
    pub(crate) fn open(&self, account: AccountId, payload: &[u8]) -> Result<Verifier, SealError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let found = payload.len();
            return Err(SealError::Malformed(format!("{found} bytes, more than {PAYLOAD_BYTES_MAX}")));
        }
        let (nonce, sealed) = parts(payload)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| {
            SealError::Malformed(format!("a nonce of {} bytes, not {NONCE_LEN}", nonce.len()))
        })?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let plain = self.key.open_in_place(nonce, aad(account), &mut plain);
        let plain: &[u8] = plain.map_err(|_| SealError::NotOurs)?;

        let mut d = Decoder::new(plain);
        let keys = length(&mut d)?;
        if keys == 0 || d.u64()? != ARGON2 {
            return Err(SealError::Malformed("no verifier of Argon2id in it".to_owned()));
        }
        let verifier = Verifier::parse(d.str()?).map_err(|error| SealError::Malformed(error.to_string()))?;
        skip(d, keys - 1, ARGON2, plain)?;
        Ok(verifier)
    }
}

fn aad(account: AccountId) -> Aad<[u8; 8]> {
    Aad::from(account.0.to_be_bytes())
}

/// The nonce, and what is sealed.
fn parts(payload: &[u8]) -> Result<(&[u8], &[u8]), SealError> {
    let mut d = Decoder::new(payload);
    let keys = length(&mut d)?;
    if keys == 0 || d.u64()? != FORMAT_KEY {
        return Err(SealError::Malformed("no format in it".to_owned()));
    }
    let found = d.u16()?;
    if found != FORMAT {
        return Err(SealError::OtherFormat { found });
    }
    if keys < 3 || d.u64()? != NONCE {
        return Err(SealError::Malformed("no nonce in it".to_owned()));
    }
    let nonce = d.bytes()?;
    if d.u64()? != SEALED {
        return Err(SealError::Malformed("nothing sealed in it".to_owned()));
    }
    let sealed = d.bytes()?;
    skip(d, keys - 3, SEALED, payload)?;
    Ok((nonce, sealed))
}

fn length(d: &mut Decoder<'_>) -> Result<u64, SealError> {
    d.map()?.ok_or_else(|| SealError::Malformed("a map without a length".to_owned()))
}

/// Skips the keys of a newer program, all above `last`. Behind them must be nothing.
fn skip(mut d: Decoder<'_>, keys: u64, mut last: u64, bytes: &[u8]) -> Result<(), SealError> {
    for _ in 0..keys {
        let key = d.u64()?;
        if key <= last {
            return Err(SealError::Malformed(format!("key {key} behind key {last}")));
        }
        last = key;
        d.skip()?;
    }
    match bytes.len() - d.position() {
        0 => Ok(()),
        more => Err(SealError::Malformed(format!("{more} bytes behind its end"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal(key: u8) -> Sealer {
        Sealer::new(&Identity::new([1; 16], [key; 32]))
    }

    fn verifier() -> Verifier {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let hash = "UIKKzXoTxIY3hPYcXjhBR1EYhUTWZ2PdWmOkWVsYzPA";
        Verifier::parse(&format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")).unwrap()
    }

    #[test]
    fn a_verifier_is_not_readable_in_its_payload_and_seals_anew_each_time() {
        let (sealer, verifier) = (journal(7), verifier());
        let payload = sealer.seal(AccountId(9), &verifier).unwrap();
        assert!(!payload.windows(6).any(|part| part == b"argon2"));
        assert_ne!(payload, sealer.seal(AccountId(9), &verifier).unwrap());
        assert_eq!(sealer.open(AccountId(9), &payload), Ok(verifier));
    }

    #[test]
    fn keys_of_a_newer_program_are_skipped_and_another_format_is_refused() {
        let sealer = journal(7);
        let payload = sealer.seal(AccountId(9), &verifier()).unwrap();
        let mut newer = vec![0xa4];
        newer.extend_from_slice(&payload[1..]);
        newer.extend_from_slice(&[0x09, 0x61, b'x']);
        assert_eq!(sealer.open(AccountId(9), &newer), Ok(verifier()));
        let mut other = payload.to_vec();
        other[2] = 2;
        assert_eq!(sealer.open(AccountId(9), &other), Err(SealError::OtherFormat { found: 2 }));
        let mut behind = payload.to_vec();
        behind.push(0);
        assert!(matches!(sealer.open(AccountId(9), &behind), Err(SealError::Malformed(_))));
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert!(matches!(sealer.open(AccountId(9), &long), Err(SealError::Malformed(_))));
    }

    #[test]
    fn no_part_of_a_payload_opens() {
        let payload = journal(7).seal(AccountId(9), &verifier()).unwrap();
        for cut in 0..payload.len() {
            assert!(journal(7).open(AccountId(9), &payload[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn a_verifier_opens_for_its_account_and_journal_only(
            account in any::<u64>(), other in any::<u64>(), key in any::<u8>(), other_key in any::<u8>(),
        ) {
            let payload = journal(key).seal(AccountId(account), &verifier()).unwrap();
            prop_assert_eq!(journal(key).open(AccountId(account), &payload), Ok(verifier()));
            let mine = journal(key).open(AccountId(other), &payload).is_ok();
            prop_assert_eq!(mine, other == account);
            let here = journal(other_key).open(AccountId(account), &payload).is_ok();
            prop_assert_eq!(here, other_key == key);
        }

        #[test]
        fn a_changed_payload_does_not_open(at in any::<prop::sample::Index>(), change in 1..=u8::MAX) {
            let mut payload = journal(7).seal(AccountId(9), &verifier()).unwrap().to_vec();
            let at = at.index(payload.len());
            payload[at] ^= change;
            prop_assert!(journal(7).open(AccountId(9), &payload).is_err(), "byte {}", at);
        }

        #[test]
        fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(journal(7).open(AccountId(9), &bytes).is_err());
        }
    }
}
