//! An event as every reader of the room gets it: the same bytes for all of them.

use bytes::BytesMut;
use vang_chat::{RoomId, Seq, Time};
use vang_journal::{Payload, SaidView};
use vang_proto::vang::{EventHead, Speaker, write_hole, write_message, write_room_event};

use crate::names::Book;
use crate::shown::{Author, Kind, ShownEvent};

/// Why a message is not shown that was written otherwise than it is read, or by a newer program.
const DAMAGED: &str = "damaged";

/// Encodes events; remembers the last time it wrote, since a batch shares one stamp.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    time: Option<(Time, String)>,
}

impl Encoder {
    /// Appends the event that `room`'s readers see; `n` is a message's number.
    pub(crate) fn write(
        &mut self,
        out: &mut BytesMut,
        book: &Book,
        (room, seq, n): (RoomId, Seq, u64),
        (time, shown): (Time, ShownEvent),
        payload: Option<&Payload>,
    ) {
        let room_name = book.room(room);
        let head = EventHead { seq: seq.0, room: &room_name, time: self.time(time) };
        let kind = match shown.kind {
            Kind::Message => {
                match payload.map(|payload| SaidView::decode(&payload.bytes)) {
                    Some(Ok(said)) => {
                        let account = match shown.who {
                            Author::Account(account) => Some(book.account(account)),
                            Author::Operator | Author::Guest => None,
                        };
                        let speaker = match (&account, shown.who) {
                            (Some(name), _) => Speaker::Account(name),
                            (None, Author::Guest) => Speaker::Guest(said.guest.unwrap_or("anon")),
                            (None, _) => Speaker::Operator,
                        };
                        let content = (said.content_type, said.content_encoding, said.content);
                        write_message(out, head, n, speaker, content);
                    }
                    Some(Err(_)) => write_hole(out, seq.0, &room_name, (n, n), DAMAGED),
                    None => write_hole(out, seq.0, &room_name, (n, n), "erased"),
                }
                return;
            }
            Kind::RoomCreated => "room-created",
            Kind::Joined => "joined",
            Kind::Left => "left",
        };
        match shown.who {
            Author::Account(account) => {
                write_room_event(out, kind, head, Speaker::Account(&book.account(account)));
            }
            Author::Operator | Author::Guest => write_room_event(out, kind, head, Speaker::Operator),
        }
    }

    /// Appends what stands for a message whose entry is damaged.
    pub(crate) fn write_damaged(out: &mut BytesMut, book: &Book, (room, seq, n): (RoomId, Seq, u64)) {
        write_hole(out, seq.0, &book.room(room), (n, n), DAMAGED);
    }

    fn time(&mut self, time: Time) -> &str {
        if self.time.as_ref().is_none_or(|(last, _)| *last != time) {
            self.time = Some((time, rfc3339(time)));
        }
        self.time.as_ref().map_or("", |(_, text)| text)
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn rfc3339(time: Time) -> String {
    match i64::try_from(time.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(stamp) => stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        // Beyond the year 9999: no clock says so honestly.
        None => format!("@{}ms", time.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_always() {
        assert_eq!(rfc3339(Time(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Time(1_795_307_722_120)), "2026-11-22T00:35:22.120Z");
        assert_eq!(rfc3339(Time(u64::MAX)), "@18446744073709551615ms");
    }
}
