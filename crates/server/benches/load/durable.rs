//! Acknowledged durable sends, with the view on: how many a second, what each costs the server, how
//! far the view is behind at the end and when it has caught up. Beside it, what one `fdatasync`
//! of 4 KiB costs on the same disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use vang_journal::read_journal;
use vang_proto::vang::Action;
use vang_view::{IndexReader, ViewReader};

use crate::Plan;
use crate::clients::Clients;
use crate::common::figures::median;
use crate::common::process::Running;
use crate::common::requests::request;
use crate::frames::{CONTENT, Received, Send, Wire};
use crate::work::Work;

/// A server has nothing to do that so many looks in a row has used less CPU time between them, s, than this: another
/// build's view may have another format, so that it cannot be read.
const QUIET_LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_millis(10);
const IDLE_CPU: f64 = 0.000_3;

pub(crate) fn run(plan: &Plan) {
    println!("durable sends of {CONTENT} bytes, each with an id, for {:?}", plan.round);
    for (connections, in_flight) in [(8, 64), (8, 1), (1, 1)] {
        for _ in 0..plan.rounds {
            measure(connections, in_flight, plan.round);
        }
    }
}

fn measure(connections: usize, in_flight: usize, time: Duration) {
    let mut stage = Stage::vang(Running::vang(), connections);
    let sync = fdatasync(stage.server.data.parent().expect("its folder"));
    let mut waits = Histogram::<u64>::new(3).expect("three digits");
    let work = stage.send(in_flight, time, &mut waits);
    let [view, index] = lag(&stage.server.data);
    println!(
        "  {connections} × {in_flight:>2}: {:>7.0}/s, {:.2} µs of server CPU each, p50 {:.2} ms, p99 {:.2} ms; \
         fdatasync of 4 KiB {:.0} µs",
        work.rate(),
        work.cpu_each() * 1e6,
        waits.value_at_quantile(0.5) as f64 / 1e3,
        waits.value_at_quantile(0.99) as f64 / 1e3,
        sync * 1e6,
    );
    for (name, (lag, time)) in [("view", view), ("index", index)] {
        println!("            {name} {lag} entries behind, there after {:.0} ms", time.as_secs_f64() * 1e3);
    }
}

/// A server and those who send.
pub(crate) struct Stage {
    server: Running,
    clients: Clients,
    frames: Send,
    unique: u64,
}

impl Stage {
    pub(crate) fn vang(server: Running, connections: usize) -> Stage {
        let mut clients = Clients::default();
        for _ in 0..connections {
            clients.connect(&server.addr, Wire::Vang);
        }
        clients.ask_all(0..connections, |index| request(&Action::Hello, Some(format!("sender{index}"))));
        Stage { server, clients, frames: Send::vang(), unique: 0 }
    }

    /// Sends for so long, and waits until everything is acknowledged and the server has nothing left to do, as to write its
    /// view: the work is messages.
    pub(crate) fn round(&mut self, in_flight: usize, time: Duration) -> Work {
        let cpu = self.server.cpu();
        let mut waits = Histogram::<u64>::new(3).expect("three digits");
        let work = self.send(in_flight, time, &mut waits);
        let (mut used, mut quiet) = (self.server.cpu(), 0);
        while quiet < QUIET_LOOKS {
            std::thread::sleep(LOOK);
            let now = self.server.cpu();
            quiet = if now - used < IDLE_CPU { quiet + 1 } else { 0 };
            used = now;
        }
        Work { cpu: used - cpu, ..work }
    }

    /// Sends for so long; `waits` in µs.
    fn send(&mut self, in_flight: usize, time: Duration, waits: &mut Histogram<u64>) -> Work {
        let Stage { server, clients, frames, unique } = self;
        let mut pending = vec![std::collections::VecDeque::new(); clients.all.len()];
        let (mut sent, mut acked, mut out, mut ready) = (0_u64, 0_u64, Vec::new(), Vec::new());
        let (cpu, began) = (server.cpu(), Instant::now());
        let mut owed: Vec<(usize, usize)> = (0..clients.all.len()).map(|index| (index, in_flight)).collect();
        loop {
            if began.elapsed() < time {
                for (index, count) in owed.drain(..) {
                    out.clear();
                    for _ in 0..count {
                        *unique += 1;
                        frames.write(*unique, 0, &mut out);
                    }
                    sent += count as u64;
                    let now = Instant::now();
                    pending[index].extend(std::iter::repeat_n(now, count));
                    clients.send(index, &out);
                }
            } else if acked == sent {
                break;
            }
            clients.wait(Duration::from_secs(1), &mut ready);
            for &index in &ready {
                let mut replies = 0;
                clients.read(index, |heard| replies += usize::from(matches!(heard, Received::Reply)));
                let now = Instant::now();
                for sent in pending[index].drain(..replies) {
                    waits.record((now - sent).as_micros() as u64).expect("it grows");
                }
                acked += replies as u64;
                owed.push((index, replies));
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        Work { done: acked as f64, cpu: server.cpu() - cpu, seconds }
    }
}

/// Of the view and of the index: how many entries they are behind, and how long until they are not.
fn lag(data: &Path) -> [(u64, Duration); 2] {
    let began = Instant::now();
    let end = read_journal(&data.join("journal.db")).and_then(|(_, mut journal)| journal.end());
    let end = end.expect("a journal").0;
    let mut view = ViewReader::open(&data.join("view.db")).expect("view");
    let mut index = IndexReader::open(&data.join("find.db")).expect("an index");
    let mut cursors: [&mut dyn FnMut() -> u64; 2] =
        [&mut || view.cursor().expect("a cursor").0, &mut || index.cursor().expect("a cursor").0];
    let behind = cursors.each_mut().map(|cursor| end.saturating_sub(cursor()));
    let mut times = cursors.iter_mut().map(|cursor| {
        while cursor() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    });
    behind.map(|behind| (behind, times.next().expect("one for each")))
}

/// Appending 4 KiB and syncing it, s: the median of 500.
fn fdatasync(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("floor")).expect("a file");
    let times: Vec<f64> = (0..500)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[7; 4_096]).expect("room on the disk");
            file.sync_data().expect("a sync");
            began.elapsed().as_secs_f64()
        })
        .collect();
    median(&times)
}
