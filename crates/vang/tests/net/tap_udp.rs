//! `vang net tap --udp`: datagrams between real sockets, the simulated network, and recordings in tshark.

use std::net::UdpSocket;
use std::process::Command;

use serde_json::Value;

use crate::echo::{Echo, records, summary};
use crate::harness::{PATIENCE, Tail, folder, vang};

struct Tap {
    tail: Tail,
    address: String,
}

impl Tap {
    fn start(to: &str, more: &[&str]) -> Tap {
        let mut command = vang();
        command.args(["net", "tap", "--udp", "--json", "--listen", "127.0.0.1:0", "--to", to]).args(more);
        let mut tail = Tail::start(command);
        let listening = tail.json();
        assert_eq!((&listening["event"], &listening["kind"]), (&"listening".into(), &"UDP".into()));
        Tap { tail, address: listening["address"].as_str().unwrap().to_owned() }
    }

    fn next(&mut self, event: &str) -> Value {
        loop {
            let object = self.tail.json();
            if object["event"] == event {
                return object;
            }
            assert_ne!(object["event"], "summary", "no {event} came");
        }
    }

    /// Sends SIGINT; returns the summary and the exit code.
    fn interrupt(mut self) -> (Value, Option<i32>) {
        let pid = self.tail.pid().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        loop {
            let object = self.tail.json();
            if object["event"] == "summary" {
                return (object, self.tail.wait().code());
            }
        }
    }
}

fn socket(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> (String, String) {
    let mut buffer = [0; 2_000];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..len]).into_owned(), from.to_string())
}

#[test]
fn each_client_has_its_own_socket_and_gets_its_own_answers() {
    let server = socket("127.0.0.1:0");
    let mut tap = Tap::start(&server.local_addr().unwrap().to_string(), &[]);
    let clients = [socket("127.0.0.1:0"), socket("127.0.0.1:0")];
    let mut peers = Vec::new();
    for (client, text) in clients.iter().zip(["one", "two"]) {
        client.send_to(text.as_bytes(), &tap.address).unwrap();
        let opened = tap.next("opened");
        assert_eq!(opened["from"], client.local_addr().unwrap().to_string());
        let (came, from) = received(&server);
        assert_eq!(came, text);
        peers.push(from);
    }
    assert_ne!(peers[0], peers[1]);
    // Answers in the other order, also an empty one.
    server.send_to(b"to two", &peers[1]).unwrap();
    server.send_to(b"", &peers[1]).unwrap();
    server.send_to(b"to one", &peers[0]).unwrap();
    assert_eq!(received(&clients[0]), ("to one".to_owned(), tap.address.clone()));
    assert_eq!(received(&clients[1]), ("to two".to_owned(), tap.address.clone()));
    assert_eq!(received(&clients[1]).0, "");
    let first = tap.next("datagram");
    assert_eq!((&first["side"], &first["text"]), (&"client".into(), &"two".into()));
    let (all, code) = tap.interrupt();
    let counts =
        ["clients", "client_datagrams", "server_datagrams", "passed"].map(|key| all[key].as_u64().unwrap());
    assert_eq!((counts, code), ([2, 2, 3, 5], Some(0)), "{all}");
}

#[test]
fn every_loss_is_counted_and_a_seed_repeats_it() {
    let server = Echo::serve(&["--udp"]);
    let mut dropped = Vec::new();
    for _ in 0..2 {
        let tap = Tap::start(&server.address, &["--drop", "20%", "--seed", "7"]);
        let sent = records(&[&tap.address, "--udp", "--count", "200", "--rate", "2000"], 1);
        let (all, code) = tap.interrupt();
        assert_eq!(code, Some(0), "a loss that was asked for is no error");
        assert_eq!(all["dropped"], summary(&sent)["lost"], "{all}");
        assert_eq!((&summary(&sent)["duplicated"], &summary(&sent)["reordered"]), (&0.into(), &0.into()));
        dropped.push(all["dropped"].as_u64().unwrap());
    }
    // Both directions lose a fifth: of 200 about 72 do not come back.
    assert!((40..110).contains(&dropped[0]), "{dropped:?}");
    assert_eq!(dropped[0], dropped[1]);
}

#[test]
fn duplicates_reordering_and_delays_lose_nothing() {
    let server = Echo::serve(&["--udp"]);
    let bad = ["--duplicate", "10%", "--reorder", "10%", "--delay", "2ms", "--jitter", "--seed", "3"];
    let tap = Tap::start(&server.address, &bad);
    let sent = records(&[&tap.address, "--udp", "--count", "200", "--rate", "1000"], 1);
    let (all, _) = tap.interrupt();
    let seen = summary(&sent);
    assert_eq!(
        (&seen["lost"], &seen["back"], &all["dropped"]),
        (&0.into(), &200.into(), &0.into()),
        "{seen}"
    );
    for key in ["duplicated", "reordered"] {
        assert!(seen[key].as_u64() > Some(5) && all[key].as_u64() > Some(5), "{key}: {seen} {all}");
    }
}

#[test]
fn a_recording_opens_in_tshark_as_udp() {
    let folder = folder();
    let file = folder.path().join("talk.pcapng");
    let server = Echo::serve(&["--udp"]);
    let tap = Tap::start(&server.address, &["--record", file.to_str().unwrap()]);
    records(&[&tap.address, "--udp", "--message", "hello", "--message", "again"], 0);
    let port = tap.address.rsplit_once(':').unwrap().1.to_owned();
    tap.interrupt();
    let output = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-T", "fields", "-e", "udp.dstport", "-e", "udp.payload"])
        .args(["-e", "udp.checksum.status", "-o", "udp.check_checksum:TRUE"])
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split('\t').collect()).collect();
    let payloads: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert_eq!(payloads, ["68656c6c6f", "68656c6c6f", "616761696e", "616761696e"], "{shown}");
    assert_eq!((rows[0][0], rows[2][0]), (port.as_str(), port.as_str()));
    assert!(rows.iter().all(|row| row[2] == "1"), "every checksum is right: {shown}");
}

#[test]
fn clients_are_bounded_in_number_and_idle_time() {
    let server = socket("127.0.0.1:0");
    let mut tap = Tap::start(&server.local_addr().unwrap().to_string(), &["--idle", "1h"]);
    let send = |number: u32| {
        let client = UdpSocket::bind(format!("127.1.{}.{}:0", number / 250, number % 250 + 1)).unwrap();
        client.send_to(b"hello", &tap.address).unwrap();
        client.local_addr().unwrap().to_string()
    };
    let first = send(0);
    for number in 1..=1_024 {
        send(number);
        received(&server);
    }
    let closed = tap.next("closed");
    assert_eq!(closed["opened_by"], first);
    assert_eq!(closed["ending"], "idle longest of 1024 clients");
    let mut tap = Tap::start(&server.local_addr().unwrap().to_string(), &["--idle", "50ms"]);
    socket("127.0.0.1:0").send_to(b"hello", &tap.address).unwrap();
    assert_eq!(tap.next("closed")["ending"], "idle");
}

#[test]
fn a_server_that_is_not_there_is_reported() {
    let nobody = socket("127.0.0.1:0").local_addr().unwrap().to_string();
    let mut tap = Tap::start(&nobody, &[]);
    socket("127.0.0.1:0").send_to(b"hello", &tap.address).unwrap();
    let means = tap.next("means")["text"].as_str().unwrap().to_owned();
    assert!(means.starts_with(&format!("no program listens at {nobody}")), "{means}");
    let (all, code) = tap.interrupt();
    assert_eq!((&all["refused"], code), (&1.into(), Some(1)));
}

#[test]
fn options_of_streams_and_of_datagrams_are_not_mixed() {
    for (typed, said) in [
        ("--udp --listen 127.0.0.1:0 --to 127.0.0.1:9 --cut 1%", "cannot be used with"),
        ("--udp --listen 127.0.0.1:0 --to 127.0.0.1:9 --silence 1s", "cannot be used with"),
        ("--listen 127.0.0.1:0 --to 127.0.0.1:9 --drop 1%", "--udp"),
        ("--udp --listen 127.0.0.1:0 --to unix:/tmp/x", "is a Unix socket"),
    ] {
        let output = vang().args(["net", "tap"]).args(typed.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}
