//! What to ping, and how.

use std::time::Duration;

use super::records::Layer;

/// What to ping, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingOptions {
    pub host: String,
    pub only: Only,
    /// Number of probes; `None`: until stopped.
    pub count: Option<u64>,
    pub interval: Duration,
    /// Time to wait for an answer.
    pub wait: Duration,
    /// Bytes of data in an echo request.
    pub size: u32,
    /// TTL, or hop limit for IPv6.
    pub ttl: Option<u8>,
    pub layer: Layer,
}

/// The address family to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// The first address of the resolver.
    Any,
    V4,
    V6,
}
