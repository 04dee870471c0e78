//! Typed lines as transcripts (`tests/lines/*.txt`): what is typed, what the server is asked, what it says,
//! what is shown. Each is played with whole lines and byte by byte.
//!
//! ```text
//! type: ada                       typed, with its line end (`\xff` and the like are bytes)
//! asks: hello as=ada              the native request that comes of it; `| text` is its content
//! reply: ok name=guest:ada        the server's answer; `| result` is its content
//! page: room=general end=9 last=9 <- message seq=7 …  | hi     its answer to `history`, with events
//! event: message seq=7 …  | hi    what the server tells
//! shows: -- you are guest:ada     a line on the peer's screen
//! end                             the peer's stream ends
//! over                            the connection ends
//! ```
//!
//! `VANG_BLESS=1` writes down what happens instead of comparing; the diff is then to be reviewed like code.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use vang_proto::typed::TypedLines;
use vang_proto::vang::{
    ACTIONS, Code, ErrorReply, Following, Hello, Page, REPLIES, Sent, write_error, write_ok, write_page,
};
use vang_proto::{Composer, Decoder};

const LINE_MAX: usize = 40;

/// Plays a transcript: the inputs as they stand, the outputs as they come.
struct Play {
    lines: TypedLines,
    decoder: Decoder,
    /// `re` and action of what was asked.
    asked: VecDeque<(String, String)>,
    screen: String,
    played: String,
    piece: usize,
}

impl Play {
    fn new(piece: usize) -> Play {
        Play {
            lines: TypedLines::new(LINE_MAX),
            decoder: Decoder::default(),
            asked: VecDeque::new(),
            screen: String::new(),
            played: String::new(),
            piece,
        }
    }

    fn run(mut self, script: &str) -> String {
        for line in script.lines() {
            if line.is_empty() || line.starts_with('#') {
                self.note(line);
                continue;
            }
            let (verb, rest) = line.split_once(": ").unwrap_or((line, ""));
            match verb {
                "type" => {
                    self.note(line);
                    let bytes = [unescape(rest), b"\n".to_vec()].concat();
                    self.give(&bytes, TypedLines::handle_bytes);
                }
                "type-part" => {
                    self.note(line);
                    self.give(&unescape(rest), TypedLines::handle_bytes);
                }
                "reply" => {
                    self.note(line);
                    let bytes = self.reply(rest);
                    self.give(&bytes, TypedLines::handle_frames);
                }
                "page" => {
                    self.note(line);
                    let bytes = self.page(rest);
                    self.give(&bytes, TypedLines::handle_frames);
                }
                "event" => {
                    self.note(line);
                    self.give(&event(rest), TypedLines::handle_frames);
                }
                "end" => {
                    self.note(line);
                    self.lines.handle_end();
                    self.poll();
                }
                "asks" | "shows" | "over" => {}
                other => panic!("no '{other}' in transcripts"),
            }
        }
        self.played
    }

    fn note(&mut self, line: &str) {
        self.played.push_str(line);
        self.played.push('\n');
    }

    fn give(&mut self, bytes: &[u8], handle: fn(&mut TypedLines, &[u8])) {
        let was_over = self.lines.wants_close();
        for piece in bytes.chunks(self.piece) {
            handle(&mut self.lines, piece);
        }
        self.poll();
        if !was_over && self.lines.wants_close() {
            self.note("over");
        }
    }

    fn poll(&mut self) {
        while let Some(native) = self.lines.poll_native() {
            self.decoder.feed(&native);
        }
        while let Some(frame) = self.decoder.poll_frame().unwrap() {
            let action = frame.header.text("action").unwrap().into_owned();
            let mut asked = format!("asks: {action}");
            for (key, value) in frame.header.iter() {
                match key {
                    "re" => self.asked.push_back((value.to_owned(), action.clone())),
                    "as" | "room" | "topic" => write!(asked, " {key}={}", value.trim_matches('"')).unwrap(),
                    "rooms" | "since" | "after" | "limit" => write!(asked, " {key}={value}").unwrap(),
                    _ => {}
                }
            }
            if !frame.content.is_empty() {
                write!(asked, " | {}", String::from_utf8_lossy(&frame.content)).unwrap();
            }
            self.note(&asked);
        }
        while let Some(text) = self.lines.poll_text() {
            self.screen.push_str(std::str::from_utf8(&text).unwrap());
        }
        let (screen, rest) = self.screen.rsplit_once('\n').unwrap_or(("", &self.screen));
        let (screen, rest) = (screen.to_owned(), rest.to_owned());
        self.screen = rest;
        for line in screen.split('\n').filter(|line| !line.is_empty()) {
            self.note(&format!("shows: {}", line.replace('\r', "\\r")));
        }
    }

    /// `room=general end=9 last=9`, and each event behind a `<-`.
    fn page(&mut self, given: &str) -> Vec<u8> {
        let (re, action) = self.asked.pop_front().expect("a page answers a request");
        assert_eq!(action, "history");
        let mut parts = given.split(" <- ");
        let keys: Vec<(&str, &str)> =
            parts.next().unwrap().split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
        let key = |wanted: &str| keys.iter().find(|(key, _)| *key == wanted).unwrap().1;
        let frames: Vec<Bytes> = parts.map(|given| event(given).into()).collect();
        let (last, end) = (key("last").parse().unwrap(), key("end").parse().unwrap());
        let page = Page { room: key("room").to_owned(), count: frames.len() as u64, last, end };
        write_page(Some(&re), &page, &frames).to_vec()
    }

    /// `ok key=value | result`, `CODE | detail`, or `session CODE | detail` for one that answers nothing.
    fn reply(&mut self, given: &str) -> Vec<u8> {
        let (head, content) = given.split_once(" | ").unwrap_or((given, ""));
        let mut words = head.split(' ');
        let first = words.next().unwrap();
        if first == "session" {
            return write_error(None, &error(words.next().unwrap(), content)).to_vec();
        }
        let (re, action) = self.asked.pop_front().expect("a reply answers a request");
        if first != "ok" {
            return write_error(Some(&re), &error(first, content)).to_vec();
        }
        let given: Vec<(&str, &str)> = words.map(|pair| pair.split_once('=').unwrap()).collect();
        let result = if content.starts_with('[') { content.to_owned() } else { format!("{content:?}") };
        let content = format!("{{\"result\": {result}}}");
        let mut out = BytesMut::new();
        let mut composer = Composer::new(&mut out, "text/json", "utf-8", content.len());
        composer.raw("re", &re).text("status", "ok");
        let row = REPLIES.iter().find(|row| row.actions.contains(&&*action)).unwrap();
        for info in row.keys {
            match given.iter().find(|(key, _)| *key == info.key) {
                Some((key, value)) => write_key(&mut composer, key, value),
                None if info.is_optional => {}
                // A transcript names only the keys that matter to it.
                None if ["protocol", "n", "seq", "count"].contains(&info.key) => {
                    composer.number(info.key, 0);
                }
                None => {
                    composer.text(info.key, "");
                }
            }
        }
        composer.finish(content.as_bytes());
        out.to_vec()
    }
}

fn write_key(composer: &mut Composer<'_>, key: &str, value: &str) {
    match value.parse() {
        Ok(number) => composer.number(key, number),
        Err(_) => composer.text(key, std::str::from_utf8(&unescape(value)).unwrap()),
    };
}

fn error(code: &str, detail: &str) -> ErrorReply {
    let code = Code::ALL.iter().find(|known| known.as_str() == code).expect("a code");
    ErrorReply::new(*code, detail)
}

/// `kind key=value… | content`; a value may have `\n` and the like, `type=` is the content's.
fn event(given: &str) -> Vec<u8> {
    let (head, content) = given.split_once(" | ").unwrap_or((given, ""));
    let content = unescape(content);
    let mut words = head.split(' ');
    let kind = words.next().unwrap();
    let pairs: Vec<(&str, &str)> = words.map(|pair| pair.split_once('=').unwrap()).collect();
    let content_type = pairs.iter().find(|(key, _)| *key == "type").map_or("text/plain", |(_, kind)| kind);
    let mut out = BytesMut::new();
    let content_type = String::from_utf8(unescape(content_type)).unwrap();
    let mut composer = Composer::new(&mut out, &content_type, "utf-8", content.len());
    composer.text("event", kind);
    let has_time = pairs.iter().any(|(key, _)| *key == "time");
    for (key, value) in pairs {
        write_key(&mut composer, key, value);
    }
    if !has_time {
        composer.text("time", "2026-05-01T14:03:59.123Z");
    }
    composer.finish(&content);
    out.to_vec()
}

/// `\n`, `\r`, `\t`, `\s` (a space), `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, byte == b'\\') {
            (_, true) => match bytes.next() {
                Some(b'n') => out.push(b'\n'),
                Some(b'r') => out.push(b'\r'),
                Some(b't') => out.push(b'\t'),
                Some(b's') => out.push(b' '),
                Some(b'x') => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                }
                other => panic!("no escape {other:?}"),
            },
            (byte, false) => out.push(byte),
        }
    }
    out
}

fn play(file: &str, script: &str) {
    if std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
        let path = format!("{}/tests/lines/{file}", env!("CARGO_MANIFEST_DIR"));
        return std::fs::write(path, Play::new(usize::MAX).run(script)).unwrap();
    }
    for piece in [usize::MAX, 1] {
        let played = Play::new(piece).run(script);
        assert!(played == script, "in pieces of {piece}:\n--- played\n{played}\n--- written\n{script}");
    }
}

#[test]
fn each_typed_form_of_the_table_asks_its_action() {
    for info in ACTIONS {
        let Some(form) = info.typed else { continue };
        let script = format!(
            "type: ada\nreply: ok name=ada\nreply: ok | general\npage: room=general end=0 last=0\n\
             type: {form}\n"
        );
        // What it takes comes with the next line.
        let script = if info.name == "sign-in" { script + "type: a password\n" } else { script };
        let played = Play::new(usize::MAX).run(&script);
        let asked = played.lines().last().unwrap();
        assert!(asked.starts_with(&format!("asks: {} ", info.name)), "{form}: {asked}");
    }
}

macro_rules! transcripts {
    ($($name:ident = $file:literal;)+) => {$(
        #[test]
        fn $name() {
            play($file, include_str!(concat!("lines/", $file)));
        }
    )+};
}

transcripts! {
    the_first_line_is_a_name_and_then_lines_are_messages = "talk.txt";
    a_bad_name_is_explained_and_one_may_try_again = "names.txt";
    commands_ask_and_their_answers_are_lines = "commands.txt";
    a_topic_is_shown_set_and_removed = "topic.txt";
    the_last_messages_are_shown_at_entry_and_when_asked_for = "history.txt";
    one_signs_in_with_a_line_behind_the_name = "sign-in.txt";
    a_name_can_be_changed_before_the_first_message = "nick.txt";
    nobody_drives_another_ones_terminal_or_speaks_with_another_ones_name = "harmless.txt";
    what_cannot_be_sent_is_refused_and_the_connection_goes_on = "refused.txt";
    the_end_of_the_input_is_the_end_when_everything_is_answered = "end.txt";
    an_http_request_among_the_lines_ends_the_connection = "http.txt";
    windows_line_ends_are_answered_with_their_kind = "crlf.txt";
}

#[test]
fn what_is_typed_waits_for_answers_in_bounded_memory() {
    let mut lines = TypedLines::new(LINE_MAX);
    lines.handle_bytes(b"ada\n");
    let mut given = 0;
    while lines.wants_input() {
        lines.handle_bytes(&b"x\n".repeat(512));
        given += 1_024;
        assert!(given < 1 << 18, "it is not read without end");
    }
    // Only the hello came through: what is said waits until it is known by whom.
    assert!(lines.poll_native().unwrap().len() < 1_024);

    let mut decoder = Decoder::default();
    lines.handle_frames(&write_ok(Some("1"), &Hello::default(), "vang"));
    lines.handle_frames(&write_ok(Some("2"), &Following::default(), "general"));
    // The last messages come first.
    assert!(lines.poll_native().unwrap().len() < 1_024);
    let empty = Page { room: "general".to_owned(), ..Page::default() };
    lines.handle_frames(&write_page(Some("3"), &empty, &[]));
    let mut requests = 0;
    decoder.feed(&lines.poll_native().unwrap());
    while decoder.poll_frame().unwrap().is_some() {
        requests += 1;
    }
    // As many messages as may be under way.
    assert_eq!(requests, vang_proto::limits::LINES_PENDING_MAX);
    assert!(lines.poll_native().is_none());
    let sent = Sent { room: "general".to_owned(), seq: 9, ..Sent::default() };
    lines.handle_frames(&write_ok(Some("4"), &sent, ""));
    decoder.feed(&lines.poll_native().unwrap());
    assert!(decoder.poll_frame().unwrap().is_some() && decoder.poll_frame().unwrap().is_none());
}

#[test]
fn a_long_message_is_shown_to_its_limit_and_the_rest_counted() {
    let mut lines = TypedLines::new(LINE_MAX);
    let content = "\u{1b}".repeat(200_000);
    let mut bytes = BytesMut::new();
    let mut composer = Composer::new(&mut bytes, "text/plain", "utf-8", content.len());
    composer.text("event", "message").number("seq", 1).text("room", "general").number("n", 1);
    composer.text("from", "bob").text("time", "2026-05-01T14:03:59.123Z");
    composer.finish(content.as_bytes());
    lines.handle_frames(&bytes);
    let text = lines.poll_text().unwrap();
    assert!(text.len() < 7 * vang_proto::limits::SHOWN_BYTES_MAX, "{}", text.len());
    assert!(text.ends_with("… (and 183616 bytes more)\n".as_bytes()));
}
