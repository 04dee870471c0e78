//! What the hub does when something is done that happens elsewhere, on another thread: one variant a purpose. Today that is
//! a read, or the hash of a password; whatever comes next continues here as well.

use vang_chat::{AccountId, CredentialCommand, Feed, Principal, RoomId, Seq, StartAfter, TokenKey};

use crate::secrets::NewAccount;
use crate::session::Asker;
use crate::session::SessionId;

/// What is waited for, and with what the hub goes on.
pub(crate) enum Continuation {
    /// What was asked for is complete up to `until`: a room that grew later was not asked for.
    Cursor {
        session: SessionId,
        until: Seq,
    },
    Follow {
        asker: Asker,
        starts: Vec<(RoomId, u64, StartAfter)>,
        /// They begin with what comes next.
        feeds: Vec<Feed>,
    },
    History {
        asker: Asker,
        room: RoomId,
        since: u64,
    },
    /// A password is checked.
    SignIn {
        asker: Asker,
        account: Option<AccountId>,
        /// The verifier that it is checked against.
        verifier: Option<Seq>,
        /// What a new token is to be called.
        device: Option<String>,
    },
    /// A verifier of a new password is made.
    Password {
        asker: Asker,
        command: CredentialCommand,
        /// The verifier that the old password is checked against, if it is.
        checked: Option<Seq>,
    },
    /// A verifier of a new account's password is made; the account comes with a code.
    Accept {
        asker: Asker,
        key: TokenKey,
        wanted: Option<NewAccount>,
    },
    /// The entries of invitations are read.
    Invitations {
        asker: Asker,
    },
    /// The entries of tokens are read.
    Sessions {
        asker: Asker,
        account: AccountId,
    },
    Find {
        asker: Asker,
        /// Who asked: the name of the connection may come later.
        who: Principal,
        left_out: u64,
    },
}

impl Continuation {
    /// Who waits for it.
    pub(crate) fn session(&self) -> SessionId {
        match self {
            Continuation::Cursor { session, .. } => *session,
            Continuation::Follow { asker, .. }
            | Continuation::History { asker, .. }
            | Continuation::SignIn { asker, .. }
            | Continuation::Password { asker, .. }
            | Continuation::Accept { asker, .. }
            | Continuation::Invitations { asker }
            | Continuation::Sessions { asker, .. }
            | Continuation::Find { asker, .. } => asker.session,
        }
    }
}
