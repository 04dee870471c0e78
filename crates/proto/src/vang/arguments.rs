//! Arguments of requests: read from header keys or, for twenty-line clients, from JSON content; written into the header.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Code, ErrorReply};
use crate::guide::{self, Arguments, ContentError};
use crate::header::excerpt;
use crate::limits::{
    FOLLOWED_ROOMS_MAX, ID_BYTES_MAX, ROOMS_PER_TOKEN_MAX, SECRET_BYTES_MAX, TITLE_BYTES_MAX,
};
use crate::{Composer, Frame, Secret, encoding, python};

/// Who can read and speak in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Public,
    Private,
}

impl Access {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Public => "public",
            Access::Private => "private",
        }
    }
}

/// A feed beside those of rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedName {
    /// What concerns the account that asks, on all its devices.
    Account,
    /// What concerns everybody on this server.
    Server,
}

impl FeedName {
    pub const ALL: [FeedName; 2] = [FeedName::Account, FeedName::Server];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FeedName::Account => "account",
            FeedName::Server => "server",
        }
    }
}

/// An argument that is one of a few words.
pub(super) trait Word: Copy + Sized + 'static {
    const ALL: &'static [Self];

    /// The word on the wire.
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name { $($(#[$value_doc])* $value),* }

            impl $name {
                pub const ALL: &[$name] = &[$($name::$value),*];

                /// The word on the wire.
                pub fn as_str(self) -> &'static str {
                    match self { $($name::$value => $word),* }
                }

                /// The value of a word.
                pub fn named(word: &str) -> Option<$name> {
                    $name::ALL.iter().copied().find(|value| value.as_str() == word)
                }
            }

            impl Word for $name {
                const ALL: &'static [$name] = $name::ALL;

                fn word(self) -> &'static str {
                    self.as_str()
                }
            }

            impl Argument for $name {
                fn write(&self, key: &str, composer: &mut Composer<'_>) {
                    composer.text(key, self.as_str());
                }

                fn text_bytes(&self) -> usize {
                    self.as_str().len()
                }
            }
        )*
    };
}

words! {
    /// What an account can do on the server.
    Role {
        Person = "person",
        /// It manages the server.
        Admin = "admin",
        /// A program speaks with it.
        Bot = "bot",
    }
    /// What can be done with a script's token. Each includes those before it.
    TokenScope {
        Read = "read",
        Send = "send",
        /// What an administrator does, if the account is an administrator's.
        Admin = "admin",
    }
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

/// A type that an argument can have.
pub(super) trait Argument {
    /// Writes it under its key; nothing where it has no value.
    fn write(&self, key: &str, composer: &mut Composer<'_>);

    /// Bytes of text that it brings into the header, and for numbers their most.
    fn text_bytes(&self) -> usize;
}

/// The most digits of a number.
const DIGITS: usize = 20;

impl Argument for String {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        composer.text(key, self);
    }

    fn text_bytes(&self) -> usize {
        self.len()
    }
}

impl Argument for Secret {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        composer.text(key, self.expose());
    }

    fn text_bytes(&self) -> usize {
        self.len()
    }
}

impl Argument for u64 {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        composer.number(key, *self);
    }

    fn text_bytes(&self) -> usize {
        DIGITS
    }
}

impl<T: Argument> Argument for Option<T> {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        if let Some(value) = self {
            value.write(key, composer);
        }
    }

    fn text_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::text_bytes)
    }
}

impl Argument for Access {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        composer.text(key, self.as_str());
    }

    fn text_bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl Argument for Vec<String> {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        if !self.is_empty() {
            composer.raw(key, &serde_json::Value::from(self.clone()).to_string());
        }
    }

    fn text_bytes(&self) -> usize {
        self.iter().map(String::len).sum()
    }
}

impl Argument for Vec<FeedName> {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        if !self.is_empty() {
            let words: Vec<&str> = self.iter().map(|feed| feed.as_str()).collect();
            composer.raw(key, &serde_json::Value::from(words).to_string());
        }
    }

    fn text_bytes(&self) -> usize {
        self.iter().map(|feed| feed.as_str().len()).sum()
    }
}

impl Argument for FollowFrom {
    fn write(&self, key: &str, composer: &mut Composer<'_>) {
        match self {
            FollowFrom::Now => {}
            FollowFrom::Numbers(numbers) => {
                composer.raw(key, &serde_json::Value::from(numbers.clone()).to_string());
            }
            FollowFrom::Position { journal, epoch, seq } => {
                composer.text("journal", journal);
                if let Some(epoch) = epoch {
                    composer.text("epoch", epoch);
                }
                composer.number("seq", *seq);
            }
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            FollowFrom::Now => 0,
            FollowFrom::Numbers(numbers) => numbers.len() * DIGITS,
            FollowFrom::Position { journal, epoch, .. } => journal.len() + epoch.text_bytes() + DIGITS,
        }
    }
}

/// The content is written behind the header.
impl Argument for Bytes {
    fn write(&self, _key: &str, _composer: &mut Composer<'_>) {}

    fn text_bytes(&self) -> usize {
        0
    }
}

/// Where a request's arguments are.
pub(super) struct Source<'a> {
    pub(super) frame: &'a Frame,
    /// In the content; `None`: in the header.
    pub(super) content: Option<&'a Arguments>,
}

/// Why an argument cannot be read.
pub(super) enum ArgumentError {
    /// The content is not what it says it is: the connection ends.
    Malformed(ContentError),
    Refused(ErrorReply),
}

impl From<ContentError> for ArgumentError {
    fn from(malformed: ContentError) -> ArgumentError {
        ArgumentError::Malformed(malformed)
    }
}

impl From<ErrorReply> for ArgumentError {
    fn from(error: ErrorReply) -> ArgumentError {
        ArgumentError::Refused(error)
    }
}

impl Source<'_> {
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        match self.content {
            None => self.frame.header.raw(key),
            Some(arguments) => arguments.raw(key),
        }
    }

    pub(super) fn optional_text(&self, key: &'static str) -> Result<Option<Cow<'_, str>>, ErrorReply> {
        match self.raw(key) {
            None => Ok(None),
            Some(raw) => match crate::header::text_of(raw) {
                Some(text) => Ok(Some(text)),
                None => Err(wrong(key, raw, "a string")),
            },
        }
    }

    pub(super) fn text(&self, key: &'static str) -> Result<String, ErrorReply> {
        match self.optional_text(key)? {
            Some(text) => Ok(text.into_owned()),
            None => Err(missing(key)),
        }
    }

    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, ErrorReply> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        match raw.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(key, raw, "an integer from 0")),
        }
    }

    /// How many are asked for: at least one, and no more than there ever are in one reply.
    pub(super) fn limit(&self, default: u64, most: u64) -> Result<u64, ErrorReply> {
        match self.raw("limit").map(|raw| (raw, raw.parse::<u64>())) {
            None => Ok(default),
            Some((_, Ok(number @ 1..))) => Ok(number.min(most)),
            Some((raw, _)) => Err(wrong("limit", raw, "an integer from 1")),
        }
    }

    /// The `id` to give back: however long its escapes are, it is short as text.
    pub(super) fn id_as_json(&self) -> Option<String> {
        let raw = self.raw("id")?;
        match crate::header::text_of(raw) {
            Some(text) if text.len() <= ID_BYTES_MAX => Some(python::json_string(&text)),
            Some(_) => None,
            None => Some(raw.to_owned()).filter(|raw| raw.len() <= ID_BYTES_MAX),
        }
    }

    pub(super) fn id(&self, key: &'static str) -> Result<Option<String>, ErrorReply> {
        let Some(id) = self.optional_text(key)? else { return Ok(None) };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            let detail = format!("{key} of {} bytes; it must be 1 to {ID_BYTES_MAX}", id.len());
            return Err(ErrorReply::new(Code::BadRequest, detail).with("key", key));
        }
        Ok(Some(id.into_owned()))
    }

    /// A password, token or code.
    pub(super) fn secret(&self, key: &'static str) -> Result<Option<Secret>, ErrorReply> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        // No error repeats it.
        let bad = |found: String| {
            let detail =
                format!("argument '{key}' {found}; it must be a string of 1 to {SECRET_BYTES_MAX} bytes");
            ErrorReply::new(Code::BadRequest, detail).with("key", key)
        };
        let text = crate::header::text_of(raw).ok_or_else(|| bad("is no string".to_owned()))?;
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(bad(format!("has {} bytes", text.len())));
        }
        Ok(Some(Secret::new(text.into_owned())))
    }

    pub(super) fn new_secret(&self, key: &'static str) -> Result<Secret, ErrorReply> {
        self.secret(key)?.ok_or_else(|| missing(key))
    }

    /// What people call a device or a token: one short line.
    pub(super) fn title(&self, key: &'static str) -> Result<Option<String>, ErrorReply> {
        self.raw(key).map(|_| self.required_title(key)).transpose()
    }

    pub(super) fn required_title(&self, key: &'static str) -> Result<String, ErrorReply> {
        let title = self.line(key, TITLE_BYTES_MAX)?;
        if title.trim().is_empty() {
            return Err(wrong(key, "\"\"", "a short text, such as \"phone\""));
        }
        Ok(title)
    }

    pub(super) fn names(&self, key: &'static str) -> Result<Vec<String>, ErrorReply> {
        let Some(raw) = self.raw(key) else { return Ok(Vec::new()) };
        let names: Vec<String> = serde_json::from_str(raw).unwrap_or_default();
        if names.is_empty() || names.len() > ROOMS_PER_TOKEN_MAX {
            return Err(wrong(key, raw, &format!("a list of 1 to {ROOMS_PER_TOKEN_MAX} names")));
        }
        Ok(names)
    }

    pub(super) fn required_number(&self, key: &'static str) -> Result<u64, ErrorReply> {
        self.number(key)?.ok_or_else(|| missing(key))
    }

    pub(super) fn optional_word<W: Word>(&self, key: &'static str) -> Result<Option<W>, ErrorReply> {
        self.raw(key).map(|_| self.word(key)).transpose()
    }

    pub(super) fn word<W: Word>(&self, key: &'static str) -> Result<W, ErrorReply> {
        let text = self.text(key)?;
        W::ALL.iter().copied().find(|value| value.word() == text).ok_or_else(|| {
            let known: Vec<String> = W::ALL.iter().map(|value| format!("\"{}\"", value.word())).collect();
            wrong(key, self.raw(key).unwrap_or_default(), &known.join(" or "))
        })
    }

    pub(super) fn owned(&self, key: &'static str) -> Result<Option<String>, ErrorReply> {
        Ok(self.optional_text(key)?.map(Cow::into_owned))
    }

    pub(super) fn access(&self, key: &'static str) -> Result<Access, ErrorReply> {
        match self.optional_text(key)?.as_deref() {
            None | Some("public") => Ok(Access::Public),
            Some("private") => Ok(Access::Private),
            Some(_) => Err(wrong(key, self.raw(key).unwrap_or_default(), "\"public\" or \"private\"")),
        }
    }

    pub(super) fn text_up_to(&self, key: &'static str, bytes_max: usize) -> Result<String, ErrorReply> {
        let text = self.text(key)?;
        if text.len() > bytes_max {
            let detail = format!("{key} of {} bytes; it must be at most {bytes_max}", text.len());
            return Err(ErrorReply::new(Code::BadRequest, detail).with("key", key));
        }
        Ok(text)
    }

    pub(super) fn line(&self, key: &'static str, bytes_max: usize) -> Result<String, ErrorReply> {
        let line = self.text_up_to(key, bytes_max)?;
        // Also what ends a line elsewhere (U+2028, U+2029), and what turns the direction of what stands beside it.
        let is_refused =
            |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if line.chars().any(is_refused) {
            return Err(wrong(key, &python::json_string(&line), "one line without control characters"));
        }
        Ok(line)
    }

    pub(super) fn rooms(&self, key: &'static str) -> Result<Vec<String>, ErrorReply> {
        let rooms: Vec<String> = match self.raw(key) {
            Some(raw) => serde_json::from_str(raw).map_err(|_| wrong(key, raw, "a list of room names"))?,
            None if self.raw("room").is_none() && self.raw("feeds").is_some() => Vec::new(),
            None => vec![self.text("room")?],
        };
        if rooms.is_empty() && self.raw("feeds").is_none() {
            return Err(wrong(key, "[]", "a list of at least one room name"));
        }
        if rooms.len() > FOLLOWED_ROOMS_MAX {
            let detail = format!("{} rooms; one follow takes 1 to {FOLLOWED_ROOMS_MAX}", rooms.len());
            return Err(ErrorReply::new(Code::TooMany, detail).with("limit", FOLLOWED_ROOMS_MAX as u64));
        }
        Ok(rooms)
    }

    pub(super) fn feeds(&self, key: &'static str) -> Result<Vec<FeedName>, ErrorReply> {
        let Some(raw) = self.raw(key) else { return Ok(Vec::new()) };
        let words: Vec<Cow<'_, str>> = serde_json::from_str(raw).unwrap_or_default();
        let feeds = words.iter().map(|word| FeedName::ALL.into_iter().find(|feed| feed.as_str() == word));
        let feeds = feeds.collect::<Option<Vec<FeedName>>>().filter(|feeds| !feeds.is_empty());
        feeds.ok_or_else(|| wrong(key, raw, "a list of \"account\" or \"server\" or both"))
    }

    pub(super) fn follow_from(&self, key: &'static str) -> Result<FollowFrom, ErrorReply> {
        if let Some(seq) = self.number("seq")? {
            let epoch = self.owned("epoch")?;
            return Ok(FollowFrom::Position { journal: self.text("journal")?, epoch, seq });
        }
        let Some(raw) = self.raw(key) else { return Ok(FollowFrom::Now) };
        let numbers: Vec<u64> = match raw.parse() {
            Ok(number) => vec![number],
            Err(_) => serde_json::from_str(raw)
                .map_err(|_| wrong(key, raw, "an integer from 0, or a list of them"))?,
        };
        if numbers.len() != self.rooms("rooms")?.len() {
            return Err(wrong(key, raw, "one number for each room"));
        }
        Ok(FollowFrom::Numbers(numbers))
    }

    /// The type of what is sent: of the content, or of the argument `text`.
    pub(super) fn content_type(&self) -> String {
        match self.content {
            None => self.frame.header.content_type().into_owned(),
            Some(_) => "text/plain".to_owned(),
        }
    }

    /// The encoding of what is sent. Readers do not know the sender's byte order, so of a text it is a name that does
    /// not need it.
    pub(super) fn content_encoding(&self) -> Result<String, ArgumentError> {
        if self.content.is_some() {
            return Ok("utf-8".to_owned());
        }
        let Frame { header, content, .. } = self.frame;
        let declared = header.content_encoding();
        if !header.content_type().starts_with("text/") {
            return Ok(declared.into_owned());
        }
        guide::text_content(self.frame)?;
        Ok(match encoding::find(&declared) {
            Some(known) => encoding::canonical(known, header.byteorder(), content).to_owned(),
            None => declared.into_owned(),
        })
    }

    /// What is sent: the content, or the argument `text`.
    pub(super) fn content(&self) -> Result<Bytes, ErrorReply> {
        match self.content {
            None => Ok(self.frame.content.clone()),
            Some(_) => self.text("text").map(|text| Bytes::from(text.into_bytes())),
        }
    }
}

fn missing(key: &'static str) -> ErrorReply {
    ErrorReply::new(Code::BadRequest, format!("missing argument '{key}'")).with("key", key)
}

pub(super) fn wrong(key: &'static str, raw: &str, expected: &str) -> ErrorReply {
    ErrorReply::new(Code::BadRequest, format!("argument '{key}' is {}; it must be {expected}", excerpt(raw)))
        .with("key", key)
}
