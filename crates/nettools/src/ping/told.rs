//! What ping tells: records, each a line for people or an object for programs.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::icmp::Kind;
use crate::{Record, counted, duration};

/// What is measured, from ICMP up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Echo requests.
    Icmp,
    /// TCP connections to this port.
    Tcp(u16),
    /// TLS handshakes at this port.
    Tls(u16),
    /// A vang server's answer at this port.
    Vang(u16),
}

/// The beginning.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Begins {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
    pub(crate) family: &'static str,
    /// `datagram` or `raw`.
    pub(crate) socket: super::socket::Way,
    pub(crate) size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u8>,
}

impl Record for Begins {
    const EVENT: &'static str = "ping";
}

impl fmt::Display for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Begins { host, address, family, socket, .. } = self;
        let host = if host.is_empty() { "the empty host" } else { host };
        write!(f, "{host} is {address} ({family}); ICMP echo by {socket}, ")?;
        // Exact: who looks for the longest packet that passes counts bytes.
        write!(f, "{} of data", counted(self.size.into(), "byte", "bytes"))?;
        self.ttl.map_or(Ok(()), |ttl| write!(f, ", TTL {ttl}"))
    }
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answered {
    pub(crate) seq: u64,
    pub(crate) from: IpAddr,
    #[serde(flatten)]
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u8>,
    pub(crate) time_us: f64,
    /// Came before.
    pub(crate) duplicate: bool,
    /// Came after it was told to be lost.
    pub(crate) late: bool,
    /// Came from another address than was asked: of a host with several, of a group, or forged.
    pub(crate) elsewhere: bool,
    /// Its data is not what was sent: the first byte that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_at: Option<usize>,
    #[serde(skip)]
    pub(crate) time: Duration,
}

impl Record for Answered {
    const EVENT: &'static str = "reply";
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}), seq {}", self.from, self.name, self.kind, self.seq)?;
        if let Some(ttl) = self.ttl {
            write!(f, ", TTL {ttl}")?;
        }
        write!(f, ", {}", duration(self.time))?;
        if self.elsewhere {
            f.write_str(", not from the address that was asked")?;
        }
        if self.duplicate {
            f.write_str(", a duplicate")?;
        }
        if self.late {
            f.write_str(", late: it was counted as lost, and now is not")?;
        }
        self.damaged_at.map_or(Ok(()), |at| write!(f, ", damaged from byte {at} of its data on"))
    }
}

/// Somebody could not send a probe on, or this machine could not send it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreached {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    /// Who said so; `None`: this machine.
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

impl Record for Unreached {
    const EVENT: &'static str = "error";
}

impl fmt::Display for Unreached {
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
            write!(f, ", packets of at most {mtu} bytes go on there")?;
        }
        self.time.map_or(Ok(()), |time| write!(f, ", {}", duration(time)))
    }
}

/// No answer in the time that it has.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lost {
    pub(crate) seq: u64,
    pub(crate) waited_us: f64,
    #[serde(skip)]
    pub(crate) waited: Duration,
}

impl Record for Lost {
    const EVENT: &'static str = "lost";
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer, seq {}, in {}", self.seq, duration(self.waited))
    }
}

/// As objects have times: microseconds.
pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_which_a_path_is_measured_are_exact() {
        let (name, from) = ("fragmentation required and DF set".to_owned(), "192.0.2.1".parse().ok());
        let (kind, time_us, time) = (None, None, None);
        let refused = Unreached { seq: Some(1), from, kind, name, mtu: Some(1_400), time_us, time };
        assert!(refused.to_string().ends_with(", packets of at most 1400 bytes go on there"), "{refused}");
        let ip = "192.0.2.1".parse().unwrap();
        let (host, socket) = ("x".to_owned(), super::super::socket::Way::Raw);
        let begins = Begins { host, address: ip, family: "IPv4", socket, size: 1_472, ttl: None };
        assert!(begins.to_string().ends_with(", 1472 bytes of data"), "{begins}");
    }
}
