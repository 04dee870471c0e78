//! The messages that readers of every protocol give out.

use vang_proto::Header;

/// Bytes of a content, body or payload that are kept for display: 4 KiB.
pub const SHOWN_BYTES_MAX: usize = 4 << 10;

/// A whole message, and its place in the bytes of its direction.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// Offset of the first byte.
    pub from: u64,
    /// Offset after the last byte.
    pub to: u64,
    pub message: Message<'a>,
}

/// What a reader found.
#[derive(Debug)]
pub enum Message<'a> {
    /// A message of `docs/PROTOCOL.md`, section 1.
    Native {
        header: &'a Header,
        /// The beginning of the content; empty if it is events, which follow as messages.
        content: &'a [u8],
        /// What the offsets count from.
        within: Within,
    },
    /// An HTTP request's or response's head.
    Http { line: &'a [u8], fields: &'a [u8] },
    /// A body of HTTP, or one chunk of it.
    Body { len: u64, shown: &'a [u8] },
    /// A WebSocket frame (RFC 6455).
    Frame {
        opcode: &'static str,
        /// Bit FIN: the last frame of its message.
        last: bool,
        masked: bool,
        /// Part of a compressed message (RFC 7692), shown without decompression.
        compressed: bool,
        /// Length of the payload.
        len: u64,
        /// The beginning of the payload, unmasked; empty for binary frames, whose messages follow.
        shown: &'a [u8],
    },
    /// A line of text, without its end.
    Line {
        /// `irc` or `line`.
        kind: &'static str,
        text: &'a [u8],
    },
    /// A TLS record; its content is encrypted.
    Tls {
        kind: &'static str,
        /// Length of the payload.
        len: u64,
        /// The server name in a ClientHello (RFC 6066).
        server_name: Option<&'a str>,
    },
    /// Bytes of an unknown protocol.
    Bytes(&'a [u8]),
    /// A violation of the protocol. After a native one no message boundary is known.
    Broken(Violation),
    /// Missing bytes.
    Lost,
    /// The stream ended inside a message; the text says what the rest should be.
    Cut(String),
    /// Bytes after a broken message, not read.
    Unread,
}

/// What carries a native message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    #[default]
    Stream,
    WebSocket,
    /// The content of another message, which is a list of events.
    Events,
}

/// A violation of a protocol: where, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Offset of the first wrong byte.
    pub at: u64,
    pub why: String,
    pub found: String,
    pub allowed: String,
}

/// Receives messages.
pub type Sink<'s> = &'s mut dyn FnMut(Decoded<'_>);

/// What a reader of one protocol returns after a piece.
pub(super) enum Next {
    /// It takes more bytes.
    Stay,
    /// WebSocket begins after this many bytes; its messages can be compressed.
    WebSocket { used: usize, compresses: bool },
    /// After this many bytes the protocol is detected again.
    Detect(usize),
    /// After this many bytes nothing more can be read.
    Unread(usize),
    /// After this many bytes it is not this protocol.
    Bytes(usize),
}

/// Keeps bytes for display, up to the limit.
pub(super) fn keep(shown: &mut Vec<u8>, bytes: &[u8]) {
    let room = SHOWN_BYTES_MAX.saturating_sub(shown.len());
    shown.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
