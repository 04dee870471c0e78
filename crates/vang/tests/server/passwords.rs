//! Passwords from the command line: signing in on several devices, changing one, and that none is shown on a terminal.

use std::process::{Command, Output};

use crate::common::{fails, stderr};
use crate::harness::succeeded;
use crate::harness::terminal::Terminal;
use crate::sign_in::{World, given, run};

pub(crate) const FIRST: &str = "correct horse battery";
pub(crate) const SECOND: &str = "staple of another kind";

/// A command of the user of this device.
fn on(world: &World, device: &str, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env("XDG_CONFIG_HOME", world.dir.path().join(device));
    command
}

pub(crate) fn log_in(world: &World, device: &str, password: &str) -> Output {
    let args = ["login", "eve", "--password-stdin", "--device", device];
    given(on(world, device, &args), &format!("{password}\n"))
}

/// Adds eve with the first password.
pub(crate) fn with_eve(world: World) -> World {
    let mut add = crate::harness::vang();
    add.args(["admin", "account", "add", "eve", "--password-stdin", "--data"]).arg(world.data());
    assert_eq!(succeeded(&["account add"], given(add, &format!("{FIRST}\n"))), "eve\n");
    world
}

#[test]
fn a_new_password_signs_out_all_other_devices() {
    let world = with_eve(World::new());
    let addr = &world.server.addr;
    let wrong = log_in(&world, "laptop", SECOND);
    assert_eq!(wrong.status.code(), Some(1));
    let expected = "vang: the name or the password is wrong\n  check the name and the password. An account gets its first password \
                    from the operator: vang admin account password NAME\n";
    assert_eq!(stderr(&wrong), expected);
    for device in ["laptop", "phone", "laptop"] {
        let said = succeeded(&["login"], log_in(&world, device, FIRST));
        assert_eq!(said, format!("eve at {addr}, signed in\n"));
    }
    // The second login on the laptop has replaced the first one.
    let sessions = run(on(&world, "laptop", &["sessions"]));
    let titles: Vec<&str> =
        sessions.lines().skip(1).map(|row| row.split("  ").nth(1).unwrap().trim()).collect();
    assert_eq!(titles, ["phone", "laptop"], "{sessions}");
    assert!(sessions.lines().last().unwrap().ends_with("1 (this one)"), "{sessions}");
    assert_eq!(run(on(&world, "phone", &["send", "general", "hi"])), "general#1\n");

    let passwd = |device: &str, args: &[&str], old: &str, new: &str| {
        let args = [&["passwd", "--password-stdin"], args].concat();
        given(on(&world, device, &args), &format!("{old}\n{new}\n"))
    };
    let wrong = passwd("laptop", &[], SECOND, FIRST);
    assert!(stderr(&wrong).starts_with("vang: the name or the password is wrong\n"), "{wrong:?}");
    assert_eq!(succeeded(&["passwd"], passwd("laptop", &[], FIRST, SECOND)), "eve\n");
    let said = fails(on(&world, "phone", &["rooms"]), 1);
    let expected = "vang: the token is wrong, was ended, or is over; sign in with the password\n  sign in: vang login NAME\n";
    assert_eq!(said, expected);
    assert_eq!(run(on(&world, "laptop", &["whoami"])), format!("eve at {addr}, signed in with vang login\n"));
    assert_eq!(log_in(&world, "phone", FIRST).status.code(), Some(1));
    assert_eq!(log_in(&world, "phone", SECOND).status.code(), Some(0));

    // One device signs out another one.
    let list = run(on(&world, "laptop", &["sessions", "--json"]));
    let rows = list.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let phone = rows.into_iter().find(|row| row["title"] == "phone").unwrap()["id"].to_string();
    assert_eq!(run(on(&world, "laptop", &["sessions", "end", &phone])), "eve\n");
    fails(on(&world, "phone", &["rooms"]), 1);
    run(on(&world, "laptop", &["logout"]));
    // Without a token the old password is enough to set a new one.
    assert_eq!(succeeded(&["passwd"], passwd("desk", &["--as", "eve"], SECOND, FIRST)), "eve\n");
    assert_eq!(log_in(&world, "desk", FIRST).status.code(), Some(0));
}

#[test]
fn a_refused_password_leaves_the_new_account_and_says_how_to_set_one() {
    let world = World::new();
    let operator = |args: &[&str], password: &str| {
        let mut command = crate::harness::vang();
        command.arg("admin").args(args).arg("--data").arg(world.data());
        given(command, &format!("{password}\n"))
    };
    let weak = operator(&["account", "add", "eve", "--password-stdin"], "eve");
    assert_eq!(weak.status.code(), Some(1));
    let said = stderr(&weak);
    assert!(
        said.starts_with("vang: the account 'eve' was added, but its password was not set: ")
            && said.ends_with("\n  set it: vang admin account password eve\n"),
        "{said}"
    );
    assert_eq!(
        succeeded(&["password"], operator(&["account", "password", "eve", "--password-stdin"], FIRST)),
        "eve\n"
    );
    assert_eq!(log_in(&world, "laptop", FIRST).status.code(), Some(0));
}

#[test]
fn passwords_are_typed_without_being_shown() {
    let world = with_eve(World::new());
    let mut terminal = Terminal::start(on(&world, "laptop", &["login", "eve"]));
    terminal.shows(format!("Password of eve at {}:", world.server.addr).as_str());
    terminal.press(&format!("{FIRST}\r"));
    terminal.shows("eve at ");
    assert!(terminal.wait().success() && terminal.is_restored());
    assert!(!String::from_utf8_lossy(&terminal.raw).contains(FIRST));
    for (again, is_changed) in [("something else", false), (SECOND, true)] {
        let mut terminal = Terminal::start(on(&world, "laptop", &["passwd"]));
        for (question, typed) in
            [("Old password:", FIRST), ("New password:", SECOND), ("The new password again:", again)]
        {
            terminal.shows(question);
            terminal.press(&format!("{typed}\r"));
        }
        assert_eq!(terminal.wait().success(), is_changed);
        let shown = String::from_utf8_lossy(&terminal.raw);
        assert!([FIRST, SECOND, again].iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
