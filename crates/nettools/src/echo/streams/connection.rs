//! One connection of the echo client: its state and how far its message has come.

use std::time::Instant;

use crate::echo::content::Content;
use crate::transport::Transport;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    /// Waits for the schedule, or for input.
    Waiting,
    Exchanging,
    /// Our half is closed.
    Ending,
    Done,
}

pub(super) struct EchoConnection {
    pub(super) transport: Option<Transport>,
    pub(super) state: State,
    pub(super) content: Content,
    /// Started messages.
    pub(super) begun: u64,
    pub(super) sent: u64,
    pub(super) back: u64,
    pub(super) due: Instant,
    pub(super) sent_at: Instant,
    /// An answer came before the end of the time for sending.
    pub(super) served: bool,
    pub(super) failed: bool,
}

impl EchoConnection {
    /// A connection in progress, with its first message.
    pub(super) fn new(content: Content) -> EchoConnection {
        let now = Instant::now();
        EchoConnection {
            transport: None,
            state: State::Connecting,
            content,
            begun: 0,
            sent: 0,
            back: 0,
            due: now,
            sent_at: now,
            served: false,
            failed: false,
        }
    }
}
