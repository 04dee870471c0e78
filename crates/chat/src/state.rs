//! The state and the only way to change it: `apply` = `decide` (may refuse, changes nothing), then
//! `evolve` (changes, refuses nothing).

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{Digest, Part};
use crate::known::{Known, KnownRooms};
use crate::limits::{OPENINGS_MAX, ROOMS_MAX, STAYS_MAX};
use crate::membership::{self, Hole, Interval, Mark};
use crate::sent::{First, Key, Sent};
use crate::{
    Access, AccountId, Command, Event, NameKey, Node, Position, Principal, Refusal, RoomId, Rules, Seq, Time,
};

/// Everything that decides what happens next.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) rules: Rules,
    pub(crate) seq: Seq,
    pub(crate) time: Time,
    pub(crate) openings: BTreeMap<Seq, Node>,
    /// The same by process: follows from `openings`, so it is neither hashed nor written.
    pub(crate) opened_by: BTreeMap<Node, Seq>,
    pub(crate) accounts: BTreeMap<NameKey, AccountId>,
    pub(crate) account_ids: BTreeMap<AccountId, NameKey>,
    pub(crate) rooms: BTreeMap<RoomId, Room>,
    pub(crate) room_names: BTreeMap<NameKey, RoomId>,
    pub(crate) sent: Sent,
    pub(crate) stays: Digest,
    /// Follows from `rooms`: neither in the hash nor in the snapshot.
    pub(crate) known: Known,
}

/// Where somebody goes on in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAfter {
    /// After the entry that is the message asked for; the tables know which.
    Message,
    /// After this entry.
    Entry(Seq),
}

/// A room, as far as the rules need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its name's key.
    pub name: NameKey,
    /// Who may read and speak.
    pub access: Access,
    /// The newest message's number; 0 before the first.
    pub n: u64,
    /// The newest entry that readers of the room see.
    pub seq: Seq,
    pub(crate) stays: BTreeMap<AccountId, Vec<Interval>>,
    /// Whose last stay lasts: follows from `stays`.
    pub(crate) members: BTreeSet<AccountId>,
}

impl Default for State {
    fn default() -> State {
        State {
            rules: Rules(1),
            seq: Seq(0),
            time: Time(0),
            openings: BTreeMap::new(),
            opened_by: BTreeMap::new(),
            accounts: BTreeMap::new(),
            account_ids: BTreeMap::new(),
            rooms: BTreeMap::new(),
            room_names: BTreeMap::new(),
            sent: Sent::default(),
            stays: Digest::default(),
            known: Known::default(),
        }
    }
}

impl State {
    /// Decides the entry at this place and takes over what came of it. A refused command leaves its
    /// place in the journal and nothing else.
    pub fn apply(&mut self, at: Position, command: &Command) -> Result<Vec<Event>, Refusal> {
        // The state's time never goes back, whatever the stamp says.
        let at = Position { time: at.time.max(self.time), ..at };
        let outcome = self.decide(self.rules, at, command);
        self.seq = at.seq;
        self.time = at.time;
        if let Ok(events) = &outcome {
            for event in events {
                self.evolve(at, command, event);
            }
        }
        outcome
    }

    /// What would come of the command at this place. Changes nothing.
    pub fn decide(&self, rules: Rules, at: Position, command: &Command) -> Result<Vec<Event>, Refusal> {
        match rules {
            // One version so far; the next one gets its own function beside `decide_1`.
            Rules(_) => self.decide_1(at, command),
        }
    }

    fn decide_1(&self, at: Position, command: &Command) -> Result<Vec<Event>, Refusal> {
        let event = match *command {
            Command::Open => Event::Opened { node: at.node },
            Command::Tick => Event::Ticked,
            Command::SwitchRules { to } => {
                if to <= self.rules || to > Rules::NEWEST {
                    return Err(Refusal::UnknownRules { to: to.0, now: self.rules.0 });
                }
                Event::RulesSwitched { to }
            }
            Command::AddAccount { name } => {
                if self.accounts.contains_key(&name) {
                    return Err(Refusal::NameTaken);
                }
                Event::AccountAdded { account: AccountId(at.seq.0) }
            }
            Command::CreateRoom { name, access, by } => {
                match by {
                    Principal::Guest(_) => return Err(Refusal::AccountNeeded),
                    Principal::Account(who) => self.known(who)?,
                    Principal::Operator => {}
                }
                if self.room_names.contains_key(&name) {
                    return Err(Refusal::NameTaken);
                }
                if self.rooms.len() >= ROOMS_MAX {
                    return Err(Refusal::TooManyRooms { max: ROOMS_MAX });
                }
                Event::RoomCreated { room: RoomId(at.seq.0), access, by }
            }
            Command::Join { room, who, by } => {
                let there = self.rooms.get(&room).ok_or(Refusal::NoRoom)?;
                match by {
                    // To say what it needs would be to say that the room exists.
                    Principal::Guest(_) if !there.knows(&by) => return Err(Refusal::NoRoom),
                    Principal::Guest(_) => return Err(Refusal::AccountNeeded),
                    Principal::Account(asker) => {
                        let inside = there.is_member(asker);
                        if there.access == Access::Private && !inside {
                            // Those who were there before know of it; to others it does not exist.
                            let knows = there.stays.contains_key(&asker);
                            return Err(if knows { Refusal::NotMember } else { Refusal::NoRoom });
                        }
                        self.known(asker)?;
                        if asker != who && !inside {
                            return Err(Refusal::NotMember);
                        }
                    }
                    Principal::Operator => {}
                }
                self.known(who)?;
                if there.is_member(who) {
                    return Err(Refusal::AlreadyMember);
                }
                if there.stays.get(&who).is_some_and(|stays| stays.len() >= STAYS_MAX) {
                    return Err(Refusal::TooManyStays { max: STAYS_MAX });
                }
                Event::MemberJoined { room, who }
            }
            Command::Leave { room, who } => {
                let there = self.rooms.get(&room).ok_or(Refusal::NoRoom)?;
                if !there.is_member(who) {
                    let knows = there.knows(&Principal::Account(who));
                    return Err(if knows { Refusal::NotMember } else { Refusal::NoRoom });
                }
                Event::MemberLeft { room, who }
            }
            Command::Send { room, from, ref id } => {
                let there = self.rooms.get(&room).ok_or(Refusal::NoRoom)?;
                // A repetition gets its first result even from somebody who has left meanwhile.
                if let Some(id) = id
                    && let Some(first) = self.sent.find(from, room, id, at.time)
                {
                    if first.print != id.print {
                        return Err(Refusal::IdReused);
                    }
                    return Ok(vec![Event::AlreadySent { room, n: first.n, seq: first.seq }]);
                }
                there.may_speak(&from)?;
                if let Principal::Account(who) = from {
                    self.known(who)?;
                }
                Event::MessageSent { room, n: there.n + 1, from }
            }
        };
        Ok(vec![event])
    }

    fn evolve(&mut self, at: Position, command: &Command, event: &Event) {
        match *event {
            Event::AlreadySent { .. } | Event::Ticked => {}
            Event::Opened { node } => {
                self.openings.insert(at.seq, node);
                self.opened_by.insert(node, at.seq);
                if self.openings.len() > OPENINGS_MAX
                    && let Some((seq, node)) = self.openings.pop_first()
                    && self.opened_by.get(&node) == Some(&seq)
                {
                    self.opened_by.remove(&node);
                }
            }
            Event::RulesSwitched { to } => self.rules = to,
            Event::AccountAdded { account } => {
                if let Command::AddAccount { name } = *command {
                    self.accounts.insert(name, account);
                    self.account_ids.insert(account, name);
                }
            }
            Event::RoomCreated { room, access, by } => {
                if let Command::CreateRoom { name, .. } = *command {
                    self.room_names.insert(name, room);
                    self.add_room(room, Room::new(name, access, at.seq));
                }
                if let Principal::Account(who) = by {
                    self.open_stay(room, who, at.seq);
                }
            }
            Event::MemberJoined { room, who } => self.open_stay(room, who, at.seq),
            Event::MemberLeft { room, who } => self.close_stay(room, who, at.seq),
            Event::MessageSent { room, n, from } => {
                if let Some(there) = self.rooms.get_mut(&room) {
                    there.n = n;
                    there.seq = at.seq;
                }
                if let Command::Send { id: Some(id), .. } = command {
                    let first = First { seq: at.seq, n, time: at.time, print: id.print };
                    self.sent.remember(Key { from, room, id: id.key }, first, at.time);
                }
            }
        }
    }

    /// A room with its stays.
    pub(crate) fn add_room(&mut self, id: RoomId, room: Room) {
        self.known.add_room(id, room.access);
        for &who in room.stays.keys() {
            self.known.add_stay(id, room.access, who);
        }
        self.rooms.insert(id, room);
    }

    fn open_stay(&mut self, room: RoomId, who: AccountId, seq: Seq) {
        let Some(there) = self.rooms.get_mut(&room) else { return };
        there.seq = seq;
        let stay = Interval { from: Mark { seq, n: there.n }, to: None };
        self.stays.add(&stay_part(room, who, &stay));
        there.add_stay(who, stay);
        self.known.add_stay(room, there.access, who);
    }

    fn close_stay(&mut self, room: RoomId, who: AccountId, seq: Seq) {
        let Some(there) = self.rooms.get_mut(&room) else { return };
        there.seq = seq;
        let Some(stay) = there.stays.get_mut(&who).and_then(|stays| stays.last_mut()) else { return };
        self.stays.take_away(&stay_part(room, who, stay));
        stay.to = Some(Mark { seq, n: there.n });
        self.stays.add(&stay_part(room, who, stay));
        there.members.remove(&who);
    }

    fn known(&self, who: AccountId) -> Result<(), Refusal> {
        if self.account_ids.contains_key(&who) { Ok(()) } else { Err(Refusal::NoAccount) }
    }

    /// The last entry applied.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The largest stamp so far.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The rules in force for the next entry.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The account of this name.
    pub fn account(&self, name: &NameKey) -> Option<AccountId> {
        self.accounts.get(name).copied()
    }

    /// The room of this name, if the reader may know of it.
    pub fn room_named(&self, name: &NameKey, reader: &Principal) -> Result<RoomId, Refusal> {
        let id = *self.room_names.get(name).ok_or(Refusal::NoRoom)?;
        let there = self.rooms.get(&id).ok_or(Refusal::NoRoom)?;
        if there.knows(reader) { Ok(id) } else { Err(Refusal::NoRoom) }
    }

    /// A room.
    pub fn room(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    /// Every room, oldest first.
    pub fn rooms(&self) -> impl Iterator<Item = (RoomId, &Room)> {
        self.rooms.iter().map(|(&id, room)| (id, room))
    }

    /// The rooms that this reader may know of, newest first.
    pub fn known_rooms(&self, reader: &Principal) -> KnownRooms<'_> {
        self.known.of(reader)
    }

    /// The last process that opened the journal.
    pub fn epoch(&self) -> Option<Node> {
        self.openings.last_key_value().map(|(_, &node)| node)
    }

    /// Has this process opened the journal, as far as is remembered? Others may have opened it since.
    pub fn has_opened(&self, node: Node) -> bool {
        self.opened_by.contains_key(&node)
    }

    /// Every process that opened the journal, in order, as far as they are remembered.
    pub fn openings(&self) -> impl DoubleEndedIterator<Item = Node> {
        self.openings.values().copied()
    }

    /// How far somebody who last saw `seq` while `epoch` ordered agrees with this journal: an older
    /// copy that was put back has lost what `epoch` ordered after the copy was made. `None`: that
    /// process never ordered here, as far as is remembered.
    pub fn common_with(&self, epoch: Node, seq: Seq) -> Option<Seq> {
        let opened = *self.opened_by.get(&epoch)?;
        let after = (std::ops::Bound::Excluded(opened), std::ops::Bound::Unbounded);
        let end = match self.openings.range(after).next() {
            Some((&next, _)) => Seq(next.0 - 1),
            None => self.seq,
        };
        // Before its own opening a process saw what the earlier ones left, which is still here.
        Some(seq.min(end))
    }

    /// The hash of everything above: the same on every node after the same entries.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"vang state 1");
        hasher.update(&self.rules.0.to_le_bytes());
        hasher.update(&self.seq.0.to_le_bytes());
        hasher.update(&self.time.0.to_le_bytes());
        hasher.update(&(self.openings.len() as u64).to_le_bytes());
        for (seq, node) in &self.openings {
            hasher.update(&seq.0.to_le_bytes());
            hasher.update(&node.0.to_le_bytes());
        }
        hasher.update(&(self.accounts.len() as u64).to_le_bytes());
        for (name, account) in &self.accounts {
            hasher.update(&name.0);
            hasher.update(&account.0.to_le_bytes());
        }
        hasher.update(&(self.rooms.len() as u64).to_le_bytes());
        for (id, room) in &self.rooms {
            hasher.update(&id.0.to_le_bytes());
            hasher.update(&room.name.0);
            hasher.update(&[room.access as u8]);
            hasher.update(&room.n.to_le_bytes());
            hasher.update(&room.seq.0.to_le_bytes());
        }
        self.stays.hash_into(&mut hasher);
        self.sent.digest().hash_into(&mut hasher);
        *hasher.finalize().as_bytes()
    }

    /// Items that a snapshot writes: what its size grows with.
    pub fn items(&self) -> usize {
        self.sent.len() + self.accounts.len() + self.rooms.len() + self.openings.len()
    }
}

impl Room {
    /// A room in which nobody was yet.
    pub(crate) fn new(name: NameKey, access: Access, seq: Seq) -> Room {
        Room { name, access, n: 0, seq, stays: BTreeMap::new(), members: BTreeSet::new() }
    }

    /// The newest stay of an account.
    pub(crate) fn add_stay(&mut self, who: AccountId, stay: Interval) {
        match stay.to {
            None => self.members.insert(who),
            Some(_) => self.members.remove(&who),
        };
        self.stays.entry(who).or_default().push(stay);
    }

    /// Is this account in the room now?
    pub fn is_member(&self, who: AccountId) -> bool {
        self.members.contains(&who)
    }

    /// The room's current members. Former members are not iterated; the length is known in constant time.
    pub fn members(&self) -> impl ExactSizeIterator<Item = AccountId> {
        self.members.iter().copied()
    }

    /// May this reader know who is there? Whoever has left a private room knows of it, but no more.
    pub fn shows_people(&self, reader: &Principal) -> bool {
        match (self.access, reader) {
            (Access::Public, _) => true,
            (Access::Private, Principal::Account(who)) => self.is_member(*who),
            (Access::Private, Principal::Operator | Principal::Guest(_)) => false,
        }
    }

    /// May this reader know that the room exists?
    pub fn knows(&self, reader: &Principal) -> bool {
        self.access == Access::Public
            || match reader {
                Principal::Account(who) => self.stays.contains_key(who),
                Principal::Operator | Principal::Guest(_) => false,
            }
    }

    fn may_speak(&self, from: &Principal) -> Result<(), Refusal> {
        match (self.access, from) {
            (Access::Public, _) => Ok(()),
            (Access::Private, Principal::Account(who)) if self.is_member(*who) => Ok(()),
            (Access::Private, _) if self.knows(from) => Err(Refusal::NotMember),
            (Access::Private, _) => Err(Refusal::NoRoom),
        }
    }

    /// May this reader see everything that was ever said here? Then nobody need look entry by entry.
    pub fn sees_all(&self, _reader: &Principal) -> bool {
        self.access == Access::Public
    }

    /// May this reader see the room's entry at `seq`?
    pub fn sees(&self, reader: &Principal, seq: Seq) -> bool {
        self.access == Access::Public || self.stays_of(reader).iter().any(|stay| stay.covers(seq))
    }

    /// The hole that the reader is told at `seq`, in place of its own `joined` there.
    pub fn hole_at(&self, reader: &Principal, seq: Seq) -> Option<Hole> {
        if self.access == Access::Public {
            return None;
        }
        let stays = self.stays_of(reader);
        let index = stays.iter().position(|stay| stay.from.seq == seq)?;
        membership::hole_before(stays, index)
    }

    /// The newest message that a reader may know of: who has left a private room is not told that it
    /// goes on.
    pub fn newest_for(&self, reader: &Principal) -> u64 {
        if self.access == Access::Public {
            return self.n;
        }
        match self.stays_of(reader).last() {
            Some(stay) => stay.to.map_or(self.n, |to| to.n),
            None => 0,
        }
    }

    /// Where a reader who has all up to message `n` goes on; `None`: at the end, since the reader knows
    /// of no such message. A place that is hidden from the reader is not told: it goes on after the stay
    /// before it.
    pub fn start_after(&self, reader: &Principal, n: u64) -> Option<StartAfter> {
        if n > self.newest_for(reader) {
            return None;
        }
        if self.access == Access::Public {
            return Some(StartAfter::Message);
        }
        let mut before = Seq(0);
        for stay in self.stays_of(reader) {
            let visible = stay.from.n < n && stay.to.is_none_or(|to| n <= to.n);
            match stay.to {
                _ if visible => return Some(StartAfter::Message),
                Some(to) if to.n < n => before = to.seq,
                _ => break,
            }
        }
        Some(StartAfter::Entry(before))
    }

    /// The reader's stays, in order.
    pub fn stays_of(&self, reader: &Principal) -> &[Interval] {
        match reader {
            Principal::Account(who) => self.stays.get(who).map_or(&[], Vec::as_slice),
            Principal::Operator | Principal::Guest(_) => &[],
        }
    }
}

pub(crate) fn stay_part(room: RoomId, who: AccountId, stay: &Interval) -> Part {
    let mut bytes = [0; 50];
    bytes[0] = b'm';
    bytes[1..9].copy_from_slice(&room.0.to_le_bytes());
    bytes[9..17].copy_from_slice(&who.0.to_le_bytes());
    bytes[17..25].copy_from_slice(&stay.from.seq.0.to_le_bytes());
    bytes[25..33].copy_from_slice(&stay.from.n.to_le_bytes());
    if let Some(to) = stay.to {
        bytes[33] = 1;
        bytes[34..42].copy_from_slice(&to.seq.0.to_le_bytes());
        bytes[42..50].copy_from_slice(&to.n.to_le_bytes());
    }
    Part::of(&bytes)
}
