//! A number as bytes: in network order and the other way, in every size in which it fits.

use std::fmt;

use serde::Serialize;
use vang_proto::ByteOrder;

use crate::error::Outcome;
use crate::{Record, Report, Verdict, hex};

/// The sizes that C and `struct` have names for: bits, the conversion functions, and the letters of `struct` for unsigned
/// and signed numbers. 8 bits have no order.
pub(super) const SIZES: [(u32, &str, char, char); 4] = [
    (8, "", 'B', 'b'),
    (16, "htons, ntohs", 'H', 'h'),
    (32, "htonl, ntohl", 'I', 'i'),
    (64, "htobe64, be64toh", 'Q', 'q'),
];

#[derive(Serialize)]
struct Written {
    /// As written: JSON has no integers of 64 bits everywhere.
    value: String,
    bits: u32,
    signed: bool,
    /// In network order: most significant byte first.
    big: String,
    little: String,
    /// Formats of Python's `struct`.
    struct_big: String,
    struct_little: String,
    /// The same bytes, read in the other order.
    swapped: String,
    /// The same bytes with or without a sign, if that is another number.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_sign: Option<String>,
    functions: &'static str,
}

impl Record for Written {
    const EVENT: &'static str = "number";
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.signed { "signed" } else { "unsigned" };
        write!(f, "{:2} bits {sign:8}  ", self.bits)?;
        if self.bits == 8 {
            write!(f, "{}, one byte has no order", self.big)?;
        } else {
            write!(f, "network order {} ('{}')  ", self.big, self.struct_big)?;
            write!(f, "little-endian {} ('{}')  ", self.little, self.struct_little)?;
            write!(f, "in the other order {} ({})", self.swapped, self.functions)?;
        }
        if let Some(other) = &self.other_sign {
            write!(f, "; {} {other}", if self.signed { "unsigned" } else { "signed" })?;
        }
        Ok(())
    }
}

/// Reads a number: decimal, or with `0x`, `0o` or `0b`; `_` can separate digits. `None`: it is a text. `Err`: too large.
pub(super) fn read(text: &str) -> Option<Result<i128, String>> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(mark, radix)| Some((lower.strip_prefix(mark)?, radix)))
        .unwrap_or((&lower, 10));
    let is_number = digits.starts_with(|c: char| c.is_digit(radix))
        && digits.chars().all(|c| c.is_digit(radix) || c == '_');
    if !is_number {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    let number = i128::from_str_radix(&digits, radix).map(|number| if negative { -number } else { number });
    let fits = |number: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number);
    Some(number.ok().filter(fits).ok_or_else(|| {
        format!(
            "{text} does not fit into 64 bits: numbers are {} to {}, or write --text '{text}'",
            i64::MIN,
            u64::MAX
        )
    }))
}

/// Shows a number in every size in which it fits.
pub(super) fn show(number: i128, report: &Report) -> Outcome {
    let mut first = None;
    for (bits, functions, unsigned, signed) in SIZES {
        let is_signed = number < 0;
        let range = if is_signed { -(1_i128 << (bits - 1))..=-1 } else { 0..=(1_i128 << bits) - 1 };
        if !range.contains(&number) {
            continue;
        }
        let bytes = &number.to_be_bytes()[16 - bits as usize / 8..];
        let other: Vec<u8> = bytes.iter().rev().copied().collect();
        let letter = if is_signed { signed } else { unsigned };
        let swapped = value(&other, ByteOrder::Big, is_signed);
        report.record(&Written {
            value: number.to_string(),
            bits,
            signed: is_signed,
            big: hex::spaced(bytes),
            little: hex::spaced(&other),
            struct_big: format!(">{letter}"),
            struct_little: format!("<{letter}"),
            swapped: swapped.to_string(),
            other_sign: Some(value(bytes, ByteOrder::Big, !is_signed))
                .filter(|other| *other != number)
                .map(|other| other.to_string()),
            functions,
        })?;
        if bits > 8 {
            first.get_or_insert((bits, functions, swapped));
        }
    }
    if let Some((bits, functions, swapped)) = first {
        let here = match ByteOrder::NATIVE {
            ByteOrder::Little => format!(
                "this machine is little-endian, so {} swap the bytes: {number} becomes {swapped} in {bits} bits, and \
                 in memory that is network order. On a big-endian machine they change nothing",
                functions.replace(", ", " and ")
            ),
            ByteOrder::Big => {
                format!(
                    "this machine is big-endian, as the network is, so {} change nothing",
                    functions.replace(", ", " and ")
                )
            }
        };
        report.means(&here)?;
    }
    report.explain(|| {
        "struct: '>' is big-endian, '!' the same as network order, '<' little-endian; without one of them pack uses the order \
         of the machine, and the other side can have another"
            .to_owned()
    })?;
    Ok(Verdict::Good)
}

/// The number in at most 8 bytes.
pub(super) fn value(bytes: &[u8], order: ByteOrder, signed: bool) -> i128 {
    let add = |all: i128, byte: &u8| all << 8 | i128::from(*byte);
    let number = match order {
        ByteOrder::Big => bytes.iter().fold(0, add),
        ByteOrder::Little => bytes.iter().rev().fold(0, add),
    };
    let bits = 8 * bytes.len();
    if signed && bits > 0 && number >> (bits - 1) == 1 { number - (1 << bits) } else { number }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinguished_from_texts() {
        for (text, number) in [
            ("512", 512),
            ("-2", -2),
            ("+7", 7),
            ("0x200", 512),
            ("0X_1", 0),
            ("0b1000_0000", 128),
            ("0o17", 15),
            (" 65_535 ", 65_535),
            ("18446744073709551615", u64::MAX.into()),
            ("-9223372036854775808", i64::MIN.into()),
        ] {
            if text == "0X_1" {
                assert_eq!(read(text), None);
            } else {
                assert_eq!(read(text), Some(Ok(number)), "{text}");
            }
        }
        for text in ["", "-", "0x", "1.5", "12a", "one", "1 2", "0xg", "--1"] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in ["18446744073709551616", "-9223372036854775809", &"9".repeat(60)] {
            let error = read(text).unwrap().unwrap_err();
            assert!(error.contains("does not fit into 64 bits"), "{error}");
        }
    }

    #[test]
    fn bytes_are_read_in_both_orders_and_with_a_sign() {
        for (bytes, big, little, signed) in [
            (&[2, 0][..], 512, 2, 512),
            (&[0xff, 0xfe], 65_534, 65_279, -2),
            (&[0x80], 128, 128, -128),
            (&[0xff; 8], u64::MAX.into(), u64::MAX.into(), -1),
        ] {
            assert_eq!(value(bytes, ByteOrder::Big, false), big);
            assert_eq!(value(bytes, ByteOrder::Little, false), little);
            assert_eq!(value(bytes, ByteOrder::Big, true), signed);
        }
    }
}
