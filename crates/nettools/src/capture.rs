//! Captures: files of pcap and pcapng as packets, packets as TCP segments, segments as the streams of conversations.
//!
//! ```text
//! file ─▶ `file` packets ─▶ `link`, `packet` segments ─▶ `conversations` ─▶ `stream` (each direction) ─▶ `wire::Reader`
//!                  ▲           └▶ `fragments` ┐
//!                  └──────── joined ◀─────────┘   `write`: the way back, for what a proxy has seen
//! ```
//!
//! A file is read as it comes and never held; of a conversation is kept what its summary needs, and of its streams what
//! waits for a missing piece, within limits that are said where they stand.

pub mod conversations; // who opened, what was said, who closed
pub mod file; // pcap and pcapng, block by block
pub mod formats; // files that are none of the two, and what reads them
pub mod link; // what stands before IP: Ethernet and its like, tags, labels, tunnels
pub mod packet; // IP, TCP
pub mod fragments; // IP packets that came in pieces
pub mod stream; // one direction put together
pub mod write; // the way back: what a proxy has seen, as a capture
