//! A packet as a TCP segment: Ethernet with or without VLAN tags, Linux cooked (both versions), raw IP, loopback; IPv4
//! and IPv6. Nothing is copied. Checksums are not looked at: captures of a sender's own machine often have none yet.

use std::net::SocketAddr;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::fragments::Fragment;

/// What TCP says in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The number of its first byte.
    pub seq: u32,
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
    /// A fragment of an IP packet; `None`: only its beginning was captured.
    Fragment(Option<Fragment<'a>>),
    /// Its headers are cut or wrong.
    Unreadable,
    /// A link of this type (`LINKTYPE_`) is not known here.
    Link(i32),
}

/// `LINKTYPE_` numbers, as tcpdump.org lists them.
mod link {
    pub(super) const NULL: i32 = 0;
    pub(super) const ETHERNET: i32 = 1;
    pub(super) const RAW_BSD: i32 = 12;
    pub(super) const RAW_OPENBSD: i32 = 14;
    pub(super) const RAW: i32 = 101;
    pub(super) const LOOP: i32 = 108;
    pub(super) const LINUX_SLL: i32 = 113;
    pub(super) const IPV4: i32 = 228;
    pub(super) const IPV6: i32 = 229;
    pub(super) const LINUX_SLL2: i32 = 276;
}

/// Reads a packet of this link type.
pub fn read(link: i32, bytes: &[u8]) -> Result<Segment<'_>, Other<'_>> {
    let behind = |len: usize| bytes.get(len..).ok_or(Other::Unreadable);
    let typed = |at: usize, len: usize| {
        let kind = bytes.get(at..at + 2).ok_or(Other::Unreadable)?;
        let kind = EtherType(u16::from_be_bytes([kind[0], kind[1]]));
        Ok(LaxSlicedPacket::from_ether_type(kind, behind(len)?))
    };
    let packet = match link {
        link::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| Other::Unreadable)?,
        link::LINUX_SLL => typed(14, 16)?,
        link::LINUX_SLL2 => typed(0, 20)?,
        // A family in the capturing machine's order; the IP header's version says the same.
        link::NULL | link::LOOP => return read_ip(behind(4)?),
        link::RAW | link::RAW_BSD | link::RAW_OPENBSD | link::IPV4 | link::IPV6 => return read_ip(bytes),
        other => return Err(Other::Link(other)),
    };
    segment(&packet, bytes)
}

/// Reads a packet of IP, as it is without a link.
pub fn read_ip(bytes: &[u8]) -> Result<Segment<'_>, Other<'_>> {
    segment(&LaxSlicedPacket::from_ip(bytes).map_err(|_| Other::Unreadable)?, bytes)
}

fn segment<'a>(packet: &LaxSlicedPacket<'a>, bytes: &'a [u8]) -> Result<Segment<'a>, Other<'a>> {
    // Where the IP header says that its packet ends, counted from where that header begins.
    let (from, to, payload, header, said) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let (header, payload) = (ip.header(), ip.payload());
            let (from, to) = (header.source_addr().into(), header.destination_addr().into());
            (from, to, payload, header.slice().as_ptr(), usize::from(header.total_len()))
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let (header, payload) = (ip.header(), ip.payload());
            let (from, to) = (header.source_addr().into(), header.destination_addr().into());
            (from, to, payload, header.slice().as_ptr(), 40 + usize::from(header.payload_length()))
        }
        Some(LaxNetSlice::Arp(_)) => return Err(Other::NotTcp),
        None if packet.stop_err.is_some() => return Err(Other::Unreadable),
        None => return Err(Other::NotTcp),
    };
    let end = payload.payload.as_ptr() as usize + payload.payload.len();
    if payload.fragmented {
        let from = |place: usize| place - bytes.as_ptr() as usize;
        let ip = bytes.get(from(header as usize)..from(end)).filter(|_| !payload.incomplete);
        return match ip.map(Fragment::of) {
            Some(None) => Err(Other::Unreadable),
            fragment => Err(Other::Fragment(fragment.flatten())),
        };
    }
    let tcp = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        None if packet.stop_err.is_some() => return Err(Other::Unreadable),
        _ => return Err(Other::NotTcp),
    };
    let there = end - header as usize;
    let cut = if payload.incomplete { said.saturating_sub(there) } else { 0 };
    Ok(Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        seq: tcp.sequence_number(),
        flags: Flags { syn: tcp.syn(), ack: tcp.ack(), fin: tcp.fin(), rst: tcp.rst() },
        bytes: tcp.payload(),
        cut,
    })
}
