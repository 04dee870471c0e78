//! The result of an entry: events, each with its places in feeds.

use smallvec::SmallVec;

use crate::{Event, Places};

/// What an entry changed. It has at most one event for each feed, and at most one that any one session sees: a
/// client that resumes after a `seq` cannot miss half of an entry. An event about several rooms has a place in each of
/// them, and names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: SmallVec<[Happened; 1]>,
}

/// An event, and where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub event: Event,
    /// The feeds whose readers see it, rooms first. Empty: nobody is shown it.
    pub places: Places,
}
