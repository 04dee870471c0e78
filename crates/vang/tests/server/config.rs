//! The origin of settings, and reloading them with SIGHUP.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::common::{comes_true, dial, fails};
use crate::harness::{PATIENCE, Server, exchange, folder, program, request, result_of, succeeded, vang};

fn show(file: &Path, more: &[&str]) -> Command {
    let mut command = vang();
    command.args(["config", "show", "--config"]).arg(file).args(more);
    command
}

#[test]
fn settings_come_from_flags_environment_file_defaults_in_order() {
    let dir = folder();
    let file = dir.path().join("vang.toml");
    fs::write(&file, "listen = [\"127.0.0.1:1\", \":2\"]\nbacklog = 7\nguests = 'everywhere'\n[limits]\nidle = '5m'\nline = 100\ncontent = '2MiB'\n").unwrap();
    let mut command = show(&file, &["--limit", "idle=7m", "--lines", "everywhere", "--data", "/srv/chat"]);
    command.env("VANG_LIMIT_LINE", "200").env("VANG_BACKLOG", "9").env("VANG_LINES", "local");
    let said = succeeded(&["config", "show"], command.output().unwrap());
    let origin = |key: &str| {
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("{key}: {said}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let in_file = format!("# file {}", file.display());
    assert_eq!(origin("listen"), format!("listen = [\"127.0.0.1:1\", \":2\"] {in_file}"));
    assert_eq!(origin("guests"), format!("guests = \"everywhere\" {in_file}"));
    assert_eq!(origin("content"), format!("content = \"2MiB\" {in_file}"));
    assert_eq!(origin("backlog"), "backlog = \"9\" # environment VANG_BACKLOG");
    assert_eq!(origin("line"), "line = \"200\" # environment VANG_LIMIT_LINE");
    assert_eq!(origin("lines"), "lines = \"everywhere\" # flag");
    assert_eq!(origin("idle"), "idle = \"7m\" # flag");
    assert_eq!(origin("data"), "data = \"/srv/chat\" # flag");
    assert_eq!(origin("stall"), "stall = \"10m\" # default");
    assert_eq!(origin("metrics"), "metrics = \"local\" # default");
    // What it prints is a file that says the same.
    let again = dir.path().join("again.toml");
    fs::write(&again, &said).unwrap();
    let twice = succeeded(&["config", "show"], show(&again, &[]).output().unwrap());
    let values = |said: &str| {
        said.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&twice), values(&said));
}

#[test]
fn an_error_in_the_file_names_the_place_and_what_is_allowed() {
    let dir = folder();
    let file = dir.path().join("vang.toml");
    let shown = file.display().to_string();
    for (text, expected) in [
        ("listn = ['x']", format!("vang: {shown}: there is no key 'listn'; did you mean 'listen'?")),
        (
            "[limits]\ncontnet = 1",
            format!("vang: {shown}: there is no key 'limits.contnet'; did you mean 'limits.content'?"),
        ),
        ("zzz = 1", format!("vang: {shown}: there is no key 'zzz'; there are listen, data, ")),
        ("backlog = 'many'", format!("vang: file {shown}: invalid value 'many' for '--backlog <N>': ")),
        ("guests = 'nobody'", format!("vang: file {shown}: invalid value 'nobody' for '--guests <FROM>'")),
        (
            "listen = ['localhost']",
            format!("vang: file {shown}: invalid value 'localhost' for '--listen <HOST:PORT>': "),
        ),
        (
            "[limits]\nidle = 'soon'",
            format!("vang: file {shown}: limit 'idle' is soon; it must be 10ms to 365d"),
        ),
        ("backlog = [1, 2]", format!("vang: {shown}: 'backlog' has one value, not a list")),
        ("backlog = 1.5", format!("vang: {shown}: 'backlog' is a float; ")),
        ("backlog = ", format!("vang: {shown} is not TOML: ")),
    ] {
        fs::write(&file, text).unwrap();
        let said = fails(show(&file, &[]), 2);
        assert!(said.starts_with(&expected), "{text}\n{said}\n{expected}");
    }
    let said = fails(show(&dir.path().join("none.toml"), &[]), 2);
    assert!(said.contains("cannot read") && said.contains("none.toml"), "{said}");
}

#[test]
fn hup_reads_the_file_again_and_drops_no_connection() {
    let dir = folder();
    let (data, file) = (dir.path().join("data"), dir.path().join("vang.toml"));
    let door = |n: u32| dir.path().join(format!("door{n}"));
    let listen = |n: u32, more: &str| {
        fs::write(&file, format!("listen = ['127.0.0.1:0', 'unix:{}']\n{more}", door(n).display())).unwrap();
    };
    listen(1, "");
    let mut command = vang();
    command.args(["serve", "--config"]).arg(&file).arg("--data").arg(&data);
    let mut server = Server::spawn(command, &data);
    server.listening();
    let say = |stream: &mut (dyn crate::common::Wire + '_), text: &str| {
        let mut stream = stream;
        exchange(&mut stream, &request("send", &[("room", "\"general\""), ("as", "\"ada\"")], text)).0
    };
    let create = |stream: &mut (dyn crate::common::Wire + '_)| {
        let mut stream = stream;
        exchange(&mut stream, &request("create", &[("room", "\"lab\""), ("as", "\"ada\"")], "")).0
    };
    let mut old = dial(&format!("unix:{}", door(1).display()));
    assert_eq!(say(&mut *old, "one")["status"], "ok");
    assert_eq!(create(&mut *old)["code"], "account-needed");

    listen(2, "log = 'debug'\nrooms-by = 'admins'\n[limits]\ninline = 3\n");
    server.signal("HUP");
    comes_true("it listens at the new place", || {
        door(2).exists() && server.log().contains("configuration reloaded")
    });
    let log = server.log();
    assert!(log.contains("limits.inline") && log.contains("256KiB"), "{log}");
    // Connections stay, and the new settings apply to new requests.
    assert_eq!(say(&mut *old, "two")["status"], "ok");
    assert_eq!(say(&mut *old, "three")["code"], "too-long");
    assert_eq!(create(&mut *old)["code"], "not-allowed");
    let mut new = dial(&format!("unix:{}", door(2).display()));
    assert_eq!(say(&mut *new, "new")["status"], "ok");
    assert!(std::os::unix::net::UnixStream::connect(door(1)).is_err(), "the old door is closed");
    // The one that stayed has its port still.
    assert_eq!(exchange(&mut server.connect(), &request("ping", &[], "")).0["status"], "ok");

    // A mistake changes nothing.
    listen(3, "[limits]\ninline = 'much'\n");
    server.signal("HUP");
    comes_true("the mistake is logged", || server.log().contains("limit 'inline' is much"));
    assert!(!door(3).exists());
    assert_eq!(say(&mut *new, "still")["code"], "too-long");
    // Nor does an address that cannot be used.
    fs::write(&file, "listen = ['127.0.0.1:0', 'unix:/nonexistent/door']\n").unwrap();
    server.signal("HUP");
    comes_true("that is logged as well", || server.log().contains("/nonexistent/door"));
    assert_eq!(say(&mut *new, "still")["code"], "too-long");
    assert_eq!(result_of(&exchange(&mut new, &request("ping", &[], "")).1), "pong");
    assert!(server.stop().success());
}

#[test]
fn systemd_is_notified_of_ready_reload_and_stop() {
    let dir = folder();
    let data = dir.path().join("data");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let notified = || {
        let mut bytes = [0; 256];
        let n = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    };
    let mut command = vang();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).env("NOTIFY_SOCKET", &path);
    let mut server = Server::spawn(command, &data);
    assert_eq!(notified(), "READY=1");
    server.signal("HUP");
    let reloading = notified();
    let us = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(us.parse::<u64>().unwrap() > 0);
    assert_eq!(notified(), "READY=1");
    server.signal("TERM");
    assert_eq!(notified(), "STOPPING=1");
    assert!(server.wait().success());
    assert!(
        !server.log().contains("Stop it with"),
        "what is for people is not in the journal: {}",
        server.log()
    );
}

#[test]
fn the_watchdog_gets_pings_and_unused_sockets_are_logged() {
    let dir = folder();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let data = dir.path().join("data");
    let mut command = program("sh");
    let script = "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_vang")]).arg(&data).env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "100000").env("LISTEN_FDS", "2");
    let server = Server::spawn(command, &data);
    let mut alive = 0;
    while alive < 3 {
        let mut bytes = [0; 256];
        let n = manager.recv(&mut bytes).unwrap();
        alive += u32::from(&bytes[..n] == b"WATCHDOG=1");
    }
    assert!(
        server.log().contains("LISTEN_FDS: sockets of the service manager are not used"),
        "{}",
        server.log()
    );
    assert!(server.log().contains("count=2"), "{}", server.log());
    assert!(server.stop().success());
}
