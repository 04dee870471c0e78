//! A faulty disk around a `MemoryJournal`: slow, full, unreachable for a while; an append that lands or not and
//! reports failure; a crash between write and sync. It keeps what it has acknowledged, unless an older copy is
//! put back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use vang_chat::{
    Command, CredentialCommand, MemberCommand, Node, OrderCommand, Principal, RoomCommand, Seq, Which,
};
use vang_hub::Settled;
use vang_journal::{
    Appended, Batch, Draft, Entry, Envelope, Identity, Journal, JournalError, MemoryJournal, Origin, Payload,
    Reader, Through,
};

use crate::environment::Environment;

/// The outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It lands and reports success.
    Lands,
    /// It reports `Unknown` and has landed.
    UnknownButThere,
    /// It reports `Unknown` and is lost.
    UnknownAndLost,
    /// No space for a while.
    Full,
    /// The disk is unreachable for a while.
    Unavailable,
}

/// The simulated disk.
#[derive(Debug)]
pub(crate) struct Disk {
    kept: MemoryJournal,
    writing: Option<Writing>,
    doubt: Option<(Batch, bool)>,
    trouble: Option<(AppendOutcome, u64)>,
    script: VecDeque<AppendOutcome>,
    settle_at: Option<u64>,
    synced: Vec<Seq>,
    seen: BTreeSet<[u8; 32]>,
    others: u64,
    /// What was erased, with the last entry that the server had applied then: an older copy still has it.
    erased: Vec<(Seq, Seq, Payload)>,
}

#[derive(Debug)]
struct Writing {
    due: u64,
    batch: Batch,
    outcome: AppendOutcome,
}

fn command(draft: &Draft) -> Option<Command> {
    Envelope::decode(&draft.envelope).ok().map(|envelope| envelope.command)
}

/// Another process that sometimes writes.
const OTHER_NODE: Node = Node(0x0fff_0fff_0fff_0fff);

impl Disk {
    /// A disk with an empty journal.
    pub(crate) fn new(identity: Identity) -> Disk {
        Disk::on(MemoryJournal::new(identity))
    }

    /// A disk on which a journal stands already.
    pub(crate) fn on(kept: MemoryJournal) -> Disk {
        Disk {
            kept,
            writing: None,
            doubt: None,
            trouble: None,
            script: VecDeque::new(),
            settle_at: None,
            synced: Vec::new(),
            seen: BTreeSet::new(),
            others: 0,
            erased: Vec::new(),
        }
    }

    /// The outcomes of the next appends; later ones are random.
    pub(crate) fn script(&mut self, outcomes: &[AppendOutcome]) {
        self.script.extend(outcomes);
    }

    pub(crate) fn reader(&self) -> MemoryJournal {
        self.kept.clone()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.kept.identity()
    }

    pub(crate) fn end(&self) -> Seq {
        self.kept.clone().end().expect("memory does not fail")
    }

    /// Positions of possible copies.
    pub(crate) fn synced(&self) -> &[Seq] {
        &self.synced
    }

    /// Starts an append.
    pub(crate) fn begin(&mut self, env: &mut Environment, batch: Batch) {
        assert!(self.writing.is_none() && self.doubt.is_none(), "one append at a time, none in doubt");
        for draft in &batch.drafts {
            self.check_new(draft);
        }
        let outcome = self.outcome(env);
        let most = if env.rng.happens(30) { 1_000 } else { env.weather.append_ms };
        let due = env.now() + env.rng.between(1, most);
        env.note(format_args!("append of {}: {outcome:?} until {due}", batch.drafts.len()));
        self.writing = Some(Writing { due, batch, outcome });
    }

    /// A request is written once: a client repeats a refused or lost one under a new salt.
    fn check_new(&mut self, draft: &Draft) {
        let envelope = Envelope::decode(&draft.envelope).expect("the hub's own envelope");
        let own = matches!(
            envelope.command,
            Command::Order(OrderCommand::Open)
                | Command::Room(RoomCommand::Create { by: Principal::Operator, .. })
                | Command::Order(OrderCommand::Tick)
                | Command::Member(MemberCommand::Enter { .. })
                | Command::Credential(
                    CredentialCommand::RenewVerifier { .. }
                        // Of a token that nobody was given.
                        | CredentialCommand::EndTokens { which: Which::One(_), .. }
                )
        );
        assert!(
            own || self.seen.insert(envelope.digest),
            "a client's request was given to the journal twice: {:?}",
            envelope.command
        );
    }

    fn outcome(&mut self, env: &mut Environment) -> AppendOutcome {
        if let Some(scripted) = self.script.pop_front() {
            return scripted;
        }
        match self.trouble {
            Some((trouble, until)) if env.now() < until => return trouble,
            _ => self.trouble = None,
        }
        if env.rng.happens(env.weather.trouble) {
            let trouble = if env.rng.happens(500) { AppendOutcome::Full } else { AppendOutcome::Unavailable };
            self.trouble = Some((trouble, env.now() + env.rng.between(1, 2_500)));
            return trouble;
        }
        match env.rng.happens(env.weather.unknown) {
            true if env.rng.happens(500) => AppendOutcome::UnknownButThere,
            true => AppendOutcome::UnknownAndLost,
            false => AppendOutcome::Lands,
        }
    }

    /// The outcome of the append, once it is due, and the entries that it became.
    pub(crate) fn finish(&mut self, env: &mut Environment) -> Option<(Appended, Vec<Entry>)> {
        if self.writing.as_ref().is_none_or(|writing| env.now() < writing.due) {
            return None;
        }
        let Writing { batch, outcome, .. } = self.writing.take()?;
        // Not before the opening: earlier entries belong to the previous opening, which is right while only one
        // process holds the lock.
        let opens = batch
            .drafts
            .iter()
            .any(|draft| command(draft).is_some_and(|one| one == Command::Order(OrderCommand::Open)));
        if !opens && env.rng.happens(env.weather.other_writer) && outcome != AppendOutcome::Full {
            self.other_writes(env);
        }
        let appended = match outcome {
            AppendOutcome::Lands => {
                let first = self.land(&batch);
                return Some((Appended::Appended { first }, batch.into_entries(first)));
            }
            AppendOutcome::UnknownButThere => {
                env.count("append landed and reported unknown");
                self.doubt = Some((batch, true));
                Appended::Unknown(JournalError::Unavailable("the sync was interrupted".to_owned()))
            }
            AppendOutcome::UnknownAndLost => {
                env.count("append lost and reported unknown");
                self.doubt = Some((batch, false));
                Appended::Unknown(JournalError::Unavailable("the sync was interrupted".to_owned()))
            }
            AppendOutcome::Full => {
                env.count("disk full");
                Appended::NotAppended(JournalError::Full("no space left on device".to_owned()))
            }
            AppendOutcome::Unavailable => {
                env.count("disk unavailable");
                Appended::NotAppended(JournalError::Unavailable("input/output error".to_owned()))
            }
        };
        Some((appended, Vec::new()))
    }

    fn land(&mut self, batch: &Batch) -> Seq {
        let Appended::Appended { first } = self.kept.append(batch) else { panic!("memory does not fail") };
        self.synced.push(self.end());
        first
    }

    fn other_writes(&mut self, env: &mut Environment) {
        env.count("another writer in between");
        self.others += 1;
        let payload = Payload { salt: env.rng.bytes(), bytes: Bytes::new() };
        let envelope = Envelope {
            rules: vang_chat::NEWEST_RULES,
            origin: Origin { node: OTHER_NODE, counter: self.others },
            time: env.clocks().wall,
            through: Through::default(),
            digest: payload.digest(),
            command: Command::Order(OrderCommand::Tick),
        };
        self.land(&Batch {
            drafts: vec![Draft { envelope: envelope.encode(), payload }],
            checkpoints: vec![],
        });
    }

    /// Starts settling.
    pub(crate) fn begin_settling(&mut self, env: &mut Environment) {
        self.settle_at = Some(env.now() + env.rng.between(1, 30));
    }

    /// The entries after `after`, or why they are not known yet.
    pub(crate) fn settle(
        &mut self,
        env: &mut Environment,
        after: Seq,
    ) -> Option<Result<Settled, JournalError>> {
        if self.settle_at.is_none_or(|due| env.now() < due) {
            return None;
        }
        self.settle_at = None;
        if env.rng.happens(env.weather.settle_fails) {
            env.count("settle failed");
            return Some(Err(JournalError::Unavailable("input/output error".to_owned())));
        }
        if let Some((batch, true)) = self.doubt.take() {
            self.land(&batch);
        }
        let entries = self.kept.read(after, usize::MAX, usize::MAX).and_then(Entry::all);
        let entries = entries.expect("memory does not fail");
        env.note(format_args!("settled: {} entries after {after}", entries.len()));
        Some(Ok(Settled { entries }))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.writing.is_none() && self.settle_at.is_none() && self.doubt.is_none()
    }

    /// The server crashes. An unfinished append lands completely or not at all; acknowledged entries stay.
    pub(crate) fn crash(&mut self, env: &mut Environment) {
        self.settle_at = None;
        let writing = self.writing.take().filter(|writing| {
            matches!(
                writing.outcome,
                AppendOutcome::Lands | AppendOutcome::UnknownButThere | AppendOutcome::UnknownAndLost
            )
        });
        let unsynced = writing.map(|writing| writing.batch).or(self.doubt.take().map(|(batch, _)| batch));
        if let Some(batch) = unsynced {
            let lands = env.rng.happens(500);
            env.count(if lands {
                "crash kept what was not synced"
            } else {
                "crash lost what was not synced"
            });
            if lands {
                self.land(&batch);
            }
        }
    }

    /// Erases payloads; the server has applied the entries up to `applied`.
    pub(crate) fn erase(&mut self, seqs: &[Seq], applied: Seq) {
        for entry in self.kept.get(seqs, usize::MAX).expect("memory does not fail") {
            let entry = entry.expect("what is erased is there");
            self.erased.extend(entry.payload.map(|payload| (applied, entry.seq, payload)));
        }
        self.kept.erase(seqs).expect("what is erased is there");
    }

    /// Puts an older copy back; the server is down.
    pub(crate) fn put_back(&mut self, to: Seq) {
        self.kept.truncate(to);
        self.synced.retain(|&seq| seq <= to);
        let (restored, erased) = std::mem::take(&mut self.erased).into_iter().partition(|(at, ..)| *at > to);
        self.erased = erased;
        self.restore(restored);
    }

    /// Writes the journal again, with the payloads that were erased after it was copied.
    fn restore(&mut self, erased: Vec<(Seq, Seq, Payload)>) {
        let mut payloads: BTreeMap<Seq, Payload> =
            erased.into_iter().map(|(_, seq, payload)| (seq, payload)).collect();
        payloads.retain(|seq, _| *seq <= self.end());
        if payloads.is_empty() {
            return;
        }
        let mut copy = MemoryJournal::new(self.kept.identity());
        let entries = self.kept.read(Seq(0), usize::MAX, usize::MAX).and_then(Entry::all);
        let mut missing = Vec::new();
        let drafts = entries.expect("memory does not fail").into_iter().map(|entry| {
            let payload = entry.payload.or_else(|| payloads.remove(&entry.seq));
            missing.extend(payload.is_none().then_some(entry.seq));
            let none = || Payload { salt: [0; 16], bytes: Bytes::new() };
            Draft { envelope: entry.envelope, payload: payload.unwrap_or_else(none) }
        });
        let drafts = drafts.collect();
        let checkpoints = self.kept.checkpoints(Seq(0), usize::MAX).expect("memory does not fail");
        copy.append(&Batch { drafts, checkpoints });
        copy.erase(&missing).expect("they were written");
        self.kept = copy;
    }

    /// Ends all failures.
    pub(crate) fn heal(&mut self) {
        self.trouble = None;
        self.script.clear();
    }
}
