//! The tables of who can do what. In rooms: power × access × standing → yes, or a refusal. On the server: power × role →
//! yes, or a refusal. Nothing else decides it.
//!
//! A refusal says of a private room only what those can know who ask: to outsiders it does not exist.

use crate::{Access, Refusal};

/// Something that not everybody can do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Know that the room exists.
    KnowOf,
    /// See who is in the room.
    SeePeople,
    /// See everything that was ever said in the room, not only during own stays.
    SeeAll,
    Speak,
    /// Become a member.
    Join,
    /// Make somebody else a member.
    Bring,
    Leave,
    /// Say what the room is about.
    SetTopic,
}

/// Something that not everybody can do on the server. It is about no room, or about one that there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPower {
    /// Of this access, under the setting of the server that took the request.
    CreateRoom(RoomsBy, Access),
    AddAccount,
    /// Make an account an administrator's, or a bot's, or take it back.
    SetRole,
    /// Disable an account, or enable it again.
    Disable,
    /// Disable or delete an administrator's account, or enable it again.
    DisableAdmin,
    /// Delete an account.
    DeleteAccount,
    /// Set an account's password.
    SetPassword,
    /// Create a token with which somebody signs in as an account.
    CreateToken,
    /// End an account's tokens.
    EndTokens,
    /// Invite people to make an account, and withdraw invitations.
    Invite,
    /// Invite an administrator.
    InviteAdmin,
    /// Follow the feed of an account.
    FollowAccount,
    /// Follow the server's feed.
    FollowServer,
}

/// What somebody is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRole {
    Operator,
    /// An account that manages the server.
    Admin,
    Account,
    Guest,
}

/// Who can create rooms: a setting of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomsBy {
    /// Every account, and the operator.
    #[default]
    Accounts,
    /// Administrators' accounts, and the operator.
    Admins,
}

impl RoomsBy {
    /// Its number in the journal, which is never used again for another one.
    pub fn number(self) -> u8 {
        match self {
            RoomsBy::Accounts => 0,
            RoomsBy::Admins => 1,
        }
    }
}

/// What somebody is to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Operator,
    Guest,
    /// An account that was never a member.
    Outsider,
    /// An account that was a member.
    Former,
    Member,
}

impl Power {
    pub const ALL: [Power; 8] = [
        Power::KnowOf,
        Power::SeePeople,
        Power::SeeAll,
        Power::Speak,
        Power::Join,
        Power::Bring,
        Power::Leave,
        Power::SetTopic,
    ];
}

impl ServerPower {
    pub const ALL: [ServerPower; 16] = [
        ServerPower::CreateRoom(RoomsBy::Accounts, Access::Public),
        ServerPower::CreateRoom(RoomsBy::Accounts, Access::Private),
        ServerPower::CreateRoom(RoomsBy::Admins, Access::Public),
        ServerPower::CreateRoom(RoomsBy::Admins, Access::Private),
        ServerPower::AddAccount,
        ServerPower::SetRole,
        ServerPower::Disable,
        ServerPower::DisableAdmin,
        ServerPower::DeleteAccount,
        ServerPower::SetPassword,
        ServerPower::CreateToken,
        ServerPower::EndTokens,
        ServerPower::Invite,
        ServerPower::InviteAdmin,
        ServerPower::FollowAccount,
        ServerPower::FollowServer,
    ];
}

impl ServerRole {
    pub const ALL: [ServerRole; 4] =
        [ServerRole::Operator, ServerRole::Admin, ServerRole::Account, ServerRole::Guest];
}

impl Standing {
    pub const ALL: [Standing; 5] =
        [Standing::Operator, Standing::Guest, Standing::Outsider, Standing::Former, Standing::Member];
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    NoRoom,
    NotMember,
    AccountNeeded,
    AdminNeeded,
    NotAllowed,
    OperatorNeeded,
}

use Verdict::{AccountNeeded, AdminNeeded, NoRoom, NotAllowed, NotMember, OperatorNeeded, Yes};

/// A row of the table: a verdict for everybody, or by standing, in the order of `Standing::ALL`.
enum Row {
    Everybody(Verdict),
    By([Verdict; 5]),
}

use Row::{By, Everybody};

#[rustfmt::skip]
const fn row(power: Power, access: Access) -> Row {
    use Access::{Private, Public};
    match (power, access) {
        //                                   operator  guest          outsider   former     member
        (Power::KnowOf,     Public)  => Everybody(Yes),
        (Power::KnowOf,     Private) => By([NoRoom,    NoRoom,        NoRoom,    Yes,       Yes]),
        (Power::SeePeople,  Public)  => Everybody(Yes),
        (Power::SeePeople,  Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, Yes]),
        (Power::SeeAll,     Public)  => Everybody(Yes),
        // Members see what was said during their stays.
        (Power::SeeAll,     Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, NotMember]),
        (Power::Speak,      Public)  => Everybody(Yes),
        (Power::Speak,      Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, Yes]),
        // Only accounts are members: operator and guests cannot join or leave.
        (Power::Join,       Public)  => By([AccountNeeded, AccountNeeded, Yes,   Yes,       Yes]),
        (Power::Join,       Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, Yes]),
        (Power::Bring,      Public)  => By([Yes,       AccountNeeded, NotMember, NotMember, Yes]),
        (Power::Bring,      Private) => By([Yes,       NoRoom,        NoRoom,    NotMember, Yes]),
        (Power::Leave,      Public)  => By([AccountNeeded, AccountNeeded, NotMember, NotMember, Yes]),
        (Power::Leave,      Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, Yes]),
        (Power::SetTopic,   Public)  => By([Yes,       AccountNeeded, NotMember, NotMember, Yes]),
        (Power::SetTopic,   Private) => By([NoRoom,    NoRoom,        NoRoom,    NotMember, Yes]),
    }
}

/// A row of the server's table: a verdict by role, in the order of `ServerRole::ALL`, and whether an account can do it with
/// itself all the same.
struct ServerRow {
    by: [Verdict; 4],
    with_itself: bool,
}

#[rustfmt::skip]
const fn server_row(power: ServerPower) -> ServerRow {
    use Access::{Private, Public};
    let (by, with_itself) = match power {
        //                                                       operator       admin       account      guest
        ServerPower::CreateRoom(RoomsBy::Accounts, Public)  => ([Yes,           Yes,        Yes,         AccountNeeded], false),
        // The operator is no member, so nobody could ever see a private room of its own.
        ServerPower::CreateRoom(RoomsBy::Accounts, Private) => ([AccountNeeded, Yes,        Yes,         AccountNeeded], false),
        ServerPower::CreateRoom(RoomsBy::Admins, Public)    => ([Yes,           Yes,        AdminNeeded, AdminNeeded],   false),
        ServerPower::CreateRoom(RoomsBy::Admins, Private)   => ([AccountNeeded, Yes,        AdminNeeded, AdminNeeded],   false),
        ServerPower::AddAccount                             => ([Yes,           Yes,        NotAllowed,  NotAllowed],    false),
        ServerPower::SetRole                                => ([Yes,           OperatorNeeded, OperatorNeeded, OperatorNeeded], false),
        ServerPower::Disable                                => ([Yes,           Yes,        NotAllowed,  NotAllowed],    false),
        ServerPower::DisableAdmin                           => ([Yes,           OperatorNeeded, NotAllowed, NotAllowed], false),
        // Nothing brings it back.
        ServerPower::DeleteAccount                          => ([Yes,           OperatorNeeded, NotAllowed, NotAllowed], false),
        // An administrator who could sign in as somebody else would read rooms that are not the administrator's.
        ServerPower::SetPassword                            => ([Yes,           OperatorNeeded, OperatorNeeded, OperatorNeeded], true),
        ServerPower::CreateToken                            => ([Yes,           OperatorNeeded, OperatorNeeded, OperatorNeeded], true),
        ServerPower::EndTokens                              => ([Yes,           Yes,        NotAllowed,  NotAllowed],    true),
        ServerPower::Invite                                 => ([Yes,           Yes,        NotAllowed,  NotAllowed],    false),
        ServerPower::InviteAdmin                            => ([Yes,           OperatorNeeded, NotAllowed, NotAllowed], false),
        ServerPower::FollowAccount                          => ([AccountNeeded, NotAllowed, NotAllowed,  AccountNeeded], true),
        ServerPower::FollowServer                           => ([Yes,           Yes,        Yes,         Yes],           true),
    };
    ServerRow { by, with_itself }
}

/// Can everybody do this in rooms of such an access, whatever they are to the room?
const fn is_for_everybody(power: Power, access: Access) -> bool {
    matches!(row(power, access), Everybody(Yes))
}

impl Access {
    /// Does everybody know of rooms of this access, and see all of them? Of the others those know who were ever members,
    /// and nobody else; they see their stays.
    pub const fn is_open(self) -> bool {
        is_for_everybody(Power::SeeAll, self)
    }
}

/// The lists of known rooms (`known.rs`) and the searches of `find` have these two kinds of rooms and no other: a table
/// that says something else does not compile.
const _: () = {
    let mut at = 0;
    while at < Access::ALL.len() {
        let access = Access::ALL[at];
        let is_of_a_kind = if access.is_open() {
            is_for_everybody(Power::KnowOf, access)
        } else {
            matches!(row(Power::KnowOf, access), By([NoRoom, NoRoom, NoRoom, Yes, Yes]))
                && matches!(row(Power::SeeAll, access), By([NoRoom, NoRoom, NoRoom, NotMember, NotMember]))
        };
        assert!(is_of_a_kind);
        at += 1;
    }
};

/// The table. The standing is asked for only where it matters: most rows of public rooms are the same for everybody.
pub(crate) fn check(
    power: Power,
    access: Access,
    standing: impl FnOnce() -> Standing,
) -> Result<(), Refusal> {
    match row(power, access) {
        Everybody(verdict) => verdict.into_result(),
        By(verdicts) => verdicts[standing() as usize].into_result(),
    }
}

/// The server's table. `is_itself`: an account asks it about itself.
pub(crate) fn check_server(power: ServerPower, role: ServerRole, is_itself: bool) -> Result<(), Refusal> {
    let ServerRow { by, with_itself } = server_row(power);
    if is_itself && with_itself { Ok(()) } else { by[role as usize].into_result() }
}

impl Verdict {
    fn into_result(self) -> Result<(), Refusal> {
        match self {
            Yes => Ok(()),
            NoRoom => Err(Refusal::NoRoom),
            NotMember => Err(Refusal::NotMember),
            AccountNeeded => Err(Refusal::AccountNeeded),
            AdminNeeded => Err(Refusal::AdminNeeded),
            NotAllowed => Err(Refusal::NotAllowed),
            OperatorNeeded => Err(Refusal::OperatorNeeded),
        }
    }
}
