//! P9 for `find`: what is found is what a fold of the journal says, seen through the asker's stays;
//! nothing else changes a hit, an order, a count, or whether there is more. The real hub, the real
//! index, and beside them the dullest way to find something: looking at every message. What replies look like is shown in
//! `scripts/find.txt`.

#![allow(clippy::unwrap_used, clippy::panic)] // a world that cannot be made ends the test

mod common;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value as Json;
use tempfile::TempDir;
use vang_chat::{Event, MessageEvent, Node, Principal, Seq, State, Time};
use vang_hub::{Delta, Peer, Read, ReadAnswer, ReadJob};
use vang_journal::{Entry, Envelope, Journal, MemoryJournal, MessagePayloadView, Reader};
use vang_proto::vang::{Access, Action};
use vang_view::{Hit, Index, IndexReader, IsOver, Query, Shown, View, ViewReader, searched_text};

use crate::common::{Disk, IDENTITY, Reply, say_text};

type World = common::World<Searched>;

/// A view and an index in a folder.
struct Searched {
    folder: TempDir,
    view: View,
    index: Index,
    /// What a damaged index gives beside what was asked.
    strays: Vec<Hit>,
}

impl Searched {
    fn new(journal: &MemoryJournal) -> Searched {
        let folder = tempfile::tempdir().unwrap();
        let mut chains = journal.clone();
        let chains = move |seq| Ok(chains.chain_at(seq).unwrap().map(|chain| chain.0));
        let (view, _) = View::open(&folder.path().join("view.db"), IDENTITY.id, chains).unwrap();
        let (index, _) =
            Index::open(&folder.path().join("find.db"), IDENTITY.id, &mut journal.clone()).unwrap();
        Searched { folder, view, index, strays: Vec::new() }
    }
}

impl Disk for Searched {
    fn update(&mut self, delta: Delta) {
        self.view.apply(&[delta]).unwrap();
    }

    fn answer(&mut self, journal: &MemoryJournal, job: &ReadJob, _at: Seq) -> ReadAnswer {
        let Read::Find(find) = &job.read else { panic!("{job:?}") };
        let mut journal = journal.clone();
        let path = |name| self.folder.path().join(name);
        let mut view = ViewReader::open(&path("view.db")).unwrap();
        while self.index.feed(&mut journal, &mut view).unwrap() > 0 {}
        assert!(self.index.cursor() >= job.need);
        let mut index = IndexReader::open(&path("find.db")).unwrap();
        let never: IsOver = Arc::new(|| false);
        let mut found = index.find(&mut view, &mut journal, find, &never).unwrap();
        found.hits.extend(self.strays.clone());
        ReadAnswer::Found(found)
    }
}

impl World {
    fn searched() -> World {
        let journal = MemoryJournal::new(IDENTITY);
        let mut world = World::with(Searched::new(&journal), journal, Node(7));
        for name in NAMES {
            world.ask(world.operator, None, Action::AddAccount { name: name.to_owned() });
        }
        world
    }

    /// A minute later than the last.
    fn later(&mut self, name: &str, action: Action) -> Json {
        self.now += 60_000;
        self.once(name, action)
    }

    fn find(&mut self, name: &str, query: &str, limit: u64, before: Option<u64>) -> (Json, Json) {
        self.now += 60_000;
        let session = self.hub.connect(Peer::Local);
        let action = Action::Find { query: query.to_owned(), limit, before };
        let Reply { header, result, .. } = self.reply(session, Some(name), action).unwrap();
        self.hub.disconnect(session);
        (header, result)
    }

    /// Every message, oldest first, by a fold of the journal; with the state at its end.
    fn fold(&mut self) -> (State, Vec<Message>) {
        let mut state = State::default();
        let mut messages = Vec::new();
        for entry in self.journal.read(Seq(0), usize::MAX, usize::MAX).and_then(Entry::all).unwrap() {
            let envelope = Envelope::decode(&entry.envelope).unwrap();
            let outcome = state.apply(envelope.position(entry.seq), &envelope.command);
            for happened in outcome.iter().flat_map(|outcome| &outcome.events) {
                let Event::Message(MessageEvent::Sent { room, n, from, .. }) = happened.event else {
                    continue;
                };
                let payload = &entry.payload.as_ref().unwrap().bytes;
                let said = MessagePayloadView::decode(payload).unwrap();
                let speaker = match (&from, said.guest) {
                    (Principal::Account(account), _) => NAMES[(account.0 as usize) - self.first_account()],
                    (_, guest) => guest.map_or("?", |_| "guest:eve"),
                };
                messages.push(Message {
                    seq: entry.seq,
                    room,
                    n,
                    speaker,
                    time: envelope.time,
                    text: searched_text(&said).unwrap_or_default().into_owned(),
                });
            }
        }
        (state, messages)
    }

    /// The accounts stand behind each other at the beginning.
    fn first_account(&self) -> usize {
        3
    }
}

struct Message {
    seq: Seq,
    room: vang_chat::RoomId,
    n: u64,
    speaker: &'static str,
    time: Time,
    text: String,
}

const NAMES: [&str; 2] = ["ada", "bob"];
/// Who asks: two accounts and a guest.
const ASKERS: [&str; 3] = ["ada", "bob", "eve"];
const ROOMS: [&str; 4] = ["general", "hall", "lab", "cellar"];

#[derive(Clone, Debug)]
enum Deed {
    Say { who: usize, room: usize, text: String },
    Join { who: usize, room: usize },
    Bring { by: usize, who: usize, room: usize },
    Leave { who: usize, room: usize },
}

fn deed() -> impl Strategy<Value = Deed> {
    let text = proptest::collection::vec(
        prop_oneof![
            Just("chó"),
            Just("Mèo"),
            Just("Straße"),
            Just("東京都"),
            Just("ไทย"),
            Just("cho"),
            Just("x")
        ],
        1..5,
    );
    let say = (0..3_usize, 0..4_usize, text).prop_map(|(who, room, words)| Deed::Say {
        who,
        room,
        text: words.join(" "),
    });
    prop_oneof![
        6 => say,
        1 => (0..3_usize, 0..4_usize).prop_map(|(who, room)| Deed::Join { who, room }),
        1 => (0..2_usize, 0..2_usize, 0..4_usize).prop_map(|(by, who, room)| Deed::Bring { by, who, room }),
        2 => (0..2_usize, 0..4_usize).prop_map(|(who, room)| Deed::Leave { who, room }),
    ]
}

fn question() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop_oneof![Just("cho"), Just("MÈO"), Just("strasse"), Just("京都"), Just("京"), Just("ทย"), Just("\"cho meo\""), Just("str*")],
        1 => prop_oneof![Just("-x"), Just("-cho"), Just("from:ada"), Just("from:eve"), Just("-from:guest:eve"), Just("from:guest:ada")],
        1 => prop_oneof![Just("in:lab"), Just("in:cellar"), Just("in:#general"), Just("-in:hall")],
        1 => prop_oneof![Just("after:2026-05-01T00:20:00Z"), Just("before:2026-05-01T00:40:00Z"), Just("after:2026-05-02")],
    ];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(" "))
}

/// A hit's address, its entry, and its neighbours' addresses.
type Place = (String, u64, [String; 2]);

/// What the dullest search finds, newest first: addresses, each with its neighbours'.
fn expected(world: &mut World, asker: &str, query: &str) -> Result<Vec<Place>, &'static str> {
    let (state, messages) = world.fold();
    let who = match NAMES.iter().position(|name| *name == asker) {
        Some(index) => Principal::Account(vang_chat::AccountId((world.first_account() + index) as u64)),
        None => Principal::Guest(vang_chat::NameKey([0; 16])),
    };
    let query = Query::parse(query).unwrap();
    let named = |name: &str| {
        state
            .rooms()
            .zip(ROOM_ORDER)
            .find(|(_, known)| *known == name)
            .map(|((id, room), _)| (id, room.clone()))
    };
    let mut chosen = Vec::new();
    for name in &query.rooms {
        chosen.push(named(name).filter(|(_, room)| room.knows(&who)).ok_or("no-room")?.0);
    }
    let mut not_rooms = Vec::new();
    for name in &query.not_rooms {
        not_rooms.push(named(name).filter(|(_, room)| room.knows(&who)).ok_or("no-room")?.0);
    }
    let is_of = |message: &Message, names: &[String]| {
        names
            .iter()
            .any(|name| message.speaker == name || message.speaker.strip_prefix("guest:") == Some(name))
    };
    let sees = |message: &Message| state.room(message.room).unwrap().sees(&who, message.seq);
    let address = |message: &Message| {
        let name = state.rooms().zip(ROOM_ORDER).find(|((id, _), _)| *id == message.room).unwrap().1;
        format!("{name}#{}", message.n)
    };
    let neighbour = |message: &Message, n: u64| {
        let found = messages.iter().find(|other| other.room == message.room && other.n == n);
        found.filter(|other| sees(other)).map(address).unwrap_or_default()
    };
    Ok(messages
        .iter()
        .rev()
        .filter(|message| {
            sees(message)
                && (chosen.is_empty() || chosen.contains(&message.room))
                && !not_rooms.contains(&message.room)
                && (query.from.is_empty() || is_of(message, &query.from))
                && !is_of(message, &query.not_from)
                && query.after.is_none_or(|after| message.time >= after)
                && query.before.is_none_or(|before| message.time < before)
                && query.matches(&message.text)
        })
        .map(|message| {
            let beside = [neighbour(message, message.n - 1), neighbour(message, message.n + 1)];
            (address(message), message.seq.0, beside)
        })
        .collect())
}

/// As they are made below; `general` is the server's own.
const ROOM_ORDER: [&str; 4] = ["general", "hall", "lab", "cellar"];

fn furnished() -> World {
    let mut world = World::searched();
    let rooms = [
        ("hall", Access::Public, "ada"),
        ("lab", Access::Private, "ada"),
        ("cellar", Access::Private, "bob"),
    ];
    for (room, access, by) in rooms {
        let header = world.later(by, Action::Create { room: room.to_owned(), access });
        assert_eq!(header["status"], "ok");
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_the_asker_may_see_in_a_fold_of_the_journal(
        deeds in proptest::collection::vec(deed(), 1..60),
        questions in proptest::collection::vec((0..3_usize, question(), 1..6_u64), 6..16),
    ) {
        let mut world = furnished();
        for deed in deeds {
            match deed {
                Deed::Say { who, room, text } => world.later(ASKERS[who], say_text(ROOMS[room], &text)),
                Deed::Join { who, room } => {
                    world.later(ASKERS[who], Action::Join { room: ROOMS[room].to_owned(), who: None })
                }
                Deed::Bring { by, who, room } => {
                    let who = Some(NAMES[who].to_owned());
                    world.later(NAMES[by], Action::Join { room: ROOMS[room].to_owned(), who })
                }
                Deed::Leave { who, room } => {
                    world.later(NAMES[who], Action::Leave { room: ROOMS[room].to_owned() })
                }
            };
        }
        for (asker, query, limit) in questions {
            let asker = ASKERS[asker];
            let mut rest = match expected(&mut world, asker, &query) {
                Ok(all) => all,
                Err(code) => {
                    let (header, _) = world.find(asker, &query, limit, None);
                    prop_assert_eq!(&header["code"], code, "{}", query);
                    continue;
                }
            };
            let mut before = None;
            // Page by page, to the end.
            loop {
                let (header, hits) = world.find(asker, &query, limit, before);
                let page: Vec<_> = rest.drain(..rest.len().min(limit as usize)).collect();
                let found: Vec<_> = hits.as_array().unwrap().iter().map(|hit| {
                    let address = |hit: &Json| hit["address"].as_str().unwrap_or_default().to_owned();
                    (address(hit), hit["seq"].as_u64().unwrap(), [address(&hit["before"]), address(&hit["after"])])
                }).collect();
                prop_assert_eq!(&found, &page, "{} asks {}", asker, query);
                prop_assert_eq!(&header["count"], page.len() as u64);
                let next = page.last().filter(|_| !rest.is_empty()).map(|(_, seq, _)| *seq);
                prop_assert_eq!(header["next"].as_u64(), next, "{} asks {}", asker, query);
                before = next;
                if before.is_none() {
                    break;
                }
            }
        }
    }
}

#[test]
fn an_erased_message_is_neither_found_nor_counted() {
    let mut world = furnished();
    for text in ["chó một", "chó hai", "chó ba"] {
        world.later("eve", say_text("general", text));
    }
    let (_, hits) = world.find("ada", "cho", 20, None);
    let seq = Seq(hits[1]["seq"].as_u64().unwrap());
    world.journal.erase(&[seq]).unwrap();
    let (header, hits) = world.find("ada", "cho", 1, None);
    assert_eq!((&hits[0]["text"], &header["count"]), (&"chó ba".into(), &1.into()));
    let (header, hits) = world.find("ada", "cho", 1, header["next"].as_u64());
    assert_eq!((&hits[0]["text"], &header["next"]), (&"chó một".into(), &Json::Null));
    assert_eq!(hits[0].get("after"), None);
    // A rebuilt index does not have its words any more.
    world.disk.index.reset().unwrap();
    let (header, _) = world.find("ada", "hai", 20, None);
    assert_eq!(header["count"], 0);
}

#[test]
fn what_a_damaged_index_gives_is_shown_only_to_those_who_may_see_it() {
    let mut world = World::searched();
    world.later("ada", Action::Create { room: "lab".to_owned(), access: Access::Private });
    world.later("ada", say_text("lab", "secret"));
    world.later("ada", say_text("general", "word"));
    let (_, messages) = world.fold();
    let shown = |message: &Message| Shown {
        seq: message.seq,
        room: message.room,
        n: message.n,
        time: message.time,
        from: Principal::Operator,
        guest: None,
        content_type: "text/plain".to_owned(),
        text: None,
    };
    let (secret, word) = (shown(&messages[0]), shown(&messages[1]));
    // A hit in the private room; and a hit that may be seen, with a neighbour that may not.
    let stray = Hit { message: secret.clone(), before: None, after: None };
    world.disk.strays = vec![stray, Hit { message: word, before: Some(secret.clone()), after: Some(secret) }];
    for (who, rooms) in [("ada", vec!["general", "lab", "general"]), ("eve", vec!["general", "general"])] {
        let (header, hits) = world.find(who, "word", 20, None);
        let hits = hits.as_array().unwrap();
        let found: Vec<&str> = hits.iter().map(|hit| hit["room"].as_str().unwrap()).collect();
        assert_eq!((found, header["count"].as_u64()), (rooms.clone(), Some(rooms.len() as u64)), "{who}");
        let beside = hits.iter().filter(|hit| hit.get("before").is_some()).count();
        assert_eq!(beside, usize::from(who == "ada"), "{who}: {hits:?}");
    }
}
