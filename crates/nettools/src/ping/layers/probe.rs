//! What a probe tells: the layers that it went through, each with its time, and the one at which it ended.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::{Record, duration};

/// From the bottom up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Step {
    #[serde(rename = "ICMP")]
    Icmp,
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "TLS")]
    Tls,
    #[serde(rename = "vang")]
    Vang,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Icmp => "ICMP",
            Step::Tcp => "TCP",
            Step::Tls => "TLS",
            Step::Vang => "vang",
        }
    }
}

/// What came of one step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Took {
    pub(super) layer: Step,
    pub(super) time_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip)]
    pub(super) time: Duration,
}

/// What came of a probe.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Probed {
    pub(super) seq: u64,
    pub(super) to: SocketAddr,
    pub(super) steps: Vec<Took>,
    /// The layer at which it ended; none: it reached the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<Step>,
}

impl Record for Probed {
    const EVENT: &'static str = "probe";
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seq {}: ", self.to, self.seq)?;
        for (n, step) in self.steps.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} ", step.layer.name())?;
            match &step.error {
                None => f.write_str(&duration(step.time))?,
                Some(error) => write!(f, "failed after {}: {error}", duration(step.time))?,
            }
        }
        Ok(())
    }
}

/// The beginning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Begins {
    pub(super) host: String,
    pub(super) to: SocketAddr,
    pub(super) family: &'static str,
    pub(super) layers: Vec<Step>,
}

impl Record for Begins {
    const EVENT: &'static str = "ping";
}

impl fmt::Display for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<&str> = self.layers.iter().map(|step| step.name()).collect();
        write!(
            f,
            "{} is {} ({}); probes go up by {}",
            if self.host.is_empty() { "the empty host" } else { &self.host },
            self.to.ip(),
            self.family,
            layers.join(", ")
        )
    }
}
