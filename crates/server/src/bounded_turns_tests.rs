//! Many hostile peers whose bytes are always ready, and a few honest sessions: each honest request is answered before any
//! hostile peer has had more than a few turns, however many hostile peers there are, and no turn is longer than its budget.
//!
//! Turns are counted. (Of more peers each has a shorter turn, so that a round of all of them takes as long; see
//! `turns.rs`.) The turns, the pump, the connections and their doors are the real ones, and so is the runtime;
//! peers are in memory, the disk answers on the same thread, and the turns' clock goes on by a fixed step whenever it is
//! looked at. So a seed repeats. (The code that gives turns stays in this crate: what can go wrong is in the loops of the
//! connections and in the order of the runtime, and the simulation has neither.)

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local, yield_now};
use vang_chat::Node;
use vang_hub::{Hub, Peer, ReadAnswer, Salts, Scope, Trust};
use vang_journal::{Appended, Maintain, Store};
use vang_proto::vang::{Access, Action, FollowFrom, Incoming, Reply, RequestWriter, incoming};
use vang_proto::{Decoder, Limits as FrameLimits};
use vang_view::Found;

use crate::client_place::Client;
use crate::connection::Connection;
use crate::disk::Answer;
use crate::disk::jobs::{Asking, Queue};
use crate::disk::journal::WriteJob;
use crate::disk::progress::Progress;
use crate::disk::readers::Disk;
use crate::disk::seen::SeenWriter;
use crate::disk::view_writer::view_writer;
use crate::fairness::places;
use crate::fairness::turns::{Credit, Fair, Turns};
use crate::http::hosts::{Authority, Names};
use crate::limits::Limits;
use crate::net::listen::PeerAddr;
use crate::net::memory_peer::MemoryPeer;
use crate::net::socket::{Socket, Stream};
use crate::net::tls;
use crate::pump::{Pump, Threads};
use crate::secrets::desk::Desk;
use crate::secrets::password::Cost;
use crate::shared::House;
use crate::start;
use crate::status::monitoring::Monitoring;

/// After this time the test fails as hanging. It does not depend on its value.
const PATIENCE: Duration = Duration::from_secs(120);

/// Turns that any one hostile peer may have while an honest request is answered, on a connection that is known: two
/// whenever the request, or what it needs from another thread, is handed on; that is five times at most.
const TURNS_MAX: u64 = 12;

/// The same for a new connection, which waits in the queue of new ones until it is answered.
const TURNS_OF_NEW_MAX: u64 = 24;

/// The most that a connection may read in one turn, bytes: what is charged a whole turn, and the read that goes beyond it.
const TURN_BYTES_MAX: usize = 100_000 + (64 << 10);

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    static STEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The turns' clock: each look takes a step.
fn stepped_clock() -> Instant {
    NOW.with(|now| {
        let next = now.get().unwrap_or_else(Instant::now) + STEP.get();
        now.set(Some(next));
        next
    })
}

/// Random numbers of a seed (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The connection's future; counts its turns.
struct Counted<F> {
    peer: Rc<MemoryPeer>,
    turns: Rc<Cell<u64>>,
    future: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.peer.begin_turn();
        self.turns.set(self.turns.get() + 1);
        self.future.as_mut().poll(cx)
    }
}

/// A server whose threads, but for the view's, are one task of the test.
pub(crate) struct World {
    house: Rc<House>,
    /// Turns of each hostile connection.
    hostile_turns: RefCell<Vec<Rc<Cell<u64>>>>,
    /// How many entries each batch has that came to the journal.
    batches: Rc<RefCell<Vec<usize>>>,
    ports: Cell<u16>,
    _folder: tempfile::TempDir,
}

/// What the threads do, on the thread of the test.
struct Threadless {
    journal: Box<dyn Maintain>,
    jobs: Receiver<WriteJob>,
    reads: Arc<Queue>,
    finds: Arc<Queue>,
    disk: Disk,
    answers: UnboundedSender<Answer>,
    batches: Rc<RefCell<Vec<usize>>>,
    rounds_apart: u64,
}

impl Threadless {
    async fn run(mut self) {
        loop {
            while let Ok(WriteJob::Append(batch)) = self.jobs.try_recv() {
                self.batches.borrow_mut().push(batch.drafts.len());
                let appended = self.journal.append(&batch);
                let Appended::Appended { first } = appended else { panic!("{appended:?}") };
                let entries = batch.into_entries(first);
                let _ = self.answers.send(Answer::Appended(Appended::Appended { first }, entries));
            }
            // All that waits: whose question is first is the queue's matter, and tested there.
            loop {
                let page = self.reads.answer_next(|job| self.disk.answer(job));
                let found = self.finds.answer_next(|_| Ok(ReadAnswer::Found(Found::default())));
                if page.is_none() && found.is_none() {
                    break;
                }
                page.into_iter().chain(found).for_each(|answer| drop(self.answers.send(answer)));
            }
            for _ in 0..self.rounds_apart {
                yield_now().await;
            }
        }
    }
}

impl World {
    async fn open(random: &mut Random) -> World {
        World::open_with(random, |store| store).await
    }

    /// The threads that hash read verifiers from what is made of the journal's store.
    pub(crate) async fn open_with(
        random: &mut Random,
        hashing: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> World {
        STEP.set(Duration::from_micros(20 + random.below(60)));
        let folder = tempfile::tempdir().unwrap();
        let opened = start::open(folder.path()).unwrap();
        let mut limits = Limits::default();
        // What is asked too often is paused by the real clock: here it is not.
        for rate in ["messages-per-second", "bytes-per-second", "questions-per-second", "joins-per-second"] {
            limits.set(&format!("{rate}=1000000000")).unwrap();
        }
        let identity = opened.journal.identity();
        let mut hub =
            Hub::new(identity, opened.recovered, Node(7), Salts::new([7; 32]), "vang".to_owned(), false);
        hub.set_guests(Scope::Local);
        hub.set_trust(Trust::Local);
        let (answers, inbox) = unbounded_channel();
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        let (desk, _) =
            Desk::start(&hashing(opened.store.clone()), (limits.guesses(), cost), &answers).unwrap();
        let progress = Arc::new(Progress::default());
        let view_db = opened.folder.view_db();
        let (deltas, _view) =
            view_writer(opened.view, opened.store.clone(), progress.clone(), answers.clone()).unwrap();
        for delta in opened.pending {
            deltas.send(delta).unwrap();
        }
        let (journal, jobs) = std::sync::mpsc::channel();
        let (reads, read_queue) = Asking::new(1_024, Duration::from_secs(60));
        let (finds, find_queue) = Asking::new(1_024, Duration::from_secs(60));
        let batches = Rc::<RefCell<Vec<usize>>>::default();
        let threadless = Threadless {
            journal: opened.journal,
            jobs,
            reads: read_queue,
            finds: find_queue,
            disk: Disk::new((opened.store.clone(), view_db), deltas.clone(), progress.clone()),
            answers,
            batches: batches.clone(),
            rounds_apart: 1 + random.below(2),
        };
        let find_ms = Arc::new(AtomicU64::new(1_000));
        let index = Arc::default();
        // Nobody takes what is seen.
        let seen = SeenWriter::new(std::sync::mpsc::channel().0);
        let threads = Threads { journal, deltas, reads, finds, find_ms, progress, index, seen };
        let (data, damages) = (folder.path().to_owned(), opened.store.damages().clone());
        let monitoring = Monitoring::new(data, "vang".to_owned(), damages);
        let pump = Rc::new(Pump::new(hub, (threads, desk, inbox), monitoring, &limits));
        let names = vec!["localhost".to_owned()];
        let tls = tls::load(None, &opened.folder.tls(), &names).unwrap();
        let house = Rc::new(House {
            pump: pump.clone(),
            turns: Rc::new(Turns::new(stepped_clock)),
            places: Rc::default(),
            limits: RefCell::new(limits),
            tls: RefCell::new(tls),
            metrics: Cell::new(Scope::Local),
            lines: Cell::new(Scope::Local),
            names: Names { all: Authority::read("localhost").into_iter().collect(), configured: Vec::new() },
        });
        let turns = house.turns.clone();
        spawn_local(async move { turns.serve().await });
        spawn_local(threadless.run());
        spawn_local({
            let pump = pump.clone();
            async move { pump.deliver(stepped_clock).await }
        });
        spawn_local({
            let pump = pump.clone();
            async move { pump.run(stepped_clock).await }
        });
        while !pump.is_open() {
            yield_now().await;
        }
        World { house, hostile_turns: RefCell::default(), batches, ports: Cell::new(1), _folder: folder }
    }

    /// Connects a peer, as `accept` does.
    fn connect(&self, audience: Peer, peer: MemoryPeer, turns: Rc<Cell<u64>>) -> Rc<MemoryPeer> {
        let peer = Rc::new(peer);
        let port = self.ports.replace(self.ports.get() + 1);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let credit = Rc::new(Credit::new(stepped_clock()));
        let connection = Connection {
            house: self.house.clone(),
            socket: Socket::new(Stream::Memory(peer.clone()), credit.clone()),
            client: Client::new(&self.house, PeerAddr::Address(address), audience),
            proxies: None,
            refused: None,
            place: self.house.places.take(places::Counted::Taken),
        };
        let future = Box::pin(connection.run());
        let counted = Counted { peer: peer.clone(), turns, future };
        let pump = self.house.pump.clone();
        let after = move || pump.order_between_turns(stepped_clock);
        spawn_local(Fair::new(self.house.turns.clone(), credit, counted, after));
        peer
    }

    pub(crate) fn honest(&self, audience: Peer, name: Option<&str>) -> Honest {
        Honest {
            peer: self.connect(audience, MemoryPeer::quiet(), Rc::default()),
            decoder: Decoder::new(FrameLimits { content: 16 << 20, ..FrameLimits::default() }),
            writer: RequestWriter { name: name.map(str::to_owned) },
        }
    }

    fn hostile(&self, peer: MemoryPeer) -> Rc<MemoryPeer> {
        let turns = Rc::<Cell<u64>>::default();
        self.hostile_turns.borrow_mut().push(turns.clone());
        self.connect(Peer::Local, peer, turns)
    }

    /// The most turns that one hostile peer had until this was done.
    async fn turns_until(&self, done: impl Future<Output = ()>) -> u64 {
        let turns = || self.hostile_turns.borrow().iter().map(|turns| turns.get()).collect::<Vec<_>>();
        let before = turns();
        done.await;
        turns().iter().zip(before).map(|(after, before)| after - before).max().unwrap_or(0)
    }
}

pub(crate) struct Honest {
    pub(crate) peer: Rc<MemoryPeer>,
    decoder: Decoder,
    writer: RequestWriter,
}

impl Honest {
    pub(crate) async fn ask(&mut self, action: &Action) -> Reply {
        self.send(action);
        let reply = self.reply().await;
        assert_eq!(reply.code, None, "{action:?}: {}", reply.text);
        reply
    }

    pub(crate) fn send(&self, action: &Action) {
        self.peer.send(&self.writer.write(1, action));
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        loop {
            self.decoder.feed(&self.peer.take_received());
            while let Some(frame) = self.decoder.poll_frame().unwrap() {
                if let Incoming::Reply(reply) = incoming(frame).unwrap() {
                    return reply;
                }
            }
            yield_now().await;
        }
    }
}

/// What hostile peers send: once, and then again and again.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let request = |action: &Action| RequestWriter { name: Some("eve".to_owned()) }.write(1, action).to_vec();
    let message = |keys: &str, content: &[u8]| {
        let header = format!(
            "{{\"byteorder\": \"little\", \"content-encoding\": \"utf-8\", \"content-length\": {}{keys}}}",
            content.len()
        );
        [&(header.len() as u16).to_be_bytes()[..], header.as_bytes(), content].concat()
    };
    let many: String = (0..200).map(|i| format!(", \"key-{i}\": [1, 2, 3]")).collect();
    let many = format!(", \"content-type\": \"text/plain\", \"action\": \"ping\"{many}");
    let upload = ", \"content-type\": \"binary/any\", \"connection\": \"keep-alive\"";
    let search = ", \"content-type\": \"text/json\", \"connection\": \"keep-alive\"";
    let history = Action::History { room: "general".to_owned(), since: 0, limit: 256 };
    let find = Action::Find { query: "white rabbit".to_owned(), limit: 10, before: None };
    let http = b"GET /rooms HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = b"POST /rooms/general HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n";
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    vec![
        ("pings with many keys", Vec::new(), message(&many, b"")),
        ("pages of history", Vec::new(), request(&history)),
        ("searches", Vec::new(), request(&find)),
        ("lists of rooms", Vec::new(), request(&Action::rooms_after(None))),
        ("uploads", Vec::new(), message(upload, &[7; 200_000])),
        (
            "searches of the guide",
            Vec::new(),
            message(search, b"{\"action\": \"search\", \"value\": \"ring\"}"),
        ),
        ("WebSocket pings", upgrade.to_vec(), b"\x89\x84\0\0\0\0ping".to_vec()),
        ("typed lines", b"ada\n".to_vec(), b"/help\n".to_vec()),
        ("HTTP requests", Vec::new(), http.to_vec()),
        ("messages by HTTP", Vec::new(), [&post[..], &[b'x'; 4_000]].concat()),
    ]
}

/// Each honest request among so many peers of every flood.
async fn all_are_served(seed: u64, peers_of_each: u64) {
    let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let world = World::open(&mut random).await;
    let mut operator = world.honest(Peer::Operator, None);
    for name in ["ada", "bea"] {
        operator.ask(&Action::AddAccount { name: name.to_owned() }).await;
    }
    let (general, garden) = ("general".to_owned(), "garden".to_owned());
    let create = Action::Create { room: garden.clone(), access: Access::Public };
    world.honest(Peer::Local, Some("ada")).ask(&create).await;
    let mut known = world.honest(Peer::Local, Some("bea"));
    for _ in 0..20 {
        known.ask(&Action::text(&general, &"what there is to read ".repeat(20))).await;
    }

    let mut floods: Vec<_> =
        floods().into_iter().cycle().take(floods().len() * peers_of_each as usize).collect();
    for at in (1..floods.len()).rev() {
        floods.swap(at, random.below(at as u64 + 1) as usize);
    }
    let mut hostile = Vec::new();
    for (name, first, again) in &floods {
        let piece = [1 << 6, 1 << 10, 1 << 14, usize::MAX][random.below(4) as usize];
        let peer = MemoryPeer::endless(first, again, piece);
        hostile.push((name, world.hostile(peer)));
    }
    // Until each of them was answered, so that all are under way.
    while hostile.iter().any(|(_, peer)| peer.received_bytes() == 0) {
        yield_now().await;
    }

    let since = FollowFrom::Numbers(vec![10]);
    let asked = [
        Action::Ping,
        Action::text(&general, "a message"),
        Action::History { room: general.clone(), since: 0, limit: 20 },
        Action::Find { query: "read".to_owned(), limit: 10, before: None },
        Action::Join { room: garden.clone(), who: None },
        Action::Leave { room: garden.clone() },
    ];
    for action in asked {
        let turns = world.turns_until(async { drop(known.ask(&action).await) }).await;
        assert!(turns <= TURNS_MAX, "seed {seed}: {action:?} waited for {turns} turns of a hostile peer");
    }
    // A session that comes back, and goes on where it was.
    let follow = Action::Follow { rooms: vec![general.clone()], feeds: Vec::new(), from: since };
    let turns = world
        .turns_until(async {
            world.honest(Peer::Local, Some("bea")).ask(&follow).await;
        })
        .await;
    assert!(turns <= TURNS_OF_NEW_MAX, "seed {seed}: a resume waited for {turns} turns of a hostile peer");
    for (name, peer) in &hostile {
        let bytes = peer.longest_turn_bytes();
        assert!(bytes <= TURN_BYTES_MAX, "seed {seed}: {name} had {bytes} bytes read in one turn");
    }
}

/// Readers of a room; a ping is answered long before all of them have a message.
const READERS: usize = 600;

/// Readers that may get it before the ping is answered: some rounds of those that are woken at once.
const READERS_FIRST_MAX: usize = 300;

/// A sender whose message goes to many readers asks again at once.
async fn a_ping_comes_between_readers() {
    let world = World::open(&mut Random(8841)).await;
    // More readers are woken at once when a round takes long: here none does.
    STEP.set(Duration::from_nanos(100));
    let follow =
        Action::Follow { rooms: vec!["general".to_owned()], feeds: Vec::new(), from: FollowFrom::Now };
    let mut readers = Vec::new();
    for number in 0..READERS {
        let mut reader = world.honest(Peer::Local, Some(&format!("reader{number}")));
        reader.ask(&follow).await;
        readers.push((reader.peer.received_bytes(), reader.peer));
    }
    let reached = || readers.iter().filter(|(before, peer)| peer.received_bytes() > *before).count();
    let mut sender = world.honest(Peer::Local, Some("ada"));
    sender.ask(&Action::text("general", "to all of them")).await;
    sender.ask(&Action::Ping).await;
    let first = reached();
    assert!(first <= READERS_FIRST_MAX, "{first} of {READERS} readers came before the answer to a ping");
    while reached() < READERS {
        yield_now().await;
    }
}

/// Senders who all have so many messages ready at once: together several times what is worth a batch.
const SENDERS: usize = 8;
const MESSAGES_OF_EACH: usize = 100;

/// The journal gets the first of them before the last sender was read.
async fn a_batch_is_handed_over_while_others_are_read() {
    let world = World::open(&mut Random(4711)).await;
    // No turn ends for its time.
    STEP.set(Duration::from_nanos(1));
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let mut sender = world.honest(Peer::Local, Some(&format!("sender{number}")));
        sender.ask(&Action::Ping).await;
        senders.push(sender);
    }
    world.batches.borrow_mut().clear();
    for sender in &senders {
        let message = sender.writer.write(1, &Action::text("general", "one of many"));
        sender.peer.send(&message.repeat(MESSAGES_OF_EACH));
    }
    let all = SENDERS * MESSAGES_OF_EACH;
    while world.batches.borrow().iter().sum::<usize>() < all {
        yield_now().await;
    }
    let batches = world.batches.borrow();
    assert!(batches[0] <= all / 2, "the journal waited for {batches:?} of {all} messages");
}

pub(crate) fn in_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

#[test]
fn each_honest_request_waits_for_a_bounded_number_of_hostile_turns() {
    let (ended, ends) = std::sync::mpsc::channel::<()>();
    let floods = std::thread::spawn(move || {
        for (seed, peers_of_each) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
            in_a_runtime(all_are_served(seed, peers_of_each));
        }
        drop(ended);
    });
    // A turn without an end never gives the thread back.
    let hangs = ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
    assert!(!hangs, "a turn had no end");
    floods.join().unwrap();
}

#[test]
fn a_message_to_many_readers_keeps_no_request_waiting() {
    in_a_runtime(a_ping_comes_between_readers());
}

#[test]
fn the_journal_writes_a_batch_while_the_next_messages_are_read() {
    in_a_runtime(a_batch_is_handed_over_while_others_are_read());
}
