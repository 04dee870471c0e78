//! The addresses of a name, in the resolver's order, which is the order in which programs try them; optionally a connection
//! to each, and which family is used. `getaddrinfo(3)` is called as programs call it (see `lookup`). Addresses are tried
//! one after the other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use vang_proto::text::{counted, short_duration};

use crate::deadline_stream::{DeadlineStream, NotConnected, trouble};
use crate::error::Outcome;
use crate::lookup::{LookupResult, Purpose, look_up, loose};
use crate::{Record, Report, Stop, Stopped, Verdict};

/// Connect timeout of one address.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The time after which a program with Happy Eyeballs starts with the next address in parallel (RFC 8305, section 5,
/// "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveOptions {
    /// A name or an address; empty means every interface for a listener and loopback for a client.
    pub host: String,
    /// Connect to each address at this port.
    pub port: Option<u16>,
}

/// One address.
#[derive(Clone, Debug, Serialize)]
struct Address {
    /// Position in the resolver's order, from 1.
    place: usize,
    family: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// IPv6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_info: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
    /// `connect` or `listen`, where it makes a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    /// Scope of the address, as text.
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
            Some("listen") => f.write_str("  to listen on"),
            Some(_) => f.write_str("  to connect to"),
            None => Ok(()),
        }
    }
}

/// The result of connecting to one address.
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
        let took = short_duration(self.took);
        match &self.error {
            None => write!(f, "{} connected in {took}", self.address),
            Some(error) => write!(f, "{} failed after {took}: {error}", self.address),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
struct Summary {
    host: String,
    addresses: usize,
    /// Time of the lookup; `None`: stopped before the resolver answered.
    resolved_us: Option<f64>,
    /// Addresses that were tried, and addresses that accepted.
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
            return write!(f, "{named}: stopped before the resolver answered");
        };
        let addresses = counted(self.addresses as u64, "address", "addresses");
        write!(
            f,
            "{named}: {addresses}, resolved in {}",
            short_duration(Duration::from_secs_f64(resolved_us / 1e6))
        )?;
        if self.tried > 0 {
            write!(f, "; {} of {} connected", self.connected, self.tried)?;
        }
        match (&self.family, &self.why) {
            (Some(family), Some(why)) => write!(f, "; {family} is used: {why}"),
            _ => Ok(()),
        }
    }
}

/// Resolves a name.
pub fn run(options: &ResolveOptions, report: &Report, stop: &Stop) -> Outcome {
    let port = options.port.unwrap_or(0);
    report.explain(|| {
        format!(
            "getaddrinfo({:?}, \"{port}\"): family unspecified, type stream; it reads /etc/hosts and asks DNS servers, \
             in the order of /etc/nsswitch.conf",
            options.host
        )
    })?;
    let began = Instant::now();
    let Some(found) = look_up(&options.host, port, Purpose::Connect, stop)? else {
        report.record(&Summary { host: options.host.clone(), ..Summary::default() })?;
        return Ok(Verdict::Bad);
    };
    let resolved = began.elapsed();
    let listen = match options.host.is_empty() {
        true => look_up(&options.host, port, Purpose::Listen, stop)?,
        false => None,
    };
    record_addresses(options, &found, listen.as_ref(), report)?;
    let mut tries = Vec::new();
    let mut stopped = None;
    for address in &found.addresses {
        if options.port.is_none() || stopped.is_some() {
            break;
        }
        let tried;
        (tried, stopped) = try_one(*address, report, stop)?;
        if stopped != Some(Stopped::Requested) {
            report.record(&tried)?;
            tries.push(tried);
        }
    }
    let won = tries.iter().position(|tried| tried.connected);
    report.record(&Summary {
        host: options.host.clone(),
        addresses: found.addresses.len(),
        resolved_us: Some(resolved.as_secs_f64() * 1e6),
        tried: tries.len(),
        connected: tries.iter().filter(|tried| tried.connected).count(),
        won: won.map(|won| tries[won].address),
        family: won.map(|won| family(tries[won].address)),
        why: won.map(|won| why_used(won, &tries)),
    })?;
    if found.addresses.is_empty() {
        report.means("the resolver knows the name, but has no address for it")?;
        return Ok(Verdict::Bad);
    }
    if let Some(text) = happy_eyeballs(&tries) {
        report.means(&text)?;
    }
    match (options.port, won, stopped) {
        (None, ..) | (_, Some(_), _) => Ok(Verdict::Good),
        (_, None, Some(Stopped::TimedOut)) => Ok(Verdict::TimedOut),
        (_, None, Some(Stopped::Requested)) => Ok(Verdict::Bad),
        (_, None, None) => {
            report.means(&none_connected(&tries))?;
            Ok(Verdict::Bad)
        }
    }
}

fn record_addresses(
    options: &ResolveOptions,
    found: &LookupResult,
    listen: Option<&LookupResult>,
    report: &Report,
) -> std::io::Result<()> {
    let both = [(found, "connect"), (listen.unwrap_or(found), "listen")];
    for (found, purpose) in &both[..1 + usize::from(listen.is_some())] {
        for (index, address) in found.addresses.iter().enumerate() {
            let (flow_info, scope) = match address {
                SocketAddr::V6(address) => (Some(address.flowinfo()), Some(address.scope_id())),
                SocketAddr::V4(_) => (None, None),
            };
            report.record(&Address {
                place: index + 1,
                family: family(*address),
                kind: "stream",
                address: address.ip(),
                port: options.port,
                flow_info,
                scope,
                purpose: listen.map(|_| *purpose),
                reach: reach(address.ip()),
            })?;
        }
    }
    if let Some(canonical) = &found.canonical {
        report.means(&format!("'{}' is an alias of {canonical}", options.host))?;
    }
    if let Some(text) = loose(&options.host) {
        report.means(&text)?;
    }
    if options.host.is_empty() {
        report.means(
            "for a client an empty host is loopback: only this machine answers. For a server it is every interface of this \
             machine: every host that reaches one of its addresses can connect",
        )?;
    } else if !found.addresses.is_empty() && found.addresses.iter().all(|address| address.ip().is_loopback())
    {
        report.means(&format!(
            "'{}' is loopback: this machine itself. Packets do not leave it, and no other machine can connect to a server \
             that listens there",
            options.host
        ))?;
    } else if found.addresses.iter().all(|address| address.ip().is_unspecified()) {
        report.means(&format!(
            "for a server '{}' is every interface; for a client Linux uses loopback",
            options.host
        ))?;
    }
    Ok(())
}

fn try_one(
    address: SocketAddr,
    report: &Report,
    stop: &Stop,
) -> Result<(Tried, Option<Stopped>), crate::ToolError> {
    report.explain(|| {
        format!("{address}: socket, non-blocking connect: SYN out; the answer makes the socket writable")
    })?;
    let began = Instant::now();
    let outcome = DeadlineStream::connect(address, CONNECT_WAIT, stop);
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
        Ok(stream) => {
            report.explain(|| {
                let local = stream.local().map_or_else(String::new, |local| format!(" from {local}"));
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

/// The scope of an address, by the registries of RFC 6890.
fn reach(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        ip if ip.is_loopback() => "loopback: this machine only",
        ip if ip.is_unspecified() => "every interface of this machine",
        ip if ip.is_multicast() => "multicast: a group",
        IpAddr::V4(ip) if ip.is_link_local() => "link-local: this link only",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link-local: this link only, so it needs its scope",
        IpAddr::V4(ip) if ip.is_private() => "private: networks of this site only",
        IpAddr::V6(ip) if ip.is_unique_local() => "unique local: networks of this site only",
        IpAddr::V4(ip) if ip.is_broadcast() => "broadcast: all hosts on this link",
        IpAddr::V4(ip) if ip.is_documentation() => "for documentation: no host has it",
        IpAddr::V6(ip) if ip.segments()[..2] == [0x2001, 0xdb8] => "for documentation: no host has it",
        IpAddr::V4(_) | IpAddr::V6(_) => "public",
    }
}

/// Why a program uses this address.
fn why_used(won: usize, tries: &[Tried]) -> String {
    let winner = &tries[won];
    let both = tries.iter().any(|tried| tried.address.is_ipv6() != winner.address.is_ipv6());
    let order = match both {
        true => ", by the rules of RFC 6724 and /etc/gai.conf,",
        false => "",
    };
    match won {
        0 if tries.len() == 1 => format!("{} is the only address, and it answered", winner.address),
        0 => format!("{} is the first address of the resolver{order} and it answered", winner.address),
        _ => {
            let before = counted(won as u64, "address", "addresses");
            format!("{} is the first that answered; {before} before it{order} failed", winner.address)
        }
    }
}

/// What a program with Happy Eyeballs would have done differently.
fn happy_eyeballs(tries: &[Tried]) -> Option<String> {
    let won = tries.iter().position(|tried| tried.connected)?;
    let slow = tries[..=won].iter().find(|tried| tried.took > ATTEMPT_DELAY);
    let delay = short_duration(ATTEMPT_DELAY);
    if let Some(slow) = slow.filter(|_| tries.len() > 1) {
        return Some(format!(
            "{} took {}. A program with Happy Eyeballs (RFC 8305) starts with the next address after {delay}, in \
             parallel; a program that tries them in turn waits. Here they were tried in turn",
            slow.address,
            short_duration(slow.took)
        ));
    }
    (won > 0).then(|| {
        format!(
            "programs reach {} only after {} has failed; that was fast, so Happy Eyeballs (RFC 8305: the next address \
             after {delay}) would not help",
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
            format!("the address of the name does not accept connections at this port{advice}")
        }
        n => format!("none of the {n} addresses of the name accepts connections at this port{advice}"),
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
    fn the_used_address_is_explained_by_order_and_times() {
        let first = [tried("[::1]:7", 1, None), tried("127.0.0.1:7", 1, None)];
        assert!(
            why_used(0, &first)
                .starts_with("[::1]:7 is the first address of the resolver, by the rules of RFC 6724")
        );
        assert_eq!(happy_eyeballs(&first), None);
        let second = [tried("[::1]:7", 1, Some("refused")), tried("127.0.0.1:7", 1, None)];
        assert!(why_used(1, &second).contains("1 address before it, by the rules of RFC 6724"));
        assert!(happy_eyeballs(&second).unwrap().contains("would not help"));
        let slow = [tried("[::1]:7", 900, Some("timed out")), tried("127.0.0.1:7", 1, None)];
        assert!(
            happy_eyeballs(&slow).unwrap().contains("[::1]:7 took 0.90 s. A program with Happy Eyeballs")
        );
        assert_eq!(why_used(0, &first[..1]), "[::1]:7 is the only address, and it answered");
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
            ("2001:db8::1", "for documentation"),
            ("9.9.9.9", "public"),
        ] {
            assert!(reach(ip.parse().unwrap()).contains(said), "{ip}");
        }
    }
}
