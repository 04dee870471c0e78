//! Row 16 of the checklist: every error that a person meets on a socket, met on purpose with the tools of `vang net`:
//! its name, its likely cause, what to do. (`doors/errors.rs` meets them with `vang serve` and its clients.)

use std::net::TcpListener;
use std::process::Command;

use crate::harness::hosts::Hosts;
use crate::harness::vang;

/// Everything that it says, on both ways; it must end with this exit code.
fn says(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(!said.contains("os error"), "{said}");
    said
}

fn has(said: &str, name: &str, cause: &str, advice: &str) {
    assert!(said.contains(&format!("{name} ({cause}")), "{said}");
    assert!(said.contains(advice), "{said}");
}

fn net(args: &[&str]) -> Command {
    let mut command = vang();
    command.arg("net").args(args);
    command
}

fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn connection_refused() {
    let port = closed_port();
    for said in [
        says(net(&["resolve", "127.0.0.1", &port]), 1),
        says(net(&["ping", "127.0.0.1", "--tcp", &port, "--count", "1"]), 1),
    ] {
        has(&said, "connection refused", "is the server running there?", "check the host and the port");
    }
}

#[test]
fn network_unreachable_by_this_machines_own_routes_or_by_a_routers_word() {
    let hosts = Hosts::in_a_row(3);
    hosts.sh(0, "ip route del default; ip -6 route del default");
    for host in ["10.99.0.1", "fd99::1"] {
        let cause = "has this machine a network, and a way to that address?";
        let said = says(hosts.vang(0, &["net", "resolve", host, "80"]), 1);
        has(&said, "network unreachable", cause, "`ip route get ADDRESS` shows the way");
        let said = says(hosts.vang(0, &["net", "ping", host, "--count", "1"]), 1);
        assert!(said.contains("this machine: network unreachable, seq 1\n"), "{said}");
        has(&said, "network unreachable", cause, "`ip route get ADDRESS` shows the way");
    }
    hosts.sh(0, "ip route add default via 10.9.1.2");
    let said = says(hosts.vang(0, &["net", "resolve", "10.99.0.1", "80"]), 1);
    has(&said, "network unreachable", "has this machine a network", "check the network");
}

#[test]
fn host_unreachable() {
    let hosts = Hosts::in_a_row(3);
    hosts.sh(1, "ip route add unreachable 10.98.0.0/16");
    let said = says(hosts.vang(0, &["net", "resolve", "10.98.0.1", "80"]), 1);
    has(
        &said,
        "host unreachable",
        "is the host on, and in a network that this machine reaches?",
        "check the address",
    );
    // Nobody on the cable answers to the address: the kernel itself gives up, after three questions.
    let said = says(hosts.vang(0, &["net", "ping", "10.9.1.99", "--count", "1", "--wait", "60s"]), 1);
    assert!(said.contains("10.9.1.1: host unreachable (3/1), seq 1"), "{said}");
    assert!(said.contains("what this means: host unreachable (3/1): the last router found nobody"), "{said}");
}

#[test]
fn timed_out() {
    // A queue that is full: the kernel drops what would come next.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let first = std::net::TcpStream::connect(address).unwrap();
    let port = address.port().to_string();
    let cause = "is the host on, and does a firewall let this port through?";
    let said = says(net(&["resolve", "127.0.0.1", &port, "--timeout", "200ms"]), 124);
    has(&said, "timed out", cause, "timed out");
    let said = says(net(&["ping", "127.0.0.1", "--tcp", &port, "--count", "1", "--wait", "200ms"]), 1);
    has(&said, "timed out", cause, "give it longer with --timeout");
    drop(first);
}

#[test]
fn permission_denied_by_a_firewall_of_this_machine() {
    let hosts = Hosts::in_a_row(2);
    hosts.sh(0, "ip route add prohibit 10.97.0.0/16");
    let said = says(hosts.vang(0, &["net", "resolve", "10.97.0.1", "80"]), 1);
    let cause = "is the socket another user's, or does a firewall of this machine forbid it?";
    has(&said, "permission denied", cause, "look at the firewall's rules");
}

#[test]
fn a_port_that_is_none() {
    for port in ["65536", "-1", "http", ""] {
        let said = says(net(&["resolve", "localhost", "--", port]), 2);
        assert!(said.contains("port"), "{said}");
    }
    for port in ["0", "65536", "http"] {
        let said = says(net(&["ping", "localhost", "--tcp", port]), 2);
        assert!(said.contains("--tcp <PORT>") && said.contains("ports are 1 to 65535"), "{said}");
    }
}

#[test]
fn name_not_found() {
    for args in [&["resolve", "does-not-exist.invalid"][..], &["ping", "does-not-exist.invalid"]] {
        let said = says(net(args), 1);
        assert!(said.starts_with("vang: cannot resolve 'does-not-exist.invalid': name "), "{said}");
        // Without a name server the system cannot tell that nobody has it.
        let known =
            ["name not found (no host has this name", "name cannot be looked up now (no name server answers"];
        assert!(known.iter().any(|name| said.contains(name)), "{said}");
        assert!(said.contains("use the host's address"), "{said}");
    }
}
