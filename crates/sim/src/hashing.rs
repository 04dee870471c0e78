//! The threads that hash passwords, and the erasing of verifiers that were replaced: both are done after a while, or never if
//! the server crashes before. A verifier here is the password itself, behind a version.

use bytes::Bytes;
use vang_chat::Seq;
use vang_hub::{SecretAnswer, SecretCheck, SecretError, SecretJob};
use vang_journal::{MemoryJournal, Reader};

use crate::environment::Environment;

/// A password shorter than this is refused.
const PASSWORD_BYTES_MIN: usize = 8;

/// The versions of verifiers: one of the first is replaced when its password is next found right.
const VERSIONS: [&str; 2] = ["1 ", "2 "];

/// What becomes of a job.
pub(crate) type Done = (u64, Result<SecretAnswer, SecretError>);

#[derive(Debug, Default)]
pub(crate) struct Hashing {
    jobs: Vec<(u64, SecretJob)>,
    erasing: Vec<(u64, Vec<Seq>)>,
}

impl Hashing {
    pub(crate) fn ask(&mut self, env: &mut Environment, job: SecretJob) {
        let due = env.now() + env.rng.between(1, env.weather.hash_ms);
        self.jobs.push((due, job));
    }

    pub(crate) fn erase(&mut self, env: &mut Environment, seqs: Vec<Seq>) {
        let due = env.now() + env.rng.between(1, env.weather.hash_ms);
        self.erasing.push((due, seqs));
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.jobs.is_empty() && self.erasing.is_empty()
    }

    /// The jobs that are done by now, in the order in which they were finished.
    pub(crate) fn done(&mut self, env: &mut Environment, journal: &mut MemoryJournal) -> Vec<Done> {
        let mut due = take_due(&mut self.jobs, env.now());
        due.sort_by_key(|(due, job)| (*due, job.id));
        due.into_iter().map(|(_, job)| (job.id, answer(env, journal, job))).collect()
    }

    /// What is to be erased by now.
    pub(crate) fn erasable(&mut self, env: &Environment) -> Vec<Vec<Seq>> {
        take_due(&mut self.erasing, env.now()).into_iter().map(|(_, seqs)| seqs).collect()
    }
}

fn take_due<T>(waiting: &mut Vec<(u64, T)>, now: u64) -> Vec<(u64, T)> {
    let (due, later) = std::mem::take(waiting).into_iter().partition(|(due, _)| *due <= now);
    *waiting = later;
    due
}

fn answer(
    env: &mut Environment,
    journal: &mut MemoryJournal,
    job: SecretJob,
) -> Result<SecretAnswer, SecretError> {
    let SecretJob { account, check, make, .. } = job;
    if make.as_ref().is_some_and(|new| new.len() < PASSWORD_BYTES_MIN) {
        return Err(SecretError::Weak("the password is too short".to_owned()));
    }
    if env.weather.people_act && env.rng.happens(20) {
        env.count("password job put off");
        return Err(SecretError::Busy { retry_after_ms: 100 });
    }
    let mut renewed = None;
    if let Some(SecretCheck { password, verifier }) = check {
        let verifier = verifier.ok_or(SecretError::Wrong)?;
        let entry = journal.get(&[verifier], usize::MAX).expect("memory does not fail").remove(0);
        let Some(payload) = entry.expect("memory does not damage").payload else {
            env.count("verifier erased while a check waited");
            return Err(SecretError::Unavailable("the password was changed meanwhile; try again".to_owned()));
        };
        let (version, right) = read_verifier(&payload.bytes).expect("a verifier");
        if right != password.expose() {
            return Err(SecretError::Wrong);
        }
        if version == VERSIONS[0] {
            env.count("verifier renewed");
            renewed = Some(write_verifier(VERSIONS[1], right));
        }
    }
    let made = match make {
        // The account is not there yet: it was only to be known whether the password may be used.
        Some(_) if account.is_none() => None,
        Some(new) => Some(write_verifier(env.rng.pick(&VERSIONS).expect("two"), new.expose())),
        None => renewed,
    };
    Ok(SecretAnswer { made })
}

fn write_verifier(version: &str, password: &str) -> Bytes {
    format!("{version}{password}").into()
}

/// The version and the password of a verifier.
pub(crate) fn read_verifier(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_at_checked(VERSIONS[0].len())
}
