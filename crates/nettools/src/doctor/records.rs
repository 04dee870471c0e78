//! What the doctor is to look at, its steps, and the record of each.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

use crate::{Record, Target};

/// What to test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorOptions {
    /// The server, with its port.
    pub target: Target,
    /// Time limit of a step.
    pub wait: Duration,
}

/// The steps, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    Name,
    Route,
    Icmp,
    Tcp,
    Tls,
    Kind,
    Echo,
    Queues,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Name => "name",
            Step::Route => "route",
            Step::Icmp => "icmp",
            Step::Tcp => "tcp",
            Step::Tls => "tls",
            Step::Kind => "kind",
            Step::Echo => "echo",
            Step::Queues => "queues",
        }
    }
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Good,
    /// Absent, skipped or unanswered; later steps show whether it matters.
    Unknown,
    Bad,
}

/// The record of a step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StepRecord {
    pub(super) step: Step,
    pub(super) found: Status,
    pub(super) text: String,
    pub(super) took_us: u64,
}

impl Record for StepRecord {
    const EVENT: &'static str = "checked";
}

impl fmt::Display for StepRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.found {
            Status::Good => "ok    ",
            Status::Unknown => "?     ",
            Status::Bad => "FAILED",
        };
        let took = short_duration(Duration::from_micros(self.took_us));
        write!(f, "{mark} {:6} {} ({took})", self.step.name(), self.text)
    }
}
