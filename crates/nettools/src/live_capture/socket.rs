//! The packet socket (packet(7)): packets of every interface without their link headers, several with one call, each with
//! its time, and with the number of those that the kernel dropped before it.
//!
//! The socket belongs to no interface; the filter selects one. It is not promiscuous: packets to other hosts do not come.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::{drops, filter};
use crate::capture::write_packets::LinkHeader;

/// Packets of one call.
const BATCH: usize = 64;

/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 3;

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// Its time, ns since 1970.
    pub(super) time_ns: u64,
    pub(super) header: LinkHeader,
    /// The captured bytes, from the IP header on.
    pub(super) bytes: &'a [u8],
    /// Its whole length.
    pub(super) wire_bytes: usize,
}

/// A packet socket that captures.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: Socket,
    buffer: Vec<u8>,
    snaplen: usize,
    drops: DropCounter,
    /// Size of the kernel's buffer.
    pub(super) kernel_bytes: usize,
}

/// The kernel's counter, which wraps, as a sum.
#[derive(Debug, Default)]
struct DropCounter {
    last: u32,
    sum: u64,
}

impl DropCounter {
    fn take(&mut self, counter: u32) {
        let more = counter.wrapping_sub(self.last);
        // An older value can come later.
        if more <= u32::MAX / 2 {
            self.sum += u64::from(more);
            self.last = counter;
        }
    }
}

impl PacketSocket {
    /// Starts to capture packets that pass the filter. The kernel keeps up to `kernel_bytes` of them until they are read;
    /// without CAP_NET_ADMIN only `net.core.rmem_max`.
    pub(super) fn open(
        packets: &[SockFilter],
        snaplen: usize,
        kernel_bytes: usize,
    ) -> io::Result<PacketSocket> {
        let every = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(every))?;
        // Without a filter the socket took every packet since it was opened: those are read and forgotten.
        socket.attach_filter(&filter::nothing())?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &kernel_bytes).is_err() {
            socket.set_recv_buffer_size(kernel_bytes)?;
        }
        // The kernel doubles the size for its own overhead.
        let kernel_bytes = socket.recv_buffer_size()? / 2;
        let buffer = vec![0; snaplen * BATCH];
        let mut opened =
            PacketSocket { socket, buffer, snaplen, drops: DropCounter::default(), kernel_bytes };
        while opened.receive(&mut |_| ())? > 0 {}
        opened.count_drops();
        opened.drops.sum = 0;
        opened.socket.attach_filter(packets)?;
        Ok(opened)
    }

    /// Gives out the packets that are there, at most a batch; returns their number.
    pub(super) fn receive(&mut self, each: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        // New for each call: the kernel stores the used length in these headers, and the next packet can need more.
        let mut headers: MultiHeaders<LinkAddr> =
            MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec, u32)));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffer.chunks_exact_mut(self.snaplen).map(|part| [IoSliceMut::new(part)]).collect();
        // MSG_TRUNC: the kernel reports the whole length of a cut packet.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let got = recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None);
        let got = match got {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in got {
            count += 1;
            let mut came = None;
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => came = Some(Duration::from(time)),
                    ControlMessageOwned::RxqOvfl(counter) => self.drops.take(counter),
                    _ => {}
                }
            }
            let came = came.unwrap_or_else(now);
            let Some(address) = message.address else { continue };
            each(Received {
                time_ns: u64::try_from(came.as_nanos()).unwrap_or(u64::MAX),
                header: link_header(&address),
                bytes: message.iovs().next().unwrap_or_default(),
                wire_bytes: message.bytes,
            });
        }
        Ok(count)
    }

    /// Captures no further packets; those that came before can still be received.
    pub(super) fn close_filter(&mut self) -> io::Result<()> {
        self.socket.attach_filter(&filter::nothing())
    }

    /// Packets that the kernel dropped because its buffer was full.
    pub(super) fn dropped(&mut self) -> u64 {
        self.count_drops();
        self.drops.sum
    }

    /// Each packet brings the number of drops before it; the ones after the last packet are in sock_diag.
    fn count_drops(&mut self) {
        let inode = rustix::fs::fstat(&self.socket).map(|about| about.st_ino as u32);
        // Without sock_diag the number up to the last packet counts.
        if let Ok(Some(counter)) = inode.map_err(io::Error::from).and_then(drops::of_packet_socket) {
            self.drops.take(counter);
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The time, as packets have it.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn link_header(address: &LinkAddr) -> LinkHeader {
    LinkHeader {
        protocol: u16::from_be(address.protocol()),
        interface: address.ifindex() as u32,
        device: address.hatype(),
        direction: address.pkttype(),
        address: address.addr().unwrap_or_default(),
        address_bytes: address.halen().min(6) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_drops_wraps_and_does_not_go_back() {
        let mut drops = DropCounter { last: u32::MAX - 1, sum: 7 };
        for (counter, sum) in [(u32::MAX - 1, 7), (1, 10), (0, 10), (1, 10), (5, 14)] {
            drops.take(counter);
            assert_eq!(drops.sum, sum, "{counter}");
        }
    }
}
