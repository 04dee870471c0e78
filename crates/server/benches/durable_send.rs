//! What a durable send costs: a whole server in this process, spoken to over loopback by clients with
//! so many sends in flight, beside a floor on the same disk in the same run: a program that only
//! appends the same bytes to a file and syncs it (`fdatasync`), once for each batch.
//!
//! `cargo xtask bench`, or `cargo bench -p vang-server --bench durable_send -- [SECONDS]`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vang_proto::vang::{RequestWriter, Value};
use vang_proto::{Decoder, Limits as FrameLimits};
use vang_server::{Config, Server};

/// Content of a message, bytes.
const CONTENT: usize = 100;
/// Rounds of each measurement; the median is told.
const ROUNDS: usize = 5;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse::<f64>().ok()).unwrap_or(2.0);
    let round = Duration::from_secs_f64(seconds);
    // Beside the build, so that it is a disk and not memory.
    let folder =
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a folder");
    println!("durable sends of {CONTENT} bytes, median of {ROUNDS} rounds of {seconds} s\n");
    println!("connections  in flight    acks/s   p50 ms   p99 ms   server+clients CPU µs/ack");
    let server = Running::start(folder.path());
    for (connections, in_flight) in [(1, 1), (8, 1), (8, 64)] {
        let mut results: Vec<Measured> =
            (0..ROUNDS).map(|_| measure(&server.addr, connections, in_flight, round)).collect();
        results.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let Measured { rate, p50, p99, cpu } = &results[ROUNDS / 2];
        println!("{connections:>11}  {in_flight:>9}  {rate:>8.0}  {p50:>7.2}  {p99:>7.2}  {cpu:>10.2}");
    }
    server.stop();
    println!("\nfloor: append and fdatasync");
    for (what, bytes) in [("one message", 300), ("a batch of 512", 512 * 300)] {
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| floor(folder.path(), bytes, round / 4)).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        println!("{what:>16}: {rate:>6.0} syncs/s, {:.3} ms each", 1_000.0 / rate);
    }
}

struct Running {
    addr: String,
    stop: vang_server::Stopper,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(folder: &Path) -> Running {
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            ..Config::new(folder.join("data"), "bench".to_owned())
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = Server::open(config).expect("a server");
                let told = (server.addresses()[0].clone(), server.stopper());
                server.run(|| sender.send(told).expect("the bench waits")).await.expect("a good end");
            });
        });
        let (addr, stop) = receiver.recv().expect("a server that starts");
        Running { addr, stop, thread }
    }

    fn stop(self) {
        self.stop.stop();
        self.thread.join().expect("a server that ends");
    }
}

struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

fn measure(addr: &str, connections: usize, in_flight: usize, round: Duration) -> Measured {
    let (stop, acks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let before = cpu_time();
    let began = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|client| {
            let (addr, stop, acks) = (addr.to_owned(), stop.clone(), acks.clone());
            std::thread::spawn(move || send(&addr, client, in_flight, &stop, &acks))
        })
        .collect();
    std::thread::sleep(round);
    stop.store(true, Ordering::Relaxed);
    let mut waits: Vec<f64> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    let (acks, took) = (acks.load(Ordering::Relaxed) as f64, began.elapsed().as_secs_f64());
    waits.sort_by(f64::total_cmp);
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    Measured { rate: acks / took, p50: at(0.5), p99: at(0.99), cpu: (cpu_time() - before) * 1e6 / acks }
}

/// Keeps so many sends in flight, each with an id; gives the waits in ms.
fn send(addr: &str, client: usize, in_flight: usize, stop: &AtomicBool, acks: &AtomicU64) -> Vec<f64> {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let writer = RequestWriter { name: Some(format!("client{client}")) };
    let content = [b'x'; CONTENT];
    let unique = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
    let mut decoder = Decoder::new(FrameLimits::default());
    let (mut sent, mut pending) = (0_u64, std::collections::VecDeque::new());
    let (mut waits, mut buffer, mut out) = (Vec::new(), vec![0; 1 << 16], Vec::new());
    loop {
        out.clear();
        while pending.len() < in_flight && !stop.load(Ordering::Relaxed) {
            let id = format!("{unique:x}-{sent}");
            let arguments = [("room", Value::from("general")), ("id", Value::from(id))];
            out.extend_from_slice(&writer.write_with(
                sent,
                "send",
                &arguments,
                ("text/plain", "utf-8", &content),
            ));
            sent += 1;
            pending.push_back(Instant::now());
        }
        stream.write_all(&out).expect("a server that reads");
        if pending.is_empty() {
            return waits;
        }
        let n = stream.read(&mut buffer).expect("a server that answers");
        assert!(n > 0, "the server closed");
        decoder.feed(&buffer[..n]);
        while let Some(frame) = decoder.poll_frame().expect("frames") {
            assert_eq!(frame.header.text("status").as_deref(), Some("ok"));
            let began: Instant = pending.pop_front().expect("an answer for each send");
            waits.push(began.elapsed().as_secs_f64() * 1e3);
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Appends and syncs, for so long; syncs a second.
fn floor(folder: &Path, bytes: usize, round: Duration) -> f64 {
    let mut file = File::create(folder.join("floor")).expect("a file");
    let block = vec![7; bytes];
    let (began, mut syncs) = (Instant::now(), 0);
    while began.elapsed() < round {
        file.write_all(&block).expect("room on the disk");
        file.sync_data().expect("a sync");
        syncs += 1;
    }
    f64::from(syncs) / began.elapsed().as_secs_f64()
}

/// CPU time of this process, all threads, in s.
fn cpu_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
