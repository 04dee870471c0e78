//! `vang net conform`.

use crate::echo::python;
use crate::harness::vang;

/// A server that answers nothing, and has gone after three connections.
const GOES_AWAY: &str = "\
import socket
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])
for n in range(3):
    c, _ = s.accept()
    if n == 2: s.close()
    c.recv(65536); c.close()
";

#[test]
fn a_server_that_is_gone_is_reported_once_with_the_cases_not_run() {
    let (_server, address) = python(GOES_AWAY);
    let args = ["net", "conform", &address, "--as", "guide", "--only", "guide/", "--only", "frames/"];
    let output = vang().args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let count = |part: &str| text.matches(part).count();
    // Two cases, whole and byte by byte, on three connections: the fourth was refused.
    assert_eq!((count("FAILED"), count("the server is gone: connection refused")), (3, 1), "{text}");
    assert!(text.contains("\n  not run: ") && text.contains(" cases, guide/"), "{text}");
    assert!(text.contains(" cases, frames/"), "{text}");
    assert!(text.lines().last().unwrap().contains(" not run: the server is gone"), "{text}");

    let (_server, address) = python(GOES_AWAY);
    let args = ["net", "conform", &address, "--as", "guide", "--only", "guide/", "--json"];
    let output = vang().args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let gone: Vec<_> = objects.iter().filter(|object| object["event"] == "server-gone").collect();
    let summary = objects.last().unwrap();
    let run = objects.iter().filter(|object| object["event"] == "case").count() as u64;
    let all = run + summary["not_run"].as_u64().unwrap();
    assert_eq!((run, gone.len(), all % 2), (3, 1, 0), "{text}");
    // The second case was run whole only; so it counts among those not run.
    assert_eq!(gone[0]["not_run"].as_array().unwrap().len() as u64, all / 2 - 1, "{text}");
}
