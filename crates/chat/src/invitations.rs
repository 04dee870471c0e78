//! Invitations: with a code that was given to them, people make an account, or set the password of the one that is theirs (then it
//! is a link). The rules know a hash of the code.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::accounts::{AccountRole, Accounts};
use crate::digest::Digest;
use crate::limits::{INVITATION_USES_MAX, INVITATIONS_MAX};
use crate::permission::{Power, ServerPower};
use crate::rooms::Rooms;
use crate::steps::{Kept, Key, Step, merged};
use crate::{AccountId, FeedKey, Name, Places, Position, Principal, Refusal, RoomId, Seq, Time, TokenKey};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvitationCommand {
    /// What people call it is the payload.
    Create { invitation: Box<NewInvitation>, by: Principal },
    /// Nobody can use it any more.
    Withdraw { id: InvitationId, by: Principal },
    /// The code is used: it makes an account, whose name is the payload. The code of a link makes none: its account exists.
    Accept { key: TokenKey, name: Option<Box<Name>> },
}

/// An invitation, as the door makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvitation {
    /// A hash of the code.
    pub key: TokenKey,
    /// It is a link for this account, to be used once. Room and role mean nothing then.
    pub account: Option<AccountId>,
    /// How many accounts can be made with it.
    pub uses: u32,
    /// It cannot be used from then on.
    pub until: Option<Time>,
    /// The new account joins this room.
    pub room: Option<RoomId>,
    /// What the new account can do on the server.
    pub role: AccountRole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvitationEvent {
    Created {
        id: InvitationId,
        invitation: Box<NewInvitation>,
        by: Principal,
    },
    Withdrawn {
        id: InvitationId,
    },
    Accepted {
        id: InvitationId,
        account: AccountId,
        name: Box<Name>,
        role: AccountRole,
        /// The account has joined it.
        room: Option<RoomId>,
    },
    /// Who had the link of an account may set its password.
    LinkUsed {
        id: InvitationId,
        account: AccountId,
    },
    /// The same code and name came again, for an account that has no password yet; nothing changed.
    AcceptedBefore {
        account: AccountId,
    },
}

/// An invitation: the `seq` of the entry that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct InvitationId(#[n(0)] pub u64);

pub(crate) fn decide(
    (accounts, rooms, invitations): (&Accounts, &Rooms, &Invitations),
    at: Position,
    command: &InvitationCommand,
) -> Result<InvitationEvent, Refusal> {
    match command {
        InvitationCommand::Create { invitation, by } => {
            match invitation.account {
                None => check_right(accounts, rooms, by, invitation.role, invitation.room)?,
                Some(account) => check_link(accounts, by, account)?,
            }
            if !(1..=INVITATION_USES_MAX).contains(&invitation.uses) {
                return Err(Refusal::TooManyUses { max: INVITATION_USES_MAX });
            }
            if invitations.by_id.len() >= INVITATIONS_MAX {
                return Err(Refusal::TooManyInvitations { max: INVITATIONS_MAX });
            }
            if invitations.by_key.contains_key(&invitation.key) {
                return Err(Refusal::TokenTaken);
            }
            let id = InvitationId(at.seq.0);
            Ok(InvitationEvent::Created { id, invitation: invitation.clone(), by: *by })
        }
        &InvitationCommand::Withdraw { id, by } => {
            accounts.check_server(ServerPower::Invite, &by, None)?;
            invitations.by_id.get(&id).ok_or(Refusal::NoInvitation)?;
            Ok(InvitationEvent::Withdrawn { id })
        }
        InvitationCommand::Accept { key, name } => {
            let row = invitations.get(key).ok_or(Refusal::NoInvitation)?;
            let role = row.role();
            // Who made it may have lost the right since.
            let right = accounts.check_active(&row.by).and_then(|()| match row.account {
                None => check_right(accounts, rooms, &row.by, role, None),
                Some(account) => check_link(accounts, &row.by, account),
            });
            if right.is_err() || row.is_over(at.time) {
                return Err(Refusal::NoInvitation);
            }
            if let Some(account) = row.account {
                return match row.uses {
                    0 => Err(Refusal::NoInvitation),
                    _ => Ok(InvitationEvent::LinkUsed { id: row.id, account }),
                };
            }
            let name = name.as_deref().ok_or(Refusal::NameNeeded)?;
            if let Some(account) = row.last
                && accounts.named(&name.key) == Some(account)
                && accounts.password(account).is_none()
            {
                return Ok(InvitationEvent::AcceptedBefore { account });
            }
            if row.uses == 0 {
                return Err(Refusal::NoInvitation);
            }
            accounts.check_new(name)?;
            let room = row.room.filter(|room| check_room(rooms, &row.by, *room).is_ok());
            let account = AccountId(at.seq.0);
            Ok(InvitationEvent::Accepted { id: row.id, account, name: Box::new(*name), role, room })
        }
    }
}

/// A link sets a password.
fn check_link(accounts: &Accounts, by: &Principal, account: AccountId) -> Result<(), Refusal> {
    accounts.check_server(ServerPower::SetPassword, by, None)?;
    accounts.check(account)?;
    accounts.check_active(&Principal::Account(account))
}

/// Nobody grants more than he has.
fn check_right(
    accounts: &Accounts,
    rooms: &Rooms,
    by: &Principal,
    role: AccountRole,
    room: Option<RoomId>,
) -> Result<(), Refusal> {
    let power = match role {
        AccountRole::Admin => ServerPower::InviteAdmin,
        AccountRole::Person | AccountRole::Bot => ServerPower::Invite,
    };
    accounts.check_server(power, by, None)?;
    room.map_or(Ok(()), |room| check_room(rooms, by, room))
}

fn check_room(rooms: &Rooms, by: &Principal, room: RoomId) -> Result<(), Refusal> {
    rooms.get(room).ok_or(Refusal::NoRoom)?.check(Power::Bring, by)
}

pub(crate) fn evolve(
    (accounts, rooms, invitations): (&mut Accounts, &mut Rooms, &mut Invitations),
    at: Position,
    event: &InvitationEvent,
    places: &mut Places,
) {
    match *event {
        InvitationEvent::Created { id, ref invitation, by } => {
            invitations.remove_over(at.time, accounts);
            let NewInvitation { key, account, uses, until, room, role } = **invitation;
            let uses = if account.is_some() { 1 } else { uses };
            let (role, last) = (role.number(), None);
            invitations.add(InvitationRow { id, key, account, uses, until, room, role, by, last });
        }
        InvitationEvent::Withdrawn { id } => invitations.remove(id),
        InvitationEvent::Accepted { id, account, ref name, role, room } => {
            accounts.create(**name, account, role);
            invitations.use_once(id, account);
            if let Some(room) = room {
                rooms.show(room, at.seq, None, places);
                rooms.begin_stay(room, account, at.seq);
                accounts.show(account, at.seq, FeedKey::Room(room), places);
            }
        }
        InvitationEvent::LinkUsed { id, .. } => invitations.remove(id),
        InvitationEvent::AcceptedBefore { .. } => {}
    }
}

/// An invitation, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct InvitationRow {
    #[n(0)]
    pub(crate) id: InvitationId,
    #[n(1)]
    pub(crate) key: TokenKey,
    /// How many accounts can still be made with it.
    #[n(2)]
    pub(crate) uses: u32,
    #[n(3)]
    pub(crate) until: Option<Time>,
    #[n(4)]
    pub(crate) room: Option<RoomId>,
    #[n(5)]
    pub(crate) role: u8,
    /// Who made it.
    #[n(6)]
    pub(crate) by: Principal,
    /// The account that was made with it last: it can be asked for again until it has a password.
    #[n(7)]
    pub(crate) last: Option<AccountId>,
    /// The account whose link it is.
    #[n(8)]
    pub(crate) account: Option<AccountId>,
}

impl InvitationRow {
    fn role(&self) -> AccountRole {
        // The journal reads no other number.
        AccountRole::from_number(self.role).unwrap_or_default()
    }

    fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// An invitation, as those see it who can make some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    /// The account whose link it is.
    pub account: Option<AccountId>,
    /// How many accounts can still be made with it.
    pub uses: u32,
    pub until: Option<Time>,
    pub room: Option<RoomId>,
    pub role: AccountRole,
    /// Who made it.
    pub by: Principal,
}

/// All invitations that were not withdrawn. Those that are over or used up go when another one is created.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invitations {
    by_id: BTreeMap<InvitationId, InvitationRow>,
    by_key: BTreeMap<TokenKey, InvitationId>,
    digest: Digest,
    pub(crate) kept: Kept<InvitationRow>,
}

impl Invitations {
    pub(crate) fn add(&mut self, row: InvitationRow) {
        self.digest.add(&row);
        self.by_key.insert(row.key, row.id);
        self.by_id.insert(row.id, row);
    }

    fn remove(&mut self, id: InvitationId) {
        let Some(row) = self.by_id.remove(&id) else { return };
        self.kept.keep(id.0, || row);
        self.by_key.remove(&row.key);
        self.digest.take_away(&row);
    }

    /// Nobody can do anything with them any more. A step for each invitation.
    fn remove_over(&mut self, now: Time, accounts: &Accounts) {
        let is_waited_for =
            |row: &InvitationRow| row.last.is_some_and(|last| accounts.password(last).is_none());
        let over = |row: &&InvitationRow| row.is_over(now) || row.uses == 0 && !is_waited_for(row);
        let over: Vec<InvitationId> = self.by_id.values().filter(over).map(|row| row.id).collect();
        over.into_iter().for_each(|id| self.remove(id));
    }

    fn use_once(&mut self, id: InvitationId, account: AccountId) {
        let Some(row) = self.by_id.get_mut(&id) else { return };
        self.kept.keep(id.0, || *row);
        self.digest.take_away(row);
        row.uses = row.uses.saturating_sub(1);
        row.last = Some(account);
        self.digest.add(row);
    }

    fn get(&self, key: &TokenKey) -> Option<&InvitationRow> {
        self.by_key.get(key).and_then(|id| self.by_id.get(id))
    }

    pub(crate) fn by_key(&self, key: &TokenKey) -> Option<Invitation> {
        self.get(key).map(shown)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Invitation> {
        self.by_id.values().map(shown)
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<InvitationRow>> {
        // `by_key` finds the same invitations.
        let Invitations { by_id, by_key: _, digest: _, kept } = self;
        let there = by_id.range(InvitationId(from)..).take_while(move |&(id, _)| id.0 <= at.0);
        merged(there.map(|(id, row)| (id.0, row)), kept.from(at, from))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

fn shown(row: &InvitationRow) -> Invitation {
    Invitation {
        id: row.id,
        account: row.account,
        uses: row.uses,
        until: row.until,
        room: row.room,
        role: row.role(),
        by: row.by,
    }
}
