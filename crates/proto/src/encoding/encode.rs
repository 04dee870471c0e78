//! Text as bytes in any encoding that `encoding::decode` reads, for tools: what vang itself sends is UTF-8. Written is only
//! what `decode` reads back as the same text. Read but not written, as in browsers: HKSCS in the Big5 family, and JIS X 0212 in
//! euc_jp. Of several bytes for one character the lowest is written.

use std::borrow::Cow;

use super::{ByteOrder, Encoding, Kind, decode};

/// A character that an encoding does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{encoding} has no {found:?} (U+{:04X}), character {at}", u32::from(*found))]
pub struct EncodeError {
    /// Python's canonical name of the encoding.
    pub encoding: &'static str,
    /// Number of the character, from 1.
    pub at: usize,
    pub found: char,
}

/// The bytes of `text`, without a byte order mark (see [`begins_with_mark`]). `byteorder` is for utf-16 and utf-32, where the
/// name has none.
///
/// # Errors
/// The first character that the encoding does not have, with its number.
pub fn encode(encoding: Encoding, byteorder: ByteOrder, text: &str) -> Result<Vec<u8>, EncodeError> {
    let unit16 = |order: ByteOrder, unit: u16| match order {
        ByteOrder::Little => unit.to_le_bytes(),
        ByteOrder::Big => unit.to_be_bytes(),
    };
    let unit32 = |order: ByteOrder, c: char| match order {
        ByteOrder::Little => u32::from(c).to_le_bytes(),
        ByteOrder::Big => u32::from(c).to_be_bytes(),
    };
    match encoding.kind {
        Kind::Utf8 | Kind::Utf8Signed => Ok(text.as_bytes().to_vec()),
        Kind::Utf16(order) => {
            let order = order.unwrap_or(byteorder);
            Ok(text.encode_utf16().flat_map(|unit| unit16(order, unit)).collect())
        }
        Kind::Utf32(order) => {
            let order = order.unwrap_or(byteorder);
            Ok(text.chars().flat_map(|c| unit32(order, c)).collect())
        }
        Kind::Ascii | Kind::Latin1 | Kind::Table(_) => by_table(encoding, text),
        Kind::Library(library, exchange) => by_library(encoding, library, exchange, text),
    }
}

/// Does Python write the byte order mark before a text in this encoding? With `utf-16` and `utf-32`, whose names leave the byte
/// order open, and with `utf-8-sig`. An encoding whose name has the order would read the mark as a character.
#[must_use]
pub fn begins_with_mark(encoding: Encoding) -> bool {
    matches!(encoding.kind, Kind::Utf8Signed | Kind::Utf16(None) | Kind::Utf32(None))
}

/// The byte order mark of UTF-8, UTF-16 and UTF-32; other encodings have none. `byteorder` as for [`encode`].
#[must_use]
pub fn byte_order_mark(encoding: Encoding, byteorder: ByteOrder) -> Option<&'static [u8]> {
    match (encoding.kind, byteorder) {
        (Kind::Utf8 | Kind::Utf8Signed, _) => Some(b"\xef\xbb\xbf"),
        (Kind::Utf16(order), other) => Some(match order.unwrap_or(other) {
            ByteOrder::Little => b"\xff\xfe",
            ByteOrder::Big => b"\xfe\xff",
        }),
        (Kind::Utf32(order), other) => Some(match order.unwrap_or(other) {
            ByteOrder::Little => b"\xff\xfe\0\0",
            ByteOrder::Big => b"\0\0\xfe\xff",
        }),
        (Kind::Ascii | Kind::Latin1 | Kind::Table(_) | Kind::Library(..), _) => None,
    }
}

/// One byte a character: the table is read backwards.
fn by_table(encoding: Encoding, text: &str) -> Result<Vec<u8>, EncodeError> {
    let mut written: Vec<(char, u8)> = (0..=u8::MAX)
        .filter_map(|byte| {
            let one = [byte];
            let read = decode(encoding, ByteOrder::NATIVE, &one).ok()?;
            Some((read.chars().next()?, byte))
        })
        .collect();
    // Of two bytes for one character the lower comes first.
    written.sort_unstable();
    let byte = |c: char| {
        let at = written.partition_point(|(known, _)| *known < c);
        written.get(at).filter(|(known, _)| *known == c).map(|(_, byte)| *byte)
    };
    let numbered = text.chars().enumerate();
    numbered.map(|(at, c)| byte(c).ok_or_else(|| missing(encoding, at, c))).collect()
}

/// The encodings of East Asia, with the characters exchanged that Python has where the library has others.
fn by_library(
    encoding: Encoding,
    library: &'static encoding_rs::Encoding,
    exchange: &[&[(char, char)]],
    text: &str,
) -> Result<Vec<u8>, EncodeError> {
    let of_library = |c: char| {
        let pairs = exchange.iter().copied().flatten();
        pairs.clone().find(|(_, pythons)| *pythons == c).map_or(c, |(own, _)| *own)
    };
    let whole = |text: &str| {
        let own: String = text.chars().map(of_library).collect();
        let (bytes, _, has_unmappable) = library.encode(&own);
        let bytes = Cow::into_owned(bytes);
        let reads_back = decode(encoding, ByteOrder::NATIVE, &bytes).is_ok_and(|read| read == text);
        (!has_unmappable && reads_back).then_some(bytes)
    };
    if let Some(bytes) = whole(text) {
        return Ok(bytes);
    }
    let mut alone = [0; 4];
    let bad = text.chars().enumerate().find(|(_, c)| whole(c.encode_utf8(&mut alone)).is_none());
    // Each of them alone can be written: then the first is as good as any.
    let (at, c) = bad.or_else(|| text.chars().enumerate().next()).unwrap_or_default();
    Err(missing(encoding, at, c))
}

fn missing(encoding: Encoding, at: usize, found: char) -> EncodeError {
    EncodeError { encoding: encoding.name, at: at + 1, found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{all, find};
    use super::*;

    fn encoded(name: &str, text: &str) -> Result<Vec<u8>, String> {
        let encoding = find(name).expect("a name of ours");
        encode(encoding, ByteOrder::Big, text).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_written_as_python_writes_them() {
        for (name, text, bytes) in [
            ("utf-8", "é", &b"\xc3\xa9"[..]),
            ("utf-16", "é🐶", b"\0\xe9\xd8\x3d\xdc\x36"),
            ("utf-16-le", "é", b"\xe9\0"),
            ("utf-32-be", "🐶", b"\0\x01\xf4\x36"),
            ("ascii", "a", b"a"),
            ("latin-1", "é", b"\xe9"),
            ("cp1252", "€", b"\x80"),
            ("cp037", "a", b"\x81"),
            ("shift_jis", "犬〜", b"\x8c\xa2\x81\x60"),
            ("euc_jp", "犬", b"\xb8\xa4"),
            ("iso2022_jp", "犬a", b"\x1b$B8$\x1b(Ba"),
            ("big5", "狗", b"\xaa\xaf"),
            ("gb18030", "狗🐶", b"\xb9\xb7\x94\x39\xce\x38"),
            ("euc_kr", "개", b"\xb0\xb3"),
        ] {
            assert_eq!(encoded(name, text).as_deref(), Ok(bytes), "{name}");
        }
    }

    #[test]
    fn the_mark_is_written_where_the_name_leaves_the_order_open_or_asks_for_it() {
        let marked: Vec<&str> = all().filter(|one| begins_with_mark(*one)).map(Encoding::name).collect();
        assert_eq!(marked.len(), 3, "{marked:?}");
        for name in ["utf-16", "utf-32", "utf-8-sig"] {
            assert!(marked.contains(&name), "{name}: {marked:?}");
        }
    }

    #[test]
    fn a_character_that_an_encoding_lacks_is_named() {
        assert_eq!(encoded("latin-1", "aé€").unwrap_err(), "iso8859-1 has no '€' (U+20AC), character 3");
        assert_eq!(encoded("ascii", "é").unwrap_err(), "ascii has no 'é' (U+00E9), character 1");
        assert_eq!(encoded("shift_jis", "犬🐶").unwrap_err(), "shift_jis has no '🐶' (U+1F436), character 2");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "[a-zé€Яא犬가〜\u{feff}🐶\\\\~]{0,12}") {
            for encoding in all() {
                for order in [ByteOrder::Little, ByteOrder::Big] {
                    let Ok(bytes) = encode(encoding, order, &text) else { continue };
                    let marked = match byte_order_mark(encoding, order) {
                        Some(mark) if begins_with_mark(encoding) => [mark, &bytes].concat(),
                        _ => bytes,
                    };
                    let read = decode(encoding, order, &marked);
                    prop_assert_eq!(read.as_deref(), Ok(&*text), "{}", encoding.name());
                }
            }
        }
    }
}
