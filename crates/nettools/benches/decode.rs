//! Speed of decoding a capture: packets, streams, messages; without output.
//!
//! ```text
//! cargo bench -p vang-nettools --bench decode            one core; about ten seconds
//! ```
//!
//! The captures are made here, in memory: 64 conversations side by side, packets as a network has them and as a
//! loopback has them, small messages and large ones. The median of the rounds counts, in CPU time, so that
//! other work of the machine does not count.

use std::hint::black_box;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rustix::time::{ClockId, clock_gettime};
use vang_nettools::capture::conversations::ConversationEvent;
use vang_nettools::capture::side::Side;
use vang_nettools::capture::write::Writer;
use vang_nettools::decode::{Counted, read_capture};
use vang_proto::Composer;

/// Size of each capture: larger than any cache.
const CAPTURE_BYTES: usize = 64 << 20;
const CONVERSATIONS: u16 = 64;
const ROUNDS: usize = 9;
/// The goal for one core.
const TARGET_PER_SECOND: f64 = 500e6;

fn main() {
    println!("captures of {} MiB in memory; median of {ROUNDS} rounds", CAPTURE_BYTES >> 20);
    for (title, segment, content) in [
        ("segments of 1,448 bytes, messages of 64 KiB", 1_448, 64 << 10),
        ("segments of 1,448 bytes, messages of 1 KiB", 1_448, 1 << 10),
        ("segments of 60,000 bytes, messages of 64 KiB", 60_000, 64 << 10),
        ("segments of 1,448 bytes, messages of 100 bytes", 1_448, 100),
    ] {
        let capture = made(segment, content);
        let mut took: Vec<Duration> = (0..ROUNDS).map(|_| decode(&capture)).collect();
        took.sort_unstable();
        let per_second = capture.len() as f64 / took[ROUNDS / 2].as_secs_f64();
        let verdict = if per_second >= TARGET_PER_SECOND { "reaches" } else { "misses" };
        println!("{title:50} {:7.0} MB/s, {verdict} {:.0}", per_second / 1e6, TARGET_PER_SECOND / 1e6);
    }
}

fn made(segment: usize, content: usize) -> Vec<u8> {
    let mut message = BytesMut::new();
    Composer::new(&mut message, "text/plain", "utf-8", content).finish(&vec![b'x'; content]);
    let stream = message.repeat((CAPTURE_BYTES / usize::from(CONVERSATIONS) / message.len()).max(1));
    let mut writer =
        Writer::new(Vec::with_capacity(CAPTURE_BYTES * 5 / 4), "bench").expect("memory takes it");
    let server: SocketAddr = "10.0.0.1:65432".parse().expect("an address");
    let mut open: Vec<_> = (0..CONVERSATIONS)
        .map(|n| writer.open(1, SocketAddr::new(server.ip(), 1_024 + n), server).expect("memory takes it"))
        .collect();
    for part in stream.chunks(segment) {
        for recorded in &mut open {
            writer.say(2, recorded, Side::Client, part).expect("memory takes it");
        }
    }
    writer.into_inner()
}

fn decode(capture: &[u8]) -> Duration {
    let began = processor_time();
    let (mut messages, mut over) = (0_u64, 0_u64);
    let mut rest = capture;
    let mut first = [0; 4];
    rest.read_exact(&mut first).expect("it is longer");
    read_capture(
        first,
        rest,
        &mut Counted::default(),
        &mut |event| match event {
            ConversationEvent::Message { decoded, .. } => {
                black_box(&decoded);
                messages += 1;
            }
            ConversationEvent::Bytes { .. }
            | ConversationEvent::Tcp { .. }
            | ConversationEvent::Datagram { .. } => {}
            ConversationEvent::Ended(_) => over += 1,
        },
        &mut || true,
    )
    .expect("it is whole");
    assert_eq!(over, u64::from(CONVERSATIONS), "{messages} messages");
    processor_time() - began
}

/// CPU time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}
