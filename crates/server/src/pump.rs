//! Turns the hub: requests in, replies and wake-ups out. One `Pump` for all connections, on the one
//! thread that decides; a connection's task and the pump's own meet in its `Slot`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use vang_chat::{Principal, Time};
use vang_hub::limits::{ORDER_QUEUE_BYTES_MAX, TAILS_BYTES_MAX};
use vang_hub::{Delta, Guests, Hub, Now, Output, Peer, Read, ReadFault, SessionId, Trust};
use vang_proto::Millis;
use vang_proto::vang::{Action, Code, ErrorReply, Request, ServerSession, Ticket, write_error, write_json};

use crate::door::Door;
use crate::jobs::Asking;
use crate::limits::Limits;
use crate::listen::From;
use crate::memory::{Memory, STRANGER_BYTES};
use crate::quota::{Ask, Buckets, DELAY_MS_MAX, Quotas, Who};
use crate::status::{DAMAGED_NAMED, Follower, Snapshot, Waiting, Way};
use crate::threads::{Answer, Progress, WriteJob};
use crate::turns::{Turn, yield_turn};
use crate::watch::{Refusals, Watch};
use crate::wheel::{Rings, TICK_MS, Wheel};
use crate::{machine, metrics};

/// Entries that the tables may be behind before senders are slowed.
const LAG_MAX: u64 = 1_000_000;

/// What a connection takes that holds nothing, about: 8 KiB.
const CONNECTION_BYTES: u64 = 8 << 10;

/// What clients make the server hold is counted up to one part in so many of the limit `memory`: what the allocator
/// keeps for the next, and what is under way between threads, take as much again.
const COUNTED_SHARE: u64 = 2;

/// Who holds less than this is read also when the memory is used up: 4 KiB, a request and its reply.
const LITTLE_BYTES: usize = 4 << 10;

/// Connections that hold nothing have one part in so many of it, whatever the others hold.
const CONNECTIONS_SHARE: u64 = 2;

/// How long a client is not read that was refused more rooms or joins, ms: it may go on talking.
const REFUSED_PAUSE_MS: u64 = 100;

/// After how long a client whose data there is no memory for may try again, ms.
const SHED_RETRY_MS: u64 = 1_000;

/// The ends of rooms have one part in so many of what is counted, and what waits to be written one in so many.
const TAILS_SHARE: u64 = 4;
const QUEUE_SHARE: u64 = 16;

/// What is known of a connection beside what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) door: Door,
    pub(crate) tls: bool,
    pub(crate) from: From,
}

/// Where a connection's task and the pump meet.
pub(crate) struct Slot {
    pub(crate) id: SessionId,
    pub(crate) about: About,
    pub(crate) session: RefCell<ServerSession>,
    /// The connection's own quotas.
    own: Rc<Buckets>,
    /// What was counted of the memory that it holds, bytes.
    held: Cell<usize>,
    /// What HTTP has still to write of an event.
    pub(crate) text: RefCell<Bytes>,
    /// Bytes that stand between the socket and the session.
    pub(crate) beside: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    rings: Cell<Rings>,
}

impl Slot {
    pub(crate) fn wake(&self) {
        self.woken.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Was it woken since it was last asked? Otherwise it will be.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.woken.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            other => *other = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// The threads that the pump talks to.
pub(crate) struct Threads {
    pub(crate) journal: Sender<WriteJob>,
    pub(crate) tables: Sender<Delta>,
    pub(crate) reads: Asking,
    pub(crate) finds: Asking,
    /// Time for one `find`, ms: the finder looks here.
    pub(crate) find_ms: Arc<AtomicU64>,
    pub(crate) progress: Arc<Progress>,
    /// How far the index for `find` is.
    pub(crate) index: Arc<Progress>,
}

/// See the module's head.
pub(crate) struct Pump {
    hub: RefCell<Hub>,
    slots: RefCell<HashMap<SessionId, Rc<Slot>>>,
    threads: Threads,
    wheel: RefCell<Wheel>,
    waker: RefCell<Option<Waker>>,
    due: Cell<bool>,
    trouble: RefCell<Option<String>>,
    stopping: Cell<bool>,
    ended: Cell<Option<&'static str>>,
    /// The budget for what clients make the server hold.
    pub(crate) memory: Memory,
    /// What each of them may ask.
    pub(crate) quotas: Quotas,
    /// What is counted beside what the hub counts.
    pub(crate) watch: Watch,
}

impl Pump {
    pub(crate) fn new(hub: Hub, threads: Threads, watch: Watch, limits: &Limits) -> Pump {
        let pump = Pump {
            hub: RefCell::new(hub),
            slots: RefCell::default(),
            threads,
            wheel: RefCell::default(),
            waker: RefCell::default(),
            due: Cell::new(true),
            trouble: RefCell::default(),
            stopping: Cell::new(false),
            ended: Cell::new(None),
            memory: Memory::new(0),
            quotas: Quotas::new(limits.rates()),
            watch,
        };
        pump.set_limits(limits);
        pump
    }

    pub(crate) fn connect(
        &self,
        peer: Peer,
        about: About,
        own: Rc<Buckets>,
        session: ServerSession,
    ) -> Rc<Slot> {
        let id = self.hub.borrow_mut().connect(peer);
        let slot = Rc::new(Slot {
            id,
            about,
            session: RefCell::new(session),
            own,
            held: Cell::new(0),
            text: RefCell::default(),
            beside: Cell::new(0),
            waker: RefCell::default(),
            woken: Cell::new(false),
            rings: Cell::new(None),
        });
        self.slots.borrow_mut().insert(id, slot.clone());
        if self.stopping.get() {
            slot.session.borrow_mut().close("stopping");
        }
        slot
    }

    pub(crate) fn disconnect(&self, id: SessionId) {
        let slot = self.slots.borrow_mut().remove(&id);
        if let Some(slot) = slot {
            for &(code, count) in slot.session.borrow().refusals() {
                self.watch.refusals.add(code, count);
            }
            self.memory.change(id, slot.held.take(), 0);
            self.hub.borrow_mut().disconnect(id);
            // Nobody is there to be told: what it asked is forgotten without being run.
            let from = &slot.about.from;
            let asked = [&self.threads.reads, &self.threads.finds].map(|queue| queue.cancel(from, id));
            for job in asked.into_iter().flatten() {
                self.hub.borrow_mut().answer_read(job.id, Err(ReadFault::Full));
            }
        }
    }

    /// A session's peer says nothing any more: it may read on, but nobody is there to ask.
    pub(crate) fn only_tells(&self, id: SessionId) {
        self.hub.borrow_mut().peer_ended(id);
    }

    /// A session's request. What comes of it is in its slot now or later.
    pub(crate) fn request(self: &Rc<Self>, slot: &Slot, ticket: Ticket, request: Request) {
        let id = slot.id;
        if request.action == Action::Status && self.is_operator(id) {
            return self.tell_status(id, ticket, request.re);
        }
        let ask = Ask::of(&request.action);
        if let Some(wait_ms) = self.over_quota(slot, request.name.as_deref(), ask) {
            let error = ErrorReply::new(Code::Busy, ask.refusal(wait_ms)).with("retry-after", wait_ms);
            self.watch.refusals.add(error.code, 1);
            let reply = write_error(request.re.as_deref(), &error);
            let pause_ms = if ask.is_paced() { DELAY_MS_MAX } else { REFUSED_PAUSE_MS };
            let mut session = slot.session.borrow_mut();
            session.reply(steady_now(), ticket, reply);
            session.pause(steady_now() + pause_ms);
            drop(session);
            slot.wake();
            return;
        }
        self.hub.borrow_mut().request(id, ticket, request);
        self.spend(slot, ask);
        self.perform();
        // The batch is written when every ready socket has been read: the pump's own turn comes
        // after theirs.
        self.schedule();
    }

    /// For what is asked from here on.
    pub(crate) fn set_rules(&self, limits: &Limits, guests: Guests, trust: Trust) {
        self.set_limits(limits);
        let mut hub = self.hub.borrow_mut();
        hub.set_guests(guests);
        hub.set_trust(trust);
    }

    fn set_limits(&self, limits: &Limits) {
        let budget = limits.memory_bytes() / COUNTED_SHARE;
        self.memory.set_max(budget);
        self.quotas.set(limits.rates());
        self.threads.find_ms.store(limits.find_ms(), Ordering::Relaxed);
        let part = |share: u64, most: usize| usize::try_from(budget / share).unwrap_or(most).min(most);
        let mut hub = self.hub.borrow_mut();
        hub.set_inline_max(limits.inline_bytes());
        hub.set_memory(part(TAILS_SHARE, TAILS_BYTES_MAX), part(QUEUE_SHARE, ORDER_QUEUE_BYTES_MAX));
    }

    /// Who asks; `name` is what a first request says.
    fn who<'a>(&self, slot: &'a Slot, name: Option<&str>) -> Who<'a> {
        let hub = self.hub.borrow();
        let principal = match hub.peer(slot.id) {
            // Whoever has the folder has everything, also under an account's name.
            Some(Peer::Operator) | None => Principal::Operator,
            Some(Peer::Local | Peer::RemoteTls | Peer::RemotePlain) => hub.principal(slot.id, name),
        };
        Who { principal, own: &slot.own, address: slot.about.from.counted() }
    }

    /// How long this must not be asked yet, ms, where that is too long to be read later.
    fn over_quota(&self, slot: &Slot, name: Option<&str>, ask: Ask) -> Option<u64> {
        let wait_ms = self.quotas.wait_ms(steady_now(), self.who(slot, name), ask);
        (wait_ms > DELAY_MS_MAX).then_some(wait_ms)
    }

    /// Who asks faster than the quotas allow is read later.
    fn spend(&self, slot: &Slot, ask: Ask) {
        let now = steady_now();
        let wait_ms = self.quotas.spend(now, self.who(slot, None), ask);
        if wait_ms > 0 && ask.is_paced() {
            slot.session.borrow_mut().pause(now + wait_ms.min(DELAY_MS_MAX));
        }
    }

    /// What is in memory for clients beside what their sessions hold: tails, the order's queue, and the bare connections;
    /// bytes.
    fn held_beside(&self) -> u64 {
        let connections = self.slots.borrow().len() as u64 * CONNECTION_BYTES;
        self.hub.borrow().memory_bytes() as u64 + connections
    }

    /// Is there memory for one more connection beside so many? What others hold does not matter: they give it up.
    pub(crate) fn may_admit(&self, open: usize) -> bool {
        (open as u64 + 1) * CONNECTION_BYTES <= self.memory.max() / CONNECTIONS_SHARE
    }

    /// May this connection be read, as far as memory goes? Who holds little may: whoever holds most makes room for it.
    pub(crate) fn has_memory(&self, slot: &Slot) -> bool {
        slot.held.get() < LITTLE_BYTES || !self.is_full() || self.is_operator(slot.id)
    }

    /// Is the memory for clients used up?
    pub(crate) fn is_full(&self) -> bool {
        self.memory.is_full(self.held_beside())
    }

    /// Counts what a session holds now, and what stands beside it for HTTP; no session may be borrowed. Where that is
    /// more than there is, whoever holds most gives it up.
    pub(crate) fn note_held(&self, slot: &Slot) {
        let in_hub = self.hub.borrow().held_bytes(slot.id);
        let held = slot.session.borrow().held_bytes() + slot.text.borrow().len() + slot.beside.get() + in_hub;
        self.set_held(slot, held);
        if held == 0 {
            return;
        }
        let beside = self.held_beside();
        if held > STRANGER_BYTES + LITTLE_BYTES && self.memory.is_scarce(beside) && self.is_stranger(slot.id)
        {
            self.shed(slot, "this server's memory for clients who have not signed in is used up");
        }
        self.shed_beyond();
    }

    /// While more is held than there is, the sessions that hold most give it up, the largest first. One that can give
    /// nothing up is passed over.
    fn shed_beyond(&self) {
        let mut last = None;
        while self.is_full() {
            let Some(largest) = self.memory.largest(last) else { break };
            last = Some(largest);
            if let Some(slot) = self.slots.borrow().get(&largest.1).cloned() {
                self.shed(
                    &slot,
                    "this server's memory for clients is used up, and this connection held most of it",
                );
            }
        }
    }

    fn set_held(&self, slot: &Slot, held: usize) {
        self.memory.change(slot.id, slot.held.replace(held), held);
    }

    fn is_stranger(&self, id: SessionId) -> bool {
        let hub = self.hub.borrow();
        let is_remote = matches!(hub.peer(id), Some(Peer::RemotePlain | Peer::RemoteTls));
        is_remote && !matches!(hub.principal(id, None), Principal::Account(_))
    }

    /// A session gives up what it holds.
    fn shed(&self, slot: &Slot, why: &str) {
        let error =
            ErrorReply::new(Code::Busy, format!("{why}; try again")).with("retry-after", SHED_RETRY_MS);
        slot.text.take();
        let held = {
            let mut session = slot.session.borrow_mut();
            session.shed(steady_now(), &error);
            session.held_bytes() + slot.beside.get()
        };
        self.watch.shed.add(1);
        self.set_held(slot, held);
        slot.wake();
    }

    fn is_operator(&self, id: SessionId) -> bool {
        self.hub.borrow().about(id).is_some_and(|about| about.peer == Peer::Operator)
    }

    /// Answers when the machine was looked at, which may take its time.
    fn tell_status(self: &Rc<Self>, id: SessionId, ticket: Ticket, re: Option<String>) {
        let pump = self.clone();
        tokio::task::spawn_local(async move {
            let machine = machine::look(pump.watch.data.clone()).await;
            let report = pump.snapshot().report(&machine).to_string();
            if let Some(slot) = pump.slots.borrow().get(&id) {
                let reply = write_json(re.as_deref(), &[], &report);
                slot.session.borrow_mut().reply(steady_now(), ticket, reply);
                slot.wake();
            }
        });
    }

    /// The server at this moment, without what costs a look at every connection.
    fn outline(&self) -> Snapshot {
        let (hub, watch) = (self.hub.borrow(), &self.watch);
        let progress = &self.threads.progress;
        Snapshot {
            server: watch.server.clone(),
            up_ms: watch.began.elapsed().as_millis() as u64,
            journal: hub.identity().id_hex(),
            open: hub.is_open(),
            trouble: self.trouble.borrow().clone().or_else(|| hub.trouble().map(str::to_owned)),
            damaged: watch.damages.count(),
            damaged_first: watch.damages.first(DAMAGED_NAMED).into_iter().map(|seq| seq.0).collect(),
            ahead_ms: hub.state().time().0.saturating_sub(now().wall.0),
            hub: hub.stats(),
            view: Follower { position: progress.cursor().0, stuck: progress.is_stuck() },
            find: Follower { position: self.threads.index.cursor().0, stuck: self.threads.index.is_stuck() },
            shed: watch.shed.get(),
            held_bytes: self.memory.used() + self.held_beside(),
            memory_max: self.memory.max(),
            connections_max: watch.connections_max.get() as u64,
            accepted: watch.accepted.get(),
            turned_away: watch.turned_away.get(),
            appends: watch.appends.read(),
            free_min: watch.free_min.get(),
            lag_max: watch.lag_max.get(),
            ..Snapshot::default()
        }
    }

    /// The server at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.outline();
        let (hub, watch, now) = (self.hub.borrow(), &self.watch, steady_now());
        let refusals = Refusals::default();
        for (code, count) in watch.refusals.read().into_iter().chain(hub.refusals().iter().copied()) {
            refusals.add(code, count);
        }
        for slot in self.slots.borrow().values() {
            let Some(about) = hub.about(slot.id) else { continue };
            let way = Way::new(slot.about.door.name(), slot.about.tls, about.peer);
            *snapshot.ways.entry(way).or_default() += 1;
            // Whoever asks for this has its own session at hand.
            let Ok(session) = slot.session.try_borrow() else { continue };
            for &(code, count) in session.refusals() {
                refusals.add(code, count);
            }
            let Some((bytes, since)) = session.waiting() else { continue };
            snapshot.unsent_bytes += bytes as u64;
            snapshot.waiting.push(Waiting {
                bytes,
                for_ms: now.0.saturating_sub(since.0),
                behind: about.behind,
                name: about.name,
                from: slot.about.from.to_string(),
                way,
            });
        }
        snapshot.refusals = refusals.read();
        snapshot
    }

    /// What keeps the server from being ready, if anything.
    pub(crate) async fn not_ready(&self) -> Option<String> {
        let disk = machine::look_at_disk(self.watch.data.clone()).await;
        self.outline().not_ready(disk)
    }

    /// What is damaged in the journal, if anything.
    pub(crate) fn damage(&self) -> Option<String> {
        self.outline().damage()
    }

    /// The server's numbers, for Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        let machine = machine::look(self.watch.data.clone()).await;
        metrics::text(self.snapshot(), machine)
    }

    /// What comes next for a session; `true` when there may be more at once.
    pub(crate) fn pull(&self, id: SessionId, out: &mut Vec<Bytes>) -> bool {
        let more = self.hub.borrow_mut().pull(id, out);
        self.perform();
        more
    }

    pub(crate) fn schedule_deadline(&self, slot: &Slot, deadline: Millis) {
        let mut rings = slot.rings.get();
        self.wheel.borrow_mut().schedule(slot.id, deadline, &mut rings);
        slot.rings.set(rings);
    }

    fn schedule(&self) {
        self.due.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn perform(&self) {
        loop {
            let output = match self.decide(Hub::poll_output) {
                Some(Some(output)) => output,
                Some(None) => return,
                // Who waited is told.
                None => continue,
            };
            match output {
                Output::Reply { session, ticket, bytes } => {
                    let slot = self.slots.borrow().get(&session).cloned();
                    if let Some(slot) = slot {
                        // Counted from now on: its own turn may be far away.
                        let held = slot.held.get() + bytes.len();
                        slot.session.borrow_mut().reply(steady_now(), ticket, bytes);
                        self.set_held(&slot, held);
                        slot.wake();
                        if held > LITTLE_BYTES {
                            self.shed_beyond();
                        }
                    }
                }
                Output::Pause { session, ms } => {
                    if let Some(slot) = self.slots.borrow().get(&session) {
                        slot.session.borrow_mut().pause(steady_now() + ms);
                    }
                }
                Output::Follows { session } => {
                    if let Some(slot) = self.slots.borrow().get(&session) {
                        slot.session.borrow_mut().set_follows();
                    }
                }
                Output::Wake { session } => {
                    if let Some(slot) = self.slots.borrow().get(&session) {
                        slot.wake();
                    }
                }
                // A thread that is gone takes the process with it at its end; see `serve.rs`.
                Output::Append(batch) => {
                    self.watch.append_begins();
                    drop(self.threads.journal.send(WriteJob::Append(batch)));
                }
                Output::Settle { after } => drop(self.threads.journal.send(WriteJob::Settle { after })),
                Output::Read(job) => {
                    let from = self.slots.borrow().get(&job.session).map(|slot| slot.about.from);
                    let queue = match job.read {
                        Read::Find(_) => &self.threads.finds,
                        _ => &self.threads.reads,
                    };
                    let refused = match from {
                        // Its reply would have to be given up.
                        Some(_) if self.is_full() => Some(job),
                        Some(from) => queue.push(&from, job),
                        // Its session is gone already.
                        None => Some(job),
                    };
                    if let Some(job) = refused {
                        self.hub.borrow_mut().answer_read(job.id, Err(ReadFault::Full));
                    }
                }
                Output::Tell(delta) => drop(self.threads.tables.send(delta)),
            }
        }
    }

    fn take(&self, answer: Answer) {
        match answer {
            Answer::Appended(appended) => {
                self.watch.append_ends();
                let trouble = match &appended {
                    vang_journal::Appended::Appended { .. } => None,
                    vang_journal::Appended::NotAppended(fault) | vang_journal::Appended::Unknown(fault) => {
                        Some(fault.to_string())
                    }
                };
                self.note_trouble(trouble);
                let _ = self.decide(|hub| hub.appended(now(), appended));
            }
            Answer::Settled(settled) => {
                if let Err(fault) = &settled {
                    self.note_trouble(Some(fault.to_string()));
                }
                let _ = self.decide(|hub| hub.settled(now(), settled));
            }
            Answer::Probed(probed) => self.note_trouble(probed.err().map(|fault| fault.to_string())),
            Answer::Read(id, answer, _receipt) => {
                let session = self.hub.borrow().reader(id);
                self.hub.borrow_mut().answer_read(id, answer);
                self.perform();
                let slot = session.and_then(|session| self.slots.borrow().get(&session).cloned());
                if let Some(slot) = slot {
                    self.note_held(&slot);
                }
            }
            Answer::Ended(thread) => {
                tracing::error!(thread, "a thread of the server ended");
                self.ended.set(Some(thread));
            }
        }
    }

    /// Lets the hub apply what was written. A panic in there is a defect of the rules: it ends the
    /// ordering, since the state cannot be trusted any more, but not the reading.
    fn decide<T>(&self, decide: impl FnOnce(&mut Hub) -> T) -> Option<T> {
        let decided = catch_unwind(AssertUnwindSafe(|| decide(&mut self.hub.borrow_mut())));
        if decided.is_err() {
            tracing::error!("an entry could not be decided; nothing is ordered any more");
            self.hub.borrow_mut().halt("an entry could not be decided");
        }
        decided.ok()
    }

    /// The thread that ended although none should.
    pub(crate) fn ended(&self) -> Option<&'static str> {
        self.ended.get()
    }

    /// Says so once when the journal begins to fail, and once when it works again.
    fn note_trouble(&self, trouble: Option<String>) {
        let before = self.trouble.replace(trouble.clone());
        match (before, trouble) {
            (None, Some(cause)) => tracing::error!(%cause, "the journal cannot be written; senders are told"),
            (Some(_), None) => tracing::info!("the journal can be written again"),
            _ => {}
        }
    }

    /// What keeps the server from being ready, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(trouble) = &*self.trouble.borrow() {
            return Some(trouble.clone());
        }
        if let Some(trouble) = self.hub.borrow().trouble() {
            return Some(trouble.to_owned());
        }
        if self.threads.progress.is_stuck() {
            return Some("the tables for history cannot be written".to_owned());
        }
        let lag = self.lag();
        (lag > LAG_MAX).then(|| format!("the tables are {lag} entries behind"))
    }

    fn lag(&self) -> u64 {
        self.hub.borrow().stats().seq.saturating_sub(self.threads.progress.cursor().0)
    }

    /// The pump's own task: answers of the threads, deadlines, batches. Ends only when a thread did.
    pub(crate) async fn run(&self, mut answers: UnboundedReceiver<Answer>) {
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            poll_fn(|cx| {
                let mut ready = self.due.replace(false);
                let mut turn = Turn::of_the_pump();
                while let Poll::Ready(Some(answer)) = answers.poll_recv(cx) {
                    self.take(answer);
                    // A page from the disk may be long.
                    turn.note_units(4);
                    ready = true;
                    if turn.is_over() {
                        // The others come first; there may be more.
                        self.due.set(true);
                        cx.waker().wake_by_ref();
                        break;
                    }
                }
                if tick.poll_tick(cx).is_ready() {
                    self.ring();
                    ready = true;
                    // Ask again, so that the next tick wakes this task.
                    let _ = tick.poll_tick(cx);
                }
                if ready {
                    return Poll::Ready(());
                }
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            if self.lag() < LAG_MAX {
                self.order();
            } else if self.threads.progress.is_stuck() {
                self.hub.borrow_mut().refuse_busy();
            }
            self.perform();
            if self.ended.get().is_some() {
                return;
            }
            if self.due.get() || !answers.is_empty() {
                yield_turn().await;
            }
        }
    }

    /// Lets the hub order what waits; says so once when it does not, and once when it does again.
    fn order(&self) {
        let mut hub = self.hub.borrow_mut();
        let before = hub.trouble().is_some();
        hub.poll(now());
        match (before, hub.trouble()) {
            (false, Some(cause)) => tracing::error!(cause, "nothing is ordered; senders are told"),
            (true, None) => tracing::info!("messages are ordered again"),
            _ => {}
        }
    }

    fn ring(&self) {
        tell_left_out(self.watch.reports.due(Instant::now()));
        self.memory.tidy(steady_now(), self.held_beside());
        let due = self.wheel.borrow_mut().due(steady_now());
        let slots = self.slots.borrow();
        for (tick, id) in due {
            if let Some(slot) = slots.get(&id)
                && slot.rings.get() == Some(tick)
            {
                slot.rings.set(None);
                slot.wake();
            }
        }
    }

    /// Begins the end: nothing more is taken, everybody is told.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.hub.borrow_mut().stop();
        for slot in self.slots.borrow().values() {
            slot.session.borrow_mut().close("stopping");
            slot.wake();
        }
        self.schedule();
    }

    /// Has everything been written that was asked?
    pub(crate) fn is_quiet(&self) -> bool {
        self.hub.borrow().is_quiet()
    }

    /// Does this server order yet?
    pub(crate) fn is_open(&self) -> bool {
        self.hub.borrow().is_open()
    }

    pub(crate) fn connections(&self) -> usize {
        self.slots.borrow().len()
    }

    /// The server serves from now on: what could wait begins.
    pub(crate) fn set_serving(&self) {
        self.threads.index.set_serving();
    }

    /// The last word to the tables, and to the log.
    pub(crate) fn farewell(&self) {
        tell_left_out(self.watch.reports.rest());
        let delta = self.hub.borrow_mut().farewell();
        let _ = self.threads.tables.send(delta);
        self.threads.progress.set_ending();
        self.threads.index.set_ending();
    }
}

fn tell_left_out(kinds: Vec<(&'static str, u64)>) {
    for (kind, count) in kinds {
        tracing::warn!(kind, count, "more of the same was left out of the log");
    }
}

/// Both clocks. The steady one goes on while the machine sleeps.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Now { wall: Time(wall), steady: steady_now() }
}

/// The steady clock.
pub(crate) fn steady_now() -> Millis {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Millis(time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000)
}
