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
            | [0xa1, 0xb2, 0xcd, 0x34]
            | [0x0a, 0x0d, 0x0d, 0x0a]
    )
}

/// Reads the packets of a capture whose first four bytes were read already. `packet` says whether to go on.
pub fn read(
    first: [u8; 4],
    mut rest: impl Read + Send,
    packet: &mut dyn FnMut(Packet<'_>) -> bool,
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
    let outcome = blocks(source, packet);
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

fn blocks(source: impl Read + Send, packet: &mut dyn FnMut(Packet<'_>) -> bool) -> Result<(), Broken> {
    let mut reader = match create_reader(BUFFER_BYTES, source) {
        Ok(reader) => reader,
        Err(_) => return Err(Broken::NoBlock { at: 0 }),
    };
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut capacity = BUFFER_BYTES;
    let mut refilled_at = None;
    loop {
        let at = reader.consumed() as u64;
        match reader.next() {
            Ok((used, block)) => {
                let goes_on = take(block, &mut interfaces, packet).ok_or(Broken::NoBlock { at })?;
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

/// `None`: a packet of no interface.
fn take(
    block: PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    packet: &mut dyn FnMut(Packet<'_>) -> bool,
) -> Option<bool> {
    Some(match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            interfaces.push(Interface { link: header.network.0, per_second, offset_s: 0 });
            true
        }
        PcapBlockOwned::Legacy(block) => {
            let interface = interfaces.first()?;
            let part = u64::from(block.ts_usec).saturating_mul(1_000_000_000 / interface.per_second);
            packet(Packet {
                time_ns: u64::from(block.ts_sec) * 1_000_000_000 + part,
                link: interface.link,
                wire_bytes: block.origlen.into(),
                bytes: block.data.get(..block.caplen as usize).unwrap_or(block.data),
            })
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            true
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
            if interfaces.len() >= INTERFACES_MAX {
                return None;
            }
            interfaces.push(Interface {
                link: block.linktype.0,
                per_second: block.ts_resolution().filter(|unit| *unit > 0).unwrap_or(1_000_000),
                offset_s: block.ts_offset(),
            });
            true
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface = interfaces.get(block.if_id as usize)?;
            let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            let ns = u128::from(units) * 1_000_000_000 / u128::from(interface.per_second);
            let ns = i128::try_from(ns).ok()? + i128::from(interface.offset_s) * 1_000_000_000;
            packet(Packet {
                time_ns: u64::try_from(ns).unwrap_or_default(),
                link: interface.link,
                wire_bytes: block.origlen.into(),
                bytes: block.packet_data(),
            })
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            let interface = interfaces.first()?;
            packet(Packet {
                time_ns: 0,
                link: interface.link,
                wire_bytes: block.origlen.into(),
                bytes: block.packet_data(),
            })
        }
        // Names, statistics, comments.
        PcapBlockOwned::NG(_) => true,
    })
}
