//! What a client sends: texts as they are, or any number of bytes of a pattern that is never held whole.

use std::sync::Arc;

/// The pattern's length: a prime, so that no power of two that a buffer has in it hides a shift.
const PATTERN: usize = 65_521;

/// Bytes that may be many: `block`, over and over, up to `len`.
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
        // Xorshift: no byte tells the next, so that what is lost, doubled or moved is seen.
        let mut state = 0x2545_f491_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            b' ' + (state % 95) as u8
        };
        Content { block: (0..PATTERN).map(|_| next()).collect(), len }
    }

    /// Some of it, from there on; empty only at its end.
    pub(super) fn from(&self, at: u64) -> &[u8] {
        if at >= self.len {
            return &[];
        }
        let begin = (at % self.block.len() as u64) as usize;
        let most = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let part = &self.block[begin..];
        &part[..part.len().min(most)]
    }

    /// The first of these bytes that is not what stands there; bytes behind the end are not either.
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
    fn what_differs_is_found_at_its_byte_across_the_patterns_seams() {
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
        // A lost byte, a doubled one.
        let mut lost = bytes[..1_000].to_vec();
        lost.remove(500);
        assert!(content.differs(0, &lost).is_some());
        assert_eq!(Content::text(b"Hello, world").differs(0, b"Hello, World"), Some(7));
    }
}
