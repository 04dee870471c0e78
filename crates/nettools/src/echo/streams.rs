//! The connections of the client: all at once, on one thread, with one buffer. Each sends a message, reads it back and
//! compares every byte. It reads and writes at the same time, so that a message can be larger than all kernel queues.

mod connection; // the state of one connection
mod exchange; // drives one connection when it is ready
mod schedule; // when the next message is due
mod input; // messages from stdin

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;
use vang_client::trouble::Doing;

use self::connection::{EchoConnection, State};
use self::input::Feed;
use self::schedule::Schedule;
use super::content::Content;
use super::measure::{EchoSendSummary, Progress, Tally};
use super::peer::BUFFER;
use super::plan::{EchoSendOptions, Input, Plan};
use crate::destination::{Destination, connect};
use crate::open_files::raise_open_file_limit;
use crate::transport::Transport;
use crate::trust::TlsClient;
use crate::{Report, Stop, Stopped, ToolError};

const STOP: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);
const INPUT: Token = Token(usize::MAX - 3);

/// Without a byte for this time the client gives up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long answers are awaited after the time for sending.
const GRACE: Duration = Duration::from_secs(2);

/// How long the server's close is awaited after ours.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Messages with a record; further ones are only counted.
const RECORDED_MAX: u64 = 1_000;

/// Connections that are started before checking the others.
const BEGUN_AT_ONCE: usize = 256;

/// Retry interval for a full Unix socket: no event reports room in its queue.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// Interval of the progress line.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Connects to the first address that accepts, then runs the plan.
pub(super) fn run(
    options: &EchoSendOptions,
    plan: &Plan,
    input: Option<Input>,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(EchoSendSummary, Option<Stopped>, Tally), ToolError> {
    raise_open_file_limit();
    match connect(&options.to, report, stop, |_| Ok(()))? {
        Some((address, socket)) => {
            Streams::new(options, plan, address, report, stop)?.run(socket, input, watch)
        }
        None => Ok((EchoSendSummary::default(), Some(Stopped::Requested), Tally::new(Instant::now()))),
    }
}

/// All connections of a run.
pub(super) struct Streams<'a> {
    plan: &'a Plan,
    address: Destination,
    tls: Option<TlsClient>,
    report: &'a Report,
    stop: &'a Stop,
    poll: Poll,
    conns: Vec<EchoConnection>,
    /// Connections not yet started, and when to retry if the server's queue was full.
    unstarted: usize,
    begin_at: Option<Instant>,
    /// Number of connections that are not done, waiting, ending.
    live: usize,
    waiting: usize,
    ending: usize,
    /// Connections with more to read, after the others' turn; and whether the end of the stream was seen.
    again: Vec<(usize, bool)>,
    scratch: Vec<u8>,
    tally: Tally,
    due: Schedule,
    input: Option<Feed>,
    /// When sending ends.
    ends: Option<Instant>,
    moved: Instant,
    last_byte: Instant,
    /// Has any answer come, on any connection?
    answered: bool,
    recorded: u64,
    connected: u64,
    wrong: u64,
    broken: u64,
    /// Cause of the last failure, repetitions of it, failures with a record, and failures without.
    last_cause: String,
    alike: u64,
    faults_recorded: u64,
    omitted: u64,
}

impl<'a> Streams<'a> {
    fn new(
        options: &EchoSendOptions,
        plan: &'a Plan,
        address: Destination,
        report: &'a Report,
        stop: &'a Stop,
    ) -> Result<Streams<'a>, ToolError> {
        let tls = options.tls.as_ref().map(|trust| TlsClient::of(trust, &options.to)).transpose()?;
        let system = |error: io::Error| ToolError::of("cannot watch sockets", &error, Doing::Read);
        let poll = Poll::new().map_err(system)?;
        let due = Schedule::new().map_err(system)?;
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
            conns: Vec::new(),
            unstarted: plan.connections.saturating_sub(1),
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
            recorded: 0,
            connected: 0,
            wrong: 0,
            broken: 0,
            last_cause: String::new(),
            alike: 0,
            faults_recorded: 0,
            omitted: 0,
        })
    }

    /// Runs the plan; the first connection is made already.
    fn run(
        mut self,
        first: Socket,
        input: Option<Input>,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<(EchoSendSummary, Option<Stopped>, Tally), ToolError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => ToolError::Output(error),
            _ => ToolError::of("cannot go on", &error, Doing::Read),
        };
        let feed = |input| Feed::start(input, self.poll.registry(), INPUT);
        self.input = input.map(feed).transpose().map_err(failed)?;
        let outcome = self.all(first, watch);
        watch(&Progress { over: true, ..self.progress(Instant::now()) });
        let stopped = outcome.map_err(failed)?;
        self.record_omitted()?;
        Ok((self.summary(), stopped, self.tally))
    }

    fn all(&mut self, first: Socket, watch: &mut dyn FnMut(&Progress)) -> io::Result<Option<Stopped>> {
        self.open(Ok(first))?;
        let mut events = Events::with_capacity(1_024);
        let mut next_watch = Instant::now();
        loop {
            self.connect_more()?;
            if self.live + self.unstarted == 0 {
                return Ok(None);
            }
            self.due.set()?;
            let wait = self.sleep_time(next_watch);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let again = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    STOP => return Ok(Some(Stopped::Requested)),
                    TIMER => self.due.fired(),
                    INPUT => {
                        self.begin_next(0)?;
                        self.advance(0, false, false)?;
                    }
                    Token(number) => self.advance(number, true, event.is_read_closed())?,
                }
            }
            for (number, ended) in again {
                self.advance(number, true, ended)?;
            }
            let now = Instant::now();
            while let Some((due, number)) = self.due.next(now) {
                self.begin(number, due);
                self.advance(number, false, false)?;
            }
            let now = Instant::now();
            if self.stop.left() == Some(Duration::ZERO) {
                return Ok(Some(Stopped::TimedOut));
            }
            if now >= self.give_up_time(now) {
                self.give_up_unconnected()?;
                return Ok(None);
            }
            if now >= next_watch {
                next_watch = now + WATCH_EVERY;
                watch(&self.progress(now));
            }
        }
    }

    /// Time until the next check that no socket event triggers.
    fn sleep_time(&self, next_watch: Instant) -> Duration {
        let now = Instant::now();
        let begins = match (self.unstarted, self.begin_at) {
            (0, _) => None,
            (_, at) => Some(at.unwrap_or(now)),
        };
        let again = (!self.again.is_empty()).then_some(now);
        let until = [Some(self.give_up_time(now)), begins, again, Some(next_watch)];
        let wait =
            until.into_iter().flatten().min().map_or(WATCH_EVERY, |at| at.saturating_duration_since(now));
        self.stop.left().map_or(wait, |left| left.min(wait))
    }

    /// Starts the next connections, up to the limit of the server's queue.
    fn connect_more(&mut self) -> io::Result<()> {
        if self.begin_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.begin_at = None;
        for _ in 0..self.unstarted.min(BEGUN_AT_ONCE) {
            let socket =
                self.address.socket().and_then(|socket| self.address.begin(&socket).map(|()| socket));
            if socket.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                self.begin_at = Some(Instant::now() + QUEUE_WAIT);
                return Ok(());
            }
            self.unstarted -= 1;
            self.moved = Instant::now();
            self.open(socket)?;
        }
        Ok(())
    }

    /// Gives up connections that were not completed: no answer, or the server's queue stayed full.
    fn give_up_unconnected(&mut self) -> io::Result<()> {
        for number in 0..self.conns.len() {
            if self.conns[number].state == State::Connecting {
                self.connection_error(number, &io::ErrorKind::TimedOut.into(), Doing::Connect)?;
            }
        }
        for _ in 0..std::mem::take(&mut self.unstarted) {
            self.open(Err(io::ErrorKind::WouldBlock.into()))?;
        }
        Ok(())
    }

    fn progress(&self, now: Instant) -> Progress {
        Progress {
            elapsed: now.saturating_duration_since(self.tally.began),
            length: self.plan.duration,
            messages: self.tally.messages,
            bytes: self.tally.bytes,
            connections: self.live,
            over: false,
        }
    }

    /// When the client gives up waiting.
    fn give_up_time(&self, now: Instant) -> Instant {
        let is_ending = self.live == self.ending && self.unstarted == 0;
        let silence = if is_ending { GOODBYE_MAX } else { SILENCE_MAX };
        // Waiting for the schedule or for stdin is not silence.
        let silent = if self.waiting > 0 { now + SILENCE_MAX } else { self.moved + silence };
        match self.ends {
            Some(ends) => (ends + GRACE).min(silent.max(ends)),
            None => silent,
        }
    }

    /// Changes the state of a connection, and the counts.
    fn set_state(&mut self, number: usize, state: State) {
        let was = std::mem::replace(&mut self.conns[number].state, state);
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
        let number = self.conns.len();
        self.conns
            .push(EchoConnection::new(self.plan.contents.first().cloned().unwrap_or(Content::text(b""))));
        self.live += 1;
        let watched = socket.and_then(|socket| self.transport(socket)).and_then(|transport| {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(
                &mut SourceFd(&transport.socket.as_raw_fd()),
                Token(number),
                both,
            )?;
            Ok(transport)
        });
        match watched {
            Ok(transport) => self.conns[number].transport = Some(transport),
            Err(error) => self.connection_error(number, &error, Doing::Connect)?,
        }
        Ok(())
    }

    fn transport(&self, socket: Socket) -> io::Result<Transport> {
        Ok(match &self.tls {
            None => Transport::plain(socket),
            Some(tls) => Transport::client(socket, tls.connection()?),
        })
    }

    /// Starts the next message of an idle connection, or ends it.
    fn begin_next(&mut self, number: usize) -> io::Result<()> {
        let now = Instant::now();
        let conn = &mut self.conns[number];
        if conn.state != State::Waiting {
            return Ok(());
        }
        if let Some(input) = &self.input {
            match input.lines.try_recv() {
                Ok(text) if text.is_empty() => return self.end(number),
                Ok(text) => conn.content = Content::text(&text),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return self.end(number),
            }
            self.begin(number, now);
            return Ok(());
        }
        // With a rate a scheduled message is sent even when it is late: otherwise a stalled server would hide the messages
        // scheduled meanwhile.
        let due = match self.plan.rate {
            None => now,
            Some(rate) => {
                let place = conn.begun as f64 * self.plan.connections as f64 + number as f64;
                self.tally.began + Duration::from_secs_f64(place / rate)
            }
        };
        let over = self.plan.total.is_some_and(|total| conn.begun >= total);
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
        let conn = &mut self.conns[number];
        if conn.state != State::Waiting {
            return; // It failed while it waited.
        }
        if self.input.is_none() && self.plan.contents.len() > 1 {
            let at = (conn.begun % self.plan.contents.len() as u64) as usize;
            conn.content = self.plan.contents[at].clone();
        }
        conn.begun += 1;
        (conn.sent, conn.back) = (0, 0);
        conn.due = due;
        conn.sent_at = if self.plan.rate.is_some() { Instant::now() } else { due };
        self.set_state(number, State::Exchanging);
    }

    /// Scheduled messages that were never sent: their connections waited for earlier ones, or had failed.
    fn unsent(&self) -> u64 {
        let Some(rate) = self.plan.rate else { return 0 };
        let now = Instant::now();
        let upto = self.ends.map_or(now, |ends| ends.min(now));
        let due = upto.saturating_duration_since(self.tally.began).as_secs_f64() * rate;
        let of_line = |number: usize, conn: &EchoConnection| {
            let due = ((due - number as f64) / self.plan.connections as f64).ceil().max(0.0) as u64;
            due.min(self.plan.total.unwrap_or(u64::MAX)).saturating_sub(conn.begun)
        };
        // A connection that was closed normally had nothing more to send.
        let cut = |conn: &EchoConnection| conn.failed || conn.state == State::Exchanging;
        let conns = self.conns.iter().enumerate().filter(|(_, conn)| cut(conn));
        conns.map(|(number, conn)| of_line(number, conn)).sum()
    }

    fn summary(&self) -> EchoSendSummary {
        // Without the final wait.
        let took = self.last_byte.saturating_duration_since(self.tally.began);
        let stood = || self.conns.iter().filter(|conn| conn.begun > 0 && !conn.failed);
        let unserved = stood().filter(|conn| !conn.served).count() as u64;
        let is_open = |conn: &&EchoConnection| !matches!(conn.state, State::Done | State::Ending);
        let unanswered = stood().filter(is_open).filter(|conn| conn.back < conn.content.len).count() as u64;
        let begun: u64 = self.conns.iter().map(|conn| conn.begun).sum();
        let wanted = self.plan.total.filter(|_| self.input.is_none());
        let unsent = self.unsent();
        let of = wanted.map_or(begun + unsent, |total| total.saturating_mul(self.plan.connections as u64));
        let seconds = took.as_secs_f64();
        EchoSendSummary {
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
