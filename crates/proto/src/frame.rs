//! Frames: where one message ends and the next begins.
//!
//! ```text
//! | header length: u16 big-endian | header: JSON, UTF-8 | content: `content-length` bytes |
//! ```
//!
//! Feed `Decoder` whatever the socket gave; poll whole frames out. It never reads, waits or
//! interprets content. Malformed bytes end the connection: after one bad length there is no
//! boundary left to trust. Memory grows with bytes that came, never with a length that was claimed; where the
//! allocator has none for long content, that is refused. A header length in the wrong byte order is refused as soon as no
//! header of that length can follow (`length_order.rs`).

use std::collections::TryReserveError;

use bytes::{Buf, Bytes, BytesMut};

use crate::frame_error::FrameError;
use crate::header::Header;
use crate::length_order::{OrderWatch, SwappedLength};
use crate::limits::{CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use crate::memory::can_allocate;

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header, with the required keys checked.
    pub header: Header,
    /// Its content: a slice of the bytes that came, not a copy.
    pub content: Bytes,
}

/// How long the parts of a message may be. What claims to be longer is refused by its length, before it comes.
///
/// ```
/// use vang_proto::Limits;
///
/// assert_eq!(Limits::default(), Limits { header: 65_535, content: 1 << 20 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the header; two length bytes can say 65,535 at the most.
    pub header: u32,
    /// Bytes of the content.
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
    /// The content: the header has come.
    Content,
}

/// Bytes in, frames out; [`crate::Connection`] adds a send buffer and the order of steps.
///
/// ```
/// use vang_proto::Decoder;
/// use vang_proto::frame::Part;
///
/// let header = r#"{"byteorder": "big", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": 2}"#;
/// let mut decoder = Decoder::default();
/// decoder.feed(&(header.len() as u16).to_be_bytes());
/// decoder.feed(header.as_bytes());
/// assert_eq!(decoder.poll_frame()?, None);
/// assert_eq!(decoder.waits_for(), Part::Content);
/// decoder.feed(b"hi");
/// let frame = decoder.poll_frame()?.expect("it is whole");
/// assert_eq!((&frame.header.content_type()[..], &frame.content[..]), ("text/plain", &b"hi"[..]));
/// # Ok::<(), vang_proto::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    limits: Limits,
    buffer: BytesMut,
    /// Bytes of the block of memory behind `buffer`, of which a part may be used up, and of another block that only the
    /// header still keeps.
    block: usize,
    header_block: usize,
    header: Option<Header>,
    /// Content too long for one buffer, while it comes.
    long: Option<LongContent>,
    refused: Option<FrameError>,
    /// Of the header that is being waited for.
    order: OrderWatch,
}

/// Content that comes in many pieces. Chunks of one size, so that a thousand of them take no more memory than the bytes
/// that came: a growing buffer takes up to twice that, and leaves holes of every size.
#[derive(Debug)]
struct LongContent {
    /// The buffer in which it began.
    first: BytesMut,
    chunks: Vec<Vec<u8>>,
    len: usize,
    missing: usize,
}

/// One chunk: 60 KiB, so that allocators, which keep a little for themselves, fit many of them into their pages. Content
/// up to this long stays where it came.
const CHUNK_BYTES: usize = 60 << 10;

/// A buffer up to this long is not worth asking the allocator: 16 KiB.
const SHORT_BYTES: usize = 16 << 10;

impl LongContent {
    fn begin(first: BytesMut, len: usize) -> LongContent {
        LongContent { missing: len - first.len(), first, chunks: Vec::new(), len }
    }

    /// Takes what belongs to it; gives back the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], TryReserveError> {
        let (mut mine, rest) = bytes.split_at(bytes.len().min(self.missing));
        self.missing -= mine.len();
        if self.chunks.is_empty() {
            let room = self.first.capacity() - self.first.len();
            let (here, later) = mine.split_at(mine.len().min(room));
            self.first.extend_from_slice(here);
            mine = later;
        }
        while !mine.is_empty() {
            let room = self.chunks.last().map_or(0, |last| last.capacity() - last.len());
            if room == 0 {
                let mut chunk = Vec::new();
                chunk.try_reserve_exact(CHUNK_BYTES)?;
                self.chunks.push(chunk);
                continue;
            }
            let (here, later) = mine.split_at(mine.len().min(room));
            if let Some(last) = self.chunks.last_mut() {
                last.extend_from_slice(here);
            }
            mine = later;
        }
        Ok(rest)
    }

    fn join(self) -> Result<Bytes, TryReserveError> {
        let mut whole = Vec::new();
        whole.try_reserve_exact(self.len)?;
        whole.extend_from_slice(&self.first);
        for chunk in self.chunks {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: Limits) -> Decoder {
        Decoder { limits, ..Decoder::default() }
    }

    /// Takes bytes as they came; after a refusal it drops them.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            let taken = match &mut self.long {
                Some(long) => long.take(bytes).map_err(|_| FrameError::NoMemory { len: long.len as u64 }),
                None => Ok(bytes),
            };
            let bytes = match taken {
                Ok(rest) if self.has_memory(rest.len()) => rest,
                Ok(rest) => {
                    let len = (self.buffered() + rest.len()) as u64;
                    return self.refuse(FrameError::NoMemory { len });
                }
                Err(no_memory) => return self.refuse(no_memory),
            };
            if self.buffer.is_empty() && self.header.is_none() {
                (self.block, self.header_block) = (0, 0);
            }
            let before = self.buffer.capacity();
            self.buffer.extend_from_slice(bytes);
            let now = self.buffer.capacity();
            if now > before || self.block == 0 {
                if self.header.is_some() && self.header_block == 0 {
                    self.header_block = self.block;
                }
                self.block = now;
            }
        }
    }

    /// Can the buffer take so many bytes more?
    fn has_memory(&self, more: usize) -> bool {
        let (len, capacity) = (self.buffer.len() + more, self.buffer.capacity());
        // As much as it would allocate: it has no way of its own to say that it cannot.
        len <= capacity || len <= SHORT_BYTES || can_allocate(len.max(2 * capacity))
    }

    /// The next whole frame; `None` while bytes are missing.
    ///
    /// # Errors
    /// The bytes are not a frame, or longer than allowed. What was refused once stays refused: where the next frame would
    /// begin is not known.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(malformed) = &self.refused {
            return Err(malformed.clone());
        }
        self.poll_next().inspect_err(|malformed| self.refuse(malformed.clone()))
    }

    fn refuse(&mut self, malformed: FrameError) {
        self.refused = Some(malformed);
        self.buffer = BytesMut::new();
        self.long = None;
    }

    fn poll_next(&mut self) -> Result<Option<Frame>, FrameError> {
        let header = match self.header.take() {
            Some(header) => header,
            None => match self.poll_header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let len = header.content_length();
        let content = match self.long.take() {
            Some(long) if long.missing > 0 => {
                self.long = Some(long);
                self.header = Some(header);
                return Ok(None);
            }
            Some(long) => long.join().map_err(|_| FrameError::NoMemory { len })?,
            None if (self.buffer.len() as u64) < len => {
                if len > CHUNK_BYTES as u64 {
                    self.long = Some(LongContent::begin(std::mem::take(&mut self.buffer), len as usize));
                }
                self.header = Some(header);
                return Ok(None);
            }
            None => self.buffer.split_to(len as usize).freeze(),
        };
        if self.buffer.is_empty() {
            // A connection between two messages holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(Frame { header, content }))
    }

    fn poll_header(&mut self) -> Result<Option<Header>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<2>() else { return Ok(None) };
        let len = u32::from(u16::from_be_bytes(*prefix));
        if len < 2 {
            return Err(FrameError::HeaderTooShort { len });
        }
        if len > self.limits.header {
            return Err(FrameError::HeaderTooLong { len, max: self.limits.header });
        }
        if let Some((swapped, _)) = self.order.look(&self.buffer) {
            return Err(FrameError::WrongByteOrder(swapped));
        }
        if self.buffer.len() < 2 + len as usize {
            return Ok(None);
        }
        self.order = OrderWatch::default();
        self.buffer.advance(2);
        let header = Header::parse(self.buffer.split_to(len as usize).freeze())?;
        let max = self.limits.content;
        match header.content_length() {
            len if len > max => Err(FrameError::ContentTooLong { len, max }),
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

    /// Does the length of an unfinished header fit what came of it only in the wrong byte order?
    pub fn swapped_length(&self) -> Option<SwappedLength> {
        if self.header.is_some() { None } else { SwappedLength::of(&self.buffer) }
    }

    /// Is a whole frame here, or a refusal, that `poll_frame` would give without another byte?
    pub fn has_whole(&self) -> bool {
        if let Some(long) = &self.long {
            return long.missing == 0;
        }
        // On a copy: the poll looks again.
        let mut order = self.order;
        if self.header.is_none() && order.look(&self.buffer).is_some() {
            return true;
        }
        let needed = match (&self.header, self.buffer.first_chunk::<2>()) {
            (Some(header), _) => header.content_length(),
            (None, Some(prefix)) => 2 + u64::from(u16::from_be_bytes(*prefix)),
            (None, None) => return self.refused.is_some(),
        };
        self.refused.is_some() || self.buffer.len() as u64 >= needed
    }

    /// Bytes that came and are not yet part of a frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len() + self.long.as_ref().map_or(0, |long| long.len - long.missing)
    }

    /// Bytes of memory for them.
    pub fn held_bytes(&self) -> usize {
        let chunks = self.long.as_ref().map_or(0, |long| long.chunks.len() * CHUNK_BYTES);
        // An allocator keeps an eighth for itself, about.
        let chunks = chunks + chunks / 8;
        chunks
            + if self.buffer.is_empty() && self.header.is_none() { 0 } else { self.block + self.header_block }
    }
}
