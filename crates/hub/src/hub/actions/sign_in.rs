//! Signing in and out. A token is looked up; a password is checked elsewhere, and what the connection asks meanwhile waits.

use bytes::Bytes;
use vang_chat::{
    AccountId, AccountStatus, CredentialCommand, NewToken, Principal, RoomId, Scope, Seq, Time, TokenId,
    Which,
};
use vang_journal::encode_name;
use vang_proto::Secret;
use vang_proto::vang::{Code, ErrorReply, NoKeys, SignedIn, TokenCreated};

use crate::admission::{Browser, Proof, Speaking, bad_name};
use crate::continuation::Continuation;
use crate::hub::Hub;
use crate::hub::actions::failed_keys::FailedKeys;
use crate::limits::{COOKIE_MS, JOURNAL_RETRY_MS, PLAIN_COOKIE_MS};
use crate::secrets::{
    Place, SecretAnswer, SecretCheck, SecretError, SecretJob, new_token, place_of, token_key,
};
use crate::session::{Asker, Made, SessionId};

/// What a connection has just signed in with.
enum SignedInBy<'a> {
    /// And the token that its device is given for it.
    Password(Option<&'a Secret>),
    /// A token that it had.
    OwnToken,
}

impl Hub {
    pub(in crate::hub) fn sign_in(
        &mut self,
        asker: &Asker,
        name: Option<&str>,
        (password, token): (Option<Secret>, Option<Secret>),
        device: Option<String>,
    ) -> Result<(), ErrorReply> {
        match (password, token) {
            (None, Some(_)) if device.is_some() => {
                let detail = "'device' goes with a password: who has a token needs no other";
                Err(ErrorReply::new(Code::BadRequest, detail).with("key", "device"))
            }
            (None, Some(token)) => {
                self.sign_in_with(asker.session, name, &token)?;
                self.answer_signed_in(asker, SignedInBy::OwnToken);
                Ok(())
            }
            // The token only shows the device, and may have ended.
            (Some(password), token) => {
                let Some(name) = name else {
                    let detail = "say with 'as' whose password it is";
                    return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "as"));
                };
                self.begin_sign_in(asker, name, (password, token.as_ref()), device)
            }
            (None, None) => {
                let detail = "'sign-in' takes 'password' or 'token'";
                Err(ErrorReply::new(Code::BadRequest, detail).with("key", "password"))
            }
        }
    }

    /// Signs a connection in with a token, at once. `name` may be missing; if it is there it must be the account's.
    pub fn sign_in_with(
        &mut self,
        id: SessionId,
        name: Option<&str>,
        token: &Secret,
    ) -> Result<(), ErrorReply> {
        let browser = self.session(id).and_then(|session| session.browser);
        let is_in_place = place_of(token) == Place::Anywhere || browser == Some(Browser::Plain);
        let key = token_key(token);
        let found = self.state.token(&key).filter(|token| is_in_place && !token.is_over(self.time()));
        let Some((account, token)) = found.map(|token| (token.who, token.id)) else {
            let detail = "the token is wrong, was ended, or is over; sign in with the password";
            return Err(ErrorReply::new(Code::WrongSecret, detail));
        };
        if let Some(name) = name {
            let (_, _, named) = self.named(name).map_err(|bad| bad_name("as", name, &bad))?;
            if named != Some(account) {
                let detail = "the token is another account's than the name says; leave the name out";
                return Err(ErrorReply::new(Code::WrongSecret, detail));
            }
        }
        self.take_account(id, account, Proof::Token(token))?;
        self.note_signed_in(id, account, Some(key));
        Ok(())
    }

    fn begin_sign_in(
        &mut self,
        asker: &Asker,
        name: &str,
        (password, shown_token): (Secret, Option<&Secret>),
        device: Option<String>,
    ) -> Result<(), ErrorReply> {
        let (shown, key, account) = self.named(name).map_err(|bad| bad_name("as", name, &bad))?;
        let shown_key = shown_token.map(token_key);
        let known = account.and_then(|account| self.known_by(asker.session, account, shown_key.as_ref()));
        let verifier = account.and_then(|account| self.state.password(account));
        let check = Some(SecretCheck { password, verifier });
        let session = asker.session;
        let job = SecretJob { id: 0, session, account, name: key, shown, check, make: None, known };
        self.ask_secrets(job, Continuation::SignIn { asker: asker.clone(), account, verifier, device });
        Ok(())
    }

    /// A password was checked.
    pub(in crate::hub) fn end_sign_in(
        &mut self,
        asker: Asker,
        account: Option<AccountId>,
        verifier: Option<Seq>,
        device: Option<String>,
        answer: Result<SecretAnswer, SecretError>,
    ) {
        if let (Err(SecretError::Wrong), Some(account)) = (&answer, account) {
            self.note_failed(asker.session, account);
        }
        let outcome = match (answer, account) {
            (Ok(answer), Some(account)) => {
                if let (Some(made), Some(from)) = (answer.made, verifier) {
                    self.renew_verifier(account, from, made);
                }
                self.check_verifier(account, verifier)
                    .and_then(|()| self.finish_sign_in(&asker, account, device))
            }
            // Nobody's password is right.
            (Ok(_), None) => Err(secret_refused(&SecretError::Wrong)),
            (Err(error), _) => Err(secret_refused(&error)),
        };
        if let Err(error) = outcome {
            self.refuse(asker, &error);
        }
    }

    /// Is the verifier that a password was checked against still the account's? If not, nothing is known of the password:
    /// another one was set meanwhile, or the same one has a newer verifier.
    pub(super) fn check_verifier(&self, account: AccountId, verifier: Option<Seq>) -> Result<(), ErrorReply> {
        match self.state.password(account) == verifier {
            true => Ok(()),
            false => {
                let why = "the password was changed meanwhile; try again".to_owned();
                Err(secret_refused(&SecretError::Unavailable(why)))
            }
        }
    }

    pub(super) fn finish_sign_in(
        &mut self,
        asker: &Asker,
        account: AccountId,
        device: Option<String>,
    ) -> Result<(), ErrorReply> {
        self.take_account(asker.session, account, Proof::Password)?;
        self.note_signed_in(asker.session, account, None);
        let Some(title) = device else {
            self.answer_signed_in(asker, SignedInBy::Password(None));
            return Ok(());
        };
        let until = match self.session(asker.session).and_then(|session| session.browser) {
            None => None,
            Some(Browser::Plain) => Some(Time(self.time().0 + PLAIN_COOKIE_MS)),
            Some(Browser::Tls) => Some(Time(self.time().0 + COOKIE_MS)),
        };
        let new = (Scope::Device, Vec::new(), until);
        self.create_token(asker, account, &Principal::Account(account), new, &title, true)
    }

    /// The connection speaks as this account, unless it speaks as another one already.
    fn take_account(&mut self, id: SessionId, account: AccountId, proof: Proof) -> Result<(), ErrorReply> {
        if self.state.status(account) != AccountStatus::Active {
            let detail = "this account is disabled; ask an administrator of the server";
            return Err(ErrorReply::new(Code::AccountDisabled, detail));
        }
        let speaking = self.session(id).and_then(|session| session.speaking.as_ref());
        if let Some(Principal::Account(other)) = speaking.map(|speaking| speaking.principal)
            && other != account
        {
            let detail = "this connection speaks as another account; sign in on a new connection";
            return Err(ErrorReply::new(Code::NameSet, detail));
        }
        let key = self.state.name_of(account);
        let speaking = Speaking { principal: Principal::Account(account), key, guest: None, proof };
        self.set_signed_in(id, account, speaking);
        self.enter_default_rooms(account);
        Ok(())
    }

    /// The reply to a sign-in. It names failed sign-ins if a password or a device's token was used: a password starts their count
    /// again, a device's token does not. The reply to a script's token does not name them.
    fn answer_signed_in(&mut self, asker: &Asker, by: SignedInBy<'_>) {
        let name = self.name_of_session(asker.session);
        let account = match self.principal(asker.session, None) {
            Principal::Account(account) => Some(account),
            Principal::Operator | Principal::Guest(_) => None,
        };
        let (failed, token) = match by {
            SignedInBy::Password(token) => {
                (account.and_then(|account| self.seen.take_failed(account)), token)
            }
            SignedInBy::OwnToken => {
                let token = self.token_of(asker.session).and_then(|id| self.state.token_of_id(id));
                let owner = account.filter(|_| token.is_some_and(|token| token.scope == Scope::Device));
                (owner.and_then(|account| self.seen.account(account).failed), None)
            }
        };
        let FailedKeys { failed, failed_last, failed_from } = FailedKeys::of(failed);
        let token = token.map(|token| token.expose().to_owned());
        let keys = SignedIn { name, token, failed, failed_last, failed_from };
        self.accept(asker, &keys, &keys.name);
    }

    pub(in crate::hub) fn sign_out_of(&mut self, asker: &Asker, who: &Principal) -> Result<(), ErrorReply> {
        let speaking = self.session(asker.session).and_then(|session| session.speaking.as_ref());
        let (Principal::Account(account), Some(proof)) = (*who, speaking.map(|speaking| speaking.proof))
        else {
            return Err(ErrorReply::new(Code::SignInNeeded, "this connection is not signed in"));
        };
        match proof {
            // The entry ends the connection, behind the reply.
            Proof::Token(id) => {
                let command = CredentialCommand::EndTokens { who: account, which: Which::One(id), by: *who };
                self.enqueue(asker, command.into(), Bytes::new())
            }
            Proof::Password | Proof::Name => {
                self.accept(asker, &NoKeys {}, "signed out");
                self.sign_out(asker.session);
                Ok(())
            }
        }
    }

    /// A token is durable: who asked is given it, and has signed in with it if that was asked.
    pub(in crate::hub) fn answer_token(&mut self, asker: &Asker, seq: Seq, who: AccountId, id: TokenId) {
        // It was signed out by an entry just before: nobody gets the token, and it ends.
        if asker.made.is_some()
            && let Err(error) = self.check_signed_in(asker.session)
        {
            let command =
                CredentialCommand::EndTokens { who, which: Which::One(id), by: Principal::Account(who) };
            let payload = self.salts.payload(Bytes::new());
            self.order.push_own(command.into(), payload);
            return self.refuse(asker.clone(), &error);
        }
        let name = self.book.speaker(&Principal::Account(who), None).to_string();
        match asker.made.as_deref() {
            Some(Made::SignIn(secret)) => {
                let speaking = self.session_mut(asker.session).and_then(|session| session.speaking.as_mut());
                if let Some(speaking) = speaking {
                    speaking.proof = Proof::Token(id);
                }
                // The device is known from here on, also when its token has ended.
                self.note_signed_in(asker.session, who, Some(token_key(secret)));
                self.answer_signed_in(asker, SignedInBy::Password(Some(secret)));
            }
            Some(Made::Shown(secret)) => {
                let keys = TokenCreated { name, id: id.0, seq: seq.0 };
                self.accept(asker, &keys, secret.expose());
            }
            Some(Made::Accept { .. }) | None => self.accept(asker, &NoKeys {}, "done"),
        }
    }

    /// Puts a new token into the order. Who asked is given it when it is durable.
    pub(super) fn create_token(
        &mut self,
        asker: &Asker,
        who: AccountId,
        by: &Principal,
        (scope, rooms, until): (Scope, Vec<RoomId>, Option<Time>),
        title: &str,
        is_sign_in: bool,
    ) -> Result<(), ErrorReply> {
        let is_plain = is_sign_in
            && self.session(asker.session).is_some_and(|session| session.browser == Some(Browser::Plain));
        let place = if is_plain { Place::PlainBrowser } else { Place::Anywhere };
        let secret = new_token(&mut self.salts, place);
        let token = Box::new(NewToken { key: token_key(&secret), scope, rooms, until });
        let command = CredentialCommand::CreateToken { who, token, by: *by };
        let made = Some(Box::new(if is_sign_in { Made::SignIn(secret) } else { Made::Shown(secret) }));
        let asker = Asker { made, ..asker.clone() };
        self.enqueue(&asker, command.into(), encode_name(title))
    }
}

/// What the peer sees of a failed job.
pub(in crate::hub) fn secret_refused(error: &SecretError) -> ErrorReply {
    let (code, wait) = match error {
        SecretError::Wrong => (Code::WrongSecret, None),
        SecretError::Weak(_) => (Code::WeakPassword, None),
        SecretError::Busy { retry_after_ms } => (Code::Busy, Some(*retry_after_ms)),
        SecretError::Unavailable(_) => (Code::Unavailable, Some(JOURNAL_RETRY_MS)),
    };
    let refusal = ErrorReply::new(code, error.to_string());
    match wait {
        Some(ms) => refusal.with("retry-after", ms),
        None => refusal,
    }
}
