use super::problem::{LONG_MS, of};
use super::row::Row;
use super::*;
use crate::diag::{Socket, Tcp, Timer};
use crate::owners::Owners;

fn socket(state: State) -> Socket {
    let place = |text: &str| Address::Net(text.parse().expect("an address"));
    Socket {
        protocol: Protocol::Tcp,
        state,
        local: place("127.0.0.1:80"),
        peer: place("127.0.0.1:50000"),
        recv_q: Some(0),
        send_q: Some(0),
        uid: Some(0),
        inode: 7,
        cookie: [0; 8],
        timer: None,
        tcp: Some(Tcp {
            rtt_us: 30,
            rtt_variation_us: 10,
            rtt_min_us: 20,
            retransmission_timeout_us: 204_000,
            retransmitted: 0,
            segments_sent: 100,
            segments_received: 90,
            bytes_sent: 2_000,
            bytes_retransmitted: 0,
            congestion_control: Some("cubic".to_owned()),
            congestion_window: 10,
            slow_start_threshold: None,
            segment_bytes_max: 1_448,
            path_mtu: 1_500,
            timeouts: 0,
            probes: 0,
            bytes_acked: 1,
            bytes_received: 0,
            not_sent: 0,
            peer_window: 65_536,
            last_data_ms: LONG_MS,
            last_ack_ms: LONG_MS,
            window_closed_ms: 0,
        }),
        memory: None,
    }
}

fn with(state: State, change: impl FnOnce(&mut Socket)) -> Vec<SocketProblem> {
    let mut socket = socket(state);
    change(&mut socket);
    of(&socket)
}

fn timer(kind: &'static str, fired: u8) -> Option<Timer> {
    Some(Timer { kind, in_ms: 200, fired })
}

#[test]
fn every_problem_follows_from_its_numbers() {
    use SocketProblem as T;
    let listen = |waiting, backlog| {
        with(State::Listen, |s| (s.recv_q, s.send_q, s.tcp) = (Some(waiting), backlog, None))
    };
    assert_eq!(listen(0, Some(5)), []);
    assert_eq!(listen(5, Some(5)), [T::AcceptQueueWaiting]);
    assert_eq!(listen(6, Some(5)), [T::AcceptQueueFull]);
    assert_eq!(listen(6, None), [T::AcceptQueueWaiting], "the backlog is unknown");
    assert_eq!(with(State::SynSent, |s| s.timer = timer("retransmit", 0)), []);
    assert_eq!(with(State::SynSent, |s| s.timer = timer("retransmit", 2)), [T::NoAnswer]);
    assert_eq!(with(State::Established, |s| s.timer = timer("retransmit", 2)), [T::NothingAcknowledged]);
    assert_eq!(with(State::Established, |s| s.timer = timer("zero-window probe", 0)), [T::PeerDoesNotRead]);
    assert_eq!(with(State::Established, |s| s.inode = 0), [T::NotAccepted]);
    assert_eq!(with(State::Established, |s| s.recv_q = Some(9)), [T::NotRead]);
    assert_eq!(with(State::CloseWait, |s| s.recv_q = Some(2)), [T::NotRead, T::NotClosed]);
    // A FIN.
    assert_eq!(with(State::CloseWait, |s| s.recv_q = Some(1)), [T::NotClosed]);
    assert_eq!(with(State::FinWait2, |_| ()), [T::HalfClosed]);
    let lossy = |resent| {
        with(State::Established, |s| {
            if let Some(tcp) = &mut s.tcp {
                (tcp.retransmitted, tcp.segments_sent) = (resent, 1_000);
            }
        })
    };
    assert_eq!((lossy(19), lossy(20)), (vec![], vec![T::Lossy]));
    let dropped = with(State::Unconnected, |s| {
        s.protocol = Protocol::Udp;
        s.memory = Some(crate::diag::Memory { receive: 0, receive_max: 1, send: 0, send_max: 1, drops: 3 });
    });
    assert_eq!(dropped, [T::Dropped]);
}

#[test]
fn a_missing_slow_start_threshold_is_explained_by_the_algorithm() {
    struct Details(Tcp);
    impl fmt::Display for Details {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            totals::write_details(f, &self.0)
        }
    }
    for (control, threshold, said) in [
        ("cubic", None, ", no slow-start threshold yet, peer's"),
        ("cubic", Some(7), ", slow-start threshold 7, peer's"),
        ("bbr", None, ", no slow-start threshold (bbr uses a measured rate instead), peer's"),
    ] {
        let tcp = socket(State::Established).tcp.expect("it has one");
        let tcp =
            Tcp { congestion_control: Some(control.to_owned()), slow_start_threshold: threshold, ..tcp };
        let text = Details(tcp).to_string();
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn bytes_that_just_arrived_are_no_problem() {
    for state in [State::Established, State::CloseWait, State::FinWait2] {
        let found = with(state, |socket| {
            socket.recv_q = Some(9);
            if let Some(tcp) = &mut socket.tcp {
                (tcp.last_data_ms, tcp.last_ack_ms) = (LONG_MS - 1, LONG_MS - 1);
            }
        });
        assert_eq!(found, [], "{state}");
    }
}

#[test]
fn without_tcp_info_only_timers_show_problems() {
    let without = |state, kind, fired| {
        with(state, |s| (s.tcp, s.timer, s.recv_q, s.inode) = (None, timer(kind, fired), Some(9), 0))
    };
    assert_eq!(without(State::SynSent, "retransmit", 2), [SocketProblem::NoAnswer]);
    assert_eq!(without(State::Established, "retransmit", 2), [SocketProblem::NothingAcknowledged]);
    assert_eq!(without(State::Established, "zero-window probe", 0), [SocketProblem::PeerDoesNotRead]);
    for state in [State::Established, State::CloseWait, State::FinWait2, State::SynReceived] {
        assert_eq!(without(state, "retransmit", 0), [], "{state}");
    }
    // The last segment of its handshake can have been dropped by a full queue.
    assert_eq!(without(State::SynReceived, "retransmit", 2), []);
}

#[test]
fn filters_match_both_ends_and_names_or_pids() {
    let mut row = Row::of(socket(State::Established), &Owners::default());
    row.owners.push(Owner { pid: 42, process: "vang".to_owned(), fd: 3, executable: None, uid: 0 });
    let wants = |options: SocketsOptions| options.wants(&row);
    assert!(wants(SocketsOptions::default()));
    assert!(wants(SocketsOptions { ports: vec![50_000], ..SocketsOptions::default() }));
    assert!(!wants(SocketsOptions { ports: vec![81], ..SocketsOptions::default() }));
    assert!(wants(SocketsOptions { processes: vec!["42".to_owned()], ..SocketsOptions::default() }));
    assert!(wants(SocketsOptions {
        processes: vec!["nc".to_owned(), "vang".to_owned()],
        ..SocketsOptions::default()
    }));
    assert!(!wants(SocketsOptions { processes: vec!["van".to_owned()], ..SocketsOptions::default() }));
    assert!(!wants(SocketsOptions { states: vec![State::Listen], ..SocketsOptions::default() }));
    assert!(!wants(SocketsOptions { only_trouble: true, ..SocketsOptions::default() }));
}
