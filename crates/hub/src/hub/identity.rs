//! Who is this: the name and the principal behind a connection. How somebody is shown is `Book::speaker`.

use vang_chat::{AccountId, AccountStatus, NameKey, Principal, Refusal};
use vang_proto::vang::{Action, Code, ErrorReply, Rate};

use crate::admission::{Admitted, Peer, Proof, Speaking, Trust, admit, bad_name, refused, with_name};
use crate::hub::Hub;
use crate::names::{self, ANON, NameError};
use crate::session::SessionId;

impl Hub {
    /// The account or guest of a connection, or of its first request under this name; a guest if there is no name.
    pub fn principal(&self, id: SessionId, name: Option<&str>) -> Principal {
        let session = self.session(id);
        if let Some(speaking) = session.and_then(|session| session.speaking.as_ref()) {
            return speaking.principal;
        }
        match name.map(|name| self.named(name)) {
            Some(Ok((_, _, Some(account)))) => Principal::Account(account),
            Some(Ok((_, key, None))) => Principal::Guest(key),
            Some(Err(_)) | None => match session.is_some_and(|session| session.peer == Peer::Operator) {
                true => Principal::Operator,
                false => Principal::Guest(self.anon),
            },
        }
    }

    /// The account or guest of a request: the first name on a connection counts. A guest who has only read and followed
    /// can take another name with `hello`; `who` shows the new one then.
    pub(super) fn speaking(
        &mut self,
        id: SessionId,
        name: Option<&str>,
        action: &Action,
    ) -> Result<Speaking, ErrorReply> {
        let made = name.map(|name| self.named(name).map_err(|bad| bad_name("as", name, &bad))).transpose()?;
        if let Some((shown, key, None)) = &made
            && self.session(id).and_then(|session| session.speaking.as_ref()?.key) != Some(*key)
        {
            self.check_guest(shown, *key)?;
        }
        if let Some(known) = self.session(id).and_then(|session| session.speaking.as_ref())
            && known.proof != Proof::Name
        {
            if made
                .as_ref()
                .is_some_and(|(_, _, account)| account.map(Principal::Account) != Some(known.principal))
            {
                let why = "this connection is signed in under another name";
                return Err(ErrorReply::new(Code::NameSet, why));
            }
            let known = known.clone();
            self.check_proof(id)?;
            return Ok(known);
        }
        if let Some((_, _, Some(account))) = &made
            && self.state.status(*account) != AccountStatus::Active
        {
            return Err(refused(&Refusal::AccountDisabled));
        }
        let (guests, trust, anon) = (self.guests, self.trust, self.anon);
        let Some(session) = self.session_mut(id) else {
            return Err(ErrorReply::new(Code::Stopping, "the connection is gone"));
        };
        let is_free = |known: &Speaking| {
            matches!(known.principal, Principal::Guest(_))
                && matches!(action, Action::Hello)
                && made.is_some()
                && !session.has_written
        };
        let known = session.speaking.as_ref().filter(|known| !is_free(known));
        let speaking = match (known, made) {
            // Two accounts of an old journal may have one key by now: they are two all the same.
            (Some(speaking), Some((_, key, account)))
                if speaking.key != Some(key)
                    || matches!(speaking.principal, Principal::Account(known) if account != Some(known)) =>
            {
                let why = "this connection already speaks under another name";
                return Err(ErrorReply::new(Code::NameSet, why));
            }
            (Some(speaking), _) => speaking.clone(),
            (None, Some((_, key, Some(account)))) => Speaking {
                principal: Principal::Account(account),
                key: Some(key),
                guest: None,
                proof: Proof::Name,
            },
            (None, Some((shown, key, None))) => Speaking {
                principal: Principal::Guest(key),
                key: Some(key),
                guest: Some(shown),
                proof: Proof::Name,
            },
            (None, None) if session.peer == Peer::Operator => {
                Speaking { principal: Principal::Operator, key: None, guest: None, proof: Proof::Name }
            }
            (None, None) => Speaking {
                principal: Principal::Guest(anon),
                key: None,
                guest: Some(ANON.to_owned()),
                proof: Proof::Name,
            },
        };
        let trust = if session.browser.is_some() { Trust::Folder } else { trust };
        admit(session.peer, &speaking.principal, trust, guests)?;
        session.has_written |= is_written(action);
        // Who has given no name may still do so with a later request.
        if speaking.key.is_some() {
            session.speaking = Some(speaking.clone());
            if let Principal::Account(account) = speaking.principal
                && self.signed_in.insert((account, id))
            {
                self.note_seen(id);
            }
        }
        Ok(speaking)
    }

    /// Can a guest take this name? It is asked once for each name of a connection. Others see `guest:NAME`, and still a guest must
    /// not look like an account.
    fn check_guest(&self, shown: &str, key: NameKey) -> Result<(), ErrorReply> {
        let scripts = names::scripts(shown).map_err(|bad| bad_name("as", shown, &bad))?;
        if self.state.has_accounts_in_other_scripts(&scripts) {
            let name = self.names.guest(shown, key, scripts);
            let checked = self.state.check_guest(&name).map_err(|refusal| refused(&refusal));
            checked.map_err(with_name("an account", shown))?;
        }
        Ok(())
    }

    /// Who can enter from there, as the rules are now.
    pub fn admitted(&self, peer: Peer) -> Admitted {
        let may = |who: Principal| admit(peer, &who, self.trust, self.guests).is_ok();
        // The rules are the same for all accounts.
        let (guests, accounts) = (may(Principal::Guest(self.anon)), may(Principal::Account(AccountId(0))));
        Admitted { guests, accounts, rooms_by: self.rooms_by }
    }

    /// A name, its key, and the account that it means, if there is one.
    pub(super) fn named(&self, typed: &str) -> Result<(String, NameKey, Option<AccountId>), NameError> {
        if let Some(account) = self.book.account_shown_as(typed) {
            return Ok((typed.to_owned(), self.names.key(typed), Some(account)));
        }
        let (shown, key) = self.names.make(typed)?;
        let exactly = self.book.account_shown_as(&shown);
        let account = exactly.or_else(|| self.state.account(&key)).or_else(|| self.book.old_account(&key));
        Ok((shown, key, account))
    }

    /// The name under which others see a connection: `guest:anon` while it has none.
    pub(super) fn name_of_session(&self, id: SessionId) -> String {
        let speaking = self.session(id).and_then(|session| session.speaking.as_ref());
        let guest = speaking.and_then(|speaking| speaking.guest.as_deref());
        self.book.speaker(&self.principal(id, None), guest).to_string()
    }
}

/// Does the journal keep it, with the name of who asks?
fn is_written(action: &Action) -> bool {
    match action.info().rate {
        Rate::Messages | Rate::Joins | Rate::Rooms => true,
        Rate::None | Rate::Questions => false,
    }
}
