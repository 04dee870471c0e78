//! Passwords, tokens and invitations as the model knows them, each with the entries between which it holds.

use std::collections::BTreeMap;

use vang_chat::{AccountRole, Principal, Scope, TokenKey};

/// From which entry on something holds, and up to which one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    /// The entry that ended it.
    pub(crate) ended: Option<u64>,
}

impl Span {
    pub(crate) fn from(from: u64) -> Span {
        Span { from, ended: None }
    }

    /// Does it hold behind this entry?
    pub(crate) fn holds(self, at: u64) -> bool {
        self.from <= at && self.ended.is_none_or(|ended| at < ended)
    }

    pub(crate) fn end(&mut self, at: u64) {
        self.ended.get_or_insert(at);
    }
}

/// A password that an account has or had.
#[derive(Clone, Debug)]
pub(crate) struct Password {
    pub(crate) span: Span,
    pub(crate) text: String,
    /// The entry of its newest verifier.
    pub(crate) verifier: u64,
}

/// A token that was made, also one that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) who: u64,
    pub(crate) key: TokenKey,
    pub(crate) scope: Scope,
    pub(crate) rooms: Vec<u64>,
    /// Ms of the wall clock.
    pub(crate) until: Option<u64>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub(crate) id: u64,
    pub(crate) key: TokenKey,
    pub(crate) uses: usize,
    pub(crate) until: Option<u64>,
    pub(crate) room: Option<u64>,
    pub(crate) role: AccountRole,
    pub(crate) by: Principal,
    /// The accounts that were made with it.
    pub(crate) made: Vec<u64>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The journal's time behind each entry, from the first.
    pub(crate) times: Vec<u64>,
    pub(crate) roles: BTreeMap<u64, AccountRole>,
    pub(crate) disabled: BTreeMap<u64, Vec<Span>>,
    pub(crate) passwords: BTreeMap<u64, Vec<Password>>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) invitations: Vec<Invitation>,
    /// Entries that end what connections of an account signed in with a password.
    pub(crate) ends: BTreeMap<u64, Vec<u64>>,
    /// Entries whose verifiers were replaced.
    pub(crate) replaced: Vec<u64>,
}

impl Credentials {
    pub(crate) fn is_disabled(&self, who: u64, at: u64) -> bool {
        self.disabled.get(&who).is_some_and(|spans| spans.iter().any(|span| span.holds(at)))
    }

    pub(crate) fn end_tokens(&mut self, who: u64, at: u64, is_meant: impl Fn(u64) -> bool) {
        for token in self.tokens.iter_mut().filter(|token| token.who == who && is_meant(token.id)) {
            token.span.end(at);
        }
    }
}
