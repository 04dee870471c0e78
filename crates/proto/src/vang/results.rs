//! Results that are lists: their rows as they stand in `{"result": [...]}`. Rows of a newer server can have more keys.

use serde::{Deserialize, Serialize};

/// The role of an account that has joined the room.
pub const MEMBER: &str = "member";

/// A room that the asker can see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomRow {
    pub room: String,
    /// `public` or `private`.
    pub access: String,
    /// Number of its newest message.
    pub n: u64,
    /// What the asker is in it: `member`. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Absent if the room has no topic or the asker cannot see its members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// Somebody in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    pub name: String,
    /// `member`; absent for somebody who only reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Open connections.
    pub present: u64,
}

/// A device on which an account is signed in, or a token of a script; or a connection that has neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRow {
    /// With which it is ended. Absent: it ends with its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What its owner calls it. Empty if it has no name.
    pub title: String,
    /// `device`, or a token's scope.
    pub scope: String,
    /// The only rooms in which it can be used; absent: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// When it was made, RFC 3339. Absent for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it ends by itself, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When somebody last signed in with it, or the last of its connections ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// The IP address from which that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Open connections.
    pub connections: u64,
    /// The connection that asks is one of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

/// An invitation that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InvitationRow {
    /// With which it is withdrawn.
    pub id: u64,
    /// What its maker calls it. Empty if it has no name.
    pub title: String,
    /// Who made it.
    pub from: String,
    /// How many accounts can still be made with it.
    pub uses: u64,
    /// The account whose link it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The room that the new account joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// What the new account can do on the server.
    pub role: String,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it ends by itself, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A message that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hit {
    #[serde(flatten)]
    pub message: Excerpt,
    /// The neighbours in the room that the asker can see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Excerpt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Excerpt>,
}

/// A message as a search shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Excerpt {
    pub address: String,
    /// Of a neighbour it is the hit's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    pub n: u64,
    pub seq: u64,
    pub from: String,
    /// RFC 3339 in UTC, with milliseconds.
    pub time: String,
    pub content_type: String,
    /// An excerpt, if the content is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The matches in it, from and to, in Unicode code points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<Vec<(u64, u64)>>,
}
