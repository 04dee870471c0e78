//! What the hub asks of the threads that hash passwords, and what comes back. And tokens as text.

use bytes::Bytes;
use vang_chat::{AccountId, Name, NameKey, Seq, TokenKey};
use vang_proto::Secret;
use vang_proto::secret::TOKEN_PREFIX;

use crate::admission::Salts;
use crate::session::SessionId;

/// A password to check, or to make a verifier of, or both: then the verifier is made if the check succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretJob {
    /// Comes back with the answer.
    pub id: u64,
    pub session: SessionId,
    /// Whose password it is. `None`: there is no such account; to find the password wrong must take as long.
    pub account: Option<AccountId>,
    /// The account's name as it was typed, to count guesses by.
    pub name: NameKey,
    /// The account's name as others see it.
    pub shown: String,
    pub check: Option<SecretCheck>,
    /// The new password.
    pub make: Option<Secret>,
    /// The account signed in before where this comes from.
    pub known: Option<KnownBy>,
}

/// How it is known that an account signed in somewhere before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// The device showed its token. The number names it among the account's.
    Device(u64),
    Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretCheck {
    pub password: Secret,
    /// The entry whose payload is the verifier. `None`: the account has no password.
    pub verifier: Option<Seq>,
}

/// An account that somebody wants who has a code.
pub(crate) struct NewAccount {
    /// As others will see it.
    pub(crate) shown: String,
    pub(crate) name: Box<Name>,
}

/// What comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretAnswer {
    /// A verifier, sealed: of the new password; or of the one that was checked, if its verifier is old.
    pub made: Option<Bytes>,
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Also if there is no such account, or it has no password.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Of the new one.
    #[error("{0}")]
    Weak(String),
    /// Too many guesses, or too many who sign in.
    #[error("too many try to sign in; try again")]
    Busy { retry_after_ms: u64 },
    #[error("passwords cannot be checked now: {0}")]
    Unavailable(String),
}

/// What those begin with that are the cookie of a browser on this machine, without TLS. They are good for nothing else.
const PLAIN_COOKIE_PREFIX: &str = "vang_plain_";

/// Where a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Anywhere,
    /// By a browser on this machine, without TLS.
    PlainBrowser,
}

/// Where this token can be used.
pub(crate) fn place_of(token: &Secret) -> Place {
    match token.expose().starts_with(PLAIN_COOKIE_PREFIX) {
        true => Place::PlainBrowser,
        false => Place::Anywhere,
    }
}

/// A new token, of 256 random bits.
pub(crate) fn new_token(salts: &mut Salts, place: Place) -> Secret {
    let prefix = match place {
        Place::Anywhere => TOKEN_PREFIX,
        Place::PlainBrowser => PLAIN_COOKIE_PREFIX,
    };
    let mut text = String::with_capacity(prefix.len() + 64);
    text.push_str(prefix);
    push_hex(&mut text, &salts.random());
    Secret::new(text)
}

/// What the rules know of a token: a hash. The token is as random as the hash, so nothing is added to it.
pub(crate) fn token_key(token: &Secret) -> TokenKey {
    TokenKey(blake3::derive_key("vang 2026-11-30 key of a token", token.expose().as_bytes()))
}

/// What every code of an invitation begins with.
const CODE_PREFIX: &str = "vang_invite_";

/// The code of a new invitation, of 128 random bits.
pub(crate) fn new_code(salts: &mut Salts) -> Secret {
    let random = salts.random();
    let mut text = String::with_capacity(CODE_PREFIX.len() + 32);
    text.push_str(CODE_PREFIX);
    push_hex(&mut text, &random[..16]);
    Secret::new(text)
}

/// What the rules know of a code: a hash.
pub(crate) fn code_key(code: &Secret) -> TokenKey {
    TokenKey(blake3::derive_key("vang 2026-11-30 key of an invitation", code.expose().as_bytes()))
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
}
