//! What must be true of passwords, tokens, invitations and roles: what each entry of the journal makes of them, and what holds
//! behind it.

use vang_chat::{
    AccountCommand, AccountId, AccountRole, AccountStatus, Command, CredentialCommand, InvitationCommand,
    MemberCommand, MessageCommand, Name, Principal, RoomCommand, TokenKey, Which,
};
use vang_hub::TextOf;

use super::{EventBody, Model, can_stand_beside};
use crate::credentials::{Credentials, Invitation, Password, Span, Token};
use crate::hashing::read_verifier;

/// Who asks for a command. `None`: nobody whose account can be disabled.
fn asker(command: &Command) -> Option<Principal> {
    Some(match *command {
        Command::Order(_) => return None,
        Command::Account(
            AccountCommand::Add { by, .. }
            | AccountCommand::SetRole { by, .. }
            | AccountCommand::SetStatus { by, .. },
        ) => by,
        Command::Credential(CredentialCommand::RenewVerifier { .. }) => return None,
        Command::Credential(
            CredentialCommand::SetPassword { by, .. }
            | CredentialCommand::CreateToken { by, .. }
            | CredentialCommand::EndTokens { by, .. },
        ) => by,
        Command::Invitation(InvitationCommand::Accept { .. }) => return None,
        Command::Invitation(
            InvitationCommand::Create { by, .. } | InvitationCommand::Withdraw { by, .. },
        ) => by,
        Command::Room(RoomCommand::Create { by, .. } | RoomCommand::SetTopic { by, .. }) => by,
        Command::Member(MemberCommand::Join { by, .. }) => by,
        Command::Member(MemberCommand::Leave { who, .. } | MemberCommand::Enter { who, .. }) => {
            Principal::Account(who)
        }
        Command::Message(MessageCommand::Send { from, .. }) => from,
    })
}

impl Model {
    /// Takes over the time of the entry at `self.seq`. `false`: its asker's account is disabled.
    pub(super) fn begin(&mut self, command: &Command) -> bool {
        self.credentials.times.push(self.time);
        asker(command).is_none_or(|by| self.is_active(by))
    }

    fn is_active(&self, by: Principal) -> bool {
        !matches!(by, Principal::Account(who) if self.credentials.is_disabled(who.0, self.seq))
    }

    /// The operator, or an administrator?
    fn manages(&self, by: Principal) -> bool {
        match by {
            Principal::Operator => true,
            Principal::Account(who) => self.role(who.0) == AccountRole::Admin,
            Principal::Guest(_) => false,
        }
    }

    pub(super) fn take_account(&mut self, command: &AccountCommand, name: impl Fn() -> String) {
        let seq = self.seq;
        match *command {
            AccountCommand::Add { name: ref made, by } => {
                let is_free = self.accounts.values().all(|(taken, _)| can_stand_beside(taken, made));
                if self.manages(by) && is_free {
                    self.accounts.insert(seq, (**made, name()));
                    self.done.insert(seq, "account-add");
                    self.keep_text(TextOf::AccountName(AccountId(seq)), name());
                }
            }
            AccountCommand::SetRole { who, role, by } => {
                if by == Principal::Operator && self.accounts.contains_key(&who.0) {
                    self.credentials.roles.insert(who.0, role);
                    self.done.insert(seq, "account-role");
                }
            }
            AccountCommand::SetStatus { who, status, by } => {
                let is_admin = self.role(who.0) == AccountRole::Admin;
                let may = self.manages(by) && (!is_admin || by == Principal::Operator);
                if !may || !self.accounts.contains_key(&who.0) {
                    return;
                }
                let spans = self.credentials.disabled.entry(who.0).or_default();
                spans.iter_mut().for_each(|span| span.end(seq));
                if status == AccountStatus::Disabled {
                    spans.push(Span::from(seq));
                    self.credentials.end_tokens(who.0, seq, |_| true);
                    self.credentials.ends.entry(who.0).or_default().push(seq);
                    self.done.insert(seq, "account-disable");
                } else {
                    self.done.insert(seq, "account-enable");
                }
            }
        }
    }

    pub(super) fn take_credential(&mut self, command: &CredentialCommand, payload: &[u8]) {
        let seq = self.seq;
        let is_own = |who: AccountId, by: Principal| by == Principal::Account(who);
        let may_be_signed_in = |model: &Model, who: AccountId, by: Principal| {
            let may = by == Principal::Operator || is_own(who, by);
            may && model.accounts.contains_key(&who.0) && model.is_active(Principal::Account(who))
        };
        match *command {
            CredentialCommand::SetPassword { who, keep, by } => {
                if !may_be_signed_in(self, who, by) {
                    return;
                }
                // It is empty if the verifier was erased: then another one follows.
                let text = read_verifier(payload).map_or("", |(_, password)| password).to_owned();
                let passwords = self.credentials.passwords.entry(who.0).or_default();
                if let Some(last) = passwords.last_mut() {
                    last.span.end(seq);
                    self.credentials.replaced.push(last.verifier);
                }
                passwords.push(Password { span: Span::from(seq), text, verifier: seq });
                self.credentials.end_tokens(who.0, seq, |id| keep.is_none_or(|keep| keep.0 != id));
                self.credentials.ends.entry(who.0).or_default().push(seq);
                self.done.insert(seq, "password");
            }
            CredentialCommand::RenewVerifier { who, from } => {
                let last = self.credentials.passwords.get_mut(&who.0).and_then(|all| all.last_mut());
                if let Some(last) = last.filter(|last| last.verifier == from.0) {
                    last.verifier = seq;
                    if let Some((_, text)) = read_verifier(payload) {
                        text.clone_into(&mut last.text);
                    }
                    self.credentials.replaced.push(from.0);
                }
            }
            CredentialCommand::CreateToken { who, ref token, by } => {
                if !may_be_signed_in(self, who, by) {
                    return;
                }
                let time = self.time;
                // Those that are over make room.
                for old in self.credentials.tokens.iter_mut().filter(|old| old.who == who.0) {
                    if old.until.is_some_and(|until| until <= time) {
                        old.span.end(seq);
                    }
                }
                self.credentials.tokens.push(Token {
                    id: seq,
                    who: who.0,
                    key: token.key,
                    scope: token.scope,
                    rooms: token.rooms.iter().map(|room| room.0).collect(),
                    until: token.until.map(|until| until.0),
                    span: Span::from(seq),
                });
                self.done.insert(seq, "token-create");
            }
            CredentialCommand::EndTokens { who, which, by } => {
                let may = is_own(who, by) || self.manages(by);
                let is_there = |id: u64| {
                    let mut tokens = self.credentials.tokens.iter();
                    tokens.any(|token| token.id == id && token.who == who.0 && token.span.holds(seq))
                };
                let is_known = match which {
                    Which::One(id) => is_there(id.0),
                    Which::All | Which::AllBut(_) => true,
                };
                if !may || !self.accounts.contains_key(&who.0) || !is_known {
                    return;
                }
                self.credentials.end_tokens(who.0, seq, |id| match which {
                    Which::One(one) => one.0 == id,
                    Which::All => true,
                    Which::AllBut(kept) => kept.0 != id,
                });
                if !matches!(which, Which::One(_)) {
                    self.credentials.ends.entry(who.0).or_default().push(seq);
                }
                self.done.insert(seq, "session-end");
            }
        }
    }

    pub(super) fn take_invitation(&mut self, command: &InvitationCommand, name: impl Fn() -> String) {
        let seq = self.seq;
        match *command {
            InvitationCommand::Create { ref invitation, by } => {
                assert_eq!(invitation.account, None, "nobody here asks for the link of an account");
                let may_grant = invitation.role != AccountRole::Admin || by == Principal::Operator;
                let room = invitation.room.map(|room| room.0);
                if !self.manages(by) || !may_grant || !room.is_none_or(|room| self.may_bring(room, by)) {
                    return;
                }
                self.forget_invitations();
                self.credentials.invitations.push(Invitation {
                    id: seq,
                    key: invitation.key,
                    uses: invitation.uses as usize,
                    until: invitation.until.map(|until| until.0),
                    room,
                    role: invitation.role,
                    by,
                    made: Vec::new(),
                    span: Span::from(seq),
                });
                self.done.insert(seq, "invite");
            }
            InvitationCommand::Withdraw { id, by } => {
                let may = self.manages(by);
                let mut known = self.credentials.invitations.iter_mut();
                if let Some(there) = known.find(|there| may && there.id == id.0 && there.span.holds(seq)) {
                    there.span.end(seq);
                    self.done.insert(seq, "invitation-end");
                }
            }
            InvitationCommand::Accept { ref key, name: ref made } => {
                let Some(made) = made.as_deref() else { return };
                if !self.can_accept(key, seq) {
                    return;
                }
                let (room, role, by) = {
                    let invitation = self.invitation(key).expect("it can be accepted");
                    (invitation.room, invitation.role, invitation.by)
                };
                if self.accepted_before(key, made, seq)
                    || !self.accounts.values().all(|(taken, _)| can_stand_beside(taken, made))
                {
                    return;
                }
                let joined = room.filter(|room| self.may_bring(*room, by));
                self.accounts.insert(seq, (*made, name()));
                self.credentials.roles.insert(seq, role);
                let mut known = self.credentials.invitations.iter_mut();
                known.find(|one| one.key == *key).expect("it is there").made.push(seq);
                self.done.insert(seq, "accept");
                self.keep_text(TextOf::AccountName(AccountId(seq)), name());
                if let Some(room) = joined {
                    self.enter(room, seq);
                }
            }
        }
    }

    fn may_bring(&self, room: u64, by: Principal) -> bool {
        self.rooms.get(&room).is_some_and(|room| match by {
            Principal::Operator => true,
            Principal::Account(who) => room.members.contains(&who.0),
            Principal::Guest(_) => false,
        })
    }

    /// Those that are over, or used up by accounts with a password, go when another one is made.
    fn forget_invitations(&mut self) {
        let (time, seq) = (self.time, self.seq);
        let Credentials { invitations, passwords, .. } = &mut self.credentials;
        for one in invitations.iter_mut() {
            let is_waited_for = one.made.last().is_some_and(|last| !passwords.contains_key(last));
            let is_over = one.until.is_some_and(|until| until <= time);
            if is_over || (one.made.len() >= one.uses && !is_waited_for) {
                one.span.end(seq);
            }
        }
    }

    fn enter(&mut self, room: u64, who: u64) {
        let from = self.account_name(who);
        let there = self.rooms.get_mut(&room).expect("the inviter is in it");
        there.members.insert(who);
        there.ever.insert(who);
        let body = EventBody::Joined { from };
        self.record(room, Some(who), body, Principal::Account(AccountId(who)));
    }

    fn invitation(&self, key: &TokenKey) -> Option<&Invitation> {
        self.credentials.invitations.iter().find(|one| one.key == *key)
    }

    /// Is it the name of the last account made with this code, which has no password yet?
    fn accepted_before(&self, key: &TokenKey, name: &Name, at: u64) -> bool {
        let last = self.invitation(key).and_then(|one| one.made.iter().rfind(|made| **made <= at));
        last.is_some_and(|last| {
            self.accounts.get(last).is_some_and(|(made, _)| made.key == name.key)
                && self.password_at(*last, at).is_none()
        })
    }

    // ---- questions ----

    /// Can somebody make an account with this code behind this entry, or continue with one that has no password yet?
    pub(crate) fn can_accept(&self, key: &TokenKey, at: u64) -> bool {
        let Some(one) = self.invitation(key) else { return false };
        let made = one.made.iter().filter(|made| **made <= at);
        let is_waited_for =
            made.clone().next_back().is_some_and(|last| self.password_at(*last, at).is_none());
        let is_over = one.until.is_some_and(|until| until <= self.time_at(at));
        let is_active = !matches!(one.by, Principal::Account(who) if self.credentials.is_disabled(who.0, at));
        one.span.holds(at) && !is_over && is_active && (made.count() < one.uses || is_waited_for)
    }

    /// The invitations that were not withdrawn.
    pub(crate) fn invitations(&self) -> impl Iterator<Item = &Invitation> {
        self.credentials.invitations.iter().filter(|one| one.span.holds(self.seq))
    }

    /// Was there an invitation of this number behind this entry?
    pub(crate) fn has_invitation(&self, id: u64, at: u64) -> bool {
        self.credentials.invitations.iter().any(|one| one.id == id && one.span.holds(at))
    }

    pub(crate) fn role(&self, who: u64) -> AccountRole {
        self.credentials.roles.get(&who).copied().unwrap_or_default()
    }

    /// The roles of all accounts that have another one than a person's, or had.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (u64, AccountRole)> {
        self.credentials.roles.iter().map(|(&who, &role)| (who, role))
    }

    pub(crate) fn is_disabled(&self, who: u64, at: u64) -> bool {
        self.credentials.is_disabled(who, at)
    }

    /// An account's password behind this entry.
    pub(crate) fn password_at(&self, who: u64, at: u64) -> Option<&str> {
        let passwords = self.credentials.passwords.get(&who)?;
        passwords.iter().find(|password| password.span.holds(at)).map(|password| password.text.as_str())
    }

    /// An account's passwords before today's.
    pub(crate) fn old_passwords(&self, who: u64) -> Vec<&str> {
        let passwords = self.credentials.passwords.get(&who).map_or(&[][..], Vec::as_slice);
        let old = passwords.iter().filter(|password| password.span.ended.is_some());
        old.map(|password| password.text.as_str()).filter(|text| !text.is_empty()).collect()
    }

    pub(crate) fn token(&self, key: &TokenKey) -> Option<&Token> {
        self.credentials.tokens.iter().find(|token| token.key == *key)
    }

    /// Has nothing ended it but time? It was over before a later token took its place, or nothing did.
    pub(crate) fn is_over(&self, token: &Token) -> bool {
        token.span.ended.is_none_or(|ended| token.until.is_some_and(|until| until <= self.time_at(ended)))
    }

    /// An account's tokens behind this entry.
    pub(crate) fn tokens_of(&self, who: u64, at: u64) -> impl Iterator<Item = &Token> {
        self.credentials.tokens.iter().filter(move |token| token.who == who && token.span.holds(at))
    }

    /// Entries after this one that end what an account's connections signed in with a password.
    pub(crate) fn ends_after(&self, who: u64, after: u64) -> impl Iterator<Item = u64> {
        let ends = self.credentials.ends.get(&who).map_or(&[][..], Vec::as_slice);
        ends.iter().copied().filter(move |&end| end > after)
    }

    /// The journal's time behind this entry.
    pub(crate) fn time_at(&self, at: u64) -> u64 {
        let index = usize::try_from(at).unwrap_or_default();
        index.checked_sub(1).and_then(|index| self.credentials.times.get(index)).copied().unwrap_or_default()
    }

    /// Entries whose verifiers must be erased.
    pub(crate) fn replaced(&self) -> &[u64] {
        &self.credentials.replaced
    }
}
