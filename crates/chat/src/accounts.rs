//! Accounts: names that the journal knows.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::digest::Digest;
use crate::names::Looks;
use crate::permission::{self, Power};
use crate::steps::{Kept, Key, Step};
use crate::{
    Access, AccountId, Feed, FeedKey, Name, NameKey, Place, Places, Position, Principal, Refusal, Seq,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// Make a name an account.
    Add {
        name: Box<Name>,
        /// Who asks: the operator.
        by: Principal,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    Added { account: AccountId, name: Box<Name> },
}

pub(crate) fn decide(
    accounts: &Accounts,
    at: Position,
    command: &AccountCommand,
) -> Result<AccountEvent, Refusal> {
    match command {
        AccountCommand::Add { name, by } => {
            permission::check_server(Power::AddAccount, Access::Public, by)?;
            if accounts.by_name.contains_key(&name.key) {
                return Err(Refusal::NameTaken);
            }
            accounts.looks.check(name)?;
            Ok(AccountEvent::Added { account: AccountId(at.seq.0), name: name.clone() })
        }
    }
}

pub(crate) fn evolve(accounts: &mut Accounts, event: &AccountEvent) {
    match event {
        AccountEvent::Added { account, name } => {
            accounts.add(AccountRow { name: **name, account: *account, seq: Seq(0) });
        }
    }
}

/// An account, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AccountRow {
    #[n(0)]
    pub(crate) name: Name,
    #[n(1)]
    pub(crate) account: AccountId,
    /// The newest entry of its feed; 0 before the first.
    #[n(2)]
    pub(crate) seq: Seq,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    by_name: BTreeMap<NameKey, AccountId>,
    by_id: BTreeMap<AccountId, AccountRow>,
    looks: Looks,
    digest: Digest,
    pub(crate) kept: Kept<AccountRow>,
}

impl Accounts {
    pub(crate) fn add(&mut self, row: AccountRow) {
        self.digest.add(&row);
        self.looks.add(&row.name);
        self.by_name.insert(row.name.key, row.account);
        self.by_id.insert(row.account, row);
    }

    pub(crate) fn named(&self, name: &NameKey) -> Option<AccountId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Is there such an account?
    pub(crate) fn check(&self, who: AccountId) -> Result<(), Refusal> {
        if self.by_id.contains_key(&who) { Ok(()) } else { Err(Refusal::NoAccount) }
    }

    /// The newest entry of an account's feed. `None`: there is no such account.
    pub(crate) fn feed_seq(&self, who: AccountId) -> Option<Seq> {
        self.by_id.get(&who).map(|row| row.seq)
    }

    /// The account sees this entry, on all its devices.
    pub(crate) fn show(&mut self, who: AccountId, seq: Seq, key: FeedKey, places: &mut Places) {
        let Some(row) = self.by_id.get_mut(&who) else { return };
        self.kept.keep(who.0, || *row);
        self.digest.take_away(row);
        let before = std::mem::replace(&mut row.seq, seq);
        self.digest.add(row);
        places.push(Place { feed: Feed::Account(who), n: key.number(), before, access: Access::Private });
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<AccountRow>> {
        // `by_name` and `looks` hold the same names.
        let Accounts { by_name: _, by_id, looks: _, digest: _, kept } = self;
        let there = by_id.range(AccountId(from)..).take_while(move |&(&account, _)| account.0 <= at.0);
        there.map(move |(&account, row)| {
            let before = kept.get(at, account.0);
            ([account.0, 0, 0], Some(*before.unwrap_or(row)))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
