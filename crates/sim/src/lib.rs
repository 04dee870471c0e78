//! vang-sim: many clients, the real sessions, hub and rules, and a faulty disk, on one thread, in simulated
//! time, from one seed. No sockets, no clock, no randomness except the seed's: the same seed gives the same
//! trace, byte for byte.
//!
//! ```text
//! Client ⇄ Pipe ⇄ Process (ServerSession ⇄ Hub) ⇄ Disk (MemoryJournal) , View
//!    └─ checks the server's promises ─▶ Model: the expected state, computed from the journal
//! ```
//!
//! A world reads as a story, and a failure prints how to run it again:
//!
//! ```
//! let mut world = vang_sim::World::calm(1);
//! world.account("ada");
//! world.guest("bob");
//! world.follow("bob", &["general"], vang_sim::Since::Beginning);
//! world.say("ada", "general", "hi").unwrap();
//! world.crash();
//! world.heal();
//! world.assert_one_history();
//! assert_eq!(world.heard("bob").last().unwrap(), "general#1 ada: hi");
//! ```

mod rng; // chance, from one seed
mod weather; // how much fails in a world
mod environment; // random numbers, time, weather and the trace, shared by all
mod journal; // a disk that fails as disks do
mod view; // the view: behind, out of order, set back
mod network; // connections that break anywhere
mod hashing; // passwords hashed and verifiers erased, after a while
mod server; // one run of the server: the real hub and sessions with simulated I/O
mod credentials; // passwords, tokens and invitations as the model knows them
mod model; // what must be true, computed the slow and simple way
mod feeds; // the feeds of accounts and of the server, as a client received them
mod scene; // what all clients share; who can see what (P9)
mod following; // what a follower received, compared with what it should have received
mod client; // a client and its checks of the server
mod sign_in; // devices that sign in with passwords, tokens and invitations
mod people; // what simulated people do
mod processes; // two processes that order one journal
mod world; // everything, tick by tick; healing; stories

pub use environment::current_seed_and_time;
pub use following::Since;
pub use journal::AppendOutcome;
pub use processes::two_processes;
pub use world::World;
