//! What a bad network does to the bytes of one direction: they come later, in small pieces, slowly, or not at all. Order
//! is kept: TCP would keep it too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of one direction that wait here: 1 MiB. Beyond it the sender is not read, and feels it.
pub(super) const WAITING_BYTES_MAX: usize = 1 << 20;

/// Pieces of one direction that wait here: so many that small ones, too, are bounded.
const WAITING_PIECES_MAX: usize = 1 << 14;

/// How bad the network is. The default is none of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather {
    /// Bytes come so much later.
    pub delay: Option<Duration>,
    /// Each delay is another one, from nothing to twice `delay`.
    pub jitter: bool,
    /// Bytes a second in each direction.
    pub rate: Option<u64>,
    /// With this probability, from 0 to 1, a connection is reset at the piece that comes, somewhere within it.
    pub cut: f64,
    /// Bytes are passed on so many at a time.
    pub split: Option<usize>,
    /// Of the random numbers: the same seed and the same bytes meet the same weather.
    pub seed: u64,
}

impl Weather {
    /// Does it need random numbers?
    pub fn is_random(&self) -> bool {
        self.jitter && self.delay.is_some() || self.cut > 0.0
    }
}

/// Random enough for weather (splitmix64), and repeatable.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64, connection: u64, side: u64) -> Chance {
        Chance(seed ^ (connection * 2 + side).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    at: usize,
}

/// One direction's way through the weather.
#[derive(Debug)]
pub(super) struct Way {
    weather: Weather,
    chance: Chance,
    pieces: VecDeque<Piece>,
    waiting: usize,
    /// When the last that came in is due.
    last_due: Option<Instant>,
    /// When the next byte may go, by the rate.
    free_at: Option<Instant>,
    /// When the sender's end is due.
    end_due: Option<Instant>,
}

impl Way {
    pub(super) fn new(weather: &Weather, chance: Chance) -> Way {
        let weather = weather.clone();
        Way {
            weather,
            chance,
            pieces: VecDeque::new(),
            waiting: 0,
            last_due: None,
            free_at: None,
            end_due: None,
        }
    }

    fn due(&mut self, now: Instant) -> Instant {
        let delay = match (self.weather.delay, self.weather.jitter) {
            (None, _) => Duration::ZERO,
            (Some(delay), false) => delay,
            (Some(delay), true) => delay.mul_f64(2.0 * self.chance.next()),
        };
        let due = (now + delay).max(self.last_due.unwrap_or(now));
        self.last_due = Some(due);
        due
    }

    /// Takes what came in. After so many bytes of it the connection is to be cut, if that is the answer.
    pub(super) fn push(&mut self, now: Instant, bytes: &[u8]) -> Option<usize> {
        let cut = (self.weather.cut > 0.0 && self.chance.next() < self.weather.cut)
            .then(|| (self.chance.next() * bytes.len() as f64) as usize);
        let bytes = &bytes[..cut.unwrap_or(bytes.len())];
        let due = self.due(now);
        self.waiting += bytes.len();
        self.pieces.push_back(Piece { due, bytes: bytes.to_vec(), at: 0 });
        cut
    }

    /// The sender closed its half.
    pub(super) fn end(&mut self, now: Instant) {
        let due = self.due(now);
        self.end_due.get_or_insert(due);
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting >= WAITING_BYTES_MAX || self.pieces.len() >= WAITING_PIECES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// When something can go out; `None`: nothing waits.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match self.pieces.iter().find(|piece| piece.at < piece.bytes.len()) {
            Some(piece) => Some(piece.due.max(self.free_at.unwrap_or(piece.due))),
            None => self.end_due,
        }
    }

    /// Is it time to close the receiver's half?
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.waiting == 0 && self.end_due.is_some_and(|due| due <= now)
    }

    /// What may go out now, in one write.
    pub(super) fn ready(&mut self, now: Instant) -> &[u8] {
        while self.pieces.front().is_some_and(|piece| piece.at == piece.bytes.len()) {
            self.pieces.pop_front();
        }
        let is_free = self.free_at.is_none_or(|free_at| free_at <= now);
        let Some(piece) = self.pieces.front().filter(|piece| is_free && piece.due <= now) else { return &[] };
        let mut len = piece.bytes.len() - piece.at;
        if let Some(split) = self.weather.split {
            len = len.min(split.max(1));
        }
        if let Some(rate) = self.weather.rate {
            // A fiftieth of a second's worth at a time: slow, and not in bursts.
            len = len.min(usize::try_from(rate / 50).unwrap_or(usize::MAX).max(1));
        }
        &piece.bytes[piece.at..piece.at + len]
    }

    /// So many of them went.
    pub(super) fn went(&mut self, now: Instant, len: usize) {
        if let Some(piece) = self.pieces.front_mut() {
            piece.at += len;
            self.waiting -= len;
        }
        if let Some(rate) = self.weather.rate {
            let takes = Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
            self.free_at = Some(now.max(self.free_at.unwrap_or(now)) + takes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn through(weather: &Weather, sent: &[u8]) -> (Vec<usize>, Duration, Vec<u8>) {
        let mut way = Way::new(weather, Chance::new(weather.seed, 1, 0));
        let began = Instant::now();
        let mut now = began;
        way.push(now, sent);
        way.end(now);
        let (mut pieces, mut out) = (Vec::new(), Vec::new());
        while !way.is_over(now) {
            let ready = way.ready(now).to_vec();
            if ready.is_empty() {
                now = now.max(way.next_at().unwrap());
                continue;
            }
            pieces.push(ready.len());
            out.extend_from_slice(&ready);
            way.went(now, ready.len());
        }
        (pieces, now - began, out)
    }

    #[test]
    fn bytes_come_later_slower_and_in_pieces_but_all_and_in_order() {
        let sent: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let (pieces, took, out) = through(&Weather::default(), &sent);
        assert_eq!((pieces, took, out == sent), (vec![1_000], Duration::ZERO, true));
        let (pieces, _, out) = through(&Weather { split: Some(1), ..Weather::default() }, &sent);
        assert_eq!((pieces, out == sent), (vec![1; 1_000], true));
        let delay = Some(Duration::from_millis(200));
        let (_, took, _) = through(&Weather { delay, ..Weather::default() }, &sent);
        assert_eq!(took, Duration::from_millis(200));
        let (pieces, took, out) = through(&Weather { rate: Some(500), ..Weather::default() }, &sent);
        assert_eq!((pieces[0], out == sent), (10, true));
        assert!((1.9..2.1).contains(&took.as_secs_f64()), "{took:?}");
        let jitter = Weather { delay, jitter: true, seed: 7, ..Weather::default() };
        let (_, one, _) = through(&jitter, &sent);
        assert!(one <= Duration::from_millis(400));
        assert_eq!(one, through(&jitter, &sent).1, "the same seed, the same weather");
    }

    #[test]
    fn a_cut_is_as_frequent_as_it_is_asked_for() {
        let mut way = Way::new(&Weather { cut: 0.1, ..Weather::default() }, Chance::new(1, 1, 0));
        let cuts: Vec<usize> = (0..1_000).filter_map(|_| way.push(Instant::now(), &[0; 100])).collect();
        assert!((60..140).contains(&cuts.len()), "{}", cuts.len());
        assert!(cuts.iter().all(|cut| *cut < 100));
    }
}
