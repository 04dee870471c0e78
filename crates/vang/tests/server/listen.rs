//! Listen addresses, limits, and the data folder.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use crate::common::{Witness, answer, as_nobody, ask, comes_true, dial, everybodys_vang, fails, rest, serve};
use crate::harness::{Server, exchange, folder, guide, program, read_message, request, vang};

fn ring() -> Vec<u8> {
    guide("{\"action\": \"search\", \"value\": \"ring\"}")
}

fn found() -> Vec<u8> {
    answer("In the caves beneath the Misty Mountains. 💍")
}

/// A `vang serve` that must fail.
fn serving(data: &std::path::Path, more: &[&str]) -> Command {
    let mut command = vang();
    command.arg("serve").args(more).arg("--data").arg(data);
    command
}

#[test]
fn all_listen_addresses_are_printed_in_order_with_real_ports() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let more = ["--listen", "[::1]:0", "--listen", unix.as_str(), "--listen", "127.0.0.1:0"];
    let mut server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &more);
    let addresses = [server.addr.clone(), server.listening(), server.listening(), server.listening()];
    for (address, begins) in addresses.iter().zip(["127.0.0.1:", "[::1]:", unix.as_str(), "127.0.0.1:"]) {
        assert!(address.starts_with(begins) && !address.ends_with(":0"), "{addresses:?}");
        assert_eq!(ask(address, &ring()), found(), "{address}");
    }
    assert_ne!(addresses[0], addresses[3]);
    // All of them lead into the same rooms.
    let send = |address: &str, text: &str| {
        let reply = exchange(&mut dial(address), &request("send", &[("room", "\"general\"")], text)).0;
        reply["address"].as_str().unwrap().to_owned()
    };
    let posted: Vec<String> = addresses.iter().map(|address| send(address, "hi")).collect();
    assert_eq!(posted, ["general#1", "general#2", "general#3", "general#4"]);
}

#[test]
fn an_empty_host_is_every_interface_of_both_families() {
    let dir = folder();
    let server = Server::start_with(&dir.path().join("data"), ":0", &[]);
    let port = server.addr.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        assert_eq!(ask(&format!("{host}:{port}"), &ring()), found(), "{host}");
        assert_eq!(server.ok(&["send", "general", "hi", "--server", &format!("{host}:{port}")]).len(), 10);
    }
}

#[test]
fn a_hosts_name_is_listened_on_at_its_addresses() {
    let dir = folder();
    let server = Server::start_with(&dir.path().join("data"), "localhost:0", &[]);
    assert!(server.addr.starts_with("127.0.0.1:") || server.addr.starts_with("[::1]:"), "{}", server.addr);
    assert_eq!(ask(&server.addr, &ring()), found());
}

#[test]
fn a_stale_socket_file_is_replaced_and_removed_at_the_end() {
    let dir = folder();
    let path = dir.path().join("door");
    let unix = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let data = dir.path().join("data");
    let server = Server::start_with(&data, &unix, &[]);
    assert_eq!(server.addr, unix);
    assert_eq!(ask(&unix, &ring()), found());
    server.kill();
    assert!(path.exists(), "a process that is killed cannot tidy up");
    let server = Server::start_with(&data, &unix, &[]);
    assert_eq!(ask(&unix, &ring()), found());
    assert!(server.stop().success());
    assert!(!path.exists());
}

#[test]
fn a_regular_file_is_never_replaced_by_a_socket() {
    let dir = folder();
    let path = dir.path().join("letters.txt");
    std::fs::write(&path, "dear ada").unwrap();
    let listen = format!("unix:{}", path.display());
    let said = fails(serving(&dir.path().join("data"), &["--listen", &listen]), 1);
    assert_eq!(
        said.lines().next().unwrap(),
        format!(
            "vang: cannot listen on {listen}: file exists (the file at that path is not a socket, and is not replaced)"
        )
    );
    assert!(!said.lines().any(|line| line.trim().is_empty()), "{said:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear ada");
}

#[test]
fn an_address_in_use_is_named_with_its_cause_and_advice() {
    let dir = folder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let door = dir.path().join("door");
    let unix_listener = UnixListener::bind(&door).unwrap();
    for (listen, has, advice) in [
        (taken.clone(), format!("listens on {taken}"), "--listen"),
        (format!("unix:{}", door.display()), "has a socket at that path".to_owned(), "name another path"),
    ] {
        let said = fails(serving(&dir.path().join("data"), &["--listen", &listen]), 1);
        let mut lines = said.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with(&format!("vang: cannot listen on {listen}: address in use (")), "{first}");
        assert!(first.ends_with(&format!(", process {}, {has})", std::process::id())), "{first}");
        assert!(lines.next().is_some_and(|line| line.contains(advice)), "{said}");
    }
    drop(unix_listener);
}

#[test]
fn a_malformed_listen_address_is_a_usage_error() {
    let dir = folder();
    for (wrong, why) in [
        ("127.0.0.1", "no port in '127.0.0.1'; write HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"),
        ("127.0.0.1:65536", "port 65536 is out of range; ports are 1 to 65535; a server can also have 0"),
        ("127.0.0.1:-1", "port '-1' is not a number; ports are 1 to 65535; a server can also have 0"),
        ("127.0.0.1:http", "port 'http' is not a number; ports are 1 to 65535; a server can also have 0"),
        ("::1:x", "before a port it needs brackets, as in [::1]:65432"),
        ("[::1:7000", "before a port it needs brackets, as in [::1]:65432"),
        ("unix:", "no path in 'unix:'; write HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"),
        ("", "no host in ''; write HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"),
    ] {
        let said = fails(serving(&dir.path().join("data"), &["--listen", wrong]), 2);
        assert!(said.contains(why), "{wrong}: {said}");
    }
    assert!(!dir.path().join("data").exists(), "who mistypes gets no data folder");
}

#[test]
fn a_restarted_server_has_its_port_at_once() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let address = server.addr.clone();
    // The server closes first: its side of the connection stays in TIME_WAIT.
    for _ in 0..5 {
        assert_eq!(ask(&address, &ring()), found());
    }
    let port = format!(":{:04X} ", server.socket_addr().port());
    comes_true("connections are in TIME_WAIT", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&port))
                && line.split_whitespace().nth(3) == Some("06")
        })
    });
    let open = server.connect();
    assert!(server.stop().success());
    let server = Server::start_with(&data, &address, &[]);
    assert_eq!(ask(&address, &ring()), found());
    // And after a crash with connections open.
    let follower = Witness::new(&server);
    server.kill();
    let server = Server::start_with(&data, &address, &[]);
    assert_eq!(ask(&address, &ring()), found());
    drop((open, follower, server));
}

#[test]
fn a_new_server_can_start_right_after_kill_9() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    let address = server.addr.clone();
    for _ in 0..10 {
        // Not waited for: it can still hold the folder and the port.
        server.signal("KILL");
        let next = Server::start_with(&data, &address, &[]);
        assert_eq!(ask(&address, &ring()), found());
        server = next;
    }
}

#[test]
fn the_backlog_limits_connections_not_yet_accepted() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let server = Server::start_with(&dir.path().join("data"), &unix, &["--backlog", "2"]);
    server.signal("STOP");
    // The kernel counts the one that it would hand out next beside those that wait behind it.
    let waiting: Vec<_> = (0..3).map(|_| dial(&unix)).collect();
    let said = fails(server.client(&["request", &unix, "search", "ring", "--timeout", "50ms"]), 1);
    assert!(said.contains(": would block (the server's queue of waiting connections is full)"), "{said}");
    assert!(said.contains("--backlog"), "{said}");
    server.signal("CONT");
    for mut stream in waiting {
        stream.write_all(&ring()).unwrap();
        assert_eq!(rest(&mut stream), found());
    }
    fails(serving(&dir.path().join("other"), &["--listen", "127.0.0.1:0", "--backlog", "many"]), 2);
}

#[test]
fn a_second_server_on_a_folder_is_refused_with_the_holder() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let said = fails(serving(&data, &["--listen", "127.0.0.1:0"]), 1);
    let expected = format!(
        "vang: the data folder {} is in use by vang serve, pid {}, since ",
        data.display(),
        server.pid()
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("--data"), "what to do: {said}");
    assert_eq!(ask(&server.addr, &ring()), found(), "the first goes on");
    assert!(server.ok(&["send", "general", "hi"]).starts_with("general#1"));
    let said = fails(
        {
            let mut check = vang();
            check.args(["admin", "check", "--rebuild", "--data"]).arg(&data);
            check
        },
        1,
    );
    assert!(said.contains("is in use by vang serve"), "{said}");
    server.kill();
    // No lock is ever stale.
    let server = Server::start(&data);
    assert!(server.stop().success());
}

#[test]
fn a_malformed_limit_is_a_usage_error() {
    let dir = folder();
    for (wrong, says) in [
        ("connection=3", "there is no limit 'connection'; did you mean 'connections'?"),
        ("contents=3", "; did you mean 'content'?"),
        ("hedaer=300", "there is no limit 'hedaer'; did you mean 'header'?"),
        ("zzz=300", "there is no limit 'zzz'; there are header, content, "),
        ("idle", "'idle' is not NAME=VALUE"),
        ("idle=soon", "limit 'idle' is soon; it must be 10ms to 365d"),
        ("header=70000", "limit 'header' is 70000; it must be 256 to 65535"),
        ("connections=0", "limit 'connections' is 0; it must be 1 to 10000000"),
        ("content=-1", "limit 'content' is -1; it must be 1KiB to 1GiB"),
    ] {
        let said =
            fails(serving(&dir.path().join("data"), &["--listen", "127.0.0.1:0", "--limit", wrong]), 2);
        assert!(said.contains(says), "{wrong}: {said}");
    }
}

#[test]
fn a_connection_over_the_limit_is_refused_until_one_closes() {
    let (_dir, server) = serve(&["--limit", "connections=3"]);
    let mut open: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    let ping = request("ping", &[], "");
    for stream in &mut open {
        assert_eq!(exchange(stream, &ping).0["status"], "ok");
    }
    let mut fourth = server.connect();
    let (reply, content) = exchange(&mut fourth, &ping);
    assert_eq!((&reply["code"], &reply["limit"]), (&"too-many".into(), &3.into()));
    assert_eq!(reply["detail"], "this server has 3 connections, which is the limit");
    assert_eq!(content, b"{\"result\": \"Error: this server has 3 connections, which is the limit\"}");
    assert!(rest(&mut fourth).is_empty());
    // As the guide's client sees it, and as ours does.
    let said = fails(server.client(&["request", &server.addr, "search", "ring"]), 1);
    assert_eq!(said, "vang: this server has 3 connections, which is the limit\n");
    for stream in &mut open {
        assert_eq!(exchange(stream, &ping).0["status"], "ok", "those who are in stay in");
    }
    drop(open.pop());
    comes_true("there is a place", || {
        let mut stream = server.connect();
        exchange(&mut stream, &ping).0["status"] == "ok"
    });
}

#[test]
fn the_operator_gets_in_when_the_server_is_full() {
    let (dir, server) = serve(&["--limit", "connections=1"]);
    let mut witness = Witness::new(&server);
    let data = dir.path().join("data");
    let mut add = vang();
    add.args(["admin", "account", "add", "ada", "--data"]).arg(&data);
    let added = add.output().unwrap();
    assert!(added.status.success() && added.stdout.starts_with(b"vang_invite_"), "{added:?}");
    witness.is_served();
}

#[test]
fn a_full_server_answers_health_checks_in_http() {
    let (_dir, server) = serve(&["--limit", "connections=1"]);
    let mut witness = Witness::new(&server);
    let said = ask(&server.addr, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert!(
        said.ends_with("\r\n\r\nnot ready: this server has 1 connections, which is the limit\n"),
        "{said}"
    );
    // It is alive: a supervisor must not restart it for this.
    let said = ask(&server.addr, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nok\n"), "{said}");
    witness.is_served();
}

#[test]
fn only_its_owner_can_read_the_data_folder() {
    let dir = folder();
    // Independent of the umask.
    let mut command = program("sh");
    let data = dir.path().join("deep/er/data");
    let script = "umask 000; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_vang")]).arg(&data);
    let log_folder = data.parent().unwrap();
    std::fs::create_dir_all(log_folder).unwrap();
    let server = Server::spawn(command, &data);
    server.ok(&["send", "general", "hi"]);
    let mode = |path: &std::path::Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
    let has = |name: &str| files.iter().any(|file| file.file_name().unwrap() == name);
    assert!(
        ["journal.db", "view.db", "lock", "format", "admin.sock"].iter().all(|name| has(name)),
        "{files:?}"
    );
    let tls = data.join("tls");
    assert_eq!(mode(&tls), 0o700);
    let inside = std::fs::read_dir(&tls).unwrap().map(|file| file.unwrap().path());
    for file in files.into_iter().filter(|file| *file != tls).chain(inside) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn an_unusable_data_folder_is_named_with_the_systems_error() {
    let dir = folder();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = fails(serving(&file, &["--listen", "127.0.0.1:0"]), 1);
    assert_eq!(said, format!("vang: cannot open {}: not a directory\n", file.display()));
    let said = fails(serving(&file.join("data"), &["--listen", "127.0.0.1:0"]), 1);
    assert!(said.starts_with("vang: cannot ") && said.contains("not a directory"), "{said}");
    // A parent folder without write permission; root ignores permissions, so another user tries.
    let mut command = everybodys_vang(dir.path());
    let data = dir.path().join("data");
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let said = fails(as_nobody(&command), 1);
    assert_eq!(said, format!("vang: cannot create {}: permission denied\n", data.display()));
    assert!(!data.exists());
}

#[test]
fn a_printed_port_already_accepts_connections() {
    for _ in 0..5 {
        let (_dir, server) = serve(&[]);
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&ring()).unwrap();
        let mut first = [0; 2];
        stream.read_exact(&mut first).unwrap();
    }
    let (_dir, server) = serve(&[]);
    assert_eq!(
        read_message(&mut ask(&server.addr, &ring()).as_slice()).unwrap().0["content-type"],
        "text/json"
    );
}
