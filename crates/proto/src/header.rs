//! The header: a JSON object whose keys are looked up where they stand. Nothing is copied and
//! nothing is thrown away: an unknown key keeps its bytes, a number its digits.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::encoding::ByteOrder;
use crate::frame_error::FrameError;
use crate::limits::TYPE_BYTES_MAX;

/// A parsed header with its four required keys checked.
///
/// ```
/// use vang_proto::{ByteOrder, Header};
///
/// let header = Header::parse(
///     r#"{"byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": 4,
///         "sensor": "roof", "reading": 1}"#
///         .into(),
/// )?;
/// assert_eq!((header.byteorder(), header.content_length()), (ByteOrder::Little, 4));
/// assert_eq!((header.text("sensor").as_deref(), header.number("reading")), (Some("roof"), Some(1)));
/// assert_eq!(header.text("reading"), None, "a number is no text");
/// # Ok::<(), vang_proto::FrameError>(())
/// ```
#[derive(Clone)]
pub struct Header {
    json: Bytes,
    fields: Fields,
    byteorder: ByteOrder,
    content_length: u64,
    /// Where these two stand: every request is asked for them, and so they are not looked for again.
    content_type: Range<u32>,
    content_encoding: Range<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    places: Vec<Place>,
    /// Keys written with escapes, so that their text stands nowhere in the header.
    escaped: Vec<Box<str>>,
}

/// Where a key and its value stand in the header.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    /// Without quotes. For an escaped key `ESCAPED` and its index, which no place in 64 KiB is.
    key: Range<u32>,
    value: Range<u32>,
}

const ESCAPED: u32 = u32::MAX;

impl Fields {
    fn key<'a>(&'a self, place: &Place, json: &'a [u8]) -> &'a [u8] {
        match place.key {
            Range { start: ESCAPED, end } => self.escaped[end as usize].as_bytes(),
            Range { start, end } => &json[start as usize..end as usize],
        }
    }

    /// The last of this name: as in Python, it is the one that counts.
    fn find(&self, key: &str, json: &[u8]) -> Option<Range<usize>> {
        let place = self.places.iter().rev().find(|place| self.key(place, json) == key.as_bytes())?;
        Some(place.value.start as usize..place.value.end as usize)
    }
}

/// In the guide's order, so that the same one of several missing keys is named.
const REQUIRED: [&str; 4] = ["byteorder", "content-length", "content-type", "content-encoding"];

impl Header {
    /// Parses a header; any `content-length` is accepted here, the decoder compares it with its limit.
    ///
    /// # Errors
    /// It is not a JSON object in UTF-8, or one of the four required keys is missing or of the wrong kind.
    pub fn parse(json: Bytes) -> Result<Header, FrameError> {
        let text =
            std::str::from_utf8(&json).map_err(|e| FrameError::HeaderNotUtf8 { at: e.valid_up_to() })?;
        let (fields, is_plain) = match plain_fields(text) {
            Some(fields) => (fields, true),
            None => (parse_fields(text)?, false),
        };
        let mut required = [const { None }; REQUIRED.len()];
        for place in &fields.places {
            let key = fields.key(place, text.as_bytes());
            if let Some(i) = REQUIRED.iter().position(|name| name.as_bytes() == key) {
                // As in Python, the last of two counts.
                required[i] = Some(place.value.clone());
            }
        }
        if let Some(missing) = required.iter().position(Option::is_none) {
            return Err(FrameError::MissingKey { key: REQUIRED[missing] });
        }
        let places = required.map(Option::unwrap_or_default);
        let [byteorder, length, content_type, content_encoding] =
            places.each_ref().map(|place| &text[place.start as usize..place.end as usize]);
        let byteorder = match byteorder {
            r#""little""# => ByteOrder::Little,
            r#""big""# => ByteOrder::Big,
            _ => match required_text("byteorder", byteorder)?.as_ref() {
                "little" => ByteOrder::Little,
                "big" => ByteOrder::Big,
                _ => return Err(wrong_kind("byteorder", byteorder, "\"little\" or \"big\"")),
            },
        };
        let content_length =
            whole(length).ok_or_else(|| wrong_kind("content-length", length, "an integer from 0"))?;
        for (key, raw) in [("content-type", content_type), ("content-encoding", content_encoding)] {
            // What is plain is its text as it stands: nothing to look through.
            if !(is_plain && raw.starts_with('"') && raw.len() <= TYPE_BYTES_MAX + 2) {
                required_text(key, raw)?;
            }
        }
        let [_, _, content_type, content_encoding] = places;
        Ok(Header { json, fields, byteorder, content_length, content_type, content_encoding })
    }

    /// The sender's byte order.
    pub fn byteorder(&self) -> ByteOrder {
        self.byteorder
    }

    /// Bytes of content.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }

    /// What the content is.
    pub fn content_type(&self) -> Cow<'_, str> {
        text_of(self.part(&self.content_type)).unwrap_or_default()
    }

    /// How the content is encoded.
    pub fn content_encoding(&self) -> Cow<'_, str> {
        text_of(self.part(&self.content_encoding)).unwrap_or_default()
    }

    /// A key's value as JSON text, as it came; of a key that stands twice, the last.
    pub fn raw(&self, key: &str) -> Option<&str> {
        Some(utf8(&self.json[self.fields.find(key, &self.json)?]))
    }

    /// Is this a key's value, as JSON text that stands there to the byte?
    pub fn is(&self, key: &str, raw: &str) -> bool {
        self.fields.find(key, &self.json).is_some_and(|place| self.json[place] == *raw.as_bytes())
    }

    /// A key's value, if it is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        text_of(self.raw(key)?)
    }

    /// A key's value, if it is an integer from 0 to 2^64-1, written without fraction or exponent.
    pub fn number(&self, key: &str) -> Option<u64> {
        whole(self.raw(key)?)
    }

    /// Every key with its value as JSON text, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let places = self.fields.places.iter();
        places.map(|place| (utf8(self.fields.key(place, &self.json)), self.part(&place.value)))
    }

    fn part(&self, place: &Range<u32>) -> &str {
        utf8(&self.json[place.start as usize..place.end as usize])
    }

    /// The header as it came.
    pub fn json(&self) -> &Bytes {
        &self.json
    }
}

fn utf8(part: &[u8]) -> &str {
    std::str::from_utf8(part).expect("the header was UTF-8, and its parts begin and end at ASCII")
}

/// An integer from 0, written without sign, fraction or exponent.
fn whole(raw: &str) -> Option<u64> {
    if raw.bytes().all(|b| b.is_ascii_digit()) { raw.parse().ok() } else { None }
}

fn required_text<'a>(key: &'static str, raw: &'a str) -> Result<Cow<'a, str>, FrameError> {
    match text_of(raw) {
        Some(text) if text.len() <= TYPE_BYTES_MAX => Ok(text),
        Some(_) => Err(wrong_kind(key, raw, "a string of at most 255 bytes")),
        None => Err(wrong_kind(key, raw, "a string")),
    }
}

fn wrong_kind(key: &'static str, raw: &str, expected: &'static str) -> FrameError {
    FrameError::WrongKind { key, found: excerpt(raw), expected }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Header {
    fn eq(&self, other: &Header) -> bool {
        self.json == other.json
    }
}

impl Eq for Header {}

/// At most 40 characters of what was found, for an error.
pub(crate) fn excerpt(found: &str) -> String {
    match found.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &found[..cut]),
        None => found.to_owned(),
    }
}

/// A JSON string's text; `None` for any other value, and for escapes that are no character.
pub(crate) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The fields of a header as nearly everybody writes it: on one line, strings without escapes, whole numbers,
/// `true`, `false` and `null`. `None` leaves the header to the parser below, which alone refuses; this one
/// exists because it takes a third of the time.
fn plain_fields(text: &str) -> Option<Fields> {
    // Without a branch in the loop the compiler looks at many bytes at once; then a string ends at the next quote.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'\\'));
    if !is_plain {
        return None;
    }
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut places = Vec::with_capacity(12);
    scan.take(b'{')?;
    loop {
        let key = scan.string()?;
        scan.take(b':')?;
        let value = scan.value()?;
        places.push(Place { key: key.start + 1..key.end - 1, value });
        match scan.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scan.space();
    (scan.at == scan.bytes.len()).then(|| Fields { places, escaped: Vec::new() })
}

/// What stands where in bytes that hold neither backslashes nor control characters.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    #[inline]
    fn space(&mut self) {
        while self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    /// The next byte that is not a space.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn take(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// Where a string stands, with its quotes.
    #[inline]
    fn string(&mut self) -> Option<Range<u32>> {
        self.take(b'"')?;
        self.string_from(self.at - 1)
    }

    #[inline]
    fn string_from(&mut self, start: usize) -> Option<Range<u32>> {
        self.at += quote_in(&self.bytes[self.at..])? + 1;
        Some(start as u32..self.at as u32)
    }

    fn value(&mut self) -> Option<Range<u32>> {
        let first = self.next()?;
        let start = self.at - 1;
        if first == b'"' {
            return self.string_from(start);
        }
        let word = &self.bytes[start..];
        let len = match first {
            // A zero before other digits, a fraction or an exponent stops a reader that looks for a comma next.
            b'0' => 1,
            b'1'..=b'9' => word.iter().position(|byte| !byte.is_ascii_digit())?,
            b't' if word.starts_with(b"true") => 4,
            b'f' if word.starts_with(b"false") => 5,
            b'n' if word.starts_with(b"null") => 4,
            _ => return None,
        };
        self.at = start + len;
        Some(start as u32..self.at as u32)
    }
}

/// Where the first quote stands: strings in headers are short, so eight bytes at a time is quickest.
#[inline]
fn quote_in(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let other = u64::from_le_bytes(*chunk) ^ (EACH * b'"' as u64);
        // The highest bit of each byte that is zero, which is a quote; those above the first may be wrong.
        let quotes = other.wrapping_sub(EACH) & !other & (EACH * 0x80);
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == b'"').map(|len| at + len)
}

fn parse_fields(text: &str) -> Result<Fields, FrameError> {
    // RawValue skips values without recursion, so deep nesting in a key that nobody reads costs nothing.
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(FieldsOf { text }).map_err(|error| not_json(text, &error))?;
    json.end().map_err(|error| not_json(text, &error))?;
    Ok(fields)
}

fn not_json(text: &str, error: &serde_json::Error) -> FrameError {
    let first = text.trim_start().chars().next();
    if error.is_data() && first.is_some_and(|c| c != '{') {
        return FrameError::HeaderNotObject { found: excerpt(text) };
    }
    let why = error.to_string();
    // The header is one line as a rule: the column says where.
    FrameError::HeaderNotJson { why: why.replace(" at line 1 column ", " at byte ") }
}

struct FieldsOf<'a> {
    text: &'a str,
}

impl<'de> Visitor<'de> for FieldsOf<'de> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(JsonStr(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let key = match key {
                Cow::Borrowed(text) => self.range(text),
                Cow::Owned(text) => {
                    fields.escaped.push(text.into());
                    ESCAPED..fields.escaped.len() as u32 - 1
                }
            };
            fields.places.push(Place { key, value: self.range(value.get()) });
        }
        Ok(fields)
    }
}

/// A string, borrowed where it has no escapes.
struct JsonStr<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for JsonStr<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = JsonStr<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(JsonStr(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(JsonStr(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl FieldsOf<'_> {
    /// Where a part of the header stands in it. Headers are at most 64 KiB, so 32 bits hold it.
    fn range(&self, part: &str) -> Range<u32> {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        start as u32..(start + part.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Header, FrameError> {
        Header::parse(Bytes::copy_from_slice(json.as_bytes()))
    }

    #[test]
    fn unknown_keys_keep_their_bytes_and_the_last_of_two_counts() {
        let header = parse(
            r#"{"byteorder":"little","content-type":"a","content-encoding":"b","content-length":3,
                "x": [1, {"y": 1e400}], "x\u0041": 12345678901234567890123, "content-type": "\u00e9"}"#,
        )
        .unwrap();
        assert_eq!(header.raw("x"), Some(r#"[1, {"y": 1e400}]"#));
        assert_eq!(header.raw("xA"), Some("12345678901234567890123"));
        assert_eq!(header.content_type(), "é");
        assert_eq!(header.iter().count(), 7);
    }

    #[test]
    fn plain_headers_read_the_same_with_and_without_the_parser() {
        let plain = r#" { "a" : "b", "c":0,"d":120 , "":true,"a":false ,"n": null,"ü🐰":"ü" } "#;
        assert_eq!(plain_fields(plain), parse_fields(plain).ok());
        assert!(plain_fields(plain).is_some());
        // Every byte changed into every other, and every truncation: never a reading of its own.
        let mut read = 0;
        for at in 0..plain.len() {
            for byte in 0..=255 {
                let mut bytes = plain.as_bytes().to_vec();
                bytes[at] = byte;
                let Ok(text) = std::str::from_utf8(&bytes) else { continue };
                if let Some(fields) = plain_fields(text) {
                    assert_eq!(Some(fields), parse_fields(text).ok(), "{text}");
                    read += 1;
                }
            }
            if plain.is_char_boundary(at) && at < plain.trim_end().len() {
                assert_eq!(plain_fields(&plain[..at]), None);
            }
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn deep_nesting_in_a_key_that_nobody_reads_is_kept() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let header = parse(&format!(
            r#"{{"byteorder":"big","content-type":"a","content-encoding":"b","content-length":0,"x":{deep}}}"#
        ))
        .unwrap();
        assert_eq!(header.raw("x").map(str::len), Some(40_000));
    }
}
