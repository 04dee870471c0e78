//! The threads that hash passwords. They read verifiers from the journal themselves, so that signing in waits neither for the
//! view nor for readers of history.
//!
//! ```text
//! pump ──HashJob──▶ channel ──▶ hasher, hasher ──Hashed──▶ pump
//!                                 └──▶ journal.db
//! ```
//!
//! No order is kept here: `guesses.rs` gives as many jobs as there are threads, each when its turn comes. At most
//! `threads` × `MEMORY_KIB_MAX` are taken; usually it is 19 MiB each, and nothing while nobody signs in.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{AccountId, Seq};
use vang_journal::{JournalError, Reader, Store};
use vang_proto::Secret;

use super::hashed::{CheckError, Hashed};
use super::password::{Checked, Cost, Hasher, NewPassword};
use super::seal::Sealer;
use crate::disk::{Answer, FAILURE_PAUSE, lower_priority, spawn};

/// How much the threads stand back, as `nice` counts: 10 is a tenth of the main thread's share of a processor that both
/// want.
const HASHERS_NICENESS: i32 = 10;

/// For the threads that hash.
#[derive(Debug)]
pub(crate) enum HashJob {
    /// Is this the account's password? Without account or verifier it is not, which takes as long to find out.
    Check { id: u64, account: Option<AccountId>, verifier: Option<Seq>, password: Secret },
    /// Makes the verifier of a new password.
    Make { id: u64, password: NewPassword },
}

/// Reads payloads of the journal; each thread has its own.
pub(crate) trait Payloads: Send + 'static {
    /// The payload of an entry, proven by its digest. `None`: erased.
    fn payload(&mut self, seq: Seq) -> Result<Option<Bytes>, JournalError>;
}

/// Payloads of a journal's store; opened when first needed, and again after a failure.
pub(crate) struct JournalPayloads {
    journal: Arc<dyn Store>,
    open: Option<Box<dyn Reader + Send>>,
}

impl JournalPayloads {
    pub(crate) fn new(journal: Arc<dyn Store>) -> JournalPayloads {
        JournalPayloads { journal, open: None }
    }

    fn read(&mut self, seq: Seq) -> Result<Option<Bytes>, JournalError> {
        let reader = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(self.journal.reader()?),
        };
        // No limit of bytes: the first entry is read in any case, and there is one.
        let entry = reader.get(&[seq], 0)?.pop();
        let entry = entry.ok_or(JournalError::Damaged { seq: seq.0, why: "it is missing".to_owned() })?;
        let entry = entry.map_err(|damage| JournalError::Damaged { seq: damage.seq.0, why: damage.why })?;
        Ok(entry.payload.map(|payload| payload.bytes))
    }
}

impl Payloads for JournalPayloads {
    fn payload(&mut self, seq: Seq) -> Result<Option<Bytes>, JournalError> {
        let payload = self.read(seq);
        if payload.is_err() {
            self.open = None;
            thread::sleep(FAILURE_PAUSE);
        }
        payload
    }
}

/// The end where jobs are put in. When it is dropped the threads end after what they have begun.
#[derive(Debug)]
pub(crate) struct Hashing(Sender<HashJob>);

impl Hashing {
    /// Never waits.
    pub(crate) fn push(&self, job: HashJob) {
        // Threads that are gone have said so (`Answer::Ended`).
        let _ = self.0.send(job);
    }
}

/// Starts so many threads. `payloads` gives each its reader; `give` takes what they answer, and says `false` when nobody
/// hears it any more; `ended` hears of a thread that ended in a panic.
pub(crate) fn hashers<P: Payloads>(
    threads: usize,
    (cost, sealer): (Cost, Arc<Sealer>),
    payloads: impl Fn() -> P,
    give: impl Fn(Hashed) -> bool + Clone + Send + 'static,
    ended: &UnboundedSender<Answer>,
) -> io::Result<(Hashing, Vec<JoinHandle<()>>)> {
    let (jobs, inbox) = channel();
    let inbox = Arc::new(Mutex::new(inbox));
    let handles = (0..threads)
        .map(|_| {
            let (inbox, give) = (inbox.clone(), give.clone());
            let mut worker =
                Worker { hasher: Hasher::new(cost), sealer: sealer.clone(), payloads: payloads() };
            spawn("hasher", ended.clone(), move || {
                lower_priority(HASHERS_NICENESS);
                while let Some(job) = next(&inbox) {
                    if !give(worker.perform(job)) {
                        break;
                    }
                }
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((Hashing(jobs), handles))
}

/// One thread waits for the channel, the others for it.
fn next(inbox: &Mutex<Receiver<HashJob>>) -> Option<HashJob> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// One of the threads.
struct Worker<P> {
    hasher: Hasher,
    sealer: Arc<Sealer>,
    payloads: P,
}

impl<P: Payloads> Worker<P> {
    fn perform(&mut self, job: HashJob) -> Hashed {
        match job {
            HashJob::Check { id, account, verifier, password } => {
                let outcome = self.check(account.zip(verifier), &password);
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "a password could not be checked");
                }
                Hashed::Checked { id, outcome }
            }
            HashJob::Make { id, password } => {
                let verifier = self.hasher.make(&password);
                if let Err(error) = &verifier {
                    tracing::warn!(%error, "a verifier could not be made");
                }
                Hashed::Made { id, verifier }
            }
        }
    }

    fn check(&mut self, stored: Option<(AccountId, Seq)>, password: &Secret) -> Result<Checked, CheckError> {
        let Some((account, seq)) = stored else {
            // Read all the same, or the time would tell that there is nothing to read.
            let _ = self.payloads.payload(Seq(1));
            return Ok(self.hasher.check(None, password)?);
        };
        let payload = self.payloads.payload(seq)?;
        let payload = payload.ok_or(CheckError::Missing { account: account.0, seq })?;
        let verifier = self.sealer.open(account, &payload);
        let verifier = verifier.map_err(|error| CheckError::Sealed { account: account.0, seq, error })?;
        Ok(self.hasher.check(Some(&verifier), password)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::sync::mpsc::unbounded_channel;
    use vang_journal::{Batch, Damages, Draft, Identity, Journal, MemoryJournal, Payload};

    use super::super::seal::SealError;
    use super::*;

    const SMALL: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    /// Entries with these payloads; others are damaged.
    #[derive(Clone, Default)]
    struct Fixed(HashMap<Seq, Option<Bytes>>);

    impl Payloads for Fixed {
        fn payload(&mut self, seq: Seq) -> Result<Option<Bytes>, JournalError> {
            let damaged = JournalError::Damaged { seq: seq.0, why: "it is missing".to_owned() };
            self.0.get(&seq).cloned().ok_or(damaged)
        }
    }

    fn sealer() -> Arc<Sealer> {
        Arc::new(Sealer::new(&Identity::new([1; 16], [7; 32])))
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    /// What so many threads answer, by the ids of the jobs.
    fn answers(threads: usize, payloads: Fixed, jobs: Vec<HashJob>) -> HashMap<u64, Hashed> {
        let (ended, _) = unbounded_channel();
        let (give, mut given) = unbounded_channel();
        let give = move |hashed| give.send(hashed).is_ok();
        let (hashing, handles) =
            hashers(threads, (SMALL, sealer()), || payloads.clone(), give, &ended).unwrap();
        jobs.into_iter().for_each(|job| hashing.push(job));
        drop(hashing);
        handles.into_iter().for_each(|thread| thread.join().unwrap());
        let all = std::iter::from_fn(|| given.try_recv().ok());
        all.map(|hashed| match hashed {
            Hashed::Checked { id, .. } | Hashed::Made { id, .. } => (id, hashed),
        })
        .collect()
    }

    fn sealed(account: AccountId, password: &str) -> Bytes {
        let password = NewPassword::new(&secret(password), "ada").unwrap();
        sealer().seal(account, &Hasher::new(SMALL).make(&password).unwrap()).unwrap()
    }

    #[test]
    fn passwords_are_checked_against_what_the_journal_has() {
        let (ada, bob) = (AccountId(4), AccountId(9));
        let payloads = Fixed(HashMap::from([
            (Seq(5), Some(sealed(ada, "correct horse"))),
            (Seq(6), None),
            (Seq(7), Some(Bytes::from_static(b"damaged"))),
        ]));
        let jobs = [
            (1, Some(ada), Some(Seq(5)), "correct horse"),
            (2, Some(ada), Some(Seq(5)), "correct house"),
            (3, None, None, "correct horse"),
            (4, Some(ada), None, "correct horse"),
            (5, Some(bob), Some(Seq(5)), "correct horse"),
            (6, Some(ada), Some(Seq(6)), "correct horse"),
            (7, Some(ada), Some(Seq(7)), "correct horse"),
            (8, Some(ada), Some(Seq(8)), "correct horse"),
        ];
        let jobs = jobs.map(|(id, account, verifier, password)| HashJob::Check {
            id,
            account,
            verifier,
            password: secret(password),
        });
        let answers = answers(2, payloads, jobs.into());
        let outcome = |id: u64| match &answers[&id] {
            Hashed::Checked { outcome, .. } => outcome,
            Hashed::Made { .. } => panic!("nothing was made"),
        };
        assert!(matches!(outcome(1), Ok(Checked::Yes)));
        for id in 2..=4 {
            assert!(matches!(outcome(id), Ok(Checked::No)), "job {id}");
        }
        assert!(matches!(outcome(5), Err(CheckError::Sealed { account: 9, error: SealError::NotOurs, .. })));
        assert!(matches!(outcome(6), Err(CheckError::Missing { account: 4, seq: Seq(6) })));
        assert!(matches!(outcome(7), Err(CheckError::Sealed { error: SealError::Malformed(_), .. })));
        assert!(matches!(outcome(8), Err(CheckError::Journal(JournalError::Damaged { seq: 8, .. }))));
    }

    #[test]
    fn a_made_verifier_fits_its_password() {
        let password = NewPassword::new(&secret("correct horse"), "ada").unwrap();
        let answers = answers(1, Fixed::default(), vec![HashJob::Make { id: 1, password }]);
        let Hashed::Made { verifier: Ok(verifier), .. } = &answers[&1] else { panic!("not made") };
        let checked = Hasher::new(SMALL).check(Some(verifier), &secret("correct horse"));
        assert_eq!(checked, Ok(Checked::Yes));
    }

    /// A journal in memory whose readers cannot be opened while `is_away`.
    #[derive(Debug)]
    struct InMemory {
        journal: MemoryJournal,
        is_away: Mutex<bool>,
        damages: Arc<Damages>,
    }

    impl Store for InMemory {
        fn identity(&self) -> Identity {
            Identity::new([1; 16], [7; 32])
        }

        fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError> {
            match *self.is_away.lock().unwrap() {
                true => Err(JournalError::Unavailable("it is away".to_owned())),
                false => Ok(Box::new(self.journal.clone())),
            }
        }

        fn look(&self) -> Result<(), JournalError> {
            Ok(())
        }

        fn damages(&self) -> &Arc<Damages> {
            &self.damages
        }
    }

    #[test]
    fn payloads_come_from_the_journal_and_again_after_a_failure() {
        let mut journal = MemoryJournal::new(Identity::new([1; 16], [7; 32]));
        let drafts = [b"first", b"other"].map(|bytes| Draft {
            envelope: Bytes::new(),
            payload: Payload { salt: [0; 16], bytes: Bytes::from_static(bytes) },
        });
        journal.append(&Batch { drafts: drafts.into(), checkpoints: Vec::new() });
        journal.erase(&[Seq(2)]).unwrap();
        let store = InMemory { journal, is_away: Mutex::new(true), damages: Arc::default() };
        let store = Arc::new(store);
        let mut payloads = JournalPayloads::new(store.clone());
        assert!(matches!(payloads.payload(Seq(1)), Err(JournalError::Unavailable(_))));
        *store.is_away.lock().unwrap() = false;
        assert_eq!(payloads.payload(Seq(1)).unwrap(), Some(Bytes::from_static(b"first")));
        assert_eq!(payloads.payload(Seq(2)).unwrap(), None);
        assert!(matches!(payloads.payload(Seq(3)), Err(JournalError::Damaged { seq: 3, .. })));
        assert_eq!(payloads.payload(Seq(1)).unwrap(), Some(Bytes::from_static(b"first")));
    }
}
