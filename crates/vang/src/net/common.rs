//! What every tool of `vang net` has: its options, its `Report` and `Stop`, and an exit code for its result: 0 good, 1 bad
//! or failed, 2 wrong usage, 124 timed out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::{Outcome, Report, Stop, ToolError, Trust, Verdict};
use vang_proto::address::{self, AddressError};

use crate::args::parse_time;
use crate::say::{self, CommandError};

/// Options of every tool.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct Common {
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// End after this time, as 500ms, 5s or 2m; the summary is still printed
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Explain each step of the sockets
    #[arg(long)]
    explain: bool,
}

/// TLS of a client, and how it verifies the server.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct TlsArgs {
    /// Use TLS; without --ca or --fingerprint any server is accepted, with a warning
    #[arg(long)]
    tls: bool,
    /// Accept only a server with a certificate from an authority in this PEM file
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Accept only a server with this key, as SHA256:...
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    fingerprint: Option<String>,
}

impl TlsArgs {
    /// `None`: no TLS. A way to verify a server asks for it.
    pub(crate) fn trust(self) -> Option<Trust> {
        match (self.ca, self.fingerprint) {
            (Some(ca), _) => Some(Trust::Authorities(ca)),
            (None, Some(key)) => Some(Trust::Key(key)),
            (None, None) => self.tls.then_some(Trust::AnyCertificate),
        }
    }
}

fn parse_key(text: &str) -> Result<String, String> {
    let is_key = text.strip_prefix("SHA256:").is_some_and(|key| key.trim_end_matches('=').len() == 43);
    if is_key {
        Ok(text.to_owned())
    } else {
        Err("write a key as SHA256:... with 43 characters, as the server prints it".to_owned())
    }
}

/// A port to connect to.
pub(crate) fn parse_port(text: &str) -> Result<u16, AddressError> {
    address::parse_port(text, false)
}

/// Runs a tool with its report and stop.
pub(crate) fn with(common: &Common, tool: impl FnOnce(&Report, &Stop) -> Outcome) -> anyhow::Result<()> {
    run(common, Report::new(io::stdout(), io::stderr(), common.json, common.explain), tool)
}

/// The same for a tool that writes data on stdout: its records go to stderr.
pub(crate) fn with_stdout_taken(
    common: &Common,
    tool: impl FnOnce(&Report, &Stop) -> Outcome,
) -> anyhow::Result<()> {
    run(common, Report::new(io::stderr(), io::stderr(), common.json, common.explain), tool)
}

fn run(common: &Common, report: Report, tool: impl FnOnce(&Report, &Stop) -> Outcome) -> anyhow::Result<()> {
    let stop = Stop::after(common.timeout).and_then(Stop::on_signals);
    let stop = stop.map_err(|error| CommandError::new(format!("cannot wait for Ctrl-C: {error}")))?;
    match tool(&report, &stop) {
        Ok(Verdict::Good) => Ok(()),
        // The records already contain the problem.
        Ok(Verdict::Bad) => Err(CommandError::new("").into()),
        Ok(Verdict::TimedOut) => Err(CommandError::timed_out("timed out").into()),
        Err(cause) => Err(failure(&cause).into()),
    }
}

/// An error of a tool as the program's.
pub(crate) fn failure(cause: &ToolError) -> CommandError {
    match cause {
        ToolError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => say::nobody_reads(),
        ToolError::Usage(text) => CommandError::usage(text),
        ToolError::System { trouble, .. } if trouble.name == "timed out" => {
            CommandError::timed_out(cause.to_string()).advise(trouble.advice)
        }
        ToolError::System { trouble, .. } => CommandError::new(cause.to_string()).advise(trouble.advice),
        ToolError::AddressInUse { advice, .. } => CommandError::new(cause.to_string()).advise(advice),
        ToolError::Output(_) => CommandError::new(cause.to_string()),
    }
}
