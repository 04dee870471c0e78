//! The thread that decides never waits for a hash: while passwords are checked it answers everybody else.
//!
//! Counted, without a clock: each check reads its verifier first, on the thread that then hashes. Here that read waits until the
//! test lets it go on, after many others were answered. The pump, the connections, the desk and its threads are the real ones.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::task::yield_now;
use vang_chat::Seq;
use vang_hub::Peer;
use vang_journal::{Checked, Damages, Identity, JournalError, Reader, Sealed, Store};
use vang_proto::Secret;
use vang_proto::vang::Action;

use crate::bounded_turns_tests::{Random, World, in_a_runtime};

/// After this time a check goes on by itself, and the test fails. It does not depend on its value.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests of others that are answered during each check.
const PINGS: usize = 100;

/// Checks, one after the other: as many wrong passwords of one address are not delayed.
const CHECKS: usize = 4;

/// Where checks wait.
#[derive(Debug)]
struct Gate {
    /// The names of the threads that have come here.
    threads: Mutex<Vec<String>>,
    opens: Mutex<Receiver<()>>,
}

impl Gate {
    fn pass(&self) {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        self.threads.lock().unwrap().push(name);
        let opened = self.opens.lock().unwrap().recv_timeout(PATIENCE);
        opened.expect("others are answered while a check is under way");
    }
}

/// A journal's store whose readers pass the gate.
#[derive(Debug)]
struct Gated(Arc<dyn Store>, Arc<Gate>);

impl Store for Gated {
    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn reader(&self) -> Result<Box<dyn Reader + Send>, JournalError> {
        Ok(Box::new(GatedReader(self.0.reader()?, self.1.clone())))
    }

    fn look(&self) -> Result<(), JournalError> {
        self.0.look()
    }

    fn damages(&self) -> &Arc<Damages> {
        self.0.damages()
    }
}

struct GatedReader(Box<dyn Reader + Send>, Arc<Gate>);

impl Reader for GatedReader {
    fn end(&mut self) -> Result<Seq, JournalError> {
        self.0.end()
    }

    fn read(&mut self, after: Seq, limit: usize, bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        self.0.read(after, limit, bytes_max)
    }

    fn get(&mut self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        self.1.pass();
        self.0.get(seqs, bytes_max)
    }

    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError> {
        self.0.sealed(after, limit)
    }

    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError> {
        self.0.checkpoints(after, limit)
    }
}

async fn others_are_answered_during_each_check() {
    let (open, opens) = channel();
    let gate = Arc::new(Gate { threads: Mutex::default(), opens: Mutex::new(opens) });
    let gated = gate.clone();
    let world = World::open_with(&mut Random(8841), |store| Arc::new(Gated(store, gated))).await;
    let mut other = world.honest(Peer::Local, Some("bob"));
    let guess = Action::SignIn {
        password: Some(Secret::new("guess number one".to_owned())),
        token: None,
        device: None,
    };
    for check in 1..=CHECKS {
        // There is no such account: finding the password wrong takes as long.
        let mut guesser = world.honest(Peer::Local, Some("nobody"));
        guesser.send(&guess);
        while gate.threads.lock().unwrap().len() < check {
            yield_now().await;
        }
        for _ in 0..PINGS {
            other.ask(&Action::Ping).await;
        }
        assert_eq!(guesser.peer.received_bytes(), 0, "the check is under way");
        open.send(()).unwrap();
        assert_eq!(guesser.reply().await.code.as_deref(), Some("wrong-secret"));
    }
    assert_eq!(*gate.threads.lock().unwrap(), ["hasher"; CHECKS]);
}

#[test]
fn the_deciding_thread_answers_others_while_passwords_are_checked() {
    in_a_runtime(others_are_answered_during_each_check());
}
