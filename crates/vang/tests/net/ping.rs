//! vang net ping in network namespaces: a host, a router, another host. The kernels' real answers are compared with the
//! output of iputils' ping.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::hosts::Hosts;
use crate::harness::{Tail, folder};

/// The far host, behind the router.
const FAR: [&str; 2] = ["10.9.2.2", "fd09:2::2"];

/// Allows ICMP datagram sockets for every group of the first host, as most distributions do; a new namespace allows none.
fn allow_datagrams(hosts: &Hosts) {
    // The user namespace of a test has one group.
    let last = if rustix::process::geteuid().is_root() { i32::MAX } else { 0 };
    hosts.sh(0, &format!("echo '0 {last}' > /proc/sys/net/ipv4/ping_group_range"));
}

/// A host, a router with rules, and a far host whose addresses .12 and .13 refuse echo requests.
fn routed() -> Hosts {
    let hosts = Hosts::in_a_row(3);
    // The router has no route to 10.99.0.0/16 and fd99::/16.
    hosts.sh(1, "ip route add unreachable 10.98.0.0/16 && ip route add prohibit 10.97.0.0/16");
    hosts.sh(1, "ip -6 route add prohibit fd97::/16 && ip link set up2 mtu 1400");
    hosts.sh(
        2,
        "ip link set down2 mtu 1400
         for n in 12 13; do ip addr add 10.9.2.$n/24 dev down2; ip addr add fd09:2::$n/64 dev down2 nodad; done
         nft -f - <<'END'
         table inet t {
           counter asked4 {}
           counter asked6 {}
           chain in {
             type filter hook input priority 0;
             icmp type 8 icmp code 0 counter name asked4
             icmpv6 type 128 icmpv6 code 0 counter name asked6
             ip daddr 10.9.2.12 icmp type echo-request reject with icmp type prot-unreachable
             ip daddr 10.9.2.13 icmp type echo-request reject with icmp type port-unreachable
             ip6 daddr fd09:2::12 icmpv6 type echo-request reject with icmpv6 type addr-unreachable
             ip6 daddr fd09:2::13 icmpv6 type echo-request reject with icmpv6 type port-unreachable
           }
         }
END",
    );
    hosts
}

fn ping(hosts: &Hosts, args: &[&str]) -> Command {
    hosts.vang(0, &[&["net", "ping"], args].concat())
}

/// Its exit code and records.
fn objects(mut command: Command) -> (i32, Vec<Value>) {
    let output = command.arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!objects.is_empty(), "{stderr}");
    (output.status.code().unwrap(), objects)
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One probe to `host`: sender, type, code and name of the answer.
fn answered(hosts: &Hosts, more: &[&str], host: &str) -> (i32, Value) {
    let (code, objects) = objects(ping(hosts, &[&[host, "--count", "1"], more].concat()));
    let came: Vec<&Value> = objects
        .iter()
        .filter(|object| ["reply", "error"].contains(&object["event"].as_str().unwrap()))
        .collect();
    assert_eq!(came.len(), 1, "{objects:?}");
    let came = came[0];
    assert_eq!(came["seq"], 1, "{came}");
    assert_eq!(of(&objects, "means").is_empty(), code == 0, "{objects:?}");
    (code, json!([came["from"], came["type"], came["code"], came["name"], came["mtu"]]))
}

#[test]
fn common_icmp_types_and_codes_are_named() {
    let long = ["--size", "1430"].as_slice();
    for way in ["datagram", "raw"] {
        let hosts = routed();
        if way == "datagram" {
            allow_datagrams(&hosts);
        }
        let (_, objects) = objects(ping(&hosts, &[FAR[0], "--count", "1"]));
        assert_eq!(objects[0]["socket"], way);
        for (host, more, right) in [
            (FAR[0], &[][..], json!([FAR[0], 0, 0, "echo reply", null])),
            ("10.99.0.1", &[], json!(["10.9.1.2", 3, 0, "network unreachable", null])),
            ("10.98.0.1", &[], json!(["10.9.1.2", 3, 1, "host unreachable", null])),
            ("10.9.2.12", &[], json!(["10.9.2.12", 3, 2, "protocol unreachable", null])),
            ("10.9.2.13", &[], json!(["10.9.2.13", 3, 3, "port unreachable", null])),
            (FAR[0], long, json!(["10.9.1.2", 3, 4, "fragmentation required and DF set", 1400])),
            ("10.97.0.1", &[], json!(["10.9.1.2", 3, 13, "communication administratively prohibited", null])),
            (FAR[0], &["--ttl", "1"], json!(["10.9.1.2", 11, 0, "TTL expired", null])),
            (FAR[1], &[], json!([FAR[1], 129, 0, "echo reply", null])),
            ("fd99::1", &[], json!(["fd09:1::2", 1, 0, "no route to destination", null])),
            ("fd97::1", &[], json!(["fd09:1::2", 1, 1, "communication administratively prohibited", null])),
            ("fd09:2::12", &[], json!(["fd09:2::12", 1, 3, "address unreachable", null])),
            ("fd09:2::13", &[], json!(["fd09:2::13", 1, 4, "port unreachable", null])),
            (FAR[1], long, json!(["fd09:1::2", 2, 0, "packet too big", 1400])),
            (FAR[1], &["--ttl", "1"], json!(["fd09:1::2", 3, 0, "hop limit exceeded", null])),
        ] {
            let (code, came) = answered(&hosts, more, host);
            assert_eq!(came, right, "{host} {more:?} by a {way} socket");
            assert_eq!(code, i32::from(!right[3].as_str().unwrap().contains("reply")), "{host} {more:?}");
        }
    }
}

#[test]
fn sent_packets_are_echo_requests_8_0() {
    let hosts = routed();
    for (far, counter) in [(FAR[0], "asked4"), (FAR[1], "asked6")] {
        objects(ping(&hosts, &[far, "--count", "3", "--interval", "1ms"]));
        let counted = hosts.sh(2, &format!("nft list counter inet t {counter}"));
        assert!(counted.contains("packets 3 "), "{counted}");
    }
    let mut command = ping(&hosts, &[FAR[0], "--count", "1", "--explain"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("send echo request (8/0), seq 1"), "{stderr}");
}

#[test]
fn packets_are_fragmented_after_the_mtu_is_known() {
    let hosts = routed();
    for far in FAR {
        let (code, objects) =
            objects(ping(&hosts, &[far, "--count", "2", "--interval", "300ms", "--size", "1430"]));
        let seqs = |event| of(&objects, event).iter().map(|object| object["seq"].clone()).collect::<Vec<_>>();
        assert_eq!((code, seqs("error"), seqs("reply")), (0, vec![json!(1)], vec![json!(2)]), "{objects:?}");
        let means = of(&objects, "means")[0]["text"].as_str().unwrap();
        assert!(means.contains("sends smaller pieces"), "{means}");
    }
}

/// The summary line of iputils' ping, and the lines before it.
fn pings(hosts: &Hosts, args: &[&str]) -> (i32, String) {
    let mut command = hosts.on(0, "ping");
    let output = command.args(["-n"]).args(args).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

#[test]
fn results_equal_those_of_iputils_ping() {
    for (host, more, theirs) in [
        (FAR[0], &[][..], "bytes from 10.9.2.2: icmp_seq=1 ttl=63"),
        (FAR[1], &[], "bytes from fd09:2::2: icmp_seq=1 ttl=63"),
        ("10.99.0.1", &[], "From 10.9.1.2 icmp_seq=1 Destination Net Unreachable"),
        ("10.98.0.1", &[], "From 10.9.1.2 icmp_seq=1 Destination Host Unreachable"),
        ("10.9.2.12", &[], "From 10.9.2.12 icmp_seq=1 Destination Protocol Unreachable"),
        ("10.9.2.13", &[], "From 10.9.2.13 icmp_seq=1 Destination Port Unreachable"),
        ("10.97.0.1", &[], "From 10.9.1.2 icmp_seq=1 Packet filtered"),
        (FAR[0], &["-t", "1"], "From 10.9.1.2 icmp_seq=1 Time to live exceeded"),
        ("fd99::1", &[], "From fd09:1::2 icmp_seq=1 Destination unreachable: No route"),
    ] {
        // New hosts each time: a router sends five errors in a row to one host, then one per second.
        let hosts = routed();
        let (their_code, their_text) = pings(&hosts, &[&["-c", "2", "-i", "0.2", host], more].concat());
        assert!(their_text.contains(theirs), "{their_text}");
        let (our_code, objects) = objects(ping(&hosts, &[&[host, "-c", "2", "-i", "200ms"], more].concat()));
        assert_eq!(our_code, their_code, "{host} {more:?}");
        let summary = of(&objects, "summary")[0];
        let (sent, received) = (&summary["sent"], &summary["received"]);
        let counted = format!("{sent} packets transmitted, {received} received");
        assert!(their_text.contains(&counted), "{counted}: {their_text}");
        let loss = format!("{}% packet loss", summary["loss_percent"].as_f64().unwrap());
        assert!(their_text.contains(&loss), "{loss}: {their_text}");
        for reply in of(&objects, "reply") {
            let ttl = format!("icmp_seq={} ttl={} ", reply["seq"], reply["ttl"]);
            assert!(their_text.contains(&ttl), "{ttl}: {their_text}");
        }
    }
}

#[test]
fn loss_is_counted_as_in_iputils() {
    let hosts = routed();
    // Every second echo request is dropped.
    hosts.sh(2, "nft add rule inet t in icmp type echo-request numgen inc mod 2 0 drop");
    let (_, theirs) = pings(&hosts, &["-c", "4", "-i", "0.2", "-W", "1", FAR[0]]);
    assert!(theirs.contains("4 packets transmitted, 2 received, 50% packet loss"), "{theirs}");
    let (code, objects) = objects(ping(&hosts, &[FAR[0], "-c", "4", "-i", "10ms", "--wait", "1s"]));
    let summary = of(&objects, "summary")[0];
    assert_eq!(
        (code, &summary["loss_percent"], &summary["lost"]),
        (0, &json!(50.0), &json!(2)),
        "{objects:?}"
    );
    let lost: Vec<_> = of(&objects, "lost").iter().map(|lost| lost["seq"].clone()).collect();
    assert_eq!(lost, [json!(1), json!(3)]);
    let means = of(&objects, "means")[0]["text"].as_str().unwrap();
    assert!(means.starts_with("some were lost: "), "{means}");
    hosts.sh(2, "nft insert rule inet t in icmp type echo-request drop");
    let mut command = ping(&hosts, &[FAR[0], "-c", "1", "--wait", "100ms"]);
    let output = command.output().unwrap();
    let lines = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        lines.contains("no answer, seq 1, after 0.10 s")
            || lines.contains("no answer, seq 1, after 100.00 ms"),
        "{lines}"
    );
    assert!(lines.contains("ICMP: 1 sent, 0 answers, 100.0 % loss, 1 without answer\n"), "{lines}");
    assert!(lines.contains("what this means: no answer and no error"), "{lines}");
}

/// Answers echo requests on the far host instead of the kernel; the Python code can change `packet`, the reply.
fn answers(hosts: &Hosts, lines: &str) -> Tail {
    hosts.sh(2, "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all");
    let program = format!(
        "import socket, struct\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n\
         print('ready', flush=True)\n\
         def send(p):\n  \
           p = bytes([0, 0, 0, 0]) + p[4:]\n  \
           n = sum(struct.unpack('!%dH' % (len(p) // 2), p)); n = (n >> 16) + (n & 0xffff); n += n >> 16\n  \
           s.sendto(p[:2] + struct.pack('!H', ~n & 0xffff) + p[4:], who)\n\
         held = []\n\
         while True:\n  \
           packet, who = s.recvfrom(65535)\n  \
           packet = packet[20:]\n  \
           if packet[0] != 8: continue\n  \
           {lines}\n"
    );
    let mut command = hosts.on(2, "python3");
    command.args(["-c", &program]);
    let mut tail = Tail::start(command);
    assert_eq!(tail.line(), "ready");
    tail
}

#[test]
fn duplicates_damage_and_late_answers_are_reported() {
    let hosts = routed();
    let responder = answers(&hosts, "send(packet); send(packet[:-2] + b'xx')");
    let (code, objects) = objects(ping(&hosts, &[FAR[0], "-c", "2", "-i", "200ms"]));
    assert_eq!(code, 0);
    let replies = of(&objects, "reply");
    assert_eq!(replies[0]["duplicate"], false, "{objects:?}");
    assert_eq!(replies[0].get("damaged_at"), None, "{objects:?}");
    assert_eq!(
        (&replies[1]["duplicate"], &replies[1]["damaged_at"]),
        (&json!(true), &json!(54)),
        "{objects:?}"
    );
    assert_eq!(of(&objects, "means").len(), 1);
    drop(responder);
    // The first answer comes with the second, after it was given up.
    let responder = answers(&hosts, "held.append(packet); [send(p) for p in held] if len(held) == 2 else 0");
    let (_, late) = crate::ping::objects(ping(&hosts, &[FAR[0], "-c", "2", "-i", "1s", "--wait", "100ms"]));
    drop(responder);
    assert_eq!(of(&late, "lost")[0]["seq"], 1, "{late:?}");
    let first = of(&late, "reply").into_iter().find(|reply| reply["seq"] == 1).unwrap();
    assert_eq!(first["late"], true, "{late:?}");
    assert_eq!(
        (&of(&late, "summary")[0]["received"], &of(&late, "summary")[0]["lost"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn an_old_answer_does_not_count_for_the_next_run() {
    let hosts = routed();
    // Every request gets the first answer again, which a raw socket receives.
    let responder = answers(&hosts, "held.append(packet); send(held[0])");
    let args = [FAR[0], "--tcp", "9", "--count", "2", "--interval", "10ms", "--wait", "300ms"];
    let (code, objects) = objects(ping(&hosts, &args));
    drop(responder);
    assert_eq!(code, 1, "nobody listens there");
    let icmp = of(&objects, "summary").into_iter().find(|summary| summary["layer"] == "ICMP").unwrap();
    assert_eq!(
        (&icmp["sent"], &icmp["received"], &icmp["lost"]),
        (&json!(2), &json!(1), &json!(1)),
        "{icmp}"
    );
}

#[test]
fn answers_from_elsewhere_and_forged_packets_are_recognised() {
    let hosts = routed();
    // Broken, short and foreign packets are ignored; then comes the answer, from another address.
    let lines = "other = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); \
                 other.bind(('10.9.2.12', 0)); \
                 [s.sendto(p, who) for p in (b'\\0\\0ab' + packet[4:], b'\\0' * 2, b'\\0' * 7, b'\\3\\1\\0\\0' * 4, b'\\0' * 8)]; \
                 real = s; s = other; send(packet); s = real";
    for way in ["datagram", "raw"] {
        if way == "datagram" {
            allow_datagrams(&hosts);
        } else {
            hosts.sh(0, "echo '1 0' > /proc/sys/net/ipv4/ping_group_range");
        }
        let responder = answers(&hosts, lines);
        let (code, objects) = objects(ping(&hosts, &[FAR[0], "-c", "2", "-i", "50ms"]));
        assert_eq!((code, &objects[0]["socket"]), (0, &json!(way)), "{objects:?}");
        let replies = of(&objects, "reply");
        assert_eq!(replies.len(), 2, "{objects:?}");
        for reply in replies {
            assert_eq!((&reply["from"], &reply["elsewhere"]), (&json!("10.9.2.12"), &json!(true)));
        }
        assert_eq!(of(&objects, "error").len(), 0, "{objects:?}");
        drop(responder);
    }
    let (_, objects) = objects(ping(&hosts, &["10.9.1.2", "-c", "1"]));
    assert_eq!(of(&objects, "reply")[0]["elsewhere"], false);
}

#[test]
fn a_link_local_address_works_only_with_its_scope() {
    let hosts = Hosts::in_a_row(2);
    let output = ping(&hosts, &["fe80::1", "-c", "1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("vang: cannot ping fe80::1: scope missing ("), "{stderr}");
    let far = format!("{}%up1", hosts.link_local(1, "down1"));
    let (code, objects) = objects(ping(&hosts, &[&far, "-c", "1"]));
    assert_eq!((code, &of(&objects, "reply")[0]["elsewhere"]), (0, &json!(false)), "{objects:?}");
}

#[test]
fn ctrl_c_ends_it_with_its_summary() {
    let hosts = routed();
    let mut tail = Tail::start(ping(&hosts, &[FAR[0], "--interval", "20ms"]));
    assert!(tail.line().contains("is 10.9.2.2 (IPv4); ICMP echo by a"));
    for seq in 1..=2 {
        assert!(tail.line().contains(&format!("echo reply (0/0), seq {seq}, TTL 63, ")));
    }
    Command::new("kill").args(["-INT", &tail.pid().to_string()]).status().unwrap();
    assert!(tail.wait().success());
    let rest = tail.until_end();
    let place = rest.iter().position(|line| line.starts_with("ICMP: ")).unwrap();
    assert!(rest[place].contains(", 0.0 % loss"), "{rest:?}");
    assert!(rest[place + 1].starts_with("  min ") && rest[place + 1].contains("99 % within"), "{rest:?}");
}

#[test]
fn the_timeout_ends_it() {
    let hosts = routed();
    let (code, objects) = objects(ping(&hosts, &[FAR[0], "--interval", "10s", "--timeout", "2s"]));
    assert_eq!(
        (code, &of(&objects, "summary")[0]["received"]),
        (0, &json!(1)),
        "a ping without a count: {objects:?}"
    );
    let args = [FAR[0], "--interval", "10s", "--count", "2", "--timeout", "500ms"];
    let (code, objects) = crate::ping::objects(ping(&hosts, &args));
    assert_eq!((code, &of(&objects, "summary")[0]["sent"]), (124, &json!(1)), "not all that were asked for");
}

#[test]
fn without_permission_for_a_socket_it_prints_advice() {
    let dir = folder();
    let copy = dir.path().join("vang");
    std::fs::copy(env!("CARGO_BIN_EXE_vang"), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let hosts = Hosts::in_a_row(2);
    let mut command = hosts.on(0, "setpriv");
    // The user namespace of a test has no other user; root without capabilities has the same effect.
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(&copy)
        .args(["net", "ping", "10.9.1.2", "-c", "1"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with(
            "vang: cannot open an ICMP socket, neither a datagram socket nor a raw one: permission denied ("
        ),
        "{stderr}"
    );
    assert!(
        stderr.contains("sysctl -w net.ipv4.ping_group_range") && stderr.contains("cap_net_raw"),
        "{stderr}"
    );
    // With permission for all groups it works.
    allow_datagrams(&hosts);
    let output = command.output().unwrap();
    let lines = text(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(lines.contains("ICMP echo by an unprivileged datagram socket"), "{lines}");
}
