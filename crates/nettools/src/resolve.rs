//! The addresses of a name, as `getaddrinfo(3)` gives them for every socket type and in its order, which is the order in which
//! programs try them; which source of names gave them; optionally a connection to each, and which family is used. Addresses
//! are tried one after the other.

mod records; // what it shows
mod reach; // how far an address reaches
mod source; // which source of names answered: the hosts file, DNS, …
mod which; // which address to give to servers and clients

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dns_lookup::AddrInfo;
use vang_proto::text::{counted, short_duration};

use crate::deadline_stream::{DeadlineStream, NotConnected, trouble};
use crate::error::Outcome;
use crate::lookup::{Purpose, every_type, loose};
use crate::{Report, Stop, Stopped, Verdict};
use reach::reach;
use records::{Address, Summary, Tried};

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

/// Resolves a name.
pub fn run(options: &ResolveOptions, report: &Report, stop: &Stop) -> Outcome {
    let port = options.port.unwrap_or(0);
    report.explain(|| {
        format!(
            "getaddrinfo({:?}, \"{port}\"): family and type unspecified, with the canonical name; it asks the sources of names \
             in the order of /etc/nsswitch.conf. An address instead of a name is not looked up",
            options.host
        )
    })?;
    let began = Instant::now();
    let Some(entries) = every_type(&options.host, port, Purpose::Connect, stop)? else {
        report.record(&Summary { host: options.host.clone(), ..Summary::default() })?;
        return Ok(Verdict::Bad);
    };
    let resolved = began.elapsed();
    let listen = match options.host.is_empty() {
        true => every_type(&options.host, port, Purpose::Listen, stop)?,
        false => None,
    };
    let addresses = distinct(&entries);
    record_entries(options, &entries, listen.as_deref(), report)?;
    if let Some(source) = source::of(&options.host, &addresses, stop) {
        report.record(&source)?;
    }
    explain_addresses(options, &entries, &addresses, report)?;
    let mut tries = Vec::new();
    let mut stopped = None;
    for address in &addresses {
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
        addresses: addresses.len(),
        resolved_us: Some(resolved.as_secs_f64() * 1e6),
        tried: tries.len(),
        connected: tries.iter().filter(|tried| tried.connected).count(),
        won: won.map(|won| tries[won].address),
        family: won.map(|won| family(tries[won].address)),
        why: won.map(|won| why_used(won, &tries)),
    })?;
    if addresses.is_empty() {
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

/// The addresses without their socket types, in the resolver's order.
fn distinct(entries: &[AddrInfo]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for entry in entries {
        if !addresses.contains(&entry.sockaddr) {
            addresses.push(entry.sockaddr);
        }
    }
    addresses
}

fn record_entries(
    options: &ResolveOptions,
    found: &[AddrInfo],
    listen: Option<&[AddrInfo]>,
    report: &Report,
) -> std::io::Result<()> {
    let is_name = !source::is_literal(&options.host);
    let both = [(found, "connect"), (listen.unwrap_or(found), "listen")];
    for (found, purpose) in &both[..1 + usize::from(listen.is_some())] {
        for (index, entry) in found.iter().enumerate() {
            let (flow_info, scope) = match entry.sockaddr {
                SocketAddr::V6(address) => (Some(address.flowinfo()), Some(address.scope_id())),
                SocketAddr::V4(_) => (None, None),
            };
            report.record(&Address {
                place: index + 1,
                family: family(entry.sockaddr),
                kind: socket_type(entry.socktype),
                protocol: protocol(entry.protocol),
                canonical: entry.canonname.clone().filter(|_| is_name),
                address: entry.sockaddr.ip(),
                port: options.port,
                flow_info,
                scope,
                purpose: listen.map(|_| *purpose),
                reach: reach(entry.sockaddr.ip()),
            })?;
        }
    }
    Ok(())
}

/// `SOCK_STREAM` and so on.
fn socket_type(number: i32) -> &'static str {
    match number {
        n if n == rustix::net::SocketType::STREAM.as_raw() as i32 => "stream",
        n if n == rustix::net::SocketType::DGRAM.as_raw() as i32 => "dgram",
        n if n == rustix::net::SocketType::RAW.as_raw() as i32 => "raw",
        _ => "other",
    }
}

/// By the numbers of IANA.
fn protocol(number: i32) -> &'static str {
    match number {
        0 => "any",
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        136 => "udplite",
        _ => "other",
    }
}

fn explain_addresses(
    options: &ResolveOptions,
    entries: &[AddrInfo],
    addresses: &[SocketAddr],
    report: &Report,
) -> std::io::Result<()> {
    let is_name = !source::is_literal(&options.host);
    let canonical = entries.iter().find_map(|entry| entry.canonname.as_ref());
    if let Some(canonical) =
        canonical.filter(|canonical| is_name && !canonical.eq_ignore_ascii_case(&options.host))
    {
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
        which::show(report)?;
    } else if !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()) {
        report.means(&format!(
            "'{}' is loopback: this machine itself. Packets do not leave it, and no other machine can connect to a server \
             that listens there",
            options.host
        ))?;
    } else if addresses.iter().all(|address| address.ip().is_unspecified()) {
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
}
