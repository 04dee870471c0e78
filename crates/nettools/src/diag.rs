//! Reads the kernel's data about sockets by netlink `sock_diag(7)`, as `ss` does. Needs no root: every user can see all
//! sockets of this network namespace, but not their processes (`owners`).
//!
//! ```text
//!   request ─▶ netlink ─▶ `inet_diag_msg` + attributes (tcp_info, memory) ─▶ `Socket`
//!                 └─ not available ─▶ `/proc/net` (`table`) with fewer data: `Diag::without` says why
//! ```
//!
//! Sockets of other network namespaces (containers) are not included. No socket is changed.

mod socket; // one socket as a value
mod read; // the kernel's answers as `Socket`
mod table; // the tables in /proc/net, as a fallback

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStates, UnixRequest};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto};
use vang_client::trouble::Doing;

pub(crate) use self::socket::spelled;
pub use self::socket::{Address, Memory, Protocol, Socket, State, Tcp, Timer};

use crate::ToolError;
use crate::error::explain;

/// Buffer for one netlink datagram: the kernel sends at most 32 KiB at a time.
const ANSWER_BYTES: usize = 64 << 10;
/// Timeout of an answer; the kernel normally answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A netlink connection to the kernel, or its tables as a fallback.
#[derive(Debug)]
pub struct Diag {
    /// `None`: not available.
    netlink: Option<OwnedFd>,
    answer: Vec<u8>,
    /// It has answered a TCP request, so "not found" means the socket, and not the kernel module.
    answers_tcp: bool,
    without: Option<String>,
}

impl Diag {
    /// Opens a netlink connection.
    pub fn open() -> Diag {
        let opened = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        );
        let opened = opened.and_then(|netlink| {
            set_socket_timeout(&netlink, Timeout::Recv, Some(PATIENCE))?;
            Ok(netlink)
        });
        let without = opened.as_ref().err().map(|error| why_without(&io::Error::from(*error)));
        Diag { netlink: opened.ok(), answer: vec![0; ANSWER_BYTES], answers_tcp: false, without }
    }

    /// Why `/proc/net` was used instead of sock_diag, if it was.
    pub fn without(&self) -> Option<&str> {
        self.without.as_deref()
    }

    /// All sockets of a protocol.
    pub fn all(&mut self, protocol: Protocol) -> io::Result<Vec<Socket>> {
        match self.dump(protocol) {
            Ok(found) => Ok(found),
            Err(error) => self.read_table(protocol, error),
        }
    }

    /// TCP sockets that have a port, but neither listen nor are connected. Kernels before 6.8 and `/proc/net` do not list them.
    pub(crate) fn bound(&mut self) -> io::Result<Vec<Socket>> {
        let mut found = Vec::new();
        for id in [SocketId::new_v4(), SocketId::new_v6()] {
            self.ask(inet(Protocol::Tcp, id, bound_state()), Protocol::Tcp, true, &mut found)?;
        }
        Ok(found)
    }

    /// The TCP connection with the local address `local`; `None`: it is not in this network namespace.
    pub fn connection(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Socket>> {
        let asked = self.ask_for_one(local, peer);
        let is_missing = |error: &io::Error| error.raw_os_error() == Some(Errno::NOENT.raw_os_error());
        let error = match asked {
            Ok(found) => return Ok(found),
            Err(error) if is_missing(&error) => match self.is_answered_about_tcp() {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            Err(error) => error,
        };
        // The table has no scope.
        let is = |address: &Address, other: SocketAddr| matches!(address, Address::Net(found) if (found.ip(), found.port()) == (other.ip(), other.port()));
        let all = self.read_table(Protocol::Tcp, error)?;
        Ok(all.into_iter().find(|socket| is(&socket.local, local) && is(&socket.peer, peer)))
    }

    /// Reads the tables in /proc after an error of sock_diag; if they are missing too, returns that first error.
    fn read_table(&mut self, protocol: Protocol, error: io::Error) -> io::Result<Vec<Socket>> {
        let Ok(found) = table::all(protocol) else { return Err(error) };
        if self.without.is_none() {
            self.without = Some(why_without(&error));
        }
        // The module of one protocol can be missing. After other errors a late answer could be taken for the answer to the
        // next request, so the connection is given up.
        if error.kind() != io::ErrorKind::NotFound {
            self.netlink = None;
        }
        Ok(found)
    }

    fn dump(&mut self, protocol: Protocol) -> io::Result<Vec<Socket>> {
        let mut found = Vec::new();
        match protocol {
            Protocol::Unix => {
                // All states: the crate names two, and datagram sockets have a third.
                let request = UnixRequest {
                    state_flags: UnixStates::from_bits_retain(u32::MAX),
                    inode: 0,
                    show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::RQLEN,
                    cookie: [0; 8],
                };
                self.ask(SockDiagMessage::UnixRequest(request), Protocol::Unix, true, &mut found)?;
                read::name_peers(&mut found);
            }
            Protocol::Tcp | Protocol::Udp => {
                for id in [SocketId::new_v4(), SocketId::new_v6()] {
                    self.ask(inet(protocol, id, any_state()), protocol, true, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn ask_for_one(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Socket>> {
        let scope = |address: SocketAddr| match address {
            SocketAddr::V6(address) => address.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let id = SocketId {
            source_address: local.ip(),
            source_port: local.port(),
            destination_address: peer.ip(),
            destination_port: peer.port(),
            interface_id: scope(local).max(scope(peer)),
            // Any cookie: the socket is found by its addresses.
            cookie: [0xff; 8],
        };
        let mut found = Vec::new();
        self.ask(inet(Protocol::Tcp, id, any_state()), Protocol::Tcp, false, &mut found)?;
        self.answers_tcp = true;
        Ok(found.pop())
    }

    /// Requests sockets in no state: an error means that the module is missing.
    fn is_answered_about_tcp(&mut self) -> io::Result<()> {
        if !self.answers_tcp {
            let nothing = inet(Protocol::Tcp, SocketId::new_v4(), StateFlags::empty());
            self.ask(nothing, Protocol::Tcp, true, &mut Vec::new())?;
            self.answers_tcp = true;
        }
        Ok(())
    }

    /// The Unix socket with this inode, with its memory; `None`: it is not in this network namespace.
    pub fn unix(&mut self, inode: u32) -> io::Result<Option<Socket>> {
        let request = UnixRequest {
            state_flags: UnixStates::from_bits_retain(u32::MAX),
            inode,
            show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::RQLEN | ShowFlags::MEMINFO,
            // Any cookie: the socket is found by its inode.
            cookie: [0xff; 8],
        };
        let mut found = Vec::new();
        match self.ask(SockDiagMessage::UnixRequest(request), Protocol::Unix, false, &mut found) {
            Ok(()) => Ok(found.pop()),
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(
        &mut self,
        request: SockDiagMessage,
        protocol: Protocol,
        dump: bool,
        found: &mut Vec<Socket>,
    ) -> io::Result<()> {
        // The reason was stored when it was opened or given up.
        let Some(netlink) = &self.netlink else { return Err(Errno::NOENT.into()) };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | if dump { NLM_F_DUMP } else { 0 };
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        sendto(netlink, &bytes, SendFlags::empty(), &kernel)?;
        loop {
            let (got, _) = match recv(netlink, &mut self.answer[..], RecvFlags::empty()) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut rest = &self.answer[..got];
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                // Messages are aligned to four bytes.
                let len = (message.header.length as usize).next_multiple_of(4).clamp(4, rest.len());
                let (raw, next) = rest.split_at(len);
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(answer) => {
                        found.extend(read::socket(answer, raw, protocol));
                        if !dump {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
                rest = next;
            }
        }
    }
}

fn why_without(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "this kernel has no sock_diag for them (as root: `modprobe tcp_diag udp_diag unix_diag`)"
                .to_owned()
        }
        _ => format!("sock_diag is not available here: {}", explain(error, Doing::Read).name),
    }
}

/// An error of reading the kernel's data.
pub(crate) fn cannot(what: &str, error: &io::Error) -> ToolError {
    ToolError::of(format!("cannot {what}"), error, Doing::Read)
}

/// Bit 12 is NEW_SYN_RECV (half-open connections), which the crate does not name.
fn any_state() -> StateFlags {
    StateFlags::from_bits_retain(0xfff | 1 << 12)
}

/// BOUND_INACTIVE, a state that only requests have.
fn bound_state() -> StateFlags {
    StateFlags::from_bits_retain(1 << 13)
}

fn inet(protocol: Protocol, socket_id: SocketId, states: StateFlags) -> SockDiagMessage {
    SockDiagMessage::InetRequest(InetRequest {
        family: if socket_id.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: if protocol == Protocol::Udp { IPPROTO_UDP } else { IPPROTO_TCP },
        extensions: ExtensionFlags::INFO | ExtensionFlags::SKMEMINFO | ExtensionFlags::CONG,
        states,
        socket_id,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
