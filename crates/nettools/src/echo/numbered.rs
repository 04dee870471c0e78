//! The client over UDP: no connection, so every datagram that went out is a question of its own. Numbered ones tell what
//! a network does to them: lost, doubled, overtaken, and how evenly they come (jitter of RFC 3550, 6.4.1 and A.8, over
//! the way there and back). Texts go out as they are, each after the answer to the one before.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::failure::explain;
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use vang_client::trouble::Doing;

use super::content::Content;
use super::measure::{Percentiles, Standing, Tally};
use super::peer::BUFFER;
use super::place::Address;
use super::send::{Asked, Back, Broken, Plan, Wrong};
use crate::failure::{Failure, Outcome};
use crate::{Record, Report, Stop, Stopped, Verdict, duration, quoted, size};

/// Datagrams a second, unless somebody says how many.
const USUAL_RATE: f64 = 100.0;

/// Bytes of one, unless somebody says how many.
const USUAL_BYTES: u64 = 64;

/// What IPv4 can carry.
const BYTES_MAX: u64 = 65_507;

/// The number in front, big-endian.
const NUMBER: usize = 8;

/// What has not come after this time is lost.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// When everything is back, for what comes twice.
const TWICE_WAIT: Duration = Duration::from_millis(50);

/// Numbers that are remembered: what is older than these counts as lost.
const WINDOW: u64 = 1 << 16;

/// Sent one after the other before looking at what came.
const BURST: usize = 32;

/// What came of datagrams: each once and in order, or not.
#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    sent: u64,
    back: u64,
    lost: u64,
    lost_percent: f64,
    duplicated: u64,
    reordered: u64,
    /// Came, and was none of ours.
    wrong: u64,
    /// The kernel did not take them: its queue was full.
    unsent: u64,
    jitter_us: f64,
    bytes: u64,
    took_us: u64,
    wait: Option<Percentiles>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.sent == 1 { "" } else { "s" };
        write!(f, "{} datagram{plural} sent, {} came back: {}", self.sent, self.back, size(self.bytes))?;
        write!(f, " in {}; ", duration(Duration::from_micros(self.took_us)))?;
        write!(f, "{} lost ({:.1} %), {} duplicated, ", self.lost, self.lost_percent, self.duplicated)?;
        write!(f, "{} reordered", self.reordered)?;
        for (count, what) in
            [(self.wrong, "changed on the way"), (self.unsent, "not taken by our own kernel")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let Some(wait) = self.wait.filter(|_| self.back > 1) else { return Ok(()) };
        write!(f, "; jitter {}\nwait: {wait}", duration(Duration::from_nanos((self.jitter_us * 1e3) as u64)))
    }
}

/// Who came, by number.
struct Track {
    /// The number after the greatest that came.
    next: u64,
    /// Of the last `WINDOW` numbers: when each was sent, and whether it came.
    sent_at: Vec<Option<Instant>>,
    came: Vec<bool>,
    last_transit: Option<f64>,
    /// Seconds.
    jitter: f64,
    summary: Summary,
}

impl Track {
    fn new() -> Track {
        let (sent_at, came) = (vec![None; WINDOW as usize], vec![false; WINDOW as usize]);
        Track { next: 0, sent_at, came, last_transit: None, jitter: 0.0, summary: Summary::default() }
    }

    fn sent(&mut self, number: u64, now: Instant) {
        let slot = (number % WINDOW) as usize;
        (self.sent_at[slot], self.came[slot]) = (Some(now), false);
        self.summary.sent += 1;
    }

    /// One came; `Some`: for the first time, after this wait.
    fn came(&mut self, number: u64, now: Instant) -> Option<Duration> {
        if number >= self.summary.sent || number + WINDOW < self.summary.sent {
            self.summary.wrong += u64::from(number >= self.summary.sent);
            return None;
        }
        let slot = (number % WINDOW) as usize;
        let wait = now.saturating_duration_since(self.sent_at[slot]?);
        if std::mem::replace(&mut self.came[slot], true) {
            self.summary.duplicated += 1;
            return None;
        }
        self.summary.back += 1;
        // RFC 4737: overtaken is what comes after one that was sent later.
        if number < self.next {
            self.summary.reordered += 1;
        }
        self.next = self.next.max(number + 1);
        let transit = wait.as_secs_f64();
        if let Some(last) = self.last_transit.replace(transit) {
            self.jitter += ((transit - last).abs() - self.jitter) / 16.0;
        }
        Some(wait)
    }
}

pub(super) fn run(
    asked: &Asked,
    plan: &Plan,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Standing),
) -> Outcome {
    let numbers =
        asked.bytes.is_some() || asked.count.is_some() || plan.rate.is_some() || plan.duration.is_some();
    let len = asked.bytes.unwrap_or(USUAL_BYTES);
    if numbers && !(NUMBER as u64..=BYTES_MAX).contains(&len) {
        return Err(Failure::Usage(format!(
            "a numbered datagram has from {NUMBER} bytes, its number, to {BYTES_MAX}, what IP carries; not {len}"
        )));
    }
    let found = Address::of_all(&asked.to)?;
    let address = found.first().and_then(|found| found.address.as_socket());
    let address = address.ok_or_else(|| Failure::Usage(format!("{} has no address", asked.to)))?;
    let socket = open(address)
        .map_err(|error| Failure::of(format!("cannot send to {address}"), &error, Doing::Connect))?;
    report.explain(|| {
        format!("socket, connect to {address}: for UDP only a note whom we mean; nothing is sent yet")
    })?;
    let client = Client { address, socket, report, stop };
    let outcome = match numbers {
        true => client.numbers(plan, len, watch),
        false => client.texts(plan),
    };
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Untold(error),
        _ => Failure::of(format!("cannot send to {address}"), &error, Doing::Write),
    })
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Client<'a> {
    address: SocketAddr,
    socket: UdpSocket,
    report: &'a Report,
    stop: &'a Stop,
}

impl Client<'_> {
    /// Waits for a datagram. Outer `Err`: the end.
    fn readable(&self, time: Duration) -> io::Result<Result<bool, Stopped>> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(match self.stop.wait(&mut fds, Some(time))? {
            Some(stopped) => Err(stopped),
            None => Ok(!fds[0].revents().is_empty()),
        })
    }

    /// Each text, when the one before is back.
    fn texts(&self, plan: &Plan) -> io::Result<Verdict> {
        let (mut summary, mut buffer) = (Summary::default(), vec![0; BUFFER]);
        let began = Instant::now();
        let mut tally = Tally::new(began);
        let mut stopped = None;
        for (number, content) in (1..).zip(&plan.contents) {
            let sent_at = Instant::now();
            self.socket.send(content.from(0))?;
            summary.sent += 1;
            match self.answer(number, content, &mut buffer, &mut summary)? {
                Err(why) => {
                    stopped = Some(why);
                    break;
                }
                Ok(false) => {}
                Ok(true) => {
                    let now = Instant::now();
                    summary.back += 1;
                    summary.bytes += content.len;
                    tally.message(sent_at, sent_at, now);
                    let took_us = now.saturating_duration_since(sent_at).as_micros() as u64;
                    let text = Back::text_of(content);
                    let bytes = content.len;
                    self.report.tell(&Back {
                        connection: 1,
                        message: number,
                        bytes,
                        text,
                        took_us,
                        alone: true,
                    })?;
                }
            }
        }
        summary.took_us = began.elapsed().as_micros() as u64;
        summary.wait = tally.waits.percentiles();
        self.verdict(summary, stopped)
    }

    /// Did this one come back in time?
    fn answer(
        &self,
        number: u64,
        content: &Content,
        buffer: &mut [u8],
        summary: &mut Summary,
    ) -> io::Result<Result<bool, Stopped>> {
        let until = Instant::now() + ANSWER_WAIT;
        loop {
            match self.readable(until.saturating_duration_since(Instant::now()))? {
                Err(stopped) => return Ok(Err(stopped)),
                Ok(false) => return Ok(Ok(false)),
                Ok(true) => {}
            }
            match self.socket.recv(buffer) {
                Ok(len) if len as u64 == content.len && content.differs(0, &buffer[..len]).is_none() => {
                    return Ok(Ok(true));
                }
                Ok(len) => {
                    summary.wrong += 1;
                    let (sent, came) = (quoted(content.from(0), 32), quoted(&buffer[..len], 32));
                    self.report.tell(&Wrong { connection: 1, message: number, byte: 0, sent, came })?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.broke(&error)?;
                    return Ok(Ok(false));
                }
            }
        }
    }

    fn broke(&self, error: &io::Error) -> io::Result<()> {
        let trouble = explain(error, Doing::Read);
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!(
                    "{}: its machine says that nobody listens there (ICMP port unreachable)",
                    self.address
                )
            }
            _ => trouble.to_string(),
        };
        self.report.tell(&Broken { connection: 1, why, advice: trouble.advice.to_owned() })
    }

    /// Numbered ones on a timetable.
    fn numbers(&self, plan: &Plan, len: u64, watch: &mut dyn FnMut(&Standing)) -> io::Result<Verdict> {
        let rate = plan.rate.unwrap_or(USUAL_RATE);
        let content = Content::pattern(len);
        let (mut datagram, mut buffer) =
            (content.from(0)[..len.min(65_521) as usize].to_vec(), vec![0; BUFFER]);
        let began = Instant::now();
        let (mut tally, mut track) = (Tally::new(began), Track::new());
        let total = plan.total.unwrap_or(u64::MAX);
        let ends = plan.duration.map(|duration| began + duration);
        let due = |number: u64| began + Duration::from_secs_f64(number as f64 / rate);
        let (mut last, mut refused, mut next_watch) = (began, false, began);
        let stopped = loop {
            let goes_on =
                |track: &Track, now| track.summary.sent < total && ends.is_none_or(|ends| now < ends);
            for _ in 0..BURST {
                let now = Instant::now();
                let number = track.summary.sent;
                if !goes_on(&track, now) || due(number) > now {
                    break;
                }
                datagram[..NUMBER].copy_from_slice(&number.to_be_bytes());
                track.sent(number, now);
                last = now;
                match self.socket.send(&datagram) {
                    Ok(_) => {}
                    // It stands for an earlier one; this one was not sent.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => track.summary.unsent += 1,
                    Err(error) => return Err(error),
                }
            }
            let now = Instant::now();
            let until = match goes_on(&track, now) {
                true => due(track.summary.sent),
                false if track.summary.back == track.summary.sent => last + TWICE_WAIT,
                false => last + ANSWER_WAIT,
            };
            if !goes_on(&track, now) && now >= until {
                break None;
            }
            if now >= next_watch {
                next_watch = now + Duration::from_millis(200);
                let (elapsed, length) = (now.saturating_duration_since(began), plan.duration);
                let (messages, bytes) = (tally.messages, tally.bytes);
                watch(&Standing { elapsed, length, messages, bytes, connections: 1, over: false });
            }
            let wait = until.saturating_duration_since(now).min(Duration::from_millis(200));
            if let Err(stopped) = self.readable(wait)? {
                break Some(stopped);
            }
            for _ in 0..BURST {
                match self.socket.recv(&mut buffer) {
                    Ok(read) => {
                        let now = Instant::now();
                        last = now;
                        take(&mut track, &mut tally, &content, &buffer[..read], now);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused = true,
                    Err(error) => return Err(error),
                }
            }
        };
        let elapsed = began.elapsed();
        watch(&Standing { elapsed, length: None, messages: 0, bytes: 0, connections: 0, over: true });
        if refused {
            self.broke(&io::ErrorKind::ConnectionRefused.into())?;
        }
        let mut summary = std::mem::take(&mut track.summary);
        summary.bytes = tally.bytes;
        summary.took_us = last.saturating_duration_since(began).as_micros() as u64;
        summary.jitter_us = track.jitter * 1e6;
        summary.wait = tally.waits.percentiles();
        let verdict = self.verdict(summary, stopped)?;
        if tally.messages >= 100 {
            tally.draw(self.report)?;
        }
        Ok(verdict)
    }

    fn verdict(&self, mut summary: Summary, stopped: Option<Stopped>) -> io::Result<Verdict> {
        summary.lost = summary.sent.saturating_sub(summary.back);
        summary.lost_percent = summary.lost as f64 * 100.0 / summary.sent.max(1) as f64;
        self.report.tell(&summary)?;
        for (count, text) in [
            (
                summary.lost,
                "UDP promises nothing: a datagram is lost on the way, in a receive queue that is full, or by the \
                 server. A lower --rate tells whether it is the queue",
            ),
            (
                summary.duplicated,
                "something on the way, or the server, answers twice: programs over UDP must bear it",
            ),
            (
                summary.reordered,
                "datagrams overtake each other: programs over UDP number them, as this one does",
            ),
            (
                summary.wrong,
                "what came was not sent from here: no echo server, or something changes datagrams",
            ),
        ] {
            if count > 0 {
                self.report.means(text)?;
            }
        }
        let bad = summary.lost + summary.duplicated + summary.reordered + summary.wrong > 0;
        Ok(match stopped {
            Some(Stopped::TimedOut) => Verdict::TimedOut,
            _ if bad => Verdict::Bad,
            _ => Verdict::Good,
        })
    }
}

fn take(track: &mut Track, tally: &mut Tally, content: &Content, came: &[u8], now: Instant) {
    let number = came.first_chunk::<NUMBER>().map(|number| u64::from_be_bytes(*number));
    let is_whole = came.len() as u64 == content.len;
    let Some(number) =
        number.filter(|_| is_whole && content.differs(NUMBER as u64, &came[NUMBER..]).is_none())
    else {
        track.summary.wrong += 1;
        return;
    };
    if let Some(wait) = track.came(number, now) {
        tally.bytes(came.len() as u64, now);
        let sent = now.checked_sub(wait).unwrap_or(now);
        tally.message(sent, sent, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_what_was_lost_doubled_and_overtaken() {
        let mut track = Track::new();
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        for number in 0..6 {
            track.sent(number, at(number));
        }
        // 3 is lost, 1 comes twice, 2 after 4.
        for (number, ms) in [(0, 10), (1, 11), (1, 11), (4, 14), (2, 15), (5, 16)] {
            track.came(number, at(ms));
        }
        let summary = &track.summary;
        assert_eq!((summary.back, summary.duplicated, summary.reordered, summary.wrong), (5, 1, 1, 0));
        // One that was never sent.
        assert_eq!(track.came(6, at(20)), None);
        assert_eq!(track.summary.wrong, 1);
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut track = Track::new();
        let began = Instant::now();
        // Transits of 10, 26, 10 ms: J = 16/16 = 1 ms, then 1 + (16 - 1)/16.
        for (number, transit) in [(0, 10), (1, 26), (2, 10)] {
            let sent = began + Duration::from_millis(number * 100);
            track.sent(number, sent);
            track.came(number, sent + Duration::from_millis(transit));
        }
        assert!((track.jitter - 0.001_937_5).abs() < 1e-9, "{}", track.jitter);
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_many_numbers_take_no_more_memory() {
        let mut track = Track::new();
        let began = Instant::now();
        for number in 0..3 * WINDOW {
            let sent = began + Duration::from_micros(number);
            track.sent(number, sent);
            track.came(number, sent + Duration::from_micros(40));
        }
        assert_eq!((track.summary.back, track.summary.duplicated), (3 * WINDOW, 0));
        assert!(track.jitter < 1e-9);
    }
}
