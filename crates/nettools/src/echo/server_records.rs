//! The records of the echo server: connections, echoes, ends, and a summary. Writing a record costs more than an echo, so
//! under load only some echoes per second are recorded, and the rest is counted.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vang_proto::text::{counted, short_duration, size};

use super::model::Model;
use crate::{Record, Report, Stop, quoted};

/// Echoes recorded per second: more are not readable, and the terminal would become the bottleneck.
const ECHOES_A_SECOND: u32 = 100;

/// Shortest time between two reports that no connection can be accepted.
const FULL_RECORDED_EVERY: Duration = Duration::from_secs(10);

/// Bytes shown of an echo.
const SHOWN_MAX: usize = 64;

/// The first record.
#[derive(Debug, Serialize)]
pub(super) struct Listening<'a> {
    pub(super) address: &'a str,
    pub(super) kind: &'static str,
    pub(super) model: Option<Model>,
    pub(super) backlog: Option<u32>,
    /// The backlog that the system allows.
    pub(super) may_wait: Option<u32>,
    pub(super) key: Option<&'a str>,
    /// The worker processes of the model `processes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<Vec<u32>>,
}

impl Record for Listening<'_> {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {} ({}", self.address, self.kind)?;
        if let (Some(model), Some(backlog), Some(may_wait)) = (self.model, self.backlog, self.may_wait) {
            write!(f, ", model {model}, ")?;
            if let Some(workers) = &self.workers {
                write!(f, "{}, ", counted(workers.len() as u64, "worker process", "worker processes"))?;
            }
            write!(f, "backlog {may_wait}")?;
            if may_wait < backlog {
                write!(f, ": the maximum of the system (net.core.somaxconn); requested: {backlog}")?;
            }
        }
        f.write_str(")")?;
        self.key.map_or(Ok(()), |key| write!(f, "\nTLS with a certificate for this run; its key is {key}"))
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
    /// `echoed`, or with `--greet` `read`.
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
pub(super) enum CloseReason {
    /// The peer closed.
    EndOfStream,
    /// The peer closed only its sending half.
    HalfClose,
    /// The connection ended without TLS close_notify; bytes can be missing.
    Truncated,
    Reset,
    Idle(Duration),
    Stopped,
    NoThread,
    /// With `--greet` the server closes after its answer.
    Answered,
    Failed(String),
}

impl CloseReason {
    pub(super) fn of(error: &io::Error) -> CloseReason {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
            io::ErrorKind::UnexpectedEof => CloseReason::Truncated,
            _ => CloseReason::Failed(
                crate::trust::refused(error)
                    .map_or_else(|| vang_client::trouble::plain(error), |why| format!("TLS: {why}")),
            ),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            CloseReason::EndOfStream => "end of stream",
            CloseReason::HalfClose => "half-close",
            CloseReason::Truncated => "truncated",
            CloseReason::Reset => "reset",
            CloseReason::Idle(_) => "idle",
            CloseReason::Stopped => "stopped",
            CloseReason::NoThread => "no thread",
            CloseReason::Answered => "answered",
            CloseReason::Failed(_) => "failed",
        }
    }

    fn is_peers(&self) -> bool {
        !matches!(
            self,
            CloseReason::Idle(_) | CloseReason::Stopped | CloseReason::NoThread | CloseReason::Answered
        )
    }

    /// Did we close first?
    pub(super) fn is_first(&self) -> bool {
        matches!(self, CloseReason::Idle(_) | CloseReason::Stopped | CloseReason::NoThread)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::EndOfStream => f.write_str("peer closed (end of stream), then we closed"),
            CloseReason::HalfClose => {
                f.write_str("peer closed its sending half (half-close) and still received; then we closed")
            }
            CloseReason::Truncated => {
                f.write_str("peer ended without TLS close_notify: bytes can be missing")
            }
            CloseReason::Reset => f.write_str("peer reset the connection"),
            CloseReason::Idle(time) => write!(f, "we closed: idle for {}", short_duration(*time)),
            CloseReason::Stopped => f.write_str("we closed: the server ends"),
            CloseReason::NoThread => f.write_str("we closed: no thread available"),
            CloseReason::Answered => f.write_str("we closed after our answer"),
            CloseReason::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Counts of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) reads: u64,
    /// Sent back, or with `--greet` only read.
    pub(super) bytes: u64,
    /// Reads with a record.
    pub(super) recorded: u64,
}

#[derive(Debug, Serialize)]
struct Closed<'a> {
    connection: u64,
    peer: &'a str,
    by: &'static str,
    how: &'static str,
    bytes: u64,
    reads: u64,
    not_shown: u64,
    took_us: u64,
    #[serde(skip)]
    words: &'a CloseReason,
}

impl Record for Closed<'_> {
    const EVENT: &'static str = "closed";
}

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(Duration::from_micros(self.took_us));
        write!(f, "{}: {}; {} in {} read", self.peer, self.words, size(self.bytes), self.reads)?;
        write!(f, "{} and {took}", if self.reads == 1 { "" } else { "s" })?;
        if self.not_shown > 0 { write!(f, " ({} not shown)", self.not_shown) } else { Ok(()) }
    }
}

/// The summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EchoServeSummary {
    /// Accepted connections.
    pub connections: u64,
    /// Most connections at once; of several processes the sum of theirs.
    pub at_once: u64,
    /// Sent back.
    pub bytes: u64,
    /// Reads, or with UDP datagrams.
    pub reads: u64,
    /// Connections that ended with an error: reset, truncated, failed.
    pub broken: u64,
    /// Connections that were closed as idle.
    pub idle: u64,
    /// CPU time of the server's threads.
    pub cpu_us: u64,
    pub took_us: u64,
    #[serde(skip)]
    pub is_udp: bool,
}

impl Record for EchoServeSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for EchoServeSummary {
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
        write!(f, "; ran {}, CPU time {}", short_duration(took), short_duration(cpu))
    }
}

/// Writes the records of the server and counts for the summary. Shared by threads and tasks.
pub(super) struct Reporter {
    pub(super) report: Report,
    quiet: bool,
    stop: Stop,
    began: Instant,
    budget: Mutex<(Instant, u32)>,
    /// Time of the last report that no connection can be accepted.
    full_recorded: Mutex<Option<Instant>>,
    /// The first output error; it ends the server.
    output_error: Mutex<Option<io::Error>>,
    accepted: AtomicU64,
    open: AtomicU64,
    at_once: AtomicU64,
    bytes: AtomicU64,
    reads: AtomicU64,
    broken: AtomicU64,
    idle: AtomicU64,
    cpu_us: AtomicU64,
}

impl Reporter {
    pub(super) fn new(report: Report, quiet: bool, stop: Stop) -> Reporter {
        let now = Instant::now();
        Reporter {
            report,
            quiet,
            stop,
            began: now,
            budget: Mutex::new((now, 0)),
            full_recorded: Mutex::default(),
            output_error: Mutex::default(),
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

    fn keep(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.output_failed(error);
        }
    }

    /// The output cannot be written: the server ends.
    pub(super) fn output_failed(&self, error: io::Error) {
        self.output_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.request();
    }

    /// An explanation; made only under `--explain`.
    pub(super) fn explain(&self, text: impl FnOnce() -> String) {
        self.keep(self.report.explain(text));
    }

    /// The meaning of an error, with the same limit per second as echoes.
    pub(super) fn means(&self, text: &str) {
        if self.has_room() {
            self.keep(self.report.means(text));
        }
    }

    /// No connection can be accepted; reported rarely, because it changes many times a second.
    pub(super) fn full(&self, text: &str) {
        let mut last = self.full_recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= FULL_RECORDED_EVERY) {
            *last = Some(Instant::now());
            self.keep(self.report.means(text));
        }
    }

    /// Counts and records a connection; returns its number.
    pub(super) fn connected(&self, peer: &str) -> u64 {
        let connection = self.accepted.fetch_add(1, Relaxed) + 1;
        self.at_once.fetch_max(self.open.fetch_add(1, Relaxed) + 1, Relaxed);
        if !self.quiet {
            self.keep(self.report.record(&Connected { connection, peer }));
        }
        connection
    }

    /// Records an echo, unless there are too many; returns whether it did.
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
        self.keep(self.report.record(&Echoed { connection, peer, bytes: bytes.len(), text, done }));
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

    pub(super) fn closed(
        &self,
        connection: u64,
        peer: &str,
        how: &CloseReason,
        counts: Counts,
        began: Instant,
    ) {
        self.open.fetch_sub(1, Relaxed);
        self.bytes.fetch_add(counts.bytes, Relaxed);
        self.reads.fetch_add(counts.reads, Relaxed);
        match how {
            CloseReason::Reset | CloseReason::Truncated | CloseReason::NoThread | CloseReason::Failed(_) => {
                self.broken.fetch_add(1, Relaxed);
            }
            CloseReason::Idle(_) => {
                self.idle.fetch_add(1, Relaxed);
            }
            CloseReason::EndOfStream
            | CloseReason::HalfClose
            | CloseReason::Stopped
            | CloseReason::Answered => {}
        }
        if !self.quiet {
            self.keep(self.report.record(&Closed {
                connection,
                peer,
                by: if how.is_peers() { "peer" } else { "we" },
                how: how.name(),
                bytes: counts.bytes,
                reads: counts.reads,
                not_shown: counts.reads - counts.recorded,
                took_us: began.elapsed().as_micros() as u64,
                words: how,
            }));
        }
    }

    /// Counts a datagram.
    pub(super) fn datagram(&self, bytes: u64) {
        self.reads.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Adds the counts of a worker process.
    pub(super) fn add(&self, worker: &EchoServeSummary) {
        for (count, more) in [
            (&self.accepted, worker.connections),
            (&self.at_once, worker.at_once),
            (&self.bytes, worker.bytes),
            (&self.reads, worker.reads),
            (&self.broken, worker.broken),
            (&self.idle, worker.idle),
            (&self.cpu_us, worker.cpu_us),
        ] {
            count.fetch_add(more, Relaxed);
        }
    }

    /// Adds the CPU time of this thread since `before`.
    pub(super) fn thread_ends(&self, before: Duration) {
        self.cpu_us.fetch_add(thread_time().saturating_sub(before).as_micros() as u64, Relaxed);
    }

    /// The summary, or the first output error.
    pub(super) fn finish(&self, is_udp: bool) -> io::Result<EchoServeSummary> {
        if let Some(error) = self.output_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let get = |count: &AtomicU64| count.load(Relaxed);
        let summary = EchoServeSummary {
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

/// CPU time of this thread.
pub(super) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
