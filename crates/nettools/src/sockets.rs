//! Lists the sockets of this machine (of this network namespace) as `ss -tanp` and `lsof -i -n` do, with problems first and
//! explained. TCP and UDP over IPv4 and IPv6; Unix sockets on request.
//!
//! Nothing is sent and no socket is changed: the data comes from the kernel (`diag`) and `/proc` (`owners`).

mod problem; // problems of a socket

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

pub use self::problem::SocketProblem;
use crate::diag::{Address, Diag, Protocol, Socket, State, Tcp, Timer, cannot, spelled};
use crate::error::{Outcome, ToolError};
pub use crate::owners::Owner;
use crate::owners::{self, Owners, Running};
use crate::{Record, Report, Stop, Verdict};

/// Shortest interval of `--watch`: each time all of /proc is read.
const WATCH_MIN: Duration = Duration::from_millis(50);
/// Width of a column: at least its heading; a longer path only makes its own line longer.
const COLUMN: (usize, usize) = (16, 46);
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
    /// Repeat at this interval and report changes.
    pub watch: Option<Duration>,
}

impl SocketsOptions {
    fn wants(&self, row: &Row) -> bool {
        let port = |address: &Address| match address {
            Address::Net(address) => self.ports.contains(&address.port()),
            Address::Unix(..) => false,
        };
        let process = |wanted: &String| row.owners.iter().any(|owner| owner.is_called(wanted));
        (self.states.is_empty() || self.states.contains(&row.state))
            && (self.ports.is_empty() || port(&row.local) || port(&row.peer))
            && (self.processes.is_empty() || self.processes.iter().any(process))
            && (!self.only_trouble || !row.trouble.is_empty())
    }
}

/// A socket as a record.
#[derive(Clone, Debug, Serialize)]
struct Row {
    protocol: Protocol,
    state: State,
    /// Unread bytes; for a listener, connections that wait for accept. `None`: unknown.
    recv_q: Option<u32>,
    /// Unacknowledged bytes; for a listener, the backlog. `None`: unknown.
    send_q: Option<u32>,
    /// Unit of the two queues: `bytes` or `connections`.
    queues: &'static str,
    local: Address,
    peer: Address,
    owners: Vec<Owner>,
    user: Option<String>,
    uid: Option<u32>,
    /// 0: no process owns it.
    inode: u32,
    timer: Option<Timer>,
    tcp: Option<Tcp>,
    drops: Option<u32>,
    trouble: Vec<SocketProblem>,
    #[serde(skip)]
    cookie: [u8; 8],
    /// The change, with `watch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip)]
    widths: Widths,
}

/// Column widths in characters, for all rows of one list.
#[derive(Clone, Copy, Debug, Default)]
struct Widths {
    local: usize,
    peer: usize,
    holder: usize,
}

impl Widths {
    fn of(rows: &[Row]) -> Widths {
        let widest = |text: &dyn Fn(&Row) -> String| {
            let widths = rows.iter().map(|row| text(row).chars().count());
            widths.max().unwrap_or(0).clamp(COLUMN.0, COLUMN.1)
        };
        Widths {
            local: widest(&|row| row.local.to_string()),
            peer: widest(&|row| row.peer.to_string()),
            holder: widest(&Row::held_by),
        }
    }
}

impl Row {
    fn of(socket: Socket, owners: &Owners) -> Row {
        let holders = owners.of(socket.inode).to_vec();
        let uid = socket.uid.or_else(|| holders.first().map(|owner| owner.uid));
        Row {
            trouble: problem::of(&socket),
            protocol: socket.protocol,
            state: socket.state,
            recv_q: socket.recv_q,
            send_q: socket.send_q,
            queues: if socket.state == State::Listen { "connections" } else { "bytes" },
            local: socket.local,
            peer: socket.peer,
            user: uid.map(|uid| owners.user(uid)),
            uid,
            inode: socket.inode,
            owners: holders,
            timer: socket.timer,
            drops: socket.memory.map(|memory| memory.drops).filter(|drops| *drops > 0),
            tcp: socket.tcp,
            cookie: socket.cookie,
            change: None,
            widths: Widths::default(),
        }
    }

    /// The fields whose change is reported; a slightly different round trip is not.
    fn face(&self) -> (State, Option<u32>, Option<u32>, &[SocketProblem], Option<u32>) {
        (self.state, self.recv_q, self.send_q, &self.trouble, self.drops)
    }

    fn held_by(&self) -> String {
        let [owner, others @ ..] = self.owners.as_slice() else { return "-".to_owned() };
        let more = if others.is_empty() { String::new() } else { format!(" +{}", others.len()) };
        format!("{} ({}:{}){more}", spelled(&owner.process), owner.pid, owner.fd)
    }
}

impl Record for Row {
    const EVENT: &'static str = "socket";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.change {
            Some("opened") => "+ ",
            Some("closed") => "- ",
            Some(_) => "~ ",
            None => "",
        };
        let number = |queue: Option<u32>| queue.map_or("?".to_owned(), |queue| queue.to_string());
        let (recv, send) = match self.state {
            State::Listen => {
                (format!("{} waiting", number(self.recv_q)), format!("of {}", number(self.send_q)))
            }
            _ => (number(self.recv_q), number(self.send_q)),
        };
        let user = self.user.as_deref().map_or("-".to_owned(), spelled);
        let (protocol, state) = (self.protocol, self.state);
        let (local, peer, holder) = (&self.local, &self.peer, self.held_by());
        write!(f, "{mark}{protocol:6}{state:12} {recv:>9} {send:>9}  ")?;
        let Widths { local: wide, peer: peer_wide, holder: holder_wide } = self.widths;
        write!(f, "{local:wide$}  {peer:peer_wide$}  {holder:holder_wide$}  {user}")?;
        if let Some(tcp) = &self.tcp {
            if tcp.rtt_us > 0 {
                write!(f, "  rtt {}", short_duration(Duration::from_micros(u64::from(tcp.rtt_us))))?;
            }
            if tcp.retransmitted > 0 {
                write!(f, "  resent {}", tcp.retransmitted)?;
            }
        }
        if let Some(Timer { kind, in_ms, fired }) = &self.timer {
            match in_ms {
                0 => write!(f, "  {kind} due")?,
                in_ms => write!(f, "  {kind} in {}", short_duration(Duration::from_millis(*in_ms)))?,
            }
            if *fired > 0 {
                write!(f, " (after {fired})")?;
            }
        }
        // For TCP connections the counter includes segments outside the window, which are harmless.
        if let Some(drops) = self.drops
            && (self.protocol == Protocol::Udp || self.state == State::Listen)
        {
            write!(f, "  dropped {drops}")?;
        }
        for (index, trouble) in self.trouble.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "  ! " } else { ", " }, trouble.name())?;
        }
        Ok(())
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
                Some(before) if before.face() != row.face() => Some("changed"),
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
        rows.iter_mut().for_each(|row| row.widths = widths);
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
    report.record(&Summary { shown: rows.len(), in_trouble, states, by, owner_hidden: look.hidden })?;
    if let Some(why) = look.diag.without() {
        report.means(&format!(
            "{why}, so the tables in /proc/net were read. They do not contain round trips, retransmissions, waiting times of \
             bytes and connections (so only timers show problems), the backlog, and for Unix sockets the queues and the \
             peer"
        ))?;
    }
    let is_checked = explain_missing(rows, &look.options.processes, report)?;
    Ok(if in_trouble > 0 || !is_checked { Verdict::Bad } else { Verdict::Good })
}

/// Explains why a requested process has no socket in the list. `false`: unknown for one of them.
fn explain_missing(rows: &[Row], wanted: &[String], report: &Report) -> Result<bool, ToolError> {
    let mut is_checked = true;
    let has_none =
        |wanted: &&String| !rows.iter().flat_map(|row| &row.owners).any(|owner| owner.is_called(wanted));
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

fn heading(watch: bool, widths: Widths) -> String {
    let mark = if watch { "  " } else { "" };
    let Widths { local, peer, holder } = widths;
    format!(
        "{mark}{:6}{:12} {:>9} {:>9}  {:local$}  {:peer$}  {:holder$}  user",
        "proto", "state", "Recv-Q", "Send-Q", "local", "peer", "process (pid:fd)"
    )
}

#[cfg(test)]
mod tests;
