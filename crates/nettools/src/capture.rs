//! Captures: files of pcap and pcapng as packets, packets as TCP segments, segments as the streams of conversations.
//!
//! ```text
//! file ─▶ `file` packets ─▶ `packet` segments ─▶ `conversations` ─▶ `stream` (each direction) ─▶ `wire::Reader`
//!                  ▲           └▶ `fragments` ┐
//!                  └──────── joined ◀─────────┘   `write`: the way back, for what a proxy has seen
//! ```
//!
//! A file is read as it comes and never held; of a conversation is kept what its summary needs, and of its streams what
//! waits for a missing piece, within limits that are said where they stand.

pub mod conversations; // who opened, what was said, who closed
pub mod file; // pcap and pcapng, block by block
pub mod packet; // Ethernet and its like, IP, TCP
pub mod fragments; // IP packets that came in pieces
pub mod stream; // one direction put together
pub mod write; // the way back: what a proxy has seen, as a capture
