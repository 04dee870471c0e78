//! Conversations: who opened, what each side said, who closed or reset, how long it took. One table; a conversation's
//! row stays until all is read, so that late packets find it, unless the table is full.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::packet::Segment;
use super::stream::{Oddities, Part, Stream, WAITING_BYTES_MAX};
use crate::wire::{Awaited, Heard, Reader};

/// Rows of the table: 65,536, some tens of MiB. When it is full the oldest quarter is told and forgotten.
pub const CONVERSATIONS_MAX: usize = 1 << 16;

/// Bytes held for all streams together: 256 MiB. Then too the oldest quarter goes.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// A side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Who opened it; where that was not seen, who has the higher port.
    Client,
    /// The other.
    Server,
}

impl Side {
    /// The one that it talks to.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// One direction in the summary.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Way {
    /// Packets, those without payload among them.
    pub packets: u64,
    /// All bytes of these packets as they were on the wire.
    pub packet_bytes: u64,
    /// Bytes of the stream, the missing ones among them.
    pub bytes: u64,
    /// Messages heard in it.
    pub messages: u64,
    /// What it speaks, in a word.
    pub speaks: &'static str,
    /// What was unusual.
    pub odd: Oddities,
}

/// A conversation in a few words.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its number, from 1 in the order in which they began.
    pub conversation: u64,
    /// Who opened it; where that was not seen, who has the higher port.
    pub client: SocketAddr,
    /// The other.
    pub server: SocketAddr,
    /// Was its opening seen?
    pub opening_seen: bool,
    /// Who ended it, and how, in words.
    pub ending: String,
    /// Who reset it.
    pub reset_by: Option<Side>,
    /// Its first packet, ns since 1970.
    pub began_ns: u64,
    /// From its first packet to its last, ns.
    pub took_ns: u64,
    /// What the client sent.
    pub from_client: Way,
    /// What the server sent.
    pub from_server: Way,
}

/// What is told while packets are read.
#[derive(Debug)]
pub enum Told<'a> {
    /// One of them said something whole.
    Message {
        /// The number of its conversation.
        conversation: u64,
        /// Who said it.
        side: Side,
        /// When its last packet was captured, ns since 1970.
        time_ns: u64,
        /// What.
        heard: Heard<'a>,
    },
    /// The next bytes of a stream, before what is heard in them.
    Bytes {
        /// The number of its conversation.
        conversation: u64,
        /// Who said them.
        side: Side,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// What TCP did, beside carrying bytes in their order.
    Step {
        /// The number of its conversation.
        conversation: u64,
        /// Whose kernel did it.
        side: Side,
        /// What.
        step: Step,
    },
    /// A conversation that nothing more is expected of.
    Over(Summary),
}

/// What a packet of TCP does beside carrying bytes in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A SYN: one side wants to connect.
    Opens,
    /// A SYN with an ACK: the other's kernel agrees.
    Agrees,
    /// A segment came before an earlier one.
    Early,
    /// All or a part of it had come before.
    Again,
    /// A FIN: no more bytes from here.
    Closes,
    /// A RST: it is over, and what was not read is lost.
    Resets,
}

#[derive(Debug, Default)]
struct Half {
    stream: Stream,
    reader: Reader,
    way: Way,
    held: usize,
    ended: bool,
    /// The first of its numbers that is known: of its own packets, or what the other side agreed to.
    first: Option<u32>,
}

#[derive(Debug)]
struct Conversation {
    number: u64,
    client: SocketAddr,
    server: SocketAddr,
    opening_seen: bool,
    /// The client's SYN: another one is another conversation.
    syn: Option<u32>,
    answered: bool,
    /// Who sent a FIN, in order.
    closed: [Option<Side>; 2],
    reset_by: Option<Side>,
    began_ns: u64,
    last_ns: u64,
    awaited: Awaited,
    halves: [Half; 2],
}

/// Both ends, the lesser first, so that both directions have one. Bytes in a row are looked up quickest.
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

/// See the module's head.
#[derive(Debug)]
pub struct Conversations {
    table: HashMap<Key, Box<Conversation>>,
    begun: u64,
    held: usize,
    held_max: usize,
}

impl Default for Conversations {
    fn default() -> Conversations {
        Conversations { table: HashMap::new(), begun: 0, held: 0, held_max: HELD_BYTES_MAX }
    }
}

impl Conversations {
    /// Takes a segment as it was captured; `packet_bytes` is its packet's length on the wire.
    pub fn push(
        &mut self,
        time_ns: u64,
        packet_bytes: u64,
        segment: &Segment<'_>,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        let key = Key::of(segment.from, segment.to);
        let opens = segment.flags.syn && !segment.flags.ack;
        if let Some(conversation) = self.table.get_mut(&key)
            && !(opens && conversation.is_followed_by(segment.seq, segment.from))
        {
            self.held = conversation.push(time_ns, packet_bytes, segment, self.held, tell);
            while self.held > self.held_max {
                self.forget_oldest(tell);
            }
            return;
        }
        // The same ports may be there again.
        if let Some(old) = self.table.remove(&key) {
            self.finish(old, tell);
        }
        if self.table.len() >= CONVERSATIONS_MAX {
            self.forget_oldest(tell);
        }
        self.begun += 1;
        let mut new = Box::new(Conversation::new(self.begun, time_ns, segment));
        self.held = new.push(time_ns, packet_bytes, segment, self.held, tell);
        self.table.insert(key, new);
    }

    fn finish(&mut self, mut conversation: Box<Conversation>, tell: &mut dyn FnMut(Told<'_>)) {
        self.held -= conversation.halves.iter().map(|half| half.held).sum::<usize>();
        conversation.end(tell);
        tell(Told::Over(conversation.summary()));
    }

    fn forget_oldest(&mut self, tell: &mut dyn FnMut(Told<'_>)) {
        let mut numbers: Vec<u64> = self.table.values().map(|conversation| conversation.number).collect();
        numbers.sort_unstable();
        let until = numbers.get(numbers.len() / 4).copied().unwrap_or(u64::MAX);
        self.take_until(until, tell);
    }

    fn take_until(&mut self, until: u64, tell: &mut dyn FnMut(Told<'_>)) {
        let mut oldest: Vec<_> = self
            .table
            .extract_if(|_, conversation| conversation.number <= until)
            .map(|(_, old)| old)
            .collect();
        oldest.sort_unstable_by_key(|conversation| conversation.number);
        for conversation in oldest {
            self.finish(conversation, tell);
        }
    }

    /// All is read.
    pub fn end(&mut self, tell: &mut dyn FnMut(Told<'_>)) {
        self.take_until(u64::MAX, tell);
    }

    /// Bytes of memory held for streams.
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
        }
    }

    /// Is this SYN the beginning of another one? Its own may come late: captures of several queues or interfaces have
    /// packets out of order. Then its number is just before the first that is known of that side.
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

    /// A SYN says who opened it; a guess that was wrong is put right while nobody has been told of it.
    fn open(&mut self, segment: &Segment<'_>) {
        let guessed = (self.side(segment.from) == Side::Client) != segment.flags.ack;
        let is_told = self.halves.iter().any(|half| half.way.messages > 0);
        if !guessed && !self.opening_seen && !is_told {
            (self.client, self.server) = (self.server, self.client);
            self.halves.swap(0, 1);
            self.closed = self.closed.map(|side| side.map(Side::other));
            self.reset_by = self.reset_by.map(Side::other);
        }
        self.opening_seen |= guessed || !is_told;
    }

    fn push(
        &mut self,
        time_ns: u64,
        packet_bytes: u64,
        segment: &Segment<'_>,
        mut held: usize,
        tell: &mut dyn FnMut(Told<'_>),
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
            // What it agrees to is where the other side's bytes begin, whether its SYN was captured or not.
            let other = &mut self.halves[side.other() as usize];
            other.stream.begin(segment.ack.wrapping_sub(1));
            other.first.get_or_insert(segment.ack);
        }
        let half = &mut self.halves[side as usize];
        half.way.packets += 1;
        half.way.packet_bytes += packet_bytes;
        if !segment.flags.rst {
            half.first.get_or_insert(seq.wrapping_add(segment.flags.syn.into()));
        }
        let step = |step: Step| Told::Step { conversation, side, step };
        if segment.flags.syn {
            half.stream.begin(seq);
            seq = seq.wrapping_add(1);
            match side {
                Side::Client => self.syn = Some(segment.seq),
                Side::Server => self.answered = true,
            }
            tell(step(if segment.flags.ack { Step::Agrees } else { Step::Opens }));
        }
        let Half { stream, reader, way, .. } = half;
        let odd = stream.odd;
        if !segment.bytes.is_empty() || segment.cut > 0 {
            stream.push(seq, segment.bytes, segment.cut, &mut |part| {
                hear(part, reader, way, &mut self.awaited, (conversation, side, time_ns), tell);
            });
        }
        if stream.odd.out_of_order > odd.out_of_order {
            tell(step(Step::Early));
        } else if stream.odd.retransmitted > odd.retransmitted || stream.odd.overlapping > odd.overlapping {
            tell(step(Step::Again));
        }
        if segment.flags.fin {
            tell(step(Step::Closes));
            stream.end_at(seq.wrapping_add((segment.bytes.len() + segment.cut) as u32));
            if !self.closed.contains(&Some(side)) {
                let place = usize::from(self.closed[0].is_some());
                self.closed[place] = Some(side);
            }
        }
        if stream.is_ended() && !half.ended {
            reader.end(&mut |heard| {
                way.messages += 1;
                tell(Told::Message { conversation, side, time_ns, heard });
            });
            way.speaks = reader.speaks();
            half.ended = true;
        }
        let now = stream.held() + reader.held();
        held = held + now - half.held;
        half.held = now;
        if segment.flags.rst && self.reset_by.is_none() {
            tell(step(Step::Resets));
            self.reset_by = Some(side);
        }
        held
    }

    /// What waits is given out, and what is cut is said.
    fn end(&mut self, tell: &mut dyn FnMut(Told<'_>)) {
        let (conversation, time_ns) = (self.number, self.last_ns);
        for (half, side) in self.halves.iter_mut().zip([Side::Client, Side::Server]) {
            let Half { stream, reader, way, ended, .. } = half;
            stream.finish(&mut |part| {
                hear(part, reader, way, &mut self.awaited, (conversation, side, time_ns), tell);
            });
            if !*ended {
                reader.end(&mut |heard| {
                    way.messages += 1;
                    tell(Told::Message { conversation, side, time_ns, heard });
                });
                way.speaks = reader.speaks();
            }
        }
    }

    fn summary(&self) -> Summary {
        let way = |side: Side| {
            let half = &self.halves[side as usize];
            Way { bytes: half.stream.len(), odd: half.stream.odd, ..half.way.clone() }
        };
        Summary {
            conversation: self.number,
            client: self.client,
            server: self.server,
            opening_seen: self.opening_seen,
            ending: self.ending(),
            reset_by: self.reset_by,
            began_ns: self.began_ns,
            took_ns: self.last_ns - self.began_ns,
            from_client: way(Side::Client),
            from_server: way(Side::Server),
        }
    }

    fn ending(&self) -> String {
        let silent = self.halves[1].way.packets == 0;
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

/// Gives a part of a stream to its reader, and tells it and what was heard in it.
fn hear(
    part: Part<'_>,
    reader: &mut Reader,
    way: &mut Way,
    awaited: &mut Awaited,
    (conversation, side, time_ns): (u64, Side, u64),
    tell: &mut dyn FnMut(Told<'_>),
) {
    if let Part::Bytes(bytes) = part {
        tell(Told::Bytes { conversation, side, bytes });
    }
    let mut heard = |heard: Heard<'_>| {
        way.messages += 1;
        tell(Told::Message { conversation, side, time_ns, heard });
    };
    match part {
        Part::Bytes(bytes) => reader.feed(bytes, awaited, &mut heard),
        Part::Missing(missing) => reader.skip(missing, awaited, &mut heard),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::packet::Flags;
    use super::*;

    #[test]
    fn conversations_that_go_on_are_held_to_the_limit_too() {
        let mut conversations = Conversations { held_max: 1 << 20, ..Conversations::default() };
        let to = "10.0.0.1:80".parse().unwrap();
        let (mut over, mut most) = (0, 0);
        // All have begun; then each waits for a first byte that never comes.
        for at in 0..40_u32 {
            for port in 1..=100 {
                let from = SocketAddr::new("10.0.0.2".parse().unwrap(), port);
                let flags = Flags { syn: at == 0, ..Flags::default() };
                let bytes: &[u8] = if at == 0 { &[] } else { &[b'x'; 1_000] };
                let segment = Segment { from, to, seq: at * 2_000, ack: 0, flags, bytes, cut: 0 };
                conversations
                    .push(1, 1, &segment, &mut |told| over += u64::from(matches!(told, Told::Over(_))));
                most = most.max(conversations.held());
            }
        }
        assert!(over > 0 && most <= (1 << 20) + 2_000, "{over}, {most}");
        conversations.end(&mut |_| {});
        assert_eq!(conversations.held(), 0);
    }
}
