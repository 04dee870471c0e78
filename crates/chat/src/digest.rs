//! The state's hash, kept up as the state changes, so that a checkpoint costs no walk over a million
//! items: each collection has the sum of its items' BLAKE3 hashes, as four 64-bit lanes with
//! wrap-around. Adding and taking away an item in any order gives the same sum. It finds nodes and
//! programs that disagree; it is no defence against somebody who chooses items to collide.

/// The sum of the hashes of a collection's items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u64; 4]);

/// An item's hash, in lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part([u64; 4]);

impl Part {
    pub(crate) fn of(item: &[u8]) -> Part {
        let hash = blake3::hash(item);
        let bytes = hash.as_bytes();
        Part(std::array::from_fn(|lane| {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[lane * 8..lane * 8 + 8]);
            u64::from_le_bytes(part)
        }))
    }
}

impl Digest {
    pub(crate) fn add(&mut self, item: &Part) {
        for (lane, part) in self.0.iter_mut().zip(item.0) {
            *lane = lane.wrapping_add(part);
        }
    }

    pub(crate) fn take_away(&mut self, item: &Part) {
        for (lane, part) in self.0.iter_mut().zip(item.0) {
            *lane = lane.wrapping_sub(part);
        }
    }

    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        for lane in self.0 {
            hasher.update(&lane.to_le_bytes());
        }
    }
}
