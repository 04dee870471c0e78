//! Messages by HTTP: posted with `POST /rooms/ROOM`, read with `GET /rooms/ROOM/N`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::common::{ask, dial, member_of_cellar, rest, serve, tool};
use crate::harness::{PATIENCE, Server};

/// An answer: the status, the other lines of the head, the body.
struct Answer {
    status: String,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn of(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (status, head) = head.split_once("\r\n").unwrap();
        let status = status.strip_prefix("HTTP/1.1 ").unwrap().to_owned();
        Answer { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn code(&self) -> (String, String) {
        (self.status[..3].to_owned(), self.json()["error"]["code"].as_str().unwrap().to_owned())
    }
}

fn posted(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn post(server: &Server, target: &str, headers: &str, body: &[u8]) -> Answer {
    Answer::of(&ask(&server.addr, &posted(target, headers, body)))
}

fn get(server: &Server, target: &str) -> Answer {
    let asked = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    Answer::of(&ask(&server.addr, asked.as_bytes()))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Every message of the room: its content type, and its text or its number of bytes.
fn said(server: &Server) -> Vec<String> {
    let lines = server.ok(&["tail", "general", "--since", "0", "--no-follow", "--json"]);
    let message = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let (from, kind) = (event["from"].as_str().unwrap(), event["content-type"].as_str().unwrap());
        format!("{from} {kind} {}", event["text"].as_str().unwrap_or("?"))
    };
    lines.lines().map(message).collect()
}

#[test]
fn curl_posts_a_message_and_reads_it_back() {
    let (dir, server) = serve(&[]);
    let curl = |args: &[&str]| {
        let mut curl = tool("curl", "curl");
        let output = curl.args(["-sS", "--noproxy", "*"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let room = format!("http://{}/rooms/general", server.addr);
    let answer: Value = serde_json::from_slice(&curl(&["-d", "hi & 100% + xin chào", &room])).unwrap();
    assert_eq!(answer, json!({"result": "general#1", "room": "general", "n": 1, "seq": answer["seq"]}));
    curl(&["--json", "{\"temp\": 21}", &format!("{room}?as=sensor")]);
    let picture: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let file = dir.path().join("photo.png");
    std::fs::write(&file, &picture).unwrap();
    let file = format!("@{}", file.display());
    curl(&["--data-binary", &file, "-H", "Content-Type: image/png", &room]);
    curl(&["--data-binary", &file, &room]);
    curl(&["-T", &file[1..], "-X", "POST", &room]);
    assert_eq!(
        said(&server),
        [
            "guest:anon text/plain hi & 100% + xin chào",
            "guest:sensor text/json {\"temp\": 21}",
            "guest:anon image/png ?",
            "guest:anon application/octet-stream ?",
            "guest:anon application/octet-stream ?"
        ]
    );
    assert_eq!(curl(&[&format!("{room}/1")]), "hi & 100% + xin chào".as_bytes());
    assert_eq!(curl(&[&format!("{room}/2")]), b"{\"temp\": 21}");
    assert_eq!(curl(&[&format!("{room}/3")]), picture);
}

#[test]
fn a_body_is_taken_with_its_type_in_chunks_and_byte_by_byte() {
    let (_dir, server) = serve(&[]);
    let chunked = "POST /rooms/general?as=ada HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                   Content-Type: text/csv; charset=latin-1\r\nConnection: close\r\n\r\n4\r\na;b\n\r\n2\r\n\u{0}";
    let chunked = [&chunked.as_bytes()[..chunked.len() - 1], b"\xe9;\r\n0\r\n\r\n"].concat();
    assert_eq!(Answer::of(&ask(&server.addr, &chunked)).json()["result"], "general#1");
    let mut stream = dial(&server.addr);
    for byte in posted("/rooms/general", "", b"slow") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::of(&rest(&mut stream)).status, "200 OK");
    assert_eq!(said(&server), ["guest:ada text/csv a;b\né;", "guest:anon text/plain slow"]);
    let csv = get(&server, "/rooms/general/1");
    assert_eq!(csv.body, b"a;b\n\xe9;");
    assert!(csv.head.contains("content-type: text/plain; charset=iso8859-1"), "{}", csv.head);
}

#[test]
fn one_connection_posts_several_messages() {
    let (_dir, server) = serve(&[]);
    let mut stream = server.connect();
    for n in 1..=3 {
        let body = format!("message {n}");
        let head =
            format!("POST /rooms/general HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let head = head.replace("Host: x", "Host: localhost");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert_eq!(Answer::of(&answer).json()["n"], n);
    }
}

#[test]
fn the_same_idempotency_key_posts_once() {
    let (_dir, server) = serve(&[]);
    let post = |key: &str, text: &[u8]| {
        post(&server, "/rooms/general?as=ada", &format!("{FORM}Idempotency-Key: {key}\r\n"), text)
    };
    assert_eq!(post("order-66", b"once").json()["result"], "general#1");
    assert_eq!(post("\"order-66\"", b"once").json()["result"], "general#1");
    assert_eq!(post("order-66", b"twice").code(), ("422".to_owned(), "id-reused".to_owned()));
    // The id of a native `send` is the same thing.
    assert_eq!(server.ok(&["send", "general", "once", "--as", "ada", "--id", "order-66"]), "general#1\n");
    let bad = ("400".to_owned(), "bad-request".to_owned());
    for key in ["", "\"\"", &"x".repeat(129)] {
        assert_eq!(post(key, b"once").code(), bad, "{key}");
    }
    assert!(post("a\r\nIdempotency-Key: b", b"x").status.starts_with("400 "));
    assert_eq!(said(&server).len(), 1);
}

#[test]
fn what_cannot_be_posted_is_answered_with_its_code() {
    let (_dir, server) = serve(&["--limit", "inline=1KiB", "--limit", "content-time=300ms"]);
    let long = vec![b'x'; 1_025];
    let huge = vec![b'x'; 400_000];
    let cases: &[(&str, &str, &[u8], &str, &str)] = &[
        ("/rooms/nowhere", FORM, b"hi", "404", "no-room"),
        ("/rooms/a%20b", FORM, b"hi", "400", "bad-name"),
        ("/rooms/general?as=a%20b", FORM, b"hi", "400", "bad-name"),
        ("/rooms/general", FORM, b"", "400", "bad-request"),
        ("/rooms/general", FORM, &long, "413", "too-long"),
        ("/rooms/general", FORM, &huge, "413", "too-long"),
        ("/rooms/general", "Content-Type: multipart/form-data; boundary=x\r\n", b"hi", "415", "bad-request"),
        ("/rooms/general", "Content-Encoding: gzip\r\n", b"hi", "415", "bad-request"),
        ("/rooms/general", "Content-Type: text/plain; charset=klingon\r\n", b"hi", "400", "unknown-encoding"),
        ("/rooms/general", "Content-Type: text/plain\r\n", b"\xff", "400", "malformed"),
    ];
    for (target, headers, body, status, code) in cases {
        let answer = post(&server, target, headers, body);
        assert_eq!(answer.code(), ((*status).to_owned(), (*code).to_owned()), "{target} {headers}");
        assert!(!answer.json()["error"]["detail"].as_str().unwrap().is_empty());
    }
    // A body that does not end in time; one whose length nobody claimed.
    let late = b"POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhi";
    assert_eq!(Answer::of(&ask(&server.addr, late)).code(), ("408".to_owned(), "timed-out".to_owned()));
    let chunked = b"POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = [&chunked[..], b"2000\r\n", &[b'x'; 0x2000], b"\r\n"].concat();
    assert_eq!(Answer::of(&ask(&server.addr, &chunked)).code(), ("413".to_owned(), "too-long".to_owned()));
    // A client that asks first gets the answer before it sends.
    let asks = b"POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(Answer::of(&ask(&server.addr, asks)).status, "413 Payload Too Large");
    for method in ["GET", "PUT", "DELETE"] {
        let asked =
            format!("{method} /rooms/general HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = Answer::of(&ask(&server.addr, asked.as_bytes()));
        assert_eq!(answer.status, "405 Method Not Allowed");
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
        assert!(String::from_utf8(answer.body).unwrap().contains("GET /rooms/ROOM/events"));
    }
    assert!(said(&server).is_empty());
}

#[test]
fn a_client_over_its_rate_learns_when_to_come_back() {
    let (_dir, server) = serve(&["--limit", "bytes-per-second=1", "--limit", "burst-time=1s"]);
    // One connection: rates of guests count for each.
    let mut stream = server.connect();
    for _ in 0..5 {
        let head = "POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
        let asked = format!("{head}{}", "x".repeat(100));
        stream.write_all(asked.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = Answer::of(&answer);
        if !answer.status.starts_with("200") {
            assert_eq!(answer.code(), ("503".to_owned(), "busy".to_owned()));
            assert!(answer.head.contains("retry-after: "), "{}", answer.head);
            return;
        }
    }
    panic!("500 bytes at once, with a limit of one in a second");
}

#[test]
fn a_page_of_another_site_cannot_post() {
    let (_dir, server) = serve(&[]);
    let evil = "Origin: https://evil.example\r\nContent-Type: text/plain\r\n";
    assert!(post(&server, "/rooms/general", evil, b"hi").status.starts_with("403 "));
    for site in ["cross-site", "same-site"] {
        let from = format!("Sec-Fetch-Site: {site}\r\nContent-Type: text/plain\r\n");
        assert!(post(&server, "/rooms/general", &from, b"hi").status.starts_with("403 "));
    }
    assert!(post(&server, "/rooms/general", "Origin: null\r\n", b"hi").status.starts_with("403 "));
    let rebound = b"POST /rooms/general HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    assert!(Answer::of(&ask(&server.addr, rebound)).status.starts_with("421 "));
    let own = format!("Origin: http://{}\r\n", server.addr);
    let host = posted("/rooms/general", &own, b"hi");
    let host = String::from_utf8(host).unwrap().replace("Host: localhost", &format!("Host: {}", server.addr));
    assert_eq!(Answer::of(&ask(&server.addr, host.as_bytes())).status, "200 OK");
    assert_eq!(said(&server), ["guest:anon text/plain hi"]);
}

#[test]
fn an_account_posts_and_reads_where_its_name_is_enough() {
    let (dir, server) = member_of_cellar(&["bob"]);
    assert_eq!(post(&server, "/rooms/cellar?as=ada", FORM, b"down here").json()["result"], "cellar#1");
    assert_eq!(post(&server, "/rooms/cellar?as=bob", FORM, b"may I?").code().1, "no-room");
    assert_eq!(get(&server, "/rooms/cellar/1?as=bob").code(), ("404".to_owned(), "no-room".to_owned()));
    // A proxy that passes it on makes nobody local.
    let passed_on = format!("{FORM}X-Forwarded-For: 127.0.0.1\r\n");
    assert_eq!(post(&server, "/rooms/cellar?as=ada", &passed_on, b"hi").code().1, "sign-in-needed");
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    assert_eq!(get(&server, "/rooms/cellar/1?as=bob").code(), ("403".to_owned(), "not-member".to_owned()));
    assert_eq!(get(&server, "/rooms/cellar/1?as=ada").body, b"down here");
    // On the data folder's own socket, without a name, it is the operator.
    let mut own = UnixStream::connect(dir.path().join("data/admin.sock")).unwrap();
    own.set_read_timeout(Some(PATIENCE)).unwrap();
    own.write_all(&posted("/rooms/general", FORM, b"maintenance at noon")).unwrap();
    assert_eq!(Answer::of(&rest(&mut own)).json()["result"], "general#1");
    assert_eq!(said(&server), ["server text/plain maintenance at noon"]);
}

#[test]
fn one_message_is_read_with_headers_that_let_a_browser_run_nothing() {
    let (_dir, server) = serve(&[]);
    let page = b"<script>alert(1)</script>";
    post(&server, "/rooms/general", "Content-Type: text/html\r\n", page);
    post(&server, "/rooms/general", "Content-Type: image/svg+xml\r\n", page);
    for (n, kind) in [(1, "text/plain; charset=utf-8"), (2, "application/octet-stream")] {
        let answer = get(&server, &format!("/rooms/general/{n}"));
        assert_eq!((answer.status.as_str(), answer.body.as_slice()), ("200 OK", page.as_slice()));
        for line in [
            &format!("content-type: {kind}"),
            "content-disposition: attachment",
            "content-security-policy: default-src 'none'; sandbox",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(answer.head.contains(line), "{line}: {}", answer.head);
        }
    }
    let none = get(&server, "/rooms/general/3");
    assert_eq!(none.code(), ("404".to_owned(), "no-message".to_owned()));
    assert_eq!(none.json()["error"]["detail"], "there is no message 3 in 'general'; the newest is 2");
    for (target, status) in [
        ("/rooms/general/0", "400 Bad Request"),
        ("/rooms/general/99999999999999999999", "400 Bad Request"),
        ("/rooms/general/18446744073709551615", "404 Not Found"),
        ("/rooms/general/-1", "404 Not Found"),
        ("/rooms/general/", "404 Not Found"),
        ("/rooms/general/x", "404 Not Found"),
        ("/rooms/general/1/2", "404 Not Found"),
    ] {
        assert_eq!(get(&server, target).status, status, "{target}");
    }
    let head = b"HEAD /rooms/general/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let head = Answer::of(&ask(&server.addr, head));
    assert!(head.body.is_empty() && head.head.contains("content-length: 25"), "{}", head.head);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_posts_nothing() {
    let (_dir, server) = serve(&[]);
    let mut stream: TcpStream = server.connect();
    stream
        .write_all(b"POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
        .unwrap();
    drop(stream);
    assert_eq!(post(&server, "/rooms/general", FORM, b"whole").json()["result"], "general#1");
    assert_eq!(said(&server), ["guest:anon text/plain whole"]);
}
