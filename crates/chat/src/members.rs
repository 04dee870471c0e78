//! Members: accounts in rooms, and when they were there.

use crate::accounts::Accounts;
use crate::limits::{DEFAULT_ROOMS_MAX, STAYS_MAX};
use crate::permission::Power;
use crate::rooms::{Room, Rooms};
use crate::{AccountId, FeedKey, Places, Position, Principal, Refusal, RoomId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberCommand {
    /// Make somebody a member.
    Join {
        room: RoomId,
        /// Who becomes a member.
        who: AccountId,
        /// Who asks: the same account, or a member who brings another.
        by: Principal,
    },
    /// End a membership.
    Leave { room: RoomId, who: AccountId },
    /// Somebody has signed in for the first time. It becomes a member of each of these rooms that it can join: a setting of the
    /// server on which it signed in.
    Enter { who: AccountId, rooms: Vec<RoomId> },
}

impl MemberCommand {
    pub(crate) fn room(&self) -> Option<RoomId> {
        match *self {
            MemberCommand::Join { room, .. } | MemberCommand::Leave { room, .. } => Some(room),
            MemberCommand::Enter { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    Joined {
        room: RoomId,
        who: AccountId,
    },
    Left {
        room: RoomId,
        who: AccountId,
    },
    Entered {
        who: AccountId,
        /// It has joined them. None: it could join none, or had entered before.
        rooms: Vec<RoomId>,
    },
}

pub(crate) fn decide(
    rooms: &Rooms,
    accounts: &Accounts,
    command: &MemberCommand,
) -> Result<MemberEvent, Refusal> {
    match command {
        &MemberCommand::Join { room, who, by } => {
            let there = rooms.get(room).ok_or(Refusal::NoRoom)?;
            match by {
                Principal::Account(asker) => {
                    there.check(Power::Join, &by)?;
                    accounts.check(asker)?;
                    if asker != who {
                        there.check(Power::Bring, &by)?;
                    }
                }
                // Without an account, somebody can only bring others.
                Principal::Operator | Principal::Guest(_) => there.check(Power::Bring, &by)?,
            }
            accounts.check(who)?;
            if there.is_member(who) {
                return Err(Refusal::AlreadyMember);
            }
            if there.stays.of(who).len() >= STAYS_MAX {
                return Err(Refusal::TooManyStays { max: STAYS_MAX });
            }
            Ok(MemberEvent::Joined { room, who })
        }
        &MemberCommand::Leave { room, who } => {
            let there = rooms.get(room).ok_or(Refusal::NoRoom)?;
            there.check(Power::Leave, &Principal::Account(who))?;
            Ok(MemberEvent::Left { room, who })
        }
        MemberCommand::Enter { who, rooms: asked } => {
            let who = *who;
            accounts.check(who)?;
            let can_join = |room: &RoomId| {
                rooms.get(*room).is_some_and(|there| {
                    there.allows(Power::Join, &Principal::Account(who))
                        && !there.is_member(who)
                        && there.stays.of(who).len() < STAYS_MAX
                })
            };
            let mut joined = Vec::new();
            if !accounts.has_entered(who) {
                for room in asked.iter().take(DEFAULT_ROOMS_MAX).filter(|room| can_join(room)) {
                    if !joined.contains(room) {
                        joined.push(*room);
                    }
                }
            }
            Ok(MemberEvent::Entered { who, rooms: joined })
        }
    }
}

impl Room {
    /// The account with which somebody joins or leaves; the commands name no other principal. Others get the table's
    /// refusal. Whether the account can do it is decided with the command.
    pub fn own_account(&self, power: Power, who: &Principal) -> Result<AccountId, Refusal> {
        match who {
            Principal::Account(account) => Ok(*account),
            Principal::Operator | Principal::Guest(_) => {
                self.check(power, who).and(Err(Refusal::AccountNeeded))
            }
        }
    }
}

pub(crate) fn evolve(
    (rooms, accounts): (&mut Rooms, &mut Accounts),
    at: Position,
    event: &MemberEvent,
    places: &mut Places,
) {
    match *event {
        MemberEvent::Joined { room, who } => {
            rooms.show(room, at.seq, None, places);
            rooms.begin_stay(room, who, at.seq);
            accounts.show(who, at.seq, FeedKey::Room(room), places);
        }
        MemberEvent::Left { room, who } => {
            rooms.show(room, at.seq, None, places);
            rooms.end_stay(room, who, at.seq);
            accounts.show(who, at.seq, FeedKey::Room(room), places);
        }
        MemberEvent::Entered { who, rooms: ref joined } => {
            for &room in joined {
                rooms.show(room, at.seq, None, places);
                rooms.begin_stay(room, who, at.seq);
            }
            accounts.enter(who, at.seq);
            match joined[..] {
                [] => {}
                [room] => accounts.show(who, at.seq, FeedKey::Room(room), places),
                _ => accounts.show(who, at.seq, FeedKey::Rooms, places),
            }
        }
    }
}
