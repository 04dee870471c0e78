//! Who is signed in: by which connections, and when that ends.

use vang_chat::{
    AccountEvent, AccountId, AccountStatus, CredentialEvent, Event, RoomId, Scope, Seq, TokenId, Which,
};
use vang_proto::vang::{Action, Code, ErrorReply, Grant};

use crate::admission::{Proof, Speaking};
use crate::hub::{Hub, Output};
use crate::session::SessionId;

/// Why a connection is closed whose token or password is not valid any more: a word of the event `closing`.
const SIGNED_OUT: &str = "signed-out";

impl Hub {
    /// The connection speaks as this account from now on.
    pub(super) fn set_signed_in(&mut self, id: SessionId, account: AccountId, speaking: Speaking) {
        let Some(session) = self.session_mut(id) else { return };
        session.speaking = Some(speaking);
        self.signed_in.insert((account, id));
    }

    /// The connection is closed, after what it has to be given.
    pub(super) fn sign_out(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id) {
            session.is_signed_out = true;
        }
        self.outputs.push_back(Output::Close { session: id, why: SIGNED_OUT });
    }

    /// Connections that speak as an account, in any way that was proven.
    pub(super) fn signed_in_as(&self, who: AccountId) -> impl Iterator<Item = (SessionId, Proof)> {
        let first = SessionId { slot: 0, generation: 0 };
        let of_account = self.signed_in.range((who, first)..).take_while(move |(account, _)| *account == who);
        of_account.filter_map(|(_, id)| Some((*id, self.session(*id)?.speaking.as_ref()?.proof)))
    }

    /// What the connection can still do, if it has signed in: its token or password may have ended.
    pub(super) fn check_proof(&self, id: SessionId) -> Result<(), ErrorReply> {
        self.check_signed_in(id)?;
        match self.token_of(id).map(|token| self.state.token_of_id(token)) {
            None => Ok(()),
            Some(Some(token)) if !token.is_over(self.time()) => Ok(()),
            Some(_) => {
                let why =
                    "the token with which this connection signed in is not valid any more; sign in again";
                Err(ErrorReply::new(Code::SignInNeeded, why))
            }
        }
    }

    /// The connection was not signed out. What it asked before may come up only now, behind a password.
    pub(super) fn check_signed_in(&self, id: SessionId) -> Result<(), ErrorReply> {
        match self.session(id).is_some_and(|session| session.is_signed_out) {
            false => Ok(()),
            true => {
                let why = "this connection was signed out; sign in again on a new one";
                Err(ErrorReply::new(Code::SignInNeeded, why))
            }
        }
    }

    /// Is what the connection signed in with good for this action?
    pub(super) fn check_grant(&self, speaking: &Speaking, action: &Action) -> Result<(), ErrorReply> {
        let Proof::Token(id) = speaking.proof else { return Ok(()) };
        let Some(token) = self.state.token_of_id(id) else { return Ok(()) };
        let granted = match token.scope {
            Scope::Read => Grant::Read,
            Scope::Send => Grant::Send,
            Scope::Admin => Grant::Admin,
            Scope::Device => Grant::Device,
        };
        let needed = action.info().grant;
        if needed <= granted {
            return Ok(());
        }
        let (name, granted, needed) = (action.name(), granted.as_str(), needed.as_str());
        let detail = match needed {
            "device" => {
                format!("a token of scope '{granted}' is not enough for '{name}'; sign in with the password")
            }
            _ => format!("a token of scope '{granted}' is not enough for '{name}'; it needs '{needed}'"),
        };
        Err(ErrorReply::new(Code::NotAllowed, detail))
    }

    /// The only rooms that the connection can use. `None`: all.
    pub(super) fn only_rooms(&self, id: SessionId) -> Option<&[RoomId]> {
        let Proof::Token(token) = self.session(id)?.speaking.as_ref()?.proof else { return None };
        let rooms = self.state.token_of_id(token)?.rooms;
        Some(rooms).filter(|rooms| !rooms.is_empty())
    }

    /// Can the connection use this room, as far as its token goes?
    pub(super) fn covers(&self, id: SessionId, room: RoomId) -> bool {
        self.only_rooms(id).is_none_or(|rooms| rooms.contains(&room))
    }

    /// Nothing that reaches beyond some rooms is done with a token for some rooms.
    pub(super) fn check_all_rooms(&self, id: SessionId, what: &str) -> Result<(), ErrorReply> {
        match self.only_rooms(id) {
            None => Ok(()),
            Some(_) => {
                let detail = format!("this token is for some rooms only; {what} needs one for all rooms");
                Err(ErrorReply::new(Code::NotAllowed, detail))
            }
        }
    }

    /// An event may end what connections signed in with. `asker`: the connection that asked for it, if it is one of
    /// ours.
    pub(super) fn end_sign_ins(&mut self, event: &Event, asker: Option<SessionId>) {
        // What ends beside the tokens that are not there any more. Who changes the own password stays signed in.
        let (who, passwords_end, names_end, is_asker_spared) = match *event {
            Event::Credential(CredentialEvent::PasswordSet { who, .. }) => (who, true, false, true),
            Event::Credential(CredentialEvent::TokensEnded { who, which: Which::One(_) }) => {
                (who, false, false, false)
            }
            Event::Credential(CredentialEvent::TokensEnded { who, .. }) => (who, true, false, true),
            Event::Credential(CredentialEvent::TokenCreated { who, .. }) => (who, false, false, true),
            Event::Account(
                AccountEvent::StatusSet { who, status: AccountStatus::Disabled }
                | AccountEvent::Deleted { who, .. },
            ) => (who, true, true, false),
            _ => return,
        };
        let is_ended = |proof: Proof| match proof {
            Proof::Token(id) => self.state.token_of_id(id).is_none(),
            Proof::Password => passwords_end,
            Proof::Name => names_end,
        };
        let ended: Vec<SessionId> = self
            .signed_in_as(who)
            .filter(|(id, proof)| is_ended(*proof) && !(is_asker_spared && asker == Some(*id)))
            .map(|(id, _)| id)
            .collect();
        for id in ended {
            self.sign_out(id);
        }
        self.seen.forget_tokens(who, |id| self.state.token_of_id(id).is_none());
    }

    /// Erases payloads that were replaced.
    pub(super) fn erase(&mut self, seqs: Vec<Seq>) {
        if !seqs.is_empty() {
            self.erasing += 1;
            self.outputs.push_back(Output::Erase(seqs));
        }
    }

    /// What an `Erase` named was erased, on the disk too. Until then no snapshot is begun: a start from one would not see that the
    /// payload is still to be erased.
    pub fn erased(&mut self) {
        self.erasing = self.erasing.saturating_sub(1);
    }

    /// The token that a connection has signed in with.
    pub(super) fn token_of(&self, id: SessionId) -> Option<TokenId> {
        match self.session(id)?.speaking.as_ref()?.proof {
            Proof::Token(token) => Some(token),
            Proof::Name | Proof::Password => None,
        }
    }
}
