//! `contrib/systemd` and the log: what the operating guide promises of a service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::comes_true;
use crate::harness::{Server, folder, program, succeeded, vang};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn unit() -> String {
    fs::read_to_string(repository().join("contrib/systemd/vang.service")).unwrap()
}

/// The unit with the program under test.
fn unit_in(dir: &Path) -> PathBuf {
    let path = dir.join("vang.service");
    fs::write(&path, unit().replace("/usr/bin/vang", env!("CARGO_BIN_EXE_vang"))).unwrap();
    path
}

#[test]
fn systemd_accepts_the_unit() {
    let dir = folder();
    let output =
        program("systemd-analyze").args(["verify", "--man=no"]).arg(unit_in(dir.path())).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn systemd_counts_the_service_as_well_protected() {
    let dir = folder();
    let mut command = program("systemd-analyze");
    // Of 100, where 100 is no protection at all. What is left is mostly the network, which a server needs.
    command.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit_in(dir.path()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_command_of_the_unit_starts_a_server_with_the_packaged_settings() {
    let dir = folder();
    let data = dir.path().join("data");
    let unit = unit();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/vang ")).unwrap();
    let line =
        line.replace("/etc/vang/vang.toml", repository().join("contrib/systemd/vang.toml").to_str().unwrap());
    let line = line.replace("/var/lib/vang", data.to_str().unwrap());
    let mut command = vang();
    // A test cannot have the port of the settings for itself.
    command.args(line.split(' ')).args(["--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command, &data);
    assert!(server.stop().success());
}

#[test]
fn logrotate_rotates_the_log_of_a_running_server() {
    let dir = folder();
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &[]);
    let log = dir.path().join("data.log");
    comes_true("the start is in the log", || server.log().contains("trust: folder"));
    let guide = fs::read_to_string(repository().join("docs/OPERATING.md")).unwrap();
    let rules = guide.split("```logrotate\n").nth(1).unwrap().split("```").next().unwrap();
    let conf = dir.path().join("logrotate.conf");
    fs::write(&conf, rules.replace("/var/log/vang.log", log.to_str().unwrap())).unwrap();
    let mut logrotate = Command::new("/usr/sbin/logrotate");
    logrotate.arg("--force").arg("--state").arg(dir.path().join("state")).arg(&conf);
    succeeded(&["logrotate"], logrotate.output().unwrap());
    assert!(dir.path().join("data.log.1.gz").exists());
    assert!(!server.log().contains("trust: folder"), "the old lines are in the other file");
    server.signal("HUP");
    comes_true("the server goes on in the same file", || server.log().contains("configuration reloaded"));
    // At its beginning, not behind a hole of the old length.
    assert!(!fs::read(&log).unwrap().contains(&0));
    assert!(server.stop().success());
}
