//! Which password is checked when. A check costs tens of milliseconds of a processor, so somebody who guesses takes time
//! from others, besides finding passwords. Pure: no clock, no I/O; time is an argument.
//!
//! ```text
//!            ┌ known device, address ─▶ lane: 5, then one in 10 s ───────────────────────────────┐
//! Guess ─────┤                                                                                   ├─▶ thread
//!            └ stranger ─▶ (account, network): 5, then one in 10 s ─▶ address: 20, then one in 2 s ─▶ account: 10, then 1/s
//! ```
//!
//! - **Who guesses is slowed where he is**: first the pair of account and network (an IPv4 /24, an IPv6 /64), then the
//!   address for all accounts together (of IPv6 the /64, which one host has to itself), then the account for all strangers
//!   together. Each is a bucket of tokens (`buckets.rs`); a check takes one of each when it begins. A right password gives
//!   back those of pair and address, so that an office behind one address signs in at nine. Loopback is as any other address.
//! - **Who signed in before goes first**: a known device, or a known address, has a lane of its own for each account, which
//!   neither strangers nor other lanes can fill, and waits for no bucket but its own. A known device may come from where the
//!   guesses come from. A right password gives back all but a second, so that people with many devices cannot take all the
//!   time. While strangers wait too, every fourth check is one of theirs.
//! - **Nobody is locked out.** In an account's queue the network goes first that was checked least lately, then the one that
//!   asked least lately (`asked.rs`), then so the addresses, then who came first. Where too many wait, the one who waits and
//!   has most behind him gives way to a newcomer who has less. So somebody on a new address signs in during an attack as soon
//!   as the attackers have asked more often than he has.
//! - **Accounts take turns**, and when there is more to hash than the threads can, those for which strangers asked least
//!   lately go first: attacks on many accounts do not slow the others.
//! - **Every check is run or refused** within `WAIT_MS`, and all that is kept is bounded by `GuessLimits`.
//!
//! A check whose answer nobody knows yet counts as wrong: many at once gain nothing.

pub(crate) mod check; // a check, and from which buckets it takes
mod buckets; // tokens by key
mod groups; // what waits, by key
mod line; // the accounts for which checks wait, in their order
mod asked; // about how often a network asked for an account

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vang_chat::NameKey;

use self::asked::Asked;
use self::buckets::Buckets;
use self::check::{Check, Guess, Kind, Lane};
use self::groups::Groups;
use self::line::{Line, Place};

/// How long a check may wait for its turn, ms: 30 s. Then its client is answered `busy`, and may ask again.
pub(crate) const WAIT_MS: u64 = 30_000;

/// Wrong passwords of one network for one account, and of each known device or address, at once: people mistype.
const LANE_BURST: u64 = 5;

/// Time until it may try once more, ms: 10 s; 8,640 guesses a day.
const LANE_MS: u64 = 10_000;

/// Wrong passwords of one address for all accounts, at once: several people behind one router, who all mistype.
const ADDRESS_BURST: u64 = 20;

/// Time until it may try once more, ms.
const ADDRESS_MS: u64 = 2_000;

/// Checks of strangers for one account, at once.
const ACCOUNT_BURST: u64 = 10;

/// Time between two checks of strangers for one account, ms: one a second, however many guess.
const ACCOUNT_MS: u64 = 1_000;

// Whoever is first in his lane has his turn before he is refused.
const _: () = assert!(LANE_MS < WAIT_MS && ADDRESS_MS < WAIT_MS && ACCOUNT_MS < LANE_MS);

/// How far an account stands back for each time that strangers asked for it lately, ms; at most `WAIT_MS`. While there are
/// threads enough it changes nothing: who has his turn is run.
const STAND_BACK_MS: u64 = 1_000;

/// Checks of known lanes in a row while strangers wait.
const KNOWN_IN_A_ROW: u32 = 3;

/// Queues that are looked at in one call. The rest is looked at in the next one.
const LOOKS_AT_ONCE: usize = 8;

/// The shortest time after which a refused client is told to ask again, ms.
const RETRY_MS: u64 = 1_000;

/// Bounds; see `limits.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuessLimits {
    /// Checks that run at once: threads of the pool.
    pub(crate) threads: usize,
    /// Checks that wait, of strangers and of known ones each.
    pub(crate) waiting: usize,
    /// Of those, for one account.
    pub(crate) waiting_per_account: usize,
    /// Accounts, pairs, addresses and known lanes of which it is kept that they lack tokens, of each.
    pub(crate) remembered: usize,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Right,
    Wrong,
    /// A new verifier was made: it costs as much as a wrong password.
    Made,
    /// It could not be checked: it counts as a right one.
    Failed,
}

/// A check that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) id: u64,
    /// When to ask again: `busy` with `retry-after`.
    pub(crate) retry_after_ms: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Give it to the pool.
    Run(u64),
    Refuse(Refused),
    /// Nothing until then; it can be now, when there is more to look at than one call does.
    WaitUntil(u64),
    Idle,
}

/// How much a check has behind it: the one with most gives way, the one with least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    /// Tokens that the lane lacks.
    lane_ms: u64,
    lane_asked: u16,
    address_asked: u16,
    /// Tokens that the address lacks, for whatever account.
    address_ms: u64,
}

/// Decides which check runs when. `ask`, `next`, `finished` and `gone` cost steps in proportion to the logarithm of what is
/// kept and to the checks that wait for one account: 11 µs for one more at a full queue of 32, in a build for tests.
#[derive(Debug)]
pub(crate) struct Guesses {
    limits: GuessLimits,
    waiting: BTreeMap<u64, Check>,
    running: BTreeMap<u64, Check>,
    known: Line,
    strangers: Line,
    /// Strangers by address.
    by_address: Groups<IpAddr>,
    by_age: BTreeSet<(u64, u64)>,
    known_lanes: Buckets<(NameKey, Lane)>,
    pairs: Buckets<(NameKey, Lane)>,
    addresses: Buckets<IpAddr>,
    accounts: Buckets<NameKey>,
    asked: Asked,
    known_in_a_row: u32,
}

impl Guesses {
    pub(crate) fn new(limits: GuessLimits) -> Guesses {
        let keys_max = limits.remembered;
        Guesses {
            limits,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            known: Line::new(),
            strangers: Line::new(),
            by_address: Groups::new(),
            by_age: BTreeSet::new(),
            known_lanes: Buckets::new(LANE_BURST, LANE_MS, keys_max),
            pairs: Buckets::new(LANE_BURST, LANE_MS, keys_max),
            addresses: Buckets::new(ADDRESS_BURST, ADDRESS_MS, keys_max),
            accounts: Buckets::new(ACCOUNT_BURST, ACCOUNT_MS, keys_max),
            asked: Asked::new(),
            known_in_a_row: 0,
        }
    }

    /// Sets how many checks can wait. Those that wait stay; the other limits are those of the start.
    pub(crate) fn set_waiting(&mut self, limits: GuessLimits) {
        self.limits =
            GuessLimits { threads: self.limits.threads, remembered: self.limits.remembered, ..limits };
    }

    /// Puts a check in; `next` says when it runs. What is answered is a check that there is no room for: this one, or one that
    /// waited and gives way to it.
    pub(crate) fn ask(&mut self, now: u64, guess: Guess) -> Option<Refused> {
        let Guess { id, account, from, standing } = guess;
        let check = Check::new(account, from, standing, now);
        self.asked.pass(now);
        if check.kind == Kind::Stranger {
            self.asked.count(account, ());
            self.asked.count(account, check.lane);
            self.asked.count(account, Lane::Address(check.address));
        }
        let line = self.line(check.kind);
        let is_account_full = line.queues.of(account).len() >= self.limits.waiting_per_account;
        let is_full = line.queues.total() >= self.limits.waiting;
        let gives_way = match (is_account_full, is_full) {
            (true, _) => self.more_loaded(now, &check),
            (false, true) => self.of_a_longer_queue(now, &check),
            (false, false) => None,
        };
        if (is_account_full || is_full) && gives_way.is_none() {
            // The account was asked for once more: others who wait for it stand back.
            self.place(now, check.kind, account);
            return Some(Refused { id, retry_after_ms: self.retry_after(now, &check) });
        }
        let refused = gives_way.and_then(|other| {
            let gone = self.take_out(other)?;
            Some(Refused { id: other, retry_after_ms: self.retry_after(now, &gone) })
        });
        self.waiting.insert(id, check);
        self.by_age.insert((now, id));
        self.line_mut(check.kind).queues.push(account, id);
        if check.kind == Kind::Stranger {
            self.by_address.push(check.address, id);
        }
        self.place(now, check.kind, account);
        refused
    }

    /// What to do next. To be called until it says `WaitUntil` or `Idle`, after each of the other calls and when the time
    /// that it said has come.
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if let Some(&(came, id)) = self.by_age.first()
            && now.saturating_sub(came) >= WAIT_MS
            && let Some(check) = self.take_out(id)
        {
            return Next::Refuse(Refused { id, retry_after_ms: self.retry_after(now, &check) });
        }
        let mut wakes_at = self.by_age.first().map(|(came, _)| came.saturating_add(WAIT_MS));
        if self.running.len() < self.limits.threads {
            let kinds = match self.known_in_a_row < KNOWN_IN_A_ROW {
                true => [Kind::Known, Kind::Stranger],
                false => [Kind::Stranger, Kind::Known],
            };
            for kind in kinds {
                if let Some(id) = self.take_turn(now, kind) {
                    return Next::Run(id);
                }
            }
            for line in [&self.known, &self.strangers] {
                let ready = line.ready.first().map(|_| now);
                let at = ready.or(line.later.first().map(|(at, _)| *at));
                wakes_at = [wakes_at, at].into_iter().flatten().min();
            }
        }
        wakes_at.map_or(Next::Idle, Next::WaitUntil)
    }

    /// A check that ran is over.
    pub(crate) fn finished(&mut self, now: u64, id: u64, outcome: Outcome) {
        let Some(Check { account, kind, lane, address, .. }) = self.running.remove(&id) else { return };
        let is_wrong = match outcome {
            Outcome::Wrong | Outcome::Made => true,
            Outcome::Right | Outcome::Failed => false,
        };
        match kind {
            _ if is_wrong => {}
            Kind::Known => self.known_lanes.give_back((account, lane), now, LANE_MS - ACCOUNT_MS),
            Kind::Stranger => {
                self.pairs.give_back((account, lane), now, LANE_MS);
                self.addresses.give_back(address, now, ADDRESS_MS);
            }
        }
        self.place(now, kind, account);
    }

    /// Who asked is gone: what waits is dropped. What runs goes on, and counts.
    pub(crate) fn gone(&mut self, id: u64) {
        self.take_out(id);
    }

    /// Checks that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn line(&self, kind: Kind) -> &Line {
        match kind {
            Kind::Known => &self.known,
            Kind::Stranger => &self.strangers,
        }
    }

    fn line_mut(&mut self, kind: Kind) -> &mut Line {
        match kind {
            Kind::Known => &mut self.known,
            Kind::Stranger => &mut self.strangers,
        }
    }

    /// Takes one out that waits.
    fn take_out(&mut self, id: u64) -> Option<Check> {
        let check = self.waiting.remove(&id)?;
        self.by_age.remove(&(check.came, id));
        let line = self.line_mut(check.kind);
        line.queues.remove(check.account, id);
        if line.queues.of(check.account).is_empty() {
            line.put(check.account, None);
        }
        if check.kind == Kind::Stranger {
            self.by_address.remove(check.address, id);
        }
        Some(check)
    }

    /// Takes the check whose turn it is, and its tokens.
    fn take_turn(&mut self, now: u64, kind: Kind) -> Option<u64> {
        for _ in 0..LOOKS_AT_ONCE {
            match self.line(kind).later.first() {
                Some(&(at, account)) if at <= now => self.place(now, kind, account),
                _ => break,
            }
        }
        for _ in 0..LOOKS_AT_ONCE {
            let &(_, account) = self.line(kind).ready.first()?;
            let ids = self.line(kind).queues.of(account);
            let of_id = |id: &u64| self.waiting.get(id).map(|check| (*id, check));
            let ready = ids.iter().filter_map(of_id).filter(|(_, check)| self.ready_at(check) <= now);
            let Some((id, _)) = ready.min_by_key(|(id, check)| (self.load(now, check), *id)) else {
                // Others took the address's tokens meanwhile.
                self.place(now, kind, account);
                continue;
            };
            let check = self.take_out(id)?;
            match kind {
                Kind::Known => self.known_lanes.take((account, check.lane), now),
                Kind::Stranger => {
                    self.pairs.take((account, check.lane), now);
                    self.addresses.take(check.address, now);
                    self.accounts.take(account, now);
                }
            }
            self.known_in_a_row = match kind {
                Kind::Known => self.known_in_a_row.saturating_add(1),
                Kind::Stranger => 0,
            };
            self.running.insert(id, check);
            // Its next turn is a new one, behind those who wait.
            self.line_mut(kind).put(account, None);
            self.place(now, kind, account);
            return Some(id);
        }
        None
    }

    /// Finds the place of an account's queue anew.
    fn place(&mut self, now: u64, kind: Kind, account: NameKey) {
        let line = self.line(kind);
        let checks = line.queues.of(account).iter().filter_map(|id| self.waiting.get(id));
        let place = checks.map(|check| self.ready_at(check)).min().map(|at| {
            if at > now {
                return Place::Later(at);
            }
            let since = match line.places.get(&account) {
                Some(Place::Ready { since, .. }) => *since,
                Some(Place::Later(_)) | None => now,
            };
            let back_ms = match kind {
                Kind::Known => 0,
                Kind::Stranger => (u64::from(self.asked.often(account, ())) * STAND_BACK_MS).min(WAIT_MS),
            };
            Place::Ready { since, turn: since.saturating_add(back_ms) }
        });
        self.line_mut(kind).put(account, place);
    }

    /// From when on there are tokens for it.
    fn ready_at(&self, check: &Check) -> u64 {
        let Check { account, kind, lane, address, .. } = *check;
        match kind {
            Kind::Known => self.known_lanes.ready_at((account, lane)),
            Kind::Stranger => {
                let pair = self.pairs.ready_at((account, lane));
                pair.max(self.addresses.ready_at(address)).max(self.accounts.ready_at(account))
            }
        }
    }

    /// What it lacks, without others that wait.
    fn load(&self, now: u64, check: &Check) -> Load {
        let Check { account, kind, lane, address, .. } = *check;
        match kind {
            Kind::Known => {
                let lane_ms = self.known_lanes.missing_ms((account, lane), now);
                Load { lane_ms, lane_asked: 0, address_asked: 0, address_ms: 0 }
            }
            Kind::Stranger => Load {
                lane_ms: self.pairs.missing_ms((account, lane), now),
                lane_asked: self.asked.often(account, lane),
                address_asked: self.asked.often(account, Lane::Address(address)),
                address_ms: self.addresses.missing_ms(address, now),
            },
        }
    }

    /// The newest of those that wait for this account and have most behind them, if that is more than this one has.
    fn more_loaded(&self, now: u64, check: &Check) -> Option<u64> {
        let ids = self.line(check.kind).queues.of(check.account).iter();
        let others: Vec<(u64, &Check)> =
            ids.filter_map(|id| self.waiting.get(id).map(|other| (*id, other))).collect();
        let mut of_lane = BTreeMap::from([(check.lane, 1_u64)]);
        for (_, other) in &others {
            *of_lane.entry(other.lane).or_default() += 1;
        }
        // With those of its lane that wait.
        let load = |one: &Check, of_lane: u64| {
            let load = self.load(now, one);
            Load { lane_ms: load.lane_ms.saturating_add(of_lane.saturating_mul(LANE_MS)), ..load }
        };
        let mine = of_lane[&check.lane];
        let of_other = |other: &Check| of_lane[&other.lane] - u64::from(other.lane == check.lane);
        let (most, id) = others.iter().map(|(id, other)| (load(other, of_other(other)), *id)).max()?;
        (most > load(check, mine)).then_some(id)
    }

    /// One that gives way where too many wait in all: of the address that has most waiting, or else of the account, if that
    /// has more than this one's would have.
    fn of_a_longer_queue(&self, now: u64, check: &Check) -> Option<u64> {
        if check.kind == Kind::Stranger {
            let here = self.by_address.of(check.address).len();
            if let Some((most, address)) = self.by_address.longest()
                && most > here + 1
            {
                return self.by_address.of(address).last().copied();
            }
        }
        let line = self.line(check.kind);
        let here = line.queues.of(check.account).len();
        let (most, account) = line.queues.longest()?;
        if most <= here + 1 {
            return None;
        }
        let ids = line.queues.of(account).iter();
        let others = ids.filter_map(|id| self.waiting.get(id).map(|other| (self.load(now, other), *id)));
        others.max().map(|(_, id)| id)
    }

    fn retry_after(&self, now: u64, check: &Check) -> u64 {
        let before = self.line(check.kind).queues.of(check.account).len() as u64;
        let wait = self.ready_at(check).saturating_sub(now).saturating_add(before.saturating_mul(ACCOUNT_MS));
        wait.clamp(RETRY_MS, WAIT_MS)
    }
}

#[cfg(test)]
mod attack_tests; // guessers, owners and many accounts, in simulated time
