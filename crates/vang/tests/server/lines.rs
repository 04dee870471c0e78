//! People who type: with `nc` and bash, together with other clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::common::{Witness, comes_true, dial, member_of_cellar, rest, serve, serve_process, tool};
use crate::harness::{PATIENCE, Server, Tail, exchange, folder, lines_of, request, wait};

/// A person at a terminal.
struct Person {
    child: Child,
    keys: Option<ChildStdin>,
    screen: Receiver<String>,
}

impl Person {
    fn at(mut command: Command) -> Person {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let screen = lines_of(child.stdout.take().unwrap());
        Person { keys: child.stdin.take(), child, screen }
    }

    /// With `nc`, as in the README.
    fn nc(server: &Server) -> Person {
        let mut nc = tool("nc", "netcat-openbsd");
        let addr = server.socket_addr();
        nc.args([addr.ip().to_string(), addr.port().to_string()]);
        Person::at(nc)
    }

    /// With bash alone.
    fn bash(server: &Server) -> Person {
        let addr = server.socket_addr();
        let script = format!(
            "exec 3<>/dev/tcp/{}/{}; cat <&3 & while IFS= read -r line; do printf '%s\\n' \"$line\" >&3; done; kill %1",
            addr.ip(),
            addr.port()
        );
        let mut bash = tool("bash", "bash");
        bash.args(["-c", &script]);
        Person::at(bash)
    }

    fn types(&mut self, line: &str) {
        self.keys.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn sees(&self, line: &str) {
        assert_eq!(self.screen.recv_timeout(PATIENCE).expect(line), line);
    }

    /// Types a name and waits until it is accepted.
    fn comes_in(mut self, name: &str) -> Person {
        self.types(name);
        self.sees(&format!("-- you are guest:{name}; /help shows what can be typed"));
        self.sees("-- you talk in #general");
        self
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Types all of this, ends the input, and returns the output.
fn typed(address: &str, lines: &[u8]) -> String {
    let mut stream = dial(address);
    stream.write_all(lines).unwrap();
    stream.end_writing();
    String::from_utf8(rest(&mut stream)).unwrap()
}

#[test]
fn nc_and_bash_users_talk_with_every_other_client() {
    let (_dir, server) = serve(&[]);
    let mut tail = Tail::start(server.client(&["tail", "general", "--since", "0", "--json"]));
    let mut ada = Person::nc(&server).comes_in("ada");
    let mut bob = Person::bash(&server).comes_in("bob");
    ada.types("xin chào 🐰");
    bob.sees("guest:ada: xin chào 🐰");
    bob.types("hi ada");
    // Her own line is on her screen already.
    ada.sees("guest:bob: hi ada");
    server.ok(&["send", "general", "from the command line", "--as", "cy"]);
    for person in [&ada, &bob] {
        person.sees("guest:cy: from the command line");
    }
    let expected =
        [("guest:ada", "xin chào 🐰"), ("guest:bob", "hi ada"), ("guest:cy", "from the command line")];
    for (from, text) in expected {
        let event = tail.json();
        assert_eq!((&event["from"], &event["text"]), (&from.into(), &text.into()));
        assert_eq!(
            (&event["content-type"], &event["content-encoding"]),
            (&"text/plain".into(), &"utf-8".into())
        );
    }
    ada.types("/who");
    ada.sees("-- in #general now: guest:ada, guest:anon, guest:bob");
    bob.types("/rooms");
    bob.sees("-- #general (3 messages, you talk here)");
    ada.types("/quit");
    ada.sees("-- bye");
    // nc itself waits for its own input's end.
    ada.keys = None;
    assert!(wait(&mut ada.child).success());
    comes_true("she is not there any more", || {
        bob.types("/who");
        bob.screen.recv_timeout(PATIENCE).unwrap() == "-- in #general now: guest:anon, guest:bob"
    });
}

#[test]
fn a_person_reads_the_last_messages_and_corrects_a_name() {
    let (_dir, server) = serve(&[]);
    for n in 1..=12 {
        server.ok(&["send", "general", &format!("message {n}"), "--as", "cy"]);
    }
    let seen = typed(&server.addr, b"hello\n/nick ada\n/history 1\nI am ada\n/nick eve\n/who\n");
    let without_time = |line: &str| match line.split_once(' ') {
        Some((time, rest)) if time.len() == 5 && time.as_bytes()[2] == b':' => rest.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> =
        seen.lines().filter(|line| !line.ends_with(" (UTC)")).map(without_time).collect();
    let mut expected = vec![
        "-- you are guest:hello; /help shows what can be typed".to_owned(),
        "-- you talk in #general".to_owned(),
    ];
    expected.extend((3..=12).map(|n| format!("guest:cy: message {n}")));
    expected.push("-- you are guest:ada".to_owned());
    expected.push("guest:cy: message 12".to_owned());
    expected.push("-- your name stays: it can be changed only before your first message".to_owned());
    expected.push("-- in #general now: guest:ada".to_owned());
    assert_eq!(lines, expected);
    assert!(server.ok(&["tail", "general", "--since", "12", "--no-follow"]).contains(" guest:ada: I am ada"));
}

#[test]
fn a_private_room_is_invisible_to_other_typing_people() {
    let (_dir, server) = member_of_cellar(&["bob"]);
    let mut ada = Person::nc(&server);
    ada.types("ada");
    ada.sees("-- you are ada; /help shows what can be typed");
    ada.sees("-- you talk in #general");
    ada.types("/join cellar");
    ada.sees("-- you talk in #cellar");
    ada.types("/rooms");
    ada.sees("-- #general (0 messages, you read it)");
    ada.sees("-- #cellar (0 messages, private, you talk here)");
    ada.types("down here");
    let mut eve = Person::nc(&server).comes_in("eve");
    for (typed, seen) in [
        ("/join cellar", "-- not joined: there is no room 'cellar'"),
        ("/who cellar", "-- there is no room 'cellar'"),
        ("/rooms", "-- #general (0 messages, you talk here)"),
    ] {
        eve.types(typed);
        eve.sees(seen);
    }
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    ada.sees("-- bob joined #cellar");
    ada.types("/who");
    ada.sees("-- in #cellar now: ada");
    ada.sees("-- members who are away: bob");
    eve.types("hello up here");
    ada.sees("#general guest:eve: hello up here");
}

#[test]
fn a_script_that_ends_its_input_gets_everything_before_the_close() {
    let dir = folder();
    let unix = format!("unix:{}", dir.path().join("door").display());
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &["--listen", &unix]);
    let seen = typed(&server.addr, b"clock\nit is noon\nand a half");
    let expected = "-- you are guest:clock; /help shows what can be typed\n-- you talk in #general\n";
    assert_eq!(seen, expected);
    // Who comes later reads what was said.
    let seen = typed(&unix, b"clock\r\nit is one\r\n");
    let lines: Vec<&str> = seen.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    let entry: Vec<&str> = expected.lines().collect();
    assert_eq!(lines[..2], entry);
    assert!(lines[2].starts_with("-- 20") && lines[2].ends_with(" (UTC)"), "{lines:?}");
    let said: Vec<&str> =
        lines[3..].iter().filter_map(|line| line.split_once(' ')).map(|(_, said)| said).collect();
    // A day may begin between the two.
    let said: Vec<&str> = said.into_iter().filter(|said| said.starts_with("guest:")).collect();
    assert_eq!(said, ["guest:clock: it is noon", "guest:clock: and a half"]);
    let said = server.ok(&["tail", "general", "--since", "0", "--no-follow", "--json"]);
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = said.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(texts, ["it is noon", "and a half", "it is one"]);
}

#[test]
fn silence_is_answered_with_what_can_be_typed() {
    let (_dir, server) = serve(&["--limit", "first-byte=300ms"]);
    let received = |sent: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(sent).unwrap();
        String::from_utf8(rest(&mut stream)).unwrap()
    };
    let how = "To chat here, type your name and press Enter, then a message and Enter. For a server that echoes: vang net \
               echo serve\n";
    // Also an HTTP response: for browsers that opened the connection before they needed it.
    assert_eq!(received(b""), format!("HTTP/1.1 408 -- nothing came for 300 ms. {}\r\n\r\n", how.trim_end()));
    // The guide's echo client; the beginning of a request; half a length.
    assert_eq!(
        received(b"Hello, world"),
        format!("-- 12 bytes came ('Hello, world'), then nothing for 300 ms. {how}")
    );
    assert_eq!(received(b"GE"), format!("-- 2 bytes came ('GE'), then nothing for 300 ms. {how}"));
    assert_eq!(received(b"\x01"), format!("-- 1 byte came ('\\u{{1}}'), then nothing for 300 ms. {how}"));
}

#[test]
fn a_name_without_a_line_end_is_taken_after_a_while_and_quiet_ends_its_lines() {
    let (_dir, server) = serve(&["--limit", "first-byte=300ms"]);
    let hears = |stream: &mut TcpStream, text: &str| {
        let mut heard = String::new();
        while !heard.ends_with(text) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {heard:?}"));
            heard.push(byte[0] as char);
        }
        heard
    };
    let mut ada = server.connect();
    ada.write_all(b"ada").unwrap();
    assert!(hears(&mut ada, "talk in #general\n").starts_with("-- you are guest:ada;"));
    let mut bob = server.connect();
    bob.write_all(b"bob").unwrap();
    hears(&mut bob, "talk in #general\n");
    bob.write_all(b"hi, ada").unwrap();
    assert_eq!(hears(&mut ada, "\n"), "guest:bob: hi, ada\n");
    ada.write_all(b"two\nlines").unwrap();
    assert_eq!(hears(&mut bob, "lines\n"), "guest:ada: two\nguest:ada: lines\n");
    bob.write_all(b"/quit").unwrap();
    assert_eq!(hears(&mut bob, "\n"), "-- bye\n");
    assert_eq!(rest(&mut bob), b"");
}

#[test]
fn a_kept_connection_of_http_hears_no_line_between_two_answers() {
    let (_dir, server) = serve(&["--limit", "first-byte=100ms"]);
    let mut kept = server.connect();
    for _ in 0..2 {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            kept.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
        // Another connection gets the line about silence in the meantime; this one would get it as well.
        assert!(rest(&mut server.connect()).starts_with(b"HTTP/1.1 408 -- nothing came"));
    }
}

#[test]
fn a_bad_name_is_explained() {
    let (_dir, server) = serve(&[]);
    let seen = typed(&server.addr, b"a b\n/who\nx\xff\nada\n");
    let lines: Vec<&str> = seen.lines().collect();
    assert!(
        lines[0].starts_with("-- the name 'a b' has a space; ")
            && lines[0].ends_with(", as in 'a-b'; type another name")
    );
    assert_eq!(lines[1], "-- first type your name");
    assert_eq!(lines[2], "-- not taken: this line is not UTF-8 text; set your terminal to UTF-8");
    assert_eq!(lines[3], "-- you are guest:ada; /help shows what can be typed");
}

#[test]
fn a_web_page_that_posts_to_the_port_cannot_send_typed_lines() {
    let (_dir, server) = serve_process(&[]);
    let mut stream = server.connect();
    let posted = b"ada\nhello\nPOST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nI was he\n";
    stream.write_all(posted).unwrap();
    let seen = String::from_utf8(rest(&mut stream)).unwrap();
    assert!(!seen.contains("HTTP"), "{seen}");
    // Lines before it may be posted, depending on their segments; lines after it are not.
    let said = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
    assert!(!said.contains("I was he") && !said.contains("POST") && !said.contains("Host"), "{said}");
    comes_true("the log says why", || server.log().contains("an HTTP request among typed lines"));
    assert_eq!(exchange(&mut server.connect(), &request("ping", &[], "")).0["status"], "ok");
}

#[test]
fn nc_users_never_receive_control_characters() {
    let (_dir, server) = serve(&[]);
    let ada = Person::nc(&server).comes_in("ada");
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}6n\nguest:bob: I quit\r\u{8}\u{202e}";
    let send = request("send", &[("room", "\"general\""), ("as", "\"mallory\"")], evil);
    assert_eq!(exchange(&mut server.connect(), &send).0["status"], "ok");
    ada.sees("guest:mallory: \\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{9b}6n");
    ada.sees("    guest:bob: I quit\\u{d}\\u{8}\\u{202e}");
}

#[test]
fn a_typing_client_that_never_reads_loses_no_accepted_line() {
    let (dir, server) = serve_process(&[]);
    let mut witness = Witness::new(&server);
    let mut stream: TcpStream = server.connect();
    stream.write_all(b"ada\n").unwrap();
    let before = server.status_kib("VmRSS");
    // Every /help gets nine lines, which the client does not read.
    let mut helps = stream.try_clone().unwrap();
    helps.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let typed = "/help\n".repeat(10_000);
    let mut rounds = 0;
    while rounds < 2_000 && helps.write_all(typed.as_bytes()).is_ok() {
        rounds += 1;
    }
    assert!(rounds < 2_000, "the server read 120 MB of lines whose answers nobody takes");
    let grown = server.status_kib("VmRSS").saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    witness.is_unharmed(&server);
    let mut screen = vec![0; 100];
    stream.read_exact(&mut screen).unwrap();
    assert!(screen.starts_with(b"-- you are guest:ada;"));
    drop((stream, helps, dir));
}
