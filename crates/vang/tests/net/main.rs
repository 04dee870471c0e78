//! Tests of `vang net`: the real binary with real sockets and peers, compared with well-known tools. A test's name is its
//! rule; tests wait for events, not for time.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "../harness/mod.rs"]
mod harness;

mod capture; // vang net capture, beside tcpdump
mod conform; // vang net conform
mod decode; // vang net decode
mod doctor; // vang net doctor
mod echo; // vang net echo: the server models, and the client
mod echo_group; // over UDP to several hosts: broadcast and multicast
mod echo_processes; // the model of several processes, and work that costs CPU time
mod host_port; // HOST PORT in two words, as in the tutorial
mod exercises; // the five exercises of the tutorial
mod sockets; // vang net sockets, compared with ss and lsof
mod talk; // vang net talk, beside nc, socat and openssl
mod tap; // vang net tap, and its recordings in tshark
mod tap_silence; // a peer that vanishes
mod tap_udp; // datagrams through a tap
mod stall; // vang net stall
mod bytes; // vang net bytes, beside Python
mod fuzz; // vang net fuzz, against vang and against servers that die
mod resolve; // vang net resolve
mod ping; // vang net ping by ICMP, in networks with routers
mod layers; // vang net ping --tcp, --tls, --vang
mod common_contract; // the common contract of all tools
mod errors; // every socket error, provoked
