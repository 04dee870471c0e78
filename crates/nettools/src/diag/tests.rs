use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use super::*;

fn pair(host: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

#[test]
fn a_connection_is_found_from_either_end_with_its_queues() {
    for host in ["127.0.0.1", "::1"] {
        let (mut client, mut server) = pair(host);
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        client.write_all(&[7; 1_000]).unwrap();
        let mut diag = Diag::open();
        // On loopback written bytes are in the other queue before `write` returns.
        let end = diag.connection(there, here).unwrap().unwrap();
        assert_eq!((end.state, end.recv_q), (State::Established, Some(1_000)), "{host}");
        assert_eq!((end.local, end.peer), (Address::Net(there), Address::Net(here)));
        let start = diag.connection(here, there).unwrap().unwrap();
        let info = start.tcp.unwrap();
        // The acknowledgement can come later; unacknowledged bytes are in Send-Q.
        assert!(u64::from(start.send_q.unwrap()) + info.bytes_acked >= 1_000 && info.rtt_us > 0, "{info:?}");
        server.read_exact(&mut [0; 600]).unwrap();
        assert_eq!(diag.connection(there, here).unwrap().unwrap().recv_q, Some(400));
        assert!(start.memory.unwrap().send_max > 0);
    }
}

#[test]
fn unknown_connections_are_not_found() {
    let mut diag = Diag::open();
    let nowhere = "192.0.2.1:9".parse().unwrap();
    assert_eq!(diag.connection(nowhere, nowhere).unwrap(), None);
    // The netlink connection still works.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = Address::Net(listener.local_addr().unwrap());
    assert!(diag.all(Protocol::Tcp).unwrap().iter().any(|socket| socket.local == local));
}

#[test]
fn every_kind_of_socket_is_listed() {
    let mut diag = Diag::open();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let tcp = diag.all(Protocol::Tcp).unwrap();
    let local = Address::Net(listener.local_addr().unwrap());
    let found = tcp.iter().find(|socket| socket.local == local && socket.state == State::Listen).unwrap();
    assert_eq!((found.recv_q, found.tcp.is_some()), (Some(1), false));
    let not_accepted = Address::Net(waiting.local_addr().unwrap());
    let found = tcp.iter().find(|socket| socket.peer == not_accepted).unwrap();
    assert_eq!((found.inode, found.state, found.uid), (0, State::Established, None));

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = Address::Net(udp.local_addr().unwrap());
    let found = diag.all(Protocol::Udp).unwrap();
    let found = found.iter().find(|socket| socket.local == local).unwrap();
    assert_eq!((found.state, found.peer.to_string()), (State::Unconnected, "0.0.0.0:*".to_owned()));

    let (mut one, other) = UnixStream::pair().unwrap();
    one.write_all(b"five!").unwrap();
    let found = diag.all(Protocol::Unix).unwrap();
    let found = found.iter().find(|socket| socket.inode == inode(&other)).unwrap();
    assert_eq!((found.state, found.recv_q), (State::Established, Some(5)));
    assert_eq!(found.peer, Address::Unix(None, inode(&one)));
}

#[test]
fn time_wait_has_its_remaining_time() {
    let (client, server) = pair("127.0.0.1");
    let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    client.shutdown(std::net::Shutdown::Both).unwrap();
    drop((client, server));
    let found = Diag::open().all(Protocol::Tcp).unwrap();
    let ends = (Address::Net(here), Address::Net(there));
    let found = found.into_iter().find(|socket| (&socket.local, &socket.peer) == (&ends.0, &ends.1)).unwrap();
    let timer = found.timer.unwrap();
    assert_eq!((found.state, timer.kind), (State::TimeWait, "time-wait"));
    assert!((1..=60_000).contains(&timer.in_ms), "{timer:?}");
}

/// The fields that both sources have.
fn known_to_both(socket: &Socket) -> String {
    let Socket { protocol, state, local, peer, recv_q, send_q, uid, inode, timer, .. } = socket;
    let send_q = send_q.filter(|_| *state != State::Listen && *protocol != Protocol::Unix);
    let recv_q = recv_q.filter(|_| *protocol != Protocol::Unix);
    let peer = Some(peer).filter(|_| *protocol != Protocol::Unix);
    let timer = timer.as_ref().map(|timer| (timer.kind, timer.fired));
    format!("{protocol} {state} {local} {peer:?} {recv_q:?} {send_q:?} {uid:?} {inode} {timer:?}")
}

#[test]
fn the_tables_and_sock_diag_agree() {
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    let mut inodes = Vec::new();
    let dir = tempfile();
    for host in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut client, mut server) = pair(host);
        client.write_all(b"unread").unwrap();
        let udp = UdpSocket::bind((host, 0)).unwrap();
        udp.connect(udp.local_addr().unwrap()).unwrap();
        udp.send(b"to itself").unwrap();
        // The peer's answer acknowledges the data, so that no timer changes between two reads.
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        inodes.extend([inode(&listener), inode(&waiting), inode(&client), inode(&server), inode(&udp)]);
        kept.push(Box::new((listener, waiting, client, server, udp)));
    }
    let unix = UnixListener::bind(dir.join("a socket")).unwrap();
    let connected = UnixStream::connect(dir.join("a socket")).unwrap();
    inodes.extend([inode(&unix), inode(&connected)]);
    let listed = |all: Vec<Socket>| {
        let ours = all.iter().filter(|socket| inodes.contains(&socket.inode));
        let mut listed: Vec<String> = ours.map(known_to_both).collect();
        listed.sort();
        listed
    };
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let both = [Protocol::Tcp, Protocol::Udp, Protocol::Unix].map(|protocol| {
            (listed(Diag::open().all(protocol).unwrap()), listed(table::all(protocol).unwrap()))
        });
        // An acknowledgement can come between two reads.
        if both.iter().all(|(diag, table)| diag == table) {
            assert_eq!(both.map(|(diag, _)| diag.len()), [8, 2, 2]);
            break;
        }
        assert!(Instant::now() < until, "{both:#?}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn without_sock_diag_the_tables_are_used() {
    let (mut client, server) = pair("127.0.0.1");
    client.write_all(b"unread").unwrap();
    let (here, there) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    let mut diag = Diag { netlink: None, ..Diag::open() };
    assert_eq!(diag.without(), None);
    let end = diag.connection(there, here).unwrap().unwrap();
    assert_eq!(
        (end.state, end.recv_q, end.inode, end.tcp),
        (State::Established, Some(6), inode(&server), None)
    );
    let nowhere = "192.0.2.1:9".parse().unwrap();
    assert_eq!(diag.connection(nowhere, nowhere).unwrap(), None);
    assert!(diag.without().unwrap().starts_with("this kernel has no sock_diag for them"));
}

fn inode(socket: &impl std::os::fd::AsFd) -> u32 {
    rustix::fs::fstat(socket).unwrap().st_ino as u32
}

/// A folder for this test.
fn tempfile() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("vang-diag-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
