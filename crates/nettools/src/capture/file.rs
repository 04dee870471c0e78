//! pcap and pcapng files, read block by block. A file is never held in memory; one that is still being written, or comes
//! through a pipe, is read as far as it exists.

use std::io::{self, Cursor, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// The buffer for blocks; it grows with longer ones.
const BUFFER_BYTES: usize = 1 << 20;

/// Longest block: 64 MiB, longer than any packet.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Longest section header: 1 MiB; it can hold comments.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// Interfaces of a section: 65,536.
const INTERFACES_MAX: usize = 1 << 16;

/// The type of pcapng's obsolete Packet Block, which old files contain.
const PACKET_BLOCK: u32 = 2;

/// A block of a capture file.
#[derive(Clone, Copy, Debug)]
pub enum CaptureItem<'a> {
    Packet(Packet<'a>),
    /// Skipped.
    UnknownBlock(u32),
}

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Time, ns since 1970.
    pub time_ns: u64,
    /// Link type: a `LINKTYPE_` number.
    pub link: i32,
    /// Length on the wire.
    pub wire_bytes: u64,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

/// Why a capture could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{0}")]
    Read(io::Error),
    #[error("it ends inside a block, at byte {at}: the capture was cut short")]
    Cut { at: u64 },
    #[error("invalid capture block at byte {at}")]
    NoBlock { at: u64 },
}

/// Does a capture begin with these bytes?
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

/// Reads the packets of a capture after its first four bytes. `found` returns whether to go on.
pub fn read(
    first: [u8; 4],
    mut rest: impl Read + Send,
    found: &mut dyn FnMut(CaptureItem<'_>) -> bool,
) -> Result<(), CaptureError> {
    // The parser needs the whole header at once.
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
            return Err(CaptureError::NoBlock { at: 0 });
        }
        fill(&mut rest, &mut head, len - 12)?;
    }
    let mut failed = None;
    let source = Cursor::new(head).chain(Watched { rest, failed: &mut failed });
    let outcome = blocks(source, found);
    match failed {
        Some(error) => Err(CaptureError::Read(error)),
        None => outcome,
    }
}

/// Keeps an I/O error of the source, which the parser's error type cannot hold.
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

fn fill(rest: &mut impl Read, head: &mut Vec<u8>, more: usize) -> Result<(), CaptureError> {
    let end = head.len() + more;
    rest.by_ref().take(more as u64).read_to_end(head).map_err(CaptureError::Read)?;
    if head.len() < end { Err(CaptureError::Cut { at: 0 }) } else { Ok(()) }
}

/// An interface: link type, time unit, time offset.
struct Interface {
    link: i32,
    per_second: u64,
    offset_s: i64,
}

/// State for the blocks of a section; a pcap file is one section.
#[derive(Default)]
struct Section {
    interfaces: Vec<Interface>,
    is_big_endian: bool,
    /// Time of the last packet, ns since 1970.
    last_ns: u64,
}

fn blocks(
    source: impl Read + Send,
    found: &mut dyn FnMut(CaptureItem<'_>) -> bool,
) -> Result<(), CaptureError> {
    let mut reader = match create_reader(BUFFER_BYTES, source) {
        Ok(reader) => reader,
        Err(_) => return Err(CaptureError::NoBlock { at: 0 }),
    };
    let mut section = Section::default();
    let mut capacity = BUFFER_BYTES;
    let mut refilled_at = None;
    loop {
        let at = reader.consumed() as u64;
        match reader.next() {
            Ok((used, block)) => {
                let read = section.take(&block).ok_or(CaptureError::NoBlock { at })?;
                let goes_on = read.is_none_or(&mut *found);
                reader.consume(used);
                if !goes_on {
                    return Ok(());
                }
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::UnexpectedEof) => return Err(CaptureError::Cut { at }),
            Err(PcapError::Incomplete(_)) => {
                // Twice at the same place with a full buffer: the buffer must grow, which the next arm does.
                let seen = (at, reader.data().len());
                if refilled_at == Some(seen) && reader.reader_exhausted() {
                    return if seen.1 == 0 { Ok(()) } else { Err(CaptureError::Cut { at }) };
                }
                refilled_at = Some(seen);
                if reader.refill().is_err() {
                    return Err(CaptureError::Cut { at });
                }
            }
            Err(PcapError::BufferTooSmall) if capacity < BLOCK_BYTES_MAX => {
                capacity *= 2;
                if !reader.grow(capacity) || reader.refill().is_err() {
                    return Err(CaptureError::NoBlock { at });
                }
            }
            Err(_) => return Err(CaptureError::NoBlock { at }),
        }
    }
}

impl Section {
    /// The content of a block, if it has any; outer `None`: a packet of an unknown interface.
    fn take<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Option<Option<CaptureItem<'a>>> {
        let found = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits are flags, such as the length of a checksum after each packet.
                let link = header.network.0 & 0xffff;
                self.interfaces.push(Interface { link, per_second, offset_s: 0 });
                None
            }
            PcapBlockOwned::Legacy(block) => {
                let interface = self.interfaces.first()?;
                let part = u64::from(block.ts_usec).saturating_mul(1_000_000_000 / interface.per_second);
                Some(CaptureItem::Packet(Packet {
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
                Some(CaptureItem::Packet(Packet {
                    time_ns: interface.time_ns(block.ts_high, block.ts_low)?,
                    link: interface.link,
                    wire_bytes: block.origlen.into(),
                    bytes: block.packet_data(),
                }))
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let interface = self.interfaces.first()?;
                Some(CaptureItem::Packet(Packet {
                    // It has no time; take the previous packet's.
                    time_ns: self.last_ns,
                    link: interface.link,
                    wire_bytes: block.origlen.into(),
                    bytes: block.packet_data(),
                }))
            }
            PcapBlockOwned::NG(Block::Unknown(block)) => {
                // The parser gives unknown block types unchanged.
                let kind = if self.is_big_endian { block.block_type.swap_bytes() } else { block.block_type };
                Some(match kind {
                    PACKET_BLOCK => CaptureItem::Packet(self.packet_block(block.data)?),
                    kind => CaptureItem::UnknownBlock(kind),
                })
            }
            // Names, statistics, comments.
            PcapBlockOwned::NG(_) => None,
        };
        if let Some(CaptureItem::Packet(packet)) = &found {
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
    /// A time of two words in units of this interface, as ns since 1970. `None`: out of range.
    fn time_ns(&self, high: u32, low: u32) -> Option<u64> {
        let units = u64::from(high) << 32 | u64::from(low);
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
        let ns = i128::try_from(ns).ok()? + i128::from(self.offset_s) * 1_000_000_000;
        Some(u64::try_from(ns).unwrap_or_default())
    }
}
