//! Numbers as a person says them.

/// Bytes, as `12.1 KiB`.
pub fn bytes(n: u64) -> String {
    let scales = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match scales.iter().find(|(scale, _)| n >= *scale) {
        Some((scale, name)) => format!("{:.1} {name}", n as f64 / *scale as f64),
        None => format!("{n} B"),
    }
}

/// A time, as `90 s`, `12 min`, `3 h 12 min` or `5 d 4 h`.
pub fn time(ms: u64) -> String {
    let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
    match ms / 1_000 {
        seconds if seconds < 2 * minute => format!("{seconds} s"),
        seconds if seconds < hour => format!("{} min", seconds / minute),
        seconds if seconds < day => format!("{} h {} min", seconds / hour, seconds % hour / minute),
        seconds => format!("{} d {} h", seconds / day, seconds % day / hour),
    }
}

/// A count with its thousands apart, as `1,048,576`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(
            [0, 1_023, 1_024, 1_600, 3 << 29].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.6 KiB", "1.5 GiB"]
        );
        let times = [0, 119_999, 120_000, 3_600_000, 11_520_000, 446_400_000].map(time);
        assert_eq!(times, ["0 s", "119 s", "2 min", "1 h 0 min", "3 h 12 min", "5 d 4 h"]);
        assert_eq!([0, 999, 1_000, 1_048_576].map(count), ["0", "999", "1,000", "1,048,576"]);
    }
}
