//! `vang net tap` between real clients and servers, and its recordings in Wireshark's tshark.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vang_nettools::capture::side::Side;
use vang_nettools::capture::write::Writer;

use crate::harness::hosts::Hosts;
use crate::harness::{
    PATIENCE, Server, Tail, exchange, folder, guide, message, read_message, refusing, request, vang,
};

/// A tap, and where it listens.
struct Tap {
    tail: Tail,
    address: String,
}

impl Tap {
    fn start(to: &str, more: &[&str]) -> Tap {
        let mut command = vang();
        command.args(["net", "tap", "--json", "--listen", "127.0.0.1:0", "--to", to]).args(more);
        let mut tail = Tail::start(command);
        // Explanations can come before it.
        let mut listening = tail.json();
        while listening["event"] != "listening" {
            listening = tail.json();
        }
        Tap { tail, address: listening["address"].as_str().unwrap().to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The next record of this kind.
    fn next(&mut self, event: &str) -> Value {
        loop {
            let object = self.tail.json();
            if object["event"] == event {
                return object;
            }
            assert_ne!(object["event"], "summary", "no {event} came");
        }
    }

    fn interrupt(&mut self) -> (Value, Option<i32>) {
        let pid = self.tail.pid().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let summary = self.summary();
        (summary, self.tail.wait().code())
    }

    fn summary(&mut self) -> Value {
        loop {
            let object = self.tail.json();
            if object["event"] == "summary" {
                return object;
            }
        }
    }
}

const SEARCH: &str = r#"{"action": "search", "value": "ring"}"#;

#[test]
fn every_message_and_the_closing_side_are_shown() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"));
    let mut tap = Tap::start(&server.addr, &[]);
    let mut stream = tap.connect();
    let (header, content) = exchange(&mut stream, &guide(SEARCH));
    assert_eq!(header["content-type"], "text/json");
    let asked = tap.next("message");
    assert_eq!(
        (&asked["side"], &asked["kind"], &asked["text"]),
        (&"client".into(), &"native".into(), &SEARCH.into())
    );
    let answered = tap.next("message");
    assert_eq!(answered["side"], "server");
    assert_eq!(answered["text"], String::from_utf8(content).unwrap());
    // The server closes first, and the client sees that through the tap.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let own = stream.local_addr().unwrap().to_string();
    drop(stream);
    let closed = tap.next("closed");
    assert_eq!(
        (&closed["ending"], &closed["opened_by"]),
        (&"server closed, then client".into(), &own.into())
    );

    let mut http = tap.connect();
    http.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(tap.next("message")["text"], "GET /healthz HTTP/1.1");
    drop(http);
    tap.next("closed");
    let (summary, code) = tap.interrupt();
    assert_eq!((&summary["connections"], code), (&2.into(), Some(0)), "{summary}");
}

/// An echo server that ends with its client.
fn echo() -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    (address, echo)
}

#[test]
fn half_closes_are_passed_on_and_a_bad_network_loses_nothing() {
    let (address, echo) = echo();
    let weather = ["--once", "--delay", "5ms", "--jitter", "--rate", "200k", "--split", "7"];
    let mut tap = Tap::start(&address, &weather);
    let mut stream = tap.connect();
    let sent: Vec<u8> = (0..20_000_u32).map(|at| (at * 7) as u8).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent);
    echo.join().unwrap();
    assert_eq!(tap.next("closed")["ending"], "client closed, then server");
    let summary = tap.summary();
    assert_eq!((&summary["client_bytes"], &summary["server_bytes"]), (&20_000.into(), &20_000.into()));
    assert_eq!(tap.tail.wait().code(), Some(0));
}

#[test]
fn one_byte_at_a_time_is_enough_for_the_server() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"));
    let tap = Tap::start(&server.addr, &["--split", "1"]);
    let (header, _) = exchange(&mut tap.connect(), &request("send", &[("room", "\"general\"")], "hello"));
    assert_eq!(header["status"], "ok");
}

#[test]
fn a_reset_is_passed_on_and_a_cut_is_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut tap = Tap::start(&listener.local_addr().unwrap().to_string(), &[]);
    let mut stream = tap.connect();
    stream.write_all(b"never read").unwrap();
    let (taken, _) = listener.accept().unwrap();
    // Closed with bytes unread: the kernel sends a reset.
    taken.peek(&mut [0]).unwrap();
    drop(taken);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(tap.next("closed")["ending"], "reset by server, passed on to client");

    let mut cut = Tap::start(&listener.local_addr().unwrap().to_string(), &["--cut", "100%", "--seed", "1"]);
    let mut stream = cut.connect();
    stream.write_all(b"lost").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(cut.next("closed")["ending"], "cut by --cut: both sides are reset");
    assert_eq!(cut.interrupt().0["cut"], 1);
}

#[test]
fn a_missing_server_is_reported_with_advice() {
    let nobody = refusing();
    let address = nobody.addr.to_string();
    let mut tap = Tap::start(&address, &["--once"]);
    let mut stream = tap.connect();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    let means = tap.next("means")["text"].as_str().unwrap().to_owned();
    assert!(means.contains("connection refused"), "{means}");
    assert_eq!(tap.summary()["not_connected"], 1);
    assert_eq!(tap.tail.wait().code(), Some(1));
}

#[test]
fn a_unix_socket_is_reached_through_a_tcp_port() {
    let folder = folder();
    let data = folder.path().join("data");
    let socket = format!("unix:{}", folder.path().join("s").display());
    let _server = Server::start_with(&data, &socket, &[]);
    let tap = Tap::start(&socket, &["--expose"]);
    let (header, _) = exchange(&mut tap.connect(), &guide(SEARCH));
    assert_eq!(header["content-type"], "text/json");
}

/// Records a conversation of several segments through a tap.
fn recording(folder: &Path) -> (std::path::PathBuf, Server) {
    let server = Server::start(&folder.join("data"));
    let file = folder.join("talk.pcapng");
    let mut tap = Tap::start(&server.addr, &["--explain", "--record", file.to_str().unwrap()]);
    // Two messages in one write, then one in two writes that the tap reads separately.
    let mut stream = tap.connect();
    let hello = request("send", &[("room", "\"general\""), ("re", "1")], "hello");
    let again = request("send", &[("room", "\"general\""), ("re", "2")], "again");
    stream.write_all(&[&hello[..], &again].concat()).unwrap();
    for re in [1, 2] {
        assert_eq!(read_message(&mut stream).unwrap().0["re"], re);
    }
    let long =
        request("send", &[("room", "\"general\""), ("re", "3"), ("colour", "\"red\"")], &"x".repeat(3_000));
    let (one, two) = long.split_at(40);
    stream.write_all(one).unwrap();
    // The first part is recorded, so the second becomes another segment.
    while !tap.next("explain")["text"].as_str().unwrap().contains("read gives 40 bytes") {}
    stream.write_all(two).unwrap();
    assert_eq!(read_message(&mut stream).unwrap().0["re"], 3);
    drop(stream);
    tap.next("closed");
    let mut http = tap.connect();
    http.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    http.read_to_end(&mut Vec::new()).unwrap();
    drop(http);
    tap.next("closed");
    tap.interrupt();
    (file, server)
}

/// The output of tshark for a capture, with our dissector.
pub(super) fn tshark(args: &[&str], file: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/wireshark/vang.lua");
    let output = Command::new("tshark")
        .args(["-X", &format!("lua_script:{script}"), "-r"])
        .arg(file)
        .args(args)
        .output()
        .expect("tshark is installed by `cargo xtask step tools`");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("Lua:"), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tshark_opens_a_recording_and_its_dissector_reads_the_messages() {
    let folder = folder();
    let (file, _server) = recording(folder.path());
    let fields = |filter: &str, names: &[&str]| -> Vec<Vec<String>> {
        let mut args = vec!["-Y", filter, "-T", "fields", "-E", "separator=|"];
        for name in names {
            args.extend(["-e", name]);
        }
        let lines = tshark(&args, &file);
        lines.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    };
    let asked = fields("vang.action", &["vang.action", "vang.room", "vang.text", "vang.re", "vang.key"]);
    assert_eq!(asked[0], ["send,send", "general,general", "hello,again", "1,2", ""], "{asked:?}");
    assert_eq!((asked[1][2].len(), asked[1][3].as_str(), asked[1][4].as_str()), (3_000, "3", "colour: red"));
    assert_eq!(asked.len(), 2);
    assert_eq!(
        fields("vang.status", &["vang.status"]).iter().flatten().flat_map(|it| it.split(',')).count(),
        3
    );
    assert_eq!(fields("http.request", &["http.request.uri"]), [["/healthz"]]);
    // tshark finds no errors in checksums, numbers and lengths.
    let wrong = tshark(
        &[
            "-o",
            "tcp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-Y",
            "_ws.malformed || tcp.analysis.flags && !tcp.analysis.window_update || tcp.checksum.status == 0 || vang.malformed",
        ],
        &file,
    );
    assert_eq!(wrong, "");
}

#[test]
fn a_recording_distinguishes_clients_of_a_unix_socket() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"));
    let (file, socket) = (folder.path().join("talk.pcapng"), folder.path().join("s"));
    let place = format!("unix:{}", socket.display());
    let mut command = vang();
    command.args(["net", "tap", "--json", "--listen", &place, "--to", &server.addr, "--record"]).arg(&file);
    let mut tap = Tap { tail: Tail::start(command), address: place };
    assert_eq!(tap.next("listening")["address"], tap.address);
    for text in ["one", "two"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request("send", &[("room", "\"general\"")], text)).unwrap();
        assert_eq!(read_message(&mut stream).unwrap().0["status"], "ok");
        drop(stream);
        let from = tap.next("opened")["from"].as_str().unwrap().to_owned();
        assert_eq!(from, format!("process {} through a Unix socket", std::process::id()));
        tap.next("closed");
    }
    tap.interrupt();
    assert!(!socket.exists(), "the socket's file goes with the tap");
    let fields =
        ["-T", "fields", "-e", "tcp.stream", "-e", "ip.src", "-e", "tcp.srcport", "-e", "tcp.dstport"];
    let asked = tshark(&[&["-Y", "vang.action"], &fields[..], &["-e", "vang.text"]].concat(), &file);
    let port = server.addr.rsplit(':').next().unwrap();
    let row = |n: u32, text: &str| format!("{}\t192.0.2.1\t{n}\t{port}\t{text}\n", n - 1);
    assert_eq!(asked, row(1, "one") + &row(2, "two"));
    let said = tshark(&["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"], &file);
    let id = std::process::id();
    let comment = |n: u32| {
        format!(
            "connection {n}, opened by process {id} through a Unix socket; 192.0.2.1:{n} is a placeholder for its address\n"
        )
    };
    assert_eq!(said, comment(1) + &comment(2));
    // And decode reads what it wrote.
    let output = vang().args(["net", "decode", "--conversations"]).arg(&file).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains("#2 192.0.2.1:2 → 127.0.0.1:"), "{lines}");
}

/// Writes a conversation with this port, in the given segments.
type Talk<'a> = (u16, &'a [(Side, &'a [u8])]);

fn capture(folder: &Path, talks: &[Talk<'_>]) -> std::path::PathBuf {
    let file = folder.join("made.pcapng");
    let mut writer = Writer::new(std::fs::File::create(&file).unwrap(), "test").unwrap();
    for (n, (port, said)) in talks.iter().enumerate() {
        let [client, server] =
            [(7, 4_000 + n as u16), (1, *port)].map(|(host, port)| ([10, 0, 0, host], port).into());
        let mut one = writer.open(n as u64, client, server).unwrap();
        for (side, bytes) in *said {
            writer.say(n as u64, &mut one, *side, bytes).unwrap();
        }
        writer.close(n as u64, &mut one, Side::Client).unwrap();
        writer.close(n as u64, &mut one, Side::Server).unwrap();
    }
    file
}

#[test]
fn the_dissector_works_on_its_port_and_with_decode_as() {
    let folder = folder();
    let hello = request("send", &[("room", "\"general\"")], "hello");
    // A first segment of one byte is too short for the heuristic.
    let (first, rest) = hello.split_at(1);
    let native = [(Side::Client, first), (Side::Client, rest)];
    let http: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    let file = capture(
        folder.path(),
        &[
            (65_432, &native),
            (65_432, &[(Side::Client, http), (Side::Server, answer)]),
            (
                65_432,
                &[
                    (Side::Client, b"ada\r\n"),
                    (Side::Server, b"-- you are guest:ada\n"),
                    (Side::Client, b"x"),
                ],
            ),
            (50_123, &native),
            (
                50_123,
                &[(Side::Client, &hello[..40]), (Side::Client, &hello[40..]), (Side::Client, b"\x00\x01")],
            ),
        ],
    );
    let streams = |more: &[&str], filter: &str| {
        let fields = ["-T", "fields", "-e", "tcp.stream", "-E", "occurrence=f"];
        tshark(&[more, &["-Y", filter], &fields].concat(), &file).lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(streams(&[], "vang.text == \"hello\""), "0 4");
    assert_eq!(streams(&["-d", "tcp.port==50123,vang"], "vang.text == \"hello\""), "0 3 4");
    assert_eq!(streams(&[], "http"), "1 1");
    assert_eq!(streams(&[], "vang.malformed"), "4");
    assert_eq!(streams(&[], "vang && (tcp.stream == 1 || tcp.stream == 2)"), "");
}

#[test]
fn the_dissector_shows_the_events_of_a_page() {
    let folder = folder();
    let made = |keys: &[(&str, &str)], content: &[u8]| {
        let len = content.len().to_string();
        message(&[&[("byteorder", "\"big\""), ("content-length", len.as_str())], keys].concat(), content)
    };
    let event = |text: &str| {
        let keys =
            [("event", "\"message\""), ("content-type", "\"text/plain\""), ("content-encoding", "\"utf-8\"")];
        made(&keys, text.as_bytes())
    };
    let page_type = ("content-type", "\"application/vang-events\"");
    let keys = [("status", "\"ok\""), page_type, ("content-encoding", "\"binary\"")];
    let page = made(&keys, &[event("one"), event("two")].concat());
    let file = capture(folder.path(), &[(65_432, &[(Side::Server, &page)])]);
    let said = tshark(&["-Y", "vang.status", "-T", "fields", "-e", "vang.event", "-e", "vang.text"], &file);
    assert_eq!(said, "message,message\tone,two\n");
}

#[test]
fn decode_counts_conversations_as_tshark() {
    let folder = folder();
    let (file, _server) = recording(folder.path());
    let output = vang().args(["net", "decode", "--json", "--conversations"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let ours: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|object| object["event"] == "conversation")
        .collect();
    assert_eq!(ours.len(), 2, "{text}");
    let table = tshark(&["-q", "-z", "conv,tcp"], &file);
    for conversation in &ours {
        let (client, server) =
            (conversation["client"].as_str().unwrap(), conversation["server"].as_str().unwrap());
        let row =
            table.lines().find(|line| line.contains(client)).unwrap_or_else(|| panic!("{client}: {table}"));
        // A <-> B, frames and bytes from B, from A, in all; start; duration.
        let words: Vec<&str> = row.split_whitespace().filter(|word| *word != "bytes").collect();
        assert_eq!((words[0], words[2]), (client, server), "{row}");
        let number = |key: &str, what: &str| conversation[key][what].as_u64().unwrap().to_string();
        let ours =
            ["from_server", "from_client"].map(|key| (number(key, "packets"), number(key, "packet_bytes")));
        assert_eq!(
            [(words[3], words[4]), (words[5], words[6])],
            [(&*ours[0].0, &*ours[0].1), (&*ours[1].0, &*ours[1].1)],
            "{row}"
        );
        let took: f64 = words[10].parse().unwrap();
        let said = conversation["took_ns"].as_u64().unwrap() as f64 / 1e9;
        assert!((took - said).abs() < 0.0002, "{row}: {said}");
    }
}

#[test]
fn the_clients_of_a_recording_are_replayed() {
    let folder = folder();
    let (file, server) = recording(folder.path());
    let output =
        vang().args(["net", "tap", "--json", "--to", &server.addr, "--replay"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ok = said.iter().filter(|object| object["header"]["status"] == "ok").count();
    assert_eq!(ok, 3, "{text}");
    assert_eq!(said.last().unwrap()["connections"], 2);
    let lines = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
    assert_eq!(lines.matches("hello").count(), 2, "{lines}");
}

#[test]
fn the_server_of_a_recording_is_replayed() {
    let folder = folder();
    let (file, server) = recording(folder.path());
    drop(server);
    let mut command = vang();
    command.args(["net", "tap", "--json", "--once", "--listen", "127.0.0.1:0", "--replay"]).arg(&file);
    let mut tail = Tail::start(command);
    let mut stream = TcpStream::connect(tail.json()["address"].as_str().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = request("send", &[("room", "\"general\""), ("re", "1")], "hello");
    let again = request("send", &[("room", "\"general\""), ("re", "2")], "again");
    stream.write_all(&[hello, again].concat()).unwrap();
    assert_eq!(read_message(&mut stream).unwrap().0["re"], 1);
}

#[test]
fn a_replay_uses_the_simulated_network_and_stops_at_damage() {
    let folder = folder();
    let (file, server) = recording(folder.path());
    let played = |more: &[&str]| {
        let mut command = vang();
        let output =
            command.args(["net", "tap", "--json", "--to", &server.addr, "--replay"]).arg(&file).args(more);
        let text = String::from_utf8(output.output().unwrap().stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let cut = played(&["--cut", "100%", "--seed", "1"]);
    assert_eq!((&cut.last().unwrap()["cut"], &cut.last().unwrap()["connections"]), (&2.into(), &2.into()));
    let pieces = played(&["--split", "1", "--delay", "3ms", "--jitter", "--rate", "100k"]);
    assert_eq!(pieces.iter().filter(|object| object["header"]["status"] == "ok").count(), 3, "{pieces:?}");

    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let damaged = played(&[]);
    assert!(
        damaged[0]["text"].as_str().unwrap().contains("is damaged: it ends inside a block"),
        "{damaged:?}"
    );
    assert_eq!(damaged.last().unwrap()["connections"], 2);
    for (content, why) in
        [(&b""[..], "it is not a pcap or pcapng file"), (&bytes[..40], "it ends inside a block")]
    {
        std::fs::write(&file, content).unwrap();
        let output =
            vang().args(["net", "tap", "--to", &server.addr, "--replay"]).arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_tap_that_waits_for_its_server_can_be_stopped() {
    let folder = folder();
    let path = folder.path().join("full");
    // The first connection fills its queue, and it does not accept.
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    full.listen(0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let mut tap = Tap::start(&format!("unix:{}", path.display()), &["--expose"]);
    let mut client = tap.connect();
    tap.next("opened");
    let (summary, code) = tap.interrupt();
    assert_eq!((&summary["connections"], code), (&1.into(), Some(0)));
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_recording_that_cannot_be_written_ends_the_tap() {
    let output = vang()
        .args(["net", "tap", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1", "--record", "/dev/full"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot record in '/dev/full': ") && said.contains("no space"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_socket_file_of_a_killed_tap_is_replaced() {
    let folder = folder();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let place = format!("unix:{}", path.display());
    let mut command = vang();
    command.args(["net", "tap", "--json", "--once", "--listen", &place, "--to", "127.0.0.1:1"]);
    let mut tail = Tail::start(command);
    assert_eq!(tail.json()["event"], "listening");
    drop(UnixStream::connect(&path).unwrap());
    tail.wait();
    std::fs::write(&path, "precious").unwrap();
    let output = vang().args(["net", "tap", "--listen", &place, "--to", "127.0.0.1:1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("file exists"), "{output:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn runs_that_should_end_by_themselves_time_out() {
    for (more, code) in [(&["--once"][..], 124), (&[], 0)] {
        let mut command = vang();
        command.args(["net", "tap", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1", "--timeout", "50ms"]);
        let output = command.args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("0 connections in "), "{output:?}");
    }
}

#[test]
fn a_tap_that_connects_to_itself_is_refused() {
    // In its own network namespace, where no other program uses this port.
    let (hosts, port) = (Hosts::in_a_row(1), 7_618);
    let folder = folder();
    let socket = format!("unix:{}", folder.path().join("s").display());
    for (listen, to) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("127.0.0.1:{port}"), format!("localhost:{port}")),
        (format!("127.0.0.1:{port}"), format!(":{port}")),
        (format!(":{port}"), format!("[::1]:{port}")),
        (format!("0.0.0.0:{port}"), format!("127.0.0.2:{port}")),
        (socket.clone(), socket),
    ] {
        let output = hosts.vang(0, &["net", "tap", "--listen", &listen, "--to", &to]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{listen} {to}: {output:?}");
        assert!(
            stderr.contains("where this tap listens") && stderr.contains("the server's own address"),
            "{stderr}"
        );
    }
}

#[test]
fn a_client_that_resets_at_once_is_recorded_with_its_address() {
    let folder = folder();
    let file = folder.path().join("reset.pcapng");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            // Until it is reset.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let mut tap = Tap::start(&address, &["--record", file.to_str().unwrap()]);
    let mut own = Vec::new();
    for _ in 0..5 {
        let client = TcpStream::connect(&tap.address).unwrap();
        own.push(client.local_addr().unwrap().to_string());
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        tap.next("closed");
    }
    let output = vang().args(["net", "decode", "--json"]).arg(&file).output().unwrap();
    let reported = String::from_utf8(output.stdout).unwrap();
    let objects = reported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let clients: Vec<String> = objects
        .filter(|object| object["event"] == "conversation")
        .map(|object| object["client"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(clients, own);
}

#[test]
fn a_tap_that_exposes_its_server_needs_expose() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let socket = format!("unix:{}", data.join("admin.sock").display());
    for (listen, to, who) in [
        (":0", server.addr.as_str(), "programs on other machines"),
        ("0.0.0.0:0", "localhost:1", "programs on other machines"),
        (":0", &socket, "programs on other machines"),
        ("127.0.0.1:0", &socket, "every program on this machine"),
    ] {
        let mut command = vang();
        command.args(["net", "tap", "--listen", listen, "--to", to, "--timeout", "20s"]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{listen} {to}: {said}");
        assert!(said.contains(who) && said.contains("add --expose"), "{listen} {to}: {said}");
        let mut command = vang();
        command.args(["net", "tap", "--json", "--expose", "--listen", listen, "--to", to]);
        let mut tap = Tail::start(command);
        assert_eq!(tap.json()["event"], "listening");
    }
    // Not reachable by more programs than its server.
    let place = format!("unix:{}", folder.path().join("s").display());
    for (listen, to) in [
        ("127.0.0.1:0", server.addr.as_str()),
        (&place, &socket),
        (&place, &server.addr),
        (":0", "192.0.2.1:1"),
    ] {
        let mut command = vang();
        command.args(["net", "tap", "--json", "--listen", listen, "--to", to]);
        assert_eq!(Tail::start(command).json()["event"], "listening", "{listen} {to}");
    }
}
