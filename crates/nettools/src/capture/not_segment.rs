//! Packets that are not TCP segments: UDP datagrams, other protocols, layers that are not supported, damage.

use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::fragments::Fragment;

/// Why a packet is not read as a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSegment<'a> {
    /// A UDP datagram.
    Datagram(Datagram<'a>),
    /// ICMP, ARP or another protocol.
    NotTcp,
    /// TCP can be in it, inside a layer that is not supported.
    Unopened(Unopened),
    /// A fragment of an IP packet; `None`: only its beginning was captured.
    Fragment(Option<Fragment<'a>>),
    /// Its headers are incomplete or invalid.
    Unreadable,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The captured payload.
    pub bytes: &'a [u8],
    /// Bytes of payload after it that were not captured.
    pub cut: usize,
}

/// A layer that can carry IP and is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unopened {
    /// A link type (`LINKTYPE_`).
    Link(i32),
    EtherType(u16),
    Ppp(u16),
    /// MPLS labels without IP.
    PseudoWire,
    Encrypted(&'static str),
    Tunnel(&'static str),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unopened::Link(link) => write!(f, "link type {link}"),
            Unopened::EtherType(kind) => write!(f, "EtherType {kind:#06x}"),
            Unopened::Ppp(protocol) => write!(f, "PPP protocol {protocol:#06x}"),
            Unopened::PseudoWire => f.write_str("an MPLS pseudowire"),
            Unopened::Encrypted(name) => write!(f, "{name} (encrypted)"),
            Unopened::Tunnel(name) => f.write_str(name),
        }
    }
}

impl Serialize for Unopened {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
