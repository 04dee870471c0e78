//! Reads a packet as a TCP segment or a UDP datagram. Layers below IP are in `link`; here are IPv4 and IPv6, also one inside the other.
//! Nothing is copied. Checksums are ignored: in captures on the sending machine they are often not yet computed.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, LaxIpPayloadSlice, LaxIpSlice};

use super::fragments::Fragment;
use super::link::{self, Layer};
use super::not_segment::{Datagram, NotSegment, Unopened};

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number; valid only with the flag ACK.
    pub ack: u32,
    pub flags: Flags,
    /// The captured payload.
    pub bytes: &'a [u8],
    /// Bytes of payload after it that were not captured.
    pub cut: usize,
}

/// The flags of opening and closing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

/// Reads a packet of this link type.
pub fn read(link: i32, bytes: &[u8]) -> Result<Segment<'_>, NotSegment<'_>> {
    read_ip(link::ip(link, bytes)?)
}

/// Reads the payload of this EtherType: a packet whose link header the kernel has removed.
pub fn read_network(ether_type: u16, bytes: &[u8]) -> Result<Segment<'_>, NotSegment<'_>> {
    read_ip(link::down_to_ip(Layer::Ether(ether_type, bytes))?)
}

/// Reads a raw IP packet; of an IP packet in a tunnel the inner one.
pub fn read_ip(mut bytes: &[u8]) -> Result<Segment<'_>, NotSegment<'_>> {
    loop {
        let (ip, stop) = LaxIpSlice::from_slice(bytes).map_err(|_| NotSegment::Unreadable)?;
        // Length of the packet by its IP header.
        let (header, payload, said) = match &ip {
            LaxIpSlice::Ipv4(ip) => {
                (ip.header().slice(), ip.payload().clone(), usize::from(ip.header().total_len()))
            }
            LaxIpSlice::Ipv6(ip) => {
                (ip.header().slice(), ip.payload().clone(), 40 + usize::from(ip.header().payload_length()))
            }
        };
        let end = payload.payload.as_ptr() as usize + payload.payload.len() - header.as_ptr() as usize;
        if payload.fragmented {
            let packet = bytes.get(..end).filter(|_| !payload.incomplete);
            return match packet.map(Fragment::of) {
                Some(None) => Err(NotSegment::Unreadable),
                fragment => Err(NotSegment::Fragment(fragment.flatten())),
            };
        }
        if stop.is_some() {
            return Err(NotSegment::Unreadable);
        }
        let cut = if payload.incomplete { said.saturating_sub(end) } else { 0 };
        let layer = match payload.ip_number {
            IpNumber::TCP => return segment(ip.source_addr(), ip.destination_addr(), &payload, cut),
            IpNumber::IPV4 | IpNumber::IPV6 => Layer::Ip(payload.payload),
            IpNumber::GRE => Layer::Gre(payload.payload),
            IpNumber::MPLS_IN_IP => Layer::Mpls(payload.payload),
            IpNumber::ENCAPSULATING_SECURITY_PAYLOAD => {
                return Err(NotSegment::Unopened(Unopened::Encrypted("ESP")));
            }
            IpNumber::UDP => match link::in_datagram(payload.payload) {
                Some(layer) => layer?,
                None => return Err(datagram(ip.source_addr(), ip.destination_addr(), &payload, cut)),
            },
            _ => return Err(NotSegment::NotTcp),
        };
        bytes = link::down_to_ip(layer)?;
    }
}

fn datagram<'a>(from: IpAddr, to: IpAddr, payload: &LaxIpPayloadSlice<'a>, cut: usize) -> NotSegment<'a> {
    const HEADER_BYTES: usize = 8;
    let Some((head, bytes)) = payload.payload.split_first_chunk::<HEADER_BYTES>() else {
        return NotSegment::Unreadable;
    };
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    // Ethernet pads short frames; 0 is the length of a jumbogram (RFC 2675).
    let bytes = match usize::from(half(4)).checked_sub(HEADER_BYTES) {
        Some(len) => &bytes[..len.min(bytes.len())],
        None if half(4) == 0 => bytes,
        None => return NotSegment::Unreadable,
    };
    let (from, to) = (SocketAddr::new(from, half(0)), SocketAddr::new(to, half(2)));
    NotSegment::Datagram(Datagram { from, to, bytes, cut })
}

/// Bytes of a TCP header that are needed here: ports, both numbers, length and flags. Captures with a length limit often
/// end inside the options.
const TCP_BYTES_MIN: usize = 14;

fn segment<'a>(
    from: IpAddr,
    to: IpAddr,
    payload: &LaxIpPayloadSlice<'a>,
    mut cut: usize,
) -> Result<Segment<'a>, NotSegment<'a>> {
    let tcp = payload.payload;
    let head = tcp.first_chunk::<TCP_BYTES_MIN>().ok_or(NotSegment::Unreadable)?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = usize::from(head[12] >> 4) * 4;
    if header < 20 {
        return Err(NotSegment::Unreadable);
    }
    let bytes = match tcp.get(header..) {
        Some(bytes) => bytes,
        // Cut inside the header: its missing bytes are not payload.
        None if payload.incomplete => {
            let missing = header - tcp.len();
            cut = cut.checked_sub(missing).ok_or(NotSegment::Unreadable)?;
            &[]
        }
        None => return Err(NotSegment::Unreadable),
    };
    let flag = |bit: u8| head[13] & bit != 0;
    Ok(Segment {
        from: SocketAddr::new(from, half(0)),
        to: SocketAddr::new(to, half(2)),
        seq: word(4),
        ack: word(8),
        flags: Flags { syn: flag(0x02), ack: flag(0x10), fin: flag(0x01), rst: flag(0x04) },
        bytes,
        cut,
    })
}
