//! Values that programs often take wrongly, for every protocol.

use super::random::Random;

/// Texts that are data to a careful program, and something else to a careless one: formats, paths, commands, queries, escape
/// sequences, characters of no width, of the other direction, of several bytes.
const TEXTS: [&str; 16] = [
    "",
    "%s%s%n%x",
    "../../../../etc/passwd",
    "$(id);`id`|id",
    "' OR 1=1; --",
    "<script>alert(1)</script>",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "a\0b",
    "\r\nInjected: yes\r\n\r\n",
    "\u{202e}\u{200b}\u{feff}",
    "🐶💍e\u{301}",
    "null",
    "-1",
    "1e400",
    "9223372036854775808",
    "NaN",
];

/// Bytes that are no UTF-8: a lone continuation, a cut character, an overlong slash, a surrogate, beyond U+10FFFF.
const NOT_UTF8: [&[u8]; 6] =
    [b"\x80", b"\xf0\x9f\x90", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe\xfd"];

/// Lengths that programs count wrongly: the edges of 7, 8, 15, 16 bits, and of usual buffers.
const LENGTHS: [usize; 12] = [0, 1, 127, 128, 255, 256, 1_023, 4_096, 8_192, 32_768, 65_535, 65_536];

/// Integers as text that a program of 32 or 64 bits, or with a sign, reads wrongly.
const INTEGERS: [&str; 18] = [
    "-1",
    "0",
    "00",
    "+5",
    " 5",
    "5 ",
    "5.0",
    "1e3",
    "0x10",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "",
    "\u{665}",
    "five",
];

/// A text; sometimes a long one.
pub(super) fn text(random: &mut Random) -> String {
    let text = *random.pick(&TEXTS);
    match random.below(4) {
        0 => "A".repeat(length(random)),
        1 => text.repeat(1 + random.below(50)),
        _ => text.to_owned(),
    }
}

pub(super) fn not_utf8(random: &mut Random) -> Vec<u8> {
    random.pick(&NOT_UTF8).to_vec()
}

pub(super) fn length(random: &mut Random) -> usize {
    *random.pick(&LENGTHS)
}

/// An integer as text.
pub(super) fn integer(random: &mut Random) -> &'static str {
    INTEGERS[random.below(INTEGERS.len())]
}

/// JSON nested so deep that a recursive reader runs out of stack.
pub(super) fn deep_json(random: &mut Random) -> String {
    let depth = *random.pick(&[129, 1_000, 20_000]);
    match random.below(3) {
        0 => "[".repeat(depth),
        1 => format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        _ => format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)),
    }
}
