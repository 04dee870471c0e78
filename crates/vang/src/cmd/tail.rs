//! `vang tail`: the messages of a room, one per line, each once.
//!
//! ```text
//! general#12 14:03 guest:ada: hello          {"event": "message", "seq": 31, …, "text": "hello"}
//! general#5-9 (not shown: you were not a member)
//! ```

use std::thread;

use clap::Args;
use vang_client::{ConnectionChange, Follow, History, Update, output};
use vang_proto::terminal::{harmless, harmless_line};
use vang_proto::vang::{Event, EventMessage, RoomEvent, json_line};

use crate::args::ClientArgs;
use crate::clock::{time_of_day, today};
use crate::say::{CommandError, indented, note, note_first_retry, print_line};

const EXAMPLES: &str = "\
Examples:
  vang tail general                          new messages
  vang tail general --since 0 --no-follow    all messages until now
  vang tail general --since 12 --json        from message 13 on, one JSON object per line";

const AFTER: &str = "\
Reconnects automatically and shows each message once. Times are UTC. Messages that you are not allowed to see are \
shown as holes. Ctrl-C ends it, with the usual exit code 130.";

/// Show the messages of a room
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct TailArgs {
    /// Room to show
    room: String,

    /// Show messages after number N (0: all) [default: only new messages]
    #[arg(long, value_name = "N")]
    since: Option<u64>,

    /// Show what is there now, then exit
    #[arg(long)]
    no_follow: bool,

    /// One JSON object per line: the keys of the header, and `text`, or `base64` for content that is not text
    #[arg(long)]
    json: bool,

    /// Also show who created the room, joins and leaves, and topics; not with --no-follow, which shows stored messages only
    #[arg(long, conflicts_with = "no_follow")]
    events: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: TailArgs) -> anyhow::Result<()> {
    let timeout = args.client.timeout;
    let mut watch = note_first_retry(timeout);
    let shown = Shown { json: args.json, events: args.events };
    let (server, speaker) = (args.client.server()?, Some(args.client.speaker()));
    if args.no_follow {
        let since = args.since.unwrap_or(0);
        let mut history = History::new(server, speaker, args.room, since, timeout);
        if args.since.is_none() {
            // There are no new messages yet, but a missing room is an error.
            history.check(&mut watch).map_err(CommandError::from)?;
            return Ok(());
        }
        while let Some(events) = history.next_page(&mut watch).map_err(CommandError::from)? {
            for event in &events {
                shown.print(event)?;
            }
        }
        return Ok(());
    }
    let since = args.since.map(|since| vec![since]);
    let mut follow = Follow::start(server, speaker, vec![args.room], since, timeout, &mut watch)
        .map_err(CommandError::from)?;
    end_with_reader();
    loop {
        match follow.next().map_err(CommandError::from)? {
            Update::Event(event) => shown.print(&event)?,
            Update::Connection(change) => note(&change_text(&change)),
        }
    }
}

/// Ends the process when the reader of stdout has gone, so that `vang tail … | head -1` ends with `head`,
/// not at the next message.
fn end_with_reader() {
    thread::spawn(|| {
        if output::wait_until_reader_is_gone(std::io::stdout()).is_ok() {
            std::process::exit(0);
        }
    });
}

struct Shown {
    json: bool,
    events: bool,
}

impl Shown {
    fn print(&self, event: &EventMessage) -> Result<(), CommandError> {
        let wanted = match &event.event {
            Event::Room { what: RoomEvent::Message { .. } | RoomEvent::Hole { .. }, .. } => true,
            Event::Room { .. } | Event::SeveralRooms { .. } => self.events,
            Event::Connection(_) | Event::Unknown { .. } => false,
        };
        match (wanted, self.json) {
            (false, _) => Ok(()),
            (true, true) => print_line(&json_line(event)),
            (true, false) => print_line(&person_line(event, &today())),
        }
    }
}

fn change_text(change: &ConnectionChange) -> String {
    match change {
        ConnectionChange::Lost(error) => format!("{error}; trying again until it works"),
        ConnectionChange::Again => "connected again".to_owned(),
        ConnectionChange::SetBack { seq } => format!(
            "the server's journal went back to position {seq}, perhaps from a backup; \
             showing the messages from there on"
        ),
        ConnectionChange::OtherJournal => {
            "the server has another journal now; messages in between can be missing".to_owned()
        }
        ConnectionChange::Closing { why } if why == "stopping" => "the server is shutting down".to_owned(),
        ConnectionChange::Closing { why } => format!("the server closes this connection: {why}"),
    }
}

/// An event as a line for people.
fn person_line(message: &EventMessage, today: &str) -> String {
    let (room, what) = match &message.event {
        Event::Room { room, what, .. } => (harmless_line(room), what),
        Event::SeveralRooms { what, .. } => ("several rooms:".to_owned(), what),
        Event::Connection(_) | Event::Unknown { .. } => return harmless_line(message.event.name()),
    };
    let at = |time: &str| time_of_day(&harmless_line(time), today);
    match what {
        RoomEvent::Message { n, from, time } => {
            format!("{room}#{n} {} {}: {}", at(time), harmless_line(&from.to_string()), said(message))
        }
        RoomEvent::Hole { from, to, why } => {
            let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
            format!("{room}#{range} (not shown: {})", why_not_shown(&harmless_line(why)))
        }
        other => match other.in_words(None) {
            Some((time, words)) => format!("{room} {} {}", at(time), harmless_line(&words)),
            None => format!("{room} {}", harmless_line(other.name())),
        },
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

fn why_not_shown(why: &str) -> &str {
    match why {
        "not-member" => "you were not a member",
        "erased" => "erased",
        "retention" => "older than the server keeps messages",
        "damaged" => "damaged on the server's disk",
        other => other,
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

    fn line(event: &EventMessage) -> String {
        person_line(event, "2026-05-01")
    }

    #[test]
    fn a_message_of_another_day_has_its_date() {
        let hello = message(TEXT, b"hello");
        assert_eq!(line(&hello), "general#12 14:03 guest:ada: hello");
        assert_eq!(person_line(&hello, "2026-05-02"), "general#12 2026-05-01 14:03 guest:ada: hello");
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
}
