//! Rooms: where messages are.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::accounts::Accounts;
use crate::digest::{Digest, Part};
use crate::known::Known;
use crate::limits::ROOMS_MAX;
use crate::names::Looks;
use crate::permission::{self, Power, RoomsBy, ServerPower, Standing};
use crate::server_feed::ServerFeed;
use crate::stays::{Interval, Mark, StayRow, Stays};
use crate::steps::{Kept, Key, Step};
use crate::{
    Access, AccountId, Feed, FeedKey, Name, NameKey, Place, Places, Position, Principal, Refusal, RoomId, Seq,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomCommand {
    Create {
        name: Box<Name>,
        access: Access,
        /// Who asks: an account (then its first member) or the operator.
        by: Principal,
        /// Who can create rooms: a setting of the server that took the request. A user of the folder's socket is an
        /// admin, also under an account's name.
        rooms_by: RoomsBy,
        /// How many rooms an account can make, with this one: a setting of the server that took the request. `None`: no
        /// limit, as for the operator.
        most: Option<u64>,
    },
    /// Say what the room is about; the text is the payload.
    SetTopic { room: RoomId, by: Principal },
}

impl RoomCommand {
    pub(crate) fn room(&self) -> Option<RoomId> {
        match *self {
            RoomCommand::Create { .. } => None,
            RoomCommand::SetTopic { room, .. } => Some(room),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    Created {
        room: RoomId,
        name: Box<Name>,
        access: Access,
        /// Who made it; an account is its first member.
        by: Principal,
    },
    TopicSet {
        room: RoomId,
        by: Principal,
    },
}

pub(crate) fn decide(
    rooms: &Rooms,
    accounts: &Accounts,
    at: Position,
    command: &RoomCommand,
) -> Result<RoomEvent, Refusal> {
    match *command {
        RoomCommand::Create { ref name, access, by, rooms_by, most } => {
            accounts.check_server(ServerPower::CreateRoom(rooms_by, access), &by, None)?;
            if let Principal::Account(who) = by {
                accounts.check(who)?;
            }
            // Of a private room both refusals say only that it exists, to everybody who may create rooms.
            if rooms.by_name.contains_key(&name.key) {
                return Err(Refusal::NameTaken);
            }
            rooms.looks.check(name)?;
            if rooms.by_id.len() >= ROOMS_MAX {
                return Err(Refusal::TooManyRooms { max: ROOMS_MAX });
            }
            if let Principal::Account(who) = by
                && let Some(max) = most
                && rooms.made_by(who) >= max
            {
                return Err(Refusal::TooManyOwnRooms { max });
            }
            Ok(RoomEvent::Created { room: RoomId(at.seq.0), name: name.clone(), access, by })
        }
        RoomCommand::SetTopic { room, by } => {
            let there = rooms.get(room).ok_or(Refusal::NoRoom)?;
            there.check(Power::SetTopic, &by)?;
            Ok(RoomEvent::TopicSet { room, by })
        }
    }
}

pub(crate) fn evolve(
    (rooms, accounts, server): (&mut Rooms, &mut Accounts, &mut ServerFeed),
    at: Position,
    event: &RoomEvent,
    places: &mut Places,
) {
    match *event {
        RoomEvent::Created { room, ref name, access, by } => {
            rooms.add(RoomRow { id: room, name: **name, access, n: 0, seq: Seq(0), by });
            rooms.show(room, at.seq, None, places);
            if let Principal::Account(who) = by {
                rooms.begin_stay(room, who, at.seq);
                accounts.show(who, at.seq, FeedKey::Room(room), places);
            }
            if access == Access::Public {
                server.show(at.seq, FeedKey::Room(room), places);
            }
        }
        RoomEvent::TopicSet { room, .. } => rooms.show(room, at.seq, None, places),
    }
}

/// A room, as far as the rules need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub name: Name,
    pub access: Access,
    /// The newest message's number; 0 before the first.
    pub n: u64,
    /// The newest entry that readers of the room see.
    pub seq: Seq,
    /// Who made it.
    pub(crate) by: Principal,
    pub(crate) stays: Stays,
}

/// A room without its stays, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RoomRow {
    #[n(0)]
    pub(crate) id: RoomId,
    #[n(1)]
    pub(crate) name: Name,
    #[n(2)]
    pub(crate) access: Access,
    #[n(3)]
    pub(crate) n: u64,
    #[n(4)]
    pub(crate) seq: Seq,
    #[n(5)]
    pub(crate) by: Principal,
}

impl Room {
    /// Is this account in the room now?
    pub fn is_member(&self, who: AccountId) -> bool {
        self.stays.is_member(who)
    }

    /// The room's current members. Former members are not iterated; the length is known in constant time.
    pub fn members(&self) -> impl ExactSizeIterator<Item = AccountId> {
        self.stays.members()
    }

    /// What somebody is to this room.
    pub fn standing(&self, who: &Principal) -> Standing {
        match who {
            Principal::Operator => Standing::Operator,
            Principal::Guest(_) => Standing::Guest,
            Principal::Account(who) if self.is_member(*who) => Standing::Member,
            Principal::Account(who) if self.stays.of(*who).is_empty() => Standing::Outsider,
            Principal::Account(_) => Standing::Former,
        }
    }

    /// Can somebody do this here?
    pub fn check(&self, power: Power, who: &Principal) -> Result<(), Refusal> {
        permission::check(power, self.access, || self.standing(who))
    }

    pub fn allows(&self, power: Power, who: &Principal) -> bool {
        self.check(power, who).is_ok()
    }

    /// The stays are rows of their own.
    fn row(&self, id: RoomId) -> RoomRow {
        let Room { name, access, n, seq, by, stays: _ } = *self;
        RoomRow { id, name, access, n, seq, by }
    }
}

/// Changed rooms whose hashes are not in the digest yet, at most about so many: then all are added.
const CHANGED_MAX: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    by_id: BTreeMap<RoomId, Room>,
    by_name: BTreeMap<NameKey, RoomId>,
    looks: Looks,
    digest: Digest,
    /// Of all stays.
    stays: Digest,
    /// Follows from the rooms and their stays.
    known: Known,
    /// Rooms that each account made. Follows from the rooms.
    made: BTreeMap<AccountId, u64>,
    /// Rooms that each account is in. Follows from the stays.
    members: BTreeSet<(AccountId, RoomId)>,
    /// Rooms that have changed, with the part of each that the digest still contains: a room's hash is made once
    /// for many messages.
    changed: BTreeMap<RoomId, Option<Part>>,
    pub(crate) kept: Kept<RoomRow>,
    /// Of all rooms.
    stay_count: usize,
}

impl Rooms {
    pub(crate) fn get(&self, id: RoomId) -> Option<&Room> {
        self.by_id.get(&id)
    }

    /// For changes of what `RoomRow` contains.
    fn change(&mut self, id: RoomId) -> Option<&mut Room> {
        if self.changed.len() >= CHANGED_MAX {
            self.digest = self.digest();
            self.changed.clear();
        }
        let room = self.by_id.get_mut(&id)?;
        self.kept.keep(id.0, || room.row(id));
        self.changed.entry(id).or_insert_with(|| Some(Part::of(&room.row(id))));
        Some(room)
    }

    /// A room in which nobody was yet.
    pub(crate) fn add(&mut self, RoomRow { id, name, access, n, seq, by }: RoomRow) {
        self.known.add_room(id, access);
        if let Principal::Account(who) = by {
            *self.made.entry(who).or_default() += 1;
        }
        self.changed.insert(id, None);
        self.looks.add(&name);
        self.by_name.insert(name.key, id);
        self.by_id.insert(id, Room { name, access, n, seq, by, stays: Stays::default() });
    }

    /// An account is in a room from this entry on.
    pub(crate) fn begin_stay(&mut self, room: RoomId, who: AccountId, seq: Seq) {
        let Some(n) = self.by_id.get(&room).map(|there| there.n) else { return };
        self.add_stay(StayRow { room, who, stay: Interval { from: Mark { seq, n }, to: None } });
    }

    /// Adds a stay behind the account's others.
    pub(crate) fn add_stay(&mut self, row: StayRow) {
        let Some(there) = self.by_id.get_mut(&row.room) else { return };
        self.stays.add(&row);
        self.stay_count += 1;
        match row.stay.to {
            None => self.members.insert((row.who, row.room)),
            Some(_) => self.members.remove(&(row.who, row.room)),
        };
        self.known.add_stay(row.room, there.access, row.who);
        there.stays.add(row.who, row.stay);
    }

    pub(crate) fn end_stay(&mut self, room: RoomId, who: AccountId, seq: Seq) {
        let Some(there) = self.by_id.get_mut(&room) else { return };
        let Some((before, after)) = there.stays.end(who, Mark { seq, n: there.n }) else { return };
        self.members.remove(&(who, room));
        self.stays.take_away(&StayRow { room, who, stay: before });
        self.stays.add(&StayRow { room, who, stay: after });
    }

    pub(crate) fn stays_digest(&self) -> Digest {
        self.stays
    }

    /// Every stay of every room as it was at an entry, each account's in order.
    pub(crate) fn stay_steps(&self, [from, who, nth]: Key, at: Seq) -> impl Iterator<Item = Step<StayRow>> {
        let there = self.by_id.range(RoomId(from)..).take_while(move |&(&room, _)| room.0 <= at.0);
        there.flat_map(move |(&room, there)| {
            let (who, nth) = if room.0 == from { (who, nth) } else { (0, 0) };
            // A step for the room, which may have no stays; not again in its middle. No account is 0.
            let itself = (who == 0).then_some(([room.0, 0, 0], None));
            let stays = there.stays.steps((AccountId(who), nth), at);
            itself.into_iter().chain(stays.map(move |((who, nth), stay)| {
                ([room.0, who.0, nth], stay.map(|stay| StayRow { room, who, stay }))
            }))
        })
    }

    pub(crate) fn stay_count(&self) -> usize {
        self.stay_count
    }

    /// The room of this name, if the reader can know of it.
    pub(crate) fn named(&self, name: &NameKey, reader: &Principal) -> Result<RoomId, Refusal> {
        let id = *self.by_name.get(name).ok_or(Refusal::NoRoom)?;
        let there = self.get(id).ok_or(Refusal::NoRoom)?;
        there.check(Power::KnowOf, reader).map(|()| id)
    }

    /// The rooms that an account is in now, oldest first.
    pub(crate) fn of_member(&self, who: AccountId) -> impl Iterator<Item = RoomId> {
        self.members.range((who, RoomId(0))..=(who, RoomId(u64::MAX))).map(|&(_, room)| room)
    }

    /// How many rooms this account made.
    fn made_by(&self, who: AccountId) -> u64 {
        self.made.get(&who).copied().unwrap_or_default()
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// The readers of a room see this entry; `n` is the number of a message.
    pub(crate) fn show(&mut self, id: RoomId, seq: Seq, n: Option<u64>, places: &mut Places) {
        if let Some(room) = self.change(id) {
            room.n = n.unwrap_or(room.n);
            let before = std::mem::replace(&mut room.seq, seq);
            places.push(Place { feed: Feed::Room(id), n: room.n, before, access: room.access });
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = self.digest;
        for (&id, old) in &self.changed {
            if let Some(old) = old {
                digest.take_away_part(old);
            }
            if let Some(room) = self.by_id.get(&id) {
                digest.add(&room.row(id));
            }
        }
        digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<RoomRow>> {
        // The stays in the rooms are rows of their own; `by_name`, `looks`, `known` and the counts follow from rooms and stays.
        let Rooms {
            by_id,
            by_name: _,
            looks: _,
            digest: _,
            stays: _,
            known: _,
            made: _,
            members: _,
            changed: _,
            kept,
            stay_count: _,
        } = self;
        let there = by_id.range(RoomId(from)..).take_while(move |&(&id, _)| id.0 <= at.0);
        there.map(move |(&id, room)| {
            let before = kept.get(at, id.0).copied();
            ([id.0, 0, 0], Some(before.unwrap_or_else(|| room.row(id))))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (RoomId, &Room)> {
        self.by_id.iter().map(|(&id, room)| (id, room))
    }
}
