//! Frames: where one message ends and the next begins.
//!
//! ```text
//! | header length: u16 big-endian | header: JSON, UTF-8 | content: `content-length` bytes |
//! ```
//!
//! Feed `Decoder` whatever the socket gave; poll whole frames out. It never reads, waits or
//! interprets content. Malformed bytes end the connection: after one bad length there is no
//! boundary left to trust. Memory grows with bytes that came, never with a length that was claimed.

use bytes::{Buf, Bytes, BytesMut};

use crate::header::Header;
use crate::limits::{CONTENT_BYTES_MAX, HEADER_BYTES_MAX};

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header, with the required keys checked.
    pub header: Header,
    /// Its content: a slice of the bytes that came, not a copy.
    pub content: Bytes,
}

/// The peer's bytes are not a frame. Always fatal to the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedFrame {
    /// Nothing that this port speaks begins so.
    #[error(
        "header is not JSON: a message is 2 length bytes and then a JSON object, but the third byte is {third:#04x}; \
         and these bytes are no other protocol known here"
    )]
    UnknownProtocol {
        /// The byte where `{` must stand.
        third: u8,
    },
    /// A JSON object takes two bytes.
    #[error("header of {len} bytes is too short to be a JSON object")]
    HeaderTooShort {
        /// As claimed.
        len: u32,
    },
    /// Over the limit that was set.
    #[error("header of {len} bytes exceeds the limit of {max}")]
    HeaderTooLong {
        /// As claimed.
        len: u32,
        /// As allowed.
        max: u32,
    },
    /// Some bytes are no UTF-8.
    #[error("header is not UTF-8 from byte {at}")]
    HeaderNotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// UTF-8, but no JSON.
    #[error("header is not JSON: {why}")]
    HeaderNotJson {
        /// What the parser found, and where.
        why: String,
    },
    /// JSON, but no object.
    #[error("header must be a JSON object, not {found}")]
    HeaderNotObject {
        /// The beginning of what it is.
        found: String,
    },
    /// One of the four is not there.
    #[error("missing required header '{key}'")]
    MissingKey {
        /// Which.
        key: &'static str,
    },
    /// One of the four is not what it must be.
    #[error("header '{key}' is {found}; it must be {expected}")]
    WrongKind {
        /// Which.
        key: &'static str,
        /// As sent, shortened.
        found: String,
        /// As allowed.
        expected: &'static str,
    },
    /// Refused before any of it comes.
    #[error("content of {len} bytes exceeds the limit of {max}")]
    ContentTooLong {
        /// As claimed.
        len: u64,
        /// As allowed.
        max: u64,
    },
}

/// How long the parts of a message may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The header.
    pub header: u32,
    /// The content.
    pub content: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { header: HEADER_BYTES_MAX, content: CONTENT_BYTES_MAX }
    }
}

/// Which part of a message is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Between two messages: nothing of the next has come.
    Nothing,
    /// The length or the header.
    Header,
    /// The content.
    Content,
}

/// Bytes in, frames out.
#[derive(Debug, Default)]
pub struct Decoder {
    limits: Limits,
    buffer: BytesMut,
    header: Option<Header>,
    refused: Option<MalformedFrame>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: Limits) -> Decoder {
        Decoder { limits, ..Decoder::default() }
    }

    /// Takes bytes as they came; after a refusal it drops them.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame; `None` while bytes are missing. What was refused once stays refused.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, MalformedFrame> {
        if let Some(malformed) = &self.refused {
            return Err(malformed.clone());
        }
        self.poll_next().inspect_err(|malformed| {
            self.refused = Some(malformed.clone());
            self.buffer = BytesMut::new();
        })
    }

    fn poll_next(&mut self) -> Result<Option<Frame>, MalformedFrame> {
        let header = match self.header.take() {
            Some(header) => header,
            None => match self.poll_header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let len = header.content_length();
        if (self.buffer.len() as u64) < len {
            self.header = Some(header);
            return Ok(None);
        }
        let content = self.buffer.split_to(len as usize).freeze();
        if self.buffer.is_empty() {
            // A connection between two messages holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(Frame { header, content }))
    }

    fn poll_header(&mut self) -> Result<Option<Header>, MalformedFrame> {
        let Some(prefix) = self.buffer.first_chunk::<2>() else { return Ok(None) };
        let len = u32::from(u16::from_be_bytes(*prefix));
        if len < 2 {
            return Err(MalformedFrame::HeaderTooShort { len });
        }
        if len > self.limits.header {
            return Err(MalformedFrame::HeaderTooLong { len, max: self.limits.header });
        }
        if self.buffer.len() < 2 + len as usize {
            return Ok(None);
        }
        self.buffer.advance(2);
        let header = Header::parse(self.buffer.split_to(len as usize).freeze())?;
        let max = self.limits.content;
        match header.content_length() {
            len if len > max => Err(MalformedFrame::ContentTooLong { len, max }),
            _ => Ok(Some(header)),
        }
    }

    /// Which part is being waited for.
    pub fn waits_for(&self) -> Part {
        match (&self.header, self.buffer.is_empty()) {
            (Some(_), _) => Part::Content,
            (None, false) => Part::Header,
            (None, true) => Part::Nothing,
        }
    }

    /// Is a whole frame here, or a refusal, that `poll_frame` would give without another byte?
    pub fn has_whole(&self) -> bool {
        let needed = match (&self.header, self.buffer.first_chunk::<2>()) {
            (Some(header), _) => header.content_length(),
            (None, Some(prefix)) => 2 + u64::from(u16::from_be_bytes(*prefix)),
            (None, None) => return self.refused.is_some(),
        };
        self.refused.is_some() || self.buffer.len() as u64 >= needed
    }

    /// Bytes that came and are not yet part of a frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory for them.
    pub fn held_bytes(&self) -> usize {
        if self.buffer.is_empty() { 0 } else { self.buffer.capacity() }
    }
}
