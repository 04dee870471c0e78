//! vang-client: a blocking client. No async. No threads, except one that waits for name resolution. It prints
//! nothing: output is the caller's task. Sockets, the clock and random numbers are used here.

pub mod address; // a server's address: URLs in, socket addresses out
pub mod trouble; // socket errors for people: name, likely cause, advice
pub mod retry; // deadlines, and retries until a deadline
pub mod verifier; // decides about a server's certificate: any, one key, roots
pub mod trust; // the keys of known servers
mod channel; // a socket with or without TLS
pub mod connection; // one connection: bytes out, messages in, each with a deadline
pub mod sign_in; // who a connection speaks as, and how it signs in
mod ask; // one request on a connection of its own, sent again where that is safe
pub mod guide; // the tutorial's client: one request, one response
pub mod send; // send one message until it is durable or refused
pub mod history; // read a room's history page by page
pub mod find; // search messages page by page
pub mod follow; // receive a room's events across reconnects, each once
pub mod output; // notice when the reader of our output is gone

#[cfg(test)]
mod scripted; // a scripted server for the tests

pub use address::{AddressError, ServerAddr};
pub use ask::ask;
pub use connection::Connection;
pub use find::{Hits, Search};
pub use follow::{ConnectionChange, Follow, Update};
pub use history::{History, Next};
pub use retry::Deadline;
pub use send::{Message, Posted, SendError};
pub use sign_in::{Identity, Proof};
pub use trouble::{ClientError, Doing, Trouble, explain};
