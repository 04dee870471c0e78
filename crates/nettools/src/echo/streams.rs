//! The client's connections: all at once, on one thread, with one buffer. Each sends a message, reads it back, compares
//! every byte, and goes on; what is under way in both directions moves at the same time, so that a message may be
//! larger than everything that the kernel queues.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use crate::failure::explain;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::Socket;
use vang_client::trouble::Doing;

use super::certificate::{Trust, refused};
use super::content::Content;
use super::measure::{Standing, Summary, Tally};
use super::peer::BUFFER;
use super::place::Address;
use super::send::{Asked, Back, Broken, Input, Plan, Secured, Wrong};
use super::wire::Wire;
use crate::{Failure, Report, Stop, Stopped, Target, quoted};

const STOP: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);
const INPUT: Token = Token(usize::MAX - 3);

/// Without a byte for so long the client gives up what it waits for.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long what is under way may come back when the time for sending is over.
const GRACE: Duration = Duration::from_secs(2);

/// How long a server may take to close when we have.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Messages that are told, each on a line; the rest is counted.
const TOLD_MAX: u64 = 1_000;

/// How often whoever looks on is shown something.
const WATCH_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    /// For the time when the next message is due, or for input.
    Waiting,
    Exchanging,
    /// We have closed our half.
    Ending,
    Done,
}

struct Line {
    wire: Option<Wire>,
    state: State,
    content: Content,
    /// Messages begun.
    begun: u64,
    sent: u64,
    back: u64,
    due: Instant,
    sent_at: Instant,
    /// Anything at all that came back before the time for sending was over.
    served: bool,
    broke: bool,
}

/// See the module's head.
pub(super) struct Streams<'a> {
    plan: &'a Plan,
    address: Address,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>, bool)>,
    report: &'a Report,
    stop: &'a Stop,
    poll: Poll,
    lines: Vec<Line>,
    live: usize,
    scratch: Vec<u8>,
    tally: Tally,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    timer: OwnedFd,
    timer_set: Option<Instant>,
    input: Option<Feed>,
    /// When nothing more is begun.
    ends: Option<Instant>,
    moved: Instant,
    last_byte: Instant,
    /// By anybody at all, on any connection.
    answered: bool,
    told: u64,
    connected: u64,
    wrong: u64,
    broken: u64,
}

impl<'a> Streams<'a> {
    pub(super) fn new(
        asked: &Asked,
        plan: &'a Plan,
        address: Address,
        report: &'a Report,
        stop: &'a Stop,
    ) -> Result<Streams<'a>, Failure> {
        let tls = match &asked.tls {
            None => None,
            Some(trust) => {
                let host = match &asked.to {
                    Target::Net { host, .. } if !host.is_empty() => host.clone(),
                    Target::Net { .. } | Target::Unix(_) => "localhost".to_owned(),
                };
                let name = ServerName::try_from(host.clone()).map_err(|_| {
                    Failure::Usage(format!("'{host}' is no name that a certificate can have"))
                })?;
                Some((trust.config()?, name, *trust != Trust::Anybody))
            }
        };
        let system = |error: io::Error| Failure::of("cannot watch sockets", &error, Doing::Read);
        let poll = Poll::new().map_err(system)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .map_err(|error| system(error.into()))?;
        for (fd, token) in [(timer.as_raw_fd(), TIMER), (stop.as_fd().as_raw_fd(), STOP)] {
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE).map_err(system)?;
        }
        let now = Instant::now();
        Ok(Streams {
            plan,
            address,
            tls,
            report,
            stop,
            poll,
            lines: Vec::new(),
            live: 0,
            scratch: vec![0; BUFFER],
            tally: Tally::new(now),
            due: BinaryHeap::new(),
            timer,
            timer_set: None,
            input: None,
            ends: plan.duration.map(|duration| now + duration),
            moved: now,
            last_byte: now,
            answered: false,
            told: 0,
            connected: 0,
            wrong: 0,
            broken: 0,
        })
    }

    /// Runs the plan; the first connection stands already.
    pub(super) fn run(
        mut self,
        first: Socket,
        input: Option<Input>,
        watch: &mut dyn FnMut(&Standing),
    ) -> Result<(Summary, Option<Stopped>, Tally), Failure> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Untold(error),
            _ => Failure::of("cannot go on", &error, Doing::Read),
        };
        self.input = input.map(|input| self.feed(input)).transpose().map_err(failed)?;
        let outcome = self.all(first, watch);
        watch(&Standing { over: true, ..self.standing(Instant::now()) });
        let stopped = outcome.map_err(failed)?;
        Ok((self.summary(), stopped, self.tally))
    }

    /// Reads what is typed or piped on a thread of its own, a line or a full buffer at a time.
    fn feed(&self, input: Input) -> io::Result<Feed> {
        let waker = Arc::new(Waker::new(self.poll.registry(), INPUT)?);
        let kept = waker.clone();
        let (sender, receiver) = sync_channel(1);
        let read = move || {
            let mut input = BufReader::with_capacity(BUFFER, input);
            loop {
                let mut line = Vec::new();
                let read = (&mut input).take(BUFFER as u64).read_until(b'\n', &mut line);
                let over = !matches!(read, Ok(1..));
                // An empty one is the end. Sent before the wake, or it would be found missing.
                let unheard = sender.send(if over { Vec::new() } else { line }).is_err();
                // Who does not listen any more has ended.
                let _ = waker.wake();
                if over || unheard {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
        Ok(Feed { lines: receiver, _waker: kept })
    }

    fn all(&mut self, first: Socket, watch: &mut dyn FnMut(&Standing)) -> io::Result<Option<Stopped>> {
        self.open(Ok(first))?;
        for _ in 1..self.plan.connections {
            let socket = self.address.begin();
            self.open(socket)?;
        }
        let mut events = Events::with_capacity(1_024);
        let mut next_watch = Instant::now();
        while self.live > 0 {
            self.set_timer()?;
            let now = Instant::now();
            let until =
                [Some(self.gives_up()), self.ends.filter(|ends| *ends > now), Some(next_watch.max(now))];
            let wait = until
                .into_iter()
                .flatten()
                .min()
                .map_or(WATCH_EVERY, |until| until.saturating_duration_since(now));
            let wait = self.stop.left().map_or(wait, |left| left.min(wait));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    STOP => return Ok(Some(Stopped::Asked)),
                    TIMER => {
                        // Its number is of no use; reading makes it wait again.
                        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                        self.timer_set = None;
                    }
                    INPUT => {
                        self.begin_next(0)?;
                        self.pump(0, false, false)?;
                    }
                    Token(number) => self.pump(number, true, event.is_read_closed())?,
                }
            }
            self.begin_due()?;
            let now = Instant::now();
            if self.ends.is_some_and(|ends| now >= ends) {
                self.end_waiting()?;
            }
            if self.stop.left() == Some(Duration::ZERO) {
                return Ok(Some(Stopped::TimedOut));
            }
            if now >= self.gives_up() {
                break;
            }
            if now >= next_watch {
                next_watch = now + WATCH_EVERY;
                watch(&self.standing(now));
            }
        }
        Ok(None)
    }

    fn standing(&self, now: Instant) -> Standing {
        Standing {
            elapsed: now.saturating_duration_since(self.tally.began),
            length: self.plan.duration,
            messages: self.tally.messages,
            bytes: self.tally.bytes,
            connections: self.live,
            over: false,
        }
    }

    /// When waiting has no point any more.
    fn gives_up(&self) -> Instant {
        let is_ending = self.lines.iter().all(|line| matches!(line.state, State::Ending | State::Done));
        let silence = if is_ending { GOODBYE_MAX } else { SILENCE_MAX };
        // Who waits for its time, or for somebody who types, is not silent.
        let is_waiting = self.lines.iter().any(|line| line.state == State::Waiting);
        let silent = if is_waiting { Instant::now() + SILENCE_MAX } else { self.moved + silence };
        match self.ends {
            Some(ends) => (ends + GRACE).min(silent.max(ends)),
            None => silent,
        }
    }

    fn open(&mut self, socket: io::Result<Socket>) -> io::Result<()> {
        let number = self.lines.len();
        let now = Instant::now();
        let content = self.plan.contents.first().cloned().unwrap_or(Content::text(b""));
        let mut line = Line {
            wire: None,
            state: State::Connecting,
            content,
            begun: 0,
            sent: 0,
            back: 0,
            due: now,
            sent_at: now,
            served: false,
            broke: false,
        };
        self.live += 1;
        match socket.and_then(|socket| self.wire(socket)) {
            Ok(wire) => {
                let fd = wire.socket.as_raw_fd();
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut SourceFd(&fd), Token(number), both)?;
                line.wire = Some(wire);
                self.lines.push(line);
                Ok(())
            }
            Err(error) => {
                self.lines.push(line);
                self.breaks(number, &error, Doing::Connect)
            }
        }
    }

    fn wire(&self, socket: Socket) -> io::Result<Wire> {
        Ok(match &self.tls {
            None => Wire::plain(socket),
            Some((config, name, _)) => {
                let tls = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Wire::client(socket, tls)
            }
        })
    }

    /// Wakes when the first message is due; epoll alone counts in milliseconds.
    fn set_timer(&mut self) -> io::Result<()> {
        let Some(Reverse((due, _))) = self.due.peek() else { return Ok(()) };
        if self.timer_set == Some(*due) {
            return Ok(());
        }
        let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.timer_set = Some(*due);
        Ok(())
    }

    fn begin_due(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(Reverse((due, number))) = self.due.peek().copied() {
            if due > now {
                break;
            }
            self.due.pop();
            self.begin(number, due);
            self.pump(number, false, false)?;
        }
        Ok(())
    }

    /// The time for sending is over: who waits for it goes.
    fn end_waiting(&mut self) -> io::Result<()> {
        self.due.clear();
        for number in 0..self.lines.len() {
            if self.lines[number].state == State::Waiting {
                self.end(number)?;
            }
        }
        Ok(())
    }

    /// What this connection does now that it has nothing under way.
    fn begin_next(&mut self, number: usize) -> io::Result<()> {
        let now = Instant::now();
        let line = &mut self.lines[number];
        if line.state != State::Waiting {
            return Ok(());
        }
        if let Some(input) = &self.input {
            match input.lines.try_recv() {
                Ok(text) if text.is_empty() => return self.end(number),
                Ok(text) => line.content = Content::text(&text),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return self.end(number),
            }
            self.begin(number, now);
            return Ok(());
        }
        let over = self.plan.total.is_some_and(|total| line.begun >= total);
        if over || self.ends.is_some_and(|ends| now >= ends) {
            return self.end(number);
        }
        let due = match self.plan.rate {
            None => now,
            Some(rate) => {
                let place = line.begun as f64 * self.plan.connections as f64 + number as f64;
                self.tally.began + Duration::from_secs_f64(place / rate)
            }
        };
        if self.ends.is_some_and(|ends| due >= ends) {
            return self.end(number);
        }
        if due > now {
            self.due.push(Reverse((due, number)));
            return Ok(());
        }
        self.begin(number, due);
        Ok(())
    }

    fn begin(&mut self, number: usize, due: Instant) {
        let line = &mut self.lines[number];
        if line.state != State::Waiting {
            return; // It broke while it waited.
        }
        if self.input.is_none() && self.plan.contents.len() > 1 {
            let at = (line.begun % self.plan.contents.len() as u64) as usize;
            line.content = self.plan.contents[at].clone();
        }
        line.state = State::Exchanging;
        line.begun += 1;
        (line.sent, line.back) = (0, 0);
        line.due = due;
        line.sent_at = if self.plan.rate.is_some() { Instant::now() } else { due };
    }

    /// Does whatever can be done without waiting. `readable`: the kernel says that something has come; `ended`: and
    /// that it is the last.
    fn pump(&mut self, number: usize, readable: bool, ended: bool) -> io::Result<()> {
        let mut look = readable;
        loop {
            let line = &mut self.lines[number];
            let Some(wire) = &mut line.wire else { return Ok(()) };
            if line.state == State::Connecting {
                match wire
                    .socket
                    .take_error()
                    .and_then(|error| error.map_or_else(|| wire.socket.peer_addr(), Err))
                {
                    Ok(_) => self.stands(number)?,
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                    Err(error) => return self.breaks(number, &error, Doing::Connect),
                }
                continue;
            }
            let sent = match wire.flush() {
                Ok(()) if line.state == State::Exchanging => send(line, self.report),
                other => other,
            };
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.breaks(number, &error, Doing::Write);
                }
                // What was just written is not back yet: the kernel will say so.
                _ if !look => return Ok(()),
                _ => {}
            }
            match self.receive(number)? {
                Came::Nothing => return Ok(()),
                Came::Some => {}
                // Whatever comes later is told again; an end that was seen is not.
                Came::AllThere => look = ended,
            }
        }
    }

    fn stands(&mut self, number: usize) -> io::Result<()> {
        self.connected += 1;
        let line = &mut self.lines[number];
        self.report.explain(|| {
            let local = line.wire.as_ref().and_then(|wire| wire.socket.local_addr().ok()?.as_socket());
            let local = local.map_or("a socket without a name".to_owned(), |local| local.to_string());
            format!("connection {}: it stands; the kernel gave us {local}", number + 1)
        })?;
        line.state = State::Waiting;
        self.begin_next(number)
    }

    fn receive(&mut self, number: usize) -> io::Result<Came> {
        let line = &mut self.lines[number];
        let Some(wire) = &mut line.wire else { return Ok(Came::Nothing) };
        let read = match wire.read(&mut self.scratch) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Came::Nothing),
            Err(_) if line.state == State::Ending => 0,
            Err(error) => {
                self.breaks(number, &error, Doing::Read)?;
                return Ok(Came::Nothing);
            }
        };
        let now = Instant::now();
        self.moved = now;
        if read == 0 {
            if line.state == State::Ending {
                self.report.explain(|| {
                    format!(
                        "connection {}: read 0 bytes: the server has closed too; TIME_WAIT is ours",
                        number + 1
                    )
                })?;
                self.done(number);
            } else {
                let (back, len) = (line.back, line.content.len);
                let where_ = if line.state == State::Exchanging {
                    format!("the server closed after {back} of {len} bytes of message {}", line.begun)
                } else {
                    "the server closed before we did".to_owned()
                };
                self.broke(number, where_, "")?;
            }
            return Ok(Came::Nothing);
        }
        self.last_byte = now;
        line.served |= self.ends.is_none_or(|ends| now < ends);
        if !std::mem::replace(&mut self.answered, true) {
            self.secured(number)?;
        }
        let line = &mut self.lines[number];
        let bytes = &self.scratch[..read];
        let expected = if line.state == State::Exchanging { line.sent - line.back } else { 0 };
        // What comes before it was sent is not an echo of it.
        let compared = bytes.len().min(usize::try_from(expected).unwrap_or(usize::MAX));
        let differs =
            line.content.differs(line.back, &bytes[..compared]).or((compared < read).then_some(compared));
        if let Some(at) = differs {
            let byte = line.back + at as u64;
            let sent = if at < compared { line.content.from(byte) } else { &[] };
            let wrong = Wrong {
                connection: number + 1,
                message: line.begun,
                byte,
                sent: quoted(&sent[..sent.len().min(16)], 16),
                came: quoted(&bytes[at..], 16),
            };
            self.report.tell(&wrong)?;
            self.wrong += 1;
            self.lines[number].broke = true;
            self.done(number);
            return Ok(Came::Nothing);
        }
        line.back += read as u64;
        self.tally.bytes(read as u64, now);
        self.report.explain(|| {
            format!(
                "connection {}: readable: {read} bytes, {} of {} back",
                number + 1,
                line.back,
                line.content.len
            )
        })?;
        let came = match line.wire.as_ref().is_some_and(Wire::is_plain) && read < self.scratch.len() {
            true => Came::AllThere,
            false => Came::Some,
        };
        if line.back < line.content.len {
            return Ok(came);
        }
        let (due, sent_at) = (line.due, line.sent_at);
        self.tally.message(due, sent_at, now);
        if self.plan.tells && self.told < TOLD_MAX {
            self.told += 1;
            let took_us = now.saturating_duration_since(due).as_micros() as u64;
            let (message, bytes) = (line.begun, line.content.len);
            let text = Back::text_of(&line.content);
            let alone = self.plan.connections == 1;
            self.report.tell(&Back { connection: number + 1, message, bytes, text, took_us, alone })?;
        }
        line.state = State::Waiting;
        self.begin_next(number)?;
        Ok(came)
    }

    /// Says once who answers inside TLS.
    fn secured(&self, number: usize) -> io::Result<()> {
        let Some((_, _, verified)) = &self.tls else { return Ok(()) };
        let Some((key, version)) = self.lines[number].wire.as_ref().and_then(Wire::shown) else {
            return Ok(());
        };
        let verified = *verified;
        self.report.tell(&Secured { version, key: key.clone(), verified })?;
        if verified {
            return Ok(());
        }
        self.report.means(&format!(
            "encrypted, but whoever answers is believed: compare that key with what the server says, or let it be \
             compared with --fingerprint {key}"
        ))
    }

    /// Everything is back: closes our half, and waits for the server to close its own.
    fn end(&mut self, number: usize) -> io::Result<()> {
        let line = &mut self.lines[number];
        let Some(wire) = &mut line.wire else { return Ok(()) };
        self.report.explain(|| {
            format!("connection {}: shutdown: FIN out (half-close); we could still receive", number + 1)
        })?;
        self.moved = Instant::now();
        line.state = State::Ending;
        if wire.end_writing().is_err() {
            self.done(number);
        }
        Ok(())
    }

    fn done(&mut self, number: usize) {
        let line = &mut self.lines[number];
        if line.state != State::Done {
            line.state = State::Done;
            line.wire = None;
            self.live -= 1;
        }
    }

    fn breaks(&mut self, number: usize, error: &io::Error, doing: Doing) -> io::Result<()> {
        if let Some(why) = refused(error) {
            self.broke(number, format!("TLS: {why}"), "")?;
            return Ok(());
        }
        let trouble = explain(error, doing);
        self.broke(number, trouble.to_string(), trouble.advice)
    }

    fn broke(&mut self, number: usize, why: String, advice: &str) -> io::Result<()> {
        self.broken += 1;
        self.lines[number].broke = true;
        self.done(number);
        // As many as anybody reads; the rest is counted.
        if self.broken <= TOLD_MAX {
            self.report.tell(&Broken { connection: number + 1, why, advice: advice.to_owned() })?;
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        // Not what was waited in vain at the end.
        let took = self.last_byte.saturating_duration_since(self.tally.began);
        let stood = || self.lines.iter().filter(|line| line.begun > 0 && !line.broke);
        let unserved = stood().filter(|line| !line.served).count() as u64;
        let is_open = |line: &&Line| !matches!(line.state, State::Done | State::Ending);
        let unanswered = stood().filter(is_open).filter(|line| line.back < line.content.len).count() as u64;
        let begun: u64 = self.lines.iter().map(|line| line.begun).sum();
        let wanted = self.plan.total.filter(|_| self.input.is_none());
        let of = wanted.map_or(begun, |total| total.saturating_mul(self.plan.connections as u64));
        let seconds = took.as_secs_f64();
        Summary {
            connections: self.connected,
            messages: self.tally.messages,
            of,
            bytes: self.tally.bytes,
            took_us: took.as_micros() as u64,
            per_second: if seconds > 0.0 { self.tally.messages as f64 / seconds } else { 0.0 },
            wait: self.tally.waits.percentiles(),
            since_sent: self.plan.rate.and_then(|_| self.tally.sent.percentiles()),
            wrong: self.wrong,
            broken: self.broken,
            unanswered,
            unserved,
        }
    }
}

/// What is typed or piped, as it is read.
struct Feed {
    lines: Receiver<Vec<u8>>,
    /// Dropped by the thread that ends, its last call would be lost: closing takes it back from the kernel.
    _waker: Arc<Waker>,
}

/// What reading came to.
enum Came {
    Nothing,
    /// There may be more.
    Some,
    /// Bytes, and for now no more.
    AllThere,
}

/// As much of the message as the kernel takes.
fn send(line: &mut Line, report: &Report) -> io::Result<()> {
    let Some(wire) = &mut line.wire else { return Ok(()) };
    while line.sent < line.content.len {
        match wire.write(line.content.from(line.sent)) {
            Ok(0) => return Ok(()),
            Ok(taken) => line.sent += taken as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = report.explain(|| {
                    format!(
                        "would block: the kernel has {} of {} bytes, its queue is full",
                        line.sent, line.content.len
                    )
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
