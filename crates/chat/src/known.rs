//! Which rooms somebody may know of, newest first, without a walk over all rooms. Made from the rooms and their
//! stays; no part of the state's hash nor of its snapshot. Which of the two lists a room is in follows from the table of
//! permissions (`Access::is_open`).

use std::collections::{BTreeMap, BTreeSet};

use crate::{Access, AccountId, Principal, RoomId};

/// Open rooms, and for each account the private rooms that it is or was in: both only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    open: BTreeSet<RoomId>,
    private: BTreeMap<AccountId, BTreeSet<RoomId>>,
}

/// The rooms that a reader may know of.
#[derive(Clone, Copy, Debug)]
pub struct KnownRooms<'a> {
    open: &'a BTreeSet<RoomId>,
    private: Option<&'a BTreeSet<RoomId>>,
}

impl Known {
    pub(crate) fn add_room(&mut self, room: RoomId, access: Access) {
        if access.is_open() {
            self.open.insert(room);
        }
    }

    pub(crate) fn add_stay(&mut self, room: RoomId, access: Access, who: AccountId) {
        if !access.is_open() {
            self.private.entry(who).or_default().insert(room);
        }
    }

    pub(crate) fn of(&self, reader: &Principal) -> KnownRooms<'_> {
        let private = match reader {
            Principal::Account(who) => self.private.get(who),
            Principal::Operator | Principal::Guest(_) => None,
        };
        KnownRooms { open: &self.open, private }
    }
}

impl<'a> KnownRooms<'a> {
    /// How many. A step, whatever their number.
    pub fn count(&self) -> usize {
        self.open.len() + self.private_count()
    }

    /// How many of them are private. A step.
    pub fn private_count(&self) -> usize {
        self.private.map_or(0, BTreeSet::len)
    }

    /// The private ones, newest first. Each costs a step; what the reader may not know of costs none.
    pub fn private_newest(&self) -> impl Iterator<Item = RoomId> + use<'a> {
        self.private.into_iter().flat_map(|rooms| rooms.iter().rev().copied())
    }

    /// All of them, newest first. Each costs a step; what the reader may not know of costs none.
    pub fn newest(&self) -> impl Iterator<Item = RoomId> + use<'a> {
        let mut open = self.open.iter().rev().copied().peekable();
        let mut private = self.private_newest().peekable();
        std::iter::from_fn(move || if private.peek() > open.peek() { private.next() } else { open.next() })
    }
}
