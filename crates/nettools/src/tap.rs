//! A proxy that shows every message of both directions: time, size, and who closed. It passes on everything that one side
//! does: bytes, a half-close, a reset. Optionally it records a capture, and simulates a bad network: delay, a low rate,
//! small pieces, resets, silence. Over UDP (`datagrams`) it passes datagrams on, and the network loses, duplicates and
//! reorders them.
//!
//! ```text
//! client ─▶ `connection` ─▶ `weather` ─▶ server     one thread with one `poll` for each connection
//!               └─▶ `protocols::Reader`, `capture::write`    shown and recorded before the simulated network
//! ```

mod shared; // what all connections share
mod silence; // a peer that vanishes
mod connection; // one connection: two sockets, and the bytes between them
mod replay; // replays one side of a capture
mod weather; // simulates a bad network
mod datagram_network; // the same for datagrams
mod datagram_records; // records of datagrams
mod datagrams; // the tap over UDP

use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::{Socket, Type};
use vang_client::trouble::Doing;

use crate::capture::side::Side;
use crate::capture::write::Writer;
use crate::destination::{Destination, connect};
use crate::error::{Outcome, ToolError, explain};
use crate::listener::{Accepted, ListenOptions, Listener, Sharing};
use crate::lookup::{Purpose, addresses};
use crate::peer_name::PeerName;
use crate::{Record, Report, Stop, Target, Verdict};
use datagram_records::DatagramTotals;
pub use shared::TapOptions;
use shared::{Shared, opened_by};
pub use weather::{Silence, Weather};

/// Connections at once; more wait in the accept queue.
const CONNECTIONS_MAX: usize = 1_024;

/// Length of the accept queue.
const BACKLOG: u32 = 128;

#[derive(Serialize)]
struct Listening {
    address: String,
    kind: &'static str,
    to: Option<Target>,
    seed: Option<u64>,
}

impl Record for Listening {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}", self.address)?;
        if self.kind == "UDP" {
            f.write_str(" (UDP)")?;
        }
        if let Some(to) = &self.to {
            write!(f, ", forwarding to {to}")?;
        }
        self.seed.map_or(Ok(()), |seed| write!(f, " (repeat with --seed {seed})"))
    }
}

/// Runs the proxy, or a replay.
pub fn run(options: &TapOptions, report: &Report, stop: &Stop) -> Outcome {
    for place in options.listen.iter().chain(&options.to) {
        if let (true, Target::Unix(_)) = (options.udp || options.silence.is_some(), place) {
            let text = format!("'{place}' is a Unix socket, and --udp and --silence need network addresses");
            return Err(ToolError::Usage(text));
        }
        // Without a port both addresses would get the default one.
        if let Target::Net { port: None, .. } = place {
            let text = format!("'{place}' has no port: write HOST:PORT, as in localhost:65432");
            return Err(ToolError::Usage(text));
        }
    }
    let recorder = match &options.record {
        None => None,
        Some(path) => {
            let what = format!("cannot record in '{}'", path.display());
            let file = File::create(path).map_err(|error| ToolError::of(&what, &error, Doing::Write))?;
            let writer = Writer::new(BufWriter::new(file), "vang net tap");
            Some(Mutex::new(writer.map_err(|error| ToolError::of(&what, &error, Doing::Write))?))
        }
    };
    let shared = Shared {
        report,
        stop,
        weather: options.weather.clone(),
        silence: options.silence,
        recorder,
        began: Instant::now(),
        began_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64),
        totals: Mutex::default(),
        failed: Mutex::default(),
    };
    if options.udp {
        let (Some(listen), Some(to)) = (&options.listen, &options.to) else {
            return Err(ToolError::Usage("tap --udp needs --listen and --to".to_owned()));
        };
        return pass_datagrams(&shared, listen, to, options);
    }
    match (&options.replay, &options.listen, &options.to) {
        (None, Some(listen), Some(to)) => {
            serve(&shared, listen, options, &|connection, client, peer_name| {
                connection::run(&shared, connection, client, &peer_name, to);
            })?;
        }
        (Some(file), Some(listen), None) => {
            let scripts = scripts(&shared, file)?;
            let next = Mutex::new(0_usize);
            serve(&shared, listen, options, &|connection, client, peer_name| {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let script = &scripts[*next % scripts.len()];
                *next += 1;
                drop(next);
                replay::play(&shared, connection, script, Side::Server, client, opened_by(&peer_name));
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
        (None, _, _) => return Err(ToolError::Usage("tap needs --listen and --to".to_owned())),
        (Some(_), _, _) => {
            let text = "--replay plays the clients with --to, or the server with --listen: give one of them";
            return Err(ToolError::Usage(text.to_owned()));
        }
    }
    let mut totals = shared.totals().clone();
    totals.took_ns = shared.began.elapsed().as_nanos() as u64;
    shared.record(&totals);
    if totals.broken > 0 {
        shared
            .means("a broken message ends its connection: docs/PROTOCOL.md, section 1, describes valid ones");
    }
    if let Some(failure) = shared.take_failure() {
        return Err(failure);
    }
    // Runs that should have ended by themselves.
    let is_late = (options.once || options.listen.is_none()) && stop.left() == Some(Duration::ZERO);
    Ok(match totals.broken > 0 || totals.not_connected > 0 {
        true => Verdict::Bad,
        false if is_late => Verdict::TimedOut,
        false => Verdict::Good,
    })
}

/// Reads the scripts of a recording, and reports damage.
fn scripts(shared: &Shared<'_>, file: &Path) -> Result<Vec<replay::Script>, ToolError> {
    let (scripts, broken) = replay::read(file)?;
    if let Some(broken) = broken {
        let text = format!("'{}' is damaged: {broken}; only the part before is replayed", file.display());
        shared.means(&text);
    }
    Ok(scripts)
}

/// Accepts connections until the end, each on its own thread.
fn serve(
    shared: &Shared<'_>,
    listen_at: &Target,
    options: &TapOptions,
    serve_one: &(dyn Fn(u64, &Socket, PeerName) + Sync),
) -> Result<(), ToolError> {
    let how = ListenOptions {
        kind: Type::STREAM,
        backlog: BACKLOG,
        receive_buffer: None,
        sharing: Sharing::Nobody,
    };
    let Some(listener) = open(shared, listen_at, how, options)? else { return Ok(()) };
    let busy = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        let mut connections = 0;
        loop {
            let is_full = *busy.lock().unwrap_or_else(PoisonError::into_inner) >= CONNECTIONS_MAX;
            let mut fds = [PollFd::new(&listener.socket, PollFlags::IN)];
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
            let (client, peer_name) = match listener.accept() {
                Ok(Accepted::Connection(client, peer_name)) => (client, peer_name),
                // The client has gone.
                Ok(Accepted::Nobody) => continue,
                Ok(Accepted::Full(error)) | Err(error) => {
                    shared.means(&format!(
                        "a connection could not be accepted: {}",
                        explain(&error, Doing::Read)
                    ));
                    let _ = shared.stop.wait(&mut [], Some(Duration::from_millis(100)));
                    continue;
                }
            };
            connections += 1;
            shared.totals().connections += 1;
            *busy.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let busy = &busy;
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || {
                serve_one(connections, &client, peer_name);
                *busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            });
            if let Err(error) = thread {
                // The connection is closed with the closure that owned it.
                *busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                shared.means(&format!("#{connections} is closed: no thread for it: {error}"));
            }
            if options.once {
                break;
            }
        }
    });
    Ok(())
}

/// Passes datagrams on until the end.
fn pass_datagrams(shared: &Shared<'_>, listen_at: &Target, to: &Target, options: &TapOptions) -> Outcome {
    let how = ListenOptions { kind: Type::DGRAM, backlog: 0, receive_buffer: None, sharing: Sharing::Nobody };
    let server = match Destination::resolve(to, shared.stop)? {
        Some(found) => found.into_iter().find_map(|found| found.address.as_socket()),
        None => None,
    };
    let listener = match server {
        Some(server) => open(shared, listen_at, how, options)?.map(|listener| (listener, server)),
        None => None,
    };
    match listener {
        Some((listener, server)) => datagrams::run(shared, &listener, server, options.idle),
        None => {
            shared.record(&DatagramTotals::default());
            Ok(Verdict::Good)
        }
    }
}

/// Listens and records that. `None`: stopped.
fn open(
    shared: &Shared<'_>,
    listen_at: &Target,
    how: ListenOptions,
    options: &TapOptions,
) -> Result<Option<Listener>, ToolError> {
    let Some(listener) = Listener::open(listen_at, how, shared.report, shared.stop)? else { return Ok(None) };
    refuse_a_loop(&listener, options.to.as_ref(), shared.stop)?;
    if let Some(to) = &options.to
        && !options.expose
    {
        refuse_wider(&listener, to, shared.stop)?;
    }
    let seed = options.weather.is_random().then_some(options.weather.seed);
    let kind = if options.udp { "UDP" } else { "stream" };
    let address = listener.address.clone();
    shared.record(&Listening { address, kind, to: options.to.clone(), seed });
    Ok(Some(listener))
}

/// A tap that connects to itself would loop without end.
fn refuse_a_loop(listener: &Listener, to: Option<&Target>, stop: &Stop) -> Result<(), ToolError> {
    match to.and_then(|to| listener.is_reached_by(to, stop).map(|there| (to, there))) {
        Some((to, there)) => Err(ToolError::Usage(format!(
            "'{to}' leads to {there}, where this tap listens ({}): name the server's own address",
            listener.address
        ))),
        None => Ok(()),
    }
}

/// Who can reach an address; later variants include earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exposure {
    /// Users with permission on a Unix socket's file.
    ByFile,
    /// Every program on this machine.
    ByMachine,
    /// Other machines as well.
    FromElsewhere,
}

/// The server sees every client of the tap as a local program. So a tap that more programs can reach than the server would
/// expose it; that needs `--expose`.
fn refuse_wider(listener: &Listener, to: &Target, stop: &Stop) -> Result<(), ToolError> {
    let server = match to {
        Target::Unix(_) => Exposure::ByFile,
        Target::Net { host, port } => match addresses(host, *port, Purpose::Connect, stop) {
            Ok(Some(found)) if found.iter().any(|addr| addr.ip().to_canonical().is_loopback()) => {
                Exposure::ByMachine
            }
            // A failed lookup is reported when a client connects.
            Ok(_) | Err(_) => Exposure::FromElsewhere,
        },
    };
    let (tap, clients) = match listener.net_address() {
        None => (Exposure::ByFile, ""),
        Some(_) if listener.is_beyond_this_machine() => {
            (Exposure::FromElsewhere, "programs on other machines")
        }
        Some(_) => (Exposure::ByMachine, "every program on this machine"),
    };
    if tap <= server {
        return Ok(());
    }
    let from = listener.address.as_str();
    Err(ToolError::Usage(format!(
        "{clients} could reach {to} through {from} as if they were you: listen on the same kind of address as the server, or \
         add --expose"
    )))
}
