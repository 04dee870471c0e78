//! Answers that come in pages: the last messages of a room, the rooms, the topic of one. The next page is asked for when the
//! lines of the one before are read.

use std::ops::RangeInclusive;

use super::answers::{room_lines, topic_line};
use super::past::Past;
use crate::vang::{Action, Reply, RoomList};

/// What is left of an answer.
pub(super) enum Pages {
    Past(Past),
    /// The rooms after this place.
    Rooms {
        after: Option<u64>,
    },
    /// The topic of the room, as its row in the list of rooms has it: it is looked for after this place.
    Topic {
        room: String,
        after: Option<u64>,
    },
}

/// A page as lines.
pub(super) struct Turned {
    pub(super) lines: Vec<String>,
    /// What is left.
    pub(super) next: Option<Pages>,
    /// The messages that were shown and can come as events, too.
    pub(super) shown: Option<(String, RangeInclusive<u64>)>,
}

impl Pages {
    /// What to ask next.
    pub(super) fn question(&self) -> Action {
        match self {
            Pages::Past(past) => past.question(),
            Pages::Rooms { after } | Pages::Topic { after, .. } => Action::rooms_after(*after),
        }
    }

    /// The line for a refusal.
    pub(super) fn refused(&self, reply: &Reply) -> String {
        match self {
            Pages::Past(_) => format!("-- the last messages cannot be shown: {}", reply.text),
            Pages::Rooms { .. } | Pages::Topic { .. } => format!("-- {}", reply.text),
        }
    }

    /// Takes a page. `read`: the rooms that this person follows; `talks_in`: the room of new messages.
    pub(super) fn handle_page(self, reply: &Reply, read: &[String], talks_in: &str) -> Turned {
        let after = reply.keys::<RoomList>().and_then(|list| list.next);
        match self {
            Pages::Past(mut past) => {
                let lines = past.handle_page(reply);
                match past.is_over() {
                    true => Turned { lines, next: None, shown: past.into_shown() },
                    false => Turned { lines, next: Some(Pages::Past(past)), shown: None },
                }
            }
            Pages::Rooms { .. } => {
                let next = after.map(|after| Pages::Rooms { after: Some(after) });
                Turned { lines: room_lines(reply, read, talks_in), next, shown: None }
            }
            Pages::Topic { room, .. } => match (topic_line(&room, reply), after) {
                (None, Some(_)) => {
                    Turned { lines: Vec::new(), next: Some(Pages::Topic { room, after }), shown: None }
                }
                (line, _) => {
                    let line =
                        line.unwrap_or_else(|| format!("-- the room #{room} is not in the list of rooms"));
                    Turned { lines: vec![line], next: None, shown: None }
                }
            },
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Pages::Past(past) => past.held_bytes(),
            Pages::Rooms { .. } => 0,
            Pages::Topic { room, .. } => room.len(),
        }
    }
}
