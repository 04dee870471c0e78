//! `vang get`: the content of one message, byte for byte, on stdout or in a file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use vang_client::trouble::plain;
use vang_client::{History, Next};
use vang_proto::terminal::{harmless, harmless_line};
use vang_proto::text::size;
use vang_proto::vang::{Event, EventMessage, RoomEvent, json_line};

use super::not_shown::why_not_shown;
use crate::args::ClientArgs;
use crate::say::{CommandError, note_first_retry, print, print_line, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang get general#12                  print a message
  vang get general#13 -o photo.png     save a picture
  vang get general#13 | sha256sum      the bytes as they were sent";

const AFTER: &str = "\
In a pipe and in a file the content is as it was sent, without a newline at its end. On a terminal, text is shown with its \
control characters escaped, and other content is refused (exit code 2). Exit code 1: there is no such message, or you \
cannot see it.";

/// Print or save the content of a message
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct GetArgs {
    /// Address of the message: ROOM#NUMBER, as `vang send` and `vang tail` print it
    #[arg(value_name = "ROOM#NUMBER", value_parser = MessageAddress::parse)]
    address: MessageAddress,

    /// Write to this file; - is stdout, also if it is a terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The message as a JSON object: the keys of the header, and `text`, or `base64` for content that is not text
    #[arg(long, conflicts_with = "output")]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

/// `general#12`
#[derive(Clone, Debug, PartialEq, Eq)]
struct MessageAddress {
    room: String,
    n: u64,
}

impl MessageAddress {
    fn parse(text: &str) -> Result<MessageAddress, String> {
        let form = "write ROOM#NUMBER, as in general#12";
        // A room is often written with a # before it.
        let (room, number) = match text.strip_prefix('#').unwrap_or(text).rsplit_once('#') {
            Some((room, number)) if !room.is_empty() => (room, number),
            _ => return Err(format!("the number of the message is missing; {form}")),
        };
        match number.parse() {
            Ok(n @ 1..) => Ok(MessageAddress { room: room.to_owned(), n }),
            Ok(0) => Err(format!("messages are numbered from 1; {form}")),
            Err(_) => Err(format!("'{}' is not the number of a message; {form}", harmless_line(number))),
        }
    }
}

pub(crate) fn run(args: GetArgs) -> anyhow::Result<()> {
    let MessageAddress { room, n } = &args.address;
    let timeout = args.client.timeout();
    let server = args.client.server()?;
    let identity = args.client.identity(&server)?;
    let mut history = History::new(server, identity, room.clone(), n - 1, timeout);
    let next = history.next_message(&mut note_first_retry(timeout)).map_err(CommandError::from)?;
    let message = message(next, room, *n)?;
    if args.json {
        return Ok(print_line(&json_line(&message))?);
    }
    match args.output.as_deref() {
        Some(path) if path != Path::new("-") => fs::write(path, &message.content).map_err(|error| {
            CommandError::new(format!("cannot write {}: {}", path.display(), plain(&error)))
        })?,
        None if to_terminal() => {
            let text = readable(&message).ok_or_else(|| not_for_terminals(&message, room, *n))?;
            print_line(harmless(&text).trim_end_matches('\n'))?;
        }
        _ => print(&message.content)?,
    }
    Ok(())
}

/// The message of this number, or why there is none.
fn message(next: Next, room: &str, n: u64) -> Result<EventMessage, CommandError> {
    let room = harmless_line(room);
    match next {
        Next::None { newest: 0 } => Err(CommandError::new(format!("#{room} has no messages yet"))),
        Next::None { newest } => {
            Err(CommandError::new(format!("there is no message {room}#{n}; the newest is {room}#{newest}")))
        }
        Next::Event(message) => match &message.event {
            Event::Room { what: RoomEvent::Message { n: found, .. }, .. } if *found == n => Ok(*message),
            Event::Room { what: RoomEvent::Hole { why, .. }, .. } => {
                let why = harmless_line(why);
                Err(CommandError::new(format!("{room}#{n} is not shown: {}", why_not_shown(&why))))
            }
            _ => Err(CommandError::new(format!("the server's answer does not have {room}#{n}"))),
        },
    }
}

/// Content that a person can read, whatever its type says: also JSON that was sent as `application/json`.
fn readable(message: &EventMessage) -> Option<String> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    message.text().or_else(|| {
        let text = std::str::from_utf8(&message.content).ok()?;
        (!text.contains(is_control)).then(|| text.to_owned())
    })
}

/// As curl: what a terminal would take for commands needs a second word.
fn not_for_terminals(message: &EventMessage, room: &str, n: u64) -> CommandError {
    let kind = harmless_line(&message.header.content_type());
    let bytes = size(message.content.len() as u64);
    CommandError::usage(format!("{}#{n} is not text ({kind}, {bytes})", harmless_line(room)))
        .advise("save it with -o FILE; -o - writes it to the terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_room_and_a_number() {
        let general = MessageAddress { room: "general".to_owned(), n: 12 };
        assert_eq!(MessageAddress::parse("general#12"), Ok(general.clone()));
        assert_eq!(MessageAddress::parse("#general#12"), Ok(general));
        for (wrong, said) in [
            ("general", "the number of the message is missing"),
            ("#general", "the number of the message is missing"),
            ("12", "the number of the message is missing"),
            ("#12", "the number of the message is missing"),
            ("", "the number of the message is missing"),
            ("general#0", "messages are numbered from 1"),
            ("general#", "'' is not the number of a message"),
            ("general#x", "'x' is not the number of a message"),
            ("general#-1", "'-1' is not the number of a message"),
            ("general#99999999999999999999", "is not the number of a message"),
        ] {
            let error = MessageAddress::parse(wrong).unwrap_err();
            assert!(error.contains(said) && error.ends_with("as in general#12"), "{wrong}: {error}");
        }
    }
}
