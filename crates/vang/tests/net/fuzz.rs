//! vang net fuzz: against vang itself, and against small servers that die or hang at one wrong length.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

use crate::echo::python;
use crate::harness::{Server, folder, refusing, vang};

fn fuzz(args: &[&str]) -> Output {
    vang().args(["net", "fuzz"]).args(args).args(["--rate", "10000", "--json"]).output().unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn vang_survives_wrong_input_of_every_protocol() {
    let dir = folder();
    let server = Server::start(&dir.path().join("data"));
    let output = fuzz(&[&server.addr, "--seed", "8841", "--cases", "240"]);
    let objects = objects(&output);
    assert_eq!(output.status.code(), Some(0), "{objects:?}\n{}", server.log());
    let answered: Vec<&str> =
        objects[0]["answered"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(answered, ["message", "lines", "http", "websocket"], "an honest client asks after each case");
    let summary = objects.last().unwrap();
    assert_eq!((&summary["cases"], &summary["survived"]), (&240.into(), &true.into()), "{summary}");
    assert!(summary["answered"].as_u64() > Some(60), "{summary}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Ends at a header length over 60,000, and answers everything else.
const DIES: &str = "\
import os, socket
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    try:
        head = c.recv(2)
        if len(head) == 2 and int.from_bytes(head, 'big') > 60000: os._exit(3)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";

/// Waits there instead.
const HANGS: &str = "\
import socket, time
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    try:
        head = c.recv(2)
        while len(head) == 2 and int.from_bytes(head, 'big') > 60000: time.sleep(600)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";

#[test]
fn the_case_of_which_a_server_died_is_named_and_can_be_sent_again() {
    let dir = folder();
    let save = dir.path().to_str().unwrap();
    let (_server, address) = python(DIES);
    let message = ["--protocol", "message", "--seed", "7", "--cases", "2000"];
    let output = fuzz(&[&[&address, "--save", save][..], &message].concat());
    let found = objects(&output);
    assert_eq!(output.status.code(), Some(1), "{found:?}");
    let died = found.iter().find(|object| object["event"] == "died").unwrap();
    assert!(died["then"].as_str().unwrap().contains("connection refused"), "{died}");
    let file = died["file"].as_str().unwrap();
    let bytes = std::fs::read(file).unwrap();
    assert!(u16::from_be_bytes([bytes[0], bytes[1]]) > 60_000, "{died}");
    assert_eq!(found.iter().find(|object| object["event"] == "summary").unwrap()["survived"], false);
    // The file ends a new server, as the report says, and so does the case by its number.
    let (mut again, address) = python(DIES);
    assert!(died["replay"].as_str().unwrap().ends_with(&format!("< {file}")), "{died}");
    let (host, port) = address.rsplit_once(':').unwrap();
    let sent = Command::new("nc").args(["-N", host, port]).stdin(std::fs::File::open(file).unwrap()).output();
    assert!(sent.is_ok());
    assert_eq!(again.wait().code(), Some(3));
    let (mut again, address) = python(DIES);
    let case = died["case"].to_string();
    let one = ["--protocol", "message", "--seed", "7", "--first", &case, "--cases", "1", "--save", save];
    assert_eq!(fuzz(&[&[&*address][..], &one].concat()).status.code(), Some(1));
    assert_eq!(again.wait().code(), Some(3));
}

#[test]
fn a_server_that_hangs_is_found_too() {
    let dir = folder();
    let (_server, address) = python(HANGS);
    let save = dir.path().to_str().unwrap();
    let args = [
        &address,
        "--protocol",
        "message",
        "--seed",
        "7",
        "--cases",
        "2000",
        "--wait",
        "300ms",
        "--save",
        save,
    ];
    let output = fuzz(&args);
    let found = objects(&output);
    let died = found.iter().find(|object| object["event"] == "died").unwrap();
    let said = died["then"].as_str().unwrap();
    assert!(said.contains("can connect, but no answer within 300 ms"), "{died}");
}

#[test]
fn without_an_honest_answer_only_connecting_is_tested_and_this_is_shown() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = vang()
        .args(["net", "fuzz", &address, "--protocol", "lines", "--cases", "3", "--wait", "20ms"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("an honest request was not answered in lines"), "{said}");
    assert!(said.contains("3 cases, ") && said.contains("the server still answers"), "{said}");
}

#[test]
fn a_server_elsewhere_is_refused_unless_it_is_mine() {
    let output = fuzz(&["192.0.2.1:80", "--timeout", "5s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--my-server says that it is"), "{said}");
    let output = fuzz(&["192.0.2.1:80", "--my-server", "--timeout", "300ms"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() != Some(2) && said.contains("cannot connect to 192.0.2.1:80"), "{said}");
    let nobody = refusing();
    let output = fuzz(&[&nobody.addr.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("connection refused"), "{said}");
}
