//! A case of the vectors: what is sent, what should come back, and how strictly that is compared.

/// Bytes to send, and the expected result.
#[derive(Clone, Debug)]
pub(super) struct VectorCase {
    pub(super) name: String,
    pub(super) sent: Vec<u8>,
    /// Messages, back to back; empty if only the end of the connection counts.
    pub(super) expected: Vec<u8>,
    pub(super) strictness: Strictness,
    /// Does the connection end?
    pub(super) ends: bool,
    /// Must other clients be served afterwards?
    pub(super) is_abuse: bool,
}

/// How much of an answer is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Compares types, encodings and the result.
    Guide,
    /// Compares all keys except the error text.
    Vang,
    /// Any single error reply.
    Refused,
    /// Only the end of the connection counts.
    EndsOnly,
}
