//! A client: whom a connection or, through a proxy, a request is for; its quotas, and its place among those of its address.

use std::rc::Rc;

use vang_hub::Peer;
use vang_proto::vang::{Code, ErrorReply};

use crate::clock::steady_now;
use crate::door::Door;
use crate::fairness::places::{Counted, Place};
use crate::fairness::quota::{Buckets, Share};
use crate::net::listen::PeerAddr;
use crate::net::proxies::Proxies;
use crate::pump::ConnectionInfo;
use crate::shared::House;

/// A client, by its connection or by what its proxy says.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) from: PeerAddr,
    pub(crate) peer: Peer,
    /// Its quotas.
    pub(crate) share: Rc<Share>,
    /// Its place among those of its address, as long as it is here.
    place: Option<Rc<Place>>,
}

impl Client {
    /// A client that has no place among those of its address.
    pub(crate) fn new(house: &House, from: PeerAddr, peer: Peer) -> Client {
        let share = Rc::new(Share::new(house.pump.quotas.of_address(steady_now(), from.host())));
        Client { from, peer, share, place: None }
    }

    /// A client behind one of these proxies. Without `tls` it must use TLS itself, as everybody beyond this machine.
    pub(crate) fn through(proxies: &Proxies, house: &House, from: PeerAddr) -> Client {
        let peer = if proxies.tls { Peer::RemoteTls } else { Peer::RemotePlain };
        Client::new(house, from, peer)
    }

    /// Takes a place among those of its address.
    ///
    /// # Errors
    /// Its address has as many as the limits allow, or takes them too fast.
    pub(crate) fn take_place(&mut self, house: &House) -> Result<(), ErrorReply> {
        self.place = take_place(house, &self.from, self.share.address())?.map(Rc::new);
        Ok(())
    }

    /// It is refused: it takes no place of others.
    pub(crate) fn give_back_place(&mut self) {
        self.place = None;
    }

    /// What is known of it beside what it says; `is_tls`: TLS is around the connection.
    pub(crate) fn info(&self, door: Door, is_tls: bool) -> ConnectionInfo {
        let tls = match self.from {
            // A proxy can use TLS to us, and none to its client.
            PeerAddr::Proxied(_) => self.peer == Peer::RemoteTls,
            PeerAddr::Unix | PeerAddr::Address(_) => is_tls,
        };
        ConnectionInfo { door, tls, from: self.from }
    }
}

fn take_place(house: &House, from: &PeerAddr, address: &Buckets) -> Result<Option<Place>, ErrorReply> {
    let Some(ip) = from.counted() else { return Ok(None) };
    let max = house.limits.borrow().per_address();
    if house.places.of_address(ip) >= max {
        return Err(too_many("your address", u64::from(max)));
    }
    if !house.pump.quotas.admits(steady_now(), address) {
        let detail = "your address opens connections too fast (limit connections-per-second); try again";
        return Err(ErrorReply::new(Code::Busy, detail).with("retry-after", 1_000_u64));
    }
    Ok(Some(house.places.take(Counted::Address(ip))))
}

/// All places are taken.
pub(crate) fn too_many(whose: &str, limit: u64) -> ErrorReply {
    ErrorReply::new(Code::TooMany, format!("{whose} has {limit} connections, which is the limit"))
        .with("limit", limit)
}
