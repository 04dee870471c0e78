//! The honest client beside a flood: a ping and a durable send, one connection and one request in flight
//! each, a request every 5 ms; and `/healthz` on a new connection every 100 ms. Every wait counts from
//! when the request was due, and what a wait held up counts as it would have waited
//! (`Histogram::record_correct`): a server that is silent for a second has not one slow answer but 200.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use vang_proto::vang::{Action, Incoming, incoming};
use vang_proto::{Decoder, Limits};

use crate::common::requests::{request, said};
use crate::floor;

const PERIOD: Duration = Duration::from_millis(5);
const HEALTH_PERIOD: Duration = Duration::from_millis(100);
/// What is asked before the time is over is waited for so much longer, under the same flood. Who watches
/// a server by `/healthz` waits as long.
const GRACE: Duration = Duration::from_secs(1);
/// How long a server may take to answer before the flood: it is not attacked, but may be busy with the one before.
const CONNECTS: Duration = Duration::from_secs(10);
/// A pause before a connection that was lost is made again.
const RETRY: Duration = Duration::from_millis(10);
/// Content of a durable send, bytes.
const CONTENT: usize = 100;

/// Makes ids: none is sent twice to one server, as the second would not be written.
static SENDS: AtomicU64 = AtomicU64::new(0);

/// Which server it talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Vang,
    Floor,
    Redis,
    Nats,
}

/// A server and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
}

/// How long one kind of request took.
pub(crate) struct Waits {
    /// µs.
    pub(crate) times: Histogram<u64>,
    /// Asked and not answered; their waits so far are among the times.
    pub(crate) unanswered: u64,
    /// Connections that the server ended.
    pub(crate) lost: u64,
    /// The first answer that was no yes.
    pub(crate) trouble: Option<String>,
}

/// What an honest client met.
pub(crate) struct Met {
    pub(crate) ping: Waits,
    /// A peer is asked for pings alone.
    pub(crate) send: Option<Waits>,
    /// vang alone has it.
    pub(crate) health: Option<Waits>,
}

/// The honest client, connected.
pub(crate) struct Honest {
    target: Target,
    ping: Client,
    /// A peer is asked for pings alone.
    send: Option<Client>,
}

impl Honest {
    /// Connects, and asks each once: it is there before the attackers come.
    pub(crate) fn connect(target: Target) -> Honest {
        let connected = |ask| {
            let mut client = Client::new(target, ask);
            // A server that does not answer now will be seen not to answer later.
            client.exchange(Instant::now() + CONNECTS);
            client
        };
        let sends = matches!(target.kind, Kind::Vang | Kind::Floor);
        Honest { target, ping: connected(Ask::Ping), send: sends.then(|| connected(Ask::Send)) }
    }

    /// Asks for so long.
    pub(crate) fn ask(self, time: Duration) -> Met {
        let Honest { target, ping, send } = self;
        let until = Instant::now() + time;
        std::thread::scope(|scope| {
            let ping = scope.spawn(move || ping.ask_until(until));
            let send = send.map(|send| scope.spawn(move || send.ask_until(until)));
            let health = (target.kind == Kind::Vang).then(|| scope.spawn(move || health(target.addr, until)));
            Met {
                ping: ping.join().expect("it does not panic"),
                send: send.map(|thread| thread.join().expect("it does not panic")),
                health: health.map(|thread| thread.join().expect("it does not panic")),
            }
        })
    }
}

/// Whether the server answers a ping on a new connection, within this time.
pub(crate) fn answers(target: Target, at_most: Duration) -> bool {
    let mut client = Client::new(target, Ask::Ping);
    client.exchange(Instant::now() + at_most)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Ping,
    Send,
}

struct Client {
    target: Target,
    ask: Ask,
    stream: Option<TcpStream>,
    decoder: Decoder,
    waits: Waits,
}

impl Waits {
    fn new() -> Waits {
        let times = Histogram::new(3).expect("three digits");
        Waits { times, unanswered: 0, lost: 0, trouble: None }
    }

    fn record(&mut self, wait: Duration, period: Duration) {
        let times = self.times.record_correct(wait.as_micros() as u64, period.as_micros() as u64);
        times.expect("it grows");
    }
}

/// What came of one try.
enum Tried {
    Yes,
    /// Not now: again after this time.
    Busy(Duration),
}

impl Client {
    fn new(target: Target, ask: Ask) -> Client {
        let decoder = Decoder::new(Limits::default());
        Client { target, ask, stream: None, decoder, waits: Waits::new() }
    }

    fn ask_until(mut self, until: Instant) -> Waits {
        let mut due = Instant::now();
        while due < until {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let is_answered = self.exchange(until + GRACE);
            self.waits.unanswered += u64::from(!is_answered);
            self.waits.record(due.elapsed(), PERIOD);
            // The timetable goes on from here: what was due meanwhile has been counted.
            due = (due + PERIOD).max(Instant::now());
        }
        self.waits
    }

    /// One request, until it is answered with yes; as an honest client tries again after `busy` and
    /// connects again when it was cut off.
    fn exchange(&mut self, until: Instant) -> bool {
        let frame = self.frame();
        while Instant::now() < until {
            match self.once(&frame, until) {
                Ok(Tried::Yes) => return true,
                Ok(Tried::Busy(pause)) => {
                    std::thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    // The answer may come yet; the next question must not take it for its own.
                    self.stream = None;
                    return false;
                }
                Err(error) => {
                    self.waits.lost += 1;
                    self.waits.trouble.get_or_insert_with(|| error.to_string());
                    self.stream = None;
                    std::thread::sleep(RETRY);
                }
            }
        }
        false
    }

    fn frame(&self) -> Vec<u8> {
        match (self.target.kind, self.ask) {
            (Kind::Vang, Ask::Ping) => request(&Action::Ping, Some("honest".to_owned())),
            (Kind::Vang, Ask::Send) => {
                let id = format!("honest-{}", SENDS.fetch_add(1, Ordering::Relaxed));
                request(&said("general", Some(&id), &[b'x'; CONTENT]), Some("honest".to_owned()))
            }
            (Kind::Floor, ask) => {
                let mut frame = if ask == Ask::Ping { floor::PING.to_vec() } else { floor::SEND.to_vec() };
                frame.resize(floor::FRAME, b'.');
                frame
            }
            (Kind::Redis | Kind::Nats, _) => b"PING\r\n".to_vec(),
        }
    }

    fn connect(&mut self, until: Instant) -> std::io::Result<()> {
        if self.stream.is_none() {
            let left = until.saturating_duration_since(Instant::now()).max(RETRY);
            let mut stream = TcpStream::connect_timeout(&self.target.addr, left)?;
            stream.set_nodelay(true)?;
            if self.target.kind == Kind::Nats {
                stream.write_all(b"CONNECT {\"verbose\":false}\r\n")?;
            }
            self.decoder = Decoder::new(Limits::default());
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Writes the request, and reads until its answer.
    fn once(&mut self, frame: &[u8], until: Instant) -> std::io::Result<Tried> {
        self.connect(until)?;
        let Some(stream) = &mut self.stream else { return Err(ErrorKind::NotConnected.into()) };
        stream.write_all(frame)?;
        let (mut scratch, mut got) = ([0; 4_096], Vec::new());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let n = match stream.read(&mut scratch)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => n,
            };
            match self.target.kind {
                Kind::Floor | Kind::Redis | Kind::Nats => {
                    got.extend_from_slice(&scratch[..n]);
                    let whole = match self.target.kind {
                        Kind::Floor => got.len() >= floor::FRAME,
                        _ => got.ends_with(b"PONG\r\n"),
                    };
                    if whole {
                        return Ok(Tried::Yes);
                    }
                }
                Kind::Vang => {
                    self.decoder.feed(&scratch[..n]);
                    let malformed = |_| std::io::Error::from(ErrorKind::InvalidData);
                    while let Some(frame) = self.decoder.poll_frame().map_err(malformed)? {
                        let Ok(Incoming::Reply(reply)) = incoming(frame) else { continue };
                        let Some(code) = &reply.code else { return Ok(Tried::Yes) };
                        self.waits.trouble.get_or_insert_with(|| format!("{code}: {}", reply.text));
                        let pause = reply.error_keys().retry_after.unwrap_or(1_000);
                        return Ok(Tried::Busy(Duration::from_millis(pause)));
                    }
                }
            }
        }
    }
}

/// `GET /healthz`, each time on a new connection; answered is 200 within the time that is waited.
fn health(addr: SocketAddr, until: Instant) -> Waits {
    let mut waits = Waits::new();
    while Instant::now() < until {
        let began = Instant::now();
        match healthy(addr) {
            Ok(answer) if answer.starts_with(b"HTTP/1.1 200") => {}
            Ok(answer) => {
                waits.unanswered += 1;
                let answer = String::from_utf8_lossy(&answer).lines().next().unwrap_or("nothing").to_owned();
                waits.trouble.get_or_insert(answer);
            }
            Err(error) => {
                waits.unanswered += 1;
                waits.trouble.get_or_insert_with(|| error.to_string());
            }
        }
        waits.times.record(began.elapsed().as_micros() as u64).expect("it grows");
        std::thread::sleep(HEALTH_PERIOD.saturating_sub(began.elapsed()));
    }
    waits
}

fn healthy(addr: SocketAddr) -> std::io::Result<Vec<u8>> {
    let until = Instant::now() + GRACE;
    let mut stream = TcpStream::connect_timeout(&addr, GRACE)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut scratch = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut scratch)? {
            0 => return Ok(answer),
            n => answer.extend_from_slice(&scratch[..n]),
        }
        if answer.ends_with(b"ok\n") {
            return Ok(answer);
        }
    }
}
