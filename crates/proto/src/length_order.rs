//! A header length that was written in the wrong byte order: recognised, and never accepted.
//!
//! ```text
//! 02 00 7b 7d      512 in network order, and so many bytes of header are still to come;
//!                  read the other way it is 2, and two bytes of JSON object are here
//! ```
//!
//! Only a length that really fits is named: the other length is the shorter one, so that all its bytes can be looked at,
//! and they are a JSON object. The length in network order may still be meant while only spaces follow that object.

use std::fmt;

/// The header length of a message, in network order and read the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwappedLength {
    /// As network order (big-endian) reads it.
    pub network: u16,
    /// Read the other way: exactly a JSON object's length.
    pub swapped: u16,
}

impl SwappedLength {
    /// Looks at the beginning of a message, or all of it. `None`: the other length does not fit, or its bytes have not come.
    pub fn of(message: &[u8]) -> Option<SwappedLength> {
        let found = SwappedLength::claimed(message)?;
        let object = message.get(2..2 + usize::from(found.swapped))?;
        // Looked at first because it costs nothing: the outer bytes of a JSON object.
        let is_object = object.starts_with(b"{")
            && object.ends_with(b"}")
            && serde_json::from_slice::<serde::de::IgnoredAny>(object).is_ok();
        is_object.then_some(found)
    }

    /// Both lengths of a message, if the other one is shorter and can be a JSON object's.
    fn claimed(message: &[u8]) -> Option<SwappedLength> {
        let network = u16::from_be_bytes(*message.first_chunk::<2>()?);
        let swapped = network.swap_bytes();
        (2..network).contains(&swapped).then_some(SwappedLength { network, swapped })
    }
}

/// Watches a header as it comes, and looks at each of its bytes once: the length in network order cannot be meant any more
/// when another byte than a space follows the object, because no header of that length is JSON then.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderWatch {
    /// So many bytes of the message need no further look.
    seen: usize,
}

impl OrderWatch {
    /// Looks at what came of a message. `Some`: the length in network order is wrong, with the offset behind the byte that
    /// shows it; that offset does not depend on how the bytes came.
    pub fn look(&mut self, message: &[u8]) -> Option<(SwappedLength, usize)> {
        let claimed = SwappedLength::claimed(message)?;
        let header = &message[..message.len().min(2 + usize::from(claimed.network))];
        let from = self.seen.max(2 + usize::from(claimed.swapped));
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match header.get(from..)?.iter().position(|byte| !is_space(byte)) {
            Some(at) => {
                self.seen = usize::MAX;
                SwappedLength::of(message).map(|found| (found, from + at + 1))
            }
            None => {
                self.seen = header.len();
                None
            }
        }
    }
}

impl fmt::Display for SwappedLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SwappedLength { network, swapped } = self;
        write!(f, "{network} in network order; read the other way it is {swapped}, which fits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: [u8; 2], rest: &str) -> Vec<u8> {
        [&length[..], rest.as_bytes()].concat()
    }

    #[test]
    fn a_length_that_fits_the_other_way_is_recognised_and_no_other() {
        let found = Some(SwappedLength { network: 512, swapped: 2 });
        for rest in ["{}", "{}   ", "{}{\"action\": 1}"] {
            assert_eq!(SwappedLength::of(&message([2, 0], rest)), found, "{rest}");
        }
        assert_eq!(
            found.map(|found| found.to_string()).as_deref(),
            Some("512 in network order; read the other way it is 2, which fits")
        );
        for (length, rest) in [
            ([2, 0], ""),
            ([2, 0], "{"),
            ([2, 0], "[]"),
            ([2, 0], " {}"),
            ([3, 0], "{a}"),
            ([9, 0], "{\"a\": 1}}"),
            ([9, 0], "{\"a\": 1}"),
            // Right as they are, or too short either way.
            ([0, 2], "{}"),
            ([0, 0], "{}"),
            ([1, 0], "{}"),
            ([2, 2], "{}"),
        ] {
            assert_eq!(SwappedLength::of(&message(length, rest)), None, "{length:?} {rest}");
        }
        assert_eq!(SwappedLength::of(&[2]), None);
    }

    #[test]
    fn it_is_certain_as_soon_as_something_else_than_a_space_follows() {
        let filled = format!("{{}}{}", " ".repeat(510));
        let next = filled.clone() + "\0\u{2}{}";
        for (rest, end) in [
            ("{}", None),
            ("{} \t\r\n", None),
            ("{}x", Some(5)),
            ("{}  {\"action\": 1}", Some(7)),
            ("{}\u{a0}", Some(5)),
            ("[]x", None),
            // Filled with spaces to its length in network order; then the next message.
            (&filled, None),
            (&next, None),
        ] {
            let whole = message([2, 0], rest);
            let mut watch = OrderWatch::default();
            let first = (0..=whole.len()).find_map(|cut| watch.look(&whole[..cut]));
            assert_eq!(first.map(|(_, end)| end), end, "{rest:?} byte by byte");
            assert_eq!(OrderWatch::default().look(&whole), first, "{rest:?}");
        }
    }
}
