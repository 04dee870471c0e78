//! Simulates a bad network for the bytes of one direction: delay, small pieces, a low rate, resets. Order is kept, as in
//! TCP. What is simulated for datagrams is in `datagram_network`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of one direction that wait here: 1 MiB. Beyond it the sender is not read.
pub(super) const WAITING_BYTES_MAX: usize = 1 << 20;

/// Pieces of one direction that wait here: a limit for many small ones.
const WAITING_PIECES_MAX: usize = 1 << 14;

/// The simulated network. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather {
    pub delay: Option<Duration>,
    /// Each delay is random, from 0 to twice `delay`; datagrams can overtake each other then.
    pub jitter: bool,
    /// Bytes per second in each direction.
    pub rate: Option<u64>,
    /// Probability, from 0 to 1, that a connection is reset inside the next piece.
    pub cut: f64,
    /// Bytes of one write.
    pub split: Option<usize>,
    /// Probability, from 0 to 1, that a datagram is lost.
    pub drop: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram goes after the next one.
    pub reorder: f64,
    /// Seed of the random numbers: the same seed and bytes give the same network.
    pub seed: u64,
}

impl Weather {
    /// Does it use random numbers?
    pub fn is_random(&self) -> bool {
        let chances = [self.cut, self.drop, self.duplicate, self.reorder];
        self.jitter && self.delay.is_some() || chances.iter().any(|chance| *chance > 0.0)
    }
}

/// When a connection becomes silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// This time after it was accepted.
    After(Duration),
    /// When both sides together have sent this many bytes, and these have passed.
    Bytes(u64),
}

/// A repeatable random generator (splitmix64).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64, connection: u64, side: u64) -> Random {
        // Mixed: the state only counts, and neighbours would have the same numbers, one later.
        Random(seed ^ mixed((connection * 2 + side).wrapping_mul(STEP)))
    }

    /// From 0 up to, but not including, 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        (mixed(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The odd number nearest to 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    at: usize,
}

/// The bytes of one direction in the simulated network.
#[derive(Debug)]
pub(super) struct WeatherQueue {
    weather: Weather,
    random: Random,
    pieces: VecDeque<Piece>,
    waiting: usize,
    /// When the last piece is due.
    last_due: Option<Instant>,
    /// When the rate allows the next byte.
    free_at: Option<Instant>,
    /// When the end of the stream is due.
    end_due: Option<Instant>,
}

impl WeatherQueue {
    pub(super) fn new(weather: &Weather, random: Random) -> WeatherQueue {
        let weather = weather.clone();
        WeatherQueue {
            weather,
            random,
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
            (Some(delay), true) => delay.mul_f64(2.0 * self.random.next()),
        };
        let due = (now + delay).max(self.last_due.unwrap_or(now));
        self.last_due = Some(due);
        due
    }

    /// Takes received bytes. `Some`: reset the connection after this many of them.
    pub(super) fn push(&mut self, now: Instant, bytes: &[u8]) -> Option<usize> {
        let cut = (self.weather.cut > 0.0 && self.random.next() < self.weather.cut)
            .then(|| (self.random.next() * bytes.len() as f64) as usize);
        let bytes = &bytes[..cut.unwrap_or(bytes.len())];
        let due = self.due(now);
        self.waiting += bytes.len();
        self.pieces.push_back(Piece { due, bytes: bytes.to_vec(), at: 0 });
        cut
    }

    /// The sender closed its sending half.
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

    /// When the next byte can be sent; `None`: nothing waits.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match self.pieces.iter().find(|piece| piece.at < piece.bytes.len()) {
            Some(piece) => Some(piece.due.max(self.free_at.unwrap_or(piece.due))),
            None => self.end_due,
        }
    }

    /// Is everything sent, and the end of the stream due?
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.waiting == 0 && self.end_due.is_some_and(|due| due <= now)
    }

    /// The bytes for the next write.
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
            // Bytes of 20 ms at a time: no bursts.
            len = len.min(usize::try_from(rate / 50).unwrap_or(usize::MAX).max(1));
        }
        &piece.bytes[piece.at..piece.at + len]
    }

    /// This many of them were written.
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
        let mut queue = WeatherQueue::new(weather, Random::new(weather.seed, 1, 0));
        let began = Instant::now();
        let mut now = began;
        queue.push(now, sent);
        queue.end(now);
        let (mut pieces, mut out) = (Vec::new(), Vec::new());
        while !queue.is_over(now) {
            let ready = queue.ready(now).to_vec();
            if ready.is_empty() {
                now = now.max(queue.next_at().unwrap());
                continue;
            }
            pieces.push(ready.len());
            out.extend_from_slice(&ready);
            queue.went(now, ready.len());
        }
        (pieces, now - began, out)
    }

    #[test]
    fn delay_rate_and_split_keep_all_bytes_in_order() {
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
        assert_eq!(one, through(&jitter, &sent).1, "the same seed gives the same delays");
    }

    #[test]
    fn cuts_have_the_given_probability() {
        let mut queue = WeatherQueue::new(&Weather { cut: 0.1, ..Weather::default() }, Random::new(1, 1, 0));
        let cuts: Vec<usize> = (0..1_000).filter_map(|_| queue.push(Instant::now(), &[0; 100])).collect();
        assert!((60..140).contains(&cuts.len()), "{}", cuts.len());
        assert!(cuts.iter().all(|cut| *cut < 100));
    }
}
