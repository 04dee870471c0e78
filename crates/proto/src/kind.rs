//! The first bytes of a connection say which kind of client it is. Decided once, on a whole first
//! token; never changed later. The server says nothing before it knows.

use crate::limits::KIND_BYTES_MAX;

/// What speaks on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages of `frame.rs`: `{` behind two length bytes, or lengths that cannot be anything else.
    Native,
    /// HTTP/1.x: a method and a space.
    Http,
    /// A TLS record with a handshake.
    Tls,
    /// An IRC client: its first command and a space.
    Irc,
    /// Nothing that is known here; the third byte is where a native header would begin.
    Unknown {
        /// That byte.
        third: u8,
    },
}

// HTTP/2's preface `PRI * HTTP/2.0` is none of them: it is not spoken here, and is told so.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];
const IRC_COMMANDS: [&[u8]; 4] = [b"NICK ", b"USER ", b"PASS ", b"CAP "];

/// Tells the kind from the bytes so far; `None` while more are needed.
pub fn tell(bytes: &[u8]) -> Option<Kind> {
    match *bytes {
        [] | [_] => return None,
        // Too short for any JSON object: native, and malformed.
        [0, 0 | 1, ..] | [_, _, b'{', ..] => return Some(Kind::Native),
        [0x16, 0x03, _, ..] => return Some(Kind::Tls),
        [_, _] => return None,
        _ => {}
    }
    let third = bytes[2];
    for (tokens, kind) in [(&HTTP_METHODS[..], Kind::Http), (&IRC_COMMANDS[..], Kind::Irc)] {
        for token in tokens {
            let common = token.len().min(bytes.len());
            let matches = if kind == Kind::Irc {
                bytes[..common].eq_ignore_ascii_case(&token[..common])
            } else {
                bytes[..common] == token[..common]
            };
            if matches && common == token.len() {
                return Some(kind);
            }
            if matches && bytes.len() < KIND_BYTES_MAX {
                return None;
            }
        }
    }
    Some(Kind::Unknown { third })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_does_not_depend_on_how_the_bytes_came() {
        let firsts: [(&[u8], Kind); 9] = [
            (b"\x00\x65{\"byteorder\"", Kind::Native),
            (b"PU{}", Kind::Native),
            (b"\x00\x00", Kind::Native),
            (b"GET / HTTP/1.1\r\n", Kind::Http),
            (b"PRI * HTTP/2.0", Kind::Unknown { third: b'I' }),
            (b"\x16\x03\x01\x02\x00", Kind::Tls),
            (b"NICK ada\r\n", Kind::Irc),
            (b"PUSH", Kind::Unknown { third: b'S' }),
            (b"\xff\xfe\xfd\xfc", Kind::Unknown { third: 0xfd }),
        ];
        for (bytes, kind) in firsts {
            let first_told = (0..=bytes.len()).find_map(|cut| tell(&bytes[..cut]));
            assert_eq!(first_told, Some(kind), "{bytes:?}");
            assert_eq!(tell(bytes), Some(kind), "{bytes:?}");
        }
    }
}
