//! HTTP/1.x: heads, and bodies by length, by chunks, or up to the end (RFC 9112). The head of a response is not enough to
//! find its body: a response to HEAD has none, and after a response to CONNECT another protocol follows. So the two
//! directions of a conversation share `Awaited`.

use std::collections::VecDeque;

use super::message::{Decoded, Message, Next, SHOWN_BYTES_MAX, Sink, keep};

/// Longest head: 64 KiB, more than servers accept. A longer one is shown as bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Pending HEAD and CONNECT requests: 64, 1 KiB a conversation. With more, responses are no longer matched.
const AWAITED_MAX: usize = 64;

/// The WebSocket extension for compressed messages (RFC 7692).
const DEFLATE: &[u8] = b"permessage-deflate";

/// Longest chunk-size line.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;

/// Requests whose responses cannot be read by their heads alone. Responses come in the order of their requests (RFC 9112,
/// 9.3.2), so both are counted. After lost bytes, or a response without a seen request, counting stops, and each response
/// is read as one to a GET.
#[derive(Debug, Default)]
pub struct Awaited {
    requests: u64,
    answers: u64,
    /// HEAD and CONNECT requests, by number.
    special: VecDeque<(u64, Special)>,
    unsure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    Head,
    Connect,
}

impl Awaited {
    /// Counts a request.
    fn request(&mut self, line: &[u8]) -> Option<Special> {
        let special = match line {
            _ if line.starts_with(b"HEAD ") => Some(Special::Head),
            _ if line.starts_with(b"CONNECT ") => Some(Special::Connect),
            _ => None,
        };
        if let Some(special) = special.filter(|_| !self.unsure) {
            self.special.push_back((self.requests, special));
            if self.special.len() > AWAITED_MAX {
                self.lost();
            }
        }
        self.requests += 1;
        special
    }

    /// Counts a response; returns its request if that was a HEAD or CONNECT.
    fn answer(&mut self, status: &[u8]) -> Option<Special> {
        // Other 1xx responses come before the final one.
        if status != b"101" && status.starts_with(b"1") {
            return None;
        }
        if self.answers >= self.requests {
            self.lost();
            return None;
        }
        let number = self.answers;
        self.answers += 1;
        self.special.pop_front_if(|(of, _)| *of == number).map(|(_, special)| special)
    }

    /// Bytes were lost.
    pub(super) fn lost(&mut self) {
        self.unsure = true;
        self.special = VecDeque::new();
    }
}

#[derive(Debug, Default)]
pub(super) struct Http {
    state: State,
    /// An incomplete head or chunk-size line.
    held: Vec<u8>,
    shown: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Head,
    Body {
        len: u64,
        left: u64,
        chunked: bool,
    },
    ChunkLine,
    /// The line end after a chunk, or the trailer fields after the last.
    Trailer {
        last: bool,
    },
    /// A body up to the end of the stream.
    Rest,
}

impl Http {
    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], awaited: &mut Awaited, sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            match self.state {
                State::Head => match self.feed_head(at + used as u64, rest, awaited, sink) {
                    Ok((taken, after)) => {
                        used += taken;
                        match after {
                            After::Stays => {}
                            After::WebSocket { compresses } => return Next::WebSocket { used, compresses },
                            After::Tunnel => return Next::Detect(used),
                        }
                    }
                    Err(held) => {
                        emit_bytes(at + used as u64, &held, sink);
                        return Next::Bytes(used);
                    }
                },
                State::Body { len, left, chunked } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    keep(&mut self.shown, &rest[..here]);
                    used += here;
                    let left = left - here as u64;
                    self.state = State::Body { len, left, chunked };
                    if left == 0 {
                        let to = at + used as u64;
                        sink(Decoded {
                            from: to - len,
                            to,
                            message: Message::Body { len, shown: &self.shown },
                        });
                        self.shown.clear();
                        self.state = if chunked { State::Trailer { last: false } } else { State::Head };
                    }
                }
                State::ChunkLine | State::Trailer { .. } => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        if self.held.len() + rest.len() > CHUNK_LINE_BYTES_MAX {
                            let held = std::mem::take(&mut self.held);
                            emit_bytes(at + used as u64, &held, sink);
                            return Next::Bytes(used);
                        }
                        self.held.extend_from_slice(rest);
                        return Next::Stay;
                    };
                    self.held.extend_from_slice(&rest[..=end]);
                    used += end + 1;
                    if let Err(line) = self.take_line() {
                        emit_bytes(at + used as u64, &line, sink);
                        return Next::Bytes(used);
                    }
                }
                State::Rest => {
                    sink(Decoded {
                        from: at + used as u64,
                        to: at + bytes.len() as u64,
                        message: Message::Bytes(rest),
                    });
                    used = bytes.len();
                }
            }
        }
        Next::Stay
    }

    /// Reads a chunk-size or trailer line; `Err`: it is not one.
    fn take_line(&mut self) -> Result<(), Vec<u8>> {
        let held = std::mem::take(&mut self.held);
        let line = held.trim_ascii();
        self.state = match self.state {
            State::Trailer { last: false } => State::ChunkLine,
            State::Trailer { last: true } if line.is_empty() => State::Head,
            State::Trailer { last: true } => self.state,
            _ => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits).unwrap_or_default().trim();
                match u64::from_str_radix(digits, 16) {
                    Ok(0) => State::Trailer { last: true },
                    Ok(len) if len < 1 << 62 => State::Body { len, left: len, chunked: true },
                    _ => return Err(held),
                }
            }
        };
        Ok(())
    }

    /// The number of bytes used; `Err`: this is not a head, with the held bytes.
    fn feed_head(
        &mut self,
        at: u64,
        bytes: &[u8],
        awaited: &mut Awaited,
        sink: Sink<'_>,
    ) -> Result<(usize, After), Vec<u8>> {
        let before = self.held.len();
        let end = if before == 0 {
            end_of_head(bytes)
        } else {
            // The end of the head can lie across two pieces.
            let room = bytes.len().min(HEAD_BYTES_MAX);
            self.held.extend_from_slice(&bytes[..room]);
            // Only the last bytes are searched again, for a line end across two pieces.
            let known = before.saturating_sub(2);
            let end = end_of_head(&self.held[known..]).map(|end| known + end);
            self.held.truncate(end.unwrap_or(self.held.len()));
            end.map(|end| end - before)
        };
        let Some(end) = end else {
            if before == 0 {
                self.held.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX + 1)]);
            }
            return match self.held.len() {
                0..=HEAD_BYTES_MAX => Ok((bytes.len(), After::Stays)),
                _ => {
                    self.held.truncate(before);
                    Err(std::mem::take(&mut self.held))
                }
            };
        };
        let held = std::mem::take(&mut self.held);
        let head = if before == 0 { &bytes[..end] } else { &held[..] };
        let (line, fields) = split_line(head);
        let from = at - before as u64;
        sink(Decoded { from, to: at + end as u64, message: Message::Http { line, fields } });
        let (state, after) = what_follows(line, fields, awaited);
        self.state = state;
        Ok((end, after))
    }

    pub(super) fn end(&mut self, at: u64, sink: Sink<'_>) {
        match self.state {
            State::Head if self.held.is_empty() => {}
            State::Head => {
                let from = at - self.held.len() as u64;
                sink(Decoded { from, to: at, message: Message::Cut("an HTTP head has no end".to_owned()) });
            }
            State::Body { len, left, .. } => {
                let message = Message::Cut(format!("the HTTP body should have {len} bytes"));
                sink(Decoded { from: at - (len - left), to: at, message });
            }
            State::ChunkLine | State::Trailer { .. } => {
                let from = at - self.held.len() as u64;
                sink(Decoded {
                    from,
                    to: at,
                    message: Message::Cut("the last chunk of an HTTP body is missing".to_owned()),
                });
            }
            State::Rest => {}
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.capacity() + self.shown.capacity().min(SHOWN_BYTES_MAX)
    }
}

/// Gives out bytes that are not HTTP; `to` is the offset after them.
fn emit_bytes(to: u64, bytes: &[u8], sink: Sink<'_>) {
    if !bytes.is_empty() {
        sink(Decoded { from: to - bytes.len() as u64, to, message: Message::Bytes(bytes) });
    }
}

enum After {
    Stays,
    WebSocket {
        compresses: bool,
    },
    /// Any protocol.
    Tunnel,
}

/// The length of the head, with its empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

fn split_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    let (line, fields) = head.split_at(end);
    (line.trim_ascii_end(), fields.trim_ascii())
}

/// A field's value; names are case-insensitive.
fn field<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
    })
}

/// `chunked` can only be the last coding.
fn is_chunked(codings: &[u8]) -> bool {
    let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

fn what_follows(line: &[u8], fields: &[u8], awaited: &mut Awaited) -> (State, After) {
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let special = match status {
        None => awaited.request(line),
        Some(status) => awaited.answer(status),
    };
    match (special, status) {
        // A refused client can send another request: the protocol is detected again.
        (Some(Special::Connect), None | Some([b'2', ..])) => return (State::Head, After::Tunnel),
        (Some(Special::Head), Some(_)) => return (State::Head, After::Stays),
        _ => {}
    }
    let upgrades = field(fields, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    if upgrades && status.is_none_or(|status| status == b"101") {
        let compresses = field(fields, "sec-websocket-extensions")
            .is_some_and(|list| list.windows(DEFLATE.len()).any(|part| part.eq_ignore_ascii_case(DEFLATE)));
        return (State::Head, After::WebSocket { compresses });
    }
    let state = match status {
        Some([b'1', ..] | b"204" | b"304") => State::Head,
        _ if field(fields, "transfer-encoding").is_some_and(is_chunked) => State::ChunkLine,
        _ => match field(fields, "content-length").map(|len| std::str::from_utf8(len).unwrap_or("")) {
            Some(len) => match len.parse::<u64>() {
                Ok(0) => State::Head,
                Ok(len) if len < 1 << 62 => State::Body { len, left: len, chunked: false },
                _ => State::Rest,
            },
            None if status.is_some() => State::Rest,
            None => State::Head,
        },
    };
    (state, After::Stays)
}
