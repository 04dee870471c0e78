//! `vang net echo serve --model processes` and `--work`: workers, their counts and their end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::echo::{Echo, of, records, send, summary};
use crate::harness::{PATIENCE, program, vang};

fn workers(server: &Echo) -> Vec<u64> {
    server.listening["workers"].as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap()).collect()
}

fn kill(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Has this process ended? A dead one can wait for its parent to take notice.
fn has_ended(pid: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

#[test]
fn workers_share_the_port_and_their_counts_are_summed_up() {
    let mut server = Echo::serve(&["--model", "processes"]);
    let pids = workers(&server);
    assert!(pids.len() >= 2);
    let texts = ["--message", "one", "--message", "two"];
    records(&[&[server.address.as_str(), "--connections", "50"], &texts[..]].concat(), 0);
    let served: BTreeSet<u64> =
        (0..50).map(|_| server.next("connected")["process"].as_u64().unwrap()).collect();
    assert!(served.len() > 1 && served.iter().all(|pid| pids.contains(pid)), "{served:?} of {pids:?}");
    let name = |pid: &u64| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert!(pids.iter().all(|pid| name(pid) == "vang\n"), "as in a list of processes");
    let all = server.interrupt();
    let counts = ["connections", "bytes", "broken"].map(|key| all[key].as_u64().unwrap());
    assert_eq!(counts, [50, 300, 0], "{all}");
    assert!(all["cpu_us"].as_u64() > Some(0));
    assert!(pids.iter().all(|pid| has_ended(*pid)));
}

#[test]
fn a_port_of_worker_processes_is_in_use_for_another_server() {
    let server = Echo::serve(&["--model", "processes"]);
    let again = ["net", "echo", "serve", "--model", "processes", "--listen", &server.address];
    let output = vang().args(again).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("address in use"), "{said}");
}

#[test]
fn workers_end_with_a_server_that_is_killed() {
    let server = Echo::serve(&["--model", "processes"]);
    let pids = workers(&server);
    kill(server.tail.pid().into(), Signal::KILL);
    let until = Instant::now() + PATIENCE;
    while !pids.iter().all(|pid| has_ended(*pid)) {
        assert!(Instant::now() < until, "workers stay: {pids:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_that_is_killed_is_reported_and_the_others_go_on() {
    let mut server = Echo::serve(&["--model", "processes"]);
    let pids = workers(&server);
    kill(pids[0], Signal::KILL);
    let means = server.next("means")["text"].as_str().unwrap().to_owned();
    assert!(means.starts_with(&format!("worker process {} ended: signal: 9", pids[0])), "{means}");
    for _ in 0..10 {
        let mut stream = server.connect();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
    }
    assert_eq!(server.interrupt()["connections"], 10);
}

#[test]
fn processes_serve_one_client_with_once_and_share_a_key_with_tls() {
    let mut server = Echo::serve(&["--model", "processes", "--once"]);
    assert!(send(&[&server.address]).status.success());
    assert_eq!(server.next("summary")["connections"], 1);
    assert!(server.tail.wait().success());
    let server = Echo::serve(&["--model", "processes", "--tls"]);
    let key = server.listening["key"].as_str().unwrap().to_owned();
    let reported = records(&[&server.address, "--fingerprint", &key, "--connections", "20"], 0);
    assert_eq!(summary(&reported)["messages"], 20);
    server.interrupt();
}

#[test]
fn what_the_model_cannot_do_is_refused() {
    for (typed, said) in [
        ("serve --model processes --unix /tmp/x.sock", "needs TCP"),
        ("serve --model processes --greet", "blocking model"),
        ("serve --work 2s", "at most 1s"),
        ("worker", "which starts it"),
    ] {
        let mut command = vang();
        command.args(["net", "echo"]).args(typed.split(' ')).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}

#[test]
fn work_costs_its_cpu_time_in_every_model_and_the_comparison_explains_it() {
    let reported = records(&["--compare", "--connections", "4", "--duration", "200ms", "--work", "2ms"], 0);
    for row in of(&reported, "model") {
        assert!(row["cpu_us_per_message"].as_f64().unwrap() >= 2_000.0, "{row}");
    }
    let means = of(&reported, "means")[0]["text"].as_str().unwrap();
    assert!(
        means.contains("2.00 ms of work for each message are at most 500 messages/s on one core"),
        "{means}"
    );
    assert_eq!(summary(&reported)["work_us"], 2_000);
    // One line of text tells it too, and over UDP the work is done as well.
    let mut server = Echo::serve(&["--udp", "--work", "2ms"]);
    records(&[&server.address, "--udp", "--message", "a", "--message", "b"], 0);
    let pid = server.tail.pid().to_string();
    assert!(program("kill").args(["-INT", &pid]).status().unwrap().success());
    let all: Value = server.next("summary");
    assert!(all["cpu_us"].as_u64() >= Some(4_000), "{all}");
}
