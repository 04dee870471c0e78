//! The result of an entry: events, each with its places in rooms.

use crate::{Event, Place};

/// What an entry changed. It has at most one event for each room, and at most one that any one session sees: a
/// client that resumes after a `seq` cannot miss half of an entry. An event about several rooms has a place in each of
/// them, and names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Happened>,
}

/// An event, and where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub event: Event,
    /// The rooms whose readers see it. Empty: no room shows it.
    pub places: Vec<Place>,
}
