//! Accounts: names that the journal knows, and what each may be.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::digest::Digest;
use crate::names::Looks;
use crate::permission::{self, ServerPower, ServerRole};
use crate::steps::{Kept, Key, Step};
use crate::tokens::{Tokens, Which};
use crate::{
    Access, AccountId, Feed, FeedKey, Name, NameKey, Place, Places, Position, Principal, Refusal, RoomId, Seq,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// Make a name an account.
    Add {
        name: Box<Name>,
        /// Who asks: the operator, or an administrator.
        by: Principal,
    },
    /// Make it an administrator's, or somebody's again.
    SetRole { who: AccountId, role: AccountRole, by: Principal },
    /// Disable, enable or delete an account. When it is disabled or deleted, all its tokens end.
    SetStatus { who: AccountId, status: AccountStatus, by: Principal },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    Added {
        account: AccountId,
        name: Box<Name>,
    },
    RoleSet {
        who: AccountId,
        role: AccountRole,
    },
    StatusSet {
        who: AccountId,
        status: AccountStatus,
    },
    /// It is a member of no room any more, and nobody can use it or its name again. What it said stays.
    Deleted {
        who: AccountId,
        /// It has left them.
        rooms: Vec<RoomId>,
        /// Entries whose payloads are to be erased: its name, its password's verifier, what its tokens are called.
        erased: Vec<Seq>,
    },
}

/// What an account can do on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountRole {
    #[default]
    Person,
    /// It manages the server. It reads no room that it is not in.
    Admin,
    /// A program speaks with it.
    Bot,
}

/// Can an account be used?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountStatus {
    #[default]
    Active,
    /// Nobody can sign in with it, and nothing is done in its name.
    Disabled,
    /// As if it were not there, but for what it has said. Its name stays reserved.
    Deleted,
}

impl AccountRole {
    pub const ALL: [AccountRole; 3] = [AccountRole::Person, AccountRole::Admin, AccountRole::Bot];

    /// Its number in the journal, which is never used again for another one.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// `None`: a newer program's.
    pub fn from_number(number: u8) -> Option<AccountRole> {
        AccountRole::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl AccountStatus {
    pub const ALL: [AccountStatus; 3] =
        [AccountStatus::Active, AccountStatus::Disabled, AccountStatus::Deleted];

    /// Its number in the journal, which is never used again for another one.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// `None`: a newer program's.
    pub fn from_number(number: u8) -> Option<AccountStatus> {
        AccountStatus::ALL.into_iter().find(|status| status.number() == number)
    }
}

pub(crate) fn decide(
    accounts: &Accounts,
    at: Position,
    command: &AccountCommand,
) -> Result<AccountEvent, Refusal> {
    match command {
        AccountCommand::Add { name, by } => {
            accounts.check_server(ServerPower::AddAccount, by, None)?;
            accounts.check_new(name)?;
            Ok(AccountEvent::Added { account: AccountId(at.seq.0), name: name.clone() })
        }
        &AccountCommand::SetRole { who, role, by } => {
            accounts.check_server(ServerPower::SetRole, &by, Some(who))?;
            accounts.check(who)?;
            Ok(AccountEvent::RoleSet { who, role })
        }
        &AccountCommand::SetStatus { who, status, by } => {
            accounts.check_status(who, status, by)?;
            Ok(AccountEvent::StatusSet { who, status })
        }
    }
}

/// What deletes an account is in `deletion.rs`, as it ends stays in rooms.
pub(crate) fn evolve((accounts, tokens): (&mut Accounts, &mut Tokens), event: &AccountEvent) {
    match *event {
        AccountEvent::Added { account, ref name } => accounts.create(**name, account, AccountRole::default()),
        AccountEvent::RoleSet { who, role } => accounts.change(who, |row| row.role = role.number()),
        AccountEvent::StatusSet { who, status } => {
            accounts.change(who, |row| row.status = status.number());
            if status == AccountStatus::Disabled {
                tokens.end(who, Which::All);
            }
        }
        AccountEvent::Deleted { .. } => {}
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
    /// The entry whose payload is the verifier of its password.
    #[n(3)]
    pub(crate) password: Option<Seq>,
    #[n(4)]
    pub(crate) role: u8,
    #[n(5)]
    pub(crate) status: u8,
    /// The entry of its first sign-in.
    #[n(6)]
    pub(crate) entered: Option<Seq>,
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

    pub(crate) fn create(&mut self, name: Name, account: AccountId, role: AccountRole) {
        self.add(AccountRow {
            name,
            account,
            seq: Seq(0),
            password: None,
            role: role.number(),
            status: AccountStatus::default().number(),
            entered: None,
        });
    }

    /// Can there be an account of this name?
    pub(crate) fn check_new(&self, name: &Name) -> Result<(), Refusal> {
        if self.by_name.contains_key(&name.key) {
            return Err(Refusal::NameTaken);
        }
        self.looks.check(name)
    }

    pub(crate) fn named(&self, name: &NameKey) -> Option<AccountId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Is there such an account?
    pub(crate) fn check(&self, who: AccountId) -> Result<(), Refusal> {
        match self.by_id.contains_key(&who) && self.status(who) != AccountStatus::Deleted {
            true => Ok(()),
            false => Err(Refusal::NoAccount),
        }
    }

    pub(crate) fn name_of(&self, who: AccountId) -> Option<NameKey> {
        self.by_id.get(&who).map(|row| row.name.key)
    }

    /// Can something be done in the name of this one?
    pub(crate) fn check_active(&self, who: &Principal) -> Result<(), Refusal> {
        match who {
            Principal::Account(who) if self.status(*who) != AccountStatus::Active => {
                Err(Refusal::AccountDisabled)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn role(&self, who: AccountId) -> AccountRole {
        let row = self.by_id.get(&who);
        row.and_then(|row| AccountRole::from_number(row.role)).unwrap_or_default()
    }

    pub(crate) fn status(&self, who: AccountId) -> AccountStatus {
        let row = self.by_id.get(&who);
        row.and_then(|row| AccountStatus::from_number(row.status)).unwrap_or_default()
    }

    /// The entry whose payload is the verifier of an account's password.
    pub(crate) fn password(&self, who: AccountId) -> Option<Seq> {
        self.by_id.get(&who).and_then(|row| row.password)
    }

    pub(crate) fn set_password(&mut self, who: AccountId, verifier: Seq) {
        self.change(who, |row| row.password = Some(verifier));
    }

    /// Can `by` give an account this status?
    pub(crate) fn check_status(
        &self,
        who: AccountId,
        status: AccountStatus,
        by: Principal,
    ) -> Result<(), Refusal> {
        let power = match status {
            AccountStatus::Active | AccountStatus::Disabled => ServerPower::Disable,
            AccountStatus::Deleted => ServerPower::DeleteAccount,
        };
        // Whether it is an administrator's is said only to those who can do this with others.
        self.check_server(power, &by, Some(who))?;
        self.check(who)?;
        if self.role(who) == AccountRole::Admin {
            self.check_server(ServerPower::DisableAdmin, &by, Some(who))?;
        }
        Ok(())
    }

    /// Nothing of it is left but its name's hash.
    pub(crate) fn delete(&mut self, who: AccountId) {
        self.change(who, |row| {
            row.role = AccountRole::default().number();
            row.status = AccountStatus::Deleted.number();
            row.password = None;
        });
    }

    /// Has it signed in before?
    pub(crate) fn has_entered(&self, who: AccountId) -> bool {
        self.by_id.get(&who).is_some_and(|row| row.entered.is_some())
    }

    pub(crate) fn enter(&mut self, who: AccountId, at: Seq) {
        if !self.has_entered(who) {
            self.change(who, |row| row.entered = Some(at));
        }
    }

    /// Can `who` do this on the server? `with`: the account that it is done to.
    pub(crate) fn check_server(
        &self,
        power: ServerPower,
        who: &Principal,
        with: Option<AccountId>,
    ) -> Result<(), Refusal> {
        let (role, is_itself) = match who {
            Principal::Operator => (ServerRole::Operator, false),
            Principal::Guest(_) => (ServerRole::Guest, false),
            Principal::Account(who) => match self.role(*who) {
                AccountRole::Admin => (ServerRole::Admin, with == Some(*who)),
                AccountRole::Person | AccountRole::Bot => (ServerRole::Account, with == Some(*who)),
            },
        };
        permission::check_server(power, role, is_itself)
    }

    /// The newest entry of an account's feed. `None`: there is no such account.
    pub(crate) fn feed_seq(&self, who: AccountId) -> Option<Seq> {
        self.by_id.get(&who).map(|row| row.seq)
    }

    /// The account sees this entry, on all its devices.
    pub(crate) fn show(&mut self, who: AccountId, seq: Seq, key: FeedKey, places: &mut Places) {
        let Some(before) = self.feed_seq(who) else { return };
        self.change(who, |row| row.seq = seq);
        places.push(Place { feed: Feed::Account(who), n: key.number(), before, access: Access::Private });
    }

    fn change(&mut self, who: AccountId, change: impl FnOnce(&mut AccountRow)) {
        let Some(row) = self.by_id.get_mut(&who) else { return };
        self.kept.keep(who.0, || *row);
        self.digest.take_away(row);
        change(row);
        self.digest.add(row);
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
