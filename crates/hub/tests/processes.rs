//! Two processes that order one journal: a client of the first can resume at the second.

#![allow(clippy::unwrap_used)] // a world that cannot be made ends the test

mod common;

use bytes::Bytes;
use serde_json::Value as Json;
use vang_chat::{NEWEST_RULES, Node, OrderCommand, Rules, Seq};
use vang_hub::{Output, Peer};
use vang_journal::{Entry, Envelope, MemoryJournal, Origin, Payload, Reader, Through};
use vang_proto::vang::{FollowFrom, Form, Request, Ticket};

use crate::common::{IDENTITY, Reply, World, follow, say};

fn general() -> Vec<String> {
    vec!["general".to_owned()]
}

/// Hands a process what stands in the journal and it does not know yet.
fn catch_up(world: &mut World) {
    let entries = Entry::all(world.journal.read(world.hub.state().seq(), 1_000, 1 << 20).unwrap()).unwrap();
    world.hub.arrived(entries);
    world.turn();
}

fn numbers(events: &[Json]) -> Vec<u64> {
    events.iter().filter_map(|event| event["n"].as_u64()).collect()
}

/// Where a client stands after these events.
fn place(followed: &Json, events: &[Json]) -> FollowFrom {
    let mut epoch = followed["epoch"].as_str().map(str::to_owned);
    let mut seq = followed["seq"].as_u64().unwrap();
    for event in events {
        match event["event"].as_str() {
            Some("epoch") => epoch = event["epoch"].as_str().map(str::to_owned),
            _ => seq = event["seq"].as_u64().unwrap(),
        }
    }
    FollowFrom::Position { journal: followed["journal"].as_str().unwrap().to_owned(), epoch, seq }
}

#[test]
fn a_client_that_goes_on_at_another_process_hears_nothing_twice_and_misses_nothing() {
    let journal = MemoryJournal::new(IDENTITY);
    let mut first = World::on(journal.clone(), Node(1));
    let session = first.hub.connect(Peer::Local);
    let followed = first.ask(session, Some("eve"), follow(general(), FollowFrom::Now));
    first.once("bob", say("general"));
    let mut heard = first.pull(session);
    assert_eq!(numbers(&heard), [1]);

    // Another process opens the journal, and both order.
    let mut second = World::on(journal, Node(2));
    second.once("bob", say("general"));
    catch_up(&mut first);
    assert!(first.hub.is_open(), "it still orders");
    heard.extend(first.pull(session));
    first.once("bob", say("general"));
    heard.extend(first.pull(session));
    assert_eq!(numbers(&heard), [1, 2, 3]);
    let epochs = heard.iter().filter(|event| event["event"] == "epoch").count();
    assert_eq!(epochs, 1, "told once, before what came after it: {heard:?}");
    assert_eq!(heard[1]["event"], "epoch");
    assert!(heard[1]["epoch"].as_str().unwrap().starts_with(&Node(2).to_string()));

    // The client goes on at the other one.
    catch_up(&mut second);
    second.once("bob", say("general"));
    let again = second.hub.connect(Peer::Local);
    let resumed = second.ask(again, Some("eve"), follow(general(), place(&followed, &heard)));
    assert_eq!(resumed["status"], "ok", "{resumed}");
    assert_eq!(numbers(&second.pull(again)), [4]);
    assert_eq!(first.hub.state().seq().next(), second.hub.state().seq());
}

#[test]
fn an_entry_of_a_newer_program_stops_the_order_with_a_sentence() {
    let mut world = World::new();
    let end = world.hub.state().seq();
    let mut entry = Entry::all(world.journal.read(Seq(0), 1, 1 << 20).unwrap()).unwrap().pop().unwrap();
    let mut envelope = entry.envelope.to_vec();
    // The second byte is the format.
    envelope[1] = 9;
    (entry.seq, entry.envelope) = (end.next(), envelope.into());
    world.hub.arrived(vec![entry]);
    world.turn();
    let refused = world.once("bob", say("general"));
    assert_eq!(refused["code"], "unavailable", "{refused}");
    let why = refused["detail"].as_str().unwrap();
    assert!(why.contains(&format!("entry {} cannot be read", end.next())), "{why}");
    assert!(why.contains("a newer vang wrote it"), "{why}");
}

#[test]
fn unknown_rules_stop_the_order_and_the_sender_is_answered() {
    let mut world = World::new();
    let (bob, end) = (world.hub.connect(Peer::Local), world.hub.state().seq());
    // Bob's message is being written when another process switches the rules.
    let request =
        Request { form: Form::Header, re: None, name: Some("bob".to_owned()), action: say("general") };
    world.hub.request(bob, Ticket(0), request);
    world.hub.poll(world.now());
    let appended =
        std::iter::from_fn(|| world.hub.poll_output()).any(|output| matches!(output, Output::Append(_)));
    assert!(appended);
    let payload = Payload { salt: [1; 16], bytes: Bytes::new() };
    let envelope = Envelope {
        rules: NEWEST_RULES,
        origin: Origin { node: Node(9), counter: 1 },
        time: world.hub.state().time(),
        through: Through::default(),
        digest: payload.digest(),
        command: OrderCommand::SwitchRules { to: Rules(NEWEST_RULES.0 + 1) }.into(),
    };
    let entry = Entry { seq: end.next(), envelope: envelope.encode(), payload: Some(payload) };
    world.hub.arrived(vec![entry]);
    world.turn();
    world.turn();
    assert_eq!(world.hub.state().seq(), end, "the entry is not applied");
    let Reply { session: asker, header: refusal, .. } = world.replies.pop().expect("bob is answered");
    assert_eq!((asker, refusal["code"].as_str()), (bob, Some("unknown")), "{refusal}");
    let why = world.hub.not_ordering().unwrap();
    let expected = format!("entry {}: it switches to rules {}", end.next(), NEWEST_RULES.0 + 1);
    assert!(why.contains(&expected) && why.ends_with("start a newer vang"), "{why}");
    assert_eq!(world.once("bob", say("general"))["code"], "unavailable");
}
