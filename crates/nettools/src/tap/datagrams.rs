//! The tap over UDP. UDP has no connections: each client address gets a socket of its own to the server, so that answers find
//! their way back, as a NAT does it. A client that is idle loses its socket; when too many are there, the one that is idle
//! longest makes room.
//!
//! ```text
//! client ─▶ listener ─▶ `datagram_network` ─▶ socket of this client ─▶ server      one thread, one epoll
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, setsockopt, sockopt};
use slab::Slab;
use vang_client::trouble::Doing;

use super::datagram_network::{ClientKey, Flow, Network, Passed, Waiting};
use super::datagram_records::{Datagram, DatagramTotals};
use super::shared::{Shared, TapClosed, TapOpened};
use crate::capture::side::Side;
use crate::datagram::{AnswerSource, receive, report_destinations, send};
use crate::diag::{Address, Diag, Protocol};
use crate::error::{Outcome, ToolError, explain};
use crate::listener::Listener;
use crate::open_files::raise_open_file_limit;
use crate::peer_name::{PeerName, canonical};
use crate::{Report, Stopped, Verdict};

/// Clients at once, each with a socket.
const CLIENTS_MAX: usize = 1_024;

/// Receive queue of each socket, where the system allows it: some 5,000 small datagrams.
pub(super) const RECEIVE_BYTES: usize = 4 << 20;

/// Longest datagram of IPv4 and IPv6.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Datagrams of one socket before the others' turn.
const AT_ONCE: usize = 256;

/// Datagrams with a record in each second: more are not readable, and writing them costs more than passing them on.
const SHOWN_A_SECOND: u32 = 1_000;

const LISTENER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

struct Client {
    key: ClientKey,
    address: SocketAddr,
    /// The same, and the address of ours that it used.
    answer_to: SockaddrStorage,
    answer_from: Option<AnswerSource>,
    /// Connected to the server: other senders are not heard, and its errors are seen.
    upstream: UdpSocket,
    began: Instant,
    last: Instant,
    flows: [Flow; 2],
    bytes: [u64; 2],
}

struct Tap<'a> {
    shared: &'a Shared<'a>,
    /// Gathers its lines.
    report: Report,
    listener: &'a Listener,
    server: SocketAddr,
    idle: Duration,
    poll: Poll,
    clients: Slab<Client>,
    by_address: HashMap<SocketAddr, usize>,
    network: Network,
    totals: DatagramTotals,
    /// The second of the last record, and its number in it.
    shown: (u64, u32),
    /// Sockets that can have more datagrams.
    again: Vec<Token>,
    buffer: Vec<u8>,
}

/// Passes datagrams between clients and the server until the tool ends, and records the summary.
pub(super) fn run(shared: &Shared<'_>, listener: &Listener, server: SocketAddr, idle: Duration) -> Outcome {
    raise_open_file_limit();
    let cannot = |error: io::Error| {
        ToolError::of(format!("cannot pass datagrams on at {}", listener.address), &error, Doing::Read)
    };
    enlarge(&listener.socket);
    let poll = Poll::new().map_err(cannot)?;
    let mut tap = Tap {
        shared,
        report: shared.report.gathering(),
        listener,
        server,
        idle,
        poll,
        clients: Slab::new(),
        by_address: HashMap::new(),
        network: Network::new(&shared.weather),
        totals: DatagramTotals::default(),
        shown: (0, 0),
        again: Vec::new(),
        buffer: vec![0; DATAGRAM_BYTES_MAX],
    };
    let stopped = tap.pass().map_err(cannot)?;
    let ending = match stopped {
        Stopped::Requested => "still there when tap was stopped",
        Stopped::TimedOut => "still there at the timeout",
    };
    tap.totals.unread = tap.unread();
    tap.totals.waiting += tap.network.waiting();
    let slots: Vec<usize> = tap.clients.iter().map(|(slot, _)| slot).collect();
    for slot in slots {
        tap.close(slot, ending.to_owned());
    }
    tap.totals.took_ns = shared.began.elapsed().as_nanos() as u64;
    tap.record(|totals, report| report.record(totals));
    tap.flush();
    if let Some(failure) = shared.take_failure() {
        return Err(failure);
    }
    Ok(if tap.totals.refused > 0 { Verdict::Bad } else { Verdict::Good })
}

/// A larger receive queue, as root beyond the system's limit (`net.core.rmem_max`).
fn enlarge(socket: &impl AsFd) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BYTES);
    }
}

impl Tap<'_> {
    fn pass(&mut self) -> io::Result<Stopped> {
        report_destinations(&self.listener.socket)?;
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&self.listener.socket.as_raw_fd()), LISTENER, Interest::READABLE)?;
        registry.register(&mut SourceFd(&self.shared.stop.as_fd().as_raw_fd()), STOP, Interest::READABLE)?;
        let mut events = Events::with_capacity(1_024);
        let look_every = (self.idle / 4).max(Duration::from_millis(1));
        let mut next_look = Instant::now() + look_every;
        loop {
            let now = Instant::now();
            let next = self.network.next_at().map_or(next_look, |next| next.min(next_look));
            let mut wait = next.saturating_duration_since(now);
            if self.again.is_empty() {
                self.flush();
            } else {
                wait = Duration::ZERO;
            }
            let wait = self.shared.stop.left().map_or(wait, |left| left.min(wait));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut ready = std::mem::take(&mut self.again);
            let again = ready.len();
            for event in &events {
                match event.token() {
                    STOP => return Ok(Stopped::Requested),
                    token if ready[..again].contains(&token) => {}
                    token => ready.push(token),
                }
            }
            for token in ready {
                let is_empty = match token {
                    LISTENER => self.receive_from_clients()?,
                    Token(slot) => self.receive_from_server(slot),
                };
                if !is_empty {
                    self.again.push(token);
                }
            }
            let now = Instant::now();
            self.let_go(now);
            if self.shared.stop.left() == Some(Duration::ZERO) {
                return Ok(Stopped::TimedOut);
            }
            if now >= next_look {
                next_look = now + look_every;
                self.close_idle(now);
            }
        }
    }

    /// Passes on what clients have sent. `true`: nothing is left.
    fn receive_from_clients(&mut self) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut outcome = Ok(false);
        for _ in 0..AT_ONCE {
            match receive(&self.listener.socket, &mut buffer) {
                Ok(datagram) => {
                    let Some(from) = datagram.peer() else { continue };
                    let now = Instant::now();
                    let known = self.by_address.get(&from).copied();
                    let Some(slot) = known.or_else(|| self.open(from, datagram.from, now)) else {
                        self.totals.unsent += 1;
                        continue;
                    };
                    self.clients[slot].answer_from = datagram.answer_from;
                    self.came(slot, Side::Client, now, &buffer[..datagram.len]);
                }
                Err(Errno::EAGAIN) => {
                    outcome = Ok(true);
                    break;
                }
                // An ICMP error for an earlier answer: its client has gone.
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            }
        }
        self.buffer = buffer;
        outcome
    }

    /// Passes on what the server has sent to this client. `true`: nothing is left.
    fn receive_from_server(&mut self, slot: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut is_empty = false;
        for _ in 0..AT_ONCE {
            let Some(client) = self.clients.get(slot) else {
                is_empty = true;
                break;
            };
            match client.upstream.recv(&mut buffer) {
                Ok(len) => self.came(slot, Side::Server, Instant::now(), &buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_empty = true;
                    break;
                }
                Err(error) => self.upstream_error(&error),
            }
        }
        self.buffer = buffer;
        is_empty
    }

    /// A datagram of this client's, or for it.
    fn came(&mut self, slot: usize, side: Side, now: Instant, bytes: &[u8]) {
        let client = &mut self.clients[slot];
        client.last = now;
        let before = client.bytes[side as usize];
        client.bytes[side as usize] += bytes.len() as u64;
        let (key, address) = (client.key, client.address);
        let passed = self.network.push(now, key, side, &mut client.flows[side as usize], bytes);
        let (datagrams, all) = match side {
            Side::Client => (&mut self.totals.client_datagrams, &mut self.totals.client_bytes),
            Side::Server => (&mut self.totals.server_datagrams, &mut self.totals.server_bytes),
        };
        *datagrams += 1;
        *all += bytes.len() as u64;
        let fate = passed.fate;
        self.totals.dropped += u64::from(fate.dropped);
        self.totals.duplicated += u64::from(fate.duplicated);
        self.totals.overflowed += u64::from(fate.overflowed);
        if self.is_shown(now) {
            let at = now.saturating_duration_since(self.shared.began);
            self.record(|_, report| report.record(&Datagram::of(at, key.number, side, before, bytes, fate)));
        }
        if self.shared.recorder.is_some() {
            self.capture(address, side, bytes);
        }
        let Passed { number, copies, then, .. } = passed;
        for copy in 0..copies {
            self.goes(key, side, number, copy > 0, bytes);
        }
        if let Some(held) = then {
            self.goes_later(&held);
        }
    }

    /// Sends datagrams that waited long enough.
    fn let_go(&mut self, now: Instant) {
        while let Some((key, side, number)) = self.network.expired(now) {
            if let Some(client) = self.clients.get_mut(key.slot).filter(|client| client.key == key) {
                self.network.release(now, &mut client.flows[side as usize], number);
            }
        }
        while let Some(waiting) = self.network.due(now) {
            self.goes_later(&waiting);
        }
    }

    fn goes_later(&mut self, waiting: &Waiting) {
        for copy in 0..waiting.copies {
            self.goes(waiting.client, waiting.side, waiting.number, copy > 0, &waiting.bytes);
        }
    }

    /// Sends a datagram to the other side.
    fn goes(&mut self, key: ClientKey, from: Side, number: u64, is_copy: bool, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key.slot).filter(|client| client.key == key) else {
            // Its client was closed meanwhile.
            self.totals.unsent += 1;
            return;
        };
        let is_late = client.flows[from as usize].goes(number);
        self.totals.reordered += u64::from(is_late && !is_copy);
        let outcome = match from {
            Side::Server => send(&self.listener.socket, bytes, &client.answer_to, client.answer_from)
                .map_err(io::Error::from),
            Side::Client => match client.upstream.send(bytes) {
                // The ICMP error of an earlier one is reported now, and this one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let again = client.upstream.send(bytes).map(drop);
                    self.upstream_error(&error);
                    again
                }
                outcome => outcome.map(drop),
            },
        };
        match outcome {
            Ok(()) => self.totals.passed += 1,
            Err(_) => self.totals.unsent += 1,
        }
    }

    fn upstream_error(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::ConnectionRefused {
            return;
        }
        self.totals.refused += 1;
        if self.totals.refused == 1 {
            self.shared.means(&format!(
                "no program listens at {}: its host answered a datagram with ICMP port unreachable (ECONNREFUSED). A client \
                 that sends there itself gets this error; through the tap it gets no answer",
                self.server
            ));
        }
    }

    /// A new client.
    fn open(&mut self, address: SocketAddr, answer_to: SockaddrStorage, now: Instant) -> Option<usize> {
        if self.clients.len() >= CLIENTS_MAX {
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.last).map(|(slot, _)| slot);
            self.close(oldest?, format!("idle longest of {CLIENTS_MAX} clients"));
        }
        let upstream = match self.connect() {
            Ok(upstream) => upstream,
            Err(error) => {
                if self.totals.unsent == 0 {
                    self.shared
                        .means(&format!("no socket for another client: {}", explain(&error, Doing::Connect)));
                }
                return None;
            }
        };
        self.totals.clients += 1;
        let number = self.totals.clients;
        let entry = self.clients.vacant_entry();
        let slot = entry.key();
        let registered = self.poll.registry().register(
            &mut SourceFd(&upstream.as_raw_fd()),
            Token(slot),
            Interest::READABLE,
        );
        registered.ok()?;
        let flow = |side| Flow::new(self.shared.weather.seed, number, side);
        entry.insert(Client {
            key: ClientKey { slot, number },
            address,
            answer_to,
            answer_from: None,
            upstream,
            began: now,
            last: now,
            flows: [flow(Side::Client), flow(Side::Server)],
            bytes: [0; 2],
        });
        self.by_address.insert(address, slot);
        let from = PeerName::Net(address).to_string();
        self.record(|_, report| report.record(&TapOpened { conversation: number, from }));
        Some(slot)
    }

    fn connect(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        enlarge(&socket);
        socket.connect(self.server)?;
        Ok(socket)
    }

    fn close_idle(&mut self, now: Instant) {
        let is_idle = |client: &Client| now.saturating_duration_since(client.last) >= self.idle;
        let idle: Vec<usize> =
            self.clients.iter().filter(|(_, client)| is_idle(client)).map(|(slot, _)| slot).collect();
        for slot in idle {
            self.close(slot, "idle".to_owned());
        }
    }

    fn close(&mut self, slot: usize, ending: String) {
        let mut client = self.clients.remove(slot);
        self.by_address.remove(&client.address);
        for flow in &mut client.flows {
            self.totals.waiting += self.network.forget(flow);
        }
        let [client_bytes, server_bytes] = client.bytes;
        let closed = TapClosed {
            conversation: client.key.number,
            opened_by: PeerName::Net(client.address).to_string(),
            ending,
            client_bytes,
            server_bytes,
            took_ns: client.began.elapsed().as_nanos() as u64,
        };
        self.record(|_, report| report.record(&closed));
    }

    fn record(&self, write: impl FnOnce(&DatagramTotals, &Report) -> io::Result<()>) {
        if let Err(error) = write(&self.totals, &self.report) {
            self.shared.fail(error.into());
        }
    }

    fn is_shown(&mut self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.shared.began).as_secs();
        if self.shown.0 != second {
            self.shown = (second, 0);
        }
        self.shown.1 = self.shown.1.saturating_add(1);
        let is_shown = self.shown.1 <= SHOWN_A_SECOND;
        self.totals.not_shown += u64::from(!is_shown);
        is_shown
    }

    fn capture(&self, client: SocketAddr, side: Side, bytes: &[u8]) {
        let own = self.listener.net_address().filter(|own| !own.ip().is_unspecified());
        // On every interface: the server's address stands for ours.
        let tap = canonical(own.unwrap_or(self.server));
        let client = canonical(client);
        let (from, to) = if side == Side::Client { (client, tap) } else { (tap, client) };
        self.shared.capture_gathered(|writer, now| writer.datagram(now, from, to, bytes));
    }

    /// Writes what was gathered.
    fn flush(&self) {
        if let Err(error) = self.report.flush() {
            self.shared.fail(error.into());
        }
        self.shared.flush_capture();
    }

    /// Datagrams that our kernel has dropped because we did not read in time.
    fn unread(&self) -> u64 {
        let mut own: Vec<SocketAddr> = self.listener.net_address().into_iter().collect();
        own.extend(self.clients.iter().filter_map(|(_, client)| client.upstream.local_addr().ok()));
        let Ok(found) = Diag::open().all(Protocol::Udp) else { return 0 };
        let is_ours = |address: &Address| matches!(address, Address::Net(address) if own.contains(address));
        let ours = found.iter().filter(|socket| is_ours(&socket.local));
        ours.filter_map(|socket| socket.memory.as_ref()).map(|memory| u64::from(memory.drops)).sum()
    }
}
