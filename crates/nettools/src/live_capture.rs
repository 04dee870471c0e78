//! Captures packets of this machine: shows TCP conversations, messages and datagrams as they come, as `decode` shows
//! those of a file, or writes a file for Wireshark, or both.
//!
//! ```text
//! kernel ─ `filter` ─▶ `socket` ─┬▶ `capture::decoder` ─▶ `decode::events`     what is shown
//!                                └▶ `capture::write_packets`                    what is written
//! ```
//!
//! Packets that come faster than they are read stay in the kernel's buffer; when it is full, the kernel drops packets and
//! counts them (`drops`). A capture needs CAP_NET_RAW. Nothing is sent.

mod filter; // which packets the kernel copies
mod drops; // packets that the kernel dropped
mod socket; // the packet socket
mod records; // the beginning and the summary

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use nix::net::if_::if_nameindex;
use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::{Doing, Trouble};
use vang_proto::text::size;

pub use self::filter::PORTS_MAX;
use self::records::{CaptureSummary, Capturing};
use self::socket::{PacketSocket, Received};
use crate::capture::decoder::Decoder;
use crate::capture::write_packets::{HEADER_BYTES, PacketWriter};
use crate::decode::events::EventRecorder;
use crate::error::{Outcome, ToolError};
use crate::{Report, Stop, Stopped, Verdict};

/// A conversation is reported when it is over and no packet has come for this time: the last acknowledgement follows the
/// last FIN.
const LINGER: Duration = Duration::from_millis(200);

/// Bytes of the file that are gathered before they are written.
const FILE_BUFFER_BYTES: usize = 256 << 10;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// `None`: every interface.
    pub interface: Option<String>,
    /// TCP and UDP ports; empty: all packets.
    pub ports: Vec<u16>,
    /// Write pcapng.
    pub output: Option<CaptureOutput>,
    /// Show what comes.
    pub show: bool,
    /// Without the messages, except broken ones.
    pub only_conversations: bool,
    /// End after this many packets.
    pub count: Option<u64>,
    /// Most bytes kept of a packet.
    pub snaplen: usize,
    /// Size of the kernel's buffer for packets that are not read yet.
    pub buffer_bytes: usize,
}

/// Where pcapng is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureOutput {
    Stdout,
    File(PathBuf),
}

impl CaptureOutput {
    fn name(&self) -> String {
        match self {
            CaptureOutput::Stdout => "stdout".to_owned(),
            CaptureOutput::File(path) => format!("'{}'", path.display()),
        }
    }
}

/// Captures until `Stop`, or until `count` packets have come.
pub fn run(options: &CaptureOptions, report: &Report, stop: &Stop) -> Outcome {
    // Output is gathered, and flushed before each wait.
    let report = &report.gathering();
    let outcome = capture(options, report, stop);
    report.flush()?;
    outcome
}

fn capture(options: &CaptureOptions, report: &Report, stop: &Stop) -> Outcome {
    let interface = options.interface.as_deref().map(number_of).transpose()?;
    let packets = filter::program(&options.ports, interface);
    let mut socket =
        PacketSocket::open(&packets, options.snaplen, options.buffer_bytes).map_err(cannot_open)?;
    let mut taken = Taken::open(options, report)?;
    report.explain(|| {
        format!(
            "a packet socket (AF_PACKET) gets a copy of packets from the kernel; a filter (BPF) in the kernel selects them. \
             Up to {} wait until they are read",
            size(socket.kernel_bytes as u64)
        )
    })?;
    report.record(&Capturing {
        interface: options.interface.clone(),
        ports: options.ports.clone(),
        snaplen: options.snaplen,
        buffer_bytes: socket.kernel_bytes,
        file: options.output.as_ref().map(CaptureOutput::name),
    })?;
    report.flush()?;
    let failed = |error: &io::Error| ToolError::of("cannot receive packets", error, Doing::Read);
    let stopped = loop {
        let got = socket.receive(&mut |packet| taken.packet(&packet)).map_err(|error| failed(&error))?;
        let wait = taken.end_closed().then_some(LINGER);
        let stopped = if got > 0 {
            stop.now()
        } else {
            taken.flush()?;
            stop.wait(&mut [PollFd::new(&socket, PollFlags::IN)], wait)?
        };
        if stopped.is_some() || taken.is_done() {
            break stopped;
        }
    };
    // What came before the end counts; nothing comes after it.
    socket.close_filter().map_err(|error| failed(&error))?;
    while !taken.is_done()
        && socket.receive(&mut |packet| taken.packet(&packet)).map_err(|error| failed(&error))? > 0
    {}
    let dropped = socket.dropped();
    let is_done = taken.is_done();
    let verdict = taken.finish(dropped, socket.kernel_bytes)?;
    Ok(match stopped {
        Some(Stopped::TimedOut) if options.count.is_some() && !is_done => Verdict::TimedOut,
        _ => verdict,
    })
}

/// What becomes of the packets.
struct Taken<'a> {
    options: &'a CaptureOptions,
    report: &'a Report,
    decoder: Decoder,
    recorder: EventRecorder<'a>,
    writer: Option<PacketWriter<BufWriter<Box<dyn Write>>>>,
    /// Why the file could not be written.
    write_error: Option<io::Error>,
}

impl<'a> Taken<'a> {
    fn open(options: &'a CaptureOptions, report: &'a Report) -> Result<Taken<'a>, ToolError> {
        let writer = match &options.output {
            Some(output) => Some(open_file(output, options).map_err(|error| cannot_write(output, &error))?),
            None => None,
        };
        Ok(Taken {
            options,
            report,
            decoder: Decoder::live(),
            recorder: EventRecorder::new(report, options.only_conversations),
            writer,
            write_error: None,
        })
    }

    fn packet(&mut self, packet: &Received<'_>) {
        // Those of a batch after the last one are ignored.
        if self.is_done() {
            return;
        }
        if let Some(writer) = &mut self.writer {
            self.write_error =
                writer.packet(packet.time_ns, &packet.header, packet.bytes, packet.wire_bytes).err();
        }
        if self.options.show {
            let link = (packet.header.protocol, HEADER_BYTES as u64);
            let recorder = &mut self.recorder;
            self.decoder.push_network(
                packet.time_ns,
                link,
                packet.bytes,
                packet.wire_bytes as u64,
                &mut |event| recorder.take(event),
            );
        } else {
            self.decoder.counted.packets += 1;
            self.decoder.counted.packet_bytes += (packet.wire_bytes + HEADER_BYTES) as u64;
        }
    }

    /// The last packet has come, or an output has failed.
    fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.decoder.counted.packets >= count)
            || self.write_error.is_some()
            || self.recorder.has_failed()
    }

    /// Reports conversations that are over. Returns whether others will be, without a further packet.
    fn end_closed(&mut self) -> bool {
        let before = u64::try_from(socket::now().saturating_sub(LINGER).as_nanos()).unwrap_or(u64::MAX);
        let recorder = &mut self.recorder;
        self.decoder.end_closed(before, &mut |event| recorder.take(event))
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(writer) = &mut self.writer
            && self.write_error.is_none()
        {
            self.write_error = writer.flush().err();
        }
        self.report.flush()
    }

    fn finish(mut self, dropped: u64, kernel_bytes: usize) -> Outcome {
        let recorder = &mut self.recorder;
        self.decoder.end(&mut |event| recorder.take(event));
        let decoded = self.recorder.finish(self.decoder.counted)?;
        let received = decoded.counted.packets;
        if let Some(output) = &self.options.output {
            let now = u64::try_from(socket::now().as_nanos()).unwrap_or(u64::MAX);
            let finished = match (self.write_error, self.writer) {
                (Some(error), _) => Err(error),
                (None, Some(writer)) => writer.finish(now, received + dropped, dropped),
                (None, None) => Ok(()),
            };
            finished.map_err(|error| cannot_write(output, &error))?;
        }
        let summary = CaptureSummary {
            decoded,
            dropped,
            file: self.options.output.as_ref().map(CaptureOutput::name),
            is_decoded: self.options.show,
        };
        self.report.record(&summary)?;
        summary.decoded.explain(self.report)?;
        if dropped > 0 {
            self.report.means(&format!(
                "packets came faster than they were read, and the kernel's buffer of {} was full. Capture less (--port, \
                 --interface, --snaplen), write a file without showing messages (--output), or use a larger buffer \
                 (--buffer; beyond net.core.rmem_max it needs CAP_NET_ADMIN)",
                size(kernel_bytes as u64)
            ))?;
        }
        if received == 0 && dropped == 0 {
            self.report.means(
                "no packet matched: nothing was sent, the port is another one, or the packets pass another interface \
                 (`ip route get ADDRESS` names it; a container has its own network)",
            )?;
        }
        Ok(if summary.decoded.broken > 0 { Verdict::Bad } else { Verdict::Good })
    }
}

fn open_file(
    output: &CaptureOutput,
    options: &CaptureOptions,
) -> io::Result<PacketWriter<BufWriter<Box<dyn Write>>>> {
    let to: Box<dyn Write> = match output {
        CaptureOutput::Stdout => Box::new(io::stdout()),
        CaptureOutput::File(path) => Box::new(File::create(path)?),
    };
    let interface = options.interface.as_deref().unwrap_or("any");
    let snaplen = u32::try_from(options.snaplen).unwrap_or(u32::MAX);
    PacketWriter::new(BufWriter::with_capacity(FILE_BUFFER_BYTES, to), "vang net capture", interface, snaplen)
}

fn cannot_write(output: &CaptureOutput, error: &io::Error) -> ToolError {
    // The reader of a pipe has gone.
    if *output == CaptureOutput::Stdout {
        return ToolError::Output(io::Error::from(error.kind()));
    }
    ToolError::of(format!("cannot write in {}", output.name()), error, Doing::Write)
}

/// The number of an interface.
fn number_of(name: &str) -> Result<u32, ToolError> {
    let failed = |error: nix::errno::Errno| {
        ToolError::of("cannot list the interfaces", &io::Error::from(error), Doing::Read)
    };
    let mut names = Vec::new();
    for interface in &if_nameindex().map_err(failed)? {
        if interface.name().to_bytes() == name.as_bytes() {
            return Ok(interface.index());
        }
        names.push(interface.name().to_string_lossy().into_owned());
    }
    Err(ToolError::Usage(format!(
        "no interface has the name '{name}'; there are {}. Without --interface every one is captured",
        names.join(", ")
    )))
}

fn cannot_open(error: io::Error) -> ToolError {
    const INSTEAD: &str = "as root: `sudo vang net capture ...`; or once, for this program: \
                           `sudo setcap cap_net_raw,cap_net_admin=ep \"$(command -v vang)\"`; or without rights: \
                           `vang net tap --listen localhost:7000 --to HOST:PORT` shows the messages of clients that \
                           connect to it";
    let doing = "cannot open a packet socket".to_owned();
    let trouble = |name: &'static str, likely: &'static str| Trouble {
        name: name.into(),
        likely,
        advice: INSTEAD,
        retryable: false,
    };
    match error.kind() {
        io::ErrorKind::PermissionDenied => ToolError::System {
            doing,
            trouble: trouble(
                "permission denied",
                "capturing needs the capability CAP_NET_RAW, which this process does not have",
            ),
        },
        _ if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            ToolError::System {
                doing,
                trouble: trouble(
                    "address family not supported",
                    "is this a sandbox, or a kernel without CONFIG_PACKET?",
                ),
            }
        }
        _ => ToolError::of(doing, &error, Doing::Read),
    }
}
