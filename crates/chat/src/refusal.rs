//! Refusals: the rule that said no.

/// Why nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Also said of a private room to those who cannot know of it.
    #[error("there is no such room")]
    NoRoom,
    #[error("there is no such account")]
    NoAccount,
    #[error("the name is taken")]
    NameTaken,
    /// In one script such names may exist beside each other.
    #[error("the name looks like one that exists, written in other letters; choose another name")]
    NameConfusable,
    #[error("guests cannot do this; ask the operator for an account (vang admin account add NAME)")]
    AccountNeeded,
    /// To create a room, under `RoomsBy::Admins`.
    #[error(
        "on this server only admins create rooms; ask the operator, who can do it on the server's machine (vang create \
         NAME --data DIR) or allow it to all accounts (vang serve --rooms-by accounts)"
    )]
    AdminNeeded,
    #[error("only the operator of the server may do this")]
    NotAllowed,
    #[error("already a member of this room")]
    AlreadyMember,
    #[error("not a member of this room")]
    NotMember,
    #[error("this id was sent before with another payload")]
    IdReused,
    #[error("there are {max} rooms already, which is the limit")]
    TooManyRooms { max: usize },
    /// Of one account, beside the operator's.
    #[error(
        "this account cannot make more rooms: the limit is {max}; ask the operator (limit rooms-per-account)"
    )]
    TooManyOwnRooms { max: u64 },
    /// Joining and leaving again and again.
    #[error("joined this room {max} times already, which is the limit")]
    TooManyStays { max: usize },
    #[error("cannot switch from rules {now} to {to}: rules can only move forward")]
    OldRules { to: u16, now: u16 },
}
