//! Simulates a bad network for datagrams: loss, duplicates, delay, and another order, as IP allows all of them.
//!
//! ```text
//!   datagram ─▶ dropped? ─▶ held back until a later one has gone? ─▶ delayed? ─▶ gone
//! ```
//!
//! No I/O and no clock. The fate of a datagram depends on the seed, its client's number, its direction and its own number in
//! it: the same seed and datagrams give the same network.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::weather::{Random, Weather};
use crate::capture::side::Side;

/// Bytes of all datagrams that wait here, each with what it needs itself: 16 MiB. More are dropped, as by a router.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// A datagram in memory, without its bytes.
const DATAGRAM_BYTES: usize = 128;

/// A datagram that is held back goes after this time at the latest.
const HELD_MAX: Duration = Duration::from_millis(100);

/// One client: its place in a table, and its number, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientKey {
    pub(super) slot: usize,
    pub(super) number: u64,
}

/// What happens to a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) dropped: bool,
    pub(super) duplicated: bool,
    /// Held back, so that a later one overtakes it.
    pub(super) held: bool,
    /// There was no room for it.
    pub(super) overflowed: bool,
}

/// A datagram that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    due: Instant,
    /// Of two that are due at the same time, the smaller one goes first.
    order: u64,
    pub(super) client: ClientKey,
    /// Who sent it.
    pub(super) side: Side,
    /// In its direction.
    pub(super) number: u64,
    /// 2 for one that is duplicated.
    pub(super) copies: u8,
    pub(super) bytes: Vec<u8>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// The datagrams of one client in one direction.
#[derive(Debug)]
pub(super) struct Flow {
    random: Random,
    /// Number of the next one.
    next: u64,
    /// The highest number that has gone.
    newest: Option<u64>,
    held: Option<Waiting>,
}

impl Flow {
    pub(super) fn new(seed: u64, client: u64, side: Side) -> Flow {
        Flow { random: Random::new(seed, client, side as u64), next: 0, newest: None, held: None }
    }

    /// A datagram goes. Has a later one gone before (RFC 4737)?
    pub(super) fn goes(&mut self, number: u64) -> bool {
        let is_late = self.newest.is_some_and(|newest| newest > number);
        self.newest = self.newest.max(Some(number));
        is_late
    }

    /// All random numbers are drawn for every datagram, so that one option does not change what another one does.
    fn draw(&mut self, weather: &Weather) -> (u64, Fate, Duration) {
        let number = self.next;
        self.next += 1;
        let [drop, duplicate, reorder, delay] = [(); 4].map(|()| self.random.next());
        let fate = Fate {
            dropped: drop < weather.drop,
            duplicated: duplicate < weather.duplicate,
            held: reorder < weather.reorder && self.held.is_none(),
            overflowed: false,
        };
        let delay = match (weather.delay, weather.jitter) {
            (None, _) => Duration::ZERO,
            (Some(time), false) => time,
            (Some(time), true) => time.mul_f64(2.0 * delay),
        };
        (number, fate, delay)
    }
}

/// What follows from a datagram.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) number: u64,
    pub(super) fate: Fate,
    /// How often it goes at once.
    pub(super) copies: u8,
    /// After it goes this one, which was held back.
    pub(super) then: Option<Waiting>,
}

/// The network of all clients.
#[derive(Debug)]
pub(super) struct Network {
    weather: Weather,
    delayed: BinaryHeap<Reverse<Waiting>>,
    /// Until when datagrams are held back.
    holding: VecDeque<(Instant, ClientKey, Side, u64)>,
    order: u64,
    bytes: usize,
}

impl Network {
    pub(super) fn new(weather: &Weather) -> Network {
        Network {
            weather: weather.clone(),
            delayed: BinaryHeap::new(),
            holding: VecDeque::new(),
            order: 0,
            bytes: 0,
        }
    }

    /// Takes a datagram that `side` has sent.
    pub(super) fn push(
        &mut self,
        now: Instant,
        client: ClientKey,
        side: Side,
        flow: &mut Flow,
        bytes: &[u8],
    ) -> Passed {
        let (number, mut fate, delay) = flow.draw(&self.weather);
        let mut passed = Passed { number, fate, copies: 0, then: None };
        if fate.dropped {
            passed.fate = Fate { dropped: true, ..Fate::default() };
            return passed;
        }
        let copies = 1 + u8::from(fate.duplicated);
        let waits = fate.held || self.weather.delay.is_some();
        if !waits {
            passed.copies = copies;
            passed.then = flow.held.take();
            self.bytes -= passed.then.as_ref().map_or(0, weight);
            return passed;
        }
        if self.bytes + bytes.len() + DATAGRAM_BYTES > WAITING_BYTES_MAX {
            fate = Fate { overflowed: true, ..Fate::default() };
            return Passed { fate, ..passed };
        }
        let due = now + delay;
        let waiting = Waiting { due, order: self.order, client, side, number, copies, bytes: bytes.to_vec() };
        self.order += 1;
        self.bytes += weight(&waiting);
        if fate.held {
            self.holding.push_back((now + HELD_MAX, client, side, number));
            flow.held = Some(waiting);
            return passed;
        }
        self.delayed.push(Reverse(waiting));
        if let Some(held) = flow.held.take() {
            self.delay(held, due);
        }
        passed
    }

    /// Lets a datagram go not before `due`, and after all others of that moment.
    fn delay(&mut self, held: Waiting, due: Instant) {
        let order = self.order;
        self.order += 1;
        self.delayed.push(Reverse(Waiting { due: held.due.max(due), order, ..held }));
    }

    /// The next datagram that goes now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Waiting> {
        self.delayed.peek().filter(|Reverse(first)| first.due <= now)?;
        let Reverse(first) = self.delayed.pop()?;
        self.bytes -= weight(&first);
        Some(first)
    }

    /// The next datagram that is held back no longer, as it was given to `release`.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(ClientKey, Side, u64)> {
        let (until, ..) = self.holding.front()?;
        if *until > now {
            return None;
        }
        self.holding.pop_front().map(|(_, client, side, number)| (client, side, number))
    }

    /// Lets the datagram with this number go, if it is still held back.
    pub(super) fn release(&mut self, now: Instant, flow: &mut Flow, number: u64) {
        if let Some(held) = flow.held.take_if(|held| held.number == number) {
            self.delay(held, now);
        }
    }

    /// The client has gone, with the datagram that is held back for it.
    pub(super) fn forget(&mut self, flow: &mut Flow) -> u64 {
        let held = flow.held.take();
        self.bytes -= held.as_ref().map_or(0, weight);
        held.map_or(0, |held| u64::from(held.copies))
    }

    /// When the next one goes; `None`: nothing waits.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let delayed = self.delayed.peek().map(|Reverse(first)| first.due);
        let held = self.holding.front().map(|(until, ..)| *until);
        delayed.into_iter().chain(held).min()
    }

    /// Datagrams that still wait, without those that are held back.
    pub(super) fn waiting(&self) -> u64 {
        self.delayed.iter().map(|Reverse(waiting)| u64::from(waiting.copies)).sum()
    }
}

fn weight(waiting: &Waiting) -> usize {
    waiting.bytes.len() + DATAGRAM_BYTES
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CLIENT: ClientKey = ClientKey { slot: 0, number: 1 };

    /// Sends `count` datagrams, a millisecond apart; returns the numbers in the order in which they go, and the fates.
    fn through(weather: &Weather, count: u64) -> (Vec<u64>, Vec<Fate>) {
        let mut network = Network::new(weather);
        let mut flow = Flow::new(weather.seed, 1, Side::Client);
        let began = Instant::now();
        let (mut gone, mut fates) = (Vec::new(), Vec::new());
        for ms in 0..count + 1_000 {
            let now = began + Duration::from_millis(ms);
            while let Some((_, _, number)) = network.expired(now) {
                network.release(now, &mut flow, number);
            }
            while let Some(waiting) = network.due(now) {
                gone.extend(std::iter::repeat_n(waiting.number, waiting.copies.into()));
            }
            if ms < count {
                let passed = network.push(now, CLIENT, Side::Client, &mut flow, &[7; 20]);
                gone.extend(std::iter::repeat_n(passed.number, passed.copies.into()));
                gone.extend(
                    passed
                        .then
                        .into_iter()
                        .flat_map(|held| std::iter::repeat_n(held.number, held.copies.into())),
                );
                fates.push(passed.fate);
            }
        }
        assert_eq!((network.bytes, network.next_at(), network.waiting()), (0, None, 0));
        (gone, fates)
    }

    fn count(fates: &[Fate], is: impl Fn(&Fate) -> bool) -> usize {
        fates.iter().filter(|fate| is(fate)).count()
    }

    #[test]
    fn loss_and_duplicates_have_the_given_probability_and_keep_the_order() {
        let weather = Weather { drop: 0.1, duplicate: 0.2, seed: 3, ..Weather::default() };
        let (gone, fates) = through(&weather, 2_000);
        let (dropped, twice) = (count(&fates, |fate| fate.dropped), count(&fates, |fate| fate.duplicated));
        assert!((150..250).contains(&dropped) && (300..420).contains(&twice), "{dropped} {twice}");
        assert_eq!(gone.len(), 2_000 - dropped + twice);
        assert!(gone.is_sorted());
    }

    #[test]
    fn a_reordered_datagram_goes_after_the_next_one_or_in_time() {
        let weather = Weather { reorder: 1.0, ..Weather::default() };
        assert_eq!(through(&weather, 6).0, [1, 0, 3, 2, 5, 4]);
        // Without a next one it goes alone.
        assert_eq!(through(&weather, 1).0, [0]);
        let delayed = Weather { delay: Some(Duration::from_millis(5)), ..weather };
        assert_eq!(through(&delayed, 6).0, [1, 0, 3, 2, 5, 4]);
        let mut flow = Flow::new(0, 1, Side::Client);
        assert_eq!([1, 0, 3, 3, 2].map(|number| flow.goes(number)), [false, true, false, false, true]);
    }

    #[test]
    fn random_delays_change_the_order_and_lose_nothing() {
        let delay = Some(Duration::from_millis(5));
        let (gone, _) = through(&Weather { delay, ..Weather::default() }, 500);
        assert!(gone.is_sorted());
        let (mut gone, _) = through(&Weather { delay, jitter: true, ..Weather::default() }, 500);
        assert!(!gone.is_sorted());
        gone.sort_unstable();
        assert_eq!(gone, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_repeats_and_options_do_not_change_each_other() {
        let all = Weather { drop: 0.2, duplicate: 0.2, reorder: 0.2, seed: 9, ..Weather::default() };
        assert_eq!(through(&all, 300), through(&all, 300));
        assert_ne!(through(&all, 300), through(&Weather { seed: 10, ..all.clone() }, 300));
        let dropped =
            |weather: &Weather| through(weather, 300).1.iter().map(|fate| fate.dropped).collect::<Vec<_>>();
        assert_eq!(dropped(&all), dropped(&Weather { duplicate: 0.0, reorder: 0.0, ..all.clone() }));
        // Both directions of all clients differ.
        let first = |client, side| {
            let mut flow = Flow::new(9, client, side);
            (0..64).map(|_| flow.draw(&all).1.dropped).collect::<Vec<_>>()
        };
        assert_ne!(first(1, Side::Client), first(1, Side::Server));
        assert_ne!(first(1, Side::Client), first(2, Side::Client));
    }

    #[test]
    fn waiting_datagrams_have_bounded_memory() {
        let weather = Weather { delay: Some(Duration::from_secs(60)), ..Weather::default() };
        let mut network = Network::new(&weather);
        let mut flow = Flow::new(0, 1, Side::Client);
        let now = Instant::now();
        let sent = (0..300).map(|_| network.push(now, CLIENT, Side::Client, &mut flow, &[0; 65_507]).fate);
        let overflowed = sent.filter(|fate| fate.overflowed).count();
        assert_eq!(overflowed, 300 - WAITING_BYTES_MAX / (65_507 + DATAGRAM_BYTES));
    }
}
