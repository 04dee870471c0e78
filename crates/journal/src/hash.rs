//! BLAKE3 of a few short pieces, one behind the other. BLAKE3's own incremental hasher is made for long
//! input: making one and moving it costs as much as hashing a whole message of talk.

/// What is gathered before it is hashed at once, bytes; more goes through the incremental hasher.
const GATHERED: usize = 512;

/// The hash of the pieces as if they were one; with a key, keyed.
pub fn hash(key: Option<&[u8; 32]>, pieces: &[&[u8]]) -> [u8; 32] {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    if len > GATHERED {
        let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        for piece in pieces {
            hasher.update(piece);
        }
        return *hasher.finalize().as_bytes();
    }
    let mut gathered = [0; GATHERED];
    let mut at = 0;
    for piece in pieces {
        gathered[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    let gathered = &gathered[..len];
    *key.map_or_else(|| blake3::hash(gathered), |key| blake3::keyed_hash(key, gathered)).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_one_whatever_their_length() {
        for len in [0, 1, 64, GATHERED - 3, GATHERED - 2, GATHERED, 3_000] {
            let (whole, key) = (vec![7; len + 2], [9; 32]);
            let pieces: [&[u8]; 3] = [&whole[..1], &whole[1..len + 1], &whole[len + 1..]];
            assert_eq!(hash(None, &pieces), *blake3::hash(&whole).as_bytes(), "{len}");
            assert_eq!(hash(Some(&key), &pieces), *blake3::keyed_hash(&key, &whole).as_bytes(), "{len}");
        }
    }
}
