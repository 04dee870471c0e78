//! From the journal to the state, at a start: the newest snapshot, then every entry after it. The
//! chain and the stored hashes of the state are compared on the way; the first difference stops the
//! replay and names the entry.

use vang_chat::{RulesError, Seq, State};
use vang_journal::{Chain, Envelope, Identity, JournalError, Reader, decode_name, genesis};

use crate::events::{self, Effects};
use crate::limits::CHECKPOINT_EVERY;
use crate::names::Book;
use crate::{Delta, rows};

/// Entries read at once.
const CHUNK: usize = 4_096;

/// Why a replay stopped. The server does not start on it; `vang admin check` tells more.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An entry's envelope does not follow from the ones before it.
    #[error("entry {seq}: the chain is broken: the envelope or its hash was changed")]
    Chain { seq: u64 },
    /// This program decides other than the one that wrote the journal.
    #[error("entry {seq}: the state has another hash than when it was written")]
    State { seq: u64 },
    /// A newer program switched the rules.
    #[error("entry {seq}: {unknown}")]
    Rules { seq: u64, unknown: RulesError },
    /// The snapshot is from beyond the journal's end.
    #[error("the snapshot is of entry {snapshot}, but the journal ends at {end}")]
    SnapshotAhead {
        /// Where it was taken.
        snapshot: u64,
        end: u64,
    },
    /// The view did not take the rows.
    #[error("the view cannot be written: {0}")]
    View(String),
}

/// What a replay gives.
pub struct Recovered {
    /// The state at the journal's end.
    pub state: State,
    /// Who has which name.
    pub book: Book,
    /// Entries that were applied.
    pub replayed: u64,
    /// Entries whose payloads are to be erased: a crash may have come before.
    pub erased: Vec<Seq>,
}

/// Replays what comes after `state`. `apply_delta` gets the rows of the entries after `view_cursor`.
pub fn replay(
    reader: &mut dyn Reader,
    identity: &Identity,
    (mut state, mut book): (State, Book),
    view_cursor: Seq,
    apply_delta: &mut dyn FnMut(Delta) -> Result<(), ReplayError>,
) -> Result<Recovered, ReplayError> {
    let start = state.seq();
    let end = reader.end()?;
    if start > end {
        return Err(ReplayError::SnapshotAhead { snapshot: start.0, end: end.0 });
    }
    let mut chain = match start {
        Seq(0) => genesis(identity),
        Seq(at) => match reader.sealed(Seq(at - 1), 1)?.first() {
            Some(sealed) => Chain(sealed.chain),
            None => return Err(ReplayError::Chain { seq: at }),
        },
    };
    let mut erased = Vec::new();
    let mut checkpoints = Checkpoints { ahead: Vec::new(), after: start };
    loop {
        let chunk = reader.sealed(state.seq(), CHUNK)?;
        let Some(last) = chunk.last().map(|sealed| sealed.seq) else { break };
        let mut delta = Delta { upto: last, rows: Vec::new(), snapshot: None };
        for sealed in chunk {
            chain = chain.after(&sealed.envelope);
            if chain.0 != sealed.chain || sealed.seq != state.seq().next() {
                return Err(ReplayError::Chain { seq: sealed.seq.0 });
            }
            let envelope = Envelope::decode(&sealed.envelope)
                .map_err(|bad| JournalError::Unreadable { seq: sealed.seq.0, bad })?;
            if let Err(unknown) = State::check_rules(&envelope.command) {
                return Err(ReplayError::Rules { seq: sealed.seq.0, unknown });
            }
            let outcome = state.apply(envelope.position(sealed.seq), &envelope.command);
            for (index, happened) in outcome.iter().flat_map(|outcome| &outcome.events).enumerate() {
                erased.extend(events::erased(&happened.event));
                let from = delta.rows.len();
                let effects = Effects::of(sealed.seq, happened);
                // The payload is of the event that was asked for, which is the first; others follow from it.
                let text = || if index == 0 { read_text(reader, sealed.seq) } else { Ok(String::new()) };
                rows::keep((&mut book, &mut delta.rows), sealed.seq, (happened, effects), text)?;
                if sealed.seq <= view_cursor {
                    delta.rows.truncate(from);
                }
            }
            if sealed.seq.0.is_multiple_of(CHECKPOINT_EVERY)
                && checkpoints.at(reader, sealed.seq)?.is_some_and(|hash| hash != state.hash())
            {
                return Err(ReplayError::State { seq: sealed.seq.0 });
            }
        }
        if last > view_cursor {
            apply_delta(delta)?;
        }
    }
    let replayed = state.seq().0 - start.0;
    Ok(Recovered { state, book, replayed, erased })
}

/// The stored hashes, read some at a time.
struct Checkpoints {
    ahead: Vec<(Seq, [u8; 32])>,
    after: Seq,
}

impl Checkpoints {
    fn at(&mut self, reader: &mut dyn Reader, seq: Seq) -> Result<Option<[u8; 32]>, JournalError> {
        if self.after < seq {
            self.ahead = reader.checkpoints(Seq(seq.0 - 1), 256)?;
            self.after = self.ahead.last().map_or(Seq(u64::MAX), |&(last, _)| last);
        }
        Ok(self.ahead.iter().find(|(at, _)| *at == seq).map(|&(_, hash)| hash))
    }
}

/// Empty if it was erased, or is damaged.
fn read_text(reader: &mut dyn Reader, seq: Seq) -> Result<String, JournalError> {
    let entry = reader.get(&[seq], usize::MAX)?.pop().and_then(Result::ok);
    match entry.and_then(|entry| entry.payload) {
        Some(payload) => match decode_name(&payload.bytes) {
            Ok(text) => Ok(text),
            Err(bad) => Err(JournalError::Unreadable { seq: seq.0, bad }),
        },
        None => Ok(String::new()),
    }
}
