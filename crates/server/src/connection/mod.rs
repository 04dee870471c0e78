//! One task per connection. It detects the kind of client from the first bytes, inside TLS a second time, behind the header
//! of a proxy if the listener has proxies, and then moves bytes between the socket and a `proto` session. Between two
//! messages it holds no buffer and no timer.

mod proxy_header; // the PROXY protocol in front of everything else
mod framing; // what stands between a socket and a `proto` session: one file for each door

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use vang_hub::{Peer, Scope, SessionId};
use vang_proto::Millis;
use vang_proto::kind::{self, Kind};
use vang_proto::limits::{ANSWERED_AT_ONCE, KIND_BYTES_MAX, NAME_QUIET_MS};
use vang_proto::vang::{Code, ErrorReply, Request, ServerSession, SessionStep, Ticket};

use self::framing::native::NativeFraming;
use self::framing::typed::TypedFraming;
use self::framing::websocket::WebSocketFraming;
use self::framing::{Framing, Wire};
use self::proxy_header::{InFront, read_proxy_header, refuse_kind};
use crate::client_place::Client;
use crate::clock::steady_now;
use crate::door::Door;
use crate::fairness::cost::work_us;
use crate::fairness::places::Place;
use crate::fairness::turns::{Turn, yield_turn};
use crate::http::{self, Credential, Served};
use crate::net::listen::PeerAddr;
use crate::net::proxies::{Proxies, ProxyKind};
use crate::net::socket::{MORE_BYTES, Socket};
use crate::net::tls;
use crate::pump::{ConnectionInfo, Pump, Slot};
use crate::shared::House;

/// Largest read: 64 KiB. All connections of the thread share the buffer.
const READ_BYTES: usize = 1 << 16;

/// How much one call of `write` that leaves output behind counts, in units of a turn.
const WRITTEN_UNITS: usize = 8;

/// Cost of a TLS handshake, µs: a signature, two key exchanges.
const HANDSHAKE_US: u64 = 300;

/// How long a connection is not read after the memory for clients was used up, ms.
const MEMORY_PAUSE_MS: u64 = 100;

/// How long a connection over a limit has for its first bytes: they decide in which protocol it is refused.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// How often the server checks whether the peer of a half-closed connection is still there, ms.
const GONE_CHECK_MS: u64 = 15_000;

/// The kind of report for connections whose first bytes did not come in time.
const SILENT: &str = "silent";

/// After this time without a byte, a name without a line end is taken as it is.
const NAME_QUIET: Duration = Duration::from_millis(NAME_QUIET_MS);

/// The kind of report for bytes that the framing refused, not the session: another protocol's.
const WIRE_REFUSED: &str = "other-protocol";

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection, from `accept` to its close.
pub(crate) struct Connection {
    pub(crate) house: Rc<House>,
    pub(crate) socket: Socket,
    /// Until a proxy has said who it is: the proxy.
    pub(crate) client: Client,
    /// The peer is one of these proxies.
    pub(crate) proxies: Option<Arc<Proxies>>,
    /// Over a limit, or not what the listener is for: refused with this error, once the protocol is known.
    pub(crate) refused: Option<ErrorReply>,
    /// Its place among all connections, or among those that are refused.
    pub(crate) place: Place,
}

impl Connection {
    pub(crate) async fn run(mut self) {
        self.socket.prepare(Duration::from_millis(self.house.limits.borrow().session().stall_ms));
        let proxy = self.proxies.as_ref().map(|proxies| proxies.kind);
        if proxy == Some(ProxyKind::ProxyProtocol) && !Box::pin(self.know_client()).await {
            return;
        }
        let mut first = [0; KIND_BYTES_MAX];
        let Some(detected) = self.detect_kind(&mut first).await else { return };
        let First { mut len, mut kind, mut without_end } = detected;
        if kind == Kind::Tls {
            // Boxed: the future of a handshake is large, and would be part of this one as long as the connection lives.
            let Some(asked) = Box::pin(self.secure(&first[..len])).await else { return };
            First { len, kind, without_end } = match asked {
                Some(kind) => First { len: 0, kind, without_end: false },
                None => match self.detect_kind(&mut first).await {
                    Some(detected) => detected,
                    None => return,
                },
            };
        }
        if kind != Kind::Http {
            let refused = self.refused.take().or_else(|| refuse_kind(self.proxies.as_ref()?, kind));
            let Connection { house, socket, client, place: _place, .. } = self;
            let (door, framing, refused): (_, Box<dyn Framing>, _) = match kind {
                Kind::Lines => {
                    let refused = refused.or_else(|| no_lines(client.peer, house.lines.get()));
                    let line_max = house.limits.borrow().line_bytes();
                    let typed = TypedFraming::new(line_max, without_end.then(steady_now));
                    (Door::Lines, Box::new(typed), refused)
                }
                _ => (Door::Native, Box::new(NativeFraming), refused),
            };
            let wire = Wire::new(socket, framing);
            let connection = client.info(door, wire.socket.is_tls());
            let talk = Talk { house, wire, client, connection, waits_for_memory: false, asked: None };
            return talk.run(first[..len].to_vec(), kind, refused, Credential::default()).await;
        }
        let Connection { house, socket, client, proxies, refused, place: _place } = self;
        let proxies = proxies.filter(|proxies| proxies.kind != ProxyKind::ProxyProtocol);
        let (credit, tls) = (socket.credit().clone(), socket.is_tls());
        let visitor = http::Visitor { house: house.clone(), client, proxies, credit, tls, refused };
        let served = Box::pin(http::serve(socket, &first[..len], visitor)).await;
        let (socket, rest, client, credential) = match served {
            Served::Upgraded(socket, rest, client, credential) => (socket, rest, client, credential),
            Served::Answered(closing) => return http::close(closing).await,
            Served::Lost => return,
        };
        let connection = client.info(Door::WebSocket, socket.is_tls());
        let ping_after_ms = house.limits.borrow().ping_after_ms();
        let wire = Wire::new(socket, Box::new(WebSocketFraming::new(ping_after_ms, steady_now())));
        let talk = Talk { house, wire, client, connection, waits_for_memory: false, asked: None };
        // Copied: the bytes are a part of HTTP's buffer, which is large and is freed here.
        let first = rest.to_vec();
        drop(rest);
        talk.run(first, Kind::Native, None, credential).await;
    }

    /// Reads the PROXY header, and so learns who the client is. `false`: the connection is over.
    async fn know_client(&mut self) -> bool {
        let header = match tokio::time::timeout(self.first_wait(), read_proxy_header(&mut self.socket)).await
        {
            Ok(Ok(header)) => header,
            // A health check that only connects.
            Ok(Err(_)) => return false,
            Err(_) => {
                self.log_silence(0);
                return false;
            }
        };
        match header {
            InFront::Client(address) => {
                let (from, peer) = (PeerAddr::Proxied(address), self.client.peer);
                self.client = Client::new(&self.house, from, peer);
                match self.refused {
                    Some(_) => true,
                    None => match self.client.take_place(&self.house) {
                        Ok(()) => true,
                        Err(error) => self.refuse(error),
                    },
                }
            }
            InFront::Local => {
                tracing::debug!(peer = %self.client.from, "the proxy checks whether this server is there");
                false
            }
            InFront::Other(error) => self.refused.is_some() || self.refuse(error),
        }
    }

    /// Refuses a connection that was admitted: its place is free for others. `false`: so many are refused now that it
    /// is closed without a reply.
    fn refuse(&mut self, error: ErrorReply) -> bool {
        let Some(place) = self.house.take_refused() else { return false };
        (self.place, self.refused) = (place, Some(error));
        self.socket.credit().note_refused();
        true
    }

    /// Time for the first bytes.
    fn first_wait(&self) -> Duration {
        let limit = Duration::from_millis(self.house.limits.borrow().first_byte_ms());
        // Over a limit: there are few places for connections that wait for their refusal.
        if self.refused.is_some() { limit.min(REFUSED_WAIT) } else { limit }
    }

    /// Does the TLS handshake. `None`: it failed. Otherwise the kind that the client named by ALPN, if it named one.
    async fn secure(&mut self, first: &[u8]) -> Option<Option<Kind>> {
        let config = self.house.tls.borrow().config.clone();
        let wait = Duration::from_millis(self.house.limits.borrow().first_byte_ms());
        self.house.turns.begin_work(self.socket.credit(), HANDSHAKE_US).await;
        let begun = self.socket.begin_tls(config, first);
        let shaken = async { begun.map(|()| self.socket.shake_hands())?.await };
        let asked = match tokio::time::timeout(wait, shaken).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.client.from, %error, "no TLS");
                return None;
            }
            Err(_) => return None,
        };
        // With HTTP the proxy makes the TLS to us: it says nothing of the client's.
        let is_clients = self.proxies.as_ref().is_none_or(|proxies| proxies.kind == ProxyKind::ProxyProtocol);
        if self.client.peer == Peer::RemotePlain && is_clients {
            self.client.peer = Peer::RemoteTls;
        }
        Some(match asked.as_deref() {
            Some(tls::ALPN_HTTP) => Some(Kind::Http),
            Some(tls::ALPN_NATIVE) => Some(Kind::Native),
            _ => None,
        })
    }

    /// Reads until the kind is known. `None`: the connection is over. Its stream ended or failed, or its time is over, which
    /// `answer_silence` answers.
    async fn detect_kind(&mut self, first: &mut [u8; KIND_BYTES_MAX]) -> Option<First> {
        let wait = self.first_wait();
        let (until, mut len, mut has_waited) = (Instant::now() + wait, 0, false);
        loop {
            let is_name = kind::is_name_without_end(&first[..len]);
            let quiet = Instant::now() + NAME_QUIET;
            let deadline = if is_name { until.min(quiet) } else { until };
            let read = self.read_first(first, &mut len, &mut has_waited);
            match tokio::time::timeout_at(deadline.into(), read).await {
                Ok(Ok(Some(kind))) => return Some(First { len, kind, without_end: false }),
                Ok(Ok(None)) => {}
                Ok(Err(_)) => return None,
                Err(_) if is_name => return Some(First { len, kind: Kind::Lines, without_end: true }),
                Err(_) => {
                    self.answer_silence(&first[..len], wait);
                    return None;
                }
            }
        }
    }

    /// Reads until something came; returns the kind, if it is known then.
    async fn read_first(
        &mut self,
        first: &mut [u8; KIND_BYTES_MAX],
        len: &mut usize,
        has_waited: &mut bool,
    ) -> io::Result<Option<Kind>> {
        loop {
            match self.socket.try_read(&mut first[*len..]) {
                Ok(0) if *len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                // The stream ended before the kind was known: the session refuses it, and names the part that is cut.
                Ok(0) => return Ok(Some(Kind::Native)),
                Ok(n) => {
                    *len += n;
                    return Ok(kind::detect(&first[..*len]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.socket.poll_read_ready(cx)).await?;
                    // A peer can send TLS records without content: other connections have their turn between them.
                    if std::mem::replace(has_waited, true) {
                        yield_turn().await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The time for the first bytes is over: sends one line that says what can be sent here. A client that sent nothing
    /// at all gets it only from this machine and without TLS: elsewhere, programs open connections before they need them.
    fn answer_silence(&mut self, first: &[u8], waited: Duration) {
        let is_here = matches!(self.client.peer, Peer::Operator | Peer::Local) && !self.socket.is_tls();
        if self.refused.is_some() || first.is_empty() && !is_here {
            return;
        }
        let line = kind::silence_line(first, waited.as_millis() as u64);
        // Written once: the server does not wait for room.
        let written = self.socket.try_write(&[IoSlice::new(line.as_bytes())]);
        let _ = written.and_then(|_| self.socket.shut_down_writing());
        self.log_silence(first.len());
    }

    fn log_silence(&self, bytes: usize) {
        let peer = &self.client.from;
        if self.house.pump.monitoring.reports.admit(SILENT, Instant::now()) {
            tracing::info!(%peer, bytes, "connection closed: nothing that is known here was sent in time");
        } else {
            tracing::debug!(%peer, bytes, "connection closed: nothing that is known here was sent in time");
        }
    }
}

/// The first bytes of a connection: how many, and of which kind.
struct First {
    len: usize,
    kind: Kind,
    /// They are a name without a line end: the lines behind it will have none either.
    without_end: bool,
}

/// Why this peer cannot use typed lines. On this machine everybody can; from other machines only with TLS, and only if
/// the operator allows it.
fn no_lines(peer: Peer, reach: Scope) -> Option<ErrorReply> {
    let detail = match (peer, reach) {
        (Peer::Operator | Peer::Local, _) | (Peer::RemoteTls, Scope::Everywhere) => return None,
        (Peer::RemotePlain, _) => {
            "typed lines from another machine need TLS, and a server that runs with --lines everywhere"
        }
        (Peer::RemoteTls, Scope::Local) => {
            "typed lines from another machine need a server that runs with --lines everywhere"
        }
    };
    Some(ErrorReply::new(Code::TlsRequired, detail))
}

/// A connection with a session, whatever its framing is.
struct Talk {
    house: Rc<House>,
    wire: Wire,
    client: Client,
    connection: ConnectionInfo,
    /// The memory for clients is used up, so the socket is not read.
    waits_for_memory: bool,
    /// A request that costs more than the credit that is left: it waits for the next turn.
    asked: Option<(Ticket, Request)>,
}

/// A session that the pump knows. Its drop disconnects the session, also when the task is aborted.
struct Attached {
    pump: Rc<Pump>,
    id: SessionId,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.pump.disconnect(self.id);
    }
}

impl Talk {
    async fn run(
        mut self,
        mut first: Vec<u8>,
        kind: Kind,
        refused: Option<ErrorReply>,
        credential: Credential,
    ) {
        let mut session = ServerSession::new(steady_now(), self.house.limits.borrow().session());
        if let Some(error) = &refused {
            session.fail(steady_now(), error);
        }
        let other = |session: &mut ServerSession, name: &str| {
            let detail = format!("{name} is not spoken here; this port speaks vang messages and HTTP/1.1");
            session.fail(steady_now(), &ErrorReply::new(Code::Malformed, detail).with("part", "protocol"));
        };
        match kind {
            Kind::Native | Kind::Lines => self.wire.handle_bytes(&mut first, &mut session, steady_now()),
            Kind::Unknown { third } => session.refuse_protocol(steady_now(), third),
            Kind::Tls => other(&mut session, "TLS inside TLS"),
            Kind::Proxy => {
                let detail = "the proxy in front sends the PROXY protocol, which this address does not accept; listen with \
                              --listen ADDR,proxy=proxy, or switch it off in the proxy (nginx: proxy_protocol, HAProxy: \
                              send-proxy, send-proxy-v2)";
                session
                    .fail(steady_now(), &ErrorReply::new(Code::Malformed, detail).with("part", "protocol"));
            }
            Kind::Irc => other(&mut session, "IRC"),
            Kind::Http => other(&mut session, "HTTP"),
        }
        drop((first, refused));
        let pump = self.house.pump.clone();
        let slot = pump.connect(self.client.peer, self.connection, self.client.share.clone(), session);
        let attached = Attached { pump: pump.clone(), id: slot.id };
        if let Some(browser) = credential.browser {
            pump.set_browser(slot.id, browser);
        }
        if let Some(token) = &credential.token
            && let Err(error) = pump.sign_in_with(slot.id, token)
        {
            slot.session.borrow_mut().fail(steady_now(), &error);
        }
        drop(credential);
        let ended = self.turn(&slot).await;
        drop(attached);
        let session = slot.session.borrow();
        let ConnectionInfo { door, tls, from } = slot.connection;
        let door = door.name();
        let kind = session.refusal_code().map_or(WIRE_REFUSED, Code::as_str);
        match (session.refusal().or(self.wire.refusal()), ended) {
            (Some(error), _) if pump.monitoring.reports.admit(kind, Instant::now()) => {
                tracing::warn!(peer = %from, door, tls, error, "session closed");
            }
            (Some(error), _) => tracing::debug!(peer = %from, door, tls, error, "session closed"),
            (None, Err(error)) => tracing::debug!(peer = %from, door, tls, %error, "session lost"),
            (None, Ok(())) => tracing::debug!(peer = %from, door, tls, "session closed"),
        }
    }

    async fn turn(&mut self, slot: &Slot) -> io::Result<()> {
        let mut pulled = Vec::new();
        let mut turn = self.house.turns.begin_first();
        loop {
            // The clock is read once for the whole turn, which is over in a millisecond.
            let now = steady_now();
            slot.session.borrow_mut().handle_time(now);
            self.wire.handle_time(&mut slot.session.borrow_mut(), now);
            let (mut blocked, mut may_read) = (false, true);
            // `true`: the time of this turn is over, and work is left.
            let is_cut = loop {
                may_read = may_read && self.read(slot, now, &mut turn)?;
                if self.wire.is_over() {
                    slot.session.borrow_mut().hang_up();
                }
                let asked = self.ask(slot, now, &mut turn);
                // `true`: it has got every event that there is.
                let mut has_all_events = false;
                if slot.session.borrow().takes_events() {
                    has_all_events = !self.house.pump.pull(slot.id, &mut pulled);
                    let mut session = slot.session.borrow_mut();
                    for bytes in pulled.drain(..) {
                        session.push_event(now, bytes);
                    }
                }
                let mut session = slot.session.borrow_mut();
                match session.step(now) {
                    SessionStep::Wait => {}
                    SessionStep::ShutDown => self.wire.finish(&session),
                    SessionStep::Close => {
                        self.wire.finish(&session);
                        // Written once: the server does not wait for room.
                        return self.wire.write(&mut session, now).map(|_| ());
                    }
                }
                turn.note_unit();
                if self.wire.has_output(&session) {
                    // Output means that the client has asked something.
                    self.wire.socket.credit().note_asked();
                    blocked = !self.wire.write(&mut session, now)?;
                    if blocked {
                        break asked && turn.is_over();
                    }
                    if self.wire.has_output(&session) {
                        // One call of `write` did not write all of it.
                        turn.note_units(WRITTEN_UNITS);
                    } else if has_all_events
                        && !asked
                        && !may_read
                        && session.takes_events()
                        && !session.wants_poll()
                    {
                        // Another round, as after most writes, would find nothing: this is how each event reaches each
                        // of many readers.
                        break false;
                    }
                } else if !asked && !may_read {
                    break false;
                }
                if turn.is_over() {
                    break true;
                }
            };
            slot.beside.set(self.wire.held_bytes());
            self.house.pump.note_held(slot);
            if is_cut {
                yield_turn().await;
                turn = self.house.turns.begin();
                continue;
            }
            if let Some(deadline) = slot.session.borrow().deadline() {
                self.house.pump.schedule_deadline(slot, deadline);
            }
            if self.waits_for_memory {
                self.house.pump.schedule_deadline(slot, now + MEMORY_PAUSE_MS);
            }
            if let Some(deadline) = self.wire.deadline(&slot.session.borrow()) {
                self.house.pump.schedule_deadline(slot, deadline);
            }
            if slot.session.borrow().is_half_closed_reader() {
                // This socket is not read any more, so no read would report that the peer is gone.
                if self.wire.socket.is_gone() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                self.house.pump.note_half_closed(slot.id);
                self.house.pump.schedule_deadline(slot, now + GONE_CHECK_MS);
            }
            let has_waited = self.wait(slot, blocked).await?;
            // A peer that always has a few bytes ready does not extend the turn.
            if !has_waited && turn.is_over() {
                yield_turn().await;
                turn = self.house.turns.begin();
            } else if has_waited {
                turn = self.house.turns.begin();
            }
        }
    }

    /// Reads once. `true`: there may be more.
    fn read(&mut self, slot: &Slot, now: Millis, turn: &mut Turn) -> io::Result<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut session = slot.session.borrow_mut();
            self.waits_for_memory = false;
            if !(session.wants_input() && self.wire.wants_input()) {
                return Ok(false);
            }
            // The deadline of a message that is not complete goes on meanwhile.
            self.waits_for_memory = !self.house.pump.has_memory(slot);
            if self.waits_for_memory {
                return Ok(false);
            }
            let scant = self.house.pump.memory.read_max();
            let room = turn.read_max().min(scratch.len()).min(scant.unwrap_or(usize::MAX));
            let scratch = &mut scratch[..room];
            match self.wire.socket.try_read(scratch) {
                Ok(0) => {
                    self.wire.handle_end(&mut session, now);
                    Ok(false)
                }
                Ok(n) => {
                    turn.note_read(n);
                    self.wire.handle_bytes(&mut scratch[..n], &mut session, now);
                    // While memory is scant what it holds is counted after each read.
                    Ok((n == scratch.len() || n >= MORE_BYTES) && scant.is_none())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Hands the session's requests to the hub, while the turn lasts. `true`: there was one.
    fn ask(&mut self, slot: &Slot, now: Millis, turn: &mut Turn) -> bool {
        let mut any = false;
        while !turn.is_over() {
            let mut session = slot.session.borrow_mut();
            let request = self.asked.take().or_else(|| session.poll_request(now));
            let has_more = session.wants_poll();
            drop(session);
            turn.note_unit();
            match request {
                Some((ticket, request)) => {
                    let work_us = work_us(&request.action);
                    if work_us > 0 {
                        if !self.house.turns.may_begin(self.wire.socket.credit(), work_us) {
                            self.asked = Some((ticket, request));
                            turn.end();
                            return true;
                        }
                        turn.note_work();
                    }
                    self.house.pump.request(now, slot, ticket, request);
                }
                // The session answered many requests by itself.
                None if has_more => turn.note_units(ANSWERED_AT_ONCE),
                None => return any,
            }
            any = true;
        }
        true
    }

    /// Waits for the socket, the hub or a deadline. `false`: something was ready at once.
    async fn wait(&self, slot: &Slot, blocked: bool) -> io::Result<bool> {
        let wants_input =
            !self.waits_for_memory && slot.session.borrow().wants_input() && self.wire.wants_input();
        let mut has_waited = false;
        poll_fn(|cx| {
            if slot.poll_woken(cx).is_ready() {
                return Poll::Ready(Ok(has_waited));
            }
            if wants_input && let Poll::Ready(ready) = self.wire.socket.poll_read_ready(cx) {
                return Poll::Ready(ready.map(|()| has_waited));
            }
            if blocked && let Poll::Ready(ready) = self.wire.socket.poll_write_ready(cx) {
                return Poll::Ready(ready.map(|()| has_waited));
            }
            has_waited = true;
            Poll::Pending
        })
        .await
    }
}
