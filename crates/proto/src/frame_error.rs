//! What is wrong with bytes that are not a frame.

use crate::length_order::SwappedLength;

/// The peer's bytes are not a frame. Always fatal to the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
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
        /// As claimed, in bytes.
        len: u32,
    },
    /// Over the limit that was set.
    #[error("header of {len} bytes exceeds the limit of {max}")]
    HeaderTooLong {
        /// As claimed, in bytes.
        len: u32,
        /// As allowed, in bytes.
        max: u32,
    },
    /// No header of this length can follow, and one of the other length is there.
    #[error("header length in the wrong byte order: {0}")]
    WrongByteOrder(SwappedLength),
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
        /// The first that is missing, in the order byteorder, content-length, content-type, content-encoding.
        key: &'static str,
    },
    /// One of the four is not what it must be.
    #[error("header '{key}' is {found}; it must be {expected}")]
    WrongKind {
        /// Which of the four.
        key: &'static str,
        /// As sent, shortened.
        found: String,
        /// As allowed.
        expected: &'static str,
    },
    /// Refused before any of it comes.
    #[error("content of {len} bytes exceeds the limit of {max}")]
    ContentTooLong {
        /// As claimed, in bytes.
        len: u64,
        /// As allowed, in bytes.
        max: u64,
    },
    /// Nothing is wrong with it: the allocator has no memory for it.
    #[error("no memory is left for a message of {len} bytes")]
    NoMemory {
        /// As claimed, or what of it came.
        len: u64,
    },
}
