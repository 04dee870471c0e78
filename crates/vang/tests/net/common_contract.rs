//! What every tool owes whoever uses it, whatever else it does: it ends when it is told to, at once; its last word is a
//! summary; with `--json` each line is an object and nothing else; its exit code can be relied on. By both families.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{catches, ignores, ignoring_ctrl_c, lines_of, vang, wait};

/// The exit codes of a tool that was stopped: by Ctrl-C, and by its timeout.
type Codes = (i32, i32);

/// It goes on until it is told to end: then all is well.
const ENDLESS: Codes = (0, 0);

/// It was asked a question, and stopped before it had the answer: that is no yes.
const ASKED: Codes = (1, 124);

/// It tells what it is given, and Ctrl-C is how the giver ends as well.
const FED: Codes = (0, 124);

/// Every tool at something that does not end by itself: a server that accepts and says nothing, or nobody who comes.
fn tools(host: &str, port: u16) -> Vec<(Codes, Vec<String>)> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let free = address.replace(&format!(":{port}"), ":0");
    let port = port.to_string();
    let typed: [(Codes, &str); 19] = [
        (ENDLESS, "echo serve --listen FREE"),
        (ENDLESS, "echo serve --listen FREE --model sequential"),
        (ENDLESS, "echo serve --listen FREE --model threads"),
        (ENDLESS, "echo serve --listen FREE --model async"),
        (ENDLESS, "echo serve --listen FREE --udp"),
        (ASKED, "echo send ADDRESS"),
        (ASKED, "echo send ADDRESS --udp --duration 1h --rate 1"),
        (ASKED, "echo send --compare --duration 1h"),
        (ENDLESS, "stall serve --listen FREE"),
        (ASKED, "stall send ADDRESS --fix"),
        (ENDLESS, "sockets --watch --port PORT --state listen"),
        (ASKED, "ping HOST --tls PORT --wait 1h"),
        (ASKED, "ping HOST --vang PORT --wait 1h"),
        (ENDLESS, "tap --listen FREE --to ADDRESS"),
        (ENDLESS, "tap --listen FREE --to ADDRESS --delay 1h --jitter"),
        (FED, "decode -"),
        (ASKED, "doctor ADDRESS --wait 1h"),
        (ASKED, "conform ADDRESS"),
        (ASKED, "conform --listen FREE"),
    ];
    let word = |word: &str| match word {
        "FREE" => free.clone(),
        "ADDRESS" => address.clone(),
        "HOST" => host.to_owned(),
        "PORT" => port.clone(),
        other => other.to_owned(),
    };
    typed.into_iter().map(|(codes, line)| (codes, line.split(' ').map(word).collect())).collect()
}

/// How a tool is told to end.
#[derive(Clone, Copy)]
enum By {
    CtrlC,
    Timeout(&'static str),
    /// Started as the background job of a script, which is not meant by the script's Ctrl-C.
    TermIgnoringCtrlC,
}

/// Runs it until it ends; gives its exit code and the last of its objects.
fn ends(args: &[String], by: By) -> (i32, Value) {
    let mut command = match by {
        By::TermIgnoringCtrlC => ignoring_ctrl_c(),
        By::CtrlC | By::Timeout(_) => vang(),
    };
    command.arg("net").args(args).arg("--json");
    if let By::Timeout(timeout) = by {
        command.args(["--timeout", timeout]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let signal = match by {
        By::CtrlC => Some(Signal::INT),
        By::TermIgnoringCtrlC => Some(Signal::TERM),
        By::Timeout(_) => None,
    };
    if let Some(signal) = signal {
        while !catches(child.id(), signal) {
            assert!(child.try_wait().unwrap().is_none(), "{args:?} ended by itself");
            std::thread::yield_now();
        }
        assert_eq!(ignores(child.id(), Signal::INT), matches!(by, By::TermIgnoringCtrlC), "{args:?}");
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    // Shown if it does not end.
    eprintln!("waiting for {args:?}");
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

fn each(judge: impl Fn(Codes, &[String])) {
    for (host, ip) in [("127.0.0.1", IpAddr::from(Ipv4Addr::LOCALHOST)), ("::1", Ipv6Addr::LOCALHOST.into())]
    {
        let count = tools(host, 0).len();
        for at in 0..count {
            // Each has one of its own: what an earlier tool left in the queue of those who wait is no trouble of this one's.
            let mute = TcpListener::bind((ip, 0)).unwrap();
            let (codes, args) = tools(host, mute.local_addr().unwrap().port()).swap_remove(at);
            judge(codes, &args);
        }
    }
}

#[test]
fn ctrl_c_ends_every_tool_with_its_summary() {
    each(|(expected, _), args| {
        let (code, last) = ends(args, By::CtrlC);
        assert_eq!(code, expected, "{args:?}: {last}");
    });
}

#[test]
fn a_tool_that_was_started_with_ctrl_c_ignored_leaves_it_so_and_ends_by_sigterm() {
    each(|(expected, _), args| {
        let (code, last) = ends(args, By::TermIgnoringCtrlC);
        assert_eq!(code, expected, "{args:?}: {last}");
    });
}

#[test]
fn a_timeout_ends_every_tool_with_its_summary() {
    each(|(_, expected), args| {
        let (code, last) = ends(args, By::Timeout("50ms"));
        assert_eq!(code, expected, "{args:?}: {last}");
    });
}
