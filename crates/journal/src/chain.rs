//! The chain: each entry's hash is made of the one before it and its envelope. Whoever reads can
//! compute it again; changing, dropping or adding an entry changes all that come after.

use crate::contract::Identity;

/// A position in the chain: the hash of everything up to some entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

/// Where the chain of a journal begins. Bound to its birth, so that no journal can pass for another; copies
/// of one journal share the beginning, as they share what follows.
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
        Chain(crate::hash(None, &[&self.0, envelope]))
    }
}
