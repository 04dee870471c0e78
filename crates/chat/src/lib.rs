//! vang-chat: the rules of chat. No clock, no randomness, no I/O, no async, no `HashMap` iteration.
//! Time comes with the journal entry and ids are the entry's own `seq`, so a replay gives the same
//! state on every node. No names and no text either: only keyed hashes of names, so that erasing
//! what somebody typed changes no outcome.

mod ids; // what things are called: Seq, Time, RoomId, AccountId, NameKey, Principal
mod command; // what somebody asked (imperative), as it stands in the journal
mod event; // what came of it (past tense), and the refusals: the rule that said no
mod state; // apply = decide, then evolve
mod known; // which rooms somebody may know of, without a walk over all
mod membership; // who was in a room when: what a reader may see, and the holes
mod sent; // which send ids are remembered, and for how long (P4)
mod digest; // the state's hash, kept up as the state changes
mod snapshot; // the state as bytes and back
pub mod limits;

pub use command::{Access, Command, SendId};
pub use event::{Event, Refusal};
pub use ids::{AccountId, NameKey, Node, Position, Principal, RoomId, Rules, Seq, Time};
pub use known::KnownRooms;
pub use membership::{Hole, Interval, Mark};
pub use snapshot::BadSnapshot;
pub use state::{Room, StartAfter, State};
