//! By which door somebody came: what is counted and shown apart.

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Door {
    /// Messages as they are.
    Native,
    /// Messages in WebSocket frames.
    WebSocket,
    /// Lines that a person types.
    Lines,
    /// One request of HTTP, or a stream of events as its response.
    Http,
}

impl Door {
    /// As it is shown and counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Door::Native => "native",
            Door::WebSocket => "websocket",
            Door::Lines => "lines",
            Door::Http => "http",
        }
    }
}
