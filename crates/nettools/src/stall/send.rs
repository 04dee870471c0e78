//! The writer: writes until the kernel refuses, and reports at which byte and where the bytes are. With `fix` it then shows
//! how the reader drains the queues. Without a target the reader is in this process and does not read.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Socket, Type};
use vang_client::trouble::Doing;
use vang_proto::text::{short_duration, size};

use super::connection_queues::{ConnectionId, ConnectionQueues};
use super::options::StallSendOptions;
use super::queues::{BACKLOG, Charged, LOOK_EVERY, Queues, SETTLED, cannot_wait, heading};
use super::udp;
use crate::deadline_stream::NotConnected;
use crate::destination;
use crate::diag::Diag;
use crate::error::{Outcome, ToolError, explain};
use crate::listener::{Accepted, ListenOptions, Listener, Sharing};
use crate::peer_name::PeerName;
use crate::{Record, Report, Stop, Stopped, Target, Verdict};

/// Bytes of one write: enough to cause partial writes.
static CHUNK: [u8; 64 << 10] = [b'v'; 64 << 10];
/// Smallest and largest number of bytes between two lines of bars.
const LINE_EVERY: (u64, u64) = (64 << 10, 512 << 10);

#[derive(Debug, Serialize)]
struct Connected {
    writer: String,
    reader: String,
    reader_is_here: bool,
}

impl Record for Connected {
    const EVENT: &'static str = "connected";
}

impl fmt::Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (self.reader_is_here, self.reader.starts_with("unix:")) {
            (true, _) => "",
            (false, false) => " (on another machine: only our queue is visible)",
            (false, true) => " (not accepted yet: its queue is not visible)",
        };
        write!(f, "connected from {} to {}{place}", self.writer, self.reader)
    }
}

/// The kernel refused, and the queues no longer change.
#[derive(Debug, Serialize)]
struct Blocked {
    at_byte: u64,
    /// The first refusal; the queues can still grow a little after it.
    first_at_byte: u64,
    refusals: u64,
    partial_writes: u64,
    error: &'static str,
    send_q: Option<u64>,
    recv_q: Option<u64>,
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<Charged>,
}

impl Record for Blocked {
    const EVENT: &'static str = "blocked";
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write would block (EWOULDBLOCK) at byte {}, {}", self.at_byte, size(self.at_byte))?;
        if self.first_at_byte < self.at_byte {
            write!(f, "; briefly also at byte {}", self.first_at_byte)?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Drained {
    took_us: u64,
    send_q: Option<u64>,
    recv_q: Option<u64>,
}

impl Record for Drained {
    const EVENT: &'static str = "drained";
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "drained in {}: write would work again",
            short_duration(Duration::from_micros(self.took_us))
        )
    }
}

#[derive(Debug, Serialize)]
struct Summary {
    written: u64,
    blocked_at: Option<u64>,
    drained: bool,
    took_us: u64,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes written in {}",
            self.written,
            short_duration(Duration::from_micros(self.took_us))
        )?;
        match self.blocked_at {
            Some(byte) => write!(f, "; refused at byte {byte}")?,
            None => f.write_str("; never refused")?,
        }
        if self.drained { f.write_str("; drained") } else { Ok(()) }
    }
}

/// Runs the writer.
pub fn send(options: &StallSendOptions, report: &Report, stop: &Stop) -> Outcome {
    if options.udp {
        return udp::send(options, report, stop);
    }
    let Some(mut writer) = Writer::start(options, report, stop)? else {
        report.record(&Summary { written: 0, blocked_at: None, drained: false, took_us: 0 })?;
        return Ok(Verdict::Bad);
    };
    let began = Instant::now();
    let ended = writer.fill()?;
    let mut drained = false;
    let verdict = match ended {
        Filled::Refused => {
            writer.record_blocked(options.fix)?;
            if options.fix { writer.drain(&mut drained)? } else { Verdict::Good }
        }
        Filled::Never => {
            report.means(&format!(
                "the reader took {}, the limit of this test (--bytes): it reads, so its queue does not fill. Start a reader \
                 that does not read: `vang net stall serve`",
                size(writer.written)
            ))?;
            Verdict::Bad
        }
        Filled::Stopped(Stopped::TimedOut) => Verdict::TimedOut,
        // Perhaps not the last refusal, but write did block.
        // With --fix the queues should also have drained.
        Filled::Stopped(Stopped::Requested) if writer.first_refusal.is_some() && !options.fix => {
            Verdict::Good
        }
        Filled::Stopped(Stopped::Requested) => Verdict::Bad,
    };
    let blocked_at = match ended {
        Filled::Refused => Some(writer.blocked_at),
        // Stopped before the queues had settled.
        Filled::Stopped(_) => writer.first_refusal,
        Filled::Never => None,
    };
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    report.record(&Summary { written: writer.written, blocked_at, drained, took_us })?;
    report.explain(|| match writer.queues_of.is_unix() {
        true => "close: bytes in Recv-Q stay there until the reader reads them or closes".to_owned(),
        false => {
            "close: the kernel goes on sending the bytes in Send-Q, until the reader reads them or resets"
                .to_owned()
        }
    })?;
    Ok(verdict)
}

/// How writing ended.
#[derive(Clone, Copy)]
enum Filled {
    /// The kernel refuses, and the queues no longer change.
    Refused,
    /// The reader reads.
    Never,
    Stopped(Stopped),
}

struct Writer<'a> {
    report: &'a Report,
    stop: &'a Stop,
    stream: Socket,
    /// A reader in this process.
    own: Option<Socket>,
    /// The reader's address, as text.
    reader: String,
    queues_of: ConnectionQueues,
    diag: Diag,
    bytes_max: u64,
    written: u64,
    first_refusal: Option<u64>,
    blocked_at: u64,
    refusals: u64,
    partial: u64,
}

impl<'a> Writer<'a> {
    /// Connects. `None`: stopped.
    fn start(
        options: &StallSendOptions,
        report: &'a Report,
        stop: &'a Stop,
    ) -> Result<Option<Writer<'a>>, ToolError> {
        let to = options.to.clone().unwrap_or(Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) });
        let alone = matches!(to, Target::Net { port: Some(0), .. });
        if options.receive_buffer.is_some() && !alone {
            return Err(ToolError::Usage(
                "--receive-buffer is for a reader in this process; another reader sets its own buffer"
                    .to_owned(),
            ));
        }
        let connected = match alone {
            true => to_our_own(&to, options, report, stop)?,
            false => destination::connect(&to, report, stop, |socket| choose(socket, options))?
                .map(|(address, stream)| Connection { stream, to: address.name, own: None }),
        };
        let Some(Connection { stream, to, own }) = connected else { return Ok(None) };
        let lost =
            |error: io::Error| ToolError::of(format!("lost the connection to {to}"), &error, Doing::Write);
        let (here, there) = (stream.local_addr().map_err(lost)?, stream.peer_addr().map_err(lost)?);
        let (pair, writer, reader) = match (here.as_socket(), there.as_socket()) {
            (Some(writer), Some(reader)) => {
                (ConnectionId::Net { writer, reader }, writer.to_string(), reader.to_string())
            }
            _ => (
                ConnectionId::unix(&stream, true).map_err(lost)?,
                format!("process {}", std::process::id()),
                to,
            ),
        };
        // The kernel doubles the value (socket(7)).
        let chosen = options.send_buffer.and_then(|_| stream.send_buffer_size().ok());
        let queues_of = ConnectionQueues::of(pair, chosen.map(|bytes| bytes as u64));
        let mut diag = Diag::open();
        let reader_is_here = queues_of.look(&mut diag, None, None)?.recv_q.is_some();
        report.record(&Connected { writer, reader: reader.clone(), reader_is_here })?;
        report.draw(&heading(queues_of.is_unix()))?;
        Ok(Some(Writer {
            report,
            stop,
            stream,
            own,
            reader,
            queues_of,
            diag,
            bytes_max: options.bytes_max,
            written: 0,
            first_refusal: None,
            blocked_at: 0,
            refusals: 0,
            partial: 0,
        }))
    }

    fn lost(&self, error: &io::Error) -> ToolError {
        ToolError::of(format!("lost the connection to {}", self.reader), error, Doing::Write)
    }

    /// Writes until the queues no longer change.
    fn fill(&mut self) -> Result<Filled, ToolError> {
        let (mut step, most) = LINE_EVERY;
        let mut reported = 0;
        loop {
            if let Some(stopped) = self.stop.now() {
                return Ok(Filled::Stopped(stopped));
            }
            if self.written >= self.bytes_max {
                return Ok(Filled::Never);
            }
            let room = usize::try_from(self.bytes_max - self.written).unwrap_or(usize::MAX);
            let chunk = &CHUNK[..CHUNK.len().min(room)];
            match (&self.stream).write(chunk) {
                Ok(took) => {
                    self.written += took as u64;
                    if took < chunk.len() {
                        self.partial += 1;
                        let (given, so_far) = (chunk.len(), self.written);
                        self.report.explain(|| {
                            format!("partial write: the kernel took {took} of {given} bytes, {so_far} so far; the rest stays with us")
                        })?;
                    }
                    if self.written - reported >= step {
                        self.look()?;
                        (reported, step) = (self.written, (step * 2).min(most));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.refusals += 1;
                    self.first_refusal.get_or_insert(self.written);
                    let at = self.written;
                    self.report.explain(|| {
                        format!("would block: no room at byte {at}; poll reports when there is room again")
                    })?;
                    let mut room = [PollFd::new(&self.stream, PollFlags::OUT)];
                    let stopped = self.stop.wait(&mut room, Some(SETTLED));
                    if let Some(stopped) = stopped.map_err(|error| cannot_wait(&error))? {
                        return Ok(Filled::Stopped(stopped));
                    }
                    if room[0].revents().is_empty() {
                        return Ok(Filled::Refused);
                    }
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn look(&mut self) -> Result<Queues, ToolError> {
        let queues = self.queues_of.look(&mut self.diag, Some(self.written), None)?;
        self.report.record(&queues)?;
        Ok(queues)
    }

    fn record_blocked(&mut self, fix: bool) -> Result<(), ToolError> {
        let queues = self.look()?;
        self.blocked_at = self.written;
        self.report.record(&Blocked {
            at_byte: self.written,
            first_at_byte: self.first_refusal.unwrap_or(self.written),
            refusals: self.refusals,
            partial_writes: self.partial,
            error: "EWOULDBLOCK",
            send_q: queues.send_q,
            recv_q: queues.recv_q,
            window: queues.window,
            charged: queues.charged,
        })?;
        let trouble = explain(&ErrorKind::WouldBlock.into(), Doing::Write);
        let then = match (&self.own, fix) {
            (Some(_), false) => " (--fix lets it)",
            (Some(_), true) => ", which it does now",
            (None, true) => "; waiting for that (`vang net stall serve --fix` does it)",
            (None, false) => "",
        };
        let text = format!(
            "of {} bytes written, {}. So there is no room for the next byte: a blocking write would sleep, a non-blocking one \
             gets EWOULDBLOCK: {}. Nothing is lost; writing goes on when the reader reads{then}",
            self.written,
            lie(self.written, &queues),
            trouble.likely
        );
        Ok(self.report.means(&text)?)
    }

    /// Lets the reader read, and shows the queues.
    fn drain(&mut self, drained: &mut bool) -> Result<Verdict, ToolError> {
        let began = Instant::now();
        self.report.explain(|| match &self.own {
            Some(_) => {
                "the reader reads now; each read makes room, the window opens, Send-Q drains".to_owned()
            }
            None => "waiting until the reader reads (`vang net stall serve --fix` does)".to_owned(),
        })?;
        let mut last = self.queues_of.look(&mut self.diag, Some(self.written), None)?;
        let mut read = 0;
        let mut reported = 0;
        loop {
            if let Some(stopped) = self.stop.now() {
                return Ok(if stopped == Stopped::TimedOut { Verdict::TimedOut } else { Verdict::Bad });
            }
            match &mut self.own {
                Some(reader) => match reader.read(&mut vec![0; CHUNK.len()]) {
                    Ok(got) => read += got as u64,
                    // The window has opened, and the bytes are on their way.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        let more = &mut [PollFd::new(reader, PollFlags::IN)];
                        self.stop.wait(more, Some(LOOK_EVERY)).map_err(|error| cannot_wait(&error))?;
                    }
                    Err(error) => return Err(self.lost(&error)),
                },
                None => {
                    let waited = self.stop.wait(&mut [], Some(LOOK_EVERY));
                    waited.map_err(|error| cannot_wait(&error))?;
                }
            }
            let ours = self.own.as_ref().map(|_| read);
            let queues = self.queues_of.look(&mut self.diag, Some(self.written), ours)?;
            if is_over(&self.stream) {
                let error = self.stream.take_error().ok().flatten();
                return Err(self.lost(&error.unwrap_or(ErrorKind::ConnectionReset.into())));
            }
            let empty = queues.kept() == Some(0) && queues.recv_q.unwrap_or(0) == 0;
            let moved = match ours {
                Some(read) => read - reported >= LINE_EVERY.1,
                None => (queues.kept(), queues.recv_q) != (last.kept(), last.recv_q),
            };
            if moved || empty {
                self.report.record(&queues)?;
                reported = read;
            }
            if empty {
                let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.report.record(&Drained { took_us, send_q: queues.send_q, recv_q: queues.recv_q })?;
                *drained = true;
                return Ok(Verdict::Good);
            }
            last = queues;
        }
    }
}

/// Sets the options of the writer's socket.
fn choose(socket: &Socket, options: &StallSendOptions) -> io::Result<()> {
    options.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
}

/// The writer's connection.
struct Connection {
    stream: Socket,
    /// The reader's address, as typed or resolved.
    to: String,
    /// The reader's end, if it is in this process.
    own: Option<Socket>,
}

/// Connects to a reader in this process. `None`: stopped.
fn to_our_own(
    at: &Target,
    options: &StallSendOptions,
    report: &Report,
    stop: &Stop,
) -> Result<Option<Connection>, ToolError> {
    let how = ListenOptions {
        kind: Type::STREAM,
        backlog: BACKLOG,
        receive_buffer: options.receive_buffer,
        sharing: Sharing::Nobody,
    };
    let Some(listener) = Listener::open(at, how, report, stop)? else { return Ok(None) };
    let cannot = |error: &io::Error| ToolError::of("cannot accept", error, Doing::Read);
    let address = listener.destination().map_err(|error| cannot(&error))?;
    let socket = address.socket().and_then(|socket| choose(&socket, options).map(|()| socket));
    let stream = match address.connect(socket.map_err(|error| address.failure(&error))?, stop) {
        Ok(stream) => stream,
        Err(NotConnected::Stopped(_)) => return Ok(None),
        Err(NotConnected::Failed(error)) => return Err(address.failure(&error)),
    };
    let here = stream.local_addr().map_err(|error| cannot(&error))?.as_socket();
    loop {
        let mut fds = [PollFd::new(&listener.socket, PollFlags::IN)];
        if stop.wait(&mut fds, None).map_err(|error| cannot_wait(&error))?.is_some() {
            return Ok(None);
        }
        match listener.accept().map_err(|error| cannot(&error))? {
            Accepted::Connection(reader, PeerName::Net(from)) if Some(from) == here => {
                reader.set_nonblocking(true).map_err(|error| cannot(&error))?;
                report.explain(|| "accept: the reader has the connection and does not read".to_owned())?;
                return Ok(Some(Connection { stream, to: address.name, own: Some(reader) }));
            }
            // Another program of this machine can have connected first.
            Accepted::Connection(..) | Accepted::Nobody => {}
            Accepted::Full(error) => return Err(cannot(&error)),
        }
    }
}

/// Where the written bytes are.
fn lie(written: u64, queues: &Queues) -> String {
    if let Some(Charged { bytes, max }) = queues.charged {
        let where_ = match queues.recv_q {
            Some(recv) => format!("{recv} are in the reader's Recv-Q"),
            None => "all are in the Recv-Q of a reader that is not visible".to_owned(),
        };
        return format!(
            "{where_}: Unix sockets have no Send-Q, write puts the bytes there directly. Their memory \
             is charged to the writer until they are read: {bytes} bytes, and nothing is added once that is {max} \
             (SO_SNDBUF)"
        );
    }
    match (queues.send_q, queues.recv_q) {
        (Some(send), Some(recv)) => format!(
            "{recv} are in the reader's Recv-Q: acknowledged by its kernel, not read by its program. {send} are in the writer's \
             Send-Q: not acknowledged, because the reader's window is {}. Both queues are full",
            queues.window.map_or_else(|| "closed".to_owned(), |bytes| format!("{bytes} bytes")),
        ),
        (Some(send), None) => format!(
            "{send} are in Send-Q here, not acknowledged. The other {} are on the reader's machine: in its Recv-Q, unless its \
             program has read them. Both queues are full",
            written.saturating_sub(send)
        ),
        _ => "the kernel cannot show where they are: the connection is closed".to_owned(),
    }
}

/// Has the reader closed or reset the connection?
fn is_over(stream: &Socket) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = poll(&mut fds, Some(&at_once)).is_ok();
    polled && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
