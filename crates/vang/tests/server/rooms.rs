//! More rooms than one answer has.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;

use serde_json::Value;

use crate::common::{ask, serve};
use crate::harness::{PATIENCE, read_message, request};

/// With `general` one more than a page.
const HALLS: usize = 1_000;

#[test]
fn every_client_lists_all_rooms_however_many_there_are() {
    let (dir, server) = serve(&[]);
    let mut own = UnixStream::connect(dir.path().join("data/admin.sock")).unwrap();
    own.set_read_timeout(Some(PATIENCE)).unwrap();
    let names: Vec<String> = (0..HALLS).map(|number| format!("hall-{number}")).collect();
    thread::scope(|scope| {
        let mut writing = own.try_clone().unwrap();
        let names = &names;
        scope.spawn(move || {
            let create = |name: &String| request("create", &[("room", &format!("{name:?}"))], "");
            let asked: Vec<u8> = names.iter().flat_map(create).collect();
            writing.write_all(&asked).unwrap();
        });
        for name in names {
            let reply = read_message(&mut own).unwrap().0;
            assert_eq!(reply["room"].as_str(), Some(name.as_str()), "{reply}");
        }
    });
    let all: Vec<&str> = ["general"].into_iter().chain(names.iter().map(String::as_str)).collect();

    let listed = server.ok(&["rooms", "--as", "eve"]);
    let listed: Vec<&str> =
        listed.lines().filter_map(|line| line.split_once("  ")).map(|line| line.0).collect();
    assert_eq!(listed, all);

    let typed = String::from_utf8(ask(&server.addr, b"eve\n/rooms\n/topic\n/quit\n")).unwrap();
    let typed_rooms: Vec<&str> = typed
        .lines()
        .filter_map(|line| line.strip_prefix("-- #")?.split_once(" ("))
        .map(|line| line.0)
        .collect();
    assert_eq!(typed_rooms, all, "{typed}");
    assert!(typed.contains("-- #general has no topic"), "{typed}");

    let page = |query: &str| -> (Vec<String>, Option<u64>) {
        let get =
            format!("GET /rooms?as=eve{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(ask(&server.addr, get.as_bytes())).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let rows = body["result"].as_array().unwrap();
        (rows.iter().map(|row| row["room"].as_str().unwrap().to_owned()).collect(), body["next"].as_u64())
    };
    let (first, next) = page("");
    assert_eq!(first, all[..1_000]);
    assert_eq!(page(&format!("&after={}", next.unwrap())), (vec!["hall-999".to_owned()], None));
    let (few, next) = page("&limit=2");
    assert_eq!(few, all[..2]);
    assert_eq!(page(&format!("&limit=2&after={}", next.unwrap())).0, all[2..4]);
    let wrong =
        ask(&server.addr, b"GET /rooms?limit=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8(wrong).unwrap().ends_with("'limit' must be an integer from 1\n"));
}
