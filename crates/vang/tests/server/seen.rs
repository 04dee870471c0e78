//! What was seen of sign-ins: when and from where, and who failed to. It outlives the server, and its file can be lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::common::{ask, comes_true, serve_process, stderr};
use crate::harness::{Server, succeeded, vang};
use crate::passwords::{FIRST, SECOND, log_in, with_eve};
use crate::sign_in::World;

/// Stops the server, and starts it again as a process when `change` has seen its file.
fn restarted(world: World, change: impl FnOnce(&Path)) -> World {
    let World { dir, server } = world;
    server.stop();
    let data = dir.path().join("data");
    change(&data.join("seen.db"));
    World { server: Server::start_with(&data, "127.0.0.1:0", &[]), dir }
}

/// The rows of eve's `sessions`, as the operator sees them, and what else is said.
fn sessions(world: &World) -> (Vec<Value>, String) {
    let mut command = vang();
    let listed = command.args(["admin", "session", "list", "eve", "--json", "--data"]).arg(world.data());
    let listed = listed.output().unwrap();
    let said = stderr(&listed);
    let rows = succeeded(&["session list"], listed);
    (rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect(), said)
}

const ONE: &str = "vang: 1 sign-in with a wrong password since the last with the right one; it was at 20";
const TWO: &str =
    "vang: 2 sign-ins with a wrong password since the last with the right one; the last was at 20";

#[test]
fn sessions_and_failed_sign_ins_are_the_same_after_a_restart() {
    let world = with_eve(World::with(serve_process(&[])));
    for password in [SECOND, SECOND] {
        assert_eq!(log_in(&world, "laptop", password).status.code(), Some(1));
    }
    let told = stderr(&log_in(&world, "laptop", FIRST));
    assert!(told.starts_with(TWO) && told.contains(" from 127.0.0.1\nvang: if that was not you: "), "{told}");
    assert!(!stderr(&log_in(&world, "phone", FIRST)).contains("wrong password"), "it was told");
    log_in(&world, "phone", SECOND);
    comes_true("the connections have ended", || sessions(&world).0.iter().all(|row| row["connections"] == 0));
    let (before, said) = sessions(&world);
    assert!(said.starts_with(ONE) && said.ends_with(" from 127.0.0.1\n"), "{said}");
    assert_eq!(before.len(), 2);
    for row in &before {
        assert!(row["used"].as_str().unwrap().ends_with('Z') && row["address"] == "127.0.0.1", "{row}");
    }
    let world = restarted(world, |file| {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    });
    assert_eq!(sessions(&world), (before, said));
    assert!(stderr(&log_in(&world, "laptop", FIRST)).starts_with(ONE));
    assert_eq!(sessions(&world).1, "");
    // Who types is told, too.
    log_in(&world, "laptop", SECOND);
    let typed = ask(&world.server.addr, format!("/sign-in eve\n{FIRST}\n/quit\n").as_bytes());
    let typed = String::from_utf8(typed).unwrap();
    assert!(typed.contains(&ONE.replace("vang:", "--")), "{typed}");
}

/// What is done to the file while no server runs.
type Spoil = fn(&Path);

#[test]
fn a_server_starts_without_its_file_or_with_one_that_it_cannot_read() {
    let mut world = with_eve(World::with(serve_process(&[])));
    let spoil: [(&str, Spoil); 4] = [
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("garbage", |file| fs::write(file, b"no database, but long enough".repeat(100)).unwrap()),
        ("newer", |file| {
            Connection::open(file).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        }),
        ("no file", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        assert_eq!(log_in(&world, "laptop", SECOND).status.code(), Some(1));
        assert_eq!(log_in(&world, "phone", FIRST).status.code(), Some(0));
        log_in(&world, "phone", SECOND);
        let logged = world.server.log().lines().count();
        world = restarted(world, spoil);
        let log = world.server.log();
        let about = log.lines().skip(logged).filter(|line| line.contains("seen.db")).count();
        assert_eq!(about, usize::from(what != "missing"), "{what}: {log}");
        let (rows, said) = sessions(&world);
        assert!(said.is_empty() && rows.iter().all(|row| row.get("used").is_none()), "{what}: {said}");
    }
    // What is seen now is kept in memory.
    assert_eq!(log_in(&world, "phone", FIRST).status.code(), Some(0));
    assert!(sessions(&world).0.iter().any(|row| row["address"] == "127.0.0.1"));
}
