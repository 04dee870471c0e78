//! vang-server: drives sockets and timers around the hub.
//!
//! Everything that decides runs on one thread: no lock is held anywhere near a write. The journal,
//! the view, the index and reading from the disk have threads of their own and talk to it by channels.

pub mod limits; // every limit by its name, unit, default and reason
mod config; // every setting by its name, value, default and documentation
mod error; // why it ended, or did not begin
mod start; // from a data folder to a hub that is ready
mod clock; // both clocks
mod net; // listeners, sockets, TLS
mod fairness; // time, memory, quotas, places: nobody takes the server from the others
mod door; // which protocol a connection speaks: counted and shown apart
mod shared; // what every connection shares
mod client_place; // a client, its quotas and its place among those of its address
mod connection; // one task per connection, driving a `proto` session: bytes <-> requests
mod http; // health, rooms and events by HTTP; the WebSocket's handshake
mod pump; // drives the hub: requests in, replies and wake-ups out
mod disk; // the threads that write and read the disk
mod secrets; // passwords: whose is checked when, the threads that hash, verifiers sealed
mod wheel; // deadlines, coarsely
mod status; // how the server is: counts, the machine, and what they mean
mod files; // files that settings name
mod first_admin; // the link of a new server's first administrator
mod accept; // listeners, and who may connect
mod reload; // what changes while the server runs
mod run; // all of it together, from the first socket to the last byte
#[cfg(test)]
mod bounded_turns_tests; // many hostile peers, and how many turns everybody else waits
#[cfg(test)]
mod hashing_tests; // the thread that decides never waits for a hash

pub use config::{Config, LogFormat, LogLevels, SETTINGS, SettingInfo};
pub use error::ServeError;
pub use files::read_file;
pub use first_admin::{FirstAdmin, FirstAdminLink};
pub use limits::{LimitError, Limits};
pub use net::listen::{Listen, ListenAddr, ListenError};
pub use net::proxies::{Network, Proxies, ProxiesError, ProxyKind};
pub use net::tls::{TlsError, TlsFiles};
pub use reload::Changer;
pub use run::{Server, Stopper};
pub use start::{OpenedFolder, StartError, chains, open, recover};
pub use vang_hub::{Scope, Trust};
