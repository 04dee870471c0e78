//! What the echo server tells: who connected, what was given back, who closed and how; at the end what it came to.
//! Telling costs more than echoing: under load only so many echoes a second are told, and the rest is counted.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::serve::Model;
use crate::{Record, Report, Stop, duration, quoted, size};

/// Echoes told in a second. More lines nobody reads, and a terminal would be what is measured.
const ECHOES_A_SECOND: u32 = 100;

/// That nobody more can be served is told no oftener.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Bytes of an echo that are shown.
const SHOWN_MAX: usize = 64;

/// The first line.
#[derive(Debug, Serialize)]
pub(super) struct Listening<'a> {
    pub(super) address: &'a str,
    pub(super) kind: &'static str,
    pub(super) model: Option<Model>,
    pub(super) backlog: Option<u32>,
    /// Of that, as many as the system allows.
    pub(super) may_wait: Option<u32>,
    pub(super) key: Option<&'a str>,
}

impl Record for Listening<'_> {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {} ({}", self.address, self.kind)?;
        if let (Some(model), Some(backlog), Some(may_wait)) = (self.model, self.backlog, self.may_wait) {
            write!(f, ", model {model}, backlog {may_wait}")?;
            if may_wait < backlog {
                write!(f, ": the system allows no more (net.core.somaxconn); {backlog} was asked for")?;
            }
        }
        f.write_str(")")?;
        self.key
            .map_or(Ok(()), |key| write!(f, "\nTLS with a certificate made for this run; its key is {key}"))
    }
}

#[derive(Debug, Serialize)]
struct Connected<'a> {
    connection: u64,
    peer: &'a str,
}

impl Record for Connected<'_> {
    const EVENT: &'static str = "connected";
}

impl fmt::Display for Connected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connection == 1 { "" } else { "s" };
        write!(f, "{} connected; accepted {} connection{plural} so far", self.peer, self.connection)
    }
}

#[derive(Debug, Serialize)]
struct Echoed<'a> {
    connection: Option<u64>,
    peer: &'a str,
    bytes: usize,
    text: String,
    /// `read` where it was not given back: under `--greet`.
    done: &'static str,
}

impl Record for Echoed<'_> {
    const EVENT: &'static str = "echoed";
}

impl fmt::Display for Echoed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}, {}", self.peer, self.done, self.text, size(self.bytes as u64))
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The peer closed: it has sent everything.
    EndOfStream,
    /// The peer closed its sending half and still received.
    HalfClose,
    /// The end came without TLS's goodbye: somebody may have cut it.
    Truncated,
    /// The peer broke it off.
    Reset,
    /// Nothing moved for so long.
    Idle(Duration),
    /// The server ends.
    Stopped,
    /// The system has no thread for it.
    NoThread,
    /// Greeted: the server closes when it has answered.
    Answered,
    /// Another error, with its name.
    Failed(String),
}

impl How {
    pub(super) fn of(error: &io::Error) -> How {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::Reset,
            io::ErrorKind::UnexpectedEof => How::Truncated,
            _ => How::Failed(
                super::certificate::refused(error)
                    .map_or_else(|| vang_client::trouble::plain(error), |why| format!("TLS: {why}")),
            ),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            How::EndOfStream => "end of stream",
            How::HalfClose => "half-close",
            How::Truncated => "truncated",
            How::Reset => "reset",
            How::Idle(_) => "idle",
            How::Stopped => "stopped",
            How::NoThread => "no thread",
            How::Answered => "answered",
            How::Failed(_) => "failed",
        }
    }

    fn is_peers(&self) -> bool {
        !matches!(self, How::Idle(_) | How::Stopped | How::NoThread | How::Answered)
    }

    /// Have we closed before the peer did?
    pub(super) fn is_first(&self) -> bool {
        matches!(self, How::Idle(_) | How::Stopped | How::NoThread)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::EndOfStream => f.write_str("it closed (end of stream), then we"),
            How::HalfClose => {
                f.write_str("it closed its sending half (half-close) and still received; then we closed")
            }
            How::Truncated => f.write_str("it ended without TLS's close_notify: something may be missing"),
            How::Reset => f.write_str("it broke the connection off (reset)"),
            How::Idle(time) => write!(f, "we closed: nothing moved for {}", duration(*time)),
            How::Stopped => f.write_str("we closed: the server ends"),
            How::NoThread => f.write_str("we closed: the system has no thread for it"),
            How::Answered => f.write_str("we closed after our answer"),
            How::Failed(why) => write!(f, "it failed: {why}"),
        }
    }
}

/// What one connection came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) reads: u64,
    /// Given back, or only read under `--greet`.
    pub(super) bytes: u64,
    /// Reads that were told.
    pub(super) told: u64,
}

#[derive(Debug, Serialize)]
struct Closed<'a> {
    connection: u64,
    peer: &'a str,
    by: &'static str,
    how: &'static str,
    bytes: u64,
    reads: u64,
    untold: u64,
    took_us: u64,
    #[serde(skip)]
    words: &'a How,
}

impl Record for Closed<'_> {
    const EVENT: &'static str = "closed";
}

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(Duration::from_micros(self.took_us));
        write!(f, "{}: {}; {} in {} read", self.peer, self.words, size(self.bytes), self.reads)?;
        write!(f, "{} and {took}", if self.reads == 1 { "" } else { "s" })?;
        if self.untold > 0 { write!(f, " ({} more than are shown)", self.untold) } else { Ok(()) }
    }
}

/// The last line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Connections accepted; with UDP the datagrams.
    pub connections: u64,
    /// At once, at most.
    pub at_once: u64,
    /// Given back.
    pub bytes: u64,
    /// Reads, or datagrams.
    pub reads: u64,
    /// Connections that broke: reset, truncated, failed.
    pub broken: u64,
    /// Connections that were closed because nothing moved.
    pub idle: u64,
    /// Processor time of the server's threads.
    pub cpu_us: u64,
    /// From the beginning to the end.
    pub took_us: u64,
    /// Datagrams, and no connections?
    #[serde(skip)]
    pub is_udp: bool,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        if self.is_udp {
            write!(f, "{} datagram{}, {}", self.reads, plural(self.reads), size(self.bytes))?;
        } else {
            write!(f, "{} connection{}", self.connections, plural(self.connections))?;
            write!(f, " (at most {} at once), {} in {} read", self.at_once, size(self.bytes), self.reads)?;
            f.write_str(if self.reads == 1 { "" } else { "s" })?;
        }
        if self.broken > 0 {
            write!(f, ", {} broken", self.broken)?;
        }
        if self.idle > 0 {
            write!(f, ", {} idle", self.idle)?;
        }
        let (took, cpu) = (Duration::from_micros(self.took_us), Duration::from_micros(self.cpu_us));
        write!(f, "; {}, of the processor {}", duration(took), duration(cpu))
    }
}

/// What happened so far, told as it happens unless nobody wants to hear it. Shared by threads and tasks.
pub(super) struct Teller {
    pub(super) report: Report,
    quiet: bool,
    stop: Stop,
    began: Instant,
    budget: Mutex<(Instant, u32)>,
    /// When it was told last that there is no room for another connection.
    full_told: Mutex<Option<Instant>>,
    /// What a thread could not tell; the server ends with it.
    untold: Mutex<Option<io::Error>>,
    accepted: AtomicU64,
    open: AtomicU64,
    at_once: AtomicU64,
    bytes: AtomicU64,
    reads: AtomicU64,
    broken: AtomicU64,
    idle: AtomicU64,
    cpu_us: AtomicU64,
}

impl Teller {
    pub(super) fn new(report: Report, quiet: bool, stop: Stop) -> Teller {
        let now = Instant::now();
        Teller {
            report,
            quiet,
            stop,
            began: now,
            budget: Mutex::new((now, 0)),
            full_told: Mutex::default(),
            untold: Mutex::default(),
            accepted: AtomicU64::default(),
            open: AtomicU64::default(),
            at_once: AtomicU64::default(),
            bytes: AtomicU64::default(),
            reads: AtomicU64::default(),
            broken: AtomicU64::default(),
            idle: AtomicU64::default(),
            cpu_us: AtomicU64::default(),
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn keep(&self, told: io::Result<()>) {
        if let Err(error) = told {
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.stop.ask();
        }
    }

    /// Narration; made only if it is wanted.
    pub(super) fn explain(&self, text: impl FnOnce() -> String) {
        self.keep(self.report.explain(text));
    }

    /// What an error means; a flood of them is told as seldom as one of echoes.
    pub(super) fn means(&self, text: &str) {
        if self.has_room() {
            self.keep(self.report.means(text));
        }
    }

    /// There is no room for another connection. That comes and goes many times a second, and is told seldom.
    pub(super) fn full(&self, text: &str) {
        let mut last = self.full_told.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= FULL_TOLD_EVERY) {
            *last = Some(Instant::now());
            self.keep(self.report.means(text));
        }
    }

    /// Somebody is there: the number of the connection.
    pub(super) fn connected(&self, peer: &str) -> u64 {
        let connection = self.accepted.fetch_add(1, Relaxed) + 1;
        self.at_once.fetch_max(self.open.fetch_add(1, Relaxed) + 1, Relaxed);
        if !self.quiet {
            self.keep(self.report.tell(&Connected { connection, peer }));
        }
        connection
    }

    /// Is this echo told? Then it is.
    pub(super) fn echoed(
        &self,
        connection: Option<u64>,
        peer: &str,
        bytes: &[u8],
        done: &'static str,
    ) -> bool {
        if self.quiet || !self.has_room() {
            return false;
        }
        let text = quoted(bytes, SHOWN_MAX);
        self.keep(self.report.tell(&Echoed { connection, peer, bytes: bytes.len(), text, done }));
        true
    }

    fn has_room(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.0.elapsed() >= Duration::from_secs(1) {
            *budget = (Instant::now(), 0);
        }
        budget.1 += 1;
        budget.1 <= ECHOES_A_SECOND
    }

    pub(super) fn closed(&self, connection: u64, peer: &str, how: &How, counts: Counts, began: Instant) {
        self.open.fetch_sub(1, Relaxed);
        self.bytes.fetch_add(counts.bytes, Relaxed);
        self.reads.fetch_add(counts.reads, Relaxed);
        match how {
            How::Reset | How::Truncated | How::NoThread | How::Failed(_) => {
                self.broken.fetch_add(1, Relaxed);
            }
            How::Idle(_) => {
                self.idle.fetch_add(1, Relaxed);
            }
            How::EndOfStream | How::HalfClose | How::Stopped | How::Answered => {}
        }
        if !self.quiet {
            self.keep(self.report.tell(&Closed {
                connection,
                peer,
                by: if how.is_peers() { "peer" } else { "we" },
                how: how.name(),
                bytes: counts.bytes,
                reads: counts.reads,
                untold: counts.reads - counts.told,
                took_us: began.elapsed().as_micros() as u64,
                words: how,
            }));
        }
    }

    /// A datagram was given back.
    pub(super) fn datagram(&self, bytes: u64) {
        self.reads.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// A thread of the server's ends: its processor time since `before` counts.
    pub(super) fn thread_ends(&self, before: Duration) {
        self.cpu_us.fetch_add(thread_time().saturating_sub(before).as_micros() as u64, Relaxed);
    }

    /// The end: what it came to, or that it could not be told.
    pub(super) fn finish(&self, is_udp: bool) -> io::Result<Summary> {
        if let Some(error) = self.untold.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let get = |count: &AtomicU64| count.load(Relaxed);
        let summary = Summary {
            connections: get(&self.accepted),
            at_once: get(&self.at_once),
            bytes: get(&self.bytes),
            reads: get(&self.reads),
            broken: get(&self.broken),
            idle: get(&self.idle),
            cpu_us: get(&self.cpu_us),
            took_us: self.began.elapsed().as_micros() as u64,
            is_udp,
        };
        Ok(summary)
    }
}

/// Processor time of the thread that asks.
pub(super) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
