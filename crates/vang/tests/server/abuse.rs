//! Malformed and hostile input: the server answers with the error and closes; other clients are not disturbed.
//!
//! A witness connects and follows before each test; afterwards it can still send and receive.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{SECRET, Witness, ask, comes_true, dial, is_gone, rest, serve, serve_process};
use crate::harness::{PATIENCE, Server, exchange, guide, message, read_message, request};

fn with_header(header: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u16).to_be_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(content);
    bytes
}

/// A correct header, changed by `keys`; the value `""` removes a key.
fn header_but(keys: &[(&str, &str)]) -> Vec<u8> {
    let right = [
        ("byteorder", "\"little\""),
        ("content-type", "\"text/json\""),
        ("content-encoding", "\"utf-8\""),
        ("content-length", "2"),
    ];
    let one = |(key, value): (&'static str, &'static str)| {
        let value =
            keys.iter().find(|(other, _)| *other == key).map_or(value, |(_, value)| *value).to_owned();
        (key, value)
    };
    let keys = right.map(one);
    let there: Vec<_> = keys.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (*k, v.as_str())).collect();
    message(&there, b"{}")
}

/// The only message before the end of the connection.
fn refusal(server: &Server, bytes: &[u8]) -> Value {
    let came = ask(&server.addr, bytes);
    let mut rest = came.as_slice();
    let (header, content) = read_message(&mut rest).unwrap_or_else(|_| {
        panic!("no answer to {}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
    });
    assert!(rest.is_empty(), "after the refusal came {} bytes", rest.len());
    assert_eq!(header["status"], "error", "{header}");
    let content: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(content["result"], format!("Error: {}", header["detail"].as_str().unwrap()));
    header
}

fn are_refused(cases: &[(&[u8], &str, &str, &str)]) {
    // Beyond the first of a kind the log counts; with `debug` it has them all.
    let (_dir, server) = serve_process(&["--log", "debug"]);
    let mut witness = Witness::new(&server);
    for (bytes, code, part, says) in cases {
        let header = refusal(&server, bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
        assert_eq!(
            (&header["code"], &header["part"]),
            (&Value::from(*code), &Value::from(*part)),
            "{shown}: {header}"
        );
        let detail = header["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{shown}: {detail}");
        witness.is_served();
    }
    witness.is_unharmed(&server);
    // Each is in the log once, when its socket is closed.
    let refused = |log: &str| {
        log.lines().filter(|line| line.contains("session closed") && line.contains("error=")).count()
    };
    comes_true("every refusal is in the log", || refused(&server.log()) >= cases.len());
    assert_eq!(refused(&server.log()), cases.len(), "{}", server.log());
}

#[test]
fn a_missing_header_key_is_an_error() {
    let keys = ["byteorder", "content-length", "content-type", "content-encoding"];
    let cases = keys.map(|key| (header_but(&[(key, "")]), format!("missing required header '{key}'")));
    let cases: Vec<(&[u8], &str, &str, &str)> =
        cases.iter().map(|(bytes, says)| (bytes.as_slice(), "malformed", "header", says.as_str())).collect();
    are_refused(&cases);
}

#[test]
fn a_wrong_length_is_an_error() {
    let length = |value: &str| header_but(&[("content-length", value)]);
    let cases = [
        (length("-1"), "malformed", "'content-length' is -1; it must be an integer from 0"),
        (length("\"2\""), "malformed", "'content-length' is \"2\"; it must be an integer from 0"),
        (length("2.0"), "malformed", "it must be an integer from 0"),
        (length("2e0"), "malformed", "it must be an integer from 0"),
        (length("null"), "malformed", "it must be an integer from 0"),
        (length("[2]"), "malformed", "it must be an integer from 0"),
        (length("true"), "malformed", "it must be an integer from 0"),
        (length("99999999999999999999999999"), "malformed", "it must be an integer from 0"),
        (length("18446744073709551616"), "malformed", "it must be an integer from 0"),
    ];
    let too_long = [
        (length("18446744073709551615"), "18446744073709551615 bytes exceeds the limit of 1048576"),
        (length("4611686018427387904"), "4611686018427387904 bytes exceeds the limit of 1048576"),
        (length("1048577"), "1048577 bytes exceeds the limit of 1048576"),
    ];
    let header = cases.iter().map(|(bytes, code, says)| (bytes.as_slice(), *code, "header", *says));
    let content = too_long.iter().map(|(bytes, says)| (bytes.as_slice(), "too-long", "content", *says));
    are_refused(&header.chain(content).collect::<Vec<_>>());
}

#[test]
fn header_keys_of_a_wrong_type_are_errors() {
    let order = |value| header_but(&[("byteorder", value)]);
    let kind = |value| header_but(&[("content-type", value)]);
    let encoding = |value| header_but(&[("content-encoding", value)]);
    let long = format!("\"{}\"", "x".repeat(256));
    are_refused(&[
        (
            &order("\"middle\""),
            "malformed",
            "header",
            "'byteorder' is \"middle\"; it must be \"little\" or \"big\"",
        ),
        (&order("1"), "malformed", "header", "'byteorder' is 1; it must be"),
        (&kind("[]"), "malformed", "header", "'content-type' is []; it must be a string"),
        (&kind(&long), "malformed", "header", "it must be a string of at most 255 bytes"),
        (&encoding("null"), "malformed", "header", "'content-encoding' is null; it must be a string"),
        (
            &encoding("\"ebcdic-klingon\""),
            "unknown-encoding",
            "content",
            "unknown content-encoding 'ebcdic-klingon'",
        ),
        (&encoding("\"binary\""), "unknown-encoding", "content", "unknown content-encoding 'binary'"),
        (&encoding("\"../../etc/passwd\""), "unknown-encoding", "content", "unknown content-encoding"),
    ]);
}

#[test]
fn a_header_that_is_not_a_json_object_is_an_error() {
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    let open = format!("{{\"x\": {}", "[".repeat(60_000));
    are_refused(&[
        (b"\x00\x00", "malformed", "header", "header of 0 bytes is too short"),
        (b"\x00\x01{", "malformed", "header", "header of 1 bytes is too short"),
        (
            &with_header(b"{\"a\": }", b""),
            "malformed",
            "header",
            "header is not JSON: expected value at byte 7",
        ),
        (&with_header(b"{'a': 1}", b""), "malformed", "header", "header is not JSON: key must be a string"),
        (&with_header(b"{} {}", b""), "malformed", "header", "header is not JSON: trailing characters"),
        (&with_header(b"{\"a\": NaN}", b""), "malformed", "header", "header is not JSON"),
        (
            &with_header(b"{\"a\": \"\x01\"}", b""),
            "malformed",
            "header",
            "header is not JSON: control character",
        ),
        (&with_header(b"{\"a\": \"\xff\"}", b""), "malformed", "header", "header is not UTF-8 from byte 7"),
        (
            &with_header(b"{\"\xc3\xa9\": \"\xed\xa0\x80\"}", b""),
            "malformed",
            "header",
            "header is not UTF-8 from byte 8",
        ),
        // Depth costs nothing in values that are not parsed.
        (&with_header(deep.as_bytes(), b""), "malformed", "header", "missing required header 'byteorder'"),
        (&with_header(open.as_bytes(), b""), "malformed", "header", "header is not JSON: "),
    ]);
}

#[test]
fn content_that_does_not_match_its_header_is_an_error() {
    let text = |encoding: &str, content: &[u8]| {
        let (encoding, length) = (format!("\"{encoding}\""), content.len().to_string());
        let keys = [
            ("byteorder", "\"little\""),
            ("content-type", "\"text/json\""),
            ("content-encoding", encoding.as_str()),
            ("content-length", length.as_str()),
        ];
        message(&keys, content)
    };
    let json = |content: &str| text("utf-8", content.as_bytes());
    let nested = |depth: usize| {
        format!("{{\"action\": \"search\", \"value\": {}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    are_refused(&[
        (
            &json("{\"action\": \"search\", "),
            "malformed",
            "content",
            "content is not JSON: EOF while parsing",
        ),
        (&json(""), "malformed", "content", "content is not JSON: EOF while parsing"),
        (&json("{}}"), "malformed", "content", "content is not JSON: trailing characters"),
        (&json("[1, 2]"), "malformed", "content", "content must be a JSON object"),
        (
            &json(&nested(128)),
            "malformed",
            "content",
            "content is nested 129 levels deep; at most 128 are read",
        ),
        (&json(&nested(500_000)), "malformed", "content", "levels deep; at most 128 are read"),
        (&json(&"[".repeat(1 << 20)), "malformed", "content", "content is nested 1048576 levels deep"),
        (
            &text("utf-8", b"{\"value\": \"\xff\"}"),
            "malformed",
            "content",
            "content is not utf-8: byte 0xff at offset 11",
        ),
        (&text("ascii", "{\"value\": \"é\"}".as_bytes()), "malformed", "content", "content is not ascii"),
        (&text("utf-16", b"{\x00}"), "malformed", "content", "content is not utf-16"),
        (&text("utf-32", b"\xff\xff\xff\xff"), "malformed", "content", "content is not utf-32"),
    ]);
}

#[test]
fn a_bad_request_in_the_header_keeps_the_connection() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let mut stream = server.connect();
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 13] = [
        ("dance", &[], "unknown-action", "unknown action 'dance'; known are hello"),
        ("send", &[], "bad-request", "missing argument 'room'"),
        ("send", &[("room", "7")], "bad-request", "argument 'room' is 7; it must be a string"),
        ("send", &[("room", "\"a b\"")], "bad-name", "the name 'a b' has a space; "),
        ("send", &[("room", "\"nowhere\"")], "no-room", "there is no room 'nowhere'"),
        (
            "send",
            &[("room", "\"general\""), ("id", "\"\"")],
            "bad-request",
            "id of 0 bytes; it must be 1 to 128",
        ),
        (
            "history",
            &[("room", "\"general\""), ("since", "-1")],
            "bad-request",
            "'since' is -1; it must be an integer from 0",
        ),
        (
            "follow",
            &[("rooms", "[]")],
            "bad-request",
            "'rooms' is []; it must be a list of at least one room name",
        ),
        (
            "follow",
            &[("room", "\"general\""), ("since", "[1, 2]")],
            "bad-request",
            "one number for each room",
        ),
        (
            "create",
            &[("room", "\"x\""), ("access", "\"secret\"")],
            "bad-request",
            "\"public\" or \"private\"",
        ),
        ("create", &[("room", "\"garden\"")], "account-needed", ""),
        ("account-add", &[("name", "\"ada\"")], "not-allowed", ""),
        (
            "ping",
            &[(
                "re",
                "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
            )],
            "bad-request",
            "at most 128 bytes",
        ),
    ];
    for (action, keys, code, says) in cases {
        let (reply, _) = exchange(&mut stream, &request(action, keys, SECRET));
        assert_eq!(reply["code"], code, "{action} {keys:?}: {reply}");
        assert!(reply["detail"].as_str().unwrap().contains(says), "{reply}");
    }
    let long = request("send", &[("room", "\"general\"")], &"x".repeat((256 << 10) + 1));
    let (reply, _) = exchange(&mut stream, &long);
    assert_eq!(
        (&reply["code"], &reply["found"], &reply["limit"]),
        (&"too-long".into(), &262_145.into(), &262_144.into())
    );
    let (reply, _) = exchange(&mut stream, &request("send", &[("room", "\"general\"")], "still here"));
    assert_eq!(reply["status"], "ok", "{reply}");
    witness.hears("still here");
    witness.is_unharmed(&server);
}

#[test]
fn other_protocols_get_an_error_that_names_ours() {
    let garbage: Vec<u8> =
        (0..4_096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    are_refused(&[
        (b"NICK ada\r\nUSER ada 0 * :ada\r\n", "malformed", "protocol", "IRC is not spoken here"),
        (b"cap LS 302\r\n", "malformed", "protocol", "IRC is not spoken here"),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            "malformed",
            "protocol",
            "the third byte is 0x48; and these bytes are no other protocol known here",
        ),
        (b"EHLO mail.example\r\n", "malformed", "protocol", "no other protocol known here"),
        (b"\x00\x05[1,2]", "malformed", "protocol", "the third byte is 0x5b"),
        (b"\xff\xff\xff\xff\xff", "malformed", "protocol", "the third byte is 0xff"),
        (b"PRIVMSG #general :hi\r\n", "malformed", "protocol", "no other protocol known here"),
        (&garbage, "malformed", "protocol", "no other protocol known here"),
    ]);
}

#[test]
fn bad_http_gets_an_http_error() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Pad: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, expected) in [
        (huge.as_bytes(), "HTTP/1.1 431 "),
        (b"GET /healthz HTTP/1.1\r\nno colon here\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /healthz HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let mut stream = server.connect();
        // It can be refused before all of it is written.
        let _ = stream.write_all(bytes);
        let mut came = vec![0; expected.len()];
        stream.read_exact(&mut came).unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), expected);
        assert!(is_gone(&mut stream), "{expected} and then it stays");
        witness.is_served();
    }
    let mut stream = server.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert!(is_gone(&mut stream), "HTTP/2 is not spoken");
    witness.is_unharmed(&server);
}

#[test]
fn a_stream_that_ends_inside_a_message_is_an_error() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let whole = guide("{\"action\": \"search\", \"value\": \"ring\"}");
    let header = 2 + usize::from(u16::from_be_bytes([whole[0], whole[1]]));
    for cut in [1, 2, 3, 10, header - 1, header, header + 1, whole.len() - 1] {
        let mut stream = dial(&server.addr);
        stream.write_all(&whole[..cut]).unwrap();
        stream.end_writing();
        let (reply, _) = read_message(&mut stream).unwrap();
        let part = if cut < header { "header" } else { "content" };
        assert_eq!(
            (&reply["code"], &reply["part"]),
            (&"malformed".into(), &part.into()),
            "cut at {cut}: {reply}"
        );
        assert_eq!(reply["detail"], format!("the stream ended in the middle of a {part}"));
        assert!(rest(&mut stream).is_empty());
    }
    witness.is_unharmed(&server);
}

#[test]
fn a_silent_client_gets_no_bytes() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let stream = server.connect();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut &stream).is_empty());
    drop(server.connect());
    let reset = server.connect();
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    witness.is_unharmed(&server);
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_client_that_still_sends_can_read_the_refusal() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let mut stream = server.connect();
    let mut sender = stream.try_clone().unwrap();
    let claim = header_but(&[("content-length", "104857600")]);
    let sending = thread::spawn(move || {
        let _ = sender.write_all(&claim);
        let chunk = [b'x'; 1 << 16];
        (0..1_600).take_while(|_| sender.write_all(&chunk).is_ok()).count()
    });
    let (reply, _) = read_message(&mut stream).unwrap();
    assert_eq!((&reply["code"], &reply["found"]), (&"too-long".into(), &104_857_600.into()));
    // It does not read refused data without end.
    let written = sending.join().unwrap();
    assert!(written < 1_600, "all 100 MiB were taken");
    assert!(is_gone(&mut stream));
    witness.is_unharmed(&server);
}

#[test]
fn data_sent_before_a_refusal_arrives_causes_no_reset() {
    let (_dir, server) = serve(&[]);
    let mut witness = Witness::new(&server);
    let mut stream = dial(&server.addr);
    stream.write_all(&header_but(&[("content-length", "2000000")])).unwrap();
    let (reply, _) = read_message(&mut stream).unwrap();
    assert_eq!(reply["code"], "too-long");
    for _ in 0..8 {
        stream.write_all(&[b'x'; 1 << 16]).unwrap();
        // By then the server has had its turn with it.
        witness.is_served();
    }
    stream.end_writing();
    assert!(rest(&mut stream).is_empty());
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let (_dir, server) = serve_process(&["--limit", "content=1GiB"]);
    let mut witness = Witness::new(&server);
    let claims = |claimed: u64| {
        let length = claimed.to_string();
        let keys = [
            ("byteorder", "\"little\""),
            ("content-type", "\"binary/x\""),
            ("content-encoding", "\"binary\""),
            ("content-length", length.as_str()),
        ];
        message(&keys, b"ten bytes.")
    };
    // A reply means that everything before was read; the reply to the later ping shows that the claim was read too.
    let ping = request("ping", &[], "");
    let open = |claim: &[u8]| {
        let mut stream = server.connect();
        assert_eq!(exchange(&mut stream, &ping).0["status"], "ok");
        stream.write_all(claim).unwrap();
        stream
    };
    // What every connection costs anyway is not counted.
    let warm: Vec<_> = (0..200).map(|_| open(&[])).collect();
    drop(warm);
    witness.is_served();
    let before = server.status_kib("VmRSS");
    let mut open: Vec<_> = [1 << 20, 1 << 30]
        .iter()
        .flat_map(|&claimed| {
            let claim = claims(claimed);
            (0..200).map(|_| open(&claim)).collect::<Vec<_>>()
        })
        .collect();
    for _ in 0..5 {
        witness.is_served();
    }
    let grown = server.status_kib("VmRSS").saturating_sub(before);
    assert!(grown < 12 << 10, "400 claims of 1 MiB and 1 GiB took {grown} KiB");
    // They were believed, all the same.
    for stream in open.iter_mut().take(200).step_by(50) {
        stream.write_all(&vec![b'x'; (1 << 20) - 10]).unwrap();
        assert_eq!(read_message(stream).unwrap().1, b"First 10 bytes of request: ten bytes.");
        assert!(rest(stream).is_empty());
    }
    drop(open);
    witness.is_unharmed(&server);
}

#[test]
fn a_silent_connection_gets_one_line_and_is_closed() {
    let (_dir, server) = serve_process(&["--limit", "first-byte=100ms"]);
    let mut witness = Witness::new(&server);
    let mut silent = server.connect();
    let mut one_byte = server.connect();
    one_byte.write_all(b"\x00").unwrap();
    let mut get = server.connect();
    get.write_all(b"GE").unwrap();
    // Who sent nothing may be a browser: the line is the reason of a response to it.
    for (stream, line) in
        [(&mut silent, &b"HTTP/1.1 408 -- "[..]), (&mut one_byte, b"-- "), (&mut get, b"-- ")]
    {
        assert!(rest(stream).starts_with(line));
    }
    comes_true("the log has an entry", || {
        server.log().contains("nothing that is known here was sent in time")
    });
    assert_eq!(
        server.log().matches("nothing that is known here was sent").count(),
        1,
        "the others are counted"
    );
    witness.is_unharmed(&server);
}

#[test]
fn a_slow_header_times_out_with_an_error() {
    let (_dir, server) = serve_process(&["--limit", "header-time=300ms"]);
    let mut witness = Witness::new(&server);
    let whole = guide("{\"action\": \"search\", \"value\": \"ring\"}");
    let mut stream = server.connect();
    stream.write_all(&whole[..3]).unwrap();
    // A byte every few milliseconds, until it is refused.
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut first = [0; 1];
    let mut drip = vec![b' '; 100_000].into_iter();
    loop {
        stream.write_all(&[drip.next().unwrap()]).unwrap();
        match stream.read(&mut first) {
            Ok(n) => break assert_eq!(n, 1),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (reply, _) = read_message(&mut (&first[..]).chain(&mut stream)).unwrap();
    assert_eq!((&reply["code"], &reply["part"]), (&"timed-out".into(), &"header".into()));
    assert_eq!(reply["detail"], "the header was not whole within 300 ms");
    assert!(is_gone(&mut stream));
    drop(stream);
    witness.is_unharmed(&server);
    comes_true("it is in the log", || server.log().contains("the header was not whole within 300 ms"));
}

#[test]
fn slow_content_times_out_with_an_error() {
    let (_dir, server) = serve_process(&["--limit", "content-time=100ms"]);
    let mut witness = Witness::new(&server);
    let whole = guide("{\"action\": \"search\", \"value\": \"ring\"}");
    let header = refusal(&server, &whole[..whole.len() - 1]);
    assert_eq!((&header["code"], &header["part"]), (&"timed-out".into(), &"content".into()));
    assert_eq!(header["detail"], "the content was not whole within 100 ms");
    witness.is_unharmed(&server);
}

#[test]
fn idle_connections_are_closed_unless_they_follow() {
    let (_dir, server) = serve_process(&["--limit", "idle=200ms"]);
    let mut witness = Witness::new(&server);
    // Each of them idles until its end, one after the other: the witness is silent for longer.
    for _ in 0..3 {
        let mut stream = server.connect();
        assert_eq!(exchange(&mut stream, &request("ping", &[], "")).0["status"], "ok");
        assert!(rest(&mut stream).is_empty(), "a word to one that did not ask");
    }
    witness.is_unharmed(&server);
}

#[test]
fn size_limits_can_be_set() {
    let more = ["--limit", "header=256", "--limit", "content=2KiB", "--limit", "inline=10"];
    let (_dir, server) = serve(&more);
    let pad = format!("\"{}\"", "x".repeat(300));
    let header = refusal(&server, &request("ping", &[("pad", &pad)], ""));
    assert_eq!(
        (&header["code"], &header["part"], &header["limit"]),
        (&"too-long".into(), &"header".into(), &256.into())
    );
    let header = refusal(&server, &guide(&" ".repeat(2_049)));
    assert_eq!(
        (&header["code"], &header["found"], &header["limit"]),
        (&"too-long".into(), &2_049.into(), &2_048.into())
    );
    let mut stream = server.connect();
    let send = |text: &str| request("send", &[("room", "\"general\"")], text);
    let (reply, _) = exchange(&mut stream, &send("eleven byte"));
    assert_eq!(reply["detail"], "content of 11 bytes exceeds the limit of 10 for a message in a room");
    assert_eq!(exchange(&mut stream, &send("ten bytes.")).0["status"], "ok");
}

#[test]
fn the_log_never_has_message_text() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let quoted = format!("\"{SECRET}\"");
    for content in [format!("[{quoted}]"), quoted.clone(), format!("{{{quoted}"), format!("{SECRET} \u{1}")] {
        refusal(&server, &guide(&content));
    }
    let length = SECRET.len().to_string();
    let keys = [
        ("byteorder", "\"little\""),
        ("content-type", "\"text/json\""),
        ("content-encoding", "\"utf-16\""),
        ("content-length", length.as_str()),
    ];
    refusal(&server, &message(&keys, SECRET.as_bytes()));
    witness.is_unharmed(&server);
}

#[test]
fn the_proxy_protocol_is_refused_once() {
    let says = "the proxy in front sends the PROXY protocol, which this address does not accept; listen with --listen \
                ADDR,proxy=proxy, or switch it off in the proxy";
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    // What HAProxy's `check send-proxy-v2` sends; one in front of a request; version 1 in front of typed lines.
    let local = [&signature[..], b"\x20\0\0\0"].concat();
    let http = [
        &signature[..],
        b"\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\xdc\x04\x01\xbb",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let http = http.concat();
    let first = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\nada\nhi\n";
    are_refused(&[
        (&local, "malformed", "protocol", says),
        (&http, "malformed", "protocol", says),
        (first, "malformed", "protocol", says),
    ]);
}

#[test]
fn after_five_bad_names_the_connection_ends() {
    let (_dir, server) = serve(&[]);
    let mut witness = Witness::new(&server);
    let seen = String::from_utf8(ask(&server.addr, &b"a: b\r\n".repeat(50))).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 5, "{seen}");
    assert!(
        lines[3].ends_with("; type another name") && lines[4].ends_with("; 5 lines were no name"),
        "{seen}"
    );
    // People do not type a NUL.
    let seen = String::from_utf8(ask(&server.addr, b"ada\n\0\0\0\nhi\n")).unwrap();
    assert!(!seen.contains("hi"), "{seen}");
    assert_eq!(server.ok(&["tail", "general", "--since", "0", "--no-follow"]).matches("ada").count(), 0);
    witness.is_served();
}
