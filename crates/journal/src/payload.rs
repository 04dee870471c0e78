//! Payloads: what a user typed. CBOR maps (RFC 8949) with rising numbers as keys, of format 1:
//!
//! ```text
//! said = {0: 1, 1: content-type, 2: content-encoding, 3: content, 4: guest's name}      4 only of guests
//! name = {0: 1, 1: text}      a room's or an account's name, or another line of text about it
//! ```
//!
//! A newer program may add keys behind these; this one keeps them as they are.

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use crate::format::{Encoded, EntryError, nothing_more};

const FORMAT: u16 = 1;

const FORMAT_KEY: u64 = 0;
const CONTENT_TYPE: u64 = 1;
const CONTENT_ENCODING: u64 = 2;
const CONTENT: u64 = 3;
const GUEST: u64 = 4;

const NAME: u64 = 1;

/// The payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePayload {
    /// A guest's name; an account is known by its id.
    pub guest: Option<String>,
    /// As the sender declared it.
    pub content_type: String,
    /// As the sender declared it, independent of the sender's byte order.
    pub content_encoding: String,
    pub content: Bytes,
    pub unknown: Unknown,
}

/// Keys that this program does not know, with their values: how many, and their CBOR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    count: u64,
    bytes: Bytes,
}

/// A borrowed `MessagePayload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagePayloadView<'a> {
    pub guest: Option<&'a str>,
    pub content_type: &'a str,
    pub content_encoding: &'a str,
    pub content: &'a [u8],
    pub unknown: UnknownView<'a>,
}

/// A borrowed `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownView<'a> {
    count: u64,
    bytes: &'a [u8],
}

impl MessagePayloadView<'_> {
    /// The payload's bytes.
    pub fn encode(&self) -> Bytes {
        let parts = self.guest.map_or(0, str::len) + self.content_type.len() + self.content_encoding.len();
        let mut bytes = Vec::with_capacity(32 + parts + self.content.len() + self.unknown.bytes.len());
        let mut e = Encoder::new(&mut bytes);
        let mut write = || -> Encoded {
            let known = 4 + u64::from(self.guest.is_some());
            e.map(known + self.unknown.count)?.u64(FORMAT_KEY)?.u16(FORMAT)?;
            e.u64(CONTENT_TYPE)?.str(self.content_type)?;
            e.u64(CONTENT_ENCODING)?.str(self.content_encoding)?;
            e.u64(CONTENT)?.bytes(self.content)?;
            if let Some(guest) = self.guest {
                e.u64(GUEST)?.str(guest)?;
            }
            Ok(())
        };
        write().expect("writing to a Vec cannot fail");
        bytes.extend_from_slice(self.unknown.bytes);
        Bytes::from(bytes)
    }
}

impl<'a> MessagePayloadView<'a> {
    /// Reads a message's payload.
    pub fn decode(bytes: &'a [u8]) -> Result<MessagePayloadView<'a>, EntryError> {
        let mut fields = Fields::begin(bytes)?;
        fields.must(CONTENT_TYPE)?;
        let content_type = fields.d.str()?;
        fields.must(CONTENT_ENCODING)?;
        let content_encoding = fields.d.str()?;
        fields.must(CONTENT)?;
        let content = fields.d.bytes()?;
        let guest = if fields.is_next(GUEST)? { Some(fields.d.str()?) } else { None };
        Ok(MessagePayloadView {
            guest,
            content_type,
            content_encoding,
            content,
            unknown: fields.rest(GUEST)?,
        })
    }
}

impl MessagePayload {
    /// The payload's bytes.
    pub fn encode(&self) -> Bytes {
        let MessagePayload { guest, content_type, content_encoding, content, unknown } = self;
        let unknown = UnknownView { count: unknown.count, bytes: &unknown.bytes };
        MessagePayloadView { guest: guest.as_deref(), content_type, content_encoding, content, unknown }
            .encode()
    }

    /// Reads a message's payload; the content is not copied.
    pub fn decode(bytes: &Bytes) -> Result<MessagePayload, EntryError> {
        let view = MessagePayloadView::decode(bytes)?;
        Ok(MessagePayload {
            guest: view.guest.map(str::to_owned),
            content_type: view.content_type.to_owned(),
            content_encoding: view.content_encoding.to_owned(),
            content: bytes.slice_ref(view.content),
            unknown: Unknown { count: view.unknown.count, bytes: bytes.slice_ref(view.unknown.bytes) },
        })
    }
}

/// The payload of a new room or account: its name.
pub fn encode_name(name: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(name.len() + 8);
    let mut e = Encoder::new(&mut bytes);
    let mut write = || -> Encoded { e.map(2)?.u64(FORMAT_KEY)?.u16(FORMAT)?.u64(NAME)?.str(name)?.ok() };
    write().expect("writing to a Vec cannot fail");
    Bytes::from(bytes)
}

/// Reads the name from the payload of a new room or account.
pub fn decode_name(bytes: &[u8]) -> Result<String, EntryError> {
    let mut fields = Fields::begin(bytes)?;
    fields.must(NAME)?;
    let name = fields.d.str()?.to_owned();
    fields.rest(NAME)?;
    Ok(name)
}

/// A payload's map, read key by key.
struct Fields<'a> {
    d: Decoder<'a>,
    bytes: &'a [u8],
    left: u64,
}

impl<'a> Fields<'a> {
    fn begin(bytes: &'a [u8]) -> Result<Fields<'a>, EntryError> {
        let mut d = Decoder::new(bytes);
        let left = d.map()?.ok_or_else(|| EntryError::Malformed("a map without a length".into()))?;
        let mut fields = Fields { d, bytes, left };
        fields.must(FORMAT_KEY)?;
        match fields.d.u16()? {
            FORMAT => Ok(fields),
            found => Err(EntryError::OtherFormat { found }),
        }
    }

    /// Takes the key, if it is the next one.
    fn is_next(&mut self, key: u64) -> Result<bool, EntryError> {
        if self.left == 0 {
            return Ok(false);
        }
        let place = self.d.position();
        // A number below 24 is one byte, the number itself (RFC 8949, section 3): nearly all keys are.
        if key < 24 && self.bytes.get(place).is_some_and(|byte| u64::from(*byte) == key) {
            self.d.set_position(place + 1);
        } else if self.d.u64()? != key {
            self.d.set_position(place);
            return Ok(false);
        }
        self.left -= 1;
        Ok(true)
    }

    fn must(&mut self, key: u64) -> Result<(), EntryError> {
        match self.is_next(key)? {
            true => Ok(()),
            false => Err(EntryError::Malformed(format!("a payload without key {key} at its place"))),
        }
    }

    /// The keys that this program does not know, all above `last`.
    fn rest(mut self, mut last: u64) -> Result<UnknownView<'a>, EntryError> {
        let start = self.d.position();
        for _ in 0..self.left {
            let key = self.d.u64()?;
            if key <= last {
                return Err(EntryError::Malformed(format!("key {key} of a payload behind key {last}")));
            }
            last = key;
            self.d.skip()?;
        }
        nothing_more(&self.d, self.bytes)?;
        Ok(UnknownView { count: self.left, bytes: &self.bytes[start..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_newer_program_are_kept() {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.map(6).unwrap().u64(0).unwrap().u16(1).unwrap();
        e.u64(1).unwrap().str("text/plain").unwrap().u64(2).unwrap().str("utf-8").unwrap();
        e.u64(3).unwrap().bytes(b"hi").unwrap();
        e.u64(9).unwrap().array(2).unwrap().u8(1).unwrap().str("tree").unwrap();
        e.u64(300).unwrap().bool(true).unwrap();
        let bytes = Bytes::from(bytes);
        let said = MessagePayload::decode(&bytes).unwrap();
        assert_eq!((&said.content[..], said.unknown.count), (&b"hi"[..], 2));
        assert_eq!(said.encode(), bytes);
    }

    #[test]
    fn keys_out_of_order_and_another_format_are_refused() {
        let payload = |keys: &[u64], format: u16| {
            let mut bytes = Vec::new();
            let mut e = Encoder::new(&mut bytes);
            e.map(keys.len() as u64).unwrap();
            for &key in keys {
                match key {
                    0 => e.u64(0).unwrap().u16(format).unwrap(),
                    _ => e.u64(key).unwrap().str("x").unwrap(),
                };
            }
            decode_name(&bytes)
        };
        assert_eq!(payload(&[0, 1], 1).unwrap(), "x");
        assert_eq!(payload(&[0, 1, 5, 6], 1).unwrap(), "x");
        assert_eq!(payload(&[0, 1], 2), Err(EntryError::OtherFormat { found: 2 }));
        for keys in [&[1, 0][..], &[0], &[0, 2], &[0, 1, 6, 5], &[0, 1, 1], &[]] {
            assert!(matches!(payload(keys, 1), Err(EntryError::Malformed(_))), "{keys:?}");
        }
    }
}
