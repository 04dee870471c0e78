//! The steps themselves, each on what the one before it found, and what to try when it fails.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vang_client::trouble::{Doing, Trouble};
use vang_proto::vang::RequestWriter;

use super::certificate::Certificate;
use super::kind::{self, Kind, Wire};
use super::{Asked, Checked, Found, Step};
use crate::connect::{NotConnected, Patient, trouble};
use crate::diag::{Address, Diag, Protocol, Socket, State};
use crate::failure::{Failure, explain};
use crate::lookup::{Purpose, look_up};
use crate::ping::handshake::{Speaks, config, shake};
use crate::ping::{Reached, reach};
use crate::quote::{duration, size};
use crate::{Report, Stop, Stopped, Target};

/// Days before a certificate's end from which on it is told.
const DAYS_FEW: i64 = 14;

const ACCEPTS_TOO_SLOWLY: &str = "the program accepts too slowly or not at all: is it stopped or busy? A longer queue \
                                  (--backlog) only helps against bursts";

const LOG: &str = "the server's log may say why";

/// How long a server has to answer what may not be its protocol.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How it ended.
pub(super) enum Ended {
    /// At one address; these others fail.
    Well(Vec<SocketAddr>),
    At(Step),
    Stopped(Stopped),
}

/// Why a step goes no further: what to try.
enum NoFurther {
    Bad { text: String, advice: String },
    Stopped(Stopped),
    Failure(Failure),
}

impl From<Failure> for NoFurther {
    fn from(failure: Failure) -> NoFurther {
        NoFurther::Failure(failure)
    }
}

impl From<std::io::Error> for NoFurther {
    fn from(error: std::io::Error) -> NoFurther {
        NoFurther::Failure(error.into())
    }
}

impl From<Trouble> for NoFurther {
    fn from(trouble: Trouble) -> NoFurther {
        NoFurther::Bad { text: trouble.to_string(), advice: trouble.advice.to_owned() }
    }
}

fn bad(text: impl Into<String>, advice: impl Into<String>) -> NoFurther {
    NoFurther::Bad { text: text.into(), advice: advice.into() }
}

/// What it means that one address fails where another works.
fn beside(broken: SocketAddr, works: SocketAddr, took: Duration) -> String {
    let family = |address: SocketAddr| if address.is_ipv6() { "IPv6" } else { "IPv4" };
    format!(
        "{} is broken at {broken}, {} works at {works}. A client that tries {broken} first needs {} to find out; one that \
         knows no other fails. Let the server listen there too, or take that address from the name",
        family(broken),
        family(works),
        duration(took)
    )
}

/// The kernel lets one more wait than the backlog says.
fn is_full(listener: &Socket) -> bool {
    listener.send_q.is_some_and(|backlog| listener.recv_q > Some(backlog))
}

fn waiting(listener: &Socket) -> String {
    let number = |queue: Option<u32>| queue.map_or("?".to_owned(), |queue| queue.to_string());
    let full = if is_full(listener) { ", which is full" } else { "" };
    let (waiting, backlog) = (number(listener.recv_q), number(listener.send_q));
    format!("{waiting} of {backlog} wait to be accepted{full}")
}

/// What a step answers when it goes on.
type Went<T> = Result<(T, Found, String), NoFurther>;

struct Doctor<'a> {
    asked: &'a Asked,
    host: String,
    port: u16,
    report: &'a Report,
    stop: &'a Stop,
    at: Step,
    /// The address that is looked at is one of this machine's own, so that the server's queues can be seen.
    is_here: bool,
    /// The name stands for several addresses.
    are_several: bool,
    /// No other address is left to try: what fails now is what the server fails at.
    is_only_hope: bool,
    /// Addresses that fail beside the one that works.
    broken: Vec<SocketAddr>,
}

/// Every step until one fails.
pub(super) fn all(asked: &Asked, report: &Report, stop: &Stop) -> Result<Ended, Failure> {
    let Target::Net { host, port: Some(port) } = &asked.target else {
        return Err(Failure::Usage(format!(
            "a place with a port, as localhost:65432; '{}' has none",
            asked.target
        )));
    };
    let mut doctor = Doctor {
        asked,
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
        Ok(()) => Ok(Ended::Well(doctor.broken)),
        Err(NoFurther::Stopped(stopped)) => Ok(Ended::Stopped(stopped)),
        Err(NoFurther::Failure(failure)) => Err(failure),
        Err(NoFurther::Bad { advice, .. }) => {
            report.means(&advice)?;
            Ok(Ended::At(doctor.at))
        }
    }
}

impl<'a> Doctor<'a> {
    fn go(&mut self) -> Result<(), NoFurther> {
        let addresses = self.step(Step::Name, Doctor::name)?;
        let address = self.reach(&addresses)?;
        let tls = self.step(Step::Tls, |doctor| doctor.tls(address))?;
        let (kind, mut talk) = self.step(Step::Kind, |doctor| doctor.kind(address, tls))?;
        self.step(Step::Echo, |doctor| doctor.echo(&mut *talk.stream, &kind))?;
        let ends = talk.local.map(|local| (local, address));
        self.step(Step::Queues, |doctor| doctor.queues(ends, address))
    }

    /// Does a step, and tells what came of it.
    fn step<T>(&mut self, step: Step, does: impl FnOnce(&mut Doctor<'a>) -> Went<T>) -> Result<T, NoFurther> {
        self.at = step;
        if let Some(stopped) = self.stop.now() {
            return Err(NoFurther::Stopped(stopped));
        }
        let began = Instant::now();
        let went = does(self);
        // What the end of this tool cut off is no fault of the server's.
        if let (Err(NoFurther::Bad { .. }), Some(stopped)) = (&went, self.stop.now()) {
            return Err(NoFurther::Stopped(stopped));
        }
        let took_us = began.elapsed().as_micros() as u64;
        let (found, text) = match &went {
            Ok((_, found, text)) => (*found, text.clone()),
            Err(NoFurther::Bad { text, .. }) if self.is_only_hope => (Found::Bad, text.clone()),
            Err(NoFurther::Bad { text, .. }) => (Found::Unknown, text.clone()),
            Err(NoFurther::Stopped(_) | NoFurther::Failure(_)) => return went.map(|(value, ..)| value),
        };
        self.report.tell(&Checked { step, found, text, took_us })?;
        went.map(|(value, ..)| value)
    }

    fn name(&mut self) -> Went<Vec<SocketAddr>> {
        self.report.explain(|| format!("getaddrinfo({:?}): what programs ask", self.host))?;
        match look_up(&self.host, self.port, Purpose::Connect, self.stop) {
            Ok(Some(found)) => {
                let ips: Vec<String> =
                    found.addresses.iter().map(|address| address.ip().to_string()).collect();
                match ips.is_empty() {
                    true => Err(bad(
                        "it has no address",
                        "give its owner a record of type A or AAAA, or use an address",
                    )),
                    false => Ok((found.addresses, Found::Good, format!("it is {}", ips.join(", ")))),
                }
            }
            Ok(None) => Err(NoFurther::Stopped(Stopped::Asked)),
            Err(Failure::System { trouble, .. }) => Err(trouble.into()),
            Err(other) => Err(other.into()),
        }
    }

    /// Route, ICMP and TCP for each address in the resolver's order, as a client tries them; the first that connects is
    /// looked into. The others are tried all the same: what fails there is met by clients that prefer it.
    fn reach(&mut self, addresses: &[SocketAddr]) -> Result<SocketAddr, NoFurther> {
        self.are_several = addresses.len() > 1;
        let mut works = None;
        let mut broken = Vec::new();
        for (place, &address) in addresses.iter().enumerate() {
            let began = Instant::now();
            // Where another works, or may, this one is not what the server fails at.
            self.is_only_hope = works.is_none() && place + 1 == addresses.len();
            // One connection at a time: a server may serve its clients one by one.
            match self.connects(address, works.is_some()).map(drop) {
                Ok(()) if works.is_none() => works = Some((address, self.is_here)),
                Ok(()) => {}
                Err(NoFurther::Bad { .. }) if !self.is_only_hope => {
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

    fn connects(&mut self, address: SocketAddr, another_does: bool) -> Result<Patient<'a>, NoFurther> {
        self.step(Step::Route, |doctor| doctor.route(address))?;
        let answers = match another_does {
            true => false,
            false => self.step(Step::Icmp, |doctor| doctor.icmp(address))?,
        };
        self.step(Step::Tcp, |doctor| doctor.tcp(address, answers))
    }

    /// What is wrong, and at which of several addresses.
    fn of(&self, address: SocketAddr, wrong: &str) -> String {
        if self.are_several { format!("{address}: {wrong}") } else { wrong.to_owned() }
    }

    /// A datagram socket that is connected sends nothing; the kernel looks up the way all the same.
    fn route(&mut self, address: SocketAddr) -> Went<()> {
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
                Ok(((), Found::Good, format!("{} goes out from {}", address.ip(), from.ip())))
            }
            Err(error) => {
                let found = trouble(address, &error);
                Err(bad(self.of(address, &found.to_string()), found.advice))
            }
        }
    }

    fn icmp(&mut self, address: SocketAddr) -> Went<bool> {
        self.report.explain(|| format!("an echo request goes to {}", address.ip()))?;
        match reach(address, self.asked.wait.min(Duration::from_secs(2)), self.stop) {
            Ok(Reached::Answered(_)) => {
                Ok((true, Found::Good, format!("{} answers an echo request", address.ip())))
            }
            Ok(Reached::Silent) => {
                Ok((false, Found::Unknown, "no answer to an echo request; many hosts give none".to_owned()))
            }
            Ok(Reached::Refused(said)) => Ok((false, Found::Unknown, said)),
            Ok(Reached::Stopped(stopped)) => Err(NoFurther::Stopped(stopped)),
            Err(failure) => Ok((false, Found::Unknown, format!("left out: {failure}"))),
        }
    }

    fn tcp(&mut self, address: SocketAddr, answers: bool) -> Went<Patient<'a>> {
        self.report.explain(|| format!("connect to {address}: SYN, SYN and ACK, ACK"))?;
        match Patient::connect(address, self.asked.wait, self.stop) {
            Ok(stream) => Ok((stream, Found::Good, format!("{address} takes connections"))),
            Err(NotConnected::Stopped(stopped)) => Err(NoFurther::Stopped(stopped)),
            Err(NotConnected::Failed(error)) => {
                let found = trouble(address, &error);
                if let Some(full) = self.is_full_at(address, &error) {
                    return Err(full);
                }
                let advice = match (error.kind(), answers) {
                    (std::io::ErrorKind::ConnectionRefused, true) => {
                        "the host is there and nobody listens at this port: start the server, or look for its port with \
                         `vang net sockets` on that host"
                    }
                    (std::io::ErrorKind::TimedOut, true) => {
                        "the host answers pings but not this port: a firewall drops what goes there, or as many \
                         connections wait there as may (`vang net sockets --state listen` on that host)"
                    }
                    (std::io::ErrorKind::TimedOut, false) => {
                        "neither pings nor connections are answered: the host is off, or a firewall drops both"
                    }
                    _ => found.advice,
                };
                Err(bad(self.of(address, &found.to_string()), advice))
            }
        }
    }

    /// `true`: it speaks TLS.
    fn tls(&mut self, address: SocketAddr) -> Went<bool> {
        let stream = self.dial(address)?;
        let config = config(Speaks::Anything).map_err(|error| Failure::Usage(error.to_string()))?;
        match shake(config, &self.host, address.ip(), stream) {
            Ok(tls) => {
                let now =
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
                let chain = tls.conn.peer_certificates().unwrap_or_default();
                let version = tls
                    .conn
                    .protocol_version()
                    .map_or(String::new(), |version| format!("{version:?}").replace("TLSv1_", "TLS 1."));
                let Some(read) = chain.first().and_then(|leaf| Certificate::read(leaf, now)) else {
                    return Ok((true, Found::Unknown, format!("{version}; its certificate cannot be read")));
                };
                let issuer = read
                    .issuer
                    .clone()
                    .map_or("vouched for by itself".to_owned(), |issuer| format!("issued by {issuer}"));
                let end = read.end();
                let text = format!("{version}; certificate for {}, {issuer}, {end}", read.for_whom());
                let clock = "renew it, and look whether this machine's clock and the server's are right";
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
                        "browsers will refuse it for '{}': give it that name (`vang serve --name {}`), or use one that it has",
                        self.host, self.host
                    );
                    self.report.tell(&Checked {
                        step: Step::Tls,
                        found: Found::Unknown,
                        text: format!("'{}' is none of its names", self.host),
                        took_us: 0,
                    })?;
                    self.report.means(&advice)?;
                }
                if read.ends_within(DAYS_FEW) {
                    self.report.means("its certificate ends soon: renew it before clients are refused")?;
                }
                Ok((true, Found::Good, text))
            }
            Err((_, stream)) if stream.stopped().is_some() => {
                Err(NoFurther::Stopped(stream.stopped().unwrap_or(Stopped::Asked)))
            }
            Err((error, _)) => {
                let why = match error.kind() {
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::Other => {
                        "it answers something else".to_owned()
                    }
                    _ => explain(&error, Doing::Read).name.into_owned(),
                };
                Ok((false, Found::Unknown, format!("none here: {why}")))
            }
        }
    }

    fn dial(&self, address: SocketAddr) -> Result<Patient<'a>, NoFurther> {
        let mut stream =
            Patient::connect(address, self.asked.wait, self.stop).map_err(|error| match error {
                NotConnected::Stopped(stopped) => NoFurther::Stopped(stopped),
                NotConnected::Failed(error) => {
                    let full = self.is_full_at(address, &error);
                    full.unwrap_or_else(|| trouble(address, &error).into())
                }
            })?;
        stream.ends_at(Instant::now() + self.asked.wait);
        Ok(stream)
    }

    /// A fresh connection, in TLS where the step before found that: a server may take nothing else.
    fn talk(&self, address: SocketAddr, tls: bool) -> Result<Talk<'a>, NoFurther> {
        let mut stream = self.dial(address)?;
        // A server of another kind may wait for more of what it takes for its own protocol.
        stream.ends_at(Instant::now() + self.asked.wait.min(ANSWER_WAIT));
        let local = stream.local();
        if !tls {
            return Ok(Talk { stream: Box::new(stream), local });
        }
        let config = config(Speaks::Anything).map_err(|error| Failure::Usage(error.to_string()))?;
        match shake(config, &self.host, address.ip(), stream) {
            Ok(tls) => Ok(Talk { stream: Box::new(tls), local }),
            Err((error, _)) => Err(explain(&error, Doing::Read).into()),
        }
    }

    fn kind(&mut self, address: SocketAddr, tls: bool) -> Went<(Kind, Talk<'a>)> {
        self.report
            .explain(|| "a vang request goes out, action hello: what answers tells what it is".to_owned())?;
        let mut talk = self.talk(address, tls)?;
        let mut found = kind::ask(&mut *talk.stream, &kind::hello());
        for (question, said) in
            [(kind::search(), "the guide's search"), (kind::http(&self.host, self.port), "HEAD /")]
        {
            if !matches!(found, Kind::Mute | Kind::Silent) {
                break;
            }
            self.report
                .explain(|| format!("no answer to that: {said} goes out on a connection of its own"))?;
            drop(talk);
            talk = self.talk(address, tls)?;
            found = kind::ask(&mut *talk.stream, &question);
        }
        let text = match &found {
            Kind::Vang { server, journal } => format!("{server}, journal {journal}"),
            Kind::VangRefuses { code, detail } => {
                let advice = match code.as_str() {
                    "tls-required" => "speak TLS to it: `vang` does by itself with vangs://",
                    "too-many" => "it has as many connections as it may: close some, or raise its limit",
                    _ => "the server's log may say more",
                };
                return Err(bad(format!("a vang server that refuses: {code}: {detail}"), advice));
            }
            Kind::Guide => "a server of the guide: one request, one response".to_owned(),
            Kind::Echo => "an echo: it sends back what it is sent".to_owned(),
            Kind::Http { status } => format!("HTTP: {status}"),
            Kind::Other { says } => format!("no vang server; it says {says}"),
            Kind::Mute => {
                let text = "it takes connections and closes them without a word";
                return Err(bad(text, "look at the server's log; perhaps it speaks to known addresses only"));
            }
            Kind::Silent => {
                let text = "it takes connections and says nothing";
                // Ours is still open: whoever accepts has accepted it by now.
                return Err(match self.listener(address).filter(|listener| listener.recv_q > Some(0)) {
                    Some(listener) => bad(format!("{text}; {}", waiting(&listener)), ACCEPTS_TOO_SLOWLY),
                    None => bad(
                        text,
                        "the program is busy or stopped, or waits for another protocol; if its accept queue fills \
                         (`vang net sockets` there), it hangs",
                    ),
                });
            }
        };
        Ok(((found, talk), Found::Good, text))
    }

    /// One exchange with the application itself.
    fn echo(&mut self, stream: &mut dyn Wire, kind: &Kind) -> Went<()> {
        let answered = |text: &str| Ok(((), Found::Good, text.to_owned()));
        match kind {
            Kind::Vang { .. } => {
                let ping = RequestWriter { name: None }.write(2, "ping", &[]);
                match kind::ask(stream, &ping) {
                    // A reply that is no hello's.
                    Kind::Guide => answered("its answer to a ping came"),
                    Kind::Mute => Err(bad("it closed instead of answering a ping", LOG)),
                    Kind::VangRefuses { code, detail } => {
                        Err(bad(format!("it refuses a ping: {code}: {detail}"), LOG))
                    }
                    Kind::Silent
                    | Kind::Vang { .. }
                    | Kind::Echo
                    | Kind::Http { .. }
                    | Kind::Other { .. } => Err(bad("no answer to a ping came", LOG)),
                }
            }
            Kind::Guide => answered("it answered a request"),
            Kind::Http { .. } => answered("it answered HEAD /"),
            Kind::Echo => answered("what was sent came back"),
            Kind::Other { .. } | Kind::VangRefuses { .. } | Kind::Mute | Kind::Silent => {
                Ok(((), Found::Unknown, "left out: its protocol is not known here".to_owned()))
            }
        }
    }

    /// The socket that listens at this address, where that is on this machine; of several the one where most wait.
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

    /// No answer came, and as many connections wait at this address as may: the kernel drops whoever comes then.
    fn is_full_at(&self, address: SocketAddr, error: &std::io::Error) -> Option<NoFurther> {
        let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
        let listener = timed_out.then(|| self.listener(address)).flatten().filter(is_full)?;
        let text = format!("{}; {}", trouble(address, error), waiting(&listener));
        Some(bad(self.of(address, &text), ACCEPTS_TOO_SLOWLY))
    }

    /// What waits in this connection, and, where the server is on this machine, who waits to be accepted.
    fn queues(&mut self, ends: Option<(SocketAddr, SocketAddr)>, address: SocketAddr) -> Went<()> {
        let left_out = |why: String| Ok(((), Found::Unknown, format!("left out: {why}")));
        let mut diag = Diag::open();
        let own = match ends.map(|(local, peer)| diag.connection(local, peer)) {
            Some(Ok(own)) => own,
            Some(Err(error)) => return left_out(error.to_string()),
            None => None,
        };
        let mut said = Vec::new();
        if let Some(Socket { recv_q: Some(recv_q), send_q: Some(send_q), tcp, .. }) = &own {
            said.push(format!("{} to read, {} to send", size((*recv_q).into()), size((*send_q).into())));
            if let Some(tcp) = tcp {
                said.push(format!(
                    "round trip {:.2} ms, {} sent again",
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
            true => Ok(((), Found::Unknown, "the connection is gone already".to_owned())),
            false => Ok(((), Found::Good, said.join("; "))),
        }
    }
}

struct Talk<'a> {
    stream: Box<dyn Wire + 'a>,
    local: Option<SocketAddr>,
}
