//! Text of the peer for a terminal, in pieces: control characters are spelled out, as are bytes that are not UTF-8. A
//! character that is cut between two pieces is held until its rest comes.

use std::fmt::Write;

use vang_proto::terminal::harmless;

/// Bytes that come in pieces, as text that is harmless on a terminal.
#[derive(Debug, Default)]
pub struct EscapedText {
    /// The beginning of a character, or a CR before which nobody knows whether LF follows: at most 4 bytes.
    held: Vec<u8>,
}

impl EscapedText {
    /// The text of the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.held);
        let cut = incomplete(&all);
        let (whole, rest) = all.split_at(all.len() - cut);
        self.held = rest.to_vec();
        text(whole)
    }

    /// The text of held bytes, after which nothing comes.
    pub fn end(&mut self) -> String {
        text(&std::mem::take(&mut self.held))
    }
}

/// Number of bytes at the end whose meaning depends on the next one.
fn incomplete(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    let begins_character = |len: &usize| {
        let tail = &bytes[bytes.len() - len..];
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(begins_character).unwrap_or(0)
}

fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&harmless(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_in_pieces_of_any_size() {
        let bytes = b"xin ch\xc3\xa0o \xf0\x9f\x90\xb0\r\n\x1b[2J\xff\xe2\x82 a\rb\xe2\x82\xac\xf0\x9f\r";
        let expected = "xin chào 🐰\n\\u{1b}[2J\\xff\\xe2\\x82 a\\u{d}b€\\xf0\\x9f\\u{d}";
        for piece in 1..=bytes.len() {
            let mut escaped = EscapedText::default();
            let mut out: String = bytes.chunks(piece).map(|piece| escaped.feed(piece)).collect();
            out.push_str(&escaped.end());
            assert_eq!(out, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn only_an_incomplete_character_is_held() {
        let mut escaped = EscapedText::default();
        assert_eq!(escaped.feed(b"login: "), "login: ");
        assert_eq!(escaped.feed(b"\xe2\x82"), "");
        assert_eq!(escaped.feed(b"\xac"), "€");
        assert_eq!(escaped.feed(b"\xff"), "\\xff");
        assert_eq!(escaped.held.capacity(), 0);
    }
}
