//! What a server that other machines can reach prints at its start.

use std::os::unix::fs::PermissionsExt;

use crate::harness::hosts::Hosts;
use crate::harness::terminal::Terminal;
use crate::harness::{Server, folder, succeeded, vang};
use crate::sign_in::given;

/// A machine with three addresses: on a cable with the default route, and on a bridge of containers.
fn machine() -> Hosts {
    let hosts = Hosts::in_a_row(2);
    hosts.sh(
        0,
        "ip link add aa0 type veth peer name aa1 && ip link set aa1 up && ip addr add 172.17.0.1/16 dev aa0 && ip link set aa0 up && \
         ip route add default via 10.9.1.2",
    );
    hosts
}

const URLS: &str = "    https://10.9.1.1:65432/     up1\n    https://172.17.0.1:65432/   aa0\n    https://[fd09:1::1]:65432/  up1\n";

#[test]
fn a_wide_server_shows_urls_for_a_phone_and_a_qr_code_on_a_terminal() {
    let (hosts, dir) = (machine(), folder());
    let mut command = hosts.vang(0, &["serve", "--listen", ":65432", "--data"]);
    command.arg(dir.path().join("data")).env("TERM", "xterm").env_remove("NO_COLOR");
    let mut terminal = Terminal::start(command);
    terminal.shows("  Stop it with Ctrl-C.");
    terminal.signal("TERM");
    assert!(terminal.wait().success());
    let raw = String::from_utf8_lossy(&terminal.raw).replace("\r\n", "\n");
    assert!(raw.contains("  On this machine open http://localhost:65432/ in a browser"), "{raw}");
    assert!(raw.contains(&format!("  On a phone or another computer open:\n\n{URLS}\n")), "{raw}");
    assert!(raw.contains("start with --guests everywhere"), "{raw}");
    // Black on white.
    assert!(raw.matches("    \x1b[38;5;16;48;5;231m").count() > 12, "{raw}");
}

#[test]
fn a_new_server_on_a_terminal_shows_a_link_with_which_its_administrator_comes_in() {
    let dir = folder();
    let data = dir.path().join("data");
    let start = || {
        let mut command = vang();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).env("TERM", "xterm");
        let mut terminal = Terminal::start(command);
        terminal.shows("  Stop it with Ctrl-C.");
        terminal
    };
    let stop = |mut terminal: Terminal| {
        terminal.signal("TERM");
        assert!(terminal.wait().success());
        String::from_utf8_lossy(&terminal.raw).replace("\r\n", "\n")
    };
    let terminal = start();
    let file = data.join("first-admin");
    let link = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (page, code) = link.trim_end().split_once("#invite=").unwrap();
    assert!(page.starts_with("http://127.0.0.1:") && code.starts_with("vang_invite_"), "{link}");
    let mut accept = vang();
    accept.args(["accept", "ada", "--code-stdin", "--data"]).arg(&data);
    accept.env("XDG_CONFIG_HOME", dir.path().join("config"));
    succeeded(&["accept"], given(accept, &format!("{code}\ncorrect horse battery\n")));
    let mut invite = vang();
    invite.args(["invite", "--data"]).arg(&data).args(["--as", "ada"]);
    succeeded(&["invite"], invite.output().unwrap());
    let shown = stop(terminal);
    assert!(shown.contains(link.trim_end()), "{shown}");
    // There is an account: nothing is shown, and the old link is gone.
    let shown = stop(start());
    assert!(!shown.contains("no account") && !shown.contains("vang_invite_") && !file.exists(), "{shown}");
}

#[test]
fn a_log_file_has_the_urls_and_no_qr_code() {
    let (hosts, dir) = (machine(), folder());
    let data = dir.path().join("data");
    let mut command = hosts.vang(0, &["serve", "--listen", ":65432", "--guests", "everywhere", "--data"]);
    command.arg(&data);
    let server = Server::spawn(command, &data);
    server.signal("TERM");
    let mut server = server;
    assert!(server.wait().success());
    let log = server.log();
    assert!(log.contains(URLS), "{log}");
    assert!(!log.contains("vang_invite_") && !data.join("first-admin").exists(), "{log}");
    assert!(!log.contains('▀') && !log.contains('\x1b') && !log.contains("--guests everywhere"), "{log}");
}
