//! What the view and the book learn from an outcome.

use vang_chat::{AccountEvent, Event, Happened, RoomEvent, Seq};
use vang_view::{EventRow, TextOf};

use crate::Row;
use crate::shown::ShownEvent;

/// The rows of an event's places in rooms, behind `rows`.
pub(crate) fn add_places(seq: Seq, happened: &Happened, shown: ShownEvent, rows: &mut Vec<Row>) {
    let (data, message) = (shown.encode(), shown.is_message());
    rows.extend(
        happened
            .places
            .iter()
            .map(|place| Row::Event { room: place.room, event: EventRow { seq, n: place.n, message, data } }),
    );
}

/// What is kept where an event's text cannot be read: it was erased, or is damaged. A name goes on as it was; nobody may take
/// an older topic for the newest.
pub(crate) fn text_without_payload(of: TextOf) -> Option<String> {
    match of {
        TextOf::RoomName(_) | TextOf::AccountName(_) => None,
        TextOf::RoomTopic(_) => Some(String::new()),
    }
}

/// The text that the event's payload is, if the book and the view keep it.
pub(crate) fn kept_text(event: &Event) -> Option<TextOf> {
    match *event {
        Event::Room(RoomEvent::Created { room, .. }) => Some(TextOf::RoomName(room)),
        Event::Room(RoomEvent::TopicSet { room, .. }) => Some(TextOf::RoomTopic(room)),
        Event::Account(AccountEvent::Added { account, .. }) => Some(TextOf::AccountName(account)),
        Event::Order(_) | Event::Member(_) | Event::Message(_) => None,
    }
}
