//! Every socket error that a user can meet: its name, likely cause, advice and exit code. (Network and host
//! unreachable need routers: `net/errors.rs` tests them.)

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::{as_nobody, dial, everybodys_vang, fails, serve};
use crate::harness::{folder, read_message, refusing, vang};

/// The lines of stderr: the error with its name and cause, then the advice.
fn says(command: Command, code: i32, name: &str, cause: &str, advice: &str) {
    let shown = format!("{command:?}");
    let said = fails(command, code);
    let lines: Vec<&str> = said.lines().collect();
    let error = lines
        .iter()
        .rev()
        .find(|line| line.starts_with("vang: "))
        .unwrap_or_else(|| panic!("{shown}: {said}"));
    assert!(error.contains(&format!("{name} (")) && error.contains(cause), "{shown}: {said}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("  ") && last.contains(advice), "{shown}: {said}");
    assert!(!said.contains("os error"), "{shown}: {said}");
}

/// The command sends its request again after this error. How its last attempt ends depends on the time that was left.
fn tries_again(mut command: Command, error: &str) {
    let output = command.args(["--timeout", "200ms"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains(error) && first.ends_with("; trying again for 200ms"), "{said}");
    assert!(!output.status.success(), "{said}");
}

/// A server that runs this for every connection.
fn a_server_that(does: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().for_each(|stream| does(stream.unwrap())));
    address
}

fn ask(server: &str) -> Command {
    let mut command = vang();
    command.args(["request", server, "search", "ring"]);
    command
}

fn rooms(server: &str) -> Command {
    let mut command = vang();
    command.args(["rooms", "--server", server]);
    command
}

#[test]
fn connection_refused() {
    let nobody = refusing();
    let address = nobody.addr.to_string();
    for command in [ask(&address), rooms(&address)] {
        let line =
            format!("vang: cannot reach {address}: connection refused (is the server running there?)\n");
        let said = fails(command, 1);
        assert!(said.starts_with(&line), "{said}");
        says(
            ask(&address),
            1,
            "connection refused",
            "is the server running there?",
            "start it with `vang serve`",
        );
    }
    // Senders and followers try again: the first error is printed once, and the last one has the cause.
    for args in [&["send", "general", "hi"][..], &["tail", "general", "--no-follow"], &["tail", "general"]] {
        let mut command = vang();
        command.args(args).args(["--server", &address, "--timeout", "100ms"]);
        let shown = format!("{command:?}");
        let said = fails(command, 1);
        assert_eq!(said.matches("; trying again for 100ms").count(), 1, "{shown}: {said}");
        assert_eq!(said.matches("connection refused").count(), 2, "{shown}: {said}");
        assert!(
            said.ends_with("\n  start it with `vang serve`, or check the host and the port\n"),
            "{shown}: {said}"
        );
    }
    // A Unix socket without its server, and a missing one.
    let dir = folder();
    let path = dir.path().join("door");
    drop(UnixListener::bind(&path).unwrap());
    says(
        ask(&format!("unix:{}", path.display())),
        1,
        "connection refused",
        "is the server running",
        "vang serve",
    );
    std::fs::remove_file(&path).unwrap();
    says(
        ask(&format!("unix:{}", path.display())),
        1,
        "no such socket",
        "is the server running there",
        "check the path",
    );
}

#[test]
fn address_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dir = folder();
    let mut command = vang();
    command.args(["serve", "--listen", &address, "--data"]).arg(dir.path().join("data"));
    says(
        command,
        1,
        "address in use",
        &format!(", process {}, listens on {address}", std::process::id()),
        "choose another port",
    );
}

#[test]
fn address_not_available() {
    let dir = folder();
    let mut command = vang();
    command.args(["serve", "--listen", "192.0.2.1:7000", "--data"]).arg(dir.path().join("data"));
    says(command, 1, "address not available", "does this machine have that address?", "an empty host");
}

#[test]
fn name_not_found() {
    let dir = folder();
    let mut serve = vang();
    serve.args(["serve", "--listen", "does-not-exist.invalid:7000", "--data"]).arg(dir.path().join("data"));
    for command in [ask("does-not-exist.invalid:7000"), rooms("does-not-exist.invalid"), serve] {
        let shown = format!("{command:?}");
        let said = fails(command, 1);
        // Without a name server the system cannot know that the name does not exist.
        let known =
            ["name not found (no host has this name", "cannot look up the name (no DNS server answers"];
        assert!(known.iter().any(|name| said.contains(name)), "{shown}: {said}");
        assert!(said.contains("\n  ") && said.contains("use the host's address"), "{shown}: {said}");
    }
}

#[test]
fn port_out_of_range() {
    for (port, says) in [
        ("65536", "port 65536 is out of range; ports are 1 to 65535"),
        ("0", "port 0 is out of range; ports are 1 to 65535"),
        ("-1", "port '-1' is not a number; ports are 1 to 65535"),
        ("http", "port 'http' is not a number"),
    ] {
        let server = format!("127.0.0.1:{port}");
        for command in [ask(&server), rooms(&server)] {
            let said = fails(command, 2);
            assert!(said.contains(says), "{said}");
        }
        let mut command = vang();
        command.arg("rooms").env("VANG_SERVER", &server);
        assert!(fails(command, 2).contains(says), "from the environment, too");
    }
    let dir = folder();
    let mut command = vang();
    command.args(["serve", "--listen", "127.0.0.1:65536", "--data"]).arg(dir.path().join("data"));
    assert!(fails(command, 2).contains("ports are 1 to 65535; a server can also have 0"));
}

#[test]
fn a_system_without_room_for_another_thread() {
    let dir = folder();
    let mut command = vang();
    // No address space has such a stack.
    command.env("RUST_MIN_STACK", (1_u64 << 50).to_string());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path().join("data"));
    assert!(fails(command, 1).contains("cannot start a thread: "));
}

#[test]
fn permission_for_a_port_under_1024() {
    let dir = folder();
    let mut command = everybodys_vang(dir.path());
    command.args(["serve", "--listen", ":80", "--data"]).arg(dir.path().join("data"));
    let advice = "choose a port from 1024 up, or allow it: `setcap cap_net_bind_service=+ep`";
    says(as_nobody(&command), 1, "permission denied", "ports below 1024 need root or a capability", advice);
    // And for a socket of another user.
    let (own, server) = serve(&[]);
    let mut command = everybodys_vang(dir.path());
    command.args(["rooms", "--server"]).arg(format!("unix:{}", own.path().join("data/admin.sock").display()));
    says(
        as_nobody(&command),
        1,
        "permission denied",
        "does the socket belong to another user",
        "run it as the user who runs the server",
    );
    drop(server);
}

#[test]
fn a_data_folder_of_another_user_is_an_error_with_advice() {
    let dir = folder();
    let (own, server) = serve(&[]);
    let data = own.path().join("data");
    for args in [&["status"][..], &["admin", "check"]] {
        let mut command = everybodys_vang(dir.path());
        command.args(args).arg("--data").arg(&data);
        let mut command = as_nobody(&command);
        if !rustix::process::geteuid().is_root() {
            // The test cannot become another user, so it removes the owner's permission.
            std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        }
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(said.matches("ermission denied").count(), 1, "{said}");
        assert!(said.contains(": permission denied\n  run it as the user whose files these are\n"), "{said}");
        assert!(!said.contains("os error"), "{said}");
    }
    drop(server);
}

#[test]
fn reset_by_peer() {
    let resets = |mut stream: TcpStream| {
        // Something has come: the reset cannot be taken for one of the connecting.
        stream.read_exact(&mut [0; 1]).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let server = a_server_that(resets);
    let cause = "the other side crashed, or closed without reading everything";
    says(ask(&server), 1, "connection reset by peer", cause, "try again");
    tries_again(rooms(&server), &format!("connection reset by peer ({cause})"));
    let mut send = vang();
    send.args(["send", "general", "hi", "--id", "6f1c", "--timeout", "100ms", "--server", &server]);
    let said = fails(send, 124);
    assert!(said.contains("vang: unknown whether the message was posted: "), "{said}");
    assert!(
        said.contains("connection reset by peer (")
            && said.ends_with("send it again with --id 6f1c: it is posted only once\n"),
        "{said}"
    );
}

#[test]
fn timed_out() {
    let (sender, kept) = std::sync::mpsc::channel();
    let server = a_server_that(move |stream| sender.send(stream).unwrap());
    for mut command in [ask(&server), rooms(&server)] {
        command.args(["--timeout", "50ms"]);
        let said = fails(command, 124);
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.starts_with(&format!("vang: timed out: {server} did not answer in time (")), "{said}");
        assert!(said.ends_with("\n  try again; allow more time with --timeout\n"), "{said}");
    }
    let mut tail = vang();
    tail.args(["tail", "general", "--no-follow", "--timeout", "50ms", "--server", &server]);
    assert!(fails(tail, 124).contains("timed out"));
    let mut send = vang();
    send.args(["send", "general", "hi", "--id", "6f1c", "--timeout", "50ms", "--server", &server]);
    let said = fails(send, 124);
    assert!(
        said.contains("unknown whether the message was posted: timed out: ") && said.contains("--id 6f1c"),
        "{said}"
    );
    drop(kept);
}

#[test]
fn timed_out_while_connecting() {
    // A queue that is full: the kernel drops what would come next.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(address).unwrap();
    let mut command = ask(&address.to_string());
    command.args(["--timeout", "200ms"]);
    says(
        command,
        124,
        "timed out",
        "is the host on, and does a firewall let this port through?",
        "allow more time with --timeout",
    );
    drop(first);
}

#[test]
fn would_block() {
    let dir = folder();
    let path = dir.path().join("door");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let unix = format!("unix:{}", path.display());
    let first = dial(&unix);
    let mut command = ask(&unix);
    command.args(["--timeout", "50ms"]);
    says(
        command,
        1,
        "would block",
        "the server's queue of waiting connections is full",
        "`vang serve --backlog N`",
    );
    drop(first);
}

#[test]
fn broken_pipe() {
    // On a Unix socket the first write after the other's close shows it.
    let dir = folder();
    let path = dir.path().join("door");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let file = dir.path().join("long");
    std::fs::write(&file, vec![b'x'; 8 << 20]).unwrap();
    let mut command = vang();
    let server = format!("unix:{}", path.display());
    command.args(["send", "general", "--timeout", "100ms", "--server", &server, "--file"]).arg(&file);
    let said = fails(command, 124);
    assert!(
        said.contains(
            "broken pipe (the other side has closed the connection already); trying again for 100ms"
        ),
        "{said}"
    );
    assert!(said.contains("send it again with --id "), "{said}");
}

#[test]
fn connection_closed() {
    // Everything that was sent is read, so that there is nothing to reset.
    let server = a_server_that(|mut stream| drop(read_message(&mut stream)));
    let (cause, advice) = ("the other side closed it", "try again; the server's log may say why");
    says(ask(&server), 1, "connection closed", cause, advice);
    tries_again(rooms(&server), &format!("connection closed ({cause}"));
}

#[test]
fn a_foreign_protocol_is_shown_and_not_retried() {
    let http = a_server_that(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1_000]);
    });
    let ssh = a_server_that(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Open\x1b[31mSSH\r\n");
        let _ = stream.read(&mut [0; 1_000]);
    });
    for (server, word) in [(&http, "HTTP/1.1 400 Bad Request"), (&ssh, "SSH-2.0-Open\\u{1b}[31mSSH")] {
        let mut send = vang();
        send.args(["send", "general", "hi", "--server", server]);
        let mut tail = vang();
        tail.args(["tail", "general", "--server", server]);
        for command in [ask(server), rooms(server), send, tail] {
            let shown = format!("{command:?}");
            let said = fails(command, 1);
            let expected = format!(
                "vang: {server} does not speak the vang protocol: it says \"{word}\"\n  check the port: another kind of server listens there\n"
            );
            assert_eq!(said, expected, "{shown}");
        }
    }
    let swapped = a_server_that(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
        let answer = crate::common::answer("Error: invalid action 'None'.");
        let _ = stream.write_all(&[&[answer[1], answer[0]][..], &answer[2..]].concat());
    });
    for command in [ask(&swapped), rooms(&swapped)] {
        let said = fails(command, 1);
        assert!(
            said.contains("does not speak the vang protocol: header length in the wrong byte order: ")
                && said.contains("\n  the server must write the header length in network order")
                && !said.contains("another kind of server"),
            "{said}"
        );
    }
    let guide_only = a_server_that(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
        let _ = stream.write_all(&crate::common::answer("Error: invalid action 'None'."));
    });
    let said = fails(rooms(&guide_only), 1);
    assert!(
        said.contains("does not speak the vang protocol: its message is neither a reply nor an event"),
        "{said}"
    );
}

#[test]
fn usage_errors_show_the_correct_form() {
    for (args, says) in [
        (&["rooms", "--server", "http://x"][..], "unknown scheme 'http://'; write vang://HOST:PORT"),
        (&["rooms", "--server", "65432"], "for a port write 127.0.0.1:65432"),
        (&["rooms", "--server", "::1:x"], "[::1]:65432"),
        (&["rooms", "--server", "unix:"], "no path in 'unix:'"),
        (&["rooms", "--timeout", "soon"], "not a time; write a whole number and ms, s, m, h or d"),
        (
            &["rooms", "--timeout", "2h"],
            "this time is at most 1h: after that a server can forget the id of a message",
        ),
        (&["request", "127.0.0.1:1", "search", "x", "--timeout", "400d"], "a time is at most 365d"),
        (&["rom"], "there is no command 'rom'\n  use: vang rooms\n"),
        (&["send"], "<ROOM>"),
        (&["request", "127.0.0.1:1", "search"], "<VALUE>"),
    ] {
        let mut command = vang();
        command.args(args);
        let said = fails(command, 2);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let mut command = vang();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Examples:\n  vang serve"), "{output:?}");
}
