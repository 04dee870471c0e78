use super::trouble::{LONG_MS, of};
use super::*;

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
            retransmitted: 0,
            segments_sent: 100,
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

fn with(state: State, change: impl FnOnce(&mut Socket)) -> Vec<Trouble> {
    let mut socket = socket(state);
    change(&mut socket);
    of(&socket)
}

fn timer(kind: &'static str, fired: u8) -> Option<Timer> {
    Some(Timer { kind, in_ms: 200, fired })
}

#[test]
fn every_trouble_is_named_by_what_proves_it() {
    use Trouble as T;
    let listen = |waiting, backlog| {
        with(State::Listen, |s| (s.recv_q, s.send_q, s.tcp) = (Some(waiting), backlog, None))
    };
    assert_eq!(listen(0, Some(5)), []);
    assert_eq!(listen(5, Some(5)), [T::AcceptQueueWaiting]);
    assert_eq!(listen(6, Some(5)), [T::AcceptQueueFull]);
    assert_eq!(listen(6, None), [T::AcceptQueueWaiting], "how many may wait is not told");
    assert_eq!(with(State::SynSent, |s| s.timer = timer("retransmit", 0)), []);
    assert_eq!(with(State::SynSent, |s| s.timer = timer("retransmit", 2)), [T::NoAnswer]);
    assert_eq!(with(State::Established, |s| s.timer = timer("retransmit", 2)), [T::NothingAcknowledged]);
    assert_eq!(with(State::Established, |s| s.timer = timer("zero-window probe", 0)), [T::PeerDoesNotRead]);
    assert_eq!(with(State::Established, |s| s.inode = 0), [T::NotAccepted]);
    assert_eq!(with(State::Established, |s| s.recv_q = Some(9)), [T::NotRead]);
    assert_eq!(with(State::CloseWait, |s| s.recv_q = Some(2)), [T::NotRead, T::NotClosed]);
    // The end of file.
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
fn what_came_just_now_is_no_trouble() {
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
fn without_tcp_info_only_timers_prove_anything() {
    let without = |state, kind, fired| {
        with(state, |s| (s.tcp, s.timer, s.recv_q, s.inode) = (None, timer(kind, fired), Some(9), 0))
    };
    assert_eq!(without(State::SynSent, "retransmit", 2), [Trouble::NoAnswer]);
    assert_eq!(without(State::Established, "retransmit", 2), [Trouble::NothingAcknowledged]);
    assert_eq!(without(State::Established, "zero-window probe", 0), [Trouble::PeerDoesNotRead]);
    for state in [State::Established, State::CloseWait, State::FinWait2, State::SynReceived] {
        assert_eq!(without(state, "retransmit", 0), [], "{state}");
    }
    // Its last of three segments may have come, and found no room.
    assert_eq!(without(State::SynReceived, "retransmit", 2), []);
}

#[test]
fn filters_take_either_end_and_name_or_number() {
    let mut row = Row::of(socket(State::Established), &Owners::default());
    row.owners.push(Owner { pid: 42, process: "vang".to_owned(), fd: 3, executable: None, uid: 0 });
    let wants = |asked: Asked| asked.wants(&row);
    assert!(wants(Asked::default()));
    assert!(wants(Asked { ports: vec![50_000], ..Asked::default() }));
    assert!(!wants(Asked { ports: vec![81], ..Asked::default() }));
    assert!(wants(Asked { processes: vec!["42".to_owned()], ..Asked::default() }));
    assert!(wants(Asked { processes: vec!["nc".to_owned(), "vang".to_owned()], ..Asked::default() }));
    assert!(!wants(Asked { processes: vec!["van".to_owned()], ..Asked::default() }));
    assert!(!wants(Asked { states: vec![State::Listen], ..Asked::default() }));
    assert!(!wants(Asked { only_trouble: true, ..Asked::default() }));
}
