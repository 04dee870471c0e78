//! An event as a line for people or programs.

use jiff::Zoned;
use jiff::civil::Date;
use vang_proto::terminal::{harmless, harmless_line};
use vang_proto::vang::{Event, EventMessage, RoomEvent, json_line};

use crate::clock::{Clock, by_pattern, day, iso, minute};
use crate::cmd::not_shown::why_not_shown;
use crate::color::{self, BOLD, DIM, PLAIN, Style, WARNING, styled};
use crate::say::{CommandError, indented, print_line};

/// How a message is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `general#12 14:03 guest:ada: hello`
    Short,
    /// `general#12 2026-05-01T14:03:59.123+02:00 guest:ada: hello`
    Iso,
    /// `hello`
    Cat,
    /// The header's keys, and the text.
    Json,
    /// As `Short`, with the time by a pattern of date(1).
    Pattern(String),
}

impl Format {
    pub(super) fn parse(text: &str) -> Result<Format, String> {
        let example = "short, iso, cat, json, or a pattern of date(1) for the time, such as '%F %T'";
        Ok(match text {
            "short" => Format::Short,
            "iso" => Format::Iso,
            "cat" => Format::Cat,
            "json" => Format::Json,
            pattern if pattern.contains('%') => {
                let now = Zoned::now();
                let tried = by_pattern(pattern, &now).map_err(|error| format!("{error}; write {example}"))?;
                if tried.contains(['\n', '\r']) {
                    return Err(format!("a time has one line; write {example}"));
                }
                Format::Pattern(pattern.to_owned())
            }
            _ => return Err(format!("there is no such format; there are {example}")),
        })
    }

    /// Does it show when a message was posted, in a zone?
    pub(super) fn has_time(&self) -> bool {
        !matches!(self, Format::Cat | Format::Json)
    }
}

/// How events are shown, and the day of the last one.
pub(super) struct Shown {
    format: Format,
    /// Also what is not a message.
    events: bool,
    clock: Clock,
    /// Days begin with a line; otherwise a message that is not of today has its date.
    has_days: bool,
    is_colored: bool,
    day: Option<Date>,
}

impl Shown {
    pub(super) fn new(
        format: Format,
        events: bool,
        clock: Clock,
        is_terminal: bool,
        is_colored: bool,
    ) -> Shown {
        let has_days = is_terminal && format == Format::Short;
        Shown { format, events, clock, has_days, is_colored, day: None }
    }

    pub(super) fn print(&mut self, event: &EventMessage) -> Result<(), CommandError> {
        let is_wanted = match &event.event {
            Event::Room { what: RoomEvent::Message { .. } | RoomEvent::Hole { .. }, .. } => true,
            Event::Room { .. } | Event::SeveralRooms { .. } => self.events,
            Event::Connection(_) | Event::Unknown { .. } => false,
        };
        if !is_wanted {
            return Ok(());
        }
        let today = self.clock.today();
        let line = self.line(event, today);
        if let Some(day) = self.day_line(event) {
            print_line(&day)?;
        }
        print_line(&line)
    }

    /// The line before the first message of a day.
    fn day_line(&mut self, message: &EventMessage) -> Option<String> {
        let at = self.clock.read(time_of(message)?).filter(|_| self.has_days)?;
        let is_new = self.day.replace(at.date()) != Some(at.date());
        is_new.then(|| self.styled(BOLD, &format!("--- {} ---", day(&at))))
    }

    fn line(&self, message: &EventMessage, today: Date) -> String {
        match self.format {
            Format::Json => return json_line(message),
            Format::Cat => return content(message).unwrap_or_else(|| self.with_place(message, today)),
            Format::Short | Format::Iso | Format::Pattern(_) => {}
        }
        self.with_place(message, today)
    }

    /// The room or the address, the time, who, and what.
    fn with_place(&self, message: &EventMessage, today: Date) -> String {
        let (room, what) = match &message.event {
            Event::Room { room, what, .. } => (harmless_line(room), what),
            Event::SeveralRooms { what, .. } => ("several rooms:".to_owned(), what),
            Event::Connection(_) | Event::Unknown { .. } => return harmless_line(message.event.name()),
        };
        match what {
            RoomEvent::Message { n, from, time } => {
                let place = self.styled(DIM, &format!("{room}#{n} {}", self.at(time, today)));
                let from = harmless_line(&from.to_string());
                format!("{place} {}: {}", self.styled(color::of_name(&from), &from), said(message))
            }
            RoomEvent::Hole { from, to, why } => {
                let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
                let why = harmless_line(why);
                self.styled(WARNING, &format!("{room}#{range} (not shown: {})", why_not_shown(&why)))
            }
            other => match other.in_words(None) {
                Some((time, words)) => {
                    let line = format!("{room} {} {}", self.at(time, today), harmless_line(&words));
                    self.styled(DIM, &line)
                }
                None => format!("{room} {}", harmless_line(other.name())),
            },
        }
    }

    fn at(&self, time: &str, today: Date) -> String {
        let Some(at) = self.clock.read(time) else { return harmless_line(time) };
        match &self.format {
            Format::Iso => iso(&at),
            // It was tried.
            Format::Pattern(pattern) => by_pattern(pattern, &at).unwrap_or_else(|_| iso(&at)),
            Format::Short | Format::Cat | Format::Json if self.has_days => minute(&at),
            Format::Short | Format::Cat | Format::Json => self.clock.time_of_day(time, today),
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        styled(if self.is_colored { style } else { PLAIN }, text)
    }
}

/// When it was, if it has a time.
fn time_of(message: &EventMessage) -> Option<&str> {
    let (Event::Room { what, .. } | Event::SeveralRooms { what, .. }) = &message.event else { return None };
    match what {
        RoomEvent::Message { time, .. } => Some(time),
        RoomEvent::Hole { .. } => None,
        other => other.in_words(None).map(|(time, _)| time.as_str()),
    }
}

/// A message's text alone.
fn content(message: &EventMessage) -> Option<String> {
    match &message.event {
        Event::Room { what: RoomEvent::Message { .. }, .. } => {
            Some(message.text().map_or_else(|| said(message), |text| harmless(&text)))
        }
        _ => None,
    }
}

fn said(event: &EventMessage) -> String {
    match event.text() {
        Some(text) => indented(&harmless(&text), "    "),
        None => {
            let kind = harmless_line(&event.header.content_type());
            format!("({} bytes of {kind})", event.content.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use vang_proto::Decoder;
    use vang_proto::vang::{Content, Incoming, Speaker, incoming};

    use super::*;

    const TIME: &str = "2026-05-01T14:03:59.123Z";

    /// What a server writes, as a client reads it.
    fn event(what: RoomEvent<&str>, content: Content<'_>) -> EventMessage {
        let mut bytes = BytesMut::new();
        Event::Room { seq: 31, room: "general", what }.write(&mut bytes, content);
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        match incoming(decoder.poll_frame().unwrap().unwrap()).unwrap() {
            Incoming::Event(event) => event,
            Incoming::Reply(reply) => panic!("{reply:?}"),
        }
    }

    const TEXT: (&str, &str) = ("text/plain", "utf-8");

    fn message((content_type, content_encoding): (&str, &str), bytes: &[u8]) -> EventMessage {
        let what = RoomEvent::Message { n: 12, from: Speaker::Guest("ada"), time: TIME };
        event(what, Content { content_type, content_encoding, bytes })
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// In a pipe, on the day of `TIME`.
    fn line(event: &EventMessage) -> String {
        in_format(Format::Short, event)
    }

    fn in_format(format: Format, event: &EventMessage) -> String {
        Shown::new(format, true, Clock::utc(), false, false).line(event, date("2026-05-01"))
    }

    #[test]
    fn a_message_of_another_day_has_its_date() {
        let hello = message(TEXT, b"hello");
        assert_eq!(line(&hello), "general#12 14:03 guest:ada: hello");
        let tomorrow =
            Shown::new(Format::Short, true, Clock::utc(), false, false).line(&hello, date("2026-05-02"));
        assert_eq!(tomorrow, "general#12 2026-05-01 14:03 guest:ada: hello");
        let latin = message(("text/plain", "latin-1"), b"caf\xe9");
        assert_eq!(line(&latin), "general#12 14:03 guest:ada: caf\u{e9}");
    }

    #[test]
    fn messages_cannot_forge_a_line_or_control_the_terminal() {
        let forged = message(TEXT, b"hi\ngeneral#13 14:04 bob: I quit\x1b[1A");
        assert_eq!(
            line(&forged),
            "general#12 14:03 guest:ada: hi\n    general#13 14:04 bob: I quit\\u{1b}[1A"
        );
        let joined = RoomEvent::Joined { from: Speaker::Account("a\nb\u{1b}"), time: TIME };
        let joined = event(joined, Content::NONE);
        assert_eq!(line(&joined), "general 14:03 a b\\u{1b} joined");
        let topic = RoomEvent::Topic { from: Speaker::Operator, time: TIME, topic: "what\n\u{1b}grows" };
        assert_eq!(
            line(&event(topic, Content::NONE)),
            "general 14:03 server set the topic: what \\u{1b}grows"
        );
    }

    #[test]
    fn non_text_shows_its_type_and_holes_show_their_reason() {
        let bytes = message(("image/png", "binary"), b"\x89PNG");
        assert_eq!(line(&bytes), "general#12 14:03 guest:ada: (4 bytes of image/png)");
        let hole =
            |from: u64, to: u64, why: &str| line(&event(RoomEvent::Hole { from, to, why }, Content::NONE));
        assert_eq!(hole(5, 9, "not-member"), "general#5-9 (not shown: you were not a member)");
        assert_eq!(hole(5, 5, "damaged"), "general#5 (not shown: damaged on the server's disk)");
        assert_eq!(hole(5, 5, "erased"), "general#5 (not shown: erased)");
        assert_eq!(hole(1, 2, "other"), "general#1-2 (not shown: other)");
    }
    #[test]
    fn a_format_changes_the_time_or_leaves_the_text_alone() {
        let hello = message(TEXT, b"one\ntwo\x1b");
        let shown = |format: &str| in_format(Format::parse(format).unwrap(), &hello);
        assert_eq!(shown("short"), "general#12 14:03 guest:ada: one\n    two\\u{1b}");
        assert_eq!(shown("iso"), "general#12 2026-05-01T14:03:59.123Z guest:ada: one\n    two\\u{1b}");
        assert_eq!(shown("%d.%m. %T"), "general#12 01.05. 14:03:59 guest:ada: one\n    two\\u{1b}");
        assert_eq!(shown("cat"), "one\ntwo\\u{1b}");
        assert!(shown("json").starts_with('{'));
        let picture = message(("image/png", "binary"), b"\x89PNG");
        assert_eq!(in_format(Format::Cat, &picture), "(4 bytes of image/png)");
        let hole = event(RoomEvent::Hole { from: 5, to: 9, why: "erased" }, Content::NONE);
        assert_eq!(in_format(Format::Cat, &hole), "general#5-9 (not shown: erased)");
        for wrong in ["", "long", "%", "%!", "%F%n%T"] {
            let said = Format::parse(wrong).unwrap_err();
            assert!(said.contains("short, iso, cat, json, or a pattern of date(1)"), "{wrong}: {said}");
        }
    }

    #[test]
    fn on_a_terminal_a_day_begins_with_a_line_and_messages_are_coloured() {
        let mut shown = Shown::new(Format::Short, true, Clock::utc(), true, true);
        let hello = message(TEXT, b"hello");
        assert_eq!(shown.day_line(&hello).unwrap(), "\x1b[1m--- Friday, 2026-05-01 ---\x1b[0m");
        assert_eq!(shown.day_line(&hello), None);
        let (start, end) = color::of_name("guest:ada");
        let expected = format!("\x1b[2mgeneral#12 14:03\x1b[0m {start}guest:ada{end}: hello");
        // Without the date: the line of the day has it.
        assert_eq!(shown.line(&hello, date("2026-05-02")), expected);
        let hole = event(RoomEvent::Hole { from: 5, to: 9, why: "erased" }, Content::NONE);
        assert_eq!(shown.day_line(&hole), None);
        assert!(Shown::new(Format::Iso, true, Clock::utc(), true, true).day_line(&hello).is_none());
    }
}
