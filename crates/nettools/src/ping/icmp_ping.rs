//! Ping by ICMP: sends echo requests on schedule and reports answers and errors as they come.
//!
//! ```text
//!   sent ── reply ──▶ answered ── reply ──▶ duplicate
//!     │ └── error ──▶ failed
//!     └──── no answer in `wait` ──▶ lost ── reply ──▶ answered, late
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::{Doing, Trouble};

use super::icmp::{Family, Kind};
use super::options::PingOptions;
use super::records::{NoAnswer, PingStarted, ProbeError, Reply, us};
use super::socket::{IcmpError, IcmpSocket, Received, SocketKind};
use super::tally::{PingSummary, Tally};
use crate::deadline_stream::trouble;
use crate::error::Outcome;
use crate::{Report, Stop, Stopped, ToolError, Verdict};

/// Probes kept after sending, to recognise late answers and duplicates: 8192, eight seconds at the highest rate. At most
/// half the range of sequence numbers.
const REMEMBERED_MAX: usize = 1 << 13;

/// Answers and errors that are received in a row.
const TAKEN_MAX: usize = 256;

/// A sent probe.
#[derive(Debug)]
struct Probe {
    sent: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Answered,
    Failed,
    Lost,
}

/// The state of a run.
struct Ping<'a> {
    options: &'a PingOptions,
    to: SocketAddr,
    family: Family,
    socket: IcmpSocket,
    report: &'a Report,
    /// The data of every request.
    data: Vec<u8>,
    /// The last probes; the newest has the number `tally.sent`.
    probes: VecDeque<Probe>,
    tally: Tally,
    /// ICMP errors by type and code.
    errors: BTreeMap<Kind, u64>,
    /// The last error of sending.
    own: Option<Trouble>,
}

/// Pings this address.
pub(super) fn run(options: &PingOptions, to: SocketAddr, report: &Report, stop: &Stop) -> Outcome {
    let family = Family::of(to.ip());
    let socket = IcmpSocket::open(family, options.ttl)?;
    report.explain(|| match socket.kind {
        SocketKind::Datagram => {
            "socket(SOCK_DGRAM, ICMP): net.ipv4.ping_group_range allows it without root; the kernel chooses the \
                          identifier and delivers only our own answers"
                .to_owned()
        }
        SocketKind::Raw => {
            "socket(SOCK_RAW, ICMP): net.ipv4.ping_group_range does not allow a datagram socket, but a raw one is \
                     allowed; it receives all ICMP of this machine, and we filter by the identifier"
                .to_owned()
        }
    })?;
    report.explain(|| {
        match socket.stamps {
            true => "SO_TIMESTAMPNS is set: the kernel records when an answer arrives, so round trips exclude our own delay",
            false => "no SO_TIMESTAMPNS: round trips end when this program reads the answer, slightly late",
        }
        .to_owned()
    })?;
    report.explain(|| {
        "IP_RECVERR is set: ICMP errors about our packets arrive in the error queue of the socket".to_owned()
    })?;
    report.record(&PingStarted {
        host: options.host.clone(),
        address: to.ip(),
        family: family.name(),
        socket: socket.kind,
        size: options.size,
        ttl: options.ttl,
    })?;
    let data = (0..options.size).map(|n| n as u8).collect();
    let tally = Tally::new("ICMP");
    let probes = VecDeque::new();
    let mut ping =
        Ping { options, to, family, socket, report, data, probes, tally, errors: BTreeMap::new(), own: None };
    let stopped = ping.turn(stop)?;
    let summary = ping.tally.summary();
    report.record(&summary)?;
    if let Some(text) = ping.meaning(&summary) {
        report.means(&text)?;
    }
    Ok(verdict(options, summary.sent, &summary, stopped))
}

/// See `super::run`.
pub(super) fn verdict(
    options: &PingOptions,
    sent: u64,
    summary: &PingSummary,
    stopped: Option<Stopped>,
) -> Verdict {
    match (summary.received, stopped, options.count) {
        (_, Some(Stopped::TimedOut), Some(count)) if sent < count || summary.pending > 0 => Verdict::TimedOut,
        (0, Some(Stopped::TimedOut), None) => Verdict::TimedOut,
        (0, ..) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

impl Ping<'_> {
    /// Runs until every probe has a result, or the tool is stopped.
    fn turn(&mut self, stop: &Stop) -> Result<Option<Stopped>, ToolError> {
        let mut next = Instant::now();
        loop {
            let may_send = self.options.count.is_none_or(|count| self.tally.sent < count);
            let now = Instant::now();
            if may_send && now >= next {
                self.send()?;
                // After a delay no burst is sent.
                next = (next + self.options.interval).max(now);
                continue;
            }
            self.give_up(now)?;
            let oldest = self.probes.iter().find(|probe| probe.state == State::Waiting);
            let gives_up = oldest.map(|probe| probe.sent + self.options.wait);
            let wake = match (may_send.then_some(next), gives_up) {
                (None, None) => return Ok(None),
                (one, other) => one.into_iter().chain(other).min(),
            };
            let wait = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let stopped = stop.wait(&mut fds, wait).map_err(|error| self.cannot("wait for", &error))?;
            // Packets that have already arrived still count.
            self.take()?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
    }

    fn send(&mut self) -> Result<(), ToolError> {
        self.tally.sent += 1;
        let seq = self.tally.sent;
        self.report.explain(|| {
            format!(
                "send {} ({}), seq {seq}",
                self.family.name_of(self.family.echo_request()),
                self.family.echo_request()
            )
        })?;
        if self.probes.len() == REMEMBERED_MAX {
            self.probes.pop_front();
        }
        let sent = Instant::now();
        self.probes.push_back(Probe { sent, state: State::Waiting });
        // A sequence number has 16 bits.
        let Err(error) = self.socket.send(self.to, seq as u16, &self.data) else { return Ok(()) };
        // Errors of earlier probes are reported first.
        self.take()?;
        if let Some(probe) = self.probes.back_mut() {
            probe.state = State::Failed;
        }
        self.tally.errors += 1;
        let trouble = trouble(self.to, &error);
        let name = trouble.name.clone().into_owned();
        self.own = Some(trouble);
        let (seq, kind) = (Some(seq), None);
        self.report.record(&ProbeError {
            seq,
            from: None,
            kind,
            name,
            mtu: None,
            time_us: None,
            time: None,
        })?;
        Ok(())
    }

    /// Receives what has arrived, up to a limit, so that a flood blocks neither sending nor stopping.
    fn take(&mut self) -> Result<(), ToolError> {
        for _ in 0..TAKEN_MAX {
            match self.socket.receive() {
                Ok(None) => break,
                Ok(Some(Received::Reply { seq, from, ttl, data, waited })) => {
                    self.replied(seq, from, ttl, &data, waited)?;
                }
                Ok(Some(Received::Error(refused))) => self.refused(&refused)?,
                Err(error) => return Err(self.cannot("receive from", &error)),
            }
        }
        Ok(())
    }

    /// The probe with this 16-bit number: its full number, and its index in `probes`.
    fn find(&self, seq: u16) -> Option<(u64, usize)> {
        let back = usize::from((self.tally.sent as u16).wrapping_sub(seq));
        let place = self.probes.len().checked_sub(back + 1)?;
        Some((self.tally.sent - back as u64, place))
    }

    fn replied(
        &mut self,
        wire: u16,
        from: IpAddr,
        ttl: Option<u8>,
        data: &[u8],
        waited: Duration,
    ) -> io::Result<()> {
        let Some((seq, place)) = self.find(wire) else { return Ok(()) };
        let Some(probe) = self.probes.get_mut(place) else { return Ok(()) };
        let time = flight(probe.sent, waited);
        let before = std::mem::replace(&mut probe.state, State::Answered);
        match before {
            State::Answered => self.tally.duplicates += 1,
            State::Waiting => self.tally.answered(time),
            State::Lost => {
                self.tally.lost -= 1;
                self.tally.answered(time);
            }
            State::Failed => {
                self.tally.errors -= 1;
                self.tally.answered(time);
            }
        }
        let kind = self.family.echo_reply();
        let differs = self.data.iter().zip(data).position(|(sent, came)| sent != came);
        let differs = differs.or((self.data.len() != data.len()).then_some(self.data.len().min(data.len())));
        self.report.record(&Reply {
            seq,
            from,
            kind,
            name: self.family.name_of(kind),
            bytes: data.len(),
            ttl,
            time_us: us(time),
            duplicate: before == State::Answered,
            late: before == State::Lost,
            elsewhere: from.to_canonical() != self.to.ip().to_canonical(),
            damaged_at: differs,
            time,
        })
    }

    fn refused(&mut self, refused: &IcmpError) -> io::Result<()> {
        let found = refused.seq.and_then(|wire| self.find(wire));
        let mut time = None;
        if let Some(probe) = found.and_then(|(_, place)| self.probes.get_mut(place)) {
            time = Some(flight(probe.sent, refused.waited));
            match probe.state {
                State::Waiting => self.tally.errors += 1,
                State::Lost => {
                    self.tally.lost -= 1;
                    self.tally.errors += 1;
                }
                State::Answered | State::Failed => {}
            }
            if probe.state != State::Answered {
                probe.state = State::Failed;
            }
        }
        let name = match refused.kind {
            Some(kind) => {
                *self.errors.entry(kind).or_default() += 1;
                self.family.name_of(kind).to_owned()
            }
            None => {
                let trouble = trouble(self.to, &io::Error::from_raw_os_error(refused.errno));
                let name = trouble.name.clone().into_owned();
                self.own = Some(trouble);
                name
            }
        };
        self.report.record(&ProbeError {
            seq: found.map(|(seq, _)| seq),
            from: refused.from,
            kind: refused.kind,
            name,
            mtu: refused.mtu,
            time_us: time.map(us),
            time,
        })
    }

    /// Marks probes as lost that waited too long.
    fn give_up(&mut self, now: Instant) -> io::Result<()> {
        let first = self.tally.sent + 1 - self.probes.len() as u64;
        for (place, probe) in self.probes.iter_mut().enumerate() {
            let waited = now.saturating_duration_since(probe.sent);
            if waited < self.options.wait {
                break;
            }
            if probe.state == State::Waiting {
                probe.state = State::Lost;
                self.tally.lost += 1;
                let waited = self.options.wait;
                self.report.record(&NoAnswer { seq: first + place as u64, waited_us: us(waited), waited })?;
            }
        }
        Ok(())
    }

    fn cannot(&self, what: &str, error: &io::Error) -> ToolError {
        ToolError::of(format!("cannot {what} {}", self.to.ip()), error, Doing::Read)
    }

    /// The meaning of a bad result.
    fn meaning(&self, summary: &PingSummary) -> Option<String> {
        if let Some((kind, _)) = self.errors.iter().max_by_key(|(_, times)| **times) {
            let text = self.family.meaning(*kind);
            let name = self.family.name_of(*kind);
            return (!text.is_empty()).then(|| format!("{name} ({kind}): {text}"));
        }
        if let Some(trouble) = self.own.as_ref().filter(|_| summary.received == 0) {
            let advice = match trouble.advice {
                "" => String::new(),
                advice => format!(": {advice}"),
            };
            return Some(format!("this machine cannot send it: {trouble}{advice}"));
        }
        if summary.duplicates > 0 {
            return Some(
                "duplicate answers: two hosts have this address, or a switch duplicates packets".to_owned(),
            );
        }
        match (summary.received, summary.lost) {
            (_, 0) => None,
            (0, _) => Some(
                "no answer and no error: the host is off, or a firewall drops echo requests. --tcp PORT tests whether a \
                 program answers there"
                    .to_owned(),
            ),
            _ => Some(
                "some were lost: a cable, a radio link or a full queue on the way drops packets, or the host limits its \
                 answers per second. TCP retransmits lost packets and becomes slower"
                    .to_owned(),
            ),
        }
    }
}

/// The round trip: from sending to the kernel's timestamp of the answer. The monotonic clock measures it; only the time in
/// the queue comes from the wall clock, and cannot be longer than the whole.
fn flight(sent: Instant, waited: Duration) -> Duration {
    let all = sent.elapsed();
    all.checked_sub(waited).unwrap_or(all)
}

/// The result of one echo request.
pub(crate) enum EchoResult {
    /// The round trip.
    Reply(Duration),
    Silent,
    /// Sender and error, as text.
    IcmpError(String),
    Stopped(Stopped),
}

/// Sequence number of the next single echo request.
static ONCE: AtomicU16 = AtomicU16::new(1);

/// Sends one echo request and waits for the result, without records.
pub(super) fn echo_once(options: &PingOptions, to: SocketAddr, stop: &Stop) -> Result<EchoResult, ToolError> {
    let family = Family::of(to.ip());
    let mut socket = IcmpSocket::open(family, options.ttl)?;
    let data = vec![0; options.size as usize];
    // A new number each time: a raw socket also receives late answers to the request before.
    let seq = ONCE.fetch_add(1, Ordering::Relaxed);
    let cannot = |error: io::Error| ToolError::of(format!("cannot ping {}", to.ip()), &error, Doing::Connect);
    let began = Instant::now();
    if let Err(error) = socket.send(to, seq, &data) {
        return Ok(EchoResult::IcmpError(format!("this machine: {}", trouble(to, &error).name)));
    }
    loop {
        let left = options.wait.saturating_sub(began.elapsed());
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        match stop.wait(&mut fds, Some(left)).map_err(cannot)? {
            Some(stopped) => return Ok(EchoResult::Stopped(stopped)),
            None if left.is_zero() => return Ok(EchoResult::Silent),
            None => {}
        }
        match socket.receive().map_err(cannot)? {
            Some(Received::Reply { seq: of, .. }) if of != seq => {}
            Some(Received::Error(IcmpError { seq: Some(of), .. })) if of != seq => {}
            Some(Received::Reply { waited, .. }) => return Ok(EchoResult::Reply(flight(began, waited))),
            Some(Received::Error(refused)) => {
                let from = refused.from.map_or_else(|| "this machine".to_owned(), |from| from.to_string());
                let said = match refused.kind {
                    Some(kind) => format!("{} ({kind})", family.name_of(kind)),
                    None => trouble(to, &io::Error::from_raw_os_error(refused.errno)).name.into_owned(),
                };
                return Ok(EchoResult::IcmpError(format!("{from}: {said}")));
            }
            None => {}
        }
    }
}
