//! vang-sim: many clients, the real sessions, hub and rules, and a faulty disk, on one thread, in
//! simulated time, from one seed. No sockets, no clock, no randomness but the seed's: the same seed
//! gives the same trace, byte for byte.
//!
//! ```text
//! Client ⇄ Line ⇄ Process (ServerSession ⇄ Hub) ⇄ Disk (MemoryJournal) , Tables
//!    └─ holds the server to its promises ─▶ Model: what is true, folded from the journal
//! ```
//!
//! A world reads as a story and prints its way back:
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
mod weather; // how much goes wrong in a world
mod fate; // chance, time and the record, shared by all
mod journal; // a disk that fails as disks do
mod tables; // the tables that answer questions: behind, out of order, set back
mod wire; // connections that break anywhere
mod server; // one run of the server: the real hub and sessions between the simulated things
mod model; // what must be true, the slow and simple way
mod scene; // what clients stand in; who may see what (P9)
mod following; // what a follower was told, against what it should have been told
mod client; // a client and what it holds the server to
mod people; // what people do by themselves
mod world; // all of it, tick by tick; healing; stories

pub use fate::whereabouts;
pub use following::Since;
pub use journal::AppendFate;
pub use world::World;
