//! The attackers: a process of its own with all their sockets on one epoll. They come from 127.1.0.0 and the addresses behind it, so
//! that what the server counts by address is not counted for the honest client.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

use crate::script::{Cast, Pace, Reads, Script, Share, Then};

/// The first attacker's address.
const ATTACKERS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// How often a byte drips, and how often a connection that failed is tried again.
const DRIP: Duration = Duration::from_millis(10);
/// How long the first connections are waited for.
const GATHER: Duration = Duration::from_secs(2);
/// Of the first answers so many bytes are kept, to see that the server understood.
const HEARD_BYTES: usize = 8 << 10;
/// Records of one byte that are made at once.
const RECORDS: usize = 256;

/// What the attackers did.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) written: u64,
    pub(crate) read: u64,
    /// Connections made.
    pub(crate) opened: u64,
    /// Connections that the server ended.
    pub(crate) closed: u64,
    pub(crate) seconds: f64,
    /// CPU time, s.
    pub(crate) cpu: f64,
    /// How the first answers begin.
    pub(crate) heard: String,
}

impl Done {
    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "written": self.written, "read": self.read, "opened": self.opened, "closed": self.closed,
            "seconds": self.seconds, "cpu": self.cpu, "heard": self.heard,
        })
    }

    /// As the attackers' process printed it.
    pub(crate) fn from_json(line: &str) -> Option<Done> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let number = |key: &str| value.get(key)?.as_u64();
        let float = |key: &str| value.get(key)?.as_f64();
        Some(Done {
            written: number("written")?,
            read: number("read")?,
            opened: number("opened")?,
            closed: number("closed")?,
            seconds: float("seconds")?,
            cpu: float("cpu")?,
            heard: value.get("heard")?.as_str()?.to_owned(),
        })
    }
}

/// Plays until standard input ends, then prints what was done. Says `ready` when all are connected.
pub(crate) fn run(addr: SocketAddr, cast: Cast, attackers: usize, certificate: &str) {
    let over = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let over = over.clone();
        move || {
            let _ = std::io::stdin().read(&mut [0]);
            over.store(true, Ordering::Relaxed);
        }
    });
    let tls = cast.iter().any(|(script, _)| script.tls).then(|| trusting(certificate));
    let mut crowd = Crowd::new(addr, cast, attackers, tls);
    let began = Instant::now();
    let mut is_ready = false;
    while !over.load(Ordering::Relaxed) {
        crowd.turn();
        if !is_ready && (crowd.are_all_connected() || began.elapsed() > GATHER) {
            is_ready = true;
            say("ready");
        }
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    crowd.done.cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    crowd.done.seconds = began.elapsed().as_secs_f64();
    crowd.done.heard = String::from_utf8_lossy(&crowd.heard).into_owned();
    say(&crowd.done.to_json().to_string());
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

fn trusting(certificate: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("the server's certificate");
    roots.add(certificate).expect("a certificate");
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Where an attacker stands in its script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not connected, and to be tried at the next drip.
    Away,
    Connecting,
    /// The handshake of TLS.
    Shaking,
    Greeting,
    /// An answer to the greeting is waited for.
    Greeted,
    Body,
    /// An answer to the body is waited for.
    Asked,
    Holding,
}

struct Attacker {
    script: usize,
    phase: Phase,
    stream: Option<TcpStream>,
    /// Bytes of the greeting or the body that are written.
    at: usize,
    /// Counts its connections: what was ready on an earlier one is not taken for the present one.
    connection: u32,
    /// What the epoll waits for.
    interest: epoll::EventFlags,
    tls: Option<Box<ClientConnection>>,
    was_connected: bool,
}

struct Crowd {
    addr: SocketAddr,
    scripts: Vec<Script>,
    tls: Option<Arc<ClientConfig>>,
    all: Vec<Attacker>,
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    scratch: Vec<u8>,
    dripped: Instant,
    connected: usize,
    heard: Vec<u8>,
    done: Done,
}

impl Crowd {
    fn new(addr: SocketAddr, cast: Cast, attackers: usize, tls: Option<Arc<ClientConfig>>) -> Crowd {
        let mut all = Vec::new();
        for (script, (_, share)) in cast.iter().enumerate() {
            let count = match share {
                Share::All => attackers,
                Share::Beside(count) => *count,
            };
            all.extend((0..count).map(|_| Attacker {
                script,
                phase: Phase::Away,
                stream: None,
                at: 0,
                connection: 0,
                interest: epoll::EventFlags::empty(),
                tls: None,
                was_connected: false,
            }));
        }
        let mut crowd = Crowd {
            addr,
            scripts: cast.into_iter().map(|(script, _)| script).collect(),
            tls,
            all,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll"),
            ready: Vec::with_capacity(1_024),
            scratch: vec![0; 256 << 10],
            dripped: Instant::now(),
            connected: 0,
            heard: Vec::new(),
            done: Done::default(),
        };
        for index in 0..crowd.all.len() {
            crowd.connect(index);
        }
        crowd
    }

    fn are_all_connected(&self) -> bool {
        self.connected == self.all.len()
    }

    fn turn(&mut self) {
        let at_most = Timespec { tv_sec: 0, tv_nsec: i64::from(DRIP.subsec_nanos()) };
        self.ready.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.ready), Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            let token = event.data.u64();
            let (index, connection) = (token as u32 as usize, (token >> 32) as u32);
            if self.all[index].connection == connection && self.all[index].stream.is_some() {
                self.advance(index, event.flags);
            }
        }
        self.ready = ready;
        if self.dripped.elapsed() >= DRIP {
            self.dripped = Instant::now();
            for index in 0..self.all.len() {
                let attacker = &self.all[index];
                match attacker.phase {
                    Phase::Away => self.connect(index),
                    Phase::Body if self.script(index).pace == Pace::Drip => self.write(index, 1),
                    _ => {}
                }
            }
        }
    }

    fn script(&self, index: usize) -> &Script {
        &self.scripts[self.all[index].script]
    }

    fn connect(&mut self, index: usize) {
        // Each has an address of its own, as strangers have: what is counted by address binds none of them more.
        let from = SocketAddr::from((Ipv4Addr::from_bits(ATTACKERS.to_bits() + index as u32), 0));
        let opened = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
            socket.bind(&from.into())?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            // A close is a reset: otherwise the attackers would run out of ports, not the server of patience.
            socket.set_linger(Some(Duration::ZERO))?;
            match socket.connect(&self.addr.into()) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                    Err(error)
                }
                _ => Ok(TcpStream::from(socket)),
            }
        });
        let attacker = &mut self.all[index];
        attacker.connection = attacker.connection.wrapping_add(1);
        attacker.at = 0;
        attacker.tls = None;
        let Ok(stream) = opened else {
            attacker.phase = Phase::Away;
            return;
        };
        attacker.phase = Phase::Connecting;
        attacker.interest = epoll::EventFlags::OUT;
        let token = index as u64 | u64::from(attacker.connection) << 32;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(token), attacker.interest).expect("room");
        attacker.stream = Some(stream);
    }

    /// Ends this connection; the next one follows at once, unless connecting itself fails.
    fn reconnect(&mut self, index: usize) {
        let failed = self.all[index].phase == Phase::Connecting;
        self.all[index].stream = None;
        if failed {
            self.all[index].phase = Phase::Away;
        } else {
            self.connect(index);
        }
    }

    fn advance(&mut self, index: usize, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        if self.all[index].phase == Phase::Connecting {
            return self.connected(index);
        }
        let connection = self.all[index].connection;
        if flags.contains(Flags::IN) {
            self.read(index);
        }
        if self.all[index].connection != connection || self.all[index].stream.is_none() {
            return;
        }
        if flags.intersects(Flags::HUP | Flags::ERR | Flags::RDHUP) {
            self.done.closed += 1;
            return self.reconnect(index);
        }
        if flags.contains(Flags::OUT) {
            self.write(index, usize::MAX);
        }
    }

    fn connected(&mut self, index: usize) {
        let attacker = &mut self.all[index];
        let is_open = attacker.stream.as_ref().is_some_and(|stream| matches!(stream.take_error(), Ok(None)));
        if !is_open {
            return self.reconnect(index);
        }
        self.done.opened += 1;
        if !attacker.was_connected {
            attacker.was_connected = true;
            self.connected += 1;
        }
        if self.scripts[attacker.script].tls {
            let config = self.tls.clone().expect("a configuration, as a script has TLS");
            let name = "localhost".try_into().expect("a name");
            attacker.tls = Some(Box::new(ClientConnection::new(config, name).expect("TLS")));
            self.enter(index, Phase::Shaking);
            return self.shake(index);
        }
        self.begin(index);
    }

    fn begin(&mut self, index: usize) {
        let greets = !self.script(index).greeting.is_empty();
        self.enter(index, if greets { Phase::Greeting } else { Phase::Body });
        if self.script(index).pace == Pace::Full {
            self.write(index, usize::MAX);
        }
    }

    /// Goes on to the next part of the script, and waits for what it needs.
    fn enter(&mut self, index: usize, phase: Phase) {
        use epoll::EventFlags as Flags;
        let script = &self.scripts[self.all[index].script];
        let attacker = &mut self.all[index];
        attacker.phase = phase;
        attacker.at = 0;
        let reads = script.reads == Reads::Always;
        let interest = match phase {
            Phase::Away => return,
            Phase::Connecting => Flags::OUT,
            Phase::Shaking | Phase::Greeted | Phase::Asked => Flags::IN | Flags::RDHUP,
            Phase::Greeting => Flags::OUT | Flags::RDHUP,
            Phase::Body if script.pace == Pace::Drip => Flags::IN | Flags::RDHUP,
            Phase::Body if reads => Flags::IN | Flags::OUT | Flags::RDHUP,
            Phase::Body => Flags::OUT | Flags::RDHUP,
            Phase::Holding if reads => Flags::IN | Flags::RDHUP,
            Phase::Holding => Flags::RDHUP,
        };
        if interest == attacker.interest {
            return;
        }
        attacker.interest = interest;
        if let Some(stream) = &attacker.stream {
            let token = index as u64 | u64::from(attacker.connection) << 32;
            epoll::modify(&self.epoll, stream, epoll::EventData::new_u64(token), interest)
                .expect("it is there");
        }
    }

    /// Writes at most so many bytes of what the script has next.
    fn write(&mut self, index: usize, most: usize) {
        let attacker = &mut self.all[index];
        let script = &self.scripts[attacker.script];
        let Some(mut stream) = attacker.stream.as_ref() else { return };
        if let Some(tls) = &mut attacker.tls
            && attacker.phase == Phase::Body
        {
            // No part of the script's end is for TLS: it repeats.
            let outcome = records(tls, &script.body, &mut attacker.at, stream);
            return self.wrote(index, outcome);
        }
        let bytes = match attacker.phase {
            Phase::Greeting => &script.greeting,
            _ => &script.body,
        };
        let end = attacker.at.saturating_add(most).min(bytes.len());
        let outcome = if attacker.at == end { Ok(0) } else { stream.write(&bytes[attacker.at..end]) };
        if let Ok(n) = outcome {
            attacker.at += n;
        }
        let is_over = attacker.at == bytes.len();
        self.wrote(index, outcome);
        if is_over && self.all[index].stream.is_some() {
            self.finish(index);
        }
    }

    fn wrote(&mut self, index: usize, outcome: std::io::Result<usize>) {
        match outcome {
            Ok(n) => self.done.written += n as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                self.done.closed += 1;
                self.reconnect(index);
            }
        }
    }

    /// The greeting or the body is written.
    fn finish(&mut self, index: usize) {
        if self.all[index].phase == Phase::Greeting {
            return self.enter(index, Phase::Greeted);
        }
        match self.script(index).then {
            Then::Repeat => self.all[index].at = 0,
            Then::Hold => self.enter(index, Phase::Holding),
            Then::RepeatAfterReply | Then::ReconnectAfterReply => self.enter(index, Phase::Asked),
            Then::Reconnect => self.reconnect(index),
        }
    }

    fn read(&mut self, index: usize) {
        if self.all[index].phase == Phase::Shaking {
            return self.shake(index);
        }
        let Some(mut stream) = self.all[index].stream.as_ref() else { return };
        let outcome = if index == 0 && self.heard.len() < HEARD_BYTES {
            let outcome = stream.read(&mut self.scratch[..HEARD_BYTES]);
            self.heard.extend_from_slice(&self.scratch[..*outcome.as_ref().unwrap_or(&0)]);
            outcome
        } else {
            // The kernel counts the bytes and drops them.
            match recv(stream, &mut self.scratch[..], RecvFlags::TRUNC) {
                Ok((_, n)) => Ok(n),
                Err(error) => Err(error.into()),
            }
        };
        match outcome {
            Ok(n @ 1..) => {
                self.done.read += n as u64;
                match (self.all[index].phase, self.script(index).then) {
                    (Phase::Greeted, _) => self.enter(index, Phase::Body),
                    (Phase::Asked, Then::ReconnectAfterReply) => self.reconnect(index),
                    (Phase::Asked, _) => self.enter(index, Phase::Body),
                    _ => {}
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => {
                self.done.closed += 1;
                self.reconnect(index);
            }
        }
    }

    /// Goes on with the handshake of TLS.
    fn shake(&mut self, index: usize) {
        let attacker = &mut self.all[index];
        let (Some(stream), Some(tls)) = (&mut attacker.stream, &mut attacker.tls) else { return };
        let outcome = tls.complete_io(stream);
        match outcome {
            Ok((read, written)) => {
                self.done.read += read as u64;
                self.done.written += written as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                self.done.closed += 1;
                return self.reconnect(index);
            }
        }
        if self.all[index].tls.as_ref().is_some_and(|tls| !tls.is_handshaking()) {
            self.begin(index);
        }
    }
}

/// Writes what TLS has ready, and makes more records when that is gone. What comes from the server is
/// dropped unread by `read`.
fn records(
    tls: &mut ClientConnection,
    plain: &[u8],
    at: &mut usize,
    mut stream: &TcpStream,
) -> std::io::Result<usize> {
    if !tls.wants_write() {
        for _ in 0..RECORDS {
            tls.writer().write_all(&plain[*at..=*at])?;
            *at = (*at + 1) % plain.len();
        }
    }
    tls.write_tls(&mut stream)
}
