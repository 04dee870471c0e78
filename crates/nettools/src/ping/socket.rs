//! An ICMP socket: a datagram socket if the group is allowed one, else a raw socket, else an error with advice. It sends
//! echo requests and receives echo replies, and, from the kernel's error queue (`IP_RECVERR`, `IPV6_RECVERR`; ip(7)), the
//! ICMP errors about its packets, which needs no root.
//!
//! The kernel timestamps each packet (`SO_TIMESTAMPNS`; socket(7)), so that round trips exclude the time that a packet
//! waited in the queue. Without timestamps that time counts as zero.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use vang_client::trouble::Trouble;

use super::icmp::{Echo, Family, Kind, behind_ipv4};
use crate::ToolError;

/// Bytes of data in the longest IPv4 packet: 65535 without the IPv4 header's 20 and the echo's 8.
pub(crate) const DATA_BYTES_MAX: u32 = 65_507;

/// Room for any packet, with the IPv4 header on raw sockets.
const RECEIVE_BYTES: usize = 1 << 16;

/// Room for control messages: an error with the address of its sender, and a TTL.
const CONTROL_BYTES: usize = 512;

/// Foreign packets that are read in a row. A raw socket receives all ICMP of this machine; a flood of it must not block
/// sending or stopping.
const OTHERS_MAX: usize = 256;

/// `ee_origin` of `linux/errqueue.h`: an ICMP error; other values are local errors.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// The kind of ICMP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SocketKind {
    /// `SOCK_DGRAM`: the kernel chooses the identifier and filters our answers.
    Datagram,
    /// `SOCK_RAW`: all ICMP arrives, and we filter.
    Raw,
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocketKind::Datagram => "an unprivileged datagram socket",
            SocketKind::Raw => "a raw socket",
        })
    }
}

/// An ICMP socket with its error queue.
#[derive(Debug)]
pub(crate) struct IcmpSocket {
    socket: Socket,
    family: Family,
    pub(crate) kind: SocketKind,
    /// Does the kernel timestamp packets?
    pub(crate) stamps: bool,
    /// The identifier of our requests on a raw socket.
    id: u16,
    buffer: Vec<u8>,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A reply to one of our requests; `waited`: time in the queue.
    Reply { seq: u16, from: IpAddr, ttl: Option<u8>, data: Vec<u8>, waited: Duration },
    /// An error for one of our requests.
    Error(IcmpError),
}

/// An ICMP error, or a local error of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// `None`: unknown.
    pub(crate) seq: Option<u16>,
    /// Sender; `None`: this machine.
    pub(crate) from: Option<IpAddr>,
    /// `None`: a local error.
    pub(crate) kind: Option<Kind>,
    pub(crate) errno: i32,
    /// MTU of the next hop, if the error has it.
    pub(crate) mtu: Option<u32>,
    /// Time in the queue.
    pub(crate) waited: Duration,
}

impl IcmpSocket {
    /// Opens a datagram socket, or else a raw one, with this TTL (IPv6: hop limit).
    pub(crate) fn open(family: Family, ttl: Option<u8>) -> Result<IcmpSocket, ToolError> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (socket, kind) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, SocketKind::Datagram),
            Err(_) => match Socket::new(domain, Type::RAW, Some(protocol)) {
                Ok(socket) => (socket, SocketKind::Raw),
                Err(error) => return Err(cannot_open(&error)),
            },
        };
        let set = || -> io::Result<()> {
            socket.set_nonblocking(true)?;
            match family {
                Family::V4 => {
                    setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
                    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
                    ttl.map_or(Ok(()), |ttl| socket.set_ttl_v4(ttl.into()))
                }
                Family::V6 => {
                    setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
                    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
                    ttl.map_or(Ok(()), |ttl| socket.set_unicast_hops_v6(ttl.into()))
                }
            }
        };
        set().map_err(|error| cannot_open(&error))?;
        // Optional: without it times are slightly longer.
        let stamps = setsockopt(&socket, sockopt::ReceiveTimestampns, &true).is_ok();
        // It distinguishes several pings on one machine.
        let id = std::process::id() as u16;
        Ok(IcmpSocket { socket, family, kind, stamps, id, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends an echo request. A pending ICMP error of an earlier request is not an error of this one; it stays in the queue.
    pub(crate) fn send(&self, to: SocketAddr, seq: u16, data: &[u8]) -> io::Result<()> {
        let echo = Echo { kind: self.family.echo_request(), id: self.id, seq, data }.write();
        let mut again = true;
        loop {
            match self.socket.send_to(&echo, &to.into()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel returns the error of an earlier packet from the next call, once.
                Err(_) if again => again = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message for us, errors first; `None`: none yet.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Received>> {
        for queue in [MsgFlags::MSG_ERRQUEUE, MsgFlags::empty()] {
            for _ in 0..OTHERS_MAX {
                match self.one(queue)? {
                    None => break,
                    Some(None) => {}
                    Some(Some(came)) => return Ok(Some(came)),
                }
            }
        }
        Ok(None)
    }

    /// A message from one of the two queues. `None`: empty; `Some(None)`: not ours.
    fn one(&mut self, queue: MsgFlags) -> io::Result<Option<Option<Received>>> {
        let mut control = vec![0; CONTROL_BYTES];
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let flags = queue | MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            // The same error is in the error queue, with details.
            Err(_) if queue.is_empty() => return Ok(Some(None)),
            Err(Errno::EINTR) => return Ok(Some(None)),
            Err(error) => return Err(error.into()),
        };
        let from = message.address.as_ref().and_then(ip_of);
        let len = message.bytes.min(RECEIVE_BYTES);
        let controls: Vec<ControlMessageOwned> = message.cmsgs()?.collect();
        let packet = &self.buffer[..len];
        if queue.contains(MsgFlags::MSG_ERRQUEUE) {
            return Ok(Some(self.error(packet, &controls)));
        }
        Ok(Some(from.and_then(|from| self.reply(packet, from, &controls))))
    }

    fn reply(&self, packet: &[u8], from: IpAddr, controls: &[ControlMessageOwned]) -> Option<Received> {
        let packet = match (self.kind, self.family) {
            // A raw socket receives packets before the kernel has checked their checksums.
            (SocketKind::Raw, Family::V4) => behind_ipv4(packet).filter(|icmp| Echo::is_whole(icmp))?,
            _ => packet,
        };
        let echo = Echo::read(packet)?;
        if echo.kind != self.family.echo_reply() || !self.is_ours(&echo) {
            return None;
        }
        let ttl = controls.iter().find_map(|control| match control {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                u8::try_from(*ttl).ok()
            }
            _ => None,
        });
        let waited = waited(controls);
        Some(Received::Reply { seq: echo.seq, from, ttl, data: echo.data.to_vec(), waited })
    }

    /// After an error the kernel returns the part of our packet that the router sent back, from the ICMP header on.
    fn error(&self, packet: &[u8], controls: &[ControlMessageOwned]) -> Option<Received> {
        let (error, offender) = controls.iter().find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                let ip = from.map(|from| Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)).into());
                Some((*error, ip))
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                Some((*error, from.map(|from| Ipv6Addr::from(from.sin6_addr.s6_addr).into())))
            }
            _ => None,
        })?;
        let is_icmp = [ORIGIN_ICMP, ORIGIN_ICMP6].contains(&error.ee_origin);
        let echo = Echo::read(packet);
        let is_ours = match &echo {
            Some(echo) => echo.kind == self.family.echo_request() && self.is_ours(echo),
            // Too short to identify; a raw socket also gets errors of other programs.
            None => self.kind == SocketKind::Datagram || !is_icmp,
        };
        if !is_ours {
            return None;
        }
        let errno = error.ee_errno as i32;
        Some(Received::Error(IcmpError {
            seq: echo.map(|echo| echo.seq),
            from: offender.filter(|_| is_icmp),
            kind: is_icmp.then_some(Kind { kind: error.ee_type, code: error.ee_code }),
            errno,
            mtu: (Errno::from_raw(errno) == Errno::EMSGSIZE).then_some(error.ee_info),
            waited: waited(controls),
        }))
    }

    fn is_ours(&self, echo: &Echo<'_>) -> bool {
        self.kind == SocketKind::Datagram || echo.id == self.id
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Time since the kernel's timestamp of a packet. That is wall clock time; if the clock was set back since then, zero.
fn waited(controls: &[ControlMessageOwned]) -> Duration {
    let came = controls.iter().find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(came) => Some(Duration::from(*came)),
        _ => None,
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    came.zip(now).and_then(|(came, now)| now.checked_sub(came)).unwrap_or_default()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

fn cannot_open(error: &io::Error) -> ToolError {
    let doing = "cannot open an ICMP socket, neither a datagram socket nor a raw one".to_owned();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return ToolError::of(doing, error, vang_client::Doing::Bind);
    }
    let trouble = Trouble {
        name: "permission denied".into(),
        likely: "your group is not in net.ipv4.ping_group_range, and raw sockets need root or a capability",
        advice: "allow all groups: `sysctl -w net.ipv4.ping_group_range='0 2147483647'`; or only this program: \
                 `setcap cap_net_raw=+ep`; or test without ICMP: --tcp PORT",
        retryable: false,
    };
    ToolError::System { doing, trouble }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    /// Waits for the next answer.
    fn reply(socket: &mut IcmpSocket) -> (u16, Duration) {
        loop {
            poll(&mut [PollFd::new(&*socket, PollFlags::IN)], None).unwrap();
            if let Some(Received::Reply { seq, waited, .. }) = socket.receive().unwrap() {
                return (seq, waited);
            }
        }
    }

    #[test]
    fn time_in_the_queue_is_known() {
        for (family, to) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            // Without permission this is skipped; the tests in network namespaces have it.
            let Ok(mut socket) = IcmpSocket::open(family, None) else { return };
            assert!(socket.stamps);
            let began = Instant::now();
            for seq in 1..=2 {
                socket.send(to.parse().unwrap(), seq, b"data").unwrap();
            }
            let (first, second) = (reply(&mut socket), reply(&mut socket));
            assert_eq!((first.0, second.0), (1, 2));
            for (_, waited) in [first, second] {
                assert!(waited > Duration::ZERO && waited <= began.elapsed(), "{waited:?}");
            }
        }
    }

    #[test]
    fn a_timestamp_in_the_future_counts_as_zero() {
        let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3_600);
        assert_eq!(waited(&[ControlMessageOwned::ScmTimestampns(later.into())]), Duration::ZERO);
        assert_eq!(waited(&[]), Duration::ZERO);
    }
}
