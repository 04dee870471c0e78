//! What `fuzz` shows.

use std::fmt;

use serde::Serialize;
use vang_proto::text::{counted, size};

use crate::Record;

/// The first record.
#[derive(Serialize)]
pub(super) struct Begun {
    pub(super) server: String,
    pub(super) protocols: Vec<&'static str>,
    /// As text: JSON has no integers of 64 bits everywhere.
    pub(super) seed: String,
    pub(super) first: u64,
    pub(super) cases: u64,
    pub(super) rate: u32,
    /// The protocols in which an honest request was answered; the server is asked with it after each case.
    pub(super) answered: Vec<&'static str>,
}

impl Record for Begun {
    const EVENT: &'static str = "begun";
}

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Begun { server, protocols, seed, first, cases, rate, answered } = self;
        write!(f, "{server}: seed {seed}, {}", counted(*cases, "case", "cases"))?;
        if *first > 1 {
            write!(f, " from number {first}")?;
        }
        write!(f, " of {}, at most {rate} a second", protocols.join(", "))?;
        let silent: Vec<&str> = protocols.iter().filter(|name| !answered.contains(*name)).copied().collect();
        if !silent.is_empty() {
            write!(
                f,
                "\nan honest request was not answered in {}: there only connecting is tested, and a server that hangs is not \
                 seen",
                silent.join(", ")
            )?;
        }
        Ok(())
    }
}

/// The server stopped answering.
#[derive(Serialize)]
pub(super) struct Died {
    /// The number of the last case.
    pub(super) case: u64,
    pub(super) protocol: &'static str,
    pub(super) what: String,
    /// What an honest client met after it.
    pub(super) then: String,
    pub(super) bytes: usize,
    /// The bytes, quoted and shortened.
    pub(super) sent: String,
    /// Their file; missing if it could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_error: Option<String>,
    /// Sends this case again.
    pub(super) again: String,
    /// Sends the bytes again with another tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<String>,
    /// The cases before it, newest first: a server can die late.
    pub(super) before: Vec<String>,
}

impl Record for Died {
    const EVENT: &'static str = "died";
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server stopped answering after case {} ({}): {}",
            self.case, self.protocol, self.then
        )?;
        write!(f, "\nsent last: {}, {}", self.what, size(self.bytes as u64))?;
        write!(f, "\n{}", self.sent)?;
        match (&self.file, &self.file_error) {
            (Some(file), _) => write!(f, "\nsaved in {file}")?,
            (None, Some(error)) => write!(f, "\nnot saved: {error}")?,
            (None, None) => {}
        }
        if let Some(replay) = &self.replay {
            write!(f, "\nagain, after the server was started: {replay}")?;
        }
        write!(f, "\nthe same case: {}", self.again)?;
        for before in &self.before {
            write!(f, "\nbefore it: {before}")?;
        }
        Ok(())
    }
}

#[derive(Default, Serialize)]
pub(super) struct Summary {
    pub(super) cases: u64,
    pub(super) bytes: u64,
    /// How the server ended the connections that were read: with an answer, without one, with a reset, not at all.
    pub(super) answered: u64,
    pub(super) closed: u64,
    pub(super) reset: u64,
    pub(super) open: u64,
    /// Does it still answer? Missing if that was not tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) survived: Option<bool>,
    pub(super) stopped: bool,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} sent", counted(self.cases, "case", "cases"), size(self.bytes))?;
        write!(
            f,
            ": {} answered, {} closed without an answer, {} reset, {} left open",
            self.answered, self.closed, self.reset, self.open
        )?;
        match self.survived {
            Some(true) => f.write_str("; the server still answers")?,
            Some(false) => f.write_str("; the server does not answer any more")?,
            None => {}
        }
        if self.stopped { f.write_str("; stopped before the end") } else { Ok(()) }
    }
}
