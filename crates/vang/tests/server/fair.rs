//! A flooding client does not block the others: they are served, the server stops when asked, its memory stays
//! within its budget, and its log stays short.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::common::{Witness, ask, comes_true, python, rest, serve, serve_process};
use crate::harness::{Server, exchange, guide, read_message, request, vang};

/// Clients that keep their sockets full; a thread of each reads the replies.
struct Flood {
    came: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(server: &Server, clients: usize, hello: &[u8], again: &[u8]) -> Flood {
        let (came, ends) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (mut streams, mut threads) = (Vec::new(), Vec::new());
        // Large pieces: the flood itself must cost little.
        let block = again.repeat((1 << 16) / again.len() + 1);
        for _ in 0..clients {
            let mut stream = TcpStream::connect(&server.addr).unwrap();
            stream.write_all(hello).unwrap();
            streams.push(stream.try_clone().unwrap());
            let (mut reading, came) = (stream.try_clone().unwrap(), came.clone());
            threads.push(std::thread::spawn(move || {
                while let Ok(n @ 1..) = reading.read(&mut [0; 1 << 16]) {
                    came.fetch_add(n as u64, Relaxed);
                }
            }));
            let (ends, block) = (ends.clone(), block.clone());
            threads.push(std::thread::spawn(move || {
                while !ends.load(Relaxed) && stream.write_all(&block).is_ok() {}
            }));
        }
        Flood { came, ends, streams, threads }
    }

    fn is_under_way(&self) {
        comes_true("the flood is answered", || self.came.load(Relaxed) > 200_000);
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// During this flood all other clients are served, also new ones, and SIGTERM stops the server.
fn nobody_is_held_up(clients: usize, hello: &[u8], again: &[u8]) {
    let (_dir, mut server) =
        serve_process(&["--limit", "stop-time=1s", "--limit", "questions-per-second=1000000"]);
    let mut witness = Witness::new(&server);
    let flood = Flood::start(&server, clients, hello, again);
    flood.is_under_way();
    for _ in 0..20 {
        witness.is_served();
        let (reply, _) = exchange(&mut server.connect(), &request("ping", &[], ""));
        assert_eq!(reply["status"], "ok");
    }
    let healthy = ask(&server.addr, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(healthy.ends_with(b"ok\n"), "{}", String::from_utf8_lossy(&healthy));
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn pings_with_many_keys_delay_nobody() {
    let keys: Vec<(String, &str)> = (0..200).map(|i| (format!("key-{i}"), "[1, 2, 3]")).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    nobody_is_held_up(1, b"", &request("ping", &keys, ""));
}

#[test]
fn tutorial_searches_from_twenty_clients_delay_nobody() {
    let search = guide("{\"action\": \"search\", \"value\": \"morpheus\"}");
    let text = String::from_utf8_lossy(&search[2..]).replacen('{', "{\"connection\": \"keep-alive\", ", 1);
    let header = text.find('}').unwrap() + 1;
    let search = [&(header as u16).to_be_bytes()[..], text.as_bytes()].concat();
    nobody_is_held_up(20, b"", &search);
}

#[test]
fn endless_typed_lines_delay_nobody() {
    nobody_is_held_up(1, b"ada\n", b"/help\n");
}

#[test]
fn websocket_pings_delay_nobody() {
    let hello = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    nobody_is_held_up(1, hello, b"\x89\x84\0\0\0\0ping");
}

#[test]
fn endless_http_requests_delay_nobody() {
    nobody_is_held_up(1, b"", b"GET /rooms HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

#[test]
fn requests_of_a_client_that_reads_no_replies_wait() {
    let (_dir, server) = serve_process(&["--limit", "questions-per-second=1000000"]);
    let mut witness = Witness::new(&server);
    witness.is_served();
    let large = "x".repeat(200_000);
    for _ in 0..4 {
        let send = request("send", &[("room", "\"general\"")], &large);
        assert_eq!(exchange(&mut server.connect(), &send).0["status"], "ok");
        witness.hears(&large);
    }
    let before = server.status_kib("VmRSS");
    let ask = request("history", &[("room", "\"general\"")], "");
    let flood = Flood::start(&server, 1, b"", &ask);
    flood.is_under_way();
    let most = (0..200)
        .map(|_| {
            witness.is_served();
            server.status_kib("VmRSS")
        })
        .max()
        .unwrap();
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 10, "pages of history for one client took {grown} KiB");
}

/// A message without its last byte.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut message = guide(&" ".repeat(bytes));
    message.pop();
    message
}

#[test]
fn unfinished_messages_share_a_budget_and_the_largest_is_refused() {
    let (_dir, server) = serve_process(&["--limit", "memory=32MiB"]);
    let mut witness = Witness::new(&server);
    let before = server.status_kib("VmRSS");
    let message = unfinished(1 << 20);
    let mut streams: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let writers: Vec<_> = streams
        .iter()
        .map(|stream| {
            let (mut stream, message) = (stream.try_clone().unwrap(), message.clone());
            // A refused client can get a reset while it writes.
            std::thread::spawn(move || drop(stream.write_all(&message)))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    for _ in 0..20 {
        witness.is_served();
    }
    let grown = server.status_kib("VmRSS").saturating_sub(before);
    assert!(grown < 64 << 10, "200 MiB of unfinished messages took {grown} KiB with a budget of 32 MiB");
    // The others were kept, and are answered when they are whole.
    let (mut kept, mut refused) = (0, 0);
    for stream in &mut streams {
        let _ = stream.write_all(b" ");
        match read_message(stream) {
            Ok((reply, _)) if reply["code"] == "busy" => {
                let detail = reply["detail"].as_str().unwrap();
                assert!(detail.contains("memory for clients is used up"), "{detail}");
                refused += 1;
            }
            Ok((reply, _)) => {
                assert_eq!(reply["code"], "malformed", "blanks are no JSON: {reply}");
                kept += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(kept >= 5 && refused >= 100, "{kept} kept, {refused} refused");
    drop(streams);
    witness.is_unharmed(&server);
    comes_true("the system has its memory back", || {
        server.status_kib("VmRSS").saturating_sub(before) < 32 << 10
    });
}

#[test]
fn the_limit_of_rooms_per_day_does_not_stop_sends() {
    let (dir, server) = serve(&["--limit", "rooms-per-day=3", "--trust", "local"]);
    let data = dir.path().join("data");
    server.ok(&["admin", "account", "add", "ada", "--data", data.to_str().unwrap()]);
    let mut stream = server.connect();
    let create = |name: &str| request("create", &[("room", &format!("\"{name}\"")), ("as", "\"ada\"")], "");
    for name in ["one", "two", "three"] {
        assert_eq!(exchange(&mut stream, &create(name)).0["status"], "ok");
    }
    let (reply, _) = exchange(&mut stream, &create("four"));
    assert_eq!(reply["code"], "busy", "{reply}");
    assert!(reply["retry-after"].as_u64().unwrap() > 60_000, "{reply}");
    let detail = reply["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("too many new rooms at once (limit rooms-per-day); try again in 2"),
        "{detail}"
    );
    for _ in 0..3 {
        let send = request("send", &[("room", "\"one\"")], "still here");
        assert_eq!(exchange(&mut stream, &send).0["status"], "ok");
    }
}

#[test]
fn an_account_can_make_so_many_rooms_and_the_operator_more() {
    let flags = ["--limit", "rooms-per-account=2", "--trust", "local"];
    let (dir, server) = serve(&flags);
    let folder = dir.path().join("data");
    let data = folder.to_str().unwrap();
    server.ok(&["admin", "account", "add", "ada", "--data", data]);
    let create = |server: &Server, name: &str| {
        let asked = request("create", &[("room", &format!("\"{name}\"")), ("as", "\"ada\"")], "");
        exchange(&mut server.connect(), &asked).0
    };
    for name in ["one", "two"] {
        assert_eq!(create(&server, name)["status"], "ok");
    }
    let refused = create(&server, "three");
    assert_eq!((&refused["code"], &refused["limit"]), (&"too-many".into(), &2.into()), "{refused}");
    server.ok(&["create", "three", "--as", "ada", "--data", data]);
    server.stop();
    assert_eq!(create(&Server::here(&folder, &flags), "four")["code"], "too-many");
}

#[test]
fn the_log_shows_the_first_bad_connection_and_counts_the_others() {
    let (_dir, mut server) = serve_process(&[]);
    for _ in 0..300 {
        assert!(!ask(&server.addr, b"\0\0").is_empty());
    }
    comes_true("all are closed", || server.ok(&["rooms"]).contains("general"));
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log();
    assert_eq!(log.matches("session closed").count(), 1, "{log}");
    assert!(log.contains("header of 0 bytes is too short"), "{log}");
    let left_out = log.lines().filter(|line| line.contains("similar messages were left out of the log"));
    let counts: u64 = left_out
        .map(|line| line.split("count=").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counts, 299, "{log}");
}

#[test]
fn a_truncated_tls_line_is_not_posted() {
    let (_dir, server) = serve(&[]);
    let mut witness = Witness::new(&server);
    // Python closes the TCP connection without TLS's goodbye, unless it is asked to unwrap, which fails while the server still
    // sends: who enters reads the last messages, and then who is here.
    let program = "import socket, ssl, sys\n\
                   context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n\
                   context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n\
                   host, port, goodbye = sys.argv[1], int(sys.argv[2]), sys.argv[3]\n\
                   tls = context.wrap_socket(socket.create_connection((host, port)), suppress_ragged_eofs=True)\n\
                   tls.sendall(b'ada\\n/who\\n')\n\
                   heard = b''\n\
                   while b' now: ' not in heard: heard += tls.recv(4096)\n\
                   tls.sendall(b'a whole line\\nhalf a li')\n\
                   if goodbye == 'goodbye': tls.unwrap()\n\
                   tls.close()\n";
    let address = server.socket_addr();
    let run = |goodbye: &str| {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let output = python().args(["-c", program, &host, &port, goodbye]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("cut");
    witness.hears("a whole line");
    run("goodbye");
    witness.hears("a whole line");
    witness.hears("half a li");
    let mut nothing_more = server.connect();
    nothing_more.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut nothing_more).is_empty());
}

#[test]
fn idle_connections_make_room_for_active_ones() {
    let (dir, server) = serve(&["--limit", "connections=20"]);
    let ping = request("ping", &[], "");
    let mut talks = TcpStream::connect(&server.addr).unwrap();
    assert_eq!(exchange(&mut talks, &ping).0["status"], "ok");
    // Half of a message, half of HTTP's head, nothing: more of each than there are places.
    let connect = |at: usize| {
        let mut stream = TcpStream::connect(&server.addr).unwrap();
        stream.write_all([&b"\0\x40{"[..], b"GET / HTTP/1.1\r\n", b""][at % 3]).unwrap();
        stream
    };
    let mut silent: Vec<_> = (0..60).map(connect).collect();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(&server.addr).unwrap();
        let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(asked).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.ends_with(b"ok\n"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(exchange(&mut talks, &ping).0["status"], "ok", "who has asked keeps its place");
    assert_eq!(silent[0].read(&mut [0; 16]).unwrap_or(0), 0, "the oldest had to go");
    // Their sessions went with them: who is gone holds nothing.
    drop(silent);
    comes_true("only who has asked is left", || sessions(&dir.path().join("data")) <= 2);
}

/// Open sessions, as the operator sees them; its own is one of them.
fn sessions(data: &Path) -> u64 {
    let output = vang().args(["status", "--json", "--data"]).arg(data).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    all["connections"]["open"].as_u64().unwrap()
}
