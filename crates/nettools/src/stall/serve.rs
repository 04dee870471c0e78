//! A reader that does not read: accepts connections and leaves their bytes in the kernel. With `fix` it reads after a queue
//! is full, and shows how it drains.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Socket, Type};
use vang_client::trouble::Doing;
use vang_proto::text::{counted, short_duration, size};

use super::connection_queues::{ConnectionId, ConnectionQueues};
use super::options::StallServeOptions;
use super::queues::{BACKLOG, LOOK_EVERY, SETTLED, cannot_wait, heading};
use crate::diag::Diag;
use crate::error::{Outcome, ToolError, explain};
use crate::listener::{Accepted, ListenOptions, Listener, Sharing};
use crate::peer_name::PeerName;
use crate::{Record, Report, Stop, Target, Verdict};

/// Connections that are held; more wait in the accept queue, which can be another experiment.
const CONNECTIONS_MAX: usize = 64;
/// Pause before the next accept when file descriptors or memory ran out.
const FULL_WAIT: Duration = Duration::from_millis(200);
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Bytes that are read between two checks of the queues, so that draining is visible.
const READ_A_LOOK: usize = 512 << 10;

#[derive(Debug, Serialize)]
struct Listening {
    address: String,
}

impl Record for Listening {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}", self.address)
    }
}

#[derive(Debug, Serialize)]
struct Taken {
    peer: String,
    connections: usize,
}

impl Record for Taken {
    const EVENT: &'static str = "accepted";
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {}; not reading from it ({} held)",
            self.peer,
            counted(self.connections as u64, "connection", "connections")
        )
    }
}

#[derive(Debug, Serialize)]
struct Full {
    peer: String,
    recv_q: u64,
    send_q: Option<u64>,
}

impl Record for Full {
    const EVENT: &'static str = "full";
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} are unread, and no more come", self.recv_q, self.peer)
    }
}

#[derive(Debug, Serialize)]
struct Drained {
    peer: String,
    read: u64,
    took_us: u64,
}

impl Record for Drained {
    const EVENT: &'static str = "drained";
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(Duration::from_micros(self.took_us));
        write!(f, "read {} from {} in {took}: its queue is empty", size(self.read), self.peer)
    }
}

#[derive(Debug, Serialize)]
struct Closed {
    peer: String,
    read: u64,
    unread: u64,
    /// Reset by the peer, and not closed.
    reset: bool,
}

impl Record for Closed {
    const EVENT: &'static str = "closed";
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.reset { "reset the connection" } else { "closed" };
        write!(f, "{} {how}: {} bytes read, {} unread", self.peer, self.read, self.unread)
    }
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    connections: u64,
    read: u64,
    unread: u64,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.connections == 1 { "" } else { "s" };
        write!(f, "{} connection{s}; {} bytes read, {} never read", self.connections, self.read, self.unread)
    }
}

/// A connection that is not read.
struct HeldConnection {
    stream: Socket,
    peer: String,
    queues_of: ConnectionQueues,
    queues: (Option<u64>, Option<u64>),
    moved: Instant,
    read: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Filling,
    /// Reported as full.
    Full,
    Reading(Instant),
}

/// Runs the reader.
pub fn serve(options: &StallServeOptions, report: &Report, stop: &Stop) -> Outcome {
    if options.receive_buffer.is_some() && matches!(options.listen, Target::Unix(_)) {
        return Err(ToolError::Usage(
            "SO_RCVBUF has no effect on a Unix socket: unread bytes are charged to the writer (its --send-buffer)"
                .to_owned(),
        ));
    }
    let how = ListenOptions {
        kind: Type::STREAM,
        backlog: BACKLOG,
        receive_buffer: options.receive_buffer,
        sharing: Sharing::Nobody,
    };
    let Some(listener) = Listener::open(&options.listen, how, report, stop)? else {
        report.record(&Summary::default())?;
        return Ok(Verdict::Good);
    };
    report.record(&Listening { address: listener.address.clone() })?;
    let mut held: Vec<HeldConnection> = Vec::new();
    let mut summary = Summary::default();
    let mut full = Fullness::default();
    let mut diag = Diag::open();
    loop {
        // Only the listener is polled. Held connections are checked at intervals: their unread bytes would make poll
        // return immediately.
        let mut fds = [PollFd::new(&listener.socket, PollFlags::IN)];
        let has_room = held.len() < CONNECTIONS_MAX && !full.is_full();
        let polled = if has_room { &mut fds[..] } else { &mut [] };
        let every = if full.is_full() { Some(FULL_WAIT) } else { None };
        let every = (!held.is_empty()).then_some(LOOK_EVERY).or(every);
        if stop.wait(polled, every).map_err(|error| cannot_wait(&error))?.is_some() {
            break;
        }
        if held.len() < CONNECTIONS_MAX
            && let Some(new) = accept(&listener, &mut full, report)?
        {
            summary.connections += 1;
            report.record(&Taken { peer: new.peer.clone(), connections: held.len() + 1 })?;
            report.draw(&heading(new.queues_of.is_unix()))?;
            held.push(new);
            if held.len() == CONNECTIONS_MAX {
                report.means(&format!(
                    "{CONNECTIONS_MAX} connections are held, and no more are accepted until one closes: new ones wait in the \
                     accept queue (`vang net sockets --state listen` shows it)"
                ))?;
            }
        }
        let mut still = Vec::new();
        for mut connection in held {
            if connection.attend(&mut diag, options.fix, report)? {
                still.push(connection);
            } else {
                summary.count(&connection);
            }
        }
        held = still;
    }
    for connection in &held {
        summary.count(connection);
    }
    if summary.unread > 0 {
        report.explain(|| {
            let how = match options.listen {
                Target::Unix(_) => "the kernel discards them",
                Target::Net { .. } => "the kernel sends RST instead of FIN",
            };
            format!("close with unread bytes: {how}, and the writer gets `connection reset by peer`")
        })?;
    }
    report.record(&summary)?;
    Ok(Verdict::Good)
}

impl Summary {
    fn count(&mut self, connection: &HeldConnection) {
        self.read += connection.read;
        self.unread += connection.unread();
    }
}

/// Out of file descriptors or memory; reported once, until accept works again.
#[derive(Default)]
struct Fullness(Option<Instant>);

impl Fullness {
    fn is_full(&self) -> bool {
        self.0.is_some_and(|since| since.elapsed() < FULL_WAIT)
    }

    fn met(&mut self, error: &io::Error, report: &Report) -> io::Result<()> {
        let before = self.0.replace(Instant::now());
        let why = explain(error, Doing::Read);
        match before {
            None => report.means(&format!("{why}: new connections wait; {}", why.advice)),
            Some(_) => Ok(()),
        }
    }
}

fn accept(
    listener: &Listener,
    full: &mut Fullness,
    report: &Report,
) -> Result<Option<HeldConnection>, ToolError> {
    let cannot = |error: io::Error| ToolError::of("cannot accept", &error, Doing::Read);
    let (stream, peer_name) = match listener.accept().map_err(cannot)? {
        Accepted::Connection(stream, peer_name) => (stream, peer_name),
        Accepted::Nobody => return Ok(None),
        Accepted::Full(error) => {
            full.met(&error, report)?;
            return Ok(None);
        }
    };
    full.0 = None;
    stream.set_nonblocking(true).map_err(cannot)?;
    let local = stream.local_addr().map_err(cannot)?.as_socket();
    let pair = match (&peer_name, local) {
        (PeerName::Net(writer), Some(reader)) => ConnectionId::Net { writer: *writer, reader },
        _ => ConnectionId::unix(&stream, false).map_err(cannot)?,
    };
    let (peer, queues, queues_of) = (peer_name.to_string(), (None, None), ConnectionQueues::of(pair, None));
    Ok(Some(HeldConnection {
        stream,
        peer,
        queues_of,
        queues,
        moved: Instant::now(),
        read: 0,
        phase: Phase::Filling,
    }))
}

impl HeldConnection {
    /// Unread bytes.
    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.stream).unwrap_or(0)
    }

    /// Checks the connection, and reads if it should. `false`: it has ended.
    fn attend(&mut self, diag: &mut Diag, fix: bool, report: &Report) -> Result<bool, ToolError> {
        if let Phase::Reading(began) = self.phase {
            match self.read_some() {
                Ok(Reading::More) => {}
                Ok(Reading::Empty) => {
                    self.look(diag, report)?;
                    // Nothing unread, and nothing unacknowledged.
                    if self.queues.0.unwrap_or(0) == 0 && self.read > 0 {
                        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                        report.record(&Drained { peer: self.peer.clone(), read: self.read, took_us })?;
                        self.phase = Phase::Filling;
                        self.moved = Instant::now();
                    }
                }
                Ok(Reading::End) => {
                    report.explain(|| "read 0 bytes: end of stream, the peer has closed".to_owned())?;
                    return self.over(false, report);
                }
                Err(_) => return self.over(true, report),
            }
        }
        let queues = self.look(diag, report)?;
        if let Some(reset) = self.gone() {
            // With `fix` the remaining bytes are read first, up to the end of the stream.
            if !fix || reset {
                return self.over(reset, report);
            }
            self.phase = Phase::Reading(Instant::now());
        }
        let settled = self.phase == Phase::Filling && self.moved.elapsed() >= SETTLED;
        let recv_q = queues.1.unwrap_or_else(|| self.unread());
        let is_unix = self.queues_of.is_unix();
        if settled && recv_q > 0 {
            let send_q = queues.0.filter(|_| !is_unix);
            report.record(&Full { peer: self.peer.clone(), recv_q, send_q })?;
            let more = match queues.0 {
                Some(bytes) if is_unix => format!(
                    " Their memory, {bytes} bytes, is charged to the writer, whose write blocks when its SO_SNDBUF is used up."
                ),
                Some(0) => " The writer's Send-Q is empty: it could write more.".to_owned(),
                Some(send_q) => {
                    format!(" Another {send_q} wait in the writer's Send-Q for room here.")
                }
                None => String::new(),
            };
            let acknowledged = if is_unix { "" } else { "acknowledged by this kernel, " };
            report.means(&format!(
                "{recv_q} bytes are in Recv-Q: {acknowledged}not read by the program.{more}{}",
                if fix { " Now the program reads them" } else { "" }
            ))?;
            self.phase = if fix { Phase::Reading(Instant::now()) } else { Phase::Full };
        }
        Ok(true)
    }

    fn over(&mut self, reset: bool, report: &Report) -> Result<bool, ToolError> {
        let unread = if reset { 0 } else { self.unread() };
        report.record(&Closed { peer: self.peer.clone(), read: self.read, unread, reset })?;
        Ok(false)
    }

    /// Reports the queues when they have changed.
    fn look(&mut self, diag: &mut Diag, report: &Report) -> Result<(Option<u64>, Option<u64>), ToolError> {
        let read = matches!(self.phase, Phase::Reading(_)).then_some(self.read);
        let found = self.queues_of.look(diag, None, read)?;
        // A FIN counts as a byte in both queues, but is not data.
        let only_end = found.recv_q == Some(1) && self.unread() == 0;
        let queues = if only_end { (Some(0), Some(0)) } else { (found.kept(), found.recv_q) };
        if queues != self.queues {
            // Of a closed Unix connection the kernel shows only one end: no change.
            let is_half_seen = self.queues_of.is_unix() && queues.0.is_none();
            if !only_end && !is_half_seen && (queues != (Some(0), Some(0)) || self.queues != (None, None)) {
                report.record(&found)?;
            }
            self.queues = queues;
            self.moved = Instant::now();
            if self.phase == Phase::Full {
                self.phase = Phase::Filling;
            }
        }
        Ok(queues)
    }

    /// `Some(true)`: the peer reset the connection; `Some(false)`: it closed.
    fn gone(&self) -> Option<bool> {
        let mut queues_of = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut queues_of, Some(&at_once)).ok()?;
        let what = queues_of[0].revents();
        // A Unix socket gets HUP also after a normal close.
        let reset = if self.queues_of.is_unix() { PollFlags::ERR } else { PollFlags::HUP | PollFlags::ERR };
        match what.intersects(reset) {
            true => Some(true),
            false => what.contains(PollFlags::RDHUP).then_some(false),
        }
    }

    fn read_some(&mut self) -> io::Result<Reading> {
        let mut buf = vec![0; READ_BYTES];
        let mut rest = READ_A_LOOK;
        while rest > 0 {
            match (&self.stream).read(&mut buf) {
                Ok(0) => return Ok(Reading::End),
                Ok(got) => {
                    self.read += got as u64;
                    rest = rest.saturating_sub(got);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Reading::Empty),
                Err(error) => return Err(error),
            }
        }
        Ok(Reading::More)
    }
}

/// The result of reading.
enum Reading {
    More,
    Empty,
    End,
}
