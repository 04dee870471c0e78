//! Texts that belong to a room or an account: the newest of each is kept.

use vang_chat::{AccountId, RoomId};

/// What a text is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextOf {
    RoomName(RoomId),
    AccountName(AccountId),
    RoomTopic(RoomId),
}

impl TextOf {
    /// As the view stores it: what it is, and the id of its owner. A number is never used again for something else.
    pub(crate) fn numbers(self) -> (u64, u64) {
        match self {
            TextOf::RoomName(room) => (1, room.0),
            TextOf::AccountName(account) => (2, account.0),
            TextOf::RoomTopic(room) => (3, room.0),
        }
    }

    /// `None`: a newer program wrote it.
    pub(crate) fn from_numbers(kind: u64, id: u64) -> Option<TextOf> {
        match kind {
            1 => Some(TextOf::RoomName(RoomId(id))),
            2 => Some(TextOf::AccountName(AccountId(id))),
            3 => Some(TextOf::RoomTopic(RoomId(id))),
            _ => None,
        }
    }
}
