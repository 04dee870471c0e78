//! vang-hub: where every session and the journal meet. State machines; no I/O, no clock, no
//! randomness but from the seed it is given: its driver performs the outputs.
//!
//! ```text
//! request ─▶ admission ─▶ order ─▶ Append ─▶ (journal) ─▶ apply ─▶ reply to the sender
//!                                                          └─▶ encode once ─▶ tail ─▶ Wake the room's sessions
//! pull ◀─ cursor ◀─ tail, or Read ─▶ (view, journal) for readers that have fallen behind
//! ```

mod hub; // all of it together: inputs in, outputs out
mod admission; // identity and permission to ask; hashes, salts and names, computed before the journal
mod session; // a connection, as the hub knows it
mod order; // what waits, what is being written, and what its senders get
mod queue; // what waits to be written, fair to all who wait
mod clock; // the stamp, and clocks that jump
mod events; // what comes of each event: the text that is kept, what readers see, the reply
mod encode; // an event as every reader of the room gets it
mod tail; // the hot end of each room, already encoded
mod cursor; // where a session stands, and what lies before it
mod seen; // when, from where and on which devices accounts signed in, and who failed to
mod secrets; // what the hub asks of the threads that hash passwords; tokens as text
mod continuation; // what the hub does when something that happens elsewhere is done
mod cold; // what a session that fell behind asks the view and the journal
mod names; // what a name is, and who has which
mod rows; // what the book and the view keep of an event
mod unfinished; // a snapshot of the state that is being written
mod replay; // from the journal to the state, at a start
pub mod limits;

pub use admission::{Admitted, Browser, Peer, Salts, Scope, Trust};
pub use clock::Now;
pub use cold::{ColdEvent, ColdPage, Read, ReadAnswer, ReadError, ReadJob};
pub use hub::{Hub, Output, SessionInfo, Stats};
pub use names::{Book, NameError, NameMaker};
pub use order::Settled;
pub use replay::{Recovered, ReplayError, replay};
pub use secrets::{KnownBy, SecretAnswer, SecretCheck, SecretError, SecretJob};
pub use seen::{AccountSeen, Failed, Known, PeerAddress, SeenKey, SeenRow, Sighting};
pub use session::SessionId;

// What the view is given, in the view's own types: no conversion is needed.
pub use vang_view::{Delta, EventClass, EventData, EventRow, Row, Snapshot, TextOf};
