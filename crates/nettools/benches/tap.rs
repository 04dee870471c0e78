//! `vang net tap --udp` compared with loopback alone, and with a relay that only receives and sends, in turn and under the
//! same load: how many of 100,000 datagrams a second arrive, how many arrive when as many as possible are sent, and what CPU
//! time a datagram costs in the process between.
//!
//! ```text
//! cargo bench -p vang-nettools --bench tap               5 rounds of 1 s, datagrams of 64 bytes
//! cargo bench -p vang-nettools --bench tap -- 9 5        9 rounds of 5 s
//! ```
//!
//! Rounds alternate between the cases, so that a machine that gets slower does so for all of them; the median counts.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use vang_nettools::tap::{self, TapOptions, Weather};
use vang_nettools::{Report, Stop, Target};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The rate that must pass.
const RATE: u64 = 100_000;

const DATAGRAM: [u8; 64] = [b'v'; 64];

const CASES: [&str; 4] = ["loopback alone", "bare relay", "tap --udp", "tap --udp with loss"];

/// The variable that makes this program the process between; its value is the case and the address of the sink.
const BETWEEN: &str = "TAP_BENCH_BETWEEN";

fn main() -> Outcome<()> {
    if let Ok(between) = std::env::var(BETWEEN) {
        let (case, sink) = between.split_once('|').ok_or("a case and an address")?;
        return run_between(case, sink.parse()?);
    }
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let rounds = args.next().map_or(Ok(5), |arg| arg.parse::<usize>())?;
    let seconds = args.next().map_or(Ok(1.0), |arg| arg.parse::<f64>())?;
    let time = Duration::from_secs_f64(seconds);
    for (what, rate) in [("100,000 datagrams/s", Some(RATE)), ("as many as can be sent", None)] {
        println!("{what}: sent/s, arrived/s, CPU time between for each that arrived");
        let mut runs = vec![Vec::new(); CASES.len()];
        for _ in 0..rounds {
            for (case, runs) in CASES.iter().zip(&mut runs) {
                runs.push(measure(case, rate, time)?);
            }
        }
        for (case, runs) in CASES.iter().zip(&runs) {
            let [sent, arrived, cpu] = [0, 1, 2].map(|at| median(runs, at));
            println!(
                "  {case:20} {sent:>9.0}/s  {arrived:>9.0}/s ({:5.1} %)  {cpu:5.2} µs",
                arrived / sent * 100.0
            );
        }
    }
    Ok(())
}

fn median(runs: &[[f64; 3]], at: usize) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(|run| run[at]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    if setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20)).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
    }
    Ok(socket)
}

/// Sent and arrived a second, and the CPU time of the process between for each that arrived, in µs.
fn measure(case: &str, rate: Option<u64>, time: Duration) -> Outcome<[f64; 3]> {
    let sink = socket()?;
    sink.set_read_timeout(Some(Duration::from_millis(50)))?;
    let there = sink.local_addr()?;
    let between = if case == CASES[0] { None } else { Some(Between::start(case, there)?) };
    let to = between.as_ref().map_or(there, |between| between.address);
    let sender = socket()?;
    sender.connect(to)?;
    let before = between.as_ref().map_or(Ok(0.0), Between::cpu)?;
    let (over, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let sent = thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2_048];
            loop {
                match sink.recv(&mut buffer) {
                    Ok(_) => drop(arrived.fetch_add(1, Relaxed)),
                    // Everything has arrived or is lost.
                    Err(_) if over.load(Relaxed) => break,
                    Err(_) => {}
                }
            }
        });
        let mut sent = 0_u64;
        while began.elapsed() < time {
            let due = rate.map_or(sent + 64, |rate| (began.elapsed().as_secs_f64() * rate as f64) as u64);
            while sent < due {
                // Refused only when nobody is there any more: then nothing arrives, which is seen.
                let _ = sender.send(&DATAGRAM);
                sent += 1;
            }
            if rate.is_some() {
                thread::sleep(Duration::from_micros(100));
            }
        }
        over.store(true, Relaxed);
        sent
    });
    let cpu = between.as_ref().map_or(Ok(0.0), Between::cpu)? - before;
    let (seconds, arrived) = (time.as_secs_f64(), arrived.load(Relaxed) as f64);
    Ok([sent as f64 / seconds, arrived / seconds, cpu * 1e6 / arrived.max(1.0)])
}

/// The process between; it ends with its stdin.
struct Between {
    child: Child,
    address: SocketAddr,
}

impl Between {
    fn start(case: &str, sink: SocketAddr) -> Outcome<Between> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(BETWEEN, format!("{case}|{sink}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("its stdout is piped")?).read_line(&mut line)?;
        Ok(Between { child, address: line.trim().parse()? })
    }

    fn cpu(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run_between(case: &str, sink: SocketAddr) -> Outcome<()> {
    if case == CASES[1] {
        let (listener, upstream) = (socket()?, socket()?);
        upstream.connect(sink)?;
        println!("{}", listener.local_addr()?);
        let mut buffer = [0; 2_048];
        loop {
            let (len, _) = listener.recv_from(&mut buffer)?;
            let _ = upstream.send(&buffer[..len]);
        }
    }
    let options = TapOptions {
        listen: Some(Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) }),
        to: Some(sink.to_string().parse()?),
        record: None,
        replay: None,
        weather: Weather { drop: if case == CASES[3] { 0.05 } else { 0.0 }, ..Weather::default() },
        silence: None,
        udp: true,
        idle: Duration::from_secs(120),
        once: false,
        expose: false,
    };
    // The first record has the address; the others cost what they cost.
    let report = Report::new(FirstAddress(false), io::sink(), true, false);
    tap::run(&options, &report, &Stop::after(None)?)?;
    Ok(())
}

/// Prints the address of the first record.
struct FirstAddress(bool);

impl Write for FirstAddress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.0 {
            self.0 = true;
            let record: serde_json::Value = serde_json::from_slice(bytes)?;
            println!("{}", record["address"].as_str().unwrap_or_default());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
