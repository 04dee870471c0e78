//! `vectors/*.txt`: the same bytes that other implementations read, at every split.

mod common;

use common::{bytes, cuts, decode, finish, requests, take_output, vectors};
use vang_proto::frame::Part;
use vang_proto::vang::{ServerLimits, ServerSession};
use vang_proto::{Frame, Millis};

const FRAMES: &str = include_str!("../vectors/frames.txt");
const GUIDE: &str = include_str!("../vectors/guide.txt");
const SESSION: &str = include_str!("../vectors/session.txt");
const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");
const NOW: Millis = Millis(0);

#[test]
fn every_frame_is_what_its_vector_says_at_every_split() {
    let cases = vectors::<3>(FRAMES);
    assert!(cases.len() > 90);
    for [name, hex, expected] in cases {
        let bytes = bytes(hex);
        let whole = decode([&bytes[..]]);
        check(name, expected, &whole);
        for cut in cuts(bytes.len()) {
            assert_eq!(decode([&bytes[..cut], &bytes[cut..]]), whole, "{name} cut at {cut}");
        }
        assert_eq!(decode(bytes.chunks(1)), whole, "{name} byte by byte");
    }
}

fn check(name: &str, expected: &str, (frames, end): &common::Outcome) {
    let mut frames = frames.iter();
    let mut awaited = Part::Nothing;
    for part in expected.split(" | ") {
        let (kind, text) = part.split_once(": ").expect("a kind and a text");
        match kind {
            "frame" => holds(name, frames.next().unwrap_or_else(|| panic!("{name}: no frame")), text),
            "malformed" => {
                let found = end.as_ref().map_err(ToString::to_string);
                assert_eq!(found, Err(text.to_owned()), "{name}");
                assert_eq!(frames.next(), None, "{name}");
                return;
            }
            "incomplete" => {
                awaited = match text {
                    "nothing" => Part::Nothing,
                    "header" => Part::Header,
                    "content" => Part::Content,
                    other => panic!("{name}: {other}"),
                }
            }
            other => panic!("{name}: {other}"),
        }
    }
    assert_eq!(*end, Ok(awaited), "{name}");
    assert_eq!(frames.next(), None, "{name}");
}

/// `key=JSON` for each; strings are equal when their texts are.
fn holds(name: &str, frame: &Frame, keys: &str) {
    for pair in keys.split(' ') {
        let (key, value) = pair.split_once('=').expect("key=value");
        let raw = frame.header.raw(key).unwrap_or_else(|| panic!("{name}: no key {key}"));
        match serde_json::from_str::<String>(value) {
            Ok(text) => assert_eq!(frame.header.text(key).as_deref(), Some(&*text), "{name}: {key}"),
            Err(_) => assert_eq!(raw, value, "{name}: {key}"),
        }
    }
    assert_eq!(frame.content.len() as u64, frame.header.content_length(), "{name}");
}

#[test]
fn several_frames_in_one_feed_are_separated() {
    let cases = vectors::<3>(GUIDE);
    let stream: Vec<u8> = cases.iter().flat_map(|[_, request, _]| bytes(request)).collect();
    let (frames, end) = decode([&stream[..]]);
    assert_eq!(end, Ok(Part::Nothing));
    assert_eq!(frames.len(), cases.len());
    for (frame, [name, request, _]) in frames.iter().zip(cases) {
        assert!(bytes(request).ends_with(&frame.content), "{name}");
    }
    for size in [1, 2, 3, 255, 256, 4_096, 65_536, 65_539] {
        assert_eq!(decode(stream.chunks(size)).0, frames, "pieces of {size}");
    }
}

/// What a new session answers by itself, given these pieces; and whether it takes more.
fn answered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, &'static str) {
    let mut session = ServerSession::new(NOW, ServerLimits::default());
    let mut out = Vec::new();
    for piece in pieces {
        session.handle_bytes(NOW, piece);
        assert_eq!(requests(&mut session, NOW), [], "only a hub could answer");
        out.extend(take_output(&mut session, NOW));
    }
    let then = if session.wants_input() { "open" } else { "ends" };
    if then == "ends" {
        session.handle_end(NOW);
        assert_eq!(finish(&mut session, NOW), b"");
    }
    (out, then)
}

#[test]
fn a_session_answers_the_guides_requests_byte_for_byte() {
    let cases = vectors::<3>(GUIDE);
    assert!(cases.len() > 70);
    for [name, request, response] in cases {
        exchange(name, &bytes(request), &bytes(response), "ends");
    }
}

#[test]
fn a_session_answers_by_itself_what_its_vectors_say() {
    let cases = vectors::<4>(SESSION);
    assert!(cases.len() > 80);
    for [name, sent, answer, then] in cases {
        exchange(name, &bytes(sent), &bytes(answer), then);
    }
}

fn exchange(name: &str, sent: &[u8], answer: &[u8], then: &str) {
    let same = |found: (Vec<u8>, &str), how: &str| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((text(&found.0), found.1), (text(answer), then), "{name}, {how}");
        assert_eq!(found.0, answer, "{name}, {how}");
    };
    same(answered([sent]), "whole");
    for cut in cuts(sent.len()) {
        same(answered([&sent[..cut], &sent[cut..]]), &format!("cut at {cut}"));
    }
    same(answered(sent.chunks(1)), "byte by byte");
}

#[test]
fn the_bytes_in_the_specification_are_those_of_the_vectors() {
    let from = PROTOCOL.find("    | header length: u16").expect("section 1 has its picture");
    let mut lines = PROTOCOL[from..].lines().skip(2);
    let (hex, text) = (lines.next().expect("hex"), lines.next().expect("what it means"));
    let [_, request, _] =
        vectors::<3>(GUIDE).into_iter().find(|[name, ..]| *name == "search-morpheus").expect("its vector");
    let request = bytes(request);

    let (prefix, rest) = hex.trim().split_once("  ").expect("the length, then the header");
    let (header, content) = rest.split_once("   ").expect("the header, then the content");
    let header_len = usize::from(u16::from_be_bytes([request[0], request[1]]));
    assert_eq!(bytes(prefix), request[..2]);
    for (shown, whole) in [(header, &request[2..2 + header_len]), (content, &request[2 + header_len..])] {
        let (beginning, end) = shown.split_once('…').expect("shortened");
        assert!(whole.starts_with(&bytes(beginning.trim())), "{beginning}");
        assert!(whole.ends_with(&bytes(end.trim())), "{end}");
    }
    let content = String::from_utf8(request[2 + header_len..].to_vec()).expect("UTF-8");
    assert!(text.trim().starts_with(&format!("({header_len}) {{\"byteorder\": ")), "{text}");
    assert!(text.ends_with(&content), "{text}");
}
