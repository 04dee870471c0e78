//! Bytes as no program of ours wrote them.
//!
//! `cargo test` runs the corpus (`__fuzz__/NAME/corpus`) and some thousand inputs more;
//! `VANG_FUZZ_SECONDS=600` goes on for that long, and `cargo bolero test fuzz_session` goes about it
//! with coverage. What it finds becomes a line in `vectors/`.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{decode, take_output};
use vang_proto::encoding::{self, ByteOrder};
use vang_proto::frame::Part;
use vang_proto::limits::{DRAIN_MS, IDLE_MS, JSON_DEPTH_MAX, KIND_BYTES_MAX, STALL_MS};
use vang_proto::typed::TypedLines;
use vang_proto::vang::{
    Code, ConnectionEvent, ErrorReply, Event, NoKeys, ServerLimits, ServerSession, SessionStep, write_error,
    write_ok,
};
use vang_proto::websocket::{WebSocket, WebSocketInput};
use vang_proto::{Decoder, Limits, Millis, kind, python};

/// How many inputs, and for how long at most.
fn effort() -> (usize, Duration) {
    let seconds = std::env::var("VANG_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    match seconds {
        Some(seconds) => (usize::MAX, Duration::from_secs(seconds)),
        None => (20_000, Duration::from_secs(1)),
    }
}

/// The last two bytes say where the others are cut: at multiples of the first, then of the second.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let Some((bytes, [first, second])) = bytes.split_last_chunk::<2>() else { return vec![bytes] };
    let (head, tail) = bytes.split_at(bytes.len().min(usize::from(*first)));
    [head].into_iter().chain(tail.chunks(usize::from(*second).max(1))).collect()
}

/// A header of the guide's kind around the input, so that more than the length is fuzzed.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let Some((&kind, content)) = bytes.split_first() else { return Vec::new() };
    let encodings = ["utf-8", "latin-1", "utf-16", "shift_jis"];
    let header = format!(
        r#"{{"byteorder":"little","content-type":"{}","content-encoding":"{}","content-length":{},"connection":"keep-alive"}}"#,
        if kind & 1 == 0 { "text/json" } else { "a/b" },
        encodings[usize::from(kind >> 1) % 4],
        content.len(),
    );
    common::frame(&header, content)
}

#[test]
fn fuzz_decoder() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_decoder").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let pieces = pieces(bytes);
            let whole = pieces.concat();
            let outcome = decode([&whole[..]]);
            assert_eq!(decode(pieces.iter().copied()), outcome);
            for frame in &outcome.0 {
                // What is kept of a header is what came.
                assert!(frame.header.iter().all(|(key, _)| frame.header.raw(key).is_some()));
                assert!(serde_json::from_slice::<serde::de::IgnoredAny>(frame.header.json()).is_ok());
                assert_eq!(frame.content.len() as u64, frame.header.content_length());
            }
            let mut decoder = Decoder::new(Limits { header: 300, content: 100 });
            let mut fed = 0;
            for piece in pieces {
                decoder.feed(piece);
                fed += piece.len();
                while let Ok(Some(frame)) = decoder.poll_frame() {
                    assert!(frame.header.json().len() <= 300 && frame.content.len() <= 100);
                }
                assert!(decoder.buffered() <= fed);
            }
        },
    );
}

#[test]
fn fuzz_session() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_session").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            converse(&pieces(bytes), bytes);
            converse(&pieces(&framed(bytes)), bytes);
        },
    );
}

/// A connection from its first byte to its close, with replies in an order that `dice` gives.
fn converse(pieces: &[&[u8]], dice: &[u8]) {
    let mut dice = dice.iter().copied().cycle();
    let mut next = || dice.next().unwrap_or(0);
    let mut now = Millis(0);
    let mut session = ServerSession::new(now, ServerLimits::default());
    let mut open = Vec::new();
    let mut out = Vec::new();
    for piece in pieces {
        now = now + u64::from(next());
        session.handle_time(now);
        session.handle_bytes(now, piece);
        while let Some((ticket, request)) = session.poll_request(now) {
            assert!(request.weight() > 0);
            open.push(ticket);
        }
        match next() % 6 {
            0 => session.set_follows(),
            1 if session.takes_events() => {
                let closing = Event::Connection(ConnectionEvent::Closing { why: "fuzz" });
                session.push_event(now, closing.to_bytes());
            }
            2 => out.extend(take_output(&mut session, now)),
            3 | 4 if !open.is_empty() => {
                let ticket = open.swap_remove(usize::from(next()) % open.len());
                session.reply(now, ticket, write_ok(None, &NoKeys {}, "fuzz"));
            }
            _ => {}
        }
    }
    match next() % 3 {
        0 => session.close("fuzz"),
        1 => session.handle_end(now),
        _ => {}
    }
    // Everybody is answered, everything written, and time goes on: it must come to an end.
    for _ in 0..10 {
        while let Some((ticket, _)) = session.poll_request(now) {
            open.push(ticket);
        }
        for ticket in open.drain(..) {
            session.reply(now, ticket, write_ok(None, &NoKeys {}, "fuzz"));
        }
        out.extend(take_output(&mut session, now));
        match session.step(now) {
            SessionStep::Close => {
                let (frames, end) = decode([&out[..]]);
                assert_eq!(end, Ok(Part::Nothing), "half a message was written");
                let last = frames.last();
                assert!(
                    session.refusal().is_none() || last.is_some_and(|last| last.header.raw("code").is_some())
                );
                return;
            }
            SessionStep::ShutDown => now = now + DRAIN_MS,
            // Perhaps a goodbye.
            SessionStep::Wait if session.has_output() => {}
            SessionStep::Wait => {
                now = now + IDLE_MS.max(STALL_MS);
                session.handle_time(now);
                // One that follows is kept.
                session.close("fuzz");
            }
        }
    }
    panic!("the session does not end");
}

#[test]
fn fuzz_kind() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_kind").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let mut before = None;
            for len in 0..=bytes.len() {
                let now = kind::detect(&bytes[..len]);
                assert!(before.is_none() || before == now, "told {before:?}, then {now:?}");
                assert!(now.is_some() || len < KIND_BYTES_MAX, "undecided after {len} bytes");
                before = now;
            }
        },
    );
}

#[test]
fn fuzz_encoding() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_encoding").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let names = [
                "utf-8",
                "ascii",
                "latin-1",
                "utf-8-sig",
                "utf-16",
                "utf-16-be",
                "utf-32",
                "utf-32-le",
                "cp1252",
                "cp037",
                "shift_jis",
                "cp932",
                "euc_jp",
                "iso2022_jp",
                "big5",
                "big5hkscs",
                "cp950",
                "gb18030",
                "gb2312",
                "gbk",
                "euc_kr",
                "cp949",
            ];
            if let Ok(name) = std::str::from_utf8(bytes)
                && let Some(found) = encoding::find(name)
            {
                assert_eq!(encoding::find(found.name()), Some(found));
            }
            let Some((&which, bytes)) = bytes.split_first() else { return };
            let order = if which & 0x80 == 0 { ByteOrder::Little } else { ByteOrder::Big };
            let found = encoding::find(names[usize::from(which & 0x7f) % names.len()]).expect("known");
            match encoding::decode(found, order, bytes) {
                Ok(text) => {
                    assert!(text.len() <= 3 * bytes.len());
                    // Under its canonical name it reads the same without knowing the sender.
                    let named = encoding::find(encoding::canonical(found, order, bytes)).expect("known");
                    let other = if order == ByteOrder::Big { ByteOrder::Little } else { ByteOrder::Big };
                    assert_eq!(encoding::decode(named, other, bytes), Ok(text));
                }
                Err(bad) => assert!(bad.at <= bytes.len(), "{bad}"),
            }
        },
    );
}

#[test]
fn fuzz_python_str() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_python_str").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            match python::str_of(&text) {
                Ok(printed) => assert!(!is_json || printed.len() <= 5 * text.len()),
                Err(deep) => assert!(deep.depth > JSON_DEPTH_MAX),
            }
            let mut written = Vec::new();
            python::write_json_string(&mut written, &text);
            let back: String = serde_json::from_slice(&written).expect("a JSON string");
            assert_eq!(back, text);
            let alone = String::from_utf8(Bytes::from(written).to_vec()).expect("UTF-8");
            assert_eq!(python::str_of(&alone).as_deref(), Ok(&*text));
        },
    );
}

/// What a WebSocket hears: whole messages, whether it closed, and what it answers.
fn hear<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool, Option<Bytes>) {
    let mut socket = WebSocket::default();
    let (mut heard, mut message, mut closed) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        socket.handle_bytes(&mut piece.to_vec(), &mut |part| match part {
            WebSocketInput::Payload(kind, payload) => {
                assert!(!closed, "nothing is heard after the end");
                assert!(!payload.is_empty());
                message.extend(payload.iter().map(|byte| byte ^ kind as u8));
            }
            WebSocketInput::End(_) => heard.push(std::mem::take(&mut message)),
            WebSocketInput::Closed(_) => closed = true,
        });
    }
    assert_eq!(closed, socket.is_close_sent(), "a peer that breaks the rules, or leaves, gets a close frame");
    (heard, closed, socket.take_answer())
}

#[test]
fn fuzz_ws() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_ws").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let pieces = pieces(bytes);
            // As they are; and with frames made right but for their opcodes, so that more than the first bytes is fuzzed.
            let masked = |bytes: &[u8]| {
                bytes.chunks(9).fold(Vec::new(), |mut out, chunk| {
                    out.extend([chunk[0] & 0x8f, 0x80 | (chunk.len() - 1) as u8, 1, 2, 3, 4]);
                    out.extend_from_slice(&chunk[1..]);
                    out
                })
            };
            for whole in [pieces.concat(), masked(&pieces.concat())] {
                let outcome = hear([&whole[..]]);
                assert_eq!(hear(whole.chunks(1)), outcome);
                assert_eq!(hear(whole.chunks(7)), outcome);
                // Pongs, and behind them at most one goodbye.
                let mut answer = outcome.2.as_deref().unwrap_or_default();
                while let [first, len, rest @ ..] = answer {
                    assert!(*first == 0x8a || (*first == 0x88 && rest.len() == usize::from(*len)));
                    answer = &rest[usize::from(*len)..];
                }
                assert_eq!(answer, b"");
            }
        },
    );
}

/// What a server is asked and a screen shows when these bytes are typed. Every request is refused in the same words.
fn typed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<u8>, bool) {
    let mut lines = TypedLines::new(64);
    let (mut asked, mut shown) = (Vec::new(), Vec::new());
    let mut decoder = Decoder::default();
    let mut turn = |lines: &mut TypedLines| {
        loop {
            let (native, text) = (lines.poll_native(), lines.poll_text());
            if native.is_none() && text.is_none() {
                return;
            }
            shown.extend(text.into_iter().flatten());
            let Some(native) = native else { continue };
            asked.extend_from_slice(&native);
            decoder.feed(&native);
            // Whatever is typed becomes whole requests, and none that a server would not understand.
            while let Some(frame) = decoder.poll_frame().expect("our own message") {
                let re = frame.header.raw("re").map(str::to_owned);
                let error = ErrorReply::new(Code::Busy, "no\u{1b}[2J");
                lines.handle_frames(&write_error(re.as_deref(), &error));
            }
            assert_eq!(decoder.buffered(), 0);
        }
    };
    for piece in pieces {
        lines.handle_bytes(piece);
        turn(&mut lines);
    }
    lines.handle_end();
    turn(&mut lines);
    (asked, shown, lines.wants_close())
}

#[test]
fn fuzz_lines() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_lines").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let pieces = pieces(bytes);
            // Behind a good name there is more to find.
            for name in [&b""[..], b"ada\n"] {
                let whole = [name, &pieces.concat()].concat();
                let outcome = typed(whole.chunks(1));
                assert_eq!(typed(whole.chunks(7)), outcome);
                let shown = std::str::from_utf8(&outcome.1).expect("what is shown is UTF-8");
                // Who types with a carriage return is answered with one.
                let shown = shown.replace("\r\n", "\n");
                assert!(
                    !shown.chars().any(|c| c.is_control() && c != '\n'),
                    "nothing speaks to the terminal: {shown:?}"
                );
            }
        },
    );
}
