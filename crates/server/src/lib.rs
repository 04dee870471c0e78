//! vang-server: pumps sockets and timers around the hub. The only crate with tokio and a clock.
//!
//! Everything that decides runs on one thread: no lock is held anywhere near a write. The journal,
//! the tables and reading from the disk have threads of their own and talk to it by channels.

pub mod limits; // every limit by its name, unit, default and reason
mod start; // from a data folder to a hub that is ready
mod listen; // sockets in: TCP, Unix, the operator's
mod tls; // the server's key and certificate
mod socket; // a connection's socket, whatever its family, with or without TLS
mod turns; // whose turn it is: nobody takes the thread's time from the others
mod opening; // connections that have not asked anything yet make room for others
mod memory; // one budget for what clients make the server hold
mod quota; // how much one account, guest or address may ask
mod door; // by which door somebody came: what is counted and shown apart
mod wire; // between a socket and a `proto` session: nothing, or WebSocket frames
mod drive; // one task per connection, turning a `proto` session: bytes <-> requests
mod http; // health, rooms and events by HTTP; the WebSocket's handshake
mod pump; // turns the hub: requests in, replies and wake-ups out
mod jobs; // what waits for the readers and the finder: whose turn it is
mod threads; // the journal's thread, the tables' thread, the readers
mod indexer; // find: the index's thread, and the one that answers from it
mod wheel; // deadlines, coarsely
mod watch; // what is counted for whoever looks after the server
mod reports; // what the log says of refused connections: the first of a kind, then counts
mod machine; // what the machine says of the process and its disk
mod status; // how the server is: one picture, and what it means
pub mod words; // numbers as a person says them
mod metrics; // the picture as numbers for Prometheus
mod files; // files that settings name
mod serve; // all of it together, from the first socket to the last byte

pub use files::read_file;
pub use limits::{LimitError, Limits};
pub use listen::{ListenAddr, ListenError};
pub use serve::{Change, Changer, Config, Reach, ServeError, Server, Stopper};
pub use start::{Opening, StartError, chains, open, recover};
pub use tls::{TlsError, TlsFiles};
pub use vang_hub::{Guests, Trust};
