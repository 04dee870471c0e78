//! Addresses for proxies (`--listen ADDR,proxy=KIND[,tls][,from=NETWORK]`): who the client is, and who is refused. The test is
//! the proxy. Real proxies are in `reverse_proxies.rs`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vang_proto::proxy::ProxyVersion;
use vang_proto::proxy::header::write;

use crate::common::{Wire, ask, comes_true, dial, fails, is_gone, rest};
use crate::harness::socket::{WebSocket, handshake, head};
use crate::harness::{PATIENCE, Server, exchange, folder, request, succeeded, vang};
use crate::tls::secured;

const KINDS: [&str; 3] = ["proxy", "forwarded", "x-forwarded-for"];

/// A server with a plain address, and addresses for proxies with these options, which are the last value.
fn behind(options: &[&str], more: &[&str]) -> (TempDir, Server, Vec<String>) {
    let dir = folder();
    let listen: Vec<String> = options.iter().map(|options| format!("127.0.0.1:0,{options}")).collect();
    let mut flags = more.to_vec();
    flags.extend(["--log", "debug", "--name", "chat.example"]);
    flags.extend(listen.iter().flat_map(|listen| ["--listen", listen.as_str()]));
    let mut server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &flags);
    let addresses = options.iter().map(|_| server.listening()).collect();
    (dir, server, addresses)
}

/// A header of the PROXY protocol for this client.
fn header(version: ProxyVersion, client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let server = if client.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::ffff]:443" };
    write(version, Some((client, server.parse().unwrap())))
}

fn through(addr: &str, header: &[u8]) -> Box<dyn Wire> {
    let mut stream = dial(addr);
    stream.write_all(header).unwrap();
    stream
}

fn hello(stream: &mut (impl Read + Write), name: &str) -> Value {
    let said = exchange(stream, &request("hello", &[("as", &format!("{name:?}"))], "")).0;
    if said["code"].is_null() { said["name"].clone() } else { said["code"].clone() }
}

/// Status and body of one GET with these header lines.
fn get(stream: &mut (impl Read + Write), target: &str, lines: &str) -> (String, String) {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n{lines}\r\n")
        .unwrap();
    let (status, _) = head(stream);
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    (status.split_once(' ').unwrap().1.to_owned(), body)
}

/// A WebSocket with these header lines, or the status.
fn web_socket(addr: &str, lines: &str) -> Result<WebSocket<TcpStream>, String> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(handshake("chat.example", lines).as_bytes()).unwrap();
    match head(&mut stream).0.as_str() {
        "HTTP/1.1 101 Switching Protocols" => Ok(WebSocket::begun(stream)),
        status => Err(status.to_owned()),
    }
}

fn logs(server: &Server, part: &str) {
    comes_true(part, || server.log().contains(part));
}

fn add_account(dir: &Path, name: &str) {
    let mut add = vang();
    add.args(["admin", "account", "add", name, "--data"]).arg(dir.join("data"));
    succeeded(&["account add"], add.output().unwrap());
}

#[test]
fn the_proxy_protocol_names_the_client_of_every_door() {
    let everywhere = ["--guests", "everywhere", "--lines", "everywhere"];
    let (dir, server, addrs) = behind(&["proxy=proxy,tls"], &everywhere);
    for (version, client) in [
        (ProxyVersion::One, "203.0.113.1:50001"),
        (ProxyVersion::One, "[2001:db8::1]:50002"),
        (ProxyVersion::Two, "203.0.113.2:50003"),
        (ProxyVersion::Two, "[2001:db8::2]:50004"),
    ] {
        let header = header(version, client);
        let mut native = through(&addrs[0], &header);
        assert_eq!(hello(&mut native, "eve"), "guest:eve");
        let mut status = vang();
        status.args(["status", "--json", "--data"]).arg(dir.path().join("data"));
        let status: Value = serde_json::from_slice(&status.output().unwrap().stdout).unwrap();
        let doors = status["connections"]["doors"].as_array().unwrap();
        let is_it = |door: &&Value| {
            door["door"] == "native" && door["origin"] == "remote" && door["encryption"] == "tls"
        };
        assert!(doors.iter().any(|door| is_it(&door)), "{doors:?}");
        drop(native);
        logs(&server, &format!("peer={client} door=\"native\" tls=true"));

        let mut typed = through(&addrs[0], &[&header[..], b"eve\nhi\n"].concat());
        typed.end_writing();
        let said = String::from_utf8(rest(&mut typed)).unwrap();
        assert!(said.contains("you are guest:eve"), "{said}");
        logs(&server, &format!("peer={client} door=\"lines\" tls=true"));

        assert_eq!(get(&mut through(&addrs[0], &header), "/rooms?as=eve", "").0, "200 OK");
        let mut web = through(&addrs[0], &[&header[..], handshake("chat.example", "").as_bytes()].concat());
        assert_eq!(head(&mut web).0, "HTTP/1.1 101 Switching Protocols");
        drop(web);
        logs(&server, &format!("peer={client} door=\"websocket\" tls=true"));
    }
    // The header comes in pieces, and with extensions, which are skipped.
    let mut two = header(ProxyVersion::Two, "203.0.113.3:50005");
    let extension = [&[0xe0, 0x20, 0][..], &[7; 0x2000]].concat();
    two[14..16].copy_from_slice(&(12 + extension.len() as u16).to_be_bytes());
    let bytes = [two, extension, request("hello", &[("as", "\"eve\"")], "")].concat();
    let mut stream = dial(&addrs[0]);
    for piece in bytes[..40].chunks(1).chain(bytes[40..].chunks(1_000)) {
        stream.write_all(piece).unwrap();
    }
    assert_eq!(crate::harness::read_message(&mut stream).unwrap().0["name"], "guest:eve");
    drop(stream);
    logs(&server, "peer=203.0.113.3:50005 door=\"native\"");
    // The proxy does not know it.
    for unknown in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
        assert_eq!(hello(&mut through(&addrs[0], unknown), "eve"), "guest:eve");
    }
    logs(&server, "peer=unknown (through a proxy) door=\"native\"");
    assert!(server.stop().success());
}

#[test]
fn no_address_in_a_header_makes_a_client_local() {
    let options = KINDS.map(|kind| format!("proxy={kind},tls"));
    // The most that programs of this machine may be allowed.
    let (dir, server, addrs) = behind(&options.each_ref().map(String::as_str), &["--trust", "local"]);
    add_account(dir.path(), "ada");
    assert_eq!(hello(&mut server.connect(), "ada"), "ada");
    for client in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
        for version in [ProxyVersion::One, ProxyVersion::Two] {
            let header = header(version, client);
            for name in ["ada", "eve"] {
                assert_eq!(hello(&mut through(&addrs[0], &header), name), "sign-in-needed", "{client}");
            }
            let (status, body) = get(&mut through(&addrs[0], &header), "/metrics", "");
            assert_eq!(status, "403 Forbidden", "{body}");
            let said = ask(&addrs[0], &[&header[..], b"ada\n"].concat());
            assert!(String::from_utf8_lossy(&said).contains("--lines everywhere"), "{said:?}");
        }
    }
    for (addr, line) in [
        (&addrs[1], "Forwarded: for=127.0.0.1"),
        (&addrs[1], "Forwarded: for=\"[::1]:9\";proto=http"),
        (&addrs[1], "Forwarded: for=unknown"),
        (&addrs[2], "X-Forwarded-For: 127.0.0.1"),
        (&addrs[2], "X-Forwarded-For: ::1, ::ffff:127.0.0.1"),
        (&addrs[2], "X-Forwarded-For: unknown"),
    ] {
        let lines = format!("{line}\r\n");
        for target in ["/rooms?as=ada", "/rooms?as=eve", "/rooms/general/events", "/find?q=x"] {
            let (status, body) = get(&mut dial(addr), target, &lines);
            assert_eq!(status, "403 Forbidden", "{line} {target}");
            assert!(body.contains("sign-in-needed"), "{line} {target} {body}");
        }
        assert_eq!(get(&mut dial(addr), "/metrics", &lines).0, "403 Forbidden", "{line}");
        assert_eq!(get(&mut dial(addr), "/", &lines).0, "200 OK", "{line}");
        let mut web = web_socket(addr, &lines).unwrap();
        let said = web.exchange(&request("hello", &[("as", "\"ada\"")], "")).0;
        assert_eq!(said["code"], "sign-in-needed", "{line}");
    }
    // Plain addresses are as before.
    let from = "X-Forwarded-For: 203.0.113.9\r\n";
    assert!(get(&mut server.connect(), "/rooms?as=ada", from).1.contains("sign-in-needed"));
    assert_eq!(get(&mut server.connect(), "/rooms?as=ada", "").0, "200 OK");
}

#[test]
fn what_does_not_name_its_client_in_the_kind_of_the_address_is_refused() {
    let options = KINDS.map(|kind| format!("proxy={kind},tls"));
    let (_dir, server, addrs) =
        behind(&options.each_ref().map(String::as_str), &["--guests", "everywhere", "--lines", "everywhere"]);
    let header = header(ProxyVersion::One, "203.0.113.1:50001");
    let sends = ["the PROXY protocol", "the HTTP header Forwarded", "the HTTP header X-Forwarded-For"];
    for (at, (addr, kind)) in addrs.iter().zip(KINDS).enumerate() {
        let why = format!("send {} (option proxy={kind} of --listen)", sends[at]);
        let mut native = dial(addr);
        let (reply, _) = exchange(&mut native, &request("hello", &[("as", "\"eve\"")], ""));
        assert_eq!(reply["code"], "malformed", "{kind}");
        assert!(reply["detail"].as_str().unwrap().contains(&why), "{reply}");
        assert!(is_gone(&mut native), "{kind}");
        let typed = String::from_utf8(ask(addr, b"eve\nhi\n")).unwrap();
        assert!(typed.contains(&why) && typed.lines().count() == 1, "{kind}: {typed}");
        for (line, is_it) in [
            ("", None),
            ("Forwarded: for=203.0.113.1\r\n", Some("forwarded")),
            ("X-Forwarded-For: 203.0.113.1\r\n", Some("x-forwarded-for")),
            ("Forwarded: for=203.0.113.1\r\nX-Forwarded-For: \r\n", Some("forwarded")),
            ("Forwarded: proto=https\r\nX-Forwarded-For: ,\r\n", None),
            ("Forwarded: for=eve.example\r\nX-Forwarded-For: eve.example\r\n", None),
            ("Forwarded: for=\"203.0.113.1\r\nX-Forwarded-For: 203.0.113.1 203.0.113.1\r\n", None),
            ("Via: 1.1 x\r\nX-Real-IP: 203.0.113.1\r\n", None),
        ] {
            for target in ["/", "/healthz", "/readyz", "/rooms?as=eve"] {
                let (status, body) = get(&mut dial(addr), target, line);
                if is_it == Some(kind) {
                    assert_eq!(status, "200 OK", "{kind} {line} {target}: {body}");
                } else {
                    assert_eq!(status, "400 Bad Request", "{kind} {line} {target}: {body}");
                    assert!(body.contains(&why), "{kind} {line}: {body}");
                }
            }
            assert_eq!(web_socket(addr, line).is_ok(), is_it == Some(kind), "{kind} {line}");
        }
        if kind == "proxy" {
            // The second one is the client's.
            let two = [&header[..], &write(ProxyVersion::Two, None), b"eve\n"].concat();
            for doubled in [[&header[..], &header].concat(), two] {
                let said = ask(addr, &doubled);
                assert!(String::from_utf8_lossy(&said).contains("a second PROXY header came"), "{said:?}");
            }
            for wrong in
                [&b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"]
            {
                let said = ask(addr, &[wrong, &[0; 12]].concat());
                let said = String::from_utf8_lossy(&said);
                assert!(said.contains("the PROXY ") && said.contains(&why), "{said}");
            }
        } else {
            let said = ask(addr, &header);
            assert!(String::from_utf8_lossy(&said).contains(&why), "{said:?}");
        }
    }
    logs(&server, "request refused peer=127.0.0.1:");
    // The plain address accepts everything as before.
    assert_eq!(hello(&mut server.connect(), "eve"), "guest:eve");
    assert!(!server.log().contains("panicked"));
}

#[test]
fn health_checks_of_a_proxy_are_closed_in_silence() {
    let (_dir, server, addrs) = behind(&["proxy=proxy", "proxy=x-forwarded-for"], &[]);
    let local = write(ProxyVersion::Two, None);
    assert_eq!(ask(&addrs[0], &local), b"");
    // With addresses and extensions.
    let mut long = local;
    long[14..16].copy_from_slice(&3_000_u16.to_be_bytes());
    assert_eq!(ask(&addrs[0], &[long, vec![0; 3_000]].concat()), b"");
    for addr in &addrs {
        let mut stream = dial(addr);
        stream.end_writing();
        assert_eq!(rest(&mut stream), b"");
    }
    assert_eq!(hello(&mut server.connect(), "eve"), "guest:eve");
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn limits_of_an_address_count_the_client_and_what_it_forges_does_not_help() {
    let more = ["--guests", "everywhere", "--limit", "per-address=2"];
    let options = KINDS.map(|kind| format!("proxy={kind},tls,from=127.0.0.1,from=10.0.0.0/8"));
    let (_dir, server, addrs) = behind(&options.each_ref().map(String::as_str), &more);
    let client = "203.0.113.9";
    let lines = [
        ("Forwarded: for=203.0.113.9", 1),
        (
            "Forwarded: for=127.0.0.1, for=198.51.100.1;proto=https, for=\"203.0.113.9:50001\", for=10.0.0.7",
            1,
        ),
        ("Forwarded: for=127.0.0.1\r\nForwarded: for=203.0.113.9", 1),
        ("X-Forwarded-For: 203.0.113.9\r\nForwarded: for=127.0.0.1", 2),
        ("X-Forwarded-For: 127.0.0.1, 198.51.100.1, 203.0.113.9", 2),
        ("X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: ::1\r\nX-Forwarded-For: 203.0.113.9:1, 10.0.0.7", 2),
        ("X-Forwarded-For: 203.0.113.9, 127.0.0.1, 10.1.1.1", 2),
    ];
    for pair in lines.windows(2) {
        let open = |(line, at): (&str, usize)| web_socket(&addrs[at], &format!("{line}\r\n"));
        let mut held = Vec::new();
        comes_true("there are two places", || {
            held = pair.iter().filter_map(|line| open(*line).ok()).collect();
            held.len() == 2
        });
        let said = held[0].exchange(&request("hello", &[("as", "\"eve\"")], "")).0;
        assert_eq!(said["name"], "guest:eve");
        for line in lines {
            assert_eq!(open(line).err().unwrap(), "HTTP/1.1 503 Service Unavailable", "{line:?}");
        }
        let (status, body) = get(&mut dial(&addrs[2]), "/rooms", "X-Forwarded-For: 203.0.113.9\r\n");
        assert_eq!(status, "503 Service Unavailable");
        assert_eq!(body, "your address has 2 connections, which is the limit\n");
        let named = header(ProxyVersion::Two, &format!("{client}:50009"));
        assert_eq!(hello(&mut through(&addrs[0], &named), "eve"), "too-many");
        // Others, and the proxy itself, are not affected.
        let other = "X-Forwarded-For: 203.0.113.10\r\n";
        assert_eq!(get(&mut dial(&addrs[2]), "/rooms", other).0, "200 OK");
        drop(held);
        comes_true("there is a place", || hello(&mut through(&addrs[0], &named), "eve") == "guest:eve");
    }
    // An event stream is a connection of its client; a connection of the proxy that it leaves open is not.
    let mut streams: Vec<_> = (0..2).map(|_| dial(&addrs[2])).collect();
    for stream in &mut streams {
        let asked = "GET /rooms/general/events HTTP/1.1\r\nHost: chat.example\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n";
        stream.write_all(asked.as_bytes()).unwrap();
        assert_eq!(head(stream).0, "HTTP/1.1 200 OK");
    }
    let mut kept = dial(&addrs[2]);
    for (client, status) in
        [("203.0.113.77", "HTTP/1.1 503 Service Unavailable"), ("203.0.113.78", "HTTP/1.1 200 OK")].repeat(3)
    {
        let asked =
            format!("HEAD /rooms HTTP/1.1\r\nHost: chat.example\r\nX-Forwarded-For: {client}\r\n\r\n");
        kept.write_all(asked.as_bytes()).unwrap();
        assert_eq!(head(&mut kept).0, status, "{client}");
    }
    drop((streams, kept));
    logs(&server, "peer=203.0.113.9:50001 door=\"websocket\"");
    logs(&server, "peer=203.0.113.9 door=\"websocket\"");
    assert!(!server.log().contains("peer=198.51.100.1"), "{}", server.log());
}

#[test]
fn who_is_refused_behind_a_proxy_takes_no_place_of_others() {
    let more = ["--guests", "everywhere", "--limit", "per-address=1", "--limit", "connections=3"];
    let (_dir, server, addrs) = behind(&["proxy=proxy,tls"], &more);
    let named = |client: &str| through(&addrs[0], &header(ProxyVersion::Two, client));
    let mut held = named("203.0.113.9:50001");
    assert_eq!(hello(&mut held, "eve"), "guest:eve");
    let refused: Vec<_> = (0..6)
        .map(|i| {
            let mut stream = named(&format!("203.0.113.9:{}", 50_002 + i));
            assert_eq!(hello(&mut stream, "eve"), "too-many");
            stream
        })
        .collect();
    let mut other = named("203.0.113.10:50001");
    assert_eq!(hello(&mut other, "bob"), "guest:bob");
    let (_, metrics) = get(&mut server.connect(), "/metrics", "");
    assert!(metrics.contains("\nvang_connections_refused_total 6\n"), "{metrics}");
    drop((held, refused, other));
}

/// Connects from this address of this machine.
fn connect_from(ip: [u8; 4], to: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&to.parse::<SocketAddr>().unwrap().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn only_the_named_peers_are_proxies() {
    let networks = "from=127.9.0.0/16,from=127.8.8.8,from=2001:db8::/32";
    let options = KINDS.map(|kind| format!("proxy={kind},tls,{networks}"));
    let (_dir, server, addrs) = behind(&options.each_ref().map(String::as_str), &["--guests", "everywhere"]);
    let header = header(ProxyVersion::One, "203.0.113.1:50001");
    let lines = "Forwarded: for=203.0.113.1\r\nX-Forwarded-For: 203.0.113.1\r\n";
    for ip in [[127, 9, 1, 1], [127, 8, 8, 8]] {
        let mut stream = connect_from(ip, &addrs[0]);
        stream.write_all(&header).unwrap();
        assert_eq!(hello(&mut stream, "eve"), "guest:eve");
        for addr in &addrs[1..] {
            assert_eq!(get(&mut connect_from(ip, addr), "/rooms?as=eve", lines).0, "200 OK");
        }
    }
    let why = "only a proxy of this server can connect to this address; use the server's public address";
    for addr in &addrs {
        for ip in [[127, 0, 0, 1], [127, 8, 8, 7], [127, 10, 0, 1]] {
            let mut stream = connect_from(ip, addr);
            let (reply, _) = exchange(&mut stream, &request("hello", &[("as", "\"eve\"")], ""));
            assert_eq!((&reply["code"], &reply["detail"]), (&"not-allowed".into(), &why.into()));
            assert!(is_gone(&mut stream));
            for target in ["/", "/healthz", "/rooms"] {
                let said = get(&mut connect_from(ip, addr), target, lines);
                assert_eq!(said, ("403 Forbidden".to_owned(), format!("{why}\n")));
            }
            let mut stream = connect_from(ip, addr);
            stream.write_all(&header).unwrap();
            assert!(String::from_utf8_lossy(&rest(&mut stream)).contains(why));
        }
    }
    logs(&server, "connection refused: the peer is no proxy of this listener (option from=NETWORK)");
    logs(&server, "from=127.9.0.0/16, 127.8.8.8/32, 2001:db8::/32");
}

#[test]
fn without_the_option_tls_clients_must_use_tls_themselves() {
    let options = KINDS.map(|kind| format!("proxy={kind}"));
    let (dir, _server, addrs) =
        behind(&options.each_ref().map(String::as_str), &["--guests", "everywhere", "--lines", "everywhere"]);
    let header = header(ProxyVersion::Two, "203.0.113.1:50001");
    let lines = "Forwarded: for=203.0.113.1\r\nX-Forwarded-For: 203.0.113.1\r\n";
    assert_eq!(hello(&mut through(&addrs[0], &header), "eve"), "tls-required");
    let said = ask(&addrs[0], &[&header[..], b"eve\n"].concat());
    assert!(String::from_utf8_lossy(&said).contains("need TLS"), "{said:?}");
    for (at, addr) in addrs.iter().enumerate() {
        let mut stream = if at == 0 { through(addr, &header) } else { dial(addr) };
        write!(stream, "GET /rooms?as=eve HTTP/1.1\r\nHost: chat.example\r\n{lines}\r\n").unwrap();
        let (status, headers) = head(&mut stream);
        assert_eq!(status, "HTTP/1.1 308 Permanent Redirect");
        assert!(headers.contains(&"location: https://chat.example/rooms?as=eve".to_owned()), "{headers:?}");
        let mut stream = if at == 0 { through(addr, &header) } else { dial(addr) };
        assert_eq!(get(&mut stream, "/healthz", lines).0, "200 OK");
    }
    // Behind the PROXY header TLS is the client's, in HTTP it is only the proxy's way to the server.
    let tls = |at: usize, header: &[u8]| {
        let mut stream = TcpStream::connect(&addrs[at]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(header).unwrap();
        secured(stream, &dir.path().join("data"), "chat.example", &[])
    };
    assert_eq!(hello(&mut tls(0, &header), "eve"), "guest:eve");
    let mut stream = tls(0, &header);
    write!(stream, "GET /rooms?as=eve HTTP/1.1\r\nHost: chat.example\r\n\r\n").unwrap();
    assert_eq!(head(&mut stream).0, "HTTP/1.1 200 OK");
    for at in [1, 2] {
        let mut stream = tls(at, b"");
        write!(stream, "GET /rooms?as=eve HTTP/1.1\r\nHost: chat.example\r\n{lines}\r\n").unwrap();
        assert_eq!(head(&mut stream).0, "HTTP/1.1 308 Permanent Redirect");
    }
}

#[test]
fn options_are_the_same_in_a_flag_a_variable_and_a_file() {
    let dir = folder();
    let file = dir.path().join("vang.toml");
    let listen =
        ["127.0.0.1:65432", "unix:/run/x,proxy=proxy", ":65433,proxy=forwarded,tls,from=10.0.0.0/8,from=::1"];
    let toml = format!("listen = {listen:?}\n");
    let shown = |flags: &[String], variable: &str| {
        let mut command = vang();
        command.args(["config", "show"]).args(flags).env("VANG_LISTEN", variable);
        let said = succeeded(&["config", "show"], command.output().unwrap());
        let line = said.lines().find(|line| line.starts_with("listen = ")).unwrap().to_owned();
        line.split('#').next().unwrap().trim().to_owned()
    };
    let expected = toml.trim();
    fs::write(&file, &toml).unwrap();
    assert_eq!(shown(&["--config".to_owned(), file.display().to_string()], ""), expected);
    assert_eq!(shown(&[], &listen.join(",")), expected);
    assert_eq!(shown(&listen.map(|listen| format!("--listen={listen}")), ""), expected);

    for (wrong, why) in [
        (
            ":1,proxy=nginx",
            "unknown proxy kind 'nginx'; kinds are proxy (the PROXY protocol 1 and 2), forwarded (the HTTP",
        ),
        (
            ":1,prxy=proxy",
            "unknown option 'prxy=proxy' behind ':1'; options are proxy=KIND, tls and from=NETWORK",
        ),
        (":1,tls", "without a proxy every listener accepts TLS anyway"),
        (
            ":1,proxy=proxy,from=10.0.0.7/8",
            "write from=10.0.0.0/8 for the network, or from=10.0.0.7 for the address",
        ),
        ("unix:/run/x,proxy=proxy,from=::1", "from=NETWORK cannot be used with unix:PATH"),
        (":1,localhost", "an address needs a port, as in localhost:65432"),
    ] {
        let serve = || {
            let mut command = vang();
            command.arg("serve").arg("--data").arg(dir.path().join("data"));
            command
        };
        let mut flag = serve();
        flag.args(["--listen", wrong]);
        let mut variable = serve();
        variable.env("VANG_LISTEN", wrong);
        fs::write(&file, format!("listen = [{wrong:?}]\n")).unwrap();
        let mut in_file = serve();
        in_file.arg("--config").arg(&file);
        for command in [flag, variable, in_file] {
            let said = fails(command, 2);
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
    let mut twice = vang();
    twice.args(["serve", "--listen", ":65433", "--listen", ":65433,proxy=proxy", "--data"]).arg(dir.path());
    assert!(fails(twice, 2).contains("'listen' has :65433 twice; list it once, with its options"));
}

#[test]
fn hup_changes_the_options_of_an_open_address() {
    let dir = folder();
    let (data, file) = (dir.path().join("data"), dir.path().join("vang.toml"));
    let configure = |options: &str| {
        let text = format!(
            "listen = ['127.0.0.1:0', '127.0.0.2:0{options}']\nguests = 'everywhere'\nname = ['chat.example']\n"
        );
        fs::write(&file, text).unwrap();
    };
    configure(",proxy=proxy,tls");
    let mut command = vang();
    command.args(["serve", "--config"]).arg(&file).arg("--data").arg(&data);
    let mut server = Server::spawn(command, &data);
    let addr = server.listening();
    logs(&server, "only proxies can connect here");
    let header = header(ProxyVersion::One, "203.0.113.1:50001");
    let mut before = through(&addr, &header);
    assert_eq!(hello(&mut before, "eve"), "guest:eve");
    let mut reload = 0;
    let mut hup = |options: &str| {
        configure(options);
        server.signal("HUP");
        reload += 1;
        comes_true("reloaded", || server.log().matches("configuration reloaded").count() == reload);
    };
    hup(",proxy=x-forwarded-for");
    assert_eq!(get(&mut dial(&addr), "/healthz", "X-Forwarded-For: 203.0.113.1\r\n").0, "200 OK");
    assert_eq!(hello(&mut dial(&addr), "eve"), "malformed");
    hup(",proxy=x-forwarded-for,tls,from=127.9.9.9");
    assert_eq!(hello(&mut dial(&addr), "eve"), "not-allowed");
    let mut stream = connect_from([127, 9, 9, 9], &addr);
    assert_eq!(get(&mut stream, "/rooms?as=eve", "X-Forwarded-For: 203.0.113.1\r\n").0, "200 OK");
    // Open connections stay.
    assert_eq!(exchange(&mut before, &request("ping", &[], "")).0["status"], "ok");
    hup("");
    assert_eq!(hello(&mut dial(&addr), "eve"), "guest:eve");
    logs(&server, "everybody can connect here now, not only proxies");
    // A mistake changes nothing.
    configure(",proxy=nginx");
    server.signal("HUP");
    logs(&server, "unknown proxy kind 'nginx'");
    assert_eq!(hello(&mut dial(&addr), "eve"), "guest:eve");
    assert!(server.stop().success());
}
