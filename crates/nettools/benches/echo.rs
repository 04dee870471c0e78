//! The models of the echo server compared with a minimal one, a bare epoll loop, in turn and under the same load from
//! another process. Results: messages per second, and CPU time of the server's process per message.
//!
//! ```text
//! cargo bench -p vang-nettools --bench echo              64 connections x 100 bytes, then 64 KiB; 5 rounds of 2 s
//! cargo bench -p vang-nettools --bench echo -- 9 5       9 rounds of 5 s
//! ```
//!
//! Rounds alternate between the servers, so that a machine that gets slower does so for all of them; the median counts.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use vang_nettools::echo::serve::{EchoServeOptions, Model, Server};
use vang_nettools::{Report, Stop};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The same buffer size as the server.
const BUFFER: usize = 1 << 16;

const SERVERS: [&str; 5] = ["bare epoll", "selector", "async", "threads", "sequential"];

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    if let Ok(server) = std::env::var("ECHO_BENCH_SERVER") {
        return serve(&server);
    }
    let rounds = args.next().map_or(Ok(5), |arg| arg.parse::<usize>())?;
    let seconds = args.next().map_or(Ok(2.0), |arg| arg.parse::<f64>())?;
    for (what, connections, bytes) in
        [("64 connections, 100 bytes", 64, 100), ("8 connections, 64 KiB", 8, 1 << 16)]
    {
        println!("{what}: messages/s, processor time of the server a message; against bare epoll");
        let mut runs = vec![Vec::new(); SERVERS.len()];
        for _ in 0..rounds {
            for (server, runs) in SERVERS.iter().zip(&mut runs) {
                runs.push(measure(server, connections, bytes, Duration::from_secs_f64(seconds))?);
            }
        }
        let medians: Vec<(f64, f64)> =
            runs.iter().map(|runs| (median(runs, |run| run.0), median(runs, |run| run.1))).collect();
        for (server, (speed, cpu)) in SERVERS.iter().zip(&medians) {
            let (bare, bare_cpu) = medians[0];
            let (than, than_cpu) = (speed / bare * 100.0, cpu / bare_cpu * 100.0);
            println!("  {server:11} {speed:>9.0}/s ({than:5.1} %)  {cpu:6.2} µs ({than_cpu:5.1} %)");
        }
    }
    Ok(())
}

fn median(runs: &[(f64, f64)], of: impl Fn(&(f64, f64)) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server in its own process; it ends when its stdin ends.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(server: &str) -> Outcome<Running> {
        let mut child = Command::new(std::env::current_exe()?)
            .env("ECHO_BENCH_SERVER", server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("its stdout is piped")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Running { child, address: address.trim().to_owned() })
    }

    /// CPU time of all its threads, including ended ones.
    fn cpu(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages per second, and CPU time of the server for each in µs.
fn measure(server: &str, connections: usize, bytes: usize, time: Duration) -> Outcome<(f64, f64)> {
    let running = Running::start(server)?;
    // The sequential model serves one connection at a time.
    let connections = if server == "sequential" { 1 } else { connections };
    let before = running.cpu()?;
    let began = Instant::now();
    let messages = load(&running.address, connections, bytes, time)?;
    let took = began.elapsed().as_secs_f64();
    let cpu = running.cpu()? - before;
    Ok((messages as f64 / took, cpu * 1e6 / messages.max(1) as f64))
}

/// Each connection with one message in progress.
fn load(address: &str, connections: usize, bytes: usize, time: Duration) -> Outcome<u64> {
    let mut poll = Poll::new()?;
    let mut lines = Vec::new();
    let message = vec![b'x'; bytes];
    for number in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(number), both)?;
        lines.push((stream, 0, 0));
    }
    let (mut events, mut scratch) = (Events::with_capacity(256), vec![0; BUFFER]);
    let (until, mut messages) = (Instant::now() + time, 0);
    while Instant::now() < until {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let (stream, sent, back) = &mut lines[event.token().0];
            loop {
                match stream.write(&message[*sent..]) {
                    Ok(taken) => *sent += taken,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
                match stream.read(&mut scratch) {
                    Ok(0) => return Err("the server closed".into()),
                    Ok(read) => *back += read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
                if *back == bytes {
                    (*sent, *back) = (0, 0);
                    messages += 1;
                }
            }
        }
    }
    Ok(messages)
}

fn serve(server: &str) -> Outcome<()> {
    let Some(model) = Model::ALL.into_iter().find(|model| model.name() == server) else { return bare() };
    let report = Report::new(io::sink(), io::sink(), false, false);
    let stop = Stop::after(None)?;
    let server = Server::open(
        &EchoServeOptions { model, quiet: true, ..EchoServeOptions::default() },
        &report,
        &stop,
    )?;
    let server = server.ok_or("stopped before it started")?;
    println!("{}", server.address());
    server.serve()?;
    Ok(())
}

/// A minimal echo server: level-triggered epoll, read, write; without care for clients that do not read.
fn bare() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let (mut events, mut buffer) = (Vec::with_capacity(1_024), vec![0; BUFFER]);
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let event: &epoll::Event = event;
            let key = event.data.u64();
            if key == u64::MAX {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let data = epoll::EventData::new_u64(streams.len() as u64);
                epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
                streams.push(Some(stream));
                continue;
            }
            let slot = &mut streams[key as usize];
            let Some(stream) = slot else { continue };
            let over = match stream.read(&mut buffer) {
                Ok(0) | Err(_) => true,
                // It blocks if the client does not read; the load always reads.
                Ok(read) => stream.write_all(&buffer[..read]).is_err(),
            };
            if over {
                *slot = None;
            }
        }
    }
}
