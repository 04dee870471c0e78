//! Stories, and random worlds.
//!
//! `VANG_SEEDS=20000 VANG_FIRST_SEED=300` for a soak; `VANG_SEED=8841` for one of them, with its trace.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vang_proto::limits::HISTORY_PAGE_MAX;
use vang_proto::vang::{Access, Action, FeedName, RequestWriter};
use vang_sim::{AppendOutcome, Since, World, current_seed_and_time};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Runs one seed; returns its trace and counts, or how it failed.
fn live(seed: u64, prints: bool) -> Result<(u64, BTreeMap<&'static str, u64>), String> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::random(seed, prints);
        world.live();
        world.heal();
        world.assert_one_history();
        (world.trace_hash(), world.tally().clone())
    }));
    lived.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let (seed, ms) = current_seed_and_time();
        format!(
            "seed {seed}, t={:.1}s: {}; rerun: cargo xtask sim --seed {seed}",
            ms as f64 / 1_000.0,
            text.unwrap_or_default()
        )
    })
}

#[test]
fn sim_random_seeds() {
    if let Ok(seed) = std::env::var("VANG_SEED") {
        live(seed.parse().expect("a number"), true).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let (seeds, first) = (number("VANG_SEEDS", 300), number("VANG_FIRST_SEED", 0));
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        match live(seed, false) {
            Ok((_, counts)) => {
                for (what, count) in counts {
                    *tally.entry(what).or_default() += count;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    for (what, count) in &tally {
        eprintln!("{count:>9} {what}");
    }
    // A simulation without failures proves nothing.
    if seeds >= 300 && first == 0 {
        failures.extend(
            MUST_HAPPEN
                .iter()
                .filter(|what| !tally.contains_key(*what))
                .map(|what| format!("'{what}' never happened")),
        );
        let count = |what: &str| tally.get(what).copied().unwrap_or_default();
        let rare = MUST_HAPPEN_OFTEN.iter().filter(|(what, least)| count(what) < *least);
        failures.extend(rare.map(|(what, least)| {
            format!("'{what}' happened {} times; it should be {least} at least", count(what))
        }));
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

/// Events that must occur in 300 seeds.
const MUST_HAPPEN: &[&str] = &[
    "a guest asked for the feed of an account",
    "a look-alike refused",
    "a room and both other feeds followed",
    "a value was replaced before it was received",
    "account added while running",
    "acknowledged",
    "another writer in between",
    "answers out of order",
    "append landed and reported unknown",
    "append lost and reported unknown",
    "applied between two pieces of a snapshot",
    "burst of sends",
    "clock jumped",
    "closed a reader that took nothing",
    "connection cut",
    "connection cut inside a message",
    "crash",
    "crash kept what was not synced",
    "crash lost what was not synced",
    "disk full",
    "disk unavailable",
    "disk unreadable",
    "duplicate on a second connection",
    "feeds added on a connection",
    "feeds followed without a room",
    "followed a room that is gone",
    "followed from numbers",
    "hole in history",
    "hole received",
    "message over the limit",
    "older copy put back",
    "page of history",
    "probed a private room",
    "private mark seen by a member",
    "read: events",
    "read: locate",
    "read: messages",
    "reader stopped taking bytes",
    "received of a room that is not followed",
    "refused for the clock",
    "refused without TLS",
    "repetition got the first result",
    "resumed",
    "resumed feeds of an account or the server",
    "reused id refused",
    "second follow on a connection",
    "send races with a leave",
    "send repeated",
    "sending half shut",
    "set back to the common position",
    "set back beyond the known positions",
    "settle failed",
    "several rooms followed",
    "snapshot",
    "start from a snapshot",
    "stop in good order",
    "too many rooms of one account",
    "two devices of an account compared",
    "view ahead of an older copy",
    "view behind",
    "outcome unknown",
    "next page of rooms",
];

/// Signing in, granted and refused: how often at least in 300 seeds.
const MUST_HAPPEN_OFTEN: &[(&str, u64)] = &[
    ("signed in with a password", 500),
    ("signed in with a token", 300),
    ("signed in later on a guest's connection", 200),
    ("sign-in refused: password", 200),
    ("sign-in refused: token ended", 200),
    ("sign-in refused: token over by time", 3),
    ("sign-in refused: no such token", 30),
    ("sign-in refused: account disabled", 200),
    ("sign-in put off", 50),
    ("follow refused behind a sign-in that was refused", 200),
    ("a connection told that it was signed out", 200),
    ("an event from before a token's end", 100),
    ("refused with a token that has ended", 5),
    ("refused for a token's scope", 5),
    ("password changed", 100),
    ("password change refused", 40),
    ("weak password refused", 15),
    ("verifier renewed", 100),
    ("verifier erased while a check waited", 3),
    ("token made", 80),
    ("token ended", 80),
    ("all others ended", 50),
    ("ending a token refused", 40),
    ("signed out", 40),
    ("signed out while signing in", 1),
    ("sessions listed", 50),
    ("invited", 50),
    ("inviting refused", 50),
    ("invitation accepted", 30),
    ("invitation refused", 15),
    ("invitation withdrawn", 20),
    ("withdrawing refused", 30),
    ("account disabled", 30),
    ("account enabled", 30),
    ("disabling refused", 30),
    ("device did something in a room", 300),
];

#[test]
fn sim_one_seed_is_one_trace() {
    for seed in [3, 17, 101, 202] {
        let (first, _) = live(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        let (second, _) = live(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "seed {seed} has two traces");
    }
    let traces: Vec<_> =
        (0..4).map(|seed| live(seed, false).unwrap_or_else(|failure| panic!("{failure}")).0).collect();
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]), "all seeds have the same trace");
}

#[test]
fn story_unknown_append_is_not_acknowledged_twice() {
    for outcome in [AppendOutcome::UnknownButThere, AppendOutcome::UnknownAndLost] {
        let mut world = World::calm(1);
        world.account("ada");
        world.guest("bob");
        world.follow("bob", &["general"], Since::Beginning);
        world.next_appends(&[outcome]);
        // If it has landed, settling finds it. If it is lost, ada gets an error and sends again.
        assert_eq!(world.say("ada", "general", "hi"), Ok("general#1".to_owned()));
        assert_eq!(world.say("ada", "general", "again"), Ok("general#2".to_owned()));
        world.heal();
        world.assert_one_history();
        assert_eq!(
            world.heard("bob"),
            ["general: made by server", "general#1 ada: hi", "general#2 ada: again"]
        );
    }
}

#[test]
fn story_crash_before_the_reply_posts_once() {
    let mut world = World::calm(2);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Beginning);
    world.begin_to_say("ada", "general", "hi");
    world.wait(3);
    world.crash();
    world.heal();
    world.assert_one_history();
    assert_eq!(world.heard("bob"), ["general: made by server", "general#1 ada: hi"]);
}

#[test]
fn story_reader_resumes_after_crash() {
    let mut world = World::calm(3);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    world.say("ada", "general", "one").unwrap();
    world.crash();
    world.say("ada", "general", "two").unwrap();
    world.cut("bob");
    world.say("ada", "general", "three").unwrap();
    world.restart();
    world.heal();
    world.assert_one_history();
    assert_eq!(world.heard("bob"), ["general#1 ada: one", "general#2 ada: two", "general#3 ada: three"]);
}

#[test]
fn story_returning_member_receives_the_hole() {
    let mut world = World::calm(4);
    world.account("ada");
    world.account("bob");
    world.create_private("ada", "den");
    world.say("ada", "den", "first").unwrap();
    world.bring("ada", "den", "bob");
    world.follow("bob", &["den"], Since::Beginning);
    world.say("ada", "den", "welcome").unwrap();
    world.leave_room("bob", "den");
    world.say("ada", "den", "alone").unwrap();
    world.say("ada", "den", "still").unwrap();
    assert_eq!(world.say("bob", "den", "hello?"), Err("not-member".to_owned()));
    world.bring("ada", "den", "bob");
    world.crash();
    world.say("bob", "den", "back").unwrap();
    world.heal();
    world.assert_one_history();
    let heard =
        ["den#1-1 not shown", "den#2 ada: welcome", "den: bob left", "den#3-4 not shown", "den#5 bob: back"];
    assert_eq!(world.heard("bob"), heard);
}

#[test]
fn story_a_private_room_looks_like_no_room_to_others() {
    let mut world = World::calm(5);
    world.account("ada");
    world.account("eve");
    world.create_private("ada", "den");
    world.say("ada", "den", "secret").unwrap();
    let join = |room: &str| Action::Join { room: room.to_owned(), who: None };
    let leave = |room: &str| Action::Leave { room: room.to_owned() };
    assert_eq!(world.ask("eve", &join("den")), world.ask("eve", &join("nowhere")));
    assert_eq!(world.ask("eve", &leave("den")), world.ask("eve", &leave("nowhere")));
    assert_eq!(world.say("eve", "den", "psst"), world.say("eve", "nowhere", "hm"));
    world.heal();
    world.assert_one_history();
}

#[test]
fn story_devices_of_an_account_receive_its_feed_and_nobody_else_does() {
    let mut world = World::calm(14);
    for name in ["ada", "bob", "eve"] {
        world.account(name);
    }
    world.device("bob_phone", "bob");
    let both = [FeedName::Account, FeedName::Server];
    world.follow_feeds("bob", &["general"], &both, Since::Now);
    world.follow_feeds("bob_phone", &[], &[FeedName::Account], Since::Now);
    world.follow_feeds("eve", &[], &both, Since::Now);
    world.create_private("ada", "den");
    world.bring("ada", "den", "bob");
    world.say("ada", "den", "secret").unwrap();
    world.cut("bob_phone");
    world.restart();
    world.wait(2_000);
    world.cut("bob_phone");
    // Of these the phone may miss all but the last.
    world.leave_room("bob", "den");
    world.bring("ada", "den", "bob");
    world.leave_room("bob", "den");
    let create = Action::Create { access: Access::Public, room: "hall".to_owned() };
    world.ask("ada", &create).unwrap();
    world.heal();
    world.assert_one_history();
    let devices = ["bob", "bob_phone"].map(|device| world.heard(device));
    for heard in &devices {
        assert!(heard.iter().any(|line| line == "den: bob joined"), "{heard:?}");
    }
    assert_eq!(devices[1].last().unwrap(), "den: bob left");
    assert_eq!(devices[0].last().unwrap(), "hall: made by ada");
    assert_eq!(world.heard("eve"), ["hall: made by ada"]);
}

#[test]
fn story_older_copy_is_detected() {
    let mut world = World::calm(6);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    world.say("ada", "general", "one").unwrap();
    let copy = world.end();
    world.say("ada", "general", "lost").unwrap();
    world.wait(100);
    assert_eq!(world.heard("bob"), ["general#1 ada: one", "general#2 ada: lost"]);
    world.put_back_copy_of(copy);
    world.say("ada", "general", "instead").unwrap();
    world.heal();
    world.assert_one_history();
    assert_eq!(world.heard("bob"), ["general#1 ada: one", "general#2 ada: instead"]);
}

#[test]
fn story_very_old_copy_starts_again_after_the_last_number_of_each_room() {
    let mut world = World::calm(11);
    world.account("ada");
    world.guest("bob");
    world.say("ada", "general", "one").unwrap();
    let create = Action::Create { access: Access::Public, room: "hall".to_owned() };
    world.ask("ada", &create).unwrap();
    world.say("ada", "hall", "first").unwrap();
    let copy = world.end();
    world.say("ada", "hall", "lost").unwrap();
    // As many openings of the journal are lost as the server names to a client.
    for _ in 0..vang_hub::limits::EPOCH_OPENINGS {
        world.restart();
    }
    world.follow("bob", &["general", "hall"], Since::Numbers(vec![0, 2]));
    world.wait(100);
    assert_eq!(world.heard("bob"), ["general: made by server", "general#1 ada: one"]);
    world.put_back_copy_of(copy);
    world.wait(2_000);
    // It asks for general after 1, and for hall after 2: a number that hall has not reached, so what comes next.
    world.say("ada", "general", "two").unwrap();
    world.say("ada", "hall", "instead").unwrap();
    world.heal();
    world.assert_one_history();
    assert_eq!(world.tally().get("set back beyond the known positions"), Some(&1));
    assert_eq!(world.heard("bob"), ["general#2 ada: two", "hall#2 ada: instead"]);
}

#[test]
fn story_full_disk_recovers() {
    let mut world = World::calm(7);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    world.next_appends(&[AppendOutcome::Full, AppendOutcome::Full, AppendOutcome::Unavailable]);
    assert_eq!(world.say("ada", "general", "hi"), Ok("general#1".to_owned()), "she was patient");
    world.heal();
    world.assert_one_history();
    assert_eq!(world.heard("bob"), ["general#1 ada: hi"]);
}

#[test]
fn story_slow_reader_is_served_from_the_disk() {
    let mut world = World::calm(8);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    world.pause("bob", 1_500);
    for index in 0..12 {
        world.say_at_length("ada", "general", &format!("word{index}"), 120_000);
    }
    world.heal();
    world.assert_one_history();
    assert_eq!(world.heard("bob").len(), 12);
    assert!(world.tally().contains_key("read: events"), "the room's tail held it all");
}

#[test]
fn story_many_pages_at_once_cost_a_few() {
    let mut world = World::calm(9);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    for index in 0..4 {
        world.say_at_length("ada", "general", &format!("word{index}"), 120_000);
    }
    // The memory limit of a connection is checked all the time.
    world.ask_for_pages("bob", "general", 60);
    world.heal();
    world.assert_one_history();
    assert_eq!(world.tally().get("page of history"), Some(&60));
}

/// While this many connections send these bytes without pause, other clients get replies and events within a
/// bounded number of the server's rounds.
fn a_flood_delays_nobody(seed: u64, connections: usize, block: &[u8]) -> World {
    let mut world = World::calm(seed);
    world.account("ada");
    world.guest("bob");
    world.follow("bob", &["general"], Since::Now);
    let usual = (0..10).map(|i| world.rounds_to_say("ada", "general", &format!("usual{i}"))).max();
    world.flood(connections, block);
    world.wait(200);
    for i in 0..20 {
        let rounds = world.rounds_to_say("ada", "general", &format!("word{i}"));
        // A client with a `busy` reply tries again after its wait.
        assert!(rounds <= 3 * usual.unwrap_or_default() + 100, "word{i} took {rounds} rounds");
    }
    world.end_floods();
    world.heal();
    world.assert_one_history();
    let heard = world.heard("bob");
    assert!(heard.iter().any(|line| line.ends_with("ada: word19")), "{heard:?}");
    world
}

#[test]
fn story_a_client_that_always_sends_delays_nobody() {
    let writer = RequestWriter { name: Some("flood".to_owned()) };
    let room = || "general".to_owned();
    let page = Action::History { room: room(), since: 0, limit: HISTORY_PAGE_MAX };
    a_flood_delays_nobody(10, 3, &writer.write(1, &Action::Ping));
    a_flood_delays_nobody(11, 3, &writer.write(1, &page));
    a_flood_delays_nobody(12, 3, &writer.write(1, &Action::Who { room: room() }));
}

#[test]
fn story_uploads_that_fill_the_queue_delay_nobody() {
    let writer = RequestWriter { name: Some("flood".to_owned()) };
    let upload = writer.write(1, &Action::text("general", &"x".repeat(200_000)));
    let world = a_flood_delays_nobody(13, 20, &upload);
    assert!(world.tally().contains_key("paused after busy"), "the queue was never full");
}

/// Events that must occur in the seeds of two processes.
const MUST_HAPPEN_BETWEEN_TWO: &[&str] = &[
    "a process was started again",
    "a value was replaced before it was received",
    "another process was announced",
    "came back to the same process",
    "read: events",
    "received of a room that is not followed",
    "went to the other process",
];

#[test]
fn between_two_processes_nothing_is_heard_twice_or_missed() {
    let prints = std::env::var_os("VANG_SEED").is_some();
    let (seeds, first) = match std::env::var("VANG_SEED") {
        Ok(seed) => (1, seed.parse().expect("a number")),
        Err(_) => (number("VANG_SEEDS", 300) / 10, number("VANG_FIRST_SEED", 0)),
    };
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..first + seeds {
        let lived = catch_unwind(AssertUnwindSafe(|| vang_sim::two_processes(seed, prints)));
        let counts = lived.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed}: {text}; rerun: cargo xtask sim --seed {seed}")
        });
        for (what, count) in counts {
            *tally.entry(what).or_default() += count;
        }
    }
    for (what, count) in &tally {
        eprintln!("{count:>9} {what}");
    }
    if seeds >= 30 && first == 0 {
        for what in MUST_HAPPEN_BETWEEN_TWO {
            assert!(tally.contains_key(what), "'{what}' never happened");
        }
    }
}
