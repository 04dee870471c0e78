//! Bytes in quotes, for people. Sizes, times and counts are written by `vang_proto::text`.

use std::fmt::Write;

use vang_proto::text::size;

/// Bytes in quotes: printable text unchanged, the rest as `\n` or `\x1b`. At most `max` bytes are shown; a longer text ends
/// with its size.
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
                c if vang_proto::terminal::speaks_to_terminal(c) => out.extend(c.escape_unicode()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_and_bounded() {
        assert_eq!(quoted(b"Hello, world", 64), "\"Hello, world\"");
        assert_eq!(quoted(b"a\n\"\\\x1b\xff\xf0\x9f\x90\xb6", 64), "\"a\\n\\\"\\\\\\u{1b}\\xff🐶\"");
        assert_eq!(quoted(&[b'x'; 2_000], 3), "\"xxx\"… (2.0 KiB in all)");
        assert_eq!(quoted("🐶".as_bytes(), 2), "\"\\xf0\\x9f\"… (4 bytes in all)");
    }
}
