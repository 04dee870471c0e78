//! What is wrong with a socket, by name. Only what the kernel's numbers prove: bytes that have lain unread for a
//! while, not bytes that came just now; the sentences say what each means and what to do.

use serde::Serialize;

use crate::diag::{Protocol, Socket, State, Tcp};

/// What a program should have dealt with long since, in milliseconds: a busy one is quicker, a stuck one is not.
pub(super) const LONG_MS: u32 = 500;
/// So many segments sent again are weather; from here on they are counted against what was sent.
const RETRANSMITTED_MIN: u32 = 10;
/// One segment in this many sent again: people notice.
const RETRANSMITTED_SHARE: u32 = 50;

/// What is wrong, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The backlog is full.
    AcceptQueueFull,
    /// Nothing that was sent is acknowledged.
    NothingAcknowledged,
    /// Nobody answers to a connection that was asked for.
    NoAnswer,
    /// The other side takes nothing more.
    PeerDoesNotRead,
    /// Its program leaves what came unread.
    NotRead,
    /// The other side has closed; its program has not.
    NotClosed,
    /// Datagrams were thrown away.
    Dropped,
    /// It stands, and no program has taken it.
    NotAccepted,
    /// Connections wait for `accept(2)`.
    AcceptQueueWaiting,
    /// Much had to be sent again.
    Lossy,
    /// Closed here, open there.
    HalfClosed,
}

impl Trouble {
    /// A word or two, beside the socket.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::AcceptQueueFull => "accept queue full",
            Trouble::NothingAcknowledged => "nothing acknowledged",
            Trouble::NoAnswer => "no answer",
            Trouble::PeerDoesNotRead => "peer does not read",
            Trouble::NotRead => "not read",
            Trouble::NotClosed => "not closed",
            Trouble::Dropped => "datagrams dropped",
            Trouble::NotAccepted => "not accepted",
            Trouble::AcceptQueueWaiting => "waiting for accept",
            Trouble::Lossy => "lossy path",
            Trouble::HalfClosed => "half-closed",
        }
    }

    /// What this means, and what to do.
    pub fn means(self) -> &'static str {
        match self {
            Trouble::AcceptQueueFull => {
                "as many connections wait as may (Recv-Q above Send-Q): the kernel drops whoever comes next, who then \
                 sees a slow connect or a time-out. The program must call accept faster, or listen with a longer \
                 backlog (net.core.somaxconn is its limit)"
            }
            Trouble::NothingAcknowledged => {
                "what was sent is sent again and again, each time later, and nothing comes back: the other host is \
                 off, the way to it is cut, or a firewall drops what it sends. It ends by itself, with ETIMEDOUT, \
                 after about 15 minutes"
            }
            Trouble::NoAnswer => {
                "it asked for a connection and nobody answers, not even to refuse: the host is off, a firewall drops \
                 the request, or the accept queue there is full"
            }
            Trouble::PeerDoesNotRead => {
                "the other side's window is zero: its Recv-Q is full because its program does not read. What is \
                 written here stays in Send-Q until write would block; the kernel asks now and then (zero-window \
                 probe) whether there is room again"
            }
            Trouble::NotRead => {
                "bytes lie in Recv-Q and the program has not read them for half a second or more: it is busy, \
                 stopped, or does not want them. When the queue is full the other side cannot send any more"
            }
            Trouble::NotClosed => {
                "the other side has closed (the end of file counts as a byte of Recv-Q until it is read), and the program keeps its end open: as a \
                 rule it forgot to close, and each such socket costs it a descriptor"
            }
            Trouble::Dropped => {
                "datagrams came while the receive queue was full, and the kernel threw them away; UDP tells nobody. \
                 The program must read faster or ask for a larger SO_RCVBUF"
            }
            Trouble::NotAccepted => {
                "the kernel has made the connection, and no program has accepted it: the client may think that it is \
                 being served. It belongs to no process until then"
            }
            Trouble::AcceptQueueWaiting => {
                "connections are made and wait for accept: for a moment that is nothing; if it stays, the program is \
                 busy or stopped"
            }
            Trouble::Lossy => {
                "one segment in fifty or more had to be sent again: the way between is lossy or crowded, and each \
                 loss costs at least a round trip"
            }
            Trouble::HalfClosed => {
                "this side has said that it sends no more and waits for the other side to close as well; receiving \
                 still works. If no process has it any more, the kernel gives it up after net.ipv4.tcp_fin_timeout"
            }
        }
    }
}

/// What is wrong with this socket by itself, the worst first.
pub(super) fn of(socket: &Socket) -> Vec<Trouble> {
    let mut found = match (socket.protocol, socket.state) {
        (_, State::Listen) => listening(socket),
        (Protocol::Tcp, _) => connection(socket),
        (Protocol::Udp, _) => {
            let dropped = socket.memory.as_ref().is_some_and(|memory| memory.drops > 0);
            if dropped { vec![Trouble::Dropped] } else { Vec::new() }
        }
        // The kernel does not say since when.
        (Protocol::Unix, _) => Vec::new(),
    };
    found.sort_unstable();
    found
}

/// The kernel lets one more wait than the backlog says; Unix sockets likewise.
fn listening(socket: &Socket) -> Vec<Trouble> {
    match (socket.recv_q, socket.send_q) {
        (None | Some(0), _) => Vec::new(),
        (Some(waiting), Some(backlog)) if waiting > backlog => vec![Trouble::AcceptQueueFull],
        _ => vec![Trouble::AcceptQueueWaiting],
    }
}

fn connection(socket: &Socket) -> Vec<Trouble> {
    let mut found = Vec::new();
    if socket.state == State::SynReceived {
        return found;
    }
    let timer = socket.timer.as_ref();
    let window_is_shut = |tcp: &Tcp| socket.send_q > Some(0) && tcp.peer_window == 0 && tcp.not_sent > 0;
    let retransmits = timer.is_some_and(|timer| timer.kind == "retransmit" && timer.fired > 0);
    if retransmits && socket.state == State::SynSent {
        found.push(Trouble::NoAnswer);
    } else if timer.is_some_and(|timer| timer.kind == "zero-window probe")
        || socket.tcp.as_ref().is_some_and(window_is_shut)
    {
        found.push(Trouble::PeerDoesNotRead);
    } else if retransmits {
        found.push(Trouble::NothingAcknowledged);
    }
    // Without it the kernel does not say since when, and what came just now is no trouble.
    let Some(tcp) = &socket.tcp else { return found };
    let quiet = tcp.last_data_ms >= LONG_MS && tcp.last_ack_ms >= LONG_MS;
    let old = tcp.last_data_ms >= LONG_MS;
    if matches!(socket.state, State::Established | State::CloseWait) && socket.inode == 0 && old {
        found.push(Trouble::NotAccepted);
    } else if old && unread(socket) {
        found.push(Trouble::NotRead);
    }
    if socket.state == State::CloseWait && quiet {
        found.push(Trouble::NotClosed);
    }
    if matches!(socket.state, State::FinWait1 | State::FinWait2) && quiet {
        found.push(Trouble::HalfClosed);
    }
    if tcp.retransmitted >= RETRANSMITTED_MIN
        && tcp.retransmitted.saturating_mul(RETRANSMITTED_SHARE) >= tcp.segments_sent
    {
        found.push(Trouble::Lossy);
    }
    found
}

/// Once the peer has closed, its end of file counts as a byte of Recv-Q.
fn unread(socket: &Socket) -> bool {
    match socket.state {
        State::Established | State::FinWait1 | State::FinWait2 => socket.recv_q > Some(0),
        State::CloseWait => socket.recv_q > Some(1),
        _ => false,
    }
}
