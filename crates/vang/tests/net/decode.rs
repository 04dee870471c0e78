//! Captures and raw streams, decoded by the real binary.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use serde_json::Value;
use vang_nettools::capture::conversations::Side;
use vang_nettools::capture::write::Writer;

use crate::harness::{Tail, folder, guide, request, vang};

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
fn a_capture_is_told_as_conversations_and_messages() {
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
    assert!(lines.contains("what this means: a reset throws away"), "{lines}");
    assert!(!lines.contains("caves"), "{lines}");
}

#[test]
fn raw_bytes_are_one_direction_and_what_breaks_them_is_said_at_the_byte() {
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
    assert!(lines.contains("  found: ") && lines.contains("  allowed: JSON"), "{lines}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_pipe_is_read_as_it_comes_and_ends_with_a_summary_when_it_is_told_to() {
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
fn a_damaged_capture_is_read_as_far_as_it_goes() {
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
