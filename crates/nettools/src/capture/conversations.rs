//! TCP conversations: who opened, the messages of each side, who closed or reset, how long it took. They are kept in one
//! table until the end of the capture, so that late packets are matched, unless the table is full. In a live capture those
//! that are over are removed a moment later.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::not_segment::Datagram;
use super::packet::{Flags, Segment};
use super::side::Side;
use super::stream::{Oddities, Part, Stream, WAITING_BYTES_MAX};
use crate::protocols::{Awaited, Decoded, Reader};

/// Rows of the table: 65,536, some tens of MiB. When it is full, the oldest quarter is reported and removed.
pub const CONVERSATIONS_MAX: usize = 1 << 16;

/// Bytes held for all streams together: 256 MiB. Beyond it the oldest quarter is removed as well.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// One direction of a conversation, in its summary.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DirectionSummary {
    /// Packets, including those without payload.
    pub packets: u64,
    /// Bytes of these packets on the wire.
    pub packet_bytes: u64,
    /// Bytes of the stream, including missing ones.
    pub bytes: u64,
    pub messages: u64,
    /// Name of the protocol; `nothing`: unknown.
    #[serde(rename = "speaks")]
    pub protocol: &'static str,
    pub odd: Oddities,
}

/// The summary of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct ConversationSummary {
    /// Its number, from 1, by first packet.
    pub conversation: u64,
    /// The side that opened; if the opening was not seen, the side with the higher port.
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub opening_seen: bool,
    /// How it ended, as text.
    pub ending: String,
    pub reset_by: Option<Side>,
    /// Time of the first packet, ns since 1970.
    pub began_ns: u64,
    /// From the first packet to the last, ns.
    pub took_ns: u64,
    pub from_client: DirectionSummary,
    pub from_server: DirectionSummary,
}

/// Given out while packets are read.
#[derive(Debug)]
pub enum ConversationEvent<'a> {
    /// A whole message.
    Message {
        conversation: u64,
        side: Side,
        /// Capture time of its last packet, ns since 1970.
        time_ns: u64,
        decoded: Decoded<'a>,
    },
    /// The next bytes of a stream, before the messages in them.
    Bytes { conversation: u64, side: Side, bytes: &'a [u8] },
    /// A TCP event other than bytes in order.
    Tcp {
        conversation: u64,
        /// The side whose kernel sent the segment.
        side: Side,
        event: TcpEvent,
    },
    /// A UDP datagram, which belongs to no conversation.
    Datagram {
        /// Its capture time, ns since 1970.
        time_ns: u64,
        datagram: Datagram<'a>,
    },
    /// A conversation was removed from the table, or the capture ended.
    Ended(ConversationSummary),
}

/// What a TCP segment does besides carrying bytes in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpEvent {
    /// One side connects.
    Syn,
    /// The kernel of the other side accepts.
    SynAck,
    /// The segment came before an earlier one.
    OutOfOrder,
    /// All or part of the segment had come before.
    Retransmission,
    /// The sending half is closed.
    Fin,
    /// The connection is reset; unread bytes are lost.
    Reset,
}

#[derive(Debug, Default)]
struct Half {
    stream: Stream,
    reader: Reader,
    direction: DirectionSummary,
    held: usize,
    ended: bool,
    /// The first known sequence number: from its own packets or from the other side's acknowledgement.
    first: Option<u32>,
}

#[derive(Debug)]
struct Conversation {
    number: u64,
    client: SocketAddr,
    server: SocketAddr,
    opening_seen: bool,
    /// Sequence number of the client's SYN: a different one starts another conversation.
    syn: Option<u32>,
    answered: bool,
    /// The sides that sent FIN, in order.
    closed: [Option<Side>; 2],
    reset_by: Option<Side>,
    began_ns: u64,
    last_ns: u64,
    awaited: Awaited,
    halves: [Half; 2],
    /// In the list of those that are over.
    is_listed: bool,
}

/// Both addresses, the smaller first, so that both directions have the same key. One array of bytes hashes fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key([u8; 36]);

impl Key {
    fn of(from: SocketAddr, to: SocketAddr) -> Key {
        let (one, other) = if from <= to { (from, to) } else { (to, from) };
        let mut bytes = [0; 36];
        for (end, place) in [one, other].into_iter().zip(bytes.chunks_exact_mut(18)) {
            let ip = match end.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            place[..16].copy_from_slice(&ip.octets());
            place[16..].copy_from_slice(&end.port().to_be_bytes());
        }
        Key(bytes)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// The table of conversations.
#[derive(Debug)]
pub struct Conversations {
    table: HashMap<Key, Box<Conversation>>,
    begun: u64,
    held: usize,
    held_max: usize,
    /// In a live capture: those that are over, each with its number and when its last known packet came, in about that order.
    over: Option<VecDeque<(Key, u64, u64)>>,
}

impl Default for Conversations {
    fn default() -> Conversations {
        Conversations { table: HashMap::new(), begun: 0, held: 0, held_max: HELD_BYTES_MAX, over: None }
    }
}

impl Conversations {
    /// For a live capture: `end_closed` reports those that are over.
    pub fn live() -> Conversations {
        Conversations { over: Some(VecDeque::new()), ..Conversations::default() }
    }

    /// Takes a captured segment; `packet_bytes` is the length of its packet on the wire.
    pub fn push(
        &mut self,
        time_ns: u64,
        packet_bytes: u64,
        segment: &Segment<'_>,
        sink: &mut dyn FnMut(ConversationEvent<'_>),
    ) {
        let key = Key::of(segment.from, segment.to);
        let opens = segment.flags.syn && !segment.flags.ack;
        if let Some(conversation) = self.table.get_mut(&key)
            && !(opens && conversation.is_followed_by(segment.seq, segment.from))
        {
            self.held = conversation.push(time_ns, packet_bytes, segment, self.held, sink);
            if let Some(over) = &mut self.over
                && !conversation.is_listed
                && conversation.is_over()
            {
                conversation.is_listed = true;
                over.push_back((key, conversation.number, time_ns));
            }
            while self.held > self.held_max {
                self.forget_oldest(sink);
            }
            return;
        }
        // A last acknowledgement that came after its conversation was reported; an open one shows itself by what follows.
        let Flags { syn, fin, rst, .. } = segment.flags;
        let is_bare = !(syn || fin || rst) && segment.bytes.is_empty() && segment.cut == 0;
        if self.over.is_some() && is_bare && !self.table.contains_key(&key) {
            return;
        }
        // The same pair of ports can be used again.
        if let Some(old) = self.table.remove(&key) {
            self.finish(old, sink);
        }
        if self.table.len() >= CONVERSATIONS_MAX {
            self.forget_oldest(sink);
            let table = &self.table;
            if let Some(over) = &mut self.over {
                over.retain(|(key, number, _)| table.get(key).is_some_and(|there| there.number == *number));
            }
        }
        self.begun += 1;
        let mut new = Box::new(Conversation::new(self.begun, time_ns, segment));
        self.held = new.push(time_ns, packet_bytes, segment, self.held, sink);
        self.table.insert(key, new);
    }

    fn finish(&mut self, mut conversation: Box<Conversation>, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        self.held -= conversation.halves.iter().map(|half| half.held).sum::<usize>();
        conversation.end(sink);
        sink(ConversationEvent::Ended(conversation.summary()));
    }

    fn forget_oldest(&mut self, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        let mut numbers: Vec<u64> = self.table.values().map(|conversation| conversation.number).collect();
        numbers.sort_unstable();
        let until = numbers.get(numbers.len() / 4).copied().unwrap_or(u64::MAX);
        self.take_until(until, sink);
    }

    fn take_until(&mut self, until: u64, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        let mut oldest: Vec<_> = self
            .table
            .extract_if(|_, conversation| conversation.number <= until)
            .map(|(_, old)| old)
            .collect();
        oldest.sort_unstable_by_key(|conversation| conversation.number);
        for conversation in oldest {
            self.finish(conversation, sink);
        }
    }

    /// Reports and removes conversations that are over and had no packet since `before_ns`: the last acknowledgements come
    /// after the end. Returns whether others wait for that.
    pub fn end_closed(&mut self, before_ns: u64, sink: &mut dyn FnMut(ConversationEvent<'_>)) -> bool {
        let mut over = self.over.take().unwrap_or_default();
        while let Some((key, number, _)) = over.pop_front_if(|(_, _, seen_ns)| *seen_ns <= before_ns) {
            match self.table.get(&key).filter(|conversation| conversation.number == number) {
                // A late packet came: it waits behind those that wait already.
                Some(conversation) if conversation.last_ns > before_ns => {
                    over.push_back((key, number, conversation.last_ns));
                }
                Some(_) => {
                    if let Some(conversation) = self.table.remove(&key) {
                        self.finish(conversation, sink);
                    }
                }
                // Reported when its ports were used again, or when the table was full.
                None => {}
            }
        }
        !self.over.insert(over).is_empty()
    }

    /// The end of the capture.
    pub fn end(&mut self, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        self.take_until(u64::MAX, sink);
    }

    /// Bytes held for streams.
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Conversation {
    fn new(number: u64, time_ns: u64, segment: &Segment<'_>) -> Conversation {
        let Segment { from, to, flags, .. } = *segment;
        let from_client = match (flags.syn, flags.ack) {
            (true, acknowledges) => !acknowledges,
            (false, _) => from.port() >= to.port(),
        };
        let (client, server) = if from_client { (from, to) } else { (to, from) };
        Conversation {
            number,
            client,
            server,
            opening_seen: flags.syn,
            syn: None,
            answered: false,
            closed: [None; 2],
            reset_by: None,
            began_ns: time_ns,
            last_ns: time_ns,
            awaited: Awaited::default(),
            halves: Default::default(),
            is_listed: false,
        }
    }

    /// Both sides have closed and nothing of their bytes is missing, or one has reset it.
    fn is_over(&self) -> bool {
        self.reset_by.is_some() || self.halves.iter().all(|half| half.ended)
    }

    /// Does this SYN start a new conversation? The SYN of this one can come late, because captures of several queues or
    /// interfaces are out of order. Then its number is just before the first known one of that side.
    fn is_followed_by(&self, syn: u32, from: SocketAddr) -> bool {
        match (self.syn, self.halves[self.side(from) as usize].first) {
            (Some(own), _) => own != syn || self.client != from,
            (None, Some(first)) => first.wrapping_sub(syn.wrapping_add(1)) as usize > WAITING_BYTES_MAX,
            (None, None) => self.closed[0].is_some(),
        }
    }

    fn side(&self, from: SocketAddr) -> Side {
        if from == self.client { Side::Client } else { Side::Server }
    }

    /// A SYN shows the client; a wrong guess is corrected as long as no message was reported.
    fn open(&mut self, segment: &Segment<'_>) {
        let guessed = (self.side(segment.from) == Side::Client) != segment.flags.ack;
        let is_summarised = self.halves.iter().any(|half| half.direction.messages > 0);
        if !guessed && !self.opening_seen && !is_summarised {
            (self.client, self.server) = (self.server, self.client);
            self.halves.swap(0, 1);
            self.closed = self.closed.map(|side| side.map(Side::other));
            self.reset_by = self.reset_by.map(Side::other);
        }
        self.opening_seen |= guessed || !is_summarised;
    }

    fn push(
        &mut self,
        time_ns: u64,
        packet_bytes: u64,
        segment: &Segment<'_>,
        mut held: usize,
        sink: &mut dyn FnMut(ConversationEvent<'_>),
    ) -> usize {
        if segment.flags.syn {
            self.open(segment);
        }
        let side = self.side(segment.from);
        let conversation = self.number;
        self.last_ns = self.last_ns.max(time_ns);
        self.began_ns = self.began_ns.min(time_ns);
        let mut seq = segment.seq;
        if segment.flags.syn && segment.flags.ack {
            // The acknowledged number is where the other side's bytes begin, even if its SYN was not captured.
            let other = &mut self.halves[side.other() as usize];
            other.stream.begin(segment.ack.wrapping_sub(1));
            other.first.get_or_insert(segment.ack);
        }
        let half = &mut self.halves[side as usize];
        half.direction.packets += 1;
        half.direction.packet_bytes += packet_bytes;
        if !segment.flags.rst {
            half.first.get_or_insert(seq.wrapping_add(segment.flags.syn.into()));
        }
        let tcp = |event: TcpEvent| ConversationEvent::Tcp { conversation, side, event };
        if segment.flags.syn {
            half.stream.begin(seq);
            seq = seq.wrapping_add(1);
            match side {
                Side::Client => self.syn = Some(segment.seq),
                Side::Server => self.answered = true,
            }
            sink(tcp(if segment.flags.ack { TcpEvent::SynAck } else { TcpEvent::Syn }));
        }
        let Half { stream, reader, direction, .. } = half;
        let odd = stream.odd;
        if !segment.bytes.is_empty() || segment.cut > 0 {
            stream.push(seq, segment.bytes, segment.cut, &mut |part| {
                decode(part, reader, direction, &mut self.awaited, (conversation, side, time_ns), sink);
            });
        }
        if stream.odd.out_of_order > odd.out_of_order {
            sink(tcp(TcpEvent::OutOfOrder));
        } else if stream.odd.retransmitted > odd.retransmitted || stream.odd.overlapping > odd.overlapping {
            sink(tcp(TcpEvent::Retransmission));
        }
        if segment.flags.fin {
            sink(tcp(TcpEvent::Fin));
            stream.end_at(seq.wrapping_add((segment.bytes.len() + segment.cut) as u32));
            if !self.closed.contains(&Some(side)) {
                let place = usize::from(self.closed[0].is_some());
                self.closed[place] = Some(side);
            }
        }
        if stream.is_ended() && !half.ended {
            reader.end(&mut |decoded| {
                direction.messages += 1;
                sink(ConversationEvent::Message { conversation, side, time_ns, decoded });
            });
            direction.protocol = reader.protocol();
            half.ended = true;
        }
        let now = stream.held() + reader.held();
        held = held + now - half.held;
        half.held = now;
        if segment.flags.rst && self.reset_by.is_none() {
            sink(tcp(TcpEvent::Reset));
            self.reset_by = Some(side);
        }
        held
    }

    /// Gives out waiting bytes and reports incomplete messages.
    fn end(&mut self, sink: &mut dyn FnMut(ConversationEvent<'_>)) {
        let (conversation, time_ns) = (self.number, self.last_ns);
        for (half, side) in self.halves.iter_mut().zip([Side::Client, Side::Server]) {
            let Half { stream, reader, direction, ended, .. } = half;
            stream.finish(&mut |part| {
                decode(part, reader, direction, &mut self.awaited, (conversation, side, time_ns), sink);
            });
            if !*ended {
                reader.end(&mut |decoded| {
                    direction.messages += 1;
                    sink(ConversationEvent::Message { conversation, side, time_ns, decoded });
                });
                direction.protocol = reader.protocol();
            }
        }
    }

    fn summary(&self) -> ConversationSummary {
        let direction = |side: Side| {
            let half = &self.halves[side as usize];
            DirectionSummary { bytes: half.stream.len(), odd: half.stream.odd, ..half.direction.clone() }
        };
        ConversationSummary {
            conversation: self.number,
            client: self.client,
            server: self.server,
            opening_seen: self.opening_seen,
            ending: self.ending(),
            reset_by: self.reset_by,
            began_ns: self.began_ns,
            took_ns: self.last_ns - self.began_ns,
            from_client: direction(Side::Client),
            from_server: direction(Side::Server),
        }
    }

    fn ending(&self) -> String {
        let silent = self.halves[1].direction.packets == 0;
        match (self.reset_by, self.closed) {
            (Some(Side::Server), [None, _]) if self.syn.is_some() && !self.answered => "refused".to_owned(),
            (Some(who), [None, _]) => format!("reset by {}", who.name()),
            (Some(who), [Some(first), _]) => {
                format!("{} closed its sending half, then {} reset", first.name(), who.name())
            }
            (None, [Some(first), Some(second)]) => {
                format!("{} closed, then {}", first.name(), second.name())
            }
            (None, [Some(first), None]) => {
                format!("{} closed its sending half, {} not its own", first.name(), first.other().name())
            }
            (None, [None, _]) if self.syn.is_some() && silent => "never answered".to_owned(),
            (None, [None, _]) => "open at the end".to_owned(),
        }
    }
}

/// Gives out a part of a stream and the messages in it.
fn decode(
    part: Part<'_>,
    reader: &mut Reader,
    direction: &mut DirectionSummary,
    awaited: &mut Awaited,
    (conversation, side, time_ns): (u64, Side, u64),
    sink: &mut dyn FnMut(ConversationEvent<'_>),
) {
    if let Part::Bytes(bytes) = part {
        sink(ConversationEvent::Bytes { conversation, side, bytes });
    }
    let mut count = |decoded: Decoded<'_>| {
        direction.messages += 1;
        sink(ConversationEvent::Message { conversation, side, time_ns, decoded });
    };
    match part {
        Part::Bytes(bytes) => reader.feed(bytes, awaited, &mut count),
        Part::Missing(missing) => reader.skip(missing, awaited, &mut count),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
