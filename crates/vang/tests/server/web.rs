//! HTTP for browsers and programs: the WebSocket, rooms, events; and protection against pages of other sites.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::common::{Witness, ask, serve, serve_process};
use crate::harness::socket::{Frame, WebSocket, handshake, head};
use crate::harness::{Server, exchange, folder, request, vang};

const GENERAL: (&str, &str) = ("room", "\"general\"");

fn open(server: &Server) -> WebSocket<TcpStream> {
    WebSocket::open(server.connect())
}

fn say(server: &Server, text: &str) {
    let (reply, _) = exchange(&mut server.connect(), &request("send", &[GENERAL, ("as", "\"ada\"")], text));
    assert_eq!(reply["status"], "ok", "{reply}");
}

/// A response's status and body, to the end of the connection.
fn get(server: &Server, target: &str, more: &str) -> (String, String) {
    let asked = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", server.addr);
    let answer = String::from_utf8(ask(&server.addr, asked.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn websocket_and_plain_clients_share_a_room() {
    let (_dir, server) = serve_process(&[]);
    let mut web = open(&server);
    let (hello, _) = web.exchange(&request("hello", &[("as", "\"wen\"")], ""));
    assert_eq!(hello["name"], "guest:wen");
    assert_eq!(web.exchange(&request("follow", &[GENERAL], "")).0["status"], "ok");
    let mut witness = Witness::new(&server);
    witness.is_served();
    assert_eq!(web.message().0["from"], "guest:witness");
    let (reply, _) = web.exchange(&request("send", &[GENERAL, ("re", "7")], "from the web"));
    assert_eq!(
        (&reply["re"], &reply["address"]),
        (&json!(7), &json!("general#2")),
        "a reply before its own event"
    );
    let (event, content) = web.message();
    assert_eq!((event["n"].as_u64(), content.as_slice()), (Some(2), b"from the web".as_slice()));
    witness.hears("from the web");
    witness.is_unharmed(&server);
}

#[test]
fn admission_says_who_can_enter_from_where() {
    let admits = |flags: &[&str], more: &str| {
        let (_dir, server) = serve(flags);
        let (status, body) = get(&server, "/admission", more);
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let answer = |local: bool, guests: bool, accounts: bool| json!({"local": local, "guests": guests, "accounts": accounts, "own-certificate": false, "rooms-by": "accounts"});
    let passed_on = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(admits(&[], ""), answer(true, true, false));
    assert_eq!(admits(&["--trust", "local"], ""), answer(true, true, true));
    assert_eq!(admits(&[], passed_on), answer(false, false, false));
    assert_eq!(
        admits(&["--guests", "everywhere", "--trust", "local"], passed_on),
        answer(false, true, false)
    );
    assert_eq!(admits(&["--rooms-by", "admins"], "")["rooms-by"], "admins");
    let (_dir, server) = serve(&[]);
    assert_eq!(get(&server, "/admission", "Sec-Fetch-Site: cross-site\r\n").0, "HTTP/1.1 403 Forbidden");
}

#[test]
fn websocket_frames_can_split_and_join_messages() {
    let (_dir, server) = serve(&[]);
    let mut web = open(&server);
    let pings: Vec<u8> = (0..5).flat_map(|re| request("ping", &[("re", &re.to_string())], "")).collect();
    // One message in three frames, cut inside native messages, with a ping of the WebSocket's own between.
    web.write(0x02, &pings[..100]);
    web.write(0x89, b"beat");
    web.write(0x00, &pings[100..301]);
    web.write(0x80, &pings[301..]);
    let mut answered = 0;
    let mut ponged = false;
    while answered < 5 || !ponged {
        let frame = web.read().unwrap();
        if frame.first == 0x8a {
            assert_eq!(frame.payload, b"beat");
            ponged = true;
            continue;
        }
        let mut rest = frame.payload.as_slice();
        while !rest.is_empty() {
            let (reply, _) = crate::harness::read_message(&mut rest).unwrap();
            assert_eq!(reply["re"], json!(answered));
            answered += 1;
        }
    }
}

#[test]
fn a_thousand_large_messages_reach_a_slow_reader_complete() {
    let (_dir, server) = serve(&[]);
    let mut web = open(&server);
    assert_eq!(web.exchange(&request("follow", &[GENERAL], "")).0["status"], "ok");
    let text = "x".repeat(20_000);
    let mut sender = server.connect();
    for _ in 0..300 {
        sender.write_all(&request("send", &[GENERAL], &text)).unwrap();
    }
    for _ in 0..300 {
        assert_eq!(crate::harness::read_message(&mut sender).unwrap().0["status"], "ok");
    }
    for n in 1..=300 {
        let (event, content) = web.message();
        assert_eq!((event["n"].as_u64(), content.len()), (Some(n), 20_000));
    }
}

#[test]
fn websocket_closes_are_answered_and_violations_named() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let close = |payload: &[u8]| Some(Frame { first: 0x88, payload: payload.to_vec() });
    let mut web = open(&server);
    web.exchange(&request("follow", &[GENERAL], ""));
    // Requests before the close are executed.
    web.write(0x82, &request("send", &[GENERAL], "and goodbye"));
    web.write(0x88, b"\x03\xe8");
    let mut last = web.read();
    while last.as_ref().is_some_and(|frame| frame.first == 0x82) {
        last = web.read();
    }
    assert_eq!((last, web.read()), (close(b"\x03\xe8"), None));
    witness.hears("and goodbye");
    for (first, payload, code) in [(0x81, &b"text"[..], 1003_u16), (0x83, b"", 1002), (0x81, b"\xff", 1007)] {
        let mut web = open(&server);
        web.write(first, payload);
        let frame = web.read().unwrap();
        assert_eq!((frame.first, &frame.payload[..2]), (0x88, &code.to_be_bytes()[..]), "{frame:?}");
        assert_eq!(web.read(), None);
    }
    // A malformed native message: an error in our protocol, then a close.
    let mut web = open(&server);
    let (reply, _) = web.exchange(b"\x00\x05[1,2]");
    assert_eq!(reply["code"], "malformed");
    assert_eq!(web.read().map(|frame| frame.payload), Some(1008_u16.to_be_bytes().to_vec()));
    witness.is_unharmed(&server);
}

#[test]
fn a_silent_websocket_gets_pings_so_that_proxies_keep_it() {
    let (_dir, server) = serve(&["--limit", "ping-after=50ms"]);
    let mut socket = open(&server);
    assert_eq!(socket.exchange(&request("follow", &[GENERAL], "")).0["status"], "ok");
    let ping = || Some(Frame { first: 0x89, payload: vec![] });
    for round in 0..3 {
        assert_eq!(socket.read(), ping(), "round {round}");
        socket.write(0x8a, b"");
    }
    // Messages come between them; a message is never cut by one.
    say(&server, "still here");
    let mut frames = std::iter::from_fn(|| socket.read()).skip_while(|frame| frame.first == 0x89);
    let said = frames.next().unwrap();
    assert!(said.first == 0x82 && said.payload.ends_with(b"still here"), "{said:?}");
    assert_eq!(frames.next(), ping());
}

#[test]
fn a_stop_says_closing_then_goodbye() {
    let (_dir, mut server) = serve_process(&[]);
    let mut web = open(&server);
    web.exchange(&request("follow", &[GENERAL], ""));
    server.signal("TERM");
    let (event, _) = web.message();
    assert_eq!((&event["event"], &event["why"]), (&json!("closing"), &json!("stopping")));
    assert_eq!(web.read().map(|frame| frame.first), Some(0x88));
    assert_eq!(web.read(), None);
    assert!(server.wait().success());
}

#[test]
fn pages_of_other_sites_get_no_access() {
    let (_dir, server) = serve(&["--name", "chat.example"]);
    let port = server.socket_addr().port();
    let status = |host: &str, more: &str| {
        let mut stream = server.connect();
        stream.write_all(handshake(host, more).as_bytes()).unwrap();
        head(&mut stream).0
    };
    let local = format!("localhost:{port}");
    for (host, origin, expected) in [
        (local.as_str(), "", "101"),
        (&local, &format!("http://{local}"), "101"),
        ("chat.example", "https://chat.example", "101"),
        (&local, "http://evil.example", "403"),
        (&local, "null", "403"),
        (&local, "http://localhost:1", "403"),
        ("evil.example", "", "421"),
        ("evil.example", "http://evil.example", "421"),
    ] {
        let more = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let found = status(host, &more);
        assert!(found.starts_with(&format!("HTTP/1.1 {expected}")), "{host} {origin}: {found}");
    }
    for target in ["/rooms", "/rooms/general/events"] {
        let (status, body) = get(&server, target, "Origin: http://evil.example\r\n");
        assert_eq!(status, "HTTP/1.1 403 Forbidden");
        let why = format!(
            "pages of \"http://evil.example\" may not talk to this server, which was asked for as {:?}; a proxy must keep the \
             browser's Host, or start the server with --name\n",
            server.addr
        );
        assert_eq!(body, why);
    }
    // Asked for without an Origin, as by an image; with one that cannot be read; with two names.
    for (more, expected) in [
        ("Sec-Fetch-Site: cross-site\r\n", "403 Forbidden"),
        ("Sec-Fetch-Site: same-site\r\n", "403 Forbidden"),
        ("Sec-Fetch-Site: same-origin\r\n", "200 OK"),
        ("Host: localhost\r\n", "400 Bad Request"),
    ] {
        assert_eq!(get(&server, "/rooms", more).0, format!("HTTP/1.1 {expected}"), "{more}");
    }
    let unreadable = ask(
        &server.addr,
        b"GET /rooms HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\xff\r\nConnection: close\r\n\r\n",
    );
    assert!(unreadable.starts_with(b"HTTP/1.1 403"));
    let (status, body) = get(&server, "/ws", "");
    assert_eq!(status, "HTTP/1.1 426 Upgrade Required");
    assert_eq!(body, "this is a WebSocket: ask with 'Upgrade: websocket'\n");
}

/// Status line, header lines in lower case.
fn answered(server: &Server, request: &str) -> (String, Vec<String>) {
    let mut stream = server.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let (status, lines) = head(&mut stream);
    (status.split_once(' ').unwrap().1.to_owned(), lines)
}

#[test]
fn duplicate_single_valued_http_headers_are_refused() {
    let (_dir, server) = serve(&[]);
    let host = server.addr.as_str();
    let own = format!("http://{host}");
    for (name, value) in [
        ("Host", host),
        ("Origin", &own),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Last-Event-ID", "1@a@b"),
    ] {
        for target in ["/", "/healthz", "/readyz", "/rooms", "/ws", "/rooms/general/events"] {
            let first = if name == "Host" { String::new() } else { format!("Host: {host}\r\n") };
            let twice = format!("{name}: {value}\r\n{name}: {value}\r\n");
            let (status, _) = answered(&server, &format!("GET {target} HTTP/1.1\r\n{first}{twice}\r\n"));
            assert_eq!(status, "400 Bad Request", "{name} {target}");
        }
    }
    for target in ["/", "/healthz", "/readyz", "/rooms"] {
        assert_eq!(
            answered(&server, &format!("GET {target} HTTP/1.1\r\n\r\n")).0,
            "400 Bad Request",
            "{target}"
        );
    }
    // HTTP/1.0 knows no Host.
    assert_eq!(answered(&server, "GET /healthz HTTP/1.0\r\n\r\n").0, "200 OK");
}

#[test]
fn every_answer_is_for_this_servers_pages_only() {
    let (_dir, server) = serve(&[]);
    for target in [
        "/",
        "/app.js",
        "/healthz",
        "/readyz",
        "/metrics",
        "/rooms",
        "/find?q=x",
        "/nowhere",
        "/rooms/x/events",
    ] {
        let (status, lines) = answered(&server, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(
            lines.contains(&"cross-origin-resource-policy: same-origin".to_owned()),
            "{target} {status} {lines:?}"
        );
    }
    for accept in ["text/event-stream", "*/*"] {
        let asked =
            format!("GET /rooms/general/events HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        let (_, lines) = answered(&server, &asked);
        for line in ["cross-origin-resource-policy: same-origin", "x-accel-buffering: no"] {
            assert!(lines.contains(&line.to_owned()), "{accept} {lines:?}");
        }
    }
}

#[test]
fn every_http_method_and_a_leading_empty_line_are_recognised() {
    let (_dir, server) = serve(&[]);
    let long = "x".repeat(100);
    for (line, status) in [
        ("PROPFIND / HTTP/1.1", "501 Not Implemented"),
        ("M-SEARCH * HTTP/1.1", "501 Not Implemented"),
        (&format!("REPORT /{long} HTTP/1.1"), "501 Not Implemented"),
        ("POST / HTTP/1.1", "405 Method Not Allowed"),
        ("PATCH /rooms HTTP/1.1", "405 Method Not Allowed"),
        ("\r\nGET /healthz HTTP/1.1", "200 OK"),
        ("\r\n\r\nHEAD /healthz HTTP/1.1", "200 OK"),
    ] {
        assert_eq!(answered(&server, &format!("{line}\r\nHost: localhost\r\n\r\n")).0, status, "{line:?}");
    }
}

#[test]
fn an_unknown_last_event_id_gets_a_reset() {
    let (_dir, server) = serve(&[]);
    say(&server, "one");
    for id in ["hello", "1", "@@"] {
        let mut stream = server.connect();
        let asked = format!(
            "GET /rooms/general/events?since=0 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Last-Event-ID: {id}\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).unwrap();
        let mut came = String::new();
        while !came.contains("\"text\": \"one\"") {
            let mut bytes = [0; 512];
            let n = stream.read(&mut bytes).unwrap();
            assert!(n > 0, "{came}");
            came.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
        assert!(came.contains("event: reset\ndata: {\"code\": \"journal-changed\"}\n"), "{id}: {came}");
    }
}

#[test]
fn a_forwarded_request_counts_as_from_another_machine() {
    let marks = [
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "X-Real-IP: 127.0.0.1",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: localhost",
    ];
    // Trust of this machine's programs is not for those behind a proxy.
    let (dir, server) = serve(&["--trust", "local"]);
    let mut add = vang();
    add.args(["admin", "account", "add", "ada", "--data"]).arg(dir.path().join("data"));
    assert!(add.output().unwrap().status.success());
    assert_eq!(get(&server, "/rooms?as=ada", "").0, "HTTP/1.1 200 OK");
    for mark in marks {
        let more = format!("{mark}\r\n");
        for target in ["/rooms?as=ada", "/rooms?as=eve", "/find?q=x", "/rooms/general/events"] {
            let (status, body) = get(&server, target, &more);
            assert_eq!(status, "HTTP/1.1 403 Forbidden", "{mark} {target}");
            assert!(body.contains("sign-in-needed"), "{mark} {target} {body}");
        }
        assert_eq!(get(&server, "/metrics", &more).0, "HTTP/1.1 403 Forbidden", "{mark}");
        assert_eq!(get(&server, "/", &more).0, "HTTP/1.1 200 OK", "{mark}");
        let mut stream = server.connect();
        stream.write_all(handshake("localhost", &more).as_bytes()).unwrap();
        assert!(head(&mut stream).0.contains(" 101 "));
        let (hello, _) = WebSocket::begun(stream).exchange(&request("hello", &[("as", "\"ada\"")], ""));
        assert_eq!(hello["code"], "sign-in-needed", "{mark}");
    }
}

#[test]
fn rooms_and_refusals_are_json() {
    let (_dir, server) = crate::common::member_of_cellar(&[]);
    let rooms = |name: &str| {
        let (status, body) = get(&server, &format!("/rooms?as={name}"), "");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let body: Value = serde_json::from_str(&body).unwrap();
        let rooms = body["result"].as_array().unwrap();
        rooms.iter().map(|room| room["room"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rooms("ada"), ["general", "cellar"]);
    assert_eq!(rooms("guest"), ["general"]);
    for (target, status, code) in [
        ("/rooms/cellar/events?as=eve", "404 Not Found", "no-room"),
        ("/rooms/nowhere/events", "404 Not Found", "no-room"),
        ("/rooms/%00/events", "400 Bad Request", "bad-name"),
        ("/rooms/%ff/events", "400 Bad Request", "bad-name"),
        ("/rooms?as=%20", "400 Bad Request", "bad-name"),
    ] {
        let (found, body) = get(&server, target, "");
        assert_eq!(found, format!("HTTP/1.1 {status}"), "{target}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["code"], code, "{target}");
    }
    let long = "%01".repeat(4_000);
    for target in [format!("/rooms/{long}/events"), format!("/rooms?as={long}")] {
        assert_eq!(get(&server, &target, "").0, "HTTP/1.1 400 Bad Request");
    }
    assert_eq!(get(&server, "/rooms/general/events?since=x", "").0, "HTTP/1.1 400 Bad Request");
}

/// Reads the chunks of an endless body, line by line.
struct Lines(BufReader<TcpStream>, Vec<u8>);

impl Lines {
    fn open(server: &Server, target: &str, more: &str) -> Lines {
        let mut stream = server.connect();
        let asked = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        let (status, lines) = head(&mut stream);
        assert_eq!(status, "HTTP/1.1 200 OK", "{lines:?}");
        assert!(lines.contains(&"transfer-encoding: chunked".to_owned()), "{lines:?}");
        Lines(BufReader::new(stream), Vec::new())
    }

    /// The next line; `None` at the end of the body.
    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.1.iter().position(|byte| *byte == b'\n') {
                let line = self.1.drain(..=at).collect::<Vec<_>>();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            let mut size = String::new();
            self.0.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.0.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            self.1.extend(&chunk[..size]);
        }
    }

    /// The next line with this prefix, without it.
    fn field(&mut self, name: &str) -> String {
        loop {
            let line = self.next().expect("not the end yet");
            if let Some(value) = line.strip_prefix(name) {
                return value.to_owned();
            }
        }
    }

    /// The next message of an event stream.
    fn message(&mut self) -> Value {
        while self.field("event: ") != "message" {}
        serde_json::from_str(&self.field("data: ")).unwrap()
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.next().unwrap()).unwrap()
    }
}

#[test]
fn events_are_json_lines_for_programs() {
    let (_dir, server) = serve_process(&[]);
    say(&server, "one");
    let mut lines = Lines::open(&server, "/rooms/general/events?since=0&as=reader", "");
    assert_eq!(lines.json()["event"], "room-created");
    let first = lines.json();
    assert_eq!((&first["text"], &first["n"], &first["event"]), (&json!("one"), &json!(1), &json!("message")));
    say(&server, "hai \"two\"\nlines");
    assert_eq!(lines.json()["text"], "hai \"two\"\nlines");
    let mut now = Lines::open(&server, "/rooms/%23general/events", "");
    say(&server, "three");
    assert_eq!((lines.json()["n"].as_u64(), now.json()["n"].as_u64()), (Some(3), Some(3)));
    server.signal("TERM");
    assert_eq!((&lines.json()["event"], lines.next()), (&json!("closing"), None));
}

#[test]
fn a_browser_that_comes_back_gets_what_it_missed_once() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let addr = server.addr.clone();
    say(&server, "one");
    let stream = "Accept: text/event-stream\r\n";
    let mut events = Lines::open(&server, "/rooms/general/events?since=0", stream);
    assert_eq!(events.next().as_deref(), Some("retry: 1000"));
    assert!(events.field("id: ").starts_with("2@"));
    assert_eq!(events.next().as_deref(), Some("event: room-created"));
    let id = events.field("id: ");
    assert_eq!(events.message()["text"], "one");
    server.kill();
    let server = Server::start_with(&data, &addr, &[]);
    for text in ["two", "three"] {
        say(&server, text);
    }
    let again = format!("{stream}Last-Event-ID: {id}\r\n");
    let mut events = Lines::open(&server, "/rooms/general/events?since=0", &again);
    for text in ["two", "three"] {
        assert_eq!(events.message()["text"], text);
    }
    // Of another journal: a reset, then everything after `since` of the address.
    let other = Server::start(&dir.path().join("other"));
    say(&other, "another");
    let mut events = Lines::open(&other, "/rooms/general/events?since=0", &again);
    assert_eq!(events.field("event: "), "reset");
    assert_eq!(events.field("data: "), "{\"code\": \"journal-changed\"}");
    assert_eq!(events.message()["text"], "another");
    // Nonsense is no place: from where the address says.
    let mut events =
        Lines::open(&other, "/rooms/general/events?since=0", &format!("{stream}Last-Event-ID: x\r\n"));
    assert_eq!(events.message()["text"], "another");
}

#[test]
fn a_browser_resumes_a_restored_journal_at_the_common_point() {
    let dir = folder();
    let [data, again, backup] = ["data", "again", "backup"].map(|name| dir.path().join(name));
    let server = Server::start(&data);
    say(&server, "one");
    let stream = "Accept: text/event-stream\r\n";
    let mut events = Lines::open(&server, "/rooms/general/events?since=0", stream);
    let mut id = String::new();
    while !events.next().expect("the message").contains("\"one\"") {}
    say(&server, "two");
    while !id.contains('@') {
        id = events.field("id: ");
    }
    let made = vang().args(["admin", "backup"]).arg(&backup).arg("--data").arg(&data).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    server.kill();
    let restored = vang().args(["admin", "restore"]).arg(&backup).arg("--data").arg(&again).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let server = Server::start(&again);
    say(&server, "three");
    let mut events =
        Lines::open(&server, "/rooms/general/events?since=0", &format!("{stream}Last-Event-ID: {id}\r\n"));
    assert_eq!(events.field("event: "), "reset");
    assert_eq!(events.field("data: "), "{\"code\": \"journal-changed\"}");
    assert_eq!(events.message()["text"], "three", "what both have is not told again");
}

#[test]
fn a_body_that_nobody_reads_costs_no_memory() {
    let (_dir, server) = serve_process(&[]);
    let readers: Vec<Lines> = (0..50).map(|_| Lines::open(&server, "/rooms/general/events", "")).collect();
    let before = server.status_kib("VmRSS");
    let text = "y".repeat(60_000);
    for _ in 0..200 {
        say(&server, &text);
    }
    let grown = server.status_kib("VmRSS").saturating_sub(before);
    // What the server needs for the messages themselves, their view and their index is 36 to 50 MiB of it, in large pages.
    assert!(grown < 80 << 10, "12 MB past 50 readers that do not read cost {grown} KiB");
    drop(readers);
}

#[test]
fn a_close_with_data_in_flight_disturbs_no_other_client() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let mut sender = server.connect();
    let text = "z".repeat(100_000);
    for _ in 0..40 {
        assert_eq!(exchange(&mut sender, &request("send", &[GENERAL], &text)).0["status"], "ok");
    }
    for goodbye in [&b"\x88\x82\x00\x00\x00\x00\x03\xe8"[..], b"\x81\x81\x00\x00\x00\x00x", b"\xff\xff", b""]
    {
        // Each requests more than its socket can hold, reads nothing, and leaves in a different way.
        let leaving: Vec<TcpStream> = (0..12)
            .map(|_| {
                let mut stream = server.connect();
                socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
                let follow = request("follow", &[GENERAL, ("since", "0")], "");
                let mut bytes = handshake("localhost", "").into_bytes();
                bytes.extend([0x82, 0x80 | 126]);
                bytes.extend((follow.len() as u16).to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(&follow);
                stream.write_all(&bytes).unwrap();
                head(&mut stream);
                stream
            })
            .collect();
        witness_sees_all(&mut witness, 40, &text);
        for mut stream in leaving {
            stream.write_all(goodbye).unwrap();
            if goodbye.is_empty() {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            // Data in flight arrives, then the end.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        assert_eq!(get(&server, "/healthz", "").0, "HTTP/1.1 200 OK");
    }
    witness.is_unharmed(&server);
}

/// Once: the witness has read the messages before.
fn witness_sees_all(witness: &mut Witness, count: usize, text: &str) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| (0..count).for_each(|_| witness.hears(text)));
}

#[test]
fn requests_before_a_websocket_close_are_executed() {
    let (_dir, server) = serve(&[]);
    let mut web = open(&server);
    let sends: Vec<u8> = (0..3_000).flat_map(|n| request("send", &[GENERAL], &n.to_string())).collect();
    web.write(0x82, &sends);
    web.write(0x88, b"");
    // A frame in flight is cut then: the client does not read it any more.
    web.drain();
    crate::common::comes_true("all 3000 are there", || {
        server.ok(&["rooms", "--json"]).contains("\"n\": 3000")
            || server.ok(&["rooms", "--json"]).contains("\"n\":3000")
    });
}

#[test]
fn a_stop_does_not_wait_for_closed_websockets() {
    let (_dir, mut server) = serve_process(&[]);
    let mut web = open(&server);
    // Refused, and so closed by the server; the answer to its goodbye ends the connection at once.
    web.write(0x82, b"\x00\x05[1,2]");
    while web.read().is_some_and(|frame| frame.first != 0x88) {}
    web.write(0x88, b"\x03\xf0");
    assert_eq!(web.read(), None);
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(server.log().contains("stopping connections=0"), "{}", server.log());
}
