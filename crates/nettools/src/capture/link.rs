//! Layers below an IP packet: link headers, tags, labels, sessions and tunnels, removed one by one until IP. Nothing is
//! copied, and each step removes bytes, so the packet's length bounds the number of steps.
//!
//! ```text
//! Ethernet ─▶ VLAN tags ─▶ PPPoE ─▶ PPP ─┐
//! Linux cooked, HDLC ─▶ MPLS labels ─────┼─▶ IP        GRE, VXLAN and Geneve start again at the left
//! 802.3 ─▶ LLC, SNAP ────────────────────┘
//! ```
//!
//! Protocols that are known not to carry IP are counted apart from layers that can carry IP and are not supported.

use etherparse::LaxMacsecSlice;

use super::not_segment::{NotSegment, Unopened};

/// The bytes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer<'a> {
    /// An Ethernet frame, from the addresses on.
    Ethernet(&'a [u8]),
    /// The payload of this EtherType.
    Ether(u16, &'a [u8]),
    Llc(&'a [u8]),
    /// PPP, with or without the two bytes of HDLC; also Cisco HDLC.
    Ppp(&'a [u8]),
    Pppoe(&'a [u8]),
    Mpls(&'a [u8]),
    Gre(&'a [u8]),
    Ip(&'a [u8]),
}

/// `LINKTYPE_` numbers, as tcpdump.org lists them.
mod number {
    pub(super) const NULL: i32 = 0;
    pub(super) const ETHERNET: i32 = 1;
    pub(super) const PPP: i32 = 9;
    pub(super) const RAW_BSD: i32 = 12;
    pub(super) const RAW_OPENBSD: i32 = 14;
    pub(super) const PPP_HDLC: i32 = 50;
    pub(super) const PPP_ETHER: i32 = 51;
    pub(super) const ATM_RFC1483: i32 = 100;
    pub(super) const RAW: i32 = 101;
    pub(super) const C_HDLC: i32 = 104;
    pub(super) const LOOP: i32 = 108;
    pub(super) const ENC: i32 = 109;
    pub(super) const LINUX_SLL: i32 = 113;
    pub(super) const PFLOG: i32 = 117;
    pub(super) const PPP_PPPD: i32 = 166;
    pub(super) const PPP_WITH_DIR: i32 = 204;
    pub(super) const C_HDLC_WITH_DIR: i32 = 205;
    pub(super) const MPLS: i32 = 219;
    pub(super) const IPV4: i32 = 228;
    pub(super) const IPV6: i32 = 229;
    pub(super) const NFLOG: i32 = 239;
    pub(super) const LINUX_SLL2: i32 = 276;
}

mod ether {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const BRIDGED: u16 = 0x6558;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_MULTICAST: u16 = 0x8848;
    pub(super) const PPPOE: u16 = 0x8864;
    pub(super) const PPP: u16 = 0x880b;
    pub(super) const MACSEC: u16 = 0x88e5;
    pub(super) const PROVIDER_BACKBONE: u16 = 0x88e7;
    /// Longest payload of 802.3: up to here the field is a length (or Linux's number in a cooked capture), and LLC follows.
    pub(super) const LENGTH_MAX: u16 = 1_500;
}

/// Tags, each with the number of bytes between its EtherType and the next one: VLANs (802.1Q, 802.1ad and two older numbers),
/// VN-Tag, E-Tag, Cisco's metadata, HSR.
const TAGS: [(u16, usize); 9] = [
    (0x8100, 2),
    (0x88a8, 2),
    (0x9100, 2),
    (0x9200, 2),
    (0x9300, 2),
    (0x8926, 4),
    (0x893f, 6),
    (0x8909, 6),
    (0x892f, 4),
];

/// EtherTypes of protocols that carry no IP: ARP, RARP, Wake-on-LAN, AppleTalk (two), IPX, DECnet, LACP, PPPoE's
/// discovery, 802.1X, LLDP, PTP, CFM, loopback, audio and video, PROFINET, EtherCAT, HomePlug (two), TIPC, FCoE (two),
/// RoCE, GOOSE, sampled values, MRP, PRP, 802.11's pre-authentication.
const NOT_IP: [u16; 28] = [
    0x0806, 0x8035, 0x0842, 0x809b, 0x80f3, 0x8137, 0x6003, 0x8809, 0x8863, 0x888e, 0x88cc, 0x88f7, 0x8902,
    0x9000, 0x22f0, 0x8892, 0x88a4, 0x88e1, 0x893a, 0x88ca, 0x8906, 0x8914, 0x8915, 0x88b8, 0x88ba, 0x88e3,
    0x88fb, 0x88c7,
];

/// The IP packet in a packet of this link type.
pub(super) fn ip(link: i32, bytes: &[u8]) -> Result<&[u8], NotSegment<'_>> {
    let behind = |len: usize| bytes.get(len..).ok_or(NotSegment::Unreadable);
    let layer = match link {
        number::ETHERNET => Layer::Ethernet(bytes),
        number::LINUX_SLL => Layer::Ether(half(bytes, 14)?, behind(16)?),
        number::LINUX_SLL2 => Layer::Ether(half(bytes, 0)?, behind(20)?),
        // An address family in the byte order of the capturing machine; the IP version says the same.
        number::NULL | number::LOOP => Layer::Ip(behind(4)?),
        number::RAW | number::RAW_BSD | number::RAW_OPENBSD | number::IPV4 | number::IPV6 => Layer::Ip(bytes),
        number::PPP | number::PPP_HDLC | number::C_HDLC => Layer::Ppp(bytes),
        number::PPP_WITH_DIR | number::C_HDLC_WITH_DIR => Layer::Ppp(behind(1)?),
        // One byte of direction instead of the HDLC address.
        number::PPP_PPPD => Layer::Ppp(behind(2)?),
        number::PPP_ETHER => Layer::Pppoe(bytes),
        number::ATM_RFC1483 => Layer::Llc(bytes),
        number::MPLS => Layer::Mpls(bytes),
        // Family, SPI, flags.
        number::ENC => Layer::Ip(behind(12)?),
        // The first byte is the length without padding.
        number::PFLOG => {
            Layer::Ip(behind(usize::from(*bytes.first().ok_or(NotSegment::Unreadable)?).next_multiple_of(4))?)
        }
        number::NFLOG => Layer::Ip(nflog_payload(bytes).ok_or(NotSegment::Unreadable)?),
        other => return Err(NotSegment::Unopened(Unopened::Link(other))),
    };
    down_to_ip(layer)
}

/// Removes one layer after the other.
pub(super) fn down_to_ip(mut layer: Layer<'_>) -> Result<&[u8], NotSegment<'_>> {
    loop {
        layer = match layer {
            Layer::Ip(bytes) => return Ok(bytes),
            Layer::Ethernet(bytes) => Layer::Ether(half(bytes, 12)?, after(bytes, 14)?),
            Layer::Ether(kind, bytes) => of_ether_type(kind, bytes)?,
            Layer::Llc(bytes) => of_llc(bytes)?,
            Layer::Ppp(bytes) => of_ppp(bytes)?,
            // Version and type, code, session, length.
            Layer::Pppoe(bytes) => match bytes.get(1) {
                Some(0) => Layer::Ppp(after(bytes, 6)?),
                Some(_) => return Err(NotSegment::NotTcp),
                None => return Err(NotSegment::Unreadable),
            },
            Layer::Mpls(bytes) => of_mpls(bytes)?,
            Layer::Gre(bytes) => of_gre(bytes)?,
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Result<u16, NotSegment<'_>> {
    let half = bytes.get(at..at + 2).and_then(|half| half.first_chunk()).ok_or(NotSegment::Unreadable)?;
    Ok(u16::from_be_bytes(*half))
}

fn after(bytes: &[u8], len: usize) -> Result<&[u8], NotSegment<'_>> {
    bytes.get(len..).ok_or(NotSegment::Unreadable)
}

fn of_ether_type(kind: u16, bytes: &[u8]) -> Result<Layer<'_>, NotSegment<'_>> {
    if let Some((_, len)) = TAGS.iter().find(|(tag, _)| *tag == kind) {
        return Ok(Layer::Ether(half(bytes, *len)?, after(bytes, len + 2)?));
    }
    Ok(match kind {
        ether::IPV4 | ether::IPV6 => Layer::Ip(bytes),
        ether::MPLS | ether::MPLS_MULTICAST => Layer::Mpls(bytes),
        ether::PPPOE => Layer::Pppoe(bytes),
        ether::PPP => Layer::Ppp(bytes),
        ether::BRIDGED => Layer::Ethernet(bytes),
        // The service's number, then the customer's frame (802.1ah).
        ether::PROVIDER_BACKBONE => Layer::Ethernet(after(bytes, 4)?),
        ether::MACSEC => {
            let frame = LaxMacsecSlice::from_slice(bytes).map_err(|_| NotSegment::Unreadable)?;
            match frame.ether_payload() {
                Some(payload) => Layer::Ether(payload.ether_type.0, payload.payload),
                None => return Err(NotSegment::Unopened(Unopened::Encrypted("MACsec"))),
            }
        }
        0..=ether::LENGTH_MAX => Layer::Llc(bytes),
        kind if NOT_IP.contains(&kind) => return Err(NotSegment::NotTcp),
        kind => return Err(NotSegment::Unopened(Unopened::EtherType(kind))),
    })
}

/// 802.2 carries IP in two ways: by its own number, or by its EtherType in SNAP.
fn of_llc(bytes: &[u8]) -> Result<Layer<'_>, NotSegment<'_>> {
    match bytes {
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => Ok(Layer::Ether(half(bytes, 6)?, after(bytes, 8)?)),
        // A bridged Ethernet frame, with its checksum and without (RFC 2684).
        [0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 1 | 7, ..] => Ok(Layer::Ethernet(after(bytes, 10)?)),
        [6, 6, 3, ip @ ..] => Ok(Layer::Ip(ip)),
        [0xaa, 0xaa, 3, ..] if bytes.len() < 8 => Err(NotSegment::Unreadable),
        [_, _, _, ..] => Err(NotSegment::NotTcp),
        _ => Err(NotSegment::Unreadable),
    }
}

fn of_ppp(bytes: &[u8]) -> Result<Layer<'_>, NotSegment<'_>> {
    let bytes = match bytes {
        // Cisco's HDLC: unicast or broadcast, and an EtherType.
        [0x0f | 0x8f, 0, ..] => return Ok(Layer::Ether(half(bytes, 2)?, after(bytes, 4)?)),
        [0xff, 3, rest @ ..] => rest,
        _ => bytes,
    };
    // An odd first byte is a compressed protocol number (RFC 1661, 6.5).
    let (protocol, bytes) = match bytes {
        [first, rest @ ..] if first % 2 == 1 => (u16::from(*first), rest),
        _ => (half(bytes, 0)?, after(bytes, 2)?),
    };
    match protocol {
        0x0021 | 0x0057 => Ok(Layer::Ip(bytes)),
        0x0281 | 0x0283 => Ok(Layer::Mpls(bytes)),
        // Link and network control protocols.
        0x4000.. => Err(NotSegment::NotTcp),
        protocol => Err(NotSegment::Unopened(Unopened::Ppp(protocol))),
    }
}

fn of_mpls(mut bytes: &[u8]) -> Result<Layer<'_>, NotSegment<'_>> {
    loop {
        let (label, rest) = bytes.split_first_chunk::<4>().ok_or(NotSegment::Unreadable)?;
        bytes = rest;
        let is_last = label[2] & 1 == 1;
        if is_last {
            break;
        }
    }
    // Labels do not name the next protocol; the first four bits do (RFC 4928).
    match bytes.first().map(|first| first >> 4) {
        Some(4 | 6) => Ok(Layer::Ip(bytes)),
        Some(_) => Err(NotSegment::Unopened(Unopened::PseudoWire)),
        None => Err(NotSegment::Unreadable),
    }
}

/// GRE (RFC 2784, RFC 2890), and PPTP's of PPP (RFC 2637).
fn of_gre(bytes: &[u8]) -> Result<Layer<'_>, NotSegment<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    const VERSION: u16 = 0x0007;
    let (flags, kind) = (half(bytes, 0)?, half(bytes, 2)?);
    let counted = match flags & VERSION {
        0 if flags & ROUTING == 0 => CHECKSUM | KEY | SEQUENCE,
        1 => KEY | SEQUENCE | ACKNOWLEDGEMENT,
        _ => return Err(NotSegment::Unopened(Unopened::Tunnel("GRE"))),
    };
    let words = (flags & counted).count_ones() as usize;
    let payload = after(bytes, 4 + 4 * words)?;
    // A PPTP acknowledgement without payload.
    if payload.is_empty() && flags & VERSION == 1 {
        return Err(NotSegment::NotTcp);
    }
    Ok(Layer::Ether(kind, payload))
}

/// The layer in a UDP datagram, by its destination port, because some tunnels have no other mark. `None`: no tunnel.
pub(super) fn in_datagram(udp: &[u8]) -> Option<Result<Layer<'_>, NotSegment<'_>>> {
    let payload = udp.get(8..)?;
    let first = *payload.first()?;
    Some(match half(udp, 2).ok()? {
        // VXLAN: its port, and Linux's earlier one. The flag means that the network identifier is valid.
        4_789 | 8_472 if first & 0x08 != 0 => after(payload, 8).map(Layer::Ethernet),
        // Geneve, version 0, after its options.
        6_081 if first >> 6 == 0 => {
            let options = usize::from(first & 0x3f) * 4;
            half(payload, 2).and_then(|kind| Ok(Layer::Ether(kind, after(payload, 8 + options)?)))
        }
        1_701 => Err(NotSegment::Unopened(Unopened::Tunnel("L2TP"))),
        2_152 => Err(NotSegment::Unopened(Unopened::Tunnel("GTP"))),
        3_544 => Err(NotSegment::Unopened(Unopened::Tunnel("Teredo"))),
        4_500 => Err(NotSegment::Unopened(Unopened::Encrypted("ESP in UDP"))),
        51_820 => Err(NotSegment::Unopened(Unopened::Encrypted("WireGuard"))),
        _ => return None,
    })
}

/// The packet in the fields of NFLOG; each has length and type in the byte order of the capturing machine.
fn nflog_payload(bytes: &[u8]) -> Option<&[u8]> {
    const PAYLOAD: u16 = 9;
    let within = |number: fn([u8; 2]) -> u16| -> Option<&[u8]> {
        let mut fields = bytes.get(4..)?;
        loop {
            let (len, kind) = (fields.first_chunk::<2>()?, fields.get(2..)?.first_chunk::<2>()?);
            let (len, kind) = (usize::from(number(*len)), number(*kind) & 0x7fff);
            if len < 4 {
                return None;
            }
            if kind == PAYLOAD {
                // A cut packet: what is there.
                return fields.get(4..len.min(fields.len()));
            }
            fields = fields.get(len.next_multiple_of(4)..)?;
        }
    };
    within(u16::from_le_bytes).or_else(|| within(u16::from_be_bytes))
}
