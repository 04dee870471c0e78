//! Echo, the first program of everybody who learns sockets: a server that gives back every byte, in four models of
//! concurrency that can be compared, and a client that proves that what came back is what was sent.
//!
//! ```text
//!   place ─▶ socket ─▶ wire (plain, TLS) ─▶ peer: read, give back, keep what was not taken
//!                                             ▲ turned by: one thread in turn · a thread each · mio · tokio
//! ```
//!
//! Memory is bounded: a loop has one buffer, and a peer that does not read is not read from. Nothing is interpreted.

mod certificate; // TLS: a certificate for the run, and what a client makes of the other's
mod wire; // a connection's bytes, plain or in TLS
mod tell; // what the server tells, and how much of it
mod peer; // one connection of the server's, turned by every model
mod blocking; // models `sequential` and `threads`
mod selector; // model `selector`
mod tasks; // model `async`
mod datagrams; // UDP: nobody connects
pub mod serve; // the server
pub mod measure; // counts and times of a client, as numbers and as a picture
mod content; // what a client sends
mod streams; // the client's connections
mod numbered; // the client's datagrams: which came back, in which order
pub mod send; // the client
pub mod compare; // every model on this machine, in one table

pub use certificate::Trust;
