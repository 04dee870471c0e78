//! Bytes, sizes and times as text for people.

use std::fmt::Write;
use std::time::Duration;

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

/// `640 bytes`, `12.5 KiB`, `3.0 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" });
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 address`, `2 addresses`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `830 ns`, `41 µs`, `1.24 ms`, `0.35 s`, `12 s`, `3 min 5 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_nanos() {
        0..1_000 => format!("{} ns", time.as_nanos()),
        1_000..100_000 => format!("{:.0} µs", seconds * 1e6),
        100_000..100_000_000 => format!("{:.2} ms", seconds * 1e3),
        100_000_000..10_000_000_000 => format!("{seconds:.2} s"),
        _ if seconds < 60.0 => format!("{seconds:.0} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
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

    #[test]
    fn units_are_for_people() {
        for (bytes, said) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1023 bytes"),
            (12_800, "12.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), said);
        }
        for (nanoseconds, said) in [
            (830, "830 ns"),
            (41_000, "41 µs"),
            (1_240_000, "1.24 ms"),
            (350_000_000, "0.35 s"),
            (12_000_000_000, "12 s"),
            (185_000_000_000, "3 min 5 s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), said);
        }
    }
}
