//! The header: a JSON object whose keys are looked up where they stand. Nothing is copied and
//! nothing is thrown away: an unknown key keeps its bytes, a number its digits.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::MalformedFrame;
use crate::encoding::ByteOrder;

/// A parsed header with its four required keys checked.
#[derive(Clone)]
pub struct Header {
    json: Bytes,
    fields: Vec<Field>,
    byteorder: ByteOrder,
    content_length: u64,
}

#[derive(Clone)]
struct Field {
    key: Key,
    value: Range<u32>,
}

#[derive(Clone)]
enum Key {
    At(Range<u32>),
    /// Written with escapes, so its text stands nowhere in the header.
    Escaped(Box<str>),
}

impl Header {
    /// Parses a header. `content-length` over the limit is the frame's business.
    pub fn parse(json: Bytes) -> Result<Header, MalformedFrame> {
        let text =
            std::str::from_utf8(&json).map_err(|e| MalformedFrame::HeaderNotUtf8 { at: e.valid_up_to() })?;
        let fields = parse_fields(text)?;
        let mut header = Header { json, fields, byteorder: ByteOrder::Little, content_length: 0 };
        // In the guide's order, so that the same one of several missing keys is named.
        for key in ["byteorder", "content-length", "content-type", "content-encoding"] {
            header.raw(key).ok_or(MalformedFrame::MissingKey { key })?;
        }
        header.byteorder = match header.required_text("byteorder")?.as_ref() {
            "little" => ByteOrder::Little,
            "big" => ByteOrder::Big,
            _ => return Err(header.wrong_kind("byteorder", "\"little\" or \"big\"")),
        };
        header.content_length = match header.number("content-length") {
            Some(length) => length,
            None => return Err(header.wrong_kind("content-length", "an integer from 0")),
        };
        header.required_text("content-type")?;
        header.required_text("content-encoding")?;
        Ok(header)
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
        self.text("content-type").unwrap_or_default()
    }

    /// How the content is encoded.
    pub fn content_encoding(&self) -> Cow<'_, str> {
        self.text("content-encoding").unwrap_or_default()
    }

    /// A key's value as JSON text, as it came; of a key that stands twice, the last.
    pub fn raw(&self, key: &str) -> Option<&str> {
        let field = self.fields.iter().rev().find(|field| self.key(field) == key)?;
        Some(self.slice(&field.value))
    }

    /// A key's value, if it is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        text_of(self.raw(key)?)
    }

    /// A key's value, if it is an integer from 0 to 2^64-1, written without fraction or exponent.
    pub fn number(&self, key: &str) -> Option<u64> {
        let raw = self.raw(key)?;
        if raw.bytes().all(|b| b.is_ascii_digit()) { raw.parse().ok() } else { None }
    }

    /// Every key with its value as JSON text, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| (self.key(field), self.slice(&field.value)))
    }

    /// The header as it came.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    fn key<'a>(&'a self, field: &'a Field) -> &'a str {
        match &field.key {
            Key::At(range) => self.slice(range),
            Key::Escaped(text) => text,
        }
    }

    fn slice(&self, range: &Range<u32>) -> &str {
        std::str::from_utf8(&self.json[range.start as usize..range.end as usize])
            .expect("the header was UTF-8, and ranges are those of its strings")
    }

    fn required_text(&self, key: &'static str) -> Result<Cow<'_, str>, MalformedFrame> {
        match self.text(key) {
            Some(text) if text.len() <= crate::limits::TYPE_BYTES_MAX => Ok(text),
            Some(_) => Err(self.wrong_kind(key, "a string of at most 255 bytes")),
            None => Err(self.wrong_kind(key, "a string")),
        }
    }

    fn wrong_kind(&self, key: &'static str, expected: &'static str) -> MalformedFrame {
        MalformedFrame::WrongKind { key, found: excerpt(self.raw(key).unwrap_or("")), expected }
    }
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

fn parse_fields(text: &str) -> Result<Vec<Field>, MalformedFrame> {
    // RawValue skips values without recursion, so deep nesting in a key that nobody reads costs nothing.
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(Fields { text }).map_err(|error| not_json(text, &error))?;
    json.end().map_err(|error| not_json(text, &error))?;
    Ok(fields)
}

fn not_json(text: &str, error: &serde_json::Error) -> MalformedFrame {
    let first = text.trim_start().chars().next();
    if error.is_data() && first.is_some_and(|c| c != '{') {
        return MalformedFrame::HeaderNotObject { found: excerpt(text) };
    }
    let why = error.to_string();
    // The header is one line as a rule: the column says where.
    MalformedFrame::HeaderNotJson { why: why.replace(" at line 1 column ", " at byte ") }
}

struct Fields<'a> {
    text: &'a str,
}

impl<'de> Visitor<'de> for Fields<'de> {
    type Value = Vec<Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Field>, A::Error> {
        let mut fields = Vec::with_capacity(10);
        while let Some(JsonStr(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let key = match key {
                Cow::Borrowed(text) => Key::At(self.range(text)),
                Cow::Owned(text) => Key::Escaped(text.into()),
            };
            fields.push(Field { key, value: self.range(value.get()) });
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

impl Fields<'_> {
    /// Where a part of the header stands in it. Headers are at most 64 KiB, so 32 bits hold it.
    fn range(&self, part: &str) -> Range<u32> {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        start as u32..(start + part.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Header, MalformedFrame> {
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
    fn deep_nesting_in_a_key_that_nobody_reads_is_kept() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let header = parse(&format!(
            r#"{{"byteorder":"big","content-type":"a","content-encoding":"b","content-length":0,"x":{deep}}}"#
        ))
        .unwrap();
        assert_eq!(header.raw("x").map(str::len), Some(40_000));
    }
}
