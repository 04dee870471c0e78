//! The accounts for which checks wait, in the order in which their queues are looked at.

use std::collections::{BTreeMap, BTreeSet};

use vang_chat::NameKey;

use super::groups::Groups;

/// When an account's queue is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its turn, earlier ones first: when it could begin, and how far it stands back.
    Ready { since: u64, turn: u64 },
    /// Not before.
    Later(u64),
}

/// What waits of one kind.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) queues: Groups<NameKey>,
    pub(super) places: BTreeMap<NameKey, Place>,
    pub(super) ready: BTreeSet<(u64, NameKey)>,
    pub(super) later: BTreeSet<(u64, NameKey)>,
}

impl Line {
    pub(super) fn new() -> Line {
        Line {
            queues: Groups::new(),
            places: BTreeMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
        }
    }

    /// `None`: nothing waits for it.
    pub(super) fn put(&mut self, account: NameKey, place: Option<Place>) {
        let before = match place {
            Some(place) => self.places.insert(account, place),
            None => self.places.remove(&account),
        };
        match before {
            Some(Place::Ready { turn, .. }) => drop(self.ready.remove(&(turn, account))),
            Some(Place::Later(at)) => drop(self.later.remove(&(at, account))),
            None => {}
        }
        match place {
            Some(Place::Ready { turn, .. }) => drop(self.ready.insert((turn, account))),
            Some(Place::Later(at)) => drop(self.later.insert((at, account))),
            None => {}
        }
    }
}
