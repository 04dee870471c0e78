//! As Python prints: `str()` of a JSON value, and strings as its `json.dumps(..., ensure_ascii=False)` writes them.
//!
//! ```text
//! {"a": [1E5, null, "it's"]}  ──str_of──>  {'a': [100000.0, None, "it's"]}
//! ```
//!
//! The guide's programs are written in Python and put such values into their answers; theirs and ours must agree to
//! the byte (CPython 3.11, whose `isprintable` is Unicode 14). Nothing here checks JSON: the input is the text of one
//! value that `serde_json` accepted. Anything else gives some text and never panics.
//!
//! Where Python would fail, this does not: a lone surrogate in a string that stands alone is printed as U+FFFD, and
//! integers of more than 4,300 digits are printed as they stand. Where Python goes on to about a thousand levels,
//! this refuses from the 129th. `NaN` and `Infinity`, which only Python takes for JSON, never come here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::BufMut;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::limits::JSON_DEPTH_MAX;

mod unprintable; // what `str.isprintable` denies

/// The JSON value nests lists and dicts deeper than [`JSON_DEPTH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("JSON nested {depth} deep exceeds the limit of {JSON_DEPTH_MAX}")]
pub struct NestingError {
    /// Levels found.
    pub depth: usize,
}

/// What Python's `str()` gives for the JSON value with this text.
///
/// The result is at most five times as long as the text, in bytes. Of a key that stands twice in a dict, the last value
/// is printed at the first one's place.
///
/// # Errors
/// The value is nested deeper than [`JSON_DEPTH_MAX`] levels.
pub fn str_of(raw_json: &str) -> Result<String, NestingError> {
    let depth = depth(raw_json.as_bytes());
    if depth > JSON_DEPTH_MAX {
        return Err(NestingError { depth });
    }
    let mut printer = Printer { text: raw_json, at: 0, out: String::with_capacity(raw_json.len()) };
    printer.skip_space();
    if printer.peek() == Some(b'"') {
        let string = printer.string();
        return Ok(units(string)
            .map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect());
    }
    printer.value();
    Ok(printer.out)
}

/// Appends `s` as a JSON string, exactly as Python's `json.dumps(s, ensure_ascii=False)` writes it.
pub fn write_json_string(out: &mut impl BufMut, s: &str) {
    write_json_pieces(out, &[s]);
}

/// The same, with the string in pieces.
pub(crate) fn write_json_pieces(out: &mut impl BufMut, pieces: &[&str]) {
    out.put_u8(b'"');
    for piece in pieces {
        let bytes = piece.as_bytes();
        // Without a branch in the loop the compiler looks at many bytes at once.
        let is_plain = bytes.iter().fold(true, |plain, byte| plain & !is_escaped(*byte));
        if is_plain {
            out.put_slice(bytes);
        } else {
            write_escaped(out, bytes);
        }
    }
    out.put_u8(b'"');
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn write_escaped(out: &mut impl BufMut, bytes: &[u8]) {
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !is_escaped(byte) {
            continue;
        }
        out.put_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            control => {
                let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.put_slice(&[b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 15)]);
            }
        }
    }
    out.put_slice(&bytes[copied..]);
}

/// `s` as a JSON string.
pub(crate) fn json_string(s: &str) -> String {
    let mut out = Vec::new();
    write_json_string(&mut out, s);
    String::from_utf8(out).expect("a string with its escapes is UTF-8")
}

/// A value as JSON, with `", "` and `": "` between its parts.
///
/// # Panics
/// When it is not JSON, such as a map whose keys are no texts.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Spaced);
    value.serialize(&mut serializer).expect("writing to a Vec cannot fail, and its types are JSON");
    out
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// How deep lists and dicts nest in this JSON text: 0 for a value that is neither. Takes no stack.
#[must_use]
pub fn depth(raw: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match byte {
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            b'"' => at = string_end(raw, at) - 1,
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Where the string that begins at `at` ends: after its closing quote, or with the text.
fn string_end(raw: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = raw.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    raw.len()
}

struct Printer<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

/// Where a dict's entry stands in the printer's `out`.
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
}

impl<'a> Printer<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    /// Prints the value that begins here. Recursion is bounded: `str_of` has counted every bracket outside strings.
    fn value(&mut self) {
        match self.peek() {
            Some(b'"') => {
                let string = self.string();
                repr(&mut self.out, string);
            }
            Some(b'[') => self.list(),
            Some(b'{') => self.dict(),
            _ => self.literal(),
        }
    }

    fn list(&mut self) {
        self.at += 1;
        self.out.push('[');
        loop {
            self.skip_space();
            match self.peek() {
                None => break,
                Some(b']' | b'}') => {
                    self.at += 1;
                    break;
                }
                Some(b',') => {
                    self.at += 1;
                    self.out.push_str(", ");
                }
                Some(_) => self.value(),
            }
        }
        self.out.push(']');
    }

    fn dict(&mut self) {
        self.at += 1;
        let start = self.out.len();
        self.out.push('{');
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<Cow<'a, [u8]>, usize> = BTreeMap::new();
        let mut twice = false;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {}
                Some(b']' | b'}') => {
                    self.at += 1;
                    break;
                }
                None => break,
                Some(_) => {
                    // A comma.
                    self.at += 1;
                    self.at = self.text.ceil_char_boundary(self.at);
                    continue;
                }
            }
            if !entries.is_empty() {
                self.out.push_str(", ");
            }
            let string = self.string();
            let key = self.out.len()..{
                repr(&mut self.out, string);
                self.out.len()
            };
            self.out.push_str(": ");
            self.skip_space();
            if self.peek() == Some(b':') {
                self.at += 1;
            }
            self.skip_space();
            let value = self.out.len()..{
                self.value();
                self.out.len()
            };
            match places.entry(same_when_equal(string)) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(entries.len());
                    entries.push(Entry { key, value });
                }
                std::collections::btree_map::Entry::Occupied(place) => {
                    entries[*place.get()].value = value;
                    twice = true;
                }
            }
        }
        if twice {
            let mut again = String::with_capacity(self.out.len() - start);
            for entry in entries {
                again.push_str(if again.is_empty() { "{" } else { ", " });
                again.push_str(&self.out[entry.key]);
                again.push_str(": ");
                again.push_str(&self.out[entry.value]);
            }
            self.out.truncate(start);
            self.out.push_str(&again);
        }
        self.out.push('}');
    }

    /// What stands between the quotes of the string that begins here.
    fn string(&mut self) -> &'a str {
        let start = self.at + 1;
        self.at = string_end(self.text.as_bytes(), self.at);
        let inside = &self.text[start..self.at];
        inside.strip_suffix('"').unwrap_or(inside)
    }

    fn literal(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest.find([' ', '\t', '\r', '\n', ',', ':', ']', '}', '[', '{', '"']).unwrap_or(rest.len());
        let token = &rest[..end];
        self.at += end;
        if end == 0 {
            // Not JSON. A bracket or quote begins the next value, an end ends this one; a colon is passed over.
            if self.peek() == Some(b':') {
                self.at += 1;
            }
            return;
        }
        match token {
            "null" => self.out.push_str("None"),
            "true" => self.out.push_str("True"),
            "false" => self.out.push_str("False"),
            "-0" => self.out.push('0'),
            _ if token.contains(['.', 'e', 'E']) => match token.parse() {
                Ok(number) => float(&mut self.out, number),
                Err(_) => self.out.push_str(token),
            },
            _ => self.out.push_str(token),
        }
    }
}

/// Equal for two strings exactly when Python finds them equal, however they are escaped.
fn same_when_equal(string: &str) -> Cow<'_, [u8]> {
    if !string.contains('\\') {
        return Cow::Borrowed(string.as_bytes());
    }
    let mut bytes = Vec::with_capacity(string.len());
    for unit in units(string) {
        match char::from_u32(unit) {
            Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            // A lone surrogate, in a form that no UTF-8 has.
            None => bytes.extend_from_slice(&[0xff, unit.to_be_bytes()[2], unit.to_be_bytes()[3]]),
        }
    }
    Cow::Owned(bytes)
}

/// The code points of a JSON string: as in Python's `str`, these may be lone surrogates.
fn units(string: &str) -> impl Iterator<Item = u32> + '_ {
    let mut chars = string.chars();
    std::iter::from_fn(move || {
        let c = chars.next()?;
        if c != '\\' {
            return Some(c.into());
        }
        let unit = match chars.next()? {
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'u' => {
                let first = four_hex(chars.as_str()).unwrap_or(char::REPLACEMENT_CHARACTER.into());
                chars = after(chars.as_str(), 4).chars();
                let second = chars.as_str().strip_prefix("\\u").and_then(four_hex);
                match (first, second) {
                    (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                        chars = after(chars.as_str(), 6).chars();
                        0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => first,
                }
            }
            itself => itself.into(),
        };
        Some(unit)
    })
}

fn four_hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.get(..4)?, 16).ok()
}

fn after(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or("")
}

/// Python's `repr()` of a string.
fn repr(out: &mut String, string: &str) {
    let (mut single, mut double) = (false, false);
    for unit in units(string) {
        single |= unit == u32::from('\'');
        double |= unit == u32::from('"');
    }
    let quote = if single && !double { '"' } else { '\'' };
    out.push(quote);
    for unit in units(string) {
        match char::from_u32(unit) {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) if c == quote || c == '\\' => out.extend(['\\', c]),
            Some(c) if printable(c) => out.push(c),
            _ if unit <= 0xff => out.push_str(&format!("\\x{unit:02x}")),
            _ if unit <= 0xffff => out.push_str(&format!("\\u{unit:04x}")),
            _ => out.push_str(&format!("\\U{unit:08x}")),
        }
    }
    out.push(quote);
}

/// Python's `str.isprintable` for one character.
fn printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let c = u32::from(c);
    let ranges = &unprintable::UNPRINTABLE;
    let next = ranges.partition_point(|&(_, last)| last < c);
    ranges.get(next).is_none_or(|&(first, _)| c < first)
}

/// Python's `repr()` of a float: the shortest digits that read back as the same number.
fn float(out: &mut String, number: f64) {
    if number.is_infinite() {
        out.push_str(if number < 0.0 { "-inf" } else { "inf" });
        return;
    }
    let mut scientific = format!("{number:e}");
    // Of two equally short and equally near numbers Python takes the even one, as exact rounding does; the shortest
    // form here does not: 1413543521473056.25 would end in 3.
    let precision = scientific
        .bytes()
        .take_while(|&byte| byte != b'e')
        .filter(u8::is_ascii_digit)
        .count()
        .saturating_sub(1);
    let rounded = format!("{number:.precision$e}");
    if rounded.parse() == Ok(number) {
        scientific = rounded;
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    out.push_str(sign);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
        return;
    }
    let digits = digits.replace('.', "");
    match usize::try_from(exponent) {
        Ok(exponent) if exponent + 1 < digits.len() => {
            let (whole, fraction) = digits.split_at(exponent + 1);
            out.push_str(&format!("{whole}.{fraction}"));
        }
        Ok(exponent) => out.push_str(&format!("{digits:0<width$}.0", width = exponent + 1)),
        Err(_) => {
            let zeros = exponent.unsigned_abs() as usize - 1;
            out.push_str(&format!("0.{:0<zeros$}{digits}", ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VECTORS: &str = include_str!("../vectors/python-str.txt");

    fn pairs(kind: &str) -> Vec<(String, String)> {
        let text = |hex: &str| {
            let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("vectors are hex");
            let length = if hex == "-" { 0 } else { hex.len() };
            String::from_utf8((0..length).step_by(2).map(digit).collect()).expect("vectors are UTF-8")
        };
        let lines = VECTORS.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found: Vec<_> = lines.filter(|f| f[0] == kind).map(|f| (text(f[1]), text(f[2]))).collect();
        assert!(!found.is_empty(), "no line of kind {kind}");
        found
    }

    #[test]
    fn values_are_printed_as_python_prints_them() {
        for (json, printed) in pairs("str") {
            let raw: Box<serde_json::value::RawValue> =
                serde_json::from_str(&json).expect("vectors are JSON");
            assert_eq!(str_of(raw.get()).as_ref(), Ok(&printed), "{json}");
        }
    }

    #[test]
    fn strings_are_written_as_python_writes_them() {
        for (string, written) in pairs("dump") {
            let mut out = b"kept".to_vec();
            write_json_string(&mut out, &string);
            assert_eq!(String::from_utf8(out), Ok(format!("kept{written}")), "{string:?}");
        }
    }

    #[test]
    fn a_value_nested_too_deep_is_refused_however_deep_it_is() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| open.repeat(levels) + "0" + &close.repeat(levels);
            assert!(str_of(&nested(JSON_DEPTH_MAX)).is_ok());
            let refused = NestingError { depth: JSON_DEPTH_MAX + 1 };
            assert_eq!(str_of(&nested(JSON_DEPTH_MAX + 1)), Err(refused));
            assert_eq!(refused.to_string(), "JSON nested 129 deep exceeds the limit of 128");
            assert_eq!(str_of(&open.repeat(1_000_000)), Err(NestingError { depth: 1_000_000 }));
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (raw, expected) in [
            ("1", 0),
            ("[]", 1),
            ("[{},[[]]]", 3),
            (r#"["[[[",{"\"[":1}]"#, 2),
            ("\"[", 0),
            ("\"\\", 0),
            ("]]]", 0),
        ] {
            assert_eq!(depth(raw.as_bytes()), expected, "{raw}");
        }
    }

    #[test]
    fn an_integer_keeps_every_digit() {
        let digits = "7".repeat(10_000);
        assert_eq!(str_of(&digits), Ok(digits));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_printed(value in any_json()) {
            let raw = value.to_string();
            let printed = str_of(&raw);
            prop_assert!(printed.is_ok_and(|printed| printed.len() <= 5 * raw.len()));
        }

        #[test]
        fn invalid_json_is_printed_without_a_panic(text in r#"[\[\]{}:,"\\uUdD89a01.eE+ü🐰 -]{0,40}"#) {
            prop_assert!(str_of(&text).is_ok_and(|printed| printed.len() <= 16 * text.len() + 16));
        }

        #[test]
        fn a_written_string_reads_back(string in any::<String>()) {
            let mut out = Vec::new();
            write_json_string(&mut out, &string);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), string.clone());
            let alone = String::from_utf8(out).expect("UTF-8");
            prop_assert_eq!(str_of(&alone), Ok(string));
        }

        #[test]
        fn a_float_reads_back(number in any::<f64>()) {
            let mut out = String::new();
            float(&mut out, number);
            prop_assert!(number.is_nan() || out.parse() == Ok(number), "{}", out);
        }
    }
}
