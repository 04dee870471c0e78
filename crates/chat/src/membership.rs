//! Who was in a room when. What a reader of a private room may see, and the holes in it, follow from
//! these intervals alone; nothing about readers is stored anywhere else.

use crate::Seq;

/// A point in a room: an entry, and the room's newest message number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The entry that made the mark (a join or a leave).
    pub seq: Seq,
    /// Messages up to this number were there already.
    pub n: u64,
}

/// One stay in a room: from the join to the leave, both seen by who stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The join.
    pub from: Mark,
    /// The leave; `None` while the stay lasts.
    pub to: Option<Mark>,
}

impl Interval {
    /// Does the stay cover this entry?
    pub fn covers(&self, seq: Seq) -> bool {
        self.from.seq <= seq && self.to.is_none_or(|to| seq <= to.seq)
    }
}

/// Messages that a reader does not get, told in place of its own `joined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The join that ended the absence: the place where the hole is told.
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
    fn a_second_stay_tells_what_was_said_in_the_absence() {
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
