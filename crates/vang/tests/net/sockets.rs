//! `vang net sockets` compared with `ss` and `lsof`, with sockets of every family and every important state.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::harness::hosts::Hosts;
use crate::harness::{PATIENCE, Server, Tail, folder, vang};

const HOSTS: [&str; 2] = ["127.0.0.1", "::1"];

/// The records of one list.
fn look(args: &[&str]) -> Vec<Value> {
    let Output { stdout, stderr, status } =
        vang().args(["net", "sockets", "--json"]).args(args).output().unwrap();
    assert!(matches!(status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Repeats until the condition holds.
fn wait_for(args: &[&str], seen: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = look(args);
        if let Some(found) = all.iter().find(|object| object["event"] == "socket" && seen(object)) {
            return found.clone();
        }
        assert!(Instant::now() < until, "never seen among {all:#?}");
    }
}

fn has(object: &Value, trouble: &str) -> bool {
    object["trouble"].as_array().unwrap().contains(&Value::from(trouble))
}

/// Protocol, state, Recv-Q, Send-Q, local and peer of every socket at this port, by vang and by `ss`.
type Lines = Vec<String>;

fn ours(port: u16) -> Lines {
    let all = look(&["--tcp", "--udp", "--port", &port.to_string()]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut lines: Lines = all
        .iter()
        .filter(|object| object["event"] == "socket")
        .map(|o| {
            let timer = o["timer"].as_object().map_or("-", |timer| match timer["kind"].as_str().unwrap() {
                "retransmit" => "on",
                "zero-window probe" => "persist",
                "keepalive" => "keepalive",
                "time-wait" => "timewait",
                kind => panic!("{kind}"),
            });
            let pids: Vec<String> =
                o["owners"].as_array().unwrap().iter().map(|owner| owner["pid"].to_string()).collect();
            let words = [
                text(&o["protocol"]),
                text(&o["state"]),
                o["recv_q"].to_string(),
                o["send_q"].to_string(),
                text(&o["local"]),
                text(&o["peer"]),
                timer.to_owned(),
                pids.join(","),
            ];
            words.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

fn theirs(port: u16) -> Lines {
    let filter = format!("sport = :{port} or dport = :{port}");
    let output = Command::new("ss").args(["-Htuanpo", &filter]).output().expect("ss (package iproute2)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Lines = text.lines().map(their_line).collect();
    lines.sort();
    lines
}

fn their_line(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = match words[1] {
        "ESTAB" => "established",
        "UNCONN" => "unconnected",
        "LISTEN" => "listen",
        "SYN-SENT" => "syn-sent",
        "TIME-WAIT" => "time-wait",
        "CLOSE-WAIT" => "close-wait",
        "FIN-WAIT-1" => "fin-wait-1",
        "FIN-WAIT-2" => "fin-wait-2",
        "SYN-RECV" => "syn-received",
        "LAST-ACK" => "last-ack",
        "CLOSING" => "closing",
        other => panic!("{other} in {line}"),
    };
    let rest = words[6..].join(" ");
    let timer = rest.split("timer:(").nth(1).map_or("-", |timer| timer.split(',').next().unwrap());
    let pids: Vec<&str> = rest.split("pid=").skip(1).map(|pid| pid.split(',').next().unwrap()).collect();
    [words[0], state, words[2], words[3], words[4], words[5], timer, &pids.join(",")].join(" ")
}

/// Both lists are equal, after pending acknowledgements have come.
fn agree(port: u16, expected: usize) -> Lines {
    let until = Instant::now() + PATIENCE;
    loop {
        let (we, they) = (ours(port), theirs(port));
        if we == they {
            assert_eq!(we.len(), expected, "{we:#?}");
            return we;
        }
        assert!(Instant::now() < until, "ours: {we:#?}\ntheirs: {they:#?}");
    }
}

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn listen(host: &str) -> (TcpListener, u16) {
    fresh(|| {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    })
}

/// What is opened, at a port that nothing else has: the kernel also gives ones of which a TIME-WAIT of somebody's is
/// left.
fn fresh<S>(open: impl Fn() -> (S, u16)) -> (S, u16) {
    let until = Instant::now() + PATIENCE;
    // Unsuitable ports are kept open, or the kernel would give them again.
    let mut others = Vec::new();
    loop {
        let (socket, port) = open();
        if theirs(port).len() == 1 {
            return (socket, port);
        }
        others.push(socket);
        assert!(Instant::now() < until, "no port is free of TIME-WAIT");
    }
}

/// Process, PID, user, descriptor, family, protocol, addresses, state and queues of every socket at this port that a
/// process has, by `lsof -i -n -P`; `-F` prints one field per line.
fn of_lsof(port: u16) -> Lines {
    let output = Command::new("lsof")
        .args(["-n", "-P", "-Tqs", "-FpcLftPnT", &format!("-i:{port}")])
        .output()
        .expect("lsof (package lsof)");
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut lines, mut process, mut file) = (Lines::new(), Vec::new(), Vec::<String>::new());
    let mut end = |process: &[String], file: &mut Vec<String>| {
        if !file.is_empty() {
            lines.push([process, file].concat().join(" "));
            file.clear();
        }
    };
    for line in text.lines() {
        let (field, value) = line.split_at(1);
        match field {
            "p" | "f" => end(&process, &mut file),
            _ => {}
        }
        match field {
            "p" => process = vec![format!("p{value}")],
            "c" | "L" => process.push(line.to_owned()),
            _ => file.push(line.to_owned()),
        }
    }
    end(&process, &mut file);
    lines.sort();
    lines
}

/// The same lines by vang.
fn as_lsof(port: u16) -> Lines {
    let mut lines = Lines::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for o in look(&["--tcp", "--udp", "--port", &port.to_string()]) {
        // It starts from processes, so it does not see sockets without one.
        if o["event"] != "socket" || o["owners"].as_array().unwrap().is_empty() {
            continue;
        }
        let (local, peer) = (text(&o["local"]), text(&o["peer"]));
        let family = if local.starts_with('[') { "IPv6" } else { "IPv4" };
        let name = if peer.ends_with(":*") { local } else { format!("{local}->{peer}") };
        let state = match o["state"].as_str().unwrap() {
            "listen" => "LISTEN",
            "established" => "ESTABLISHED",
            "close-wait" => "CLOSE_WAIT",
            "fin-wait-1" => "FIN_WAIT1",
            "fin-wait-2" => "FIN_WAIT2",
            "unconnected" => "",
            other => panic!("{other}"),
        };
        let protocol = text(&o["protocol"]).to_uppercase();
        for owner in o["owners"].as_array().unwrap() {
            let mut words = vec![
                format!("p{}", owner["pid"]),
                format!("c{}", owner["process"].as_str().unwrap()),
                format!("L{}", o["user"].as_str().unwrap()),
                format!("f{}", owner["fd"]),
                format!("t{family}"),
                format!("P{protocol}"),
                format!("n{name}"),
            ];
            // It has no state for UDP, and no backlog for listeners.
            if protocol == "TCP" {
                words.push(format!("TST={state}"));
            }
            words.push(format!("TQR={}", o["recv_q"]));
            let send_q = if state == "LISTEN" { Value::from(0) } else { o["send_q"].clone() };
            words.push(format!("TQS={send_q}"));
            lines.push(words.join(" "));
        }
    }
    lines.sort();
    lines
}

#[test]
fn owners_are_those_of_lsof() {
    for host in HOSTS {
        let (listener, port) = listen(host);
        let (mut client, server) = pair(&listener);
        client.write_all(b"unread").unwrap();
        let (half, _other) = pair(&listener);
        half.shutdown(Shutdown::Write).unwrap();
        let udp = UdpSocket::bind((host, 0)).unwrap();
        for (port, expected) in [(port, 5), (udp.local_addr().unwrap().port(), 1)] {
            let until = Instant::now() + PATIENCE;
            loop {
                let (we, they) = (as_lsof(port), of_lsof(port));
                if we == they {
                    assert_eq!(we.len(), expected, "{we:#?}");
                    break;
                }
                assert!(Instant::now() < until, "ours: {we:#?}\nlsof's: {they:#?}");
            }
        }
        drop((server, udp));
    }
}

/// Runs its arguments under a seccomp filter that forbids netlink sockets.
const WITHOUT_NETLINK: &str = "
import ctypes, os, struct, sys
AUDIT_ARCH, SOCKET = {'x86_64': (0xc000003e, 41), 'aarch64': (0xc00000b7, 198)}[os.uname().machine]
NETLINK, ALLOW, NOT_PERMITTED = 16, 0x7fff0000, 0x00050001
step = lambda code, yes, no, k: struct.pack('HBBI', code, yes, no, k)
program = b''.join([
    step(0x20, 0, 0, 4), step(0x15, 0, 5, AUDIT_ARCH),
    step(0x20, 0, 0, 0), step(0x15, 0, 3, SOCKET),
    step(0x20, 0, 0, 16), step(0x15, 0, 1, NETLINK),
    step(0x06, 0, 0, NOT_PERMITTED), step(0x06, 0, 0, ALLOW)])
kept = ctypes.create_string_buffer(program)
filter = struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(kept))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn without_netlink_proc_is_read_and_missing_data_is_named() {
    let without = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", WITHOUT_NETLINK, env!("CARGO_BIN_EXE_vang"), "net", "sockets"]).args(args);
        let output = command.output().expect("python3 (package python3)");
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), output.stderr)
    };
    for host in HOSTS {
        let (listener, port) = listen(host);
        let (mut client, _server) = pair(&listener);
        client.write_all(b"unread").unwrap();
        let port = port.to_string();
        let (code, text, stderr) = without(&["--json", "--port", &port]);
        assert_eq!(code, Some(0), "{text}{}", String::from_utf8_lossy(&stderr));
        let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sockets: Vec<&Value> = all.iter().filter(|object| object["event"] == "socket").collect();
        let usual = look(&["--port", &port]);
        assert_eq!(sockets.len(), 3, "{text}");
        for socket in sockets {
            let same = usual.iter().find(|o| o["inode"] == socket["inode"]).unwrap();
            for key in ["protocol", "state", "recv_q", "local", "peer", "user", "queues"] {
                assert_eq!(socket[key], same[key], "{key}");
            }
            // A child of another test between fork and exec has them open too.
            let us = |o: &Value| {
                let owners = o["owners"].as_array().unwrap().clone();
                owners.into_iter().find(|owner| owner["pid"] == std::process::id()).unwrap()
            };
            assert_eq!(us(socket), us(same));
            assert_eq!((&socket["tcp"], &socket["drops"]), (&Value::Null, &Value::Null));
            assert_eq!(socket["send_q"].is_null(), socket["state"] == "listen");
        }
        assert_eq!((&all[3]["event"], &all[3]["by"]), (&Value::from("summary"), &Value::from("proc")));
        assert_eq!(usual.last().unwrap()["by"], "sock_diag");
        let (_, text, _) = without(&["--port", &port]);
        assert!(text.contains(" 0 waiting      of ?  "), "{text}");
        let means = "what this means: sock_diag is not available here: permission denied, so the tables in \
                     /proc/net were read. They do not contain round trips, retransmissions, ";
        assert!(text.contains(means), "{text}");
    }
}

#[test]
fn unread_bytes_half_closed_and_time_wait_are_those_of_ss() {
    for host in HOSTS {
        let (listener, port) = listen(host);
        let (mut writes, _unread) = pair(&listener);
        writes.write_all(&[1; 4_321]).unwrap();
        let (half, _other) = pair(&listener);
        half.shutdown(Shutdown::Write).unwrap();
        let (first, mut second) = pair(&listener);
        drop(first);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        drop(second);
        let lines = agree(port, 6).join("\n");
        for said in ["established 4321 0", "fin-wait-2 0 0", "close-wait 1 0", "time-wait 0 0", "listen 0 "] {
            assert!(lines.contains(said), "{host}: no {said} in\n{lines}");
        }
        assert!(lines.contains(&std::process::id().to_string()), "{lines}");
        let all = look(&["--port", &port.to_string(), "--state", "time-wait"]);
        let left = all.last().unwrap()["time_wait_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&left), "{all:?}");
        let people = vang().args(["net", "sockets", "--port", &port.to_string()]).output().unwrap();
        let text = String::from_utf8(people.stdout).unwrap();
        assert!(text.contains("the one in time-wait has no process: "), "{text}");
    }
}

/// Totals, congestion control and times of every connection at this port, by vang and by `ss -ti`.
fn totals(port: u16) -> [Lines; 2] {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let all = look(&["--tcp", "--port", &port.to_string()]);
    let mut ours: Lines = all
        .iter()
        .filter(|o| o["event"] == "socket" && o["tcp"].is_object())
        .map(|o| {
            let tcp = &o["tcp"];
            let sent = number(&tcp["bytes_sent"]) + number(&tcp["bytes_retransmitted"]);
            let numbers = [
                ("bytes_sent", sent),
                ("bytes_acked", number(&tcp["bytes_acked"])),
                ("bytes_received", number(&tcp["bytes_received"])),
                ("segs_out", number(&tcp["segments_sent"])),
                ("segs_in", number(&tcp["segments_received"])),
                ("cwnd", number(&tcp["congestion_window"])),
                ("ssthresh", number(&tcp["slow_start_threshold"])),
                ("mss", number(&tcp["segment_bytes_max"])),
                ("pmtu", number(&tcp["path_mtu"])),
            ];
            let numbers: Vec<String> =
                numbers.iter().map(|(name, number)| format!("{name}:{number}")).collect();
            let control = tcp["congestion_control"].as_str().unwrap();
            format!("{} {control} {}", o["local"].as_str().unwrap(), numbers.join(" "))
        })
        .collect();
    ours.sort();
    let filter = format!("sport = :{port} or dport = :{port}");
    let output = Command::new("ss").args(["-HOtin", "state", "established", &filter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut theirs: Lines = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let of = |name: &str| {
                let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
                format!("{name}:{}", found.unwrap_or("0"))
            };
            let names = [
                "bytes_sent",
                "bytes_acked",
                "bytes_received",
                "segs_out",
                "segs_in",
                "cwnd",
                "ssthresh",
                "mss",
                "pmtu",
            ];
            format!("{} {} {}", words[2], words[4], names.map(of).join(" "))
        })
        .collect();
    theirs.sort();
    [ours, theirs]
}

#[test]
fn totals_and_congestion_control_are_those_of_ss() {
    for host in HOSTS {
        let (listener, port) = listen(host);
        let (mut client, mut server) = pair(&listener);
        client.write_all(&[1; 200_000]).unwrap();
        server.read_exact(&mut vec![0; 200_000]).unwrap();
        server.write_all(&[2; 300]).unwrap();
        client.read_exact(&mut [0; 300]).unwrap();
        let until = Instant::now() + PATIENCE;
        let both = loop {
            let [ours, theirs] = totals(port);
            if ours == theirs && ours.len() == 2 {
                break ours.join("\n");
            }
            assert!(Instant::now() < until, "ours: {ours:#?}\nss's: {theirs:#?}");
        };
        assert!(both.contains("bytes_sent:200000 ") && both.contains("bytes_received:200000 "), "{both}");
        assert!(both.contains("bytes_sent:300 ") && both.contains("bytes_received:300 "), "{both}");
        let people =
            vang().args(["net", "sockets", "--details", "--port", &port.to_string()]).output().unwrap();
        let text = String::from_utf8(people.stdout).unwrap();
        for said in
            ["  sent 195.3 KiB in ", "  received 300 bytes in ", "  cwnd ", "congestion window ", "path MTU "]
        {
            assert!(text.contains(said), "no {said} in {text}");
        }
    }
}

#[test]
fn a_full_accept_queue_is_not_confused_with_bytes() {
    for (host, domain) in HOSTS.into_iter().zip([Domain::IPV4, Domain::IPV6]) {
        let (listener, port) = fresh(|| {
            let listener = Socket::new(domain, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddr::new(host.parse().unwrap(), 0).into()).unwrap();
            listener.listen(1).unwrap();
            let port = listener.local_addr().unwrap().as_socket().unwrap().port();
            (listener, port)
        });
        let address = listener.local_addr().unwrap();
        // The queue holds one more than the backlog; the third connection gets no answer.
        let clients: Vec<Socket> = (0..3)
            .map(|_| {
                let client = Socket::new(domain, Type::STREAM, None).unwrap();
                client.set_nonblocking(true).unwrap();
                let _ = client.connect(&address);
                client
            })
            .collect();
        let port_text = port.to_string();
        let full = wait_for(&["--port", &port_text], |o| has(o, "accept-queue-full"));
        assert_eq!(
            (&full["state"], &full["recv_q"], &full["send_q"], &full["queues"]),
            (&Value::from("listen"), &Value::from(2), &Value::from(1), &Value::from("connections"))
        );
        // Two at each end, the unanswered one, the listener.
        let lines = agree(port, 6);
        assert!(lines.iter().any(|line| line.starts_with("tcp listen 2 1 ")), "{lines:#?}");
        wait_for(&["--port", &port_text, "--state", "syn-sent"], |o| has(o, "no-answer"));
        wait_for(&["--port", &port_text], |o| has(o, "not-accepted") && o["inode"] == 0);
        let people = vang().args(["net", "sockets", "--port", &port_text]).output().unwrap();
        let text = String::from_utf8(people.stdout).unwrap();
        assert_eq!(people.status.code(), Some(1), "{text}");
        assert!(text.contains("2 waiting      of 1"), "{text}");
        assert!(text.contains("what this means: accept queue full ("), "{text}");
        drop(clients);
    }
}

#[test]
fn a_reader_that_does_not_read_is_named_at_both_ends() {
    let (listener, port) = listen("127.0.0.1");
    let (mut writer, _reader) = pair(&listener);
    writer.set_nonblocking(true).unwrap();
    let port = port.to_string();
    let filled = |writer: &mut TcpStream| while writer.write(&[0; 65_536]).is_ok() {};
    let blocked = {
        let until = Instant::now() + PATIENCE;
        loop {
            filled(&mut writer);
            let all = look(&["--port", &port, "--trouble"]);
            if let Some(found) = all.iter().find(|o| o["event"] == "socket" && has(o, "peer-does-not-read")) {
                break found.clone();
            }
            assert!(Instant::now() < until, "{all:#?}");
        }
    };
    assert_eq!(blocked["timer"]["kind"], "zero-window probe");
    assert!(blocked["send_q"].as_u64().unwrap() > 0 && blocked["tcp"]["rtt_us"].as_u64().unwrap() > 0);
    let unread = wait_for(&["--port", &port], |o| has(o, "not-read"));
    assert_eq!(unread["local"], blocked["peer"]);
    agree(port.parse().unwrap(), 3);
}

#[test]
fn waiting_and_dropped_datagrams_are_reported() {
    for host in HOSTS {
        let (reader, port) = fresh(|| {
            let reader = UdpSocket::bind((host, 0)).unwrap();
            let port = reader.local_addr().unwrap().port();
            (reader, port)
        });
        socket2::SockRef::from(&reader).set_recv_buffer_size(4_096).unwrap();
        let writer = UdpSocket::bind((host, 0)).unwrap();
        writer.connect(reader.local_addr().unwrap()).unwrap();
        for _ in 0..40 {
            writer.send(&[0; 1_000]).unwrap();
        }
        let lines = agree(port, 2);
        assert!(lines.iter().any(|line| line.starts_with("udp established 0 0 ")), "{lines:#?}");
        let all = look(&["--udp", "--port", &port.to_string()]);
        let full = all.iter().find(|o| o["event"] == "socket" && has(o, "dropped")).unwrap();
        assert!(full["recv_q"].as_u64().unwrap() > 0 && full["drops"].as_u64().unwrap() > 0, "{full}");
    }
}

#[test]
fn unix_sockets_are_those_of_ss() {
    let (mut one, other) = UnixStream::pair().unwrap();
    one.write_all(b"unread").unwrap();
    let inode = rustix::fs::fstat(&other).unwrap().st_ino;
    let pid = std::process::id().to_string();
    let found = wait_for(&["--unix", "--process", &pid], |o| o["inode"] == inode);
    assert_eq!((&found["recv_q"], &found["state"]), (&Value::from(6), &Value::from("established")));
    let until = Instant::now() + PATIENCE;
    // The kernel sends its list in pieces; a socket closed meanwhile can make it skip another.
    let line = loop {
        let output = Command::new("ss").args(["-Hxap"]).output().expect("ss (package iproute2)");
        let text = String::from_utf8(output.stdout).unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        if let Some(line) = text.lines().map(words).find(|words| words.get(5) == Some(&inode.to_string())) {
            break line;
        }
        assert!(Instant::now() < until, "never seen among {text}");
    };
    assert_eq!((line[1].as_str(), line[2].as_str()), ("ESTAB", "6"));
    assert_eq!(found["peer"], format!("{} {}", line[6], line[7]));
}

#[test]
fn watch_reports_changes_until_stopped() {
    let (listener, port) = listen("127.0.0.1");
    let port = port.to_string();
    let mut command = vang();
    command.args(["net", "sockets", "--json", "--watch", "50ms", "--port", &port]);
    let mut watch = Tail::start(command);
    let mut next = |change: &str, state: &str| loop {
        let object = watch.json();
        if object["change"] == change && object["state"] == state {
            return object;
        }
    };
    // A child that another test starts at this moment has it as well, until it is another program.
    let owners = next("opened", "listen")["owners"].clone();
    let is_ours = |owner: &Value| owner["pid"] == std::process::id();
    assert!(owners.as_array().unwrap().iter().any(is_ours), "{owners}");
    let (mut client, mut server) = pair(&listener);
    next("opened", "established");
    client.write_all(b"four").unwrap();
    while next("changed", "established")["recv_q"] != 4 {}
    server.read_exact(&mut [0; 4]).unwrap();
    while next("changed", "established")["recv_q"] != 0 {}
    // Totals that change between two looks.
    client.write_all(b"seven..").unwrap();
    server.read_exact(&mut [0; 7]).unwrap();
    while next("changed", "established")["tcp"]["bytes_sent"] != 11 {}
    drop((client, server));
    next("closed", "established");
    let stopped = Command::new("kill").args(["-INT", &watch.pid().to_string()]).status().unwrap();
    assert!(stopped.success());
    let summary = loop {
        let object = watch.json();
        if object["event"] == "summary" {
            break object;
        }
    };
    assert_eq!(summary["states"]["listen"], 1);
    assert!(watch.wait().code().is_some_and(|code| code < 2));
}

#[test]
fn invalid_filters_are_refused() {
    for (args, said) in [
        (["--port", "65536"], "65536"),
        (["--state", "open"], "unknown state; use one of listen, syn-sent"),
        (["--watch", "often"], "often"),
    ] {
        let output = vang().args(["net", "sockets"]).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    }
    let (_listener, port) = listen("127.0.0.1");
    for state in ["LISTEN", "listening"] {
        assert_eq!(
            look(&["--port", &port.to_string(), "--state", state]).len(),
            2,
            "{state}: and the summary"
        );
    }
}

#[test]
fn processes_are_found_by_full_name_and_missing_ones_reported() {
    let dir = folder();
    let copy = dir.path().join("telegram-desktop-server");
    std::fs::copy(env!("CARGO_BIN_EXE_vang"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["net", "stall", "serve", "--listen", "127.0.0.1:0", "--json"]);
    let mut serves = Tail::start(command);
    let address = serves.json()["address"].clone();
    for name in ["telegram-desktop-server", "telegram-deskto", &serves.pid().to_string()] {
        let found = look(&["--process", name, "--state", "listen"]);
        assert_eq!((found.len(), &found[0]["local"]), (2, &address), "{name}: {found:?}");
    }
    for (name, code, text) in [
        ("telegram-desktop-client", 1, "no process has the name or PID 'telegram-desktop-client'"),
        ("nobody-has-this-name", 1, "no process has the name or PID 'nobody-has-this-name'"),
        ("telegram-desktop-server", 0, "is process "),
    ] {
        let output =
            vang().args(["net", "sockets", "--process", name, "--state", "closing"]).output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout);
        assert!(lines.contains("0 sockets") && lines.contains(text), "{lines}");
        assert_eq!(output.status.code(), Some(code), "{lines}");
    }
}

#[test]
fn a_name_without_its_version_is_found_and_said() {
    let dir = folder();
    let copy = dir.path().join("echoing3.13");
    std::fs::copy(env!("CARGO_BIN_EXE_vang"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["net", "echo", "serve", "--listen", "127.0.0.1:0", "--json"]);
    let mut serves = Tail::start(command);
    let address = serves.json()["address"].clone();
    let found = look(&["--process", "echoing", "--state", "listen"]);
    assert_eq!((&found[0]["local"], found.len()), (&address, 3), "{found:?}");
    let text =
        format!("'echoing' also stands for the name with a version: echoing3.13 (process {})", serves.pid());
    assert_eq!(found[2]["text"], text);
    let exact = look(&["--process", "echoing3.13", "--state", "listen"]);
    assert_eq!((&exact[0]["local"], exact.len()), (&address, 2), "{exact:?}");
}

/// In the format of `ss`, which can be typed as an address.
#[test]
fn a_scope_is_always_shown_as_an_interface_name() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let address = hosts.link_local(0, "up1");
    let place = format!("[{address}%up1]:0");
    let mut serves = Tail::start(hosts.vang(0, &["net", "echo", "serve", "--json", "--listen", &place]));
    let listens = serves.json()["address"].as_str().unwrap().to_owned();
    assert!(listens.starts_with(&format!("[{address}%up1]:")), "{listens}");
    let output = hosts.vang(0, &["net", "echo", "send", &listens]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut connected = serves.json();
    while connected["event"] != "connected" {
        connected = serves.json();
    }
    let peer = connected["peer"].as_str().unwrap().to_owned();
    assert!(peer.starts_with(&format!("[{address}%up1]:")), "{peer}");
    let output = hosts.vang(0, &["net", "sockets", "--json", "--state", "listen"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains(&format!("\"local\":\"{listens}\"")), "{lines}");

    let data = dir.path().join("data");
    let mut command = hosts.vang(0, &["serve", "--listen", &place, "--data"]);
    command.arg(&data);
    let server = Server::spawn(command, &data);
    assert!(server.addr.starts_with(&format!("[{address}%up1]:")), "{}", server.addr);
    // Browsers do not accept a scope.
    let log = server.log();
    assert!(!log.contains("http://") && !log.contains("in a browser"), "{log}");

    let mut command = hosts.vang(0, &["serve", "--listen", "[2001:db8::7]:7009", "--data"]);
    let output = command.arg(dir.path().join("other")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot listen on [2001:db8::7]:7009: address not available"), "{stderr}");
}

/// Only root can switch to another user; other users use root's sockets as the hidden ones.
#[test]
fn owners_that_only_root_can_see_stay_unknown() {
    let (_listener, port) = listen("127.0.0.1");
    let port = port.to_string();
    let args = ["net", "sockets", "--json", "--port", &port];
    // The target folder can be in a private home. Copied by another program: a child of another test would otherwise keep
    // the copy open for writing, and running it would fail with `text file busy`.
    let dir = folder();
    let binary = dir.path().join("vang");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_vang")).arg(&binary).status().unwrap();
    assert!(copied.success());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (mut command, hidden) = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
        command.arg("--inh-caps=-all").arg(&binary);
        (command, 1)
    } else {
        (vang(), 0)
    };
    let output = command.args(args).output().expect("setpriv (package util-linux)");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["shown"], &last["owner_hidden"]), (&Value::from(1), &Value::from(hidden)), "{text}");
}

#[test]
fn names_with_line_ends_and_escapes_stay_on_one_line() {
    let dir = folder();
    let program = "import ctypes, socket, sys\n\
                   ctypes.CDLL(None).prctl(15, b'a\\n\\x1b[31mb', 0, 0, 0)\n\
                   s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '/x\\ntcp \\x1b[31m'); s.listen()\n\
                   print('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(dir.path());
    let (mut child, _stdin) = Tail::start_with_stdin(command);
    assert_eq!(child.line(), "ready");
    let pid = child.pid().to_string();
    for forbids in [false, true] {
        let mut command = vang();
        if forbids {
            command = Command::new("python3");
            command.args(["-c", WITHOUT_NETLINK, env!("CARGO_BIN_EXE_vang")]);
        }
        command.args(["net", "sockets", "--unix", "--process", &pid]);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let socket = lines[1];
        assert!(socket.contains(&format!(r"  a\n\u{{1b}}[31mb ({pid}:3)")), "{text}");
        match forbids {
            // The table has one line per socket: text after a line end is lost.
            true => assert!(socket.contains(&format!("{}/x ", dir.path().display())), "{text}"),
            false => assert!(socket.contains(r"/x\ntcp \u{1b}[31m "), "{text}"),
        }
        assert_eq!(lines[2], "1 socket: 1 listen", "{text}");
    }
    let all = look(&["--unix", "--process", &pid]);
    assert!(all[0]["local"].as_str().unwrap().ends_with("/x\ntcp \u{1b}[31m"), "{all:?}");
}

#[test]
fn link_local_sockets_have_their_scope() {
    let hosts = Hosts::in_a_row(2);
    let far = hosts.link_local(1, "down1");
    let mut command = hosts.vang(1, &["net", "echo", "serve", "--listen", &format!("[{far}%down1]:7000")]);
    command.stderr(std::process::Stdio::null());
    let mut serving = Tail::start(command);
    assert!(serving.line().starts_with("listening on "));
    let reported = |host: usize, args: &[&str]| {
        let output = hosts.vang(host, args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, text) = reported(1, &["net", "sockets", "--port", "7000"]);
    assert!(text.contains(&format!("[{far}%down1]:7000")), "{text}");
    let place = format!("[{far}%up1]:7000");
    let (code, text) = reported(0, &["net", "doctor", &place]);
    assert!(code == Some(0) && text.contains("ok     icmp "), "{text}");
    let (code, text) = reported(0, &["net", "resolve", &format!("{far}%up1"), "7000"]);
    assert!(code == Some(0) && text.contains("  flow info 0, scope "), "{text}");
    let (code, text) = reported(0, &["net", "ping", &format!("{far}%up1"), "--tcp", "7000", "--count", "1"]);
    assert!(code == Some(0) && text.contains("TCP: 1 sent, 1 answer"), "{text}");
    // Without the interface a link-local address cannot be used.
    let (code, text) = reported(0, &["net", "doctor", &format!("[{far}]:7000")]);
    assert!(code == Some(1) && text.contains("FAILED route  scope missing ("), "{text}");
}

#[test]
fn the_timeout_ends_a_watch() {
    let output =
        vang().args(["net", "sockets", "--watch", "10s", "--timeout", "1ms", "--port", "1"]).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("0 sockets"));
    assert!(output.status.success());
}
