//! The client over UDP: no connection, so every datagram that went out is a question of its own. Numbered ones tell what
//! a network does to them: lost, doubled, overtaken, and how evenly they come (jitter of RFC 3550, 6.4.1 and A.8, over
//! the way there and back). Texts go out as they are, each after the answer to the one before.

mod track; // which numbers came back

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::Doing;

use self::track::{Summary, Track};
use super::content::Content;
use super::measure::{Standing, Tally};
use super::peer::{BUFFER, NARRATED_MAX};
use super::send::{Asked, Back, Broken, Plan, Wrong};
use crate::connect::trouble;
use crate::failure::{Failure, Outcome, explain};
use crate::place::Address;
use crate::{Report, Stop, Stopped, Verdict, quoted};

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

/// Sent one after the other before looking at what came.
const BURST: usize = 32;

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
    let Some(found) = Address::of_all(&asked.to, stop)? else {
        report.tell(&Summary::default())?;
        return Ok(Verdict::Bad);
    };
    let mut addresses = found.iter().filter_map(|found| found.address.as_socket());
    let address = addresses.next();
    let address = address.ok_or_else(|| Failure::Usage(format!("{} has no address", asked.to)))?;
    let other = addresses.next();
    let socket = open(address).map_err(|error| Failure::System {
        doing: format!("cannot send to {address}"),
        trouble: trouble(address, &error),
    })?;
    report.explain(|| {
        format!("socket, connect to {address}: for UDP only a note whom we mean; nothing is sent yet")
    })?;
    let client = Client { address, other, socket, report, stop };
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
    /// Another that the name stands for. It is not tried: only a connection would tell which of them serves.
    other: Option<SocketAddr>,
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
            self.narrate("send", content.from(0))?;
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
                    self.narrate("readable: recv", &buffer[..len])?;
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

    fn narrate(&self, what: &str, bytes: &[u8]) -> io::Result<()> {
        self.report.explain(|| {
            format!("{what}: a datagram of {} bytes, whole: {}", bytes.len(), quoted(bytes, NARRATED_MAX))
        })
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
        self.report.tell(&Broken { connection: 1, why, advice: trouble.advice.to_owned() })?;
        match self.other {
            Some(other) => self.report.means(&format!(
                "the name stands for {other} too, and a server may listen at one of them only: nobody tries the next \
                 where nothing is connected. Give the address itself"
            )),
            None => Ok(()),
        }
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
                    Ok(_) => self.narrate("send", &datagram)?,
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
                        self.narrate("readable: recv", &buffer[..read])?;
                        // Whoever repeats himself keeps nobody waiting.
                        if let Some((number, wait)) = take(&mut track, &content, &buffer[..read], now) {
                            last = now;
                            tally.bytes(read as u64, now);
                            tally.message(due(number), now.checked_sub(wait).unwrap_or(now), now);
                        }
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

/// The number of what came for the first time, and how long that took since it was sent.
fn take(track: &mut Track, content: &Content, came: &[u8], now: Instant) -> Option<(u64, Duration)> {
    let number = came.first_chunk::<NUMBER>().map(|number| u64::from_be_bytes(*number));
    let is_whole = came.len() as u64 == content.len;
    let Some(number) =
        number.filter(|_| is_whole && content.differs(NUMBER as u64, &came[NUMBER..]).is_none())
    else {
        track.summary.wrong += 1;
        return None;
    };
    track.came(number, now).map(|wait| (number, wait))
}
