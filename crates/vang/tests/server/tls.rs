//! All protocols inside TLS; what other machines cannot do without it; and how a client recognises the server.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::common::{Witness, comes_true, is_gone, rest, serve_process};
use crate::harness::hosts::Hosts;
use crate::harness::socket::{WebSocket, head};
use crate::harness::{Server, exchange, folder, guide, read_message, request, result_of, vang};

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

const GENERAL: (&str, &str) = ("room", "\"general\"");

/// A TLS connection to a server, verified with the certificate in its data folder, for this name.
fn dial(server: &Server, data: &Path, name: &str, alpn: &[&str]) -> Tls {
    secured(server.connect(), data, name, alpn)
}

/// TLS on this connection.
pub(crate) fn secured(stream: TcpStream, data: &Path, name: &str, alpn: &[&str]) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data.join("tls/certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// A client command with its own folder for remembered keys.
fn client(server: &str, home: &Path, args: &[&str]) -> Output {
    let mut command = vang();
    command.args(args).env("VANG_SERVER", server).env("XDG_CONFIG_HOME", home).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_door_works_inside_tls() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start_with(&data, "127.0.0.1:0", &["--name", "chat.example"]);
    let mut witness = Witness::new(&server);
    // Recognised by the first bytes inside, or by ALPN; with every name in the certificate.
    for (name, alpn) in [("localhost", &[][..]), ("127.0.0.1", &["vang"]), ("chat.example", &["h2", "vang"])]
    {
        let mut tls = dial(&server, &data, name, alpn);
        let send = request("send", &[GENERAL, ("as", "\"ada\"")], name);
        assert_eq!(exchange(&mut tls, &send).0["status"], "ok");
        witness.hears(name);
    }
    let search = r#"{"action": "search", "value": "ring"}"#;
    let (_, found) = exchange(&mut dial(&server, &data, "localhost", &[]), &guide(search));
    assert_eq!(result_of(&found), "In the caves beneath the Misty Mountains. 💍");
    for alpn in [&[][..], &["http/1.1"]] {
        let mut tls = dial(&server, &data, "localhost", alpn);
        tls.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(head(&mut tls).0, "HTTP/1.1 200 OK");
    }
    let mut web = WebSocket::open(dial(&server, &data, "localhost", &["http/1.1"]));
    assert_eq!(web.exchange(&request("send", &[GENERAL], "web in tls")).0["status"], "ok");
    witness.hears("web in tls");
    witness.is_unharmed(&server);
}

#[test]
fn many_large_messages_reach_a_slow_tls_reader_complete() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let mut native = dial(&server, &data, "localhost", &[]);
    assert_eq!(exchange(&mut native, &request("follow", &[GENERAL], "")).0["status"], "ok");
    let mut web = WebSocket::open(dial(&server, &data, "localhost", &[]));
    assert_eq!(web.exchange(&request("follow", &[GENERAL], "")).0["status"], "ok");
    let long = "x".repeat(40_000);
    let mut sender = server.connect();
    for _ in 0..200 {
        assert_eq!(exchange(&mut sender, &request("send", &[GENERAL], &long)).0["status"], "ok");
    }
    for n in 1..=200 {
        let (event, content) = read_message(&mut native).unwrap();
        assert_eq!((event["n"].as_u64(), content.len()), (Some(n), long.len()));
        assert_eq!(web.message().0["n"].as_u64(), Some(n));
    }
}

#[test]
fn silence_inside_tls_stays_unanswered() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start_with(&data, "127.0.0.1:0", &["--limit", "first-byte=300ms"]);
    let mut tls = dial(&server, &data, "localhost", &[]);
    tls.conn.complete_io(&mut tls.sock).unwrap();
    assert!(!tls.conn.is_handshaking());
    // Until the server closes: only records of TLS, and none of them has content.
    let came = rest(&mut tls.sock);
    let mut left = came.as_slice();
    while !left.is_empty() {
        assert!(tls.conn.read_tls(&mut left).unwrap() > 0, "bytes after the end: {left:?}");
        let state = tls.conn.process_new_packets();
        let state = state.unwrap_or_else(|error| panic!("{error}: {}", text(&came)));
        assert_eq!(state.plaintext_bytes_to_read(), 0);
    }
    comes_true("nothing panicked", || !server.log().contains("panicked"));
}

#[test]
fn silence_from_another_machine_stays_unanswered() {
    let hosts = TwoHosts::new();
    let dir = folder();
    let _server = hosts.serve_process(&dir.path().join("data"), &["--limit", "first-byte=300ms"]);
    let heard = hosts.ask_by("print('connected', flush=True)", b"");
    assert_eq!(text(&heard), "connected\n");
    let shaken = "s=ssl._create_unverified_context().wrap_socket(s); print('shaken', flush=True)";
    assert_eq!(text(&hosts.ask_by(shaken, b"")), "shaken\n");
    // Whoever sends something that nobody knows is told.
    let printed = text(&hosts.ask_by("s.sendall(b'Hello, world')", b""));
    assert!(printed.starts_with("-- 12 bytes came ('Hello, world'), then nothing for 300 ms."), "{printed}");
}

#[test]
fn broken_tls_handshakes_disturb_no_other_client() {
    let (_dir, server) = serve_process(&["--limit", "first-byte=300ms"]);
    let mut witness = Witness::new(&server);
    // A cut hello, garbage, a wrong length, HTTP after a hello.
    let hellos: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16\x03\x01\x00\x20garbage garbage garbage garbage!",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x01GET / HTTP/1.1\r\n\r\n",
    ];
    for hello in hellos {
        let mut stream = server.connect();
        stream.write_all(hello).unwrap();
        assert!(is_gone(&mut stream));
    }
    witness.is_unharmed(&server);
}

#[test]
fn a_server_keeps_its_key_and_a_client_remembers_it() {
    let dir = folder();
    let (data, home) = (dir.path().join("data"), dir.path().join("home"));
    let server = Server::start(&data);
    let addr = server.addr.clone();
    let url = format!("vangs://{addr}");
    let first = client(&url, &home, &["send", "general", "hi"]);
    assert_eq!(text(&first.stdout), "general#1\n", "{first:?}");
    let known = fs::read_to_string(home.join("vang/known_servers")).unwrap();
    let key = known.trim().strip_prefix(&format!("{addr} ")).unwrap();
    assert!(key.starts_with("SHA256:") && key.len() == 50, "{known}");
    let file = home.join("vang/known_servers");
    let met = format!("vang: first connection to {addr}: remembered its key {key} in {}\n", file.display());
    assert_eq!(text(&first.stderr), met);
    server.stop();
    let server = Server::start_with(&data, &addr, &[]);
    let second = client(&url, &home, &["send", "general", "again"]);
    assert_eq!((text(&second.stdout).as_str(), text(&second.stderr).as_str()), ("general#2\n", ""));
    server.stop();
    // Another server in its place: nothing is said to it.
    let other = Server::start_with(&dir.path().join("other"), &addr, &[]);
    let third = client(&url, &home, &["send", "general", "secret"]);
    assert_eq!((third.status.code(), text(&third.stdout).as_str()), (Some(1), ""));
    let said = text(&third.stderr);
    let begin = format!("vang: the key of {addr} is SHA256:");
    assert!(said.starts_with(&begin), "{said}");
    assert!(said.contains(&format!("but line 1 of {} expects {key}", file.display())), "{said}");
    assert!(said.contains("somebody may intercept this connection"), "{said}");
    assert_eq!(other.ok(&["tail", "general", "--since", "0", "--no-follow"]), "");
}

#[test]
fn given_certificate_files_are_used_and_a_wrong_pair_is_an_error() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    // Two servers' own files serve as the given ones.
    for name in ["one", "two"] {
        Server::start(&at(name)).stop();
    }
    let file = |folder: &str, file: &str| at(folder).join("tls").join(file).display().to_string();
    let (certificate, key) = (file("one", "certificate.pem"), file("one", "key.pem"));
    let server =
        Server::start_with(&at("three"), "127.0.0.1:0", &["--tls-cert", &certificate, "--tls-key", &key]);
    let mut tls = dial(&server, &at("one"), "localhost", &[]);
    assert_eq!(exchange(&mut tls, &request("ping", &[], "")).0["status"], "ok");
    assert!(!at("three").join("tls").exists(), "nothing is made that nobody uses");
    let mut wrong = vang();
    wrong.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &file("two", "key.pem"),
    ]);
    let output = wrong.arg("--data").arg(at("four")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("key.pem: keys may not be consistent"), "{output:?}");
}

#[test]
fn hup_loads_a_renewed_certificate_and_drops_no_connection() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    for name in ["old", "new"] {
        Server::start(&at(name)).stop();
    }
    let files = ["certificate.pem", "key.pem"];
    let renew = |from: &str| {
        for file in files {
            fs::copy(at(from).join("tls").join(file), at(file)).unwrap();
        }
    };
    renew("old");
    let [certificate, key] = files.map(|file| at(file).display().to_string());
    let server =
        Server::start_with(&at("data"), "127.0.0.1:0", &["--tls-cert", &certificate, "--tls-key", &key]);
    let mut before = dial(&server, &at("old"), "localhost", &[]);
    assert_eq!(exchange(&mut before, &request("ping", &[], "")).0["status"], "ok");
    // A wrong pair is logged, and the old one stays.
    fs::copy(at("new/tls/key.pem"), at("key.pem")).unwrap();
    server.signal("HUP");
    comes_true("the mistake is logged", || server.log().contains("keys may not be consistent"));
    assert_eq!(
        exchange(&mut dial(&server, &at("old"), "localhost", &[]), &request("ping", &[], "")).0["status"],
        "ok"
    );
    renew("new");
    server.signal("HUP");
    comes_true("the new certificate is shown", || {
        let mut tls = dial(&server, &at("new"), "localhost", &[]);
        tls.write_all(&request("ping", &[], "")).is_ok() && read_message(&mut tls).is_ok()
    });
    assert_eq!(exchange(&mut before, &request("ping", &[], "")).0["status"], "ok");
}

/// Two hosts with a cable: 10.9.1.1 and fd09:1::1 is the server, 10.9.1.2 and fd09:1::2 the client.
struct TwoHosts(Hosts);

impl TwoHosts {
    fn new() -> TwoHosts {
        TwoHosts(Hosts::in_a_row(2))
    }

    /// A server on the first host, on all interfaces.
    fn serve_process(&self, data: &Path, more: &[&str]) -> Server {
        let mut command = self.0.on(0, env!("CARGO_BIN_EXE_vang"));
        command.args(["serve", "--listen", ":65432"]).args(more).arg("--data").arg(data);
        Server::spawn(command, data)
    }

    /// A client command on the second host, with its remembered keys in this folder.
    fn client(&self, home: &Path, args: &[&str]) -> Output {
        let mut command = self.0.on(1, env!("CARGO_BIN_EXE_vang"));
        command.args(args).env("XDG_CONFIG_HOME", home).output().unwrap()
    }

    /// The server's answer to bytes from the second host.
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.ask_by("s.sendall(sys.stdin.buffer.read()); s.shutdown(1)", bytes)
    }

    /// The same inside TLS, without verification.
    fn ask_in_tls(&self, bytes: &[u8]) -> Vec<u8> {
        self.ask_by(
            "s=ssl._create_unverified_context().wrap_socket(s); s.sendall(sys.stdin.buffer.read())",
            bytes,
        )
    }

    fn ask_by(&self, how: &str, bytes: &[u8]) -> Vec<u8> {
        let program = format!(
            "import socket,ssl,sys; s=socket.create_connection(('10.9.1.1',65432)); {how}\n\
             while b := s.recv(65536): sys.stdout.buffer.write(b)"
        );
        let mut child = self
            .0
            .on(1, "python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap().stdout
    }
}

#[test]
fn other_machines_must_use_tls() {
    let hosts = TwoHosts::new();
    let dir = folder();
    let (data, home) = (dir.path().join("data"), dir.path().join("home"));
    let server = hosts.serve_process(&data, &[]);
    let (reply, _) =
        read_message(&mut hosts.ask(&request("hello", &[("as", "\"ada\"")], "")).as_slice()).unwrap();
    assert_eq!(reply["code"], "tls-required");
    let search = guide(r#"{"action": "search", "value": "ring"}"#);
    let (_, content) = read_message(&mut hosts.ask(&search).as_slice()).unwrap();
    assert_eq!(
        result_of(&content),
        "In the caves beneath the Misty Mountains. 💍",
        "the guide's needs no name"
    );
    let get = |target: &str| {
        text(&hosts.ask(format!("GET {target} HTTP/1.1\r\nHost: 10.9.1.1:65432\r\n\r\n").as_bytes()))
    };
    assert!(get("/healthz").starts_with("HTTP/1.1 200 OK"));
    let moved = get("/rooms/general/events?since=0");
    assert!(moved.starts_with("HTTP/1.1 308 Permanent Redirect"), "{moved}");
    assert!(
        moved.contains("\r\nlocation: https://10.9.1.1:65432/rooms/general/events?since=0\r\n"),
        "{moved}"
    );
    // By TLS, which our client speaks by itself: guests only where they were let in.
    for address in ["10.9.1.1", "[fd09:1::1]:65432"] {
        let refused = hosts.client(&home, &["send", "general", "hi", "--server", address]);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains("vang: this server admits guests from its own machine only"), "{said}");
    }
    assert!(
        server.log().contains("Other machines must use TLS. Key fingerprint: SHA256:"),
        "{}",
        server.log()
    );
}

#[test]
fn guests_from_other_machines_need_tls_and_the_setting() {
    let hosts = TwoHosts::new();
    let dir = folder();
    let (data, home) = (dir.path().join("data"), dir.path().join("home"));
    let server = hosts.serve_process(&data, &["--guests", "everywhere"]);
    let mut add = vang();
    assert!(add.args(["admin", "account", "add", "ada", "--data"]).arg(&data).status().unwrap().success());
    let sent = hosts.client(&home, &["send", "general", "from afar", "--as", "eve", "--server", "10.9.1.1"]);
    assert_eq!(text(&sent.stdout), "general#1\n", "{sent:?}");
    let asked = b"GET /admission HTTP/1.1\r\nHost: 10.9.1.1:65432\r\nConnection: close\r\n\r\n";
    let answer = text(&hosts.ask_in_tls(asked));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let admission: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        admission,
        json!({"local": false, "guests": true, "accounts": false, "own-certificate": true, "rooms-by": "accounts"})
    );
    // A name that is an account's proves nothing from elsewhere.
    let forged = hosts.client(&home, &["send", "general", "I am ada", "--as", "ada", "--server", "10.9.1.1"]);
    assert!(text(&forged.stderr).contains("this name is an account's"), "{forged:?}");
    // Without TLS it is refused all the same; the page and the WebSocket are beyond the redirect.
    let (reply, _) = read_message(&mut hosts.ask(&request("send", &[GENERAL], "plain")).as_slice()).unwrap();
    assert_eq!(reply["code"], "tls-required");
    let printed = hosts
        .client(&home, &["tail", "general", "--since", "0", "--no-follow", "--json", "--server", "10.9.1.1"]);
    let event: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!((&event["from"], &event["text"]), (&json!("guest:eve"), &json!("from afar")));
    comes_true("nothing panicked", || !server.log().contains("panicked"));
}

#[test]
fn guests_from_elsewhere_hold_64_kib_while_memory_is_scarce() {
    let hosts = TwoHosts::new();
    let dir = folder();
    let server = hosts.serve_process(&dir.path().join("data"), &["--limit", "memory=48MiB"]);
    // Messages of the guide without their last byte: 100 short ones, then 40 long ones; then all of them are ended.
    let program = "import json, socket, struct\n\
                   def begin(n):\n\
                   \x20   s = socket.create_connection(('10.9.1.1', 65432))\n\
                   \x20   h = json.dumps({'byteorder': 'little', 'content-type': 'text/json', 'content-encoding': 'utf-8', 'content-length': n}).encode()\n\
                   \x20   try: s.sendall(struct.pack('>H', len(h)) + h + b' ' * (n - 1))\n\
                   \x20   except OSError: pass\n\
                   \x20   return s\n\
                   def end(s):\n\
                   \x20   try:\n\
                   \x20       s.sendall(b' ')\n\
                   \x20       return s.recv(65536).decode('latin-1')\n\
                   \x20   except OSError: return 'reset'\n\
                   short = [begin(40_000) for _ in range(100)]\n\
                   long = [begin(300_000) for _ in range(40)]\n\
                   print(json.dumps([[end(s) for s in long], [end(s) for s in short]]))\n";
    let output = hosts.0.on(1, "python3").args(["-c", program]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let [long, short]: [Vec<String>; 2] = serde_json::from_slice(&output.stdout).unwrap();
    let taken = |replies: &[String]| replies.iter().filter(|reply| reply.contains("malformed")).count();
    assert_eq!(taken(&short), 100, "64 KiB are everybody's: {short:?}");
    assert!((5..35).contains(&taken(&long)), "{} of 40 long ones were taken", taken(&long));
    let why = "this server's memory for clients who have not signed in is used up";
    assert!(long.iter().any(|reply| reply.contains(why)), "{long:?}");
    assert!(server.log().contains("memory for clients who have not signed in"), "{}", server.log());
}

#[test]
fn typed_lines_and_metrics_are_for_this_machine_by_default() {
    let hosts = TwoHosts::new();
    let dir = folder();
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: 10.9.1.1:65432\r\nConnection: close\r\n\r\n";
    let typed = b"ada\ntyped from afar\n/quit\n";
    let server = hosts.serve_process(&dir.path().join("closed"), &["--guests", "everywhere"]);
    let refused = text(&hosts.ask_in_tls(metrics));
    assert!(
        refused.starts_with("HTTP/1.1 403 Forbidden")
            && refused.ends_with("metrics are for this machine, unless --metrics says everywhere\n"),
        "{refused}"
    );
    let refused = text(&hosts.ask_in_tls(typed));
    assert!(
        refused.contains("typed lines from another machine need a server that runs with --lines everywhere"),
        "{refused}"
    );
    drop(server);

    let open = ["--guests", "everywhere", "--lines", "everywhere", "--metrics", "everywhere"];
    let server = hosts.serve_process(&dir.path().join("open"), &open);
    let numbers = text(&hosts.ask_in_tls(metrics));
    assert!(numbers.starts_with("HTTP/1.1 200 OK") && numbers.contains("\nvang_"), "{numbers}");
    let said = text(&hosts.ask_in_tls(typed));
    assert!(!said.contains("refused"), "{said}");
    let tail = ["tail", "general", "--since", "0", "--no-follow", "--server", "10.9.1.1"];
    let printed = hosts.client(&dir.path().join("home"), &tail);
    assert!(text(&printed.stdout).contains("guest:ada: typed from afar"), "{printed:?}");
    // Without TLS neither is there, whatever the server allows.
    let plain = text(&hosts.ask(metrics));
    assert!(plain.starts_with("HTTP/1.1 308 Permanent Redirect"), "{plain}");
    let plain = text(&hosts.ask(typed));
    assert!(plain.contains("need TLS, and a server that runs with --lines everywhere"), "{plain}");
    comes_true("nothing panicked", || !server.log().contains("panicked"));
}
