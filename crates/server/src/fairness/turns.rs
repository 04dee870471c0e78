//! Whose turn it is: no connection takes the thread's time from the others, whatever it sends.
//!
//! ```text
//! short turns ──────────────▶ polled when it is ready
//! long turns ──▶ busy queue ──▶ polled in its turn: the queue is served as long as everybody else, 1 ms at least
//! ```
//!
//! What everybody may use in one turn is `ROUND` divided by all who are active, so that a round of a thousand takes
//! little longer than one of ten. A turn ends there (`Turn`). Who keeps to it is polled as soon as its socket is ready;
//! who does not (more is there, or one request costs more) loses credit, and without credit waits in one queue with
//! all others that have none. So who says a word now and then waits for a round of short turns and as much time for
//! long ones, not for a thousand long ones; and when nobody else wants the thread the busy ones have all of it. Of a new
//! connection nobody knows which it is: until its first short request is answered it waits in a queue of new ones, which
//! is served in the same slices.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

/// Where the time comes from.
pub(crate) type Clock = fn() -> Instant;

/// How long the turns of all who are active take together, about, µs: 20 ms.
const ROUND_US: u64 = 20_000;

/// The shortest and the longest turn, µs. A ping costs 5, a page of history that is written 100.
const TURN_US_MIN: u64 = 25;
const TURN_US_MAX: u64 = 1_000;

/// How long the queues are served before everybody else is looked at, µs: as long as the others took since they were
/// served last, within these bounds.
const SLICE_US_MIN: u64 = 1_000;
const SLICE_US_MAX: u64 = 8_000;

/// A connection that asked something in this time is active, and one that needed long for what it was sent, µs. A
/// follower that is sent what a room says is not: the senders, of whose batches it gets each as a whole, would be cut
/// short for it.
const ACTIVE: Duration = Duration::from_millis(100);
const ACTIVE_US: u64 = 40;

/// The credit that a connection begins with, and the most that it may save, where two turns are not more, µs: an HTTP
/// request on a new connection costs as much.
const CREDIT_US: i64 = 100;

/// Least credit, µs: who has used up this much waits 5 s at the most until it counts as quiet again.
const DEBT_US: i64 = -50_000;

/// Beside what each turn brings, credit grows with the time that passes: by one part in so many, 1 %; of more than
/// twenty who are active each by its part of 20 %, or a round of all of them would pay for itself.
const CREDIT_SHARE: u64 = 100;
const CREDIT_SHARE_OF_ALL: u64 = 5;

/// What one poll may be charged beside its bytes, µs, and what a byte that was read or written may, in ns. Time in which
/// the system gave the processor to another process is nobody's fault; what was really done is bounded by this. A short
/// request and its reply are below the shortest turn, however often they are interrupted, and so is a delivery.
const CHARGE_US: i64 = 20;
const CHARGE_PER_READ_NS: i64 = 100;
const CHARGE_PER_WRITTEN_NS: i64 = 20;

/// A short request, bytes. A connection that read no more is forgiven one long poll, and stays new until it is answered.
const FORGIVEN_READ: i64 = 1 << 10;

/// What a byte that was read is charged at least, in ns: what it costs when it is looked at, which may be in the next
/// turn. A byte that was written has cost what it costs: those of a room are written as they are.
const COST_PER_READ_NS: i64 = 10;

/// So many new connections have their first turn for one turn of a busy one, while there are both.
const NEW_FOR_ONE_BUSY: u64 = 3;

/// So many new connections may wait for their first turn before no more are accepted: the others wait in the system's
/// queue, where they hold no memory.
const NEW_WAITING_MAX: usize = 256;

/// Turns of the queues that may begin at once in each millisecond, when they are short.
const TURNS_AT_ONCE: u64 = 16;

/// The processor time that a connection may still use before it counts as busy.
#[derive(Debug)]
pub(crate) struct Credit {
    left_us: Cell<i64>,
    counted: Cell<Instant>,
    /// Bytes that went in and out since the last charge.
    read: Cell<usize>,
    written: Cell<usize>,
    /// It was sent nothing yet, and has said little.
    is_new: Cell<bool>,
    /// It has asked something, and was answered.
    has_asked: Cell<bool>,
    is_refused: Cell<bool>,
    /// What it does next waits for its turn among the busy ones.
    is_deferred: Cell<bool>,
    /// The last poll took longer than its turn.
    was_long: Cell<bool>,
    /// What was done for it beside its bytes may have cost so much, µs.
    work_us: Cell<u64>,
    /// The period in which it was last counted as active.
    period: Cell<u64>,
}

impl Credit {
    pub(crate) fn new(now: Instant) -> Credit {
        Credit {
            left_us: Cell::new(CREDIT_US),
            counted: Cell::new(now),
            read: Cell::new(0),
            written: Cell::new(0),
            is_new: Cell::new(true),
            has_asked: Cell::new(false),
            is_refused: Cell::new(false),
            is_deferred: Cell::new(false),
            was_long: Cell::new(false),
            work_us: Cell::new(0),
            period: Cell::new(0),
        }
    }

    /// It has asked something whole.
    pub(crate) fn note_asked(&self) {
        self.has_asked.set(true);
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// It is refused: its end makes room for nobody.
    pub(crate) fn note_refused(&self) {
        self.is_refused.set(true);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.get()
    }

    /// Bytes that came from the connection's peer.
    pub(crate) fn note_read(&self, n: usize) {
        self.read.set(self.read.get() + n);
    }

    /// Bytes that the system took for the peer.
    pub(crate) fn note_written(&self, n: usize) {
        self.written.set(self.written.get() + n);
    }

    fn grown(&self, now: Instant, active: u64) -> i64 {
        let passed = now.saturating_duration_since(self.counted.get()).as_micros() as u64;
        (passed / CREDIT_SHARE.max(CREDIT_SHARE_OF_ALL * active)) as i64
    }

    fn is_spent(&self, now: Instant, active: u64) -> bool {
        let left = self.left_us.get();
        self.is_new.get() || self.is_deferred.get() || left <= 0 && left + self.grown(now, active) <= 0
    }

    /// Charges a poll in which `allowance` was free, µs; answers how much was charged, in µs.
    fn charge(&self, began: Instant, now: Instant, allowance: u64, active: u64) -> u64 {
        let (read, written) = (self.read.take() as i64, self.written.take() as i64);
        if written > 0 || read > FORGIVEN_READ {
            self.is_new.set(false);
        }
        let least = read.saturating_mul(COST_PER_READ_NS) / 1_000;
        let work = self.work_us.take() as i64;
        let most = CHARGE_US + work + (read * CHARGE_PER_READ_NS + written * CHARGE_PER_WRITTEN_NS) / 1_000;
        let mut used = (now.saturating_duration_since(began).as_micros() as i64).clamp(least, most);
        let allowance = allowance as i64;
        // One long poll in which little was read may be one in which the system ran somebody else; who is busy has one
        // after the other.
        let is_long = used > allowance;
        if is_long && !self.was_long.get() && work == 0 && read <= FORGIVEN_READ {
            used = least.max(allowance);
        }
        self.was_long.set(is_long);
        let saved_max = CREDIT_US.max(2 * allowance);
        let left = self.left_us.get() + allowance;
        // Who has saved so much needs no division: nearly everybody, nearly always.
        let left =
            if left < saved_max { (left + self.grown(began, active)).min(saved_max) } else { saved_max };
        self.left_us.set((left - used).max(DEBT_US));
        self.counted.set(now);
        used as u64
    }
}

/// Those who wait, first come, first served.
#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Waker>>,
    /// Number of the next who comes, and of the next who goes.
    came: Cell<u64>,
    served: Cell<u64>,
}

impl Queue {
    fn enter(&self, waker: Waker) -> u64 {
        let ticket = self.came.get();
        self.came.set(ticket + 1);
        self.waiting.borrow_mut().push_back(waker);
        ticket
    }

    /// Lets the next one go. `false`: nobody waits.
    fn call(&self) -> bool {
        let Some(next) = self.waiting.borrow_mut().pop_front() else { return false };
        self.served.set(self.served.get() + 1);
        next.wake();
        true
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    fn len(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// A place in one of the two queues.
#[derive(Clone, Copy)]
struct Ticket {
    is_new: bool,
    number: u64,
}

/// The queues of those whose credit is spent, and of those who are new.
pub(crate) struct Turns {
    clock: Clock,
    busy: Queue,
    new: Queue,
    /// How many were called.
    called: Cell<u64>,
    keeper: RefCell<Option<Waker>>,
    /// Who accepts connections, and waits until there are fewer new ones.
    accepting: RefCell<Vec<Waker>>,
    /// When the connection that is polled now was, and whether it was called from the busy queue.
    polled: Cell<Option<Instant>>,
    is_called: Cell<bool>,
    /// What turns from the queues took since they were served last, µs.
    called_us: Cell<u64>,
    /// What a turn cost lately, µs.
    usual_us: Cell<u64>,
    /// How many were polled in this period of time, and in the one before.
    active: Cell<u64>,
    were_active: Cell<u64>,
    period: Cell<u64>,
    period_began: Cell<Option<Instant>>,
    /// What one turn may cost while so many are active, µs; 0: nobody was yet.
    turn_us: Cell<u64>,
}

impl Turns {
    /// Nobody waits yet.
    pub(crate) fn new(clock: Clock) -> Turns {
        Turns {
            clock,
            busy: Queue::default(),
            new: Queue::default(),
            called: Cell::default(),
            keeper: RefCell::default(),
            accepting: RefCell::default(),
            polled: Cell::default(),
            is_called: Cell::default(),
            called_us: Cell::default(),
            usual_us: Cell::default(),
            active: Cell::default(),
            were_active: Cell::default(),
            period: Cell::default(),
            period_began: Cell::default(),
            turn_us: Cell::default(),
        }
    }

    /// Microseconds since then.
    fn us_since(&self, then: Instant) -> u64 {
        (self.clock)().saturating_duration_since(then).as_micros() as u64
    }

    fn queue(&self, is_new: bool) -> &Queue {
        if is_new { &self.new } else { &self.busy }
    }

    /// Takes a place at the end of a queue.
    fn enter(&self, is_new: bool, waker: Waker) -> Ticket {
        let number = self.queue(is_new).enter(waker);
        if let Some(keeper) = self.keeper.borrow_mut().take() {
            keeper.wake();
        }
        Ticket { is_new, number }
    }

    fn is_called(&self, ticket: Ticket) -> bool {
        ticket.number < self.queue(ticket.is_new).served.get()
    }

    /// Lets the next one go: three who are new for one who is busy. `false`: nobody waits.
    fn call(&self) -> bool {
        self.called.set(self.called.get() + 1);
        let is_new = !self.called.get().is_multiple_of(NEW_FOR_ONE_BUSY + 1);
        let called = self.queue(is_new).call() || self.queue(!is_new).call();
        if self.new.len() <= NEW_WAITING_MAX / 2 {
            self.accepting.borrow_mut().drain(..).for_each(Waker::wake);
        }
        called
    }

    /// Ends when there is room for one more new connection.
    pub(crate) async fn have_room(&self) {
        poll_fn(|cx| {
            if self.new.len() < NEW_WAITING_MAX {
                return Poll::Ready(());
            }
            self.accepting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn note(&self, used_us: u64) {
        self.called_us.set(self.called_us.get() + used_us);
        // Rises at once, falls slowly: one long turn makes the next ones come singly.
        let usual = self.usual_us.get();
        self.usual_us.set(used_us.max(usual - usual / 8));
    }

    /// How many turns begin before everybody else is looked at, who took so long since the last ones, µs.
    fn at_once(&self, others_us: u64) -> u64 {
        let slice_us = others_us.clamp(SLICE_US_MIN, SLICE_US_MAX);
        (slice_us / self.usual_us.get().max(1)).clamp(1, TURNS_AT_ONCE * slice_us / 1_000)
    }

    /// Somebody is polled.
    fn count(&self, credit: &Credit, now: Instant) {
        if self.period_began.get().is_none_or(|began| now.saturating_duration_since(began) >= ACTIVE) {
            self.period_began.set(Some(now));
            self.period.set(self.period.get() + 1);
            self.were_active.set(self.active.replace(0));
        }
        if credit.period.replace(self.period.get()) != self.period.get() {
            self.active.set(self.active.get() + 1);
            self.turn_us.set((ROUND_US / self.active()).clamp(TURN_US_MIN, TURN_US_MAX));
        }
    }

    /// How many are active.
    fn active(&self) -> u64 {
        self.active.get().max(self.were_active.get()).max(1)
    }

    /// What one turn may cost, µs.
    fn turn_us(&self) -> u64 {
        match self.turn_us.get() {
            0 => TURN_US_MAX,
            us => us,
        }
    }

    /// May something be done now that costs so much, µs? `false`: the connection gives its turn up, and asks again in the
    /// next, which comes from the busy queue. Who has credit for it does it at once.
    pub(crate) fn may_begin(&self, credit: &Credit, work_us: u64) -> bool {
        if self.is_called.replace(false) || credit.left_us.get() >= work_us as i64 {
            credit.work_us.set(credit.work_us.get() + work_us);
            return true;
        }
        credit.is_deferred.set(true);
        credit.is_new.set(false);
        false
    }

    /// Is the time of the turn that is under way over?
    pub(crate) fn is_over(&self) -> bool {
        self.polled.get().is_some_and(|began| self.us_since(began) >= self.turn_us())
    }

    /// When the turn that is under way began.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.polled.get()
    }

    /// Waits until something may be done that costs so much, µs.
    pub(crate) async fn begin_work(&self, credit: &Credit, work_us: u64) {
        while !self.may_begin(credit, work_us) {
            yield_turn().await;
        }
    }

    /// A connection's turn begins.
    pub(crate) fn begin(&self) -> Turn {
        self.turn_of(self.turn_us())
    }

    /// A connection's first turn begins: the shortest, since a thousand may come at once.
    pub(crate) fn begin_first(&self) -> Turn {
        self.turn_of(TURN_US_MIN)
    }

    fn turn_of(&self, limit_us: u64) -> Turn {
        // As many bytes as are charged so much.
        let bytes_max = (limit_us * 1_000 / COST_PER_READ_NS as u64) as usize;
        let began = self.polled.get().unwrap_or_else(self.clock);
        let limit = Duration::from_micros(limit_us);
        Turn { clock: self.clock, began, limit, bytes_max, units: 0, bytes: 0 }
    }

    /// Serves the queue, and never ends: a few turns, then all other connections that are ready, then again.
    pub(crate) async fn serve(&self) {
        let mut others_us = 0;
        loop {
            let (mut called, began) = (0, (self.clock)());
            let most = self.at_once(others_us);
            while called < most && self.call() {
                called += 1;
            }
            if called > 0 {
                self.called_us.set(0);
                // Comes back when the sockets and timers were looked at, behind all who are ready then.
                tokio::task::yield_now().await;
                others_us = self.us_since(began).saturating_sub(self.called_us.get());
                continue;
            }
            others_us = 0;
            poll_fn(|cx| {
                if !(self.busy.is_empty() && self.new.is_empty()) {
                    return Poll::Ready(());
                }
                *self.keeper.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}

pin_project! {
    /// Turns a connection's future fairly.
    pub(crate) struct Fair<F, A> {
        turns: Rc<Turns>,
        credit: Rc<Credit>,
        ticket: Option<Ticket>,
        waking: Option<(Arc<Waking>, Waker)>,
        // Done after each turn while few are active; it is charged to nobody.
        after: A,
        #[pin]
        future: F,
    }
}

/// Wakes a connection's task; what the task does to wake itself while it is polled counts for its next turn. hyper wakes
/// itself for each piece of a body: the runtime would poll it up to 61 times before it looks at the sockets.
struct Waking {
    task: Waker,
    state: AtomicU8,
}

/// The task waits; it is polled; it was woken while it is polled.
const WAITS: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Others may wake it, too, from other threads: one step decides, so that no wake is lost.
        if self.state.compare_exchange(POLLED, WOKEN, Ordering::AcqRel, Ordering::Acquire) == Err(WAITS) {
            self.task.wake_by_ref();
        }
    }
}

impl Waking {
    /// The waker for a future in the task of `cx`.
    fn of(cx: &Context<'_>) -> (Arc<Waking>, Waker) {
        let waking = Arc::new(Waking { task: cx.waker().clone(), state: AtomicU8::new(WAITS) });
        (waking.clone(), Waker::from(waking))
    }
}

impl<F: Future<Output = ()>, A: Fn()> Fair<F, A> {
    pub(crate) fn new(turns: Rc<Turns>, credit: Rc<Credit>, future: F, after: A) -> Fair<F, A> {
        Fair { turns, credit, ticket: None, waking: None, after, future }
    }
}

impl<F: Future<Output = ()>, A: Fn()> Future for Fair<F, A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (turns, credit) = (&**this.turns, &**this.credit);
        let began = (turns.clock)();
        let is_busy = match *this.ticket {
            Some(ticket) if !turns.is_called(ticket) => return Poll::Pending,
            Some(_) => {
                *this.ticket = None;
                true
            }
            // Also before its first poll: a thousand may have been accepted at once.
            None if credit.is_spent(began, turns.active()) => {
                *this.ticket = Some(turns.enter(credit.is_new.get(), cx.waker().clone()));
                return Poll::Pending;
            }
            None => false,
        };
        turns.polled.set(Some(began));
        turns.is_called.set(is_busy && !credit.is_new.get());
        credit.is_deferred.set(false);
        let waking = this.waking.take().filter(|(waking, _)| waking.task.will_wake(cx.waker()));
        let (waking, waker) = this.waking.insert(waking.unwrap_or_else(|| Waking::of(cx)));
        waking.state.store(POLLED, Ordering::Release);
        let outcome = this.future.poll(&mut Context::from_waker(waker));
        if waking.state.swap(WAITS, Ordering::AcqRel) == WOKEN && outcome.is_pending() {
            wake_next_turn(cx);
        }
        let ended = (turns.clock)();
        let has_read = credit.read.get() > 0;
        let used = credit.charge(began, ended, turns.turn_us(), turns.active());
        if has_read || used >= ACTIVE_US {
            turns.count(credit, began);
        }
        if is_busy {
            turns.note(ended.saturating_duration_since(began).as_micros() as u64);
        }
        // Of many a round brings a large batch anyway, and each gets its replies and is read in one turn.
        if turns.turn_us() == TURN_US_MAX {
            (this.after)();
        }
        outcome
    }
}

/// What a connection has done since others had their turn. The clock is looked at after every few units of work only:
/// most turns are over before.
pub(crate) struct Turn {
    clock: Clock,
    began: Instant,
    limit: Duration,
    bytes_max: usize,
    units: usize,
    bytes: usize,
}

/// A request, or so many bytes, are a unit of work; after so many of them the clock is looked at.
const UNIT_BYTES: usize = 8 << 10;
const UNITS_PER_LOOK: usize = 8;

/// A read of less costs more than its bytes.
const READ_BYTES_MIN: usize = 4 << 10;

impl Turn {
    /// Of what all connections wait for: the longest.
    pub(crate) fn of_the_pump(clock: Clock) -> Turn {
        let limit = Duration::from_micros(TURN_US_MAX);
        Turn { clock, began: clock(), limit, bytes_max: usize::MAX, units: 0, bytes: 0 }
    }

    /// How many bytes it may read at once: no more than it may handle.
    pub(crate) fn read_max(&self) -> usize {
        self.bytes_max.max(READ_BYTES_MIN)
    }

    /// Bytes were read.
    pub(crate) fn note_read(&mut self, n: usize) {
        self.bytes += n;
        self.units += n / UNIT_BYTES;
    }

    /// Something was done that costs little: a short request, an answer.
    pub(crate) fn note_unit(&mut self) {
        self.note_units(1);
    }

    /// Something was done that may have cost much: the clock is looked at now.
    pub(crate) fn note_work(&mut self) {
        self.note_units(UNITS_PER_LOOK);
    }

    /// The same so many times.
    pub(crate) fn note_units(&mut self, n: usize) {
        self.units += n;
    }

    /// Others come now.
    pub(crate) fn end(&mut self) {
        self.bytes = self.bytes_max;
    }

    /// Do others come now?
    pub(crate) fn is_over(&mut self) -> bool {
        if self.bytes >= self.bytes_max {
            return true;
        }
        if self.units < UNITS_PER_LOOK {
            return false;
        }
        self.units = 0;
        // An outer loop asks again: it gets the same answer, without reading the clock.
        let is_over = (self.clock)().saturating_duration_since(self.began) >= self.limit;
        if is_over {
            self.end();
        }
        is_over
    }
}

/// Lets other tasks go first. The runtime polls the sockets before this task goes on, so newly ready tasks run too.
/// Without this the runtime polls the sockets only after 61 task polls, each of which may take a millisecond.
pub(crate) async fn yield_turn() {
    tokio::task::yield_now().await;
}

/// [`yield_turn`] for a future polled by hand: it is polled again after the runtime has polled the sockets.
pub(crate) fn wake_next_turn(cx: &mut Context<'_>) {
    // Its first poll leaves the waker with the runtime; nothing else of it is needed.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Lets tasks that are ready now go first, without polling the sockets: for the pump, whose rounds no peer can extend.
pub(crate) async fn yield_to_the_ready() {
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::LocalSet;

    use super::*;

    /// A future that always has more to do, and counts its polls.
    async fn always_busy(credit: Rc<Credit>, polls: Rc<Cell<u64>>) {
        loop {
            polls.set(polls.get() + 1);
            // As if so much had been read: it is charged whatever the clock does.
            credit.note_read(1 << 20);
            yield_turn().await;
        }
    }

    fn fair(turns: &Rc<Turns>, polls: &Rc<Cell<u64>>) -> Fair<impl Future<Output = ()> + use<>, fn()> {
        let credit = Rc::new(Credit::new(Instant::now()));
        Fair::new(turns.clone(), credit.clone(), always_busy(credit, polls.clone()), || ())
    }

    #[tokio::test]
    async fn a_quiet_connection_waits_for_a_few_turns_of_the_busy_ones_not_for_all() {
        let turns = Rc::new(Turns::new(Instant::now));
        let polls: Vec<Rc<Cell<u64>>> = (0..4_000).map(|_| Rc::default()).collect();
        let local = LocalSet::new();
        for polls in &polls {
            local.spawn_local(fair(&turns, polls));
        }
        let keeper = turns.clone();
        local.spawn_local(async move { keeper.serve().await });
        let all = || polls.iter().map(|polls| polls.get()).sum::<u64>();
        local
            .run_until(async {
                // Until all of them have had a turn, and wait for the next.
                while polls.iter().any(|polls| polls.get() == 0) {
                    tokio::task::yield_now().await;
                }
                let first: Vec<u64> = polls.iter().map(|polls| polls.get()).collect();
                let credit = Rc::new(Credit::new(Instant::now()));
                for _ in 0..200 {
                    credit.note_read(100);
                    let before = all();
                    // Asks, is woken by the socket, answers: the same connection again and again.
                    let asking = async {
                        tokio::task::yield_now().await;
                        tokio::task::yield_now().await;
                    };
                    let asked = Fair::new(turns.clone(), credit.clone(), asking, || ());
                    tokio::task::spawn_local(asked).await.unwrap();
                    let between = all() - before;
                    // Two slices, each as long as it may be on a machine that runs something else.
                    let most = 2 * SLICE_US_MAX / 1_000 * TURNS_AT_ONCE + TURNS_AT_ONCE;
                    assert!(between <= most, "{between} turns of the busy ones came between");
                }
                // Each of the busy ones has as many turns as the others, give or take those under way.
                let since = || polls.iter().zip(&first).map(|(polls, first)| polls.get() - first);
                let (least, most) = (since().min(), since().max());
                assert!(most.unwrap() - least.unwrap() <= 2, "{least:?} to {most:?}");
            })
            .await;
    }

    #[test]
    fn a_turn_that_is_over_stays_over() {
        let mut turn = Turn { limit: Duration::ZERO, ..Turn::of_the_pump(Instant::now) };
        assert!(!turn.is_over(), "nothing was done yet");
        turn.note_work();
        assert!(turn.is_over());
        assert!(turn.is_over(), "also for the next who asks");
    }

    #[tokio::test]
    async fn sockets_are_looked_at_after_each_turn_of_a_connection_that_always_has_more() {
        let local = LocalSet::new();
        let polls = Rc::new(Cell::new(0_u64));
        let counted = polls.clone();
        local.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_turn().await;
            }
        });
        local
            .run_until(async {
                let (mut writer, mut reader) = tokio::net::UnixStream::pair().unwrap();
                for _ in 0..100 {
                    let before = polls.get();
                    writer.write_all(b"x").await.unwrap();
                    reader.read_u8().await.unwrap();
                    let between = polls.get() - before;
                    assert!(between <= 3, "{between} turns came before what the socket had");
                }
            })
            .await;
    }

    #[test]
    fn the_more_are_active_the_shorter_is_a_turn() {
        let (turns, now) = (Turns::new(Instant::now), Instant::now());
        assert_eq!(turns.turn_us(), TURN_US_MAX);
        let credits: Vec<Credit> = (0..1_000).map(|_| Credit::new(now)).collect();
        for credit in &credits[..100] {
            turns.count(credit, now);
            turns.count(credit, now);
        }
        assert_eq!(turns.turn_us(), ROUND_US / 100);
        credits.iter().for_each(|credit| turns.count(credit, now));
        assert_eq!(turns.turn_us(), TURN_US_MIN);
        // In the next period the one before still counts, then no more.
        turns.count(&credits[0], now + ACTIVE);
        assert_eq!(turns.turn_us(), TURN_US_MIN);
        turns.count(&credits[0], now + 2 * ACTIVE);
        assert_eq!(turns.turn_us(), TURN_US_MAX);
    }

    #[test]
    fn who_keeps_to_its_turns_never_becomes_busy_and_who_does_not_does() {
        let (start, us) = (Instant::now(), Duration::from_micros);
        let credit = Credit::new(start);
        assert!(credit.is_spent(start, 1), "nobody knows it yet");
        credit.charge(start, start, 50, 1);
        assert!(credit.is_spent(start, 1), "it said nothing");
        credit.note_read(10);
        credit.charge(start, start, 50, 1);
        assert!(credit.is_spent(start, 1), "it was answered nothing");
        credit.note_written(10);
        credit.charge(start, start, 50, 1);
        let mut now = start;
        for _ in 0..10_000 {
            assert!(!credit.is_spent(now, 1_000), "without a pause between them");
            credit.note_read(240);
            assert_eq!(credit.charge(now, now + us(60), 50, 1_000), 44);
            now += us(60);
        }
        credit.note_read(100_000);
        credit.charge(now, now + us(10), 50, 1_000);
        assert!(
            credit.is_spent(now, 1_000),
            "100,000 bytes cost more than the time that it took to read them"
        );
        assert!(credit.is_spent(now + us(80_000), 1) && !credit.is_spent(now + us(100_000), 20), "1 %");
        assert!(credit.is_spent(now + us(4_000_000), 1_000), "a thousand share 20 %");
    }

    #[test]
    fn one_long_poll_is_forgiven_and_the_second_is_not() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let credit = Credit::new(start);
        credit.note_read(10);
        credit.charge(start, start, 50, 1);
        credit.note_written(1 << 20);
        credit.charge(start, start + ms(5), 50, 1);
        assert!(!credit.is_spent(start + ms(5), 1), "the system may have run somebody else");
        credit.note_written(1 << 20);
        credit.charge(start + ms(5), start + ms(10), 50, 1);
        assert!(credit.is_spent(start + ms(10), 1));
    }

    #[test]
    fn a_sender_among_a_thousand_never_becomes_busy() {
        let (mut now, us) = (Instant::now(), Duration::from_micros);
        let credit = Credit::new(now);
        for _ in 0..10_000 {
            // A short send is read, later its reply is written; each poll is slow, since others use the caches.
            credit.note_read(290);
            credit.charge(now, now + us(80), TURN_US_MIN, 1_000);
            credit.note_written(230);
            credit.charge(now + us(80), now + us(160), TURN_US_MIN, 1_000);
            now += us(160);
            assert!(!credit.is_spent(now, 1_000));
        }
    }

    #[test]
    fn what_the_system_took_is_not_charged() {
        let start = Instant::now();
        let credit = Credit::new(start);
        credit.note_read(100);
        credit.note_written(100);
        // A ping that was interrupted for 10 ms.
        assert_eq!(credit.charge(start, start + Duration::from_millis(10), 50, 1), 32);
        assert!(!credit.is_spent(start + Duration::from_millis(10), 1));
    }

    #[test]
    fn a_turn_ends_after_its_time_or_its_bytes() {
        let turns = Turns::new(Instant::now);
        let mut turn = turns.begin();
        while !turn.is_over() {
            turn.note_unit();
        }
        assert!(turn.began.elapsed() >= turn.limit);
        let mut turn = turns.begin();
        turn.note_read(turn.bytes_max - 1);
        turn.units = 0;
        assert!(!turn.is_over());
        turn.note_read(1);
        assert!(turn.is_over());
    }

    #[test]
    fn short_turns_begin_together_and_one_long_turn_makes_them_single() {
        let turns = Turns::new(Instant::now);
        turns.note(50);
        assert_eq!(turns.at_once(0), TURNS_AT_ONCE);
        turns.note(1_000);
        assert_eq!(turns.at_once(0), 1);
        for _ in 0..100 {
            turns.note(50);
        }
        assert_eq!(turns.at_once(0), TURNS_AT_ONCE);
        assert_eq!(turns.at_once(5_000), 5 * TURNS_AT_ONCE, "as long as the others took");
        assert_eq!(turns.at_once(1_000_000), 8 * TURNS_AT_ONCE);
    }
}
