//! Reassembly of one direction of a TCP conversation. Segments come in any order, repeated or overlapping; the bytes come
//! out in order, each once, with the number of missing bytes. Where two segments overlap, the first one counts.

use std::collections::BTreeMap;

/// Bytes of one direction that wait for a missing segment: 1 MiB, a usual window. Beyond it the segment counts as missing.
pub const WAITING_BYTES_MAX: usize = 1 << 20;

/// Overhead of each waiting segment.
const PIECE_BYTES: usize = 64;

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Bytes(&'a [u8]),
    /// Bytes that are not in the capture.
    Missing(u64),
}

/// Irregularities, counted in segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Oddities {
    pub out_of_order: u64,
    pub retransmitted: u64,
    /// Part of the segment had come before.
    pub overlapping: u64,
    /// Bytes that are not in the capture.
    pub missing_bytes: u64,
}

/// Reassembles one direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes given out or counted as missing; `None` before the first segment.
    next: Option<u64>,
    /// Sequence number of byte 0.
    first: u32,
    /// By the offset of the first byte.
    waiting: BTreeMap<u64, Box<[u8]>>,
    held: usize,
    /// Offset of the end, known after a FIN.
    end: Option<u64>,
    pub odd: Oddities,
}

impl Stream {
    /// A SYN: the first byte has the next number.
    pub fn begin(&mut self, syn: u32) {
        if self.next.is_none() {
            self.first = syn.wrapping_add(1);
            self.next = Some(0);
        }
    }

    /// Takes the bytes of a segment; `cut` more bytes were not captured.
    pub fn push(&mut self, seq: u32, bytes: &[u8], cut: usize, sink: &mut dyn FnMut(Part<'_>)) {
        if bytes.is_empty() && cut == 0 {
            return;
        }
        let next = match self.next {
            Some(next) => next,
            None => {
                self.first = seq;
                *self.next.insert(0)
            }
        };
        let Some(at) = self.place(seq) else {
            self.odd.retransmitted += 1;
            return;
        };
        let end = at + bytes.len() as u64;
        if end + cut as u64 <= next {
            self.odd.retransmitted += 1;
            return;
        }
        if at > next {
            self.odd.out_of_order += 1;
            self.wait(at, bytes);
            if self.held > WAITING_BYTES_MAX {
                self.give_up(sink);
            }
            return;
        }
        if at < next {
            self.odd.overlapping += 1;
        }
        let fresh = &bytes[((next - at) as usize).min(bytes.len())..];
        self.give(fresh, sink);
        if cut > 0 {
            self.miss((end + cut as u64) - end.max(next), sink);
        }
        self.drain(sink);
    }

    /// Offset of a sequence number; `None`: before the first byte.
    fn place(&self, seq: u32) -> Option<u64> {
        let next = self.next?;
        let here = self.first.wrapping_add(next as u32);
        // Sequence numbers wrap: the nearest offset, less than 2 GiB away, counts.
        let distance = i64::from(seq.wrapping_sub(here) as i32);
        u64::try_from(next as i64 + distance).ok()
    }

    fn wait(&mut self, at: u64, bytes: &[u8]) {
        // Of two segments at one offset the longer one contains the other.
        if self.waiting.get(&at).is_some_and(|there| there.len() >= bytes.len()) {
            self.odd.retransmitted += 1;
            return;
        }
        self.held += bytes.len() + PIECE_BYTES;
        if let Some(shorter) = self.waiting.insert(at, bytes.into()) {
            self.odd.overlapping += 1;
            self.held -= shorter.len() + PIECE_BYTES;
        }
    }

    fn give(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Part<'_>)) {
        if !bytes.is_empty() {
            *self.next.get_or_insert(0) += bytes.len() as u64;
            sink(Part::Bytes(bytes));
        }
    }

    fn miss(&mut self, bytes: u64, sink: &mut dyn FnMut(Part<'_>)) {
        if bytes > 0 {
            self.odd.missing_bytes += bytes;
            *self.next.get_or_insert(0) += bytes;
            sink(Part::Missing(bytes));
        }
    }

    /// Gives out waiting segments that are now in order.
    fn drain(&mut self, sink: &mut dyn FnMut(Part<'_>)) {
        while let Some(piece) = self.waiting.first_entry() {
            let next = self.next.unwrap_or_default();
            if *piece.key() > next {
                return;
            }
            let (at, bytes) = piece.remove_entry();
            self.held -= bytes.len() + PIECE_BYTES;
            let known = ((next - at) as usize).min(bytes.len());
            if known > 0 {
                self.odd.overlapping += 1;
            }
            self.give(&bytes[known..], sink);
        }
    }

    /// Counts the bytes before the first waiting segment as missing.
    fn give_up(&mut self, sink: &mut dyn FnMut(Part<'_>)) {
        if let Some((at, _)) = self.waiting.first_key_value() {
            let missing = at - self.next.unwrap_or_default();
            self.miss(missing, sink);
            self.drain(sink);
        }
    }

    /// The end of the capture: gives out all waiting segments and the missing bytes between them.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Part<'_>)) {
        while !self.waiting.is_empty() {
            self.give_up(sink);
        }
        if let Some(end) = self.end {
            self.miss(end.saturating_sub(self.next.unwrap_or_default()), sink);
        }
    }

    /// A FIN with this sequence number.
    pub fn end_at(&mut self, fin: u32) {
        self.next.get_or_insert_with(|| {
            self.first = fin;
            0
        });
        self.end = self.end.or(self.place(fin));
    }

    /// Is everything before the FIN here?
    pub fn is_ended(&self) -> bool {
        self.end.is_some_and(|end| self.next >= Some(end))
    }

    /// Bytes so far, including missing ones.
    pub fn len(&self) -> u64 {
        self.next.unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use.
    pub fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(stream: &mut Stream, seq: u32, bytes: &[u8], into: &mut Vec<u8>) {
        stream.push(seq, bytes, 0, &mut |part| match part {
            Part::Bytes(bytes) => into.extend_from_slice(bytes),
            Part::Missing(missing) => into.extend(std::iter::repeat_n(b'?', missing as usize)),
        });
    }

    #[test]
    fn missing_bytes_are_counted_in_their_place() {
        let mut stream = Stream::default();
        let mut out = Vec::new();
        stream.begin(u32::MAX - 2);
        take(&mut stream, u32::MAX - 1, b"abc", &mut out);
        take(&mut stream, 4, b"hi", &mut out);
        stream.end_at(8);
        assert_eq!((out.as_slice(), stream.is_ended()), (&b"abc"[..], false));
        stream.finish(&mut |part| match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Missing(missing) => out.extend(std::iter::repeat_n(b'?', missing as usize)),
        });
        assert_eq!((out.as_slice(), stream.odd.missing_bytes), (&b"abc???hi??"[..], 5));
    }

    #[test]
    fn a_lost_segment_is_given_up_within_the_limit() {
        let mut stream = Stream::default();
        let mut out = Vec::new();
        stream.begin(0);
        for at in 0..2_000_u32 {
            take(&mut stream, 11 + at * 1_000, &[b'x'; 1_000], &mut out);
            assert!(stream.held() <= WAITING_BYTES_MAX);
        }
        assert_eq!((out.len(), &out[..11]), (2_000_010, &b"??????????x"[..]));
    }

    proptest! {
        #[test]
        fn any_order_of_segments_gives_the_same_stream(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            syn in any::<u32>(),
            ranges in proptest::collection::vec((any::<prop::sample::Index>(), 1..40_usize), 0..40),
            order in any::<u64>(),
        ) {
            // Random ranges, and segments that cover everything.
            let mut segments: Vec<(usize, usize)> = (0..bytes.len()).step_by(17).map(|at| (at, 17)).collect();
            segments.extend(ranges.iter().map(|(at, len)| (at.index(bytes.len()), *len)));
            let mut random = order | 1;
            for at in (1..segments.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                segments.swap(at, (random >> 33) as usize % (at + 1));
            }
            let mut stream = Stream::default();
            let mut out = Vec::new();
            stream.begin(syn);
            for (at, len) in segments {
                let end = bytes.len().min(at + len);
                take(&mut stream, syn.wrapping_add(1).wrapping_add(at as u32), &bytes[at..end], &mut out);
            }
            prop_assert_eq!(&out, &bytes);
            prop_assert_eq!((stream.held(), stream.odd.missing_bytes), (0, 0));
        }
    }
}
