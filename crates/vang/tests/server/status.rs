//! Monitoring: `vang status`, `/readyz`, `/metrics`.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{ask, comes_true, fails, python, serve, serve_process, tool};
use crate::harness::{Server, exchange, folder, lines_of, request, result_of, succeeded, vang};

fn status(data: &Path, more: &[&str]) -> Command {
    let mut command = vang();
    command.arg("status").args(more).arg("--data").arg(data);
    command
}

fn report(data: &Path) -> Value {
    let said = succeeded(&["status"], status(data, &["--json"]).output().unwrap());
    serde_json::from_str(&said).unwrap()
}

/// A GET on a new connection: the status code, the content type, the body.
fn get(server: &Server, path: &str) -> (u16, String, String) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(ask(&server.addr, head.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    });
    (head.split(' ').nth(1).unwrap().parse().unwrap(), kind.unwrap_or_default(), body.to_owned())
}

/// Follows `general` and reads nothing, while others post more than the sockets' buffers hold.
fn stalled(server: &Server, name: &str) -> std::net::TcpStream {
    let mut stream = server.connect();
    let name = format!("{name:?}");
    let follow = request("follow", &[("room", "\"general\""), ("as", &name)], "");
    assert_eq!(exchange(&mut stream, &follow).0["status"], "ok");
    let mut sender = server.connect();
    let text = "x".repeat(200_000);
    for _ in 0..60 {
        let send = request("send", &[("room", "\"general\""), ("as", "\"loud\"")], &text);
        assert_eq!(exchange(&mut sender, &send).0["status"], "ok");
    }
    stream
}

#[test]
fn only_the_operator_can_see_slow_readers() {
    let (dir, server) = serve(&[]);
    let data = dir.path().join("data");
    let _stalled = stalled(&server, "bob");
    comes_true("bob has unread data", || report(&data)["unread"]["connections"] == 1);
    let all = report(&data);
    let slowest = &all["unread"]["most"][0];
    assert_eq!(
        (&slowest["name"], &slowest["door"], &slowest["origin"]),
        (&"guest:bob".into(), &"native".into(), &"local".into())
    );
    assert!(slowest["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{slowest}");
    assert!(slowest["bytes"].as_u64().unwrap() > 0 && slowest["behind"].as_u64().unwrap() > 0, "{slowest}");
    assert_eq!(
        (&all["messages"], &all["ready"], &all["view"]["stuck"]),
        (&60.into(), &true.into(), &false.into())
    );
    assert!(all["journal"]["last_append_us"].as_u64().unwrap() > 0);
    assert!(all["memory"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(all["open_files"]["now"].as_u64().unwrap() > 5);
    assert!(all["disk"]["files"]["journal.db-wal"].as_u64().unwrap() > 0, "{}", all["disk"]);
    assert!(all["disk"]["free_bytes"].as_u64().unwrap() > 0);
    // The followers, and the operator's connection.
    let doors = &all["connections"]["doors"];
    assert_eq!(doors[0]["door"], "native", "{doors}");
    assert!(all["connections"]["accepted"].as_u64().unwrap() >= 3);

    let page = succeeded(&["status"], status(&data, &[]).output().unwrap());
    assert!(page.starts_with("server       vang/") && page.contains(", ready\n"), "{page}");
    assert!(page.contains(" for guest:bob at 127.0.0.1:") && page.contains("view         "), "{page}");

    // Other clients are refused, and the refusals are counted.
    let (header, _) = exchange(&mut server.connect(), &request("status", &[("as", "\"ada\"")], ""));
    assert_eq!((&header["status"], &header["code"]), (&"error".into(), &"not-allowed".into()));
    assert_eq!(report(&data)["refusals"]["not-allowed"], 1);
    // Refusals by the session's machine count too, also after its end.
    let (header, _) = exchange(&mut server.connect(), &request("sing", &[], ""));
    assert_eq!(header["code"], "unknown-action");
    comes_true("it is counted", || report(&data)["refusals"]["unknown-action"] == 1);
}

#[test]
fn without_a_server_status_describes_the_folder() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    server.ok(&["send", "general", "hi"]);
    let id = report(&data)["journal"]["id"].as_str().unwrap().to_owned();
    assert!(server.stop().success());
    let output = status(&data, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("journal      {id}, 3 entries, ")), "{said}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    let [what, advice] = lines[..] else { panic!("{stderr}") };
    assert_eq!(what, format!("vang: no server runs on {}", data.display()));
    // Servers of other tests run on this machine, too.
    let start = format!("  start a server on it: vang serve --data {}", data.display());
    assert!(advice == start || advice.starts_with("  a server runs here with --data "), "{stderr}");
    let nothing = fails(status(&dir.path().join("other"), &[]), 1);
    assert!(nothing.contains("other"), "{nothing}");
}

#[test]
fn status_watch_survives_a_server_restart() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let mut watching =
        status(&data, &["--watch", "10ms"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = lines_of(watching.stdout.take().unwrap());
    let hears = |start: &str| {
        while !lines.recv_timeout(crate::harness::PATIENCE).unwrap().starts_with(start) {}
    };
    hears("server       vang/");
    assert!(server.stop().success());
    hears("no server runs on ");
    let _server = Server::start(&data);
    hears("server       vang/");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn prometheus_reads_the_metrics_and_no_label_names_a_person() {
    let (_dir, server) = serve_process(&[]);
    for i in 0..3 {
        server.ok(&["send", "general", &format!("phrase{i}"), "--as", "somebody"]);
    }
    let (header, _) = exchange(&mut server.connect(), &request("send", &[("room", "\"nowhere\"")], "x"));
    assert_eq!(header["code"], "no-room");
    let mut open = server.connect();
    assert_eq!(result_of(&exchange(&mut open, &request("ping", &[], "")).1), "pong");
    let (code, kind, text) = get(&server, "/metrics");
    assert_eq!((code, kind.as_str()), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    for word in ["somebody", "general", "phrase", "nowhere"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let read = "\
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as families
out = {}
for family in families(sys.stdin.read()):
    assert family.documentation, family
    for sample in family.samples:
        labels = ','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))
        key = sample.name + '{' + labels + '}'
        assert key not in out, key
        out[key] = sample.value
print(json.dumps(out))
";
    // Debian's own python, for which its parser is installed.
    let mut parser = tool("/usr/bin/python3", "apt-get install python3-prometheus-client");
    let mut child = parser
        .args(["-c", read])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = succeeded(&["the parser"], child.wait_with_output().unwrap());
    let samples: serde_json::Map<String, Value> = serde_json::from_str(&said).unwrap();
    let value =
        |name: &str| samples.get(name).unwrap_or_else(|| panic!("no {name} in {text}")).as_f64().unwrap();
    assert!(value("vang_messages_total{}") >= 3.0);
    assert_eq!(value("vang_refusals_total{code=no-room}"), 1.0);
    assert_eq!((value("vang_ready{}"), value("vang_view_lag_entries{}") < 10.0), (1.0, true));
    assert!(value("vang_connections{door=native,encryption=none,origin=local}") >= 1.0);
    let appends = value("vang_append_seconds_count{}");
    assert!(appends >= 3.0 && appends == value("vang_append_seconds_bucket{le=+Inf}"));
    assert!(value("vang_append_seconds_sum{}") > 0.0);
    assert!(value("vang_disk_free_bytes{}") > 0.0 && value("vang_file_bytes{file=journal.db}") > 0.0);
    assert!(value("process_resident_memory_bytes{}") > 1e6 && value("process_start_time_seconds{}") > 1e9);
}

/// Another process with an open write transaction on this SQLite file.
struct Held(Child);

impl Held {
    fn new(file: &Path) -> Held {
        let hold = "\
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()
";
        let mut child = python()
            .args(["-c", hold])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        assert_eq!(lines.recv_timeout(crate::harness::PATIENCE).unwrap(), "held");
        Held(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn readyz_and_status_report_a_view_that_is_behind() {
    let (dir, server) = serve(&["--limit", "ready-lag=3"]);
    let data = dir.path().join("data");
    comes_true("it is ready", || get(&server, "/readyz").0 == 200);
    let held = Held::new(&data.join("view.db"));
    for _ in 0..5 {
        server.ok(&["send", "general", "hi"]);
    }
    let (code, _, body) = get(&server, "/readyz");
    let behind = "not ready: the view is 5 entries behind, more than the limit ready-lag (3)\n";
    assert!(body == behind || body == "not ready: the view cannot be written\n", "{code} {body}");
    assert_eq!(code, 503);
    assert_eq!((&report(&data)["ready"], &report(&data)["view"]["behind"]), (&false.into(), &5.into()));
    drop(held);
    comes_true("it is ready again", || get(&server, "/readyz").0 == 200);
    comes_true("the view has everything", || report(&data)["view"]["behind"] == 0);
}

#[test]
fn http_requests_leave_no_session_behind() {
    let (dir, server) = serve(&[]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&server, path).0, 200, "{path}");
    }
    let mut stream = server.connect();
    let (_, content) = exchange(&mut stream, &request("ping", &[], ""));
    assert_eq!(result_of(&content), "pong");
    // This one, and the operator's.
    let data = dir.path().join("data");
    comes_true("the others are gone", || report(&data)["connections"]["open"] == 2);
    drop(stream);
    comes_true("that one too", || report(&data)["connections"]["open"] == 1);
}
