//! Two builds of the server in one run: the one that is compiled in, and another build of this bench (`--against`), as
//! of an older commit. They take turns of a fraction of a second, so that what else the machine does meets both alike;
//! turns of one pair are added up. The results are ratios, new by old: the median of the pairs, the lowest and the highest.
//! What a program differs from itself is seen with `--against` this very program.

use std::path::Path;
use std::time::Duration;

use crate::common::figures::median;
use crate::common::process::Running;
use crate::frames::Wire;
use crate::work::Work;
use crate::{Plan, durable, fanout, fixed, ping};

/// Turns of each server in a pair.
const TURNS: usize = 12;

pub(crate) fn run(plan: &Plan, older: &Path, asked: &dyn Fn(&str) -> bool) {
    println!("against {}: {} pairs, each of {TURNS} turns of {:?}", older.display(), plan.rounds, plan.round);
    let servers = || [Running::vang(), Running::older(older)];
    let deliveries = [
        ("a delivery, 16 in flight", Wire::Vang, 16),
        ("a delivery, 1 in flight", Wire::Vang, 1),
        ("a delivery by WebSocket, 16 in flight", Wire::WebSocket, 16),
    ];
    for (name, wire, in_flight) in deliveries.into_iter().filter(|_| asked("fanout")) {
        let stages = servers().map(|server| fanout::Stage::vang(server, wire));
        compare(name, plan, stages, |stage, time| stage.round(in_flight, time));
    }
    if asked("ping") {
        compare("a ping", plan, servers().map(ping::Stage::vang), ping::Stage::round);
    }
    for (connections, in_flight) in [(8, 64), (8, 1), (1, 1)].into_iter().filter(|_| asked("durable")) {
        let stages = servers().map(|server| durable::Stage::vang(server, connections));
        let name = format!("a durable send, {connections} × {in_flight}");
        compare(&name, plan, stages, |stage, time| stage.round(in_flight, time));
    }
    if asked("fixed") {
        fixed_load(plan, servers().map(fixed::Stage::vang));
    }
}

/// Who begins changes from turn to turn.
fn order(turn: usize) -> [usize; 2] {
    if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

fn compare<S>(name: &str, plan: &Plan, mut stages: [S; 2], mut round: impl FnMut(&mut S, Duration) -> Work) {
    for stage in &mut stages {
        round(stage, plan.round);
    }
    let mut pairs = Vec::new();
    for _ in 0..plan.rounds {
        let mut pair = [Work::default(); 2];
        for turn in 0..TURNS {
            for which in order(turn) {
                pair[which] += round(&mut stages[which], plan.round);
            }
        }
        pairs.push(pair);
    }
    let of = |which: usize, figure: fn(&Work) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| figure(&pair[which])).collect()
    };
    println!(
        "  {name}: CPU {} of {:.3} µs; rate {} of {:.0}/s",
        ratio(&of(0, Work::cpu_each), &of(1, Work::cpu_each)),
        median(&of(1, Work::cpu_each)) * 1e6,
        ratio(&of(0, Work::rate), &of(1, Work::rate)),
        median(&of(1, Work::rate)),
    );
}

/// Waits at a fixed rate; turns of a second, since a short one has no tail.
fn fixed_load(plan: &Plan, mut stages: [fixed::Stage; 2]) {
    let turn = plan.round.max(Duration::from_secs(1));
    let mut waits = [Vec::new(), Vec::new()];
    for pair in 0..plan.rounds {
        for which in order(pair) {
            waits[which].push(stages[which].round(turn));
        }
    }
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let [new, old] = waits.each_ref().map(|rounds| {
            rounds.iter().map(|waits| waits.value_at_quantile(part) as f64).collect::<Vec<_>>()
        });
        println!("  fixed load, {name}: {} of {:.3} ms", ratio(&new, &old), median(&old) / 1e3);
    }
}

/// As `1.02 (0.99–1.05)`.
fn ratio(new: &[f64], old: &[f64]) -> String {
    let ratios: Vec<f64> = new.iter().zip(old).map(|(new, old)| new / old).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({least:.2}–{most:.2})", median(&ratios))
}
