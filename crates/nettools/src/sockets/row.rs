//! A socket as a record, and as a line of the table.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::short_duration;

use super::problem::{self, SocketProblem};
use super::totals::{self, Totals};
use crate::Record;
use crate::diag::{Address, Protocol, Socket, State, Tcp, Timer, spelled};
use crate::owners::{Owner, Owners};

/// Width of a column: at least its heading; a longer path only makes its own line longer.
const COLUMN: (usize, usize) = (16, 46);

/// A socket as a record.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) protocol: Protocol,
    pub(super) state: State,
    /// Unread bytes; for a listener, connections that wait for accept. `None`: unknown.
    pub(super) recv_q: Option<u32>,
    /// Unacknowledged bytes; for a listener, the backlog. `None`: unknown.
    send_q: Option<u32>,
    /// Unit of the two queues: `bytes` or `connections`.
    queues: &'static str,
    pub(super) local: Address,
    pub(super) peer: Address,
    pub(super) owners: Vec<Owner>,
    user: Option<String>,
    uid: Option<u32>,
    /// 0: no process owns it.
    pub(super) inode: u32,
    pub(super) timer: Option<Timer>,
    pub(super) tcp: Option<Tcp>,
    drops: Option<u32>,
    pub(super) trouble: Vec<SocketProblem>,
    #[serde(skip)]
    pub(super) cookie: [u8; 8],
    /// The change, with `watch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<&'static str>,
    /// With `watch`: the data since the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<Totals>,
    #[serde(skip)]
    pub(super) widths: Widths,
    /// With a second line.
    #[serde(skip)]
    pub(super) has_details: bool,
}

/// Column widths in characters, for all rows of one list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Widths {
    local: usize,
    peer: usize,
    holder: usize,
}

impl Widths {
    pub(super) fn of(rows: &[Row]) -> Widths {
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
    pub(super) fn of(socket: Socket, owners: &Owners) -> Row {
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
            more: None,
            widths: Widths::default(),
            has_details: false,
        }
    }

    /// Is anything different that is reported? A slightly different round trip is not.
    pub(super) fn differs_from(&self, before: &Row) -> bool {
        let reported =
            |row: &Row| (row.state, row.recv_q, row.send_q, row.drops, Totals::of(row.tcp.as_ref()));
        reported(self) != reported(before) || self.trouble != before.trouble
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
            totals::write_line(f, tcp, self.more.as_ref())?;
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
        match &self.tcp {
            Some(tcp) if self.has_details => totals::write_details(f, tcp),
            _ => Ok(()),
        }
    }
}

/// The heading of a list.
pub(super) fn heading(watch: bool, widths: Widths) -> String {
    let mark = if watch { "  " } else { "" };
    let Widths { local, peer, holder } = widths;
    format!(
        "{mark}{:6}{:12} {:>9} {:>9}  {:local$}  {:peer$}  {:holder$}  user",
        "proto", "state", "Recv-Q", "Send-Q", "local", "peer", "process (pid:fd)"
    )
}
