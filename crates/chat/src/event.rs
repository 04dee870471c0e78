//! Events: what came of a command. Refusals: the rule that said no.

use crate::{Access, AccountId, Node, Principal, RoomId, Rules, Seq};

/// What happened. At most one of them is shown to a session for each entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server process took over the ordering.
    Opened {
        /// Which.
        node: Node,
    },
    /// The rules changed.
    RulesSwitched {
        /// The version from the next entry on.
        to: Rules,
    },
    /// There is a new account.
    AccountAdded {
        /// Its id.
        account: AccountId,
    },
    /// There is a new room.
    RoomCreated {
        /// Its id.
        room: RoomId,
        /// Who may read and speak in it.
        access: Access,
        /// Who made it; an account is its first member.
        by: Principal,
    },
    /// Somebody became a member.
    MemberJoined {
        /// Of which room.
        room: RoomId,
        /// Who.
        who: AccountId,
    },
    /// Somebody is no longer a member.
    MemberLeft {
        /// Of which room.
        room: RoomId,
        /// Who.
        who: AccountId,
    },
    /// A message was posted.
    MessageSent {
        /// Where.
        room: RoomId,
        /// Its number in the room.
        n: u64,
        /// Who spoke.
        from: Principal,
    },
    /// The same send came again; nothing changed.
    AlreadySent {
        /// Where.
        room: RoomId,
        /// The number that it got the first time.
        n: u64,
        /// The entry that it was the first time.
        seq: Seq,
    },
    /// Time passed.
    Ticked,
}

/// Why nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Also said of a private room to those who may not know of it.
    #[error("there is no such room")]
    NoRoom,
    /// No account has this id.
    #[error("there is no such account")]
    NoAccount,
    /// A room or account of this name exists.
    #[error("the name is taken")]
    NameTaken,
    /// Only accounts do this.
    #[error("guests cannot do this; ask the operator for an account (vang admin account add NAME)")]
    AccountNeeded,
    /// Only the operator does this.
    #[error("only the operator of the server may do this")]
    NotAllowed,
    /// Joining twice.
    #[error("already a member of this room")]
    AlreadyMember,
    /// Leaving, or bringing others, without being there.
    #[error("not a member of this room")]
    NotMember,
    /// The id was used with another payload.
    #[error("this id was sent before with another payload")]
    IdReused,
    /// The server has as many rooms as it may.
    #[error("there are {max} rooms already, which is the limit")]
    TooManyRooms {
        /// How many there may be.
        max: usize,
    },
    /// Joining and leaving for ever.
    #[error("joined this room {max} times already, which is the limit")]
    TooManyStays {
        /// How often it may be.
        max: usize,
    },
    /// Switching to rules that this program does not know, or back.
    #[error(
        "cannot switch from rules {now} to {to}: rules can only move forward, to a version that this program knows"
    )]
    UnknownRules {
        /// As asked.
        to: u16,
        /// In force.
        now: u16,
    },
}
