//! One socket as a value: its kind, state, addresses, queues and timers.

use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};
use vang_client::address::{scoped, shown};

/// The kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP over IPv4 and IPv6.
    Tcp,
    /// UDP over both.
    Udp,
    /// Unix-domain sockets: stream, datagram and seqpacket.
    Unix,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Unix => "unix",
        })
    }
}

/// The states of RFC 9293, section 3.3.2; UDP and Unix sockets use three of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Listen,
    /// SYN sent, no answer yet.
    SynSent,
    /// SYN received; the last segment of the handshake is missing.
    SynReceived,
    Established,
    /// Closed its sending half; not acknowledged yet.
    FinWait1,
    /// Closed its sending half; the peer can still send.
    FinWait2,
    /// The peer closed its sending half; this side has not closed.
    CloseWait,
    /// Both closed at once.
    Closing,
    /// Closed last; not acknowledged yet.
    LastAck,
    /// Closed first; waits until no late segment can reach a new connection.
    TimeWait,
    /// Not connected: the usual state of a UDP socket.
    Unconnected,
}

impl State {
    /// All states.
    pub const ALL: [State; 11] = [
        State::Listen,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
        State::Unconnected,
    ];

    /// The name of RFC 9293 in lower case.
    pub fn name(self) -> &'static str {
        match self {
            State::Listen => "listen",
            State::SynSent => "syn-sent",
            State::SynReceived => "syn-received",
            State::Established => "established",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2 => "fin-wait-2",
            State::CloseWait => "close-wait",
            State::Closing => "closing",
            State::LastAck => "last-ack",
            State::TimeWait => "time-wait",
            State::Unconnected => "unconnected",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port; port 0: any.
    Net(SocketAddr),
    /// A path, or `@name` for an abstract one; `None`: unnamed. With the inode, which identifies the peer; 0: unknown.
    Unix(Option<String>, u32),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Net(address) if address.port() == 0 => match address {
                SocketAddr::V4(address) => f.pad(&format!("{}:*", address.ip())),
                SocketAddr::V6(address) => {
                    let (ip, scope) = (address.ip(), address.scope_id());
                    f.pad(&format!("[{}]:*", scoped(ip, scope).unwrap_or_else(|| ip.to_string())))
                }
            },
            Address::Net(address) => f.pad(&shown(*address)),
            Address::Unix(None, 0) => f.pad("*"),
            Address::Unix(None, inode) => f.pad(&format!("* {inode}")),
            Address::Unix(Some(name), _) => f.pad(&spelled(name)),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // JSON escapes line ends itself.
            Address::Unix(Some(name), _) => serializer.serialize_str(name),
            Address::Net(_) | Address::Unix(None, _) => serializer.collect_str(self),
        }
    }
}

/// A name inside a line: a path or process name can contain line ends.
pub(crate) fn spelled(name: &str) -> String {
    let spell = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    name.chars().map(spell).collect()
}

/// A timer of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// `retransmit`, `keepalive`, `time-wait` or `zero-window probe`.
    pub kind: &'static str,
    /// Milliseconds until it fires.
    pub in_ms: u64,
    /// How often it has fired without success.
    pub fired: u8,
}

/// The used fields of `tcp_info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// Round trip, smoothed, in microseconds; 0: not measured.
    pub rtt_us: u32,
    /// Its mean deviation.
    pub rtt_variation_us: u32,
    /// The shortest one; 0: not measured.
    pub rtt_min_us: u32,
    /// The time until an unacknowledged segment is sent again.
    pub retransmission_timeout_us: u32,
    /// Retransmitted segments in all.
    pub retransmitted: u32,
    /// Segments in all, also those without data.
    pub segments_sent: u32,
    pub segments_received: u32,
    /// Bytes of data in sent segments, without retransmissions.
    pub bytes_sent: u64,
    /// Bytes of data in retransmitted segments.
    pub bytes_retransmitted: u64,
    /// The name of the congestion control, such as `cubic`; `None`: unknown.
    pub congestion_control: Option<String>,
    /// Segments that may be unacknowledged at once.
    pub congestion_window: u32,
    /// The window up to which slow start doubles it; `None`: there was no loss yet, so no threshold.
    pub slow_start_threshold: Option<u32>,
    /// Most bytes of data in a sent segment.
    pub segment_bytes_max: u32,
    /// Longest packet on the path that is known to pass.
    pub path_mtu: u32,
    /// Times the retransmission timer fired for the currently unacknowledged bytes.
    pub timeouts: u8,
    /// Probes of a closed window, or of a silent peer, without progress.
    pub probes: u8,
    /// Bytes that the peer's kernel has acknowledged; the kernel also counts our SYN.
    pub bytes_acked: u64,
    pub bytes_received: u64,
    /// Written bytes that were not sent yet.
    pub not_sent: u32,
    /// The peer's window in bytes; 0: it takes nothing now.
    pub peer_window: u32,
    /// Milliseconds since the last data.
    pub last_data_ms: u32,
    /// Milliseconds since the last acknowledgement.
    pub last_ack_ms: u32,
    /// Milliseconds during which the peer's window blocked sending.
    pub window_closed_ms: u64,
}

/// Kernel memory of a socket, including overhead; limits count this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Memory of the receive queue.
    pub receive: u32,
    /// Its limit, `SO_RCVBUF`.
    pub receive_max: u32,
    /// Memory of the send queue.
    pub send: u32,
    /// Its limit, `SO_SNDBUF`.
    pub send_max: u32,
    /// Dropped segments or datagrams, mostly because the receive queue was full.
    pub drops: u32,
}

/// A socket of the kernel's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub protocol: Protocol,
    pub state: State,
    pub local: Address,
    pub peer: Address,
    /// For a listener: connections that wait for `accept(2)`; otherwise unread bytes. `None`: unknown.
    pub recv_q: Option<u32>,
    /// For a listener: the backlog; otherwise unacknowledged bytes. `None`: unknown.
    pub send_q: Option<u32>,
    /// The user; `None`: no process owns it, or unknown.
    pub uid: Option<u32>,
    /// The inode in `/proc/PID/fd`; 0: no process owns it (not yet accepted, or already closed).
    pub inode: u32,
    /// The kernel's unique id; without sock_diag, derived from the socket's addresses and inode.
    pub cookie: [u8; 8],
    pub timer: Option<Timer>,
    /// For TCP connections, from sock_diag.
    pub tcp: Option<Tcp>,
    /// Without sock_diag only `drops` of UDP sockets.
    pub memory: Option<Memory>,
}
