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
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use vang_client::trouble::Doing;

use crate::capture::conversations::Side;
use crate::capture::write::Writer;
use crate::failure::{Failure, Outcome, explain};
use crate::lookup::{Purpose, look_up};
use crate::wire::{Heard, Message, Said};
use crate::{Record, Report, Stop, Target, Verdict, counted, duration, size};
pub use weather::Weather;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// How long the server has to take a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How often a Unix server whose queue is full is asked again.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(20);

/// Connections that the kernel lets wait for us.
const BACKLOG: i32 = 128;

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
        (None, Some(listen), Some(to)) => serve(&shared, listen, asked, &|connection, client| {
            link::run(&shared, connection, client, to);
        })?,
        (Some(file), Some(listen), None) => {
            let scripts = scripts(&shared, file)?;
            let next = Mutex::new(0_usize);
            serve(&shared, listen, asked, &|connection, client| {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let script = &scripts[*next % scripts.len()];
                *next += 1;
                drop(next);
                replay::play(&shared, connection, script, Side::Server, client);
            })?;
        }
        (Some(file), None, Some(to)) => {
            for (at, script) in scripts(&shared, file)?.iter().enumerate() {
                if stop.now().is_some() {
                    break;
                }
                let Some(server) = connect(to, stop)? else { break };
                shared.totals().connections += 1;
                replay::play(&shared, at as u64 + 1, script, Side::Client, &server);
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
    serve_one: &(dyn Fn(u64, &Socket) + Sync),
) -> Result<(), Failure> {
    let Some((listener, address)) = listen(listen_at, shared.stop)? else { return Ok(()) };
    shared.explain(|| {
        format!(
            "socket, bind, listen at {address}: the kernel takes connections now, {BACKLOG} may wait for us"
        )
    });
    let seed = asked.weather.is_random().then_some(asked.weather.seed);
    shared.tell(&Listening { address, to: asked.to.clone(), seed });
    let busy = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        let mut connections = 0;
        loop {
            let is_full = *busy.lock().unwrap_or_else(PoisonError::into_inner) >= CONNECTIONS_MAX;
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
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
            let client = match listener.accept() {
                Ok((client, _)) => client,
                // It went away before we came.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
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
                serve_one(connections, &client);
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
    if let Target::Unix(path) = listen_at {
        // The socket file that bind made.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// A listening socket that does not block, and where it listens. `None`: the tool ends before there is one.
fn listen(at: &Target, stop: &Stop) -> Result<Option<(Socket, String)>, Failure> {
    let cannot = |error: &io::Error| Failure::of(format!("cannot listen at {at}"), error, Doing::Bind);
    let Some(address) = addresses(at, Purpose::Listen, stop)?.into_iter().next() else { return Ok(None) };
    if let Target::Unix(path) = at
        && is_left_over(path)
    {
        std::fs::remove_file(path).map_err(|error| cannot(&error))?;
    }
    let socket = Socket::new(address.domain(), Type::STREAM, None).map_err(|error| cannot(&error))?;
    let begin = || {
        if address.domain() != Domain::UNIX {
            // So that connections of an earlier run in TIME_WAIT do not hold the port.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        socket.local_addr()
    };
    let local = begin().map_err(|error| cannot(&error))?;
    let said = local.as_socket().map_or_else(|| at.to_string(), |address| address.to_string());
    Ok(Some((socket, said)))
}

/// Is this the socket of a program that is gone? No other file is touched.
fn is_left_over(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

/// A connection that does not block. `None`: the tool ends before there is one.
fn connect(to: &Target, stop: &Stop) -> Result<Option<Socket>, Failure> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses(to, Purpose::Connect, stop)? {
        match connect_at(&address, stop) {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(Failure::of(format!("cannot connect to {to}"), &last, Doing::Connect))
}

fn connect_at(address: &SockAddr, stop: &Stop) -> io::Result<Option<Socket>> {
    let began = Instant::now();
    let socket = Socket::new(address.domain(), Type::STREAM.nonblocking(), None)?;
    loop {
        match socket.connect(address) {
            Ok(()) => return Ok(Some(socket)),
            // A Unix server's queue is full, and nothing says when it is not any more.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < CONNECT_WAIT => {
                if stop.wait(&mut [], Some(FULL_QUEUE_WAIT))?.is_some() {
                    return Ok(None);
                }
            }
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => break,
            Err(error) => return Err(error),
        }
    }
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    if stop.wait(&mut fds, Some(CONNECT_WAIT))?.is_some() {
        return Ok(None);
    }
    if fds[0].revents().is_empty() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(Some(socket)),
    }
}

/// What a place stands for; none only if the tool ends first.
fn addresses(place: &Target, purpose: Purpose, stop: &Stop) -> Result<Vec<SockAddr>, Failure> {
    match place {
        Target::Unix(path) => {
            let doing = if purpose == Purpose::Listen { Doing::Bind } else { Doing::Connect };
            let address = SockAddr::unix(path);
            Ok(vec![address.map_err(|error| Failure::of(format!("cannot use {place}"), &error, doing))?])
        }
        Target::Net { port: None, .. } => {
            Err(Failure::Usage(format!("'{place}' has no port: write HOST:PORT, as in localhost:65432")))
        }
        Target::Net { host, port: Some(port) } => {
            // To listen, an address of IPv6 is every interface of both kinds, and the resolver names IPv4's first.
            let host = if host.is_empty() && purpose == Purpose::Listen { "::" } else { host };
            let found = look_up(host, *port, purpose, stop)?;
            Ok(found.into_iter().flat_map(|found| found.addresses).map(SockAddr::from).collect())
        }
    }
}

/// An end of a connection; a Unix socket has no address. IPv4 through a socket of IPv6 is IPv4.
fn address(found: io::Result<SockAddr>) -> Option<SocketAddr> {
    let address = found.ok()?.as_socket()?;
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => Some(SocketAddr::new(ip, address.port())),
        IpAddr::V6(_) => Some(address),
    }
}

/// Who is on the other side, in words.
fn peer(socket: &Socket) -> String {
    match address(socket.peer_addr()) {
        Some(address) => address.to_string(),
        // 0 is a process that cannot be seen from here (another namespace).
        None => match getsockopt(socket, PeerCredentials) {
            Ok(peer) if peer.pid() > 0 => format!("process {} through a Unix socket", peer.pid()),
            Ok(_) | Err(_) => "somebody through a Unix socket".to_owned(),
        },
    }
}
