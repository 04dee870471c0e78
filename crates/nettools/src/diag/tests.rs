use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

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
        let mut diag = Diag::open().unwrap();
        // On loopback what is written is in the other queue before `write` returns.
        let end = diag.connection(there, here).unwrap().unwrap();
        assert_eq!((end.state, end.recv_q), (State::Established, 1_000), "{host}");
        assert_eq!((end.local, end.peer), (Address::Net(there), Address::Net(here)));
        let start = diag.connection(here, there).unwrap().unwrap();
        let info = start.tcp.unwrap();
        // The acknowledgement may come later; what is not acknowledged is in Send-Q.
        assert!(u64::from(start.send_q) + info.bytes_acked >= 1_000 && info.rtt_us > 0, "{info:?}");
        server.read_exact(&mut [0; 600]).unwrap();
        assert_eq!(diag.connection(there, here).unwrap().unwrap().recv_q, 400);
        assert!(start.memory.unwrap().send_max > 0);
    }
}

#[test]
fn what_is_not_here_is_not_found() {
    let mut diag = Diag::open().unwrap();
    let nowhere = "192.0.2.1:9".parse().unwrap();
    assert_eq!(diag.connection(nowhere, nowhere).unwrap(), None);
    // And the connection to the kernel goes on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = Address::Net(listener.local_addr().unwrap());
    assert!(diag.all(Protocol::Tcp).unwrap().iter().any(|socket| socket.local == local));
}

#[test]
fn every_kind_of_socket_is_in_its_list() {
    let mut diag = Diag::open().unwrap();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let tcp = diag.all(Protocol::Tcp).unwrap();
    let local = Address::Net(listener.local_addr().unwrap());
    let found = tcp.iter().find(|socket| socket.local == local && socket.state == State::Listen).unwrap();
    assert_eq!((found.recv_q, found.tcp.is_some()), (1, false));
    let not_accepted = Address::Net(waiting.local_addr().unwrap());
    let found = tcp.iter().find(|socket| socket.peer == not_accepted).unwrap();
    assert_eq!((found.inode, found.state), (0, State::Established));

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = Address::Net(udp.local_addr().unwrap());
    let found = diag.all(Protocol::Udp).unwrap();
    let found = found.iter().find(|socket| socket.local == local).unwrap();
    assert_eq!((found.state, found.peer.to_string()), (State::Unconnected, "0.0.0.0:*".to_owned()));

    let (mut one, other) = UnixStream::pair().unwrap();
    one.write_all(b"five!").unwrap();
    let inode = |stream: &UnixStream| rustix::fs::fstat(stream).unwrap().st_ino as u32;
    let found = diag.all(Protocol::Unix).unwrap();
    let found = found.iter().find(|socket| socket.inode == inode(&other)).unwrap();
    assert_eq!((found.state, found.recv_q), (State::Established, 5));
    assert_eq!(found.peer, Address::Unix(None, inode(&one)));
}

#[test]
fn time_wait_says_how_long_still() {
    let (client, server) = pair("127.0.0.1");
    let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    client.shutdown(std::net::Shutdown::Both).unwrap();
    drop((client, server));
    let found = Diag::open().unwrap().all(Protocol::Tcp).unwrap();
    let ends = (Address::Net(here), Address::Net(there));
    let found = found.into_iter().find(|socket| (&socket.local, &socket.peer) == (&ends.0, &ends.1)).unwrap();
    let timer = found.timer.unwrap();
    assert_eq!((found.state, timer.kind), (State::TimeWait, "time-wait"));
    assert!((1..=60_000).contains(&timer.in_ms), "{timer:?}");
}
