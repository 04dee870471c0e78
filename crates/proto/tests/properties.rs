//! What holds for any input: frames survive any split, what is written reads back, memory is bounded by what
//! came; and the specification names the codes and limits that the code has.

mod common;

use bytes::BytesMut;
use common::{decode, frame, requests};
use proptest::prelude::*;
use vang_proto::frame::Part;
use vang_proto::limits;
use vang_proto::vang::{
    ACTIONS, Access, Action, Code, FeedName, FollowFrom, Form, Request, RequestWriter, Role, ServerLimits,
    ServerSession, TokenScope,
};
use vang_proto::{Composer, Decoder, FrameError, Header, Limits, Millis, Secret};

const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

/// Any characters, and often those that JSON escapes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\"\\\\\u{0}-\u{1f}\u{7f}/ü🐰 a]{0,20}"]
}

fn one_frame() -> impl Strategy<Value = (Vec<(String, String)>, Vec<u8>)> {
    let keys = proptest::collection::vec((text(), text()), 0..5);
    (keys, proptest::collection::vec(any::<u8>(), 0..300))
}

proptest! {
    #[test]
    fn any_frames_at_any_splits_decode_to_themselves(
        frames in proptest::collection::vec(one_frame(), 0..6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut stream = BytesMut::new();
        for (keys, content) in &frames {
            let mut composer = Composer::new(&mut stream, "a", "b", content.len());
            for (key, value) in keys {
                composer.text(key, value);
            }
            composer.finish(content);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let (decoded, end) = decode(cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]));
        prop_assert_eq!(end, Ok(Part::Nothing));
        prop_assert_eq!(decoded.len(), frames.len());
        for (frame, (_, content)) in decoded.iter().zip(&frames) {
            prop_assert_eq!(&frame.content, content);
        }
    }

    #[test]
    fn whatever_is_composed_reads_back(
        content_type in "[^\u{0}]{0,60}|[\"\\\\\u{0}-\u{1f}]{0,60}",
        content_encoding in "[\"\\\\\u{0}-\u{1f}🐰]{0,60}",
        keys in proptest::collection::vec((text(), text()), 0..6),
        number: u64,
    ) {
        let mut out = BytesMut::from(&b"kept"[..]);
        let mut composer = Composer::new(&mut out, &content_type, &content_encoding, 3);
        for (key, value) in &keys {
            composer.text(&format!("x{key}"), value);
        }
        composer.number("number", number).raw("raw", "[1, 2]");
        composer.finish(b"abc");
        prop_assert_eq!(&out[..4], b"kept");
        let (frames, end) = decode([&out[4..]]);
        prop_assert_eq!((frames.len(), end), (1, Ok(Part::Nothing)));
        let header = &frames[0].header;
        prop_assert_eq!(header.content_type(), &*content_type);
        prop_assert_eq!(header.content_encoding(), &*content_encoding);
        prop_assert_eq!(header.number("number"), Some(number));
        prop_assert_eq!(header.raw("raw"), Some("[1, 2]"));
        for (key, _) in &keys {
            let last = keys.iter().rev().find(|(other, _)| other == key).map(|(_, value)| &**value);
            let read = header.text(&format!("x{key}")).map(std::borrow::Cow::into_owned);
            prop_assert_eq!(read.as_deref(), last);
        }
        let written: serde_json::Value = serde_json::from_slice(header.json()).expect("JSON");
        prop_assert!(written.is_object());
    }

    #[test]
    fn a_header_is_read_as_json_reads_it(
        // Nearly headers: what the quick way takes, what it leaves to the parser, and what neither may take.
        pairs in proptest::collection::vec(
            ("\"[a-c]{0,2}\"|\"\\\\u006[1-3]\"|\"ü\\n?\"|a", "-?0?[1-9]{0,3}(\\.5)?(e1)?|true|null|fals|\"[a\\\\\"]{0,2}\"|\\[1\\]|"),
            0..4,
        ),
        space in "[ \t\n\r]{0,2}|\u{a0}",
    ) {
        let four = r#""byteorder":"big","content-type":"","content-encoding":"","content-length":0"#;
        let more: String = pairs.iter().map(|(key, value)| format!(",{space}{key}{space}:{value}{space}")).collect();
        let text = format!("{space}{{{four}{more}}}{space}");
        let ours = Header::parse(text.clone().into());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} {:?}", text, ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            for (key, value) in theirs.as_object().expect("an object") {
                let raw = ours.raw(key).expect("the key is there");
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(raw).expect("JSON"), value);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic_and_keep_no_more_than_came(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        size in 1_usize..40,
    ) {
        let mut decoder = Decoder::default();
        let mut session = ServerSession::new(Millis(0), ServerLimits::default());
        let mut fed = 0;
        for piece in bytes.chunks(size) {
            decoder.feed(piece);
            fed += piece.len();
            let _ = decoder.poll_frame();
            prop_assert!(decoder.buffered() <= fed);
            session.handle_bytes(Millis(0), piece);
            requests(&mut session, Millis(0));
        }
    }

    #[test]
    fn long_content_is_the_same_however_it_is_cut_and_holds_little_more_than_came(
        sizes in proptest::collection::vec(60_000_usize..300_000, 1..4),
        cuts in proptest::collection::vec(1_usize..100_000, 1..20),
    ) {
        let contents: Vec<Vec<u8>> =
            sizes.iter().map(|&size| (0..size).map(|i| (i * 31 + size) as u8).collect()).collect();
        let frame = |content: &Vec<u8>| RequestWriter::default().write_raw(1, "send", &[], ("a/b", "binary", content));
        let stream: Vec<u8> = contents.iter().flat_map(|content| frame(content).to_vec()).collect();
        let (mut decoder, mut came, mut cuts) = (Decoder::default(), Vec::new(), cuts.iter().cycle());
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(*cuts.next().expect("they go round")));
            decoder.feed(piece);
            prop_assert!(decoder.held_bytes() <= decoder.buffered() + 5 * 100_000, "{}", decoder.held_bytes());
            loop {
                match decoder.poll_frame().expect("it is well formed") {
                    Some(frame) => came.push(frame.content.to_vec()),
                    None => break prop_assert!(!decoder.has_whole()),
                }
            }
            rest = later;
        }
        prop_assert!(came == contents);
        prop_assert_eq!((decoder.buffered(), decoder.held_bytes()), (0, 0));
    }

    #[test]
    fn a_written_request_is_read_as_the_same(
        name in proptest::option::of(text()),
        re: u64,
        room in text(),
        who in text(),
        id in "[^\u{0}]{1,30}",
        numbers in proptest::collection::vec(any::<u64>(), 1..5),
        epoch in proptest::option::of(text()),
        content in proptest::collection::vec(any::<u8>(), 0..200),
        which in 0..ACTIONS.len(),
    ) {
        let rooms: Vec<String> = numbers.iter().map(|number| format!("{room}{number}")).collect();
        let from = match numbers.len() % 3 {
            0 => FollowFrom::Now,
            1 => FollowFrom::Numbers(numbers.clone()),
            _ => FollowFrom::Position { journal: who.clone(), epoch, seq: re },
        };
        let is_even = numbers[0] % 2 == 0;
        let secret = || Secret::new(format!("secret {who}"));
        let title = format!("x{}", room.chars().filter(|c| !c.is_control()).take(30).collect::<String>());
        // One of each, in the order of the table.
        let all = [
            Action::Hello,
            Action::SignIn {
                password: is_even.then(secret),
                token: (!is_even).then(secret),
                device: is_even.then(|| title.clone()),
            },
            Action::SignOut,
            Action::Ping,
            Action::Send {
                room: room.clone(),
                id: is_even.then_some(id),
                content_type: "application/x".to_owned(),
                content_encoding: "binary".to_owned(),
                content: content.into(),
            },
            Action::Follow { rooms, feeds: FeedName::ALL[..numbers.len() % 3].to_vec(), from },
            Action::History { room: room.clone(), since: numbers[0], limit: 7 },
            Action::Find { query: room.clone(), limit: 7, before: is_even.then_some(numbers[0]) },
            Action::Rooms { after: numbers.first().copied(), limit: 1 + numbers.len() as u64 },
            Action::Who { room: room.clone() },
            Action::Create { room: room.clone(), access: if is_even { Access::Public } else { Access::Private } },
            Action::Join { room: room.clone(), who: is_even.then(|| who.clone()) },
            Action::Leave { room: room.clone() },
            Action::SetTopic { room: room.clone(), topic: room.chars().filter(|c| !c.is_control()).take(100).collect() },
            Action::AddAccount { name: room.clone() },
            Action::SetRole { name: room.clone(), role: Role::ALL[numbers.len() % 3] },
            Action::DisableAccount { name: room.clone() },
            Action::DeleteAccount { name: room.clone() },
            Action::EnableAccount { name: room.clone() },
            Action::SetPassword { new: secret(), old: is_even.then(secret), name: is_even.then(|| room.clone()) },
            Action::CreateToken {
                title,
                scope: TokenScope::ALL[numbers.len() % 3],
                rooms: if is_even { Vec::new() } else { vec![room.clone(), "b".to_owned()] },
                days: is_even.then_some(numbers[0]),
                name: is_even.then(|| room.clone()),
            },
            Action::Invite {
                title: is_even.then(|| "class".to_owned()),
                uses: is_even.then_some(numbers[0]),
                days: None,
                room: is_even.then(|| room.clone()),
                role: is_even.then_some(Role::Bot),
                name: None,
            },
            Action::Invitations,
            Action::EndInvitation { id: numbers[0] },
            Action::Accept { code: secret(), new: secret(), device: is_even.then(|| "phone".to_owned()) },
            Action::Sessions { name: is_even.then(|| room.clone()) },
            Action::EndSession { id: is_even.then_some(numbers[0]), name: Some(room) },
            Action::Status,
        ];
        let named: Vec<&str> = all.iter().map(Action::name).collect();
        prop_assert_eq!(named, ACTIONS.iter().map(|info| info.name).collect::<Vec<_>>());
        let action = all[which].clone();
        let bytes = RequestWriter { name: name.clone() }.write(re, &action);
        let mut session = ServerSession::new(Millis(0), ServerLimits::default());
        session.handle_bytes(Millis(0), &bytes);
        let (_, read) = session.poll_request(Millis(0)).expect("a request");
        let written = Request { form: Form::Header, re: Some(re.to_string()), name, action };
        prop_assert_eq!(read, written);
    }
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let claim = frame(
        r#"{"byteorder":"big","content-type":"","content-encoding":"","content-length":1048576}"#,
        b"beginning",
    );
    let decoders: Vec<Decoder> = (0..10_000)
        .map(|_| {
            let mut decoder = Decoder::default();
            decoder.feed(&claim);
            assert_eq!(decoder.poll_frame(), Ok(None));
            assert_eq!((decoder.waits_for(), decoder.buffered()), (Part::Content, 9));
            decoder
        })
        .collect();
    // 10 GiB were claimed. What the whole process holds says more than a capacity would.
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let line = status.lines().find(|line| line.starts_with("VmData:")).expect("a line of data size");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        assert!(kib < 4 << 20, "{line}");
    }
    drop(decoders);
}

#[test]
fn every_limit_holds_to_the_byte() {
    let header = |pad: usize| {
        let text = r#"{"byteorder":"big","content-type":"","content-encoding":"","content-length":10"#;
        format!("{text}{}}}", " ".repeat(pad))
    };
    let bare = header(0).len();
    let limits = Limits { header: bare as u32 + 5, content: 10 };
    let outcome = |limits: Limits, bytes: &[u8]| {
        let mut decoder = Decoder::new(limits);
        decoder.feed(bytes);
        let first = decoder.poll_frame();
        // A refusal is final, whatever comes behind it.
        if first.is_err() {
            decoder.feed(&frame(&header(0), b"0123456789"));
            assert_eq!(decoder.poll_frame(), first);
            assert!(decoder.buffered() == 0);
        }
        first.map(|frame| frame.is_some())
    };
    assert_eq!(outcome(limits, &frame(&header(5), b"0123456789")), Ok(true));
    // Both lengths are refused as soon as they are claimed.
    let len = bare as u32 + 6;
    let claimed = &frame(&header(6), b"")[..2];
    assert_eq!(outcome(limits, claimed), Err(FrameError::HeaderTooLong { len, max: len - 1 }));
    let less = Limits { content: 9, ..limits };
    assert_eq!(outcome(less, &frame(&header(0), b"")), Err(FrameError::ContentTooLong { len: 10, max: 9 }));
}

// ---- the specification ----

/// The rows of the table that begins with this line, as cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = PROTOCOL.split_once(heading).unwrap_or_else(|| panic!("no table {heading}"));
    let rows = rest.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_code_stands_in_the_specification_and_no_other() {
    let rows = table("| code | meaning | further keys |\n");
    let named: Vec<&str> = rows.iter().flat_map(|row| words(row[0])).collect();
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(named, known);
}

#[test]
fn codes_that_pass_say_when_to_try_again() {
    // A client that gets `retry-after` may try again; the rest of the passing ones clear up by other means.
    for row in table("| code | meaning | further keys |\n") {
        let retry = row.get(2).is_some_and(|keys| keys.contains("retry-after"));
        for word in words(row[0]) {
            assert!(!retry || Code::is_retryable(word), "{word}");
        }
    }
}

#[test]
fn the_limits_in_the_specification_are_those_of_the_code() {
    let rows = table("| limit | default | |\n");
    let default = |name: &str| {
        let row =
            rows.iter().find(|row| words(row[0]).contains(&name)).unwrap_or_else(|| panic!("no {name}"));
        number(row[1])
    };
    assert_eq!(default("header"), u64::from(limits::HEADER_BYTES_MAX));
    assert_eq!(default("content"), limits::CONTENT_BYTES_MAX);
    assert_eq!(default("inline"), limits::INLINE_BYTES_MAX);
    assert_eq!(default("line"), limits::LINE_BYTES_MAX as u64);
    assert_eq!(default("first-byte"), limits::FIRST_BYTE_MS);
    assert_eq!(default("header-time"), limits::HEADER_MS);
    assert_eq!(default("content-time"), limits::CONTENT_MS);
    assert_eq!(default("idle"), limits::IDLE_MS);
    assert_eq!(default("stall"), limits::STALL_MS);

    // Those named in sentences.
    let text = PROTOCOL.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |before: &str, limit: u64| {
        let from = text.find(before).unwrap_or_else(|| panic!("no sentence with '{before}'")) + before.len();
        assert_eq!(number(&text[from..]), limit, "{before}");
    };
    says("integer from 0 to the limit (", limits::CONTENT_BYTES_MAX);
    says("any JSON value of at most ", limits::ID_BYTES_MAX as u64);
    says("**`id`**, at most ", limits::ID_BYTES_MAX as u64);
    says("`since` < n, in order, at most `limit` (default ", limits::HISTORY_PAGE_MAX);
    says("you can see, newest first: at most `limit` (default ", limits::FIND_LIMIT);
    says("at most `limit` (default 20, 1 to ", limits::FIND_LIMIT_MAX);
    says("`query` is a line of at most ", limits::QUERY_BYTES_MAX as u64);
    says("reads and drops at most ", limits::DRAIN_BYTES_MAX);
    says("closes when the client has closed, after ", limits::DRAIN_MS);
    says("unless it reads nothing for ", limits::STALL_MS);
    says("does not read from a connection with ", limits::UNSENT_REPLY_BYTES_MAX as u64);
}

/// `65,535 bytes`, `1 MiB`, `10 s each`, `10 min`: bytes or milliseconds.
fn number(text: &str) -> u64 {
    let (digits, unit) = text.split_once([' ', ')']).expect("a number and a unit");
    let number: u64 = digits.replace(',', "").parse().unwrap_or_else(|_| panic!("a number: {text:.40}"));
    let unit: String = unit.chars().take_while(|c| c.is_alphabetic()).collect();
    number
        * match &*unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "s" => 1_000,
            "min" | "minutes" => 60_000,
            _ => 1,
        }
}
