//! Whose turn it is: no connection takes the thread's time from the others, whatever it sends.
//!
//! ```text
//! little used lately ───────────────▶ polled when it is ready
//! much used lately ──▶ busy queue ──▶ polled in its turn: the queue gets a millisecond, then everybody else
//! ```
//!
//! A connection has credit for processor time; it grows with the clock and is spent by being polled. With credit left
//! it is polled as soon as its socket is ready. Without, it waits in one queue with all others that have none. So who
//! says a word now and then waits for one turn of the busy ones, not for all of them; and when nobody else wants the
//! thread the busy ones have all of it. A poll itself ends after `TURN` (`Turn`), so no turn is long.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long a connection works before others have their turn: 1 ms. Also how long the busy queue is served
/// before everybody else is.
const TURN: Duration = Duration::from_millis(1);

/// Bytes that a connection reads in one turn: 256 KiB. Bytes that cost nothing to handle are bounded too.
const TURN_BYTES: usize = 1 << 18;

/// Most credit, and what a connection begins with, in µs: one turn.
const CREDIT_US: i64 = 1_000;

/// Least credit, µs: who has used up this much waits 5 s at the most until it counts as quiet again.
const DEBT_US: i64 = -50_000;

/// Credit grows by one part in so many of the time that passes: 1 %, so that ninety busy talkers are none of them busy.
const CREDIT_SHARE: i64 = 100;

/// What one poll may be charged beside its bytes, µs, and what a byte may, in ns. Time in which the system gave the
/// processor to another process is nobody's fault; what was really done is bounded by this.
const CHARGE_US: i64 = 50;
const CHARGE_PER_BYTE_NS: i64 = 100;

/// Turns of the busy queue that may begin at once, when they are short.
const TURNS_AT_ONCE: u64 = 16;

/// The processor time that a connection may still use before it counts as busy.
#[derive(Debug)]
pub(crate) struct Credit {
    left_us: Cell<i64>,
    counted: Cell<Instant>,
    /// Bytes that went in and out since the last charge.
    bytes: Cell<usize>,
}

impl Credit {
    pub(crate) fn new(now: Instant) -> Credit {
        Credit { left_us: Cell::new(CREDIT_US), counted: Cell::new(now), bytes: Cell::new(0) }
    }

    /// Bytes that the connection read or wrote.
    pub(crate) fn note_bytes(&self, n: usize) {
        self.bytes.set(self.bytes.get() + n);
    }

    fn is_spent(&self, now: Instant) -> bool {
        let left = self.left_us.get();
        if left > 0 {
            return false;
        }
        let grown = now.saturating_duration_since(self.counted.get()).as_micros() as i64 / CREDIT_SHARE;
        left + grown <= 0
    }

    /// Charges a poll; answers how much, in µs.
    fn charge(&self, began: Instant, now: Instant) -> u64 {
        let grown = began.saturating_duration_since(self.counted.get()).as_micros() as i64 / CREDIT_SHARE;
        let bytes = self.bytes.take() as i64;
        let most = CHARGE_US + bytes.saturating_mul(CHARGE_PER_BYTE_NS) / 1_000;
        let used = (now.saturating_duration_since(began).as_micros() as i64).min(most);
        self.left_us.set(((self.left_us.get() + grown).min(CREDIT_US) - used).max(DEBT_US));
        self.counted.set(now);
        used as u64
    }
}

/// The queue of those whose credit is spent.
#[derive(Default)]
pub(crate) struct Turns {
    waiting: RefCell<VecDeque<Waker>>,
    /// Number of the next who comes, and of the next who goes.
    came: Cell<u64>,
    served: Cell<u64>,
    keeper: RefCell<Option<Waker>>,
    /// What a turn cost lately, µs.
    usual_us: Cell<u64>,
}

impl Turns {
    /// Takes a place at the end of the queue.
    fn enter(&self, waker: Waker) -> u64 {
        let ticket = self.came.get();
        self.came.set(ticket + 1);
        self.waiting.borrow_mut().push_back(waker);
        if let Some(keeper) = self.keeper.borrow_mut().take() {
            keeper.wake();
        }
        ticket
    }

    fn is_called(&self, ticket: u64) -> bool {
        ticket < self.served.get()
    }

    /// Lets the next one go. `false`: nobody waits.
    fn call(&self) -> bool {
        let Some(next) = self.waiting.borrow_mut().pop_front() else { return false };
        self.served.set(self.served.get() + 1);
        next.wake();
        true
    }

    fn note(&self, used_us: u64) {
        // Rises at once, falls slowly: one long turn makes the next ones come singly.
        let usual = self.usual_us.get();
        self.usual_us.set(used_us.max(usual - usual / 8));
    }

    /// How many turns begin before everybody else is looked at.
    fn at_once(&self) -> u64 {
        (TURN.as_micros() as u64 / self.usual_us.get().max(1)).clamp(1, TURNS_AT_ONCE)
    }

    /// Serves the queue, for ever: a few turns, then everybody who is ready, then again.
    pub(crate) async fn serve(&self) {
        loop {
            let mut called = 0;
            while called < self.at_once() && self.call() {
                called += 1;
            }
            if called > 0 {
                // Comes back when the sockets and timers were looked at, behind all who are ready then.
                tokio::task::yield_now().await;
                continue;
            }
            poll_fn(|cx| {
                if !self.waiting.borrow().is_empty() {
                    return Poll::Ready(());
                }
                *self.keeper.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}

/// Turns a connection's future fairly. See the module's head.
pub(crate) struct Fair<F> {
    turns: Rc<Turns>,
    credit: Rc<Credit>,
    ticket: Option<u64>,
    future: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Fair<F> {
    pub(crate) fn new(turns: Rc<Turns>, credit: Rc<Credit>, future: F) -> Fair<F> {
        Fair { turns, credit, ticket: None, future: Box::pin(future) }
    }
}

impl<F: Future<Output = ()>> Future for Fair<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        let is_busy = match self.ticket {
            Some(ticket) if !self.turns.is_called(ticket) => return Poll::Pending,
            Some(_) => {
                self.ticket = None;
                true
            }
            None if self.credit.is_spent(began) => {
                self.ticket = Some(self.turns.enter(cx.waker().clone()));
                return Poll::Pending;
            }
            None => false,
        };
        let outcome = self.future.as_mut().poll(cx);
        let used = self.credit.charge(began, Instant::now());
        if is_busy {
            self.turns.note(used);
        }
        outcome
    }
}

/// What a connection has done since others had their turn. The clock is looked at after every few units of work only:
/// most turns are over before.
#[derive(Default)]
pub(crate) struct Turn {
    /// Since the clock was looked at first.
    began: Option<Instant>,
    units: usize,
    bytes: usize,
}

/// A request, or so many bytes, are a unit of work; after so many of them the clock is looked at.
const UNIT_BYTES: usize = 8 << 10;
const UNITS_PER_LOOK: usize = 8;

impl Turn {
    /// Bytes were read.
    pub(crate) fn note_read(&mut self, n: usize) {
        self.bytes += n;
        self.units += n / UNIT_BYTES;
    }

    /// Something was done that costs little: a request, an answer.
    pub(crate) fn note_unit(&mut self) {
        self.note_units(1);
    }

    /// The same so many times.
    pub(crate) fn note_units(&mut self, n: usize) {
        self.units += n;
    }

    /// Do others come now?
    pub(crate) fn is_over(&mut self) -> bool {
        if self.bytes >= TURN_BYTES {
            return true;
        }
        if self.units < UNITS_PER_LOOK {
            return false;
        }
        self.units = 0;
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began) >= TURN
    }
}

/// Lets everybody who is ready go first.
pub(crate) async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// A future that is always ready for more, and counts its polls; each is said to cost so many bytes.
    async fn always_busy(credit: Rc<Credit>, polls: Rc<Cell<u64>>) {
        loop {
            polls.set(polls.get() + 1);
            credit.note_bytes(1 << 20);
            // Something to charge, whatever the clock does.
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(20) {}
            yield_turn().await;
        }
    }

    fn spent() -> Rc<Credit> {
        let credit = Credit::new(Instant::now());
        credit.left_us.set(DEBT_US);
        Rc::new(credit)
    }

    #[tokio::test]
    async fn a_quiet_connection_waits_for_a_few_turns_of_the_busy_ones_not_for_all() {
        let turns = Rc::new(Turns::default());
        let polls: Vec<Rc<Cell<u64>>> = (0..500).map(|_| Rc::default()).collect();
        let local = LocalSet::new();
        for polls in &polls {
            let credit = spent();
            local.spawn_local(Fair::new(turns.clone(), credit.clone(), always_busy(credit, polls.clone())));
        }
        let keeper = turns.clone();
        local.spawn_local(async move { keeper.serve().await });
        let all = || polls.iter().map(|polls| polls.get()).sum::<u64>();
        local
            .run_until(async {
                // Until the queue is full.
                while turns.came.get() < 500 {
                    tokio::task::yield_now().await;
                }
                for _ in 0..50 {
                    let before = all();
                    let credit = Rc::new(Credit::new(Instant::now()));
                    let asked = Fair::new(turns.clone(), credit, async {
                        // Asks, is woken by the socket, answers.
                        tokio::task::yield_now().await;
                        tokio::task::yield_now().await;
                    });
                    tokio::task::spawn_local(asked).await.unwrap();
                    let between = all() - before;
                    assert!(between <= 4 * TURNS_AT_ONCE, "{between} turns of the busy ones came between");
                }
                // Each of the busy ones has as many turns as the others, give or take those under way.
                let (least, most) =
                    (polls.iter().map(|p| p.get()).min(), polls.iter().map(|p| p.get()).max());
                assert!(most.unwrap() - least.unwrap() <= 2, "{least:?} to {most:?}");
            })
            .await;
    }

    #[test]
    fn credit_is_spent_by_work_and_grows_with_the_clock() {
        let start = Instant::now();
        let credit = Credit::new(start);
        credit.note_bytes(1 << 20);
        assert_eq!(credit.charge(start, start + Duration::from_millis(3)), 3_000);
        let later = start + Duration::from_millis(3);
        assert!(credit.is_spent(later));
        assert!(credit.is_spent(later + Duration::from_millis(200)), "2,000 us are owed");
        assert!(!credit.is_spent(later + Duration::from_millis(201)));
        // It does not grow beyond one turn.
        let much_later = later + Duration::from_secs(60);
        credit.charge(much_later, much_later);
        assert_eq!(credit.left_us.get(), CREDIT_US);
    }

    #[test]
    fn what_the_system_took_is_not_charged() {
        let start = Instant::now();
        let credit = Credit::new(start);
        credit.note_bytes(100);
        // A ping that was interrupted for 10 ms.
        assert_eq!(credit.charge(start, start + Duration::from_millis(10)), 60);
        assert!(!credit.is_spent(start + Duration::from_millis(10)));
    }

    #[test]
    fn a_turn_ends_after_its_time_or_its_bytes() {
        let mut turn = Turn::default();
        while !turn.is_over() {
            turn.note_unit();
        }
        assert!(turn.began.is_some_and(|began| began.elapsed() >= TURN));
        let mut turn = Turn::default();
        turn.note_read(TURN_BYTES - 1);
        turn.units = 0;
        assert!(!turn.is_over());
        turn.note_read(1);
        assert!(turn.is_over());
    }

    #[test]
    fn short_turns_begin_together_and_one_long_turn_makes_them_single() {
        let turns = Turns::default();
        turns.note(50);
        assert_eq!(turns.at_once(), TURNS_AT_ONCE);
        turns.note(1_000);
        assert_eq!(turns.at_once(), 1);
        for _ in 0..100 {
            turns.note(50);
        }
        assert_eq!(turns.at_once(), TURNS_AT_ONCE);
    }
}
