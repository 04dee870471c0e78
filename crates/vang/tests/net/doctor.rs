//! vang net doctor: from the name to the queues, or to the first step that fails, with what to try.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::harness::{Server, folder, refusing, vang};

/// Its exit code, and all that it tells as objects.
fn doctor(place: &str, more: &[&str]) -> (i32, Vec<Value>) {
    let output = vang().args(["net", "doctor", place, "--json"]).args(more).output().unwrap();
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
