//! A server from its first socket to its last byte: open the data folder, replay, listen, accept;
//! then, when told to stop: take nothing more, finish what was asked, tell everybody, leave.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use vang_chat::Node;
use vang_hub::{Guests, Hub, Peer, Salts, Trust};
use vang_journal::{HOLDER_DIES_WITHIN, HOLDER_LOOK, Journal, JournalFile};
use vang_proto::vang::{Code, ErrorReply};

use crate::drive::{Connection, House};
use crate::http::{Authority, Names};
use crate::indexer;
use crate::limits::Limits;
use crate::listen::{From, ListenAddr, ListenError, Listener, open_unix};
use crate::opening::Opening;
use crate::pump::{Pump, Threads, now, steady_now};
use crate::socket::{Socket, Stream};
use crate::start::{self, StartError};
use crate::status::{AHEAD_TOLD_MS, ahead};
use crate::threads::{self, Progress, Workers};
use crate::tls::{self, TlsError, TlsFiles};
use crate::turns::{Credit, Fair};
use crate::watch::Watch;

/// A pause after an accept that failed: the process is out of files, and will be for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a stop looks whether everything is written.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// How often it is looked whether the operator's socket is still there.
const SOCKET_LOOK: Duration = Duration::from_secs(1);

/// Connections beyond the limit that are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 128;

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// The data folder.
    pub data: PathBuf,
    /// Connections that the kernel keeps waiting before they are accepted.
    pub backlog: u32,
    /// Limits.
    pub limits: Limits,
    /// The operator has looked at the clock.
    pub confirm_time: bool,
    /// Given certificate and key; otherwise the server makes its own.
    pub tls: Option<TlsFiles>,
    /// Names by which browsers reach this server, beside addresses and `localhost`.
    pub names: Vec<String>,
    /// From where guests are admitted.
    pub guests: Guests,
    /// Where an account's name alone is enough.
    pub trust: Trust,
    /// From where `/metrics` may be read.
    pub metrics: Reach,
    /// From where lines may be typed.
    pub lines: Reach,
    /// What the server calls itself, as `vang/0.1.0`.
    pub name: String,
}

impl Config {
    /// What is usual, without any listener.
    pub fn new(data: PathBuf, name: String) -> Config {
        Config {
            listen: Vec::new(),
            data,
            backlog: 4_096,
            limits: Limits::default(),
            confirm_time: false,
            tls: None,
            names: Vec::new(),
            guests: Guests::default(),
            trust: Trust::default(),
            metrics: Reach::default(),
            lines: Reach::default(),
            name,
        }
    }
}

/// From where something may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// This machine: loopback and Unix sockets.
    #[default]
    Local,
    /// Everywhere, by TLS.
    Everywhere,
}

/// Why a server ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Everybody who can reach this listener would speak as any account.
    #[error(
        "--trust local lets every program on this machine speak as any account, and {addr} is reached from other machines"
    )]
    TrustBeyond {
        /// Where it would listen.
        addr: String,
    },
    /// A thread of the server ended, which none does by itself.
    #[error("the server's {0} thread ended; see the log above")]
    ThreadEnded(&'static str),
}

/// What can change while a server runs. Connections that are open stay, with the limits they came in with.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// Connections that the kernel keeps waiting, for listeners that are new.
    pub backlog: u32,
    /// Limits, for connections that are new.
    pub limits: Limits,
    /// Certificate and key; the files are read again.
    pub tls: Option<TlsFiles>,
    /// From where guests are admitted.
    pub guests: Guests,
    /// Where an account's name alone is enough.
    pub trust: Trust,
    /// From where `/metrics` may be read.
    pub metrics: Reach,
    /// From where lines may be typed.
    pub lines: Reach,
}

/// Tells a running server what has changed.
#[derive(Clone, Debug)]
pub struct Changer(UnboundedSender<Asked>);

/// A change, and who is told what came of it.
type Asked = (Change, oneshot::Sender<Result<(), ServeError>>);

impl Changer {
    /// Changes everything or, when something cannot be, nothing; says why not.
    pub async fn change(&self, change: Change) -> Result<(), ServeError> {
        let (told, outcome) = oneshot::channel();
        // A server that ends has nothing to change any more.
        let _ = self.0.send((change, told));
        outcome.await.unwrap_or(Ok(()))
    }
}

/// Tells a server to stop; as often as one likes, from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Stops it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// A server that listens, and is not yet turned.
pub struct Server {
    shared: Rc<Shared>,
    listeners: Vec<Entrance>,
    changer: Changer,
    changes: UnboundedReceiver<Asked>,
    /// For a certificate that is loaded again.
    names: Vec<String>,
    trust: Trust,
    addresses: Vec<String>,
    fingerprint: String,
    answers: UnboundedReceiver<threads::Answer>,
    workers: Workers,
    stop: (Stopper, watch::Receiver<bool>),
    /// Whether the folder is still ours shows by this.
    file: JournalFile,
    // Dropped last: the lock is held until everything is written.
    folder: vang_journal::DataFolder,
}

/// A listener, and by which address it was asked for; the operator's by none.
struct Entrance {
    addr: Option<ListenAddr>,
    listener: Listener,
    door: Door,
}

/// A listener whose connections are accepted.
struct Accepting {
    addr: Option<ListenAddr>,
    /// As it is shown.
    shown: String,
    is_beyond_this_machine: bool,
    task: tokio::task::JoinHandle<()>,
}

/// Who comes in by a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Everybody,
    /// Whoever may open the data folder's own socket.
    Operator,
}

struct Shared {
    house: Rc<House>,
    connections_max: Cell<usize>,
    counts: RefCell<Counts>,
    opening: Opening,
}

#[derive(Default)]
struct Counts {
    all: usize,
    refused: usize,
    by_address: HashMap<IpAddr, u32>,
}

impl Server {
    /// Opens everything. Must be called inside a tokio runtime of one thread, in a `LocalSet`.
    pub fn open(config: Config) -> Result<Server, ServeError> {
        let open_files = raise_open_files();
        // First what fails for a person's mistake: an address in use, a folder in use.
        let mut listeners = Vec::new();
        for addr in &config.listen {
            listeners.extend(open_when_free(addr, config.backlog)?);
        }
        refuse_trust(config.trust, listeners.iter().map(Entrance::reach))?;
        let addresses = listeners.iter().map(|place| place.listener.to_string()).collect();
        let opening = start::open(&config.data)?;
        let (names, page_names) = names(&config);
        let tls = tls::load(config.tls.as_ref(), &opening.folder.tls(), &names)?;
        let socket = opening.folder.socket();
        listeners.push(open_operators(&socket)?);

        let mut seed = [0; 40];
        getrandom::fill(&mut seed).map_err(|error| ServeError::Io {
            what: "get random bytes",
            source: io::Error::other(error.to_string()),
        })?;
        let (salt, node) = seed.split_at(32);
        let salts = Salts::new(salt.try_into().expect("32 of 40 bytes"));
        let node = Node(u64::from_le_bytes(node.try_into().expect("8 of 40 bytes")));
        let identity = opening.journal.identity();
        let server = config.name.clone();
        let ahead_ms = opening.recovered.state.time().0.saturating_sub(now().wall.0);
        if ahead_ms >= AHEAD_TOLD_MS {
            tracing::warn!("{}", ahead(ahead_ms));
        }
        let mut hub = Hub::new(identity, opening.recovered, node, salts, config.name, config.confirm_time);
        hub.set_guests(config.guests);
        hub.set_trust(config.trust);

        let (sender, answers) = unbounded_channel();
        let progress = Arc::new(Progress::default());
        let (tables, tables_thread) =
            threads::tables(opening.view, opening.file.clone(), progress.clone(), sender.clone());
        for delta in opening.untold {
            let _ = tables.send(delta);
        }
        let files = (opening.file.clone(), opening.folder.view_db());
        let alone = (opening.folder.lock(), opening.folder.reserve());
        let (journal, journal_thread) = threads::journal(opening.journal, alone, sender.clone());
        let (reads, mut readers) = threads::readers(files, (&tables, &progress), &sender);
        let paths = indexer::Paths {
            journal: opening.file.clone(),
            view: opening.folder.view_db(),
            index: opening.folder.find_db(),
        };
        let index = Arc::new(Progress::default());
        let told = (tables.clone(), progress.clone());
        let find_ms = Arc::new(AtomicU64::new(config.limits.find_ms()));
        let (finds, finder) =
            indexer::finder(paths.clone(), told, index.clone(), find_ms.clone(), sender.clone());
        let indexer = indexer::indexer(paths, progress.clone(), index.clone(), sender);
        readers.extend([finder, indexer]);
        let workers = Workers {
            readers,
            tables: (tables.clone(), tables_thread),
            journal: (journal.clone(), journal_thread),
        };

        let (stop, stopped) = watch::channel(false);
        let (changer, changes) = unbounded_channel();
        let connections_max = config.limits.connections(open_files);
        let watch = Watch::new(config.data, server, opening.file.damages().clone());
        watch.connections_max.set(connections_max);
        watch.free_min.set(config.limits.ready_free_bytes());
        watch.lag_max.set(config.limits.ready_lag());
        let threads = Threads { journal, tables, reads, finds, find_ms, progress, index };
        let pump = Rc::new(Pump::new(hub, threads, watch, &config.limits));
        Ok(Server {
            shared: Rc::new(Shared {
                house: Rc::new(House {
                    pump,
                    turns: Rc::default(),
                    limits: RefCell::new(config.limits),
                    tls: RefCell::new(tls.config),
                    metrics: Cell::new(config.metrics),
                    lines: Cell::new(config.lines),
                    names: page_names,
                }),
                connections_max: Cell::new(connections_max),
                counts: RefCell::default(),
                opening: Opening::default(),
            }),
            listeners,
            changer: Changer(changer),
            changes,
            names,
            trust: config.trust,
            addresses,
            fingerprint: tls.fingerprint,
            answers,
            workers,
            stop: (Stopper(stop), stopped),
            file: opening.file,
            folder: opening.folder,
        })
    }

    /// Where it listens, as a client would be told.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The key that clients pin, as `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Is it reached from other machines?
    pub fn is_beyond_this_machine(&self) -> bool {
        self.listeners.iter().any(|place| place.listener.is_beyond_this_machine())
    }

    /// Where an account's name alone is enough.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Tells it to stop.
    pub fn stopper(&self) -> Stopper {
        self.stop.0.clone()
    }

    /// Tells it, while it runs, what has changed.
    pub fn changer(&self) -> Changer {
        self.changer.clone()
    }

    /// Serves until it is told to stop, and everything is finished. `ready` is called once, when the
    /// journal is open and connections are accepted.
    pub async fn run(self, ready: impl FnOnce()) -> Result<(), ServeError> {
        let Server {
            shared,
            listeners,
            answers,
            workers,
            stop,
            file,
            folder,
            mut changes,
            changer,
            names,
            ..
        } = self;
        let local = LocalSet::new();
        let pump = shared.house.pump.clone();
        let outcome = local
            .run_until(async {
                let turns = shared.house.turns.clone();
                tokio::task::spawn_local(async move { turns.serve().await });
                let mut turning = tokio::task::spawn_local({
                    let pump = pump.clone();
                    async move { pump.run(answers).await }
                });
                let mut told = stop.1;
                // The first entry says that this process orders from here on. A journal that cannot be
                // written now still serves readers, and writes when it heals.
                let is_begun = || pump.is_open() || pump.trouble().is_some() || turning.is_finished();
                while !is_begun() && !*told.borrow() {
                    tokio::time::sleep(STOP_LOOK).await;
                }
                let mut accepting: Vec<_> =
                    listeners.into_iter().map(|place| place.accept(&shared)).collect();
                ready();
                pump.set_serving();
                let mut looks = tokio::time::interval(SOCKET_LOOK);
                loop {
                    // The senders live in `stop.0` and `changer`, so waiting ends only for a reason.
                    tokio::select! {
                        _ = told.wait_for(|stop| *stop) => break,
                        _ = &mut turning => {
                            return Err(ServeError::ThreadEnded(pump.ended().unwrap_or("deciding")));
                        }
                        Some((change, outcome)) = changes.recv() => {
                            let tls = folder.tls();
                            let _ = outcome.send(shared.change(change, &mut accepting, &tls, &names).await);
                        }
                        _ = looks.tick() => {
                            let socket = folder.socket();
                            if !socket.exists() && file.look().is_ok() {
                                shared.listen_again(&socket, &mut accepting).await;
                            }
                        }
                    }
                }
                drop(changer);
                tracing::info!(connections = pump.connections(), "stopping");
                for place in accepting {
                    place.close().await;
                }
                finish(&shared).await;
                if turning.is_finished() {
                    return Err(ServeError::ThreadEnded(pump.ended().unwrap_or("deciding")));
                }
                turning.abort();
                let _ = turning.await;
                Ok(())
            })
            .await;
        drop(local);
        pump.farewell();
        drop((pump, shared));
        if !workers.join() {
            return Err(ServeError::ThreadEnded("working"));
        }
        // Closed files have left some room, if there was none: the next start will need it.
        folder.reserve().keep();
        outcome
    }
}

/// Finishes what was asked and tells everybody, within the time that a stop has.
async fn finish(shared: &Shared) {
    let until = Instant::now() + Duration::from_millis(shared.house.limits.borrow().stop_ms());
    shared.house.pump.stop();
    // What cannot be ordered at present is not waited for: who asked has been told.
    let is_written = || shared.house.pump.is_quiet() || shared.house.pump.trouble().is_some();
    while Instant::now() < until && !(is_written() && shared.house.pump.connections() == 0) {
        tokio::time::sleep(STOP_LOOK).await;
    }
    // A journal that is just being written is waited for whatever the time.
    let last = Instant::now() + Duration::from_millis(shared.house.limits.borrow().stop_ms());
    while Instant::now() < last && !is_written() {
        tokio::time::sleep(STOP_LOOK).await;
    }
    tracing::info!(unfinished = shared.house.pump.connections(), "stopped");
}

/// At a start the server before it may be dying still, and its port is not free until it is dead.
fn open_when_free(addr: &ListenAddr, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
    let asked = Instant::now();
    loop {
        match open_entrances(addr, backlog) {
            Err(ListenError::Io { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && asked.elapsed() < HOLDER_DIES_WITHIN =>
            {
                std::thread::sleep(HOLDER_LOOK);
            }
            opened => return opened,
        }
    }
}

/// Where the operator comes in.
fn open_operators(socket: &Path) -> Result<Entrance, ListenError> {
    let listener = open_unix(socket, 16, Some(0o600))
        .map_err(|source| ListenError::Io { addr: format!("unix:{}", socket.display()), source })?;
    Ok(Entrance { addr: None, listener, door: Door::Operator })
}

fn open_entrances(addr: &ListenAddr, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
    let place = |listener| Entrance { addr: Some(addr.clone()), listener, door: Door::Everybody };
    Ok(addr.open(backlog)?.into_iter().map(place).collect())
}

impl Entrance {
    fn accept(self, shared: &Rc<Shared>) -> Accepting {
        let (shown, is_beyond_this_machine) = self.reach();
        let task = tokio::task::spawn_local(accept(self.listener, self.door, shared.clone()));
        Accepting { addr: self.addr, shown, is_beyond_this_machine, task }
    }

    /// What it is called, and whether other machines reach it.
    fn reach(&self) -> (String, bool) {
        (self.listener.to_string(), self.listener.is_beyond_this_machine())
    }
}

impl Accepting {
    /// Waits until the listener is closed: another server may have its port.
    async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Shared {
    /// Somebody has removed the operator's socket: without it nobody can look after the server.
    async fn listen_again(self: &Rc<Self>, socket: &Path, accepting: &mut Vec<Accepting>) {
        if let Some(at) = accepting.iter().position(|place| place.addr.is_none()) {
            accepting.swap_remove(at).close().await;
        }
        match open_operators(socket) {
            Ok(operators) => {
                tracing::warn!("the operator's socket was gone; it is made again");
                accepting.push(operators.accept(self));
            }
            Err(error) => tracing::warn!(%error, "the operator's socket is gone and cannot be made again"),
        }
    }

    /// Everything that can fail comes first; then nothing can.
    async fn change(
        self: &Rc<Self>,
        change: Change,
        accepting: &mut Vec<Accepting>,
        tls_folder: &Path,
        names: &[String],
    ) -> Result<(), ServeError> {
        let tls = tls::load(change.tls.as_ref(), tls_folder, names)?;
        let mut opened = Vec::new();
        for addr in &change.listen {
            if !accepting.iter().any(|place| place.addr.as_ref() == Some(addr)) {
                opened.extend(open_entrances(addr, change.backlog)?);
            }
        }
        let is_kept = |place: &Accepting| place.addr.as_ref().is_none_or(|addr| change.listen.contains(addr));
        let kept = accepting.iter().filter(|place| is_kept(place));
        let kept = kept.map(|place| (place.shown.clone(), place.is_beyond_this_machine));
        refuse_trust(change.trust, kept.chain(opened.iter().map(Entrance::reach)))?;
        for at in (0..accepting.len()).rev() {
            if !is_kept(&accepting[at]) {
                let gone = accepting.swap_remove(at);
                tracing::info!(addr = ?gone.addr, "no longer listening");
                gone.close().await;
            }
        }
        for place in opened {
            tracing::info!(addr = %place.listener, "listening");
            accepting.push(place.accept(self));
        }
        let house = &self.house;
        let connections_max = change.limits.connections(raise_open_files());
        self.connections_max.set(connections_max);
        house.pump.set_rules(&change.limits, change.guests, change.trust);
        house.pump.watch.connections_max.set(connections_max);
        house.pump.watch.free_min.set(change.limits.ready_free_bytes());
        house.pump.watch.lag_max.set(change.limits.ready_lag());
        house.limits.replace(change.limits);
        house.tls.replace(tls.config);
        house.metrics.set(change.metrics);
        house.lines.set(change.lines);
        Ok(())
    }
}

/// What this machine's programs may say of themselves, others may not.
fn refuse_trust(trust: Trust, mut places: impl Iterator<Item = (String, bool)>) -> Result<(), ServeError> {
    match places.find(|(_, is_beyond)| *is_beyond) {
        Some((addr, _)) if trust == Trust::Local => Err(ServeError::TrustBeyond { addr }),
        _ => Ok(()),
    }
}

async fn accept(listener: Listener, door: Door, shared: Rc<Shared>) {
    loop {
        if door == Door::Everybody {
            shared.house.turns.have_room().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => admit(stream, from, door, &shared),
            Err(error) => {
                if shared.house.pump.watch.reports.admit("accept", Instant::now()) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: Stream, from: From, door: Door, shared: &Rc<Shared>) {
    let mut counts = shared.counts.borrow_mut();
    let counted = from.counted();
    let same = counted.map_or(0, |ip| counts.by_address.get(&ip).copied().unwrap_or(0));
    let refused = if door == Door::Operator {
        // Whoever looks after a full server must get in.
        None
    } else if counts.all >= shared.connections_max.get() && !shared.opening.end_oldest() {
        Some(too_many("this server", shared.connections_max.get() as u64))
    } else if counted.is_some() && same >= shared.house.limits.borrow().per_address() {
        Some(too_many("your address", u64::from(shared.house.limits.borrow().per_address())))
    } else if !shared.house.pump.may_admit(counts.all) && !shared.opening.end_oldest() {
        let detail = "this server's memory for clients is used up (limit memory); try again";
        Some(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64))
    } else if let Some(ip) = counted
        && !shared.house.pump.quotas.admits(steady_now(), ip)
    {
        let detail = "your address opens connections too fast (limit connections-per-second); try again";
        Some(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64))
    } else {
        None
    };
    // Those that are refused have places of their own: nobody fills the server with them.
    let place = match (&refused, counted) {
        (Some(_), _) if counts.refused >= REFUSALS_MAX => {
            shared.house.pump.watch.turned_away.add(1);
            return;
        }
        (Some(_), _) => Place::Refused,
        (None, ip) => Place::Taken(ip),
    };
    match place {
        Place::Taken(_) => shared.house.pump.watch.accepted.add(1),
        Place::Refused => shared.house.pump.watch.turned_away.add(1),
    }
    counts.take(place);
    let peer = match (door, from.is_local()) {
        (Door::Operator, _) => Peer::Operator,
        (Door::Everybody, true) => Peer::Local,
        (Door::Everybody, false) => Peer::RemotePlain,
    };
    let open = counts.all;
    drop(counts);
    let credit = Rc::new(Credit::new(Instant::now()));
    let socket = Socket::new(stream, credit.clone());
    let (house, own) = (shared.house.clone(), Rc::default());
    let connection = Connection { house, socket, from, peer, own, refused };
    let counted = Counted { shared: shared.clone(), place };
    let run = async move {
        connection.run().await;
        drop(counted);
    };
    let task = tokio::task::spawn_local(Fair::new(shared.house.turns.clone(), credit.clone(), run));
    if matches!(place, Place::Taken(_)) && door == Door::Everybody {
        shared.opening.push(credit, task.abort_handle(), open);
    }
}

fn too_many(whose: &str, limit: u64) -> ErrorReply {
    ErrorReply::new(Code::TooMany, format!("{whose} has {limit} connections, which is the limit"))
        .with("limit", limit)
}

/// A connection's place in the counts, given back at its end.
struct Counted {
    shared: Rc<Shared>,
    place: Place,
}

/// What a connection counts as.
#[derive(Clone, Copy)]
enum Place {
    Taken(Option<IpAddr>),
    Refused,
}

impl Counts {
    fn take(&mut self, place: Place) {
        match place {
            Place::Refused => self.refused += 1,
            Place::Taken(ip) => {
                self.all += 1;
                if let Some(ip) = ip {
                    *self.by_address.entry(ip).or_default() += 1;
                }
            }
        }
    }

    fn give_back(&mut self, place: Place) {
        match place {
            Place::Refused => self.refused -= 1,
            Place::Taken(ip) => {
                self.all -= 1;
                if let Some(ip) = ip
                    && let Some(same) = self.by_address.get_mut(&ip)
                {
                    *same -= 1;
                    if *same == 0 {
                        self.by_address.remove(&ip);
                    }
                }
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.counts.borrow_mut().give_back(self.place);
    }
}

/// The names that this server goes by: those it was told, this machine's, and those it listens at; for a certificate, and
/// for what browsers say.
fn names(config: &Config) -> (Vec<String>, Names) {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let listened = config.listen.iter().filter_map(|addr| match addr {
        ListenAddr::Tcp { host, .. } if !host.is_empty() => Some(host.clone()),
        ListenAddr::Tcp { .. } | ListenAddr::Unix(_) => None,
    });
    let told: Vec<Authority> = config.names.iter().filter_map(|name| Authority::read(name)).collect();
    let usual = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> =
        usual.into_iter().chain([hostname]).chain(listened).chain(told.iter().map(Authority::host)).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let all = names.iter().filter_map(|name| Authority::read(name)).collect();
    (names, Names { all, told })
}

/// Takes all the open files that the system allows this process; answers how many those are.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.or(limit.current).unwrap_or(1 << 20);
    let raised = Rlimit { current: Some(most), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(most),
    }
}
