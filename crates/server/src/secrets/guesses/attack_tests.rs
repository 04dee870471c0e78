//! Guessers, owners and many accounts, in simulated time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::check::Standing;
use super::*;

const LIMITS: GuessLimits =
    GuessLimits { threads: 1, waiting: 1_024, waiting_per_account: 32, remembered: 16_384 };

/// Of one hash: slower than any machine of ours.
const HASH_MS: u64 = 50;

fn account(number: u64) -> NameKey {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    NameKey(key)
}

/// An address of 127.0.0.0/8, each number another network.
fn network(number: u64) -> IpAddr {
    IpAddr::from([127, (number >> 8) as u8, number as u8, 1])
}

const ADA: u64 = 1;

/// A server's checks over time. Passwords are wrong, unless their id is in `right`.
struct World {
    guesses: Guesses,
    now: u64,
    ids: u64,
    running: Vec<(u64, u64)>,
    right: Vec<u64>,
    checks: BTreeMap<u64, Check>,
    /// When each check was asked, began, or was refused.
    asked: BTreeMap<u64, u64>,
    began: BTreeMap<u64, u64>,
    refused: BTreeMap<u64, (u64, u64)>,
}

impl World {
    fn new(limits: GuessLimits) -> World {
        World {
            guesses: Guesses::new(limits),
            now: 0,
            ids: 0,
            running: Vec::new(),
            right: Vec::new(),
            checks: BTreeMap::new(),
            asked: BTreeMap::new(),
            began: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    fn ask(&mut self, of: u64, from: IpAddr, standing: Standing) -> u64 {
        self.ids += 1;
        let id = self.ids;
        self.asked.insert(id, self.now);
        self.checks.insert(id, Check::new(account(of), from, standing, self.now));
        let refused = self.guesses.ask(self.now, Guess { id, account: account(of), from, standing });
        self.note(refused);
        self.turn();
        id
    }

    fn sign_in(&mut self, of: u64, from: IpAddr, standing: Standing) -> u64 {
        self.right.push(self.ids + 1);
        self.ask(of, from, standing)
    }

    fn note(&mut self, refused: Option<Refused>) {
        if let Some(Refused { id, retry_after_ms }) = refused {
            assert!((RETRY_MS..=WAIT_MS).contains(&retry_after_ms));
            assert!(!self.began.contains_key(&id), "check {id} began before");
            assert_eq!(self.refused.insert(id, (self.now, retry_after_ms)), None, "check {id}");
        }
    }

    /// Does what is to be done now, and says when there is more.
    fn turn(&mut self) -> Option<u64> {
        loop {
            match self.guesses.next(self.now) {
                Next::Run(id) => {
                    assert!(!self.refused.contains_key(&id), "check {id} was refused");
                    assert_eq!(self.began.insert(id, self.now), None, "check {id}");
                    self.running.push((self.now + HASH_MS, id));
                    assert!(self.running.len() <= self.guesses.limits.threads);
                }
                Next::Refuse(refused) => self.note(Some(refused)),
                Next::WaitUntil(at) if at <= self.now => {}
                Next::WaitUntil(at) => return Some(at),
                Next::Idle => return None,
            }
        }
    }

    fn run_until(&mut self, until: u64) {
        loop {
            let wakes_at = self.turn();
            let ends_at = self.running.iter().map(|(at, _)| *at).min();
            self.now = [wakes_at, ends_at, Some(until)].into_iter().flatten().min().unwrap_or(until);
            let (over, running) = self.running.iter().partition(|(at, _)| *at <= self.now);
            self.running = running;
            let over: Vec<(u64, u64)> = over;
            for (_, id) in over {
                let outcome = if self.right.contains(&id) { Outcome::Right } else { Outcome::Wrong };
                self.guesses.finished(self.now, id, outcome);
            }
            if self.now >= until {
                self.turn();
                return;
            }
        }
    }

    /// When it is answered, after it was asked.
    fn waited(&self, id: u64) -> Option<u64> {
        self.began.get(&id).map(|began| began + HASH_MS - self.asked[&id])
    }
}

#[test]
fn the_owner_signs_in_within_two_seconds_of_ten_thousand_guesses() {
    let here = IpAddr::from([127, 0, 0, 1]);
    for (from, standing) in [
        (here, Standing::KnownDevice(1)),
        (IpAddr::from([203, 0, 113, 9]), Standing::KnownDevice(1)),
        (IpAddr::from([127, 200, 0, 1]), Standing::KnownAddress),
        (here, Standing::SignedIn),
    ] {
        let mut world = World::new(LIMITS);
        let mut mine = Vec::new();
        for guess in 0..10_000 {
            world.run_until(guess * 3);
            let guesser = if guess % 2 == 0 { here } else { network(guess) };
            world.ask(ADA, guesser, Standing::Stranger);
            if guess % 3_000 == 2_999 {
                mine.push(world.sign_in(ADA, from, standing));
            }
        }
        world.run_until(60_000);
        for id in mine {
            let waited = world.waited(id);
            assert!(waited.is_some_and(|ms| ms <= 2_000), "{standing:?} from {from}: {waited:?}");
        }
        assert!(world.began.len() <= 100, "{} were hashed", world.began.len());
    }
}

/// The owner on a new address asks again when he was told to, and attackers in so many networks each ask once a second,
/// whatever they were told. When is he signed in?
fn signs_in_after(networks: u64, owner: IpAddr) -> u64 {
    const BEGINS: u64 = 20_000;
    let mut world = World::new(LIMITS);
    let mut mine: Option<u64> = None;
    for ms in (0..300_000).step_by(10) {
        world.run_until(ms);
        for network_of in (0..networks).filter(|number| number % 100 == ms / 10 % 100) {
            world.ask(ADA, network(network_of), Standing::Stranger);
        }
        match mine {
            _ if ms < BEGINS => {}
            None => mine = Some(world.sign_in(ADA, owner, Standing::Stranger)),
            Some(id) => {
                if world.began.contains_key(&id) {
                    return ms - BEGINS;
                }
                if world.refused.get(&id).is_some_and(|(at, after)| at + after <= ms) {
                    mine = Some(world.sign_in(ADA, owner, Standing::Stranger));
                }
            }
        }
    }
    panic!("never, with {networks} networks");
}

#[test]
fn the_owner_signs_in_from_a_new_address_during_an_attack() {
    let elsewhere = IpAddr::from([203, 0, 113, 9]);
    for (networks, most) in [(1, 100), (100, 2_000), (3_000, 2_000)] {
        let after = signs_in_after(networks, elsewhere);
        assert!(after <= most, "{networks} networks: after {after} ms");
    }
    // In the same network, where he waits for the pair.
    let after = signs_in_after(1, IpAddr::from([127, 0, 0, 99]));
    assert!(after <= WAIT_MS, "in the attacker's network: after {after} ms");
}

#[test]
fn attacks_on_many_accounts_do_not_slow_the_others() {
    let mut world = World::new(LIMITS);
    let mut mine = Vec::new();
    for guess in 0..40_000 {
        world.run_until(guess / 2);
        world.ask(100 + guess % 1_000, network(guess % 5_000), Standing::Stranger);
        if guess > 10_000 && guess % 3_000 == 0 {
            let from = IpAddr::from([203, 0, 113, (guess / 3_000) as u8]);
            mine.push(world.sign_in(guess, from, Standing::Stranger));
            mine.push(world.sign_in(guess, from, Standing::KnownDevice(1)));
        }
    }
    world.run_until(80_000);
    for id in mine {
        let waited = world.waited(id);
        assert!(waited.is_some_and(|ms| ms <= 1_000), "check {id}: {waited:?}");
    }
}

#[test]
fn an_office_behind_one_address_signs_in_at_once() {
    let mut world = World::new(LIMITS);
    let office = IpAddr::from([203, 0, 113, 9]);
    let people: Vec<u64> = (0..200).map(|who| world.sign_in(who, office, Standing::Stranger)).collect();
    world.run_until(200 * HASH_MS);
    assert!(people.iter().all(|id| world.began.contains_key(id)), "{} began", world.began.len());
}

/// When checks of wrong passwords begin that are asked all at once.
fn begin(asked: &[(u64, IpAddr)]) -> Vec<u64> {
    let mut world = World::new(GuessLimits { threads: 100, ..LIMITS });
    let ids: Vec<u64> = asked.iter().map(|&(of, from)| world.ask(of, from, Standing::Stranger)).collect();
    world.run_until(WAIT_MS);
    ids.iter().filter_map(|id| world.began.get(id).copied()).collect()
}

#[test]
fn guesses_slow_the_pair_then_the_address_then_the_account() {
    let here = network(1);
    let pair = begin(&[(ADA, here); 8]);
    assert_eq!(pair, [0, 0, 0, 0, 0, 10_000, 20_000]);
    let address: Vec<(u64, IpAddr)> = (0..24).map(|of| (of, here)).collect();
    let address = begin(&address);
    assert_eq!(address[..20], [0; 20]);
    assert_eq!(address[20..], [2_000, 4_000, 6_000, 8_000]);
    let account: Vec<(u64, IpAddr)> = (0..13).map(|number| (ADA, network(number))).collect();
    let account = begin(&account);
    assert_eq!(account[..10], [0; 10]);
    assert_eq!(account[10..], [1_000, 2_000, 3_000]);
}

#[test]
fn only_a_wrong_password_and_a_new_verifier_count() {
    for (outcome, counts) in
        [(Outcome::Right, false), (Outcome::Failed, false), (Outcome::Wrong, true), (Outcome::Made, true)]
    {
        let mut guesses = Guesses::new(LIMITS);
        let ran = (0..9).filter(|id| {
            let guess =
                Guess { id: *id, account: account(ADA), from: network(1), standing: Standing::Stranger };
            assert_eq!(guesses.ask(0, guess), None);
            let is_run = guesses.next(0) == Next::Run(*id);
            guesses.finished(0, *id, outcome);
            is_run
        });
        assert_eq!(ran.count(), if counts { 5 } else { 9 }, "{outcome:?}");
    }
}

#[test]
fn addresses_of_a_network_share_its_pace_and_ipv6_hosts_are_networks() {
    let of_network = |host: u8| IpAddr::from([198, 51, 100, host]);
    let asked: Vec<(u64, IpAddr)> = (0..6).map(|host| (ADA, of_network(host))).collect();
    assert_eq!(begin(&asked), [0, 0, 0, 0, 0, 10_000]);
    let v6 = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, host, host]);
    let asked: Vec<(u64, IpAddr)> = (0..6).map(|host| (ADA, v6(host))).collect();
    assert_eq!(begin(&asked), [0, 0, 0, 0, 0, 10_000]);
    let mapped = |host: u16| IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc633, 0x6400 + host]);
    let asked: Vec<(u64, IpAddr)> = (0..6)
        .map(|host| (ADA, if host % 2 == 0 { mapped(host.into()) } else { of_network(host) }))
        .collect();
    assert_eq!(begin(&asked), [0, 0, 0, 0, 0, 10_000]);
}

#[test]
fn the_networks_of_a_queue_take_turns() {
    let mut world = World::new(LIMITS);
    for number in 0..30 {
        world.ask(ADA, network(100 + number), Standing::Stranger);
    }
    world.run_until(WAIT_MS + 1_000);
    let from = world.now;
    // One has five, the others one each, and it came first.
    let many: Vec<u64> = (0..5).map(|_| world.ask(ADA, network(1), Standing::Stranger)).collect();
    let few: Vec<u64> = (2..5).map(|number| world.ask(ADA, network(number), Standing::Stranger)).collect();
    world.run_until(from + 9_000);
    let mut order: Vec<u64> = many.iter().chain(&few).copied().collect();
    order.sort_by_key(|id| world.began[id]);
    let place = |id: &u64| order.iter().position(|other| other == id);
    for one in &few {
        assert!(place(one) < place(&many[1]), "{order:?}");
    }
}

#[test]
fn a_guesser_on_one_device_does_not_stop_another() {
    let mut world = World::new(LIMITS);
    let here = network(1);
    for _ in 0..100 {
        world.ask(ADA, here, Standing::KnownDevice(1));
        world.ask(ADA, here, Standing::KnownAddress);
    }
    let mine = world.sign_in(ADA, here, Standing::KnownDevice(2));
    world.run_until(WAIT_MS);
    assert!(world.waited(mine).is_some_and(|ms| ms <= 3 * HASH_MS), "{:?}", world.waited(mine));
}

#[test]
fn known_devices_leave_every_fourth_check_to_strangers() {
    let mut world = World::new(LIMITS);
    for of in 0..100 {
        world.sign_in(of, network(of), Standing::KnownDevice(1));
    }
    let stranger = world.sign_in(ADA, network(1), Standing::Stranger);
    world.run_until(WAIT_MS);
    assert!(world.waited(stranger).is_some_and(|ms| ms <= 5 * HASH_MS), "{:?}", world.waited(stranger));
}

#[test]
fn who_is_gone_is_not_hashed() {
    let mut world = World::new(LIMITS);
    let ids: Vec<u64> = (0..20).map(|number| world.ask(ADA, network(number), Standing::Stranger)).collect();
    for id in &ids[10..] {
        world.guesses.gone(*id);
    }
    world.run_until(60_000);
    assert!(ids[10..].iter().all(|id| !world.began.contains_key(id) && !world.refused.contains_key(id)));
    assert_eq!(world.began.len(), 10);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Ask { of: u64, network: u64, host: u8, standing: Standing, is_right: bool },
    Pass(u64),
    Gone(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let standing = prop_oneof![
        8 => Just(Standing::Stranger),
        1 => Just(Standing::KnownAddress),
        1 => (0..3_u64).prop_map(Standing::KnownDevice),
        1 => Just(Standing::SignedIn),
    ];
    let ask = (0..4_u64, 0..6_u64, 0..3_u8, standing, prop::bool::weighted(0.2));
    prop_oneof![
        12 => ask.prop_map(|(of, network, host, standing, is_right)| Step::Ask { of, network, host, standing, is_right }),
        3 => (0..100_u64).prop_map(Step::Pass),
        1 => (0..2_000_u64).prop_map(Step::Pass),
        1 => any::<prop::sample::Index>().prop_map(Step::Gone),
    ]
}

#[test]
fn how_many_can_wait_may_change_while_some_wait() {
    let mut world = World::new(GuessLimits { waiting: 1, ..LIMITS });
    // One runs, one waits, and one has no room.
    for n in 0..3 {
        world.ask(n, network(n), Standing::Stranger);
    }
    assert_eq!((world.began.len(), world.refused.len()), (1, 1));
    world.guesses.set_waiting(GuessLimits { threads: 9, waiting: 3, remembered: 16, ..LIMITS });
    for n in 3..5 {
        world.ask(n, network(n), Standing::Stranger);
    }
    assert_eq!((world.began.len(), world.refused.len()), (1, 1), "no more threads than there are");
    world.guesses.set_waiting(GuessLimits { waiting: 1, ..LIMITS });
    world.ask(5, network(5), Standing::Stranger);
    assert_eq!((world.began.len(), world.refused.len()), (1, 2));
    world.run_until(WAIT_MS);
    assert_eq!((world.began.len(), world.refused.len()), (4, 2), "those that waited stayed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_check_ends_in_time_within_all_bounds(
        steps in prop::collection::vec(step(), 1..600),
        (threads, waiting, per_account, remembered) in (1..4_usize, 1..200_usize, 1..40_usize, 1..8_usize),
    ) {
        let limits = GuessLimits { threads, waiting, waiting_per_account: per_account, remembered };
        let mut world = World::new(limits);
        let mut gone = Vec::new();
        for step in steps {
            match step {
                Step::Ask { of, network: number, host, standing, is_right } => {
                    let IpAddr::V4(ip) = network(number) else { unreachable!() };
                    let [a, b, c, _] = ip.octets();
                    let from = IpAddr::from([a, b, c, host]);
                    match is_right {
                        true => world.sign_in(of, from, standing),
                        false => world.ask(of, from, standing),
                    };
                }
                Step::Pass(ms) => world.run_until(world.now + ms),
                Step::Gone(which) if world.ids > 0 => {
                    let id = 1 + which.index(world.ids as usize) as u64;
                    world.guesses.gone(id);
                    gone.push(id);
                }
                Step::Gone(_) => {}
            }
            let guesses = &world.guesses;
            for line in [&guesses.known, &guesses.strangers] {
                prop_assert!(line.queues.total() <= waiting);
                prop_assert!(line.queues.longest().is_none_or(|(longest, _)| longest <= per_account));
                prop_assert_eq!(line.places.len(), line.ready.len() + line.later.len());
            }
            let kept = [guesses.pairs.len(), guesses.known_lanes.len(), guesses.addresses.len(), guesses.accounts.len()];
            prop_assert!(kept.iter().all(|kept| *kept <= remembered), "{:?}", kept);
        }
        world.run_until(world.now + WAIT_MS);
        prop_assert!(world.guesses.waiting.is_empty() && world.guesses.by_age.is_empty());
        for (id, asked) in &world.asked {
            let ended = world.began.get(id).or_else(|| world.refused.get(id).map(|(at, _)| at));
            prop_assert!(ended.is_some() || gone.contains(id), "check {} did not end", id);
            prop_assert!(ended.is_none_or(|at| *at <= asked + WAIT_MS), "check {}: {:?}", id, ended);
        }
        // However little is remembered: never more than the buckets have.
        let mut buckets: BTreeMap<Bucket, Vec<u64>> = BTreeMap::new();
        for (id, at) in &world.began {
            let Check { account, kind, lane, address, .. } = world.checks[id];
            if kind == Kind::Stranger {
                buckets.entry(Bucket::Account(account)).or_default().push(*at);
            }
            if !world.right.contains(id) {
                buckets.entry(Bucket::Lane(account, lane)).or_default().push(*at);
                if kind == Kind::Stranger {
                    buckets.entry(Bucket::Address(address)).or_default().push(*at);
                }
            }
        }
        for (bucket, mut began) in buckets {
            let (burst, token_ms) = match bucket {
                Bucket::Account(_) => (ACCOUNT_BURST, ACCOUNT_MS),
                Bucket::Lane(..) => (LANE_BURST, LANE_MS),
                Bucket::Address(_) => (ADDRESS_BURST, ADDRESS_MS),
            };
            began.sort_unstable();
            for (first, at) in began.iter().enumerate() {
                let within = began[first..].iter().filter(|other| **other < at + 3 * token_ms).count() as u64;
                prop_assert!(within <= burst + 3, "{:?}: {} from {} ms on", bucket, within, at);
            }
        }
    }
}

/// From what a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bucket {
    Account(NameKey),
    Lane(NameKey, Lane),
    Address(IpAddr),
}
