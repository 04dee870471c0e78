//! The processes of the bench: vang's server as the product runs it, the floor, the attackers, and the
//! peers where they are installed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use vang_server::{Config, Server};

use crate::attack::{self, Done};
use crate::common::process::{Running, announce, cpu};
use crate::floods::{self, Flood};
use crate::floor;
use crate::honest::{Kind, Target};
use crate::seed::{self, Facts, Seed};

/// How often a process that shall end is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long a peer may take until it listens.
const PEER_STARTS: Duration = Duration::from_secs(10);
/// So long after all are connected the sockets are full.
const RISE: Duration = Duration::from_millis(300);

impl Running {
    /// vang's server on a copy of the seed, with these limits.
    pub(crate) fn vang(seed: Option<&Seed>, limits: &[&str]) -> Running {
        let folder = seed.map_or(String::new(), |seed| seed.folder().display().to_string());
        let args: Vec<&str> = [folder.as_str()].into_iter().chain(limits.iter().copied()).collect();
        Running::start("serve", &args)
    }

    pub(crate) fn floor() -> Running {
        Running::start("floor", &[])
    }

    pub(crate) fn target(&self, kind: Kind) -> Target {
        Target { kind, addr: self.addr.parse().expect("an address") }
    }

    /// Whether the process is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The most resident memory that it ever had, bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Sends SIGTERM and waits for the end; how long it took. `None`: it did not end in time, and is
    /// ended the hard way.
    pub(crate) fn terminate(&mut self, at_most: Duration) -> Option<Duration> {
        let began = Instant::now();
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        while began.elapsed() < at_most {
            if !self.is_alive() {
                return Some(began.elapsed());
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

/// The attackers, at it.
pub(crate) struct Attack {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Attack {
    /// Begins a flood, and comes back when it has risen.
    pub(crate) fn begin(flood: &Flood, target: Target, attackers: usize, facts: &Facts) -> Attack {
        let kind = match target.kind {
            Kind::Vang => "vang",
            Kind::Floor => "floor",
            Kind::Redis => "redis",
            Kind::Nats => "nats",
        };
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--role=attack", flood.name, kind, &target.addr.to_string(), &attackers.to_string()])
            .arg(facts.to_json())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a word when they are ready");
        assert_eq!(line.trim(), "ready", "the attackers of {} ended", flood.name);
        std::thread::sleep(RISE);
        Attack { child, said }
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Done {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.said.read_line(&mut line).expect("what they did");
        let _ = self.child.wait();
        Done::from_json(&line).expect("what they did")
    }
}

/// What a child does.
pub(crate) fn play(role: &str, args: &[String]) {
    match role {
        "serve" => serve(Path::new(&args[0]), &args[1], &args[2..]),
        "floor" => floor::run(announce, &Path::new(&args[0]).join("log")),
        "attack" => {
            let flood = floods::FLOODS.iter().find(|flood| flood.name == args[0]).expect("a flood");
            let facts = Facts::from_json(&args[4]);
            let cast = match args[1].as_str() {
                "vang" => (flood.cast)(&facts),
                "floor" => floods::at_floor((flood.cast)(&facts)),
                "redis" => floods::redis(flood.at_peers.expect("a flood for peers")),
                _ => floods::nats(flood.at_peers.expect("a flood for peers")),
            };
            let addr = args[2].parse().expect("an address");
            attack::run(addr, cast, args[3].parse().expect("a number"), &facts.certificate);
        }
        other => panic!("no role {other}"),
    }
}

/// As `vang serve` does it: with its log, of which an attack makes much, and SIGTERM.
fn serve(folder: &Path, seed: &str, limits: &[String]) {
    let log = Arc::new(File::create(folder.join("log")).expect("a file"));
    tracing_subscriber::fmt().with_writer(log).with_target(false).with_ansi(false).init();
    let data = folder.join("data");
    if !seed.is_empty() {
        seed::copy(Path::new(seed), &data).expect("room on the disk");
    }
    let mut config = Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        data,
        ..Config::new("bench".to_owned())
    };
    for limit in limits {
        config.limits.set(limit).unwrap_or_else(|error| panic!("{error}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("a signal");
        let server = Server::open(config).expect("a server");
        let (addr, stopper) = (server.addresses()[0].clone(), server.stopper());
        tokio::spawn(async move {
            terminate.recv().await;
            stopper.stop();
        });
        server.run(|| announce(&addr)).await.expect("a good end");
    });
}

/// A server that others wrote.
pub(crate) struct Peer {
    pub(crate) target: Target,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// Starts it; `None` when it is not installed. The usual settings, without what it keeps on the disk.
    pub(crate) fn start(kind: Kind) -> Option<Peer> {
        // A port that was free a moment ago: neither program tells which one it chose.
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let port = addr.port().to_string();
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = match kind {
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                // The attackers come from another address of this machine, which it takes for another machine.
                command.args(["--protected-mode", "no", "--maxclients", "10000"]);
                command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
                command
            }
            Kind::Nats => {
                let mut command = Command::new("nats-server");
                command.args(["--addr", "127.0.0.1", "--port", &port]);
                command
            }
            Kind::Vang | Kind::Floor => return None,
        };
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let peer = Peer { target: Target { kind, addr }, child: command.spawn().ok()?, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(began.elapsed() < PEER_STARTS, "{} does not listen", peer.name());
            std::thread::sleep(LOOK);
        }
        Some(peer)
    }

    /// CPU time so far, s.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(self.child.id())
    }

    fn name(&self) -> &'static str {
        peer_name(self.target.kind)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a peer is called.
pub(crate) fn peer_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Vang => "vang",
        Kind::Floor => "floor",
        Kind::Redis => "redis-server",
        Kind::Nats => "nats-server",
    }
}
