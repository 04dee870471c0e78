//! Who uses an address that is in use (EADDRINUSE): the program that listens there, the connections that keep the port, or
//! the ones in TIME_WAIT and how long they last. For all of vang: every tool, and `vang serve`.
//!
//! The kernel only says that the address is in use; the rest is looked up afterwards (`diag`, `owners`), so the holder can
//! have gone meanwhile.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use vang_client::trouble::{At, Doing};
use vang_proto::text::{counted, short_duration};

use crate::ToolError;
use crate::diag::{Address, Diag, Protocol, Socket, State, spelled};
use crate::owners::{Owner, Owners};

/// The holder of an address in use. Shown as `nc, process 4711, listens on 0.0.0.0:7000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    what: String,
    advice: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Holder {
    /// Who keeps us from listening on one of these addresses; `None`: another error, or the holder is not found.
    pub fn of_addresses(error: &io::Error, addresses: &[SocketAddr], udp: bool) -> Option<Holder> {
        if error.kind() != io::ErrorKind::AddrInUse {
            return None;
        }
        let mut diag = Diag::open();
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let mut sockets = diag.all(protocol).ok()?;
        if protocol == Protocol::Tcp {
            // Older kernels do not list them.
            sockets.extend(diag.bound().unwrap_or_default());
        }
        let owners = Owners::read().ok()?;
        addresses.iter().find_map(|address| holder(&sockets, *address, protocol, &owners))
    }

    /// Who listens at this path; `None`: as above.
    pub fn of_path(error: &io::Error, path: &Path) -> Option<Holder> {
        if error.kind() != io::ErrorKind::AddrInUse {
            return None;
        }
        let sockets = Diag::open().all(Protocol::Unix).ok()?;
        let owners = Owners::read().ok()?;
        // The kernel keeps the path as its program wrote it.
        let whole = path.canonicalize().ok();
        let names =
            [Some(path), whole.as_deref()].map(|name| name.map(|name| name.to_string_lossy().into_owned()));
        let is_there = |socket: &&Socket| match &socket.local {
            Address::Unix(Some(name), _) => names.iter().flatten().any(|path| path == name),
            Address::Unix(None, _) | Address::Net(_) => false,
        };
        // Its accepted connections have the same path.
        let socket = sockets.iter().filter(is_there).min_by_key(|socket| socket.state != State::Listen)?;
        let owner = owners.of(socket.inode).first()?;
        Some(Holder {
            what: format!("{} has a socket at that path", named(owner)),
            advice: format!("{}, or name another path", stop(owner)),
        })
    }

    /// What to do.
    pub fn advice(&self) -> &str {
        &self.advice
    }

    fn into_error(self, doing: String) -> ToolError {
        ToolError::AddressInUse { doing, holder: self.what, advice: self.advice }
    }
}

/// The error of listening on this address; `what` is as in `cannot listen on 127.0.0.1:80`.
pub(crate) fn cannot_listen(what: String, error: &io::Error, address: SocketAddr, udp: bool) -> ToolError {
    match Holder::of_addresses(error, &[address], udp) {
        Some(holder) => holder.into_error(what),
        None => ToolError::at(what, error, Doing::Bind, At::Net(address)),
    }
}

/// The same at a path.
pub(crate) fn cannot_listen_at_path(what: String, error: &io::Error, path: &Path) -> ToolError {
    match Holder::of_path(error, path) {
        Some(holder) => holder.into_error(what),
        None => ToolError::at(what, error, Doing::Bind, At::Unix),
    }
}

fn holder(sockets: &[Socket], address: SocketAddr, protocol: Protocol, owners: &Owners) -> Option<Holder> {
    let mut there: Vec<&Socket> = sockets.iter().filter(|socket| conflicts(&socket.local, address)).collect();
    // The same address before one of every interface.
    there.sort_by_key(|socket| socket.local != Address::Net(address));
    let is_open = |socket: &&&Socket| matches!(socket.state, State::Listen | State::Unconnected);
    if let Some(socket) = there.iter().find(is_open) {
        return Some(listening(socket, protocol, owners));
    }
    let (ended, live): (Vec<&Socket>, Vec<&Socket>) =
        there.into_iter().partition(|socket| socket.state == State::TimeWait);
    if let Some((first, owner)) =
        live.iter().find_map(|socket| Some((socket, owners.of(socket.inode).first()?)))
    {
        let connections = counted(live.len() as u64, "connection", "connections");
        return Some(Holder {
            what: format!(
                "nobody listens there, but {} has {connections} at that port, such as the one from {}",
                named(owner),
                first.peer
            ),
            advice: format!("{}, or choose another port with --listen", stop(owner)),
        });
    }
    let lasts = |socket: &&Socket| socket.timer.as_ref().map_or(0, |timer| timer.in_ms);
    let lasts = ended.iter().map(lasts).max()?;
    let connections = counted(ended.len() as u64, "connection", "connections");
    let (keeps, ends) = if ended.len() == 1 { ("keeps", "it ends") } else { ("keep", "the last one ends") };
    Some(Holder {
        what: format!(
            "nobody listens there, but {connections} in TIME_WAIT {keeps} the port; {ends} in {}",
            short_duration(Duration::from_millis(lasts))
        ),
        advice: "wait for that, or set SO_REUSEADDR before bind, as a server should: then TIME_WAIT does not block it"
            .to_owned(),
    })
}

fn listening(socket: &Socket, protocol: Protocol, owners: &Owners) -> Holder {
    let does = match (protocol, socket.state) {
        (Protocol::Udp, _) => "receives at",
        (_, State::Listen) => "listens on",
        // Bound, and neither listening nor connected.
        _ => "has reserved",
    };
    let local = &socket.local;
    match owners.of(socket.inode) {
        [owner, ..] => Holder {
            what: format!("{} {does} {local}", named(owner)),
            advice: format!("{}, or choose another port with --listen", stop(owner)),
        },
        [] => Holder {
            what: match socket.uid {
                Some(uid) => format!("a program of user {} {does} {local}", owners.user(uid)),
                None => format!("a program {does} {local}"),
            },
            advice: "choose another port with --listen; as root, `ss -tulnp` shows the program, unless it is in another \
                     container"
                .to_owned(),
        },
    }
}

fn named(owner: &Owner) -> String {
    let name = spelled(&owner.process);
    match owner.pid == std::process::id() {
        true => "this program itself".to_owned(),
        false => format!("{name}, process {},", owner.pid),
    }
}

fn stop(owner: &Owner) -> String {
    match owner.pid == std::process::id() {
        true => "name each address once".to_owned(),
        false => format!("stop it, as with `kill {}`", owner.pid),
    }
}

/// Does a socket there keep another from being bound to this address?
fn conflicts(local: &Address, wanted: SocketAddr) -> bool {
    let Address::Net(local) = local else { return false };
    let (there, here) = (local.ip().to_canonical(), wanted.ip().to_canonical());
    // `::` can be IPv6 alone or both families; a conflict is already certain, so both count.
    let is_every = |ip: IpAddr, other: IpAddr| match ip {
        IpAddr::V4(ip) => ip == Ipv4Addr::UNSPECIFIED && other.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    local.port() == wanted.port() && (there == here || is_every(there, here) || is_every(here, there))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn in_use() -> io::Error {
        io::ErrorKind::AddrInUse.into()
    }

    #[test]
    fn the_holder_is_found_at_its_address_and_at_every_interface() {
        for (listens, wanted) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.1:0", "0.0.0.0"),
            ("127.0.0.1:0", "::"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("[::]:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
        ] {
            let listener = TcpListener::bind(listens).unwrap();
            let local = listener.local_addr().unwrap();
            let wanted = SocketAddr::new(wanted.parse().unwrap(), local.port());
            let holder = Holder::of_addresses(&in_use(), &[wanted], false).unwrap();
            assert_eq!(holder.to_string(), format!("this program itself listens on {local}"), "{wanted}");
            let udp = UdpSocket::bind(listens).unwrap();
            let local = udp.local_addr().unwrap();
            let wanted = SocketAddr::new(wanted.ip(), local.port());
            let holder = Holder::of_addresses(&in_use(), &[wanted], true).unwrap();
            assert_eq!(holder.to_string(), format!("this program itself receives at {local}"), "{wanted}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), listener.local_addr().unwrap().port());
        assert_eq!(Holder::of_addresses(&in_use(), &[other], false), None);
        let refused = io::ErrorKind::PermissionDenied.into();
        assert_eq!(Holder::of_addresses(&refused, &[listener.local_addr().unwrap()], false), None);
    }

    #[test]
    fn connections_without_a_listener_are_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let server = listener.accept().unwrap().0;
        drop(listener);
        let holder = Holder::of_addresses(&in_use(), &[local], false).unwrap().to_string();
        let from = client.local_addr().unwrap();
        let expected = format!(
            "nobody listens there, but this program itself has 1 connection at that port, such as the one from {from}"
        );
        assert_eq!(holder, expected);
        drop(server);
    }
}
