//! A fixed load: a room of 100 members, 200 messages a second on a timetable that waits for nobody.
//! The result is the time from when a message was due to when a member had it, for every member and
//! message; so whatever holds up the server shows in all that was due meanwhile. The floor does one
//! `fdatasync` a round.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::Plan;
use crate::clients::Clients;
use crate::common::figures::median;
use crate::common::process::Running;
use crate::common::requests::{follow_general, request};
use crate::frames::{Received, Send, Wire, floor_frame, note};

const MEMBERS: usize = 100;
const PERIOD: Duration = Duration::from_millis(5);
/// Frames of the floor: as many bytes as ours.
const EVENT: usize = 323;
const REPLY: usize = 222;

pub(crate) fn run(plan: &Plan) {
    println!("fixed load: {MEMBERS} members, 200 messages/s, from due to delivered");
    let mut vang = Stage::vang(Running::vang());
    let floor = Running::floor(true, EVENT, REPLY);
    let mut floor = Stage::new(floor, Wire::Floor, Send::floor(), |_| floor_frame(b'f', 100));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        ours.push(vang.round(plan.round));
        theirs.push(floor.round(plan.round));
    }
    let at = |rounds: &[Histogram<u64>], part: f64| {
        median(&rounds.iter().map(|round| round.value_at_quantile(part) as f64 / 1e3).collect::<Vec<_>>())
    };
    for (name, rounds) in [("vang", &ours), ("floor", &theirs)] {
        let slow: u64 = rounds.iter().map(|round| round.count_between(40_000, u64::MAX)).sum();
        let all: u64 = rounds.iter().map(Histogram::len).sum();
        let max = rounds.iter().map(Histogram::max).max().unwrap_or(0) as f64 / 1e3;
        println!(
            "  {name:>5}: p50 {:.3} ms, p99 {:.3} ms, max {max:.1} ms; {slow} of {all} at 40 ms or more",
            at(rounds, 0.5),
            at(rounds, 0.99)
        );
    }
    println!(
        "  ratio: p50 {:.2}, p99 {:.2}",
        at(&ours, 0.5) / at(&theirs, 0.5),
        at(&ours, 0.99) / at(&theirs, 0.99)
    );
}

/// A server with its members and one who publishes.
pub(crate) struct Stage {
    _server: Running,
    clients: Clients,
    send: Send,
    unique: u64,
}

impl Stage {
    pub(crate) fn vang(server: Running) -> Stage {
        let follow = |index: usize| request(&follow_general(), Some(format!("member{index}")));
        Stage::new(server, Wire::Vang, Send::vang(), follow)
    }

    fn new(server: Running, wire: Wire, send: Send, follow: impl Fn(usize) -> Vec<u8>) -> Stage {
        let mut clients = Clients::default();
        for _ in 0..=MEMBERS {
            clients.connect(&server.addr, wire);
        }
        clients.ask_all(0..MEMBERS, follow);
        Stage { _server: server, clients, send, unique: 0 }
    }

    /// Waits, in µs.
    pub(crate) fn round(&mut self, time: Duration) -> Histogram<u64> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).expect("a timer");
        let period = Timespec { tv_sec: 0, tv_nsec: i64::from(PERIOD.subsec_nanos()) };
        let token = usize::MAX;
        self.clients.watch(&timer, token);
        let timetable = Itimerspec { it_interval: period, it_value: period };
        let began = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &timetable).expect("a timer");
        let due = |message: u64| began + PERIOD * (message as u32 + 1);
        let messages = (time.as_secs_f64() / PERIOD.as_secs_f64()) as u64;
        let mut waits = Histogram::<u64>::new(3).expect("three digits");
        let (mut sent, mut out, mut ready) = (0, Vec::new(), Vec::new());
        while waits.len() < messages * MEMBERS as u64 {
            self.clients.wait(Duration::from_secs(1), &mut ready);
            for &index in &ready {
                if index == token {
                    let _ = rustix::io::read(&timer, &mut [0; 8]);
                    while sent < messages && due(sent) <= Instant::now() {
                        out.clear();
                        self.unique += 1;
                        self.send.write(self.unique, sent, &mut out);
                        self.clients.send(MEMBERS, &out);
                        sent += 1;
                    }
                    continue;
                }
                let now = Instant::now();
                self.clients.read(index, |heard| {
                    if let Received::Event { content } = heard {
                        waits.record((now - due(note(content))).as_micros() as u64).expect("it grows");
                    }
                });
            }
        }
        waits
    }
}
