//! The hot end of each feed: events already encoded, the same bytes for every reader. A batch gives a
//! feed one run; a reader at the end of the one before takes the whole run with one reference.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use vang_chat::{Feed, Seq};

use crate::limits::{ROOM_TAIL_BYTES_MAX, RUN_OVERHEAD_BYTES, TAILS_BYTES_MAX};

/// Consecutive events of one feed, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) bytes: Bytes,
    /// Each event's entry, and where it ends in `bytes`.
    pub(crate) marks: Vec<(Seq, u32)>,
}

impl Run {
    pub(crate) fn last(&self) -> Seq {
        self.marks.last().map_or(Seq(0), |&(seq, _)| seq)
    }

    fn first(&self) -> Seq {
        self.marks.first().map_or(Seq(0), |&(seq, _)| seq)
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.marks.len() * 16 + RUN_OVERHEAD_BYTES
    }

    /// Where the event at this index begins in `bytes`.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |previous| self.marks[previous].1 as usize)
    }
}

#[derive(Debug)]
pub(crate) struct Tail {
    /// Every event of the feed after this one is in the runs.
    pub(crate) before: Seq,
    pub(crate) runs: VecDeque<Run>,
    weight: usize,
}

impl Tail {
    /// The first event after `seq`: its run's index and its own. `before` must not be after `seq`.
    pub(crate) fn after(&self, seq: Seq) -> Option<(usize, usize)> {
        let run = match self.runs.back() {
            // Nearly always: the reader is one run behind.
            Some(last) if self.runs.len() == 1 || last.first() > seq => {
                self.runs.partition_point(|run| run.last() <= seq)
            }
            Some(last) if last.last() > seq => self.runs.len() - 1,
            _ => return None,
        };
        let index = self.runs.get(run)?.marks.partition_point(|&(event, _)| event <= seq);
        Some((run, index))
    }
}

/// The tails of all feeds, within one budget.
#[derive(Debug)]
pub(crate) struct Tails {
    feeds: HashMap<Feed, Tail, foldhash::fast::RandomState>,
    by_age: BTreeSet<(Seq, Feed)>,
    weight: usize,
    max: usize,
}

impl Default for Tails {
    fn default() -> Tails {
        Tails { feeds: HashMap::default(), by_age: BTreeSet::new(), weight: 0, max: TAILS_BYTES_MAX }
    }
}

impl Tails {
    /// Sets how many bytes all of them have together. Takes effect with the next run.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    pub(crate) fn get(&self, feed: Feed) -> Option<&Tail> {
        self.feeds.get(&feed)
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Adds a run; `before` is the feed's newest event before it, for a feed that had no tail yet.
    pub(crate) fn push(&mut self, feed: Feed, before: Seq, run: Run) {
        let tail =
            self.feeds.entry(feed).or_insert_with(|| Tail { before, runs: VecDeque::new(), weight: 0 });
        tail.weight += run.weight();
        self.weight += run.weight();
        self.by_age.insert((run.first(), feed));
        tail.runs.push_back(run);
        while self
            .feeds
            .get(&feed)
            .is_some_and(|tail| tail.weight > ROOM_TAIL_BYTES_MAX && tail.runs.len() > 1)
        {
            self.drop_oldest_run(feed);
        }
        while self.weight > self.max {
            let Some(&(_, oldest)) = self.by_age.first() else { break };
            self.drop_oldest_run(oldest);
        }
    }

    /// A feed has an event that is in no run: who reads it later reads all from the disk.
    pub(crate) fn forget(&mut self, feed: Feed) {
        let Some(tail) = self.feeds.remove(&feed) else { return };
        self.weight -= tail.weight;
        for run in &tail.runs {
            self.by_age.remove(&(run.first(), feed));
        }
    }

    /// Whatever is read next is read from the disk.
    pub(crate) fn clear(&mut self) {
        *self = Tails { max: self.max, ..Tails::default() };
    }

    fn drop_oldest_run(&mut self, feed: Feed) {
        let Some(tail) = self.feeds.get_mut(&feed) else { return };
        let Some(run) = tail.runs.pop_front() else { return };
        tail.before = run.last();
        tail.weight -= run.weight();
        self.weight -= run.weight();
        self.by_age.remove(&(run.first(), feed));
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::RoomId;

    use super::*;

    fn run(seqs: std::ops::Range<u64>, size: usize) -> Run {
        let marks: Vec<_> = seqs.enumerate().map(|(i, seq)| (Seq(seq), ((i + 1) * size) as u32)).collect();
        Run { bytes: Bytes::from(vec![0; marks.len() * size]), marks }
    }

    #[test]
    fn a_reader_finds_its_place_at_every_position() {
        let mut tails = Tails::default();
        let room = Feed::Room(RoomId(1));
        tails.push(room, Seq(4), run(5..8, 10));
        tails.push(room, Seq(7), run(10..11, 10));
        tails.push(room, Seq(10), run(20..25, 10));
        let tail = tails.get(room).unwrap();
        let next = |seq| tail.after(Seq(seq)).map(|(run, index)| tail.runs[run].marks[index].0.0);
        for (seq, expected) in [(4, 5), (5, 6), (7, 10), (9, 10), (10, 20), (19, 20), (23, 24)] {
            assert_eq!(next(seq), Some(expected), "after {seq}");
        }
        assert_eq!(next(24), None);
        assert_eq!(tail.before, Seq(4));
    }

    #[test]
    fn the_oldest_run_goes_when_there_is_too_much() {
        let mut tails = Tails::default();
        for i in 0..20 {
            tails.push(Feed::Room(RoomId(1)), Seq(0), run(i * 10 + 1..i * 10 + 3, 30_000));
        }
        let tail = tails.get(Feed::Room(RoomId(1))).unwrap();
        assert!(tails.weight() <= ROOM_TAIL_BYTES_MAX && tail.runs.len() > 5);
        assert_eq!(tail.before.next().0 % 10, 3, "a whole run went");
        for i in 0..3_000 {
            // Two rooms each: an event may stand in both.
            tails.push(Feed::Room(RoomId(2 + i)), Seq(0), run(1_000 + i / 2..1_001 + i / 2, 60_000));
        }
        assert!(tails.weight() <= TAILS_BYTES_MAX);
        assert_eq!(tails.by_age.len(), tails.feeds.values().map(|tail| tail.runs.len()).sum::<usize>());
        assert!(
            tails.get(Feed::Room(RoomId(1))).unwrap().runs.is_empty(),
            "the oldest went, whatever their room"
        );
        for feed in tails.feeds.keys().copied().collect::<Vec<_>>() {
            tails.forget(feed);
        }
        assert_eq!((tails.weight, tails.by_age.len()), (0, 0));
    }
}
