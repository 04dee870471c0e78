//! Clients that connect and send almost nothing, and followers that do not read: they do not disturb others, and
//! the server's memory does not grow with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::common::{Follower, Place, Raw, follow, send};
use crate::harness::{Server, folder};

/// Connections that send one byte, and that send half a header.
const SILENT: usize = 500;
const HALF: usize = 100;

/// Followers that do not read. Half of them follow from the beginning, so that their data comes from memory; half
/// when most is posted, so that it comes from the disk.
const SLOW: usize = 200;

/// Messages posted meanwhile: 6 MiB in total; the buffers of a connection hold some hundred KiB.
const MESSAGES: u64 = 3_000;
const MESSAGE_BYTES: usize = 2_048;

/// Requests that the honest client has in flight.
const WINDOW: u64 = 32;

/// The server's memory can grow by 96 MiB. The tails of rooms can hold 0.5 MiB each, the queue 8, a batch 1; each
/// slow follower at most 64 KiB of pending data, 13 MiB in total, or its share of a run of 1 MiB that all of them
/// hold together. The caches of the threads that write the view and the index, and what the allocator keeps for each
/// thread, are as much again where a busy machine lets them run side by side. If each slow follower held all messages it
/// would be more than a gigabyte.
const GROWTH_KIB: u64 = 96 << 10;

fn text(i: u64) -> String {
    format!("{i:<width$}", width = MESSAGE_BYTES)
}

#[test]
fn followers_that_do_not_read_slow_nobody_and_lose_nothing() {
    let folder = folder();
    let data = folder.path().join("data");
    // Longer than the test, so that no timeout closes them.
    let limits = ["--limit", "first-byte=1h", "--limit", "header-time=1h"];
    let server = Server::start_with(&data, "127.0.0.1:0", &limits);
    let fresh = server.status_kib("VmRSS");

    let stalled = |bytes: &[u8]| {
        let mut raw = Raw::new(server.connect());
        raw.write(bytes).unwrap();
        raw
    };
    let whole = send("mallory", "1", "never said");
    let half = &whole[..whole.len() / 2];
    let mut silent: Vec<_> = (0..SILENT).map(|_| stalled(&whole[..1])).collect();
    silent.extend((0..HALF).map(|_| stalled(half)));
    let slow_one = |_| {
        let mut raw = Raw::with_small_buffer(&server);
        raw.write(&follow(&Place::Number(0))).unwrap();
        assert_eq!(raw.read().unwrap().0["status"], "ok");
        raw
    };
    let mut slow: Vec<_> = (0..SLOW / 2).map(slow_one).collect();
    let before = server.status_kib("VmRSS");

    let mut follower = Follower::start(&server.addr);
    let mut honest = Raw::new(server.connect());
    let began = Instant::now();
    for i in 1..=MESSAGES + WINDOW {
        if i <= MESSAGES {
            honest.write(&send("ada", &format!("m{i}"), &text(i))).unwrap();
        }
        if let Some(answered) = i.checked_sub(WINDOW).filter(|&n| n > 0) {
            let (reply, _) = honest.read().unwrap();
            assert_eq!((&reply["status"], reply["n"].as_u64()), (&"ok".into(), Some(answered)), "{reply}");
            // And the followers that read get it at once.
            let received = follower.received();
            assert_eq!((received.n, received.text), (answered, text(answered)));
        }
        if i == MESSAGES * 2 / 3 {
            slow.extend((0..SLOW / 2).map(slow_one));
        }
    }
    let posted = began.elapsed();
    let after = server.status_kib("VmRSS");
    let new = stalled(&whole);
    assert_eq!({ new }.read().unwrap().0["status"], "ok", "a new client is served as well");

    let began = Instant::now();
    let (next, server_is) = (AtomicU64::new(0), &server);
    let chunks = slow.chunks_mut(SLOW / 4);
    std::thread::scope(|scope| {
        for chunk in chunks {
            let next = &next;
            scope.spawn(move || {
                for raw in chunk {
                    read_all(raw);
                    next.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(next.into_inner(), SLOW as u64);
    let read = server_is.status_kib("VmRSS");
    let peak = server.status_kib("VmHWM");
    eprintln!(
        "server's memory: {fresh} KiB fresh, {before} with {} stalled, {after} when {MESSAGES} were posted, \
         {read} when all was read, {peak} at most; posting {:.1} s, reading {:.1} s",
        SILENT + HALF + SLOW / 2,
        posted.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    assert!(before - fresh < 16 << 10, "700 connections took {} KiB", before - fresh);
    assert!(peak - fresh < GROWTH_KIB, "it grew by {} KiB", peak - fresh);
    drop(silent);
}

/// All messages, once and in order.
fn read_all(raw: &mut Raw) {
    let mut n = 0;
    while n < MESSAGES {
        let (header, content) = raw.read().unwrap();
        if header["event"] != "message" {
            continue;
        }
        n += 1;
        assert_eq!(header["n"].as_u64(), Some(n));
        assert!(content == text(n).as_bytes(), "message {n} has another content");
    }
}
