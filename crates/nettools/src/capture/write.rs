//! Writes the connections of a proxy as a capture for Wireshark (pcapng, raw IP). Each conversation becomes TCP segments:
//! handshake, bytes with sequence numbers, acknowledgements, FIN or RST. Window sizes and options are invented. Datagrams
//! become UDP packets.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, ip_number};

use super::blocks::{ENHANCED_PACKET, INTERFACE, block, option, section};
use super::side::Side;

/// Longest payload of a segment: an IPv4 packet without its headers.
const PAYLOAD_BYTES_MAX: usize = 60_000;

/// Longest datagram: an IPv4 packet without its headers.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Longest comment.
const COMMENT_BYTES_MAX: usize = 1_024;

/// `LINKTYPE_RAW`.
const LINK_RAW: u16 = 101;

/// A capture under construction.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    packet: Vec<u8>,
    /// Comment of the next packet.
    comment: Option<String>,
}

/// A conversation being recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    ends: [SocketAddr; 2],
    /// Next sequence number of each side.
    next: [u32; 2],
}

impl<W: Write> Writer<W> {
    /// Starts a capture, with the program's name.
    pub fn new(mut out: W, program: &str) -> io::Result<Writer<W>> {
        section(&mut out, program)?;
        let mut interface = Vec::from(LINK_RAW.to_le_bytes());
        interface.extend(0_u16.to_le_bytes());
        interface.extend(0_u32.to_le_bytes()); // no limit
        option(&mut interface, 2, b"vang net tap"); // if_name
        option(&mut interface, 9, &[9]); // if_tsresol: nanoseconds
        option(&mut interface, 0, &[]);
        block(&mut out, INTERFACE, &interface)?;
        out.flush()?;
        Ok(Writer { out, packet: Vec::new(), comment: None })
    }

    /// Adds a comment to the next packet; a long text is cut.
    pub fn comment(&mut self, text: String) {
        self.comment = Some(text);
    }

    /// Opens a conversation.
    pub fn open(&mut self, time_ns: u64, client: SocketAddr, server: SocketAddr) -> io::Result<Recorded> {
        let ends = of_one_family([client, server]);
        // Fixed initial sequence numbers, far apart.
        let mut recorded = Recorded { ends, next: [1_000, 2_000_000_000] };
        self.packet(time_ns, &mut recorded, Side::Client, "S", &[])?;
        self.packet(time_ns, &mut recorded, Side::Server, "SA", &[])?;
        self.packet(time_ns, &mut recorded, Side::Client, "A", &[])?;
        Ok(recorded)
    }

    /// One side sent these bytes.
    pub fn say(&mut self, time_ns: u64, recorded: &mut Recorded, side: Side, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PAYLOAD_BYTES_MAX) {
            self.packet(time_ns, recorded, side, "PA", part)?;
            self.packet(time_ns, recorded, side.other(), "A", &[])?;
        }
        Ok(())
    }

    /// One side closed its sending half.
    pub fn close(&mut self, time_ns: u64, recorded: &mut Recorded, side: Side) -> io::Result<()> {
        self.packet(time_ns, recorded, side, "FA", &[])?;
        self.packet(time_ns, recorded, side.other(), "A", &[])
    }

    /// One side reset it.
    pub fn reset(&mut self, time_ns: u64, recorded: &mut Recorded, side: Side) -> io::Result<()> {
        self.packet(time_ns, recorded, side, "RA", &[])
    }

    fn packet(
        &mut self,
        time_ns: u64,
        recorded: &mut Recorded,
        side: Side,
        flags: &str,
        payload: &[u8],
    ) -> io::Result<()> {
        let [from, to] = [recorded.ends[side as usize], recorded.ends[side.other() as usize]];
        let mut tcp = TcpHeader::new(from.port(), to.port(), recorded.next[side as usize], u16::MAX);
        tcp.syn = flags.contains('S');
        tcp.fin = flags.contains('F');
        tcp.rst = flags.contains('R');
        tcp.psh = flags.contains('P');
        if flags.contains('A') {
            tcp.ack = true;
            tcp.acknowledgment_number = recorded.next[side.other() as usize];
        }
        let counted = payload.len() as u32 + u32::from(tcp.syn) + u32::from(tcp.fin);
        recorded.next[side as usize] = recorded.next[side as usize].wrapping_add(counted);
        let builder = PacketBuilder::ip(ip_headers(from, to, ip_number::TCP)?).tcp_header(tcp);
        self.packet.clear();
        builder.write(&mut self.packet, payload).map_err(io::Error::other)?;
        self.write_packet(time_ns)
    }

    /// A datagram, up to the longest that IPv4 has.
    pub fn datagram(
        &mut self,
        time_ns: u64,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        let [from, to] = of_one_family([from, to]);
        let builder = PacketBuilder::ip(ip_headers(from, to, ip_number::UDP)?).udp(from.port(), to.port());
        self.packet.clear();
        let bytes = &bytes[..bytes.len().min(DATAGRAM_BYTES_MAX)];
        builder.write(&mut self.packet, bytes).map_err(io::Error::other)?;
        self.write_packet(time_ns)
    }

    fn write_packet(&mut self, time_ns: u64) -> io::Result<()> {
        let mut body = Vec::with_capacity(self.packet.len() + 20);
        body.extend(0_u32.to_le_bytes());
        body.extend(((time_ns >> 32) as u32).to_le_bytes());
        body.extend((time_ns as u32).to_le_bytes());
        body.extend((self.packet.len() as u32).to_le_bytes());
        body.extend((self.packet.len() as u32).to_le_bytes());
        body.extend_from_slice(&self.packet);
        if let Some(comment) = self.comment.take() {
            body.resize(body.len().next_multiple_of(4), 0);
            option(&mut body, 1, &comment.as_bytes()[..comment.floor_char_boundary(COMMENT_BYTES_MAX)]); // opt_comment
            option(&mut body, 0, &[]);
        }
        block(&mut self.out, ENHANCED_PACKET, &body)
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// For tests and benches.
impl<W> Writer<W> {
    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// A packet has one family: if they differ, both are written as IPv6.
fn of_one_family(ends: [SocketAddr; 2]) -> [SocketAddr; 2] {
    if ends.iter().all(SocketAddr::is_ipv4) { ends } else { ends.map(as_v6) }
}

fn ip_headers(from: SocketAddr, to: SocketAddr, protocol: IpNumber) -> io::Result<IpHeaders> {
    Ok(match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => IpHeaders::Ipv4(
            Ipv4Header {
                dont_fragment: true,
                ..Ipv4Header::new(0, 64, protocol, from.octets(), to.octets()).map_err(io::Error::other)?
            },
            Default::default(),
        ),
        (from, to) => IpHeaders::Ipv6(
            Ipv6Header {
                next_header: protocol,
                hop_limit: 64,
                source: octets(from),
                destination: octets(to),
                ..Ipv6Header::default()
            },
            Default::default(),
        ),
    })
}

fn as_v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A packet needs addresses, and a Unix socket has none. Its client gets one of TEST-NET-1 (RFC 5737), with the number of
/// the connection as its port, then the next address.
pub fn unix_client(connection: u64) -> SocketAddr {
    let at = connection.saturating_sub(1);
    let host = 1 + (at / u64::from(u16::MAX) % 250) as u8;
    SocketAddr::new(Ipv4Addr::new(192, 0, 2, host).into(), 1 + (at % u64::from(u16::MAX)) as u16)
}

/// The address of a server on a Unix socket: TEST-NET-2, with vang's port, so that Wireshark finds the dissector.
pub const UNIX_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 65_432);
