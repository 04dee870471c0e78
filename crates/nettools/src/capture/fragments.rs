//! Reassembly of IP fragments (RFC 791; RFC 8200, 4.5).
//!
//! ```text
//! fragments, in any order ─▶ `Fragments` ─▶ the whole packet, as raw IP without options
//! ```
//!
//! A packet with overlapping fragments that are not identical is refused, as hosts do (RFC 5722; Linux also for IPv4):
//! overlaps are an attack that makes two readers see two packets. Also refused: two different ends, a middle piece whose
//! length is not a multiple of eight, and more bytes than a packet can have. A fragment that was captured only in part is
//! not joined, because the missing bytes would have to be invented.
//!
//! `etherparse::defrag::IpDefragPool` is not used: it overwrites overlapping bytes instead of refusing them, and it has no
//! limit of memory (tests `overlapping_fragments_are_refused_for_good`, `waiting_fragments_are_bounded_in_size_and_time`).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of incomplete packets: 4 MiB, as in Linux. Beyond it the oldest packets are dropped.
pub const WAITING_BYTES_MAX: usize = 4 << 20;

/// Approximate overhead of each piece, and of each packet.
const PIECE_BYTES: usize = 64;
const PACKET_BYTES: usize = 512;

/// How long the first fragment of a packet waits, by the capture's clock: 30 s, as in Linux. IPv4 identifications are
/// reused soon; a later fragment can belong to another packet.
const WAITING_NS_MAX: u64 = 30_000_000_000;

/// Longest payload of a packet.
const PAYLOAD_BYTES_MAX: usize = u16::MAX as usize;

/// `Next Header` and `Protocol` numbers.
mod number {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    packet: Id,
    /// Protocol of the payload; the first fragment decides.
    payload: u8,
    /// Offset in the payload.
    at: usize,
    is_last: bool,
    bytes: &'a [u8],
}

/// Identifies the fragments of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    from: IpAddr,
    to: IpAddr,
    number: u32,
    /// IPv4 identifications are separate for each protocol.
    protocol: u8,
}

impl<'a> Fragment<'a> {
    /// Reads a whole IP packet that is a fragment. `None`: its headers are incomplete or invalid.
    pub fn of(packet: &'a [u8]) -> Option<Fragment<'a>> {
        let half = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        if packet.first()? >> 4 == 4 {
            let place = half(6)?;
            let header = usize::from(packet[0] & 0x0f) * 4;
            let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*packet.get(at..)?.first_chunk()?)));
            let (number, protocol) = (u32::from(half(4)?), *packet.get(9)?);
            return Some(Fragment {
                packet: Id { from: address(12)?, to: address(16)?, number, protocol },
                payload: protocol,
                at: usize::from(place & 0x1fff) * 8,
                is_last: place & 0x2000 == 0,
                bytes: packet.get(header..)?,
            });
        }
        let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?)));
        let (mut next, mut at) = (*packet.get(6)?, 40);
        // Headers for routers come before the fragment header.
        while matches!(next, number::HOP_BY_HOP | number::ROUTING | number::DESTINATION) {
            next = *packet.get(at)?;
            at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
        }
        if next != number::FRAGMENT {
            return None;
        }
        let place = half(at + 2)?;
        let number = u32::from_be_bytes(*packet.get(at + 4..)?.first_chunk()?);
        Some(Fragment {
            packet: Id { from: address(8)?, to: address(24)?, number, protocol: 0 },
            payload: packet[at],
            at: usize::from(place & 0xfff8),
            is_last: place & 1 == 0,
            bytes: packet.get(at + 8..)?,
        })
    }
}

/// A reassembled packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Raw IP.
    pub packet: Vec<u8>,
    /// Number of fragments, including duplicates.
    pub fragments: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
}

/// A packet with missing fragments.
#[derive(Debug, Default)]
struct Waiting {
    /// In order of arrival of their first fragment.
    number: u64,
    began_ns: u64,
    pieces: BTreeMap<usize, Box<[u8]>>,
    payload: u8,
    len: usize,
    /// End of the payload, known after the last fragment.
    end: Option<usize>,
    fragments: u64,
    wire_bytes: u64,
    /// Refused; kept so that its later fragments do not start another packet.
    is_refused: bool,
}

/// Reassembles fragments.
#[derive(Debug, Default)]
pub struct Fragments {
    table: HashMap<Id, Waiting>,
    order: BTreeMap<u64, Id>,
    begun: u64,
    held: usize,
}

impl Fragments {
    /// Takes a captured fragment; returns its packet if that is now complete.
    pub fn push(&mut self, time_ns: u64, wire_bytes: u64, fragment: &Fragment<'_>) -> Option<Joined> {
        self.forget(time_ns);
        let id = fragment.packet;
        let waiting = self.table.entry(id).or_insert_with(|| {
            self.begun += 1;
            self.order.insert(self.begun, id);
            self.held += PACKET_BYTES;
            Waiting { number: self.begun, began_ns: time_ns, ..Waiting::default() }
        });
        let held = waiting.held();
        waiting.fragments += 1;
        waiting.wire_bytes += wire_bytes;
        if !waiting.is_refused && waiting.take(fragment).is_none() {
            waiting.is_refused = true;
            waiting.pieces.clear();
            waiting.len = 0;
        }
        self.held = self.held + waiting.held() - held;
        if waiting.is_refused || waiting.end != Some(waiting.len) {
            return None;
        }
        let whole = self.remove(id)?;
        let (fragments, wire_bytes) = (whole.fragments, whole.wire_bytes);
        Some(Joined { packet: whole.into_packet(id)?, fragments, wire_bytes })
    }

    fn remove(&mut self, id: Id) -> Option<Waiting> {
        let waiting = self.table.remove(&id)?;
        self.order.remove(&waiting.number);
        self.held -= waiting.held() + PACKET_BYTES;
        Some(waiting)
    }

    /// Drops packets that wait too long, and the oldest beyond the limit.
    fn forget(&mut self, time_ns: u64) {
        while let Some(id) = self.order.first_key_value().map(|(_, id)| *id) {
            let began_ns = self.table.get(&id).map_or(0, |waiting| waiting.began_ns);
            if self.held <= WAITING_BYTES_MAX && time_ns.saturating_sub(began_ns) <= WAITING_NS_MAX {
                return;
            }
            self.remove(id);
        }
    }

    /// Bytes of memory in use.
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Waiting {
    fn held(&self) -> usize {
        self.len + self.pieces.len() * PIECE_BYTES
    }

    /// Keeps a piece; `None`: it contradicts the others.
    fn take(&mut self, fragment: &Fragment<'_>) -> Option<()> {
        let Fragment { at, is_last, bytes, .. } = *fragment;
        let end = at + bytes.len();
        if self.pieces.get(&at).is_some_and(|there| **there == *bytes) {
            // A duplicate, as in captures of two interfaces.
            return (is_last == (self.end == Some(end))).then_some(());
        }
        let before = self.pieces.range(..=at).next_back().map_or(0, |(from, piece)| from + piece.len());
        let after = self.pieces.range(at..).next().map_or(usize::MAX, |(from, _)| *from);
        let fits = !bytes.is_empty() && before <= at && end <= after && end <= PAYLOAD_BYTES_MAX;
        if !fits
            || !is_last && !bytes.len().is_multiple_of(8)
            || self.end.is_some_and(|last| is_last || end > last)
        {
            return None;
        }
        if is_last {
            if after != usize::MAX {
                return None;
            }
            self.end = Some(end);
        }
        if at == 0 {
            self.payload = fragment.payload;
        }
        self.len += bytes.len();
        self.pieces.insert(at, bytes.into());
        Some(())
    }

    /// `None`: longer than a packet can be.
    fn into_packet(self, id: Id) -> Option<Vec<u8>> {
        let payload = u16::try_from(self.len).ok()?;
        let mut packet = Vec::with_capacity(40 + self.len);
        match (id.from, id.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                // No options and no checksum: they are not used here.
                packet.extend([0x45, 0]);
                packet.extend(payload.checked_add(20)?.to_be_bytes());
                packet.extend([0, 0, 0, 0, 64, self.payload, 0, 0]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend(payload.to_be_bytes());
                packet.extend([self.payload, 64]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            _ => return None,
        }
        for piece in self.pieces.values() {
            packet.extend_from_slice(piece);
        }
        Some(packet)
    }
}
