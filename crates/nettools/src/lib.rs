//! vang-nettools: the socket workbench behind `vang net`. A leaf: it knows `proto` to decode what is on a wire, and
//! nothing of chat and its server; of the client, its words for errors and its TLS. One file a tool.
//!
//! ```text
//!   arguments ─▶ a tool ─▶ records ─▶ `Report` ─▶ lines for people, or an object a line for programs
//!                  ▲
//!                `Stop`: Ctrl-C, SIGTERM and --timeout, as something that can be waited for beside sockets
//! ```
//!
//! No tool prints, exits or reads the environment itself; none needs root unless the kernel says so, and then
//! its error does (`failure`). Nothing here leaves this machine but what the user named.

mod report; // what a tool tells, and to whom
mod stop; // when a tool must end
mod failure; // why a tool could not do its work
mod quote; // bytes, sizes and times as people read them
mod target; // HOST:PORT as it is typed, and what it stands for
mod lookup; // names to addresses, with an end
mod connect; // one TCP connection, waited for with `Stop`
mod place; // a place that was typed, as a socket that listens or is connected
pub mod conform; // does a server, or a client, speak the protocol?
pub mod diag; // what the kernel knows of sockets
mod owners; // whose sockets they are
pub mod stall; // full queues, made on purpose
pub mod sockets; // every socket, its queues, its owner, what is wrong with it
pub mod echo; // a server that gives every byte back, and a client that checks it
pub mod resolve; // what a name stands for, and which address answers
pub mod ping; // is it there, how far is it, and where does the way end
pub mod wire; // the bytes of one direction as messages: native, HTTP, WebSocket, lines, TLS
pub mod capture; // captures as conversations
pub mod doctor; // what is the matter with a server, step by step
pub mod decode; // what a capture holds
pub mod tap; // a proxy that shows, records and disturbs what passes

pub use failure::{Failure, Outcome};
pub use quote::{counted, duration, quoted, size};
pub use report::{Record, Report};
pub use stop::{Stop, Stopped, is_ignored};
pub use target::{BadTarget, Target};

/// What a tool found, when it could do its work: the exit code of `vang net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Good,
    /// What was looked at is not as it should be; the records say how.
    Bad,
    /// The time given was over before there was an answer.
    TimedOut,
}
