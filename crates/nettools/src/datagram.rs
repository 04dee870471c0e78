//! UDP sockets that answer each datagram from the address that it was sent to: a machine can have several addresses, and a
//! client accepts answers only from the one it used. The kernel reports that address and takes it for the answer
//! (`IP_PKTINFO`, `IPV6_PKTINFO`; ip(7), ipv6(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
use nix::sys::socket::{recvmsg, sendmsg, setsockopt, sockopt};
use socket2::Socket;

/// Room for control messages: the destination address.
const CONTROL_BYTES: usize = 128;

/// The destination address of a datagram, as source for the answer.
#[derive(Clone, Copy)]
pub(crate) enum AnswerSource {
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

/// A received datagram.
pub(crate) struct Datagram {
    pub(crate) len: usize,
    pub(crate) from: SockaddrStorage,
    /// `None`: the kernel chooses, as for a group, whose address cannot be a source.
    pub(crate) answer_from: Option<AnswerSource>,
}

impl Datagram {
    /// Who sent it.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match (self.from.as_sockaddr_in(), self.from.as_sockaddr_in6()) {
            (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
            (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
            _ => None,
        }
    }
}

/// Asks the kernel for the destination of each datagram.
pub(crate) fn report_destinations(socket: &Socket) -> io::Result<()> {
    match socket.local_addr()?.as_socket().map(|address| address.ip()) {
        Some(IpAddr::V6(_)) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    Ok(())
}

/// The next datagram.
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> Result<Datagram, Errno> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = [0; CONTROL_BYTES];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
    let answer_from = message.cmsgs()?.find_map(|control| match control {
        // Any interface: the kernel chooses the route back.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(AnswerSource::V4(nix::libc::in_pktinfo { ipi_ifindex: 0, ..info }))
        }
        // A multicast address cannot be a source.
        ControlMessageOwned::Ipv6PacketInfo(info) if info.ipi6_addr.s6_addr[0] == 0xff => None,
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(AnswerSource::V6(info)),
        _ => None,
    });
    Ok(Datagram { len: message.bytes, from: message.address.ok_or(Errno::EDESTADDRREQ)?, answer_from })
}

/// Sends a datagram, from this address.
pub(crate) fn send(
    socket: &Socket,
    bytes: &[u8],
    to: &SockaddrStorage,
    from: Option<AnswerSource>,
) -> Result<(), Errno> {
    let source = from.as_ref().map(|from| match from {
        AnswerSource::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        AnswerSource::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    let (fd, slices) = (socket.as_raw_fd(), [IoSlice::new(bytes)]);
    let sent = |source: &[ControlMessage<'_>]| sendmsg(fd, &slices, source, MsgFlags::empty(), Some(to));
    match sent(source.as_slice()) {
        // An IPv6 socket reports a broadcast address of IPv4, which cannot be a source.
        Err(Errno::EINVAL | Errno::ENETUNREACH | Errno::EADDRNOTAVAIL) if source.is_some() => {
            sent(&[]).map(drop)
        }
        outcome => outcome.map(drop),
    }
}
