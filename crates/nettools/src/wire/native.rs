//! Native messages, one after the other. As `vang_proto::Decoder` takes them, which a test holds it to; but content is
//! not held, only counted, and what is wrong is said at its byte. Where a content is events (docs/PROTOCOL.md, section
//! 6), they are told one by one behind the message that brings them; events within events are not opened.

use bytes::Bytes;
use vang_proto::limits::CLIENT_CONTENT_BYTES_MAX;
use vang_proto::{Header, MalformedFrame};

use super::{Broken, Heard, Message, Next, SHOWN_BYTES_MAX, Sink, Within, keep};

/// The type of a content that is messages itself, as it stands in a header.
const EVENTS: &str = "\"application/vang-events\"";

#[derive(Debug, Default)]
pub(super) struct Native {
    /// The length and the header while they come.
    head: Vec<u8>,
    message: Option<Begun>,
    /// Of the message whose content comes; used again.
    shown: Vec<u8>,
    within: Within,
}

#[derive(Debug)]
struct Begun {
    header: Header,
    from: u64,
    left: u64,
    content: Content,
}

/// What is done with a content as it comes.
#[derive(Debug)]
enum Content {
    /// Its beginning is kept, and told with the message.
    Shown,
    /// The message was told; its content is read as messages.
    Events(Box<Native>),
    /// Of these, what cannot be understood: counted.
    Unread,
}

impl Native {
    /// For messages that stand there.
    pub(super) fn within(within: Within) -> Native {
        Native { within, ..Native::default() }
    }

    /// `at` is the offset of the first of these bytes.
    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            if let Some(begun) = &mut self.message {
                let here = usize::try_from(begun.left).unwrap_or(usize::MAX).min(rest.len());
                let part = &rest[..here];
                match &mut begun.content {
                    Content::Shown => keep(&mut self.shown, part),
                    Content::Unread => {}
                    Content::Events(events) => {
                        let events_at = begun.header.content_length() - begun.left;
                        if let Next::Unread(_) = events.feed(events_at, part, sink) {
                            begun.content = Content::Unread;
                        }
                    }
                }
                begun.left -= here as u64;
                used += here;
                if begun.left == 0 {
                    self.tell(at + used as u64, sink);
                }
                continue;
            }
            let from = at + used as u64 - self.head.len() as u64;
            let header = if self.head.is_empty() && is_whole(rest) {
                let len = 2 + length(rest);
                used += len;
                open(&rest[2..len]).map_err(|malformed| (malformed, rest[2..len].to_vec()))
            } else {
                match gather(&mut self.head, rest) {
                    Ok(taken) => used += taken,
                    Err(malformed) => {
                        sink(self.broken(from, from + 2, &malformed, &[]));
                        return Next::Unread(bytes.len().min(used + 2));
                    }
                }
                if !is_whole(&self.head) {
                    continue;
                }
                let opened = open(&self.head[2..]).map_err(|malformed| (malformed, self.head[2..].to_vec()));
                self.head.clear();
                opened
            };
            let header = match header {
                Ok(header) => header,
                Err((malformed, json)) => {
                    sink(self.broken(from, at + used as u64, &malformed, &json));
                    return Next::Unread(used);
                }
            };
            let left = header.content_length();
            let rest = &bytes[used..];
            if left > 0 && self.within != Within::Events && header.is("content-type", EVENTS) {
                let to = at + used as u64 + left;
                let message = Message::Native { header: &header, content: &[], within: self.within };
                sink(Heard { from, to, message });
                let content = Content::Events(Box::new(Native::within(Within::Events)));
                self.message = Some(Begun { header, from, left, content });
            } else if left <= rest.len() as u64 {
                // All of it is here: nothing is copied.
                used += left as usize;
                let content = &rest[..(left as usize).min(SHOWN_BYTES_MAX)];
                let message = Message::Native { header: &header, content, within: self.within };
                sink(Heard { from, to: at + used as u64, message });
            } else {
                self.message = Some(Begun { header, from, left, content: Content::Shown });
            }
        }
        Next::Stay
    }

    fn tell(&mut self, to: u64, sink: Sink<'_>) {
        let Some(begun) = self.message.take() else { return };
        match begun.content {
            Content::Shown => {
                let message =
                    Message::Native { header: &begun.header, content: &self.shown, within: self.within };
                sink(Heard { from: begun.from, to, message });
            }
            Content::Events(events) => events.end(begun.header.content_length(), sink),
            Content::Unread => {}
        }
        self.shown.clear();
    }

    /// Are so many lost bytes all inside a content, and not its end?
    pub(super) fn skip(&mut self, lost: u64) -> bool {
        match &mut self.message {
            Some(begun) if lost < begun.left => {
                begun.left -= lost;
                if let Content::Events(_) = begun.content {
                    begun.content = Content::Unread;
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn end(&self, at: u64, sink: Sink<'_>) {
        if let Some(begun) = &self.message {
            if let Content::Events(events) = &begun.content {
                events.end(begun.header.content_length() - begun.left, sink);
            }
            let message = Message::Cut("the rest of a message's content");
            sink(Heard { from: begun.from, to: at, message });
        } else if !self.head.is_empty() {
            let from = at - self.head.len() as u64;
            sink(Heard { from, to: at, message: Message::Cut("the rest of a message's header") });
        }
    }

    fn broken(&self, from: u64, to: u64, malformed: &MalformedFrame, json: &[u8]) -> Heard<'static> {
        let mut broken = explain(from, malformed, json);
        match self.within {
            Within::Stream => {}
            Within::WebSocket => broken.why.insert_str(0, "in the WebSocket's payload: "),
            Within::Events => broken.why.insert_str(0, "among the events of a content: "),
        }
        Heard { from, to, message: Message::Broken(broken) }
    }

    pub(super) fn held(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |begun| {
            let inside = if let Content::Events(events) = &begun.content { events.held() } else { 0 };
            begun.header.json().len() + inside
        });
        self.head.capacity() + self.shown.capacity() + message
    }
}

/// What the first two bytes claim, where both are there.
fn length(head: &[u8]) -> usize {
    head.first_chunk::<2>().map_or(0, |prefix| usize::from(u16::from_be_bytes(*prefix)))
}

fn is_whole(head: &[u8]) -> bool {
    length(head) >= 2 && head.len() >= 2 + length(head)
}

/// Adds to a header what belongs to it; says how much that was. Too short a length is refused at once.
fn gather(head: &mut Vec<u8>, bytes: &[u8]) -> Result<usize, MalformedFrame> {
    let mut used = 0;
    while head.len() < 2 {
        let Some(byte) = bytes.get(used) else { return Ok(used) };
        head.push(*byte);
        used += 1;
    }
    match length(head) {
        len @ (0 | 1) => {
            head.clear();
            Err(MalformedFrame::HeaderTooShort { len: len as u32 })
        }
        len => {
            let here = (2 + len - head.len()).min(bytes.len() - used);
            head.extend_from_slice(&bytes[used..used + here]);
            Ok(used + here)
        }
    }
}

fn open(json: &[u8]) -> Result<Header, MalformedFrame> {
    let header = Header::parse(Bytes::copy_from_slice(json))?;
    match header.content_length() {
        len if len > CLIENT_CONTENT_BYTES_MAX => {
            Err(MalformedFrame::ContentTooLong { len, max: CLIENT_CONTENT_BYTES_MAX })
        }
        _ => Ok(header),
    }
}

/// A refusal at its byte: `from` is the message's first, `json` its header.
fn explain(from: u64, malformed: &MalformedFrame, json: &[u8]) -> Broken {
    let header_at = from + 2;
    let byte_at = |at: usize| match json.get(at) {
        Some(byte) => format!("{} ({byte:#04x})", crate::quoted(&json[at..(at + 12).min(json.len())], 12)),
        None => "the header's end".to_owned(),
    };
    let required = "the keys byteorder, content-length, content-type and content-encoding";
    let (at, found, allowed) = match malformed {
        MalformedFrame::HeaderTooShort { len } => {
            (from, format!("a header's length of {len}"), "2 to 65535".to_owned())
        }
        MalformedFrame::HeaderTooLong { len, max } => {
            (from, format!("a header's length of {len}"), format!("2 to {max}"))
        }
        MalformedFrame::UnknownProtocol { third } => (header_at, format!("{third:#04x}"), "'{'".to_owned()),
        MalformedFrame::HeaderNotUtf8 { at } => (header_at + *at as u64, byte_at(*at), "UTF-8".to_owned()),
        MalformedFrame::HeaderNotJson { why } => {
            let at = json_error_at(why, json);
            (header_at + at as u64, byte_at(at), "JSON that goes on as an object does".to_owned())
        }
        MalformedFrame::HeaderNotObject { found } => (header_at, found.clone(), "'{'".to_owned()),
        MalformedFrame::MissingKey { key } => {
            (header_at, format!("an object without '{key}'"), required.to_owned())
        }
        MalformedFrame::WrongKind { key, found, expected } => {
            (header_at + value_at(key, json) as u64, found.clone(), (*expected).to_owned())
        }
        MalformedFrame::ContentTooLong { len, max } => {
            let at = value_at("content-length", json);
            (header_at + at as u64, format!("{len} bytes of content"), format!("at most {max}"))
        }
    };
    Broken { at, why: malformed.to_string(), found, allowed }
}

/// Where the parser stopped: it counts lines and columns from one.
fn json_error_at(why: &str, json: &[u8]) -> usize {
    let number_behind = |mark: &str| {
        let digits: String = why.rsplit_once(mark)?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    };
    let column = number_behind(" at byte ").or_else(|| number_behind(" column ")).unwrap_or(1);
    let line = number_behind(" at line ").unwrap_or(1);
    let line_at = match line {
        0 | 1 => 0,
        line => json
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(0, |(at, _)| at + 1),
    };
    (line_at + column.saturating_sub(1)).min(json.len())
}

/// Where the last key of this name has its value: the last counts.
fn value_at(key: &str, json: &[u8]) -> usize {
    let name = format!("\"{key}\"");
    let Some(name_at) = json.windows(name.len()).rposition(|part| part == name.as_bytes()) else { return 0 };
    let behind = name_at + name.len();
    let is_between = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    behind + json[behind..].iter().take_while(|byte| is_between(byte)).count()
}
