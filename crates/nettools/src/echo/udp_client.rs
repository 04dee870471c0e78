//! The client over UDP. Numbered datagrams show what the network does: loss, duplicates, reordering, and jitter (RFC 3550,
//! 6.4.1 and A.8, over the round trip). Texts are sent unchanged, each after the answer to the one before.

mod track; // tracks numbered datagrams

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::Doing;

use self::track::{DatagramSummary, Track};
use super::client_records::{ConnectionFailed, MessageBack, Mismatch};
use super::content::Content;
use super::group::{self, is_for_several};
use super::measure::{Progress, Tally};
use super::peer::{BUFFER, NARRATED_MAX};
use super::plan::{EchoSendOptions, Plan};
use super::udp_group;
use crate::destination::Destination;
use crate::error::{Outcome, ToolError, explain};
use crate::{Report, Stop, Stopped, Verdict, quoted};

/// Default datagrams per second.
const USUAL_RATE: f64 = 100.0;

/// Default bytes of a datagram.
const USUAL_BYTES: u64 = 64;

/// Most bytes of a datagram in IPv4.
const BYTES_MAX: u64 = 65_507;

/// Bytes of the number at the beginning, big-endian.
const NUMBER: usize = 8;

/// A datagram without an answer after this time is lost.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Time to wait for duplicates when everything is back.
const TWICE_WAIT: Duration = Duration::from_millis(50);

/// Datagrams sent in a row before receiving.
const BURST: usize = 32;

pub(super) fn run(
    options: &EchoSendOptions,
    plan: &Plan,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Outcome {
    let numbers =
        options.bytes.is_some() || options.count.is_some() || plan.rate.is_some() || plan.duration.is_some();
    let len = options.bytes.unwrap_or(USUAL_BYTES);
    if numbers && !(NUMBER as u64..=BYTES_MAX).contains(&len) {
        return Err(ToolError::Usage(format!(
            "--bytes for UDP is from {NUMBER} (the number) to {BYTES_MAX} (the maximum of IP), not {len}"
        )));
    }
    let Some(found) = Destination::resolve(&options.to, stop)? else {
        report.record(&DatagramSummary::default())?;
        return Ok(Verdict::Bad);
    };
    let mut addresses = found.iter().filter_map(|found| found.address.as_socket());
    let address = addresses.next();
    let address = address.ok_or_else(|| ToolError::Usage(format!("{} has no address", options.to)))?;
    let other = addresses.next();
    if !address.ip().is_multicast() && (options.group.ttl.is_some() || options.interface.is_some()) {
        let text =
            format!("--ttl and --interface are for multicast, and {} is no multicast group", address.ip());
        return Err(ToolError::Usage(text));
    }
    if options.group.broadcast || is_for_several(address.ip()) {
        if numbers {
            let text = "a group answers several times for one datagram: --bytes, --count, --rate and --duration need the address \
                        of one host";
            return Err(ToolError::Usage(text.to_owned()));
        }
        let interface = options.interface.as_deref();
        return udp_group::run(address, &options.messages, options.group, interface, report, stop);
    }
    let socket = open(address).map_err(|error| ToolError::System {
        doing: format!("cannot send to {address}"),
        trouble: group::explain(&error, address, None, Doing::Connect),
    })?;
    report.explain(|| {
        format!("socket, connect to {address}: for UDP this only sets the destination; nothing is sent")
    })?;
    let client = Client { address, other, socket, report, stop };
    let outcome = match numbers {
        true => client.numbers(plan, len, watch),
        false => client.texts(plan),
    };
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => ToolError::Output(error),
        _ => ToolError::of(format!("cannot send to {address}"), &error, Doing::Write),
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
    /// Another address of the name. It is not tried, because UDP does not show which of them has a server.
    other: Option<SocketAddr>,
    socket: UdpSocket,
    report: &'a Report,
    stop: &'a Stop,
}

impl Client<'_> {
    /// Waits for a datagram. Inner `Err`: stopped.
    fn readable(&self, time: Duration) -> io::Result<Result<bool, Stopped>> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(match self.stop.wait(&mut fds, Some(time))? {
            Some(stopped) => Err(stopped),
            None => Ok(!fds[0].revents().is_empty()),
        })
    }

    /// Sends each text after the answer to the one before.
    fn texts(&self, plan: &Plan) -> io::Result<Verdict> {
        let (mut summary, mut buffer) = (DatagramSummary::default(), vec![0; BUFFER]);
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
                    let text = MessageBack::text_of(content);
                    let bytes = content.len;
                    self.report.record(&MessageBack {
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

    /// Waits for the answer to this message.
    fn answer(
        &self,
        number: u64,
        content: &Content,
        buffer: &mut [u8],
        summary: &mut DatagramSummary,
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
                    self.report.record(&Mismatch { connection: 1, message: number, byte: 0, sent, came })?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.connection_error(&error)?;
                    return Ok(Ok(false));
                }
            }
        }
    }

    fn narrate(&self, what: &str, bytes: &[u8]) -> io::Result<()> {
        self.report.explain(|| {
            format!("{what}: a whole datagram of {} bytes: {}", bytes.len(), quoted(bytes, NARRATED_MAX))
        })
    }

    fn connection_error(&self, error: &io::Error) -> io::Result<()> {
        let trouble = explain(error, Doing::Read);
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{}: no program listens on this port (ICMP port unreachable)", self.address)
            }
            _ => trouble.to_string(),
        };
        self.report.record(&ConnectionFailed { connection: 1, why, advice: trouble.advice.to_owned() })?;
        match self.other {
            Some(other) => self.report.means(&format!(
                "the name also has the address {other}, and the server can listen on only one of them. UDP does not try the \
                 next address: give the address itself"
            )),
            None => Ok(()),
        }
    }

    /// Sends numbered datagrams on a schedule.
    fn numbers(&self, plan: &Plan, len: u64, watch: &mut dyn FnMut(&Progress)) -> io::Result<Verdict> {
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
                    // An ICMP error of an earlier one; this one was not sent.
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
                watch(&Progress { elapsed, length, messages, bytes, connections: 1, over: false });
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
                        // Duplicates do not extend the wait.
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
        watch(&Progress { elapsed, length: None, messages: 0, bytes: 0, connections: 0, over: true });
        if refused {
            self.connection_error(&io::ErrorKind::ConnectionRefused.into())?;
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

    fn verdict(&self, mut summary: DatagramSummary, stopped: Option<Stopped>) -> io::Result<Verdict> {
        summary.lost = summary.sent.saturating_sub(summary.back);
        summary.lost_percent = summary.lost as f64 * 100.0 / summary.sent.max(1) as f64;
        self.report.record(&summary)?;
        for (count, text) in [
            (
                summary.lost,
                "UDP does not guarantee delivery: datagrams are lost on the way, in a full receive queue, or by the server. \
                 Use a lower --rate to test whether it is the queue",
            ),
            (
                summary.duplicated,
                "a device on the way, or the server, duplicates datagrams: programs over UDP must handle that",
            ),
            (
                summary.reordered,
                "datagrams arrive in another order: programs over UDP must number them, as this one does",
            ),
            (
                summary.wrong,
                "the answers were not sent from here: not an echo server, or a device changes datagrams",
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

/// The number of a datagram that came back for the first time, and its round trip.
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
