//! Bytes in hexadecimal, as people write and read them.

use std::fmt::Write;

/// Bytes in one row.
pub(crate) const ROW_BYTES: usize = 16;

/// `48 65 6c`, `48656c`, `0x48 0x65`, with text in quotes: `0002 "{}"`.
pub(crate) fn read(line: &str) -> Result<Vec<u8>, String> {
    let wrong = |what: &str, at: usize| {
        format!(
            "{what} at character {}; write bytes as 48 65 or 4865, and text in quotes, as in 0002 \"{{}}\"",
            line[..at].chars().count() + 1
        )
    };
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let at = line.len() - rest.len();
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) =
                quoted.split_once('"').ok_or_else(|| wrong("a quote that is never closed", at))?;
            bytes.extend_from_slice(text.as_bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix("0x") {
            rest = after;
        } else {
            let two = rest.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = two.and_then(|two| u8::from_str_radix(two, 16).ok());
            bytes.push(byte.ok_or_else(|| wrong("no two hexadecimal digits", at))?);
            rest = &rest[2..];
        }
    }
    Ok(bytes)
}

/// `48 65 6c`.
pub(crate) fn spaced(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(3 * bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02x}", if at == 0 { "" } else { " " });
    }
    out
}

/// `00000010  48 65 6c 6c 6f 0a                                |Hello.|`, as `hexdump -C` prints it.
pub(crate) fn row(from: u64, row: &[u8]) -> String {
    let (left, right) = row.split_at(row.len().min(ROW_BYTES / 2));
    let text: String =
        row.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' }).collect();
    format!("{from:08x}  {:23}  {:23}  |{text}|", spaced(left), spaced(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_the_columns_of_hexdump() {
        let full = row(0x20, b"Hello, world\n\0\x1b|");
        assert_eq!(full, "00000020  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 0a 00 1b 7c  |Hello, world...||");
        let short = row(0, b"a");
        assert!(short.starts_with("00000000  61  ") && short.ends_with("|a|"), "{short}");
        assert_eq!(short.find('|'), full.find('|'));
    }
}
