//! The records of a tap over UDP: each datagram with its fate, and the summary.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::kind::{self, Kind};
use vang_proto::text::{counted, short_duration, size};

use super::datagram_network::Fate;
use crate::Record;
use crate::capture::side::Side;
use crate::protocols::{Awaited, Decoded, Message, MessageRecord, Reader};

/// A datagram that a side has sent.
#[derive(Serialize)]
pub(super) struct Datagram {
    #[serde(flatten)]
    message: MessageRecord,
    fate: &'static str,
}

impl Record for Datagram {
    const EVENT: &'static str = "datagram";
}

impl fmt::Display for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)?;
        if self.fate == PASSED { Ok(()) } else { write!(f, " ({})", self.fate) }
    }
}

const PASSED: &str = "passed";

impl Datagram {
    /// `from` is the number of bytes that this side has sent before.
    pub(super) fn of(at: Duration, client: u64, side: Side, from: u64, bytes: &[u8], fate: Fate) -> Datagram {
        let record = |decoded: &Decoded<'_>| MessageRecord::of(at, Some((client, side)), decoded);
        let mut message = None;
        // A datagram that is one whole message of a known protocol is shown as that.
        if matches!(kind::detect(bytes), Some(Kind::Native | Kind::Http)) {
            let mut reader = Reader::default();
            let mut sink = |decoded: Decoded<'_>| {
                let is_whole = matches!(decoded.message, Message::Native { .. } | Message::Http { .. })
                    && (decoded.from, decoded.to) == (0, bytes.len() as u64);
                if is_whole {
                    message = Some(record(&Decoded { from, to: from + bytes.len() as u64, ..decoded }));
                }
            };
            reader.feed(bytes, &mut Awaited::default(), &mut sink);
        }
        let message = message.unwrap_or_else(|| {
            let to = from + bytes.len() as u64;
            record(&Decoded { from, to, message: Message::Bytes(bytes) })
        });
        let fate = match fate {
            Fate { overflowed: true, .. } => "dropped: too many wait",
            Fate { dropped: true, .. } => "dropped",
            Fate { duplicated: true, held: true, .. } => "duplicated, held back",
            Fate { duplicated: true, .. } => "duplicated",
            Fate { held: true, .. } => "held back",
            Fate { .. } => PASSED,
        };
        Datagram { message, fate }
    }
}

/// The summary.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct DatagramTotals {
    pub(super) clients: u64,
    /// Received from clients.
    pub(super) client_datagrams: u64,
    pub(super) server_datagrams: u64,
    pub(super) client_bytes: u64,
    pub(super) server_bytes: u64,
    /// Sent on, each copy counted.
    pub(super) passed: u64,
    /// By `--drop`.
    pub(super) dropped: u64,
    /// By `--duplicate`.
    pub(super) duplicated: u64,
    /// Went after a later one of the same client and direction.
    pub(super) reordered: u64,
    /// Still delayed when the tap or their client ended.
    pub(super) waiting: u64,
    /// Dropped because too many waited.
    pub(super) overflowed: u64,
    /// Dropped by the kernel, because the tap did not read in time.
    pub(super) unread: u64,
    /// Not accepted by our kernel, or without a client.
    pub(super) unsent: u64,
    /// ICMP port unreachable from the server.
    pub(super) refused: u64,
    /// Without a record.
    pub(super) not_shown: u64,
    pub(super) took_ns: u64,
}

impl Record for DatagramTotals {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for DatagramTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let datagrams = |count: u64| counted(count, "datagram", "datagrams");
        write!(
            f,
            "{} in {}: clients sent {} ({}), servers {} ({}); {} passed, {} dropped, {} duplicated, {} reordered",
            counted(self.clients, "client", "clients"),
            short_duration(Duration::from_nanos(self.took_ns)),
            datagrams(self.client_datagrams),
            size(self.client_bytes),
            datagrams(self.server_datagrams),
            size(self.server_bytes),
            self.passed,
            self.dropped,
            self.duplicated,
            self.reordered
        )?;
        for (count, what) in [
            (self.waiting, "still delayed at the end"),
            (self.overflowed, "lost: too many were delayed"),
            (self.unread, "lost: the tap did not read in time"),
            (self.unsent, "lost: not sent on"),
            (self.refused, "refused by the server's host"),
            (self.not_shown, "not shown"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
