//! Writes captured packets as pcapng. Their link headers were removed by the kernel, so each gets Linux's own header
//! (`LINKTYPE_LINUX_SLL2`), as in captures of `tcpdump -i any`: it names the interface and the direction.

use std::io::{self, Write};

use super::blocks::{ENHANCED_PACKET, INTERFACE, STATISTICS, block, option, section};

/// `LINKTYPE_LINUX_SLL2`.
const LINK_SLL2: u16 = 276;

/// Length of the header before each packet.
pub const HEADER_BYTES: usize = 20;

/// What the kernel reports about a packet besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkHeader {
    /// The EtherType.
    pub protocol: u16,
    /// The number of the interface.
    pub interface: u32,
    /// The kind of device, `ARPHRD_`.
    pub device: u16,
    /// 0 to us, 1 broadcast, 2 multicast, 3 to another host, 4 sent by us.
    pub direction: u8,
    /// The sender's address on the link, and its length.
    pub address: [u8; 6],
    pub address_bytes: u8,
}

impl LinkHeader {
    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&self.protocol.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.interface.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.device.to_be_bytes());
        bytes[10] = self.direction;
        bytes[11] = self.address_bytes;
        bytes[12..18].copy_from_slice(&self.address);
        bytes
    }
}

/// A capture under construction.
#[derive(Debug)]
pub struct PacketWriter<W> {
    out: W,
    body: Vec<u8>,
}

impl<W: Write> PacketWriter<W> {
    /// Starts a capture of at most `snaplen` bytes of each packet, on the interface of this name or `any`.
    pub fn new(mut out: W, program: &str, interface: &str, snaplen: u32) -> io::Result<PacketWriter<W>> {
        section(&mut out, program)?;
        let mut body = Vec::from(LINK_SLL2.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(snaplen.saturating_add(HEADER_BYTES as u32).to_le_bytes());
        option(&mut body, 2, interface.as_bytes()); // if_name
        option(&mut body, 9, &[9]); // if_tsresol: nanoseconds
        option(&mut body, 0, &[]);
        block(&mut out, INTERFACE, &body)?;
        out.flush()?;
        Ok(PacketWriter { out, body })
    }

    /// A packet of `wire_bytes`, of which `bytes` were captured.
    pub fn packet(
        &mut self,
        time_ns: u64,
        header: &LinkHeader,
        bytes: &[u8],
        wire_bytes: usize,
    ) -> io::Result<()> {
        let len = |bytes: usize| u32::try_from(bytes + HEADER_BYTES).unwrap_or(u32::MAX).to_le_bytes();
        self.body.clear();
        self.body.extend(0_u32.to_le_bytes());
        self.body.extend(((time_ns >> 32) as u32).to_le_bytes());
        self.body.extend((time_ns as u32).to_le_bytes());
        self.body.extend(len(bytes.len()));
        self.body.extend(len(wire_bytes));
        self.body.extend(header.bytes());
        self.body.extend_from_slice(bytes);
        block(&mut self.out, ENHANCED_PACKET, &self.body)
    }

    /// Writes everything to the file or pipe.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The end: how many packets came, and how many of them the kernel dropped.
    pub fn finish(mut self, time_ns: u64, received: u64, dropped: u64) -> io::Result<()> {
        self.body.clear();
        self.body.extend(0_u32.to_le_bytes());
        self.body.extend(((time_ns >> 32) as u32).to_le_bytes());
        self.body.extend((time_ns as u32).to_le_bytes());
        option(&mut self.body, 4, &received.to_le_bytes()); // isb_ifrecv
        option(&mut self.body, 5, &dropped.to_le_bytes()); // isb_ifdrop
        option(&mut self.body, 0, &[]);
        block(&mut self.out, STATISTICS, &self.body)?;
        self.out.flush()
    }
}
