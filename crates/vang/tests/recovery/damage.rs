//! Damaged files. A damaged view is rebuilt. A server refuses to start on a damaged journal, says why, and
//! changes nothing.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::common::{Raw, Received, assert_one_history, check, history, read_server_feed};
use crate::harness::{Server, folder, vang};

fn say(server: &Server, from: usize, upto: usize) {
    let mut raw = Raw::connect(&*server.addr);
    for i in from..upto {
        let text = format!("message {i} {}", "x".repeat(200));
        assert_eq!(raw.send("ada", &format!("m{i}"), &text)["status"], "ok");
    }
}

/// The stderr of a start that must fail.
fn refused(data: &Path) -> String {
    let mut command = vang();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{said}");
    let line = said.lines().find(|line| line.starts_with("vang: ")).expect("an error has a line of its own");
    line.to_owned()
}

fn remove_log_of_view(data: &Path) {
    for name in ["view.db-wal", "view.db-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
}

#[test]
fn a_damaged_view_is_rebuilt_and_history_is_complete() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    say(&server, 0, 1_000);
    let whole: Vec<Received> = history(&server.addr);
    assert_one_history(&whole);
    assert!(server.stop().success());
    let view_file = data.join("view.db");
    let good = fs::read(&view_file).unwrap();
    let damaged = |at: std::ops::Range<usize>| {
        let mut bytes = good.clone();
        bytes[at].fill(0xa5);
        bytes
    };
    let len = good.len();
    let mut damages: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("deleted", None),
        ("empty", Some(Vec::new())),
        ("cut within its first page", Some(good[..1_000].to_vec())),
        ("cut in the middle", Some(good[..len / 2].to_vec())),
        ("its head overwritten", Some(damaged(0..100))),
        ("all of it overwritten", Some(vec![0xa5; len])),
        ("all but its first page overwritten", Some(damaged(4_096..len))),
    ];
    // Some of these are met at the start, some by a reader while it runs.
    let pages = (4_096..len).step_by(4_096);
    damages.extend(pages.map(|at| ("a page overwritten", Some(damaged(at..len.min(at + 4_096))))));
    let mut met_while_running = false;
    for (how, bytes) in damages {
        remove_log_of_view(&data);
        match bytes {
            Some(bytes) => fs::write(&view_file, bytes).unwrap(),
            None => fs::remove_file(&view_file).unwrap(),
        }
        fs::write(data.with_extension("log"), "").unwrap();
        let server = Server::start(&data);
        assert!(history(&server.addr) == whole, "history differs after: {how}");
        read_server_feed(&server.addr);
        say(&server, 999, 1_000);
        met_while_running |= server.log().contains("the view is damaged; rebuilding it");
        assert!(server.stop().success());
        check(&data);
    }
    assert!(met_while_running);
}

#[test]
fn a_damaged_journal_is_refused_and_not_changed() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    say(&server, 0, 500);
    assert!(server.stop().success());
    let journal = data.join("journal.db");
    let good = fs::read(&journal).unwrap();
    let len = good.len();
    let damaged = |at: std::ops::Range<usize>| {
        let mut bytes = good.clone();
        bytes[at].fill(0xa5);
        bytes
    };
    let damages = [
        ("garbage", vec![0xa5; len]),
        ("garbage, and short", b"this is no journal\n".to_vec()),
        ("its head overwritten", damaged(0..100)),
        ("cut in the middle", good[..len / 2 / 4_096 * 4_096].to_vec()),
    ];
    for (how, bytes) in damages {
        fs::write(&journal, &bytes).unwrap();
        let said = refused(&data);
        eprintln!("{how}: {said}");
        assert!(said.contains(journal.to_str().unwrap()), "{how}: {said}");
        assert!(fs::read(&journal).unwrap() == bytes, "the file was changed: {how}");
    }
    fs::write(&journal, &good).unwrap();
    let server = Server::start(&data);
    assert_eq!(history(&server.addr).len(), 500);
    check(&data);
}

#[test]
fn a_missing_journal_is_logged_when_a_new_one_begins() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    say(&server, 0, 5);
    assert!(server.stop().success());
    // Without a journal a new one begins; the log says that the view belonged to another.
    fs::remove_file(data.join("journal.db")).unwrap();
    let server = Server::start(&data);
    assert!(
        server.log().contains("rebuilding the view from the journal reason=it belonged to another journal")
    );
    assert_eq!(history(&server.addr), []);
    check(&data);
}

#[test]
fn a_dead_process_holds_no_lock() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let pid = server.pid();
    let said = refused(&data);
    assert!(said.contains("is in use by vang serve, pid"), "{said}");
    assert!(said.contains(&format!("pid {pid},")), "{said}");
    assert_eq!(Raw::connect(&*server.addr).send("ada", "1", "still here")["n"], 1);
    server.kill();
    // Its text still names the dead process; another process can have the same pid now.
    assert!(fs::read_to_string(data.join("lock")).unwrap().contains(&format!("pid {pid},")));
    assert!(data.join("admin.sock").exists());
    let server = Server::start(&data);
    assert_eq!(history(&server.addr).len(), 1);
    assert!(server.stop().success());
    fs::write(data.join("lock"), "vang serve, pid 1, since 2026-01-01T00:00:00Z, on elsewhere\n").unwrap();
    let server = Server::start(&data);
    assert_eq!(history(&server.addr).len(), 1);
}
