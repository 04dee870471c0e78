//! Typed lines: a person at `nc` among clients. The first line is a name, then lines are messages, and
//! what others say comes as lines.
//!
//! ```text
//! ada                      → hello as ada, follow general
//!                          → history: the last messages, with their times (`past.rs`)
//! hello, all               → send general "hello, all"
//! -- you are guest:ada …   ← the reply to hello
//! guest:bob: hi            ← message from guest:bob
//! ```
//!
//! A translator and nothing more: typed bytes in, native requests out; native replies and events in,
//! lines out. Who may do what is decided where it is for every client. Lines of the server's own begin
//! with `-- `, which no name does; what others said is made harmless, and its further lines are
//! indented, so nobody speaks with another's name or drives another's terminal. Own messages are not
//! shown again: they stand on the screen already.

mod words; // events as lines
mod answers; // lists and topics as lines
mod past; // the last messages of a room
mod pages; // answers in pages
mod help; // what can be typed

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::kind::is_http_request;
use crate::limits::{
    CLIENT_CONTENT_BYTES_MAX, ENTRY_MESSAGES, HEADER_BYTES_MAX, LINES_PENDING_MAX, NAME_BYTES_MAX,
    OWN_SAID_MAX, SECRET_BYTES_MAX, TYPED_BYTES_MAX, TYPED_HISTORY_MAX, UNREAD_LINES_BYTES_MAX,
};
use crate::secret::TOKEN_PREFIX;
use crate::terminal::{harmless, indented};
use crate::vang::{
    Action, Code, Event, EventMessage, FollowFrom, Following, Hello, Incoming, Reply, RequestWriter,
    RoomEvent, Sent, SignedIn, failed_in_words, incoming,
};
use crate::{Decoder, Limits, Secret};

use self::answers::people_lines;
use self::pages::{Pages, Turned};
use self::past::Past;
use self::words::event_line;

/// Names in a row that are none before the connection ends: a person mistypes one, a program never stops.
const BAD_NAMES_MAX: u8 = 5;

/// The room that everybody begins in.
const FIRST_ROOM: &str = "general";

pub struct TypedLines {
    line_max: usize,
    /// Typed and not yet translated.
    typed: BytesMut,
    /// There are whole lines among it that cannot be translated yet.
    is_blocked: bool,
    /// Inside a line that is too long: it is dropped up to its end.
    skips: bool,
    peer_ended: bool,
    phase: Phase,
    bad_names: u8,
    /// The next line is the password of this account, or a token for it.
    secret_of: Option<String>,
    /// Lines end as the peer's do.
    line_end: &'static str,
    writer: RequestWriter,
    next_re: u64,
    asked: VecDeque<Asked>,
    /// `seq` of own messages whose events have not come yet.
    own: VecDeque<u64>,
    /// Followed, by the names that events carry. The room that is talked in is one of them.
    rooms: Vec<String>,
    talks_in: String,
    /// What is left of an answer in pages, asked for when the lines before are read.
    pages: Option<Pages>,
    /// Numbers of messages that `/history` has shown: events of them may still come.
    shown: Option<(String, std::ops::RangeInclusive<u64>)>,
    frames: Decoder,
    native: BytesMut,
    text: BytesMut,
    refused: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next line is a name.
    Unnamed,
    Named,
    /// Nothing more is said or heard.
    Over,
}

/// What was asked, in order; beside it what is to be said in between.
enum Asked {
    /// Who one is. Nothing is translated before it is known.
    Name,
    /// A room. Nothing is translated before it is known where the next line goes.
    Follow,
    Say,
    Who {
        room: String,
    },
    SetTopic,
    /// Another name. Nothing is translated before it is known under which name the next line goes.
    Nick {
        before: Option<String>,
    },
    /// To be an account. Nothing is translated before it is known who one is.
    SignIn {
        before: Option<String>,
    },
    /// A page of an answer. What is typed next waits, so that its answer comes behind all pages.
    Page(Pages),
    /// Nothing: a line of our own that waits for what was asked before it.
    Own(String),
    /// Nothing: the lines of `/help`.
    Help,
}

impl TypedLines {
    /// At the beginning of a connection; a typed line has at most so many bytes.
    pub fn new(line_max: usize) -> TypedLines {
        TypedLines {
            line_max,
            typed: BytesMut::new(),
            is_blocked: false,
            skips: false,
            peer_ended: false,
            phase: Phase::Unnamed,
            bad_names: 0,
            secret_of: None,
            line_end: "\n",
            writer: RequestWriter::default(),
            next_re: 0,
            asked: VecDeque::new(),
            own: VecDeque::new(),
            rooms: Vec::new(),
            talks_in: FIRST_ROOM.to_owned(),
            pages: None,
            shown: None,
            frames: Decoder::new(Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX }),
            native: BytesMut::new(),
            text: BytesMut::new(),
            refused: None,
        }
    }

    /// Typed bytes came, in any pieces. Then poll.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.phase != Phase::Over && !self.peer_ended {
            self.typed.extend_from_slice(bytes);
            self.translate();
        }
    }

    /// Nothing more will be typed: as `/quit` behind the last line. Then poll.
    pub fn handle_end(&mut self) {
        self.peer_ended = true;
        self.translate();
    }

    /// Has something been typed whose line does not end?
    pub fn awaits_line_end(&self) -> bool {
        self.skips || self.typed.last().is_some_and(|&byte| byte != b'\n')
    }

    /// Nothing was typed for a while, by a program that ends no line: so its line ends here.
    pub fn handle_quiet(&mut self) {
        if self.awaits_line_end() {
            self.handle_bytes(b"\n");
        }
    }

    /// The typed bytes were cut off: somebody between may have dropped the rest of the last line, so it is not taken.
    pub fn handle_cut(&mut self) {
        let whole = self.typed.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.typed.truncate(whole);
        self.handle_end();
    }

    /// The server's replies and events came, in any pieces. Then poll.
    pub fn handle_frames(&mut self, native: &[u8]) {
        self.frames.feed(native);
        while self.phase != Phase::Over {
            let Ok(Some(frame)) = self.frames.poll_frame() else { break };
            match incoming(frame) {
                Ok(Incoming::Reply(reply)) => self.hear_reply(&reply),
                Ok(Incoming::Event(event)) => self.hear_event(&event),
                // Our own server says nothing else.
                Err(_) => {}
            }
        }
        self.translate();
    }

    /// Native requests for the session.
    pub fn poll_native(&mut self) -> Option<Bytes> {
        (!self.native.is_empty()).then(|| self.native.split().freeze())
    }

    /// Lines for the peer. There is room for more then: poll for requests behind it.
    pub fn poll_text(&mut self) -> Option<Bytes> {
        let text = (!self.text.is_empty()).then(|| self.text.split().freeze());
        self.translate();
        text
    }

    /// Should the socket be read? Not while a whole line waits.
    pub fn wants_input(&self) -> bool {
        let has_room = !self.is_blocked && self.typed.len() < TYPED_BYTES_MAX;
        self.phase != Phase::Over && !self.peer_ended && has_room
    }

    /// Bytes of memory that it holds: what was typed and is not translated, what was asked and is not answered, lines
    /// that wait to be written.
    pub fn held_bytes(&self) -> usize {
        let lens = self.asked.iter().map(|asked| match asked {
            Asked::Own(line) => line.len(),
            Asked::Who { room } => room.len(),
            Asked::Nick { before } | Asked::SignIn { before } => before.as_ref().map_or(0, String::len),
            Asked::Page(pages) => pages.held_bytes(),
            Asked::Name | Asked::Follow | Asked::Say | Asked::SetTopic | Asked::Help => 0,
        });
        let pages = self.pages.as_ref().map_or(0, Pages::held_bytes);
        let asked = lens.map(|len| len + size_of::<Asked>()).sum::<usize>() + pages;
        self.typed.len() + self.native.len() + self.text.len() + self.frames.held_bytes() + asked
    }

    /// Should the connection end, when the lines polled are written?
    pub fn wants_close(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Why it was ended, for the log, if not by the peer's wish.
    pub fn refusal(&self) -> Option<&'static str> {
        self.refused
    }

    // ---- what is typed ----

    fn translate(&mut self) {
        if self.phase != Phase::Over
            && self.text.len() < UNREAD_LINES_BYTES_MAX
            && let Some(pages) = self.pages.take()
        {
            self.ask_pages(pages);
        }
        while self.takes_lines()
            && let Some(line) = self.next_line()
        {
            self.take(line);
            self.flush_own();
        }
        self.is_blocked = !self.takes_lines() && self.typed.contains(&b'\n');
        if self.peer_ended && self.typed.is_empty() && self.asked.is_empty() && self.pages.is_none() {
            self.phase = Phase::Over;
        }
    }

    fn takes_lines(&self) -> bool {
        self.phase != Phase::Over
            && self.asked.len() < LINES_PENDING_MAX
            && self.own.len() < OWN_SAID_MAX
            && self.text.len() < UNREAD_LINES_BYTES_MAX
            && self.pages.is_none()
            && !matches!(
                self.asked.back(),
                Some(
                    Asked::Name | Asked::Nick { .. } | Asked::SignIn { .. } | Asked::Follow | Asked::Page(_)
                )
            )
    }

    fn next_line(&mut self) -> Option<Typed> {
        loop {
            let end = self.typed.iter().position(|&byte| byte == b'\n');
            let whole = match end {
                Some(end) => Some(self.typed.split_to(end + 1)),
                // The last line may lack its end.
                None if self.peer_ended && !self.typed.is_empty() => Some(self.typed.split()),
                None => None,
            };
            let Some(line) = whole else {
                if self.typed.is_empty() {
                    // Between two lines a connection holds no buffer.
                    self.typed = BytesMut::new();
                } else if self.skips || self.typed.len() > self.line_max + b"\r\n".len() {
                    self.typed.clear();
                    return (!std::mem::replace(&mut self.skips, true)).then_some(Typed::TooLong);
                }
                return None;
            };
            if std::mem::take(&mut self.skips) {
                continue;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = match line.strip_suffix(b"\r") {
                Some(line) => {
                    self.line_end = "\r\n";
                    line
                }
                None => line,
            };
            if line.len() > self.line_max {
                return Some(Typed::TooLong);
            }
            return Some(Typed::Line(Bytes::copy_from_slice(line)));
        }
    }

    fn take(&mut self, line: Typed) {
        let line = match line {
            Typed::TooLong => {
                return self.say(format!(
                    "not taken: a line of more than {} bytes, which is the limit",
                    self.line_max
                ));
            }
            Typed::Line(line) => line,
        };
        // What no person types.
        let machine = match () {
            () if is_http_request(&line) => Some("an HTTP request among typed lines"),
            () if line.contains(&0) => Some("a NUL among typed lines"),
            () => None,
        };
        if machine.is_some() {
            self.typed = BytesMut::new();
            self.refused = machine;
            self.phase = Phase::Over;
            return;
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return self.say("not taken: this line is not UTF-8 text; set your terminal to UTF-8".to_owned());
        };
        if let Some(name) = self.secret_of.take() {
            return self.sign_in(name, text);
        }
        match text.strip_prefix('/') {
            _ if text.trim().is_empty() => {}
            Some(command) if !command.starts_with('/') => self.obey(command),
            _ if self.phase == Phase::Unnamed => self.name(text.trim()),
            Some(spoken) => self.send(spoken),
            None => self.send(text),
        }
    }

    fn obey(&mut self, command: &str) {
        let (word, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim();
        match word {
            "quit" => {
                self.say("bye".to_owned());
                // What was typed before is still answered, what stands behind it dropped.
                self.peer_ended = true;
                self.typed = BytesMut::new();
            }
            "help" => self.help(),
            "sign-in" if argument.is_empty() => self.say("as whom? as /sign-in ada".to_owned()),
            "sign-in" if argument.len() > NAME_BYTES_MAX => self.say(long_name(argument)),
            "sign-in" => {
                self.say(format!(
                    "type the password of {argument}, or a token; others can read it on your screen"
                ));
                self.secret_of = Some(argument.to_owned());
            }
            "nick" if argument.is_empty() => self.say("which name? as /nick ada".to_owned()),
            "nick" => self.name(argument),
            "join" | "who" | "rooms" | "topic" | "history" if self.phase == Phase::Unnamed => {
                self.say("first type your name".to_owned());
            }
            "join" => self.with_room(argument, |lines, room| lines.follow(&room)),
            "who" => {
                let room = if argument.is_empty() { self.talks_in.clone() } else { argument.to_owned() };
                self.with_room(&room, |lines, room| {
                    lines.ask(&Action::Who { room: room.clone() }, Asked::Who { room });
                });
            }
            "rooms" => self.ask_pages(Pages::Rooms { after: None }),
            "history" => {
                let count = if argument.is_empty() { Ok(ENTRY_MESSAGES) } else { argument.parse() };
                let Ok(count @ 1..=TYPED_HISTORY_MAX) = count else {
                    return self.say(format!("how many? 1 to {TYPED_HISTORY_MAX}, as /history 20"));
                };
                self.ask_pages(Pages::Past(Past::new(&self.talks_in, count, None)));
            }
            "topic" if argument.is_empty() => {
                self.ask_pages(Pages::Topic { room: self.talks_in.clone(), after: None });
            }
            "topic" => {
                let topic = if argument == "-" { "" } else { argument };
                let set = Action::SetTopic { room: self.talks_in.clone(), topic: topic.to_owned() };
                self.ask(&set, Asked::SetTopic);
            }
            other => {
                let other: String = other.chars().take(NAME_BYTES_MAX).collect();
                self.say(format!("there is no /{other}"));
                self.help();
            }
        }
    }

    fn help(&mut self) {
        self.asked.push_back(Asked::Help);
    }

    fn name(&mut self, name: &str) {
        if name.len() > NAME_BYTES_MAX {
            return self.say(long_name(name));
        }
        let before = self.writer.name.replace(name.to_owned());
        let asked = match self.phase {
            Phase::Unnamed => Asked::Name,
            Phase::Named | Phase::Over => Asked::Nick { before },
        };
        self.ask(&Action::Hello, asked);
    }

    fn sign_in(&mut self, name: String, typed: &str) {
        if typed.is_empty() || typed.len() > SECRET_BYTES_MAX {
            return self.say("not signed in: an empty or too long line".to_owned());
        }
        let secret = Secret::new(typed.to_owned());
        let (password, token) = match typed.starts_with(TOKEN_PREFIX) {
            true => (None, Some(secret)),
            false => (Some(secret), None),
        };
        let before = self.writer.name.replace(name);
        self.ask(&Action::SignIn { password, token, device: None }, Asked::SignIn { before });
    }

    /// What was typed is no name, or not the right password.
    fn refuse_name(&mut self, why: &str, what_next: &str) {
        self.bad_names += 1;
        if self.bad_names < BAD_NAMES_MAX {
            return self.show(&format!("-- {why}; {what_next}"));
        }
        self.show(&format!("-- {why}; {BAD_NAMES_MAX} lines were no name"));
        self.typed = BytesMut::new();
        self.refused = Some("lines that are no name");
        self.phase = Phase::Over;
    }

    fn with_room(&mut self, room: &str, then: impl FnOnce(&mut TypedLines, String)) {
        let room = room.strip_prefix('#').unwrap_or(room);
        if room.is_empty() {
            self.say("which room? as /join general".to_owned());
        } else if room.len() > NAME_BYTES_MAX {
            self.say(long_name(room));
        } else {
            then(self, room.to_owned());
        }
    }

    fn follow(&mut self, room: &str) {
        self.ask(
            &Action::Follow { rooms: vec![room.to_owned()], feeds: Vec::new(), from: FollowFrom::Now },
            Asked::Follow,
        );
    }

    fn send(&mut self, text: &str) {
        self.ask(&Action::text(&self.talks_in, text), Asked::Say);
    }

    fn ask(&mut self, action: &Action, asked: Asked) {
        let re = self.next_re();
        self.native.extend_from_slice(&self.writer.write(re, action));
        self.asked.push_back(asked);
    }

    fn ask_pages(&mut self, pages: Pages) {
        self.ask(&pages.question(), Asked::Page(pages));
    }

    fn next_re(&mut self) -> u64 {
        self.next_re += 1;
        self.next_re
    }

    /// A line of our own, behind the answers to what was asked before.
    fn say(&mut self, line: String) {
        self.asked.push_back(Asked::Own(line));
    }

    /// Shows our own lines that waited for answers which have come.
    fn flush_own(&mut self) {
        while matches!(self.asked.front(), Some(Asked::Own(_) | Asked::Help)) {
            match self.asked.pop_front() {
                Some(Asked::Own(line)) => self.show(&format!("-- {line}")),
                Some(Asked::Help) => self.text.extend_from_slice(help::text(self.line_end).as_bytes()),
                _ => break,
            }
        }
    }

    // ---- what the server says ----

    fn hear_reply(&mut self, reply: &Reply) {
        // Not an answer: the connection as a whole is refused, or ends.
        if reply.re.is_none() {
            return self.show(&format!("-- {}", reply.text));
        }
        let refused = reply.code.is_some();
        match self.asked.pop_front() {
            Some(Asked::Name) if reply.code.as_deref().is_some_and(is_about_the_name) => {
                self.writer.name = None;
                self.refuse_name(reply.text.trim_end_matches("; choose another name"), "type another name");
            }
            Some(Asked::Name) if reply.code.as_deref() == Some(Code::SignInNeeded.as_str()) => {
                self.writer.name = None;
                self.refuse_name(&reply.text, "here: /sign-in NAME, or type another name");
            }
            Some(Asked::SignIn { before }) if refused => {
                self.writer.name = before;
                match self.phase {
                    Phase::Unnamed => {
                        self.refuse_name(&reply.text, "type /sign-in NAME again, or another name");
                    }
                    Phase::Named | Phase::Over => self.show(&format!("-- not signed in: {}", reply.text)),
                }
            }
            Some(Asked::SignIn { .. }) => {
                let SignedIn { name, failed, failed_last, failed_from, .. } =
                    reply.keys().unwrap_or_default();
                self.show(&format!("-- you are {name}; /help shows what can be typed"));
                if let Some(failed) = failed {
                    let failed = failed_in_words(failed, failed_last.as_deref(), failed_from.as_deref());
                    self.show(&format!("-- {failed}"));
                }
                if self.phase == Phase::Unnamed {
                    self.phase = Phase::Named;
                    self.follow(FIRST_ROOM);
                }
            }
            Some(Asked::Name) if refused => {
                self.show(&format!("-- {}", reply.text));
                self.phase = Phase::Over;
            }
            Some(Asked::Name) => {
                self.phase = Phase::Named;
                let name = reply.keys::<Hello>().unwrap_or_default().name;
                self.show(&format!("-- you are {name}; /help shows what can be typed"));
                self.follow(FIRST_ROOM);
            }
            Some(Asked::Follow) if refused => self.show(&format!("-- not joined: {}", reply.text)),
            Some(Asked::Follow) => {
                let is_new = !self.rooms.contains(&reply.text);
                self.talks_in = reply.text.clone();
                self.show(&format!("-- you talk in #{}", reply.text));
                if is_new {
                    self.rooms.push(reply.text.clone());
                    // What is behind this place comes as events.
                    let upto = reply.keys::<Following>().unwrap_or_default().seq;
                    self.pages = Some(Pages::Past(Past::new(&reply.text, ENTRY_MESSAGES, Some(upto))));
                }
            }
            Some(Asked::Nick { before }) => {
                let name = reply.keys::<Hello>().unwrap_or_default().name;
                self.show(&match reply.code.as_deref() {
                    None => format!("-- you are {name}"),
                    Some(code) if code == Code::NameSet.as_str() => {
                        "-- your name stays: it can be changed only before your first message".to_owned()
                    }
                    Some(_) => {
                        format!("-- your name stays: {}", reply.text)
                    }
                });
                if refused {
                    self.writer.name = before;
                }
            }
            Some(Asked::Page(pages)) if refused => self.show(&pages.refused(reply)),
            Some(Asked::Page(pages)) => {
                let Turned { lines, next, shown } = pages.handle_page(reply, &self.rooms, &self.talks_in);
                for line in lines {
                    self.show(&line);
                }
                self.pages = next;
                if let Some((room, numbers)) = shown {
                    self.note_shown(room, &numbers);
                }
            }
            Some(Asked::Say) if refused => self.show(&format!("-- not sent: {}", reply.text)),
            Some(Asked::Say) => {
                let sent = reply.keys::<Sent>();
                let sent = sent.filter(|sent| self.rooms.contains(&sent.room));
                self.own.extend(sent.map(|sent| sent.seq));
            }
            Some(Asked::Who { .. }) if refused => self.show(&format!("-- {}", reply.text)),
            Some(Asked::SetTopic) if refused => self.show(&format!("-- topic not set: {}", reply.text)),
            // The event tells it.
            Some(Asked::SetTopic) => {}
            Some(Asked::Who { room }) => {
                for line in people_lines(&room, reply) {
                    self.show(&line);
                }
            }
            Some(Asked::Own(_) | Asked::Help) | None => {}
        }
        self.flush_own();
    }

    /// Events of what `/history` has shown are not shown again. At entry there are none.
    fn note_shown(&mut self, room: String, numbers: &std::ops::RangeInclusive<u64>) {
        let from = match &self.shown {
            // What was shown before and has not come yet may be below.
            Some((before, shown)) if *before == room && shown.end() + 1 >= *numbers.start() => {
                *shown.start().min(numbers.start())
            }
            _ => *numbers.start(),
        };
        self.shown = Some((room, from..=*numbers.end()));
    }

    fn was_shown(&self, event: &Event) -> bool {
        let Event::Room { room, what: RoomEvent::Message { n, .. }, .. } = event else { return false };
        self.shown.as_ref().is_some_and(|(shown, numbers)| shown == room && numbers.contains(n))
    }

    fn hear_event(&mut self, message: &EventMessage) {
        if let Some(seq) = message.event.seq() {
            while self.own.front().is_some_and(|&own| own < seq) {
                self.own.pop_front();
            }
            if self.own.front() == Some(&seq) {
                self.own.pop_front();
                return;
            }
        }
        if self.was_shown(&message.event) {
            return;
        }
        let Some(line) = event_line(message, self.rooms.len() > 1) else { return };
        self.show(&line);
    }

    fn show(&mut self, line: &str) {
        let line = indented(&harmless(line), "    ");
        for part in line.split_inclusive('\n') {
            self.text.extend_from_slice(part.trim_end_matches('\n').as_bytes());
            self.text.extend_from_slice(if part.ends_with('\n') { self.line_end } else { "" }.as_bytes());
        }
        self.text.extend_from_slice(self.line_end.as_bytes());
    }
}

enum Typed {
    Line(Bytes),
    TooLong,
}

/// Is the refusal about the name, so that another one may be typed?
fn is_about_the_name(code: &str) -> bool {
    [Code::BadName, Code::NameConfusable].iter().any(|of_name| of_name.as_str() == code)
}

fn long_name(name: &str) -> String {
    format!("this is a name of {} bytes; it must be 1 to {NAME_BYTES_MAX}", name.len())
}

const _: () = assert!(NAME_BYTES_MAX * 6 + 1_024 < HEADER_BYTES_MAX as usize);
