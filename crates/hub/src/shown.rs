//! What the readers of a room see of an event, beside its payload: made from the outcome once, then written to the
//! tails, and kept by the view for those who read it from the disk.
//!
//! ```text
//! data = [kind, who]      CBOR; who = null (operator) / account's id / true (a guest: its name is in the payload)
//! ```

use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};
use vang_chat::{AccountId, Event, MemberEvent, MessageEvent, Principal, RoomEvent};
use vang_view::EventData;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownEvent {
    pub(crate) kind: Kind,
    pub(crate) who: Author,
}

/// The kinds as numbers in the view. A number is never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Message = 1,
    RoomCreated = 2,
    Joined = 3,
    Left = 4,
    Topic = 5,
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
    /// `None`: no room shows this event.
    pub(crate) fn of(event: &Event) -> Option<ShownEvent> {
        let (kind, who) = match *event {
            Event::Message(MessageEvent::Sent { from, .. }) => (Kind::Message, from.into()),
            Event::Room(RoomEvent::Created { by, .. }) => (Kind::RoomCreated, by.into()),
            Event::Room(RoomEvent::TopicSet { by, .. }) => (Kind::Topic, by.into()),
            Event::Member(MemberEvent::Joined { who, .. }) => (Kind::Joined, Author::Account(who)),
            Event::Member(MemberEvent::Left { who, .. }) => (Kind::Left, Author::Account(who)),
            Event::Message(MessageEvent::Repeated { .. }) | Event::Order(_) | Event::Account(_) => {
                return None;
            }
        };
        Some(ShownEvent { kind, who })
    }

    pub(crate) fn encode(self) -> EventData {
        let mut bytes = Vec::with_capacity(16);
        let mut write = || -> Result<(), EncodeError<Infallible>> {
            let mut e = Encoder::new(&mut bytes);
            e.array(2)?.u8(self.kind as u8)?;
            match self.who {
                Author::Operator => e.null()?.ok(),
                Author::Account(account) => e.u64(account.0)?.ok(),
                Author::Guest => e.bool(true)?.ok(),
            }
        };
        write().expect("writing to a Vec cannot fail");
        EventData::new(&bytes).expect("a kind and an id are short")
    }

    /// Do readers see its payload?
    pub(crate) fn shows_payload(self) -> bool {
        matches!(self.kind, Kind::Message | Kind::Topic)
    }

    pub(crate) fn is_message(self) -> bool {
        self.kind == Kind::Message
    }

    /// `None`: a newer program wrote it.
    pub(crate) fn decode(data: &EventData) -> Option<ShownEvent> {
        let mut d = Decoder::new(data.as_bytes());
        d.array().ok()?;
        let number = d.u8().ok()?;
        let kinds = [Kind::Message, Kind::RoomCreated, Kind::Joined, Kind::Left, Kind::Topic];
        let kind = kinds.into_iter().find(|kind| *kind as u8 == number)?;
        let who = match d.datatype().ok()? {
            Type::Null => Author::Operator,
            Type::Bool => Author::Guest,
            _ => Author::Account(AccountId(d.u64().ok()?)),
        };
        Some(ShownEvent { kind, who })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_author_is_read_as_it_was_written() {
        for kind in [Kind::Message, Kind::RoomCreated, Kind::Joined, Kind::Left, Kind::Topic] {
            for who in [
                Author::Operator,
                Author::Guest,
                Author::Account(AccountId(7)),
                Author::Account(AccountId(u64::MAX)),
            ] {
                let shown = ShownEvent { kind, who };
                assert_eq!(ShownEvent::decode(&shown.encode()), Some(shown));
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_not_shown() {
        for data in [&[0x82, 99, 0xf6][..], &[], &[0x82], &[0x82, 1], &[0xff; 30]] {
            assert_eq!(ShownEvent::decode(&EventData::new(data).unwrap()), None);
        }
    }
}
