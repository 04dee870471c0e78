//! The reader that does not read: accepts whoever comes, and leaves what they send in the kernel. With `fix` it reads
//! once a queue is full, and shows it drain.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Socket, Type};
use vang_client::trouble::Doing;

use super::ends::{Ends, Pair};
use super::{BACKLOG, LOOK_EVERY, SETTLED, cannot_wait, heading};
use crate::diag::Diag;
use crate::failure::{Failure, Outcome, explain};
use crate::place::{Accepted, Door, Listen, Who};
use crate::{Record, Report, Stop, Target, Verdict, duration, size};

/// Connections that are held; whoever comes then waits in the accept queue, which is an experiment too.
const CONNECTIONS_MAX: usize = 64;
/// Before the next try, when the system has nothing left for another connection.
const FULL_WAIT: Duration = Duration::from_millis(200);
/// One read.
const READ_BYTES: usize = 64 << 10;
/// Bytes that are read of a connection between two looks at its queues, so that it can be seen to drain.
const READ_A_LOOK: usize = 512 << 10;

/// What to do.
#[derive(Clone, Debug)]
pub struct ServeAsked {
    /// Where; an empty host is every interface, port 0 any.
    pub listen: Target,
    /// Read, once a queue is full.
    pub fix: bool,
    /// `SO_RCVBUF` of each connection; `None`: the kernel lets it grow.
    pub receive_buffer: Option<usize>,
}

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
        write!(f, "accepted {}, and do not read; {} held", self.peer, self.connections)
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
        write!(f, "{} bytes of {} lie unread, and no more come", self.recv_q, self.peer)
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
        let took = duration(Duration::from_micros(self.took_us));
        write!(f, "read {} of {} in {took}: its queue is empty", size(self.read), self.peer)
    }
}

#[derive(Debug, Serialize)]
struct Closed {
    peer: String,
    read: u64,
    unread: u64,
    /// The peer's kernel broke it off, rather than closing it.
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

/// A connection that is held.
struct Held {
    stream: Socket,
    peer: String,
    ends: Ends,
    queues: (Option<u64>, Option<u64>),
    moved: Instant,
    read: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Filling,
    /// Told, and left alone.
    Full,
    Reading(Instant),
}

/// See the module's head.
pub fn serve(asked: &ServeAsked, report: &Report, stop: &Stop) -> Outcome {
    if asked.receive_buffer.is_some() && matches!(asked.listen, Target::Unix(_)) {
        return Err(Failure::Usage(
            "SO_RCVBUF does nothing on a Unix socket: what is unread is charged to the writer (its --send-buffer)"
                .to_owned(),
        ));
    }
    let how = Listen { kind: Type::STREAM, backlog: BACKLOG, receive_buffer: asked.receive_buffer };
    let Some(door) = Door::open(&asked.listen, how, report, stop)? else {
        report.tell(&Summary::default())?;
        return Ok(Verdict::Good);
    };
    report.tell(&Listening { address: door.address.clone() })?;
    let mut held: Vec<Held> = Vec::new();
    let mut summary = Summary::default();
    let mut full = Fullness::default();
    let mut diag = Diag::open();
    loop {
        // The listener is readable when somebody waits; the queues of the held ones have to be looked at. What is held
        // is not polled: unread bytes would make it readable for ever.
        let mut fds = [PollFd::new(&door.socket, PollFlags::IN)];
        let has_room = held.len() < CONNECTIONS_MAX && !full.is_full();
        let polled = if has_room { &mut fds[..] } else { &mut [] };
        let every = if full.is_full() { Some(FULL_WAIT) } else { None };
        let every = (!held.is_empty()).then_some(LOOK_EVERY).or(every);
        if stop.wait(polled, every).map_err(|error| cannot_wait(&error))?.is_some() {
            break;
        }
        if held.len() < CONNECTIONS_MAX
            && let Some(new) = accept(&door, &mut full, report)?
        {
            summary.connections += 1;
            report.tell(&Taken { peer: new.peer.clone(), connections: held.len() + 1 })?;
            report.draw(&heading(new.ends.is_unix()))?;
            held.push(new);
            if held.len() == CONNECTIONS_MAX {
                report.means(&format!(
                    "{CONNECTIONS_MAX} connections are held, and no more are accepted until one closes: whoever comes waits \
                     in the accept queue, which is an experiment too (`vang net sockets --state listen`)"
                ))?;
            }
        }
        let mut still = Vec::new();
        for mut connection in held {
            if connection.attend(&mut diag, asked.fix, report)? {
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
            let how = match asked.listen {
                Target::Unix(_) => "the kernel throws them away, and the writer",
                Target::Net { .. } => "the kernel answers with RST instead of FIN, and the writer",
            };
            format!("close with unread bytes: {how} is told `connection reset by peer`")
        })?;
    }
    report.tell(&summary)?;
    Ok(Verdict::Good)
}

impl Summary {
    fn count(&mut self, connection: &Held) {
        self.read += connection.read;
        self.unread += connection.unread();
    }
}

/// Has the system nothing left for another connection? Told once, until it has.
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
            None => report.means(&format!("{why}: whoever connects waits; {}", why.advice)),
            Some(_) => Ok(()),
        }
    }
}

fn accept(door: &Door, full: &mut Fullness, report: &Report) -> Result<Option<Held>, Failure> {
    let cannot = |error: io::Error| Failure::of("cannot accept", &error, Doing::Read);
    let (stream, who) = match door.accept().map_err(cannot)? {
        Accepted::Connection(stream, who) => (stream, who),
        Accepted::Nobody => return Ok(None),
        Accepted::Full(error) => {
            full.met(&error, report)?;
            return Ok(None);
        }
    };
    full.0 = None;
    stream.set_nonblocking(true).map_err(cannot)?;
    let local = stream.local_addr().map_err(cannot)?.as_socket();
    let pair = match (&who, local) {
        (Who::Net(writer), Some(reader)) => Pair::Net { writer: *writer, reader },
        _ => Pair::unix(&stream, false).map_err(cannot)?,
    };
    let (peer, queues, ends) = (who.to_string(), (None, None), Ends::of(pair, None));
    Ok(Some(Held { stream, peer, ends, queues, moved: Instant::now(), read: 0, phase: Phase::Filling }))
}

impl Held {
    /// Bytes that came and were not read.
    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.stream).unwrap_or(0)
    }

    /// Looks at it, and reads where that is wanted. `false`: it is over.
    fn attend(&mut self, diag: &mut Diag, fix: bool, report: &Report) -> Result<bool, Failure> {
        if let Phase::Reading(began) = self.phase {
            match self.read_some() {
                Ok(Reading::More) => {}
                Ok(Reading::Empty) => {
                    self.look(diag, report)?;
                    // Nothing to read, and nothing on its way.
                    if self.queues.0.unwrap_or(0) == 0 && self.read > 0 {
                        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                        report.tell(&Drained { peer: self.peer.clone(), read: self.read, took_us })?;
                        self.phase = Phase::Filling;
                        self.moved = Instant::now();
                    }
                }
                Ok(Reading::End) => {
                    report.explain(|| "read gave nothing: end of file, the peer has closed".to_owned())?;
                    return self.over(false, report);
                }
                Err(_) => return self.over(true, report),
            }
        }
        let queues = self.look(diag, report)?;
        if let Some(reset) = self.gone() {
            // With `fix` what still lies there is read first, up to the end of file.
            if !fix || reset {
                return self.over(reset, report);
            }
            self.phase = Phase::Reading(Instant::now());
        }
        let settled = self.phase == Phase::Filling && self.moved.elapsed() >= SETTLED;
        let recv_q = queues.1.unwrap_or_else(|| self.unread());
        let is_unix = self.ends.is_unix();
        if settled && recv_q > 0 {
            let send_q = queues.0.filter(|_| !is_unix);
            report.tell(&Full { peer: self.peer.clone(), recv_q, send_q })?;
            let more = match queues.0 {
                Some(bytes) if is_unix => format!(
                    " The memory that they take, {bytes} bytes, is charged to the writer, whose write blocks when its \
                     SO_SNDBUF is used up."
                ),
                Some(0) => " The writer's Send-Q is empty: it could write more.".to_owned(),
                Some(send_q) => {
                    format!(" Another {send_q} wait in the writer's Send-Q until there is room here.")
                }
                None => String::new(),
            };
            let acknowledged = if is_unix { "" } else { "acknowledged by this kernel, " };
            report.means(&format!(
                "{recv_q} bytes lie in Recv-Q: {acknowledged}read by nobody.{more}{}",
                if fix { " Now they are read" } else { "" }
            ))?;
            self.phase = if fix { Phase::Reading(Instant::now()) } else { Phase::Full };
        }
        Ok(true)
    }

    fn over(&mut self, reset: bool, report: &Report) -> Result<bool, Failure> {
        let unread = if reset { 0 } else { self.unread() };
        report.tell(&Closed { peer: self.peer.clone(), read: self.read, unread, reset })?;
        Ok(false)
    }

    /// Tells the queues when they have changed.
    fn look(&mut self, diag: &mut Diag, report: &Report) -> Result<(Option<u64>, Option<u64>), Failure> {
        let read = matches!(self.phase, Phase::Reading(_)).then_some(self.read);
        let found = self.ends.look(diag, None, read)?;
        // The end of file counts as a byte on either side; nobody wrote it.
        let only_end = found.recv_q == Some(1) && self.unread() == 0;
        let queues = if only_end { (Some(0), Some(0)) } else { (found.kept(), found.recv_q) };
        if queues != self.queues {
            // Of a Unix socket whose peer has closed the kernel shows one end: nothing new.
            let is_half_seen = self.ends.is_unix() && queues.0.is_none();
            if !only_end && !is_half_seen && (queues != (Some(0), Some(0)) || self.queues != (None, None)) {
                report.tell(&found)?;
            }
            self.queues = queues;
            self.moved = Instant::now();
            if self.phase == Phase::Full {
                self.phase = Phase::Filling;
            }
        }
        Ok(queues)
    }

    /// Has the peer gone, and by a reset?
    fn gone(&self) -> Option<bool> {
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ends, Some(&at_once)).ok()?;
        let what = ends[0].revents();
        // A Unix socket whose peer has closed in good order is hung up as well.
        let reset = if self.ends.is_unix() { PollFlags::ERR } else { PollFlags::HUP | PollFlags::ERR };
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

/// What reading came to.
enum Reading {
    /// There is more.
    More,
    /// Nothing is there now.
    Empty,
    /// The peer has closed.
    End,
}
