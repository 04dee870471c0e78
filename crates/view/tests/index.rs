//! The index: opening it, the cost of a search, and its end.

#![allow(clippy::unwrap_used, clippy::panic)] // a world that cannot be made ends the test

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use rusqlite::Connection;
use vang_chat::{
    Access, AccountId, Command, Feed, MessageCommand, Name, NameKey, Node, Principal, RoomCommand, RoomId,
    RoomsBy, Seq, Time,
};
use vang_journal::{
    Batch, Draft, Durability, Entry, Envelope, Identity, Journal, MemoryJournal, MessagePayload, Origin,
    Payload, Reader, Through, Unknown, create_journal, read_journal,
};
use vang_view::{
    Delta, EventClass, EventData, EventRow, Find, FindError, Found, Index, IndexReader, IsOver, Opened,
    Query, RebuildReason, Row, Stretch, View, ViewReader, Visible, check_index,
};

const IDENTITY: Identity = Identity { id: [1; 16], key: [2; 32], born: [1; 16] };

/// Created first: a room's id is the position of its creating entry.
const PUBLIC: RoomId = RoomId(1);
const PRIVATE: RoomId = RoomId(2);
const OTHER_PRIVATE: RoomId = RoomId(3);

const GUEST: Principal = Principal::Guest(NameKey([9; 16]));

struct World {
    folder: tempfile::TempDir,
    journal: MemoryJournal,
    view: View,
    index: Index,
    seq: u64,
    /// Messages of each room.
    counts: HashMap<RoomId, u64>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = MemoryJournal::new(IDENTITY);
        let mut chains = journal.clone();
        let chains = move |seq| Ok(chains.chain_at(seq).unwrap().map(|chain| chain.0));
        let (view, _) = View::open(&folder.path().join("view.db"), IDENTITY.id, chains).unwrap();
        let (index, opened) = Index::open(&folder.path().join("find.db"), IDENTITY.id, &mut journal).unwrap();
        assert_eq!(opened, Opened::Fresh(RebuildReason::Missing));
        let mut world = World { folder, journal, view, index, seq: 0, counts: HashMap::new() };
        for access in [Access::Public, Access::Private, Access::Private] {
            let name = Name::only(NameKey([world.seq as u8; 16]));
            world.append(
                Command::Room(RoomCommand::Create {
                    name,
                    access,
                    by: Principal::Operator,
                    rooms_by: RoomsBy::default(),
                    most: None,
                }),
                Bytes::new(),
                None,
            );
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&mut self, command: Command, payload: Bytes, said: Option<(RoomId, Access, Principal)>) {
        self.seq += 1;
        let payload = Payload { salt: [0; 16], bytes: payload };
        let envelope = Envelope {
            rules: vang_chat::NEWEST_RULES,
            origin: Origin { node: Node(1), counter: self.seq },
            time: Time(self.seq * 1_000),
            through: Through::default(),
            digest: payload.digest(),
            command,
        };
        let draft = Draft { envelope: envelope.encode(), payload };
        self.journal.append(&Batch { drafts: vec![draft], checkpoints: Vec::new() });
        let seq = Seq(self.seq);
        let rows = said.map(|(room, access, who)| {
            let n = self.counts.entry(room).or_default();
            *n += 1;
            let (class, data) = (EventClass::Message(access), EventData::default());
            Row::Event { feed: Feed::Room(room), event: EventRow { seq, n: *n, class, who, data } }
        });
        self.view.apply(&[Delta { upto: seq, rows: rows.into_iter().collect(), snapshot: None }]).unwrap();
    }

    fn say(&mut self, room: RoomId, text: &str) {
        let access = if room == PUBLIC { Access::Public } else { Access::Private };
        self.say_as(room, access, GUEST, text);
    }

    /// Something said by a guest, as the journal has it, with another outcome.
    fn say_as(&mut self, room: RoomId, access: Access, who: Principal, text: &str) {
        let send = MessageCommand::Send { room, from: GUEST, id: None };
        self.append(send.into(), said(text).encode(), Some((room, access, who)));
    }

    fn feed(&mut self) {
        let mut view = ViewReader::open(&self.path("view.db")).unwrap();
        while self.index.feed(&mut self.journal, &mut view).unwrap() > 0 {}
        assert_eq!(self.index.cursor(), Seq(self.seq));
    }

    /// Closes the index and opens it again.
    fn reopened(mut self) -> (World, Opened) {
        let (index, opened) = Index::open(&self.path("find.db"), IDENTITY.id, &mut self.journal).unwrap();
        self.index = index;
        (self, opened)
    }

    /// Searches as somebody who sees public rooms and these parts of private rooms.
    fn find(&mut self, query: &str, stretches: &[Stretch], is_over: &IsOver) -> Result<Found, FindError> {
        let end = Seq(self.seq);
        let visible = Visible { public: true, stretches: stretches.to_vec(), ..Visible::default() };
        let query = Query::parse(query).unwrap();
        let find = Find { query, visible, end, upto: end, limit: 20, ..Find::default() };
        let mut view = ViewReader::open(&self.path("view.db")).unwrap();
        let mut index = IndexReader::open(&self.path("find.db")).unwrap();
        index.find(&mut view, &mut self.journal, &find, is_over)
    }

    /// The entries found, and the number of time checks: the cost in steps.
    fn steps(&mut self, query: &str, stretches: &[Stretch]) -> (Vec<u64>, usize) {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = looks.clone();
        let is_over: IsOver = Arc::new(move || {
            counted.fetch_add(1, Relaxed);
            false
        });
        let found = self.find(query, stretches, &is_over).unwrap();
        (found.hits.iter().map(|hit| hit.message.seq.0).collect(), looks.load(Relaxed))
    }
}

fn said(text: &str) -> MessagePayload {
    MessagePayload {
        guest: Some("ada".to_owned()),
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: text.to_owned().into(),
        unknown: Unknown::default(),
    }
}

#[test]
fn a_closed_index_keeps_its_content() {
    let mut world = World::new();
    // An index without words is fine, too.
    let opened;
    (world, opened) = world.reopened();
    assert_eq!(opened, Opened::Kept);
    world.say(PUBLIC, "con chó");
    world.feed();
    let checked = check_index(&world.path("find.db"), IDENTITY.id, &mut world.journal).unwrap();
    assert_eq!(checked, (Seq(4), true));
    assert!(!check_index(&world.path("find.db"), [7; 16], &mut world.journal).unwrap().1);
    let (mut world, opened) = world.reopened();
    assert_eq!((opened, world.index.cursor()), (Opened::Kept, Seq(4)));
    assert_eq!(world.steps("cho", &[]).0, [4]);
}

#[test]
fn who_said_what_and_for_whom_is_what_the_view_has() {
    let mut world = World::new();
    let ada = Principal::Account(AccountId(5));
    world.say_as(PUBLIC, Access::Public, ada, "chó");
    // The room was private at this message.
    world.say_as(PUBLIC, Access::Private, GUEST, "chó");
    // Refused: the view has no such message.
    let send = MessageCommand::Send { room: PUBLIC, from: GUEST, id: None };
    world.append(send.into(), said("chó").encode(), None);
    world.feed();
    let found = world.find("cho", &[], &(Arc::new(|| false) as IsOver)).unwrap();
    let hits: Vec<_> = found.hits.iter().map(|hit| (hit.message.seq, hit.message.from)).collect();
    assert_eq!(hits, [(Seq(4), ada)]);
    let stay = [Stretch { room: PUBLIC, from: Seq(1), to: Seq(9) }];
    assert_eq!(world.steps("cho", &stay).0, [5, 4]);
}

#[test]
fn an_index_that_cannot_be_searched_is_rebuilt() {
    let damages = [
        ("its words are missing", "DROP TABLE words"),
        ("their lists are missing", "DELETE FROM words_data"),
        ("their lists are damaged", "UPDATE words_data SET block = x'ffffffffffffffff'"),
        ("its place is missing", "DELETE FROM about"),
        ("its place has another layout", "DROP TABLE about; CREATE TABLE about(one INTEGER) STRICT"),
    ];
    for (what, damage) in damages {
        let mut world = World::new();
        world.say(PUBLIC, "con chó");
        world.feed();
        Connection::open(world.path("find.db")).unwrap().execute_batch(damage).unwrap();
        let checked = check_index(&world.path("find.db"), IDENTITY.id, &mut world.journal);
        assert!(checked.is_err(), "{what}: {checked:?}");
        let (mut world, opened) = world.reopened();
        assert!(matches!(opened, Opened::Fresh(RebuildReason::Corrupt(_))), "{what}: {opened:?}");
        world.feed();
        assert_eq!(world.steps("cho", &[]).0, [4], "{what}");
    }
}

#[test]
fn damaged_entries_are_passed_wherever_they_are() {
    let mut world = World::new();
    for i in 0..1_400 {
        world.say(PUBLIC, &format!("text {i}"));
    }
    let whole: Vec<Entry> =
        world.journal.read(Seq(0), 2_000, usize::MAX).unwrap().into_iter().flatten().collect();
    let path = world.path("journal.db");
    let mut journal = create_journal(&path, Durability::Crash, IDENTITY).unwrap();
    let draft = |Entry { envelope, payload, .. }| Draft { envelope, payload: payload.unwrap() };
    let drafts = whole.into_iter().map(draft).collect();
    journal.append(&Batch { drafts, checkpoints: Vec::new() });
    // In the middle, a run longer than what is read at once, and the last one.
    let damage = "DELETE FROM entry WHERE seq = 7 OR seq BETWEEN 100 AND 800;
                  UPDATE entry SET chain = x'00' WHERE seq = 1403";
    Connection::open(&path).unwrap().execute_batch(damage).unwrap();
    let (_, mut reader) = read_journal(&path).unwrap();
    let mut view = ViewReader::open(&world.path("view.db")).unwrap();
    let find_db = world.path("other.db");
    let (mut index, _) = Index::open(&find_db, IDENTITY.id, &mut *reader).unwrap();
    while index.feed(&mut *reader, &mut view).unwrap() > 0 {}
    assert_eq!(index.cursor(), Seq(1_403));
    drop(index);
    let (_, opened) = Index::open(&find_db, IDENTITY.id, &mut *reader).unwrap();
    assert_eq!(opened, Opened::Kept);
}

#[test]
fn a_search_can_be_stopped_at_every_step() {
    let mut world = World::new();
    for room in [PUBLIC, PRIVATE, OTHER_PRIVATE] {
        for i in 0..400 {
            world.say(room, &format!("chó mèo beginning{i} begin"));
            // Small transactions, so that the index has several parts.
            if i % 40 == 0 {
                world.feed();
            }
        }
    }
    world.feed();
    let stays = [PRIVATE, OTHER_PRIVATE].map(|room| Stretch { room, from: Seq(1), to: Seq(world.seq) });
    for query in ["cho -nothing", "beg* cho", "\"cho meo\" after:1970-01-01 before:2000-01-01", "beg* bgn"] {
        let (whole, steps) = world.steps(query, &stays);
        assert!(steps > 10, "{query}: {steps}");
        for stop_at in 0..=steps {
            let left = Arc::new(AtomicUsize::new(stop_at));
            let is_over: IsOver =
                Arc::new(move || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err());
            match world.find(query, &stays, &is_over) {
                Err(FindError::OverTime) if stop_at < steps => {}
                Ok(found) if stop_at == steps => assert_eq!(found.hits.len(), whole.len()),
                other => panic!("{query}, stopped at step {stop_at} of {steps}: {other:?}"),
            }
        }
        assert_eq!(world.steps(query, &stays), (whole, steps));
    }
}

#[test]
fn the_same_connection_works_after_a_stopped_search() {
    let mut world = World::new();
    world.say(PUBLIC, "con chó");
    world.feed();
    let mut view = ViewReader::open(&world.path("view.db")).unwrap();
    let mut index = IndexReader::open(&world.path("find.db")).unwrap();
    let find = Find {
        query: Query::parse("cho").unwrap(),
        visible: Visible { public: true, ..Visible::default() },
        end: Seq(world.seq),
        upto: Seq(world.seq),
        limit: 20,
        ..Find::default()
    };
    let mut ask = |is_over: IsOver| index.find(&mut view, &mut world.journal, &find, &is_over);
    for _ in 0..3 {
        assert!(matches!(ask(Arc::new(|| true)), Err(FindError::OverTime)));
        assert_eq!(ask(Arc::new(|| false)).unwrap().hits.len(), 1);
    }
}

/// The time of a search must not depend on messages in rooms that the asker cannot see.
#[test]
fn private_messages_cost_other_searchers_no_step() {
    let queries = ["cho", "cho meo", "\"cho meo\"", "cho*", "cho -meo", "nowhere", "from:eve", "cho OR meo"];
    let mut costs = Vec::new();
    for secrets in [0, 300, 3_000] {
        let mut world = World::new();
        // The asker was in the private room at its start and left before these messages.
        world.say(PRIVATE, "chó");
        let stay = [Stretch { room: PRIVATE, from: Seq(1), to: Seq(world.seq) }];
        for i in 0..300 {
            world.say(PUBLIC, if i % 100 == 0 { "một con chó mèo" } else { "and now to something else" });
            for _ in 0..secrets / 300 {
                world.say(OTHER_PRIVATE, "chó mèo nowhere");
            }
        }
        world.feed();
        let cost = |world: &mut World, stays: &[Stretch]| -> Vec<(usize, usize)> {
            let asked = queries.iter().map(|query| world.steps(query, stays));
            asked.map(|(hits, steps)| (hits.len(), steps)).collect()
        };
        costs.push((cost(&mut world, &[]), cost(&mut world, &stay)));
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0], costs[2]);
}
