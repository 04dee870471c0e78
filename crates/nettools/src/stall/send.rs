//! The writer: writes until the kernel refuses, says at which byte, and what lies where. With `fix` it then watches the
//! reader read. Without a place it is both: its own reader, in this process, does not read.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Socket, Type};
use vang_client::trouble::Doing;

use super::ends::{Ends, Pair};
use super::{BACKLOG, Charged, LOOK_EVERY, Queues, SETTLED, cannot_wait, datagrams, heading};
use crate::connect::NotConnected;
use crate::diag::Diag;
use crate::failure::{Failure, Outcome, explain};
use crate::place::{self, Accepted, Address, Door, Listen, Who};
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration, size};

/// What one `write` is given: more than some of them take, so that partial writes are seen.
static CHUNK: [u8; 64 << 10] = [b'v'; 64 << 10];
/// The picture's lines are no farther apart than this, in bytes, and no closer than the first.
const LINE_EVERY: (u64, u64) = (64 << 10, 512 << 10);

/// What to do.
#[derive(Clone, Debug)]
pub struct SendAsked {
    /// The reader; `None`, or port 0: one of our own, that does not read.
    pub to: Option<Target>,
    /// Datagrams, to a reader of our own.
    pub udp: bool,
    /// Once the kernel has refused: the reader reads, and the queues are watched.
    pub fix: bool,
    /// Bytes after which a reader that reads everything is believed.
    pub bytes_max: u64,
    /// `SO_SNDBUF` of the writer; `None`: the kernel lets it grow.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` of a reader of our own.
    pub receive_buffer: Option<usize>,
}

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
            (false, false) => " (on another machine: only our queue can be seen)",
            (false, true) => " (not accepted yet: its queue cannot be seen)",
        };
        write!(f, "connected from {} to {}{place}", self.writer, self.reader)
    }
}

/// The kernel refused, and nothing moves.
#[derive(Debug, Serialize)]
struct Blocked {
    at_byte: u64,
    /// The first refusal; after it the queues still grew a little.
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
            write!(f, "; for a moment also at byte {}", self.first_at_byte)?;
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
        write!(f, "drained in {}: write would work again", duration(Duration::from_micros(self.took_us)))
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
        write!(f, "{} bytes written in {}", self.written, duration(Duration::from_micros(self.took_us)))?;
        match self.blocked_at {
            Some(byte) => write!(f, "; refused at byte {byte}")?,
            None => f.write_str("; never refused")?,
        }
        if self.drained { f.write_str("; drained") } else { Ok(()) }
    }
}

/// See the module's head.
pub fn send(asked: &SendAsked, report: &Report, stop: &Stop) -> Outcome {
    if asked.udp {
        return datagrams::send(asked, report, stop);
    }
    let Some(mut writer) = Writer::start(asked, report, stop)? else {
        report.tell(&Summary { written: 0, blocked_at: None, drained: false, took_us: 0 })?;
        return Ok(Verdict::Bad);
    };
    let began = Instant::now();
    let ended = writer.fill()?;
    let mut drained = false;
    let verdict = match ended {
        Filled::Refused => {
            writer.tell_blocked(asked.fix)?;
            if asked.fix { writer.drain(&mut drained)? } else { Verdict::Good }
        }
        Filled::Never => {
            report.means(&format!(
                "the reader took {} and more was not tried (--bytes): it reads, so its queue does not fill. Start one \
                 that does not: `vang net stall serve`",
                size(writer.written)
            ))?;
            Verdict::Bad
        }
        Filled::Stopped(Stopped::TimedOut) => Verdict::TimedOut,
        // Whether it would have been the last refusal nobody knows; that there was one is what was asked.
        // With --fix more was asked than whether write would block.
        Filled::Stopped(Stopped::Asked) if writer.first_refusal.is_some() && !asked.fix => Verdict::Good,
        Filled::Stopped(Stopped::Asked) => Verdict::Bad,
    };
    let blocked_at = match ended {
        Filled::Refused => Some(writer.blocked_at),
        // Stopped before it was known whether that was the last.
        Filled::Stopped(_) => writer.first_refusal,
        Filled::Never => None,
    };
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    report.tell(&Summary { written: writer.written, blocked_at, drained, took_us })?;
    report.explain(|| match writer.ends.is_unix() {
        true => "close: what is still in Recv-Q stays there, until the reader takes it or closes".to_owned(),
        false => {
            "close: what is still in Send-Q the kernel goes on sending, until the reader takes it or resets"
                .to_owned()
        }
    })?;
    Ok(verdict)
}

/// How writing ended.
#[derive(Clone, Copy)]
enum Filled {
    /// The kernel takes nothing more, and nothing moves.
    Refused,
    /// The reader reads.
    Never,
    Stopped(Stopped),
}

struct Writer<'a> {
    report: &'a Report,
    stop: &'a Stop,
    stream: Socket,
    /// A reader of our own.
    own: Option<Socket>,
    /// The reader, as it is said.
    reader: String,
    ends: Ends,
    diag: Diag,
    bytes_max: u64,
    written: u64,
    first_refusal: Option<u64>,
    blocked_at: u64,
    refusals: u64,
    partial: u64,
}

impl<'a> Writer<'a> {
    /// Connects. `None`: somebody said stop.
    fn start(asked: &SendAsked, report: &'a Report, stop: &'a Stop) -> Result<Option<Writer<'a>>, Failure> {
        let to = asked.to.clone().unwrap_or(Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) });
        let alone = matches!(to, Target::Net { port: Some(0), .. });
        if asked.receive_buffer.is_some() && !alone {
            return Err(Failure::Usage(
                "--receive-buffer is of a reader of our own; this one's is chosen where it listens"
                    .to_owned(),
            ));
        }
        let connected = match alone {
            true => to_our_own(&to, asked, report, stop)?,
            false => place::connect(&to, report, stop, |socket| choose(socket, asked))?
                .map(|(address, stream)| Connection { stream, to: address.said, own: None }),
        };
        let Some(Connection { stream, to, own }) = connected else { return Ok(None) };
        let lost =
            |error: io::Error| Failure::of(format!("lost the connection to {to}"), &error, Doing::Write);
        let (here, there) = (stream.local_addr().map_err(lost)?, stream.peer_addr().map_err(lost)?);
        let (pair, writer, reader) = match (here.as_socket(), there.as_socket()) {
            (Some(writer), Some(reader)) => {
                (Pair::Net { writer, reader }, writer.to_string(), reader.to_string())
            }
            _ => (Pair::unix(&stream, true).map_err(lost)?, format!("process {}", std::process::id()), to),
        };
        // What was asked for twice, says `socket(7)`.
        let chosen = asked.send_buffer.and_then(|_| stream.send_buffer_size().ok());
        let ends = Ends::of(pair, chosen.map(|bytes| bytes as u64));
        let mut diag = Diag::open();
        let reader_is_here = ends.look(&mut diag, None, None)?.recv_q.is_some();
        report.tell(&Connected { writer, reader: reader.clone(), reader_is_here })?;
        report.draw(&heading(ends.is_unix()))?;
        Ok(Some(Writer {
            report,
            stop,
            stream,
            own,
            reader,
            ends,
            diag,
            bytes_max: asked.bytes_max,
            written: 0,
            first_refusal: None,
            blocked_at: 0,
            refusals: 0,
            partial: 0,
        }))
    }

    fn lost(&self, error: &io::Error) -> Failure {
        Failure::of(format!("lost the connection to {}", self.reader), error, Doing::Write)
    }

    /// Writes until nothing moves any more.
    fn fill(&mut self) -> Result<Filled, Failure> {
        let (mut step, most) = LINE_EVERY;
        let mut told = 0;
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
                            format!("partial write: {took} of {given} bytes taken, {so_far} so far; the rest is ours to keep")
                        })?;
                    }
                    if self.written - told >= step {
                        self.look()?;
                        (told, step) = (self.written, (step * 2).min(most));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.refusals += 1;
                    self.first_refusal.get_or_insert(self.written);
                    let at = self.written;
                    self.report.explain(|| {
                        format!("would block: at byte {at} there is no room; poll tells when there is again")
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

    fn look(&mut self) -> Result<Queues, Failure> {
        let queues = self.ends.look(&mut self.diag, Some(self.written), None)?;
        self.report.tell(&queues)?;
        Ok(queues)
    }

    fn tell_blocked(&mut self, fix: bool) -> Result<(), Failure> {
        let queues = self.look()?;
        self.blocked_at = self.written;
        self.report.tell(&Blocked {
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
            "of {} bytes written, {}. So write has nowhere to put the next byte: a blocking socket would sleep there, a \
             non-blocking one is told EWOULDBLOCK: {}. Nothing is lost; it goes on when the reader reads{then}",
            self.written,
            lie(self.written, &queues),
            trouble.likely
        );
        Ok(self.report.means(&text)?)
    }

    /// Lets the reader read, and looks on.
    fn drain(&mut self, drained: &mut bool) -> Result<Verdict, Failure> {
        let began = Instant::now();
        self.report.explain(|| match &self.own {
            Some(_) => {
                "the reader reads now; each read makes room, the window opens, Send-Q flows".to_owned()
            }
            None => "waiting until the reader reads (`vang net stall serve --fix` does)".to_owned(),
        })?;
        let mut last = self.ends.look(&mut self.diag, Some(self.written), None)?;
        let mut read = 0;
        let mut told = 0;
        loop {
            if let Some(stopped) = self.stop.now() {
                return Ok(if stopped == Stopped::TimedOut { Verdict::TimedOut } else { Verdict::Bad });
            }
            match &mut self.own {
                Some(reader) => match reader.read(&mut vec![0; CHUNK.len()]) {
                    Ok(got) => read += got as u64,
                    // Its kernel has told the writer's that there is room, and the bytes are on their way.
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
            let queues = self.ends.look(&mut self.diag, Some(self.written), ours)?;
            if is_over(&self.stream) {
                let error = self.stream.take_error().ok().flatten();
                return Err(self.lost(&error.unwrap_or(ErrorKind::ConnectionReset.into())));
            }
            let empty = queues.kept() == Some(0) && queues.recv_q.unwrap_or(0) == 0;
            let moved = match ours {
                Some(read) => read - told >= LINE_EVERY.1,
                None => (queues.kept(), queues.recv_q) != (last.kept(), last.recv_q),
            };
            if moved || empty {
                self.report.tell(&queues)?;
                told = read;
            }
            if empty {
                let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.report.tell(&Drained { took_us, send_q: queues.send_q, recv_q: queues.recv_q })?;
                *drained = true;
                return Ok(Verdict::Good);
            }
            last = queues;
        }
    }
}

/// What the writer's socket shall be.
fn choose(socket: &Socket, asked: &SendAsked) -> io::Result<()> {
    asked.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
}

/// A connection that the writer writes to.
struct Connection {
    stream: Socket,
    /// The reader, as it was typed or found.
    to: String,
    /// Its end, where it is ours.
    own: Option<Socket>,
}

/// To a reader of our own. `None`: somebody said stop.
fn to_our_own(
    at: &Target,
    asked: &SendAsked,
    report: &Report,
    stop: &Stop,
) -> Result<Option<Connection>, Failure> {
    let how = Listen { kind: Type::STREAM, backlog: BACKLOG, receive_buffer: asked.receive_buffer };
    let Some(door) = Door::open(at, how, report, stop)? else { return Ok(None) };
    let cannot = |error: &io::Error| Failure::of("cannot accept", error, Doing::Read);
    let address = Address::of(&door).map_err(|error| cannot(&error))?;
    let socket = address.socket().and_then(|socket| choose(&socket, asked).map(|()| socket));
    let stream = match address.connect(socket.map_err(|error| address.failure(&error))?, stop) {
        Ok(stream) => stream,
        Err(NotConnected::Stopped(_)) => return Ok(None),
        Err(NotConnected::Failed(error)) => return Err(address.failure(&error)),
    };
    let here = stream.local_addr().map_err(|error| cannot(&error))?.as_socket();
    loop {
        let mut fds = [PollFd::new(&door.socket, PollFlags::IN)];
        if stop.wait(&mut fds, None).map_err(|error| cannot_wait(&error))?.is_some() {
            return Ok(None);
        }
        match door.accept().map_err(|error| cannot(&error))? {
            Accepted::Connection(reader, Who::Net(from)) if Some(from) == here => {
                reader.set_nonblocking(true).map_err(|error| cannot(&error))?;
                report.explain(|| "accept: the reader has the connection, and does not read".to_owned())?;
                return Ok(Some(Connection { stream, to: address.said, own: Some(reader) }));
            }
            // Anybody of this machine may have been quicker.
            Accepted::Connection(..) | Accepted::Nobody => {}
            Accepted::Full(error) => return Err(cannot(&error)),
        }
    }
}

/// Where the bytes lie that were written.
fn lie(written: u64, queues: &Queues) -> String {
    if let Some(Charged { bytes, max }) = queues.charged {
        let where_ = match queues.recv_q {
            Some(recv) => format!("{recv} lie in the reader's Recv-Q"),
            None => "all lie in the Recv-Q of a reader that is not seen".to_owned(),
        };
        return format!(
            "{where_}: between Unix sockets there is no Send-Q, write puts them there itself. The memory that they take \
             is charged to the writer until they are read: {bytes} bytes, and nothing is added once that is {max} \
             (SO_SNDBUF)"
        );
    }
    match (queues.send_q, queues.recv_q) {
        (Some(send), Some(recv)) => format!(
            "{recv} lie in the reader's Recv-Q: its kernel has acknowledged them, its program has not read them. \
             {send} lie in the writer's Send-Q: not acknowledged, because the reader's window is {}. Both queues are full",
            queues.window.map_or_else(|| "closed".to_owned(), |bytes| format!("{bytes} bytes")),
        ),
        (Some(send), None) => format!(
            "{send} lie in Send-Q here, not acknowledged. The other {} are with the kernel of the reader's machine: in \
             its Recv-Q, as far as its program has not read them. Both queues are full",
            written.saturating_sub(send)
        ),
        _ => "the kernel does not tell where they lie: the connection is gone".to_owned(),
    }
}

/// Has the reader gone altogether?
fn is_over(stream: &Socket) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = poll(&mut fds, Some(&at_once)).is_ok();
    polled && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
