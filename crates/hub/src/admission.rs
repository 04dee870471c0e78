//! Admission: where a connection comes from, what is refused before the order, and everything that must be made before the
//! journal: names' keys, ids' hashes, salts. What the rules would refuse is refused here already, as a
//! courtesy; only the answer at the journal's place counts.

use bytes::Bytes;
use vang_chat::{NameKey, Principal, Refusal, RoomsBy, TokenId};
use vang_journal::Payload;
use vang_proto::terminal::harmless_line;
use vang_proto::vang::{Code, ErrorReply};

use crate::names::{NameError, similar_name};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The data folder's own socket: a user who can open that file is the operator, and can act as any account.
    Operator,
    /// Loopback or a Unix socket: this machine.
    Local,
    /// Anywhere else, with TLS; or a proxy on this machine that says for whom it asks.
    RemoteTls,
    /// Anywhere else, without.
    RemotePlain,
}

/// From where something may be used: by guests, metrics, typed lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// From this machine: loopback and Unix sockets.
    #[default]
    Local,
    /// From everywhere, with TLS.
    Everywhere,
}

/// Where an account's name alone is enough to speak as this account, without a password or a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// On the data folder's own socket: a user who can open that file can read everything anyway.
    #[default]
    Folder,
    /// On this machine: loopback and Unix sockets. Every program of every user, and every proxy.
    Local,
}

/// A browser's connection: a page that anybody may have written uses it, so a name is never enough on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// On this machine, without TLS: its cookie is good for that only, and not for long.
    Plain,
    Tls,
}

/// May this one speak on a connection from there?
pub(crate) fn admit(peer: Peer, who: &Principal, trust: Trust, guests: Scope) -> Result<(), ErrorReply> {
    let why = match (peer, who) {
        (Peer::Operator, _) | (Peer::Local, Principal::Guest(_)) => return Ok(()),
        (Peer::Local, Principal::Account(_)) if trust == Trust::Local => return Ok(()),
        (Peer::RemoteTls, Principal::Guest(_)) if guests == Scope::Everywhere => return Ok(()),
        (Peer::RemoteTls | Peer::RemotePlain, Principal::Guest(_)) => {
            "this server admits guests from its own machine only"
        }
        (Peer::Local, Principal::Account(_) | Principal::Operator) => {
            "this name is an account's: sign in with its password or a token (vang login NAME). The name alone is enough on \
             the data folder's own socket (--data DIR), or with vang serve --trust local"
        }
        (Peer::RemoteTls | Peer::RemotePlain, Principal::Account(_) | Principal::Operator) => {
            "this name is an account's: sign in with its password or a token (vang login NAME)"
        }
    };
    Err(ErrorReply::new(Code::SignInNeeded, why))
}

/// Who can enter from somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub guests: bool,
    /// An account, by its name alone.
    pub accounts: bool,
    /// Who of them can create rooms.
    pub rooms_by: RoomsBy,
}

/// How a connection has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a name: a guest's, or an account's where a name is enough.
    Name,
    Password,
    Token(TokenId),
}

/// The account or guest of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Speaking {
    pub(crate) principal: Principal,
    pub(crate) key: Option<NameKey>,
    /// A guest's name as typed; accounts are known by their id.
    pub(crate) guest: Option<String>,
    pub(crate) proof: Proof,
}

/// Makes salts: a keyed stream from one random seed, so that a message costs no system call and a
/// simulation is the same each time.
pub struct Salts {
    key: [u8; 32],
    counter: u64,
    /// Made many at a time, which costs a tenth.
    made: [[u8; 16]; SALTS_AT_ONCE],
    used: usize,
}

const SALTS_AT_ONCE: usize = 64;

impl Salts {
    /// From 32 random bytes.
    pub fn new(seed: [u8; 32]) -> Salts {
        Salts { key: seed, counter: 0, made: [[0; 16]; SALTS_AT_ONCE], used: SALTS_AT_ONCE }
    }

    fn next(&mut self) -> [u8; 16] {
        if self.used == SALTS_AT_ONCE {
            self.counter += 1;
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.update(&self.counter.to_le_bytes());
            hasher.finalize_xof().fill(self.made.as_flattened_mut());
            self.used = 0;
        }
        self.used += 1;
        // Nothing keeps a salt that was given out: erasing a payload must erase its salt.
        std::mem::take(&mut self.made[self.used - 1])
    }

    /// Random bytes for a token, which nothing else keeps either.
    pub(crate) fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.next());
        bytes[16..].copy_from_slice(&self.next());
        bytes
    }

    /// A payload with a fresh salt.
    pub(crate) fn payload(&mut self, bytes: Bytes) -> Payload {
        Payload { salt: self.next(), bytes }
    }
}

/// Characters of a text that is no name, as far as an answer repeats it.
const REPEATED_CHARS_MAX: usize = 40;

/// `key` is the argument's; people see what they typed.
pub(crate) fn bad_name(key: &'static str, typed: &str, bad: &NameError) -> ErrorReply {
    let mut shown: String = typed.chars().take(REPEATED_CHARS_MAX).collect();
    if shown.len() < typed.len() {
        shown.push('…');
    }
    let similar = match bad {
        NameError::Empty
        | NameError::TooLong { .. }
        | NameError::MixedScripts { .. }
        | NameError::Reserved
        | NameError::LikeReserved { .. } => None,
        NameError::Character { .. } | NameError::Start { .. } | NameError::Invisible { .. } => {
            similar_name(typed)
        }
    };
    let similar = similar.map(|name| format!(", as in '{name}'")).unwrap_or_default();
    let detail = format!("the name '{}' {bad}{similar}", harmless_line(&shown));
    ErrorReply::new(Code::BadName, detail).with("key", key)
}

/// The same refusal with the name in it, if it is about the name. It does not say which name it looks like: that may be a
/// private room's.
pub(crate) fn with_name(what: &str, name: &str) -> impl FnOnce(ErrorReply) -> ErrorReply {
    move |error| match error.code {
        Code::NameTaken => ErrorReply { detail: format!("there is {what} '{name}' already"), ..error },
        Code::NameConfusable => {
            let looks_like = format!("whose name looks like '{name}', written in other letters");
            ErrorReply { detail: format!("there is {what} {looks_like}; choose another name"), ..error }
        }
        _ => error,
    }
}

/// What the peer sees of a refusal.
pub(crate) fn refused(refusal: &Refusal) -> ErrorReply {
    let code = match refusal {
        Refusal::NoRoom => Code::NoRoom,
        Refusal::NoAccount => Code::NoAccount,
        Refusal::NameTaken => Code::NameTaken,
        Refusal::NameConfusable => Code::NameConfusable,
        Refusal::AccountNeeded => Code::AccountNeeded,
        Refusal::NotAllowed | Refusal::AdminNeeded | Refusal::OperatorNeeded => Code::NotAllowed,
        Refusal::AccountDisabled => Code::AccountDisabled,
        Refusal::NoToken => Code::NoToken,
        Refusal::NoInvitation => Code::NoInvitation,
        Refusal::NameNeeded => Code::NameNeeded,
        Refusal::TooManyUses { .. } => Code::BadRequest,
        Refusal::TooManyInvitations { .. } => Code::TooMany,
        // Nobody hears of these: tokens are random, and verifiers are renewed by the server itself.
        Refusal::TokenTaken | Refusal::OldPassword => Code::WrongSecret,
        Refusal::AlreadyMember => Code::AlreadyMember,
        Refusal::NotMember => Code::NotMember,
        Refusal::IdReused => Code::IdReused,
        Refusal::TooManyRooms { .. }
        | Refusal::TooManyOwnRooms { .. }
        | Refusal::TooManyStays { .. }
        | Refusal::TooManyTokens { .. }
        | Refusal::TooManyTokenRooms { .. } => Code::TooMany,
        Refusal::OldRules { .. } => Code::BadRequest,
    };
    let error = ErrorReply::new(code, refusal.to_string());
    match refusal {
        Refusal::TooManyRooms { max }
        | Refusal::TooManyStays { max }
        | Refusal::TooManyTokens { max }
        | Refusal::TooManyInvitations { max }
        | Refusal::TooManyTokenRooms { max } => error.with("limit", *max as u64),
        Refusal::TooManyOwnRooms { max } => error.with("limit", *max),
        _ => error,
    }
}
