//! The tables of actions, replies, codes and events are those of `docs/PROTOCOL.md`, sections 3 to 5.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::BytesMut;
use vang_proto::vang::{
    ACTIONS, Audience, CONNECTION_EVENTS, Code, ConnectionEvent, Content, ErrorReply, Event, Forms, Incoming,
    KeyInfo, Need, Page, REPLIES, ROOM_EVENTS, Rate, Repeats, ReplyKeys, RoomEvent, Sent, Speaker, incoming,
    write_error, write_ok, write_sent,
};
use vang_proto::{Decoder, Frame};

/// Keys that the table names beside an argument's own: other spellings of it.
const SPELLINGS: &[(&str, &[&str])] =
    &[("rooms", &["room", "rooms"]), ("since", &["since", "journal", "epoch", "seq"])];

/// Cells of section 3, behind the action's name.
const ABOUT: usize = 1;
const ARGUMENTS: usize = 2;
const REPEAT: usize = 3;
const RATE: usize = 4;
const SCOPE: usize = 5;
/// The keys of the reply.
const REPLY: usize = 6;

fn specification() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

/// The rows of a section's table, each with its cells.
fn rows(section: &str) -> Vec<Vec<String>> {
    let text = specification();
    let section = text.split("\n## ").find(|one| one.starts_with(section)).unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The words between backticks, each with what stands behind it up to the next.
fn words(cell: &str) -> Vec<(String, bool)> {
    let parts: Vec<&str> = cell.split('`').collect();
    parts
        .chunks(2)
        .filter(|pair| pair.len() == 2)
        .enumerate()
        .map(|(index, pair)| {
            let behind = parts.get(2 * index + 2).copied().unwrap_or_default();
            (pair[1].to_owned(), behind.starts_with('?'))
        })
        .collect()
}

#[test]
fn the_specification_lists_these_actions_and_what_each_does() {
    let rows = rows("3. Requests");
    let documented: Vec<(&str, &str)> =
        rows.iter().map(|row| (row[0].trim_matches('`'), row[ABOUT].as_str())).collect();
    let known: Vec<(&str, &str)> = ACTIONS.iter().map(|info| (info.name, info.about)).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_specification_has_each_form_that_can_be_typed() {
    let text = specification();
    let section = text.split("\n## ").find(|one| one.starts_with("8. ")).unwrap();
    for form in ACTIONS.iter().filter_map(|info| info.typed) {
        assert!(section.contains(&format!("`{form}`")), "{form}");
    }
}

#[test]
fn the_specification_has_the_arguments_of_each_action() {
    for (row, info) in rows("3. Requests").iter().zip(ACTIONS) {
        // Values of `access` stand in parentheses; `as` and `re` go with every request.
        let cell = row[ARGUMENTS].split('(').next().unwrap();
        let documented: BTreeSet<(String, bool)> =
            words(cell).into_iter().filter(|(word, _)| word != "as").collect();
        let is_follow = info.name == "follow";
        let mut known = BTreeSet::new();
        for argument in info.arguments.iter().filter(|argument| argument.need != Need::Content) {
            let spellings = SPELLINGS.iter().find(|(key, _)| is_follow && *key == argument.key);
            let keys = spellings.map_or(std::slice::from_ref(&argument.key), |(_, keys)| keys);
            known.extend(keys.iter().map(|key| ((*key).to_owned(), argument.need == Need::Optional)));
        }
        let keys =
            |set: &BTreeSet<(String, bool)>| set.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>();
        assert_eq!(keys(&documented), keys(&known), "{}", info.name);
        if !is_follow {
            assert_eq!(documented, known, "{}: a key with ? is optional", info.name);
        }
        let takes_content = info.arguments.iter().any(|argument| argument.need == Need::Content);
        assert_eq!(cell.contains("content"), takes_content, "{}", info.name);
    }
}

#[test]
fn the_specification_says_who_can_ask_and_in_which_form() {
    let text = specification();
    for (row, info) in rows("3. Requests").iter().zip(ACTIONS) {
        let is_operators = row[REPLY].contains("Only over the data folder's own socket");
        assert_eq!(is_operators, info.audience == Audience::OperatorSocket, "{}", info.name);
    }
    let header_only: Vec<&str> =
        ACTIONS.iter().filter(|info| info.forms == Forms::Header).map(|info| info.name).collect();
    let sentence =
        format!("`{}` answer with more than one value and need the header form", header_only.join("` and `"));
    assert!(text.contains(&sentence), "{sentence}");
}

#[test]
fn the_specification_says_what_can_be_repeated_and_which_rate_counts_it() {
    for (row, info) in rows("3. Requests").iter().zip(ACTIONS) {
        let repeat = match info.repeats {
            Repeats::Always => "yes",
            Repeats::WithId => "with `id`",
            Repeats::Never => "no",
        };
        let (rate, limit) = match info.rate {
            Rate::None => ("", None),
            Rate::Messages => ("messages", None),
            Rate::Questions => ("questions", Some("questions-per-second")),
            Rate::Joins => ("joins", Some("joins-per-second")),
            Rate::Rooms => ("rooms", Some("rooms-per-day")),
        };
        assert_eq!((row[REPEAT].as_str(), row[RATE].as_str()), (repeat, rate), "{}", info.name);
        assert_eq!(row[SCOPE], info.grant.as_str(), "{}", info.name);
        // The row of the limit names the actions that it counts; that of `messages-per-second` names what it counts.
        let Some(limit) = limit else { continue };
        let row = rows("7. Closing").into_iter().find(|row| row[0].trim_matches('`') == limit).unwrap();
        assert!(row[2].contains(&format!("`{}`", info.name)), "{limit} counts {}", info.name);
    }
}

fn listed(keys: &[KeyInfo]) -> Vec<(String, bool)> {
    keys.iter().map(|info| (info.key.to_owned(), info.is_optional)).collect()
}

#[test]
fn the_specification_has_the_keys_of_each_reply() {
    for row in rows("3. Requests") {
        let action = row[0].trim_matches('`').to_owned();
        let reply = REPLIES.iter().find(|reply| reply.actions.contains(&&*action)).unwrap();
        // Up to the result; `left-out` of a list stands behind it.
        let reply_cell = &row[REPLY];
        let (keys, result) = reply_cell.split_once("result").or(reply_cell.split_once("content")).unwrap();
        let mut documented: Vec<String> = words(keys).into_iter().map(|(word, _)| word).collect();
        documented.extend(words(result).into_iter().map(|(word, _)| word).filter(|word| word == "left-out"));
        let known: Vec<&str> = reply.keys.iter().map(|info| info.key).collect();
        let as_sets: [BTreeSet<&str>; 2] =
            [documented.iter().map(String::as_str).collect(), known.iter().copied().collect()];
        assert_eq!(as_sets[0], as_sets[1], "{action}");
    }
    let answered: Vec<&str> = REPLIES.iter().flat_map(|reply| reply.actions).copied().collect();
    let mut answered_once = answered.clone();
    answered_once.sort_unstable();
    answered_once.dedup();
    assert_eq!(answered.len(), answered_once.len(), "one reply for each action");
    assert_eq!(answered.len(), ACTIONS.len());
}

#[test]
fn the_specification_has_each_code_and_its_keys() {
    let mut documented = Vec::new();
    for row in rows("4. Replies") {
        // `already-member`, `not-member` share a row.
        for (code, _) in words(&row[0]) {
            let keys: BTreeSet<String> = words(&row[2]).into_iter().map(|(key, _)| key).collect();
            // The parts of a message stand in parentheses.
            let keys = keys.into_iter().filter(|key| !["protocol", "header", "content"].contains(&&**key));
            documented.push((code, keys.collect::<BTreeSet<String>>()));
        }
    }
    let known = Code::ALL.iter().map(|code| {
        (code.to_string(), code.keys().iter().map(|key| (*key).to_owned()).collect::<BTreeSet<String>>())
    });
    assert_eq!(documented, known.collect::<Vec<_>>());
}

#[test]
fn the_specification_has_each_event_and_its_keys() {
    let mut documented = Vec::new();
    for row in rows("5. Events") {
        // Reasons of a hole stand in parentheses.
        let keys: Vec<String> =
            words(row[1].split('(').next().unwrap()).into_iter().map(|(key, _)| key).collect();
        documented.extend(words(&row[0]).into_iter().map(|(name, _)| (name, keys.clone(), row[2].clone())));
    }
    let in_room = ROOM_EVENTS.iter().map(|info| (info, vec!["seq".to_owned(), "room".to_owned()]));
    let alone = CONNECTION_EVENTS.iter().map(|info| (info, Vec::new()));
    let known: Vec<_> = in_room.chain(alone).collect();
    assert_eq!(documented.len(), known.len());
    for (name, keys, content) in &documented {
        let (info, mut expected) = known.iter().find(|(info, _)| info.name == name).cloned().unwrap();
        expected.extend(listed(info.keys).into_iter().map(|(key, _)| key));
        assert_eq!(*keys, expected, "{name}");
        assert_eq!(!content.starts_with("none"), info.has_content, "{name}");
    }
}

fn frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let frame = decoder.poll_frame().unwrap().unwrap();
    assert_eq!(decoder.buffered(), 0);
    frame
}

#[test]
fn every_event_is_read_as_it_was_written() {
    let time = || "2026-05-01T14:03:59.123Z".to_owned();
    let from =
        [Speaker::Account("Ada".to_owned()), Speaker::Guest("\u{1f98a}\"\\".to_owned()), Speaker::Operator];
    let mut written = vec![
        Event::Connection(ConnectionEvent::Epoch { epoch: "1.2".to_owned() }),
        Event::Connection(ConnectionEvent::Closing { why: "stopping".to_owned() }),
        Event::Unknown { name: "newer".to_owned(), seq: Some(u64::MAX), room: Some("a".to_owned()) },
        Event::Unknown { name: "newer".to_owned(), seq: None, room: None },
    ];
    for from in from {
        let room_events = [
            RoomEvent::Message { n: 12, from: from.clone(), time: time() },
            RoomEvent::Joined { from: from.clone(), time: time() },
            RoomEvent::Left { from: from.clone(), time: time() },
            RoomEvent::Created { from: from.clone(), time: time() },
            RoomEvent::Topic { from, time: time(), topic: "what \u{1f98a} grows".to_owned() },
            RoomEvent::Hole { from: 1, to: u64::MAX, why: "erased".to_owned() },
        ];
        assert_eq!(room_events.len(), ROOM_EVENTS.len());
        written.extend(room_events.map(|what| Event::Room { seq: 31, room: "general".to_owned(), what }));
    }
    for event in written {
        let mut out = BytesMut::new();
        event.write(&mut out, Content { bytes: b"hi", ..Content::NONE });
        let Ok(Incoming::Event(read)) = incoming(frame(&out)) else { panic!("{event:?}") };
        assert_eq!(read.event, event);
        assert_eq!(read.text().as_deref(), Some("hi"));
    }
}

#[test]
fn an_event_that_lacks_a_key_is_an_unknown_one() {
    let mut out = BytesMut::new();
    let mut composer = vang_proto::Composer::new(&mut out, "text/plain", "utf-8", 0);
    composer.text("event", "message").number("seq", 31).text("room", "general").text("from", "ada");
    composer.finish(&[]);
    let Ok(Incoming::Event(read)) = incoming(frame(&out)) else { panic!("an event") };
    let (name, room) = ("message".to_owned(), Some("general".to_owned()));
    assert_eq!(read.event, Event::Unknown { name, seq: Some(31), room });
}

#[test]
fn the_short_way_to_write_what_is_written_most_gives_the_same_bytes() {
    for (re, room, n) in [(None, "general", 0), (Some("7"), "\"\u{e9}\n", u64::MAX)] {
        let sent = Sent { room: room.to_owned(), n, seq: 9, address: format!("{room}#{n}") };
        assert_eq!(write_sent(re, room, n, 9), write_ok(re, &sent, &sent.address));
    }
}

#[test]
fn a_reply_that_lacks_a_key_is_not_read() {
    let reply = |bytes: &[u8]| match incoming(frame(bytes)).unwrap() {
        Incoming::Reply(reply) => reply,
        Incoming::Event(event) => panic!("{event:?}"),
    };
    let sent = reply(&write_sent(None, "general", 4, 9));
    assert_eq!(sent.keys::<Sent>().map(|sent| sent.address), Some("general#4".to_owned()));
    assert_eq!(Page::read(&sent.header), None);
    let refused = ErrorReply::new(Code::SeqAhead, "ahead").with("seq", 7).with("epoch", "e");
    let keys = reply(&write_error(None, &refused)).error_keys();
    assert_eq!((keys.seq, keys.epoch.as_deref(), keys.retry_after), (Some(7), Some("e"), None));
}

#[test]
fn the_page_repeats_a_request_after_the_same_codes() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/outbox.js")).unwrap();
    let list = page.split("const RETRYABLE = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let listed: BTreeSet<&str> = list.split(',').map(|word| word.trim().trim_matches('"')).collect();
    let retryable = Code::ALL.iter().map(|code| code.as_str()).filter(|word| Code::is_retryable(word));
    assert_eq!(listed, retryable.collect());
}
