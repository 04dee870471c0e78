//! The chain: each entry's hash covers the previous hash and the entry's envelope. A reader can compute it
//! again; changing, dropping or adding an entry changes all later hashes.

use crate::hash::hash;
use crate::identity::Identity;

/// The chain at an entry: the hash of all envelopes up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

/// The start of a journal's chain. It covers the id and key of the journal's birth, so no journal can pass for
/// another; restored copies share the start, as they share the entries.
pub fn genesis(identity: &Identity) -> Chain {
    let mut hasher = blake3::Hasher::new_derive_key("vang journal 1 genesis");
    hasher.update(&identity.born);
    hasher.update(&identity.key);
    Chain(*hasher.finalize().as_bytes())
}

impl Chain {
    /// The chain after an entry with this envelope.
    #[must_use]
    pub fn after(&self, envelope: &[u8]) -> Chain {
        Chain(hash(None, &[&self.0, envelope]))
    }
}
