//! Accounts: the operator adds them.

use vang_chat::{AccountCommand, Principal, Refusal};
use vang_journal::encode_name;
use vang_proto::vang::ErrorReply;

use crate::admission::{bad_name, name_taken, refused};
use crate::hub::Hub;
use crate::session::Asker;

impl Hub {
    pub(super) fn add_account(
        &mut self,
        asker: &Asker,
        who: &Principal,
        typed: &str,
    ) -> Result<(), ErrorReply> {
        let made = self.names.make_account(typed);
        let (shown, name) = made.map_err(|bad| bad_name("name", typed, &bad))?;
        // To others the rules say that it is not for them.
        if *who == Principal::Operator && self.book.old_account(&name).is_some() {
            return Err(name_taken("an account", &shown)(refused(&Refusal::NameTaken)));
        }
        let added = self.enqueue(asker, AccountCommand::Add { name, by: *who }.into(), encode_name(&shown));
        added.map_err(name_taken("an account", &shown))
    }
}
