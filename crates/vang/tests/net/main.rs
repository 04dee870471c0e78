//! `vang net` at work: the real binary against real sockets and real peers, compared with the tools that people know.
//! A test's name is the rule; it waits for facts, never for time to pass.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "../harness/mod.rs"]
mod harness;

mod decode; // vang net decode
mod doctor; // vang net doctor
mod echo; // a server that gives every byte back, in four models, and a client that checks it
mod exercises; // the guide's five exercises, end to end
mod sockets; // every socket, as `ss` shows it, and what is wrong with it
mod tap; // vang net tap, and tshark on its recordings
mod stall; // full queues, made on purpose
mod resolve; // vang net resolve
mod ping; // vang net ping: ICMP, in networks with routers
mod layers; // vang net ping --tcp, --tls, --vang
mod common_contract; // what every tool owes whoever uses it
mod errors; // every socket error that a person meets, provoked
