//! Shows a capture: every TCP conversation with its sides, bytes, ending and duration, and the messages in them; broken
//! messages are explained at the byte. A file that is not a capture is read as the raw bytes of one direction of a stream.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use vang_client::trouble::Doing;
use vang_proto::text::{counted, short_duration, size};

use crate::capture::conversations::{
    ConversationEvent, ConversationSummary, Conversations, DirectionSummary, TcpEvent,
};
use crate::capture::file::{self, CaptureError, CaptureItem};
use crate::capture::formats;
use crate::capture::fragments::Fragments;
use crate::capture::side::Side;

use crate::capture::not_segment::{NotSegment, Unopened};
use crate::capture::packet;
use crate::error::{Outcome, ToolError};
use crate::protocols::{Awaited, Message, MessageRecord, Reader};
use crate::stop::Stopped;
use crate::{Record, Report, Stop, Verdict, quoted};

/// Raw bytes are read in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Unsupported layers that are named in one sentence.
const NAMED_MAX: usize = 3;

/// Bytes shown under `--explain`.
const EXPLAINED_BYTES: usize = 24;

/// What to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// `None`: stdin.
    pub file: Option<PathBuf>,
    /// Without the messages, except broken ones.
    pub only_conversations: bool,
}

/// Counts of packets and blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// All packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub packet_bytes: u64,
    /// Packets of other protocols.
    pub not_tcp: u64,
    /// IP fragments.
    pub fragments: u64,
    /// Of these, fragments of packets that could not be reassembled.
    pub not_joined: u64,
    /// Packets with incomplete or invalid headers.
    pub unreadable: u64,
    /// Of these, packets that the capture cut.
    pub headers_cut: u64,
    /// Most bytes that were kept of one of those.
    pub headers_cut_at: u64,
    /// Packets that can hold TCP inside an unsupported layer.
    pub not_looked_into: u64,
    /// Packets of an unknown link type.
    pub unknown_links: u64,
    /// Packets by unsupported layer.
    pub unopened: BTreeMap<Unopened, u64>,
    /// Blocks of unknown type.
    pub unknown_blocks: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct DecodeSummary {
    #[serde(flatten)]
    counted: Counted,
    /// A capture, and not the raw bytes of a stream.
    #[serde(skip)]
    is_capture: bool,
    conversations: u64,
    messages: u64,
    broken: u64,
    missing_bytes: u64,
    resets: u64,
    stopped: bool,
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

/// Reads a capture after its first four bytes, and gives out its events. `goes_on` is called after each packet.
pub fn read_capture(
    first: [u8; 4],
    rest: impl Read + Send,
    counted: &mut Counted,
    sink: &mut dyn FnMut(ConversationEvent<'_>),
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(), CaptureError> {
    let (mut conversations, mut fragments) = (Conversations::default(), Fragments::default());
    let outcome = file::read(first, rest, &mut |found| {
        let captured = match found {
            CaptureItem::Packet(packet) => packet,
            CaptureItem::UnknownBlock(_) => {
                counted.unknown_blocks += 1;
                return goes_on();
            }
        };
        let (time_ns, mut wire_bytes) = (captured.time_ns, captured.wire_bytes);
        counted.packets += 1;
        counted.packet_bytes += wire_bytes;
        let mut read = packet::read(captured.link, captured.bytes);
        let joined;
        if let Err(NotSegment::Fragment(fragment)) = read {
            counted.fragments += 1;
            counted.not_joined += 1;
            joined = fragment.and_then(|fragment| fragments.push(time_ns, wire_bytes, &fragment));
            if let Some(joined) = &joined {
                counted.not_joined -= joined.fragments;
                wire_bytes = joined.wire_bytes;
                read = match packet::read_ip(&joined.packet) {
                    // Nested fragments are only used for denial of service: stop here.
                    Err(NotSegment::Fragment(_)) => Err(NotSegment::Unreadable),
                    read => read,
                };
            }
        }
        match read {
            Ok(segment) => conversations.push(time_ns, wire_bytes, &segment, sink),
            Err(NotSegment::NotTcp) => counted.not_tcp += 1,
            Err(NotSegment::Fragment(_)) => {}
            Err(NotSegment::Unreadable) => {
                counted.unreadable += 1;
                let kept = captured.bytes.len() as u64;
                if kept < captured.wire_bytes {
                    counted.headers_cut += 1;
                    counted.headers_cut_at = counted.headers_cut_at.max(kept);
                }
            }
            Err(NotSegment::Unopened(layer)) => {
                match layer {
                    Unopened::Link(_) => counted.unknown_links += 1,
                    _ => counted.not_looked_into += 1,
                }
                *counted.unopened.entry(layer).or_default() += 1;
            }
        }
        goes_on()
    });
    conversations.end(sink);
    outcome
}

/// Decodes a file or stdin.
pub fn run(options: &DecodeOptions, report: &Report, stop: &Stop) -> Outcome {
    // Output is gathered; `Stoppable` flushes it before it waits for a pipe.
    let report = &report.gathering();
    let outcome = decode(options, report, stop);
    report.flush()?;
    outcome
}

fn decode(options: &DecodeOptions, report: &Report, stop: &Stop) -> Outcome {
    let name = options.file.as_ref().map_or("stdin".to_owned(), |file| format!("'{}'", file.display()));
    let failed = |error: &io::Error| ToolError::of(format!("cannot read {name}"), error, Doing::Read);
    let source = match &options.file {
        Some(file) => File::open(file).map_err(|error| failed(&error))?,
        // Without the buffer of `io::stdin`: poll does not see buffered bytes.
        None => File::from(io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?),
    };
    let mut source = Stoppable { source, report, stop, stopped: None, output_error: None };
    let begun = begin(&mut source).map_err(|error| failed(&error))?;
    if let Some(format) = formats::detect(&begun) {
        report.record(&DecodeSummary::default())?;
        report.means(&format!(
            "{name} is {}; convert it first: `{} | vang net decode -`",
            format.what, format.command
        ))?;
        return Ok(Verdict::Bad);
    }
    let mut summary = DecodeSummary::default();
    let outcome = match begun.split_first_chunk() {
        Some((first, rest)) if file::is_capture(*first) => {
            summary.is_capture = true;
            report.explain(|| format!("{name} is a capture: its packets are reassembled to TCP streams"))?;
            of_capture(*first, rest.chain(&mut source), options, report, &mut summary)?
        }
        _ => {
            report.explain(|| format!("{name} is not a capture: it is read as one direction of a stream"))?;
            of_bytes(&begun, &mut source, options, report, &mut summary)?.map_err(CaptureError::Read)
        }
    };
    if let Some(error) = source.output_error {
        return Err(error.into());
    }
    let verdict = end(outcome, &name, source.stopped, summary, report)?;
    if begun.is_empty() && source.stopped.is_none() {
        report.means(&format!(
            "{name} is empty: a capturing program can hold back its packets in a buffer (tcpdump -U writes them at once)"
        ))?;
    }
    Ok(verdict)
}

/// The first piece, long enough to detect the format if the file is that long.
fn begin(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut begun, mut len) = (vec![0; PIECE_BYTES], 0);
    while len < 4 || formats::may_become(&begun[..len]) {
        match source.read(&mut begun[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    begun.truncate(len);
    Ok(begun)
}

fn of_capture(
    first: [u8; 4],
    source: impl Read + Send,
    options: &DecodeOptions,
    report: &Report,
    summary: &mut DecodeSummary,
) -> Result<Result<(), CaptureError>, ToolError> {
    let (mut counted, mut began) = (Counted::default(), None);
    let output_error = RefCell::new(None);
    let mut sink = |event: ConversationEvent<'_>| {
        if output_error.borrow().is_some() {
            return;
        }
        let outcome = match event {
            ConversationEvent::Bytes { conversation, side, bytes } => report.explain(|| {
                let side = side.name();
                format!(
                    "#{conversation}: the next {} from the {side}; the other side can get them in one read or in several: {}",
                    size(bytes.len() as u64),
                    quoted(bytes, EXPLAINED_BYTES)
                )
            }),
            ConversationEvent::Tcp { conversation, side, event } => {
                report.explain(|| format!("#{conversation}: {}", explained(event, side)))
            }
            ConversationEvent::Message { conversation, side, time_ns, decoded } => {
                summary.messages += 1;
                summary.broken += u64::from(matches!(decoded.message, Message::Broken(_)));
                let at = Duration::from_nanos(time_ns.saturating_sub(*began.get_or_insert(time_ns)));
                let is_shown = !options.only_conversations || matches!(decoded.message, Message::Broken(_));
                if is_shown { report.record(&MessageRecord::of(at, Some((conversation, side)), &decoded)) } else { Ok(()) }
            }
            ConversationEvent::Ended(conversation) => {
                summary.conversations += 1;
                summary.resets += u64::from(conversation.reset_by.is_some());
                summary.missing_bytes +=
                    conversation.from_client.odd.missing_bytes + conversation.from_server.odd.missing_bytes;
                report.record(&conversation)
            }
        };
        output_error.replace(outcome.err());
    };
    // Stop reading when the output has failed.
    let outcome =
        read_capture(first, source, &mut counted, &mut sink, &mut || output_error.borrow().is_none());
    summary.counted = counted;
    match output_error.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
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

fn of_bytes(
    first: &[u8],
    source: &mut Stoppable<'_>,
    options: &DecodeOptions,
    report: &Report,
    summary: &mut DecodeSummary,
) -> Result<io::Result<()>, ToolError> {
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    let output_error = RefCell::new(None);
    let mut sink = |decoded: crate::protocols::Decoded<'_>| {
        summary.messages += 1;
        summary.broken += u64::from(matches!(decoded.message, Message::Broken(_)));
        if output_error.borrow().is_none()
            && (!options.only_conversations || matches!(decoded.message, Message::Broken(_)))
        {
            output_error.replace(report.record(&MessageRecord::of(Duration::ZERO, None, &decoded)).err());
        }
    };
    reader.feed(first, &mut awaited, &mut sink);
    let mut piece = vec![0; PIECE_BYTES];
    let outcome = loop {
        match source.read(&mut piece) {
            Ok(_) if output_error.borrow().is_some() => break Ok(()),
            Ok(0) => break Ok(()),
            Ok(len) => reader.feed(&piece[..len], &mut awaited, &mut sink),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    reader.end(&mut sink);
    match output_error.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

fn end(
    outcome: Result<(), CaptureError>,
    name: &str,
    stopped: Option<Stopped>,
    mut summary: DecodeSummary,
    report: &Report,
) -> Outcome {
    summary.stopped = stopped.is_some();
    report.record(&summary)?;
    let mut verdict = if summary.broken > 0 { Verdict::Bad } else { Verdict::Good };
    if summary.broken > 0 {
        report.means(
            "the sender of a broken message does not follow docs/PROTOCOL.md, section 1; a receiver ends the connection \
             there, because after a wrong length no message boundary is known",
        )?;
    }
    if summary.missing_bytes > 0 {
        report.means(&format!(
            "the capture does not contain {} that were sent: the capturing program was too slow, began late, or kept only \
             the beginning of each packet",
            size(summary.missing_bytes)
        ))?;
    }
    if summary.counted.not_joined > 0 {
        report.means(
            "a fragmented packet is read only if all its fragments are there: some are missing, were cut by the length \
             limit of the capture, or overlap, which hosts also refuse",
        )?;
    }
    of_what_was_not_read(&summary.counted, report)?;
    if summary.is_capture && summary.counted.packets == 0 && outcome.is_ok() && stopped.is_none() {
        report.means(&format!(
            "{name} contains no packets: there was no traffic, or its filter matched nothing{}",
            match summary.counted.unknown_blocks {
                0 => "",
                _ => "; its blocks of unknown type were skipped",
            }
        ))?;
    }
    if summary.resets > 0 {
        report.means(
            "a reset discards unread bytes: its sender crashed, closed without reading everything, or had no listener at \
             that port",
        )?;
    }
    match outcome {
        Ok(()) => {}
        // Incomplete because the tool was stopped.
        Err(CaptureError::Cut { .. }) if stopped.is_some() => {}
        Err(CaptureError::Read(error)) => {
            return Err(ToolError::of(format!("cannot read {name}"), &error, Doing::Read));
        }
        Err(broken) => {
            report.means(&format!("{name} is damaged: {broken}; only the part before was read"))?;
            verdict = Verdict::Bad;
        }
    }
    match stopped {
        Some(Stopped::TimedOut) => Ok(Verdict::TimedOut),
        Some(Stopped::Requested) | None => Ok(verdict),
    }
}

/// Explains each kind of packet that was not decoded, so that damage is not mistaken for silence.
fn of_what_was_not_read(these: &Counted, report: &Report) -> io::Result<()> {
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

/// A source that ends with the tool, also while it waits for a pipe; gathered output is flushed before a wait.
struct Stoppable<'a> {
    source: File,
    report: &'a Report,
    stop: &'a Stop,
    stopped: Option<Stopped>,
    /// Why the output failed.
    output_error: Option<io::Error>,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stopped.is_some() || self.output_error.is_some() {
            return Ok(0);
        }
        if let Err(error) = self.report.flush() {
            self.output_error = Some(error);
            return Ok(0);
        }
        let fd: BorrowedFd<'_> = self.source.as_fd();
        self.stopped = self.stop.wait(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
        if self.stopped.is_some() { Ok(0) } else { self.source.read(into) }
    }
}
