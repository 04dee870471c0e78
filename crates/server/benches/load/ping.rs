//! Request and response: 64 connections, one request in flight on each, beside a bare tokio echo of
//! the same bytes.

use std::time::{Duration, Instant};

use vang_proto::vang::Action;

use crate::Plan;
use crate::clients::Clients;
use crate::common::figures::median;
use crate::common::process::Running;
use crate::common::requests::request;
use crate::frames::{Received, Wire, floor_frame};
use crate::work::Work;

const CONNECTIONS: usize = 64;

pub(crate) fn run(plan: &Plan) {
    println!("request and response: {CONNECTIONS} connections, one in flight on each");
    let ping = request(&Action::Ping, None);
    // The echo's frame has the same bytes, and comes back as what was asked.
    let same = floor_frame(b'a', ping.len());
    let mut vang = Stage::vang(Running::vang());
    let mut echo = Stage::new(Running::echo(), Wire::Floor, same);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        ours.push(vang.round(plan.round));
        theirs.push(echo.round(plan.round));
    }
    let rate = |rounds: &[Work]| median(&rounds.iter().map(Work::rate).collect::<Vec<_>>());
    let cpu = |rounds: &[Work]| median(&rounds.iter().map(Work::cpu_each).collect::<Vec<_>>());
    println!(
        "  vang {:.0}/s at {:.2} µs of server CPU, echo {:.0}/s at {:.2} µs; ratio {:.2} of its rate, {:.2} by CPU",
        rate(&ours),
        cpu(&ours) * 1e6,
        rate(&theirs),
        cpu(&theirs) * 1e6,
        rate(&ours) / rate(&theirs),
        cpu(&theirs) / cpu(&ours)
    );
}

/// A server with its connections.
pub(crate) struct Stage {
    server: Running,
    clients: Clients,
    frame: Vec<u8>,
}

impl Stage {
    /// vang's server, asked with pings.
    pub(crate) fn vang(server: Running) -> Stage {
        Stage::new(server, Wire::Vang, request(&Action::Ping, None))
    }

    fn new(server: Running, wire: Wire, frame: Vec<u8>) -> Stage {
        let mut clients = Clients::default();
        for _ in 0..CONNECTIONS {
            clients.connect(&server.addr, wire);
        }
        Stage { server, clients, frame }
    }

    /// Asks for so long: the work is answers.
    pub(crate) fn round(&mut self, time: Duration) -> Work {
        let Stage { server, clients, frame } = self;
        let (cpu, began) = (server.cpu(), Instant::now());
        for index in 0..CONNECTIONS {
            clients.send(index, frame);
        }
        let (mut answers, mut in_flight) = (0_u64, CONNECTIONS);
        let mut ready = Vec::new();
        while in_flight > 0 {
            clients.wait(Duration::from_secs(1), &mut ready);
            let goes_on = began.elapsed() < time;
            for &index in &ready {
                let mut replies = 0;
                clients.read(index, |heard| replies += usize::from(matches!(heard, Received::Reply)));
                answers += replies as u64;
                for _ in 0..replies {
                    if goes_on {
                        clients.send(index, frame);
                    } else {
                        in_flight -= 1;
                    }
                }
            }
        }
        Work { done: answers as f64, cpu: server.cpu() - cpu, seconds: began.elapsed().as_secs_f64() }
    }
}
