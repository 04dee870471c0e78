//! vang net ping layer by layer: with a real server, and with peers that fail at one layer on purpose.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::hosts::Hosts;
use crate::harness::{Server, folder, refusing, vang};

fn ping(args: &[&str]) -> Command {
    let mut command = vang();
    command.args(["net", "ping"]).args(args).args(["--interval", "10ms"]);
    command
}

/// Its exit code and records.
fn objects(mut command: Command) -> (i32, Vec<Value>) {
    let output = command.arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!objects.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), objects)
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

/// The layers of the first probe (without ICMP, which this machine can forbid), the failing one, and its meaning.
fn probed(objects: &[Value]) -> (Vec<String>, Value, String) {
    let probe = of(objects, "probe")[0];
    let names =
        probe["steps"].as_array().unwrap().iter().map(|step| step["layer"].as_str().unwrap().to_owned());
    let means = of(objects, "means").first().map_or("", |means| means["text"].as_str().unwrap()).to_owned();
    (names.filter(|name| name != "ICMP").collect(), probe["failed"].clone(), means)
}

/// A server that handles every connection like this until the test ends; its port.
fn a_server_that(does: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || listener.incoming().for_each(|stream| does(stream.unwrap())));
    port
}

#[test]
fn every_layer_of_a_server_is_measured() {
    let dir = folder();
    let server = Server::start(&dir.path().join("data"));
    let port = server.socket_addr().port().to_string();
    for (flag, layers) in [("--tcp", &["TCP"][..]), ("--tls", &["TCP", "TLS"]), ("--vang", &["TCP", "vang"])]
    {
        let (code, objects) = objects(ping(&["127.0.0.1", flag, &port, "--count", "3"]));
        let (names, failed, means) = probed(&objects);
        assert_eq!((code, failed, means.as_str()), (0, Value::Null, ""), "{objects:?}");
        assert_eq!(names, layers);
        for layer in layers {
            let summary =
                of(&objects, "summary").into_iter().find(|summary| summary["layer"] == *layer).unwrap();
            assert_eq!((&summary["sent"], &summary["received"]), (&json!(3), &json!(3)), "{summary}");
            assert!(summary["min_us"].as_f64().unwrap() > 0.0);
            assert!(summary["p99_us"].as_f64().unwrap() <= summary["max_us"].as_f64().unwrap());
        }
    }
    let output = ping(&["localhost", "--vang", &port, "--count", "1"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains(&format!("127.0.0.1:{port}, seq 1: ")), "{lines}");
    assert!(lines.contains("\nvang: 1 sent, 1 answer, 0.0 % loss\n  min "), "{lines}");
}

#[test]
fn other_machines_are_pinged_over_tls_in_both_families() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let data = dir.path().join("data");
    let mut command = hosts.vang(1, &["serve", "--listen", ":65432", "--data"]);
    command.arg(&data);
    let _server = Server::spawn(command, &data);
    for address in ["10.9.1.2", "fd09:1::2"] {
        let (code, objects) =
            objects(hosts.vang(0, &["net", "ping", address, "--vang", "65432", "--count", "1"]));
        assert_eq!(code, 0, "{objects:?}");
        assert_eq!(probed(&objects).0, ["TCP", "TLS", "vang"]);
    }
    // With ICMP dropped, the layers above show that the host works.
    hosts.sh(1, "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all");
    let args =
        ["net", "ping", "10.9.1.2", "--tcp", "65432", "--count", "2", "--wait", "200ms", "--interval", "1ms"];
    let (code, objects) = objects(hosts.vang(0, &args));
    assert_eq!(code, 0);
    assert!(
        probed(&objects).2.starts_with("no answer to ICMP while the layers above it work"),
        "{objects:?}"
    );
    let icmp = of(&objects, "summary")[0];
    assert_eq!((&icmp["layer"], &icmp["sent"], &icmp["lost"]), (&json!("ICMP"), &json!(1), &json!(1)));
}

#[test]
fn the_failing_layer_is_named_after_testing_those_below() {
    let nobody = refusing();
    let closed = nobody.addr.port().to_string();
    let answers = |bytes: &'static [u8]| {
        move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 1_000]);
            let _ = stream.write_all(bytes);
        }
    };
    let ssh = a_server_that(answers(b"SSH-2.0-Open\x1b[31mSSH\r\n"));
    let resets = a_server_that(|mut stream| {
        let _ = stream.read(&mut [0; 1]);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let kept = std::sync::Mutex::new(Vec::new());
    let silent = a_server_that(move |stream| kept.lock().unwrap().push(stream));
    for (flag, port, failed, tried, means) in [
        ("--tcp", &closed, "TCP", &["TCP"][..], "connection refused (is the server running there?)"),
        ("--tls", &closed, "TCP", &["TCP"], "connection refused"),
        ("--tls", &ssh, "TLS", &["TCP", "TLS"], "the failing layer is TLS: no TLS: "),
        ("--tls", &resets, "TLS", &["TCP", "TLS"], "connection reset by peer (the other side crashed"),
        (
            "--tls",
            &silent,
            "TLS",
            &["TCP", "TLS"],
            "timed out (the other side, or the network, stopped answering)",
        ),
        (
            "--vang",
            &ssh,
            "vang",
            &["TCP", "vang"],
            "the failing layer is vang: not a vang server: it sent \"SSH-2.0-Open\\u{1b}[31mSSH\\r\\n\"",
        ),
        ("--vang", &resets, "vang", &["TCP", "vang"], "connection reset by peer"),
        ("--vang", &silent, "vang", &["TCP", "vang"], "TCP below it works: a program listens on port"),
    ] {
        let (code, objects) = objects(ping(&["127.0.0.1", flag, port, "--count", "2", "--wait", "200ms"]));
        let (names, at, text) = probed(&objects);
        assert_eq!(
            (code, at, names),
            (1, json!(failed), tried.iter().map(ToString::to_string).collect()),
            "{objects:?}"
        );
        assert!(text.contains(means), "{flag}: {text}");
        assert!(text.contains(". What to do: "), "{text}");
    }
}

#[test]
fn a_failing_route_is_named_instead_of_tcp() {
    let hosts = Hosts::in_a_row(3);
    hosts.sh(1, "ip route add unreachable 10.98.0.0/16");
    let args = ["net", "ping", "10.98.0.1", "--tcp", "80", "--count", "1"];
    let (code, unreachable) = objects(hosts.vang(0, &args));
    let (_, failed, means) = probed(&unreachable);
    assert_eq!((code, failed), (1, json!("TCP")));
    assert!(
        means.starts_with(
            "the failing layer is IP, the route to the host: 10.9.1.2: host unreachable (3/1); TCP"
        ),
        "{means}"
    );
    // A host that drops everything.
    hosts.sh(2, "nft -f - <<'END'\ntable inet t {\nchain in {\ntype filter hook input priority 0; policy drop;\n}\n}\nEND");
    let args = ["net", "ping", "10.9.2.2", "--tcp", "80", "--count", "1", "--wait", "200ms"];
    let (_, silent) = objects(hosts.vang(0, &args));
    let (_, _, means) = probed(&silent);
    assert!(means.contains("no answer to ICMP or TCP (timed out (is the host on"), "{means}");
    // A reachable host whose firewall drops the port.
    hosts.sh(2, "nft add rule inet t in icmp type echo-request accept");
    let (_, firewall) = objects(hosts.vang(0, &args));
    let (_, _, means) = probed(&firewall);
    assert!(
        means.starts_with(
            "the failing layer is TCP, at port 80: timed out (is the host on, and does a firewall"
        ),
        "{means}"
    );
    assert!(means.contains("The host is on and reachable"), "{means}");
}
