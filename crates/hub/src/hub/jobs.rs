//! What happens elsewhere: it is begun here with its continuation, and goes on here.

use std::collections::VecDeque;

use vang_chat::{Feed, Seq, StartAfter};
use vang_proto::vang::{Code, ErrorReply, Request, Ticket};

use crate::cold::{Read, ReadAnswer, ReadError, ReadJob};
use crate::continuation::Continuation;
use crate::hub::{Hub, Output};
use crate::limits::JOURNAL_RETRY_MS;
use crate::secrets::{SecretAnswer, SecretError, SecretJob};
use crate::session::{Asker, Cold, Made, SessionId};

impl Hub {
    /// Asks the disk, and goes on with `then` when it has answered.
    pub(super) fn read(&mut self, need: Seq, read: Read, then: Continuation) {
        self.next_job += 1;
        let id = self.next_job;
        let session = then.session();
        self.elsewhere.insert(id, then);
        self.outputs.push_back(Output::Read(ReadJob { id, session, need, read }));
    }

    /// Asks the threads that hash passwords, and goes on with `then`. What the connection asks meanwhile waits.
    pub(super) fn ask_secrets(&mut self, job: SecretJob, then: Continuation) {
        self.next_job += 1;
        let id = self.next_job;
        if let Some(session) = self.session_mut(job.session) {
            session.waits_for_secret.get_or_insert_default();
        }
        self.elsewhere.insert(id, then);
        self.outputs.push_back(Output::Secret(SecretJob { id, ..job }));
    }

    /// What came of a password. Every job must get an answer, also when its session is gone: it is forgotten then.
    pub fn answer_secret(&mut self, id: u64, answer: Result<SecretAnswer, SecretError>) {
        let Some(then) = self.elsewhere.remove(&id) else { return };
        let session = then.session();
        let Some(waiting) = self.session_mut(session) else { return };
        let mut behind = waiting.waits_for_secret.take().unwrap_or_default();
        match then {
            Continuation::SignIn { asker, account, verifier, device } => {
                self.end_sign_in(asker, account, verifier, device, answer);
            }
            Continuation::Password { asker, command, checked } => {
                self.keep_waiting(session, &asker, &mut behind);
                self.end_set_password(asker, command, checked, answer);
            }
            Continuation::Accept { asker, key, wanted } => {
                self.keep_waiting(session, &asker, &mut behind);
                self.continue_accept(asker, key, wanted, answer);
            }
            Continuation::Cursor { .. }
            | Continuation::Follow { .. }
            | Continuation::History { .. }
            | Continuation::Sessions { .. }
            | Continuation::Invitations { .. }
            | Continuation::Find { .. } => {}
        }
        // Once more in order: one of them may wait for another password.
        for (ticket, request) in behind {
            self.request(session, ticket, request);
        }
    }

    /// Who accepts an invitation speaks as the account only when its password is durable: until then what is asked waits on.
    fn keep_waiting(&mut self, id: SessionId, asker: &Asker, behind: &mut VecDeque<(Ticket, Request)>) {
        if let Some(Made::Accept { .. }) = asker.made.as_deref()
            && let Some(session) = self.session_mut(id)
        {
            session.waits_for_secret = Some(std::mem::take(behind));
        }
    }

    /// An answer from the disk. Every question must get one, also when its session is gone: it is forgotten then.
    pub fn answer_read(&mut self, id: u64, answer: Result<ReadAnswer, ReadError>) {
        let Some(then) = self.elsewhere.remove(&id) else { return };
        let session = then.session();
        let Some(waiting) = self.session_mut(session) else { return };
        waiting.is_finding &= !matches!(then, Continuation::Find { .. });
        match then {
            Continuation::Cursor { session, until } => match answer.and_then(ReadAnswer::page) {
                Ok(mut page) => {
                    // The view may know more by now, also of rooms that were not asked for: going on to
                    // its end would leave those out.
                    page.events.retain(|event| event.seq() <= until);
                    page.upto = page.upto.min(until);
                    self.take_cold(session, page);
                }
                // The cursor stays where it is; the session asks again when it is woken or written out.
                Err(_) => {
                    if let Some(session) = self.session_mut(session) {
                        session.cold = Cold::No;
                    }
                    self.wake(session);
                }
            },
            Continuation::Follow { asker, starts, feeds } => match answer.and_then(ReadAnswer::located) {
                Ok(found) => {
                    let now = self.state.seq();
                    let mut found = found.into_iter();
                    let place = |(room, n, start)| match start {
                        StartAfter::Entry(seq) => (Feed::Room(room), seq, n),
                        // The view may have lost it: then what comes next is all that can be promised.
                        StartAfter::Message => (Feed::Room(room), found.next().flatten().unwrap_or(now), n),
                    };
                    let keyed = feeds.into_iter().map(|feed| (feed, now, 0));
                    let starts = starts.into_iter().map(place).chain(keyed).collect();
                    self.begin_following(&asker, starts);
                    self.follow_behind(session);
                }
                Err(error) => {
                    self.refuse_unread(asker, &error);
                    self.follow_behind(session);
                }
            },
            Continuation::History { asker, room, since } => match answer.and_then(ReadAnswer::page) {
                Ok(page) => self.answer_history(&asker, room, since, page),
                Err(error) => self.refuse_unread(asker, &error),
            },
            Continuation::Sessions { asker, account } => {
                if let Err(error) = self.answer_sessions(&asker, account, answer) {
                    self.refuse_unread(asker, &error);
                }
            }
            Continuation::Invitations { asker } => {
                if let Err(error) = self.answer_invitations(&asker, answer) {
                    self.refuse_unread(asker, &error);
                }
            }
            // These wait for no read.
            Continuation::SignIn { asker, .. }
            | Continuation::Password { asker, .. }
            | Continuation::Accept { asker, .. } => {
                self.refuse_unread(asker, &ReadError::OtherAnswer);
            }
            Continuation::Find { asker, who, left_out } => match answer.and_then(ReadAnswer::found) {
                Ok(found) => self.answer_found(&asker, &who, &found, left_out),
                Err(error) => self.refuse_unread(asker, &error),
            },
        }
    }

    /// Refuses the request with the reason why nothing could be read.
    fn refuse_unread(&mut self, asker: Asker, error: &ReadError) {
        let code = match error {
            ReadError::ViewBehind => Code::ViewBehind,
            ReadError::Full | ReadError::NoMemory | ReadError::OverTime { .. } => Code::Busy,
            ReadError::Unreadable(_) | ReadError::OtherAnswer => Code::Unavailable,
        };
        let refusal = ErrorReply::new(code, error.to_string());
        let refusal = match error {
            // The same question would take as long again.
            ReadError::OverTime { .. } => refusal,
            _ => refusal.with("retry-after", JOURNAL_RETRY_MS),
        };
        self.refuse(asker, &refusal);
    }
}
