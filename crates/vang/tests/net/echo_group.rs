//! `vang net echo` over UDP to several hosts: broadcast and multicast, in a network of its own, and what goes wrong there.

use serde_json::Value;

use crate::harness::Tail;
use crate::harness::hosts::Hosts;

/// An echo server on host 1.
fn serve(hosts: &Hosts, args: &[&str]) -> Tail {
    let mut tail = Tail::start(hosts.vang(1, &[&["net", "echo", "serve", "--udp", "--json"], args].concat()));
    assert_eq!(tail.json()["event"], "listening");
    tail
}

/// A client on host 0: its exit code, objects and errors.
fn send(hosts: &Hosts, args: &str) -> (Option<i32>, Vec<Value>, String) {
    let words = ["net", "echo", "send", "--udp", "--json"].into_iter().chain(args.split(' '));
    let output = hosts.vang(0, &words.collect::<Vec<_>>()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), objects, String::from_utf8(output.stderr).unwrap())
}

fn peers(objects: &[Value]) -> Vec<&str> {
    let answers = objects.iter().filter(|object| object["event"] == "answer");
    answers.map(|answer| answer["peer"].as_str().unwrap()).collect()
}

#[test]
fn a_broadcast_needs_its_option_and_reaches_the_network() {
    let hosts = Hosts::in_a_row(2);
    let _server = serve(&hosts, &["--listen", ":7000"]);
    let (code, _, errors) = send(&hosts, "10.9.1.255:7000");
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("which needs SO_BROADCAST") && errors.contains("add --broadcast"), "{errors}");
    let (code, objects, errors) = send(&hosts, "10.9.1.255:7000 --broadcast");
    assert_eq!((code, peers(&objects)), (Some(0), vec!["10.9.1.2:7000"]), "{objects:?} {errors}");
    // The broadcast address of every network needs a route.
    let (code, _, errors) = send(&hosts, "<broadcast>:7000 --broadcast");
    assert_eq!(code, Some(1));
    assert!(errors.contains("no route says on which network a broadcast"), "{errors}");
    hosts.sh(0, "ip route add default dev up1");
    let (code, objects, errors) = send(&hosts, "<broadcast>:7000 --broadcast");
    assert_eq!((code, peers(&objects)), (Some(0), vec!["10.9.1.2:7000"]), "{objects:?} {errors}");
    let (code, _, errors) = send(&hosts, "<broadcast>:7000");
    assert!(code == Some(1) && errors.contains("SO_BROADCAST"), "{errors}");
    // By TCP: the way that can do it is named.
    for (host, way) in [("<broadcast>", "--udp --broadcast`"), ("239.1.2.3", "GROUP:PORT --udp`")] {
        let output = hosts.vang(0, &["net", "echo", "send", host, "9"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && errors.contains(way), "{errors}");
    }
    // A server on one address is given no broadcasts.
    let _server = serve(&hosts, &["--listen", "10.9.1.2:7001"]);
    let (code, objects, _) = send(&hosts, "10.9.1.255:7001 --broadcast");
    assert_eq!((code, peers(&objects).len()), (Some(1), 0));
    assert!(objects.last().unwrap()["text"].as_str().unwrap().starts_with("no host answered"), "{objects:?}");
}

#[test]
fn a_group_reaches_those_that_joined_it() {
    let hosts = Hosts::in_a_row(2);
    let _member = serve(
        &hosts,
        &["--listen", ":7000", "--join", "239.1.2.3", "--join", "ff05::7", "--interface", "down1"],
    );
    let _other = serve(&hosts, &["--listen", ":7001"]);
    let (code, _, errors) = send(&hosts, "239.1.2.3:7000");
    assert_eq!(code, Some(1));
    assert!(errors.contains("no route says through which interface this group is reached"), "{errors}");
    for (group, from) in [("239.1.2.3:7000", "10.9.1.2:7000"), ("[ff05::7]:7000", "[fd09:1::2]:7000")] {
        let (code, objects, errors) = send(&hosts, &format!("{group} --interface up1"));
        assert_eq!((code, peers(&objects)), (Some(0), vec![from]), "{objects:?} {errors}");
    }
    let (code, objects, _) = send(&hosts, "239.1.2.3:7001 --interface up1 --ttl 2");
    assert_eq!(code, Some(1));
    assert!(
        objects.last().unwrap()["text"].as_str().unwrap().starts_with("no member of the group"),
        "{objects:?}"
    );
    for (typed, said) in [
        ("239.1.2.3:7000 --interface eth7", "no interface 'eth7'; this machine has lo, up1"),
        ("239.1.2.3:7000 --count 5", "a group"),
        ("127.0.0.1:7000 --ttl 3", "--ttl"),
    ] {
        let (code, _, errors) = send(&hosts, typed);
        assert_eq!(code, Some(2), "{typed}: {errors}");
        assert!(errors.contains(said), "{typed}: {errors}");
    }
}

#[test]
fn a_server_says_why_it_cannot_join_a_group() {
    let hosts = Hosts::in_a_row(2);
    for (typed, code, said) in [
        (
            "--listen 10.9.1.2:7000 --join 239.1.2.3",
            2,
            "a socket bound to one address of this machine is given no",
        ),
        ("--listen :7000 --join 10.9.1.2", 2, "is no multicast group"),
        ("--listen :7000 --join 239.1.2.3", 1, "no route says through which interface"),
    ] {
        let words = ["net", "echo", "serve", "--udp"].into_iter().chain(typed.split(' '));
        let output = hosts.vang(1, &words.collect::<Vec<_>>()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}
