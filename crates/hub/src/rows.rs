//! What the view and the book of names learn from an outcome.

use vang_chat::{AccountEvent, Event, Happened, RoomEvent, Seq};
use vang_view::EventRow;

use crate::Row;
use crate::names::Book;
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

/// Does the event give a name to something? Then the name is its payload.
pub(crate) fn names_something(event: &Event) -> bool {
    matches!(event, Event::Room(RoomEvent::Created { .. }) | Event::Account(AccountEvent::Added { .. }))
}

/// The row and the note in the book of an event that gives this name to something.
pub(crate) fn add_name(event: &Event, name: String, book: &mut Book, rows: &mut Vec<Row>) {
    match *event {
        Event::Room(RoomEvent::Created { room, .. }) => {
            book.add_room(room, name.clone());
            rows.push(Row::RoomName { room, name });
        }
        Event::Account(AccountEvent::Added { account, .. }) => {
            book.add_account(account, name.clone());
            rows.push(Row::AccountName { account, name });
        }
        Event::Order(_) | Event::Member(_) | Event::Message(_) => {}
    }
}
