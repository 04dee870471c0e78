//! `vang find` and its action, end to end: queries find the right messages, and only messages that the reader
//! can see.

use std::io::{Read, Write};
use std::process::Command;

use crate::harness::{Server, exchange, folder, guide, read_message, request, result_of, succeeded, vang};

fn serve() -> (tempfile::TempDir, Server) {
    let dir = folder();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

fn found(server: &Server, query: &str) -> Vec<String> {
    let output = server.run(&["find", query, "--json", "--as", "x"]);
    let code = output.status.code().unwrap();
    let hits: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(address).collect();
    assert_eq!(code, i32::from(hits.is_empty()), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    hits
}

fn address(hit: &str) -> String {
    serde_json::from_str::<serde_json::Value>(hit).unwrap()["address"].as_str().unwrap().to_owned()
}

/// A small corpus, and queries with the numbers of the found messages, newest first.
const CORPUS: [&str; 14] = [
    "Con chó của tôi thích chạy",             // 1
    "Đồng bằng sông Cửu Long",                // 2
    "Wir treffen uns in der Hauptstraße",     // 3
    "Die STRASSENBAHN fährt über die Brücke", // 4
    "我们在东京都吃饭",                       // 5
    "京都は美しい町です",                     // 6
    "東京タワーに行きました",                 // 7
    "ประเทศไทยมีอาหารอร่อย",                    // 8
    "오늘 한국어를 공부했어요",               // 9
    "release notes for v1.2: don't panic",    // 10
    "notes on the release of v1.2",           // 11
    "deployed the deployment 🐰",             // 12
    "cho tôi một ly cà phê",                  // 13
    "第3回会議は明日",                        // 14
];

const QUESTIONS: [(&str, &[u64]); 37] = [
    ("chó", &[13, 1]),
    ("CHO", &[13, 1]),
    ("cho\u{301}", &[13, 1]),
    ("dong", &[2]),
    ("Đồng", &[2]),
    ("song cuu long", &[2]),
    ("hauptstrasse", &[3]),
    ("Hauptstraße", &[3]),
    ("strasse", &[]),
    ("uber bruecke", &[]),
    ("uber brucke", &[4]),
    ("东京", &[5]),
    ("吃饭", &[5]),
    // Inside 东京都 too: nobody can tell words apart there but readers.
    ("京都", &[6, 5]),
    ("京", &[7, 6, 5]),
    ("東京", &[7]),
    ("美しい", &[6]),
    ("ﾀﾜｰ", &[7]),
    ("ไทย", &[8]),
    ("อาหาร", &[8]),
    ("한국", &[9]),
    ("한국어를", &[9]),
    ("국어", &[9]),
    ("release notes", &[11, 10]),
    ("\"release notes\"", &[10]),
    ("notes -release", &[]),
    ("notes -panic", &[11]),
    ("v1.2", &[11, 10]),
    ("don't", &[10]),
    ("deploy*", &[12]),
    ("deploy", &[]),
    ("🐰", &[12]),
    ("第3回", &[14]),
    ("3回", &[14]),
    ("回会 明日", &[14]),
    ("NEAR(release notes)", &[]),
    ("toi from:guest:ada", &[13, 1]),
];

#[test]
fn find_matches_what_people_type() {
    let (_dir, server) = serve();
    for text in CORPUS {
        server.ok(&["send", "general", text, "--as", "ada"]);
    }
    for (query, numbers) in QUESTIONS {
        let expected: Vec<String> = numbers.iter().map(|n| format!("general#{n}")).collect();
        assert_eq!(found(&server, query), expected, "{query}");
    }
    // The same after a restart, and after the index was lost.
    let data = _dir.path().join("data");
    assert!(server.stop().success());
    let server = Server::start(&data);
    assert_eq!(found(&server, "chó"), ["general#13", "general#1"]);
    assert!(server.stop().success());
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("find.db{end}")));
    }
    let server = Server::start(&data);
    assert_eq!(found(&server, "chó"), ["general#13", "general#1"]);
}

#[test]
fn find_shows_neighbours_and_exits_with_1_if_nothing_is_found() {
    let (_dir, server) = serve();
    for text in ["một", "Con chó", "ba"] {
        server.ok(&["send", "general", text, "--as", "ada"]);
    }
    let lines = server.ok(&["find", "cho"]);
    let clock = |line: &str| {
        line.split(' ')
            .filter(|word| !word.contains(':') || word.ends_with("ada:"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<String> = lines.lines().map(clock).collect();
    assert_eq!(
        lines,
        ["  general#1 guest:ada: một", "general#2 guest:ada: Con chó", "  general#3 guest:ada: ba"]
    );
    assert_eq!(server.ok(&["find", "cho", "--no-context"]).lines().count(), 1);
    let output = server.run(&["find", "khong", "co"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "vang: nothing found\n");
    assert_eq!(output.stdout, b"");
    let output = server.run(&["find", "after:soon"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("vang: 'after:soon' is not a date"), "{said}");
    // More than asked for is said, and --limit goes beyond one page.
    let output = server.run(&["find", "from:ada", "--limit", "2"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("there are more; show them with --limit 4"),
        "{output:?}"
    );
}

#[test]
fn find_reads_page_after_page() {
    let (_dir, server) = serve();
    let mut stream = server.connect();
    for n in 1..=230 {
        let bytes = request("send", &[("room", "\"general\""), ("id", &format!("\"{n}\""))], "again");
        exchange(&mut stream, &bytes);
    }
    let hits = server.ok(&["find", "again", "--json", "--limit", "1000"]);
    let expected: Vec<String> = (1..=230).rev().map(|n| format!("general#{n}")).collect();
    assert_eq!(hits.lines().map(address).collect::<Vec<_>>(), expected);
}

#[test]
fn a_client_of_twenty_lines_can_find() {
    let (_dir, server) = serve();
    server.ok(&["send", "general", "xin chào", "--as", "ada"]);
    let bytes = guide(r#"{"action": "find", "query": "chao", "limit": 5}"#);
    let (header, content) = exchange(&mut server.connect(), &bytes);
    assert_eq!((&header["status"], &header["count"], header.get("next")), (&"ok".into(), &1.into(), None));
    let hit = &result_of(&content)[0];
    assert_eq!((&hit["address"], &hit["text"]), (&"general#1".into(), &"xin chào".into()));
    assert_eq!(hit["marks"], serde_json::json!([[4, 8]]));
    let (header, content) = exchange(&mut server.connect(), &guide(r#"{"action": "find"}"#));
    assert_eq!((&header["code"], &header["key"]), (&"bad-request".into(), &"query".into()));
    assert_eq!(result_of(&content), "Error: missing argument 'query'");
}

/// Status line and body.
fn get(server: &Server, path: &str) -> (String, String) {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn http_finds_the_same_by_the_same_rules() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start_trusting(&data);
    add(&data, "ada");
    server.ok(&["create", "lab", "--private", "--as", "ada"]);
    for (room, text) in [("general", "xin chào"), ("lab", "chào, lab"), ("general", "chào lần nữa")] {
        server.ok(&["send", room, text, "--as", "ada"]);
    }
    let addresses = |path: &str| {
        let (status, body) = get(&server, path);
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        let result = result_of(body.as_bytes());
        result.as_array().unwrap().iter().map(|hit| address(&hit.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(addresses("/find?q=chao&as=eve"), ["general#2", "general#1"]);
    assert_eq!(addresses("/find?q=ch%C3%A0o"), ["general#2", "general#1"]);
    assert_eq!(addresses("/find?q=chao&as=ada"), ["general#2", "lab#1", "general#1"]);
    assert_eq!(addresses("/find?q=chao+lan&as=ada"), ["general#2"]);
    assert_eq!(addresses("/find?q=chao&limit=1"), ["general#2"]);
    let (_, body) = get(&server, "/find?q=chao&limit=1");
    let seq = &result_of(body.as_bytes())[0]["seq"];
    let whole: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(&whole["next"], seq, "{body}");
    assert_eq!(addresses(&format!("/find?q=chao&limit=1&before={seq}")), ["general#1"]);
    for (path, status, said) in [
        ("/find", "400", "'q' must be what to look for"),
        ("/find?q=", "400", "there is nothing to search for"),
        ("/find?q=x&limit=many", "400", "'limit' must be an integer from 1"),
        ("/find?q=x&limit=0", "400", "'limit' must be an integer from 1"),
        ("/find?q=x&before=-1", "400", "'before' must be an integer from 0"),
        ("/find?q=x+in:lab&as=eve", "404", "there is no room 'lab'"),
        ("/find?q=x&limit=0", "400", "'limit' must be an integer from 1"),
        ("/find?q=x&as=a+b", "400", "bad-name"),
    ] {
        let (line, body) = get(&server, path);
        assert!(line.contains(status) && body.contains(said), "{path}: {line}\n{body}");
    }
}

#[test]
fn a_sender_finds_its_own_message_at_once() {
    let (_dir, server) = serve();
    let mut stream = server.connect();
    for n in 1..=40 {
        let mut bytes = request("send", &[("room", "\"general\"")], &format!("needle{n}"));
        bytes.extend(request("find", &[("query", &format!("\"needle{}\"", n - 1))], ""));
        exchange(&mut stream, &bytes);
        let (header, _) = read_message(&mut stream).unwrap();
        // Messages acknowledged before the request are in the answer.
        assert_eq!(header["count"], u64::from(n > 1), "needle{}", n - 1);
    }
}

fn add(data: &std::path::Path, name: &str) {
    let args = ["admin", "account", "add", name, "--data", data.to_str().unwrap()];
    let mut command: Command = vang();
    succeeded(&args, command.args(args).output().unwrap());
}

#[test]
fn find_shows_only_visible_messages() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::start_trusting(&data);
    for name in ["ada", "bob"] {
        add(&data, name);
    }
    server.ok(&["create", "lab", "--private", "--as", "ada"]);
    let say = |text: &str| server.ok(&["send", "lab", text, "--as", "ada"]);
    let find = |who: &str, query: &str| {
        let output = server.run(&["find", query, "--json", "--as", who]);
        String::from_utf8(output.stdout).unwrap().lines().map(address).collect::<Vec<_>>().join(" ")
    };
    say("secret one");
    say("secret two");
    server.ok(&["send", "general", "an open secret", "--as", "ada"]);
    assert_eq!(find("ada", "secret"), "general#1 lab#2 lab#1");
    for outsider in ["bob", "eve", "guest-of-ada"] {
        assert_eq!(find(outsider, "secret"), "general#1");
        assert_eq!(find(outsider, "one"), "");
        let output = server.run(&["find", "secret in:lab", "--as", outsider]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("vang: there is no room 'lab'"));
    }
    server.ok(&["join", "lab", "--who", "bob", "--as", "ada"]);
    say("secret three");
    server.ok(&["leave", "lab", "--as", "bob"]);
    say("secret four");
    assert_eq!(find("bob", "secret"), "lab#3 general#1");
    assert_eq!(find("bob", "secret in:lab"), "lab#3");
    // Nor is a neighbour shown that was said in the absence.
    let hit = server.ok(&["find", "three", "--json", "--as", "bob"]);
    let hit: serde_json::Value = serde_json::from_str(&hit).unwrap();
    assert_eq!((hit.get("before"), hit.get("after")), (None, None));
    server.ok(&["join", "lab", "--who", "bob", "--as", "ada"]);
    assert_eq!(find("bob", "secret"), "lab#3 general#1");
    assert_eq!(find("ada", "secret"), "lab#4 lab#3 general#1 lab#2 lab#1");
}

#[test]
fn a_clean_stop_keeps_the_index() {
    let (dir, server) = serve();
    server.ok(&["send", "general", "chó", "--as", "ada"]);
    assert_eq!(found(&server, "cho"), ["general#1"]);
    assert!(server.stop().success());
    let data = dir.path().join("data");
    let before = std::fs::read_to_string(data.with_extension("log")).unwrap();
    let server = Server::start(&data);
    // What the index is made of is looked at before the first answer comes from it.
    assert_eq!(found(&server, "cho"), ["general#1"]);
    let log = server.log();
    let second = log.strip_prefix(&before).unwrap();
    assert!(second.contains("journal open"), "the second start is in the log: {second}");
    assert!(!second.contains("WARN") && !second.contains("anew"), "{second}");
}

#[test]
fn a_find_that_takes_too_long_is_busy_with_advice() {
    let dir = folder();
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", &["--limit", "find-time=0"]);
    server.ok(&["send", "general", "xin chào", "--as", "ada"]);
    let output = server.run(&["find", "chao", "--as", "ada", "--timeout", "60s"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = "vang: looking for it took longer than 0 ms and was stopped; ask for more or longer words, or \
                    add in:ROOM or after:DATE";
    assert!(said.contains(expected), "{said}");
    let (status, body) = get(&server, "/find?q=chao");
    assert!(status.contains("503") && body.contains("took longer"), "{status}\n{body}");
    // History has a queue and threads of its own, and the files are as they were.
    assert!(server.ok(&["tail", "general", "--since", "0", "--no-follow"]).contains("xin chào"));
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_foreign_or_damaged_index_is_rebuilt() {
    let (dir, server) = serve();
    let data = dir.path().join("data");
    server.ok(&["send", "general", "first", "--as", "ada"]);
    assert_eq!(found(&server, "first"), ["general#1"]);
    assert!(server.stop().success());
    // A copy that goes its own way, longer than the original.
    let copy = dir.path().join("copy");
    let copied = Command::new("cp").args(["-r", data.to_str().unwrap(), copy.to_str().unwrap()]).status();
    assert!(copied.unwrap().success());
    let server = Server::start(&copy);
    for n in 0..5 {
        server.ok(&["send", "general", &format!("elsewhere {n}"), "--as", "ada"]);
    }
    assert_eq!(found(&server, "elsewhere").len(), 5);
    assert!(server.stop().success());
    let server = Server::start(&data);
    for n in 0..9 {
        server.ok(&["send", "general", &format!("here {n}"), "--as", "ada"]);
    }
    assert!(server.stop().success());
    std::fs::copy(copy.join("find.db"), data.join("find.db")).unwrap();
    let check = |more: &[&str]| {
        let args = [&["admin", "check", "--data", data.to_str().unwrap()], more].concat();
        let output = vang().args(&args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(check(&[]).contains("the search index does not belong to this journal"));
    let server = Server::start(&data);
    assert_eq!(found(&server, "elsewhere"), [""; 0]);
    assert_eq!(found(&server, "here").len(), 9);
    assert!(server.log().contains("rebuilding the search index"), "{}", server.log());
    assert!(server.stop().success());
    assert_eq!(check(&[]), "");
    assert_eq!(check(&["--rebuild"]), "");
    assert!(!data.join("find.db").exists());
    std::fs::write(data.join("find.db"), b"not a database, but long enough to look at".repeat(200)).unwrap();
    let server = Server::start(&data);
    assert_eq!(found(&server, "first"), ["general#1"]);
}
