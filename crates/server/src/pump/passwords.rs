//! Passwords: what the hub wants checked goes to the desk, and what became of it back.

use vang_hub::{SecretError, SecretJob, SessionId};

use super::Pump;
use crate::clock::steady_now;
use crate::secrets::desk::Done;
use crate::secrets::hashed::Hashed;

impl Pump {
    pub(super) fn ask_secrets(&self, job: SecretJob) {
        let from = self.slots.borrow().get(&job.session).map(|slot| slot.connection.from.host());
        let Some(from) = from else {
            // Its session is gone already.
            let gone = (job.id, Err(SecretError::Wrong));
            return self.answer_secret(gone);
        };
        let done = self.desk.borrow_mut().ask(steady_now().0, job, from);
        done.into_iter().for_each(|done| self.answer_secret(done));
        self.run_secrets();
    }

    /// Lets jobs begin whose turn has come.
    pub(super) fn run_secrets(&self) {
        let refused = self.desk.borrow_mut().run(steady_now().0);
        refused.into_iter().for_each(|done| self.answer_secret(done));
    }

    pub(super) fn take_hashed(&self, hashed: Hashed) {
        let done = self.desk.borrow_mut().hashed(steady_now().0, hashed);
        done.into_iter().for_each(|done| self.answer_secret(done));
        self.run_secrets();
        self.perform();
        // What was asked behind it may be there to be written.
        self.schedule();
    }

    pub(super) fn forget_secrets(&self, session: SessionId) {
        let ids = self.desk.borrow_mut().gone(session);
        for id in ids {
            self.hub.borrow_mut().answer_secret(id, Err(SecretError::Wrong));
        }
    }

    fn answer_secret(&self, (id, answer): Done) {
        self.hub.borrow_mut().answer_secret(id, answer);
    }
}
