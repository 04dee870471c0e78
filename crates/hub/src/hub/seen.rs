//! What is noted of accounts and their connections, and given to be written. Each call costs a few steps of the logarithm of what is
//! kept.

use vang_chat::{AccountId, AccountStatus, Principal, State, TokenKey};
use vang_proto::Millis;

use crate::hub::Hub;
use crate::secrets::KnownBy;
use crate::seen::{Known, SeenKey, SeenRow, Sighting};
use crate::session::SessionId;

impl Hub {
    /// Takes what an earlier process wrote, at the start. Rows of tokens and accounts that are not there any more are removed.
    pub fn load_seen(&mut self, rows: Vec<SeenRow>) {
        let state = &self.state;
        self.seen.load(rows, |key| match *key {
            SeenKey::Account(who) | SeenKey::Known(who, _) => is_there(state, who),
            SeenKey::Token(who, id) => state.token_of_id(id).is_some_and(|token| token.who == who),
        });
    }

    /// Rows to write now, in one transaction; each at most once a minute.
    pub fn seen_due(&mut self, now: Millis) -> Vec<SeenRow> {
        self.seen.due(now.0)
    }

    /// All rows that are not written yet: at the end.
    pub fn seen_rest(&mut self) -> Vec<SeenRow> {
        self.seen.rest()
    }

    /// The connection speaks as an account, or did until now.
    pub(super) fn note_seen(&mut self, id: SessionId) {
        let speaking = self.session(id).and_then(|session| session.speaking.as_ref());
        let Some(Principal::Account(who)) = speaking.map(|speaking| speaking.principal) else { return };
        // The connections of a deleted account end after it.
        if !is_there(&self.state, who) {
            return;
        }
        // A token that has ended is not kept again.
        let token = self.token_of(id).filter(|token| self.state.token_of_id(*token).is_some());
        self.seen.note_seen(who, token, self.sighting(id));
    }

    /// The account signed in from there with its password or this token.
    pub(super) fn note_signed_in(&mut self, id: SessionId, who: AccountId, token: Option<TokenKey>) {
        self.note_seen(id);
        let address = self.session(id).and_then(|session| session.address);
        let (at, address) = (self.time(), address.map(|address| Known::Address(address.host)));
        for known in address.into_iter().chain(token.map(Known::Device)) {
            self.seen.note_known(who, known, at);
        }
    }

    /// Somebody gave a wrong password for the account.
    pub(super) fn note_failed(&mut self, id: SessionId, who: AccountId) {
        if is_there(&self.state, who) {
            self.seen.note_failed(who, self.sighting(id));
        }
    }

    /// How it is known that the account signed in before where this connection comes from. `token`: the one that it shows.
    pub(super) fn known_by(
        &self,
        id: SessionId,
        who: AccountId,
        token: Option<&TokenKey>,
    ) -> Option<KnownBy> {
        let is_known_device = |key: &&TokenKey| {
            self.state.token(key).is_some_and(|token| token.who == who)
                || self.seen.is_known(who, Known::Device(**key))
        };
        let number = |key: &TokenKey| u64::from_le_bytes(key.0[..8].try_into().unwrap_or_default());
        if let Some(key) = token.filter(is_known_device) {
            return Some(KnownBy::Device(number(key)));
        }
        let address = self.session(id)?.address?;
        self.seen.is_known(who, Known::Address(address.host)).then_some(KnownBy::Address)
    }

    fn sighting(&self, id: SessionId) -> Sighting {
        let address = self.session(id).and_then(|session| session.address);
        Sighting { at: self.time(), ip: address.and_then(|address| address.ip) }
    }
}

/// Is anything kept of this account?
fn is_there(state: &State, who: AccountId) -> bool {
    state.name_of(who).is_some() && state.status(who) != AccountStatus::Deleted
}
