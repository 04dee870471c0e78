//! The table of actions: what a client can ask. From it come reading and writing, the list of known actions, who can
//! ask, the help of typed lines and of the commands, and `docs/PROTOCOL.md` section 3 (a test compares them).

use bytes::Bytes;

use super::arguments::{Access, Argument, ArgumentError, FeedName, FollowFrom, Role, Source, TokenScope};
use super::{Code, ErrorReply};
use crate::header::excerpt;
use crate::limits::{
    FIND_LIMIT, FIND_LIMIT_MAX, HISTORY_PAGE_MAX, INLINE_BYTES_MAX, QUERY_BYTES_MAX, ROOMS_PAGE_MAX,
    TOPIC_BYTES_MAX,
};
use crate::{Composer, Secret};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionInfo {
    pub name: &'static str,
    /// What it does, in one line for people: in every help, and in the specification.
    pub about: &'static str,
    pub arguments: &'static [ArgumentInfo],
    pub audience: Audience,
    pub grant: Grant,
    pub forms: Forms,
    pub repeats: Repeats,
    pub weight: Weight,
    pub rate: Rate,
    pub work: Work,
    /// How a person types it, where typed lines have it.
    pub typed: Option<&'static str>,
}

/// An argument of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgumentInfo {
    /// Its key in the header or in JSON content.
    pub key: &'static str,
    pub need: Need,
}

/// Must an argument be there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    /// It is the message's content, or a property of it.
    Content,
}

/// Who can ask, before the rules of chat are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Anybody,
    /// A connection on the data folder's own socket.
    OperatorSocket,
}

/// What a token must be good for, if somebody has signed in with one. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    Read,
    Send,
    /// What an administrator does.
    Admin,
    /// What the owner of the account does, on a device.
    Device,
}

impl Grant {
    /// The word in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Grant::Read => "read",
            Grant::Send => "send",
            Grant::Admin => "admin",
            Grant::Device => "device",
        }
    }
}

/// Where the arguments can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    Any,
    /// In the header: the answer has more than one value.
    Header,
}

/// Can a client repeat the request when it does not know the outcome?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    Always,
    /// With the same `id` it happens once.
    WithId,
    Never,
}

/// Bytes that a request holds until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Little, and what it brings.
    Own,
    /// Those of its reply: a page.
    Page,
}

/// Which of a client's rates counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    None,
    Messages,
    Questions,
    Joins,
    Rooms,
}

/// What it costs the thread that decides, beside the reading of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// No more than a short turn.
    Little,
    /// It is decided, or prepared for another thread.
    Some,
    /// A step for each room that it names.
    PerRoom,
    /// A list of what there is.
    List,
}

/// A request without what it brings, bytes.
const SMALL_BYTES: usize = 512;

macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

macro_rules! actions {
    ($(
        #[doc = $about:literal]
        $name:literal => $variant:ident $({ $($field:ident: $type:ty = $need:ident $key:literal $read:expr),* $(,)? })?,
        $audience:ident, $grant:ident, $forms:ident, $repeats:ident, $weight:ident, $rate:ident, $work:ident $(, $typed:literal)?;
    )*) => {
        /// What is asked; the fields are the arguments of the specification, by their names.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Action {
            $(#[doc = $about] $variant $({ $($field: $type),* })?),*
        }

        /// The place of each row.
        enum Place {
            $($variant),*
        }

        /// Every action, in the order of the specification.
        pub const ACTIONS: &[ActionInfo] = &[$(ActionInfo {
            name: $name,
            about: $about.trim_ascii(),
            arguments: &[$($(ArgumentInfo { key: $key, need: Need::$need }),*)?],
            audience: Audience::$audience,
            grant: Grant::$grant,
            forms: Forms::$forms,
            repeats: Repeats::$repeats,
            weight: Weight::$weight,
            rate: Rate::$rate,
            work: Work::$work,
            typed: optional!($($typed)?),
        }),*];

        impl Action {
            /// Its row in the table.
            pub fn info(&self) -> &'static ActionInfo {
                match self {
                    $(Action::$variant { .. } => &ACTIONS[Place::$variant as usize]),*
                }
            }

            /// Bytes of text in its arguments, which the length of the header depends on.
            pub fn text_bytes(&self) -> usize {
                match self {
                    $(Action::$variant $({ $($field),* })? => 0 $($(+ $field.text_bytes())*)?),*
                }
            }

            fn read_named(source: &Source<'_>, name: &str) -> Result<Option<Action>, ArgumentError> {
                Ok(Some(match name {
                    $($name => Action::$variant $({ $($field: {
                        let read: fn(&Source<'_>, &'static str) -> Result<$type, ArgumentError> = $read;
                        read(source, $key)?
                    }),* })?,)*
                    _ => return Ok(None),
                }))
            }

            /// Writes the arguments that are not content.
            pub(super) fn write_arguments(&self, composer: &mut Composer<'_>) {
                match self {
                    $(Action::$variant $({ $($field),* })? => {
                        $($(if Need::$need != Need::Content {
                            $field.write($key, composer);
                        })*)?
                    })*
                }
                let _ = composer;
            }
        }
    };
}

actions! {
    /// Give your name, and learn the server's name and position
    "hello" => Hello, Anybody, Read, Any, Always, Own, None, Little;
    /// Sign in as an account, with a password or a token
    "sign-in" => SignIn {
        password: Option<Secret> = Optional "password" |s, key| Ok(s.secret(key)?),
        token: Option<Secret> = Optional "token" |s, key| Ok(s.secret(key)?),
        device: Option<String> = Optional "device" |s, key| Ok(s.title(key)?),
    }, Anybody, Read, Any, Never, Own, None, Some, "/sign-in NAME";
    /// Sign out: the token that you signed in with ends
    "sign-out" => SignOut, Anybody, Read, Any, Never, Own, Joins, Some;
    /// Check that the server answers
    "ping" => Ping, Anybody, Read, Any, Always, Own, None, Little;
    /// Post a message to a room, and get its address
    "send" => Send {
        room: String = Required "room" |s, key| Ok(s.text(key)?),
        id: Option<String> = Optional "id" |s, key| Ok(s.id(key)?),
        content_type: String = Content "content-type" |s, _| Ok(s.content_type()),
        content_encoding: String = Content "content-encoding" |s, _| s.content_encoding(),
        content: Bytes = Content "content" |s, _| Ok(s.content()?),
    }, Anybody, Send, Any, WithId, Own, Messages, Little;
    /// Follow rooms: get what happens there as it happens
    "follow" => Follow {
        rooms: Vec<String> = Required "rooms" |s, key| Ok(s.rooms(key)?),
        feeds: Vec<FeedName> = Optional "feeds" |s, key| Ok(s.feeds(key)?),
        from: FollowFrom = Optional "since" |s, key| Ok(s.follow_from(key)?),
    }, Anybody, Read, Header, Always, Own, Questions, PerRoom, "/join ROOM";
    /// Read the messages of a room, a page at a time
    "history" => History {
        room: String = Required "room" |s, key| Ok(s.text(key)?),
        since: u64 = Optional "since" |s, key| Ok(s.number(key)?.unwrap_or(0)),
        limit: u64 = Optional "limit" |s, _| Ok(s.limit(HISTORY_PAGE_MAX, HISTORY_PAGE_MAX)?),
    }, Anybody, Read, Header, Always, Page, Questions, Some;
    /// Search messages in all rooms you can see
    "find" => Find {
        query: String = Required "query" |s, key| Ok(s.text_up_to(key, QUERY_BYTES_MAX)?),
        limit: u64 = Optional "limit" |s, _| Ok(s.limit(FIND_LIMIT, FIND_LIMIT_MAX)?),
        before: Option<u64> = Optional "before" |s, key| Ok(s.number(key)?),
    }, Anybody, Read, Any, Always, Page, Questions, Some;
    /// List the rooms you can see
    "rooms" => Rooms {
        after: Option<u64> = Optional "after" |s, key| Ok(s.number(key)?),
        limit: u64 = Optional "limit" |s, _| Ok(s.limit(ROOMS_PAGE_MAX, ROOMS_PAGE_MAX)?),
    }, Anybody, Read, Any, Always, Own, Questions, List, "/rooms";
    /// List who is in a room
    "who" => Who { room: String = Required "room" |s, key| Ok(s.text(key)?) }, Anybody, Read, Any, Always, Own, Questions, List, "/who [ROOM]";
    /// Create a room; as an account, you are its first member
    "create" => Create {
        access: Access = Optional "access" |s, key| Ok(s.access(key)?),
        room: String = Required "room" |s, key| Ok(s.text(key)?),
    }, Anybody, Send, Any, Never, Own, Rooms, Some;
    /// Join a room, or add somebody to it
    "join" => Join {
        room: String = Required "room" |s, key| Ok(s.text(key)?),
        who: Option<String> = Optional "who" |s, key| Ok(s.owned(key)?),
    }, Anybody, Send, Any, Never, Own, Joins, Some;
    /// Leave a room
    "leave" => Leave { room: String = Required "room" |s, key| Ok(s.text(key)?) }, Anybody, Send, Any, Never, Own, Joins, Some;
    /// Set the topic of a room: one line that says what the room is about
    "topic" => SetTopic {
        room: String = Required "room" |s, key| Ok(s.text(key)?),
        topic: String = Required "topic" |s, key| Ok(s.line(key, TOPIC_BYTES_MAX)?),
    }, Anybody, Send, Any, Never, Own, Joins, Some, "/topic TEXT";
    /// Add an account
    "account-add" => AddAccount {
        name: String = Required "name" |s, key| Ok(s.text(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Make an account an administrator's, a bot's, or a person's again
    "account-role" => SetRole {
        name: String = Required "name" |s, key| Ok(s.text(key)?),
        role: Role = Required "role" |s, key| Ok(s.word(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Disable an account: it is signed out everywhere, and nobody can use it
    "account-disable" => DisableAccount {
        name: String = Required "name" |s, key| Ok(s.text(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Delete an account for ever; what it said stays, as of a deleted account
    "account-delete" => DeleteAccount {
        name: String = Required "name" |s, key| Ok(s.text(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Enable an account again
    "account-enable" => EnableAccount {
        name: String = Required "name" |s, key| Ok(s.text(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Set your password; the account is signed out everywhere else
    "password" => SetPassword {
        new: Secret = Required "new" |s, key| Ok(s.new_secret(key)?),
        old: Option<Secret> = Optional "old" |s, key| Ok(s.secret(key)?),
        name: Option<String> = Optional "name" |s, key| Ok(s.owned(key)?),
    }, Anybody, Device, Any, Never, Own, Joins, Some;
    /// Make a token with which a script signs in as you
    "token-create" => CreateToken {
        title: String = Required "title" |s, key| Ok(s.required_title(key)?),
        scope: TokenScope = Required "scope" |s, key| Ok(s.word(key)?),
        rooms: Vec<String> = Optional "rooms" |s, key| Ok(s.names(key)?),
        days: Option<u64> = Optional "days" |s, key| Ok(s.number(key)?),
        name: Option<String> = Optional "name" |s, key| Ok(s.owned(key)?),
    }, Anybody, Device, Any, Never, Own, Joins, Some;
    /// Invite people: they make an account with the code
    "invite" => Invite {
        title: Option<String> = Optional "title" |s, key| Ok(s.title(key)?),
        uses: Option<u64> = Optional "uses" |s, key| Ok(s.number(key)?),
        days: Option<u64> = Optional "days" |s, key| Ok(s.number(key)?),
        room: Option<String> = Optional "room" |s, key| Ok(s.owned(key)?),
        role: Option<Role> = Optional "role" |s, key| Ok(s.optional_word(key)?),
        name: Option<String> = Optional "name" |s, key| Ok(s.owned(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// List the invitations that can be used
    "invitations" => Invitations, Anybody, Admin, Any, Always, Own, Questions, List;
    /// Withdraw an invitation
    "invitation-end" => EndInvitation {
        id: u64 = Required "id" |s, key| Ok(s.required_number(key)?),
    }, Anybody, Admin, Any, Never, Own, Joins, Some;
    /// Accept an invitation: make your account, with a password
    "accept" => Accept {
        code: Secret = Required "code" |s, key| Ok(s.new_secret(key)?),
        new: Secret = Required "new" |s, key| Ok(s.new_secret(key)?),
        device: Option<String> = Optional "device" |s, key| Ok(s.title(key)?),
    }, Anybody, Read, Any, Never, Own, None, Some;
    /// List where an account is signed in, and its tokens
    "sessions" => Sessions {
        name: Option<String> = Optional "name" |s, key| Ok(s.owned(key)?),
    }, Anybody, Device, Any, Always, Own, Questions, List;
    /// Sign out a device, or end a token; without `id`, all others
    "session-end" => EndSession {
        id: Option<u64> = Optional "id" |s, key| Ok(s.number(key)?),
        name: Option<String> = Optional "name" |s, key| Ok(s.owned(key)?),
    }, Anybody, Device, Any, Always, Own, Joins, Some;
    /// Show the server's health: connections, slow readers, positions, disk
    "status" => Status, OperatorSocket, Admin, Any, Always, Own, None, Little;
}

impl ActionInfo {
    /// The row of the action with this name.
    pub fn named(name: &str) -> Option<&'static ActionInfo> {
        ACTIONS.iter().find(|info| info.name == name)
    }
}

impl Action {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        self.info().name
    }

    /// Can a client send it again when it does not know the outcome?
    pub fn is_repeatable(&self) -> bool {
        match self.info().repeats {
            Repeats::Always => true,
            Repeats::WithId => matches!(self, Action::Send { id: Some(_), .. }),
            Repeats::Never => false,
        }
    }

    /// A text to a room.
    pub fn text(room: &str, text: &str) -> Action {
        Action::Send {
            room: room.to_owned(),
            id: None,
            content_type: "text/plain".to_owned(),
            content_encoding: "utf-8".to_owned(),
            content: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// A page of the rooms, as long as it can be: the first, or the one after the place that the last page gave.
    pub fn rooms_after(after: Option<u64>) -> Action {
        Action::Rooms { after, limit: ROOMS_PAGE_MAX }
    }

    pub(super) fn read(source: &Source<'_>, name: &str) -> Result<Action, ArgumentError> {
        if source.content.is_some() && ActionInfo::named(name).is_some_and(|info| info.forms == Forms::Header)
        {
            let detail =
                format!("'{name}' answers with more than one value: put its arguments into the header");
            return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "action").into());
        }
        if let Some(action) = Action::read_named(source, name)? {
            return Ok(action);
        }
        let known: Vec<&str> = ACTIONS.iter().map(|info| info.name).collect();
        let detail = format!("unknown action '{}'; known are {}", excerpt(name), known.join(", "));
        Err(ErrorReply::new(Code::UnknownAction, detail).into())
    }

    /// The content that goes with it: type, encoding, bytes.
    pub(super) fn content(&self) -> (&str, &str, &[u8]) {
        match self {
            Action::Send { content_type, content_encoding, content, .. } => {
                (content_type, content_encoding, content)
            }
            _ => ("text/plain", "utf-8", &[]),
        }
    }

    /// Bytes of its content.
    pub fn content_len(&self) -> usize {
        self.content().2.len()
    }

    /// Rooms that it names in a list.
    pub fn rooms(&self) -> usize {
        match self {
            Action::Follow { rooms, .. } => rooms.len(),
            _ => 0,
        }
    }

    /// Bytes that the request holds until it is answered.
    pub(super) fn weight(&self) -> usize {
        let brought = match self {
            Action::Send { content, .. } => content.len(),
            Action::Follow { rooms, .. } => rooms.iter().map(|room| room.len() + 64).sum(),
            _ => 0,
        };
        match self.info().weight {
            Weight::Own => SMALL_BYTES + brought,
            Weight::Page => INLINE_BYTES_MAX as usize,
        }
    }
}
