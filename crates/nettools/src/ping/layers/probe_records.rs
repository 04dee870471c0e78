//! The records of a probe: the time of each layer, and the layer at which it failed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

use crate::Record;

/// The layers, from the bottom up.
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

/// The result of one layer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StepTime {
    pub(super) layer: Step,
    pub(super) time_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip)]
    pub(super) time: Duration,
}

/// The result of a probe.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProbeRecord {
    pub(super) seq: u64,
    pub(super) to: SocketAddr,
    pub(super) steps: Vec<StepTime>,
    /// The layer at which it failed; `None`: it reached the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<Step>,
}

impl Record for ProbeRecord {
    const EVENT: &'static str = "probe";
}

impl fmt::Display for ProbeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seq {}: ", self.to, self.seq)?;
        for (n, step) in self.steps.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} ", step.layer.name())?;
            match &step.error {
                None => f.write_str(&short_duration(step.time))?,
                Some(error) => write!(f, "failed after {}: {error}", short_duration(step.time))?,
            }
        }
        Ok(())
    }
}

/// The first record.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProbesStarted {
    pub(super) host: String,
    pub(super) to: SocketAddr,
    pub(super) family: &'static str,
    pub(super) layers: Vec<Step>,
}

impl Record for ProbesStarted {
    const EVENT: &'static str = "ping";
}

impl fmt::Display for ProbesStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<&str> = self.layers.iter().map(|step| step.name()).collect();
        write!(
            f,
            "{} is {} ({}); testing layer by layer: {}",
            if self.host.is_empty() { "the empty host" } else { &self.host },
            self.to.ip(),
            self.family,
            layers.join(", ")
        )
    }
}
