//! The records of ping.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

use super::icmp::Kind;
use crate::Record;

/// The highest layer to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// ICMP echo requests.
    Icmp,
    /// TCP connections to this port.
    Tcp(u16),
    /// TLS handshakes at this port.
    Tls(u16),
    /// A ping to a vang server at this port.
    Vang(u16),
}

/// The first record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PingStarted {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
    pub(crate) family: &'static str,
    /// `datagram` or `raw`.
    pub(crate) socket: super::socket::SocketKind,
    pub(crate) size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u8>,
}

impl Record for PingStarted {
    const EVENT: &'static str = "ping";
}

impl fmt::Display for PingStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PingStarted { host, address, family, socket, .. } = self;
        let host = if host.is_empty() { "the empty host" } else { host };
        write!(f, "{host} is {address} ({family}); ICMP echo by {socket}, ")?;
        // Exact, and as it is typed: users search the largest packet that passes.
        write!(f, "{} byte{} of data", self.size, if self.size == 1 { "" } else { "s" })?;
        self.ttl.map_or(Ok(()), |ttl| write!(f, ", TTL {ttl}"))
    }
}

/// An echo reply.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reply {
    pub(crate) seq: u64,
    pub(crate) from: IpAddr,
    #[serde(flatten)]
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u8>,
    pub(crate) time_us: f64,
    pub(crate) duplicate: bool,
    /// After it was reported as lost.
    pub(crate) late: bool,
    /// From another address: a host with several, a multicast group, or a forged reply.
    pub(crate) elsewhere: bool,
    /// Offset of the first byte that differs from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_at: Option<usize>,
    #[serde(skip)]
    pub(crate) time: Duration,
}

impl Record for Reply {
    const EVENT: &'static str = "reply";
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}), seq {}", self.from, self.name, self.kind, self.seq)?;
        if let Some(ttl) = self.ttl {
            write!(f, ", TTL {ttl}")?;
        }
        write!(f, ", {}", short_duration(self.time))?;
        if self.elsewhere {
            f.write_str(", from another address")?;
        }
        if self.duplicate {
            f.write_str(", duplicate")?;
        }
        if self.late {
            f.write_str(", late: it was reported as lost before")?;
        }
        self.damaged_at.map_or(Ok(()), |at| write!(f, ", data differs from byte {at} on"))
    }
}

/// An ICMP error for a probe, or an error of sending it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProbeError {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    /// Sender of the error; `None`: this machine.
    pub(crate) from: Option<IpAddr>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_us: Option<f64>,
    #[serde(skip)]
    pub(crate) time: Option<Duration>,
}

impl Record for ProbeError {
    const EVENT: &'static str = "error";
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{from}: ")?,
            None => f.write_str("this machine: ")?,
        }
        f.write_str(&self.name)?;
        if let Some(kind) = self.kind {
            write!(f, " ({kind})")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", seq {seq}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", next hop takes packets up to {mtu} bytes")?;
        }
        self.time.map_or(Ok(()), |time| write!(f, ", {}", short_duration(time)))
    }
}

/// No answer in time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NoAnswer {
    pub(crate) seq: u64,
    pub(crate) waited_us: f64,
    #[serde(skip)]
    pub(crate) waited: Duration,
}

impl Record for NoAnswer {
    const EVENT: &'static str = "lost";
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer, seq {}, after {}", self.seq, short_duration(self.waited))
    }
}

/// Microseconds, as in objects.
pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_path_mtu_tests_are_exact() {
        let (name, from) = ("fragmentation required and DF set".to_owned(), "192.0.2.1".parse().ok());
        let (kind, time_us, time) = (None, None, None);
        let refused = ProbeError { seq: Some(1), from, kind, name, mtu: Some(1_400), time_us, time };
        assert!(refused.to_string().ends_with(", next hop takes packets up to 1400 bytes"), "{refused}");
        let ip = "192.0.2.1".parse().unwrap();
        let (host, socket) = ("x".to_owned(), super::super::socket::SocketKind::Raw);
        let begins = PingStarted { host, address: ip, family: "IPv4", socket, size: 1_472, ttl: None };
        assert!(begins.to_string().ends_with(", 1472 bytes of data"), "{begins}");
    }
}
