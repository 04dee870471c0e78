//! An entry as the event that every reader of the room gets: the same bytes for all of them.

use bytes::BytesMut;
use vang_chat::{Command, Principal, RoomId, Seq, Time};
use vang_journal::{Envelope, Payload, SaidView};
use vang_proto::vang::{EventHead, Speaker, write_hole, write_message, write_room_event};

use crate::names::Book;

/// Why a message is not shown that was written otherwise than it is read, or by a newer program.
const DAMAGED: &str = "damaged";

/// Encodes events; remembers the last time it wrote, since a batch shares one stamp.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    time: Option<(Time, String)>,
}

impl Encoder {
    /// Appends the event of an entry that `room`'s readers see; `n` is a message's number.
    pub(crate) fn write(
        &mut self,
        out: &mut BytesMut,
        book: &Book,
        (room, seq, n): (RoomId, Seq, u64),
        envelope: &Envelope,
        payload: Option<&Payload>,
    ) {
        let room_name = book.room(room);
        let head = EventHead { seq: seq.0, room: &room_name, time: self.time(envelope.time) };
        let who = |out: &mut BytesMut, kind, who: &Principal| match who {
            Principal::Account(account) => {
                write_room_event(out, kind, head, Speaker::Account(&book.account(*account)));
            }
            Principal::Operator | Principal::Guest(_) => write_room_event(out, kind, head, Speaker::Operator),
        };
        match &envelope.command {
            Command::Send { from, .. } => match payload.map(|payload| SaidView::decode(&payload.bytes)) {
                Some(Ok(said)) => {
                    let name;
                    let speaker = match (from, said.guest) {
                        (Principal::Account(account), _) => {
                            name = book.account(*account);
                            Speaker::Account(&name)
                        }
                        (Principal::Guest(_), Some(guest)) => Speaker::Guest(guest),
                        (Principal::Guest(_), None) => Speaker::Guest("anon"),
                        (Principal::Operator, _) => Speaker::Operator,
                    };
                    let content = (said.content_type, said.content_encoding, said.content);
                    write_message(out, head, n, speaker, content);
                }
                Some(Err(_)) => write_hole(out, seq.0, &room_name, (n, n), DAMAGED),
                None => write_hole(out, seq.0, &room_name, (n, n), "erased"),
            },
            Command::CreateRoom { by, .. } => who(out, "room-created", by),
            Command::Join { who: account, .. } => who(out, "joined", &Principal::Account(*account)),
            Command::Leave { who: account, .. } => who(out, "left", &Principal::Account(*account)),
            // Nothing that a room's readers see.
            Command::Open | Command::SwitchRules { .. } | Command::AddAccount { .. } | Command::Tick => {}
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
