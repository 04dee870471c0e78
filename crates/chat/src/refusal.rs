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
    #[error("only the operator or an administrator of the server may do this")]
    NotAllowed,
    #[error("only the operator of the server may do this, on the server's machine (--data DIR)")]
    OperatorNeeded,
    #[error("this account is disabled; ask an administrator of the server")]
    AccountDisabled,
    #[error("there is no such token")]
    NoToken,
    /// Also said of one that is over, used up or withdrawn, or whose maker lost the right.
    #[error("the invitation is not valid: it is wrong, over, used up or withdrawn; ask for another one")]
    NoInvitation,
    /// With the code of an invitation.
    #[error("choose the name of the new account")]
    NameNeeded,
    #[error("there are {max} invitations, which is the limit; withdraw those that nobody needs")]
    TooManyInvitations { max: usize },
    #[error("an invitation is for 1 to {max} accounts")]
    TooManyUses { max: u32 },
    #[error("there is such a token already")]
    TokenTaken,
    /// Of scripts and programs.
    #[error("this account has {max} tokens, which is the limit; end those that are not used any more")]
    TooManyTokens { max: usize },
    #[error("a token can be limited to at most {max} rooms; without rooms it holds for all")]
    TooManyTokenRooms { max: usize },
    /// Its verifier was made from a password that is not the account's any more.
    #[error("the account has another password by now")]
    OldPassword,
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
