//! Summaries of conversations and captures as records, and what bad numbers in them mean.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{counted, short_duration, size};

use crate::capture::conversations::{ConversationSummary, DirectionSummary};
use crate::capture::decoder::Counted;
use crate::capture::not_segment::Unopened;
use crate::capture::side::Side;
use crate::{Record, Report};

/// Unsupported layers that are named in one sentence.
const NAMED_MAX: usize = 3;

/// The summary of a capture.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DecodeSummary {
    #[serde(flatten)]
    pub(crate) counted: Counted,
    /// A capture, and not the raw bytes of a stream.
    #[serde(skip)]
    pub(crate) is_capture: bool,
    pub(crate) conversations: u64,
    pub(crate) messages: u64,
    pub(crate) broken: u64,
    pub(crate) missing_bytes: u64,
    pub(crate) resets: u64,
    pub(crate) stopped: bool,
}

impl Record for DecodeSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for DecodeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let these = &self.counted;
        if self.is_capture {
            let packets = counted(these.packets, "packet", "packets");
            let conversations = counted(self.conversations, "conversation", "conversations");
            write!(f, "{packets} of {}, {conversations}, ", size(these.packet_bytes))?;
        }
        write!(f, "{}, {} broken", counted(self.messages, "message", "messages"), self.broken)?;
        for (count, one, many) in [
            (these.datagrams, "datagram", "datagrams"),
            (these.not_tcp, "packet of another protocol", "packets of other protocols"),
            (these.fragments, "IP fragment", "IP fragments"),
            (these.not_joined, "of them not reassembled", "of them not reassembled"),
            (these.unreadable, "unreadable packet", "unreadable packets"),
            (these.not_looked_into, "packet not decoded", "packets not decoded"),
            (these.unknown_links, "packet of an unknown link type", "packets of an unknown link type"),
            (these.unknown_blocks, "block of an unknown type", "blocks of an unknown type"),
        ] {
            if count > 0 {
                write!(f, ", {}", counted(count, one, many))?;
            }
        }
        if self.stopped { f.write_str("; stopped before the end") } else { Ok(()) }
    }
}

impl Record for ConversationSummary {
    const EVENT: &'static str = "conversation";
}

impl fmt::Display for ConversationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(Duration::from_nanos(self.took_ns));
        write!(f, "#{} {} → {}, {}, {took}", self.conversation, self.client, self.server, self.ending)?;
        if !self.opening_seen {
            f.write_str(" (it began before the capture; which side is the client is a guess)")?;
        }
        for (side, direction) in [(Side::Client, &self.from_client), (Side::Server, &self.from_server)] {
            let DirectionSummary { packets, packet_bytes, bytes, messages, protocol, odd } = direction;
            write!(
                f,
                "\n{} sent {} in {} ({} with headers)",
                side.name(),
                size(*bytes),
                counted(*packets, "packet", "packets"),
                size(*packet_bytes)
            )?;
            if *bytes > 0 && *bytes == odd.missing_bytes {
                f.write_str(": none of them captured")?;
            } else if *bytes > 0 {
                write!(
                    f,
                    ": protocol {}, {}",
                    shown_protocol(protocol),
                    counted(*messages, "message", "messages")
                )?;
            }
            for (count, one, many) in [
                (odd.out_of_order, "segment out of order", "segments out of order"),
                (odd.retransmitted, "retransmitted", "retransmitted"),
                (odd.overlapping, "overlapping", "overlapping"),
                (odd.missing_bytes, "byte missing", "bytes missing"),
            ] {
                if count > 0 {
                    write!(f, ", {}", counted(count, one, many))?;
                }
            }
        }
        Ok(())
    }
}

/// The name of a protocol for people; objects keep the reader's own word.
fn shown_protocol(name: &str) -> &str {
    match name {
        "native" => "vang",
        "nothing" | "bytes" => "unknown",
        other => other,
    }
}

impl DecodeSummary {
    /// Says what its bad numbers mean.
    pub(crate) fn explain(&self, report: &Report) -> io::Result<()> {
        if self.broken > 0 {
            report.means(
                "the sender of a broken message does not follow docs/PROTOCOL.md, section 1; a receiver ends the connection \
                 there, because after a wrong length no message boundary is known",
            )?;
        }
        if self.missing_bytes > 0 {
            report.means(&format!(
                "the capture does not contain {} that were sent: the capturing program was too slow, began late, or kept only \
                 the beginning of each packet",
                size(self.missing_bytes)
            ))?;
        }
        if self.counted.not_joined > 0 {
            report.means(
                "a fragmented packet is read only if all its fragments are there: some are missing, were cut by the length \
                 limit of the capture, or overlap, which hosts also refuse",
            )?;
        }
        explain_not_decoded(&self.counted, report)?;
        if self.resets > 0 {
            report.means(
                "a reset discards unread bytes: its sender crashed, closed without reading everything, or had no listener at \
                 that port",
            )?;
        }
        Ok(())
    }
}

/// Explains each kind of packet that was not decoded, so that damage is not mistaken for silence.
fn explain_not_decoded(these: &Counted, report: &Report) -> io::Result<()> {
    if these.headers_cut > 0 {
        report.means(&format!(
            "the capture kept at most {1} bytes of {0}, too few for all headers: Ethernet, IP and TCP headers have 54 to 114 \
             bytes. Capture again with a longer limit, as in `tcpdump -s 0`",
            counted(these.headers_cut, "packet", "packets"),
            these.headers_cut_at
        ))?;
    }
    if these.unreadable > these.headers_cut {
        report.means(&format!(
            "{} complete and unreadable: damaged, or not of the link type that the file claims",
            counted(these.unreadable - these.headers_cut, "packet is", "packets are")
        ))?;
    }
    let named = |of_links: bool| {
        let is_asked = |layer: &Unopened| matches!(layer, Unopened::Link(_)) == of_links;
        let mut layers: Vec<_> = these.unopened.iter().filter(|(layer, _)| is_asked(layer)).collect();
        layers.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let more = layers.len().saturating_sub(NAMED_MAX);
        let named: Vec<String> = layers.iter().take(NAMED_MAX).map(|(layer, _)| layer.to_string()).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", named.join(", "))
    };
    if these.not_looked_into > 0 {
        report.means(&format!(
            "{} not decoded: {}. TCP can be inside; tshark supports more layers",
            counted(these.not_looked_into, "packet was", "packets were"),
            named(false)
        ))?;
    }
    if these.unknown_links > 0 {
        report.means(&format!(
            "{} is not supported: known are Ethernet, Linux cooked (-i any), raw IP, loopback, PPP, HDLC, MPLS and the logs of \
             packet filters; tshark supports more, such as USB or 802.11 in monitor mode",
            named(true)
        ))?;
    }
    Ok(())
}
