//! From which addresses and on which devices accounts signed in before: who tries a password there is no stranger. A device shows
//! its token, also one that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vang_chat::{AccountId, Time, TokenKey};

/// Places of one account that are remembered: the newest.
pub(super) const KNOWN_PER_ACCOUNT_MAX: usize = 32;

/// Places of all accounts that are remembered: the newest. Each takes about 300 bytes.
pub(super) const KNOWN_MAX: usize = 20_000;

/// Where somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// An IPv4 address, or an IPv6 /64. Not the network around it: that is others' too.
    Address(IpAddr),
    /// The device with this token.
    Device(TokenKey),
}

/// Each call costs steps in proportion to the logarithm of what is kept.
#[derive(Debug, Default)]
pub(super) struct KnownPlaces {
    places: BTreeMap<(AccountId, Known), Place>,
    by_age: BTreeMap<u64, (AccountId, Known)>,
    of_account: BTreeSet<(AccountId, u64)>,
    /// Of each account.
    counts: BTreeMap<AccountId, usize>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: Time,
    /// Rises with each sign-in.
    age: u64,
}

impl KnownPlaces {
    /// The account signed in there just now. The place that is forgotten for it.
    pub(super) fn remember(&mut self, who: AccountId, known: Known, at: Time) -> Option<(AccountId, Known)> {
        self.forget(who, known);
        self.next += 1;
        let age = self.next;
        self.places.insert((who, known), Place { at, age });
        self.by_age.insert(age, (who, known));
        self.of_account.insert((who, age));
        let count = self.counts.entry(who).or_default();
        *count += 1;
        let oldest = match (*count > KNOWN_PER_ACCOUNT_MAX, self.places.len() > KNOWN_MAX) {
            (true, _) => self.of_account.range((who, 0)..).next().map(|(_, age)| *age),
            (false, true) => self.by_age.first_key_value().map(|(age, _)| *age),
            (false, false) => None,
        };
        let (who, known) = *self.by_age.get(&oldest?)?;
        self.forget(who, known);
        Some((who, known))
    }

    fn forget(&mut self, who: AccountId, known: Known) {
        let Some(Place { age, .. }) = self.places.remove(&(who, known)) else { return };
        self.by_age.remove(&age);
        self.of_account.remove(&(who, age));
        if let Some(count) = self.counts.get_mut(&who) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&who);
            }
        }
    }

    /// Forgets all places of an account.
    pub(super) fn forget_all(&mut self, who: AccountId) -> Vec<Known> {
        let ages = self.of_account.range((who, 0)..=(who, u64::MAX));
        let known: Vec<Known> =
            ages.filter_map(|(_, age)| self.by_age.get(age)).map(|(_, known)| *known).collect();
        known.iter().for_each(|known| self.forget(who, *known));
        known
    }

    /// When the account signed in there last, if it is remembered.
    pub(super) fn at(&self, who: AccountId, known: Known) -> Option<Time> {
        self.places.get(&(who, known)).map(|place| place.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_accounts_together_the_newest_places_are_remembered() {
        let mut known = KnownPlaces::default();
        let home = Known::Address(IpAddr::from([192, 0, 2, 7]));
        let mut forgotten = Vec::new();
        for id in 0..KNOWN_MAX as u64 + 3 {
            forgotten.extend(known.remember(AccountId(id), home, Time(id)));
        }
        assert_eq!(forgotten, [0, 1, 2].map(|id| (AccountId(id), home)));
        let lengths = [known.places.len(), known.by_age.len(), known.of_account.len(), known.counts.len()];
        assert_eq!(lengths, [KNOWN_MAX; 4]);
    }
}
