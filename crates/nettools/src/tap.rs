//! A proxy that shows every message in both directions as it passes: when, how large, who closed. What one side does
//! the other meets: bytes, a half-close, a reset. On request it records what passed as a capture, and makes the network
//! worse than it is: later, slower, in small pieces, cut off.
//!
//! ```text
//! client ─▶ `link` ─▶ `weather` ─▶ server         each connection a thread with one `poll`
//!             └─▶ `wire::Reader`, `capture::write`    shown and recorded as it comes in, before the weather
//! ```

mod link; // one connection: two sockets, and what passes between them
mod replay; // a recording, played again
mod weather; // what a bad network does to bytes

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::{SockAddr, Socket, Type};
use vang_client::trouble::Doing;

use crate::capture::conversations::Side;
use crate::capture::write::Writer;
use crate::failure::{Failure, Outcome, explain};
use crate::lookup::Purpose;
use crate::place::{Accepted, Door, Listen, Who, addresses, canonical, connect};
use crate::wire::{Heard, Message, Said};
use crate::{Record, Report, Stop, Target, Verdict, counted, duration, size};
pub use weather::Weather;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// Connections that the kernel lets wait for us.
const BACKLOG: u32 = 128;

/// What to do.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where clients come in. `None` with `replay`: the clients of a recording are played.
    pub listen: Option<Target>,
    /// Where their bytes go. `None` with `replay`: the server of a recording is played.
    pub to: Option<Target>,
    /// Records what passes, as pcapng.
    pub record: Option<PathBuf>,
    /// Plays one side of this capture.
    pub replay: Option<PathBuf>,
    /// How bad the network is.
    pub weather: Weather,
    /// Ends after the first connection.
    pub once: bool,
    /// Listens also where more can come in than reach the server by themselves.
    pub expose: bool,
}

/// What every connection needs.
struct Shared<'a> {
    report: &'a Report,
    stop: &'a Stop,
    weather: Weather,
    recorder: Option<Mutex<Writer<BufWriter<File>>>>,
    began: Instant,
    /// The same moment, ns since 1970.
    began_ns: u64,
    totals: Mutex<Totals>,
    /// Nobody reads what is told, or the recording cannot be written.
    failed: Mutex<Option<Failure>>,
}

/// The summary at the end.
#[derive(Clone, Debug, Default, Serialize)]
struct Totals {
    connections: u64,
    /// The server did not take them.
    not_connected: u64,
    messages: u64,
    broken: u64,
    client_bytes: u64,
    server_bytes: u64,
    resets: u64,
    /// By the weather.
    cut: u64,
    took_ns: u64,
}

impl Record for Totals {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {}: clients sent {}, servers {}; {}, {} broken, {}",
            counted(self.connections, "connection", "connections"),
            duration(Duration::from_nanos(self.took_ns)),
            size(self.client_bytes),
            size(self.server_bytes),
            counted(self.messages, "message", "messages"),
            self.broken,
            counted(self.resets, "reset", "resets")
        )?;
        for (count, what) in [(self.cut, "cut by --cut"), (self.not_connected, "not connected to the server")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Listening {
    address: String,
    to: Option<Target>,
    seed: Option<u64>,
}

impl Record for Listening {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}", self.address)?;
        if let Some(to) = &self.to {
            write!(f, ", passing on to {to}")?;
        }
        self.seed.map_or(Ok(()), |seed| write!(f, " (--seed {seed} for the same weather)"))
    }
}

impl Shared<'_> {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure ends the tool.
    fn fail(&self, failure: Failure) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stop.ask();
    }

    fn tell<R: Record>(&self, record: &R) {
        if let Err(error) = self.report.tell(record) {
            self.fail(error.into());
        }
    }

    fn explain(&self, text: impl FnOnce() -> String) {
        if let Err(error) = self.report.explain(text) {
            self.fail(error.into());
        }
    }

    fn means(&self, text: &str) {
        if let Err(error) = self.report.means(text) {
            self.fail(error.into());
        }
    }

    fn hear(&self, connection: u64, side: Side, heard: &Heard<'_>) {
        let mut totals = self.totals();
        totals.messages += 1;
        totals.broken += u64::from(matches!(heard.message, Message::Broken(_)));
        drop(totals);
        self.tell(&Said::of(self.began.elapsed(), Some((connection, side)), heard));
    }

    fn now_ns(&self) -> u64 {
        self.began_ns + self.began.elapsed().as_nanos() as u64
    }

    fn record(&self, write: impl FnOnce(&mut Writer<BufWriter<File>>, u64) -> io::Result<()>) {
        let Some(recorder) = &self.recorder else { return };
        let mut writer = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken under the lock, so that it never goes back in the file.
        let now_ns = self.now_ns();
        if let Err(error) = write(&mut writer, now_ns).and_then(|()| writer.flush()) {
            self.fail(Failure::of("cannot write the recording", &error, Doing::Write));
        }
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    for place in asked.listen.iter().chain(&asked.to) {
        // No port is the usual one elsewhere; here two places would then be the same.
        if let Target::Net { port: None, .. } = place {
            let text = format!("'{place}' has no port: write HOST:PORT, as in localhost:65432");
            return Err(Failure::Usage(text));
        }
    }
    let recorder = match &asked.record {
        None => None,
        Some(path) => {
            let what = format!("cannot record in '{}'", path.display());
            let file = File::create(path).map_err(|error| Failure::of(&what, &error, Doing::Write))?;
            let writer = Writer::new(BufWriter::new(file), "vang net tap");
            Some(Mutex::new(writer.map_err(|error| Failure::of(&what, &error, Doing::Write))?))
        }
    };
    let shared = Shared {
        report,
        stop,
        weather: asked.weather.clone(),
        recorder,
        began: Instant::now(),
        began_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64),
        totals: Mutex::default(),
        failed: Mutex::default(),
    };
    match (&asked.replay, &asked.listen, &asked.to) {
        (None, Some(listen), Some(to)) => serve(&shared, listen, asked, &|connection, client, who| {
            link::run(&shared, connection, client, &who, to);
        })?,
        (Some(file), Some(listen), None) => {
            let scripts = scripts(&shared, file)?;
            let next = Mutex::new(0_usize);
            serve(&shared, listen, asked, &|connection, client, who| {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let script = &scripts[*next % scripts.len()];
                *next += 1;
                drop(next);
                replay::play(&shared, connection, script, Side::Server, client, opened_by(&who));
            })?;
        }
        (Some(file), None, Some(to)) => {
            for (at, script) in scripts(&shared, file)?.iter().enumerate() {
                if stop.now().is_some() {
                    break;
                }
                let Some((_, server)) = connect(to, report, stop, |_| Ok(()))? else { break };
                shared.totals().connections += 1;
                replay::play(&shared, at as u64 + 1, script, Side::Client, &server, "this tap".to_owned());
            }
        }
        (None, _, _) => return Err(Failure::Usage("tap needs --listen and --to".to_owned())),
        (Some(_), _, _) => {
            let text = "--replay plays the clients with --to, or the server with --listen: give one of them";
            return Err(Failure::Usage(text.to_owned()));
        }
    }
    let mut totals = shared.totals().clone();
    totals.took_ns = shared.began.elapsed().as_nanos() as u64;
    shared.tell(&totals);
    if totals.broken > 0 {
        shared.means(
            "a broken message ends its connection: see docs/PROTOCOL.md, section 1, for what may stand there",
        );
    }
    if let Some(failure) = shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    // What was to end by itself, and did not.
    let is_late = (asked.once || asked.listen.is_none()) && stop.left() == Some(Duration::ZERO);
    Ok(match totals.broken > 0 || totals.not_connected > 0 {
        true => Verdict::Bad,
        false if is_late => Verdict::TimedOut,
        false => Verdict::Good,
    })
}

/// What there is to play; what is wrong with the recording is said.
fn scripts(shared: &Shared<'_>, file: &Path) -> Result<Vec<replay::Script>, Failure> {
    let (scripts, broken) = replay::read(file)?;
    if let Some(broken) = broken {
        let text = format!("'{}' is damaged: {broken}; what stands before is played", file.display());
        shared.means(&text);
    }
    Ok(scripts)
}

/// Takes connections until the end, each on a thread of its own.
fn serve(
    shared: &Shared<'_>,
    listen_at: &Target,
    asked: &Asked,
    serve_one: &(dyn Fn(u64, &Socket, Who) + Sync),
) -> Result<(), Failure> {
    let how = Listen { kind: Type::STREAM, backlog: BACKLOG, receive_buffer: None };
    let Some(door) = Door::open(listen_at, how, shared.report, shared.stop)? else { return Ok(()) };
    refuse_a_loop(&door, asked.to.as_ref(), shared.stop)?;
    if let Some(to) = &asked.to
        && !asked.expose
    {
        refuse_wider(&door, to, shared.stop)?;
    }
    let seed = asked.weather.is_random().then_some(asked.weather.seed);
    shared.tell(&Listening { address: door.address.clone(), to: asked.to.clone(), seed });
    let busy = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        let mut connections = 0;
        loop {
            let is_full = *busy.lock().unwrap_or_else(PoisonError::into_inner) >= CONNECTIONS_MAX;
            let mut fds = [PollFd::new(&door.socket, PollFlags::IN)];
            let (fds, time) =
                if is_full { (&mut fds[..0], Some(Duration::from_millis(20))) } else { (&mut fds[..], None) };
            match shared.stop.wait(fds, time) {
                Ok(None) if is_full => continue,
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(error) => {
                    shared.fail(error.into());
                    break;
                }
            }
            let (client, who) = match door.accept() {
                Ok(Accepted::Connection(client, who)) => (client, who),
                // It went away before we came.
                Ok(Accepted::Nobody) => continue,
                Ok(Accepted::Full(error)) | Err(error) => {
                    shared
                        .means(&format!("a connection could not be taken: {}", explain(&error, Doing::Read)));
                    let _ = shared.stop.wait(&mut [], Some(Duration::from_millis(100)));
                    continue;
                }
            };
            connections += 1;
            shared.totals().connections += 1;
            *busy.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let busy = &busy;
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || {
                serve_one(connections, &client, who);
                *busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            });
            if let Err(error) = thread {
                // The connection went with the thread that is not there.
                *busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                shared.means(&format!("#{connections} is closed: no thread for it: {error}"));
            }
            if asked.once {
                break;
            }
        }
    });
    Ok(())
}

/// What a tap passes on to itself comes in again, and never ends.
fn refuse_a_loop(door: &Door, to: Option<&Target>, stop: &Stop) -> Result<(), Failure> {
    match to.and_then(|to| door.is_reached_by(to, stop).map(|there| (to, there))) {
        Some((to, there)) => Err(Failure::Usage(format!(
            "'{to}' leads to {there}, where this tap listens itself ({}): name the server's own address",
            door.address
        ))),
        None => Ok(()),
    }
}

/// Who can reach a place; those that come later reach more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// By a Unix socket: whom its file lets in.
    ByFile,
    /// By every program on this machine.
    ByMachine,
    /// By others as well.
    FromElsewhere,
}

/// To the server, whoever comes through the tap is a program on this machine. So a tap that lets in more than the server
/// does opens it, and nobody wants that by mistake.
fn refuse_wider(door: &Door, to: &Target, stop: &Stop) -> Result<(), Failure> {
    let server = match to {
        Target::Unix(_) => Reached::ByFile,
        Target::Net { host, port } => match addresses(host, *port, Purpose::Connect, stop) {
            Ok(Some(found)) if found.iter().any(|addr| addr.ip().to_canonical().is_loopback()) => {
                Reached::ByMachine
            }
            // Told when somebody is to be passed on there.
            Ok(_) | Err(_) => Reached::FromElsewhere,
        },
    };
    let (tap, who) = match door.net_address() {
        None => (Reached::ByFile, ""),
        Some(_) if door.is_beyond_this_machine() => (Reached::FromElsewhere, "programs of other machines"),
        Some(_) => (Reached::ByMachine, "every program on this machine"),
    };
    if tap <= server {
        return Ok(());
    }
    let from = door.address.as_str();
    Err(Failure::Usage(format!(
        "{who} would reach {to} through {from}, as if they were you: listen where the server does, or add --expose"
    )))
}

/// Who opened a connection, in words.
fn opened_by(who: &Who) -> String {
    match who {
        Who::Net(_) => who.to_string(),
        Who::Process(_) | Who::Unnamed => format!("{who} through a Unix socket"),
    }
}

/// An end of a connection; a Unix socket has no address. IPv4 through a socket of IPv6 is IPv4.
fn address(found: io::Result<SockAddr>) -> Option<SocketAddr> {
    found.ok()?.as_socket().map(canonical)
}
