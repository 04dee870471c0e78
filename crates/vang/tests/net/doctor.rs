//! vang net doctor: from the name to the queues, or to the first failing step, with advice.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value;

use crate::harness::hosts::Hosts;
use crate::harness::{Server, Tail, folder, guide, read_message, refusing, vang};

/// Its exit code and records.
fn doctor(place: &str, more: &[&str]) -> (i32, Vec<Value>) {
    let mut command = vang();
    command.args(["net", "doctor", place]).args(more);
    reported(command)
}

/// The same, for any command.
fn reported(mut command: Command) -> (i32, Vec<Value>) {
    let output = command.arg("--json").output().unwrap();
    let reported = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        reported.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    )
}

fn step<'a>(reported: &'a [Value], step: &str) -> &'a Value {
    reported
        .iter()
        .find(|object| object["step"] == step)
        .unwrap_or_else(|| panic!("no {step} in {reported:?}"))
}

fn means(reported: &[Value]) -> String {
    reported
        .iter()
        .filter(|object| object["event"] == "means")
        .map(|object| object["text"].as_str().unwrap())
        .collect()
}

/// A server on a thread, which answers one connection after the other.
fn serving(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    address
}

#[test]
fn a_working_server_passes_every_step() {
    let dir = folder();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::start_with(&dir.path().join(listen), listen, &[]);
        let (code, reported) = doctor(&server.addr, &[]);
        assert_eq!(code, 0, "{reported:?}");
        for name in ["name", "route", "tcp", "tls", "kind", "echo", "queues"] {
            assert_eq!(step(&reported, name)["found"], "good", "{reported:?}");
        }
        let text = |name| step(&reported, name)["text"].as_str().unwrap().to_owned();
        assert!(text("kind").starts_with("vang/"), "{reported:?}");
        assert!(
            text("tls").contains("certificate for 127.0.0.1, ::1, localhost")
                && text("tls").ends_with("does not expire"),
            "{reported:?}"
        );
        assert!(text("queues").contains(" wait to be accepted"), "{reported:?}");
        assert_eq!(reported.last().unwrap()["failed"], Value::Null);
    }
}

#[test]
fn other_servers_are_detected_by_their_answers() {
    let echo = serving(|mut stream| {
        let mut copy = stream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stream, &mut copy));
    });
    let http = serving(|mut stream| {
        // Like many servers it waits for a whole line.
        let mut came = Vec::new();
        let mut buffer = [0; 512];
        while !came.contains(&b'\n') {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => came.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let speaks_first = serving(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Test\r\n");
        let _ = stream.read(&mut [0; 512]);
    });
    for (address, said) in [
        (echo, "an echo server: it sends back what it receives"),
        (http, "HTTP: HTTP/1.1 404 Not Found"),
        (speaks_first, "not a vang server; it sends \"SSH-2.0-Test\\r\\n\""),
    ] {
        let (code, reported) = doctor(&address, &["--wait", "1s"]);
        assert_eq!((code, step(&reported, "kind")["text"].as_str().unwrap()), (0, said), "{reported:?}");
    }
}

/// The tutorial's server: it reads until a content of at least one byte is there.
#[test]
fn a_tutorial_server_that_needs_a_content_is_detected() {
    let guides = serving(|mut stream| {
        std::thread::spawn(move || {
            while let Ok((_, content)) = read_message(&mut stream) {
                if !content.is_empty() {
                    let _ = stream.write_all(&guide(r#"{"result": "No match for 'vang'."}"#));
                    return;
                }
            }
        });
    });
    let (code, reported) = doctor(&guides, &["--wait", "1s"]);
    let text = |name| step(&reported, name)["text"].as_str().unwrap();
    assert_eq!((code, text("kind")), (0, "a tutorial server: one request, one response"), "{reported:?}");
    assert_eq!(text("echo"), "it answered a request");
}

#[test]
fn a_length_in_the_wrong_byte_order_fails_with_what_to_change() {
    let swapped = serving(|mut stream| {
        let answer = guide(r#"{"result": "No match for 'vang'."}"#);
        let _ = stream.read(&mut [0; 1_000]);
        let _ = stream.write_all(&[&[answer[1], answer[0]][..], &answer[2..]].concat());
    });
    let (code, reported) = doctor(&swapped, &["--wait", "1s"]);
    let kind = step(&reported, "kind");
    assert_eq!((code, &kind["found"]), (1, &"bad".into()), "{reported:?}");
    let text = kind["text"].as_str().unwrap();
    assert!(text.starts_with("its header length is in the wrong byte order: "), "{text}");
    assert!(means(&reported).contains("struct.pack('>H', length)"), "{reported:?}");
}

#[test]
fn a_tls_only_server_is_tested_over_tls() {
    let mut command = vang();
    command.args(["net", "echo", "serve", "--tls", "--listen", "127.0.0.1:0", "--json"]);
    let mut serves = Tail::start(command);
    let address = serves.json()["address"].as_str().unwrap().to_owned();
    let (code, reported) = doctor(&address, &[]);
    assert_eq!(
        (code, step(&reported, "kind")["text"].as_str().unwrap()),
        (0, "an echo server: it sends back what it receives"),
        "{reported:?}"
    );
}

#[test]
fn the_first_failing_step_prints_advice_and_is_the_last() {
    let nobody = refusing();
    let closed = nobody.addr.to_string();
    let (code, reported) = doctor(&closed, &[]);
    assert_eq!((code, &step(&reported, "tcp")["found"]), (1, &"bad".into()), "{reported:?}");
    assert!(
        means(&reported)
            .starts_with("the host is reachable and no program listens on this port: start the server"),
        "{reported:?}"
    );
    assert_eq!(
        (&reported.last().unwrap()["failed"], reported.iter().any(|object| object["step"] == "kind")),
        (&"tcp".into(), false)
    );

    let (code, reported) = doctor("nobody.invalid:1", &[]);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"name".into()), "{reported:?}");

    // It accepts and never answers.
    let mute = serving(std::mem::forget);
    let (code, reported) = doctor(&mute, &["--wait", "200ms"]);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"kind".into()), "{reported:?}");
    assert!(means(&reported).contains("busy or stopped, or expects another protocol"), "{reported:?}");

    let output = vang().args(["net", "doctor", "localhost"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'localhost' has no port"));
}

/// All records of a step: status and text.
fn every(reported: &[Value], step: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_step = reported.iter().filter(|object| object["step"] == step);
    of_step.map(|object| (text(&object["found"]), text(&object["text"]))).collect()
}

#[test]
fn every_address_is_tried_and_a_failing_one_is_named() {
    let dir = folder();
    // The empty host is loopback in both families, IPv6 first.
    for (n, listens, works, broken) in [
        (0, "127.0.0.1:65432", "127.0.0.1:65432", Some("[::1]:65432")),
        (1, "[::1]:65432", "[::1]:65432", Some("127.0.0.1:65432")),
        (2, ":65432", "[::1]:65432", None),
    ] {
        let hosts = Hosts::in_a_row(1);
        let data = dir.path().join(n.to_string());
        let mut command = hosts.vang(0, &["serve", "--listen", listens, "--data"]);
        command.arg(&data);
        let _server = Server::spawn(command, &data);
        let (code, reported) = reported(hosts.vang(0, &["net", "doctor", ":65432"]));
        let tcp = every(&reported, "tcp");
        assert_eq!((code, tcp.len()), (0, 2), "{reported:?}");
        assert!(tcp.contains(&("good".to_owned(), format!("{works} accepts connections"))), "{tcp:?}");
        let end = reported.last().unwrap();
        assert_eq!((&end["failed"], &end["complete"]), (&Value::Null, &true.into()), "{reported:?}");
        assert_eq!(end["broken"].as_array().unwrap().len(), usize::from(broken.is_some()), "{end}");
        let Some(broken) = broken else { continue };
        assert_eq!(end["broken"][0], broken);
        let (found, why) = tcp.iter().find(|(_, text)| text.starts_with(broken)).unwrap();
        assert!(found == "unknown" && why.contains(": connection refused"), "{why}");
        let (one, other) = if broken.starts_with('[') { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
        let means = means(&reported);
        assert!(
            means.starts_with(&format!("{one} fails at {broken}, {other} works at {works}. ")),
            "{means}"
        );
        let people = hosts.vang(0, &["net", "doctor", ":65432"]).output().unwrap();
        let text = String::from_utf8(people.stdout).unwrap();
        assert!(text.ends_with(&format!(":65432 works, but not at {broken}\n")), "{text}");
        if n == 0 {
            // Dropped IPv6 packets are worse: clients that prefer IPv6 wait. Then nothing works.
            hosts.sh(0, "nft -f - <<'END'\ntable inet t {\nchain in {\ntype filter hook input priority 0\nip6 daddr ::1 drop\n}\n}\nEND");
            let look =
                || crate::doctor::reported(hosts.vang(0, &["net", "doctor", ":65432", "--wait", "200ms"]));
            let (code, reported) = look();
            assert_eq!((code, every(&reported, "icmp")[0].0.as_str()), (0, "unknown"), "{reported:?}");
            assert!(every(&reported, "tcp")[0].1.starts_with("[::1]:65432: timed out"), "{reported:?}");
            hosts.sh(0, "nft add rule inet t in ip daddr 127.0.0.1 drop");
            let (code, reported) = look();
            let tcp = every(&reported, "tcp");
            assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"tcp".into()), "{reported:?}");
            assert_eq!((tcp[0].0.as_str(), tcp[1].0.as_str()), ("unknown", "bad"), "{tcp:?}");
        }
    }
}

#[test]
fn a_program_that_does_not_accept_is_detected_by_its_queue() {
    let hosts = Hosts::in_a_row(2);
    let mut command = hosts.on(1, "python3");
    command.args([
        "-c",
        "import socket, sys\nlistener = socket.create_server(('10.9.1.2', 65432), backlog=1)\n\
         print('ready', flush=True)\nsys.stdin.read()",
    ]);
    let (mut server, _stdin) = Tail::start_with_stdin(command);
    assert_eq!(server.line(), "ready");
    let look =
        |from: usize| reported(hosts.vang(from, &["net", "doctor", "10.9.1.2:65432", "--wait", "300ms"]));
    // The connections of the first steps stay in the queue, until it is full.
    let (code, reported) = look(1);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"kind".into()), "{reported:?}");
    let text = step(&reported, "kind")["text"].as_str().unwrap();
    assert!(text.starts_with("timed out"), "{text}");
    assert!(text.ends_with("; 2 of 1 wait to be accepted, which is full"), "{text}");
    assert!(means(&reported).starts_with("the program accepts too slowly or not at all"), "{reported:?}");
    let (code, reported) = look(1);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"tcp".into()), "{reported:?}");
    let text = step(&reported, "tcp")["text"].as_str().unwrap();
    assert!(text.starts_with("timed out"), "{text}");
    assert!(text.ends_with("; 2 of 1 wait to be accepted, which is full"), "{text}");
    // From another host its queues are not visible, so a full queue is named as a possibility.
    let (code, reported) = look(0);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"tcp".into()), "{reported:?}");
    assert!(means(&reported).contains("the accept queue is full"), "{reported:?}");
}

#[test]
fn waiting_connections_show_a_program_that_does_not_accept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, reported) = doctor(&listener.local_addr().unwrap().to_string(), &["--wait", "300ms"]);
    assert_eq!((code, &reported.last().unwrap()["failed"]), (1, &"kind".into()), "{reported:?}");
    let text = step(&reported, "kind")["text"].as_str().unwrap();
    assert!(text.starts_with("it accepts connections and does not answer; "), "{text}");
    assert!(text.ends_with(" wait to be accepted"), "{text}");
    assert!(means(&reported).starts_with("the program accepts too slowly or not at all"), "{reported:?}");
}

#[test]
fn a_stopped_doctor_prints_its_progress() {
    for (tool, said) in [
        ("doctor", "stopped before the end; no problem found so far"),
        ("conform", "; stopped before the end"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (args, code) in [(&[][..], 1), (&["--timeout", "300ms"], 124)] {
            let mut command = vang();
            command.args(["net", tool, &address]).args(args);
            let mut running = Tail::start(command);
            // It waits for an answer, or is about to: `conform` is connected when its request is there.
            let mut waits = listener.accept().unwrap();
            if tool == "conform" {
                waits.0.read_exact(&mut [0]).unwrap();
            }
            if args.is_empty() {
                Command::new("kill").args(["-INT", &running.pid().to_string()]).status().unwrap();
            }
            assert_eq!(running.wait().code(), Some(code), "{tool}");
            let lines = running.until_end();
            assert!(lines.last().unwrap().ends_with(said), "{tool}: {lines:?}");
            drop(waits);
            // Otherwise its connection would stay in the queue for the next tool.
            listener.set_nonblocking(true).unwrap();
            while listener.accept().is_ok() {}
            listener.set_nonblocking(false).unwrap();
        }
    }
}
