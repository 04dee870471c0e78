//! An ICMP socket: unprivileged where this machine lets our group have one, raw where we may, else a word on what to
//! do. Echo requests out; echo replies in; and from the kernel's error queue (`IP_RECVERR`, `IPV6_RECVERR`; ip(7)) what
//! routers and hosts said about our packets, which needs no root.
//!
//! The kernel notes when each packet came (`SO_TIMESTAMPNS`; socket(7)), so that what this program did meanwhile is in no
//! round trip: the time in which a packet lay in the queue is told with it. Of a kernel that notes nothing it is no time.

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
use crate::Failure;

/// Bytes of data in the longest IPv4 packet: 65535 without the IPv4 header's 20 and the echo's 8.
pub(crate) const DATA_BYTES_MAX: u32 = 65_507;

/// Any packet fits, and the IPv4 header that raw sockets see.
const RECEIVE_BYTES: usize = 1 << 16;

/// Room for what the kernel tells beside a packet: an error with the address of who sent it, and a TTL.
const CONTROL_BYTES: usize = 512;

/// Packets that are not ours and are looked at in one go. A raw socket sees all ICMP of this machine, and whoever floods
/// it keeps us neither from sending nor from ending.
const OTHERS_MAX: usize = 256;

/// `ee_origin` of `linux/errqueue.h`: the error came as ICMP from somebody, or is this machine's own.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// How it was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// `SOCK_DGRAM`: the kernel chooses the identifier and lets through what is ours.
    Datagram,
    /// `SOCK_RAW`: everybody's ICMP comes, and we choose.
    Raw,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Datagram => "an unprivileged datagram socket",
            Way::Raw => "a raw socket",
        })
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct IcmpSocket {
    socket: Socket,
    family: Family,
    pub(crate) way: Way,
    /// The kernel notes when packets come.
    pub(crate) stamps: bool,
    /// In every echo of ours. Unused by datagram sockets, whose identifier is the kernel's.
    id: u16,
    buffer: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// An answer to one of ours, and how long ago the kernel got it.
    Reply { seq: u16, from: IpAddr, ttl: Option<u8>, data: Vec<u8>, waited: Duration },
    /// Somebody could not send one of ours on, or this machine could not send it at all.
    Error(Refused),
}

/// See [`Came::Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// `None` where it does not show which of ours it was.
    pub(crate) seq: Option<u16>,
    /// Who said so; `None`: this machine, without a packet.
    pub(crate) from: Option<IpAddr>,
    /// As ICMP has it, where it came as ICMP.
    pub(crate) kind: Option<Kind>,
    /// What programs get for it.
    pub(crate) errno: i32,
    /// The longest packet that the next cable takes, where the error says so.
    pub(crate) mtu: Option<u32>,
    /// How long ago the kernel got it.
    pub(crate) waited: Duration,
}

impl IcmpSocket {
    /// A datagram socket, or a raw one; with this TTL (IPv6: hop limit) in what it sends, if one is given.
    pub(crate) fn open(family: Family, ttl: Option<u8>) -> Result<IcmpSocket, Failure> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (socket, way) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, Way::Datagram),
            Err(_) => match Socket::new(domain, Type::RAW, Some(protocol)) {
                Ok(socket) => (socket, Way::Raw),
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
        // Without it times are a little longer, and nothing else is worse.
        let stamps = setsockopt(&socket, sockopt::ReceiveTimestampns, &true).is_ok();
        // Two pings of one machine differ by it, whatever else they have in common.
        let id = std::process::id() as u16;
        Ok(IcmpSocket { socket, family, way, stamps, id, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends an echo request. An error of ICMP's that came for an earlier one is not this one's: it stays in the queue.
    pub(crate) fn send(&self, to: SocketAddr, seq: u16, data: &[u8]) -> io::Result<()> {
        let echo = Echo { kind: self.family.echo_request(), id: self.id, seq, data }.write();
        let mut again = true;
        loop {
            match self.socket.send_to(&echo, &to.into()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel tells an earlier packet's error at the next call, whichever that is, and forgets it.
                Err(_) if again => again = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// What has come, if anything of ours is among the first of it: errors first, since a reply may have overtaken nothing.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Came>> {
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

    /// A message of one of the two queues. `None`: there is none; `Some(None)`: it is not ours.
    fn one(&mut self, queue: MsgFlags) -> io::Result<Option<Option<Came>>> {
        let mut control = vec![0; CONTROL_BYTES];
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let flags = queue | MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            // An error that is in the error queue as well, with all that belongs to it.
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

    fn reply(&self, packet: &[u8], from: IpAddr, controls: &[ControlMessageOwned]) -> Option<Came> {
        let packet = match (self.way, self.family) {
            // A raw socket gets packets before the kernel has looked at their sums.
            (Way::Raw, Family::V4) => behind_ipv4(packet).filter(|icmp| Echo::is_whole(icmp))?,
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
        Some(Came::Reply { seq: echo.seq, from, ttl, data: echo.data.to_vec(), waited })
    }

    /// Behind an error the kernel gives our packet as far as the router sent it back, from ICMP's first byte on.
    fn error(&self, packet: &[u8], controls: &[ControlMessageOwned]) -> Option<Came> {
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
            // Too short to tell; a raw socket is told of everybody's.
            None => self.way == Way::Datagram || !is_icmp,
        };
        if !is_ours {
            return None;
        }
        let errno = error.ee_errno as i32;
        Some(Came::Error(Refused {
            seq: echo.map(|echo| echo.seq),
            from: offender.filter(|_| is_icmp),
            kind: is_icmp.then_some(Kind { kind: error.ee_type, code: error.ee_code }),
            errno,
            mtu: (Errno::from_raw(errno) == Errno::EMSGSIZE).then_some(error.ee_info),
            waited: waited(controls),
        }))
    }

    fn is_ours(&self, echo: &Echo<'_>) -> bool {
        self.way == Way::Datagram || echo.id == self.id
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long ago the kernel got a packet. Its note is of the clock that people set; a clock that was set since then makes
/// it no time.
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

fn cannot_open(error: &io::Error) -> Failure {
    let doing =
        "cannot open an ICMP socket, neither an unprivileged datagram socket nor a raw one".to_owned();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Failure::of(doing, error, vang_client::Doing::Bind);
    }
    let trouble = Trouble {
        name: "permission denied".into(),
        likely: "your group is not in net.ipv4.ping_group_range, and raw sockets are the administrator's",
        advice: "allow everybody's groups: `sysctl -w net.ipv4.ping_group_range='0 2147483647'`; or this program: \
                 `setcap cap_net_raw=+ep` on it; or measure without ICMP: --tcp PORT needs neither",
        passing: false,
    };
    Failure::System { doing, trouble }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    /// The next answer, waited for.
    fn reply(socket: &mut IcmpSocket) -> (u16, Duration) {
        loop {
            poll(&mut [PollFd::new(&*socket, PollFlags::IN)], None).unwrap();
            if let Some(Came::Reply { seq, waited, .. }) = socket.receive().unwrap() {
                return (seq, waited);
            }
        }
    }

    #[test]
    fn the_kernel_says_how_long_an_answer_lay_in_the_queue() {
        for (family, to) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            // Who may have no ICMP socket is told so; the tests in networks of their own have them.
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
    fn a_note_of_the_future_is_no_time() {
        let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3_600);
        assert_eq!(waited(&[ControlMessageOwned::ScmTimestampns(later.into())]), Duration::ZERO);
        assert_eq!(waited(&[]), Duration::ZERO);
    }
}
