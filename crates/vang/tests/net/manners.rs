//! What every tool owes whoever uses it, whatever else it does: it ends when it is told to, at once; its last word is a
//! summary; with `--json` each line is an object and nothing else; its exit code can be relied on. By both families.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{lines_of, vang, wait};

/// What a tool is for decides what it means that it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// It goes on until it is told to end: then all is well.
    Endless,
    /// It was asked a question, and stopped before it had the answer: that is no yes.
    Asked,
}

/// Every tool at something that does not end by itself: a server that accepts and says nothing, or nobody who comes.
fn tools(host: &str, port: u16) -> Vec<(Is, Vec<String>)> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let free = address.replace(&format!(":{port}"), ":0");
    let port = port.to_string();
    let typed: [(Is, &str); 19] = [
        (Is::Endless, "echo serve --listen FREE"),
        (Is::Endless, "echo serve --listen FREE --model sequential"),
        (Is::Endless, "echo serve --listen FREE --model threads"),
        (Is::Endless, "echo serve --listen FREE --model async"),
        (Is::Endless, "echo serve --listen FREE --udp"),
        (Is::Asked, "echo send ADDRESS"),
        (Is::Asked, "echo send ADDRESS --udp --duration 1h --rate 1"),
        (Is::Asked, "echo send --compare --duration 1h"),
        (Is::Endless, "stall serve --listen FREE"),
        (Is::Endless, "sockets --watch --port PORT --state listen"),
        (Is::Asked, "ping HOST --tls PORT --wait 1h"),
        (Is::Asked, "ping HOST --vang PORT --wait 1h"),
        (Is::Endless, "tap --listen FREE --to ADDRESS"),
        (Is::Endless, "tap --listen FREE --to ADDRESS --delay 1h --jitter"),
        (Is::Asked, "decode -"),
        (Is::Asked, "doctor ADDRESS --wait 1h"),
        (Is::Asked, "conform ADDRESS"),
        (Is::Asked, "conform --listen FREE"),
        (Is::Endless, "ping HOST --tcp PORT"),
    ];
    let word = |word: &str| match word {
        "FREE" => free.clone(),
        "ADDRESS" => address.clone(),
        "HOST" => host.to_owned(),
        "PORT" => port.clone(),
        other => other.to_owned(),
    };
    typed.into_iter().map(|(is, line)| (is, line.split(' ').map(word).collect())).collect()
}

/// Is Ctrl-C this process's own by now? Before, it ends it as it ends any.
fn listens_for_ctrl_c(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() & 1 << (Signal::INT.as_raw() - 1) != 0
}

/// Runs it until it ends, by Ctrl-C if it is given no time; gives its exit code and the last of its objects.
fn ends(args: &[String], timeout: Option<&str>) -> (i32, Value) {
    let mut command: Command = vang();
    command.arg("net").args(args).arg("--json");
    if let Some(timeout) = timeout {
        command.args(["--timeout", timeout]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    if timeout.is_none() {
        while !listens_for_ctrl_c(child.id()) {
            assert!(child.try_wait().unwrap().is_none(), "{args:?} ended by itself");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    }
    // Its stdin stays open: whoever types has not finished.
    let stdin = child.stdin.take();
    let status = wait(&mut child);
    drop(stdin);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let objects: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{args:?}: {line} is no object")))
        .collect();
    let code = status.code().unwrap_or_else(|| panic!("{args:?} ended by {status}"));
    // What it means may be said behind it.
    let last = objects.iter().rfind(|object| object["event"] != "means");
    let last = last.unwrap_or_else(|| panic!("{args:?} said nothing, but: {said}"));
    assert_eq!(last["event"], "summary", "{args:?}: {last}");
    (code, last.clone())
}

fn each(judge: impl Fn(Is, &[String])) {
    let hosts: [(&str, TcpListener); 2] = [
        ("127.0.0.1", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()),
        ("::1", TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap()),
    ];
    for (host, mute) in &hosts {
        for (is, args) in tools(host, mute.local_addr().unwrap().port()) {
            judge(is, &args);
        }
    }
}

#[test]
fn ctrl_c_ends_every_tool_with_its_summary() {
    each(|is, args| {
        let (code, last) = ends(args, None);
        assert_eq!(code, i32::from(is == Is::Asked), "{args:?}: {last}");
    });
}

#[test]
fn a_timeout_ends_every_tool_with_its_summary() {
    each(|is, args| {
        let (code, last) = ends(args, Some("50ms"));
        assert_eq!(code, if is == Is::Asked { 124 } else { 0 }, "{args:?}: {last}");
    });
}
