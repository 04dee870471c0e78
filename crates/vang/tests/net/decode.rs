//! Captures and raw streams, decoded by the real binary.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use serde_json::Value;
use vang_nettools::capture::side::Side;
use vang_nettools::capture::write::Writer;

use super::tap::tshark;
use crate::harness::{Server, Tail, exchange, folder, guide, read_message, request, vang};

fn decode(args: &[&str], input: &[u8]) -> Output {
    let mut child = vang()
        .args(["net", "decode", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

fn talk() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "test").unwrap();
    let [client, server, other]: [SocketAddr; 3] =
        ["10.0.0.7:51512", "10.0.0.1:65432", "[2001:db8::1]:80"].map(|address| address.parse().unwrap());
    let mut one = writer.open(1_000_000_000, client, server).unwrap();
    let mut two = writer.open(1_100_000_000, SocketAddr::new(other.ip(), 4_711), other).unwrap();
    writer
        .say(1_200_000_000, &mut one, Side::Client, &guide(r#"{"action": "search", "value": "ring"}"#))
        .unwrap();
    writer.say(1_300_000_000, &mut two, Side::Client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    writer.say(1_400_000_000, &mut one, Side::Server, &guide(r#"{"result": "In the caves"}"#)).unwrap();
    writer.close(1_500_000_000, &mut one, Side::Server).unwrap();
    writer.close(1_500_000_000, &mut one, Side::Client).unwrap();
    writer.reset(1_600_000_000, &mut two, Side::Server).unwrap();
    writer.into_inner()
}

#[test]
fn a_capture_is_shown_as_conversations_and_messages() {
    let output = decode(&["--json"], &talk());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let objects = objects(&output);
    let messages = events(&objects, "message");
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(messages[0]["header"]["content-type"], "text/json");
    assert_eq!(messages[0]["text"], r#"{"action": "search", "value": "ring"}"#);
    assert_eq!((&messages[0]["side"], messages[0]["at_ns"].as_u64()), (&"client".into(), Some(0)));
    assert_eq!(messages[1]["text"], "GET / HTTP/1.1");
    assert_eq!(messages[2]["at_ns"], 200_000_000);
    let conversations = events(&objects, "conversation");
    assert_eq!(conversations[0]["client"], "10.0.0.7:51512");
    assert_eq!(conversations[0]["ending"], "server closed, then client");
    assert_eq!(conversations[0]["took_ns"], 500_000_000);
    assert_eq!(conversations[0]["from_client"]["speaks"], "native");
    assert_eq!(conversations[1]["server"], "[2001:db8::1]:80");
    assert_eq!(conversations[1]["ending"], "reset by server");
    let summary = events(&objects, "summary");
    assert_eq!((&summary[0]["messages"], &summary[0]["resets"]), (&3.into(), &1.into()));

    let lines = String::from_utf8(decode(&["--conversations"], &talk()).stdout).unwrap();
    assert!(
        lines.contains("#1 10.0.0.7:51512 → 10.0.0.1:65432, server closed, then client, 0.50 s"),
        "{lines}"
    );
    assert!(lines.contains("what this means: a reset discards"), "{lines}");
    assert!(!lines.contains("caves"), "{lines}");
}

#[test]
fn raw_bytes_are_one_direction_with_errors_at_their_byte() {
    let mut bytes = request("send", &[("room", "\"general\"")], "hello");
    let good = bytes.len();
    let output = decode(&[], &bytes);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.starts_with("byte 0        message, "), "{lines}");
    assert!(lines.contains(r#"action "send", room "general": "hello""#), "{lines}");
    assert_eq!(output.status.code(), Some(0));

    bytes.extend(b"\x00\x0d{\"a\": nothing}");
    let output = decode(&[], &bytes);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains(&format!("BROKEN at byte {}: header is not JSON", good + 2 + 7)), "{lines}");
    assert!(lines.contains("  found: ") && lines.contains("  allowed: the rest of a JSON object"), "{lines}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_pipe_is_read_live_and_a_stop_prints_the_summary() {
    let mut command = vang();
    command.args(["net", "decode", "-", "--json"]);
    let (mut tail, mut stdin) = Tail::start_with_stdin(command);
    stdin.write_all(&talk()).unwrap();
    assert_eq!(tail.json()["event"], "message");
    let status = std::process::Command::new("kill").args(["-INT", &tail.pid().to_string()]).status().unwrap();
    assert!(status.success());
    while tail.json()["event"] != "summary" {}
    assert_eq!(tail.wait().code(), Some(0));
    drop(stdin);
}

#[test]
fn a_closed_output_ends_decoding() {
    for begin in [talk(), guide("{}")] {
        let mut child =
            vang().args(["net", "decode", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        // It ends although more data comes; otherwise this would run without end.
        let refused = (0..100_000).find_map(|_| stdin.write_all(&begin).err()).unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_page_of_history_is_shown_event_by_event() {
    let folder = folder();
    let server = Server::start(&folder.path().join("data"));
    let mut stream = server.connect();
    for text in ["hello", "again"] {
        assert_eq!(
            exchange(&mut stream, &request("send", &[("room", "\"general\"")], text)).0["status"],
            "ok"
        );
    }
    stream
        .write_all(&request("history", &[("room", "\"general\""), ("since", "0"), ("limit", "9")], ""))
        .unwrap();
    let (header, content) = read_message(&mut stream).unwrap();
    assert_eq!(header["content-type"], "application/vang-events", "{header}");
    let json = header.to_string();
    let page = [&(json.len() as u16).to_be_bytes(), json.as_bytes(), &content].concat();
    let objects = objects(&decode(&["--json"], &page));
    let messages = events(&objects, "message");
    let texts: Vec<&str> = messages.iter().filter_map(|message| message["text"].as_str()).collect();
    assert_eq!(texts, ["hello", "again"], "{messages:?}");
    assert_eq!((&messages[0]["within"], &messages[1]["within"]), (&Value::Null, &"events".into()));
    let lines = String::from_utf8(decode(&[], &page).stdout).unwrap();
    assert!(lines.contains(": its events follow\n") && lines.contains("  event, "), "{lines}");
}

#[test]
fn tcp_events_are_explained_in_order() {
    let output = decode(&["--explain", "--json"], &talk());
    let objects = objects(&output);
    let said: Vec<&str> =
        events(&objects, "explain").iter().map(|reported| reported["text"].as_str().unwrap()).collect();
    let one: Vec<&str> = said.iter().filter_map(|text| text.strip_prefix("#1: ")).collect();
    let begins = [
        "SYN from the client",
        "SYN+ACK from the server",
        "the next ",
        "the next ",
        "FIN from the server",
        "FIN from the client",
    ];
    assert_eq!(one.len(), begins.len(), "{said:?}");
    for (text, begin) in one.iter().zip(begins) {
        assert!(text.starts_with(begin), "{text}");
    }
    assert!(said.last().unwrap().starts_with("#2: RST from the server"), "{said:?}");
    // On a terminal each explanation comes before its result.
    let first = |event: &str| objects.iter().position(|object| object["event"] == event).unwrap();
    assert!(first("explain") < first("message") && first("message") < first("conversation"));
}

/// A pcap file of Ethernet with one packet, of which this many bytes were kept.
fn pcap(packet: &[u8], kept: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for value in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, kept as u32, 1, 7, 0, kept as u32, packet.len() as u32]
    {
        file.extend(value.to_le_bytes());
    }
    file.extend_from_slice(&packet[..kept]);
    file
}

#[test]
fn undecodable_input_is_explained_once() {
    // TCP with a header length of 0.
    let ip = [&[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6][..], &[0; 50]].concat();
    let ethernet = |kind: [u8; 2]| [&[2; 12][..], &kind, &ip].concat();
    let mut only_header = talk();
    only_header.truncate(u32::from_le_bytes(only_header[4..8].try_into().unwrap()) as usize);
    let unknown_block = [&only_header[..], &[9, 9, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0]].concat();
    // Other formats are a failure too, because nothing was decoded.
    let cases: [(&[u8], i32, &str); 12] = [
        (b"", 0, "stdin is empty"),
        (b"\x1f\x8b\x08\0\0", 1, "stdin is compressed (gzip); convert it first: `gunzip -c FILE | "),
        (b"\x28\xb5\x2f\xfd\0", 1, "stdin is compressed (Zstandard); convert it first: `zstdcat FILE | "),
        (b"\xfd7zXZ\0", 1, "stdin is compressed (xz); convert it first: `xzcat FILE | "),
        (b"BZh91AY", 1, "stdin is compressed (bzip2); convert it first: `bzcat FILE | "),
        (b"\x04\x22\x4d\x18", 1, "stdin is compressed (LZ4); convert it first: `lz4cat FILE | "),
        (b"snoop\0\0\0", 1, "stdin is a capture of snoop; convert it first: `editcap -F pcap FILE - | "),
        (&only_header, 0, "stdin contains no packets"),
        (
            &unknown_block,
            0,
            "stdin contains no packets: there was no traffic, or its filter matched nothing; its blocks of unknown \
             type",
        ),
        (
            &pcap(&ethernet([8, 0]), 40),
            0,
            "the capture kept at most 40 bytes of 1 packet, too few for all headers",
        ),
        (&pcap(&ethernet([8, 0]), 74), 0, "1 packet is complete and unreadable: damaged"),
        (
            &pcap(&ethernet([0x12, 0x34]), 74),
            0,
            "1 packet was not decoded: EtherType 0x1234. TCP can be inside",
        ),
    ];
    for (input, code, part) in cases {
        let output = decode(&[], input);
        let lines = String::from_utf8(output.stdout).unwrap();
        assert!(lines.contains(&format!("what this means: {part}")), "{part}: {lines}");
        assert!(lines.contains("0 messages, 0 broken"), "{lines}");
        assert_eq!(output.status.code(), Some(code), "{lines}");
        assert_eq!(lines.matches("what this means: ").count(), 1, "{lines}");
    }
    // A name with the same first letters is not one of them.
    let lines = String::from_utf8(decode(&[], b"BZhang\n").stdout).unwrap();
    assert!(lines.contains("line \"BZhang\""), "{lines}");
}

/// The packets of our capture, each in fragments of at most this payload: IPv4 as by a router, IPv6 as by the sender.
fn in_fragments(capture: &[u8], payload_max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < capture.len() {
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap()) as usize;
        let (kind, len) = (word(at), word(at + 4));
        if kind == 6 {
            let packet = &capture[at + 28..at + 28 + word(at + 20)];
            for fragment in fragments_of(packet, payload_max / 8 * 8, at as u16) {
                let padded = fragment.len().next_multiple_of(4);
                let total = ((padded + 32) as u32).to_le_bytes();
                out.extend(6_u32.to_le_bytes());
                out.extend(total);
                out.extend(&capture[at + 8..at + 20]);
                out.extend([(fragment.len() as u32).to_le_bytes(); 2].concat());
                out.extend(&fragment);
                out.resize(out.len() + padded - fragment.len(), 0);
                out.extend(total);
            }
        } else {
            out.extend(&capture[at..at + len]);
        }
        at += len;
    }
    out
}

fn fragments_of(packet: &[u8], payload_max: usize, number: u16) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(if packet[0] >> 4 == 4 { 20 } else { 40 });
    if payload.len() <= payload_max {
        return vec![packet.to_vec()];
    }
    let one = |(at, part): (usize, &[u8])| {
        let more = u16::from(at * payload_max + part.len() < payload.len());
        let (mut header, place) = (header.to_vec(), (at * payload_max) as u16);
        if header.len() == 20 {
            header[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
            header[4..6].copy_from_slice(&number.to_be_bytes());
            header[6..8].copy_from_slice(&((place / 8) | (more << 13)).to_be_bytes());
        } else {
            header[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
            let next = std::mem::replace(&mut header[6], 44);
            header.extend([next, 0]);
            header.extend((place | more).to_be_bytes());
            header.extend(u32::from(number).to_be_bytes());
        }
        [&header, part].concat()
    };
    payload.chunks(payload_max).enumerate().map(one).collect()
}

#[test]
fn fragments_are_reassembled_as_in_tshark() {
    let folder = folder();
    let mut writer = Writer::new(Vec::new(), "test").unwrap();
    let long = "x".repeat(3_000);
    for (n, client, server) in
        [(1, "10.0.0.7:4711", "10.0.0.1:65432"), (2, "[2001:db8::7]:4711", "[2001:db8::1]:65432")]
    {
        let [client, server]: [SocketAddr; 2] = [client, server].map(|address| address.parse().unwrap());
        let mut one = writer.open(n, client, server).unwrap();
        writer.say(n, &mut one, Side::Client, &request("send", &[("room", "\"general\"")], &long)).unwrap();
        writer.say(n, &mut one, Side::Server, &guide("{\"a\": 1}")).unwrap();
        writer.close(n, &mut one, Side::Client).unwrap();
        writer.close(n, &mut one, Side::Server).unwrap();
    }
    let whole = writer.into_inner();
    let pieces = in_fragments(&whole, 576);
    let file = folder.path().join("fragments.pcapng");
    std::fs::write(&file, &pieces).unwrap();

    let reported = objects(&decode(&["--json"], &pieces));
    let said = |reported: &[Value]| -> Vec<Value> {
        events(reported, "message").into_iter().map(|message| message["text"].clone()).collect()
    };
    assert_eq!(said(&reported), said(&objects(&decode(&["--json"], &whole))));
    let summary = events(&reported, "summary")[0];
    assert_eq!((&summary["messages"], &summary["not_joined"]), (&4.into(), &0.into()), "{summary}");
    let fields = tshark(
        &[
            "-Y",
            "tcp.len > 0",
            "-T",
            "fields",
            "-e",
            "tcp.len",
            "-e",
            "ip.fragment.count",
            "-e",
            "ipv6.fragment.count",
        ],
        &file,
    );
    // tshark reassembles the same packets and gets the same bytes.
    let rows: Vec<Vec<&str>> = fields.lines().map(|line| line.split('\t').collect()).collect();
    let conversations = events(&reported, "conversation");
    let counts = rows.iter().flat_map(|row| &row[1..]).filter(|count| !count.is_empty());
    let fragments: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!(summary["fragments"].as_u64(), Some(fragments), "{fields}");
    for (at, conversation) in conversations.iter().enumerate() {
        for (row, way) in rows[2 * at..].iter().zip(["from_client", "from_server"]) {
            assert_eq!(conversation[way]["bytes"].to_string(), row[0], "{fields}");
        }
    }
    assert_eq!((rows.len(), conversations.len()), (4, 2), "{fields}");
}

#[test]
fn a_damaged_capture_is_read_up_to_the_damage() {
    let capture = talk();
    let output = decode(&[], &capture[..capture.len() - 30]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains("is damaged: it ends inside a block"), "{lines}");
    assert!(lines.contains("2 conversations"), "{lines}");
    assert_eq!(output.status.code(), Some(1));
    let folder = folder();
    let nowhere = folder.path().join("none.pcap");
    let output = vang().args(["net", "decode"]).arg(&nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read '"), "{output:?}");
}
