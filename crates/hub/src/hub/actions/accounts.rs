//! Accounts: the operator and administrators add and disable them; the operator deletes them.

use bytes::Bytes;
use vang_chat::{AccountCommand, AccountRole, AccountStatus, Principal, ServerPower};
use vang_journal::encode_name;
use vang_proto::vang::{self, ErrorReply};

use crate::admission::{bad_name, with_name};
use crate::hub::Hub;
use crate::session::Asker;

impl Hub {
    pub(super) fn add_account(
        &mut self,
        asker: &Asker,
        who: &Principal,
        typed: &str,
    ) -> Result<(), ErrorReply> {
        let made = self.names.make_new(typed);
        let (shown, name) = made.map_err(|bad| bad_name("name", typed, &bad))?;
        let is_known = self.book.old_account(&name.key).is_some();
        let command = AccountCommand::Add { name, by: *who };
        self.enqueue_name(asker, command.into(), encode_name(&shown), is_known)
            .map_err(with_name("an account", &shown))
    }

    pub(super) fn set_role(
        &mut self,
        asker: &Asker,
        who: &Principal,
        name: &str,
        role: vang::Role,
    ) -> Result<(), ErrorReply> {
        let role = match role {
            vang::Role::Person => AccountRole::Person,
            vang::Role::Admin => AccountRole::Admin,
            vang::Role::Bot => AccountRole::Bot,
        };
        let account = self.account_meant(ServerPower::SetRole, who, Some(name))?;
        let command = AccountCommand::SetRole { who: account, role, by: *who };
        self.enqueue(asker, command.into(), Bytes::new())
    }

    pub(super) fn set_status(
        &mut self,
        asker: &Asker,
        who: &Principal,
        name: &str,
        status: AccountStatus,
    ) -> Result<(), ErrorReply> {
        let (power, payload) = match status {
            AccountStatus::Active | AccountStatus::Disabled => (ServerPower::Disable, Bytes::new()),
            // It has no name any more.
            AccountStatus::Deleted => (ServerPower::DeleteAccount, encode_name("")),
        };
        let account = self.account_meant(power, who, Some(name))?;
        let command = AccountCommand::SetStatus { who: account, status, by: *who };
        self.enqueue(asker, command.into(), payload)
    }
}
