//! Sockets: where a server listens, what a connection reads and writes, TLS.

pub(crate) mod listen; // listeners: TCP, Unix, the operator's
pub(crate) mod proxies; // the proxies that a listener trusts
pub(crate) mod socket; // a connection's socket, whatever its family, with or without TLS
#[cfg(test)]
pub(crate) mod memory_peer; // a peer in memory, for tests
pub(crate) mod tls; // the server's key and certificate
