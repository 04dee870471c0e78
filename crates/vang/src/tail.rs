//! `vang tail`: what is said in a room, a line each, each message once.
//!
//! ```text
//! general#12 14:03 guest:ada: hello          {"event": "message", "seq": 31, …, "text": "hello"}
//! general#5-9 (not shown: you were not a member)
//! ```

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use vang_client::patience::written;
use vang_client::{ClientError, Follow, History, Notice, Update, outlet};
use vang_proto::terminal::{harmless, harmless_line};
use vang_proto::vang::{Event, json_line};

use crate::args::TailArgs;
use crate::say::{Failure, indented, note, print_line};

pub(crate) fn run(args: TailArgs) -> anyhow::Result<()> {
    let timeout = args.reach.timeout;
    let mut said = false;
    let mut watch = |fault: &ClientError| {
        if !std::mem::replace(&mut said, true) {
            note(&format!("{fault}; trying again for {}", written(timeout)));
        }
    };
    let shown = Shown { json: args.json, events: args.events };
    let (server, speaker) = (args.reach.server()?, Some(args.reach.speaker()));
    if args.no_follow {
        let since = args.since.unwrap_or(0);
        let mut history = History::new(server, speaker, args.room, since, timeout);
        if args.since.is_none() {
            // Nothing new, then; but a room that is not there is an error.
            history.check(&mut watch).map_err(Failure::from)?;
            return Ok(());
        }
        while let Some(events) = history.next_page(&mut watch).map_err(Failure::from)? {
            for event in &events {
                shown.print(event)?;
            }
        }
        return Ok(());
    }
    let since = args.since.map(|since| vec![since]);
    let mut follow =
        Follow::start(server, speaker, vec![args.room], since, timeout, &mut watch).map_err(Failure::from)?;
    end_with_reader();
    loop {
        match follow.next().map_err(Failure::from)? {
            Update::Event(event) => shown.print(&event)?,
            Update::Notice(notice) => note(&notice_text(&notice)),
        }
    }
}

/// `vang tail … | head -1` shall end with `head`, and not with the message after it.
fn end_with_reader() {
    thread::spawn(|| {
        if outlet::wait_until_unread(std::io::stdout()).is_ok() {
            std::process::exit(0);
        }
    });
}

/// Which events are shown, and how.
struct Shown {
    json: bool,
    events: bool,
}

impl Shown {
    fn print(&self, event: &Event) -> Result<(), Failure> {
        let wanted = match event.kind.as_str() {
            "message" | "hole" => true,
            "joined" | "left" | "room-created" => self.events,
            _ => false,
        };
        match (wanted, self.json) {
            (false, _) => Ok(()),
            (true, true) => print_line(&json_line(event)),
            (true, false) => print_line(&person_line(event, &today())),
        }
    }
}

fn notice_text(notice: &Notice) -> String {
    match notice {
        Notice::Lost(fault) => format!("{fault}; trying again until it works"),
        Notice::Again => "connected again".to_owned(),
        Notice::SetBack { seq } => format!(
            "the server's journal was set back to position {seq}, perhaps from a backup; \
             from there on it is told as it is now"
        ),
        Notice::OtherJournal => {
            "the server has another journal now; what was said in the meantime is not known".to_owned()
        }
        Notice::Closing { why } => format!("the server ends this connection: {why}"),
    }
}

/// For people.
fn person_line(event: &Event, today: &str) -> String {
    let text = |key: &str| harmless_line(&event.header.text(key).unwrap_or_default());
    let number = |key: &str| event.header.number(key).unwrap_or(0);
    let room = text("room");
    let from = text("from");
    let time = clock(&text("time"), today);
    match event.kind.as_str() {
        "message" => format!("{room}#{} {time} {from}: {}", number("n"), said(event)),
        "hole" => {
            let (from, to) = (number("from"), number("to"));
            let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
            format!("{room}#{range} (not shown: {})", why_not_shown(&text("why")))
        }
        "joined" => format!("{room} {time} {from} joined"),
        "left" => format!("{room} {time} {from} left"),
        "room-created" => format!("{room} {time} {from} created the room"),
        other => format!("{room} {time} {from} {}", harmless(other)),
    }
}

fn said(event: &Event) -> String {
    match event.text() {
        Some(text) => indented(&harmless(&text), "    "),
        None => {
            let kind = harmless_line(&event.header.content_type());
            format!("({} bytes of {kind})", event.content.len())
        }
    }
}

fn why_not_shown(why: &str) -> &str {
    match why {
        "not-member" => "you were not a member",
        "erased" => "erased",
        "retention" => "not kept that long",
        "damaged" => "damaged on the server's disk",
        other => other,
    }
}

/// `14:03`, with the day before it when that is not today. UTC, as it came.
pub(crate) fn clock(time: &str, today: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(clock)) if day == today => clock.to_owned(),
        (Some(day), Some(clock)) => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

/// Today in UTC, as `2026-05-01`.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    date((seconds / 86_400) as i64)
}

/// The date so many days after 1970-01-01. Years begin in March here, so that the day that is sometimes
/// missing is the last; 400 of them have 146,097 days.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use vang_proto::Decoder;
    use vang_proto::vang::{
        EventHead, Incoming, Speaker, incoming, write_hole, write_message, write_room_event,
    };

    use super::*;

    const HEAD: EventHead<'static> = EventHead { seq: 31, room: "general", time: "2026-05-01T14:03:59.123Z" };

    /// What a server writes, as a client reads it.
    fn event(write: impl FnOnce(&mut BytesMut)) -> Event {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        match incoming(decoder.poll_frame().unwrap().unwrap()).unwrap() {
            Incoming::Event(event) => event,
            Incoming::Reply(reply) => panic!("{reply:?}"),
        }
    }

    const TEXT: (&str, &str) = ("text/plain", "utf-8");

    fn message((kind, encoding): (&str, &str), content: &[u8]) -> Event {
        event(|out| write_message(out, HEAD, 12, Speaker::Guest("ada"), (kind, encoding, content)))
    }

    fn line(event: &Event) -> String {
        person_line(event, "2026-05-01")
    }

    #[test]
    fn a_message_is_a_line_and_one_of_another_day_says_which() {
        let hello = message(TEXT, b"hello");
        assert_eq!(line(&hello), "general#12 14:03 guest:ada: hello");
        assert_eq!(person_line(&hello, "2026-05-02"), "general#12 2026-05-01 14:03 guest:ada: hello");
        let latin = message(("text/plain", "latin-1"), b"caf\xe9");
        assert_eq!(line(&latin), "general#12 14:03 guest:ada: caf\u{e9}");
    }

    #[test]
    fn nobody_can_forge_a_line_or_reach_the_terminal() {
        let forged = message(TEXT, b"hi\ngeneral#13 14:04 bob: I quit\x1b[1A");
        assert_eq!(
            line(&forged),
            "general#12 14:03 guest:ada: hi\n    general#13 14:04 bob: I quit\\u{1b}[1A"
        );
        let joined = event(|out| write_room_event(out, "joined", HEAD, Speaker::Account("a\nb\u{1b}")));
        assert_eq!(line(&joined), "general 14:03 a b\\u{1b} joined");
    }

    #[test]
    fn what_is_no_text_is_named_and_a_hole_says_why() {
        let bytes = message(("image/png", "binary"), b"\x89PNG");
        assert_eq!(line(&bytes), "general#12 14:03 guest:ada: (4 bytes of image/png)");
        let hole = |from: u64, to: u64, why: &str| {
            line(&event(|out| write_hole(out, 9, "general", (from, to), why)))
        };
        assert_eq!(hole(5, 9, "not-member"), "general#5-9 (not shown: you were not a member)");
        assert_eq!(hole(5, 5, "damaged"), "general#5 (not shown: damaged on the server's disk)");
        assert_eq!(hole(5, 5, "erased"), "general#5 (not shown: erased)");
        assert_eq!(hole(1, 2, "other"), "general#1-2 (not shown: other)");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_574, "2026-05-01")]
        {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_453), "2025-12-31");
    }
}
