//! The guide's exchange: every row of its application protocol, byte for byte, on every kind of socket.

use std::fmt::Write as _;
use std::io::{Read, Write};

use crate::common::{
    Witness, answer, ask, dial, from_hex, python_message, python_says, rest, serve, serve_process, to_hex,
};
use crate::harness::{Server, folder, guide, message, read_message, request, result_of};

/// Requests of the guide's example client, with the answers of its server.
fn rows() -> Vec<(Vec<u8>, Vec<u8>)> {
    let search = |value: &str| guide(&format!("{{\"action\": \"search\", \"value\": \"{value}\"}}"));
    let bytes = |content: &[u8]| python_message("binary/custom-client-binary-type", "binary", content);
    let binary = |content: &[u8]| python_message("binary/custom-server-binary-type", "binary", content);
    vec![
        (search("morpheus"), answer("Follow the white rabbit. 🐰")),
        (search("ring"), answer("In the caves beneath the Misty Mountains. 💍")),
        (search("🐶"), answer("🐾 Playing ball! 🏐")),
        (search("xin chào"), answer("No match for 'xin chào'.")),
        (search(""), answer("No match for ''.")),
        (search("Morpheus"), answer("No match for 'Morpheus'.")),
        (guide("{\"action\": \"dance\", \"value\": \"x\"}"), answer("Error: invalid action 'dance'.")),
        (bytes(b"doublehello"), binary(b"First 10 bytes of request: doublehell")),
        (bytes(b"short"), binary(b"First 10 bytes of request: short")),
        (bytes(b""), binary(b"First 10 bytes of request: ")),
        (
            bytes(b"\x00\xff{}\r\n\x00\x01\x02\x03\x04"),
            binary(b"First 10 bytes of request: \x00\xff{}\r\n\x00\x01\x02\x03"),
        ),
        (python_message("image/png", "binary", b"\x89PNG"), binary(b"First 10 bytes of request: \x89PNG")),
        (python_message("text/plain", "utf-8", b"hello"), binary(b"First 10 bytes of request: hello")),
    ]
}

/// The same request with keep-alive.
fn kept_alive(json: &str) -> Vec<u8> {
    let length = json.len().to_string();
    let keys = [
        ("byteorder", "\"little\""),
        ("content-type", "\"text/json\""),
        ("content-encoding", "\"utf-8\""),
        ("content-length", length.as_str()),
        ("connection", "\"keep-alive\""),
    ];
    message(&keys, json.as_bytes())
}

#[test]
fn every_row_is_answered_byte_for_byte_over_ipv4_ipv6_and_unix_sockets() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let more = ["--listen", "[::1]:0", "--listen", unix.as_str()];
    let mut server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &more);
    let addresses = [server.addr.clone(), server.listening(), server.listening()];
    assert!(addresses[1].starts_with("[::1]:") && addresses[2] == unix, "{addresses:?}");
    for address in &addresses {
        for (request, response) in rows() {
            let came = ask(address, &request);
            assert_eq!(
                String::from_utf8_lossy(&came),
                String::from_utf8_lossy(&response),
                "{address}: {}",
                String::from_utf8_lossy(&request)
            );
            assert_eq!(came, response);
        }
    }
}

#[test]
fn one_byte_at_a_time_gets_the_same_answer() {
    let (_dir, server) = serve(&[]);
    for (request, response) in rows() {
        let mut stream = server.connect();
        for byte in &request {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(rest(&mut stream), response);
    }
}

#[test]
fn keep_alive_answers_three_requests_in_one_write() {
    let (_dir, server) = serve(&[]);
    let mut stream = server.connect();
    let asked = ["morpheus", "ring", "🐶"];
    let json = asked.map(|value| format!("{{\"action\": \"search\", \"value\": \"{value}\"}}"));
    stream.write_all(&json.each_ref().map(|json| kept_alive(json)).concat()).unwrap();
    for expected in ["Follow the white", "In the caves", "🐾 Playing"] {
        let (_, content) = read_message(&mut stream).unwrap();
        assert!(result_of(&content).as_str().unwrap().starts_with(expected));
    }
    stream.write_all(&guide(&json[1])).unwrap();
    assert_eq!(rest(&mut stream), answer("In the caves beneath the Misty Mountains. 💍"));
}

#[test]
fn data_after_a_request_is_dropped_without_keep_alive() {
    let (_dir, server) = serve(&[]);
    let first = guide("{\"action\": \"search\", \"value\": \"ring\"}");
    let dropped = request("send", &[("room", "\"general\"")], "nobody may see this");
    let came = ask(&server.addr, &[first.clone(), first, dropped].concat());
    assert_eq!(came, answer("In the caves beneath the Misty Mountains. 💍"));
    assert_eq!(server.ok(&["tail", "general", "--since", "0", "--no-follow"]), "");
}

#[test]
fn a_header_of_65535_bytes_is_read() {
    let (_dir, server) = serve(&[]);
    for pad in ["x", "🐶", "\\u00e9"] {
        let content = b"{\"action\": \"search\", \"value\": \"ring\"}";
        let length = content.len().to_string();
        let with = |pad: &str| {
            let pad = format!("\"{pad}\"");
            let keys = [
                ("byteorder", "\"big\""),
                ("content-type", "\"text/json\""),
                ("content-encoding", "\"utf-8\""),
                ("content-length", length.as_str()),
                ("pad", pad.as_str()),
            ];
            message(&keys, content)
        };
        let room = 65_535 - (with("").len() - 2 - content.len());
        let longest = with(&(pad.repeat(room / pad.len()) + &"y".repeat(room % pad.len())));
        assert_eq!(longest[..2], [0xff, 0xff]);
        let came = ask(&server.addr, &longest);
        assert_eq!(came, answer("In the caves beneath the Misty Mountains. 💍"));
    }
}

/// Python encodes the requests, because the encodings have Python's names.
const ENCODE: &str = r#"
import json
for line in open(0, encoding="utf-8"):
    name, order, value = line.rstrip("\n").split("\t")
    codec = name
    if order == "big" and name in ("utf-16", "utf-32"):
        codec += "-be"  # without a mark: the header says how to read it
    content = json.dumps({"action": "search", "value": value}, ensure_ascii=False).encode(codec)
    header = json.dumps({"byteorder": order, "content-type": "text/json", "content-encoding": name, "content-length": len(content)}).encode()
    print((len(header).to_bytes(2, "big") + header + content).hex())
"#;

#[test]
fn content_is_read_in_the_encoding_of_its_header() {
    let (_dir, server) = serve(&[]);
    let unicode = [
        "utf-8",
        "UTF8",
        "utf_8_sig",
        "utf-16",
        "utf-16-le",
        "UTF-16BE",
        "utf-32",
        "utf-32-le",
        "utf_32_be",
        "gb18030",
    ];
    let mut asked: Vec<(&str, &str, &str)> = Vec::new();
    for name in unicode {
        asked.extend([(name, "little", "🐶"), (name, "big", "xin chào")]);
    }
    for (name, value) in [
        ("latin-1", "café"),
        ("ISO-8859-15", "5 €"),
        ("cp1252", "“café”"),
        ("ascii", "plain"),
        ("koi8-r", "привет"),
        ("cp1258", "chào"),
        ("shift_jis", "犬"),
        ("euc_jp", "犬"),
        ("iso2022_jp", "犬"),
        ("big5", "狗"),
        ("gbk", "狗"),
        ("euc_kr", "개"),
        ("cp037", "ebcdic"),
    ] {
        asked.push((name, "little", value));
    }
    let mut input = String::new();
    for (name, order, value) in &asked {
        writeln!(input, "{name}\t{order}\t{value}").unwrap();
    }
    let encoded = python_says(ENCODE, &input);
    assert_eq!(encoded.lines().count(), asked.len());
    for ((name, order, value), hex) in asked.iter().zip(encoded.lines()) {
        let expected = match *value {
            "🐶" => answer("🐾 Playing ball! 🏐"),
            value => answer(&format!("No match for '{value}'.")),
        };
        let came = ask(&server.addr, &from_hex(hex));
        assert_eq!(
            String::from_utf8_lossy(&came),
            String::from_utf8_lossy(&expected),
            "{name} {order} {value}"
        );
    }
}

/// A minimal copy of the guide's server.
const ANSWER: &str = r#"
import json, sys
answers = {"morpheus": "Follow the white rabbit. \U0001f430", "ring": "In the caves beneath the Misty Mountains. \U0001f48d", "\U0001f436": "\U0001f43e Playing ball! \U0001f3d0"}
for line in open(0, encoding="utf-8"):
    request = json.loads(bytes.fromhex(line))
    action = request.get("action")
    if action == "search":
        query = request.get("value")
        found = answers.get(query) if isinstance(query, str) else None
        result = found or f"No match for '{query}'."
    else:
        result = f"Error: invalid action '{action}'."
    content = json.dumps({"result": result}, ensure_ascii=False).encode("utf-8")
    header = json.dumps({"byteorder": sys.byteorder, "content-type": "text/json", "content-encoding": "utf-8", "content-length": len(content)}, ensure_ascii=False).encode("utf-8")
    print((len(header).to_bytes(2, "big") + header + content).hex())
"#;

#[test]
fn any_json_is_answered_with_the_bytes_that_python_would_write() {
    let (_dir, server) = serve(&[]);
    let asked = [
        r#"{"action": "search", "value": "ring"}"#,
        r#"{"value": "\u0072ing", "action": "sea\u0072ch"}"#,
        r#"{"action": "search"}"#,
        r#"{}"#,
        r#"{"value": "ring"}"#,
        r#"{"action": null, "value": "ring"}"#,
        r#"{"action": "search", "value": true}"#,
        r#"{"action": "search", "value": 1.50}"#,
        r#"{"action": "search", "value": 1E400}"#,
        r#"{"action": "search", "value": -0}"#,
        r#"{"action": "search", "value": 123456789012345678901234567890}"#,
        r#"{"action": "search", "value": ["it's", "\"", null, false, {"a": 1e5}]}"#,
        r#"{"action": ["search"], "value": "ring"}"#,
        r#"{"action": "search", "action": "dance", "value": 1}"#,
        r#"{"action": "Search", "value": "ring"}"#,
        r#"{"action": "search ", "value": "ring"}"#,
        r#"{"action": "search", "value": "a\"b\\c\n\t\u0001\u001f\u007f\u2028 ' é 🐶"}"#,
        "\t{ \"action\" :\r\n\"search\" , \"value\":\"morpheus\" } \n",
        r#"{"action": "a 'quoted' \"one\"", "value": 1, "more": {"deep": [[[]]]}}"#,
    ];
    let input: String = asked.iter().map(|json| to_hex(json.as_bytes()) + "\n").collect();
    let expected = python_says(ANSWER, &input);
    for (json, hex) in asked.iter().zip(expected.lines()) {
        let came = ask(&server.addr, &guide(json));
        let expected = from_hex(hex);
        assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(&expected), "{json}");
    }
}

#[test]
fn headers_take_unknown_keys_and_the_last_of_two_equal_keys() {
    let (_dir, server) = serve(&[]);
    let content = "{\"action\": \"search\", \"value\": \"ring\"}";
    let length = content.len();
    let headers = [
        format!(
            r#"{{"x-trace": [1, {{"y": null}}], "content-length": {length}, "content-encoding": "utf-8", "a\"b": 1e9, "content-type": "text/json", "byteorder": "big", "": true}}"#
        ),
        format!(
            "{{\n\t\"byteorder\":\"little\",\r\n\"content-type\":\"text\\/json\",\"content-encoding\":\"UTF-8\",\"content-length\":{length}\n}}  "
        ),
        format!(
            r#"{{"byteorder": 7, "content-length": "no", "content-length": {length}, "content-type": "binary", "content-type": "text/json", "content-encoding": "utf-8", "byteorder": "little"}}"#
        ),
        format!(
            r#"{{"byteorder": "little", "content-\u0074ype": "text/json", "content-encoding": "utf-8", "content-length": {length}}}"#
        ),
    ];
    for header in headers {
        let mut bytes = (header.len() as u16).to_be_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(content.as_bytes());
        let came = ask(&server.addr, &bytes);
        assert_eq!(came, answer("In the caves beneath the Misty Mountains. 💍"), "{header}");
    }
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &["--listen", &unix]);
    for address in [server.addr.as_str(), unix.as_str()] {
        for (request, response) in rows() {
            let mut stream = dial(address);
            stream.write_all(&request).unwrap();
            stream.end_writing();
            assert_eq!(rest(&mut stream), response, "{address}");
        }
        let mut stream = dial(address);
        let ring = kept_alive("{\"action\": \"search\", \"value\": \"ring\"}");
        stream.write_all(&[ring.clone(), ring].concat()).unwrap();
        stream.end_writing();
        let twice = answer("In the caves beneath the Misty Mountains. 💍").repeat(2);
        assert_eq!(rest(&mut stream), twice, "{address}: kept alive, and at the end of its requests closed");
    }
}

#[test]
fn either_side_may_see_the_other_close_first() {
    let (_dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let (ring, found) = rows().swap_remove(1);
    for turn in 0..20 {
        let mut stream = server.connect();
        stream.write_all(&ring).unwrap();
        match turn % 4 {
            // The client reads the answer and closes without waiting for the end.
            0 => stream.read_exact(&mut vec![0; found.len()]).unwrap(),
            // The server closes first.
            1 => assert_eq!(rest(&mut stream), found),
            // The client closes before the answer.
            2 => drop(stream),
            // It closes with a reset.
            _ => socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap(),
        }
        witness.is_served();
    }
    witness.is_unharmed(&server);
    assert!(!server.log().contains("WARN"), "to close is no fault: {}", server.log());
}

#[test]
fn vang_request_prints_what_the_tutorials_client_prints() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let more = ["--listen", "[::1]:0", "--listen", unix.as_str()];
    let mut server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &more);
    let addresses = [server.addr.clone(), server.listening(), unix.clone()];
    for address in &addresses {
        let ok = |action: &str, value: &str| server.ok(&["request", address, action, value]);
        assert_eq!(ok("search", "🐶"), "🐾 Playing ball! 🏐\n");
        assert_eq!(ok("search", "it's"), "No match for 'it's'.\n");
        assert_eq!(ok("double", "hello"), "First 10 bytes of request: doublehell");
        assert_eq!(ok("x", "-5"), "First 10 bytes of request: x-5");
    }
}
