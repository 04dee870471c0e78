//! A packet as a TCP segment: what stands before IP is `link`'s; IPv4 and IPv6, also one in the other. Nothing is copied.
//! Checksums are not looked at: captures of a sender's own machine often have none yet.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, LaxIpPayloadSlice, LaxIpSlice};

use super::fragments::Fragment;
use super::link::{self, Layer, Unopened};

/// What TCP says in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The number of its first byte.
    pub seq: u32,
    /// The number of the byte that is expected from the other side; it means something with the flag only.
    pub ack: u32,
    /// Its flags.
    pub flags: Flags,
    /// Its payload, as far as it was captured.
    pub bytes: &'a [u8],
    /// Bytes of payload behind it that were not captured.
    pub cut: usize,
}

/// The flags that open and close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the standard's
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

/// A packet that is no TCP segment, or none that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other<'a> {
    /// UDP, ICMP, ARP and whatever else.
    NotTcp,
    /// TCP may be in it, behind a layer that is not opened here.
    Unopened(Unopened),
    /// A fragment of an IP packet; `None`: only its beginning was captured.
    Fragment(Option<Fragment<'a>>),
    /// Its headers are cut or wrong.
    Unreadable,
}

/// Reads a packet of this link type.
pub fn read(link: i32, bytes: &[u8]) -> Result<Segment<'_>, Other<'_>> {
    read_ip(link::ip(link, bytes)?)
}

/// Reads a packet of IP, as it is without a link; of an IP packet in a tunnel the inner one.
pub fn read_ip(mut bytes: &[u8]) -> Result<Segment<'_>, Other<'_>> {
    loop {
        let (ip, stop) = LaxIpSlice::from_slice(bytes).map_err(|_| Other::Unreadable)?;
        // Where the IP header says that its packet ends, counted from where that header begins.
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
                Some(None) => Err(Other::Unreadable),
                fragment => Err(Other::Fragment(fragment.flatten())),
            };
        }
        if stop.is_some() {
            return Err(Other::Unreadable);
        }
        let cut = if payload.incomplete { said.saturating_sub(end) } else { 0 };
        let layer = match payload.ip_number {
            IpNumber::TCP => return segment(ip.source_addr(), ip.destination_addr(), &payload, cut),
            IpNumber::IPV4 | IpNumber::IPV6 => Layer::Ip(payload.payload),
            IpNumber::GRE => Layer::Gre(payload.payload),
            IpNumber::MPLS_IN_IP => Layer::Mpls(payload.payload),
            IpNumber::ENCAPSULATING_SECURITY_PAYLOAD => {
                return Err(Other::Unopened(Unopened::Encrypted("ESP")));
            }
            IpNumber::UDP => match link::in_datagram(payload.payload) {
                Some(layer) => layer?,
                None => return Err(Other::NotTcp),
            },
            _ => return Err(Other::NotTcp),
        };
        bytes = link::down_to_ip(layer)?;
    }
}

/// Bytes of a TCP header that say all that is asked here: ports, both numbers, length and flags. Captures that keep
/// only the beginning of each packet often end among its options.
const TCP_BYTES_MIN: usize = 14;

fn segment<'a>(
    from: IpAddr,
    to: IpAddr,
    payload: &LaxIpPayloadSlice<'a>,
    mut cut: usize,
) -> Result<Segment<'a>, Other<'a>> {
    let tcp = payload.payload;
    let head = tcp.first_chunk::<TCP_BYTES_MIN>().ok_or(Other::Unreadable)?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = usize::from(head[12] >> 4) * 4;
    if header < 20 {
        return Err(Other::Unreadable);
    }
    let bytes = match tcp.get(header..) {
        Some(bytes) => bytes,
        // Cut inside the header: what was to come of it is no payload.
        None if payload.incomplete => {
            let missing = header - tcp.len();
            cut = cut.checked_sub(missing).ok_or(Other::Unreadable)?;
            &[]
        }
        None => return Err(Other::Unreadable),
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
