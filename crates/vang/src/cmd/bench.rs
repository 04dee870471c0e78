//! `vang bench`: measures a server from this machine. `send` and `fanout` post messages that stay in the
//! room's history; a note says so before they begin.
//!
//! With a rate, waiting time counts from the scheduled send time, not from the actual one: a server that
//! stops for a second then shows in every message of that second.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{collections::VecDeque, sync::Arc};

use clap::{Args as ClapArgs, Subcommand};
use hdrhistogram::Histogram;
use vang_client::send::fresh_id;
use vang_client::{ClientError, Connection, Deadline, Identity, ServerAddr, sign_in};
use vang_proto::text::short_duration;
use vang_proto::vang::{Action, FollowFrom, Incoming, Reply, RequestWriter};

use crate::args::{ClientArgs, parse_time};
use crate::color;
use crate::say::{CommandError, note, print};

const EXAMPLES: &str = "\
Examples:
  vang bench ping                            requests and answers; posts nothing
  vang bench send general --connections 8 --in-flight 64
  vang bench fanout general --members 100 --rate 200 --duration 30s --json";

/// Measure the speed of a server from this machine
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Send requests, one in flight per connection; posts nothing
    #[command(before_help = "Examples:\n  vang bench ping --connections 64 --duration 5s")]
    Ping {
        /// Number of connections, each with one request in flight
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        connections: u32,
        #[command(flatten)]
        run: Run,
    },
    /// Post messages, and measure the time until each is on the disk; they stay in the room
    #[command(before_help = "Examples:\n  vang bench send general --connections 8 --in-flight 64")]
    Send {
        /// Room to post to
        room: String,
        /// Number of connections
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        connections: u32,
        /// Messages in flight per connection
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
        in_flight: u32,
        /// Bytes of each message
        #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=100_000))]
        size: u32,
        #[command(flatten)]
        run: Run,
    },
    /// Post at a fixed rate, and measure the time until each member has each message; they stay in the room
    #[command(before_help = "Examples:\n  vang bench fanout general --members 100 --rate 200")]
    Fanout {
        /// Room to post to
        room: String,
        /// Number of members that read
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        members: u32,
        /// Messages per second
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rate: u32,
        /// Bytes of each message
        #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=100_000))]
        size: u32,
        #[command(flatten)]
        run: Run,
    },
}

#[derive(ClapArgs, Debug, Clone)]
struct Run {
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    match args.what {
        What::Ping { connections, run } => {
            let stage = Stage::new(run)?;
            let workers = (0..connections).map(|_| stage.spawn(Stage::ping)).collect();
            stage.report("ping", workers)
        }
        What::Send { room, connections, in_flight, size, run } => {
            let stage = Stage::new(run)?;
            stage.warn(&room);
            let post = Post::new(&room, size)?;
            let workers = (0..connections)
                .map(|number| {
                    let post = Post { number, ..post.clone() };
                    stage.spawn(move |stage| stage.send(&post, in_flight as usize))
                })
                .collect();
            stage.report("send", workers)
        }
        What::Fanout { room, members, rate, size, run } => {
            let stage = Stage::new(run)?;
            stage.warn(&room);
            let post = Post::new(&room, size)?;
            // Everybody listens before the first message is due.
            let listening = Arc::new(AtomicU64::new(0));
            let mut workers: Vec<_> = (0..members)
                .map(|_| {
                    let (listening, room) = (listening.clone(), room.clone());
                    stage.spawn(move |stage| stage.listen(&room, rate, &listening))
                })
                .collect();
            workers.push(stage.spawn(move |stage| stage.post(&post, rate, u64::from(members), &listening)));
            stage.report("fanout", workers)
        }
    }
}

/// What the threads of one run share.
#[derive(Clone)]
struct Stage {
    run: Arc<Run>,
    server: ServerAddr,
    identity: Identity,
    began: Instant,
    done: Arc<AtomicU64>,
    /// Set when a thread fails: all stop.
    failed: Arc<AtomicBool>,
    /// In `fanout`: when the first message is due, in µs after `began`.
    first_due: Arc<AtomicU64>,
}

/// The messages that one connection posts.
#[derive(Clone)]
struct Post {
    room: String,
    size: usize,
    id: String,
    number: u32,
}

impl Post {
    fn new(room: &str, size: u32) -> anyhow::Result<Post> {
        Ok(Post { room: room.to_owned(), size: size as usize, id: fresh_id()?, number: 0 })
    }

    /// The content begins with the message's number, so that a reader knows when it was due.
    fn write(&self, writer: &RequestWriter, count: u64) -> Vec<u8> {
        let content = format!("{count:016x}{}", ".".repeat(self.size - 16));
        let id = format!("{}-{}-{count}", self.id, self.number);
        let send = Action::Send {
            room: self.room.clone(),
            id: Some(id),
            content_type: "text/plain".to_owned(),
            content_encoding: "utf-8".to_owned(),
            content: content.into(),
        };
        writer.write(count, &send).to_vec()
    }
}

type Waits = Result<Histogram<u64>, ClientError>;

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

fn record(waits: &mut Histogram<u64>, since: Instant) {
    // The histogram resizes itself; the microseconds of an hour fit.
    let _ = waits.record(since.elapsed().as_micros() as u64);
}

impl Stage {
    fn new(run: Run) -> Result<Stage, CommandError> {
        let (done, failed, first_due) = Default::default();
        let server = run.client.server()?;
        let identity = run.client.identity(&server)?;
        Ok(Stage { run: Arc::new(run), server, identity, began: Instant::now(), done, failed, first_due })
    }

    fn warn(&self, room: &str) {
        let server = &self.server;
        note(&format!("posting real messages to #{room} at {server}; they stay in its history"));
    }

    fn spawn(&self, work: impl FnOnce(&Stage) -> Waits + Send + 'static) -> JoinHandle<Waits> {
        let stage = self.clone();
        thread::spawn(move || {
            let waits = work(&stage);
            if waits.is_err() {
                stage.failed.store(true, Relaxed);
            }
            waits
        })
    }

    fn goes_on(&self) -> bool {
        self.began.elapsed() < self.run.duration && !self.failed.load(Relaxed)
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.run.client.timeout())
    }

    fn connect(&self) -> Result<(Connection, RequestWriter), ClientError> {
        let mut connection = sign_in::open(&self.server, &self.identity, self.deadline())?;
        connection.ask(self.identity.name.as_deref(), &Action::Hello, self.deadline())?;
        Ok((connection, RequestWriter { name: None }))
    }

    fn ping(&self) -> Waits {
        let (mut connection, _) = self.connect()?;
        let mut waits = histogram();
        while self.goes_on() {
            let sent = Instant::now();
            connection.ask(None, &Action::Ping, self.deadline())?;
            record(&mut waits, sent);
            self.done.fetch_add(1, Relaxed);
        }
        Ok(waits)
    }

    fn send(&self, post: &Post, in_flight: usize) -> Waits {
        let (mut connection, writer) = self.connect()?;
        let (mut waits, mut pending, mut count) = (histogram(), VecDeque::new(), 0);
        loop {
            let mut bytes = Vec::new();
            while pending.len() < in_flight && self.goes_on() {
                bytes.extend(post.write(&writer, count));
                pending.push_back(Instant::now());
                count += 1;
            }
            connection.write(&bytes, self.deadline())?;
            let Some(sent) = pending.pop_front() else { return Ok(waits) };
            accepted(connection.read(self.deadline())?)?;
            record(&mut waits, sent);
            self.done.fetch_add(1, Relaxed);
        }
    }

    fn messages(&self, rate: u32) -> u64 {
        ((self.run.duration.as_secs_f64() * f64::from(rate)) as u64).max(1)
    }

    fn due(&self, rate: u32, count: u64) -> Instant {
        let first = self.began + Duration::from_micros(self.first_due.load(Relaxed));
        first + Duration::from_secs_f64(count as f64 / f64::from(rate))
    }

    /// Posts at the scheduled times, also if answers are late.
    fn post(&self, post: &Post, rate: u32, members: u64, listening: &AtomicU64) -> Waits {
        let (mut connection, writer) = self.connect()?;
        while listening.load(Relaxed) < members && !self.failed.load(Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        self.first_due.store(self.began.elapsed().as_micros() as u64, Relaxed);
        let (messages, mut sent, mut answered) = (self.messages(rate), 0, 0);
        while answered < messages && !self.failed.load(Relaxed) {
            if sent < messages {
                thread::sleep(self.due(rate, sent).saturating_duration_since(Instant::now()));
                connection.write(&post.write(&writer, sent), self.deadline())?;
                sent += 1;
            }
            // Waiting with a socket timeout would be some milliseconds late. Answers this old have arrived already,
            // so reading them does not block.
            while answered + ANSWERS_LEFT < sent || (sent == messages && answered < messages) {
                accepted(connection.read(self.deadline())?)?;
                answered += 1;
            }
        }
        Ok(histogram())
    }

    fn listen(&self, room: &str, rate: u32, listening: &AtomicU64) -> Waits {
        let (mut connection, _) = self.connect()?;
        let follow =
            Action::Follow { rooms: vec![room.to_owned()], feeds: Vec::new(), from: FollowFrom::Now };
        connection.ask(None, &follow, self.deadline())?;
        listening.fetch_add(1, Relaxed);
        let (mut waits, mut heard) = (histogram(), 0);
        while heard < self.messages(rate) && !self.failed.load(Relaxed) {
            let Incoming::Event(event) = connection.read(self.deadline())? else { continue };
            // Other people can post to this room at the same time.
            let count = event.content.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
            let Some(count) = count.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else { continue };
            record(&mut waits, self.due(rate, count));
            heard += 1;
            self.done.fetch_add(1, Relaxed);
        }
        Ok(waits)
    }

    /// Waits for all threads, with a progress line on a terminal; then prints the result.
    fn report(&self, what: &str, workers: Vec<JoinHandle<Waits>>) -> anyhow::Result<()> {
        let watched = color::is_screen(&io::stderr());
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(if watched { 100 } else { 10 }));
            if watched {
                let (time, done) = (self.began.elapsed().as_secs_f64(), self.done.load(Relaxed));
                let _ =
                    write!(io::stderr(), "\r{time:5.1} s  {done:>10} done  {:>9.0}/s ", done as f64 / time);
            }
        }
        if watched {
            let _ = write!(io::stderr(), "\r{:50}\r", "");
        }
        let took = self.began.elapsed().as_secs_f64();
        let mut waits = histogram();
        for worker in workers {
            let one = worker.join().map_err(|_| CommandError::new("a thread of the bench failed"))?;
            let _ = waits.add(one.map_err(CommandError::from)?);
        }
        let text = if self.run.json { json(what, &waits, took) } else { text(&waits, took) };
        Ok(print(text.as_bytes())?)
    }
}

/// Makes the server's refusal an error.
fn accepted(incoming: Incoming) -> Result<(), ClientError> {
    match incoming {
        Incoming::Reply(Reply { code: Some(code), text, .. }) => {
            Err(ClientError::Refused { code, detail: text, retry_after: None })
        }
        Incoming::Reply(_) | Incoming::Event(_) => Ok(()),
    }
}

/// Answers that can stay unread while messages are due.
const ANSWERS_LEFT: u64 = 64;

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

fn json(what: &str, waits: &Histogram<u64>, took: f64) -> String {
    let mut object = serde_json::json!({
        "bench": what, "count": waits.len(), "seconds": took, "per_second": waits.len() as f64 / took,
        "max_us": waits.max(),
    });
    for (name, part) in PERCENTILES {
        object[format!("{name}_us")] = waits.value_at_quantile(part).into();
    }
    format!("{object}\n")
}

fn text(waits: &Histogram<u64>, took: f64) -> String {
    let shown = |us: u64| short_duration(Duration::from_micros(us));
    let mut out = format!("{} in {took:.1} s: {:.0}/s\n", waits.len(), waits.len() as f64 / took);
    for (name, part) in PERCENTILES {
        let _ = write!(out, "{name} {}  ", shown(waits.value_at_quantile(part)));
    }
    let _ = writeln!(out, "max {}\n", shown(waits.max()));
    // One row per doubling of the time: slow outliers are rows far below the others.
    let (mut upto, mut below) = (1_u64, 0_u64);
    while below < waits.len() {
        let count = waits.count_between(0, upto) - below;
        if below + count > 0 {
            let bar = (count as f64 / waits.len() as f64 * 50.0).ceil() as usize;
            let _ =
                writeln!(out, "{:>9} {:<50} {count}", format!("≤ {}", shown(upto)), "#".repeat(bar.min(50)));
        }
        below += count;
        upto *= 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_shows_every_wait_once_with_the_slowest() {
        let mut waits = histogram();
        for us in [90, 100, 110, 120, 70_000] {
            waits.record(us).unwrap();
        }
        let text = text(&waits, 2.0);
        assert!(text.starts_with("5 in 2.0 s: 2/s\np50 0.11 ms"), "{text}");
        let rows: Vec<u64> =
            text.lines().skip(3).map(|row| row.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(rows.iter().sum::<u64>(), 5, "{text}");
        assert_eq!(rows.last(), Some(&1), "{text}");
        let object: serde_json::Value = serde_json::from_str(&json("ping", &waits, 2.0)).unwrap();
        assert_eq!((&object["count"], &object["p50_us"]), (&5.into(), &110.into()));
    }
}
