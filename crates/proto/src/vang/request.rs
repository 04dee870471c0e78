//! Requests: what a client asks. The server reads them from header keys or, for twenty-line clients,
//! from JSON content; our client writes the header form.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{Code, ErrorReply};
use crate::guide::{self, Arguments, MalformedContent};
use crate::header::{Header, excerpt};
use crate::limits::{
    FIND_LIMIT, FIND_LIMIT_MAX, FOLLOWED_ROOMS_MAX, HISTORY_PAGE_MAX, ID_BYTES_MAX, INLINE_BYTES_MAX,
    QUERY_BYTES_MAX,
};
use crate::{Composer, Frame, encoding, python};

/// Where the arguments stood; the reply may differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In header keys.
    Header,
    /// In `text/json` content.
    Content,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where its arguments stood.
    pub form: Form,
    /// Given back in the reply: JSON text.
    pub re: Option<String>,
    /// Who speaks (`as`).
    pub name: Option<String>,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the arguments of the specification, by their names
pub enum Action {
    Hello,
    Ping,
    Send { room: String, id: Option<String>, content_type: String, content_encoding: String, content: Bytes },
    Follow { rooms: Vec<String>, from: FollowFrom },
    History { room: String, since: u64, limit: u64 },
    Find { query: String, limit: u64, before: Option<u64> },
    Rooms,
    Who { room: String },
    Create { room: String, private: bool },
    Join { room: String, who: Option<String> },
    Leave { room: String },
    AddAccount { name: String },
    Status,
}

/// Where following begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// With what comes next.
    Now,
    /// After these numbers, one for each room.
    Numbers(Vec<u64>),
    /// After a position that was seen before.
    Position {
        /// In which journal.
        journal: String,
        /// As the server gave it; says nothing to clients.
        epoch: Option<String>,
        /// The last seen.
        seq: u64,
    },
}

const ACTIONS: [&str; 13] = [
    "hello",
    "ping",
    "send",
    "follow",
    "history",
    "find",
    "rooms",
    "who",
    "create",
    "join",
    "leave",
    "account-add",
    "status",
];

/// Is this an action that vang knows?
pub(super) fn is_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

/// Where arguments are looked up.
enum Source<'a> {
    Header(&'a Header),
    Content(&'a Arguments),
}

impl Source<'_> {
    fn raw(&self, key: &str) -> Option<&str> {
        match self {
            Source::Header(header) => header.raw(key),
            Source::Content(arguments) => arguments.raw(key),
        }
    }

    fn optional_text(&self, key: &'static str) -> Result<Option<Cow<'_, str>>, ErrorReply> {
        match self.raw(key) {
            None => Ok(None),
            Some(raw) => match crate::header::text_of(raw) {
                Some(text) => Ok(Some(text)),
                None => Err(wrong(key, raw, "a string")),
            },
        }
    }

    fn text(&self, key: &'static str) -> Result<String, ErrorReply> {
        match self.optional_text(key)? {
            Some(text) => Ok(text.into_owned()),
            None => {
                Err(ErrorReply::new(Code::BadRequest, format!("missing argument '{key}'")).with("key", key))
            }
        }
    }

    fn number(&self, key: &'static str) -> Result<Option<u64>, ErrorReply> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        match raw.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(key, raw, "an integer from 0")),
        }
    }

    /// How many are asked for: at least one, and no more than there ever are in one reply.
    fn limit(&self, default: u64, most: u64) -> Result<u64, ErrorReply> {
        match self.raw("limit").map(|raw| (raw, raw.parse::<u64>())) {
            None => Ok(default),
            Some((_, Ok(number @ 1..))) => Ok(number.min(most)),
            Some((raw, _)) => Err(wrong("limit", raw, "an integer from 1")),
        }
    }

    /// The `id` to give back: however long its escapes are, it is short as text.
    fn id_as_json(&self) -> Option<String> {
        let raw = self.raw("id")?;
        match crate::header::text_of(raw) {
            Some(text) if text.len() <= ID_BYTES_MAX => Some(python::json_string(&text)),
            Some(_) => None,
            None => Some(raw.to_owned()).filter(|raw| raw.len() <= ID_BYTES_MAX),
        }
    }

    fn id(&self, key: &'static str) -> Result<Option<String>, ErrorReply> {
        let Some(id) = self.optional_text(key)? else { return Ok(None) };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            let detail = format!("{key} of {} bytes; it must be 1 to {ID_BYTES_MAX}", id.len());
            return Err(ErrorReply::new(Code::BadRequest, detail).with("key", key));
        }
        Ok(Some(id.into_owned()))
    }
}

fn wrong(key: &'static str, raw: &str, expected: &str) -> ErrorReply {
    ErrorReply::new(Code::BadRequest, format!("argument '{key}' is {}; it must be {expected}", excerpt(raw)))
        .with("key", key)
}

/// What went wrong with a request: an answer, and whether the connection can go on.
pub(super) enum RequestError {
    /// The bytes are not what they say they are: the connection ends.
    Malformed(MalformedContent),
    /// An answer, and the connection goes on.
    Refused { re: Option<String>, error: ErrorReply },
}

impl From<MalformedContent> for RequestError {
    fn from(malformed: MalformedContent) -> RequestError {
        RequestError::Malformed(malformed)
    }
}

impl Request {
    /// Reads a request whose action stands in the header.
    pub(super) fn from_header(frame: &Frame) -> Result<Request, RequestError> {
        let source = Source::Header(&frame.header);
        Request::read(&source, Form::Header, frame)
    }

    /// Reads a request whose action stands in the content.
    pub(super) fn from_content(frame: &Frame, arguments: &Arguments) -> Result<Request, RequestError> {
        Request::read(&Source::Content(arguments), Form::Content, frame)
    }

    fn read(source: &Source<'_>, form: Form, frame: &Frame) -> Result<Request, RequestError> {
        let re = match source.raw("re") {
            Some(raw) => Some(raw.to_owned()).filter(|raw| raw.len() <= ID_BYTES_MAX),
            None => source.id_as_json(),
        };
        let refuse = |error| RequestError::Refused { re: re.clone(), error };
        if let Some(raw) = source.raw("re").filter(|raw| raw.len() > ID_BYTES_MAX) {
            return Err(refuse(wrong("re", raw, "at most 128 bytes of JSON")));
        }
        let name = source.optional_text("as").map_err(refuse)?.map(Cow::into_owned);
        let action = match source.text("action").map_err(refuse)?.as_str() {
            "send" => Request::read_send(source, form, frame, &refuse)?,
            other => read_action(source, form, other).map_err(refuse)?,
        };
        Ok(Request { form, re, name, action })
    }

    fn read_send(
        source: &Source<'_>,
        form: Form,
        frame: &Frame,
        refuse: &dyn Fn(ErrorReply) -> RequestError,
    ) -> Result<Action, RequestError> {
        let room = source.text("room").map_err(refuse)?;
        let id = source.id("id").map_err(refuse)?;
        if form == Form::Content {
            let text = source.text("text").map_err(refuse)?;
            return Ok(Action::Send {
                room,
                id,
                content_type: "text/plain".to_owned(),
                content_encoding: "utf-8".to_owned(),
                content: Bytes::from(text.into_bytes()),
            });
        }
        let content_type = frame.header.content_type().into_owned();
        let mut content_encoding = frame.header.content_encoding().into_owned();
        if content_type.starts_with("text/") {
            // Readers do not know the sender's byte order, so the name that goes on must not need it.
            guide::text_content(frame)?;
            if let Some(known) = encoding::find(&content_encoding) {
                let canonical = encoding::canonical(known, frame.header.byteorder(), &frame.content);
                content_encoding = canonical.to_owned();
            }
        }
        Ok(Action::Send { room, id, content_type, content_encoding, content: frame.content.clone() })
    }

    /// Bytes that the request holds until it is answered; for `history` and `find`, what its reply will hold.
    pub fn weight(&self) -> usize {
        match &self.action {
            Action::History { .. } | Action::Find { .. } => INLINE_BYTES_MAX as usize,
            Action::Send { content, .. } => content.len() + 512,
            Action::Follow { rooms, .. } => rooms.iter().map(|room| room.len() + 64).sum::<usize>() + 512,
            _ => 512,
        }
    }
}

fn read_action(source: &Source<'_>, form: Form, name: &str) -> Result<Action, ErrorReply> {
    if form == Form::Content && matches!(name, "follow" | "history") {
        let detail = format!("'{name}' answers with more than one value: put its arguments into the header");
        return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "action"));
    }
    Ok(match name {
        "hello" => Action::Hello,
        "ping" => Action::Ping,
        "rooms" => Action::Rooms,
        "status" => Action::Status,
        "who" => Action::Who { room: source.text("room")? },
        "leave" => Action::Leave { room: source.text("room")? },
        "account-add" => Action::AddAccount { name: source.text("name")? },
        "join" => Action::Join {
            room: source.text("room")?,
            who: source.optional_text("who")?.map(Cow::into_owned),
        },
        "create" => {
            let private = match source.optional_text("access")?.as_deref() {
                None | Some("public") => false,
                Some("private") => true,
                Some(_) => {
                    let raw = source.raw("access").unwrap_or_default();
                    return Err(wrong("access", raw, "\"public\" or \"private\""));
                }
            };
            Action::Create { room: source.text("room")?, private }
        }
        "history" => Action::History {
            room: source.text("room")?,
            since: source.number("since")?.unwrap_or(0),
            limit: source.limit(HISTORY_PAGE_MAX, HISTORY_PAGE_MAX)?,
        },
        "find" => read_find(source)?,
        "follow" => read_follow(source)?,
        other => {
            let detail = format!("unknown action '{}'; known are {}", excerpt(other), ACTIONS.join(", "));
            return Err(ErrorReply::new(Code::UnknownAction, detail));
        }
    })
}

fn read_find(source: &Source<'_>) -> Result<Action, ErrorReply> {
    let query = source.text("query")?;
    if query.len() > QUERY_BYTES_MAX {
        let detail = format!("query of {} bytes; it must be at most {QUERY_BYTES_MAX}", query.len());
        return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "query"));
    }
    let limit = source.limit(FIND_LIMIT, FIND_LIMIT_MAX)?;
    Ok(Action::Find { query, limit, before: source.number("before")? })
}

fn read_follow(source: &Source<'_>) -> Result<Action, ErrorReply> {
    let rooms: Vec<String> = match source.raw("rooms") {
        Some(raw) => serde_json::from_str(raw).map_err(|_| wrong("rooms", raw, "a list of room names"))?,
        None => vec![source.text("room")?],
    };
    if rooms.is_empty() {
        return Err(wrong("rooms", "[]", "a list of at least one room name"));
    }
    if rooms.len() > FOLLOWED_ROOMS_MAX {
        let detail = format!("{} rooms; one follow takes 1 to {FOLLOWED_ROOMS_MAX}", rooms.len());
        return Err(ErrorReply::new(Code::TooMany, detail).with("limit", FOLLOWED_ROOMS_MAX as u64));
    }
    let from = if let Some(seq) = source.number("seq")? {
        let epoch = source.optional_text("epoch")?.map(Cow::into_owned);
        FollowFrom::Position { journal: source.text("journal")?, epoch, seq }
    } else {
        match source.raw("since") {
            None => FollowFrom::Now,
            Some(raw) => {
                let numbers: Vec<u64> = match raw.parse() {
                    Ok(number) => vec![number],
                    Err(_) => serde_json::from_str(raw)
                        .map_err(|_| wrong("since", raw, "an integer from 0, or a list of them"))?,
                };
                if numbers.len() != rooms.len() {
                    return Err(wrong("since", raw, "one number for each room"));
                }
                FollowFrom::Numbers(numbers)
            }
        }
    };
    Ok(Action::Follow { rooms, from })
}

/// Writes requests in the header form.
#[derive(Debug, Default)]
pub struct RequestWriter {
    /// `as` in every request.
    pub name: Option<String>,
}

impl RequestWriter {
    /// A request without content.
    pub fn write(&self, re: u64, action: &str, arguments: &[(&str, super::Value)]) -> Bytes {
        self.write_with(re, action, arguments, ("text/plain", "utf-8", &[]))
    }

    /// A request with content: its type, its encoding, its bytes.
    ///
    /// # Panics
    /// When the arguments are longer than a header can be: callers check names and ids first.
    pub fn write_with(
        &self,
        re: u64,
        action: &str,
        arguments: &[(&str, super::Value)],
        (content_type, content_encoding, content): (&str, &str, &[u8]),
    ) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + content.len());
        let mut composer = Composer::new(&mut out, content_type, content_encoding, content.len());
        composer.text("action", action).number("re", re);
        if let Some(name) = &self.name {
            composer.text("as", name);
        }
        for (key, value) in arguments {
            match value {
                super::Value::Text(text) => composer.text(key, text),
                super::Value::Number(number) => composer.number(key, *number),
            };
        }
        composer.finish(content);
        out.freeze()
    }

    /// A `follow` of these rooms.
    pub fn follow(&self, re: u64, rooms: &[String], from: &FollowFrom) -> Bytes {
        let mut out = BytesMut::with_capacity(512);
        let mut composer = Composer::new(&mut out, "text/plain", "utf-8", 0);
        composer.text("action", "follow").number("re", re);
        if let Some(name) = &self.name {
            composer.text("as", name);
        }
        composer.raw("rooms", &serde_json::Value::from(rooms.to_vec()).to_string());
        match from {
            FollowFrom::Now => {}
            FollowFrom::Numbers(numbers) => {
                composer.raw("since", &serde_json::Value::from(numbers.clone()).to_string());
            }
            FollowFrom::Position { journal, epoch, seq } => {
                composer.text("journal", journal);
                if let Some(epoch) = epoch {
                    composer.text("epoch", epoch);
                }
                composer.number("seq", *seq);
            }
        }
        composer.finish(&[]);
        out.freeze()
    }
}
