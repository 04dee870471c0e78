//! Problems of a socket. Only problems that the kernel's numbers prove: bytes that were unread for a while, not bytes that
//! have just arrived. Each problem has an explanation with advice.

use serde::Serialize;

use crate::diag::{Protocol, Socket, State, Tcp};

/// Age in milliseconds from which waiting data is a problem: a busy program is faster.
pub(super) const LONG_MS: u32 = 500;
/// Fewer retransmissions are normal.
const RETRANSMITTED_MIN: u32 = 10;
/// One retransmission in this many segments is noticeable.
const RETRANSMITTED_SHARE: u32 = 50;

/// The problems, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketProblem {
    AcceptQueueFull,
    NothingAcknowledged,
    /// No answer to SYN.
    NoAnswer,
    /// Zero window.
    PeerDoesNotRead,
    NotRead,
    /// The peer has closed; this program has not.
    NotClosed,
    Dropped,
    NotAccepted,
    AcceptQueueWaiting,
    /// Many retransmissions.
    Lossy,
    /// Closed here, but not by the peer.
    HalfClosed,
}

impl SocketProblem {
    /// The short name in the list.
    pub fn name(self) -> &'static str {
        match self {
            SocketProblem::AcceptQueueFull => "accept queue full",
            SocketProblem::NothingAcknowledged => "nothing acknowledged",
            SocketProblem::NoAnswer => "no answer",
            SocketProblem::PeerDoesNotRead => "peer does not read",
            SocketProblem::NotRead => "not read",
            SocketProblem::NotClosed => "not closed",
            SocketProblem::Dropped => "datagrams dropped",
            SocketProblem::NotAccepted => "not accepted",
            SocketProblem::AcceptQueueWaiting => "waiting for accept",
            SocketProblem::Lossy => "lossy path",
            SocketProblem::HalfClosed => "half-closed",
        }
    }

    /// Explanation and advice.
    pub fn means(self) -> &'static str {
        match self {
            SocketProblem::AcceptQueueFull => {
                "the accept queue is full (Recv-Q above Send-Q): the kernel drops new connections, whose clients see a slow \
                 connect or a timeout. The program must call accept faster, or listen with a longer backlog \
                 (net.core.somaxconn is its limit)"
            }
            SocketProblem::NothingAcknowledged => {
                "data is retransmitted at growing intervals, and no acknowledgement comes: the other host is off, the route is \
                 broken, or a firewall drops packets. The connection ends with ETIMEDOUT after about 15 minutes"
            }
            SocketProblem::NoAnswer => {
                "no answer to the SYN, not even a refusal: the host is off, a firewall drops the SYN, or the accept queue there \
                 is full"
            }
            SocketProblem::PeerDoesNotRead => {
                "the peer's window is zero: its Recv-Q is full because its program does not read. Written \
                 bytes stay in Send-Q until write would block; the kernel checks at intervals (zero-window probe) \
                 whether there is room again"
            }
            SocketProblem::NotRead => {
                "the program has not read the bytes in Recv-Q for half a second or more: it is busy or stopped, or ignores \
                 them. When the queue is full, the peer cannot send more"
            }
            SocketProblem::NotClosed => {
                "the peer has closed (its FIN counts as a byte of Recv-Q until it is read), and the program keeps its end open: \
                 usually it forgot to close, and each such socket takes a file descriptor"
            }
            SocketProblem::Dropped => {
                "the kernel dropped datagrams because the receive queue was full; UDP does not report that. The program must \
                 read faster or set a larger SO_RCVBUF"
            }
            SocketProblem::NotAccepted => {
                "the kernel has completed the connection, but no program has accepted it: the client can think that it is \
                 served. Until then no process owns it"
            }
            SocketProblem::AcceptQueueWaiting => {
                "connections wait for accept: normal for a moment; if it lasts, the program is busy or stopped"
            }
            SocketProblem::Lossy => {
                "one segment in fifty or more was retransmitted: the network loses packets or is congested, and each loss costs \
                 at least a round trip"
            }
            SocketProblem::HalfClosed => {
                "this side has closed its sending half and waits for the peer to close; receiving still works. If no process \
                 owns it any more, the kernel removes it after net.ipv4.tcp_fin_timeout"
            }
        }
    }
}

/// The problems of one socket, the worst first.
pub(super) fn of(socket: &Socket) -> Vec<SocketProblem> {
    let mut found = match (socket.protocol, socket.state) {
        (_, State::Listen) => listening(socket),
        (Protocol::Tcp, _) => connection(socket),
        (Protocol::Udp, _) => {
            let dropped = socket.memory.as_ref().is_some_and(|memory| memory.drops > 0);
            if dropped { vec![SocketProblem::Dropped] } else { Vec::new() }
        }
        // The kernel does not report since when.
        (Protocol::Unix, _) => Vec::new(),
    };
    found.sort_unstable();
    found
}

/// The kernel queues one more connection than the backlog, also for Unix sockets.
fn listening(socket: &Socket) -> Vec<SocketProblem> {
    match (socket.recv_q, socket.send_q) {
        (None | Some(0), _) => Vec::new(),
        (Some(waiting), Some(backlog)) if waiting > backlog => vec![SocketProblem::AcceptQueueFull],
        _ => vec![SocketProblem::AcceptQueueWaiting],
    }
}

fn connection(socket: &Socket) -> Vec<SocketProblem> {
    let mut found = Vec::new();
    if socket.state == State::SynReceived {
        return found;
    }
    let timer = socket.timer.as_ref();
    let window_is_shut = |tcp: &Tcp| socket.send_q > Some(0) && tcp.peer_window == 0 && tcp.not_sent > 0;
    let retransmits = timer.is_some_and(|timer| timer.kind == "retransmit" && timer.fired > 0);
    if retransmits && socket.state == State::SynSent {
        found.push(SocketProblem::NoAnswer);
    } else if timer.is_some_and(|timer| timer.kind == "zero-window probe")
        || socket.tcp.as_ref().is_some_and(window_is_shut)
    {
        found.push(SocketProblem::PeerDoesNotRead);
    } else if retransmits {
        found.push(SocketProblem::NothingAcknowledged);
    }
    // Without tcp_info the age is unknown, and bytes that have just arrived are not a problem.
    let Some(tcp) = &socket.tcp else { return found };
    let quiet = tcp.last_data_ms >= LONG_MS && tcp.last_ack_ms >= LONG_MS;
    let old = tcp.last_data_ms >= LONG_MS;
    if matches!(socket.state, State::Established | State::CloseWait) && socket.inode == 0 && old {
        found.push(SocketProblem::NotAccepted);
    } else if old && unread(socket) {
        found.push(SocketProblem::NotRead);
    }
    if socket.state == State::CloseWait && quiet {
        found.push(SocketProblem::NotClosed);
    }
    if matches!(socket.state, State::FinWait1 | State::FinWait2) && quiet {
        found.push(SocketProblem::HalfClosed);
    }
    if tcp.retransmitted >= RETRANSMITTED_MIN
        && tcp.retransmitted.saturating_mul(RETRANSMITTED_SHARE) >= tcp.segments_sent
    {
        found.push(SocketProblem::Lossy);
    }
    found
}

/// After the peer has closed, its FIN counts as a byte of Recv-Q.
fn unread(socket: &Socket) -> bool {
    match socket.state {
        State::Established | State::FinWait1 | State::FinWait2 => socket.recv_q > Some(0),
        State::CloseWait => socket.recv_q > Some(1),
        _ => false,
    }
}
