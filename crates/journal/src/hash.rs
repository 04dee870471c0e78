//! BLAKE3 of a few short pieces, concatenated, and bytes as hexadecimal digits. BLAKE3's incremental hasher is
//! made for long input: creating and moving it costs as much as hashing a whole chat message.

/// Up to this many bytes are copied together and hashed in one call; longer input uses the incremental hasher.
const COPIED_BYTES_MAX: usize = 512;

/// The hash of the concatenated pieces; with a key, BLAKE3's keyed hash.
pub fn hash(key: Option<&[u8; 32]>, pieces: &[&[u8]]) -> [u8; 32] {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    if len > COPIED_BYTES_MAX {
        let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        for piece in pieces {
            hasher.update(piece);
        }
        return *hasher.finalize().as_bytes();
    }
    let mut copied = [0; COPIED_BYTES_MAX];
    let mut at = 0;
    for piece in pieces {
        copied[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    let copied = &copied[..len];
    *key.map_or_else(|| blake3::hash(copied), |key| blake3::keyed_hash(key, copied)).as_bytes()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_two_digits_for_each_byte() {
        assert_eq!(hex(&[0, 0x0a, 0xa0, 0xff]), "000aa0ff");
    }

    #[test]
    fn pieces_hash_as_one_whatever_their_length() {
        for len in [0, 1, 64, COPIED_BYTES_MAX - 3, COPIED_BYTES_MAX - 2, COPIED_BYTES_MAX, 3_000] {
            let (whole, key) = (vec![7; len + 2], [9; 32]);
            let pieces: [&[u8]; 3] = [&whole[..1], &whole[1..len + 1], &whole[len + 1..]];
            assert_eq!(hash(None, &pieces), *blake3::hash(&whole).as_bytes(), "{len}");
            assert_eq!(hash(Some(&key), &pieces), *blake3::keyed_hash(&key, &whole).as_bytes(), "{len}");
        }
    }
}
