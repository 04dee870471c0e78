//! An event as every reader of the room gets it: the same bytes for all of them.

use bytes::BytesMut;
use vang_chat::{RoomId, Seq, Time};
use vang_journal::{MessagePayloadView, Payload, decode_name};
use vang_proto::vang::{Content, Event, RoomEvent};

use crate::events::{EventFields, PayloadKind, ShownEvent};
use crate::names::Book;

/// Why a message is not shown that was written otherwise than it is read, or by a newer program.
const DAMAGED: &str = "damaged";

/// Why a message is not shown that was sent while the reader was no member.
pub(crate) const NOT_MEMBER: &str = "not-member";

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
        let (mut said, mut text) = (None, String::new());
        match (shown.kind.payload(), payload) {
            (PayloadKind::Content, None) => return write_hole(out, book, (room, seq), (n, n), "erased"),
            (PayloadKind::Content, Some(payload)) => match MessagePayloadView::decode(&payload.bytes) {
                Ok(decoded) => said = Some(decoded),
                Err(_) => return Encoder::write_damaged(out, book, (room, seq, n)),
            },
            // A text that was erased is as one that was removed.
            (PayloadKind::Text, Some(payload)) => text = decode_name(&payload.bytes).unwrap_or_default(),
            (PayloadKind::Text, None) | (PayloadKind::Hidden, _) => {}
        }
        let from = book.speaker(&shown.who, said.as_ref().and_then(|said| said.guest));
        let fields = EventFields { n, from: from.as_deref(), time: self.time(time), text: &text };
        let what = shown.kind.event(fields);
        let content = said.as_ref().map_or(Content::NONE, |said| Content {
            content_type: said.content_type,
            content_encoding: said.content_encoding,
            bytes: said.content,
        });
        let seq = seq.0;
        match shown.in_several_rooms {
            false => Event::Room { seq, room: &*book.room(room), what }.write(out, content),
            true => Event::SeveralRooms { seq, what }.write(out, content),
        }
    }

    /// Appends what stands for a message whose entry is damaged.
    pub(crate) fn write_damaged(out: &mut BytesMut, book: &Book, (room, seq, n): (RoomId, Seq, u64)) {
        write_hole(out, book, (room, seq), (n, n), DAMAGED);
    }

    fn time(&mut self, time: Time) -> &str {
        if self.time.as_ref().is_none_or(|(last, _)| *last != time) {
            self.time = Some((time, rfc3339(time)));
        }
        self.time.as_ref().map_or("", |(_, text)| text)
    }
}

/// Appends what stands for the messages from the first to the last of these numbers.
pub(crate) fn write_hole(
    out: &mut BytesMut,
    book: &Book,
    (room, seq): (RoomId, Seq),
    (from, to): (u64, u64),
    why: &str,
) {
    let what = RoomEvent::Hole { from, to, why };
    Event::Room { seq: seq.0, room: &*book.room(room), what }.write(out, Content::NONE);
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
