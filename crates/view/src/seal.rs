//! A row's seal: 32 bits of a hash of its content. It is not a secret and no protection against people; it
//! detects changes by a disk before they lead to another entry, room or name.

use vang_chat::Seq;

use crate::event::Columns;

/// The seal of an event's row.
pub(crate) fn of_event(columns: &Columns) -> i64 {
    columns.iter().fold(SplitMix(0), |mixed, &column| mixed.and(column as u64)).seal()
}

/// The seal of a text's row.
pub(crate) fn of_text((kind, id): (u64, u64), seq: Seq, text: &str) -> i64 {
    SplitMix(1).and(kind).and(id).and(seq.0).and_bytes(text.as_bytes()).seal()
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), word by word: each bit of a word changes about half
/// of the result's bits.
struct SplitMix(u64);

impl SplitMix {
    fn and(self, word: u64) -> SplitMix {
        let mut z = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        SplitMix(z ^ (z >> 31))
    }

    fn and_bytes(self, bytes: &[u8]) -> SplitMix {
        bytes.chunks(8).fold(self.and(bytes.len() as u64), |mixed, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mixed.and(u64::from_le_bytes(word))
        })
    }

    fn seal(self) -> i64 {
        i64::from(self.0 as u32)
    }
}
