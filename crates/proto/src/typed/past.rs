//! The last messages of a room, with their times: when somebody enters it, and for `/history`.
//!
//! ```text
//! history since=BEYOND  → the room's newest number, 12
//! history since=2       → messages, which are lines:       -- 2026-05-01 (UTC)
//! history since=7       → the others, if a page was full   14:03 guest:ada: hello
//! ```
//!
//! Times are UTC: nobody knows in which zone somebody types.

use std::ops::RangeInclusive;

use super::words::event_line;
use crate::Decoder;
use crate::vang::{Action, Event, EventMessage, Incoming, Page, Reply, RoomEvent, incoming};

/// After every message of a room: the answer has none of them, and names the newest.
const BEYOND: u64 = i64::MAX as u64;

/// Some of the last messages of a room, while they are asked for.
pub(super) struct Past {
    room: String,
    count: u64,
    /// Only up to this place in the journal: at entry the others come as events.
    upto: Option<u64>,
    /// The numbers still to be asked for: after the first, up to the second. `None`: the newest is not known yet.
    numbers: Option<(u64, u64)>,
    /// The number after which it began.
    since: u64,
    /// The day of the message that was shown last.
    day: String,
    any: bool,
}

impl Past {
    pub(super) fn new(room: &str, count: u64, upto: Option<u64>) -> Past {
        let (room, day) = (room.to_owned(), String::new());
        Past { room, count, upto, numbers: None, since: 0, day, any: false }
    }

    /// What to ask next.
    pub(super) fn question(&self) -> Action {
        let (since, limit) = match self.numbers {
            None => (BEYOND, 1),
            Some((since, end)) => (since, end.saturating_sub(since).max(1)),
        };
        Action::History { room: self.room.clone(), since, limit }
    }

    /// Takes the answer; gives the lines of it.
    pub(super) fn handle_page(&mut self, reply: &Reply) -> Vec<String> {
        let Page { room, last, end, .. } = reply.keys().unwrap_or_default();
        let Some((since, newest)) = self.numbers else {
            self.room = room;
            self.since = end.saturating_sub(self.count);
            self.numbers = Some((self.since, end));
            return self.when_over(Vec::new());
        };
        let mut lines = Vec::new();
        for message in events(reply) {
            self.add(&message, &mut lines);
        }
        // A page that brings nothing would bring nothing again.
        self.numbers = Some((if last > since { last } else { newest }, newest));
        self.when_over(lines)
    }

    /// Is there nothing more to ask?
    pub(super) fn is_over(&self) -> bool {
        self.numbers.is_some_and(|(since, end)| since >= end)
    }

    /// The numbers that were shown although they may come as events, too.
    pub(super) fn into_shown(self) -> Option<(String, RangeInclusive<u64>)> {
        let (_, end) = self.numbers.filter(|_| self.upto.is_none())?;
        Some((self.room, self.since + 1..=end))
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.room.len() + self.day.len()
    }

    fn add(&mut self, message: &EventMessage, lines: &mut Vec<String>) {
        if message.event.seq().zip(self.upto).is_some_and(|(seq, upto)| seq > upto) {
            return;
        }
        let Some(line) = event_line(message, false) else { return };
        self.any = true;
        let Event::Room { what: RoomEvent::Message { time, .. }, .. } = &message.event else {
            return lines.push(line);
        };
        let (day, minute) = match (time.get(..10), time.get(11..16)) {
            (Some(day), Some(minute)) => (day, minute),
            _ => ("", time.as_str()),
        };
        if day != self.day {
            lines.push(format!("-- {day} (UTC)"));
            day.clone_into(&mut self.day);
        }
        lines.push(format!("{minute} {line}"));
    }

    /// `/history` says when a room has no messages; entering such a room shows nothing.
    fn when_over(&self, mut lines: Vec<String>) -> Vec<String> {
        if self.is_over() && !self.any && self.upto.is_none() {
            lines.push(format!("-- #{} has no messages yet", self.room));
        }
        lines
    }
}

fn events(page: &Reply) -> Vec<EventMessage> {
    let mut decoder = Decoder::default();
    decoder.feed(&page.content);
    let frames = std::iter::from_fn(|| decoder.poll_frame().ok().flatten());
    let events = frames.filter_map(|frame| match incoming(frame).ok()? {
        Incoming::Event(event) => Some(event),
        Incoming::Reply(_) => None,
    });
    events.collect()
}
