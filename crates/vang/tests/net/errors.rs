//! Every socket error, provoked with the tools of `vang net`: its name, likely cause and advice. (`server/errors.rs` does
//! the same with `vang serve` and its clients.)

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::hosts::Hosts;
use crate::harness::{Tail, folder, refusing, vang};

/// Everything that it says, on both ways; it must end with this exit code.
fn says(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(!said.contains("os error"), "{said}");
    said
}

fn has(said: &str, name: &str, cause: &str, advice: &str) {
    assert!(said.contains(&format!("{name} ({cause}")), "{said}");
    assert!(said.contains(advice), "{said}");
}

fn net(args: &[&str]) -> Command {
    let mut command = vang();
    command.arg("net").args(args);
    command
}

#[test]
fn connection_refused() {
    let nobody = refusing();
    let port = nobody.addr.port().to_string();
    for said in [
        says(net(&["resolve", "127.0.0.1", &port]), 1),
        says(net(&["ping", "127.0.0.1", "--tcp", &port, "--count", "1"]), 1),
        says(net(&["echo", "send", &nobody.addr.to_string()]), 1),
        says(net(&["stall", "send", &nobody.addr.to_string()]), 1),
    ] {
        has(&said, "connection refused", "is the server running there?", "check host and port");
    }
}

#[test]
fn connection_reset_by_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Something has come: the reset cannot be taken for one of the connecting.
            stream.read_exact(&mut [0; 1]).unwrap();
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let address = format!("127.0.0.1:{port}");
    for tool in [
        &["ping", "127.0.0.1", "--tls", &port, "--count", "1"][..],
        &["ping", "127.0.0.1", "--vang", &port, "--count", "1"],
        &["echo", "send", &address, "--message", "x"],
        &["stall", "send", &address, "--fix"],
    ] {
        let said = says(net(tool), 1);
        let cause = "the other side crashed, or closed without reading everything";
        has(&said, "connection reset by peer", cause, "try again; the server's log may say why");
    }
}

#[test]
fn address_in_use_by_a_listener_but_not_by_time_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for tool in [&["stall", "serve"][..], &["echo", "serve"], &["conform"]] {
        let said = says(net(&[tool, &["--listen", &address]].concat()), 1);
        assert!(said.starts_with(&format!("vang: cannot listen on {address}: ")), "{said}");
        let pid = std::process::id();
        let held = format!(", process {pid}, listens on {address})");
        assert!(said.contains("address in use (") && said.contains(&held), "{said}");
        assert!(said.contains(&format!("stop it, as with `kill {pid}`, or choose another port")), "{said}");
    }
    // The side that closes first keeps the port in TIME_WAIT; SO_REUSEADDR is set, so that it can listen again at once.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener.accept().unwrap());
    client.read_to_end(&mut Vec::new()).unwrap();
    drop((client, listener));
    let waiting = Command::new("ss").args(["-tanH", "state", "time-wait", "src", &address]).output().unwrap();
    assert!(!waiting.stdout.is_empty(), "TIME_WAIT at {address}");
    let mut again = Tail::start(net(&["stall", "serve", "--listen", &address]));
    let line = again.line();
    assert!(line.contains(&address), "{line}");
}

#[test]
fn time_wait_blocks_a_server_without_so_reuseaddr() {
    let hosts = Hosts::in_a_row(1);
    let serve = ["net", "echo", "serve", "127.0.0.1", "7001", "--once", "--idle", "10ms"];
    let mut first = Tail::start(hosts.vang(0, &serve));
    assert!(first.line().starts_with("listening on "));
    // It closes first, because the client is idle.
    let read = "import socket; s = socket.create_connection(('127.0.0.1', 7001)); assert s.recv(1) == b''";
    assert!(hosts.on(0, "python3").args(["-c", read]).status().unwrap().success());
    first.wait();
    let said = says(hosts.vang(0, &[&serve[..], &["--no-reuseaddr"]].concat()), 1);
    let held = "vang: cannot listen on 127.0.0.1:7001: address in use (nobody listens there, but 1 connection in TIME_WAIT \
                keeps the port; it ends in ";
    assert!(said.contains(held) && said.contains("set SO_REUSEADDR before bind"), "{said}");
    let mut again = Tail::start(hosts.vang(0, &serve));
    assert!(again.line().starts_with("listening on 127.0.0.1:7001"));
}

#[test]
fn the_holder_is_also_named_if_it_only_bound_the_port_or_is_another_users() {
    let bound = refusing();
    let address = bound.addr.to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap().to_string();
    let pid = std::process::id();
    // Kernels before 6.8 do not show it.
    let said = says(net(&["echo", "serve", "--no-reuseaddr", "--listen", &address]), 1);
    let is_named = said.contains(&format!(", process {pid}, has reserved {address})"));
    assert!(
        is_named || said.contains("is another program, or another vang, already listening there?"),
        "{said}"
    );
    let said = says(net(&["echo", "serve", "--udp", "--listen", &udp_address]), 1);
    assert!(said.contains(&format!(", process {pid}, receives at {udp_address})")), "{said}");
    // Root can see all owners; without root nobody else's.
    if rustix::process::geteuid().is_root() {
        let dir = folder();
        let binary = dir.path().join("vang");
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_vang")).arg(&binary).status().unwrap().success());
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]);
        command.arg(&binary).args(["net", "echo", "serve", "--listen", &address]);
        let said = says(command, 1);
        assert!(said.contains(&format!("(a program of user root listens on {address})")), "{said}");
    }
}

#[test]
fn would_block() {
    let said = says(net(&["stall", "send", "--send-buffer", "16384", "--receive-buffer", "16384"]), 0);
    assert!(said.contains("write would block (EWOULDBLOCK) at byte "), "{said}");
    assert!(said.contains("what this means: ") && said.contains("Both queues are full"), "{said}");
    assert!(said.contains("the other side does not read, and the send buffer is full"), "{said}");
    assert!(said.contains("writing goes on when the reader reads"), "{said}");
    // A Unix socket does not let anybody wait for room in the queue of those who wait to be accepted.
    let dir = folder();
    let path = dir.path().join("s");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let place = format!("unix:{}", path.display());
    for tool in ["echo", "stall"] {
        let said = says(net(&[tool, "send", &place]), 1);
        let cause = "the server's queue of waiting connections is full";
        has(&said, "would block", cause, "a longer queue (--backlog) helps against bursts");
    }
}

#[test]
fn permission_for_a_port_under_1024() {
    let dir = folder();
    let copy = dir.path().join("vang");
    std::fs::copy(env!("CARGO_BIN_EXE_vang"), &copy).unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // In a network of its own such ports are the administrator's, whatever this machine's are.
    let hosts = Hosts::in_a_row(1);
    for tool in ["stall", "echo"] {
        let mut command = hosts.on(0, "setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(&copy);
        command.args(["net", tool, "serve", "--listen", "127.0.0.1:80"]);
        let said = says(command, 1);
        let advice = "choose a port from 1024 up, or allow it: `setcap cap_net_bind_service=+ep`";
        has(&said, "permission denied", "ports below 1024 need root or a capability", advice);
    }
}

#[test]
fn network_unreachable_from_this_machine_or_from_a_router() {
    let hosts = Hosts::in_a_row(3);
    hosts.sh(0, "ip route del default; ip -6 route del default");
    for host in ["10.99.0.1", "fd99::1"] {
        let cause = "does this machine have a network, and a route to that address?";
        let said = says(hosts.vang(0, &["net", "resolve", host, "80"]), 1);
        has(&said, "network unreachable", cause, "`ip route get ADDRESS` shows the route");
        let place = if host.contains(':') { format!("[{host}]:80") } else { format!("{host}:80") };
        for tool in ["echo", "stall"] {
            let said = says(hosts.vang(0, &["net", tool, "send", &place]), 1);
            has(&said, "network unreachable", cause, "`ip route get ADDRESS` shows the route");
        }
        let said = says(hosts.vang(0, &["net", "ping", host, "--count", "1"]), 1);
        assert!(said.contains("this machine: network unreachable, seq 1\n"), "{said}");
        has(&said, "network unreachable", cause, "`ip route get ADDRESS` shows the route");
    }
    hosts.sh(0, "ip route add default via 10.9.1.2");
    let said = says(hosts.vang(0, &["net", "resolve", "10.99.0.1", "80"]), 1);
    has(&said, "network unreachable", "does this machine have a network", "check the network");
}

#[test]
fn host_unreachable() {
    let hosts = Hosts::in_a_row(3);
    hosts.sh(1, "ip route add unreachable 10.98.0.0/16");
    for tool in [
        &["resolve", "10.98.0.1", "80"][..],
        &["echo", "send", "10.98.0.1:80"],
        &["stall", "send", "10.98.0.1:80"],
    ] {
        let said = says(hosts.vang(0, &[&["net"], tool].concat()), 1);
        let cause = "is the host on, and can this machine reach its network?";
        has(&said, "host unreachable", cause, "check the address");
    }
    // Nobody on the cable answers to the address: the kernel itself gives up, after three questions.
    let said = says(hosts.vang(0, &["net", "ping", "10.9.1.99", "--count", "1", "--wait", "60s"]), 1);
    assert!(said.contains("10.9.1.1: host unreachable (3/1), seq 1"), "{said}");
    assert!(
        said.contains("what this means: host unreachable (3/1): the last router found no host"),
        "{said}"
    );
}

#[test]
fn timed_out() {
    // A queue that is full: the kernel drops what would come next.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(address).unwrap();
    let port = address.port().to_string();
    let cause = "is the host on, and does a firewall let this port through?";
    let said = says(net(&["resolve", "127.0.0.1", &port, "--timeout", "200ms"]), 124);
    has(&said, "timed out", cause, "timed out");
    let said = says(net(&["ping", "127.0.0.1", "--tcp", &port, "--count", "1", "--wait", "200ms"]), 1);
    has(&said, "timed out", cause, "allow more time with --timeout");
    for tool in ["echo", "stall"] {
        let said = says(net(&[tool, "send", &address.to_string(), "--timeout", "200ms"]), 124);
        has(&said, "timed out", cause, "allow more time with --timeout");
    }
    drop(first);
}

#[test]
fn timed_out_while_a_name_is_looked_up() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let mut silent = hosts.silent_name_server();
    for tool in ["echo send", "echo send --udp", "echo serve --listen", "stall send", "stall serve --listen"]
    {
        let command = hosts.vang_asking(dir.path(), &format!("net {tool} nobody.example:7 --timeout 300ms"));
        let said = says(command, 124);
        assert!(said.starts_with("vang: cannot resolve 'nobody.example': timed out"), "{tool}: {said}");
        has(&said, "timed out", "no DNS server answered in time", "use the host's address instead");
        assert_eq!(silent.line(), "asked", "{tool}");
    }
}

#[test]
fn permission_denied_by_a_firewall_of_this_machine() {
    let hosts = Hosts::in_a_row(2);
    hosts.sh(0, "ip route add prohibit 10.97.0.0/16");
    for tool in [
        &["resolve", "10.97.0.1", "80"][..],
        &["echo", "send", "10.97.0.1:80"],
        &["stall", "send", "10.97.0.1:80"],
    ] {
        let said = says(hosts.vang(0, &[&["net"], tool].concat()), 1);
        let cause = "is it a broadcast address, which needs SO_BROADCAST, or does a route or a firewall \
                     of this machine forbid it?";
        has(
            &said,
            "permission denied",
            cause,
            "`ip route get ADDRESS` says `broadcast`, or shows what forbids it",
        );
    }
}

#[test]
fn invalid_ports() {
    for port in ["65536", "-1", "http", ""] {
        let said = says(net(&["resolve", "localhost", "--", port]), 2);
        assert!(said.contains("port"), "{said}");
    }
    for tool in ["echo", "stall"] {
        for (place, why) in [
            ("localhost:65536", "port 65536 is out of range; ports are 1 to 65535; a server can also have 0"),
            ("localhost:http", "port 'http' is not a number; ports are 1 to 65535; a server can also have 0"),
            ("::1:65432:7", "before a port it needs brackets"),
        ] {
            assert!(says(net(&[tool, "send", place]), 2).contains(why), "{tool} {place}");
            assert!(says(net(&[tool, "serve", "--listen", place]), 2).contains(why), "{tool} {place}");
        }
    }
    for port in ["0", "65536", "http"] {
        let said = says(net(&["ping", "localhost", "--tcp", port]), 2);
        assert!(said.contains("--tcp <PORT>") && said.contains("ports are 1 to 65535"), "{said}");
    }
    // One wording wherever a port is typed; 0 is only for what listens.
    let wording = |port: &str| {
        format!(
            "port {port} is out of range; ports are 1 to 65535; a server can also have 0, which is any free port"
        )
    };
    for (line, port) in [
        ("net talk localhost:0", "0"),
        ("net talk ws://localhost:0/ws", "0"),
        ("net echo send localhost:0", "0"),
        ("net echo send localhost 0", "0"),
        ("net echo serve --listen :65536", "65536"),
        ("net doctor localhost:0", "0"),
        ("net conform localhost:0", "0"),
        ("net tap --listen :0 --to localhost:0", "0"),
        ("net resolve localhost 0", "0"),
        ("net sockets --port 65536", "65536"),
        ("net ping localhost --tcp 0", "0"),
        ("request localhost:0 search ring", "0"),
        ("rooms --server localhost:0", "0"),
        ("serve --listen :65536", "65536"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let output = vang().args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(&wording(port)), "{line}: {said}");
    }
}

#[test]
fn name_not_found() {
    for args in [
        &["resolve", "does-not-exist.invalid"][..],
        &["ping", "does-not-exist.invalid"],
        &["echo", "send", "does-not-exist.invalid"],
        &["echo", "serve", "--listen", "does-not-exist.invalid:7"],
        &["stall", "send", "does-not-exist.invalid"],
        &["stall", "serve", "--listen", "does-not-exist.invalid:7"],
    ] {
        let said = says(net(args), 1);
        assert!(said.starts_with("vang: cannot resolve 'does-not-exist.invalid': name "), "{said}");
        // Without a name server the system cannot tell that nobody has it.
        let known =
            ["name not found (no host has this name", "cannot look up the name (no DNS server answers"];
        assert!(known.iter().any(|name| said.contains(name)), "{said}");
        assert!(said.contains("use the host's address"), "{said}");
    }
}

#[test]
fn a_link_local_address_without_its_scope() {
    for tool in [
        &["echo", "send"][..],
        &["echo", "send", "--udp"],
        &["echo", "serve", "--listen"],
        &["stall", "send"],
        &["stall", "serve", "--listen"],
    ] {
        let said = says(net(&[tool, &["[fe80::1]:7"]].concat()), 1);
        let cause = "a link-local address needs the name of its interface";
        has(&said, "scope missing", cause, "write the interface after it, as in fe80::1%eth0");
    }
}

#[test]
fn errors_at_a_path_do_not_mention_ports() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "text").unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("taken")).unwrap();
    let _datagrams = std::os::unix::net::UnixDatagram::bind(at("datagrams")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("left")).unwrap());
    let listen = |name: &str| format!("unix:{}", at(name).display());
    let data = at("data");
    for (place, name, cause, advice) in [
        (
            listen("file"),
            "file exists",
            "the file at that path is not a socket, and is not replaced",
            "remove the file",
        ),
        (listen("taken"), "address in use", ", has a socket at that path", "stop it, as with `kill"),
        (listen("none/s"), "no such folder", "the folder for the socket does not exist", "mkdir -p"),
        (listen("file/s"), "not a folder", "a part of the path is a file", "check the path"),
    ] {
        for tool in [
            &["net", "echo", "serve"][..],
            &["net", "stall", "serve"],
            &["serve", "--data", data.to_str().unwrap()],
        ] {
            let mut command = vang();
            command.args(tool).args(["--listen", &place]);
            let said = says(command, 1);
            // The holder of an address is named before the cause.
            assert!(said.contains(&format!("{name} (")) && said.contains(&format!("{cause})")), "{said}");
            assert!(said.contains(advice), "{said}");
            assert!(!said.contains("port"), "{said}");
        }
    }
    for (place, name, cause) in [
        (listen("left"), "connection refused", "no program listens at that path"),
        (listen("file"), "connection refused", "no program listens at that path"),
        (
            listen("datagrams"),
            "wrong kind of socket",
            "it is a datagram socket, and this program needs a stream socket",
        ),
    ] {
        for tool in [
            &["net", "echo", "send", &place][..],
            &["net", "stall", "send", &place],
            &["rooms", "--server", &place],
        ] {
            let mut command = vang();
            command.args(tool);
            let said = says(command, 1);
            assert!(said.contains(&format!("{name} (")) && said.contains(cause), "{said}");
            assert!(!said.contains("port") && !said.contains("host"), "{said}");
        }
    }
}

#[test]
fn broadcast_and_blackhole_addresses_have_their_own_causes() {
    let hosts = Hosts::in_a_row(2);
    hosts.sh(0, "ip route add blackhole 192.0.2.0/24");
    for args in [
        &["net", "ping", "10.9.1.255", "-c", "1", "--interval", "10ms"][..],
        &["net", "echo", "send", "10.9.1.255:7", "--udp"],
    ] {
        let said = says(hosts.vang(0, args), 1);
        assert!(said.contains("is it a broadcast address, which needs SO_BROADCAST"), "{said}");
    }
    let said = says(hosts.vang(0, &["net", "echo", "send", "192.0.2.1:7"]), 1);
    assert!(!said.contains("path") && said.contains("is its route a blackhole"), "{said}");
}
