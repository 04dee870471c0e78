//! A room of 1,000 members; 8 others publish, each with so many messages in flight. The result is the
//! server's CPU time for each delivery: a message that reached one member.

use std::time::{Duration, Instant};

use vang_proto::vang::Action;

use crate::Plan;
use crate::clients::Clients;
use crate::common::figures::median;
use crate::common::process::Running;
use crate::common::requests::{follow_general, request};
use crate::frames::{CONTENT, Received, Send, Wire, floor_frame};
use crate::work::Work;

const MEMBERS: usize = 1_000;
const PUBLISHERS: usize = 8;

pub(crate) fn run(plan: &Plan) {
    println!(
        "fan-out: {MEMBERS} members, {PUBLISHERS} publishers, content of {CONTENT} bytes, server CPU a delivery"
    );
    let stage = |wire| Stage::vang(Running::vang(), wire);
    let (mut vang, mut web) = (stage(Wire::Vang), stage(Wire::WebSocket));
    let (event, reply) = vang.sizes();
    let mut floor = Stage::floor(event, reply);
    println!("         an event has {event} bytes, a reply {reply}");
    for in_flight in [16, 1] {
        let (mut ours, mut webs, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            ours.push(vang.round(in_flight, plan.round));
            theirs.push(floor.round(in_flight, plan.round));
            webs.push(web.round(in_flight, plan.round));
        }
        let cpu = |rounds: &[Work]| median(&rounds.iter().map(Work::cpu_each).collect::<Vec<_>>());
        let rate = |rounds: &[Work]| median(&rounds.iter().map(Work::rate).collect::<Vec<_>>());
        println!(
            "  {in_flight:>2} in flight: vang {:.3} µs, floor {:.3} µs, ratio {:.2};  {:.2} and {:.2} million deliveries/s",
            cpu(&ours) * 1e6,
            cpu(&theirs) * 1e6,
            cpu(&ours) / cpu(&theirs),
            rate(&ours) / 1e6,
            rate(&theirs) / 1e6,
        );
        println!(
            "     WebSocket: vang {:.3} µs, ratio {:.2};  {:.2} million deliveries/s",
            cpu(&webs) * 1e6,
            cpu(&webs) / cpu(&theirs),
            rate(&webs) / 1e6,
        );
    }
}

/// A server with its members and publishers.
pub(crate) struct Stage {
    server: Running,
    clients: Clients,
    send: Send,
    unique: u64,
}

impl Stage {
    pub(crate) fn vang(server: Running, wire: Wire) -> Stage {
        let follow = |index: usize| request(&follow_general(), Some(format!("member{index}")));
        let hello = |index: usize| request(&Action::Hello, Some(format!("publisher{index}")));
        Stage::fill(server, wire, Send::vang(), follow, Some(&hello))
    }

    fn floor(event: usize, reply: usize) -> Stage {
        let follow = |_| floor_frame(b'f', 100);
        Stage::fill(Running::floor(false, event, reply), Wire::Floor, Send::floor(), follow, None)
    }

    fn fill(
        server: Running,
        wire: Wire,
        send: Send,
        follow: impl Fn(usize) -> Vec<u8>,
        hello: Option<&dyn Fn(usize) -> Vec<u8>>,
    ) -> Stage {
        let mut clients = Clients::default();
        for _ in 0..MEMBERS + PUBLISHERS {
            clients.connect(&server.addr, wire);
        }
        clients.ask_all(0..MEMBERS, follow);
        if let Some(hello) = hello {
            clients.ask_all(MEMBERS..MEMBERS + PUBLISHERS, hello);
        }
        for client in &mut clients.all[1..MEMBERS] {
            client.only_counts = true;
        }
        for client in &mut clients.all {
            client.bytes = 0;
        }
        Stage { server, clients, send, unique: 0 }
    }

    /// Bytes of an event and of a reply, after one message.
    fn sizes(&mut self) -> (usize, usize) {
        let before = (self.clients.all[0].bytes, self.clients.all[MEMBERS].bytes);
        self.round(1, Duration::ZERO);
        let events = self.clients.all[0].bytes - before.0;
        let replies = self.clients.all[MEMBERS].bytes - before.1;
        (events as usize / PUBLISHERS, replies as usize)
    }

    /// Publishes for so long, and waits until every member has everything: the work is deliveries.
    pub(crate) fn round(&mut self, in_flight: usize, time: Duration) -> Work {
        let (cpu, began) = (self.server.cpu(), Instant::now());
        let mut out = Vec::new();
        let (mut sent, mut acked, mut heard) = (0_u64, 0_u64, 0_u64);
        for publisher in MEMBERS..MEMBERS + PUBLISHERS {
            self.publish(publisher, in_flight, &mut out);
            sent += in_flight as u64;
        }
        let mut ready = Vec::new();
        while acked < sent || heard < sent || !self.all_have_the_same() {
            self.clients.wait(Duration::from_secs(1), &mut ready);
            for &index in &ready {
                let mut replies = 0;
                self.clients.read(index, |what| match what {
                    Received::Reply => replies += 1,
                    Received::Event { .. } => heard += 1,
                });
                acked += replies as u64;
                if replies > 0 && began.elapsed() < time {
                    self.publish(index, replies, &mut out);
                    sent += replies as u64;
                }
            }
        }
        Work {
            done: (sent * MEMBERS as u64) as f64,
            cpu: self.server.cpu() - cpu,
            seconds: began.elapsed().as_secs_f64(),
        }
    }

    fn publish(&mut self, publisher: usize, count: usize, out: &mut Vec<u8>) {
        out.clear();
        for _ in 0..count {
            self.unique += 1;
            self.send.write(self.unique, 0, out);
        }
        self.clients.send(publisher, out);
    }

    fn all_have_the_same(&self) -> bool {
        let members = &self.clients.all[..MEMBERS];
        members.iter().all(|member| member.bytes == members[0].bytes)
    }
}
