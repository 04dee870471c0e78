//! `vang net talk` beside `nc`, `socat` and `openssl` on the same sockets, with Python's standard library as the peer, and as
//! a person at a terminal sees it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::echo::{Echo, MODELS, python};
use crate::harness::terminal::{COLUMNS, Terminal};
use crate::harness::{PATIENCE, Server, Tail, folder, program, refusing, vang, wait};

fn talk(args: &[&str]) -> Command {
    let mut command = vang();
    command.args(["net", "talk"]).args(args);
    command
}

/// Runs a client with this input.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On its own thread: the client reads and writes at the same time.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The stdout of a client with this exit code.
fn says(args: &[&str], input: &[u8], code: i32) -> (String, String) {
    let output = with_input(talk(args), input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, aside) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{aside}");
    (out, aside)
}

/// The records of a client with this exit code.
fn records(args: &[&str], input: &[u8], code: i32) -> Vec<Value> {
    let (out, _) = says(&[args, &["--json"]].concat(), input, code);
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certificate for 127.0.0.1 with its key, made by openssl.
fn certificate(dir: &Path) -> (String, String) {
    let path = |name: &str| dir.join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let args =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let names = [
        "-subj",
        "/CN=peer",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    let made = Command::new("openssl")
        .args(args)
        .args(names)
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

#[test]
fn every_byte_comes_back_as_it_does_to_nc_and_socat() {
    let dir = folder();
    let path = dir.path().join("echo.sock").display().to_string();
    // More than all queues take, and every byte.
    let input: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 31 + at / 251) as u8).collect();
    for (model, place) in
        MODELS.iter().flat_map(|model| ["127.0.0.1:0", "[::1]:0", "unix"].map(|at| (model, at)))
    {
        let at = if place == "unix" { ["--unix", path.as_str()] } else { ["--listen", place] };
        let server = Echo::serve(&[&at[..], &["--model", model, "--quiet"]].concat());
        let mut clients = vec![talk(&[&server.address])];
        let (mut nc, mut socat) = (program("nc"), program("socat"));
        match server.address.strip_prefix("unix:") {
            Some(path) => {
                nc.args(["-N", "-U", path]);
                socat.args(["-t", "60", "-", &format!("UNIX-CONNECT:{path}")]);
            }
            None => {
                let (host, port) = server.address.rsplit_once(':').unwrap();
                nc.args(["-N", host.trim_matches(['[', ']']), port]);
                socat.args(["-t", "60", "-", &format!("TCP:{}", server.address)]);
                // Two words, as nc has them.
                clients.push(talk(&[host, port]));
            }
        }
        // One model shows what the others do; they differ in the server.
        if *model == "selector" {
            clients.extend([nc, socat]);
        }
        for client in clients {
            let shown = format!("{model} {place} {client:?}");
            let output = with_input(client, &input);
            assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == input, "{shown}: {} bytes came back", output.stdout.len());
        }
    }
}

#[test]
fn a_server_that_reads_to_the_end_answers_after_a_half_close() {
    let server = Echo::serve(&["--model", "sequential", "--greet"]);
    let two = "I have read everything you sent: 4 bytes.\nNow I close this connection. Goodbye.\n";
    for _ in 0..2 {
        let (out, aside) = says(&[&server.address], b"a\nb\n", 0);
        assert_eq!(out, two);
        let ends = aside.lines().last().unwrap();
        assert!(ends.starts_with("the peer closed; 4 bytes sent, 80 bytes received in "), "{aside}");
        assert!(ends.contains("; first answer after "), "{aside}");
    }
    assert_eq!(says(&[&server.address, "--quiet"], b"a\nb\n", 0), (two.to_owned(), String::new()));
    // Without an end of the data it waits for one.
    let records = records(&[&server.address, "--then", "wait", "--timeout", "200ms"], b"a\n", 124);
    let summary = records.last().unwrap();
    assert_eq!((&summary["ended"], &summary["received"]), (&"timed-out".into(), &0.into()), "{summary}");
}

#[test]
fn then_decides_what_happens_after_the_end_of_the_input() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let begin = |then: &[&str]| {
        let mut command = talk(&[&[address.as_str()], then].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"one\n").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut came = [0; 4];
        stream.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"one\n");
        (child, stream)
    };
    let finish = |child: Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // The end of the stream comes, and an answer behind it is shown.
    let (child, mut stream) = begin(&[]);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(b"late\n").unwrap();
    drop(stream);
    assert_eq!(finish(child).0, "late\n");
    // No end comes while the client waits: what it says on its way is known to be the last.
    let (mut child, mut stream) = begin(&["--then", "wait", "--explain"]);
    let mut first = [0; 6];
    stream.write_all(b"first\n").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    stream.write_all(b"second\n").unwrap();
    drop(stream);
    let (out, aside) = finish(child);
    assert_eq!(out, "second\n");
    assert!(!aside.contains("shutdown") && aside.contains("the peer closed; 4 bytes sent"), "{aside}");
    // It does not wait for an answer.
    let (child, mut stream) = begin(&["--then", "close"]);
    assert_eq!(finish(child).0, "");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    // It waits for this time only.
    let (child, _stream) = begin(&["--then", "wait", "--idle", "50ms"]);
    assert!(finish(child).1.contains("we closed: nothing came any more; 4 bytes sent, 0 bytes received"));
}

#[test]
fn the_exit_code_shows_whether_everything_was_sent() {
    let dir = folder();
    let refusing = refusing();
    let (_, aside) = says(&[&refusing.addr.to_string()], b"x", 1);
    assert!(aside.starts_with("vang: cannot connect to ") && aside.contains("connection refused"), "{aside}");
    // A peer that resets.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let resets = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        socket2::Socket::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        listener
    });
    let (_, aside) = says(&[&address], b"xx", 1);
    assert!(aside.contains("ended by an error; ") && aside.contains("connection reset by peer"), "{aside}");
    let listener = resets.join().unwrap();
    // One that closes without reading all.
    let closes = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        listener
    });
    let summary = records(&[&address], &[b'x'; 30_000_000], 1).pop().unwrap();
    assert_eq!(summary["ended"], "failed", "{summary}");
    let listener = closes.join().unwrap();
    // One that says nothing, but reads all.
    let reads = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap();
        (came.len(), listener)
    });
    let file = dir.path().join("input");
    std::fs::write(&file, vec![b'x'; 30_000_000]).unwrap();
    let output = talk(&[&address]).stdin(File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (len, listener) = reads.join().unwrap();
    assert_eq!(len, 30_000_000);
    // Nobody answers.
    let (_, aside) = says(&[&listener.local_addr().unwrap().to_string(), "--timeout", "50ms"], b"x", 124);
    assert!(aside.contains("we closed: the time is over; 1 byte sent"), "{aside}");
    // What is typed is not what was announced.
    let (_, aside) = says(&[&listener.local_addr().unwrap().to_string(), "--hex"], b"48 6x\n", 2);
    assert!(aside.contains("no two hexadecimal digits at character 4"), "{aside}");
    for (args, said) in [
        (&["--udp", "--tls"][..], "TLS needs TCP"),
        (&["--udp", "--then", "half-close"], "UDP and WebSocket have no half-close"),
        (&["--udp", "--proxy-header", "1"], "UDP has none"),
        (&["--proxy-from", "1.2.3.4:5"], "--proxy-header"),
        (&["--hex", "--frames"], "cannot be used with"),
    ] {
        let (_, aside) = says(&[&["127.0.0.1:7"], args].concat(), b"", 2);
        assert!(aside.contains(said), "{args:?}: {aside}");
    }
}

#[test]
fn tls_goes_to_openssl_and_a_wrong_server_is_refused() {
    let dir = folder();
    let (cert, key) = certificate(dir.path());
    let (other, _) = {
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        certificate(&other)
    };
    // It sends each line back in reverse.
    let mut server = program("openssl");
    server.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &cert, "-key", &key, "-rev"]);
    let (mut server, _stdin) = Tail::start_with_stdin(server);
    let address = loop {
        if let Some(address) = server.line().strip_prefix("ACCEPT ") {
            break address.to_owned();
        }
    };
    let (out, aside) =
        says(&[&address, "--ca", &cert, "--then", "wait", "--idle", "300ms"], b"abc\nxyz\n", 0);
    assert_eq!(out, "cba\nzyx\n");
    assert!(
        aside.contains("TLS 1.3; the server's key is SHA256:") && aside.contains(", verified\n"),
        "{aside}"
    );
    let (_, aside) = says(&[&address, "--tls", "--then", "wait", "--idle", "300ms"], b"abc\n", 0);
    assert!(
        aside.contains("not verified\nwhat this means: encrypted, but any server is accepted"),
        "{aside}"
    );
    let (out, aside) = says(&[&address, "--ca", &other], b"secret\n", 1);
    assert!(out.is_empty() && aside.contains("TLS: invalid peer certificate"), "{aside}");
    let (out, aside) = says(&[&address, "--ca", "/nope"], b"secret\n", 2);
    let said = "vang: cannot read '/nope': no such file or directory; give a PEM file with the certificates of authorities";
    assert!(out.is_empty() && aside.contains(said), "{aside}");
    let key = format!("SHA256:{}", "A".repeat(43));
    let (out, aside) = says(&[&address, "--fingerprint", &key], b"secret\n", 1);
    assert!(out.is_empty() && aside.contains("not SHA256:AAAA"), "{aside}");
    // The same bytes as openssl's own client gets, from our server.
    let cert = dir.path().join("ours.pem").display().to_string();
    let echo = Echo::serve(&["--tls", "--certificate-out", &cert]);
    let input: Vec<u8> = (0..300_000_u32).map(|at| (at * 31) as u8).collect();
    let mut openssl = program("openssl");
    openssl.args([
        "s_client",
        "-quiet",
        "-nocommands",
        "-verify_quiet",
        "-CAfile",
        &cert,
        "-connect",
        &echo.address,
    ]);
    let mut socat = program("socat");
    socat.args(["-t", "60", "-", &format!("OPENSSL:{},cafile={cert},commonname=localhost", echo.address)]);
    for client in [talk(&[&echo.address, "--ca", &cert]), socat] {
        let shown = format!("{client:?}");
        let output = with_input(client, &input);
        assert!(output.stdout == input, "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // A port without TLS, and a peer that closes in the handshake.
    let plain = Echo::serve(&[]);
    let (_, aside) = says(&[&plain.address, "--tls"], b"x", 1);
    assert!(aside.contains("TLS: ") && aside.contains("says whether this is a TLS port"), "{aside}");
}

#[test]
fn each_line_is_a_datagram_over_udp() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let peer = UdpSocket::bind(host).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = peer.local_addr().unwrap().to_string();
        let answers = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let datagrams: Vec<Vec<u8>> = (0..6)
                .map(|_| {
                    let (len, from) = peer.recv_from(&mut buffer).unwrap();
                    peer.send_to(&buffer[..len], from).unwrap();
                    buffer[..len].to_vec()
                })
                .collect();
            datagrams
        });
        let (out, _) = says(&[&address, "--udp", "--idle", "300ms"], b"one\ntwo\n\nend", 0);
        assert_eq!(out, "one\ntwo\n\nend");
        // As socat sends what one read gave.
        let mut socat = program("socat");
        socat.args(["-t", "0.3", "-", &format!("UDP:{address}")]);
        assert_eq!(with_input(socat, b"one\n").stdout, b"one\n");
        let records = records(&[&address, "--udp", "--hex", "--idle", "300ms"], b"00 ff\n", 0);
        let came = records.iter().find(|record| record["event"] == "received").unwrap();
        assert_eq!((&came["hex"], &came["ends"]), (&"00 ff".into(), &true.into()));
        let datagrams = answers.join().unwrap();
        assert_eq!(datagrams, [&b"one\n"[..], b"two\n", b"\n", b"end", b"one\n", b"\0\xff"]);
        // Nobody is there any more: the kernel of the other side says so.
        let (_, aside) = says(&[&address, "--udp"], b"x\n", 1);
        assert!(aside.contains("connection refused"), "{aside}");
    }
}

#[test]
fn messages_are_typed_and_shown() {
    let dir = folder();
    let server = Server::here(&dir.path().join("data"), &[]);
    let search = b"{\"action\": \"search\", \"value\": \"ring\"}\n";
    let (out, _) = says(&[&server.addr, "--frames"], search, 0);
    assert_eq!(
        out,
        "byte 0        message, 165 bytes, content-type \"text/json\": \
         \"{\\\"result\\\": \\\"In the caves beneath the Misty Mountains. 💍\\\"}\"\n"
    );
    let input = b"{\"action\": \"send\", \"room\": \"general\"} xin chao\n{\"action\": \"ping\"} {}\n";
    let web = format!("ws://{}/ws", server.addr);
    for (to, ends) in [(server.addr.as_str(), "peer-closed"), (&web, "idle")] {
        let records = records(&[to, "--frames", "--idle", "300ms"], input, 0);
        let results: Vec<&str> = records.iter().filter_map(|record| record["text"].as_str()).collect();
        assert!(
            results[0].starts_with("{\"result\": \"general#") && results[1] == "{\"result\": \"pong\"}",
            "{results:?}"
        );
        assert_eq!(records.last().unwrap()["ended"], ends, "{to}");
    }
    // The same bytes, as hexadecimal: a length in the wrong order is a header of 512 bytes that never comes.
    let (out, _) = says(&[&server.addr, "--hex"], b"0200 \"{}\"\n", 0);
    assert!(out.starts_with("00000000  "), "{out}");
}

/// A WebSocket server that sends each message back in two fragments, behind a ping, and closes after `bye`. It checks that
/// frames are masked, each with another key, and that the ping was answered.
const WEB_SOCKET: &str = r#"
import base64, hashlib, socket
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])
c, _ = s.accept()
f = c.makefile('rb')
head = {}
assert f.readline() == b'GET /echo?x=1 HTTP/1.1\r\n'
while (line := f.readline()) != b'\r\n':
    key, value = line.decode().split(': ', 1); head[key.lower()] = value.strip()
assert head['upgrade'] == 'websocket' and head['sec-websocket-version'] == '13' and len(base64.b64decode(head['sec-websocket-key'])) == 16
accept = base64.b64encode(hashlib.sha1((head['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest())
c.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + b'\r\n\r\n')
keys, pings, pongs = set(), 0, 0
def frame():
    first, second = f.read(2)
    assert second & 0x80, 'masked'
    n = second & 0x7f
    if n == 126: n = int.from_bytes(f.read(2), 'big')
    key = f.read(4); assert key not in keys; keys.add(key)
    return first, bytes(b ^ key[i % 4] for i, b in enumerate(f.read(n)))
while True:
    first, payload = frame()
    if first == 0x8a:
        assert payload == b'ping'; pongs += 1
        continue
    print(first, payload)
    if first == 0x88:
        assert pings == pongs
        break
    if payload == b'bye':
        c.sendall(b'\x88\x0a' + (1008).to_bytes(2, 'big') + b'too late')
        continue
    pings += 1
    c.sendall(b'\x89\x04ping' + bytes([first & 0x0f, 1]) + payload[:1] + bytes([0x80, len(payload) - 1]) + payload[1:])
"#;

#[test]
fn a_web_socket_is_spoken_as_the_standard_says() {
    let (mut server, address) = python(WEB_SOCKET);
    let to = format!("ws://{address}/echo?x=1");
    let (out, aside) = says(&[&to], "chào\n\x1b[2J\nbye\n".as_bytes(), 0);
    assert_eq!(out, "chào\u{1b}[2J");
    assert!(aside.contains("the peer closed: code 1008, \"too late\"; "), "{aside}");
    for line in [r"129 b'ch\xc3\xa0o'", r"129 b'\x1b[2J'", "129 b'bye'", r"136 b'\x03\xf0'"] {
        assert_eq!(server.line(), line);
    }
    let (mut server, address) = python(WEB_SOCKET);
    let records = records(&[&format!("ws://{address}/echo?x=1"), "--hex"], b"00 ff\n\"bye\"\n", 0);
    let came = records.iter().find(|record| record["event"] == "received").unwrap();
    assert_eq!((&came["hex"], &came["ends"]), (&"00 ff".into(), &true.into()));
    assert_eq!(server.line(), r"130 b'\x00\xff'", "binary");
    // Something else answers there.
    let (_server, address) = python(
        "import socket\n\
         s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])\n\
         c, _ = s.accept(); c.recv(9999); c.sendall(b'HTTP/1.1 404 Not\\x1b Found\\r\\n\\r\\n')",
    );
    let (_, aside) = says(&[&format!("ws://{address}/")], b"x\n", 1);
    assert!(aside.contains("it answered \"HTTP/1.1 404 Not\\u{1b} Found\", not HTTP/1.1 101"), "{aside}");
}

#[test]
fn nginx_reads_the_header_of_a_proxy() {
    let dir = folder();
    let (at, socket) = (dir.path().display(), dir.path().join("in.sock"));
    let conf = dir.path().join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\nevents {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
         uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5; server {{ listen unix:{} proxy_protocol;\n\
         location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port\\n\"; }} }} }}\n",
        socket.display()
    );
    std::fs::write(&conf, text).unwrap();
    let mut nginx = program("/usr/sbin/nginx");
    nginx.arg("-c").arg(&conf).arg("-p").arg(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let _nginx = Running(nginx.spawn().unwrap());
    let until = std::time::Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    let to = format!("unix:{}", socket.display());
    let get = b"GET / HTTP/1.1\nHost: x\nConnection: close\n\n";
    for version in ["1", "2"] {
        for (from, seen) in [("203.0.113.9:56324", "203.0.113.9 56324"), ("[2001:db8::9]:5", "2001:db8::9 5")]
        {
            let args = [to.as_str(), "--crlf", "--proxy-header", version, "--proxy-from", from];
            let (out, _) = says(&args, get, 0);
            assert!(
                out.starts_with("HTTP/1.1 200 OK\r\n") && out.ends_with(&format!("\r\n{seen}\n")),
                "{out}"
            );
        }
    }
    // Over TCP it names our own address.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child =
        talk(&[&address.to_string(), "--proxy-header", "1"]).stdin(Stdio::null()).spawn().unwrap();
    let (mut stream, from) = listener.accept().unwrap();
    let mut came = String::new();
    stream.read_to_string(&mut came).unwrap();
    assert_eq!(came, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), address.port()));
    drop(stream);
    assert!(wait(&mut child).success());
}

/// Memory in use at its highest, in KiB.
fn highest_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_flood_of_the_peer_costs_little_memory() {
    let dir = folder();
    for (number, more) in [&["--json"][..], &["--hex"], &["--frames"], &[]].into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let out = dir.path().join(format!("out{number}"));
        let mut command = talk(&[&listener.local_addr().unwrap().to_string()]);
        // It types nothing, and never ends.
        command.args(more).stdin(Stdio::piped()).stdout(File::create(&out).unwrap()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        // One line without end, and a message that promises a header of 64 KiB and then much content.
        let header = format!(
            "{{\"byteorder\": \"little\", \"content-type\": \"a/b\", \"content-encoding\": \"binary\", \"content-length\": {}}}",
            1_u64 << 40
        );
        stream.write_all(&[&(header.len() as u16).to_be_bytes(), header.as_bytes()].concat()).unwrap();
        for _ in 0..512 {
            stream.write_all(&[b'x'; 64 << 10]).unwrap();
        }
        let memory = highest_memory(child.id());
        drop(stream);
        assert!(wait(&mut child).success());
        assert!(memory < 40 << 10, "{more:?}: {memory} KiB for 32 MiB");
    }
}

/// A peer at which the test decides what is said.
fn peer() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn hears(stream: &mut TcpStream, line: &str) {
    let mut came = vec![0; line.len()];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(String::from_utf8(came).unwrap(), line);
}

#[test]
fn what_comes_does_not_destroy_the_line_that_is_typed() {
    let (listener, address) = peer();
    let mut terminal = Terminal::start(talk(&[&address]));
    let mut stream = accept(&listener);
    terminal.shows(">");
    assert!(!terminal.is_restored(), "the keys come one by one");
    terminal.press("hello wo");
    terminal.shows("> hello wo");
    stream.write_all(b"news: \x1b[2J\x1b[31mred\nand login: ").unwrap();
    let is_drawn = |lines: &[String]| {
        lines.contains(&"< and login:".to_owned()) && lines.last().unwrap() == "> hello wo"
    };
    terminal.until("the news above the line", is_drawn);
    let lines = terminal.lines();
    let from = lines.iter().position(|line| line.starts_with("< news")).unwrap();
    assert_eq!(
        &lines[from..],
        ["< news: \\u{1b}[2J\\u{1b}[31mred  (no line end)", "< and login:", "> hello wo"]
    );
    assert_eq!(terminal.cursor().1, 10);
    // The arrow keys move, and Enter sends the whole line.
    terminal.press("rld\x1b[D\x1b[D\x1b[D\x1b[D\x7fW\r");
    hears(&mut stream, "hello World\n");
    stream.write_all(b"answer\n").unwrap();
    terminal.shows("< answer  (");
    // What was sent comes back, and what was begun too.
    terminal.press("second\rbegun");
    hears(&mut stream, "second\n");
    terminal.press("\x1b[A\x1b[A");
    terminal.until("the first line again", |lines| lines.last().is_some_and(|line| line == "> hello World"));
    terminal.press("\x1b[B\x1b[B");
    terminal.until("the begun line", |lines| lines.last().is_some_and(|line| line == "> begun"));
    terminal.press("\x15");
    // A line that is longer than the screen is sent whole.
    let long = "0123456789".repeat(12);
    terminal.press(&long);
    let view = &long[long.len() + 3 - usize::from(COLUMNS)..];
    terminal.until("its end", |lines| lines.last().is_some_and(|line| line.strip_prefix("> ") == Some(view)));
    terminal.press("\r");
    hears(&mut stream, &format!("{long}\n"));
    // Ctrl-D ends the input; the connection goes on.
    terminal.press("\x04");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(b"the last word").unwrap();
    drop(stream);
    assert!(terminal.wait().success());
    terminal.shows("< the last word");
    terminal.shows("the peer closed; ");
    assert!(terminal.is_restored());
    let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(!raw.contains("\x1b[31m") && !raw.contains("\x1b[2J"), "{raw:?}");
}

#[test]
fn every_end_gives_the_terminal_back() {
    let (listener, address) = peer();
    for end in ["ctrl-c", "reset", "closed", "term", "timeout"] {
        let more: &[&str] = if end == "timeout" { &["--timeout", "700ms"] } else { &[] };
        let mut terminal = Terminal::start(talk(&[&[address.as_str()], more].concat()));
        let stream = accept(&listener);
        terminal.press("unfinished");
        terminal.shows("> unfinished");
        let code = match end {
            "ctrl-c" => {
                terminal.press("\x03");
                0
            }
            "reset" => {
                let socket = socket2::Socket::from(stream.try_clone().unwrap());
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                drop((socket, stream));
                1
            }
            "closed" => {
                drop(stream);
                0
            }
            "term" => {
                terminal.signal("TERM");
                0
            }
            _ => 124,
        };
        assert_eq!(terminal.wait().code(), Some(code), "{end}: {:#?}", terminal.lines());
        assert!(terminal.is_restored(), "{end}");
    }
}

#[test]
fn a_unix_socket_and_a_web_socket_are_typed_to_as_well() {
    let dir = folder();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut terminal = Terminal::start(talk(&[&format!("unix:{}", path.display()), "--hex"]));
    let (mut stream, _) = listener.accept().unwrap();
    terminal.shows(">");
    terminal.press("48 6x\r");
    terminal.shows("not sent: no two hexadecimal digits at character 4;");
    terminal.press("48 69\r");
    let mut came = [0; 2];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"Hi");
    stream.write_all(b"\0\x1b").unwrap();
    terminal.shows("< 00000000  00 1b ");
    drop(stream);
    assert!(terminal.wait().success());
    let (mut server, address) = python(WEB_SOCKET);
    let mut terminal = Terminal::start(talk(&[&format!("ws://{address}/echo?x=1")]));
    terminal.shows(">");
    terminal.press("hello\r");
    terminal.shows("< hello  (");
    terminal.press("bye\r");
    assert!(terminal.wait().success());
    terminal.shows("the peer closed: code 1008, \"too late\"; ");
    assert_eq!(server.line(), "129 b'hello'");
}
