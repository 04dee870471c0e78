//! A full disk: senders get an error, readers go on, and the server recovers when there is space again. The
//! disk is a small tmpfs in its own mount namespace, so the machine's disks are not filled.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Follower, Raw, Received, assert_kept, assert_one_history, check, get, history, page, shown_until, tail,
};
use crate::harness::{PATIENCE, Server, folder, succeeded, vang};

/// Polls a condition until it is true.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A tmpfs that only processes in its mount namespace see; removed when dropped.
struct SmallDisk {
    holder: Child,
    is_root: bool,
    folder: TempDir,
}

impl SmallDisk {
    /// Fails the test if mounting is not possible: a skipped test shows nothing.
    fn new(size: &str) -> SmallDisk {
        let folder = folder();
        let point = folder.path().join("disk");
        std::fs::create_dir(&point).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        // It ends when our end of its stdin does, whatever becomes of us.
        let script =
            format!("mount -t tmpfs -o size={size} tmpfs '{}' && echo mounted && exec cat", point.display());
        let mut holder = Command::new("unshare")
            .args(if is_root { ["-m", "--", "sh", "-c"].as_slice() } else { &["-rm", "--", "sh", "-c"] })
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there: it comes with util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            let _ = holder.wait();
            panic!("this machine lets nobody mount a small disk: run as root, or allow user namespaces");
        }
        SmallDisk { holder, is_root, folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("disk/data")
    }

    /// Runs a command in the mount namespace.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.holder.id().to_string(), "-m"]);
        if !self.is_root {
            inside.args(["-U", "--preserve-credentials"]);
        }
        inside.arg("--").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside
    }

    fn serve(&self) -> Command {
        let mut command = vang();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        // As small as the disk: only what cannot be posted makes it not ready.
        command.args(["--limit", "ready-free=0", "--data"]).arg(self.data());
        self.inside(&command)
    }

    fn start(&self) -> Server {
        Server::spawn(self.serve(), &self.data())
    }

    fn check(&self) {
        let mut command = vang();
        command.args(["admin", "check", "--data"]).arg(self.data());
        let said = succeeded(&["admin", "check"], self.inside(&command).output().unwrap());
        assert!(said.starts_with("ok: journal "), "{said}");
    }

    fn filler(&self) -> PathBuf {
        let path = self.folder.path().join("disk/filler");
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.strip_prefix("/").unwrap())
    }

    /// Fills the disk.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            let chunk = vec![0; size];
            let full = loop {
                if let Err(error) = filler.write_all(&chunk) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The text of message `i`: as long as a page, so that a few of them fill the remaining space.
fn text(i: usize) -> String {
    format!("{i:<4000}")
}

/// A sender that goes on until the disk is full, and keeps its acknowledgements.
#[derive(Default)]
struct Talk {
    kept: Vec<Received>,
    tried: usize,
}

impl Talk {
    /// Sends the next message: the same id again if it was refused before.
    fn send(&mut self, raw: &mut Raw) -> Value {
        let (i, id) = (self.tried, format!("m{}", self.tried));
        let reply = raw.send("ada", &id, &text(i));
        if reply["status"] == "ok" {
            self.tried += 1;
            self.kept.push(crate::common::received_of(&reply, text(i).as_bytes()));
        }
        reply
    }

    fn send_some(&mut self, raw: &mut Raw, count: usize) {
        for _ in 0..count {
            let reply = self.send(raw);
            assert_eq!(reply["status"], "ok", "{reply}");
        }
    }

    /// Sends until the disk is full.
    fn send_until_full(&mut self, raw: &mut Raw) -> Value {
        for _ in 0..4_000 {
            let reply = self.send(raw);
            if reply["status"] != "ok" {
                return reply;
            }
        }
        panic!("there was always room");
    }

    /// Repeats a refused message until it is accepted.
    fn send_until_it_works(&mut self, raw: &mut Raw) {
        until("it works again", || self.send(raw)["status"] == "ok");
    }

    fn last(&self) -> String {
        self.kept.last().unwrap().text.clone()
    }
}

/// Senders get an error with a code, and monitoring reports the full disk.
/// Sometimes a retry succeeds, because a failed write can leave a little space.
fn assert_refused_full(server: &Server, raw: &mut Raw, talk: &mut Talk) {
    for _ in 0..4 {
        let reply = talk.send_until_full(raw);
        assert_eq!((&reply["status"], &reply["code"]), (&"error".into(), &"disk-full".into()), "{reply}");
        let detail = reply["detail"].as_str().unwrap();
        assert!(detail.starts_with("no space left for the journal: "), "{detail}");
        assert!(detail.ends_with("; nothing was posted"), "{detail}");
        assert!(reply["retry-after"].as_u64().unwrap() > 0);
    }
    // It looks by itself whether it works again, and now and then that succeeds as well.
    until("it says that it is not ready", || {
        talk.send_until_full(raw);
        let (status, body) = get(server, "/readyz");
        status == 503 && body.starts_with("not ready: no space left for the journal: ")
    });
    assert_eq!(get(server, "/healthz").0, 200);
}

/// Readers go on: new ones read all acknowledged messages, by following and by history. History can lack the
/// newest, for which the view has no space; then it says so.
fn assert_readable(server: &Server, kept: &[Received]) {
    let fresh = Follower::start(&server.addr).until(&kept.last().unwrap().text);
    assert!(fresh == kept, "a new follower gets something else");
    let mut raw = Raw::connect(&*server.addr);
    let mut read = Vec::new();
    loop {
        let (reply, page) = page(&mut raw, read.len() as u64);
        if reply["status"] != "ok" {
            assert_eq!(reply["code"], "view-behind", "{reply}");
            break;
        }
        assert!(!page.is_empty());
        read.extend(page);
        if reply["last"] == reply["end"] {
            break;
        }
    }
    assert!(read == kept[..read.len()], "history is something else");
    assert!(read.len() * 2 > kept.len(), "of {} messages, history shows {}", kept.len(), read.len());
}

/// The server is ready again before the next send, and then everything works as before.
fn assert_healed(server: &Server, talk: &mut Talk) {
    until("ready again", || get(server, "/readyz").0 == 200);
    let mut raw = Raw::connect(&*server.addr);
    talk.send_some(&mut raw, 20);
    let history = history(&server.addr);
    assert_one_history(&history);
    assert!(history == talk.kept, "something else than what was acknowledged");
}

#[test]
fn readyz_reports_a_filling_disk_before_a_send_fails() {
    let disk = SmallDisk::new("16m");
    let mut command = disk.serve();
    command.args(["--limit", "ready-free=8MiB"]);
    let server = Server::spawn(command, &disk.data());
    until("ready", || get(&server, "/readyz").0 == 200);
    let mut filler = File::create(disk.filler()).unwrap();
    filler.write_all(&vec![0; 10 << 20]).unwrap();
    drop(filler);
    let (code, body) = get(&server, "/readyz");
    assert!(
        code == 503 && body.ends_with(" free, less than the limit ready-free (8.0 MiB)\n"),
        "{code} {body}"
    );
    // The warning comes early: everything still works.
    let mut talk = Talk::default();
    let mut raw = Raw::connect(&*server.addr);
    talk.send_some(&mut raw, 20);
    let mut status = vang();
    status.args(["status", "--data"]).arg(disk.data());
    let said = succeeded(&["status"], disk.inside(&status).output().unwrap());
    assert!(
        said.contains(", NOT READY: the disk has ")
            && said.contains("\nwhat this means\n  - the disk is almost full ("),
        "{said}"
    );
    disk.make_room();
    until("ready again", || get(&server, "/readyz").0 == 200);
    assert!(history(&server.addr) == talk.kept);
}

#[test]
fn on_a_full_disk_sends_fail_reads_work_and_it_recovers() {
    let disk = SmallDisk::new("4m");
    let server = disk.start();
    let mut tail = tail(&server, Some(0));
    let mut follower = Follower::start(&server.addr);
    let mut talk = Talk::default();
    let mut raw = Raw::connect(&*server.addr);
    talk.send_some(&mut raw, 60);
    // The view gathers before it writes, unless a request needs it.
    assert!(history(&server.addr) == talk.kept);
    for round in 0..2 {
        disk.fill();
        assert_refused_full(&server, &mut raw, &mut talk);
        assert_readable(&server, &talk.kept);
        // The server does not report recovery too early.
        let log = server.log();
        assert_eq!(log.matches("the journal can be written again").count(), round, "{log}");
        assert_eq!(
            log.matches("the journal cannot be written; senders get an error").count(),
            round + 1,
            "{log}"
        );
        // The journal is only read: nothing keeps a check from that.
        disk.check();
        disk.make_room();
        assert_healed(&server, &mut talk);
    }
    assert!(follower.until(&talk.last()) == talk.kept);
    assert!(shown_until(&mut tail, &talk.last()) == talk.kept);
    disk.check();
    // Killed with no room: nothing is lost by that either.
    disk.fill();
    talk.send_until_full(&mut raw);
    server.kill();
    disk.make_room();
    let server = disk.start();
    assert_healed(&server, &mut talk);
    disk.check();
    assert!(server.stop().success());
    disk.check();
}

#[test]
fn a_server_started_on_a_full_disk_serves_readers_and_recovers() {
    let disk = SmallDisk::new("4m");
    let mut talk = Talk::default();
    let server = disk.start();
    talk.send_some(&mut Raw::connect(&*server.addr), 100);
    assert!(server.stop().success());
    let stop: fn(Server) = |server| assert!(server.stop().success());
    for (how, end) in [("stopped", stop), ("killed", Server::kill)] {
        eprintln!("started on a full disk after it was {how}");
        disk.fill();
        let server = disk.start();
        let mut raw = Raw::connect(&*server.addr);
        assert_refused_full(&server, &mut raw, &mut talk);
        assert_readable(&server, &talk.kept);
        disk.make_room();
        assert_healed(&server, &mut talk);
        disk.check();
        disk.fill();
        talk.send_until_full(&mut raw);
        end(server);
        // What it took away when it ended left room for the one that comes.
        disk.fill();
        if how == "stopped" {
            disk.check();
        }
        let server = disk.start();
        assert_readable(&server, &talk.kept);
        disk.make_room();
        assert_healed(&server, &mut talk);
        end(server);
        disk.check();
    }
}

#[test]
fn a_file_size_limit_is_handled_like_a_full_disk() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut command = Command::new("prlimit");
    command.args([
        "--fsize=2000000:unlimited",
        env!("CARGO_BIN_EXE_vang"),
        "serve",
        "--listen",
        "127.0.0.1:0",
    ]);
    let server = Server::spawn(
        {
            command.arg("--data").arg(&data);
            command
        },
        &data,
    );
    let mut tail = tail(&server, Some(0));
    let mut talk = Talk::default();
    let mut raw = Raw::connect(&*server.addr);
    assert_refused_full(&server, &mut raw, &mut talk);
    assert_readable(&server, &talk.kept);
    let raised = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(raised.success());
    talk.send_until_it_works(&mut raw);
    assert_healed(&server, &mut talk);
    assert!(shown_until(&mut tail, &talk.last()) == talk.kept);
    check(&data);
    server.kill();
    let server = Server::start(&data);
    assert_kept(&history(&server.addr), &talk.kept);
    assert_healed(&server, &mut talk);
}

#[test]
fn a_read_only_folder_is_refused_with_its_name() {
    let disk = SmallDisk::new("4m");
    let server = disk.start();
    let mut talk = Talk::default();
    talk.send_some(&mut Raw::connect(&*server.addr), 10);
    assert!(server.stop().success());
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(disk.data().parent().unwrap());
        assert!(disk.inside(&mount).status().unwrap().success());
    };
    remount("ro");
    let output = disk.serve().stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(disk.data().to_str().unwrap()) && said.to_lowercase().contains("read-only"),
        "{said}"
    );
    remount("rw");
    let server = disk.start();
    assert_healed(&server, &mut talk);
}

#[test]
fn backup_and_restore_on_a_full_disk_leave_no_files() {
    let disk = SmallDisk::new("8m");
    let server = disk.start();
    let mut raw = Raw::connect(&*server.addr);
    let mut talk = Talk::default();
    talk.send_some(&mut raw, 250);
    let point = disk.data().parent().unwrap().to_owned();
    let (near, far) = (point.join("chat.vang"), disk.folder.path().join("chat.vang"));
    let admin = |args: &[&str], file: &Path, data: &Path| {
        let mut command = vang();
        command.arg("admin").args(args).arg(file).arg("--data").arg(data);
        disk.inside(&command).output().unwrap()
    };
    // Some room, but not for a megabyte of messages again.
    let leave_little = || {
        let room = rustix::fs::statvfs(disk.filler().parent().unwrap()).unwrap();
        let taken = room.f_bavail * room.f_frsize - (600 << 10);
        std::fs::write(disk.filler(), vec![0; taken as usize]).unwrap();
    };
    leave_little();
    let output = admin(&["backup"], &near, &disk.data());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains(&format!("cannot write {} after ", near.display())), "{said}");
    assert!(said.contains("no space left on device") && said.contains("more space"), "{said}");
    let left = || -> Vec<String> {
        let files = std::fs::read_dir(disk.filler().parent().unwrap()).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(left(), ["data", "filler"]);
    // The server has continued, or continues now that the files are removed.
    talk.send_until_it_works(&mut raw);
    disk.make_room();
    assert_healed(&server, &mut talk);
    leave_little();
    // Elsewhere there is room for it; but not here for a second journal.
    succeeded(&["backup"], admin(&["backup"], &far, &disk.data()));
    let output = admin(&["restore"], &far, &point.join("again"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(
        said.contains("cannot restore into ") && said.contains("no space left for the journal"),
        "{said}"
    );
    assert_eq!(left(), ["data", "filler"]);
    talk.send_until_it_works(&mut raw);
    disk.make_room();
    assert_healed(&server, &mut talk);
    disk.check();
}
