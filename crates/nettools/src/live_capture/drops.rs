//! The number of packets that the kernel dropped at a packet socket, by netlink `sock_diag(7)`, as `ss -0 -m` shows it. The
//! crate for sock_diag does not have packet sockets.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_PACKET: u8 = 17;
const PACKET_SHOW_MEMINFO: u32 = 0x10;
const PACKET_DIAG_MEMINFO: u16 = 6;
/// Place of the drops in the memory's numbers (`SK_MEMINFO_DROPS`).
const DROPS_AT: usize = 8 * 4;
/// Place of the inode in `packet_diag_msg`, and its length.
const INODE_AT: usize = 4;
const MESSAGE_BYTES: usize = 16;
const HEADER_BYTES: usize = 16;
const ANSWER_BYTES: usize = 32 << 10;
/// Timeout of an answer; the kernel normally answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The counter of the packet socket with this inode; `None`: it is not in this network namespace.
pub(super) fn of_packet_socket(inode: u32) -> io::Result<Option<u32>> {
    let netlink = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&netlink, Timeout::Recv, Some(PATIENCE))?;
    sendto(&netlink, &request(), SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let (got, _) = match recv(&netlink, &mut answer[..], RecvFlags::empty()) {
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut rest = &answer[..got];
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match message.message_type() {
                NLMSG_DONE => return Ok(None),
                // This kernel has no sock_diag for packet sockets.
                NLMSG_ERROR => return Err(Errno::NOENT.into()),
                _ => {}
            }
            let payload = message.payload();
            let word = |at: usize| payload.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
            if word(INODE_AT) == Some(inode) {
                return Ok(payload.get(MESSAGE_BYTES..).and_then(drops));
            }
            let len = (message.length() as usize).next_multiple_of(4).clamp(4, rest.len());
            rest = &rest[len..];
        }
    }
}

/// `packet_diag_req`, for every packet socket: there is no request for one.
fn request() -> Vec<u8> {
    const LEN: usize = HEADER_BYTES + 20;
    let mut bytes = vec![0; LEN];
    let mut header = NetlinkBuffer::new(&mut bytes[..]);
    header.set_length(LEN as u32);
    header.set_message_type(SOCK_DIAG_BY_FAMILY);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    bytes[HEADER_BYTES] = AF_PACKET;
    bytes[HEADER_BYTES + 8..HEADER_BYTES + 12].copy_from_slice(&PACKET_SHOW_MEMINFO.to_ne_bytes());
    bytes
}

fn drops(attributes: &[u8]) -> Option<u32> {
    let memory = NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == PACKET_DIAG_MEMINFO)?;
    memory.value().get(DROPS_AT..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}
