//! The steps, each with advice for its failure.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vang_client::trouble::{Doing, Trouble, WRITE_IN_NETWORK_ORDER};
use vang_proto::text::{short_duration, size};
use vang_proto::vang::{Action, RequestWriter};

use super::certificate::Certificate;
use super::kind::{self, Kind, ReadWrite};
use super::records::{DoctorOptions, Status, Step, StepRecord};
use crate::deadline_stream::{DeadlineStream, NotConnected, trouble};
use crate::diag::{Address, Diag, Protocol, Socket, State};
use crate::error::{ToolError, explain};
use crate::lookup::{Purpose, look_up};
use crate::ping::handshake::{AlpnOffer, config, handshake};
use crate::ping::{EchoResult, reach};
use crate::{Report, Stop, Stopped, Target};

/// A certificate that expires within this many days gets a warning.
const DAYS_FEW: i64 = 14;

const ACCEPTS_TOO_SLOWLY: &str = "the program accepts too slowly or not at all: is it stopped or busy? A longer queue \
                                  (--backlog) only helps against bursts";

const LOG: &str = "the log of the server can say why";

/// How long to wait for an answer to a request that can be of another protocol.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// The result of all steps.
pub(super) enum Diagnosis {
    /// One address works; these others fail.
    Well(Vec<SocketAddr>),
    At(Step),
    Stopped(Stopped),
}

/// Why a step failed.
enum StepFailure {
    Bad { text: String, advice: String },
    Stopped(Stopped),
    ToolError(ToolError),
}

impl From<ToolError> for StepFailure {
    fn from(failure: ToolError) -> StepFailure {
        StepFailure::ToolError(failure)
    }
}

impl From<std::io::Error> for StepFailure {
    fn from(error: std::io::Error) -> StepFailure {
        StepFailure::ToolError(error.into())
    }
}

impl From<Trouble> for StepFailure {
    fn from(trouble: Trouble) -> StepFailure {
        StepFailure::Bad { text: trouble.to_string(), advice: trouble.advice.to_owned() }
    }
}

fn bad(text: impl Into<String>, advice: impl Into<String>) -> StepFailure {
    StepFailure::Bad { text: text.into(), advice: advice.into() }
}

/// The meaning of a failing address beside a working one.
fn beside(broken: SocketAddr, works: SocketAddr, took: Duration) -> String {
    let family = |address: SocketAddr| if address.is_ipv6() { "IPv6" } else { "IPv4" };
    format!(
        "{} fails at {broken}, {} works at {works}. A client that tries {broken} first needs {} to notice; a client that \
         tries no other address fails. Let the server listen there too, or remove that address from the name",
        family(broken),
        family(works),
        short_duration(took)
    )
}

/// The kernel queues one more connection than the backlog.
fn is_full(listener: &Socket) -> bool {
    listener.send_q.is_some_and(|backlog| listener.recv_q > Some(backlog))
}

fn waiting(listener: &Socket) -> String {
    let number = |queue: Option<u32>| queue.map_or("?".to_owned(), |queue| queue.to_string());
    let full = if is_full(listener) { ", which is full" } else { "" };
    let (waiting, backlog) = (number(listener.recv_q), number(listener.send_q));
    format!("{waiting} of {backlog} wait to be accepted{full}")
}

/// The value, status and text of a step.
type StepResult<T> = Result<(T, Status, String), StepFailure>;

struct Doctor<'a> {
    options: &'a DoctorOptions,
    host: String,
    port: u16,
    report: &'a Report,
    stop: &'a Stop,
    at: Step,
    /// The address belongs to this machine, so that the server's queues are visible.
    is_here: bool,
    /// The name has several addresses.
    are_several: bool,
    /// No other address is left: a failure now is a failure of the server.
    is_only_hope: bool,
    broken: Vec<SocketAddr>,
}

/// Runs the steps until one fails.
pub(super) fn all(options: &DoctorOptions, report: &Report, stop: &Stop) -> Result<Diagnosis, ToolError> {
    let Target::Net { host, port: Some(port) } = &options.target else {
        return Err(ToolError::Usage(format!(
            "'{}' has no port: write HOST:PORT, as in localhost:65432",
            options.target
        )));
    };
    let mut doctor = Doctor {
        options,
        host: host.clone(),
        port: *port,
        report,
        stop,
        at: Step::Name,
        is_here: false,
        are_several: false,
        is_only_hope: true,
        broken: Vec::new(),
    };
    match doctor.go() {
        Ok(()) => Ok(Diagnosis::Well(doctor.broken)),
        Err(StepFailure::Stopped(stopped)) => Ok(Diagnosis::Stopped(stopped)),
        Err(StepFailure::ToolError(failure)) => Err(failure),
        Err(StepFailure::Bad { advice, .. }) => {
            report.means(&advice)?;
            Ok(Diagnosis::At(doctor.at))
        }
    }
}

impl<'a> Doctor<'a> {
    fn go(&mut self) -> Result<(), StepFailure> {
        let addresses = self.step(Step::Name, Doctor::name)?;
        let address = self.reach(&addresses)?;
        let tls = self.step(Step::Tls, |doctor| doctor.tls(address))?;
        let (kind, mut talk) = self.step(Step::Kind, |doctor| doctor.kind(address, tls))?;
        self.step(Step::Echo, |doctor| doctor.echo(&mut *talk.stream, &kind))?;
        let ends = talk.local.map(|local| (local, address));
        self.step(Step::Queues, |doctor| doctor.queues(ends, address))
    }

    /// Runs a step and records its result.
    fn step<T>(
        &mut self,
        step: Step,
        does: impl FnOnce(&mut Doctor<'a>) -> StepResult<T>,
    ) -> Result<T, StepFailure> {
        self.at = step;
        if let Some(stopped) = self.stop.now() {
            return Err(StepFailure::Stopped(stopped));
        }
        let began = Instant::now();
        let went = does(self);
        // A step that was interrupted by the stop is not a failure of the server.
        if let (Err(StepFailure::Bad { .. }), Some(stopped)) = (&went, self.stop.now()) {
            return Err(StepFailure::Stopped(stopped));
        }
        let took_us = began.elapsed().as_micros() as u64;
        let (found, text) = match &went {
            Ok((_, found, text)) => (*found, text.clone()),
            Err(StepFailure::Bad { text, .. }) if self.is_only_hope => (Status::Bad, text.clone()),
            Err(StepFailure::Bad { text, .. }) => (Status::Unknown, text.clone()),
            Err(StepFailure::Stopped(_) | StepFailure::ToolError(_)) => return went.map(|(value, ..)| value),
        };
        self.report.record(&StepRecord { step, found, text, took_us })?;
        went.map(|(value, ..)| value)
    }

    fn name(&mut self) -> StepResult<Vec<SocketAddr>> {
        self.report.explain(|| format!("getaddrinfo({:?}): the lookup that programs use", self.host))?;
        match look_up(&self.host, self.port, Purpose::Connect, self.stop) {
            Ok(Some(found)) => {
                let ips: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
                match ips.is_empty() {
                    true => Err(bad(
                        "the name has no address",
                        "add a DNS record of type A or AAAA, or use an address",
                    )),
                    false => Ok((found, Status::Good, format!("addresses: {}", ips.join(", ")))),
                }
            }
            Ok(None) => Err(StepFailure::Stopped(Stopped::Requested)),
            Err(ToolError::System { trouble, .. }) => Err(trouble.into()),
            Err(other) => Err(other.into()),
        }
    }

    /// Tests route, ICMP and TCP of each address in the resolver's order, as clients do; returns the first that connects.
    /// The others are tested as well, because some clients prefer them.
    fn reach(&mut self, addresses: &[SocketAddr]) -> Result<SocketAddr, StepFailure> {
        self.are_several = addresses.len() > 1;
        let mut works = None;
        let mut broken = Vec::new();
        for (place, &address) in addresses.iter().enumerate() {
            let began = Instant::now();
            // If another address works, or can work, this failure is not a failure of the server.
            self.is_only_hope = works.is_none() && place + 1 == addresses.len();
            // One connection at a time, for servers that serve clients one by one.
            match self.connects(address, works.is_some()).map(drop) {
                Ok(()) if works.is_none() => works = Some((address, self.is_here)),
                Ok(()) => {}
                Err(StepFailure::Bad { .. }) if !self.is_only_hope => {
                    broken.push((address, began.elapsed()));
                }
                Err(other) => return Err(other),
            }
        }
        let Some((address, is_here)) = works else {
            return Err(bad("there is no address", "check the name"));
        };
        self.is_here = is_here;
        self.is_only_hope = true;
        for (broken, took) in &broken {
            self.report.means(&beside(*broken, address, *took))?;
        }
        self.broken = broken.into_iter().map(|(address, _)| address).collect();
        Ok(address)
    }

    fn connects(
        &mut self,
        address: SocketAddr,
        another_does: bool,
    ) -> Result<DeadlineStream<'a>, StepFailure> {
        self.step(Step::Route, |doctor| doctor.route(address))?;
        let answers = match another_does {
            true => false,
            false => self.step(Step::Icmp, |doctor| doctor.icmp(address))?,
        };
        self.step(Step::Tcp, |doctor| doctor.tcp(address, answers))
    }

    /// The problem, with the address if there are several.
    fn of(&self, address: SocketAddr, wrong: &str) -> String {
        if self.are_several { format!("{address}: {wrong}") } else { wrong.to_owned() }
    }

    /// Connecting a datagram socket sends nothing, but makes the kernel look up the route.
    fn route(&mut self, address: SocketAddr) -> StepResult<()> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let looked = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(address)?;
            socket.local_addr()
        });
        match looked {
            Ok(from) => {
                self.is_here = address.ip().to_canonical().is_loopback() || from.ip() == address.ip();
                Ok(((), Status::Good, format!("{} is reached from our address {}", address.ip(), from.ip())))
            }
            Err(error) => {
                let found = trouble(address, &error);
                Err(bad(self.of(address, &found.to_string()), found.advice))
            }
        }
    }

    fn icmp(&mut self, address: SocketAddr) -> StepResult<bool> {
        self.report.explain(|| format!("send an ICMP echo request to {}", address.ip()))?;
        match reach(address, self.options.wait.min(Duration::from_secs(2)), self.stop) {
            Ok(EchoResult::Reply(_)) => {
                Ok((true, Status::Good, format!("{} answers an echo request", address.ip())))
            }
            Ok(EchoResult::Silent) => Ok((
                false,
                Status::Unknown,
                "no answer to an echo request; many hosts do not answer".to_owned(),
            )),
            Ok(EchoResult::IcmpError(said)) => Ok((false, Status::Unknown, said)),
            Ok(EchoResult::Stopped(stopped)) => Err(StepFailure::Stopped(stopped)),
            Err(failure) => Ok((false, Status::Unknown, format!("skipped: {failure}"))),
        }
    }

    fn tcp(&mut self, address: SocketAddr, answers: bool) -> StepResult<DeadlineStream<'a>> {
        self.report.explain(|| format!("connect to {address}: SYN, SYN+ACK, ACK"))?;
        match DeadlineStream::connect(address, self.options.wait, self.stop) {
            Ok(stream) => Ok((stream, Status::Good, format!("{address} accepts connections"))),
            Err(NotConnected::Stopped(stopped)) => Err(StepFailure::Stopped(stopped)),
            Err(NotConnected::Failed(error)) => {
                let found = trouble(address, &error);
                if let Some(full) = self.is_full_at(address, &error) {
                    return Err(full);
                }
                let advice = match (error.kind(), answers) {
                    (std::io::ErrorKind::ConnectionRefused, true) => {
                        "the host is reachable and no program listens on this port: start the server, or find its port with \
                         `vang net sockets` on that host"
                    }
                    (std::io::ErrorKind::TimedOut, true) => {
                        "the host answers pings but not this port: a firewall drops its packets, or the accept queue is \
                         full (`vang net sockets --state listen` on that host)"
                    }
                    (std::io::ErrorKind::TimedOut, false) => {
                        "no answer to pings or connections: the host is off, or a firewall drops both"
                    }
                    _ => found.advice,
                };
                Err(bad(self.of(address, &found.to_string()), advice))
            }
        }
    }

    /// Does the server speak TLS?
    fn tls(&mut self, address: SocketAddr) -> StepResult<bool> {
        let stream = self.dial(address)?;
        let config = config(AlpnOffer::Anything).map_err(|error| ToolError::Usage(error.to_string()))?;
        match handshake(config, &self.host, address.ip(), stream) {
            Ok(tls) => {
                let now =
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
                let chain = tls.conn.peer_certificates().unwrap_or_default();
                let version = tls
                    .conn
                    .protocol_version()
                    .map_or(String::new(), |version| format!("{version:?}").replace("TLSv1_", "TLS 1."));
                let Some(read) = chain.first().and_then(|leaf| Certificate::read(leaf, now)) else {
                    return Ok((true, Status::Unknown, format!("{version}; its certificate cannot be read")));
                };
                let issuer = read
                    .issuer
                    .clone()
                    .map_or("self-signed".to_owned(), |issuer| format!("issued by {issuer}"));
                let end = read.end();
                let text = format!("{version}; certificate for {}, {issuer}, {end}", read.for_whom());
                let clock = "renew it, and check the clocks of this machine and of the server";
                if read.is_early {
                    return Err(bad(format!("{text}: it is not valid yet"), clock));
                }
                if read.has_ended() {
                    return Err(bad(text, clock));
                }
                if !self.host.is_empty()
                    && !read.is_for(&self.host)
                    && !read.is_for(&address.ip().to_string())
                {
                    let advice = format!(
                        "browsers will refuse it for '{}': add that name (`vang serve --name {}`), or connect by a name in it",
                        self.host, self.host
                    );
                    self.report.record(&StepRecord {
                        step: Step::Tls,
                        found: Status::Unknown,
                        text: format!("the certificate is not for '{}'", self.host),
                        took_us: 0,
                    })?;
                    self.report.means(&advice)?;
                }
                if read.ends_within(DAYS_FEW) {
                    self.report.means("the certificate expires soon: renew it before clients refuse it")?;
                }
                Ok((true, Status::Good, text))
            }
            Err((_, stream)) if stream.stopped().is_some() => {
                Err(StepFailure::Stopped(stream.stopped().unwrap_or(Stopped::Requested)))
            }
            Err((error, _)) => {
                let why = match error.kind() {
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::Other => {
                        "the server does not speak TLS".to_owned()
                    }
                    _ => explain(&error, Doing::Read).name.into_owned(),
                };
                Ok((false, Status::Unknown, format!("no TLS: {why}")))
            }
        }
    }

    fn dial(&self, address: SocketAddr) -> Result<DeadlineStream<'a>, StepFailure> {
        let mut stream =
            DeadlineStream::connect(address, self.options.wait, self.stop).map_err(|error| match error {
                NotConnected::Stopped(stopped) => StepFailure::Stopped(stopped),
                NotConnected::Failed(error) => {
                    let full = self.is_full_at(address, &error);
                    full.unwrap_or_else(|| trouble(address, &error).into())
                }
            })?;
        stream.set_deadline(Instant::now() + self.options.wait);
        Ok(stream)
    }

    /// A new connection, with TLS if the step before found it: a server can require it.
    fn talk(&self, address: SocketAddr, tls: bool) -> Result<OpenConnection<'a>, StepFailure> {
        let mut stream = self.dial(address)?;
        // A server of another protocol can wait for the rest of the request.
        stream.set_deadline(Instant::now() + self.options.wait.min(ANSWER_WAIT));
        let local = stream.local();
        if !tls {
            return Ok(OpenConnection { stream: Box::new(stream), local });
        }
        let config = config(AlpnOffer::Anything).map_err(|error| ToolError::Usage(error.to_string()))?;
        match handshake(config, &self.host, address.ip(), stream) {
            Ok(tls) => Ok(OpenConnection { stream: Box::new(tls), local }),
            Err((error, _)) => Err(explain(&error, Doing::Read).into()),
        }
    }

    fn kind(&mut self, address: SocketAddr, tls: bool) -> StepResult<(Kind, OpenConnection<'a>)> {
        self.report.explain(|| {
            "send a vang request with action hello: the answer shows the kind of server".to_owned()
        })?;
        let mut talk = self.talk(address, tls)?;
        let mut found = kind::ask(&mut *talk.stream, &kind::hello());
        for (question, said) in
            [(kind::search(), "the search of the tutorial"), (kind::http(&self.host, self.port), "HEAD /")]
        {
            if !matches!(found, Kind::Mute | Kind::Silent) {
                break;
            }
            self.report.explain(|| format!("no answer: send {said} on a new connection"))?;
            drop(talk);
            talk = self.talk(address, tls)?;
            found = kind::ask(&mut *talk.stream, &question);
        }
        let text = match &found {
            Kind::Vang { server, journal } => format!("{server}, journal {journal}"),
            Kind::VangRefuses { code, detail } => {
                let advice = match code.as_str() {
                    "tls-required" => "it requires TLS: `vang` uses it with vangs://",
                    "too-many" => "it has reached its limit of connections: close some, or raise the limit",
                    _ => "the log of the server can say more",
                };
                return Err(bad(format!("a vang server that refuses the request: {code}: {detail}"), advice));
            }
            Kind::Guide => "a tutorial server: one request, one response".to_owned(),
            Kind::Echo => "an echo server: it sends back what it receives".to_owned(),
            Kind::Http { status } => format!("HTTP: {status}"),
            Kind::WrongByteOrder(length) => {
                let text = format!("its header length is in the wrong byte order: {length}");
                return Err(bad(text, WRITE_IN_NETWORK_ORDER));
            }
            Kind::Other { says } => format!("not a vang server; it sends {says}"),
            Kind::Mute => {
                let text = "it accepts connections and closes them without an answer";
                return Err(bad(
                    text,
                    "look at the log of the server; perhaps it allows known addresses only",
                ));
            }
            Kind::Silent => {
                let text = "it accepts connections and does not answer";
                // Our connection is still open: a program that accepts has accepted it by now.
                return Err(match self.listener(address).filter(|listener| listener.recv_q > Some(0)) {
                    Some(listener) => bad(format!("{text}; {}", waiting(&listener)), ACCEPTS_TOO_SLOWLY),
                    None => bad(
                        text,
                        "the program is busy or stopped, or expects another protocol; if its accept queue is filling \
                         (`vang net sockets` there), it hangs",
                    ),
                });
            }
        };
        Ok(((found, talk), Status::Good, text))
    }

    /// Tests one exchange with the application.
    fn echo(&mut self, stream: &mut dyn ReadWrite, kind: &Kind) -> StepResult<()> {
        let answered = |text: &str| Ok(((), Status::Good, text.to_owned()));
        match kind {
            Kind::Vang { .. } => {
                let ping = RequestWriter { name: None }.write(2, &Action::Ping);
                match kind::ask(stream, &ping) {
                    // A reply other than one to hello.
                    Kind::Guide => answered("it answered a ping"),
                    Kind::Mute => Err(bad("it closed the connection instead of answering a ping", LOG)),
                    Kind::VangRefuses { code, detail } => {
                        Err(bad(format!("it refuses a ping: {code}: {detail}"), LOG))
                    }
                    Kind::Silent
                    | Kind::Vang { .. }
                    | Kind::Echo
                    | Kind::Http { .. }
                    | Kind::WrongByteOrder(_)
                    | Kind::Other { .. } => Err(bad("no answer to a ping", LOG)),
                }
            }
            Kind::Guide => answered("it answered a request"),
            Kind::Http { .. } => answered("it answered HEAD /"),
            Kind::Echo => answered("the sent bytes came back"),
            Kind::WrongByteOrder(_)
            | Kind::Other { .. }
            | Kind::VangRefuses { .. }
            | Kind::Mute
            | Kind::Silent => Ok(((), Status::Unknown, "skipped: unknown protocol".to_owned())),
        }
    }

    /// The listening socket of this address, if it is on this machine; of several the one with the longest queue.
    fn listener(&self, address: SocketAddr) -> Option<Socket> {
        let listens = |socket: &Socket| {
            let Address::Net(local) = socket.local else { return false };
            let takes_any = local.ip().is_unspecified() && (local.is_ipv6() || address.is_ipv4());
            socket.state == State::Listen
                && local.port() == address.port()
                && (takes_any || local.ip() == address.ip())
        };
        let all = self.is_here.then(|| Diag::open().all(Protocol::Tcp).ok()).flatten()?;
        all.into_iter().filter(listens).max_by_key(|socket| socket.recv_q)
    }

    /// A timeout while the accept queue is full: the kernel drops new connections.
    fn is_full_at(&self, address: SocketAddr, error: &std::io::Error) -> Option<StepFailure> {
        let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
        let listener = timed_out.then(|| self.listener(address)).flatten().filter(is_full)?;
        let text = format!("{}; {}", trouble(address, error), waiting(&listener));
        Some(bad(self.of(address, &text), ACCEPTS_TOO_SLOWLY))
    }

    /// The queues of this connection and, if the server is on this machine, its accept queue.
    fn queues(&mut self, ends: Option<(SocketAddr, SocketAddr)>, address: SocketAddr) -> StepResult<()> {
        let skipped = |why: String| Ok(((), Status::Unknown, format!("skipped: {why}")));
        let mut diag = Diag::open();
        let own = match ends.map(|(local, peer)| diag.connection(local, peer)) {
            Some(Ok(own)) => own,
            Some(Err(error)) => return skipped(error.to_string()),
            None => None,
        };
        let mut said = Vec::new();
        if let Some(Socket { recv_q: Some(recv_q), send_q: Some(send_q), tcp, .. }) = &own {
            said.push(format!("{} unread, {} unsent", size((*recv_q).into()), size((*send_q).into())));
            if let Some(tcp) = tcp {
                said.push(format!(
                    "round trip {:.2} ms, {} retransmitted",
                    f64::from(tcp.rtt_us) / 1e3,
                    tcp.retransmitted
                ));
            }
        }
        if let Some(listener) = self.listener(address) {
            said.push(waiting(&listener));
            if is_full(&listener) {
                return Err(bad(said.join("; "), ACCEPTS_TOO_SLOWLY));
            }
        }
        match said.is_empty() {
            true => Ok(((), Status::Unknown, "the connection is already closed".to_owned())),
            false => Ok(((), Status::Good, said.join("; "))),
        }
    }
}

struct OpenConnection<'a> {
    stream: Box<dyn ReadWrite + 'a>,
    local: Option<SocketAddr>,
}
