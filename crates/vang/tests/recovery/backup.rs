//! Backups made and restored with the binary: under load, over pipes, cut, killed, on a full disk. A backup holds
//! the journal up to some entry, with everything acknowledged before the backup began. An incomplete backup is
//! refused, and leaves no folder that a server starts on.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{
    Follower, Raw, Received, assert_kept, assert_one_history, check, history, lasting_address, sender,
    shown_until, tail,
};
use crate::harness::{PATIENCE, Server, Tail, folder, ignores, ignoring, request, succeeded, vang};

fn admin(args: &[&str], file: &Path, data: &Path) -> Command {
    let mut command = vang();
    command.arg("admin").args(args).arg(file).arg("--data").arg(data);
    command
}

fn backup(file: &Path, data: &Path) -> Value {
    let output = admin(&["backup", "--json"], file, data).output().unwrap();
    serde_json::from_str(&succeeded(&["backup"], output)).unwrap()
}

fn restore(file: &Path, data: &Path) -> Value {
    let output = admin(&["restore", "--json"], file, data).output().unwrap();
    serde_json::from_str(&succeeded(&["restore"], output)).unwrap()
}

/// The stderr of a command that must fail.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    said
}

fn check_file(file: &Path) -> Output {
    vang().args(["admin", "check", "--file"]).arg(file).output().unwrap()
}

fn say(server: &Server, texts: impl IntoIterator<Item = String>) {
    let mut raw = Raw::connect(&*server.addr);
    for (i, text) in texts.into_iter().enumerate() {
        let id = format!("{i} {}", text.len());
        assert_eq!(raw.send("ada", &id, &text)["status"], "ok");
    }
}

/// The folder of a stopped server with this many messages of this many bytes, and a backup of it.
fn scene(count: usize, bytes: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = folder();
    let (data, file) = (folder.path().join("data"), folder.path().join("chat.vang"));
    let server = Server::start(&data);
    say(&server, (0..count).map(|i| format!("{i} {}", "x".repeat(bytes))));
    assert!(server.stop().success());
    backup(&file, &data);
    (folder, data, file)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_restored_server_has_all_data_under_a_new_id() {
    let folder = folder();
    let (data, again, file) =
        (folder.path().join("data"), folder.path().join("again"), folder.path().join("chat.vang"));
    let server = Server::start_trusting(&data);
    let at = data.to_str().unwrap();
    server.ok(&["admin", "account", "add", "ada", "--data", at]);
    server.ok(&["create", "lab", "--private", "--as", "ada"]);
    server.ok(&["send", "lab", "a secret", "--as", "ada"]);
    assert_eq!(server.ok(&["send", "general", "only once", "--id", "order-66"]), "general#1\n");
    let made = backup(&file, &data);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&file).unwrap().len(), made["bytes"].as_u64().unwrap());
    let said = check(&data);
    assert!(said.contains(&format!(
        "journal {}, {} entries",
        made["journal"].as_str().unwrap(),
        made["seq"]
    )));
    assert!(server.stop().success());

    // And while no server runs: the same, but for the entry of a start.
    let second = folder.path().join("second.vang");
    assert_eq!(backup(&second, &data)["journal"], made["journal"]);

    let restored = restore(&file, &again);
    assert_eq!(restored["was"], made["journal"]);
    assert_ne!(restored["journal"], made["journal"]);
    for key in ["entries", "erased", "seq", "chain"] {
        assert_eq!(restored[key], made[key], "{key}");
    }
    assert_eq!(names_in(&again), ["format", "journal.db", "lock", "tls", "view.db"]);
    let said = check(&again);
    assert!(said.contains(restored["journal"].as_str().unwrap()), "{said}");
    // Clients know the server by its key.
    assert_eq!((&made["tls_key"], &restored["tls_key"]), (&true.into(), &true.into()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&again.join("tls")), 0o700);
    for name in ["tls/key.pem", "tls/certificate.pem"] {
        assert!(fs::read(again.join(name)).unwrap() == fs::read(data.join(name)).unwrap(), "{name}");
        assert_eq!(mode(&again.join(name)), 0o600);
    }
    for name in names_in(&again).into_iter().filter(|name| name != "tls") {
        assert_eq!(fs::metadata(again.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let server = Server::start_trusting(&again);
    // The view was made with it: nothing is replayed but what comes after them.
    assert!(!server.log().contains("made anew"), "{}", server.log());
    assert!(server.log().contains("replayed=0"), "{}", server.log());
    assert_eq!(server.ok(&["send", "general", "only once", "--id", "order-66"]), "general#1\n");
    let lab = server.ok(&["tail", "lab", "--since", "0", "--no-follow", "--as", "ada"]);
    assert!(lab.starts_with("lab#1 ") && lab.ends_with("ada: a secret\n"), "{lab}");
    assert_eq!(server.ok(&["send", "general", "and on", "--as", "bob"]), "general#2\n");
    assert!(server.stop().success());
    check(&again);
    // A backup of the restored server, with new messages, is restored again.
    let third = folder.path().join("third.vang");
    let made = backup(&third, &again);
    assert_eq!(made["journal"], restored["journal"]);
    restore(&third, &folder.path().join("third"));
    check(&folder.path().join("third"));
}

/// A server with a backup of a part of its messages, and followers that have seen all of them.
struct Followed {
    folder: tempfile::TempDir,
    address: String,
    by_hand: Follower,
    shown: Tail,
    heard: Vec<Received>,
    restored: Value,
}

/// The server is gone now; with `restarts` it was also restarted in between.
fn followed(before: &[&str], lost: &[&str], restarts: bool) -> Followed {
    let folder = folder();
    let (data, file) = (folder.path().join("data"), folder.path().join("chat.vang"));
    let address = lasting_address();
    let mut server = Server::start_with(&data, &address, &[]);
    say_words(&server, before);
    backup(&file, &data);
    let restored = restore(&file, &folder.path().join("again"));
    if restarts {
        assert!(server.stop().success());
        server = Server::start_with(&data, &address, &[]);
    }
    say_words(&server, lost);
    let (mut by_hand, mut shown) = (Follower::start(&address), tail(&server, Some(0)));
    let last = before.iter().chain(lost).last().unwrap();
    let heard = by_hand.until(last);
    assert_eq!(shown_until(&mut shown, last), heard);
    server.kill();
    Followed { folder, address, by_hand, shown, heard, restored }
}

fn say_words(server: &Server, words: &[&str]) {
    say(server, words.iter().map(|&word| word.to_owned()));
}

#[test]
fn followers_of_the_old_journal_miss_nothing_after_a_restore() {
    for (lost, restarts) in [(&[][..], false), (&["lost three", "lost 4"], false), (&["lost three"], true)] {
        let mut scene = followed(&["one", "two"], lost, restarts);
        let again = scene.folder.path().join("again");
        // It is written on, past what they saw, before they are back.
        let server = Server::start(&again);
        say_words(&server, &["three", "number 4", "number five"]);
        assert!(server.stop().success());
        let server = Server::start_with(&again, &scene.address, &[]);
        let refusal = scene.by_hand.refused();
        assert_eq!(refusal["code"], "journal-changed");
        assert_eq!(refusal["journal"], scene.restored["journal"]);
        let common = refusal["seq"].as_u64().unwrap();
        assert!(common >= scene.heard[1].seq && common <= scene.restored["seq"].as_u64().unwrap());
        scene.shown.said(&format!("went back to position {common}"));
        say_words(&server, &["number six!"]);
        let more = scene.by_hand.until("number six!");
        let words: Vec<_> = more.iter().map(|received| &*received.text).collect();
        assert_eq!(words, ["three", "number 4", "number five", "number six!"]);
        assert_eq!(shown_until(&mut scene.shown, "number six!"), more);
        assert_eq!(history(&server.addr), [&scene.heard[..2], &more].concat());
    }
}

#[test]
fn resuming_without_an_epoch_restarts_from_room_numbers() {
    let scene = followed(&["one", "two"], &["lost three"], false);
    let server = Server::start(&scene.folder.path().join("again"));
    let mut raw = Raw::connect(&*server.addr);
    let old = format!("{:?}", scene.restored["was"].as_str().unwrap());
    let asked = request("follow", &[("room", "\"general\""), ("journal", &old), ("seq", "3")], "");
    let (reply, _) = raw.ask(&asked);
    assert_eq!((&reply["code"], &reply["seq"]), (&"journal-changed".into(), &Value::Null));
    assert_eq!(reply["journal"], scene.restored["journal"]);
    say_words(&server, &["number three"]);
    let received = Follower::start(&server.addr).until("number three");
    assert_eq!(
        received.iter().map(|received| &*received.text).collect::<Vec<_>>(),
        ["one", "two", "number three"]
    );
}

#[test]
fn a_backup_under_load_has_all_messages_acknowledged_before_it() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let enough = Arc::new(AtomicBool::new(false));
    let (ack, acks) = channel();
    let senders: Vec<_> =
        (0..4).map(|i| sender(&server.addr, format!("s{i}"), enough.clone(), ack.clone())).collect();
    drop(ack);
    let mut acknowledged = Vec::new();
    let mut backups = Vec::new();
    for i in 0..3 {
        acknowledged.extend((0..700).map(|_| acks.recv_timeout(PATIENCE).expect("the senders go on")));
        acknowledged.extend(acks.try_iter());
        let file = folder.path().join(format!("{i}.vang"));
        let made = backup(&file, &data);
        backups.push((file, acknowledged.len(), made));
    }
    enough.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    let whole = history(&server.addr);
    assert!(server.stop().success());
    assert_one_history(&whole);
    for (i, (file, before, made)) in backups.iter().enumerate() {
        let again = folder.path().join(format!("again-{i}"));
        assert_eq!(restore(file, &again)["seq"], made["seq"]);
        let server = Server::start(&again);
        let restored = history(&server.addr);
        assert!(restored == whole[..restored.len()], "backup {i} is no beginning of the journal");
        assert_kept(&restored, &acknowledged[..*before]);
        assert!(server.stop().success());
        check(&again);
    }
}

#[test]
fn a_backup_works_through_a_pipe_and_a_cut_one_is_refused() {
    let (folder, data, file) = scene(200, 1_000);
    let whole = fs::read(&file).unwrap();
    let output = admin(&["backup"], Path::new("-"), &data).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("stdout: journal ") && said.contains("messages you erase later"), "{said}");
    // Two backups differ in when they were made, and so in their seals.
    assert_eq!(output.stdout.len(), whole.len());

    let again = folder.path().join("again");
    let through = |bytes: &[u8]| {
        let mut command = admin(&["restore"], Path::new("-"), &again);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that has seen enough reads no more.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        child.wait_with_output().unwrap()
    };
    for len in [0, 5, 14, 100, 2_000, whole.len() / 2, whole.len() - 1] {
        let said = refused(&through(&whole[..len]));
        assert!(said.contains("stdin cannot be used: it is "), "{said}");
        assert!(!again.exists(), "something is left after {len} bytes");
    }
    for at in (0..whole.len()).step_by(whole.len() / 23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let said = refused(&through(&bytes));
        assert!(said.contains("stdin cannot be used: it is "), "{said}");
        assert!(!again.exists(), "something is left after byte {at} was changed");
    }
    assert!(through(&output.stdout).status.success());
    check(&again);
    // The reader of the pipe closes it: the backup is incomplete.
    let mut child = admin(&["backup"], Path::new("-"), &data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = refused(&child.wait_with_output().unwrap());
    assert!(
        said.contains("cannot write stdout after ") && said.contains("has an incomplete backup"),
        "{said}"
    );
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = admin(&["backup"], Path::new("-"), &data).stdout(full).stderr(Stdio::piped()).output();
    let said = refused(&output.unwrap());
    assert!(said.contains("no space left on device"), "{said}");
}

#[test]
fn foreign_files_and_used_folders_are_refused_with_the_reason() {
    let (folder, data, file) = scene(5, 10);
    let again = folder.path().join("again");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("letter"), "Dear all,\nthis is no backup\n").unwrap();
    for (name, expected) in [
        ("letter", "it is not a vang backup: its first bytes are unknown"),
        ("data/journal.db", "it is not a vang backup: it is a SQLite database; "),
        ("nowhere", "cannot open "),
    ] {
        let said = refused(&admin(&["restore"], &at(name), &again).output().unwrap());
        assert!(said.contains(expected) && said.contains(name), "{said}");
        assert!(!again.exists());
    }
    // A journal is not restored over, whether its server runs or not.
    let before = fs::read(data.join("journal.db")).unwrap();
    let said = refused(&admin(&["restore"], &file, &data).output().unwrap());
    assert!(said.contains("there is a journal in ") && said.contains(", with 7 entries"), "{said}");
    assert!(said.contains("restore into another folder with --data"), "{said}");
    assert!(fs::read(data.join("journal.db")).unwrap() == before);
    let server = Server::start(&data);
    let said = refused(&admin(&["restore"], &file, &data).output().unwrap());
    assert!(said.contains("is in use by vang serve, pid"), "{said}");
    assert_eq!(history(&server.addr).len(), 5);
    // Nor into a folder with other files. An empty one is accepted.
    fs::create_dir(&again).unwrap();
    fs::write(again.join("README"), "mine").unwrap();
    let output = admin(&["restore"], &file, &again).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("it has other files, such as README"), "{said}");
    assert_eq!(names_in(&again), ["README"]);
    fs::remove_file(again.join("README")).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let len = bytes.len();
    bytes[len - 1] ^= 1;
    fs::write(at("damaged"), bytes).unwrap();
    let said = refused(&admin(&["restore"], &at("damaged"), &again).output().unwrap());
    assert!(said.contains("damaged: between byte ") && said.contains("older backup"), "{said}");
    assert_eq!(names_in(&again), ["lock"]);
    restore(&file, &again);
    check(&again);
}

#[test]
fn an_existing_file_is_replaced_only_by_a_complete_backup() {
    let (folder, data, file) = scene(3, 10);
    let before = fs::read(&file).unwrap();
    let said = refused(&admin(&["backup"], &file, &data).output().unwrap());
    assert!(said.contains("chat.vang already exists") && said.contains("--force"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), before);
    succeeded(&["backup", "--force"], admin(&["backup", "--force"], &file, &data).output().unwrap());
    assert_ne!(fs::read(&file).unwrap(), before);
    assert!(check_file(&file).status.success());
    let said = refused(&admin(&["backup", "--force"], folder.path(), &data).output().unwrap());
    assert!(said.contains("is a folder"), "{said}");
    let said = refused(&admin(&["backup", "--force"], Path::new("/dev/null"), &data).output().unwrap());
    assert!(said.contains("is not a regular file"), "{said}");
    let said = refused(&admin(&["backup"], &folder.path().join("no/where"), &data).output().unwrap());
    assert!(said.contains("cannot create "), "{said}");
    let said = refused(&admin(&["backup"], &folder.path().join("new"), folder.path()).output().unwrap());
    assert!(said.contains("there is no journal in "), "{said}");
    // A damaged journal is not made into something that looks like a backup, nor replaces one that is.
    let good = fs::read(&file).unwrap();
    let journal = data.join("journal.db");
    let bytes = fs::read(&journal).unwrap();
    let text = bytes.windows(7).position(|window| window == b"2 xxxxx").unwrap();
    let mut damaged = bytes;
    damaged[text] = b'3';
    fs::write(&journal, damaged).unwrap();
    let said = refused(&admin(&["backup", "--force"], &file, &data).output().unwrap());
    assert!(said.contains("is damaged: the payload does not match its digest"), "{said}");
    assert!(said.contains("vang admin check"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), good);
    assert_eq!(names_in(folder.path()), ["chat.vang", "data", "data.log"]);
}

#[test]
fn a_backup_is_not_written_to_a_terminal() {
    let (_folder, data, _) = scene(1, 10);
    // `script` gives its command a terminal; it comes with util-linux, as unshare does.
    let command = format!("{} admin backup - --data {}", env!("CARGO_BIN_EXE_vang"), data.display());
    let output =
        Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("a backup is binary data; it is not written to a terminal"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_backup_file_is_checked_without_restoring_it() {
    let (folder, data, file) = scene(300, 100);
    let output = check_file(&file);
    let said = succeeded(&["check", "--file"], output);
    let of_folder = check(&data);
    let part = |said: &str, key: &str| {
        let at = said.find(key).unwrap_or_else(|| panic!("{said}"));
        said[at..].split([',', '\n']).next().unwrap().to_owned()
    };
    assert!(said.starts_with("ok: backup of journal "), "{said}");
    for key in ["journal ", "chain ", "state "] {
        assert_eq!(part(&said, key), part(&of_folder, key));
    }
    let whole = fs::read(&file).unwrap();
    let bad = folder.path().join("bad.vang");
    for at in (0..whole.len()).step_by(whole.len() / 11) {
        fs::write(&bad, &whole[..at]).unwrap();
        let said = refused(&check_file(&bad));
        assert!(said.contains("bad.vang cannot be used: it is "), "{said}");
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&bad, bytes).unwrap();
        let said = refused(&check_file(&bad));
        assert!(said.contains("bad.vang cannot be used: it is "), "{said}");
    }
}

/// Polls a condition until it is true.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn kill(mut child: Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_leaves_no_complete_looking_file() {
    let (folder, data, file) = scene(300, 60_000);
    let whole = fs::metadata(&file).unwrap().len();
    fs::remove_file(&file).unwrap();
    let parts = || -> Vec<(PathBuf, u64)> {
        let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let parts = files.filter(|path| path.to_string_lossy().contains("chat.vang.part-"));
        parts.filter_map(|path| fs::metadata(&path).ok().map(|about| (path, about.len()))).collect()
    };
    // kill -9, then what tidies up: Ctrl-C and SIGTERM.
    for (signal, leaves) in [("KILL", true), ("INT", false), ("TERM", false)] {
        let mut in_the_middle = false;
        until("a signal that comes in the middle", || {
            let child = admin(&["backup"], &file, &data).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = child.unwrap();
            until("some bytes are written", || {
                file.exists()
                    || parts().iter().any(|(_, len)| *len > 0)
                    || child.try_wait().unwrap().is_some()
            });
            let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
            child.wait().unwrap();
            match file.exists() {
                // It was quicker: then it is whole.
                true => {
                    assert!(check_file(&file).status.success());
                    fs::remove_file(&file).unwrap();
                }
                false => in_the_middle = true,
            }
            in_the_middle
        });
        assert_eq!(!parts().is_empty(), leaves, "after {signal}");
        for (part, len) in parts() {
            assert!(len < whole);
            refused(&check_file(&part));
            let again = folder.path().join("again");
            refused(&admin(&["restore"], &part, &again).output().unwrap());
            assert!(!again.exists());
            fs::remove_file(part).unwrap();
        }
    }
    // Over a pipe: what had come until then is refused.
    let mut child = admin(&["backup"], Path::new("-"), &data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = vec![0; 1 << 20];
    stdout.read_exact(&mut some).unwrap();
    kill(child);
    stdout.read_to_end(&mut some).unwrap();
    assert!((some.len() as u64) < whole, "a pipe holds less than that");
    fs::write(&file, some).unwrap();
    let said = refused(&check_file(&file));
    assert!(said.contains("it is incomplete: it ends after "), "{said}");
}

#[test]
fn a_backup_whose_parent_ignores_sigint_and_sighup_goes_on_and_sigterm_ends_it() {
    let (_folder, data, file) = scene(300, 60_000);
    let whole = fs::metadata(&file).unwrap().len();
    let begin = || {
        let mut command = ignoring("INT,HUP");
        command.args(["admin", "backup", "-", "--data"]).arg(&data);
        // It waits in the middle: a pipe holds less than the whole.
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (mut stdout, mut read) = (child.stdout.take().unwrap(), vec![0; 1 << 20]);
        stdout.read_exact(&mut read).unwrap();
        (child, stdout, read)
    };
    let signal = |child: &Child, signal| rustix::process::kill_process(pid(child), signal).unwrap();

    let (mut child, mut stdout, mut read) = begin();
    for ignored in [Signal::INT, Signal::HUP] {
        assert!(ignores(child.id(), ignored));
        signal(&child, ignored);
    }
    stdout.read_to_end(&mut read).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read.len() as u64, whole);

    let (mut child, mut stdout, mut read) = begin();
    signal(&child, Signal::TERM);
    stdout.read_to_end(&mut read).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!((read.len() as u64) < whole);
}

fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}

#[test]
fn a_killed_restore_leaves_no_usable_folder_and_can_run_again() {
    let (folder, _, file) = scene(400, 10_000);
    let whole = fs::read(&file).unwrap();
    let again = folder.path().join("again");
    for part in [whole.len() / 5, whole.len() / 2, whole.len() - 1] {
        let mut child = admin(&["restore"], Path::new("-"), &again)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&whole[..part]).unwrap();
        until("the restore has begun", || {
            fs::metadata(again.join("journal.db")).is_ok_and(|about| about.len() > 0)
        });
        kill(child);
        drop(stdin);
        let mut serve = vang();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&again).stdin(Stdio::null());
        for command in [
            &mut serve,
            vang().args(["admin", "check", "--data"]).arg(&again),
            &mut admin(&["backup"], &folder.path().join("of-half"), &again),
        ] {
            let said = refused(&command.output().unwrap());
            assert!(said.contains("is incomplete: run it again, or remove the folder"), "{said}");
        }
    }
    restore(&file, &again);
    let server = Server::start(&again);
    assert_eq!(history(&server.addr).len(), 400);
    assert!(server.stop().success());
    check(&again);
}

#[test]
fn a_file_size_limit_ends_backup_and_restore_with_an_error() {
    let (folder, data, file) = scene(100, 10_000);
    let limited = |command: &Command| {
        let mut limited = Command::new("prlimit");
        limited.arg("--fsize=300000:300000").arg(command.get_program()).args(command.get_args());
        limited.output().unwrap()
    };
    let new = folder.path().join("new.vang");
    let said = refused(&limited(&admin(&["backup"], &new, &data)));
    assert!(said.contains("cannot write ") && said.contains("after "), "{said}");
    let again = folder.path().join("again");
    let said = refused(&limited(&admin(&["restore"], &file, &again)));
    assert!(said.contains("cannot restore into "), "{said}");
    assert_eq!(names_in(folder.path()), ["chat.vang", "data", "data.log"]);
}
