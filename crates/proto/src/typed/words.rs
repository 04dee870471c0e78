//! Events as lines for somebody who types. What others said is made harmless where a line is shown.

use crate::limits::SHOWN_BYTES_MAX;
use crate::vang::{ConnectionEvent, Event, EventMessage, RoomEvent};

/// The line of an event; `names_room`: with the room of a message, where several are read. `None`: it is not shown.
pub(super) fn event_line(message: &EventMessage, names_room: bool) -> Option<String> {
    Some(match &message.event {
        Event::Room { room, what, .. } => match what {
            RoomEvent::Message { from, .. } => {
                let place = if names_room { format!("#{} ", one_line(room)) } else { String::new() };
                format!("{place}{}: {}", one_line(&from.to_string()), said(message))
            }
            RoomEvent::Hole { from, to, why } => {
                let numbers = if from == to { format!("{from}") } else { format!("{from}-{to}") };
                format!("-- #{room} {numbers} is not shown: {why}")
            }
            other => format!("-- {}", one_line(&other.in_words(Some(room))?.1)),
        },
        Event::SeveralRooms { what, .. } => format!("-- {}", one_line(&what.in_words(None)?.1)),
        Event::Connection(ConnectionEvent::Closing { why }) => {
            format!("-- the server closes this connection: {why}")
        }
        Event::Connection(ConnectionEvent::Epoch { .. }) | Event::Unknown { .. } => return None,
    })
}

/// A name that came over the wire, where a line end would begin a line of its own.
fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// A number with its noun.
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What was said, as far as a screen is the place for it.
fn said(event: &EventMessage) -> String {
    let Some(mut text) = event.text() else {
        let kind = event.header.content_type();
        return format!("({} of {})", count(event.content.len() as u64, "byte"), one_line(&kind));
    };
    // A message's own last line end is no line.
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    if text.len() > SHOWN_BYTES_MAX {
        let cut = text.floor_char_boundary(SHOWN_BYTES_MAX);
        let rest = text.len() - cut;
        text.truncate(cut);
        text.push_str(&format!("… (and {} more)", count(rest as u64, "byte")));
    }
    text
}
