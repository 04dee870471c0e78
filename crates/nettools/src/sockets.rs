//! Lists the sockets of this machine (of this network namespace) as `ss -tanp` and `lsof -i -n` do, with problems first and
//! explained. TCP and UDP over IPv4 and IPv6; Unix sockets on request.
//!
//! Nothing is sent and no socket is changed: the data comes from the kernel (`diag`) and `/proc` (`owners`).

mod problem; // problems of a socket
mod totals; // totals of a connection: bytes, packets, congestion control
mod row; // a socket as a line of the table

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

pub use self::problem::SocketProblem;
use self::row::{Row, Widths, heading};
use self::totals::Totals;
use crate::diag::{Address, Diag, Protocol, State, cannot, spelled};
use crate::error::{Outcome, ToolError};
pub use crate::owners::Owner;
use crate::owners::{self, NameMatch, Owners, Running};
use crate::{Record, Report, Stop, Verdict};

/// Shortest interval of `--watch`: each time all of /proc is read.
const WATCH_MIN: Duration = Duration::from_millis(50);
/// Sockets that are named in the explanation of a problem.
const NAMED_MAX: usize = 3;

/// Which sockets to show.
#[derive(Clone, Debug, Default)]
pub struct SocketsOptions {
    /// Empty: TCP and UDP.
    pub protocols: Vec<Protocol>,
    /// Empty: all.
    pub states: Vec<State>,
    /// Local or peer ports; empty: all.
    pub ports: Vec<u16>,
    /// Processes by PID or name; empty: all.
    pub processes: Vec<String>,
    /// Only sockets with a problem.
    pub only_trouble: bool,
    /// A second line for each TCP connection: congestion control, windows, times.
    pub details: bool,
    /// Repeat at this interval and report changes.
    pub watch: Option<Duration>,
}

impl SocketsOptions {
    fn wants(&self, row: &Row) -> bool {
        let port = |address: &Address| match address {
            Address::Net(address) => self.ports.contains(&address.port()),
            Address::Unix(..) => false,
        };
        let process = |wanted: &String| row.owners.iter().any(|owner| owner.name_match(wanted).is_some());
        (self.states.is_empty() || self.states.contains(&row.state))
            && (self.ports.is_empty() || port(&row.local) || port(&row.peer))
            && (self.processes.is_empty() || self.processes.iter().any(process))
            && (!self.only_trouble || !row.trouble.is_empty())
    }
}

#[derive(Clone, Debug, Serialize)]
struct Summary {
    shown: usize,
    in_trouble: usize,
    states: BTreeMap<&'static str, usize>,
    /// Source: `sock_diag`, or `proc`, which has fewer data.
    by: &'static str,
    /// Sockets whose process only root can see.
    owner_hidden: usize,
    /// Milliseconds until the last socket in time-wait ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_wait_ms: Option<u64>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} socket{}", self.shown, if self.shown == 1 { "" } else { "s" })?;
        for (index, (state, count)) in self.states.iter().enumerate() {
            write!(f, "{}{count} {state}", if index == 0 { ": " } else { ", " })?;
        }
        if self.in_trouble > 0 {
            write!(f, "; {} with problems", self.in_trouble)?;
        }
        if let Some(ms) = self.time_wait_ms {
            let (those, many) = match self.states.get(State::TimeWait.name()) {
                Some(1) => ("the one", false),
                _ => ("those", true),
            };
            write!(
                f,
                "\n{those} in time-wait {} no process: a connection that was closed here first keeps its two addresses for a \
                 minute, so that late packets reach no new connection; {} in {}",
                if many { "have" } else { "has" },
                if many { "the last one ends" } else { "it ends" },
                short_duration(Duration::from_millis(ms))
            )?;
        }
        match self.owner_hidden {
            0 => Ok(()),
            hidden => write!(f, "\nowner of {hidden} unknown: only root can see processes of other users"),
        }
    }
}

/// Lists sockets.
pub fn run(options: &SocketsOptions, report: &Report, stop: &Stop) -> Outcome {
    let mut look = Look::new(options);
    report.explain(|| {
        "asking the kernel with netlink sock_diag for the sockets of this network namespace; those of other containers are \
         not included. /proc/PID/fd shows the process of each"
            .to_owned()
    })?;
    let mut rows = look.rows()?;
    if let Some(row) = rows.first() {
        report.draw(&heading(options.watch.is_some(), row.widths))?;
    }
    let mut known = HashMap::new();
    for row in &mut rows {
        row.change = options.watch.map(|_| "opened");
        report.record(row)?;
        known.insert(row.cookie, row.clone());
    }
    look.explain_news(&rows, report)?;
    let Some(every) = options.watch else { return summary(&rows, &look, report) };
    while stop.wait(&mut [], Some(every.max(WATCH_MIN))).map_err(ToolError::from)?.is_none() {
        rows = look.rows()?;
        let mut gone = std::mem::take(&mut known);
        let mut changed = Vec::new();
        for row in &mut rows {
            row.change = match gone.remove(&row.cookie) {
                None => Some("opened"),
                Some(before) if row.differs_from(&before) => {
                    row.more = row
                        .tcp
                        .as_ref()
                        .map(|tcp| Totals::of(Some(tcp)).since(Totals::of(before.tcp.as_ref())));
                    Some("changed")
                }
                Some(_) => None,
            };
            if row.change.is_some() {
                report.record(row)?;
                changed.push(row.clone());
            }
            known.insert(row.cookie, row.clone());
        }
        for mut row in gone.into_values() {
            row.change = Some("closed");
            report.record(&row)?;
        }
        look.explain_news(&changed, report)?;
    }
    summary(&rows, &look, report)
}

/// Reads the list of sockets, once or repeatedly.
struct Look<'a> {
    options: &'a SocketsOptions,
    diag: Diag,
    protocols: Vec<Protocol>,
    hidden: usize,
    explained: Vec<SocketProblem>,
}

impl Look<'_> {
    fn new(options: &SocketsOptions) -> Look<'_> {
        let protocols = match options.protocols.as_slice() {
            [] => vec![Protocol::Tcp, Protocol::Udp],
            some => some.to_vec(),
        };
        Look { options, diag: Diag::open(), protocols, hidden: 0, explained: Vec::new() }
    }

    fn rows(&mut self) -> Result<Vec<Row>, ToolError> {
        let mut sockets = Vec::new();
        for protocol in &self.protocols {
            let doing = || format!("ask the kernel for its {protocol} sockets");
            sockets.extend(self.diag.all(*protocol).map_err(|error| cannot(&doing(), &error))?);
        }
        // After the sockets: the process of a socket can have ended meanwhile.
        let owners = Owners::read().map_err(|error| cannot("read /proc", &error))?;
        let mut rows: Vec<Row> = sockets.into_iter().map(|socket| Row::of(socket, &owners)).collect();
        forgive_short_waits(&mut rows);
        rows.retain(|row| self.options.wants(row));
        let hidden = |row: &&Row| row.inode != 0 && row.owners.is_empty() && owners.hidden > 0;
        self.hidden = rows.iter().filter(hidden).count();
        rows.sort_by_cached_key(|row| {
            let worst = row.trouble.first().copied();
            (worst.is_none(), worst, row.protocol, row.state, row.local.to_string())
        });
        let widths = Widths::of(&rows);
        for row in &mut rows {
            (row.widths, row.has_details) = (widths, self.options.details);
        }
        Ok(rows)
    }

    /// With `watch` each kind of problem is explained once.
    fn explain_news(&mut self, rows: &[Row], report: &Report) -> io::Result<()> {
        let mut news = rows.to_vec();
        for row in &mut news {
            row.trouble.retain(|trouble| !self.explained.contains(trouble));
        }
        explain_trouble(&news, report)?;
        self.explained.extend(news.iter().flat_map(|row| row.trouble.iter().copied()));
        Ok(())
    }
}

/// Connections that wait for accept are a problem only if one of them is old, which only the connections show. For Unix
/// sockets their age is unknown, so the problem stays.
fn forgive_short_waits(rows: &mut [Row]) {
    let port = |address: &Address| match address {
        Address::Net(address) => Some(address.port()),
        Address::Unix(..) => None,
    };
    let old: HashSet<Option<u16>> = rows
        .iter()
        .filter(|row| row.trouble.contains(&SocketProblem::NotAccepted))
        .map(|row| port(&row.local))
        .collect();
    for row in rows.iter_mut().filter(|row| row.protocol == Protocol::Tcp) {
        let forgiven = !old.contains(&port(&row.local));
        row.trouble.retain(|trouble| *trouble != SocketProblem::AcceptQueueWaiting || !forgiven);
    }
}

/// Explains each kind of problem once, with the first sockets that have it.
fn explain_trouble(rows: &[Row], report: &Report) -> io::Result<()> {
    let mut kinds: BTreeMap<SocketProblem, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        for trouble in &row.trouble {
            kinds.entry(*trouble).or_default().push(row);
        }
    }
    for (trouble, rows) in kinds {
        let named: Vec<String> = rows.iter().take(NAMED_MAX).map(|row| row.local.to_string()).collect();
        let more = match rows.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        report.means(&format!("{} ({}{more}): {}", trouble.name(), named.join(", "), trouble.means()))?;
    }
    Ok(())
}

fn summary(rows: &[Row], look: &Look<'_>, report: &Report) -> Outcome {
    let mut states = BTreeMap::new();
    for row in rows {
        *states.entry(row.state.name()).or_default() += 1;
    }
    let in_trouble = rows.iter().filter(|row| !row.trouble.is_empty()).count();
    let by = if look.diag.without().is_some() { "proc" } else { "sock_diag" };
    let waiting = rows.iter().filter(|row| row.state == State::TimeWait);
    let time_wait_ms = waiting.map(|row| row.timer.as_ref().map_or(0, |timer| timer.in_ms)).max();
    let owner_hidden = look.hidden;
    report.record(&Summary { shown: rows.len(), in_trouble, states, by, owner_hidden, time_wait_ms })?;
    if let Some(why) = look.diag.without() {
        report.means(&format!(
            "{why}, so the tables in /proc/net were read. They do not contain round trips, retransmissions, waiting times of \
             bytes and connections (so only timers show problems), the backlog, and for Unix sockets the queues and the \
             peer"
        ))?;
    }
    explain_matches(rows, &look.options.processes, report)?;
    let is_checked = explain_missing(rows, &look.options.processes, report)?;
    Ok(if in_trouble > 0 || !is_checked { Verdict::Bad } else { Verdict::Good })
}

/// Names the processes that were found by a name without their version.
fn explain_matches(rows: &[Row], wanted: &[String], report: &Report) -> io::Result<()> {
    for wanted in wanted {
        let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for owner in rows.iter().flat_map(|row| &row.owners) {
            if let Some(NameMatch::Version(name)) = owner.name_match(wanted) {
                found.entry(name).or_default().insert(owner.pid);
            }
        }
        for (name, pids) in found {
            let shown: Vec<String> = pids.iter().take(NAMED_MAX).map(u32::to_string).collect();
            let more = match pids.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let process = if pids.len() == 1 { "process" } else { "processes" };
            report.means(&format!(
                "'{wanted}' also stands for the name with a version: {} ({process} {}{more})",
                spelled(&name),
                shown.join(", ")
            ))?;
        }
    }
    Ok(())
}

/// Explains why a requested process has no socket in the list. `false`: unknown for one of them.
fn explain_missing(rows: &[Row], wanted: &[String], report: &Report) -> Result<bool, ToolError> {
    let mut is_checked = true;
    let has_none = |wanted: &&String| {
        !rows.iter().flat_map(|row| &row.owners).any(|owner| owner.name_match(wanted).is_some())
    };
    for wanted in wanted.iter().filter(has_none) {
        match owners::running(wanted).map_err(|error| cannot("read /proc", &error))? {
            Running::Nowhere => {
                is_checked = false;
                report.means(&format!(
                    "no process has the name or PID '{wanted}'; `ps -e -o pid,comm` lists all processes"
                ))?;
            }
            Running::Hidden(pid) => {
                is_checked = false;
                report.means(&format!("'{wanted}' is process {pid}; only root can see its sockets"))?;
            }
            Running::Seen(pid) => {
                report
                    .means(&format!("'{wanted}' is process {pid}; it has none of the requested sockets"))?;
            }
        }
    }
    Ok(is_checked)
}

#[cfg(test)]
mod tests;
