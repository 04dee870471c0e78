//! Echo, the usual first program with sockets: a server that sends every byte back, in five models of concurrency that can
//! be compared, and a client that checks the answer byte by byte.
//!
//! ```text
//!   listener ─▶ socket ─▶ transport (plain, TLS) ─▶ peer: read, send back, keep what the kernel did not take
//!                                                    ▲ driven by: one thread in turn · a thread each · mio · tokio · mio in processes
//! ```
//!
//! Memory is bounded: an event loop has one buffer, and a peer that does not read is not read from.

mod certificate; // TLS: the server's certificate for the run
mod server_records; // the records of the server, and how many of them
mod work; // CPU time for each message
mod model; // the models of concurrency
mod peer; // one connection of the server, for every model
mod accept; // accepts connections, for every model
mod blocking; // models `sequential` and `threads`
mod selector; // model `selector`
mod tasks; // model `async`
mod worker_messages; // what a server and its worker processes say to each other
pub mod worker; // one worker process
mod processes; // model `processes`
mod udp_server; // the server over UDP
pub mod serve; // runs the server
pub mod measure; // counts and times of a client, as numbers and as bars
mod content; // the bytes a client sends
mod plan; // what a client sends, and when
mod client_records; // the records of the client
mod streams; // the connections of the client
mod group; // broadcast and multicast
mod udp_client; // the client over UDP
mod udp_group; // the same for an address of several hosts
pub mod send; // runs the client
pub mod compare_models; // measures every model on this machine
