//! The page: its modules in Node, and the whole page in the system's Chromium with a real server. The tests examine
//! the screen: texts, positions, colours.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "../harness/mod.rs"]
mod harness;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use harness::hosts::Hosts;
use harness::{PATIENCE, Server, Tail, comes_true, exchange, folder, message, request, result_of};

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web").canonicalize().unwrap()
}

/// Node without the caller's settings.
fn node() -> Command {
    let mut command = Command::new("node");
    for key in ["NODE_PATH", "NODE_OPTIONS"] {
        command.env_remove(key);
    }
    command
}

#[test]
fn the_pages_modules_pass_the_vectors_and_their_own_tests() {
    let mut command = node();
    command.arg("--test");
    let tests = std::fs::read_dir(web().join("tests")).unwrap().map(|file| file.unwrap().path());
    let tests: Vec<PathBuf> = tests.filter(|path| path.to_str().unwrap().ends_with(".test.mjs")).collect();
    assert_eq!(tests.len(), 7);
    let output = command.args(tests).output().expect("node (20 or later) is there: `cargo xtask step tools`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The lines that a script prints; it waits for a line after each act.
struct Play {
    tail: Tail,
    stdin: ChildStdin,
}

impl Play {
    fn start(script: &str, url: &str, more: &[&OsStr]) -> Play {
        Play::start_with(node(), script, &[url], more)
    }

    /// With a command that runs Node.
    fn start_with(mut command: Command, script: &str, urls: &[&str], more: &[&OsStr]) -> Play {
        let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        assert!(
            modules.join("node_modules/playwright-core").is_dir(),
            "what drives Chromium is missing: `cargo xtask step tools` installs it"
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
        command.arg(script).args(urls).arg(modules).args(more);
        let (tail, stdin) = Tail::start_with_stdin(command);
        Play { tail, stdin }
    }

    /// Waits for this act; `go` continues.
    fn comes_to(&mut self, act: &str) {
        assert_eq!(self.tail.line(), act);
    }

    fn go(&mut self) {
        self.stdin.write_all(b"go\n").unwrap();
    }
}

/// Where screenshots go.
fn pictures() -> PathBuf {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page/pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    pictures
}

const PASSWORD: &str = "horse-battery";

/// An action of the operator on the data folder's socket, and its result.
fn operate(data: &Path, action: &str, keys: &[(&str, &str)]) -> String {
    let keys: Vec<(&str, String)> = keys.iter().map(|(key, value)| (*key, format!("{value:?}"))).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut own = UnixStream::connect(data.join("admin.sock")).unwrap();
    own.set_read_timeout(Some(PATIENCE)).unwrap();
    let (header, content) = exchange(&mut own, &request(action, &keys, ""));
    assert_eq!(header["status"], "ok", "{action}: {header}");
    result_of(&content).as_str().unwrap().to_owned()
}

fn add_account(data: &Path, name: &str, password: &str) {
    operate(data, "account-add", &[("name", name)]);
    operate(data, "password", &[("name", name), ("new", password)]);
}

#[test]
fn two_browsers_see_every_message_once_over_a_server_restart() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let addr = server.addr.clone();
    say(&server, "before", 250);
    let pictures = pictures();
    let mut play = Play::start("look.mjs", &format!("http://{addr}/"), &[pictures.as_os_str()]);

    play.comes_to("talked");
    let keys = |kind, encoding, length| {
        [
            ("byteorder", "\"big\""),
            ("content-type", kind),
            ("content-encoding", encoding),
            ("content-length", length),
            ("action", "\"send\""),
            ("room", "\"general\""),
        ]
    };
    let mut raw = server.connect();
    for (keys, content) in [
        (keys("\"text/plain\"", "\"latin-1\"", "4"), b"caf\xe9"),
        (keys("\"image/png\"", "\"binary\"", "4"), b"\x89PNG"),
    ] {
        assert_eq!(exchange(&mut raw, &message(&keys, content)).0["status"], "ok");
    }
    server.ok(&["send", "general", "from the shell"]);
    play.go();

    play.comes_to("kill");
    server.kill();
    play.go();
    play.comes_to("restart");
    let server = Server::start_with(&data, &addr, &[]);
    say(&server, "after the restart", 2);
    play.go();
    play.comes_to("back");
    server.ok(&["send", "general", "after the restart 3"]);
    play.go();

    let end = play.tail.json();
    let all = server.ok(&["tail", "general", "--since", "0", "--no-follow", "--json"]);
    let texts: Vec<String> = all
        .lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["text"].as_str().unwrap_or("image/png, 4 bytes").to_owned()
        })
        .collect();
    let shown = |whose: &str| -> Vec<String> { serde_json::from_value(end[whose].clone()).unwrap() };
    let count = |text: &str| texts.iter().filter(|found| *found == text).count();
    assert_eq!((count("written while it was down"), count("viết khi mất kết nối")), (1, 1), "{texts:?}");
    assert_eq!(shown("hers"), texts, "every message once, in order");
    // He did not go up to the beginning; and in his language a size is written in another way.
    let his: Vec<String> = shown("his").iter().map(|text| text.replace("4 byte", "4 bytes")).collect();
    assert_eq!(his, texts[texts.len() - his.len()..]);
    assert!(his.len() > 100);
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));

    // Python's encodings as this Chromium reads them.
    let read = &end["read"];
    let faults: Vec<String> = serde_json::from_value(read["faults"].clone()).unwrap();
    assert_eq!(faults, Vec::<String>::new());
    assert!(read["read"].as_u64().unwrap() > 7_000, "{read}");
}

#[test]
fn rooms_people_commands_and_files_are_on_the_page() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    add_account(&data, "ada", PASSWORD);
    let (url, pictures) = (format!("http://{}/", server.addr), pictures());
    let mut play = Play::start("rooms.mjs", &url, &[pictures.as_os_str(), PASSWORD.as_ref()]);

    play.comes_to("in lab");
    let svg = r#"<svg xmlns="http://www.w3.org/2000/svg"><script>window.hacked = true</script></svg>"#;
    let files: [(&str, &str, Vec<u8>); 4] = [
        ("lab-2.png", "image/png", include_bytes!("picture.png").to_vec()),
        ("lab-3.txt", "image/svg+xml", svg.into()),
        ("lab-4.csv", "text/csv", "tên,tuổi\nAn,7\n".into()),
        ("lab-5.bin", "application/octet-stream", b"\x00\x01\x02".into()),
    ];
    for (name, kind, content) in &files {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        server.ok(&["send", "lab", "--as", "carol", "--type", kind, "--file", path.to_str().unwrap()]);
    }
    server.ok(&["send", "lab", "--as", "carol", "after the files"]);
    play.go();

    let saved = play.tail.json();
    for (name, _, content) in &files {
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(saved[*name], hex, "{name}");
    }
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
}

#[test]
fn somebody_signs_in_and_is_signed_out_in_all_tabs() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start_trusting(&data);
    add_account(&data, "ada", PASSWORD);
    let (url, pictures) = (format!("http://{}/", server.addr), pictures());
    let more = [pictures.as_os_str(), "ada".as_ref(), PASSWORD.as_ref()];
    let mut play = Play::start("sign-in.mjs", &url, &more);
    play.comes_to("in two tabs");
    play.go();
    play.comes_to("disable");
    operate(&data, "account-disable", &[("name", "ada")]);
    play.go();
    play.comes_to("well");
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
    assert!(!server.log().contains(PASSWORD));
}

#[test]
fn somebody_opens_the_link_of_an_invitation_and_is_in() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    for name in ["ada", "bob"] {
        operate(&data, "account-add", &[("name", name)]);
    }
    let mut codes = vec![operate(&data, "invite", &[]), operate(&data, "invite", &[])];
    codes.extend(["ada", "bob"].map(|name| operate(&data, "invite", &[("name", name)])));
    let (url, pictures) = (format!("http://{}/", server.addr), pictures());
    let mut more = vec![pictures.as_os_str(), PASSWORD.as_ref()];
    more.extend(codes.iter().map(|code| -> &OsStr { code.as_ref() }));
    let mut play = Play::start("accept.mjs", &url, &more);
    play.comes_to("well");
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
    let log = server.log();
    assert!(!log.contains(PASSWORD) && codes.iter().all(|code| !log.contains(code)));
}

#[test]
fn less_than_30_kb_come_before_the_first_message_and_4_kb_at_a_reload() {
    let dir = folder();
    let server = Server::start(&dir.path().join("data"));
    server.ok(&["send", "general", "the first message"]);
    let proxy = CountingProxy::before(&server);
    let mut play = Play::start("transfer.mjs", &format!("http://{}/", proxy.addr), &[]);
    play.comes_to("first message");
    let first = proxy.received();
    play.go();
    play.comes_to("all loaded");
    let before = proxy.received();
    play.go();
    play.comes_to("loaded again");
    let again = proxy.received() - before;
    play.go();
    play.comes_to("well");
    assert!(first > 10_000 && first < 30_000, "{first} bytes until the first message was shown");
    assert!(again > 500 && again < 4_000, "{again} bytes at a reload");
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
}

/// A proxy before a server that counts what the server sends.
struct CountingProxy {
    addr: SocketAddr,
    received: Arc<AtomicUsize>,
}

impl CountingProxy {
    fn before(server: &Server) -> CountingProxy {
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        let addr = proxy_before(server, move |client, server| {
            let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let count = count.clone();
            thread::spawn(move || copy(from_client, to_server, |_| ()));
            thread::spawn(move || {
                copy(server, client, |bytes| _ = count.fetch_add(bytes.len(), Relaxed));
            });
        });
        CountingProxy { addr, received }
    }

    fn received(&self) -> usize {
        self.received.load(Relaxed)
    }
}

#[test]
fn a_browser_from_elsewhere_reads_what_the_warning_meant_and_what_is_admitted() {
    let hosts = Hosts::in_a_row(2);
    let dir = folder();
    let serve = |port: &str, more: &[&str]| {
        let data = dir.path().join(port);
        let mut command = hosts.on(0, env!("CARGO_BIN_EXE_vang"));
        command.args(["serve", "--listen", &format!(":{port}")]).args(more).arg("--data").arg(&data);
        Server::spawn(command, &data)
    };
    let (_closed, _open) = (serve("65432", &[]), serve("65433", &["--guests", "everywhere"]));
    let urls = ["https://10.9.1.1:65432/", "https://10.9.1.1:65433/"];
    let mut node = hosts.on(1, "node");
    for key in ["NODE_PATH", "NODE_OPTIONS"] {
        node.env_remove(key);
    }
    let mut play = Play::start_with(node, "elsewhere.mjs", &urls, &[pictures().as_os_str()]);
    play.comes_to("well");
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
}

#[test]
fn chromium_takes_no_line_of_a_spare_connection_for_an_answer() {
    let dir = folder();
    let first_byte = ["--limit", "first-byte=300ms"];
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &first_byte);
    // Between them: shows that Chromium had the connection, and got the line on it.
    let spare = SpareConnections::before(&server);
    let (url, profile) = (format!("http://{}/", spare.addr), dir.path().join("profile"));
    let mut play = Play::start("preconnect.mjs", &url, &[profile.as_os_str()]);
    play.comes_to("connected");
    let line = spare.next();
    assert!(line.starts_with("HTTP/1.1 408 -- nothing came for 300 ms. To chat here"), "{line}");
    comes_true("the log has it, too", || {
        server.log().contains("nothing that is known here was sent in time")
    });
    play.go();
    play.comes_to("well");
    drop(play.stdin);
    assert_eq!(play.tail.wait().code(), Some(0));
}

/// A proxy before a server.
struct SpareConnections {
    addr: SocketAddr,
    answers: Receiver<String>,
}

impl SpareConnections {
    fn before(server: &Server) -> SpareConnections {
        let (sender, answers) = channel();
        let addr = proxy_before(server, move |client, server| {
            let (sender, asked) = (sender.clone(), Arc::new(AtomicUsize::new(0)));
            let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let counts = asked.clone();
            thread::spawn(move || {
                copy(from_client, to_server, |bytes| _ = counts.fetch_add(bytes.len(), Relaxed));
            });
            thread::spawn(move || {
                let mut answer = Vec::new();
                copy(server, client, |bytes| answer.extend_from_slice(bytes));
                // Chromium notices only later that an unused connection was closed.
                if asked.load(Relaxed) == 0 {
                    let _ = sender.send(String::from_utf8_lossy(&answer).into_owned());
                }
            });
        });
        SpareConnections { addr, answers }
    }

    /// What the server sent on the next connection that it closed before the client had sent anything.
    fn next(&self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("a connection that was opened, unused and closed")
    }
}

/// A proxy before a server; `pass` gets both ends of each connection.
fn proxy_before(server: &Server, mut pass: impl FnMut(TcpStream, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, server) = (listener.local_addr().unwrap(), server.socket_addr());
    thread::spawn(move || {
        for client in listener.incoming() {
            pass(client.unwrap(), TcpStream::connect(server).unwrap());
        }
    });
    addr
}

/// Passes bytes on until their end.
fn copy(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn the_page_has_its_security_policy_and_is_cached() {
    let dir = folder();
    let server = Server::start(&dir.path().join("data"));
    let get = |method: &str, path: &str, more: &str| {
        let mut stream = server.connect();
        let host = &server.addr;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    let header = |head: &str, name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name} in {head}"))
    };
    for path in ["/", "/?from=x"] {
        let (head, _) = get("GET", path, "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let policy = header(&head, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        let etag = header(&head, "etag");
        let (head, body) = get("GET", path, &format!("If-None-Match: {etag}\r\n"));
        assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}");
        assert_eq!(header(&head, "etag"), etag);
        let (head, body) = get("HEAD", path, "");
        assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    }
    let (_, html) = get("GET", "/", "");
    let script = html.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let (head, body) = get("GET", script, "");
    assert_eq!(header(&head, "cache-control"), "public, max-age=31536000, immutable");
    assert!(body.contains("m[\"session.js\"] = "), "every module is in it");
    assert!(get("POST", "/", "").0.starts_with("HTTP/1.1 405 "));
    for path in ["/index.html", "/app.js", "/vendor/", "/tests/proto.test.mjs", "/%2e%2e/Cargo.toml"] {
        assert!(get("GET", path, "").0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    let stranger = get("GET", "/", "Origin: http://elsewhere.example\r\n").0;
    assert!(stranger.starts_with("HTTP/1.1 403 "), "{stranger}");
}

/// So many messages, numbered from 1.
fn say(server: &Server, text: &str, count: usize) {
    let mut stream = server.connect();
    for n in 1..=count {
        let send = request("send", &[("room", "\"general\""), ("as", "\"carol\"")], &format!("{text} {n}"));
        assert_eq!(exchange(&mut stream, &send).0["status"], "ok");
    }
}
