//! `vang net stall`: the kernel refuses at the reported byte, both queues equal those of `ss`, and a reader drains them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::hosts::Hosts;
use crate::harness::{PATIENCE, Tail, folder, program, refusing, vang};

const HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];

pub(crate) fn stall(args: &[&str]) -> Command {
    let mut command = vang();
    command.args(["net", "stall"]).args(args);
    command
}

pub(crate) fn run(args: &[&str]) -> (Vec<Value>, Output) {
    let output = stall(args).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output)
}

pub(crate) fn of<'a>(all: &'a [Value], event: &str) -> Vec<&'a Value> {
    all.iter().filter(|object| object["event"] == event).collect()
}

pub(crate) fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("no {key} in {object}"))
}

/// The next object of this kind.
pub(crate) fn next(tail: &mut Tail, event: &str) -> Value {
    loop {
        let object = tail.json();
        if object["event"] == event {
            return object;
        }
    }
}

/// `stall serve` at any port of this host, and its address.
fn serve(host: &str, more: &[&str]) -> (Tail, String) {
    let mut command = stall(&["serve", "--json", "--listen", &format!("{host}:0")]);
    command.args(more);
    let mut server = Tail::start(command);
    let address = next(&mut server, "listening")["address"].as_str().unwrap().to_owned();
    (server, address)
}

fn interrupt(tail: &Tail) {
    assert!(Command::new("kill").args(["-INT", &tail.pid().to_string()]).status().unwrap().success());
}

/// Writes until the kernel refuses; how much that was.
fn fill(stream: &mut TcpStream) -> u64 {
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    loop {
        match stream.write(&[7; 65_536]) {
            Ok(took) => written += took as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return written;
            }
        }
    }
}

/// Recv-Q and Send-Q of the connection whose own end is `local`, as `ss` has them.
fn ss(local: &str, peer: &str) -> (u64, u64) {
    let output = Command::new("ss").arg("-Htan").output().expect("ss (package iproute2)");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let words = line.into_iter().find(|words| words[3] == local && words[4] == peer).unwrap();
    (words[1].parse().unwrap(), words[2].parse().unwrap())
}

#[test]
fn it_fills_both_queues_locates_every_byte_and_drains_them() {
    for host in HOSTS {
        let (all, output) = run(&["send", "--fix", &format!("{host}:0")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let blocked = of(&all, "blocked")[0];
        let at = number(blocked, "at_byte");
        assert_eq!(blocked["error"], "EWOULDBLOCK");
        assert_eq!(number(blocked, "send_q") + number(blocked, "recv_q"), at, "{blocked}");
        assert!(number(blocked, "send_q") > 0 && number(blocked, "recv_q") > 0, "{blocked}");
        let filling: Vec<u64> = of(&all, "queues")
            .iter()
            .filter(|queues| queues["read"].is_null())
            .map(|q| number(q, "send_q"))
            .collect();
        assert!(filling.len() > 2 && filling.first() < filling.last(), "{host}: {filling:?}");
        let reading: Vec<&Value> = of(&all, "queues").into_iter().filter(|q| q["read"].is_u64()).collect();
        let last = reading.last().unwrap();
        assert_eq!((number(last, "read"), number(last, "send_q"), number(last, "recv_q")), (at, 0, 0));
        assert_eq!(of(&all, "drained").len(), 1);
        assert_eq!(number(of(&all, "summary")[0], "blocked_at"), at);
        assert!(of(&all, "means")[0]["text"].as_str().unwrap().contains("gets EWOULDBLOCK"));
    }
}

#[test]
fn all_bytes_before_the_refusal_arrive() {
    for host in HOSTS {
        let listener = TcpListener::bind(format!("{host}:0")).unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let (all, output) = run(&["send", &to, "--send-buffer", "30000"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let blocked = of(&all, "blocked")[0];
        assert!(number(blocked, "partial_writes") > 0, "{blocked}");
        // The writer has ended; the bytes in its Send-Q still arrive, then the end of the stream.
        let (mut reader, _) = listener.accept().unwrap();
        reader.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, number(blocked, "at_byte"));
    }
}

#[test]
fn the_server_never_reads_and_reports_the_numbers_of_ss() {
    for host in HOSTS {
        let (mut server, address) = serve(host, &[]);
        let mut writer = TcpStream::connect(&address).unwrap();
        let me = writer.local_addr().unwrap().to_string();
        assert_eq!(next(&mut server, "accepted")["peer"], me);
        let mut written = fill(&mut writer);
        let full = next(&mut server, "full");
        // The kernel can have taken a few more bytes while its buffers settled.
        written += fill(&mut writer);
        let (recv_q, send_q) = (ss(&address, &me).0, ss(&me, &address).1);
        assert_eq!(recv_q + send_q, written);
        assert!(number(&full, "recv_q") > 0 && number(&full, "send_q") > 0, "{full}");
        let reported = loop {
            let looked = Command::new(env!("CARGO_BIN_EXE_vang"))
                .args(["net", "sockets", "--json", "--process", &server.pid().to_string()])
                .output()
                .unwrap();
            let text = String::from_utf8(looked.stdout).unwrap();
            let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if let Some(row) = rows.iter().find(|row| row["peer"] == me) {
                break row["recv_q"].as_u64().unwrap();
            }
        };
        assert_eq!(reported, recv_q);
        interrupt(&server);
        let summary = next(&mut server, "summary");
        assert_eq!((number(&summary, "connections"), number(&summary, "unread")), (1, recv_q));
        assert!(server.wait().success());
    }
}

#[test]
fn two_programs_see_it_drain_when_the_reader_is_fixed() {
    for host in HOSTS {
        let (mut server, address) = serve(host, &["--fix"]);
        let (all, output) = run(&["send", &address, "--fix"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let written = number(of(&all, "summary")[0], "written");
        assert!(number(&next(&mut server, "full"), "recv_q") > 0);
        let closed = next(&mut server, "closed");
        assert_eq!((number(&closed, "read"), number(&closed, "unread")), (written, 0));
        assert_eq!(closed["reset"], false);
        interrupt(&server);
        assert_eq!(number(&next(&mut server, "summary"), "read"), written);
    }
}

#[test]
fn closed_and_reset_peers_are_reported_with_unread_bytes() {
    let (mut server, address) = serve("127.0.0.1", &[]);
    let mut writer = TcpStream::connect(&address).unwrap();
    writer.write_all(&[7; 1_000]).unwrap();
    next(&mut server, "queues");
    drop(writer);
    let closed = next(&mut server, "closed");
    assert_eq!((number(&closed, "unread"), closed["reset"].clone()), (1_000, Value::from(false)));
    let writer = TcpStream::connect(&address).unwrap();
    next(&mut server, "accepted");
    socket2::SockRef::from(&writer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(writer);
    assert_eq!(next(&mut server, "closed")["reset"], true);
}

#[test]
fn a_reading_reader_is_not_reported_as_stalled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let output = stall(&["send", &to, "--bytes", "20000000"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("what this means: the reader took 19.1 MiB"), "{text}");
    assert!(text.lines().last().unwrap().ends_with("; never refused"), "{text}");
    assert_eq!(reader.join().unwrap(), 20_000_000);
}

#[test]
fn ctrl_c_and_timeout_end_the_wait_with_a_summary() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut waiting = Tail::start(stall(&["send", &to, "--fix", "--json"]));
    next(&mut waiting, "blocked");
    interrupt(&waiting);
    assert_eq!(next(&mut waiting, "summary")["drained"], false);
    assert_eq!(waiting.wait().code(), Some(1), "it should drain, but did not");
    let (all, output) = run(&["send", &to, "--fix", "--timeout", "2s"]);
    assert_eq!(output.status.code(), Some(124), "{all:#?}");
    assert_eq!(of(&all, "summary").len(), 1);
}

#[test]
fn bars_and_explanations_are_text_only() {
    let output = stall(&["send", "--fix", "--explain", "--send-buffer", "30000"]).output().unwrap();
    let (text, aside) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for said in
        ["Send-Q of the writer", "▕█", " ═▶ ", "write would block (EWOULDBLOCK) at byte ", "drained in "]
    {
        assert!(text.contains(said), "no {said} in\n{text}");
    }
    for said in
        ["listen", "accept", "partial write: ", "would block: no room at byte ", "the window opens", "close"]
    {
        assert!(aside.contains(said), "no {said} in\n{aside}");
    }
}

#[test]
fn usage_errors_have_advice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let nobody = refusing();
    let closed = nobody.addr.to_string();
    for (args, code, said) in [
        (vec!["serve", "--listen", &taken], 1, "address in use"),
        (vec!["send", &closed], 1, "connection refused"),
        (vec!["send", "unix:/nonexistent/s"], 1, "no such socket (is the program running that creates it?)"),
        (vec!["serve", "--listen", "unix:/tmp/s", "--receive-buffer", "1000"], 2, "SO_RCVBUF has no effect"),
        (
            vec!["send", &closed, "--receive-buffer", "1000"],
            2,
            "--receive-buffer is for a reader in this process",
        ),
        (vec!["send", "--udp", &closed], 2, "UDP does not report what another reader drops"),
        (vec!["send", "::1:80:x"], 2, "brackets"),
        (vec!["send", "--bytes", "0"], 2, "--bytes"),
    ] {
        let output = stall(&args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
}

#[test]
fn two_hosts_see_their_own_queues_which_hold_every_byte() {
    let hosts = Hosts::in_a_row(2);
    let local = hosts.sh(1, "ip -6 -o addr show dev down1 scope link | awk '{print $4}' | cut -d/ -f1");
    let (v4, v6, scoped) =
        ("10.9.1.2".to_owned(), "[fd09:1::2]".to_owned(), format!("[{}%up1]", local.trim()));
    for place in [v4, v6, scoped] {
        let mut server = Tail::start(hosts.vang(1, &["net", "stall", "serve", "--json", "--listen", ":0"]));
        let listening = next(&mut server, "listening");
        let port = listening["address"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        let mut writer = Tail::start(
            hosts.vang(0, &["net", "stall", "send", "--json", &format!("{place}:{port}"), "--fix"]),
        );
        let connected = next(&mut writer, "connected");
        assert_eq!(connected["reader_is_here"], false, "{connected}");
        let blocked = next(&mut writer, "blocked");
        assert!(blocked["recv_q"].is_null(), "{blocked}");
        let text = next(&mut writer, "means")["text"].as_str().unwrap().to_owned();
        assert!(text.contains("are on the reader's machine"), "{text}");
        // The reader sees only its own queue; the rest is on the writer's side.
        let at = number(&blocked, "at_byte");
        let full = next(&mut server, "full");
        assert!(full["send_q"].is_null(), "{full}");
        assert_eq!(number(&full, "recv_q") + number(&blocked, "send_q"), at, "{place}");
        interrupt(&writer);
        assert_eq!(number(&next(&mut writer, "summary"), "written"), at);
    }
}

#[test]
fn a_reader_that_ends_during_the_wait_is_a_reset() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("s").display());
    for place in ["127.0.0.1:0", &unix] {
        let mut server = Tail::start(stall(&["serve", "--json", "--listen", place]));
        let address = next(&mut server, "listening")["address"].as_str().unwrap().to_owned();
        let mut writer = Tail::start(stall(&["send", "--json", "--fix", &address]));
        next(&mut writer, "blocked");
        next(&mut server, "full");
        interrupt(&server);
        assert!(number(&next(&mut server, "summary"), "unread") > 0);
        writer.said(&format!("lost the connection to {address}: connection reset by peer ("));
        assert_eq!(writer.wait().code(), Some(1), "{place}");
    }
}

#[test]
fn further_connections_wait_in_the_accept_queue() {
    let (mut server, address) = serve("127.0.0.1", &[]);
    let mut held: Vec<TcpStream> = (0..65).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert!(next(&mut server, "means")["text"].as_str().unwrap().starts_with("64 connections are held"));
    // One closes, and the last is accepted.
    let last = held[64].local_addr().unwrap().to_string();
    drop(held.remove(0));
    assert_eq!(next(&mut server, "accepted")["peer"], *last);
}

#[test]
fn a_reader_out_of_files_reports_it_and_goes_on() {
    let mut command = program("sh");
    // Enough to begin with, and for a few connections; more connections than that, however few files it began with.
    command.args(["-c", "ulimit -n 24; exec \"$0\" net stall serve --json --listen 127.0.0.1:0"]);
    let mut server = Tail::start({
        command.arg(env!("CARGO_BIN_EXE_vang"));
        command
    });
    let address = next(&mut server, "listening")["address"].as_str().unwrap().to_owned();
    let many: Vec<TcpStream> = (0..24).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let text = next(&mut server, "means")["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("too many open files ("), "{text}");
    // Room again: the waiting client is accepted.
    let me: Vec<String> = many.iter().map(|stream| stream.local_addr().unwrap().to_string()).collect();
    drop(many);
    let last = me.last().unwrap();
    while next(&mut server, "accepted")["peer"] != **last {}
    interrupt(&server);
    assert_eq!(number(&next(&mut server, "summary"), "connections"), 24);
}
