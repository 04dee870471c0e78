//! A server from its first socket to its last byte: open the data folder, replay, listen, accept; then, when told to stop:
//! take nothing more, finish what was asked, tell everybody, leave.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::LocalSet;
use vang_chat::Node;
use vang_hub::{Hub, Salts, Trust};
use vang_journal::Store;

use crate::accept::{Entrance, Shared, open_operators, open_when_free, raise_open_files};
use crate::clock::now;
use crate::config::Config;
use crate::disk::progress::Progress;
use crate::disk::{Paths, Workers};
use crate::disk::{find, index, journal, readers, seen, view_writer};
use crate::error::ServeError;
use crate::fairness::opening::Opening;
use crate::fairness::turns::Turns;
use crate::first_admin::FirstAdmin;
use crate::http::hosts::{Authority, Names, page_address};
use crate::net::listen::ListenAddr;
use crate::net::tls::{self};
use crate::pump::{Pump, Threads};
use crate::reload::{Asked, Changer, refuse_trust};
use crate::secrets::desk::Desk;
use crate::secrets::password;
use crate::shared::House;
use crate::start::{self};
use crate::status::monitoring::Monitoring;
use crate::status::snapshot::{AHEAD_WARNING_MS, ahead};

/// How often a stop looks whether everything is written.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// How often it is looked whether the operator's socket is still there.
const SOCKET_LOOK: Duration = Duration::from_secs(1);

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
    client_addresses: Vec<String>,
    fingerprint: String,
    workers: Workers,
    stop: (Stopper, watch::Receiver<bool>),
    /// Whether the folder is still ours shows by this.
    store: Arc<dyn Store>,
    // Dropped last: the lock is held until everything is written.
    folder: vang_journal::DataFolder,
}

impl Server {
    /// Opens everything. Must be called inside a tokio runtime of one thread, in a `LocalSet`.
    pub fn open(config: Config) -> Result<Server, ServeError> {
        let open_files = raise_open_files();
        let files = config.tls().map_err(ServeError::Settings)?;
        // First what fails for a person's mistake: an address in use, a folder in use.
        let mut listeners = Vec::new();
        config.check_listen().map_err(ServeError::Settings)?;
        for listen in &config.listen {
            listeners.extend(open_when_free(listen, config.backlog)?);
        }
        refuse_trust(config.trust, listeners.iter().map(Entrance::reach))?;
        let shown = |place: &Entrance| place.listener.to_string();
        let addresses = listeners.iter().map(shown).collect();
        let client_addresses: Vec<String> =
            listeners.iter().filter(|place| place.is_for_clients()).map(shown).collect();
        let opened = start::open(&config.data)?;
        let (names, page_names) = names(&config);
        let tls = tls::load(files.as_ref(), &opened.folder.tls(), &names)?;
        let fingerprint = tls.fingerprint.clone();
        let socket = opened.folder.socket();
        listeners.push(open_operators(&socket)?);

        let mut seed = [0; 40];
        getrandom::fill(&mut seed).map_err(|error| ServeError::Io {
            what: "get random bytes",
            source: io::Error::other(error.to_string()),
        })?;
        let (salt, node) = seed.split_at(32);
        let salts = Salts::new(salt.try_into().expect("32 of 40 bytes"));
        let node = Node(u64::from_le_bytes(node.try_into().expect("8 of 40 bytes")));
        let identity = opened.journal.identity();
        let server = config.program.clone();
        let ahead_ms = opened.recovered.state.time().0.saturating_sub(now().wall.0);
        if ahead_ms >= AHEAD_WARNING_MS {
            tracing::warn!("{}", ahead(ahead_ms));
        }
        let mut hub = Hub::new(identity, opened.recovered, node, salts, config.program, config.confirm_time);
        hub.set_guests(config.guests);
        hub.set_trust(config.trust);
        hub.set_rooms_by(config.rooms_by);
        hub.set_default_rooms(&config.default_rooms);
        hub.set_page(page_address(&page_names.configured, client_addresses.iter().map(String::as_str)));

        let (sender, answers) = unbounded_channel();
        let progress = Arc::new(Progress::default());
        let (deltas, view_thread) =
            view_writer::view_writer(opened.view, opened.store.clone(), progress.clone(), sender.clone())
                .map_err(no_thread)?;
        for delta in opened.pending {
            let _ = deltas.send(delta);
        }
        let files = (opened.store.clone(), opened.folder.view_db());
        let alone = (opened.folder.lock(), opened.folder.reserve());
        let (journal, journal_thread) =
            journal::journal(opened.journal, alone, sender.clone()).map_err(no_thread)?;
        let (reads, mut readers) =
            readers::readers(files, (&deltas, &progress), &sender).map_err(no_thread)?;
        let paths = Paths {
            journal: opened.store.clone(),
            view: opened.folder.view_db(),
            index: opened.folder.find_db(),
        };
        let index = Arc::new(Progress::default());
        let view = (deltas.clone(), progress.clone());
        let find_ms = Arc::new(AtomicU64::new(config.limits.find_ms()));
        let (finds, finder) =
            find::finder(paths.clone(), view, index.clone(), find_ms.clone(), sender.clone())
                .map_err(no_thread)?;
        let hashing = (config.limits.guesses(), password::CURRENT);
        let (desk, hashers) = Desk::start(&opened.store, hashing, &sender).map_err(no_thread)?;
        let indexer =
            index::indexer(paths, progress.clone(), index.clone(), sender.clone()).map_err(no_thread)?;
        let (seen, rows, seen_thread) =
            seen::seen(opened.folder.seen_db(), opened.store.identity().id, sender).map_err(no_thread)?;
        hub.load_seen(rows);
        readers.extend([finder, indexer, seen_thread]);
        readers.extend(hashers);
        let workers = Workers {
            readers,
            view: (deltas.clone(), view_thread),
            journal: (journal.clone(), journal_thread),
        };

        let (stop, stopped) = watch::channel(false);
        let (changer, changes) = unbounded_channel();
        let connections_max = config.limits.connections(open_files);
        let monitoring = Monitoring::new(config.data, server, opened.store.damages().clone());
        monitoring.connections_max.set(connections_max);
        monitoring.free_min.set(config.limits.ready_free_bytes());
        monitoring.lag_max.set(config.limits.ready_lag());
        let threads = Threads { journal, deltas, reads, finds, find_ms, progress, index, seen };
        let pump = Rc::new(Pump::new(hub, (threads, desk, answers), monitoring, &config.limits));
        Ok(Server {
            shared: Rc::new(Shared {
                house: Rc::new(House {
                    pump,
                    turns: Rc::new(Turns::new(Instant::now)),
                    places: Rc::default(),
                    limits: RefCell::new(config.limits),
                    tls: RefCell::new(tls),
                    metrics: Cell::new(config.metrics),
                    lines: Cell::new(config.lines),
                    names: page_names,
                }),
                connections_max: Cell::new(connections_max),
                opening: Opening::default(),
            }),
            listeners,
            changer: Changer(changer),
            changes,
            names,
            trust: config.trust,
            addresses,
            client_addresses,
            fingerprint,
            workers,
            stop: (Stopper(stop), stopped),
            store: opened.store,
            folder: opened.folder,
        })
    }

    /// Where it listens, as a client would be told.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where it listens for clients that come without a proxy.
    pub fn client_addresses(&self) -> &[String] {
        &self.client_addresses
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

    /// Invites the first administrator of a new server: not before `ready` is called.
    pub fn first_admin(&self) -> FirstAdmin {
        FirstAdmin::new(self.shared.house.pump.clone(), self.folder.path())
    }

    /// Tells it to stop.
    pub fn stopper(&self) -> Stopper {
        self.stop.0.clone()
    }

    /// Tells it, while it runs, what has changed.
    pub fn changer(&self) -> Changer {
        self.changer.clone()
    }

    /// Serves until it is stopped, and everything is finished. `ready` is called once, when the
    /// journal is open and connections are accepted.
    pub async fn run(self, ready: impl FnOnce()) -> Result<(), ServeError> {
        let Server { shared, listeners, workers, stop, store, folder, mut changes, changer, names, .. } =
            self;
        let local = LocalSet::new();
        let pump = shared.house.pump.clone();
        let outcome = local
            .run_until(async {
                let turns = shared.house.turns.clone();
                tokio::task::spawn_local(async move { turns.serve().await });
                tokio::task::spawn_local({
                    let pump = pump.clone();
                    async move { pump.deliver(Instant::now).await }
                });
                let mut turning = tokio::task::spawn_local({
                    let pump = pump.clone();
                    async move { pump.run(Instant::now).await }
                });
                let mut stopped = stop.1;
                // The first entry says that this process orders from here on. A journal that cannot be
                // written now still serves readers, and writes when it heals.
                let is_begun = || pump.is_open() || pump.cannot_order() || turning.is_finished();
                while !is_begun() && !*stopped.borrow() {
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
                        _ = stopped.wait_for(|stop| *stop) => break,
                        _ = &mut turning => {
                            return Err(ServeError::ThreadEnded(pump.ended().unwrap_or("deciding")));
                        }
                        Some((change, outcome)) = changes.recv() => {
                            let tls = folder.tls();
                            let _ = outcome.send(shared.change(change, &mut accepting, &tls, &names).await);
                        }
                        _ = looks.tick() => {
                            let socket = folder.socket();
                            if !socket.exists() && store.look().is_ok() {
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
    let is_written = || shared.house.pump.is_quiet() || shared.house.pump.cannot_order();
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

fn no_thread(source: io::Error) -> ServeError {
    ServeError::Io { what: "start a thread", source }
}

/// The names that this server goes by: those it was told, this machine's, and those it listens on; for a certificate, and
/// for what browsers say.
fn names(config: &Config) -> (Vec<String>, Names) {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let listened = config.listen.iter().filter_map(|listen| match &listen.addr {
        ListenAddr::Tcp { host, .. } if !host.is_empty() => Some(host.clone()),
        ListenAddr::Tcp { .. } | ListenAddr::Unix(_) => None,
    });
    let configured: Vec<Authority> = config.names.iter().filter_map(|name| Authority::read(name)).collect();
    let usual = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> = usual
        .into_iter()
        .chain([hostname])
        .chain(listened)
        .chain(configured.iter().map(Authority::host))
        .collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let all = names.iter().filter_map(|name| Authority::read(name)).collect();
    (names, Names { all, configured })
}
