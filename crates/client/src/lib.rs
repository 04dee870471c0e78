//! vang-client: a blocking client. No async, no threads but one that waits for a name to resolve, no
//! terminal: what a person reads is the caller's. Sockets, the clock and random numbers are used here.

pub mod address; // where a server is: URLs in, socket addresses out
pub mod trouble; // every error that a person meets: its name, its likely cause, what to do
pub mod patience; // how long: deadlines, and trying again
pub mod trust; // is this the server that we know?
mod channel; // a socket, with TLS around it or without
pub mod connection; // one socket: bytes out, messages in, until a deadline
pub mod guide; // the guide's client: one request, one response
pub mod send; // one message, until it is durable or known not to be
pub mod history; // what a room has, page by page
pub mod find; // what was said that has these words, page by page
pub mod follow; // what comes, across reconnects, once
pub mod outlet; // is anybody still reading what we print?

#[cfg(test)]
mod scripted; // a server for the tests that plays what it is told

pub use address::{BadServerAddr, ServerAddr};
pub use connection::Connection;
pub use find::{Hits, Search};
pub use follow::{Follow, Notice, Update};
pub use history::History;
pub use patience::Deadline;
pub use send::{Message, NotSent, Posted};
pub use trouble::{ClientError, Doing, Trouble, explain};
