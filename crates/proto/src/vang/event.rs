//! Events: what the server tells, the same bytes for every reader. Two tables give their names, their keys, writing and
//! reading; `docs/PROTOCOL.md` section 5 has the same rows (a test compares them).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::keys::{KeyInfo, ReadKey, WriteKey, key};
use crate::{Composer, Frame, Header};

/// A row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventInfo {
    pub name: &'static str,
    /// Beside `seq` and `room`, for an event of a room.
    pub keys: &'static [KeyInfo],
    pub has_content: bool,
}

macro_rules! events {
    (
        $(#[$doc:meta])*
        $enum:ident, $table:ident:
        $($(#[$row_doc:meta])* $name:literal => $variant:ident { $($field:ident $(($key:literal))?: $type:ty),* $(,)? }
            $has_content:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $enum<T = String> {
            $($(#[$row_doc])* $variant { $($field: $type),* }),*
        }

        #[doc = concat!("Every `", stringify!($enum), "`, in the order of the specification.")]
        pub const $table: &[EventInfo] = {
            #[allow(dead_code)] // not every row has text
            type T = String;
            &[$(EventInfo {
                name: $name,
                keys: &[$(KeyInfo {
                    key: key!($field $($key)?),
                    is_optional: <$type as ReadKey>::IS_OPTIONAL,
                }),*],
                has_content: $has_content,
            }),*]
        };

        impl<T> $enum<T> {
            /// Its name on the wire.
            pub fn name(&self) -> &'static str {
                match self { $($enum::$variant { .. } => $name),* }
            }
        }

        impl<T: WriteKey> $enum<T>
        where
            Speaker<T>: WriteKey,
        {
            fn write_name(&self, composer: &mut Composer<'_>) {
                match self {
                    $($enum::$variant { .. } => composer.key_raw(concat!(r#", "event": ""#, $name, r#"""#), b"")),*
                };
            }

            fn write_keys(&self, composer: &mut Composer<'_>) {
                match self {
                    $($enum::$variant { $($field),* } => {
                        $($field.write(concat!(r#", ""#, key!($field $($key)?), r#"": "#), composer);)*
                    })*
                }
            }
        }

        impl $enum {
            /// `None`: there is no such event, or it lacks a key.
            fn read(name: &str, header: &Header) -> Option<$enum> {
                Some(match name {
                    $($name => $enum::$variant {
                        $($field: ReadKey::read(header, key!($field $($key)?))?),*
                    },)*
                    _ => return None,
                })
            }
        }
    };
}

events! {
    /// What happens in a room. `time` is RFC 3339 in UTC, with milliseconds.
    RoomEvent, ROOM_EVENTS:
    /// `n` is its number in the room.
    "message" => Message { n: u64, from: Speaker<T>, time: T } true;
    "joined" => Joined { from: Speaker<T>, time: T } false;
    "left" => Left { from: Speaker<T>, time: T } false;
    "room-created" => Created { from: Speaker<T>, time: T } false;
    /// What the room is about from now on; empty: nothing is said of it.
    "topic" => Topic { from: Speaker<T>, time: T, topic: T } false;
    /// The messages `from` to `to` are left out.
    "hole" => Hole { from: u64, to: u64, why: T } false;
}

impl<T: AsRef<str> + fmt::Display> RoomEvent<T> {
    /// When it was, and what somebody did, in words for a line: `ada joined`, or `ada joined #general` if the line does
    /// not name the room otherwise. `None`: a message or a hole, which have numbers and other forms.
    pub fn in_words(&self, room: Option<&str>) -> Option<(&T, String)> {
        let named = |before: &str| room.map_or(String::new(), |room| format!("{before} #{room}"));
        Some(match self {
            RoomEvent::Message { .. } | RoomEvent::Hole { .. } => return None,
            RoomEvent::Joined { from, time } => (time, format!("{from} joined{}", named(""))),
            RoomEvent::Left { from, time } => (time, format!("{from} left{}", named(""))),
            RoomEvent::Created { from, time } => (
                time,
                room.map_or(format!("{from} created the room"), |room| format!("{from} created #{room}")),
            ),
            RoomEvent::Topic { from, time, topic } if topic.as_ref().is_empty() => {
                (time, format!("{from} removed the topic{}", named(" of")))
            }
            RoomEvent::Topic { from, time, topic } => {
                (time, format!("{from} set the topic{}: {topic}", named(" of")))
            }
        })
    }
}

events! {
    /// What concerns the connection alone. It has no place in the journal.
    ConnectionEvent, CONNECTION_EVENTS:
    /// Another process orders as well from here on: a client keeps this epoch in place of the one that it had.
    "epoch" => Epoch { epoch: T } false;
    /// The server closes this connection.
    "closing" => Closing { why: T } false;
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T = String> {
    /// At a place in the journal, in a room.
    Room {
        seq: u64,
        room: T,
        what: RoomEvent<T>,
    },
    /// The same of an event about several rooms, as the end of an account. It names none, and comes once.
    SeveralRooms {
        seq: u64,
        what: RoomEvent<T>,
    },
    Connection(ConnectionEvent<T>),
    /// A newer server's: to be ignored, but its place counts.
    Unknown {
        name: T,
        seq: Option<u64>,
        room: Option<T>,
    },
}

/// What stands before a guest's name, so that no guest looks like an account.
pub const GUEST_PREFIX: &str = "guest:";

/// How the server is shown, and an operator.
const SERVER: &str = "server";

/// Who did it, as readers see it. Written on the wire, read from it and displayed with the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker<T = String> {
    /// An account's name.
    Account(T),
    /// A guest's name; shown with `guest:` before it.
    Guest(T),
    /// The server; shown as `server`.
    Operator,
}

/// The content of a message: how it was sent, and how it is given to readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    pub content_type: &'a str,
    pub content_encoding: &'a str,
    pub bytes: &'a [u8],
}

impl Content<'_> {
    /// What stands where there is none.
    pub const NONE: Content<'static> =
        Content { content_type: "text/plain", content_encoding: "utf-8", bytes: &[] };
}

impl<T: WriteKey> Event<T>
where
    Speaker<T>: WriteKey,
{
    /// Appends it, as a whole message.
    ///
    /// # Panics
    /// When its texts are longer than a header can be: they are names, times and words of ours.
    pub fn write(&self, out: &mut BytesMut, content: Content<'_>) {
        out.reserve(content.bytes.len() + 256);
        let Content { content_type, content_encoding, bytes } = content;
        let mut composer = Composer::new(out, content_type, content_encoding, bytes.len());
        match self {
            Event::Room { seq, room, what } => {
                what.write_name(&mut composer);
                composer.key_number(r#", "seq": "#, *seq);
                room.write(r#", "room": "#, &mut composer);
                what.write_keys(&mut composer);
            }
            Event::SeveralRooms { seq, what } => {
                what.write_name(&mut composer);
                composer.key_number(r#", "seq": "#, *seq);
                what.write_keys(&mut composer);
            }
            Event::Connection(what) => {
                what.write_name(&mut composer);
                what.write_keys(&mut composer);
            }
            Event::Unknown { name, seq, room } => {
                name.write(r#", "event": "#, &mut composer);
                seq.write(r#", "seq": "#, &mut composer);
                room.write(r#", "room": "#, &mut composer);
            }
        }
        composer.finish(bytes);
    }

    /// The same as bytes of its own, without content.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write(&mut out, Content::NONE);
        out.freeze()
    }
}

impl<T: AsRef<str>> Event<T> {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Event::Room { what, .. } | Event::SeveralRooms { what, .. } => what.name(),
            Event::Connection(what) => what.name(),
            Event::Unknown { name, .. } => name.as_ref(),
        }
    }

    /// Its place in the journal, if it has one.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Event::Room { seq, .. } | Event::SeveralRooms { seq, .. } => Some(*seq),
            Event::Connection(_) => None,
            Event::Unknown { seq, .. } => *seq,
        }
    }

    /// The room and its last message that the event accounts for: a message itself, a hole's last.
    pub fn accounts_for(&self) -> Option<(&str, u64)> {
        match self {
            Event::Room { room, what: RoomEvent::Message { n, .. }, .. } => Some((room.as_ref(), *n)),
            Event::Room { room, what: RoomEvent::Hole { to, .. }, .. } => Some((room.as_ref(), *to)),
            Event::Room { .. }
            | Event::SeveralRooms { .. }
            | Event::Connection(_)
            | Event::Unknown { .. } => None,
        }
    }
}

impl Event {
    fn read(name: &str, header: &Header) -> Event {
        if let (Some(seq), Some(what)) = (header.number("seq"), RoomEvent::read(name, header)) {
            return match header.text("room") {
                Some(room) => Event::Room { seq, room: room.into_owned(), what },
                None => Event::SeveralRooms { seq, what },
            };
        }
        if let Some(what) = ConnectionEvent::read(name, header) {
            return Event::Connection(what);
        }
        let room = header.text("room").map(std::borrow::Cow::into_owned);
        Event::Unknown { name: name.to_owned(), seq: header.number("seq"), room }
    }
}

impl<T: AsRef<str>> Speaker<T> {
    /// Borrowed.
    pub fn as_deref(&self) -> Speaker<&str> {
        match self {
            Speaker::Account(name) => Speaker::Account(name.as_ref()),
            Speaker::Guest(name) => Speaker::Guest(name.as_ref()),
            Speaker::Operator => Speaker::Operator,
        }
    }

    /// The shown name: both pieces together.
    fn pieces(&self) -> [&str; 2] {
        match self {
            Speaker::Account(name) => ["", name.as_ref()],
            Speaker::Guest(name) => [GUEST_PREFIX, name.as_ref()],
            Speaker::Operator => ["", SERVER],
        }
    }
}

impl<T: AsRef<str>> WriteKey for Speaker<T> {
    fn write(&self, key: &'static str, composer: &mut Composer<'_>) {
        composer.key_pieces(key, &self.pieces());
    }
}

impl ReadKey for Speaker<String> {
    fn read(header: &Header, key: &str) -> Option<Speaker<String>> {
        let shown = header.text(key)?;
        Some(match (&*shown, shown.strip_prefix(GUEST_PREFIX)) {
            (SERVER, _) => Speaker::Operator,
            (_, Some(guest)) => Speaker::Guest(guest.to_owned()),
            (account, None) => Speaker::Account(account.to_owned()),
        })
    }
}

impl<T: AsRef<str>> fmt::Display for Speaker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// An event as it came.
#[derive(Clone, Debug)]
pub struct EventMessage {
    pub event: Event,
    /// Every key, also those that this program does not know.
    pub header: Header,
    /// What was said.
    pub content: Bytes,
}

impl EventMessage {
    pub(super) fn read(name: &str, frame: Frame) -> EventMessage {
        let event = Event::read(name, &frame.header);
        EventMessage { event, header: frame.header, content: frame.content }
    }

    /// The content as text, if it is text.
    pub fn text(&self) -> Option<String> {
        if !self.header.content_type().starts_with("text/") {
            return None;
        }
        let frame = Frame { header: self.header.clone(), content: self.content.clone() };
        crate::guide::text_content(&frame).ok().map(std::borrow::Cow::into_owned)
    }
}
