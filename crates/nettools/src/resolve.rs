//! What a name stands for: the resolver's answers as they come, in its order, which is the order in which programs
//! try them; then a connection to each, and which family won. `getaddrinfo(3)` is asked as programs ask it (see
//! `lookup`); nothing is sorted here, and nothing races: the addresses are tried one after the other, each to its end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::connect::{NotConnected, Patient, trouble};
use crate::failure::Outcome;
use crate::lookup::{Found, Purpose, look_up, loose};
use crate::quote::counted;
use crate::{Record, Report, Stop, Stopped, Verdict, duration};

/// How long one address has to take a connection, if nothing shorter was asked for.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long a program with Happy Eyeballs waits for one address before it begins with the next beside it: RFC 8305
/// section 5, "Connection Attempt Delay".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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
    /// Its place in the resolver's order, from 1.
    place: usize,
    family: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// IPv6 only, as the rest of its tuple.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_info: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
    /// Who it is for, where that makes a difference: `connect` or `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    /// What kind of address this is.
    reach: &'static str,
}

impl Record for Address {
    const EVENT: &'static str = "address";
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match (self.address, self.port) {
            (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
            (ip, Some(port)) => format!("{ip}:{port}"),
            (ip, None) => ip.to_string(),
        };
        write!(f, "{}. {}  {}  {shown}", self.place, self.family, self.kind)?;
        if let (Some(flow), Some(scope)) = (self.flow_info, self.scope) {
            write!(f, "  flow info {flow}, scope {scope}")?;
        }
        write!(f, "  ({})", self.reach)?;
        match self.purpose {
            Some("listen") => f.write_str("  to listen at"),
            Some(_) => f.write_str("  to connect to"),
            None => Ok(()),
        }
    }
}

/// What came of connecting to one of them.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    address: SocketAddr,
    connected: bool,
    took_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    took: Duration,
    #[serde(skip)]
    advice: &'static str,
}

impl Record for Tried {
    const EVENT: &'static str = "tried";
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(self.took);
        match &self.error {
            None => write!(f, "{} connected in {took}", self.address),
            Some(error) => write!(f, "{} failed after {took}: {error}", self.address),
        }
    }
}

/// The end: what was found, and who won.
#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    host: String,
    addresses: usize,
    /// How long that took; `None`: stopped before the resolver had answered.
    resolved_us: Option<f64>,
    /// How many addresses were tried, and how many of them took the connection.
    tried: usize,
    connected: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    won: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = if self.host.is_empty() { "the empty host" } else { &self.host };
        let Some(resolved_us) = self.resolved_us else {
            return write!(f, "{named}: stopped while the resolver had not answered yet");
        };
        let addresses = counted(self.addresses as u64, "address", "addresses");
        write!(
            f,
            "{named}: {addresses}, resolved in {}",
            duration(Duration::from_secs_f64(resolved_us / 1e6))
        )?;
        if self.tried > 0 {
            write!(f, "; {} of {} connected", self.connected, self.tried)?;
        }
        match (&self.family, &self.why) {
            (Some(family), Some(why)) => write!(f, "; {family} won: {why}"),
            _ => Ok(()),
        }
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let port = asked.port.unwrap_or(0);
    report.explain(|| {
        format!(
            "getaddrinfo({:?}, \"{port}\"): family unspecified, type stream; it reads /etc/hosts and asks name \
             servers, as /etc/nsswitch.conf has it",
            asked.host
        )
    })?;
    let began = Instant::now();
    let Some(found) = look_up(&asked.host, port, Purpose::Connect, stop)? else {
        report.tell(&Summary { host: asked.host.clone(), ..Summary::default() })?;
        return Ok(Verdict::Bad);
    };
    let resolved = began.elapsed();
    let listen = match asked.host.is_empty() {
        true => look_up(&asked.host, port, Purpose::Listen, stop)?,
        false => None,
    };
    tell_addresses(asked, &found, listen.as_ref(), report)?;
    let mut tries = Vec::new();
    let mut stopped = None;
    for address in &found.addresses {
        if asked.port.is_none() || stopped.is_some() {
            break;
        }
        let tried;
        (tried, stopped) = try_one(*address, report, stop)?;
        if stopped != Some(Stopped::Asked) {
            report.tell(&tried)?;
            tries.push(tried);
        }
    }
    let won = tries.iter().position(|tried| tried.connected);
    report.tell(&Summary {
        host: asked.host.clone(),
        addresses: found.addresses.len(),
        resolved_us: Some(resolved.as_secs_f64() * 1e6),
        tried: tries.len(),
        connected: tries.iter().filter(|tried| tried.connected).count(),
        won: won.map(|won| tries[won].address),
        family: won.map(|won| family(tries[won].address)),
        why: won.map(|won| why_it_won(won, &tries)),
    })?;
    if found.addresses.is_empty() {
        report.means("the resolver knows the name and has no address for it")?;
        return Ok(Verdict::Bad);
    }
    if let Some(text) = happy_eyeballs(&tries) {
        report.means(&text)?;
    }
    match (asked.port, won, stopped) {
        (None, ..) | (_, Some(_), _) => Ok(Verdict::Good),
        (_, None, Some(Stopped::TimedOut)) => Ok(Verdict::TimedOut),
        (_, None, Some(Stopped::Asked)) => Ok(Verdict::Bad),
        (_, None, None) => {
            report.means(&none_connected(&tries))?;
            Ok(Verdict::Bad)
        }
    }
}

fn tell_addresses(
    asked: &Asked,
    found: &Found,
    listen: Option<&Found>,
    report: &Report,
) -> std::io::Result<()> {
    let both = [(found, "connect"), (listen.unwrap_or(found), "listen")];
    for (found, purpose) in &both[..1 + usize::from(listen.is_some())] {
        for (index, address) in found.addresses.iter().enumerate() {
            let (flow_info, scope) = match address {
                SocketAddr::V6(address) => (Some(address.flowinfo()), Some(address.scope_id())),
                SocketAddr::V4(_) => (None, None),
            };
            report.tell(&Address {
                place: index + 1,
                family: family(*address),
                kind: "stream",
                address: address.ip(),
                port: asked.port,
                flow_info,
                scope,
                purpose: listen.map(|_| *purpose),
                reach: reach(address.ip()),
            })?;
        }
    }
    if let Some(canonical) = &found.canonical {
        report.means(&format!("'{}' is another name of {canonical}", asked.host))?;
    }
    if let Some(text) = loose(&asked.host) {
        report.means(&text)?;
    }
    if asked.host.is_empty() {
        report.means(
            "an empty host is loopback to whoever connects: only this machine answers there. To whoever listens it is \
             every interface of this machine: then everybody who reaches one of its addresses reaches the program",
        )?;
    } else if !found.addresses.is_empty() && found.addresses.iter().all(|address| address.ip().is_loopback())
    {
        report.means(&format!(
            "'{}' is loopback: this machine itself. Nothing goes over a network, and no other machine reaches what \
             listens there",
            asked.host
        ))?;
    } else if found.addresses.iter().all(|address| address.ip().is_unspecified()) {
        report.means(&format!(
            "'{}' is every interface to whoever listens; as a place to connect to, Linux takes it for loopback",
            asked.host
        ))?;
    }
    Ok(())
}

fn try_one(
    address: SocketAddr,
    report: &Report,
    stop: &Stop,
) -> Result<(Tried, Option<Stopped>), crate::Failure> {
    report.explain(|| {
        format!("{address}: socket, connect without blocking: a SYN goes out, the answer makes it writable")
    })?;
    let began = Instant::now();
    let outcome = Patient::connect(address, CONNECT_WAIT, stop);
    let took = began.elapsed();
    let failed = |trouble: Option<vang_client::Trouble>| Tried {
        address,
        connected: trouble.is_none(),
        took_us: took.as_secs_f64() * 1e6,
        error: trouble.as_ref().map(ToString::to_string),
        took,
        advice: trouble.map_or("", |trouble| trouble.advice),
    };
    match outcome {
        Ok(patient) => {
            report.explain(|| {
                let local = patient.local().map_or_else(String::new, |local| format!(" from {local}"));
                format!("{address}: connected{local}; closed at once, so that our side keeps TIME_WAIT for a minute")
            })?;
            Ok((failed(None), None))
        }
        Err(NotConnected::Failed(error)) => Ok((failed(Some(trouble(address, &error))), None)),
        Err(NotConnected::Stopped(stopped)) => {
            let error = std::io::ErrorKind::TimedOut.into();
            Ok((failed(Some(trouble(address, &error))), Some(stopped)))
        }
    }
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// What kind of address this is, by the registries of RFC 6890.
fn reach(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        ip if ip.is_loopback() => "loopback: this machine only",
        ip if ip.is_unspecified() => "every interface of this machine",
        ip if ip.is_multicast() => "multicast: a group",
        IpAddr::V4(ip) if ip.is_link_local() => "link-local: this cable only",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link-local: this cable only, so it needs its scope",
        IpAddr::V4(ip) if ip.is_private() => "private: this site's networks only",
        IpAddr::V6(ip) if ip.is_unique_local() => "unique local: this site's networks only",
        IpAddr::V4(ip) if ip.is_broadcast() => "broadcast: everybody on this cable",
        IpAddr::V4(ip) if ip.is_documentation() => "for documents: nobody has it",
        IpAddr::V6(ip) if ip.segments()[..2] == [0x2001, 0xdb8] => "for documents: nobody has it",
        IpAddr::V4(_) | IpAddr::V6(_) => "public",
    }
}

/// Why this one of those that were tried is the one that a program gets.
fn why_it_won(won: usize, tries: &[Tried]) -> String {
    let winner = &tries[won];
    let both = tries.iter().any(|tried| tried.address.is_ipv6() != winner.address.is_ipv6());
    let order = match both {
        true => ", by RFC 6724's rules for destinations and /etc/gai.conf,",
        false => "",
    };
    match won {
        0 if tries.len() == 1 => format!("{} is the only address, and it answered", winner.address),
        0 => format!("{} is what the resolver put first{order} and it answered", winner.address),
        _ => {
            let before = counted(won as u64, "address", "addresses");
            format!(
                "{} is the first that answered; before it the resolver had put {before}{order} that failed",
                winner.address
            )
        }
    }
}

/// What a program that lets addresses race would have done, where that differs.
fn happy_eyeballs(tries: &[Tried]) -> Option<String> {
    let won = tries.iter().position(|tried| tried.connected)?;
    let slow = tries[..=won].iter().find(|tried| tried.took > ATTEMPT_DELAY);
    let delay = duration(ATTEMPT_DELAY);
    if let Some(slow) = slow.filter(|_| tries.len() > 1) {
        return Some(format!(
            "{} took {}. A program with Happy Eyeballs (RFC 8305) begins with the next address after {delay}, \
             beside it; one that tries them in turn waits. Here they were tried in turn",
            slow.address,
            duration(slow.took)
        ));
    }
    (won > 0).then(|| {
        format!(
            "programs reach {} only after {} has failed; that was quick, so that Happy Eyeballs (RFC 8305: the next \
             address after {delay}) would have changed nothing",
            tries[won].address, tries[0].address
        )
    })
}

fn none_connected(tries: &[Tried]) -> String {
    let mut advices: Vec<&str> = tries.iter().map(|tried| tried.advice).collect();
    advices.dedup();
    let advice = match advices.as_slice() {
        ["", ..] | [] => String::new(),
        [first, ..] => format!(": {first}"),
    };
    match tries.len() {
        1 => {
            format!("the name stands for an address, and it does not take a connection at this port{advice}")
        }
        n => format!("the name stands for {n} addresses, and none takes a connection at this port{advice}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tried(address: &str, ms: u64, error: Option<&str>) -> Tried {
        Tried {
            address: address.parse().unwrap(),
            connected: error.is_none(),
            took_us: ms as f64 * 1e3,
            error: error.map(str::to_owned),
            took: Duration::from_millis(ms),
            advice: "",
        }
    }

    #[test]
    fn why_one_won_is_told_by_the_resolvers_order_and_the_times() {
        let first = [tried("[::1]:7", 1, None), tried("127.0.0.1:7", 1, None)];
        assert!(why_it_won(0, &first).starts_with("[::1]:7 is what the resolver put first, by RFC 6724"));
        assert_eq!(happy_eyeballs(&first), None);
        let second = [tried("[::1]:7", 1, Some("refused")), tried("127.0.0.1:7", 1, None)];
        assert!(why_it_won(1, &second).contains("before it the resolver had put 1 address, by RFC 6724"));
        assert!(happy_eyeballs(&second).unwrap().contains("would have changed nothing"));
        let slow = [tried("[::1]:7", 900, Some("timed out")), tried("127.0.0.1:7", 1, None)];
        assert!(
            happy_eyeballs(&slow).unwrap().contains("[::1]:7 took 0.90 s. A program with Happy Eyeballs")
        );
        assert_eq!(why_it_won(0, &first[..1]), "[::1]:7 is the only address, and it answered");
    }

    #[test]
    fn addresses_are_explained() {
        for (ip, said) in [
            ("127.0.0.9", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("0.0.0.0", "every interface"),
            ("fe80::1", "needs its scope"),
            ("fd09::1", "unique local"),
            ("10.1.2.3", "private"),
            ("224.0.0.1", "multicast"),
            ("2001:db8::1", "for documents"),
            ("9.9.9.9", "public"),
        ] {
            assert!(reach(ip.parse().unwrap()).contains(said), "{ip}");
        }
    }
}
