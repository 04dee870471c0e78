//! What requests cost the one thread that decides, in a large server: `cargo bench -p vang-hub --bench requests`.
//!
//! Half of `ROOMS` rooms are private, and the asker is in `OWN` of them; `PEOPLE` connections follow one room, in which as
//! many accounts are members. Each request is asked `TIMES` times; the hub alone, without threads and sockets.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure here ends a measurement

use std::time::{Duration, Instant};

use vang_chat::{Node, Seq, State, Time};
use vang_hub::limits::SNAPSHOT_STEPS;
use vang_hub::{Book, Hub, Now, Output, Peer, ReadError, Salts, SessionId, Trust, replay};
use vang_journal::{Appended, Identity, Journal, MemoryJournal};
use vang_proto::Millis;
use vang_proto::vang::{Access, Action, FollowFrom, Form, Request, Ticket};

const ROOMS: usize = 99_000;
const OWN: usize = 900;
const PEOPLE: usize = 10_000;
const TIMES: usize = 200;

/// Accounts that send as many messages with an id as are remembered of one.
const SENDERS: usize = 330;

/// After so many of them a million are remembered.
const FULL: usize = 246;

/// What replies must say: there is no disk, so what asks it is answered `busy`.
const OK: &str = r#""status": "ok""#;
const BUSY: &str = r#""code": "busy""#;

const IDENTITY: Identity = Identity { id: [1; 16], key: [2; 32], born: [1; 16] };

struct World {
    hub: Hub,
    journal: MemoryJournal,
    reply: String,
    /// CPU time of each call that may apply entries; only while it is measured.
    calls: Option<Vec<Duration>>,
    /// The same of each piece of a snapshot.
    pieces: Vec<Duration>,
}

impl World {
    fn turn(&mut self) {
        let now = Now { wall: Time(1_777_593_600_000), steady: Millis(0) };
        loop {
            self.hub.poll(now);
            let mut any = false;
            while let Some(output) = self.call(Hub::poll_output) {
                any = true;
                match output {
                    Output::Append(batch) => {
                        let appended = self.journal.append(&batch);
                        let Appended::Appended { first } = appended else { panic!("{appended:?}") };
                        self.hub.appended(now, appended);
                        self.hub.arrived(batch.into_entries(first));
                    }
                    Output::Reply { bytes, .. } => {
                        self.reply = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
                    }
                    Output::Read(job) => self.hub.answer_read(job.id, Err(ReadError::Full)),
                    _ => {}
                }
            }
            if !any {
                break;
            }
        }
        let began = self.calls.is_some().then(cpu_time);
        if self.hub.continue_snapshot(SNAPSHOT_STEPS)
            && let Some(began) = began
        {
            self.pieces.push(cpu_time() - began);
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Hub) -> T) -> T {
        let began = self.calls.is_some().then(cpu_time);
        let result = call(&mut self.hub);
        if let (Some(calls), Some(began)) = (&mut self.calls, began) {
            calls.push(cpu_time() - began);
        }
        result
    }

    fn request(&mut self, session: SessionId, name: Option<&str>, action: Action) {
        let request = Request { form: Form::Header, re: None, name: name.map(str::to_owned), action };
        self.hub.request(session, Ticket(0), request);
    }

    /// How long the hub takes for a request, without what comes after it. Its reply must have `expected` in it: a refusal
    /// costs nothing, and would be measured instead.
    fn timed(&mut self, (what, expected): (&str, &str), session: SessionId, action: &Action) {
        let mut times: Vec<Duration> = (0..TIMES)
            .map(|_| {
                let began = Instant::now();
                self.request(session, Some("ada"), action.clone());
                let took = began.elapsed();
                self.turn();
                assert!(self.reply.contains(expected), "{what}: {}", self.reply);
                took
            })
            .collect();
        times.sort_unstable();
        row(what, times[TIMES / 2], times[TIMES * 19 / 20]);
    }
}

/// Of this thread: what others do meanwhile on the machine is not in it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn row(what: &str, p50: Duration, p95: Duration) {
    println!("{what:<60} {:>9.1} {:>9.1}", p50.as_secs_f64() * 1e6, p95.as_secs_f64() * 1e6);
}

fn message(room: &str, id: Option<String>) -> Action {
    Action::Send {
        room: room.to_owned(),
        id,
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: "hello".into(),
    }
}

fn main() {
    let mut journal = MemoryJournal::new(IDENTITY);
    let begin = (State::default(), Book::default());
    let recovered = replay(&mut journal, &IDENTITY, begin, Seq(0), &mut |_| Ok(())).unwrap();
    let mut hub = Hub::new(IDENTITY, recovered, Node(7), Salts::new([3; 32]), "bench".to_owned(), true);
    hub.set_trust(Trust::Local);
    let mut world = World { hub, journal, reply: String::new(), calls: None, pieces: Vec::new() };
    let operator = world.hub.connect(Peer::Operator);
    world.turn();
    world.request(operator, None, Action::AddAccount { name: "ada".to_owned() });
    for number in 0..PEOPLE {
        world.request(operator, None, Action::AddAccount { name: format!("p{number}") });
    }
    world.turn();
    let (ada, other) = (world.hub.connect(Peer::Local), world.hub.connect(Peer::Local));
    for number in 0..ROOMS {
        let access = if number % 2 == 1 { Access::Private } else { Access::Public };
        let (session, name) =
            if access == Access::Private && number < 2 * OWN { (ada, "ada") } else { (other, "p0") };
        world.request(session, Some(name), Action::Create { room: format!("r{number}"), access });
        if number % 1_000 == 0 {
            world.turn();
        }
    }
    for number in 0..PEOPLE {
        let who = Some(format!("p{number}"));
        world.request(operator, None, Action::Join { room: "general".to_owned(), who });
    }
    world.turn();
    let follow = |rooms: Vec<String>| Action::Follow { rooms, feeds: Vec::new(), from: FollowFrom::Now };
    let followers: Vec<SessionId> = (0..PEOPLE).map(|_| world.hub.connect(Peer::Local)).collect();
    for &session in &followers {
        world.request(session, None, follow(vec!["general".to_owned()]));
    }
    world.turn();

    println!(
        "{ROOMS} rooms, half of them private, {OWN} of these the asker's; {PEOPLE} people in one room\n"
    );
    println!("{:<60} {:>9} {:>9}", "on the deciding thread, µs", "p50", "p95");
    world.timed(("rooms: a page of 1,000 of those known", OK), ada, &Action::rooms_after(None));
    world.timed(("who: 1,000 of the people", OK), ada, &Action::Who { room: "general".to_owned() });
    let find = |query: &str| Action::Find { query: query.to_owned(), limit: 20, before: None };
    world.timed(("find: what may be looked at", BUSY), ada, &find("word"));
    world.timed(("find in: one room", BUSY), ada, &find("word in:general"));
    let named = |room: &str| room.to_owned();
    world.timed(("hello", OK), ada, &Action::Hello);
    world.timed(("send", OK), ada, &message("r1", None));
    world.timed(
        ("history: what is asked of the disk", BUSY),
        ada,
        &Action::History { room: named("r1"), since: 0, limit: 256 },
    );
    world.timed(("topic", OK), ada, &Action::SetTopic { room: named("r1"), topic: named("what grows") });
    world.request(ada, Some("ada"), Action::Join { room: named("general"), who: None });
    world.turn();
    world.timed(
        ("join, a second time", r#""code": "already-member""#),
        ada,
        &Action::Join { room: named("general"), who: None },
    );
    world.timed(
        ("create, a name that is taken", "name-taken"),
        ada,
        &Action::Create { room: named("r1"), access: Access::Public },
    );
    let epoch = (0..1_000).map(|part| format!("{part:x}.")).collect::<String>();
    let resume = FollowFrom::Position { journal: IDENTITY.id_hex(), epoch: Some(epoch), seq: 9 };
    world.timed(
        ("follow: an epoch of 1,000 parts", "seq-ahead"),
        ada,
        &Action::Follow { rooms: vec![named("r1")], feeds: Vec::new(), from: resume },
    );
    let mut times: Vec<Duration> = Vec::new();
    for at in 0..50 {
        let session = world.hub.connect(Peer::Local);
        let rooms = (0..1_024).map(|number| format!("r{}", 2 * (at * 16 + number))).collect();
        let began = Instant::now();
        world.request(session, Some("ada"), follow(rooms));
        times.push(began.elapsed());
        world.turn();
    }
    times.sort_unstable();
    row("follow 1,024 rooms", times[25], times[47]);
    let mut times: Vec<Duration> = Vec::new();
    // The oldest first: they stand at the front.
    for &session in &followers {
        let began = Instant::now();
        world.hub.disconnect(session);
        times.push(began.elapsed());
    }
    let all: Duration = times.iter().sum();
    times.sort_unstable();
    row("one of 10,000 followers leaves", times[PEOPLE / 2], times[PEOPLE * 19 / 20]);
    println!("all of them: {:.1} ms", all.as_secs_f64() * 1e3);
    remembered_sends(&mut world);
    let began = Instant::now();
    let snapshot = world.hub.farewell().snapshot.unwrap_or_default();
    let took = began.elapsed();
    println!(
        "a snapshot of {} items, {:.1} MB, at a stop: {:.1} ms",
        world.hub.state().items(),
        snapshot.pieces.iter().map(Vec::len).sum::<usize>() as f64 / 1e6,
        took.as_secs_f64() * 1e3
    );
}

/// A million sends are remembered, which is the most; then each makes the server forget one, and a snapshot is due.
fn remembered_sends(world: &mut World) {
    let mut batches: Vec<Duration> = Vec::new();
    for person in 0..SENDERS {
        if person == FULL {
            batches.clear();
            world.calls = Some(Vec::new());
        }
        let session = world.hub.connect(Peer::Operator);
        for batch in 0..4 {
            let began = cpu_time();
            for number in 0..1_024 {
                let id = Some(format!("{}", batch * 1_024 + number));
                let action = message("general", id);
                world.request(session, Some(&format!("p{person}")), action);
            }
            world.turn();
            batches.push(cpu_time() - began);
            assert!(world.reply.contains(OK), "{}", world.reply);
        }
        world.hub.disconnect(session);
    }
    batches.sort_unstable();
    let each = |batch: Duration| batch / 1_024;
    row(
        "a send with an id, of a batch of 1,024, CPU time",
        each(batches[batches.len() / 2]),
        each(batches[batches.len() * 19 / 20]),
    );
    let calls = world.calls.take().unwrap_or_default();
    longest("the longest calls that apply entries", calls);
    longest("the longest pieces of a snapshot", std::mem::take(&mut world.pieces));
}

fn longest(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable_by(|one, other| other.cmp(one));
    let ms = |time: &Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let p50 = times.get(times.len() / 2).map(ms).unwrap_or_default();
    let first: Vec<String> = times.iter().take(8).map(ms).collect();
    println!("{what}, CPU time, ms: {}; p50 of {}: {p50}", first.join(", "), times.len());
}
