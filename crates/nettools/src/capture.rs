//! Captures: pcap and pcapng to packets, packets to TCP segments and datagrams, segments to the streams of conversations.
//!
//! ```text
//! file ─▶ `file` packets ─▶ `link`, `packet` segments ─▶ `conversations` ─▶ `stream` (each direction) ─▶ `protocols::Reader`
//!                  ▲           └▶ `fragments` ┐
//!                  └──────── joined ◀─────────┘   all of that in `decoder`
//! what a proxy recorded ─▶ `write` ─▶ file ◀─ `write_packets` ◀─ packets of a packet socket
//! ```
//!
//! A file is read as a stream and never held in memory. A conversation keeps what its summary needs, and segments that
//! wait for an earlier one, within limits.

pub mod side; // client or server
pub mod conversations; // TCP conversations: opening, messages, end
pub mod file; // pcap and pcapng, block by block
pub mod formats; // other file formats, and the commands that convert them
pub mod not_segment; // why a packet is no TCP segment
pub mod link; // layers below IP: Ethernet and others, tags, labels, tunnels
pub mod packet; // IP, TCP
pub mod fragments; // reassembly of IP fragments
pub mod stream; // reassembly of one TCP direction
pub mod decoder; // packets to events: all of the above
mod blocks; // the blocks of pcapng
pub mod write; // writes what a proxy saw as pcapng
pub mod write_packets; // writes captured packets as pcapng
