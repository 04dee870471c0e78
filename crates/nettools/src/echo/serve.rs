//! The echo server: what it is asked for, and how each model gets its connections.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use serde::{Serialize, Serializer};
use socket2::Type;
use vang_client::trouble::Doing;

use super::certificate::Own;
use super::peer::Peer;
pub use super::tell::Summary;
use super::tell::{Listening, Teller, thread_time};
use super::wire::Wire;
use super::{blocking, datagrams, selector, tasks};
use crate::failure::{Failure, Outcome, explain};
use crate::place::{self, Door, Listen, Who};
use crate::{Report, Stop, Stopped, Target, Verdict};

/// How many connections are served at once, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One after the other: the others wait in the kernel's queue.
    Sequential,
    /// A thread for each, which blocks.
    Threads,
    /// One thread that asks the kernel which are ready (epoll, by mio).
    Selector,
    /// One thread, a task for each (epoll too, by tokio).
    Async,
}

impl Model {
    /// All, the simplest first.
    pub const ALL: [Model; 4] = [Model::Sequential, Model::Threads, Model::Selector, Model::Async];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Model::Sequential => "sequential",
            Model::Threads => "threads",
            Model::Selector => "selector",
            Model::Async => "async",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where.
    pub listen: Target,
    /// Datagrams instead of connections: no model, nobody to accept.
    pub udp: bool,
    /// With a certificate made for this run.
    pub tls: bool,
    /// Where that certificate is written, in PEM, for clients that check it.
    pub certificate: Option<PathBuf>,
    /// How.
    pub model: Model,
    /// One client, then the end.
    pub once: bool,
    /// Reads everything a client sends, then answers with two texts and closes (blocking models).
    pub greet: bool,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: u32,
    /// Only the first line and the last.
    pub quiet: bool,
    /// A connection on which nothing moves for so long is closed; the models without threads look four times in it.
    pub idle: Duration,
}

impl Default for Asked {
    /// TCP on any port of this machine, with a selector.
    fn default() -> Asked {
        Asked {
            listen: Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) },
            udp: false,
            tls: false,
            certificate: None,
            model: Model::Selector,
            once: false,
            greet: false,
            backlog: 128,
            quiet: false,
            idle: Duration::from_secs(300),
        }
    }
}

/// A server that listens and does not accept yet.
pub struct Server {
    asked: Asked,
    door: Door,
    tls: Option<Own>,
    report: Report,
    stop: Stop,
}

/// What the models share.
pub(super) struct Works {
    pub(super) teller: Arc<Teller>,
    pub(super) stop: Stop,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) idle: Duration,
    pub(super) greet: bool,
    pub(super) once: bool,
}

/// What came of accepting.
pub(super) enum Accepted {
    Peer(Box<Peer>),
    /// Nobody waits.
    Nobody,
    /// The system has no file, or memory, for another one now.
    Full,
}

impl Server {
    /// Listens, and says so. `None`: somebody said stop before a name was looked up.
    pub fn open(asked: &Asked, report: &Report, stop: &Stop) -> Result<Option<Server>, Failure> {
        check(asked)?;
        place::may_open_many();
        let kind = if asked.udp { Type::DGRAM } else { Type::STREAM };
        let own = |asked: &Asked| Own::make(names(&asked.listen), asked.certificate.as_deref());
        let tls = if asked.tls { Some(own(asked)?) } else { None };
        let how = Listen { kind, backlog: asked.backlog, receive_buffer: None };
        let Some(door) = Door::open(&asked.listen, how, report, stop)? else { return Ok(None) };
        report.tell(&Listening {
            address: &door.address,
            kind: match (&asked.listen, asked.udp, asked.tls) {
                (_, true, _) => "UDP",
                (Target::Unix(_), _, false) => "Unix socket",
                (Target::Unix(_), _, true) => "TLS over a Unix socket",
                (Target::Net { .. }, _, false) => "TCP",
                (Target::Net { .. }, _, true) => "TLS over TCP",
            },
            model: Some(asked.model).filter(|_| !asked.udp),
            backlog: Some(asked.backlog).filter(|_| !asked.udp),
            may_wait: Some(door.backlog).filter(|_| !asked.udp),
            key: tls.as_ref().map(|own| own.fingerprint.as_str()),
        })?;
        if door.is_beyond_this_machine() {
            report.means(if asked.udp {
                "other machines reach it, and the source of a datagram is not proven: anybody can make it send to \
                 anybody. Where the network is not yours, listen at 127.0.0.1"
            } else {
                "other machines reach it; 127.0.0.1 is for this machine alone"
            })?;
        }
        Ok(Some(Server { asked: asked.clone(), door, tls, report: report.clone(), stop: stop.clone() }))
    }

    /// As a client types it.
    pub fn address(&self) -> &str {
        &self.door.address
    }

    /// Serves until the end: `--once`, or `Stop`.
    pub fn serve(self) -> Result<(Summary, Option<Stopped>), Failure> {
        let teller = Arc::new(Teller::new(self.report.clone(), self.asked.quiet, self.stop.clone()));
        let before = thread_time();
        let works = Works {
            teller: teller.clone(),
            stop: self.stop,
            tls: self.tls.map(|own| own.config),
            idle: self.asked.idle,
            greet: self.asked.greet,
            once: self.asked.once,
        };
        let stopped = match (self.asked.udp, self.asked.model) {
            (true, _) => datagrams::serve(&self.door, &works),
            (false, Model::Sequential) => blocking::sequential(&self.door, &works),
            (false, Model::Threads) => blocking::threads(&self.door, &works),
            (false, Model::Selector) => selector::serve(&self.door, &works),
            (false, Model::Async) => tasks::serve(&self.door, &works),
        };
        teller.thread_ends(before);
        let stopped = stopped.map_err(|error| {
            Failure::of(format!("cannot serve at {}", self.door.address), &error, Doing::Read)
        });
        // That nothing could be told comes first: the rest follows from it.
        let summary = teller.finish(self.asked.udp)?;
        Ok((summary, stopped?))
    }
}

/// What does not go together.
fn check(asked: &Asked) -> Result<(), Failure> {
    let wrong = |text: &str| Err(Failure::Usage(text.to_owned()));
    let is_unix = matches!(asked.listen, Target::Unix(_));
    match () {
        () if asked.udp && asked.tls => {
            wrong("TLS needs a stream; over UDP there is DTLS, which is not spoken here")
        }
        () if asked.udp && is_unix => wrong("a Unix socket here carries a stream; --udp is for the network"),
        () if asked.udp && asked.greet => {
            wrong("--greet answers when a client has closed; with UDP nobody connects or closes")
        }
        () if asked.greet && !matches!(asked.model, Model::Sequential | Model::Threads) => {
            wrong("--greet is of the models that block: add --model sequential or --model threads")
        }
        () => Ok(()),
    }
}

fn names(listen: &Target) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    match listen {
        Target::Net { host, .. } if host.is_ascii() && !host.is_empty() && !names.contains(host) => {
            names.extend(host.split('%').next().map(str::to_owned));
        }
        _ => {}
    }
    names
}

impl Works {
    /// The next one that waits. `blocking` is how its socket shall be.
    pub(super) fn accept(&self, door: &Door, blocking: bool) -> io::Result<Accepted> {
        let (socket, who) = match door.accept()? {
            place::Accepted::Connection(socket, who) => (socket, who),
            place::Accepted::Nobody => return Ok(Accepted::Nobody),
            place::Accepted::Full(error) => {
                let why = explain(&error, Doing::Read);
                self.teller.full(&format!("{why}: whoever connects waits; {}", why.advice));
                return Ok(Accepted::Full);
            }
        };
        socket.set_nonblocking(!blocking)?;
        if matches!(who, Who::Net(_)) {
            // Small answers go out at once. It fails where the peer is gone already, which the first read tells.
            let _ = socket.set_tcp_nodelay(true);
        }
        let wire = match &self.tls {
            None => Wire::plain(socket),
            Some(config) => {
                let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Wire::server(socket, tls)
            }
        };
        let peer = Peer::new(wire, who, self.greet, self.teller.clone());
        Ok(Accepted::Peer(Box::new(peer)))
    }
}

/// Serves, and tells what it came to.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let (summary, stopped) = match Server::open(asked, report, stop)? {
        Some(server) => server.serve()?,
        None => (Summary { is_udp: asked.udp, ..Summary::default() }, Some(Stopped::Asked)),
    };
    report.tell(&summary)?;
    Ok(match stopped {
        // A server's time is its length; only who waits for one client may wait in vain.
        Some(Stopped::TimedOut) if asked.once => Verdict::TimedOut,
        _ => Verdict::Good,
    })
}
