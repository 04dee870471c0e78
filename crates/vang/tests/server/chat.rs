//! Rooms, end to end: with the commands, and with raw clients.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::{SECRET, answer, ask, comes_true, fails, member_of_cellar, rest, serve, stderr};
use crate::harness::{
    Server, Tail, exchange, folder, guide, read_message, request, result_of, succeeded, vang, wait,
};

fn with_stdin(server: &Server, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = server.client(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

fn admin(data: &Path, args: &[&str]) -> Command {
    let mut command = vang();
    command.arg("admin").args(args).arg("--data").arg(data);
    command
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    succeeded(&["admin"], output)
}

/// A server with the accounts ada and bob, and ada's private room `cellar`.
fn with_cellar() -> (tempfile::TempDir, Server) {
    member_of_cellar(&["bob"])
}

fn history(server: &Server, room: &str, name: &str) -> String {
    server.ok(&["tail", room, "--since", "0", "--no-follow", "--as", name])
}

/// The lines of a history without their times.
fn said(server: &Server, room: &str, name: &str) -> Vec<String> {
    let one = |line: &str| {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let is_time = |word: &str| word.len() == 5 && word.as_bytes()[2] == b':';
        if is_time(words[1]) { format!("{} {}", words[0], words[2]) } else { line.to_owned() }
    };
    history(server, room, name).lines().map(one).collect()
}

#[test]
fn a_sender_gets_the_address_and_followers_get_the_message() {
    let (_dir, server) = serve(&[]);
    let mut tail = Tail::start(server.client(&["tail", "general", "--since", "0", "--as", "bob"]));
    assert_eq!(server.ok(&["send", "general", "xin chào 🐰", "--as", "ada"]), "general#1\n");
    assert_eq!(server.ok(&["send", "#general", "again", "--as", "ada"]), "general#2\n");
    let line = tail.line();
    assert!(line.starts_with("general#1 ") && line.ends_with(" guest:ada: xin chào 🐰"), "{line}");
    assert!(tail.line().ends_with("guest:ada: again"));
    let rooms = server.ok(&["rooms"]);
    assert_eq!(rooms, "general  public, 2 messages\n");
}

#[test]
fn names_without_an_account_are_guests() {
    let (dir, server) = serve(&["--trust", "local"]);
    let data = dir.path().join("data");
    add(&data, "Ada");
    for name in ["Ada", "ada", "ＡＤＡ", "bob"] {
        server.ok(&["send", "general", name, "--as", name]);
    }
    let expected =
        ["general#1 Ada: Ada", "general#2 Ada: ada", "general#3 Ada: ＡＤＡ", "general#4 guest:bob: bob"];
    assert_eq!(said(&server, "general", "x"), expected);
    // Without --as: $VANG_AS, else $USER, else anon.
    let speaks = |key: &str, value: &str| {
        let mut command = server.client(&["send", "general", "hi"]);
        command.env_remove("USER").env(key, value);
        ok(command);
        said(&server, "general", "x").pop().unwrap().split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(speaks("VANG_AS", "eve"), "guest:eve: hi");
    assert_eq!(speaks("USER", "mal"), "guest:mal: hi");
    assert_eq!(speaks("USER", ""), "guest:anon: hi");
    assert_eq!(
        fails(server.client(&["send", "general", "hi", "--as", "a b"]), 1),
        "vang: the name 'a b' has a space; use letters, digits, - _ . and start with a letter or digit, as in 'a-b'\n"
    );
}

/// Adds an account, and answers the code with which its owner sets a password.
fn add(data: &Path, name: &str) -> String {
    let code = ok(admin(data, &["account", "add", name]));
    assert!(code.starts_with("vang_invite_") && code.lines().count() == 1, "{code}");
    code
}

#[test]
fn accounts_are_added_once_whether_the_server_runs_or_not() {
    let dir = folder();
    let data = dir.path().join("data");
    let unused = fails(admin(&data, &["account", "add", "ada"]), 1);
    assert!(unused.contains(": no server has used this folder\n  "), "{unused}");
    assert!(!data.exists(), "a folder that nobody uses is not made");
    assert!(Server::start(&data).stop().success());
    add(&data, "ada");
    let again = "vang: there is an account '";
    assert!(fails(admin(&data, &["account", "add", "ada"]), 1).starts_with(again));
    let server = Server::start_trusting(&data);
    assert!(fails(admin(&data, &["account", "add", "ADA"]), 1).starts_with(again));
    add(&data, "bob");
    server.ok(&["create", "garden", "--as", "bob"]);
    assert!(server.stop().success());
    assert!(fails(admin(&data, &["account", "add", "bob"]), 1).starts_with(again));
    assert!(
        fails(admin(&data, &["account", "add", "a b"]), 1).starts_with("vang: the name 'a b' has a space; ")
    );
    add(&data, "eve");
    let server = Server::start_trusting(&data);
    for name in ["ada", "eve"] {
        assert_eq!(server.ok(&["join", "garden", "--as", name]), "garden\n");
    }
}

#[test]
fn a_deleted_account_leaves_what_it_said_and_nothing_else() {
    let (dir, server) = serve(&["--trust", "local"]);
    let data = dir.path().join("data");
    add(&data, "Margarethe");
    server.ok(&["send", "general", "still here", "--as", "Margarethe"]);
    assert_eq!(said(&server, "general", "x"), ["general#1 Margarethe: still here"]);
    assert_eq!(ok(admin(&data, &["account", "delete", "margarethe", "--yes"])), "margarethe\n");
    let expected = ["general#1 deleted account: still here"];
    assert_eq!(said(&server, "general", "x"), expected);
    assert!(
        fails(admin(&data, &["account", "add", "Margarethe"]), 1).starts_with("vang: there is an account")
    );
    assert!(server.stop().success());
    let server = Server::start_trusting(&data);
    assert_eq!(said(&server, "general", "x"), expected);
    assert!(server.stop().success());
    // Erased, not only hidden.
    for file in
        std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(10).any(|part| part.eq_ignore_ascii_case(b"margarethe"));
        assert!(!is_there, "{}", file.display());
    }
}

#[test]
fn concurrent_admin_commands_all_succeed() {
    let dir = folder();
    let data = dir.path().join("data");
    assert!(Server::start(&data).stop().success());
    let adding: Vec<_> = (0..6)
        .map(|i| {
            let mut add = admin(&data, &["account", "add", &format!("ada{i}")]);
            add.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (i, child) in adding.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let note = format!("the owner of ada{i} sets a password with it: vang accept\n");
        assert!(output.status.success() && stderr(&output).ends_with(&note), "{output:?}");
    }
}

#[test]
fn an_id_posts_once_also_across_a_restart_and_never_for_another_message() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let send = ["send", "general", "once", "--id", "6f1c", "--as", "ada"];
    for _ in 0..3 {
        assert_eq!(server.ok(&send), "general#1\n");
    }
    server.ok(&["send", "general", "other", "--as", "ada"]);
    assert!(server.stop().success());
    let server = Server::start(&data);
    assert_eq!(server.ok(&send), "general#1\n");
    server.kill();
    let server = Server::start(&data);
    assert_eq!(server.ok(&send), "general#1\n");
    let refused = fails(server.client(&["send", "general", "twice", "--id", "6f1c", "--as", "ada"]), 1);
    assert!(refused.starts_with("vang: this id was sent before with another payload"), "{refused}");
    let html = ["send", "general", "once", "--id", "6f1c", "--as", "ada", "--type", "text/html"];
    assert!(
        fails(server.client(&html), 1).contains("this id was sent before"),
        "another type is another message"
    );
    // Another sender's id does not count.
    assert_eq!(server.ok(&["send", "general", "once", "--id", "6f1c", "--as", "bob"]), "general#3\n");
    let expected = ["general#1 guest:ada: once", "general#2 guest:ada: other", "general#3 guest:bob: once"];
    assert_eq!(said(&server, "general", "x"), expected);
}

#[test]
fn stdin_is_sent_without_its_final_newline_and_a_file_unchanged() {
    let (dir, server) = serve(&[]);
    let output = with_stdin(&server, &["send", "general", "--as", "ada"], "one\ntwo 🐰\n".as_bytes());
    assert_eq!(succeeded(&["send"], output), "general#1\n");
    let output = with_stdin(&server, &["send", "general", "--as", "ada", "--file", "-"], b"to the byte\n");
    assert_eq!(succeeded(&["send"], output), "general#2\n");
    let output = with_stdin(&server, &["send", "general", "--as", "ada"], b"");
    assert_eq!(output.status.code(), Some(2), "an empty message is a mistake: {output:?}");
    let photo = dir.path().join("photo.png");
    std::fs::write(&photo, b"\x89PNG\x00\xff").unwrap();
    let photo = photo.display().to_string();
    server.ok(&["send", "general", "--as", "ada", "--file", &photo, "--type", "image/png"]);
    server.ok(&["send", "general", "--as", "ada", "--file", &photo]);
    let lines = server.ok(&["tail", "general", "--since", "0", "--no-follow", "--json"]);
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = events.iter().map(|event| event["text"].as_str()).collect();
    assert_eq!(texts, [Some("one\ntwo 🐰"), Some("to the byte\n"), None, None]);
    for (event, kind) in events[2..].iter().zip(["image/png", "application/octet-stream"]) {
        assert_eq!((&event["base64"], &event["content-type"]), (&"iVBORwD/".into(), &kind.into()));
        assert_eq!(event["content-encoding"], "binary");
    }
    let shown = history(&server, "general", "x");
    assert!(shown.contains("guest:ada: one\n    two 🐰\n"), "{shown}");
    assert!(shown.contains("guest:ada: (6 bytes of image/png)\n"), "{shown}");
    let text = ["send", "general", "--file", &photo, "--type", "text/plain"];
    assert!(
        fails(server.client(&text), 1)
            .contains("the content is not UTF-8, so it cannot be sent as text/plain")
    );
    let missing = fails(server.client(&["send", "general", "--file", "/nonexistent"]), 1);
    assert_eq!(missing, "vang: cannot read /nonexistent: no such file or directory\n");
    let both = ["send", "general", "text", "--file", &photo];
    fails(server.client(&both), 2);
}

#[test]
fn a_json_line_has_the_headers_keys_in_order_and_the_text() {
    let (_dir, server) = serve(&[]);
    server.ok(&["send", "general", "say \"hi\"\n🐶", "--as", "ada"]);
    let line = server.ok(&["tail", "general", "--since", "0", "--no-follow", "--json"]);
    let value: Value = serde_json::from_str(&line).unwrap();
    let (seq, time) = (&value["seq"], value["time"].as_str().unwrap());
    let order = if cfg!(target_endian = "little") { "little" } else { "big" };
    let expected = format!(
        "{{\"byteorder\": \"{order}\", \"content-type\": \"text/plain\", \"content-encoding\": \"utf-8\", \
         \"content-length\": 13, \"event\": \"message\", \"seq\": {seq}, \"room\": \"general\", \"n\": 1, \
         \"from\": \"guest:ada\", \"time\": \"{time}\", \"text\": \"say \\\"hi\\\"\\n🐶\"}}\n"
    );
    assert_eq!(line, expected);
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T' && time.as_bytes()[19] == b'.'
    );
    let room = server.ok(&["rooms", "--json"]);
    let room: Value = serde_json::from_str(&room).unwrap();
    assert_eq!(room, serde_json::json!({"room": "general", "access": "public", "n": 1}));
}

#[test]
fn since_shows_later_messages_and_no_follow_stops_at_the_end() {
    let (_dir, server) = serve(&[]);
    for i in 1..=5 {
        server.ok(&["send", "general", &format!("number {i}"), "--as", "ada"]);
    }
    let numbers = |args: &[&str]| {
        let lines = server.ok(&[&["tail", "general", "--no-follow"], args].concat());
        lines.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&["--since", "3"]), ["general#4", "general#5"]);
    assert_eq!(numbers(&["--since", "5"]), [""; 0]);
    assert_eq!(numbers(&["--since", "99"]), [""; 0]);
    assert_eq!(numbers(&[]), [""; 0], "nothing is new");
    assert_eq!(numbers(&["--since", "0"]).len(), 5);
    let mut tail = Tail::start(server.client(&["tail", "general", "--since", "4"]));
    assert!(tail.line().ends_with("number 5"));
    server.ok(&["send", "general", "number 6", "--as", "ada"]);
    assert!(tail.line().ends_with("number 6"));
    let nowhere = fails(server.client(&["tail", "nowhere", "--no-follow"]), 1);
    assert_eq!(
        nowhere,
        "vang: there is no room 'nowhere'\n  `vang rooms` lists the rooms that you can see\n"
    );
    assert_eq!(fails(server.client(&["tail", "nowhere"]), 1), nowhere);
    fails(server.client(&["tail", "general", "--since", "-1"]), 2);
}

#[test]
fn a_closed_stdout_ends_tail_quietly() {
    let (_dir, server) = serve(&[]);
    for i in 0..2_000 {
        if i % 100 == 0 {
            let mut stream = server.connect();
            let send = request("send", &[("room", "\"general\"")], &"x".repeat(100));
            stream.write_all(&send.repeat(100)).unwrap();
            for _ in 0..100 {
                read_message(&mut stream).unwrap();
            }
        }
    }
    for args in [&["--since", "0", "--no-follow"][..], &["--since", "0"]] {
        let mut command = server.client(&[&["tail", "general"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 9]).unwrap();
        drop(stdout);
        let status = wait(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
    // Also when nothing more is said: the tail does not wait for a message to find out.
    let mut command = server.client(&["tail", "general"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait(&mut child).code(), Some(0));
    // And printing once into a closed pipe is not an error.
    let mut command = server.client(&["rooms"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_private_room_is_invisible_to_non_members() {
    let (_dir, server) = with_cellar();
    server.ok(&["send", "cellar", "psst", "--as", "ada"]);
    assert_eq!(
        server.ok(&["rooms", "--as", "ada"]),
        "general  public, no messages\ncellar  private, member, 1 message\n"
    );
    for name in ["bob", "guest", "anon"] {
        assert_eq!(server.ok(&["rooms", "--as", name]), "general  public, no messages\n");
        for args in [
            &["tail", "cellar", "--no-follow"][..],
            &["tail", "cellar"],
            &["send", "cellar", "hi"],
            &["join", "cellar"],
            &["leave", "cellar"],
        ] {
            // Word for word as for a room that there is none of.
            let there = fails(server.client(&[args, &["--as", name]].concat()), 1);
            assert_eq!(
                there, "vang: there is no room 'cellar'\n  `vang rooms` lists the rooms that you can see\n",
                "{name} {args:?}"
            );
        }
    }
    assert!(
        fails(server.client(&["create", "cellar", "--as", "bob"]), 1)
            .contains("there is a room 'cellar' already")
    );
    assert_eq!(server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]), "cellar\n");
    assert_eq!(
        server.ok(&["rooms", "--as", "bob"]),
        "general  public, no messages\ncellar  private, member, 1 message\n"
    );
    assert_eq!(server.ok(&["send", "cellar", "thanks", "--as", "bob"]), "cellar#2\n");
}

#[test]
fn messages_during_an_absence_are_a_hole() {
    let (_dir, server) = with_cellar();
    let say = |name: &str, text: &str| server.ok(&["send", "cellar", text, "--as", name]);
    say("ada", "one");
    say("ada", "two");
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    assert_eq!(said(&server, "cellar", "bob"), ["cellar#1-2 (not shown: you were not a member)"]);
    let mut tail = Tail::start(server.client(&["tail", "cellar", "--since", "0", "--as", "bob"]));
    assert_eq!(tail.line(), "cellar#1-2 (not shown: you were not a member)");
    say("bob", "three");
    assert!(tail.line().ends_with(" bob: three"));
    assert_eq!(server.ok(&["leave", "cellar", "--as", "bob"]), "cellar\n");
    say("ada", "four");
    assert!(fails(server.client(&["send", "cellar", "five", "--as", "bob"]), 1).contains("not a member"));
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    say("ada", "five");
    // A tail that ran all the time, and a later reader.
    assert_eq!(tail.line(), "cellar#4 (not shown: you were not a member)");
    assert!(tail.line().ends_with(" ada: five"));
    let expected = [
        "cellar#1-2 (not shown: you were not a member)",
        "cellar#3 bob: three",
        "cellar#4 (not shown: you were not a member)",
        "cellar#5 ada: five",
    ];
    assert_eq!(said(&server, "cellar", "bob"), expected);
    assert_eq!(said(&server, "cellar", "ada").len(), 5);
    let line = server.ok(&["tail", "cellar", "--since", "0", "--no-follow", "--json", "--as", "bob"]);
    let hole: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&hole["event"], &hole["from"], &hole["to"], &hole["why"]),
        (&"hole".into(), &1.into(), &2.into(), &"not-member".into())
    );
    assert_eq!(hole.get("text"), None);
}

#[test]
fn accounts_create_join_and_leave_rooms_and_refusals_say_why() {
    let (_dir, server) = with_cellar();
    let refused = |args: &[&str], why: &str| {
        let said = fails(server.client(args), 1);
        assert!(said.starts_with(&format!("vang: {why}")), "{args:?}: {said}");
        let is_no_room = why.contains("no room");
        assert_eq!(said.lines().count(), 1 + usize::from(is_no_room), "{said}");
    };
    refused(&["create", "garden", "--as", "guest"], "guests cannot do this; ask the operator for an account");
    refused(&["join", "general", "--as", "guest"], "guests cannot do this; ask the operator for an account");
    assert_eq!(server.ok(&["create", "garden", "--as", "ada"]), "garden\n");
    refused(&["create", "Garden", "--as", "bob"], "there is a room 'Garden' already");
    refused(&["create", "a/b", "--as", "bob"], "the name 'a/b' has '/'; ");
    refused(&["join", "garden", "--as", "ada"], "already a member of this room");
    refused(&["leave", "garden", "--as", "bob"], "not a member of this room");
    refused(&["join", "cellar", "--who", "nobody", "--as", "ada"], "there is no account 'nobody'");
    refused(&["join", "nowhere", "--as", "ada"], "there is no room 'nowhere'");
    // Programs get the code, too.
    refused(&["tail", "nowhere", "--no-follow", "--json"], "no-room: there is no room 'nowhere'");
    assert_eq!(server.ok(&["join", "garden", "--as", "bob"]), "garden\n");
    assert_eq!(server.ok(&["leave", "garden", "--as", "ada"]), "garden\n");
    let events = server.ok(&["tail", "garden", "--since", "0", "--no-follow"]);
    assert_eq!(events, "", "comings and goings are not messages");
    // Stored history has messages only, so this is refused rather than answered in part.
    let refused = fails(server.client(&["tail", "garden", "--since", "0", "--no-follow", "--events"]), 2);
    assert!(refused.contains("cannot be used with"), "{refused}");
    let mut tail = Tail::start(server.client(&["tail", "garden", "--since", "0", "--events"]));
    server.ok(&["leave", "garden", "--as", "bob"]);
    let lines: Vec<String> = (0..4).map(|_| tail.line()).collect();
    for (line, ends) in lines.iter().zip(["ada created the room", "bob joined", "ada left", "bob left"]) {
        assert!(line.starts_with("garden ") && line.ends_with(ends), "{lines:?}");
    }
}

#[test]
fn who_has_the_folder_and_types_no_name_acts_as_the_operator() {
    let (dir, server) = with_cellar();
    let data = dir.path().join("data");
    let folder = data.to_str().unwrap();
    let asks = |args: &[&str]| {
        let mut command = vang();
        // A login name that is no account.
        command.args(args).args(["--data", folder]).env("USER", "stranger");
        command.output().unwrap()
    };
    for action in
        [&["topic", "general", "what is new"][..], &["create", "hall"], &["join", "hall", "--who", "bob"]]
    {
        let done = asks(action);
        assert!(done.status.success(), "{action:?}: {done:?}");
        // A name that was typed is a guest's there, too; and elsewhere nobody is the operator.
        for mut guest in [vang(), server.client(&[])] {
            let elsewhere = guest.get_envs().any(|(key, value)| key == "VANG_SERVER" && value.is_some());
            guest.args(action).env("USER", "stranger");
            if !elsewhere {
                guest.args(["--data", folder, "--as", "guest"]);
            }
            let said = fails(guest, 1);
            assert!(said.starts_with("vang: guests cannot do this; "), "{action:?}: {said}");
        }
    }
    let rooms = server.ok(&["rooms", "--as", "bob"]);
    assert!(rooms.contains("general  public, no messages  what is new\n"), "{rooms}");
    assert!(rooms.contains("hall  public, member, "), "{rooms}");
    // Nobody could reach a private room without a member.
    assert_eq!(asks(&["create", "den", "--private"]).status.code(), Some(1));
}

#[test]
fn a_request_in_content_is_answered_for_the_tutorials_client() {
    let (_dir, server) = serve(&[]);
    let one = |json: &str| ask(&server.addr, &guide(json));
    let result = |json: &str| {
        let (header, content) = read_message(&mut one(json).as_slice()).unwrap();
        (header["status"].clone(), String::from_utf8(content).unwrap())
    };
    let (status, content) =
        result(r#"{"action": "send", "room": "general", "text": "hi", "as": "ada", "id": "1"}"#);
    assert_eq!((status, content.as_str()), ("ok".into(), "{\"result\": \"general#1\"}"));
    assert_eq!(
        result(r#"{"action": "send", "room": "general", "text": "hi", "as": "ada", "id": "1"}"#).1,
        content
    );
    assert_eq!(result(r#"{"action": "ping"}"#).1, "{\"result\": \"pong\"}");
    let (status, content) = result(r#"{"action": "send", "room": "nowhere", "text": "hi"}"#);
    assert_eq!(
        (status, content.as_str()),
        ("error".into(), "{\"result\": \"Error: there is no room 'nowhere'\"}")
    );
    assert!(result(r#"{"action": "send", "room": "general"}"#).1.contains("Error: missing argument 'text'"));
    assert!(
        result(r#"{"action": "follow", "room": "general"}"#).1.contains("put its arguments into the header")
    );
    assert_eq!(one(r#"{"action": "shout"}"#), answer("Error: invalid action 'shout'."));
    assert_eq!(said(&server, "general", "x"), ["general#1 guest:ada: hi"]);
}

#[test]
fn resuming_by_seq_gives_each_missed_message_once() {
    let (_dir, server) = serve(&[]);
    let follow = |keys: &[(&str, &str)]| {
        let mut stream = server.connect();
        let reply =
            exchange(&mut stream, &request("follow", &[&[("room", "\"general\"")], keys].concat(), "")).0;
        (stream, reply)
    };
    let send = |text: &str| server.ok(&["send", "general", text, "--as", "ada"]);
    let (mut stream, reply) = follow(&[]);
    let (journal, epoch) = (reply["journal"].to_string(), reply["epoch"].to_string());
    send("one");
    send("two");
    let (event, _) = read_message(&mut stream).unwrap();
    assert_eq!(event["n"], 1);
    drop(stream);
    send("three");
    let seq = event["seq"].to_string();
    let (mut stream, reply) = follow(&[("journal", &journal), ("epoch", &epoch), ("seq", &seq)]);
    assert_eq!((&reply["status"], &reply["seq"]), (&"ok".into(), &event["seq"]));
    for (n, text) in [(2, "two"), (3, "three")] {
        let (event, content) = read_message(&mut stream).unwrap();
        assert_eq!((&event["n"], content.as_slice()), (&n.into(), text.as_bytes()));
    }
    send("four");
    assert_eq!(read_message(&mut stream).unwrap().1, b"four");
    let (_, reply) = follow(&[("journal", "\"0000\""), ("seq", "1")]);
    assert_eq!((&reply["code"], &reply["journal"].to_string()), (&"journal-changed".into(), &journal));
    let (_, reply) = follow(&[("journal", &journal), ("seq", "99999")]);
    assert_eq!(reply["code"], "seq-ahead");
    let (mut stream, _) = follow(&[]);
    let (reply, _) =
        exchange(&mut stream, &request("follow", &[("room", "\"general\""), ("since", "0")], ""));
    assert_eq!(reply["code"], "already-following");
}

#[test]
fn pipelined_replies_come_in_order_and_before_their_events() {
    let (_dir, server) = serve(&[]);
    let mut stream = server.connect();
    let mut bytes = request("follow", &[("room", "\"general\""), ("re", "\"first\"")], "");
    for i in 0..200 {
        let re = i.to_string();
        bytes.extend(request("send", &[("room", "\"general\""), ("re", &re)], &format!("text {i}")));
        if i % 50 == 0 {
            bytes.extend(request("send", &[("room", "\"nowhere\""), ("re", &re)], "no"));
        }
    }
    bytes.extend(request("rooms", &[("re", "{\"last\": [1]}")], ""));
    stream.write_all(&bytes).unwrap();
    let (mut replies, mut events, mut answered) = (Vec::new(), Vec::new(), 0);
    while events.len() < 200 || replies.len() < 206 {
        let (header, content) = read_message(&mut stream).unwrap();
        if header["event"] == "message" {
            let n = header["n"].as_u64().unwrap();
            assert!(n <= answered, "event {n} before the reply to its sender");
            events.push((n, String::from_utf8(content).unwrap()));
        } else {
            if let Some(n) = header["n"].as_u64() {
                answered = n;
            }
            replies.push(header["re"].clone());
        }
    }
    let mut expected = vec![Value::from("first")];
    expected.extend((0..200).flat_map(|i| vec![Value::from(i); if i % 50 == 0 { 2 } else { 1 }]));
    expected.push(serde_json::json!({"last": [1]}));
    assert_eq!(replies, expected);
    let sent: Vec<_> = (0..200).map(|i| (i + 1, format!("text {i}"))).collect();
    assert_eq!(events, sent);
    // Without `re` the reply has the `id`.
    let mut other = server.connect();
    let with_id = request("send", &[("room", "\"general\""), ("id", "\"6f1c\"")], "x");
    assert_eq!(exchange(&mut other, &with_id).0["re"], "6f1c");
    assert_eq!(exchange(&mut other, &request("ping", &[], "")).0.get("re"), None);
    // Nothing is lost when the pipeline ends with the sender's half.
    let (mut stream, ping) = (server.connect(), request("ping", &[], ""));
    stream.write_all(&ping.repeat(500)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let all = rest(&mut stream);
    let mut all = all.as_slice();
    for _ in 0..500 {
        assert_eq!(result_of(&read_message(&mut all).unwrap().1), "pong");
    }
    assert!(all.is_empty());
}

#[test]
fn check_passes_while_the_server_runs_and_after() {
    let (dir, server) = with_cellar();
    let data = dir.path().join("data");
    server.ok(&["send", "general", "hi"]);
    let running = ok(admin(&data, &["check"]));
    assert!(
        running.starts_with("ok: journal ") && running.contains(" entries (0 erased), chain "),
        "{running}"
    );
    assert!(server.stop().success());
    assert!(ok(admin(&data, &["check"])).starts_with("ok: journal "));
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("check")), "{left:?}");
    let nothing = fails(admin(&dir.path().join("nothing"), &["check"]), 1);
    let said = format!(
        "vang: there is no journal in {}: no server has used this folder\n  ",
        dir.path().join("nothing").display()
    );
    assert!(nothing.starts_with(&said), "{nothing}");
}

#[test]
fn check_names_the_entry_of_a_flipped_byte() {
    let (dir, server) = serve(&[]);
    let data = dir.path().join("data");
    let mut stream = server.connect();
    let mut seq = 0;
    for i in 0..20 {
        let text = format!("known words number {i:03}");
        let (reply, _) = exchange(&mut stream, &request("send", &[("room", "\"general\"")], &text));
        if i == 7 {
            seq = reply["seq"].as_u64().unwrap();
        }
    }
    drop(stream);
    assert!(server.stop().success());
    let path = data.join("journal.db");
    let whole = std::fs::read(&path).unwrap();
    let words = b"known words number 007";
    let places: Vec<_> =
        (0..whole.len() - words.len()).filter(|&at| whole[at..].starts_with(words)).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    let mut flipped = whole.clone();
    flipped[places[0] + 3] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let mut check = admin(&data, &["check"]);
    let output = check.output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(found, format!("entry {seq}: the payload does not match its digest\n"));
    let said = stderr(&output);
    assert!(said.starts_with(&format!("vang: the journal in {} is damaged\n  ", data.display())), "{said}");
    assert!(said.contains("restore the newest backup"), "{said}");
    assert!(!found.contains("known words") && !said.contains("known words"));
    std::fs::write(&path, &whole).unwrap();
    assert!(ok(admin(&data, &["check"])).starts_with("ok: "));
}

#[test]
fn the_view_is_rebuilt_from_the_journal_after_any_damage() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    for i in 0..5 {
        server.ok(&["send", "general", &format!("number {i}"), "--as", "ada"]);
    }
    let before = history(&server, "general", "x");
    assert!(server.stop().success());
    let view_file = data.join("view.db");
    let good = std::fs::read(&view_file).unwrap();
    let half = good[..good.len() / 2].to_vec();
    let garbage = vec![0xa5; good.len()];
    for (what, bytes) in
        [("gone", None), ("garbage", Some(&garbage)), ("half", Some(&half)), ("empty", Some(&Vec::new()))]
    {
        let damage = || match bytes {
            None => std::fs::remove_file(&view_file).unwrap(),
            Some(bytes) => std::fs::write(&view_file, bytes).unwrap(),
        };
        damage();
        let rebuilt = ok(admin(&data, &["check", "--rebuild"]));
        assert!(rebuilt.starts_with("ok: "), "{what}: {rebuilt}");
        assert!(ok(admin(&data, &["check"])).starts_with("ok: "), "{what}");
        let server = Server::start(&data);
        assert_eq!(history(&server, "general", "x"), before, "{what}");
        assert!(server.stop().success());
        // A server does the same by itself.
        damage();
        let server = Server::start(&data);
        assert_eq!(history(&server, "general", "x"), before, "{what}, without a rebuild");
        assert!(server.stop().success());
    }
}

#[test]
fn the_json_log_has_one_object_per_line_and_no_message_text() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut command = vang();
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"]).arg(&data);
    command.env("VANG_LOG", "trace");
    let server = Server::spawn(command, &data);
    server.ok(&["send", "general", SECRET, "--as", SECRET, "--id", SECRET]);
    let mut stream = server.connect();
    exchange(
        &mut stream,
        &request("send", &[("room", "\"general\""), ("as", &format!("\"{SECRET}\""))], SECRET),
    );
    drop(stream);
    for json in [
        format!("[\"{SECRET}\"]"),
        format!("{{\"action\": \"search\", \"value\": \"{SECRET}\"}}"),
        SECRET.to_owned(),
    ] {
        ask(&server.addr, &guide(&json));
    }
    ask(&server.addr, format!("NICK {SECRET}\r\n").as_bytes());
    ask(&server.addr, format!("GET /{SECRET} HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n").as_bytes());
    comes_true("refusals are in the log", || server.log().matches("session closed").count() >= 3);
    let mut server = server;
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log();
    assert!(log.lines().count() >= 4, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not an object: {line}"));
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string() && entry["message"].is_string(),
            "{line}"
        );
    }
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn check_reports_a_missing_or_foreign_view() {
    let dir = folder();
    let data = dir.path().join("data");
    let other = dir.path().join("other");
    for (data, messages) in [(&data, 2), (&other, 3)] {
        let server = Server::start(data);
        for _ in 0..messages {
            server.ok(&["send", "general", "hi", "--as", "ada"]);
        }
        assert!(server.stop().success());
    }
    let view_file = data.join("view.db");
    let good = std::fs::read(&view_file).unwrap();
    std::fs::remove_file(&view_file).unwrap();
    let mut check = admin(&data, &["check"]);
    let output = check.output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"ok: "), "{output:?}");
    assert!(stderr(&output).contains("the server makes it when it starts"), "{output:?}");
    assert!(!view_file.exists(), "a check writes nothing");
    std::fs::write(&view_file, &good).unwrap();
    assert!(ok(admin(&data, &["check"])).starts_with("ok: "));
    std::fs::copy(other.join("view.db"), &view_file).unwrap();
    let output = admin(&data, &["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the view of another journal is refused: {output:?}");
    assert!(stderr(&output).contains("--rebuild"), "{output:?}");
    assert!(ok(admin(&data, &["check", "--rebuild"])).starts_with("ok: "));
}

/// The answer of `who`: names, members, connections; and the other keys of its header.
fn people(server: &Server, room: &str, name: &str) -> Result<Vec<(String, bool, u64)>, String> {
    let keys = [("room", format!("{room:?}")), ("as", format!("{name:?}"))];
    let keys = keys.each_ref().map(|(key, value)| (*key, value.as_str()));
    let (header, content) = exchange(&mut server.connect(), &request("who", &keys, ""));
    if header["status"] == "error" {
        return Err(header["code"].as_str().unwrap().to_owned());
    }
    let people = result_of(&content);
    let one = |person: &Value| {
        (
            person["name"].as_str().unwrap().to_owned(),
            person["role"] == "member",
            person["present"].as_u64().unwrap(),
        )
    };
    Ok(people.as_array().unwrap().iter().map(one).collect())
}

#[test]
fn who_answers_only_people_who_can_see_the_room() {
    let (_dir, server) = with_cellar();
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    let follow = |room: &str, name: &str| {
        let mut stream = server.connect();
        let (room, name) = (format!("{room:?}"), format!("{name:?}"));
        let (header, _) = exchange(&mut stream, &request("follow", &[("room", &room), ("as", &name)], ""));
        assert_eq!(header["status"], "ok", "{header}");
        stream
    };
    let person = |name: &str, member, present| (name.to_owned(), member, present);
    let following = [
        follow("general", "ada"),
        follow("general", "ada"),
        follow("general", "eve"),
        follow("cellar", "ada"),
    ];
    let in_general = vec![person("ada", false, 2), person("guest:eve", false, 1)];
    assert_eq!(people(&server, "general", "anybody"), Ok(in_general));
    let in_cellar = vec![person("ada", true, 1), person("bob", true, 0)];
    assert_eq!(people(&server, "cellar", "bob"), Ok(in_cellar.clone()));
    for stranger in ["eve", "ADA2", "cellar"] {
        assert_eq!(people(&server, "cellar", stranger), Err("no-room".to_owned()), "{stranger}");
    }
    assert_eq!(people(&server, "no such room", "ada"), Err("bad-name".to_owned()));
    // A former member knows that the room exists, but not who is in it. Others do not see
    // bob either, although he still follows the room.
    let left = follow("cellar", "bob");
    server.ok(&["leave", "cellar", "--as", "bob"]);
    assert_eq!(people(&server, "cellar", "bob"), Err("not-member".to_owned()));
    assert_eq!(people(&server, "cellar", "ada"), Ok(vec![person("ada", true, 1)]));
    drop((following, left));
    // A closed connection is gone as soon as the server has seen it.
    comes_true("nobody is there any more", || people(&server, "general", "x") == Ok(vec![]));
}
