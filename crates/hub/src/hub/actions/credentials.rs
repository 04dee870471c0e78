//! Passwords, tokens, and where an account is signed in.

use std::collections::BTreeMap;

use bytes::Bytes;
use vang_chat::{AccountId, CredentialCommand, Principal, Scope, Seq, ServerPower, Time, TokenId, Which};
use vang_journal::{Entry, Envelope, decode_name};
use vang_proto::Secret;
use vang_proto::vang::{Code, ErrorReply, SessionList, SessionRow, TokenScope};

use crate::admission::{Peer, Proof, bad_name, refused};
use crate::cold::{Read, ReadAnswer, ReadError};
use crate::continuation::Continuation;
use crate::encode::rfc3339;
use crate::hub::Hub;
use crate::hub::actions::failed_keys::FailedKeys;
use crate::hub::actions::sign_in::secret_refused;
use crate::secrets::{SecretAnswer, SecretCheck, SecretError, SecretJob};
use crate::session::Asker;

/// A day, ms.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Hub {
    pub(in crate::hub) fn set_password(
        &mut self,
        asker: &Asker,
        who: &Principal,
        (new, old): (Secret, Option<Secret>),
        name: Option<&str>,
    ) -> Result<(), ErrorReply> {
        let account = self.account_meant(ServerPower::SetPassword, who, name)?;
        self.check_server(ServerPower::SetPassword, who, account)?;
        let verifier = self.state.password(account);
        // The operator needs no old one: on the folder's socket a name is enough.
        let is_operator = self.session(asker.session).is_some_and(|session| session.peer == Peer::Operator);
        let check = match (old, verifier) {
            (_, None) => None,
            _ if is_operator => None,
            (Some(password), verifier) => Some(SecretCheck { password, verifier }),
            (None, Some(_)) => {
                let detail = "say the password of today with 'old'";
                return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "old"));
            }
        };
        let keep = self.token_of(asker.session);
        let checked = check.as_ref().and_then(|check| check.verifier);
        let job = self.new_password_job(asker, account, check, new);
        let command = CredentialCommand::SetPassword { who: account, keep, by: *who };
        self.ask_secrets(job, Continuation::Password { asker: asker.clone(), command, checked });
        Ok(())
    }

    /// The job that makes a verifier of the new password of `account`, after `check`.
    pub(in crate::hub) fn new_password_job(
        &self,
        asker: &Asker,
        account: AccountId,
        check: Option<SecretCheck>,
        new: Secret,
    ) -> SecretJob {
        let shown = self.book.speaker(&Principal::Account(account), None).to_string();
        let name = self.names.key(&shown);
        let session = asker.session;
        SecretJob { id: 0, session, account: Some(account), name, shown, check, make: Some(new), known: None }
    }

    /// A verifier of the new password was made.
    pub(in crate::hub) fn end_set_password(
        &mut self,
        asker: Asker,
        command: CredentialCommand,
        checked: Option<Seq>,
        answer: Result<SecretAnswer, SecretError>,
    ) {
        let made = answer.and_then(|answer| {
            answer.made.ok_or_else(|| SecretError::Unavailable("no verifier was made".to_owned()))
        });
        let outcome = match made {
            // Hashing took its time: another device may have changed the password, or signed this one out.
            Ok(made) => self
                .check_proof(asker.session)
                .and_then(|()| match (checked, &command) {
                    (Some(_), &CredentialCommand::SetPassword { who, .. }) => {
                        self.check_verifier(who, checked)
                    }
                    _ => Ok(()),
                })
                .and_then(|()| self.enqueue(&asker, command.into(), made)),
            Err(error) => Err(secret_refused(&error)),
        };
        if let Err(error) = outcome {
            self.refuse(asker, &error);
        }
    }

    /// With today's parameters; nobody asked for it. It goes before all that waits, and so it is left to the next sign-in while the
    /// entry waits with which this process opens the journal: a process orders nothing before its opening.
    pub(in crate::hub) fn renew_verifier(&mut self, who: AccountId, from: Seq, made: Bytes) {
        if !self.is_open() {
            return;
        }
        let payload = self.salts.payload(made);
        let command = CredentialCommand::RenewVerifier { who, from }.into();
        self.order.push_own(command, payload);
    }

    pub(in crate::hub) fn make_token(
        &mut self,
        asker: &Asker,
        who: &Principal,
        (title, scope): (&str, TokenScope),
        (rooms, days): (&[String], Option<u64>),
        name: Option<&str>,
    ) -> Result<(), ErrorReply> {
        let account = self.account_meant(ServerPower::CreateToken, who, name)?;
        self.check_server(ServerPower::CreateToken, who, account)?;
        let reader = Principal::Account(account);
        let rooms = rooms.iter().map(|room| self.room(asker, room, &reader)).collect::<Result<_, _>>()?;
        let scope = match scope {
            TokenScope::Read => Scope::Read,
            TokenScope::Send => Scope::Send,
            TokenScope::Admin => Scope::Admin,
        };
        let until = match days {
            None => None,
            Some(days @ 1..=36_500) => Some(Time(self.time().0 + days * DAY_MS)),
            Some(days) => {
                let detail =
                    format!("{days} days; a token ends after 1 to 36500 days, and never without 'days'");
                return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "days"));
            }
        };
        self.create_token(asker, account, who, (scope, rooms, until), title, false)
    }

    pub(in crate::hub) fn end_session(
        &mut self,
        asker: &Asker,
        who: &Principal,
        id: Option<u64>,
        name: Option<&str>,
    ) -> Result<(), ErrorReply> {
        let account = self.account_meant(ServerPower::EndTokens, who, name)?;
        let own = self.token_of(asker.session).filter(|_| *who == Principal::Account(account));
        let which = match (id, own) {
            (Some(id), _) => Which::One(TokenId(id)),
            (None, Some(own)) => Which::AllBut(own),
            (None, None) => Which::All,
        };
        let command = CredentialCommand::EndTokens { who: account, which, by: *who };
        self.enqueue(asker, command.into(), Bytes::new())
    }

    /// What tokens are called stands in the journal.
    pub(in crate::hub) fn list_sessions(
        &mut self,
        asker: &Asker,
        who: &Principal,
        name: Option<&str>,
    ) -> Result<(), ErrorReply> {
        let account = self.account_meant(ServerPower::EndTokens, who, name)?;
        self.check_server(ServerPower::EndTokens, who, account)?;
        let seqs = self.state.tokens_of(account).map(|token| Seq(token.id.0)).collect();
        let then = Continuation::Sessions { asker: asker.clone(), account };
        self.read(Seq(0), Read::Entries(seqs), then);
        Ok(())
    }

    pub(in crate::hub) fn answer_sessions(
        &mut self,
        asker: &Asker,
        account: AccountId,
        answer: Result<ReadAnswer, ReadError>,
    ) -> Result<(), ReadError> {
        let entries = answer.and_then(ReadAnswer::entries)?;
        let mut connections: BTreeMap<Option<TokenId>, u64> = BTreeMap::new();
        // Of one of those that have no token: others' addresses stand at their tokens.
        let mut address = None;
        for (id, proof) in self.signed_in_as(account) {
            let token = match proof {
                Proof::Token(id) => Some(id),
                Proof::Name | Proof::Password => None,
            };
            *connections.entry(token).or_default() += 1;
            if token.is_none() {
                address = self.session(id).and_then(|session| session.address).and_then(|address| address.ip);
            }
        }
        let own = self.token_of(asker.session);
        let entries: BTreeMap<u64, Entry> =
            entries.into_iter().flatten().map(|entry| (entry.seq.0, entry)).collect();
        let now = self.time();
        let tokens = self.state.tokens_of(account).filter(|token| !token.is_over(now));
        let rows = tokens.map(|token| {
            let entry = entries.get(&token.id.0);
            let payload = entry.and_then(|entry| entry.payload.as_ref());
            let envelope = entry.and_then(|entry| Envelope::decode(&entry.envelope).ok());
            let used = self.seen.token(account, token.id);
            SessionRow {
                id: Some(token.id.0),
                title: payload.and_then(|payload| decode_name(&payload.bytes).ok()).unwrap_or_default(),
                scope: scope_word(token.scope).to_owned(),
                rooms: token.rooms.iter().map(|room| self.book.room(*room).into_owned()).collect(),
                created: envelope.map(|envelope| rfc3339(envelope.time)),
                until: token.until.map(rfc3339),
                used: used.map(|used| rfc3339(used.at)),
                address: used.and_then(|used| used.ip).map(|ip| ip.to_string()),
                connections: connections.get(&Some(token.id)).copied().unwrap_or_default(),
                own: own == Some(token.id),
            }
        });
        // Those with a password alone, or a name alone, have nothing that could be ended one by one.
        let others = connections.get(&None).map(|&connections| SessionRow {
            scope: scope_word(Scope::Device).to_owned(),
            address: address.map(|ip| ip.to_string()),
            connections,
            own: own.is_none() && self.signed_in_as(account).any(|(id, _)| id == asker.session),
            ..SessionRow::default()
        });
        let rows: Vec<SessionRow> = rows.chain(others).collect();
        let seen = self.seen.account(account);
        let FailedKeys { failed, failed_last, failed_from } = FailedKeys::of(seen.failed);
        let name = self.book.speaker(&Principal::Account(account), None).to_string();
        let keys = SessionList {
            name,
            seen: seen.last.map(|last| rfc3339(last.at)),
            failed,
            failed_last,
            failed_from,
        };
        self.accept_json(asker, &keys, &rows);
        Ok(())
    }

    /// The account that an action is about: the asker's own, or the one named. Whether there is one of that name is said only to
    /// those who have the power over others.
    pub(super) fn account_meant(
        &self,
        power: ServerPower,
        who: &Principal,
        name: Option<&str>,
    ) -> Result<AccountId, ErrorReply> {
        match (name, who) {
            (None, Principal::Account(account)) => Ok(*account),
            (None, Principal::Operator) => {
                let detail = "say with 'name' which account it is about";
                Err(ErrorReply::new(Code::BadRequest, detail).with("key", "name"))
            }
            (None, Principal::Guest(_)) => Err(ErrorReply::new(
                Code::SignInNeeded,
                "only somebody who is signed in can do this; sign in first",
            )),
            (Some(name), _) => {
                let (shown, _, account) = self.named(name).map_err(|bad| bad_name("name", name, &bad))?;
                if let Some(own) = account.filter(|account| *who == Principal::Account(*account)) {
                    return Ok(own);
                }
                self.state.check_server(power, who, None).map_err(|refusal| refused(&refusal))?;
                let none = || ErrorReply::new(Code::NoAccount, format!("there is no account '{shown}'"));
                account.ok_or_else(none)
            }
        }
    }

    fn check_server(
        &self,
        power: ServerPower,
        who: &Principal,
        account: AccountId,
    ) -> Result<(), ErrorReply> {
        self.state.check_server(power, who, Some(account)).map_err(|refusal| refused(&refusal))
    }
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Send => "send",
        Scope::Admin => "admin",
        Scope::Device => "device",
    }
}
