//! Request and response: 64 connections, one request in flight on each, beside a bare tokio echo of
//! the same bytes.

use std::time::{Duration, Instant};

use crate::Plan;
use crate::clients::Clients;
use crate::common::figures::median;
use crate::common::process::Running;
use crate::common::wire::request;
use crate::wire::{Heard, Wire, floor_frame};

const CONNECTIONS: usize = 64;

pub(crate) fn run(plan: &Plan) {
    println!("request and response: {CONNECTIONS} connections, one in flight on each");
    let ping = request("ping", None, &[]);
    // The echo's frame has the same bytes, and comes back as what was asked.
    let same = floor_frame(b'a', ping.len());
    let (vang, echo) = (Running::vang(), Running::echo());
    let mut clients = Clients::default();
    for _ in 0..CONNECTIONS {
        clients.connect(&vang.addr, Wire::Vang);
    }
    let mut echoed = Clients::default();
    for _ in 0..CONNECTIONS {
        echoed.connect(&echo.addr, Wire::Floor);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        ours.push(round(&vang, &mut clients, &ping, plan.round));
        theirs.push(round(&echo, &mut echoed, &same, plan.round));
    }
    let rate = |rounds: &[(f64, f64)]| median(&rounds.iter().map(|round| round.0).collect::<Vec<_>>());
    let cpu = |rounds: &[(f64, f64)]| median(&rounds.iter().map(|round| round.1).collect::<Vec<_>>());
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

/// Answers a second, and the server's CPU time for each.
fn round(server: &Running, clients: &mut Clients, frame: &[u8], time: Duration) -> (f64, f64) {
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
            clients.read(index, |heard| replies += usize::from(matches!(heard, Heard::Reply)));
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
    (answers as f64 / began.elapsed().as_secs_f64(), (server.cpu() - cpu) / answers as f64)
}
