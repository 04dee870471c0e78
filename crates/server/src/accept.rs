//! Listeners, and who may connect: the places that there are, by count, address and memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vang_hub::Peer;
use vang_journal::{HOLDER_DIES_WITHIN, HOLDER_LOOK};
use vang_proto::vang::{Code, ErrorReply};

use crate::clock::steady_now;
use crate::connection::Connection;
use crate::fairness::opening::Opening;
use crate::fairness::quota::Share;
use crate::fairness::turns::{Credit, Fair};
use crate::net::listen::{ListenAddr, ListenError, Listener, PeerAddr, open_unix};
use crate::net::socket::{Socket, Stream};
use crate::shared::House;

/// A pause after an accept that failed: the process is out of files, and will be for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Refused connections that get an error reply at the same time; further ones are closed without a reply.
const REFUSALS_MAX: usize = 128;

/// A listener, and by which address it was asked for; the operator's by none.
pub(crate) struct Entrance {
    pub(crate) addr: Option<ListenAddr>,
    pub(crate) listener: Listener,
    pub(crate) audience: Audience,
}

impl Entrance {
    pub(crate) fn accept(self, shared: &Rc<Shared>) -> Accepting {
        let (shown, is_beyond_this_machine) = self.reach();
        let task = tokio::task::spawn_local(accept(self.listener, self.audience, shared.clone()));
        Accepting { addr: self.addr, shown, is_beyond_this_machine, task }
    }

    /// What it is called, and whether other machines reach it.
    pub(crate) fn reach(&self) -> (String, bool) {
        (self.listener.to_string(), self.listener.is_beyond_this_machine())
    }
}

/// A listener whose connections are accepted.
pub(crate) struct Accepting {
    pub(crate) addr: Option<ListenAddr>,
    /// As it is shown.
    pub(crate) shown: String,
    pub(crate) is_beyond_this_machine: bool,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Accepting {
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
    pub(crate) counts: RefCell<Counts>,
    pub(crate) opening: Opening,
}

#[derive(Default)]
pub(crate) struct Counts {
    all: usize,
    refused: usize,
    by_address: HashMap<IpAddr, u32>,
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

/// A server that was just killed may still be ending, and its port is not free until it has ended.
pub(crate) fn open_when_free(addr: &ListenAddr, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
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
pub(crate) fn open_operators(socket: &Path) -> Result<Entrance, ListenError> {
    let listener = open_unix(socket, 16, Some(0o600))
        .map_err(|source| ListenError::Io { addr: format!("unix:{}", socket.display()), source })?;
    Ok(Entrance { addr: None, listener, audience: Audience::Operator })
}

pub(crate) fn open_entrances(addr: &ListenAddr, backlog: u32) -> Result<Vec<Entrance>, ListenError> {
    let place = |listener| Entrance { addr: Some(addr.clone()), listener, audience: Audience::Everybody };
    Ok(addr.open(backlog)?.into_iter().map(place).collect())
}

async fn accept(listener: Listener, audience: Audience, shared: Rc<Shared>) {
    loop {
        if audience == Audience::Everybody {
            shared.house.turns.have_room().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => admit(stream, from, audience, &shared),
            Err(error) => {
                if shared.house.pump.watch.reports.admit("accept", Instant::now()) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: Stream, from: PeerAddr, audience: Audience, shared: &Rc<Shared>) {
    let mut counts = shared.counts.borrow_mut();
    let (now, counted) = (steady_now(), from.counted());
    let address = shared.house.pump.quotas.of_address(now, from.host());
    let same = counted.map_or(0, |ip| counts.by_address.get(&ip).copied().unwrap_or(0));
    let refused = if audience == Audience::Operator {
        // The operator must be able to connect to a full server.
        None
    } else if counted.is_some() && same >= shared.house.limits.borrow().per_address() {
        Some(too_many("your address", u64::from(shared.house.limits.borrow().per_address())))
    } else if counted.is_some() && !shared.house.pump.quotas.admits(now, &address) {
        let detail = "your address opens connections too fast (limit connections-per-second); try again";
        Some(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64))
    } else if counts.all >= shared.connections_max.get() && !shared.opening.end_oldest() {
        Some(too_many("this server", shared.connections_max.get() as u64))
    } else if !shared.house.pump.may_admit(counts.all) && !shared.opening.end_oldest() {
        let detail = "this server's memory for clients is used up (limit memory); try again";
        Some(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64))
    } else {
        None
    };
    // Refused connections are counted apart: they take no place of others.
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
    let peer = match (audience, from.is_local()) {
        (Audience::Operator, _) => Peer::Operator,
        (Audience::Everybody, true) => Peer::Local,
        (Audience::Everybody, false) => Peer::RemotePlain,
    };
    let open = counts.all;
    drop(counts);
    let credit = Rc::new(Credit::new(Instant::now()));
    let socket = Socket::new(stream, credit.clone());
    let (house, share) = (shared.house.clone(), Rc::new(Share::new(address)));
    let connection = Connection { house, socket, from, peer, share, refused };
    let counted = Counted { shared: shared.clone(), place };
    let run = async move {
        connection.run().await;
        drop(counted);
    };
    let task = tokio::task::spawn_local(Fair::new(shared.house.turns.clone(), credit.clone(), run));
    if matches!(place, Place::Taken(_)) && audience == Audience::Everybody {
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.counts.borrow_mut().give_back(self.place);
    }
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
