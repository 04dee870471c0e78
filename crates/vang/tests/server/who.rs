//! Identity: an account's name is enough only on the data folder's own socket. And the server that our commands
//! use when none is given.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{ask, comes_true, fails, member_of_cellar, serve};
use crate::harness::hosts::Hosts;
use crate::harness::socket::WebSocket;
use crate::harness::{PATIENCE, Server, exchange, folder, program, read_message, request, succeeded, vang};

/// A server with the account ada, and another Unix socket than its folder's.
fn with_ada(dir: &Path, more: &[&str]) -> (Server, String) {
    let data = dir.join("data");
    let unix = format!("unix:{}", dir.join("vang.sock").display());
    let mut server = Server::start_with(&data, "127.0.0.1:0", &[&["--listen", &unix], more].concat());
    assert_eq!(server.listening(), unix);
    let mut add = vang();
    add.args(["admin", "account", "add", "ada", "--data"]).arg(&data);
    succeeded(&["account add"], add.output().unwrap());
    (server, unix)
}

/// The reply to `hello`: the code, or the name.
fn hello(stream: &mut (impl std::io::Read + Write), name: &str) -> String {
    let said = exchange(stream, &request("hello", &[("as", &format!("{name:?}"))], "")).0;
    word(&said)
}

fn word(header: &Value) -> String {
    let value = if header["code"].is_null() { &header["name"] } else { &header["code"] };
    value.as_str().unwrap().to_owned()
}

fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The identity on each door except the data folder's socket: native over TCP and Unix, WebSocket, HTTP, typed lines.
fn by_every_door(server: &Server, dir: &Path, name: &str) -> Vec<String> {
    let mut said = vec![hello(&mut server.connect(), name), hello(&mut unix(&dir.join("vang.sock")), name)];
    let mut web = WebSocket::open(server.connect());
    said.push(word(&web.exchange(&request("hello", &[("as", &format!("{name:?}"))], "")).0));
    let get = format!("GET /rooms?as={name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(ask(&server.addr, get.as_bytes())).unwrap();
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    said.push(match body["error"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None => "admitted".to_owned(),
    });
    let typed = String::from_utf8(ask(&server.addr, format!("{name}\n/quit\n").as_bytes())).unwrap();
    said.push(typed.lines().next().unwrap().to_owned());
    said
}

#[test]
fn an_accounts_name_is_enough_only_on_the_folders_own_socket() {
    let dir = folder();
    let (server, place) = with_ada(dir.path(), &[]);
    let doors = by_every_door(&server, dir.path(), "ada");
    assert_eq!(doors[..4], ["sign-in-needed"; 4]);
    assert!(doors[4].starts_with("-- this name is an account's: "), "{doors:?}");
    // In every spelling. A name without an account is a guest.
    assert_eq!(hello(&mut server.connect(), "ＡＤＡ"), "sign-in-needed");
    // What looks like it in Cyrillic letters is no guest's name either.
    assert_eq!(hello(&mut server.connect(), "аԁа"), "name-confusable");
    let get = b"GET /rooms?as=%D0%B0%D4%81%D0%B0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(ask(&server.addr, get)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("name-confusable"), "{answer}");
    let guest = ["guest:bob", "guest:bob", "guest:bob", "admitted"];
    assert_eq!(by_every_door(&server, dir.path(), "bob")[..4], guest);
    // A name that was refused is not kept.
    let mut stream = server.connect();
    assert_eq!(hello(&mut stream, "ada"), "sign-in-needed");
    assert_eq!(hello(&mut stream, "eve"), "guest:eve");

    let data = dir.path().join("data");
    assert_eq!(hello(&mut unix(&data.join("admin.sock")), "ada"), "ada");
    let operator = exchange(&mut unix(&data.join("admin.sock")), &request("hello", &[], "")).0;
    assert_eq!(operator["name"], "server");
    // With a name the connection is that account's: what only the operator can do, it cannot.
    let add = request("account-add", &[("as", "\"ada\""), ("name", "\"cy\"")], "");
    assert_eq!(exchange(&mut unix(&data.join("admin.sock")), &add).0["code"], "not-allowed");
    let mut create = vang();
    create.args(["create", "lab", "--private", "--as", "ada", "--data"]).arg(&data);
    assert_eq!(succeeded(&["create"], create.output().unwrap()), "lab\n");
    for server in [server.addr.as_str(), &place] {
        let mut send = vang();
        send.args(["send", "lab", "hi", "--as", "ada", "--server", server]);
        let said = fails(send, 1);
        assert!(said.starts_with("vang: this name is an account's") && said.contains("--data DIR"), "{said}");
    }
    assert!(server.log().contains("trust: folder: "), "{}", server.log());
}

#[test]
fn a_guest_can_change_its_name_until_others_have_seen_it() {
    let dir = folder();
    let (server, _) = with_ada(dir.path(), &[]);
    let mut stream = server.connect();
    assert_eq!(hello(&mut stream, "hi"), "guest:hi");
    let follow = request("follow", &[("room", "\"general\"")], "");
    assert_eq!(exchange(&mut stream, &follow).0["status"], "ok");
    assert_eq!(hello(&mut stream, "bob"), "guest:bob");
    // With `hello` only, and not to a name that needs more.
    let rooms = |name: &str| request("rooms", &[("as", &format!("{name:?}"))], "");
    assert_eq!(word(&exchange(&mut stream, &rooms("eve")).0), "name-set");
    assert_eq!(hello(&mut stream, "ada"), "sign-in-needed");
    assert_eq!(hello(&mut stream, "Bob"), "guest:Bob");
    let send = request("send", &[("room", "\"general\""), ("as", "\"bob\"")], "hello");
    assert_eq!(exchange(&mut stream, &send).0["address"], "general#1");
    // Its event comes before the next answer.
    assert_eq!(read_message(&mut stream).unwrap().0["from"], "guest:Bob");
    assert_eq!(hello(&mut stream, "eve"), "name-set");
    assert_eq!(hello(&mut stream, "bob"), "guest:Bob");
    // The data folder's socket: an account stays the account.
    let mut own = unix(&dir.path().join("data/admin.sock"));
    assert_eq!(hello(&mut own, "ada"), "ada");
    assert_eq!(hello(&mut own, "eve"), "name-set");
}

#[test]
fn trust_local_accepts_account_names_from_this_machine() {
    let dir = folder();
    let (server, _) = with_ada(dir.path(), &["--trust", "local"]);
    let doors = by_every_door(&server, dir.path(), "ada");
    assert_eq!(doors[..4], ["ada", "ada", "ada", "admitted"]);
    assert_eq!(doors[4], "-- you are ada; /help shows what can be typed");
    assert!(server.log().contains("trust: local: all programs on this machine"), "{}", server.log());
}

#[test]
fn trust_local_is_refused_with_an_address_for_other_machines() {
    let dir = folder();
    for listen in [":0", "0.0.0.0:0", "[::]:0"] {
        let mut serve = vang();
        serve.args(["serve", "--trust", "local", "--listen", "127.0.0.1:0", "--listen", listen, "--data"]);
        serve.arg(dir.path().join(format!("data{}", listen.len())));
        let said = fails(serve, 2);
        assert!(
            said.contains("--trust local lets every program on this machine speak as any account"),
            "{said}"
        );
    }
    // Reloading the configuration in both directions; after an error the old one stays in use.
    let (data, file) = (dir.path().join("data"), dir.path().join("vang.toml"));
    for (first, then) in [
        ("trust = 'local'\n", "trust = 'local'\nlisten = ['127.0.0.1:0', ':0']\n"),
        ("listen = ['127.0.0.1:0', ':0']\n", "trust = 'local'\nlisten = ['127.0.0.1:0', ':0']\n"),
    ] {
        let first = if first.contains("listen") {
            first.to_owned()
        } else {
            format!("{first}listen = ['127.0.0.1:0']\n")
        };
        fs::write(&file, first).unwrap();
        let mut serve = vang();
        serve.args(["serve", "--config"]).arg(&file).arg("--data").arg(&data);
        let server = Server::spawn(serve, &data);
        fs::write(&file, then).unwrap();
        let before = server.log().len();
        server.signal("HUP");
        comes_true("it says why not", || {
            let log = server.log();
            log[before..].contains("--trust local lets every program")
                && log[before..].contains("the old configuration stays in use")
        });
        assert_eq!(hello(&mut server.connect(), "bob"), "guest:bob");
        assert!(server.stop().success());
    }
}

/// A command on its own host, where the default port is free; `home` has the default data folder.
fn alone(hosts: &Hosts, home: &Path, args: &[&str]) -> Command {
    let mut command = hosts.vang(0, args);
    command.env("HOME", home).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME").env("USER", "ada");
    command
}

#[test]
fn a_command_finds_its_server_in_the_documented_order() {
    let hosts = Hosts::in_a_row(1);
    let dir = folder();
    let home = dir.path().join("home");
    let usual = home.join(".local/share/vang");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    let started = |data: &Path, listen: &str| {
        let mut serve = alone(&hosts, &home, &["serve", "--listen", listen, "--data"]);
        serve.arg(data);
        Server::spawn(serve, data)
    };
    let run = |args: &[&str], variables: &[(&str, &Path)]| {
        let mut command = alone(&hosts, &home, args);
        for (key, value) in variables {
            command.env(key, value);
        }
        command
    };
    let rooms = |more: &[&str], variables: &[(&str, &Path)]| {
        let listed = run(&[&["rooms", "--as", "bob"], more].concat(), variables).output().unwrap();
        let listed = succeeded(more, listed);
        listed.lines().last().unwrap().split(' ').next().unwrap().to_owned()
    };
    // Each server has a room of its own, to tell them apart.
    let marked = |data: &Path, listen: &str, room: &str| {
        let server = started(data, listen);
        let add = ["admin", "account", "add", "ada"];
        succeeded(&add, run(&add, &[("VANG_DATA", data)]).output().unwrap());
        succeeded(&["create"], run(&["create", room], &[("VANG_DATA", data)]).output().unwrap());
        server
    };
    let at_port = marked(&one, "127.0.0.1:65432", "by-port");
    let second = marked(&two, "127.0.0.1:7002", "second");
    assert_eq!(rooms(&[], &[]), "by-port", "without a default folder: the usual port");
    let (url, other) = (Path::new("127.0.0.1:7002"), one.to_str().unwrap());
    assert_eq!(rooms(&[], &[("VANG_DATA", &two)]), "second");
    assert_eq!(rooms(&[], &[("VANG_DATA", &one), ("VANG_SERVER", url)]), "second");
    assert_eq!(rooms(&["--data", other], &[("VANG_SERVER", url)]), "by-port");
    assert_eq!(rooms(&["--server", "127.0.0.1:7002", "--data", other], &[]), "second");
    assert_eq!(rooms(&[], &[("VANG_DATA", Path::new("")), ("VANG_SERVER", Path::new(""))]), "by-port");

    let folders = marked(&usual, "127.0.0.1:7001", "by-folder");
    let said = fails(run(&["rooms"], &[]), 1);
    assert!(said.starts_with("vang: there are two servers: unix:"), "{said}");
    for part in [usual.to_str().unwrap(), "127.0.0.1:65432", "--server URL or --data DIR"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // With a flag there is no question.
    assert_eq!(rooms(&[], &[("VANG_DATA", &two)]), "second");
    assert!(at_port.stop().success());
    assert_eq!(rooms(&[], &[]), "by-folder", "nobody else answers");
    // The same server at the default port does not count as a second one, nor does the socket file of a killed server.
    assert!(folders.stop().success());
    let folders = started(&usual, "127.0.0.1:65432");
    assert_eq!(rooms(&[], &[]), "by-folder");
    folders.kill();
    let _at_port = started(&one, "127.0.0.1:65432");
    assert!(usual.join("admin.sock").exists());
    assert_eq!(rooms(&[], &[]), "by-port");
    drop(second);
}

#[test]
fn join_does_not_reveal_accounts_to_people_who_cannot_add_members() {
    let (_dir, server) = member_of_cellar(&["bob"]);
    server.ok(&["create", "garden", "--as", "ada"]);
    let refused = |who: &str, room: &str, other: &str| {
        fails(server.client(&["join", room, "--who", other, "--as", who]), 1)
    };
    for (who, room, why) in [
        ("eve", "garden", "guests cannot do this"),
        ("bob", "garden", "not a member of this room"),
        ("bob", "cellar", "there is no room 'cellar'"),
        ("eve", "cellar", "there is no room 'cellar'"),
    ] {
        let there = refused(who, room, "ada");
        assert!(there.starts_with(&format!("vang: {why}")), "{there}");
        assert_eq!(refused(who, room, "nobody"), there, "{who} {room}");
    }
    // Members, who can add people, learn that the account does not exist; everybody can join a public room.
    assert!(refused("ada", "garden", "nobody").contains("there is no account 'nobody'"));
    assert_eq!(server.ok(&["join", "garden", "--who", "bob", "--as", "bob"]), "garden\n");
}

#[test]
fn where_only_admins_create_rooms_the_folders_socket_still_does() {
    let (dir, server) = serve(&["--trust", "local", "--rooms-by", "admins"]);
    let data = dir.path().join("data");
    let by_folder = |args: &[&str]| {
        let mut command = vang();
        // A login name that is no account.
        command.args(args).arg("--data").arg(&data).env("USER", "stranger");
        succeeded(args, command.output().unwrap())
    };
    by_folder(&["admin", "account", "add", "ada"]);
    for who in ["ada", "eve"] {
        let said = fails(server.client(&["create", "garden", "--as", who]), 1);
        assert!(
            said.starts_with("vang: on this server only admins create rooms; ask the operator"),
            "{said}"
        );
    }
    // Without an account, and as one: the room then has a member.
    assert_eq!(by_folder(&["create", "garden"]), "garden\n");
    assert_eq!(by_folder(&["create", "cellar", "--private", "--as", "ada"]), "cellar\n");
    let rooms = server.ok(&["rooms", "--as", "ada"]);
    assert!(rooms.contains("garden  public, no") && rooms.contains("cellar  private, member"), "{rooms}");
}

#[test]
fn a_pipe_in_place_of_a_settings_file_does_not_block() {
    let dir = folder();
    let (data, file) = (dir.path().join("data"), dir.path().join("vang.toml"));
    let mut make = program("mkfifo");
    let pipe = dir.path().join("pipe");
    assert!(make.arg(&pipe).status().unwrap().success());
    let pipe_named = pipe.to_str().unwrap();
    for flags in [
        vec!["--config", pipe_named],
        vec!["--tls-cert", pipe_named, "--tls-key", pipe_named],
        vec!["--config", "/dev/zero"],
    ] {
        let mut serve = vang();
        serve.args(["serve", "--listen", "127.0.0.1:0"]).args(&flags).arg("--data").arg(&data);
        let output = serve.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("it is a pipe, a socket or a device"), "{said}");
    }
    fs::write(&file, "listen = ['127.0.0.1:0']\n").unwrap();
    let mut serve = vang();
    serve.args(["serve", "--config"]).arg(&file).arg("--data").arg(&data);
    let server = Server::spawn(serve, &data);
    let with_tls = format!("tls-cert = {pipe_named:?}\ntls-key = {pipe_named:?}\n");
    for replace in [&(|| fs::write(&file, &with_tls).unwrap()) as &dyn Fn(), &|| {
        fs::remove_file(&file).unwrap();
        fs::rename(&pipe, &file).unwrap();
    }] {
        replace();
        let before = server.log().len();
        server.signal("HUP");
        comes_true("it says why not", || {
            server.log()[before..].contains("it is a pipe, a socket or a device")
        });
        assert_eq!(hello(&mut server.connect(), "bob"), "guest:bob");
    }
    assert!(server.stop().success());
}
