//! Quotas at the door: how much one account, one guest's connection and one address may ask, by the steady clock.
//! Whoever asks more is read later; only where that would take long it is refused with `busy` and a time.
//!
//! What an account does counts for the account alone, so that a class behind one address does not share a limit. A
//! guest counts as its connection and, from another machine, as its address too. The operator's socket has none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use vang_chat::{AccountId, Principal};
use vang_proto::Millis;
use vang_proto::vang::{Action, Rate};

/// Longest time for which a client is read later instead of being refused, ms.
pub(crate) const DELAY_MS_MAX: u64 = 1_000;

/// Full buckets are forgotten when there are more than so many.
const KEPT: usize = 1_024;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaKind {
    Messages,
    Bytes,
    Questions,
    Joins,
    Rooms,
    Connections,
}

const KINDS: [QuotaKind; 6] = [
    QuotaKind::Messages,
    QuotaKind::Bytes,
    QuotaKind::Questions,
    QuotaKind::Joins,
    QuotaKind::Rooms,
    QuotaKind::Connections,
];

/// How much of each kind one account or one guest's connection may ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) questions: u64,
    pub(crate) joins: u64,
    /// New rooms in a day; everything else is in a second.
    pub(crate) rooms_a_day: u64,
    pub(crate) connections: u64,
    /// What each rate allows in this time may come at once, ms.
    pub(crate) burst_ms: u64,
    /// The guests of one address may together ask so many times what one guest's connection may.
    pub(crate) address_factor: u64,
}

impl Rates {
    /// The same for an address.
    fn of_address(&self, kind: QuotaKind) -> (u64, u64) {
        let (capacity, period_ms) = self.of(kind);
        // Connections are counted by address only: there is no share of one guest.
        let factor = if kind == QuotaKind::Connections { 1 } else { self.address_factor };
        (capacity.saturating_mul(factor), period_ms)
    }

    /// How much there may be at once, and in how many ms it comes anew.
    fn of(&self, kind: QuotaKind) -> (u64, u64) {
        let burst = |rate: u64| {
            let at_once = u128::from(rate) * u128::from(self.burst_ms) / 1_000;
            (u64::try_from(at_once).unwrap_or(u64::MAX), self.burst_ms)
        };
        match kind {
            QuotaKind::Messages => burst(self.messages),
            QuotaKind::Bytes => burst(self.bytes),
            QuotaKind::Questions => burst(self.questions),
            QuotaKind::Joins => burst(self.joins),
            QuotaKind::Rooms => (self.rooms_a_day, DAY_MS),
            QuotaKind::Connections => burst(self.connections),
        }
    }
}

/// A bucket of each kind. Of an empty one `spent` has been taken, and flows back.
#[derive(Debug, Default)]
pub(crate) struct Buckets([Cell<Bucket>; KINDS.len()]);

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    spent: u64,
    at: Millis,
}

impl Bucket {
    fn at(self, now: Millis, (capacity, period_ms): (u64, u64)) -> Bucket {
        let passed = u128::from(now.0.saturating_sub(self.at.0));
        let back = u128::from(capacity) * passed / u128::from(period_ms);
        if back == 0 && self.spent > 0 {
            // Not enough time for one: it goes on counting.
            return self;
        }
        Bucket { spent: self.spent.saturating_sub(back.min(u128::from(u64::MAX)) as u64), at: now }
    }

    /// Until there is less in debt than fits, ms.
    fn wait_ms(self, (capacity, period_ms): (u64, u64)) -> u64 {
        let over = u128::from((self.spent + 1).saturating_sub(capacity));
        (over * u128::from(period_ms)).div_ceil(u128::from(capacity.max(1))).min(u128::from(u64::MAX)) as u64
    }
}

impl Buckets {
    /// How long until one more of this kind may come, ms; 0: now.
    fn wait_ms(&self, now: Millis, kind: QuotaKind, rate: (u64, u64)) -> u64 {
        self.0[kind as usize].get().at(now, rate).wait_ms(rate)
    }

    fn spend(&self, now: Millis, kind: QuotaKind, n: u64, rate: (u64, u64)) {
        let cell = &self.0[kind as usize];
        let bucket = cell.get().at(now, rate);
        cell.set(Bucket { spent: bucket.spent.saturating_add(n), ..bucket });
    }

    fn is_full(&self, now: Millis, rate: impl Fn(QuotaKind) -> (u64, u64)) -> bool {
        KINDS.into_iter().all(|kind| self.0[kind as usize].get().at(now, rate(kind)).spent == 0)
    }
}

/// What a request asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask(Option<(QuotaKind, u64)>);

impl Ask {
    pub(crate) fn of(action: &Action) -> Ask {
        Ask(match action.info().rate {
            Rate::None => None,
            Rate::Messages => Some((QuotaKind::Messages, action.content_len() as u64)),
            Rate::Questions => Some((QuotaKind::Questions, 0)),
            Rate::Joins => Some((QuotaKind::Joins, 0)),
            Rate::Rooms => Some((QuotaKind::Rooms, 0)),
        })
    }

    /// Is who asks too much read later? New rooms and joins come back by the day: refusing those alone is better.
    pub(crate) fn is_paced(self) -> bool {
        !matches!(self.0, None | Some((QuotaKind::Rooms | QuotaKind::Joins, _)))
    }

    /// What is said where it would take too long.
    pub(crate) fn refusal(self, wait_ms: u64) -> String {
        let (what, limit) = match self.0 {
            None | Some((QuotaKind::Messages | QuotaKind::Bytes, _)) => {
                ("messages", "messages-per-second and bytes-per-second")
            }
            Some((QuotaKind::Questions, _)) => ("questions", "questions-per-second"),
            Some((QuotaKind::Joins, _)) => ("joins", "joins-per-second"),
            Some((QuotaKind::Rooms, _)) => ("new rooms", "rooms-per-day"),
            Some((QuotaKind::Connections, _)) => ("connections", "connections-per-second"),
        };
        let seconds = wait_ms.div_ceil(1_000);
        format!("too many {what} at once (limit {limit}); try again in {seconds} s")
    }

    fn kinds(self) -> impl Iterator<Item = (QuotaKind, u64)> {
        let bytes = self.0.filter(|(_, bytes)| *bytes > 0).map(|(_, bytes)| (QuotaKind::Bytes, bytes));
        self.0.map(|(kind, _)| (kind, 1)).into_iter().chain(bytes)
    }
}

/// Who asks: an account, or a guest of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) principal: Principal,
    /// The connection's own buckets.
    pub(crate) own: &'a Buckets,
    pub(crate) address: IpAddr,
}

/// Looked up several times for each message.
type Map<K> = HashMap<K, Buckets, foldhash::quality::RandomState>;

/// The buckets of all accounts and addresses.
#[derive(Debug)]
pub(crate) struct Quotas {
    rates: Cell<Rates>,
    accounts: RefCell<Map<AccountId>>,
    addresses: RefCell<Map<IpAddr>>,
}

impl Quotas {
    pub(crate) fn new(rates: Rates) -> Quotas {
        Quotas { rates: Cell::new(rates), accounts: RefCell::default(), addresses: RefCell::default() }
    }

    /// For what is asked from here on.
    pub(crate) fn set(&self, rates: Rates) {
        self.rates.set(rates);
    }

    /// How long until this may be asked, ms; 0: now.
    pub(crate) fn wait_ms(&self, now: Millis, who: Who<'_>, ask: Ask) -> u64 {
        ask.kinds().map(|(kind, _)| self.wait_for(now, who, kind)).max().unwrap_or(0)
    }

    /// It was asked. Answers how long the asker is read later, ms.
    pub(crate) fn spend(&self, now: Millis, who: Who<'_>, ask: Ask) -> u64 {
        let rates = self.rates.get();
        for (kind, n) in ask.kinds() {
            let rate = rates.of(kind);
            match who.principal {
                Principal::Operator => {}
                Principal::Account(account) => {
                    let mut accounts = self.accounts.borrow_mut();
                    forget(&mut accounts, account, |buckets| buckets.is_full(now, |kind| rates.of(kind)));
                    accounts.entry(account).or_default().spend(now, kind, n, rate);
                }
                Principal::Guest(_) => {
                    who.own.spend(now, kind, n, rate);
                    self.spend_address(now, who.address, kind, n);
                }
            }
        }
        self.wait_ms(now, who, ask)
    }

    fn wait_for(&self, now: Millis, who: Who<'_>, kind: QuotaKind) -> u64 {
        let rate = self.rates.get().of(kind);
        match who.principal {
            Principal::Operator => 0,
            Principal::Account(account) => {
                self.accounts.borrow().get(&account).map_or(0, |buckets| buckets.wait_ms(now, kind, rate))
            }
            Principal::Guest(_) => {
                let own = who.own.wait_ms(now, kind, rate);
                own.max(self.wait_for_address(now, who.address, kind))
            }
        }
    }

    fn wait_for_address(&self, now: Millis, address: IpAddr, kind: QuotaKind) -> u64 {
        let rate = self.rates.get().of_address(kind);
        self.addresses.borrow().get(&address).map_or(0, |buckets| buckets.wait_ms(now, kind, rate))
    }

    fn spend_address(&self, now: Millis, address: IpAddr, kind: QuotaKind, n: u64) {
        let rates = self.rates.get();
        let mut addresses = self.addresses.borrow_mut();
        forget(&mut addresses, address, |buckets| buckets.is_full(now, |kind| rates.of_address(kind)));
        let rate = rates.of_address(kind);
        addresses.entry(address).or_default().spend(now, kind, n, rate);
    }

    /// A connection came from this address. `false`: too many did lately.
    pub(crate) fn admits(&self, now: Millis, address: IpAddr) -> bool {
        let admitted = self.wait_for_address(now, address, QuotaKind::Connections) == 0;
        if admitted {
            self.spend_address(now, address, QuotaKind::Connections, 1);
        }
        admitted
    }
}

/// Before another key comes, those that owe nothing go: each came once, so the work is shared out.
fn forget<K: Eq + Hash>(map: &mut Map<K>, new: K, is_full: impl Fn(&Buckets) -> bool) {
    if map.len() >= KEPT && map.len() == map.capacity() && !map.contains_key(&new) {
        map.retain(|_, buckets| !is_full(buckets));
        if map.len() > map.capacity() / 2 {
            // Looking again for each of the next few would be for nothing.
            map.reserve(map.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vang_chat::NameKey;

    use super::*;

    fn rates() -> Rates {
        Rates {
            messages: 2,
            bytes: 100,
            questions: 1,
            joins: 1,
            rooms_a_day: 3,
            connections: 1,
            burst_ms: 60_000,
            address_factor: 8,
        }
    }

    fn quotas() -> Quotas {
        Quotas::new(rates())
    }

    fn send(bytes: usize) -> Ask {
        Ask::of(&Action::Send {
            room: "general".to_owned(),
            id: None,
            content_type: "text/plain".to_owned(),
            content_encoding: "utf-8".to_owned(),
            content: Bytes::from(vec![0; bytes]),
        })
    }

    fn guest<'a>(own: &'a Buckets, address: Option<&str>) -> Who<'a> {
        let address = address.unwrap_or("10.9.9.9").parse().unwrap();
        // A fixed key is enough: guests are told apart by their connections.
        Who { principal: Principal::Guest(NameKey([1; 16])), own, address }
    }

    /// How many may be sent at this moment.
    fn count(quotas: &Quotas, now: Millis, who: Who<'_>, ask: Ask) -> u64 {
        let mut count = 0;
        while quotas.wait_ms(now, who, ask) == 0 {
            quotas.spend(now, who, ask);
            count += 1;
            assert!(count < 10_000, "no end");
        }
        count
    }

    #[test]
    fn a_minutes_worth_comes_at_once_and_then_the_rate() {
        let (quotas, own) = (quotas(), Buckets::default());
        let who = guest(&own, None);
        let now = Millis(1_000_000);
        assert_eq!(count(&quotas, now, who, send(1)), 120);
        assert_eq!(quotas.wait_ms(now, who, send(1)), 500);
        assert_eq!(count(&quotas, now + 499, who, send(1)), 0);
        assert_eq!(count(&quotas, now + 500, who, send(1)), 1);
        assert_eq!(count(&quotas, now + 10_500, who, send(1)), 20);
        assert_eq!(count(&quotas, now + 10_000_000, who, send(1)), 120, "never more than a minute's worth");
    }

    #[test]
    fn how_much_comes_at_once_is_set_by_time_and_for_an_address_by_a_factor() {
        let quotas = quotas();
        let (now, address) = (Millis(1_000_000), Some("10.0.0.1"));
        quotas.set(Rates { burst_ms: 5_000, address_factor: 3, ..rates() });
        let count_new = || {
            let own = Buckets::default();
            count(&quotas, now, guest(&own, address), send(1))
        };
        assert_eq!([(); 5].map(|()| count_new()), [10, 10, 10, 0, 0]);
        let own = Buckets::default();
        assert_eq!(
            quotas.wait_ms(now, guest(&own, address), send(1)),
            167,
            "six in a second for the address"
        );
        // More than fits into a number is no quota.
        quotas.set(Rates { messages: 1 << 40, burst_ms: u64::MAX, address_factor: u64::MAX, ..rates() });
        assert_eq!(quotas.spend(now, guest(&own, address), send(1)), 0);
    }

    #[test]
    fn large_messages_are_paid_for_by_their_bytes_afterwards() {
        let (quotas, own) = (quotas(), Buckets::default());
        let who = guest(&own, None);
        // One message may be longer than a minute's worth: it is taken, and paid for.
        assert_eq!(quotas.spend(Millis(0), who, send(6_000 + 199)), 2_000);
    }

    #[test]
    fn an_account_counts_by_itself_wherever_it_comes_from() {
        let quotas = quotas();
        let (one, other) = (Buckets::default(), Buckets::default());
        let account = |own| Who {
            principal: Principal::Account(AccountId(7)),
            own,
            address: IpAddr::from([10, 0, 0, 1]),
        };
        let now = Millis(5);
        assert_eq!(count(&quotas, now, account(&one), send(1)), 120);
        assert_eq!(count(&quotas, now, account(&other), send(1)), 0, "a second device has no second share");
        let neighbour = Buckets::default();
        assert_eq!(count(&quotas, now, guest(&neighbour, Some("10.0.0.1")), send(1)), 120);
    }

    #[test]
    fn guests_of_one_address_share_what_an_address_has() {
        let quotas = quotas();
        let now = Millis(5);
        let mut sent = 0;
        for _ in 0..20 {
            let own = Buckets::default();
            sent += count(&quotas, now, guest(&own, Some("10.0.0.1")), send(1));
        }
        assert_eq!(sent, 120 * 8);
        let own = Buckets::default();
        assert_eq!(count(&quotas, now, guest(&own, Some("10.0.0.2")), send(1)), 120);
    }

    #[test]
    fn the_operator_has_no_quota_and_a_ping_costs_none() {
        let (quotas, own) = (quotas(), Buckets::default());
        let operator =
            Who { principal: Principal::Operator, own: &own, address: IpAddr::from([127, 0, 0, 1]) };
        for _ in 0..1_000 {
            assert_eq!(quotas.spend(Millis(0), operator, send(1_000)), 0);
            assert_eq!(quotas.spend(Millis(0), guest(&own, None), Ask::of(&Action::Ping)), 0);
        }
    }

    #[test]
    fn rooms_come_by_the_day_and_connections_by_the_address() {
        let (quotas, own) = (quotas(), Buckets::default());
        let create =
            Ask::of(&Action::Create { room: "x".to_owned(), access: vang_proto::vang::Access::Public });
        assert_eq!(count(&quotas, Millis(0), guest(&own, None), create), 3);
        assert_eq!(quotas.wait_ms(Millis(0), guest(&own, None), create), DAY_MS / 3);
        let address = IpAddr::from([10, 0, 0, 1]);
        let came = (0..1_000).filter(|_| quotas.admits(Millis(0), address)).count();
        assert_eq!(came, 60);
        assert!(quotas.admits(Millis(0), IpAddr::from([10, 0, 0, 2])));
        assert!(quotas.admits(Millis(1_000), address));
    }

    #[test]
    fn addresses_that_owe_nothing_are_forgotten() {
        let quotas = quotas();
        for i in 0..200_000_u32 {
            // One connection is back in the bucket after a second.
            assert!(quotas.admits(Millis(u64::from(i) * 10), IpAddr::from(i.to_be_bytes())));
        }
        assert!(quotas.addresses.borrow().len() < 4 * KEPT, "{}", quotas.addresses.borrow().len());
    }
}
