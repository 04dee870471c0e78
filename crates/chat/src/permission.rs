//! The table of who can do what: power × access × standing → yes, or a refusal. Nothing else decides it.
//!
//! A refusal says of a private room only what those can know who ask: to outsiders it does not exist.

use crate::{Access, Principal, Refusal};

/// Something that not everybody can do.
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
    /// Under the setting of the server that took the request.
    CreateRoom(RoomsBy),
    /// Add an account.
    AddAccount,
}

/// Who can create rooms: a setting of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomsBy {
    /// Every account, and the admins.
    #[default]
    Accounts,
    /// Admins: the operator.
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
    pub const ALL: [Power; 11] = [
        Power::KnowOf,
        Power::SeePeople,
        Power::SeeAll,
        Power::Speak,
        Power::Join,
        Power::Bring,
        Power::Leave,
        Power::SetTopic,
        Power::CreateRoom(RoomsBy::Accounts),
        Power::CreateRoom(RoomsBy::Admins),
        Power::AddAccount,
    ];
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
}

use Verdict::{AccountNeeded, AdminNeeded, NoRoom, NotAllowed, NotMember, Yes};

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
        // These are about no room: every account counts as an outsider.
        (Power::CreateRoom(RoomsBy::Accounts), Public)  => By([Yes, AccountNeeded, Yes, Yes, Yes]),
        // The operator is no member, so nobody could ever see a private room of its own.
        (Power::CreateRoom(RoomsBy::Accounts), Private) => By([AccountNeeded, AccountNeeded, Yes, Yes, Yes]),
        (Power::CreateRoom(RoomsBy::Admins), Public)    => By([Yes, AdminNeeded, AdminNeeded, AdminNeeded, AdminNeeded]),
        (Power::CreateRoom(RoomsBy::Admins), Private)   => By([AccountNeeded, AdminNeeded, AdminNeeded, AdminNeeded, AdminNeeded]),
        (Power::AddAccount, _)       => By([Yes,       NotAllowed,    NotAllowed, NotAllowed, NotAllowed]),
    }
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
    let verdict = match row(power, access) {
        Everybody(verdict) => verdict,
        By(verdicts) => verdicts[standing() as usize],
    };
    match verdict {
        Yes => Ok(()),
        NoRoom => Err(Refusal::NoRoom),
        NotMember => Err(Refusal::NotMember),
        AccountNeeded => Err(Refusal::AccountNeeded),
        AdminNeeded => Err(Refusal::AdminNeeded),
        NotAllowed => Err(Refusal::NotAllowed),
    }
}

/// Can somebody do what is about no room, or about one that there will be, of this access?
pub(crate) fn check_server(power: Power, access: Access, who: &Principal) -> Result<(), Refusal> {
    check(power, access, || match who {
        Principal::Operator => Standing::Operator,
        Principal::Guest(_) => Standing::Guest,
        Principal::Account(_) => Standing::Outsider,
    })
}
