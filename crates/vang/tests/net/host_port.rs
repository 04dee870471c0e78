//! Addresses as the tutorial's programs take them: `HOST PORT` in two words, and what they print on a terminal.

use std::process::Command;

use crate::echo::{Echo, of, records, summary};
use crate::harness::terminal::Terminal;
use crate::harness::{Server, Tail, folder, vang};

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[test]
fn servers_and_clients_take_host_and_port_in_two_words() {
    for (host, listens) in [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")] {
        // The tutorial's multi-connection pair: `HOST PORT` and `HOST PORT N`.
        let mut server = Tail::start({
            let mut command = vang();
            command.args(["net", "echo", "serve", host, "0"]);
            command
        });
        let line = server.line();
        let address = line.strip_prefix("listening on ").unwrap().split(' ').next().unwrap();
        assert!(address.starts_with(listens), "{line}");
        let reported = records(&[host, port(address), "2"], 0);
        assert_eq!(
            (&summary(&reported)["connections"], &summary(&reported)["messages"]),
            (&2.into(), &4.into())
        );
        let mut texts: Vec<&str> =
            of(&reported, "back").iter().map(|back| back["text"].as_str().unwrap()).collect();
        texts.sort_unstable();
        let (one, two) = ("\"Message 1 from client.\"", "\"Message 2 from client.\"");
        assert_eq!(texts, [one, one, two, two]);
        // Its application pair.
        let dir = folder();
        let mut command = vang();
        command.args(["serve", host, "0", "--data"]).arg(dir.path().join("data"));
        let server = Server::spawn(command, &dir.path().join("data"));
        assert!(server.addr.starts_with(listens), "{}", server.addr);
        let said = server.ok(&["request", host, port(&server.addr), "search", "ring"]);
        assert_eq!(said, "In the caves beneath the Misty Mountains. 💍\n");
        // And `--server`, where no other argument can be the number.
        let at = ["--server", host, port(&server.addr)];
        let plainly = |args: &[&str]| {
            let output = vang().args(args).args(at).output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(plainly(&["send", "general", "5"]), "general#1\n");
        assert!(plainly(&["tail", "general", "--since", "0", "--no-follow"]).ends_with(": 5\n"));
    }
}

#[test]
fn resolve_takes_host_and_port_in_one_word_too() {
    let echo = Echo::serve(&[]);
    let output = vang().args(["net", "resolve", &echo.address]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("; 1 of 1 connected; IPv4 is used"), "{said}");
}

#[test]
fn a_wrong_port_in_two_words_is_refused_with_what_is_allowed() {
    for (args, said) in [
        (
            "net echo send localhost 99999",
            "port 99999 is out of range; ports are 1 to 65535; a server can also have 0",
        ),
        (
            "net echo send localhost http",
            "neither a port nor a number of connections; write HOST:PORT, HOST PORT",
        ),
        ("net echo send localhost:7 0", "neither a port nor a number of connections"),
        (
            "net doctor localhost http",
            "port 'http' is not a number; ports are 1 to 65535; a server can also have 0",
        ),
        ("net talk ::1 65536", "port 65536 is out of range"),
        ("net tap --listen ::1 x --to ::1 7", "port 'x' is not a number"),
        ("request localhost 99999 search ring", "port 99999 is out of range; ports are 1 to 65535"),
        ("request localhost http search ring", "port 'http' is not a number; ports are 1 to 65535"),
        (
            "serve 127.0.0.1 http",
            "port 'http' is not a number; ports are 1 to 65535; a server can also have 0",
        ),
        ("serve 127.0.0.1:7 --listen 127.0.0.1:8", "cannot be used with"),
        ("tail general --server localhost 99999", "port 99999 is out of range; ports are 1 to 65535"),
        ("net ping localhost 23007", "a host has no port here; --tcp 23007 asks the port"),
        ("net ping [::1]:24003", "a host has no port here; --tcp 24003 asks the port"),
        ("net ping 127.0.0.1:70000", "port 70000 is out of range; ports are 1 to 65535"),
        ("net ping 127.0.0.1:http", "port 'http' is not a number; ports are 1 to 65535"),
        ("net resolve localhost:70000", "port 70000 is out of range; ports are 1 to 65535"),
        ("net resolve localhost 70000", "port 70000 is out of range; ports are 1 to 65535"),
        ("net resolve localhost:7 8", "two ports are given, 7 and 8; write HOST:PORT or HOST PORT"),
    ] {
        let output = vang().args(args.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(said), "{args}: {text}");
    }
}

#[test]
fn a_binary_answer_ends_with_a_line_end_only_on_a_terminal() {
    let dir = folder();
    let server = Server::here(&dir.path().join("data"), &[]);
    let request = |command: &mut Command| -> Command {
        command.args(["request", &server.addr, "shout", "hello"]);
        std::mem::replace(command, vang())
    };
    let mut terminal = Terminal::start(request(&mut vang()));
    assert!(terminal.wait().success());
    let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(raw.starts_with("First 10 bytes of request: shouthello\r\n"), "{raw:?}");
    let piped = request(&mut vang()).output().unwrap();
    assert_eq!(piped.stdout, b"First 10 bytes of request: shouthello");
    // As does `talk`, with whatever came.
    let echo = Echo::serve(&[]);
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_vang");
    command.args(["-c", &format!("printf 'no end\\033[31m' | {binary} net talk -q {}", echo.address)]);
    let mut terminal = Terminal::start(command);
    assert!(terminal.wait().success());
    assert!(
        terminal.raw.starts_with(b"no end\\u{1b}[31m\r\n"),
        "{:?}",
        String::from_utf8_lossy(&terminal.raw)
    );
}
