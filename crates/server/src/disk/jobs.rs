//! What waits for a thread: one queue for the readers, one for the finder.
//!
//! ```text
//! push ─▶ address A: session 1 ▪▪▪  session 2 ▪   ─┐
//!         address B: session 3 ▪                  ─┼─▶ pop: the address that used the least time lately,
//!         address C: session 4 ▪▪                 ─┘        there the session that waits longest for its turn
//! ```
//!
//! An address that asks much delays only itself: with a thousand questions its turn comes as often as with one, and
//! less often if its questions take long. Within an address its sessions take turns. What a session asked goes with the
//! session. `Jobs` is pure and knows no clock; `Queue` is it with a lock, for threads.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vang_hub::{ReadAnswer, ReadError, ReadJob, SessionId};

use super::FAILURE_PAUSE;
use super::answer::{Answer, AnswersWaiting};
use crate::fairness::memory::has_headroom;
use crate::net::listen::PeerAddr;

/// Time after which what an address used counts half: 10 s. It is what keeps one that asked for much behind the others,
/// and no longer than it takes to be forgiven.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Time used below which an address is forgotten, µs: it makes no difference to anybody's turn.
const FORGOTTEN_US: u64 = 1_000;

/// Who takes turns with whom: an address, as limits count it. Of this machine's own, where everybody has the same one,
/// each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Address {
    /// Another machine.
    Remote(IpAddr),
    /// A connection over loopback.
    Loopback(SocketAddr),
    /// A connection over a Unix socket, which has no address.
    Unix(SessionId),
}

impl Address {
    pub(crate) fn of(from: &PeerAddr, session: SessionId) -> Address {
        match from {
            PeerAddr::Unix => Address::Unix(session),
            PeerAddr::Address(address) if from.is_local() => Address::Loopback(*address),
            PeerAddr::Address(_) | PeerAddr::Proxied(_) => Address::Remote(from.host()),
        }
    }
}

/// Jobs `J` of sessions `S` at addresses `A`.
///
/// `pop` and `charge` cost steps in proportion to the logarithm of the number of addresses; `push` and `cancel` also to
/// the sessions that wait at one address, which are no more than one address may have connections.
pub(crate) struct Jobs<A, S, J> {
    lanes: HashMap<A, Lane<S, J>>,
    /// Those at which somebody waits: by time used, then by the turn.
    waiting: BTreeSet<(u64, u64, A)>,
    /// Those that have jobs that may be refused, by their number.
    by_length: BTreeSet<(usize, A)>,
    /// Jobs that may be refused, at all addresses.
    refusable: usize,
    refusable_max: usize,
    /// Turns given so far.
    turns: u64,
}

/// What an address has waiting, and has used.
struct Lane<S, J> {
    used_us: u64,
    turn: u64,
    refusable: usize,
    /// Sessions with jobs, whose turn is next first; each with its jobs, oldest first.
    sessions: VecDeque<(S, VecDeque<(JobKind, J)>)>,
}

/// May a job be refused when too many wait?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobKind {
    Refusable,
    /// A session has at most one, and would ask again at once.
    Owed,
}

impl<A: Copy + Ord + Hash, S: Copy + Eq, J> Jobs<A, S, J> {
    /// For at most as many jobs that may be refused.
    pub(crate) fn new(refusable_max: usize) -> Jobs<A, S, J> {
        Jobs {
            lanes: HashMap::new(),
            waiting: BTreeSet::new(),
            by_length: BTreeSet::new(),
            refusable: 0,
            refusable_max,
            turns: 0,
        }
    }

    /// Puts a job in. What is answered is a job that there is no room for: this one, or the newest of an address that has
    /// more waiting than this one would have.
    pub(crate) fn push(&mut self, address: A, session: S, kind: JobKind, job: J) -> Option<J> {
        let mut refused = None;
        if kind == JobKind::Refusable && self.refusable >= self.refusable_max {
            let mine = self.lanes.get(&address).map_or(0, |lane| lane.refusable);
            match self.by_length.last() {
                Some(&(most, longest)) if most > mine + 1 => refused = self.take_newest(longest),
                _ => return Some(job),
            }
        }
        let turn = self.next_turn();
        let lane = self.lanes.entry(address).or_insert_with(|| Lane {
            used_us: 0,
            turn,
            refusable: 0,
            sessions: VecDeque::new(),
        });
        if lane.sessions.is_empty() {
            lane.turn = turn;
            self.waiting.insert((lane.used_us, turn, address));
        }
        match lane.sessions.iter_mut().find(|(known, _)| *known == session) {
            Some((_, jobs)) => jobs.push_back((kind, job)),
            None => lane.sessions.push_back((session, VecDeque::from([(kind, job)]))),
        }
        if kind == JobKind::Refusable {
            self.count(address, |count| count + 1);
        }
        refused
    }

    /// The next job, with whose it is.
    pub(crate) fn pop(&mut self) -> Option<(A, S, J)> {
        let (_, _, address) = self.waiting.pop_first()?;
        let turn = self.next_turn();
        let lane = self.lanes.get_mut(&address)?;
        let (session, mut jobs) = lane.sessions.pop_front()?;
        let (kind, job) = jobs.pop_front()?;
        if !jobs.is_empty() {
            lane.sessions.push_back((session, jobs));
        }
        if !lane.sessions.is_empty() {
            lane.turn = turn;
            self.waiting.insert((lane.used_us, turn, address));
        }
        if kind == JobKind::Refusable {
            self.count(address, |count| count - 1);
        }
        self.forget(address);
        Some((address, session, job))
    }

    /// Takes out what a session has waiting.
    pub(crate) fn cancel(&mut self, address: A, session: S) -> Vec<J> {
        let Some(lane) = self.lanes.get_mut(&address) else { return Vec::new() };
        let Some(at) = lane.sessions.iter().position(|(known, _)| *known == session) else {
            return Vec::new();
        };
        let jobs = lane.sessions.remove(at).map(|(_, jobs)| jobs).unwrap_or_default();
        if lane.sessions.is_empty() {
            self.waiting.remove(&(lane.used_us, lane.turn, address));
        }
        let gone = jobs.iter().filter(|(kind, _)| *kind == JobKind::Refusable).count();
        self.count(address, |count| count - gone);
        self.forget(address);
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// An address has used so much of a thread's time.
    pub(crate) fn charge(&mut self, address: A, used_us: u64) {
        let turn = self.turns;
        let lane = self.lanes.entry(address).or_insert_with(|| Lane {
            used_us: 0,
            turn,
            refusable: 0,
            sessions: VecDeque::new(),
        });
        let before = (lane.used_us, lane.turn, address);
        lane.used_us = lane.used_us.saturating_add(used_us);
        if self.waiting.remove(&before) {
            self.waiting.insert((lane.used_us, lane.turn, address));
        }
        self.forget(address);
    }

    /// What was used counts half from here on. A step for each address that is remembered.
    pub(crate) fn halve(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.used_us /= 2;
        }
        self.lanes.retain(|_, lane| !lane.is_forgotten());
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.waiting = waiting.map(|(used_us, turn, address)| (used_us / 2, turn, address)).collect();
    }

    /// The newest job of an address that may be refused.
    fn take_newest(&mut self, address: A) -> Option<J> {
        let lane = self.lanes.get_mut(&address)?;
        let is_refusable = |(kind, _): &(JobKind, J)| *kind == JobKind::Refusable;
        let at = lane.sessions.iter().rposition(|(_, jobs)| jobs.iter().any(is_refusable))?;
        let (_, jobs) = &mut lane.sessions[at];
        let (_, job) = jobs.iter().rposition(is_refusable).and_then(|newest| jobs.remove(newest))?;
        if jobs.is_empty() {
            lane.sessions.remove(at);
        }
        // It has others: only one with more than another is taken from.
        self.count(address, |count| count - 1);
        Some(job)
    }

    /// Keeps the number of an address's jobs that may be refused.
    fn count(&mut self, address: A, to: impl FnOnce(usize) -> usize) {
        let Some(lane) = self.lanes.get_mut(&address) else { return };
        let before = lane.refusable;
        lane.refusable = to(before);
        self.refusable = self.refusable - before + lane.refusable;
        self.by_length.remove(&(before, address));
        if lane.refusable > 0 {
            self.by_length.insert((lane.refusable, address));
        }
    }

    fn forget(&mut self, address: A) {
        if self.lanes.get(&address).is_some_and(Lane::is_forgotten) {
            self.lanes.remove(&address);
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

impl<S, J> Lane<S, J> {
    fn is_forgotten(&self) -> bool {
        self.sessions.is_empty() && self.used_us < FORGOTTEN_US
    }
}

/// `Jobs` for threads: the pump puts questions in, some threads answer them.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    waits_max: Duration,
    waiting: Arc<AnswersWaiting>,
}

struct State {
    jobs: Jobs<Address, SessionId, (Instant, ReadJob)>,
    /// Under way: whose, and whether the session is gone.
    running: Vec<(SessionId, Arc<AtomicBool>)>,
    halved: Instant,
    ended: bool,
}

/// A question whose turn it is.
pub(crate) struct Question {
    pub(crate) job: ReadJob,
    /// When it was asked.
    pub(crate) came: Instant,
    /// Is its session gone meanwhile? Then nobody waits for the answer.
    pub(crate) is_gone: Arc<AtomicBool>,
    address: Address,
    began: Instant,
}

/// The end of a queue where questions are put in. When it is dropped there will be none, and what waits is dropped too:
/// at the end of the server nobody waits for an answer.
pub(crate) struct Asking(Arc<Queue>);

impl Asking {
    /// A queue of at most as many questions that may be refused; one that waited for longer than this is not answered
    /// any more.
    pub(crate) fn new(refusable_max: usize, waits_max: Duration) -> (Asking, Arc<Queue>) {
        let state = State {
            jobs: Jobs::new(refusable_max),
            running: Vec::new(),
            halved: Instant::now(),
            ended: false,
        };
        let changed = Condvar::new();
        let queue = Arc::new(Queue { state: Mutex::new(state), changed, waits_max, waiting: Arc::default() });
        (Asking(queue.clone()), queue)
    }

    /// Puts a question in; see `Jobs::push`.
    pub(crate) fn push(&self, from: &PeerAddr, job: ReadJob) -> Option<ReadJob> {
        let (session, kind) = (job.session, if job.is_owed() { JobKind::Owed } else { JobKind::Refusable });
        let address = Address::of(from, session);
        let refused = self.0.state().jobs.push(address, session, kind, (Instant::now(), job));
        self.0.changed.notify_one();
        refused.map(|(_, job)| job)
    }

    /// A session is gone: what it asked is taken out, what is under way for it may stop.
    pub(crate) fn cancel(&self, from: &PeerAddr, session: SessionId) -> Vec<ReadJob> {
        let mut state = self.0.state();
        for (_, is_gone) in state.running.iter().filter(|(whose, _)| *whose == session) {
            is_gone.store(true, Ordering::Relaxed);
        }
        let gone = state.jobs.cancel(Address::of(from, session), session);
        gone.into_iter().map(|(_, job)| job).collect()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

impl State {
    /// The next question, if one waits.
    fn pop(&mut self) -> Option<Question> {
        if self.halved.elapsed() >= HALF_LIFE {
            self.halved = Instant::now();
            self.jobs.halve();
        }
        let (address, session, (came, job)) = self.jobs.pop()?;
        let is_gone = Arc::new(AtomicBool::new(false));
        self.running.push((session, is_gone.clone()));
        Some(Question { job, came, is_gone, address, began: Instant::now() })
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers questions, one after the other, until there will be none.
    pub(crate) fn work(
        &self,
        answers: &UnboundedSender<Answer>,
        mut answer: impl FnMut(&Question) -> Result<ReadAnswer, ReadError>,
    ) {
        while let Some(question) = self.next() {
            // Who followed is owed what it missed; who only asked has given up.
            let is_late = !question.job.is_owed() && question.came.elapsed() >= self.waits_max;
            let answered = if is_late {
                Err(ReadError::Full)
            } else if has_headroom() {
                answer(&question)
            } else {
                // Some of what is held is given up meanwhile.
                std::thread::sleep(FAILURE_PAUSE);
                Err(ReadError::NoMemory)
            };
            self.done(&question);
            let receipt = self.waiting.receipt();
            if answers.send(Answer::Read(question.job.id, answered, receipt)).is_err() {
                break;
            }
            self.waiting.wait_for_room();
        }
    }

    /// Answers the next question on the calling thread. `None`: nobody asks.
    #[cfg(test)]
    pub(crate) fn answer_next(
        &self,
        answer: impl FnOnce(&ReadJob) -> Result<ReadAnswer, ReadError>,
    ) -> Option<Answer> {
        let question = self.state().pop()?;
        let answered = answer(&question.job);
        self.done(&question);
        Some(Answer::Read(question.job.id, answered, self.waiting.receipt()))
    }

    fn next(&self) -> Option<Question> {
        let mut state = self.state();
        loop {
            if state.ended {
                return None;
            }
            if let Some(question) = state.pop() {
                return Some(question);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a question took is charged to its address.
    fn done(&self, question: &Question) {
        let mut state = self.state();
        state.running.retain(|(_, is_gone)| !Arc::ptr_eq(is_gone, &question.is_gone));
        state.jobs.charge(question.address, question.began.elapsed().as_micros() as u64);
    }
}

#[cfg(test)]
mod tests {
    use vang_hub::Read;

    use super::*;
    use crate::disk::answer::ANSWERS_WAITING_MAX;

    /// Jobs as they come: address, session, job.
    fn order(jobs: &mut Jobs<char, u8, u32>) -> String {
        let all = std::iter::from_fn(|| jobs.pop());
        all.map(|(address, session, job)| format!("{address}{session}:{job}")).collect::<Vec<_>>().join(" ")
    }

    fn pushed(asked: &[(char, u8, u32)]) -> Jobs<char, u8, u32> {
        let mut jobs = Jobs::new(1_000);
        for &(address, session, job) in asked {
            assert_eq!(jobs.push(address, session, JobKind::Refusable, job), None);
        }
        jobs
    }

    #[test]
    fn addresses_take_turns_and_so_do_the_sessions_of_one() {
        let mut jobs = pushed(&[('a', 1, 1), ('a', 1, 2), ('a', 1, 3), ('b', 2, 4), ('b', 2, 5)]);
        assert_eq!(order(&mut jobs), "a1:1 b2:4 a1:2 b2:5 a1:3");
        let mut jobs =
            pushed(&[('a', 1, 1), ('a', 1, 2), ('a', 2, 3), ('a', 2, 4), ('b', 3, 5), ('b', 3, 6)]);
        assert_eq!(order(&mut jobs), "a1:1 b3:5 a2:3 b3:6 a1:2 a2:4");
    }

    #[test]
    fn a_thousand_sessions_of_one_address_wait_for_each_other_and_not_for_the_others() {
        let mut jobs = Jobs::new(10_000);
        for session in 0..1_000 {
            jobs.push('a', session, JobKind::Refusable, 0);
        }
        jobs.push('b', 5_000, JobKind::Refusable, 1);
        assert_eq!((jobs.pop(), jobs.pop()), (Some(('a', 0, 0)), Some(('b', 5_000, 1))));
    }

    #[test]
    fn who_used_more_time_lately_comes_later() {
        let mut jobs = pushed(&[('a', 1, 1), ('a', 1, 2), ('b', 2, 3), ('b', 2, 4)]);
        jobs.charge('a', 3_000);
        assert_eq!(jobs.pop(), Some(('b', 2, 3)));
        jobs.charge('b', 10_000);
        assert_eq!(order(&mut jobs), "a1:1 a1:2 b2:4");
        // Nothing waits, and it is still known.
        jobs.push('b', 2, JobKind::Refusable, 5);
        jobs.push('a', 1, JobKind::Refusable, 6);
        jobs.push('c', 3, JobKind::Refusable, 7);
        assert_eq!(order(&mut jobs), "c3:7 a1:6 b2:5");
        // Later it is not.
        for _ in 0..4 {
            jobs.halve();
        }
        assert!(jobs.lanes.is_empty());
        jobs.push('b', 2, JobKind::Refusable, 8);
        jobs.push('a', 1, JobKind::Refusable, 9);
        assert_eq!(order(&mut jobs), "b2:8 a1:9");
    }

    #[test]
    fn when_too_many_wait_the_newest_of_who_has_most_gives_way() {
        let mut jobs = Jobs::new(4);
        for job in 1..=3 {
            assert_eq!(jobs.push('a', 1, JobKind::Refusable, job), None);
        }
        assert_eq!(jobs.push('b', 2, JobKind::Refusable, 4), None);
        // Of its own there is no room; for one that has fewer there is.
        assert_eq!(jobs.push('a', 3, JobKind::Refusable, 5), Some(5));
        assert_eq!(jobs.push('c', 4, JobKind::Refusable, 6), Some(3));
        assert_eq!(jobs.push('d', 5, JobKind::Refusable, 7), Some(2));
        assert_eq!(jobs.push('e', 6, JobKind::Refusable, 8), Some(8));
        // What is owed takes no room.
        for job in 10..20 {
            assert_eq!(jobs.push('a', 1, JobKind::Owed, job), None);
        }
        assert_eq!(jobs.cancel('a', 1), [1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(jobs.push('e', 6, JobKind::Refusable, 9), None);
        assert_eq!(order(&mut jobs), "b2:4 c4:6 d5:7 e6:9");
    }

    #[test]
    fn every_job_comes_out_once_whatever_happens() {
        let mut jobs: Jobs<u8, u8, u32> = Jobs::new(20);
        let (mut seed, mut next) = (1_u64, 0);
        let mut waiting = BTreeSet::new();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (what, address, session) =
                ((seed >> 60) as u8, (seed >> 50) as u8 % 5, (seed >> 40) as u8 % 3);
            match what {
                0..8 => {
                    let kind = if what == 0 { JobKind::Owed } else { JobKind::Refusable };
                    next += 1;
                    waiting.insert(next);
                    if let Some(refused) = jobs.push(address, session, kind, next) {
                        assert!(waiting.remove(&refused));
                    }
                }
                8..12 => match jobs.pop() {
                    Some((_, _, job)) => assert!(waiting.remove(&job)),
                    None => assert!(waiting.is_empty()),
                },
                12 => jobs.cancel(address, session).iter().for_each(|job| assert!(waiting.remove(job))),
                13 => jobs.halve(),
                _ => jobs.charge(address, seed % 5_000),
            }
            assert!(jobs.refusable <= 20);
            let lanes = jobs.lanes.values();
            let (in_lanes, refusable) = lanes.fold((0, 0), |(all, refusable), lane| {
                let here: usize = lane.sessions.iter().map(|(_, jobs)| jobs.len()).sum();
                (all + here, refusable + lane.refusable)
            });
            assert_eq!((in_lanes, refusable), (waiting.len(), jobs.refusable));
            assert!(jobs.lanes.len() <= 5 && jobs.waiting.len() <= 5 && jobs.by_length.len() <= 5);
        }
        while let Some((_, _, job)) = jobs.pop() {
            assert!(waiting.remove(&job));
        }
        assert!(waiting.is_empty());
    }

    /// Two sessions that ask for messages of a room over Unix sockets.
    fn job(id: u64, session: SessionId) -> ReadJob {
        let read = Read::Messages { room: vang_chat::RoomId(1), since: 0, limit: 1, bytes_max: 1 };
        ReadJob { id, session, need: vang_chat::Seq(0), read }
    }

    fn sessions() -> [SessionId; 2] {
        let identity = vang_journal::Identity { id: [1; 16], key: [2; 32], born: [1; 16] };
        let mut journal = vang_journal::MemoryJournal::new(identity);
        let begin = (vang_chat::State::default(), vang_hub::Book::default());
        let recovered =
            vang_hub::replay(&mut journal, &identity, begin, vang_chat::Seq(0), &mut |_| Ok(())).unwrap();
        let salts = vang_hub::Salts::new([3; 32]);
        let mut hub = vang_hub::Hub::new(identity, recovered, vang_chat::Node(7), salts, String::new(), true);
        [hub.connect(vang_hub::Peer::Local), hub.connect(vang_hub::Peer::Local)]
    }

    /// Which of these are run, and what is answered.
    fn worked(
        queue: &Queue,
        asking: Asking,
        mut meanwhile: impl FnMut(&Asking, &Question),
    ) -> (Vec<u64>, Vec<u64>) {
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let (mut run, mut asking) = (Vec::new(), Some(asking));
        queue.work(&sender, |question| {
            run.push(question.job.id);
            meanwhile(asking.as_ref().unwrap(), question);
            if queue.state().jobs.lanes.values().all(|lane| lane.sessions.is_empty()) {
                asking = None;
            }
            Err(ReadError::ViewBehind)
        });
        let mut answered = Vec::new();
        while let Ok(Answer::Read(id, ..)) = answers.try_recv() {
            answered.push(id);
        }
        (run, answered)
    }

    #[test]
    fn what_a_session_asked_is_not_run_when_it_is_gone() {
        let [ada, bob] = sessions();
        let (asking, queue) = Asking::new(100, Duration::MAX);
        for (id, session) in [(1, ada), (2, ada), (3, bob), (4, ada), (5, bob)] {
            assert_eq!(asking.push(&PeerAddr::Unix, job(id, session)), None);
        }
        let mut gone = Vec::new();
        let (run, answered) = worked(&queue, asking, |asking, question| {
            if question.job.session == ada {
                assert!(!question.is_gone.load(Ordering::Relaxed));
                gone.extend(asking.cancel(&PeerAddr::Unix, ada).iter().map(|job| job.id));
                // What is under way learns of it too.
                assert!(question.is_gone.load(Ordering::Relaxed));
            }
        });
        assert_eq!((run, answered), (vec![1, 3, 5], vec![1, 3, 5]));
        assert_eq!(gone, [2, 4]);
    }

    #[test]
    fn readers_wait_until_their_answers_are_taken() {
        let [ada, _] = sessions();
        let (asking, queue) = Asking::new(100, Duration::MAX);
        for id in 0..20 {
            assert_eq!(asking.push(&PeerAddr::Unix, job(id, ada)), None);
        }
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let worker = queue.clone();
        let worker = std::thread::spawn(move || worker.work(&sender, |_| Err(ReadError::ViewBehind)));
        for _ in 0..20 {
            let answer = answers.blocking_recv().unwrap();
            assert!(*queue.waiting.count() <= ANSWERS_WAITING_MAX);
            drop(answer);
        }
        drop(asking);
        worker.join().unwrap();
        assert_eq!(*queue.waiting.count(), 0);
    }

    #[test]
    fn what_waited_too_long_is_not_run_but_answered() {
        let [ada, bob] = sessions();
        let (asking, queue) = Asking::new(100, Duration::ZERO);
        let events = Read::Events { feeds: Vec::new(), events_max: 1, bytes_max: 1 };
        let owed = ReadJob { read: events, ..job(3, bob) };
        for job in [job(1, ada), job(2, ada), owed] {
            assert_eq!(asking.push(&PeerAddr::Unix, job), None);
        }
        // Two refusals and what is owed, whatever the order.
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let mut asking = Some(asking);
        let mut run = Vec::new();
        let mut answered = Vec::new();
        queue.work(&sender, |question| {
            run.push(question.job.id);
            asking = None;
            Err(ReadError::ViewBehind)
        });
        while let Ok(Answer::Read(id, answer, _)) = answers.try_recv() {
            answered.push((id, answer));
        }
        assert_eq!(run, [3]);
        assert_eq!(answered, [(1, Err(ReadError::Full)), (3, Err(ReadError::ViewBehind))]);
    }
}
