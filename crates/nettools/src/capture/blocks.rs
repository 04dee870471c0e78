//! The blocks of a pcapng file, in little-endian order, for both writers.

use std::io::{self, Write};

/// Interface Description Block.
pub(super) const INTERFACE: u32 = 1;
/// Interface Statistics Block.
pub(super) const STATISTICS: u32 = 5;
/// Enhanced Packet Block.
pub(super) const ENHANCED_PACKET: u32 = 6;

const SECTION: u32 = 0x0a0d_0d0a;

/// Starts a file: a section of unknown length, with the program's name.
pub(super) fn section(out: &mut impl Write, program: &str) -> io::Result<()> {
    let mut section = Vec::from(0x1a2b_3c4d_u32.to_le_bytes());
    section.extend(1_u16.to_le_bytes());
    section.extend(0_u16.to_le_bytes());
    section.extend(u64::MAX.to_le_bytes());
    option(&mut section, 4, program.as_bytes()); // shb_userappl
    option(&mut section, 0, &[]);
    block(out, SECTION, &section)
}

/// Adds an option to a block's body.
pub(super) fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    block.extend(code.to_le_bytes());
    block.extend((value.len() as u16).to_le_bytes());
    block.extend_from_slice(value);
    block.resize(block.len().next_multiple_of(4), 0);
}

/// Writes a block: type, length, body, length again.
pub(super) fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let padded = body.len().next_multiple_of(4);
    let len = (padded + 12) as u32;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&[0; 3][..padded - body.len()])?;
    out.write_all(&len.to_le_bytes())
}
