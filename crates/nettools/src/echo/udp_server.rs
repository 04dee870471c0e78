//! The echo server over UDP: one socket, no connections. Each datagram is sent back to its source, from the address that it
//! was sent to: a machine can have several addresses, and a client accepts answers only from the one it used. The kernel
//! reports that address and takes it for the answer (`IP_PKTINFO`, `IPV6_PKTINFO`; ip(7), ipv6(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
use nix::sys::socket::{recvmsg, sendmsg, setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::accept::ServerContext;
use super::peer::{BUFFER, NARRATED_MAX};

use crate::listener::Listener;
use crate::{Stopped, quoted};

/// Datagrams between two checks for the end.
const AT_ONCE: usize = 64;

/// Room for control messages: the destination address.
const CONTROL_BYTES: usize = 128;

pub(super) fn serve(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let socket = &listener.socket;
    match listener.net_address() {
        Some(SocketAddr::V6(_)) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        if let Some(stopped) = context.stop.wait(&mut fds, None)? {
            return Ok(Some(stopped));
        }
        for _ in 0..AT_ONCE {
            match give_back(socket, &mut buffer, context) {
                Ok(()) if context.once => return Ok(None),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

fn give_back(socket: &Socket, buffer: &mut [u8], context: &ServerContext) -> io::Result<()> {
    let (len, from, to) = loop {
        match receive(socket, buffer) {
            // An ICMP error for an earlier answer; its client has gone.
            Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
            other => break other?,
        }
    };
    let bytes = &buffer[..len];
    let reporter = &context.reporter;
    let said = match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::V4((*v4).into()).to_string(),
        (_, Some(v6)) => SocketAddr::V6((*v6).into()).to_string(),
        _ => "unknown address".to_owned(),
    };
    if !reporter.is_quiet() {
        reporter.explain(|| {
            let shown = quoted(bytes, NARRATED_MAX);
            format!(
                "readable: recvmsg: a whole datagram of {len} bytes from {said}, without a connection: {shown}"
            )
        });
        reporter.echoed(None, &said, bytes, "echoed");
    }
    reporter.datagram(len as u64);
    if let Err(error) = answer(socket, bytes, &from, to) {
        // UDP: an answer that cannot be sent now is lost.
        let why = vang_client::trouble::plain(&error.into());
        reporter.means(&format!("the answer to {said} is lost: {why}"));
    }
    Ok(())
}

/// The destination address of a datagram, as source for the answer.
enum Source {
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

/// The next datagram: length, source, and destination address.
fn receive(socket: &Socket, buffer: &mut [u8]) -> Result<(usize, SockaddrStorage, Option<Source>), Errno> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = [0; CONTROL_BYTES];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
    let to = message.cmsgs()?.find_map(|control| match control {
        // Any interface: the kernel chooses the route back.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Source::V4(nix::libc::in_pktinfo { ipi_ifindex: 0, ..info }))
        }
        // A multicast address cannot be a source.
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
