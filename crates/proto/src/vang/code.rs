//! Error codes: stable words for programs, beside a sentence for people.

use std::fmt;

use crate::{Composer, Header};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal $([$($key:literal),+])?,)+) => {
        /// Why a request failed; `docs/PROTOCOL.md` section 4 says what follows from each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the specification.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $word,)+ }
            }

            /// The keys that a reply with this code can have beside `code` and `detail`.
            pub fn keys(self) -> &'static [&'static str] {
                match self { $(Code::$name => &[$($($key),+)?],)+ }
            }
        }
    };
}

codes! {
    /// The bytes are not a message.
    Malformed = "malformed" ["part", "key"],
    /// A part is over its limit.
    TooLong = "too-long" ["part", "found", "limit"],
    /// Text in an encoding that nobody knows.
    UnknownEncoding = "unknown-encoding" ["part"],
    /// Nothing whole came in time.
    TimedOut = "timed-out" ["part"],
    /// An argument is missing or of the wrong kind.
    BadRequest = "bad-request" ["key"],
    /// No such action.
    UnknownAction = "unknown-action",
    /// Not a name.
    BadName = "bad-name" ["key"],
    /// The code of an invitation makes an account, and needs its name.
    NameNeeded = "name-needed",
    /// The connection speaks under another name already.
    NameSet = "name-set",
    /// Guests may not do this.
    AccountNeeded = "account-needed",
    /// Only the operator may do this.
    NotAllowed = "not-allowed",
    /// No such room, or none that the asker may know of.
    NoRoom = "no-room",
    /// No such account.
    NoAccount = "no-account",
    /// The room or account exists.
    NameTaken = "name-taken",
    /// The name looks like another room's or account's, written in other letters.
    NameConfusable = "name-confusable",
    /// Joining twice.
    AlreadyMember = "already-member",
    /// Not in the room.
    NotMember = "not-member",
    /// The id was sent with another payload.
    IdReused = "id-reused",
    /// A starting point on a connection that follows already.
    AlreadyFollowing = "already-following",
    /// Another journal than the one resumed.
    JournalChanged = "journal-changed" ["journal", "seq", "epoch"],
    /// A position that is not in this journal any more.
    SeqAhead = "seq-ahead" ["seq", "epoch"],
    /// Not without TLS beyond this machine.
    TlsRequired = "tls-required",
    /// The name is an account's, or guests are not admitted from there.
    SignInNeeded = "sign-in-needed",
    /// The password, token or code is not the right one; or the account is disabled, or there is none.
    WrongSecret = "wrong-secret",
    /// A new password that others would guess.
    WeakPassword = "weak-password",
    /// The account cannot be used at present.
    AccountDisabled = "account-disabled",
    /// The invitation is wrong, over, used up or withdrawn.
    NoInvitation = "no-invitation",
    /// No such token or device.
    NoToken = "no-token",
    /// Connections, rooms or the like over their limit.
    TooMany = "too-many" ["limit"],
    /// Too much waits to be written.
    Busy = "busy" ["retry-after"],
    /// No room on the disk.
    DiskFull = "disk-full" ["retry-after"],
    /// The journal cannot be written now.
    Unavailable = "unavailable" ["retry-after"],
    /// The journal cannot tell yet whether it was written.
    Unknown = "unknown" ["retry-after"],
    /// The server's clock jumped.
    ClockAhead = "clock-ahead",
    /// The view is not up to date.
    ViewBehind = "view-behind" ["retry-after"],
    /// The server is going down.
    Stopping = "stopping",
}

impl Code {
    /// Is it worth asking the same again, later?
    pub fn is_retryable(word: &str) -> bool {
        [
            Code::Busy,
            Code::DiskFull,
            Code::Unavailable,
            Code::Unknown,
            Code::ClockAhead,
            Code::ViewBehind,
            Code::Stopping,
            Code::TooMany,
        ]
        .iter()
        .any(|code| code.as_str() == word)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reply key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    Number(u64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

/// An error as the peer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// For programs.
    pub code: Code,
    /// For people: lower case, no full stop, what was found and what is allowed.
    pub detail: String,
    /// What the table of codes names.
    pub keys: Vec<(&'static str, Value)>,
}

impl ErrorReply {
    /// An error without further keys.
    pub fn new(code: Code, detail: impl Into<String>) -> ErrorReply {
        ErrorReply { code, detail: detail.into(), keys: Vec::new() }
    }

    /// Adds one of its code's keys.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> ErrorReply {
        debug_assert!(
            self.code.keys().contains(&key),
            "the table of codes gives {} no key '{key}'",
            self.code
        );
        self.keys.push((key, value.into()));
        self
    }

    /// After how long it may be tried again, ms, if it says so.
    pub fn retry_after(&self) -> Option<u64> {
        self.keys.iter().find_map(|(key, value)| match value {
            Value::Number(ms) if *key == "retry-after" => Some(*ms),
            _ => None,
        })
    }

    pub(super) fn write_keys(&self, composer: &mut Composer<'_>) {
        composer.text("code", self.code.as_str()).text("detail", &self.detail);
        for (key, value) in &self.keys {
            match value {
                Value::Text(text) => composer.text(key, text),
                Value::Number(number) => composer.number(key, *number),
            };
        }
    }
}

/// The keys of a refusal as a client reads them: those that say what to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorKeys {
    /// When it may be tried again, ms.
    pub retry_after: Option<u64>,
    /// The journal that can be resumed.
    pub journal: Option<String>,
    pub epoch: Option<String>,
    /// The last position in common.
    pub seq: Option<u64>,
}

impl ErrorKeys {
    pub(super) fn read(header: &Header) -> ErrorKeys {
        let text = |key| header.text(key).map(std::borrow::Cow::into_owned);
        ErrorKeys {
            retry_after: header.number("retry-after"),
            journal: text("journal"),
            epoch: text("epoch"),
            seq: header.number("seq"),
        }
    }
}
