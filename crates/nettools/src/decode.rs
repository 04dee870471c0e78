//! Shows a capture: every TCP conversation with its sides, bytes, ending and duration, and the messages in them; broken
//! messages are explained at the byte. A file that is not a capture is read as the raw bytes of one direction of a stream.

pub(crate) mod records; // summaries of conversations and captures
pub(crate) mod events; // events of a capture as records

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::Doing;

use self::events::EventRecorder;
use self::records::DecodeSummary;
use crate::capture::conversations::ConversationEvent;
pub use crate::capture::decoder::Counted;
use crate::capture::decoder::Decoder;
use crate::capture::file::{self, CaptureError, CaptureItem};
use crate::capture::formats;
use crate::error::{Outcome, ToolError};
use crate::protocols::{Awaited, Message, MessageRecord, Reader};
use crate::stop::Stopped;
use crate::{Report, Stop, Verdict};

/// Raw bytes are read in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// What to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// `None`: stdin.
    pub file: Option<PathBuf>,
    /// Without the messages, except broken ones.
    pub only_conversations: bool,
}

/// Reads a capture after its first four bytes, and gives out its events. `goes_on` is called after each packet.
pub fn read_capture(
    first: [u8; 4],
    rest: impl Read + Send,
    counted: &mut Counted,
    sink: &mut dyn FnMut(ConversationEvent<'_>),
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(), CaptureError> {
    let mut decoder = Decoder::default();
    let outcome = file::read(first, rest, &mut |found| {
        match found {
            CaptureItem::Packet(packet) => decoder.push(&packet, sink),
            CaptureItem::UnknownBlock(_) => decoder.counted.unknown_blocks += 1,
        }
        goes_on()
    });
    decoder.end(sink);
    *counted = decoder.counted;
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
    let mut counted = Counted::default();
    let recorder = RefCell::new(EventRecorder::new(report, options.only_conversations));
    // Stop reading when the output has failed.
    let outcome = read_capture(
        first,
        source,
        &mut counted,
        &mut |event| recorder.borrow_mut().take(event),
        &mut || !recorder.borrow().has_failed(),
    );
    *summary = recorder.into_inner().finish(counted)?;
    Ok(outcome)
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
    summary.explain(report)?;
    if summary.is_capture && summary.counted.packets == 0 && outcome.is_ok() && stopped.is_none() {
        report.means(&format!(
            "{name} contains no packets: there was no traffic, or its filter matched nothing{}",
            match summary.counted.unknown_blocks {
                0 => "",
                _ => "; its blocks of unknown type were skipped",
            }
        ))?;
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
