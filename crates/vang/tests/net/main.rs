//! `vang net`: each tool as its user runs it, against real peers.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod decode; // vang net decode
