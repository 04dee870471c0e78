//! The events of a capture as records: messages, datagrams, ends of conversations, and under `--explain` what each TCP
//! event means.

use std::io;
use std::time::Duration;

use vang_proto::text::size;

use super::records::DecodeSummary;
use crate::capture::conversations::{ConversationEvent, TcpEvent};
use crate::capture::decoder::Counted;
use crate::capture::side::Side;
use crate::protocols::{DatagramRecord, Message, MessageRecord};
use crate::{Report, quoted};

/// Bytes shown under `--explain`.
const EXPLAINED_BYTES: usize = 24;

/// Records events and counts them.
pub(crate) struct EventRecorder<'a> {
    report: &'a Report,
    only_conversations: bool,
    /// Time of the first message, ns since 1970.
    began: Option<u64>,
    summary: DecodeSummary,
    /// Why the output failed.
    failed: Option<io::Error>,
}

impl<'a> EventRecorder<'a> {
    /// With `only_conversations` no messages, except broken ones.
    pub(crate) fn new(report: &'a Report, only_conversations: bool) -> EventRecorder<'a> {
        let summary = DecodeSummary { is_capture: true, ..DecodeSummary::default() };
        EventRecorder { report, only_conversations, began: None, summary, failed: None }
    }

    /// Takes an event; after an error of the output it does nothing.
    pub(crate) fn take(&mut self, event: ConversationEvent<'_>) {
        if self.failed.is_none() {
            self.failed = self.record(event).err();
        }
    }

    /// Has the output failed?
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The summary, or the error of the output.
    pub(crate) fn finish(self, counted: Counted) -> io::Result<DecodeSummary> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(DecodeSummary { counted, ..self.summary }),
        }
    }

    fn since_beginning(&mut self, time_ns: u64) -> Duration {
        Duration::from_nanos(time_ns.saturating_sub(*self.began.get_or_insert(time_ns)))
    }

    fn record(&mut self, event: ConversationEvent<'_>) -> io::Result<()> {
        match event {
            ConversationEvent::Bytes { conversation, side, bytes } => self.report.explain(|| {
                let side = side.name();
                format!(
                    "#{conversation}: the next {} from the {side}; the other side can get them in one read or in several: {}",
                    size(bytes.len() as u64),
                    quoted(bytes, EXPLAINED_BYTES)
                )
            }),
            ConversationEvent::Tcp { conversation, side, event } => {
                self.report.explain(|| format!("#{conversation}: {}", explained(event, side)))
            }
            ConversationEvent::Message { conversation, side, time_ns, decoded } => {
                let is_broken = matches!(decoded.message, Message::Broken(_));
                self.summary.messages += 1;
                self.summary.broken += u64::from(is_broken);
                let at = self.since_beginning(time_ns);
                match !self.only_conversations || is_broken {
                    true => self.report.record(&MessageRecord::of(at, Some((conversation, side)), &decoded)),
                    false => Ok(()),
                }
            }
            ConversationEvent::Datagram { time_ns, datagram } => {
                let at = self.since_beginning(time_ns);
                match self.only_conversations {
                    true => Ok(()),
                    false => self.report.record(&DatagramRecord::of(at, &datagram)),
                }
            }
            ConversationEvent::Ended(conversation) => {
                self.summary.conversations += 1;
                self.summary.resets += u64::from(conversation.reset_by.is_some());
                self.summary.missing_bytes +=
                    conversation.from_client.odd.missing_bytes + conversation.from_server.odd.missing_bytes;
                self.report.record(&conversation)
            }
        }
    }
}

/// What a TCP event means for the programs at both ends.
fn explained(event: TcpEvent, side: Side) -> String {
    let (side, other) = (side.name(), side.other().name());
    match event {
        TcpEvent::Syn => format!("SYN from the {side}: a program there called connect"),
        TcpEvent::SynAck => {
            format!(
                "SYN+ACK from the {side}: its kernel agreed; the connection waits in the accept queue until accept"
            )
        }
        TcpEvent::OutOfOrder => {
            format!(
                "a segment from the {side} came before an earlier one: it waits for that one, as in the {other}'s kernel"
            )
        }
        TcpEvent::Retransmission => {
            format!(
                "a segment from the {side} had come before: retransmitted, because no acknowledgement came in time"
            )
        }
        TcpEvent::Fin => format!(
            "FIN from the {side}: it closed its sending half; after the bytes before it, read returns 0 to the {other}. \
             The side that closed first keeps TIME_WAIT for a minute after both have closed"
        ),
        TcpEvent::Reset => format!(
            "RST from the {side}: the connection and all unread bytes are gone; the {other}'s next read or write fails \
             with 'connection reset'"
        ),
    }
}
