//! What goes over a wire, as messages: the bytes of one direction of a stream in, in any pieces; out, as soon as each is
//! whole, native messages, HTTP heads and bodies, WebSocket frames with the messages inside, lines that people and IRC
//! clients type, TLS records; of what is nothing known, the bytes.
//!
//! ```text
//! bytes ─▶ `Reader` ─ which kind? ─▶ native │ http ─▶ websocket ─▶ native │ lines │ tls │ bytes ─▶ `Heard`
//! ```
//!
//! No I/O, no clock. Memory is bounded whatever comes: a header or a line is held while it is cut, of content only its
//! beginning. However the bytes are cut the messages are the same; only bytes of no known kind are told as they come.

mod http; // heads, bodies, and the way to WebSocket
mod lines; // lines of text
mod native; // vang's messages; what is wrong with one, at the byte
mod tls; // records, and the name that a client asks for
mod websocket; // frames of either side
mod said; // what was heard as a record

pub use http::Awaited;
pub use said::Said;
use vang_proto::Header;
use vang_proto::kind::{self, Kind};

/// Of content and the like so many bytes are kept for showing: 4 KiB.
pub const SHOWN_BYTES_MAX: usize = 4 << 10;

/// Something whole that was heard, and where in its direction's bytes it stands.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Offset of its first byte.
    pub from: u64,
    /// Offset behind its last.
    pub to: u64,
    /// What it is.
    pub message: Message<'a>,
}

/// See the module's head.
#[derive(Debug)]
pub enum Message<'a> {
    /// A message of `docs/PROTOCOL.md`, section 1.
    Native {
        /// Its header.
        header: &'a Header,
        /// The beginning of its content; where that is events nothing, they follow.
        content: &'a [u8],
        /// Where it came, and where its offsets count.
        within: Within,
    },
    /// An HTTP request's or response's head.
    Http {
        /// Its first line.
        line: &'a [u8],
        /// The lines behind it.
        fields: &'a [u8],
    },
    /// A body of HTTP, or one chunk of it.
    Body {
        /// All of it.
        len: u64,
        /// Its beginning.
        shown: &'a [u8],
    },
    /// A WebSocket frame (RFC 6455).
    Frame {
        /// By the standard's name.
        opcode: &'static str,
        /// The last of its message.
        last: bool,
        /// From a client.
        masked: bool,
        /// Of a compressed message (RFC 7692), which is shown as it is.
        compressed: bool,
        /// Of its payload.
        len: u64,
        /// The payload's beginning, unmasked; of binary frames nothing, their messages follow.
        shown: &'a [u8],
    },
    /// A line of text, without its end.
    Line {
        /// `irc` or `line`.
        kind: &'static str,
        /// What it says.
        text: &'a [u8],
    },
    /// A TLS record: its content is its two ends' alone.
    Tls {
        /// By the standard's name.
        kind: &'static str,
        /// Of its payload.
        len: u64,
        /// Whom a ClientHello asks for (RFC 6066).
        server_name: Option<&'a str>,
    },
    /// Bytes of no known kind, as they came.
    Bytes(&'a [u8]),
    /// The bytes break a rule of their kind. Of native ones nothing behind can be trusted.
    Broken(Broken),
    /// Bytes that this reader was not given.
    Lost,
    /// The end came before the end of a message: what was still awaited.
    Cut(&'static str),
    /// Bytes behind a broken message, not looked at.
    Unread,
}

/// Where a native message stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// In the stream itself.
    #[default]
    Stream,
    /// In the payload of a WebSocket.
    WebSocket,
    /// Among the events that are another one's content.
    Events,
}

/// What is wrong, at which byte, and what may stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Offset of the byte in its direction.
    pub at: u64,
    /// In the protocol's words.
    pub why: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

/// Where messages go.
pub type Sink<'s> = &'s mut dyn FnMut(Heard<'_>);

/// One direction of a stream. See the module's head.
#[derive(Debug, Default)]
pub struct Reader {
    /// Offset of the next byte that will be fed.
    at: u64,
    speaks: Speaks,
    /// What it has spoken last, in a word: what comes behind lost bytes may say nothing yet.
    spoke: Option<&'static str>,
}

#[derive(Debug)]
enum Speaks {
    /// The first bytes, until they say.
    Undecided(Vec<u8>),
    Native(native::Native),
    Http(http::Http),
    WebSocket(Box<websocket::Frames>),
    Lines(lines::Lines),
    Tls(tls::Records),
    Bytes,
    /// Behind a broken message; from where.
    Unread(u64),
}

impl Default for Speaks {
    fn default() -> Speaks {
        Speaks::Undecided(Vec::new())
    }
}

/// What a reader of one kind wants next.
enum Next {
    /// More.
    Stay,
    /// After so many of the bytes WebSocket begins, whose messages may be compressed.
    WebSocket { used: usize, compresses: bool },
    /// After so many of them the next ones say anew what they are.
    Anew(usize),
    /// Nothing more can be understood.
    Unread(usize),
    /// It is none of this kind after all.
    Bytes(usize),
}

impl Reader {
    /// Takes bytes as they came. Both directions of a conversation are given the same `awaited`.
    pub fn feed(&mut self, mut bytes: &[u8], awaited: &mut Awaited, sink: Sink<'_>) {
        while !bytes.is_empty() {
            let at = self.at;
            let next = match &mut self.speaks {
                Speaks::Undecided(begun) if begun.is_empty() && kind_of(bytes).is_some() => {
                    // The usual case: told by one piece, and nothing is copied.
                    self.become_one(kind_of(bytes).unwrap_or(Speaks::Bytes));
                    continue;
                }
                Speaks::Undecided(begun) => {
                    begun.extend_from_slice(bytes);
                    self.at += bytes.len() as u64;
                    let Some(speaks) = kind_of(begun) else { return };
                    let begun = std::mem::take(begun);
                    self.at -= begun.len() as u64;
                    self.become_one(speaks);
                    self.feed(&begun, awaited, sink);
                    return;
                }
                Speaks::Native(native) => native.feed(at, bytes, sink),
                Speaks::Http(http) => http.feed(at, bytes, awaited, sink),
                Speaks::WebSocket(frames) => frames.feed(at, bytes, sink),
                Speaks::Lines(lines) => lines.feed(at, bytes, sink),
                Speaks::Tls(records) => records.feed(at, bytes, sink),
                Speaks::Bytes => {
                    sink(Heard { from: at, to: at + bytes.len() as u64, message: Message::Bytes(bytes) });
                    Next::Stay
                }
                Speaks::Unread(_) => Next::Stay,
            };
            let used = match next {
                Next::Stay => bytes.len(),
                Next::WebSocket { used, .. } | Next::Anew(used) | Next::Unread(used) | Next::Bytes(used) => {
                    used
                }
            };
            self.at += used as u64;
            bytes = &bytes[used..];
            match next {
                Next::Stay => {}
                Next::WebSocket { compresses, .. } => {
                    self.become_one(Speaks::WebSocket(Box::new(websocket::Frames::new(compresses))));
                }
                Next::Anew(_) => self.become_one(Speaks::default()),
                Next::Unread(_) => self.become_one(Speaks::Unread(self.at)),
                Next::Bytes(_) => self.become_one(Speaks::Bytes),
            }
        }
    }

    fn become_one(&mut self, speaks: Speaks) {
        self.spoke = match &speaks {
            // Behind a broken message it has spoken what the message was.
            Speaks::Undecided(_) | Speaks::Unread(_) => self.spoke,
            Speaks::Native(_) => Some("native"),
            Speaks::Http(_) => Some("http"),
            Speaks::WebSocket(_) => Some("websocket"),
            Speaks::Lines(lines) => Some(lines.kind()),
            Speaks::Tls(_) => Some("tls"),
            Speaks::Bytes => Some("bytes"),
        };
        self.speaks = speaks;
    }

    /// So many bytes came by unseen. Inside a content they are counted; elsewhere the next bytes that come say anew
    /// what they are.
    pub fn skip(&mut self, lost: u64, awaited: &mut Awaited, sink: Sink<'_>) {
        let from = self.at;
        awaited.lost();
        let inside = match &mut self.speaks {
            Speaks::Native(native) => native.skip(lost),
            Speaks::Unread(_) => true,
            _ => false,
        };
        if !inside {
            self.cut(sink);
            self.become_one(Speaks::default());
        }
        self.at += lost;
        sink(Heard { from, to: self.at, message: Message::Lost });
    }

    /// Nothing came for a while: what is held because more of its line may come is told as it stands.
    pub fn flush(&mut self, sink: Sink<'_>) {
        match &mut self.speaks {
            Speaks::Undecided(begun) if begun.len() > 2 => {
                let begun = std::mem::take(begun);
                self.tell_bytes(&begun, sink);
                self.become_one(Speaks::Bytes);
            }
            Speaks::Lines(lines) => lines.flush(self.at, sink),
            _ => {}
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self, sink: Sink<'_>) {
        self.cut(sink);
        if let Speaks::Unread(from) = self.speaks
            && from < self.at
        {
            sink(Heard { from, to: self.at, message: Message::Unread });
        }
        self.speaks = Speaks::Bytes;
    }

    fn cut(&mut self, sink: Sink<'_>) {
        let at = self.at;
        match &mut self.speaks {
            Speaks::Undecided(begun) if !begun.is_empty() => {
                let begun = std::mem::take(begun);
                self.spoke.get_or_insert("bytes");
                self.tell_bytes(&begun, sink);
            }
            Speaks::Lines(lines) => lines.flush(at, sink),
            Speaks::Native(native) => native.end(at, sink),
            Speaks::Http(http) => http.end(at, sink),
            Speaks::WebSocket(frames) => frames.end(at, sink),
            Speaks::Tls(records) => records.end(at, sink),
            Speaks::Undecided(_) | Speaks::Bytes | Speaks::Unread(_) => {}
        }
    }

    fn tell_bytes(&self, begun: &[u8], sink: Sink<'_>) {
        let from = self.at - begun.len() as u64;
        sink(Heard { from, to: self.at, message: Message::Bytes(begun) });
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        match &self.speaks {
            Speaks::Undecided(begun) => begun.capacity(),
            Speaks::Native(native) => native.held(),
            Speaks::Http(http) => http.held(),
            Speaks::WebSocket(frames) => frames.held(),
            Speaks::Lines(lines) => lines.held(),
            Speaks::Tls(records) => records.held(),
            Speaks::Bytes | Speaks::Unread(_) => 0,
        }
    }

    /// What this direction speaks, in a word; before its end what has said nothing whole yet counts as nothing.
    pub fn speaks(&self) -> &'static str {
        self.spoke.unwrap_or("nothing")
    }
}

/// What the first bytes say: clients as the server tells them apart, servers by how theirs begin.
fn kind_of(begun: &[u8]) -> Option<Speaks> {
    const HTTP: &[u8] = b"HTTP/1.";
    const NOTE: &[u8] = b"-- ";
    let common = begun.len().min(HTTP.len());
    if begun[..common] == HTTP[..common] && common > 2 {
        return (common == HTTP.len()).then(|| Speaks::Http(http::Http::default()));
    }
    if begun.starts_with(NOTE) {
        return Some(Speaks::Lines(lines::Lines::new("line")));
    }
    if begun.first() == Some(&b':') && begun.len() > 2 && begun[2] != b'{' {
        return Some(Speaks::Lines(lines::Lines::new("irc")));
    }
    Some(match kind::detect(begun)? {
        Kind::Native => Speaks::Native(native::Native::default()),
        Kind::Http => Speaks::Http(http::Http::default()),
        Kind::Tls => Speaks::Tls(tls::Records::default()),
        Kind::Irc => Speaks::Lines(lines::Lines::new("irc")),
        Kind::Lines => Speaks::Lines(lines::Lines::new("line")),
        Kind::Proxy | Kind::Unknown { .. } => Speaks::Bytes,
    })
}

/// Adds to what is kept for showing, up to its limit.
fn keep(shown: &mut Vec<u8>, bytes: &[u8]) {
    let room = SHOWN_BYTES_MAX.saturating_sub(shown.len());
    shown.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests;
