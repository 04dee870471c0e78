//! Commands: what somebody asked, as it stands in the journal in its final order.

use crate::{AccountId, NameKey, Principal, RoomId, Rules};

/// Who may read and speak in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Everybody, guests too.
    Public,
    /// Members, and of what was said only what was said while they were members.
    Private,
}

/// A client's `id` for a send, as two hashes. Both are keyed with the journal's key, and the print
/// with the id as well, so that after an erasure nobody can guess the text from what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendId {
    /// Hash of the id.
    pub key: [u8; 16],
    /// Hash of what is sent, keyed with the id: tells a repetition from a reuse.
    pub print: [u8; 16],
}

/// What somebody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A server process opened the journal and orders from here on.
    Open,
    /// Decide by these rules from the next entry on.
    SwitchRules {
        /// A version that every node knows.
        to: Rules,
    },
    /// Add an account. The operator's.
    AddAccount {
        /// Its name.
        name: NameKey,
    },
    /// Create a room.
    CreateRoom {
        /// Its name.
        name: NameKey,
        /// Who may read and speak.
        access: Access,
        /// Who asks: an account (then its first member) or the operator.
        by: Principal,
    },
    /// Make somebody a member.
    Join {
        /// Of which room.
        room: RoomId,
        /// Who becomes a member.
        who: AccountId,
        /// Who asks: the same account, or a member who brings another.
        by: Principal,
    },
    /// End a membership.
    Leave {
        /// Of which room.
        room: RoomId,
        /// Whose.
        who: AccountId,
    },
    /// Post a message.
    Send {
        /// Where.
        room: RoomId,
        /// Who speaks.
        from: Principal,
        /// Makes it safe to repeat.
        id: Option<SendId>,
    },
    /// Time has passed: does what is due.
    Tick,
}
