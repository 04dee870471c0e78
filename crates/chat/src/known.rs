//! Which rooms somebody may know of, in the order of their creation, without a walk over all rooms. Made from the rooms and their
//! stays; no part of the state's hash nor of its snapshot. Which of the two lists a room is in follows from the table of
//! permissions (`Access::is_open`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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
    /// How many of them are private. A step, whatever their number.
    pub fn private_count(&self) -> usize {
        self.private.map_or(0, BTreeSet::len)
    }

    /// The private ones, newest first. Each costs a step; what the reader may not know of costs none.
    pub fn private_newest(&self) -> impl Iterator<Item = RoomId> + use<'a> {
        self.private.into_iter().flat_map(|rooms| rooms.iter().rev().copied())
    }

    /// All of them that were created after this one, in order. Each costs a step, and the first as many as a search in a
    /// tree; what the reader may not know of costs none.
    pub fn after(&self, room: RoomId) -> impl Iterator<Item = RoomId> + use<'a> {
        let range = (Bound::Excluded(room), Bound::Unbounded);
        let mut open = self.open.range(range).copied().peekable();
        let mut private =
            self.private.into_iter().flat_map(move |rooms| rooms.range(range).copied()).peekable();
        std::iter::from_fn(move || match (open.peek(), private.peek()) {
            (Some(one), Some(other)) if other < one => private.next(),
            (Some(_), _) => open.next(),
            (None, _) => private.next(),
        })
    }
}
