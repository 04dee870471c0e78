//! What a name stands for: the resolver's answers as they come, in its order, which is the order in which programs
//! try them; then a connection to each, and which family won. `getaddrinfo(3)` is asked with `AF_UNSPEC` and
//! `SOCK_STREAM`, as programs ask; nothing is sorted here.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};
use serde::Serialize;
use vang_client::trouble::{Doing, explain};

use crate::failure::{Failure, Outcome};
use crate::{Record, Report, Stop, Verdict, duration};

/// How long one address has to take a connection, if nothing shorter was asked for.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// What to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A name or an address; empty is every interface to a listener, and loopback to whoever connects.
    pub host: String,
    /// With it, each address is connected to.
    pub port: Option<u16>,
}

/// One answer of the resolver's.
#[derive(Clone, Debug, Serialize)]
struct Address {
    family: &'static str,
    kind: &'static str,
    address: SocketAddr,
    flow: Option<u32>,
    scope: Option<u32>,
    /// The canonical name, where the resolver tells one.
    name: Option<String>,
}

impl Record for Address {
    const EVENT: &'static str = "address";
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:4} {:6} {}", self.family, self.kind, self.address)?;
        if let (Some(flow), Some(scope)) = (self.flow, self.scope) {
            write!(f, "  flow info {flow}, scope {scope}")?;
        }
        match &self.name {
            Some(name) => write!(f, "  ({name})"),
            None => Ok(()),
        }
    }
}

/// What came of connecting to one of them.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    address: SocketAddr,
    connected: bool,
    took_us: u64,
    error: Option<String>,
}

impl Record for Tried {
    const EVENT: &'static str = "tried";
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(Duration::from_micros(self.took_us));
        match &self.error {
            None => write!(f, "{} connected in {took}", self.address),
            Some(error) => write!(f, "{} after {took}: {error}", self.address),
        }
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let host = Some(asked.host.as_str()).filter(|host| !host.is_empty());
    let service = asked.port.unwrap_or(0).to_string();
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    report.explain(|| {
        format!("getaddrinfo({:?}, {service:?}): family unspecified, type stream", host.unwrap_or_default())
    })?;
    let cannot =
        |error: &io::Error| Failure::of(format!("cannot resolve '{}'", asked.host), error, Doing::Resolve);
    let began = Instant::now();
    let found = getaddrinfo(host, Some(&service), Some(hints)).map_err(|error| cannot(&error.into()))?;
    let found = found.collect::<io::Result<Vec<_>>>().map_err(|error| cannot(&error))?;
    report.explain(|| format!("{} answers in {}", found.len(), duration(began.elapsed())))?;
    for info in &found {
        let (flow, scope) = match info.sockaddr {
            SocketAddr::V6(address) => (Some(address.flowinfo()), Some(address.scope_id())),
            SocketAddr::V4(_) => (None, None),
        };
        let family = if info.sockaddr.is_ipv6() { "IPv6" } else { "IPv4" };
        let name = info.canonname.clone();
        report.tell(&Address { family, kind: "stream", address: info.sockaddr, flow, scope, name })?;
    }
    let Some(first) = found.first() else {
        report.means("the resolver knows the name and has no address for it")?;
        return Ok(Verdict::Bad);
    };
    if asked.port.is_none() {
        return Ok(Verdict::Good);
    }
    let mut won = None;
    for info in &found {
        if stop.now().is_some() {
            return Ok(Verdict::TimedOut);
        }
        let wait =
            stop.left().map_or(CONNECT_WAIT, |left| left.min(CONNECT_WAIT)).max(Duration::from_millis(1));
        let began = Instant::now();
        let outcome = TcpStream::connect_timeout(&info.sockaddr, wait);
        let took = began.elapsed();
        won = won.or(outcome.as_ref().ok().map(|_| info.sockaddr));
        let error = outcome.err().map(|error| explain(&error, Doing::Connect).to_string());
        let took_us = took.as_micros() as u64;
        report.tell(&Tried { address: info.sockaddr, connected: error.is_none(), took_us, error })?;
    }
    match won {
        Some(won) if won != first.sockaddr => {
            report.means(&format!(
                "programs that try one address after the other reach {won} only after {} has failed",
                first.sockaddr
            ))?;
            Ok(Verdict::Good)
        }
        Some(_) => Ok(Verdict::Good),
        None => Ok(Verdict::Bad),
    }
}
