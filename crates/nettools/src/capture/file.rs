//! Files of pcap and pcapng, block by block, as they come: a file is never held, and one that is still being written,
//! or comes through a pipe, is read as far as it is.

use std::io::{self, Cursor, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// A block is read into a buffer of this size, which grows with longer ones.
const BUFFER_BYTES: usize = 1 << 20;

/// Longest block: 64 MiB. More is no packet.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Longest section header that is waited for: 1 MiB; it holds comments.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// Interfaces of a section: 65,536; a block each.
const INTERFACES_MAX: usize = 1 << 16;

/// The type of pcapng's Packet Block, which nobody writes any more, and files have.
const PACKET_BLOCK: u32 = 2;

/// What stands in a file.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A block of a type that is not known here: it was skipped.
    UnknownBlock(u32),
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When, ns since 1970.
    pub time_ns: u64,
    /// Its bytes' kind: a `LINKTYPE_` number.
    pub link: i32,
    /// Its length on the wire.
    pub wire_bytes: u64,
    /// Its bytes, as far as they were captured.
    pub bytes: &'a [u8],
}

/// Why reading ended before the end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The system's word.
    #[error("{0}")]
    Read(io::Error),
    /// It ends inside a block.
    #[error("it ends inside a block, at byte {at}: the capture was cut short")]
    Cut {
        /// Where that block begins.
        at: u64,
    },
    /// What stands there is no block.
    #[error("at byte {at} stands no block of a capture")]
    NoBlock {
        /// Where.
        at: u64,
    },
}

/// Is this the beginning of a capture? So many bytes are needed to tell: 4.
pub fn is_capture(first: [u8; 4]) -> bool {
    matches!(
        first,
        [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x34, 0xcd, 0xb2, 0xa1]
            | [0x0a, 0x0d, 0x0d, 0x0a]
    )
}

/// Reads the packets of a capture whose first four bytes were read already. `found` says whether to go on.
pub fn read(
    first: [u8; 4],
    mut rest: impl Read + Send,
    found: &mut dyn FnMut(Found<'_>) -> bool,
) -> Result<(), Broken> {
    // What reads the blocks wants the whole header at once.
    let mut head = first.to_vec();
    let more = if first == [0x0a, 0x0d, 0x0d, 0x0a] { 8 } else { 20 };
    fill(&mut rest, &mut head, more)?;
    if more == 8 {
        let len =
            if head[8..12] == [0x1a, 0x2b, 0x3c, 0x4d] { u32::from_be_bytes } else { u32::from_le_bytes }([
                head[4], head[5], head[6], head[7],
            ]);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if !(28..=HEADER_BYTES_MAX).contains(&len) {
            return Err(Broken::NoBlock { at: 0 });
        }
        fill(&mut rest, &mut head, len - 12)?;
    }
    let mut failed = None;
    let source = Cursor::new(head).chain(Watched { rest, failed: &mut failed });
    let outcome = blocks(source, found);
    match failed {
        Some(error) => Err(Broken::Read(error)),
        None => outcome,
    }
}

/// Keeps an error of the source, which the parser has no word for.
struct Watched<'a, R> {
    rest: R,
    failed: &'a mut Option<io::Error>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.rest.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    *self.failed = Some(error);
                    return Ok(0);
                }
                read => return read,
            }
        }
    }
}

fn fill(rest: &mut impl Read, head: &mut Vec<u8>, more: usize) -> Result<(), Broken> {
    let end = head.len() + more;
    rest.by_ref().take(more as u64).read_to_end(head).map_err(Broken::Read)?;
    if head.len() < end { Err(Broken::Cut { at: 0 }) } else { Ok(()) }
}

/// Of an interface: its link type, the length of its time's unit, and where its time begins.
struct Interface {
    link: i32,
    per_second: u64,
    offset_s: i64,
}

/// What holds for the blocks of a section; a pcap file is one.
#[derive(Default)]
struct Section {
    interfaces: Vec<Interface>,
    is_big_endian: bool,
    /// The last packet's time, ns since 1970.
    last_ns: u64,
}

fn blocks(source: impl Read + Send, found: &mut dyn FnMut(Found<'_>) -> bool) -> Result<(), Broken> {
    let mut reader = match create_reader(BUFFER_BYTES, source) {
        Ok(reader) => reader,
        Err(_) => return Err(Broken::NoBlock { at: 0 }),
    };
    let mut section = Section::default();
    let mut capacity = BUFFER_BYTES;
    let mut refilled_at = None;
    loop {
        let at = reader.consumed() as u64;
        match reader.next() {
            Ok((used, block)) => {
                let read = section.take(&block).ok_or(Broken::NoBlock { at })?;
                let goes_on = read.is_none_or(&mut *found);
                reader.consume(used);
                if !goes_on {
                    return Ok(());
                }
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::UnexpectedEof) => return Err(Broken::Cut { at }),
            Err(PcapError::Incomplete(_)) => {
                // Twice at one place with a full buffer: only more room helps, and that is the next arm.
                let seen = (at, reader.data().len());
                if refilled_at == Some(seen) && reader.reader_exhausted() {
                    return if seen.1 == 0 { Ok(()) } else { Err(Broken::Cut { at }) };
                }
                refilled_at = Some(seen);
                if reader.refill().is_err() {
                    return Err(Broken::Cut { at });
                }
            }
            Err(PcapError::BufferTooSmall) if capacity < BLOCK_BYTES_MAX => {
                capacity *= 2;
                if !reader.grow(capacity) || reader.refill().is_err() {
                    return Err(Broken::NoBlock { at });
                }
            }
            Err(_) => return Err(Broken::NoBlock { at }),
        }
    }
}

impl Section {
    /// What a block brings, if anything; `None`: it is a packet of no interface.
    fn take<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Option<Option<Found<'a>>> {
        let found = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // Above the type stand flags, such as the length of a checksum behind each packet.
                let link = header.network.0 & 0xffff;
                self.interfaces.push(Interface { link, per_second, offset_s: 0 });
                None
            }
            PcapBlockOwned::Legacy(block) => {
                let interface = self.interfaces.first()?;
                let part = u64::from(block.ts_usec).saturating_mul(1_000_000_000 / interface.per_second);
                Some(Found::Packet(Packet {
                    time_ns: u64::from(block.ts_sec) * 1_000_000_000 + part,
                    link: interface.link,
                    wire_bytes: block.origlen.into(),
                    bytes: block.data.get(..block.caplen as usize).unwrap_or(block.data),
                }))
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                *self = Section {
                    is_big_endian: header.big_endian(),
                    last_ns: self.last_ns,
                    ..Section::default()
                };
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return None;
                }
                self.interfaces.push(Interface {
                    link: block.linktype.0,
                    per_second: block.ts_resolution().filter(|unit| *unit > 0).unwrap_or(1_000_000),
                    offset_s: block.ts_offset(),
                });
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let interface = self.interfaces.get(block.if_id as usize)?;
                Some(Found::Packet(Packet {
                    time_ns: interface.time_ns(block.ts_high, block.ts_low)?,
                    link: interface.link,
                    wire_bytes: block.origlen.into(),
                    bytes: block.packet_data(),
                }))
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let interface = self.interfaces.first()?;
                Some(Found::Packet(Packet {
                    // It has none of its own; the one before it is the nearest that is known.
                    time_ns: self.last_ns,
                    link: interface.link,
                    wire_bytes: block.origlen.into(),
                    bytes: block.packet_data(),
                }))
            }
            PcapBlockOwned::NG(Block::Unknown(block)) => {
                // The parser gives types that it does not know as they stand in the file.
                let kind = if self.is_big_endian { block.block_type.swap_bytes() } else { block.block_type };
                Some(match kind {
                    PACKET_BLOCK => Found::Packet(self.packet_block(block.data)?),
                    kind => Found::UnknownBlock(kind),
                })
            }
            // Names, statistics, comments.
            PcapBlockOwned::NG(_) => None,
        };
        if let Some(Found::Packet(packet)) = &found {
            self.last_ns = packet.time_ns;
        }
        Some(found)
    }

    /// `| interface u16 | drops u16 | time: high, low u32 | captured u32 | original u32 | packet, options |`
    fn packet_block<'a>(&self, block: &'a [u8]) -> Option<Packet<'a>> {
        const HEADER_BYTES: usize = 20;
        let word = |at: usize| -> Option<u32> {
            let word = *block.get(at..)?.first_chunk()?;
            Some(if self.is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
        };
        let interface = *block.first_chunk()?;
        let interface =
            if self.is_big_endian { u16::from_be_bytes(interface) } else { u16::from_le_bytes(interface) };
        let interface = self.interfaces.get(usize::from(interface))?;
        let captured = usize::try_from(word(12)?).ok()?;
        Some(Packet {
            time_ns: interface.time_ns(word(4)?, word(8)?)?,
            link: interface.link,
            wire_bytes: word(16)?.into(),
            bytes: block.get(HEADER_BYTES..)?.get(..captured)?,
        })
    }
}

impl Interface {
    /// A time of two words in this interface's units, as ns since 1970. `None`: none that anything can have.
    fn time_ns(&self, high: u32, low: u32) -> Option<u64> {
        let units = u64::from(high) << 32 | u64::from(low);
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
        let ns = i128::try_from(ns).ok()? + i128::from(self.offset_s) * 1_000_000_000;
        Some(u64::try_from(ns).unwrap_or_default())
    }
}
