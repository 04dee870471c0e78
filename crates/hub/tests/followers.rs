//! Who hears what is said: followers that come and go in any order, and numbers at their ends. The real hub on
//! a journal in memory.

#![allow(clippy::unwrap_used, clippy::panic)] // a world that cannot be made ends the test

mod common;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;
use vang_chat::{Feed, Node, Principal, RoomId};
use vang_hub::{
    ColdEvent, ColdPage, EventClass, EventData, EventRow, Peer, ReadAnswer, ReadError, SessionId,
};
use vang_journal::Reader;
use vang_proto::vang::{Access, Action, FollowFrom};

use crate::common::{IDENTITY, World, follow, room, say};

#[derive(Clone, Debug)]
enum Deed {
    Follow(Index, Vec<usize>),
    Come,
    Go(Index),
    Say(usize),
}

const ROOMS: usize = 4;

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        // Rooms may be named twice, and be followed already.
        4 => (any::<Index>(), prop::collection::vec(0..ROOMS, 1..6)).prop_map(|(who, rooms)| Deed::Follow(who, rooms)),
        2 => Just(Deed::Come),
        2 => any::<Index>().prop_map(Deed::Go),
        3 => (0..ROOMS).prop_map(Deed::Say),
    ]
}

proptest! {
    #[test]
    fn followers_of_a_room_get_each_event_once_and_nobody_else_does(deeds in prop::collection::vec(deed(), 1..60)) {
        let mut world = World::new();
        for number in 0..ROOMS {
            let action = Action::Create { room: room(number), access: Access::Public };
            prop_assert_eq!(&world.ask(world.operator, None, action)["status"], "ok");
        }
        let mut sessions: Vec<SessionId> = Vec::new();
        let mut follows: BTreeMap<SessionId, BTreeSet<usize>> = BTreeMap::new();
        for deed in deeds {
            match deed {
                Deed::Come => sessions.push(world.hub.connect(Peer::Local)),
                Deed::Go(_) | Deed::Follow(..) if sessions.is_empty() => {}
                Deed::Go(who) => {
                    let session = sessions.remove(who.index(sessions.len()));
                    follows.remove(&session);
                    world.hub.disconnect(session);
                }
                Deed::Follow(who, rooms) => {
                    let session = sessions[who.index(sessions.len())];
                    let names = rooms.iter().map(|&number| room(number)).collect();
                    prop_assert_eq!(&world.ask(session, None, follow(names, FollowFrom::Now))["status"], "ok");
                    follows.entry(session).or_default().extend(rooms);
                    prop_assert_eq!(world.pull(session), Vec::<Json>::new());
                }
                Deed::Say(number) => {
                    world.woken.clear();
                    prop_assert_eq!(&world.ask(world.operator, None, say(&room(number)))["status"], "ok");
                    let expected: BTreeSet<SessionId> =
                        follows.iter().filter(|(_, rooms)| rooms.contains(&number)).map(|(&who, _)| who).collect();
                    prop_assert_eq!(&world.woken, &expected);
                    for session in expected {
                        let pulled = world.pull(session);
                        prop_assert_eq!(pulled.len(), 1, "{:?}", pulled);
                        prop_assert_eq!(&pulled[0]["room"], &room(number));
                    }
                }
            }
        }
    }
}

#[test]
fn a_number_at_its_end_is_a_number_as_any_other() {
    let mut world = World::new();
    for name in ["ada", "bob"] {
        world.ask(world.operator, None, Action::AddAccount { name: name.to_owned() });
    }
    world.once("ada", Action::Create { room: "lab".to_owned(), access: Access::Private });
    let join = |who: &str| Action::Join { room: "lab".to_owned(), who: Some(who.to_owned()) };
    world.once("ada", join("bob"));
    let bob = world.hub.connect(Peer::Local);
    let from = FollowFrom::Numbers(vec![u64::MAX]);
    assert_eq!(world.ask(bob, Some("bob"), follow(vec!["lab".to_owned()], from))["status"], "ok");
    world.once("ada", say("lab"));
    assert_eq!(world.pull(bob).len(), 1);
    // What is said in an absence is a hole, whatever was claimed before.
    world.once("bob", Action::Leave { room: "lab".to_owned() });
    world.once("ada", say("lab"));
    world.once("ada", join("bob"));
    let pulled = world.pull(bob);
    let hole = pulled.iter().find(|header| header["event"] == "hole").unwrap_or_else(|| panic!("{pulled:?}"));
    assert_eq!((&hole["from"], &hole["to"]), (&2.into(), &2.into()));
    let page = world.ask(bob, None, Action::History { room: "lab".to_owned(), since: u64::MAX, limit: 1 });
    assert_eq!((&page["count"], &page["last"], &page["end"]), (&0.into(), &u64::MAX.into(), &2.into()));
    let session = world.hub.connect(Peer::Local);
    let seq = FollowFrom::Position { journal: IDENTITY.id_hex(), epoch: None, seq: u64::MAX };
    let refused = world.ask(session, Some("bob"), follow(vec!["lab".to_owned()], seq));
    assert_eq!(refused["code"], "seq-ahead");
    world.answers_reads = false;
    for before in [0, 1, u64::MAX] {
        let session = world.hub.connect(Peer::Local);
        world.ask(
            session,
            Some("bob"),
            Action::Find { query: "x".to_owned(), limit: u64::MAX, before: Some(before) },
        );
    }
    assert_eq!(world.reads.len(), 3);
}

#[test]
fn a_connection_asks_one_find_at_a_time_and_a_gone_one_is_forgotten() {
    let mut world = World::new();
    world.answers_reads = false;
    let find = || Action::Find { query: "x".to_owned(), limit: 1, before: None };
    let [ada, bob] = [world.hub.connect(Peer::Local), world.hub.connect(Peer::Local)];
    assert_eq!(world.ask(ada, None, find()), Json::Null);
    assert_eq!(world.ask(bob, None, find()), Json::Null);
    let refused = world.ask(ada, None, find());
    assert_eq!((&refused["code"], refused["retry-after"].is_u64()), (&"busy".into(), true));
    // Answered in whatever way, it may ask again.
    let [of_ada, of_bob] = world.reads[..] else { panic!("{:?}", world.reads) };
    world.hub.answer_read(of_ada, Err(ReadError::OverTime { ms: 1_000 }));
    world.turn();
    let reply = world.replies.pop().unwrap().header;
    assert_eq!((&reply["code"], reply.get("retry-after")), (&"busy".into(), None));
    assert!(reply["detail"].as_str().unwrap().contains("add in:ROOM or after:DATE"), "{reply}");
    assert_eq!(world.ask(ada, None, find()), Json::Null);
    // Nobody gets the answer to what a gone one asked.
    world.hub.disconnect(bob);
    let refusals = world.hub.refusals().to_vec();
    world.hub.answer_read(of_bob, Err(ReadError::Full));
    world.turn();
    assert_eq!((world.replies.len(), world.hub.refusals()), (0, &refusals[..]));
}

#[test]
fn an_event_about_several_rooms_is_read_from_the_disk_once_and_names_none() {
    let mut world = World::new();
    let create = |room: &str| Action::Create { room: room.to_owned(), access: Access::Public };
    let operator = world.operator;
    let rooms: Vec<RoomId> = ["hall", "yard"]
        .map(|room| {
            world.ask(operator, None, create(room));
            let made = world.ask(operator, None, say(room));
            assert_eq!(made["status"], "ok", "{made}");
            RoomId(made["seq"].as_u64().unwrap() - 1)
        })
        .to_vec();
    // Another process has nothing in memory: what is before it is on the disk.
    let mut world = World::on(world.journal, Node(8));
    world.answers_reads = false;
    let bob = world.hub.connect(Peer::Local);
    let names = vec!["hall".to_owned(), "yard".to_owned()];
    world.ask(
        bob,
        Some("bob"),
        follow(names, FollowFrom::Position { journal: IDENTITY.id_hex(), epoch: None, seq: 1 }),
    );
    assert!(world.pull(bob).is_empty());
    let [read] = world.reads[..] else { panic!("{:?}", world.reads) };
    let upto = world.hub.state().seq();
    let entry = world.journal.get(&[upto], usize::MAX).unwrap().remove(0);
    // It left (kind 4), by the operator, in several rooms.
    let data = EventData::new(&[0x82, 4, 1]).unwrap();
    let row = EventRow { seq: upto, n: 1, class: EventClass::Other, who: Principal::Operator, data };
    let event = |&room: &RoomId| ColdEvent { feed: Feed::Room(room), row, entry: entry.clone() };
    let page = ColdPage { events: rooms.iter().map(event).collect(), upto };
    world.hub.answer_read(read, Ok(ReadAnswer::Page(page)));
    let pulled = world.pull(bob);
    let [left] = &pulled[..] else { panic!("{pulled:?}") };
    assert_eq!((&left["event"], &left["seq"], left.get("room")), (&"left".into(), &upto.0.into(), None));
}
