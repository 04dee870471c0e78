//! What people see on a terminal: local times, days, colours; and what a pipe gets instead.

use std::process::Command;

use serde_json::Value;

use crate::common::{serve, serve_process};
use crate::harness::hosts::Hosts;
use crate::harness::terminal::Terminal;
use crate::harness::{Server, exchange, message};

fn say(server: &Server, content_type: &str, text: &str) {
    let (kind, length) = (format!("{content_type:?}"), text.len().to_string());
    let keys = [
        ("byteorder", "\"big\""),
        ("content-type", &*kind),
        ("content-encoding", "\"utf-8\""),
        ("content-length", &*length),
        ("action", "\"send\""),
        ("room", "\"general\""),
        ("as", "\"ada\""),
    ];
    assert_eq!(exchange(&mut server.connect(), &message(&keys, text.as_bytes())).0["status"], "ok");
}

fn tail(server: &Server, more: &[&str]) -> Command {
    // Everything that is there, then the end.
    server.client(&[&["tail", "general", "--since", "0", "--no-follow"], more].concat())
}

/// Everything that the command writes to a terminal of its own.
fn on_a_terminal(command: Command) -> String {
    let mut terminal = Terminal::start(command);
    assert!(terminal.wait().success(), "{:?}", terminal.lines());
    let raw = String::from_utf8(terminal.raw.clone()).unwrap();
    raw.split("\x1b[99;99H").next().unwrap().replace("\r\n", "\n")
}

fn piped(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// With variables of the environment.
fn with(mut command: Command, variables: &[(&str, &str)]) -> Command {
    command.envs(variables.iter().copied());
    command
}

/// A time as `14:03` between two parts of a line.
fn time_between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    let rest = line.split_once(before).unwrap_or_else(|| panic!("{line:?} has no {before:?}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("{line:?} has no {after:?}")).0
}

fn minutes(time: &str) -> u32 {
    let (hours, minutes) = time.split_once(':').unwrap();
    hours.parse::<u32>().unwrap() * 60 + minutes.parse::<u32>().unwrap()
}

/// Seven hours before Greenwich, without a data base of time zones.
const WEST: (&str, &str) = ("TZ", "MST7");

#[test]
fn a_terminal_shows_local_time_days_and_colours_and_a_pipe_does_not_change() {
    let (_dir, server) = serve(&[]);
    say(&server, "text/plain", "hello");
    let pipe = piped(with(tail(&server, &[]), &[WEST]));
    let utc = time_between(&pipe, "general#1 ", " guest:ada: hello\n");
    // The date stands there only if midnight has passed.
    let utc = utc.rsplit(' ').next().unwrap();
    let screen = on_a_terminal(with(tail(&server, &[]), &[WEST]));
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[0].starts_with("\x1b[1m--- ") && lines[0].ends_with(" ---\x1b[0m"), "{screen:?}");
    let local = time_between(lines[1], "\x1b[2mgeneral#1 ", "\x1b[0m ");
    assert_eq!((minutes(utc) + 24 * 60 - minutes(local)) % (24 * 60), 7 * 60, "{screen:?}");
    assert!(lines[1].ends_with("guest:ada\x1b[0m: hello"), "{screen:?}");

    let plain = on_a_terminal(with(tail(&server, &["--utc"]), &[WEST, ("NO_COLOR", "1")]));
    let lines: Vec<&str> = plain.lines().collect();
    assert!(lines[0].starts_with("--- ") && !plain.contains('\x1b'), "{plain:?}");
    assert_eq!(lines[1], format!("general#1 {utc} guest:ada: hello"));
    let dumb = on_a_terminal(with(tail(&server, &[]), &[("TERM", "dumb")]));
    assert!(dumb.starts_with("--- ") && !dumb.contains('\x1b'), "{dumb:?}");
    let forced = piped(with(tail(&server, &[]), &[("CLICOLOR_FORCE", "1")]));
    assert!(forced.starts_with("\x1b[2mgeneral#1 ") && !forced.contains("---"), "{forced:?}");
}

#[test]
fn a_format_is_the_same_on_a_terminal_and_in_a_pipe() {
    let (_dir, server) = serve(&[]);
    say(&server, "text/plain", "one\ntwo");
    let shown = |more: &[&str]| {
        let pipe = piped(with(tail(&server, more), &[WEST]));
        let screen = on_a_terminal(with(tail(&server, more), &[WEST, ("NO_COLOR", "1")]));
        assert_eq!(pipe, screen, "{more:?}");
        pipe
    };
    assert_eq!(shown(&["--format", "cat"]), "one\ntwo\n");
    let iso = shown(&["--format", "iso"]);
    assert!(time_between(&iso, "general#1 ", " guest:ada: one\n    two\n").ends_with("-07:00"), "{iso}");
    let iso = shown(&["--format", "iso", "--utc"]);
    assert!(time_between(&iso, "general#1 ", " guest:ada: one\n").ends_with('Z'), "{iso}");
    let pattern = shown(&["--format", "[%F %z]"]);
    assert!(time_between(&pattern, "general#1 [", "] guest:ada: one\n").ends_with(" -0700"), "{pattern}");
    assert_eq!(shown(&["--format", "json"]), shown(&["--json"]));
    let wrong = server.run(&["tail", "general", "--format", "long"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn an_unknown_time_zone_is_named_and_times_are_utc() {
    let (_dir, server) = serve(&[]);
    say(&server, "text/plain", "hello");
    let output = with(tail(&server, &["--format", "iso"]), &[("TZ", "Nowhere/City")]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("the time zone in TZ, Nowhere/City, is not known here: times are UTC"),
        "{stderr}"
    );
    assert!(String::from_utf8(output.stdout).unwrap().contains("Z guest:ada: hello"));
}

#[test]
fn the_last_lines_come_first() {
    let (_dir, server) = serve(&[]);
    for text in ["one", "two", "three"] {
        say(&server, "text/plain", text);
    }
    let last = |count: &str| server.ok(&["tail", "general", "-n", count, "--no-follow", "--format", "cat"]);
    assert_eq!(last("2"), "two\nthree\n");
    assert_eq!(last("9"), "one\ntwo\nthree\n");
    assert_eq!(last("0"), "");
}

#[test]
fn vang_get_writes_the_content_as_it_was_sent() {
    let (dir, server) = serve(&[]);
    let picture = "\u{89}PNG\r\n\0\u{1}";
    say(&server, "text/plain", "hello\n");
    say(&server, "image/png", picture);
    assert_eq!(server.ok(&["get", "general#1"]), "hello\n");
    assert_eq!(server.ok(&["get", "#general#2"]), picture);
    let file = dir.path().join("photo.png");
    let saved = server.ok(&["get", "general#2", "-o", file.to_str().unwrap()]);
    assert_eq!((saved.as_str(), std::fs::read(&file).unwrap()), ("", picture.as_bytes().to_vec()));
    let json: Value = serde_json::from_str(&server.ok(&["get", "general#1", "--json"])).unwrap();
    assert_eq!((&json["text"], &json["n"]), (&"hello\n".into(), &1.into()));
    for (args, code, said) in [
        (&["get", "general#3"][..], 1, "vang: there is no message general#3; the newest is general#2"),
        (&["get", "nowhere#1"], 1, "vang: there is no room 'nowhere'"),
        (&["get", "general"], 2, "the number of the message is missing; write ROOM#NUMBER, as in general#12"),
        (&["get", "general#1", "-o", "/nonexistent/x"], 1, "vang: cannot write /nonexistent/x: "),
    ] {
        let output = server.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said) && output.stdout.is_empty(), "{args:?}: {stderr}");
    }
    // A reader that closes early is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(server.client(&["get", "general#2"]).stdout(writer).status().unwrap().success());
}

#[test]
fn content_that_is_not_text_needs_a_second_word_on_a_terminal() {
    let (_dir, server) = serve(&[]);
    say(&server, "text/plain", "one\u{1b}[2J\n");
    say(&server, "image/x", "a\u{1b}[2Jb");
    say(&server, "application/json", "{}");
    assert_eq!(on_a_terminal(server.client(&["get", "general#1"])), "one\\u{1b}[2J\n");
    assert_eq!(on_a_terminal(server.client(&["get", "general#3"])), "{}\n");
    let mut refused = Terminal::start(server.client(&["get", "general#2"]));
    assert_eq!(refused.wait().code(), Some(2));
    let said = String::from_utf8(refused.raw.clone()).unwrap();
    assert!(said.contains("vang: general#2 is not text (image/x, 6 bytes)"), "{said}");
    assert!(said.contains("save it with -o FILE; -o - writes it to the terminal"), "{said}");
    assert_eq!(on_a_terminal(server.client(&["get", "general#2", "-o", "-"])), "a\x1b[2Jb");
}

#[test]
fn the_log_of_a_server_is_coloured_only_where_colours_are_wanted() {
    let (_dir, server) = serve_process(&[]);
    assert!(!server.log().contains('\x1b'), "a file");
    for (variables, is_colored) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
    ] {
        let dir = crate::harness::folder();
        let mut serve = crate::harness::vang();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path().join("data"));
        let mut terminal = Terminal::start(with(serve, variables));
        terminal.until("it listens", |lines| lines.iter().any(|line| line.contains("Stop it with")));
        terminal.signal("TERM");
        assert!(terminal.wait().success());
        let raw = String::from_utf8(terminal.raw.clone()).unwrap();
        let raw = raw.split("\x1b[99;99H").next().unwrap();
        assert_eq!(raw.contains('\x1b'), is_colored, "{variables:?}: {raw:?}");
    }
}

#[test]
fn every_command_is_coloured_only_where_colours_are_wanted() {
    let (dir, server) = serve(&[]);
    say(&server, "text/plain", "hello");
    let (data, port) = (dir.path().join("data"), server.socket_addr().port().to_string());
    for (args, has_colours) in [
        (&["find", "hello"][..], true),
        (&["--help"], true),
        (&["rooms"], false),
        (&["status", "--data", data.to_str().unwrap()], false),
        (&["net", "sockets", "--state", "listen", "--port", &port], false),
    ] {
        let command = |variables: &[(&str, &str)]| {
            let mut command = with(server.client(args), variables);
            // The help is coloured for the log of a CI system, whatever its terminal is.
            command.env_remove("CI");
            command
        };
        let is_coloured = |shown: String| {
            assert!(!shown.is_empty(), "{args:?}");
            shown.contains('\x1b')
        };
        assert_eq!(is_coloured(on_a_terminal(command(&[]))), has_colours, "{args:?}");
        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            assert!(!is_coloured(on_a_terminal(command(&[plain]))), "{args:?}, {plain:?}");
        }
        assert!(!is_coloured(piped(command(&[]))), "{args:?}");
        let forced = piped(command(&[("CLICOLOR_FORCE", "1")]));
        assert_eq!(is_coloured(forced), has_colours, "{args:?}");
    }
}

#[test]
fn a_qr_code_is_plain_without_colours_and_missing_on_a_dumb_terminal() {
    let hosts = Hosts::in_a_row(2);
    for (variable, has_code) in [(("NO_COLOR", "1"), true), (("TERM", "dumb"), false)] {
        let dir = crate::harness::folder();
        let mut serve = hosts.vang(0, &["serve", "--listen", ":65432", "--data"]);
        serve.arg(dir.path().join("data"));
        let mut terminal = Terminal::start(with(serve, &[variable]));
        terminal.shows("  Stop it with Ctrl-C.");
        terminal.signal("TERM");
        assert!(terminal.wait().success());
        let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
        let raw = raw.split("\x1b[99;99H").next().unwrap();
        assert_eq!((raw.contains('▀'), raw.contains('\x1b')), (has_code, false), "{variable:?}: {raw:?}");
    }
}
