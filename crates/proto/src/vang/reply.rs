//! Replies: what the server answers. One table gives the keys of each reply, writing and reading; `docs/PROTOCOL.md`
//! section 3 has the same keys beside the actions (a test compares them). `incoming` tells replies from events on the
//! client's side.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::event::EventMessage;
use super::keys::{KeyInfo, ReadKey, WriteKey, key};
use super::{ErrorKeys, ErrorReply};
use crate::compose::{itoa, result_content};
use crate::guide::Arguments;
use crate::python::{to_json, write_json_pieces};
use crate::{Composer, Frame, Header, guide};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyInfo {
    /// The actions that it answers.
    pub actions: &'static [&'static str],
    pub keys: &'static [KeyInfo],
}

/// The keys of a reply that says yes: one structure for each row of the table.
pub trait ReplyKeys: Sized {
    /// Writes them into the header, after `status`.
    fn write(&self, composer: &mut Composer<'_>);

    /// `None`: a key is missing, or of another type.
    fn read(header: &Header) -> Option<Self>;
}

macro_rules! replies {
    ($($(#[$doc:meta])* $($name:literal)|+ => $struct:ident {
        $($(#[$field_doc:meta])* $field:ident $(($key:literal))?: $type:ty),* $(,)?
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $struct {
                $($(#[$field_doc])* pub $field: $type),*
            }

            impl ReplyKeys for $struct {
                #[allow(unused_variables)] // not every row has keys
                fn write(&self, composer: &mut Composer<'_>) {
                    $(self.$field.write(concat!(r#", ""#, key!($field $($key)?), r#"": "#), composer);)*
                }

                #[allow(unused_variables)]
                fn read(header: &Header) -> Option<$struct> {
                    Some($struct { $($field: ReadKey::read(header, key!($field $($key)?))?),* })
                }
            }
        )*

        /// Every reply that says yes.
        pub const REPLIES: &[ReplyInfo] = &[$(ReplyInfo {
            actions: &[$($name),+],
            keys: &[$(KeyInfo {
                key: key!($field $($key)?),
                is_optional: <$type as ReadKey>::IS_OPTIONAL,
            }),*],
        }),*];
    };
}

replies! {
    /// The server and the journal. The result is the server's name and version.
    "hello" => Hello { protocol: u64, server: String, journal: String, epoch: String, seq: u64, name: String }
    /// The result is `pong`, or the server's health.
    "ping" | "status" | "sign-out" => NoKeys {}
    /// Who you are now. The result is your name.
    "sign-in" | "accept" => SignedIn {
        name: String,
        /// With `device`: with it this device signs in from now on.
        token: Option<String>,
        /// Sign-ins with a wrong password since the last one with the right one.
        failed: Option<u64>,
        /// When the last of them was, RFC 3339.
        failed_last ("failed-last"): Option<String>,
        /// Its IP address.
        failed_from ("failed-from"): Option<String>,
    }
    /// The message is durable. The result is its address.
    "send" => Sent { room: String, n: u64, seq: u64, address: String }
    /// Where the connection follows from. The result is the names of the rooms.
    "follow" => Following { journal: String, epoch: String, seq: u64 }
    /// A page of history; the content is events.
    "history" => Page {
        room: String,
        /// Messages and holes in it.
        count: u64,
        /// Number of the last; `since` for the next page.
        last: u64,
        /// The room's newest number.
        end: u64,
    }
    /// A page of what was found. The result is a list of `Hit`.
    "find" => Found {
        count: u64,
        /// `before` for the next page, if there is one.
        next: Option<u64>,
        left_out ("left-out"): Option<u64>,
        damaged: Option<u64>,
    }
    /// A page of the rooms. The result is a list of `RoomRow`.
    "rooms" => RoomList {
        /// `after` for the next page, if there is one.
        next: Option<u64>,
    }
    /// The result is a list of `Person`.
    "who" => People { room: String, left_out ("left-out"): Option<u64> }
    /// A room was made, joined, left, or has a topic. The result is its name.
    "create" | "join" | "leave" | "topic" => RoomChanged { room: String, seq: u64 }
    /// The result is the name.
    "account-add" => AccountAdded { name: String, seq: u64 }
    /// The result is the name.
    "account-role" | "account-disable" | "account-delete" | "account-enable" | "password" | "session-end" => AccountChanged {
        name: String,
        seq: u64,
    }
    /// The result is the token, which is never shown again.
    "token-create" => TokenCreated { name: String, id: u64, seq: u64 }
    /// The result is the code, which is never shown again.
    "invite" => Invited {
        id: u64,
        seq: u64,
        /// Where it is accepted in a browser, if the server knows its own address.
        link: Option<String>,
    }
    /// The result is a list of `InvitationRow`.
    "invitations" => InvitationList {}
    /// The result is `withdrawn`.
    "invitation-end" => InvitationEnded { id: u64, seq: u64 }
    /// The result is a list of `SessionRow`.
    "sessions" => SessionList {
        name: String,
        /// When a connection last spoke as the account, RFC 3339.
        seen: Option<String>,
        failed: Option<u64>,
        failed_last ("failed-last"): Option<String>,
        failed_from ("failed-from"): Option<String>,
    }
}

/// A reply that says yes, with a text as its result.
pub fn write_ok(re: Option<&str>, keys: &impl ReplyKeys, result: &str) -> Bytes {
    write(re, "ok", |composer| keys.write(composer), &result_content(result))
}

/// A reply that says yes, with a result of another type.
///
/// # Panics
/// When the result is not JSON, such as a map whose keys are no texts.
pub fn write_json(re: Option<&str>, keys: &impl ReplyKeys, result: &impl Serialize) -> Bytes {
    let result = to_json(result);
    let mut content = Vec::with_capacity(result.len() + 16);
    content.extend_from_slice(b"{\"result\": ");
    content.extend_from_slice(&result);
    content.push(b'}');
    write(re, "ok", |composer| keys.write(composer), &content)
}

/// The reply to `send`, which is written more often than all others together.
pub fn write_sent(re: Option<&str>, room: &str, n: u64, seq: u64) -> Bytes {
    let mut digits = [0; 20];
    let digits = std::str::from_utf8(itoa(n, &mut digits)).unwrap_or_default();
    let mut address = Vec::with_capacity(room.len() + 32);
    write_json_pieces(&mut address, &[room, "#", digits]);
    let (before, after) = (b"{\"result\": ", b"}");
    let content_length = before.len() + address.len() + after.len();
    let mut out = BytesMut::with_capacity(256 + 3 * address.len() + re.map_or(0, str::len));
    let mut composer = Composer::text_json(&mut out, content_length);
    if let Some(re) = re {
        composer.key_raw(r#", "re": "#, re.as_bytes());
    }
    composer.key_text(r#", "status": "ok", "room": "#, room);
    composer.key_number(r#", "n": "#, n).key_number(r#", "seq": "#, seq);
    composer.key_raw(r#", "address": "#, &address);
    // The content stands in pieces.
    composer.finish(&[]);
    for piece in [&before[..], &address, after] {
        out.extend_from_slice(piece);
    }
    out.freeze()
}

/// The reply to `history`: `frames` are events.
pub fn write_page(re: Option<&str>, page: &Page, frames: &[Bytes]) -> Bytes {
    let len = frames.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(256 + len);
    let mut composer = Composer::new(&mut out, "application/vang-events", "binary", len);
    write_head(&mut composer, re, "ok", |composer| page.write(composer));
    composer.finish(&[]);
    for frame in frames {
        out.extend_from_slice(frame);
    }
    out.freeze()
}

/// A reply that says no.
pub fn write_error(re: Option<&str>, error: &ErrorReply) -> Bytes {
    write(
        re,
        "error",
        |composer| error.write_keys(composer),
        &result_content(&format!("Error: {}", error.detail)),
    )
}

fn write(re: Option<&str>, status: &str, keys: impl FnOnce(&mut Composer<'_>), content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + content.len());
    let mut composer = Composer::text_json(&mut out, content.len());
    write_head(&mut composer, re, status, keys);
    composer.finish(content);
    out.freeze()
}

fn write_head(
    composer: &mut Composer<'_>,
    re: Option<&str>,
    status: &str,
    keys: impl FnOnce(&mut Composer<'_>),
) {
    if let Some(re) = re {
        composer.raw("re", re);
    }
    composer.text("status", status);
    keys(composer);
}

/// A message from the server.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// The answer to a request.
    Reply(Reply),
    /// What happened.
    Event(EventMessage),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The number that our request gave.
    pub re: Option<u64>,
    /// `None`: yes. Otherwise the code of the error.
    pub code: Option<String>,
    /// The result, or what is wrong.
    pub text: String,
    /// Every key, also those that this program does not know.
    pub header: Header,
    /// The events of `history`.
    pub content: Bytes,
}

/// The server said something that vang does not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this does not speak the vang protocol: its message is neither a reply nor an event")]
pub struct IncomingError;

impl Reply {
    /// Its keys; `None`: one of them is missing, or of another type.
    pub fn keys<K: ReplyKeys>(&self) -> Option<K> {
        K::read(&self.header)
    }

    /// The keys of a refusal.
    pub fn error_keys(&self) -> ErrorKeys {
        ErrorKeys::read(&self.header)
    }
}

/// Tells replies from events.
///
/// # Errors
/// The message is neither: it has no `event` and no `status`, or it is a reply whose JSON content cannot be read.
pub fn incoming(frame: Frame) -> Result<Incoming, IncomingError> {
    if let Some(event) = frame.header.text("event") {
        let name = event.into_owned();
        return Ok(Incoming::Event(EventMessage::read(&name, frame)));
    }
    let code = match frame.header.text("status").ok_or(IncomingError)?.as_ref() {
        "ok" => None,
        _ => Some(frame.header.text("code").unwrap_or_default().into_owned()),
    };
    let text = if code.is_some() {
        frame.header.text("detail").unwrap_or_default().into_owned()
    } else if frame.header.content_type() == "text/json" {
        let arguments = guide::text_content(&frame)
            .and_then(|text| Arguments::parse(&text))
            .map_err(|_| IncomingError)?;
        match arguments.text("result") {
            Some(text) => text.into_owned(),
            None => arguments.raw("result").unwrap_or_default().to_owned(),
        }
    } else {
        String::new()
    };
    Ok(Incoming::Reply(Reply {
        re: frame.header.number("re"),
        code,
        text,
        header: frame.header,
        content: frame.content,
    }))
}
