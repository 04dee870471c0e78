//! `vang net echo`: server and client, against each other and against Python's standard library.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;

use crate::harness::{PATIENCE, Tail, folder, program, refusing, vang};

pub(crate) const MODELS: [&str; 4] = ["sequential", "threads", "selector", "async"];

/// `vang net echo serve`, whose records are read as they come.
pub(crate) struct Echo {
    pub(crate) tail: Tail,
    pub(crate) address: String,
    pub(crate) listening: Value,
}

impl Echo {
    pub(crate) fn serve(args: &[&str]) -> Echo {
        let mut command = vang();
        command.args(["net", "echo", "serve", "--json"]).args(args);
        if !args.iter().any(|arg| ["--listen", "--unix"].contains(arg)) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut tail = Tail::start(command);
        let listening = tail.json();
        assert_eq!(listening["event"], "listening", "{listening}");
        Echo { tail, address: listening["address"].as_str().unwrap().to_owned(), listening }
    }

    /// The next record of this kind.
    pub(crate) fn next(&mut self, event: &str) -> Value {
        loop {
            let record = self.tail.json();
            if record["event"] == event {
                return record;
            }
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends SIGINT and returns the summary.
    pub(crate) fn interrupt(mut self) -> Value {
        let status = Command::new("kill").args(["-INT", &self.tail.pid().to_string()]).status().unwrap();
        assert!(status.success());
        let summary = self.next("summary");
        assert!(self.tail.wait().success());
        summary
    }
}

pub(crate) fn send(args: &[&str]) -> Output {
    vang().args(["net", "echo", "send"]).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The records of a client with this exit code.
pub(crate) fn records(args: &[&str], code: i32) -> Vec<Value> {
    let output = send(&[args, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}{errors}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn of<'a>(records: &'a [Value], event: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["event"] == event).collect()
}

pub(crate) fn summary(records: &[Value]) -> &Value {
    of(records, "summary")[0]
}

/// A Python program that prints the port at which it listens; it ends with the test.
pub(crate) fn python(program: &str) -> (Tail, String) {
    let mut command = Command::new("python3");
    command.args(["-S", "-E", "-B", "-u", "-c", program]);
    let mut tail = Tail::start(command);
    let port = tail.line();
    (tail, format!("127.0.0.1:{port}"))
}

pub(crate) fn python_client(program: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let host = host.trim_matches(['[', ']']);
    let output =
        Command::new("python3").args(["-S", "-E", "-B", "-c", program, host, port]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn once_serves_one_client_in_every_model_and_family() {
    let dir = folder();
    let path = dir.path().join("echo.sock").display().to_string();
    for model in MODELS {
        for at in [["--listen", "127.0.0.1:0"], ["--listen", "[::1]:0"], ["--unix", &path]] {
            let mut server = Echo::serve(&[&at[..], &["--model", model, "--once"]].concat());
            let output = send(&[&server.address]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{model} {at:?}: {text}");
            assert!(text.starts_with("\"Hello, world\" came back: 12 bytes in "), "{text}");
            assert_eq!(server.next("connected")["connection"], 1);
            let echoed = server.next("echoed");
            assert_eq!((&echoed["text"], &echoed["bytes"]), (&"\"Hello, world\"".into(), &12.into()));
            let closed = server.next("closed");
            assert_eq!((&closed["by"], &closed["bytes"]), (&"peer".into(), &12.into()), "{model}: {closed}");
            assert_eq!(server.next("summary")["bytes"], 12);
            assert!(server.tail.wait().success());
        }
    }
    assert!(!dir.path().join("echo.sock").exists(), "the socket's file goes with its server");
}

#[test]
fn the_guides_client_in_python_is_served_by_every_model() {
    let client = "import socket, sys\n\
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:\n\
        \x20   s.connect((sys.argv[1], int(sys.argv[2])))\n\
        \x20   s.sendall(b'Hello, world')\n\
        \x20   data = s.recv(1024)\n\
        print(f'Received {data!r}')";
    for model in MODELS {
        let server = Echo::serve(&["--model", model, "--once"]);
        assert_eq!(python_client(client, &server.address), "Received b'Hello, world'\n", "{model}");
    }
}

#[test]
fn the_guides_server_in_python_serves_our_client_and_exits() {
    let (mut server, address) = python(
        "import socket\n\
         with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:\n\
         \x20   s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1])\n\
         \x20   conn, addr = s.accept()\n\
         \x20   with conn:\n\
         \x20       while True:\n\
         \x20           data = conn.recv(1024)\n\
         \x20           if not data: break\n\
         \x20           conn.sendall(data)",
    );
    let reported = records(&[&address], 0);
    assert_eq!(of(&reported, "back")[0]["text"], "\"Hello, world\"");
    assert_eq!(summary(&reported)["messages"], 1);
    assert!(server.wait().success(), "our client closed, so theirs ended");
}

#[test]
fn many_connections_get_all_their_messages_back() {
    let texts = ["--message", "Message 1 from client.", "--message", "Message 2 from client."];
    for model in ["threads", "selector", "async"] {
        let server = Echo::serve(&["--model", model]);
        let reported = records(&[&[server.address.as_str(), "--connections", "50"], &texts[..]].concat(), 0);
        assert_eq!(of(&reported, "back").len(), 100);
        let all = summary(&reported);
        assert_eq!(
            (&all["connections"], &all["messages"], &all["bytes"]),
            (&50.into(), &100.into(), &2_200.into())
        );
        let served = server.interrupt();
        assert_eq!((&served["connections"], &served["bytes"]), (&50.into(), &2_200.into()), "{model}");
    }
}

#[test]
fn pythons_selector_server_serves_our_many_connections() {
    let (_server, address) = python(
        "import selectors, socket, types\n\
         sel = selectors.DefaultSelector()\n\
         l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); print(l.getsockname()[1])\n\
         l.setblocking(False); sel.register(l, selectors.EVENT_READ, None)\n\
         while True:\n\
         \x20 for key, mask in sel.select():\n\
         \x20  if key.data is None:\n\
         \x20   c, a = key.fileobj.accept(); c.setblocking(False)\n\
         \x20   sel.register(c, selectors.EVENT_READ | selectors.EVENT_WRITE, types.SimpleNamespace(out=b''))\n\
         \x20   continue\n\
         \x20  s, d = key.fileobj, key.data\n\
         \x20  if mask & selectors.EVENT_READ:\n\
         \x20   data = s.recv(1024)\n\
         \x20   if data: d.out += data\n\
         \x20   else: sel.unregister(s); s.close(); continue\n\
         \x20  if mask & selectors.EVENT_WRITE and d.out:\n\
         \x20   d.out = d.out[s.send(d.out):]",
    );
    let texts = ["--message", "Message 1 from client.", "--message", "Message 2 from client."];
    let reported = records(&[&[address.as_str(), "--connections", "20"], &texts[..]].concat(), 0);
    assert_eq!((&summary(&reported)["messages"], &summary(&reported)["bytes"]), (&40.into(), &880.into()));
}

#[test]
fn a_greeting_server_reads_everything_answers_twice_and_closes() {
    for model in ["sequential", "threads"] {
        let mut server = Echo::serve(&["--model", model, "--greet"]);
        for n in 1..=2 {
            let mut stream = server.connect();
            stream.write_all(b"first line\nsecond line\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(
                answer,
                "I have read everything you sent: 23 bytes.\nNow I close this connection. Goodbye.\n"
            );
            assert_eq!(server.next("connected")["connection"], n);
            let closed = server.next("closed");
            assert_eq!((&closed["by"], &closed["how"]), (&"we".into(), &"answered".into()));
        }
    }
    // A client that does not close its half is answered after a silence.
    let server = Echo::serve(&["--model", "sequential", "--greet"]);
    let client = "import socket, sys\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        s.sendall(b'hi')\n\
        while data := s.recv(1024): print(data.decode(), end='')";
    assert!(
        python_client(client, &server.address).starts_with("I have read everything you sent: 2 bytes.\n")
    );
}

#[test]
fn a_sequential_server_makes_the_second_client_wait() {
    let mut server = Echo::serve(&["--model", "sequential"]);
    let mut first = server.connect();
    first.write_all(b"one").unwrap();
    first.read_exact(&mut [0; 3]).unwrap();
    // The kernel completes the connection and takes its bytes.
    let mut second = server.connect();
    second.write_all(b"two").unwrap();
    assert_eq!(server.next("connected")["connection"], 1);
    drop(first);
    let mut bytes = [0; 3];
    second.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"two");
    // In this order: the first had closed before the second was accepted.
    assert_eq!(server.next("closed")["connection"], 1);
    assert_eq!(server.next("connected")["connection"], 2);
}

#[test]
fn a_backlog_above_the_system_limit_is_reported_as_shortened() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let (most, more) = (most.trim().to_owned(), (most.trim().parse::<u32>().unwrap() + 1).to_string());
    for listen in [&["--listen", "127.0.0.1:0"][..], &["--unix", "s"]] {
        let dir = folder();
        let said = |backlog: &str| {
            let mut command = vang();
            command.current_dir(dir.path()).args(["net", "echo", "serve", "--explain", "--backlog", backlog]);
            let mut tail = Tail::start({
                command.args(listen);
                command
            });
            [tail.said("until they are accepted"), tail.line()].concat()
        };
        let usual = said(&most);
        assert!(
            usual.contains(&format!("up to {most} wait until"))
                && usual.contains(&format!("backlog {most})")),
            "{usual}"
        );
        let capped = said(&more);
        assert!(
            capped.contains(&format!("up to {most} wait (net.core.somaxconn; requested: {more})")),
            "{capped}"
        );
        assert!(capped.contains(&format!("backlog {most}: the maximum of the system")), "{capped}");
    }
}

#[test]
fn a_client_that_closes_before_its_answer_counts_as_reset() {
    for model in MODELS {
        let greets = if ["sequential", "threads"].contains(&model) { &["--greet"][..] } else { &[] };
        let mut server = Echo::serve(&[&["--model", model], greets].concat());
        for _ in 0..3 {
            let client = TcpStream::connect(&server.address).unwrap();
            socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(client);
            let closed = server.next("closed");
            assert_eq!(closed["how"], "reset", "{model}: {closed}");
            // It closes normally without reading the answer: its kernel then sends RST.
            let mut client = TcpStream::connect(&server.address).unwrap();
            client.write_all(b"x").unwrap();
            drop(client);
            let closed = server.next("closed");
            assert_ne!(closed["how"], "failed", "{model}: {closed}");
        }
    }
}

#[test]
fn an_idle_connection_blocks_only_the_sequential_model() {
    for model in ["threads", "selector", "async"] {
        let server = Echo::serve(&["--model", model]);
        let _silent = server.connect();
        let mut greedy = server.connect();
        // It sends and never reads: the server must stop reading from it, and keep serving others.
        greedy.set_nonblocking(true).unwrap();
        while greedy.write(&[b'x'; 1 << 16]).is_ok() {}
        assert_eq!(summary(&records(&[&server.address], 0))["messages"], 1, "{model}");
    }
}

#[test]
fn the_end_of_a_connection_is_reported() {
    for model in MODELS {
        let mut server = Echo::serve(&["--model", model, "--idle", "300ms"]);
        // A reset: it closes with unread bytes.
        let mut reset = server.connect();
        reset.write_all(b"x").unwrap();
        assert_eq!(server.next("echoed")["bytes"], 1);
        socket2::SockRef::from(&reset).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(reset);
        assert_eq!(server.next("closed")["how"], "reset", "{model}");
        // It sends, closes its half, and still receives.
        let mut half = server.connect();
        half.write_all(&vec![b'y'; 100_000]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        half.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), 100_000, "{model}");
        let closed = server.next("closed");
        assert!(["half-close", "end of stream"].contains(&closed["how"].as_str().unwrap()), "{closed}");
        assert_eq!(closed["bytes"], 100_000);
        // It sends nothing.
        let mut idle = server.connect();
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the server closes it");
        let closed = server.next("closed");
        assert_eq!((&closed["by"], &closed["how"]), (&"we".into(), &"idle".into()), "{model}");
        // Stopped during the exchange.
        let mut open = server.connect();
        open.write_all(b"z").unwrap();
        open.read_exact(&mut [0]).unwrap();
        let served = server.interrupt();
        assert_eq!((&served["broken"], &served["idle"]), (&1.into(), &1.into()), "{model}: {served}");
        assert_eq!(open.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_half_close_with_bytes_in_flight_is_reported() {
    let mut server = Echo::serve(&["--model", "selector"]);
    let stopped = |name: &str| {
        let status =
            Command::new("kill").args([&format!("-{name}"), &server.tail.pid().to_string()]).status();
        assert!(status.unwrap().success());
    };
    // While the server is stopped both the bytes and the end arrive.
    let mut stream = server.connect();
    stopped("STOP");
    stream.write_all(b"bye").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stopped("CONT");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!((back.as_slice(), &server.next("closed")["how"]), (&b"bye"[..], &"half-close".into()));
}

#[test]
fn large_messages_come_back_in_every_model_plain_and_over_tls() {
    for model in MODELS {
        for tls in [false, true] {
            let mut args = vec!["--model", model, "--quiet"];
            args.extend(tls.then_some("--tls"));
            let server = Echo::serve(&args);
            let mut args =
                vec![server.address.as_str(), "--bytes", "3Mi", "--connections", "1", "--count", "2"];
            args.extend(tls.then_some("--tls"));
            let reported = records(&args, 0);
            assert_eq!(summary(&reported)["bytes"], 6 << 20, "{model} {tls}");
            assert_eq!(server.interrupt()["bytes"], 6 << 20, "{model} {tls}");
        }
    }
}

#[test]
fn tls_reports_the_key_and_verifies_it() {
    let dir = folder();
    let pem = dir.path().join("cert.pem").display().to_string();
    let server = Echo::serve(&["--tls", "--certificate-out", &pem]);
    let key = server.listening["key"].as_str().unwrap().to_owned();
    let to = server.address.as_str();
    let reported = records(&[to, "--tls"], 0);
    assert_eq!(
        (&of(&reported, "tls")[0]["key"], &of(&reported, "tls")[0]["verified"]),
        (&key.clone().into(), &false.into())
    );
    assert!(of(&reported, "means")[0]["text"].as_str().unwrap().contains("any server is accepted"));
    for pin in [["--fingerprint", key.as_str()], ["--ca", pem.as_str()]] {
        let reported = records(&[&[to, "--tls"], &pin[..]].concat(), 0);
        assert_eq!(
            (&of(&reported, "tls")[0]["verified"], of(&reported, "means").len()),
            (&true.into(), 0),
            "{pin:?}"
        );
    }
    let other = format!("SHA256:{}", "A".repeat(43));
    let reported = records(&[to, "--tls", "--fingerprint", &other], 1);
    let why = of(&reported, "broken")[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains(&format!("the server's key is {key}, not {other}")), "{why}");
    assert_eq!(summary(&reported)["bytes"], 0, "nothing was sent to it");
    // Another certificate does not verify this server.
    let other_pem = dir.path().join("other.pem").display().to_string();
    let _other = Echo::serve(&["--tls", "--certificate-out", &other_pem]);
    assert!(!of(&records(&[to, "--tls", "--ca", &other_pem], 1), "broken").is_empty());
    // Python's TLS, which checks the certificate and the name.
    let client = format!(
        "import socket, ssl, sys\n\
         c = ssl.create_default_context(cafile='{pem}')\n\
         with c.wrap_socket(socket.create_connection((sys.argv[1], int(sys.argv[2]))), server_hostname='localhost') as s:\n\
         \x20   s.sendall(b'Hello, world'); print(s.recv(1024))"
    );
    assert_eq!(python_client(&client, to), "b'Hello, world'\n");
}

#[test]
fn datagrams_are_echoed_to_vang_and_python_in_both_families() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Echo::serve(&["--udp", "--listen", at]);
        let reported = records(&[&server.address, "--udp", "--message", "Hello, world", "--message", ""], 0);
        assert_eq!((&summary(&reported)["sent"], &summary(&reported)["back"]), (&2.into(), &2.into()));
        assert_eq!(server.next("echoed")["text"], "\"Hello, world\"");
        let client = "import socket, sys\n\
            f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
            s = socket.socket(f, socket.SOCK_DGRAM); s.settimeout(30)\n\
            s.sendto(b'Hello, world', (sys.argv[1], int(sys.argv[2]))); print(s.recv(1024))";
        assert_eq!(python_client(client, &server.address), "b'Hello, world'\n");
        let reported =
            records(&[&server.address, "--udp", "--bytes", "1200", "--count", "50", "--rate", "1000"], 0);
        let all = summary(&reported);
        assert_eq!((&all["sent"], &all["back"], &all["lost"]), (&50.into(), &50.into(), &0.into()));
        assert!(all["jitter_us"].as_f64().unwrap() > 0.0);
        assert_eq!(server.interrupt()["reads"], 53);
    }
    // On every interface: the answer must come from the requested address, or the client refuses it.
    let server = Echo::serve(&["--udp", "--listen", ":0"]);
    let port = server.address.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "127.0.0.2", "[::1]"] {
        let reported = records(&[&format!("{host}:{port}"), "--udp"], 0);
        assert_eq!(summary(&reported)["back"], 1, "{host}");
    }
    let mut once = Echo::serve(&["--udp", "--once"]);
    assert_eq!(summary(&records(&[&once.address, "--udp"], 0))["back"], 1);
    assert!(once.tail.wait().success());
}

#[test]
fn lost_duplicated_and_reordered_datagrams_are_counted() {
    // It drops numbers that end in 4, duplicates those that end in 6, and swaps 8 and 9.
    let (_server, address) = python(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])\n\
         held = None\n\
         while True:\n\
         \x20 d, a = s.recvfrom(65536); n = int.from_bytes(d[:8], 'big') % 10\n\
         \x20 if n == 4: continue\n\
         \x20 if n == 8: held = d; continue\n\
         \x20 s.sendto(d, a)\n\
         \x20 if n == 6: s.sendto(d, a)\n\
         \x20 if n == 9: s.sendto(held, a)",
    );
    let output = send(&[&address, "--udp", "--rate", "500", "--count", "100", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let reported: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let all = summary(&reported);
    assert_eq!((&all["sent"], &all["back"], &all["lost"]), (&100.into(), &90.into(), &10.into()), "{all}");
    assert_eq!((&all["duplicated"], &all["reordered"]), (&10.into(), &10.into()), "{all}");
    assert_eq!(of(&reported, "means").len(), 3);
    // No listener: ICMP reports it.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reported = records(&[&port.to_string(), "--udp"], 1);
    assert!(of(&reported, "broken")[0]["why"].as_str().unwrap().contains("port unreachable"), "{reported:?}");
}

#[test]
fn a_wrong_answer_is_reported_at_its_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let mut buffer = [0; 64];
        // Wrong in the middle; too many bytes; too few, then close.
        for answer in [&b"Hello, World"[..], b"Hello, world!", b"Hello"] {
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(stream.read(&mut buffer).unwrap(), 12);
            stream.write_all(answer).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read(&mut buffer);
        }
    });
    let reported = records(&[&address], 1);
    let wrong = of(&reported, "wrong")[0];
    assert_eq!(
        (&wrong["byte"], &wrong["sent"], &wrong["came"]),
        (&7.into(), &"\"world\"".into(), &"\"World\"".into())
    );
    assert!(of(&reported, "means")[0]["text"].as_str().unwrap().contains("not an echo server"));
    let reported = records(&[&address], 1);
    assert_eq!(
        (&of(&reported, "wrong")[0]["byte"], &of(&reported, "wrong")[0]["came"]),
        (&12.into(), &"\"!\"".into())
    );
    let reported = records(&[&address], 1);
    assert_eq!(of(&reported, "broken")[0]["why"], "the server closed after 5 of 12 bytes of message 1");
    server.join().unwrap();
}

#[test]
fn a_schedule_does_not_wait_and_reports_both_waits() {
    let server = Echo::serve(&["--quiet"]);
    let reported = records(&[&server.address, "--rate", "2000", "--count", "500", "--connections", "4"], 0);
    let all = summary(&reported);
    assert_eq!((&all["messages"], &all["of"]), (&all["of"], &2_000.into()), "{all}");
    assert!(all["wait"]["p50_us"].as_f64().unwrap() > 0.0 && all["since_sent"]["p50_us"].is_number());
    // A stalled server shows in the wait from the scheduled time, not in that from the actual send time.
    let (_slow, address) = python(
        "import socket, time\n\
         l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); print(l.getsockname()[1])\n\
         c, _ = l.accept(); c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); n = 0\n\
         while d := c.recv(65536):\n\
         \x20 n += 1\n\
         \x20 if n == 10: time.sleep(0.5)\n\
         \x20 c.sendall(d)",
    );
    let reported = records(&[&address, "--rate", "100", "--count", "40"], 0);
    let (due, sent) = (&summary(&reported)["wait"]["p90_us"], &summary(&reported)["since_sent"]["p90_us"]);
    assert!(due.as_f64().unwrap() > sent.as_f64().unwrap(), "{due} {sent}");
}

#[test]
fn stdin_is_echoed_line_by_line_to_its_end() {
    let server = Echo::serve(&[]);
    let mut command = vang();
    command.args(["net", "echo", "send", &server.address, "--stdin", "--json"]);
    let (mut client, mut stdin) = Tail::start_with_stdin(command);
    for line in ["hello", "🐶"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(client.json()["text"], format!("\"{line}\\n\""), "each as soon as it is typed");
    }
    stdin.write_all(b"no end of line").unwrap();
    drop(stdin);
    assert_eq!(client.json()["text"], "\"no end of line\"");
    let all = client.json();
    assert_eq!((&all["event"], &all["messages"], &all["of"]), (&"summary".into(), &3.into(), &3.into()));
    assert!(client.wait().success());
}

#[test]
fn every_model_is_compared_in_one_table() {
    let reported = records(&["--compare", "--connections", "4", "--duration", "200ms"], 0);
    let rows = of(&reported, "model");
    let models: Vec<_> = rows.iter().map(|row| row["model"].as_str().unwrap()).collect();
    let all_models = [&MODELS[..], &["processes"]].concat();
    assert_eq!(models, all_models);
    assert_eq!((&rows[0]["served"], &rows[0]["connections"]), (&1.into(), &4.into()), "one by one");
    for row in &rows[1..] {
        assert_eq!(row["served"], 4, "{row}");
        assert!(
            row["messages"].as_u64().unwrap() > 0 && row["cpu_us_per_message"].as_f64().unwrap() > 0.0,
            "{row}"
        );
    }
    let table = send(&["--compare", "--connections", "2", "--duration", "100ms"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.starts_with("model       served  messages/s"), "{text}");
    assert_eq!(
        all_models.iter().filter(|model| text.lines().any(|line| line.starts_with(*model))).count(),
        5,
        "{text}"
    );
    assert!(text.contains("what this means: look at `served` first: sequential answered 1 of 2"), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with("5 of 5 models, each 0.10 s with 2 connections"),
        "{text}"
    );
    // Stopped during the run: the summary has the results so far.
    let mut command = vang();
    command.args(["net", "echo", "send", "--compare", "--duration", "1h", "--json"]);
    let mut long = Tail::start(command);
    let began = std::time::Instant::now();
    while std::fs::read_dir(format!("/proc/{}/task", long.pid())).unwrap().count() < 2 {
        assert!(began.elapsed() < PATIENCE, "its server runs on another thread");
    }
    assert!(Command::new("kill").args(["-INT", &long.pid().to_string()]).status().unwrap().success());
    let all = long.json();
    assert_eq!((&all["event"], &all["models"], &all["of"]), (&"summary".into(), &0.into(), &5.into()));
    assert_eq!(long.wait().code(), Some(1), "the comparison was not complete");
}

#[test]
fn messages_scheduled_during_a_stall_are_sent_late_or_counted() {
    // It stalls near the end of the schedule: everything is still sent, and the stall shows in the wait.
    let stands_still = |python_code: &str| {
        python(&format!(
            "import socket, time\n\
             l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); print(l.getsockname()[1])\n\
             c, _ = l.accept(); n = 0\n\
             while d := c.recv(65536):\n\
             \x20 n += 1\n\
             \x20 if n == 50: {python_code}\n\
             \x20 c.sendall(d)"
        ))
    };
    let (_slow, address) = stands_still("time.sleep(0.6)");
    let reported = records(&[&address, "--rate", "100", "--duration", "1s"], 0);
    let all = summary(&reported);
    assert_eq!(
        (&all["of"], &all["messages"], &all["unsent"]),
        (&100.into(), &100.into(), &0.into()),
        "{all}"
    );
    assert!(all["wait"]["p90_us"].as_f64().unwrap() > all["since_sent"]["p90_us"].as_f64().unwrap(), "{all}");
    // It stalls up to the end: unsent messages are counted and explained.
    let (_stuck, address) = stands_still("time.sleep(600)");
    let reported = records(&[&address, "--rate", "100", "--duration", "1s"], 1);
    let all = summary(&reported);
    assert_eq!((&all["of"], &all["messages"]), (&100.into(), &49.into()), "{all}");
    assert_eq!((&all["unanswered"], &all["unsent"]), (&1.into(), &50.into()), "{all}");
    assert!(
        of(&reported, "means")[0]["text"].as_str().unwrap().contains("slower than the schedule"),
        "{reported:?}"
    );
}

#[test]
fn endless_answers_do_not_extend_a_udp_run() {
    let (_flood, address) = python(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])\n\
         d, a = s.recvfrom(65536)\n\
         while True:\n\
         \x20 try: s.sendto(d, a)\n\
         \x20 except OSError: pass",
    );
    let reported = records(&[&address, "--udp", "--count", "2", "--rate", "1000"], 1);
    let all = summary(&reported);
    assert_eq!((&all["sent"], &all["back"], &all["lost"]), (&2.into(), &1.into(), &1.into()), "{all}");
    assert!(all["duplicated"].as_u64().unwrap() > 0, "{all}");
}

/// A tool under a limit of open files.
fn with_files(limit: u32, args: &[&str]) -> Command {
    let mut command = program("sh");
    command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_vang")).args(args);
    command
}

#[test]
fn a_file_limit_delays_the_server_and_is_named_by_the_client() {
    for model in MODELS {
        let args = ["net", "echo", "serve", "--json", "--listen", "127.0.0.1:0", "--model", model];
        let mut tail = Tail::start(with_files(20, &args));
        let address = tail.json()["address"].as_str().unwrap().to_owned();
        let reported = records(&[&address, "--connections", "60"], 0);
        assert_eq!(summary(&reported)["messages"], 60, "{model}");
        assert!(Command::new("kill").args(["-INT", &tail.pid().to_string()]).status().unwrap().success());
        let reported: Vec<Value> =
            tail.until_end().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(tail.wait().success());
        let full = of(&reported, "means");
        // Not once for each occurrence.
        assert!(full.len() <= usize::from(model != "sequential"), "{model}: {full:?}");
        assert!(full.iter().all(|full| full["text"].as_str().unwrap().starts_with("too many open files (")));
    }
    let server = Echo::serve(&[]);
    let output = with_files(20, &["net", "echo", "send", &server.address, "-c", "60"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let broke: Vec<&str> = text.lines().filter(|line| line.contains(": too many open files (")).collect();
    assert_eq!(broke.len(), 3, "{text}");
    assert!(text.contains("connections more failed for the same reasons"), "{text}");
}

#[test]
fn connections_that_never_open_count_as_failed() {
    // Room for one in the queue, and no accept.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap().to_string();
    let reported = records(&[&address, "--connections", "5", "--duration", "100ms"], 1);
    let all = summary(&reported);
    assert_eq!((&all["connections"], &all["broken"]), (&1.into(), &4.into()), "{all}");
    assert!(of(&reported, "broken")[0]["why"].as_str().unwrap().starts_with("timed out ("), "{reported:?}");
    let dir = folder();
    let path = dir.path().join("s");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let address = format!("unix:{}", path.display());
    let reported = records(&[&address, "--connections", "5", "--duration", "100ms"], 1);
    let all = summary(&reported);
    assert_eq!((&all["connections"], &all["broken"]), (&1.into(), &4.into()), "{all}");
    assert!(of(&reported, "broken")[0]["why"].as_str().unwrap().starts_with("would block ("), "{reported:?}");
}

#[test]
fn a_full_unix_socket_is_retried() {
    let dir = folder();
    let path = dir.path().join("echo.sock").display().to_string();
    let server = Echo::serve(&["--unix", &path, "--backlog", "1"]);
    let reported = records(&[&server.address, "--connections", "200"], 0);
    assert_eq!(
        (&summary(&reported)["connections"], &summary(&reported)["messages"]),
        (&200.into(), &200.into())
    );
}

#[test]
fn a_peer_in_another_pid_namespace_is_unknown() {
    let dir = folder();
    let path = dir.path().join("echo.sock");
    // A server in its own PID namespace cannot see outside processes: the kernel gives 0 as their PID.
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_vang")]);
    command.args(["net", "echo", "serve", "--once", "--json", "--unix"]).arg(&path);
    let mut server = Tail::start(command);
    assert_eq!(server.json()["event"], "listening");
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(b"who am I?").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    drop(client);
    assert_eq!(server.json()["peer"], "unknown process");
    assert!(server.wait().success());
}

#[test]
fn a_closed_output_ends_server_and_client() {
    let mut server = Echo::serve(&[]);
    let to = server.address.clone();
    let to = to.as_str();
    for (args, code) in
        [(vec!["serve", "--listen", "127.0.0.1:0"], None), (vec!["send", to, "--count", "3000000"], Some(to))]
    {
        let mut command = vang();
        command.args(["net", "echo"]).args(&args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        if code.is_none() {
            let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
            let first = lines.next().unwrap().unwrap();
            let address = first.strip_prefix("listening on ").unwrap().split(' ').next().unwrap().to_owned();
            drop(lines);
            // Their records cannot be written. More than one, because a process that another test is starting can hold the
            // other end of the pipe for a moment.
            let began = std::time::Instant::now();
            while child.try_wait().unwrap().is_none() && TcpStream::connect(&address).is_ok() {
                assert!(began.elapsed() < PATIENCE, "it did not end");
            }
        } else {
            drop(stdout);
            // Before it has begun a signal may be one that the test's parent ignores.
            server.next("connected");
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        }
        crate::harness::wait(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn timeouts_and_errors_have_a_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // The kernel completes the connection, but no program reads.
    let reported = records(&[&address, "--timeout", "300ms"], 124);
    assert_eq!((&summary(&reported)["messages"], &summary(&reported)["unserved"]), (&0.into(), &1.into()));
    let once = vang()
        .args(["net", "echo", "serve", "--listen", "127.0.0.1:0", "--once", "--timeout", "100ms"])
        .output();
    assert_eq!(once.unwrap().status.code(), Some(124));
    let said = |args: &[&str], code: i32| {
        let output = vang().args(["net", "echo"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        said(&["serve", "--listen", &address], 1)
            .contains(&format!("cannot listen on {address}: address in use ("))
    );
    let nobody = refusing();
    let closed = nobody.addr.to_string();
    assert!(
        said(&["send", &closed], 1).contains(&format!("cannot connect to {closed}: connection refused ("))
    );
    assert!(
        said(&["send", "does-not-exist.invalid"], 1)
            .contains("cannot resolve 'does-not-exist.invalid': name ")
    );
    assert!(said(&["send", "localhost:65536"], 2).contains("port 65536 is out of range"));
    assert!(said(&["send", "unix:/nonexistent/echo.sock"], 1).contains("no such socket"));
    assert!(said(&["serve", "--greet"], 2).contains("add --model sequential"));
    assert!(said(&["serve", "--udp", "--tls"], 2).contains("DTLS"));
    assert!(
        said(&["send", "localhost", "--udp", "--connections", "2"], 2).contains("UDP has no connections")
    );
}

#[test]
fn a_restarted_server_gets_its_port_despite_time_wait() {
    let mut server = Echo::serve(&["--model", "sequential", "--greet", "--once"]);
    let address = server.address.clone();
    // The server closes first, so that TIME_WAIT is on its side.
    let mut stream = server.connect();
    stream.write_all(b"x").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    drop(stream);
    assert!(server.tail.wait().success());
    let again = Echo::serve(&["--listen", &address]);
    assert_eq!(summary(&records(&[&again.address], 0))["messages"], 1);
}

#[test]
fn explain_describes_each_step() {
    let mut command = vang();
    command.args(["net", "echo", "serve", "--listen", "127.0.0.1:0", "--once", "--explain"]);
    let mut server = Tail::start(command);
    let line = server.line();
    let address = line.strip_prefix("listening on ").unwrap().split(' ').next().unwrap().to_owned();
    let output = send(&[&address, "--explain"]);
    let said = String::from_utf8(output.stderr).unwrap();
    for step in [
        "SYN out",
        "writable: connected",
        "write: 12 of 12 bytes taken: \"Hello, world\"",
        "readable: read 12 bytes, 12 of 12 back: \"Hello, world\"",
        "half-close",
        "TIME_WAIT is on our side",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
    for step in
        ["bind, listen", "accept: ", "readable: read 12 bytes", "write: all 12 bytes taken", "end of stream"]
    {
        server.said(step);
    }
}

#[test]
fn a_slow_reader_causes_every_kind_of_explanation() {
    for model in ["selector", "async"] {
        let mut command = vang();
        command.args(["net", "echo", "serve", "--listen", "127.0.0.1:0", "--explain", "--model", model]);
        let mut server = Tail::start(command);
        let line = server.line();
        let address = line.strip_prefix("listening on ").unwrap().split(' ').next().unwrap().to_owned();
        server.said("bind, listen: from now on the kernel completes connections");
        let mut stream = TcpStream::connect(&address).unwrap();
        server.said("accept: the kernel returns a new socket for the connection");
        stream.write_all(b"Hello, world").unwrap();
        server.said("readable: read 12 bytes of at most 65536: \"Hello, world\"");
        server.said("write: all 12 bytes taken");
        server.said("another read would block: wait until it is readable");
        // It sends until all queues are full, and only then reads.
        let mut sending = stream.try_clone().unwrap();
        let sending = thread::spawn(move || while sending.write(&[b'x'; 1 << 16]).is_ok() {});
        server.said("(partial read: more can be there): \"xxxxxxxx");
        server.said("partial write: the kernel took ");
        stream.shutdown(Shutdown::Write).unwrap();
        sending.join().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        server.said("writable again: write: the rest of ");
        let end = server.said("end of stream");
        assert!(end.contains("(half-close: the peer still receives)"), "{end}");
        assert!(end.contains("TIME_WAIT is on the other side, which closed first"), "{end}");
    }
    let server = Echo::serve(&[]);
    let output = send(&[&server.address, "--bytes", "20Mi", "--explain"]);
    let said = String::from_utf8(output.stderr).unwrap();
    for step in ["partial write: ", "write would block: ", "(partial read: the rest follows)"] {
        assert!(said.contains(step), "{step}: {}", &said[..said.len().min(3_000)]);
    }
    // Unix sockets have no TCP states, so none are mentioned.
    let dir = folder();
    let path = dir.path().join("echo.sock").display().to_string();
    let server = Echo::serve(&["--unix", &path]);
    let said = String::from_utf8(send(&[&server.address, "--explain"]).stderr).unwrap();
    assert!(!said.contains("SYN") && !said.contains("FIN"), "{said}");
    assert!(said.contains("no handshake") && said.contains("no TIME_WAIT"), "{said}");
}
