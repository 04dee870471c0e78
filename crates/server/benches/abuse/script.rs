//! What an attacker does, as data: the floods are tables of these, and one loop plays them all.

/// What one attacker does on each of its connections.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Written first; then any answer is waited for.
    pub(crate) greeting: Vec<u8>,
    /// Written after it.
    pub(crate) body: Vec<u8>,
    /// After the body.
    pub(crate) then: Then,
    /// Whether answers are read. (They are, while one is waited for.)
    pub(crate) reads: Reads,
    pub(crate) pace: Pace,
    /// The body goes in TLS records, of one byte each.
    pub(crate) tls: bool,
}

/// What an attacker does when its body is written.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// The same again.
    #[default]
    Repeat,
    /// The same again, after an answer.
    RepeatAfterReply,
    /// Nothing: the connection stays.
    Hold,
    /// Closes, and begins with a new connection.
    Reconnect,
    /// The same, after an answer.
    ReconnectAfterReply,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reads {
    #[default]
    Always,
    Never,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the socket takes it.
    #[default]
    Full,
    /// A byte each `DRIP`.
    Drip,
}

/// So many attackers play a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// As many as the flood is asked for.
    All,
    /// So many beside them.
    Beside(usize),
}

/// What the attackers of one flood do.
pub(crate) type Cast = Vec<(Script, Share)>;

/// One script for all.
pub(crate) fn all(script: Script) -> Cast {
    vec![(script, Share::All)]
}

impl Script {
    /// Writes this again and again, and reads what is answered.
    pub(crate) fn repeat(request: &[u8]) -> Script {
        Script { body: many(request), ..Script::default() }
    }

    /// The same, behind a greeting that is answered.
    pub(crate) fn greet(greeting: &[u8], request: &[u8]) -> Script {
        Script { greeting: greeting.to_vec(), ..Script::repeat(request) }
    }

    /// Writes this once.
    pub(crate) fn once(body: Vec<u8>, then: Then) -> Script {
        Script { body, then, ..Script::default() }
    }

    /// The same without reading.
    pub(crate) fn unread(self) -> Script {
        Script { reads: Reads::Never, ..self }
    }
}

/// The same so often that one write fills a socket: the attacker's own cost is the copy.
fn many(request: &[u8]) -> Vec<u8> {
    const WRITE: usize = 256 << 10;
    request.repeat(WRITE.div_ceil(request.len().max(1)))
}
