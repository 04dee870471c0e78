//! Rows per second that the view takes, and the time of a question: `cargo bench -p vang-view --bench view`.

#![allow(clippy::unwrap_used)] // a failure here ends a measurement

use std::time::Instant;

use vang_chat::{Access, AccountId, Feed, Principal, RoomId, Seq};
use vang_view::{Delta, EventClass, EventData, EventRow, Row, View, ViewReader};

fn main() {
    for (rooms, batch) in [(1, 1_000), (100, 1_000), (10_000, 1_000), (100, 100), (100, 10_000)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let (mut view, _) = View::open(&path, [0; 16], |_| Ok(Some([0; 32]))).unwrap();
        let mut counts = vec![0; rooms];
        let (mut seq, mut random) = (0, 1_u64);
        let total = 1_000_000;
        let mut spent = std::time::Duration::ZERO;
        while seq < total {
            // As the hub does it: one delta for each entry.
            let deltas: Vec<Delta> = (0..batch)
                .map(|_| {
                    seq += 1;
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let room = (random >> 33) as usize % rooms;
                    counts[room] += 1;
                    // A message of an account.
                    let (class, who) =
                        (EventClass::Message(Access::Public), Principal::Account(AccountId(256)));
                    let data = EventData::new(&[0x81, 1]).unwrap();
                    let event = EventRow { seq: Seq(seq), n: counts[room], class, who, data };
                    let row = Row::Event { feed: Feed::Room(RoomId(room as u64)), event };
                    Delta { upto: Seq(seq), rows: vec![row], snapshot: None }
                })
                .collect();
            let start = Instant::now();
            view.apply(&deltas).unwrap();
            spent += start.elapsed();
        }
        let mut reader = ViewReader::open(&path).unwrap();
        let start = Instant::now();
        for probe in 1..=1_000 {
            let n = counts[0] * probe / 1_000;
            assert!(n == 0 || reader.seq_of(RoomId(0), n).unwrap() > Some(Seq(0)));
        }
        let of = start.elapsed() / 1_000;
        let start = Instant::now();
        let many = (0..100)
            .map(|_| reader.events(Feed::Room(RoomId(0)), Seq(0), 1_000).unwrap().len())
            .sum::<usize>();
        let each = start.elapsed() / many.max(1) as u32;
        drop(reader);
        view.idle();
        println!(
            "{rooms:6} rooms, batches of {batch:5}: {:9.0} rows/s, seq_of {of:?}, events {each:?} a row, {} MB",
            total as f64 / spent.as_secs_f64(),
            path.metadata().unwrap().len() >> 20,
        );
    }
}
