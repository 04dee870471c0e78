//! The records of the client.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{counted, short_duration};

use crate::{Record, Target};

#[derive(Debug, Serialize)]
pub(super) struct Connected {
    /// Our address; `None` for a Unix socket.
    pub(super) local: Option<String>,
    pub(super) peer: String,
    pub(super) over: &'static str,
    pub(super) to: Target,
}

impl Record for Connected {
    const EVENT: &'static str = "connected";
}

impl fmt::Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.over {
            "UDP" => write!(f, "datagrams to {} (UDP has no connection)", self.peer),
            over => write!(f, "connected to {} ({over})", self.peer),
        }
    }
}

/// Typed bytes that the kernel has taken; only as an object.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    pub(super) bytes: u64,
}

impl Record for Sent {
    const EVENT: &'static str = "sent";
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent {}", counted(self.bytes, "byte", "bytes"))
    }
}

/// Received bytes: what one read gave, or a message.
#[derive(Debug, Serialize)]
pub(super) struct Received {
    pub(super) bytes: u64,
    /// If they are UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// Otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hex: Option<String>,
    /// Does a datagram or WebSocket message end here?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) ends: bool,
    /// Since the last byte was sent, if these bytes begin the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after_us: Option<u64>,
}

impl Record for Received {
    const EVENT: &'static str = "received";
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = short_duration(Duration::from_micros(self.after_us.unwrap_or_default()));
        write!(f, "answer after {after}: {} or more", counted(self.bytes, "byte", "bytes"))
    }
}

/// Why the conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ended {
    PeerClosed,
    /// TLS was not ended before the socket: the end can be missing.
    PeerCut,
    WeClosed,
    /// Nothing came for this time.
    Idle,
    /// By Ctrl-C or a signal.
    Stopped,
    TimedOut,
    /// By an error, which is reported.
    Failed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::PeerClosed => "the peer closed",
            Ended::PeerCut => "the peer closed without the end of TLS: bytes can be missing",
            Ended::WeClosed => "we closed",
            Ended::Idle => "we closed: nothing came any more",
            Ended::Stopped => "we closed: stopped",
            Ended::TimedOut => "we closed: the time is over",
            Ended::Failed => "ended by an error",
        })
    }
}

/// The last record.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) ended: Ended,
    /// The peer's code and reason, if a WebSocket was closed with one.
    pub(super) why: Option<String>,
    pub(super) sent: u64,
    /// Typed bytes that the kernel has not taken.
    pub(super) unsent: u64,
    pub(super) received: u64,
    /// Since the last byte before it was sent.
    pub(super) first_answer_us: Option<u64>,
    pub(super) took_us: u64,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: u64| short_duration(Duration::from_micros(us));
        let bytes = |bytes: u64| counted(bytes, "byte", "bytes");
        write!(f, "{}", self.ended)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        write!(f, "; {} sent", bytes(self.sent))?;
        if self.unsent > 0 {
            write!(f, " ({} NOT sent)", bytes(self.unsent))?;
        }
        write!(f, ", {} received in {}", bytes(self.received), time(self.took_us))?;
        self.first_answer_us.map_or(Ok(()), |first| write!(f, "; first answer after {}", time(first)))
    }
}
