//! Quotas at the door: how much one account, one guest's connection and one address may ask, by the steady clock.
//! A client that asks more is read later; only where that would take long it is refused with `busy` and a time.
//!
//! What an account does counts for the account alone, so that a class behind one address does not share a limit. A
//! guest counts as its connection and, from another machine, as its address too. The operator's socket has none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;

use vang_chat::{AccountId, Principal};
use vang_proto::Millis;
use vang_proto::vang::{Action, Rate};

/// Longest time for which a client is read later instead of being refused, ms.
pub(crate) const DELAY_MS_MAX: u64 = 1_000;

/// Buckets that owe nothing are forgotten when there are more than so many.
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
    fn price(&self, kind: QuotaKind, factor: u64) -> Price {
        let a_second = |rate: u64| Price::new(1_000, rate, factor, self.burst_ms);
        match kind {
            QuotaKind::Messages => a_second(self.messages),
            QuotaKind::Bytes => a_second(self.bytes),
            QuotaKind::Questions => a_second(self.questions),
            QuotaKind::Joins => a_second(self.joins),
            QuotaKind::Rooms => Price::new(DAY_MS, self.rooms_a_day, factor, DAY_MS),
            // Connections are counted by address only: there is no share of one guest.
            QuotaKind::Connections => Price::new(1_000, self.connections, 1, self.burst_ms),
        }
    }
}

/// What each kind costs. Made when the rates are set: nothing is divided while requests come.
#[derive(Debug)]
struct Prices {
    /// For an account, or one guest's connection.
    own: [Price; KINDS.len()],
    /// For all guests of an address.
    address: [Price; KINDS.len()],
}

impl Prices {
    fn new(rates: &Rates) -> Prices {
        let with_factor = |factor| KINDS.map(|kind| rates.price(kind, factor));
        Prices { own: with_factor(1), address: with_factor(rates.address_factor) }
    }
}

/// A time, in parts of a millisecond.
type Parts = u128;

/// A millisecond has 2 to this power parts: a byte of the highest rate costs a thousand.
const PARTS_BITS: u32 = 40;

fn parts(ms: u64) -> Parts {
    Parts::from(ms) << PARTS_BITS
}

#[derive(Clone, Copy, Debug)]
struct Price {
    /// Time that one more costs.
    each: Parts,
    /// Time that may be owed.
    debt_max: Parts,
}

impl Price {
    fn new(period_ms: u64, rate: u64, factor: u64, burst_ms: u64) -> Price {
        let rate = Parts::from(rate) * Parts::from(factor);
        Price { each: parts(period_ms) / rate.max(1), debt_max: parts(burst_ms) }
    }
}

/// A token bucket of each kind, as one number: when all that was taken from it will have flowed back (the generic cell
/// rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub(crate) struct Buckets([Cell<Parts>; KINDS.len()]);

impl Buckets {
    fn debt(&self, now: Millis, kind: QuotaKind) -> Parts {
        self.0[kind as usize].get().saturating_sub(parts(now.0))
    }

    /// How long until one more of this kind may come, ms; 0: now.
    fn wait_ms(&self, now: Millis, kind: QuotaKind, prices: &[Price]) -> u64 {
        let Price { each, debt_max } = prices[kind as usize];
        let over = self.debt(now, kind).saturating_add(each).saturating_sub(debt_max);
        let ms = over.saturating_add(parts(1) - 1) >> PARTS_BITS;
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// So many more came. Answers how long until one more may come, ms.
    fn spend(&self, now: Millis, kind: QuotaKind, n: u64, prices: &[Price]) -> u64 {
        let cost = prices[kind as usize].each.saturating_mul(Parts::from(n));
        let debt = self.debt(now, kind).saturating_add(cost);
        self.0[kind as usize].set(parts(now.0).saturating_add(debt));
        self.wait_ms(now, kind, prices)
    }

    fn owes_nothing(&self, now: Millis) -> bool {
        KINDS.into_iter().all(|kind| self.debt(now, kind) == 0)
    }
}

/// The buckets of a connection: its own, and those of its address.
#[derive(Debug)]
pub(crate) struct Share {
    own: Buckets,
    address: Rc<Buckets>,
}

impl Share {
    pub(crate) fn new(address: Rc<Buckets>) -> Share {
        Share { own: Buckets::default(), address }
    }

    pub(crate) fn address(&self) -> &Buckets {
        &self.address
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
    /// The connection's.
    pub(crate) share: &'a Share,
}

/// Looked up for each message of an account, and for each connection.
type Map<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// The buckets of all accounts and addresses.
#[derive(Debug)]
pub(crate) struct Quotas {
    prices: RefCell<Prices>,
    accounts: RefCell<Map<AccountId, Buckets>>,
    addresses: RefCell<Map<IpAddr, Rc<Buckets>>>,
}

impl Quotas {
    pub(crate) fn new(rates: &Rates) -> Quotas {
        Quotas {
            prices: RefCell::new(Prices::new(rates)),
            accounts: RefCell::default(),
            addresses: RefCell::default(),
        }
    }

    /// For what is asked from here on.
    pub(crate) fn set(&self, rates: &Rates) {
        self.prices.replace(Prices::new(rates));
    }

    /// How long until this may be asked, ms; 0: now.
    pub(crate) fn wait_ms(&self, now: Millis, who: Who<'_>, ask: Ask) -> u64 {
        let prices = self.prices.borrow();
        let wait = |kind| match who.principal {
            Principal::Operator => 0,
            Principal::Account(account) => {
                let accounts = self.accounts.borrow();
                accounts.get(&account).map_or(0, |buckets| buckets.wait_ms(now, kind, &prices.own))
            }
            Principal::Guest(_) => {
                let Share { own, address } = who.share;
                let own = own.wait_ms(now, kind, &prices.own);
                own.max(address.wait_ms(now, kind, &prices.address))
            }
        };
        ask.kinds().map(|(kind, _)| wait(kind)).max().unwrap_or(0)
    }

    /// It was asked. Answers how long until it may be asked again, ms.
    pub(crate) fn spend(&self, now: Millis, who: Who<'_>, ask: Ask) -> u64 {
        let prices = self.prices.borrow();
        let spend = |(kind, n)| match who.principal {
            Principal::Operator => 0,
            Principal::Account(account) => {
                let mut accounts = self.accounts.borrow_mut();
                forget(&mut accounts, account, |buckets| buckets.owes_nothing(now));
                accounts.entry(account).or_default().spend(now, kind, n, &prices.own)
            }
            Principal::Guest(_) => {
                let Share { own, address } = who.share;
                let own = own.spend(now, kind, n, &prices.own);
                own.max(address.spend(now, kind, n, &prices.address))
            }
        };
        ask.kinds().map(spend).max().unwrap_or(0)
    }

    /// The buckets of an address, for a connection that came from it.
    pub(crate) fn of_address(&self, now: Millis, address: IpAddr) -> Rc<Buckets> {
        let mut addresses = self.addresses.borrow_mut();
        // Those of a connection that is there must stay: another one from there has the same.
        forget(&mut addresses, address, |buckets| {
            Rc::strong_count(buckets) == 1 && buckets.owes_nothing(now)
        });
        addresses.entry(address).or_default().clone()
    }

    /// A connection came from this address. `false`: too many did lately.
    pub(crate) fn admits(&self, now: Millis, address: &Buckets) -> bool {
        let prices = self.prices.borrow();
        let admitted = address.wait_ms(now, QuotaKind::Connections, &prices.address) == 0;
        if admitted {
            address.spend(now, QuotaKind::Connections, 1, &prices.address);
        }
        admitted
    }
}

/// Before another key comes, those that nobody needs go: each came once, so the work is shared out.
fn forget<K: Eq + Hash, V>(map: &mut Map<K, V>, new: K, is_needless: impl Fn(&V) -> bool) {
    if map.len() >= KEPT && map.len() == map.capacity() && !map.contains_key(&new) {
        map.retain(|_, buckets| !is_needless(buckets));
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
        Quotas::new(&rates())
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

    const NOBODY_ELSE: &str = "10.9.9.9";

    /// A connection from there.
    fn from(quotas: &Quotas, address: &str) -> Share {
        Share::new(quotas.of_address(Millis(0), address.parse().unwrap()))
    }

    fn guest(share: &Share) -> Who<'_> {
        // A fixed key is enough: guests are distinguished by their connections.
        Who { principal: Principal::Guest(NameKey([1; 16])), share }
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
        let quotas = quotas();
        let share = from(&quotas, NOBODY_ELSE);
        let who = guest(&share);
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
        let now = Millis(1_000_000);
        quotas.set(&Rates { burst_ms: 5_000, address_factor: 3, ..rates() });
        let shares = [(); 5].map(|()| from(&quotas, "10.0.0.1"));
        assert_eq!(
            shares.each_ref().map(|share| count(&quotas, now, guest(share), send(1))),
            [10, 10, 10, 0, 0]
        );
        let share = &shares[4];
        assert_eq!(quotas.wait_ms(now, guest(share), send(1)), 167, "six in a second for the address");
        // More than fits into a number is no quota.
        quotas.set(&Rates { messages: 1 << 40, burst_ms: u64::MAX, address_factor: u64::MAX, ..rates() });
        assert_eq!(quotas.spend(now, guest(share), send(1)), 0);
    }

    #[test]
    fn large_messages_are_paid_for_by_their_bytes_afterwards() {
        let quotas = quotas();
        let share = from(&quotas, NOBODY_ELSE);
        let who = guest(&share);
        // One message may be longer than a minute's worth: it is taken, and paid for.
        assert_eq!(quotas.spend(Millis(0), who, send(6_000 + 199)), 2_000);
    }

    #[test]
    fn an_account_counts_by_itself_wherever_it_comes_from() {
        let quotas = quotas();
        let [one, other, neighbour] = [(); 3].map(|()| from(&quotas, "10.0.0.1"));
        let account = |share| Who { principal: Principal::Account(AccountId(7)), share };
        let now = Millis(5);
        assert_eq!(count(&quotas, now, account(&one), send(1)), 120);
        assert_eq!(count(&quotas, now, account(&other), send(1)), 0, "a second device has no second share");
        assert_eq!(count(&quotas, now, guest(&neighbour), send(1)), 120);
    }

    #[test]
    fn guests_of_one_address_share_what_an_address_has() {
        let quotas = quotas();
        let now = Millis(5);
        let mut sent = 0;
        for _ in 0..20 {
            sent += count(&quotas, now, guest(&from(&quotas, "10.0.0.1")), send(1));
        }
        assert_eq!(sent, 120 * 8);
        assert_eq!(count(&quotas, now, guest(&from(&quotas, "10.0.0.2")), send(1)), 120);
    }

    #[test]
    fn the_operator_has_no_quota_and_a_ping_costs_none() {
        let quotas = quotas();
        let share = from(&quotas, "127.0.0.1");
        let operator = Who { principal: Principal::Operator, share: &share };
        for _ in 0..1_000 {
            assert_eq!(quotas.spend(Millis(0), operator, send(1_000)), 0);
            assert_eq!(quotas.spend(Millis(0), guest(&share), Ask::of(&Action::Ping)), 0);
        }
    }

    #[test]
    fn rooms_come_by_the_day_and_connections_by_the_address() {
        let quotas = quotas();
        let share = from(&quotas, NOBODY_ELSE);
        let create =
            Ask::of(&Action::Create { room: "x".to_owned(), access: vang_proto::vang::Access::Public });
        assert_eq!(count(&quotas, Millis(0), guest(&share), create), 3);
        assert_eq!(quotas.wait_ms(Millis(0), guest(&share), create), DAY_MS / 3);
        // Also once nothing is left of the connections that came.
        let comes = |now, address| quotas.admits(now, &from(&quotas, address).address);
        let came = (0..1_000).filter(|_| comes(Millis(0), "10.0.0.1")).count();
        assert_eq!(came, 60);
        assert!(comes(Millis(0), "10.0.0.2"));
        assert!(comes(Millis(1_000), "10.0.0.1"));
    }

    #[test]
    fn addresses_that_owe_nothing_are_forgotten_when_no_connection_is_left() {
        let quotas = quotas();
        let kept: Vec<Share> = (0..100).map(|i| from(&quotas, &format!("10.0.1.{i}"))).collect();
        for i in 0..200_000_u32 {
            // One connection is back in the bucket after a second.
            let now = Millis(u64::from(i) * 10);
            assert!(quotas.admits(now, &quotas.of_address(now, IpAddr::from(i.to_be_bytes()))));
        }
        for (i, share) in kept.iter().enumerate() {
            assert!(Rc::ptr_eq(&share.address, &from(&quotas, &format!("10.0.1.{i}")).address));
        }
        assert!(quotas.addresses.borrow().len() < 4 * KEPT, "{}", quotas.addresses.borrow().len());
    }
}
