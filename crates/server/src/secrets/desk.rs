//! The desk: takes what the hub asks of passwords, lets each job run when its turn comes, and gives back what became of it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use vang_chat::AccountId;
use vang_hub::{KnownBy, SecretAnswer, SecretCheck, SecretError, SecretJob, SessionId};
use vang_journal::Store;

use super::guesses::check::{Guess, Standing};
use super::guesses::{GuessLimits, Guesses, Next, Outcome, Refused};
use super::hashed::{CheckError, Hashed};
use super::password::{Checked, Cost, NewPassword, Verifier};
use super::pool::{HashJob, Hashing, JournalPayloads, hashers};
use super::seal::Sealer;
use crate::disk::Answer;

/// What became of a job, by its id.
pub(crate) type Done = (u64, Result<SecretAnswer, SecretError>);

/// A job that is not done.
struct Job {
    session: SessionId,
    account: Option<AccountId>,
    check: Option<SecretCheck>,
    make: Option<NewPassword>,
}

pub(crate) struct Desk {
    guesses: Guesses,
    hashing: Hashing,
    sealer: Arc<Sealer>,
    jobs: HashMap<u64, Job>,
    /// Since the start: hashes that were begun, and jobs that were refused instead.
    hashes: u64,
    refused: u64,
}

impl Desk {
    /// Starts its threads. They end when the desk is dropped.
    pub(crate) fn start(
        journal: &Arc<dyn Store>,
        (limits, cost): (GuessLimits, Cost),
        answers: &UnboundedSender<Answer>,
    ) -> io::Result<(Desk, Vec<JoinHandle<()>>)> {
        let sealer = Arc::new(Sealer::new(&journal.identity()));
        let give = answers.clone();
        let give = move |hashed| give.send(Answer::Hashed(hashed)).is_ok();
        let payloads = || JournalPayloads::new(journal.clone());
        let (hashing, threads) = hashers(limits.threads, (cost, sealer.clone()), payloads, give, answers)?;
        let guesses = Guesses::new(limits);
        Ok((Desk { guesses, hashing, sealer, jobs: HashMap::new(), hashes: 0, refused: 0 }, threads))
    }

    /// Sets how many passwords can wait.
    pub(crate) fn set_waiting(&mut self, limits: GuessLimits) {
        self.guesses.set_waiting(limits);
    }

    /// Hashes that were begun since the start.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes
    }

    /// Jobs that were refused since the start because there were too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Jobs that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.guesses.waiting()
    }

    /// A job of the hub's, for a client at this address. What comes back is done already. Then call `run`.
    pub(crate) fn ask(&mut self, now: u64, job: SecretJob, from: IpAddr) -> Option<Done> {
        let SecretJob { id, session, account, name, shown, check, make, known } = job;
        let make = match make.map(|password| NewPassword::new(&password, &shown)).transpose() {
            Ok(make) => make,
            Err(weak) => return Some((id, Err(SecretError::Weak(weak.to_string())))),
        };
        let standing = match known {
            // Somebody with the code of an invitation guesses as a stranger does.
            _ if make.is_some() && account.is_some() => Standing::SignedIn,
            Some(KnownBy::Device(device)) => Standing::KnownDevice(device),
            Some(KnownBy::Address) => Standing::KnownAddress,
            None => Standing::Stranger,
        };
        self.jobs.insert(id, Job { session, account, check, make });
        let refused = self.guesses.ask(now, Guess { id, account: name, from, standing })?;
        Some(self.refuse(refused))
    }

    /// Gives jobs whose turn has come to the threads. Call it after each other call, and now and then: a turn may come with
    /// time. What comes back waited too long.
    pub(crate) fn run(&mut self, now: u64) -> Vec<Done> {
        let mut refused = Vec::new();
        loop {
            match self.guesses.next(now) {
                Next::Run(id) => self.begin(id),
                Next::Refuse(too_late) => refused.push(self.refuse(too_late)),
                Next::WaitUntil(_) | Next::Idle => return refused,
            }
        }
    }

    fn begin(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match (job.check.take(), job.make.take()) {
            (Some(SecretCheck { password, verifier }), make) => {
                job.make = make;
                let account = job.account;
                self.push(HashJob::Check { id, account, verifier, password });
            }
            (None, Some(password)) => self.push(HashJob::Make { id, password }),
            (None, None) => {}
        }
    }

    fn push(&mut self, job: HashJob) {
        self.hashes += 1;
        self.hashing.push(job);
    }

    /// A thread has answered. `None`: the job goes on.
    pub(crate) fn hashed(&mut self, now: u64, hashed: Hashed) -> Option<Done> {
        let (id, outcome, answer) = match hashed {
            Hashed::Checked { id, outcome } => match outcome {
                Ok(Checked::No) => (id, Outcome::Wrong, Err(SecretError::Wrong)),
                Ok(right) => {
                    let job = self.jobs.get_mut(&id)?;
                    // It keeps its turn.
                    if let Some(password) = job.make.take() {
                        self.push(HashJob::Make { id, password });
                        return None;
                    }
                    let account = job.account;
                    let made = match right {
                        // Without a new verifier the old one still serves.
                        Checked::YesButOld(verifier) => self.seal(account, &verifier).ok(),
                        Checked::Yes | Checked::No => None,
                    };
                    (id, Outcome::Right, Ok(made.unwrap_or_default()))
                }
                Err(error) => (id, Outcome::Failed, Err(unavailable(&error))),
            },
            Hashed::Made { id, verifier } => {
                let account = self.jobs.get(&id)?.account;
                let sealed = match verifier {
                    // The account is not there yet: it was only to be known whether the password may be used.
                    Ok(_) if account.is_none() => Ok(SecretAnswer::default()),
                    Ok(verifier) => self.seal(account, &verifier),
                    Err(error) => Err(SecretError::Unavailable(error.to_string())),
                };
                (id, Outcome::Made, sealed)
            }
        };
        self.guesses.finished(now, id, outcome);
        self.jobs.remove(&id).map(|_| (id, answer))
    }

    /// Nobody waits for these any more. Their ids.
    pub(crate) fn gone(&mut self, session: SessionId) -> Vec<u64> {
        let jobs = self.jobs.iter().filter(|(_, job)| job.session == session);
        let ids: Vec<u64> = jobs.map(|(id, _)| *id).collect();
        for id in &ids {
            self.guesses.gone(*id);
            self.jobs.remove(id);
        }
        ids
    }

    fn refuse(&mut self, Refused { id, retry_after_ms }: Refused) -> Done {
        self.jobs.remove(&id);
        self.refused += 1;
        (id, Err(SecretError::Busy { retry_after_ms }))
    }

    fn seal(&self, account: Option<AccountId>, verifier: &Verifier) -> Result<SecretAnswer, SecretError> {
        let account = account.ok_or_else(|| SecretError::Unavailable("there is no account".to_owned()))?;
        let made = self.sealer.seal(account, verifier);
        let made = made.map_err(|error| SecretError::Unavailable(error.to_string()))?;
        Ok(SecretAnswer { made: Some(made) })
    }
}

fn unavailable(error: &CheckError) -> SecretError {
    SecretError::Unavailable(match error {
        CheckError::Missing { .. } => "the password was changed meanwhile; try again".to_owned(),
        error => error.to_string(),
    })
}
