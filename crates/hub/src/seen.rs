//! What was seen of accounts and tokens: when and from where they signed in last, who failed to, and from which addresses and
//! on which devices they signed in before. It is not in the journal: the driver keeps it in `seen.db`, and without that file only
//! this is forgotten.
//!
//! ```text
//! seen.db ──load──▶ Seen ──due: each changed row, at most once a minute──▶ seen.db
//! ```

mod known; // from where and on which devices accounts signed in before
mod due; // when a changed row is written

use std::collections::BTreeMap;
use std::net::IpAddr;

use vang_chat::{AccountId, Time, TokenId};

use self::due::Due;
pub use self::known::Known;
use self::known::KnownPlaces;

/// Failed sign-ins are counted up to here.
pub(crate) const FAILED_MAX: u64 = 1_000_000;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// What is compared: an IPv4 address, or the /64 network of an IPv6 address. All connections without an address have the same.
    pub host: IpAddr,
    /// `None`: it has none, as on a Unix socket, or it is not known.
    pub ip: Option<IpAddr>,
}

/// When, and from which address if it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub at: Time,
    pub ip: Option<IpAddr>,
}

/// Wrong passwords since the last sign-in with the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// At most `FAILED_MAX`.
    pub count: u64,
    pub last: Sighting,
}

/// What was seen of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountSeen {
    /// When a connection last spoke as it.
    pub last: Option<Sighting>,
    pub failed: Option<Failed>,
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeenKey {
    Account(AccountId),
    Token(AccountId, TokenId),
    Known(AccountId, Known),
}

/// A row, as it is written and loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenRow {
    Account(AccountId, AccountSeen),
    Token(AccountId, TokenId, Sighting),
    /// The account signed in from there or there on before, last at this time.
    Known(AccountId, Known, Time),
    /// The row is to be removed.
    Gone(SeenKey),
}

impl SeenRow {
    fn key(&self) -> SeenKey {
        match *self {
            SeenRow::Account(who, _) => SeenKey::Account(who),
            SeenRow::Token(who, id, _) => SeenKey::Token(who, id),
            SeenRow::Known(who, known, _) => SeenKey::Known(who, known),
            SeenRow::Gone(key) => key,
        }
    }
}

/// Each call costs steps in proportion to the logarithm of what is kept, unless it says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    accounts: BTreeMap<AccountId, AccountSeen>,
    /// When each token was last used. There are at most as many as tokens in the state.
    tokens: BTreeMap<(AccountId, TokenId), Sighting>,
    known: KnownPlaces,
    due: Due<SeenKey>,
}

impl Seen {
    /// Takes rows of an earlier process, in any order; those that are not `in_force` are removed. Once, before anything is noted.
    pub(crate) fn load(&mut self, mut rows: Vec<SeenRow>, is_in_force: impl Fn(&SeenKey) -> bool) {
        rows.sort_by_key(|row| match row {
            SeenRow::Known(_, _, at) => *at,
            _ => Time(0),
        });
        for row in rows {
            let key = row.key();
            if !is_in_force(&key) {
                self.due.note(key);
                continue;
            }
            match row {
                SeenRow::Account(who, seen) => drop(self.accounts.insert(who, seen)),
                SeenRow::Token(who, id, used) => drop(self.tokens.insert((who, id), used)),
                SeenRow::Known(who, known, at) => self.remember(who, known, at),
                SeenRow::Gone(_) => {}
            }
        }
    }

    /// A connection speaks as the account, or did until now; with which token, if with one.
    pub(crate) fn note_seen(&mut self, who: AccountId, token: Option<TokenId>, seen: Sighting) {
        self.accounts.entry(who).or_default().last = Some(seen);
        self.due.note(SeenKey::Account(who));
        if let Some(id) = token {
            self.tokens.insert((who, id), seen);
            self.due.note(SeenKey::Token(who, id));
        }
    }

    /// The account signed in from there, or there on.
    pub(crate) fn note_known(&mut self, who: AccountId, known: Known, at: Time) {
        self.remember(who, known, at);
        self.due.note(SeenKey::Known(who, known));
    }

    fn remember(&mut self, who: AccountId, known: Known, at: Time) {
        if let Some((who, known)) = self.known.remember(who, known, at) {
            self.due.note(SeenKey::Known(who, known));
        }
    }

    pub(crate) fn is_known(&self, who: AccountId, known: Known) -> bool {
        self.known.at(who, known).is_some()
    }

    /// Somebody gave a wrong password for the account.
    pub(crate) fn note_failed(&mut self, who: AccountId, last: Sighting) {
        let failed = &mut self.accounts.entry(who).or_default().failed;
        let count = failed.map_or(0, |failed| failed.count);
        *failed = Some(Failed { count: (count + 1).min(FAILED_MAX), last });
        self.due.note(SeenKey::Account(who));
    }

    /// The owner is told, and what fails from here on is counted anew.
    pub(crate) fn take_failed(&mut self, who: AccountId) -> Option<Failed> {
        let failed = self.accounts.get_mut(&who)?.failed.take();
        if failed.is_some() {
            self.due.note(SeenKey::Account(who));
        }
        failed
    }

    pub(crate) fn account(&self, who: AccountId) -> AccountSeen {
        self.accounts.get(&who).copied().unwrap_or_default()
    }

    pub(crate) fn token(&self, who: AccountId, id: TokenId) -> Option<Sighting> {
        self.tokens.get(&(who, id)).copied()
    }

    /// Forgets the account's tokens that have ended. It looks at those of this account, which are bounded.
    pub(crate) fn forget_tokens(&mut self, who: AccountId, is_ended: impl Fn(TokenId) -> bool) {
        let of_account = self.tokens.range((who, TokenId(0))..=(who, TokenId(u64::MAX)));
        let ended: Vec<TokenId> = of_account.map(|((_, id), _)| *id).filter(|id| is_ended(*id)).collect();
        for id in ended {
            self.tokens.remove(&(who, id));
            self.due.note(SeenKey::Token(who, id));
        }
    }

    /// Forgets all of a deleted account. It looks at its tokens and places, which are bounded.
    pub(crate) fn forget(&mut self, who: AccountId) {
        self.forget_tokens(who, |_| true);
        for known in self.known.forget_all(who) {
            self.due.note(SeenKey::Known(who, known));
        }
        self.accounts.remove(&who);
        self.due.note(SeenKey::Account(who));
    }

    /// Rows that are to be written now, at most `ROWS_AT_ONCE`. `now` is steady, in ms.
    pub(crate) fn due(&mut self, now: u64) -> Vec<SeenRow> {
        let keys = self.due.take(now);
        self.rows(&keys)
    }

    /// All that is not written yet: at the end.
    pub(crate) fn rest(&mut self) -> Vec<SeenRow> {
        let keys = self.due.take_rest();
        self.rows(&keys)
    }

    fn rows(&self, keys: &[SeenKey]) -> Vec<SeenRow> {
        keys.iter().map(|key| self.row(*key).unwrap_or(SeenRow::Gone(*key))).collect()
    }

    fn row(&self, key: SeenKey) -> Option<SeenRow> {
        match key {
            SeenKey::Account(who) => self.accounts.get(&who).map(|seen| SeenRow::Account(who, *seen)),
            SeenKey::Token(who, id) => self.token(who, id).map(|used| SeenRow::Token(who, id, used)),
            SeenKey::Known(who, known) => self.known.at(who, known).map(|at| SeenRow::Known(who, known, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::TokenKey;

    use super::due::{ROW_MS, ROWS_AT_ONCE};
    use super::known::KNOWN_PER_ACCOUNT_MAX;
    use super::*;

    const ADA: AccountId = AccountId(2);
    const PHONE: TokenId = TokenId(9);

    fn at(time: u64) -> Sighting {
        Sighting { at: Time(time), ip: Some(IpAddr::from([192, 0, 2, 7])) }
    }

    /// What was written, in a file that an earlier process left.
    fn write(file: &mut BTreeMap<SeenKey, SeenRow>, rows: Vec<SeenRow>) {
        for row in rows {
            match row {
                SeenRow::Gone(key) => drop(file.remove(&key)),
                row => drop(file.insert(row.key(), row)),
            }
        }
    }

    fn loaded(file: &BTreeMap<SeenKey, SeenRow>) -> Seen {
        let mut seen = Seen::default();
        seen.load(file.values().copied().collect(), |_| true);
        seen
    }

    #[test]
    fn what_was_seen_is_the_same_after_a_restart() {
        let (mut seen, mut file) = (Seen::default(), BTreeMap::new());
        let home = Known::Address(IpAddr::from([192, 0, 2, 7]));
        let phone = Known::Device(TokenKey([7; 32]));
        seen.note_seen(ADA, Some(PHONE), at(5));
        seen.note_known(ADA, home, Time(5));
        seen.note_known(ADA, phone, Time(5));
        (6..9).for_each(|time| seen.note_failed(ADA, at(time)));
        write(&mut file, seen.due(0));
        let mut again = loaded(&file);
        assert_eq!((again.account(ADA), again.token(ADA, PHONE)), (seen.account(ADA), Some(at(5))));
        assert!(again.is_known(ADA, home) && again.is_known(ADA, phone));
        assert!(!again.is_known(AccountId(3), home));
        assert_eq!(again.take_failed(ADA), Some(Failed { count: 3, last: at(8) }));
        assert_eq!((again.take_failed(ADA), again.account(ADA).last), (None, Some(at(5))));
        // What was loaded is not written again; what was told is.
        assert_eq!(again.due(0), [SeenRow::Account(ADA, again.account(ADA))]);
    }

    #[test]
    fn a_row_is_written_at_most_once_a_minute_and_has_its_newest_value_then() {
        let (mut seen, mut writes) = (Seen::default(), Vec::new());
        for now in (0..5 * ROW_MS).step_by(100) {
            seen.note_seen(ADA, None, at(now));
            writes.extend(seen.due(now).into_iter().map(|row| (now, row)));
        }
        let expected = (0..5).map(|minute| {
            let now = minute * ROW_MS;
            let last = Some(at(now));
            (now, SeenRow::Account(ADA, AccountSeen { last, failed: None }))
        });
        assert_eq!(writes, expected.collect::<Vec<_>>());
        // The last change of all is written at the end.
        let last = Some(at(5 * ROW_MS - 100));
        assert_eq!(seen.rest(), [SeenRow::Account(ADA, AccountSeen { last, failed: None })]);
        assert_eq!(seen.rest(), []);
    }

    #[test]
    fn tokens_that_ended_and_rows_of_others_are_removed() {
        let (mut seen, mut file) = (Seen::default(), BTreeMap::new());
        for id in 1..=3 {
            seen.note_seen(ADA, Some(TokenId(id)), at(id));
            seen.note_seen(AccountId(3), Some(TokenId(10 + id)), at(id));
        }
        write(&mut file, seen.due(0));
        seen.forget_tokens(ADA, |id| id != TokenId(2));
        assert_eq!((seen.token(ADA, TokenId(1)), seen.token(ADA, TokenId(2))), (None, Some(at(2))));
        write(&mut file, seen.rest());
        assert_eq!(file.len(), 2 + 1 + 3);
        let mut again = Seen::default();
        again.load(file.values().copied().collect(), |key| !matches!(key, SeenKey::Token(AccountId(3), _)));
        write(&mut file, again.due(0));
        assert_eq!(file.len(), 2 + 1);
    }

    #[test]
    fn an_account_has_its_newest_places_and_others_keep_theirs() {
        let (mut seen, mut file) = (Seen::default(), BTreeMap::new());
        let place = |n: u8| Known::Address(IpAddr::from([192, 0, 2, n]));
        let most = KNOWN_PER_ACCOUNT_MAX as u8;
        seen.note_known(AccountId(3), place(0), Time(0));
        for n in 0..=most {
            seen.note_known(ADA, place(n), Time(u64::from(n)));
            // It is used all the time.
            seen.note_known(ADA, place(0), Time(u64::from(n)));
        }
        write(&mut file, seen.due(0));
        for seen in [seen, loaded(&file)] {
            let known = (0..=most).filter(|n| seen.is_known(ADA, place(*n)));
            let expected = (0..=most).filter(|n| *n != 1);
            assert_eq!(known.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            assert!(seen.is_known(AccountId(3), place(0)));
        }
    }

    #[test]
    fn failed_sign_ins_are_counted_up_to_a_bound() {
        let mut seen = Seen::default();
        let failed = Some(Failed { count: FAILED_MAX, last: at(1) });
        seen.load(vec![SeenRow::Account(ADA, AccountSeen { last: None, failed })], |_| true);
        seen.note_failed(ADA, at(2));
        assert_eq!(seen.account(ADA).failed, Some(Failed { count: FAILED_MAX, last: at(2) }));
    }

    #[test]
    fn what_one_call_gives_to_write_is_bounded() {
        let mut seen = Seen::default();
        for id in 0..3 * ROWS_AT_ONCE as u64 {
            seen.note_seen(AccountId(id), None, at(id));
        }
        let counts: Vec<usize> = (0..5).map(|second| seen.due(second * 1_000).len()).collect();
        assert_eq!(counts, [ROWS_AT_ONCE, ROWS_AT_ONCE, ROWS_AT_ONCE, 0, 0]);
        assert!(seen.due(4_001).is_empty());
    }
}
