//! What is the matter with a server, step by step from its name to its queues. Each step needs the one before it, so the
//! first that fails is told with what to try, and nothing is guessed beyond it.
//!
//! ```text
//!   name ▸ route ▸ icmp ▸ tcp ▸ tls ▸ kind ▸ echo ▸ queues
//! ```
//!
//! Of several addresses each is tried up to TCP, as clients do; the first that connects is looked into, and those that
//! fail beside it are named. ICMP may go unanswered and the doctor goes on: many hosts answer no ping. So may TLS: many
//! servers have none. Nothing is
//! posted anywhere; the server sees a few connections, on which it is asked what it is.

mod certificate; // what a certificate says: for whom, until when, by whom
mod kind; // what a server is, by what it answers
mod steps; // each step, and what to try when it fails

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::failure::Outcome;
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration};

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The server, with its port.
    pub target: Target,
    /// How long a step may take.
    pub wait: Duration,
}

/// How long a step may take if nothing else was asked for.
pub const WAIT: Duration = Duration::from_secs(5);

/// A step, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Step {
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
    fn name(self) -> &'static str {
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

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Good,
    /// Not there, or not answered: the next steps tell whether that matters.
    Unknown,
    Bad,
}

/// What came of a step.
#[derive(Clone, Debug, Serialize)]
struct Checked {
    step: Step,
    found: Found,
    text: String,
    took_us: u64,
}

impl Record for Checked {
    const EVENT: &'static str = "checked";
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.found {
            Found::Good => "ok    ",
            Found::Unknown => "?     ",
            Found::Bad => "FAILED",
        };
        let took = duration(Duration::from_micros(self.took_us));
        write!(f, "{mark} {:6} {} ({took})", self.step.name(), self.text)
    }
}

/// The end.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    target: Target,
    /// The first step that failed.
    failed: Option<Step>,
    /// Addresses that take no connection, beside the one that does.
    broken: Vec<SocketAddr>,
    complete: bool,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.failed, self.complete) {
            (Some(step), _) => write!(f, "{} fails at {}", self.target, step.name()),
            (None, true) if self.broken.is_empty() => write!(f, "{} is well", self.target),
            (None, true) => {
                let broken: Vec<String> = self.broken.iter().map(ToString::to_string).collect();
                write!(f, "{} is well, but not at {}", self.target, broken.join(", "))
            }
            (None, false) => write!(f, "{}: stopped before the end; nothing is wrong so far", self.target),
        }
    }
}

/// See the module's head. `Bad`: a step failed.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let ended = steps::all(asked, report, stop)?;
    let (failed, broken, stopped) = match ended {
        steps::Ended::Well(broken) => (None, broken, None),
        steps::Ended::At(step) => (Some(step), Vec::new(), None),
        steps::Ended::Stopped(stopped) => (None, Vec::new(), Some(stopped)),
    };
    let (target, complete) = (asked.target.clone(), stopped.is_none());
    report.tell(&Summary { target, failed, broken, complete })?;
    Ok(match (failed, stopped) {
        (Some(_), _) => Verdict::Bad,
        (None, Some(Stopped::TimedOut)) => Verdict::TimedOut,
        // What has not been looked at is not well.
        (None, Some(Stopped::Asked)) => Verdict::Bad,
        (None, None) => Verdict::Good,
    })
}
