//! The hash of a collection, updated with each change, so that a checkpoint costs no walk over a million
//! items: the sum of its rows' BLAKE3 hashes, as four 64-bit lanes with wrap-around. Adding and taking away a row in any
//! order gives the same sum. It finds nodes and programs that disagree; it is no defence against somebody who chooses
//! rows to collide.
//!
//! What is hashed of a row is its encoding in the snapshot: one description gives both.

use minicbor::Encode;
use minicbor::encode::write::Cursor;

/// The longest encoding of a row, bytes.
const ROW_BYTES_MAX: usize = 160;

/// The sum of the hashes of a collection's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u64; 4]);

/// A row's hash, in lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part([u64; 4]);

impl Part {
    pub(crate) fn of(row: &impl Encode<()>) -> Part {
        let mut bytes = [0; ROW_BYTES_MAX];
        let mut cursor = Cursor::new(&mut bytes[..]);
        minicbor::encode(row, &mut cursor).expect("a row is a few numbers and hashes");
        let len = cursor.position();
        let hash = blake3::hash(&bytes[..len]);
        let bytes = hash.as_bytes();
        Part(std::array::from_fn(|lane| {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[lane * 8..lane * 8 + 8]);
            u64::from_le_bytes(part)
        }))
    }
}

impl Digest {
    pub(crate) fn add(&mut self, row: &impl Encode<()>) {
        self.add_part(&Part::of(row));
    }

    pub(crate) fn take_away(&mut self, row: &impl Encode<()>) {
        self.take_away_part(&Part::of(row));
    }

    pub(crate) fn add_part(&mut self, part: &Part) {
        for (lane, part) in self.0.iter_mut().zip(part.0) {
            *lane = lane.wrapping_add(part);
        }
    }

    pub(crate) fn take_away_part(&mut self, part: &Part) {
        for (lane, part) in self.0.iter_mut().zip(part.0) {
            *lane = lane.wrapping_sub(part);
        }
    }

    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        for lane in self.0 {
            hasher.update(&lane.to_le_bytes());
        }
    }
}
