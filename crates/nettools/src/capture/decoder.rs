//! Packets to events: what a capture contains, from a file or as it comes. IP fragments are reassembled here, and packets
//! that are not decoded are counted by their reason.

use std::collections::BTreeMap;

use serde::Serialize;

use super::conversations::{ConversationEvent, Conversations};
use super::file::Packet;
use super::fragments::Fragments;
use super::not_segment::{NotSegment, Unopened};
use super::packet::{self, Segment};

/// Counts of packets and blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// All packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub packet_bytes: u64,
    /// UDP datagrams.
    pub datagrams: u64,
    /// Packets of other protocols.
    pub not_tcp: u64,
    /// IP fragments.
    pub fragments: u64,
    /// Of these, fragments of packets that could not be reassembled.
    pub not_joined: u64,
    /// Packets with incomplete or invalid headers.
    pub unreadable: u64,
    /// Of these, packets that the capture cut.
    pub headers_cut: u64,
    /// Most bytes that were kept of one of those.
    pub headers_cut_at: u64,
    /// Packets that can hold TCP inside an unsupported layer.
    pub not_looked_into: u64,
    /// Packets of an unknown link type.
    pub unknown_links: u64,
    /// Packets by unsupported layer.
    pub unopened: BTreeMap<Unopened, u64>,
    /// Blocks of unknown type.
    pub unknown_blocks: u64,
}

/// Decodes packets in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    conversations: Conversations,
    fragments: Fragments,
    pub counted: Counted,
}

impl Decoder {
    /// For packets as they come: conversations that are over are reported by `end_closed`, not at the end.
    pub fn live() -> Decoder {
        Decoder { conversations: Conversations::live(), ..Decoder::default() }
    }

    /// Takes a packet of a file.
    pub fn push(&mut self, packet: &Packet<'_>, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        let read = packet::read(packet.link, packet.bytes);
        self.push_read(packet.time_ns, packet.wire_bytes, packet.bytes.len() as u64, read, sink);
    }

    /// Takes a packet without its link header, as a packet socket gives it; `header_bytes` stand for that header.
    pub fn push_network(
        &mut self,
        time_ns: u64,
        (ether_type, header_bytes): (u16, u64),
        bytes: &[u8],
        wire_bytes: u64,
        sink: &mut dyn FnMut(ConversationEvent<'_>),
    ) {
        let read = packet::read_network(ether_type, bytes);
        self.push_read(time_ns, wire_bytes + header_bytes, bytes.len() as u64 + header_bytes, read, sink);
    }

    fn push_read(
        &mut self,
        time_ns: u64,
        mut wire_bytes: u64,
        kept: u64,
        read: Result<Segment<'_>, NotSegment<'_>>,
        sink: &mut dyn FnMut(ConversationEvent<'_>),
    ) {
        let counted = &mut self.counted;
        counted.packets += 1;
        counted.packet_bytes += wire_bytes;
        let is_cut = kept < wire_bytes;
        let joined;
        let mut read = read;
        if let Err(NotSegment::Fragment(fragment)) = read {
            counted.fragments += 1;
            counted.not_joined += 1;
            joined = fragment.and_then(|fragment| self.fragments.push(time_ns, wire_bytes, &fragment));
            if let Some(joined) = &joined {
                counted.not_joined -= joined.fragments;
                wire_bytes = joined.wire_bytes;
                read = match packet::read_ip(&joined.packet) {
                    // Nested fragments are only used for denial of service: stop here.
                    Err(NotSegment::Fragment(_)) => Err(NotSegment::Unreadable),
                    read => read,
                };
            }
        }
        match read {
            Ok(segment) => self.conversations.push(time_ns, wire_bytes, &segment, sink),
            Err(NotSegment::Datagram(datagram)) => {
                counted.datagrams += 1;
                sink(ConversationEvent::Datagram { time_ns, datagram });
            }
            Err(NotSegment::NotTcp) => counted.not_tcp += 1,
            Err(NotSegment::Fragment(_)) => {}
            Err(NotSegment::Unreadable) => {
                counted.unreadable += 1;
                if is_cut {
                    counted.headers_cut += 1;
                    counted.headers_cut_at = counted.headers_cut_at.max(kept);
                }
            }
            Err(NotSegment::Unopened(layer)) => {
                match layer {
                    Unopened::Link(_) => counted.unknown_links += 1,
                    _ => counted.not_looked_into += 1,
                }
                *counted.unopened.entry(layer).or_default() += 1;
            }
        }
    }

    /// Reports conversations that are over and had no packet since `before_ns`. Returns whether others wait for that.
    pub fn end_closed(&mut self, before_ns: u64, sink: &mut dyn FnMut(ConversationEvent<'_>)) -> bool {
        self.conversations.end_closed(before_ns, sink)
    }

    /// The end of the capture.
    pub fn end(&mut self, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        self.conversations.end(sink);
    }
}
