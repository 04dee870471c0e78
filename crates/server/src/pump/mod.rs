//! Turns the hub: requests in, replies and wake-ups out. One `Pump` for all connections, on the one
//! thread that decides; a connection's task and the pump's own meet in its `Slot`.

mod slot; // where a connection and the pump meet
mod deliveries; // wakes sessions that have events to read, a few at a time
mod budget; // what a connection may ask and hold
mod report; // the server at this moment
mod passwords; // what the hub wants checked, and what became of it

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use vang_hub::limits::SNAPSHOT_STEPS;
use vang_hub::{Admitted, Browser, Delta, Hub, Output, Peer, PeerAddress, Read, ReadError, SessionId};
use vang_proto::vang::{Action, Code, ErrorReply, Request, ServerSession, Ticket, write_error};
use vang_proto::{Millis, Secret};

use self::deliveries::Deliveries;
pub(crate) use self::slot::{ConnectionInfo, Slot};
use crate::clock::{now, steady_now};
use crate::config::Config;
use crate::disk::Answer;
use crate::disk::jobs::Asking;
use crate::disk::journal::WriteJob;
use crate::disk::progress::Progress;
use crate::disk::seen::SeenWriter;
use crate::fairness::memory::{LITTLE_BYTES, Memory};
use crate::fairness::quota::{Ask, DELAY_MS_MAX, Quotas, Share};
use crate::fairness::turns::{Clock, Turn, yield_to_the_ready};
use crate::limits::Limits;
use crate::secrets::desk::Desk;
use crate::status::monitoring::Monitoring;
use crate::wheel::{TICK_MS, Wheel};

/// What a page from the disk, and the reply made of it, take at once, bytes: 512 KiB.
const PAGE_BYTES: u64 = 2 * vang_hub::limits::HISTORY_BYTES_MAX as u64;

/// What a request takes beside its content until it is answered, about, bytes.
const REQUEST_BYTES: u64 = 512;

/// What an answer of a thread counts in the pump's turn, units of work: a page from the disk may be long.
const ANSWER_UNITS: usize = 4;

/// How long a client is not read that was refused more rooms or joins, ms: it may go on talking.
const REFUSED_PAUSE_MS: u64 = 100;

/// The threads that the pump talks to.
pub(crate) struct Threads {
    pub(crate) journal: Sender<WriteJob>,
    pub(crate) deltas: Sender<Delta>,
    pub(crate) reads: Asking,
    pub(crate) finds: Asking,
    /// Time for one `find`, ms: the finder looks here.
    pub(crate) find_ms: Arc<AtomicU64>,
    pub(crate) progress: Arc<Progress>,
    /// How far the index for `find` is.
    pub(crate) index: Arc<Progress>,
    pub(crate) seen: SeenWriter,
}

pub(crate) struct Pump {
    hub: RefCell<Hub>,
    /// Looked up for each reply; the server makes the ids.
    slots: RefCell<HashMap<SessionId, Rc<Slot>, foldhash::fast::RandomState>>,
    threads: Threads,
    answers: RefCell<UnboundedReceiver<Answer>>,
    desk: RefCell<Desk>,
    wheel: RefCell<Wheel>,
    waker: RefCell<Option<Waker>>,
    due: Cell<bool>,
    deliveries: Deliveries,
    trouble: RefCell<Option<String>>,
    stopping: Cell<bool>,
    /// Entries that the view can be behind before new messages wait.
    send_lag: Cell<u64>,
    ended: Cell<Option<&'static str>>,
    /// The budget for what clients make the server hold.
    pub(crate) memory: Memory,
    /// What each of them may ask.
    pub(crate) quotas: Quotas,
    /// What is counted beside what the hub counts.
    pub(crate) monitoring: Monitoring,
}

impl Pump {
    pub(crate) fn new(
        hub: Hub,
        (threads, desk, answers): (Threads, Desk, UnboundedReceiver<Answer>),
        monitoring: Monitoring,
        limits: &Limits,
    ) -> Pump {
        let pump = Pump {
            hub: RefCell::new(hub),
            slots: RefCell::default(),
            threads,
            answers: RefCell::new(answers),
            desk: RefCell::new(desk),
            wheel: RefCell::default(),
            waker: RefCell::default(),
            due: Cell::new(true),
            deliveries: Deliveries::default(),
            trouble: RefCell::default(),
            stopping: Cell::new(false),
            send_lag: Cell::new(u64::MAX),
            ended: Cell::new(None),
            memory: Memory::new(0),
            quotas: Quotas::new(&limits.rates()),
            monitoring,
        };
        pump.set_limits(limits);
        pump
    }

    pub(crate) fn connect(
        &self,
        peer: Peer,
        connection: ConnectionInfo,
        share: Rc<Share>,
        session: ServerSession,
    ) -> Rc<Slot> {
        let (id, from) = (self.hub.borrow_mut().connect(peer), connection.from);
        self.hub.borrow_mut().set_address(id, PeerAddress { host: from.host(), ip: from.ip() });
        let slot = Rc::new(Slot {
            id,
            connection,
            session: RefCell::new(session),
            share,
            held: Cell::new(0),
            text: RefCell::default(),
            body: RefCell::default(),
            beside: Cell::new(0),
            waker: RefCell::default(),
            woken: Cell::new(false),
            due: Cell::new(false),
            rings: Cell::new(None),
        });
        self.slots.borrow_mut().insert(id, slot.clone());
        if self.stopping.get() {
            slot.session.borrow_mut().close("stopping");
        }
        slot
    }

    /// Gives away what is due, unless what was given before is still being written.
    fn write_seen(&self) {
        if self.threads.seen.is_free() {
            let rows = self.hub.borrow_mut().seen_due(steady_now());
            self.threads.seen.write(rows);
        }
    }

    pub(crate) fn disconnect(&self, id: SessionId) {
        let slot = self.slots.borrow_mut().remove(&id);
        if let Some(slot) = slot {
            for &(code, count) in slot.session.borrow().refusals() {
                self.monitoring.refusals.add(code, count);
            }
            self.memory.change(id, slot.held.take(), 0);
            self.hub.borrow_mut().disconnect(id);
            self.forget_secrets(id);
            // Nobody waits for the answers: what it asked is forgotten without being run.
            let from = &slot.connection.from;
            let asked = [&self.threads.reads, &self.threads.finds].map(|queue| queue.cancel(from, id));
            for job in asked.into_iter().flatten() {
                self.hub.borrow_mut().answer_read(job.id, Err(ReadError::Full));
            }
        }
    }

    /// A session's peer says nothing any more: it may read on, but nobody is there to ask.
    pub(crate) fn note_half_closed(&self, id: SessionId) {
        self.hub.borrow_mut().peer_ended(id);
    }

    /// A session's request. What comes of it is in its slot now or later.
    pub(crate) fn request(self: &Rc<Self>, now: Millis, slot: &Slot, ticket: Ticket, request: Request) {
        let id = slot.id;
        if request.action == Action::Status && self.is_operator(id) {
            return self.reply_status(id, ticket, request.re);
        }
        let ask = Ask::of(&request.action);
        if let Some(wait_ms) = self.over_quota(now, slot, request.name.as_deref(), ask) {
            let error = ErrorReply::new(Code::Busy, ask.refusal(wait_ms)).with("retry-after", wait_ms);
            self.monitoring.refusals.add(error.code, 1);
            let reply = write_error(request.re.as_deref(), &error);
            let pause_ms = if ask.is_paced() { DELAY_MS_MAX } else { REFUSED_PAUSE_MS };
            let mut session = slot.session.borrow_mut();
            session.reply(now, ticket, reply);
            session.pause(now + pause_ms);
            drop(session);
            slot.wake();
            return;
        }
        // Its event, in the end of its room.
        self.memory.note_growth(REQUEST_BYTES + request.action.content_len() as u64);
        self.hub.borrow_mut().request(id, ticket, request);
        self.spend(now, slot, ask);
        self.perform();
        // The batch is written when every ready socket has been read: the pump's own turn comes
        // after theirs.
        self.schedule();
    }

    /// For what is asked from here on.
    pub(crate) fn set_rules(&self, config: &Config) {
        self.set_limits(&config.limits);
        let mut hub = self.hub.borrow_mut();
        hub.set_guests(config.guests);
        hub.set_trust(config.trust);
        hub.set_rooms_by(config.rooms_by);
        hub.set_default_rooms(&config.default_rooms);
    }

    /// Where people open the page.
    pub(crate) fn set_page(&self, page: Option<String>) {
        self.hub.borrow_mut().set_page(page);
    }

    /// Signs a connection in with a token, at once.
    pub(crate) fn sign_in_with(&self, id: SessionId, token: &Secret) -> Result<(), ErrorReply> {
        self.hub.borrow_mut().sign_in_with(id, None, token)
    }

    /// The connection is a browser's.
    pub(crate) fn set_browser(&self, id: SessionId, browser: Browser) {
        self.hub.borrow_mut().set_browser(id, browser);
    }

    /// While there is no account: an administrator's invitation. Its code.
    pub(crate) fn invite_first_admin(&self) -> Option<Secret> {
        let code = self.hub.borrow_mut().invite_first_admin();
        self.schedule();
        code
    }

    /// Which journal this is: 32 hexadecimal digits.
    pub(crate) fn journal(&self) -> String {
        self.hub.borrow().identity().id_hex()
    }

    /// Who can enter from there.
    pub(crate) fn admitted(&self, peer: Peer) -> Admitted {
        self.hub.borrow().admitted(peer)
    }

    fn is_operator(&self, id: SessionId) -> bool {
        self.hub.borrow().session_info(id).is_some_and(|info| info.peer == Peer::Operator)
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
        // Read when it is needed: of hundreds of replies once.
        let mut time = None;
        loop {
            let output = match self.decide(Hub::poll_output) {
                Some(Some(output)) => output,
                Some(None) => return self.deliveries.begin(),
                // Those who waited have got an error.
                None => continue,
            };
            match output {
                Output::Reply { session, ticket, bytes } => {
                    let slot = self.slots.borrow().get(&session).cloned();
                    if let Some(slot) = slot {
                        // Counted from now on: its own turn may be far away.
                        let held = slot.held.get() + bytes.len();
                        let now = *time.get_or_insert_with(steady_now);
                        slot.session.borrow_mut().reply(now, ticket, bytes);
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
                        self.deliveries.push(slot);
                    }
                }
                // A thread that is gone takes the process with it at its end; see `run.rs`.
                Output::Append(batch) => {
                    self.monitoring.append_begins();
                    drop(self.threads.journal.send(WriteJob::Append(batch)));
                }
                Output::Settle { after } => drop(self.threads.journal.send(WriteJob::Settle { after })),
                Output::Read(job) => {
                    let from = self.slots.borrow().get(&job.session).map(|slot| slot.connection.from);
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
                        let why = if self.is_full() { ReadError::NoMemory } else { ReadError::Full };
                        self.hub.borrow_mut().answer_read(job.id, Err(why));
                    }
                }
                Output::Secret(job) => self.ask_secrets(job),
                Output::Erase(seqs) => drop(self.threads.journal.send(WriteJob::Erase(seqs))),
                Output::Close { session, why } => {
                    if let Some(slot) = self.slots.borrow().get(&session) {
                        slot.session.borrow_mut().close(why);
                        slot.wake();
                    }
                }
                Output::UpdateView(delta) => drop(self.threads.deltas.send(delta)),
            }
        }
    }

    fn take(&self, answer: Answer) {
        match answer {
            Answer::Appended(appended, entries) => {
                self.monitoring.append_ends();
                let trouble = match &appended {
                    vang_journal::Appended::Appended { .. } => None,
                    vang_journal::Appended::NotAppended(fault) | vang_journal::Appended::Unknown(fault) => {
                        Some(fault.to_string())
                    }
                };
                self.note_trouble(trouble);
                let _ = self.decide(|hub| {
                    hub.appended(now(), appended);
                    hub.arrived(entries);
                });
            }
            Answer::Settled(settled) => {
                if let Err(fault) = &settled {
                    self.note_trouble(Some(fault.to_string()));
                }
                let _ = self.decide(|hub| hub.settled(now(), settled));
            }
            Answer::Probed(probed) => self.note_trouble(probed.err().map(|fault| fault.to_string())),
            Answer::Erased => self.hub.borrow_mut().erased(),
            Answer::Hashed(hashed) => self.take_hashed(hashed),
            Answer::Read(id, answer, _receipt) => {
                let session = self.hub.borrow().reader(id);
                self.memory.note_growth(PAGE_BYTES);
                let answer = if self.has_room() { answer } else { Err(ReadError::NoMemory) };
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
                self.due.set(true);
            }
        }
    }

    /// Lets the hub apply what was written. A panic in there is a defect of the rules: it ends the
    /// ordering, since the state cannot be trusted any more, but not the reading.
    fn decide<T>(&self, decide: impl FnOnce(&mut Hub) -> T) -> Option<T> {
        let decided = catch_unwind(AssertUnwindSafe(|| decide(&mut self.hub.borrow_mut())));
        if decided.is_err() {
            tracing::error!("an entry could not be applied; the server accepts no more messages");
            self.hub.borrow_mut().halt("an entry could not be decided; restart the server");
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
            (None, Some(error)) => {
                tracing::error!(%error, "the journal cannot be written; senders get an error");
            }
            (Some(_), None) => tracing::info!("the journal can be written again"),
            _ => {}
        }
    }

    /// Is nothing ordered at present: because of the journal, the rules, or a view that is too far behind? Whether the
    /// server is ready is another question (`Snapshot::not_ready`).
    pub(crate) fn cannot_order(&self) -> bool {
        self.trouble.borrow().is_some()
            || self.hub.borrow().not_ordering().is_some()
            || self.threads.progress.is_stuck()
            || self.lag() > self.send_lag.get()
    }

    fn lag(&self) -> u64 {
        self.hub.borrow().stats().seq.saturating_sub(self.threads.progress.cursor().0)
    }

    /// Wakes sessions that have events to read, in rounds. Never ends.
    pub(crate) async fn deliver(&self, clock: Clock) {
        self.deliveries.serve(clock).await;
    }

    /// The pump's own task: answers of the threads, deadlines, batches. Ends only when a thread did.
    pub(crate) async fn run(&self, clock: Clock) {
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            poll_fn(|cx| {
                let mut ready = self.due.replace(false);
                let mut turn = Turn::of_the_pump(clock);
                while let Poll::Ready(Some(answer)) = self.poll_answer(cx) {
                    self.take(answer);
                    turn.note_units(ANSWER_UNITS);
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
            self.order_and_perform();
            // One piece a turn, so that everybody else has one in between.
            if self.decide(|hub| hub.continue_snapshot(SNAPSHOT_STEPS)) == Some(true) {
                self.due.set(true);
            }
            if self.ended.get().is_some() {
                return;
            }
            if self.due.get() || !self.answers.borrow().is_empty() {
                yield_to_the_ready().await;
            }
        }
    }

    fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.answers.borrow_mut().poll_recv(cx)
    }

    /// After the turn of a connection: when so much waits that a batch of it is worth its sync, the pump does not wait for
    /// its own turn. So the journal's thread writes while the next messages are read, and neither waits for the other.
    pub(crate) fn order_between_turns(&self, clock: Clock) {
        if !self.hub.borrow().is_worth_a_batch() {
            return;
        }
        let mut turn = Turn::of_the_pump(clock);
        while !turn.is_over() {
            let Ok(answer) = self.answers.borrow_mut().try_recv() else { break };
            self.take(answer);
            turn.note_units(ANSWER_UNITS);
        }
        self.order_and_perform();
    }

    fn order_and_perform(&self) {
        if !self.has_room() {
            // What is durable cannot be refused any more.
            self.hub.borrow_mut().refuse_busy("no memory is left for messages; try again");
        } else if self.lag() <= self.send_lag.get() {
            self.order();
        } else if self.threads.progress.is_stuck() {
            let why = "the server's view cannot be written and is too far behind; try again";
            self.hub.borrow_mut().refuse_busy(why);
        }
        self.perform();
    }

    /// Lets the hub order what waits; says so once when it does not, and once when it does again.
    fn order(&self) {
        let mut hub = self.hub.borrow_mut();
        let before = hub.not_ordering().is_some();
        let now = now();
        hub.set_wall(now.wall);
        hub.poll(now);
        match (before, hub.not_ordering()) {
            (false, Some(error)) => tracing::error!(error, "no messages are accepted; senders get an error"),
            (true, None) => tracing::info!("messages are accepted again"),
            _ => {}
        }
    }

    fn ring(&self) {
        self.hub.borrow_mut().set_wall(now().wall);
        self.run_secrets();
        self.write_seen();
        log_left_out(self.monitoring.reports.due(Instant::now()));
        self.memory.tidy(steady_now());
        self.memory.ask_allocator();
        // What no connection holds may have grown: the ends of rooms, what waits to be written.
        self.shed_beyond();
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

    /// Begins the end: no new requests, and every client gets the reason.
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

    /// The last rows for the view, and the last line of the log.
    pub(crate) fn farewell(&self) {
        log_left_out(self.monitoring.reports.rest());
        let delta = self.hub.borrow_mut().farewell();
        let _ = self.threads.deltas.send(delta);
        let seen = self.hub.borrow_mut().seen_rest();
        self.threads.seen.write(seen);
        self.threads.progress.set_ending();
        self.threads.index.set_ending();
    }
}

fn log_left_out(kinds: Vec<(&'static str, u64)>) {
    for (kind, count) in kinds {
        tracing::warn!(kind, count, "similar messages were left out of the log");
    }
}
