//! The end of an account: what it said stays, and nothing else.

use std::iter;

use crate::accounts::Accounts;
use crate::rooms::Rooms;
use crate::tokens::{Tokens, Which};
use crate::{AccountEvent, AccountId, AccountStatus, Places, Position, Principal, Refusal, RoomId, Seq};

/// A step for each of its tokens, and for each room that it is in.
pub(crate) fn decide(
    (accounts, tokens, rooms): (&Accounts, &Tokens, &Rooms),
    who: AccountId,
    by: Principal,
) -> Result<AccountEvent, Refusal> {
    accounts.check_status(who, AccountStatus::Deleted, by)?;
    let titles = tokens.of_account(who).map(|token| Seq(token.id.0));
    let erased = iter::once(Seq(who.0)).chain(accounts.password(who)).chain(titles).collect();
    Ok(AccountEvent::Deleted { who, rooms: rooms.of_member(who).collect(), erased })
}

pub(crate) fn evolve(
    (accounts, tokens, rooms): (&mut Accounts, &mut Tokens, &mut Rooms),
    at: Position,
    (who, left): (AccountId, &[RoomId]),
    places: &mut Places,
) {
    for &room in left {
        rooms.show(room, at.seq, None, places);
        rooms.end_stay(room, who, at.seq);
    }
    accounts.delete(who);
    tokens.end(who, Which::All);
}
