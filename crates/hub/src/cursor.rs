//! Where a session stands, and what lies before it: events in rising `seq` across all its feeds.
//! Public rooms cost one slice for each run; private ones are looked at entry by entry, since what a
//! reader may see there follows from its stays.
//!
//! The feeds with something to come stand in a heap by where that is at the earliest. A pull costs its events, and one
//! step in the heap for each time that a feed turns out to go on later than it was thought to.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};

use bytes::{Bytes, BytesMut};
use vang_chat::{Feed, Principal, Seq, State};

use crate::encode::{NOT_MEMBER, write_hole};
use crate::limits::PULL_BYTES_MAX;
use crate::names::Book;
use crate::tail::{Run, Tails};

/// A session's one position, and the feeds that it is a position in.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Everything up to here was given.
    pub(crate) seq: Seq,
    pub(crate) feeds: Vec<Followed>,
    /// Indices of feeds that have, or may have, something after `seq`; it is nowhere before the position beside each.
    /// Of an entry in several feeds a room comes first: there it may be told as the hole that it ends.
    grown: BinaryHeap<Reverse<(Seq, Rank, u32)>>,
}

/// Which feed comes first with the same entry.
type Rank = u8;

fn rank(feed: Feed) -> Rank {
    match feed {
        Feed::Room(_) => 0,
        Feed::Account(_) => 1,
        Feed::Server => 2,
    }
}

/// A followed feed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) feed: Feed,
    /// Its events begin after this one.
    pub(crate) from: Seq,
    /// Of a room: its messages begin after this one; a hole begins no earlier.
    pub(crate) since: u64,
    /// This session's place among the feed's followers.
    pub(crate) place: u32,
    pub(crate) is_grown: bool,
}

/// How a pull ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// There is nothing more now.
    CaughtUp,
    /// There is more than was asked for.
    More,
    /// What comes next is not in memory: these feeds, each after its position.
    NeedsDisk(Vec<(Feed, Seq)>),
}

/// What a pull looks at.
pub(crate) struct Sight<'a> {
    pub(crate) state: &'a State,
    pub(crate) tails: &'a Tails,
    pub(crate) book: &'a Book,
    pub(crate) reader: &'a Principal,
}

impl Sight<'_> {
    /// Does the reader see everything in this feed?
    fn sees_all(&self, feed: Feed) -> bool {
        match feed {
            Feed::Room(room) => self.state.room(room).is_some_and(|room| room.sees_all(self.reader)),
            Feed::Account(_) | Feed::Server => feed.is_open_to(self.reader),
        }
    }
}

impl Cursor {
    /// Before the first feed is followed.
    pub(crate) fn at(seq: Seq) -> Cursor {
        Cursor { seq, feeds: Vec::new(), grown: BinaryHeap::new() }
    }

    pub(crate) fn mark_grown(&mut self, index: u32) {
        if let Some(followed) = self.feeds.get_mut(index as usize)
            && !followed.is_grown
        {
            followed.is_grown = true;
            let earliest = self.seq.max(followed.from).next();
            self.grown.push(Reverse((earliest, rank(followed.feed), index)));
        }
    }

    /// Gives what comes next, at most `PULL_BYTES_MAX` or one event.
    pub(crate) fn pull(&mut self, sight: &Sight<'_>, out: &mut Vec<Bytes>) -> Pulled {
        let mut budget = PULL_BYTES_MAX;
        loop {
            match self.next_feed(sight) {
                Next::Nothing => {
                    self.seq = self.seq.max(sight.state.seq());
                    return Pulled::CaughtUp;
                }
                Next::Disk(feeds) => return Pulled::NeedsDisk(feeds),
                Next::Feed(_) if budget == 0 => return Pulled::More,
                Next::Feed(next) => self.take(sight, &next, &mut budget, out),
            }
        }
    }

    /// The feed whose next event comes first, and a position before which no other feed has one.
    fn next_feed<'a>(&mut self, sight: &Sight<'a>) -> Next<'a> {
        let (feeds, seq, is_only) = (&mut self.feeds, self.seq, self.grown.len() == 1);
        loop {
            let Some(mut top) = self.grown.peek_mut() else { return Next::Nothing };
            let Reverse((earliest, rank, index)) = *top;
            let Some(followed) = feeds.get_mut(index as usize) else {
                PeekMut::pop(top);
                continue;
            };
            let at = seq.max(followed.from);
            if sight.state.newest_of(followed.feed).is_none_or(|newest| newest <= at) {
                followed.is_grown = false;
                PeekMut::pop(top);
                continue;
            }
            let tail = sight.tails.get(followed.feed).filter(|tail| tail.before <= at);
            let event = tail.and_then(|tail| {
                let (run, first) = tail.after(at)?;
                let run = &tail.runs[run];
                Some((run, first, run.marks[first].0))
            });
            match event {
                Some((.., event)) if event > earliest && !is_only => *top = Reverse((event, rank, index)),
                Some((run, first, _)) => {
                    drop(top);
                    // The two below the top are the only ones that can come next.
                    let others = self.grown.as_slice().iter().skip(1).take(2);
                    let until = others.map(|Reverse((seq, ..))| *seq).min().unwrap_or(Seq(u64::MAX));
                    return Next::Feed(NextRun { index, run, first, until });
                }
                None => {
                    drop(top);
                    let grown = self.grown.iter().filter_map(|Reverse((.., at))| feeds.get(*at as usize));
                    let after = grown.map(|followed| (followed.feed, seq.max(followed.from)));
                    let mut after: Vec<(Feed, Seq)> = after.collect();
                    // An entry in several feeds is sent once, in the first of them by this order; the disk reads in the same order.
                    after.sort_unstable_by_key(|(feed, _)| self::rank(*feed));
                    return Next::Disk(after);
                }
            }
        }
    }

    /// Takes events of one feed's next run.
    fn take(&mut self, sight: &Sight<'_>, next: &NextRun<'_>, budget: &mut usize, out: &mut Vec<Bytes>) {
        let &NextRun { index, run, first, until } = next;
        let start = run.start_of(first);
        let fits = run.marks.partition_point(|&(seq, end)| seq < until && end as usize <= start + *budget);
        let end = fits.max(first + 1);
        *budget = budget.saturating_sub(run.start_of(end) - start);
        let followed = &mut self.feeds[index as usize];
        if sight.sees_all(followed.feed) {
            out.push(run.bytes.slice(start..run.start_of(end)));
            self.seq = run.marks[end - 1].0;
            return;
        }
        for mark in first..end {
            let bytes = || run.bytes.slice(run.start_of(mark)..run.start_of(mark + 1));
            if let Some(bytes) = visible(sight, followed, run.marks[mark].0, bytes) {
                out.push(bytes);
                self.seq = run.marks[mark].0;
            }
        }
        // What is not seen here may be seen in another feed where the same event stands.
        followed.from = run.marks[end - 1].0;
    }

    /// Where each followed feed stands among them: for a page of events from the disk, so that none of them looks
    /// through all feeds.
    pub(crate) fn places(&self) -> HashMap<Feed, usize> {
        self.feeds.iter().enumerate().map(|(at, followed)| (followed.feed, at)).collect()
    }

    /// An event from the disk in the feed at this place, as this reader sees it.
    pub(crate) fn see(&self, sight: &Sight<'_>, at: usize, seq: Seq, bytes: Bytes) -> Option<Bytes> {
        visible(sight, self.feeds.get(at)?, seq, || bytes)
    }
}

enum Next<'a> {
    Nothing,
    Disk(Vec<(Feed, Seq)>),
    Feed(NextRun<'a>),
}

/// Events of a followed feed in memory: those of `run` from the index `first` on, before `until`.
struct NextRun<'a> {
    index: u32,
    run: &'a Run,
    first: usize,
    until: Seq,
}

/// The event at `seq` for this reader: itself, the hole that its own join ended, or nothing.
fn visible(sight: &Sight<'_>, followed: &Followed, seq: Seq, bytes: impl FnOnce() -> Bytes) -> Option<Bytes> {
    let Feed::Room(id) = followed.feed else {
        return followed.feed.is_open_to(sight.reader).then(bytes);
    };
    let room = sight.state.room(id)?;
    if !room.sees(sight.reader, seq) {
        return None;
    }
    let hole = room.hole_at(sight.reader, seq);
    match hole.map(|hole| (hole.from.max(followed.since + 1), hole.to)) {
        Some((from, to)) if from <= to => {
            let mut out = BytesMut::new();
            write_hole(&mut out, sight.book, (id, seq), (from, to), NOT_MEMBER);
            Some(out.freeze())
        }
        _ => Some(bytes()),
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::{
        Access, AccountCommand, AccountId, Command, MemberCommand, MessageCommand, Name, NameKey, Node,
        Position, RoomCommand, RoomId, RoomsBy, Time,
    };

    use super::*;

    fn apply(state: &mut State, command: impl Into<Command>) -> Seq {
        let seq = state.seq().next();
        state.apply(Position { seq, time: Time(1), node: Node(1) }, &command.into()).unwrap();
        seq
    }

    #[test]
    fn a_reader_of_one_of_its_rooms_gets_an_event_about_several_rooms_once() {
        let mut state = State::default();
        let accounts = [1, 2].map(|key| {
            let name = Name::only(NameKey([key; 16]));
            AccountId(apply(&mut state, AccountCommand::Add { name, by: Principal::Operator }).0)
        });
        let create = |state: &mut State, key, access, by| {
            RoomId(
                apply(
                    state,
                    RoomCommand::Create {
                        name: Name::only(NameKey([key; 16])),
                        access,
                        by,
                        rooms_by: RoomsBy::default(),
                        most: None,
                    },
                )
                .0,
            )
        };
        let [ada, bob] = accounts.map(Principal::Account);
        let cellar = create(&mut state, 3, Access::Private, ada);
        let hall = create(&mut state, 4, Access::Public, ada);
        apply(&mut state, MemberCommand::Join { room: cellar, who: accounts[1], by: ada });
        let left = apply(&mut state, MemberCommand::Leave { room: cellar, who: accounts[1] });
        // At this place something about both rooms; then a message in each.
        let both = left.next();
        apply(&mut state, vang_chat::OrderCommand::Tick);
        for room in [cellar, hall] {
            apply(&mut state, MessageCommand::Send { room, from: ada, id: None });
        }
        let mut tails = Tails::default();
        for (room, own) in [(cellar, both.next()), (hall, both.next().next())] {
            let run = Run { bytes: Bytes::from_static(b"both own "), marks: vec![(both, 5), (own, 9)] };
            tails.push(Feed::Room(room), left, run);
        }
        let book = Book::default();
        for (reader, expected) in [(ada, "both own own "), (bob, "both own ")] {
            let sight = Sight { state: &state, tails: &tails, book: &book, reader: &reader };
            let mut cursor = Cursor::at(left);
            for (place, room) in (0..).zip([cellar, hall]) {
                let feed = Feed::Room(room);
                cursor.feeds.push(Followed { feed, from: left, since: 0, place, is_grown: false });
                cursor.mark_grown(place);
            }
            let mut out = Vec::new();
            assert_eq!(cursor.pull(&sight, &mut out), Pulled::CaughtUp);
            assert_eq!(String::from_utf8(out.concat()).unwrap(), expected, "{reader:?}");
        }
    }
}
