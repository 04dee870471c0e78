//! Files that are moved, removed or replaced while a server runs. No message is acknowledged that would be lost with
//! the process; files that can be rebuilt are; and when a moved file is back, the server goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Raw, check, get, history, page};
use crate::harness::{PATIENCE, Server, folder, succeeded, vang};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn say(raw: &mut Raw, id: &str) -> Value {
    raw.send("ada", id, id)
}

fn say_all(raw: &mut Raw, ids: std::ops::Range<usize>) {
    for i in ids {
        assert_eq!(say(raw, &format!("m{i}"))["status"], "ok");
    }
}

/// Senders get an error, and monitoring says what was found and what to do.
fn assert_refused(server: &Server, raw: &mut Raw, data: &Path, expected: &str) -> String {
    until("it is found", || get(server, "/readyz").0 == 503);
    let reply = say(raw, "meanwhile");
    assert_eq!((&reply["status"], &reply["code"]), (&"error".into(), &"unavailable".into()), "{reply}");
    let detail = reply["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(expected) && detail.ends_with("; nothing was posted"), "{detail}");
    assert!(!detail.contains(data.to_str().unwrap()), "a guest need not know the folder: {detail}");
    let body = get(server, "/readyz").1;
    assert!(body.contains(expected), "{body}");
    detail
}

#[test]
fn a_moved_journal_refuses_messages_until_it_is_back() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut raw = Raw::connect(&*server.addr);
    say_all(&mut raw, 0..5);
    let elsewhere = folder.path().join("elsewhere");
    // The file alone, its log alone, the whole folder.
    for (i, name) in ["journal.db", "journal.db-wal", ""].into_iter().enumerate() {
        let path = data.join(name);
        fs::rename(&path, &elsewhere).unwrap();
        assert_refused(
            &server,
            &mut raw,
            &data,
            "was moved; nothing more is written; put it back, and the server continues",
        );
        // Readers go on.
        assert_eq!(history(&server.addr).len(), 5 + i);
        fs::rename(&elsewhere, &path).unwrap();
        until("it goes on", || say(&mut raw, &format!("back {i}"))["status"] == "ok");
        until("it is ready", || get(&server, "/readyz").0 == 200);
    }
    let log = server.log();
    assert_eq!(log.matches("the journal cannot be written; senders get an error").count(), 3, "{log}");
    assert!(server.stop().success());
    assert_eq!(history(&Server::start(&data).addr).len(), 8);
    check(&data);
}

#[test]
fn a_removed_journal_can_be_copied_from_the_running_server() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut raw = Raw::connect(&*server.addr);
    say_all(&mut raw, 0..50);
    let whole = history(&server.addr);
    let journal = data.join("journal.db");
    fs::remove_file(&journal).unwrap();
    let refusal =
        assert_refused(&server, &mut raw, &data, "journal.db was removed while the server has it open");
    // As it says: copy what it has, stop it, put the copy back, start it.
    let held =
        refusal.split_whitespace().find(|word| word.starts_with("/proc/")).unwrap().trim_end_matches(':');
    let saved = folder.path().join("saved.db");
    fs::copy(held, &saved).unwrap();
    assert!(server.stop().success());
    fs::rename(&saved, &journal).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(&data);
    assert!(history(&server.addr) == whole);
    assert!(server.stop().success());
    check(&data);
}

#[test]
fn a_replaced_journal_is_neither_written_nor_read() {
    let folder = folder();
    let (data, other) = (folder.path().join("data"), folder.path().join("other"));
    assert!(Server::start(&other).stop().success());
    let server = Server::start(&data);
    let mut raw = Raw::connect(&*server.addr);
    say_all(&mut raw, 0..5);
    let (journal, first) = (data.join("journal.db"), folder.path().join("first.db"));
    fs::rename(&journal, &first).unwrap();
    fs::copy(other.join("journal.db"), &journal).unwrap();
    let strange = fs::read(&journal).unwrap();
    assert_refused(&server, &mut raw, &data, "journal.db is not the file that the server has open");
    assert!(fs::read(&journal).unwrap() == strange);
    fs::rename(&first, &journal).unwrap();
    until("it goes on", || say(&mut raw, "back")["status"] == "ok");
    assert_eq!(history(&server.addr).len(), 6);
    assert!(server.stop().success());
    check(&data);
}

#[test]
fn a_removed_view_or_index_is_rebuilt_while_the_server_runs() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut raw = Raw::connect(&*server.addr);
    say_all(&mut raw, 0..40);
    let whole = history(&server.addr);
    let found = || server.run(&["find", "m7", "--no-context"]);
    until("it is found", || found().status.success());
    for names in [
        &["view.db"][..],
        &["view.db-wal"],
        &["find.db"],
        &["view.db", "view.db-wal", "view.db-shm", "find.db"],
    ] {
        for name in names {
            let _ = fs::remove_file(data.join(name));
        }
        let end = Instant::now() + PATIENCE;
        let mut read = Vec::new();
        while read != whole {
            assert!(Instant::now() < end, "history never came back without {names:?}: {}", server.log());
            // Never less than everything without a word.
            let (reply, some) = page(&mut raw, 0);
            match reply["status"] == "ok" {
                true => read = some,
                false => {
                    assert!(matches!(reply["code"].as_str(), Some("view-behind" | "unavailable")), "{reply}");
                }
            }
        }
        until("find answers", || found().status.success());
        until("they lie there again", || ["view.db", "find.db"].iter().all(|name| data.join(name).exists()));
        assert_eq!(get(&server, "/readyz").0, 200);
    }
    assert!(server.stop().success());
    check(&data);
}

#[test]
fn a_removed_lock_or_socket_is_created_again() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    for name in ["lock", "admin.sock"] {
        fs::remove_file(data.join(name)).unwrap();
        until(&format!("there is a {name}"), || data.join(name).exists());
    }
    until("the lock names its holder", || {
        fs::read_to_string(data.join("lock")).unwrap().contains(&format!("pid {},", server.pid()))
    });
    let mut second = vang();
    second.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let said = String::from_utf8_lossy(&second.output().unwrap().stderr).into_owned();
    assert!(said.contains("is in use by vang serve, pid"), "{said}");
    let output = vang().args(["status", "--data"]).arg(&data).output().unwrap();
    succeeded(&["status"], output);
}

#[test]
fn a_flipped_bit_becomes_a_hole_for_all_readers() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut raw = Raw::connect(&*server.addr);
    say_all(&mut raw, 0..20);
    assert!(server.stop().success());
    let journal = data.join("journal.db");
    let mut bytes = fs::read(&journal).unwrap();
    let at = bytes.windows(9).position(|window| window == b"utf-8\x03\x42m7").unwrap();
    bytes[at + 8] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let server = Server::start(&data);
    for _ in 0..3 {
        let tail = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
        let lines: Vec<&str> = tail.lines().collect();
        assert_eq!((lines.len(), lines[7]), (20, "general#8 (not shown: damaged on the server's disk)"));
        assert!(lines[6].ends_with(": m6") && lines[8].ends_with(": m8"), "{tail}");
    }
    let log = server.log();
    assert_eq!(log.matches("an entry of the journal is damaged").count(), 1, "{log}");
    let output = vang().args(["status", "--json", "--data"]).arg(&data).output().unwrap();
    let status: Value = serde_json::from_str(&succeeded(&["status"], output)).unwrap();
    assert_eq!(status["journal"]["damaged"]["count"], 1);
    let seq = &status["journal"]["damaged"]["first"][0];
    let (code, body) = get(&server, "/readyz");
    assert_eq!((code, body.trim()), (200, &*format!("ready; 1 entry of the journal is damaged ({seq})")));
}
