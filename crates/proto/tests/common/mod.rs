//! What several tests need: reading vectors, and feeding bytes in pieces.

#![allow(dead_code)] // each test program uses a part of it

use bytes::BytesMut;
use vang_proto::frame::Part;
use vang_proto::vang::{Request, ServerSession, SessionStep, Ticket};
use vang_proto::{Decoder, Frame, FrameError, Millis};

/// The lines of a vector file, as fields.
pub(crate) fn vectors<const N: usize>(text: &str) -> Vec<[&str; N]> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.splitn(N, "  ").collect();
            fields.try_into().unwrap_or_else(|_| panic!("not {N} fields: {line:.80}"))
        })
        .collect()
}

/// `7b+20*60000+7d`; `-` is nothing.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in hex.split('+').filter(|piece| *piece != "-") {
        let (digits, times) = piece.split_once('*').unwrap_or((piece, "1"));
        let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
        let piece: Vec<u8> = digits
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).expect("hex is ASCII");
                u8::from_str_radix(pair, 16).expect("vectors are hex")
            })
            .collect();
        out.extend(piece.repeat(times.parse().expect("a count")));
    }
    out
}

/// Where to cut: everywhere, or in something long near its ends and here and there.
pub(crate) fn cuts(len: usize) -> Vec<usize> {
    if len <= 1_000 {
        return (0..=len).collect();
    }
    (0..300).chain((300..len - 50).step_by(len / 13)).chain(len - 50..=len).collect()
}

/// What came of a stream: its frames, then what is waited for or wrong.
pub(crate) type Outcome = (Vec<Frame>, Result<Part, FrameError>);

/// Feeds the pieces one by one, taking out frames after each.
pub(crate) fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(malformed) => return (frames, Err(malformed)),
            }
        }
    }
    (frames, Ok(decoder.waits_for()))
}

/// Takes everything that the session has to write.
pub(crate) fn take_output(session: &mut ServerSession, now: Millis) -> Vec<u8> {
    let mut out = Vec::new();
    while session.has_output() {
        let taken: Vec<u8> = session.output().flatten().copied().collect();
        assert_eq!(taken.len(), session.output_len());
        session.wrote(now, taken.len());
        out.extend(taken);
    }
    out
}

/// Every request that waits.
pub(crate) fn requests(session: &mut ServerSession, now: Millis) -> Vec<(Ticket, Request)> {
    std::iter::from_fn(|| session.poll_request(now)).collect()
}

/// Everything a connection still does once its peer has ended: its last bytes.
pub(crate) fn finish(session: &mut ServerSession, now: Millis) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..4 {
        out.extend(take_output(session, now));
        if session.step(now) == SessionStep::Close {
            return out;
        }
    }
    panic!("the session does not end");
}

/// A frame from parts.
pub(crate) fn frame(header: &str, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.extend_from_slice(&(header.len() as u16).to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    out.to_vec()
}
