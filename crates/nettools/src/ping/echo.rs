//! Ping by ICMP: echo requests out at their times, answers and errors in as they come, each of them told.
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
use super::socket::{Came, IcmpSocket, Refused, Way};
use super::tally::{Summary, Tally};
use super::told::{Answered, Begins, Lost, Unreached, us};
use super::{Asked, family};
use crate::connect::trouble;
use crate::failure::Outcome;
use crate::{Failure, Report, Stop, Stopped, Verdict};

/// Probes that are remembered after they were sent, so that a late answer and a duplicate are known for what they are:
/// 8192, eight seconds of the quickest ping. At most half of what a sequence number tells apart.
const REMEMBERED_MAX: usize = 1 << 13;

/// Answers and errors that are taken in one go.
const TAKEN_MAX: usize = 256;

/// A probe that was sent.
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

/// One ping under way.
struct Ping<'a> {
    asked: &'a Asked,
    to: SocketAddr,
    family: Family,
    socket: IcmpSocket,
    report: &'a Report,
    /// What every request carries.
    data: Vec<u8>,
    /// The last ones that were sent; the newest has the number `tally.sent`.
    probes: VecDeque<Probe>,
    tally: Tally,
    /// Errors of ICMP's by kind, and from whom the last of each came.
    errors: BTreeMap<Kind, u64>,
    /// Why this machine could not send, the last time that it could not.
    own: Option<Trouble>,
}

/// Pings this address.
pub(super) fn run(asked: &Asked, to: SocketAddr, report: &Report, stop: &Stop) -> Outcome {
    let family = family(to.ip());
    let socket = IcmpSocket::open(family, asked.ttl)?;
    report.explain(|| match socket.way {
        Way::Datagram => {
            "socket(SOCK_DGRAM, ICMP): allowed by net.ipv4.ping_group_range, no root needed; the kernel \
                          chooses the identifier and gives us only our own answers"
                .to_owned()
        }
        Way::Raw => {
            "socket(SOCK_RAW, ICMP): net.ipv4.ping_group_range allows no datagram socket, and we may open a \
                     raw one; it sees all ICMP of this machine, and we choose ours by the identifier"
                .to_owned()
        }
    })?;
    report.explain(|| {
        match socket.stamps {
            true => "SO_TIMESTAMPNS is set: the kernel notes when an answer comes, and our own time is in no round trip",
            false => "no SO_TIMESTAMPNS: round trips end when this program reads the answer, a little late",
        }
        .to_owned()
    })?;
    report.explain(|| {
        "IP_RECVERR is set: what routers say about our packets waits in the socket's error queue".to_owned()
    })?;
    report.tell(&Begins {
        host: asked.host.clone(),
        address: to.ip(),
        family: family.name(),
        socket: socket.way,
        size: asked.size,
        ttl: asked.ttl,
    })?;
    let data = (0..asked.size).map(|n| n as u8).collect();
    let tally = Tally::new("ICMP");
    let probes = VecDeque::new();
    let mut ping =
        Ping { asked, to, family, socket, report, data, probes, tally, errors: BTreeMap::new(), own: None };
    let stopped = ping.turn(stop)?;
    let summary = ping.tally.summary();
    report.tell(&summary)?;
    if let Some(text) = ping.meaning(&summary) {
        report.means(&text)?;
    }
    Ok(verdict(asked, summary.sent, &summary, stopped))
}

/// As `ping` has it: see `super::run`.
pub(super) fn verdict(asked: &Asked, sent: u64, summary: &Summary, stopped: Option<Stopped>) -> Verdict {
    match (summary.received, stopped, asked.count) {
        (_, Some(Stopped::TimedOut), Some(count)) if sent < count || summary.pending > 0 => Verdict::TimedOut,
        (0, Some(Stopped::TimedOut), None) => Verdict::TimedOut,
        (0, ..) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

impl Ping<'_> {
    /// Until all are sent and decided, or the tool ends.
    fn turn(&mut self, stop: &Stop) -> Result<Option<Stopped>, Failure> {
        let mut next = Instant::now();
        loop {
            let may_send = self.asked.count.is_none_or(|count| self.tally.sent < count);
            let now = Instant::now();
            if may_send && now >= next {
                self.send()?;
                // Who could not keep up does not send a burst.
                next = (next + self.asked.interval).max(now);
                continue;
            }
            self.give_up(now)?;
            let oldest = self.probes.iter().find(|probe| probe.state == State::Waiting);
            let gives_up = oldest.map(|probe| probe.sent + self.asked.wait);
            let wake = match (may_send.then_some(next), gives_up) {
                (None, None) => return Ok(None),
                (one, other) => one.into_iter().chain(other).min(),
            };
            let wait = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let stopped = stop.wait(&mut fds, wait).map_err(|error| self.cannot("wait for", &error))?;
            // What came in the same moment is not lost.
            self.take()?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.tally.sent += 1;
        let seq = self.tally.sent;
        self.report.explain(|| {
            format!(
                "sends {} ({}), seq {seq}",
                self.family.name_of(self.family.echo_request()),
                self.family.echo_request()
            )
        })?;
        if self.probes.len() == REMEMBERED_MAX {
            self.probes.pop_front();
        }
        let sent = Instant::now();
        self.probes.push_back(Probe { sent, state: State::Waiting });
        // On the wire a sequence number has 16 bits.
        let Err(error) = self.socket.send(self.to, seq as u16, &self.data) else { return Ok(()) };
        // What the network said about earlier ones is told as theirs.
        self.take()?;
        if let Some(probe) = self.probes.back_mut() {
            probe.state = State::Failed;
        }
        self.tally.errors += 1;
        let trouble = trouble(self.to, &error);
        let name = trouble.name.clone().into_owned();
        self.own = Some(trouble);
        let (seq, kind) = (Some(seq), None);
        self.report.tell(&Unreached { seq, from: None, kind, name, mtu: None, time_us: None, time: None })?;
        Ok(())
    }

    /// What has come, as far as one go takes it: a flood ends neither the sending nor the tool's end.
    fn take(&mut self) -> Result<(), Failure> {
        for _ in 0..TAKEN_MAX {
            match self.socket.receive() {
                Ok(None) => break,
                Ok(Some(Came::Reply { seq, from, ttl, data, waited })) => {
                    self.replied(seq, from, ttl, &data, waited)?;
                }
                Ok(Some(Came::Error(refused))) => self.refused(&refused)?,
                Err(error) => return Err(self.cannot("receive from", &error)),
            }
        }
        Ok(())
    }

    /// Which probe has this number on the wire: its number, and its place in `probes`.
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
        self.report.tell(&Answered {
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

    fn refused(&mut self, refused: &Refused) -> io::Result<()> {
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
        self.report.tell(&Unreached {
            seq: found.map(|(seq, _)| seq),
            from: refused.from,
            kind: refused.kind,
            name,
            mtu: refused.mtu,
            time_us: time.map(us),
            time,
        })
    }

    /// Those that were sent too long ago.
    fn give_up(&mut self, now: Instant) -> io::Result<()> {
        let first = self.tally.sent + 1 - self.probes.len() as u64;
        for (place, probe) in self.probes.iter_mut().enumerate() {
            let waited = now.saturating_duration_since(probe.sent);
            if waited < self.asked.wait {
                break;
            }
            if probe.state == State::Waiting {
                probe.state = State::Lost;
                self.tally.lost += 1;
                let waited = self.asked.wait;
                self.report.tell(&Lost { seq: first + place as u64, waited_us: us(waited), waited })?;
            }
        }
        Ok(())
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Failure {
        Failure::of(format!("cannot {what} {}", self.to.ip()), error, Doing::Read)
    }

    /// What it means when not all is well.
    fn meaning(&self, summary: &Summary) -> Option<String> {
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
            return Some(format!("this machine does not even send it: {trouble}{advice}"));
        }
        if summary.duplicates > 0 {
            return Some(
                "answers came more than once: two hosts have this address, or a switch repeats packets"
                    .to_owned(),
            );
        }
        match (summary.received, summary.lost) {
            (_, 0) => None,
            (0, _) => Some(
                "nothing came back, not even an error: the host is off, or a firewall swallows echo requests. \
                 --tcp PORT tells whether a program there answers all the same"
                    .to_owned(),
            ),
            _ => Some(
                "some were lost: a cable, a radio or a full queue on the way drops packets, or the host answers only \
                 so many a second. TCP sends such again, and is slower for it"
                    .to_owned(),
            ),
        }
    }
}

/// From sending to the kernel's note of the answer. Flight is measured by the clock that nobody sets; only what lay in the
/// queue meanwhile is the other's, and cannot be longer than all of it.
fn flight(sent: Instant, waited: Duration) -> Duration {
    let all = sent.elapsed();
    all.checked_sub(waited).unwrap_or(all)
}

/// What came of one echo request.
pub(crate) enum Once {
    /// In this time.
    Answered(Duration),
    Silent,
    /// Who said what, as people read it.
    Refused(String),
    Stopped(Stopped),
}

/// The number of the next single echo request.
static ONCE: AtomicU16 = AtomicU16::new(1);

/// One echo request and what comes of it, for who measures the layers above. Nothing is told.
pub(super) fn once(asked: &Asked, to: SocketAddr, stop: &Stop) -> Result<Once, Failure> {
    let family = family(to.ip());
    let mut socket = IcmpSocket::open(family, asked.ttl)?;
    let data = vec![0; asked.size as usize];
    // A raw socket hears late answers to the one before it as well.
    let seq = ONCE.fetch_add(1, Ordering::Relaxed);
    let cannot = |error: io::Error| Failure::of(format!("cannot ping {}", to.ip()), &error, Doing::Connect);
    let began = Instant::now();
    if let Err(error) = socket.send(to, seq, &data) {
        return Ok(Once::Refused(format!("this machine: {}", trouble(to, &error).name)));
    }
    loop {
        let left = asked.wait.saturating_sub(began.elapsed());
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        match stop.wait(&mut fds, Some(left)).map_err(cannot)? {
            Some(stopped) => return Ok(Once::Stopped(stopped)),
            None if left.is_zero() => return Ok(Once::Silent),
            None => {}
        }
        match socket.receive().map_err(cannot)? {
            Some(Came::Reply { seq: of, .. }) if of != seq => {}
            Some(Came::Error(Refused { seq: Some(of), .. })) if of != seq => {}
            Some(Came::Reply { waited, .. }) => return Ok(Once::Answered(flight(began, waited))),
            Some(Came::Error(refused)) => {
                let from = refused.from.map_or_else(|| "this machine".to_owned(), |from| from.to_string());
                let said = match refused.kind {
                    Some(kind) => format!("{} ({kind})", family.name_of(kind)),
                    None => trouble(to, &io::Error::from_raw_os_error(refused.errno)).name.into_owned(),
                };
                return Ok(Once::Refused(format!("{from}: {said}")));
            }
            None => {}
        }
    }
}
