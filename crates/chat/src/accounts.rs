//! Accounts: names that the journal knows.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::digest::Digest;
use crate::permission::{self, Power};
use crate::steps::{Key, Step};
use crate::{Access, AccountId, NameKey, Position, Principal, Refusal, Seq};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// Make a name an account.
    Add {
        name: NameKey,
        /// Who asks: the operator.
        by: Principal,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    Added { account: AccountId, name: NameKey },
}

pub(crate) fn decide(
    accounts: &Accounts,
    at: Position,
    command: &AccountCommand,
) -> Result<AccountEvent, Refusal> {
    match *command {
        AccountCommand::Add { name, by } => {
            permission::check_server(Power::AddAccount, Access::Public, &by)?;
            if accounts.by_name.contains_key(&name) {
                return Err(Refusal::NameTaken);
            }
            Ok(AccountEvent::Added { account: AccountId(at.seq.0), name })
        }
    }
}

pub(crate) fn evolve(accounts: &mut Accounts, event: &AccountEvent) {
    match *event {
        AccountEvent::Added { account, name } => accounts.add(AccountRow { name, account }),
    }
}

/// An account, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AccountRow {
    #[n(0)]
    pub(crate) name: NameKey,
    #[n(1)]
    pub(crate) account: AccountId,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    by_name: BTreeMap<NameKey, AccountId>,
    by_id: BTreeMap<AccountId, NameKey>,
    digest: Digest,
}

impl Accounts {
    pub(crate) fn add(&mut self, row: AccountRow) {
        self.digest.add(&row);
        self.by_name.insert(row.name, row.account);
        self.by_id.insert(row.account, row.name);
    }

    pub(crate) fn named(&self, name: &NameKey) -> Option<AccountId> {
        self.by_name.get(name).copied()
    }

    /// Is there such an account?
    pub(crate) fn check(&self, who: AccountId) -> Result<(), Refusal> {
        if self.by_id.contains_key(&who) { Ok(()) } else { Err(Refusal::NoAccount) }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<AccountRow>> {
        // `by_name` holds the same pairs.
        let Accounts { by_name: _, by_id, digest: _ } = self;
        let there = by_id.range(AccountId(from)..).take_while(move |&(&account, _)| account.0 <= at.0);
        there.map(|(&account, &name)| ([account.0, 0, 0], Some(AccountRow { name, account })))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
