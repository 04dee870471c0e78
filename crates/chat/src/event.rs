//! Events: what happened. An event holds everything that `evolve`, replies, the view and the readers need: nobody
//! looks at the command again.

use smallvec::SmallVec;

use crate::{
    AccountEvent, CredentialEvent, InvitationEvent, MemberEvent, MessageEvent, OrderEvent, RoomEvent,
};

/// An event, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Order(OrderEvent),
    Account(AccountEvent),
    Credential(CredentialEvent),
    Invitation(InvitationEvent),
    Room(RoomEvent),
    Member(MemberEvent),
    Message(MessageEvent),
}

/// What comes of a command. Nearly every command has one event, which needs no allocation.
pub type Events = SmallVec<[Event; 1]>;

impl From<OrderEvent> for Event {
    fn from(event: OrderEvent) -> Event {
        Event::Order(event)
    }
}

impl From<AccountEvent> for Event {
    fn from(event: AccountEvent) -> Event {
        Event::Account(event)
    }
}

impl From<CredentialEvent> for Event {
    fn from(event: CredentialEvent) -> Event {
        Event::Credential(event)
    }
}

impl From<InvitationEvent> for Event {
    fn from(event: InvitationEvent) -> Event {
        Event::Invitation(event)
    }
}

impl From<RoomEvent> for Event {
    fn from(event: RoomEvent) -> Event {
        Event::Room(event)
    }
}

impl From<MemberEvent> for Event {
    fn from(event: MemberEvent) -> Event {
        Event::Member(event)
    }
}

impl From<MessageEvent> for Event {
    fn from(event: MessageEvent) -> Event {
        Event::Message(event)
    }
}
