//! A session's cursor: stretches of hidden messages, several `follow`s at once, and what it must not reveal to a
//! former member.

use std::io::Write;
use std::net::TcpStream;

use crate::common::{member_of_cellar, serve, serve_process, with_cellar};
use crate::harness::{Server, exchange, read_message, request};

fn send(stream: &mut TcpStream, room: &str, name: &str, text: &str) {
    let keys = [("room", room), ("as", name)].map(|(key, value)| (key, format!("{value:?}")));
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(exchange(stream, &request("send", &keys, text)).0["status"], "ok");
}

fn follow(room: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let room = format!("{room:?}");
    request("follow", &[&[("room", room.as_str())], more].concat(), "")
}

#[test]
fn a_long_hidden_stretch_is_skipped_to_the_next_visible_message() {
    let (_dir, server) = member_of_cellar(&["bob"]);
    let mut ada = server.connect();
    // More than a session is given at once.
    for _ in 0..40 {
        send(&mut ada, "cellar", "ada", &"x".repeat(8_000));
    }
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    send(&mut ada, "cellar", "ada", "for bob");
    let mut bob = server.connect();
    let more = [("since", "0"), ("as", "\"bob\"")];
    assert_eq!(exchange(&mut bob, &follow("cellar", &more)).0["status"], "ok");
    let (hole, _) = read_message(&mut bob).unwrap();
    assert_eq!((&hole["event"], &hole["from"], &hole["to"]), (&"hole".into(), &1.into(), &40.into()));
    assert_eq!(read_message(&mut bob).unwrap().1, b"for bob");
}

#[test]
fn hidden_messages_of_one_room_do_not_delay_another() {
    let (_dir, server) = member_of_cellar(&["bob"]);
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    let mut bob = server.connect();
    let both = request("follow", &[("rooms", "[\"cellar\", \"general\"]"), ("as", "\"bob\"")], "");
    assert_eq!(exchange(&mut bob, &both).0["status"], "ok");
    server.ok(&["leave", "cellar", "--as", "bob"]);
    assert_eq!(read_message(&mut bob).unwrap().0["event"], "left");
    // Pipelined, so that they come in one batch.
    let mut ada = server.connect();
    let long = request("send", &[("room", "\"cellar\""), ("as", "\"ada\"")], &"x".repeat(100_000));
    let short = request("send", &[("room", "\"general\"")], "for all");
    ada.write_all(&[long, short].concat()).unwrap();
    assert_eq!(read_message(&mut bob).unwrap().1, b"for all");
}

#[test]
fn pipelined_follows_lose_and_repeat_nothing() {
    let (dir, server) = with_cellar(serve_process(&["--trust", "local"]), &[]);
    let mut ada = server.connect();
    for (room, text) in [("general", "one"), ("cellar", "two"), ("general", "three"), ("cellar", "four")] {
        send(&mut ada, room, "ada", text);
    }
    // A new server has nothing in memory: everything comes from the disk.
    drop(ada);
    server.kill();
    let server = Server::start_trusting(&dir.path().join("data"));
    let mut stream = server.connect();
    let since = follow("general", &[("since", "0"), ("as", "\"ada\"")]);
    let again = follow("cellar", &[("since", "0"), ("as", "\"ada\"")]);
    let now = follow("cellar", &[("as", "\"ada\"")]);
    stream.write_all(&[since, again, now].concat()).unwrap();
    // Replies come in order; events of the first follow can come between them.
    let (mut replies, mut events) = (Vec::new(), Vec::new());
    while replies.len() < 3 || events.len() < 2 {
        let (header, content) = read_message(&mut stream).unwrap();
        match header["event"].as_str() {
            None if header["status"] == "ok" => replies.push("ok".to_owned()),
            None => replies.push(header["code"].as_str().unwrap().to_owned()),
            Some("message") => events.push(String::from_utf8(content).unwrap()),
            Some(_) => {}
        }
    }
    assert_eq!(replies, ["ok", "already-following", "ok"]);
    assert_eq!(events, ["one", "three"]);
    server.ok(&["send", "cellar", "five", "--as", "ada"]);
    server.ok(&["send", "general", "six", "--as", "ada"]);
    assert_eq!(read_message(&mut stream).unwrap().1, b"five");
    assert_eq!(read_message(&mut stream).unwrap().1, b"six");
}

#[test]
fn former_members_cannot_see_a_private_rooms_progress() {
    let (_dir, server) = member_of_cellar(&["bob"]);
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    server.ok(&["send", "cellar", "bob is here", "--as", "ada"]);
    server.ok(&["leave", "cellar", "--as", "bob"]);
    server.ok(&["send", "cellar", "bob is gone", "--as", "ada"]);
    server.ok(&["send", "general", "later", "--as", "ada"]);
    let start_after = |n: &str| {
        let more = [("since", n), ("as", "\"bob\"")];
        exchange(&mut server.connect(), &follow("cellar", &more)).0["seq"].as_u64().unwrap()
    };
    // Message 2 is there, 3 is not: both are answered alike.
    assert_eq!(start_after("2"), start_after("3"));
    assert!(start_after("1") < start_after("2"));
}

#[test]
fn a_names_length_is_measured_after_normalisation() {
    let (_dir, server) = serve(&[]);
    let long = "\u{958}".repeat(21);
    let output = server.run(&["send", "general", "hi", "--as", &long]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("has 126 bytes; at most 64 are allowed"), "{said}");
}
