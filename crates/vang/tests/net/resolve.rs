//! vang net resolve, compared with Python's `socket.getaddrinfo` on this machine.

use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::hosts::Hosts;
use crate::harness::{Tail, catches, folder, refusing, vang};

fn resolve(args: &[&str]) -> Command {
    let mut command = vang();
    command.args(["net", "resolve"]).args(args);
    command
}

/// Its exit code and records.
fn objects(mut command: Command) -> (i32, Vec<Value>) {
    let output = command.arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

/// Its text on stdout and stderr.
fn said(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn answers_are_those_of_getaddrinfo_in_its_order() {
    for host in ["localhost", "127.0.0.1", "::1", "fe80::1%lo", ""] {
        let program = "import json, socket, sys\n\
             flags = socket.AI_CANONNAME if sys.argv[1] else 0\n\
             for f, t, p, c, a in socket.getaddrinfo(sys.argv[1] or None, 7000, flags=flags):\n  \
             a = (a[0].split('%')[0],) + a[1:]\n  \
             family = {socket.AF_INET: 'IPv4', socket.AF_INET6: 'IPv6'}[f]\n  \
             kind = {socket.SOCK_STREAM: 'stream', socket.SOCK_DGRAM: 'dgram', socket.SOCK_RAW: 'raw'}[t]\n  \
             print(json.dumps([family, kind, {0: 'any', 6: 'tcp', 17: 'udp'}[p], c if sys.argv[1] == 'localhost' else '', *a]))";
        let output = Command::new("python3").args(["-c", program, host]).output().unwrap();
        let pythons: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (_, objects) = objects(resolve(&[host, "7000"]));
        let ours: Vec<Value> = of(&objects, "address")
            .into_iter()
            .filter(|address| address["purpose"] != "listen")
            .map(|address| {
                let canonical = address.get("canonical").cloned().unwrap_or("".into());
                let mut tuple = ["family", "type", "protocol"].map(|key| address[key].clone()).to_vec();
                tuple.extend([canonical, address["address"].clone(), address["port"].clone()]);
                tuple.extend(["flow_info", "scope"].iter().filter_map(|key| address.get(*key).cloned()));
                Value::from_iter(tuple)
            })
            .collect();
        assert!(!ours.is_empty());
        assert_eq!(ours, pythons, "'{host}'");
    }
}

#[test]
fn loopback_and_the_empty_host_are_explained() {
    let (lines, _) = said(resolve(&["127.0.0.1"]));
    for line in [
        "1. IPv4  stream  tcp   127.0.0.1",
        "2. IPv4  dgram   udp   127.0.0.1",
        "3. IPv4  raw     any   127.0.0.1",
    ] {
        assert!(lines.contains(&format!("{line}  (loopback: this machine only)")), "{lines}");
    }
    assert!(!lines.contains("source:"), "an address is not looked up: {lines}");
    assert!(lines.contains("what this means: '127.0.0.1' is loopback: this machine itself."), "{lines}");
    assert!(lines.contains("127.0.0.1: 1 address, resolved in "), "{lines}");
    let (lines, _) = said(resolve(&[""]));
    for (address, purpose) in
        [("127.0.0.1", "connect to"), ("::1", "connect to"), ("0.0.0.0", "listen on"), ("::", "listen on")]
    {
        let is_there =
            lines.lines().any(|line| line.contains(&format!("  {address}  ")) && line.ends_with(purpose));
        assert!(is_there, "{address}: {lines}");
    }
    assert!(lines.contains("what this means: for a client an empty host is loopback"), "{lines}");
    assert!(lines.contains("the empty host: 2 addresses, resolved in "), "{lines}");
}

#[test]
fn each_address_is_tried_and_the_used_one_is_explained() {
    // The empty host has both families, in the resolver's order; only one of them has a server.
    for served in ["127.0.0.1", "[::1]"] {
        let listener = TcpListener::bind(format!("{served}:0")).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (code, objects) = objects(resolve(&["", &port]));
        let tried = of(&objects, "tried");
        assert_eq!((code, tried.len()), (0, 2), "{objects:?}");
        for one in &tried {
            let is_served = one["address"] == format!("{served}:{port}");
            assert_eq!(one["connected"], is_served, "{objects:?}");
            assert!(one["took_us"].as_f64().unwrap() > 0.0);
            assert!(is_served || one["error"].as_str().unwrap().starts_with("connection refused ("));
        }
        let summary = of(&objects, "summary")[0];
        assert_eq!(summary["won"], format!("{served}:{port}"));
        assert_eq!(summary["family"], if served == "[::1]" { "IPv6" } else { "IPv4" });
        assert_eq!((&summary["tried"], &summary["connected"]), (&Value::from(2), &Value::from(1)));
        let is_first = tried[0]["connected"] == true;
        let reason =
            if is_first { "is the first address of the resolver" } else { "is the first that answered" };
        assert!(summary["why"].as_str().unwrap().contains(reason), "{summary}");
        let means = of(&objects, "means");
        let has_happy = means.iter().any(|means| means["text"].as_str().unwrap().contains("Happy Eyeballs"));
        assert_eq!(has_happy, !is_first, "{objects:?}");
    }
}

#[test]
fn without_any_answer_it_prints_advice() {
    let nobody = refusing();
    let port = nobody.addr.port().to_string();
    let mut command = resolve(&["127.0.0.1", &port]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let (lines, _) = said(command);
    assert!(lines.contains("connection refused (is the server running there?)"), "{lines}");
    assert!(lines.contains("; 0 of 1 connected\n"), "{lines}");
    assert!(lines.contains("what this means: the address of the name does not accept"), "{lines}");
}

/// vang on a host of its own, with these lines as its hosts file.
fn with_hosts_file(hosts: &Hosts, dir: &std::path::Path, lines: &str, args: &str) -> Command {
    let file = dir.join("hosts");
    std::fs::write(&file, lines).unwrap();
    let binary = env!("CARGO_BIN_EXE_vang");
    let script = format!("mount --bind {} /etc/hosts && exec {binary} net {args} \"$@\"", file.display());
    let mut command = hosts.on(0, "unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    command
}

#[test]
fn the_source_of_an_answer_is_named_with_how_it_is_known() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let lines = "127.0.0.1 localhost\n# comment\n10.9.1.2 real.example alias.example\n";
    let (_, objects) = objects(with_hosts_file(&hosts, dir.path(), lines, "resolve alias.example"));
    let source = of(&objects, "source")[0];
    assert_eq!(
        (&source["source"], &source["how"]),
        (&"files".into(), &"/etc/hosts, line 3".into()),
        "{source}"
    );
    assert!(source["order"].as_array().unwrap().contains(&"files".into()), "{source}");
    let first = of(&objects, "address")[0];
    assert_eq!(first["canonical"], "real.example", "{first}");
    let (said, _) = said(with_hosts_file(&hosts, dir.path(), lines, "resolve alias.example"));
    assert!(said.contains("source: files (the hosts file): /etc/hosts, line 3; the order is "), "{said}");
    assert!(said.contains("what this means: 'alias.example' is an alias of real.example"), "{said}");
}

#[test]
fn dns_is_named_only_after_it_gave_the_same_addresses_again() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let mut server = hosts.name_server("10.9.1.77");
    let output = hosts.vang_asking(dir.path(), "net resolve real.example --json").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let source = of(&lines, "source")[0];
    assert_eq!(source["source"], "dns", "{source}");
    let how = source["how"].as_str().unwrap();
    assert!(
        how.contains("getent -s dns") && how.contains("name servers of /etc/resolv.conf: 10.9.1.2"),
        "{how}"
    );
    assert!(how.contains("before it files did not give these addresses"), "{how}");
    assert_eq!(server.line(), "asked");
}

#[test]
fn a_name_of_several_addresses_in_bind_is_reported() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let lines = "10.9.1.1 both.example\nfd09:1::1 both.example\n";
    for tool in [
        "echo serve --once --listen both.example:0",
        "echo serve --udp --listen both.example:0",
        "stall serve --listen both.example:0",
    ] {
        let (_, objects) =
            objects(with_hosts_file(&hosts, dir.path(), lines, &format!("{tool} --timeout 50ms")));
        let chosen = of(&objects, "one-of-several")[0];
        assert_eq!(chosen["host"], "both.example");
        let bound = chosen["bound"].as_str().unwrap();
        let not_bound = chosen["not_bound"][0].as_str().unwrap();
        let is_v6 = |address: &str| address.starts_with("[fd09:1::1]:");
        let is_v4 = |address: &str| address.starts_with("10.9.1.1:");
        // Only the bound address has a port: port 0 is any free port.
        assert!(
            is_v6(bound) && not_bound == "10.9.1.1" || is_v4(bound) && not_bound == "[fd09:1::1]",
            "{chosen}"
        );
    }
}

#[test]
fn which_address_to_give_is_shown_with_this_machines_own() {
    let hosts = Hosts::in_a_row(2);
    let output = hosts.vang(0, &["net", "resolve", ""]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for part in [
        "clients on this machine: the server listens on 127.0.0.1 or [::1], or unix:PATH",
        "clients on other machines: the server listens on an empty host, as in :65432",
        "10.9.1.1 (up1, private: networks of this site only)",
        "clients on the same link",
        "%up1; they connect to that address with the scope of their own interface",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_link_local_address_without_its_scope_is_explained() {
    let (lines, _) = said(resolve(&["fe80::1", "7000"]));
    assert!(lines.contains("scope missing (a link-local address needs the name of its interface"), "{lines}");
    assert!(lines.contains("as in fe80::1%eth0"), "{lines}");
}

#[test]
fn the_timeout_holds_while_a_name_is_looked_up_and_so_does_ctrl_c() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let mut silent = hosts.silent_name_server();
    let asking = |how: &str| hosts.vang_asking(dir.path(), &format!("net resolve nobody.example {how}"));
    let output = asking("--timeout 300ms").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{stderr}");
    let expected = "vang: cannot resolve 'nobody.example': timed out (no DNS server answered in time)\n  use the host's address";
    assert!(stderr.starts_with(expected), "{stderr}");
    assert_eq!(silent.line(), "asked", "it was the resolver that was waited for");

    // Ctrl-C prints a summary without waiting for the resolver.
    let mut waits = Tail::start(asking("--json"));
    while !catches(waits.pid(), Signal::INT) {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &waits.pid().to_string()]).status().unwrap().success());
    let all = waits.json();
    assert_eq!((&all["event"], &all["resolved_us"]), (&"summary".into(), &Value::Null));
    assert_eq!(waits.wait().code(), Some(1));
}

#[test]
fn an_ambiguous_ipv4_address_gets_a_warning() {
    for (host, word, rule) in [
        (
            "010.0.0.1",
            "this system's resolver reads '010.0.0.1' as 8.0.0.1",
            "a number with a leading 0 is octal",
        ),
        ("0x7f.0.0.1", "'0x7f.0.0.1' as 127.0.0.1", "a number with a leading 0x is hexadecimal"),
        ("127.1", "'127.1' as 127.0.0.1", "with fewer than four numbers the last one fills the rest"),
    ] {
        let (lines, stderr) = said(resolve(&[host]));
        assert!(
            lines.contains(word) && lines.contains(rule) && lines.contains("RFC 6943"),
            "{lines} {stderr}"
        );
        // Other tools refuse it, with advice what to write.
        let means = word.split_whitespace().last().unwrap();
        let place = format!("{host}:7441");
        for args in [
            &["net", "doctor", &place][..],
            &["net", "echo", "send", &place],
            &["rooms", "--server", &place],
            &["serve", "--data", "/nonexistent", "--listen", &place],
        ] {
            let output = vang().args(args).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(&format!("write {means} if you mean that")), "{stderr}");
        }
    }
    let (lines, _) = said(resolve(&["127.0.0.1"]));
    assert!(!lines.contains("octal") && !lines.contains("RFC 6943"), "{lines}");
}
