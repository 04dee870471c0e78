//! Where a session stands, and what lies before it: events in rising `seq` across all its rooms.
//! Public rooms cost one slice for each run; private ones are looked at entry by entry, since what a
//! reader may see there follows from its stays.
//!
//! The rooms with something to come stand in a heap by where that is at the earliest. A pull costs its events, and one
//! step in the heap for each time that a room turns out to go on later than it was thought to.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};

use bytes::{Bytes, BytesMut};
use vang_chat::{Principal, Room, RoomId, Seq, State};

use crate::encode::{NOT_MEMBER, write_hole};
use crate::limits::PULL_BYTES_MAX;
use crate::names::Book;
use crate::tail::{Run, Tails};

/// A session's one position, and the rooms that it is a position in.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Everything up to here was given.
    pub(crate) seq: Seq,
    pub(crate) rooms: Vec<Followed>,
    /// Indices of rooms that have, or may have, something after `seq`; it is nowhere before the position beside each.
    grown: BinaryHeap<Reverse<(Seq, u32)>>,
}

/// A followed room.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) room: RoomId,
    /// Its events begin after this one.
    pub(crate) from: Seq,
    /// Its messages begin after this one: a hole begins no earlier.
    pub(crate) since: u64,
    /// This session's place among the room's followers.
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
    /// What comes next is not in memory: these rooms, each after its position.
    NeedsDisk(Vec<(RoomId, Seq)>),
}

/// What a pull looks at.
pub(crate) struct Sight<'a> {
    pub(crate) state: &'a State,
    pub(crate) tails: &'a Tails,
    pub(crate) book: &'a Book,
    pub(crate) reader: &'a Principal,
}

impl Cursor {
    /// Before the first room is followed.
    pub(crate) fn at(seq: Seq) -> Cursor {
        Cursor { seq, rooms: Vec::new(), grown: BinaryHeap::new() }
    }

    pub(crate) fn mark_grown(&mut self, index: u32) {
        if let Some(followed) = self.rooms.get_mut(index as usize)
            && !followed.is_grown
        {
            followed.is_grown = true;
            self.grown.push(Reverse((self.seq.max(followed.from).next(), index)));
        }
    }

    /// Gives what comes next, at most `PULL_BYTES_MAX` or one event.
    pub(crate) fn pull(&mut self, sight: &Sight<'_>, out: &mut Vec<Bytes>) -> Pulled {
        let mut budget = PULL_BYTES_MAX;
        loop {
            match self.next_room(sight) {
                Next::Nothing => {
                    self.seq = self.seq.max(sight.state.seq());
                    return Pulled::CaughtUp;
                }
                Next::Disk(rooms) => return Pulled::NeedsDisk(rooms),
                Next::Room(_) if budget == 0 => return Pulled::More,
                Next::Room(next) => self.take(sight, &next, &mut budget, out),
            }
        }
    }

    /// The room whose next event comes first, and a position before which no other room has one.
    fn next_room<'a>(&mut self, sight: &Sight<'a>) -> Next<'a> {
        let (rooms, seq, is_only) = (&mut self.rooms, self.seq, self.grown.len() == 1);
        loop {
            let Some(mut top) = self.grown.peek_mut() else { return Next::Nothing };
            let Reverse((earliest, index)) = *top;
            let Some(followed) = rooms.get_mut(index as usize) else {
                PeekMut::pop(top);
                continue;
            };
            let at = seq.max(followed.from);
            let Some(room) = sight.state.room(followed.room).filter(|room| room.seq > at) else {
                followed.is_grown = false;
                PeekMut::pop(top);
                continue;
            };
            let tail = sight.tails.get(followed.room).filter(|tail| tail.before <= at);
            let event = tail.and_then(|tail| {
                let (run, first) = tail.after(at)?;
                let run = &tail.runs[run];
                Some((run, first, run.marks[first].0))
            });
            match event {
                Some((.., event)) if event > earliest && !is_only => *top = Reverse((event, index)),
                Some((run, first, _)) => {
                    drop(top);
                    // The two below the top are the only ones that can come next.
                    let others = self.grown.as_slice().iter().skip(1).take(2);
                    let until = others.map(|Reverse((seq, _))| *seq).min().unwrap_or(Seq(u64::MAX));
                    return Next::Room(NextRun { index, room, run, first, until });
                }
                None => {
                    drop(top);
                    let grown = self.grown.iter().filter_map(|Reverse((_, at))| rooms.get(*at as usize));
                    let after = grown.map(|followed| (followed.room, seq.max(followed.from)));
                    return Next::Disk(after.collect());
                }
            }
        }
    }

    /// Takes events of one room's next run.
    fn take(&mut self, sight: &Sight<'_>, next: &NextRun<'_>, budget: &mut usize, out: &mut Vec<Bytes>) {
        let &NextRun { index, room, run, first, until } = next;
        let start = run.start_of(first);
        let fits = run.marks.partition_point(|&(seq, end)| seq < until && end as usize <= start + *budget);
        let end = fits.max(first + 1);
        *budget = budget.saturating_sub(run.start_of(end) - start);
        if room.sees_all(sight.reader) {
            out.push(run.bytes.slice(start..run.start_of(end)));
            self.seq = run.marks[end - 1].0;
            return;
        }
        let followed = &mut self.rooms[index as usize];
        for mark in first..end {
            let bytes = || run.bytes.slice(run.start_of(mark)..run.start_of(mark + 1));
            if let Some(bytes) = visible(sight, followed, run.marks[mark].0, bytes) {
                out.push(bytes);
                self.seq = run.marks[mark].0;
            }
        }
        // What is not seen here may be seen in another room where the same event stands.
        followed.from = run.marks[end - 1].0;
    }

    /// Where each followed room stands among them: for a page of events from the disk, so that none of them looks
    /// through all rooms.
    pub(crate) fn places(&self) -> HashMap<RoomId, usize> {
        self.rooms.iter().enumerate().map(|(at, followed)| (followed.room, at)).collect()
    }

    /// An event from the disk in the room at this place, as this reader sees it.
    pub(crate) fn see(&self, sight: &Sight<'_>, at: usize, seq: Seq, bytes: Bytes) -> Option<Bytes> {
        visible(sight, self.rooms.get(at)?, seq, || bytes)
    }
}

enum Next<'a> {
    Nothing,
    Disk(Vec<(RoomId, Seq)>),
    Room(NextRun<'a>),
}

/// Events of a followed room in memory: those of `run` from the index `first` on, before `until`.
struct NextRun<'a> {
    index: u32,
    room: &'a Room,
    run: &'a Run,
    first: usize,
    until: Seq,
}

/// The event at `seq` for this reader: itself, the hole that its own join ended, or nothing.
fn visible(sight: &Sight<'_>, followed: &Followed, seq: Seq, bytes: impl FnOnce() -> Bytes) -> Option<Bytes> {
    let room = sight.state.room(followed.room)?;
    if !room.sees(sight.reader, seq) {
        return None;
    }
    let hole = room.hole_at(sight.reader, seq);
    match hole.map(|hole| (hole.from.max(followed.since + 1), hole.to)) {
        Some((from, to)) if from <= to => {
            let mut out = BytesMut::new();
            write_hole(&mut out, sight.book, (followed.room, seq), (from, to), NOT_MEMBER);
            Some(out.freeze())
        }
        _ => Some(bytes()),
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::{
        Access, AccountCommand, AccountId, Command, MemberCommand, MessageCommand, NameKey, Node, Position,
        RoomCommand, RoomsBy, Time,
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
            let added =
                apply(&mut state, AccountCommand::Add { name: NameKey([key; 16]), by: Principal::Operator });
            AccountId(added.0)
        });
        let create = |state: &mut State, key, access, by| {
            RoomId(
                apply(
                    state,
                    RoomCommand::Create {
                        name: NameKey([key; 16]),
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
            tails.push(room, left, run);
        }
        let book = Book::default();
        for (reader, expected) in [(ada, "both own own "), (bob, "both own ")] {
            let sight = Sight { state: &state, tails: &tails, book: &book, reader: &reader };
            let mut cursor = Cursor::at(left);
            for (place, room) in (0..).zip([cellar, hall]) {
                cursor.rooms.push(Followed { room, from: left, since: 0, place, is_grown: false });
                cursor.mark_grown(place);
            }
            let mut out = Vec::new();
            assert_eq!(cursor.pull(&sight, &mut out), Pulled::CaughtUp);
            assert_eq!(String::from_utf8(out.concat()).unwrap(), expected, "{reader:?}");
        }
    }
}
