//! Capture files: pcap and pcapng to packets, packets to TCP segments, segments to the streams of conversations.
//!
//! ```text
//! file ─▶ `file` packets ─▶ `link`, `packet` segments ─▶ `conversations` ─▶ `stream` (each direction) ─▶ `protocols::Reader`
//!                  ▲           └▶ `fragments` ┐
//!                  └──────── joined ◀─────────┘   `write`: the reverse, for what a proxy recorded
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
pub mod write; // writes pcapng
