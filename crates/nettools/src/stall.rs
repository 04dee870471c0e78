//! An experiment with full queues: a server that accepts and never reads, and a client that writes until the kernel refuses.
//!
//! ```text
//!   writer ─write─▶ Send-Q ═══network═══▶ Recv-Q ─read─▶ reader
//!                   │ kept until the other kernel acknowledges it      │ kept until the program reads it
//! ```
//!
//! Recv-Q fills first; then the reader's kernel closes its window (size zero) and Send-Q fills; then `write` would block.
//! Both numbers come from the kernel (`diag`), for both ends if both are on this machine.
//!
//! A Unix socket has no Send-Q: `write` puts the bytes directly into Recv-Q, and their memory is charged to the writer
//! until they are read. A UDP sender is never refused because of its reader: datagrams that do not fit are dropped (`udp`).

mod options; // options of both sides
mod queues; // the record of both queues, and how it is drawn
mod connection_queues; // asks the kernel for both queues of a connection
mod send; // the writer
mod serve; // the reader that does not read
mod udp; // the same over UDP, where datagrams are dropped

pub use self::options::{StallSendOptions, StallServeOptions};
pub use self::send::send;
pub use self::serve::serve;
