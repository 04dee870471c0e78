//! vang-nettools: the socket workbench behind `vang net`. It uses `proto` to decode messages and `client` for error texts
//! and TLS; it knows nothing about chat and the server. One file for each tool.
//!
//! ```text
//!   arguments ─▶ a tool ─▶ records ─▶ `Report` ─▶ lines for people, or an object a line for programs
//!                  ▲
//!                `Stop`: Ctrl-C, SIGTERM and --timeout as a file descriptor, polled together with the sockets
//! ```
//!
//! A tool does not print, exit or read the environment itself. A tool needs root only where the kernel requires it, and its
//! error says so (`error`). A tool sends only to the hosts that the user named.

mod report; // records, explanations and their output
mod stop; // when a tool must end
pub mod diag; // the kernel's data about sockets
mod owners; // which process owns a socket
mod listening_paths; // where programs listen at Unix sockets
pub mod in_use; // who holds an address in use
mod error; // why a tool failed, with cause and advice
mod quote; // bytes in quotes
mod hex; // bytes in hexadecimal
mod target; // HOST:PORT and unix:PATH, parsed
mod lookup; // names to addresses, with a deadline
mod deadline_stream; // one TCP connection whose reads and writes end at a deadline, or with `Stop`
mod peer_name; // a connection's other end, as records name it
mod trust; // TLS: how a client verifies a server
mod transport; // a connection's bytes, plain or in TLS
mod destination; // a target to connect to: its addresses, a connected socket
mod listener; // a socket that listens
pub mod own_addresses; // this machine's addresses, and the one from which it reaches others
mod datagram; // a UDP socket that answers from the address it was asked at
mod open_files; // this process's limit of open files
pub mod conform; // tests whether a server or client follows the protocol
pub mod stall; // fills socket queues on purpose
pub mod sockets; // lists sockets with queues, owner and problems
pub mod echo; // an echo server, and a client that checks it
pub mod resolve; // the addresses of a name, and which of them answer
pub mod ping; // ICMP echo, and probes of TCP, TLS and vang
pub mod protocols; // the bytes of one direction as messages: native, HTTP, WebSocket, lines, TLS
pub mod capture; // captures as TCP conversations: files, and packets as they come
pub mod doctor; // finds the layer at which a server fails
pub mod decode; // shows the content of a capture
pub mod bytes; // numbers and texts as bytes, and the other way
pub mod fuzz; // sends wrong input to one's own server
pub mod live_capture; // captures packets of this machine
pub mod talk; // a raw two-way client
pub mod tap; // a proxy that shows, records and disturbs connections and datagrams

pub use error::{Outcome, ToolError};
pub use listening_paths::listening_paths;
pub use quote::quoted;
pub use report::{Record, Report};
pub use stop::{Stop, Stopped, is_ignored};
pub use target::Target;
pub use trust::Trust;

/// The result of a tool that could do its work; it becomes the exit code of `vang net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Something is wrong; the records say what.
    Bad,
    /// The timeout passed before there was an answer.
    TimedOut,
}
