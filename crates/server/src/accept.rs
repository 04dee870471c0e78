//! Listeners, and who may connect: the places that there are, by count, address and memory.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vang_hub::Peer;
use vang_journal::{HOLDER_DIES_WITHIN, HOLDER_LOOK};
use vang_proto::vang::{Code, ErrorReply};

use crate::client_place::{Client, too_many};
use crate::connection::Connection;
use crate::fairness::opening::Opening;
use crate::fairness::places::Counted;
use crate::fairness::turns::{Credit, Fair};
use crate::net::listen::{Listen, ListenError, Listener, PeerAddr, open_unix};
use crate::net::proxies::Proxies;
use crate::net::socket::{Socket, Stream};
use crate::shared::House;

/// A pause after an accept that failed: the process is out of files, and will be for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The kind of report for peers that are none of the listener's proxies.
const NO_PROXY: &str = "no-proxy";

/// A listener, and how it was asked for; the operator's was not.
pub(crate) struct Entrance {
    pub(crate) listen: Option<Listen>,
    pub(crate) listener: Listener,
    pub(crate) audience: Audience,
}

/// The proxies of a listener. A reload changes them for new connections.
type CurrentProxies = Rc<RefCell<Option<Arc<Proxies>>>>;

impl Entrance {
    pub(crate) fn accept(self, shared: &Rc<Shared>) -> Accepting {
        let (shown, is_beyond_this_machine) = self.reach();
        let proxies = self.listen.as_ref().and_then(|listen| listen.proxies.clone());
        log_proxies(&shown, proxies.as_deref());
        let proxies = Rc::new(RefCell::new(proxies));
        let accepting = accept(self.listener, self.audience, proxies.clone(), shared.clone());
        let task = tokio::task::spawn_local(accepting);
        Accepting { listen: self.listen, shown, is_beyond_this_machine, proxies, task }
    }

    /// Can clients connect here without a proxy?
    pub(crate) fn is_for_clients(&self) -> bool {
        self.listen.as_ref().is_none_or(|listen| listen.proxies.is_none())
    }

    /// What it is called, and whether other machines reach it.
    pub(crate) fn reach(&self) -> (String, bool) {
        (self.listener.to_string(), self.listener.is_beyond_this_machine())
    }
}

fn log_proxies(addr: &str, proxies: Option<&Proxies>) {
    if let Some(proxies) = proxies {
        let (kind, tls, from) = (proxies.kind.word(), proxies.tls, proxies.shown_from());
        tracing::info!(%addr, proxy = kind, tls, %from, "only proxies can connect here");
    }
}

/// A listener whose connections are accepted.
pub(crate) struct Accepting {
    pub(crate) listen: Option<Listen>,
    /// As it is shown.
    pub(crate) shown: String,
    pub(crate) is_beyond_this_machine: bool,
    proxies: CurrentProxies,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Accepting {
    /// The same address with other options.
    pub(crate) fn change(&mut self, listen: Listen) {
        match &listen.proxies {
            Some(proxies) => log_proxies(&self.shown, Some(proxies)),
            None => tracing::info!(addr = %self.shown, "everybody can connect here now, not only proxies"),
        }
        self.proxies.replace(listen.proxies.clone());
        self.listen = Some(listen);
    }

    /// Waits until the listener is closed: another server may have its port.
    pub(crate) async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Who comes in by a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Everybody,
    /// Users who can open the data folder's own socket.
    Operator,
}

pub(crate) struct Shared {
    pub(crate) house: Rc<House>,
    pub(crate) connections_max: Cell<usize>,
    pub(crate) opening: Opening,
}

/// A server that was just killed may still be ending, and its port is not free until it has ended.
pub(crate) fn open_when_free(listen: &Listen, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
    let asked = Instant::now();
    loop {
        match open_entrances(listen, backlog) {
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
pub(crate) fn open_operators(socket: &Path) -> Result<Entrance, ListenError> {
    let listener = open_unix(socket, 16, Some(0o600))
        .map_err(|source| ListenError::Io { addr: format!("unix:{}", socket.display()), source })?;
    Ok(Entrance { listen: None, listener, audience: Audience::Operator })
}

pub(crate) fn open_entrances(listen: &Listen, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
    let place = |listener| Entrance { listen: Some(listen.clone()), listener, audience: Audience::Everybody };
    Ok(listen.addr.open(backlog)?.into_iter().map(place).collect())
}

async fn accept(listener: Listener, audience: Audience, proxies: CurrentProxies, shared: Rc<Shared>) {
    loop {
        if audience == Audience::Everybody {
            shared.house.turns.have_room().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                let proxies = proxies.borrow().clone();
                admit(stream, from, (audience, proxies), &shared);
            }
            Err(error) => {
                if shared.house.pump.monitoring.reports.admit("accept", Instant::now()) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(
    stream: Stream,
    from: PeerAddr,
    (audience, proxies): (Audience, Option<Arc<Proxies>>),
    shared: &Rc<Shared>,
) {
    let house = &shared.house;
    // Also those that are refused, now or after a PROXY header: a count cannot be taken back.
    house.pump.monitoring.accepted.add(1);
    let mut client = match (&proxies, audience, from.is_local()) {
        (Some(proxies), _, _) => Client::through(proxies, house, from),
        (None, Audience::Operator, _) => Client::new(house, from, Peer::Operator),
        (None, Audience::Everybody, true) => Client::new(house, from, Peer::Local),
        (None, Audience::Everybody, false) => Client::new(house, from, Peer::RemotePlain),
    };
    let mut behind = None;
    let refused = match (audience, proxies) {
        // The operator must be able to connect to a full server.
        (Audience::Operator, _) => None,
        (_, Some(proxies)) if !proxies.has(from.ip()) => Some(no_proxy(house, &from, &proxies)),
        // A proxy is no client: the limits of one address are for those for whom it connects.
        (_, Some(proxies)) => {
            behind = Some(proxies);
            refuse_full(shared)
        }
        (_, None) => client.take_place(house).err().or_else(|| refuse_full(shared)),
    };
    let is_refused = refused.is_some();
    let place = if is_refused {
        client.give_back_place();
        let Some(place) = house.take_refused() else { return };
        place
    } else {
        house.places.take(Counted::Taken)
    };
    let open = house.places.all();
    let credit = Rc::new(Credit::new(Instant::now()));
    let socket = Socket::new(stream, credit.clone());
    let connection = Connection { house: house.clone(), socket, client, proxies: behind, refused, place };
    let pump = house.pump.clone();
    let after = move || pump.order_between_turns(Instant::now);
    let fair = Fair::new(house.turns.clone(), credit.clone(), connection.run(), after);
    let task = tokio::task::spawn_local(fair);
    if !is_refused && audience == Audience::Everybody {
        shared.opening.push(credit, task.abort_handle(), open);
    }
}

/// The refusal if the server has no place or no memory left for another connection, from any address.
fn refuse_full(shared: &Shared) -> Option<ErrorReply> {
    let (house, all) = (&shared.house, shared.house.places.all());
    if all >= shared.connections_max.get() && !shared.opening.end_oldest() {
        return Some(too_many("this server", shared.connections_max.get() as u64));
    }
    if !house.pump.may_admit(all) && !shared.opening.end_oldest() {
        let detail = "this server's memory for clients is used up (limit memory); try again";
        return Some(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64));
    }
    None
}

/// The peer is none of the listener's proxies.
fn no_proxy(house: &House, peer: &PeerAddr, proxies: &Proxies) -> ErrorReply {
    let from = proxies.shown_from();
    if house.pump.monitoring.reports.admit(NO_PROXY, Instant::now()) {
        tracing::warn!(%peer, %from, "connection refused: the peer is no proxy of this listener (option from=NETWORK)");
    }
    // Who they are is not for others to know.
    let detail = "only a proxy of this server can connect to this address; use the server's public address";
    ErrorReply::new(Code::NotAllowed, detail)
}

/// Takes all the open files that the system allows this process; answers how many those are.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.or(limit.current).unwrap_or(1 << 20);
    let raised = Rlimit { current: Some(most), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(most),
    }
}
