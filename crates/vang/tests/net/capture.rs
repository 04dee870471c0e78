//! `vang net capture` in a network of its own, beside tcpdump on the same packets; its files in tshark.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::tap::tshark;
use crate::harness::hosts::Hosts;
use crate::harness::{PATIENCE, Tail, folder, vang};

/// The last datagram of a test: what comes before it has come as well.
const LAST: &str = "that was all";

/// A capture on a host that has begun.
fn capturing(hosts: &Hosts, host: usize, args: &[&str]) -> Tail {
    let mut capture = Tail::start(hosts.vang(host, &[&["net", "capture", "--json"], args].concat()));
    assert_eq!(capture.json()["event"], "capturing", "{args:?}");
    capture
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The objects until the summary, after a stop.
fn until_summary(mut capture: Tail, by: &str) -> Vec<Value> {
    signal(by, capture.pid());
    let mut objects = Vec::new();
    while objects.last().is_none_or(|object: &Value| object["event"] != "summary") {
        objects.push(capture.json());
    }
    assert!(capture.wait().success(), "{objects:#?}");
    objects
}

/// Sends datagrams with these texts from a host.
fn send(hosts: &Hosts, host: usize, datagrams: &[(&str, u16, &str)]) {
    let lines: Vec<String> = datagrams
        .iter()
        .map(|(to, port, text)| {
            let family = if to.contains(':') { "AF_INET6" } else { "AF_INET" };
            format!(
                "socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto({text:?}.encode(), ({to:?}, {port}))"
            )
        })
        .collect();
    let script = format!("import socket\n{}", lines.join("\n"));
    let status = hosts.on(host, "python3").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}");
}

fn wait_until_written(file: &Path) {
    let until = Instant::now() + PATIENCE;
    while !fs::read(file).unwrap_or_default().windows(LAST.len()).any(|bytes| bytes == LAST.as_bytes()) {
        assert!(Instant::now() < until, "{} never has the last datagram", file.display());
        std::thread::yield_now();
    }
}

#[test]
fn conversations_messages_and_datagrams_are_shown_as_they_come() {
    let hosts = Hosts::in_a_row(1);
    let mut capture = capturing(&hosts, 0, &["--port", "7001", "-i", "lo"]);
    let mut serves = Tail::start(hosts.vang(0, &["net", "echo", "serve", "127.0.0.1", "7001"]));
    assert!(serves.line().starts_with("listening on "));
    hosts.sh(0, &format!("{} net echo send 127.0.0.1:7001 --message hello", env!("CARGO_BIN_EXE_vang")));
    let said: Vec<Value> = (0..2).map(|_| capture.json()).collect();
    for (message, side) in said.iter().zip(["client", "server"]) {
        assert_eq!((&message["side"], &message["text"]), (&side.into(), &"hello".into()), "{said:#?}");
    }
    // While the capture goes on.
    let over = capture.json();
    assert_eq!(
        (&over["event"], &over["ending"]),
        (&"conversation".into(), &"client closed, then server".into())
    );
    assert_eq!((&over["from_client"]["bytes"], &over["from_server"]["bytes"]), (&5.into(), &5.into()));
    // Nobody listens at this port with UDP.
    send(&hosts, 0, &[("127.0.0.1", 7001, "Xin chào")]);
    let datagram = capture.json();
    assert_eq!((&datagram["event"], &datagram["text"]), (&"datagram".into(), &"Xin chào".into()));
    assert_eq!(datagram["to"], "127.0.0.1:7001");
    signal("TERM", serves.pid());
    serves.wait();
    hosts.on(0, env!("CARGO_BIN_EXE_vang")).args(["net", "echo", "send", "127.0.0.1:7001"]).output().unwrap();
    assert_eq!(capture.json()["ending"], "refused");
    let objects = until_summary(capture, "INT");
    let summary = objects.last().unwrap();
    for (key, value) in
        [("conversations", 2), ("messages", 2), ("datagrams", 1), ("broken", 0), ("dropped", 0)]
    {
        assert_eq!(summary[key], value, "{key}: {summary}");
    }
}

/// Families, flags, numbers, lengths and payloads of a capture's packets by tshark.
fn packets(file: &Path) -> Vec<String> {
    let fields = [
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "tcp.seq_raw",
        "tcp.ack_raw",
        "tcp.flags",
        "tcp.payload",
        "udp.payload",
    ];
    let mut args = vec!["-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields"];
    args.extend(fields.iter().flat_map(|field| ["-e", field]));
    tshark(&args, file).lines().map(str::to_owned).collect()
}

#[test]
fn a_capture_has_the_packets_of_tcpdump() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let mut servers: Vec<Tail> = Vec::new();
    // Loopback, where each packet passes twice, and a cable.
    for (name, interfaces, addresses, server) in [
        ("lo", ["lo", "lo"], ["127.0.0.1", "::1"], 0),
        ("every interface", ["any", "lo"], ["127.0.0.1", "::1"], 0),
        ("cable", ["up1", "up1"], ["10.9.1.2", "fd09:1::2"], 1),
    ] {
        let [ours, theirs] =
            ["ours.pcapng", "theirs.pcap"].map(|file| dir.path().join(format!("{name} {file}")));
        let path = ours.to_str().unwrap().to_owned();
        let capture = capturing(&hosts, 0, &["-p", "7001", "-i", interfaces[0], "-o", &path]);
        let mut tcpdump = hosts.on(0, "tcpdump");
        // Its immediate mode has a place of 256 KiB for each packet: the usual 2 MiB are eight packets, and it drops some.
        tcpdump.args(["-Z", "root", "--immediate-mode", "-B", "65536", "-U", "-i", interfaces[1]]);
        tcpdump.arg("-w").arg(&theirs);
        tcpdump.args(["port", "7001"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tcpdump = tcpdump.spawn().expect("tcpdump is installed by `cargo xtask step tools`");
        let begun = crate::harness::lines_of(tcpdump.stderr.take().unwrap());
        while !begun.recv_timeout(PATIENCE).unwrap().contains("listening on") {}
        for address in addresses {
            let listen =
                if address.contains(':') { format!("[{address}]:7001") } else { format!("{address}:7001") };
            let serve = ["net", "echo", "serve", "--listen", &listen, "--once"];
            let mut serves = Tail::start(hosts.vang(server, &serves_quietly(&serve)));
            assert!(serves.line().starts_with("listening on "));
            let sent = hosts.vang(0, &["net", "echo", "send", &listen, "--bytes", "100k"]).output().unwrap();
            assert!(sent.status.success(), "{sent:?}");
            servers.push(serves);
        }
        send(
            &hosts,
            0,
            &[(addresses[1], 7001, "one"), (addresses[0], 7002, "not this one"), (addresses[0], 7001, LAST)],
        );
        wait_until_written(&ours);
        wait_until_written(&theirs);
        signal("TERM", tcpdump.id());
        tcpdump.wait().unwrap();
        let summary = until_summary(capture, "TERM").pop().unwrap();
        let (ours, theirs) = (packets(&ours), packets(&theirs));
        // The answer of ICMP to a datagram without a receiver quotes its ports, and tcpdump's filter does not see it either.
        assert_eq!(ours, theirs, "{name}");
        assert!(ours.len() > 20 && summary["packets"] == ours.len(), "{name}: {summary}");
        let read = vang().args(["net", "decode", "--json", "--conversations", &path]).output().unwrap();
        let text = String::from_utf8(read.stdout).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["conversations"], &last["datagrams"], &last["unreadable"]),
            (&2.into(), &2.into(), &0.into())
        );
        assert_eq!(last["packet_bytes"], summary["packet_bytes"], "{name}");
    }
}

fn serves_quietly<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--quiet"]].concat()
}

#[test]
fn the_kernel_selects_several_ports_of_both_families() {
    let hosts = Hosts::in_a_row(1);
    let mut capture = capturing(&hosts, 0, &["--port", "7002", "--port", "7001"]);
    let mut datagrams = Vec::new();
    for port in [7000, 7001, 7002, 7003] {
        datagrams.extend([("127.0.0.1", port, "IPv4"), ("::1", port, "IPv6")]);
    }
    datagrams.push(("127.0.0.1", 7001, LAST));
    send(&hosts, 0, &datagrams);
    let mut came = Vec::new();
    loop {
        let datagram = capture.json();
        if datagram["text"] == LAST {
            break;
        }
        came.push(format!("{} {}", datagram["to"].as_str().unwrap(), datagram["text"].as_str().unwrap()));
    }
    assert_eq!(came, ["127.0.0.1:7001 IPv4", "[::1]:7001 IPv6", "127.0.0.1:7002 IPv4", "[::1]:7002 IPv6"]);
}

#[test]
fn packets_that_the_kernel_dropped_are_counted() {
    let hosts = Hosts::in_a_row(1);
    let capture = capturing(&hosts, 0, &["--port", "7001", "--buffer", "64Ki"]);
    signal("STOP", capture.pid());
    let script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  for n in range(2000): s.sendto(b'x' * 1000, ('127.0.0.1', 7001))";
    assert!(hosts.on(0, "python3").args(["-c", script]).status().unwrap().success());
    signal("CONT", capture.pid());
    let summary = until_summary(capture, "INT").pop().unwrap();
    let (came, dropped) = (summary["packets"].as_u64().unwrap(), summary["dropped"].as_u64().unwrap());
    assert!(came > 0 && dropped > 0, "{summary}");
    assert_eq!(came + dropped, 2_000, "{summary}");
}

#[test]
fn a_cut_packet_keeps_its_length_and_stdout_takes_the_file() {
    let hosts = Hosts::in_a_row(1);
    let dir = folder();
    let file = dir.path().join("cut.pcapng");
    let mut command =
        hosts.vang(0, &["net", "capture", "-p", "7001", "--snaplen", "64", "--count", "2", "-o", "-"]);
    command.stdout(fs::File::create(&file).unwrap()).stderr(Stdio::piped());
    let mut capture = command.spawn().unwrap();
    let said = crate::harness::lines_of(capture.stderr.take().unwrap());
    assert_eq!(
        said.recv_timeout(PATIENCE).unwrap(),
        "capturing on every interface, port 7001, written to stdout"
    );
    let long = "x".repeat(500);
    send(&hosts, 0, &[("127.0.0.1", 7001, &long), ("::1", 7001, "short"), ("::1", 7001, "not counted")]);
    assert!(crate::harness::wait(&mut capture).success());
    let lengths = tshark(&["-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"], &file);
    // IP and UDP headers, and Linux's link header of 20 bytes.
    assert_eq!(lengths, "548\t84\n73\t73\n");
    let read = vang().args(["net", "decode", "--json"]).arg(&file).output().unwrap();
    let first: Value =
        serde_json::from_str(String::from_utf8_lossy(&read.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["bytes"], 500);
}

#[test]
fn every_end_has_a_summary_and_its_exit_code() {
    let hosts = Hosts::in_a_row(1);
    for (args, by, code) in [
        (&["--timeout", "50ms"][..], None, 0),
        (&["--timeout", "50ms", "--count", "1"], None, 124),
        (&[], Some("INT"), 0),
        (&[], Some("TERM"), 0),
    ] {
        let mut capture = capturing(&hosts, 0, args);
        if let Some(by) = by {
            signal(by, capture.pid());
        }
        let summary = capture.json();
        assert_eq!((&summary["event"], &summary["packets"]), (&"summary".into(), &0.into()), "{args:?}");
        assert_eq!(capture.json()["event"], "means");
        assert_eq!(capture.wait().code(), Some(code), "{args:?} {by:?}");
    }
    for (args, said) in [
        (
            &["-i", "nonexistent"][..],
            "no interface has the name 'nonexistent'; there are lo. Without --interface",
        ),
        (&["--port", "0"], "port 0 is out of range; ports are 1 to 65535"),
        (&["--snaplen", "1"], "not a size from 64 to 262144 bytes"),
        (&["--print"], "--output"),
    ] {
        let output = hosts.vang(0, &[&["net", "capture"], args].concat()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.contains(said), "{text}");
    }
}

#[test]
fn without_rights_the_error_says_what_is_missing_and_what_to_do() {
    let mut command = if rustix::process::geteuid().is_root() {
        // The target folder can be in a private home.
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
            env!("CARGO_BIN_EXE_vang"),
        ]);
        command
    } else {
        vang()
    };
    let output = command.args(["net", "capture"]).output().expect("setpriv (package util-linux)");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for said in [
        "vang: cannot open a packet socket: permission denied (capturing needs the capability CAP_NET_RAW",
        "sudo vang net capture",
        "setcap cap_net_raw,cap_net_admin=ep",
        "vang net tap --listen",
    ] {
        assert!(text.contains(said), "no {said} in {text}");
    }
}
