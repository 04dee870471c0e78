//! What comes of each event of the rules: the text that is kept, what the readers of the room see, what its asker is
//! answered. An event is a row in `Effects::of`; one that readers see is a row of `kinds!` too.
//!
//! The view keeps beside each event what readers see of it, for those who read it from the disk:
//!
//! ```text
//! data = [kind, who, ?scope]    CBOR; who = null (operator) / account's id / 0 (a guest: its name is in the payload);
//!                               scope = 1 (it stands in several rooms) / absent (in one)
//! ```

use minicbor::data::Type;
use minicbor::encode::Error as EncodeError;
use minicbor::encode::write::{Cursor, EndOfSlice};
use minicbor::{Decoder, Encoder};
use vang_chat::{
    AccountEvent, AccountId, Event, Happened, MemberEvent, MessageEvent, Principal, RoomEvent, RoomId, Seq,
};
use vang_proto::vang::{self, Speaker};
use vang_view::{EventData, EventRow, TextOf};

use crate::Row;

/// What comes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) answer: Answer,
    /// The text that its payload is, if the book and the view keep it.
    pub(crate) text: Option<TextOf>,
    /// `None`: no room shows this event.
    pub(crate) shown: Option<ShownEvent>,
}

/// What the asker of an event is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    AccountAdded,
    RoomChanged(RoomId),
    /// `seq` is of the message: another one than the entry's if it was sent before.
    Sent {
        room: RoomId,
        n: u64,
        seq: Seq,
    },
}

impl Effects {
    /// Of what the entry at `seq` made happen.
    pub(crate) fn of(seq: Seq, happened: &Happened) -> Effects {
        let effects = Effects::of_event(seq, &happened.event);
        let in_several_rooms = happened.places.len() > 1;
        Effects { shown: effects.shown.map(|shown| ShownEvent { in_several_rooms, ..shown }), ..effects }
    }

    fn of_event(seq: Seq, event: &Event) -> Effects {
        match *event {
            Event::Order(_) => Effects::answered(Answer::Done),
            Event::Account(AccountEvent::Added { account, .. }) => {
                Effects::answered(Answer::AccountAdded).keeps(TextOf::AccountName(account))
            }
            Event::Room(RoomEvent::Created { room, by, .. }) => Effects::answered(Answer::RoomChanged(room))
                .keeps(TextOf::RoomName(room))
                .shows(Kind::RoomCreated, by),
            Event::Room(RoomEvent::TopicSet { room, by }) => Effects::answered(Answer::RoomChanged(room))
                .keeps(TextOf::RoomTopic(room))
                .shows(Kind::Topic, by),
            Event::Member(MemberEvent::Joined { room, who, .. }) => {
                Effects::answered(Answer::RoomChanged(room)).shows(Kind::Joined, Principal::Account(who))
            }
            Event::Member(MemberEvent::Left { room, who, .. }) => {
                Effects::answered(Answer::RoomChanged(room)).shows(Kind::Left, Principal::Account(who))
            }
            Event::Message(MessageEvent::Sent { room, n, from, .. }) => {
                Effects::answered(Answer::Sent { room, n, seq }).shows(Kind::Message, from)
            }
            Event::Message(MessageEvent::Repeated { room, n, seq }) => {
                Effects::answered(Answer::Sent { room, n, seq })
            }
        }
    }

    fn answered(answer: Answer) -> Effects {
        Effects { answer, text: None, shown: None }
    }

    fn keeps(self, text: TextOf) -> Effects {
        Effects { text: Some(text), ..self }
    }

    fn shows(self, kind: Kind, who: Principal) -> Effects {
        Effects { shown: Some(ShownEvent { kind, who: who.into(), in_several_rooms: false }), ..self }
    }
}

macro_rules! kinds {
    ($($number:literal => $kind:ident, $payload:ident, |$fields:ident| $event:expr;)*) => {
        /// The kinds of shown events as numbers in the view. A number is never used again for another kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Kind { $($kind = $number),* }

        impl Kind {
            const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// What its payload is for those who see it.
            pub(crate) fn payload(self) -> PayloadKind {
                match self { $(Kind::$kind => PayloadKind::$payload),* }
            }

            /// The event as it is written to readers.
            pub(crate) fn event<'a>(self, fields: EventFields<'a>) -> vang::RoomEvent<&'a str> {
                match (self, fields) { $((Kind::$kind, $fields) => $event),* }
            }
        }
    };
}

kinds! {
    1 => Message, Said, |e| vang::RoomEvent::Message { n: e.n, from: e.from, time: e.time };
    2 => RoomCreated, Hidden, |e| vang::RoomEvent::Created { from: e.from, time: e.time };
    3 => Joined, Hidden, |e| vang::RoomEvent::Joined { from: e.from, time: e.time };
    4 => Left, Hidden, |e| vang::RoomEvent::Left { from: e.from, time: e.time };
    5 => Topic, Text, |e| vang::RoomEvent::Topic { from: e.from, time: e.time, topic: e.text };
}

/// What readers see of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    /// Nothing.
    Hidden,
    /// A line of text, as a key of the event.
    Text,
    /// A message's content.
    Said,
}

/// What an event of any kind can be made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventFields<'a> {
    /// A message's number.
    pub(crate) n: u64,
    pub(crate) from: Speaker<&'a str>,
    pub(crate) time: &'a str,
    /// Empty if its payload is no text, or was erased.
    pub(crate) text: &'a str,
}

/// A guest, where an account's id would be: no account has it.
const GUEST: u64 = 0;

const SEVERAL_ROOMS: u8 = 1;

/// What readers see of an event beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownEvent {
    pub(crate) kind: Kind,
    pub(crate) who: Author,
    /// Then it names none: it is the same for the readers of each, who get it once.
    pub(crate) in_several_rooms: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    Operator,
    Account(AccountId),
    Guest,
}

impl From<Principal> for Author {
    fn from(principal: Principal) -> Author {
        match principal {
            Principal::Operator => Author::Operator,
            Principal::Account(account) => Author::Account(account),
            Principal::Guest(_) => Author::Guest,
        }
    }
}

impl ShownEvent {
    pub(crate) fn is_message(self) -> bool {
        self.kind.payload() == PayloadKind::Said
    }

    /// The rows of its places in rooms, behind `rows`.
    pub(crate) fn add_rows(self, seq: Seq, happened: &Happened, rows: &mut Vec<Row>) {
        let (data, message) = (self.encode(), self.is_message());
        rows.extend(happened.places.iter().map(|place| Row::Event {
            room: place.room,
            event: EventRow { seq, n: place.n, message, data },
        }));
    }

    fn encode(self) -> EventData {
        let mut bytes = [0; 16];
        let mut cursor = Cursor::new(&mut bytes[..]);
        let mut write = || -> Result<(), EncodeError<EndOfSlice>> {
            let mut e = Encoder::new(&mut cursor);
            e.array(2 + u64::from(self.in_several_rooms))?.u8(self.kind as u8)?;
            match self.who {
                Author::Operator => e.null()?,
                Author::Account(account) => e.u64(account.0)?,
                Author::Guest => e.u64(GUEST)?,
            };
            if self.in_several_rooms {
                e.u8(SEVERAL_ROOMS)?;
            }
            Ok(())
        };
        write().expect("a kind and an id are short");
        let len = cursor.position();
        EventData::new(&bytes[..len]).expect("a kind and an id are short")
    }

    /// `None`: a newer program wrote it.
    pub(crate) fn decode(data: &EventData) -> Option<ShownEvent> {
        let mut d = Decoder::new(data.as_bytes());
        let fields = d.array().ok()??;
        let number = d.u8().ok()?;
        let kind = *Kind::ALL.iter().find(|kind| **kind as u8 == number)?;
        let who = match d.datatype().ok()? {
            Type::Null => {
                d.null().ok()?;
                Author::Operator
            }
            _ => match d.u64().ok()? {
                GUEST => Author::Guest,
                account => Author::Account(AccountId(account)),
            },
        };
        let in_several_rooms = match fields {
            2 => false,
            3 if d.u8().ok()? == SEVERAL_ROOMS => true,
            _ => return None,
        };
        Some(ShownEvent { kind, who, in_several_rooms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_author_is_read_as_it_was_written() {
        for &kind in Kind::ALL {
            for who in [
                Author::Operator,
                Author::Guest,
                Author::Account(AccountId(7)),
                Author::Account(AccountId(u64::MAX)),
            ] {
                for in_several_rooms in [false, true] {
                    let shown = ShownEvent { kind, who, in_several_rooms };
                    assert_eq!(ShownEvent::decode(&shown.encode()), Some(shown));
                }
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_not_shown() {
        for data in
            [&[0x82, 99, 0xf6][..], &[], &[0x82], &[0x82, 1], &[0x83, 1, 0xf6, 9], &[0x80], &[0xff; 30]]
        {
            assert_eq!(ShownEvent::decode(&EventData::new(data).unwrap()), None);
        }
    }
}
