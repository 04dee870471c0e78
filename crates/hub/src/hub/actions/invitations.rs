//! Invitations: made and withdrawn by those who manage the server, accepted by those who get the code.

use std::collections::BTreeMap;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use vang_chat::{
    AccountId, AccountRole, CredentialCommand, InvitationCommand, InvitationId, NameKey, NewInvitation,
    Principal, Seq, ServerPower, Time, TokenKey,
};
use vang_journal::{Entry, Envelope, decode_name, encode_name};
use vang_proto::Secret;
use vang_proto::vang::{self, Code, ErrorReply, InvitationEnded, InvitationList, InvitationRow, Invited};

use crate::admission::{bad_name, refused, with_name};
use crate::cold::{Read, ReadAnswer, ReadError};
use crate::continuation::Continuation;
use crate::encode::rfc3339;
use crate::hub::Hub;
use crate::hub::actions::sign_in::secret_refused;
use crate::limits::{FIRST_ADMIN_MS, INVITATION_DAYS, LINK_DAYS};
use crate::secrets::{NewAccount, SecretAnswer, SecretError, SecretJob, code_key, new_code};
use crate::session::{Asker, Made, SessionId};

/// A day, ms.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is asked of a new invitation.
pub(in crate::hub) struct Wanted {
    pub(in crate::hub) title: Option<String>,
    pub(in crate::hub) uses: Option<u64>,
    pub(in crate::hub) days: Option<u64>,
    pub(in crate::hub) room: Option<String>,
    pub(in crate::hub) role: Option<vang::Role>,
    /// The account whose link it is to be.
    pub(in crate::hub) name: Option<String>,
}

impl Hub {
    /// While there is no account: an invitation for an administrator, as the operator's, which is valid for an hour. Its code.
    pub fn invite_first_admin(&mut self) -> Option<Secret> {
        // A process orders nothing before its opening.
        if !self.is_open() || self.state.has_accounts() {
            return None;
        }
        let until = Some(Time(self.time().0 + FIRST_ADMIN_MS));
        let secret = new_code(&mut self.salts);
        let (key, role) = (code_key(&secret), AccountRole::Admin);
        let invitation = Box::new(NewInvitation { key, account: None, uses: 1, until, room: None, role });
        let payload = self.salts.payload(encode_name("the first administrator"));
        self.order
            .push_own(InvitationCommand::Create { invitation, by: Principal::Operator }.into(), payload);
        Some(secret)
    }

    pub(in crate::hub) fn invite(
        &mut self,
        asker: &Asker,
        who: &Principal,
        wanted: Wanted,
    ) -> Result<(), ErrorReply> {
        let Wanted { title, uses, days, room, role, name } = wanted;
        let named = |name: String| self.account_meant(ServerPower::SetPassword, who, Some(&name));
        let account = name.map(named).transpose()?;
        let room = room.map(|room| self.room(asker, &room, who)).transpose()?;
        let role = match role {
            None | Some(vang::Role::Person) => AccountRole::Person,
            Some(vang::Role::Admin) => AccountRole::Admin,
            Some(vang::Role::Bot) => AccountRole::Bot,
        };
        let days = days.unwrap_or(if account.is_some() { LINK_DAYS } else { INVITATION_DAYS });
        if !(1..=36_500).contains(&days) {
            let detail = format!("{days} days; an invitation is for 1 to 36500 days");
            return Err(ErrorReply::new(Code::BadRequest, detail).with("key", "days"));
        }
        let until = Some(Time(self.time().0 + days * DAY_MS));
        // What is too much for a number is too much for the rules.
        let uses = u32::try_from(uses.unwrap_or(1)).unwrap_or(u32::MAX);
        let secret = new_code(&mut self.salts);
        let key = code_key(&secret);
        let invitation = Box::new(NewInvitation { key, account, uses, until, room, role });
        let command = InvitationCommand::Create { invitation, by: *who };
        let asker = Asker { made: Some(Box::new(Made::Shown(secret))), ..asker.clone() };
        self.enqueue(&asker, command.into(), encode_name(&title.unwrap_or_default()))
    }

    pub(in crate::hub) fn answer_invited(&mut self, asker: &Asker, seq: Seq, id: InvitationId) {
        let keys = Invited { id: id.0, seq: seq.0, link: None };
        match asker.made.as_deref() {
            Some(Made::Shown(code)) => {
                let keys = Invited { link: self.link(code), ..keys };
                self.accept(asker, &keys, code.expose());
            }
            _ => self.accept(asker, &keys, "done"),
        }
    }

    /// Where a browser accepts it. The fragment is not sent to the server; a name in it shows whose password is set.
    fn link(&self, code: &Secret) -> Option<String> {
        let page = self.page.as_deref()?;
        let account = self.state.invitation(&code_key(code)).and_then(|invitation| invitation.account);
        let name = account.map(|account| {
            let name = self.book.speaker(&Principal::Account(account), None).to_string();
            format!("&name={}", utf8_percent_encode(&name, NON_ALPHANUMERIC))
        });
        Some(format!("{page}#invite={}{}", code.expose(), name.unwrap_or_default()))
    }

    pub(in crate::hub) fn end_invitation(
        &mut self,
        asker: &Asker,
        who: &Principal,
        id: u64,
    ) -> Result<(), ErrorReply> {
        let command = InvitationCommand::Withdraw { id: InvitationId(id), by: *who };
        self.enqueue(asker, command.into(), Bytes::new())
    }

    pub(in crate::hub) fn answer_withdrawn(&mut self, asker: &Asker, seq: Seq, id: InvitationId) {
        self.accept(asker, &InvitationEnded { id: id.0, seq: seq.0 }, "withdrawn");
    }

    /// What invitations are called stands in the journal.
    pub(in crate::hub) fn list_invitations(
        &mut self,
        asker: &Asker,
        who: &Principal,
    ) -> Result<(), ErrorReply> {
        let allowed = self.state.check_server(ServerPower::Invite, who, None);
        allowed.map_err(|refusal| refused(&refusal))?;
        let seqs = self.state.invitations().map(|invitation| Seq(invitation.id.0)).collect();
        self.read(Seq(0), Read::Entries(seqs), Continuation::Invitations { asker: asker.clone() });
        Ok(())
    }

    pub(in crate::hub) fn answer_invitations(
        &mut self,
        asker: &Asker,
        answer: Result<ReadAnswer, ReadError>,
    ) -> Result<(), ReadError> {
        let entries = answer.and_then(ReadAnswer::entries)?;
        let entries: BTreeMap<u64, Entry> =
            entries.into_iter().flatten().map(|entry| (entry.seq.0, entry)).collect();
        let now = self.time();
        let in_force = |invitation: &vang_chat::Invitation| {
            invitation.uses > 0 && invitation.until.is_none_or(|until| until > now)
        };
        let rows = self.state.invitations().filter(in_force).map(|invitation| {
            let entry = entries.get(&invitation.id.0);
            let payload = entry.and_then(|entry| entry.payload.as_ref());
            let envelope = entry.and_then(|entry| Envelope::decode(&entry.envelope).ok());
            let name = |who: &Principal| self.book.speaker(who, None).to_string();
            InvitationRow {
                id: invitation.id.0,
                title: payload.and_then(|payload| decode_name(&payload.bytes).ok()).unwrap_or_default(),
                from: name(&invitation.by),
                uses: u64::from(invitation.uses),
                name: invitation.account.map(|account| name(&Principal::Account(account))),
                room: invitation.room.map(|room| self.book.room(room).into_owned()),
                role: wire_role(invitation.role).as_str().to_owned(),
                created: envelope.map(|envelope| rfc3339(envelope.time)),
                until: invitation.until.map(rfc3339),
            }
        });
        let rows: Vec<InvitationRow> = rows.collect();
        self.accept_json(asker, &InvitationList {}, &rows);
        Ok(())
    }

    /// A code and a new password: first the password is looked at, which costs as much as a guess.
    pub(in crate::hub) fn begin_accept(
        &mut self,
        asker: &Asker,
        name: Option<&str>,
        (code, new): (Secret, Secret),
        device: Option<String>,
    ) -> Result<(), ErrorReply> {
        let speaking = self.session(asker.session).and_then(|session| session.speaking.as_ref());
        if speaking.is_some_and(|speaking| matches!(speaking.principal, Principal::Account(_))) {
            let detail = "this connection speaks as an account; accept the invitation on a new connection";
            return Err(ErrorReply::new(Code::NameSet, detail));
        }
        let key = code_key(&code);
        let is_link = self.state.invitation(&key).is_some_and(|invitation| invitation.account.is_some());
        let wanted = match name {
            Some(name) if !is_link => {
                let (shown, name) = self.names.make_new(name).map_err(|bad| bad_name("as", name, &bad))?;
                Some(NewAccount { shown, name })
            }
            _ => None,
        };
        let mut counted = [0; 16];
        counted.copy_from_slice(&key.0[..16]);
        let shown = wanted.as_ref().map_or_else(String::new, |wanted| wanted.shown.clone());
        let job = SecretJob {
            id: 0,
            session: asker.session,
            account: None,
            name: NameKey(counted),
            shown,
            check: None,
            make: Some(new.clone()),
            known: None,
        };
        let asker = Asker { made: Some(Box::new(Made::Accept { new, device })), ..asker.clone() };
        self.ask_secrets(job, Continuation::Accept { asker, key, wanted });
        Ok(())
    }

    /// The password may be used: now the code must be right, and the name free.
    pub(in crate::hub) fn continue_accept(
        &mut self,
        asker: Asker,
        key: TokenKey,
        wanted: Option<NewAccount>,
        answer: Result<SecretAnswer, SecretError>,
    ) {
        let outcome = match answer {
            Ok(_) => {
                let shown = wanted.as_ref().map(|wanted| wanted.shown.clone());
                let payload = shown.as_deref().map_or_else(Bytes::new, encode_name);
                let command = InvitationCommand::Accept { key, name: wanted.map(|wanted| wanted.name) };
                let named = with_name("an account", shown.as_deref().unwrap_or_default());
                self.enqueue(&asker, command.into(), payload).map_err(named)
            }
            Err(error) => Err(secret_refused(&error)),
        };
        if let Err(error) = outcome {
            self.refuse(asker, &error);
        }
    }

    /// The account is there, and whose it is: it gets its password.
    pub(in crate::hub) fn set_first_password(&mut self, asker: &Asker, account: AccountId) {
        let Some(Made::Accept { new, .. }) = asker.made.as_deref() else { return };
        let by = Principal::Account(account);
        let job = self.new_password_job(asker, account, None, new.clone());
        let command = CredentialCommand::SetPassword { who: account, keep: None, by };
        self.ask_secrets(job, Continuation::Password { asker: asker.clone(), command, checked: None });
    }

    /// The password is durable: the connection speaks as the account.
    pub(in crate::hub) fn finish_accept(
        &mut self,
        asker: &Asker,
        account: AccountId,
        device: Option<String>,
    ) {
        let asker = Asker { made: None, ..asker.clone() };
        if let Err(error) = self.finish_sign_in(&asker, account, device) {
            self.refuse(asker.clone(), &error);
        }
        self.release(asker.session);
    }

    /// What a connection asked behind a password is done now.
    pub(in crate::hub) fn release(&mut self, id: SessionId) {
        let behind = self.session_mut(id).and_then(|session| session.waits_for_secret.take());
        for (ticket, request) in behind.into_iter().flatten() {
            self.request(id, ticket, request);
        }
    }
}

fn wire_role(role: AccountRole) -> vang::Role {
    match role {
        AccountRole::Person => vang::Role::Person,
        AccountRole::Admin => vang::Role::Admin,
        AccountRole::Bot => vang::Role::Bot,
    }
}
