//! Repeated kill -9 while clients send and follow: no acknowledged message is lost or duplicated, and all readers
//! see the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use crate::common::{
    Follower, Raw, assert_kept, assert_one_history, check, history, lasting_address, sender,
};
use crate::common::{shown_until, tail};
use crate::harness::{PATIENCE, Server, folder};

const SENDERS: usize = 8;

fn number(key: &str, default: u64) -> u64 {
    std::env::var(key).map_or(default, |value| value.parse().unwrap())
}

/// Xorshift: the moments of the kills, the same for the same seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn acknowledged_messages_survive_kill_9_exactly_once() {
    let (kills, seed) = (number("VANG_KILLS", 10), number("VANG_SEED", 8_841));
    eprintln!("{kills} kills; rerun with VANG_SEED={seed}");
    let folder = folder();
    let data = folder.path().join("data");
    let address = lasting_address();
    let mut server = Server::start_with(&data, &address, &[]);

    let enough = Arc::new(AtomicBool::new(false));
    let (ack, acks) = channel();
    let senders: Vec<_> =
        (0..SENDERS).map(|i| sender(&address, format!("s{i}"), enough.clone(), ack.clone())).collect();
    drop(ack);
    let mut tails: Vec<_> = (0..2).map(|_| tail(&server, Some(0))).collect();
    let mut followers: Vec<_> = (0..2).map(|_| Follower::start(&address)).collect();

    let mut moments = Moments(seed.max(1));
    let mut acknowledged = Vec::new();
    for _ in 0..kills {
        // Sometimes at once: while it opens the journal, or before anybody is back. Sometimes in full flow.
        let wait = match moments.next(4) {
            0 => moments.next(3),
            1 => moments.next(60),
            _ => moments.next(1_500),
        };
        acknowledged.extend((0..wait).map(|_| acks.recv_timeout(PATIENCE).expect("the senders go on")));
        server.kill();
        server = Server::start_with(&data, &address, &[]);
    }
    acknowledged.extend((0..100).map(|_| acks.recv_timeout(PATIENCE).expect("the senders go on")));
    enough.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    acknowledged.extend(acks);
    let last = "the last one";
    assert_eq!(Raw::connect(&*address).send("last", "last", last)["status"], "ok");

    let history = history(&address);
    assert_one_history(&history);
    assert_kept(&history, &acknowledged);
    // Every sender went on until it had an answer to everything, so that there is nothing else.
    assert_eq!(history.len(), acknowledged.len() + 1);
    for follower in &mut followers {
        assert!(follower.until(last) == history, "a follower saw something else");
    }
    for tail in &mut tails {
        assert!(shown_until(tail, last) == history, "vang tail saw something else");
    }
    check(&data);
    server.kill();
    check(&data);
    let server = Server::start_with(&data, &address, &[]);
    assert!(crate::common::history(&server.addr) == history, "the last kill changed something");
    eprintln!("{} messages, {} acknowledged", history.len(), acknowledged.len());
}
