//! Fuzz tests of captures and streams.
//!
//! `cargo test` runs the corpus (`__fuzz__/NAME/corpus`) and some thousand inputs more;
//! `VANG_FUZZ_SECONDS=600` goes on for that long, and `cargo bolero test fuzz_capture` goes about it
//! with coverage.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use vang_nettools::capture::conversations::{ConversationEvent, HELD_BYTES_MAX};
use vang_nettools::capture::fragments::{self, Fragment, Fragments};
use vang_nettools::capture::not_segment::NotSegment;
use vang_nettools::capture::packet;
use vang_nettools::capture::side::Side;
use vang_nettools::capture::write::Writer;
use vang_nettools::decode::{Counted, read_capture};
use vang_nettools::protocols::{Awaited, Reader};

/// Number of inputs, and time limit.
fn effort() -> (usize, Duration) {
    let seconds = std::env::var("VANG_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    match seconds {
        Some(seconds) => (usize::MAX, Duration::from_secs(seconds)),
        None => (20_000, Duration::from_secs(1)),
    }
}

fn decode(bytes: &[u8]) -> (Counted, u64) {
    let mut counted = Counted::default();
    let mut events = 0;
    if let Some((first, rest)) = bytes.split_first_chunk::<4>() {
        let _ = read_capture(
            *first,
            rest,
            &mut counted,
            &mut |_: ConversationEvent<'_>| events += 1,
            &mut || true,
        );
    }
    (counted, events)
}

/// A small capture with bytes of the input written over it, at the place in the first two of each three.
fn disturbed(noise: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "fuzz").unwrap();
    let [client, server]: [SocketAddr; 2] = ["[::1]:4711", "[::1]:65432"].map(|it| it.parse().unwrap());
    let mut one = writer.open(1, client, server).unwrap();
    let message = b"\x00\x56{\"byteorder\":\"big\",\"content-type\":\"a\",\"content-encoding\":\"b\",\"content-length\":5, \"x\":1}hello";
    for part in message.chunks(40) {
        writer.say(2, &mut one, Side::Client, part).unwrap();
        writer.say(2, &mut one, Side::Server, part).unwrap();
    }
    writer.close(3, &mut one, Side::Client).unwrap();
    let mut capture = writer.into_inner();
    for part in noise.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([part[0], part[1]])) % capture.len();
        capture[at] = part[2];
    }
    capture
}

#[test]
fn fuzz_capture() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_capture").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            for first in [[0xd4, 0xc3, 0xb2, 0xa1], [0x0a, 0x0d, 0x0d, 0x0a], [0xa1, 0xb2, 0x3c, 0x4d]] {
                let (counted, _) = decode(&[&first[..], bytes].concat());
                assert!(counted.packets <= bytes.len() as u64);
            }
            decode(&disturbed(bytes));
            // Fragments of one packet, with offsets from the input.
            let mut fragments = Fragments::default();
            for part in bytes.chunks(11) {
                let ip = [&[0x45, 0, 0, 0, 0, 7][..], &part[..part.len().min(2)], &[9, 6], &[7; 10], part]
                    .concat();
                let joined = Fragment::of(&ip).and_then(|fragment| fragments.push(7, 7, &fragment));
                if let Some(joined) = joined {
                    let _ = packet::read_ip(&joined.packet);
                }
            }
            assert!(fragments.held() <= fragments::WAITING_BYTES_MAX);
            for link in [0, 1, 9, 12, 51, 100, 101, 104, 109, 113, 117, 166, 219, 228, 239, 276] {
                match packet::read(link, bytes) {
                    Ok(segment) => assert!(segment.bytes.len() <= bytes.len() && segment.cut <= 1 << 17),
                    Err(NotSegment::Fragment(Some(fragment))) => {
                        fragments.push(7, 7, &fragment);
                    }
                    Err(_) => {}
                }
            }
        },
    );
}

#[test]
fn fuzz_stream() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_stream").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let Some((kind, bytes)) = bytes.split_first() else { return };
            let begins: [&[u8]; 10] = [
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n\x82\x7f",
                b"HTTP/1.1 200 OK\r\nContent-Length: 4611686018427387903\r\n\r\n",
                b"",
                b"\x00\x20{",
                b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n\x82\x7e\x01\x00",
                b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03",
                b"NICK a\r\n",
                b"ada\n",
            ];
            let stream = [begins[usize::from(*kind) % 10], bytes].concat();
            let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
            let (mut heard_to, mut fed) = (0, 0);
            for piece in stream.chunks(usize::from(*kind).max(1)) {
                fed += piece.len() as u64;
                reader.feed(piece, &mut awaited, &mut |decoded| {
                    assert!(decoded.from <= decoded.to, "{decoded:?}");
                    heard_to = decoded.to;
                });
                assert!(reader.held() < 256 << 10 && reader.held() < HELD_BYTES_MAX);
                if *kind % 5 == 0 {
                    reader.skip(u64::from(*kind), &mut awaited, &mut |_| {});
                    fed += u64::from(*kind);
                }
                if *kind % 7 == 0 {
                    reader.flush(&mut |_| {});
                }
            }
            reader.end(&mut |decoded| assert!(decoded.to <= fed, "{decoded:?}"));
        },
    );
}
