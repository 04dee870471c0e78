//! Behind a proxy on the same machine all clients arrive from this machine, and most proxies do not say so. Tests
//! with each proxy: an account's name is not enough, and the page, its WebSocket and events work.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::common::comes_true;
use crate::harness::socket::{WebSocket, handshake, head};
use crate::harness::{PATIENCE, Server, exchange, folder, program, request, succeeded, vang, wait};

/// A proxy's process; killed when dropped.
struct Proxy {
    child: Child,
    address: PathBuf,
}

impl Proxy {
    fn start(dir: &Path, which: &str, server: &str) -> Proxy {
        // In front it has a Unix socket: a port would have to be free when the proxy comes to it.
        let address = dir.join("proxy.sock");
        let bind = match which {
            "haproxy" => format!("unix@{}", address.display()),
            _ => format!("unix:{}", address.display()),
        };
        let conf = dir.join("proxy.conf");
        let text = match which {
            "haproxy" => format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
                 frontend in\n  bind {bind}\n  default_backend out\nbackend out\n  server one {server}\n"
            ),
            _ => {
                // As people write it: without a word about the client, and as most guides have it.
                let headers = match which {
                    "bare" => "",
                    _ => {
                        "proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;\n\
                         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                         proxy_set_header X-Forwarded-Proto $scheme;"
                    }
                };
                let at = dir.display();
                format!(
                    "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\n\
                     events {{ worker_connections 64; }}\n\
                     http {{\n  access_log off; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2;\n\
                     fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
                     server {{ listen {bind}; location / {{\n proxy_pass http://{server};\n\
                     proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;\n\
                     proxy_set_header Connection \"upgrade\"; {headers} }} }}\n}}\n"
                )
            }
        };
        fs::write(&conf, text).unwrap();
        let mut command = match which {
            "haproxy" => program("/usr/sbin/haproxy"),
            _ => program("/usr/sbin/nginx"),
        };
        match which {
            "haproxy" => command.arg("-db").arg("-f").arg(&conf),
            _ => command.arg("-c").arg(&conf).arg("-p").arg(dir),
        };
        let log = fs::File::create(dir.join("proxy.log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut proxy = Proxy { child, address };
        comes_true("the proxy listens", || {
            assert!(
                proxy.child.try_wait().unwrap().is_none(),
                "{}",
                fs::read_to_string(dir.join("proxy.log")).unwrap()
            );
            UnixStream::connect(&proxy.address).is_ok()
        });
        proxy
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn web_socket(&self, origin: &str) -> Result<WebSocket<UnixStream>, String> {
        let mut stream = self.connect();
        stream.write_all(handshake("chat.example", &format!("Origin: {origin}\r\n")).as_bytes()).unwrap();
        match head(&mut stream).0.as_str() {
            "HTTP/1.1 101 Switching Protocols" => Ok(WebSocket::begun(stream)),
            status => Err(status.to_owned()),
        }
    }

    /// Status and body of one GET.
    fn get(&self, target: &str) -> (String, String) {
        let mut stream = self.connect();
        write!(stream, "GET {target} HTTP/1.0\r\nHost: chat.example\r\n\r\n").unwrap();
        let (status, _) = head(&mut stream);
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        (status.split_once(' ').unwrap().1.to_owned(), body)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        wait(&mut self.child);
    }
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body:?}"));
    body["error"]["code"].as_str().unwrap_or("none").to_owned()
}

fn through(which: &str, guests: &str) {
    let dir = folder();
    let data = dir.path().join("data");
    // The name by which browsers know the proxy: a bare nginx asks us by our own address.
    let more = ["--name", "chat.example", "--guests", guests];
    let server = Server::start_with(&data, "127.0.0.1:0", &more);
    let mut add = vang();
    add.args(["admin", "account", "add", "ada", "--data"]).arg(&data);
    succeeded(&["account add"], add.output().unwrap());
    server.ok(&["send", "general", "one", "--as", "bob"]);
    let proxy = Proxy::start(dir.path(), which, &server.addr);
    // Only headers show that a client is on another machine.
    let is_guest = which != "headers" || guests == "everywhere";

    let (status, page) = proxy.get("/");
    assert!(status.starts_with("200 ") && page.contains("<!doctype html>"), "{status} {page}");
    assert_eq!(code(&proxy.get("/rooms?as=ada").1), "sign-in-needed");
    let (status, body) = proxy.get("/rooms?as=eve");
    assert_eq!(code(&body), if is_guest { "none" } else { "sign-in-needed" }, "{status}");
    let (status, _) = proxy.get("/metrics");
    assert_eq!(status, if which == "headers" { "403 Forbidden" } else { "200 OK" });

    let mut web = proxy.web_socket("http://chat.example").unwrap();
    let mut hello = |name: &str| {
        let said = web.exchange(&request("hello", &[("as", &format!("{name:?}"))], "")).0;
        if said["code"].is_null() { said["name"].clone() } else { said["code"].clone() }
    };
    assert_eq!(hello("ada"), "sign-in-needed");
    assert_eq!(hello("eve"), if is_guest { "guest:eve" } else { "sign-in-needed" });
    assert_eq!(proxy.web_socket("http://evil.example").err().unwrap(), "HTTP/1.1 403 Forbidden");
    if is_guest {
        let (reply, _) = web.exchange(&request("follow", &[("room", "\"general\""), ("since", "0")], ""));
        assert_eq!(reply["status"], "ok", "{reply}");
        // Behind the room's beginning.
        let first = std::iter::repeat_with(|| web.message()).find(|(header, _)| header["event"] == "message");
        assert_eq!(first.unwrap().1, b"one");
        // Events come while their body is open.
        let mut events = proxy.connect();
        let asked = "GET /rooms/general/events?since=0 HTTP/1.1\r\nHost: chat.example\r\nAccept: text/event-stream\r\n\r\n";
        events.write_all(asked.as_bytes()).unwrap();
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains("\"text\": \"one\"") {
            let mut bytes = [0; 512];
            let n = events.read(&mut bytes).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&came));
            came.extend_from_slice(&bytes[..n]);
        }
    }
    if which == "haproxy" {
        // Native messages pass as well.
        let said = exchange(&mut proxy.connect(), &request("hello", &[("as", "\"ada\"")], "")).0;
        assert_eq!(said["code"], "sign-in-needed");
        let said = exchange(&mut proxy.connect(), &request("hello", &[("as", "\"eve\"")], "")).0;
        assert_eq!(said["name"], "guest:eve");
    }
}

#[test]
fn behind_a_bare_nginx_clients_are_guests() {
    through("bare", "local");
}

#[test]
fn guests_behind_a_forwarding_nginx_count_as_other_machines() {
    through("headers", "local");
    through("headers", "everywhere");
}

#[test]
fn behind_haproxy_in_tcp_mode_clients_are_guests() {
    through("haproxy", "local");
}
