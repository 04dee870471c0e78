//! What waits to be written. Nobody waits behind all that one other has sent: beyond the next batch they take turns,
//! counted in bytes (start-time fair queueing: Goyal, Vin, Cheng, 1996).
//!
//! ```text
//! push ──▶ next batch (first come, first served) ──▶ pop
//!   └────▶ later, in turns ──▲ gather
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use crate::limits::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX};

/// Capacity that an empty queue keeps, so that it is not allocated again for each batch.
const PLACES_KEPT: usize = 1_024;

/// The part of the queue that is kept for those of whom nothing waits: one in four.
const KEPT_SHARE: usize = 4;

/// An owner's turn comes at the latest when so many others had one for each of its own.
const OWNERS_AT_ONCE: usize = 256;

/// Owners whose turn is remembered although nothing of theirs may wait any more.
const TURNS_KEPT: usize = 1_024;

/// Too much waits.
#[derive(Debug)]
pub(crate) struct QueueFull;

/// `K`: whose it is.
#[derive(Debug)]
pub(crate) struct Queue<K, T> {
    next: VecDeque<Weighed<T>>,
    next_bytes: usize,
    /// By when its turn begins, counted in bytes that were taken, and by number.
    later: BTreeMap<(u64, u64), Weighed<T>>,
    /// When the next turn of an owner begins, of those in `later`.
    turns: HashMap<K, u64>,
    /// The turn that was taken last.
    turn: u64,
    number: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Weighed<T> {
    weight: usize,
    item: T,
}

impl<K: Copy + Eq + Hash, T> Queue<K, T> {
    /// A queue for so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Queue<K, T> {
        Queue {
            next: VecDeque::new(),
            next_bytes: 0,
            later: BTreeMap::new(),
            turns: HashMap::new(),
            turn: 0,
            number: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Sets how many bytes may wait.
    pub(crate) fn set_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    /// How many wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.later.is_empty()
    }

    /// How many items the next batch has.
    pub(crate) fn next_len(&self) -> usize {
        self.next.len()
    }

    /// How many bytes the next batch has.
    pub(crate) fn next_bytes(&self) -> usize {
        self.next_bytes
    }

    /// Puts an item into the queue, if there is room.
    pub(crate) fn push(&mut self, owner: K, weight: usize, item: T) -> Result<(), QueueFull> {
        // Nearly always nobody waits for a later batch.
        let turn = if self.turns.is_empty() { 0 } else { self.turns.get(&owner).copied().unwrap_or(0) };
        let kept = if turn > self.turn { self.bytes_max / KEPT_SHARE } else { 0 };
        if self.bytes + weight > self.bytes_max - kept && !self.is_empty() {
            return Err(QueueFull);
        }
        self.bytes += weight;
        if self.later.is_empty() && (self.next.is_empty() || self.has_room(weight)) {
            self.next_bytes += weight;
            self.next.push_back(Weighed { weight, item });
            return Ok(());
        }
        let begins = turn.max(self.turn);
        self.turns.insert(owner, begins + weight as u64);
        self.number += 1;
        self.later.insert((begins, self.number), Weighed { weight, item });
        Ok(())
    }

    /// Puts an item before all others, whatever the queue holds.
    pub(crate) fn push_first(&mut self, weight: usize, item: T) {
        self.bytes += weight;
        self.next_bytes += weight;
        self.next.push_front(Weighed { weight, item });
    }

    /// Takes the next item of a batch, if it weighs no more than so much.
    pub(crate) fn pop(&mut self, weight_max: usize) -> Option<(usize, T)> {
        let Weighed { weight, item } = self.next.pop_front_if(|next| next.weight <= weight_max)?;
        self.bytes -= weight;
        self.next_bytes -= weight;
        Some((weight, item))
    }

    /// After a batch was taken: fills the next one.
    pub(crate) fn gather(&mut self) {
        while let Some((_, first)) = self.later.first_key_value()
            && (self.next.is_empty() || self.has_room(first.weight))
        {
            let Some(((turn, _), taken)) = self.later.pop_first() else { break };
            // Also where new owners come all the time, those who were there before them have their turn.
            self.turn = turn.max(self.turn + (taken.weight / OWNERS_AT_ONCE) as u64);
            self.next_bytes += taken.weight;
            self.next.push_back(taken);
        }
        if self.later.is_empty() {
            self.turns = HashMap::new();
        } else if self.turns.len() > TURNS_KEPT + 2 * self.later.len() {
            let now = self.turn;
            self.turns.retain(|_, turn| *turn > now);
        }
        if self.next.is_empty() && self.next.capacity() > PLACES_KEPT {
            self.next = VecDeque::new();
        }
    }

    fn has_room(&self, weight: usize) -> bool {
        self.next.len() < BATCH_ENTRIES_MAX && self.next_bytes + weight <= BATCH_BYTES_MAX
    }

    /// Takes everything out that does not stay.
    pub(crate) fn take_unless(&mut self, stays: impl Fn(&T) -> bool) -> Vec<T> {
        let later = std::mem::take(&mut self.later).into_values();
        let all = std::mem::take(&mut self.next).into_iter().chain(later);
        let (kept, taken): (VecDeque<_>, VecDeque<_>) = all.partition(|weighed| stays(&weighed.item));
        self.bytes = kept.iter().map(|weighed| weighed.weight).sum();
        self.next_bytes = self.bytes;
        self.next = kept;
        self.turns = HashMap::new();
        taken.into_iter().map(|weighed| weighed.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for a little more than two batches of items of 1 KiB.
    const MAX: usize = 2_100 << 10;
    const ITEM: usize = 1 << 10;

    /// Owners of what the next batch has.
    fn batch(queue: &mut Queue<u32, u32>) -> Vec<(u32, u32)> {
        let taken =
            std::iter::from_fn(|| queue.pop(usize::MAX)).map(|(_, item)| (item / 10_000, item % 10_000));
        let taken = taken.collect();
        queue.gather();
        taken
    }

    fn push(queue: &mut Queue<u32, u32>, owner: u32, number: u32) -> bool {
        queue.push(owner, ITEM, owner * 10_000 + number).is_ok()
    }

    #[test]
    fn one_word_is_in_the_batch_after_the_next_whatever_others_have_sent() {
        let mut queue = Queue::new(MAX);
        let sent = (0..9_000).take_while(|&number| push(&mut queue, 1, number)).count();
        assert_eq!(sent, 2_100 * 3 / 4, "the last quarter is for others");
        assert!(push(&mut queue, 2, 0) && push(&mut queue, 3, 0));
        assert!(!push(&mut queue, 3, 1), "of these something waits now");
        let first = batch(&mut queue);
        assert_eq!(first.len(), BATCH_ENTRIES_MAX);
        assert!(first.iter().all(|&(owner, _)| owner == 1), "they were there before");
        let second = batch(&mut queue);
        let place = |owner, number| second.iter().position(|&one| one == (owner, number)).unwrap();
        assert!(place(2, 0) <= 2 && place(3, 0) <= 2, "{:?}", &second[..8]);
        assert_eq!(first.len() + second.len(), sent + 2);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn what_one_sends_keeps_its_order_and_a_thousand_share_a_batch() {
        let mut queue = Queue::new(usize::MAX);
        let mut sent = [0; 1_000];
        let mut heard = [0; 1_000];
        for round in 0..30 {
            for owner in 0..1_000 {
                for _ in 0..=(owner + round) % 3 {
                    assert!(push(&mut queue, owner, sent[owner as usize]));
                    sent[owner as usize] += 1;
                }
            }
            for (owner, number) in batch(&mut queue) {
                assert_eq!(number, heard[owner as usize]);
                heard[owner as usize] += 1;
            }
        }
        let least = heard.iter().min().unwrap();
        assert!(*least >= 28, "{least}");
        while !queue.is_empty() {
            for (owner, number) in batch(&mut queue) {
                assert_eq!(number, heard[owner as usize]);
                heard[owner as usize] += 1;
            }
        }
        assert_eq!(sent, heard);
        assert!(queue.turns.is_empty());
    }

    #[test]
    fn owners_that_are_gone_are_forgotten_while_others_wait() {
        let mut queue = Queue::new(usize::MAX);
        for number in 0..3_000 {
            push(&mut queue, 1, number);
        }
        for owner in 2..50_000 {
            // Somebody new takes what the last one left.
            push(&mut queue, owner, 0);
            queue.pop(usize::MAX);
            queue.gather();
        }
        let most = TURNS_KEPT + 2 * queue.later.len() + OWNERS_AT_ONCE;
        assert!(queue.turns.len() <= most, "{}", queue.turns.len());
        let first = batch(&mut queue);
        assert!(first.iter().any(|&(owner, _)| owner == 1), "who came first had turns all the time");
    }

    #[test]
    fn one_item_is_taken_even_if_it_is_larger_than_the_queue() {
        let mut queue = Queue::new(MAX);
        assert!(queue.push(1, 2 * MAX, 1).is_ok());
        assert!(queue.push(2, 1, 2).is_err());
        queue.push_first(1, 3);
        assert_eq!(queue.pop(usize::MAX), Some((1, 3)));
        assert_eq!(queue.pop(MAX), None);
        assert_eq!(queue.pop(usize::MAX), Some((2 * MAX, 1)));
        queue.gather();
        assert!(queue.is_empty());
    }

    #[test]
    fn what_stays_keeps_its_place() {
        let mut queue = Queue::new(usize::MAX);
        for number in 0..2_000 {
            push(&mut queue, number % 2, number);
        }
        let taken = queue.take_unless(|item| item / 10_000 == 1);
        assert_eq!(taken.len(), 1_000);
        assert_eq!(queue.bytes(), 1_000 * ITEM);
        assert!(batch(&mut queue).iter().all(|&(owner, _)| owner == 1));
        assert!(queue.is_empty());
    }
}
