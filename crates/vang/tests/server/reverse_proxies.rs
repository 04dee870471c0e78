//! nginx, Caddy and HAProxy in front of addresses for proxies, with the configurations of `docs/OPERATING.md`. Only addresses
//! and paths are replaced. The client is at an address of its own, which the server must know; what it forges must not count.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::comes_true;
use crate::harness::hosts::Hosts;
use crate::harness::socket::{WebSocket, handshake, head};
use crate::harness::{PATIENCE, Server, exchange, folder, program, request, succeeded, vang, wait};
use crate::tls::{Tls, secured};

const GUIDE: &str = include_str!("../../../../docs/OPERATING.md");

/// The client's address: on this machine, and none of the proxies that the server is told of.
const CLIENT: [u8; 4] = [127, 9, 9, 9];

/// What a client can try.
const FORGED: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: 203.0.113.7\r\nForwarded: for=127.0.0.1\r\n\
                      X-Real-IP: 127.0.0.1\r\n";

/// The block of the guide in this language.
fn block(language: &str) -> String {
    let (_, rest) =
        GUIDE.split_once(&format!("\n```{language}\n")).unwrap_or_else(|| panic!("no {language}"));
    rest.split_once("\n```\n").unwrap().0.to_owned()
}

/// The text with these parts replaced, each of which must be there.
fn replaced(mut text: String, parts: &[(&str, String)]) -> String {
    for (part, with) in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
        text = text.replace(part, with);
    }
    text
}

/// A proxy's process, with a folder for its files; killed when dropped.
struct Proxy {
    child: Child,
    /// An address of this machine that no other test has, so that its ports are free.
    ip: [u8; 4],
}

impl Proxy {
    /// The ports that the configurations below use.
    const PAGES: u16 = 8_443;
    const NATIVE: u16 = 8_444;

    fn start(dir: &Path, configure: impl FnOnce(&str) -> (Command, String)) -> Proxy {
        static NEXT: AtomicU8 = AtomicU8::new(64);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = [127, NEXT.fetch_add(1, Ordering::Relaxed), high, low];
        let (mut command, text) = configure(&ip.map(|byte| byte.to_string()).join("."));
        fs::write(dir.join("proxy.conf"), text).unwrap();
        let log = fs::File::create(dir.join("proxy.log")).unwrap();
        let child = command.current_dir(dir).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut proxy = Proxy { child, ip };
        comes_true("the proxy listens", || {
            let log = || fs::read_to_string(dir.join("proxy.log")).unwrap();
            assert!(proxy.child.try_wait().unwrap().is_none(), "{}", log());
            TcpStream::connect(SocketAddr::from((ip, Proxy::PAGES))).is_ok()
        });
        proxy
    }

    fn connect(&self, port: u16) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
        socket.connect(&SocketAddr::from((self.ip, port)).into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        wait(&mut self.child);
    }
}

/// A server as the guide has it: its plain address, the one for HTTP proxies, and the one for the PROXY protocol.
struct Behind {
    dir: TempDir,
    server: Server,
    pages: String,
    native: String,
}

impl Behind {
    fn start() -> Behind {
        let dir = folder();
        let data = dir.path().join("data");
        // Of this machine's addresses only this one is the proxy's.
        let listen = [",proxy=x-forwarded-for,tls", ",proxy=proxy"].map(|options| {
            assert!(GUIDE.contains(&format!("{options}\"")), "{options}");
            format!("127.0.0.1:0{options},from=127.0.0.1")
        });
        let flags = ["--name", "chat.example", "--guests", "everywhere", "--log", "debug"];
        let flags = [&flags[..], &["--listen", &listen[0], "--listen", &listen[1]]].concat();
        let mut server = Server::start_with(&data, "127.0.0.1:0", &flags);
        let (pages, native) = (server.listening(), server.listening());
        let mut add = vang();
        add.args(["admin", "account", "add", "ada", "--data"]).arg(&data);
        succeeded(&["account add"], add.output().unwrap());
        server.ok(&["send", "general", "one", "--as", "bob"]);
        Behind { dir, server, pages, native }
    }

    /// Certificate and key, which the proxy has as well.
    fn tls(&self, file: &str) -> String {
        self.dir.path().join("data/tls").join(file).display().to_string()
    }

    fn tls_to(&self, proxy: &Proxy, port: u16) -> Tls {
        secured(proxy.connect(port), &self.dir.path().join("data"), "chat.example", &[])
    }

    fn get(&self, proxy: &Proxy, target: &str) -> (String, String) {
        let mut stream = self.tls_to(proxy, Proxy::PAGES);
        let host = format!("chat.example:{}", Proxy::PAGES);
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{FORGED}\r\n").unwrap();
        let (status, _) = head(&mut stream);
        let mut body = Vec::new();
        // Some proxies close without TLS's goodbye.
        let _ = stream.read_to_end(&mut body);
        (status.split_once(' ').unwrap().1.to_owned(), String::from_utf8_lossy(&body).into_owned())
    }

    fn web_socket(&self, proxy: &Proxy, origin: &str) -> Result<WebSocket<Tls>, String> {
        let mut stream = self.tls_to(proxy, Proxy::PAGES);
        let host = format!("chat.example:{}", Proxy::PAGES);
        let lines = format!("Origin: {origin}\r\n{FORGED}");
        stream.write_all(handshake(&host, &lines).as_bytes()).unwrap();
        match head(&mut stream).0.as_str() {
            "HTTP/1.1 101 Switching Protocols" => Ok(WebSocket::begun(stream)),
            status => Err(status.to_owned()),
        }
    }

    /// Page, files, `/ws` and events work, as for a client on another machine.
    fn pages_work_through(&self, proxy: &Proxy) {
        let (status, page) = self.get(proxy, "/");
        assert!(status.starts_with("200") && page.contains("<!doctype html>"), "{status} {page}");
        let (_, script) = page.split_once("src=\"").unwrap();
        let script = script.split('"').next().unwrap();
        assert!(self.get(proxy, script).0.starts_with("200"), "{script}");
        let (status, body) = self.get(proxy, "/rooms?as=eve");
        assert!(status.starts_with("200") && body.contains("general"), "{status} {body}");
        let (status, body) = self.get(proxy, "/rooms?as=ada");
        assert!(status.starts_with("403") && body.contains("sign-in-needed"), "{status} {body}");
        assert!(self.get(proxy, "/metrics").0.starts_with("403"));

        let origin = format!("https://chat.example:{}", Proxy::PAGES);
        let mut web = self.web_socket(proxy, &origin).unwrap();
        let hello = web.exchange(&request("hello", &[("as", "\"eve\"")], "")).0;
        assert_eq!(hello["name"], "guest:eve");
        let follow = web.exchange(&request("follow", &[("room", "\"general\""), ("since", "0")], "")).0;
        assert_eq!(follow["status"], "ok", "{follow}");
        let first = std::iter::repeat_with(|| web.message()).find(|(header, _)| header["event"] == "message");
        assert_eq!(first.unwrap().1, b"one");
        assert_eq!(self.web_socket(proxy, "https://evil.example").err().unwrap(), "HTTP/1.1 403 Forbidden");

        // Events come while their body is open.
        let mut events = self.tls_to(proxy, Proxy::PAGES);
        let host = format!("chat.example:{}", Proxy::PAGES);
        let asked = "GET /rooms/general/events?as=eve HTTP/1.1\r\nAccept: text/event-stream\r\n";
        write!(events, "{asked}Host: {host}\r\n{FORGED}\r\n").unwrap();
        assert!(head(&mut events).0.starts_with("HTTP/1.1 200"));
        self.server.ok(&["send", "general", "two", "--as", "bob"]);
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains("\"text\": \"two\"") {
            let mut bytes = [0; 512];
            let n = events.read(&mut bytes).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&came));
            came.extend_from_slice(&bytes[..n]);
        }
        assert_eq!(
            std::iter::repeat_with(|| web.message()).find(|(_, text)| text == b"two").unwrap().1,
            b"two"
        );
        drop((web, events));
        self.knows_client("door=\"websocket\" tls=true");
        let log = self.server.log();
        assert!(!log.contains("peer=203.0.113.7") && !log.contains("WARN"), "{log}");
    }

    fn knows_client(&self, how: &str) {
        let log = || self.server.log();
        let is_it = |line: &str| line.contains("peer=127.9.9.9") && line.contains(how);
        comes_true("the client's address is in the log", || log().lines().any(is_it));
    }
}

#[test]
fn page_websocket_and_events_work_through_nginx() {
    let behind = Behind::start();
    let at = behind.dir.path();
    let proxy = Proxy::start(at, |ip| {
        let server = replaced(
            block("nginx"),
            &[
                ("listen 443 ssl", format!("listen {ip}:{} ssl", Proxy::PAGES)),
                ("/etc/ssl/chat.pem", behind.tls("certificate.pem")),
                ("/etc/ssl/chat.key", behind.tls("key.pem")),
                ("127.0.0.1:65433", behind.pages.clone()),
            ],
        );
        let at = at.display();
        let text = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\nhttp {{\n  access_log off; client_body_temp_path {at}/t1;\n\
             proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
             {server}\n}}\n"
        );
        let mut command = program("/usr/sbin/nginx");
        command.args(["-c", &format!("{at}/proxy.conf"), "-p", &at.to_string()]);
        (command, text)
    });
    behind.pages_work_through(&proxy);
}

#[test]
fn page_websocket_and_events_work_through_caddy() {
    let behind = Behind::start();
    let at = behind.dir.path();
    let proxy = Proxy::start(at, |ip| {
        let (certificate, key) = (behind.tls("certificate.pem"), behind.tls("key.pem"));
        // Without a certificate authority on the Internet, and without the administrator's port.
        let site =
            format!("https://chat.example:{} {{\n    bind {ip}\n    tls {certificate} {key}", Proxy::PAGES);
        let site = replaced(
            block("caddyfile"),
            &[("chat.example {", site), ("127.0.0.1:65433", behind.pages.clone())],
        );
        let text = format!("{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}\n");
        let mut command = program("/usr/bin/caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(at.join("proxy.conf"));
        for folder in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(folder, at.join("caddy"));
        }
        (command, text)
    });
    behind.pages_work_through(&proxy);
}

#[test]
fn page_websocket_events_and_native_clients_work_through_haproxy() {
    let behind = Behind::start();
    let at = behind.dir.path();
    let proxy = Proxy::start(at, |ip| {
        let both = ["certificate.pem", "key.pem"].map(|file| fs::read_to_string(behind.tls(file)).unwrap());
        fs::write(at.join("chat.pem"), both.concat()).unwrap();
        let text = replaced(
            block("haproxy"),
            &[
                ("bind :443", format!("bind {ip}:{}", Proxy::PAGES)),
                ("/etc/haproxy/chat.pem", at.join("chat.pem").display().to_string()),
                ("bind :65435", format!("bind {ip}:{}", Proxy::NATIVE)),
                ("127.0.0.1:65433", behind.pages.clone()),
                ("127.0.0.1:65434", behind.native.clone()),
            ],
        );
        let mut command = program("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(at.join("proxy.conf"));
        (command, format!("{text}\n"))
    });
    behind.pages_work_through(&proxy);

    // Native messages with TLS to the server itself; without TLS as from any other machine.
    let hello = |stream: &mut dyn ReadAndWrite| -> Value {
        let mut stream = stream;
        let said = exchange(&mut stream, &request("hello", &[("as", "\"eve\"")], "")).0;
        if said["code"].is_null() { said["name"].clone() } else { said["code"].clone() }
    };
    assert_eq!(hello(&mut behind.tls_to(&proxy, Proxy::NATIVE)), "guest:eve");
    behind.knows_client("door=\"native\" tls=true");
    assert_eq!(hello(&mut proxy.connect(Proxy::NATIVE)), "tls-required");
    behind.knows_client("door=\"native\" tls=false");
}

trait ReadAndWrite: Read + Write {}
impl<T: Read + Write> ReadAndWrite for T {}

#[test]
fn the_firewall_of_the_guide_keeps_others_from_the_proxys_address() {
    let hosts = Hosts::in_a_row(2);
    let rules = [("10.0.0.7", "10.9.1.1".to_owned()), (" drop", " counter drop".to_owned())];
    hosts.sh(1, &format!("nft -f - <<'END'\n{}\nEND", replaced(block("nft"), &rules)));
    hosts.sh(0, "ip addr add 10.9.1.7/24 dev up1");
    let dir = folder();
    let data = dir.path().join("data");
    let mut serve = hosts.vang(1, &["serve", "--listen", ":65433,proxy=proxy,from=10.9.1.1", "--data"]);
    serve.arg(&data);
    let _server = Server::spawn(serve, &data);
    let asked = b"PROXY TCP4 203.0.113.9 10.9.1.2 1 2\r\nGET /healthz HTTP/1.0\r\n\r\n";
    let ask = |from: &str, to: &str| {
        let mut command = hosts.on(0, "nc");
        command.args(["-N", "-s", from, to, "65433"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(asked).unwrap();
        child
    };
    let said = ask("10.9.1.1", "10.9.1.2").wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("HTTP/1.0 200 OK"), "{said:?}");
    for (from, to, rule) in
        [("10.9.1.7", "10.9.1.2", "ip saddr != 10.9.1.1"), ("fd09:1::1", "fd09:1::2", "nfproto ipv6")]
    {
        let mut child = ask(from, to);
        comes_true("its packets are dropped", || {
            let rules = hosts.sh(1, "nft list chain inet vang input");
            let line = rules.lines().find(|line| line.contains(rule)).unwrap_or_else(|| panic!("{rules}"));
            !line.contains("packets 0 ")
        });
        let _ = child.kill();
        let said = child.wait_with_output().unwrap();
        assert!(said.stdout.is_empty(), "{said:?}");
    }
}
