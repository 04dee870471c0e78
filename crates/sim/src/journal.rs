//! A disk that fails as disks do, around a `MemoryJournal`: slow, full, away for a while; an append
//! that lands although it reported failure, or does not; a crash between write and sync. What it has
//! acknowledged it keeps, unless an older copy is put back.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use vang_chat::{Command, Node, Principal, Rules, Seq};
use vang_hub::Settled;
use vang_journal::{
    Appended, Batch, Draft, Entry, Envelope, Identity, Journal, JournalError, MemoryJournal, Origin, Payload,
    Reader,
};

use crate::fate::Fate;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFate {
    /// It lands and says so.
    Lands,
    /// It reports `Unknown`, and is there.
    UnknownButThere,
    /// It reports `Unknown`, and is not there.
    UnknownAndLost,
    /// No space, now and for a while.
    Full,
    /// The disk is away, now and for a while.
    Unavailable,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Disk {
    kept: MemoryJournal,
    writing: Option<Writing>,
    doubt: Option<(Batch, bool)>,
    trouble: Option<(AppendFate, u64)>,
    script: VecDeque<AppendFate>,
    settle_at: Option<u64>,
    synced: Vec<Seq>,
    seen: BTreeSet<[u8; 32]>,
    others: u64,
}

#[derive(Debug)]
struct Writing {
    due: u64,
    batch: Batch,
    fate: AppendFate,
}

fn command(draft: &Draft) -> Option<Command> {
    Envelope::decode(&draft.envelope).ok().map(|envelope| envelope.command)
}

/// The process that sometimes writes beside ours.
const OTHER_NODE: Node = Node(0x0fff_0fff_0fff_0fff);

impl Disk {
    /// An empty journal.
    pub(crate) fn new(identity: Identity) -> Disk {
        Disk {
            kept: MemoryJournal::new(identity),
            writing: None,
            doubt: None,
            trouble: None,
            script: VecDeque::new(),
            settle_at: None,
            synced: Vec::new(),
            seen: BTreeSet::new(),
            others: 0,
        }
    }

    /// What becomes of the next appends, before chance decides again.
    pub(crate) fn script(&mut self, fates: &[AppendFate]) {
        self.script.extend(fates);
    }

    /// A reader beside the writer.
    pub(crate) fn reader(&self) -> MemoryJournal {
        self.kept.clone()
    }

    /// Which journal this is.
    pub(crate) fn identity(&self) -> Identity {
        self.kept.identity()
    }

    /// The last entry that is there.
    pub(crate) fn end(&self) -> Seq {
        self.kept.clone().end().expect("memory does not fail")
    }

    /// Positions at which a copy could have been made.
    pub(crate) fn synced(&self) -> &[Seq] {
        &self.synced
    }

    /// The hub wants this appended.
    pub(crate) fn begin(&mut self, fate: &mut Fate, batch: Batch) {
        assert!(self.writing.is_none() && self.doubt.is_none(), "one append at a time, none in doubt");
        for draft in &batch.drafts {
            self.check_new(draft);
        }
        let becomes = self.becomes(fate);
        let most = if fate.rng.happens(30) { 1_000 } else { fate.weather.append_ms };
        let due = fate.now() + fate.rng.between(1, most);
        fate.note(format_args!("append of {}: {becomes:?} until {due}", batch.drafts.len()));
        self.writing = Some(Writing { due, batch, fate: becomes });
    }

    /// A request is written once: what was refused or lost is asked again by its client, under a new salt.
    fn check_new(&mut self, draft: &Draft) {
        let envelope = Envelope::decode(&draft.envelope).expect("the hub's own envelope");
        let own = matches!(
            envelope.command,
            Command::Open | Command::CreateRoom { by: Principal::Operator, .. } | Command::Tick
        );
        assert!(
            own || self.seen.insert(envelope.digest),
            "a client's request was given to the journal twice: {:?}",
            envelope.command
        );
    }

    fn becomes(&mut self, fate: &mut Fate) -> AppendFate {
        if let Some(scripted) = self.script.pop_front() {
            return scripted;
        }
        match self.trouble {
            Some((trouble, until)) if fate.now() < until => return trouble,
            _ => self.trouble = None,
        }
        if fate.rng.happens(fate.weather.trouble) {
            let trouble = if fate.rng.happens(500) { AppendFate::Full } else { AppendFate::Unavailable };
            self.trouble = Some((trouble, fate.now() + fate.rng.between(1, 2_500)));
            return trouble;
        }
        match fate.rng.happens(fate.weather.unknown) {
            true if fate.rng.happens(500) => AppendFate::UnknownButThere,
            true => AppendFate::UnknownAndLost,
            false => AppendFate::Lands,
        }
    }

    /// What the journal answers, once it does.
    pub(crate) fn finish(&mut self, fate: &mut Fate) -> Option<Appended> {
        if self.writing.as_ref().is_none_or(|writing| fate.now() < writing.due) {
            return None;
        }
        let Writing { batch, fate: becomes, .. } = self.writing.take()?;
        // Not before the opening: what stands before it counts as the last opening's, which holds as long as
        // one process at a time has the lock.
        let opens = batch.drafts.iter().any(|draft| command(draft).is_some_and(|one| one == Command::Open));
        if !opens && fate.rng.happens(fate.weather.other_writer) && becomes != AppendFate::Full {
            self.other_writes(fate);
        }
        Some(match becomes {
            AppendFate::Lands => {
                let first = self.land(&batch);
                Appended::Appended { first }
            }
            AppendFate::UnknownButThere => {
                fate.count("append landed and reported unknown");
                self.doubt = Some((batch, true));
                Appended::Unknown(JournalError::Unavailable("the sync was interrupted".to_owned()))
            }
            AppendFate::UnknownAndLost => {
                fate.count("append lost and reported unknown");
                self.doubt = Some((batch, false));
                Appended::Unknown(JournalError::Unavailable("the sync was interrupted".to_owned()))
            }
            AppendFate::Full => {
                fate.count("disk full");
                Appended::NotAppended(JournalError::Full("no space left on device".to_owned()))
            }
            AppendFate::Unavailable => {
                fate.count("disk unavailable");
                Appended::NotAppended(JournalError::Unavailable("input/output error".to_owned()))
            }
        })
    }

    fn land(&mut self, batch: &Batch) -> Seq {
        let Appended::Appended { first } = self.kept.append(batch) else { panic!("memory does not fail") };
        self.synced.push(self.end());
        first
    }

    fn other_writes(&mut self, fate: &mut Fate) {
        fate.count("another writer in between");
        self.others += 1;
        let payload = Payload { salt: fate.rng.bytes(), bytes: Bytes::new() };
        let envelope = Envelope {
            rules: Rules::NEWEST,
            origin: Origin { node: OTHER_NODE, counter: self.others },
            time: fate.clocks().wall,
            digest: payload.digest(),
            command: Command::Tick,
        };
        self.land(&Batch {
            drafts: vec![Draft { envelope: envelope.encode(), payload }],
            checkpoints: vec![],
        });
    }

    /// The hub wants to know what is there.
    pub(crate) fn begin_settling(&mut self, fate: &mut Fate) {
        self.settle_at = Some(fate.now() + fate.rng.between(1, 30));
    }

    /// What is there after `after`, or why that cannot be told yet.
    pub(crate) fn settle(&mut self, fate: &mut Fate, after: Seq) -> Option<Result<Settled, JournalError>> {
        if self.settle_at.is_none_or(|due| fate.now() < due) {
            return None;
        }
        self.settle_at = None;
        if fate.rng.happens(fate.weather.settle_fails) {
            fate.count("settle failed");
            return Some(Err(JournalError::Unavailable("input/output error".to_owned())));
        }
        if let Some((batch, true)) = self.doubt.take() {
            self.land(&batch);
        }
        let entries = self.kept.read(after, usize::MAX, usize::MAX).and_then(Entry::all);
        let entries = entries.expect("memory does not fail");
        fate.note(format_args!("settled: {} entries after {after}", entries.len()));
        Some(Ok(Settled { entries }))
    }

    /// Is nothing under way?
    pub(crate) fn is_quiet(&self) -> bool {
        self.writing.is_none() && self.settle_at.is_none() && self.doubt.is_none()
    }

    /// The server dies. What was being written is there or not, whole or not at all; what was
    /// acknowledged stays.
    pub(crate) fn crash(&mut self, fate: &mut Fate) {
        self.settle_at = None;
        let writing = self.writing.take().filter(|writing| {
            matches!(
                writing.fate,
                AppendFate::Lands | AppendFate::UnknownButThere | AppendFate::UnknownAndLost
            )
        });
        let unsynced = writing.map(|writing| writing.batch).or(self.doubt.take().map(|(batch, _)| batch));
        if let Some(batch) = unsynced {
            let lands = fate.rng.happens(500);
            fate.count(if lands {
                "crash kept what was not synced"
            } else {
                "crash lost what was not synced"
            });
            if lands {
                self.land(&batch);
            }
        }
    }

    /// An older copy is put back; the server is down.
    pub(crate) fn put_back(&mut self, to: Seq) {
        self.kept.truncate(to);
        self.synced.retain(|&seq| seq <= to);
    }

    /// Trouble is over.
    pub(crate) fn heal(&mut self) {
        self.trouble = None;
        self.script.clear();
    }
}
