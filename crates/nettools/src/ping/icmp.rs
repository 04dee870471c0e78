//! ICMP types and codes by name (IANA registries; RFC 792 and 4443), and echo messages as bytes. No socket.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// The address family; ICMP and ICMPv6 number their types differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A type and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Kind {
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) code: u8,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.code)
    }
}

/// Length of an echo header: type, code, checksum, identifier, sequence number.
pub(crate) const ECHO_HEADER_BYTES: usize = 8;

impl Family {
    pub(crate) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    pub(crate) fn echo_request(self) -> Kind {
        match self {
            Family::V4 => Kind { kind: 8, code: 0 },
            Family::V6 => Kind { kind: 128, code: 0 },
        }
    }

    pub(crate) fn echo_reply(self) -> Kind {
        match self {
            Family::V4 => Kind { kind: 0, code: 0 },
            Family::V6 => Kind { kind: 129, code: 0 },
        }
    }

    /// The name of a type and code.
    pub(crate) fn name_of(self, kind: Kind) -> &'static str {
        match self {
            Family::V4 => name_v4(kind.kind, kind.code),
            Family::V6 => name_v6(kind.kind, kind.code),
        }
    }

    /// The likely cause of an error, and advice.
    pub(crate) fn meaning(self, kind: Kind) -> &'static str {
        match (self, kind.kind, kind.code) {
            (Family::V4, 3, 0 | 6 | 11) | (Family::V6, 1, 0) => {
                "that router has no route to the network: is the address right, and does the router have the route? `ip \
                 route get ADDRESS` there shows the route"
            }
            (Family::V4, 3, 1 | 7 | 12) | (Family::V6, 1, 3) => {
                "the last router found no host with this address, or a rule forbids it: is the host on, and in that \
                 network?"
            }
            (Family::V4, 3, 2) => {
                "the host is reachable and does not support ICMP echo, or its firewall rejects it"
            }
            (Family::V4, 3, 3) | (Family::V6, 1, 4) => {
                "the host is reachable, but nothing accepts this packet. Only a firewall answers an echo request like this"
            }
            (Family::V4, 3, 4) | (Family::V6, 2, _) => {
                "the packet is larger than a link on the way allows, and must not be fragmented. From now on this \
                 machine sends smaller pieces; programs that ignore this message hang with long data only. Try a \
                 smaller --size"
            }
            (Family::V4, 3, 9 | 10 | 13) | (Family::V6, 1, 1 | 5) => {
                "a firewall or a router on the way rejects it: ask its administrator"
            }
            (Family::V6, 1, 6) => "a reject route on the way: its administrator blocks this",
            (Family::V6, 1, 2) => {
                "the source address is not valid there: a link-local address is valid on one link only"
            }
            (Family::V4, 11, 0) | (Family::V6, 3, 0) => {
                "the TTL of the packet expired: the router that answers is that many hops away. With the usual TTL of 64 \
                 this means a routing loop"
            }
            (Family::V4, 11, 1) | (Family::V6, 3, 1) => {
                "some fragments of the packet were lost on the way. Try a smaller --size"
            }
            (Family::V4, 5, _) | (Family::V6, 137, _) => "a router knows a shorter route than this machine",
            (Family::V4, 12, _) | (Family::V6, 4, _) => "a router or the host found the packet invalid",
            _ => "",
        }
    }
}

fn name_v4(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (0, 0) => "echo reply",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation required and DF set",
        (3, 5) => "source route failed",
        (3, 6) => "network unknown",
        (3, 7) => "host unknown",
        (3, 8) => "source host isolated",
        (3, 9) => "network administratively prohibited",
        (3, 10) => "host administratively prohibited",
        (3, 11) => "network unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, 13) => "communication administratively prohibited",
        (3, 14) => "host precedence violation",
        (3, 15) => "precedence cutoff in effect",
        (3, _) => "destination unreachable",
        (4, 0) => "source quench",
        (5, 0) => "redirect for the network",
        (5, 1) => "redirect for the host",
        (5, 2) => "redirect for the type of service and network",
        (5, 3) => "redirect for the type of service and host",
        (8, 0) => "echo request",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "TTL expired",
        (11, 1) => "fragment reassembly time exceeded",
        (11, _) => "time exceeded",
        (12, 0) => "parameter problem",
        (12, 1) => "required option missing",
        (12, 2) => "bad length",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        (42, _) => "extended echo request",
        (43, _) => "extended echo reply",
        _ => "unknown type",
    }
}

fn name_v6(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "communication administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed ingress/egress policy",
        (1, 6) => "reject route to destination",
        (1, 7) => "error in source routing header",
        (1, 8) => "headers too long",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded",
        (3, 1) => "fragment reassembly time exceeded",
        (3, _) => "time exceeded",
        (4, 0) => "erroneous header field",
        (4, 1) => "unrecognised next header",
        (4, 2) => "unrecognised option",
        (4, _) => "parameter problem",
        (128, 0) => "echo request",
        (129, 0) => "echo reply",
        (130..=132, _) => "multicast listener message",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbour solicitation",
        (136, _) => "neighbour advertisement",
        (137, _) => "redirect",
        (160, _) => "extended echo request",
        (161, _) => "extended echo reply",
        _ => "unknown type",
    }
}

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: u16,
    pub(crate) seq: u16,
    pub(crate) data: &'a [u8],
}

impl Echo<'_> {
    /// The bytes to send. The kernel fills in IPv6 checksums, which cover addresses that it chooses, and for datagram
    /// sockets all checksums and the identifier.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind.kind, self.kind.code, 0, 0];
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.data);
        let sum = checksum(&bytes).to_be_bytes();
        bytes[2..4].copy_from_slice(&sum);
        bytes
    }

    /// Is the checksum right? For IPv4 only; the kernel has checked the one of IPv6.
    pub(crate) fn is_whole(bytes: &[u8]) -> bool {
        checksum(bytes) == 0
    }

    /// Reads an echo message from its first byte on. `None`: too short.
    pub(crate) fn read(bytes: &[u8]) -> Option<Echo<'_>> {
        let (header, data) = bytes.split_first_chunk::<ECHO_HEADER_BYTES>()?;
        Some(Echo {
            kind: Kind { kind: header[0], code: header[1] },
            id: u16::from_be_bytes([header[4], header[5]]),
            seq: u16::from_be_bytes([header[6], header[7]]),
            data,
        })
    }
}

/// The payload of an IPv4 packet. `None`: its header is incomplete.
pub(crate) fn behind_ipv4(packet: &[u8]) -> Option<&[u8]> {
    let len = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(len.max(20)..)
}

/// RFC 1071: the ones' complement of the ones' complement sum of all 16-bit words.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        rest => u32::from(rest.first().copied().unwrap_or(0)) << 8,
    });
    // At most 2^15 words: no overflow, and folding twice is enough.
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn common_types_and_codes_have_their_names() {
        for (kind, code, name) in [
            (0, 0, "echo reply"),
            (3, 0, "network unreachable"),
            (3, 1, "host unreachable"),
            (3, 2, "protocol unreachable"),
            (3, 3, "port unreachable"),
            (3, 4, "fragmentation required and DF set"),
            (8, 0, "echo request"),
            (11, 0, "TTL expired"),
        ] {
            let kind = Kind { kind, code };
            assert_eq!(Family::V4.name_of(kind), name);
            let is_echo = [Family::V4.echo_request(), Family::V4.echo_reply()].contains(&kind);
            assert_eq!(Family::V4.meaning(kind).is_empty(), is_echo, "{name}");
        }
    }

    #[test]
    fn every_icmp_type_has_a_name() {
        for number in 0..=u16::MAX {
            let [kind, code] = number.to_be_bytes();
            for family in [Family::V4, Family::V6] {
                assert!(!family.name_of(Kind { kind, code }).is_empty());
            }
        }
    }

    #[test]
    fn echo_messages_round_trip_with_a_right_checksum() {
        for len in [0, 1, 2, 55, 56, 65_507] {
            let data = vec![0xab; len];
            let echo = Echo { kind: Family::V4.echo_request(), id: 0x1234, seq: 0xffff, data: &data };
            let bytes = echo.write();
            assert_eq!(Echo::read(&bytes), Some(echo));
            assert!(Echo::is_whole(&bytes), "the sum with a right checksum is zero; {len}");
            let mut broken = bytes;
            broken[5] ^= 1;
            assert!(!Echo::is_whole(&broken));
        }
        // RFC 1071's own example.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_truncated_packet_is_not_an_echo_reply() {
        let bytes = Echo { kind: Family::V6.echo_reply(), id: 1, seq: 2, data: b"" }.write();
        for cut in 0..bytes.len() {
            assert_eq!(Echo::read(&bytes[..cut]), None);
        }
        assert_eq!(behind_ipv4(&[]), None);
        assert_eq!(behind_ipv4(&[0x45; 19]), None);
        assert_eq!(behind_ipv4(&[0x40; 21]), Some(&[0x40][..]), "a header with a wrong length");
    }
}
