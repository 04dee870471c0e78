//! The five exercises of the tutorial with our tools, over IPv4, IPv6, Unix sockets and UDP where they apply; otherwise the
//! test says why not. Python's standard library is the other side where that is the natural check: the programs of the
//! tutorial with another address.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::Value;

use crate::echo::{Echo, python_client, records, send, summary};
use crate::harness::{PATIENCE, Server, Tail, folder, vang};
use crate::stall;

/// Python code that connects to the address in its only argument.
const DIAL: &str = "\
import socket, sys
def dial(place):
    if place.startswith('unix:'):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect(place[5:]); return s
    host, port = place.rsplit(':', 1)
    return socket.create_connection((host.strip('[]'), int(port)))
";

/// Python code that listens and prints the port.
const LISTEN: &str = "\
import socket, sys
def listen(place):
    if place.startswith('unix:'):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.bind(place[5:]); s.listen(); print(place); return s
    host = place.rsplit(':', 1)[0].strip('[]')
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
    s.bind((host, 0)); s.listen(); p = s.getsockname()[1]
    print(f'[{host}]:{p}' if ':' in host else f'{host}:{p}'); return s
";

fn python(program: &str, place: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-S", "-E", "-B", "-u", "-c", program, place]);
    command
}

/// Runs a Python client and returns its output.
fn dialling(program: &str, place: &str) -> String {
    let output = python(&format!("{DIAL}{program}"), place).output().unwrap();
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a Python server and returns its address.
fn listening(program: &str, place: &str) -> (Tail, String) {
    let mut running = Tail::start(python(&format!("{LISTEN}{program}"), place));
    let place = running.line();
    (running, place)
}

/// One address of each kind: any port of both families, and a path in a temporary folder.
fn places() -> (tempfile::TempDir, [String; 3]) {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("socket").display());
    (dir, ["127.0.0.1:0".to_owned(), "[::1]:0".to_owned(), unix])
}

/// A connection with a timeout, so that a test cannot hang.
fn dial(place: &str) -> Box<dyn Both> {
    match place.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
        None => {
            let stream = TcpStream::connect(place).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
    }
}

trait Both: Read + Write {
    fn half_close(&self);
}

impl Both for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Both for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn exercise_1_an_echo_server_for_one_client_and_its_client() {
    let (_dir, places) = places();
    for place in &places {
        // vang with vang: the server sends every byte back until the client closes, then exits.
        let mut server = Echo::serve(&["--listen", place, "--once"]);
        let reported = records(&[&server.address], 0);
        assert_eq!((&summary(&reported)["messages"], &summary(&reported)["bytes"]), (&1.into(), &12.into()));
        assert_eq!(server.next("echoed")["text"], "\"Hello, world\"");
        assert!(server.tail.wait().success(), "{place}");
        // The tutorial's client, and our client with the tutorial's server.
        let mut server = Echo::serve(&["--listen", place, "--once"]);
        let said = dialling(
            "with dial(sys.argv[1]) as s:\n\
             \x20   s.sendall(b'Hello, world')\n\
             \x20   print(f'Received {s.recv(1024)!r}')",
            &server.address,
        );
        assert_eq!(said, "Received b'Hello, world'\n", "{place}");
        // It exits normally and removes its file.
        assert!(server.tail.wait().success(), "{place}");
        let (mut server, address) = listening(
            "conn, addr = listen(sys.argv[1]).accept()\n\
             with conn:\n\
             \x20   while data := conn.recv(1024): conn.sendall(data)",
            place,
        );
        assert_eq!(summary(&records(&[&address], 0))["bytes"], 12, "{place}");
        assert!(server.wait().success(), "our client closed, so theirs ended");
        if let Some(path) = place.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
    // UDP has no connections: one datagram, whose loss only a missing answer would show.
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Echo::serve(&["--udp", "--listen", host, "--once"]);
        let reported = records(&[&server.address, "--udp"], 0);
        assert_eq!((&summary(&reported)["sent"], &summary(&reported)["back"]), (&1.into(), &1.into()));
        assert!(server.tail.wait().success());
    }
    let server = Echo::serve(&["--udp"]);
    let said = python_client(
        "import socket, sys\n\
         with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n\
         \x20   s.settimeout(60); s.sendto(b'Hello, world', (sys.argv[1], int(sys.argv[2])))\n\
         \x20   print(f'Received {s.recv(1024)!r}')",
        &server.address,
    );
    assert_eq!(said, "Received b'Hello, world'\n");
}

/// The accept queue of a TCP port, and its maximum, by `vang net sockets`.
fn queue(address: &str) -> (u64, u64) {
    let port = address.rsplit_once(':').unwrap().1;
    let args = ["net", "sockets", "--port", port, "--state", "listen", "--json"];
    let output = vang().args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = rows.iter().find(|row| row["state"] == "listen").unwrap_or_else(|| panic!("{text}"));
    (row["recv_q"].as_u64().unwrap(), row["send_q"].as_u64().unwrap())
}

#[test]
fn exercise_2_a_sequential_server_answers_twice_and_closes() {
    let (_dir, places) = places();
    for place in &places {
        let mut command = vang();
        command.args(["net", "echo", "serve", "--model", "sequential", "--greet", "--backlog", "2"]);
        let mut server = Tail::start({
            command.args(["--listen", place]);
            command
        });
        let first = server.line();
        let address = first.strip_prefix("listening on ").unwrap().split(' ').next().unwrap().to_owned();
        assert!(first.ends_with("model sequential, backlog 2)"), "{first}");
        // Three clients connect; two wait in the accept queue.
        let mut clients: Vec<_> = (1..=3).map(|_| dial(&address)).collect();
        assert!(server.line().ends_with("connected; accepted 1 connection so far"));
        if !place.starts_with("unix:") {
            let until = std::time::Instant::now() + PATIENCE;
            while queue(&address) != (2, 2) {
                assert!(std::time::Instant::now() < until, "{:?}", queue(&address));
            }
        }
        for (n, client) in (1..).zip(&mut clients) {
            client.write_all(format!("I am number {n}.").as_bytes()).unwrap();
        }
        // Each is read to its end, answered with two texts, and closed; then comes the next.
        for (n, mut client) in (1..).zip(clients) {
            client.half_close();
            let mut answers = String::new();
            client.read_to_string(&mut answers).unwrap();
            assert_eq!(
                answers,
                "I have read everything you sent: 14 bytes.\nNow I close this connection. Goodbye.\n",
                "{place}"
            );
            let line = server.line();
            assert!(line.ends_with(&format!("read \"I am number {n}.\", 14 bytes")), "{line}");
            assert!(server.line().contains("we closed after our answer; 14 bytes in 1 read"));
            if n < 3 {
                let line = server.line();
                assert!(
                    line.ends_with(&format!("connected; accepted {} connections so far", n + 1)),
                    "{line}"
                );
            }
        }
        // A client that sends, does not close its half, and reads to the end.
        let said = dialling(
            "s = dial(sys.argv[1]); s.sendall(b'Hello')\n\
             while data := s.recv(1024): print(data.decode(), end='')",
            &address,
        );
        let two = "I have read everything you sent: 5 bytes.\nNow I close this connection. Goodbye.\n";
        assert_eq!(said, two, "{place}");
        assert!(server.line().ends_with("connected; accepted 4 connections so far"));
    }
    // UDP has no connections: no order, no count, no accept queue, no close.
    let refused = vang().args(["net", "echo", "serve", "--udp", "--greet"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UDP has no connections"));
}

#[test]
fn exercise_3_many_connections_with_two_messages_each() {
    const MANY: u64 = 40;
    let (_dir, places) = places();
    let texts = ["--message", "Message 1 from client.", "--message", "Message 2 from client."];
    let many = MANY.to_string();
    let ours = |address: &str| {
        let reported = records(&[&[address, "--connections", &many], &texts[..]].concat(), 0);
        let all = summary(&reported).clone();
        assert_eq!((&all["connections"], &all["messages"]), (&MANY.into(), &(2 * MANY).into()), "{address}");
        assert_eq!(all["bytes"], 44 * MANY, "{address}");
    };
    for place in &places {
        let server = Echo::serve(&["--listen", place, "--model", "selector"]);
        ours(&server.address);
        // The tutorial's client: a selector, non-blocking sockets, close when everything is back.
        let program = format!(
            "import selectors\n\
             sel = selectors.DefaultSelector(); total = 0\n\
             for i in range({MANY}):\n\
             \x20   s = dial(sys.argv[1]); s.setblocking(False)\n\
             \x20   sel.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE,\n\
             \x20       dict(out=b'', left=[b'Message 1 from client.', b'Message 2 from client.'], back=0))\n\
             while sel.get_map():\n\
             \x20   for key, mask in sel.select():\n\
             \x20       s, d = key.fileobj, key.data\n\
             \x20       if mask & selectors.EVENT_READ:\n\
             \x20           d['back'] += len(s.recv(1024))\n\
             \x20           if d['back'] == 44: total += 44; sel.unregister(s); s.close(); continue\n\
             \x20       if mask & selectors.EVENT_WRITE:\n\
             \x20           if not d['out'] and d['left']: d['out'] = d['left'].pop(0)\n\
             \x20           if d['out']: d['out'] = d['out'][s.send(d['out']):]\n\
             print(total)"
        );
        assert_eq!(dialling(&program, &server.address), format!("{}\n", 44 * MANY), "{place}");
        let served = server.interrupt();
        assert_eq!((&served["connections"], &served["bytes"]), (&(2 * MANY).into(), &(88 * MANY).into()));
        assert_eq!(served["broken"], 0, "{place}");
        // The tutorial's server.
        let (running, address) = listening(
            "import selectors\n\
             sel = selectors.DefaultSelector(); l = listen(sys.argv[1]); l.setblocking(False)\n\
             sel.register(l, selectors.EVENT_READ)\n\
             while True:\n\
             \x20   for key, mask in sel.select():\n\
             \x20       s, d = key.fileobj, key.data\n\
             \x20       if d is None:\n\
             \x20           c, _ = s.accept(); c.setblocking(False)\n\
             \x20           sel.register(c, selectors.EVENT_READ | selectors.EVENT_WRITE, dict(out=b'')); continue\n\
             \x20       if mask & selectors.EVENT_READ:\n\
             \x20           data = s.recv(1024)\n\
             \x20           if not data: sel.unregister(s); s.close(); continue\n\
             \x20           d['out'] += data\n\
             \x20       if mask & selectors.EVENT_WRITE and d['out']: d['out'] = d['out'][s.send(d['out']):]",
            place,
        );
        ours(&address);
        drop(running);
    }
    // UDP has no connections; the same number of numbered datagrams comes back (exercise 1 has texts).
    let server = Echo::serve(&["--udp"]);
    let reported = records(&[&server.address, "--udp", "--count", "80", "--bytes", "22"], 0);
    assert_eq!((&summary(&reported)["back"], &summary(&reported)["bytes"]), (&80.into(), &1_760.into()));
    let refused = send(&[&server.address, "--udp", "--connections", "2"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UDP has no connections"));
}

#[test]
fn exercise_4_the_application_protocol_its_server_and_its_client() {
    const ROWS: [(&str, &str, &str); 5] = [
        ("search", "morpheus", "Follow the white rabbit. 🐰\n"),
        ("search", "ring", "In the caves beneath the Misty Mountains. 💍\n"),
        ("search", "🐶", "🐾 Playing ball! 🏐\n"),
        ("search", "nobody", "No match for 'nobody'.\n"),
        ("binary", "hello", "First 10 bytes of request: binaryhell"),
    ];
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let more = ["--listen", "[::1]:0", "--listen", unix.as_str()];
    let mut server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &more);
    let addresses = [server.addr.clone(), server.listening(), server.listening()];
    // UDP does not apply: a message can be larger than a datagram, and its parts must come once and in order.
    for address in &addresses {
        for (action, value, answer) in ROWS {
            assert_eq!(server.ok(&["request", address, action, value]), answer, "{address}");
        }
        // The tutorial's client, with its header.
        let said = dialling(
            "import json, struct\n\
             def ask(kind, encoding, content):\n\
             \x20   h = json.dumps({'byteorder': sys.byteorder, 'content-type': kind, 'content-encoding': encoding,\n\
             \x20       'content-length': len(content)}, ensure_ascii=False).encode()\n\
             \x20   s = dial(sys.argv[1]); s.sendall(struct.pack('>H', len(h)) + h + content); all = b''\n\
             \x20   while data := s.recv(4096): all += data\n\
             \x20   n = struct.unpack('>H', all[:2])[0]; h = json.loads(all[2:2 + n]); content = all[2 + n:]\n\
             \x20   assert len(content) == h['content-length'], h\n\
             \x20   print(h['content-type'], h['content-encoding'], content.decode())\n\
             for action in ('search', 'dance'):\n\
             \x20   ask('text/json', 'utf-8', json.dumps({'action': action, 'value': 'morpheus'}).encode())\n\
             ask('binary/custom-client-binary-type', 'binary', b'binaryhello')",
            address,
        );
        assert_eq!(
            said,
            "text/json utf-8 {\"result\": \"Follow the white rabbit. 🐰\"}\n\
             text/json utf-8 {\"result\": \"Error: invalid action 'dance'.\"}\n\
             binary/custom-server-binary-type binary First 10 bytes of request: binaryhell\n",
            "{address}"
        );
    }
    // Our client with the tutorial's server: one request, one response, close.
    let (_dir, places) = places();
    for place in &places {
        let (mut running, address) = listening(
            "import json, struct\n\
             conn, _ = listen(sys.argv[1]).accept(); all = b''\n\
             while len(all) < 2: all += conn.recv(1)\n\
             n = struct.unpack('>H', all[:2])[0]\n\
             while len(all) < 2 + n: all += conn.recv(1)\n\
             h = json.loads(all[2:])\n\
             content = b''\n\
             while len(content) < h['content-length']: content += conn.recv(1)\n\
             q = json.loads(content); print(h['content-type'], h['content-encoding'], q['action'], q['value'])\n\
             c = json.dumps({'result': 'seen: ' + q['value']}, ensure_ascii=False).encode()\n\
             h = json.dumps({'byteorder': sys.byteorder, 'content-type': 'text/json', 'content-encoding': 'utf-8',\n\
             \x20   'content-length': len(c)}).encode()\n\
             conn.sendall(struct.pack('>H', len(h)) + h + c); conn.close()",
            place,
        );
        assert_eq!(server.ok(&["request", &address, "search", "🐶"]), "seen: 🐶\n");
        assert_eq!(running.line(), "text/json utf-8 search 🐶", "{place}");
    }
}

/// Recv-Q and Send-Q of the matching socket by `ss`. A list that changes while it is read can miss a socket, so it is read
/// until the socket is there.
fn ss(unix: bool, matches: impl Fn(&[&str]) -> bool) -> (u64, u64) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let list = if unix { "-Hxan" } else { "-Htan" };
        let output = Command::new("ss").arg(list).output().expect("ss (package iproute2)");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        if let Some(words) = lines.find(|words| matches(words)) {
            let at = usize::from(unix);
            return (words[at + 1].parse().unwrap(), words[at + 2].parse().unwrap());
        }
        assert!(std::time::Instant::now() < until, "{text}");
    }
}

#[test]
fn exercise_5_full_queues() {
    let (_dir, places) = places();
    for place in &places {
        let is_unix = place.starts_with("unix:");
        // Python writes until the kernel refuses; our server does not read, and reports where the bytes are.
        let mut server = Tail::start(stall::stall(&["serve", "--json", "--listen", place]));
        let address = stall::next(&mut server, "listening")["address"].as_str().unwrap().to_owned();
        // It runs until its stdin ends.
        let (mut writer, stdin) = Tail::start_with_stdin(python(
            &format!(
                "{DIAL}import select\n\
                 s = dial(sys.argv[1]); s.setblocking(False); n = 0\n\
                 while select.select([], [s], [], 1)[1]:\n\
                 \x20   try: n += s.send(b'v' * 65536)\n\
                 \x20   except BlockingIOError: pass\n\
                 print(n); input()"
            ),
            &address,
        ));
        let written: u64 = writer.line().parse().unwrap();
        let full = loop {
            let full = stall::next(&mut server, "full");
            let total = stall::number(&full, "recv_q") + full["send_q"].as_u64().unwrap_or(0);
            if total == written {
                break full;
            }
        };
        let recv_q = stall::number(&full, "recv_q");
        let seen = if is_unix {
            let path = place.strip_prefix("unix:").unwrap().to_owned();
            ss(true, |words| words[1] == "ESTAB" && words[4] == path)
        } else {
            ss(false, |words| words[3] == address && words[0] == "ESTAB")
        };
        assert_eq!(seen.0, recv_q, "{place}: {full}");
        drop((stdin, writer, server));
        // Both ends are vang, and the reader then reads.
        let mut server = Tail::start(stall::stall(&["serve", "--json", "--fix", "--listen", place]));
        let address = stall::next(&mut server, "listening")["address"].as_str().unwrap().to_owned();
        let (all, output) = stall::run(&["send", "--fix", &address]);
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        let blocked = stall::of(&all, "blocked")[0];
        let at = stall::number(blocked, "at_byte");
        assert_eq!(
            stall::number(blocked, "recv_q") + blocked["send_q"].as_u64().unwrap_or(0),
            at,
            "{blocked}"
        );
        assert_eq!((blocked["send_q"].is_null(), blocked["charged"].is_object()), (is_unix, is_unix));
        assert_eq!(stall::of(&all, "drained").len(), 1, "{place}");
        assert_eq!(stall::number(&stall::next(&mut server, "closed"), "read"), at);
    }
    // UDP never refuses a writer because of its reader; only the kernel counts dropped datagrams.
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let (all, output) = stall::run(&["send", "--udp", "--fix", host]);
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
        let (dropped, all) = (stall::of(&all, "dropped")[0].clone(), stall::of(&all, "summary")[0].clone());
        assert_eq!(dropped["refusals"], 0);
        assert!(stall::number(&dropped, "dropped") > 0, "{dropped}");
        assert_eq!(stall::number(&all, "read") + stall::number(&all, "dropped"), stall::number(&all, "sent"));
    }
}
