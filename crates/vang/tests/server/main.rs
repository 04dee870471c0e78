//! The binary as a server, with real sockets: everything that clients, operators and strangers can do from outside.
//! A test's name is the rule. Tests wait for events, never for a fixed time.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "../harness/mod.rs"]
mod harness;
mod common; // sockets of any family, a witness that others are not disturbed, Python as the judge

mod origin; // the guide's exchange, byte for byte
mod abuse; // what is no request, and what must not come of it
mod listen; // addresses, limits, the data folder
mod sign_in; // tokens, what vang login stores, sessions
mod passwords; // signing in with a password, changing it
mod seen; // when and from where somebody signed in, and failed sign-ins
mod doors; // tokens, cookies and invitations at every door
mod secrets; // no secret is where others can read it
mod guesses; // ten thousand guesses at a password
mod who; // which account a connection speaks as, and which server a command means
mod proxies; // nginx and HAProxy in front of a plain address
mod proxied; // addresses for proxies: who the client is, and who is refused
mod reverse_proxies; // nginx, Caddy and HAProxy in front, as the operators' guide has them
mod chat; // rooms by the commands, and what clients write themselves
mod rooms; // more of them than one answer has
mod find; // full-text search: what people type finds what people said, and P9
mod cursor; // what a session passes over, and what it is never told
mod clock; // a clock that cannot be right
mod http; // for those who look after the server
mod post; // messages by HTTP
mod screen; // vang tail and vang get: times, colours and content on a terminal and in a pipe
mod web; // WebSocket, rooms and events by HTTP; strangers' pages
mod status; // vang status, /readyz, /metrics
mod lines; // people who type
mod greeting; // what a person reads when a server starts
mod service; // the systemd unit, and a log that is rotated
mod config; // where settings come from, and what HUP does with them

mod tls; // the same doors inside TLS; what is refused without it; who the server is
mod interop; // the examples, against us and among each other
mod errors; // every error that a person meets: name, likely cause, advice, exit code
mod fair; // one client does not hold up the others
mod memory; // when the system has no more memory
