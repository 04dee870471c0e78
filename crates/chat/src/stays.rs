//! Who was in a room when. What a reader of a private room sees, and the holes in it, follow from
//! these intervals alone.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::{AccountId, RoomId, Seq};

/// A point in a room: an entry, and the room's newest message number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The entry that made the mark (a join or a leave).
    #[n(0)]
    pub seq: Seq,
    /// Messages up to this number were there already.
    #[n(1)]
    pub n: u64,
}

/// One stay in a room: from the join to the leave, both seen by the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Interval {
    /// The join.
    #[n(0)]
    pub from: Mark,
    /// The leave; `None` while the stay lasts.
    #[n(1)]
    pub to: Option<Mark>,
}

/// A stay, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct StayRow {
    #[n(0)]
    pub(crate) room: RoomId,
    #[n(1)]
    pub(crate) who: AccountId,
    #[n(2)]
    pub(crate) stay: Interval,
}

/// The stays of one room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stays {
    by_account: BTreeMap<AccountId, Vec<Interval>>,
    /// Those whose last stay lasts.
    members: BTreeSet<AccountId>,
}

impl Stays {
    /// Adds the newest stay of an account.
    pub(crate) fn add(&mut self, who: AccountId, stay: Interval) {
        match stay.to {
            None => self.members.insert(who),
            Some(_) => self.members.remove(&who),
        };
        self.by_account.entry(who).or_default().push(stay);
    }

    /// Ends the newest stay of an account: as it was, and as it is now.
    pub(crate) fn end(&mut self, who: AccountId, to: Mark) -> Option<(Interval, Interval)> {
        let stay = self.by_account.get_mut(&who)?.last_mut()?;
        let before = *stay;
        stay.to = Some(to);
        self.members.remove(&who);
        Some((before, *stay))
    }

    /// An account's stays, in order.
    pub(crate) fn of(&self, who: AccountId) -> &[Interval] {
        self.by_account.get(&who).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_member(&self, who: AccountId) -> bool {
        self.members.contains(&who)
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = AccountId> {
        self.members.iter().copied()
    }

    /// Every stay from an account's nth on, as it was at an entry: nothing where it began later. Every field is named: a
    /// new one does not compile until it is here or left out on purpose.
    pub(crate) fn steps(
        &self,
        (from, nth): (AccountId, u64),
        at: Seq,
    ) -> impl Iterator<Item = ((AccountId, u64), Option<Interval>)> {
        // `members` follows from each account's last stay.
        let Stays { by_account, members: _ } = self;
        by_account.range(from..).flat_map(move |(&who, stays)| {
            let nth = if who == from { nth } else { 0 };
            let stays = (0..).zip(stays).skip(usize::try_from(nth).unwrap_or(usize::MAX));
            stays.map(move |(nth, stay)| ((who, nth), stay.as_of(at)))
        })
    }
}

impl Interval {
    /// As it was at an entry, if it had begun.
    fn as_of(&self, at: Seq) -> Option<Interval> {
        (self.from.seq <= at).then(|| Interval { from: self.from, to: self.to.filter(|to| to.seq <= at) })
    }

    /// Does the stay cover this entry?
    pub fn covers(&self, seq: Seq) -> bool {
        self.from.seq <= seq && self.to.is_none_or(|to| seq <= to.seq)
    }
}

/// Messages that a reader does not get. It gets the hole instead of its own event `joined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The join that ended the absence: the hole is at its position.
    pub at: Seq,
    /// First number left out.
    pub from: u64,
    /// Last number left out.
    pub to: u64,
}

/// The hole that the stay `intervals[index]` ends, if anything was said in the absence before it.
pub(crate) fn hole_before(intervals: &[Interval], index: usize) -> Option<Hole> {
    let stay = intervals.get(index)?;
    let before = match index.checked_sub(1) {
        Some(previous) => intervals[previous].to?.n,
        None => 0,
    };
    (before < stay.from.n).then_some(Hole { at: stay.from.seq, from: before + 1, to: stay.from.n })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: u64, n: u64) -> Mark {
        Mark { seq: Seq(seq), n }
    }

    #[test]
    fn a_second_stay_has_a_hole_for_the_messages_of_the_absence() {
        let stays = [
            Interval { from: mark(3, 0), to: Some(mark(9, 5)) },
            Interval { from: mark(20, 8), to: None },
            Interval { from: mark(30, 8), to: None },
        ];
        assert_eq!(hole_before(&stays, 0), None);
        assert_eq!(hole_before(&stays, 1), Some(Hole { at: Seq(20), from: 6, to: 8 }));
        assert!(stays[0].covers(Seq(9)) && !stays[0].covers(Seq(10)) && stays[1].covers(Seq(99)));
    }
}
