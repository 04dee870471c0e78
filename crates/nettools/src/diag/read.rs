//! The kernel's answers as `Socket`. Missing data stays `None`.

use std::collections::HashMap;
use std::net::SocketAddr;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK,
    TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::nlas::{Nla, TcpInfo};
use netlink_packet_sock_diag::inet::{InetResponse, SocketId, Timer as KernelTimer};
use netlink_packet_sock_diag::unix::nlas::{Nla as UnixNla, UnixDiagName};
use netlink_packet_sock_diag::unix::{UnixResponse, UnixResponseHeader};

use super::socket::{Address, Memory, Protocol, Socket, State, Tcp, Timer};

/// `TCP_NEW_SYN_RECV` of the kernel: half open, not yet a full socket.
const NEW_SYN_RECV: u8 = 12;
/// `TCP_INFINITE_SSTHRESH` of the kernel.
const NO_THRESHOLD: u32 = 0x7fff_ffff;
/// Offset of `idiag_expires`: after the netlink header (16), four bytes and the socket's id (48).
const EXPIRES_AT: usize = 16 + 4 + 48;

/// Reads a socket from one answer; `raw` is the whole answer. `None`: not a socket, or an unknown state.
pub(super) fn socket(answer: SockDiagMessage, raw: &[u8], protocol: Protocol) -> Option<Socket> {
    match answer {
        SockDiagMessage::InetResponse(answer) => inet(&answer, raw, protocol),
        SockDiagMessage::UnixResponse(answer) => unix(&answer),
        _ => None,
    }
}

pub(super) fn state(number: u8) -> Option<State> {
    Some(match number {
        TCP_ESTABLISHED => State::Established,
        TCP_SYN_SENT => State::SynSent,
        TCP_SYN_RECV | NEW_SYN_RECV => State::SynReceived,
        TCP_FIN_WAIT1 => State::FinWait1,
        TCP_FIN_WAIT2 => State::FinWait2,
        TCP_TIME_WAIT => State::TimeWait,
        TCP_CLOSE => State::Unconnected,
        TCP_CLOSE_WAIT => State::CloseWait,
        TCP_LAST_ACK => State::LastAck,
        TCP_LISTEN => State::Listen,
        TCP_CLOSING => State::Closing,
        _ => return None,
    })
}

fn inet(answer: &InetResponse, raw: &[u8], protocol: Protocol) -> Option<Socket> {
    let header = &answer.header;
    let state = state(header.state)?;
    let memory = answer.nlas.iter().find_map(|nla| match nla {
        Nla::MemInfo(memory) => Some(Memory {
            receive: memory.receive_queue,
            receive_max: memory.receive_queue_max,
            send: memory.send_queue,
            send_max: memory.send_queue_max,
            drops: memory.drops,
        }),
        _ => None,
    });
    let tcp = answer.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) if state != State::Listen => Some(tcp(info)),
        _ => None,
    });
    let tcp = tcp.map(|tcp| Tcp { congestion_control: congestion_control(answer), ..tcp });
    let (local, peer) = addresses(&header.socket_id);
    Some(Socket {
        protocol,
        state,
        local: Address::Net(local),
        peer: Address::Net(peer),
        recv_q: Some(header.recv_queue),
        send_q: Some(header.send_queue),
        // Without a process the kernel reports user 0.
        uid: (header.inode != 0).then_some(header.uid),
        inode: header.inode,
        cookie: header.socket_id.cookie,
        timer: header.timer.as_ref().map(|timer| self::timer(timer, raw)),
        tcp,
        memory,
    })
}

fn addresses(id: &SocketId) -> (SocketAddr, SocketAddr) {
    let address = |ip, port| {
        let mut address = SocketAddr::new(ip, port);
        if let SocketAddr::V6(v6) = &mut address
            && v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(id.interface_id);
        }
        address
    };
    (address(id.source_address, id.source_port), address(id.destination_address, id.destination_port))
}

fn timer(timer: &KernelTimer, raw: &[u8]) -> Timer {
    let (kind, left, fired) = match timer {
        KernelTimer::Retransmit(left, fired) => ("retransmit", Some(left), *fired),
        KernelTimer::KeepAlive(left) => ("keepalive", Some(left), 0),
        KernelTimer::Probe(left) => ("zero-window probe", Some(left), 0),
        // The time is in the answer, but not in the crate's type.
        KernelTimer::TimeWait => ("time-wait", None, 0),
    };
    let in_ms = left.map_or_else(
        || {
            let bytes = raw.get(EXPIRES_AT..EXPIRES_AT + 4).and_then(|bytes| bytes.try_into().ok());
            u64::from(u32::from_ne_bytes(bytes.unwrap_or_default()))
        },
        |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    );
    // An overdue timer is a negative 32-bit number.
    let in_ms = if in_ms > u64::from(u32::MAX >> 1) { 0 } else { in_ms };
    Timer { kind, in_ms, fired }
}

fn congestion_control(answer: &InetResponse) -> Option<String> {
    answer.nlas.iter().find_map(|nla| match nla {
        Nla::Congestion(name) => Some(name.clone()),
        _ => None,
    })
}

fn tcp(info: &TcpInfo) -> Tcp {
    Tcp {
        rtt_us: info.rtt,
        rtt_variation_us: info.rttvar,
        // Also without a measurement the kernel has a number.
        rtt_min_us: if info.min_rtt == u32::MAX { 0 } else { info.min_rtt },
        retransmission_timeout_us: info.rto,
        retransmitted: info.total_retrans,
        segments_sent: info.segs_out,
        segments_received: info.segs_in,
        bytes_sent: info.bytes_sent.saturating_sub(info.bytes_retrans),
        bytes_retransmitted: info.bytes_retrans,
        congestion_control: None,
        congestion_window: info.snd_cwnd,
        slow_start_threshold: Some(info.snd_ssthresh).filter(|threshold| *threshold < NO_THRESHOLD),
        segment_bytes_max: info.snd_mss,
        path_mtu: info.pmtu,
        timeouts: info.retransmits,
        probes: info.probes,
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        not_sent: info.notsent_bytes,
        peer_window: info.snd_wnd,
        last_data_ms: info.last_data_recv,
        last_ack_ms: info.last_ack_recv,
        window_closed_ms: info.rwnd_limited / 1_000,
    }
}

fn unix(answer: &UnixResponse) -> Option<Socket> {
    let UnixResponseHeader { state: number, inode, cookie, .. } = answer.header;
    let name = answer.name().map(|name| match name {
        UnixDiagName::Pathname(path) => path.to_string_lossy().into_owned(),
        UnixDiagName::Abstract(name) => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")),
    });
    let (recv_q, send_q) = answer
        .nlas
        .iter()
        .find_map(|nla| match nla {
            UnixNla::ReceiveQueueLength(recv, send) => Some((*recv, *send)),
            _ => None,
        })
        .unzip();
    // Unread bytes are charged to the writer: the second number of the queue, up to SO_SNDBUF.
    let memory = answer.nlas.iter().find_map(|nla| match nla {
        UnixNla::MemInfo(memory) => Some(Memory {
            receive: 0,
            receive_max: memory.so_rcvbuf,
            send: send_q.unwrap_or_default(),
            send_max: memory.max_datagram_size,
            drops: 0,
        }),
        _ => None,
    });
    Some(Socket {
        protocol: Protocol::Unix,
        state: state(number)?,
        local: Address::Unix(name, inode),
        peer: Address::Unix(None, answer.peer().unwrap_or(0)),
        recv_q,
        send_q,
        uid: None,
        inode,
        cookie,
        timer: None,
        tcp: None,
        memory,
    })
}

/// The peer of a Unix socket is known by its inode; its name is in its own answer.
pub(super) fn name_peers(sockets: &mut [Socket]) {
    let names: HashMap<u32, String> = sockets
        .iter()
        .filter_map(|socket| match &socket.local {
            Address::Unix(Some(name), inode) => Some((*inode, name.clone())),
            _ => None,
        })
        .collect();
    for socket in sockets {
        if let Address::Unix(name, inode) = &mut socket.peer {
            *name = names.get(inode).cloned();
        }
    }
}
