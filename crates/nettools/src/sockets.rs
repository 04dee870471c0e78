//! Every socket of this machine (of this network namespace): what `ss -tanp` and `lsof -i -n` show, sorted by what is
//! wrong with it, and that in words. TCP and UDP over IPv4 and IPv6, Unix sockets where asked for.
//!
//! Nothing is sent and no socket is touched: the kernel is asked (`diag`), and `/proc` (`owners`).

mod trouble; // what is wrong with a socket

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;

pub use self::trouble::Trouble;
use crate::diag::{Address, Diag, Protocol, Socket, State, Tcp, Timer, cannot, spelled};
use crate::failure::{Failure, Outcome};
pub use crate::owners::Owner;
use crate::owners::{self, Owners, Running};
use crate::{Record, Report, Stop, Verdict, duration};

/// Looking costs: all of /proc is read each time.
const WATCH_MIN: Duration = Duration::from_millis(50);
/// Columns are no narrower than their headings, and a long path makes its own line long, not every line.
const COLUMN: (usize, usize) = (16, 46);
/// So many sockets of a kind of trouble are named where it is explained.
const NAMED_MAX: usize = 3;

/// Which sockets are shown.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Of these kinds; none: TCP and UDP.
    pub protocols: Vec<Protocol>,
    /// In one of these states; none: in any.
    pub states: Vec<State>,
    /// With one of these ports, their own or the other side's; none: with any.
    pub ports: Vec<u16>,
    /// Of one of these processes, by number or name; none: of any.
    pub processes: Vec<String>,
    /// Only those with which something is wrong.
    pub only_trouble: bool,
    /// Goes on, and after each such time tells what has changed.
    pub watch: Option<Duration>,
}

impl Asked {
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

/// A socket, as it is shown.
#[derive(Clone, Debug, Serialize)]
struct Row {
    protocol: Protocol,
    state: State,
    /// Bytes that its program has not read, or, listening, connections that wait for accept; `None`: not known.
    recv_q: Option<u32>,
    /// Bytes that are not acknowledged, or, listening, how many connections may wait; `None`: not known.
    send_q: Option<u32>,
    /// What the two count.
    queues: &'static str,
    local: Address,
    peer: Address,
    owners: Vec<Owner>,
    user: Option<String>,
    uid: Option<u32>,
    /// 0: it belongs to no process.
    inode: u32,
    timer: Option<Timer>,
    tcp: Option<Tcp>,
    drops: Option<u32>,
    trouble: Vec<Trouble>,
    #[serde(skip)]
    cookie: [u8; 8],
    /// What has changed, under `watch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip)]
    widths: Widths,
}

/// As wide as the columns that differ most have to be, in characters: of one look, so that its lines are a table.
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
            trouble: trouble::of(&socket),
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

    /// What a person watches for: a round trip that is a microsecond longer is no change.
    fn face(&self) -> (State, Option<u32>, Option<u32>, &[Trouble], Option<u32>) {
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
                write!(f, "  rtt {}", duration(Duration::from_micros(u64::from(tcp.rtt_us))))?;
            }
            if tcp.retransmitted > 0 {
                write!(f, "  resent {}", tcp.retransmitted)?;
            }
        }
        if let Some(Timer { kind, in_ms, fired }) = &self.timer {
            match in_ms {
                0 => write!(f, "  {kind} due")?,
                in_ms => write!(f, "  {kind} in {}", duration(Duration::from_millis(*in_ms)))?,
            }
            if *fired > 0 {
                write!(f, " (after {fired})")?;
            }
        }
        // Of a TCP connection it counts segments outside the window too, which is nothing.
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

/// What was shown, and what could not be.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    shown: usize,
    in_trouble: usize,
    states: BTreeMap<&'static str, usize>,
    /// Who told: `sock_diag`, or `proc`, which knows less.
    by: &'static str,
    /// Sockets of processes into which only root may look.
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
            write!(f, "; {} in trouble", self.in_trouble)?;
        }
        match self.owner_hidden {
            0 => Ok(()),
            hidden => write!(
                f,
                "\nwhose {hidden} of them are cannot be seen: only root may look into other users' processes"
            ),
        }
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let mut look = Look::new(asked);
    report.explain(|| {
        "asking the kernel by netlink sock_diag for the sockets of this network namespace; other containers' are not \
         among them. /proc/PID/fd says whose each is"
            .to_owned()
    })?;
    let mut rows = look.rows()?;
    if let Some(row) = rows.first() {
        report.draw(&heading(asked.watch.is_some(), row.widths))?;
    }
    let mut known = HashMap::new();
    for row in &mut rows {
        row.change = asked.watch.map(|_| "opened");
        report.tell(row)?;
        known.insert(row.cookie, row.clone());
    }
    look.explain_news(&rows, report)?;
    let Some(every) = asked.watch else { return summary(&rows, &look, report) };
    while stop.wait(&mut [], Some(every.max(WATCH_MIN))).map_err(Failure::from)?.is_none() {
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
                report.tell(row)?;
                changed.push(row.clone());
            }
            known.insert(row.cookie, row.clone());
        }
        for mut row in gone.into_values() {
            row.change = Some("closed");
            report.tell(&row)?;
        }
        look.explain_news(&changed, report)?;
    }
    summary(&rows, &look, report)
}

/// One look after the other.
struct Look<'a> {
    asked: &'a Asked,
    diag: Diag,
    protocols: Vec<Protocol>,
    hidden: usize,
    explained: Vec<Trouble>,
}

impl Look<'_> {
    fn new(asked: &Asked) -> Look<'_> {
        let protocols = match asked.protocols.as_slice() {
            [] => vec![Protocol::Tcp, Protocol::Udp],
            some => some.to_vec(),
        };
        Look { asked, diag: Diag::open(), protocols, hidden: 0, explained: Vec::new() }
    }

    fn rows(&mut self) -> Result<Vec<Row>, Failure> {
        let mut sockets = Vec::new();
        for protocol in &self.protocols {
            let doing = || format!("ask the kernel for its {protocol} sockets");
            sockets.extend(self.diag.all(*protocol).map_err(|error| cannot(&doing(), &error))?);
        }
        // After the sockets: whose process has ended meanwhile, that socket is nobody's.
        let owners = Owners::read().map_err(|error| cannot("read /proc", &error))?;
        let mut rows: Vec<Row> = sockets.into_iter().map(|socket| Row::of(socket, &owners)).collect();
        forgive_short_waits(&mut rows);
        rows.retain(|row| self.asked.wants(row));
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

    /// Under `watch`: each kind of trouble is explained when it is met first.
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

/// Connections that wait for accept are trouble when one of them is old; the listening socket itself does not know.
/// Of a Unix socket nothing says how old they are: there it stays.
fn forgive_short_waits(rows: &mut [Row]) {
    let port = |address: &Address| match address {
        Address::Net(address) => Some(address.port()),
        Address::Unix(..) => None,
    };
    let old: HashSet<Option<u16>> = rows
        .iter()
        .filter(|row| row.trouble.contains(&Trouble::NotAccepted))
        .map(|row| port(&row.local))
        .collect();
    for row in rows.iter_mut().filter(|row| row.protocol == Protocol::Tcp) {
        let forgiven = !old.contains(&port(&row.local));
        row.trouble.retain(|trouble| *trouble != Trouble::AcceptQueueWaiting || !forgiven);
    }
}

/// Each kind of trouble once, with the first sockets that have it.
fn explain_trouble(rows: &[Row], report: &Report) -> io::Result<()> {
    let mut kinds: BTreeMap<Trouble, Vec<&Row>> = BTreeMap::new();
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
    report.tell(&Summary { shown: rows.len(), in_trouble, states, by, owner_hidden: look.hidden })?;
    if let Some(why) = look.diag.without() {
        report.means(&format!(
            "{why}, so that the tables in /proc/net were read. What they do not hold is not known: round trips, \
             segments sent again, how long bytes and connections wait (so that only timers show trouble), how many \
             may wait to be accepted, and of Unix sockets the queues and the other end"
        ))?;
    }
    let is_checked = explain_missing(rows, &look.asked.processes, report)?;
    Ok(if in_trouble > 0 || !is_checked { Verdict::Bad } else { Verdict::Good })
}

/// Why a process that was asked for has no socket here. `false`: of one of them nothing can be said.
fn explain_missing(rows: &[Row], wanted: &[String], report: &Report) -> Result<bool, Failure> {
    let mut is_checked = true;
    let has_none =
        |wanted: &&String| !rows.iter().flat_map(|row| &row.owners).any(|owner| owner.is_called(wanted));
    for wanted in wanted.iter().filter(has_none) {
        match owners::running(wanted).map_err(|error| cannot("read /proc", &error))? {
            Running::Nowhere => {
                is_checked = false;
                report.means(&format!(
                    "no process has the name or the number '{wanted}'; `ps -e -o pid,comm` lists all that there are"
                ))?;
            }
            Running::Hidden(pid) => {
                is_checked = false;
                report.means(&format!(
                    "'{wanted}' is process {pid}, into which only root may look: whether a socket is its own cannot be seen"
                ))?;
            }
            Running::Seen(pid) => {
                report.means(&format!(
                    "'{wanted}' is process {pid}, and it has no socket of those asked for"
                ))?;
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
