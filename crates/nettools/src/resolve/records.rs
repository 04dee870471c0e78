//! What `resolve` shows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{counted, short_duration};

use crate::Record;

/// One address.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Address {
    /// Position in the resolver's list, from 1.
    pub(super) place: usize,
    pub(super) family: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// The protocol's name; `any` for raw sockets.
    pub(super) protocol: &'static str,
    /// `ai_canonname`: the first entry of a name has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) canonical: Option<String>,
    pub(super) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// IPv6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flow_info: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<u32>,
    /// `connect` or `listen`, where it makes a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purpose: Option<&'static str>,
    /// Scope of the address, as text.
    pub(super) reach: &'static str,
}

impl Record for Address {
    const EVENT: &'static str = "address";
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match (self.address, self.port) {
            (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
            (ip, Some(port)) => format!("{ip}:{port}"),
            (ip, None) => ip.to_string(),
        };
        write!(f, "{}. {}  {:6}  {:4}  {shown}", self.place, self.family, self.kind, self.protocol)?;
        if let (Some(flow), Some(scope)) = (self.flow_info, self.scope) {
            write!(f, "  flow info {flow}, scope {scope}")?;
        }
        write!(f, "  ({})", self.reach)?;
        if let Some(canonical) = &self.canonical {
            write!(f, "  canonical name {canonical}")?;
        }
        match self.purpose {
            Some("listen") => f.write_str("  to listen on"),
            Some(_) => f.write_str("  to connect to"),
            None => Ok(()),
        }
    }
}

/// The result of connecting to one address.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tried {
    pub(super) address: SocketAddr,
    pub(super) connected: bool,
    pub(super) took_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip)]
    pub(super) took: Duration,
    #[serde(skip)]
    pub(super) advice: &'static str,
}

impl Record for Tried {
    const EVENT: &'static str = "tried";
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(self.took);
        match &self.error {
            None => write!(f, "{} connected in {took}", self.address),
            Some(error) => write!(f, "{} failed after {took}: {error}", self.address),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) host: String,
    /// Different addresses; each has an entry for every socket type.
    pub(super) addresses: usize,
    /// Time of the lookup; `None`: stopped before the resolver answered.
    pub(super) resolved_us: Option<f64>,
    /// Addresses that were tried, and addresses that accepted.
    pub(super) tried: usize,
    pub(super) connected: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) won: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) family: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = if self.host.is_empty() { "the empty host" } else { &self.host };
        let Some(resolved_us) = self.resolved_us else {
            return write!(f, "{named}: stopped before the resolver answered");
        };
        let addresses = counted(self.addresses as u64, "address", "addresses");
        write!(
            f,
            "{named}: {addresses}, resolved in {}",
            short_duration(Duration::from_secs_f64(resolved_us / 1e6))
        )?;
        if self.tried > 0 {
            write!(f, "; {} of {} connected", self.connected, self.tried)?;
        }
        match (&self.family, &self.why) {
            (Some(family), Some(why)) => write!(f, "; {family} is used: {why}"),
            _ => Ok(()),
        }
    }
}
