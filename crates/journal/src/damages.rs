//! The damaged entries that the readers of a process found. Each is reported once, however often it is read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vang_chat::Seq;

use crate::contract::DamageError;

/// Damaged entries to remember: about 100 KiB. Nobody reads a longer list.
const ENTRIES_MAX: usize = 10_000;

/// The damaged entries found by a process, with a function that is called once for each.
pub struct Damages {
    met: Mutex<BTreeSet<Seq>>,
    report: Box<dyn Fn(&DamageError) + Send + Sync>,
}

impl fmt::Debug for Damages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damages").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Default for Damages {
    fn default() -> Damages {
        Damages::new(|_| {})
    }
}

impl Damages {
    /// `report` is called once for each damaged entry.
    pub fn new(report: impl Fn(&DamageError) + Send + Sync + 'static) -> Damages {
        Damages { met: Mutex::default(), report: Box::new(report) }
    }

    pub(crate) fn note(&self, damage: &DamageError) {
        let mut met = self.met();
        if met.len() < ENTRIES_MAX && met.insert(damage.seq) {
            drop(met);
            (self.report)(damage);
        }
    }

    /// The number of damaged entries found, at most 10,000.
    pub fn count(&self) -> u64 {
        self.met().len() as u64
    }

    /// The first `most` damaged entries, in order.
    pub fn first(&self, most: usize) -> Vec<Seq> {
        self.met().iter().take(most).copied().collect()
    }

    fn met(&self) -> MutexGuard<'_, BTreeSet<Seq>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
