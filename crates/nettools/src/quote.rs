//! Bytes in quotes, for people. Sizes, times and counts are written by `vang_proto::text`.

use std::fmt::Write;

use vang_proto::text::size;

/// Bytes in quotes: visible text unchanged, the rest as `\n`, `\x1b` or `\u{feff}`, so that different bytes look different.
/// At most `max` bytes are shown; a longer text ends with its size.
pub fn quoted(bytes: &[u8], max: usize) -> String {
    let shown = &bytes[..bytes.len().min(max)];
    let mut out = String::from("\"");
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '"' | '\\' => out.extend(['\\', c]),
                c if vang_proto::terminal::speaks_to_terminal(c) || is_invisible(c) => {
                    out.extend(c.escape_unicode());
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    if shown.len() < bytes.len() {
        let _ = write!(out, "… ({} in all)", size(bytes.len() as u64));
    }
    out
}

/// Characters that programs draw as nothing (Default_Ignorable_Code_Point in Unicode 15.1: byte order mark, joiners, variation
/// selectors, tags, fillers), the marks of annotations, and noncharacters.
fn is_invisible(c: char) -> bool {
    let is_noncharacter = u32::from(c) & 0xfffe == 0xfffe;
    is_noncharacter
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fdd0}'..='\u{fdef}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_and_bounded() {
        assert_eq!(quoted(b"Hello, world", 64), "\"Hello, world\"");
        assert_eq!(quoted(b"a\n\"\\\x1b\xff\xf0\x9f\x90\xb6", 64), "\"a\\n\\\"\\\\\\u{1b}\\xff🐶\"");
        assert_eq!(quoted(&[b'x'; 2_000], 3), "\"xxx\"… (2.0 KiB in all)");
        assert_eq!(
            quoted("xin chào, đồng, 犬, cho\u{301}, ❤".as_bytes(), 64),
            "\"xin chào, đồng, 犬, cho\u{301}, ❤\""
        );
        assert_eq!(quoted("🐶".as_bytes(), 2), "\"\\xf0\\x9f\"… (4 bytes in all)");
    }

    #[test]
    fn characters_that_cannot_be_seen_are_escaped() {
        for c in "\u{feff}\u{fffe}\u{ffff}\u{10ffff}\u{fdd0}\u{ad}\u{200b}\u{200d}\u{2060}\u{fe0f}\u{3164}\u{e0041}\u{34f}".chars() {
            let shown = quoted(format!("a{c}b").as_bytes(), 64);
            assert_eq!(shown, format!("\"a\\u{{{:x}}}b\"", u32::from(c)));
        }
    }
}
