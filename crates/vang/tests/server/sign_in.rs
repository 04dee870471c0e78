//! Signing in from the command line: tokens of scripts, what `vang login` stores, sessions.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{fails, serve, stderr};
use crate::harness::hosts::Hosts;
use crate::harness::terminal::Terminal;
use crate::harness::{Server, Tail, folder, succeeded, vang};

/// A server with the accounts ada and weather, and a folder for what its users store.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(serve(&[]))
    }

    pub(crate) fn with((dir, server): (TempDir, Server)) -> World {
        let world = World { dir, server };
        for name in ["ada", "weather"] {
            world.admin(&["account", "add", name]);
        }
        world
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The output of a command of the operator.
    fn admin(&self, args: &[&str]) -> String {
        let mut command = vang();
        command.arg("admin").args(args).arg("--data").arg(self.data());
        succeeded(args, command.output().unwrap())
    }

    /// A new token.
    fn token(&self, name: &str, more: &[&str]) -> String {
        let made = self.admin(&[&["token", "create", name, "--title", "a test"], more].concat());
        let token = made.strip_suffix('\n').unwrap().to_owned();
        assert!(token.starts_with("vang_") && !token.contains(char::is_whitespace), "{token}");
        token
    }

    /// The IDs of the account's tokens, oldest first.
    fn ids(&self, name: &str) -> Vec<String> {
        let list = self.admin(&["token", "list", name, "--json"]);
        list.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()["id"].to_string()).collect()
    }

    /// A command over TCP, of a user whose tokens are stored in this folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.server.client(args);
        command.env("XDG_CONFIG_HOME", self.dir.path().join("config")).env("USER", "kim");
        command
    }

    /// The same with a token of a script.
    fn with_token(&self, token: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("VANG_TOKEN", token);
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        succeeded(args, self.command(args).output().unwrap())
    }

    /// Signs in with a token, which is stored then.
    fn log_in(&self, token: &str) -> Output {
        given(self.command(&["login", "--token-stdin"]), &format!("{token}\n"))
    }

    fn stored(&self) -> PathBuf {
        self.dir.path().join("config/vang/tokens")
    }
}

/// A command with this on its stdin.
pub(crate) fn given(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn run(mut command: Command) -> String {
    succeeded(&[&format!("{command:?}")], command.output().unwrap())
}

#[test]
fn a_script_with_a_token_acts_as_the_account_over_the_network() {
    let world = World::new();
    let token = world.token("weather", &["--scope", "send"]);
    let run = |args: &[&str]| run(world.with_token(&token, args));
    assert_eq!(run(&["create", "ops", "--private"]), "ops\n");
    assert_eq!(run(&["send", "ops", "22 C"]), "ops#1\n");
    assert_eq!(run(&["send", "ops", "23 C", "--as", "weather"]), "ops#2\n");
    let said = run(&["tail", "ops", "--since", "0", "--no-follow", "--format", "cat"]);
    assert_eq!(said, "22 C\n23 C\n");
    assert_eq!(run(&["get", "ops#1"]), "22 C");
    assert!(run(&["find", "22", "--json"]).contains("\"from\": \"weather\""));
    assert!(run(&["rooms"]).contains("ops  private, member, 2 messages"));
    let addr = &world.server.addr;
    assert_eq!(run(&["whoami"]), format!("weather at {addr}, signed in with the token in VANG_TOKEN\n"));
    let who: Value = serde_json::from_str(&run(&["whoami", "--json"])).unwrap();
    let expected =
        serde_json::json!({"name": "weather", "server": addr, "proof": "token", "source": "VANG_TOKEN"});
    assert_eq!(who, expected);
    // Inside TLS it is the same server.
    let by_tls = run(&["whoami", "--server", &format!("vangs://{addr}")]);
    assert_eq!(by_tls, format!("weather at {addr}, signed in with the token in VANG_TOKEN\n"));
    // Without it, kim is a guest and sees nothing of the room.
    assert_eq!(world.ok(&["whoami"]), format!("guest:kim at {addr}, not signed in\n"));
    assert!(!world.ok(&["rooms"]).contains("ops"));
}

#[test]
fn a_wrong_an_ended_and_a_narrow_token_are_refused_with_what_to_do() {
    let world = World::new();
    let [reader, ended] =
        [&["--scope", "read"][..], &["--scope", "send"]].map(|scope| world.token("ada", scope));
    let builds = world.token("ada", &["--scope", "send", "--room", "general", "--days", "1"]);
    let send = ["send", "general", "hi"];
    let said = fails(world.with_token(&reader, &send), 1);
    assert_eq!(said, "vang: a token of scope 'read' is not enough for 'send'; it needs 'send'\n");
    world.admin(&["token", "end", "ada", &world.ids("ada")[1]]);
    for token in [ended.as_str(), "vang_0"] {
        let said = fails(world.with_token(token, &send), 1);
        let expected = "vang: the token is wrong, was ended, or is over; sign in with the password\n  \
                        VANG_TOKEN has this token: set another one, or unset it and sign in: vang login NAME\n";
        assert_eq!(said, expected);
    }
    let said = fails(world.with_token(&reader, &["rooms", "--as", "weather"]), 1);
    assert!(said.contains("another account's than the name says"), "{said}");
    assert_eq!(run(world.with_token(&builds, &send)), "general#1\n");
    let said = fails(world.with_token(&builds, &["create", "more"]), 1);
    assert!(said.contains("for some rooms only"), "{said}");
    // What its owner does on a device is not done with a token of a script.
    let said = fails(world.with_token(&builds, &["sessions"]), 1);
    assert!(said.contains("a token of scope 'send' is not enough for 'sessions'"), "{said}");
    let said = fails(world.with_token("two words", &send), 1);
    assert_eq!(said, "vang: VANG_TOKEN has no token: a token is one word, as in vang_5c1f…\n");
}

#[test]
fn a_token_file_must_be_closed_to_others() {
    let world = World::new();
    let path = world.dir.path().join("token");
    fs::write(&path, world.token("weather", &["--scope", "send"]) + "\n").unwrap();
    let file = path.to_str().unwrap();
    let args = ["send", "general", "hi", "--token-file", file];
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let said = fails(world.command(&args), 1);
    assert_eq!(
        said,
        format!("vang: {file} can be used by others (mode 0644)\n  close it: chmod 600 {file}\n")
    );
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(world.command(&args)), "general#1\n");
    let who = run(world.command(&["whoami", "--token-file", file]));
    assert!(who.ends_with(&format!("signed in with the token in {file}\n")), "{who}");
    let said = fails(world.with_token("vang_1", &args), 2);
    assert_eq!(said, "vang: --token-file and VANG_TOKEN both name a token\n  use one: unset VANG_TOKEN\n");
}

#[test]
fn a_stored_token_is_used_for_its_server_and_name_until_logout() {
    let world = World::new();
    let (ada, weather) =
        (world.token("ada", &["--scope", "read"]), world.token("weather", &["--scope", "send"]));
    let addr = world.server.addr.clone();
    let said = world.log_in("vang_0");
    assert_eq!(said.status.code(), Some(1));
    let expected = "vang: the token is wrong, was ended, or is over; sign in with the password\n  \
                    sign in with the password: vang login NAME\n";
    assert_eq!(stderr(&said), expected);
    assert!(!world.stored().exists(), "a token that is not valid is not stored");
    for (token, name) in [(&weather, "weather"), (&ada, "ada")] {
        assert_eq!(succeeded(&["login"], world.log_in(token)), format!("{name} at {addr}, signed in\n"));
    }
    assert_eq!(fs::metadata(world.stored()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(world.stored().parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    // The last login, the one that is named, and a guest's name.
    assert_eq!(world.ok(&["whoami"]), format!("ada at {addr}, signed in with vang login\n"));
    assert_eq!(
        world.ok(&["whoami", "--as", "Weather"]),
        format!("weather at {addr}, signed in with vang login\n")
    );
    assert_eq!(world.ok(&["whoami", "--as", "eve"]), format!("guest:eve at {addr}, not signed in\n"));
    assert_eq!(world.ok(&["send", "general", "hi", "--as", "weather"]), "general#1\n");
    // It is not for other servers.
    let other = world.server.addr.replace("127.0.0.1", "localhost");
    assert!(world.ok(&["whoami", "--server", &other]).starts_with("guest:kim at "));
    // On the folder's own socket the name alone is enough.
    let mut own = vang();
    own.args(["whoami", "--as", "ada", "--data"]).arg(world.data()).env("VANG_TOKEN", "vang_0");
    let who = succeeded(&["whoami"], own.output().unwrap());
    assert!(who.starts_with("ada at unix:") && who.ends_with(", by the name alone\n"), "{who}");

    assert_eq!(world.ok(&["logout"]), format!("ada at {addr}, signed out\n"));
    assert_eq!(world.ok(&["whoami"]), format!("weather at {addr}, signed in with vang login\n"));
    let said = fails(world.with_token(&ada, &["rooms"]), 1);
    assert!(said.contains("the token is wrong, was ended, or is over"), "{said}");
    let said = fails(world.command(&["logout", "ada"]), 1);
    assert!(said.starts_with(&format!("vang: no token of ada is stored for {addr}\n")), "{said}");

    let World { dir, server } = world;
    assert!(server.stop().success());
    let mut logout = vang();
    logout.args(["logout", "--server", &addr]).env("XDG_CONFIG_HOME", dir.path().join("config"));
    let said = fails(logout, 1);
    assert!(said.contains("the token of weather is removed here, but it is still valid at "), "{said}");
    let left = fs::read_to_string(dir.path().join("config/vang/tokens")).unwrap();
    assert!(!left.contains("vang_") && left.starts_with("# Tokens of `vang login`"), "{left}");
}

#[test]
fn servers_with_different_data_at_one_address_get_each_their_token() {
    let dir = folder();
    let config = dir.path().join("config");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let operate = |data: &Path, args: &[&str]| {
        let mut command = vang();
        command.arg("admin").args(args).arg("--data").arg(data);
        succeeded(args, command.output().unwrap())
    };
    let client = |addr: &str, args: &[&str]| {
        let mut command = vang();
        command.args(args).env("VANG_SERVER", addr).env("XDG_CONFIG_HOME", &config);
        command
    };
    let mut addr = "127.0.0.1:0".to_owned();
    for (data, name) in [(&one, "ada"), (&two, "bob")] {
        let server = Server::start_with(data, &addr, &[]);
        addr = server.addr.clone();
        operate(data, &["account", "add", name]);
        let token = operate(data, &["token", "create", name, "--title", "a test", "--scope", "read"]);
        succeeded(&["login"], given(client(&addr, &["login", "--token-stdin"]), &token));
        assert!(server.stop().success());
    }
    for (data, name) in [(&one, "ada"), (&two, "bob")] {
        let server = Server::start_with(data, &addr, &[]);
        let who = run(client(&addr, &["whoami"]));
        assert_eq!(who, format!("{name} at {addr}, signed in with vang login\n"));
        assert!(server.stop().success());
    }
}

#[test]
fn another_machine_signs_in_by_tls_where_guests_are_not_admitted() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let data = dir.path().join("data");
    let mut serve = hosts.vang(0, &["serve", "--listen", "10.9.1.1:65432", "--data"]);
    serve.arg(&data);
    let world = World::with((dir, Server::spawn(serve, &data)));
    let elsewhere = |args: &[&str]| {
        let mut command = hosts.vang(1, args);
        command.env("VANG_SERVER", &world.server.addr).env("USER", "kim");
        command.env("XDG_CONFIG_HOME", world.dir.path().join("config"));
        command
    };
    let said = fails(elsewhere(&["rooms"]), 1);
    assert!(said.contains("remembered its key SHA256:"), "{said}");
    let refused = "vang: this server admits guests from its own machine only\n  sign in: vang login NAME\n";
    assert!(said.ends_with(refused), "{said}");
    let token = world.token("weather", &["--scope", "send"]);
    let mut send = elsewhere(&["send", "general", "hi"]);
    send.env("VANG_TOKEN", &token);
    assert_eq!(run(send), "general#1\n");
    let said = succeeded(&["login"], given(elsewhere(&["login", "--token-stdin"]), &token));
    assert_eq!(said, "weather at 10.9.1.1:65432, signed in\n");
    assert_eq!(run(elsewhere(&["whoami"])), "weather at 10.9.1.1:65432, signed in with vang login\n");
    assert_eq!(run(elsewhere(&["logout"])), "weather at 10.9.1.1:65432, signed out\n");
    fails(elsewhere(&["whoami"]), 1);
}

#[test]
fn who_follows_is_signed_out_at_once_when_the_token_ends() {
    let world = World::new();
    let token = world.token("weather", &["--scope", "read"]);
    let mut tail = Tail::start(world.with_token(&token, &["tail", "general"]));
    let present = || {
        let rows = world.admin(&["session", "list", "weather", "--json"]);
        rows.lines().any(|row| serde_json::from_str::<Value>(row).unwrap()["connections"] == 1)
    };
    crate::common::comes_true("it is signed in", present);
    world.ok(&["send", "general", "hi"]);
    assert!(tail.line().ends_with("guest:kim: hi"));
    world.admin(&["session", "end", "weather"]);
    tail.said("the server signed this connection out: its token has ended, or the password has changed");
    tail.said("the token is wrong, was ended, or is over");
    tail.said("VANG_TOKEN has this token");
    assert_eq!(tail.wait().code(), Some(1));
}

#[test]
fn sessions_and_tokens_are_listed_and_ended() {
    let world = World::new();
    let own = |args: &[&str]| {
        let mut command = vang();
        command.args(args).args(["--as", "ada", "--data"]).arg(world.data());
        command
    };
    let backup = run(own(&["token", "create", "--title", "backup", "--scope", "read", "--days", "30"]));
    let made =
        run(own(&["token", "create", "--title", "CI", "--scope", "send", "--room", "general", "--json"]));
    let made: Value = serde_json::from_str(&made).unwrap();
    let list = run(own(&["token", "list"]));
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("id  title   scope  rooms    created"), "{list}");
    assert!(lines[1].contains("backup  read   -  ") && lines[2].contains("CI      send   general"), "{list}");
    assert_eq!((lines.len(), world.admin(&["token", "list", "ada"])), (3, list.clone()));
    let sessions = run(own(&["sessions"]));
    assert!(
        sessions.ends_with("1 (this one)\n") && sessions.contains("  CI      send    general  "),
        "{sessions}"
    );
    assert_eq!(run(own(&["sessions", "--json"])).lines().count(), 3);
    let id = &world.ids("ada")[0];
    assert_eq!((&made["name"], made["id"].to_string()), (&Value::from("ada"), world.ids("ada")[1].clone()));
    run(world.with_token(made["token"].as_str().unwrap(), &["send", "general", "hi"]));
    assert_eq!(run(own(&["token", "end", id])), "ada\n");
    let said = fails(own(&["token", "end", id]), 1);
    assert!(said.starts_with("vang: there is no such token\n  `vang sessions` shows the IDs"), "{said}");
    fails(world.with_token(backup.trim(), &["rooms"]), 1);
    assert_eq!(run(own(&["sessions", "end", "--others"])), "ada\n");
    assert_eq!(world.ids("ada"), [""; 0]);
}

#[test]
fn the_operator_disables_an_account_and_gives_it_a_role() {
    let world = World::new();
    let token = world.token("ada", &["--scope", "admin"]);
    let create = ["rooms"];
    assert_eq!(world.admin(&["account", "disable", "ada"]), "ada\n");
    fails(world.with_token(&token, &create), 1);
    assert_eq!(world.admin(&["account", "enable", "ada"]), "ada\n");
    assert!(fails(world.with_token(&token, &create), 1).contains("was ended"), "its tokens ended");
    assert_eq!(world.admin(&["account", "role", "ada", "admin"]), "ada\n");
    assert_eq!(world.admin(&["account", "role", "weather", "bot"]), "weather\n");
}

#[test]
fn a_typed_password_is_not_shown_and_ctrl_c_leaves_the_terminal_as_it_was() {
    let world = World::new();
    let login = || Terminal::start(world.command(&["login", "ada"]));
    let question = format!("Password of ada at {}: ", world.server.addr);
    let mut terminal = login();
    terminal.shows(question.trim_end());
    terminal.press("correct horse\r");
    // The account has no password.
    assert_eq!(terminal.wait().code(), Some(1));
    assert!(!String::from_utf8_lossy(&terminal.raw).contains("horse") && terminal.is_restored());

    let mut terminal = login();
    terminal.shows(question.trim_end());
    terminal.press("correct\x03");
    assert!(!terminal.wait().success());
    assert!(!String::from_utf8_lossy(&terminal.raw).contains("correct") && terminal.is_restored());
    assert!(!world.stored().exists());
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
