//! Tokens: with one, a device or a script signs in as an account. The rules know hashes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use minicbor::{Decode, Encode};
use smallvec::SmallVec;

use crate::digest::Digest;
use crate::limits::DEVICES_PER_ACCOUNT_MAX;
use crate::steps::{Kept, Key, Step, merged};
use crate::{AccountId, RoomId, Seq, Time};

/// A token: the `seq` of the entry that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct TokenId(#[n(0)] pub u64);

/// A token, or the code of an invitation, as the rules know it: a hash of what its owner has, which is random and long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct TokenKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What can be done with a token. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Read,
    Send,
    /// What an administrator does, if the account is an administrator's.
    Admin,
    /// All that the account can do: a device of its owner.
    Device,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Send, Scope::Admin, Scope::Device];

    /// Its number in the journal, which is never used again for another one.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// `None`: a newer program's.
    pub fn from_number(number: u8) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.number() == number)
    }
}

/// A token, as the door makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    pub key: TokenKey,
    pub scope: Scope,
    /// The only rooms in which it can be used. Empty: all.
    pub rooms: Vec<RoomId>,
    /// It cannot be used from then on.
    pub until: Option<Time>,
}

/// Which tokens of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    One(TokenId),
    All,
    AllBut(TokenId),
}

/// A token, as the hash and the snapshot contain it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct TokenRow {
    #[n(0)]
    pub(crate) id: TokenId,
    #[n(1)]
    pub(crate) who: AccountId,
    #[n(2)]
    pub(crate) key: TokenKey,
    #[n(3)]
    pub(crate) scope: u8,
    #[n(4)]
    pub(crate) rooms: Vec<RoomId>,
    #[n(5)]
    pub(crate) until: Option<Time>,
}

impl TokenRow {
    fn scope(&self) -> Scope {
        // The journal reads no other number.
        Scope::from_number(self.scope).unwrap_or(Scope::Read)
    }

    fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A valid token, as its holder and its owner see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub id: TokenId,
    pub who: AccountId,
    pub scope: Scope,
    /// The only rooms in which it can be used. Empty: all.
    pub rooms: &'a [RoomId],
    pub until: Option<Time>,
}

impl Token<'_> {
    /// Can it not be used any more at this time?
    pub fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Can it be used in this room?
    pub fn covers(&self, room: RoomId) -> bool {
        self.rooms.is_empty() || self.rooms.contains(&room)
    }
}

/// All tokens that were not ended. Some may be over: they are removed when their account gets another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    by_id: BTreeMap<TokenId, TokenRow>,
    by_key: BTreeMap<TokenKey, TokenId>,
    /// Of each account, oldest first.
    by_account: BTreeSet<(AccountId, TokenId)>,
    digest: Digest,
    pub(crate) kept: Kept<TokenRow>,
}

impl Tokens {
    pub(crate) fn add(&mut self, row: TokenRow) {
        self.digest.add(&row);
        self.by_key.insert(row.key, row.id);
        self.by_account.insert((row.who, row.id));
        self.by_id.insert(row.id, row);
    }

    /// A new one. Those of the account that are over go, and the oldest device if there are too many.
    pub(crate) fn create(&mut self, who: AccountId, id: TokenId, token: &NewToken, now: Time) {
        let over = self.of(who).filter(|row| row.is_over(now)).map(|row| row.id);
        let over: SmallVec<[TokenId; 4]> = over.collect();
        over.into_iter().for_each(|id| self.remove(who, id));
        let NewToken { key, scope, rooms, until } = token;
        self.add(TokenRow { id, who, key: *key, scope: scope.number(), rooms: rooms.clone(), until: *until });
        let devices = self.of(who).filter(|row| row.scope() == Scope::Device);
        let oldest = devices.clone().next().map(|row| row.id);
        if devices.count() > DEVICES_PER_ACCOUNT_MAX
            && let Some(oldest) = oldest
        {
            self.remove(who, oldest);
        }
    }

    /// How many of an account scripts have that are in force.
    pub(crate) fn count_of_scripts(&self, who: AccountId, now: Time) -> usize {
        self.of(who).filter(|row| row.scope() != Scope::Device && !row.is_over(now)).count()
    }

    pub(crate) fn has_key(&self, key: &TokenKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn has(&self, who: AccountId, id: TokenId) -> bool {
        self.by_account.contains(&(who, id))
    }

    fn remove(&mut self, who: AccountId, id: TokenId) {
        if !self.by_account.remove(&(who, id)) {
            return;
        }
        let Some(row) = self.by_id.remove(&id) else { return };
        self.kept.keep(id.0, || row.clone());
        self.by_key.remove(&row.key);
        self.digest.take_away(&row);
    }

    pub(crate) fn end(&mut self, who: AccountId, which: Which) {
        let is_meant = |id: &TokenId| match which {
            Which::One(one) => *id == one,
            Which::All => true,
            Which::AllBut(kept) => *id != kept,
        };
        let ended: Vec<TokenId> = self.of(who).map(|row| row.id).filter(is_meant).collect();
        ended.into_iter().for_each(|id| self.remove(who, id));
    }

    /// An account's tokens, oldest first.
    fn of(&self, who: AccountId) -> impl Iterator<Item = &TokenRow> + Clone {
        let ids = self.by_account.range((who, TokenId(0))..=(who, TokenId(u64::MAX)));
        ids.filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(crate) fn by_key(&self, key: &TokenKey) -> Option<Token<'_>> {
        self.by_key.get(key).and_then(|id| self.by_id(*id))
    }

    pub(crate) fn by_id(&self, id: TokenId) -> Option<Token<'_>> {
        self.by_id.get(&id).map(token)
    }

    pub(crate) fn of_account(&self, who: AccountId) -> impl Iterator<Item = Token<'_>> {
        self.of(who).map(token)
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<TokenRow>> {
        // `by_key` and `by_account` find the same tokens.
        let Tokens { by_id, by_key: _, by_account: _, digest: _, kept } = self;
        let there = by_id.range(TokenId(from)..).take_while(move |&(id, _)| id.0 <= at.0);
        merged(there.map(|(id, row)| (id.0, row)), kept.from(at, from))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

fn token(row: &TokenRow) -> Token<'_> {
    Token { id: row.id, who: row.who, scope: row.scope(), rooms: &row.rooms, until: row.until }
}
