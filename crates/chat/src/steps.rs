//! How a part of the state is written while entries go on being applied: step by step, from any place on, as it was when the
//! snapshot was begun.
//!
//! Nearly every row says itself how old it is: a key is the `seq` that made it, and the ends of stays are `seq`s. What an
//! entry changes or removes otherwise is kept as it was, until the snapshot has reached it.

use std::collections::BTreeMap;
use std::iter;

use crate::Seq;

/// Where a walk over a part goes on: the key of its next step. Most keys have one number.
pub(crate) type Key = [u64; 3];

/// Where a walk begins. No key is smaller.
pub(crate) const START: Key = [0; 3];

/// A step of a walk. Some find no row: a walk that may be stopped after any number of steps must count them as well.
pub(crate) type Step<R> = (Key, Option<R>);

/// Rows of a part as they were when the snapshot that is being written was begun, by the first number of their keys. While
/// none is being written this costs one comparison for each change.
#[derive(Clone, Debug)]
pub(crate) struct Kept<R> {
    writing: Option<Writing>,
    rows: BTreeMap<u64, R>,
}

#[derive(Clone, Copy, Debug)]
struct Writing {
    /// The entry at which the snapshot was begun.
    at: Seq,
    /// Rows before this key are written.
    next: u64,
    /// Rows from this key on came later.
    end: u64,
}

/// Rows that are there, and in the places of those that changed or went what is kept of them: both in the order of their keys.
pub(crate) fn merged<'a, R: Clone + 'a>(
    there: impl Iterator<Item = (u64, &'a R)>,
    kept: impl Iterator<Item = (u64, &'a R)>,
) -> impl Iterator<Item = Step<R>> {
    let (mut there, mut kept) = (there.peekable(), kept.peekable());
    iter::from_fn(move || {
        let (key, row) = match (kept.peek(), there.peek()) {
            (Some((kept_key, _)), Some((key, _))) if kept_key > key => there.next()?,
            (Some((kept_key, _)), Some((key, _))) if kept_key == key => {
                there.next();
                kept.next()?
            }
            (Some(_), _) => kept.next()?,
            (None, _) => there.next()?,
        };
        Some(([key, 0, 0], Some(row.clone())))
    })
}

impl<R> Default for Kept<R> {
    fn default() -> Kept<R> {
        Kept { writing: None, rows: BTreeMap::new() }
    }
}

impl<R> Kept<R> {
    /// A snapshot of the rows before the key `end` begins; one that was not finished is given up.
    pub(crate) fn begin(&mut self, at: Seq, end: u64) {
        *self = Kept { writing: Some(Writing { at, next: 0, end }), rows: BTreeMap::new() };
    }

    /// Is a snapshot being written that has not reached the part's end?
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Call before a row changes or goes.
    pub(crate) fn keep(&mut self, key: u64, row: impl FnOnce() -> R) {
        if let Some(Writing { next, end, .. }) = self.writing
            && (next..end).contains(&key)
        {
            self.rows.entry(key).or_insert_with(row);
        }
    }

    /// Rows before this key are written. `u64::MAX`: all.
    pub(crate) fn pass(&mut self, next: u64) {
        let Some(writing) = &mut self.writing else { return };
        writing.next = next;
        while self.rows.first_key_value().is_some_and(|(&key, _)| key < next) {
            self.rows.pop_first();
        }
        if next == u64::MAX {
            self.writing = None;
        }
    }

    /// The row as the snapshot of this entry needs it, if it is another one now.
    pub(crate) fn get(&self, at: Seq, key: u64) -> Option<&R> {
        self.of(at)?.get(&key)
    }

    /// All of them for the snapshot of this entry, from a key on.
    pub(crate) fn from(&self, at: Seq, key: u64) -> impl Iterator<Item = (u64, &R)> {
        self.of(at).into_iter().flat_map(move |rows| rows.range(key..).map(|(&key, row)| (key, row)))
    }

    /// The key before which the snapshot of this entry has its rows.
    pub(crate) fn end(&self, at: Seq) -> Option<u64> {
        self.writing.filter(|writing| writing.at == at).map(|writing| writing.end)
    }

    /// A state may be written as it is now although a snapshot of an earlier entry is not finished.
    fn of(&self, at: Seq) -> Option<&BTreeMap<u64, R>> {
        self.writing.filter(|writing| writing.at == at).map(|_| &self.rows)
    }
}
