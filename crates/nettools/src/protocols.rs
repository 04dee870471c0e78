//! Passive readers of the known protocols. Feed the bytes of one direction of a stream, in pieces of any size; each message
//! comes out as soon as it is whole: native messages, HTTP heads and bodies, WebSocket frames and the messages in them,
//! typed and IRC lines, TLS records. Bytes of an unknown protocol come out as they are.
//!
//! ```text
//! bytes ─▶ `Reader` ─ which protocol? ─▶ native │ http ─▶ websocket ─▶ native │ lines │ tls │ bytes ─▶ `Decoded`
//! ```
//!
//! No I/O, no clock. Memory is bounded for any input: an incomplete header or line is held, and only the beginning of a
//! content. The messages do not depend on the size of the pieces, except for bytes of an unknown protocol.

mod message; // the messages that readers give out
mod http; // heads, bodies, and the upgrade to WebSocket
mod lines; // lines of text
mod native; // vang's messages; a broken one is explained at the byte
mod tls; // records, and the server name of a ClientHello
mod websocket; // frames of either side
mod message_record; // a message as a record
mod datagram_record; // a UDP datagram as a record

pub use datagram_record::DatagramRecord;
pub use http::Awaited;
use message::Next;
pub use message::{Decoded, Message, SHOWN_BYTES_MAX, Sink, Violation, Within};
pub use message_record::MessageRecord;
use vang_proto::kind::{self, Kind};

/// A reader of one direction of a stream.
#[derive(Debug, Default)]
pub struct Reader {
    /// Offset of the next byte.
    at: u64,
    state: State,
    /// The last known protocol; after lost bytes the state can be `Undecided` again.
    protocol: Option<&'static str>,
}

#[derive(Debug)]
enum State {
    /// The first bytes, until they show the protocol.
    Undecided(Vec<u8>),
    Native(native::Native),
    Http(http::Http),
    WebSocket(Box<websocket::Frames>),
    Lines(lines::Lines),
    Tls(tls::Records),
    Bytes,
    /// After a broken message; the offset of the first ignored byte.
    Unread(u64),
}

impl Default for State {
    fn default() -> State {
        State::Undecided(Vec::new())
    }
}

impl Reader {
    /// Reads the next bytes. Both directions of a conversation share one `awaited`.
    pub fn feed(&mut self, mut bytes: &[u8], awaited: &mut Awaited, sink: Sink<'_>) {
        while !bytes.is_empty() {
            let at = self.at;
            let next = match &mut self.state {
                State::Undecided(begun) if begun.is_empty() && detect_state(bytes).is_some() => {
                    // The usual case: the first piece is enough, and nothing is copied.
                    self.set_state(detect_state(bytes).unwrap_or(State::Bytes));
                    continue;
                }
                State::Undecided(begun) => {
                    begun.extend_from_slice(bytes);
                    self.at += bytes.len() as u64;
                    let Some(state) = detect_state(begun) else { return };
                    let begun = std::mem::take(begun);
                    self.at -= begun.len() as u64;
                    self.set_state(state);
                    self.feed(&begun, awaited, sink);
                    return;
                }
                State::Native(native) => native.feed(at, bytes, sink),
                State::Http(http) => http.feed(at, bytes, awaited, sink),
                State::WebSocket(frames) => frames.feed(at, bytes, sink),
                State::Lines(lines) => lines.feed(at, bytes, sink),
                State::Tls(records) => records.feed(at, bytes, sink),
                State::Bytes => {
                    sink(Decoded { from: at, to: at + bytes.len() as u64, message: Message::Bytes(bytes) });
                    Next::Stay
                }
                State::Unread(_) => Next::Stay,
            };
            let used = match next {
                Next::Stay => bytes.len(),
                Next::WebSocket { used, .. }
                | Next::Detect(used)
                | Next::Unread(used)
                | Next::Bytes(used) => used,
            };
            self.at += used as u64;
            bytes = &bytes[used..];
            match next {
                Next::Stay => {}
                Next::WebSocket { compresses, .. } => {
                    self.set_state(State::WebSocket(Box::new(websocket::Frames::new(compresses))));
                }
                Next::Detect(_) => self.set_state(State::default()),
                Next::Unread(_) => self.set_state(State::Unread(self.at)),
                Next::Bytes(_) => self.set_state(State::Bytes),
            }
        }
    }

    fn set_state(&mut self, state: State) {
        self.protocol = match &state {
            // After a broken message its protocol stays known.
            State::Undecided(_) | State::Unread(_) => self.protocol,
            State::Native(_) => Some("native"),
            State::Http(_) => Some("http"),
            State::WebSocket(_) => Some("websocket"),
            State::Lines(lines) => Some(lines.kind()),
            State::Tls(_) => Some("tls"),
            State::Bytes => Some("bytes"),
        };
        self.state = state;
    }

    /// These many bytes are missing. Inside a content they are counted; elsewhere the protocol is detected again from the
    /// next bytes.
    pub fn skip(&mut self, lost: u64, awaited: &mut Awaited, sink: Sink<'_>) {
        let from = self.at;
        awaited.lost();
        let inside = match &mut self.state {
            State::Native(native) => native.skip(lost),
            State::Unread(_) => true,
            _ => false,
        };
        if !inside {
            self.cut(sink);
            self.set_state(State::default());
        }
        self.at += lost;
        sink(Decoded { from, to: self.at, message: Message::Lost });
    }

    /// After a silence: gives out a line or first bytes that were held because more of them could come.
    pub fn flush(&mut self, sink: Sink<'_>) {
        match &mut self.state {
            State::Undecided(begun) if begun.len() > 2 => {
                let begun = std::mem::take(begun);
                self.emit_bytes(&begun, sink);
                self.set_state(State::Bytes);
            }
            State::Lines(lines) => lines.flush(self.at, sink),
            _ => {}
        }
    }

    /// The end of the stream.
    pub fn end(&mut self, sink: Sink<'_>) {
        self.cut(sink);
        if let State::Unread(from) = self.state
            && from < self.at
        {
            sink(Decoded { from, to: self.at, message: Message::Unread });
        }
        self.state = State::Bytes;
    }

    fn cut(&mut self, sink: Sink<'_>) {
        let at = self.at;
        match &mut self.state {
            State::Undecided(begun) if !begun.is_empty() => {
                let begun = std::mem::take(begun);
                self.protocol.get_or_insert("bytes");
                self.emit_bytes(&begun, sink);
            }
            State::Lines(lines) => lines.flush(at, sink),
            State::Native(native) => native.end(at, sink),
            State::Http(http) => http.end(at, sink),
            State::WebSocket(frames) => frames.end(at, sink),
            State::Tls(records) => records.end(at, sink),
            State::Undecided(_) | State::Bytes | State::Unread(_) => {}
        }
    }

    fn emit_bytes(&self, begun: &[u8], sink: Sink<'_>) {
        let from = self.at - begun.len() as u64;
        sink(Decoded { from, to: self.at, message: Message::Bytes(begun) });
    }

    /// Bytes of memory in use.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Undecided(begun) => begun.capacity(),
            State::Native(native) => native.held(),
            State::Http(http) => http.held(),
            State::WebSocket(frames) => frames.held(),
            State::Lines(lines) => lines.held(),
            State::Tls(records) => records.held(),
            State::Bytes | State::Unread(_) => 0,
        }
    }

    /// The protocol's name; `nothing` until it is known.
    pub fn protocol(&self) -> &'static str {
        self.protocol.unwrap_or("nothing")
    }
}

/// Detects the protocol by the first bytes: of clients as the server does, of servers by their greeting.
fn detect_state(begun: &[u8]) -> Option<State> {
    const HTTP: &[u8] = b"HTTP/1.";
    const NOTE: &[u8] = b"-- ";
    let common = begun.len().min(HTTP.len());
    if begun[..common] == HTTP[..common] && common > 2 {
        return (common == HTTP.len()).then(|| State::Http(http::Http::default()));
    }
    if begun.starts_with(NOTE) {
        return Some(State::Lines(lines::Lines::new("line")));
    }
    if begun.first() == Some(&b':') && begun.len() > 2 && begun[2] != b'{' {
        return Some(State::Lines(lines::Lines::new("irc")));
    }
    Some(match kind::detect(begun)? {
        Kind::Native => State::Native(native::Native::default()),
        Kind::Http => State::Http(http::Http::default()),
        Kind::Tls => State::Tls(tls::Records::default()),
        Kind::Irc => State::Lines(lines::Lines::new("irc")),
        Kind::Lines => State::Lines(lines::Lines::new("line")),
        Kind::Proxy | Kind::Unknown { .. } => State::Bytes,
    })
}

#[cfg(test)]
mod tests;
