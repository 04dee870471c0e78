//! A journal in memory, for tests and the simulation. Clones share one journal: a clone is a second writer, or
//! a reader.
//!
//! It never fails, and its entries are "durable" at once. Disk failures (a lost unsynced tail, an append that
//! lands and reports failure) are simulated from outside, with `truncate` and a wrapper.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::{
    Appended, Batch, Checked, DamageError, Entry, Journal, JournalError, Payload, Reader, Sealed,
};
use crate::identity::Identity;

/// A journal in memory. A clone is another handle on the same journal.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    identity: Identity,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Slot>,
    checkpoints: BTreeMap<Seq, [u8; 32]>,
}

#[derive(Debug)]
struct Slot {
    envelope: Bytes,
    chain: Chain,
    payload: Option<Payload>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new(identity: Identity) -> MemoryJournal {
        MemoryJournal { identity, kept: Arc::default() }
    }

    /// Drops every entry after `to`, and their checkpoints, as a power cut drops unsynced entries. Only for the
    /// simulation.
    pub fn truncate(&self, to: Seq) {
        let mut kept = self.kept();
        let len = usize::try_from(to.0).unwrap_or(usize::MAX);
        kept.entries.truncate(len);
        kept.checkpoints.retain(|seq, _| *seq <= to);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Only an allocation can panic under this lock; the data is complete anyway.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn end(&self) -> Seq {
        Seq(self.entries.len() as u64)
    }

    fn slot(&self, seq: Seq) -> Option<&Slot> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.entries.get(index)
    }

    fn after(&self, after: Seq) -> impl Iterator<Item = (Seq, &Slot)> {
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries[skip..].iter().zip(after.0.saturating_add(1)..).map(|(slot, seq)| (Seq(seq), slot))
    }
}

impl Slot {
    fn entry(&self, seq: Seq) -> Entry {
        Entry { seq, envelope: self.envelope.clone(), payload: self.payload.clone() }
    }
}

impl Journal for MemoryJournal {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn append(&mut self, batch: &Batch) -> Appended {
        let identity = self.identity;
        let mut kept = self.kept();
        let first = kept.end().next();
        let mut chain = kept.entries.last().map_or_else(|| genesis(&identity), |slot| slot.chain);
        for draft in &batch.drafts {
            chain = chain.after(&draft.envelope);
            let (envelope, payload) = (draft.envelope.clone(), Some(draft.payload.clone()));
            kept.entries.push(Slot { envelope, chain, payload });
        }
        kept.checkpoints.extend(batch.checkpoints.iter().copied());
        Appended::Appended { first }
    }

    fn settle(&mut self) -> Result<Seq, JournalError> {
        Ok(self.kept().end())
    }

    fn erase(&mut self, seqs: &[Seq]) -> Result<(), JournalError> {
        let mut kept = self.kept();
        if let Some(missing) = seqs.iter().find(|seq| kept.slot(**seq).is_none()) {
            return Err(DamageError::missing(*missing).into());
        }
        for seq in seqs {
            // Checked above; position 0 does not exist.
            kept.entries[seq.0 as usize - 1].payload = None;
        }
        Ok(())
    }
}

impl Reader for MemoryJournal {
    fn end(&mut self) -> Result<Seq, JournalError> {
        Ok(self.kept().end())
    }

    fn read(&mut self, after: Seq, limit: usize, bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        let kept = self.kept();
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        for (seq, slot) in kept.after(after).take(limit) {
            bytes += slot.payload.as_ref().map_or(0, |payload| payload.bytes.len());
            entries.push(Ok(slot.entry(seq)));
            if bytes > bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    fn get(&mut self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        let kept = self.kept();
        let mut bytes = 0;
        let mut entries = Vec::new();
        for &seq in seqs {
            let slot = kept.slot(seq);
            bytes += slot.and_then(|slot| slot.payload.as_ref()).map_or(0, |payload| payload.bytes.len());
            entries.push(slot.map(|slot| slot.entry(seq)).ok_or_else(|| DamageError::missing(seq)));
            if bytes > bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError> {
        let kept = self.kept();
        let sealed =
            |(seq, slot): (Seq, &Slot)| Sealed { seq, envelope: slot.envelope.clone(), chain: slot.chain.0 };
        Ok(kept.after(after).take(limit).map(sealed).collect())
    }

    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError> {
        let kept = self.kept();
        let later = kept.checkpoints.range(Seq(after.0.saturating_add(1))..);
        Ok(later.take(limit).map(|(seq, state)| (*seq, *state)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Draft;

    #[test]
    fn a_lost_tail_takes_its_checkpoints_and_leaves_no_gap() {
        let mut journal = MemoryJournal::new(Identity::new([1; 16], [2; 32]));
        let draft = |byte: u8| Draft {
            envelope: Bytes::from(vec![byte]),
            payload: Payload { salt: [byte; 16], bytes: Bytes::new() },
        };
        let checkpoints = vec![(Seq(2), [2; 32]), (Seq(3), [3; 32])];
        journal.append(&Batch { drafts: vec![draft(1), draft(2), draft(3)], checkpoints });
        journal.truncate(Seq(2));
        journal.truncate(Seq(9));
        assert_eq!(journal.checkpoints(Seq(0), 9).expect("never fails"), [(Seq(2), [2; 32])]);
        let appended = journal.append(&Batch { drafts: vec![draft(4)], checkpoints: Vec::new() });
        assert!(matches!(appended, Appended::Appended { first: Seq(3) }), "{appended:?}");
        let sealed = journal.sealed(Seq(0), 9).expect("never fails");
        assert_eq!(sealed[2].chain, Chain(sealed[1].chain).after(&[4]).0);
    }
}
