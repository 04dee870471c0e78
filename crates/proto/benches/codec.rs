//! How fast messages are read and written, beside what nothing can beat: copying their bytes.
//!
//! ```text
//! cargo bench -p vang-proto --bench codec            one core; about ten seconds
//! ```
//!
//! Every round runs each case once, one after the other, for a millisecond: shorter than another
//! program's turn on the same core, so that the medians over many rounds hardly see other programs.
//! `docs/PERFORMANCE.md` has the figures.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use vang_proto::vang::{Action, Content, Event, RequestWriter, RoomEvent, Speaker};
use vang_proto::{Composer, Decoder, Limits};

/// Each case runs once a round, for so long.
const SLICE: Duration = Duration::from_millis(1);
const ROUNDS: usize = 1_001;
/// Rounds before those that count.
const WARM_UP: usize = 20;
/// Bytes of content in every message: a line of talk.
const CONTENT: [u8; 100] = [b'x'; 100];
/// As one read from a busy socket gives them.
const CHUNK: usize = 16 << 10;
/// Messages in a stream: about 100 KiB, more than the cache nearest to the core.
const MESSAGES: usize = 400;
/// What issue 2 asks of one core.
const TARGET_PER_SECOND: f64 = 2e6;

fn main() {
    let said = Action::Send {
        room: "general".to_owned(),
        id: Some("6f1c2d3e4a5b6c7d".to_owned()),
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: Bytes::from_static(&CONTENT),
    };
    let send = RequestWriter { name: Some("ada".to_owned()) }.write(4_711, &said);
    let mut guide = BytesMut::new();
    Composer::new(&mut guide, "text/json", "utf-8", CONTENT.len()).finish(&CONTENT);

    println!("content of {} bytes; median of {ROUNDS} rounds of {} ms", CONTENT.len(), SLICE.as_millis());
    read("read a vang `send`", &send);
    read("read a guide's request", &guide);
    write();
}

/// Reading: a stream of the same message, fed as a socket gives it.
fn read(title: &str, message: &[u8]) {
    let header = &message[2..message.len() - CONTENT.len()];
    let stream = message.repeat(MESSAGES);
    let mut copy = Vec::with_capacity(CHUNK + message.len());
    let [decoder, floor, value] = medians([
        &mut || {
            let mut decoder = Decoder::new(Limits::default());
            for chunk in stream.chunks(CHUNK) {
                decoder.feed(chunk);
                while let Some(frame) = decoder.poll_frame().expect("these are frames") {
                    black_box(&frame);
                }
            }
            MESSAGES
        },
        &mut || {
            for chunk in stream.chunks(CHUNK) {
                copy.clear();
                copy.extend_from_slice(black_box(chunk));
                let mut rest = &copy[..];
                while let Some(prefix) = rest.first_chunk::<2>() {
                    let len = 2 + usize::from(u16::from_be_bytes(*prefix)) + CONTENT.len();
                    rest = black_box(rest.get(len..).unwrap_or_default());
                }
            }
            MESSAGES
        },
        &mut || {
            for _ in 0..MESSAGES {
                let value: serde_json::Value =
                    serde_json::from_slice(black_box(header)).expect("the header is JSON");
                black_box(value);
            }
            MESSAGES
        },
    ]);
    println!("\n{title}: header of {} bytes", header.len());
    line("Decoder", decoder, Some((floor, "floor")));
    line("copy and count (floor)", floor, None);
    line("serde_json::Value of the header alone", value, Some((decoder, "Decoder")));
    let verdict = if 1e9 / decoder >= TARGET_PER_SECOND { "met" } else { "MISSED" };
    println!("  target of {:.1} million a second: {verdict}", TARGET_PER_SECOND / 1e6);
}

/// Writing: `message` events one behind the other, as into a room's run.
fn write() {
    let event = |out: &mut BytesMut| {
        let time = black_box("2026-11-21T12:34:56.789Z");
        let what = RoomEvent::Message { n: 4_812, from: Speaker::Account("ada"), time };
        let content = Content { bytes: &CONTENT, ..Content::NONE };
        Event::Room { seq: black_box(123_456), room: "general", what }.write(out, content);
    };
    let mut one = BytesMut::new();
    event(&mut one);
    let mut run = BytesMut::with_capacity(one.len() * MESSAGES);
    let mut copy = BytesMut::with_capacity(one.len() * MESSAGES);
    let [written, floor] = medians([
        &mut || {
            run.clear();
            for _ in 0..MESSAGES {
                event(&mut run);
            }
            black_box(&run);
            MESSAGES
        },
        &mut || {
            copy.clear();
            for _ in 0..MESSAGES {
                copy.extend_from_slice(black_box(&one));
            }
            black_box(&copy);
            MESSAGES
        },
    ]);
    println!("\nwrite a `message` event: {} bytes in all", one.len());
    line("Event::write", written, Some((floor, "floor")));
    line("copy (floor)", floor, None);
}

fn line(what: &str, ns: f64, beside: Option<(f64, &str)>) {
    let ratio = beside.map_or(String::new(), |(other, name)| format!("  {:.1} x {name}", ns / other));
    println!("  {what:38} {ns:7.1} ns  {:6.2} million/s{ratio}", 1e3 / ns);
}

/// Nanoseconds an item of each case: the median over the rounds.
fn medians<const N: usize>(mut cases: [&mut dyn FnMut() -> usize; N]) -> [f64; N] {
    let mut rounds = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS + WARM_UP {
        for (case, times) in cases.iter_mut().zip(&mut rounds) {
            let begun = Instant::now();
            let mut items = 0;
            while begun.elapsed() < SLICE {
                items += case();
            }
            if round >= WARM_UP {
                times.push(begun.elapsed().as_nanos() as f64 / items as f64);
            }
        }
    }
    rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
