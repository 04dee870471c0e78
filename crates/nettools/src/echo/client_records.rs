//! The records of the echo client.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{short_duration, size};

use super::content::Content;
use crate::{Record, quoted};

/// Bytes shown of a message.
const SHOWN_MAX: usize = 64;

/// A message came back unchanged.
#[derive(Debug, Serialize)]
pub(super) struct MessageBack {
    pub(super) connection: usize,
    pub(super) message: u64,
    pub(super) bytes: u64,
    pub(super) text: String,
    pub(super) took_us: u64,
    /// The only connection: its number is not shown.
    #[serde(skip)]
    pub(super) alone: bool,
}

impl MessageBack {
    pub(super) fn text_of(content: &Content) -> String {
        let shown = content.from(0);
        let text = quoted(&shown[..shown.len().min(SHOWN_MAX)], SHOWN_MAX);
        if content.len > SHOWN_MAX as u64 { format!("{text}…") } else { text }
    }
}

impl Record for MessageBack {
    const EVENT: &'static str = "back";
}

impl fmt::Display for MessageBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.alone {
            write!(f, "connection {}: ", self.connection)?;
        }
        let took = short_duration(Duration::from_micros(self.took_us));
        write!(f, "{} came back: {} in {took}", self.text, size(self.bytes))
    }
}

/// The answer differs from the message.
#[derive(Debug, Serialize)]
pub(super) struct Mismatch {
    pub(super) connection: usize,
    pub(super) message: u64,
    /// Offset in the message.
    pub(super) byte: u64,
    pub(super) sent: String,
    pub(super) came: String,
}

impl Record for Mismatch {
    const EVENT: &'static str = "wrong";
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, message {}: at byte {} got", self.connection, self.message, self.byte)?;
        match self.sent.as_str() {
            "\"\"" => write!(f, " {}, but the message ends there", self.came),
            sent => write!(f, " {}, sent {sent}", self.came),
        }
    }
}

/// A connection failed, or ended too early.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionFailed {
    pub(super) connection: usize,
    pub(super) why: String,
    pub(super) advice: String,
}

impl Record for ConnectionFailed {
    const EVENT: &'static str = "broken";
}

impl fmt::Display for ConnectionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: {}", self.connection, self.why)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n{}", self.advice) }
    }
}
