//! Names to addresses: `getaddrinfo(3)` as programs ask it, with `AF_UNSPEC` and `SOCK_STREAM`, on a thread of its own
//! because it knows no deadline. Its order is kept, and nothing is remembered.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};
use rustix::event::{PollFd, PollFlags};
use vang_client::address::loose_ipv4;
use vang_client::trouble::Doing;

use crate::{Failure, Stop, Stopped};

/// `AI_PASSIVE` of `netdb.h`: an empty host is every interface.
const PASSIVE: i32 = 0x1;

/// `AI_CANONNAME` of `netdb.h`: the name behind an alias is told too.
const CANONICAL_NAME: i32 = 0x2;

/// What an address is wanted for: an empty host stands for something else then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Connect,
    Listen,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// In the resolver's order.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The name behind the one that was asked for, where that is another.
    pub(crate) canonical: Option<String>,
}

/// Asks the resolver. `None`: somebody said stop before it had answered; it may still be asking then.
pub(crate) fn look_up(
    host: &str,
    port: u16,
    purpose: Purpose,
    stop: &Stop,
) -> Result<Option<Found>, Failure> {
    let cannot = |error: io::Error| Failure::of(format!("cannot resolve '{host}'"), &error, Doing::Resolve);
    let (answered, answers) = UnixStream::pair().map_err(cannot)?;
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let asking = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        // Nobody waits any more when the time is over.
        let _ = sender.send(ask(&name, port, purpose));
        drop(answers);
    });
    asking.map_err(cannot)?;
    match stop.wait(&mut [PollFd::new(&answered, PollFlags::IN)], None).map_err(cannot)? {
        Some(Stopped::Asked) => Ok(None),
        Some(Stopped::TimedOut) => Err(cannot(io::ErrorKind::TimedOut.into())),
        None => match receiver.recv() {
            Ok(found) => found.map(Some).map_err(cannot),
            Err(gone) => Err(cannot(io::Error::other(gone))),
        },
    }
}

/// What to say of an IPv4 address that only some programs take, and not all of them for the same.
pub(crate) fn loose(host: &str) -> Option<String> {
    let means = loose_ipv4(host)?;
    let parts: Vec<&str> = host.split('.').collect();
    let is_hexadecimal = |part: &&str| part.starts_with("0x") || part.starts_with("0X");
    let mut rules = Vec::new();
    if parts.iter().any(|part| part.len() > 1 && part.starts_with('0') && !is_hexadecimal(part)) {
        rules.push("a number that begins with 0 is read as octal");
    }
    if parts.iter().any(is_hexadecimal) {
        rules.push("one that begins with 0x as hexadecimal");
    }
    if parts.len() < 4 {
        rules.push("of fewer than four numbers the last fills the rest");
    }
    Some(format!(
        "'{host}' is {means} to this system's resolver: {}. Many programs refuse such an address, or read another in it \
         (RFC 6943, 3.1.1): write {means}, if that is meant",
        rules.join(", ")
    ))
}

fn ask(host: &str, port: u16, purpose: Purpose) -> io::Result<Found> {
    let name = Some(host).filter(|host| !host.is_empty());
    let passive = if purpose == Purpose::Listen { PASSIVE } else { 0 };
    let flags = passive | if name.is_some() { CANONICAL_NAME } else { 0 };
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), flags, ..AddrInfoHints::default() };
    let found = getaddrinfo(name, Some(&port.to_string()), Some(hints))?.collect::<io::Result<Vec<_>>>()?;
    let canonical = found.iter().find_map(|info| info.canonname.clone()).filter(|other| other != host);
    Ok(Found { addresses: found.into_iter().map(|info| info.sockaddr).collect(), canonical })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addresses(host: &str, purpose: Purpose) -> Vec<String> {
        let found = look_up(host, 7, purpose, &Stop::after(None).unwrap()).unwrap().unwrap();
        let mut addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        addresses.sort();
        addresses
    }

    #[test]
    fn an_empty_host_is_loopback_to_connect_to_and_every_interface_to_listen_at() {
        assert_eq!(addresses("", Purpose::Connect), ["127.0.0.1:7", "[::1]:7"]);
        assert_eq!(addresses("", Purpose::Listen), ["0.0.0.0:7", "[::]:7"]);
        assert_eq!(addresses("192.0.2.1", Purpose::Connect), ["192.0.2.1:7"]);
    }

    #[test]
    fn who_stops_waits_for_no_resolver() {
        let stop = Stop::after(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(stop.wait(&mut [], None).unwrap(), Some(Stopped::TimedOut));
        let error = look_up("localhost", 7, Purpose::Connect, &stop).unwrap_err();
        assert!(error.to_string().starts_with("cannot resolve 'localhost': timed out ("), "{error}");
        let stop = Stop::after(None).unwrap();
        stop.ask();
        assert!(look_up("localhost", 7, Purpose::Connect, &stop).unwrap().is_none());
    }
}
