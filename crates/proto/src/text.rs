//! Sizes, times and counts as text: how vang writes them for people, and how it reads what people type.
//!
//! ```text
//! written   size 12.1 KiB     duration 3 h 12 min   short 1.24 ms  count 1,048,576   counted 2 entries
//! read      64Ki 64KiB 64k    200ms 5s 2m 1h 3d                    4k 2M
//! ```
//!
//! `k`, `M`, `G` are powers of 1,000; `Ki`, `Mi`, `Gi` are powers of 1,024. A `B` for bytes may follow.

use std::time::Duration;

/// Bytes in the largest binary unit that fits: `640 bytes`, `12.1 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return counted(bytes, "byte", "bytes");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be written as 1024.0 is 1.0 of the next unit.
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Milliseconds as `90 s`, `12 min`, `3 h 12 min` or `5 d 4 h`: for ages and limits.
pub fn duration(ms: u64) -> String {
    let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
    match ms / 1_000 {
        seconds if seconds < 2 * minute => format!("{seconds} s"),
        seconds if seconds < hour => format!("{} min", seconds / minute),
        seconds if seconds < day => format!("{} h {} min", seconds / hour, seconds % hour / minute),
        seconds => format!("{} d {} h", seconds / day, seconds % day / hour),
    }
}

/// `830 ns`, `41 µs`, `1.24 ms`, `0.35 s`, `12 s`, `3 min 5 s`: for measured times, as waits and round trips.
pub fn short_duration(time: Duration) -> String {
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

/// A time as `read_duration` reads it, in its largest whole unit: `5s`, `200ms`, `1h`, `365d`.
pub fn typed_duration(time: Duration) -> String {
    let scales = [(24 * 3_600_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    in_largest_unit(time.as_millis(), &scales).unwrap_or_else(|| "0s".to_owned())
}

/// A number of bytes as `read_bytes` reads it, in its largest whole unit: `64KiB`, `65535`.
pub fn typed_bytes(n: u64) -> String {
    let scales = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "")];
    in_largest_unit(n.into(), &scales).unwrap_or_else(|| "0".to_owned())
}

/// `None` for 0.
fn in_largest_unit(n: u128, scales: &[(u128, &str)]) -> Option<String> {
    let (scale, name) = scales.iter().find(|(scale, _)| n > 0 && n.is_multiple_of(*scale))?;
    Some(format!("{}{name}", n / scale))
}

/// A count with separated thousands, as `1,048,576`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun, as `1 entry` or `1,204 entries`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Reads `200ms`, `5s`, `2m` (or `2min`), `1h` or `3d`; a number without a unit is seconds. `None`: not a time.
/// A time beyond `u64` milliseconds is read as the longest.
pub fn read_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(unit_ms)))
}

/// Reads a count: `12`, `4k`, `64Ki`, `2M`. `None`: not a count, or beyond `u64`.
pub fn read_count(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    number.checked_mul(factor(unit)?)
}

/// Reads a number of bytes: `512`, `512B`, `64KiB`, `64Ki`, `64k` or `64kB` (64,000). `None`: not a
/// number of bytes, or beyond `u64`.
pub fn read_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    number.checked_mul(factor(unit.strip_suffix('B').unwrap_or(unit))?)
}

fn factor(unit: &str) -> Option<u64> {
    Some(match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    })
}

/// A number of more digits than `u64` has is the largest: every user of it has a lower limit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (digits > 0).then(|| (number.parse().unwrap_or(u64::MAX), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_counts_are_written_for_people() {
        for (bytes, written) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1,023 bytes"),
            (1_024, "1.0 KiB"),
            (12_800, "12.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), written);
        }
        let times = [0, 119_999, 120_000, 3_600_000, 11_520_000, 446_400_000].map(duration);
        assert_eq!(times, ["0 s", "119 s", "2 min", "1 h 0 min", "3 h 12 min", "5 d 4 h"]);
        assert_eq!([0, 999, 1_000, 1_048_576].map(count), ["0", "999", "1,000", "1,048,576"]);
        for (ns, written) in [
            (0, "0 ns"),
            (830, "830 ns"),
            (41_000, "41 µs"),
            (1_240_000, "1.24 ms"),
            (350_000_000, "0.35 s"),
            (12_000_000_000, "12 s"),
            (185_000_000_000, "3 min 5 s"),
        ] {
            assert_eq!(short_duration(Duration::from_nanos(ns)), written);
        }
        let entries = [0, 1, 1_204].map(|n| counted(n, "entry", "entries"));
        assert_eq!(entries, ["0 entries", "1 entry", "1,204 entries"]);
    }

    #[test]
    fn times_are_read_with_their_unit_and_written_back() {
        let ms = |text: &str| read_duration(text).map(|time| time.as_millis());
        let units = ["200ms", "5s", "5", "2m", "1h", "3d", "0"].map(ms);
        let expected = [200, 5_000, 5_000, 120_000, 3_600_000, 259_200_000, 0].map(Some);
        assert_eq!(units, expected);
        assert_eq!(ms("99999999999999999999999"), Some(u128::from(u64::MAX)));
        for wrong in ["", "s", "5 s", "-5s", "1.5s", "5w", "5S"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
        for text in ["0s", "200ms", "5s", "2m", "1h", "1500ms", "365d"] {
            assert_eq!(read_duration(text).map(typed_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn k_is_1000_and_ki_is_1024() {
        assert_eq!(["12", "4k", "4Ki", "2M"].map(read_count), [12, 4_000, 4_096, 2_000_000].map(Some));
        let sizes = ["512", "512B", "64KiB", "64Ki", "64k", "64kB", "1GiB"].map(read_bytes);
        assert_eq!(sizes, [512, 512, 65_536, 65_536, 64_000, 64_000, 1 << 30].map(Some));
        for wrong in ["", "k", "4K", "4 k", "-1", "1.5k", "99999999999G"] {
            assert_eq!((read_count(wrong), read_bytes(wrong)), (None, None), "{wrong}");
        }
        assert_eq!(read_count("4B"), None);
        for text in ["0", "65535", "64KiB", "1GiB", "1025KiB"] {
            assert_eq!(read_bytes(text).map(typed_bytes).as_deref(), Some(text));
        }
    }
}
