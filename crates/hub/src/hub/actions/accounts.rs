//! Accounts: the operator adds them.

use vang_chat::{AccountCommand, Principal};
use vang_journal::encode_name;
use vang_proto::vang::ErrorReply;

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
}
