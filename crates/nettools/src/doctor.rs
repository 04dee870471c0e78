//! Finds out why a server does not work, step by step from its name to its queues. Each step needs the one before it, so
//! the first failing step is reported with advice, and later steps are not tried.
//!
//! ```text
//!   name ▸ route ▸ icmp ▸ tcp ▸ tls ▸ kind ▸ echo ▸ queues
//! ```
//!
//! Each address of a name is tested up to TCP, as clients do; the first that connects is examined further, and failing ones
//! are named. A missing answer to ICMP or TLS does not end the test, because many hosts answer no ping and many servers
//! have no TLS. Nothing is posted; the server sees a few connections with harmless requests.

mod records; // the steps, and what came of each
mod certificate; // names, issuer and validity of a certificate
mod kind; // detects the kind of server by its answer
mod steps; // the steps, and advice when one fails

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

pub use self::records::DoctorOptions;
use self::records::Step;
use crate::error::Outcome;
use crate::{Record, Report, Stop, Stopped, Target, Verdict};

/// Default time limit of a step.
pub const WAIT: Duration = Duration::from_secs(5);

/// The last record.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    target: Target,
    /// The first step that failed.
    failed: Option<Step>,
    /// Addresses that do not accept connections, besides one that does.
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
            (None, true) if self.broken.is_empty() => write!(f, "{} works", self.target),
            (None, true) => {
                let broken: Vec<String> = self.broken.iter().map(ToString::to_string).collect();
                write!(f, "{} works, but not at {}", self.target, broken.join(", "))
            }
            (None, false) => write!(f, "{}: stopped before the end; no problem found so far", self.target),
        }
    }
}

/// Runs all steps. `Bad`: a step failed.
pub fn run(options: &DoctorOptions, report: &Report, stop: &Stop) -> Outcome {
    let ended = steps::all(options, report, stop)?;
    let (failed, broken, stopped) = match ended {
        steps::Diagnosis::Well(broken) => (None, broken, None),
        steps::Diagnosis::At(step) => (Some(step), Vec::new(), None),
        steps::Diagnosis::Stopped(stopped) => (None, Vec::new(), Some(stopped)),
    };
    let (target, complete) = (options.target.clone(), stopped.is_none());
    report.record(&Summary { target, failed, broken, complete })?;
    Ok(match (failed, stopped) {
        (Some(_), _) => Verdict::Bad,
        (None, Some(Stopped::TimedOut)) => Verdict::TimedOut,
        // Untested steps do not count as good.
        (None, Some(Stopped::Requested)) => Verdict::Bad,
        (None, None) => Verdict::Good,
    })
}
