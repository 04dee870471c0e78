//! A raw two-way client, as `nc` and `websocat` are: what is typed goes to a server, what comes is shown. Over TCP, UDP or a
//! Unix socket, in TLS, as a WebSocket; as lines, hexadecimal or messages of `docs/PROTOCOL.md`.
//!
//! ```text
//! `Console`: stdin ─▶ `typed` ─▶ `channel`: queue ─▶ WebSocket, TLS, socket ─▶ peer
//!           stdout ◀─ `shown` ◀─ `channel`       ◀─────────────────────────── peer
//! ```
//!
//! One thread with one `poll`. Memory is bounded: nothing is read from the console while much waits to be sent, and of what
//! the peer sends only a piece is held. What it sends is hostile: a terminal gets it in escaped form (`escaped`); a pipe or
//! file gets the bytes unchanged.

mod endpoint; // HOST:PORT, unix:PATH, ws://HOST:PORT/PATH
mod options; // what to do, as the user chose
mod web_socket; // the client's side of a WebSocket
mod channel; // the connection: a queue to send, and what comes
mod escaped; // the peer's text for a terminal, in pieces
mod console; // where typed bytes come from, and where received ones go
mod typed; // what is typed, as bytes to send
mod shown; // what comes, as text
mod records; // the records
mod vanished_peer; // keep-alive and user time-out
mod session; // one connection from its start to its end

pub use console::{Console, Pipe, Typed, TypedEnd};
pub use endpoint::Endpoint;
pub use escaped::EscapedText;
pub use options::{Form, ProxyHeader, TalkOptions, Then, VanishedPeer};
pub use vang_proto::proxy::ProxyVersion;

use crate::error::{Outcome, ToolError};
use crate::{Report, Stop, Target};

/// Talks to the server until one side ends.
pub fn run(options: &TalkOptions, console: &mut dyn Console, report: &Report, stop: &Stop) -> Outcome {
    check(options)?;
    session::run(options, console, report, stop)
}

/// Checks that the options fit together.
fn check(options: &TalkOptions) -> Result<(), ToolError> {
    let wrong = |text: &str| Err(ToolError::Usage(text.to_owned()));
    let is_unix = matches!(options.to.target, Target::Unix(_));
    match () {
        () if options.udp && options.to.web.is_some() => wrong("a WebSocket needs TCP: leave --udp out"),
        () if options.udp && options.tls.is_some() => {
            wrong("TLS needs TCP or a Unix socket; DTLS over UDP is not supported")
        }
        () if options.udp && is_unix => {
            wrong("--udp works only with network addresses, not with Unix sockets")
        }
        () if options.lacks_half_close() && options.then == Some(Then::HalfClose) => {
            wrong("UDP and WebSocket have no half-close: use --then wait or --then close")
        }
        () if options.udp && options.proxy.is_some() => {
            wrong("the PROXY header begins a connection, and UDP has none")
        }
        () => vanished_peer::check(options),
    }
}
