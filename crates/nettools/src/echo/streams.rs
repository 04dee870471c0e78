//! The client's connections: all at once, on one thread, with one buffer. Each sends a message, reads it back, compares
//! every byte, and goes on; what is under way in both directions moves at the same time, so that a message may be
//! larger than everything that the kernel queues.

mod exchange; // what one connection does when it is ready
mod timetable; // when the next message is due
mod input; // what is typed or piped

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::Socket;
use vang_client::trouble::Doing;

use self::exchange::{Line, State};
use self::input::Feed;
use self::timetable::Timetable;
use super::certificate::Trust;
use super::content::Content;
use super::measure::{Standing, Summary, Tally};
use super::peer::BUFFER;
use super::send::{Asked, Input, Plan};
use super::wire::Wire;
use crate::place::Address;
use crate::{Failure, Report, Stop, Stopped, Target};

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

/// Connections that are begun before looking at those that are.
const BEGUN_AT_ONCE: usize = 256;

/// A Unix socket's queue that is full says so at once, and not when there is room: asked again after this time.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// How often whoever looks on is shown something.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// See the module's head.
pub(super) struct Streams<'a> {
    plan: &'a Plan,
    address: Address,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>, bool)>,
    report: &'a Report,
    stop: &'a Stop,
    poll: Poll,
    lines: Vec<Line>,
    /// Connections that are not begun yet, and when to try again if the server's queue was full.
    unbegun: usize,
    begin_at: Option<Instant>,
    /// Of the lines: not done, waiting, ending.
    live: usize,
    waiting: usize,
    ending: usize,
    /// Who has more to read, after the others' turn; and whether the end was seen behind it.
    again: Vec<(usize, bool)>,
    scratch: Vec<u8>,
    tally: Tally,
    due: Timetable,
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
    /// Why the last broke, how many one after the other for that; how many faults were told, and how many not.
    last_cause: String,
    alike: u64,
    faults_told: u64,
    untold: u64,
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
        let due = Timetable::new().map_err(system)?;
        for (fd, token) in [(due.timer(), TIMER), (stop.as_fd().as_raw_fd(), STOP)] {
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
            unbegun: plan.connections.saturating_sub(1),
            begin_at: None,
            live: 0,
            waiting: 0,
            ending: 0,
            again: Vec::new(),
            scratch: vec![0; BUFFER],
            tally: Tally::new(now),
            due,
            input: None,
            ends: plan.duration.map(|duration| now + duration),
            moved: now,
            last_byte: now,
            answered: false,
            told: 0,
            connected: 0,
            wrong: 0,
            broken: 0,
            last_cause: String::new(),
            alike: 0,
            faults_told: 0,
            untold: 0,
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
        let feed = |input| Feed::start(input, self.poll.registry(), INPUT);
        self.input = input.map(feed).transpose().map_err(failed)?;
        let outcome = self.all(first, watch);
        watch(&Standing { over: true, ..self.standing(Instant::now()) });
        let stopped = outcome.map_err(failed)?;
        self.tell_untold()?;
        Ok((self.summary(), stopped, self.tally))
    }

    fn all(&mut self, first: Socket, watch: &mut dyn FnMut(&Standing)) -> io::Result<Option<Stopped>> {
        self.open(Ok(first))?;
        let mut events = Events::with_capacity(1_024);
        let mut next_watch = Instant::now();
        loop {
            self.begin_some()?;
            if self.live + self.unbegun == 0 {
                return Ok(None);
            }
            self.due.set()?;
            let wait = self.may_sleep(next_watch);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let again = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    STOP => return Ok(Some(Stopped::Asked)),
                    TIMER => self.due.fired(),
                    INPUT => {
                        self.begin_next(0)?;
                        self.pump(0, false, false)?;
                    }
                    Token(number) => self.pump(number, true, event.is_read_closed())?,
                }
            }
            for (number, ended) in again {
                self.pump(number, true, ended)?;
            }
            let now = Instant::now();
            while let Some((due, number)) = self.due.next(now) {
                self.begin(number, due);
                self.pump(number, false, false)?;
            }
            let now = Instant::now();
            if self.stop.left() == Some(Duration::ZERO) {
                return Ok(Some(Stopped::TimedOut));
            }
            if now >= self.gives_up(now) {
                self.give_up_the_unmade()?;
                return Ok(None);
            }
            if now >= next_watch {
                next_watch = now + WATCH_EVERY;
                watch(&self.standing(now));
            }
        }
    }

    /// Until something has to be looked at that no socket tells.
    fn may_sleep(&self, next_watch: Instant) -> Duration {
        let now = Instant::now();
        let begins = match (self.unbegun, self.begin_at) {
            (0, _) => None,
            (_, at) => Some(at.unwrap_or(now)),
        };
        let again = (!self.again.is_empty()).then_some(now);
        let until = [Some(self.gives_up(now)), begins, again, Some(next_watch)];
        let wait =
            until.into_iter().flatten().min().map_or(WATCH_EVERY, |at| at.saturating_duration_since(now));
        self.stop.left().map_or(wait, |left| left.min(wait))
    }

    /// Begins the next connections, as far as the server's queue takes them.
    fn begin_some(&mut self) -> io::Result<()> {
        if self.begin_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.begin_at = None;
        for _ in 0..self.unbegun.min(BEGUN_AT_ONCE) {
            let socket =
                self.address.socket().and_then(|socket| self.address.begin(&socket).map(|()| socket));
            if socket.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                self.begin_at = Some(Instant::now() + QUEUE_WAIT);
                return Ok(());
            }
            self.unbegun -= 1;
            self.moved = Instant::now();
            self.open(socket)?;
        }
        Ok(())
    }

    /// Waiting is over for connections that never came to stand: nobody answered, or the server's queue stayed full.
    fn give_up_the_unmade(&mut self) -> io::Result<()> {
        for number in 0..self.lines.len() {
            if self.lines[number].state == State::Connecting {
                self.breaks(number, &io::ErrorKind::TimedOut.into(), Doing::Connect)?;
            }
        }
        for _ in 0..std::mem::take(&mut self.unbegun) {
            self.open(Err(io::ErrorKind::WouldBlock.into()))?;
        }
        Ok(())
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
    fn gives_up(&self, now: Instant) -> Instant {
        let is_ending = self.live == self.ending && self.unbegun == 0;
        let silence = if is_ending { GOODBYE_MAX } else { SILENCE_MAX };
        // Who waits for its time, or for somebody who types, is not silent.
        let silent = if self.waiting > 0 { now + SILENCE_MAX } else { self.moved + silence };
        match self.ends {
            Some(ends) => (ends + GRACE).min(silent.max(ends)),
            None => silent,
        }
    }

    /// Changes a line's state, and counts.
    fn becomes(&mut self, number: usize, state: State) {
        let was = std::mem::replace(&mut self.lines[number].state, state);
        for (counted, by) in [(was, -1), (state, 1)] {
            let count = |counter: &mut usize| *counter = counter.saturating_add_signed(by);
            match counted {
                State::Waiting => count(&mut self.waiting),
                State::Ending => count(&mut self.ending),
                State::Connecting | State::Exchanging | State::Done => {}
            }
            if counted != State::Done {
                count(&mut self.live);
            }
        }
    }

    fn open(&mut self, socket: io::Result<Socket>) -> io::Result<()> {
        let number = self.lines.len();
        self.lines.push(Line::new(self.plan.contents.first().cloned().unwrap_or(Content::text(b""))));
        self.live += 1;
        let watched = socket.and_then(|socket| self.wire(socket)).and_then(|wire| {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut SourceFd(&wire.socket.as_raw_fd()), Token(number), both)?;
            Ok(wire)
        });
        match watched {
            Ok(wire) => self.lines[number].wire = Some(wire),
            Err(error) => self.breaks(number, &error, Doing::Connect)?,
        }
        Ok(())
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
        // With a rate a message that was due in time goes out, however late: a server that stands still would hide
        // everything that should have been sent meanwhile.
        let due = match self.plan.rate {
            None => now,
            Some(rate) => {
                let place = line.begun as f64 * self.plan.connections as f64 + number as f64;
                self.tally.began + Duration::from_secs_f64(place / rate)
            }
        };
        let over = self.plan.total.is_some_and(|total| line.begun >= total);
        if over || self.ends.is_some_and(|ends| due >= ends) {
            return self.end(number);
        }
        if due > now {
            self.due.add(due, number);
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
        line.begun += 1;
        (line.sent, line.back) = (0, 0);
        line.due = due;
        line.sent_at = if self.plan.rate.is_some() { Instant::now() } else { due };
        self.becomes(number, State::Exchanging);
    }

    /// Messages that were due on a timetable and never went out: their connections still waited for earlier ones, or
    /// were gone.
    fn unsent(&self) -> u64 {
        let Some(rate) = self.plan.rate else { return 0 };
        let now = Instant::now();
        let upto = self.ends.map_or(now, |ends| ends.min(now));
        let due = upto.saturating_duration_since(self.tally.began).as_secs_f64() * rate;
        let of_line = |number: usize, line: &Line| {
            let due = ((due - number as f64) / self.plan.connections as f64).ceil().max(0.0) as u64;
            due.min(self.plan.total.unwrap_or(u64::MAX)).saturating_sub(line.begun)
        };
        // Who has closed in good time had nothing more to send.
        let cut = |line: &Line| line.broke || line.state == State::Exchanging;
        let lines = self.lines.iter().enumerate().filter(|(_, line)| cut(line));
        lines.map(|(number, line)| of_line(number, line)).sum()
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
        let unsent = self.unsent();
        let of = wanted.map_or(begun + unsent, |total| total.saturating_mul(self.plan.connections as u64));
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
            unsent,
            unserved,
        }
    }
}
