//! Snapshots of the state, written in pieces while entries are applied.

#![allow(clippy::unwrap_used)] // a world that cannot be made ends the test

mod common;

use std::path::Path;

use vang_chat::{Node, Seq, State};
use vang_hub::limits::{SNAPSHOT_EVERY, SNAPSHOT_STEPS};
use vang_hub::{Book, Delta, Peer, ReadAnswer, ReadJob, Snapshot, replay};
use vang_journal::{MemoryJournal, Reader};
use vang_proto::vang::{Access, Action, Form, Request, Ticket};
use vang_view::View;

use crate::common::{Disk, EmptyView, IDENTITY, World, room, say};

/// Steps of the pieces here: the world is small.
const STEPS: usize = 10;

/// What the view is given.
struct Deltas(Vec<Delta>);

impl Disk for Deltas {
    fn update(&mut self, delta: Delta) {
        self.0.push(delta);
    }

    fn answer(&mut self, journal: &MemoryJournal, job: &ReadJob, at: Seq) -> ReadAnswer {
        EmptyView.answer(journal, job, at)
    }
}

fn world() -> World<Deltas> {
    World::with(Deltas(Vec::new()), MemoryJournal::new(IDENTITY), Node(7))
}

/// Accounts, rooms, stays and remembered sends.
fn peopled() -> World<Deltas> {
    let mut world = world();
    let operator = world.operator;
    for number in 0..20 {
        let name = format!("p{number}");
        world.ask(operator, None, Action::AddAccount { name: name.clone() });
        world.once(&name, Action::Create { room: room(number), access: Access::Private });
        world.once(&name, Action::Join { room: "general".to_owned(), who: None });
        send(&mut world, number);
    }
    world
}

/// A message with an id, which is remembered.
fn send(world: &mut World<Deltas>, number: usize) {
    let mut message = say("general");
    if let Action::Send { id, .. } = &mut message {
        *id = Some(number.to_string());
    }
    let reply = world.once(&format!("p{}", number % 20), message);
    assert_eq!(reply["status"], "ok", "{reply}");
}

/// The snapshots that the view was given.
fn snapshots(world: &World<Deltas>) -> Vec<Snapshot> {
    world.disk.0.iter().filter_map(|delta| delta.snapshot.clone()).collect()
}

/// What the view has after a restart.
fn view(path: &Path, world: &World<Deltas>) -> View {
    let one_history = |_: Seq| Ok::<_, String>(Some([3; 32]));
    let (mut view, _) = View::open(path, IDENTITY.id, one_history).unwrap();
    view.apply(&world.disk.0).unwrap();
    drop(view);
    View::open(path, IDENTITY.id, one_history).unwrap().0
}

#[test]
fn a_snapshot_is_written_piece_by_piece_while_messages_are_posted() {
    let mut world = peopled();
    let (seq, hash, items) = (world.hub.state().seq(), world.hub.state().hash(), world.hub.state().items());
    world.hub.begin_snapshot();
    let mut turns = 0;
    while world.hub.continue_snapshot(STEPS) {
        turns += 1;
        // All that this turn puts out comes without a call for the next piece.
        send(&mut world, 20 + turns);
        assert!(turns < 1_000, "a snapshot without an end");
        if turns == 1 {
            // Another is not begun in the middle.
            world.hub.begin_snapshot();
        }
    }
    // A room is a step as well where its stays are written.
    let steps = items + world.hub.state().rooms().count();
    assert!((items / STEPS..=steps / STEPS + 1).contains(&turns), "{turns} turns for {items} items");
    let written = snapshots(&world);
    let [first, ..] = &written[..] else { panic!("no snapshot was written") };
    assert_eq!((first.seq, first.pieces.len()), (seq, turns));
    let longest = first.pieces.iter().map(Vec::len).max().unwrap();
    assert!(longest < STEPS * 100 + 100, "a piece of {longest} bytes");

    // The next start has the state of the beginning from it, and of now from the entries since.
    let folder = tempfile::tempdir().unwrap();
    let view = view(&folder.path().join("view.db"), &world);
    let (stored, bytes) = view.snapshot().unwrap().unwrap();
    let state = State::from_snapshot(&bytes).unwrap();
    assert_eq!((stored, state.seq(), state.hash()), (seq, seq, hash));
    let mut journal = world.journal.clone();
    let texts = view.texts().unwrap().into_iter().map(|(of, _, text)| (of, text));
    let begin = (state, Book::new(texts));
    let recovered = replay(&mut journal, &IDENTITY, begin, view.cursor(), &mut |_| Ok(())).unwrap();
    assert_eq!(recovered.state.hash(), world.hub.state().hash());
    assert_eq!(recovered.replayed, journal.end().unwrap().0 - seq.0);
}

#[test]
fn a_crash_in_the_middle_leaves_the_older_snapshot() {
    let mut world = peopled();
    let older = world.hub.state().seq();
    world.hub.begin_snapshot();
    while world.hub.continue_snapshot(STEPS) {}
    world.turn();
    send(&mut world, 100);
    world.hub.begin_snapshot();
    for _ in 0..5 {
        assert!(world.hub.continue_snapshot(STEPS));
        world.turn();
    }
    // The hub is gone here; the view has what was put out.
    let folder = tempfile::tempdir().unwrap();
    let view = view(&folder.path().join("view.db"), &world);
    let (stored, bytes) = view.snapshot().unwrap().unwrap();
    assert_eq!((stored, State::from_snapshot(&bytes).unwrap().seq()), (older, older));
    assert!(view.cursor() > older);
}

#[test]
fn a_stop_in_the_middle_writes_the_state_of_the_end() {
    let mut world = peopled();
    world.hub.begin_snapshot();
    assert!(world.hub.continue_snapshot(STEPS));
    send(&mut world, 100);
    let last = world.hub.farewell().snapshot.unwrap();
    assert_eq!(last.seq, world.hub.state().seq());
    let state = State::from_snapshot(&last.pieces.concat()).unwrap();
    assert_eq!(state.hash(), world.hub.state().hash());
    assert!(!world.hub.continue_snapshot(STEPS), "the unfinished one is given up");
}

#[test]
fn a_defect_in_the_middle_ends_the_snapshot() {
    let mut world = peopled();
    world.hub.begin_snapshot();
    assert!(world.hub.continue_snapshot(STEPS));
    world.hub.halt("a test");
    assert!(!world.hub.continue_snapshot(STEPS));
    world.hub.begin_snapshot();
    assert!(!world.hub.continue_snapshot(STEPS));
    assert!(snapshots(&world).is_empty());
}

#[test]
fn a_snapshot_is_begun_after_so_many_entries() {
    let mut world = world();
    let session = world.hub.connect(Peer::Local);
    for _ in 0..SNAPSHOT_EVERY / 1_024 {
        assert!(!world.hub.continue_snapshot(SNAPSHOT_STEPS), "no snapshot is due");
        for _ in 0..1_024 {
            let name = Some("bob".to_owned());
            let request = Request { form: Form::Header, re: None, name, action: say("general") };
            world.hub.request(session, Ticket(0), request);
        }
        world.turn();
        world.replies.clear();
        world.disk.0.clear();
    }
    assert!(world.hub.continue_snapshot(SNAPSHOT_STEPS), "a snapshot is due");
    assert!(!world.hub.continue_snapshot(SNAPSHOT_STEPS), "a small state is one piece");
    world.turn();
    assert_eq!(snapshots(&world).len(), 1);
}
