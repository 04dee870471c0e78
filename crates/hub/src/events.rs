//! What comes of each event of the rules: the text that is kept, what the readers of a feed see, what its asker is
//! answered. An event is a row in `Effects::of`; one that readers see is a row of `kinds!` too.
//!
//! The view keeps beside each event, and who did it, what readers see of it, for those who read it from the disk:
//!
//! ```text
//! data = [kind, ?scope]    CBOR; scope = 1 (it stands in several rooms) / absent (in one)
//! ```

use minicbor::encode::Error as EncodeError;
use minicbor::encode::write::{Cursor, EndOfSlice};
use minicbor::{Decoder, Encoder};
use vang_chat::{
    AccountEvent, AccountId, CredentialEvent, Event, Happened, InvitationEvent, InvitationId, MemberEvent,
    MessageEvent, Principal, RoomEvent, RoomId, Seq, TokenId,
};
use vang_proto::vang::{self, Speaker};
use vang_view::{EventClass, EventData, EventRow, TextOf};

use crate::Row;

/// What comes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) answer: Answer,
    /// The text that its payload is, if the book and the view keep it.
    pub(crate) text: Option<TextOf>,
    /// `None`: no feed shows this event.
    pub(crate) shown: Option<ShownEvent>,
}

/// What the asker of an event is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    AccountAdded,
    AccountChanged(AccountId),
    Invited(InvitationId),
    Withdrawn(InvitationId),
    Accepted(AccountId),
    TokenCreated {
        who: AccountId,
        id: TokenId,
    },
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
        let in_several_rooms = happened.places.iter().filter(|place| place.feed.room().is_some()).count() > 1;
        Effects { shown: effects.shown.map(|shown| ShownEvent { in_several_rooms, ..shown }), ..effects }
    }

    fn of_event(seq: Seq, event: &Event) -> Effects {
        match *event {
            Event::Order(_) => Effects::answered(Answer::Done),
            Event::Account(AccountEvent::Added { account, .. }) => {
                Effects::answered(Answer::AccountAdded).keeps(TextOf::AccountName(account))
            }
            Event::Account(AccountEvent::RoleSet { who, .. } | AccountEvent::StatusSet { who, .. })
            | Event::Credential(
                CredentialEvent::PasswordSet { who, .. } | CredentialEvent::TokensEnded { who, .. },
            ) => Effects::answered(Answer::AccountChanged(who)),
            // The book has no name for it from here on.
            Event::Account(AccountEvent::Deleted { who, .. }) => {
                Effects::answered(Answer::AccountChanged(who))
                    .keeps(TextOf::AccountName(who))
                    .shows(Kind::Left, Principal::Account(who))
            }
            Event::Credential(CredentialEvent::VerifierRenewed { .. }) => Effects::answered(Answer::Done),
            Event::Credential(CredentialEvent::TokenCreated { who, id, .. }) => {
                Effects::answered(Answer::TokenCreated { who, id })
            }
            Event::Invitation(InvitationEvent::Created { id, .. }) => Effects::answered(Answer::Invited(id)),
            Event::Invitation(InvitationEvent::Withdrawn { id }) => Effects::answered(Answer::Withdrawn(id)),
            Event::Invitation(InvitationEvent::Accepted { account, .. }) => {
                Effects::answered(Answer::Accepted(account))
                    .keeps(TextOf::AccountName(account))
                    .shows(Kind::Joined, Principal::Account(account))
            }
            Event::Invitation(
                InvitationEvent::LinkUsed { account, .. } | InvitationEvent::AcceptedBefore { account },
            ) => Effects::answered(Answer::Accepted(account)),
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
            Event::Member(MemberEvent::Entered { who, .. }) => {
                Effects::answered(Answer::Done).shows(Kind::Joined, Principal::Account(who))
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
        Effects { shown: Some(ShownEvent { kind, who, in_several_rooms: false }), ..self }
    }
}

/// The entries whose payloads are to be erased after an event: a password that was changed is not to be guessed, and of a
/// deleted account nothing is kept but what it said.
pub(crate) fn erased(event: &Event) -> Vec<Seq> {
    match event {
        Event::Credential(CredentialEvent::PasswordSet { before, .. }) => before.iter().copied().collect(),
        Event::Credential(CredentialEvent::VerifierRenewed { before, .. }) => vec![*before],
        Event::Account(AccountEvent::Deleted { erased, .. }) => erased.clone(),
        _ => Vec::new(),
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
    1 => Message, Content, |e| vang::RoomEvent::Message { n: e.n, from: e.from, time: e.time };
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
    Content,
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

const SEVERAL_ROOMS: u8 = 1;

/// What readers see of an event beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownEvent {
    pub(crate) kind: Kind,
    /// A guest's name is in the payload.
    pub(crate) who: Principal,
    /// Then it names none: it is the same for the readers of each, who get it once.
    pub(crate) in_several_rooms: bool,
}

impl ShownEvent {
    pub(crate) fn is_message(self) -> bool {
        self.kind.payload() == PayloadKind::Content
    }

    /// The rows of its places, behind `rows`.
    pub(crate) fn add_rows(self, seq: Seq, happened: &Happened, rows: &mut Vec<Row>) {
        let (data, who, is_message) = (self.encode(), self.who, self.is_message());
        rows.extend(happened.places.iter().map(|place| {
            let class = match is_message {
                true => EventClass::Message(place.access),
                false => EventClass::Other,
            };
            Row::Event { feed: place.feed, event: EventRow { seq, n: place.n, class, who, data } }
        }));
    }

    fn encode(self) -> EventData {
        let mut bytes = [0; 7];
        let mut cursor = Cursor::new(&mut bytes[..]);
        let mut write = || -> Result<(), EncodeError<EndOfSlice>> {
            let mut e = Encoder::new(&mut cursor);
            e.array(1 + u64::from(self.in_several_rooms))?.u8(self.kind as u8)?;
            if self.in_several_rooms {
                e.u8(SEVERAL_ROOMS)?;
            }
            Ok(())
        };
        write().expect("two numbers are short");
        let len = cursor.position();
        EventData::new(&bytes[..len]).expect("two numbers are short")
    }

    /// `None`: a newer program wrote it.
    pub(crate) fn decode(row: &EventRow) -> Option<ShownEvent> {
        let mut d = Decoder::new(row.data.as_bytes());
        let fields = d.array().ok()??;
        let number = d.u8().ok()?;
        let kind = *Kind::ALL.iter().find(|kind| **kind as u8 == number)?;
        let in_several_rooms = match fields {
            1 => false,
            2 if d.u8().ok()? == SEVERAL_ROOMS => true,
            _ => return None,
        };
        Some(ShownEvent { kind, who: row.who, in_several_rooms })
            .filter(|shown| shown.is_message() == row.is_message())
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::Access;

    use super::*;

    fn row(kind: Kind, data: EventData) -> EventRow {
        let class = match kind {
            Kind::Message => EventClass::Message(Access::Private),
            _ => EventClass::Other,
        };
        EventRow { seq: Seq(3), n: 1, class, who: Principal::Account(AccountId(7)), data }
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        for &kind in Kind::ALL {
            for in_several_rooms in [false, true] {
                let shown = ShownEvent { kind, who: Principal::Account(AccountId(7)), in_several_rooms };
                assert_eq!(ShownEvent::decode(&row(kind, shown.encode())), Some(shown));
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_not_shown() {
        for data in [&[0x81, 99][..], &[], &[0x81], &[0x82, 3], &[0x82, 3, 9], &[0x80], &[0xff; 7]] {
            assert_eq!(ShownEvent::decode(&row(Kind::Joined, EventData::new(data).unwrap())), None);
        }
        // A message as the view counts it, but not as it is shown.
        assert_eq!(ShownEvent::decode(&row(Kind::Message, EventData::new(&[0x81, 3]).unwrap())), None);
    }
}
