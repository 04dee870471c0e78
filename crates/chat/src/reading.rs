//! What a reader of a room sees, and where it continues. Everything follows from the permission table and the reader's
//! stays; nothing about readers is stored anywhere else.

use crate::permission::Power;
use crate::stays::{self, Hole, Interval};
use crate::{Principal, Room, Seq};

/// Where somebody continues in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAfter {
    /// After the entry that is the message asked for; the view knows which.
    Message,
    /// After this entry.
    Entry(Seq),
}

impl Room {
    /// Can this reader know that the room exists?
    pub fn knows(&self, reader: &Principal) -> bool {
        self.allows(Power::KnowOf, reader)
    }

    /// Does this reader see everything that was ever said here? Then nobody need look entry by entry.
    pub fn sees_all(&self, reader: &Principal) -> bool {
        self.allows(Power::SeeAll, reader)
    }

    /// Does this reader see the room's entry at `seq`?
    pub fn sees(&self, reader: &Principal, seq: Seq) -> bool {
        self.sees_all(reader) || self.stays_of(reader).iter().any(|stay| stay.covers(seq))
    }

    /// The hole that the reader gets at `seq` instead of its own event `joined`.
    pub fn hole_at(&self, reader: &Principal, seq: Seq) -> Option<Hole> {
        if self.sees_all(reader) {
            return None;
        }
        let stays = self.stays_of(reader);
        let index = stays.iter().position(|stay| stay.from.seq == seq)?;
        stays::hole_before(stays, index)
    }

    /// The newest message that a reader can know of. A former member of a private room does not learn of later ones.
    pub fn newest_for(&self, reader: &Principal) -> u64 {
        if self.sees_all(reader) {
            return self.n;
        }
        match self.stays_of(reader).last() {
            Some(stay) => stay.to.map_or(self.n, |to| to.n),
            None => 0,
        }
    }

    /// Where a reader continues that has all messages up to `n`. `None`: at the end, because `n` is beyond what the reader
    /// can know. If message `n` is hidden from the reader, it continues after its stay before `n`.
    pub fn start_after(&self, reader: &Principal, n: u64) -> Option<StartAfter> {
        if n > self.newest_for(reader) {
            return None;
        }
        if self.sees_all(reader) {
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
            Principal::Account(who) => self.stays.of(*who),
            Principal::Operator | Principal::Guest(_) => &[],
        }
    }
}
