//! Does a live capture keep up with many small packets? Beside tcpdump, on the same packets.
//!
//! ```text
//! cargo bench -p vang-nettools --bench capture           as root, in its own network; about half a minute
//! ```
//!
//! A thread sends datagrams of 100 bytes over loopback, as many in each millisecond as the rate needs. The capture's CPU time
//! is that of its thread: below one second each second, one core keeps up.

use std::io::BufRead;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use vang_nettools::live_capture::{self, CaptureOptions, CaptureOutput};
use vang_nettools::{Report, Stop};

const PER_SECOND: u32 = 200_000;
const LENGTH: Duration = Duration::from_secs(5);
const PORT: u16 = 7_001;
/// Makes this program run itself in a network of its own.
const INSIDE: &str = "VANG_BENCH_INSIDE";

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        let this = std::env::current_exe().expect("this program has a path");
        let script = "ip link set lo up && exec \"$0\" --bench";
        let error =
            Command::new("unshare").args(["--net", "sh", "-c", script]).arg(this).env(INSIDE, "1").exec();
        panic!("unshare (package util-linux): {error}");
    }
    println!("{PER_SECOND} datagrams of 100 bytes a second over loopback for {} s", LENGTH.as_secs());
    let file = |name: &str| std::env::temp_dir().join(format!("vang-bench-{}-{name}", std::process::id()));
    let [ours, theirs] = [file("ours"), file("theirs")];
    for (title, output, show, only_conversations) in [
        ("written to a file", Some(ours.clone()), false, false),
        ("decoded, conversations shown", None, true, true),
        ("decoded, every datagram shown", None, true, false),
    ] {
        round(title, output, show, only_conversations, &theirs);
    }
    for file in [ours, theirs] {
        let _ = std::fs::remove_file(file);
    }
}

fn round(title: &str, output: Option<PathBuf>, show: bool, only_conversations: bool, theirs: &PathBuf) {
    let options = CaptureOptions {
        interface: None,
        ports: vec![PORT],
        output: output.map(CaptureOutput::File),
        show,
        only_conversations,
        count: None,
        snaplen: 256 << 10,
        buffer_bytes: 64 << 20,
    };
    let stop = Stop::after(None).expect("a pair of sockets");
    let (begun, has_begun) = channel();
    let (said, out) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    let ends = stop.clone();
    let capture = std::thread::spawn(move || {
        let report = Report::new(out, std::io::sink(), true, false);
        let before = clock_gettime(ClockId::ThreadCPUTime);
        live_capture::run(&options, &report, &ends).expect("root can capture");
        let after = clock_gettime(ClockId::ThreadCPUTime);
        (after.tv_sec - before.tv_sec) as f64 + (after.tv_nsec - before.tv_nsec) as f64 / 1e9
    });
    let reader = std::thread::spawn(move || {
        let mut last = String::new();
        for line in std::io::BufReader::with_capacity(1 << 20, said).lines().map_while(Result::ok) {
            if line.contains("\"capturing\"") {
                let _ = begun.send(());
            } else if line.contains("\"summary\"") {
                last = line;
            }
        }
        last
    });
    has_begun.recv().expect("the capture begins");
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-Z", "root", "-B", "65536", "-i", "lo", "-w"]).arg(theirs).args(["port", "7001"]);
    let mut tcpdump = tcpdump.stderr(Stdio::piped()).spawn().expect("tcpdump");
    let mut lines = std::io::BufReader::new(tcpdump.stderr.take().expect("piped")).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on"))).expect("it begins").ok();
    let sent = send();
    std::thread::sleep(Duration::from_millis(500));
    stop.request();
    let cpu = capture.join().expect("no panic");
    let summary = reader.join().expect("no panic");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("an object");
    let pid = rustix::process::Pid::from_child(&tcpdump);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let theirs: Vec<String> = lines.map_while(Result::ok).filter(|line| line.contains("packets")).collect();
    tcpdump.wait().expect("it ends");
    let per_second = f64::from(u32::try_from(sent).expect("a few million")) / LENGTH.as_secs_f64();
    println!(
        "{title}: {sent} sent ({per_second:.0}/s), {} captured, {} dropped, {cpu:.2} s of CPU; tcpdump -w: {}",
        summary["packets"],
        summary["dropped"],
        theirs.join(", ")
    );
}

/// Sends at the rate; a machine that is too slow sends fewer. Nobody reads the datagrams.
fn send() -> usize {
    let receiver = UdpSocket::bind(("127.0.0.1", PORT)).expect("a free port");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    sender.connect(receiver.local_addr().expect("bound")).expect("UDP connects at once");
    let (began, mut sent) = (Instant::now(), 0_usize);
    while began.elapsed() < LENGTH {
        let due = (began.elapsed().as_secs_f64() * f64::from(PER_SECOND)) as usize;
        // After a pause it does not catch up with one long burst.
        for _ in 0..due.saturating_sub(sent).min(PER_SECOND as usize / 100) {
            let _ = sender.send(&[b'x'; 100]);
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}
