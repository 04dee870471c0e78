//! HTTP on the same port, for operators.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::common::{Witness, ask, comes_true, dial, rest, serve, serve_process};
use crate::harness::{Server, exchange, folder, request};

/// One response: its first line, its other header lines in lower case, its body.
fn response(stream: &mut impl BufRead, has_body: bool) -> (String, Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended inside a head: {lines:?}");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines.remove(0);
    let headers: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; if has_body { length.parse().unwrap() } else { 0 }];
    stream.read_exact(&mut body).unwrap();
    (status, headers, String::from_utf8(body).unwrap())
}

fn open(server: &Server) -> BufReader<TcpStream> {
    BufReader::new(server.connect())
}

fn say(stream: &mut BufReader<TcpStream>, head: &str) {
    stream.get_mut().write_all(format!("{head}\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
}

#[test]
fn a_server_that_can_write_is_alive_and_ready_on_one_kept_connection() {
    let (_dir, server) = serve(&[]);
    let mut stream = open(&server);
    for (head, status, body) in [
        ("GET /healthz HTTP/1.1", "HTTP/1.1 200 OK", "ok\n"),
        ("GET /readyz HTTP/1.1", "HTTP/1.1 200 OK", "ready\n"),
        ("GET /readyz?verbose=1 HTTP/1.1", "HTTP/1.1 200 OK", "ready\n"),
        ("GET /healthz/ HTTP/1.1", "HTTP/1.1 404 Not Found", "not here\n"),
        ("POST /healthz HTTP/1.1", "HTTP/1.1 405 Method Not Allowed", "only GET and HEAD\n"),
        ("DELETE /readyz HTTP/1.1", "HTTP/1.1 405 Method Not Allowed", "only GET and HEAD\n"),
        ("GET /healthz HTTP/1.1", "HTTP/1.1 200 OK", "ok\n"),
    ] {
        say(&mut stream, head);
        let (found, headers, text) = response(&mut stream, true);
        assert_eq!((found.as_str(), text.as_str()), (status, body), "{head}");
        assert!(headers.contains(&"content-type: text/plain; charset=utf-8".to_owned()), "{headers:?}");
        assert!(headers.contains(&"cache-control: no-store".to_owned()), "{headers:?}");
        assert_eq!(headers.contains(&"allow: get, head".to_owned()), status.contains("405"), "{headers:?}");
    }
}

#[test]
fn http_head_has_the_length_without_the_body() {
    let (_dir, server) = serve(&[]);
    let mut stream = open(&server);
    for (path, length) in [("/healthz", 3), ("/readyz", 6)] {
        say(&mut stream, &format!("HEAD {path} HTTP/1.1"));
        let (status, headers, _) = response(&mut stream, false);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains(&format!("content-length: {length}")), "{headers:?}");
    }
    say(&mut stream, "GET /healthz HTTP/1.1");
    assert_eq!(response(&mut stream, true).2, "ok\n", "nothing stands between two responses");
}

#[test]
fn two_requests_in_one_write_get_two_responses() {
    let (_dir, server) = serve(&[]);
    let mut stream = open(&server);
    say(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1");
    assert_eq!(response(&mut stream, true).2, "ok\n");
    assert_eq!(response(&mut stream, true).2, "ready\n");
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered() {
    let (_dir, server) = serve(&[]);
    let mut stream = open(&server);
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.get_mut().write_all(&[*byte]).unwrap();
    }
    assert_eq!(response(&mut stream, true).2, "ok\n");
}

#[test]
fn http_connections_end_on_close_or_half_close() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &["--listen", &unix]);
    for address in [server.addr.as_str(), unix.as_str()] {
        let closing = ask(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(String::from_utf8(closing).unwrap().ends_with("\r\n\r\nok\n"));
        let old = ask(address, b"GET /readyz HTTP/1.0\r\n\r\n");
        assert!(String::from_utf8(old).unwrap().starts_with("HTTP/1.0 200 OK\r\n"));
        let mut stream = dial(address);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.end_writing();
        assert!(
            String::from_utf8(rest(&mut stream)).unwrap().ends_with("\r\n\r\nok\n"),
            "{address}: half closed"
        );
    }
}

#[test]
fn http_reveals_nothing_about_people() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let send = request("send", &[("room", "\"general\""), ("as", "\"somebody\"")], "words");
    assert_eq!(exchange(&mut server.connect(), &send).0["status"], "ok");
    witness.hears("words");
    for path in ["/healthz", "/readyz", "/general", "/rooms/", "/..%2f..%2fetc/passwd"] {
        let mut stream = open(&server);
        say(&mut stream, &format!("GET {path} HTTP/1.1"));
        let (_, headers, body) = response(&mut stream, true);
        let all = format!("{headers:?}{body}");
        assert!(!["general", "somebody", "words", "vang"].iter().any(|word| all.contains(word)), "{all}");
    }
    witness.is_unharmed(&server);
}

/// The server's count of connections with a session.
fn sessions(server: &Server) -> u64 {
    let mut stream = open(server);
    say(&mut stream, "GET /metrics HTTP/1.1");
    let (_, _, body) = response(&mut stream, true);
    let of_door = |line: &str| {
        line.starts_with("vang_connections{").then(|| line.rsplit_once(' '))?.map(|(_, n)| n.to_owned())
    };
    body.lines().filter_map(of_door).map(|n| n.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_stalled_stream_ends_also_on_a_unix_socket() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let more = ["--listen", &unix, "--limit", "stall=1s"];
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &more);
    let mut sender = server.connect();
    let text = "x".repeat(200_000);
    for _ in 0..20 {
        let send = request("send", &[("room", "\"general\"")], &text);
        assert_eq!(exchange(&mut sender, &send).0["status"], "ok");
    }
    drop(sender);
    comes_true("only those who ask are there", || sessions(&server) == 0);
    let mut stream = dial(&unix);
    stream.write_all(b"GET /rooms/general/events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    comes_true("it is being told", || sessions(&server) == 1);
    comes_true("it is given up", || sessions(&server) == 0);
    let received = rest(&mut stream);
    assert!(
        received.starts_with(b"HTTP/1.1 200 OK\r\n") && received.len() < 20 * text.len(),
        "{}",
        received.len()
    );
}

#[test]
fn a_closed_json_stream_is_noticed_in_a_silent_room() {
    let (_dir, server) = serve(&[]);
    let mut stream = open(&server);
    say(&mut stream, "GET /rooms/general/events HTTP/1.1");
    comes_true("it is being told", || sessions(&server) == 1);
    drop(stream);
    comes_true("it is noticed", || sessions(&server) == 0);
}
