//! What a proxy says about the client for which it connects: the PROXY protocol, and the HTTP headers `Forwarded` and
//! `X-Forwarded-For`. Pure: which proxies can be believed is the caller's decision.

pub mod client_address; // an address, with or without a port
pub mod forwarded; // Forwarded (RFC 7239) and X-Forwarded-For
pub mod header; // the PROXY protocol, versions 1 and 2

pub use client_address::ClientAddress;
pub use forwarded::ForwardedError;
pub use header::{ProxyHeader, ProxyHeaderError, ProxyVersion};
