//! vang net doctor: from the name to the queues, or to the first step that fails, with what to try.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value;

use crate::harness::hosts::Hosts;
use crate::harness::{Server, Tail, folder, guide, read_message, refusing, vang};

/// Its exit code, and all that it tells as objects.
fn doctor(place: &str, more: &[&str]) -> (i32, Vec<Value>) {
    let mut command = vang();
    command.args(["net", "doctor", place]).args(more);
    told(command)
}

/// The same, of a doctor wherever it is.
fn told(mut command: Command) -> (i32, Vec<Value>) {
    let output = command.arg("--json").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), told.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn step<'a>(told: &'a [Value], step: &str) -> &'a Value {
    told.iter().find(|object| object["step"] == step).unwrap_or_else(|| panic!("no {step} in {told:?}"))
}

fn means(told: &[Value]) -> String {
    told.iter()
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
fn a_server_that_is_well_is_told_so_step_by_step() {
    let dir = folder();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::start_with(&dir.path().join(listen), listen, &[]);
        let (code, told) = doctor(&server.addr, &[]);
        assert_eq!(code, 0, "{told:?}");
        for name in ["name", "route", "tcp", "tls", "kind", "echo", "queues"] {
            assert_eq!(step(&told, name)["found"], "good", "{told:?}");
        }
        let text = |name| step(&told, name)["text"].as_str().unwrap().to_owned();
        assert!(text("kind").starts_with("vang/"), "{told:?}");
        assert!(
            text("tls").contains("certificate for 127.0.0.1, ::1, localhost")
                && text("tls").ends_with("without end"),
            "{told:?}"
        );
        assert!(text("queues").contains(" wait to be accepted"), "{told:?}");
        assert_eq!(told.last().unwrap()["failed"], Value::Null);
    }
}

#[test]
fn other_servers_are_told_by_what_they_answer() {
    let echo = serving(|mut stream| {
        let mut copy = stream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stream, &mut copy));
    });
    let http = serving(|mut stream| {
        // It waits for a whole line, as many do.
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
        (echo, "an echo: it sends back what it is sent"),
        (http, "HTTP: HTTP/1.1 404 Not Found"),
        (speaks_first, "no vang server; it says \"SSH-2.0-Test\\r\\n\""),
    ] {
        let (code, told) = doctor(&address, &["--wait", "1s"]);
        assert_eq!((code, step(&told, "kind")["text"].as_str().unwrap()), (0, said), "{told:?}");
    }
}

/// The guide's own server: it reads on until a content of at least one byte is there.
#[test]
fn a_server_that_answers_only_requests_with_a_content_is_known() {
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
    let (code, told) = doctor(&guides, &["--wait", "1s"]);
    let text = |name| step(&told, name)["text"].as_str().unwrap();
    assert_eq!((code, text("kind")), (0, "a server of the guide: one request, one response"), "{told:?}");
    assert_eq!(text("echo"), "it answered a request");
}

#[test]
fn a_server_that_speaks_tls_only_is_asked_in_tls() {
    let mut command = vang();
    command.args(["net", "echo", "serve", "--tls", "--listen", "127.0.0.1:0", "--json"]);
    let mut serves = Tail::start(command);
    let address = serves.json()["address"].as_str().unwrap().to_owned();
    let (code, told) = doctor(&address, &[]);
    assert_eq!(
        (code, step(&told, "kind")["text"].as_str().unwrap()),
        (0, "an echo: it sends back what it is sent"),
        "{told:?}"
    );
}

#[test]
fn the_first_step_that_fails_says_what_to_try_and_is_the_last() {
    let nobody = refusing();
    let closed = nobody.addr.to_string();
    let (code, told) = doctor(&closed, &[]);
    assert_eq!((code, &step(&told, "tcp")["found"]), (1, &"bad".into()), "{told:?}");
    assert!(
        means(&told).starts_with("the host is there and nobody listens at this port: start the server"),
        "{told:?}"
    );
    assert_eq!(
        (&told.last().unwrap()["failed"], told.iter().any(|object| object["step"] == "kind")),
        (&"tcp".into(), false)
    );

    let (code, told) = doctor("nobody.invalid:1", &[]);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"name".into()), "{told:?}");

    // It accepts, and says nothing to anything.
    let mute = serving(std::mem::forget);
    let (code, told) = doctor(&mute, &["--wait", "200ms"]);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"kind".into()), "{told:?}");
    assert!(means(&told).contains("busy or stopped, or waits for another protocol"), "{told:?}");

    let output = vang().args(["net", "doctor", "localhost"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'localhost' has none"));
}

/// All that was told of a step, one after the other: how it was found, and the text.
fn every(told: &[Value], step: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_step = told.iter().filter(|object| object["step"] == step);
    of_step.map(|object| (text(&object["found"]), text(&object["text"]))).collect()
}

#[test]
fn every_address_is_tried_as_clients_do_and_a_broken_one_beside_one_that_works_is_named() {
    let dir = folder();
    // The empty host stands for both families' loopback, IPv6 first.
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
        let (code, told) = told(hosts.vang(0, &["net", "doctor", ":65432"]));
        let tcp = every(&told, "tcp");
        assert_eq!((code, tcp.len()), (0, 2), "{told:?}");
        assert!(tcp.contains(&("good".to_owned(), format!("{works} takes connections"))), "{tcp:?}");
        let end = told.last().unwrap();
        assert_eq!((&end["failed"], &end["complete"]), (&Value::Null, &true.into()), "{told:?}");
        assert_eq!(end["broken"].as_array().unwrap().len(), usize::from(broken.is_some()), "{end}");
        let Some(broken) = broken else { continue };
        assert_eq!(end["broken"][0], broken);
        let (found, why) = tcp.iter().find(|(_, text)| text.starts_with(broken)).unwrap();
        assert!(found == "unknown" && why.contains(": connection refused"), "{why}");
        let (one, other) = if broken.starts_with('[') { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
        let means = means(&told);
        assert!(
            means.starts_with(&format!("{one} is broken at {broken}, {other} works at {works}. ")),
            "{means}"
        );
        let people = hosts.vang(0, &["net", "doctor", ":65432"]).output().unwrap();
        let text = String::from_utf8(people.stdout).unwrap();
        assert!(text.ends_with(&format!(":65432 is well, but not at {broken}\n")), "{text}");
        if n == 0 {
            // IPv6 that swallows is worse: whoever prefers it waits. Then nothing is left that works.
            hosts.sh(0, "nft -f - <<'END'\ntable inet t {\nchain in {\ntype filter hook input priority 0\nip6 daddr ::1 drop\n}\n}\nEND");
            let look = || crate::doctor::told(hosts.vang(0, &["net", "doctor", ":65432", "--wait", "200ms"]));
            let (code, told) = look();
            assert_eq!((code, every(&told, "icmp")[0].0.as_str()), (0, "unknown"), "{told:?}");
            assert!(every(&told, "tcp")[0].1.starts_with("[::1]:65432: timed out"), "{told:?}");
            hosts.sh(0, "nft add rule inet t in ip daddr 127.0.0.1 drop");
            let (code, told) = look();
            let tcp = every(&told, "tcp");
            assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"tcp".into()), "{told:?}");
            assert_eq!((tcp[0].0.as_str(), tcp[1].0.as_str()), ("unknown", "bad"), "{tcp:?}");
        }
    }
}

#[test]
fn a_program_that_does_not_accept_is_told_by_its_queue() {
    let hosts = Hosts::in_a_row(2);
    let mut command = hosts.on(1, "python3");
    command.args([
        "-c",
        "import socket, sys\nlistener = socket.create_server(('10.9.1.2', 65432), backlog=1)\n\
         print('ready', flush=True)\nsys.stdin.read()",
    ]);
    let (mut server, _stdin) = Tail::start_with_stdin(command);
    assert_eq!(server.line(), "ready");
    let look = |from: usize| told(hosts.vang(from, &["net", "doctor", "10.9.1.2:65432", "--wait", "300ms"]));
    // What the first steps connect stays in the queue, until that is full.
    let (code, told) = look(1);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"kind".into()), "{told:?}");
    let text = step(&told, "kind")["text"].as_str().unwrap();
    assert!(text.starts_with("timed out"), "{text}");
    assert!(text.ends_with("; 2 of 1 wait to be accepted, which is full"), "{text}");
    assert!(means(&told).starts_with("the program accepts too slowly or not at all"), "{told:?}");
    let (code, told) = look(1);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"tcp".into()), "{told:?}");
    let text = step(&told, "tcp")["text"].as_str().unwrap();
    assert!(text.starts_with("timed out"), "{text}");
    assert!(text.ends_with("; 2 of 1 wait to be accepted, which is full"), "{text}");
    // From elsewhere its queues cannot be seen, and that it is possible is said.
    let (code, told) = look(0);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"tcp".into()), "{told:?}");
    assert!(means(&told).contains("as many connections wait there as may"), "{told:?}");
}

#[test]
fn one_that_accepts_nobody_and_has_room_is_told_by_who_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, told) = doctor(&listener.local_addr().unwrap().to_string(), &["--wait", "300ms"]);
    assert_eq!((code, &told.last().unwrap()["failed"]), (1, &"kind".into()), "{told:?}");
    let text = step(&told, "kind")["text"].as_str().unwrap();
    assert!(text.starts_with("it takes connections and says nothing; "), "{text}");
    assert!(text.ends_with(" wait to be accepted"), "{text}");
    assert!(means(&told).starts_with("the program accepts too slowly or not at all"), "{told:?}");
}

#[test]
fn whoever_stops_it_is_told_how_far_it_came() {
    for (tool, said) in [
        ("doctor", "stopped before the end; nothing is wrong so far"),
        ("conform", "; stopped before the end"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (args, code) in [(&[][..], 1), (&["--timeout", "300ms"], 124)] {
            let mut command = vang();
            command.args(["net", tool, &address]).args(args);
            let mut running = Tail::start(command);
            // It waits for an answer, or is about to. The judge has its connection when its question is there.
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
            // What it left in the queue is the next one's, else.
            listener.set_nonblocking(true).unwrap();
            while listener.accept().is_ok() {}
            listener.set_nonblocking(false).unwrap();
        }
    }
}
