//! What a capture holds: every TCP conversation, who opened it, what each side sent, who closed or reset it, how long
//! it took; and the messages in them, native ones above all, broken ones explained at the byte. A file that is no
//! capture is read as the raw bytes of one direction of a stream.

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

use crate::capture::conversations::{Conversations, Side, Step, Summary, Told, Way};
use crate::capture::file::{self, Broken, Found};
use crate::capture::formats;
use crate::capture::fragments::Fragments;
use crate::capture::link::Unopened;
use crate::capture::packet::{self, Other};
use crate::failure::{Failure, Outcome};
use crate::stop::Stopped;
use crate::wire::{Awaited, Message, Reader, Said};
use crate::{Record, Report, Stop, Verdict, counted, duration, quoted, size};

/// Raw bytes are read in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Of the layers that are not opened here, so many are named.
const NAMED_MAX: usize = 3;

/// Bytes that the narration shows.
const EXPLAINED_BYTES: usize = 24;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A file; `None`: stdin.
    pub file: Option<PathBuf>,
    /// Only the conversations, not what was said in them.
    pub only_conversations: bool,
}

/// What was in a capture beside TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Packets in all.
    pub packets: u64,
    /// Their bytes on the wire.
    pub packet_bytes: u64,
    /// Of other protocols.
    pub not_tcp: u64,
    /// Fragments of IP packets.
    pub fragments: u64,
    /// Of these, those whose packet could not be joined: others are missing, cut, or do not fit.
    pub not_joined: u64,
    /// With headers that are cut or wrong.
    pub unreadable: u64,
    /// Of these, those of which the capture kept only the beginning.
    pub headers_cut: u64,
    /// The most that was kept of one of those, bytes.
    pub headers_cut_at: u64,
    /// In which TCP may be, behind a layer that is not opened here.
    pub not_looked_into: u64,
    /// Of a link type that is not known here.
    pub unknown_links: u64,
    /// Packets by the layer that is not opened here.
    pub unopened: BTreeMap<Unopened, u64>,
    /// Blocks of the file whose type is not known here.
    pub unknown_blocks: u64,
}

/// The summary of all.
#[derive(Clone, Debug, Default, Serialize)]
struct Summed {
    #[serde(flatten)]
    counted: Counted,
    /// Not the bytes of a stream as they are.
    #[serde(skip)]
    is_capture: bool,
    conversations: u64,
    messages: u64,
    broken: u64,
    missing_bytes: u64,
    resets: u64,
    stopped: bool,
}

impl Record for Summed {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let these = &self.counted;
        if self.is_capture {
            let packets = counted(these.packets, "packet", "packets");
            let conversations = counted(self.conversations, "conversation", "conversations");
            write!(f, "{packets} of {}, {conversations}, ", size(these.packet_bytes))?;
        }
        write!(f, "{}, {} broken", counted(self.messages, "message", "messages"), self.broken)?;
        for (count, what) in [
            (these.not_tcp, "packets of other protocols"),
            (these.fragments, "fragments of IP packets"),
            (these.not_joined, "of them not joined"),
            (these.unreadable, "packets unreadable"),
            (these.not_looked_into, "packets not looked into"),
            (these.unknown_links, "packets of an unknown link type"),
            (these.unknown_blocks, "blocks of an unknown type"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.stopped { f.write_str("; stopped before the end") } else { Ok(()) }
    }
}

impl Record for Summary {
    const EVENT: &'static str = "conversation";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(Duration::from_nanos(self.took_ns));
        write!(f, "#{} {} → {}, {}, {took}", self.conversation, self.client, self.server, self.ending)?;
        if !self.opening_seen {
            f.write_str(" (it began before the capture, so who opened it is a guess)")?;
        }
        for (side, way) in [(Side::Client, &self.from_client), (Side::Server, &self.from_server)] {
            let Way { packets, packet_bytes, bytes, messages, speaks, odd } = way;
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
                write!(f, ": {speaks}, {}", counted(*messages, "message", "messages"))?;
            }
            for (count, what) in [
                (odd.out_of_order, "segments out of order"),
                (odd.retransmitted, "retransmitted"),
                (odd.overlapping, "overlapping"),
                (odd.missing_bytes, "bytes missing"),
            ] {
                if count > 0 {
                    write!(f, ", {count} {what}")?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a capture whose first four bytes were read already, and tells what is in it; `goes_on` is asked after each
/// packet.
pub fn read_capture(
    first: [u8; 4],
    rest: impl Read + Send,
    counted: &mut Counted,
    tell: &mut dyn FnMut(Told<'_>),
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(), Broken> {
    let (mut conversations, mut fragments) = (Conversations::default(), Fragments::default());
    let outcome = file::read(first, rest, &mut |found| {
        let captured = match found {
            Found::Packet(packet) => packet,
            Found::UnknownBlock(_) => {
                counted.unknown_blocks += 1;
                return goes_on();
            }
        };
        let (time_ns, mut wire_bytes) = (captured.time_ns, captured.wire_bytes);
        counted.packets += 1;
        counted.packet_bytes += wire_bytes;
        let mut read = packet::read(captured.link, captured.bytes);
        let joined;
        if let Err(Other::Fragment(fragment)) = read {
            counted.fragments += 1;
            counted.not_joined += 1;
            joined = fragment.and_then(|fragment| fragments.push(time_ns, wire_bytes, &fragment));
            if let Some(joined) = &joined {
                counted.not_joined -= joined.fragments;
                wire_bytes = joined.wire_bytes;
                read = match packet::read_ip(&joined.packet) {
                    // Nobody fragments a fragment but to be looked at again and again.
                    Err(Other::Fragment(_)) => Err(Other::Unreadable),
                    read => read,
                };
            }
        }
        match read {
            Ok(segment) => conversations.push(time_ns, wire_bytes, &segment, tell),
            Err(Other::NotTcp) => counted.not_tcp += 1,
            Err(Other::Fragment(_)) => {}
            Err(Other::Unreadable) => {
                counted.unreadable += 1;
                let kept = captured.bytes.len() as u64;
                if kept < captured.wire_bytes {
                    counted.headers_cut += 1;
                    counted.headers_cut_at = counted.headers_cut_at.max(kept);
                }
            }
            Err(Other::Unopened(layer)) => {
                match layer {
                    Unopened::Link(_) => counted.unknown_links += 1,
                    _ => counted.not_looked_into += 1,
                }
                *counted.unopened.entry(layer).or_default() += 1;
            }
        }
        goes_on()
    });
    conversations.end(tell);
    outcome
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    // A file is told in large pieces; of a pipe, what came is told before more is waited for.
    let report = &report.gathering();
    let outcome = decode(asked, report, stop);
    report.flush()?;
    outcome
}

fn decode(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let name = asked.file.as_ref().map_or("stdin".to_owned(), |file| format!("'{}'", file.display()));
    let failed = |error: &io::Error| Failure::of(format!("cannot read {name}"), error, Doing::Read);
    let source = match &asked.file {
        Some(file) => File::open(file).map_err(|error| failed(&error))?,
        // Without the buffer of `io::stdin`, whose bytes no descriptor shows.
        None => File::from(io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?),
    };
    let mut source = Stoppable { source, report, stop, stopped: None, untold: None };
    let begun = begin(&mut source).map_err(|error| failed(&error))?;
    if let Some(format) = formats::tell(&begun) {
        report.tell(&Summed::default())?;
        report.means(&format!(
            "{name} is {}, which is not read as it is: `{} | vang net decode -`",
            format.what, format.command
        ))?;
        return Ok(Verdict::Bad);
    }
    let mut summed = Summed::default();
    let outcome = match begun.split_first_chunk() {
        Some((first, rest)) if file::is_capture(*first) => {
            summed.is_capture = true;
            report.explain(|| format!("{name} is a capture: its packets are put together as TCP did"))?;
            of_capture(*first, rest.chain(&mut source), asked, report, &mut summed)?
        }
        _ => {
            report.explain(|| format!("{name} is no capture: it is read as one direction of a stream"))?;
            of_bytes(&begun, &mut source, asked, report, &mut summed)?.map_err(Broken::Read)
        }
    };
    if let Some(error) = source.untold {
        return Err(error.into());
    }
    let verdict = end(outcome, &name, source.stopped, summed, report)?;
    if begun.is_empty() && source.stopped.is_none() {
        report.means(&format!(
            "{name} is empty: a capturing program keeps back what it has unless told to (tcpdump -U)"
        ))?;
    }
    Ok(verdict)
}

/// The first piece: enough to tell what the file is, if so much comes.
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
    asked: &Asked,
    report: &Report,
    summed: &mut Summed,
) -> Result<Result<(), Broken>, Failure> {
    let (mut counted, mut began) = (Counted::default(), None);
    let untold = RefCell::new(None);
    let mut tell = |told: Told<'_>| {
        if untold.borrow().is_some() {
            return;
        }
        let outcome = match told {
            Told::Bytes { conversation, side, bytes } => report.explain(|| {
                let side = side.name();
                format!(
                    "#{conversation}: the {side}'s next {}, which one read of the other side may give, or several: {}",
                    size(bytes.len() as u64),
                    quoted(bytes, EXPLAINED_BYTES)
                )
            }),
            Told::Step { conversation, side, step } => {
                report.explain(|| format!("#{conversation}: {}", narrated(step, side)))
            }
            Told::Message { conversation, side, time_ns, heard } => {
                summed.messages += 1;
                summed.broken += u64::from(matches!(heard.message, Message::Broken(_)));
                let at = Duration::from_nanos(time_ns.saturating_sub(*began.get_or_insert(time_ns)));
                let is_shown = !asked.only_conversations || matches!(heard.message, Message::Broken(_));
                if is_shown { report.tell(&Said::of(at, Some((conversation, side)), &heard)) } else { Ok(()) }
            }
            Told::Over(summary) => {
                summed.conversations += 1;
                summed.resets += u64::from(summary.reset_by.is_some());
                summed.missing_bytes +=
                    summary.from_client.odd.missing_bytes + summary.from_server.odd.missing_bytes;
                report.tell(&summary)
            }
        };
        untold.replace(outcome.err());
    };
    // Who reads no more is not read for.
    let outcome = read_capture(first, source, &mut counted, &mut tell, &mut || untold.borrow().is_none());
    summed.counted = counted;
    match untold.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

/// What a step of TCP's is to the programs at both ends.
fn narrated(step: Step, side: Side) -> String {
    let (side, other) = (side.name(), side.other().name());
    match step {
        Step::Opens => format!("SYN from the {side}: a program there called connect"),
        Step::Agrees => {
            format!("SYN, ACK from the {side}: its kernel agreed; the connection waits there until accept")
        }
        Step::Early => {
            format!(
                "a segment of the {side}'s came before an earlier one: it waits for it, as in the {other}'s kernel"
            )
        }
        Step::Again => {
            format!(
                "a segment of the {side}'s had come before: sent again, for no acknowledgement came in time"
            )
        }
        Step::Closes => format!(
            "FIN from the {side}: it closed its sending half; once all before is read, read gives the {other} 0 bytes. \
             Who closed first keeps TIME_WAIT for a minute when both have"
        ),
        Step::Resets => format!(
            "RST from the {side}: the connection is gone, and what was not read with it; the {other}'s next read or \
             write fails with 'connection reset'"
        ),
    }
}

fn of_bytes(
    first: &[u8],
    source: &mut Stoppable<'_>,
    asked: &Asked,
    report: &Report,
    summed: &mut Summed,
) -> Result<io::Result<()>, Failure> {
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    let untold = RefCell::new(None);
    let mut tell = |heard: crate::wire::Heard<'_>| {
        summed.messages += 1;
        summed.broken += u64::from(matches!(heard.message, Message::Broken(_)));
        if untold.borrow().is_none()
            && (!asked.only_conversations || matches!(heard.message, Message::Broken(_)))
        {
            untold.replace(report.tell(&Said::of(Duration::ZERO, None, &heard)).err());
        }
    };
    reader.feed(first, &mut awaited, &mut tell);
    let mut piece = vec![0; PIECE_BYTES];
    let outcome = loop {
        match source.read(&mut piece) {
            Ok(_) if untold.borrow().is_some() => break Ok(()),
            Ok(0) => break Ok(()),
            Ok(len) => reader.feed(&piece[..len], &mut awaited, &mut tell),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    reader.end(&mut tell);
    match untold.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

fn end(
    outcome: Result<(), Broken>,
    name: &str,
    stopped: Option<Stopped>,
    mut summed: Summed,
    report: &Report,
) -> Outcome {
    summed.stopped = stopped.is_some();
    report.tell(&summed)?;
    let mut verdict = if summed.broken > 0 { Verdict::Bad } else { Verdict::Good };
    if summed.broken > 0 {
        report.means(
            "whoever sent a broken message does not follow docs/PROTOCOL.md, section 1; a receiver ends the \
             connection there, because after a wrong length no boundary can be trusted",
        )?;
    }
    if summed.missing_bytes > 0 {
        report.means(&format!(
            "{} were acknowledged or overtaken, but the capture does not have them: the capturing program was too \
             slow, began late, or kept only the beginning of each packet",
            size(summed.missing_bytes)
        ))?;
    }
    if summed.counted.not_joined > 0 {
        report.means(
            "of a fragmented packet nothing is read unless all of it is there: the others are not in the capture, were \
             cut by its length limit, or overlap, which hosts refuse too",
        )?;
    }
    of_what_was_not_read(&summed.counted, report)?;
    if summed.is_capture && summed.counted.packets == 0 && outcome.is_ok() && stopped.is_none() {
        report.means(&format!(
            "no packet was read from {name}: nothing passed while it was made, or its filter let nothing through{}",
            match summed.counted.unknown_blocks {
                0 => "",
                _ => "; what is in its blocks of an unknown type is not known here either",
            }
        ))?;
    }
    if summed.resets > 0 {
        report.means(
            "a reset throws away what was not read yet: its sender crashed, closed without reading everything, or \
             nobody listened there",
        )?;
    }
    match outcome {
        Ok(()) => {}
        // Cut because it was told to stop.
        Err(Broken::Cut { .. }) if stopped.is_some() => {}
        Err(Broken::Read(error)) => {
            return Err(Failure::of(format!("cannot read {name}"), &error, Doing::Read));
        }
        Err(broken) => {
            report.means(&format!("{name} is damaged: {broken}; what stands before was read"))?;
            verdict = Verdict::Bad;
        }
    }
    match stopped {
        Some(Stopped::TimedOut) => Ok(Verdict::TimedOut),
        Some(Stopped::Asked) | None => Ok(verdict),
    }
}

/// Why packets say nothing: each kind in its own words, so that nothing broken passes for nothing there.
fn of_what_was_not_read(these: &Counted, report: &Report) -> io::Result<()> {
    if these.headers_cut > 0 {
        report.means(&format!(
            "of {} the capture kept at most {} bytes, and not all headers are in them: those of Ethernet, IP and TCP \
             take from 54 to 114. Capture again with a longer limit, as in `tcpdump -s 0`",
            counted(these.headers_cut, "packet", "packets"),
            these.headers_cut_at
        ))?;
    }
    if these.unreadable > these.headers_cut {
        report.means(&format!(
            "{} whole and cannot be read: damaged on the way, or not of the link type that the file claims",
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
            "{} not looked into: {}. TCP may be in it; tshark opens more of these layers",
            counted(these.not_looked_into, "packet was", "packets were"),
            named(false)
        ))?;
    }
    if these.unknown_links > 0 {
        report.means(&format!(
            "{} is not known here: packets are read as Ethernet, Linux cooked (-i any), raw IP, loopback, PPP, HDLC, \
             MPLS and the logs of packet filters; tshark knows more links, such as USB or 802.11 in monitor mode",
            named(true)
        ))?;
    }
    Ok(())
}

/// Ends when the tool must, also while it waits for a pipe; what was gathered is told first.
struct Stoppable<'a> {
    source: File,
    report: &'a Report,
    stop: &'a Stop,
    stopped: Option<Stopped>,
    /// Why nobody can be told any more.
    untold: Option<io::Error>,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stopped.is_some() || self.untold.is_some() {
            return Ok(0);
        }
        if let Err(error) = self.report.flush() {
            self.untold = Some(error);
            return Ok(0);
        }
        let fd: BorrowedFd<'_> = self.source.as_fd();
        self.stopped = self.stop.wait(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
        if self.stopped.is_some() { Ok(0) } else { self.source.read(into) }
    }
}
