//! The content of a message: a text, or any number of bytes of a pattern that is not held in memory.

use std::sync::Arc;

/// Length of the pattern: a prime, so that shifts by the size of a buffer are noticed.
const PATTERN: usize = 65_521;

/// `len` bytes: `block`, repeated.
#[derive(Clone, Debug)]
pub(super) struct Content {
    block: Arc<[u8]>,
    pub(super) len: u64,
}

impl Content {
    pub(super) fn text(bytes: &[u8]) -> Content {
        Content { block: bytes.into(), len: bytes.len() as u64 }
    }

    pub(super) fn pattern(len: u64) -> Content {
        // Xorshift, so that lost, repeated or moved bytes are noticed.
        let mut state = 0x2545_f491_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            b' ' + (state % 95) as u8
        };
        Content { block: (0..PATTERN).map(|_| next()).collect(), len }
    }

    /// A part from this offset on; empty only at the end.
    pub(super) fn from(&self, at: u64) -> &[u8] {
        if at >= self.len {
            return &[];
        }
        let begin = (at % self.block.len() as u64) as usize;
        let most = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let part = &self.block[begin..];
        &part[..part.len().min(most)]
    }

    /// Index of the first byte that differs from the content at this offset; bytes after its end differ.
    pub(super) fn differs(&self, at: u64, bytes: &[u8]) -> Option<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let part = self.from(at + done as u64);
            let part = &part[..part.len().min(bytes.len() - done)];
            if part.is_empty() {
                return Some(done);
            }
            let found = &bytes[done..done + part.len()];
            if found != part {
                return found.iter().zip(part).position(|(one, other)| one != other).map(|at| done + at);
            }
            done += part.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_across_repetitions_of_the_pattern() {
        let content = Content::pattern(200_000);
        let mut bytes = Vec::new();
        while bytes.len() < 200_000 {
            bytes.extend_from_slice(content.from(bytes.len() as u64));
        }
        assert_eq!(bytes.len(), 200_000);
        assert_eq!(content.differs(0, &bytes), None);
        for at in [0, 65_520, 65_521, 131_042, 199_999] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(content.differs(0, &wrong), Some(at));
            assert_eq!(content.differs(at as u64, &wrong[at..]), Some(0));
        }
        bytes.push(b'x');
        assert_eq!(content.differs(0, &bytes), Some(200_000), "more than was sent");
        // A lost byte.
        let mut lost = bytes[..1_000].to_vec();
        lost.remove(500);
        assert!(content.differs(0, &lost).is_some());
        assert_eq!(Content::text(b"Hello, world").differs(0, b"Hello, World"), Some(7));
    }
}
