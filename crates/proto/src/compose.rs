//! Writing a message: the header's keys in the order given, with `": "` and `", "` between them, as
//! Python's `json.dumps(..., ensure_ascii=False)` writes it.

use bytes::BytesMut;

use crate::encoding::ByteOrder;
use crate::limits::HEADER_BYTES_MAX;
use crate::python::{write_json_pieces, write_json_string};

/// The header of a message is too long to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header of {len} bytes exceeds {HEADER_BYTES_MAX}")]
pub struct ComposeError {
    /// Bytes that it would have.
    pub len: usize,
}

/// A header under construction, appended to a buffer together with its content.
///
/// The four required keys come first, in the guide's order; keys of your own follow, each at most once, and none of the four
/// again. Every method takes text as it is and escapes what JSON requires.
///
/// ```
/// use bytes::BytesMut;
/// use vang_proto::Composer;
///
/// let mut out = BytesMut::new();
/// let mut message = Composer::new(&mut out, "text/plain", "utf-8", 4);
/// message.text("sensor", "roof").number("reading", 1).raw("place", "[52.5, 13.4]");
/// message.finish(b"20.5");
/// assert!(out.ends_with(br#""content-length": 4, "sensor": "roof", "reading": 1, "place": [52.5, 13.4]}20.5"#));
/// ```
pub struct Composer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Composer<'a> {
    /// Begins a message at the end of `out`. `content_length` is in bytes; [`Composer::finish`] takes as many.
    pub fn new(
        out: &'a mut BytesMut,
        content_type: &str,
        content_encoding: &str,
        content_length: usize,
    ) -> Self {
        let mut composer = Composer::begin(out);
        composer.key_text(r#", "content-type": "#, content_type);
        composer.key_text(r#", "content-encoding": "#, content_encoding);
        composer.key_number(r#", "content-length": "#, content_length as u64);
        composer
    }

    /// The same with the type and the encoding that replies have.
    pub(crate) fn text_json(out: &'a mut BytesMut, content_length: usize) -> Self {
        let mut composer = Composer::begin(out);
        composer.key_raw(r#", "content-type": "text/json", "content-encoding": "utf-8""#, b"");
        composer.key_number(r#", "content-length": "#, content_length as u64);
        composer
    }

    fn begin(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        out.extend_from_slice(match ByteOrder::NATIVE {
            ByteOrder::Little => b"\0\0{\"byteorder\": \"little\"",
            ByteOrder::Big => b"\0\0{\"byteorder\": \"big\"",
        });
        Composer { out, start }
    }

    /// Adds a key that stands here as it is written, and a string: for messages that are written by the million.
    pub(crate) fn key_text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.key_pieces(key, &[value])
    }

    /// The same with a string in pieces.
    pub(crate) fn key_pieces(&mut self, key: &'static str, value: &[&str]) -> &mut Self {
        self.out.extend_from_slice(key.as_bytes());
        write_json_pieces(self.out, value);
        self
    }

    /// The same with a number.
    pub(crate) fn key_number(&mut self, key: &'static str, value: u64) -> &mut Self {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(itoa(value, &mut [0; 20]));
        self
    }

    /// The same with what is JSON already.
    pub(crate) fn key_raw(&mut self, key: &'static str, json: &[u8]) -> &mut Self {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(json);
        self
    }

    /// Adds a key with a string.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        write_json_string(self.out, value);
        self
    }

    /// Adds a key with a number.
    pub fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(itoa(value, &mut [0; 20]));
        self
    }

    /// Adds a key with a value that is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// Adds the content, which has the length that was promised.
    ///
    /// # Panics
    /// When the header is longer than 65,535 bytes: callers bound what they put in.
    pub fn finish(self, content: &[u8]) {
        self.try_finish(content).expect("callers bound every value that goes into a header");
    }

    /// The same where the values of the header can have any length.
    ///
    /// # Errors
    /// The header is longer than 65,535 bytes. Then nothing of the message stays in the buffer.
    pub fn try_finish(self, content: &[u8]) -> Result<(), ComposeError> {
        self.out.extend_from_slice(b"}");
        let len = self.out.len() - self.start - 2;
        let Ok(short) = u16::try_from(len) else {
            self.out.truncate(self.start);
            return Err(ComposeError { len });
        };
        self.out[self.start..self.start + 2].copy_from_slice(&short.to_be_bytes());
        self.out.extend_from_slice(content);
        Ok(())
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(b", ");
        write_json_string(self.out, key);
        self.out.extend_from_slice(b": ");
    }
}

/// In decimal digits.
pub(crate) fn itoa(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// `{"result": text}` as the guide's server writes it: the content of an answer, for [`crate::Connection::send`].
pub fn result_content(text: &str) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len() + 16);
    content.extend_from_slice(b"{\"result\": ");
    write_json_string(&mut content, text);
    content.push(b'}');
    content
}
