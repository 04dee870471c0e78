//! `vang net tap --silence`: a peer that vanishes, and how clients notice it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use vang_nettools::diag::Diag;

use crate::echo::Echo;
use crate::harness::{PATIENCE, Tail, vang};

/// A tap before an echo server.
struct Tap {
    tail: Tail,
    address: String,
    _server: Echo,
}

impl Tap {
    fn silent(when: &str) -> Tap {
        let server = Echo::serve(&[]);
        let mut command = vang();
        command.args([
            "net",
            "tap",
            "--json",
            "--silence",
            when,
            "--listen",
            "127.0.0.1:0",
            "--to",
            &server.address,
        ]);
        let mut tail = Tail::start(command);
        let address = tail.json()["address"].as_str().unwrap().to_owned();
        Tap { tail, address, _server: server }
    }

    fn next(&mut self, event: &str) -> Value {
        loop {
            let object = self.tail.json();
            if object["event"] == event {
                return object;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn talk(&self, args: &[&str]) -> Command {
        let mut command = vang();
        command.args(["net", "talk", &self.address, "--quiet", "--then", "wait"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Bytes that this end has sent and the other kernel has not acknowledged, and bytes that have come.
fn unacknowledged_and_received(stream: &TcpStream) -> (u32, u64) {
    let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let socket = Diag::open().connection(ends.0, ends.1).unwrap().unwrap();
    (socket.send_q.unwrap(), socket.tcp.unwrap().bytes_received)
}

#[test]
fn keep_alive_notices_a_peer_that_vanished_and_a_client_without_it_waits_on() {
    let mut tap = Tap::silent("0B");
    // Its bytes are never acknowledged, and it learns nothing.
    let mut waiting = tap.connect();
    tap.next("silent");
    waiting.write_all(b"hello").unwrap();
    let output = tap.talk(&["--keepalive", "1s"]).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(124), "{errors}");
    assert!(errors.contains("timed out (the peer answered no keep-alive probe"), "{errors}");
    // The kernel of the client sends RST when it gives up.
    assert_eq!(tap.next("gave-up")["side"], "client");
    assert_eq!(unacknowledged_and_received(&waiting), (5, 0));
    waiting.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(waiting.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "still open");
}

#[test]
fn a_user_timeout_ends_a_connection_whose_bytes_are_not_acknowledged() {
    let mut tap = Tap::silent("0B");
    let mut client = tap.talk(&["--user-timeout", "300ms"]).spawn().unwrap();
    // Bytes that come before the silence are acknowledged.
    tap.next("silent");
    client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(124), &b""[..]), "{errors}");
    assert!(errors.contains("acknowledged nothing within --user-timeout"), "{errors}");
}

#[test]
fn bytes_before_the_silence_pass_and_the_end_of_the_tap_resets() {
    let mut tap = Tap::silent("10B");
    let mut stream = tap.connect();
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    tap.next("silent");
    stream.write_all(b"lost").unwrap();
    // What came before is acknowledged; nothing comes again, not even as a repetition.
    assert_eq!(unacknowledged_and_received(&stream), (4, 5));
    let pid = tap.tail.pid().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let closed = tap.next("closed");
    let ending = closed["ending"].as_str().unwrap();
    assert!(
        ending.starts_with("silent for ") && ending.ends_with("still open when tap was stopped"),
        "{ending}"
    );
    assert_eq!(tap.next("summary")["silent"], 1);
}

#[test]
fn a_silence_can_begin_after_a_time() {
    let mut tap = Tap::silent("50ms");
    let began = Instant::now();
    let mut stream = tap.connect();
    let silent = tap.next("silent");
    assert!(
        silent["after_ns"].as_u64().unwrap() >= 50_000_000 && began.elapsed() >= Duration::from_millis(50)
    );
    stream.write_all(b"lost").unwrap();
    assert_eq!(unacknowledged_and_received(&stream).0, 4);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    for (typed, said) in [
        ("talk 127.0.0.1:9 --keepalive 500ms", "whole seconds"),
        ("talk 127.0.0.1:9 --keepalive 10h", "up to 32767"),
        ("talk 127.0.0.1:9 --user-timeout 25d", "--user-timeout is at most 24d"),
        ("talk 127.0.0.1:9 --udp --user-timeout 1s", "are for TCP"),
        ("talk unix:/tmp/x --keepalive 1s", "are for TCP"),
        ("tap --listen unix:/tmp/x --to 127.0.0.1:9 --silence 1s", "is a Unix socket"),
        (
            "tap --listen 127.0.0.1:0 --to 127.0.0.1:9 --silence 12",
            "write a time as 500ms or 5s, bytes as 0B",
        ),
        ("tap --listen 127.0.0.1:0 --to 127.0.0.1:9 --silence 400d", "a time is at most 365d"),
        ("tap --udp --listen 127.0.0.1:0 --to 127.0.0.1:9 --drop 5", "write 0% to 100% with its %"),
    ] {
        let output = vang().arg("net").args(typed.split(' ')).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}
