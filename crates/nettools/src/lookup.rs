//! Names to addresses: `getaddrinfo(3)` with `AF_UNSPEC`, on its own thread because it has no deadline. The resolver's order is
//! kept, and nothing is cached.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use dns_lookup::{AddrInfo, AddrInfoHints, SockType, getaddrinfo};
use rustix::event::{PollFd, PollFlags};
use vang_client::address::loose_ipv4;
use vang_client::trouble::Doing;

use crate::{Stop, Stopped, ToolError};

/// The default port, as in the tutorial.
pub(crate) const PORT: u16 = 65_432;

/// The host that stands for the broadcast address of IPv4, as in Python's `socket`.
const BROADCAST: &str = "<broadcast>";

/// `AI_PASSIVE` of `netdb.h`: an empty host means every interface.
const PASSIVE: i32 = 0x1;

/// `AI_CANONNAME` of `netdb.h`: the answer has the canonical name of an alias.
const CANONICAL_NAME: i32 = 0x2;

/// What an address is for; it decides what an empty host means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Connect,
    Listen,
}

/// Asks the resolver for addresses of streams, in its order. `None`: stopped before it answered; its thread can still be running then.
pub(crate) fn look_up(
    host: &str,
    port: u16,
    purpose: Purpose,
    stop: &Stop,
) -> Result<Option<Vec<SocketAddr>>, ToolError> {
    let found = entries(host, port, purpose, SockType::Stream.into(), stop)?;
    Ok(found.map(|found| found.into_iter().map(|entry| entry.sockaddr).collect()))
}

/// The same, as `getaddrinfo(3)` gives it for every socket type; the first entry has the canonical name.
pub(crate) fn every_type(
    host: &str,
    port: u16,
    purpose: Purpose,
    stop: &Stop,
) -> Result<Option<Vec<AddrInfo>>, ToolError> {
    entries(host, port, purpose, 0, stop)
}

/// What `getaddrinfo(3)` gives for this socket type; 0: for each.
fn entries(
    host: &str,
    port: u16,
    purpose: Purpose,
    kind: i32,
    stop: &Stop,
) -> Result<Option<Vec<AddrInfo>>, ToolError> {
    let cannot = |error: io::Error| ToolError::of(format!("cannot resolve '{host}'"), &error, Doing::Resolve);
    let (answered, answers) = UnixStream::pair().map_err(cannot)?;
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let asking = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        // It fails when the caller has stopped waiting.
        let _ = sender.send(ask(&name, port, purpose, kind));
        drop(answers);
    });
    asking.map_err(cannot)?;
    match stop.wait(&mut [PollFd::new(&answered, PollFlags::IN)], None).map_err(cannot)? {
        Some(Stopped::Requested) => Ok(None),
        Some(Stopped::TimedOut) => Err(cannot(io::ErrorKind::TimedOut.into())),
        None => match receiver.recv() {
            Ok(found) => found.map(Some).map_err(cannot),
            Err(gone) => Err(cannot(io::Error::other(gone))),
        },
    }
}

/// The addresses of a host, in the resolver's order; at least one. `None`: stopped.
pub(crate) fn addresses(
    host: &str,
    port: Option<u16>,
    purpose: Purpose,
    stop: &Stop,
) -> Result<Option<Vec<SocketAddr>>, ToolError> {
    let Some(found) = look_up(host, port.unwrap_or(PORT), purpose, stop)? else { return Ok(None) };
    match found.is_empty() {
        true => Err(ToolError::Usage(format!("'{host}' has no address; give one, such as 127.0.0.1"))),
        false => Ok(Some(found)),
    }
}

/// A warning about an IPv4 address that programs read differently.
pub(crate) fn loose(host: &str) -> Option<String> {
    let means = loose_ipv4(host)?;
    let parts: Vec<&str> = host.split('.').collect();
    let is_hexadecimal = |part: &&str| part.starts_with("0x") || part.starts_with("0X");
    let mut rules = Vec::new();
    if parts.iter().any(|part| part.len() > 1 && part.starts_with('0') && !is_hexadecimal(part)) {
        rules.push("a number with a leading 0 is octal");
    }
    if parts.iter().any(is_hexadecimal) {
        rules.push("a number with a leading 0x is hexadecimal");
    }
    if parts.len() < 4 {
        rules.push("with fewer than four numbers the last one fills the rest");
    }
    Some(format!(
        "this system's resolver reads '{host}' as {means}: {}. Other programs refuse such an address or read it differently \
         (RFC 6943, 3.1.1): write {means} if you mean that",
        rules.join(", ")
    ))
}

fn ask(host: &str, port: u16, purpose: Purpose, kind: i32) -> io::Result<Vec<AddrInfo>> {
    let host = if host == BROADCAST { "255.255.255.255" } else { host };
    let name = Some(host).filter(|host| !host.is_empty());
    let passive = if purpose == Purpose::Listen { PASSIVE } else { 0 };
    // Only where it is shown: other tools need no name that a resolver may give in any bytes.
    let flags = passive | if name.is_some() && kind == 0 { CANONICAL_NAME } else { 0 };
    let hints = AddrInfoHints { socktype: kind, flags, ..AddrInfoHints::default() };
    getaddrinfo(name, Some(&port.to_string()), Some(hints))?.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addresses(host: &str, purpose: Purpose) -> Vec<String> {
        let found = look_up(host, 7, purpose, &Stop::after(None).unwrap()).unwrap().unwrap();
        let mut addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
        addresses.sort();
        addresses
    }

    #[test]
    fn an_empty_host_is_loopback_or_every_interface() {
        assert_eq!(addresses("", Purpose::Connect), ["127.0.0.1:7", "[::1]:7"]);
        assert_eq!(addresses("", Purpose::Listen), ["0.0.0.0:7", "[::]:7"]);
        assert_eq!(addresses("192.0.2.1", Purpose::Connect), ["192.0.2.1:7"]);
        assert_eq!(addresses("<broadcast>", Purpose::Connect), ["255.255.255.255:7"]);
    }

    #[test]
    fn a_stop_does_not_wait_for_the_resolver() {
        let stop = Stop::after(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::TimedOut));
        let error = look_up("localhost", 7, Purpose::Connect, &stop).unwrap_err();
        assert!(error.to_string().starts_with("cannot resolve 'localhost': timed out ("), "{error}");
        let stop = Stop::after(None).unwrap();
        stop.request();
        assert!(look_up("localhost", 7, Purpose::Connect, &stop).unwrap().is_none());
    }
}
