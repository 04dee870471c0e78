//! The echo server over UDP: one socket, no connections, each datagram given back to where it says it is from, and from
//! the address that it was sent to. A machine has several, and a client that asked one of them takes no answer from
//! another: the kernel tells which it was, and is told in turn (`IP_PKTINFO`, `IPV6_PKTINFO`; ip(7), ipv6(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
use nix::sys::socket::{recvmsg, sendmsg, setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::peer::{BUFFER, NARRATED_MAX};
use super::serve::Works;
use crate::place::Door;
use crate::{Stopped, quoted};

/// Datagrams before the end is looked for.
const AT_ONCE: usize = 64;

/// Room for what the kernel tells beside a datagram: the address that it was sent to.
const CONTROL_BYTES: usize = 128;

pub(super) fn serve(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let socket = &door.socket;
    match door.net_address() {
        Some(SocketAddr::V6(_)) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        if let Some(stopped) = works.stop.wait(&mut fds, None)? {
            return Ok(Some(stopped));
        }
        for _ in 0..AT_ONCE {
            match give_back(socket, &mut buffer, works) {
                Ok(()) if works.once => return Ok(None),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

fn give_back(socket: &Socket, buffer: &mut [u8], works: &Works) -> io::Result<()> {
    let (len, from, to) = loop {
        match receive(socket, buffer) {
            // A report about one that was sent earlier; its sender is gone.
            Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
            other => break other?,
        }
    };
    let bytes = &buffer[..len];
    let teller = &works.teller;
    let said = match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::V4((*v4).into()).to_string(),
        (_, Some(v6)) => SocketAddr::V6((*v6).into()).to_string(),
        _ => "somebody".to_owned(),
    };
    if !teller.is_quiet() {
        teller.explain(|| {
            let shown = quoted(bytes, NARRATED_MAX);
            format!(
                "readable: recvmsg: a datagram of {len} bytes, whole, from {said}; nobody connected: {shown}"
            )
        });
        teller.echoed(None, &said, bytes, "echoed");
    }
    teller.datagram(len as u64);
    if let Err(error) = answer(socket, bytes, &from, to) {
        // As the network does it: what cannot be sent now is lost.
        let why = vang_client::trouble::plain(&error.into());
        teller.means(&format!("the answer to {said} is lost: {why}"));
    }
    Ok(())
}

/// Where a datagram was sent to, as the kernel takes it for the source of another.
enum Source {
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

/// The next datagram: its length, whom it is from, and which of our addresses it was sent to.
fn receive(socket: &Socket, buffer: &mut [u8]) -> Result<(usize, SockaddrStorage, Option<Source>), Errno> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = [0; CONTROL_BYTES];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
    let to = message.cmsgs()?.find_map(|control| match control {
        // From any interface: the way back is the kernel's to choose.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Source::V4(nix::libc::in_pktinfo { ipi_ifindex: 0, ..info }))
        }
        // A group is nobody's source.
        ControlMessageOwned::Ipv6PacketInfo(info) if info.ipi6_addr.s6_addr[0] == 0xff => None,
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Source::V6(info)),
        _ => None,
    });
    Ok((message.bytes, message.address.ok_or(Errno::EDESTADDRREQ)?, to))
}

fn answer(socket: &Socket, bytes: &[u8], to: &SockaddrStorage, from: Option<Source>) -> Result<(), Errno> {
    let source = from.as_ref().map(|from| match from {
        Source::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        Source::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    let (fd, slices) = (socket.as_raw_fd(), [IoSlice::new(bytes)]);
    sendmsg(fd, &slices, source.as_slice(), MsgFlags::empty(), Some(to)).map(drop)
}
