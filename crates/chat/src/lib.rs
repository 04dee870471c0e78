//! vang-chat: the rules of chat. No clock, no randomness, no I/O, no async, no `HashMap` iteration.
//! Time comes with the journal entry and ids are the entry's own `seq`, so a replay gives the same
//! state on every node. No names and no text either: only keyed hashes of names, so that erasing
//! what somebody typed changes no outcome.
//!
//! Each subject is one file: its commands, its events, `decide` and `evolve`. The parts of the state are others:
//! openings (`order.rs`), accounts (`accounts.rs`), tokens (`tokens.rs`), invitations (`invitations.rs`), rooms with the stays of their members and their newest number
//! (`rooms.rs`, `stays.rs`), remembered send ids (`sent.rs`). `members.rs`, `messages.rs` and
//! `credentials.rs` have no part of their own: they change rooms, ids, accounts and tokens. Each part has one description, its rows, for hash and snapshot (`snapshot.rs`).

mod ids; // Seq, Time, RoomId, AccountId, NameKey, Principal
mod command; // every command, by subject: what somebody wants, as it is in the journal
mod event; // every event, by subject: what happened
mod feed; // what somebody can follow, and where an event is read
mod outcome; // the result of an entry: events with their places in feeds
mod refusal; // the rule that said no
mod state; // the parts of the state; apply = decide, then evolve, by the version of the rules

mod order; // who opened the journal, which rules hold, time
mod names; // what a name is and what it looks like, as keyed hashes
mod accounts;
mod credentials; // what proves who somebody is: passwords and tokens
mod deletion; // the end of an account
mod invitations; // with which people make an account
mod rooms;
mod members;
mod server_feed; // how far the server's feed is
mod messages;

mod access; // public or private
mod permission; // the table of who can do what
mod reading; // what a reader of a room sees, and where it continues
mod stays; // periods of membership, and the holes between them
mod known; // the rooms that somebody can know of, without a walk over all
mod tokens; // with which devices and scripts sign in
mod sent; // which send ids are remembered, and for how long (P4)
mod digest; // the hash of a collection, updated with each change
mod steps; // a walk over a part of the state that may be stopped after any step, while entries are applied
mod snapshot; // the state as bytes and back
pub mod limits;

pub use access::Access;
pub use accounts::{AccountCommand, AccountEvent, AccountRole, AccountStatus};
pub use command::Command;
pub use credentials::{CredentialCommand, CredentialEvent};
pub use event::{Event, Events};
pub use feed::{Feed, FeedKey, Place, Places};
pub use ids::{AccountId, NameKey, Node, Position, Principal, RoomId, Rules, Seq, Time};
pub use invitations::{Invitation, InvitationCommand, InvitationEvent, InvitationId, NewInvitation};
pub use known::KnownRooms;
pub use members::{MemberCommand, MemberEvent};
pub use messages::{MessageCommand, MessageEvent};
pub use names::{LookKey, Name, ScriptCode, Scripts};
pub use order::{OrderCommand, OrderEvent};
pub use outcome::{Happened, Outcome};
pub use permission::{Power, RoomsBy, ServerPower, ServerRole, Standing};
pub use reading::StartAfter;
pub use refusal::Refusal;
pub use rooms::{Room, RoomCommand, RoomEvent};
pub use sent::SendId;
pub use snapshot::{SnapshotError, SnapshotWriter};
pub use state::{NEWEST_RULES, RulesError, State};
pub use stays::{Hole, Interval, Mark};
pub use tokens::{NewToken, Scope, Token, TokenId, TokenKey, Which};
