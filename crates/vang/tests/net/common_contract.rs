//! The common contract of all tools: a stop ends them at once with a summary as the last record; with `--json` each line is
//! an object; the exit codes are fixed. In both address families.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{catches, ignores, ignoring_ctrl_c, lines_of, vang, wait};

/// The exit codes of a tool that was stopped: by Ctrl-C, and by its timeout.
type Codes = (i32, i32);

/// Tools that run until stopped: a stop is a success.
const ENDLESS: Codes = (0, 0);

/// Tools that were stopped before they had a result: not a success.
const ASKED: Codes = (1, 124);

/// Tools that read a pipe: Ctrl-C also ends the writer, so it is a success.
const FED: Codes = (0, 124);

/// Every tool with something that does not end by itself: a silent server, or no client.
fn tools(host: &str, port: u16) -> Vec<(Codes, Vec<String>)> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let free = address.replace(&format!(":{port}"), ":0");
    let port = port.to_string();
    let typed: [(Codes, &str); 26] = [
        (ENDLESS, "echo serve --listen FREE --idle 365d"),
        (ENDLESS, "echo serve --listen FREE --model sequential"),
        (ENDLESS, "echo serve --listen FREE --model threads"),
        (ENDLESS, "echo serve --listen FREE --model async --idle 365d"),
        (ENDLESS, "echo serve --listen FREE --model processes"),
        (ENDLESS, "echo serve --listen FREE --udp"),
        (ASKED, "echo send ADDRESS"),
        (ASKED, "echo send ADDRESS --udp --duration 365d --rate 1"),
        (ASKED, "echo send --compare --duration 365d"),
        (ASKED, "talk ADDRESS"),
        (ASKED, "talk ADDRESS --tls"),
        (ENDLESS, "stall serve --listen FREE"),
        (ASKED, "stall send ADDRESS --fix"),
        (ENDLESS, "sockets --watch --port PORT --state listen"),
        (ASKED, "ping HOST --tls PORT --wait 365d"),
        (ASKED, "ping HOST --vang PORT --wait 1h"),
        (ENDLESS, "tap --listen FREE --to ADDRESS"),
        (ENDLESS, "tap --listen FREE --to ADDRESS --delay 365d --jitter"),
        (ENDLESS, "tap --listen FREE --to ADDRESS --silence 365d"),
        (ENDLESS, "tap --udp --listen FREE --to ADDRESS --drop 1%"),
        (FED, "decode -"),
        (FED, "bytes -"),
        (ASKED, "doctor ADDRESS --wait 365d"),
        (ASKED, "conform ADDRESS"),
        (ASKED, "fuzz ADDRESS --wait 365d"),
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

/// How a tool is stopped.
#[derive(Clone, Copy)]
enum By {
    CtrlC,
    Timeout(&'static str),
    /// SIGTERM, with SIGINT ignored as in a background job of a script.
    TermIgnoringCtrlC,
}

/// Runs a tool until it ends; returns its exit code and last object.
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
    // Shown by the test if it hangs.
    eprintln!("waiting for {args:?}");
    // Its stdin stays open.
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
    // A `means` record can follow the summary.
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
            // A new server for each tool, so that connections of an earlier tool are not in its accept queue.
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
fn an_ignored_sigint_stays_ignored_and_sigterm_ends_the_tool() {
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
